//! What Python's `JoinableQueue` does, behaviour by behaviour, and what differs on purpose (see
//! `docs/differences.md`).

use std::thread;
use std::time::Duration;

use serde::ser::Error;
use serde::{Deserialize, Serialize, Serializer};
use steadfast::{GetError, JoinError, JoinableQueue, LeaseError, PutError, Shutdown};

use crate::support::child::{self, Child};
use crate::support::{Name, proc, watchdog};
use crate::{LONG, SHORT, bytes, bytes_with, drain, small};

/// Child: joins, and says so before and after.
pub fn join(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    child::tell(proc::tid());
    queue.join().unwrap();
    child::tell("joined");
}

/// Child: takes by value, and declares each done, until there is an empty one.
pub fn work_by_value(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    loop {
        let item = queue.get_value().unwrap();
        queue.task_done().unwrap();
        if item.is_empty() {
            return;
        }
    }
}

#[test]
fn a_message_is_unfinished_before_it_is_visible() {
    let _dog = watchdog();
    let (_name, queue) = bytes("visible");
    let putter = queue.clone();
    let putting = thread::spawn(move || (0..500).for_each(|_| putter.put(b"work").unwrap()));
    for _ in 0..500 {
        let lease = queue.get().unwrap();
        assert!(queue.unfinished().unwrap() >= 1);
        assert!(matches!(queue.join_timeout(Duration::ZERO), Err(JoinError::TimedOut)));
        lease.ack().unwrap();
    }
    putting.join().unwrap();
    queue.join().unwrap();
}

#[test]
fn join_returns_at_once_when_nothing_was_put() {
    let _dog = watchdog();
    let (_name, queue) = bytes("fresh");
    queue.join().unwrap();
    queue.join_timeout(Duration::ZERO).unwrap();
    assert_eq!(queue.unfinished().unwrap(), 0);
}

#[test]
fn task_done_is_called_once_for_each_message_and_once_more_is_an_error() {
    let (_name, queue) = bytes("once");
    for _ in 0..3 {
        queue.put(b"work").unwrap();
    }
    for left in [2, 1, 0] {
        queue.get_value().unwrap();
        queue.task_done().unwrap();
        assert_eq!(queue.unfinished().unwrap(), left);
    }
    let error = queue.task_done().unwrap_err();
    assert!(matches!(error, LeaseError::TooMany));
    assert!(error.to_string().contains("too many times"), "{error}");
    // The error changed nothing.
    queue.put(b"work").unwrap();
    assert_eq!(queue.unfinished().unwrap(), 1);
}

#[test]
fn joiners_of_all_processes_wake_when_the_last_is_done_and_it_may_fill_again() {
    let _dog = watchdog();
    let (name, queue) = bytes("joiners");
    for _ in 0..2 {
        queue.put(b"one").unwrap();
        queue.put(b"two").unwrap();
        let mut joiners: Vec<Child> = (0..3).map(|_| Child::spawn("join", &[&*name])).collect();
        for joiner in &mut joiners {
            let tid = joiner.hear().parse().unwrap();
            proc::wait_until_asleep(joiner.pid(), tid);
        }
        queue.get().unwrap().ack().unwrap();
        assert!(joiners.iter_mut().all(Child::is_silent));
        queue.get().unwrap().ack().unwrap();
        for mut joiner in joiners {
            joiner.expect("joined");
            joiner.finish();
        }
    }
}

#[test]
fn workers_that_call_task_done_for_all_they_got_let_join_return() {
    let _dog = watchdog();
    let (name, queue) = bytes("workers");
    let workers: Vec<Child> = (0..3).map(|_| Child::spawn("work_by_value", &[&*name])).collect();
    (0..100_u8).for_each(|item| queue.put(&[item]).unwrap());
    queue.join().unwrap();
    assert!(queue.is_empty().unwrap());
    (0..3).for_each(|_| queue.put(b"").unwrap());
    queue.join().unwrap();
    workers.into_iter().for_each(Child::finish);
}

