//! A seat: a place in a row that one thread holds, to be counted. The readers of a lock, the holders of permits
//! and the parties of a barrier each sit on one.
//!
//! # The words
//! | offset | what |
//! |---|---|
//! | 0 | the owner, in the format of a robust lock (see [`super::robust_lock`]); 0 = free |
//! | 8 | the owner's name as a thread (see [`Caller::thread`]), u64; 0 = nobody |
//! | 16 | the handle through which the owner took it, u64: a number of its process |
//! | 24 | the list node, 16 bytes (see `os::robust_list`) |
//! | 40 | for the barrier: the phase that the owner has arrived in, u64 |
//! | 48 | for the barrier: 1 = the owner is a party for longer than one phase, u64 |
//! | 56 | for the readers of a lock: how many times more the owner has come, u64 |
//!
//! Where the owner word names a process only, in other PID namespaces than the segment's, the thread's name beside
//! it tells who it is. A thread writes its name after it got the seat, and takes it away before it leaves; so it
//! finds its own name in its own seats only, whatever a free seat or one of the dead has there: also while another
//! thread of its process has taken such a seat and not yet written its name.
//!
//! # Death
//! A seat is a robust lock that is held for as long as its owner sits, in the thread's pending slot or on its robust
//! list (see `os::robust_list`). So the kernel marks it when the thread dies, and the owner's file lock tells of the rest. A seat is never
//! waited for like a lock, but for a writer that waits for a reader to leave.

use std::sync::atomic::AtomicU64 as PrivateCounter;

use crate::os::clock::Deadline;
use crate::primitive::{AtomicU64, Ordering};

use super::Caller;
use super::caller::Armed;
use super::robust_lock::{Refused, RobustLock, TID_MASK, WAITERS};

/// See the module's documentation.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Seat {
    word: AtomicU64,
    thread: AtomicU64,
    handle: AtomicU64,
    node: [AtomicU64; 2],
    /// For the barrier.
    pub(crate) arrived: AtomicU64,
    /// For the barrier.
    pub(crate) stays: AtomicU64,
    /// For the readers of a lock.
    again: AtomicU64,
}

/// The kernel's limit of thread ids: greater numbers in a lock word name participants of other PID namespaces.
const MOST_THREADS: u32 = 1 << 22;

