//! The ring: positions and records, and nothing else. It does not wait, lock or wake; whoever calls
//! `push` or `pop` owns that side (by the side's lock, or by a single role).
//!
//! # The words
//! | word | written by | meaning |
//! |---|---|---|
//! | `tail` `{count:32, pos:32}` | owner of the write side | a *hint*: everything before `pos` is committed |
//! | `head` `{count:32, pos:32}` | owner of the read side | everything before `pos` was taken |
//! | `seen_head` `{count:32, pos:32}` | owner of the write side | a value that `head` had; never more than the ring behind `tail`, because it is written before what it made room for is committed |
//! | header at a position | owner of the write side | see [`super::record`] |
//!
//! Positions are in units of 8 bytes and grow for ever (modulo 2^32); counts are messages. Both lie in
//! one word, so that no death can leave them apart.
//!
//! # Put: the header of the first record is the commit
//! 1. The header at `tail` is 0 (the invariant). Check the room; one unit more than the records is
//!    needed.
//! 2. Write the bodies, the headers of all records but the first, and a 0 behind the last.
//! 3. **Commit**: write the first header. From here the whole batch is in, before that nothing is.
//! 4. Move `tail` behind the batch.
//!
//! Killed before 3: the header at `tail` is still 0, and the next producer writes over the rest.
//! Killed between 3 and 4: the next producer finds a header at `tail` that is not 0, and moves `tail`
//! over it (`Ring::roll_tail`, in [`super::recovery`]); the 0 behind the last record ends that. The invariant holds in all
//! cases. A single producer commits by compare-and-swap from 0, because a shutdown may put its mark
//! there at the same moment; with a lock that cannot happen.
//!
//! # Take: the store of `head` is the commit
//! Copy the records out, then move `head` behind them. Killed before: nothing was taken. After: it was.
//! The space before `head` belongs to the producers, and they look at `head` before they write.
//!
//! # Hostile bytes
//! Every header is checked against its place and every cursor against the ring before use, positions
//! are masked, and each loop is bounded by the ring.

#[cfg(loom)]
use crate::loom_kernel::Words;
#[cfg(not(loom))]
use crate::segment::Words;

use crate::primitive::{AtomicU64, Ordering};

use super::record::{self, Header, UNIT};

/// The longest message that can lie in any ring: the header's length has 29 bits.
const LONGEST: usize = 1 << 28;

/// The segment holds something that no participant writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// Committed.
    Done,
    /// There is no room now.
    Full,
    /// The queue was shut down.
    Closed,
}

/// What became of a pop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pop {
    /// So many messages were taken.
    Taken(u32),
    /// There was none.
    Empty,
    /// There is none, and there will be none.
    Closed,
    /// The next message is in a chunk; nothing was taken.
    Indirect(Place),
    /// The next message has this length, and the buffer has not so much room.
    Grow(usize),
}

/// A record that names a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where its header is.
    pub(crate) position: u32,
    /// The word that names the chunk.
    pub(crate) word: u64,
    /// The cursor behind it.
    pub(crate) next: Cursor,
}

/// What stands at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A message; its header is at `position`.
    Message {
        /// Where its header is.
        position: u32,
        /// Its length in bytes.
        len: usize,
        /// Where the next record begins.
        next: u32,
    },
    /// A message in a chunk; the header of its record is at `position`.
    Indirect {
        /// Where its header is.
        position: u32,
    },
    /// Nothing yet.
    Empty,
    /// Nothing, for good.
    Closed,
}

/// What a batch of messages needs, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Units of the ring.
    pub(crate) units: u32,
    /// Messages.
    pub(crate) count: u32,
}

/// A place in one side's stream: `{count:32, pos:32}` as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Position in units.
    pub(crate) pos: u32,
    /// Messages so far.
    pub(crate) count: u32,
}

impl Cursor {
    #[inline]
    pub(crate) fn from_word(word: u64) -> Cursor {
        Cursor { pos: word as u32, count: (word >> 32) as u32 }
    }

    #[inline]
    pub(crate) fn word(self) -> u64 {
        u64::from(self.count) << 32 | u64::from(self.pos)
    }
}

