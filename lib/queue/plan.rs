//! Where everything in a queue's object lies: numbers only, from the options of a new queue or the
//! constants of one that is there.

use crate::segment::{Area, Constants};

use super::QueueOptions;
use super::options::{MAX_CAPACITY, MIN_CAPACITY};
use super::record::UNIT;
use super::ring::max_len;
use super::store::Store;

/// Where the ring begins.
pub(crate) const RING: u64 = 1024;

/// The number of this arrangement; a queue of another one is refused.
const VERSION: u64 = 2;

const SINGLE_PRODUCER: u64 = 1;
const SINGLE_CONSUMER: u64 = 2;
const JOINABLE: u64 = 4;

/// Units of a store at most, so that a walk through it has an end, and its index is not too large.
const MOST_UNITS: u64 = 1 << 20;
/// The smallest unit, as a power of two: a cache line.
const LEAST_SHIFT: u32 = 6;
/// Messages of the largest maxsize, as in Python's `multiprocessing`.
const MAX_MAXSIZE: u64 = 2_147_483_647;
/// Bytes of the largest store.
const MAX_STORE: u64 = 1 << 36;
/// The largest message that goes into the ring where there is a store too.
const MOST_INLINE: u64 = 16 << 10;

/// The numbers of one queue; all follow from the first seven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Bytes of the ring, a power of two.
    pub(crate) ring_bytes: u64,
    /// Messages at a time; 0 = no limit.
    pub(crate) maxsize: u32,
    pub(crate) single_producer: bool,
    pub(crate) single_consumer: bool,
    pub(crate) joinable: bool,
    /// Bytes of the store; 0 = none.
    pub(crate) store_bytes: u64,
    /// How often a message is handed out; 0 = no limit. How many dead ones are kept.
    pub(crate) limits: (u32, u32),
    /// The store's unit, as a power of two.
    pub(crate) shift: u32,
    /// Entries of the index of what came back.
    pub(crate) index_len: u32,
    pub(crate) index_at: u64,
    pub(crate) store_at: u64,
    /// Bytes of the object.
    pub(crate) total: u64,
}

