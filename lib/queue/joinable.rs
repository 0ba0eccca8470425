//! `JoinableQueue`: a queue for work, whose messages are acknowledged.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::message::Message;
use crate::os::clock::Deadline;
use crate::segment::{Kind, Segment, SegmentError};

use super::batch::{borrow_all, encode_all};
use super::handle::{timed_out_get, timed_out_put};
use super::lease::{self, Holding};
use super::object::{Shared, state};
use super::{
    DeadLetter, GetError, JoinError, Lease, LeaseError, NotClosed, PutError, QueueOptions,
    Shutdown, WriteGuard,
};

/// A bounded queue in a named segment for work that must be done: a message stays in it until a consumer
/// has acknowledged it, and comes back if that consumer dies before.
///
/// A get gives a [`Lease`]. Messages of any length, from nothing to the queue's capacity, lie in one store;
/// a lease keeps only the space of its own message, for however long it is held.
///
/// # When a process dies
/// * `put` returned `Ok`: the message is in the queue. Killed inside: it is, or it is not; a batch of
///   [`JoinableQueue::put_many`] as a whole.
/// * A message is handed out *at least* once. [`Lease::attempt`] tells a repeat. It never has two living
///   holders.
/// * What a dead consumer held comes back, first in line, at the latest when anybody waits for a message,
///   joins, attaches or has got a thousand messages; then within 100 ms of its death.
/// * A process that is stopped is not dead, and keeps its leases.
///
/// # Order
/// What came back first, oldest first; then in the order in which the puts committed.
///
/// ```
/// use steadfast::{JoinableQueue, QueueOptions};
///
/// # let name = format!("doc-joinable-{}", std::process::id());
/// let queue: JoinableQueue = JoinableQueue::create(&name, &QueueOptions::new())?;
/// queue.put(b"some work")?;
///
/// // in another process:
/// let lease = queue.get()?;
/// assert_eq!(lease.value()?, b"some work");
/// lease.ack()?;
///
/// queue.join()?; // returns as everything was acknowledged
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinableQueue<T: Message + ?Sized = [u8]> {
    pub(super) shared: Arc<Shared>,
    closed: bool,
    kind: PhantomData<fn(&T) -> T::Owned>,
}

impl<T: Message + ?Sized> JoinableQueue<T> {
    pub(super) fn over(shared: Shared) -> JoinableQueue<T> {
        JoinableQueue { shared: Arc::new(shared), closed: false, kind: PhantomData }
    }

    /// Makes a new, empty queue. [`QueueOptions::capacity`] is what all messages together may take, each
    /// with 48 bytes more and rounded up to 64 (of a capacity above 64 MiB: to a millionth of it).
    ///
    /// Killed inside: the queue is there whole, or not at all.
    ///
    /// # Errors
    /// As [`Segment::create`]; `InvalidArgument` for single roles, which a joinable queue has not.
    pub fn create(name: &str, options: &QueueOptions) -> Result<JoinableQueue<T>, SegmentError> {
        check(name, options)?;
        Shared::create(name, Kind::JoinableQueue, options).map(JoinableQueue::over)
    }

    /// Opens a queue that another program made.
    ///
    /// # Errors
    /// As [`Segment::open`]: there is none, it is no joinable queue, of another version, or corrupt.
    pub fn open(name: &str) -> Result<JoinableQueue<T>, SegmentError> {
        Shared::open(name, Kind::JoinableQueue).map(JoinableQueue::over)
    }

    /// Opens the queue, or makes it if there is none; `options` are for a new one only.
    ///
    /// # Errors
    /// As [`JoinableQueue::open`] and [`JoinableQueue::create`].
    pub fn open_or_create(
        name: &str,
        options: &QueueOptions,
    ) -> Result<JoinableQueue<T>, SegmentError> {
        check(name, options)?;
        Shared::open_or_create(name, Kind::JoinableQueue, options).map(JoinableQueue::over)
    }

    fn put_until(&self, item: &T, deadline: Deadline) -> Result<(), PutError> {
        if self.closed {
            return Err(PutError::HandleClosed);
        }
        if T::IS_BYTES {
            return self.shared.put_stored::<false>(item.bytes(), deadline);
        }
        let put = |bytes: &[u8]| self.shared.put_stored::<false>(bytes, deadline);
        item.encoded(put).map_err(PutError::Serialize)?
    }

