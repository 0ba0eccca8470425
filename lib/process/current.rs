//! Who this process is, and who its parent.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::os::clock::Deadline;
use crate::os::eventfd::EventFd;
use crate::os::{poll, process};

/// What becomes of a process whose parent is gone: killed, or ended without waiting for it.
///
/// A child notices that at once, whatever killed its parent.
///
/// ```rust,standalone_crate
/// use steadfast::{OrphanPolicy, Process, parent_process};
///
/// /// Whatever happens to its parent, this comes to its end, and knows what happened.
/// fn write_report() -> bool {
///     let parent = parent_process().expect("it runs as a Process");
///     // ... and then:
///     parent.is_alive()
/// }
///
/// steadfast::register!(write_report);
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     steadfast::init();
///     let process = Process::new(write_report, ()).daemon(true);
///     let process = process.orphan_policy(OrphanPolicy::Finish).start()?;
///     assert!(process.result()?);
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrphanPolicy {
    /// It ends at once, as if it were killed. What daemons do, unless told otherwise.
    Die,
    /// Its function goes on to its end; then the process ends, and does not wait for children of its own
    /// (which notice that in turn). What other processes do, unless told otherwise.
    Finish,
    /// It goes on as if nothing had happened, and waits for its own children at its end.
    CarryOn,
}

/// Set in a child; nothing is in other programs.
static SELF: OnceLock<Me> = OnceLock::new();

pub(super) struct Me {
    pub(super) name: String,
    pub(super) identity: String,
    pub(super) daemon: bool,
    pub(super) orphan_policy: OrphanPolicy,
    pub(super) parent_name: String,
    pub(super) parent_pid: u32,
    pub(super) gone: EventFd,
    pub(super) is_gone: AtomicBool,
}

impl Me {
    /// Tells everybody who waits for the parent.
    pub(super) fn parent_is_gone(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.gone.ring();
    }
}

/// Says who this process is; once.
pub(super) fn set(me: Me) -> &'static Me {
    SELF.get_or_init(|| me)
}

/// The name of this process, as its children are told.
pub(super) fn name() -> &'static str {
    SELF.get().map_or("MainProcess", |me| &me.name)
}

pub(super) fn is_daemon() -> bool {
    SELF.get().is_some_and(|me| me.daemon)
}

/// What is readable when this process has no parent any more, if it is to end with its own work then.
pub(super) fn ends_when_orphaned() -> Option<&'static EventFd> {
    let me = SELF.get()?;
    (me.orphan_policy == OrphanPolicy::Finish).then_some(&me.gone)
}

/// The numbers in the name of this process's next child: "1:2" is the second one of the first one.
pub(super) fn next_identity() -> String {
    static CHILDREN: AtomicU32 = AtomicU32::new(1);
    let number = CHILDREN.fetch_add(1, Ordering::Relaxed);
    match SELF.get() {
        Some(me) => format!("{}:{number}", me.identity),
        None => number.to_string(),
    }
}

/// This process, as [`current_process`] gives it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CurrentProcess;

impl CurrentProcess {
    /// Its name: as its parent named it, or "MainProcess".
    pub fn name(&self) -> &'static str {
        name()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        process::id()
    }

    /// Whether it is a daemon.
    pub fn is_daemon(&self) -> bool {
        is_daemon()
    }
}

/// This process: Python's `current_process()`.
///
/// ```
/// assert_eq!(steadfast::current_process().name(), "MainProcess");
/// assert!(!steadfast::current_process().is_daemon());
/// ```
pub fn current_process() -> CurrentProcess {
    CurrentProcess
}

/// The process that started this one, as [`parent_process`] gives it.
///
/// Its descriptor is readable when it is gone.
#[derive(Clone, Copy)]
pub struct ParentProcess(&'static Me);

impl std::fmt::Debug for ParentProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParentProcess")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .finish()
    }
}

impl ParentProcess {
    /// Its name.
    #[allow(clippy::misnamed_getters)] // the child knows both names
    pub fn name(&self) -> &'static str {
        &self.0.parent_name
    }

    /// Its process id, also when it is gone.
    pub fn pid(&self) -> u32 {
        self.0.parent_pid
    }

    /// Whether it lives. Once it is gone, in whatever way, this is false within a moment.
    pub fn is_alive(&self) -> bool {
        !self.0.is_gone.load(Ordering::Acquire)
    }

    /// Waits until it is gone. How it ended is its own parent's business.
    pub fn join(&self) {
        let _ = poll::readable(&[self.as_fd()], Deadline::Never);
    }

    /// Waits until it is gone, for so long at most; tells whether it is.
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        let _ = poll::readable(&[self.as_fd()], Deadline::after(timeout));
        !self.is_alive()
    }
}

impl AsFd for ParentProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.gone.as_fd()
    }
}

/// The process that started this one as a [`Process`](crate::Process); `None` in a program that was started
/// in another way. Python's `parent_process()`.
///
/// ```
/// assert!(steadfast::parent_process().is_none(), "nobody started this as a Process");
/// ```
pub fn parent_process() -> Option<ParentProcess> {
    SELF.get().map(ParentProcess)
}
