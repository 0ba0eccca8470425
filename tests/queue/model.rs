//! Random operations on a queue and on the simplest queue there is; both must
//! say the same.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use steadfast::{Batch, Consumer, GetError, Producer, PutError, Queue, QueueOptions, Shutdown};

use crate::bytes_with;
use crate::support::{Name, chain, watchdog_after};

#[derive(Clone, Debug)]
enum Op {
    Put(usize),
    PutTimeout(usize),
    PutMany(Vec<usize>),
    Get,
    GetTimeout,
    GetInto,
    GetMany(usize),
    GetBatch(usize),
    /// In place: (length, committed or dropped).
    Reserve(usize, bool),
    /// In place: released or dropped.
    Peek(bool),
    Reopen,
    Drain,
    Now,
}

/// Mostly short, sometimes empty, sometimes up to beyond the limit.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0_usize), 6 => 0..40_usize, 3 => 0..600_usize, 1 => 0..9000_usize]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => len().prop_map(Op::Put),
        2 => len().prop_map(Op::PutTimeout),
        6 => prop::collection::vec(len(), 0..9).prop_map(Op::PutMany),
        6 => Just(Op::Get),
        1 => Just(Op::GetTimeout),
        2 => Just(Op::GetInto),
        3 => (0..9_usize).prop_map(Op::GetMany),
        2 => (0..9_usize).prop_map(Op::GetBatch),
        4 => (len(), any::<bool>()).prop_map(|(len, commit)| Op::Reserve(len, commit)),
        3 => any::<bool>().prop_map(Op::Peek),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Clone, Debug)]
struct Plan {
    maxsize: usize,
    capacity: u64,
    /// Bytes for large messages.
    large: u64,
    single_producer: bool,
    single_consumer: bool,
    ops: Vec<Op>,
    end: Op,
}

fn plan() -> impl Strategy<Value = Plan> {
    let maxsize = prop_oneof![Just(0_usize), 1..12_usize];
    let capacity = prop_oneof![Just(4096_u64), Just(8192), Just(1 << 16)];
    let large = prop_oneof![2 => Just(0_u64), 1 => Just(8192), 1 => Just(1 << 15)];
    let end = prop_oneof![Just(Op::Drain), Just(Op::Now)];
    let ops = prop::collection::vec(op(), 1..200);
    (maxsize, capacity, large, any::<bool>(), any::<bool>(), ops, end).prop_map(
        |(maxsize, capacity, large, single_producer, single_consumer, ops, end)| Plan {
            maxsize,
            capacity,
            large,
            single_producer,
            single_consumer,
            ops,
            end,
        },
    )
}

/// The simplest queue there is.
struct Model<'a> {
    name: &'a Name,
    messages: VecDeque<Vec<u8>>,
    maxsize: usize,
    capacity: usize,
    /// Longer messages lie in the store, if there is one.
    inline_max: usize,
    store_units: u64,
    max_len: usize,
    next: usize,
}

