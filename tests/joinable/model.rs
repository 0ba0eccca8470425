//! Random operations on a joinable queue and on lists of what is where; both must say the same. After
//! each operation the segment's file is read too: every chunk must be in the phase that the lists say.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use steadfast::{
    GetError, JoinError, JoinableQueue, Lease, LeaseError, PutError, Reason, Shutdown, WriteGuard,
};

use crate::lists::{Item, MOMENT, Model};
use crate::support::{Name, chain, watchdog_after};
use crate::{LONG, bytes_with, small};

/// How a lease ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Ack,
    Nack,
    Drop,
    Release,
    /// Back at once, or in a moment.
    After(bool),
}

#[derive(Clone, Debug)]
pub enum Op {
    Put(usize),
    PutMany(Vec<usize>),
    Reserve(usize),
    /// The nth reservation: committed or dropped.
    Commit(usize, bool),
    Get,
    GetValue,
    TaskDone,
    /// The nth lease.
    End(usize, End),
    DeadLetters,
    Redrive,
    Purge,
    /// Counts what is unfinished, which puts the store's books in order too.
    Count,
    Shutdown(Shutdown),
}

/// Never less than the four bytes that number the messages.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![5 => 4..100_usize, 3 => 4..1000_usize, 1 => 4..6000_usize, 1 => 4..20_000_usize]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::Ack),
        2 => Just(End::Nack),
        1 => Just(End::Drop),
        1 => Just(End::Release),
        2 => any::<bool>().prop_map(End::After),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let how = prop_oneof![Just(Shutdown::Drain), Just(Shutdown::Now)];
    prop_oneof![
        160 => len().prop_map(Op::Put),
        60 => prop::collection::vec(len(), 0..7).prop_map(Op::PutMany),
        40 => len().prop_map(Op::Reserve),
        40 => (any::<usize>(), any::<bool>()).prop_map(|(nth, commit)| Op::Commit(nth, commit)),
        160 => Just(Op::Get),
        40 => Just(Op::GetValue),
        40 => Just(Op::TaskDone),
        200 => (any::<usize>(), end()).prop_map(|(nth, end)| Op::End(nth, end)),
        10 => Just(Op::DeadLetters),
        10 => Just(Op::Redrive),
        10 => Just(Op::Purge),
        20 => Just(Op::Count),
        2 => how.prop_map(Op::Shutdown),
    ]
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub maxsize: usize,
    pub capacity: u64,
    pub max_deliveries: u16,
    pub max_dead_letters: u32,
    pub ops: Vec<Op>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let maxsize = prop_oneof![2 => Just(0_usize), 1 => 1..12_usize];
    let capacity = prop_oneof![Just(4096_u64), Just(5000), Just(1 << 14)];
    let letters = prop_oneof![Just(1000_u32), 0..4_u32];
    let ops = prop::collection::vec(op(), 1..200);
    (maxsize, capacity, 0..3_u16, letters, ops).prop_map(
        |(maxsize, capacity, max_deliveries, max_dead_letters, ops)| Plan {
            maxsize,
            capacity,
            max_deliveries,
            max_dead_letters,
            ops,
        },
    )
}

/// A queue, its leases, and its reservations.
struct Real<'a> {
    name: &'a Name,
    queue: &'a JoinableQueue,
    leases: Vec<(Lease, Item)>,
    rooms: Vec<(WriteGuard<'a>, Item)>,
}

impl<'a> Real<'a> {
    fn get(&mut self, model: &mut Model) -> TestCaseResult {
        let before = Instant::now();
        let got = self.queue.try_get();
        let times = (before, Instant::now());
        match got {
            Ok(lease) => {
                let bytes = lease.value().unwrap();
                prop_assert_eq!(lease.len(), bytes.len());
                let number = u32::from_ne_bytes(*bytes.first_chunk().unwrap()) as usize;
                let (attempts, reason) = (lease.attempt(), lease.last_reason());
                let before = Item { number, bytes, attempts: attempts - 1, reason };
                model.get(Some(&before), times)?;
                model.leased += 1;
                self.leases.push((lease, Item { attempts, ..before }));
            }
            Err(error) => self.nothing(&error, model, times)?,
        }
        Ok(())
    }

    fn nothing(
        &self,
        error: &GetError,
        model: &mut Model,
        times: (Instant, Instant),
    ) -> TestCaseResult {
        model.get(None, times)?;
        match error {
            GetError::Empty => prop_assert!(!model.now(), "empty after the end"),
            GetError::Closed => {
                let ended = model.state.is_some() && model.delayed.is_empty();
                prop_assert!(ended, "closed with {:?}", model.delayed);
            }
            other => prop_assert!(false, "get: {}", other),
        }
        Ok(())
    }

