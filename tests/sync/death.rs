//! The owner dies: who learns of it, with which data, and how the lock lives on.

use std::os::unix::process::ExitStatusExt;

use steadfast::LockError;

use super::Lock;
use super::hand::{clean, inherited, open, pair, spawn};

use crate::support::{Rng, child, proc, wait_until, watchdog};
use crate::{LONG, Pair};

/// Child: takes the lock and writes half of what belongs together.
pub fn half_written(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    let mut guard = match mutex.lock() {
        Ok(guard) | Err(LockError::OwnerDied(guard)) => guard,
        Err(other) => panic!("{other:?}"),
    };
    guard.first += 41;
    match arguments[1].as_str() {
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        _ => child::tell("half"),
    }
    child::hear();
    drop(guard);
}

/// Child: waits for the lock and tells how it got it.
pub fn wait(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    child::tell(proc::tid());
    let told = match mutex.lock() {
        Ok(_) => "locked".to_owned(),
        Err(LockError::OwnerDied(mut guard)) => {
            guard.second = guard.first;
            guard.mark_consistent();
            "inherited".to_owned()
        }
        Err(other) => format!("{other:?}"),
    };
    child::tell(told);
    child::hear();
}

/// Child: raises both numbers for ever, mending what the dead leave.
pub fn storm(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    child::tell("storming");
    loop {
        let mut guard = match mutex.lock_timeout(LONG) {
            Ok(guard) => {
                assert_eq!(guard.first, guard.second, "half written, and nobody told");
                guard
            }
            Err(LockError::OwnerDied(mut guard)) => {
                assert!(guard.first == guard.second || guard.first == guard.second + 1);
                guard.second = guard.first;
                guard.mark_consistent();
                guard
            }
            Err(other) => panic!("{other:?}"),
        };
        guard.first = std::hint::black_box(guard.first) + 1;
        std::hint::spin_loop();
        guard.second = std::hint::black_box(guard.second) + 1;
    }
}

/// A mutex whose owner was killed with the value half written.
fn orphaned(tag: &str) -> (crate::support::Name, Lock<Pair>) {
    let (name, mutex) = pair(tag);
    let mut owner = spawn("half", &[&name, "killed"]);
    owner.expect("half");
    owner.kill();
    (name, mutex)
}

#[test]
fn the_next_owner_sees_what_the_dead_one_wrote() {
    let _dog = watchdog();
    let (_name, mutex) = orphaned("died");
    let guard = inherited(mutex.lock());
    assert_eq!(*guard, Pair { first: 41, second: 0 });
}

#[test]
fn a_try_lock_takes_over_too() {
    let _dog = watchdog();
    let (_name, mutex) = orphaned("died");
    let guard = inherited(mutex.try_lock());
    assert_eq!(guard.first, 41);
    drop(guard);
    let (_name, mutex) = orphaned("died");
    inherited(mutex.lock_timeout(std::time::Duration::ZERO)).mark_consistent();
    clean(&mutex);
}

#[test]
fn marked_consistent_it_is_as_before() {
    let _dog = watchdog();
    let (name, mutex) = orphaned("marked");
    let mut guard = inherited(mutex.lock());
    guard.second = 41;
    guard.mark_consistent();
    guard.mark_consistent();
    drop(guard);
    assert_eq!(clean(&mutex), Pair { first: 41, second: 41 });
    assert_eq!(clean(&open(&name)), Pair { first: 41, second: 41 });
    let mut other = spawn("wait", &[&name]);
    other.hear();
    other.expect("locked");
}

fn is_abandoned(mutex: &Lock<Pair>) {
    for _ in 0..2 {
        assert!(matches!(mutex.lock(), Err(LockError::Abandoned)));
        assert!(matches!(mutex.try_lock(), Err(LockError::Abandoned)));
        assert!(matches!(mutex.lock_timeout(LONG), Err(LockError::Abandoned)));
    }
}

