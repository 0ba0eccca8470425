//! The phases of a barrier.
//!
//! # The words
//! | word | meaning |
//! |---|---|
//! | state, u64: bits 0..32 | trips: how often all parties have passed, from 1 |
//! | state, bits 32..64 | breaks: odd = the barrier is broken, until it is reset; each of both adds 1 |
//! | acting, u64 | the state for which somebody has begun the action; no state is 0 |
//! | bell | the event count of the parties that wait for the others |
//! | room | the event count of those who wait for a seat |
//! | a seat's `arrived` | the state in which its owner has arrived; 0 = it has not |
//! | a seat's `stays` | 1 = its owner has joined, and is expected in every phase; 0 = it came for one |
//!
//! # Protocol
//! There are as many seats as parties. One who arrives has a seat, and
//! ```text
//! 1 s = state; if broken: give up
//! 2 arrived := s, by a locked exchange
//! 3 full fence
//! 4 until the state is not s:
//!     if all seats have arrived in s, and their owners live:  state: s -> s + 1 trip, and call everybody
//!     if an owner is dead that had arrived in s, or that stays:  state: s -> broken, and call everybody
//!     if the deadline has passed:  the same, and give up
//!     sleep
//! 5 trips have changed: passed. Otherwise broken, even if it was reset since.
//! ```
//! *Somebody trips*: each arrival is followed by a full fence and a look at all seats, so the last one in the order
//! of the fences sees all.
//!
//! *5 tells the truth*: after `s` the state can change in three ways. A trip: passed, whatever comes then. Or a
//! break or a reset: then this seat's `arrived` is of no state to come, so no trip can be without its owner having
//! left or arrived anew, as all seats are needed for one. So trips cannot have changed first.
//!
//! # Death
//! Every step is one store, and every one of them is somebody's who may die after it:
//! * *arrived, and died before or after the trip*: if the state is still `s`, whoever looks breaks it. If it has
//!   tripped, the dead one has passed, and its seat is freed; unless it stays: then the phase that has begun
//!   cannot come to its end, and is broken.
//! * *tripped or broken, and died before the call*: the others look after a backstop.
//! * *died while it cleared a dead owner's seat*: the seat is marked again, and judged and cleared by the next one.
//! * *died in the action*: its owner has arrived in `s`.
//!
//! Whoever judges a dead owner's seat has taken it over before, and has it until it is cleared: so what it judges by
//! are the dead one's words, and nobody can have come, arrived and died in between. Meanwhile the seat has a living
//! owner, and says that it has arrived: it counts for the trip only if that owner is the one that sat down there.

use crate::os::clock::Deadline;
use crate::primitive::{AtomicU64, Fault, Ordering, fault, fence_after_rmw};

use super::Caller;
use super::event_count::EventCount;
use super::seat::Seat;
use super::waiting::{self, Look};

/// See the module's documentation.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Phases {
    pub(crate) state: AtomicU64,
    acting: AtomicU64,
    pub(crate) bell: EventCount,
    pub(crate) room: EventCount,
}

/// What came of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passage {
    /// All have arrived.
    Passed,
    /// It was broken.
    Broken,
    /// The deadline has passed, and broke it.
    TimedOut,
}

/// The first state.
pub(crate) const FIRST: u64 = 1;

const BREAK: u64 = 1 << 32;

fn is_broken(state: u64) -> bool {
    state & BREAK != 0
}

fn tripped(state: u64) -> u64 {
    let trips = (state as u32).wrapping_add(1).max(1);
    state >> 32 << 32 | u64::from(trips)
}

impl Phases {
    /// One for a model.
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Phases {
        Phases {
            state: AtomicU64::new(FIRST),
            acting: AtomicU64::new(0),
            bell: EventCount::new(),
            room: EventCount::new(),
        }
    }

    /// Whether it is broken.
    pub(crate) fn is_broken(&self) -> bool {
        is_broken(self.state.load(Ordering::Acquire))
    }

    /// How many wait at this moment.
    pub(crate) fn waiting(&self, seats: &[Seat]) -> usize {
        let state = self.state.load(Ordering::Acquire);
        let waits = |seat: &&Seat| seat.is_taken() && seat.arrived.load(Ordering::Relaxed) == state;
        if is_broken(state) { 0 } else { seats.iter().filter(waits).count() }
    }

