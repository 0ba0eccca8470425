//! A queue's object in its segment, and what every handle of a process knows of it.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | constants, checksummed: see [`super::plan`] |
//! | 128 | write side: lock u64, `tail` u64, `seen_head` u64, a list node, the store's books |
//! | 256 | read side: lock u64, `head` u64, 32 bytes for a list node, the index of what came back |
//! | 384 | event count "not empty", u32: consumers sleep on it |
//! | 512 | event count "not full", u32: producers sleep on it |
//! | 640 | state, u32 |
//! | 768 | event count "all done", u32: those who join sleep on it |
//! | 896 | units of the store given back so far, u64 |
//! | 1024 | the ring |
//! | behind it | the array of the index, u32 each: for a joinable queue |
//! | next multiple of 4096 | the store, if there is one |
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
use crate::segment::{Area, Arranged, Arrangement, Kind, Segment, SegmentError, Words};
use crate::sync::Caller;
use crate::sync::event_count::EventCount;
use crate::sync::robust_lock::{Acquired, BACKSTOP, Refused, RobustLock};

use super::QueueOptions;
use super::plan::{Plan, RING};
use super::record::UNIT;
use super::returned::{Index, Returned};
use super::ring::{Corrupt, Ring};
use super::source::{Source, Sources};
use super::spin::Spin;
use super::store::{Books, Store};
use super::survey::LastSurvey;

/// What one side owns, on cache lines of its own.
#[derive(Debug)]
#[repr(C, align(128))]
struct Lines<T>(T);

/// The words between the constants and the ring: the table above as a type.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Control {
    constants: Lines<[AtomicU64; 16]>,
    write: Lines<WriteSide>,
    read: Lines<ReadSide>,
    not_empty: Lines<EventCount>,
    not_full: Lines<EventCount>,
    state: Lines<AtomicU32>,
    all_done: Lines<EventCount>,
    given_back: Lines<AtomicU64>,
}

#[derive(Debug)]
#[repr(C)]
struct WriteSide {
    lock: RobustLock,
    tail: AtomicU64,
    seen_head: AtomicU64,
    /// At +24, with its `next` at +32 of the lock: see [`Shared::locked_both`].
    node: [AtomicU64; 3],
    books: Books,
}

#[derive(Debug)]
#[repr(C)]
struct ReadSide {
    lock: RobustLock,
    head: AtomicU64,
    node: [AtomicU64; 4],
    index: Index,
}

const _: () = {
    assert!(std::mem::offset_of!(WriteSide, node) == 24);
    assert!(std::mem::offset_of!(Control, write) == 128);
    assert!(std::mem::offset_of!(Control, read) == 256);
    assert!(std::mem::offset_of!(Control, not_empty) == 384);
    assert!(std::mem::offset_of!(Control, not_full) == 512);
    assert!(std::mem::offset_of!(Control, state) == 640);
    assert!(std::mem::offset_of!(Control, all_done) == 768);
    assert!(std::mem::offset_of!(Control, given_back) == 896);
    assert!(size_of::<Control>() == RING as usize);
};

// SAFETY: repr(C), and nothing but atomics and transparent wrappers of them.
unsafe impl Arrangement for Control {}

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
    /// The object's bytes, all of the segment's or a part of them.
    area: Area,
    control: Arranged<Control>,
    words: Words,
    store: Option<Store>,
    index: (usize, u32),
    maxsize: u32,
    /// Bytes of the largest message.
    pub(crate) max_len: usize,
    /// Bytes of the largest message that goes into the ring; larger ones go into the store.
    pub(crate) inline_max: usize,
    pub(crate) single_producer: bool,
    pub(crate) single_consumer: bool,
    /// How often a message is handed out; 0 = no limit. How many dead ones are kept.
    pub(crate) limits: (u32, u32),
    /// How long consumers of this process poll before they sleep, and producers.
    pub(crate) get_spin: Spin,
    pub(crate) put_spin: Spin,
    /// What this process knows of its last look for the dead.
    pub(crate) last_survey: LastSurvey,
    /// Who waits here without a thread of their own.
    pub(super) sources: Sources,
}

impl Shared {
    pub(crate) fn create(
        name: &str,
        kind: Kind,
        options: &QueueOptions,
    ) -> Result<Shared, SegmentError> {
        let plan = plan(name, kind, options)?;
        let init = |area: &Area| {
            plan.write(area);
            Ok(())
        };
        Shared::whole(Segment::create_object(name, kind, plan.total, &options.segment, init)?)
    }

