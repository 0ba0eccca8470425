//! Models of the ring, alone and with the locks and the sleeping around it: every order of the
//! accesses, and a death before every one of them. See [`crate::loom_kernel`] for what is modelled.
//!
//! The ring, the lock and the event count are the library's own. `put` and `take` are bound to a
//! segment, so model queues ([`Shared`]) repeat their few steps here.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::ring::{Pop, Push, Ring};
use crate::loom_kernel::clock::Deadline;
use crate::loom_kernel::{AtomicU32, AtomicU64, Caller, Fault, Model, Ordering, Words, victim};
use crate::sync::event_count::EventCount;
use crate::sync::robust_lock::RobustLock;

mod sleeping;

const SOME_TIME: Duration = Duration::from_millis(100);

const OPEN: u32 = 0;
const DRAIN: u32 = 1;

/// Messages of two words, and of one.
const LONG: &[u8] = b"two words of it!";
const SHORT: &[u8] = b"one word";
const OTHER: &[u8] = b"another1";

/// A queue of a few words: what `Shared` is in the library.
#[derive(Clone)]
struct Shared {
    words: Arc<Words>,
    tail_lock: AtomicU64,
    tail: AtomicU64,
    seen_head: AtomicU64,
    head_lock: AtomicU64,
    head: AtomicU64,
    not_empty: AtomicU32,
    not_full: AtomicU32,
    state: AtomicU32,
    maxsize: u32,
    /// Whether a producer that was called and got in calls the next one.
    passes_on: bool,
}

impl Shared {
    /// A ring of 8 words, empty, that stands at this position.
    fn at(position: u32) -> Shared {
        let cursor = || AtomicU64::new(u64::from(position));
        Shared {
            words: Arc::new(Words::used(8, position)),
            tail_lock: AtomicU64::new(0),
            tail: cursor(),
            seen_head: cursor(),
            head_lock: AtomicU64::new(0),
            head: cursor(),
            not_empty: AtomicU32::new(0),
            not_full: AtomicU32::new(0),
            state: AtomicU32::new(OPEN),
            maxsize: u32::MAX,
            passes_on: true,
        }
    }

