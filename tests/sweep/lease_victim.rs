//! What the victims of a joinable queue do.

use std::time::Duration;

use steadfast::{JoinableQueue, Lease, Reason, Shutdown};

use crate::engine::State;
use crate::lease_model::{Candidate, Item, Letter};
use crate::message;
use crate::ptrace::marker;
use crate::queue_victim::{VICTIM, WARM};
use crate::support::proc;

/// The number of the messages that a victim puts, and has in its hands or gave back when it begins.
pub const HELD: u32 = 6;
/// How many messages a holder leases.
pub const LEASES: usize = 2;
/// What a holder reserves, in bytes.
pub const RESERVED: [usize; 2] = [100, 2300];
/// Says that a victim is a holder.
pub const HOLDER: &str = "holder";

/// A joinable queue of bytes.
pub type Work = JoinableQueue<[u8]>;

/// One operation of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `get` of the ring's first message, or of what a dead one had.
    Get,
    /// `get` with three messages that came back.
    GetReturned,
    /// `get` with two delayed messages that are due.
    GetDue,
    /// `Lease::ack`.
    Ack,
    /// `task_done`, after `get_value`.
    TaskDone,
    /// `Lease::nack`.
    Nack,
    /// `Lease::nack_after`, due at once.
    NackAfter,
    /// `Lease::release`.
    Release,
    /// Dropping a lease.
    Drop,
    /// `Lease::nack` of the last attempt.
    LastNack,
    /// `put` of so many bytes.
    Put(usize),
    /// `put_many` of so many messages of so many bytes.
    PutMany(u32, usize),
    /// `reserve`, `write_at`, `commit`.
    Reserve(usize),
    /// `reserve`, and dropping the guard.
    ReserveDrop(usize),
    /// `unfinished`, which surveys.
    Survey,
    /// `join`.
    Join,
    /// `redrive` of two dead letters.
    Redrive,
    /// `purge` of two dead letters.
    Purge,
    /// `shutdown`, with a lease in hand.
    Shutdown(Shutdown),
    /// `JoinableQueue::open`.
    Open,
}

/// Message number `nth` of those that the victim has.
pub fn held(nth: u32) -> Vec<u8> {
    message::make(HELD, nth, 40)
}

impl Act {
    /// What it puts, if it puts.
    pub fn batch(self) -> Vec<Vec<u8>> {
        let (count, len) = match self {
            Act::Put(len) | Act::Reserve(len) => (1, len),
            Act::PutMany(count, len) => (count, len),
            _ => (0, 0),
        };
        (0..count).map(|sequence| message::make(VICTIM, sequence, len)).collect()
    }

    /// It changes nothing that can be told from outside.
    pub fn is_neutral(self) -> bool {
        matches!(self, Act::ReserveDrop(_) | Act::Survey | Act::Join | Act::Open)
    }

    /// How often a message is handed out in its queue; 0 = without limit.
    pub fn deliveries(self) -> u16 {
        u16::from(matches!(self, Act::LastNack | Act::Redrive | Act::Purge))
    }

    /// What the survivors may find after it: `others` is in the queue behind what the victim had.
    pub fn outcomes(self, others: &[Item]) -> Vec<Candidate> {
        use Reason::{Died, Dropped, Nacked, Never, Released};
        let with = |first: &[Item]| [first, others].concat();
        let one = |attempt, reason| with(&[Item::new(&held(0), attempt, reason)]);
        let before = |items: Vec<Item>| Candidate::new(State::Before, items);
        let after = |items: Vec<Item>| Candidate::new(State::After, items);
        let of = |list: &[u32]| -> Vec<Letter> {
            list.iter()
                .map(|nth| Letter { bytes: held(*nth), attempts: 1, reason: Nacked })
                .collect()
        };
        let died = || before(one(2, Died));
        match self {
            Act::Get => vec![before(with(&[])), after(taken(with(&[])))],
            Act::GetReturned | Act::GetDue => {
                let count = if self == Act::GetDue { 2 } else { 3 };
                let back: Vec<Item> =
                    (0..count).map(|nth| Item::new(&held(nth), 2, Nacked)).collect();
                vec![before(with(&back)), after(taken(with(&back)))]
            }
            Act::Ack | Act::TaskDone => vec![died(), after(with(&[]))],
            Act::Nack | Act::NackAfter => vec![died(), after(one(2, Nacked))],
            Act::Release => vec![died(), after(one(1, Released))],
            Act::Drop => vec![died(), after(one(2, Dropped))],
            Act::LastNack => {
                let letter = |reason| vec![Letter { bytes: held(0), attempts: 1, reason }];
                vec![
                    before(with(&[])).and_dead(letter(Died)),
                    after(with(&[])).and_dead(letter(Nacked)),
                ]
            }
            Act::Put(_) | Act::PutMany(..) | Act::Reserve(_) => {
                let batch = self.batch();
                let new = batch.iter().map(|bytes| Item::new(bytes, 1, Never));
                vec![before(with(&[])), after(with(&[]).into_iter().chain(new).collect())]
            }
            Act::Redrive => {
                let back = |count: u32| -> Vec<Item> {
                    let revived: Vec<Item> =
                        (0..count).map(|nth| Item::new(&held(nth), 1, Never)).collect();
                    with(&revived)
                };
                vec![
                    before(back(0)).and_dead(of(&[0, 1])),
                    after(back(1)).and_dead(of(&[1])).halfway(),
                    after(back(2)),
                ]
            }
            Act::Purge => vec![
                before(with(&[])).and_dead(of(&[0, 1])),
                after(with(&[])).and_dead(of(&[1])).halfway(),
                after(with(&[])),
            ],
            Act::Shutdown(_) => {
                vec![died(), after(one(2, Died))]
            }
            Act::ReserveDrop(_) | Act::Survey | Act::Join | Act::Open => vec![before(with(&[]))],
        }
    }
}

