//! The survey: what there is in the store, and what the dead left of it.
//!
//! # The rule
//! The chunks' states and the ring tell what every message is (see [`super::chunk`]); no counter does, so
//! none can be wrong. The owner of the write side's lock walks the chain. Nobody puts meanwhile, so a
//! chunk that no record names now will never be named by one:
//!
//! | phase | a record names it | its owner lives | so it is |
//! |---|---|---|---|
//! | owned | | yes | being filled |
//! | owned | | no | free: its message was never put |
//! | queued | yes | | in the queue |
//! | queued | no | yes | about to be put by a single producer, which needs no lock |
//! | queued | no | no, or there are many producers | free: its put was not committed |
//! | leased | yes | | in the queue: the take was not committed, the next one goes over it |
//! | leased | no | yes | in somebody's hands |
//! | leased | no | no | ready, or dead if that was its last attempt; in a plain queue free: it was taken |
//!
//! Each correction is one store, and finding it half done leads to the same corrections: a surveyor may
//! die anywhere.
//!
//! A record that *names* a chunk is found at the position that the chunk gives, between head and tail,
//! with the chunk's place and its message's number in it. (The bytes of a message in a plain queue's ring
//! can imitate such a record. That delays the chunk's return until the head has passed, and does nothing
//! else.) A single producer does put meanwhile. Before the chunk of a dead owner is taken for left over,
//! the tail is looked up again: by then that owner had committed what it ever would.
//!
//! If leases came back, or the index of what came back is torn, it is built anew under the read side's
//! lock too. Nobody else holds both.
//!
//! Who surveys: whoever attaches, joins, or is about to sleep for a message or for room; and again
//! whenever such a sleep ends without a call, ten times a second. Where there are many chunks, a sleeper
//! asks first whether anybody came or went since it looked last; if not, there is nothing to be found. And
//! a consumer that never has to wait does so once in a thousand messages.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::os::clock::{Deadline, monotonic};
use crate::segment::{Owner, Segment};
use crate::sync::robust_lock::BACKSTOP;

use super::chunk::{self, Phase, Reason, State, at};
use super::object::{Failed, Shared, state};
use super::returned::Heap;
use super::ring::{Corrupt, Cursor};
use super::store::{Chunk, Store};

/// A process looks for the dead at most once in so long, unless it has slept for a backstop.
const NOW_AND_THEN: Duration = Duration::from_millis(5);

/// A consumer that never has to wait looks for the dead once in so many messages.
const MANY_LEASES: u32 = 1024;

/// A walk past fewer chunks is shorter than asking who came or went.
const FEW: u32 = 500;

/// How long a survey waits for the read side's lock, while it has the write side's, and a sleeper's for the
/// write side's.
pub(super) const SHORT: Duration = Duration::from_millis(2);

/// What a survey found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Messages that were put and are neither acknowledged, nor discarded, nor dead.
    pub(crate) unfinished: u32,
    /// Dead letters.
    pub(crate) dead: u32,
    /// Chunks that are not free.
    chunks: u32,
    /// Chunks that became free by this survey.
    freed: u32,
    /// Messages that came back by this survey.
    returned: u32,
    /// Whether something is left to do under the read side's lock.
    more: bool,
}

impl Survey {
    /// Whether it changed anything.
    pub(crate) fn changed(&self) -> bool {
        self.freed > 0 || self.returned > 0
    }
}

/// What a process remembers of its last survey. Threads race on it harmlessly.
#[derive(Debug, Default)]
pub(crate) struct LastSurvey {
    /// When it was, in nanoseconds of the monotonic clock.
    time: AtomicU64,
    /// How many chunks there were.
    chunks: AtomicU32,
    /// Who was there.
    census: AtomicU64,
    /// How many messages this process leased; some may be missed.
    leases: AtomicU32,
}

/// What the ring says while the write side is held.
#[derive(Clone, Copy)]
struct Between {
    head: u32,
    tail: u32,
}

