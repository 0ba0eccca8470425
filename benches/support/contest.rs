//! Contestants that take turns, sample by sample, so that a change of the machine hits all alike.
//!
//! Criterion measures one function after the other, which would compare different minutes of the
//! machine. So the whole contest is run when criterion asks for its first member, and criterion is then
//! given the samples that were taken: it adds its statistics, its comparison with the last run, and
//! its files.

use std::cell::{OnceCell, RefCell};
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};

use steadfast::Segment;

use super::crew::{Crew, Sample};
use super::{Result, wrong};

/// Round trips of a line below so many nanoseconds: the two processors are two threads of one core, or
/// share a cache.
const SAME_CORE: f64 = 90.0;
const NEAR: f64 = 200.0;
/// A sample of a pair that waited for a processor for a larger part of the time does not count.
const DISTURBED: f64 = 0.03;
/// As many samples are needed for a figure.
const ENOUGH: usize = 3;

/// How much trouble to take.
#[derive(Clone, Copy)]
struct Effort {
    /// How many samples of each contestant are wanted, and how often to try at most.
    samples: usize,
    tries: usize,
    /// How long a sample should take.
    sample: Duration,
    /// How long each replayed sample takes: criterion's quick mode counts the time of this process.
    replay: Duration,
}

impl Effort {
    /// As criterion's own arguments say.
    fn from_arguments() -> Effort {
        let given = |flag: &str| std::env::args().any(|argument| argument == flag);
        let millis = Duration::from_millis;
        if given("--test") {
            Effort { samples: 1, tries: 1, sample: millis(1), replay: Duration::ZERO }
        } else if given("--quick") {
            Effort { samples: 5, tries: 15, sample: millis(20), replay: millis(5) }
        } else {
            Effort { samples: 15, tries: 60, sample: millis(60), replay: Duration::ZERO }
        }
    }
}

/// Where a contest takes place: the processes. All peers are started before anything is timed.
pub struct Stage {
    pair: Crew,
    crowd: Crew,
    effort: Effort,
}

impl Stage {
    /// A stage with a pair on processors of their own, and a crowd of so many.
    pub fn new(crowd: usize) -> Result<Stage> {
        Ok(Stage {
            pair: Crew::pair()?,
            crowd: Crew::crowd(crowd)?,
            effort: Effort::from_arguments(),
        })
    }

    /// The crew that does a contestant's work.
    pub fn crew(&mut self, who: Who) -> &mut Crew {
        match who {
            Who::Pair => &mut self.pair,
            Who::Crowd => &mut self.crowd,
        }
    }
}

/// Who does a contestant's work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Up to two processes on processors of their own.
    Pair,
    /// The crowd, more than there are processors.
    Crowd,
}

/// One way to do the work.
pub struct Contestant {
    name: String,
    who: Who,
    orders: Box<dyn Fn(u64, bool) -> Vec<String>>,
    check: Check,
    /// The count is always a multiple of this.
    step: u64,
    /// Names of segments that the peers open for their first order; nobody needs them after that.
    names: Vec<String>,
    count: u64,
    samples: Vec<Figure>,
}

/// What the peers' sum must be after so many operations.
type Check = Box<dyn FnMut(&mut Crew, u64, &Sample) -> Result<()>>;

/// One sample.
#[derive(Clone, Copy)]
struct Figure {
    /// Nanoseconds for one operation.
    each: f64,
    /// The round trip of a line before and after.
    line: [f64; 2],
    kept_waiting: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    SameCore,
    Near,
    Far,
    Changed,
}

impl Class {
    fn of(line: f64) -> Class {
        match line {
            line if line < SAME_CORE => Class::SameCore,
            line if line < NEAR => Class::Near,
            _ => Class::Far,
        }
    }
}

impl Figure {
    fn class(&self) -> Class {
        let [before, after] = self.line.map(Class::of);
        if before == after { before } else { Class::Changed }
    }
}

/// Contestants that are compared with each other. The first is the one the others are measured by.
pub struct Contest {
    title: &'static str,
    contestants: Vec<Contestant>,
}

impl Contest {
    /// A contest without contestants.
    pub fn new(title: &'static str) -> Contest {
        Contest { title, contestants: Vec::new() }
    }

    /// One more contestant. `orders` gives the peers' orders for so many operations, to be checked
    /// one by one or only by their sum; `check` looks at the outcome. Counts are multiples of `step`.
    /// `names` are the segments' that it uses.
    pub fn entry(
        mut self,
        name: impl Into<String>,
        (who, step): (Who, u64),
        names: &[&str],
        orders: impl Fn(u64, bool) -> Vec<String> + 'static,
        check: impl FnMut(&mut Crew, u64, &Sample) -> Result<()> + 'static,
    ) -> Contest {
        self.contestants.push(Contestant {
            name: name.into(),
            who,
            orders: Box::new(orders),
            check: Box::new(check),
            step,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            count: step,
            samples: Vec::new(),
        });
        self
    }

