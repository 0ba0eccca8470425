//! Who holds something, and stops, ends, forks or becomes another program: a living holder is never robbed, a
//! dead one is always succeeded.

use std::os::unix::process::CommandExt;
use std::process::Command;

use steadfast::{Barrier, Condvar, Event, Segment, Semaphore, Shared, Value};

use crate::puppet::told;
use crate::support::child::{self, Child};
use crate::support::proc::{Fork, in_fork};
use crate::support::{PAST_BACKSTOPS, watchdog};
use crate::things::{Found, OURS, Place, Thing};
use crate::{LONG, SHORT, options};

/// Child: holds everything, and does with it what it is told.
pub fn holder(arguments: &[String]) {
    let place = Place::open(&arguments[0]);
    let mut guards = place.hold_all();
    child::tell("held");
    loop {
        match &*child::hear() {
            "release" => guards.clear(),
            "hold" => guards = place.hold_all(),
            "hold in a thread that ends" => std::thread::scope(|scope| {
                let hold = || std::mem::forget(place.hold_all());
                // The scope's own end does not wait for the end of the thread itself.
                scope.spawn(hold).join().unwrap();
            }),
            "fork in another thread" => std::thread::scope(|scope| {
                let fork = |how| {
                    let wrong = || place.find_all_here().any(|found| found != Found::Forked);
                    let code = in_fork(how, || i32::from(wrong()));
                    assert_eq!(code, 0, "{how:?}: not told that it was forked");
                };
                scope.spawn(move || [Fork::Libc, Fork::Raw].map(fork));
            }),
            "fork and drop" => {
                for how in [Fork::Libc, Fork::Raw] {
                    let code = in_fork(how, || {
                        guards.clear();
                        0
                    });
                    assert_eq!(code, 0, "{how:?}");
                }
            }
            "fork one that stays" => {
                // SAFETY: the child makes one system call after the other, and ends.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    // SAFETY: alarm takes a number: the child ends, also if nobody ends it.
                    unsafe { libc::alarm(LONG.as_secs() as u32) };
                    loop {
                        // SAFETY: pause takes nothing and touches no memory.
                        unsafe { libc::pause() };
                    }
                }
                child::tell(pid);
            }
            "exec in another thread" => std::thread::scope(|scope| {
                scope.spawn(|| panic!("{}", Command::new("sleep").arg("60").exec()));
            }),
            "hold and exec in another thread" => std::thread::scope(|scope| {
                scope.spawn(|| {
                    let _guards = place.hold_all();
                    child::tell("held");
                    panic!("{}", Command::new("sleep").arg("60").exec());
                });
            }),
            other => panic!("{other}?"),
        }
        child::tell("done");
    }
}

fn spawn(name: &str) -> Child {
    let mut child = Child::spawn("holder", &[name]);
    child.expect("held");
    child
}

#[test]
fn a_stopped_holder_is_never_robbed() {
    let _dog = watchdog();
    let (name, place) = Place::new("stopped");
    let mut holder = spawn(&name);
    holder.stop();
    place.expect_all(None, |_| Found::Held);
    place.expect_all(Some(PAST_BACKSTOPS), |_| Found::Held);
    place.expect_all(None, |_| Found::Held);
    holder.resume();
    holder.say("release");
    holder.expect("done");
    place.expect_all(None, |_| Found::Free);
}

#[test]
fn a_holder_of_everything_that_is_killed_is_succeeded_in_everything() {
    let _dog = watchdog();
    let (name, place) = Place::new("killed");
    spawn(&name).kill();
    place.expect_all(None, Thing::left);
    place.expect_all(None, |_| Found::Free);
    // The same for those who wait already.
    let holder = spawn(&name);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.expect_all(Some(LONG), Thing::left));
        place.expect_all(Some(SHORT), |_| Found::Held);
        holder.kill();
        waiting.join().unwrap();
    });
    place.expect_all(None, |_| Found::Free);
}

#[test]
fn a_thread_that_ends_while_it_holds_is_succeeded_though_its_process_lives() {
    let _dog = watchdog();
    let (name, place) = Place::new("thread");
    let mut holder = spawn(&name);
    holder.say("release");
    holder.expect("done");
    // Another process's thread, for one who comes and for those who wait.
    for timeout in [None, Some(LONG)] {
        holder.say("hold in a thread that ends");
        holder.expect("done");
        place.expect_all(timeout, Thing::left);
        place.expect_all(None, |_| Found::Free);
    }
    // This process's own.
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(place.hold_all())).join().unwrap();
    });
    place.expect_all(None, Thing::left);
    place.expect_all(None, |_| Found::Free);
    holder.say("hold");
    holder.expect("done");
    place.expect_all(None, |_| Found::Held);
}

