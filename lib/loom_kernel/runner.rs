//! Runs scenarios through loom, counts, and tells what was explored.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use super::{Fault, Place, Plant, World, world};

/// How often loom may switch a thread that could go on, if a model does not say it. The environment's
/// `LOOM_MAX_PREEMPTIONS` goes before both, and `LOOM_MORE_PREEMPTIONS` is added.
const PREEMPTIONS: usize = 2;

/// Steps of one execution: more than any scenario here needs.
const BRANCHES: usize = 5_000;

/// What is to be explored, and how.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    name: &'static str,
    preemptions: usize,
    patient: bool,
    fault: Option<Plant>,
}

/// What became of the executions that ended with a death at one place.
#[derive(Clone, Copy, Default)]
struct Deaths {
    executions: u64,
    /// Those in which somebody then slept for a whole backstop.
    backstops: u64,
}

#[derive(Default)]
struct Tally {
    executions: u64,
    deaths: BTreeMap<Place, Deaths>,
}

/// What was explored.
pub(crate) struct Report {
    deaths: BTreeMap<Place, Deaths>,
}

impl Report {
    /// After a death at which places somebody slept for a whole backstop, as `module operation`.
    pub(crate) fn backstop_after(&self) -> Vec<String> {
        let needed = self.deaths.iter().filter(|(_, deaths)| deaths.backstops > 0);
        let mut names: Vec<_> =
            needed.map(|(place, _)| format!("{} {}", place.module(), place.op)).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Model {
    pub(crate) fn new(name: &'static str) -> Model {
        Model { name, preemptions: PREEMPTIONS, patient: false, fault: None }
    }

    /// Another number of preemptions than usual.
    pub(crate) fn preemptions(self, preemptions: usize) -> Model {
        Model { preemptions, ..self }
    }

    /// With somebody who is stopped, so that others sleep for a whole backstop.
    pub(crate) fn patient(self) -> Model {
        Model { patient: true, ..self }
    }

    /// With a mistake in the code.
    pub(crate) fn planted(self, fault: Fault) -> Model {
        Model { fault: Some(Plant::Fault(fault)), ..self }
    }

    /// Without the event count's fences.
    pub(crate) fn without_fences(self) -> Model {
        Model { fault: Some(Plant::NoFence), ..self }
    }

    /// Explores the scenario. Nobody dies, so no wake may be lost.
    pub(crate) fn run(self, scenario: impl Fn() + Send + Sync + 'static) {
        let started = Instant::now();
        let tally = self.explore(None, &Arc::new(scenario));
        self.tell(tally.executions, started, "no deaths");
    }

    /// Explores the scenario with the victim killed before its first access, before its second, and so
    /// on, until it is killed nowhere any more.
    pub(crate) fn with_deaths(self, scenario: impl Fn() + Send + Sync + 'static) -> Report {
        let started = Instant::now();
        let scenario = Arc::new(scenario);
        let (mut executions, mut deaths) = (0, BTreeMap::<Place, Deaths>::new());
        for die_at in 0.. {
            let tally = self.explore(Some(die_at), &scenario);
            executions += tally.executions;
            if tally.deaths.is_empty() {
                break;
            }
            for (place, more) in tally.deaths {
                let sum = deaths.entry(place).or_default();
                sum.executions += more.executions;
                sum.backstops += more.backstops;
            }
        }
        assert!(!deaths.is_empty(), "{}: there is no victim", self.name);
        let report = Report { deaths };
        let needed = report.deaths.iter().filter(|(_, deaths)| deaths.backstops > 0);
        let needed: Vec<_> = needed.map(|(place, _)| place).collect();
        let count = report.deaths.len();
        let what = match (self.patient, needed.is_empty()) {
            (true, _) => format!("{count} places to die"),
            (_, true) => format!("{count} places to die, none needs the backstop"),
            (_, false) => format!("{count} places to die, backstop after {needed:?}"),
        };
        self.tell(executions, started, &what);
        report
    }

    /// Runs `explore`, which must fail, and say `why`.
    pub(crate) fn must_fail(self, why: &str, explore: impl FnOnce(Model)) {
        let result = quietly(|| catch_unwind(AssertUnwindSafe(|| explore(self))));
        let Err(payload) = result else {
            panic!("{}: the planted mistake was not found", self.name);
        };
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| text.to_string()));
        let text = text.unwrap_or_default();
        assert!(text.contains(why), "{}: failed otherwise: {text}", self.name);
        println!("{:<52} found: {}", self.name, text.lines().next().unwrap_or_default());
    }

    fn explore(
        self,
        die_at: Option<u32>,
        scenario: &Arc<impl Fn() + Send + Sync + 'static>,
    ) -> Tally {
        let mut builder = loom::model::Builder::new();
        builder.max_branches = BRANCHES;
        let more = std::env::var("LOOM_MORE_PREEMPTIONS").ok();
        let more: usize = more.map_or(0, |more| more.parse().expect("a number of preemptions"));
        builder.preemption_bound.get_or_insert(self.preemptions + more);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (kept, scenario) = (tally.clone(), scenario.clone());
        builder.check(move || {
            world(|world| {
                *world =
                    World { die_at, patient: self.patient, fault: self.fault, ..World::default() };
                world.admit(None)
            });
            scenario();
            let (death, backstops) =
                world(|world| (world.death, std::mem::take(&mut world.backstops)));
            let mut tally = kept.lock().expect("a tally");
            tally.executions += 1;
            let Some(death) = death else {
                return;
            };
            let deaths = tally.deaths.entry(death.place).or_default();
            deaths.executions += 1;
            deaths.backstops += u64::from(!backstops.is_empty());
        });
        std::mem::take(&mut *tally.lock().expect("a tally"))
    }

    fn tell(&self, executions: u64, started: Instant, what: &str) {
        let seconds = started.elapsed().as_secs_f32();
        println!("{:<52} {executions:>8} executions {seconds:>5.1} s, {what}", self.name);
    }
}

std::thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` without the messages of its panics, which are expected.
fn quietly<R>(work: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}
