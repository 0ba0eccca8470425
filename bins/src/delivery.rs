//! Items into a queue: the single role where the queue asks for it, waits that notice a signal,
//! batches that help and never delay.
#![forbid(unsafe_code)]

use std::time::Duration;

use steadfast::{JoinableQueue, Producer, PutError, Queue, SegmentError};

use crate::any_queue::AnyQueue;
use crate::signals::{Deadline, SLICE, Stop};

/// How items are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// What is there goes in together, at most so many; a batch that has to wait long goes one by
    /// one instead.
    Automatic(usize),
    /// What is there goes in together, at most so many, each batch whole or not at all.
    Fixed(usize),
}

impl Batching {
    /// Automatic batches for this queue: at most a quarter of it, so that nobody waits for a whole
    /// queue to run empty.
    pub fn automatic(queue: &AnyQueue) -> Batching {
        match queue.maxsize() {
            0 => Batching::Automatic(256),
            maxsize => Batching::Automatic((maxsize / 4).clamp(1, 256)),
        }
    }

    /// The largest batch.
    pub fn size(self) -> usize {
        match self {
            Batching::Automatic(size) | Batching::Fixed(size) => size,
        }
    }
}

/// Why not everything was put.
#[derive(Debug)]
pub enum Halt {
    /// A signal came while the queue was full.
    Interrupted,
    /// The queue said no.
    Refused(PutError),
}

/// The way into a queue.
pub struct Delivery {
    side: Side,
    /// How long one wait may take.
    patience: Option<Duration>,
    batching: Batching,
    stop: Stop,
}

enum Side {
    Shared(Queue),
    Single(Producer),
    Joinable(JoinableQueue),
}

impl Delivery {
    /// The way into `queue`: its single producer's where it was made so.
    pub fn new(
        queue: &AnyQueue,
        patience: Option<Duration>,
        batching: Batching,
        stop: Stop,
    ) -> Result<Delivery, SegmentError> {
        let side = match queue {
            AnyQueue::Joinable(queue) => Side::Joinable(queue.clone()),
            AnyQueue::Plain(queue) if queue.is_single_producer() => Side::Single(queue.producer()?),
            AnyQueue::Plain(queue) => Side::Shared(queue.clone()),
        };
        Ok(Delivery { side, patience, batching, stop })
    }

    /// Puts all items, in order. Gives how many went in, also when not all did.
    pub fn put(&mut self, items: &[&[u8]]) -> (usize, Result<(), Halt>) {
        match self.batching {
            Batching::Fixed(size) => {
                let mut done = 0;
                for batch in items.chunks(size.max(1)) {
                    let deadline = Deadline::after(self.patience);
                    if let Err(halt) = self.put_waiting(batch, deadline) {
                        return (done, Err(halt));
                    }
                    done += batch.len();
                }
                (done, Ok(()))
            }
            Batching::Automatic(_) => self.put_as_fits(items),
        }
    }

    /// Together if that is soon possible, else one by one.
    fn put_as_fits(&mut self, items: &[&[u8]]) -> (usize, Result<(), Halt>) {
        let mut deadline = Deadline::after(self.patience);
        if items.len() > 1 {
            match self.side.put(items, deadline.slice()) {
                Ok(()) => return (items.len(), Ok(())),
                // A batch may be too large where its items are not.
                Err(PutError::TimedOut | PutError::Full | PutError::TooLarge { .. }) => {}
                Err(error) => return (0, Err(Halt::Refused(error))),
            }
        }
        for (done, item) in items.iter().enumerate() {
            if let Err(halt) = self.put_waiting(&[item], deadline) {
                return (done, Err(halt));
            }
            deadline = Deadline::after(self.patience);
        }
        (items.len(), Ok(()))
    }

    /// Puts a batch, waiting in slices.
    fn put_waiting(&mut self, batch: &[&[u8]], deadline: Deadline) -> Result<(), Halt> {
        loop {
            match self.side.put(batch, deadline.slice()) {
                Ok(()) => return Ok(()),
                Err(PutError::TimedOut | PutError::Full) if !deadline.passed() => {
                    if self.stop.requested() {
                        return Err(Halt::Interrupted);
                    }
                }
                Err(error) => return Err(Halt::Refused(error)),
            }
        }
    }
}

impl Side {
    /// One attempt, which may take so long. No time at all is the form that never waits.
    fn put(&mut self, batch: &[&[u8]], time: Duration) -> Result<(), PutError> {
        debug_assert!(time <= SLICE);
        match (self, batch, time.is_zero()) {
            (Side::Shared(queue), [item], true) => queue.try_put(item),
            (Side::Shared(queue), [item], false) => queue.put_timeout(item, time),
            (Side::Shared(queue), _, true) => queue.try_put_many(batch),
            (Side::Shared(queue), _, false) => queue.put_many_timeout(batch, time),
            (Side::Joinable(queue), [item], true) => queue.try_put(item),
            (Side::Joinable(queue), [item], false) => queue.put_timeout(item, time),
            (Side::Joinable(queue), _, true) => queue.try_put_many(batch),
            (Side::Joinable(queue), _, false) => queue.put_many_timeout(batch, time),
            (Side::Single(producer), [item], true) => producer.try_put(item),
            (Side::Single(producer), [item], false) => producer.put_timeout(item, time),
            (Side::Single(producer), _, true) => producer.try_put_many(batch),
            (Side::Single(producer), _, false) => producer.put_many_timeout(batch, time),
        }
    }
}
