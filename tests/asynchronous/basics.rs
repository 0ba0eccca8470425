//! One process: order, room, joins, delays, ends.

use std::sync::Arc;
use std::time::Duration;

use steadfast::{GetError, PutError, Queue, Shutdown};
use tokio::task::{JoinSet, yield_now};

use crate::{SHORT, block_on, numbers, on_runtimes, several_threads, small, support, work};

#[test]
fn messages_arrive_in_order_through_a_full_and_an_empty_queue() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = numbers("order", &small().maxsize(3));
        let putter = queue.clone();
        let put = tokio::spawn(async move {
            for number in 0..500 {
                putter.put_async(&number).await.unwrap();
            }
        });
        for number in 0..500 {
            assert_eq!(queue.get_async().await.unwrap(), number);
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        put.await.unwrap();
    });
}

#[test]
fn any_executor_will_do() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("any", &small().maxsize(1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..100 {
                block_on(queue.put_async(&number)).unwrap();
            }
        });
        for number in 0..100 {
            assert_eq!(block_on(queue.get_async()).unwrap(), number);
        }
    });
}

#[test]
fn tasks_and_threads_wait_side_by_side() {
    const EACH: u64 = 300;
    let _dog = support::watchdog();
    let (_name, queue) = numbers("mixed", &small().maxsize(4));
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (blocking, shared) = (queue.clone(), Arc::clone(&seen));
    let getter = std::thread::spawn(move || {
        while let Ok(number) = blocking.get() {
            shared.lock().unwrap().push(number);
        }
    });
    let blocking = queue.clone();
    let putter = std::thread::spawn(move || (0..EACH).for_each(|n| blocking.put(&n).unwrap()));
    several_threads().block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let (queue, seen) = (queue.clone(), Arc::clone(&seen));
            tasks.spawn(async move {
                while let Ok(number) = queue.get_async().await {
                    seen.lock().unwrap().push(number);
                }
            });
        }
        for number in EACH..2 * EACH {
            queue.put_async(&number).await.unwrap();
        }
        putter.join().unwrap();
        queue.shutdown(Shutdown::Drain).unwrap();
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
    getter.join().unwrap();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..2 * EACH));
}

#[test]
fn a_batch_wakes_as_many_as_it_has_messages() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = numbers("batch", &small());
        let mut tasks = JoinSet::new();
        for _ in 0..40 {
            let queue = queue.clone();
            tasks.spawn(async move { queue.get_async().await.unwrap() });
        }
        yield_now().await;
        queue.put_many(&(0..40_u64).collect::<Vec<_>>()).unwrap();
        let mut sum = 0;
        while let Some(got) = tasks.join_next().await {
            sum += got.unwrap();
        }
        assert_eq!(sum, 39 * 40 / 2);
    });
}

#[test]
fn a_shutdown_wakes_all() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_empty, empty) = numbers("empty", &small());
        let (_full, full) = numbers("full", &small().maxsize(1));
        full.put(&0).unwrap();
        let mut tasks = JoinSet::new();
        for at in 0..60 {
            let (empty, full) = (empty.clone(), full.clone());
            tasks.spawn(async move {
                match at % 2 {
                    0 => matches!(empty.get_async().await, Err(GetError::Closed)),
                    _ => matches!(full.put_async(&at).await, Err(PutError::Closed)),
                }
            });
        }
        tokio::time::sleep(SHORT).await;
        empty.shutdown(Shutdown::Drain).unwrap();
        full.shutdown(Shutdown::Now).unwrap();
        while let Some(right) = tasks.join_next().await {
            assert!(right.unwrap());
        }
    });
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("wrong", &small().maxsize(1));
    queue.put(&1).unwrap();
    let mut closed = queue.clone();
    closed.close();
    assert!(matches!(block_on(closed.put_async(&2)), Err(PutError::HandleClosed)));
    assert!(matches!(block_on(closed.get_async()), Err(GetError::HandleClosed)));
    let (_name, queue) = numbers("wrong", &small().single_producer().single_consumer());
    assert!(matches!(block_on(queue.put_async(&2)), Err(PutError::SingleRole)));
    assert!(matches!(block_on(queue.get_async()), Err(GetError::SingleRole)));
    let name = support::Name::new("large");
    let bytes: Queue = Queue::create(&name, &small().maxsize(1)).unwrap();
    bytes.put(b"full").unwrap();
    let large = vec![0; 1 << 20];
    assert!(matches!(block_on(bytes.put_async(&large)), Err(PutError::TooLarge { .. })));
}

#[test]
fn single_roles_wait_too() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let options = small().maxsize(2).single_producer().single_consumer();
        let (_name, queue) = numbers("roles", &options);
        let (mut producer, mut consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
        let put = tokio::spawn(async move {
            for number in 0..300 {
                producer.put_async(&number).await.unwrap();
            }
        });
        for number in 0..300 {
            assert_eq!(consumer.get_async().await.unwrap(), number);
        }
        put.await.unwrap();
    });
}

#[test]
fn a_join_waits_for_the_last_acknowledgement() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = work("join");
        queue.join_async().await.unwrap();
        for number in 0..20 {
            queue.put_async(&number).await.unwrap();
        }
        let mut joins = JoinSet::new();
        for _ in 0..5 {
            let queue = queue.clone();
            joins.spawn(async move { queue.join_async().await.unwrap() });
        }
        let mut last = None;
        for number in 0..20 {
            let lease = queue.get_async().await.unwrap();
            assert_eq!(lease.value().unwrap(), number);
            if number < 19 {
                lease.ack().unwrap();
            } else {
                last = Some(lease);
            }
        }
        tokio::time::sleep(SHORT).await;
        assert!(joins.try_join_next().is_none());
        last.unwrap().ack().unwrap();
        while let Some(joined) = joins.join_next().await {
            joined.unwrap();
        }
    });
}

#[test]
fn a_delayed_message_wakes_a_task_when_it_is_due_and_not_before() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = work("delayed");
        queue.put(&1).unwrap();
        queue.put(&2).unwrap();
        let start = std::time::Instant::now();
        let delay = Duration::from_millis(40);
        queue.try_get().unwrap().nack_after(delay).unwrap();
        queue.try_get().unwrap().nack_after(delay * 2).unwrap();
        // It is due although the queue was shut down meanwhile.
        queue.shutdown(Shutdown::Drain).unwrap();
        let lease = queue.get_async().await.unwrap();
        assert!(start.elapsed() >= delay);
        assert_eq!((lease.value().unwrap(), lease.attempt()), (1, 2));
        lease.ack().unwrap();
        queue.get_async().await.unwrap().ack().unwrap();
        assert!(start.elapsed() >= delay * 2);
        queue.join_async().await.unwrap();
        assert!(matches!(queue.get_async().await, Err(GetError::Closed)));
    });
}

#[test]
fn a_joinable_queue_without_room_in_its_store_lets_tasks_wait() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = work("store");
        let mut put = 0_u64;
        while queue.try_put(&put).is_ok() {
            put += 1;
        }
        let more = queue.clone();
        let putter = tokio::spawn(async move {
            for number in put..put + 100 {
                more.put_async(&number).await.unwrap();
            }
        });
        for number in 0..put + 100 {
            let lease = queue.get_async().await.unwrap();
            assert_eq!(lease.value().unwrap(), number);
            lease.ack().unwrap();
        }
        putter.await.unwrap();
    });
}
