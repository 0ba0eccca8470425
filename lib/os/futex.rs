//! The kernel's futex, in its process-shared form: sleep while a word holds a value, wake sleepers.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::ClockId;

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

/// Wakes up to `count` sleepers of `word`, and tells how many. A word that is no longer mapped has no
/// sleepers that could be woken, so there is no error to report.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    // The kernel reads the count as a signed number: more than i32::MAX would wake one.
    let woken = futex::wake(word, Flags::empty(), count.min(i32::MAX as u32)).unwrap_or(0);
    u32::try_from(woken).unwrap_or(u32::MAX)
}

/// The most words that [`wait_any`] sleeps on.
pub(crate) const MOST_WORDS: usize = 128;

/// A word to sleep on, and what it held. It may be unmapped meanwhile: the kernel takes an address, and
/// looks at it once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    address: usize,
    value: u32,
}

impl Held {
    pub(crate) fn new(word: &AtomicU32, value: u32) -> Held {
        Held { address: word.as_ptr().addr(), value }
    }
}

/// Why a wait on several words ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitedAny {
    /// Somebody called: for this sleeper, and perhaps for no other.
    Woken,
    /// One of them did not hold its value, the time was up, or a signal came: look again.
    Ended,
    /// One of the words is not mapped. Nobody slept.
    Unmapped,
    /// The kernel cannot do it (before Linux 5.16), or a sandbox does not let it. Nobody slept.
    Unsupported,
}

/// Sleeps while each word holds its value, for at most `timeout`. The words may be in shared memory, and
/// [`wake`] finds their sleeper like any other.
pub(crate) fn wait_any(words: &[Held], timeout: Duration) -> WaitedAny {
    let waits: Vec<Wait> = words
        .iter()
        .map(|held| {
            let mut wait = Wait::new();
            wait.val = held.value.into();
            wait.uaddr = WaitPtr::new(std::ptr::without_provenance_mut(held.address));
            wait.flags = WaitFlags::SIZE_U32;
            wait
        })
        .collect();
    // The time-out of this call is a point in time.
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_nsec + i64::from(timeout.subsec_nanos());
    let until = Timespec {
        tv_sec: now
            .tv_sec
            .saturating_add_unsigned(timeout.as_secs())
            .saturating_add(nanos / 1_000_000_000),
        tv_nsec: nanos % 1_000_000_000,
    };
    match futex::waitv(&waits, WaitvFlags::empty(), Some(&until), ClockId::Monotonic) {
        Ok(_) => WaitedAny::Woken,
        Err(Errno::AGAIN | Errno::TIMEDOUT | Errno::INTR) => WaitedAny::Ended,
        Err(Errno::FAULT) => WaitedAny::Unmapped,
        Err(_) => WaitedAny::Unsupported,
    }
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
    fn a_sleeper_on_several_words_is_woken_by_any_of_them() {
        let words = [const { AtomicU32::new(0) }; MOST_WORDS];
        let held = || words.each_ref().map(|word| Held::new(word, 0));
        let short = Duration::from_millis(1);
        if wait_any(&held(), short) == WaitedAny::Unsupported {
            return;
        }
        let nowhere = Held { address: 4096, value: 0 };
        assert_eq!(wait_any(&[held()[0], nowhere], short), WaitedAny::Unmapped);
        for last in [0, 1, MOST_WORDS - 1] {
            words[last].store(0, Ordering::Release);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while words[last].load(Ordering::Acquire) == 0 {
                        let waited = wait_any(&held(), Duration::from_secs(60));
                        assert!(matches!(waited, WaitedAny::Woken | WaitedAny::Ended));
                    }
                });
                words[last].store(1, Ordering::Release);
                wake(&words[last], 1);
            });
            words[last].store(0, Ordering::Release);
        }
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
