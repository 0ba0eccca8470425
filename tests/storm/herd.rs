//! The children of one round: started, stopped, killed, reaped and replaced, and their ledgers read.
//! Every signal goes to a child of ours that is not yet reaped, so its number is still its own.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::account::{Account, Reader};
use crate::child::{JOB, Job};
use crate::ledger::{Ledger, Seat};
use crate::namespace;

pub type Failure = Box<dyn std::error::Error>;

/// One seat's present occupant.
struct Occupant {
    job: Job,
    process: Child,
    stopped_until: Option<Instant>,
    reader: Reader,
    left: bool,
}

impl Occupant {
    /// Books a consumer's receipts; tells how many there are.
    fn book(&mut self, account: &mut Account, seat: &Seat) -> u64 {
        let (reader, work) = (&mut self.reader, self.job.work);
        seat.drain(|from, number| match work {
            true => account.done(from, number),
            false => account.receipt(reader, from, number),
        })
    }
}

/// All the children of a round.
pub struct Herd<'a> {
    ledger: &'a Ledger,
    occupants: Vec<Occupant>,
    next_incarnation: u64,
    /// Receipts, and puts of producers that are gone.
    settled: u64,
    pub account: Account,
    pub producer_kills: u64,
    pub consumer_kills: u64,
    pub stops: u64,
}

impl<'a> Herd<'a> {
    /// Starts one child per job; the jobs' seats must be 0, 1, 2 and so on.
    pub fn start(ledger: &'a Ledger, jobs: Vec<Job>, first: u64) -> Result<Herd<'a>, Failure> {
        let mut herd = Herd {
            ledger,
            occupants: Vec::new(),
            next_incarnation: first,
            settled: 0,
            account: Account::default(),
            producer_kills: 0,
            consumer_kills: 0,
            stops: 0,
        };
        for job in jobs {
            let occupant = herd.spawn(job)?;
            herd.occupants.push(occupant);
        }
        Ok(herd)
    }

    fn spawn(&mut self, mut job: Job) -> Result<Occupant, Failure> {
        job.incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        self.ledger.seat(job.seat).clear();
        let mut command = Command::new(std::env::current_exe()?);
        command.env(JOB, job.to_text());
        let process = match job.foreign {
            true => namespace::in_new_one(|| command.spawn())?,
            false => command.spawn()?,
        };
        Ok(Occupant { job, process, stopped_until: None, reader: Reader::default(), left: false })
    }

    /// The incarnation number that comes next.
    pub fn next_incarnation(&self) -> u64 {
        self.next_incarnation
    }

    /// How many seats there are.
    pub fn len(&self) -> usize {
        self.occupants.len()
    }

    /// The seats of one side.
    pub fn seats(&self, producers: bool) -> Vec<usize> {
        let of_side = |seat: &usize| self.occupants[*seat].job.producer == producers;
        (0..self.occupants.len()).filter(of_side).collect()
    }

    /// Reads all receipts and returns a number that grows with everything anybody achieves.
    pub fn collect(&mut self) -> u64 {
        let mut puts = 0;
        for occupant in &mut self.occupants {
            let seat = self.ledger.seat(occupant.job.seat);
            if occupant.job.producer {
                puts += if occupant.left { 0 } else { seat.committed() };
            } else {
                self.settled += occupant.book(&mut self.account, &seat);
            }
        }
        self.settled + puts
    }

    /// Kills the occupants of `seats`, waits for their end, and seats new ones at once.
    pub fn kill(&mut self, seats: &[usize], seed: u64) -> Result<(), Failure> {
        for seat in seats {
            self.occupants[*seat].process.kill()?;
        }
        for (number, seat) in seats.iter().enumerate() {
            let status = self.occupants[*seat].process.wait()?;
            if status.signal() != Some(Signal::KILL.as_raw()) {
                return Err(unexpected(&self.occupants[*seat].job, status));
            }
            self.settle(*seat, true);
            let mut job = self.occupants[*seat].job.clone();
            job.seed = seed.wrapping_add(number as u64);
            self.occupants[*seat] = self.spawn(job)?;
        }
        Ok(())
    }

    /// Books what a child that is gone has left in its seat.
    fn settle(&mut self, seat: usize, killed: bool) {
        let occupant = &mut self.occupants[seat];
        let ledger = self.ledger.seat(seat);
        occupant.left = true;
        if occupant.job.producer {
            let job = &occupant.job;
            self.settled += ledger.committed();
            self.producer_kills += u64::from(killed);
            self.account.producer_ended(job.incarnation, ledger.committed(), ledger.intended());
            return;
        }
        self.settled += occupant.book(&mut self.account, &ledger);
        if killed {
            self.consumer_kills += 1;
            self.account.consumer_killed(ledger.in_get());
        }
    }

    fn signal(&self, seat: usize, signal: Signal) -> Result<(), Failure> {
        Ok(kill_process(Pid::from_child(&self.occupants[seat].process), signal)?)
    }

    /// Stops a child for a while (see [`Herd::continue_due`]).
    pub fn stop(&mut self, seat: usize, pause: Duration) -> Result<(), Failure> {
        if self.occupants[seat].stopped_until.is_none() {
            self.signal(seat, Signal::STOP)?;
            self.occupants[seat].stopped_until = Some(Instant::now() + pause);
            self.stops += 1;
        }
        Ok(())
    }

    /// Continues the stopped children whose time is up, or all of them. True when some are left.
    pub fn continue_due(&mut self, all: bool) -> Result<bool, Failure> {
        let now = Instant::now();
        let mut stopped = false;
        for seat in 0..self.occupants.len() {
            match self.occupants[seat].stopped_until {
                Some(until) if all || until <= now => {
                    self.signal(seat, Signal::CONT)?;
                    self.occupants[seat].stopped_until = None;
                }
                Some(_) => stopped = true,
                None => {}
            }
        }
        Ok(stopped)
    }

    /// Whether every child sleeps at this moment, in the eyes of the kernel.
    pub fn everybody_sleeps(&self) -> bool {
        let sleeps = |occupant: &Occupant| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", occupant.process.id()));
            let stat = stat.unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
        };
        self.occupants.iter().filter(|occupant| !occupant.left).all(sleeps)
    }

    /// Nobody may end on their own, except where `leaving` names the side that has been asked to.
    /// Returns how many of that side are still there.
    pub fn watch(&mut self, leaving: Option<bool>) -> Result<usize, Failure> {
        let mut there = 0;
        for seat in 0..self.occupants.len() {
            let occupant = &mut self.occupants[seat];
            if occupant.left {
                continue;
            }
            let asked = leaving == Some(occupant.job.producer);
            match occupant.process.try_wait()? {
                None => there += usize::from(asked),
                Some(status) if asked && status.success() => self.settle(seat, false),
                Some(status) => return Err(unexpected(&occupant.job, status)),
            }
        }
        Ok(there)
    }
}

fn unexpected(job: &Job, status: ExitStatus) -> Failure {
    let role = if job.producer { "producer" } else { "consumer" };
    format!("{role} {} ended by itself: {status}", job.incarnation).into()
}

impl Drop for Herd<'_> {
    fn drop(&mut self) {
        for occupant in self.occupants.iter_mut().filter(|occupant| !occupant.left) {
            let _ = occupant.process.kill();
            let _ = occupant.process.wait();
        }
    }
}
