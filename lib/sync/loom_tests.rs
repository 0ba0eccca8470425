//! Models of the robust lock, the event count and what is built on them: every order of their accesses, and a
//! death before every one of them. See [`crate::loom_kernel`] for what is modelled.
//!
//! The lock and the event count are here, the others in a file each. The handles of the primitives are bound to a
//! segment, so the models repeat their few steps.

use std::sync::Arc;
use std::time::Duration;

use super::event_count::EventCount;
use super::robust_lock::{Acquired, Refused, RobustLock};
use crate::loom_kernel::clock::Deadline;
use crate::loom_kernel::{
    AtomicU32, AtomicU64, Caller, Death, Fault, Last, Model, Ordering, Process, backstops,
    foreign_victim, futex, survivor, victim,
};

mod barrier;
mod calling;
mod permits;
mod rwlock;

const SOME_TIME: Duration = Duration::from_millis(100);

// --- the robust lock ------------------------------------------------------------------------

/// A lock and two words that its owners change one after the other: without the lock, or without the
/// order of memory it makes, they are seen to differ, or an addition is lost.
#[derive(Clone)]
struct Guarded {
    lock: AtomicU64,
    first: AtomicU64,
    second: AtomicU64,
}

impl Guarded {
    fn new() -> Guarded {
        let zero = || AtomicU64::new(0);
        Guarded { lock: zero(), first: zero(), second: zero() }
    }

    /// Arms, locks, does `work`, unlocks, disarms: as the queue does it.
    fn locked<R>(
        &self,
        caller: &Caller,
        deadline: Deadline,
        work: impl FnOnce(Acquired) -> R,
    ) -> Result<R, Refused> {
        let lock = RobustLock::at(&self.lock);
        let armed = caller.arm(lock.word());
        let result = lock.lock(caller, || deadline).map(|acquired| {
            let result = work(acquired);
            lock.unlock();
            result
        });
        caller.disarm(armed);
        result
    }

    /// Adds one to both words; tells how the lock was obtained, and how many had been added to the
    /// first word alone.
    fn add(&self, caller: &Caller) -> (Acquired, u64) {
        self.locked(caller, Deadline::Never, |acquired| {
            let first = self.first.load(Ordering::Relaxed);
            let second = self.second.load(Ordering::Relaxed);
            self.first.store(first + 1, Ordering::Relaxed);
            self.second.store(first + 1, Ordering::Relaxed);
            (acquired, first - second)
        })
        .expect("a lock without a deadline")
    }

    fn total(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }
}

/// What the survivors' locks must have been like, given how the victim ended.
fn check_steals(
    outcome: &Result<(Acquired, u64), Death>,
    owner: u32,
    survivors: &[(Acquired, u64)],
) {
    let stolen = survivors.iter().filter(|(how, _)| *how == Acquired::Stolen(owner)).count();
    let clean = survivors.iter().filter(|(how, _)| *how == Acquired::Clean).count();
    assert_eq!(stolen + clean, survivors.len(), "stolen from somebody who lives");
    match outcome {
        Err(death) if death.last == Last::Marked => assert_eq!(stolen, 1, "{death:?}"),
        Err(death) if death.last != Last::Unarmed => assert_eq!(stolen, 0, "{death:?}"),
        _ => assert!(stolen <= 1),
    }
    if outcome.is_ok() {
        assert_eq!(stolen, 0, "nobody died");
    }
    for (how, half) in survivors {
        assert!(*half == 0 || *how != Acquired::Clean, "half a change behind a clean lock");
    }
}

/// Two take the lock, twice each.
fn two_take_turns() {
    let shared = Guarded::new();
    let theirs = shared.clone();
    let other = survivor(move |me| [theirs.add(me), theirs.add(me)]);
    let mine = [shared.add(&Caller::main()), shared.add(&Caller::main())];
    let others = other.join().expect("it lives");
    for (how, half) in mine.into_iter().chain(others) {
        assert_eq!((how, half), (Acquired::Clean, 0));
    }
    assert_eq!(shared.total(), 4);
}

#[test]
fn the_lock_excludes() {
    Model::new("lock: two take it twice each").preemptions(3).run(two_take_turns);
}

/// Three take the lock, so one can sleep while two others pass it on.
fn three_pass_it_on() {
    let shared = Guarded::new();
    let others: Vec<_> = (0..2)
        .map(|_| {
            let theirs = shared.clone();
            survivor(move |me| theirs.add(me))
        })
        .collect();
    shared.add(&Caller::main());
    for other in others {
        assert_eq!(other.join().expect("it lives"), (Acquired::Clean, 0));
    }
    assert_eq!(shared.total(), 3);
}

#[test]
fn the_lock_is_handed_over_without_a_lost_wake() {
    Model::new("lock: three take it").run(three_pass_it_on);
}