    fn get_value(&mut self, model: &mut Model) -> TestCaseResult {
        let before = Instant::now();
        let got = self.queue.try_get_value();
        let times = (before, Instant::now());
        let bytes = match got {
            Ok(bytes) => bytes,
            Err(error) => return self.nothing(&error, model, times),
        };
        // By value it does not tell how often it was handed out: that is believed.
        let number = u32::from_ne_bytes(*bytes.first_chunk().unwrap()) as usize;
        let delayed = model.delayed.iter().map(|(.., item)| item);
        let mut all = model.ready.values().chain(&model.queued).chain(delayed);
        let known = all.find(|item| item.number == number).cloned();
        let Some(known) = known else { return Err(TestCaseError::fail("a value from nowhere")) };
        prop_assert_eq!(&known.bytes, &bytes);
        model.get(Some(&known), times)?;
        model.by_value.push_back(known);
        Ok(())
    }

    fn end(&mut self, nth: usize, end: End, model: &mut Model) -> TestCaseResult {
        if self.leases.is_empty() {
            return Ok(());
        }
        let (lease, item) = self.leases.swap_remove(nth % self.leases.len());
        model.leased -= 1;
        let before = Instant::now();
        match end {
            End::Ack => lease.ack().unwrap(),
            End::Nack => lease.nack().unwrap(),
            End::Drop => drop(lease),
            End::Release => lease.release().unwrap(),
            End::After(later) => {
                lease.nack_after(if later { MOMENT } else { Duration::ZERO }).unwrap()
            }
        }
        if !matches!(end, End::Ack) {
            model.back(item, end, (before, Instant::now()));
        }
        Ok(())
    }

    fn commit(&mut self, nth: usize, commit: bool, model: &mut Model) -> TestCaseResult {
        // It would wait for a place in line.
        let full = model.plan.maxsize > 0 && model.queued.len() >= model.plan.maxsize;
        if self.rooms.is_empty() || full && commit && model.state.is_none() {
            return Ok(());
        }
        let (room, item) = self.rooms.swap_remove(nth % self.rooms.len());
        if !commit {
            drop(room);
            return Ok(());
        }
        match room.commit() {
            Ok(()) => {
                // Numbered when it is put, not when it is reserved.
                let len = item.bytes.len();
                prop_assert!(model.state.is_none() && len >= 4);
                model.queued.push_back(item);
            }
            Err(PutError::Closed) => prop_assert!(model.state.is_some()),
            Err(other) => prop_assert!(false, "commit: {}", other),
        }
        Ok(())
    }

    fn dead_letters(&self, model: &Model) -> TestCaseResult {
        let letters = self.queue.dead_letters().unwrap();
        let seen: Vec<_> = letters.iter().map(|l| (&l.bytes, l.attempts, l.reason)).collect();
        let dead: Vec<_> =
            model.dead.values().map(|item| (&item.bytes, item.attempts, item.reason)).collect();
        prop_assert_eq!(seen, dead);
        Ok(())
    }

    fn apply(&mut self, op: &Op, model: &mut Model) -> TestCaseResult {
        match op {
            Op::Put(len) => {
                let item = model.item(*len);
                let result = self.queue.try_put(&item.bytes);
                model.put(vec![item], &result, self.name)
            }
            Op::PutMany(lens) => {
                let items: Vec<Item> = lens.iter().map(|len| model.item(*len)).collect();
                let bytes: Vec<&[u8]> = items.iter().map(|item| &item.bytes[..]).collect();
                let result = self.queue.try_put_many(&bytes);
                model.put(items, &result, self.name)
            }
            Op::Reserve(len) => {
                // Committed later, so its number is not its place in line: see `commit`.
                let item = model.item(*len);
                match self.queue.try_reserve(*len) {
                    Ok(room) => {
                        self.rooms.push((room, item));
                        Ok(())
                    }
                    // A reservation needs no place in line.
                    Err(error) => {
                        let maxsize = std::mem::take(&mut model.plan.maxsize);
                        let judged = model.put(vec![item], &Err(error), self.name);
                        model.plan.maxsize = maxsize;
                        judged
                    }
                }
            }
            Op::Commit(nth, commit) => {
                if let Some(at) = nth.checked_rem(self.rooms.len()) {
                    let len = self.rooms[at].1.bytes.len();
                    let item = model.item(len);
                    assert!(self.rooms[at].0.write_at(0, &item.bytes));
                    self.rooms[at].1 = item;
                }
                self.commit(*nth, *commit, model)
            }
            Op::Get => self.get(model),
            Op::GetValue => self.get_value(model),
            Op::TaskDone => {
                match (self.queue.task_done(), model.by_value.pop_front()) {
                    (Ok(()), Some(_)) | (Err(LeaseError::TooMany), None) => {}
                    (result, item) => prop_assert!(false, "{:?} with {:?}", result, item),
                }
                Ok(())
            }
            Op::End(nth, end) => self.end(*nth, *end, model),
            Op::DeadLetters => self.dead_letters(model),
            Op::Redrive => {
                prop_assert_eq!(self.queue.redrive().unwrap(), model.dead.len());
                for (number, mut item) in std::mem::take(&mut model.dead) {
                    (item.attempts, item.reason) = (0, Reason::Never);
                    if !model.now() {
                        model.ready.insert(number, item);
                    }
                }
                Ok(())
            }
            Op::Purge => {
                prop_assert_eq!(self.queue.purge().unwrap(), model.dead.len());
                model.dead.clear();
                Ok(())
            }
            Op::Count => self.count(model),
            Op::Shutdown(how) => {
                let discarded = self.queue.shutdown(*how).unwrap();
                prop_assert_eq!(discarded, model.shutdown(*how));
                Ok(())
            }
        }
    }

