//! `RLock`, and the array, whose lock is a mutex's.

use std::hint::black_box;
use std::sync::atomic::{Ordering, compiler_fence};

use steadfast::LockError;

use crate::engine::{Death, Lane, Scenario, State};
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::sync_stage::{Plan, Scene, Who, after};
use crate::sync_world::{ROW, START, World, at};

fn lock(world: &World) {
    drop(world.rlock.lock().expect("a first lock"));
    marker();
    let result = world.rlock.lock();
    marker();
    black_box(&result);
}

fn nested(world: &World) {
    let _outer = world.rlock.lock().expect("lock");
    marker();
    let result = world.rlock.lock();
    marker();
    black_box(&result);
}

fn unlock_inner(world: &World) {
    let _outer = world.rlock.lock().expect("lock");
    let inner = world.rlock.lock().expect("lock");
    marker();
    drop(inner);
    marker();
}

fn unlock(world: &World) {
    let guard = world.rlock.lock().expect("lock");
    marker();
    drop(guard);
    marker();
}

/// Locks twice; whether the owner's death was told.
fn take(scene: &mut Scene, patient: bool) -> Result<bool, String> {
    let locked = scene.timed(|world| {
        let locked = if patient { world.rlock.lock() } else { world.rlock.lock_timeout(BOUND) };
        let (mut guard, died) = match locked {
            Ok(guard) => (guard, false),
            Err(LockError::OwnerDied(guard)) => (guard, true),
            Err(error) => return Err(format!("a survivor's lock: {error:?}")),
        };
        let inner = world.rlock.lock().map_err(|error| format!("lock again: {error:?}"))?;
        let depth = inner.depth();
        drop(inner);
        if died {
            guard.mark_consistent();
        }
        Ok((died, depth))
    });
    match locked? {
        (died, 2) => Ok(died),
        (_, depth) => Err(format!("the second guard has a depth of {depth}")),
    }
}

/// The survivors lock, and one of them hears of the death if somebody died with the lock.
fn go_on(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<(), String> {
    let hear = !scene.owned.is_empty() || scene.plan.earlier.is_some();
    let mut heard = scene.answers(lane, death.when)?.iter().filter(|line| *line == "died").count();
    if death.number.is_multiple_of(2) {
        let line = scene.keeper(lane, "rlock")?;
        heard += usize::from(line.as_deref() == Some("died"));
    }
    heard += usize::from(take(scene, death.number.is_multiple_of(2))?);
    if heard != usize::from(hear) {
        return Err(format!("OwnerDied was told {heard} times, expected {hear}"));
    }
    scene.send(lane, 3, "rlock")?;
    let guest = lane.peer(3)?.answer(BOUND)?;
    let keeper = scene.keeper(lane, "rlock")?;
    if guest != "clean" || keeper.is_some_and(|line| line != "clean") || take(scene, false)? {
        return Err("a death was reported again after it was mended".into());
    }
    Ok(())
}

fn judge_lock(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    go_on(scene, lane, death)?;
    Ok(after(!scene.owned.is_empty()))
}

fn judge_unlock(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    go_on(scene, lane, death)?;
    Ok(after(scene.owned.is_empty()))
}

/// The outer guard is there all the time: only the depth changes.
fn judge_depth(
    scene: &mut Scene,
    lane: &mut Lane,
    death: &Death,
    done: u32,
) -> Result<State, String> {
    let depth = scene.saw(at::DEPTH) as u32;
    if scene.owned.is_empty() || !(1..=2).contains(&depth) {
        return Err(format!("the lock was lost, or its depth of {depth} is wrong"));
    }
    go_on(scene, lane, death)?;
    Ok(after(depth == done))
}

fn judge_nested(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_depth(scene, lane, death, 2)
}

fn judge_inner(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_depth(scene, lane, death, 1)
}

fn change_row(world: &World) {
    drop(world.row.lock().expect("a first lock"));
    marker();
    let mut row = world.row.lock().expect("lock");
    for value in row.iter_mut() {
        *value += 1;
        compiler_fence(Ordering::SeqCst);
    }
    drop(row);
    marker();
}

fn judge_row(scene: &mut Scene, _: &mut Lane, _: &Death) -> Result<State, String> {
    let owned = !scene.owned.is_empty();
    let look = |world: &World| match world.row.lock_timeout(BOUND) {
        Ok(row) => Ok((row.to_vec(), false)),
        Err(LockError::OwnerDied(mut row)) => {
            let found = row.to_vec();
            row.fill(START[0]);
            row.mark_consistent();
            Ok((found, true))
        }
        Err(error) => Err(format!("a survivor's lock: {error:?}")),
    };
    let (row, died) = scene.timed(look)?;
    if died != owned {
        return Err(format!("OwnerDied was {died}, expected {owned}"));
    }
    let (old, new) = (vec![START[0]; ROW], vec![START[0] + 1; ROW]);
    if !died && row != old && row != new {
        return Err(format!("half a change: {row:?}"));
    }
    let (again, died) = scene.timed(look)?;
    if died || (owned && again != old) {
        return Err("the row is not mended".into());
    }
    Ok(after(!owned && row == new))
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let (locks, unlocks) =
        (Plan::new(lock, judge_lock).soon(), Plan::new(unlock, judge_unlock).soon());
    let some = 10;
    [
        ("lock", locks.hot()),
        ("nested_lock", Plan::new(nested, judge_nested).soon().hot()),
        ("unlock_inner", Plan::new(unlock_inner, judge_inner).soon().hot()),
        ("unlock", unlocks.hot()),
        ("lock_dead_owner", locks.after("rlock_unlock")),
        ("unlock_sleeper", unlocks.asleep(&["rlock"]).late(some)),
        ("lock_waits", locks.held("rlock").late(some)),
        ("lock_woken_of_two", locks.held("rlock").behind(&["rlock"]).late(some)),
        ("thread_lock", locks.of(Who::Thread)),
        ("thread_unlock", unlocks.of(Who::Thread)),
    ]
    .map(|(name, plan)| plan.scenario(&format!("rlock_{name}")))
    .into_iter()
    .chain([Plan::new(change_row, judge_row).soon().scenario("array_change")])
    .collect()
}
