//! The readers and writers of a lock: the gate, the readers' seats, and the main lock.

use std::sync::Arc;

use super::super::gate::Gate;
use super::super::seat::Seat;
use super::*;

const CLEAN: u32 = 0;
const INCONSISTENT: u32 = 1;

/// What a `RwLock` consists of, and two words that writers change one after the other.
struct Prices {
    gate: Gate,
    seats: Vec<Seat>,
    main: AtomicU64,
    state: AtomicU32,
    first: AtomicU64,
    second: AtomicU64,
}

impl Prices {
    fn new(seats: usize) -> Arc<Prices> {
        let zero = || AtomicU64::new(0);
        Arc::new(Prices {
            gate: Gate::new(),
            seats: (0..seats).map(|_| Seat::new()).collect(),
            main: zero(),
            state: AtomicU32::new(CLEAN),
            first: zero(),
            second: zero(),
        })
    }

    /// Takes the main lock; one who takes it from a dead writer says so first of all.
    fn lock_main(&self, caller: &Caller) {
        let lock = RobustLock::at(&self.main);
        let armed = caller.arm(lock.word());
        let acquired = lock.lock(caller, || Deadline::Never).expect("a lock without a deadline");
        caller.hold(lock.word(), armed);
        if acquired != Acquired::Clean && self.gate.is_writing() {
            self.state.store(INCONSISTENT, Ordering::Relaxed);
        }
    }

    fn unlock_main(&self, caller: &Caller) {
        let lock = RobustLock::at(&self.main);
        caller.release(lock.word(), || lock.unlock());
    }

    fn enter(&self, caller: &Caller) -> usize {
        if let Some(seat) = self.gate.enter(caller, &self.seats, 0) {
            return seat;
        }
        if let Some(seat) = self.gate.enter_again(caller, &self.seats) {
            return seat;
        }
        self.lock_main(caller);
        self.gate.open();
        let seat = self.gate.take_seat(caller, &self.seats, 0, Deadline::Never);
        self.unlock_main(caller);
        seat.expect("a wait without a deadline")
    }

    fn leave(&self, caller: &Caller, seat: usize) {
        let seat = &self.seats[seat];
        if !seat.stays_once_less() {
            seat.leave(caller);
        }
    }

    /// What a reader sees while it has a seat.
    fn look(&self) -> u64 {
        let state = self.state.load(Ordering::Relaxed);
        let first = self.first.load(Ordering::Relaxed);
        let second = self.second.load(Ordering::Relaxed);
        assert!(first == second || state != CLEAN, "half a change was seen");
        first
    }

    fn read(&self, caller: &Caller) -> u64 {
        let seat = self.enter(caller);
        let seen = self.look();
        self.leave(caller, seat);
        seen
    }

    /// Reads, reads again, and ends the first of the two first.
    fn read_again(&self, caller: &Caller) {
        let outer = self.enter(caller);
        let before = self.look();
        let inner = self.enter(caller);
        self.leave(caller, outer);
        assert_eq!(self.look(), before, "a writer came in between");
        self.leave(caller, inner);
    }

    /// Adds one to both words; mends them before if a writer died.
    fn write(&self, caller: &Caller) {
        self.lock_main(caller);
        self.gate.shut(caller, &self.seats, Deadline::Never).expect("it does not read");
        let before = self.look();
        self.first.store(before + 1, Ordering::Relaxed);
        self.second.store(before + 1, Ordering::Relaxed);
        self.state.store(CLEAN, Ordering::Relaxed);
        self.gate.open();
        self.unlock_main(caller);
    }

    /// Writes unless others read.
    fn try_write(&self, caller: &Caller) {
        self.lock_main(caller);
        if self.gate.shut(caller, &self.seats, Deadline::Now).is_ok() {
            let before = self.look();
            self.first.store(before + 1, Ordering::Relaxed);
            self.second.store(before + 1, Ordering::Relaxed);
            self.gate.open();
        }
        self.unlock_main(caller);
    }

    /// At the end, when all who live have left.
    fn check(&self, written: std::ops::RangeInclusive<u64>) {
        self.write(&Caller::main());
        self.read(&Caller::main());
        assert!(self.seats.iter().all(|seat| !seat.is_taken()), "a seat is left");
        let total = self.first.load(Ordering::Acquire) - 1;
        assert!(written.contains(&total), "{total} were written");
    }
}

fn reader(prices: &Arc<Prices>) -> impl FnOnce(&Caller) + 'static {
    let prices = prices.clone();
    move |me| _ = prices.read(me)
}

fn writer(prices: &Arc<Prices>) -> impl FnOnce(&Caller) + 'static {
    let prices = prices.clone();
    move |me| prices.write(me)
}

fn one_reads_and_one_writes() {
    let prices = Prices::new(2);
    let reader = survivor(reader(&prices));
    prices.write(&Caller::main());
    reader.join().expect("it lives");
    prices.check(1..=1);
}

