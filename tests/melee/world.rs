//! The struct that all share, and what must be true of it at the end.

use steadfast::{
    Barrier, Condvar, Event, LockError, Mutex, Once, Permits, PthreadMutex, RLock, RwLock,
    Semaphore, Shared, Value,
};

/// Places of workers.
pub const PLACES: usize = 8;
/// Things to be done once.
pub const CHORES: usize = 32;
/// Tokens of the semaphore.
pub const TOKENS: u32 = 3;

/// Two numbers that are equal when nobody is changing them.
pub type Pair = [u64; 2];

/// What the owners of one lock, or holders of the one permit, leave to see whether they are alone.
#[derive(Shared)]
pub struct Alone {
    /// Who is inside: a number of its own for each visit; 0 = nobody has said so.
    pub inside: Value<u64>,
}

/// Everything.
#[derive(Shared)]
pub struct World {
    pub pair: Mutex<Pair>,
    pub changed: Condvar,
    pub theirs: PthreadMutex<Pair>,
    pub again: RLock,
    pub again_alone: Alone,
    pub table: RwLock<[u64; 16]>,
    pub row: Mutex<[u64]>,
    pub tokens: Semaphore,
    pub one: Permits,
    pub one_alone: Alone,
    pub three: Permits,
    pub bell: Event,
    pub meeting: Barrier,
    pub chores: [Once; CHORES],
    pub chores_done: [Value<u64>; CHORES],
    pub small: Value<u64>,
    pub large: Value<[u64; 40]>,
    pub over: Event,
    /// What each place added to `small` and `large`, all its workers together.
    pub added: [Value<[u64; 2]>; PLACES],
    /// Operations completed by each place.
    pub done: [Mutex<[u64; 16]>; PLACES],
    pub beats: [Value<u64>; PLACES],
    pub doing: [Value<u64>; PLACES],
}

/// What it begins with.
pub fn fresh() -> WorldInit {
    let alone = || AloneInit { inside: 0 };
    WorldInit {
        pair: [0; 2],
        changed: (),
        theirs: [0; 2],
        again: (),
        again_alone: alone(),
        table: [0; 16],
        row: vec![0; 100],
        tokens: TOKENS,
        one: 1,
        one_alone: alone(),
        three: 3,
        bell: false,
        meeting: 3,
        chores: [(); CHORES],
        chores_done: [0; CHORES],
        small: 0,
        large: [0; 40],
        over: false,
        added: [[0; 2]; PLACES],
        done: [[0; 16]; PLACES],
        beats: [0; PLACES],
        doing: [0; PLACES],
    }
}

impl World {
    /// With everybody gone and `kills` of them killed.
    pub fn judge(&self, kills: u64) {
        let ours = self.pair.lock().map(|pair| *pair);
        let theirs = self.theirs.lock().map(|pair| *pair);
        for [first, second] in ours.ok().into_iter().chain(theirs.ok()) {
            assert_eq!(first, second, "a pair is torn, and its mutex says it is clean");
        }
        match self.table.write() {
            Ok(table) => assert!(table.iter().all(|&x| x == table[0]), "a clean table is torn"),
            Err(LockError::OwnerDied(_)) => {}
            Err(error) => panic!("the table: {error:?}"),
        }
        assert!(self.tokens.available() <= TOKENS, "more tokens than there were");
        let all: Vec<_> =
            (0..3).map(|_| self.three.try_acquire().expect("a permit of the dead")).collect();
        assert!(self.three.try_acquire().is_err(), "more permits than there are");
        drop(all);
        drop(self.one.try_acquire().expect("the permit of a dead holder"));
        let times: Vec<u64> = self.chores_done.iter().map(|value| value.get().unwrap()).collect();
        assert!(times.iter().all(|&times| times <= 1), "a chore was completed twice: {times:?}");
        let large = self.large.get().expect("a value");
        assert!(large.iter().all(|&x| x == large[0]), "a large value is torn: {large:?}");
        let added = self.added.iter().map(|added| added.get().unwrap());
        let [small_added, large_added] =
            added.fold([0; 2], |sum, added| [sum[0] + added[0], sum[1] + added[1]]);
        let small = self.small.get().unwrap();
        // One that was killed between adding and saying so is missing among what was said.
        assert!(
            (small_added..=small_added + kills).contains(&small),
            "{small}, {small_added} said"
        );
        assert!(
            (large_added..=large_added + kills).contains(&large[0]),
            "large: {large_added} said"
        );
        self.meeting.reset().expect("reset");
        let places: Vec<_> = (0..3).map(|_| self.meeting.try_join().expect("a place")).collect();
        assert!(self.meeting.try_join().is_err(), "more places than parties");
        drop(places);
    }
}
