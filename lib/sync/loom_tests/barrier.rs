//! The barrier: its phases, and the seats of its parties.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::super::phases::{Passage, Phases};
use super::super::seat::{Seat, first_choice};
use super::super::waiting::{self, Look};
use super::*;
use Passage::{Broken, Passed, TimedOut};

/// What a `Barrier` consists of.
struct Meeting {
    phases: Phases,
    seats: Vec<Seat>,
}

impl Meeting {
    fn of(parties: usize) -> Arc<Meeting> {
        let seats = (0..parties).map(|_| Seat::new()).collect();
        Arc::new(Meeting { phases: Phases::new(), seats })
    }

    /// A seat; `None` if the barrier is broken.
    fn sit(&self, caller: &Caller) -> Option<usize> {
        let first = first_choice(caller, self.seats.len());
        let round = (first..self.seats.len()).chain(0..first);
        let found = waiting::until(&self.phases.room, caller, Deadline::Never, 0, |look| {
            self.phases.bury(caller, &self.seats, look == Look::Thorough);
            if self.phases.is_broken() {
                return Some(None);
            }
            round.clone().find(|&seat| self.seats[seat].claim(caller, 0)).map(Some)
        });
        found.expect("a wait without a deadline")
    }

    fn leave(&self, caller: &Caller, seat: usize) {
        Phases::clear(&self.seats[seat]);
        self.seats[seat].leave(caller);
        self.phases.room.notify_each(1);
    }

    /// Comes for one phase.
    fn wait(&self, caller: &Caller, deadline: Deadline) -> Passage {
        let Some(seat) = self.sit(caller) else { return Broken };
        let passage = self.phases.pass(caller, &self.seats, seat, deadline, None);
        self.leave(caller, seat);
        passage
    }

    /// Comes for several phases, and has joined for them when `joined` says so.
    fn stay(&self, caller: &Caller, phases: usize, joined: &Cell<bool>, log: &Log) {
        let Some(seat) = self.sit(caller) else { return log.borrow_mut().push(Broken) };
        self.seats[seat].stays.store(1, Ordering::Release);
        joined.set(true);
        for _ in 0..phases {
            let passage = self.phases.pass(caller, &self.seats, seat, Deadline::Never, None);
            log.borrow_mut().push(passage);
        }
        self.leave(caller, seat);
    }

    /// When all who live have left: it can be made whole, and every place is free.
    fn check(&self) {
        self.phases.reset(&Caller::main(), &self.seats);
        assert!(!self.phases.is_broken());
        assert!(self.seats.iter().all(|seat| !seat.is_taken()), "a seat is left");
        let seat = self.sit(&Caller::main()).expect("it is whole");
        assert_eq!(self.seats[seat].arrived.load(Ordering::Relaxed), 0, "somebody has arrived");
    }

    /// Two parties that sit already, and wait for each other until then. To keep the models small their seats
    /// are the scenario's own: who sits there matters only when somebody dies.
    fn two_who_sit(self: &Arc<Self>, deadlines: [Deadline; 2]) -> [Process<Passage>; 2] {
        let mut seat = 0;
        deadlines.map(|deadline| {
            assert!(self.seats[seat].claim(&Caller::main(), 0));
            let (meeting, its) = (self.clone(), seat);
            seat += 1;
            survivor(move |me| meeting.phases.pass(me, &meeting.seats, its, deadline, None))
        })
    }
}

/// What a party has come to know. Not a part of the model: it survives the party.
type Log = Rc<RefCell<Vec<Passage>>>;

fn party(meeting: &Arc<Meeting>, phases: usize, log: &Log) -> impl FnOnce(&Caller) + 'static {
    let (meeting, log) = (meeting.clone(), log.clone());
    move |me| {
        for _ in 0..phases {
            let passage = meeting.wait(me, Deadline::Never);
            log.borrow_mut().push(passage);
        }
    }
}

fn one_phase() {
    let meeting = Meeting::of(2);
    let log = Log::default();
    let other = survivor(party(&meeting, 1, &log));
    assert_eq!(meeting.wait(&Caller::main(), Deadline::Never), Passed);
    other.join().expect("it lives");
    assert_eq!(*log.borrow(), [Passed]);
}

#[test]
fn two_pass_together() {
    Model::new("barrier: two pass").preemptions(3).run(one_phase);
}

#[test]
fn two_pass_again_and_again() {
    Model::new("barrier: two pass twice").preemptions(1).run(|| {
        let meeting = Meeting::of(2);
        let log = Log::default();
        let other = survivor(party(&meeting, 2, &log));
        for _ in 0..2 {
            assert_eq!(meeting.wait(&Caller::main(), Deadline::Never), Passed);
        }
        other.join().expect("it lives");
        assert_eq!(*log.borrow(), [Passed; 2]);
    });
}

#[test]
fn two_that_have_joined_pass_again_and_again() {
    Model::new("barrier: two that joined pass twice").run(|| {
        let meeting = Meeting::of(2);
        let (mine, log) = (Log::default(), Log::default());
        let (theirs, logged) = (meeting.clone(), log.clone());
        let other = survivor(move |me| theirs.stay(me, 2, &Cell::default(), &logged));
        meeting.stay(&Caller::main(), 2, &Cell::default(), &mine);
        other.join().expect("it lives");
        assert_eq!((&*mine.borrow(), &*log.borrow()), (&vec![Passed; 2], &vec![Passed; 2]));
    });
}

#[test]
fn whoever_finds_no_place_comes_in_when_another_has_left() {
    Model::new("barrier: three come, one at a time").preemptions(1).run(|| {
        let meeting = Meeting::of(1);
        let logs = [Log::default(), Log::default()];
        let others = logs.each_ref().map(|log| survivor(party(&meeting, 1, log)));
        assert_eq!(meeting.wait(&Caller::main(), Deadline::Never), Passed);
        for other in others {
            other.join().expect("it lives");
        }
        assert!(logs.iter().all(|log| *log.borrow() == [Passed]));
    });
}

