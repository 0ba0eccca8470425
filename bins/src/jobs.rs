//! `consumer --exec`: takes items and keeps so many commands running.
//!
//! One thread takes items, and looks after the commands that run; each command has a thread that waits for
//! its end, and acknowledges its item or gives it back.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use steadfast::{GetError, JoinableQueue, Lease};

use crate::args::WaitArgs;
use crate::end_args::{EndArgs, Patience};
use crate::exec_args::ExecArgs;
use crate::exit_code::{ExitCode, Failure};
use crate::intake::{Intake, nothing_left};
use crate::job::{Common, Ended, Running};
use crate::job_log::JobLog;
use crate::output::{Output, WriteError};
use crate::report::note;
use crate::signals::{SLICE, Stop};
use crate::summary::{Commands, Done};

/// What was asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The queue's name.
    pub queue: &'a str,
    /// The command.
    pub exec: &'a ExecArgs,
    /// When to end.
    pub end: &'a EndArgs,
    /// How long to wait.
    pub wait: &'a WaitArgs,
}

/// A consumer that runs commands.
pub struct Jobs<'a> {
    asked: Asked<'a>,
    queue: JoinableQueue,
    /// The same queue, as the other consumers have it.
    intake: Intake,
    stop: Stop,
    /// Where to tell what was done.
    told: Option<Output>,
    done: &'a mut Done,
    common: Arc<Common>,
    running: Vec<Running>,
    ends: (Sender<Ended>, Receiver<Ended>),
    /// Items taken, sentinels not among them.
    taken: u64,
}

/// What looking for an item found.
enum Look {
    Item(Lease),
    Nothing,
    End(ExitCode),
}

