//! Putting messages that lie in the store.
//!
//! 1. *Take* a chunk, under the write side's lock: it becomes *owned*.
//! 2. Write the message into it, without a lock.
//! 3. Under the lock again: number it, tell it the position of its record, make it *queued*; then the
//!    record, whose header is the commit, as for any message (see [`super::ring`]).
//!
//! A short message does all three under one lock. Killed before the commit: no record names the chunk, and
//! the next survey frees it (see [`super::survey`]). After: the message is in the queue.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use crate::os::clock::Deadline;
use crate::segment::Words;

use super::PutError;
use super::chunk::{self, Phase, Reason, State, at};
use super::object::{Failed, Shared};
use super::push::Body;
use super::record;
use super::ring::{Corrupt, Push};
use super::store::{Books, Chunk, Store};

/// Messages up to this length are copied under the lock: that is shorter than to take it twice.
const SHORT: usize = 2048;

/// A chunk that this process owns and has not put. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    shared: &'a Shared,
    store: &'a Store,
    pub(crate) chunk: Chunk,
    pub(crate) len: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if self.shared.segment.is_usable() {
            self.shared.discard(self.store, self.chunk);
        }
    }
}

impl<'a> Reserved<'a> {
    /// Writes at an offset of the message; false, and nothing is written, if it does not fit.
    pub(crate) fn write_at(&self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset <= self.len && bytes.len() <= self.len - offset;
        if fits {
            self.store.write(self.chunk, offset, bytes);
        }
        fits
    }

    fn body(&self) -> InStore<'a> {
        self.shared.body(self.store, self.chunk)
    }
}

/// A message in the store, as a record's body.
#[derive(Clone, Copy)]
pub(crate) struct InStore<'a> {
    store: &'a Store,
    books: &'a Books,
    chunk: Chunk,
    owner: u32,
}

impl Body for InStore<'_> {
    #[inline]
    fn len(&self) -> usize {
        record::UNIT
    }

    #[inline]
    fn header(&self, position: u32) -> u64 {
        record::indirect(position)
    }

    #[inline]
    fn write(&self, words: &Words, position: u32) {
        let sequence = self.books.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.books.sequence.store(sequence, Ordering::Relaxed);
        self.store.of(self.chunk, at::SEQUENCE).store(sequence, Ordering::Relaxed);
        self.store.of(self.chunk, at::POSITION).store(position.into(), Ordering::Relaxed);
        self.store.set_state(self.chunk, State::new(Phase::Queued, Reason::Never, 0, self.owner));
        let name = chunk::name(self.chunk.index, sequence);
        words.at(position.wrapping_add(1)).store(name, Ordering::Relaxed);
    }
}

/// A message of a batch, here or there.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    Here(&'a [u8]),
    There(InStore<'a>),
}

impl Body for Part<'_> {
    fn len(&self) -> usize {
        match self {
            Part::Here(bytes) => bytes.len(),
            Part::There(stored) => Body::len(stored),
        }
    }

    fn header(&self, position: u32) -> u64 {
        match self {
            Part::Here(bytes) => bytes.header(position),
            Part::There(stored) => stored.header(position),
        }
    }

    fn write(&self, words: &Words, position: u32) {
        match self {
            Part::Here(bytes) => bytes.write(words, position),
            Part::There(stored) => stored.write(words, position),
        }
    }
}

impl Shared {
    fn body<'a>(&'a self, store: &'a Store, chunk: Chunk) -> InStore<'a> {
        InStore { store, books: self.books(), chunk, owner: self.segment.me().bits() }
    }

    /// Frees a chunk that this process owns.
    fn discard(&self, store: &Store, chunk: Chunk) {
        store.set_state(chunk, State::FREE);
        self.count_free(chunk);
    }

    /// The same within an attempt that comes to nothing: there is no more room than before it, so nobody
    /// is called; the caller itself may be about to sleep until somebody calls.
    fn put_back(&self, store: &Store, chunk: Chunk) {
        store.set_state(chunk, State::FREE);
        self.given_back().fetch_add(u64::from(chunk.units), Ordering::Relaxed);
    }

    /// The store, if a message of so many bytes could ever fit.
    fn store_for(&self, len: usize) -> Result<&Store, PutError> {
        match self.store() {
            Some(store) if len <= store.max_len() => Ok(store),
            _ => Err(PutError::TooLarge { len, max: self.max_len }),
        }
    }

    /// Takes a chunk for a message of `len` bytes. The caller owns the write side's lock.
    #[inline]
    fn take_chunk(&self, store: &Store, len: usize) -> Result<Option<Chunk>, Corrupt> {
        let me = self.segment.me().bits();
        let taken = store.take(self.books(), self.given_back(), store.units_of(len), me)?;
        if let Some(chunk) = taken {
            store.of(chunk, at::BYTES).store(len as u64, Ordering::Relaxed);
        }
        Ok(taken)
    }

