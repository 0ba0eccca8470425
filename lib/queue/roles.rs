//! `Producer` and `Consumer`: a side that only one process has, and that therefore takes no lock.
//!
//! The role is a file lock that the kernel frees when its holder ends; within a process the segment's
//! registry refuses a second holder. `&mut self` keeps the threads of one process apart.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::message::Message;
use crate::os::clock::Deadline;
use crate::segment::{Role, RoleClaim, Segment, SegmentError};

use super::batch::{borrow_all, decode_all, encode_all};
use super::handle::{timed_out_get, timed_out_put};
use super::object::Shared;
use super::{Batch, GetError, PutError, View, WriteGuard};

/// The single producer of a queue made with [`crate::QueueOptions::single_producer`].
///
/// Killed inside a put: the message (or the whole batch) is in the queue, or nothing of it, and the
/// role is free for the next producer.
pub struct Producer<T: Message + ?Sized = [u8]> {
    pub(super) shared: Arc<Shared>,
    _role: RoleClaim,
    kind: PhantomData<fn(&T)>,
}

/// The single consumer of a queue made with [`crate::QueueOptions::single_consumer`].
///
/// Killed inside a get: the message was taken and is lost, or is still in the queue; the role is free
/// for the next consumer.
pub struct Consumer<T: Message + ?Sized = [u8]> {
    pub(super) shared: Arc<Shared>,
    _role: RoleClaim,
    kind: PhantomData<fn() -> T::Owned>,
}

/// There is no single role on a side that was not declared single.
fn not_declared(segment: &Segment, what: &'static str) -> SegmentError {
    SegmentError::InvalidArgument { name: segment.name().to_owned(), what }
}

impl<T: Message + ?Sized> Producer<T> {
    pub(super) fn claim(shared: Arc<Shared>) -> Result<Producer<T>, SegmentError> {
        if !shared.single_producer {
            return Err(not_declared(
                &shared.segment,
                "the queue was not made for a single producer",
            ));
        }
        let role = shared.segment.claim_role(Role::Producer)?;
        // What the last producer committed, but died before counting.
        if let Err(corrupt) = shared.ring().roll_tail() {
            shared.poison();
            let name = shared.segment.name().to_owned();
            return Err(SegmentError::Corrupt { name, what: corrupt.0 });
        }
        Ok(Producer { shared, _role: role, kind: PhantomData })
    }

    /// The caller has the handle to itself.
    pub(super) fn put_as_owner(&self, item: &T, deadline: Deadline) -> Result<(), PutError> {
        if T::IS_BYTES {
            return self.shared.put_one_alone(item.bytes(), deadline);
        }
        item.encoded(|bytes| self.shared.put_one_alone(bytes, deadline))
            .map_err(PutError::Serialize)?
    }

    /// As [`crate::Queue::put`].
    ///
    /// # Errors
    /// As [`crate::Queue::put`].
    pub fn put(&mut self, item: &T) -> Result<(), PutError> {
        self.put_as_owner(item, Deadline::Never)
    }

    /// As [`crate::Queue::try_put`].
    ///
    /// # Errors
    /// As [`crate::Queue::try_put`].
    pub fn try_put(&mut self, item: &T) -> Result<(), PutError> {
        self.put_as_owner(item, Deadline::Now)
    }

    /// As [`crate::Queue::put_timeout`].
    ///
    /// # Errors
    /// As [`crate::Queue::put_timeout`].
    pub fn put_timeout(&mut self, item: &T, timeout: Duration) -> Result<(), PutError> {
        self.put_as_owner(item, Deadline::after(timeout)).map_err(timed_out_put)
    }

    fn put_many_until<B: Borrow<T>>(
        &mut self,
        items: &[B],
        deadline: Deadline,
    ) -> Result<(), PutError> {
        if T::IS_BYTES {
            return self.shared.put_batch_alone(borrow_all(items).iter().copied(), deadline);
        }
        self.shared.put_batch_alone(encode_all(items)?.iter(), deadline)
    }