impl<'a> Jobs<'a> {
    /// A consumer that runs nothing yet.
    ///
    /// # Errors
    /// The job log cannot be used.
    pub fn new(
        asked: Asked<'a>,
        queue: &JoinableQueue,
        stop: Stop,
        told: Option<Output>,
        done: &'a mut Done,
    ) -> Result<Jobs<'a>, Failure> {
        let exec = asked.exec;
        let log =
            exec.job_log.as_deref().map(|path| JobLog::open(path, exec.resume)).transpose()?;
        let (name, retry_delay) = (asked.queue.to_owned(), exec.retry_delay);
        let common = Arc::new(Common { queue: name, log, retry_delay });
        let intake = Intake::Leased(queue.clone());
        let (queue, running, ends) = (queue.clone(), Vec::new(), channel());
        done.commands = Some(Commands::default());
        Ok(Jobs { asked, queue, intake, stop, told, done, common, running, ends, taken: 0 })
    }

    /// Runs commands until one of the ends that were asked for, and then until the last one has ended.
    ///
    /// # Errors
    /// Something makes it pointless to go on.
    pub fn everything(&mut self) -> Result<ExitCode, Failure> {
        let mut outcome = self.take_all();
        while !self.running.is_empty() {
            let reaped = self.reap(SLICE);
            outcome = outcome.and_then(|code| reaped.map(|()| code));
        }
        // A signal may have come after the last item was taken: what ran was to end well all the same.
        if self.stop.insisted() || matches!(outcome, Ok(ExitCode::Interrupted)) {
            let (queue, done) = (self.asked.queue, self.done.tally.items);
            note("consumer", format_args!("interrupted: {queue}: {done} items done"));
            return outcome.map(|_| ExitCode::Interrupted);
        }
        outcome.map_err(|failure| failure.after(self.done.tally.items))
    }

    /// Takes items and starts their commands.
    fn take_all(&mut self) -> Result<ExitCode, Failure> {
        let Asked { exec, end, wait, .. } = self.asked;
        let most = exec.jobs.unwrap_or(1).into();
        let mut patience = end.patience(wait);
        loop {
            self.reap(Duration::ZERO)?;
            if end.count.is_some_and(|count| self.taken >= count) {
                return Ok(ExitCode::Done);
            }
            if self.stop.requested() {
                return Ok(ExitCode::Interrupted);
            }
            if self.running.len() >= most {
                self.reap(SLICE)?;
                continue;
            }
            if !self.running.is_empty() && !wait.nowait {
                patience = end.patience(wait);
            }
            match self.look(&patience)? {
                Look::Item(lease) => {
                    if self.begin(lease)? {
                        return Ok(ExitCode::Done);
                    }
                    patience = end.patience(wait);
                }
                Look::Nothing => {}
                Look::End(code) => return Ok(code),
            }
        }
    }

    /// Takes an item, or waits a slice for one.
    fn look(&self, patience: &Patience) -> Result<Look, Failure> {
        let Asked { queue, end, .. } = self.asked;
        let mut result = self.queue.try_get();
        for wait in [true, false] {
            let error = match result {
                Ok(lease) => return Ok(Look::Item(lease)),
                Err(error) => error,
            };
            let left = |time| nothing_left(&self.queue, time);
            match end.judge(queue, &error, patience, left)? {
                Some(code) => return Ok(Look::End(code)),
                None if wait && !matches!(error, GetError::Closed) => {}
                None => break,
            }
            let time = end.slice(&self.intake, patience).min(self.next_deadline());
            result = self.queue.get_timeout(time);
        }
        Ok(Look::Nothing)
    }

    /// Starts the command of an item. True at the sentinel.
    fn begin(&mut self, lease: Lease) -> Result<bool, Failure> {
        let Asked { queue, exec, end, .. } = self.asked;
        let item = lease.value().map_err(|error| Failure::get(queue, &error))?;
        let acknowledge = |lease: Lease| lease.ack().map_err(|error| Failure::lease(queue, &error));
        if end.sentinel() == Some(&item) {
            self.done.sentinels += 1;
            acknowledge(lease)?;
            return Ok(true);
        }
        self.taken += 1;
        if let Some(log) = &self.common.log
            && log.is_done(lease.sequence(), &item, lease.attempt() > 1)?
        {
            acknowledge(lease)?;
            self.done.tally.add(&item);
            self.commands().skipped += 1;
            self.tell(&item)?;
            return Ok(false);
        }
        let started = Running::start(self.taken, lease, item, exec, &self.common, &self.ends.0);
        let started = started.map_err(|error| {
            let what = format!("cannot start a command: {error}");
            Failure::new(ExitCode::Failure, what, queue, "the item is back in the queue")
        });
        self.running.push(started?);
        Ok(false)
    }

    /// Waits at most so long until a command ends, and kills what is to be killed meanwhile.
    fn reap(&mut self, time: Duration) -> Result<(), Failure> {
        let mut time = time.min(self.next_deadline());
        loop {
            if self.stop.insisted() {
                self.running.iter_mut().for_each(|job| job.kill(|| "killed by a signal".into()));
            }
            for job in self.running.iter_mut().filter(|job| job.deadline.passed()) {
                let limit = self.asked.exec.exec_timeout.unwrap_or_default();
                job.kill(|| format!("killed after {}", humantime::format_duration(limit)));
            }
            match self.ends.1.recv_timeout(time) {
                Ok(ended) => self.finish(ended)?,
                // It cannot be disconnected: we have a sender.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
            time = Duration::ZERO;
        }
    }

    /// Counts and tells what a command has done.
    fn finish(&mut self, ended: Ended) -> Result<(), Failure> {
        let at = self.running.iter().position(|job| job.id == ended.id);
        let killed = at.and_then(|at| self.running.swap_remove(at).killed);
        if let Some(error) = ended.error {
            return Err(error);
        }
        let Some(why) = ended.failed else {
            self.done.tally.add(&ended.item);
            return self.tell(&ended.item);
        };
        self.commands().failed += 1;
        let (sequence, attempt, queue) = (ended.sequence, ended.attempt, self.asked.queue);
        let why = killed.unwrap_or(why);
        note(
            "consumer",
            format_args!("item {sequence}, attempt {attempt}: {why}: {queue}: given back"),
        );
        Ok(())
    }

    fn commands(&mut self) -> &mut Commands {
        self.done.commands.get_or_insert_default()
    }

    /// With `--print`: says that an item is done.
    fn tell(&mut self, item: &[u8]) -> Result<(), Failure> {
        let Some(out) = &mut self.told else { return Ok(()) };
        out.item(item).and_then(|()| out.flush()).map_err(|WriteError { error, .. }| {
            let (what, way_out) = (format!("cannot write: {error}"), "what was done is done");
            Failure::new(ExitCode::Failure, what, "standard output", way_out)
        })
    }

    /// How long it is until a command takes too long.
    fn next_deadline(&self) -> Duration {
        let alive = self.running.iter().filter(|job| job.killed.is_none());
        alive.map(|job| job.deadline.left()).min().unwrap_or(Duration::MAX)
    }
}
