//! A message in a consumer's hands.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::message::Message;
use crate::os::clock::{Deadline, monotonic};

use super::chunk::{Reason, at};
use super::claim::{Held, Return};
use super::object::{Failed, Shared};
use super::{GetError, LeaseError};

/// A message that a [`crate::JoinableQueue`] handed out. It is this process's until it is acknowledged or
/// given back; no time-out takes it away, and a process that is stopped keeps it.
///
/// # How it ends
/// | | the message |
/// |---|---|
/// | [`Lease::ack`] | is done |
/// | [`Lease::nack`], [`Lease::nack_after`] | comes back, first in line or after a delay |
/// | [`Lease::release`] | comes back, and this attempt does not count |
/// | it is dropped | comes back, as by `nack`; a panic of the thread is noted |
/// | the process dies | comes back: at the latest when anybody waits for a message, joins, attaches or has got a thousand messages |
/// | it is forgotten | comes back when the process ends |
///
/// A message that came back [`QueueOptions::max_deliveries`](crate::QueueOptions::max_deliveries) times
/// becomes a dead letter instead. What came back is handed out before everything else, oldest first.
///
/// A lease may move to another thread, and be acknowledged there. In a child made by `fork` it is the
/// parent's: dropping it there does nothing.
#[must_use = "a lease that is dropped gives its message back, and the attempt counts"]
pub struct Lease<T: Message + ?Sized = [u8]> {
    holding: Holding,
    kind: PhantomData<fn() -> T::Owned>,
}

/// A lease whatever it carries.
pub(super) struct Holding {
    shared: Arc<Shared>,
    /// `None` once it has ended.
    held: Option<Held>,
}

impl Holding {
    pub(super) fn new(shared: &Arc<Shared>, held: Held) -> Holding {
        Holding { shared: Arc::clone(shared), held: Some(held) }
    }

    fn len(&self) -> usize {
        self.held.map_or(0, |held| held.len)
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        if let (Some(store), Some(held)) = (self.shared.store(), self.held) {
            store.append_to(held.chunk, held.len, bytes);
        }
    }

    /// The value, as a message of that type.
    pub(super) fn value<T: Message + ?Sized>(&self) -> Result<T::Owned, GetError> {
        self.shared.segment.check()?;
        let value = T::decoded(|bytes| {
            self.append_to(bytes);
            // A file truncated meanwhile: these are not the message's bytes.
            Ok::<(), GetError>(self.shared.segment.check()?)
        })?;
        value.map_err(GetError::Deserialize)
    }

    pub(super) fn ack(mut self) -> Result<(), LeaseError> {
        let (Some(store), Some(held)) = (self.shared.store(), self.held.take()) else {
            return Ok(());
        };
        let done = self.shared.acknowledge(store, held);
        done.map_err(|failed| self.shared.lease_error(failed))
    }

    fn give_back(&mut self, how: Return) -> Result<(), LeaseError> {
        let (Some(store), Some(held)) = (self.shared.store(), self.held.take()) else {
            return Ok(());
        };
        let done = self.shared.give_back(store, held, how);
        done.map_err(|failed| self.shared.lease_error(failed))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let panics = std::thread::panicking();
        let reason = if panics { Reason::Panicked } else { Reason::Dropped };
        if let Err(error) = self.give_back(Return::Now(reason)) {
            // Nobody can be told. The message comes back when the process ends.
            tracing::debug!(segment = self.shared.segment.name(), %error, "a lease was dropped");
        }
    }
}

impl<T: Message + ?Sized> Lease<T> {
    pub(super) fn new(holding: Holding) -> Lease<T> {
        Lease { holding, kind: PhantomData }
    }

    /// Which attempt this is: 1 for a message that is handed out for the first time. More than 1: an
    /// earlier holder may have done some of the work.
    pub fn attempt(&self) -> u32 {
        self.holding.held.map_or(0, |held| held.state.attempts().into())
    }