    /// Puts a message; waits for room for as long as it takes.
    ///
    /// # Errors
    /// Any [`PutError`] but `Full` and `TimedOut`. The queue is then as it was.
    pub fn put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::Never)
    }

    /// Puts a message if there is room.
    ///
    /// # Errors
    /// [`PutError::Full`]; otherwise as [`JoinableQueue::put`].
    pub fn try_put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::Now)
    }

    /// [`JoinableQueue::try_put`] under the name that Python's `multiprocessing` gives it.
    ///
    /// # Errors
    /// As [`JoinableQueue::try_put`].
    pub fn put_nowait(&self, item: &T) -> Result<(), PutError> {
        self.try_put(item)
    }

    /// Puts a message; waits for room for at most `timeout`. Zero does not wait.
    ///
    /// # Errors
    /// [`PutError::TimedOut`]; otherwise as [`JoinableQueue::put`].
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), PutError> {
        self.put_until(item, Deadline::after(timeout)).map_err(timed_out_put)
    }

    fn put_many_until<B: Borrow<T>>(
        &self,
        items: &[B],
        deadline: Deadline,
    ) -> Result<(), PutError> {
        if self.closed {
            return Err(PutError::HandleClosed);
        }
        if T::IS_BYTES {
            let items = borrow_all(items);
            return self.shared.put_batch_stored::<false>(items.iter().copied(), true, deadline);
        }
        self.shared.put_batch_stored::<false>(encode_all(items)?.iter(), true, deadline)
    }

    /// Puts all messages as one: they are in the queue together, one behind the other, or not at all.
    /// Waits until there is room for all of them.
    ///
    /// # Errors
    /// As [`JoinableQueue::put`]; [`PutError::TooLarge`] also if they can never fit together.
    pub fn put_many<B: Borrow<T>>(&self, items: &[B]) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::Never)
    }

    /// [`JoinableQueue::put_many`] if there is room for all.
    ///
    /// # Errors
    /// [`PutError::Full`]; otherwise as [`JoinableQueue::put_many`].
    pub fn try_put_many<B: Borrow<T>>(&self, items: &[B]) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::Now)
    }

    /// [`JoinableQueue::put_many`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TimedOut`]; otherwise as [`JoinableQueue::put_many`].
    pub fn put_many_timeout<B: Borrow<T>>(
        &self,
        items: &[B],
        timeout: Duration,
    ) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::after(timeout)).map_err(timed_out_put)
    }

    fn lease_until(&self, deadline: Deadline) -> Result<Holding, GetError> {
        if self.closed {
            return Err(GetError::HandleClosed);
        }
        let held = self.shared.claim_until(deadline)?;
        Ok(Holding::new(&self.shared, held))
    }

    /// Leases the first message; waits for one for as long as it takes.
    ///
    /// Killed inside: the message is in the queue, or comes back to it.
    ///
    /// # Errors
    /// Any [`GetError`] but `Empty`, `TimedOut` and `Deserialize`. `Closed`: the queue was shut down and
    /// has no message left; but what others still hold may come back.
    pub fn get(&self) -> Result<Lease<T>, GetError> {
        self.lease_until(Deadline::Never).map(Lease::new)
    }

    /// Leases the first message if there is one.
    ///
    /// # Errors
    /// [`GetError::Empty`]; otherwise as [`JoinableQueue::get`].
    pub fn try_get(&self) -> Result<Lease<T>, GetError> {
        self.lease_until(Deadline::Now).map(Lease::new)
    }

    /// [`JoinableQueue::try_get`] under the name that Python's `multiprocessing` gives it.
    ///
    /// # Errors
    /// As [`JoinableQueue::try_get`].
    pub fn get_nowait(&self) -> Result<Lease<T>, GetError> {
        self.try_get()
    }

    /// Leases the first message; waits for one for at most `timeout`. Zero does not wait.
    ///
    /// # Errors
    /// [`GetError::TimedOut`]; otherwise as [`JoinableQueue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Lease<T>, GetError> {
        self.lease_until(Deadline::after(timeout)).map(Lease::new).map_err(timed_out_get)
    }

    fn value_until(&self, deadline: Deadline) -> Result<T::Owned, GetError> {
        let holding = self.lease_until(deadline)?;
        let value = holding.value::<T>()?;
        lease::keep_by_value(holding);
        Ok(value)
    }

    /// Takes the first message by value, and keeps its lease for a later [`JoinableQueue::task_done`] of
    /// this thread; waits for one for as long as it takes. If the thread ends before, the message comes
    /// back.
    ///
    /// # Errors
    /// As [`JoinableQueue::get`]; [`GetError::Deserialize`] if its bytes are no value of this type: then
    /// it goes back.
    pub fn get_value(&self) -> Result<T::Owned, GetError> {
        self.value_until(Deadline::Never)
    }

    /// [`JoinableQueue::get_value`] if there is a message.
    ///
    /// # Errors
    /// [`GetError::Empty`]; otherwise as [`JoinableQueue::get_value`].
    pub fn try_get_value(&self) -> Result<T::Owned, GetError> {
        self.value_until(Deadline::Now)
    }

    /// [`JoinableQueue::get_value`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`]; otherwise as [`JoinableQueue::get_value`].
    pub fn get_value_timeout(&self, timeout: Duration) -> Result<T::Owned, GetError> {
        self.value_until(Deadline::after(timeout)).map_err(timed_out_get)
    }

    /// Acknowledges the oldest message that this thread took by value and has not acknowledged.
    ///
    /// # Errors
    /// [`LeaseError::TooMany`] if there is none; otherwise as [`Lease::ack`].
    pub fn task_done(&self) -> Result<(), LeaseError> {
        lease::task_done(&self.shared)
    }

    /// Waits until every message that was put is done: acknowledged, discarded or a dead letter. Returns
    /// at once if it is so. What the dead held goes back into the queue meanwhile.
    ///
    /// # Errors
    /// Any [`JoinError`] but `TimedOut`.
    pub fn join(&self) -> Result<(), JoinError> {
        self.shared.join(Deadline::Never)
    }

    /// [`JoinableQueue::join`], waiting for at most `timeout`. Zero does not wait.
    ///
    /// # Errors
    /// [`JoinError::TimedOut`]; otherwise as [`JoinableQueue::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
        self.shared.join(Deadline::after(timeout))
    }

    /// How many messages were put and are not done: those in the queue and those in somebody's hands. Goes
    /// through all of them, some nanoseconds each.
    ///
    /// # Errors
    /// As [`JoinableQueue::join`].
    pub fn unfinished(&self) -> Result<usize, JoinError> {
        let survey = self.shared.survey(Deadline::Never);
        let survey = survey.map_err(|failed| self.shared.join_error(failed))?;
        Ok(survey.unfinished as usize)
    }

    /// How many messages are in the queue, handed out to nobody; with those that are delayed.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn qsize(&self) -> Result<usize, SegmentError> {
        self.shared.segment.check()?;
        if self.shared.state() == state::NOW {
            return Ok(0);
        }
        let back = self.shared.returned().map_or(0, |returned| returned.count());
        Ok(self.shared.ring().len() as usize + back as usize)
    }

    /// Whether a get would find nothing now.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn is_empty(&self) -> Result<bool, SegmentError> {
        self.shared.segment.check()?;
        let back = self.shared.returned().is_some_and(|returned| returned.seems_ready());
        Ok(self.shared.state() == state::NOW || !(back || self.shared.has_message()))
    }

    /// Whether a put of the smallest message would have to wait. A hint where the store is nearly full: its
    /// counters may be behind, and room need not be in one piece.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn is_full(&self) -> Result<bool, SegmentError> {
        self.shared.segment.check()?;
        let store_is_full = self
            .shared
            .store()
            .is_some_and(|store| store.seems_full(self.shared.books(), self.shared.given_back()));
        Ok(store_is_full || self.shared.ring().is_full())
    }

    /// The limit of messages in the queue, those handed out or come back not counted; 0 = none.
    pub fn maxsize(&self) -> usize {
        self.shared.maxsize()
    }

    /// What all messages together may take, in bytes.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// The largest message, in bytes.
    pub fn max_len(&self) -> usize {
        self.shared.max_len
    }

    /// The dead letters, oldest first; they stay. Their bytes are as they were put.
    ///
    /// # Errors
    /// As [`JoinableQueue::join`].
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, JoinError> {
        self.shared.dead_letters().map_err(|failed| self.shared.join_error(failed))
    }

    /// Puts every dead letter back into the queue, as if it had never been handed out; tells how many.
    ///
    /// Killed inside: some are back, the others are still dead letters.
    ///
    /// # Errors
    /// As [`JoinableQueue::join`].
    pub fn redrive(&self) -> Result<usize, JoinError> {
        self.shared.redrive().map_err(|failed| self.shared.join_error(failed))
    }

    /// Removes every dead letter; tells how many.
    ///
    /// # Errors
    /// As [`JoinableQueue::join`].
    pub fn purge(&self) -> Result<usize, JoinError> {
        self.shared.purge().map_err(|failed| self.shared.join_error(failed))
    }

    /// Closes this handle: later puts and gets through it fail. Leases go on. Other handles and other
    /// processes are not touched. To end the queue for everybody, see [`JoinableQueue::shutdown`].
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// As [`crate::Queue::join_thread`]: there is no thread to wait for.
    ///
    /// # Errors
    /// [`NotClosed`] if [`JoinableQueue::close`] was not called first.
    pub fn join_thread(&self) -> Result<(), NotClosed> {
        if self.closed { Ok(()) } else { Err(NotClosed) }
    }

    /// As [`crate::Queue::cancel_join_thread`]: does nothing.
    pub fn cancel_join_thread(&self) {}

    /// Ends the queue for everybody, for good, and wakes all who wait. With [`Shutdown::Drain`] what is in
    /// it, and what comes back, can still be got; with [`Shutdown::Now`] it is discarded and counts as
    /// done, but leases can still be acknowledged. Gives the number of messages that this call discarded.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn shutdown(&self, how: Shutdown) -> Result<usize, SegmentError> {
        self.shared.shutdown(how)
    }

    /// Whether the queue was shut down, by anybody.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn is_shutdown(&self) -> Result<bool, SegmentError> {
        self.shared.segment.check()?;
        Ok(self.shared.state() != state::OPEN)
    }

    /// The segment the queue lives in.
    pub fn segment(&self) -> &Segment {
        &self.shared.segment
    }
}

