//! The survivor's side of a joinable queue: every call is timed, and none may take for ever.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use steadfast::{GetError, JoinError, Lease, PutError};

use crate::lease_model::{Item, Letter};
use crate::lease_victim::Work;
use crate::peer::BOUND;

/// A queue in a survivor's hands.
pub struct WorkHands {
    pub queue: Work,
    /// The longest call since this was last set to zero.
    pub slowest: Duration,
}

/// What a lease is for.
pub fn item(lease: &Lease) -> Result<Item, String> {
    let bytes = lease.value().map_err(|error| format!("a survivor's value: {error:?}"))?;
    Ok(Item { bytes, attempt: lease.attempt(), reason: lease.last_reason() })
}

impl WorkHands {
    pub fn new(queue: Work) -> WorkHands {
        WorkHands { queue, slowest: Duration::ZERO }
    }

    fn timed<T>(&mut self, call: impl FnOnce(&Work) -> T) -> T {
        let start = Instant::now();
        let result = call(&self.queue);
        self.slowest = self.slowest.max(start.elapsed());
        result
    }

    fn sure<T, E: Debug>(
        &mut self,
        what: &str,
        call: impl FnOnce(&Work) -> Result<T, E>,
    ) -> Result<T, String> {
        self.timed(call).map_err(|error| format!("a survivor's {what}: {error:?}"))
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.sure("put", |queue| queue.put_timeout(bytes, BOUND))
    }

    /// Puts without waiting: there is room.
    pub fn try_put(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.sure("try_put", |queue| queue.try_put(bytes))
    }

    /// Leases a message, which should be there.
    pub fn get(&mut self) -> Result<Lease, String> {
        self.sure("get", |queue| queue.get_timeout(BOUND))
    }

    /// Leases a message if there is one.
    pub fn try_get(&mut self) -> Result<Option<Lease>, String> {
        match self.timed(|queue| queue.try_get()) {
            Ok(lease) => Ok(Some(lease)),
            Err(GetError::Empty) => Ok(None),
            Err(error) => Err(format!("a survivor's try_get: {error:?}")),
        }
    }

    pub fn ack(&mut self, lease: Lease) -> Result<(), String> {
        self.sure("ack", |_| lease.ack())
    }

    pub fn nack(&mut self, lease: Lease) -> Result<(), String> {
        self.sure("nack", |_| lease.nack())
    }

    pub fn unfinished(&mut self) -> Result<usize, String> {
        self.sure("unfinished", |queue| queue.unfinished())
    }

    /// Whether everything is done, as a join sees it that does not wait.
    pub fn is_done(&mut self) -> Result<bool, String> {
        match self.timed(|queue| queue.join_timeout(Duration::ZERO)) {
            Ok(()) => Ok(true),
            Err(JoinError::TimedOut) => Ok(false),
            Err(error) => Err(format!("a survivor's join_timeout: {error:?}")),
        }
    }

    pub fn join(&mut self) -> Result<(), String> {
        self.sure("join", |queue| queue.join_timeout(BOUND))
    }

    pub fn letters(&mut self) -> Result<Vec<Letter>, String> {
        let letters = self.sure("dead_letters", |queue| queue.dead_letters())?;
        let letter = |it: steadfast::DeadLetter| Letter {
            bytes: it.bytes,
            attempts: it.attempts,
            reason: it.reason,
        };
        Ok(letters.into_iter().map(letter).collect())
    }

    /// Whether it was shut down.
    pub fn is_shutdown(&mut self) -> Result<bool, String> {
        self.sure("is_shutdown", |queue| queue.is_shutdown())
    }

    /// Nothing goes in and nothing comes out any more.
    pub fn is_over(&mut self) -> Result<(), String> {
        match self.timed(|queue| queue.get_timeout(BOUND)) {
            Err(GetError::Closed) => {}
            other => return Err(format!("a get after the shutdown: {other:?}")),
        }
        match self.timed(|queue| queue.put_timeout(b"late", BOUND)) {
            Err(PutError::Closed) => Ok(()),
            other => Err(format!("a put after the shutdown: {other:?}")),
        }
    }
}
