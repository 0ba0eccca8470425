//! A queue's object in its segment, and what every handle of a process knows of it.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | constants, checksummed: object version, ring bytes, maxsize, roles, ring offset |
//! | 128 | write side: lock u64, `tail` u64, `seen_head` u64, 24 bytes for a list node |
//! | 256 | read side: lock u64, `head` u64, 32 bytes for a list node |
//! | 384 | event count "not empty", u32: consumers sleep on it |
//! | 512 | event count "not full", u32: producers sleep on it |
//! | 640 | state, u32 |
//! | 1024 | the ring |
//!
//! What one side writes often has cache lines of its own (128 bytes: processors fetch lines in pairs).
//!
//! # The state; it only ever grows
//! | value | meaning |
//! |---|---|
//! | 0 open | puts and gets |
//! | 1 drain | puts fail; gets go on until the mark that ends the ring (see [`super::shutdown`]) |
//! | 2 now | puts and gets fail |
//! | 3 poisoned | somebody found bytes that no participant writes: everything fails |

use std::sync::atomic::Ordering as StdOrdering;

use crate::os::clock::Deadline;
use crate::primitive::{AtomicU32, AtomicU64};
use crate::segment::{Area, Constants, Kind, Segment, SegmentError, Words};
use crate::sync::Caller;
use crate::sync::event_count::EventCount;
use crate::sync::robust_lock::{Acquired, BACKSTOP, Refused, RobustLock};

use super::options::{MAX_CAPACITY, MIN_CAPACITY};
use super::record::UNIT;
use super::ring::Ring;
use super::spin::Spin;
use super::{GetError, PutError, QueueOptions};

const TAIL_LOCK: usize = 128;
const TAIL: usize = 136;
const SEEN_HEAD: usize = 144;
const HEAD_LOCK: usize = 256;
const HEAD: usize = 264;
const NOT_EMPTY: usize = 384;
const NOT_FULL: usize = 512;
const STATE: usize = 640;
const RING: usize = 1024;

const VERSION: u64 = 1;
const SINGLE_PRODUCER: u64 = 1;
const SINGLE_CONSUMER: u64 = 2;

/// Values of the state word.
pub(crate) mod state {
    pub(crate) const OPEN: u32 = 0;
    pub(crate) const DRAIN: u32 = 1;
    pub(crate) const NOW: u32 = 2;
    pub(crate) const POISONED: u32 = 3;
}

/// What every handle of this process shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) segment: Segment,
    words: Words,
    maxsize: u32,
    pub(crate) single_producer: bool,
    pub(crate) single_consumer: bool,
    /// How long consumers of this process poll before they sleep, and producers.
    pub(crate) get_spin: Spin,
    pub(crate) put_spin: Spin,
}

impl Shared {
    pub(crate) fn create(name: &str, options: &QueueOptions) -> Result<Shared, SegmentError> {
        let (constants, len) = describe(options);
        let init = |area: &Area| {
            constants.write(area);
            Ok(())
        };
        Shared::attach(Segment::create_object(name, Kind::Queue, len, &options.segment, init)?)
    }

    pub(crate) fn open(name: &str) -> Result<Shared, SegmentError> {
        Shared::attach(Segment::open_object(name, Kind::Queue)?)
    }

    pub(crate) fn open_or_create(
        name: &str,
        options: &QueueOptions,
    ) -> Result<Shared, SegmentError> {
        let (constants, len) = describe(options);
        let init = |area: &Area| {
            constants.write(area);
            Ok(())
        };
        let segment =
            Segment::open_or_create_object(name, Kind::Queue, len, &options.segment, init)?;
        Shared::attach(segment)
    }

    /// Checks the object, and finishes what a dead participant left in the locks.
    fn attach(segment: Segment) -> Result<Shared, SegmentError> {
        let corrupt =
            |what: &'static str| SegmentError::Corrupt { name: segment.name().to_owned(), what };
        let area = segment.area();
        let constants = Constants::<5>::read(area)
            .ok_or_else(|| corrupt("the queue's constants do not have their checksum"))?;
        let [version, capacity, maxsize, roles, ring] = constants.words();
        if version != VERSION {
            return Err(corrupt("the queue has another object version"));
        }
        let sane = capacity.is_power_of_two()
            && (MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity)
            && ring == RING as u64
            && capacity.checked_add(ring) == Some(area.len() as u64);
        if !sane {
            return Err(corrupt("the queue's ring is not within its object"));
        }
        let words = area.ring(RING, (capacity / UNIT as u64) as u32);
        let shared = Shared {
            words,
            maxsize: u32::try_from(maxsize).ok().filter(|max| *max > 0).unwrap_or(u32::MAX),
            single_producer: roles & SINGLE_PRODUCER != 0,
            single_consumer: roles & SINGLE_CONSUMER != 0,
            get_spin: Spin::new(),
            put_spin: Spin::new(),
            segment: segment.clone(),
        };
        let caller = Caller::enter(&shared.segment)?;
        shared.tail_lock().settle(&caller);
        shared.head_lock().settle(&caller);
        Ok(shared)
    }