    fn ring(&self) -> Ring<'_> {
        Ring {
            words: &self.words,
            tail: &self.tail,
            head: &self.head,
            maxsize: self.maxsize,
            seen_head: &self.seen_head,
        }
    }

    fn not_empty(&self) -> &EventCount {
        EventCount::at(&self.not_empty)
    }

    fn not_full(&self) -> &EventCount {
        EventCount::at(&self.not_full)
    }

    fn locked<R>(
        &self,
        lock: &AtomicU64,
        me: &Caller,
        work: impl FnOnce() -> R,
        after: impl FnOnce(&R),
    ) -> R {
        let lock = RobustLock::at(lock);
        let armed = me.arm(lock.word());
        lock.lock(me, || Deadline::Never).expect("a lock without a deadline");
        let result = work();
        lock.unlock();
        after(&result);
        me.disarm(armed);
        result
    }

    /// One attempt to put a batch, under the lock.
    fn try_put(&self, me: &Caller, items: &[&[u8]]) -> Push {
        let called = items.len() as u32;
        let push = || match *items {
            [item] => self.ring().push_one::<false>(item),
            _ => self.ring().push::<_, false>(items.iter().copied()),
        };
        let pushed = self.locked(&self.tail_lock, me, push, |pushed| {
            if let Ok(Push::Done) = pushed {
                self.not_empty().notify(called);
            }
        });
        pushed.expect("a sound ring")
    }

    fn put(&self, me: &Caller, item: &[u8]) {
        if self.try_put(me, &[item]) == Push::Done {
            return;
        }
        loop {
            let key = self.not_full().prepare();
            if self.try_put(me, &[item]) == Push::Done {
                let room = self.not_full().has_sleepers() && !self.ring().is_full();
                if room && self.passes_on {
                    self.not_full().notify(1);
                }
                return;
            }
            self.not_full().wait(key, SOME_TIME);
        }
    }

    /// One attempt to take a message, under the lock.
    fn try_take(&self, me: &Caller, sink: &mut Vec<u8>) -> Pop {
        let pop = || self.ring().pop_one::<false>(sink);
        let popped = self.locked(&self.head_lock, me, pop, |popped| {
            if let Ok(Pop::Taken(count)) = popped {
                self.not_full().notify(*count);
                if self.not_empty().has_sleepers() && self.ring().hint().is_some() {
                    self.not_empty().notify(1);
                }
            }
        });
        popped.expect("a sound ring")
    }

    fn take(&self, me: &Caller) -> Vec<u8> {
        let mut sink = Vec::with_capacity(64);
        loop {
            if self.ring().hint().is_some() && self.try_take(me, &mut sink) == Pop::Taken(1) {
                return sink;
            }
            let key = self.not_empty().prepare();
            if self.ring().hint().is_none() {
                self.not_empty().wait(key, SOME_TIME);
            }
        }
    }

    /// A message, or nothing when the queue was shut down and is empty.
    fn take_or_end(&self, me: &Caller) -> Option<Vec<u8>> {
        let mut sink = Vec::with_capacity(64);
        let ready = || self.ring().hint().is_some() || self.state.load(Ordering::Acquire) != OPEN;
        loop {
            if ready() {
                match self.try_take(me, &mut sink) {
                    Pop::Taken(_) => return Some(sink),
                    Pop::Closed => return None,
                    _ if self.state.load(Ordering::Acquire) == DRAIN => self.set_mark(me),
                    _ => {}
                }
            }
            let key = self.not_empty().prepare();
            if !ready() {
                self.not_empty().wait(key, SOME_TIME);
            }
        }
    }

    fn set_mark(&self, me: &Caller) {
        let close = || self.ring().close();
        self.locked(&self.tail_lock, me, close, |_| {}).expect("a sound ring");
    }

    fn shut_down(&self, me: &Caller, notify: impl Fn(&EventCount)) {
        self.state.fetch_max(DRAIN, Ordering::SeqCst);
        notify(self.not_empty());
        self.set_mark(me);
    }

    /// Everything that is left, once nobody else is at work.
    fn drain(&self) -> (Vec<Vec<u8>>, Pop) {
        let mut messages = Vec::new();
        loop {
            let mut sink = Vec::with_capacity(64);
            match self.ring().pop_one::<true>(&mut sink).expect("a sound ring") {
                Pop::Taken(1) => messages.push(sink),
                end => return (messages, end),
            }
        }
    }

    /// As a single producer; closed is for good.
    fn put_alone(&self, items: &[&[u8]]) -> Push {
        if self.state.load(Ordering::Acquire) != OPEN {
            return Push::Closed;
        }
        let pushed = match *items {
            [item] => self.ring().push_one::<true>(item),
            _ => self.ring().push::<_, true>(items.iter().copied()),
        };
        pushed.expect("a sound ring")
    }

    /// As the single consumer: everything that is there, as one.
    fn take_alone(&self) -> Option<Vec<u8>> {
        let (mut bytes, mut ends) = (Vec::with_capacity(64), Vec::with_capacity(8));
        match self.ring().pop::<true>(8, &mut bytes, Some(&mut ends)).expect("a sound ring") {
            Pop::Taken(_) => Some(bytes),
            _ => None,
        }
    }
}

// --- the ring, one side each ----------------------------------------------------------------

/// A single producer dies in a put of `items`, while the single consumer looks twice.
fn a_put_is_whole_or_absent(position: u32, items: &'static [&'static [u8]]) {
    let shared = Shared::at(position);
    let theirs = shared.clone();
    let producer = victim(move |_| theirs.put_alone(items));
    let mut seen = [shared.take_alone(), shared.take_alone()].into_iter().flatten().collect();
    let outcome = producer.join();
    let later: Vec<_> = shared.take_alone().into_iter().collect();
    seen = [seen, later].concat();
    match outcome {
        Ok(pushed) => assert_eq!((pushed, seen.len()), (Push::Done, 1)),
        Err(_) => assert!(seen.len() <= 1, "taken twice"),
    }
    for messages in seen {
        assert_eq!(messages, items.concat(), "a part of what was put");
    }
    // The next producer goes on behind it.
    assert_eq!(shared.put_alone(&[OTHER]), Push::Done);
    assert_eq!(shared.take_alone().as_deref(), Some(OTHER));
    assert_eq!(shared.ring().len(), 0);
}