#[test]
fn a_reader_never_sees_half_a_change() {
    Model::new("rwlock: one reads, one writes").preemptions(4).run(one_reads_and_one_writes);
}

#[test]
fn two_readers_and_a_writer_exclude_each_other() {
    Model::new("rwlock: two read, one writes").preemptions(1).run(|| {
        let prices = Prices::new(2);
        let readers = [survivor(reader(&prices)), survivor(reader(&prices))];
        prices.write(&Caller::main());
        for reader in readers {
            reader.join().expect("it lives");
        }
        prices.check(1..=1);
    });
}

#[test]
fn two_writers_and_a_reader_exclude_each_other() {
    Model::new("rwlock: one reads, two write").run(|| {
        let prices = Prices::new(1);
        let other = survivor(writer(&prices));
        let reader = survivor(reader(&prices));
        prices.write(&Caller::main());
        other.join().expect("it lives");
        reader.join().expect("it lives");
        prices.check(2..=2);
    });
}

#[test]
fn readers_wait_for_a_seat_if_there_are_too_few() {
    Model::new("rwlock: one seat, two read, one writes").preemptions(1).run(|| {
        let prices = Prices::new(1);
        let other = survivor(reader(&prices));
        let writer = survivor(writer(&prices));
        prices.read(&Caller::main());
        other.join().expect("it lives");
        writer.join().expect("it lives");
        prices.check(1..=1);
    });
}

/// The reader's first choice is the second of two seats: a writer looks at them in the other order.
fn one_reads_again() {
    let prices = Prices::new(2);
    let theirs = prices.clone();
    let reader = survivor(move |me| theirs.read_again(me));
    prices.write(&Caller::main());
    reader.join().expect("it lives");
    prices.check(1..=1);
}

#[test]
fn a_reader_reads_again_though_a_writer_waits() {
    Model::new("rwlock: one reads again").preemptions(4).run(one_reads_again);
}

#[test]
fn a_writer_that_gives_up_opens_the_gate() {
    Model::new("rwlock: a writer gives up").preemptions(1).run(|| {
        let prices = Prices::new(2);
        let theirs = prices.clone();
        let hasty = survivor(move |me| theirs.try_write(me));
        let reader = survivor(reader(&prices));
        prices.read(&Caller::main());
        hasty.join().expect("it lives");
        reader.join().expect("it lives");
        prices.check(0..=1);
    });
}

#[test]
fn a_reader_that_dies_keeps_no_writer_out() {
    let report = Model::new("rwlock: a reader dies").with_deaths(|| {
        let prices = Prices::new(2);
        let theirs = prices.clone();
        let victim = victim(move |me| theirs.read_again(me));
        prices.write(&Caller::main());
        let _ = victim.join();
        prices.check(1..=1);
    });
    assert_eq!(report.backstop_after(), [""; 0], "the kernel calls the writer");
}

#[test]
fn a_stranger_that_dies_reading_keeps_no_writer_out() {
    Model::new("rwlock: a reader of another PID namespace dies").with_deaths(|| {
        let prices = Prices::new(2);
        let theirs = prices.clone();
        let victim = foreign_victim(move |me| theirs.read_again(me));
        prices.write(&Caller::main());
        let _ = victim.join();
        prices.check(1..=1);
    });
}

#[test]
fn a_writer_that_dies_leaves_no_half_change_unnoticed() {
    let report = Model::new("rwlock: a writer dies").preemptions(3).with_deaths(|| {
        let prices = Prices::new(2);
        let victim = victim(writer(&prices));
        prices.read(&Caller::main());
        let died = victim.join().is_err();
        prices.read(&Caller::main());
        prices.check(if died { 0..=1 } else { 1..=1 });
    });
    assert_eq!(report.backstop_after(), [""; 0], "the kernel calls who waits for the main lock");
}

#[test]
fn a_writer_that_dies_among_others() {
    Model::new("rwlock: a writer dies, one reads, one writes").preemptions(1).with_deaths(|| {
        let prices = Prices::new(2);
        let victim = victim(writer(&prices));
        let reader = survivor(reader(&prices));
        prices.write(&Caller::main());
        let died = victim.join().is_err();
        reader.join().expect("it lives");
        prices.check(if died { 1..=2 } else { 2..=2 });
    });
}

#[test]
fn the_models_see_a_reader_that_does_not_look_again() {
    Model::new("rwlock: planted, no second look at the gate")
        .planted(Fault::BlindReader)
        .must_fail("half a change was seen", |model| model.run(one_reads_and_one_writes));
}

#[test]
fn the_models_see_a_reader_with_a_second_seat() {
    Model::new("rwlock: planted, a second seat")
        .planted(Fault::SecondSeat)
        .must_fail("half a change was seen", |model| model.preemptions(4).run(one_reads_again));
}

#[test]
fn the_models_see_a_gate_without_fences() {
    Model::new("rwlock: planted, no fences")
        .without_fences()
        .must_fail("half a change was seen", |model| model.run(one_reads_and_one_writes));
}