#[test]
fn whoever_waits_for_a_place_hears_that_it_is_broken() {
    Model::new("barrier: two find no place, one aborts").run(|| {
        let meeting = Meeting::of(1);
        let me = Caller::main();
        let seat = meeting.sit(&me).expect("it is whole");
        let logs = [Log::default(), Log::default()];
        let others = logs.each_ref().map(|log| survivor(party(&meeting, 1, log)));
        meeting.phases.abort();
        for other in others {
            other.join().expect("it lives");
        }
        assert!(logs.iter().all(|log| *log.borrow() == [Broken]));
        meeting.leave(&me, seat);
    });
}

#[test]
fn one_action_is_done_before_anybody_passes() {
    Model::new("barrier: two pass, with an action").run(|| {
        let meeting = Meeting::of(2);
        let done = AtomicU32::new(0);
        let act = |meeting: &Meeting, me: &Caller, done: &AtomicU32| {
            let seat = meeting.sit(me).expect("it is whole");
            let mut action = || done.store(done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let action: &mut dyn FnMut() = &mut action;
            let (phases, never) = (&meeting.phases, Deadline::Never);
            assert_eq!(phases.pass(me, &meeting.seats, seat, never, Some(action)), Passed);
            assert_eq!(done.load(Ordering::Relaxed), 1, "one of them did it, before");
            meeting.leave(me, seat);
        };
        let (theirs, also) = (meeting.clone(), done.clone());
        let other = survivor(move |me| act(&theirs, me, &also));
        act(&meeting, &Caller::main(), &done);
        other.join().expect("it lives");
    });
}

#[test]
fn an_abort_breaks_it_for_all_or_for_nobody() {
    Model::new("barrier: two wait, one aborts").run(|| {
        let meeting = Meeting::of(2);
        let parties = meeting.two_who_sit([Deadline::Never; 2]);
        meeting.phases.abort();
        let [one, another] = parties.map(|party| party.join().expect("it lives"));
        assert!(one == another && one != TimedOut, "{one:?}, {another:?}");
    });
}

#[test]
fn a_reset_breaks_a_phase_for_all_or_for_nobody() {
    Model::new("barrier: two wait, one resets").patient().run(|| {
        let meeting = Meeting::of(2);
        // Whoever comes after the reset waits for one who may have come before: until its time is over.
        let parties = meeting.two_who_sit([Deadline::At(2); 2]);
        meeting.phases.reset(&Caller::main(), &meeting.seats);
        let [one, another] = parties.map(|party| party.join().expect("it lives"));
        assert_eq!(one == Passed, another == Passed, "{one:?}, {another:?}");
    });
}

#[test]
fn a_party_that_gives_up_breaks_it_for_all_or_for_nobody() {
    Model::new("barrier: one gives up").patient().run(|| {
        let meeting = Meeting::of(2);
        let log = Log::default();
        let other = survivor(party(&meeting, 1, &log));
        let hasty = meeting.wait(&Caller::main(), Deadline::At(1));
        other.join().expect("it lives");
        let expected = if hasty == TimedOut { Broken } else { hasty };
        assert_eq!(log.borrow()[0], expected);
        meeting.check();
    });
}

#[test]
fn a_time_out_at_any_moment_breaks_it_for_all_or_for_nobody() {
    Model::new("barrier: two wait, a timer fires").patient().run(|| {
        let meeting = Meeting::of(2);
        let parties = meeting.two_who_sit([Deadline::At(1), Deadline::Never]);
        futex::expire_count(meeting.phases.bell.word());
        let [hasty, other] = parties.map(|party| party.join().expect("it lives"));
        assert_eq!(other, if hasty == TimedOut { Broken } else { hasty });
    });
}

/// One of two parties dies, which has come for a phase, or has joined.
fn one_dies(joins: bool) {
    let meeting = Meeting::of(2);
    let (joined, log) = (Rc::new(Cell::new(false)), Log::default());
    let (theirs, also, logged) = (meeting.clone(), joined.clone(), log.clone());
    let victim = if joins {
        victim(move |me| theirs.stay(me, 1, &also, &logged))
    } else {
        victim(party(&meeting, 1, &log))
    };
    // Nobody misses one that dies before it has come. Then the other one gives up in the end.
    let mine = meeting.wait(&Caller::main(), Deadline::At(3));
    let died = victim.join().is_err();
    match log.borrow().first() {
        Some(&theirs) => assert_eq!(mine, theirs, "they do not agree"),
        None => assert!(died),
    }
    assert!(died || mine == Passed);
    assert!(mine != TimedOut || !joined.get(), "nobody missed one that had joined");
    meeting.check();
}

#[test]
fn a_party_that_dies_breaks_it_or_has_passed() {
    Model::new("barrier: a party dies").preemptions(1).with_deaths(|| one_dies(false));
}

#[test]
fn a_party_that_has_joined_and_dies_is_missed() {
    Model::new("barrier: a party that joined dies").preemptions(1).with_deaths(|| one_dies(true));
}

#[test]
fn the_models_see_a_dead_party_that_is_not_missed() {
    Model::new("barrier: planted, no look for the dead")
        .planted(Fault::TripOverDead)
        .must_fail("nobody missed", |model| drop(model.with_deaths(|| one_dies(true))));
}

#[test]
fn the_models_see_an_arrival_without_a_fence() {
    Model::new("barrier: planted, no fences")
        .without_fences()
        .must_fail("a wake was lost", |model| model.run(one_phase));
}