    /// The message's number, in the order of puts: the same in every attempt, and that of its
    /// [`DeadLetter`](crate::DeadLetter).
    pub fn sequence(&self) -> u64 {
        match (self.holding.shared.store(), self.holding.held) {
            (Some(store), Some(held)) => store.of(held.chunk, at::SEQUENCE).load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// Why the last attempt ended, if there was one.
    pub fn last_reason(&self) -> Reason {
        self.holding.held.map_or(Reason::Never, |held| held.state.reason())
    }

    /// Bytes of the message.
    pub fn len(&self) -> usize {
        self.holding.len()
    }

    /// Whether the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message: a copy, or the value made of its bytes.
    ///
    /// # Errors
    /// [`GetError::Deserialize`]: the bytes are no value of this type (the lease goes on);
    /// [`GetError::Segment`] in a forked child.
    pub fn value(&self) -> Result<T::Owned, GetError> {
        self.holding.value::<T>()
    }

    /// The message is done: it leaves the queue. One compare-and-swap, no lock.
    ///
    /// Killed inside: it is done, or it comes back.
    ///
    /// # Errors
    /// [`LeaseError::Segment`] in a forked child, [`LeaseError::Corrupt`].
    pub fn ack(self) -> Result<(), LeaseError> {
        self.holding.ack()
    }

    /// The message could not be done: it comes back at once.
    ///
    /// Killed inside: it comes back.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub fn nack(mut self) -> Result<(), LeaseError> {
        self.holding.give_back(Return::Now(Reason::Nacked))
    }

    /// The message could not be done now: it comes back after `delay`. Whoever waits for a message wakes up
    /// then.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub fn nack_after(mut self, delay: Duration) -> Result<(), LeaseError> {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.holding.give_back(Return::At(monotonic().saturating_add(delay)))
    }

    /// The message was not touched: it comes back at once, and this attempt does not count.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub fn release(mut self) -> Result<(), LeaseError> {
        self.holding.give_back(Return::Untouched)
    }

    /// Copies the whole message to the start of `bytes`. False if `bytes` is shorter than the message, or the
    /// segment cannot be used: in a forked child, or when it was truncated.
    pub fn copy_to(&self, bytes: &mut [u8]) -> bool {
        bytes.get_mut(..self.len()).is_some_and(|bytes| self.copy_at(0, bytes))
    }

    /// Fills `bytes` from `offset` of the message. False if the message ends before, or the segment cannot be
    /// used.
    pub fn copy_at(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let len = self.len();
        let fits = offset <= len && bytes.len() <= len - offset;
        match (self.holding.shared.store(), self.holding.held) {
            (Some(store), Some(held)) if fits => {
                store.read(held.chunk, offset, bytes);
                // Afterwards, so that a truncation that this met is noticed.
                self.holding.shared.segment.is_usable()
            }
            _ => false,
        }
    }

    /// The eight bytes at `offset` as a number in this machine's byte order.
    pub fn read_u64(&self, offset: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        self.copy_at(offset, &mut bytes).then(|| u64::from_ne_bytes(bytes))
    }

    /// The message's bytes where they lie.
    ///
    /// # Safety
    /// No other process may write them while the slice lives. No participant that keeps to this
    /// library does, so this is for segments whose every user is trusted to.
    pub unsafe fn as_slice(&self) -> &[u8] {
        let (Some(store), Some(held)) = (self.holding.shared.store(), self.holding.held) else {
            return &[];
        };
        let bytes = store.pointer(held.chunk, held.len);
        // SAFETY: the message was checked to lie inside its chunk, which stays mapped while the lease
        // lives; that nobody writes it is this function's contract.
        unsafe { std::slice::from_raw_parts(bytes, held.len) }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("segment", &self.holding.shared.segment.name())
            .field("attempt", &self.attempt())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// What this thread took by value and has not declared done, oldest first. If the thread ends, it
    /// comes back.
    static BY_VALUE: RefCell<VecDeque<Holding>> = const { RefCell::new(VecDeque::new()) };
}

/// Keeps a lease for a later [`task_done`]. If the thread is ending, the message comes back instead.
pub(super) fn keep_by_value(holding: Holding) {
    let _ = BY_VALUE.try_with(|kept| kept.borrow_mut().push_back(holding));
}

/// Ends this thread's oldest lease of that queue.
pub(super) fn task_done(shared: &Shared) -> Result<(), LeaseError> {
    let oldest = BY_VALUE.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        let at = kept.iter().position(|holding| holding.shared.segment.is(&shared.segment))?;
        kept.remove(at)
    });
    match oldest {
        Ok(Some(holding)) => holding.ack(),
        _ => Err(LeaseError::TooMany),
    }
}

impl Shared {
    #[cold]
    pub(super) fn lease_error(&self, failed: Failed) -> LeaseError {
        match self.get_error(failed, Deadline::Never) {
            GetError::Corrupt { name, what } => LeaseError::Corrupt { name, what },
            GetError::Segment(error) => LeaseError::Segment(error),
            _ => LeaseError::Segment(self.segment.unusable()),
        }
    }
}
