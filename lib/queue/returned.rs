//! The index of what came back: two heaps in one array, of the chunks that are *ready* (smallest sequence
//! number first) and of those that are *delayed* (first due first).
//!
//! The index is a shadow: what is true is in the chunks' states. Whoever changes it, under the read
//! side's lock, says so first (`torn` = 1) and takes that back at the end. A process killed in between
//! leaves `torn`, and whoever finds it builds the index anew from the chunks ([`super::survey`]). So its
//! stores need no order among themselves.
//!
//! Source: binary heaps; Williams, "Heapsort", 1964.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::os::clock::monotonic;
use crate::primitive::{Fault, fault};
use crate::segment::Area;

use super::chunk::at;
use super::ring::Corrupt;
use super::store::{Chunk, Store};

const MISSING: Corrupt = Corrupt("the index of what came back is longer than its array");

/// The words of the index, on the read side's lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Index {
    /// 1: somebody is changing the index, or died while doing so.
    torn: AtomicU32,
    /// Entries of the heap of ready chunks, from the array's start.
    ready: AtomicU32,
    /// Entries of the heap of delayed chunks, from the array's end.
    delayed: AtomicU32,
    unused: AtomicU32,
    /// When the first delayed chunk is due; 0 = there is none. For those who wait.
    due: AtomicU64,
}

/// Which heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heap {
    Ready,
    Delayed,
}

/// The index in its segment.
#[derive(Clone, Copy)]
pub(crate) struct Returned<'a> {
    pub(crate) index: &'a Index,
    pub(crate) store: &'a Store,
    pub(crate) area: &'a Area,
    /// Where the array begins, and how many entries it has.
    pub(crate) array: (usize, u32),
}

impl Returned<'_> {
    /// Whether a process died while it changed the index.
    #[inline]
    pub(crate) fn is_torn(&self) -> bool {
        self.index.torn.load(Ordering::Relaxed) != 0
    }

    /// Does `change` to the index, as the owner of the read side's lock. If that finds what cannot be, the
    /// index stays torn.
    pub(crate) fn change<R>(
        &self,
        change: impl FnOnce() -> Result<R, Corrupt>,
    ) -> Result<R, Corrupt> {
        // Release and acquire: the changes of states stay between the two.
        self.index.torn.swap(u32::from(!fault(Fault::UntornIndex)), Ordering::AcqRel);
        let result = change()?;
        self.index.torn.store(0, Ordering::Release);
        Ok(result)
    }

    /// Entries of a heap.
    #[inline]
    pub(crate) fn len(&self, heap: Heap) -> u32 {
        self.counter(heap).load(Ordering::Relaxed)
    }

    /// When the first delayed chunk is due; 0 = there is none. A hint.
    #[inline]
    pub(crate) fn due(&self) -> u64 {
        self.index.due.load(Ordering::Relaxed)
    }

    /// Whether a look under the read side's lock is worth it. A hint.
    #[inline]
    pub(crate) fn seems_ready(&self) -> bool {
        if self.len(Heap::Ready) > 0 || self.is_torn() {
            return true;
        }
        let due = self.due();
        due != 0 && due <= monotonic()
    }

    /// How many messages came back.
    pub(crate) fn count(&self) -> u32 {
        self.len(Heap::Ready).saturating_add(self.len(Heap::Delayed))
    }

    #[inline]
    fn counter(&self, heap: Heap) -> &AtomicU32 {
        match heap {
            Heap::Ready => &self.index.ready,
            Heap::Delayed => &self.index.delayed,
        }
    }

    /// Entry `nth` of a heap; below the array's length.
    fn entry(&self, heap: Heap, nth: u32) -> &AtomicU32 {
        let (start, len) = self.array;
        let nth = match heap {
            Heap::Ready => nth,
            Heap::Delayed => len - 1 - nth,
        };
        self.area.word32(start + nth as usize * 4)
    }

    fn chunk(&self, heap: Heap, nth: u32) -> Result<Chunk, Corrupt> {
        self.store.chunk(self.entry(heap, nth).load(Ordering::Relaxed))
    }

    /// The larger the later.
    fn key(&self, heap: Heap, nth: u32) -> Result<u64, Corrupt> {
        let word = match heap {
            Heap::Ready => at::SEQUENCE,
            Heap::Delayed => at::DUE,
        };
        Ok(self.store.of(self.chunk(heap, nth)?, word).load(Ordering::Relaxed))
    }

    fn exchange(&self, heap: Heap, one: u32, other: u32) {
        let (one, other) = (self.entry(heap, one), self.entry(heap, other));
        let kept = one.load(Ordering::Relaxed);
        one.store(other.load(Ordering::Relaxed), Ordering::Relaxed);
        other.store(kept, Ordering::Relaxed);
    }

    /// The first of a heap.
    pub(crate) fn first(&self, heap: Heap) -> Result<Option<Chunk>, Corrupt> {
        if self.len(heap) == 0 { Ok(None) } else { self.chunk(heap, 0).map(Some) }
    }

    /// Empties both heaps, to build them anew.
    pub(crate) fn clear(&self) {
        self.index.ready.store(0, Ordering::Relaxed);
        self.index.delayed.store(0, Ordering::Relaxed);
        self.index.due.store(0, Ordering::Relaxed);
    }

    /// Adds a chunk. Within [`Returned::change`], as all that follows.
    pub(crate) fn push(&self, heap: Heap, chunk: Chunk) -> Result<(), Corrupt> {
        // Both are read once, as a peer may change them at any time.
        let (ready, delayed) = (self.len(Heap::Ready), self.len(Heap::Delayed));
        if u64::from(ready) + u64::from(delayed) >= u64::from(self.array.1) {
            return Err(MISSING);
        }
        let len = if heap == Heap::Ready { ready } else { delayed };
        self.entry(heap, len).store(chunk.index, Ordering::Relaxed);
        self.counter(heap).store(len + 1, Ordering::Relaxed);
        let mut nth = len;
        while nth > 0 {
            let parent = (nth - 1) / 2;
            if self.key(heap, parent)? <= self.key(heap, nth)? {
                break;
            }
            self.exchange(heap, parent, nth);
            nth = parent;
        }
        self.hint()
    }

    /// Removes the first of a heap.
    pub(crate) fn pop(&self, heap: Heap) -> Result<(), Corrupt> {
        let len = self.len(heap);
        if len == 0 || len > self.array.1 {
            return Err(MISSING);
        }
        self.exchange(heap, 0, len - 1);
        self.counter(heap).store(len - 1, Ordering::Relaxed);
        self.sift_down(heap)?;
        self.hint()
    }

    fn sift_down(&self, heap: Heap) -> Result<(), Corrupt> {
        let len = self.len(heap).min(self.array.1);
        let mut nth = 0;
        loop {
            let left = 2 * nth + 1;
            if left >= len {
                return Ok(());
            }
            let right = left + 1;
            let later = right < len && self.key(heap, right)? < self.key(heap, left)?;
            let least = if later { right } else { left };
            if self.key(heap, nth)? <= self.key(heap, least)? {
                return Ok(());
            }
            self.exchange(heap, nth, least);
            nth = least;
        }
    }

    /// Tells those who wait when the first delayed chunk is due.
    pub(crate) fn hint(&self) -> Result<(), Corrupt> {
        let due = if self.len(Heap::Delayed) == 0 { 0 } else { self.key(Heap::Delayed, 0)?.max(1) };
        self.index.due.store(due, Ordering::Relaxed);
        Ok(())
    }
}
