//! What the victims of a queue do.

use steadfast::{Consumer, Producer, Queue};

use crate::hands::Bytes;
use crate::message;
use crate::ptrace::marker;

/// The number under which victims put.
pub const VICTIM: u32 = 7;
/// The number under which victims put that die before the one in question.
pub const EARLIER: u32 = 8;
/// The message a victim puts before the operation, so that nothing in it happens for the first time.
pub const WARM: (u32, u32, usize) = (9, 0, 40);

/// One operation of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `put` of a message of so many bytes.
    Put(usize),
    /// `put_many` of so many messages of so many bytes.
    PutMany(u32, usize),
    /// `get`.
    Get,
    /// `get_many` of up to so many.
    GetMany(usize),
    /// `Producer::put` of a message of so many bytes.
    ProducerPut(usize),
    /// `Queue::producer`, and `Producer::put` of a message of so many bytes.
    ClaimAndPut(usize),
    /// `Producer::put_many`.
    ProducerPutMany(u32, usize),
    /// `Producer::reserve`, `write_at`, `commit`.
    Reserve(usize),
    /// `Consumer::get`.
    ConsumerGet,
    /// `Consumer::get_many`.
    ConsumerGetMany(usize),
    /// `Consumer::peek`, `copy_to`, `release`.
    Peek,
}

impl Act {
    /// What it puts, if it puts.
    pub fn batch(self, producer: u32) -> Vec<Vec<u8>> {
        let (count, len) = match self {
            Act::Put(len) | Act::ProducerPut(len) | Act::ClaimAndPut(len) | Act::Reserve(len) => {
                (1, len)
            }
            Act::PutMany(count, len) | Act::ProducerPutMany(count, len) => (count, len),
            _ => (0, 0),
        };
        (0..count).map(|sequence| message::make(producer, sequence, len)).collect()
    }

    /// The most it takes, if it takes.
    pub fn takes(self) -> usize {
        match self {
            Act::Get | Act::ConsumerGet | Act::Peek => 1,
            Act::GetMany(max) | Act::ConsumerGetMany(max) => max,
            _ => 0,
        }
    }

    /// Whether it needs the producer's role.
    pub fn produces(self) -> bool {
        matches!(
            self,
            Act::ProducerPut(_) | Act::ProducerPutMany(..) | Act::ClaimAndPut(_) | Act::Reserve(_)
        )
    }

    /// Whether it needs the consumer's role.
    pub fn consumes(self) -> bool {
        matches!(self, Act::ConsumerGet | Act::ConsumerGetMany(_) | Act::Peek)
    }
}

/// Runs one operation between two markers. A failure is an exit, which the stepper reports.
pub fn play(act: Act, names: &[String]) {
    let queue: Bytes = Queue::open(&names[0]).expect("open the queue");
    let warm = message::make(WARM.0, WARM.1, WARM.2);
    let batch = act.batch(if names.len() > 1 { EARLIER } else { VICTIM });
    if matches!(act, Act::ClaimAndPut(_)) {
        marker();
        let mut producer = queue.producer().expect("claim the producer");
        let result = producer.put(&batch[0]);
        marker();
        result.expect("put");
    } else if act.produces() {
        let producer = queue.producer().expect("claim the producer");
        produce(act, producer, &warm, &batch);
    } else if act.consumes() {
        let consumer = queue.consumer().expect("claim the consumer");
        consume(act, consumer);
    } else {
        share(act, &queue, &warm, &batch);
    }
}

fn share(act: Act, queue: &Bytes, warm: &[u8], batch: &[Vec<u8>]) {
    queue.put(warm).expect("a first put");
    queue.get().expect("a first get");
    match act {
        Act::Put(_) => {
            marker();
            let result = queue.put(&batch[0]);
            marker();
            result.expect("put");
        }
        Act::PutMany(..) => {
            marker();
            let result = queue.put_many(batch);
            marker();
            result.expect("put_many");
        }
        Act::Get => {
            marker();
            let result = queue.get();
            marker();
            result.expect("get");
        }
        Act::GetMany(max) => {
            marker();
            let result = queue.get_many(max);
            marker();
            result.expect("get_many");
        }
        _ => unreachable!("needs a role"),
    }
}

/// The warm message stays in the queue: the consumers are the others.
fn produce(act: Act, mut producer: Producer<[u8]>, warm: &[u8], batch: &[Vec<u8>]) {
    producer.put(warm).expect("a first put");
    match act {
        Act::ProducerPut(_) => {
            marker();
            let result = producer.put(&batch[0]);
            marker();
            result.expect("put");
        }
        Act::ProducerPutMany(..) => {
            marker();
            let result = producer.put_many(batch);
            marker();
            result.expect("put_many");
        }
        Act::Reserve(len) => {
            marker();
            let mut guard = producer.reserve(len).expect("reserve");
            guard.write_at(0, &batch[0]);
            let result = guard.commit();
            marker();
            result.expect("commit");
        }
        _ => unreachable!("needs no producer"),
    }
}

/// A first message is there already.
fn consume(act: Act, mut consumer: Consumer<[u8]>) {
    consumer.get().expect("a first get");
    match act {
        Act::ConsumerGet => {
            marker();
            let result = consumer.get();
            marker();
            result.expect("get");
        }
        Act::ConsumerGetMany(max) => {
            marker();
            let result = consumer.get_many(max);
            marker();
            result.expect("get_many");
        }
        Act::Peek => {
            let mut bytes = [0; 64];
            marker();
            let view = consumer.peek().expect("peek");
            let len = view.len().min(64);
            view.copy_to(&mut bytes[..len]);
            let result = view.release();
            marker();
            result.expect("release");
        }
        _ => unreachable!("needs no consumer"),
    }
}
