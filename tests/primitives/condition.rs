//! `Condvar`. After `_TestCondition`: `test_notify`, `test_notify_all`, `test_notify_n`, `test_timeout`,
//! `test_waitfor`, `test_waitfor_timeout`, `test_wait_result`.
//!
//! A wait ends by itself after a backstop, so "is woken" means here: finds what it waits for. Each token
//! lets one waiter go on.

use std::time::Instant;

use steadfast::{LockError, Wakeup};

use crate::puppet::{Puppet, World, tokens};
use crate::support::child::{self, Child};
use crate::support::{PAST_BACKSTOPS, wait_until, watchdog};
use crate::{LONG, SHORT};

const ASLEEP: &str = "take a token";

fn sleepers(name: &str, count: usize) -> Vec<Puppet> {
    let mut all: Vec<Puppet> = (0..count).map(|_| Puppet::new(name)).collect();
    all.iter_mut().for_each(|sleeper| sleeper.begin_to_wait(ASLEEP));
    all
}

fn give(world: &World, more: i64) {
    *tokens(world.tokens.lock()) += more;
}

fn left(world: &World) -> i64 {
    *tokens(world.tokens.lock())
}

#[test]
fn notify_one_lets_one_go_on() {
    let _dog = watchdog();
    let (name, world) = World::new("notify");
    std::thread::scope(|scope| {
        // A process and a thread.
        let mut process = sleepers(&name, 1).pop().unwrap();
        let thread = scope.spawn(|| {
            let guard = world.tokens.lock().unwrap();
            *world.changed.wait_while(guard, |tokens| *tokens == 0).unwrap() -= 1;
        });
        for _ in 0..2 {
            give(&world, 1);
            world.changed.notify_one().unwrap();
            wait_until("one has gone on", || left(&world) == 0);
        }
        assert_eq!(process.answer(), "ok");
        thread.join().unwrap();
    });
}

#[test]
fn notify_all_lets_all_go_on() {
    let _dog = watchdog();
    let (name, world) = World::new("all");
    let mut all: Vec<Puppet> = (0..3).map(|_| Puppet::new(&name)).collect();
    // First they time out, all of them.
    all.iter_mut().for_each(|sleeper| sleeper.begin("take a token for 30"));
    all.iter_mut().for_each(|sleeper| assert_eq!(sleeper.answer(), "TimedOut"));
    std::thread::scope(|scope| {
        all.iter_mut().for_each(|sleeper| sleeper.begin_to_wait(ASLEEP));
        for _ in 0..3 {
            scope.spawn(|| {
                let guard = world.tokens.lock().unwrap();
                *world.changed.wait_while(guard, |tokens| *tokens == 0).unwrap() -= 1;
            });
        }
        give(&world, 6);
        world.changed.notify_all().unwrap();
        all.iter_mut().for_each(|sleeper| assert_eq!(sleeper.answer(), "ok"));
    });
    assert_eq!(left(&world), 0);
}

#[test]
fn notify_lets_so_many_go_on() {
    let _dog = watchdog();
    let (name, world) = World::new("notify-n");
    let mut all = sleepers(&name, 6);
    for given in 1..=3 {
        give(&world, given);
        world.changed.notify(given as u32).unwrap();
        wait_until("so many have gone on", || left(&world) == 0);
    }
    all.iter_mut().for_each(|sleeper| assert_eq!(sleeper.answer(), "ok"));
    // Nobody waits: nothing happens, and nothing is kept for later.
    world.changed.notify(3).unwrap();
    world.changed.notify(0).unwrap();
    assert_eq!(all[0].ask("wait for 30"), "TimedOut");
}

#[test]
fn a_wait_has_the_lock_again_when_its_time_is_over() {
    let _dog = watchdog();
    let (_name, world) = World::new("timeout");
    let start = Instant::now();
    let guard = world.tokens.lock().unwrap();
    let (guard, wakeup) = world.changed.wait_timeout(guard, SHORT).unwrap();
    assert_eq!(wakeup, Wakeup::TimedOut);
    assert!(start.elapsed() >= SHORT);
    let (guard, wakeup) = world.changed.wait_timeout(guard, std::time::Duration::ZERO).unwrap();
    assert_eq!(wakeup, Wakeup::TimedOut);
    assert!(matches!(world.tokens.lock(), Err(LockError::Deadlock)));
    drop(guard);
}

