//! The parent's side: makes a child, meets it, and keeps in touch until it has ended.
//!
//! `ipc-channel` waits for a child's connection without a time limit, so one thread per child does that, and
//! `start` waits for that thread, for the child's end and for a deadline at once. When the child ends first,
//! `start` connects in its place. The thread then sends the arguments, waits for the report, and collects
//! the child's status. It holds the sending end of the child's lifeline: no other end of it is anywhere,
//! so it closes when this process is gone.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver, IpcSender};

use crate::os::clock::Deadline;
use crate::os::eventfd::EventFd;
use crate::os::pidfd::{PidFd, Sent};
use crate::os::{environment, poll, process, thread};

use super::children::{self, Child, ChildProcess};
use super::registry::Table;
use super::wire::{
    self, BACKSTOP, Build, Greeting, Inbox, MARKER, Marker, Piece, Received, Report, Start,
};
use super::{ExitStatus, StartError};

/// What comes after the temporary directory in the name of a server, and how long such a name may be.
const BELOW: usize = "/.tmpXXXXXX/socket".len();
const LONGEST: usize = 107;

/// How many descriptors are needed at once for a start, with some to spare.
const SPARE: usize = 12;

/// How long to wait for an answer that is already on its way.
const SOON: Duration = Duration::from_millis(50);

/// How long to wait for a thread of this process that has no reason to be late.
const LONG: Duration = Duration::from_secs(10);

/// What a child runs.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// The program of this process, by the file that it runs from, even if that was replaced or removed.
    Own,
    Other(PathBuf, Vec<OsString>),
}

impl Program {
    pub(super) fn path(&self) -> &Path {
        match self {
            Program::Own => Path::new("/proc/self/exe"),
            Program::Other(path, _) => path,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.path());
        match self {
            Program::Own => {
                // What `std::env::args` says is the same in parent and child.
                let mut arguments = std::env::args_os();
                command.arg0(arguments.next().unwrap_or_default()).args(arguments);
            }
            Program::Other(_, arguments) => drop(command.args(arguments)),
        }
        command
    }
}

/// How the meeting with a child went.
enum Met {
    Hello,
    /// It is another build.
    Other(Build),
    /// It speaks another language, or is somebody else.
    Foreign,
    /// It went away, or was not waited for any longer.
    Nobody,
    Failed(io::Error),
}

/// Starts a child, and returns when it was met.
pub(super) fn start(
    program: &Program,
    start: Start,
    fork_id: u64,
    timeout: Duration,
) -> Result<ChildProcess, StartError> {
    let name = start.name.clone();
    let failed = |operation: &'static str| {
        let name = name.clone();
        move |source| StartError::Io { name, operation, source }
    };
    check_temporary_directory()?;
    let bell = Arc::new(EventFd::new().map_err(failed("make a descriptor"))?);
    // `ipc-channel` panics in some places where there are no more, and never recovers.
    let spare: io::Result<Vec<EventFd>> = (0..SPARE).map(|_| EventFd::new()).collect();
    drop(spare.map_err(failed("make a descriptor"))?);
    process::keep_standard_descriptors_open().map_err(failed("open /dev/null"))?;
    // It panics for errors that have no number, such as those of the crate that makes its directory.
    let made = catch_unwind(IpcOneShotServer::<Greeting>::new)
        .unwrap_or_else(|_| Err(io::Error::other("ipc-channel panicked")));
    let (server, server_name) = made.map_err(failed("make a socket in the temporary directory"))?;

    // Its directory is open to all who may enter it by the process's umask.
    let directory = Path::new(&server_name).parent().unwrap_or(Path::new(""));
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))
        .map_err(failed("close the directory of the socket to others"))?;
    let token = process::random().map_err(failed("get random numbers"))?;
    let token = u64::from_ne_bytes(token);

    let marker = Marker { parent: process::id(), token, server: &server_name }.to_text();
    let spawned = program.command().env(MARKER, marker).stdin(Stdio::null()).spawn();
    let spawned = spawned
        .map_err(|source| StartError::Spawn { program: program.path().to_owned(), source })?;
    // It is waited for by its pidfd: nothing else here collects it, so the number is still its own.
    let pid = spawned.id();
    let pidfd = match PidFd::open(pid) {
        Ok(pidfd) => pidfd,
        // SIGCHLD is ignored, and it is gone already.
        Err(error) if error.raw_os_error() == Some(ESRCH) => {
            let program = program.path().to_owned();
            return Err(StartError::Died { program, status: ExitStatus::Lost });
        }
        Err(error) => {
            let mut spawned = spawned;
            let _ = spawned.kill();
            let _ = spawned.wait();
            return Err(failed("watch the child")(error));
        }
    };
    let child = Arc::new(Child::new(name.clone(), pid, start.daemon, pidfd, fork_id));
    if !children::enter(&child) {
        end(&child);
        return Err(StartError::Exiting { name });
    }

    let (sender, verdict) = mpsc::channel();
    let host = (Arc::clone(&child), Arc::clone(&bell));
    let hosted = thread::spawn_quiet("steadfast-child", move || {
        let (child, bell) = host;
        let (met, channels) = meet(server, token);
        let _ = sender.send(met);
        bell.ring();
        drop((sender, bell));
        let report = catch_unwind(AssertUnwindSafe(|| attend(&child, channels, start)));
        let _ = child.wait(Deadline::Never);
        child.set_report(report.unwrap_or_default());
    });
    if let Err(error) = hosted {
        end(&child);
        child.set_report(None);
        return Err(failed("start a thread")(error));
    }

    let meeting = Meeting { child: &child, bell: &bell, verdict, server_name: &server_name };
    let met = meeting.wait(Deadline::after(timeout));
    let program = program.path().to_owned();
    match met {
        Some(Met::Hello) => return Ok(ChildProcess(child)),
        Some(Met::Nobody) => {
            // It went away, so it is ending; or it does not, and is ended.
            if let Ok(Some(status)) = child.wait(Deadline::after(timeout)) {
                return Err(StartError::Died { program, status });
            }
        }
        _ => {}
    }
    end(&child);
    let ours = Table::get().build().to_string();
    Err(match met {
        Some(Met::Other(theirs)) => {
            StartError::Mismatch { program, theirs: theirs.to_string(), ours }
        }
        Some(Met::Foreign) => {
            let theirs = "a version of steadfast that this one does not understand".to_owned();
            StartError::Mismatch { program, theirs, ours }
        }
        Some(Met::Failed(error)) => failed("meet the child")(error),
        _ => StartError::NoHandshake { program, timeout },
    })
}