#[test]
fn task_done_counts_only_what_the_calling_thread_took_by_value() {
    let (_name, queue) = bytes("own");
    let (_other_name, other) = bytes("other");
    queue.put(b"leased").unwrap();
    queue.put(b"by value").unwrap();
    other.put(b"elsewhere").unwrap();
    let lease = queue.get().unwrap();
    assert!(matches!(queue.task_done(), Err(LeaseError::TooMany)), "a lease is not by value");
    other.get_value().unwrap();
    assert!(matches!(queue.task_done(), Err(LeaseError::TooMany)), "of another queue");
    queue.get_value().unwrap();
    let theirs = queue.clone();
    let result = thread::spawn(move || theirs.task_done()).join().unwrap();
    assert!(matches!(result, Err(LeaseError::TooMany)), "of another thread");
    // Any handle of the queue will do.
    queue.clone().task_done().unwrap();
    other.task_done().unwrap();
    lease.ack().unwrap();
    queue.join().unwrap();
    other.join().unwrap();
}

#[test]
fn a_thread_that_ends_gives_back_what_it_took_by_value() {
    let _dog = watchdog();
    let (_name, queue) = bytes("thread");
    queue.put(b"one").unwrap();
    queue.put(b"two").unwrap();
    let theirs = queue.clone();
    thread::spawn(move || {
        theirs.get_value().unwrap();
        theirs.get_value().unwrap();
        theirs.task_done().unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(queue.unfinished().unwrap(), 1);
    let lease = queue.try_get().unwrap();
    assert_eq!((lease.value().unwrap(), lease.attempt()), (b"two".to_vec(), 2));
    lease.ack().unwrap();
}

#[test]
fn a_queue_without_maxsize_is_bounded_by_its_bytes_alone() {
    let (_name, queue) = bytes("unbounded");
    assert_eq!(queue.maxsize(), 0);
    for item in 0..900_u32 {
        queue.try_put(&item.to_ne_bytes()).unwrap();
    }
    assert_eq!((queue.qsize().unwrap(), drain(&queue).len()), (900, 900));
}

#[test]
fn a_full_queue_refuses_at_once_or_after_the_time_out() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("full", &small().maxsize(1));
    queue.put(b"first").unwrap();
    assert!(matches!(queue.try_put(b"x"), Err(PutError::Full)));
    assert!(matches!(queue.put_nowait(b"x"), Err(PutError::Full)));
    assert!(matches!(queue.put_timeout(b"x", Duration::ZERO), Err(PutError::TimedOut)));
    assert!(matches!(queue.put_timeout(b"x", SHORT), Err(PutError::TimedOut)));
    assert_eq!(queue.unfinished().unwrap(), 1, "what was refused is not unfinished");
    assert_eq!(drain(&queue), [b"first"]);
}

#[test]
fn an_empty_queue_answers_at_once_or_after_the_time_out() {
    let _dog = watchdog();
    let (_name, queue) = bytes("empty");
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    assert!(matches!(queue.get_nowait(), Err(GetError::Empty)));
    assert!(matches!(queue.get_timeout(Duration::ZERO), Err(GetError::TimedOut)));
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::TimedOut)));
    assert!(matches!(queue.try_get_value(), Err(GetError::Empty)));
    assert!(matches!(queue.get_value_timeout(SHORT), Err(GetError::TimedOut)));
    queue.put(b"it").unwrap();
    assert_eq!(queue.get_value_timeout(LONG).unwrap(), b"it");
    queue.task_done().unwrap();
}

#[test]
fn qsize_and_is_empty_are_true_to_the_last_put_and_get() {
    let (name, queue) = bytes("qsize");
    let other: JoinableQueue = JoinableQueue::open(&name).unwrap();
    for size in 0..5 {
        assert_eq!((other.qsize().unwrap(), other.is_empty().unwrap()), (size, size == 0));
        queue.put(b"it").unwrap();
    }
    for size in (0..5).rev() {
        let lease = queue.get().unwrap();
        assert_eq!((other.qsize().unwrap(), other.is_empty().unwrap()), (size, size == 0));
        lease.ack().unwrap();
    }
}

