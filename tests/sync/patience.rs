//! A living owner keeps its lock, however long it takes and however still it is.

use std::time::Instant;

use steadfast::LockError;

use super::hand::{clean, open, pair, spawn};
use crate::support::{PAST_BACKSTOPS, child, watchdog};

/// Child: takes the lock, says so, and gives it back when it is told to.
pub fn hold(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    let mut guard = mutex.lock().unwrap();
    guard.first += 1;
    child::tell("held");
    child::hear();
    guard.second += 1;
    drop(guard);
    child::tell("released");
}

/// Child: tells what becomes of an attempt that is longer than many backstops.
pub fn try_once(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    child::tell("trying");
    let start = Instant::now();
    let result = mutex.lock_timeout(PAST_BACKSTOPS);
    let timed_out = matches!(result, Err(LockError::TimedOut));
    assert!(!timed_out || start.elapsed() >= PAST_BACKSTOPS);
    child::tell(match result {
        Ok(_) => "locked".to_owned(),
        Err(error) => format!("{error:?}"),
    });
}

#[test]
fn a_lock_held_for_long_by_a_thread_is_never_robbed() {
    let _dog = watchdog();
    let (name, mutex) = pair("robbed");
    let second = open(&name);
    let mut guard = mutex.lock().unwrap();
    guard.first += 1;
    let mut other = spawn("try", &[&name]);
    std::thread::scope(|scope| {
        for mutex in [&mutex, &second] {
            scope.spawn(|| {
                let start = Instant::now();
                let result = mutex.lock_timeout(PAST_BACKSTOPS);
                assert!(matches!(result, Err(LockError::TimedOut)), "{:?}", result.err());
                assert!(start.elapsed() >= PAST_BACKSTOPS);
                assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
            });
        }
    });
    other.expect("trying");
    other.expect("TimedOut");
    guard.second += 1;
    drop(guard);
    assert_eq!(clean(&mutex).second, 1);
}

#[test]
fn a_lock_held_for_long_by_a_process_is_never_robbed() {
    let _dog = watchdog();
    let (name, mutex) = pair("robbed");
    let mut holder = spawn("hold", &[&name]);
    holder.expect("held");
    let mut other = spawn("try", &[&name]);
    let result = mutex.lock_timeout(PAST_BACKSTOPS);
    assert!(matches!(result, Err(LockError::TimedOut)), "{:?}", result.err());
    other.expect("trying");
    other.expect("TimedOut");
    holder.say("release");
    holder.expect("released");
    assert_eq!(clean(&mutex).second, 1);
}

#[test]
fn a_stopped_owner_is_never_robbed() {
    let _dog = watchdog();
    let (name, mutex) = pair("stopped");
    let mut holder = spawn("hold", &[&name]);
    holder.expect("held");
    holder.stop();
    let mut other = spawn("try", &[&name]);
    let result = mutex.lock_timeout(PAST_BACKSTOPS);
    assert!(matches!(result, Err(LockError::TimedOut)), "{:?}", result.err());
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    other.expect("trying");
    other.expect("TimedOut");
    holder.resume();
    holder.say("release");
    holder.expect("released");
    assert_eq!(clean(&mutex).second, 1);
}

#[test]
fn a_stopped_waiter_holds_nobody_up() {
    let _dog = watchdog();
    let (name, mutex) = pair("stopped");
    let guard = mutex.lock().unwrap();
    let mut waiter = spawn("wait", &[&name]);
    let tid = waiter.hear().parse().unwrap();
    crate::support::proc::wait_until_asleep(waiter.pid(), tid);
    waiter.stop();
    drop(guard);
    for n in 1..1000 {
        let mut guard = mutex.lock_timeout(crate::LONG).unwrap();
        guard.first = n;
    }
    waiter.resume();
    waiter.expect("locked");
    waiter.kill();
}
