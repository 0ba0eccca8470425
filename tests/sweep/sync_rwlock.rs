//! `RwLock`: readers, writers, and those who wait for either.

use std::hint::black_box;
use std::sync::atomic::{Ordering, compiler_fence};

use steadfast::LockError;

use crate::engine::{Death, Lane, Scenario, State};
use crate::peer::{BOUND, Pair};
use crate::ptrace::marker;
use crate::sync_stage::{GUEST, Plan, Scene, Who, after};
use crate::sync_world::{START, World, at};
use crate::words::{OWNER_DIED, TID_MASK};

/// Its victims die with the right to write, after they changed the value.
const DEAD_WRITER: &str = "rwlock_write_unlock";

fn warm(world: &World) {
    drop(world.rwlock.read().expect("a first read"));
    drop(world.rwlock.write().expect("a first write"));
}

fn read(world: &World) {
    warm(world);
    marker();
    let result = world.rwlock.read();
    marker();
    black_box(&result);
}

fn read_unlock(world: &World) {
    warm(world);
    let guard = world.rwlock.read().expect("read");
    marker();
    drop(guard);
    marker();
}

fn read_again(world: &World) {
    warm(world);
    let _outer = world.rwlock.read().expect("read");
    marker();
    let result = world.rwlock.read();
    marker();
    black_box(&result);
}

fn read_twice(world: &World) {
    warm(world);
    let _outer = world.rwlock.read().expect("read");
    marker();
    drop(world.rwlock.read().expect("read again"));
    marker();
}

fn read_unlock_inner(world: &World) {
    warm(world);
    let _outer = world.rwlock.read().expect("read");
    let inner = world.rwlock.read().expect("read again");
    marker();
    drop(inner);
    marker();
}

fn write(world: &World) {
    warm(world);
    marker();
    let result = world.rwlock.write();
    marker();
    black_box(&result);
}

fn write_unlock(world: &World) {
    warm(world);
    let mut guard = world.rwlock.write().expect("write");
    *guard = [START[0] + 1; 2];
    marker();
    drop(guard);
    marker();
}

fn change(world: &World) {
    warm(world);
    marker();
    let mut guard = world.rwlock.write().expect("write");
    guard[0] += 1;
    compiler_fence(Ordering::SeqCst);
    guard[1] += 1;
    drop(guard);
    marker();
}

/// What it makes of the value is what it was.
fn repair(world: &World) {
    warm(world);
    marker();
    let result = world.rwlock.repair(|pair| *pair = START);
    marker();
    result.expect("repair");
}

/// What the victim died with.
struct Had {
    /// A seat of a reader.
    seat: bool,
    /// The main lock, and the right to change the value.
    right: bool,
    /// Whoever comes next must hear of a death.
    hear: bool,
}

fn had(scene: &Scene) -> Had {
    let main = scene.saw(at::MAIN) as u32;
    let writing = scene.saw(at::GATE) as u32 == 2;
    let earlier = main & OWNER_DIED != 0 && main & TID_MASK == 0;
    let state = scene.saw(at::CONSISTENCY) as u32;
    let right = scene.owns(at::MAIN) && writing;
    Had {
        seat: scene.seat(|at| at::READERS.contains(&at)).is_some(),
        right,
        hear: right || (earlier && writing) || matches!(state, 1 | 3),
    }
}

type Found = Result<(Pair, bool), String>;

fn look(world: &World, patient: bool) -> Found {
    let locked = if patient { world.rwlock.read() } else { world.rwlock.read_timeout(BOUND) };
    match locked {
        Ok(pair) => Ok((*pair, false)),
        Err(LockError::OwnerDied(pair)) => Ok((*pair, true)),
        Err(error) => Err(format!("a survivor's read: {error:?}")),
    }
}

fn mend(world: &World, patient: bool) -> Found {
    let locked = if patient { world.rwlock.write() } else { world.rwlock.write_timeout(BOUND) };
    match locked {
        Ok(pair) => Ok((*pair, false)),
        Err(LockError::OwnerDied(mut pair)) => {
            let found = *pair;
            pair[1] = pair[0];
            pair.mark_consistent();
            Ok((found, true))
        }
        Err(error) => Err(format!("a survivor's write: {error:?}")),
    }
}