#[test]
fn close_is_of_one_handle_and_join_thread_needs_it() {
    let (name, mut queue) = bytes("close");
    let clone = queue.clone();
    queue.put(b"it").unwrap();
    assert!(queue.join_thread().is_err());
    queue.cancel_join_thread();
    queue.close();
    queue.join_thread().unwrap();
    assert!(matches!(queue.put(b"x"), Err(PutError::HandleClosed)));
    assert!(matches!(queue.put_many(&[*b"x"]), Err(PutError::HandleClosed)));
    assert!(matches!(queue.try_reserve(1), Err(PutError::HandleClosed)));
    assert!(matches!(queue.get(), Err(GetError::HandleClosed)));
    assert!(matches!(queue.get_value(), Err(GetError::HandleClosed)));
    assert!(!queue.is_empty().unwrap());
    assert!(matches!(queue.clone().get(), Err(GetError::HandleClosed)), "a clone is closed too");
    assert_eq!(clone.get_value().unwrap(), b"it");
    queue.task_done().unwrap();
    queue.join().unwrap();
    JoinableQueue::<[u8]>::open(&name).unwrap().put(b"another").unwrap();
    assert_eq!(drain(&clone), [b"another"]);
}

#[test]
fn a_process_that_ends_with_unread_messages_ends_and_they_stay() {
    let _dog = watchdog();
    let (name, queue) = bytes("unread");
    let mut producer = Child::spawn("put", &[&*name, "60000"]);
    producer.expect("put");
    producer.finish();
    assert_eq!(drain(&queue), [vec![1; 60_000]]);
}

#[test]
fn messages_of_one_producer_keep_their_order_beside_those_of_others() {
    let _dog = watchdog();
    let (_name, queue) = bytes("order");
    let producers: Vec<_> = (0..3_u8)
        .map(|who| {
            let queue = queue.clone();
            thread::spawn(move || (0..200_u8).for_each(|item| queue.put(&[who, item]).unwrap()))
        })
        .collect();
    let mut next = [0_u8; 3];
    for _ in 0..600 {
        let lease = queue.get().unwrap();
        let item = lease.value().unwrap();
        assert_eq!(item[1], next[usize::from(item[0])]);
        next[usize::from(item[0])] += 1;
        lease.ack().unwrap();
    }
    producers.into_iter().for_each(|producer| producer.join().unwrap());
}

#[derive(Debug, PartialEq, Deserialize)]
enum Awkward {
    Good,
    Bad,
}

impl Serialize for Awkward {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Awkward::Good => serializer.serialize_unit_variant("Awkward", 0, "Good"),
            Awkward::Bad => Err(S::Error::custom("on purpose")),
        }
    }
}

#[test]
fn a_value_that_cannot_be_written_is_refused_and_later_ones_go_through() {
    let name = Name::new("awkward");
    let queue: JoinableQueue<Awkward> = JoinableQueue::create(&name, &small()).unwrap();
    assert!(matches!(queue.put(&Awkward::Bad), Err(PutError::Serialize(_))));
    let batch = [Awkward::Good, Awkward::Bad];
    assert!(matches!(queue.put_many(&batch), Err(PutError::Serialize(_))));
    assert_eq!((queue.qsize().unwrap(), queue.unfinished().unwrap()), (0, 0));
    queue.put(&Awkward::Good).unwrap();
    assert_eq!(queue.get_value().unwrap(), Awkward::Good);
    queue.task_done().unwrap();
    queue.join().unwrap();
}

#[test]
fn a_shutdown_reaches_every_process_and_lets_join_return() {
    let _dog = watchdog();
    let (name, queue) = bytes("shutdown");
    queue.put(b"never taken").unwrap();
    let mut joiner = Child::spawn("join", &[&*name]);
    let tid = joiner.hear().parse().unwrap();
    proc::wait_until_asleep(joiner.pid(), tid);
    queue.shutdown(Shutdown::Drain).unwrap();
    assert!(joiner.is_silent(), "what is left is still to be done");
    assert_eq!(queue.shutdown(Shutdown::Now).unwrap(), 1);
    joiner.expect("joined");
    joiner.finish();
}
