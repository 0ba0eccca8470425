//! Holders and waiters in several PID namespaces, whose threads have the same numbers.

use std::io;

use steadfast::SegmentError;

use crate::namespace;
use crate::support::child::{self, Child};
use crate::support::{Name, PAST_BACKSTOPS, proc, wait_until, watchdog};
use crate::things::{Found, OURS, Place, Thing};
use crate::{LONG, SHORT};

/// Child: holds everything, until it is told to release it.
pub fn holder(arguments: &[String]) {
    let place = match &*arguments[1] {
        "make" => Place::new_ours(&arguments[0]),
        _ => Place::open_ours(&arguments[0]),
    };
    child::tell(proc::tid());
    child::hear();
    let guards = place.hold_all();
    child::tell("held");
    child::hear();
    drop(guards);
    child::tell("released");
    child::hear();
    let _guards = place.hold_all();
    child::tell("held");
    child::hear();
}

/// Child: waits for one thing.
pub fn waiter(arguments: &[String]) {
    let place = Place::open_ours(&arguments[0]);
    child::tell(proc::tid());
    let found = place.find(Thing::named(&arguments[1]), Some(LONG));
    child::tell(format!("{found:?}"));
}

/// Child: two threads of a process whose lock words name the process alone.
pub fn siblings(arguments: &[String]) {
    let (place, other) = (Place::open_ours(&arguments[0]), Place::open_ours(&arguments[0]));
    for _ in 0..2 {
        let guards = place.hold_all();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for place in [&place, &other] {
                    place.expect_all(None, |_| Found::Held);
                    place.expect_all(Some(SHORT), |_| Found::Held);
                }
            });
        });
        drop(guards);
        other.expect_all(None, |_| Found::Free);
    }
    child::tell("told apart");
}

#[test]
fn two_threads_of_a_foreign_process_are_told_apart() {
    let _dog = watchdog();
    if !permitted() {
        return;
    }
    let name = Name::new("siblings");
    let place = Place::new_ours(&name);
    let mut siblings = spawn("foreign siblings", &[&name]);
    siblings.expect("told apart");
    siblings.finish();
    place.expect_all(None, |_| Found::Free);
}

/// Child: tries to open what has the C library's mutex in it.
pub fn refused(arguments: &[String]) {
    let refused = |error| matches!(error, SegmentError::ForeignNamespace { .. });
    let alone = steadfast::PthreadMutex::<u64>::open(&arguments[1]);
    let both = Place::try_open(&arguments[0]).err().is_some_and(refused);
    child::tell(both && alone.err().is_some_and(refused));
}

/// A child that is the first process of a new PID namespace.
fn spawn(role: &str, arguments: &[&str]) -> Child {
    let start = |command: &mut std::process::Command| -> io::Result<_> {
        namespace::in_new_one(|| command.spawn())
    };
    Child::spawn_by(start, &[], role, arguments)
}

fn permitted() -> bool {
    let permitted = namespace::permitted();
    if !permitted {
        eprintln!("skipped: no right to make a PID namespace");
    }
    permitted
}

/// X, in one namespace, holds everything; Y, with the same thread number in another one, waits for it and is
/// killed. Nobody else gets in.
fn story(made_by_the_holder: bool) {
    let name = Name::new("namespaces");
    let mut holder = if made_by_the_holder {
        spawn("foreign holder", &[&name, "make"])
    } else {
        drop(Place::new_ours(&name));
        spawn("foreign holder", &[&name, "open"])
    };
    let number = holder.hear();
    let place = Place::open_ours(&name);
    holder.say("hold");
    holder.expect("held");
    for thing in OURS {
        let mut waiter = spawn("foreign waiter", &[&name, &format!("{thing:?}")]);
        assert_eq!(waiter.hear(), number, "another thread number: the story is another one");
        let inside = number.parse().unwrap();
        let tid = proc::tid_from_inside(waiter.pid(), inside).expect("its thread");
        proc::wait_until_asleep(waiter.pid(), tid);
        assert!(waiter.is_silent());
        waiter.kill();
        assert_eq!(place.find(thing, None), Found::Held, "{thing:?}: its holder lives");
    }
    place.expect_all(Some(PAST_BACKSTOPS), |_| Found::Held);
    holder.say("release");
    holder.expect("released");
    place.expect_all(Some(LONG), |_| Found::Free);
    // A real death is noticed as well.
    holder.say("hold");
    holder.expect("held");
    place.expect_all(None, |_| Found::Held);
    holder.kill();
    place.expect_all(Some(LONG), Thing::left);
    place.expect_all(None, |_| Found::Free);
}

#[test]
fn equal_thread_numbers_from_two_foreign_namespaces_exclude_each_other() {
    let _dog = watchdog();
    if permitted() {
        story(false);
    }
}

#[test]
fn equal_thread_numbers_exclude_each_other_though_one_is_of_the_segments_namespace() {
    let _dog = watchdog();
    if permitted() {
        story(true);
    }
}

#[test]
fn the_c_librarys_mutex_is_refused_in_another_namespace() {
    let _dog = watchdog();
    if !permitted() {
        return;
    }
    let (name, place) = Place::new("refused");
    let alone = Name::new("refused");
    let mutex = steadfast::PthreadMutex::create(&alone, 0_u64, &crate::options()).unwrap();
    let mut child = spawn("refused foreigner", &[&name, &alone]);
    child.expect("true");
    child.finish();
    wait_until("it is gone", || mutex.segment().users() == 1);
    place.expect_all(None, |_| Found::Free);
}