    pub(crate) fn open(name: &str, kind: Kind) -> Result<Shared, SegmentError> {
        Shared::whole(Segment::open_object(name, kind)?)
    }

    pub(crate) fn open_or_create(
        name: &str,
        kind: Kind,
        options: &QueueOptions,
    ) -> Result<Shared, SegmentError> {
        let plan = plan(name, kind, options)?;
        let init = |area: &Area| {
            plan.write(area);
            Ok(())
        };
        let segment =
            Segment::open_or_create_object(name, kind, plan.total, &options.segment, init)?;
        Shared::whole(segment)
    }

    /// A queue that has a segment of its own.
    fn whole(segment: Segment) -> Result<Shared, SegmentError> {
        let area = *segment.area();
        Shared::attach(segment, area)
    }

    /// Checks the object in these bytes, and finishes what a dead participant left in the locks and the store.
    pub(super) fn attach(segment: Segment, area: Area) -> Result<Shared, SegmentError> {
        let corrupt =
            |what: &'static str| SegmentError::Corrupt { name: segment.name().to_owned(), what };
        let plan = Plan::read(&area).map_err(corrupt)?;
        let words = area.ring(RING as usize, (plan.ring_bytes / UNIT as u64) as u32);
        let store = plan.store(&area);
        let inline_max = plan.inline_max();
        let shared = Shared {
            control: area.arranged(0),
            max_len: store.map_or(0, |store| store.max_len()).max(inline_max),
            inline_max,
            words,
            store,
            index: (plan.index_at as usize, plan.index_len),
            maxsize: if plan.maxsize > 0 { plan.maxsize } else { u32::MAX },
            single_producer: plan.single_producer,
            single_consumer: plan.single_consumer,
            limits: plan.limits,
            get_spin: Spin::new(),
            put_spin: Spin::new(),
            last_survey: LastSurvey::default(),
            sources: Source::all(),
            segment: segment.clone(),
            area,
        };
        let caller = Caller::enter(&shared.segment).ok_or_else(|| shared.segment.unusable())?;
        shared.tail_lock().settle(&caller);
        shared.head_lock().settle(&caller);
        if shared.store.is_some() && shared.state() != state::POISONED {
            // A predecessor in this process's slot: its number may come round again. Whoever holds a
            // lock and is stopped keeps it from being done now; then the next waiter does it.
            match shared.survey(Deadline::Now) {
                Ok(_) | Err(Failed::Stuck) => {}
                Err(failed) => return Err(shared.segment_error(failed)),
            }
        }
        Ok(shared)
    }

    #[inline]
    pub(crate) fn tail_lock(&self) -> &RobustLock {
        &self.control.write.0.lock
    }

    #[inline]
    pub(crate) fn head_lock(&self) -> &RobustLock {
        &self.control.read.0.lock
    }

    #[inline]
    pub(crate) fn not_empty(&self) -> &EventCount {
        &self.control.not_empty.0
    }

    #[inline]
    pub(crate) fn not_full(&self) -> &EventCount {
        &self.control.not_full.0
    }

    #[inline]
    pub(crate) fn all_done(&self) -> &EventCount {
        &self.control.all_done.0
    }

    /// The store, of a queue that has one.
    #[inline]
    pub(crate) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    #[inline]
    pub(crate) fn books(&self) -> &Books {
        &self.control.write.0.books
    }

    #[inline]
    pub(crate) fn given_back(&self) -> &AtomicU64 {
        &self.control.given_back.0
    }

