//! Lock shapes, mutual exclusion, and what open checks.

use std::time::{Duration, Instant};

use steadfast::{LockError, Mutex, PthreadMutex, Queue, QueueOptions, Segment, SegmentError};

use super::hand::{clean, open, pair, spawn};
use super::{Lock, NAME};
use crate::support::child::Child;
use crate::support::{Name, watchdog};
use crate::{LONG, Pair, SHORT, options};

const ROUNDS: u64 = 4000;

/// Child: raises both numbers many times, in steps that a second owner would tear.
pub fn count(arguments: &[String]) {
    let mutex = open(&arguments[0]);
    for round in 0..ROUNDS {
        let mut guard = match round % 3 {
            0 => mutex.lock_timeout(LONG).unwrap(),
            1 => mutex.lock().unwrap(),
            _ => loop {
                match mutex.try_lock() {
                    Ok(guard) => break guard,
                    Err(LockError::WouldBlock) => std::thread::yield_now(),
                    Err(other) => panic!("{other:?}"),
                }
            },
        };
        raise(&mut guard, round);
    }
}

fn raise(pair: &mut Pair, round: u64) {
    assert_eq!(pair.first, pair.second, "two owners at once");
    pair.first = std::hint::black_box(pair.first) + 1;
    if round.is_multiple_of(97) {
        std::thread::yield_now(); // lets the others run into the lock
    }
    pair.second = std::hint::black_box(pair.second) + 1;
}

#[test]
fn one_process_at_a_time() {
    let _dog = watchdog();
    let (name, mutex) = pair("exclusion");
    let children: Vec<Child> = (0..4).map(|_| spawn("count", &[&name])).collect();
    for child in children {
        child.finish();
    }
    let wanted = 4 * ROUNDS;
    assert_eq!(clean(&mutex), Pair { first: wanted, second: wanted });
}

#[test]
fn one_thread_at_a_time() {
    let _dog = watchdog();
    let (name, mutex) = pair("exclusion");
    let other = open(&name);
    std::thread::scope(|scope| {
        for mutex in [&mutex, &other, &mutex, &other] {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    raise(&mut mutex.lock().unwrap(), round);
                }
            });
        }
    });
    assert_eq!(clean(&mutex).second, 4 * ROUNDS);
}

#[test]
fn every_shape_takes_a_free_lock() {
    let _dog = watchdog();
    let (_name, mutex) = pair("free");
    for _ in 0..100 {
        mutex.lock().unwrap().first += 1;
        mutex.try_lock().unwrap().first += 1;
        mutex.lock_timeout(Duration::ZERO).unwrap().first += 1;
        mutex.lock_timeout(SHORT).unwrap().first += 1;
        mutex.lock_timeout(Duration::MAX).unwrap().first += 1;
        mutex.repair(|pair| pair.first += 1).unwrap();
    }
    assert_eq!(clean(&mutex).first, 600);
}

#[test]
fn shapes_on_a_lock_held_by_a_sibling_thread() {
    let _dog = watchdog();
    let (name, mutex) = pair("held");
    let other = open(&name);
    let guard = mutex.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for mutex in [&mutex, &other] {
                assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
                let polled = mutex.lock_timeout(Duration::ZERO);
                assert!(matches!(polled, Err(LockError::TimedOut)));
                let start = Instant::now();
                assert!(matches!(mutex.lock_timeout(SHORT), Err(LockError::TimedOut)));
                assert!(start.elapsed() >= SHORT);
            }
        });
    });
    drop(guard);
    drop(other.try_lock().unwrap());
}

#[test]
fn a_blocked_lock_is_woken() {
    let _dog = watchdog();
    let (_name, mutex) = pair("woken");
    for _ in 0..5 {
        let guard = mutex.lock().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let mutex = &mutex;
            scope.spawn(move || {
                send.send(crate::support::proc::tid()).unwrap();
                mutex.lock().unwrap().first += 1;
            });
            let tid = receive.recv().unwrap();
            crate::support::proc::wait_until_asleep(std::process::id() as i32, tid);
            drop(guard);
        });
    }
    assert_eq!(clean(&mutex).first, 5);
}