impl Plan {
    /// The plan of a new queue, or what it cannot have.
    pub(crate) fn new(options: &QueueOptions, joinable: bool) -> Result<Plan, &'static str> {
        if options.maxsize as u64 > MAX_MAXSIZE {
            return Err("a maxsize above 2147483647 messages is more than a queue counts");
        }
        if options.capacity > if joinable { MAX_STORE } else { MAX_CAPACITY } {
            return Err(match joinable {
                true => "a joinable queue has at most 64 GiB",
                false => "a queue's ring has at most 8 GiB",
            });
        }
        if options.large > MAX_STORE {
            return Err("at most 64 GiB can be set aside for large messages");
        }
        let capacity = options.capacity.clamp(MIN_CAPACITY, MAX_CAPACITY).next_power_of_two();
        let mut plan = Plan {
            ring_bytes: capacity,
            maxsize: options.maxsize as u32,
            single_producer: options.single_producer,
            single_consumer: options.single_consumer,
            joinable,
            store_bytes: options.large,
            limits: (options.max_deliveries, options.max_dead_letters),
            shift: 0,
            index_len: 0,
            index_at: 0,
            store_at: 0,
            total: 0,
        };
        if joinable {
            // The ring only has names in it: two words for the shortest of messages.
            plan.store_bytes = options.capacity.max(options.large).max(MIN_CAPACITY);
            let most = plan.store_bytes.min(MAX_STORE) >> shift(plan.store_bytes);
            plan.ring_bytes = (most * 2 * UNIT as u64).next_power_of_two().max(MIN_CAPACITY);
        }
        Ok(plan.lay_out())
    }

    /// Fills in what follows from the first seven numbers.
    fn lay_out(mut self) -> Plan {
        self.shift = shift(self.store_bytes);
        let unit = 1_u64 << self.shift;
        if self.store_bytes > 0 {
            self.store_bytes = self.store_bytes.min(MAX_STORE).next_multiple_of(unit);
        }
        self.index_at = RING + self.ring_bytes;
        self.index_len = if self.joinable { self.units() } else { 0 };
        self.store_at = self.index_at + u64::from(self.index_len) * 4;
        if self.store_bytes > 0 {
            self.store_at = self.store_at.next_multiple_of(4096);
        }
        self.total = self.store_at + self.store_bytes;
        self
    }

    /// Units of the store.
    pub(crate) fn units(&self) -> u32 {
        (self.store_bytes >> self.shift) as u32
    }

    /// The largest message that goes into the ring.
    pub(crate) fn inline_max(&self) -> usize {
        let ring = max_len((self.ring_bytes / UNIT as u64) as u32);
        match (self.joinable, self.store_bytes) {
            (true, _) => 0,
            (false, 0) => ring,
            (false, _) => ring.min(MOST_INLINE.min(self.ring_bytes / 8) as usize),
        }
    }

    /// The store in the object, if there is one.
    pub(crate) fn store(&self, area: &Area) -> Option<Store> {
        let store = || Store::new(area, self.store_at as usize, self.shift, self.units());
        (self.store_bytes > 0).then(store)
    }

    fn words(&self) -> [u64; 7] {
        let flag = |on, bit| if on { bit } else { 0 };
        let roles = flag(self.single_producer, SINGLE_PRODUCER)
            | flag(self.single_consumer, SINGLE_CONSUMER)
            | flag(self.joinable, JOINABLE);
        let limits = u64::from(self.limits.1) << 32 | u64::from(self.limits.0);
        let maxsize = u64::from(self.maxsize);
        [VERSION, self.ring_bytes, maxsize, roles, self.store_bytes, limits, self.total]
    }

    pub(crate) fn write(&self, area: &Area) {
        Constants::new(self.words()).write(area, 0);
        if let Some(store) = self.store(area) {
            store.format();
        }
    }

    /// Reads the plan of a queue that is there, or what is wrong with it.
    pub(crate) fn read(area: &Area) -> Result<Plan, &'static str> {
        let constants = Constants::<7>::read(area, 0)
            .ok_or("the queue's constants do not have their checksum")?;
        let [version, ring_bytes, maxsize, roles, store_bytes, limits, _] = constants.words();
        if version != VERSION {
            return Err("the queue has another object version");
        }
        let sane = ring_bytes.is_power_of_two()
            && (MIN_CAPACITY..=MAX_CAPACITY).contains(&ring_bytes)
            && store_bytes <= MAX_STORE
            && maxsize <= MAX_MAXSIZE;
        if !sane {
            return Err("the queue's ring is not within its object");
        }
        let plan = Plan {
            ring_bytes,
            maxsize: maxsize as u32,
            single_producer: roles & SINGLE_PRODUCER != 0,
            single_consumer: roles & SINGLE_CONSUMER != 0,
            joinable: roles & JOINABLE != 0,
            store_bytes,
            limits: (limits as u32, (limits >> 32) as u32),
            shift: 0,
            index_len: 0,
            index_at: 0,
            store_at: 0,
            total: 0,
        };
        let plan = plan.lay_out();
        let whole = plan.words() == constants.words()
            && plan.total == area.len() as u64
            && (!plan.joinable || plan.store_bytes > 0);
        if whole { Ok(plan) } else { Err("the queue's ring is not within its object") }
    }
}

/// The unit of a store of so many bytes, as a power of two.
fn shift(bytes: u64) -> u32 {
    let needed = bytes.min(MAX_STORE).div_ceil(MOST_UNITS).max(1).next_power_of_two();
    needed.trailing_zeros().max(LEAST_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_a_bounded_number_of_units() {
        for bytes in [1, 4096, 4 << 20, (64 << 20) + 1, 1 << 30, MAX_STORE] {
            let units = bytes.div_ceil(1 << shift(bytes));
            assert!(units <= MOST_UNITS, "{bytes}");
        }
        assert_eq!((shift(4 << 20), shift(64 << 20), shift(1 << 30)), (6, 6, 10));
    }

    #[test]
    fn laying_out_twice_changes_nothing() {
        for (bytes, joinable) in [(0, false), (1, false), (5 << 20, true), (MAX_STORE, true)] {
            let options = QueueOptions::new().capacity(1 << 20).large_messages(bytes);
            let plan = Plan::new(&options, joinable).unwrap();
            assert_eq!(plan.lay_out(), plan);
            assert!(plan.ring_bytes.is_power_of_two() && plan.ring_bytes <= MAX_CAPACITY);
        }
    }
}
