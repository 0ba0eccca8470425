//! An `RLock`, a `RwLock`, a permit, a place at the barrier and a mutex, held at the same time by one thread.

use steadfast::{LockError, WaitError};

use crate::engine::{Death, Lane, Scenario, State};
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::sync_peer::visit;
use crate::sync_stage::{Plan, Scene, Who, after};
use crate::sync_world::{START, World, at};

/// Takes them all, and gives them back: the last one taken first, or in another order.
fn take_all(world: &World, crossed: bool) {
    drop(world.rlock.lock().expect("a first lock"));
    drop(world.rwlock.read().expect("a first read"));
    drop(world.rwlock.write().expect("a first write"));
    drop(world.permits.acquire().expect("a first permit"));
    drop(world.barrier.join().expect("a first place"));
    drop(world.mutex.lock().expect("a first lock"));
    marker();
    let lock = world.rlock.lock().expect("lock");
    let mut pair = world.rwlock.write().expect("write");
    let permit = world.permits.acquire().expect("acquire");
    let party = world.barrier.join().expect("join");
    let mut count = world.mutex.lock().expect("lock");
    *pair = [START[0] + 1; 2];
    *count = [START[0] + 1; 2];
    if crossed {
        drop(lock);
        drop(permit);
        drop(pair);
        drop(count);
        drop(party);
    } else {
        drop(count);
        drop(party);
        drop(permit);
        drop(pair);
        drop(lock);
    }
    marker();
}

fn nested(world: &World) {
    take_all(world, false);
}

fn crossed(world: &World) {
    take_all(world, true);
}

/// Who comes to each of them hears of the death exactly if the victim had it.
fn judge(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let writing = scene.owns(at::MAIN) && scene.saw(at::GATE) as u32 == 2;
    let (locked, counted) = (scene.owns(at::RLOCK), scene.owns(at::MUTEX));
    let seat = scene.seat(|at| (at::PARTIES..at::PARTIES + 128).contains(&at));
    let joined = seat.is_some_and(|seat| scene.saw(seat + at::STAYS) == 1);
    let mut checks = [("rlock", locked), ("write", writing)];
    // Either may be asked for first, by another thread of the process if there is one.
    if death.number.is_multiple_of(2) {
        checks.reverse();
    }
    for (verb, had) in checks {
        let line = match scene.keeper(lane, verb)? {
            Some(line) => line,
            None => scene.timed(|world| visit(world, verb))?.to_owned(),
        };
        let again = scene.timed(|world| visit(world, verb))?;
        if (line == "died") != had || again != "clean" {
            return Err(format!("{verb}: {line}, then {again}; the victim had it: {had}"));
        }
    }
    let pair = scene.timed(|world| match world.mutex.lock_timeout(BOUND) {
        Ok(pair) if !counted => Ok(Some(*pair)),
        Err(LockError::OwnerDied(_)) if counted => Ok(None),
        other => Err(format!("mutex: {other:?}, the victim had it: {counted}")),
    })?;
    if scene.keeper(lane, "permit")?.is_some_and(|line| line != "acquired") {
        return Err("another thread of the process did not get a permit".into());
    }
    scene.timed(|world| {
        let permits = [(); 2].map(|()| world.permits.acquire_timeout(BOUND));
        if permits.iter().any(Result::is_err) || world.permits.try_acquire().is_ok() {
            return Err("the number of permits is wrong".to_owned());
        }
        let parties = [(); 2].map(|()| world.barrier.try_join());
        let broken = parties.iter().any(|party| matches!(party, Err(WaitError::Broken)));
        if broken != joined || (!broken && parties.iter().any(Result::is_err)) {
            return Err(format!("broken: {broken}, and the victim had joined: {joined}"));
        }
        drop(parties);
        world.barrier.reset().map_err(|error| format!("reset: {error:?}"))?;
        let parties = [(); 2].map(|()| world.barrier.try_join());
        match parties.iter().all(Result::is_ok) && world.barrier.try_join().is_err() {
            true => Ok(()),
            false => Err("the number of places is wrong".to_owned()),
        }
    })?;
    Ok(after(scene.owned.is_empty() && pair.is_some_and(|pair| pair != START)))
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    [
        ("nested", Plan::new(nested, judge)),
        ("crossed", Plan::new(crossed, judge)),
        ("thread_crossed", Plan::new(crossed, judge).of(Who::Thread)),
        ("foreign_crossed", Plan::new(crossed, judge).of(Who::Foreigner).late(100)),
    ]
    .map(|(name, plan)| plan.scenario(&format!("sync_{name}")))
    .into()
}
