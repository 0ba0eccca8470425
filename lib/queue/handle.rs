//! `Queue`: the handle with which any number of producers and consumers put and get.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::message::Message;
use crate::os::clock::Deadline;
use crate::segment::{Kind, Segment, SegmentError};

use super::batch::{borrow_all, decode_all, encode_all};
use super::object::{Shared, state};
use super::{Batch, Consumer, GetError, NotClosed, Producer, PutError, QueueOptions};

/// How [`Queue::shutdown`] ends a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// What is in the queue can still be got.
    Drain,
    /// What is in the queue is discarded.
    Now,
}

/// A bounded first-in-first-out queue in a named segment, for any number of processes.
///
/// `Queue` (that is `Queue<[u8]>`) carries bytes, `Queue<T>` any type that serde can write and read.
/// A handle can be shared between threads, and cloned.
///
/// # When a process dies
/// * `put` returned `Ok`: the message is in the queue, whatever dies next. A process killed inside a
///   put leaves the message (of [`Queue::put_many`]: the whole batch) in the queue, or nothing of it.
/// * Each message goes to at most one consumer. It is lost only if that consumer died after taking it.
/// * The others go on at once; one that slept may be late by a backstop of 100 ms, if the process that
///   was to wake it was killed just before.
/// * A process that is stopped is not dead: if it was stopped inside a put (get), the other producers
///   (consumers) wait until it goes on or is killed.
///
/// # Order
/// Messages leave in the order in which their puts committed.
///
/// ```
/// use steadfast::{Queue, QueueOptions};
///
/// # let name = format!("doc-queue-{}", std::process::id());
/// let queue = Queue::<(u32, String)>::create(&name, &QueueOptions::new())?;
/// queue.put(&(7, "seven".to_owned()))?;
///
/// // in another process:
/// let queue = Queue::<(u32, String)>::open(&name)?;
/// assert_eq!(queue.get()?, (7, "seven".to_owned()));
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<T: Message + ?Sized = [u8]> {
    pub(super) shared: Arc<Shared>,
    pub(super) closed: bool,
    kind: PhantomData<fn(&T) -> T::Owned>,
}

impl<T: Message + ?Sized> Queue<T> {
    pub(super) fn over(shared: Shared) -> Queue<T> {
        Queue { shared: Arc::new(shared), closed: false, kind: PhantomData }
    }

    /// Makes a new, empty queue.
    ///
    /// Killed inside: the queue is there whole, or not at all.
    ///
    /// # Errors
    /// As [`Segment::create`]: the name is taken or not allowed, or there is not enough shared memory.
    pub fn create(name: &str, options: &QueueOptions) -> Result<Queue<T>, SegmentError> {
        Shared::create(name, Kind::Queue, options).map(Queue::over)
    }

    /// Opens a queue that another program made.
    ///
    /// # Errors
    /// As [`Segment::open`]: there is none, it is no queue, of another version, or corrupt.
    pub fn open(name: &str) -> Result<Queue<T>, SegmentError> {
        Shared::open(name, Kind::Queue).map(Queue::over)
    }

    /// Opens the queue, or makes it if there is none; `options` are for a new one only.
    ///
    /// # Errors
    /// As [`Queue::open`] and [`Queue::create`].
    pub fn open_or_create(name: &str, options: &QueueOptions) -> Result<Queue<T>, SegmentError> {
        Shared::open_or_create(name, Kind::Queue, options).map(Queue::over)
    }

