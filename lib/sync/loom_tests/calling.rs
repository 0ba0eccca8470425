//! Those who are called one by one: the semaphore's count, which is the plainest user of
//! [`EventCount::notify_each`], and the condition variable.

use std::sync::Arc;

use super::super::count::{Count, MOST};
use super::*;

// --- the count, and calls for one sleeper each ------------------------------------------------

fn count_of(permits: u32) -> Arc<Count> {
    Arc::new(Count { permits: AtomicU32::new(permits), bell: EventCount::new() })
}

/// One who takes a permit, and waits for it if there is none.
fn taker(count: &Arc<Count>) -> impl FnOnce(&Caller) + 'static {
    let count = count.clone();
    move |me| assert!(count.take(me, Deadline::Never))
}

fn left(count: &Count) -> u32 {
    count.permits.load(Ordering::Acquire)
}

/// Two take one each, and one gives twice: each call is for another sleeper.
fn two_takers() {
    let count = count_of(0);
    let takers = [survivor(taker(&count)), survivor(taker(&count))];
    assert!(count.give(1, MOST) && count.give(1, MOST));
    for taker in takers {
        taker.join().expect("it lives");
    }
    assert_eq!(left(&count), 0, "as many taken as given");
}

#[test]
fn each_call_is_for_another_sleeper() {
    Model::new("count: two take, one gives twice").preemptions(3).run(two_takers);
}

#[test]
fn each_of_two_callers_calls_another_sleeper() {
    Model::new("count: two take, two give").preemptions(1).run(|| {
        let count = count_of(0);
        let takers = [survivor(taker(&count)), survivor(taker(&count))];
        let theirs = count.clone();
        let other = survivor(move |_| assert!(theirs.give(1, MOST)));
        assert!(count.give(1, MOST));
        other.join().expect("it lives");
        for taker in takers {
            taker.join().expect("it lives");
        }
        assert_eq!(left(&count), 0);
    });
}

#[test]
fn one_call_for_two_reaches_both() {
    Model::new("count: two take, one gives two").preemptions(3).run(|| {
        let count = count_of(0);
        let other = survivor(taker(&count));
        let theirs = count.clone();
        let giver = survivor(move |_| assert!(theirs.give(2, MOST)));
        assert!(count.take(&Caller::main(), Deadline::Never));
        giver.join().expect("it lives");
        other.join().expect("it lives");
        assert_eq!(left(&count), 0);
    });
}

#[test]
fn a_taker_that_gives_up_takes_nobodys_permit_with_it() {
    Model::new("count: a taker gives up").run(|| {
        let count = count_of(0);
        let theirs = count.clone();
        // Whatever ends its first sleep, its time is over then.
        let hasty = survivor(move |me| theirs.take(me, Deadline::At(1)));
        let patient = survivor(taker(&count));
        assert!(count.give(1, MOST));
        futex::expire_count(count.bell.word());
        assert!(count.give(1, MOST));
        patient.join().expect("it lives");
        let got = hasty.join().expect("it lives");
        assert_eq!(left(&count), u32::from(!got));
    });
}

#[test]
fn a_taker_that_dies_costs_the_other_a_backstop_at_most() {
    let report = Model::new("count: a taker dies").preemptions(1).with_deaths(|| {
        let count = count_of(0);
        let victim = victim(taker(&count));
        let other = survivor(taker(&count));
        assert!(count.give(1, MOST) && count.give(1, MOST));
        let took = victim.join().is_ok();
        other.join().expect("it lives");
        assert!(left(&count) <= u32::from(!took));
        assert!(backstops() <= 1);
    });
    // Only one that was called, and dies before it takes what it was called for.
    for place in report.backstop_after() {
        let called = ["count load", "count compare_exchange", "event_count wait"];
        assert!(called.contains(&place.as_str()), "{place}");
    }
}

#[test]
fn a_giver_that_dies_costs_a_sleeper_a_backstop_at_most() {
    let report = Model::new("count: a giver dies").with_deaths(|| {
        let count = count_of(0);
        let theirs = count.clone();
        let victim = victim(move |_| assert!(theirs.give(1, MOST)));
        let other = survivor(taker(&count));
        let died = victim.join().is_err();
        if died {
            // It may have given, or not.
            assert!(count.give(1, MOST));
        }
        other.join().expect("it lives");
        assert!(left(&count) <= u32::from(died));
        assert!(backstops() <= 1);
    });
    for place in report.backstop_after() {
        assert!(place.starts_with("event_count "), "after its permit is there: {place}");
    }
}

