//! Semaphores, permits and events: what is counted or set, and called for.

use std::hint::black_box;
use std::time::Instant;

use steadfast::WaitError;

use crate::engine::{Death, Lane, Scenario, State};
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::sync_stage::{Plan, Scene, Who, after};
use crate::sync_world::World;

fn said(error: WaitError) -> String {
    format!("a survivor: {error:?}")
}

fn acquire(world: &World) {
    world.semaphore.release().expect("a first release");
    world.semaphore.acquire().expect("a first acquire");
    marker();
    let result = world.semaphore.acquire();
    marker();
    result.expect("acquire");
}

fn release(world: &World) {
    give(world, 1);
}

fn release_two(world: &World) {
    give(world, 2);
}

fn give(world: &World, more: u32) {
    world.semaphore.release().expect("a first release");
    world.semaphore.acquire().expect("a first acquire");
    marker();
    let result = world.semaphore.release_many(more);
    marker();
    result.expect("release");
}

fn bounded_acquire(world: &World) {
    world.bounded.acquire().expect("a first acquire");
    world.bounded.release().expect("a first release");
    marker();
    let result = world.bounded.acquire();
    marker();
    result.expect("acquire");
}

fn bounded_release(world: &World) {
    world.bounded.acquire().expect("acquire");
    marker();
    let result = world.bounded.release();
    marker();
    result.expect("release");
}

/// Exactly so many permits are there, and they can be taken and given back.
fn holds(scene: &mut Scene, count: u32) -> Result<(), String> {
    scene.timed(|world| {
        let semaphore = &world.semaphore;
        for n in 0..count {
            let taken = semaphore.acquire_timeout(BOUND);
            taken.map_err(|error| format!("permit {n} of {count}: {error:?}"))?;
        }
        match semaphore.try_acquire() {
            Err(WaitError::WouldBlock) => {}
            other => return Err(format!("one permit more than {count}: {other:?}")),
        }
        semaphore.release_many(count).map_err(said)
    })
}