/// The survivors read and write, and hear of a death until one of them has mended the value. Gives the value.
fn go_on(scene: &mut Scene, lane: &mut Lane, death: &Death, hear: bool) -> Result<Pair, String> {
    let mut mended = false;
    let mut note = |who: &str, died: bool, mends: bool| {
        if died && mended {
            return Err(format!("{who} hears of a death that was mended"));
        }
        if hear && !died && !mended {
            return Err(format!("{who} does not hear of the death"));
        }
        mended |= died && mends;
        Ok(())
    };
    let lines = scene.answers(lane, death.when)?;
    // One that slept behind the victim may have been faster, and is as if it had never slept.
    let strict = hear && scene.plan.behind.is_empty();
    let (mut writers, mut told) = (0, 0);
    for (verb, line) in scene.asleep.iter().zip(&lines) {
        let died = line == "died";
        if died && !hear {
            return Err(format!("a sleeping {verb} hears of a death that did not matter"));
        }
        writers += usize::from(*verb == "write");
        told += usize::from(*verb == "write" && died);
        if strict && !died && writers == 0 {
            return Err(format!("a sleeping {verb} does not hear of the death"));
        }
    }
    // Only a writer mends.
    if told > 1 || (strict && writers > 0 && told == 0) {
        return Err(format!("{told} of {writers} sleeping writers heard of the death"));
    }
    if told > 0 {
        note("a sleeper", true, true)?;
    }
    let even = death.number.is_multiple_of(2);
    if even && let Some(line) = scene.keeper(lane, "read")? {
        note("another thread", line == "died", false)?;
    }
    let mut pair = None;
    if death.number % 4 < 2 {
        let (found, died) = scene.timed(|world| look(world, even))?;
        note("a reader", died, false)?;
        pair = Some(found);
    }
    let (found, died) = scene.timed(|world| mend(world, even))?;
    note("a writer", died, true)?;
    let pair = pair.unwrap_or(found);
    if !hear && pair[0] != pair[1] {
        return Err(format!("half a change: {pair:?}"));
    }
    if let Some(line) = scene.keeper(lane, "write")? {
        note("another thread", line == "died", true)?;
    }
    whole(scene, lane)?;
    Ok(pair)
}

/// Nothing is left of the dead: two read at a time, and nobody writes meanwhile, and the other way round.
fn whole(scene: &mut Scene, lane: &mut Lane) -> Result<(), String> {
    for offset in at::READERS.step_by(64) {
        if scene.word(offset)? != 0 {
            return Err(format!("the reader's seat at {offset} is taken for ever"));
        }
    }
    scene.hold(lane, GUEST, "read")?;
    let (_, died) = scene.timed(|world| look(world, false))?;
    let refused = matches!(scene.world.rwlock.try_write(), Err(LockError::WouldBlock));
    Scene::give_back(lane, GUEST)?;
    if died || !refused {
        return Err(format!(
            "after it: a death is told {died}, a reader keeps writers out {refused}"
        ));
    }
    scene.hold(lane, GUEST, "write")?;
    let kept = matches!(scene.world.rwlock.try_read(), Err(LockError::WouldBlock));
    Scene::give_back(lane, GUEST)?;
    let (_, died) = scene.timed(|world| mend(world, false))?;
    if died || !kept {
        return Err(format!("after it: a death is told {died}, a writer keeps readers out {kept}"));
    }
    Ok(())
}

fn unchanged(pair: Pair, expected: Pair) -> Result<(), String> {
    if pair == expected { Ok(()) } else { Err(format!("the value is {pair:?}")) }
}

/// If an earlier writer died: everybody hears of it who comes after one that does not mend the value, and the value is
/// changed. Otherwise that is the victim's doing alone.
fn as_left(scene: &Scene) -> (bool, Pair) {
    match scene.plan.earlier {
        Some(DEAD_WRITER) => (true, [START[0] + 1; 2]),
        _ => (had(scene).hear, START),
    }
}

fn judge_read(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    let (hear, pair) = as_left(scene);
    unchanged(go_on(scene, lane, death, hear)?, pair)?;
    Ok(after(had.seat))
}

fn judge_read_unlock(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    unchanged(go_on(scene, lane, death, false)?, START)?;
    Ok(after(!had.seat))
}

