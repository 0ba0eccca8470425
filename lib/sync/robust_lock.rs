//! The robust lock: one 64-bit word, in the kernel's robust-futex format.
//!
//! # The word
//! ```text
//! bits  0..30   thread id of the owner; 0 = nobody
//! bit  30       OWNER_DIED: set by the kernel when the owner dies (it clears the thread id)
//! bit  31       WAITERS: somebody may sleep on the low half
//! bits 32..48   participant slot of the owner (kept by the kernel when it marks the word)
//! bits 48..64   generation of that slot, never 0
//! ```
//! | value | meaning |
//! |---|---|
//! | `0` | free |
//! | `{owner, tid}` | held |
//! | `{owner, WAITERS + tid}` | held, wake one when it is released |
//! | `{dead, OWNER_DIED}` (+ WAITERS) | its owner died; whoever takes it *steals* it |
//! | anything else without a thread id | free; only a hostile peer writes it |
//!
//! # Protocol
//! The caller arms the kernel's pending slot with the word before [`RobustLock::lock`] and disarms it
//! after [`RobustLock::unlock`]. So, wherever the thread is killed in between:
//! * before its compare-and-swap: the word is not its own; if it was about to be woken, the kernel
//!   wakes another waiter in its place, as the owner part is 0;
//! * while it owns the word: the kernel writes OWNER_DIED and wakes a waiter if WAITERS is set;
//! * after the exchange that frees the word and before the wake: the owner part is 0, the kernel
//!   wakes one waiter.
//!
//! # Why no waiter waits for ever
//! A waiter sets WAITERS by compare-and-swap while the word is held, and sleeps only while the low
//! half still has that value. The owner's exchange returns WAITERS, so it wakes one. Whoever has
//! really slept keeps WAITERS when it takes the word (others may still sleep). One case the kernel
//! leaves open (a woken waiter dies after a third party took the word without WAITERS); for that,
//! and for owners in other PID namespaces, every sleep ends after a backstop, and the waiter asks
//! the owner's file lock whether the owner is alive. A *stopped* owner is alive, and never robbed.
//!
//! Sources: the kernel's `robust-futex-ABI` document; Drepper, "Futexes are tricky", for the
//! waiters bit; glibc bug 20973 for keeping it.

use std::time::Duration;

use crate::os::clock::Deadline;
use crate::primitive::{AtomicU64, Fault, Ordering, fault, futex, spin_loop};

use super::Caller;

pub(crate) const WAITERS: u32 = 1 << 31;
pub(crate) const OWNER_DIED: u32 = 1 << 30;
pub(crate) const TID_MASK: u32 = OWNER_DIED - 1;

/// Looks at a held word before sleeping, each one pause further from the last: 91 pauses in all, some 2.5
/// microseconds, longer than our critical sections. A look takes the word's line from the owner, who needs it back to
/// release the lock: with 100 looks one pause apart two processes together had half the throughput of the C library's
/// mutex, which does not look at all; with these, one and a half times it.
const SPINS: u32 = 14;

/// The first sleep; each one that ends without a wake is twice as long, up to [`BACKSTOP`].
const FIRST_NAP: Duration = Duration::from_millis(2);

/// The longest sleep without a look at the owner's file lock.
pub(crate) const BACKSTOP: Duration = Duration::from_millis(100);

/// How a lock was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It was free.
    Clean,
    /// Its owner (given as the word's high half) died while it held it.
    Stolen(u32),
}

/// Why a lock was not obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The deadline passed.
    TimedOut,
    /// The calling thread holds it itself.
    Deadlock,
}

/// See the module's documentation.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct RobustLock {
    word: AtomicU64,
}

impl RobustLock {
    /// The lock whose word this is.
    #[inline]
    pub(crate) fn at(word: &AtomicU64) -> &RobustLock {
        let word: *const AtomicU64 = word;
        // SAFETY: RobustLock is a transparent wrapper of AtomicU64, and the borrow is kept.
        unsafe { &*word.cast::<RobustLock>() }
    }

