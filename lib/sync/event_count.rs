//! The event count: how a process sleeps until something may have changed.
//!
//! # The word
//! | bits | meaning |
//! |---|---|
//! | 0 | somebody may sleep |
//! | 1..32 | sequence number: how many times sleepers were called |
//!
//! # Protocol
//! ```text
//! sleeper                                   caller
//! 1 key = word.fetch_or(1) | 1              a change the state (a store to another word)
//! 2 full fence                              b full fence
//! 3 look at the state again                 c if word has bit 0:
//! 4 futex_wait(word == key)                 d   word: key -> (key + 2) without bit 0
//! 5 word.fetch_or(1)                        e   futex_wake
//! ```
//! Why no wake is lost: of the fences 2 and b one comes first. If b does, 3 sees the change. If 2
//! does, c sees bit 0, so d changes the word: either before 4, which then does not sleep, or after
//! it, and then e finds the sleeper. The sequence number makes d visible to every sleeper that took
//! its key before; with one bit alone a second sleeper could set the bit again between d and 4 of the
//! first, which would then sleep through its call.
//!
//! Line 5: a caller that woke only some sleepers has cleared the bit for all, so whoever really slept
//! sets it again; the next caller then looks for the others.
//!
//! A caller killed between a and e leaves its sleepers to their time-out: every sleep has one. A dead
//! sleeper leaves at most one needless wake.
//!
//! # Calling as many as asked, and no more
//! Where each call is for one sleeper (a condition variable, a semaphore), a caller that clears the mark would
//! hide the other sleepers from the next caller until the first one has set it again. So there
//! ([`EventCount::notify_each`], and [`EventCount::sleep`] on the other side) the mark stays until a wake finds
//! nobody any more:
//! ```text
//! c if word has bit 0:
//! d   called = word + 2, by addition
//! e   woken = futex_wake(count)
//! f   if woken < count: word: called -> (called + 2) without bit 0, and if it was still `called`:
//! g     futex_wake(all)
//! ```
//! Nobody slept after e, but somebody who took the key `called` between d and f may sleep: before f, and then
//! g wakes it; or it comes to its line 4 after f, and finds another word. Either way it looks again, and marks
//! the word anew. A dead sleeper's mark costs one needless system call.
//!
//! # Sleeping for others
//! A process's watcher sleeps on many event counts for many tasks. Each task announces itself (1 to 3); then
//! the watcher sleeps with a key of its own, taken before the task was entered in its books, or after which
//! it looks at the state itself. So 4 holds for the task: a call after its line 1 changes the word or finds the
//! watcher. Where everybody in the books was called already, the key is taken without a mark
//! ([`EventCount::now`]): callers then need no system call.
//!
//! Source: Vyukov's event count; the names follow folly's and rayon's.

use std::time::Duration;

use crate::primitive::{AtomicU32, Fault, Ordering, fault, fence_after_rmw, futex};

const SLEEPERS: u32 = 1;
const ONE: u32 = 2;

/// See the module's documentation.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct EventCount {
    word: AtomicU32,
}

/// What a sleeper saw before it looked at the state for the last time.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Key(u32);

impl EventCount {
    /// The event count whose word this is.
    #[cfg(all(test, loom))]
    pub(crate) fn at(word: &AtomicU32) -> &EventCount {
        let word: *const AtomicU32 = word;
        // SAFETY: EventCount is a transparent wrapper of AtomicU32, and the borrow is kept.
        unsafe { &*word.cast::<EventCount>() }
    }

    /// One for a model.
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> EventCount {
        EventCount { word: AtomicU32::new(0) }
    }

    /// Its word, whose sleepers a model may let time out.
    #[cfg(all(test, loom))]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Announces that the calling thread may sleep. Look at the state once more, then
    /// [`EventCount::wait`].
    pub(crate) fn prepare(&self) -> Key {
        let key = self.word.fetch_or(SLEEPERS, Ordering::SeqCst) | SLEEPERS;
        fence_after_rmw();
        Key(key)
    }

