//! Who is attached: one slot per process, freed by death, and the last one out.

use std::thread;

use steadfast::{Segment, SegmentError};

use crate::support::child::{self, Child};
use crate::support::{Name, watchdog};
use crate::{ephemeral, generation, plain, wait_for_users};

/// Attaches, and stays until it is told to leave.
pub fn hold(arguments: &[String]) {
    let segment = Segment::open(&arguments[0]).unwrap();
    child::tell("attached");
    child::hear();
    drop(segment);
    child::tell("left");
    child::hear();
}

/// Tries to attach, and tells what came of it.
pub fn open_once(arguments: &[String]) {
    child::tell(match Segment::open(&arguments[0]) {
        Ok(_) => "open",
        Err(SegmentError::PermissionDenied { .. }) => "no permission",
        Err(SegmentError::Full { .. }) => "full",
        Err(_) => "another error",
    });
}

fn holder(name: &Name) -> Child {
    let mut child = Child::spawn("hold", &[name]);
    child.expect("attached");
    child
}

#[test]
fn a_process_is_attached_once() {
    let _dog = watchdog();
    let name = Name::new("registry");
    let first = Segment::create(&name, 1, &ephemeral()).unwrap();
    let second = Segment::open(&name).unwrap();
    first.write_at(0, b"x").unwrap();
    let mut byte = [0];
    second.read_at(0, &mut byte).unwrap();
    assert_eq!((&byte, first.users(), second.users()), (b"x", 1, 1));
    drop(first);
    assert_eq!(second.users(), 1);
    assert!(name.file().exists(), "the second handle keeps it");
    drop(second);
    assert!(!name.file().exists());
}

#[test]
fn threads_that_open_and_leave_share_an_attachment() {
    let _dog = watchdog();
    let name = Name::new("threads");
    let kept = Segment::create(&name, 8, &plain().participants(1)).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(Segment::open(&name).unwrap().users(), 1);
                }
            });
        }
    });
    assert_eq!(generation(&name, 0), 1);
    drop(kept);
    // Now the attachment comes and goes; two may overlap while the older one leaves.
    let name = Name::new("comings");
    drop(Segment::create(&name, 8, &plain()).unwrap());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    Segment::open(&name).unwrap().write_at(0, b"x").unwrap();
                }
            });
        }
    });
    assert_eq!(Segment::open(&name).unwrap().users(), 1);
}

#[test]
fn a_killed_process_frees_its_slot_for_the_next_generation() {
    let _dog = watchdog();
    let name = Name::new("slots");
    let segment = Segment::create(&name, 1, &plain()).unwrap();
    assert_eq!((generation(&name, 0), generation(&name, 1)), (1, 0));
    for round in 1..4 {
        let child = holder(&name);
        assert_eq!((segment.users(), generation(&name, 1)), (2, round));
        child.kill();
        wait_for_users(&segment, 1);
    }
    let mut child = holder(&name);
    let other = holder(&name);
    assert_eq!((segment.users(), generation(&name, 1), generation(&name, 2)), (3, 4, 1));
    child.say("leave");
    child.expect("left");
    assert_eq!(segment.users(), 2);
    drop(other);
    wait_for_users(&segment, 1);
}

#[test]
fn a_stopped_process_is_attached_all_the_same() {
    let _dog = watchdog();
    let name = Name::new("stopped");
    let segment = Segment::create(&name, 1, &ephemeral()).unwrap();
    let child = holder(&name);
    child.stop();
    assert_eq!(segment.users(), 2);
    drop(segment);
    assert!(name.file().exists(), "it is in use");
}

#[test]
fn more_processes_than_slots_are_refused() {
    let _dog = watchdog();
    let name = Name::new("full");
    let segment = Segment::create(&name, 1, &plain().participants(2)).unwrap();
    let child = holder(&name);
    let mut third = Child::spawn("open once", &[&name]);
    third.expect("full");
    child.kill();
    wait_for_users(&segment, 1);
    Child::spawn("open once", &[&name]).expect("open");
    let text = SegmentError::Full { name: name.to_string(), participants: 2 }.to_string();
    assert!(text.contains('2') && text.contains(&*name), "{text}");
}

#[test]
fn the_last_one_out_removes_an_ephemeral_segment() {
    let _dog = watchdog();
    let name = Name::new("last");
    let segment = Segment::create(&name, 1, &ephemeral()).unwrap();
    let mut child = holder(&name);
    drop(segment);
    assert!(name.file().exists(), "the child uses it");
    child.say("leave");
    child.expect("left");
    assert!(!name.file().exists());
}

#[test]
fn of_many_that_leave_at_once_the_last_removes_it() {
    let _dog = watchdog();
    for _ in 0..10 {
        let name = Name::new("crowd");
        let segment = Segment::create(&name, 1, &ephemeral()).unwrap();
        let mut children: Vec<Child> = (0..4).map(|_| holder(&name)).collect();
        children.iter_mut().for_each(|child| child.say("leave"));
        drop(segment);
        children.iter_mut().for_each(|child| child.expect("left"));
        assert!(!name.file().exists());
    }
}

#[test]
fn after_a_kill_the_next_one_out_removes_it() {
    let _dog = watchdog();
    let name = Name::new("after");
    let segment = Segment::create(&name, 1, &ephemeral()).unwrap();
    let child = holder(&name);
    drop(segment);
    child.kill();
    assert!(name.file().exists(), "nobody was left to remove it");
    let segment = Segment::open(&name).unwrap();
    wait_for_users(&segment, 1);
    drop(segment);
    assert!(!name.file().exists());
}

#[test]
fn openers_and_leavers_never_meet_a_segment_that_is_gone() {
    let _dog = watchdog();
    let name = Name::new("churn");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let segment = Segment::open_or_create(&name, 8, &ephemeral()).unwrap();
                    segment.write_at(0, &[1; 8]).unwrap();
                }
            });
        }
    });
    assert!(!name.file().exists());
}

#[test]
fn a_name_that_was_given_away_is_left_alone() {
    let _dog = watchdog();
    let name = Name::new("replaced");
    let old = Segment::create(&name, 1, &ephemeral()).unwrap();
    Segment::unlink(&name).unwrap();
    let new = Segment::create(&name, 1, &plain()).unwrap();
    drop(old);
    assert_eq!(Segment::open(&name).unwrap().uuid(), new.uuid());
}

#[test]
fn a_segment_in_use_is_not_removed_as_unused() {
    let _dog = watchdog();
    let name = Name::new("unused");
    let segment = Segment::create(&name, 1, &plain()).unwrap();
    let child = holder(&name);
    match Segment::unlink_unused(&name) {
        Err(SegmentError::InUse { users: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
    child.kill();
    wait_for_users(&segment, 1);
    drop(segment);
    Segment::unlink_unused(&name).unwrap();
    assert!(!name.file().exists());
}
