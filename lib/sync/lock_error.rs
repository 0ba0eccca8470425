//! What can come of an attempt to lock.

use std::fmt;

use crate::segment::SegmentError;

/// Why a lock attempt did not simply give the guard. `G` is the guard.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LockError<G> {
    /// The lock is yours, but its owner died (or panicked) while it held it: the value may be half
    /// changed. Look at it, mend it and call [`MutexGuard::mark_consistent`](super::MutexGuard::mark_consistent); if the guard is
    /// dropped without that, the mutex is abandoned.
    #[error("the lock was taken over from an owner that died holding it; check the value")]
    OwnerDied(G),
    /// An earlier owner gave the value up; `repair` or `replace` it first. The lock is not held.
    #[error("the value was abandoned by the owner that took over from a dead one; repair it first")]
    Abandoned,
    /// The time-out passed while somebody alive held the lock.
    #[error("timed out waiting for the lock")]
    TimedOut,
    /// Somebody alive holds the lock, and `try_lock` does not wait.
    #[error("the lock is held by somebody else")]
    WouldBlock,
    /// The calling thread holds the lock already; waiting would last for ever.
    #[error("this thread holds the lock already")]
    Deadlock,
    /// The bytes in the segment are not a value of the type; `replace` it. The lock is not held.
    #[error("the bytes in the segment are not a valid value of this type")]
    Corrupt,
    /// The segment cannot be used: this process was forked, or the segment was truncated.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl<G> LockError<G> {
    /// The same error of another guard, where there is none in it.
    ///
    /// # Panics
    /// With the guard of a dead owner's lock: a mistake of the caller in this crate.
    pub(super) fn without_guard<H>(self) -> LockError<H> {
        match self {
            LockError::OwnerDied(_) => unreachable!("the lock is held"),
            LockError::Abandoned => LockError::Abandoned,
            LockError::TimedOut => LockError::TimedOut,
            LockError::WouldBlock => LockError::WouldBlock,
            LockError::Deadlock => LockError::Deadlock,
            LockError::Corrupt => LockError::Corrupt,
            LockError::Segment(error) => LockError::Segment(error),
        }
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockError::OwnerDied(_) => "OwnerDied(..)",
            LockError::Abandoned => "Abandoned",
            LockError::TimedOut => "TimedOut",
            LockError::WouldBlock => "WouldBlock",
            LockError::Deadlock => "Deadlock",
            LockError::Corrupt => "Corrupt",
            LockError::Segment(error) => return fmt::Debug::fmt(error, f),
        })
    }
}