    /// The word itself, for arming and linking.
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.word
    }

    /// Takes the lock; to be called with the word armed. Barging is allowed: whoever comes first
    /// gets it. The deadline is asked for only if the lock is not free.
    #[inline]
    pub(crate) fn lock(
        &self,
        caller: &Caller,
        deadline: impl FnOnce() -> Deadline,
    ) -> Result<Acquired, Refused> {
        if self.lock_free(caller) {
            return Ok(Acquired::Clean);
        }
        self.lock_slow(*caller, deadline())
    }

    /// The first step of [`RobustLock::lock`]: takes the lock if it is free.
    #[inline]
    pub(crate) fn lock_free(&self, caller: &Caller) -> bool {
        self.word.compare_exchange(0, caller.id(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self, caller: Caller, deadline: Deadline) -> Result<Acquired, Refused> {
        let mut spins = SPINS;
        let mut keep = 0;
        let mut backstop = FIRST_NAP;
        loop {
            let seen = self.word.load(Ordering::Acquire);
            let low = seen as u32;
            if low & TID_MASK == 0 {
                let mine = caller.id() | u64::from(low & WAITERS | keep);
                if self.swap(seen, mine) {
                    return Ok(if low & OWNER_DIED == 0 {
                        Acquired::Clean
                    } else {
                        Acquired::Stolen((seen >> 32) as u32)
                    });
                }
                continue;
            }
            if seen & !u64::from(WAITERS) == caller.id() && caller.names_thread() {
                return Err(Refused::Deadlock);
            }
            if spins > 0 && deadline != Deadline::Now {
                // Each look takes the line from the owner, who needs it to go on: so further and further apart.
                for _ in 0..SPINS - spins {
                    spin_loop();
                }
                spins -= 1;
                continue;
            }
            let announced = seen | u64::from(WAITERS);
            let Some(nap) = deadline.nap(backstop) else {
                // It may have been woken, for a word that somebody else has taken since without knowing
                // of the others who sleep: that owner must wake the next.
                if keep != 0 && seen != announced && !self.swap(seen, announced) {
                    continue;
                }
                let seen = if keep != 0 { announced } else { seen };
                return self.steal_from_dead(seen, &caller).ok_or(Refused::TimedOut);
            };
            if seen != announced && !self.swap(seen, announced) {
                continue;
            }
            match futex::wait_low(&self.word, announced as u32, nap) {
                futex::Waited::Changed => {}
                futex::Waited::Woken => keep = WAITERS,
                futex::Waited::TimedOut => {
                    keep = WAITERS;
                    backstop = (backstop * 2).min(BACKSTOP);
                    if let Some(acquired) = self.steal_from_dead(announced, &caller) {
                        return Ok(acquired);
                    }
                }
            }
        }
    }

    /// Takes the lock from the owner in `seen` if that participant is dead and the word unchanged.
    /// (A word that a living participant releases and takes again meanwhile is the same word, with
    /// the same living owner: it is not dead then.)
    #[cold]
    fn steal_from_dead(&self, seen: u64, caller: &Caller) -> Option<Acquired> {
        let owner = (seen >> 32) as u32;
        if caller.is_alive(owner) {
            return None;
        }
        self.swap(seen, caller.id() | u64::from(WAITERS)).then_some(Acquired::Stolen(owner))
    }

    #[inline]
    fn swap(&self, seen: u64, new: u64) -> bool {
        self.word.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Releases the lock, which the caller must own, and wakes a waiter if one announced itself. To
    /// be called with the word still armed.
    ///
    /// The exchange is sequentially consistent, and a locked instruction: what follows may rely on
    /// [`crate::primitive::fence_after_rmw`].
    #[inline]
    pub(crate) fn unlock(&self) {
        let before = self.word.swap(0, Ordering::SeqCst);
        if before as u32 & WAITERS != 0 {
            self.wake_one();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_one(&self) {
        if !fault(Fault::UnlockWithoutWake) {
            futex::wake_low(&self.word, 1);
        }
    }

    /// If the lock's owner is dead, takes the lock from it and releases it. For a participant that
    /// attaches: a generation number cannot come round while a dead owner's name still stands in a
    /// lock that nobody uses.
    pub(crate) fn settle(&self, caller: &Caller) {
        if self.word.load(Ordering::Relaxed) as u32 & TID_MASK == 0 {
            return;
        }
        let armed = caller.arm(&self.word);
        if self.lock(caller, || Deadline::Now).is_ok() {
            self.unlock();
        }
        caller.disarm(armed);
    }
}