#[test]
fn dropped_unmarked_it_is_abandoned_until_repaired() {
    let _dog = watchdog();
    let (name, mutex) = orphaned("unmarked");
    drop(inherited(mutex.lock()));
    is_abandoned(&mutex);
    is_abandoned(&open(&name));
    let mut seen = None;
    let mend = |pair: &mut Pair| {
        seen = Some(*pair);
        pair.second = 41;
    };
    mutex.repair(mend).unwrap();
    assert_eq!(seen, Some(Pair { first: 41, second: 0 }));
    assert_eq!(clean(&mutex), Pair { first: 41, second: 41 });
    assert_eq!(clean(&open(&name)).second, 41);
}

#[test]
fn given_up_it_is_abandoned_until_replaced() {
    let _dog = watchdog();
    let (_name, mutex) = orphaned("given-up");
    inherited(mutex.lock()).abandon();
    is_abandoned(&mutex);
    mutex.replace(Pair { first: 1, second: 1 }).unwrap();
    assert_eq!(clean(&mutex), Pair { first: 1, second: 1 });
    // Also without a death: an owner may find its value beyond repair.
    mutex.lock().unwrap().abandon();
    is_abandoned(&mutex);
    mutex.repair(|pair| pair.first = 2).unwrap();
    assert_eq!(clean(&mutex).first, 2);
}

#[test]
fn an_abandoned_lock_is_abandoned_for_every_process() {
    let _dog = watchdog();
    let (name, mutex) = orphaned("everywhere");
    inherited(mutex.lock()).abandon();
    let mut other = spawn("wait", &[&name]);
    other.hear();
    other.expect("Abandoned");
    drop(other);
    // Its end changes nothing: it never held the lock.
    is_abandoned(&mutex);
    mutex.repair(|_| ()).unwrap();
    let mut other = spawn("wait", &[&name]);
    other.hear();
    other.expect("locked");
}

#[test]
fn a_second_death_before_the_judgement_is_told_again() {
    let _dog = watchdog();
    let (name, mutex) = orphaned("twice");
    let mut second = spawn("half", &[&name, "killed"]);
    second.expect("half");
    second.kill();
    let mut guard = inherited(mutex.lock());
    assert_eq!(*guard, Pair { first: 82, second: 0 });
    guard.mark_consistent();
    drop(guard);
    assert_eq!(clean(&mutex).first, 82);
}

#[test]
fn repair_takes_over_from_the_dead_itself() {
    let _dog = watchdog();
    let (_name, mutex) = orphaned("repair");
    mutex.repair(|pair| pair.second = pair.first).unwrap();
    assert_eq!(clean(&mutex), Pair { first: 41, second: 41 });
    // A repair that panics leaves the value to be judged.
    let (_name, mutex) = orphaned("repair");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        mutex.repair(|_| panic!("on purpose"))
    }));
    assert!(panicked.is_err());
    assert!(!matches!(mutex.lock(), Ok(_) | Err(LockError::TimedOut | LockError::Deadlock)));
    mutex.repair(|pair| pair.second = pair.first).unwrap();
    assert_eq!(clean(&mutex).second, 41);
}

#[test]
fn a_waiting_lock_takes_over() {
    let _dog = watchdog();
    let (name, mutex) = pair("waiting");
    for _ in 0..3 {
        let mut owner = spawn("half", &[&name, "killed"]);
        owner.expect("half");
        let mut waiter = spawn("wait", &[&name]);
        let tid = waiter.hear().parse().unwrap();
        proc::wait_until_asleep(waiter.pid(), tid);
        assert!(waiter.is_silent());
        owner.kill();
        waiter.expect("inherited");
        waiter.say("end");
        waiter.finish();
        let value = clean(&mutex);
        assert_eq!(value.first, value.second);
    }
}

