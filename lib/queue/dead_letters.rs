//! Messages that were handed out too often.

use std::sync::atomic::Ordering;

use crate::os::clock::Deadline;

use super::chunk::{Phase, Reason, State, at};
use super::object::{Failed, Shared};
use super::returned::Heap;
use super::store::{Chunk, Store};
use super::survey::SHORT;

/// A message that came back from its last attempt, see
/// [`QueueOptions::max_deliveries`](crate::QueueOptions::max_deliveries).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message's number, in the order of puts.
    pub sequence: u64,
    /// How often it was handed out.
    pub attempts: u32,
    /// Why it came back the last time.
    pub reason: Reason,
    /// The message.
    pub bytes: Vec<u8>,
}

impl Shared {
    /// Dead letters, as they are while the write side's lock is held.
    fn list_dead(&self, store: &Store) -> Result<Vec<(u64, Chunk, State, usize)>, Failed> {
        // What is found is put into memory that is there already.
        let mut most = self.survey(Deadline::Never)?.dead as usize;
        loop {
            let mut dead = Vec::with_capacity(most + 1);
            let listed = self.locked(
                self.tail_lock(),
                Deadline::Never,
                || {
                    store.visit(self.books(), self.given_back(), |chunk, state| {
                        if state.phase() == Some(Phase::Dead) && dead.len() < dead.capacity() {
                            let sequence = store.of(chunk, at::SEQUENCE).load(Ordering::Relaxed);
                            dead.push((sequence, chunk, state, store.len(chunk)?));
                        }
                        Ok(())
                    })
                },
                |_| {},
            )?;
            listed?;
            if dead.len() < dead.capacity() {
                dead.sort_unstable_by_key(|(sequence, ..)| *sequence);
                return Ok(dead);
            }
            most = dead.len() * 2;
        }
    }

    /// See [`crate::JoinableQueue::dead_letters`].
    pub(super) fn dead_letters(&self) -> Result<Vec<DeadLetter>, Failed> {
        let Some(store) = self.store() else { return Ok(Vec::new()) };
        let listed = self.list_dead(store)?;
        let mut letters = Vec::with_capacity(listed.len());
        for (sequence, chunk, state, len) in listed {
            let mut bytes = Vec::new();
            store.append_to(chunk, len, &mut bytes);
            // Somebody may have taken it away meanwhile.
            let number = store.of(chunk, at::SEQUENCE).load(Ordering::Acquire);
            if store.state(chunk) == state && number == sequence {
                let (attempts, reason) = (state.attempts().into(), state.reason());
                letters.push(DeadLetter { sequence, attempts, reason, bytes });
            }
        }
        Ok(letters)
    }

    /// See [`crate::JoinableQueue::purge`]. One walk under the lock: what was found in an earlier one may be
    /// another message by now, in a chunk of another length.
    pub(super) fn purge(&self) -> Result<usize, Failed> {
        let Some(store) = self.store() else { return Ok(0) };
        let free_all = || {
            let mut purged = 0;
            store.visit(self.books(), self.given_back(), |chunk, state| {
                let dead = state.phase() == Some(Phase::Dead);
                purged += u32::from(dead && store.change_state(chunk, state, State::FREE));
                Ok(())
            })?;
            Ok::<u32, Failed>(purged)
        };
        let purged = self.locked(self.tail_lock(), Deadline::Never, free_all, |purged| {
            if let Ok(purged @ 1..) = purged {
                self.not_full().notify(*purged);
            }
        })?;
        Ok(purged? as usize)
    }

    /// See [`crate::JoinableQueue::redrive`]. Each message is one change of the index, under both locks, as
    /// `join` counts under the write side's.
    pub(super) fn redrive(&self) -> Result<usize, Failed> {
        let (Some(store), Some(returned)) = (self.store(), self.returned()) else { return Ok(0) };
        let mut redriven = 0;
        for (_, chunk, state, _) in self.list_dead(store)? {
            let ready = State::new(Phase::Ready, Reason::Never, 0, state.owner());
            let revive = || {
                if returned.is_torn() {
                    return Ok(store.change_state(chunk, state, ready));
                }
                returned.change(|| {
                    let changed = store.change_state(chunk, state, ready);
                    if changed {
                        returned.push(Heap::Ready, chunk)?;
                    }
                    Ok(changed)
                })
            };
            // Not for long, as producers wait meanwhile: who has the read side may be stopped.
            let both = || {
                self.locked_both(Deadline::after(SHORT), revive, |revived| {
                    if let Ok(true) = revived {
                        self.not_empty().notify(1);
                    }
                })
            };
            let revived = loop {
                match self.locked(self.tail_lock(), Deadline::Never, both, |_| {})? {
                    // Let the producers in.
                    Err(Failed::Stuck) => std::thread::sleep(SHORT * 5),
                    other => break other?,
                }
            };
            redriven += usize::from(revived?);
        }
        Ok(redriven)
    }
}
