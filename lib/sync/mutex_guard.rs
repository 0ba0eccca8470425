//! The right to the value of a mutex, while its lock is held.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use super::mutex::{ABANDONED, CLEAN, INCONSISTENT, PANICKING, RawLock, RobustMutex, UNJUDGED};
use super::{Futex, Pthread, Shareable};

/// The right to the value of a [`RobustMutex`]; dropping it releases the lock. It stays on its
/// thread: the kernel knows the owner of a robust lock by its thread.
pub struct MutexGuard<'a, T: Shareable, L: RawLock = Futex> {
    // One word only, so that it is moved in a register; the rest is `RobustMutex::owner`.
    mutex: &'a RobustMutex<T, L>,
    /// Not Send: see above.
    thread: PhantomData<*mut ()>,
}

/// The guard of a [`crate::PthreadMutex`].
pub type PthreadMutexGuard<'a, T> = MutexGuard<'a, T, Pthread>;

impl<'a, T: Shareable, L: RawLock> MutexGuard<'a, T, L> {
    /// For the one who has just taken the lock.
    #[inline]
    pub(super) fn new(mutex: &'a RobustMutex<T, L>) -> MutexGuard<'a, T, L> {
        MutexGuard { mutex, thread: PhantomData }
    }

    /// Says that the value is right again, after [`crate::LockError::OwnerDied`].
    pub fn mark_consistent(&mut self) {
        self.mutex.state().store(CLEAN, Ordering::Relaxed);
        self.mutex.owner.fetch_and(!UNJUDGED, Ordering::Relaxed);
    }

    /// Gives the value up and releases the lock: every later attempt is [`crate::LockError::Abandoned`]
    /// until somebody repairs or replaces the value.
    pub fn abandon(self) {
        self.mutex.owner.fetch_or(UNJUDGED, Ordering::Relaxed);
    }
}

impl<T: Shareable, L: RawLock> Deref for MutexGuard<'_, T, L> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the bytes were checked to be a value of T when the lock was taken, and this guard
        // has the sole right to them until it is dropped.
        unsafe { &*self.mutex.value() }
    }
}

impl<T: Shareable, L: RawLock> DerefMut for MutexGuard<'_, T, L> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for deref; the guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value() }
    }
}

impl<T: Shareable, L: RawLock> Drop for MutexGuard<'_, T, L> {
    #[inline]
    fn drop(&mut self) {
        L::release(&self.mutex.segment, &self.mutex.control.cell, || {
            let owner = self.mutex.owner.load(Ordering::Relaxed);
            if owner & UNJUDGED != 0 {
                self.mutex.state().store(ABANDONED, Ordering::Relaxed);
            } else if owner & PANICKING == 0 && std::thread::panicking() {
                self.mutex.state().store(INCONSISTENT, Ordering::Relaxed);
            }
            self.mutex.owner.store(0, Ordering::Relaxed);
        });
    }
}

impl<T: Shareable + fmt::Debug, L: RawLock> fmt::Debug for MutexGuard<'_, T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
