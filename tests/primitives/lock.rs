//! `BoundedSemaphore(1)` as the lock that anybody may release. After `_TestLock`: `test_lock`,
//! `test_lock_locked_2processes`, `test_lock_context`.

use std::time::{Duration, Instant};

use steadfast::{BoundedSemaphore, Value, WaitError};

use crate::puppet::{Puppet, World, told};
use crate::support::child::Child;
use crate::support::{Name, watchdog};
use crate::{LONG, SHORT, options};

const ROUNDS: u64 = 3000;

/// Child: adds one many times, in two steps that a second owner would tear.
pub fn count(arguments: &[String]) {
    let lock = BoundedSemaphore::open(&arguments[0]).unwrap();
    let total = Value::<u64>::open(&arguments[1]).unwrap();
    for round in 0..ROUNDS {
        match round % 3 {
            0 => lock.acquire().unwrap(),
            1 => lock.acquire_timeout(LONG).unwrap(),
            _ => {
                while lock.try_acquire().is_err() {
                    std::thread::yield_now();
                }
            }
        }
        let seen = total.get().unwrap();
        if round.is_multiple_of(97) {
            std::thread::yield_now(); // lets the others run into the lock
        }
        total.set(seen + 1).unwrap();
        lock.release().unwrap();
    }
}

#[test]
fn a_lock_is_taken_once_and_released_once() {
    let _dog = watchdog();
    let (_name, world) = World::new("lock");
    let lock = &world.lock;
    lock.acquire().unwrap();
    assert!(matches!(lock.try_acquire(), Err(WaitError::WouldBlock)));
    lock.release().unwrap();
    // One release too many is an error, and changes nothing.
    for _ in 0..3 {
        assert!(matches!(lock.release(), Err(WaitError::TooMany)));
    }
    lock.acquire().unwrap();
    assert!(matches!(lock.try_acquire(), Err(WaitError::WouldBlock)));
}

#[test]
fn any_process_may_release_it() {
    let _dog = watchdog();
    let (name, world) = World::new("lock");
    let mut other = Puppet::new(&name);
    world.lock.acquire().unwrap();
    assert_eq!(other.ask("try lock"), "WouldBlock");
    assert_eq!(other.ask("unlock"), "ok");
    assert_eq!(other.ask("unlock"), "TooMany");
    world.lock.acquire().unwrap();
    other.begin_to_wait("lock");
    // It need not be the one who has it, nor another process than that.
    std::thread::scope(|scope| {
        scope.spawn(|| world.lock.release().unwrap());
    });
    assert_eq!(other.answer(), "ok");
    world.lock.release().unwrap();
    assert_eq!(other.ask("unlock"), "TooMany");
}

#[test]
fn every_process_sees_whether_it_is_locked() {
    let _dog = watchdog();
    let (name, world) = World::new("lock");
    let mut other = Puppet::new(&name);
    for _ in 0..2 {
        assert_eq!(other.ask("is locked"), "false");
        world.lock.acquire().unwrap();
        assert_eq!(other.ask("is locked"), "true");
        world.lock.release().unwrap();
        assert_eq!(other.ask("lock"), "ok");
        assert_eq!(world.lock.available(), 0);
        assert_eq!(other.ask("unlock"), "ok");
        assert_eq!(world.lock.available(), 1);
    }
}

#[test]
fn a_lock_waits_for_as_long_as_it_is_told() {
    let _dog = watchdog();
    let (name, world) = World::new("lock");
    let mut other = Puppet::new(&name);
    assert_eq!(other.ask("lock"), "ok");
    assert!(matches!(world.lock.acquire_timeout(Duration::ZERO), Err(WaitError::TimedOut)));
    let start = Instant::now();
    assert!(matches!(world.lock.acquire_timeout(SHORT), Err(WaitError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(other.ask("unlock"), "ok");
    world.lock.acquire_timeout(Duration::ZERO).unwrap();
    world.lock.release().unwrap();
    world.lock.acquire_timeout(Duration::MAX).unwrap();
}

#[test]
fn one_process_at_a_time() {
    let _dog = watchdog();
    let (name, total_name) = (Name::new("lock"), Name::new("total"));
    let lock = BoundedSemaphore::create(&name, 1, &options()).unwrap();
    let total = Value::create(&total_name, 0_u64, &options()).unwrap();
    let count = || Child::spawn("gate crasher", &[&name, &total_name]);
    let children: Vec<Child> = (0..4).map(|_| count()).collect();
    children.into_iter().for_each(Child::finish);
    assert_eq!(total.get().unwrap(), 4 * ROUNDS);
    assert_eq!(lock.available(), 1);
}

#[test]
fn what_a_killed_process_took_is_gone_until_somebody_releases_it() {
    let _dog = watchdog();
    let (name, world) = World::new("lock");
    let mut other = Puppet::new(&name);
    assert_eq!(other.ask("lock"), "ok");
    other.kill();
    // Nobody owns it, so nobody's death releases it; but anybody may.
    assert!(matches!(world.lock.acquire_timeout(SHORT), Err(WaitError::TimedOut)));
    assert_eq!(told(world.lock.release()), "ok");
    world.lock.acquire().unwrap();
}

#[test]
fn a_killed_waiter_takes_nothing_with_it() {
    let _dog = watchdog();
    let (name, world) = World::new("lock");
    for _ in 0..5 {
        world.lock.acquire().unwrap();
        let mut waiters = [Puppet::new(&name), Puppet::new(&name)];
        waiters.iter_mut().for_each(|waiter| waiter.begin_to_wait("lock"));
        let [dead, mut survivor] = waiters;
        dead.kill();
        world.lock.release().unwrap();
        assert_eq!(survivor.answer(), "ok");
        world.lock.release().unwrap();
    }
}