    /// As [`crate::Queue::put_many`].
    ///
    /// # Errors
    /// As [`crate::Queue::put_many`].
    pub fn put_many<B: Borrow<T>>(&mut self, items: &[B]) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::Never)
    }

    /// As [`crate::Queue::try_put_many`].
    ///
    /// # Errors
    /// As [`crate::Queue::try_put_many`].
    pub fn try_put_many<B: Borrow<T>>(&mut self, items: &[B]) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::Now)
    }

    /// As [`crate::Queue::put_many_timeout`].
    ///
    /// # Errors
    /// As [`crate::Queue::put_many_timeout`].
    pub fn put_many_timeout<B: Borrow<T>>(
        &mut self,
        items: &[B],
        timeout: Duration,
    ) -> Result<(), PutError> {
        self.put_many_until(items, Deadline::after(timeout)).map_err(timed_out_put)
    }
}

impl Producer<[u8]> {
    /// Room for a message of `len` bytes inside the queue, to be written in place; waits for it for as
    /// long as it takes. Nothing is in the queue before [`WriteGuard::commit`]; a guard that is dropped
    /// or forgotten leaves no trace.
    ///
    /// # Errors
    /// As [`crate::Queue::put`].
    pub fn reserve(&mut self, len: usize) -> Result<WriteGuard<'_>, PutError> {
        WriteGuard::reserve_alone(&self.shared, len, Deadline::Never)
    }

    /// [`Producer::reserve`] if there is room.
    ///
    /// # Errors
    /// As [`crate::Queue::try_put`].
    pub fn try_reserve(&mut self, len: usize) -> Result<WriteGuard<'_>, PutError> {
        WriteGuard::reserve_alone(&self.shared, len, Deadline::Now)
    }

    /// [`Producer::reserve`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`crate::Queue::put_timeout`].
    pub fn reserve_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<WriteGuard<'_>, PutError> {
        WriteGuard::reserve_alone(&self.shared, len, Deadline::after(timeout))
            .map_err(timed_out_put)
    }
}

impl<T: Message + ?Sized> Consumer<T> {
    pub(super) fn claim(shared: Arc<Shared>) -> Result<Consumer<T>, SegmentError> {
        if !shared.single_consumer {
            return Err(not_declared(
                &shared.segment,
                "the queue was not made for a single consumer",
            ));
        }
        let role = shared.segment.claim_role(Role::Consumer)?;
        Ok(Consumer { shared, _role: role, kind: PhantomData })
    }

    /// The caller has the handle to itself.
    pub(super) fn get_as_owner(&self, deadline: Deadline) -> Result<T::Owned, GetError> {
        T::decoded(|bytes| self.shared.take_one_alone(bytes, deadline))?
            .map_err(GetError::Deserialize)
    }

    /// As [`crate::Queue::get`].
    ///
    /// # Errors
    /// As [`crate::Queue::get`].
    pub fn get(&mut self) -> Result<T::Owned, GetError> {
        self.get_as_owner(Deadline::Never)
    }

    /// As [`crate::Queue::try_get`].
    ///
    /// # Errors
    /// As [`crate::Queue::try_get`].
    pub fn try_get(&mut self) -> Result<T::Owned, GetError> {
        self.get_as_owner(Deadline::Now)
    }

    /// As [`crate::Queue::get_timeout`].
    ///
    /// # Errors
    /// As [`crate::Queue::get_timeout`].
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T::Owned, GetError> {
        self.get_as_owner(Deadline::after(timeout)).map_err(timed_out_get)
    }

    fn get_many_until(
        &mut self,
        max: usize,
        deadline: Deadline,
    ) -> Result<Vec<T::Owned>, GetError> {
        let mut batch = Batch::new();
        self.shared.take_batch_alone(&mut batch, max, deadline)?;
        decode_all::<T>(&batch)
    }

    /// As [`crate::Queue::get_many`].
    ///
    /// # Errors
    /// As [`crate::Queue::get_many`].
    pub fn get_many(&mut self, max: usize) -> Result<Vec<T::Owned>, GetError> {
        self.get_many_until(max, Deadline::Never)
    }