#[test]
fn one_of_many_waiters_takes_over_and_the_others_follow() {
    let _dog = watchdog();
    let (name, _mutex) = pair("many");
    let mut owner = spawn("half", &[&name, "killed"]);
    owner.expect("half");
    let mut waiters: Vec<_> = (0..4).map(|_| spawn("wait", &[&name])).collect();
    for waiter in &mut waiters {
        let tid = waiter.hear().parse().unwrap();
        proc::wait_until_asleep(waiter.pid(), tid);
    }
    owner.kill();
    let mut told: Vec<String> = waiters.iter_mut().map(child::Child::hear).collect();
    told.sort();
    assert_eq!(told, ["inherited", "locked", "locked", "locked"]);
}

#[test]
fn a_waiter_that_is_killed_holds_nobody_up() {
    let _dog = watchdog();
    let (name, mutex) = pair("waiter");
    for _ in 0..5 {
        let guard = mutex.lock().unwrap();
        let mut waiters: Vec<_> = (0..2).map(|_| spawn("wait", &[&name])).collect();
        for waiter in &mut waiters {
            let tid = waiter.hear().parse().unwrap();
            proc::wait_until_asleep(waiter.pid(), tid);
        }
        let mut survivor = waiters.pop().unwrap();
        waiters.pop().unwrap().kill();
        drop(guard);
        survivor.expect("locked");
        survivor.say("end");
        survivor.finish();
        clean(&mutex);
    }
}

#[test]
fn a_process_that_ends_while_it_holds_is_like_one_killed() {
    let _dog = watchdog();
    for end in ["exit", "abort"] {
        let (name, mutex) = pair(end);
        let status = spawn("half", &[&name, end]).wait();
        assert!(status.success() || status.signal() == Some(libc::SIGABRT), "{status}");
        let guard = inherited(mutex.lock());
        assert_eq!(guard.first, 41, "{end}");
    }
}

#[test]
fn a_panic_while_holding_leaves_the_value_to_be_judged() {
    let _dog = watchdog();
    let (name, mutex) = pair("panic");
    let result = std::thread::scope(|scope| {
        let panicking = scope.spawn(|| {
            let mut guard = mutex.lock().unwrap();
            guard.first = 1;
            panic!("on purpose");
        });
        panicking.join()
    });
    assert!(result.is_err());
    let other = open(&name);
    let mut guard = inherited(other.try_lock());
    assert_eq!(*guard, Pair { first: 1, second: 0 });
    guard.second = 1;
    guard.mark_consistent();
    drop(guard);
    assert_eq!(clean(&mutex).second, 1);
}

#[test]
fn a_lock_taken_while_unwinding_is_an_ordinary_one() {
    let _dog = watchdog();
    struct Unwinding<'a>(&'a Lock<Pair>);
    impl Drop for Unwinding<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            self.0.lock().unwrap().first += 1;
        }
    }
    let (_name, mutex) = pair("unwinding");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _unwinding = Unwinding(&mutex);
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(clean(&mutex).first, 1);
}

#[test]
fn a_storm_of_kills_never_wedges_or_tears() {
    let _dog = watchdog();
    let (name, mutex) = pair("storm");
    let mut rng = Rng::new(3);
    let spawn_one = || {
        let mut child = spawn("storm", &[&name]);
        child.expect("storming");
        child
    };
    let mut children: Vec<_> = (0..3).map(|_| spawn_one()).collect();
    for _ in 0..25 {
        let before = peek(&mutex);
        wait_until("the others go on", || peek(&mutex) > before);
        let victim = children.swap_remove(rng.below(3) as usize);
        for _ in 0..rng.below(20_000) {
            std::hint::spin_loop();
        }
        victim.kill();
        children.push(spawn_one());
    }
    for mut child in children {
        assert!(child.ended().is_none(), "a survivor has failed: {:?}", child.wait());
        child.kill();
    }
    let value = peek(&mutex);
    assert!(value > 0);
}

/// The count, mended if somebody died.
fn peek(mutex: &Lock<Pair>) -> u64 {
    match mutex.lock_timeout(LONG) {
        Ok(guard) => guard.second,
        Err(LockError::OwnerDied(mut guard)) => {
            guard.second = guard.first;
            guard.mark_consistent();
            guard.second
        }
        Err(other) => panic!("{other:?}"),
    }
}