    fn put_until(&self, item: &T, deadline: Deadline) -> Result<(), PutError> {
        if self.closed {
            return Err(PutError::HandleClosed);
        }
        if T::IS_BYTES {
            return self.shared.put_one(item.bytes(), deadline);
        }
        item.encoded(|bytes| self.shared.put_one(bytes, deadline)).map_err(PutError::Serialize)?
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
    /// [`PutError::Full`]; otherwise as [`Queue::put`].
    pub fn try_put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::Now)
    }

    /// [`Queue::try_put`] under the name that Python's `multiprocessing` gives it.
    ///
    /// # Errors
    /// As [`Queue::try_put`].
    pub fn put_nowait(&self, item: &T) -> Result<(), PutError> {
        self.try_put(item)
    }

    /// Puts a message; waits for room for at most `timeout`. Zero does not wait.
    ///
    /// # Errors
    /// [`PutError::TimedOut`]; otherwise as [`Queue::put`].
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
            return self.shared.put_batch(borrow_all(items).iter().copied(), deadline);
        }
        self.shared.put_batch(encode_all(items)?.iter(), deadline)
    }

    /// Puts all messages as one: they are in the queue together, one behind the other, or not at all.
    /// Waits until there is room for all of them.
    ///
    /// # Errors
    /// As [`Queue::put`]; [`PutError::TooLarge`] also if they can never fit together.
    pub fn put_many<B: Borrow<T>>(&self, items: &[B]) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::Never)
    }

    /// [`Queue::put_many`] if there is room for all.
    ///
    /// # Errors
    /// [`PutError::Full`]; otherwise as [`Queue::put_many`].
    pub fn try_put_many<B: Borrow<T>>(&self, items: &[B]) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::Now)
    }

    /// [`Queue::put_many`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`PutError::TimedOut`]; otherwise as [`Queue::put_many`].
    pub fn put_many_timeout<B: Borrow<T>>(
        &self,
        items: &[B],
        timeout: Duration,
    ) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::after(timeout)).map_err(timed_out_put)
    }

    fn get_until(&self, deadline: Deadline) -> Result<T::Owned, GetError> {
        if self.closed {
            return Err(GetError::HandleClosed);
        }
        T::decoded(|bytes| self.shared.take_one(bytes, deadline))?.map_err(GetError::Deserialize)
    }

    /// Takes the oldest message; waits for one for as long as it takes.
    ///
    /// # Errors
    /// Any [`GetError`] but `Empty` and `TimedOut`. Only after `Deserialize` was a message taken.
    pub fn get(&self) -> Result<T::Owned, GetError> {
        self.get_until(Deadline::Never)
    }

    /// Takes the oldest message if there is one.
    ///
    /// # Errors
    /// [`GetError::Empty`]; otherwise as [`Queue::get`].
    pub fn try_get(&self) -> Result<T::Owned, GetError> {
        self.get_until(Deadline::Now)
    }

    /// [`Queue::try_get`] under the name that Python's `multiprocessing` gives it.
    ///
    /// # Errors
    /// As [`Queue::try_get`].
    pub fn get_nowait(&self) -> Result<T::Owned, GetError> {
        self.try_get()
    }

    /// Takes the oldest message; waits for one for at most `timeout`. Zero does not wait.
    ///
    /// # Errors
    /// [`GetError::TimedOut`]; otherwise as [`Queue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T::Owned, GetError> {
        self.get_until(Deadline::after(timeout)).map_err(timed_out_get)
    }

    fn get_many_until(&self, max: usize, deadline: Deadline) -> Result<Vec<T::Owned>, GetError> {
        if self.closed {
            return Err(GetError::HandleClosed);
        }
        let mut batch = Batch::new();
        self.shared.take_batch(&mut batch, max, deadline)?;
        decode_all::<T>(&batch)
    }

    /// Takes up to `max` messages as one (never more than 4096 at a time, and fewer if they are large);
    /// waits for the first for as long as it takes.
    ///
    /// # Errors
    /// As [`Queue::get`]; after `Deserialize` the whole batch was taken.
    pub fn get_many(&self, max: usize) -> Result<Vec<T::Owned>, GetError> {
        self.get_many_until(max, Deadline::Never)
    }

    /// Takes up to `max` messages as one, if there is any.
    ///
    /// # Errors
    /// [`GetError::Empty`]; otherwise as [`Queue::get_many`].
    pub fn try_get_many(&self, max: usize) -> Result<Vec<T::Owned>, GetError> {
        self.get_many_until(max, Deadline::Now)
    }

    /// Takes up to `max` messages as one; waits for the first for at most `timeout`.
    ///
    /// # Errors
    /// [`GetError::TimedOut`]; otherwise as [`Queue::get_many`].
    pub fn get_many_timeout(
        &self,
        max: usize,
        timeout: Duration,
    ) -> Result<Vec<T::Owned>, GetError> {
        self.get_many_until(max, Deadline::after(timeout)).map_err(timed_out_get)
    }

    /// How many messages are in the queue. Exact once every put and get under way has returned; right
    /// after a producer was killed it may lack that producer's last batch until the next put.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn qsize(&self) -> Result<usize, SegmentError> {
        self.shared.segment.check()?;
        Ok(if self.shared.state() == state::NOW { 0 } else { self.shared.ring().len() as usize })
    }

    /// Whether a get would find nothing. True to the last put that returned.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn is_empty(&self) -> Result<bool, SegmentError> {
        self.shared.segment.check()?;
        Ok(self.shared.state() == state::NOW || !self.shared.has_message())
    }

    /// Whether a put of the smallest message would have to wait.
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used.
    pub fn is_full(&self) -> Result<bool, SegmentError> {
        self.shared.segment.check()?;
        Ok(self.shared.ring().is_full())
    }

    /// The limit of messages; 0 = none.
    pub fn maxsize(&self) -> usize {
        self.shared.maxsize()
    }

    /// The ring's size in bytes, records' headers included.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// The largest message, in bytes.
    pub fn max_len(&self) -> usize {
        self.shared.max_len
    }

    /// Closes this handle: later puts and gets through it fail. Other handles, other processes and the
    /// messages are not touched. To end the queue for everybody, see [`Queue::shutdown`].
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Exists for those who come from Python's `multiprocessing`, where it waits for the feeder thread
    /// of a closed queue. There is no such thread here: a message is in the queue when its put
    /// returns, so this returns at once.
    ///
    /// # Errors
    /// [`NotClosed`] if [`Queue::close`] was not called first.
    pub fn join_thread(&self) -> Result<(), NotClosed> {
        if self.closed { Ok(()) } else { Err(NotClosed) }
    }

    /// Exists for those who come from Python's `multiprocessing`; does nothing, as there is no feeder
    /// thread.
    pub fn cancel_join_thread(&self) {}

    /// Ends the queue for everybody, for good, and wakes all who wait. With [`Shutdown::Drain`] what is
    /// in it can still be got, then gets fail with `Closed`; with [`Shutdown::Now`] it is discarded and
    /// gets fail at once. Gives the number of messages that this call discarded (with a single
    /// consumer in the middle of a get, its message may be counted too).
    ///
    /// Killed inside: the queue is as before, or shut down; but waiting processes may notice it one
    /// backstop (100 ms) late.
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

    /// Claims the role of the single producer, until the [`Producer`] is dropped or its process ends.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`] if somebody else has it, `InvalidArgument` if the queue was not made
    /// with [`QueueOptions::single_producer`].
    pub fn producer(&self) -> Result<Producer<T>, SegmentError> {
        Producer::claim(Arc::clone(&self.shared))
    }

    /// Claims the role of the single consumer, until the [`Consumer`] is dropped or its process ends.
    ///
    /// # Errors
    /// [`SegmentError::RoleTaken`] if somebody else has it, `InvalidArgument` if the queue was not made
    /// with [`QueueOptions::single_consumer`].
    pub fn consumer(&self) -> Result<Consumer<T>, SegmentError> {
        Consumer::claim(Arc::clone(&self.shared))
    }

    /// Whether the queue was made for a single producer.
    pub fn is_single_producer(&self) -> bool {
        self.shared.single_producer
    }

    /// Whether the queue was made for a single consumer.
    pub fn is_single_consumer(&self) -> bool {
        self.shared.single_consumer
    }

    /// The segment the queue lives in.
    pub fn segment(&self) -> &Segment {
        &self.shared.segment
    }
}

/// What a call with a time-out reports, also when the time-out was zero.
pub(super) fn timed_out_put(error: PutError) -> PutError {
    if matches!(error, PutError::Full) { PutError::TimedOut } else { error }
}

/// What a call with a time-out reports, also when the time-out was zero.
pub(super) fn timed_out_get(error: GetError) -> GetError {
    if matches!(error, GetError::Empty) { GetError::TimedOut } else { error }
}

impl<T: Message + ?Sized> Clone for Queue<T> {
    /// Another handle of the same queue, closed if this one is.
    fn clone(&self) -> Self {
        Queue { shared: Arc::clone(&self.shared), closed: self.closed, kind: PhantomData }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("segment", &self.shared.segment.name())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