    /// As [`crate::Queue::try_get_many`].
    ///
    /// # Errors
    /// As [`crate::Queue::try_get_many`].
    pub fn try_get_many(&mut self, max: usize) -> Result<Vec<T::Owned>, GetError> {
        self.get_many_until(max, Deadline::Now)
    }

    /// As [`crate::Queue::get_many_timeout`].
    ///
    /// # Errors
    /// As [`crate::Queue::get_many_timeout`].
    pub fn get_many_timeout(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<Vec<T::Owned>, GetError> {
        self.get_many_until(max, Deadline::after(timeout)).map_err(timed_out_get)
    }
}

impl Consumer<[u8]> {
    /// As [`crate::Queue::get_into`].
    ///
    /// # Errors
    /// As [`crate::Queue::get`].
    pub fn get_into(&mut self, bytes: &mut Vec<u8>) -> Result<(), GetError> {
        bytes.clear();
        self.shared.take_one_alone(bytes, Deadline::Never)
    }

    /// As [`crate::Queue::try_get_into`].
    ///
    /// # Errors
    /// As [`crate::Queue::try_get`].
    pub fn try_get_into(&mut self, bytes: &mut Vec<u8>) -> Result<(), GetError> {
        bytes.clear();
        self.shared.take_one_alone(bytes, Deadline::Now)
    }

    /// As [`crate::Queue::get_into_timeout`].
    ///
    /// # Errors
    /// As [`crate::Queue::get_timeout`].
    pub fn get_into_timeout(
        &mut self,
        bytes: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<(), GetError> {
        bytes.clear();
        self.shared.take_one_alone(bytes, Deadline::after(timeout)).map_err(timed_out_get)
    }

    /// As [`crate::Queue::get_batch`].
    ///
    /// # Errors
    /// As [`crate::Queue::get`].
    pub fn get_batch(&mut self, batch: &mut Batch, max: usize) -> Result<(), GetError> {
        batch.clear();
        self.shared.take_batch_alone(batch, max, Deadline::Never)
    }

    /// As [`crate::Queue::try_get_batch`].
    ///
    /// # Errors
    /// As [`crate::Queue::try_get`].
    pub fn try_get_batch(&mut self, batch: &mut Batch, max: usize) -> Result<(), GetError> {
        batch.clear();
        self.shared.take_batch_alone(batch, max, Deadline::Now)
    }

    /// As [`crate::Queue::get_batch_timeout`].
    ///
    /// # Errors
    /// As [`crate::Queue::get_timeout`].
    pub fn get_batch_timeout(
        &mut self,
        batch: &mut Batch,
        max: usize,
        timeout: Duration,
    ) -> Result<(), GetError> {
        batch.clear();
        self.shared.take_batch_alone(batch, max, Deadline::after(timeout)).map_err(timed_out_get)
    }

    /// Looks at the oldest message where it lies; waits for one for as long as it takes. It stays in
    /// the queue until [`View::release`].
    ///
    /// # Errors
    /// As [`crate::Queue::get`].
    pub fn peek(&mut self) -> Result<View<'_>, GetError> {
        View::peek(self, Deadline::Never)
    }

    /// [`Consumer::peek`] if there is a message.
    ///
    /// # Errors
    /// As [`crate::Queue::try_get`].
    pub fn try_peek(&mut self) -> Result<View<'_>, GetError> {
        View::peek(self, Deadline::Now)
    }

    /// [`Consumer::peek`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`crate::Queue::get_timeout`].
    pub fn peek_timeout(&mut self, timeout: Duration) -> Result<View<'_>, GetError> {
        View::peek(self, Deadline::after(timeout)).map_err(timed_out_get)
    }
}

impl<T: Message + ?Sized> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Producer").field(&self.shared.segment.name()).finish()
    }
}

impl<T: Message + ?Sized> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Consumer").field(&self.shared.segment.name()).finish()
    }
}
