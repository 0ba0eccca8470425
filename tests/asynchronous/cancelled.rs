//! A future that is dropped before it is ready did nothing, and its call goes to another.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use steadfast::{GetError, Shutdown};
use tokio::task::JoinSet;

use crate::support::{self, Rng, wait_until};
use crate::{Counting, numbers, on_runtimes, poll, several_threads, small, work};

#[test]
fn a_cancelled_get_takes_nothing_and_a_cancelled_put_puts_nothing() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("cancel", &small().maxsize(1));
    let counting = Arc::new(Counting::default());
    {
        let mut get = pin!(queue.get_async());
        assert!(poll(&mut get, &counting).is_pending());
        queue.put(&7).unwrap();
        wait_until("the task is woken", || counting.count() > 0);
    }
    assert_eq!(queue.qsize().unwrap(), 1);
    {
        let mut put = pin!(queue.put_async(&8));
        assert!(poll(&mut put, &counting).is_pending());
    }
    assert_eq!(queue.try_get().unwrap(), 7);
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    // Made and never polled.
    drop(queue.put_async(&9));
    drop(queue.get_async());
    assert!(queue.is_empty().unwrap());
}

#[test]
fn the_call_of_a_cancelled_task_goes_to_the_next_one_at_once() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("pass-on", &small());
    for _ in 0..20 {
        let (first, second) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        let mut one = Box::pin(queue.get_async());
        let mut other = pin!(queue.get_async());
        assert!(poll(&mut one.as_mut(), &first).is_pending());
        assert!(poll(&mut other, &second).is_pending());
        queue.put(&1).unwrap();
        wait_until("the first task is woken", || first.count() > 0);
        let before = second.count();
        drop(one);
        assert!(second.count() > 0, "the call was not passed on; it had {before}");
        assert!(matches!(poll(&mut other, &second), Poll::Ready(Ok(1))));
    }
}

#[test]
fn the_call_of_a_task_that_is_never_polled_goes_on_after_a_backstop() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("hostage", &small());
    let (first, second) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let (mut one, mut other) = (pin!(queue.get_async()), pin!(queue.get_async()));
    assert!(poll(&mut one, &first).is_pending());
    assert!(poll(&mut other, &second).is_pending());
    queue.put(&1).unwrap();
    wait_until("the second task is woken", || second.count() > 0);
    assert!(matches!(poll(&mut other, &second), Poll::Ready(Ok(1))));
    assert!(poll(&mut one, &first).is_pending());
}

#[test]
fn the_call_of_a_cancelled_task_goes_to_a_thread_if_no_task_waits() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("to-thread", &small());
    for round in 0..20 {
        let counting = Arc::new(Counting::default());
        let mut get = Box::pin(queue.get_async());
        assert!(poll(&mut get.as_mut(), &counting).is_pending());
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| queue.get().unwrap());
            queue.put(&round).unwrap();
            drop(get);
            assert_eq!(thread.join().unwrap(), round);
        });
    }
}

#[test]
fn the_call_of_a_cancelled_put_goes_to_the_next_one() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("pass-on-put", &small().maxsize(1));
    for _ in 0..20 {
        queue.put(&1).unwrap();
        let (first, second) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        let mut one = Box::pin(queue.put_async(&2));
        let mut other = pin!(queue.put_async(&3));
        assert!(poll(&mut one.as_mut(), &first).is_pending());
        assert!(poll(&mut other, &second).is_pending());
        assert_eq!(queue.get().unwrap(), 1);
        wait_until("the first task is woken", || first.count() > 0);
        drop(one);
        assert!(second.count() > 0, "the call was not passed on");
        assert!(matches!(poll(&mut other, &second), Poll::Ready(Ok(()))));
        assert_eq!(queue.get().unwrap(), 3);
    }
}

/// Gets and puts whose time is up again and again: every number arrives once.
#[test]
fn a_storm_of_time_outs_loses_nothing_and_doubles_nothing() {
    const NUMBERS: u64 = 3000;
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = numbers("storm", &small().maxsize(3));
        let next = Arc::new(AtomicU64::new(0));
        let mut putters = JoinSet::new();
        for seed in 0..4 {
            let (queue, next) = (queue.clone(), Arc::clone(&next));
            putters.spawn(async move {
                let mut rng = Rng::new(seed);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= NUMBERS {
                        return;
                    }
                    loop {
                        let time = Duration::from_micros(rng.below(300));
                        let put = queue.put_async(&number);
                        if let Ok(put) = tokio::time::timeout(time, put).await {
                            put.unwrap();
                            break;
                        }
                    }
                }
            });
        }
        let mut getters = JoinSet::new();
        for seed in 10..14 {
            let queue = queue.clone();
            getters.spawn(async move {
                let (mut rng, mut seen) = (Rng::new(seed), Vec::new());
                loop {
                    tokio::select! {
                        biased;
                        got = queue.get_async() => match got {
                            Ok(number) => seen.push(number),
                            Err(GetError::Closed) => return seen,
                            Err(other) => panic!("{other}"),
                        },
                        () = tokio::time::sleep(Duration::from_micros(rng.below(300))) => {}
                        () = tokio::task::yield_now(), if rng.below(4) == 0 => {}
                    }
                }
            });
        }
        while let Some(done) = putters.join_next().await {
            done.unwrap();
        }
        queue.shutdown(Shutdown::Drain).unwrap();
        let mut seen = Vec::new();
        while let Some(some) = getters.join_next().await {
            seen.extend(some.unwrap());
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..NUMBERS));
    });
}

/// The same with leases: what a cancelled task has not got is not leased.
#[test]
fn a_storm_of_time_outs_leaves_no_lease_behind() {
    const NUMBERS: u64 = 500;
    let _dog = support::watchdog();
    let (_name, queue) = work("leases");
    several_threads().block_on(async {
        let mut getters = JoinSet::new();
        for seed in 0..4 {
            let queue = queue.clone();
            getters.spawn(async move {
                let (mut rng, mut done) = (Rng::new(seed), 0);
                loop {
                    let time = Duration::from_micros(rng.below(200));
                    match tokio::time::timeout(time, queue.get_async()).await {
                        Ok(Ok(lease)) => {
                            assert_eq!(lease.attempt(), 1, "somebody had it before");
                            lease.ack().unwrap();
                            done += 1;
                        }
                        Ok(Err(GetError::Closed)) => return done,
                        Ok(Err(other)) => panic!("{other}"),
                        Err(_) => {}
                    }
                }
            });
        }
        for number in 0..NUMBERS {
            queue.put_async(&number).await.unwrap();
            if number % 16 == 0 {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        }
        queue.join_async().await.unwrap();
        queue.shutdown(Shutdown::Drain).unwrap();
        let mut done = 0;
        while let Some(some) = getters.join_next().await {
            done += some.unwrap();
        }
        assert_eq!(done, NUMBERS);
    });
}
