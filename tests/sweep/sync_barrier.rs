//! `Barrier`: one who arrives, one who trips it, one who joins, leaves, breaks, resets or finds a dead party.

use std::hint::black_box;
use std::time::Instant;

use steadfast::{Party, WaitError};

use crate::engine::{Death, Lane, Scenario, State};
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::sync_peer::act;
use crate::sync_stage::{GUEST, Plan, Scene, Who, after};
use crate::sync_world::{START, World, at};

fn warm(world: &World) {
    drop(world.barrier.join().expect("a first party"));
}

fn wait(world: &World) {
    warm(world);
    marker();
    let result = world.barrier.wait();
    marker();
    black_box(&result);
}

fn wait_with(world: &World) {
    warm(world);
    world.small.update(|count| *count).expect("a first update");
    marker();
    let result = world.barrier.wait_with(|| act(world));
    marker();
    black_box(&result);
}

fn party_waits(world: &World) {
    let party = world.barrier.join().expect("join");
    marker();
    let result = party.wait();
    marker();
    black_box(&result);
}

fn join(world: &World) {
    warm(world);
    marker();
    let result = world.barrier.join();
    marker();
    black_box(&result);
}

fn leave(world: &World) {
    let party = world.barrier.join().expect("join");
    marker();
    drop(party);
    marker();
}

fn abort(world: &World) {
    warm(world);
    marker();
    let result = world.barrier.abort();
    marker();
    result.expect("abort");
}

fn reset(world: &World) {
    warm(world);
    marker();
    let result = world.barrier.reset();
    marker();
    result.expect("reset");
}

/// What the victim died with, and how the barrier stood then.
struct Had {
    /// It had a place, and had arrived.
    arrived: bool,
    /// It had a place, and had joined.
    stays: bool,
    trips: u32,
    broken: bool,
}

fn had(scene: &Scene) -> Had {
    let seat = scene.seat(|at| at >= at::PARTIES);
    let word = |offset| seat.map_or(0, |seat| scene.saw(seat + offset));
    let state = scene.saw(at::STATE);
    Had {
        arrived: seat.is_some() && word(at::ARRIVED) == state,
        stays: word(at::STAYS) == 1,
        trips: state as u32 - 1,
        broken: (state >> 32) % 2 == 1,
    }
}

fn said(error: WaitError) -> String {
    format!("a survivor: {error:?}")
}

/// What became of all who waited: they agree.
fn agree(lines: &[String]) -> Result<Option<bool>, String> {
    let Some(first) = lines.first() else { return Ok(None) };
    if lines.iter().any(|line| line != first) {
        return Err(format!("the parties do not agree: {lines:?}"));
    }
    Ok(Some(first == "passed"))
}

/// A survivor waits, too. Whether it passed.
fn pass(scene: &mut Scene) -> Result<bool, String> {
    match scene.timed(|world| world.barrier.wait_timeout(BOUND)) {
        Ok(_) => Ok(true),
        Err(WaitError::Broken) => Ok(false),
        Err(error) => Err(said(error)),
    }
}

/// As many survivors as it has parties, `asleep` of which wait already, come to it. Whether they passed.
fn meet(scene: &mut Scene, lane: &mut Lane, asleep: usize) -> Result<bool, String> {
    let since = Instant::now();
    let more = scene.plan.setup.parties as usize - 1;
    let mut guests: Vec<usize> = (0..asleep).collect();
    for guest in asleep..more {
        scene.send(lane, GUEST + guest, "barrier")?;
        guests.push(GUEST + guest);
    }
    let passed = pass(scene)?;
    let lines: Result<Vec<_>, _> =
        guests.into_iter().map(|guest| scene.answer(lane, guest, since)).collect();
    match agree(&lines?)? {
        Some(other) if other != passed => Err("the parties do not agree".into()),
        _ => Ok(passed),
    }
}

/// Whole again: two phases pass, and there are as many places as parties.
fn works(scene: &mut Scene, lane: &mut Lane) -> Result<(), String> {
    scene.timed(|world| world.barrier.reset()).map_err(said)?;
    for phase in 1..=2 {
        if !meet(scene, lane, 0)? {
            return Err(format!("after the reset phase {phase} is broken"));
        }
    }
    let all = scene.plan.setup.parties as usize;
    scene.timed(|world| {
        let join = |n: usize| world.barrier.try_join().map_err(|e| format!("place {n}: {e:?}"));
        let parties: Vec<Party<'_>> = (0..all).map(join).collect::<Result<_, _>>()?;
        match world.barrier.try_join() {
            Err(WaitError::WouldBlock) => {}
            other => return Err(format!("one place more than {all}: {other:?}")),
        }
        drop(parties);
        Ok(())
    })?;
    for n in 0..all as u64 {
        if scene.word(at::PARTIES + n * 64)? != 0 {
            return Err(format!("place {n} is taken by nobody"));
        }
    }
    Ok(())
}

