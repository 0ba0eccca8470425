//! One of the eight.

use std::time::{Duration, Instant};

use steadfast::{LockError, RawLock, RobustMutex, Segment, WaitError};

use crate::random::Random;
use crate::world::{Alone, CHORES, Pair, World};

/// The longest wait of an operation.
const PATIENCE: Duration = Duration::from_millis(100);

/// Gives whether it was completed; `false` if its patience was at its end.
type Operation = fn(&mut Worker) -> bool;

/// All of them.
pub const OPERATIONS: [(&str, Operation); 14] = [
    ("mutex", |worker| {
        let world = worker.world;
        worker.change(&world.pair)
    }),
    ("pthread mutex", |worker| {
        let world = worker.world;
        worker.change(&world.theirs)
    }),
    ("rlock", Worker::lock_twice),
    ("read", Worker::read),
    ("write", Worker::write),
    ("row", Worker::row),
    ("condvar wait", Worker::wait),
    ("condvar notify", Worker::notify),
    ("semaphore", Worker::token),
    ("permits", Worker::permit),
    ("event", Worker::event),
    ("barrier", Worker::meet),
    ("once", Worker::chore),
    ("value", Worker::add),
];

pub struct Worker {
    world: &'static World,
    place: usize,
    random: Random,
}

/// Child: works until it is over.
pub fn work(arguments: &[String]) {
    let world = Segment::of::<World>().open(&arguments[0]).expect("the world");
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    // For ever, as the process: so that it can be borrowed beside the rest of the worker.
    let world = Box::leak(Box::new(world));
    let mut worker = Worker { world, place: number(1) as usize, random: Random::new(number(2)) };
    while !world.over.is_set() {
        let at = worker.random.below(OPERATIONS.len() as u64) as usize;
        world.doing[worker.place].set(at as u64).expect("say what");
        let completed = OPERATIONS[at].1(&mut worker);
        world.beats[worker.place].update(|beats| beats + 1).expect("a beat");
        if completed {
            worker.count(at);
        }
    }
}

/// The guard of a lock, whatever its last owner did; `None` if there was no patience for it.
fn taken<G>(attempt: Result<G, LockError<G>>) -> Option<(G, bool)> {
    match attempt {
        Ok(guard) => Some((guard, false)),
        Err(LockError::OwnerDied(guard)) => Some((guard, true)),
        Err(LockError::TimedOut) => None,
        Err(error) => panic!("a lock: {error:?}"),
    }
}

fn in_time<T>(attempt: Result<T, WaitError>) -> Option<T> {
    match attempt {
        Ok(got) => Some(got),
        Err(WaitError::TimedOut) => None,
        Err(error) => panic!("a wait: {error:?}"),
    }
}

