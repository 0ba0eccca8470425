//! A process by a descriptor, which names it and no later one of the same number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::clock::Deadline;
use super::poll;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// Somebody else in this process collected its status, or the kernel threw it away because SIGCHLD is
    /// ignored.
    Lost,
}

/// The signals that are sent to children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Interrupt,
    Terminate,
    Kill,
}

/// See the module's documentation. It is readable when the process has ended.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// The process that has this number now: for children that were not waited for, and for the parent.
    ///
    /// # Errors
    /// There is no such process, there are too many descriptors, or the kernel is older than 5.3.
    pub(crate) fn open(pid: u32) -> io::Result<PidFd> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        // The kernel makes them close-on-exec.
        Ok(PidFd(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(poll::readable(&[self.0.as_fd()], Deadline::Now), Ok(Some(_)))
    }

    /// Collects the status of a child that has ended, without waiting for it; `None` if it has not. Once.
    ///
    /// # Errors
    /// What `waitid` says; none is known.
    pub(crate) fn reap(&self) -> io::Result<Option<End>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let waited = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.0.as_fd()), options)
        });
        match waited {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                Ok(Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => End::Exited(code),
                    (None, Some(signal)) => End::Signaled(signal),
                    (None, None) => End::Lost,
                }))
            }
            Err(Errno::CHILD) => Ok(Some(End::Lost)),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal; nothing happens when the process has been waited for already.
    ///
    /// # Errors
    /// This process may not: the child runs as another user.
    pub(crate) fn signal(&self, sent: Sent) -> io::Result<()> {
        let signal = match sent {
            Sent::Interrupt => Signal::INT,
            Sent::Terminate => Signal::TERM,
            Sent::Kill => Signal::KILL,
        };
        match rustix::process::pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
