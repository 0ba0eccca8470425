//! Deadlines on the monotonic clock.

use std::time::{Duration, Instant};

/// Until when an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// It may not wait at all.
    Now,
    /// It may wait until this instant of the monotonic clock.
    At(Instant),
    /// It may wait for ever.
    Never,
}

impl Deadline {
    /// The deadline `timeout` from now; zero is [`Deadline::Now`], and one too far away for the
    /// clock is [`Deadline::Never`].
    pub(crate) fn after(timeout: Duration) -> Deadline {
        if timeout.is_zero() {
            return Deadline::Now;
        }
        match Instant::now().checked_add(timeout) {
            Some(at) => Deadline::At(at),
            None => Deadline::Never,
        }
    }

    /// How long to sleep at most: the time left, but not longer than `at_most`. `None` when the
    /// deadline has passed.
    pub(crate) fn nap(&self, at_most: Duration) -> Option<Duration> {
        match self {
            Deadline::Now => None,
            Deadline::Never => Some(at_most),
            Deadline::At(at) => {
                let left = at.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| left.min(at_most))
            }
        }
    }
}

/// The monotonic clock in nanoseconds: the same number in every process of this machine (and of its time
/// namespace), never 0.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64).max(1)
}
