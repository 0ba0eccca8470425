//! Taking a message that lies in the store, holding it, and giving it back.
//!
//! # Take
//! Under the read side's lock (or by its single role): what came back first, then what the ring names.
//! * From the ring: the chunk becomes *leased*, then the head moves, which is the commit. Killed in
//!   between: the record still names the chunk, so the next take goes over it.
//! * From the index: the chunk becomes *leased*, which is the commit; then the index is mended, by its own
//!   rule (see [`super::returned`]).
//!
//! # Give back
//! An acknowledgement is one compare-and-swap, leased -> free, and needs no lock. A return is one too,
//! leased -> ready, delayed or dead, within a change of the index. Killed before: the dead holder's
//! message comes back by the next survey. After: it is done.

use std::sync::atomic::Ordering;

use crate::os::clock::{Deadline, monotonic};
use crate::primitive::{Fault, fault, fence_after_rmw};

use super::chunk::{self, Phase, Reason, State, at};
use super::object::{Failed, Shared, state};
use super::returned::{Heap, Returned};
use super::ring::{Corrupt, Cursor, Front, Place};
use super::store::{Chunk, Store};

/// A message in this process's hands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) chunk: Chunk,
    /// Bytes of the message; they were found to lie within the chunk.
    pub(crate) len: usize,
    /// The chunk's state, as this process wrote it.
    pub(crate) state: State,
}

/// What became of an attempt to take a message from the store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    /// It is the caller's.
    Held(Held),
    /// There is none now.
    Empty,
    /// There is none, and none will be put. What is held by others may still come back.
    Closed,
    /// The index of what came back must be built anew first.
    Torn,
}

/// Where a message goes that is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// Back, first in line.
    Now(Reason),
    /// Back, when it is due.
    At(u64),
    /// Back, as if it had not been handed out.
    Untouched,
}

/// The word was not as its holder left it: somebody wrote what no participant writes.
const NOT_OURS: Corrupt = Corrupt("a chunk that this process holds was changed by another");

impl Shared {
    /// Takes the first message, as the owner of the read side's lock.
    #[inline]
    pub(crate) fn claim(&self, store: &Store, returned: Returned<'_>) -> Result<Claim, Failed> {
        match self.state() {
            state::OPEN | state::DRAIN => {}
            state::NOW => return Ok(Claim::Closed),
            _ => return Err(Failed::Corrupt("another participant found it corrupt")),
        }
        if returned.is_torn() {
            return Ok(Claim::Torn);
        }
        let due = returned.due();
        if due != 0 && due <= monotonic() {
            self.promote(store, returned)?;
        }
        if let Some(chunk) = returned.first(Heap::Ready)? {
            return Ok(Claim::Held(self.claim_returned(store, returned, chunk)?));
        }
        let head = Cursor::from_word(self.ring().head_word());
        Ok(match self.ring().front()? {
            Front::Indirect { position } => {
                let place = self.ring().indirect(position, head.count);
                Claim::Held(self.claim_named::<false>(store, place)?)
            }
            Front::Empty => Claim::Empty,
            Front::Closed => Claim::Closed,
            Front::Message { .. } => {
                return Err(Failed::Corrupt("a joinable queue's ring has a message in it"));
            }
        })
    }

    /// Takes the message that a record names; the caller owns the read side.
    #[inline]
    pub(crate) fn claim_named<const SINGLE: bool>(
        &self,
        store: &Store,
        place: Place,
    ) -> Result<Held, Corrupt> {
        let (chunk, len) = self.named(store, place)?;
        let me = self.segment.me().bits();
        let state = State::new(Phase::Leased, Reason::Never, 1, me);
        if !fault(Fault::LateLease) {
            store.set_state(chunk, state);
        }
        self.ring().release::<SINGLE>(place.next);
        if fault(Fault::LateLease) {
            store.set_state(chunk, state);
        }
        Ok(Held { chunk, len, state })
    }

    /// The chunk that a record names, and the length of its message, checked.
    pub(crate) fn named(&self, store: &Store, place: Place) -> Result<(Chunk, usize), Corrupt> {
        let chunk = store.chunk(chunk::named(place.word))?;
        let sequence = store.of(chunk, at::SEQUENCE).load(Ordering::Relaxed);
        let position = store.of(chunk, at::POSITION).load(Ordering::Relaxed);
        let phase = store.state(chunk).phase();
        let right = chunk::name(chunk.index, sequence) == place.word
            && position == u64::from(place.position)
            && matches!(phase, Some(Phase::Queued | Phase::Leased));
        if !right {
            return Err(Corrupt("a record names a chunk that is not its own"));
        }
        Ok((chunk, store.len(chunk)?))
    }

