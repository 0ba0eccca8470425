//! What a queue of bytes can do beside the rest: get into buffers that are used again, write in place.

use std::time::Duration;

use crate::os::clock::Deadline;

use super::handle::{timed_out_get, timed_out_put};
use super::{Batch, GetError, PutError, Queue, WriteGuard};

impl Queue<[u8]> {
    fn get_into_until(&self, bytes: &mut Vec<u8>, deadline: Deadline) -> Result<(), GetError> {
        if self.closed {
            return Err(GetError::HandleClosed);
        }
        bytes.clear();
        self.shared.take_one(bytes, deadline)
    }

    /// [`Queue::get`] into a buffer, whose old content goes and whose memory is used again.
    ///
    /// # Errors
    /// As [`Queue::get`].
    pub fn get_into(&self, bytes: &mut Vec<u8>) -> Result<(), GetError> {
        self.get_into_until(bytes, Deadline::Never)
    }

    /// [`Queue::get_into`] if there is a message.
    ///
    /// # Errors
    /// As [`Queue::try_get`].
    pub fn try_get_into(&self, bytes: &mut Vec<u8>) -> Result<(), GetError> {
        self.get_into_until(bytes, Deadline::Now)
    }

    /// [`Queue::get_into`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`Queue::get_timeout`].
    pub fn get_into_timeout(&self, bytes: &mut Vec<u8>, timeout: Duration) -> Result<(), GetError> {
        self.get_into_until(bytes, Deadline::after(timeout)).map_err(timed_out_get)
    }

    /// Room for a message of `len` bytes, to be written in place; waits for it for as long as it takes. See
    /// [`WriteGuard`]. Messages up to the limit of the ring (see [`crate::QueueOptions::large_messages`]) are
    /// written to private memory, and copied at the commit; larger ones where they will be read.
    ///
    /// # Errors
    /// As [`Queue::put`].
    pub fn reserve(&self, len: usize) -> Result<WriteGuard<'_>, PutError> {
        self.reserve_until(len, Deadline::Never)
    }

    /// [`Queue::reserve`] if there is room.
    ///
    /// # Errors
    /// As [`Queue::try_put`].
    pub fn try_reserve(&self, len: usize) -> Result<WriteGuard<'_>, PutError> {
        self.reserve_until(len, Deadline::Now)
    }

    /// [`Queue::reserve`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`Queue::put_timeout`].
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
        if len > self.shared.max_len {
            return Err(PutError::TooLarge { len, max: self.shared.max_len });
        }
        WriteGuard::reserve(&self.shared, len, deadline)
    }

    fn get_batch_until(
        &self,
        batch: &mut Batch,
        max: usize,
        deadline: Deadline,
    ) -> Result<(), GetError> {
        if self.closed {
            return Err(GetError::HandleClosed);
        }
        batch.clear();
        self.shared.take_batch(batch, max, deadline)
    }

    /// [`Queue::get_many`] into buffers that are used again.
    ///
    /// # Errors
    /// As [`Queue::get`].
    pub fn get_batch(&self, batch: &mut Batch, max: usize) -> Result<(), GetError> {
        self.get_batch_until(batch, max, Deadline::Never)
    }

    /// [`Queue::get_batch`] if there is a message.
    ///
    /// # Errors
    /// As [`Queue::try_get`].
    pub fn try_get_batch(&self, batch: &mut Batch, max: usize) -> Result<(), GetError> {
        self.get_batch_until(batch, max, Deadline::Now)
    }

    /// [`Queue::get_batch`], waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`Queue::get_timeout`].
    pub fn get_batch_timeout(
        &self,
        batch: &mut Batch,
        max: usize,
        timeout: Duration,
    ) -> Result<(), GetError> {
        self.get_batch_until(batch, max, Deadline::after(timeout)).map_err(timed_out_get)
    }
}
