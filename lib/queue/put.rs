//! Putting: the write side's lock or role, room, and the wait for it.
//!
//! Nobody asleep means no system call: after the commit there is one look at the consumers' event
//! count. A wait for room polls first (see [`super::spin`]), then sleeps until a consumer calls, with a
//! backstop: whoever is killed between its commit and its call costs a sleeper that much at most.
//!
//! A consumer calls as many producers as it took messages. One that was called and got in calls the
//! next, if there is still room. One that was called and needs more room than there is sleeps again;
//! a smaller put that would fit is called by the next take, or looks for itself after a backstop.

use crate::os::clock::Deadline;
use crate::sync::robust_lock::BACKSTOP;

use super::PutError;
use super::object::{NotLocked, Shared, state};
use super::ring::{Corrupt, Push};

impl Shared {
    /// Puts the messages as one batch, as one of many producers.
    #[inline]
    pub(crate) fn put<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        deadline: Deadline,
    ) -> Result<(), PutError> {
        if self.single_producer {
            return Err(PutError::SingleRole);
        }
        self.put_with(items, deadline, |shared, items| shared.put_locked(items, deadline))
    }

    /// Puts the messages as one batch; the caller holds the single producer's role.
    #[inline]
    pub(crate) fn put_single<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        deadline: Deadline,
    ) -> Result<(), PutError> {
        self.put_with(items, deadline, Shared::put_alone)
    }

    /// One attempt under the lock; `None` = no room.
    #[inline]
    fn put_locked<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
        deadline: Deadline,
    ) -> Result<Push, PutError> {
        let count = items.clone().count();
        let pushed = self.locked(
            self.tail_lock(),
            deadline,
            || match self.state() {
                state::OPEN => self.ring().push::<false>(items),
                state::POISONED => Err(Corrupt("another participant found it corrupt")),
                _ => Ok(Push::Closed),
            },
            |pushed| {
                if let Ok(Push::Done) = pushed {
                    self.not_empty().notify(count as u32);
                }
            },
        );
        match pushed {
            Ok(pushed) => pushed.map_err(|Corrupt(what)| self.put_corrupt(what)),
            // Whoever holds the lock is stopped: no room, as far as this call can tell.
            Err(NotLocked::TimedOut) => Ok(Push::Full),
            Err(NotLocked::Segment(error)) => Err(error.into()),
        }
    }

    /// One attempt as the single producer.
    #[inline]
    fn put_alone<'i>(
        &self,
        items: impl Iterator<Item = &'i [u8]> + Clone,
    ) -> Result<Push, PutError> {
        self.segment.check()?;
        let count = items.clone().count();
        let pushed = match self.state() {
            state::OPEN => self.ring().push::<true>(items),
            state::POISONED => Err(Corrupt("another participant found it corrupt")),
            _ => Ok(Push::Closed),
        };
        if let Ok(Push::Done) = pushed {
            self.not_empty().notify(count as u32);
        }
        pushed.map_err(|Corrupt(what)| self.put_corrupt(what))
    }

    #[inline]
    fn put_with<'i, I: Iterator<Item = &'i [u8]> + Clone>(
        &self,
        items: I,
        deadline: Deadline,
        attempt: impl Fn(&Shared, I) -> Result<Push, PutError>,
    ) -> Result<(), PutError> {
        if let Err((len, max)) = self.ring().fits(items.clone()) {
            return Err(PutError::TooLarge { len, max });
        }
        if items.clone().next().is_none() {
            return Ok(self.segment.check()?);
        }
        match attempt(self, items.clone())? {
            Push::Done => Ok(()),
            Push::Closed => Err(PutError::Closed),
            Push::Full => self.wait_for_room(deadline, || attempt(self, items.clone())),
        }
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
        mut attempt: impl FnMut() -> Result<Push, PutError>,
    ) -> Result<(), PutError> {
        if deadline == Deadline::Now {
            return Err(PutError::Full);
        }
        let head = self.ring().head_word();
        self.put_spin.until(|| self.ring().head_word() != head || self.state() != state::OPEN);
        loop {
            let key = self.not_full().prepare();
            match attempt()? {
                Push::Done => {
                    self.call_next_producer();
                    return Ok(());
                }
                Push::Closed => return Err(PutError::Closed),
                Push::Full => {}
            }
            let Some(nap) = deadline.nap(BACKSTOP) else { return Err(PutError::TimedOut) };
            self.put_spin.sleeping(|| self.not_full().wait(key, nap));
        }
    }
}