    fn count(&self, model: &Model) -> TestCaseResult {
        prop_assert_eq!(self.queue.unfinished().unwrap(), model.unfinished());
        match self.queue.join_timeout(Duration::ZERO) {
            Ok(()) => prop_assert_eq!(model.unfinished(), 0),
            Err(JoinError::TimedOut) => prop_assert!(model.unfinished() > 0),
            Err(other) => prop_assert!(false, "join: {}", other),
        }
        Ok(())
    }

    /// What both say of themselves, and what the file says.
    fn compare(&self, model: &Model) -> TestCaseResult {
        prop_assert_eq!(self.queue.qsize().unwrap(), model.inside());
        let before = Instant::now();
        let empty = self.queue.is_empty().unwrap();
        let after = Instant::now();
        let surely = model.delayed.iter().any(|(_, latest, _)| *latest <= before);
        let perhaps = model.delayed.iter().any(|(earliest, ..)| *earliest <= after);
        let others = !model.queued.is_empty() || !model.ready.is_empty();
        prop_assert!(!empty || !others && !surely, "seems empty");
        prop_assert!(empty || others || perhaps, "does not seem empty");
        let (phases, _) = chain::count(&chain::chunks(self.name));
        let back = phases[4] + phases[5];
        let leased = model.leased + model.by_value.len();
        prop_assert_eq!(phases[1], self.rooms.len(), "owned");
        prop_assert_eq!(phases[2], model.queued.len() + model.discarded, "queued");
        prop_assert_eq!(phases[3], leased, "leased");
        let known = model.ready.len() + model.delayed.len();
        prop_assert!(back == known || model.now(), "back");
        prop_assert_eq!(phases[6], model.dead.len(), "dead");
        Ok(())
    }
}

fn run(plan: &Plan) -> TestCaseResult {
    let options = small()
        .maxsize(plan.maxsize)
        .capacity(plan.capacity)
        .max_deliveries(plan.max_deliveries)
        .max_dead_letters(plan.max_dead_letters);
    let (name, queue) = bytes_with("model", &options);
    let mut model = Model::new(plan, queue.max_len());
    let (leases, rooms) = (Vec::new(), Vec::new());
    let mut real = Real { name: &name, queue: &queue, leases, rooms };
    let done = plan.ops.iter().try_for_each(|op| {
        real.apply(op, &mut model)?;
        real.compare(&model)
    });
    // What was taken by value is this thread's, and must not stay for the next case.
    while queue.task_done().is_ok() {
        model.by_value.pop_front();
    }
    done?;
    // Everything is given back, drained and acknowledged: the whole store is free.
    real.rooms.clear();
    for (lease, _) in real.leases.drain(..) {
        lease.ack().unwrap();
    }
    for _ in 0..if model.now() { 0 } else { model.inside() } {
        queue.get_timeout(LONG).unwrap().ack().unwrap();
    }
    queue.purge().unwrap();
    queue.join().unwrap();
    prop_assert_eq!(queue.unfinished().unwrap(), 0);
    let chunks = chain::chunks(&name);
    let free = chunks.values().filter(|chunk| chunk.phase != chain::FREE).count();
    prop_assert_eq!(free, model.discarded);
    if model.state.is_none() {
        queue.try_put(&vec![1; queue.max_len()]).unwrap();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_joinable_queue_does_what_lists_do(plan in plan()) {
        let _dog = watchdog_after(3 * crate::support::LIMIT);
        run(&plan)?;
    }
}
