//! fork: the locks stay with the parent, whatever the child drops.

use steadfast::{LockError, SegmentError};

use super::Lock;
use super::hand::{clean, open, pair, spawn};
use crate::support::proc::{Fork, in_fork};
use crate::support::{child, watchdog};
use crate::{LONG, Pair};

/// Child: forks while it holds two locks, and keeps both until it is told.
pub fn fork_holding(arguments: &[String]) {
    let first = open(&arguments[0]);
    let second = open(&arguments[1]);
    for how in [Fork::Libc, Fork::Raw] {
        let mut guards = Some((first.lock().unwrap(), second.lock().unwrap()));
        let code = in_fork(how, || {
            let free = open_handles_are_forked(&first) && open_handles_are_forked(&second);
            drop(guards.take());
            let still = open_handles_are_forked(&first) && open_handles_are_forked(&second);
            i32::from(!(free && still))
        });
        assert_eq!(code, 0, "{how:?}: not told that it was forked");
        let code = in_fork(how, || {
            let (one, two) = guards.take().unwrap();
            drop(one);
            two.abandon();
            // SAFETY: _exit does not return and runs nothing of ours.
            unsafe { libc::_exit(0) }
        });
        assert_eq!(code, 0, "{how:?}");
        child::tell("holding");
        child::hear();
        let (mut one, mut two) = guards.take().unwrap();
        one.first += 1;
        two.first += 1;
        drop(one);
        drop(two);
        child::tell("released");
        child::hear();
    }
}

/// Whether every attempt at an inherited handle says that this is a forked process.
fn open_handles_are_forked(mutex: &Lock<Pair>) -> bool {
    let attempts = [mutex.lock(), mutex.try_lock(), mutex.lock_timeout(LONG)];
    let forked = |error| matches!(error, LockError::Segment(SegmentError::Forked { .. }));
    attempts.into_iter().all(|attempt| attempt.is_err_and(forked))
        && mutex.repair(|_| ()).is_err_and(forked)
}

#[test]
fn a_guard_dropped_in_a_forked_child_leaves_the_parents_lock_alone() {
    let _dog = watchdog();
    let (one, first) = pair("forked");
    let (two, second) = pair("forked");
    let mut owner = spawn("fork", &[&one, &two]);
    for round in 1..=2 {
        owner.expect("holding");
        for mutex in [&first, &second] {
            assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
            let waited = mutex.lock_timeout(crate::SHORT);
            assert!(matches!(waited, Err(LockError::TimedOut)), "{:?}", waited.err());
        }
        owner.say("release");
        owner.expect("released");
        assert_eq!((clean(&first).first, clean(&second).first), (round, round));
        owner.say("again");
    }
    owner.finish();
}
