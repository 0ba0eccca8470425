//! Several locks in one hand: nested, interleaved, left behind by a thread or
//! by a process that was killed.

use steadfast::LockError;

use super::Lock;
use super::hand::{clean, inherited, open, pair, spawn};
use crate::support::child::{self, Child};
use crate::support::watchdog;
use crate::{LONG, Pair, orders};

/// Child: takes every lock it is told of, in order, and keeps them.
pub fn nest(arguments: &[String]) {
    let locks: Vec<Lock<Pair>> = arguments.iter().map(|name| open(name)).collect();
    let mut guards: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
    for guard in &mut guards {
        guard.first = 1;
    }
    child::tell("nested");
    child::hear();
}

#[test]
fn nested_locks_of_a_killed_process_are_all_recovered() {
    let _dog = watchdog();
    let locks: Vec<_> = (0..6).map(|_| pair("nested")).collect();
    let names: Vec<&str> = locks.iter().map(|(name, _)| &**name).collect();
    for count in 1..=names.len() {
        let mut owner = spawn("nest", &names[..count]);
        owner.expect("nested");
        for (_, mutex) in &locks[..count] {
            assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
        }
        owner.kill();
        for (at, (_, mutex)) in locks.iter().enumerate() {
            if at < count {
                let mut guard = inherited(mutex.lock_timeout(LONG));
                assert_eq!(guard.first, 1, "{at} of {count}");
                guard.first = 0;
                guard.mark_consistent();
            }
            clean(mutex);
        }
    }
}

#[test]
fn more_locks_than_are_listed_are_recovered_from_a_killed_process() {
    let _dog = watchdog();
    let locks: Vec<_> = (0..100).map(|_| pair("beyond")).collect();
    let names: Vec<&str> = locks.iter().map(|(name, _)| &**name).collect();
    let mut owner = spawn("nest", &names);
    owner.expect("nested");
    owner.kill();
    for (_, mutex) in &locks {
        inherited(mutex.lock_timeout(LONG)).mark_consistent();
        clean(mutex);
    }
}

#[test]
fn nested_locks_of_a_thread_that_ended_are_all_recovered() {
    let _dog = watchdog();
    let locks: Vec<_> = (0..6).map(|_| pair("thread")).collect();
    let names: Vec<&str> = locks.iter().map(|(name, _)| &**name).collect();
    for round in 0..4 {
        std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                for (_, mutex) in &locks {
                    let mut guard = mutex.lock().unwrap();
                    guard.first = round;
                    std::mem::forget(guard);
                }
            });
            owner.join().unwrap();
        });
        // The process lives on, and so would every guard of its other threads.
        if round % 2 == 0 {
            for (_, mutex) in &locks {
                let mut guard = inherited(mutex.lock_timeout(LONG));
                assert_eq!(guard.first, round);
                guard.mark_consistent();
            }
        } else {
            let mut waiters: Vec<Child> =
                (names.iter()).map(|name| spawn("wait", &[name])).collect();
            for waiter in &mut waiters {
                waiter.hear();
                waiter.expect("inherited");
                waiter.say("end");
            }
            waiters.into_iter().for_each(Child::finish);
        }
        for (_, mutex) in &locks {
            clean(mutex);
        }
    }
}

#[test]
fn guards_dropped_in_any_order_release_their_own_lock() {
    let _dog = watchdog();
    let locks: Vec<_> = (0..4).map(|_| pair("order")).collect();
    for taken in orders() {
        for dropped in orders() {
            let mut guards: [Option<_>; 4] = Default::default();
            for at in taken {
                guards[at] = Some(locks[at].1.lock().unwrap());
            }
            for at in dropped {
                drop(guards[at].take());
                drop(locks[at].1.try_lock().expect("it is free, and ours alone"));
            }
        }
    }
    for (_, mutex) in &locks {
        clean(mutex);
    }
}

#[test]
fn one_thread_takes_many_locks() {
    let _dog = watchdog();
    let locks: Vec<_> = (0..60).map(|_| pair("many")).collect();
    for step in [1, 7, 13, 59] {
        let mut guards: Vec<Option<_>> =
            locks.iter().map(|(_, mutex)| Some(mutex.lock().unwrap())).collect();
        for turn in 0..guards.len() {
            drop(guards[turn * step % locks.len()].take());
        }
        drop(guards);
        std::thread::scope(|scope| {
            scope.spawn(|| locks.iter().for_each(|(_, mutex)| drop(mutex.try_lock().unwrap())));
        });
    }
}
