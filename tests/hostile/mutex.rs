//! Every byte of a mutex and of a segment of plain bytes, corrupted in turn.

use std::sync::OnceLock;
use std::time::Duration;

use steadfast::{LockError, Mutex, PthreadMutex, Segment};

use crate::image::{self, Case, Change, Image, Value, other_words};
use crate::runner::{self, Cases};
use crate::support::watchdog_after;

/// Where the lock's cell is in the object, and how long it is.
const CELL: usize = 128;
const CELL_LEN: usize = 40;

/// Bytes of the object before the value's end.
const HOT: usize = 264;

const BRIEF: Duration = Duration::from_millis(1);

/// The words of our own lock's cell and of the state behind it.
fn word_cases(image: &Image) -> Vec<Case> {
    let mut all = Vec::new();
    for offset in (CELL..CELL + 88).step_by(8).map(|at| image.object + at) {
        let mut words = other_words(image.word(offset));
        let owners = [0, 1 << 16 | 1, 1 << 16 | 2, 2 << 16 | 1, 0xffff_ffff_u64];
        let lows = [1, 0x4000_0000, 0x8000_0000, 0xc000_0000, 0x8000_0001, 0x3fff_ffff];
        words.extend(owners.into_iter().flat_map(|owner| lows.map(|low| owner << 32 | low)));
        for word in words {
            for live in [false, true] {
                all.push(Case { change: Change::word(offset, word), live });
            }
        }
    }
    all
}

/// The cases of one kind of mutex: they differ in the type alone.
macro_rules! cases_of {
    ($kind:ident, $mutex:ident, $plan:expr) => {
        pub struct $kind;

        impl $kind {
            fn plan() -> &'static Plan {
                static PLAN: OnceLock<Plan> = OnceLock::new();
                PLAN.get_or_init(|| $plan)
            }

            /// Any operation at all; only its return counts.
            fn operate(mutex: &$mutex<Value>, lock_untouched: bool) {
                for attempt in [mutex.try_lock(), mutex.lock_timeout(BRIEF)] {
                    match attempt {
                        Ok(mut guard) => guard.numbers[0] = guard.numbers[1],
                        Err(LockError::OwnerDied(mut guard)) => guard.mark_consistent(),
                        Err(error) => assert!(!error.to_string().is_empty()),
                    }
                }
                if let Ok(guard) = mutex.try_lock() {
                    guard.abandon();
                }
                let _ = mutex.lock_timeout(BRIEF);
                // Without a time-out a living owner is waited for.
                if lock_untouched {
                    let _ = mutex.repair(|value| value.flag = false);
                    let _ = mutex.replace(image::VALUE);
                    let _ = mutex.lock();
                }
            }
        }

        impl Cases for $kind {
            fn count(&self, _seed: u64) -> usize {
                Self::plan().cases.len()
            }

            fn describe(&self, _seed: u64, number: usize) -> String {
                Self::plan().describe(number)
            }

            fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
                let Plan { image, cases } = Self::plan();
                let case = &cases[number];
                let in_object = case.change.offset.wrapping_sub(image.object);
                let lock_untouched = !(CELL..CELL + CELL_LEN).contains(&in_object);
                if !case.live {
                    image.write(name, std::slice::from_ref(&case.change));
                    match $mutex::<Value>::open(name) {
                        Ok(mutex) => Self::operate(&mutex, lock_untouched),
                        Err(error) => assert!(!error.to_string().is_empty()),
                    }
                    return Ok(());
                }
                image.write(name, &[]);
                let open = $mutex::<Value>::open(name);
                let mutex = open.map_err(|error| format!("a good file: {error}"))?;
                case.change.poke(name);
                Self::operate(&mutex, lock_untouched);
                // And once more while the lock is held.
                if let Ok(guard) = mutex.try_lock() {
                    case.change.poke(name);
                    drop(guard);
                    let _ = mutex.lock_timeout(BRIEF);
                }
                Ok(())
            }
        }
    };
}

struct Plan {
    image: Image,
    cases: Vec<Case>,
}

impl Plan {
    fn describe(&self, number: usize) -> String {
        self.cases[number].describe(&self.image)
    }
}

// Our own mutex: every byte.
cases_of!(Ours, Mutex, {
    let image = image::mutex();
    let mut cases = image::byte_cases(&image, HOT, 0..0);
    cases.extend(word_cases(&image));
    Plan { image, cases }
});

// The C library's mutex: every byte but its own, which it trusts.
cases_of!(Theirs, PthreadMutex, {
    let image = image::pthread_mutex();
    let cases = image::byte_cases(&image, HOT, CELL..CELL + CELL_LEN);
    Plan { image, cases }
});

/// A segment of plain bytes: every byte.
pub struct Bytes;

fn plain() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let image = image::plain();
        let cases = image::byte_cases(&image, HOT, 0..0);
        Plan { image, cases }
    })
}

impl Cases for Bytes {
    fn count(&self, _seed: u64) -> usize {
        plain().cases.len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        plain().describe(number)
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        let Plan { image, cases } = plain();
        let case = &cases[number];
        let changes = if case.live { &[][..] } else { std::slice::from_ref(&case.change) };
        image.write(name, changes);
        let Ok(segment) = Segment::open(name) else { return Ok(()) };
        if case.live {
            case.change.poke(name);
        }
        let mut bytes = vec![0; segment.len().min(1 << 20) as usize];
        let _ = segment.read_at(0, &mut bytes);
        let _ = segment.write_at(1, b"written");
        let _ = segment.read_at(u64::MAX, &mut bytes);
        let _ = segment.write_at(segment.len(), b"beyond");
        let _ = segment.users();
        Ok(())
    }
}

#[test]
fn every_corrupt_byte_and_word_of_a_mutex_is_survived() {
    let _dog = watchdog_after(8 * crate::support::LIMIT);
    runner::run("mutex", 0, 600).all();
}

#[test]
fn every_corrupt_byte_around_a_pthread_mutex_is_survived() {
    let _dog = watchdog_after(8 * crate::support::LIMIT);
    runner::run("pthread", 0, 600).all();
}

#[test]
fn every_corrupt_byte_of_a_plain_segment_is_survived() {
    let _dog = watchdog_after(8 * crate::support::LIMIT);
    runner::run("bytes", 0, 600).all();
}
