//! Byte locks that belong to an open file description, and so to a process.
//!
//! The kernel drops such a lock when the last descriptor of its description is closed, which it does
//! itself for a process that is killed: a lock that is held proves that its holder lives (or that a
//! child inherited the descriptor, hence the handlers below). A time-out is never needed, no number
//! can be reused, and no namespace stands between. The description must never be mapped, as a
//! mapping keeps it alive, and asking through the description that holds a lock answers "free".
//!
//! # Fork
//! A child would keep its parent's locks. Every descriptor is therefore entered into a list, and
//! `pthread_atfork` handlers close the copies in the child, which leaves the parent's locks alone
//! (unlocking in the child would drop them). Opening plus entering, and leaving plus closing, happen
//! under a lock that the handlers take before the fork, so no child can be made in between.
//! A child made by a bare `clone` system call runs no handlers: there the copies stay open, and
//! dead parents look alive, until that child ends or executes a program. A signal handler must not
//! fork: it may have interrupted the holder of that lock.

use super::process::{DescriptorsHeld, ForkPage, fork_id, fork_page, mapped_fork_page};
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// An entry of the list of lock descriptors; never freed, reused when empty.
struct Entry {
    /// The descriptor; [`EMPTY`] when the entry is free, or when a child's handler closed it.
    descriptor: AtomicI32,
    /// The fork id of the process that entered it; changed under the descriptor lock. Tells an entry
    /// that a child inherited from one that it filled with the same number itself.
    fork_id: AtomicU64,
    next: *const Entry,
}

// SAFETY: `next` is written before the entry is published and never changed; entries live for ever.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

const EMPTY: RawFd = -1;

/// The newest entry of the list.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

/// Whether the `fork` handlers are installed: 0 no, 1 yes. Changed under the descriptor lock.
static HANDLERS: AtomicU32 = AtomicU32::new(0);

fn entries() -> impl Iterator<Item = &'static Entry> {
    let mut at = ENTRIES.load(Ordering::Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: null, or an entry that was leaked on purpose and is never freed.
        let entry: &'static Entry = unsafe { at.as_ref() }?;
        at = entry.next;
        Some(entry)
    })
}

/// Enters a descriptor. The caller holds the descriptor lock.
fn enter(descriptor: RawFd, fork_id: u64) -> &'static Entry {
    for entry in entries() {
        let taken = entry.descriptor.compare_exchange(
            EMPTY,
            descriptor,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if taken.is_ok() {
            entry.fork_id.store(fork_id, Ordering::Relaxed);
            return entry;
        }
    }
    let next = ENTRIES.load(Ordering::Acquire);
    let entry: &'static Entry = Box::leak(Box::new(Entry {
        descriptor: AtomicI32::new(descriptor),
        fork_id: AtomicU64::new(fork_id),
        next,
    }));
    // Only holders of the descriptor lock add entries, so nobody else has since.
    ENTRIES.store(ptr::from_ref(entry).cast_mut(), Ordering::Release);
    entry
}

extern "C" fn before_fork() {
    if let Some(page) = mapped_fork_page() {
        page.hold_descriptors().keep();
    }
}

extern "C" fn after_fork_in_parent() {
    if let Some(page) = mapped_fork_page() {
        DescriptorsHeld::release_kept(page);
    }
}

extern "C" fn after_fork_in_child() {
    // The lock is free again: its word was wiped. This is the only thread.
    for entry in entries() {
        let descriptor = entry.descriptor.swap(EMPTY, Ordering::Relaxed);
        if descriptor != EMPTY {
            // SAFETY: entries hold open descriptors that belong to a LockFile; the one in this
            // process finds its entry changed and will not close the number again.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// Installs the handlers once. The caller holds the descriptor lock, and the fork page is mapped.
fn install_handlers() -> io::Result<()> {
    if HANDLERS.load(Ordering::Relaxed) == 1 {
        return Ok(());
    }
    // SAFETY: the three functions live as long as the program and do what is allowed around a fork:
    // atomics and `close`.
    let code = unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        )
    };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    HANDLERS.store(1, Ordering::Relaxed);
    Ok(())
}

/// What a lock excludes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Other descriptions may hold it shared as well.
    Shared,
    /// Nobody else may hold it.
    Exclusive,
}

impl Mode {
    fn code(self) -> i16 {
        match self {
            Mode::Shared => libc::F_RDLCK as i16,
            Mode::Exclusive => libc::F_WRLCK as i16,
        }
    }
}

