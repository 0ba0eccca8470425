//! Those tasks and descriptors of this process that wait on one event count of a queue.
//!
//! # A waiter
//! | is | means |
//! |---|---|
//! | *waiting* | it announced itself and looked again in vain; the watcher sleeps for it |
//! | *called* | its waker was called, and it has not looked since |
//!
//! ```text
//! task (in one poll)                     watcher (see super::watcher), again and again
//! 1 try: ready if it works               a under the lock: key = prepare, if anybody is waiting
//! 2 under the lock: enter as waiting     b look at the queue; call as many as there seems to be for
//! 3 prepare the event count                or, for room, one if somebody called; the next calls the next
//! 4 try: ready if it works               c sleep on all keys
//! 5 unwatched? hand it to the watcher
//! ```
//! Why no wake is lost: 2 to 4 are lines 1 to 3 of the event count's protocol. A change after 3 finds the
//! mark; the watcher sleeps with a key older than 3, or comes to (a) and (b) after 2 (it never forgets a
//! source that has a waiter). So the change ends its sleep, or (b) sees it.
//!
//! A task that was called and is dropped, or ready without what it was called for, calls the next one; if
//! there is none here, others by the event count. It may never be polled again, without being dropped; then
//! the others find out at the next backstop, when the called are not counted any more. The same holds for
//! the whole process: if it is killed, or the watcher swallowed a call for a queue whose last handle was just
//! dropped, the sleepers of other processes are late by a backstop.
//!
//! Wakers are called, cloned and dropped without the lock: they may do anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::os::futex::Held;
use crate::sync::event_count::{EventCount, Key};
use crate::sync::robust_lock::BACKSTOP;

use super::object::{Shared, state};
use super::watcher;

/// How long the watcher, or a poll, waits for somebody who may be stopped.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A message, or the end.
    Get,
    /// Room.
    Put,
    /// That all is done.
    Join,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Source {
    side: Side,
    waiters: Mutex<Waiters>,
}

/// The sources of one queue.
pub(crate) type Sources = [Arc<Source>; 3];

/// A waiter of a source.
pub(super) type Id = u64;

#[derive(Debug, Default)]
struct Waiters {
    next: Id,
    /// Oldest first.
    waiting: BTreeMap<Id, Waker>,
    called: BTreeSet<Id>,
    /// How many of the called are expected to take something soon.
    expected: usize,
    /// Descriptors to be made readable. They take nothing, so all are called and none counts.
    bells: BTreeMap<Id, Waker>,
    /// Whether the watcher has it, and what it sleeps with.
    watched: bool,
    key: Option<Key>,
    queue: Weak<Shared>,
}

impl Waiters {
    fn new_id(&mut self) -> Id {
        self.next += 1;
        self.next
    }

    /// Calls up to `most` of those who wait, oldest first; their wakers go to `calls`.
    fn call(&mut self, most: usize, calls: &mut Vec<Waker>) {
        for _ in 0..most {
            let Some((id, waker)) = self.waiting.pop_first() else { return };
            self.called.insert(id);
            self.expected += 1;
            calls.push(waker);
        }
    }

    fn ring(&mut self, calls: &mut Vec<Waker>) {
        calls.extend(std::mem::take(&mut self.bells).into_values());
    }

    fn everybody(&mut self, calls: &mut Vec<Waker>) {
        self.call(usize::MAX, calls);
        self.ring(calls);
    }

    fn forget_called(&mut self, id: Id) -> bool {
        let called = self.called.remove(&id);
        self.expected = self.expected.saturating_sub(usize::from(called));
        called
    }
}

/// What the watcher is to do with a source.
pub(super) enum Watch {
    /// Sleep on this word, and look again after that time at the latest.
    Sleep(Held, Duration),
    /// Nobody waits.
    Forget,
}

