//! `Event`. After `_TestEvent.test_event`.

use std::time::{Duration, Instant};

use steadfast::WaitError;

use crate::SHORT;
use crate::puppet::{Puppet, World};
use crate::support::watchdog;

#[test]
fn a_wait_ends_when_it_is_set() {
    let _dog = watchdog();
    let (name, world) = World::new("event");
    let event = &world.event;
    let mut other = Puppet::new(&name);
    assert!(!event.is_set());
    assert!(matches!(event.wait_timeout(Duration::ZERO), Err(WaitError::TimedOut)));
    let start = Instant::now();
    assert!(matches!(event.wait_timeout(SHORT), Err(WaitError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(other.ask("await the event for 30"), "TimedOut");
    event.set().unwrap();
    event.set().unwrap(); // once is enough
    assert_eq!(other.ask("is set"), "true");
    event.wait().unwrap();
    event.wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(other.ask("await the event"), "ok");
    assert_eq!(other.ask("clear"), "ok");
    event.clear().unwrap();
    assert!(!event.is_set());
    assert!(matches!(event.wait_timeout(Duration::ZERO), Err(WaitError::TimedOut)));
}

#[test]
fn it_is_set_by_another_process_for_all_who_wait() {
    let _dog = watchdog();
    let (name, world) = World::new("event");
    let mut waiters: Vec<Puppet> = (0..4).map(|_| Puppet::new(&name)).collect();
    waiters.iter_mut().for_each(|waiter| waiter.begin_to_wait("await the event"));
    let mut setter = waiters.pop().unwrap();
    world.event.set().unwrap();
    assert_eq!(setter.answer(), "ok");
    for waiter in &mut waiters {
        assert_eq!(waiter.answer(), "ok");
    }
    world.event.clear().unwrap();
    waiters.iter_mut().for_each(|waiter| waiter.begin_to_wait("await the event"));
    assert_eq!(setter.ask("set"), "ok");
    for waiter in &mut waiters {
        assert_eq!(waiter.answer(), "ok");
    }
}

#[test]
fn who_waits_sees_that_it_was_set_though_it_was_cleared_since() {
    let _dog = watchdog();
    let (name, world) = World::new("pulse");
    let mut waiters: Vec<Puppet> = (0..3).map(|_| Puppet::new(&name)).collect();
    for _ in 0..10 {
        waiters.iter_mut().for_each(|waiter| waiter.begin_to_wait("await the event"));
        world.event.set().unwrap();
        world.event.clear().unwrap();
        for waiter in &mut waiters {
            assert_eq!(waiter.answer(), "ok");
        }
        assert!(!world.event.is_set());
    }
}

#[test]
fn a_killed_waiter_or_setter_changes_nothing() {
    let _dog = watchdog();
    let (name, world) = World::new("killed");
    let (mut dead, mut alive) = (Puppet::new(&name), Puppet::new(&name));
    dead.begin_to_wait("await the event");
    alive.begin_to_wait("await the event");
    dead.kill();
    let mut setter = Puppet::new(&name);
    assert_eq!(setter.ask("set"), "ok");
    setter.kill();
    assert_eq!(alive.answer(), "ok");
    assert!(world.event.is_set());
}