impl Model<'_> {
    /// A record's place in the ring: its header and its body, or the name of its chunk, in whole words.
    fn place(&self, len: usize) -> usize {
        if len > self.inline_max { 16 } else { 8 + len.next_multiple_of(8) }
    }

    /// The units of the store that a message takes.
    fn units(&self, len: usize) -> u64 {
        if len > self.inline_max { chain::units(len) } else { 0 }
    }

    fn message(&mut self, len: usize) -> Vec<u8> {
        self.next += 1;
        (0..len).map(|at| (self.next * 131 + at) as u8).collect()
    }

    fn used(&self) -> usize {
        self.messages.iter().map(|message| self.place(message.len())).sum()
    }

    /// Whether there is surely a place in line for a message in the store.
    fn has_place(&self) -> bool {
        let longest = self.messages.iter().map(|message| self.place(message.len())).max();
        let bytes = self.used() + 16 + longest.unwrap_or(8) + 8;
        (self.maxsize == 0 || self.messages.len() < self.maxsize) && bytes <= self.capacity
    }

    /// Judges what a put of these messages answered.
    fn put(&mut self, batch: Vec<Vec<u8>>, result: Result<(), PutError>) -> TestCaseResult {
        let need: usize = batch.iter().map(|message| self.place(message.len())).sum();
        let units: u64 = batch.iter().map(|message| self.units(message.len())).sum();
        let places = batch.iter().chain(&self.messages).map(|message| self.place(message.len()));
        // A record is never split, so the end of the ring may go unused.
        let waste = places.max().unwrap_or(8) + 8;
        let items = self.messages.len() + batch.len();
        match result {
            Ok(()) => {
                prop_assert!(self.maxsize == 0 || items <= self.maxsize, "more than maxsize");
                prop_assert!(self.used() + need <= self.capacity, "more than the capacity");
                self.messages.extend(batch);
            }
            Err(PutError::Full | PutError::TimedOut) => {
                let by_items = self.maxsize != 0 && items > self.maxsize;
                let by_bytes = self.used() + need + waste > self.capacity;
                let by_units = units > 0 && chain::longest_free(&chain::chunks(self.name)) < units;
                prop_assert!(
                    by_items || by_bytes || by_units,
                    "full with {} of {}",
                    self.used(),
                    self.capacity
                );
            }
            Err(PutError::TooLarge { .. }) => {
                let too_long = batch.iter().any(|message| message.len() > self.max_len);
                let too_many = self.maxsize != 0 && batch.len() > self.maxsize;
                let too_much = need + waste > self.capacity;
                let never = units > self.store_units;
                prop_assert!(too_long || too_many || too_much || never, "{need} are not too large");
            }
            Err(other) => prop_assert!(false, "put: {other}"),
        }
        Ok(())
    }

    /// Judges what a get of up to `max` messages answered.
    fn get(&mut self, max: usize, result: Result<Vec<Vec<u8>>, GetError>) -> TestCaseResult {
        match result {
            Ok(got) => {
                prop_assert!(got.len() <= max);
                prop_assert!(!got.is_empty() || max == 0);
                prop_assert!(got.len() <= self.messages.len(), "more than there are");
                let wanted: Vec<Vec<u8>> = self.messages.drain(..got.len()).collect();
                prop_assert_eq!(got, wanted);
            }
            Err(GetError::Empty | GetError::TimedOut) => {
                prop_assert!(self.messages.is_empty() && max > 0, "empty with messages inside");
            }
            Err(other) => prop_assert!(false, "get: {other}"),
        }
        Ok(())
    }
}

/// A queue with whatever role each of its sides needs.
struct Real {
    queue: Queue,
    producer: Option<Producer<[u8]>>,
    consumer: Option<Consumer<[u8]>>,
}

impl Real {
    fn with(queue: Queue, plan: &Plan) -> Real {
        let producer = plan.single_producer.then(|| queue.producer().unwrap());
        let consumer = plan.single_consumer.then(|| queue.consumer().unwrap());
        Real { queue, producer, consumer }
    }

    fn put(&mut self, message: &[u8], brief: Option<Duration>) -> Result<(), PutError> {
        match (&mut self.producer, brief) {
            (Some(producer), None) => producer.try_put(message),
            (Some(producer), Some(brief)) => producer.put_timeout(message, brief),
            (None, None) => self.queue.try_put(message),
            (None, Some(brief)) => self.queue.put_timeout(message, brief),
        }
    }

    fn put_many(&mut self, batch: &[Vec<u8>]) -> Result<(), PutError> {
        match &mut self.producer {
            Some(producer) => producer.try_put_many(batch),
            None => self.queue.try_put_many(batch),
        }
    }

    fn get(&mut self, brief: Option<Duration>) -> Result<Vec<u8>, GetError> {
        match (&mut self.consumer, brief) {
            (Some(consumer), None) => consumer.try_get(),
            (Some(consumer), Some(brief)) => consumer.get_timeout(brief),
            (None, None) => self.queue.try_get(),
            (None, Some(brief)) => self.queue.get_timeout(brief),
        }
    }

    fn get_many(&mut self, max: usize) -> Result<Vec<Vec<u8>>, GetError> {
        match &mut self.consumer {
            Some(consumer) => consumer.try_get_many(max),
            None => self.queue.try_get_many(max),
        }
    }
}

const BRIEF: Option<Duration> = Some(Duration::from_micros(50));

