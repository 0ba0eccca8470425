//! The rounds. Each has a queue of its own kind, a stormy part, a calm part in which a lost wake-up
//! can be told from a late one, an orderly end, and its account.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use steadfast::{GetError, JoinableQueue, Queue, QueueOptions, Segment, SegmentOptions, Shutdown};

use crate::account::Outcome;
use crate::child::{BATCH, Job};
use crate::herd::{Failure, Herd};
use crate::ledger::{Ledger, Mood};
use crate::message;
use crate::namespace;
use crate::pulse::{Pulse, STUCK};
use crate::random::Random;
use crate::work;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seconds: u64,
    pub producers: usize,
    pub consumers: usize,
    pub seed: u64,
}

/// One kind of round.
struct Plan {
    title: &'static str,
    capacity: u64,
    maxsize: usize,
    longest: usize,
    batch: u64,
    kill_producers: bool,
    kill_consumers: bool,
    /// One producer and one consumer, each alone in its role.
    single: bool,
    /// The second cast, see [`crate::work`].
    work: bool,
}

impl Plan {
    const fn everyone(title: &'static str, capacity: u64) -> Plan {
        Plan {
            title,
            capacity,
            maxsize: 0,
            longest: 1500,
            batch: BATCH,
            kill_producers: true,
            kill_consumers: true,
            single: false,
            work: false,
        }
    }

    const fn work(title: &'static str, capacity: u64, longest: usize) -> Plan {
        Plan { longest, batch: 4, work: true, ..Plan::everyone(title, capacity) }
    }
}

const KIB: u64 = 1024;

const PLANS: [Plan; 7] = [
    Plan::everyone("everybody dies, 64 KiB", 64 * KIB),
    Plan { kill_consumers: false, ..Plan::everyone("only producers die", 64 * KIB) },
    Plan { longest: 200, batch: 4, ..Plan::everyone("everybody dies, 4 KiB", 4 * KIB) },
    Plan { kill_producers: false, ..Plan::everyone("only consumers die", 64 * KIB) },
    Plan { maxsize: 8, batch: 4, ..Plan::everyone("everybody dies, 8 items", 64 * KIB) },
    Plan { single: true, ..Plan::everyone("single roles, 64 KiB", 64 * KIB) },
    Plan::everyone("everybody dies, 4 MiB", 4096 * KIB),
];

const MIB: u64 = 1024 * KIB;

const WORK: [Plan; 4] = [
    Plan::work("work, up to 1 MiB each", 8 * MIB, 1 << 20),
    Plan::work("work in 64 KiB", 64 * KIB, 1500),
    Plan { kill_producers: false, ..Plan::work("work, only consumers die", MIB, 100_000) },
    Plan::work(LARGEST, 64 * MIB, (8 << 20) - message::HEADER),
];
/// Only in a long storm.
const LARGEST: &str = "work, up to 8 MiB each";
const LONG: u64 = 60;

/// Without deaths and stops for so long, no sleeper can owe its sleep to one of them.
const SETTLE: Duration = Duration::from_millis(350);

/// What a round, or all of them together, came to.
#[derive(Default)]
pub struct Report {
    pub outcome: Outcome,
    pub producer_kills: u64,
    pub consumer_kills: u64,
    pub stops: u64,
    pub longest_stall: Duration,
    pub longest_blindness: Duration,
    pub late_wake_ups: u64,
    pub lost_wake_ups: u64,
}

impl Report {
    fn add(&mut self, round: Report) {
        let (sum, outcome) = (&mut self.outcome, round.outcome);
        sum.put += outcome.put;
        sum.received += outcome.received;
        sum.lost += outcome.lost;
        sum.in_flight_in += outcome.in_flight_in;
        sum.in_flight_absent += outcome.in_flight_absent;
        sum.killed_in_get += outcome.killed_in_get;
        sum.allowed += outcome.allowed;
        sum.duplicates += outcome.duplicates;
        sum.disordered += outcome.disordered;
        sum.complaints.extend(outcome.complaints);
        self.producer_kills += round.producer_kills;
        self.consumer_kills += round.consumer_kills;
        self.stops += round.stops;
        self.longest_stall = self.longest_stall.max(round.longest_stall);
        self.longest_blindness = self.longest_blindness.max(round.longest_blindness);
        self.late_wake_ups += round.late_wake_ups;
        self.lost_wake_ups += round.lost_wake_ups;
    }
}

/// The name of the queue that exists at the moment, for whoever must clean up after us.
pub type Current = Arc<Mutex<Option<String>>>;

