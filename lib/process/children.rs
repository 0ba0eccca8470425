//! The children of this process: what is known of each, and which there are.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::os::per_process::PerProcess;
use crate::os::pidfd::{PidFd, Sent};
use crate::os::{poll, process};

use super::wire::Report;
use super::{ExitStatus, ProcessError};

/// A process that was started. Its status is collected once, by whoever finds that it has ended: a thread
/// of the library does, so none stays behind as a zombie.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    pid: u32,
    daemon: bool,
    pidfd: PidFd,
    /// The process that started it: see [`process::fork_id`].
    fork_id: u64,
    status: Mutex<Option<ExitStatus>>,
    /// What it reported before it ended; set when it has ended.
    report: OnceLock<Option<Report>>,
    /// Guards nothing but the condition.
    reported: (Mutex<()>, Condvar),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Child {
    pub(super) fn new(name: String, pid: u32, daemon: bool, pidfd: PidFd, fork_id: u64) -> Child {
        Child {
            name,
            pid,
            daemon,
            pidfd,
            fork_id,
            status: Mutex::default(),
            report: OnceLock::new(),
            reported: (Mutex::new(()), Condvar::new()),
        }
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.daemon
    }

    fn is_ours(&self) -> bool {
        process::fork_id().is_ok_and(|id| id == self.fork_id)
    }

    fn ours(&self) -> Result<(), ProcessError> {
        match self.is_ours() {
            true => Ok(()),
            false => Err(ProcessError::Forked { name: self.name.clone() }),
        }
    }

    fn failed(&self, operation: &'static str) -> impl Fn(std::io::Error) -> ProcessError + '_ {
        move |source| ProcessError::Io { name: self.name.clone(), operation, source }
    }

    /// Whether it has ended; its status may have been collected or not.
    pub(super) fn has_ended(&self) -> bool {
        self.pidfd.has_ended()
    }

    /// How it ended, if it has; collects the status.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        if !self.is_ours() {
            return None;
        }
        let mut status = lock(&self.status);
        if status.is_none() {
            *status = self.pidfd.reap().ok().flatten().map(ExitStatus::from);
        }
        *status
    }

    /// Waits until it has ended; `None` when the deadline comes first.
    pub(super) fn wait(&self, deadline: Deadline) -> Result<Option<ExitStatus>, ProcessError> {
        self.ours()?;
        loop {
            if let Some(status) = self.status() {
                return Ok(Some(status));
            }
            match poll::readable(&[self.as_fd()], deadline).map_err(self.failed("wait for"))? {
                None => return Ok(self.status()),
                // A traced child that has ended cannot be collected before its tracer has seen it.
                Some(_) if self.status().is_none() => {
                    match deadline.nap(Duration::from_millis(1)) {
                        Some(nap) => std::thread::sleep(nap),
                        None => return Ok(None),
                    }
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn signal(&self, sent: Sent) -> Result<(), ProcessError> {
        self.ours()?;
        self.pidfd.signal(sent).map_err(self.failed("signal"))
    }

    /// Waits for what it reported, which is known soon after its end.
    pub(super) fn report(&self) -> Option<&Report> {
        let (mutex, condition) = &self.reported;
        let mut guard = lock(mutex);
        loop {
            if let Some(report) = self.report.get() {
                return report.as_ref();
            }
            guard = condition.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells everybody what it reported: when it has ended.
    pub(super) fn set_report(&self, report: Option<Report>) {
        let (mutex, condition) = &self.reported;
        let guard = lock(mutex);
        let _ = self.report.set(report);
        drop(guard);
        condition.notify_all();
        if let Ok(children) = CHILDREN.get() {
            lock(children).all.retain(|one| !std::ptr::eq(&**one, self));
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// A process that this one started, whatever its function returns: what [`active_children`] gives.
///
/// [`Process`](crate::Process) has the same methods, and the result.
#[derive(Clone, Debug)]
pub struct ChildProcess(pub(super) Arc<Child>);

impl ChildProcess {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its process id, also after its end.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it is a daemon.
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// Whether it runs; false in a forked copy of this process.
    pub fn is_alive(&self) -> bool {
        self.0.is_ours() && self.0.status().is_none()
    }

    /// How it ended; `None` while it runs, and in a forked copy of this process.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.0.status()
    }

    /// Waits until it has ended, and says how. It cannot wait longer than the process lives, however that
    /// dies; signals do not cut it short.
    ///
    /// # Errors
    /// [`ProcessError::Forked`] in a forked copy of this process.
    pub fn join(&self) -> Result<ExitStatus, ProcessError> {
        loop {
            if let Some(status) = self.0.wait(Deadline::Never)? {
                return Ok(status);
            }
        }
    }

    /// Waits until it has ended, for so long at most.
    ///
    /// # Errors
    /// [`ProcessError::TimedOut`] if it still runs then, and as [`ChildProcess::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        let status = self.0.wait(Deadline::after(timeout))?;
        status.ok_or_else(|| ProcessError::TimedOut { name: self.0.name.clone() })
    }

    /// Sends it SIGTERM; nothing happens when it has ended. Its own children are not touched.
    ///
    /// # Errors
    /// [`ProcessError::Forked`] in a forked copy of this process; the child runs as another user.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.0.signal(Sent::Terminate)
    }

    /// Sends it SIGKILL; nothing happens when it has ended. Its own children are not touched, but see
    /// [`OrphanPolicy`](crate::OrphanPolicy).
    ///
    /// # Errors
    /// As [`ChildProcess::terminate`].
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.0.signal(Sent::Kill)
    }

    /// Sends it SIGINT; nothing happens when it has ended.
    ///
    /// # Errors
    /// As [`ChildProcess::terminate`].
    pub fn interrupt(&self) -> Result<(), ProcessError> {
        self.0.signal(Sent::Interrupt)
    }

    /// A descriptor that is readable when it has ended, for `poll`, `epoll` and event loops: a pidfd, Python's
    /// `sentinel`. Leave collecting the status to the library.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The children of one process that have not ended, or were not seen to have.
#[derive(Default)]
struct Children {
    all: Vec<Arc<Child>>,
    /// This process is ending.
    closed: bool,
}

static CHILDREN: PerProcess<Mutex<Children>> = PerProcess::new();

/// Whether this process can have further children.
pub(super) fn is_closed() -> bool {
    CHILDREN.get().is_ok_and(|children| lock(children).closed)
}

/// Enters a child; false when this process is ending.
pub(super) fn enter(child: &Arc<Child>) -> bool {
    let Ok(children) = CHILDREN.get() else { return false };
    let mut children = lock(children);
    if !children.closed {
        children.all.push(Arc::clone(child));
    }
    !children.closed
}

/// All children, to be waited for; from now on there can be no further ones.
pub(super) fn close_for_exit() -> Vec<Arc<Child>> {
    let Ok(children) = CHILDREN.get() else { return Vec::new() };
    let mut children = lock(children);
    children.closed = true;
    children.all.clone()
}

/// The children of this process that run, and collects the status of those that have ended: Python's
/// `active_children()`.
///
/// They are those that [`Process::start`](crate::Process::start) started, also those whose `Process` was
/// dropped. In a forked copy of this process there are none.
///
/// ```rust,standalone_crate
/// use std::time::Duration;
/// use steadfast::{Process, active_children};
///
/// fn nap() {
///     std::thread::sleep(Duration::from_secs(60));
/// }
///
/// steadfast::register!(nap);
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     steadfast::init();
///     for _ in 0..3 {
///         Process::new(nap, ()).start()?; // the handles are dropped, the processes run
///     }
///     assert_eq!(active_children().len(), 3);
///     for child in active_children() {
///         child.terminate()?;
///         assert_eq!(child.join()?.code(), Some(-15));
///     }
///     assert!(active_children().is_empty());
///     Ok(())
/// }
/// ```
pub fn active_children() -> Vec<ChildProcess> {
    let Ok(children) = CHILDREN.get() else { return Vec::new() };
    let mut children = lock(children);
    children.all.retain(|child| child.status().is_none());
    children.all.iter().map(|child| ChildProcess(Arc::clone(child))).collect()
}
