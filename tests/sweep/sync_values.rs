//! `Once`, `Value`, and opening a shared struct.

use std::hint::black_box;
use std::time::Instant;

use crate::engine::{Course, Death, Lane, Scenario, Stage, State};
use crate::ptrace::marker;
use crate::sync_peer::{act, visit, work};
use crate::sync_stage::{GUEST, Plan, Scene, after};
use crate::sync_world::{START, World, open};

fn warm(world: &World) {
    drop(world.mutex.lock().expect("a first lock"));
    world.small.update(|count| *count).expect("a first update");
    world.large.update(|value| *value).expect("a first update");
    world.large.get().expect("a first get");
}

fn call(world: &World) {
    warm(world);
    marker();
    let result = world.once.call_once(|_| act(world));
    marker();
    result.expect("call");
}

/// From the middle of the work on.
fn complete(world: &World) {
    warm(world);
    let result = world.once.call_once(|_| {
        marker();
        act(world);
    });
    marker();
    result.expect("call");
}

/// The work is done as often as it was begun, and completed once.
fn judge_once(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let completed = scene.asleep.is_empty() && scene.world.once.is_completed();
    let began = !scene.owned.is_empty() || scene.plan.earlier.is_some();
    let done = |scene: &Scene| {
        let count = scene.world.small.get().map_err(|error| format!("get: {error}"))?;
        Ok::<u64, String>(count - START[0])
    };
    let mut lines = scene.answers(lane, death.when)?;
    let early = done(scene)?;
    lines.push(scene.timed(work)?.into());
    scene.send(lane, GUEST, "once")?;
    lines.push(scene.answer(lane, GUEST, Instant::now())?);
    let late = done(scene)?;
    let count = |what: &str| lines.iter().filter(|line| *line == what).count();
    let expected = match (completed, began) {
        (true, _) => (0, 0),
        (false, true) => (0, 1),
        (false, false) => (1, 0),
    };
    // Those who slept saw the end of it before anybody could ask.
    let unknown = !scene.asleep.is_empty() && count("retried") == 0;
    let told = (count("worked"), count("retried"));
    if told != expected && !(unknown && told == (0, 0)) {
        return Err(format!("{lines:?}, and it was completed: {completed}, begun: {began}"));
    }
    if unknown && early != 1 || late > 2 || late == 0 || (completed && late != early) {
        return Err(format!("the work was done {early} times, and then {late} times"));
    }
    Ok(after(completed || unknown))
}

/// Somebody else completes it while the victim waits.
fn judge_call_waits(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let mut lines = scene.answers(lane, death.when)?;
    lines.push(scene.timed(work)?.into());
    if lines.iter().any(|line| line != "completed") || scene.world.small.get().ok() != Some(2) {
        return Err(format!("{lines:?}, though somebody has completed it"));
    }
    Ok(after(death.finished))
}

fn small_set(world: &World) {
    warm(world);
    marker();
    let result = world.small.set(2);
    marker();
    result.expect("set");
}

fn small_update(world: &World) {
    warm(world);
    marker();
    let result = world.small.update(|value| value + 1);
    marker();
    result.expect("update");
}

fn large_set(world: &World) {
    warm(world);
    marker();
    let result = world.large.set([2; 24]);
    marker();
    result.expect("set");
}

fn large_update(world: &World) {
    warm(world);
    marker();
    let result = world.large.update(|value| value.map(|word| word + 1));
    marker();
    result.expect("update");
}

/// From the middle of the update on.
fn large_replace(world: &World) {
    warm(world);
    let result = world.large.update(|value| {
        marker();
        value.map(|word| word + 1)
    });
    marker();
    result.expect("update");
}

fn large_get(world: &World) {
    warm(world);
    marker();
    let result = world.large.get();
    marker();
    black_box(&result);
}

