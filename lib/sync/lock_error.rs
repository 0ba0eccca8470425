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

/// A guard with which the value can be judged: of a mutex, an [`RLock`](super::RLock), or a writer.
pub trait Judge {
    /// Says that the value is right again.
    #[doc(hidden)]
    fn judge_consistent(&mut self);
}

impl<G: Judge> LockError<G> {
    /// What to do about a dead owner, in one place: if this is [`LockError::OwnerDied`], lets `mend` put the value
    /// right, marks it consistent and gives the guard. Any other error stays one.
    ///
    /// ```
    /// use steadfast::{Mutex, SegmentOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-recover-{}", std::process::id());
    /// let tickets = Mutex::create(&name, 3_u32, &SegmentOptions::new())?;
    /// let mut left = tickets.lock().or_else(|error| error.recover(|left| **left = (**left).min(3)))?;
    /// *left -= 1;
    /// # drop(left);
    /// # steadfast::Segment::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// All but `OwnerDied`. If `mend` panics, the value is abandoned.
    pub fn recover(self, mend: impl FnOnce(&mut G)) -> Result<G, LockError<()>> {
        match self {
            LockError::OwnerDied(mut guard) => {
                mend(&mut guard);
                guard.judge_consistent();
                Ok(guard)
            }
            other => Err(other.without_guard()),
        }
    }
}

impl<G> LockError<G> {
    /// The error of a `try_...`, which waits until now at the latest.
    pub(super) fn at_once(self) -> LockError<G> {
        match self {
            LockError::TimedOut => LockError::WouldBlock,
            other => other,
        }
    }

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