/// An own description of a file, for locks only. Its locks are given back when it is dropped or the
/// process dies. In a forked child it is dead: every call is an error, and its drop does nothing.
pub(crate) struct LockFile {
    descriptor: RawFd,
    entry: &'static Entry,
    page: &'static ForkPage,
    fork_id: u64,
}

impl LockFile {
    /// Opens a description with `open`, which must not have been locked or mapped through.
    ///
    /// # Errors
    /// What `open` says, or the kernel about the fork page and the handlers.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<LockFile> {
        let page = fork_page()?;
        let fork_id = fork_id()?;
        let _held = page.hold_descriptors();
        install_handlers()?;
        let descriptor = open()?.into_raw_fd();
        Ok(LockFile { descriptor, entry: enter(descriptor, fork_id), page, fork_id })
    }

    /// Whether this process is the one that opened the file, and not a child of it.
    fn check(&self) -> io::Result<()> {
        if self.page.id() == self.fork_id {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EBADF))
        }
    }

    /// Takes bytes `first .. first + count`; changes the mode of those that it holds. Never waits.
    /// False when somebody else has one of them.
    ///
    /// # Errors
    /// `EBADF` in a forked child, otherwise what the kernel says.
    pub(crate) fn try_lock(&self, first: u64, count: u64, mode: Mode) -> io::Result<bool> {
        let mut lock = range(mode.code(), first, count);
        match self.control(libc::F_OFD_SETLK, &mut lock) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EACCES) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Gives bytes `first .. first + count` back.
    ///
    /// # Errors
    /// `EBADF` in a forked child, otherwise what the kernel says.
    pub(crate) fn unlock(&self, first: u64, count: u64) -> io::Result<()> {
        self.control(libc::F_OFD_SETLK, &mut range(libc::F_UNLCK as i16, first, count))
    }

    /// Some bytes of `first .. first + count` that another description holds in any mode: the first
    /// of them and how many, cut to the range asked about. `None` when there are none.
    ///
    /// # Errors
    /// `EBADF` in a forked child, otherwise what the kernel says.
    pub(crate) fn held_by_others(&self, first: u64, count: u64) -> io::Result<Option<(u64, u64)>> {
        let mut lock = range(libc::F_WRLCK as i16, first, count);
        self.control(libc::F_OFD_GETLK, &mut lock)?;
        if lock.l_type == libc::F_UNLCK as i16 {
            return Ok(None);
        }
        let start = u64::try_from(lock.l_start).unwrap_or(0);
        let end = match u64::try_from(lock.l_len) {
            Ok(len) if len > 0 => start.saturating_add(len),
            _ => u64::MAX,
        };
        let start = start.clamp(first, first + count - 1);
        let end = end.clamp(start + 1, first + count);
        Ok(Some((start, end - start)))
    }

    fn control(&self, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
        self.check()?;
        loop {
            // SAFETY: the descriptor is open (checked: this is not a child), and the commands used
            // here read and write one flock, which `lock` is.
            let result = unsafe { libc::fcntl(self.descriptor, command, ptr::from_mut(lock)) };
            if result != -1 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// The description itself, to ask the kernel about the file.
    ///
    /// # Errors
    /// `EBADF` in a forked child.
    pub(crate) fn file(&self) -> io::Result<BorrowedFd<'_>> {
        self.check()?;
        // SAFETY: the descriptor is open as long as `self` lives (checked: this is not a child).
        Ok(unsafe { BorrowedFd::borrow_raw(self.descriptor) })
    }
}

impl Drop for LockFile {
    /// Unlocks (so that a child that was just made and has not closed its copy yet keeps nothing),
    /// leaves the list, closes. In a forked child the handler has closed already; in one made by a
    /// bare `clone` the copy is closed and nothing unlocked.
    fn drop(&mut self) {
        if self.check().is_ok() {
            let _ = self.unlock(0, 0);
        }
        let _held = self.page.hold_descriptors();
        if self.entry.fork_id.load(Ordering::Relaxed) != self.fork_id {
            return;
        }
        let left = self.entry.descriptor.swap(EMPTY, Ordering::AcqRel);
        if left != EMPTY {
            // SAFETY: the entry is still the one made for this LockFile, and no handler has closed
            // the descriptor, so it is open and nobody else's.
            unsafe { libc::close(left) };
        }
    }
}

/// A lock request; `count` 0 means "to the end of all files".
fn range(kind: i16, first: u64, count: u64) -> libc::flock {
    libc::flock {
        l_type: kind,
        l_whence: libc::SEEK_SET as i16,
        l_start: first.cast_signed(),
        l_len: count.cast_signed(),
        l_pid: 0,
    }
}
