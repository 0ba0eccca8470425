//! The permits: seats, and the bell of those who wait for one.

use std::sync::Arc;

use super::super::seat::{Seat, first_choice};
use super::super::waiting::{self, Look};
use super::*;

/// Permits, and for each a number that its holder adds to, as only one who is alone can.
struct Permits {
    bell: EventCount,
    seats: Vec<Seat>,
    added: Vec<AtomicU64>,
}

impl Permits {
    fn new(count: usize) -> Arc<Permits> {
        let seats = (0..count).map(|_| Seat::new()).collect();
        let added = (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Permits { bell: EventCount::new(), seats, added })
    }

    fn acquire(&self, caller: &Caller, deadline: Deadline) -> Option<usize> {
        let first = first_choice(caller, self.seats.len());
        let round = (first..self.seats.len()).chain(0..first);
        // The polls before the first sleep are left out: they are further looks, and nothing else.
        waiting::until(&self.bell, caller, deadline, 0, |look| {
            let claim = |seat: &usize| self.seats[*seat].claim(caller, 0);
            round.clone().find(claim).or_else(|| {
                let from_dead = |seat: &usize| {
                    let seat = &self.seats[*seat];
                    seat.is_dead(caller, look == Look::Thorough)
                        && seat.claim_by(caller, 0, Deadline::Now).is_ok()
                };
                round.clone().find(from_dead)
            })
        })
    }

    fn release(&self, caller: &Caller, seat: usize) {
        self.seats[seat].leave(caller);
        self.bell.notify_each(1);
    }

    /// Takes a permit, adds one, gives it back.
    fn use_one(&self, caller: &Caller) {
        let seat = self.acquire(caller, Deadline::Never).expect("a wait without a deadline");
        self.add(seat);
        self.release(caller, seat);
    }

    fn add(&self, seat: usize) {
        let added = self.added[seat].load(Ordering::Relaxed);
        self.added[seat].store(added + 1, Ordering::Relaxed);
    }

    fn user(self: &Arc<Self>, times: usize) -> impl FnOnce(&Caller) + 'static {
        let permits = self.clone();
        move |me| (0..times).for_each(|_| permits.use_one(me))
    }

    fn total(&self) -> u64 {
        self.added.iter().map(|added| added.load(Ordering::Acquire)).sum()
    }

    fn held(&self) -> usize {
        self.seats.iter().filter(|seat| seat.is_taken()).count()
    }
}

/// Two use the only permit, twice and once.
fn one_permit_for_two() {
    let permits = Permits::new(1);
    let other = survivor(permits.user(2));
    permits.use_one(&Caller::main());
    other.join().expect("it lives");
    assert_eq!((permits.total(), permits.held()), (3, 0), "two held it at a time");
}

#[test]
fn a_permit_has_one_holder() {
    Model::new("permits: one for two").preemptions(3).run(one_permit_for_two);
}

#[test]
fn a_permit_given_back_is_found_by_one_who_waits() {
    Model::new("permits: one for three").run(|| {
        let permits = Permits::new(1);
        let others = [survivor(permits.user(1)), survivor(permits.user(1))];
        permits.use_one(&Caller::main());
        for other in others {
            other.join().expect("it lives");
        }
        assert_eq!((permits.total(), permits.held()), (3, 0));
    });
}

#[test]
fn two_permits_have_two_holders() {
    Model::new("permits: two for three").run(|| {
        let permits = Permits::new(2);
        let others = [survivor(permits.user(1)), survivor(permits.user(1))];
        permits.use_one(&Caller::main());
        for other in others {
            other.join().expect("it lives");
        }
        assert_eq!((permits.total(), permits.held()), (3, 0));
    });
}

/// A holder, or one who waits, dies; the other one takes the permit, before and after.
fn one_dies(start: impl Fn(Box<dyn FnOnce(&Caller)>) -> Process<()>) {
    let permits = Permits::new(1);
    let victim = start(Box::new(permits.user(1)));
    permits.use_one(&Caller::main());
    let outcome = victim.join();
    permits.use_one(&Caller::main());
    assert_eq!(permits.held(), 0, "a dead holder's permit comes back");
    let more = if outcome.is_ok() { 1..=1 } else { 0..=1 };
    assert!(more.contains(&(permits.total() - 2)), "two held it at a time");
    assert!(backstops() <= 1);
}

#[test]
fn the_permit_of_a_dead_holder_comes_back() {
    let report =
        Model::new("permits: a holder dies").preemptions(3).with_deaths(|| one_dies(victim));
    // Nobody announces the death to one who sleeps already.
    assert!(report.backstop_after().iter().any(|place| place == "permits store"));
}

#[test]
fn the_permit_of_a_dead_stranger_comes_back() {
    let model = Model::new("permits: a holder of another PID namespace dies").preemptions(3);
    model.with_deaths(|| one_dies(foreign_victim));
}

#[test]
fn one_who_is_called_and_dies_costs_the_other_a_backstop_at_most() {
    Model::new("permits: one of two that wait dies").preemptions(1).with_deaths(|| {
        let permits = Permits::new(1);
        let me = Caller::main();
        let seat = permits.acquire(&me, Deadline::Now).expect("nobody else is there");
        let victim = victim(permits.user(1));
        let other = survivor(permits.user(1));
        permits.add(seat);
        permits.release(&me, seat);
        let outcome = victim.join();
        other.join().expect("it lives");
        let more = if outcome.is_ok() { 1..=1 } else { 0..=1 };
        assert!(more.contains(&(permits.total() - 2)), "two held it at a time");
        assert!(backstops() <= 1);
    });
}

#[test]
fn the_models_see_a_release_without_a_fence() {
    Model::new("permits: planted, no fences")
        .without_fences()
        .must_fail("a wake was lost", |model| model.run(one_permit_for_two));
}