/// One takes the lock and dies, another takes it.
fn one_dies(
    start: impl Fn(Box<dyn FnOnce(&Caller) -> (Acquired, u64)>) -> Process<(Acquired, u64)>,
) {
    let shared = Guarded::new();
    let theirs = shared.clone();
    let victim = start(Box::new(move |me| theirs.add(me)));
    let owner = victim.owner();
    let meanwhile = shared.add(&Caller::main());
    let outcome = victim.join();
    let after = shared.add(&Caller::main());
    check_steals(&outcome, owner, &[meanwhile, after]);
}

#[test]
fn the_survivor_gets_the_lock_of_the_dead() {
    let report = Model::new("lock: an owner dies").preemptions(3).with_deaths(|| one_dies(victim));
    // Whoever waits is woken by the kernel, as only the owner can have died.
    assert_eq!(report.backstop_after(), [""; 0]);
}

#[test]
fn the_survivor_gets_the_lock_of_a_dead_stranger() {
    let model = Model::new("lock: an owner of another PID namespace dies").preemptions(3);
    let report = model.with_deaths(|| one_dies(foreign_victim));
    // Nobody marks its word: from its first access as the owner up to its wake, the file lock tells.
    let needed = report.backstop_after();
    assert!(needed.iter().any(|place| place == "robust_lock swap"), "{needed:?}");
    assert!(needed.iter().any(|place| place == "robust_lock wake"), "{needed:?}");
    assert!(!needed.iter().any(|place| place.contains("compare_exchange")), "{needed:?}");
}

/// One takes the lock and dies, two others take it, one of them twice: so the victim may be the one that
/// was called from its sleep, while the other sleeps on.
fn one_of_three_dies() {
    let shared = Guarded::new();
    let (theirs, others) = (shared.clone(), shared.clone());
    let victim = victim(move |me| theirs.add(me));
    let owner = victim.owner();
    let other = survivor(move |me| others.add(me));
    let mine = [shared.add(&Caller::main()), shared.add(&Caller::main())];
    let outcome = victim.join();
    let others = other.join().expect("it lives");
    let after = shared.add(&Caller::main());
    check_steals(&outcome, owner, &[mine[0], mine[1], others, after]);
    if backstops() > 0 {
        // What the kernel leaves open: it was called, and died when somebody else had the lock already.
        let death = outcome.expect_err("without a death no wake is lost");
        assert!(death.called && death.last == Last::Nothing, "{death:?}");
    }
}

#[test]
fn a_waiter_waits_for_a_backstop_only_if_a_called_one_dies() {
    Model::new("lock: one of three dies").with_deaths(one_of_three_dies);
}

#[test]
fn an_attaching_participant_settles_the_lock_of_a_dead_stranger() {
    let model = Model::new("lock: an owner of another PID namespace dies, settled");
    model.with_deaths(|| {
        let shared = Guarded::new();
        let (theirs, others) = (shared.clone(), shared.clone());
        let victim = foreign_victim(move |me| theirs.add(me));
        let other = survivor(move |me| RobustLock::at(&others.lock).settle(me));
        RobustLock::at(&shared.lock).settle(&Caller::main());
        let outcome = victim.join();
        other.join().expect("it lives");
        RobustLock::at(&shared.lock).settle(&Caller::main());
        assert_eq!(shared.lock.load(Ordering::Acquire), 0, "it names nobody");
        assert!(outcome.is_err() || shared.total() == 1);
    });
}

/// A waiter whose deadline passes, while another waits without one.
fn one_gives_up() {
    let shared = Guarded::new();
    let me = Caller::main();
    let lock = RobustLock::at(&shared.lock);
    assert_eq!(lock.lock(&me, || Deadline::Now), Ok(Acquired::Clean));
    let (theirs, others) = (shared.clone(), shared.clone());
    let hasty = survivor(move |me| theirs.locked(me, Deadline::At(1), |_| ()));
    let patient = survivor(move |me| others.add(me));
    lock.unlock();
    shared.add(&me);
    let _ = hasty.join().expect("it lives");
    patient.join().expect("it lives");
    assert_eq!(shared.total(), 2);
}

#[test]
fn a_waiter_that_gives_up_takes_nobodys_wake_with_it() {
    Model::new("lock: a waiter gives up").run(one_gives_up);
}

/// The owner dies, and a timer fires: before, after, or while the kernel cleans up.
fn a_timer_fires(
    start: impl Fn(Box<dyn FnOnce(&Caller) -> (Acquired, u64)>) -> Process<(Acquired, u64)>,
) {
    let shared = Guarded::new();
    let (theirs, others) = (shared.clone(), shared.clone());
    let victim = start(Box::new(move |me| theirs.add(me)));
    let owner = victim.owner();
    let other = survivor(move |me| others.add(me));
    futex::expire(&shared.lock);
    let outcome = victim.join();
    let other = other.join().expect("it lives");
    let after = shared.add(&Caller::main());
    check_steals(&outcome, owner, &[other, after]);
}

#[test]
fn a_time_out_at_any_moment_robs_nobody_who_lives() {
    Model::new("lock: an owner dies, a timer fires").with_deaths(|| a_timer_fires(victim));
    let model = Model::new("lock: an owner of another PID namespace dies, a timer fires");
    model.with_deaths(|| a_timer_fires(foreign_victim));
}