/// The number by which the kernel says that there is no such process.
const ESRCH: i32 = 3;

/// Ends a child that cannot be used, and collects it.
fn end(child: &Child) {
    let _ = child.signal(Sent::Kill);
    let _ = child.wait(Deadline::Never);
}

/// The name of the server must fit into a socket's address: `ipc-channel` would cut it, and it panics where it
/// cannot make a directory.
fn check_temporary_directory() -> Result<(), StartError> {
    let directory = std::env::temp_dir();
    let directory = std::path::absolute(&directory).unwrap_or(directory);
    let what = match directory.to_str() {
        None => "is no plain text",
        Some(text) if text.len() + BELOW > LONGEST => "is too long for the address of a socket",
        Some(_) if !environment::is_writable_directory(&directory) => {
            "is not a directory that this process may write to"
        }
        Some(_) => return Ok(()),
    };
    Err(StartError::TemporaryDirectory { directory, what })
}

/// The side of a start that waits for the meeting of the other thread with the child.
struct Meeting<'a> {
    child: &'a Child,
    bell: &'a EventFd,
    verdict: mpsc::Receiver<Met>,
    server_name: &'a str,
}

impl Meeting<'_> {
    /// How it went; `None` when the deadline came first, and the child was ended for it. A child that ends by
    /// itself does not keep anybody waiting. In any case the place to meet is gone afterwards.
    fn wait(&self, deadline: Deadline) -> Option<Met> {
        match poll::readable(&[self.bell.as_fd(), self.child.as_fd()], deadline) {
            Ok(Some(0)) => self.verdict.recv().ok(),
            Ok(Some(_)) => {
                // It may have said hello before.
                if !self.is_over(SOON) {
                    self.come_instead();
                }
                Some(self.verdict.try_recv().unwrap_or(Met::Nobody))
            }
            _ => {
                end(self.child);
                if !self.is_over(SOON) {
                    self.come_instead();
                }
                None
            }
        }
    }

    fn is_over(&self, within: Duration) -> bool {
        matches!(poll::readable(&[self.bell.as_fd()], Deadline::after(within)), Ok(Some(_)))
    }

    /// Has the other thread go on without the child, which has ended and did not connect.
    fn come_instead(&self) {
        // It fails if the meeting is over just now, or if there are no more descriptors.
        if let Ok(sender) = IpcSender::<Greeting>::connect(self.server_name.to_owned()) {
            let _ = sender.send(Greeting::Abort);
        }
        self.is_over(LONG);
    }
}

type Channels = Option<(IpcSender<Piece>, IpcReceiver<Piece>)>;

/// Waits for a child's greeting.
fn meet(server: IpcOneShotServer<Greeting>, wanted: u64) -> (Met, Channels) {
    let ours = Table::get().build();
    // A greeting of another build may be anything, and `ipc-channel` asserts that it is not.
    match catch_unwind(AssertUnwindSafe(|| server.accept())) {
        Ok(Ok((_, Greeting::Hello { token, .. }))) if token != wanted => (Met::Foreign, None),
        Ok(Ok((_, Greeting::Hello { build, .. }))) if build != *ours => (Met::Other(build), None),
        Ok(Ok((_, Greeting::Hello { start, report, .. }))) => (Met::Hello, Some((start, report))),
        Ok(Ok((_, Greeting::Abort)) | Err(IpcError::Disconnected)) => (Met::Nobody, None),
        Ok(Err(IpcError::Io(error))) => (Met::Failed(error), None),
        Ok(Err(IpcError::SerializationError(_))) | Err(_) => (Met::Foreign, None),
    }
}

/// Sends what is to be done, and waits for what becomes of it. Returns when the child has ended, which keeps
/// its lifeline until then.
fn attend(child: &Child, channels: Channels, start: Start) -> Option<Report> {
    let (lifeline, reports) = channels?;
    let mut reports = Inbox::new(reports);
    // It fails when the child has died.
    let _ = wire::send(&lifeline, &start);
    drop(start);
    let report = loop {
        // Looked at first: what it sent before its end has arrived then.
        let ended = child.has_ended();
        match reports.receive(if ended { Duration::ZERO } else { BACKSTOP }) {
            Received::Message(report) => break Some(report),
            Received::Nothing if ended => break None,
            Received::Part | Received::Nothing => {}
            Received::End => break None,
        }
    };
    let _ = child.wait(Deadline::Never);
    report
}
