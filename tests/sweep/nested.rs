//! Two mutexes held at the same time.

use std::time::Duration;

use crate::either;
use crate::engine::{Account, Course, Death, Lane, Scenario, Stage, State};
use crate::mutex::{Kind, Lock, START};
use crate::ptrace::marker;
use crate::support::Name;
use crate::words::{LOCK, Words};

/// Two mutexes, and in which order they are released.
#[derive(Clone, Copy, Debug)]
struct Plan {
    kinds: [Kind; 2],
    /// The first one taken is released first.
    crossed: bool,
}

/// The whole of it is the operation: two locks, two changes, two unlocks.
fn play(plan: Plan, names: &[String]) {
    let locks = [0, 1].map(|n| Lock::open(plan.kinds[n], &names[n]));
    for lock in &locks {
        either!(lock, mutex => drop(mutex.lock().expect("a first lock")));
    }
    either!(&locks[0], first => either!(&locks[1], second => {
        marker();
        let mut outer = first.lock().expect("lock");
        let mut inner = second.lock().expect("lock");
        *outer = outer.map(|count| count + 1);
        *inner = inner.map(|count| count + 1);
        if plan.crossed {
            drop(outer);
            drop(inner);
        } else {
            drop(inner);
            drop(outer);
        }
        marker();
    }));
}

struct NestedStage {
    names: [Name; 2],
    locks: [Lock; 2],
    words: [Words; 2],
    owned: [bool; 2],
}

impl NestedStage {
    fn new(plan: Plan) -> Result<NestedStage, String> {
        let names = [Name::new("sweep"), Name::new("sweep")];
        let locks =
            [Lock::create(plan.kinds[0], &names[0])?, Lock::create(plan.kinds[1], &names[1])?];
        let words = [Words::of(&names[0])?, Words::of(&names[1])?];
        Ok(NestedStage { names, locks, words, owned: [false; 2] })
    }
}

impl Stage for NestedStage {
    fn names(&self) -> Vec<String> {
        self.names.iter().map(ToString::to_string).collect()
    }

    fn dying(&mut self, pid: i32) -> Result<(), String> {
        self.owned = [self.words[0].owned_by(LOCK, pid)?, self.words[1].owned_by(LOCK, pid)?];
        Ok(())
    }

    fn survive(&mut self, _: &mut Lane, death: &Death) -> Result<Account, String> {
        let mut unmarked = false;
        for n in 0..2 {
            unmarked |= self.owned[n] && !self.words[n].owner_died(LOCK)?;
        }
        let mut waited = Duration::ZERO;
        let mut changed = [false; 2];
        // Either may be asked for first.
        let order = if death.number.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for n in order {
            let found = self.locks[n].take(death.number.is_multiple_of(4))?;
            if found.died != self.owned[n] {
                return Err(format!(
                    "mutex {n}: OwnerDied was {}, expected {}",
                    found.died, self.owned[n]
                ));
            }
            if !found.died && found.pair[0] != found.pair[1] {
                return Err(format!("mutex {n}: half a change: {:?}", found.pair));
            }
            changed[n] = found.pair[1] != START[1];
            waited = waited.max(found.took);
            if self.locks[n].take(false)?.died {
                return Err("a death was reported again after it was mended".into());
            }
        }
        let done = self.owned == [false; 2] && changed == [true; 2];
        let state = if done { State::After } else { State::Before };
        Ok(Account { state, waited, late: waited > Duration::from_millis(5), unmarked })
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let two = [
        ("nested", [Kind::Futex, Kind::Futex], false),
        ("nested_crossed", [Kind::Futex, Kind::Futex], true),
        ("nested_pthread", [Kind::Pthread, Kind::Pthread], false),
        ("nested_in_pthread", [Kind::Pthread, Kind::Futex], false),
        ("nested_around_pthread", [Kind::Futex, Kind::Pthread], false),
        ("nested_around_pthread_crossed", [Kind::Futex, Kind::Pthread], true),
        ("nested_in_pthread_crossed", [Kind::Pthread, Kind::Futex], true),
    ];
    two.map(|(name, kinds, crossed)| {
        let plan = Plan { kinds, crossed };
        Scenario {
            name: name.to_owned(),
            course: Course::Through,
            hot: name == "nested",
            late: 0,
            victim: Box::new(move |names| play(plan, names)),
            stage: Box::new(move |_| Ok(Box::new(NestedStage::new(plan)?) as Box<dyn Stage>)),
        }
    })
    .into()
}