#[test]
fn a_waiter_asks_before_it_robs() {
    Model::new("lock: its owner is stopped").patient().with_deaths(|| {
        let shared = Guarded::new();
        let me = Caller::main();
        assert_eq!(RobustLock::at(&shared.lock).lock(&me, || Deadline::Now), Ok(Acquired::Clean));
        // The owner does not go on; the waiter sleeps for a few backstops, or dies.
        let theirs = shared.clone();
        let waiter = victim(move |me| theirs.locked(me, Deadline::At(3), |_| ()));
        if let Ok(outcome) = waiter.join() {
            assert_eq!(outcome, Err(Refused::TimedOut));
        }
        let word = shared.lock.load(Ordering::Acquire);
        assert_eq!(word & !(1 << 31), me.id(), "a living owner keeps its lock");
        RobustLock::at(&shared.lock).unlock();
    });
}

// --- the event count ------------------------------------------------------------------------

/// An event count, and the state that its sleepers wait for: a number of tokens.
#[derive(Clone)]
struct Tokens {
    event: AtomicU32,
    tokens: AtomicU32,
}

impl Tokens {
    fn new() -> Tokens {
        Tokens { event: AtomicU32::new(0), tokens: AtomicU32::new(0) }
    }

    /// Adds a token and calls one sleeper. The change is a store, as a queue's commit is.
    fn give(&self, now: u32) {
        self.tokens.store(now, Ordering::Release);
        EventCount::at(&self.event).notify(1);
    }

    /// Sleeps until there are so many tokens.
    fn wait_for(&self, count: u32) {
        let event = EventCount::at(&self.event);
        loop {
            let key = event.prepare();
            if self.tokens.load(Ordering::Acquire) >= count {
                return;
            }
            event.wait(key, SOME_TIME);
        }
    }
}

fn one_sleeper() {
    let shared = Tokens::new();
    let theirs = shared.clone();
    let sleeper = survivor(move |_| theirs.wait_for(2));
    shared.give(1);
    shared.give(2);
    sleeper.join().expect("it lives");
}

#[test]
fn a_sleeper_is_called() {
    Model::new("event count: one sleeper").preemptions(3).run(one_sleeper);
}

/// Two sleepers and a caller that calls both.
fn two_sleepers() {
    let shared = Tokens::new();
    let sleepers: Vec<_> = (0..2)
        .map(|_| {
            let theirs = shared.clone();
            survivor(move |_| theirs.wait_for(1))
        })
        .collect();
    shared.tokens.store(1, Ordering::Release);
    EventCount::at(&shared.event).notify(u32::MAX);
    for sleeper in sleepers {
        sleeper.join().expect("it lives");
    }
}

#[test]
fn two_sleepers_are_called() {
    Model::new("event count: two sleepers").preemptions(3).run(two_sleepers);
}

/// A caller that dies, and a sleeper.
fn the_caller_dies() {
    let shared = Tokens::new();
    let theirs = shared.clone();
    let caller = victim(move |_| theirs.give(1));
    let (event, mine) = (EventCount::at(&shared.event), Arc::new(shared.clone()));
    let key = event.prepare();
    if mine.tokens.load(Ordering::Acquire) == 0 {
        event.wait(key, SOME_TIME);
    }
    let _ = caller.join();
}

#[test]
fn only_a_caller_that_dies_before_its_wake_leaves_a_sleeper_to_the_backstop() {
    let report = Model::new("event count: the caller dies").with_deaths(the_caller_dies);
    let expected = [
        "event_count compare_exchange",
        "event_count load",
        "event_count wake",
        "loom_tests store", // the change itself: nobody else makes it here
    ];
    assert_eq!(report.backstop_after(), expected);
}

// --- the models can fail --------------------------------------------------------------------

#[test]
fn the_models_see_an_unlock_that_wakes_nobody() {
    Model::new("lock: planted, no wake")
        .planted(Fault::UnlockWithoutWake)
        .must_fail("a wake was lost", |model| model.run(three_pass_it_on));
}

#[test]
fn the_models_see_an_unarmed_lock() {
    Model::new("lock: planted, not armed").planted(Fault::UnarmedLock).must_fail(
        "not armed",
        |model| {
            let report = model.with_deaths(|| one_dies(victim));
            assert!(report.backstop_after().is_empty(), "not armed: {:?}", report.backstop_after());
        },
    );
}

#[test]
fn the_models_see_a_doorbell_of_one_bit() {
    Model::new("event count: planted, no sequence number")
        .planted(Fault::OneBitDoorbell)
        .must_fail("a wake was lost", |model| model.preemptions(3).run(two_sleepers));
}

#[test]
fn the_models_see_a_missing_fence() {
    Model::new("event count: planted, no fences")
        .without_fences()
        .must_fail("a wake was lost", |model| model.run(one_sleeper));
}