    /// The index of what came back, of a joinable queue.
    #[inline]
    pub(crate) fn returned(&self) -> Option<Returned<'_>> {
        if self.index.1 == 0 {
            return None;
        }
        Some(Returned {
            index: &self.control.read.0.index,
            store: self.store.as_ref()?,
            area: &self.area,
            array: self.index,
        })
    }

    #[inline]
    pub(crate) fn state_word(&self) -> &AtomicU32 {
        &self.control.state.0
    }

    #[inline]
    pub(crate) fn state(&self) -> u32 {
        self.state_word().load(StdOrdering::Acquire)
    }

    #[inline]
    pub(crate) fn ring(&self) -> Ring<'_> {
        let write = &self.control.write.0;
        Ring {
            words: &self.words,
            tail: &write.tail,
            head: &self.control.read.0.head,
            maxsize: self.maxsize,
            seen_head: &write.seen_head,
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

    /// Bytes of the ring, or of a joinable queue's store.
    pub(crate) fn capacity(&self) -> usize {
        match (&self.store, self.index.1) {
            (Some(store), 1..) => store.bytes(),
            _ => self.words.units() as usize * UNIT,
        }
    }

    /// Does `work` as the owner of one side's lock, and `after` when the lock is free again but the
    /// kernel still watches.
    ///
    /// A call that may not wait for the *queue* still waits for the lock, which is held for
    /// nanoseconds; but not longer than a backstop, as its owner may be stopped.
    #[inline(always)]
    pub(crate) fn locked<R>(
        &self,
        lock: &RobustLock,
        deadline: Deadline,
        work: impl FnOnce() -> R,
        after: impl FnOnce(&R),
    ) -> Result<R, Failed> {
        let caller = Caller::enter(&self.segment).ok_or(Failed::Unusable)?;
        let armed = caller.arm(lock.word());
        let locked = lock.lock(&caller, || match deadline {
            Deadline::Now => Deadline::after(BACKSTOP),
            other => other,
        });
        // How the lock was obtained does not matter: the ring has nothing that a thief must mend
        // before it goes on.
        let result = match locked {
            Ok(Acquired::Clean | Acquired::Stolen(_)) => {
                let held = UnlockOnPanic(lock);
                let result = work();
                std::mem::forget(held);
                lock.unlock();
                after(&result);
                // A file truncated meanwhile: what was done went into pages that nobody shares.
                if self.segment.is_usable() { Ok(result) } else { Err(Failed::Unusable) }
            }
            Err(Refused::TimedOut) => Err(Failed::Stuck),
            Err(Refused::Deadlock) => Err(Failed::Reentered),
        };
        caller.disarm(armed);
        result
    }

    /// [`Shared::locked`] for the read side's lock, by the owner of the write side's. The pending slot names
    /// one word only, so the write side's goes onto the thread's list meanwhile.
    #[cold]
    pub(crate) fn locked_both<R>(
        &self,
        deadline: Deadline,
        work: impl FnOnce() -> R,
        after: impl FnOnce(&R),
    ) -> Result<R, Failed> {
        let caller = Caller::enter(&self.segment).ok_or(Failed::Unusable)?;
        caller.link(self.tail_lock().word());
        let result = self.locked(self.head_lock(), deadline, work, after);
        caller.unlink(self.tail_lock().word());
        result
    }

    /// The segment's error for a failed attempt. Bytes that no participant writes poison the queue.
    #[cold]
    pub(crate) fn segment_error(&self, failed: Failed) -> SegmentError {
        match failed {
            Failed::Corrupt(what) => {
                self.poison();
                SegmentError::Corrupt { name: self.segment.name().to_owned(), what }
            }
            Failed::Reentered => self.reentered(),
            Failed::Unusable | Failed::Stuck => self.segment.unusable(),
        }
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
        self.not_empty().notify_all();
        self.not_full().notify_all();
        self.all_done().notify_all();
    }
}

/// The plan of a new queue.
fn plan(name: &str, kind: Kind, options: &QueueOptions) -> Result<Plan, SegmentError> {
    let invalid = |what| SegmentError::InvalidArgument { name: name.to_owned(), what };
    Plan::new(options, kind == Kind::JoinableQueue).map_err(invalid)
}

/// Unlocks when the work under the lock panics. It has no reason to, but a lock that a living thread
/// never gives back would hold everybody up; and the ring may be left at any instruction.
struct UnlockOnPanic<'a>(&'a RobustLock);

impl Drop for UnlockOnPanic<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// Why an attempt came to nothing: small, as every attempt returns it. The callers make errors of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failed {
    /// The segment holds something that no participant writes.
    Corrupt(&'static str),
    /// The lock's owner kept it until the deadline: it is stopped, or starved.
    Stuck,
    /// The calling thread is in the middle of another call.
    Reentered,
    /// The segment cannot be used.
    Unusable,
}

impl From<Corrupt> for Failed {
    fn from(Corrupt(what): Corrupt) -> Failed {
        Failed::Corrupt(what)
    }
}
