//! The two ends of the queue as a child uses them: shared with others, or alone in its role; one
//! message or a batch; waiting, for a short time, or polling; copied, or written and read in place.

use std::thread;
use std::time::Duration;

use steadfast::{Batch, Consumer, GetError, Producer, PutError, Queue, SegmentError};

use crate::random::Random;

/// How an incarnation waits.
#[derive(Copy, Clone)]
pub enum Manner {
    Waiting,
    Timed,
    Polling,
}

impl Manner {
    pub fn draw(random: &mut Random) -> Manner {
        match random.below(10) {
            0..=6 => Manner::Waiting,
            7..=8 => Manner::Timed,
            _ => Manner::Polling,
        }
    }
}

pub fn short_wait(random: &mut Random) -> Duration {
    Duration::from_micros(random.below(3000))
}

/// Where a producer puts.
pub enum Outlet {
    Shared(Queue),
    Alone(Producer),
}

impl Outlet {
    pub fn open(queue: &Queue) -> Result<Outlet, SegmentError> {
        if queue.is_single_producer() {
            return Ok(Outlet::Alone(queue.producer()?));
        }
        Ok(Outlet::Shared(queue.clone()))
    }

    /// One put of all the messages. One that ran out of time or room took no effect and is repeated.
    pub fn put(
        &mut self,
        messages: &[Vec<u8>],
        batched: bool,
        manner: Manner,
        random: &mut Random,
    ) -> Result<(), PutError> {
        loop {
            let wait = short_wait(random);
            let result = match (&mut *self, batched) {
                (Outlet::Shared(queue), false) => match manner {
                    Manner::Waiting => queue.put(&messages[0]),
                    Manner::Timed => queue.put_timeout(&messages[0], wait),
                    Manner::Polling => queue.try_put(&messages[0]),
                },
                (Outlet::Shared(queue), true) => match manner {
                    Manner::Waiting => queue.put_many(messages),
                    Manner::Timed => queue.put_many_timeout(messages, wait),
                    Manner::Polling => queue.try_put_many(messages),
                },
                (Outlet::Alone(producer), false) => match manner {
                    Manner::Waiting => put_in_place(producer, &messages[0]),
                    Manner::Timed => producer.put_timeout(&messages[0], wait),
                    Manner::Polling => producer.try_put(&messages[0]),
                },
                (Outlet::Alone(producer), true) => match manner {
                    Manner::Waiting => producer.put_many(messages),
                    Manner::Timed => producer.put_many_timeout(messages, wait),
                    Manner::Polling => producer.try_put_many(messages),
                },
            };
            match result {
                Err(PutError::TimedOut) => {}
                Err(PutError::Full) => thread::yield_now(),
                other => return other,
            }
        }
    }
}

/// In two pieces, so that a kill may come between them.
fn put_in_place(producer: &mut Producer, message: &[u8]) -> Result<(), PutError> {
    let mut guard = producer.reserve(message.len())?;
    let (front, back) = message.split_at(message.len() / 2);
    assert!(guard.write_at(0, front) && guard.write_at(front.len(), back), "reserved too little");
    guard.commit()
}

/// Where a consumer gets.
pub enum Inlet {
    Shared(Queue),
    Alone(Consumer),
}

/// What a get took.
#[derive(Default)]
pub struct Inbox {
    batch: Batch,
    single: Vec<u8>,
    batched: bool,
}

impl Inbox {
    pub fn each(&self, mut check: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        if self.batched { self.batch.iter().try_for_each(check) } else { check(&self.single) }
    }
}

impl Inlet {
    pub fn open(queue: &Queue) -> Result<Inlet, SegmentError> {
        if queue.is_single_consumer() {
            return Ok(Inlet::Alone(queue.consumer()?));
        }
        Ok(Inlet::Shared(queue.clone()))
    }

    /// One get of up to `most` messages.
    pub fn get(
        &mut self,
        inbox: &mut Inbox,
        most: u64,
        manner: Manner,
        random: &mut Random,
    ) -> Result<(), GetError> {
        let wait = short_wait(random);
        inbox.batched = most > 1;
        let (batch, single, max) = (&mut inbox.batch, &mut inbox.single, most as usize);
        match (self, inbox.batched) {
            (Inlet::Shared(queue), false) => match manner {
                Manner::Waiting => queue.get_into(single),
                Manner::Timed => queue.get_into_timeout(single, wait),
                Manner::Polling => queue.try_get_into(single),
            },
            (Inlet::Shared(queue), true) => match manner {
                Manner::Waiting => queue.get_batch(batch, max),
                Manner::Timed => queue.get_batch_timeout(batch, max, wait),
                Manner::Polling => queue.try_get_batch(batch, max),
            },
            (Inlet::Alone(consumer), false) => match manner {
                Manner::Waiting => get_in_place(consumer, single),
                Manner::Timed => consumer.get_into_timeout(single, wait),
                Manner::Polling => consumer.try_get_into(single),
            },
            (Inlet::Alone(consumer), true) => match manner {
                Manner::Waiting => consumer.get_batch(batch, max),
                Manner::Timed => consumer.get_batch_timeout(batch, max, wait),
                Manner::Polling => consumer.try_get_batch(batch, max),
            },
        }
    }
}

fn get_in_place(consumer: &mut Consumer, message: &mut Vec<u8>) -> Result<(), GetError> {
    let view = consumer.peek()?;
    message.resize(view.len(), 0);
    assert!(view.copy_to(message), "the message has the length that it says");
    view.release()
}