fn apply(op: &Op, real: &mut Real, model: &mut Model<'_>) -> TestCaseResult {
    match op {
        Op::Put(len) | Op::PutTimeout(len) => {
            let message = model.message(*len);
            let brief = matches!(op, Op::PutTimeout(_)).then_some(BRIEF).flatten();
            let result = real.put(&message, brief);
            model.put(vec![message], result)
        }
        Op::PutMany(lens) => {
            let batch: Vec<Vec<u8>> = lens.iter().map(|&len| model.message(len)).collect();
            let result = real.put_many(&batch);
            model.put(batch, result)
        }
        Op::Get => model.get(1, real.get(None).map(|message| vec![message])),
        Op::GetTimeout => model.get(1, real.get(BRIEF).map(|message| vec![message])),
        Op::GetInto => {
            let mut buffer = vec![1, 2, 3];
            if real.consumer.is_some() {
                return Ok(());
            }
            let result = real.queue.try_get_into(&mut buffer);
            model.get(1, result.map(|_| vec![buffer]))
        }
        Op::GetMany(max) => {
            let got = real.get_many(*max);
            model.get(*max, got)
        }
        Op::GetBatch(max) => {
            if real.consumer.is_some() {
                return Ok(());
            }
            let mut batch = Batch::new();
            let result = real.queue.try_get_batch(&mut batch, *max);
            model.get(*max, result.map(|_| batch.iter().map(<[u8]>::to_vec).collect()))
        }
        Op::Reserve(len, commit) => {
            let Some(producer) = &mut real.producer else { return Ok(()) };
            let message = model.message(*len);
            // What lies in the store has no place in line yet: its commit would wait for one.
            let line = *len <= model.inline_max || model.has_place();
            let result = match producer.try_reserve(*len) {
                Ok(mut guard) => {
                    assert!(guard.write_at(0, &message));
                    if !commit || !line {
                        return Ok(());
                    }
                    guard.commit().unwrap();
                    Ok(())
                }
                Err(error) => Err(error),
            };
            model.put(vec![message], result)
        }
        Op::Peek(release) => {
            let Some(consumer) = &mut real.consumer else { return Ok(()) };
            let result = match consumer.try_peek() {
                Ok(view) => {
                    let mut copy = vec![0; view.len()];
                    assert!(view.copy_to(&mut copy));
                    if !release {
                        prop_assert_eq!(Some(&copy), model.messages.front());
                        return Ok(());
                    }
                    view.release().unwrap();
                    Ok(vec![copy])
                }
                Err(error) => Err(error),
            };
            model.get(1, result)
        }
        Op::Reopen | Op::Drain | Op::Now => Ok(()),
    }
}

fn run(plan: &Plan) -> TestCaseResult {
    let mut options = QueueOptions::new().maxsize(plan.maxsize).capacity(plan.capacity);
    if plan.single_producer {
        options = options.single_producer();
    }
    if plan.single_consumer {
        options = options.single_consumer();
    }
    if plan.large > 0 {
        options = options.large_messages(plan.large);
    }
    let (name, queue) = bytes_with("model", &options);
    let mut model = Model {
        name: &name,
        inline_max: if plan.large > 0 { queue.capacity() / 8 } else { usize::MAX },
        store_units: plan.large / chain::UNIT,
        messages: VecDeque::new(),
        maxsize: plan.maxsize,
        capacity: queue.capacity(),
        max_len: queue.max_len(),
        next: 0,
    };
    let mut real = Real::with(queue, plan);
    for op in &plan.ops {
        if matches!(op, Op::Reopen) {
            drop(real);
            real = Real::with(Queue::open(&name).unwrap(), plan);
        }
        apply(op, &mut real, &mut model)?;
        let inside = model.messages.len();
        prop_assert_eq!(real.queue.qsize().unwrap(), inside);
        prop_assert_eq!(real.queue.is_empty().unwrap(), inside == 0);
        if plan.maxsize != 0 && inside == plan.maxsize {
            prop_assert!(real.queue.is_full().unwrap());
        }
    }
    let now = matches!(plan.end, Op::Now);
    let how = if now { Shutdown::Now } else { Shutdown::Drain };
    let discarded = real.queue.shutdown(how).unwrap();
    prop_assert_eq!(discarded, if now { model.messages.len() } else { 0 });
    prop_assert!(matches!(real.put(b"x", None), Err(PutError::Closed)));
    while !now && !model.messages.is_empty() {
        let got = real.get_many(4);
        model.get(4, got)?;
    }
    prop_assert!(matches!(real.get(None), Err(GetError::Closed)));
    if plan.large > 0 && !now {
        let (_, used) = chain::count(&chain::chunks(&name));
        prop_assert_eq!(used, 0, "units of the store are lost");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_queue_does_what_the_simplest_queue_does(plan in plan()) {
        let _dog = watchdog_after(3 * crate::support::LIMIT);
        run(&plan)?;
    }
}