/// It reads all the time: how often is told by its seats, or in its seat if a writer waits.
fn judge_again(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<u64, String> {
    let seats = scene.owned.iter().filter(|&at| at::READERS.contains(at));
    let times = seats.map(|seat| 1 + scene.saw(seat + at::AGAIN)).sum();
    unchanged(go_on(scene, lane, death, false)?, START)?;
    match times {
        1 | 2 => Ok(times),
        _ => Err(format!("the reader reads {times} times")),
    }
}

fn judge_read_again(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    Ok(after(judge_again(scene, lane, death)? == 2))
}

fn judge_unlock_inner(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    Ok(after(judge_again(scene, lane, death)? == 1))
}

fn judge_twice(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    judge_again(scene, lane, death)?;
    Ok(after(death.finished))
}

fn judge_write(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    let (hear, pair) = as_left(scene);
    unchanged(go_on(scene, lane, death, hear)?, pair)?;
    Ok(after(had.right))
}

fn judge_write_unlock(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    unchanged(go_on(scene, lane, death, had.hear)?, [START[0] + 1; 2])?;
    Ok(after(!had.right))
}

fn judge_change(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    let pair = go_on(scene, lane, death, had.hear)?;
    Ok(after(!had.right && pair != START))
}

fn judge_repair(scene: &mut Scene, lane: &mut Lane, death: &Death) -> Result<State, String> {
    let had = had(scene);
    let pair = go_on(scene, lane, death, had.hear)?;
    if !had.hear {
        unchanged(pair, START)?;
    }
    Ok(after(!had.hear))
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let (reads, reads_no_more) =
        (Plan::new(read, judge_read), Plan::new(read_unlock, judge_read_unlock));
    let writes = Plan::new(write, judge_write);
    let writes_no_more = Plan::new(write_unlock, judge_write_unlock);
    let changes = Plan::new(change, judge_change);
    let some = 10;
    let mut all = vec![
        ("read", reads.hot()),
        ("read_unlock", reads_no_more.hot()),
        ("read_again", Plan::new(read_again, judge_read_again)),
        ("read_again_writer", {
            Plan::new(read_again, judge_read_again).asleep(&["write"]).late(some)
        }),
        ("read_twice_writer", Plan::new(read_twice, judge_twice).asleep(&["write"]).late(some)),
        ("read_unlock_inner", Plan::new(read_unlock_inner, judge_unlock_inner)),
        ("write", writes),
        ("write_unlock", writes_no_more.hot()),
        ("change", changes),
        ("read_dead_writer", reads.after(DEAD_WRITER).hot()),
        ("write_dead_writer", writes.after(DEAD_WRITER)),
        ("write_dead_reader", writes.after("rwlock_read_unlock")),
        ("repair", Plan::new(repair, judge_repair).after(DEAD_WRITER)),
        ("read_unlock_writer", reads_no_more.asleep(&["write"]).late(some)),
        ("read_unlock_writer_and_reader", reads_no_more.asleep(&["write", "read"]).late(some)),
        ("write_unlock_reader", writes_no_more.asleep(&["read"]).late(some)),
        ("write_unlock_writer_and_reader", writes_no_more.asleep(&["write", "read"]).late(some)),
        ("read_waits", reads.held("write").late(some)),
        ("read_woken_before_reader", reads.held("write").behind(&["read"]).late(some)),
        ("read_woken_before_writer", reads.held("write").behind(&["write"]).late(some)),
        ("write_waits_for_writer", writes.held("write").late(some)),
        ("write_waits_for_reader", writes.held("read").late(some)),
        ("write_woken_before_writer", writes.held("read").behind(&["write"]).late(some)),
        ("write_woken_before_reader", writes.held("read").behind(&["read"]).late(some)),
        ("write_woken_before_two", writes.held("write").behind(&["write", "read"]).late(some)),
    ];
    for (who, names) in [
        (
            Who::Foreigner,
            [
                "foreign_read",
                "foreign_read_unlock",
                "foreign_write",
                "foreign_write_unlock",
                "foreign_change",
            ],
        ),
        (
            Who::Thread,
            [
                "thread_read",
                "thread_read_unlock",
                "thread_write",
                "thread_write_unlock",
                "thread_change",
            ],
        ),
    ] {
        let plans = [reads, reads_no_more, writes, writes_no_more, changes];
        all.extend(names.into_iter().zip(plans.map(|plan| plan.of(who).late(2 * some))));
    }
    let scenario = |(name, plan): (&str, Plan)| plan.soon().scenario(&format!("rwlock_{name}"));
    all.into_iter().map(scenario).collect()
}