/// The survivors, of whom so many sleep, come to the barrier. Broken or passed, as it must be.
fn must(scene: &mut Scene, lane: &mut Lane, asleep: usize, broken: bool) -> Result<(), String> {
    if meet(scene, lane, asleep)? == broken {
        return Err(format!("the survivors passed: {}, expected {}", broken, !broken));
    }
    works(scene, lane)
}

/// All who sleep are told that it broke, and nobody passes then.
fn all_broken(scene: &mut Scene, lane: &mut Lane, since: Instant) -> Result<(), String> {
    if agree(&scene.answers(lane, since)?)? == Some(true) {
        return Err("somebody passed a broken barrier".into());
    }
    if pass(scene)? {
        return Err("somebody passed a broken barrier later".into());
    }
    works(scene, lane)
}

fn trip(scene: &mut Scene, lane: &mut Lane) -> Result<(), String> {
    scene.send(lane, GUEST, "barrier")
}

/// The victim came first, and slept until the other party came.
fn judge_first(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    if scene.woken {
        let line = scene.answer(lane, GUEST, death.when)?;
        if line != "passed" {
            return Err(format!("the last one of all is {line}"));
        }
        // One that had joined is missed in the next phase; one that came for a phase is not.
        must(scene, lane, 0, had.stays)?;
        return Ok(State::After);
    }
    let needed = had.arrived || had.stays;
    if scene.plan.who == Who::Foreigner && had.arrived {
        // Its death is known only to who waits: if all others have come, nobody does.
        trip(scene, lane)?;
        if scene.answer(lane, GUEST, Instant::now())? == "passed" {
            must(scene, lane, 0, false)?;
        } else {
            all_broken(scene, lane, death.when)?;
        }
        return Ok(State::Before);
    }
    must(scene, lane, 0, needed)?;
    Ok(State::Before)
}

/// Another thread of the process whose thread died is one of two parties.
fn by_keeper(scene: &mut Scene, lane: &mut Lane, broken: bool) -> Result<(), String> {
    scene.send(lane, GUEST, "barrier")?;
    let keeper = scene.keeper(lane, "barrier")?.unwrap_or_default();
    let guest = scene.answer(lane, GUEST, Instant::now())?;
    let expected = if broken { "broken" } else { "passed" };
    if keeper != expected || guest != expected {
        return Err(format!("the parties are {keeper} and {guest}, expected {expected}"));
    }
    works(scene, lane)
}

/// The victim came last, and the others sleep.
fn judge_last(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    let asleep = scene.asleep.len();
    if had.broken {
        return Err("somebody broke it who had no reason".into());
    }
    if had.trips == 0 && !had.arrived {
        // Nobody was there yet: a survivor takes the place.
        must(scene, lane, asleep, false)?;
        return Ok(State::Before);
    }
    let passed = agree(&scene.answers(lane, death.when)?)? == Some(true);
    if had.trips > 0 && !passed {
        return Err("it was tripped, and the parties find it broken".into());
    }
    if passed {
        // Perhaps by a sleeper that looked for itself while the victim lived.
        must(scene, lane, 0, false)?;
    } else if pass(scene)? {
        return Err("somebody passed a broken barrier later".into());
    } else {
        works(scene, lane)?;
    }
    Ok(after(passed))
}

/// The same with an action, which is done once for each phase that passed, and at most once for one that broke.
fn judge_action(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let acted = |scene: &Scene| scene.world.small.get().map(|n| n - START[0]).map_err(said);
    let had = had(scene);
    let early = acted(scene)?;
    if had.trips == 0 && !had.arrived {
        if early != 0 {
            return Err("the action was done before all had come".into());
        }
        let since = Instant::now();
        scene.timed(|world| world.barrier.wait_with(|| act(world))).map_err(said)?;
        let passed = agree(&scene.answers(lane, since)?)?;
        if passed != Some(true) || acted(scene)? != 1 {
            return Err(format!("passed: {passed:?}, and {} actions", acted(scene)?));
        }
        works(scene, lane)?;
        return Ok(State::Before);
    }
    let passed = agree(&scene.answers(lane, death.when)?)? == Some(true);
    let done = acted(scene)?;
    if had.trips > 0 && !passed || done > 1 || (passed && done != 1) {
        return Err(format!("trips: {}, passed: {passed}, {done} actions", had.trips));
    }
    works(scene, lane)?;
    Ok(after(passed))
}

