//! Both kinds of lock in one hand: the C library's robust list and ours side by side.

use steadfast::{LockError, Mutex, MutexGuard, PthreadMutex, PthreadMutexGuard};

use crate::ours::hand as ours;
use crate::support::child::{self, Child};
use crate::support::{Name, watchdog};
use crate::theirs::hand as theirs;
use crate::{Pair, orders};

/// Two locks of each kind: 0 and 2 are ours, 1 and 3 the C library's.
struct Mixed {
    ours: [Mutex<Pair>; 2],
    theirs: [PthreadMutex<Pair>; 2],
}

/// A guard of either kind.
enum Either<'a> {
    Ours(MutexGuard<'a, Pair>),
    Theirs(PthreadMutexGuard<'a, Pair>),
}

/// What an attempt at one of the four locks gives.
#[derive(Debug, PartialEq)]
enum Found {
    Free,
    Held,
    Orphaned,
}

impl Mixed {
    fn open(names: [&str; 4]) -> Mixed {
        let ours = [ours::open(names[0]), ours::open(names[2])];
        let theirs = [theirs::open(names[1]), theirs::open(names[3])];
        Mixed { ours, theirs }
    }

    fn new() -> ([Name; 4], Mixed) {
        let names = std::array::from_fn(|at| match at % 2 {
            0 => ours::pair("mixed").0,
            _ => theirs::pair("mixed").0,
        });
        let mixed = Mixed::open(names.each_ref().map(|name| &**name));
        (names, mixed)
    }

    fn lock(&self, at: usize) -> Either<'_> {
        match at % 2 {
            0 => Either::Ours(self.ours[at / 2].lock().unwrap()),
            _ => Either::Theirs(self.theirs[at / 2].lock().unwrap()),
        }
    }

    /// Takes the locks in one order, drops the first `drops` in another, and
    /// keeps the rest for `then`.
    fn interleave(
        &self,
        taken: [usize; 4],
        dropped: [usize; 4],
        drops: usize,
        then: impl FnOnce(),
    ) {
        let mut guards: [Option<Either<'_>>; 4] = Default::default();
        for at in taken {
            guards[at] = Some(self.lock(at));
        }
        for at in &dropped[..drops] {
            match guards[*at].take() {
                Some(Either::Ours(guard)) => drop(guard),
                Some(Either::Theirs(guard)) => drop(guard),
                None => unreachable!("each is dropped once"),
            }
        }
        then();
        std::mem::forget(guards);
    }

    fn find(&self, at: usize) -> Found {
        fn found<G>(attempt: Result<G, LockError<G>>, mend: impl FnOnce(&mut G)) -> Found {
            match attempt {
                Ok(_) => Found::Free,
                Err(LockError::OwnerDied(mut guard)) => {
                    mend(&mut guard);
                    Found::Orphaned
                }
                Err(LockError::WouldBlock | LockError::Deadlock) => Found::Held,
                Err(other) => panic!("{other:?}"),
            }
        }
        match at % 2 {
            0 => found(self.ours[at / 2].try_lock(), MutexGuard::mark_consistent),
            _ => found(self.theirs[at / 2].try_lock(), PthreadMutexGuard::mark_consistent),
        }
    }

    /// Whether a lock that this thread holds says so, without a wait.
    fn refuses(&self, at: usize) -> bool {
        match at % 2 {
            0 => matches!(self.ours[at / 2].lock(), Err(LockError::Deadlock)),
            _ => matches!(self.theirs[at / 2].lock(), Err(LockError::Deadlock)),
        }
    }

    /// The dropped ones must be free, the others as `rest`.
    fn check(&self, dropped: [usize; 4], drops: usize, rest: Found, story: &str) {
        for (turn, at) in dropped.into_iter().enumerate() {
            let wanted = if turn < drops { &Found::Free } else { &rest };
            assert_eq!(&self.find(at), wanted, "lock {at} in {story}");
        }
    }
}

/// Child: takes the four locks and drops some of them, in the orders it is told.
pub fn mixed(arguments: &[String]) {
    let mixed = Mixed::open(std::array::from_fn(|at| arguments[at].as_str()));
    let order = |at: usize| -> [usize; 4] {
        let digits: Vec<usize> = arguments[at].bytes().map(|digit| (digit - b'0').into()).collect();
        digits.try_into().unwrap()
    };
    mixed.interleave(order(4), order(5), arguments[6].parse().unwrap(), || {
        child::tell("ready");
        child::hear();
    });
}

/// Child: takes the four locks in every order, tries the held ones again at every step, and drops
/// the guards in every order, and each time the mutexes with them.
pub fn relock(arguments: &[String]) {
    for taken in orders() {
        for dropped in orders() {
            let name = |at: usize| arguments[at].as_str();
            let mixed = Mixed::open([name(0), name(1), name(2), name(3)]);
            let mut guards: [Option<Either<'_>>; 4] = Default::default();
            for (turn, at) in taken.into_iter().enumerate() {
                guards[at] = Some(mixed.lock(at));
                for held in &taken[..=turn] {
                    assert!(mixed.refuses(*held));
                }
            }
            for at in dropped {
                drop(guards[at].take());
                assert_eq!(mixed.find(at), Found::Free);
            }
        }
    }
    child::tell("whole");
}

#[test]
fn refused_attempts_leave_every_other_lock_alone() {
    let _dog = watchdog();
    let (names, _locks) = Mixed::new();
    let names = names.each_ref().map(|name| &**name);
    let mut child = Child::spawn("relock", &names);
    child.expect("whole");
    child.finish();
}

fn digits(order: [usize; 4]) -> String {
    order.map(|at| char::from(b'0' + at as u8)).iter().collect()
}

#[test]
fn both_kinds_interleaved_are_released_in_every_order() {
    let _dog = watchdog();
    let (_names, locks) = Mixed::new();
    for taken in orders() {
        for dropped in orders() {
            let mut guards: [Option<Either<'_>>; 4] = Default::default();
            for at in taken {
                guards[at] = Some(locks.lock(at));
            }
            for at in dropped {
                assert_eq!(locks.find(at), Found::Held);
                drop(guards[at].take());
                assert_eq!(locks.find(at), Found::Free);
            }
        }
    }
}

#[test]
fn what_a_thread_leaves_of_both_kinds_is_recovered_in_every_order() {
    let _dog = watchdog();
    let (_names, locks) = Mixed::new();
    for taken in orders() {
        for dropped in orders() {
            for drops in 0..4 {
                let story = format!("taken {taken:?}, {drops} dropped of {dropped:?}");
                std::thread::scope(|scope| {
                    let owner = scope.spawn(|| {
                        locks.interleave(taken, dropped, drops, || {
                            std::thread::scope(|inner| {
                                let check = || locks.check(dropped, drops, Found::Held, &story);
                                inner.spawn(check);
                            });
                        });
                    });
                    // The scope's own end does not wait for the end of the thread itself.
                    owner.join().unwrap();
                });
                locks.check(dropped, drops, Found::Orphaned, &story);
                locks.check(dropped, 4, Found::Free, &story);
            }
        }
    }
}

#[test]
fn what_a_killed_process_leaves_of_both_kinds_is_recovered() {
    let _dog = watchdog();
    let (names, locks) = Mixed::new();
    for (turn, dropped) in orders().into_iter().enumerate() {
        let taken = orders()[turn * 7 % 24];
        let drops = turn % 4;
        let mut arguments: Vec<&str> = names.iter().map(|name| &**name).collect();
        let (taken, order, count) = (digits(taken), digits(dropped), drops.to_string());
        arguments.extend([&*taken, &*order, &*count]);
        let mut owner = Child::spawn("mixed", &arguments);
        owner.expect("ready");
        let story = format!("taken {taken}, {drops} dropped of {order}");
        locks.check(dropped, drops, Found::Held, &story);
        owner.kill();
        locks.check(dropped, drops, Found::Orphaned, &story);
        locks.check(dropped, 4, Found::Free, &story);
    }
}