    /// Takes a chunk as soon as there is room for a message of `len` bytes.
    pub(crate) fn reserve_chunk(
        &self,
        len: usize,
        deadline: Deadline,
    ) -> Result<Reserved<'_>, PutError> {
        let store = self.store_for(len)?;
        let taken = Cell::new(None);
        self.until_put(deadline, || {
            self.reserving(deadline, || {
                taken.set(self.take_chunk(store, len)?);
                Ok(if taken.get().is_some() { Push::Done } else { Push::Full })
            })
        })?;
        match taken.get() {
            Some(chunk) => Ok(Reserved { shared: self, store, chunk, len }),
            None => Err(PutError::Closed),
        }
    }

    /// Takes chunks for all of the messages, as soon as there is room for all: who waits holds none, or
    /// two might wait for each other.
    fn reserve_all<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        store: &Store,
        deadline: Deadline,
    ) -> Result<Vec<Reserved<'_>>, PutError> {
        let taken = RefCell::new(Vec::with_capacity(items.clone().count()));
        self.until_put(deadline, || {
            self.reserving(deadline, || {
                let mut taken = taken.borrow_mut();
                if self.take_chunks(store, items.clone(), &mut taken)? {
                    return Ok(Push::Done);
                }
                // Beginning in the middle may leave two pieces where one would do.
                store.rewind(self.books());
                let all = self.take_chunks(store, items.clone(), &mut taken)?;
                Ok(if all { Push::Done } else { Push::Full })
            })
        })?;
        let store = self.store_for(0)?;
        let taken = taken.into_inner().into_iter();
        Ok(taken.map(|(chunk, len)| Reserved { shared: self, store, chunk, len }).collect())
    }

    /// Takes chunks for all of the messages, or for none. The caller owns the write side's lock.
    fn take_chunks<'i>(
        &self,
        store: &Store,
        items: impl Iterator<Item = &'i [u8]>,
        taken: &mut Vec<(Chunk, usize)>,
    ) -> Result<bool, Corrupt> {
        for item in items {
            let Some(chunk) = self.take_chunk(store, item.len())? else {
                taken.drain(..).for_each(|(chunk, _)| self.put_back(store, chunk));
                return Ok(false);
            };
            taken.push((chunk, item.len()));
        }
        Ok(true)
    }

    /// One attempt to take chunks, under the write side's lock.
    fn reserving(
        &self,
        deadline: Deadline,
        take: impl FnOnce() -> Result<Push, Corrupt>,
    ) -> Result<Push, Failed> {
        match self.locked(self.tail_lock(), deadline, || self.push_if_open(take), |_| {}) {
            Ok(taken) => taken,
            Err(Failed::Stuck) => Ok(Push::Full),
            Err(failed) => Err(failed),
        }
    }

    /// Puts a message in the store whose chunk was filled.
    pub(crate) fn put_reserved<const SINGLE: bool>(
        &self,
        reserved: Reserved<'_>,
        deadline: Deadline,
    ) -> Result<(), PutError> {
        let body = reserved.body();
        self.until_put(deadline, || {
            self.put_owning::<SINGLE>(deadline, 1, || self.ring().push_one::<SINGLE>(body))
        })?;
        std::mem::forget(reserved);
        Ok(())
    }

    /// Puts one message by way of the store.
    pub(crate) fn put_stored<const SINGLE: bool>(
        &self,
        item: &[u8],
        deadline: Deadline,
    ) -> Result<(), PutError> {
        if !SINGLE && item.len() <= SHORT {
            return self.put_short(item, deadline);
        }
        let reserved = self.reserve_chunk(item.len(), deadline)?;
        reserved.write_at(0, item);
        self.put_reserved::<SINGLE>(reserved, deadline)
    }

    /// The three steps under one lock.
    fn put_short(&self, item: &[u8], deadline: Deadline) -> Result<(), PutError> {
        let store = self.store_for(item.len())?;
        self.until_put(deadline, || {
            self.put_owning::<false>(deadline, 1, || {
                let Some(chunk) = self.take_chunk(store, item.len())? else {
                    return Ok(Push::Full);
                };
                store.write(chunk, 0, item);
                let pushed = self.ring().push_one::<false>(self.body(store, chunk))?;
                if pushed != Push::Done {
                    self.put_back(store, chunk);
                }
                Ok(pushed)
            })
        })
    }

    /// Puts messages as one batch, some or all of them by way of the store.
    pub(crate) fn put_batch_stored<'i, const SINGLE: bool>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        all: bool,
        deadline: Deadline,
    ) -> Result<(), PutError> {
        let stored = |item: &&[u8]| all || item.len() > self.inline_max;
        let mut units = 0_u64;
        let mut bytes = 0;
        for item in items.clone() {
            bytes += item.len();
            if stored(&item) {
                units += u64::from(self.store_for(item.len())?.units_of(item.len()));
            }
        }
        let store = self.store_for(0)?;
        if units > u64::from(store.units()) {
            return Err(PutError::TooLarge { len: bytes, max: self.max_len });
        }
        // Before anything is waited for: what can never fit is refused at once.
        let records =
            items.clone().map(|item| if stored(&item) { &[0; record::UNIT][..] } else { item });
        let measured = self.ring().measure(records);
        let load = measured.map_err(|_| PutError::TooLarge { len: bytes, max: self.max_len })?;
        let reserved = self.reserve_all(items.clone().filter(stored), store, deadline)?;
        for (chunk, item) in reserved.iter().zip(items.clone().filter(stored)) {
            chunk.write_at(0, item);
        }
        let mut chunks = reserved.iter();
        let parts: Vec<Part<'_>> = items
            .filter_map(|item| match stored(&item) {
                true => chunks.next().map(|chunk| Part::There(chunk.body())),
                false => Some(Part::Here(item)),
            })
            .collect();
        if load.count == 0 {
            return Ok(());
        }
        self.until_put(deadline, || {
            self.put_owning::<SINGLE>(deadline, load.count, || {
                self.ring().push_measured::<_, SINGLE>(parts.iter().copied(), load)
            })
        })?;
        reserved.into_iter().for_each(std::mem::forget);
        Ok(())
    }
}
