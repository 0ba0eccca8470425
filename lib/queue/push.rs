//! The write side of the ring: room, records, the commit. See [`super::ring`] for the protocol.

#[cfg(loom)]
use crate::loom_kernel::Words;
#[cfg(not(loom))]
use crate::segment::Words;

use crate::primitive::{Fault, Ordering, fault};

use super::record;
use super::ring::{Corrupt, Cursor, Load, Push, Ring, between, max_len};

/// What a record carries.
pub(crate) trait Body: Copy {
    /// Bytes of it in the ring.
    fn len(&self) -> usize;

    /// Its header at a position.
    fn header(&self, position: u32) -> u64;

    /// Writes it, for the header at `position`, which has room for it behind it.
    fn write(&self, words: &Words, position: u32);
}

/// A message that lies in the ring.
impl Body for &[u8] {
    #[inline]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    #[inline]
    fn header(&self, position: u32) -> u64 {
        record::message(position, <[u8]>::len(self))
    }

    #[inline]
    fn write(&self, words: &Words, position: u32) {
        words.copy_in(position.wrapping_add(1), self);
    }
}

impl Ring<'_> {
    /// What the messages need, if they could ever be put as one batch; otherwise the bytes they need
    /// and the bytes there are.
    pub(crate) fn measure<B: Body>(
        &self,
        items: impl Iterator<Item = B>,
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
    pub(crate) fn push_one<const SINGLE: bool>(&self, item: impl Body) -> Result<Push, Corrupt> {
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
        item.write(self.words, tail.pos);
        self.words.at(end.pos).store(0, Ordering::Relaxed);
        Ok(self.commit::<SINGLE>(tail, item.header(tail.pos), end))
    }

    /// By value, as all that is cold here: the ring then stays in registers where it is not.
    #[cold]
    #[inline(never)]
    fn push_unusual<const SINGLE: bool>(self, item: impl Body) -> Result<Push, Corrupt> {
        self.push::<_, SINGLE>(std::iter::once(item))
    }

    /// [`Ring::push_measured`], measured here.
    pub(crate) fn push<B: Body, const SINGLE: bool>(
        &self,
        items: impl Iterator<Item = B> + Clone,
    ) -> Result<Push, Corrupt> {
        match self.measure(items.clone()) {
            Ok(load) => self.push_measured::<B, SINGLE>(items, load),
            Err(_) => Ok(Push::Full),
        }
    }

    /// Puts the messages, whose load was measured, behind the tail, as one. `SINGLE`: the caller owns the
    /// write side by a role, not by a lock. The commit is then a locked instruction.
    pub(crate) fn push_measured<B: Body, const SINGLE: bool>(
        &self,
        items: impl Iterator<Item = B> + Clone,
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
            self.stage(tail.pos, at, item.header(at), &mut first);
            if fault(Fault::CommitBeforeBody) && at == tail.pos {
                self.words.at(at).store(first, Ordering::Release);
            }
            item.write(self.words, at);
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
    fn padded<B: Body>(self, start: u32, items: impl Iterator<Item = B>) -> u32 {
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
    pub(super) fn room_after(
        &self,
        head: Cursor,
        tail: Cursor,
        need: u32,
        count: u32,
    ) -> Option<bool> {
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
}
