//! Killed processes, and tasks that wait for what they leave.

use std::pin::pin;
use std::sync::Arc;

use steadfast::{JoinableQueue, Queue};

use crate::support::child::{self, Child};
use crate::support::wait_until;
use crate::{Counting, SHORT, numbers, on_runtimes, one_thread, poll, small, support, work};

/// Child: puts ever greater numbers.
pub fn put_for_ever(arguments: &[String]) {
    let queue = Queue::<u64>::open(&arguments[0]).unwrap();
    let mut number: u64 = arguments[1].parse().unwrap();
    loop {
        one_thread().block_on(queue.put_async(&number)).unwrap();
        number += 1;
    }
}

/// Child: leases one message, and waits to be killed.
pub fn hold(arguments: &[String]) {
    let queue = JoinableQueue::<u64>::open(&arguments[0]).unwrap();
    let lease = one_thread().block_on(queue.get_async()).unwrap();
    child::tell("held");
    child::hear();
    drop(lease);
}

/// Child: a task that is called, and does not come.
pub fn be_called(arguments: &[String]) {
    let queue = Queue::<u64>::open(&arguments[0]).unwrap();
    let counting = Arc::new(Counting::default());
    let mut get = pin!(queue.get_async());
    assert!(poll(&mut get, &counting).is_pending());
    child::tell("waiting");
    wait_until("the task is called", || counting.count() > 0);
    child::tell("called");
    child::hear();
}

#[test]
fn the_numbers_of_producers_that_are_killed_are_without_gaps() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (name, queue) = numbers("killed", &small().maxsize(5));
        let mut next = 0;
        for _ in 0..8 {
            let child = Child::spawn("put_for_ever", &[&name, &next.to_string()]);
            for _ in 0..50 {
                assert_eq!(queue.get_async().await.unwrap(), next);
                next += 1;
            }
            child.kill();
            while let Ok(number) = queue.try_get() {
                assert_eq!(number, next);
                next += 1;
            }
        }
    });
}

#[test]
fn what_a_killed_consumer_held_wakes_a_task_and_then_a_join() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (name, queue) = work("held");
        queue.put(&5).unwrap();
        let mut child = Child::spawn("hold", &[&name]);
        child.expect("held");
        let (getter, joiner) = (queue.clone(), queue.clone());
        let get = tokio::spawn(async move { getter.get_async().await.unwrap() });
        let join = tokio::spawn(async move { joiner.join_async().await.unwrap() });
        tokio::time::sleep(SHORT).await;
        assert!(!get.is_finished() && !join.is_finished());
        child.kill();
        let lease = get.await.unwrap();
        assert_eq!((lease.value().unwrap(), lease.attempt()), (5, 2));
        lease.ack().unwrap();
        join.await.unwrap();
    });
}

#[test]
fn a_call_that_a_killed_process_got_is_not_lost() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (name, queue) = numbers("called", &small());
        let mut child = Child::spawn("be_called", &[&name]);
        child.expect("waiting");
        let getter = queue.clone();
        let get = tokio::spawn(async move { getter.get_async().await.unwrap() });
        // Whichever of the two is called.
        queue.put(&1).unwrap();
        child.kill();
        assert_eq!(get.await.unwrap(), 1);
    });
}