    /// Hands the contest to criterion, which runs it if one of its members was asked for.
    pub fn register(self, criterion: &mut Criterion, stage: &RefCell<Stage>) {
        let names: Vec<String> = self.contestants.iter().map(|one| one.name.clone()).collect();
        let mut group = criterion.benchmark_group(self.title);
        group
            .throughput(Throughput::Elements(1))
            .sampling_mode(SamplingMode::Flat)
            .sample_size(10)
            .warm_up_time(Duration::from_nanos(1))
            .measurement_time(Duration::from_millis(500));
        let contest = RefCell::new(self);
        let outcome = OnceCell::new();
        for (at, name) in names.iter().enumerate() {
            group.bench_function(name, |bencher| {
                let outcome: &Vec<Vec<f64>> = outcome.get_or_init(|| {
                    let (mut contest, mut stage) = (contest.borrow_mut(), stage.borrow_mut());
                    let outcome = contest.hold(&mut stage);
                    outcome.unwrap_or_else(|error| panic!("{}: {error}", contest.title))
                });
                let replay = stage.borrow().effort.replay;
                let mut samples = outcome[at].iter().cycle();
                bencher.iter_custom(|iterations| {
                    std::thread::sleep(replay);
                    let each = samples.next().copied().unwrap_or(0.0);
                    Duration::from_secs_f64(each * iterations as f64 / 1e9)
                });
            });
        }
        group.finish();
    }

    /// Checks every contestant message by message, finds out how many operations make a sample, then
    /// takes samples in turn. Gives the samples that count.
    fn hold(&mut self, stage: &mut Stage) -> Result<Vec<Vec<f64>>> {
        for contestant in &mut self.contestants {
            contestant.prepare(stage)?;
        }
        for turn in 0..stage.effort.tries {
            if turn >= stage.effort.samples && self.best_class(stage.effort.samples).is_some() {
                break;
            }
            for contestant in &mut self.contestants {
                contestant.take_sample(stage)?;
            }
        }
        let class = self.best_class(ENOUGH.min(stage.effort.samples));
        self.print(class);
        Ok(self.contestants.iter().map(|one| one.counted(class)).collect())
    }

    /// The class in which every contestant has so many samples that count.
    fn best_class(&self, wanted: usize) -> Option<Class> {
        [Class::Near, Class::SameCore, Class::Far].into_iter().find(|&class| {
            self.contestants.iter().all(|one| one.counted(Some(class)).len() >= wanted)
        })
    }

    fn print(&self, class: Option<Class>) {
        let lines = self.contestants.iter().flat_map(|one| {
            one.samples.iter().filter(|figure| class.is_none_or(|class| figure.class() == class))
        });
        let mut lines: Vec<f64> = lines.flat_map(|figure| figure.line).collect();
        let words = match class {
            Some(Class::SameCore) => "of one core",
            Some(Class::Near) => "near",
            Some(Class::Far) => "far",
            _ => "UNSTEADY, all samples",
        };
        let (low, line, high) = spread(&mut lines);
        println!(
            "\n{}: processors {words}, a line there and back {line:.0} ns ({low:.0}-{high:.0})",
            self.title
        );
        let mut first = None;
        for one in &self.contestants {
            let mut counted = one.counted(class);
            let (low, median, high) = spread(&mut counted);
            let first = *first.get_or_insert(median);
            println!(
                "  {:<28} {median:>9.1} ns ({low:.1}-{high:.1})  {:>8.2} M/s  x{:.2}  {} of {} samples",
                one.name,
                1e3 / median,
                median / first,
                counted.len(),
                one.samples.len(),
            );
        }
        println!();
    }
}

impl Contestant {
    fn counted(&self, class: Option<Class>) -> Vec<f64> {
        let counts = |figure: &&Figure| {
            let Some(class) = class else { return true };
            // In a crowd everybody waits for processors: that is what is measured.
            figure.class() == class && (self.who == Who::Crowd || figure.kept_waiting <= DISTURBED)
        };
        self.samples.iter().filter(counts).map(|figure| figure.each).collect()
    }

    fn run(&mut self, stage: &mut Stage, checked: bool) -> Result<Sample> {
        let crew = stage.crew(self.who);
        let sample = crew.run(&(self.orders)(self.count, checked))?;
        (self.check)(crew, self.count, &sample)?;
        Ok(sample)
    }

    fn prepare(&mut self, stage: &mut Stage) -> Result<()> {
        self.count = self.step.max(1000_u64.next_multiple_of(self.step));
        self.run(stage, true)?;
        // Everybody has it open: from here nothing stays behind, whoever is killed.
        for name in self.names.drain(..) {
            Segment::unlink(&name)?;
        }
        loop {
            let time = self.run(stage, false)?.time;
            let share = stage.effort.sample.as_secs_f64() / time.as_secs_f64();
            if share < 4.0 {
                self.count = ((self.count as f64 * share) as u64).next_multiple_of(self.step);
                self.count = self.count.max(self.step);
                return Ok(());
            }
            self.count *= 4;
            if self.count > 1 << 40 {
                return wrong("takes no time at all");
            }
        }
    }

    fn take_sample(&mut self, stage: &mut Stage) -> Result<()> {
        let before = stage.pair.line_round_trip()?;
        let sample = self.run(stage, false)?;
        let after = stage.pair.line_round_trip()?;
        self.samples.push(Figure {
            each: sample.time.as_nanos() as f64 / self.count as f64,
            line: [before, after],
            kept_waiting: sample.kept_waiting,
        });
        Ok(())
    }
}

/// The least, the median and the greatest.
fn spread(figures: &mut [f64]) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    match figures {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        [first, ..] => (*first, figures[figures.len() / 2], figures[figures.len() - 1]),
    }
}
