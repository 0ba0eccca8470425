//! One command that runs for one item, and what its end means for the item.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use steadfast::Lease;

use crate::exec_args::{ExecArgs, is_of_item};
use crate::exit_code::{ExitCode, Failure};
use crate::job_log::{Entry, JobLog};
use crate::signals::Deadline;
use crate::warden::{Leash, Warden};

/// So much fits into a new pipe at once, whatever its reader does.
const PIPE: usize = 4096;

/// What all jobs of a consumer share.
pub struct Common {
    /// The queue's name.
    pub queue: String,
    /// Where to write how it went.
    pub log: Option<JobLog>,
    /// How long a failed item stays away.
    pub retry_delay: Option<Duration>,
}

/// A command that runs.
pub struct Running {
    /// Its number in this consumer.
    pub id: u64,
    /// When it takes too long.
    pub deadline: Deadline,
    /// Why it was killed, if it was.
    pub killed: Option<String>,
    leash: Leash,
}

/// A command that has ended, and its item, which was acknowledged or given back.
pub struct Ended {
    /// Its number in this consumer.
    pub id: u64,
    /// The item.
    pub item: Arc<Vec<u8>>,
    /// The item's number in the queue.
    pub sequence: u64,
    /// Which attempt it was.
    pub attempt: u32,
    /// Why the item was given back, if it was.
    pub failed: Option<String>,
    /// What makes it pointless to go on.
    pub error: Option<Failure>,
}

/// A command about to run.
struct Job {
    common: Arc<Common>,
    id: u64,
    lease: Lease,
    item: Arc<Vec<u8>>,
    program: String,
    warden: Warden,
}

impl Running {
    /// Starts the command for an item. Its end is told to `ended`.
    ///
    /// # Errors
    /// It cannot be watched; the item goes back.
    pub fn start(
        id: u64,
        lease: Lease,
        item: Vec<u8>,
        args: &ExecArgs,
        common: &Arc<Common>,
        ended: &Sender<Ended>,
    ) -> io::Result<Running> {
        let (mut command, feeds) = args.command(&item);
        command
            .env("STEADFAST_ATTEMPT", lease.attempt().to_string())
            .env("STEADFAST_SEQUENCE", lease.sequence().to_string());
        let program = command.get_program().display().to_string();
        let warden = match Warden::start() {
            Ok(warden) => warden,
            Err(error) => {
                // If that fails too, the item comes back when this program ends.
                let _ = lease.release();
                return Err(error);
            }
        };
        let (common, ended) = (Arc::clone(common), ended.clone());
        let (leash, deadline) = (warden.leash(), Deadline::after(args.exec_timeout));
        let job = Job { common, id, lease, item: Arc::new(item), program, warden };
        thread::Builder::new().name("job".into()).spawn(move || {
            // The receiver outlives its jobs.
            let _ = ended.send(job.run(command, feeds));
        })?;
        Ok(Running { id, deadline, killed: None, leash })
    }

    /// Kills the command with everything it started; once.
    pub fn kill(&mut self, why: impl FnOnce() -> String) {
        if self.killed.is_none() {
            self.killed = Some(why());
            self.leash.cut();
        }
    }
}

impl Job {
    /// Runs the command to its end, writes that down, and then acknowledges the item or gives it back.
    fn run(self, command: Command, feeds: bool) -> Ended {
        let (start, clock) = (SystemTime::now(), Instant::now());
        let status = match self.warden.spawn(command) {
            Ok(Some(child)) => {
                let status = wait(child, feeds.then_some(&self.item));
                if status.is_err() {
                    self.warden.leash().cut();
                }
                status
            }
            Ok(None) => Err(io::ErrorKind::Interrupted.into()),
            Err(error) if is_of_item(&error) => Err(error),
            Err(error) => return self.cannot(&error),
        };
        let Job { common, id, lease, item, warden, .. } = self;
        drop(warden);
        let (sequence, attempt) = (lease.sequence(), lease.attempt());
        let runtime = clock.elapsed();
        let entry = Entry {
            sequence,
            attempt,
            start,
            runtime,
            status: status.as_ref().ok().copied(),
            item: &item,
        };
        // Before the item is acknowledged: who dies between the two has at least said so.
        let written = common.log.as_ref().map_or(Ok(()), |log| log.append(&entry));
        let failed = match status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let ended = match (&failed, common.retry_delay) {
            (None, _) => lease.ack(),
            (Some(_), None) => lease.nack(),
            (Some(_), Some(delay)) => lease.nack_after(delay),
        };
        let ended = ended.map_err(|error| Failure::lease(&common.queue, &error));
        Ended { id, item, sequence, attempt, failed, error: ended.and(written).err() }
    }

    /// No command can be started: the item was not touched.
    fn cannot(self, error: &io::Error) -> Ended {
        let (sequence, attempt) = (self.lease.sequence(), self.lease.attempt());
        // If that fails too, the item comes back when this program ends.
        let _ = self.lease.release();
        let what = format!("cannot run {}: {error}", self.program);
        let way_out = "the item is back in the queue; correct the command";
        let error = Failure::new(ExitCode::Failure, what, &self.common.queue, way_out);
        let (failed, error) = (None, Some(error));
        Ended { id: self.id, item: self.item, sequence, attempt, failed, error }
    }
}

/// Gives the command its item, and waits for its end.
fn wait(mut child: Child, item: Option<&Arc<Vec<u8>>>) -> io::Result<ExitStatus> {
    if let (Some(mut pipe), Some(item)) = (child.stdin.take(), item) {
        // Whether it reads all of it is the command's own business.
        if item.len() <= PIPE {
            let _ = pipe.write_all(item);
        } else {
            let item = Arc::clone(item);
            let feed = move || drop(pipe.write_all(&item));
            thread::Builder::new().name("stdin".into()).spawn(feed)?;
        }
    }
    child.wait()
}