/// The value is old or new, to all who look.
fn read(scene: &mut Scene, lane: &mut Lane, verb: &'static str) -> Result<bool, String> {
    let found = scene.timed(|world| visit(world, verb))?;
    for reader in [GUEST, GUEST + 1] {
        scene.send(lane, reader, verb)?;
        let line = scene.answer(lane, reader, Instant::now())?;
        if line != found {
            return Err(format!("one reader found the {found} value, another the {line} one"));
        }
    }
    Ok(found == "new")
}

fn judge_small(scene: &mut Scene, lane: &mut Lane, _: &Death) -> Result<State, String> {
    let new = read(scene, lane, "small")?;
    scene.timed(|world| world.small.update(|_| 2)).map_err(|error| format!("update: {error}"))?;
    if !read(scene, lane, "small")? {
        return Err("the survivor's value is not there".into());
    }
    Ok(after(new))
}

fn judge_large(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let slept = !scene.asleep.is_empty();
    let new = if slept { scene.saw_new } else { read(scene, lane, "large")? };
    let lines = scene.answers(lane, death.when)?;
    if !lines.iter().all(|line| line == "stored") {
        return Err(format!("a sleeping writer: {lines:?}"));
    }
    for value in [[1; 24], [2; 24]] {
        scene.timed(|world| world.large.set(value)).map_err(|error| format!("set: {error}"))?;
        if read(scene, lane, "large")? != (value == [2; 24]) {
            return Err("the survivor's value is not there".into());
        }
    }
    Ok(after(new))
}

fn judge_large_get(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_large(scene, lane, death)?;
    Ok(after(death.finished))
}

/// Whole, whatever the victim is in the middle of.
fn watch_large(world: &World) -> Result<bool, String> {
    Ok(visit(world, "large")? == "new")
}

fn watch_small(world: &World) -> Result<bool, String> {
    Ok(visit(world, "small")? == "new")
}

/// The victim opened it, and is gone: nobody else notices.
fn judge_open(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    scene.send(lane, GUEST, "write")?;
    let line = scene.answer(lane, GUEST, Instant::now())?;
    let again = scene.timed(|world| open(world.rwlock.segment().name()))?;
    if line != "clean" || again.rwlock.read().is_ok_and(|pair| *pair != START) {
        return Err(format!("the world is not as it was: {line}"));
    }
    drop(again);
    Ok(after(death.finished))
}

fn opening() -> Scenario {
    let plan = Plan::new(|_| {}, judge_open);
    Scenario {
        course: Course::Changes,
        victim: Box::new(|names| {
            marker();
            let world = open(&names[0]);
            marker();
            world.expect("open the world");
        }),
        stage: Box::new(move |_| Ok(Box::new(Scene::new(plan)?) as Box<dyn Stage>)),
        ..plan.scenario("open_shared")
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let calls = Plan::new(call, judge_once);
    let small = |play| Plan::new(play, judge_small).watched(watch_small);
    let large = |play| Plan::new(play, judge_large).watched(watch_large);
    let some = 10;
    let all = [
        ("once_call", calls),
        ("once_complete", Plan::new(complete, judge_once)),
        ("once_complete_two", Plan::new(complete, judge_once).asleep(&["once"; 2]).late(some)),
        ("once_call_after_death", calls.after("once_complete")),
        ("once_call_waits", Plan::new(call, judge_call_waits).held("once").late(some)),
        ("once_call_woken_of_two", {
            Plan::new(call, judge_call_waits).held("once").behind(&["once"]).late(some)
        }),
        ("value_small_set", small(small_set)),
        ("value_small_update", small(small_update)),
        ("value_large_set", large(large_set).hot()),
        ("value_large_update", large(large_update)),
        ("value_large_update_sleeper", large(large_replace).asleep(&["store"]).late(some)),
        ("value_large_set_waits", large(large_set).held("large").late(some)),
        ("value_large_get", Plan::new(large_get, judge_large_get)),
    ];
    let scenario = |(name, plan): (&str, Plan)| plan.soon().scenario(name);
    all.map(scenario).into_iter().chain([opening()]).collect()
}