/// How many messages lie between two cursors; 0 when a death left the tail behind the head.
#[inline]
pub(super) fn between(head: Cursor, tail: Cursor) -> u32 {
    (tail.count.wrapping_sub(head.count) as i32).max(0).unsigned_abs()
}

/// See the module's documentation.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    pub(crate) words: &'a Words,
    pub(crate) tail: &'a AtomicU64,
    pub(crate) head: &'a AtomicU64,
    /// How many messages it may hold; `u32::MAX` = as many as there is room for.
    pub(crate) maxsize: u32,
    /// A copy of `head` beside the tail, to spare the look at the other side's cache line.
    pub(crate) seen_head: &'a AtomicU64,
}

/// The longest message a ring of so many units can hold: half of it, so that it fits wherever the
/// tail stands.
#[inline]
pub(crate) fn max_len(units: u32) -> usize {
    ((units / 2 - 1) as usize * UNIT).min(LONGEST)
}

impl Ring<'_> {
    /// The header at a position, checked.
    #[inline]
    pub(super) fn header(&self, position: u32) -> Header {
        let word = self.words.at(position).load(Ordering::Acquire);
        record::read(word, position, self.words.index(position), self.words.units())
    }

    /// What stands at `position` of the read side, behind the padding if there is any.
    #[inline]
    pub(super) fn front_at(&self, position: u32) -> Result<Front, Corrupt> {
        let (mut at, mut padded) = (position, false);
        loop {
            return match self.header(at) {
                Header::Message { len, units } => {
                    Ok(Front::Message { position: at, len, next: at.wrapping_add(units) })
                }
                Header::Indirect => Ok(Front::Indirect { position: at }),
                Header::Pad { units } if !padded => {
                    padded = true;
                    at = at.wrapping_add(units);
                    continue;
                }
                Header::Empty if !padded => Ok(Front::Empty),
                Header::Closed if !padded => Ok(Front::Closed),
                _ => Err(Corrupt("the record at the head is not one")),
            };
        }
    }

    /// What stands at the head; only for its owner.
    #[inline]
    pub(crate) fn front(&self) -> Result<Front, Corrupt> {
        self.front_at(Cursor::from_word(self.head.load(Ordering::Relaxed)).pos)
    }

    /// What seems to stand at the head, for somebody who does not own it. Anything but `Empty` may be
    /// out of date.
    #[inline]
    pub(crate) fn glance(&self) -> Option<Front> {
        let head = Cursor::from_word(self.head.load(Ordering::Acquire));
        self.front_at(head.pos).ok()
    }

    /// Whether there seems to be a record at the head, and how long its message seems to be: one look
    /// at the header, for somebody who does not own the read side.
    #[inline]
    pub(crate) fn hint(&self) -> Option<usize> {
        let head = Cursor::from_word(self.head.load(Ordering::Acquire));
        match record::hint(self.words.at(head.pos).load(Ordering::Acquire)) {
            record::Hint::Nothing => None,
            record::Hint::Message(len) => Some(len.min(max_len(self.words.units()))),
            record::Hint::Other => self.hint_behind(),
        }
    }

    /// The same where the message does not stand at the head itself.
    #[cold]
    #[inline(never)]
    fn hint_behind(self) -> Option<usize> {
        match self.glance() {
            Some(Front::Message { len, .. }) => Some(len),
            Some(Front::Empty) => None,
            _ => Some(0),
        }
    }

    /// [`Ring::pop`] for one message, with a short way for the usual case: it stands at the head.
    #[inline(always)]
    pub(crate) fn pop_one<const SINGLE: bool>(&self, bytes: &mut Vec<u8>) -> Result<Pop, Corrupt> {
        let head = Cursor::from_word(self.head.load(Ordering::Relaxed));
        let Header::Message { len, units } = self.header(head.pos) else {
            return self.pop_unusual::<SINGLE>(bytes);
        };
        if !self.words.append_to(head.pos.wrapping_add(1), len, bytes) {
            return Ok(Pop::Grow(len));
        }
        self.release::<SINGLE>(Cursor {
            pos: head.pos.wrapping_add(units),
            count: head.count.wrapping_add(1),
        });
        Ok(Pop::Taken(1))
    }

    #[cold]
    #[inline(never)]
    fn pop_unusual<const SINGLE: bool>(self, bytes: &mut Vec<u8>) -> Result<Pop, Corrupt> {
        self.pop::<SINGLE>(1, bytes, None)
    }

    /// Takes up to `max` messages, as one: appends their bytes to `bytes` and, if given, the place
    /// where each ends to `ends`. Does not allocate. `SINGLE` as for [`Ring::push`].
    #[inline]
    pub(crate) fn pop<const SINGLE: bool>(
        &self,
        max: u32,
        bytes: &mut Vec<u8>,
        mut ends: Option<&mut Vec<usize>>,
    ) -> Result<Pop, Corrupt> {
        let head = Cursor::from_word(self.head.load(Ordering::Relaxed));
        let (mut at, mut count) = (head.pos, 0_u32);
        while count < max {
            let (position, len, next) = match self.header(at) {
                Header::Message { len, units } => (at, len, at.wrapping_add(units)),
                _ => match self.front_at(at)? {
                    Front::Message { position, len, next } => (position, len, next),
                    _ if count > 0 => break,
                    Front::Indirect { position } => {
                        return Ok(Pop::Indirect(self.indirect(position, head.count)));
                    }
                    Front::Empty => return Ok(Pop::Empty),
                    Front::Closed => return Ok(Pop::Closed),
                },
            };
            let counted = ends.as_ref().is_none_or(|ends| ends.len() < ends.capacity());
            if !counted || !self.words.append_to(position.wrapping_add(1), len, bytes) {
                if count > 0 {
                    break;
                }
                return Ok(Pop::Grow(len));
            }
            if let Some(ends) = &mut ends {
                ends.push(bytes.len());
            }
            at = next;
            count += 1;
        }
        let taken = Cursor { pos: at, count: head.count.wrapping_add(count) };
        self.release::<SINGLE>(taken);
        Ok(Pop::Taken(count))
    }

    /// The record at `position` that names a chunk; `count` messages were taken before it.
    pub(crate) fn indirect(&self, position: u32, count: u32) -> Place {
        let word = self.words.at(position.wrapping_add(1)).load(Ordering::Relaxed);
        let next = Cursor {
            pos: position.wrapping_add(record::INDIRECT_UNITS),
            count: count.wrapping_add(1),
        };
        Place { position, word, next }
    }

    /// Whether the record at `position`, somewhere between the two cursors, names a chunk by `word`.
    pub(crate) fn names(&self, head: u32, tail: u32, position: u32, word: u64) -> bool {
        let between = position.wrapping_sub(head) < tail.wrapping_sub(head);
        between
            && self.header(position) == Header::Indirect
            && self.words.at(position.wrapping_add(1)).load(Ordering::Relaxed) == word
    }

    /// Commits a take: everything before `taken` is free.
    #[inline]
    pub(crate) fn release<const SINGLE: bool>(&self, taken: Cursor) {
        if SINGLE {
            // Release and, as a locked instruction, the fence before the look at the sleepers.
            self.head.swap(taken.word(), Ordering::SeqCst);
        } else {
            self.head.store(taken.word(), Ordering::Release);
        }
    }

    /// The position of the tail as it seems to be.
    #[inline]
    pub(crate) fn tail_position(&self) -> u32 {
        Cursor::from_word(self.tail.load(Ordering::Relaxed)).pos
    }

    /// The head as it is now, to see whether it moves.
    #[inline]
    pub(crate) fn head_word(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// How many messages are in it, by the two cursors.
    pub(crate) fn len(&self) -> u32 {
        let head = Cursor::from_word(self.head.load(Ordering::Acquire));
        let tail = Cursor::from_word(self.tail.load(Ordering::Acquire));
        between(head, tail)
    }

    /// Whether the smallest message would find no room.
    pub(crate) fn is_full(&self) -> bool {
        // The head last: it only grows, so it cannot seem to be further back than it was.
        let tail = Cursor::from_word(self.tail.load(Ordering::Acquire));
        let head = Cursor::from_word(self.head.load(Ordering::Acquire));
        // A head ahead of the tail: a producer died before it counted, and the queue went on.
        let behind = (tail.pos.wrapping_sub(head.pos) as i32) < 0;
        !behind && self.room_after(head, tail, 2, 1) != Some(true)
    }
}