#[test]
fn the_models_see_a_bell_that_clears_the_mark_too_soon() {
    Model::new("count: planted, no second wake")
        .planted(Fault::HastyBell)
        .must_fail("a wake was lost", |model| model.preemptions(3).run(two_takers));
}

// --- the condition variable -------------------------------------------------------------------

/// A number of things behind a lock, and those who wait until there is one.
struct Shop {
    lock: AtomicU64,
    things: AtomicU64,
    restocked: EventCount,
}

impl Shop {
    fn new() -> Arc<Shop> {
        let zero = || AtomicU64::new(0);
        Arc::new(Shop { lock: zero(), things: zero(), restocked: EventCount::new() })
    }

    fn locked<R>(&self, caller: &Caller, work: impl FnOnce() -> R) -> R {
        let lock = RobustLock::at(&self.lock);
        let armed = caller.arm(lock.word());
        lock.lock(caller, || Deadline::Never).expect("a lock without a deadline");
        caller.hold(lock.word(), armed);
        let result = work();
        caller.release(lock.word(), || lock.unlock());
        result
    }

    fn change(&self, by: impl FnOnce(u64) -> u64) {
        self.things.store(by(self.things.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Waits in a loop, as one must: takes a key with the lock held, releases the lock, sleeps.
    fn buy(&self, caller: &Caller) {
        let look = || {
            if self.things.load(Ordering::Relaxed) == 0 {
                return Some(self.restocked.prepare());
            }
            self.change(|things| things - 1);
            None
        };
        while let Some(key) = self.locked(caller, look) {
            self.restocked.sleep(key, SOME_TIME);
        }
    }

    /// Changes what the lock guards, and calls one of those who wait afterwards.
    fn deliver(&self, caller: &Caller) {
        self.locked(caller, || self.change(|things| things + 1));
        self.restocked.notify_each(1);
    }

    fn buyer(self: &Arc<Self>) -> impl FnOnce(&Caller) + 'static {
        let shop = self.clone();
        move |me| shop.buy(me)
    }

    fn left(&self) -> u64 {
        self.things.load(Ordering::Acquire)
    }
}

#[test]
fn one_who_waits_for_a_condition_is_called() {
    Model::new("condvar: one waits, one notifies").preemptions(4).run(|| {
        let shop = Shop::new();
        let buyer = survivor(shop.buyer());
        shop.deliver(&Caller::main());
        buyer.join().expect("it lives");
        assert_eq!(shop.left(), 0);
    });
}

#[test]
fn two_who_wait_for_a_condition_are_called_one_by_one() {
    Model::new("condvar: two wait, one notifies twice").preemptions(3).run(|| {
        let shop = Shop::new();
        let buyers = [survivor(shop.buyer()), survivor(shop.buyer())];
        shop.deliver(&Caller::main());
        shop.deliver(&Caller::main());
        for buyer in buyers {
            buyer.join().expect("it lives");
        }
        assert_eq!(shop.left(), 0);
    });
}

#[test]
fn one_who_waits_for_a_condition_and_dies_harms_nobody() {
    Model::new("condvar: one of two that wait dies").with_deaths(|| {
        let shop = Shop::new();
        let victim = victim(shop.buyer());
        let other = survivor(shop.buyer());
        shop.deliver(&Caller::main());
        shop.deliver(&Caller::main());
        let bought = victim.join().is_ok();
        other.join().expect("it lives");
        assert!(shop.left() <= u64::from(!bought));
        assert!(backstops() <= 2, "one for the call, one for the lock");
    });
}

#[test]
fn one_who_dies_notifying_costs_a_backstop_at_most() {
    Model::new("condvar: one that notifies dies").preemptions(3).with_deaths(|| {
        let shop = Shop::new();
        let theirs = shop.clone();
        let victim = victim(move |me| theirs.deliver(me));
        let buyer = survivor(shop.buyer());
        let died = victim.join().is_err();
        if died {
            shop.deliver(&Caller::main());
        }
        buyer.join().expect("it lives");
        assert!(shop.left() <= u64::from(died));
        assert!(backstops() <= 1);
    });
}
