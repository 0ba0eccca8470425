//! The named lock around the tickets, in four kinds behind one interface.
//!
//! Its own value is not used: the lock guards the tickets beside it, in a file or in a segment.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use steadfast::{
    LockError, Mutex, MutexGuard, PthreadMutex, PthreadMutexGuard, Segment, SegmentError,
    SegmentOptions,
};

use crate::exit_code::Failure;
use crate::plain_lock::{PlainGuard, PlainLock};
use crate::signals::{Deadline, Stop};

/// A wait for a robust lock begins with short naps that grow, so slices of the usual length would
/// wake up too often: this is how late a signal may be answered here.
const LOCK_SLICE: Duration = Duration::from_secs(1);

/// How soon a plain lock is tried again: at first, and after many times.
const PLAIN_NAPS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Which lock.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Steadfast's own mutex: says when its owner died, and goes on
    Futex,
    /// The C library's robust mutex: says it too
    Pthread,
    /// A mutex that is not robust: if its owner dies, everybody waits for ever
    Plain,
    /// No lock: the race shows
    None,
}

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockKind::Futex => "futex",
            LockKind::Pthread => "pthread",
            LockKind::Plain => "plain",
            LockKind::None => "none",
        })
    }
}

/// A lock of one of the four kinds.
pub enum TicketLock {
    /// Steadfast's own.
    Futex(Mutex<u64>),
    /// The C library's.
    Pthread(PthreadMutex<u64>),
    /// Not robust.
    Plain(PlainLock),
    /// Nothing.
    None,
}

/// The right to the tickets; dropping it ends it.
pub enum Turn<'a> {
    /// Of the lock of the same name.
    Futex(MutexGuard<'a, u64>),
    /// Of the lock of the same name.
    Pthread(PthreadMutexGuard<'a, u64>),
    /// Of the lock of the same name.
    Plain(PlainGuard<'a>),
    /// No right at all, but nobody checks.
    None,
}

/// What came of waiting for the lock.
pub enum Attempt<'a> {
    /// It is ours.
    Ours(Turn<'a>),
    /// It is ours, and the owner before us died: the tickets must be looked at.
    OwnerDied(Turn<'a>),
    /// A dead owner's successor found the tickets damaged and gave the lock up.
    Abandoned,
    /// A signal came first.
    Interrupted,
}

impl TicketLock {
    /// Opens the lock, or makes it.
    pub fn open_or_create(kind: LockKind, name: &str) -> Result<TicketLock, Failure> {
        let options = SegmentOptions::new();
        let failed = |error: SegmentError| {
            Failure::segment(name, &error)
                .or("check --lock and --lock-name, or: ticket-buyer remove")
        };
        Ok(match kind {
            LockKind::Futex => {
                TicketLock::Futex(Mutex::open_or_create(name, 0, &options).map_err(failed)?)
            }
            LockKind::Pthread => TicketLock::Pthread(
                PthreadMutex::open_or_create(name, 0, &options).map_err(failed)?,
            ),
            LockKind::Plain => TicketLock::Plain(PlainLock::open_or_create(name)?),
            LockKind::None => TicketLock::None,
        })
    }

    /// Removes the lock; no lock is fine.
    pub fn remove(kind: LockKind, name: &str) -> Result<(), Failure> {
        match kind {
            LockKind::Futex | LockKind::Pthread => match Segment::unlink(name) {
                Ok(()) | Err(SegmentError::NotFound { .. }) => Ok(()),
                Err(error) => Err(Failure::segment(name, &error)),
            },
            LockKind::Plain => PlainLock::remove(name).map(drop),
            LockKind::None => Ok(()),
        }
    }

    /// Waits for the lock, in slices that notice a signal.
    pub fn wait(
        &self,
        name: &str,
        patience: Option<Duration>,
        stop: &Stop,
    ) -> Result<Attempt<'_>, Failure> {
        let deadline = Deadline::after(patience);
        let mut nap = PLAIN_NAPS.0;
        loop {
            let slice = deadline.left().min(LOCK_SLICE);
            let attempt = match self {
                TicketLock::Futex(lock) => robust(name, lock.lock_timeout(slice), Turn::Futex)?,
                TicketLock::Pthread(lock) => robust(name, lock.lock_timeout(slice), Turn::Pthread)?,
                TicketLock::Plain(lock) => {
                    let guard = lock.try_lock()?;
                    if guard.is_none() {
                        stop.sleep(slice.min(nap));
                        nap = (nap * 2).min(PLAIN_NAPS.1);
                    }
                    guard.map(|guard| Attempt::Ours(Turn::Plain(guard)))
                }
                TicketLock::None => Some(Attempt::Ours(Turn::None)),
            };
            match attempt {
                Some(attempt) => return Ok(attempt),
                None if stop.requested() => return Ok(Attempt::Interrupted),
                None if deadline.passed() => {
                    return Err(Failure::lock(name, &LockError::<()>::TimedOut).or(self.advice()));
                }
                None => {}
            }
        }
    }

    /// After somebody gave the lock up because the tickets were wrong: makes it usable again, for
    /// one who puts new tickets on sale.
    pub fn repair(&self, name: &str) -> Result<(), Failure> {
        match self {
            TicketLock::Futex(lock) => lock.repair(|_| {}).map_err(|e| Failure::lock(name, &e)),
            TicketLock::Pthread(lock) => lock.repair(|_| {}).map_err(|e| Failure::lock(name, &e)),
            TicketLock::Plain(_) | TicketLock::None => Ok(()),
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            TicketLock::Plain(_) => {
                "raise --timeout; but if its owner died, nobody gets a plain lock again: \
                 ticket-buyer remove, and use --lock futex"
            }
            _ => "raise --timeout: its owner is alive",
        }
    }
}

impl Turn<'_> {
    /// Says that the tickets were looked at and are right, after their owner died.
    pub fn mark_consistent(&mut self) {
        match self {
            Turn::Futex(guard) => guard.mark_consistent(),
            Turn::Pthread(guard) => guard.mark_consistent(),
            Turn::Plain(_) | Turn::None => {}
        }
    }

    /// Says that the tickets are wrong: nobody gets the lock until new ones are made.
    pub fn abandon(self) {
        match self {
            Turn::Futex(guard) => guard.abandon(),
            Turn::Pthread(guard) => guard.abandon(),
            Turn::Plain(_) | Turn::None => {}
        }
    }
}

/// `None`: not yet.
fn robust<'a, G>(
    name: &str,
    result: Result<G, LockError<G>>,
    turn: impl FnOnce(G) -> Turn<'a>,
) -> Result<Option<Attempt<'a>>, Failure> {
    match result {
        Ok(guard) => Ok(Some(Attempt::Ours(turn(guard)))),
        Err(LockError::OwnerDied(guard)) => Ok(Some(Attempt::OwnerDied(turn(guard)))),
        Err(LockError::Abandoned) => Ok(Some(Attempt::Abandoned)),
        Err(LockError::TimedOut | LockError::WouldBlock) => Ok(None),
        Err(error) => Err(Failure::lock(name, &error)),
    }
}