/// The first one was taken, and its holder died.
fn taken(mut items: Vec<Item>) -> Vec<Item> {
    if let Some(first) = items.first_mut() {
        (first.attempt, first.reason) = (first.attempt + 1, Reason::Died);
    }
    items
}

/// Runs one operation between two markers. A failure is an exit, which the stepper reports.
pub fn play(act: Act, names: &[String]) {
    let name = &names[0];
    if names.get(1).is_some_and(|word| word == HOLDER) {
        return hold(name);
    }
    if act == Act::Open {
        drop(warm(&names[1]));
        marker();
        let result = Work::open(name);
        marker();
        result.expect("open");
        return;
    }
    let queue = warm(name);
    match act {
        Act::Ack | Act::Nack | Act::NackAfter | Act::Release | Act::Drop | Act::LastNack => {
            let lease = leased(&queue, 1).remove(0);
            end(act, lease);
        }
        Act::GetReturned => {
            leased(&queue, 3).into_iter().for_each(|lease| lease.nack().expect("a first nack"));
            get(&queue);
        }
        Act::GetDue => {
            for lease in leased(&queue, 2) {
                lease.nack_after(Duration::ZERO).expect("a first nack_after");
            }
            get(&queue);
        }
        Act::Redrive | Act::Purge => {
            leased(&queue, 2).into_iter().for_each(|lease| lease.nack().expect("the last nack"));
            marker();
            let result = if act == Act::Purge { queue.purge() } else { queue.redrive() };
            marker();
            assert_eq!(result.expect("redrive or purge"), 2);
        }
        Act::Shutdown(how) => {
            let leases = leased(&queue, 1);
            marker();
            let result = queue.shutdown(how);
            marker();
            result.expect("shutdown");
            drop(leases);
        }
        _ => plain(act, &queue),
    }
}

/// Plays in the main thread, which dies alone: the process lives on, in a thread that only reads.
pub fn play_beside_a_thread(act: Act, names: &[String]) {
    if names.len() > 1 {
        return play(act, names);
    }
    let queue = warm(&names[0]);
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        ready.send(proc::tid()).expect("the main thread waits");
        // Until the stepper is done with it.
        let _ = std::io::stdin().read_line(&mut String::with_capacity(64));
    });
    let other = started.recv().expect("the other thread has started");
    // It must not run into a breakpoint that is meant for us.
    while !proc::sleeps_reading(std::process::id().cast_signed(), other) {
        std::thread::sleep(Duration::from_micros(50));
    }
    plain(act, &queue);
}

fn plain(act: Act, queue: &Work) {
    let batch = act.batch();
    match act {
        Act::Get => get(queue),
        Act::TaskDone => {
            queue.put(&held(0)).expect("a put");
            queue.get_value().expect("a get");
            marker();
            let result = queue.task_done();
            marker();
            result.expect("task_done");
        }
        Act::Put(_) => {
            marker();
            let result = queue.put(&batch[0]);
            marker();
            result.expect("put");
        }
        Act::PutMany(..) => {
            marker();
            let result = queue.put_many(&batch);
            marker();
            result.expect("put_many");
        }
        Act::Reserve(len) => {
            marker();
            let mut guard = queue.reserve(len).expect("reserve");
            guard.write_at(0, &batch[0]);
            let result = guard.commit();
            marker();
            result.expect("commit");
        }
        Act::ReserveDrop(len) => {
            marker();
            drop(queue.reserve(len).expect("reserve"));
            marker();
        }
        Act::Survey => {
            marker();
            let result = queue.unfinished();
            marker();
            result.expect("unfinished");
        }
        Act::Join => {
            marker();
            let result = queue.join();
            marker();
            result.expect("join");
        }
        _ => unreachable!("has a way of its own"),
    }
}

/// Does everything once, so that nothing in the operation happens for the first time.
fn warm(name: &str) -> Work {
    let queue = Work::open(name).expect("open the queue");
    queue.put(&message::make(WARM.0, WARM.1, WARM.2)).expect("a first put");
    queue.get().expect("a first get").release().expect("a first release");
    queue.get().expect("a second get").ack().expect("a first ack");
    queue.unfinished().expect("a first survey");
    queue
}

fn leased(queue: &Work, count: u32) -> Vec<Lease> {
    for nth in 0..count {
        queue.put(&held(nth)).expect("a put");
    }
    (0..count).map(|_| queue.get().expect("a get")).collect()
}

fn get(queue: &Work) {
    marker();
    let result = queue.get();
    marker();
    drop(result.expect("get"));
}

fn end(act: Act, lease: Lease) {
    marker();
    let result = match act {
        Act::Ack => lease.ack(),
        Act::Nack | Act::LastNack => lease.nack(),
        Act::NackAfter => lease.nack_after(Duration::ZERO),
        Act::Release => lease.release(),
        _ => {
            drop(lease);
            Ok(())
        }
    };
    marker();
    result.expect("the end of a lease");
}

/// Leases, reserves, and is killed with all of it in its hands.
fn hold(name: &str) {
    let queue = Work::open(name).expect("open the queue");
    let leases: Vec<Lease> = (0..LEASES).map(|_| queue.get().expect("a get")).collect();
    let room = RESERVED.map(|len| queue.reserve(len).expect("reserve"));
    marker();
    drop((leases, room));
}
