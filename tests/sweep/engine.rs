//! One operation, killed at one point after the other.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use crate::peer::Peer;
use crate::tally::Tally;
use crate::tracee::{Path, Stop, Tracee};
use crate::watch::Watch;

/// How the victims of an operation are led to their points.
pub enum Course {
    /// The operation runs through: a point before every instruction, and one after the last.
    Through,
    /// It waits for somebody: points up to its sleep, one in it, and points after it was woken.
    Waits,
    /// A long one: points where it changed the segment's bytes, and on both sides of every system
    /// call.
    Changes,
    /// Nobody is killed: it has rounds of its own.
    Own(OwnRounds),
}

type OwnRounds = Box<dyn Fn(Run) -> Result<(), String> + Send + Sync>;

/// What rounds of their own get to work with.
pub struct Run<'a> {
    /// How much is wanted.
    pub effort: Effort,
    /// Where to count.
    pub tally: &'a mut Tally,
    /// The live processes.
    pub lane: &'a mut Lane,
    /// To be called now and then.
    pub pat: &'a dyn Fn(&str),
}

/// Where a victim is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// After so many instructions.
    Step(usize),
    /// Asleep, in a system call.
    Asleep,
    /// So many instructions after it was woken.
    Woken(usize),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Step(k) => write!(f, "{k}"),
            Point::Asleep => f.write_str("asleep"),
            Point::Woken(k) => write!(f, "woken+{k}"),
        }
    }
}

impl Point {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Point> {
        if text == "asleep" {
            return Some(Point::Asleep);
        }
        match text.strip_prefix("woken+") {
            Some(k) => k.parse().ok().map(Point::Woken),
            None => text.parse().ok().map(Point::Step),
        }
    }
}

/// How one victim died.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// Before its first instruction.
    pub at_once: bool,
    /// At the marker behind the operation: it had returned.
    pub finished: bool,
    /// Which of the scenario's points this was, for what alternates between them.
    pub number: usize,
    /// When it was gone.
    pub when: Instant,
}

/// What the survivors found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As if the operation had not begun.
    Before,
    /// As if it had been completed.
    After,
}

/// What became of one point.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// The state that the survivors found.
    pub state: State,
    /// The longest that a survivor had to wait.
    pub waited: Duration,
    /// So long that nobody can have woken it: it looked for itself. Counted, and a reason to fail
    /// only when it happens too often.
    pub late: bool,
    /// A lock that the victim owned was not marked by the kernel.
    pub unmarked: bool,
}

/// The world of one victim.
pub trait Stage {
    /// What the victim is told: the names of its segments.
    fn names(&self) -> Vec<String>;

    /// The victim has a PID namespace of its own.
    fn foreign(&self) -> bool {
        false
    }

    /// Only the thread that is swept dies, and its process lives: see [`Lane::keeper`].
    fn thread(&self) -> bool {
        false
    }

    /// The victim stands before the operation: make the state in which it shall begin.
    fn ready(&mut self, _lane: &mut Lane) -> Result<(), String> {
        Ok(())
    }

    /// The victim sleeps: do what it waits for.
    fn wake(&mut self, _lane: &mut Lane) -> Result<(), String> {
        Err("the victim sleeps where nobody expected it".into())
    }

    /// The victim is about to be killed: look, but touch nothing.
    fn dying(&mut self, _pid: i32) -> Result<(), String> {
        Ok(())
    }

    /// The victim is gone: go on with the work.
    fn survive(&mut self, lane: &mut Lane, death: &Death) -> Result<Account, String>;
}

type MakeStage = Box<dyn Fn(&mut Lane) -> Result<Box<dyn Stage>, String> + Send + Sync>;
type Victim = Box<dyn Fn(&[String]) + Send + Sync>;

/// One operation in one state.
pub struct Scenario {
    /// Its name on the command line.
    pub name: String,
    /// How it is swept.
    pub course: Course,
    /// Always swept at every instruction.
    pub hot: bool,
    /// The most points, in per cent, after which a survivor may have to wait for its backstop.
    pub late: usize,
    /// What the victim does, with a marker before and after the operation.
    pub victim: Victim,
    /// Makes the world of one victim.
    pub stage: MakeStage,
}

/// What the points of one scenario share.
#[derive(Default)]
pub struct Lane {
    peers: Vec<Peer>,
    /// Where the victims' code begins.
    base: u64,
    /// A recorded path, for scenarios that need an earlier victim to die at a certain point of it.
    pub memory: Option<(Path, usize)>,
    /// The process whose thread died, for as long as the survivors work.
    pub keeper: Option<Tracee>,
}

impl Lane {
    /// Live process number `n`, started when it is first asked for.
    pub fn peer(&mut self, n: usize) -> Result<&mut Peer, String> {
        while self.peers.len() <= n {
            self.peers.push(Peer::start()?);
        }
        Ok(&mut self.peers[n])
    }