impl Source {
    pub(crate) fn all() -> Sources {
        [Side::Get, Side::Put, Side::Join]
            .map(|side| Arc::new(Source { side, waiters: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a task as waiting, or renews its waker. Tells whether it had been called.
    pub(super) fn enter(&self, id: &mut Option<Id>, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut waiters = self.lock();
        let was_called = id.is_some_and(|id| waiters.forget_called(id));
        let place = match *id {
            Some(id) if !was_called => id,
            // One that was called in vain goes to the end of the line.
            _ => waiters.new_id(),
        };
        *id = Some(place);
        let old = waiters.waiting.insert(place, waker);
        drop(waiters);
        drop(old);
        was_called
    }

    /// Forgets a task. Tells whether it had been called.
    pub(super) fn leave(&self, id: Id) -> bool {
        let mut waiters = self.lock();
        let was_called = waiters.forget_called(id);
        let waker = waiters.waiting.remove(&id);
        drop(waiters);
        drop(waker);
        was_called
    }

    /// Enters a descriptor that is not readable.
    pub(super) fn arm(&self, id: &mut Option<Id>, waker: &Waker) {
        let waker = waker.clone();
        let mut waiters = self.lock();
        let place = id.unwrap_or_else(|| waiters.new_id());
        *id = Some(place);
        let old = waiters.bells.insert(place, waker);
        drop(waiters);
        drop(old);
    }

    /// Forgets a descriptor.
    pub(super) fn disarm(&self, id: Id) {
        let waker = self.lock().bells.remove(&id);
        drop(waker);
    }

    /// Makes sure that the watcher sleeps for this source, which somebody has entered.
    ///
    /// # Errors
    /// The watcher could not be started.
    pub(super) fn watch(self: &Arc<Source>, shared: &Arc<Shared>) -> io::Result<()> {
        let mut waiters = self.lock();
        if waiters.watched {
            return Ok(());
        }
        waiters.queue = Arc::downgrade(shared);
        waiters.key = None;
        watcher::adopt(self)?;
        waiters.watched = true;
        Ok(())
    }

    /// Calls the next one, for one that was called and did not take what there is; or in its stead, as it
    /// knows best that there is more.
    pub(super) fn pass_on(&self, shared: &Shared) {
        if !shared.seems_worth_a_try(self.side) {
            return;
        }
        let mut calls = Vec::new();
        // All who join are done when one is.
        let most = if self.side == Side::Join { usize::MAX } else { 1 };
        self.lock().call(most, &mut calls);
        if calls.is_empty() && self.side != Side::Join {
            shared.event(self.side).notify(1);
        }
        watcher::call(&mut calls);
    }

    /// One look of the watcher. `woken`: somebody called it, perhaps here. `backstop`: it is time to look for the dead, and not to count on those
    /// who were called before.
    pub(super) fn look(&self, woken: bool, backstop: bool, calls: &mut Vec<Waker>) -> Watch {
        let mut waiters = self.lock();
        if waiters.waiting.is_empty() && waiters.called.is_empty() && waiters.bells.is_empty() {
            waiters.watched = false;
            let key = waiters.key.take().filter(|_| woken);
            let queue = key.and_then(|_| waiters.queue.upgrade());
            drop(waiters);
            if let (Some(shared), Some(key)) = (queue, key) {
                self.return_call(&shared, key);
            }
            return Watch::Forget;
        }
        // While somebody is in the books its handle lives: this is not the last reference, as nobody
        // leaves while the lock is held. It is gone before the lock is.
        let queue = waiters.queue.upgrade();
        let Some(shared) = queue.filter(|shared| shared.segment.is_usable()) else {
            waiters.watched = false;
            waiters.everybody(calls);
            return Watch::Forget;
        };
        let event = shared.event(self.side);
        let armed = !(waiters.waiting.is_empty() && waiters.bells.is_empty());
        let before = waiters.key;
        let key = if armed { event.prepare_again(before) } else { event.now() };
        waiters.key = Some(key);
        let called = before.is_none_or(|before| event.was_called_after(before));
        if backstop {
            waiters.expected = 0;
            if shared.survey_for_sleeper().is_err() {
                waiters.everybody(calls);
            }
        }
        let mut nap = BACKSTOP;
        match self.side {
            _ if !armed => {}
            Side::Get => {
                let there = shared.ready_messages();
                if there > 0 {
                    waiters.ring(calls);
                    let most = there.saturating_sub(waiters.expected);
                    waiters.call(most, calls);
                }
                nap = shared.until_due(BACKSTOP);
                if there > 0 {
                    nap = nap.max(Duration::from_millis(1));
                }
            }
            Side::Put if !shared.seems_worth_a_try(Side::Put) => {}
            Side::Put if backstop || shared.state() != state::OPEN => waiters.everybody(calls),
            Side::Put => waiters.call(usize::from(called), calls),
            Side::Join if called => waiters.everybody(calls),
            // One counts for all, and tells the others.
            Side::Join => waiters.call(usize::from(backstop), calls),
        }
        let held = event.held(key);
        drop(shared);
        Watch::Sleep(held, nap)
    }

    /// Nobody is left here: a call that came after `key` was meant for others.
    fn return_call(&self, shared: &Shared, key: Key) {
        let event = shared.event(self.side);
        if shared.segment.is_usable()
            && event.was_called_after(key)
            && shared.seems_worth_a_try(self.side)
        {
            event.notify(1);
        }
    }
}

impl Shared {
    pub(super) fn source(&self, side: Side) -> &Arc<Source> {
        &self.sources[side as usize]
    }

    pub(super) fn event(&self, side: Side) -> &EventCount {
        match side {
            Side::Get => self.not_empty(),
            Side::Put => self.not_full(),
            Side::Join => self.all_done(),
        }
    }

    /// Whether an attempt may come to something: a look without a lock.
    pub(super) fn seems_worth_a_try(&self, side: Side) -> bool {
        match side {
            Side::Get => self.ready_messages() > 0,
            Side::Put => self.state() != state::OPEN || !self.ring().is_full(),
            Side::Join => true,
        }
    }

    /// How many gets would not have to wait, about.
    fn ready_messages(&self) -> usize {
        let due = self.returned().map_or(0, |returned| returned.due());
        let ready = match self.state() {
            state::OPEN => self.seems_ready(),
            // The end, or what is due before it.
            state::DRAIN if due != 0 => {
                self.has_message() || self.returned().is_some_and(|returned| returned.seems_ready())
            }
            _ => return usize::MAX,
        };
        let back = self.returned().map_or(0, |returned| returned.count());
        let there = self.ring().len() as usize + back as usize;
        if ready { there.max(1) } else { 0 }
    }
}