fn judge_join(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    if lane.keeper.is_some() && death.number.is_multiple_of(2) {
        by_keeper(scene, lane, had.stays)?;
    } else {
        must(scene, lane, 0, had.stays)?;
    }
    Ok(after(had.stays))
}

/// Somebody waits for the other party, which dies: with a place that it had joined for, or without.
fn judge_stays(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    if had.stays {
        all_broken(scene, lane, death.when)?;
    } else {
        must(scene, lane, 1, false)?;
    }
    Ok(after(had.stays))
}

fn judge_stays_not(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_stays(scene, lane, death).map(|state| after(state == State::Before))
}

fn judge_leave(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    if scene.asleep.is_empty() {
        judge_join(scene, lane, death)?;
        return Ok(after(!had.stays));
    }
    // Somebody waits for the place: it gets it, or hears that a party died.
    let line = scene.answer(lane, 0, death.when)?;
    if (line == "broken") != had.stays {
        return Err(format!("who waits for the place is {line}, a party died: {}", had.stays));
    }
    works(scene, lane)?;
    Ok(after(!had.stays))
}

fn judge_abort(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    if had.broken {
        all_broken(scene, lane, death.when)?;
    } else {
        must(scene, lane, scene.asleep.len(), false)?;
    }
    Ok(after(had.broken))
}

/// A barrier that a dead party broke, or one that is whole and where others wait.
fn judge_reset(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let breaks = scene.saw(at::STATE) >> 32;
    if scene.plan.earlier.is_none() {
        if breaks == 2 {
            if agree(&scene.answers(lane, death.when)?)? != Some(false) {
                return Err("somebody passed a barrier that was reset".into());
            }
            must(scene, lane, 0, false)?;
        } else {
            must(scene, lane, scene.asleep.len(), false)?;
        }
        return Ok(after(breaks == 2));
    }
    // The dead one may not have been found yet; then it is now.
    if breaks == 2 && !meet(scene, lane, 0)? {
        return Err("the barrier was reset, and broke for one who had died before".into());
    }
    if breaks < 2 && pass(scene)? {
        return Err("somebody passed a broken barrier".into());
    }
    works(scene, lane)?;
    Ok(after(breaks == 2))
}

/// A party that had joined died earlier: nobody can pass.
fn judge_bury(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    // One that slept may have been faster.
    let broken = scene.asleep.is_empty() && scene.saw(at::STATE) >> 32 == 1;
    all_broken(scene, lane, death.when)?;
    Ok(after(broken || death.finished))
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let waits = Plan::new(wait, judge_first).woken(trip);
    let last = Plan::new(wait, judge_last);
    let acts = Plan::new(wait_with, judge_action);
    let leaves = Plan::new(leave, judge_leave);
    let aborts = Plan::new(abort, judge_abort);
    let buries = Plan::new(wait, judge_bury).after("barrier_leave");
    // Those who sleep look for the dead after a backstop, all the time.
    let all = 100;
    let some = 45;
    [
        ("first", waits),
        ("party_first", Plan::new(party_waits, judge_first).woken(trip)),
        ("last_of_two", last.asleep(&["barrier"]).late(some)),
        ("last_of_three", last.parties(3).asleep(&["barrier"; 2]).late(some)),
        ("action_of_two", acts.asleep(&["action"]).late(some)),
        ("action_of_three", acts.parties(3).asleep(&["action"; 2]).late(some)),
        ("join", Plan::new(join, judge_join)),
        ("leave", leaves),
        ("join_sleeper", Plan::new(join, judge_stays).asleep(&["barrier"]).late(some)),
        ("leave_sleeper", Plan::new(leave, judge_stays_not).asleep(&["barrier"]).late(60)),
        ("leave_joiner", leaves.parties(1).asleep(&["join"]).late(all)),
        ("abort", aborts),
        ("abort_sleeper", aborts.asleep(&["barrier"]).late(some)),
        ("abort_two", aborts.parties(3).asleep(&["barrier"; 2]).late(some)),
        ("reset_dead", Plan::new(reset, judge_reset).after("barrier_leave")),
        ("reset_two", Plan::new(reset, judge_reset).parties(3).asleep(&["barrier"; 2]).late(some)),
        ("bury", buries.hot()),
        ("bury_sleeper", buries.parties(3).asleep(&["barrier"]).late(all)),
        ("foreign_first", waits.of(Who::Foreigner).late(all)),
        ("foreign_last", last.of(Who::Foreigner).asleep(&["barrier"]).late(all)),
        ("thread_join", Plan::new(join, judge_join).of(Who::Thread)),
        ("thread_leave", leaves.of(Who::Thread)),
        ("thread_last", last.of(Who::Thread).asleep(&["barrier"]).late(some)),
    ]
    .map(|(name, plan)| plan.scenario(&format!("barrier_{name}")))
    .into()
}
