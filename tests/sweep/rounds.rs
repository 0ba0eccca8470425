//! Wake-ups when nobody dies: none may be lost. A sleeper that was not called looks for itself in the
//! end, so a lost call shows only as one that came late; how many are late tells a machine that is
//! busy from a library that forgets.

use std::time::{Duration, Instant};

use crate::engine::{Account, Course, Lane, Run, Scenario, Stage, State, novel, spread};
use crate::message;
use crate::mutex::Kind;
use crate::peer::BOUND;
use crate::queue_stage::{LATE, Plan, QueueStage};
use crate::queue_victim::{self, Act};
use crate::support::Name;
use crate::tracee::{Stop, Tracee};

/// Of so many unlocks, each must call the one that sleeps.
const UNLOCKS: usize = 40;
/// How long a lock is held: then its sleeper is in its fourth sleep, which has 10 ms to go.
const HELD: Duration = Duration::from_millis(20);
/// An unlock that was followed by a call is noticed sooner than this.
const SOON: Duration = Duration::from_millis(5);

/// A live process sleeps in `lock`, and the live owner unlocks.
fn unlocks(kind: Kind, run: Run) -> Result<(), String> {
    let Run { tally, lane, pat, .. } = run;
    let (prefix, late) = if kind == Kind::Pthread { ("p", LATE) } else { ("", SOON) };
    for round in 0..UNLOCKS {
        pat(&round.to_string());
        let name = Name::new("sweep");
        let _lock = crate::mutex::Lock::create(kind, &name)?;
        let said = lane.peer(1)?.ask(&format!("{prefix}hold {}", &*name))?;
        if said != "held" {
            return Err(format!("the owner failed: {said}"));
        }
        lane.peer(0)?.begin(&format!("{prefix}lock {}", &*name))?;
        std::thread::sleep(HELD);
        let start = Instant::now();
        lane.peer(1)?.ask("release")?;
        let said = lane.peer(0)?.answer(BOUND)?;
        if said != "clean" {
            return Err(format!("a live sleeper failed: {said}"));
        }
        tally.count(&account(start.elapsed(), late));
    }
    Ok(())
}

fn account(waited: Duration, late: Duration) -> Account {
    Account { state: State::After, waited, late: waited > late, unmarked: false }
}

/// One put is held up after each of its instructions until it sleeps, and meanwhile room is made for
/// it and a second, longer put goes to sleep. The first must not sleep through the call it got.
const SHORT: usize = 24;
const LONG: usize = 1000;

/// The ring is full up to 4 units; then the first message, of 6 units, is got.
fn calls(run: Run) -> Result<(), String> {
    let Run { effort, tally, lane, pat } = run;
    let plan = Plan { at: Some(0), fill: (0, 40), waits: true, ..Plan::new(Act::Put(SHORT)) };
    let path = {
        let (_stage, mut victim) = full_ring(plan, lane)?;
        victim.record(&mut |_| false)?
    };
    if !path.sleeps {
        return Err("the put into a full ring never slept".into());
    }
    tally.instructions = path.steps.len();
    let points: Vec<usize> = novel(&path).collect();
    for k in spread(points, effort.points) {
        pat(&k.to_string());
        let (mut stage, mut victim) = full_ring(plan, lane)?;
        if victim.seek(&path, k)? != Stop::Here {
            tally.astray += 1;
            continue;
        }
        let first = stage.hands.get()?;
        if first != message::make(4, 0, 40) {
            return Err("got another message than the first".into());
        }
        let long = message::hex(&message::make(2, 0, LONG));
        lane.peer(0)?.begin(&format!("put {} {long}", stage.name()))?;
        let start = Instant::now();
        let mut stop = victim.run(true)?;
        if stop == Stop::Asleep {
            stop = victim.run_on()?;
        }
        if stop != Stop::Marker {
            return Err(format!("the short put did not return: {stop:?}"));
        }
        let mut waited = start.elapsed();
        let start = Instant::now();
        for _ in 0..4 {
            stage.hands.get()?;
        }
        let said = lane.peer(0)?.answer(BOUND)?;
        waited = waited.max(start.elapsed());
        if said != "put" {
            return Err(format!("the long put failed: {said}"));
        }
        tally.count(&account(waited, LATE));
        victim.kill()?;
    }
    Ok(())
}

/// A full ring, and a victim before its put.
fn full_ring(plan: Plan, lane: &mut Lane) -> Result<(QueueStage, Tracee), String> {
    let mut stage = QueueStage::new(plan)?;
    let victim = Tracee::start(&["victim", "calls", stage.name()])?;
    stage.ready(lane)?;
    stage.hands.put(&message::make(4, 0, 40))?;
    for sequence in 1..9 {
        stage.hands.put(&message::make(4, sequence, 488))?;
    }
    stage.hands.put(&message::make(4, 9, 40))?;
    Ok((stage, victim))
}

fn scenario(
    name: &str,
    late: usize,
    victim: impl Fn(&[String]) + Send + Sync + 'static,
    own: impl Fn(Run) -> Result<(), String> + Send + Sync + 'static,
) -> Scenario {
    Scenario {
        name: name.to_owned(),
        course: Course::Own(Box::new(own)),
        hot: true,
        late,
        victim: Box::new(victim),
        stage: Box::new(|_| Err("this operation has its own rounds".into())),
    }
}

/// All of them. A busy machine makes a few late; a library that forgets, nearly all unlocks, and of
/// the calls those whose put was held up between its announcement and its sleep: one in seven.
pub fn all() -> Vec<Scenario> {
    vec![
        scenario("unlocks", 20, |_| {}, |run| unlocks(Kind::Futex, run)),
        scenario("unlocks_pthread", 20, |_| {}, |run| unlocks(Kind::Pthread, run)),
        scenario("calls", 4, |names| queue_victim::play(Act::Put(SHORT), names), calls),
    ]
}