/// Whether there is a permit, or one of the sleepers has got it. One that has got it does not sleep any more, so
/// the count is looked at first.
fn given(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<bool, String> {
    let start = Instant::now();
    while start.elapsed() < BOUND {
        if scene.world.semaphore.available() > 0 {
            return Ok(true);
        }
        let mut asleep = true;
        for n in 0..scene.asleep.len() {
            asleep &= lane.peer(n)?.sleeps();
        }
        if asleep {
            return Ok(false);
        }
        if scene.has_answer(lane, death.when)? {
            return Ok(true);
        }
    }
    Err("a sleeper neither sleeps nor answers".into())
}

fn judge_acquire(scene: &mut Scene, _: &mut Lane, _: &Death) -> Result<State, String> {
    let (all, left) = (scene.plan.setup.permits, scene.world.semaphore.available());
    if left != all && left != all - 1 {
        return Err(format!("{left} permits are left of {all}"));
    }
    holds(scene, left)?;
    Ok(after(left != all))
}

/// So many permits are given at once to those who sleep.
fn judge_given(
    scene: &mut Scene,
    lane: &mut Lane,
    death: &Death,
    more: u32,
) -> Result<State, String> {
    let all = scene.asleep.len();
    let given = given(scene, lane, death)?;
    let mut since = death.when;
    if !given {
        scene.world.semaphore.release_many(more).map_err(said)?;
        since = Instant::now();
    }
    for n in 0..all {
        if n == more as usize {
            scene.world.semaphore.release().map_err(said)?;
            since = Instant::now();
        }
        scene.first_answer(lane, since)?;
    }
    holds(scene, more.saturating_sub(all as u32))?;
    Ok(after(given))
}

fn judge_release(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    if !scene.asleep.is_empty() {
        return judge_given(scene, lane, death, 1);
    }
    let (all, left) = (scene.plan.setup.permits, scene.world.semaphore.available());
    if left != all && left != all + 1 {
        return Err(format!("there are {left} permits, there were {all}"));
    }
    holds(scene, left)?;
    Ok(after(left != all))
}

fn judge_release_two(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_given(scene, lane, death, 2)
}

fn wake(scene: &mut Scene, _: &mut Lane) -> Result<(), String> {
    scene.world.semaphore.release().map_err(said)
}

/// There was no permit, until one was given: the victim has got it, or it is there for others.
fn judge_waits(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let taken = scene.woken && !given(scene, lane, death)?;
    if scene.asleep.is_empty() {
        holds(scene, u32::from(scene.woken && !taken))?;
        return Ok(after(taken));
    }
    let mut since = death.when;
    if taken {
        scene.world.semaphore.release().map_err(said)?;
        since = Instant::now();
    }
    scene.first_answer(lane, since)?;
    holds(scene, 0)?;
    Ok(after(taken))
}

fn judge_bounded(scene: &mut Scene, releases: bool) -> Result<State, String> {
    let all = scene.plan.setup.permits;
    let left = scene.world.bounded.available();
    if left != all && left != all - 1 {
        return Err(format!("{left} permits are left of {all}"));
    }
    scene.timed(|world| {
        for _ in left..all {
            world.bounded.release().map_err(said)?;
        }
        match world.bounded.release() {
            Err(WaitError::TooMany) => {}
            other => return Err(format!("more than all were given back: {other:?}")),
        }
        for _ in 0..all {
            world.bounded.acquire_timeout(BOUND).map_err(said)?;
        }
        match world.bounded.try_acquire() {
            Err(WaitError::WouldBlock) => Ok(()),
            other => Err(format!("more than all were taken: {other:?}")),
        }
    })?;
    Ok(after((left == all) == releases))
}

fn judge_bounded_acquire(scene: &mut Scene, _: &mut Lane, _: &Death) -> Result<State, String> {
    judge_bounded(scene, false)
}

fn judge_bounded_release(scene: &mut Scene, _: &mut Lane, _: &Death) -> Result<State, String> {
    judge_bounded(scene, true)
}

fn permit(world: &World) {
    drop(world.permits.acquire().expect("a first permit"));
    marker();
    let result = world.permits.acquire();
    marker();
    black_box(&result);
}

fn permit_back(world: &World) {
    let permit = world.permits.acquire().expect("a permit");
    marker();
    drop(permit);
    marker();
}

/// All permits can be taken, by whoever is left, and not one more.
fn judge_permits(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<(), String> {
    scene.answers(lane, death.when)?;
    if scene.keeper(lane, "permit")?.is_some_and(|line| line != "acquired") {
        return Err("another thread of the process did not get a permit".into());
    }
    let all = scene.plan.setup.permits.max(1) as usize;
    scene.timed(|world| {
        let permits = &world.permits;
        let mut taken = Vec::new();
        for n in 0..all {
            let permit = permits.acquire_timeout(BOUND);
            taken.push(permit.map_err(|error| format!("permit {n} of {all}: {error:?}"))?);
        }
        match permits.try_acquire() {
            Err(WaitError::WouldBlock) => {}
            other => return Err(format!("one permit more than {all}: {other:?}")),
        }
        drop(taken);
        match permits.held() {
            0 => Ok(()),
            held => Err(format!("{held} permits are held by nobody")),
        }
    })?;
    scene.send(lane, 3, "permit")?;
    lane.peer(3)?.answer(BOUND).map(drop)
}

fn judge_permit(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_permits(scene, lane, death)?;
    Ok(after(!scene.owned.is_empty()))
}

fn judge_permit_back(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_permits(scene, lane, death)?;
    Ok(after(scene.owned.is_empty()))
}

fn set(world: &World) {
    world.event.set().expect("a first set");
    world.event.clear().expect("a first clear");
    marker();
    let result = world.event.set();
    marker();
    result.expect("set");
}

fn clear(world: &World) {
    world.event.set().expect("set");
    marker();
    let result = world.event.clear();
    marker();
    result.expect("clear");
}

fn wait(world: &World) {
    marker();
    let result = world.event.wait();
    marker();
    result.expect("wait");
}

fn raise(scene: &mut Scene, _: &mut Lane) -> Result<(), String> {
    scene.world.event.set().map_err(said)
}

/// It can be set, waited for and cleared.
fn works(scene: &mut Scene) -> Result<(), String> {
    scene.timed(|world| {
        let event = &world.event;
        event.set().and_then(|()| event.wait_timeout(BOUND)).map_err(said)?;
        event.clear().map_err(said)?;
        match (event.is_set(), event.wait_timeout(std::time::Duration::ZERO)) {
            (false, Err(WaitError::TimedOut)) => Ok(()),
            other => Err(format!("a cleared event: {other:?}")),
        }
    })
}

fn judge_set(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let set = scene.world.event.is_set();
    let mut since = death.when;
    if !set {
        scene.world.event.set().map_err(said)?;
        since = Instant::now();
    }
    scene.answers(lane, since)?;
    works(scene)?;
    Ok(after(set))
}

fn judge_clear(scene: &mut Scene, _: &mut Lane, _: &Death) -> Result<State, String> {
    let set = scene.world.event.is_set();
    works(scene)?;
    Ok(after(!set))
}

fn judge_wait(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    if !scene.woken {
        scene.world.event.set().map_err(said)?;
    }
    scene.answers(lane, death.when)?;
    works(scene)?;
    Ok(after(death.finished))
}

fn semaphores() -> Vec<(&'static str, Plan)> {
    let none = Plan::new(acquire, judge_waits).permits(0);
    let gives = Plan::new(release, judge_release);
    let two = Plan::new(release_two, judge_release_two).permits(0);
    // Between the step and the call.
    let some = 45;
    vec![
        ("semaphore_acquire", Plan::new(acquire, judge_acquire).hot()),
        ("semaphore_release", gives.hot()),
        ("semaphore_release_sleeper", gives.permits(0).asleep(&["acquire"]).late(some).hot()),
        ("semaphore_release_to_one_of_two", gives.permits(0).asleep(&["acquire"; 2]).late(some)),
        ("semaphore_release_two_sleeper", two.asleep(&["acquire"]).late(some)),
        ("semaphore_release_two", two.asleep(&["acquire"; 2]).late(some)),
        ("semaphore_acquire_waits", none.woken(wake)),
        ("semaphore_acquire_woken_of_two", none.woken(wake).behind(&["acquire"]).late(100)),
        ("bounded_acquire", Plan::new(bounded_acquire, judge_bounded_acquire)),
        ("bounded_release", Plan::new(bounded_release, judge_bounded_release)),
    ]
}

fn permits() -> Vec<(&'static str, Plan)> {
    let (takes, gives) =
        (Plan::new(permit, judge_permit), Plan::new(permit_back, judge_permit_back));
    // Nobody announces the dead to those who sleep.
    let all = 100;
    vec![
        ("permits_acquire", takes.hot()),
        ("permits_release", gives.hot()),
        ("permits_release_sleeper", gives.permits(1).asleep(&["permit"]).late(all)),
        ("permits_release_two", gives.permits(1).asleep(&["permit"; 2]).late(all)),
        ("permits_acquire_waits", takes.permits(1).held("permit")),
        (
            "permits_acquire_woken_of_two",
            takes.permits(1).held("permit").behind(&["permit"]).late(30),
        ),
        ("permits_acquire_dead", takes.permits(1).after("permits_release")),
        ("permits_foreign_acquire", takes.of(Who::Foreigner).late(all)),
        ("permits_foreign_release", gives.of(Who::Foreigner).late(all)),
        ("permits_thread_acquire", takes.of(Who::Thread)),
        ("permits_thread_release", gives.of(Who::Thread)),
    ]
}

fn events() -> Vec<(&'static str, Plan)> {
    let sets = Plan::new(set, judge_set);
    let waits = Plan::new(wait, judge_wait).woken(raise);
    let some = 45;
    vec![
        ("event_set", sets),
        ("event_set_sleeper", sets.asleep(&["event"]).late(some)),
        ("event_set_two", sets.asleep(&["event"; 2]).late(some)),
        ("event_clear", Plan::new(clear, judge_clear)),
        ("event_wait", waits),
        ("event_woken_of_two", waits.behind(&["event"])),
    ]
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let all = [semaphores(), permits(), events()].concat();
    all.into_iter().map(|(name, plan)| plan.scenario(name)).collect()
}
