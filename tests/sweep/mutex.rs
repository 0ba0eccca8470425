//! A mutex of either kind, and what a survivor does with it.

use std::time::{Duration, Instant};

use steadfast::{LockError, Mutex, PthreadMutex, SegmentError, SegmentOptions};

use crate::peer::{BOUND, Pair};

/// The two kinds of mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Mutex`.
    Futex,
    /// `PthreadMutex`.
    Pthread,
}

/// The value every mutex starts with.
pub const START: Pair = [1, 1];

/// A mutex of either kind.
pub enum Lock {
    /// Ours.
    Futex(Mutex<Pair>),
    /// The C library's.
    Pthread(PthreadMutex<Pair>),
}

/// Does the same with either kind.
#[macro_export]
macro_rules! either {
    ($lock:expr, $mutex:ident => $body:expr) => {
        match $lock {
            $crate::mutex::Lock::Futex($mutex) => $body,
            $crate::mutex::Lock::Pthread($mutex) => $body,
        }
    };
}

/// What a survivor found behind the lock.
pub struct Found {
    /// `OwnerDied`.
    pub died: bool,
    /// The value, before it was mended.
    pub pair: Pair,
    /// How long it took to get the lock.
    pub took: Duration,
}

impl Lock {
    /// Makes one.
    pub fn create(kind: Kind, name: &str) -> Result<Lock, String> {
        let options = SegmentOptions::new().participants(16);
        Ok(match kind {
            Kind::Futex => Lock::Futex(Mutex::create(name, START, &options).map_err(text)?),
            Kind::Pthread => {
                Lock::Pthread(PthreadMutex::create(name, START, &options).map_err(text)?)
            }
        })
    }

    /// Opens one, in a victim.
    pub fn open(kind: Kind, name: &str) -> Lock {
        match kind {
            Kind::Futex => Lock::Futex(Mutex::open(name).expect("open a mutex")),
            Kind::Pthread => Lock::Pthread(PthreadMutex::open(name).expect("open a mutex")),
        }
    }

    /// Locks, mends what is to be mended, counts up and unlocks.
    pub fn take(&self, patient: bool) -> Result<Found, String> {
        let start = Instant::now();
        either!(self, mutex => {
            let locked = if patient { mutex.lock() } else { mutex.lock_timeout(BOUND) };
            let took = start.elapsed();
            let (mut guard, died) = match locked {
                Ok(guard) => (guard, false),
                Err(LockError::OwnerDied(guard)) => (guard, true),
                Err(error) => return Err(format!("a survivor's lock: {error:?}")),
            };
            let pair = *guard;
            guard[0] += 1;
            guard[1] = guard[0];
            if died {
                guard.mark_consistent();
            }
            Ok(Found { died, pair, took })
        })
    }
}

fn text(error: SegmentError) -> String {
    error.to_string()
}
