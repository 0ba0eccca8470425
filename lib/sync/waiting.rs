//! The one loop of everything that sleeps on an event count until it finds what it waits for.

use crate::os::clock::Deadline;
use crate::primitive::futex::Waited;
use crate::primitive::spin_loop;

use super::Caller;
use super::event_count::EventCount;
use super::robust_lock::BACKSTOP;

/// How thoroughly to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// At what is cheap to see.
    Quick,
    /// Also for the dead whom nobody announces: a backstop has passed, or this is the last look.
    Thorough,
}

/// Polls before the first sleep: some 2.5 microseconds.
pub(crate) const SPINS: u32 = 100;

/// Looks until `look` finds something, and sleeps in between: [`EventCount::notify_each`] ends a sleep, and a
/// backstop does. `None` when the deadline has passed, or the segment cannot be used any more.
pub(crate) fn until<R>(
    bell: &EventCount,
    caller: &Caller,
    deadline: Deadline,
    spins: u32,
    mut look: impl FnMut(Look) -> Option<R>,
) -> Option<R> {
    if let Some(found) = look(Look::Quick) {
        return Some(found);
    }
    if deadline != Deadline::Now {
        for _ in 0..spins {
            spin_loop();
            if let Some(found) = look(Look::Quick) {
                return Some(found);
            }
        }
    }
    loop {
        let Some(nap) = deadline.nap(BACKSTOP) else {
            // One who was called in vain looks once more, so that no call is lost with it.
            return look(Look::Thorough);
        };
        let key = bell.prepare();
        if let Some(found) = look(Look::Quick) {
            return Some(found);
        }
        let slept = bell.sleep(key, nap);
        if !caller.is_usable() {
            return None;
        }
        let how = if slept == Waited::TimedOut { Look::Thorough } else { Look::Quick };
        if let Some(found) = look(how) {
            return Some(found);
        }
    }
}