    fn area(&self) -> &Area {
        self.segment.area()
    }

    #[inline]
    pub(crate) fn tail_lock(&self) -> &RobustLock {
        RobustLock::at(self.area().word64(TAIL_LOCK))
    }

    #[inline]
    pub(crate) fn head_lock(&self) -> &RobustLock {
        RobustLock::at(self.area().word64(HEAD_LOCK))
    }

    #[inline]
    pub(crate) fn not_empty(&self) -> &EventCount {
        EventCount::at(self.area().word32(NOT_EMPTY))
    }

    #[inline]
    pub(crate) fn not_full(&self) -> &EventCount {
        EventCount::at(self.area().word32(NOT_FULL))
    }

    #[inline]
    pub(crate) fn state_word(&self) -> &AtomicU32 {
        self.area().word32(STATE)
    }

    #[inline]
    pub(crate) fn state(&self) -> u32 {
        self.state_word().load(StdOrdering::Acquire)
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU64 {
        self.area().word64(offset)
    }

    #[inline]
    pub(crate) fn ring(&self) -> Ring<'_> {
        Ring {
            words: &self.words,
            tail: self.word(TAIL),
            head: self.word(HEAD),
            maxsize: self.maxsize,
            seen_head: self.word(SEEN_HEAD),
        }
    }

    /// The ring's words, for the views that read and write a record in place.
    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    /// The limit of messages; 0 = none.
    pub(crate) fn maxsize(&self) -> usize {
        if self.maxsize == u32::MAX { 0 } else { self.maxsize as usize }
    }

    /// Bytes of the ring.
    pub(crate) fn capacity(&self) -> usize {
        self.words.units() as usize * UNIT
    }

    /// Does `work` as the owner of one side's lock, and `after` when the lock is free again but the
    /// kernel still watches. `Err` when the lock was not to be had in time.
    ///
    /// A call that may not wait for the *queue* still waits for the lock, which is held for
    /// nanoseconds; but not longer than a backstop, as its owner may be stopped.
    #[inline]
    pub(crate) fn locked<R>(
        &self,
        lock: &RobustLock,
        deadline: Deadline,
        work: impl FnOnce() -> R,
        after: impl FnOnce(&R),
    ) -> Result<R, NotLocked> {
        let caller = Caller::enter(&self.segment).map_err(NotLocked::Segment)?;
        let armed = caller.arm(lock.word());
        let locked = lock.lock(&caller, || match deadline {
            Deadline::Now => Deadline::after(BACKSTOP),
            other => other,
        });
        // How the lock was obtained does not matter: the ring has nothing that a thief must mend
        // before it goes on.
        let result = locked.map(|_: Acquired| {
            let result = work();
            lock.unlock();
            after(&result);
            result
        });
        caller.disarm(armed);
        result.map_err(|refused| match refused {
            Refused::TimedOut => NotLocked::TimedOut,
            Refused::Deadlock => NotLocked::Segment(self.reentered()),
        })
    }

    /// The error of a call that finds its own thread in the middle of another one: it comes from a
    /// signal handler (or a hostile peer wrote our name into the lock).
    #[cold]
    fn reentered(&self) -> SegmentError {
        let what = "a signal handler cannot use a queue that its thread is in the middle of using";
        SegmentError::InvalidArgument { name: self.segment.name().to_owned(), what }
    }

    /// Marks the queue as poisoned for everybody, and wakes all who wait.
    #[cold]
    pub(crate) fn poison(&self) {
        self.state_word().fetch_max(state::POISONED, StdOrdering::SeqCst);
        self.not_empty().notify(u32::MAX);
        self.not_full().notify(u32::MAX);
    }

    /// The error of a put that met `what`.
    #[cold]
    pub(crate) fn put_corrupt(&self, what: &'static str) -> PutError {
        self.poison();
        PutError::Corrupt { name: self.segment.name().to_owned(), what }
    }

    /// The error of a get that met `what`.
    #[cold]
    pub(crate) fn get_corrupt(&self, what: &'static str) -> GetError {
        self.poison();
        GetError::Corrupt { name: self.segment.name().to_owned(), what }
    }
}

/// Why a side's lock was not obtained.
#[derive(Debug)]
pub(crate) enum NotLocked {
    /// Its owner kept it until the deadline: it is stopped, or starved.
    TimedOut,
    /// The segment cannot be used.
    Segment(SegmentError),
}

/// The constants of a new queue, and the length of its object.
fn describe(options: &QueueOptions) -> (Constants<5>, u64) {
    let capacity = options.capacity.clamp(MIN_CAPACITY, MAX_CAPACITY).next_power_of_two();
    let maxsize = u64::try_from(options.maxsize).unwrap_or(u64::MAX).min(u64::from(u32::MAX) / 2);
    let mut roles = 0;
    if options.single_producer {
        roles |= SINGLE_PRODUCER;
    }
    if options.single_consumer {
        roles |= SINGLE_CONSUMER;
    }
    let constants = Constants::new([VERSION, capacity, maxsize, roles, RING as u64]);
    (constants, RING as u64 + capacity)
}