#[test]
fn a_message_of_a_dead_producer_is_whole_or_absent() {
    let model = Model::new("ring: a single producer dies in a put").preemptions(4);
    model.with_deaths(|| a_put_is_whole_or_absent(0, &[LONG]));
}

#[test]
fn a_batch_of_a_dead_producer_is_whole_or_absent() {
    let model = Model::new("ring: a single producer dies in a batch over the end").preemptions(4);
    model.with_deaths(|| a_put_is_whole_or_absent(u32::MAX - 1, &[LONG, SHORT]));
}

/// A ring with 3 words left, its single consumer, and its single producer with `more` of 3 words: they
/// would fit, but not the 0 behind them, so it waits for the room of the very words the consumer reads.
fn room_is_given_back(more: &'static [&'static [u8]]) {
    let shared = Shared::at(0);
    assert_eq!(shared.put_alone(&[LONG, SHORT]), Push::Done);
    let theirs = shared.clone();
    let consumer = victim(move |_| {
        let mut sink = Vec::with_capacity(64);
        let popped = theirs.ring().pop_one::<true>(&mut sink).expect("a sound ring");
        (popped, sink)
    });
    let pushed = [shared.put_alone(more), shared.put_alone(more)];
    let outcome = consumer.join();
    if let Ok((popped, sink)) = &outcome {
        assert_eq!((*popped, &**sink), (Pop::Taken(1), LONG), "overwritten while it was read");
    }
    let (left, _) = shared.drain();
    let left: Vec<_> = left.iter().map(Vec::as_slice).collect();
    match pushed {
        [Push::Full, Push::Full] if left == [LONG, SHORT] => assert!(outcome.is_err()),
        [Push::Full, Push::Full] => assert_eq!(left, [SHORT]),
        [Push::Done, Push::Full] | [Push::Full, Push::Done] => {
            assert_eq!(left, [&[SHORT], more].concat());
        }
        other => panic!("more than there is room for: {other:?}"),
    }
}

#[test]
fn the_space_of_a_message_is_reused_only_when_it_was_taken() {
    Model::new("ring: a single consumer dies, a message waits for room")
        .preemptions(4)
        .with_deaths(|| room_is_given_back(&[b"as long as that."]));
    Model::new("ring: a single consumer dies, a batch waits for room")
        .preemptions(4)
        .with_deaths(|| room_is_given_back(&[OTHER, b""]));
}

/// A shutdown and two puts of a single producer, either of which may die.
fn the_end_is_behind_the_last_message(closer_dies: bool) {
    let shared = Shared::at(5);
    let (theirs, others) = (shared.clone(), shared.clone());
    let done = Rc::new(Cell::new(0));
    let counted = done.clone();
    let puts = move || {
        for item in [SHORT, OTHER] {
            if theirs.put_alone(&[item]) == Push::Done {
                counted.set(counted.get() + 1);
            }
        }
    };
    let close = move || {
        others.state.fetch_max(DRAIN, Ordering::SeqCst);
        others.ring().close().expect("a sound ring");
    };
    let (victim, mortal) = if closer_dies {
        let victim = victim(move |_| close());
        puts();
        (victim.join(), false)
    } else {
        let victim = victim(move |_| puts());
        close();
        (victim.join(), true)
    };
    if shared.state.load(Ordering::Acquire) == DRAIN {
        // What a consumer does that finds nothing, and no mark: it sets it.
        shared.ring().close().expect("a sound ring");
        assert_eq!(shared.put_alone(&[LONG]), Push::Closed);
    }
    let count = shared.ring().count_left().expect("a sound ring") as usize;
    let (messages, end) = shared.drain();
    assert_eq!(count, messages.len());
    assert!([SHORT, OTHER].iter().zip(&messages).all(|(put, got)| put == got));
    match victim {
        Err(_) if mortal => assert!((done.get()..=done.get() + 1).contains(&messages.len())),
        _ => assert_eq!(messages.len(), done.get(), "a put that was done is there, no other"),
    }
    let ended = shared.state.load(Ordering::Acquire) == DRAIN;
    assert_eq!(end, if ended { Pop::Closed } else { Pop::Empty });
}