/// Runs all the rounds of both casts; stops at the first one that goes wrong.
pub fn run(settings: &Settings, current: &Current) -> (Report, Result<(), Failure>) {
    let mut total = Report::default();
    let ledger = match Ledger::create(settings.producers + settings.consumers) {
        Ok(ledger) => ledger,
        Err(error) => return (total, Err(error.into())),
    };
    let mut random = Random::new(settings.seed);
    let foreign = namespace::permitted();
    if !foreign {
        println!("storm: no right to make a PID namespace: everybody works in this one");
    }
    let mut all = schedule(&PLANS.iter().collect::<Vec<_>>(), settings.seconds * 1000);
    all.extend(schedule(&work_plans(settings.seconds), settings.seconds * 500));
    let mut incarnation = 1;
    for (number, (plan, length)) in all.into_iter().enumerate() {
        let name = format!("test-{}-storm-{number}", std::process::id());
        *current.lock().expect("no panic under this lock") = Some(name.clone());
        let mut round =
            Round { settings, plan, ledger: &ledger, name: &name, random: &mut random, foreign };
        let result = round.run(length, &mut incarnation);
        let _ = Segment::unlink(&name);
        match result {
            Ok(report) => {
                print_round(number as u64 + 1, plan, &report);
                let sound = report.outcome.complaints.is_empty();
                total.add(report);
                if !sound {
                    return (total, Err("the account does not balance".into()));
                }
            }
            Err(error) => {
                let title = plan.title;
                return (total, Err(format!("round {} ({title}): {error}", number + 1).into()));
            }
        }
    }
    (total, Ok(()))
}

/// The rounds that fit into so many milliseconds.
fn schedule<'p>(plans: &[&'p Plan], millis: u64) -> Vec<(&'p Plan, Duration)> {
    let usual = (millis / plans.len().max(1) as u64).clamp(1400, 6000);
    let rounds = (millis / usual).max(1);
    let length = Duration::from_millis(millis / rounds);
    plans.iter().cycle().take(rounds as usize).map(|plan| (*plan, length)).collect()
}

/// The second cast's, as far as there is memory for them.
fn work_plans(seconds: u64) -> Vec<&'static Plan> {
    let free = rustix::fs::statvfs("/dev/shm").map_or(0, |shm| shm.f_bavail * shm.f_frsize);
    let asked = |plan: &&Plan| plan.title != LARGEST || seconds >= LONG;
    let fits = |plan: &&Plan| {
        let fits = plan.capacity * 2 <= free;
        if !fits {
            println!("storm: not enough shared memory, skipped: {}", plan.title);
        }
        fits
    };
    WORK.iter().filter(asked).filter(fits).collect()
}

fn print_round(number: u64, plan: &Plan, report: &Report) {
    let outcome = &report.outcome;
    println!(
        "round {number:2}  {:25} {:9} put {:9} got {:4} lost  {:4} + {:4} kills {:4} stops  stall {:5.1} ms",
        plan.title,
        outcome.put,
        outcome.received,
        outcome.lost,
        report.producer_kills,
        report.consumer_kills,
        report.stops,
        report.longest_stall.as_secs_f64() * 1e3,
    );
}

/// The queue of a round.
enum Either {
    Plain(Queue),
    Work(JoinableQueue),
}

struct Round<'a> {
    settings: &'a Settings,
    plan: &'a Plan,
    ledger: &'a Ledger,
    name: &'a str,
    random: &'a mut Random,
    /// One may be in another PID namespace.
    foreign: bool,
}

