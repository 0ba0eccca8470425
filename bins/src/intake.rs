//! Items out of a queue: the single role where the queue asks for it, leases where it lends its items,
//! waits that notice a signal.
#![forbid(unsafe_code)]

use std::time::Duration;

use steadfast::{Batch, Consumer, GetError, JoinError, JoinableQueue, Lease, LeaseError};
use steadfast::{Queue, SegmentError};

use crate::any_queue::AnyQueue;

/// So many bytes of leased items are enough for one batch.
const ENOUGH: usize = 64 * 1024;

/// The way out of a queue.
pub enum Intake {
    /// One of many.
    Shared(Queue),
    /// The only one.
    Single(Consumer),
    /// One of many who acknowledge what they take.
    Leased(JoinableQueue),
}

/// Items that were taken, and their leases where they have any.
#[derive(Default)]
pub struct Taken {
    batch: Batch,
    leases: Vec<(Lease, Vec<u8>)>,
}

impl Taken {
    /// How many items.
    pub fn len(&self) -> usize {
        self.batch.len() + self.leases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.batch.iter().chain(self.leases.iter().map(|(_, item)| &item[..]))
    }

    /// Declares everything done. What has no lease is done already.
    pub fn acknowledge(&mut self) -> Result<(), LeaseError> {
        self.leases.drain(..).try_for_each(|(lease, _)| lease.ack())
    }
}

impl Intake {
    /// The way out of `queue`: its single consumer's where it was made so.
    pub fn new(queue: &AnyQueue) -> Result<Intake, SegmentError> {
        Ok(match queue {
            AnyQueue::Joinable(queue) => Intake::Leased(queue.clone()),
            AnyQueue::Plain(queue) if queue.is_single_consumer() => {
                Intake::Single(queue.consumer()?)
            }
            AnyQueue::Plain(queue) => Intake::Shared(queue.clone()),
        })
    }

    /// Whether items are to be acknowledged.
    pub fn is_leased(&self) -> bool {
        matches!(self, Intake::Leased(_))
    }

    /// Whether an empty queue means that nothing is left to be done, for which this waits at most so long:
    /// what others hold may come back.
    pub fn nothing_left(&self, time: Duration) -> Result<bool, JoinError> {
        match self {
            Intake::Leased(queue) => nothing_left(queue, time),
            _ => Ok(true),
        }
    }

    /// Takes what is there, at most `max` items, without waiting. What `taken` had goes: back into the
    /// queue, if it was not acknowledged.
    pub fn try_take(&mut self, taken: &mut Taken, max: usize) -> Result<(), GetError> {
        taken.leases.clear();
        match self {
            Intake::Shared(queue) => queue.try_get_batch(&mut taken.batch, max),
            Intake::Single(consumer) => consumer.try_get_batch(&mut taken.batch, max),
            Intake::Leased(queue) => taken.lease(queue, max, queue.try_get()?),
        }
    }

    /// Waits so long for an item, then takes at most `max`.
    pub fn take(&mut self, taken: &mut Taken, max: usize, time: Duration) -> Result<(), GetError> {
        taken.leases.clear();
        match self {
            Intake::Shared(queue) => queue.get_batch_timeout(&mut taken.batch, max, time),
            Intake::Single(consumer) => consumer.get_batch_timeout(&mut taken.batch, max, time),
            Intake::Leased(queue) => taken.lease(queue, max, queue.get_timeout(time)?),
        }
    }
}

impl Taken {
    /// Keeps a lease, and takes more of what is there.
    fn lease(&mut self, queue: &JoinableQueue, max: usize, first: Lease) -> Result<(), GetError> {
        let mut bytes = first.len();
        let item = first.value()?;
        self.leases.push((first, item));
        while self.leases.len() < max && bytes < ENOUGH {
            // An error is met again by the next look.
            let Ok(lease) = queue.try_get() else { break };
            bytes += lease.len();
            let item = lease.value()?;
            self.leases.push((lease, item));
        }
        Ok(())
    }
}

/// Whether everything in the queue is done, for which this waits at most so long.
pub fn nothing_left(queue: &JoinableQueue, time: Duration) -> Result<bool, JoinError> {
    match queue.join_timeout(time) {
        Ok(()) => Ok(true),
        Err(JoinError::TimedOut) => Ok(false),
        Err(error) => Err(error),
    }
}