    /// Arrives, with the calling thread on `seat`, and waits for the others. With an `action`, the one that finds
    /// all there does that first.
    pub(crate) fn pass(
        &self,
        caller: &Caller,
        seats: &[Seat],
        seat: usize,
        deadline: Deadline,
        mut action: Option<&mut dyn FnMut()>,
    ) -> Passage {
        let state = self.state.load(Ordering::Acquire);
        if is_broken(state) {
            return Passage::Broken;
        }
        seats[seat].arrived.swap(state, Ordering::SeqCst);
        fence_after_rmw();
        let found = waiting::until(&self.bell, caller, deadline, 0, |look| {
            if let Some(passage) = self.passage(state) {
                return Some(passage);
            }
            if !fault(Fault::TripOverDead) {
                self.bury(caller, seats, look == Look::Thorough);
            }
            let here = |seat: &Seat| {
                seat.arrived.load(Ordering::Acquire) == state && seat.is_its_sitters()
            };
            if seats.iter().all(here) {
                match &mut action {
                    None => self.change(state, tripped(state)),
                    Some(action) => self.act(caller, state, action),
                };
            }
            self.passage(state)
        });
        found.unwrap_or_else(|| {
            if caller.is_usable() && self.change(state, state + BREAK) {
                return Passage::TimedOut;
            }
            self.passage(state).unwrap_or(Passage::Broken)
        })
    }

    /// What has become of a phase.
    fn passage(&self, state: u64) -> Option<Passage> {
        let now = self.state.load(Ordering::Acquire);
        match now {
            _ if now == state => None,
            _ if now as u32 != state as u32 => Some(Passage::Passed),
            _ => Some(Passage::Broken),
        }
    }

    /// Does the action, if nobody has begun it, and trips.
    fn act(&self, caller: &Caller, state: u64, action: &mut &mut dyn FnMut()) -> bool {
        struct Panicking<F: Fn()>(F);
        impl<F: Fn()> Drop for Panicking<F> {
            fn drop(&mut self) {
                (self.0)();
            }
        }
        let seen = self.acting.load(Ordering::Relaxed);
        let begun = seen == state
            || self
                .acting
                .compare_exchange(seen, state, Ordering::AcqRel, Ordering::Relaxed)
                .is_err();
        if begun {
            return false;
        }
        // An action that forks comes back twice; the child has nothing to say here.
        let change = |to| caller.is_usable() && self.change(state, to);
        // If it panics, nobody passes.
        let panicking = Panicking(|| _ = change(state + BREAK));
        action();
        std::mem::forget(panicking);
        change(tripped(state))
    }

    /// The one step of every change, and the call after it.
    fn change(&self, from: u64, to: u64) -> bool {
        let changed =
            self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if changed {
            self.bell.notify_each(u32::MAX);
            if is_broken(to) {
                self.room.notify_each(u32::MAX);
            }
        }
        changed
    }

    /// Breaks it, if it is not broken.
    pub(crate) fn abort(&self) {
        loop {
            let state = self.state.load(Ordering::Acquire);
            if is_broken(state) || self.change(state, state + BREAK) {
                return;
            }
        }
    }

    /// Makes it whole again. Those who wait find it broken.
    pub(crate) fn reset(&self, caller: &Caller, seats: &[Seat]) {
        self.bury(caller, seats, true);
        loop {
            let state = self.state.load(Ordering::Acquire);
            let whole = if is_broken(state) { BREAK } else { 2 * BREAK };
            if self.change(state, state.wrapping_add(whole)) {
                return;
            }
        }
    }

    /// Frees the seats of the dead, and breaks the barrier if one of them was needed.
    pub(crate) fn bury(&self, caller: &Caller, seats: &[Seat], asked: bool) {
        for seat in seats.iter().filter(|seat| seat.is_dead(caller, asked)) {
            seat.free_if_dead(caller, |seat| {
                if fault(Fault::PlaceBeforeBreak) {
                    let needed = self.needs(seat, self.state.load(Ordering::Acquire));
                    Phases::clear(seat);
                    return if needed {
                        self.abort()
                    };
                }
                self.judge(seat);
                Phases::clear(seat);
            });
            self.room.notify_each(1);
        }
    }

    /// Whether the phase cannot come to its end without the owner of this seat.
    fn needs(&self, seat: &Seat, state: u64) -> bool {
        seat.stays.load(Ordering::Relaxed) != 0 || seat.arrived.load(Ordering::Relaxed) == state
    }

    /// Breaks it if the dead owner of this seat, which the caller has taken over, was needed.
    fn judge(&self, seat: &Seat) {
        loop {
            let state = self.state.load(Ordering::Acquire);
            if !self.needs(seat, state) || is_broken(state) || self.change(state, state + BREAK) {
                return;
            }
        }
    }

    /// What an owner, or one who has taken a dead owner's seat, does before it leaves.
    pub(crate) fn clear(seat: &Seat) {
        seat.arrived.store(0, Ordering::Relaxed);
        seat.stays.store(0, Ordering::Relaxed);
    }
}
