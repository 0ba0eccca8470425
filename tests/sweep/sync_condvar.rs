//! `Condvar`: one who waits, one who is woken, and one who notifies.

use std::hint::black_box;
use std::time::Instant;

use steadfast::LockError;

use crate::engine::{Death, Lane, Scenario, State};
use crate::peer::{BOUND, Pair};
use crate::ptrace::marker;
use crate::sync_stage::{Plan, Scene, after};
use crate::sync_world::{START, World};

const CHANGED: Pair = [START[0] + 1; 2];

fn wait(world: &World) {
    let pair = world.mutex.lock().expect("lock");
    marker();
    let result = world.changed.wait(pair);
    marker();
    black_box(&result);
}

/// A change without the call would be found by a sleeper's backstop before the victim has come to its point: so
/// both are the operation.
fn change_and(world: &World, notify: impl FnOnce(&World)) {
    drop(world.mutex.lock().expect("a first lock"));
    world.changed.notify_one().expect("a first call");
    marker();
    let mut pair = world.mutex.lock().expect("lock");
    *pair = CHANGED;
    drop(pair);
    notify(world);
    marker();
}

fn notify_one(world: &World) {
    change_and(world, |world| world.changed.notify_one().expect("notify"));
}

fn notify_two(world: &World) {
    change_and(world, |world| world.changed.notify(2).expect("notify"));
}

fn notify_all(world: &World) {
    change_and(world, |world| world.changed.notify_all().expect("notify"));
}

/// What a survivor finds under the lock, and whether somebody died with it. It changes the value if that is
/// asked for.
fn look(world: &World, change: bool) -> Result<(Pair, bool), String> {
    let (mut pair, died) = match world.mutex.lock_timeout(BOUND) {
        Ok(pair) => (pair, false),
        Err(LockError::OwnerDied(mut pair)) => {
            pair.mark_consistent();
            (pair, true)
        }
        Err(error) => return Err(format!("a survivor's lock: {error:?}")),
    };
    let found = *pair;
    if change || found[0] != found[1] {
        *pair = CHANGED;
    }
    Ok((found, died))
}

fn wake(scene: &mut Scene, _: &mut Lane) -> Result<(), String> {
    look(&scene.world, true)?;
    scene.world.changed.notify_one().map_err(|error| format!("notify: {error}"))
}

/// The death is told once, if the victim had the lock, and then never again.
fn told(scene: &mut Scene, lines: &[String], died: bool) -> Result<(), String> {
    let told = lines.iter().filter(|line| *line == "died").count() + usize::from(died);
    let owned = usize::from(!scene.owned.is_empty());
    if told != owned {
        return Err(format!("OwnerDied was told {told} times, expected {owned}"));
    }
    if scene.timed(|world| look(world, false))?.1 {
        return Err("a death was reported again after it was mended".into());
    }
    Ok(())
}

/// The victim waited. Whether it was woken or not, everybody else can lock, wait and notify.
fn judge_wait(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let mut died = false;
    if !scene.woken {
        let (pair, told) = scene.timed(|world| look(world, false))?;
        died = told;
        if pair != START {
            return Err(format!("the value is {pair:?}"));
        }
        scene.send_to_sleep(lane, "change")?;
        wake(scene, lane)?;
    }
    // One that slept behind the victim may have to look for itself: the call was the victim's.
    let since = if scene.woken { death.when } else { Instant::now() };
    let lines = scene.answers(lane, since)?;
    died |= scene.timed(|world| look(world, false))?.1;
    told(scene, &lines, died)?;
    Ok(after(scene.woken && !scene.owned.is_empty()))
}

/// The victim changed the value and called so many of those who wait.
fn judge_notify(
    scene: &mut Scene,
    lane: &mut Lane,
    death: &Death,
    called: usize,
) -> Result<State, String> {
    let mut died = false;
    let mut since = death.when;
    let changed = scene.owned.is_empty() && look_unlocked(scene)?;
    if !changed {
        died = scene.timed(|world| look(world, true))?.1;
        scene.world.changed.notify_all().map_err(|error| format!("notify: {error}"))?;
        since = Instant::now();
    }
    let all = scene.asleep.len();
    let mut lines = Vec::new();
    while lines.len() < all {
        if changed && lines.len() == called {
            scene.world.changed.notify_one().map_err(|error| format!("notify: {error}"))?;
            since = Instant::now();
        }
        lines.push(scene.first_answer(lane, since)?.1);
    }
    told(scene, &lines, died)?;
    Ok(after(changed))
}

/// Whether the victim has changed the value and released the lock: then nobody else has reason to change it.
fn look_unlocked(scene: &mut Scene) -> Result<bool, String> {
    let (pair, _) = scene.timed(|world| look(world, false))?;
    match pair {
        START => Ok(false),
        CHANGED => Ok(true),
        _ => Err(format!("half a change: {pair:?}")),
    }
}

fn judge_one(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_notify(scene, lane, death, 1)
}

fn judge_all(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_notify(scene, lane, death, 2)
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let waits = Plan::new(wait, judge_wait).woken(wake);
    // Between the change and the call.
    let some = 30;
    [
        ("wait", waits),
        ("woken_of_two", waits.behind(&["change"]).late(60)),
        ("notify_one", Plan::new(notify_one, judge_one)),
        ("notify_one_sleeper", Plan::new(notify_one, judge_one).asleep(&["change"]).late(some)),
        ("notify_one_of_two", Plan::new(notify_one, judge_one).asleep(&["change"; 2]).late(some)),
        ("notify_two", Plan::new(notify_two, judge_all).asleep(&["change"; 2]).late(some)),
        ("notify_all", Plan::new(notify_all, judge_all).asleep(&["change"; 2]).late(some)),
    ]
    .map(|(name, plan)| plan.scenario(&format!("condvar_{name}")))
    .into()
}
