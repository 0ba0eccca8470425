//! `RLock`: a lock that its owner may take again.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | depth, u32: how often its owner has it; nothing but the owner reads or writes it |
//! | 4 | unused |
//! | 8 | the owner's name as a thread (see [`Caller::thread`]), u64; 0 = nobody |
//! | 128 | a mutex without a value (see [`super::mutex`]) |
//!
//! Whether the calling thread is the owner stands in the lock word; the thread's name beside it tells threads apart
//! where the word names only their process, in other PID namespaces than the segment's. A thread writes its name
//! there after it got the lock, and takes it away before it gives it up; so only the owner finds its own, whatever
//! a dead owner has left there.
//!
//! A thief begins with depth 1: what the dead owner's depth was does not matter.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use crate::os::clock::Deadline;
use crate::segment::{Area, Arranged, Arrangement, Segment, SegmentError};

use super::consistency::REPAIRED;
use super::robust_lock::WAITERS;
use super::shared::{Room, Shared, in_a_segment_of_its_own};
use super::{Caller, Consistency, Death, LockError, Mutex, MutexGuard};

#[derive(Debug)]
#[repr(C, align(128))]
struct Words {
    depth: AtomicU32,
    unused: AtomicU32,
    thread: AtomicU64,
}

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Words {}

/// A lock that its owner, a thread, may take again, and has until it dropped as many guards as it took. It guards
/// no value: as with Python's `RLock`, the code that takes it knows what for. (Where that can be a value, use
/// [`Mutex`](crate::Mutex), which also says when it is taken twice.)
///
/// Death, other PID namespaces and `fork` are as for [`Mutex`](crate::Mutex): the next owner after a dead one gets
/// [`LockError::OwnerDied`], with the guard.
///
/// ```
/// use steadfast::{RLock, SegmentOptions};
///
/// # let name = format!("doc-rlock-{}", std::process::id());
/// let lock = RLock::create(&name, (), &SegmentOptions::new())?;
/// let outer = lock.lock().unwrap();
/// let inner = lock.lock().unwrap();
/// assert_eq!(inner.depth(), 2);
/// # drop((inner, outer));
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RLock {
    words: Arranged<Words>,
    main: Mutex<()>,
}

/// One of the times that its owner has an [`RLock`]; dropping the last of them releases the lock.
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    /// Not Send: the owner is a thread.
    thread: PhantomData<*mut ()>,
}

type Attempt<'a> = Result<RLockGuard<'a>, LockError<RLockGuard<'a>>>;

