//! The kernel's futex, in its process-shared form: sleep while a word holds a value, wake sleepers.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Somebody woke us, or a signal did: look again.
    Woken,
    /// The word did not hold the value, so nobody slept.
    Changed,
    /// The time was up.
    TimedOut,
}

/// Sleeps while `word` holds `expected`, for at most `timeout`.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Duration) -> Waited {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    match futex::wait(word, Flags::empty(), expected, Some(&timeout)) {
        Err(Errno::TIMEDOUT) => Waited::TimedOut,
        Err(Errno::AGAIN) => Waited::Changed,
        Ok(()) | Err(_) => Waited::Woken,
    }
}

/// Wakes up to `count` sleepers of `word`. A word that is no longer mapped has no sleepers that
/// could be woken, so there is no error to report.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    // The kernel reads the count as a signed number: more than i32::MAX would wake one.
    let _ = futex::wake(word, Flags::empty(), count.min(i32::MAX as u32));
}

/// [`wait`] on the low half of a 64-bit word (the half that holds the kernel's lock format).
pub(crate) fn wait_low(word: &AtomicU64, expected_low: u32, timeout: Duration) -> Waited {
    wait(low_half(word), expected_low, timeout)
}

/// [`wake`] on the low half of a 64-bit word.
pub(crate) fn wake_low(word: &AtomicU64, count: u32) {
    wake(low_half(word), count);
}

/// The low half of a 64-bit word, as an address for the kernel. Nothing here loads or stores
/// through it: this program accesses the word as 64 bits only.
fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let low = word.as_ptr().cast::<u32>();
    // SAFETY: the platform is little endian (checked in lib.rs), so the word's address is the
    // address of its low half, aligned for u32 and valid for as long as `word` is borrowed; the
    // reference is only handed to the kernel as an address.
    unsafe { AtomicU32::from_ptr(low) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_changed_word_does_not_sleep() {
        let word = AtomicU32::new(1);
        assert_eq!(wait(&word, 0, Duration::from_secs(60)), Waited::Changed);
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        let word = AtomicU64::new(7 << 32 | 3);
        assert_eq!(wait_low(&word, 3, Duration::from_millis(1)), Waited::TimedOut);
        assert_eq!(wait_low(&word, 7, Duration::from_secs(60)), Waited::Changed);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 0 {
                    wait(&word, 0, Duration::from_secs(60));
                }
            });
            word.store(1, Ordering::Release);
            wake(&word, 1);
        });
    }
}
