//! Waiting for work, and for its end.
//!
//! A consumer waits as for any queue (see [`super::take`]), and until the first delayed message is due.
//! Whoever joins sleeps on an event count of its own and then counts for itself, as no counter is kept that
//! a death could tear. An acknowledgement calls it if nothing is left to be handed out: the last one
//! does, as then everything was handed out before.

use crate::os::clock::Deadline;
use crate::sync::robust_lock::BACKSTOP;

use super::claim::{Claim, Held};
use super::object::{Failed, Shared, state};
use super::{GetError, JoinError};

impl Shared {
    /// Leases the first message.
    pub(super) fn claim_until(&self, deadline: Deadline) -> Result<Held, GetError> {
        let (Some(store), Some(returned)) = (self.store(), self.returned()) else {
            return Err(GetError::Closed);
        };
        let mut marked = false;
        loop {
            if !self.seems_ready() && self.state() == state::OPEN {
                self.wait_for_message(deadline)?;
                continue;
            }
            let claimed = self.locked(
                self.head_lock(),
                deadline,
                || self.claim(store, returned),
                |claimed| {
                    if let Ok(Claim::Held(_)) = claimed {
                        self.call_others_after(1);
                    }
                },
            );
            match claimed.and_then(|claimed| claimed) {
                Ok(Claim::Held(held)) => {
                    self.survey_after_many();
                    return Ok(held);
                }
                Ok(Claim::Empty) => self.found_nothing(deadline, &mut marked)?,
                Ok(Claim::Torn) => {
                    // Whoever is stopped in a put must not keep this call from seeing the queue end.
                    let mended = self.survey_if_possible(Deadline::Now);
                    mended.map_err(|failed| self.get_error(failed, deadline))?;
                    if returned.is_torn() && deadline.nap(BACKSTOP).is_none() {
                        return Err(GetError::nothing(deadline));
                    }
                }
                Ok(Claim::Closed) if self.state() == state::DRAIN => {
                    let found = self.survey_if_possible(deadline);
                    if found.map_err(|failed| self.get_error(failed, deadline))? {
                        continue;
                    }
                    if returned.due() == 0 {
                        return Err(GetError::Closed);
                    }
                    self.wait_until_due(deadline)?;
                }
                Ok(Claim::Closed) => return Err(GetError::Closed),
                Err(failed) => return Err(self.get_error(failed, deadline)),
            }
        }
    }

    /// Nothing will be put any more, but something that came back will be due.
    fn wait_until_due(&self, deadline: Deadline) -> Result<(), GetError> {
        let key = self.not_empty().prepare();
        let Some(nap) = deadline.nap(self.until_due(BACKSTOP)) else {
            return Err(GetError::nothing(deadline));
        };
        self.not_empty().wait(key, nap);
        Ok(self.segment.check()?)
    }

    /// Whether something is in the queue, handed out to nobody.
    pub(super) fn has_work(&self) -> bool {
        self.has_message() || self.returned().is_some_and(|returned| returned.count() > 0)
    }

    /// Whether every message is done. No, as far as this call can tell, if somebody is stopped.
    pub(super) fn is_done(&self, deadline: Deadline) -> Result<bool, JoinError> {
        // As long as there is something to be handed out, there is no need to count.
        if self.state() == state::POISONED {
            let what = "another participant found it corrupt";
            return Err(self.join_error(Failed::Corrupt(what)));
        }
        let left = self.state() < state::NOW && self.has_work();
        let surveyed = match left {
            true => self.survey_for_sleeper().map(|_| false),
            false => self.survey(deadline).map(|survey| survey.unfinished == 0),
        };
        match surveyed {
            Ok(done) => Ok(done),
            Err(Failed::Stuck) => Ok(false),
            Err(failed) => Err(self.join_error(failed)),
        }
    }

    /// See [`crate::JoinableQueue::join`].
    pub(super) fn join(&self, deadline: Deadline) -> Result<(), JoinError> {
        loop {
            // What follows may find no need to take a lock, which would tell.
            self.segment.check()?;
            let key = self.all_done().prepare();
            if self.is_done(deadline)? {
                return Ok(());
            }
            let Some(nap) = deadline.nap(BACKSTOP) else { return Err(JoinError::TimedOut) };
            self.all_done().wait(key, nap);
        }
    }

    #[cold]
    pub(super) fn join_error(&self, failed: Failed) -> JoinError {
        match self.get_error(failed, Deadline::Never) {
            GetError::Corrupt { name, what } => JoinError::Corrupt { name, what },
            GetError::Segment(error) => JoinError::Segment(error),
            _ => JoinError::TimedOut,
        }
    }
}
