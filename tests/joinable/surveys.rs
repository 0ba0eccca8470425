//! Looks for the dead while others work.

use std::sync::atomic::{AtomicBool, Ordering};

use std::time::{Duration, Instant};

use steadfast::{GetError, Queue, QueueOptions, Shutdown};

use crate::support::child::Child;
use crate::{bytes, bytes_with, small, support};

#[test]
fn who_attaches_does_not_disturb_a_single_producer_that_goes_on() {
    let _watchdog = support::watchdog();
    let name = support::Name::new("single-survey");
    let options = QueueOptions::new()
        .capacity(4096)
        .large_messages(64 << 10)
        .single_producer()
        .single_consumer();
    let queue: Queue = Queue::create(&name, &options).unwrap();
    let (mut producer, mut consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for nth in 0..100_000_u64 {
                let len = if nth % 64 == 0 { 2000 } else { 8 };
                let mut item = vec![0; len];
                item[..8].copy_from_slice(&nth.to_ne_bytes());
                producer.put(&item).unwrap();
            }
        });
        scope.spawn(|| {
            for nth in 0..100_000_u64 {
                assert_eq!(consumer.get().unwrap()[..8], nth.to_ne_bytes());
            }
            done.store(true, Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Queue::<[u8]>::open(&name).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_consumer_that_dies_with_many_last_attempts_holds_nobody_up() {
    const MANY: u32 = 5000;
    let _watchdog = support::watchdog();
    let options = small().capacity(1 << 20).max_deliveries(1).max_dead_letters(3);
    let (name, queue) = bytes_with("many-dead", &options);
    (0..MANY).for_each(|item| queue.put(&item.to_ne_bytes()).unwrap());
    let mut holder = Child::spawn("hold", &[&*name, &MANY.to_string()]);
    holder.expect("held");
    holder.kill();
    let start = Instant::now();
    queue.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let letters: Vec<u64> =
        queue.dead_letters().unwrap().iter().map(|letter| letter.sequence).collect();
    let newest = u64::from(MANY);
    assert_eq!(letters, [newest - 2, newest - 1, newest]);
    assert_eq!(queue.purge().unwrap(), 3);
    assert_eq!(queue.purge().unwrap(), 0);
    queue.try_put(&vec![1; queue.max_len()]).unwrap();
}

#[test]
fn the_last_acknowledgement_after_a_drain_calls_who_joins_at_once() {
    let _watchdog = support::watchdog();
    let mut slow = 0;
    for _ in 0..5 {
        let (_name, queue) = bytes("drain-join");
        queue.put(b"it").unwrap();
        let lease = queue.get().unwrap();
        queue.shutdown(Shutdown::Drain).unwrap();
        assert!(matches!(queue.try_get(), Err(GetError::Closed)));
        std::thread::scope(|scope| {
            let joining = scope.spawn(|| {
                queue.join().unwrap();
                Instant::now()
            });
            // Just behind the beginning of a sleep.
            std::thread::sleep(Duration::from_millis(20));
            let done = Instant::now();
            lease.ack().unwrap();
            let joined = joining.join().unwrap();
            slow += u32::from(joined - done > Duration::from_millis(50));
        });
    }
    assert!(slow < 3, "{slow}");
}
