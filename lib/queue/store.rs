//! The store: memory for messages outside the ring, cut into chunks of any size.
//!
//! # The chain
//! The chunks lie one behind the other from the store's first unit to its last: each one's length leads
//! to the next. There is no other record of what is used and what is free, so nothing can disagree
//! with it. Only the owner of the write side's lock walks or changes the chain:
//! * *merge*: a free chunk followed by a free one takes its length over: one store;
//! * *split*: the header of the rest is written first, inside the free chunk where nobody looks, then the
//!   length in front of it is shortened: one store. Killed before: nothing happened. After: two free
//!   chunks.
//! * *take*: the state of a free chunk becomes *owned*: one store.
//!
//! Giving back needs no lock: the state becomes *free*, the length stays.
//!
//! # Where it looks
//! From where the last chunk was taken (*rover*), around the store. Messages leave much in the order in
//! which they came, so what lies at the rover has been free the longest; a message that is held for hours
//! is walked over. The rover must be the start of a chunk: it is set back to 0 before anything in front of
//! it is merged.
//!
//! # Knowing that it is full
//! A walk through a full store is long, so two counters tell before: units *taken* (by owners of the
//! lock), and units *given back* (by anybody). A death between a change and its count leaves them apart;
//! counting more free than there is costs a walk, counting less is mended by the next
//! [`super::survey`], which every waiter makes.
//!
//! Source: next fit with boundary tags, Knuth, TAOCP 1, 2.5 (exercise 6 for the rover).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::primitive::{Fault, fault};
use crate::segment::Area;

use super::chunk::{self, HEADER, Phase, Reason, State, at};
use super::ring::Corrupt;

/// A chunk that was found to lie within the store, with the length it had then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) index: u32,
    pub(crate) units: u32,
}

/// The words that the owner of the write side's lock keeps for the store.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Books {
    /// The sequence number given last.
    pub(crate) sequence: AtomicU64,
    /// Where to look for free memory first; the start of a chunk.
    rover: AtomicU64,
    /// Units taken so far, modulo 2^64.
    taken: AtomicU64,
    /// A value that *given back* had.
    seen_back: AtomicU64,
}

/// Where the store lies; the same for every process, and checked when it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    area: Area,
    start: usize,
    shift: u32,
    units: u32,
}

impl Store {
    /// The store of `units` units of `1 << shift` bytes that begins `start` bytes into the area.
    pub(crate) fn new(area: &Area, start: usize, shift: u32, units: u32) -> Store {
        // Panics if it does not lie within the area.
        area.at(start, (units as usize) << shift);
        Store { area: *area, start, shift, units }
    }

    /// Writes one free chunk as long as the store, into an object that is not published yet.
    pub(crate) fn format(&self) {
        self.word(0, at::STATE).store(State::FREE.0, Ordering::Relaxed);
        self.word(0, at::LENGTH).store(chunk::length(0, self.units), Ordering::Relaxed);
    }

    /// Bytes of the longest message that fits when nothing else is there.
    pub(crate) fn max_len(&self) -> usize {
        ((self.units as usize) << self.shift) - HEADER
    }

    /// How many units a message of so many bytes takes; it is at most [`Store::max_len`].
    #[inline]
    pub(crate) fn units_of(&self, len: usize) -> u32 {
        ((len + HEADER + (1 << self.shift) - 1) >> self.shift) as u32
    }

    /// Bytes of the store.
    pub(crate) fn bytes(&self) -> usize {
        (self.units as usize) << self.shift
    }

    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    /// A word of the chunk at `index`, which lies within the store.
    #[inline]
    fn word(&self, index: u32, word: usize) -> &AtomicU64 {
        self.area.word64(self.start + ((index as usize) << self.shift) + word * 8)
    }

    /// A word of a chunk.
    #[inline]
    pub(crate) fn of(&self, chunk: Chunk, word: usize) -> &AtomicU64 {
        self.word(chunk.index, word)
    }

