//! What the victims of a queue do.

use std::io::Write;
use std::time::Duration;

use steadfast::{Consumer, GetError, Producer, PutError, Queue};

use crate::hands::Bytes;
use crate::message;
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::support::proc;

/// The number under which victims put.
pub const VICTIM: u32 = 7;
/// The number under which victims put that die before the one in question.
pub const EARLIER: u32 = 8;
/// The message a victim puts before the operation, so that nothing in it happens for the first time.
pub const WARM: (u32, u32, usize) = (9, 0, 40);

/// A time limit that passes while the victim sleeps.
pub const EXPIRES: Duration = Duration::from_millis(150);
/// One that does not.
pub const AMPLE: Duration = Duration::from_secs(60);

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
    /// `try_put` of a message of so many bytes. That this may be refused, and the next three, is for
    /// the survivors to judge.
    TryPut(usize),
    /// `put_timeout` of a message of so many bytes.
    PutTimeout(usize, Duration),
    /// `try_get`.
    TryGet,
    /// `get_timeout`.
    GetTimeout(Duration),
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
            Act::Put(len)
            | Act::TryPut(len)
            | Act::PutTimeout(len, _)
            | Act::ProducerPut(len)
            | Act::ClaimAndPut(len)
            | Act::Reserve(len) => (1, len),
            Act::PutMany(count, len) | Act::ProducerPutMany(count, len) => (count, len),
            _ => (0, 0),
        };
        (0..count).map(|sequence| message::make(producer, sequence, len)).collect()
    }

    /// The most it takes, if it takes.
    pub fn takes(self) -> usize {
        match self {
            Act::Get | Act::TryGet | Act::GetTimeout(_) | Act::ConsumerGet | Act::Peek => 1,
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
    if let Act::PutTimeout(_, limit) | Act::GetTimeout(limit) = act
        && limit == EXPIRES
    {
        forget_polling(act, &queue, &warm);
    }
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

/// Polls in vain until this process does not poll any more before it sleeps: polling step by step takes
/// longer than the limit.
fn forget_polling(act: Act, queue: &Bytes, warm: &[u8]) {
    let limit = Duration::from_micros(100);
    if act.takes() > 0 {
        for _ in 0..8 {
            assert!(matches!(queue.get_timeout(limit), Err(GetError::TimedOut)));
        }
        return;
    }
    let mut count = 0;
    while queue.try_put(warm).is_ok() {
        count += 1;
    }
    for _ in 0..8 {
        assert!(matches!(queue.put_timeout(warm, limit), Err(PutError::TimedOut)));
    }
    for _ in 0..count {
        queue.get().expect("get what was put");
    }
}

/// Plays in the main thread, which dies alone: another thread of the same process uses the same handle
/// and goes on. It obeys the lines that come in: `put` is answered by `put`, `get` by `got HEX`.
pub fn play_beside_a_thread(act: Act, names: &[String]) {
    let queue: &Bytes = Box::leak(Box::new(Queue::open(&names[0]).expect("open the queue")));
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        queue.put(&keepers_message()).expect("a first put");
        queue.get().expect("a first get");
        ready.send(proc::tid()).expect("the main thread waits");
        keep(queue).expect("whoever asks reads the answers");
    });
    let keeper = started.recv().expect("the other thread has started");
    // It must not run into a breakpoint that is meant for us.
    while !proc::sleeps_reading(std::process::id().cast_signed(), keeper) {
        std::thread::sleep(Duration::from_micros(50));
    }
    share(act, queue, &message::make(WARM.0, WARM.1, WARM.2), &act.batch(VICTIM));
}

/// The other thread. It allocates nothing once it listens: the main one may have died in the allocator,
/// with its lock.
fn keep(queue: &Bytes) -> std::io::Result<()> {
    let message = keepers_message();
    let (mut line, mut got) = (String::with_capacity(64), Vec::with_capacity(4096));
    let mut out = std::io::stdout().lock();
    while std::io::stdin().read_line(&mut line)? > 0 {
        if line.trim_end() == "put" {
            match queue.put_timeout(&message, BOUND) {
                Ok(()) => write!(out, "put")?,
                Err(error) => write!(out, "error {error:?}")?,
            }
        } else {
            match queue.get_into_timeout(&mut got, BOUND) {
                Ok(()) => {
                    write!(out, "got ")?;
                    got.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
                }
                Err(error) => write!(out, "error {error:?}")?,
            }
        }
        writeln!(out)?;
        line.clear();
    }
    Ok(())
}

/// What the other thread puts.
pub fn keepers_message() -> Vec<u8> {
    message::make(5, 0, 40)
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
        Act::TryPut(_) => {
            marker();
            let result = queue.try_put(&batch[0]);
            marker();
            assert!(matches!(result, Ok(()) | Err(PutError::Full)), "try_put: {result:?}");
        }
        Act::PutTimeout(_, limit) => {
            marker();
            let result = queue.put_timeout(&batch[0], limit);
            marker();
            assert!(matches!(result, Ok(()) | Err(PutError::TimedOut)), "put_timeout: {result:?}");
        }
        Act::TryGet => {
            marker();
            let result = queue.try_get();
            marker();
            assert!(matches!(result, Ok(_) | Err(GetError::Empty)), "try_get: {result:?}");
        }
        Act::GetTimeout(limit) => {
            marker();
            let result = queue.get_timeout(limit);
            marker();
            assert!(matches!(result, Ok(_) | Err(GetError::TimedOut)), "get_timeout: {result:?}");
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