impl RLock {
    /// Waits for the lock for as long as it takes.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] gives the lock too; the others do not.
    pub fn lock(&self) -> Attempt<'_> {
        self.lock_until(|| Deadline::Never)
    }

    /// Takes the lock if it is free, the calling thread's own, or its owner dead.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if somebody else has it; otherwise as [`RLock::lock`].
    pub fn try_lock(&self) -> Attempt<'_> {
        self.lock_until(|| Deadline::Now).map_err(LockError::at_once)
    }

    /// Waits for the lock for at most `timeout`; zero does not wait.
    ///
    /// # Errors
    /// [`LockError::TimedOut`]; otherwise as [`RLock::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Attempt<'_> {
        self.lock_until(|| Deadline::after(timeout))
    }

    fn lock_until(&self, deadline: impl FnOnce() -> Deadline) -> Attempt<'_> {
        let segment = &self.main.segment;
        let caller = Caller::enter(segment).ok_or_else(|| segment.unusable())?;
        if self.is_held_by(&caller) {
            let depth = self.words.depth.load(Ordering::Relaxed);
            self.words.depth.store(depth.saturating_add(1), Ordering::Relaxed);
            return Ok(RLockGuard { lock: self, thread: PhantomData });
        }
        match self.main.lock_until(deadline()) {
            Ok(main) => Ok(self.begin(&caller, main)),
            Err(LockError::OwnerDied(main)) => Err(LockError::OwnerDied(self.begin(&caller, main))),
            Err(other) => Err(other.without_guard()),
        }
    }

    /// The first guard of a new owner.
    fn begin(&self, caller: &Caller, main: MutexGuard<'_, ()>) -> RLockGuard<'_> {
        std::mem::forget(main); // the last guard of ours releases it
        self.words.depth.store(1, Ordering::Relaxed);
        self.words.thread.store(caller.thread(), Ordering::Relaxed);
        RLockGuard { lock: self, thread: PhantomData }
    }

    fn is_held_by(&self, caller: &Caller) -> bool {
        let seen = self.main.control.cell.0[0].load(Ordering::Relaxed);
        seen & !u64::from(WAITERS) == caller.id()
            && (caller.names_thread()
                || self.words.thread.load(Ordering::Relaxed) == caller.thread())
    }

    /// Whether the calling thread has it.
    pub fn is_mine(&self) -> bool {
        Caller::enter(&self.main.segment).is_some_and(|caller| self.is_held_by(&caller))
    }

    /// How what it guards stands, as far as it has been noticed. For people and tools.
    pub fn consistency(&self) -> Consistency {
        self.main.consistency()
    }

    /// Who died last while having it, if anybody did.
    pub fn last_death(&self) -> Option<Death> {
        self.main.last_death()
    }

    /// Takes the lock in whatever state it is, lets `mend` put right what it guards, and marks it clean. If `mend`
    /// panics, what was clean counts as inconsistent, anything else as abandoned.
    ///
    /// # Errors
    /// [`LockError::Deadlock`] if the calling thread has it, [`LockError::Segment`].
    pub fn repair(&self, mend: impl FnOnce()) -> Result<(), LockError<RLockGuard<'_>>> {
        let segment = &self.main.segment;
        let caller = Caller::enter(segment).ok_or_else(|| segment.unusable())?;
        if self.is_held_by(&caller) {
            return Err(LockError::Deadlock);
        }
        let main = self.main.lock_anyhow(true, || true).map_err(LockError::without_guard)?;
        // A guard of ours from here: `mend` may take the lock again, as any owner may.
        let mut guard = self.begin(&caller, main);
        self.main.begin_repair();
        mend();
        guard.mark_consistent();
        Ok(())
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.main.segment
    }
}

impl RLockGuard<'_> {
    /// How often its owner has the lock.
    pub fn depth(&self) -> u32 {
        self.lock.words.depth.load(Ordering::Relaxed)
    }

    /// Says that what the lock guards is right again, after [`LockError::OwnerDied`].
    pub fn mark_consistent(&mut self) {
        self.lock.main.judged();
    }

    /// Gives up what the lock guards: when the last guard is dropped, every later attempt is
    /// [`LockError::Abandoned`] until somebody repairs it.
    pub fn abandon(self) {
        self.lock.main.control.set_state(REPAIRED);
    }
}

impl super::lock_error::Judge for RLockGuard<'_> {
    fn judge_consistent(&mut self) {
        self.mark_consistent();
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        // In a forked child the words are the parent's.
        if !self.lock.main.segment.is_usable() {
            return;
        }
        let words = &self.lock.words;
        let depth = words.depth.load(Ordering::Relaxed);
        if depth > 1 {
            words.depth.store(depth - 1, Ordering::Relaxed);
            return;
        }
        let main = &self.lock.main;
        // Which of its owner's handles got it, and which of them judged, does not matter.
        if main.control.state() == REPAIRED {
            main.give_up();
        } else {
            main.judged_elsewhere();
        }
        main.end_guard(|| {
            words.thread.store(0, Ordering::Relaxed);
            words.depth.store(0, Ordering::Relaxed);
        });
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock").field("segment", &self.segment().name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("depth", &self.depth()).finish_non_exhaustive()
    }
}

impl Shared for RLock {
    /// It is made from nothing.
    type Init = ();

    fn describe(text: &mut String) {
        text.push_str("RLock");
    }

    fn measure(_init: &(), room: &mut Room) -> Result<(), &'static str> {
        room.take(size_of::<Words>());
        Mutex::<()>::measure(&(), room)
    }

    fn init(_init: &(), area: &Area, room: &mut Room) -> io::Result<()> {
        room.take(size_of::<Words>());
        Mutex::<()>::init(&(), area, room)
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<RLock, SegmentError> {
        let at = room.take_in(segment, size_of::<Words>())?;
        let words = segment.area().arranged(at);
        Ok(RLock { words, main: Mutex::place(segment, room)? })
    }
}

in_a_segment_of_its_own!(
    /// Makes one. (`nothing` is `()`: there is nothing to say.)
    ///
    RLock, nothing: ()
);
