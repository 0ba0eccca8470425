//! Items out of a queue: the single role where the queue asks for it, waits that notice a signal.
#![forbid(unsafe_code)]

use std::time::Duration;

use steadfast::{Batch, Consumer, GetError, Queue, SegmentError};

/// The way out of a queue.
pub enum Intake {
    /// One of many.
    Shared(Queue),
    /// The only one.
    Single(Consumer),
}

impl Intake {
    /// The way out of `queue`: its single consumer's where it was made so.
    pub fn new(queue: &Queue) -> Result<Intake, SegmentError> {
        Ok(if queue.is_single_consumer() {
            Intake::Single(queue.consumer()?)
        } else {
            Intake::Shared(queue.clone())
        })
    }

    /// Takes what is there, at most `max` items, without waiting.
    pub fn try_take(&mut self, batch: &mut Batch, max: usize) -> Result<(), GetError> {
        match self {
            Intake::Shared(queue) => queue.try_get_batch(batch, max),
            Intake::Single(consumer) => consumer.try_get_batch(batch, max),
        }
    }

    /// Waits so long for an item, then takes at most `max`.
    pub fn take(&mut self, batch: &mut Batch, max: usize, time: Duration) -> Result<(), GetError> {
        match self {
            Intake::Shared(queue) => queue.get_batch_timeout(batch, max, time),
            Intake::Single(consumer) => consumer.get_batch_timeout(batch, max, time),
        }
    }
}
