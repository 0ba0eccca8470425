//! What can come of an operation on a primitive that guards no value.

use crate::segment::SegmentError;

use super::LockError;

/// Why an operation on a primitive that guards no value was refused: the one list for all of them.
///
/// The time-out rule is the same everywhere too: `wait` and `acquire` wait for as long as it takes, `try_...`
/// does not wait ([`WaitError::WouldBlock`]), `..._timeout` waits for at most so long, by the monotonic clock
/// ([`WaitError::TimedOut`]); zero does not wait.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time-out passed.
    #[error("timed out waiting")]
    TimedOut,
    /// It would have to be waited for, and `try_...` does not wait.
    #[error("it would have to be waited for")]
    WouldBlock,
    /// The barrier is broken: a party died, gave up waiting, or broke it on purpose.
    #[error("the barrier is broken: a party died or gave up; reset it to use it again")]
    Broken,
    /// The semaphore has been released more often than its bound, or than can be counted.
    #[error("the semaphore was released more often than its limit allows")]
    TooMany,
    /// The calling thread would wait for itself.
    #[error("this thread would wait for itself")]
    Deadlock,
    /// The bytes in the segment are not a value of the type.
    #[error("the bytes in the segment are not a valid value of this type")]
    Corrupt,
    /// The segment cannot be used: this process was forked, or the segment was truncated.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl WaitError {
    /// The error of a `try_...`, which waits until now at the latest.
    pub(super) fn at_once(self) -> WaitError {
        match self {
            WaitError::TimedOut => WaitError::WouldBlock,
            other => other,
        }
    }

    /// What a lock error says where the lock guards nothing that could be inconsistent.
    pub(super) fn from_lock<G>(error: LockError<G>) -> WaitError {
        match error {
            LockError::WouldBlock => WaitError::WouldBlock,
            LockError::Deadlock => WaitError::Deadlock,
            LockError::Segment(error) => WaitError::Segment(error),
            LockError::Corrupt => WaitError::Corrupt,
            _ => WaitError::TimedOut,
        }
    }
}