#[test]
fn a_wait_releases_the_lock_meanwhile() {
    let _dog = watchdog();
    let (name, world) = World::new("released");
    let mut sleepers = sleepers(&name, 2);
    let mut guard = world.tokens.lock_timeout(LONG).expect("who waits does not hold it");
    *guard += 2;
    world.changed.notify_all().unwrap(); // with the lock held: they come when it is free
    assert!(sleepers.iter_mut().all(|sleeper| sleeper.is_silent()));
    drop(guard);
    sleepers.iter_mut().for_each(|sleeper| assert_eq!(sleeper.answer(), "ok"));
}

/// Child: makes one step after the other.
pub fn step(arguments: &[String]) {
    let world = World::open(&arguments[0]);
    for _ in 0..arguments[1].parse().unwrap() {
        child::hear();
        *world.tokens.lock().unwrap() += 1;
        world.changed.notify_one().unwrap();
        child::tell("stepped");
    }
}

#[test]
fn a_condition_is_looked_at_after_every_call() {
    let _dog = watchdog();
    let (name, world) = World::new("waitfor");
    let mut stepper = Child::spawn("stepper", &[&name, "4"]);
    let mut seen = Vec::new();
    let guard = world.tokens.lock().unwrap();
    stepper.say("step");
    let waited = world.changed.wait_timeout_while(guard, LONG, |tokens| {
        if seen.last() != Some(tokens) {
            seen.push(*tokens);
            if seen.len() > 1 {
                stepper.say("step");
            }
        }
        *tokens < 4
    });
    let (guard, there) = waited.unwrap();
    assert!(there && *guard == 4);
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[test]
fn a_condition_that_does_not_come_is_waited_for_until_the_time_is_over() {
    let _dog = watchdog();
    let (name, world) = World::new("in-vain");
    let mut stepper = Child::spawn("stepper", &[&name, "3"]);
    (0..3).for_each(|_| stepper.say("step"));
    let start = Instant::now();
    let guard = world.tokens.lock().unwrap();
    let waited = world.changed.wait_timeout_while(guard, PAST_BACKSTOPS, |tokens| *tokens < 4);
    let (_guard, there) = waited.unwrap();
    assert!(!there && start.elapsed() >= PAST_BACKSTOPS);
}

#[test]
fn a_wait_tells_why_it_ended() {
    let _dog = watchdog();
    let (name, world) = World::new("result");
    let mut other = Puppet::new(&name);
    assert_eq!(other.ask("wait for 30"), "TimedOut");
    assert_eq!(other.ask("wait for 0"), "TimedOut");
    assert_eq!(other.ask("wait for 60000"), "backstop");
    let mut notified = 0;
    for _ in 0..20 {
        let early = other.begin_perhaps_to_wait("wait for 60000");
        world.changed.notify_one().unwrap();
        match &*early.unwrap_or_else(|| other.answer()) {
            "notified" => notified += 1,
            // It had given up when the call came.
            wakeup => assert_eq!(wakeup, "backstop"),
        }
    }
    assert!(notified >= 5, "woken {notified} times out of 20");
}

#[test]
fn a_killed_waiter_takes_no_call_with_it_for_long() {
    let _dog = watchdog();
    let (name, world) = World::new("killed");
    for _ in 0..5 {
        let [mut dead, mut survivor] = [Puppet::new(&name), Puppet::new(&name)];
        dead.begin_to_wait(ASLEEP);
        survivor.begin_to_wait(ASLEEP);
        give(&world, 1);
        world.changed.notify_one().unwrap();
        dead.kill();
        // Either of them may have had the token; a second one is for the survivor.
        give(&world, 1);
        assert_eq!(survivor.answer(), "ok");
        *tokens(world.tokens.lock()) = 0;
    }
}