    /// Takes a message that came back.
    #[cold]
    fn claim_returned(
        &self,
        store: &Store,
        returned: Returned<'_>,
        chunk: Chunk,
    ) -> Result<Held, Corrupt> {
        let before = store.state(chunk);
        if before.phase() != Some(Phase::Ready) {
            return Err(Corrupt("the index of what came back names a chunk that did not"));
        }
        let len = store.len(chunk)?;
        let state = before.handed_out(self.segment.me().bits());
        returned.change(|| {
            store.set_state(chunk, state);
            returned.pop(Heap::Ready)
        })?;
        Ok(Held { chunk, len, state })
    }

    /// Makes what is due ready.
    #[cold]
    fn promote(&self, store: &Store, returned: Returned<'_>) -> Result<(), Corrupt> {
        let now = monotonic();
        while let Some(chunk) = returned.first(Heap::Delayed)? {
            if store.of(chunk, at::DUE).load(Ordering::Relaxed) > now {
                break;
            }
            let before = store.state(chunk);
            if before.phase() != Some(Phase::Delayed) {
                return Err(Corrupt("the index of what came back names a chunk that did not"));
            }
            returned.change(|| {
                store.set_state(chunk, before.become_(Phase::Ready, before.reason()));
                returned.pop(Heap::Delayed)?;
                returned.push(Heap::Ready, chunk)
            })?;
        }
        // What said that something is due may have been wrong: nobody shall go by it for ever.
        returned.change(|| returned.hint())
    }

    /// Ends a lease: the message is done. No lock.
    #[inline]
    pub(crate) fn acknowledge(&self, store: &Store, held: Held) -> Result<(), Failed> {
        if !self.segment.is_usable() {
            return Err(Failed::Unusable);
        }
        if !store.change_state(held.chunk, held.state, State::FREE) {
            return Err(NOT_OURS.into());
        }
        self.count_free(held.chunk);
        self.call_joiners();
        Ok(())
    }

    /// After a chunk became free: counts it, and calls a producer that waits for room.
    #[inline]
    pub(crate) fn count_free(&self, chunk: Chunk) {
        self.given_back().fetch_add(u64::from(chunk.units), Ordering::SeqCst);
        self.not_full().notify(1);
    }

    /// After a message was done: calls those who join, if it may have been the last one. They count for
    /// themselves.
    #[inline]
    fn call_joiners(&self) {
        fence_after_rmw();
        if self.all_done().has_sleepers() && (self.state() >= state::NOW || !self.has_work()) {
            self.all_done().notify_all();
        }
    }

    /// Ends a lease: the message goes back.
    pub(crate) fn give_back(&self, store: &Store, held: Held, how: Return) -> Result<(), Failed> {
        let done = self.locked(
            self.head_lock(),
            Deadline::Never,
            || self.return_chunk(store, held, how),
            |phase| match phase {
                Ok(Phase::Ready | Phase::Delayed) => self.not_empty().notify(1),
                Ok(_) => self.call_joiners(),
                Err(_) => {}
            },
        )?;
        match done? {
            Phase::Free => self.count_free(held.chunk),
            // Perhaps there are too many of them now.
            Phase::Dead => drop(self.survey_if_possible(Deadline::Now)?),
            _ => {}
        }
        Ok(())
    }

    /// The owner of the read side's lock gives a message back; tells what became of it.
    fn return_chunk(&self, store: &Store, held: Held, how: Return) -> Result<Phase, Failed> {
        let returned = self.returned().ok_or(Failed::Corrupt("it is not joinable"))?;
        let (phase, reason) = match how {
            Return::Now(reason) => (Phase::Ready, reason),
            Return::At(due) => {
                store.of(held.chunk, at::DUE).store(due, Ordering::Relaxed);
                (Phase::Delayed, Reason::Nacked)
            }
            Return::Untouched => (Phase::Ready, Reason::Released),
        };
        let untouched = how == Return::Untouched;
        let phase = match self.state() {
            state::OPEN | state::DRAIN if !untouched && self.is_last(held.state) => Phase::Dead,
            state::OPEN | state::DRAIN => phase,
            _ => Phase::Free,
        };
        let attempts = held.state.attempts() - u16::from(untouched && held.state.attempts() > 0);
        let next = match phase {
            Phase::Free => State::FREE,
            phase => State::new(phase, reason, attempts, held.state.owner()),
        };
        let change = || {
            let changed = store.change_state(held.chunk, held.state, next);
            if changed { Ok(()) } else { Err(NOT_OURS) }
        };
        let heap = match phase {
            Phase::Ready => Heap::Ready,
            Phase::Delayed => Heap::Delayed,
            _ => return Ok(change().map(|()| phase)?),
        };
        if returned.is_torn() {
            // It will be built anew before it is used.
            change()?;
        } else {
            returned.change(|| {
                change()?;
                returned.push(heap, held.chunk)
            })?;
        }
        Ok(phase)
    }
}