#[test]
fn a_fork_in_another_thread_changes_nothing() {
    let _dog = watchdog();
    let (name, place) = Place::new("forked");
    let mut holder = spawn(&name);
    holder.say("fork in another thread");
    holder.expect("done");
    place.expect_all(None, |_| Found::Held);
    place.expect_all(Some(PAST_BACKSTOPS), |_| Found::Held);
    holder.say("release");
    holder.expect("done");
    place.expect_all(None, |_| Found::Free);
}

#[test]
fn guards_dropped_in_a_forked_child_release_nothing() {
    let _dog = watchdog();
    let (name, place) = Place::new("dropped");
    let mut holder = spawn(&name);
    holder.say("fork and drop");
    holder.expect("done");
    place.expect_all(None, |_| Found::Held);
    holder.say("release");
    holder.expect("done");
    place.expect_all(None, |_| Found::Free);
}

#[test]
fn a_forked_child_does_not_answer_for_its_dead_parent() {
    let _dog = watchdog();
    let (name, place) = Place::new("orphan");
    let mut holder = spawn(&name);
    holder.say("fork one that stays");
    let child: i32 = holder.hear().parse().unwrap();
    holder.kill();
    let found = place.find_all(Some(LONG));
    // SAFETY: the number of a process that does nothing but wait for this.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    assert!(found.iter().all(|(thing, found)| *found == thing.left()), "{found:?}");
    place.expect_all(None, |_| Found::Free);
}

#[test]
fn a_program_that_became_another_one_holds_nothing() {
    let _dog = watchdog();
    let (name, place) = Place::new("exec");
    let mut holder = spawn(&name);
    holder.say("exec in another thread");
    place.expect_all(Some(LONG), Thing::left);
    place.expect_all(None, |_| Found::Free);
    assert!(holder.ended().is_none(), "it lives on as another program");
}

/// The kernel looks at its robust list when it has the number of the process's first thread already, so finds
/// nothing of its own there; the file lock tells of it. The C library's mutex has no such thing.
#[test]
fn a_thread_that_became_another_program_itself_holds_nothing() {
    let _dog = watchdog();
    let (name, place) = Place::new("exec");
    let mut holder = spawn(&name);
    holder.say("release");
    holder.expect("done");
    holder.say("hold and exec in another thread");
    holder.expect("held");
    for thing in OURS {
        assert_eq!(place.find(thing, Some(LONG)), thing.left(), "{thing:?}");
        assert_eq!(place.find(thing, None), Found::Free, "{thing:?}");
    }
    let theirs = place.find(Thing::Pthread, None);
    assert!(matches!(theirs, Found::Held | Found::Orphaned), "{theirs:?}");
    assert!(holder.ended().is_none(), "it lives on as another program");
}

/// Everything that is not held, for the forked.
#[derive(Shared)]
struct Loose {
    signals: Semaphore,
    event: Event,
    barrier: Barrier,
    changed: Condvar,
    value: Value<u64>,
    wide: Value<[u64; 9]>,
}

/// Child: forks, and tries everything.
pub fn forker(arguments: &[String]) {
    let loose = Segment::of::<Loose>().open(&arguments[0]).unwrap();
    for how in [Fork::Libc, Fork::Raw] {
        let code = in_fork(how, || {
            let answers = [
                told(loose.signals.acquire()),
                told(loose.signals.try_acquire()),
                told(loose.signals.release()),
                told(loose.event.set()),
                told(loose.event.clear()),
                told(loose.event.wait()),
                told(loose.barrier.wait()),
                told(loose.barrier.try_join()),
                told(loose.barrier.abort()),
                told(loose.barrier.reset()),
                told(loose.changed.notify_all()),
                told(loose.value.get()),
                told(loose.value.set(1)),
                told(loose.wide.get()),
                told(loose.wide.set([1; 9])),
                told(loose.wide.update(|_| [2; 9])),
            ];
            let wrong = answers.iter().position(|answer| !answer.contains("Forked"));
            wrong.map_or(0, |at| at as i32 + 1)
        });
        assert_eq!(code, 0, "{how:?}: number {code} is not told that it was forked");
    }
}

#[test]
fn a_forked_child_changes_nothing() {
    let _dog = watchdog();
    let name = crate::support::Name::new("loose");
    let init =
        LooseInit { signals: 3, event: false, barrier: 1, changed: (), value: 7, wide: [7; 9] };
    let loose = Segment::of::<Loose>().create(&name, init, &options()).unwrap();
    Child::spawn("forker", &[&name]).finish();
    assert_eq!((loose.signals.available(), loose.event.is_set()), (3, false));
    assert_eq!((loose.value.get().unwrap(), loose.wide.get().unwrap()), (7, [7; 9]));
    assert!(!loose.barrier.is_broken());
}