impl JoinableQueue<[u8]> {
    /// Room for a message of `len` bytes, written where it will be read; waits for it for as long as it
    /// takes. See [`WriteGuard`].
    ///
    /// # Errors
    /// As [`JoinableQueue::put`].
    pub fn reserve(&self, len: usize) -> Result<WriteGuard<'_>, PutError> {
        self.reserve_until(len, Deadline::Never)
    }

    /// [`JoinableQueue::reserve`] if there is room.
    ///
    /// # Errors
    /// As [`JoinableQueue::try_put`].
    pub fn try_reserve(&self, len: usize) -> Result<WriteGuard<'_>, PutError> {
        self.reserve_until(len, Deadline::Now)
    }

    /// [`JoinableQueue::reserve`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`JoinableQueue::put_timeout`].
    pub fn reserve_timeout(
        &self,
        len: usize,
        timeout: Duration,
    ) -> Result<WriteGuard<'_>, PutError> {
        self.reserve_until(len, Deadline::after(timeout)).map_err(timed_out_put)
    }

    fn reserve_until(&self, len: usize, deadline: Deadline) -> Result<WriteGuard<'_>, PutError> {
        if self.closed {
            return Err(PutError::HandleClosed);
        }
        WriteGuard::reserve(&self.shared, len, deadline)
    }
}

/// A joinable queue has no single roles.
fn check(name: &str, options: &QueueOptions) -> Result<(), SegmentError> {
    if options.single_producer || options.single_consumer {
        let what = "a joinable queue has no single roles";
        return Err(SegmentError::InvalidArgument { name: name.to_owned(), what });
    }
    Ok(())
}

impl<T: Message + ?Sized> Clone for JoinableQueue<T> {
    /// Another handle of the same queue, closed if this one is.
    fn clone(&self) -> Self {
        JoinableQueue { shared: Arc::clone(&self.shared), closed: self.closed, kind: PhantomData }
    }
}

impl<T: Message + ?Sized> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("segment", &self.shared.segment.name())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
