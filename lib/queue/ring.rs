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

use crate::primitive::{AtomicU64, Fault, Ordering, fault};

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
    /// The next message has this length, and the buffer has not so much room.
    Grow(usize),
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
fn between(head: Cursor, tail: Cursor) -> u32 {
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
    /// What the messages need, if they could ever be put as one batch; otherwise the bytes they need
    /// and the bytes there are.
    pub(crate) fn measure<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]>,
    ) -> Result<Load, (usize, usize)> {
        let max = max_len(self.words.units());
        let (mut total, mut longest, mut bytes, mut count) = (0_u64, 0, 0_usize, 0_u64);
        for item in items {
            if item.len() > max {
                return Err((item.len(), max));
            }
            let units = record::units(item.len());
            total += u64::from(units);
            longest = longest.max(units);
            bytes += item.len();
            count += 1;
        }
        // One message always fits: it has at most half of the ring.
        let fits = total + u64::from(longest) <= u64::from(self.words.units())
            && count <= u64::from(self.maxsize);
        if count > 1 && !fits {
            return Err((bytes, max));
        }
        Ok(Load { units: total as u32, count: count as u32 })
    }

    /// [`Ring::push`] for one message, with a short way for the usual case: there is room for it
    /// before the ring's end.
    #[inline(always)]
    pub(crate) fn push_one<const SINGLE: bool>(&self, item: &[u8]) -> Result<Push, Corrupt> {
        let tail = Cursor::from_word(self.tail.load(Ordering::Relaxed));
        let units = record::units(item.len());
        let end = Cursor { pos: tail.pos.wrapping_add(units), count: tail.count.wrapping_add(1) };
        let usual = self.words.at(tail.pos).load(Ordering::Acquire) == 0
            && units <= self.words.units() - self.words.index(tail.pos)
            && self.has_room(tail, units + 1, 1)?
            && !cfg!(steadfast_faults);
        if !usual {
            return self.push_unusual::<SINGLE>(item);
        }
        self.words.copy_in(tail.pos.wrapping_add(1), item);
        self.words.at(end.pos).store(0, Ordering::Relaxed);
        Ok(self.commit::<SINGLE>(tail, record::message(tail.pos, item.len()), end))
    }

    /// By value, as all that is cold here: the ring then stays in registers where it is not.
    #[cold]
    #[inline(never)]
    fn push_unusual<const SINGLE: bool>(self, item: &[u8]) -> Result<Push, Corrupt> {
        self.push::<SINGLE>(std::iter::once(item))
    }

    /// [`Ring::push_measured`], measured here.
    pub(crate) fn push<'i, const SINGLE: bool>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
    ) -> Result<Push, Corrupt> {
        match self.measure(items.clone()) {
            Ok(load) => self.push_measured::<SINGLE>(items, load),
            Err(_) => Ok(Push::Full),
        }
    }

    /// Puts the messages, whose load was measured, behind the tail, as one. `SINGLE`: the caller owns the
    /// write side by a role, not by a lock. The commit is then a locked instruction.
    pub(crate) fn push_measured<'i, const SINGLE: bool>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        load: Load,
    ) -> Result<Push, Corrupt> {
        let mut tail = Cursor::from_word(self.tail.load(Ordering::Relaxed));
        if self.words.at(tail.pos).load(Ordering::Acquire) != 0 {
            match self.roll_tail()? {
                Some(rolled) => tail = rolled,
                None => return Ok(Push::Closed),
            }
        }
        let left = self.words.units() - self.words.index(tail.pos);
        let need =
            if load.units <= left { load.units } else { self.padded(tail.pos, items.clone()) };
        if !self.has_room(tail, need + 1, load.count)? {
            return Ok(Push::Full);
        }
        let end =
            Cursor { pos: tail.pos.wrapping_add(need), count: tail.count.wrapping_add(load.count) };
        let (mut at, mut first) = (tail.pos, 0);
        if fault(Fault::TailBeforeHeader) {
            self.tail.store(end.word(), Ordering::Release);
        }
        for item in items {
            let units = record::units(item.len());
            let left = self.words.units() - self.words.index(at);
            if units > left {
                self.stage(tail.pos, at, record::pad(at, left), &mut first);
                at = at.wrapping_add(left);
            }
            self.stage(tail.pos, at, record::message(at, item.len()), &mut first);
            if fault(Fault::CommitBeforeBody) && at == tail.pos {
                self.words.at(at).store(first, Ordering::Release);
            }
            self.words.copy_in(at.wrapping_add(1), item);
            at = at.wrapping_add(units);
        }
        self.words.at(end.pos).store(0, Ordering::Relaxed);
        Ok(self.commit::<SINGLE>(tail, first, end))
    }

    /// Writes a header, or keeps it back if it is the first one, which commits.
    #[inline]
    fn stage(&self, start: u32, at: u32, header: u64, first: &mut u64) {
        if at == start {
            *first = header;
        } else {
            self.words.at(at).store(header, Ordering::Relaxed);
        }
    }

    /// How many units records of these messages take if they begin at `start`, with the padding at
    /// the ring's end.
    #[cold]
    #[inline(never)]
    fn padded<'i>(self, start: u32, items: impl Iterator<Item = &'i [u8]>) -> u32 {
        let units = items.map(|item| record::units(item.len()));
        units.fold(start, |at, units| self.place(at, units).wrapping_add(units)).wrapping_sub(start)
    }

    /// Where a record of so many units lies if the tail is `at`: there, or behind the ring's end.
    #[inline]
    pub(crate) fn place(&self, at: u32, units: u32) -> u32 {
        let left = self.words.units() - self.words.index(at);
        if units > left { at.wrapping_add(left) } else { at }
    }

    /// Whether `need` units and `count` messages have room behind `tail`: by the head seen last, and
    /// if not by that, by the head as it is now.
    #[inline]
    pub(crate) fn has_room(&self, tail: Cursor, need: u32, count: u32) -> Result<bool, Corrupt> {
        let seen = self.seen_head.load(Ordering::Relaxed);
        if self.room_after(Cursor::from_word(seen), tail, need, count) == Some(true) {
            return Ok(true);
        }
        let head = self.head.load(Ordering::Acquire);
        self.seen_head.store(head, Ordering::Relaxed);
        self.room_after(Cursor::from_word(head), tail, need, count)
            .ok_or(Corrupt("the head is not within the ring's length of the tail"))
    }

    #[inline]
    fn room_after(&self, head: Cursor, tail: Cursor, need: u32, count: u32) -> Option<bool> {
        let used = tail.pos.wrapping_sub(head.pos);
        let free = self.words.units().checked_sub(used)?;
        Some(need <= free && between(head, tail).saturating_add(count) <= self.maxsize)
    }

    /// Commits what was staged between two cursors: writes the first header, then moves the tail.
    #[inline]
    pub(crate) fn commit<const SINGLE: bool>(
        &self,
        start: Cursor,
        first: u64,
        end: Cursor,
    ) -> Push {
        let header = self.words.at(start.pos);
        if SINGLE {
            // Release and, as a locked instruction, the fence before the look at the sleepers.
            if header.compare_exchange(0, first, Ordering::SeqCst, Ordering::Relaxed).is_err() {
                return Push::Closed;
            }
        } else {
            header.store(first, Ordering::Release);
        }
        if !fault(Fault::TailBeforeHeader) {
            self.tail.store(end.word(), Ordering::Release);
        }
        Push::Done
    }

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
                    Front::Empty | Front::Closed if count > 0 => break,
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