    /// Ends the live processes: they may be in the middle of something for a victim that is given up.
    fn reset(&mut self) {
        self.peers.clear();
        self.keeper = None;
    }
}

/// How much is swept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    /// At most so many points, evenly spread; 0 = all.
    pub points: usize,
    /// Only this point.
    pub only: Option<Point>,
}

/// The two parts of an operation: up to its end or its sleep, and after it was woken.
#[derive(Default)]
struct Route {
    first: Path,
    second: Option<Path>,
}

/// Sweeps one scenario. `pat` is called after every victim, so that a watchdog knows it lives. What is only
/// late is swept once more: a lost wake-up is lost again, a busy machine may have become quiet.
pub fn sweep(scenario: &Scenario, effort: Effort, pat: &dyn Fn(&str)) -> Tally {
    let tally = sweep_once(scenario, effort, pat);
    if tally.is_only_late() { sweep_once(scenario, effort, pat) } else { tally }
}

fn sweep_once(scenario: &Scenario, effort: Effort, pat: &dyn Fn(&str)) -> Tally {
    let mut tally = Tally::new(&scenario.name);
    let mut lane = Lane::default();
    pat("record");
    if let Course::Own(rounds) = &scenario.course {
        let run = Run { effort, tally: &mut tally, lane: &mut lane, pat };
        if let Err(error) = rounds(run) {
            tally.fail("rounds", &error);
        }
        tally.judge(scenario.late, false);
        return tally;
    }
    let mut recorded = record(scenario, &mut lane);
    for _ in 1..TRIES {
        if !matches!(recorded, Ok(None)) {
            break;
        }
        lane.reset();
        recorded = record(scenario, &mut lane);
    }
    let route = match recorded {
        Ok(Some((route, account))) => {
            tally.count(&account);
            route
        }
        Ok(None) => {
            tally.fail("first run", "the victim was never seen to sleep");
            return tally;
        }
        Err(error) => {
            tally.fail("first run", &error);
            return tally;
        }
    };
    tally.instructions = route.first.steps.len();
    tally.instructions += route.second.as_ref().map_or(0, |path| path.steps.len());
    let points = choose(&scenario.course, &route, effort);
    for (number, &point) in points.iter().enumerate() {
        pat(&point.to_string());
        match die_at(scenario, &mut lane, &route, point, number) {
            Ok((account, astray)) => {
                tally.count(&account);
                tally.astray += usize::from(astray);
            }
            Err(error) => {
                tally.fail(&point.to_string(), &error);
                lane.reset();
                if tally.failures.len() >= 5 {
                    break;
                }
            }
        }
    }
    tally.judge(scenario.late, effort.only.is_none());
    tally
}

fn start(scenario: &Scenario, stage: &dyn Stage) -> Result<Tracee, String> {
    let names = stage.names();
    let mut arguments = vec!["victim", &scenario.name];
    arguments.extend(names.iter().map(String::as_str));
    if stage.foreign() {
        Tracee::start_foreign(&arguments)
    } else if stage.thread() {
        Tracee::start_to_ask(&arguments)
    } else {
        Tracee::start(&arguments)
    }
}

/// Leads one victim through the whole operation, step by step. `None`: a sleep was over before it
/// was seen.
fn record(scenario: &Scenario, lane: &mut Lane) -> Result<Option<(Route, Account)>, String> {
    let mut stage = (scenario.stage)(lane)?;
    let mut victim = start(scenario, &*stage)?;
    lane.base = victim.base();
    stage.ready(lane)?;
    let first = if matches!(scenario.course, Course::Changes) {
        let mut watch = Watch::new(victim.pid());
        victim.record(&mut |call| watch.changed(call))?
    } else {
        victim.record(&mut |_| false)?
    };
    if first.waits > 1 || (matches!(scenario.course, Course::Waits) && !first.sleeps) {
        return Ok(None);
    }
    let mut second = None;
    if first.sleeps {
        stage.wake(lane)?;
        victim.awake()?;
        let mut path = victim.record(&mut |_| false)?;
        while path.sleeps {
            // Woken too early, or its time-out: it goes back to sleep until it gets what it wants.
            victim.awake()?;
            path = victim.record(&mut |_| false)?;
        }
        second = Some(path);
    }
    let death = finish(&mut *stage, lane, victim, (0, false, true))?;
    let account = stage.survive(lane, &death)?;
    lane.keeper = None;
    if account.state != State::After {
        return Err("the operation returned, but its effect is absent".into());
    }
    Ok(Some((Route { first, second }, account)))
}

fn finish(
    stage: &mut dyn Stage,
    lane: &mut Lane,
    mut victim: Tracee,
    (number, at_once, finished): (usize, bool, bool),
) -> Result<Death, String> {
    stage.dying(victim.pid())?;
    if stage.thread() {
        victim.end_thread()?;
        lane.keeper = Some(victim);
    } else {
        victim.kill()?;
    }
    Ok(Death { at_once, finished, number, when: Instant::now() })
}

