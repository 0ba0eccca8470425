//! Putting: the write side's lock or role, room, and the wait for it.
//!
//! Nobody asleep means no system call: after the commit there is one look at the consumers' event
//! count. A wait for room polls first (see [`super::spin`]), then sleeps until a consumer calls, with a
//! backstop: whoever is killed between its commit and its call costs a sleeper that much at most.
//!
//! A consumer calls as many producers as it took messages. One that was called and got in calls the
//! next, if there is still room. One that was called and needs more room than there is sleeps again;
//! a smaller put that would fit is called by the next take, or looks for itself after a backstop.

use std::time::Duration;

use crate::os::clock::Deadline;
use crate::primitive::futex::Waited;
use crate::sync::robust_lock::BACKSTOP;

use super::PutError;
use super::object::{Failed, Shared, state};
use super::ring::{Corrupt, Load, Push};

impl Shared {
    /// Puts one message, as one of many producers.
    #[inline]
    pub(crate) fn put_one(&self, item: &[u8], deadline: Deadline) -> Result<(), PutError> {
        if self.single_producer {
            return Err(PutError::SingleRole);
        }
        if item.len() > self.inline_max {
            return self.put_stored::<false>(item, deadline);
        }
        self.expect_put();
        self.until_put(deadline, || {
            self.put_locked(deadline, 1, || self.ring().push_one::<false>(item))
        })
    }

    /// Puts one message; the caller holds the single producer's role.
    #[inline]
    pub(crate) fn put_one_alone(&self, item: &[u8], deadline: Deadline) -> Result<(), PutError> {
        if item.len() > self.inline_max {
            return self.put_stored::<true>(item, deadline);
        }
        self.expect_put();
        self.until_put(deadline, || self.put_alone(1, || self.ring().push_one::<true>(item)))
    }