#[test]
fn a_put_and_a_shutdown_agree() {
    let model = Model::new("ring: a shutdown, and a single producer that dies").preemptions(3);
    model.with_deaths(|| the_end_is_behind_the_last_message(false));
    let model = Model::new("ring: a single producer, and a shutdown that dies").preemptions(3);
    model.with_deaths(|| the_end_is_behind_the_last_message(true));
}

// --- the queue: locks around it -------------------------------------------------------------

/// Two producers, one of which dies.
fn a_producer_of_two_dies(items: &'static [&'static [u8]]) {
    let shared = Shared::at(0);
    let theirs = shared.clone();
    let producer = victim(move |me| theirs.try_put(me, items));
    let me = Caller::main();
    assert_eq!(shared.try_put(&me, &[SHORT]), Push::Done);
    let outcome = producer.join();
    // Whoever puts next has the count right again.
    let room = shared.try_put(&me, &[b"", b""]) == Push::Done;
    let len = shared.ring().len() as usize;
    let (mut messages, end) = shared.drain();
    assert_eq!((len, end), (messages.len(), Pop::Empty));
    if room {
        assert!(messages.len() >= 2 && messages.split_off(messages.len() - 2).concat().is_empty());
    }
    let theirs: Vec<_> = messages.iter().filter(|message| *message != SHORT).collect();
    assert_eq!(messages.len() - theirs.len(), 1, "the survivor's message");
    assert!(theirs.is_empty() || theirs == items, "all or nothing, in order");
    assert!(outcome.is_err() || theirs == items, "put, and not there");
}

#[test]
fn the_next_producer_goes_on_where_the_dead_one_stopped() {
    Model::new("queue: one of two producers dies").with_deaths(|| a_producer_of_two_dies(&[LONG]));
    Model::new("queue: one of two producers dies in a batch")
        .with_deaths(|| a_producer_of_two_dies(&[OTHER, OTHER]));
}

#[test]
fn no_message_is_taken_twice() {
    Model::new("queue: one of two consumers dies").with_deaths(|| {
        let shared = Shared::at(7);
        let me = Caller::main();
        assert_eq!(shared.try_put(&me, &[SHORT, OTHER]), Push::Done);
        let theirs = shared.clone();
        let taken = Rc::new(Cell::new(false));
        let committed = taken.clone();
        let consumer = victim(move |me| {
            let mut sink = Vec::with_capacity(64);
            let pop = || {
                let popped = theirs.ring().pop_one::<false>(&mut sink).expect("a sound ring");
                committed.set(popped == Pop::Taken(1));
            };
            theirs.locked(&theirs.head_lock, me, pop, |()| theirs.not_full().notify(1));
            sink
        });
        let mut mine = Vec::with_capacity(64);
        let _ = shared.try_take(&me, &mut mine);
        let outcome = consumer.join();
        let (left, end) = shared.drain();
        assert_eq!(end, Pop::Empty);
        let mut seen: Vec<Vec<u8>> = [vec![mine], left].concat();
        if let Ok(theirs) = &outcome {
            seen.push(theirs.clone());
        }
        seen.sort();
        let mut all = vec![OTHER.to_vec(), SHORT.to_vec()];
        if outcome.is_err() && taken.get() {
            // What a dead consumer took before it died is gone, and nothing else is.
            assert_eq!(seen.len(), 1);
            all.retain(|message| seen.contains(message));
        }
        assert_eq!(seen, all);
    });
}

// --- the models can fail --------------------------------------------------------------------

#[test]
fn the_models_see_a_commit_before_the_body() {
    Model::new("ring: planted, commit before the body").planted(Fault::CommitBeforeBody).must_fail(
        "the record at the head is not one",
        |model| {
            model.with_deaths(|| a_put_is_whole_or_absent(0, &[LONG, SHORT]));
        },
    );
}

#[test]
fn the_models_see_a_tail_before_the_header() {
    Model::new("queue: planted, tail before the header")
        .planted(Fault::TailBeforeHeader)
        .must_fail("", |model| {
            model.with_deaths(|| a_producer_of_two_dies(&[OTHER, OTHER]));
        });
}
