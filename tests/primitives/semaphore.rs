//! `Semaphore` and `BoundedSemaphore`. After `_TestSemaphore`: `test_semaphore`, `test_bounded_semaphore`,
//! `test_timeout`. (`Semaphore(-1)` does not compile: `messages`.)

use std::time::{Duration, Instant};

use steadfast::{BoundedSemaphore, SegmentError, Semaphore, WaitError};

use crate::puppet::{Puppet, World};
use crate::support::{Name, wait_until, watchdog};
use crate::{SHORT, options};

#[test]
fn a_count_goes_down_to_nothing_and_up_without_a_bound() {
    let _dog = watchdog();
    let (name, world) = World::new("semaphore");
    let mut other = Puppet::new(&name);
    let signals = &world.signals;
    assert_eq!(signals.available(), 2);
    signals.acquire().unwrap();
    assert_eq!(other.ask("acquire"), "ok");
    assert_eq!(signals.available(), 0);
    assert!(matches!(signals.try_acquire(), Err(WaitError::WouldBlock)));
    assert_eq!(other.ask("try acquire"), "WouldBlock");
    for after in 1..=4 {
        let released = if after % 2 == 0 { "ok".to_owned() } else { other.ask("release") };
        assert_eq!(released, "ok");
        if after % 2 == 0 {
            signals.release().unwrap();
        }
        assert_eq!(signals.available(), after);
    }
}

#[test]
fn a_bounded_count_does_not_go_beyond_its_beginning() {
    let _dog = watchdog();
    let (name, world) = World::new("bounded");
    let mut other = Puppet::new(&name);
    assert_eq!(other.ask("release bounded"), "TooMany");
    world.bounded.acquire().unwrap();
    assert_eq!(other.ask("acquire bounded"), "ok");
    assert_eq!(other.ask("acquire bounded"), "WouldBlock");
    // Who took it does not matter.
    assert_eq!(other.ask("release bounded"), "ok");
    assert!(matches!(world.bounded.release_many(2), Err(WaitError::TooMany)), "all or none");
    assert_eq!(world.bounded.available(), 1);
    assert_eq!(other.ask("release bounded"), "ok");
    assert!(matches!(world.bounded.release(), Err(WaitError::TooMany)));
    assert_eq!(world.bounded.available(), 2);
}

#[test]
fn it_waits_for_as_long_as_it_is_told() {
    let _dog = watchdog();
    let (name, world) = World::new("timeout");
    let signals = &world.signals;
    let mut other = Puppet::new(&name);
    assert_eq!((other.ask("acquire"), other.ask("acquire")), ("ok".into(), "ok".into()));
    let start = Instant::now();
    assert!(matches!(signals.acquire_timeout(Duration::ZERO), Err(WaitError::TimedOut)));
    assert!(matches!(signals.acquire_timeout(SHORT), Err(WaitError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(other.ask("acquire for 30"), "TimedOut");
    other.begin_to_wait("acquire");
    signals.release().unwrap();
    assert_eq!(other.answer(), "ok");
    // Whoever is served has taken what was given, and no more.
    assert_eq!(signals.available(), 0);
}

#[test]
fn as_many_waiters_go_on_as_permits_are_given() {
    let _dog = watchdog();
    let (name, world) = World::new("many");
    world.signals.acquire().unwrap();
    world.signals.acquire().unwrap();
    let mut waiters: Vec<Puppet> = (0..4).map(|_| Puppet::new(&name)).collect();
    waiters.iter_mut().for_each(|waiter| waiter.begin_to_wait("acquire"));
    let mut giver = Puppet::new(&name);
    assert_eq!(giver.ask("release all"), "ok");
    let moment = Duration::from_millis(1);
    wait_until("three of four have gone on", || {
        waiters.retain_mut(|waiter| waiter.answer_within(moment) != Ok("ok".to_owned()));
        waiters.len() <= 1
    });
    let [last] = &mut waiters[..] else { panic!("one more than were given") };
    assert!(last.is_silent());
    assert_eq!(giver.ask("release"), "ok");
    assert_eq!(last.answer(), "ok");
    assert_eq!(world.signals.available(), 0);
}

#[test]
fn there_is_a_most_of_permits() {
    let _dog = watchdog();
    const MOST: u32 = i32::MAX as u32;
    let name = Name::new("most");
    let full = Semaphore::create(&name, MOST, &options()).unwrap();
    assert!(matches!(full.release(), Err(WaitError::TooMany)));
    full.acquire().unwrap();
    full.release().unwrap();
    assert!(matches!(full.release_many(u32::MAX), Err(WaitError::TooMany)));
    full.release_many(0).unwrap();
    assert_eq!(full.available(), MOST);
    for made in [
        Semaphore::create(&Name::new("more"), MOST + 1, &options()).err(),
        BoundedSemaphore::create(&Name::new("more"), MOST + 1, &options()).err(),
    ] {
        assert!(matches!(made, Some(SegmentError::InvalidArgument { .. })), "{made:?}");
    }
    let name = Name::new("none");
    let none = BoundedSemaphore::create(&name, 0, &options()).unwrap();
    assert!(matches!(none.try_acquire(), Err(WaitError::WouldBlock)));
    assert!(matches!(none.release(), Err(WaitError::TooMany)));
}