impl Shared {
    /// See the module's documentation. `Stuck` if somebody stopped in the middle of a put or a get, or a single
    /// producer and its consumer never rested, until the deadline.
    pub(crate) fn survey(&self, deadline: Deadline) -> Result<Survey, Failed> {
        loop {
            match self.survey_once(deadline)? {
                Err(Failed::Stuck) if deadline.nap(BACKSTOP).is_some() => std::thread::yield_now(),
                surveyed => return surveyed,
            }
        }
    }

    /// One survey; the inner error is that of the look itself, when the lock was had.
    fn survey_once(&self, deadline: Deadline) -> Result<Result<Survey, Failed>, Failed> {
        let Some(store) = self.store() else { return Ok(Ok(Survey::default())) };
        let now = monotonic();
        let surveyed = self.locked(
            self.tail_lock(),
            deadline,
            || self.survey_chain(store),
            |surveyed| {
                let Ok(survey) = surveyed else { return };
                if survey.returned > 0 {
                    self.not_empty().notify(survey.returned);
                }
                if survey.freed > 0 {
                    self.not_full().notify(survey.freed);
                }
                if survey.changed() && survey.unfinished == 0 {
                    self.all_done().notify_all();
                }
            },
        )?;
        self.last_survey.time.store(now, Ordering::Relaxed);
        if let Ok(survey) = surveyed {
            self.last_survey.chunks.store(survey.chunks, Ordering::Relaxed);
        }
        Ok(surveyed)
    }

    /// How long the first sleep of a wait may be before the sleeper looks for the dead, if there may be any:
    /// not at all, unless this process looked just now.
    pub(crate) fn look_after(&self) -> Duration {
        let last = self.last_survey.time.load(Ordering::Relaxed);
        match monotonic().saturating_sub(last) < NOW_AND_THEN.as_nanos() as u64 {
            _ if self.store().is_none() => BACKSTOP,
            true => NOW_AND_THEN,
            false => Duration::ZERO,
        }
    }

    /// A survey for those who do not wait: not each time.
    #[cold]
    pub(crate) fn survey_now_and_then(&self) -> Result<bool, Failed> {
        if !self.look_after().is_zero() {
            return Ok(false);
        }
        self.survey_for_sleeper()
    }

    /// A survey before a sleep, if there may be something to be found. Tells whether it changed anything.
    ///
    /// It does not wait for the write side's lock for long, whatever the sleeper's deadline: its owner may be
    /// stopped, and who waits there hears no call.
    #[cold]
    pub(crate) fn survey_for_sleeper(&self) -> Result<bool, Failed> {
        if self.store().is_none() {
            return Ok(false);
        }
        // Before the walk: who goes during it is missed the next time.
        let known = &self.last_survey;
        let many = known.chunks.load(Ordering::Relaxed) > FEW;
        let census = if many { self.segment.census() } else { None };
        let torn = self.returned().is_some_and(|returned| returned.is_torn());
        if let Some(census) = census
            && !torn
            && known.census.swap(census, Ordering::Relaxed) == census
        {
            return Ok(false);
        }
        let changed = self.survey_if_possible(Deadline::after(SHORT))?;
        if changed {
            // There may be more of it: not everything can be done in every state.
            known.census.store(0, Ordering::Relaxed);
        }
        Ok(changed)
    }

    /// After a lease: where there is always something to get nobody waits, and what the dead held would be
    /// left. If this finds something wrong, whoever needs it will, too.
    #[inline]
    pub(crate) fn survey_after_many(&self) {
        let leases = self.last_survey.leases.load(Ordering::Relaxed).wrapping_add(1);
        self.last_survey.leases.store(leases, Ordering::Relaxed);
        if leases.is_multiple_of(MANY_LEASES) {
            let _ = self.survey_for_sleeper();
        }
    }

    /// A survey that is left to the next if somebody is stopped. Tells whether it changed anything.
    #[cold]
    pub(crate) fn survey_if_possible(&self, deadline: Deadline) -> Result<bool, Failed> {
        match self.survey(deadline) {
            Ok(survey) => Ok(survey.changed()),
            Err(Failed::Stuck) => {
                self.last_survey.census.store(0, Ordering::Relaxed);
                Ok(false)
            }
            Err(failed) => Err(failed),
        }
    }

