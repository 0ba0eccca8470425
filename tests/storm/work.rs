//! The second cast: a joinable queue with messages of very different lengths. Consumers lease, verify, and
//! acknowledge or give back; the account counts acknowledgements. Beyond what the first cast must show:
//! every message whose put returned is acknowledged, each by one only, `join` returns, and no piece of the
//! store is lost.

use std::thread;
use std::time::Duration;

use steadfast::{GetError, JoinError, JoinableQueue, Lease, PutError};

use crate::child::{Failure, Job, pause};
use crate::ends::{Manner, short_wait};
use crate::ledger::{Ledger, Mood, Seat};
use crate::message;
use crate::pulse::STUCK;
use crate::random::Random;

/// Whether everything is done, after a short wait for it.
pub fn is_done(queue: &JoinableQueue) -> Result<bool, Failure> {
    match queue.join_timeout(Duration::from_millis(5)) {
        Ok(()) => Ok(true),
        Err(JoinError::TimedOut) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Everything is done, and nobody puts: all of the store must be free.
pub fn check_store(queue: &JoinableQueue) -> Result<(), Failure> {
    let (left, dead) = (queue.unfinished()?, queue.dead_letters()?.len());
    if left + dead > 0 {
        return Err(format!("join returned with {left} messages left, {dead} dead").into());
    }
    let lost = |error| format!("a piece of the store is lost: {error}");
    drop(queue.reserve_timeout(queue.max_len(), STUCK).map_err(lost)?);
    Ok(())
}

pub fn produce(
    job: &Job,
    queue: &JoinableQueue,
    ledger: &Ledger,
    seat: &Seat,
    mut random: Random,
) -> Result<(), Failure> {
    let manner = Manner::draw(&mut random);
    let batched = random.percent(30);
    let mut messages: Vec<Vec<u8>> = vec![Vec::new(); job.batch as usize];
    let mut sequence = 0;
    while !ledger.stopping() {
        let count = if batched { random.between(1, job.batch) } else { 1 };
        for (number, message) in messages[..count as usize].iter_mut().enumerate() {
            message::write(message, job.incarnation, sequence + number as u64, job.longest);
        }
        if random.percent(3) {
            // thought better of it
            drop(queue.try_reserve(messages[0].len()));
        }
        seat.intend(sequence + count);
        put(queue, &messages[..count as usize], manner, &mut random)?;
        sequence += count;
        seat.commit(sequence);
        pause(ledger, Mood::SlowProducers, &mut random);
    }
    Ok(())
}

/// One put of all the messages. One that ran out of time or room took no effect and is repeated.
fn put(
    queue: &JoinableQueue,
    messages: &[Vec<u8>],
    manner: Manner,
    random: &mut Random,
) -> Result<(), PutError> {
    loop {
        let wait = short_wait(random);
        let result = match (messages, manner) {
            ([one], Manner::Waiting) if random.percent(50) => put_in_place(queue, one),
            ([one], Manner::Waiting) => queue.put(one),
            ([one], Manner::Timed) => queue.put_timeout(one, wait),
            ([one], Manner::Polling) => queue.try_put(one),
            (_, Manner::Waiting) => queue.put_many(messages),
            (_, Manner::Timed) => queue.put_many_timeout(messages, wait),
            (_, Manner::Polling) => queue.try_put_many(messages),
        };
        match result {
            Err(PutError::TimedOut) => {}
            Err(PutError::Full) => thread::yield_now(),
            other => return other,
        }
    }
}

/// In two pieces, so that a kill may come between them.
fn put_in_place(queue: &JoinableQueue, message: &[u8]) -> Result<(), PutError> {
    let mut guard = queue.reserve(message.len())?;
    let (front, back) = message.split_at(message.len() / 2);
    assert!(guard.write_at(0, front) && guard.write_at(front.len(), back), "reserved too little");
    guard.commit()
}

/// A consumer's receipts: one for each acknowledgement that returned.
struct Receipts<'a> {
    seat: &'a Seat<'a>,
    written: u64,
}

impl Receipts<'_> {
    /// Acknowledges. Killed before the receipt is written, this one may be done all the same.
    fn take(
        &mut self,
        receipt: (u64, u64),
        acknowledge: impl FnOnce() -> Result<(), steadfast::LeaseError>,
    ) -> Result<(), Failure> {
        while !self.seat.has_room(self.written, 1) {
            thread::sleep(Duration::from_micros(100));
        }
        self.seat.enter_get(1);
        acknowledge()?;
        self.seat.write_receipts(self.written, &[receipt]);
        self.seat.leave_get();
        self.written += 1;
        Ok(())
    }
}

