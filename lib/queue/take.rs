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

use super::object::{Failed, Shared, state};
use super::ring::{Corrupt, Cursor, Front, Pop};
use super::{Batch, GetError};

impl Shared {
    /// Appends the oldest message to `bytes`, as one of many consumers.
    #[inline]
    pub(crate) fn take_one(&self, bytes: &mut Vec<u8>, deadline: Deadline) -> Result<(), GetError> {
        if self.single_consumer {
            return Err(GetError::SingleRole);
        }
        self.until_taken(bytes, deadline, Vec::reserve, |bytes| {
            self.take_locked(deadline, || self.ring().pop_one::<false>(bytes))
        })
    }

    /// Appends the oldest message to `bytes`; the caller holds the single consumer's role.
    #[inline]
    pub(crate) fn take_one_alone(
        &self,
        bytes: &mut Vec<u8>,
        deadline: Deadline,
    ) -> Result<(), GetError> {
        self.until_taken(bytes, deadline, Vec::reserve, |bytes| {
            self.take_alone(|| self.ring().pop_one::<true>(bytes))
        })
    }

    /// Appends up to `max` messages to `batch`, at least one, as one of many consumers.
    pub(crate) fn take_batch(
        &self,
        batch: &mut Batch,
        max: usize,
        deadline: Deadline,
    ) -> Result<(), GetError> {
        if self.single_consumer {
            return Err(GetError::SingleRole);
        }
        if max == 0 {
            return Ok(self.segment.check()?);
        }
        let make_room = |batch: &mut Batch, len| batch.make_room(max, len);
        self.until_taken(batch, deadline, make_room, |batch| {
            let ends = Some(&mut batch.ends);
            self.take_locked(deadline, || {
                self.ring().pop::<false>(most(max), &mut batch.bytes, ends)
            })
        })
    }

    /// Appends up to `max` messages to `batch`, at least one; the caller holds the single consumer's
    /// role.
    pub(crate) fn take_batch_alone(
        &self,
        batch: &mut Batch,
        max: usize,
        deadline: Deadline,
    ) -> Result<(), GetError> {
        if max == 0 {
            return Ok(self.segment.check()?);
        }
        let make_room = |batch: &mut Batch, len| batch.make_room(max, len);
        self.until_taken(batch, deadline, make_room, |batch| {
            let ends = Some(&mut batch.ends);
            self.take_alone(|| self.ring().pop::<true>(most(max), &mut batch.bytes, ends))
        })
    }

    /// One attempt under the lock.
    #[inline(always)]
    fn take_locked(
        &self,
        deadline: Deadline,
        pop: impl FnOnce() -> Result<Pop, Corrupt>,
    ) -> Result<Pop, Failed> {
        self.locked(
            self.head_lock(),
            deadline,
            || self.pop_if_open(pop),
            |popped| self.call_others(popped),
        )?
    }

    /// One attempt as the single consumer.
    #[inline(always)]
    fn take_alone(&self, pop: impl FnOnce() -> Result<Pop, Corrupt>) -> Result<Pop, Failed> {
        if !self.segment.is_usable() {
            return Err(Failed::Unusable);
        }
        let popped = self.pop_if_open(pop);
        self.call_others(&popped);
        popped
    }

    #[inline(always)]
    fn pop_if_open(&self, pop: impl FnOnce() -> Result<Pop, Corrupt>) -> Result<Pop, Failed> {
        match self.state() {
            state::OPEN | state::DRAIN => Ok(pop()?),
            state::NOW => Ok(Pop::Closed),
            _ => Err(Failed::Corrupt("another participant found it corrupt")),
        }
    }

    /// After a take: calls the producers that wait for room, and the next consumer if there is
    /// something left for it.
    #[inline]
    fn call_others(&self, popped: &Result<Pop, Failed>) {
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
        self.ring().hint().is_some()
    }

    #[inline(always)]
    fn until_taken<S>(
        &self,
        sink: &mut S,
        deadline: Deadline,
        make_room: impl Fn(&mut S, usize),
        attempt: impl Fn(&mut S) -> Result<Pop, Failed>,
    ) -> Result<(), GetError> {
        let mut marked = false;
        loop {
            match self.ring().hint() {
                Some(len) => make_room(sink, len),
                None if self.state() == state::OPEN => {
                    self.wait_for_message(deadline)?;
                    continue;
                }
                None => make_room(sink, 0),
            }
            match attempt(sink) {
                Ok(Pop::Taken(_)) => return Ok(()),
                Ok(Pop::Grow(len)) => make_room(sink, len),
                Ok(Pop::Closed) => return Err(GetError::Closed),
                Ok(Pop::Empty) => self.found_nothing(deadline, &mut marked)?,
                Err(failed) => return Err(self.get_error(failed, deadline)),
            }
        }
    }

    /// There seemed to be a message, or the end, and there was none.
    #[cold]
    fn found_nothing(&self, deadline: Deadline, marked: &mut bool) -> Result<(), GetError> {
        if self.state() == state::DRAIN {
            return self.finish_close(deadline, marked);
        }
        // Another consumer was faster.
        if deadline.nap(BACKSTOP).is_none() {
            return Err(GetError::nothing(deadline));
        }
        self.wait_for_message(deadline)
    }

    /// The error of a get whose attempt failed. Bytes that no participant writes poison the queue.
    #[cold]
    pub(crate) fn get_error(&self, failed: Failed, deadline: Deadline) -> GetError {
        match failed {
            Failed::Corrupt(what) => {
                self.poison();
                GetError::Corrupt { name: self.segment.name().to_owned(), what }
            }
            // Whoever holds the lock is stopped: nothing to be had, as far as this call can tell.
            Failed::Stuck => GetError::nothing(deadline),
            Failed::Reentered | Failed::Unusable => GetError::Segment(self.segment_error(failed)),
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

/// A number of messages, as the ring counts them.
fn most(max: usize) -> u32 {
    u32::try_from(max).unwrap_or(u32::MAX)
}

impl GetError {
    /// There was nothing until the deadline.
    fn nothing(deadline: Deadline) -> GetError {
        if deadline == Deadline::Now { GetError::Empty } else { GetError::TimedOut }
    }
}
