//! What live processes do with a world: they sleep in an operation while victims die, or hold what a victim waits
//! for. Also for the other thread of a victim whose thread dies alone, so nothing here allocates but for errors.

use std::fmt::Debug;
use std::io::{BufRead, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use steadfast::{LockError, MutexGuard, OnceAttempt, WaitError};

use crate::peer::{BOUND, Pair, say};
use crate::support::proc;
use crate::sync_world::{START, World, open};

/// Longer than whoever waits for the answer.
const PATIENCE: Duration = BOUND.saturating_mul(2);

fn lost(error: impl Debug) -> String {
    format!("{error:?}")
}

/// Does `verb`, and says what came of it.
pub fn visit(world: &World, verb: &str) -> Result<&'static str, String> {
    match verb {
        "rlock" => match world.rlock.lock_timeout(PATIENCE) {
            Ok(guard) if guard.depth() == 1 => Ok("clean"),
            Ok(guard) => Err(format!("a depth of {}", guard.depth())),
            Err(LockError::OwnerDied(mut guard)) => {
                guard.mark_consistent();
                Ok("died")
            }
            Err(error) => Err(lost(error)),
        },
        "read" => match world.rwlock.read_timeout(PATIENCE) {
            Ok(pair) if pair[0] == pair[1] => Ok("clean"),
            Ok(pair) => Err(format!("half a change: {:?}", *pair)),
            Err(LockError::OwnerDied(_)) => Ok("died"),
            Err(error) => Err(lost(error)),
        },
        "write" => match world.rwlock.write_timeout(PATIENCE) {
            Ok(pair) if pair[0] == pair[1] => Ok("clean"),
            Ok(pair) => Err(format!("half a change: {:?}", *pair)),
            Err(LockError::OwnerDied(mut pair)) => {
                pair[1] = pair[0];
                pair.mark_consistent();
                Ok("died")
            }
            Err(error) => Err(lost(error)),
        },
        "change" => change(world),
        "acquire" => world.semaphore.acquire_timeout(PATIENCE).map(|()| "acquired").map_err(lost),
        "permit" => world.permits.acquire_timeout(PATIENCE).map(|_| "acquired").map_err(lost),
        "event" => world.event.wait_timeout(PATIENCE).map(|()| "set").map_err(lost),
        "barrier" => passed(world.barrier.wait_timeout(PATIENCE)),
        "action" => passed(world.barrier.wait_with(|| act(world))),
        "join" => match world.barrier.join_timeout(PATIENCE) {
            Ok(_) => Ok("joined"),
            Err(WaitError::Broken) => Ok("broken"),
            Err(error) => Err(lost(error)),
        },
        "once" => work(world),
        "small" => {
            world.small.get().map(|value| if value == 1 { "old" } else { "new" }).map_err(lost)
        }
        "large" => match world.large.get() {
            Ok(value) if value == [1; 24] => Ok("old"),
            Ok(value) if value == [2; 24] => Ok("new"),
            Ok(value) => Err(format!("a torn value: {value:?}")),
            Err(error) => Err(lost(error)),
        },
        "store" => world.large.set([2; 24]).map(|()| "stored").map_err(lost),
        _ => Err(format!("no such verb: {verb}")),
    }
}

type Locked<'a> = Result<MutexGuard<'a, Pair>, LockError<MutexGuard<'a, Pair>>>;

/// The guard, and whether somebody had died with it; the value is mended then.
fn mended<'a>(locked: Locked<'a>, died: &mut bool) -> Result<MutexGuard<'a, Pair>, String> {
    match locked {
        Err(LockError::OwnerDied(mut pair)) => {
            pair[1] = pair[0];
            pair.mark_consistent();
            *died = true;
            Ok(pair)
        }
        other => other.map_err(lost),
    }
}

/// Waits until the pair has changed.
fn change(world: &World) -> Result<&'static str, String> {
    let (mut died, mut left) = (false, 100);
    let mut pair = mended(world.mutex.lock_timeout(PATIENCE), &mut died)?;
    while pair[1] == START[1] {
        left -= 1;
        if left == 0 {
            return Err("nothing has changed".into());
        }
        pair = mended(world.changed.wait(pair), &mut died)?;
    }
    if pair[0] != pair[1] {
        return Err(format!("half a change: {:?}", *pair));
    }
    Ok(if died { "died" } else { "clean" })
}

/// The action of the barrier.
pub fn act(world: &World) {
    world.small.update(|count| count + 1).expect("count the action");
}

fn passed(result: Result<usize, WaitError>) -> Result<&'static str, String> {
    match result {
        Ok(_) => Ok("passed"),
        Err(WaitError::Broken) => Ok("broken"),
        Err(error) => Err(lost(error)),
    }
}

/// Does the work of the `Once`, unless it is done.
pub fn work(world: &World) -> Result<&'static str, String> {
    let mut again = false;
    let done = world.once.call_once_timeout(PATIENCE, |OnceAttempt { is_retry, .. }| {
        again = is_retry;
        act(world);
    });
    match done {
        Ok(true) if again => Ok("retried"),
        Ok(true) => Ok("worked"),
        Ok(false) => Ok("completed"),
        Err(error) => Err(lost(error)),
    }
}

/// The command `sync VERB NAME`.
pub fn wait(verb: &str, name: &str) -> Result<String, String> {
    let world = open(name)?;
    say("open");
    visit(&world, verb).map(str::to_owned)
}

/// The command `hold VERB NAME`: says `held`, and gives it back when the next line comes.
pub fn hold(verb: &str, name: &str) -> Result<String, String> {
    let world = open(name)?;
    let wait = || {
        say("held");
        std::io::stdin().read_line(&mut String::new()).map(drop).map_err(lost)
    };
    match verb {
        "rlock" => world.rlock.lock().map_err(lost).and_then(|_guard| wait()),
        "read" => world.rwlock.read().map_err(lost).and_then(|_guard| wait()),
        "write" => world.rwlock.write().map_err(lost).and_then(|_guard| wait()),
        "permit" => world.permits.acquire().map_err(lost).and_then(|_permit| wait()),
        "party" => world.barrier.join().map_err(lost).and_then(|_party| wait()),
        "large" => {
            let mut result = Ok(());
            let changed = world.large.update(|value| {
                result = wait();
                *value
            });
            changed.map_err(lost).and(result)
        }
        "once" => {
            let mut result = Ok(());
            world
                .once
                .call_once(|_| {
                    result = wait();
                    act(&world);
                })
                .map_err(lost)
                .and(result)
        }
        _ => Err(format!("no such verb: {verb}")),
    }?;
    Ok("released".into())
}

/// Has another thread of this process answer the lines that come in, each a verb, and then plays.
pub fn beside_a_thread(world: World, play: fn(&World)) {
    let world: &World = Box::leak(Box::new(world));
    let (ready, started) = channel();
    std::thread::spawn(move || {
        ready.send(proc::tid()).expect("the main thread waits");
        keep(world).expect("whoever asks reads the answers");
    });
    let keeper = started.recv().expect("the other thread has started");
    // It must not run into a breakpoint that is meant for us.
    while !proc::sleeps_reading(std::process::id().cast_signed(), keeper) {
        std::thread::sleep(Duration::from_micros(50));
    }
    play(world);
}

fn keep(world: &World) -> std::io::Result<()> {
    let mut line = String::with_capacity(64);
    let (mut input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
    while input.read_line(&mut line)? > 0 {
        match visit(world, line.trim_end()) {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(error) => writeln!(out, "error {error}")?,
        }
        line.clear();
    }
    Ok(())
}
