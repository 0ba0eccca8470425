//! Without contention a lock makes no system call.

use super::NAME;
use super::hand::{open, pair};
use crate::LONG;
use crate::support::child::{self, Child};
use crate::support::{proc, trace, watchdog};

/// Child: takes free locks between two marks.
pub fn uncontended(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    let inner = open(&arguments[1]);
    let once = || {
        let mut outer = mutex.lock().unwrap();
        inner.try_lock().unwrap().first += 1;
        inner.lock_timeout(LONG).unwrap().first += 1;
        outer.first += 1;
    };
    once(); // the first use may set things up
    trace::mark();
    (0..1000).for_each(|_| once());
    trace::mark();
    child::tell(proc::tid());
}

/// Child: one lock after another, each told; somebody else holds it before each.
pub fn woken(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    child::tell(std::process::id());
    child::tell(proc::tid());
    trace::mark();
    for _ in 0..ROUNDS {
        child::hear();
        child::tell("locking");
        drop(mutex.lock().unwrap());
        child::tell("locked");
    }
    trace::mark();
}

const ROUNDS: usize = 20;

#[test]
fn a_sleeping_lock_is_woken_and_not_merely_late() {
    let _dog = watchdog();
    let (name, mutex) = pair("woken");
    let calls = trace::run(NAME, &["woken", &name], |child: &mut Child| {
        let pid = child.hear().parse().unwrap();
        let tid = child.hear().parse().unwrap();
        for _ in 0..ROUNDS {
            let guard = mutex.lock().unwrap();
            child.say("lock");
            child.expect("locking");
            proc::wait_until_asleep(pid, tid);
            drop(guard);
            child.expect("locked");
        }
    });
    let Some(calls) = calls else { return };
    let woken = calls.iter().filter(|line| line.contains("futex") && line.ends_with("= 0")).count();
    assert!(woken >= ROUNDS / 4, "{woken} wake-ups in {ROUNDS} rounds: {calls:#?}");
}

#[test]
fn an_uncontended_lock_makes_no_system_call() {
    let _dog = watchdog();
    let (outer, _mutex) = pair("calls");
    let (inner, _mutex) = pair("calls");
    let calls = trace::run(NAME, &["uncontended", &outer, &inner], |child: &mut Child| {
        child.hear();
    });
    let calls = calls.unwrap_or_default();
    assert!(calls.is_empty(), "{} calls, the first: {}", calls.len(), calls[0]);
}
