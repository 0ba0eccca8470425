//! What a forked child may do with its parent's segments: nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use steadfast::{Segment, SegmentError};

use crate::support::child::{self, Child};
use crate::support::proc::{Fork, in_fork};
use crate::support::{Name, watchdog};
use crate::{ephemeral, plain, wait_for_users};

#[test]
fn an_inherited_handle_only_says_so() {
    let _dog = watchdog();
    for (how, _) in [("libc", Fork::Libc), ("raw", Fork::Raw)] {
        let name = Name::new("forked");
        let segment = Segment::create(&name, 8, &plain()).unwrap();
        let mut child = Child::spawn("forked", &[&name, how]);
        child.expect("forked child is gone");
        assert_eq!(segment.users(), 2, "{how}: its parent is attached all the same");
        child.say("end");
        child.finish();
    }
}

pub fn forked(arguments: &[String]) {
    let how = if arguments[1] == "raw" { Fork::Raw } else { Fork::Libc };
    let mut inherited = Some(Segment::open(&arguments[0]).unwrap());
    let name = format!("{}-own", arguments[0]);
    let mut own = Some(Segment::create(&name, 8, &ephemeral()).unwrap());
    let code = in_fork(how, || {
        let mut bytes = [0];
        let segment = inherited.take().unwrap();
        assert!(matches!(segment.read_at(0, &mut bytes), Err(SegmentError::Forked { .. })));
        assert!(matches!(segment.write_at(0, &bytes), Err(SegmentError::Forked { .. })));
        assert_eq!(segment.users(), 0);
        drop(segment);
        // A handle of one's own is another participant: the test, this one's parent, this one.
        let again = Segment::open(&arguments[0]).unwrap();
        again.write_at(0, b"x").unwrap();
        assert_eq!(again.users(), 3);
        drop(own.take()); // must not remove it
        0
    });
    assert_eq!(code, 0);
    assert!(Segment::list().unwrap().iter().any(|info| info.name == name && info.users_alive == 1));
    child::tell("forked child is gone");
    child::hear();
    drop((inherited, own));
    assert!(matches!(Segment::open(&name), Err(SegmentError::NotFound { .. })));
}

#[test]
fn a_forked_child_does_not_keep_its_dead_parent_alive() {
    let _dog = watchdog();
    let name = Name::new("orphan");
    let segment = Segment::create(&name, 8, &plain()).unwrap();
    let mut parent = Child::spawn("forked and killed", &[&name]);
    let grandchild: i32 = parent.hear().parse().unwrap();
    assert_eq!(segment.users(), 2);
    parent.kill();
    wait_for_users(&segment, 1);
    // SAFETY: the grandchild waits to be killed; the number cannot have been reused before.
    assert_eq!(unsafe { libc::kill(grandchild, 0) }, 0, "it lives");
    // SAFETY: as above.
    unsafe { libc::kill(grandchild, libc::SIGKILL) };
}

pub fn forked_and_killed(arguments: &[String]) {
    let _segment = Segment::open(&arguments[0]).unwrap();
    // SAFETY: the child calls alarm and pause only.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: takes a number; ends this process if nobody else does.
        unsafe { libc::alarm(120) };
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    child::tell(pid);
    child::hear();
}

#[test]
fn forks_beside_threads_that_open_and_close_do_not_hang() {
    let _dog = watchdog();
    let name = Name::new("threads");
    let segment = Segment::create(&name, 8, &plain()).unwrap();
    Child::spawn("forks beside threads", &[&name]).finish();
    wait_for_users(&segment, 1);
}

pub fn forks_beside_threads(arguments: &[String]) {
    let (name, done) = (&arguments[0], AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(Segment::open(name).unwrap());
                }
            });
        }
        for round in 0..100 {
            let code = in_fork(Fork::Libc, || {
                let segment = Segment::open(name).unwrap();
                segment.write_at(0, b"x").unwrap();
                0
            });
            assert_eq!(code, 0, "round {round}");
        }
        done.store(true, Ordering::Relaxed);
    });
}
