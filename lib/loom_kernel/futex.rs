//! The kernel: the twin of [`crate::os::futex`], and what happens when a thread is killed.

use std::panic::Location;
use std::time::Duration;

use super::*;

/// The kernel's format of a futex lock word, written down a second time on purpose.
const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const TID_MASK: u32 = 0x3fff_ffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Woken,
    Changed,
    TimedOut,
}

#[track_caller]
pub(crate) fn wait(word: &AtomicU32, expected: u32, _timeout: Duration) -> Waited {
    sleep(word.key(), expected, || word.word().fetch_or(0, Ordering::Relaxed))
}

#[track_caller]
pub(crate) fn wait_low(word: &AtomicU64, expected: u32, _timeout: Duration) -> Waited {
    sleep(word.key(), expected, || word.word().fetch_or(0, Ordering::Relaxed) as u32)
}

#[track_caller]
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    step("wake");
    word.word().fetch_or(0, Ordering::Relaxed);
    call(word.key(), count)
}

#[track_caller]
pub(crate) fn wake_low(word: &AtomicU64, count: u32) {
    step("wake");
    word.word().fetch_or(0, Ordering::Relaxed);
    call(word.key(), count);
}

/// `read` changes nothing, but it sees the newest value, and loom takes it for a write: so it tries
/// both orders of a wait and a wake. Nothing else runs before the next access.
#[track_caller]
fn sleep(word: usize, expected: u32, read: impl Fn() -> u32) -> Waited {
    step("wait");
    if read() != expected {
        return Waited::Changed;
    }
    let place = Place::new("sleep", Location::caller());
    let me = me();
    let dies = world(|world| {
        world.asleep.push(Sleeper { word, person: me, place });
        let person = &mut world.people[me];
        person.sleeps += 1;
        person.called = false;
        person.awake = None;
        let dies = person.countdown == Some(0);
        person.countdown = if dies { None } else { person.countdown.map(|left| left - 1) };
        dies
    });
    if dies {
        // Killed asleep, at any moment from now on; perhaps somebody calls before.
        read();
        world(|world| world.asleep.retain(|sleeper| sleeper.person != me));
        die(place);
    }
    let thread = loom::thread::current();
    barrier();
    let roused = world(|world| {
        world.people[me].thread = Some(thread);
        world.retire()
    });
    unpark(roused);
    loop {
        if let Some(why) = world(|world| world.people[me].awake.take()) {
            if why == Waited::TimedOut {
                barrier();
            }
            return why;
        }
        loom::thread::park();
    }
}

/// What a system call does to memory, on its way: a sleeper that times out sees what those have done who
/// fell asleep or ended before. (Without it loom lets it look at old values for ever.)
pub(super) fn barrier() {
    model::fence(Ordering::SeqCst);
}

/// The timer of the longest sleeper of a word fires, if there is one, while others can still run.
pub(crate) fn expire(word: &AtomicU64) {
    word.word().fetch_or(0, Ordering::Relaxed);
    fire(word.key());
}

/// The same for the sleepers of an event count.
pub(crate) fn expire_count(word: &AtomicU32) {
    word.word().fetch_or(0, Ordering::Relaxed);
    fire(word.key());
}

fn fire(word: usize) {
    let roused = world(|world| {
        let first = world.asleep.iter().position(|sleeper| sleeper.word == word)?;
        world.rouse(first, Waited::TimedOut)
    });
    unpark(roused);
}

/// Rouses sleepers of a word, the longest first, and tells how many.
pub(super) fn call(word: usize, count: u32) -> u32 {
    for called in 0..count {
        let roused = world(|world| {
            let first = world.asleep.iter().position(|sleeper| sleeper.word == word)?;
            Some(world.rouse(first, Waited::Woken))
        });
        let Some(thread) = roused else { return called };
        unpark(thread);
    }
    count
}

/// What the kernel does for a thread that was killed, in this order: the words on its list, the pending word,
/// the file lock.
pub(super) fn exit(place: Place) {
    let me = me();
    let (held, pending, called) = world(|world| {
        let me = &mut world.people[me];
        (std::mem::take(&mut me.held), me.pending.take(), me.called)
    });
    let is_pending = |word: &AtomicU64| pending.as_ref().is_some_and(|it| it.key() == word.key());
    let mut marked = false;
    for word in held.iter().rev().filter(|word| !is_pending(word)) {
        marked |= handle_futex_death(word, tid(me), false) == Last::Marked;
    }
    let last = pending.map_or(Last::Unarmed, |word| handle_futex_death(&word, tid(me), true));
    let last = if marked { Last::Marked } else { last };
    let alive = world(|world| {
        world.death = Some(Death { place, last, called });
        world.people[me].alive.clone()
    });
    alive.swap(0, Ordering::SeqCst);
}

/// The function of this name in `kernel/futex/core.c`.
fn handle_futex_death(word: &AtomicU64, tid: u32, pending: bool) -> Last {
    let mut seen = word.word().fetch_or(0, Ordering::Relaxed);
    loop {
        let low = seen as u32;
        if pending && low & TID_MASK == 0 {
            word.word().fetch_or(0, Ordering::Relaxed);
            call(word.key(), 1);
            return Last::Woke;
        }
        if low & TID_MASK != tid {
            return Last::Nothing;
        }
        let marked = seen & !u64::from(u32::MAX) | u64::from(low & WAITERS | OWNER_DIED);
        match word.word().compare_exchange(seen, marked, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    if seen as u32 & WAITERS != 0 {
        word.word().fetch_or(0, Ordering::Relaxed);
        call(word.key(), 1);
    }
    Last::Marked
}