/// Stays where it is for a moment, so that whoever should not be there at the same time has time to be.
fn dwell(random: &mut Random) {
    let until = Instant::now() + Duration::from_micros(random.below(60));
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

impl Worker {
    fn count(&self, operation: usize) {
        if let Some((mut done, died)) = taken(self.world.done[self.place].lock()) {
            done[operation] += 1;
            if died {
                done.mark_consistent();
            }
        }
    }

    fn change<L: RawLock>(&mut self, mutex: &RobustMutex<Pair, L>) -> bool {
        let Some((mut pair, died)) = taken(mutex.lock_timeout(PATIENCE)) else { return false };
        if died {
            pair[1] = pair[0];
            pair.mark_consistent();
        }
        assert_eq!(pair[0], pair[1], "a pair is torn, and its mutex says it is clean");
        pair[0] += 1;
        dwell(&mut self.random);
        pair[1] += 1;
        true
    }

    /// Sees to it that nobody else is inside while `work` is done.
    fn alone(&mut self, alone: &Alone, work: impl FnOnce()) {
        let me = self.random.next() | 1;
        alone.inside.set(me).expect("go in");
        work();
        dwell(&mut self.random);
        assert_eq!(alone.inside.get().expect("look"), me, "two at a time");
    }

    fn lock_twice(&mut self) -> bool {
        let world = self.world;
        let Some((mut outer, died)) = taken(world.again.lock_timeout(PATIENCE)) else {
            return false;
        };
        if died {
            outer.mark_consistent();
        }
        self.alone(&world.again_alone, || {
            let inner = world.again.lock().expect("it is ours");
            assert_eq!(inner.depth(), 2);
        });
        true
    }

    fn read(&mut self) -> bool {
        let table = match self.world.table.read_timeout(PATIENCE) {
            Ok(table) => table,
            Err(LockError::OwnerDied(_)) => return true, // it may be torn, and is not ours to mend
            Err(LockError::TimedOut) => return false,
            Err(error) => panic!("a read: {error:?}"),
        };
        let before = table[0];
        assert!(table.iter().all(|&x| x == before), "a reader sees a torn table: {table:?}");
        dwell(&mut self.random);
        // Read anew: nobody may have written meanwhile.
        let now = *std::hint::black_box(&*table);
        assert!(now.iter().all(|&x| x == before), "a writer beside a reader: {now:?}, {before}");
        if self.random.percent(20) {
            let again = self.world.table.read_timeout(PATIENCE);
            assert!(again.is_ok(), "one who reads may read again: {:?}", again.err());
        }
        true
    }

    fn write(&mut self) -> bool {
        let Some((mut table, died)) = taken(self.world.table.write_timeout(PATIENCE)) else {
            return false;
        };
        if died {
            let first = table[0];
            table.fill(first);
            table.mark_consistent();
        }
        assert!(table.iter().all(|&x| x == table[0]), "a writer sees a torn table: {:?}", *table);
        for (at, entry) in table.iter_mut().enumerate() {
            *entry += 1;
            if at == 7 {
                dwell(&mut self.random);
            }
        }
        true
    }

    fn row(&mut self) -> bool {
        let Some((mut row, died)) = taken(self.world.row.lock_timeout(PATIENCE)) else {
            return false;
        };
        if died {
            row.mark_consistent();
        }
        let at = self.random.below(row.len() as u64) as usize;
        row[at] += 1;
        true
    }

    /// Waits until the pair has changed.
    fn wait(&mut self) -> bool {
        let Some((mut pair, died)) = taken(self.world.pair.lock_timeout(PATIENCE)) else {
            return false;
        };
        if died {
            pair[1] = pair[0];
            pair.mark_consistent();
        }
        let before = pair[0];
        let changed = &self.world.changed;
        match changed.wait_timeout_while(pair, PATIENCE, |pair| pair[0] == before) {
            Ok((_, changed)) => changed,
            Err(LockError::OwnerDied(mut pair)) => {
                pair[1] = pair[0];
                pair.mark_consistent();
                true
            }
            Err(error) => panic!("a wait: {error:?}"),
        }
    }

    fn notify(&mut self) -> bool {
        let world = self.world;
        let changed = self.change(&world.pair);
        if self.random.percent(50) {
            self.world.changed.notify_one().expect("notify");
        } else {
            self.world.changed.notify_all().expect("notify");
        }
        changed
    }

    /// A token of one that is killed with it is gone, until only this is left to do.
    fn token(&mut self) -> bool {
        let tokens = &self.world.tokens;
        if in_time(tokens.acquire_timeout(PATIENCE / 10)).is_none() {
            return false;
        }
        tokens.release().expect("give it back");
        true
    }

    fn permit(&mut self) -> bool {
        let world = self.world;
        let Some(_three) = in_time(world.three.acquire_timeout(PATIENCE)) else { return false };
        let Some(_one) = in_time(world.one.acquire_timeout(PATIENCE)) else { return false };
        self.alone(&world.one_alone, || {});
        true
    }

    fn event(&mut self) -> bool {
        let bell = &self.world.bell;
        match self.random.below(3) {
            0 => bell.set().expect("set"),
            1 => bell.clear().expect("clear"),
            _ => return in_time(bell.wait_timeout(PATIENCE / 4)).is_some(),
        }
        true
    }

    fn meet(&mut self) -> bool {
        let meeting = &self.world.meeting;
        match meeting.wait_timeout(PATIENCE / 2) {
            Ok(number) => {
                assert!(number < 3);
                true
            }
            Err(WaitError::Broken | WaitError::TimedOut) => {
                meeting.reset().expect("reset");
                false
            }
            Err(error) => panic!("a meeting: {error:?}"),
        }
    }

    fn chore(&mut self) -> bool {
        let chore = self.random.below(CHORES as u64) as usize;
        let done = in_time(self.world.chores[chore].call_once_timeout(PATIENCE, |_| ()));
        if done == Some(true) {
            self.world.chores_done[chore].update(|times| times + 1).expect("count it");
        }
        done.is_some()
    }

    fn add(&mut self) -> bool {
        let World { small, large, added, .. } = self.world;
        let added = &added[self.place];
        small.update(|value| value + 1).expect("a small value");
        added.update(|[small, large]| [small + 1, *large]).expect("say so");
        large.update(|value| value.map(|entry| entry + 1)).expect("a large value");
        added.update(|[small, large]| [*small, large + 1]).expect("say so");
        let value = large.get().expect("a large value");
        assert!(value.iter().all(|&entry| entry == value[0]), "a torn value: {value:?}");
        true
    }
}
