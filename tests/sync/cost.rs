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
