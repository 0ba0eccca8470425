//! Getting: the read side's lock or role, messages, and the wait for them.
//!
//! A consumer that finds nothing takes no lock: it looks at the record header at the head, which is
//! the very line that the producer writes. It polls first (see [`super::spin`]), then sleeps until a
//! producer calls, with a backstop, as for [`super::put`].
//!
//! A producer wakes as many sleepers as it put messages, and clears the mark for all of them. So
//! whoever takes a message, sees the mark set again by a sleeper that woke, and leaves messages behind,
//! calls the next one.

use std::time::Duration;

use crate::os::clock::{Deadline, monotonic};
use crate::primitive::futex::Waited;
use crate::sync::robust_lock::BACKSTOP;

use super::batch::Few;
use super::chunk;
use super::claim::Held;
use super::object::{Failed, Shared, state};
use super::ring::{Corrupt, Cursor, Front, Place, Pop};
use super::store::Store;
use super::{Batch, GetError};

impl Shared {
    /// Appends the oldest message to `bytes`, as one of many consumers.
    #[inline]
    pub(crate) fn take_one(&self, bytes: &mut Vec<u8>, deadline: Deadline) -> Result<(), GetError> {
        if self.single_consumer {
            return Err(GetError::SingleRole);
        }
        self.until_taken(bytes, deadline, |bytes| {
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
        self.until_taken(bytes, deadline, |bytes| {
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
        self.until_taken(&mut batch.up_to(max), deadline, |Few { batch, .. }| {
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
        self.until_taken(&mut batch.up_to(max), deadline, |Few { batch, .. }| {
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
            || self.pop_if_open::<false>(pop),
            |popped| self.call_others(popped),
        )?
    }

    /// One attempt as the single consumer.
    #[inline(always)]
    fn take_alone(&self, pop: impl FnOnce() -> Result<Pop, Corrupt>) -> Result<Pop, Failed> {
        if !self.segment.is_usable() {
            return Err(Failed::Unusable);
        }
        let popped = self.pop_if_open::<true>(pop);
        self.call_others(&popped);
        popped
    }

    #[inline(always)]
    fn pop_if_open<const SINGLE: bool>(
        &self,
        pop: impl FnOnce() -> Result<Pop, Corrupt>,
    ) -> Result<Pop, Failed> {
        match self.state() {
            state::OPEN | state::DRAIN => match pop()? {
                Pop::Indirect(place) => self.pop_named::<SINGLE>(place),
                popped => Ok(popped),
            },
            state::NOW => Ok(Pop::Closed),
            _ => Err(Failed::Corrupt("another participant found it corrupt")),
        }
    }

    /// Takes the message in the store that a record names; what it says is copied without the lock.
    #[cold]
    #[inline(never)]
    fn pop_named<const SINGLE: bool>(&self, place: Place) -> Result<Pop, Failed> {
        let store = self.store().ok_or(Corrupt("a record names a chunk, and there is no store"))?;
        self.claim_named::<SINGLE>(store, place)?;
        Ok(Pop::Indirect(place))
    }

    /// Copies the message out that was taken by [`Shared::pop_named`], and frees its chunk.
    #[cold]
    fn fetch(&self, place: Place, sink: &mut impl Sink) -> Result<(), Failed> {
        let store = self.store().ok_or(Corrupt("a record names a chunk, and there is no store"))?;
        let chunk = store.chunk(chunk::named(place.word))?;
        let len = store.len(chunk)?;
        store.append_to(chunk, len, sink.bytes());
        sink.end();
        self.acknowledge(store, Held { chunk, len, state: store.state(chunk) })
    }

    /// After a take: calls the producers that wait for room, and the next consumer if there is
    /// something left for it.
    #[inline]
    fn call_others(&self, popped: &Result<Pop, Failed>) {
        match popped {
            Ok(Pop::Taken(count)) => self.call_others_after(*count),
            Ok(Pop::Indirect(_)) => self.call_others_after(1),
            _ => {}
        }
    }

    /// The same after a take of so many messages.
    #[inline]
    pub(crate) fn call_others_after(&self, count: u32) {
        self.not_full().notify(count);
        if self.not_empty().has_sleepers() && self.seems_ready() {
            self.not_empty().notify(1);
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

    /// The same for a message in the store.
    pub(crate) fn release_named(&self, store: &Store, place: Place) -> Result<(), Failed> {
        let held = self.claim_named::<true>(store, place)?;
        self.call_others(&Ok(Pop::Taken(1)));
        self.acknowledge(store, held)
    }

    /// Whether there is a message: a look without owning the read side.
    pub(crate) fn has_message(&self) -> bool {
        !matches!(self.ring().glance(), Some(Front::Empty | Front::Closed))
    }

    /// Whether a get would find something, or the end: a look without owning the read side.
    #[inline]
    pub(crate) fn seems_ready(&self) -> bool {
        self.ring().hint().is_some()
            || self.returned().is_some_and(|returned| returned.seems_ready())
    }

    #[inline(always)]
    fn until_taken<S: Sink>(
        &self,
        sink: &mut S,
        deadline: Deadline,
        attempt: impl Fn(&mut S) -> Result<Pop, Failed>,
    ) -> Result<(), GetError> {
        let mut marked = false;
        loop {
            match self.ring().hint() {
                Some(len) => sink.make_room(len),
                None if self.state() == state::OPEN => {
                    self.wait_for_message(deadline)?;
                    continue;
                }
                None => sink.make_room(0),
            }
            match attempt(sink) {
                Ok(Pop::Taken(_)) => return Ok(()),
                Ok(Pop::Grow(len)) => sink.make_room(len),
                Ok(Pop::Indirect(place)) => {
                    return self.fetch(place, sink).map_err(|f| self.get_error(f, deadline));
                }
                Ok(Pop::Closed) => return Err(GetError::Closed),
                Ok(Pop::Empty) => self.found_nothing(deadline, &mut marked)?,
                Err(failed) => return Err(self.get_error(failed, deadline)),
            }
        }
    }

    /// There seemed to be a message, or the end, and there was none.
    #[cold]
    pub(crate) fn found_nothing(
        &self,
        deadline: Deadline,
        marked: &mut bool,
    ) -> Result<(), GetError> {
        if self.state() == state::DRAIN {
            return self.finish_close(deadline, marked);
        }
        // Another consumer was faster.
        if deadline.nap(BACKSTOP).is_none() {
            return Err(GetError::nothing(deadline));
        }
        self.wait_for_message(deadline)
    }

    /// Looks whether messages of the dead came back, if there is a store. `often`: the caller asks again
    /// and again, so not each time.
    fn look_for_lost(&self, often: bool, deadline: Deadline) -> Result<bool, GetError> {
        if self.store().is_none() {
            return Ok(false);
        }
        let found = match often {
            true => self.survey_now_and_then(),
            false => self.survey_for_sleeper(),
        };
        let found = found.map_err(|failed| self.get_error(failed, deadline))?;
        Ok(found && self.seems_ready())
    }

    /// How long to sleep at most: until the first delayed message is due.
    pub(crate) fn until_due(&self, at_most: Duration) -> Duration {
        match self.returned().map_or(0, |returned| returned.due()) {
            0 => at_most,
            due => at_most.min(Duration::from_nanos(due.saturating_sub(monotonic()).max(1))),
        }
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
            return match ready() || self.look_for_lost(true, deadline)? {
                true => Ok(()),
                false => Err(GetError::nothing(deadline)),
            };
        }
        if self.get_spin.until(ready) {
            return Ok(());
        }
        // How long to sleep before looking for the dead.
        let mut look_after = self.look_after();
        loop {
            let key = self.not_empty().prepare();
            if ready() {
                return Ok(());
            }
            if look_after.is_zero() {
                look_after = BACKSTOP;
                if self.look_for_lost(false, deadline)? {
                    return Ok(());
                }
            }
            let Some(nap) = deadline.nap(self.until_due(look_after)) else {
                return Err(GetError::nothing(deadline));
            };
            let waited = self.get_spin.sleeping(|| self.not_empty().wait(key, nap));
            if waited == Waited::TimedOut {
                look_after = Duration::ZERO;
            }
            self.segment.check()?;
        }
    }
}

/// Where messages go that are taken.
trait Sink {
    /// Sets room aside for a message of `len` bytes, or several.
    fn make_room(&mut self, len: usize);
    /// Where their bytes are appended.
    fn bytes(&mut self) -> &mut Vec<u8>;
    /// The message ends here.
    fn end(&mut self);
}

impl Sink for Vec<u8> {
    #[inline]
    fn make_room(&mut self, len: usize) {
        self.reserve(len);
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }

    fn end(&mut self) {}
}

impl Sink for Few<'_> {
    fn make_room(&mut self, len: usize) {
        self.batch.make_room(self.max, len);
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.batch.bytes
    }

    fn end(&mut self) {
        self.batch.ends.push(self.batch.bytes.len());
    }
}

/// A number of messages, as the ring counts them.
fn most(max: usize) -> u32 {
    u32::try_from(max).unwrap_or(u32::MAX)
}

impl GetError {
    /// There was nothing until the deadline.
    pub(crate) fn nothing(deadline: Deadline) -> GetError {
        if deadline == Deadline::Now { GetError::Empty } else { GetError::TimedOut }
    }
}
