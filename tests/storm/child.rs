//! The producer and the consumer that the controller starts, stops and kills. Each incarnation draws
//! its way of working (single or batched, waiting, timed or polling) from its seed.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use steadfast::{GetError, JoinableQueue, Queue};

use crate::ends::{Inbox, Inlet, Manner, Outlet};
use crate::ledger::{Ledger, Mood, Seat};
use crate::message;
use crate::random::Random;
use crate::work;

/// The environment variable that makes this program a child: the fields of [`Job`].
pub const JOB: &str = "STEADFAST_STORM_JOB";

/// The largest batch of a put or a get.
pub const BATCH: u64 = 16;

pub type Failure = Box<dyn std::error::Error>;

/// What a child is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub producer: bool,
    pub queue: String,
    pub ledger: String,
    pub controller: u32,
    pub seat: usize,
    pub incarnation: u64,
    pub seed: u64,
    /// The longest message body of the round.
    pub longest: usize,
    /// The largest batch of the round.
    pub batch: u64,
    /// The queue is a joinable one.
    pub work: bool,
    /// In a PID namespace of its own.
    pub foreign: bool,
}

impl Job {
    pub fn to_text(&self) -> String {
        format!(
            "{} {} {} {} {} {} {} {} {} {} {}",
            u8::from(self.producer),
            self.queue,
            self.ledger,
            self.controller,
            self.seat,
            self.incarnation,
            self.seed,
            self.longest,
            self.batch,
            u8::from(self.work),
            u8::from(self.foreign)
        )
    }

    fn from_text(text: &str) -> Option<Job> {
        let mut fields = text.split(' ');
        Some(Job {
            producer: fields.next()? == "1",
            queue: fields.next()?.to_owned(),
            ledger: fields.next()?.to_owned(),
            controller: fields.next()?.parse().ok()?,
            seat: fields.next()?.parse().ok()?,
            incarnation: fields.next()?.parse().ok()?,
            seed: fields.next()?.parse().ok()?,
            longest: fields.next()?.parse().ok()?,
            batch: fields.next()?.parse().ok()?,
            work: fields.next()? == "1",
            foreign: fields.next()? == "1",
        })
    }
}

/// The child's main.
pub fn main(job: &str) -> ExitCode {
    let Some(job) = Job::from_text(job) else {
        eprintln!("storm: unreadable job: {job}");
        return ExitCode::FAILURE;
    };
    match run(&job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let role = if job.producer { "producer" } else { "consumer" };
            eprintln!("storm: {role} {}: {error}", job.incarnation);
            ExitCode::FAILURE
        }
    }
}

fn run(job: &Job) -> Result<(), Failure> {
    // nobody is left behind when the controller dies
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if !job.foreign && std::os::unix::process::parent_id() != job.controller {
        return Ok(());
    }
    let ledger = Ledger::open(&job.ledger)?;
    let seat = ledger.seat(job.seat);
    let random = Random::new(job.seed);
    if job.work {
        let queue: JoinableQueue = JoinableQueue::open(&job.queue)?;
        return match job.producer {
            true => work::produce(job, &queue, &ledger, &seat, random),
            false => work::consume(job, &queue, &ledger, &seat, random),
        };
    }
    let queue: Queue = Queue::open(&job.queue)?;
    match job.producer {
        true => produce(job, &queue, &ledger, &seat, random),
        false => consume(job, &queue, &ledger, &seat, random),
    }
}

/// A pause that the mood asks of this side, now and then, short enough to be no stall.
pub fn pause(ledger: &Ledger, slow: Mood, random: &mut Random) {
    if ledger.mood() == slow && random.percent(50) {
        thread::sleep(Duration::from_micros(random.below(300)));
    }
}

fn produce(
    job: &Job,
    queue: &Queue,
    ledger: &Ledger,
    seat: &Seat,
    mut random: Random,
) -> Result<(), Failure> {
    let manner = Manner::draw(&mut random);
    let batched = random.percent(40);
    let mut outlet = Outlet::open(queue)?;
    let mut messages: Vec<Vec<u8>> = vec![Vec::new(); BATCH as usize];
    let mut sequence = 0;
    while !ledger.stopping() {
        let count = if batched { random.between(1, job.batch) } else { 1 };
        for (number, message) in messages[..count as usize].iter_mut().enumerate() {
            message::write(message, job.incarnation, sequence + number as u64, job.longest);
        }
        seat.intend(sequence + count);
        outlet.put(&messages[..count as usize], batched, manner, &mut random)?;
        sequence += count;
        seat.commit(sequence);
        pause(ledger, Mood::SlowProducers, &mut random);
    }
    Ok(())
}

fn consume(
    job: &Job,
    queue: &Queue,
    ledger: &Ledger,
    seat: &Seat,
    mut random: Random,
) -> Result<(), Failure> {
    let manner = Manner::draw(&mut random);
    let most = if random.percent(40) { random.between(2, job.batch.max(2)) } else { 1 };
    let (mut inlet, mut inbox) = (Inlet::open(queue)?, Inbox::default());
    let (mut receipts, mut scratch) = (Vec::new(), Vec::new());
    let mut written = 0;
    loop {
        while !seat.has_room(written, most) {
            thread::sleep(Duration::from_micros(100));
        }
        seat.enter_get(most);
        receipts.clear();
        let result = inlet.get(&mut inbox, most, manner, &mut random);
        match result {
            Ok(()) => {}
            Err(GetError::TimedOut) => continue,
            Err(GetError::Empty) => {
                thread::yield_now();
                continue;
            }
            Err(GetError::Closed) => {
                seat.leave_get();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        inbox.each(|bytes| {
            receipts.push(message::read(bytes, job.longest, &mut scratch)?);
            Ok(())
        })?;
        seat.write_receipts(written, &receipts);
        seat.leave_get();
        written += receipts.len() as u64;
        pause(ledger, Mood::SlowConsumers, &mut random);
    }
}
