//! The words of a chunk: memory for one message outside the ring.
//!
//! | offset | word | written by |
//! |---|---|---|
//! | 0 | length: units in the low half, a mark that depends on the place in the high half | owner of the write side's lock |
//! | 8 | state, below | see there |
//! | 16 | sequence number of the message, in the order of puts | its producer |
//! | 24 | position of the record that names it, 32 bits | its producer |
//! | 32 | bytes of the message | its producer |
//! | 40 | when a delayed message is due: nanoseconds of the monotonic clock | who held it |
//! | 48 | the message | its producer |
//!
//! # The state
//! ```text
//! bits  0..8    phase
//! bits  8..16   why the message came back last ([`Reason`])
//! bits 16..32   attempts: how many times it was handed out
//! bits 32..64   owner: `{slot, generation}` of the process that wrote this state
//! ```
//! | phase | meaning | next, and by whom |
//! |---|---|---|
//! | 0 free | nothing; may be merged with what is behind it | owned: owner of the write side's lock |
//! | 1 owned | being filled by its owner | queued, free: the owner; free: anybody, once the owner is dead |
//! | 2 queued | named by the ring's record at its position; or about to be, or its producer died before | leased: who owns the read side; free: anybody, if its producer is dead and no record names it |
//! | 3 leased | no record names it any more: the owner holds it. One does: the take was not committed, it is still queued | free, ready, delayed, dead: the owner; the same: anybody, once the owner is dead |
//! | 4 ready | came back, to be handed out before what is in the ring | leased: owner of the read side's lock |
//! | 5 delayed | came back, to be handed out when it is due | ready: owner of the read side's lock |
//! | 6 dead | was handed out too often; kept to be looked at | ready, free: owner of the write side's lock |
//!
//! Every change of a phase is one store (or compare-and-swap) of this word. So whoever is killed leaves a
//! chunk in one of these phases, and [`super::survey`] tells from the word, the ring and the owner's
//! life what it is.

/// Bytes in front of the message.
pub(crate) const HEADER: usize = 48;

/// Offsets of the words, in words.
pub(crate) mod at {
    pub(crate) const LENGTH: usize = 0;
    pub(crate) const STATE: usize = 1;
    pub(crate) const SEQUENCE: usize = 2;
    pub(crate) const POSITION: usize = 3;
    pub(crate) const BYTES: usize = 4;
    pub(crate) const DUE: usize = 5;
}

/// The phases above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free = 0,
    Owned = 1,
    Queued = 2,
    Leased = 3,
    Ready = 4,
    Delayed = 5,
    Dead = 6,
}

/// Why a message came back from its last holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It has not been handed out, or its attempts were forgotten by `redrive`.
    Never = 0,
    /// The holder said so, with `nack` or `nack_after`.
    Nacked = 1,
    /// The holder gave it back untouched, with `release`.
    Released = 2,
    /// The lease was dropped without a word.
    Dropped = 3,
    /// The holder's thread panicked.
    Panicked = 4,
    /// The holder's process died.
    Died = 5,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::Never => "never handed out",
            Reason::Nacked => "refused by its consumer",
            Reason::Released => "given back by its consumer",
            Reason::Dropped => "dropped by its consumer",
            Reason::Panicked => "its consumer panicked",
            Reason::Died => "its consumer died",
        })
    }
}

/// A state word. It may hold anything: what it says is checked when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(pub(crate) u64);

impl State {
    /// The word of a free chunk.
    pub(crate) const FREE: State = State(0);

    #[inline]
    pub(crate) fn new(phase: Phase, reason: Reason, attempts: u16, owner: u32) -> State {
        let low = phase as u64 | (reason as u64) << 8 | u64::from(attempts) << 16;
        State(u64::from(owner) << 32 | low)
    }

    /// `None` for a number that no participant writes.
    #[inline]
    pub(crate) fn phase(self) -> Option<Phase> {
        Some(match self.0 as u8 {
            0 => Phase::Free,
            1 => Phase::Owned,
            2 => Phase::Queued,
            3 => Phase::Leased,
            4 => Phase::Ready,
            5 => Phase::Delayed,
            6 => Phase::Dead,
            _ => return None,
        })
    }

    pub(crate) fn reason(self) -> Reason {
        match (self.0 >> 8) as u8 {
            1 => Reason::Nacked,
            2 => Reason::Released,
            3 => Reason::Dropped,
            4 => Reason::Panicked,
            5 => Reason::Died,
            _ => Reason::Never,
        }
    }

    #[inline]
    pub(crate) fn attempts(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    pub(crate) fn owner(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The same attempts and owner in another phase, for another reason.
    pub(crate) fn become_(self, phase: Phase, reason: Reason) -> State {
        State::new(phase, reason, self.attempts(), self.owner())
    }

    /// Handed out to `owner` once more. Attempts stay at the largest number there is.
    #[inline]
    pub(crate) fn handed_out(self, owner: u32) -> State {
        State::new(Phase::Leased, self.reason(), self.attempts().saturating_add(1), owner)
    }
}

/// The length word of a chunk of so many units at a place. The mark keeps bytes of a message from being
/// taken for one.
#[inline]
pub(crate) fn length(index: u32, units: u32) -> u64 {
    u64::from(mark(index)) << 32 | u64::from(units)
}

/// The units that a length word gives, if it is one of this place.
#[inline]
pub(crate) fn units(index: u32, word: u64) -> Option<u32> {
    ((word >> 32) as u32 == mark(index)).then_some(word as u32)
}

#[inline]
fn mark(index: u32) -> u32 {
    index.wrapping_mul(0x9e37_79b1) ^ 0x5ead_fa57
}

/// The word by which a record names a chunk: its place, and the low half of the message's number, so
/// that a record does not name what came to the same place later.
#[inline]
pub(crate) fn name(index: u32, sequence: u64) -> u64 {
    sequence << 32 | u64::from(index)
}

/// The place that such a word names.
#[inline]
pub(crate) fn named(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let state = State::new(Phase::Delayed, Reason::Panicked, 0xfffe, 0x1234_5678);
        assert_eq!(state.phase(), Some(Phase::Delayed));
        assert_eq!(state.reason(), Reason::Panicked);
        assert_eq!((state.attempts(), state.owner()), (0xfffe, 0x1234_5678));
        let again = state.handed_out(9).handed_out(10);
        assert_eq!((again.attempts(), again.owner()), (0xffff, 10));
        assert_eq!(again.phase(), Some(Phase::Leased));
        assert_eq!(State::FREE.phase(), Some(Phase::Free));
        assert_eq!(State(7).phase(), None);
        assert_eq!(units(3, length(3, 99)), Some(99));
        assert_eq!(units(4, length(3, 99)), None);
        assert_eq!(units(0, 0), None);
        assert_eq!(named(name(77, 5)), 77);
    }
}
