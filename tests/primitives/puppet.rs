//! One of everything in one segment, and a process that does with it what it is told.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use steadfast::{
    BoundedSemaphore, Condvar, Event, LockError, Mutex, MutexGuard, RLock, Segment, Semaphore,
    Shared, WaitError, Wakeup,
};

use crate::support::child::{self, Child};
use crate::support::{Name, proc};
use crate::{LONG, options};

/// One of everything.
#[derive(Shared)]
pub struct World {
    pub lock: BoundedSemaphore,
    pub bounded: BoundedSemaphore,
    pub signals: Semaphore,
    pub rlock: RLock,
    pub tokens: Mutex<i64>,
    pub changed: Condvar,
    pub event: Event,
}

impl World {
    pub fn new(tag: &str) -> (Name, World) {
        let name = Name::new(tag);
        let init = WorldInit {
            lock: 1,
            bounded: 2,
            signals: 2,
            rlock: (),
            tokens: 0,
            changed: (),
            event: false,
        };
        let world = Segment::of::<World>().create(&name, init, &options());
        (name, world.expect("one of everything"))
    }

    pub fn open(name: &str) -> World {
        Segment::of::<World>().open(name).expect("somebody has made it")
    }
}

/// What an attempt came to, for people and tests.
pub fn told<T>(result: Result<T, WaitError>) -> String {
    result.map_or_else(|error| format!("{error:?}"), |_| "ok".to_owned())
}

fn locked<T>(result: Result<T, LockError<T>>) -> String {
    result.map_or_else(|error| format!("{error:?}"), |_| "ok".to_owned())
}

/// The tokens, also if somebody died who had them: a count cannot be half changed.
pub fn tokens<'a>(attempt: Result<Tokens<'a>, LockError<Tokens<'a>>>) -> Tokens<'a> {
    match attempt {
        Ok(tokens) => tokens,
        Err(LockError::OwnerDied(mut tokens)) => {
            tokens.mark_consistent();
            tokens
        }
        Err(other) => panic!("{other:?}"),
    }
}

pub type Tokens<'a> = MutexGuard<'a, i64>;

/// Waits until there is a token, and takes it.
fn take_token(world: &World, timeout: Duration) -> String {
    let start = Instant::now();
    let mut held = tokens(world.tokens.lock());
    loop {
        if *held > 0 {
            *held -= 1;
            return "ok".to_owned();
        }
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return "TimedOut".to_owned();
        }
        held = match world.changed.wait_timeout(held, left) {
            Ok((held, _)) => held,
            Err(died) => tokens(Err(died)),
        };
    }
}

/// Why one wait ended.
fn wait_once(world: &World, timeout: Duration) -> String {
    let waited = world.changed.wait_timeout(world.tokens.lock().unwrap(), timeout);
    match waited.unwrap().1 {
        Wakeup::Notified => "notified",
        Wakeup::TimedOut => "TimedOut",
        Wakeup::Backstop => "backstop",
        _ => "?",
    }
    .to_owned()
}

/// Child: one command a line, one answer each.
pub fn play(arguments: &[String]) {
    let world = World::open(&arguments[0]);
    let mut guards = Vec::new();
    child::tell(proc::tid());
    loop {
        let line = child::hear();
        let (command, millis) = match line.split_once(" for ") {
            Some((command, millis)) => (command, Duration::from_millis(millis.parse().unwrap())),
            None => (line.as_str(), LONG),
        };
        let answer = match command {
            "lock" => told(world.lock.acquire_timeout(millis)),
            "try lock" => told(world.lock.try_acquire()),
            "unlock" => told(world.lock.release()),
            "is locked" => (world.lock.available() == 0).to_string(),
            "acquire bounded" => told(world.bounded.try_acquire()),
            "release bounded" => told(world.bounded.release()),
            "acquire" => told(world.signals.acquire_timeout(millis)),
            "try acquire" => told(world.signals.try_acquire()),
            "release" => told(world.signals.release()),
            "release all" => told(world.signals.release_many(3)),
            "rlock" => match world.rlock.lock_timeout(millis) {
                Ok(guard) => {
                    guards.push(guard);
                    guards.len().to_string()
                }
                Err(error) => format!("{error:?}"),
            },
            "try rlock" => locked(world.rlock.try_lock()),
            "unrlock" => {
                guards.pop();
                world.rlock.is_mine().to_string()
            }
            "take a token" => take_token(&world, millis),
            "wait" => wait_once(&world, millis),
            "give a token" => {
                *tokens(world.tokens.lock()) += 1;
                told(world.changed.notify_one())
            }
            "await the event" => told(world.event.wait_timeout(millis)),
            "set" => told(world.event.set()),
            "clear" => told(world.event.clear()),
            "is set" => world.event.is_set().to_string(),
            other => panic!("{other}?"),
        };
        child::tell(answer);
    }
}

/// The process that does what it is told.
pub struct Puppet {
    child: Child,
    tid: i32,
}

impl Puppet {
    pub fn new(name: &str) -> Puppet {
        let mut child = Child::spawn("puppet", &[name]);
        let tid = child.hear().parse().expect("a number");
        Puppet { child, tid }
    }

    /// What came of a command.
    pub fn ask(&mut self, command: &str) -> String {
        self.begin(command);
        self.answer()
    }

    /// Gives a command that may wait.
    pub fn begin(&mut self, command: &str) {
        self.child.say(command);
    }

    /// Gives a command that has to wait, and waits until it does.
    pub fn begin_to_wait(&mut self, command: &str) {
        self.begin(command);
        proc::wait_until_asleep(self.child.pid(), self.tid);
        assert!(self.child.is_silent(), "{command} did not wait");
    }

    /// Gives a command, and waits until it waits or has its answer.
    pub fn begin_perhaps_to_wait(&mut self, command: &str) -> Option<String> {
        self.begin(command);
        loop {
            if let Ok(answer) = self.answer_within(Duration::from_millis(1)) {
                return Some(answer);
            }
            if proc::sleeps_on_a_futex(self.child.pid(), self.tid) {
                return None;
            }
        }
    }

    pub fn answer_within(&mut self, limit: Duration) -> Result<String, RecvTimeoutError> {
        self.child.hear_within(limit)
    }

    pub fn answer(&mut self) -> String {
        self.child.hear()
    }

    pub fn kill(self) {
        self.child.kill();
    }

    pub fn is_silent(&mut self) -> bool {
        self.child.is_silent()
    }
}
