//! Surviving a peer that truncates a mapped segment.
//!
//! A file of `/dev/shm` cannot be sealed against shrinking; touching a mapped page beyond the new
//! end raises SIGBUS, which kills the process. The guard, when it is switched on, lets the touch read
//! zeros instead and marks the mapping, so that the next operation is an error.
//!
//! # The table
//! Every mapping is entered, guard or not. The handler may interrupt any instruction, so it takes no
//! lock and allocates nothing: it walks a list of entries that are never freed. An entry is read as
//! under a sequence lock: its `version` is odd while it changes, and a reader whose version moved
//! looks at it as if it were empty. The entry that the handler needs cannot be changing: the thread
//! that it interrupted is using that very mapping.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};

/// A mapping known to the handler; never freed, reused when empty.
pub(crate) struct Entry {
    /// Even: at rest. Odd: `start` and `len` are changing.
    version: AtomicU32,
    start: AtomicUsize,
    /// Bytes mapped; 0 when the entry is free.
    len: AtomicUsize,
    /// Whether somebody has the entry.
    taken: AtomicBool,
    /// Whether a touch beyond the file's end was caught.
    truncated: AtomicBool,
    next: *const Entry,
}

// SAFETY: `next` is written before the entry is published and never changed; entries live for ever.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// The newest entry.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

/// What SIGBUS did before; written before our handler is installed, read by it.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Installing happens once. Not taken by the handler.
static INSTALLED: Mutex<bool> = Mutex::new(false);

impl Entry {
    fn change(&self, start: usize, len: usize) {
        self.version.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> (usize, usize) {
        let before = self.version.load(Ordering::Acquire);
        let found = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        if before == after && before.is_multiple_of(2) { found } else { (0, 0) }
    }
}

/// A mapping's place in the table, given back when dropped. Drop it before unmapping.
pub(crate) struct Watch {
    entry: &'static Entry,
}

impl Watch {
    /// Enters the mapping of `len` bytes at `start`.
    pub(crate) fn new(start: *mut u8, len: usize) -> Watch {
        let entry = entries()
            .find(|entry| !entry.taken.swap(true, Ordering::Acquire))
            .unwrap_or_else(add_entry);
        entry.truncated.store(false, Ordering::Relaxed);
        entry.change(start.addr(), len);
        Watch { entry }
    }

    /// Whether the guard caught a touch beyond the file's end: some of the mapping is private zeros
    /// now. One relaxed load.
    #[inline]
    pub(crate) fn truncated(&self) -> bool {
        self.entry.truncated.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.entry.change(0, 0);
        self.entry.taken.store(false, Ordering::Release);
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    let mut at = ENTRIES.load(Ordering::Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: null, or an entry that was leaked on purpose and is never freed.
        let entry: &'static Entry = unsafe { at.as_ref() }?;
        at = entry.next;
        Some(entry)
    })
}

/// A new entry, taken, at the head of the list.
fn add_entry() -> &'static Entry {
    let mut next = ENTRIES.load(Ordering::Acquire);
    let entry = Box::into_raw(Box::new(Entry {
        version: AtomicU32::new(0),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        taken: AtomicBool::new(true),
        truncated: AtomicBool::new(false),
        next,
    }));
    while let Err(other) =
        ENTRIES.compare_exchange(next, entry, Ordering::AcqRel, Ordering::Acquire)
    {
        next = other;
        // SAFETY: the entry is not published yet, so this thread is the only one that knows it.
        unsafe { (*entry).next = next };
    }
    // SAFETY: just made, and never freed.
    unsafe { &*entry }
}

/// Makes a segment that a peer truncates an error instead of the death of this process.
///
/// Segments are files that everybody with access may truncate; touching the missing part raises
/// SIGBUS. This installs a handler, for the whole process and for good, that puts zeroed private
/// memory in the place of the missing part. Operations on that segment then fail with
/// [`SegmentError::Truncated`](crate::SegmentError::Truncated); one that was under way when it
/// happened may report corruption instead. Faults anywhere else are handed to whoever handled them
/// before, or end the process as ever.
///
/// Call it once, early; further calls do nothing. A handler for SIGBUS that is installed later must
/// chain to this one.
///
/// # Errors
/// What `sigaction` says.
///
/// # Example
/// ```
/// steadfast::guard_against_truncation()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn guard_against_truncation() -> io::Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if *installed {
        return Ok(());
    }
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::Relaxed);
    let mut previous = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: asks for the present action only, and `previous` has room for it.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above succeeded, so it was filled in.
    let previous = unsafe { previous.assume_init() };
    let mut action = previous;
    action.sa_sigaction = on_sigbus as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the mask is part of a valid sigaction.
    unsafe { libc::sigemptyset(&mut action.sa_mask) };
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
    // SAFETY: the handler lives as long as the program and calls only what may be called there.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    *installed = true;
    Ok(())
}

extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands over a valid siginfo with SA_SIGINFO.
    let facts = unsafe { &*info };
    if facts.si_code == libc::BUS_ADRERR {
        // SAFETY: for BUS_ADRERR the kernel fills in the address.
        let address = unsafe { facts.si_addr() }.addr();
        if patch(address) {
            return;
        }
    }
    pass_on(signal, facts.si_code, info, context);
}

/// Puts zeros over the rest of the watched mapping that holds `address`; false when there is none.
fn patch(address: usize) -> bool {
    for entry in entries() {
        let (start, len) = entry.read();
        if address < start || address - start >= len {
            continue;
        }
        // Pages are at least this large, and mappings start at a page.
        let page = PAGE.load(Ordering::Relaxed);
        let from = address & !(page - 1);
        let left = (start + len).next_multiple_of(page) - from;
        // SAFETY: errno belongs to this thread; the interrupted code must find it unchanged.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: points at this thread's errno.
        let saved = unsafe { *errno };
        // SAFETY: the range is the end of a mapping of ours, which the interrupted thread is using,
        // so it is not being unmapped; its bytes are lost already. `mmap` is a bare system call.
        let mapped = unsafe {
            libc::mmap(
                ptr::with_exposed_provenance_mut(from),
                left,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        // SAFETY: points at this thread's errno.
        unsafe { *errno = saved };
        if mapped == libc::MAP_FAILED {
            return false;
        }
        entry.truncated.store(true, Ordering::Relaxed);
        return true;
    }
    false
}

/// The size of a page: asked for before the handler is installed.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// Does what SIGBUS did before the guard was switched on.
fn pass_on(
    signal: libc::c_int,
    code: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: null, or the action that was leaked before the handler was installed.
    let previous = unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() };
    let sent = code <= 0; // by kill() and the like, rather than by a fault
    match previous {
        Some(action) if action.sa_sigaction == libc::SIG_IGN && sent => {}
        Some(action)
            if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN =>
        {
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                type Full = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
                // SAFETY: with SA_SIGINFO the action is a function of this type.
                let handler = unsafe { std::mem::transmute::<usize, Full>(action.sa_sigaction) };
                handler(signal, info, context);
            } else {
                type Plain = extern "C" fn(libc::c_int);
                // SAFETY: without SA_SIGINFO the action is a function of this type.
                let handler = unsafe { std::mem::transmute::<usize, Plain>(action.sa_sigaction) };
                handler(signal);
            }
        }
        _ => {
            // The default: the fault happens again when this returns, and ends the process.
            // SAFETY: SIG_DFL is a valid action, and `signal` may be called in a handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            if sent {
                // SAFETY: may be called in a handler; delivered when this returns.
                unsafe { libc::raise(signal) };
            }
        }
    }
}