/// A number for a new handle, its own in this process.
pub(crate) fn new_handle() -> u64 {
    static NEXT: PrivateCounter = PrivateCounter::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl Seat {
    /// One for a model.
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Seat {
        let zero = || AtomicU64::new(0);
        Seat {
            word: zero(),
            thread: zero(),
            handle: zero(),
            node: [zero(), zero()],
            arrived: zero(),
            stays: zero(),
            again: zero(),
        }
    }

    /// The lock it is.
    #[inline]
    pub(crate) fn lock(&self) -> &RobustLock {
        RobustLock::at(&self.word)
    }

    /// Whether somebody, alive or dead, has it.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.word.load(Ordering::Acquire) != 0
    }

    /// Takes it if it is free. Then a full fence may follow as [`crate::primitive::fence_after_rmw`].
    #[inline]
    pub(crate) fn claim(&self, caller: &Caller, handle: u64) -> bool {
        if self.word.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let armed = caller.arm(&self.word);
        let free =
            self.word.compare_exchange(0, caller.id(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if free {
            self.occupy(caller, handle, armed)
        } else {
            caller.disarm(armed)
        }
        free
    }

    /// Takes it as soon as its owner leaves, or is found dead.
    ///
    /// # Errors
    /// `Deadlock` if the caller itself has it, `TimedOut`.
    pub(crate) fn claim_by(
        &self,
        caller: &Caller,
        handle: u64,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let armed = caller.arm(&self.word);
        match self.lock().lock(caller, || deadline) {
            Ok(_) => {
                self.occupy(caller, handle, armed);
                Ok(())
            }
            Err(refused) => {
                caller.disarm(armed);
                Err(refused)
            }
        }
    }

    /// What its new owner does, with the word armed.
    #[inline]
    fn occupy(&self, caller: &Caller, handle: u64, armed: Armed) {
        self.thread.store(caller.thread(), Ordering::Relaxed);
        self.handle.store(handle, Ordering::Relaxed);
        self.again.store(0, Ordering::Relaxed);
        caller.hold(&self.word, armed);
    }

    /// Its owner takes its name away, before it leaves.
    #[inline]
    pub(crate) fn take_name_away(&self) {
        self.thread.store(0, Ordering::Relaxed);
    }

    /// Its owner, a reader, comes once more.
    pub(crate) fn come_again(&self) {
        let again = self.again.load(Ordering::Relaxed);
        self.again.store(again.saturating_add(1), Ordering::Relaxed);
    }

    /// One who may have come more than once leaves once: true if it stays all the same.
    #[inline]
    pub(crate) fn stays_once_less(&self) -> bool {
        match self.again.load(Ordering::Relaxed) {
            0 => false,
            again => {
                self.again.store(again - 1, Ordering::Relaxed);
                true
            }
        }
    }

    /// Leaves it, and wakes who waits for that. The exchange in it is a locked instruction: see
    /// [`RobustLock::unlock`].
    #[inline]
    pub(crate) fn leave(&self, caller: &Caller) {
        self.take_name_away();
        caller.release(&self.word, || self.lock().unlock());
    }

    /// Waits until nobody has it, or its owner is dead.
    ///
    /// # Errors
    /// `Deadlock` if the caller itself has it, `TimedOut`.
    pub(crate) fn wait_free(&self, caller: &Caller, deadline: Deadline) -> Result<(), Refused> {
        if self.is_held_by(caller) {
            return Err(Refused::Deadlock);
        }
        let armed = caller.arm(&self.word);
        let passed = self.lock().lock(caller, || deadline).map(|_| self.lock().unlock());
        caller.disarm(armed);
        passed
    }

    /// Frees it if its owner is dead, after `last`, which is done while nobody else can have it.
    pub(crate) fn free_if_dead(&self, caller: &Caller, last: impl FnOnce(&Seat)) {
        let armed = caller.arm(&self.word);
        // Without waiting, it is had only if it is free, or its owner dead.
        if self.lock().lock(caller, || Deadline::Now).is_ok() {
            last(self);
            self.lock().unlock();
        }
        caller.disarm(armed);
    }

    /// Whether its owner is dead: the kernel marked the word, or, if `asked`, the owner's file lock is free.
    pub(crate) fn is_dead(&self, caller: &Caller, asked: bool) -> bool {
        let seen = self.word.load(Ordering::Acquire);
        let marked = seen as u32 & TID_MASK == 0;
        seen != 0 && (marked || asked && !caller.is_alive((seen >> 32) as u32))
    }

    /// Whether the one that took it to sit there has it: not somebody who has taken it over from the dead, to clear
    /// it.
    pub(crate) fn is_its_sitters(&self) -> bool {
        let (word, sitter) =
            (self.word.load(Ordering::Acquire), self.thread.load(Ordering::Acquire));
        let low = word as u32 & TID_MASK;
        // In another PID namespace than the segment's the word names the process alone.
        word >> 32 == sitter >> 32 && (low == sitter as u32 || low > MOST_THREADS)
    }

    /// Whether the calling thread has it.
    pub(crate) fn is_held_by(&self, caller: &Caller) -> bool {
        let seen = self.word.load(Ordering::Relaxed) & !u64::from(WAITERS);
        let thread = || self.thread.load(Ordering::Relaxed) == caller.thread();
        seen == caller.id() && (caller.names_thread() || thread())
    }

    /// Whether this process has it, through that handle.
    pub(crate) fn is_held_through(&self, owner: u32, handle: u64) -> bool {
        let seen = self.word.load(Ordering::Relaxed);
        (seen >> 32) as u32 == owner
            && seen as u32 & TID_MASK != 0
            && self.handle.load(Ordering::Relaxed) == handle
    }
}

/// Where the calling thread begins to look for a free one among `count`: threads of one process and participants
/// that came one after the other have neighbouring numbers, so that few seats are ever used and each thread finds
/// its own.
#[inline]
pub(crate) fn first_choice(caller: &Caller, count: usize) -> usize {
    let (slot, thread) = ((caller.id() >> 32) as u16, caller.thread());
    let choice = usize::from(slot).wrapping_add(thread as usize);
    // A division would take as long as the rest of a claim.
    if count.is_power_of_two() { choice & (count - 1) } else { choice % count }
}