    /// The survey, by the owner of the write side's lock.
    fn survey_chain(&self, store: &Store) -> Result<Survey, Failed> {
        let ring = self.ring();
        let between = Between {
            head: Cursor::from_word(ring.head_word()).pos,
            // A single producer and its consumer that never rest: another time.
            tail: ring.tail_quietly()?.ok_or(Failed::Stuck)?.0.pos,
        };
        // What the head went past was marked as taken before.
        fence(Ordering::Acquire);
        let mut lives = Lives::new(&self.segment);
        let mut survey = Survey::default();
        store.visit(self.books(), self.given_back(), |chunk, state| {
            self.look_at(store, chunk, state, between, &mut lives, &mut survey)
        })?;
        if let Some(returned) = self.returned()
            && (survey.more || returned.is_torn())
        {
            // Not for longer, as producers wait meanwhile: its owner may be stopped.
            let rebuilt = self.locked_both(
                Deadline::after(SHORT),
                || self.rebuild(store, between.tail, &mut lives, &mut survey),
                |_| {},
            );
            match rebuilt {
                Ok(result) => result?,
                Err(Failed::Stuck) => self.last_survey.census.store(0, Ordering::Relaxed),
                Err(failed) => return Err(failed),
            }
        }
        if survey.dead > self.limits.1 {
            self.forget_oldest(store, &mut survey)?;
        }
        Ok(survey)
    }

    /// One chunk, with only the write side held.
    fn look_at(
        &self,
        store: &Store,
        chunk: Chunk,
        word: State,
        between: Between,
        lives: &mut Lives<'_>,
        survey: &mut Survey,
    ) -> Result<(), Corrupt> {
        let discard = self.state() >= state::NOW;
        survey.chunks += 1;
        match word.phase() {
            Some(Phase::Free) => {}
            Some(Phase::Owned) => {
                if !lives.lives(word.owner()) {
                    survey.free(store, chunk, word);
                }
            }
            Some(Phase::Queued) => {
                if self.is_named(store, chunk, between) {
                    survey.unfinished += u32::from(!discard);
                } else if !self.single_producer
                    || !(lives.lives(word.owner())
                        || self.is_named_by_now(store, chunk, between)?)
                {
                    survey.free(store, chunk, word);
                }
            }
            Some(Phase::Leased) => {
                if self.is_named(store, chunk, between) {
                    survey.unfinished += u32::from(!discard);
                } else if lives.lives(word.owner()) {
                    survey.unfinished += 1;
                } else if self.single_producer && self.is_named_by_now(store, chunk, between)? {
                    survey.unfinished += u32::from(!discard);
                } else if self.returned().is_none() {
                    survey.free(store, chunk, word);
                } else {
                    survey.unfinished += 1;
                    survey.more = true;
                }
            }
            Some(Phase::Ready | Phase::Delayed) => {
                survey.unfinished += u32::from(!discard);
                survey.more |= discard;
            }
            Some(Phase::Dead) => survey.dead += 1,
            None => return Err(Corrupt("the state of a chunk is none")),
        }
        Ok(())
    }

    /// Whether a record that was not taken names the chunk.
    fn is_named(&self, store: &Store, chunk: Chunk, between: Between) -> bool {
        let position = store.of(chunk, at::POSITION).load(Ordering::Relaxed) as u32;
        let sequence = store.of(chunk, at::SEQUENCE).load(Ordering::Relaxed);
        let name = chunk::name(chunk.index, sequence);
        self.ring().names(between.head, between.tail, position, name)
    }

    /// The same with the tail as it is now, for a chunk whose owner was found dead: a single producer puts
    /// without the lock, so the record may have come after the walk began.
    fn is_named_by_now(
        &self,
        store: &Store,
        chunk: Chunk,
        between: Between,
    ) -> Result<bool, Corrupt> {
        // If it cannot be told, the chunk is left to another survey.
        let Some((tail, _)) = self.ring().tail_quietly()? else { return Ok(true) };
        Ok(self.is_named(store, chunk, Between { tail: tail.pos, ..between }))
    }

