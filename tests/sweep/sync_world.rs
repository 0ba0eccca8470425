//! One of each primitive in one segment, and where their words are: what the sweeps of the sync family share.

use steadfast::{
    Array, Barrier, BoundedSemaphore, Condvar, Event, Mutex, Once, Permits, RLock, RwLock, Segment,
    SegmentOptions, Semaphore, Shared, Value,
};

use crate::peer::Pair;

/// A value of more than one word, all of whose words are equal.
pub type Large = [u64; 24];

/// What every pair starts with, and the small value.
pub const START: Pair = [1, 1];
/// How many values the array has.
pub const ROW: usize = 4;

/// All of them. The ones whose words are looked at come first.
#[derive(Shared)]
pub struct World {
    pub rwlock: RwLock<Pair>,
    pub rlock: RLock,
    pub barrier: Barrier,
    pub mutex: Mutex<Pair>,
    pub changed: Condvar,
    pub semaphore: Semaphore,
    pub bounded: BoundedSemaphore,
    pub permits: Permits,
    pub event: Event,
    pub once: Once,
    pub small: Value<u64>,
    pub large: Value<Large>,
    pub row: Array<u64>,
}

/// Where the words are, from the first part on.
pub mod at {
    /// The gate of the `RwLock`: 0 open, 1 closed, 2 writing.
    pub const GATE: u64 = 0;
    /// Its seats, 64 bytes each.
    pub const READERS: std::ops::Range<u64> = 128..4224;
    /// The lock word of its mutex.
    pub const MAIN: u64 = 4352;
    /// How its value stands: 0 clean, 1 inconsistent, 2 abandoned, 3 being repaired.
    pub const CONSISTENCY: u64 = 4416;
    /// How often the `RLock`'s owner has it.
    pub const DEPTH: u64 = 4608;
    /// The lock word of the `RLock`.
    pub const RLOCK: u64 = 4864;
    /// The lock word of the mutex, behind a barrier of two parties.
    pub const MUTEX: u64 = 5632;
    /// In a reader's seat: how many times more its owner has come.
    pub const AGAIN: u64 = 56;
    /// Trips and breaks of the barrier.
    pub const STATE: u64 = 5248;
    /// Its seats.
    pub const PARTIES: u64 = 5376;
    /// In a seat: the state in which its owner has arrived.
    pub const ARRIVED: u64 = 40;
    /// In a seat: 1 = its owner has joined.
    pub const STAYS: u64 = 48;
}

/// What a world starts with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Permits of the semaphores, and of `Permits` unless that is 0.
    pub permits: u32,
    pub set: bool,
    pub parties: u32,
}

impl Setup {
    pub const USUAL: Setup = Setup { permits: 2, set: false, parties: 2 };
}

/// Makes one.
pub fn create(name: &str, setup: Setup) -> Result<World, String> {
    let init = WorldInit {
        rwlock: START,
        rlock: (),
        barrier: setup.parties,
        mutex: START,
        changed: (),
        semaphore: setup.permits,
        bounded: setup.permits,
        permits: setup.permits.max(1),
        event: setup.set,
        once: (),
        small: START[0],
        large: [START[0]; 24],
        row: vec![START[0]; ROW],
    };
    let options = SegmentOptions::new().participants(16);
    Segment::of::<World>().create(name, init, &options).map_err(|e| format!("create: {e}"))
}

/// Opens one.
pub fn open(name: &str) -> Result<World, String> {
    Segment::of::<World>().open(name).map_err(|e| format!("open: {e}"))
}

impl World {
    /// Every part is as it was made, and can be used.
    pub fn is_new(&self) -> Result<(), String> {
        let parts = [
            self.rwlock.write().is_ok_and(|pair| *pair == START),
            self.rlock.lock().is_ok_and(|guard| guard.depth() == 1),
            self.barrier.try_join().is_ok() && self.barrier.parties() == 2,
            self.mutex.lock().is_ok_and(|pair| *pair == START),
            self.changed.notify_all().is_ok(),
            self.semaphore.available() == 2 && self.semaphore.acquire().is_ok(),
            self.bounded.available() == 2 && self.bounded.release().is_err(),
            self.permits.held() == 0 && self.permits.acquire().is_ok(),
            !self.event.is_set() && self.event.set().is_ok(),
            self.once.call_once(|attempt| assert!(!attempt.is_retry)).unwrap_or(false),
            self.small.get().is_ok_and(|value| value == START[0]),
            self.large.get().is_ok_and(|value| value == [START[0]; 24]),
            self.row.lock().is_ok_and(|row| *row == [START[0]; ROW]),
        ];
        match parts.iter().position(|fine| !fine) {
            Some(part) => Err(format!("part {part} of a new struct is not whole")),
            None => Ok(()),
        }
    }
}