    /// Puts the messages as one batch, as one of many producers.
    pub(crate) fn put_batch<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        deadline: Deadline,
    ) -> Result<(), PutError> {
        if self.single_producer {
            return Err(PutError::SingleRole);
        }
        if items.clone().any(|item| item.len() > self.inline_max) {
            return self.put_batch_stored::<false>(items, false, deadline);
        }
        let load = self.check_batch(items.clone())?;
        if load.count == 0 {
            return Ok(());
        }
        self.until_put(deadline, || {
            self.put_locked(deadline, load.count, || {
                self.ring().push_measured::<_, false>(items.clone(), load)
            })
        })
    }

    /// Puts the messages as one batch; the caller holds the single producer's role.
    pub(crate) fn put_batch_alone<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        deadline: Deadline,
    ) -> Result<(), PutError> {
        if items.clone().any(|item| item.len() > self.inline_max) {
            return self.put_batch_stored::<true>(items, false, deadline);
        }
        let load = self.check_batch(items.clone())?;
        if load.count == 0 {
            return Ok(());
        }
        self.until_put(deadline, || {
            self.put_alone(load.count, || self.ring().push_measured::<_, true>(items.clone(), load))
        })
    }

    /// Fetches the line of the header at the tail for writing, a little before it is needed. The
    /// consumers poll it: without this, the look whether it is still 0 fetches it from them once, and
    /// the write a second time. Only a hint: the tail may move before the lock is taken.
    #[inline(always)]
    fn expect_put(&self) {
        self.words().expect_write(self.ring().tail_position());
    }

    /// What a batch needs, if it could ever fit.
    fn check_batch<'i>(&self, items: impl Iterator<Item = &'i [u8]>) -> Result<Load, PutError> {
        self.segment.check()?;
        self.ring().measure(items).map_err(|(len, max)| PutError::TooLarge { len, max })
    }

    /// One attempt of one who owns the write side by its lock, or by the role.
    #[inline]
    pub(crate) fn put_owning<const SINGLE: bool>(
        &self,
        deadline: Deadline,
        count: u32,
        push: impl FnOnce() -> Result<Push, Corrupt>,
    ) -> Result<Push, Failed> {
        if SINGLE { self.put_alone(count, push) } else { self.put_locked(deadline, count, push) }
    }

    /// One attempt under the lock.
    #[inline(always)]
    fn put_locked(
        &self,
        deadline: Deadline,
        count: u32,
        push: impl FnOnce() -> Result<Push, Corrupt>,
    ) -> Result<Push, Failed> {
        let pushed = self.locked(
            self.tail_lock(),
            deadline,
            || self.push_if_open(push),
            |pushed| {
                if let Ok(Push::Done) = pushed {
                    self.not_empty().notify(count);
                }
            },
        );
        match pushed {
            Ok(pushed) => pushed,
            // Whoever holds the lock is stopped: no room, as far as this call can tell.
            Err(Failed::Stuck) => Ok(Push::Full),
            Err(failed) => Err(failed),
        }
    }

    /// One attempt as the single producer.
    #[inline(always)]
    fn put_alone(
        &self,
        count: u32,
        push: impl FnOnce() -> Result<Push, Corrupt>,
    ) -> Result<Push, Failed> {
        if !self.segment.is_usable() {
            return Err(Failed::Unusable);
        }
        let pushed = self.push_if_open(push);
        if let Ok(Push::Done) = pushed {
            self.not_empty().notify(count);
        }
        // As in `locked`: a file truncated meanwhile.
        if self.segment.is_usable() { pushed } else { Err(Failed::Unusable) }
    }

    #[inline(always)]
    pub(crate) fn push_if_open(
        &self,
        push: impl FnOnce() -> Result<Push, Corrupt>,
    ) -> Result<Push, Failed> {
        match self.state() {
            state::OPEN => Ok(push()?),
            state::POISONED => Err(Failed::Corrupt("another participant found it corrupt")),
            _ => Ok(Push::Closed),
        }
    }

    #[inline(always)]
    pub(crate) fn until_put(
        &self,
        deadline: Deadline,
        attempt: impl Fn() -> Result<Push, Failed>,
    ) -> Result<(), PutError> {
        match attempt() {
            Ok(Push::Done) => Ok(()),
            Ok(Push::Closed) => Err(PutError::Closed),
            Ok(Push::Full) => self.wait_for_room(deadline, attempt),
            Err(failed) => Err(self.put_error(failed)),
        }
    }

    /// The error of a put whose attempt failed. Bytes that no participant writes poison the queue.
    #[cold]
    pub(crate) fn put_error(&self, failed: Failed) -> PutError {
        if let Failed::Corrupt(what) = failed {
            self.poison();
            return PutError::Corrupt { name: self.segment.name().to_owned(), what };
        }
        PutError::Segment(self.segment_error(failed))
    }

    /// Passes a wake-up on: the consumer that called this producer cleared the mark for all of them,
    /// so if there is still room, the next one is to be called.
    fn call_next_producer(&self) {
        if self.not_full().has_sleepers() && !self.ring().is_full() {
            self.not_full().notify(1);
        }
    }

    /// Repeats `attempt` until there is room, the queue is shut down, or the deadline has passed.
    #[cold]
    pub(crate) fn wait_for_room(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> Result<Push, Failed>,
    ) -> Result<(), PutError> {
        if deadline == Deadline::Now {
            return match self.survey_now_and_then() {
                Ok(true) => self.last_attempt(attempt),
                Ok(false) => Err(PutError::Full),
                Err(failed) => Err(self.put_error(failed)),
            };
        }
        let head = self.ring().head_word();
        self.put_spin.until(|| self.ring().head_word() != head || self.state() != state::OPEN);
        // How long to sleep before looking for the dead.
        let mut look_after = self.look_after();
        loop {
            let key = self.not_full().prepare();
            match attempt() {
                Ok(Push::Done) => {
                    self.call_next_producer();
                    return Ok(());
                }
                Ok(Push::Closed) => return Err(PutError::Closed),
                Ok(Push::Full) => {}
                Err(failed) => return Err(self.put_error(failed)),
            }
            if look_after.is_zero() {
                look_after = BACKSTOP;
                match self.survey_for_sleeper() {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(failed) => return Err(self.put_error(failed)),
                }
            }
            let Some(nap) = deadline.nap(look_after) else {
                // It may have been called, and has no use for that any more.
                self.call_next_producer();
                return Err(PutError::TimedOut);
            };
            let waited = self.put_spin.sleeping(|| self.not_full().wait(key, nap));
            if waited == Waited::TimedOut {
                look_after = Duration::ZERO;
            }
        }
    }

    /// One attempt more, after room was found.
    fn last_attempt(
        &self,
        mut attempt: impl FnMut() -> Result<Push, Failed>,
    ) -> Result<(), PutError> {
        match attempt() {
            Ok(Push::Done) => Ok(()),
            Ok(Push::Closed) => Err(PutError::Closed),
            Ok(Push::Full) => Err(PutError::Full),
            Err(failed) => Err(self.put_error(failed)),
        }
    }
}