impl Round<'_> {
    fn jobs(&mut self) -> Vec<Job> {
        let (producers, consumers) = match self.plan.single {
            true => (1, 1),
            false => (self.settings.producers, self.settings.consumers),
        };
        let job = |seat| Job {
            producer: seat < producers,
            queue: self.name.to_owned(),
            ledger: self.ledger.path().to_owned(),
            controller: std::process::id(),
            seat,
            incarnation: 0,
            seed: self.random.next(),
            longest: self.plan.longest,
            batch: self.plan.batch,
            work: self.plan.work,
            foreign: self.foreign && self.plan.work && seat == producers,
        };
        (0..producers + consumers).map(job).collect()
    }

    fn run(&mut self, length: Duration, incarnation: &mut u64) -> Result<Report, Failure> {
        let mut options = QueueOptions::new()
            .maxsize(self.plan.maxsize)
            .capacity(self.plan.capacity)
            .segment(SegmentOptions::new().ephemeral(true));
        if self.plan.single {
            options = options.single_producer().single_consumer();
        }
        let queue = match self.plan.work {
            true => Either::Work(JoinableQueue::create(self.name, &options)?),
            false => Either::Plain(Queue::create(self.name, &options)?),
        };
        self.ledger.set_stopping(false);
        let jobs = self.jobs();
        let mut herd = Herd::start(self.ledger, jobs, *incarnation)?;
        let mut pulse = Pulse::new();

        let calm = SETTLE + (length / 4).max(Duration::from_millis(250));
        self.storm(&mut herd, &mut pulse, length.saturating_sub(calm))?;
        self.calm(&mut herd, &mut pulse, calm)?;

        self.ledger.set_stopping(true);
        self.leave(&mut herd, &mut pulse, true)?;
        match queue {
            Either::Plain(queue) => {
                let discarded = queue.shutdown(Shutdown::Drain)?;
                self.leave(&mut herd, &mut pulse, false)?;
                if discarded != 0 {
                    let what = format!("a draining shutdown discarded {discarded} messages");
                    return Err(what.into());
                }
                let last = match self.plan.single {
                    true => queue.consumer()?.try_get(),
                    false => queue.try_get(),
                };
                if !matches!(last, Err(GetError::Closed)) {
                    return Err(format!("the drained queue gave {last:?}").into());
                }
            }
            Either::Work(queue) => {
                pulse.restart();
                while !work::is_done(&queue)? {
                    self.tick(&mut herd, &mut pulse, false)?;
                }
                work::check_store(&queue)?;
                queue.shutdown(Shutdown::Drain)?;
                self.leave(&mut herd, &mut pulse, false)?;
            }
        }

        *incarnation = herd.next_incarnation();
        let lost_wake_ups = pulse.lost_wake_ups;
        let mut outcome = std::mem::take(&mut herd.account).close();
        if lost_wake_ups > 0 {
            outcome.complaints.push(format!(
                "{lost_wake_ups} times everybody slept although there was work and nobody had died"
            ));
        }
        Ok(Report {
            outcome,
            producer_kills: herd.producer_kills,
            consumer_kills: herd.consumer_kills,
            stops: herd.stops,
            longest_stall: pulse.longest,
            longest_blindness: pulse.blind,
            late_wake_ups: pulse.late_wake_ups,
            lost_wake_ups,
        })
    }

    /// One look at everything, and a short rest.
    fn tick(&self, herd: &mut Herd, pulse: &mut Pulse, calm: bool) -> Result<(), Failure> {
        let stopped = herd.continue_due(calm)?;
        let value = herd.collect();
        let stall = pulse.look(value, stopped, calm, || herd.everybody_sleeps());
        if stall > STUCK {
            return Err(format!("nothing has moved for {stall:.1?} with nobody stopped").into());
        }
        thread::sleep(Duration::from_micros(300));
        Ok(())
    }

    /// Deaths and stops at random moments, and changes of mood.
    fn storm(
        &mut self,
        herd: &mut Herd,
        pulse: &mut Pulse,
        length: Duration,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let (mut next_blow, mut next_mood, mut next_watch) = (start, start, start);
        while start.elapsed() < length {
            self.tick(herd, pulse, false)?;
            let now = Instant::now();
            if now >= next_mood {
                self.ledger.set_mood(Mood::ALL[self.random.below(3) as usize]);
                next_mood = now + Duration::from_millis(self.random.between(10, 80));
            }
            if now >= next_watch {
                herd.watch(None)?;
                next_watch = now + Duration::from_millis(20);
            }
            if now >= next_blow {
                self.strike(herd)?;
                next_blow = now + Duration::from_micros(self.random.between(300, 6000));
            }
        }
        Ok(())
    }

    fn strike(&mut self, herd: &mut Herd) -> Result<(), Failure> {
        let random = &mut *self.random;
        if random.percent(12) {
            let seat = random.below(herd.len() as u64);
            // now and then for longer than several backstops
            let pause = if random.percent(4) { 350_000 } else { random.between(100, 25_000) };
            return herd.stop(seat as usize, Duration::from_micros(pause));
        }
        let producers = match (self.plan.kill_producers, self.plan.kill_consumers) {
            (true, true) => random.percent(50),
            (producers, _) => producers,
        };
        let mut seats = herd.seats(producers);
        if !random.percent(6) {
            seats = vec![seats[random.below(seats.len() as u64) as usize]];
        }
        herd.kill(&seats, random.next())
    }

    /// Nobody dies and nobody is stopped.
    fn calm(
        &mut self,
        herd: &mut Herd,
        pulse: &mut Pulse,
        length: Duration,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let mut next_mood = start;
        while start.elapsed() < length {
            let settled = start.elapsed() >= SETTLE;
            herd.continue_due(true)?;
            self.tick(herd, pulse, settled)?;
            if Instant::now() >= next_mood {
                self.ledger.set_mood(Mood::ALL[self.random.below(3) as usize]);
                next_mood = Instant::now() + Duration::from_millis(60);
            }
        }
        herd.watch(None)?;
        Ok(())
    }

    /// Waits until one side, asked to leave, has left.
    fn leave(
        &mut self,
        herd: &mut Herd,
        pulse: &mut Pulse,
        producers: bool,
    ) -> Result<(), Failure> {
        let side = if producers { "producers" } else { "consumers" };
        let start = Instant::now();
        while herd.watch(Some(producers))? > 0 {
            // someone who leaves moves nothing, so this part has a clock of its own
            pulse.restart();
            self.tick(herd, pulse, false)?;
            if start.elapsed() > STUCK * 2 {
                return Err(format!("the {side} do not leave").into());
            }
        }
        herd.collect();
        Ok(())
    }
}