    #[inline]
    pub(crate) fn state(&self, chunk: Chunk) -> State {
        State(self.of(chunk, at::STATE).load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn set_state(&self, chunk: Chunk, state: State) {
        self.of(chunk, at::STATE).store(state.0, Ordering::Release);
    }

    /// Changes the state if it is still `from`. A locked instruction, before a look at sleepers.
    #[inline]
    pub(crate) fn change_state(&self, chunk: Chunk, from: State, to: State) -> bool {
        let word = self.of(chunk, at::STATE);
        word.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The chunk that begins at `index`, if one does.
    #[inline]
    pub(crate) fn chunk(&self, index: u32) -> Result<Chunk, Corrupt> {
        const BROKEN: Corrupt = Corrupt("the chain of its chunks is broken");
        if index >= self.units {
            return Err(BROKEN);
        }
        let word = self.word(index, at::LENGTH).load(Ordering::Acquire);
        match chunk::units(index, word) {
            Some(units) if units > 0 && units <= self.units - index => Ok(Chunk { index, units }),
            _ => Err(BROKEN),
        }
    }

    /// The message's bytes, if the chunk can hold so many.
    pub(crate) fn len(&self, chunk: Chunk) -> Result<usize, Corrupt> {
        let len = self.of(chunk, at::BYTES).load(Ordering::Relaxed);
        let room = ((chunk.units as usize) << self.shift) - HEADER;
        match usize::try_from(len) {
            Ok(len) if len <= room => Ok(len),
            _ => Err(Corrupt("a message is longer than its chunk")),
        }
    }

    fn place(&self, chunk: Chunk, offset: usize) -> usize {
        self.start + ((chunk.index as usize) << self.shift) + HEADER + offset
    }

    /// Writes `bytes` at `offset` of the message, of whose length and place the caller is sure.
    pub(crate) fn write(&self, chunk: Chunk, offset: usize, bytes: &[u8]) {
        self.area.copy_in(self.place(chunk, offset), bytes);
    }

    /// Reads from `offset` of the message, of whose length and place the caller is sure.
    pub(crate) fn read(&self, chunk: Chunk, offset: usize, bytes: &mut [u8]) {
        self.area.copy_out(self.place(chunk, offset), bytes);
    }

    /// Appends the first `len` bytes of the message, of whose place the caller is sure.
    pub(crate) fn append_to(&self, chunk: Chunk, len: usize, bytes: &mut Vec<u8>) {
        bytes.reserve(len);
        self.area.append_to(self.place(chunk, 0), len, bytes);
    }

    /// The address of the message, for the one caller that makes a slice on its own risk.
    pub(crate) fn pointer(&self, chunk: Chunk, len: usize) -> *const u8 {
        self.area.at(self.place(chunk, 0), len).cast_const()
    }

    /// Takes a free chunk of `need` units for `owner`; `None` if there is no room. Only for the owner of
    /// the write side's lock.
    #[inline]
    pub(crate) fn take(
        &self,
        books: &Books,
        back: &AtomicU64,
        need: u32,
        owner: u32,
    ) -> Result<Option<Chunk>, Corrupt> {
        if !self.may_fit(books, back, need) {
            return Ok(None);
        }
        let Some(chunk) = self.find(books, need)? else { return Ok(None) };
        if chunk.units > need {
            self.split(chunk, need);
        }
        let taken = Chunk { index: chunk.index, units: need };
        self.set_state(taken, State::new(Phase::Owned, Reason::Never, 0, owner));
        let sum = books.taken.load(Ordering::Relaxed).wrapping_add(u64::from(need));
        books.taken.store(sum, Ordering::Relaxed);
        let next = taken.index + need;
        books.rover.store(u64::from(if next < self.units { next } else { 0 }), Ordering::Relaxed);
        Ok(Some(taken))
    }

    /// Lets the next look for a free chunk begin at the store's start. Only for the owner of the lock.
    pub(crate) fn rewind(&self, books: &Books) {
        books.rover.store(0, Ordering::Relaxed);
    }

    /// Whether the counters leave it open that there is room.
    #[inline]
    fn may_fit(&self, books: &Books, back: &AtomicU64, need: u32) -> bool {
        let taken = books.taken.load(Ordering::Relaxed);
        let fits = |back: u64| {
            let used = taken.wrapping_sub(back);
            used > u64::from(self.units) || used + u64::from(need) <= u64::from(self.units)
        };
        if fits(books.seen_back.load(Ordering::Relaxed)) {
            return true;
        }
        let back = back.load(Ordering::Relaxed);
        books.seen_back.store(back, Ordering::Relaxed);
        fits(back)
    }

    /// Whether the counters say that not a unit is free.
    pub(crate) fn seems_full(&self, books: &Books, back: &AtomicU64) -> bool {
        let used = books.taken.load(Ordering::Relaxed).wrapping_sub(back.load(Ordering::Relaxed));
        used == u64::from(self.units)
    }

    #[inline]
    fn is_free(&self, chunk: Chunk) -> bool {
        self.state(chunk).phase() == Some(Phase::Free)
    }

    /// Finds a free chunk of at least `need` units, merging on the way. Passes every chunk twice at most.
    #[inline]
    fn find(&self, books: &Books, need: u32) -> Result<Option<Chunk>, Corrupt> {
        let start = books.rover.load(Ordering::Relaxed);
        let start = u32::try_from(start).ok().filter(|at| *at < self.units);
        let start = start.ok_or(Corrupt("the rover is not within its store"))?;
        let (mut at, mut around) = (start, start == 0);
        loop {
            let mut chunk = self.chunk(at)?;
            if self.is_free(chunk) {
                chunk = self.merged(chunk, need)?;
                if chunk.units >= need {
                    return Ok(Some(chunk));
                }
            }
            at = chunk.index + chunk.units;
            if around && at >= start && (start > 0 || at >= self.units) {
                return Ok(None);
            }
            if at >= self.units {
                books.rover.store(0, Ordering::Relaxed);
                (at, around) = (0, true);
            }
        }
    }

    /// Merges the free chunk with free ones behind it, until it has `need` units.
    #[inline]
    fn merged(&self, mut chunk: Chunk, need: u32) -> Result<Chunk, Corrupt> {
        while chunk.units < need && chunk.index + chunk.units < self.units {
            let next = self.chunk(chunk.index + chunk.units)?;
            if !self.is_free(next) {
                break;
            }
            chunk.units += next.units;
            let length = chunk::length(chunk.index, chunk.units);
            self.of(chunk, at::LENGTH).store(length, Ordering::Release);
        }
        Ok(chunk)
    }

    /// Cuts a free chunk behind its first `units`.
    fn split(&self, chunk: Chunk, units: u32) {
        let front = chunk::length(chunk.index, units);
        if fault(Fault::CutBeforeRest) {
            self.of(chunk, at::LENGTH).store(front, Ordering::Release);
        }
        let rest = Chunk { index: chunk.index + units, units: chunk.units - units };
        self.set_state(rest, State::FREE);
        let length = chunk::length(rest.index, rest.units);
        self.of(rest, at::LENGTH).store(length, Ordering::Relaxed);
        self.of(chunk, at::LENGTH).store(front, Ordering::Release);
    }

    /// Visits every chunk that is not free, merging those that are, and counts anew. Only for the owner of
    /// the write side's lock.
    pub(crate) fn visit(
        &self,
        books: &Books,
        back: &AtomicU64,
        mut visit: impl FnMut(Chunk, State) -> Result<(), Corrupt>,
    ) -> Result<(), Corrupt> {
        books.rover.store(0, Ordering::Relaxed);
        // Before the walk: what is given back meanwhile is then counted as free twice, not never.
        let before = back.load(Ordering::Acquire);
        let (mut index, mut used) = (0, 0_u64);
        while index < self.units {
            let mut chunk = self.chunk(index)?;
            let state = self.state(chunk);
            if state.phase() == Some(Phase::Free) {
                chunk = self.merged(chunk, u32::MAX)?;
            } else {
                visit(chunk, state)?;
                if !self.is_free(chunk) {
                    used += u64::from(chunk.units);
                }
            }
            index = chunk.index + chunk.units;
        }
        books.seen_back.store(before, Ordering::Relaxed);
        books.taken.store(before.wrapping_add(used), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
