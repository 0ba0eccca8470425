//! `RLock`: owned by a thread, which may take it again. After `_TestLock.test_rlock`.
//!
//! A release by somebody else, or one too many, cannot be written: only a guard releases, each one once, and
//! it stays on the thread that took it (`messages` shows that it does not compile otherwise).

use steadfast::{Consistency, LockError};

use crate::SHORT;
use crate::puppet::{Puppet, World};
use crate::support::watchdog;

#[test]
fn its_owner_takes_it_again_and_releases_it_as_often() {
    let _dog = watchdog();
    let (name, world) = World::new("rlock");
    let mut other = Puppet::new(&name);
    let lock = &world.rlock;
    let mut guards = vec![lock.lock().unwrap(), lock.try_lock().unwrap()];
    guards.push(lock.lock_timeout(SHORT).unwrap());
    assert_eq!(guards[0].depth(), 3);
    for left in (0..3).rev() {
        assert!(lock.is_mine());
        assert_eq!(other.ask("try rlock"), "WouldBlock", "{left} and one to go");
        guards.swap_remove(0); // the order does not matter
        assert_eq!(guards.first().map_or(0, |guard| guard.depth()), left as u32);
    }
    assert!(!lock.is_mine());
    assert_eq!(other.ask("try rlock"), "ok");
}

#[test]
fn it_belongs_to_one_thread_of_one_process() {
    let _dog = watchdog();
    let (name, world) = World::new("rlock");
    let same = World::open(&name);
    let mut other = Puppet::new(&name);
    let guard = world.rlock.lock().unwrap();
    let inner = same.rlock.lock().unwrap();
    assert_eq!(inner.depth(), 2, "another handle is the same lock");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(!world.rlock.is_mine());
            assert!(matches!(world.rlock.try_lock(), Err(LockError::WouldBlock)));
            let waited = world.rlock.lock_timeout(SHORT);
            assert!(matches!(waited, Err(LockError::TimedOut)));
        });
    });
    assert_eq!(other.ask("rlock for 30"), "TimedOut");
    drop(guard);
    other.begin_to_wait("rlock");
    drop(inner);
    assert_eq!(other.answer(), "1");
    assert_eq!(other.ask("rlock"), "2");
    assert!(matches!(same.rlock.try_lock(), Err(LockError::WouldBlock)));
    assert_eq!(other.ask("unrlock"), "true");
    assert!(matches!(same.rlock.try_lock(), Err(LockError::WouldBlock)));
    assert_eq!(other.ask("unrlock"), "false");
    assert_eq!(same.rlock.lock().unwrap().depth(), 1);
}

#[test]
fn its_next_owner_after_a_dead_one_begins_anew() {
    let _dog = watchdog();
    let (name, world) = World::new("rlock");
    for depth in 1..4 {
        let mut other = Puppet::new(&name);
        for taken in 1..=depth {
            assert_eq!(other.ask("rlock"), taken.to_string());
        }
        other.kill();
        let Err(LockError::OwnerDied(mut guard)) = world.rlock.lock() else {
            panic!("it died at depth {depth}");
        };
        assert_eq!(guard.depth(), 1);
        let inner = world.rlock.lock().unwrap();
        assert_eq!((inner.depth(), world.rlock.consistency()), (2, Consistency::BeingRepaired));
        drop(inner);
        guard.mark_consistent();
        drop(guard);
        assert!(world.rlock.lock().is_ok());
        assert_eq!(world.rlock.last_death().unwrap().count, depth);
    }
}

#[test]
fn given_up_it_wants_to_be_repaired() {
    let _dog = watchdog();
    let (name, world) = World::new("rlock");
    let mut other = Puppet::new(&name);
    world.rlock.lock().unwrap().abandon();
    assert!(matches!(world.rlock.lock(), Err(LockError::Abandoned)));
    assert_eq!(other.ask("try rlock"), "Abandoned");
    world.rlock.repair(|| ()).unwrap();
    assert_eq!(other.ask("rlock"), "1");
}