/// The points of a scenario, in order; the whole operation has been counted already.
fn choose(course: &Course, route: &Route, effort: Effort) -> Vec<Point> {
    if let Some(point) = effort.only {
        return vec![point];
    }
    let path = &route.first;
    let steps = path.steps.len();
    let mut points: Vec<Point> = match course {
        Course::Changes => {
            let calls = path.calls.iter().flat_map(|&call| [call, call + 1]);
            let mut times: HashMap<u64, usize> = HashMap::new();
            let changes = path.changes.iter().filter(|&&change| {
                let count = times.entry(path.steps[change]).or_default();
                *count += 1;
                *count <= SAME
            });
            let changes = changes.map(|&change| change + 1);
            let mut steps: Vec<usize> = [0].into_iter().chain(calls).chain(changes).collect();
            steps.sort_unstable();
            steps.dedup();
            steps.into_iter().map(Point::Step).collect()
        }
        Course::Through | Course::Own(_) => (0..steps).map(Point::Step).collect(),
        Course::Waits => novel(path).map(Point::Step).collect(),
    };
    if let Some(second) = &route.second {
        points.push(Point::Asleep);
        points.extend(novel(second).map(Point::Woken));
    }
    spread(points, effort.points)
}

/// At most `most` of them, evenly spread; 0 = all.
pub fn spread<T: Copy>(points: Vec<T>, most: usize) -> Vec<T> {
    let all = points.len();
    if most == 0 || all <= most {
        return points;
    }
    (0..most).map(|i| points[i * all / most]).collect()
}

/// A copy of bytes is one instruction that runs for each of them: so many of its changes are points.
const SAME: usize = 100;

/// A waiting operation polls thousands of times before it sleeps. Of an instruction that runs again
/// and again these many times count, and the last.
const TURNS: usize = 3;

/// The points of a path that polls.
pub fn novel(path: &Path) -> impl Iterator<Item = usize> {
    let mut turns: HashMap<u64, (usize, usize)> = HashMap::new();
    let mut points = BTreeSet::new();
    for (k, &address) in path.steps.iter().enumerate() {
        let (count, last) = turns.entry(address).or_default();
        *count += 1;
        *last = k;
        if *count <= TURNS {
            points.insert(k);
        }
    }
    points.extend(turns.values().map(|&(_, last)| last));
    points.into_iter()
}

/// How often a victim is led anew when it fell asleep before its point (its polling is timed).
const TRIES: usize = 5;

/// Kills one victim at one point. True when it was not where the recorded path said: still a point,
/// but perhaps another one.
fn die_at(
    scenario: &Scenario,
    lane: &mut Lane,
    route: &Route,
    point: Point,
    number: usize,
) -> Result<(Account, bool), String> {
    for _ in 0..TRIES {
        let mut stage = (scenario.stage)(lane)?;
        let mut victim = start(scenario, &*stage)?;
        stage.ready(lane)?;
        let Some((stop, wanted)) = lead(&mut *stage, lane, &mut victim, route, point)? else {
            lane.reset();
            continue;
        };
        let astray = stop != Stop::Asleep && wanted != Some(victim.address()?);
        let at = victim.address().unwrap_or(0).wrapping_sub(lane.base);
        let finished = stop == Stop::Marker;
        let how = (number, point == Point::Step(0), finished);
        let death = finish(&mut *stage, lane, victim, how)?;
        let place = |error| format!("{error} (the victim died at {at:#x} of this program)");
        let account = stage.survive(lane, &death).map_err(place)?;
        lane.keeper = None;
        if death.finished && account.state == State::Before {
            return Err("the operation returned, but its effect is absent".into());
        }
        if death.at_once && account.state == State::After {
            return Err("the operation has an effect before its first instruction".into());
        }
        return Ok((account, astray));
    }
    Err(format!("{TRIES} victims did not reach this point"))
}

/// Brings a victim to its point. `None`: it slept too early, so that it cannot be stepped there.
fn lead(
    stage: &mut dyn Stage,
    lane: &mut Lane,
    victim: &mut Tracee,
    route: &Route,
    point: Point,
) -> Result<Option<(Stop, Option<u64>)>, String> {
    let path = &route.first;
    let k = match point {
        Point::Step(k) => {
            let stop = victim.seek(path, k)?;
            return Ok(Some((stop, path.steps.get(k).copied())));
        }
        Point::Asleep => {
            let stop = victim.run(true)?;
            return Ok((stop == Stop::Asleep).then_some((stop, None)));
        }
        Point::Woken(k) => k,
    };
    let Some(second) = &route.second else {
        return Err("this operation does not sleep".into());
    };
    // The sleep must be entered by a step, or the victim would run on when it is woken.
    let stop = victim.seek(path, path.steps.len() - 1)?;
    if stop != Stop::Here || victim.step()? != Stop::Asleep {
        return Ok(None);
    }
    stage.wake(lane)?;
    victim.awake()?;
    let stop = victim.seek(second, k)?;
    Ok(Some((stop, second.steps.get(k).copied())))
}
