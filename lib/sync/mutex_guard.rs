//! The right to the value of a mutex, while its lock is held.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use super::consistency::{ABANDONED, CLEAN, INCONSISTENT};
use super::mutex::{HELD, PANICKING, RobustMutex, UNJUDGED};
use super::raw_lock::RawLock;
use super::{Futex, Guarded, Pthread};

/// The right to the value of a [`RobustMutex`]; dropping it releases the lock. It stays on its
/// thread: the kernel knows the owner of a robust lock by its thread.
pub struct MutexGuard<'a, T: Guarded + ?Sized, L: RawLock = Futex> {
    // One word only, so that it is moved in a register; the rest is `RobustMutex::owner`.
    mutex: &'a RobustMutex<T, L>,
    /// Not Send: see above.
    thread: PhantomData<*mut ()>,
}

/// The guard of a [`crate::PthreadMutex`].
pub type PthreadMutexGuard<'a, T> = MutexGuard<'a, T, Pthread>;

impl<'a, T: Guarded + ?Sized, L: RawLock> MutexGuard<'a, T, L> {
    /// For the one who has just taken the lock.
    #[inline]
    pub(super) fn new(mutex: &'a RobustMutex<T, L>) -> MutexGuard<'a, T, L> {
        MutexGuard { mutex, thread: PhantomData }
    }

    /// The mutex it locks.
    pub(super) fn mutex(&self) -> &'a RobustMutex<T, L> {
        self.mutex
    }

    /// Says that the value is right again, after [`crate::LockError::OwnerDied`].
    pub fn mark_consistent(&mut self) {
        self.mutex.judged();
    }

    /// Gives the value up and releases the lock: every later attempt is [`crate::LockError::Abandoned`]
    /// until somebody repairs or replaces the value.
    pub fn abandon(self) {
        self.mutex.give_up();
    }
}

impl<T: Guarded + ?Sized, L: RawLock> Deref for MutexGuard<'_, T, L> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the bytes were checked to be a value of T when the lock was taken, and this guard
        // has the sole right to them until it is dropped.
        unsafe { &*self.mutex.value() }
    }
}

impl<T: Guarded + ?Sized, L: RawLock> DerefMut for MutexGuard<'_, T, L> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for deref; the guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value() }
    }
}

impl<T: Guarded + ?Sized, L: RawLock> Drop for MutexGuard<'_, T, L> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.end_guard(|| {});
    }
}

/// What guards do, also [`RwLock`](super::RwLock)'s; for the lock's owner.
impl<T: Guarded + ?Sized, L: RawLock> RobustMutex<T, L> {
    /// The value is right.
    pub(super) fn judged(&self) {
        self.control.set_state(CLEAN);
        self.judged_elsewhere();
    }

    /// The value needs no judgement when the guard ends: its state tells.
    pub(super) fn judged_elsewhere(&self) {
        self.owner.fetch_and(!UNJUDGED, Ordering::Relaxed);
    }

    /// The value is given up when the guard ends.
    pub(super) fn give_up(&self) {
        self.owner.fetch_or(UNJUDGED, Ordering::Relaxed);
    }

    /// Ends a guard that never had a right to the value: if it was to be judged, it still is.
    pub(super) fn leave_unjudged(&self, guard: MutexGuard<'_, T, L>) {
        if self.owner.fetch_and(!UNJUDGED, Ordering::Relaxed) & UNJUDGED != 0 {
            self.control.set_state(INCONSISTENT);
        }
        drop(guard);
    }

    /// Ends a guard: writes down how it leaves the value, does `last`, and releases the lock.
    #[inline]
    pub(super) fn end_guard(&self, last: impl Fn()) {
        // The usual case: there is nothing to write down about the value.
        let simple = self.owner.load(Ordering::Relaxed) == HELD && !std::thread::panicking();
        let end = || {
            self.owner.store(0, Ordering::Relaxed);
            last();
        };
        if !(simple && L::release_simply(&self.segment, &self.control.cell, end)) {
            self.end_guard_slowly(&last);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_guard_slowly(&self, last: &dyn Fn()) {
        L::release(&self.segment, &self.control.cell, || {
            let owner = self.owner.load(Ordering::Relaxed);
            if owner & UNJUDGED != 0 {
                self.control.set_state(ABANDONED);
            } else if owner & PANICKING == 0 && std::thread::panicking() {
                self.control.set_state(INCONSISTENT);
            }
            self.owner.store(0, Ordering::Relaxed);
            last();
        });
    }
}

impl<T: Guarded + ?Sized + fmt::Debug, L: RawLock> fmt::Debug for MutexGuard<'_, T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Guarded + ?Sized, L: RawLock> super::lock_error::Judge for MutexGuard<'_, T, L> {
    fn judge_consistent(&mut self) {
        self.mark_consistent();
    }
}
