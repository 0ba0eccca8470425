//! What goes through the records one by one: the write side's recovery after a death, the mark that ends
//! a queue, and the count of what lies before it. Every walk is bounded by the ring.

use crate::primitive::Ordering;

use super::record::{self, Header, INDIRECT_UNITS};
use super::ring::{Corrupt, Cursor, Front, Ring};

impl Ring<'_> {
    /// The write side's recovery: moves the tail over what a dead producer committed but did not
    /// count. Gives the tail, or `None` if the queue was closed there. Idempotent; its only store is
    /// the tail, so a recoverer may die anywhere.
    #[cold]
    pub(crate) fn roll_tail(&self) -> Result<Option<Cursor>, Corrupt> {
        let start = Cursor::from_word(self.tail.load(Ordering::Relaxed));
        let mut tail = start;
        loop {
            let closed = match self.header(tail.pos) {
                Header::Message { units, .. } => {
                    tail.pos = tail.pos.wrapping_add(units);
                    tail.count = tail.count.wrapping_add(1);
                    None
                }
                Header::Indirect => {
                    tail.pos = tail.pos.wrapping_add(INDIRECT_UNITS);
                    tail.count = tail.count.wrapping_add(1);
                    None
                }
                Header::Pad { units } => {
                    tail.pos = tail.pos.wrapping_add(units);
                    None
                }
                Header::Empty => Some(false),
                Header::Closed => Some(true),
                Header::Corrupt => return Err(Corrupt("a record behind the tail is not one")),
            };
            if let Some(closed) = closed {
                if tail != start {
                    self.tail.store(tail.word(), Ordering::Release);
                }
                return Ok((!closed).then_some(tail));
            }
            if tail.pos.wrapping_sub(start.pos) >= self.words.units() {
                return Err(Corrupt("the records behind the tail fill more than the ring"));
            }
        }
    }

    /// Puts the mark that ends the queue at the tail. The caller owns the write side, or the write
    /// side has a single role and its owner refuses new puts; that one may commit once more
    /// meanwhile, then the mark goes behind it.
    pub(crate) fn close(&self) -> Result<(), Corrupt> {
        // One attempt for each message that may still come in: one, but a peer may misbehave.
        for _ in 0..1000 {
            let Some((tail, closed)) = self.tail_quietly()? else { continue };
            if closed {
                return Ok(());
            }
            let mark = record::closed(tail.pos);
            let header = self.words.at(tail.pos);
            if header.compare_exchange(0, mark, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
        Err(Corrupt("a producer goes on after the shutdown"))
    }

    /// Where the tail is, found without writing it (a single producer may be about to), and whether the
    /// mark that ends the queue stands there.
    ///
    /// A single producer may also go on meanwhile, round the ring and over the headers that are looked at.
    /// It can do so only after it moved its tail and the head went past the place where the look began:
    /// then what was read says nothing, and the look begins anew. `None` if that happens again and again.
    pub(crate) fn tail_quietly(&self) -> Result<Option<(Cursor, bool)>, Corrupt> {
        for _ in 0..100 {
            let word = self.tail.load(Ordering::Acquire);
            let start = Cursor::from_word(word);
            let found = self.tail_from(start);
            let head = Cursor::from_word(self.head.load(Ordering::Acquire));
            let passed = head.pos.wrapping_sub(start.pos) as i32 > 0;
            if !passed || self.tail.load(Ordering::Acquire) == word {
                return found.map(Some);
            }
        }
        Ok(None)
    }

    /// The end of the records from `tail` on.
    fn tail_from(&self, mut tail: Cursor) -> Result<(Cursor, bool), Corrupt> {
        for _ in 0..=self.words.units() {
            match self.header(tail.pos) {
                Header::Message { units, .. } | Header::Pad { units } => {
                    tail.pos = tail.pos.wrapping_add(units);
                }
                Header::Indirect => tail.pos = tail.pos.wrapping_add(INDIRECT_UNITS),
                Header::Empty => return Ok((tail, false)),
                Header::Closed => return Ok((tail, true)),
                Header::Corrupt => return Err(Corrupt("a record behind the tail is not one")),
            }
        }
        Err(Corrupt("the records behind the tail fill more than the ring"))
    }

    /// How many messages there are from the head to the mark that ends the queue, found by going
    /// through them.
    pub(crate) fn count_left(&self) -> Result<u32, Corrupt> {
        let mut at = Cursor::from_word(self.head.load(Ordering::Acquire)).pos;
        for count in 0..=self.words.units() {
            match self.front_at(at)? {
                Front::Message { next, .. } => at = next,
                Front::Indirect { position } => at = position.wrapping_add(INDIRECT_UNITS),
                Front::Empty | Front::Closed => return Ok(count),
            }
        }
        Err(Corrupt("the records behind the head fill more than the ring"))
    }
}