    /// Takes the leases of the dead back, and builds the index anew; both sides are held.
    fn rebuild(
        &self,
        store: &Store,
        tail: u32,
        lives: &mut Lives<'_>,
        survey: &mut Survey,
    ) -> Result<(), Failed> {
        let Some(returned) = self.returned() else { return Ok(()) };
        let discard = self.state() >= state::NOW;
        let between = Between { head: Cursor::from_word(self.ring().head_word()).pos, tail };
        returned.change(|| {
            returned.clear();
            store.visit(self.books(), self.given_back(), |chunk, word| {
                let lost = word.phase() == Some(Phase::Leased)
                    && !lives.lives(word.owner())
                    && !self.is_named(store, chunk, between);
                let mut now = word;
                if lost {
                    let phase = if self.is_last(word) { Phase::Dead } else { Phase::Ready };
                    now = word.become_(phase, Reason::Died);
                }
                let came_back = matches!(now.phase(), Some(Phase::Ready | Phase::Delayed));
                if discard && (came_back || lost) {
                    survey.unfinished -= u32::from(lost && survey.unfinished > 0);
                    survey.free(store, chunk, word);
                    return Ok(());
                }
                if lost {
                    store.set_state(chunk, now);
                    if now.phase() == Some(Phase::Dead) {
                        survey.dead += 1;
                        survey.unfinished = survey.unfinished.saturating_sub(1);
                    }
                    survey.returned += 1;
                }
                match now.phase() {
                    Some(Phase::Ready) => returned.push(Heap::Ready, chunk),
                    Some(Phase::Delayed) => returned.push(Heap::Delayed, chunk),
                    _ => Ok(()),
                }
            })
        })?;
        Ok(())
    }

    /// Whether a message in this state was handed out for the last time.
    pub(crate) fn is_last(&self, word: State) -> bool {
        self.limits.0 > 0 && u32::from(word.attempts()) >= self.limits.0
    }

    /// Lets the oldest dead letters go, until there are not too many. A process may have left many at once,
    /// so which ones are the oldest is found by halving: some sixty walks, however many they are.
    fn forget_oldest(&self, store: &Store, survey: &mut Survey) -> Result<(), Corrupt> {
        let mut excess = survey.dead.saturating_sub(self.limits.1);
        let each = |visit: &mut dyn FnMut(u64, Chunk, State)| {
            store.visit(self.books(), self.given_back(), |chunk, word| {
                if word.phase() == Some(Phase::Dead) {
                    let sequence = store.of(chunk, at::SEQUENCE).load(Ordering::Relaxed);
                    visit(sequence, chunk, word);
                }
                Ok(())
            })
        };
        let (mut least, mut most) = (u64::MAX, 0);
        each(&mut |sequence, _, _| (least, most) = (least.min(sequence), most.max(sequence)))?;
        if excess == 1 {
            most = least;
        }
        while least < most {
            let middle = least + (most - least) / 2;
            let mut older = 0;
            each(&mut |sequence, _, _| older += u32::from(sequence <= middle))?;
            if older < excess {
                least = middle + 1;
            } else {
                most = middle;
            }
        }
        each(&mut |sequence, chunk, word| {
            if excess > 0 && sequence <= most {
                survey.free(store, chunk, word);
                survey.dead -= 1;
                excess -= 1;
            }
        })
    }
}

impl Survey {
    /// Frees a chunk in that state. (It is not counted as given back: the walk counts what is used.)
    fn free(&mut self, store: &Store, chunk: Chunk, word: State) {
        if store.change_state(chunk, word, State::FREE) {
            self.freed += 1;
        }
    }
}

/// Who lives, asked once for each process.
struct Lives<'a> {
    segment: &'a Segment,
    known: [(u32, bool); 16],
    next: usize,
}

impl<'a> Lives<'a> {
    fn new(segment: &'a Segment) -> Lives<'a> {
        // 0 is nobody, and does not live.
        Lives { segment, known: [(0, false); 16], next: 0 }
    }

    fn lives(&mut self, owner: u32) -> bool {
        if let Some((_, lives)) = self.known.iter().find(|(known, _)| *known == owner) {
            return *lives;
        }
        let lives = self.segment.is_alive(Owner::from_bits(owner));
        self.known[self.next] = (owner, lives);
        self.next = (self.next + 1) % self.known.len();
        lives
    }
}