    /// Sleeps until called after `key` was taken, or until `timeout` has passed.
    pub(crate) fn wait(&self, key: Key, timeout: Duration) -> futex::Waited {
        let waited = futex::wait(&self.word, key.0, timeout);
        if waited != futex::Waited::Changed {
            self.word.fetch_or(SLEEPERS, Ordering::SeqCst);
        }
        waited
    }

    /// Calls up to `count` sleepers: one load when nobody sleeps. The state must have been changed
    /// before, and a full fence or a locked instruction must lie between that change and this call.
    #[inline]
    pub(crate) fn notify(&self, count: u32) {
        fence_after_rmw();
        if self.word.load(Ordering::Relaxed) & SLEEPERS != 0 {
            self.notify_slow(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_slow(&self, count: u32) {
        let mut seen = self.word.load(Ordering::Relaxed);
        while seen & SLEEPERS != 0 {
            let step = if fault(Fault::OneBitDoorbell) { 0 } else { ONE };
            let called = seen.wrapping_add(step) & !SLEEPERS;
            match self.word.compare_exchange(seen, called, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    futex::wake(&self.word, count);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// [`EventCount::wait`] for those who are called by [`EventCount::notify_each`]: the mark still stands.
    pub(crate) fn sleep(&self, key: Key, timeout: Duration) -> futex::Waited {
        futex::wait(&self.word, key.0, timeout)
    }

    /// Calls up to `count` of those who [`EventCount::sleep`], each call another one. One load when nobody
    /// sleeps. As for [`EventCount::notify`] otherwise.
    #[inline]
    pub(crate) fn notify_each(&self, count: u32) {
        fence_after_rmw();
        if self.word.load(Ordering::Relaxed) & SLEEPERS != 0 {
            self.notify_each_slow(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_each_slow(&self, count: u32) {
        let called = self.word.fetch_add(ONE, Ordering::SeqCst).wrapping_add(ONE);
        if futex::wake(&self.word, count) >= count {
            return;
        }
        let nobody = called.wrapping_add(ONE) & !SLEEPERS;
        if self.word.compare_exchange(called, nobody, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            && !fault(Fault::HastyBell)
        {
            futex::wake(&self.word, u32::MAX);
        }
    }

    /// Whether sleepers were called since `key` was taken.
    pub(crate) fn called_since(&self, key: Key) -> bool {
        (self.word.load(Ordering::SeqCst) ^ key.0) & !SLEEPERS != 0
    }

    /// Calls every sleeper, also those whose mark an earlier caller of fewer has cleared and who have
    /// not been woken since. As for [`EventCount::notify`] otherwise; for what happens once.
    #[cold]
    pub(crate) fn notify_all(&self) {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let called = seen.wrapping_add(ONE) & !SLEEPERS;
            match self.word.compare_exchange(seen, called, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        futex::wake(&self.word, u32::MAX);
    }

    /// Whether somebody may be asleep: the load of [`EventCount::notify`] alone.
    #[inline]
    pub(crate) fn has_sleepers(&self) -> bool {
        self.word.load(Ordering::Relaxed) & SLEEPERS != 0
    }
}

/// For the watcher, which sleeps for others.
#[cfg(not(all(test, loom)))]
impl EventCount {
    /// An event count in private memory.
    pub(crate) const fn new() -> EventCount {
        EventCount { word: AtomicU32::new(0) }
    }

    /// This event count, for a sleep on several: see [`futex::wait_any`].
    pub(crate) fn held(&self, key: Key) -> futex::Held {
        futex::Held::new(&self.word, key.0)
    }

    /// A key that announces nobody, for a sleep that only those end who announce themselves.
    pub(crate) fn now(&self) -> Key {
        Key(self.word.load(Ordering::SeqCst))
    }

    /// As [`EventCount::prepare`], for one who has a key: nothing needs to be done if it is still right.
    pub(crate) fn prepare_again(&self, key: Option<Key>) -> Key {
        match key {
            Some(key) if key.0 & SLEEPERS != 0 && key.0 == self.now().0 => key,
            _ => self.prepare(),
        }
    }

    /// Whether sleepers were called after `key` was taken.
    pub(crate) fn was_called_after(&self, key: Key) -> bool {
        (self.now().0 ^ key.0) & !SLEEPERS != 0
    }
}