#[test]
fn lock_by_the_same_thread_is_a_deadlock() {
    let _dog = watchdog();
    let (name, mutex) = pair("deadlock");
    let other = open(&name);
    let mut guard = mutex.lock().unwrap();
    for mutex in [&mutex, &other] {
        assert!(matches!(mutex.lock(), Err(LockError::Deadlock)));
        assert!(matches!(mutex.lock_timeout(LONG), Err(LockError::Deadlock)));
        assert!(matches!(mutex.repair(|_| ()), Err(LockError::Deadlock)));
        let tried = mutex.try_lock();
        assert!(matches!(tried, Err(LockError::Deadlock | LockError::WouldBlock)));
    }
    guard.first = 7;
    drop(guard);
    assert_eq!(clean(&other).first, 7);
}

#[test]
fn create_and_open() {
    let _dog = watchdog();
    let name = Name::new("create");
    let open = || Lock::<Pair>::open(&name);
    let create = |first| Lock::<Pair>::create(&name, Pair { first, second: 0 }, &options());
    assert!(matches!(open(), Err(SegmentError::NotFound { .. })));
    let made = create(1).unwrap();
    assert!(matches!(create(2), Err(SegmentError::AlreadyExists { .. })));
    assert_eq!(clean(&open().unwrap()).first, 1);
    let either = Lock::<Pair>::open_or_create(&name, Pair::default(), &options()).unwrap();
    assert_eq!(clean(&either).first, 1);
    Segment::unlink(&name).unwrap();
    made.lock().unwrap().first = 5;
    assert_eq!(clean(&either).first, 5);
    assert!(matches!(open(), Err(SegmentError::NotFound { .. })));
}

#[test]
fn one_of_many_creators_wins() {
    let _dog = watchdog();
    for _ in 0..30 {
        let name = Name::new("creators");
        let name: &str = &name;
        let values: Vec<u64> = std::thread::scope(|scope| {
            let make = |first| {
                let value = Pair { first, second: first };
                clean(&Lock::<Pair>::open_or_create(name, value, &options()).unwrap()).first
            };
            let threads: Vec<_> = (1..5).map(|n| scope.spawn(move || make(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    }
}

#[test]
fn a_value_of_another_size_or_kind_is_refused() {
    let _dog = watchdog();
    let (name, mutex) = pair("mismatch");
    let sizes = [
        Lock::<u64>::open(&name).err(),
        Lock::<[u8; 3]>::open(&name).err(),
        Lock::<[u64; 3]>::open(&name).err(),
        Lock::<[u64; 4096]>::open(&name).err(),
        Lock::<[u8; 16]>::open(&name).err(), // the alignment differs
    ];
    for (at, error) in sizes.into_iter().enumerate() {
        assert!(matches!(error, Some(SegmentError::Corrupt { .. })), "{at}: {error:?}");
    }
    let swapped = match NAME {
        "ours" => PthreadMutex::<Pair>::open(&name).err(),
        _ => Mutex::<Pair>::open(&name).err(),
    };
    assert!(matches!(swapped, Some(SegmentError::WrongKind { .. })), "{swapped:?}");
    let queue = Queue::<[u8]>::open(&name).err();
    assert!(matches!(queue, Some(SegmentError::WrongKind { .. })), "{queue:?}");
    let bytes = Segment::open(&name).err();
    assert!(matches!(bytes, Some(SegmentError::WrongKind { .. })), "{bytes:?}");
    let either = Lock::<u64>::open_or_create(&name, 1, &options()).err();
    assert!(matches!(either, Some(SegmentError::Corrupt { .. })), "{either:?}");
    assert_eq!(clean(&mutex), Pair::default());

    let name = Name::new("mismatch");
    let _queue = Queue::<[u8]>::create(&name, &QueueOptions::new().capacity(4096)).unwrap();
    let mutex = Lock::<Pair>::open(&name).err();
    assert!(matches!(mutex, Some(SegmentError::WrongKind { .. })), "{mutex:?}");
}

#[test]
fn values_outlive_every_handle() {
    let _dog = watchdog();
    let (name, mutex) = pair("outlive");
    mutex.lock().unwrap().second = 9;
    drop(mutex);
    assert_eq!(clean(&open(&name)).second, 9);
}

#[test]
fn handles_are_shared_between_threads() {
    let _dog = watchdog();
    fn shared<T: Send + Sync>() {}
    shared::<Lock<Pair>>();
}