pub fn consume(
    job: &Job,
    queue: &JoinableQueue,
    ledger: &Ledger,
    seat: &Seat,
    mut random: Random,
) -> Result<(), Failure> {
    let manner = Manner::draw(&mut random);
    let by_value = random.percent(25);
    let most = if random.percent(40) { random.between(2, 5) as usize } else { 1 };
    let mut receipts = Receipts { seat, written: 0 };
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    loop {
        let wait = short_wait(&mut random);
        let result = match manner {
            _ if by_value => queue.get_value_timeout(wait).map(Took::Value),
            Manner::Waiting => queue.get().map(Took::Lease),
            Manner::Timed => queue.get_timeout(wait).map(Took::Lease),
            Manner::Polling => queue.try_get().map(Took::Lease),
        };
        let first = match result {
            Ok(Took::Value(value)) => {
                let receipt = message::read(&value, job.longest, &mut scratch)?;
                receipts.take(receipt, || queue.task_done())?;
                continue;
            }
            Ok(Took::Lease(lease)) => lease,
            Err(GetError::TimedOut) => continue,
            Err(GetError::Empty) => {
                thread::yield_now();
                continue;
            }
            Err(GetError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut leases = vec![first];
        while leases.len() < most
            && let Ok(lease) = queue.try_get()
        {
            leases.push(lease);
        }
        if random.percent(50) {
            leases.reverse();
        }
        if random.percent(1) {
            leave_to_a_child(queue, &mut leases, &mut random)?;
        }
        for lease in leases {
            bytes.resize(lease.len(), 0);
            assert!(lease.copy_to(&mut bytes), "the message has the length that it says");
            let receipt = message::read(&bytes, job.longest, &mut scratch)?;
            end(lease, receipt, &mut receipts, &mut random)?;
        }
        pause(ledger, Mood::SlowConsumers, &mut random);
    }
}

/// Forks a child, which inherits the queue and the leases: nothing of it may be of any use there, nor of harm
/// here, also if this process is killed before the child has ended.
fn leave_to_a_child(
    queue: &JoinableQueue,
    leases: &mut Vec<Lease>,
    random: &mut Random,
) -> Result<(), Failure> {
    let nap = Duration::from_micros(random.below(5000));
    // SAFETY: the child uses what it inherited, and ends without going back to what its parent was doing.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = matches!(queue.try_get(), Err(GetError::Segment(_)))
            && matches!(queue.put(b"from a child"), Err(PutError::Segment(_)));
        leases.clear();
        thread::sleep(nap);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made, if it was.
    if child < 0 || unsafe { libc::waitpid(child, &mut status, 0) } != child || status != 0 {
        return Err(format!("a forked child could use what it inherited: status {status}").into());
    }
    Ok(())
}

enum Took {
    Value(Vec<u8>),
    Lease(Lease),
}

/// Mostly an acknowledgement, else one of the ways back.
fn end(
    lease: Lease,
    receipt: (u64, u64),
    receipts: &mut Receipts,
    random: &mut Random,
) -> Result<(), Failure> {
    match random.below(100) {
        0..=3 => lease.nack()?,
        4..=6 => lease.nack_after(short_wait(random))?,
        7..=8 => lease.release()?,
        9..=11 => drop(lease),
        _ => receipts.take(receipt, || lease.ack())?,
    }
    Ok(())
}
