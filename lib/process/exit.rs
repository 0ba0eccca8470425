//! How processes end: the status of a child, and what this process does with its children when it ends.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::os::pidfd::{End, Sent};
use crate::os::{exit, poll};

use super::children::{self, Child};
use super::current;

/// How long a daemon has between SIGTERM and SIGKILL when its parent ends.
const GRACE: Duration = Duration::from_secs(5);

/// How a process ended.
///
/// ```
/// use steadfast::ExitStatus;
///
/// assert_eq!(ExitStatus::Exited(3).to_string(), "exit code 3");
/// assert_eq!(ExitStatus::Signaled(9).code(), Some(-9));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// By itself, with this code: 0 when its function returned, 1 when it panicked, or what it gave to
    /// `exit`, of which the system keeps the remainder by 256.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// Unknown: other code of this process collected the status (`waitpid(-1, ..)`), or SIGCHLD is ignored.
    Lost,
}

impl ExitStatus {
    /// Whether its function returned: exit code 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Exited(0)
    }

    /// The exit code, or the negative number of the signal that killed it, as Python's `exitcode`; `None` if
    /// it is unknown.
    pub fn code(self) -> Option<i32> {
        match self {
            ExitStatus::Exited(code) => Some(code),
            ExitStatus::Signaled(signal) => Some(-signal),
            ExitStatus::Lost => None,
        }
    }

    /// The signal that killed it.
    pub fn signal(self) -> Option<i32> {
        match self {
            ExitStatus::Signaled(signal) => Some(signal),
            _ => None,
        }
    }
}

impl From<End> for ExitStatus {
    fn from(end: End) -> ExitStatus {
        match end {
            End::Exited(code) => ExitStatus::Exited(code),
            End::Signaled(signal) => ExitStatus::Signaled(signal),
            End::Lost => ExitStatus::Lost,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "exit code {code}"),
            ExitStatus::Signaled(signal) => write!(f, "killed by signal {signal}"),
            ExitStatus::Lost => f.write_str("exit status unknown"),
        }
    }
}

/// Makes sure that the children are looked after when this process ends by itself; once.
pub(super) fn prepare() -> std::io::Result<()> {
    static PREPARED: OnceLock<()> = OnceLock::new();
    if PREPARED.get().is_none() {
        exit::at_exit(at_exit)?;
        // Two threads at once have it called twice, which does no harm.
        let _ = PREPARED.set(());
    }
    Ok(())
}

/// The reference's order: daemons are asked to end, then all children are waited for, daemons not for ever.
extern "C" fn at_exit() {
    // Of a forked process these are its own children, not its parent's.
    let children = children::close_for_exit();
    let (daemons, others): (Vec<_>, Vec<_>) = children.into_iter().partition(|one| one.is_daemon());
    for daemon in &daemons {
        let _ = daemon.signal(Sent::Terminate);
    }
    let grace = Deadline::after(GRACE);
    for child in &others {
        wait_for(child);
    }
    for daemon in &daemons {
        if let Ok(None) = daemon.wait(grace) {
            let _ = daemon.signal(Sent::Kill);
            let _ = daemon.wait(Deadline::Never);
        }
    }
}

/// Until the child has ended; or this process has no parent any more and is to end with its own work.
fn wait_for(child: &Child) {
    match current::ends_when_orphaned() {
        Some(gone) => {
            if let Ok(Some(0)) = poll::readable(&[child.as_fd(), gone.as_fd()], Deadline::Never) {
                let _ = child.status();
            }
        }
        None => drop(child.wait(Deadline::Never)),
    }
}
