//! Getting: the read side's lock or role, messages, and the wait for them.
//!
//! A consumer that finds nothing takes no lock: it looks at the record header at the head, which is
//! the very line that the producer writes. It polls first (see [`super::spin`]), then sleeps until a
//! producer calls, with a backstop, as for [`super::put`].
//!
//! A producer wakes as many sleepers as it put messages, and clears the mark for all of them. So
//! whoever takes a message, sees the mark set again by a sleeper that woke, and leaves messages behind,
//! calls the next one.

use crate::os::clock::Deadline;
use crate::sync::robust_lock::BACKSTOP;

use super::object::{NotLocked, Shared, state};
use super::ring::{Corrupt, Cursor, Front, Pop};
use super::{Batch, GetError};

/// Where messages go.
pub(crate) trait Sink {
    /// Sets aside room for at most `max` messages, the next of which has `len` bytes.
    fn make_room(&mut self, max: usize, len: usize);
    /// The buffers: bytes, and where each message ends.
    fn buffers(&mut self) -> (&mut Vec<u8>, Option<&mut Vec<usize>>);
}

impl Sink for Vec<u8> {
    #[inline]
    fn make_room(&mut self, _max: usize, len: usize) {
        self.reserve(len);
    }

    #[inline]
    fn buffers(&mut self) -> (&mut Vec<u8>, Option<&mut Vec<usize>>) {
        (self, None)
    }
}

impl Sink for Batch {
    fn make_room(&mut self, max: usize, len: usize) {
        Batch::make_room(self, max, len);
    }

    fn buffers(&mut self) -> (&mut Vec<u8>, Option<&mut Vec<usize>>) {
        (&mut self.bytes, Some(&mut self.ends))
    }
}

impl Shared {
    /// Takes up to `max` messages, at least one, as one of many consumers.
    #[inline]
    pub(crate) fn take(
        &self,
        sink: &mut impl Sink,
        max: usize,
        deadline: Deadline,
    ) -> Result<(), GetError> {
        if self.single_consumer {
            return Err(GetError::SingleRole);
        }
        self.take_with(sink, max, deadline, |shared, sink, max| {
            shared.take_locked(sink, max, deadline)
        })
    }

    /// Takes up to `max` messages, at least one; the caller holds the single consumer's role.
    #[inline]
    pub(crate) fn take_single(
        &self,
        sink: &mut impl Sink,
        max: usize,
        deadline: Deadline,
    ) -> Result<(), GetError> {
        self.take_with(sink, max, deadline, Shared::take_alone)
    }

    /// One attempt under the lock.
    #[inline]
    fn take_locked(
        &self,
        sink: &mut impl Sink,
        max: u32,
        deadline: Deadline,
    ) -> Result<Pop, GetError> {
        let (bytes, ends) = sink.buffers();
        let popped = self.locked(
            self.head_lock(),
            deadline,
            || match self.state() {
                state::OPEN | state::DRAIN => self.ring().pop::<false>(max, bytes, ends),
                state::NOW => Ok(Pop::Closed),
                _ => Err(Corrupt("another participant found it corrupt")),
            },
            |popped| self.call_others(popped),
        );
        match popped {
            Ok(popped) => popped.map_err(|Corrupt(what)| self.get_corrupt(what)),
            // Whoever holds the lock is stopped: nothing to be had, as far as this call can tell.
            Err(NotLocked::TimedOut) => Err(GetError::nothing(deadline)),
            Err(NotLocked::Segment(error)) => Err(error.into()),
        }
    }

    /// One attempt as the single consumer.
    #[inline]
    fn take_alone(&self, sink: &mut impl Sink, max: u32) -> Result<Pop, GetError> {
        self.segment.check()?;
        let (bytes, ends) = sink.buffers();
        let popped = match self.state() {
            state::OPEN | state::DRAIN => self.ring().pop::<true>(max, bytes, ends),
            state::NOW => Ok(Pop::Closed),
            _ => Err(Corrupt("another participant found it corrupt")),
        };
        self.call_others(&popped);
        popped.map_err(|Corrupt(what)| self.get_corrupt(what))
    }

    /// After a take: calls the producers that wait for room, and the next consumer if there is
    /// something left for it.
    #[inline]
    fn call_others(&self, popped: &Result<Pop, Corrupt>) {
        if let Ok(Pop::Taken(count)) = popped {
            self.not_full().notify(*count);
            if self.not_empty().has_sleepers() && self.seems_ready() {
                self.not_empty().notify(1);
            }
        }
    }

    /// Commits the take of one message that was read in place; the caller holds the single consumer's
    /// role, and `next` is where the next record begins.
    pub(crate) fn release_one(&self, next: u32) {
        let ring = self.ring();
        let head = Cursor::from_word(ring.head_word());
        ring.release::<true>(Cursor { pos: next, count: head.count.wrapping_add(1) });
        self.call_others(&Ok(Pop::Taken(1)));
    }

    /// Whether there is a message: a look without owning the read side.
    pub(crate) fn has_message(&self) -> bool {
        !matches!(self.ring().glance(), Some(Front::Empty | Front::Closed))
    }

    /// Whether a get would find something, or the end: a look without owning the read side.
    #[inline]
    pub(crate) fn seems_ready(&self) -> bool {
        self.ring().glance() != Some(Front::Empty)
    }

    #[inline]
    fn take_with<S: Sink>(
        &self,
        sink: &mut S,
        max: usize,
        deadline: Deadline,
        attempt: impl Fn(&Shared, &mut S, u32) -> Result<Pop, GetError>,
    ) -> Result<(), GetError> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        if max == 0 {
            return Ok(self.segment.check()?);
        }
        loop {
            let len = match self.ring().glance() {
                Some(Front::Message { len, .. }) => len,
                Some(Front::Empty) if self.state() == state::OPEN => {
                    self.wait_for_message(deadline)?;
                    continue;
                }
                _ => 0,
            };
            sink.make_room(max as usize, len);
            match attempt(self, sink, max)? {
                Pop::Taken(_) => return Ok(()),
                Pop::Closed => return Err(GetError::Closed),
                Pop::Grow(len) => sink.make_room(max as usize, len),
                Pop::Empty if self.state() == state::DRAIN => self.finish_close()?,
                // Another consumer was faster.
                Pop::Empty if deadline.nap(BACKSTOP).is_none() => {
                    return Err(GetError::nothing(deadline));
                }
                Pop::Empty => self.wait_for_message(deadline)?,
            }
        }
    }

    /// Waits until there seems to be a message, the queue is shut down, or the deadline has passed.
    #[cold]
    pub(crate) fn wait_for_message(&self, deadline: Deadline) -> Result<(), GetError> {
        self.segment.check()?;
        let ready = || self.seems_ready() || self.state() != state::OPEN;
        if deadline == Deadline::Now {
            return if ready() { Ok(()) } else { Err(GetError::nothing(deadline)) };
        }
        if self.get_spin.until(ready) {
            return Ok(());
        }
        loop {
            let key = self.not_empty().prepare();
            if ready() {
                return Ok(());
            }
            let Some(nap) = deadline.nap(BACKSTOP) else {
                return Err(GetError::nothing(deadline));
            };
            self.get_spin.sleeping(|| self.not_empty().wait(key, nap));
            self.segment.check()?;
        }
    }
}

impl GetError {
    /// There was nothing until the deadline.
    fn nothing(deadline: Deadline) -> GetError {
        if deadline == Deadline::Now { GetError::Empty } else { GetError::TimedOut }
    }
}
