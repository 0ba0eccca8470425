//! Models of the whole: locks, ring and sleeping together.

use super::*;
use crate::loom_kernel::{Process, backstops, survivor};

#[test]
fn a_put_wakes_a_consumer_unless_the_producer_dies_on_the_way() {
    let report = Model::new("queue: a consumer sleeps, the producer dies").with_deaths(|| {
        let shared = Shared::at(0);
        let (theirs, others) = (shared.clone(), shared.clone());
        let producer = victim(move |me| theirs.put(me, SHORT));
        let consumer = survivor(move |me| others.take(me));
        let outcome = producer.join();
        let committed = shared.words.at(0).load(Ordering::Acquire) != 0;
        assert!(committed || outcome.is_err());
        if !committed {
            shared.put(&Caller::main(), OTHER);
        }
        let got = consumer.join().expect("it lives");
        assert_eq!(got, if committed { SHORT } else { OTHER });
        assert!(committed || backstops() == 0, "slept, though somebody put who lives");
    });
    let expected = [
        "event_count compare_exchange", // the look, or the call
        "event_count load",
        "event_count wake",
        "push store",       // the tail
        "robust_lock swap", // the unlock
    ];
    assert_eq!(report.backstop_after(), expected);
}

#[test]
fn a_sleeping_producer_gets_the_room_of_a_message() {
    Model::new("queue: a producer sleeps for room").run(|| {
        let shared = Shared { maxsize: 1, ..Shared::at(0) };
        let me = Caller::main();
        shared.put(&me, SHORT);
        let theirs = shared.clone();
        let producer = survivor(move |me| theirs.put(me, OTHER));
        assert_eq!(shared.take(&me), SHORT);
        producer.join().expect("it lives");
        assert_eq!(shared.drain().0, [OTHER]);
    });
}

/// Two of the same kind. They are started first, so the usual order is that they fall asleep.
fn two<T: 'static>(work: impl Fn(&Caller) -> T + Clone + 'static) -> [Process<T>; 2] {
    let other = work.clone();
    [survivor(work), survivor(other)]
}

fn ends<T>(processes: [Process<T>; 2]) -> [T; 2] {
    processes.map(|process| process.join().expect("it lives"))
}

/// Two consumers may sleep while two messages are put, one by one: a call to one of them clears the
/// mark of both.
#[test]
fn two_sleeping_consumers_get_two_messages() {
    Model::new("queue: two consumers sleep, two puts").run(|| {
        let shared = Shared::at(0);
        let (theirs, others) = (shared.clone(), shared);
        let consumers = two(move |me| theirs.take(me));
        let producer = survivor(move |me| {
            others.put(me, SHORT);
            others.put(me, OTHER);
        });
        let mut got = ends(consumers);
        producer.join().expect("it lives");
        got.sort();
        assert_eq!(got, [OTHER, SHORT]);
    });
}

/// The same, and one of the two dies: if it was called, what it was called for is left to the other, who
/// was not.
#[test]
fn a_consumer_waits_for_a_backstop_only_if_a_called_one_dies() {
    Model::new("queue: one of two sleeping consumers dies").preemptions(1).with_deaths(|| {
        let shared = Shared::at(0);
        let (theirs, others, third) = (shared.clone(), shared.clone(), shared);
        let (mortal, other) =
            (victim(move |me| theirs.take(me)), survivor(move |me| others.take(me)));
        let producer = survivor(move |me| {
            third.put(me, SHORT);
            third.put(me, OTHER);
        });
        producer.join().expect("it lives");
        let outcome = mortal.join();
        let got = other.join().expect("it lives");
        assert!(got == SHORT || got == OTHER);
        assert!(outcome.as_ref().map_or(true, |theirs| *theirs != got), "taken twice");
        if backstops() > 0 {
            let death = outcome.expect_err("without a death no wake is lost");
            assert!(death.called, "{death:?}");
        }
    });
}

/// The same for producers and room.
fn two_producers_two_takes(passes_on: bool) {
    let shared = Shared { maxsize: 2, passes_on, ..Shared::at(0) };
    let me = Caller::main();
    assert_eq!(shared.try_put(&me, &[SHORT, SHORT]), Push::Done);
    let (theirs, others) = (shared.clone(), shared.clone());
    let producers = two(move |me| theirs.put(me, OTHER));
    let consumer = survivor(move |me| [others.take(me), others.take(me)]);
    ends(producers);
    assert_eq!(consumer.join().expect("it lives"), [SHORT, SHORT]);
    assert_eq!(shared.drain().0, [OTHER, OTHER]);
}

#[test]
fn two_sleeping_producers_get_the_room_of_two_messages() {
    Model::new("queue: two producers sleep, two takes").run(|| two_producers_two_takes(true));
}

#[test]
fn the_models_see_a_producer_that_does_not_pass_its_call_on() {
    Model::new("queue: planted, a producer keeps its call")
        .must_fail("a wake was lost", |model| model.run(|| two_producers_two_takes(false)));
}

/// Two consumers may sleep while a message is put and the queue is ended: the call for the message
/// clears the mark of both, the end must reach the other all the same.
fn two_consumers_and_the_end(notify: fn(&EventCount)) {
    let shared = Shared::at(0);
    let (theirs, others) = (shared.clone(), shared);
    let consumers = two(move |me| theirs.take_or_end(me));
    let producer = survivor(move |me| {
        others.put(me, SHORT);
        others.shut_down(me, notify);
    });
    let got = ends(consumers);
    producer.join().expect("it lives");
    assert_eq!(got.iter().flatten().count(), 1);
}

#[test]
fn all_who_sleep_learn_of_the_end() {
    Model::new("queue: two consumers sleep, a put, a shutdown")
        .preemptions(1)
        .run(|| two_consumers_and_the_end(EventCount::notify_all));
}

#[test]
fn the_models_see_a_shutdown_that_trusts_the_mark() {
    Model::new("queue: planted, a shutdown calls only who is marked").preemptions(1).must_fail(
        "a wake was lost",
        |model| {
            model.run(|| two_consumers_and_the_end(|event| event.notify(u32::MAX)));
        },
    );
}
