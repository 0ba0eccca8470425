//! Bounds, waits and time-outs of single puts and gets.

use std::time::{Duration, Instant};

use steadfast::{GetError, PutError, QueueOptions};

use crate::support::watchdog;
use crate::{LONG, SHORT, bytes, bytes_with, small};

#[test]
fn maxsize_zero_is_no_item_limit() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("maxsize", &small().maxsize(0).capacity(1 << 16));
    assert_eq!(queue.maxsize(), 0);
    let mut put = 0_usize;
    while queue.try_put(b"").is_ok() {
        put += 1;
    }
    // Only the bytes stop it: an empty message takes 8 of them.
    assert!(put >= queue.capacity() / 16, "{put} messages in {} bytes", queue.capacity());
    assert_eq!(queue.qsize().unwrap(), put);
    assert!(queue.is_full().unwrap());
}

#[test]
fn default_options_are_no_item_limit_and_four_mebibytes() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("defaults", &QueueOptions::new());
    assert_eq!(queue.maxsize(), 0);
    assert_eq!(queue.capacity() as u64, 4 << 20);
}

#[test]
fn maxsize_counts_items_and_a_get_makes_room_for_one() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("maxsize", &small().maxsize(3));
    assert_eq!(queue.maxsize(), 3);
    for round in 0..50_u8 {
        while queue.qsize().unwrap() < 3 {
            queue.try_put(&[round]).unwrap();
        }
        assert!(matches!(queue.try_put(&[round]), Err(PutError::Full)));
        assert_eq!(queue.qsize().unwrap(), 3);
        queue.try_get().unwrap();
        queue.try_put(&[round]).unwrap();
        assert!(matches!(queue.try_put(&[round]), Err(PutError::Full)));
        for _ in 0..=round % 3 {
            queue.get().unwrap();
        }
    }
}

#[test]
fn maxsize_is_seen_by_those_who_open() {
    let (name, queue) = bytes_with("maxsize", &small().maxsize(5));
    let other = steadfast::Queue::<[u8]>::open(&name).unwrap();
    assert_eq!(other.maxsize(), 5);
    assert_eq!(other.capacity(), queue.capacity());
    assert_eq!(other.max_len(), queue.max_len());
}

#[test]
fn every_put_shape_works_with_room() {
    let _dog = watchdog();
    let (_name, queue) = bytes("put");
    queue.put(b"1").unwrap();
    queue.try_put(b"2").unwrap();
    queue.put_nowait(b"3").unwrap();
    queue.put_timeout(b"4", LONG).unwrap();
    queue.put_timeout(b"5", Duration::ZERO).unwrap();
    queue.put_timeout(b"6", Duration::MAX).unwrap();
    for wanted in [b"1", b"2", b"3", b"4", b"5", b"6"] {
        assert_eq!(queue.get().unwrap(), wanted);
    }
}

#[test]
fn put_shapes_on_a_full_queue() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("put", &small().maxsize(1));
    queue.put(b"x").unwrap();
    assert!(matches!(queue.try_put(b"y"), Err(PutError::Full)));
    assert!(matches!(queue.put_nowait(b"y"), Err(PutError::Full)));
    assert!(matches!(queue.put_timeout(b"y", Duration::ZERO), Err(PutError::TimedOut)));
    let start = Instant::now();
    assert!(matches!(queue.put_timeout(b"y", SHORT), Err(PutError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(queue.qsize().unwrap(), 1);
    assert_eq!(queue.get().unwrap(), b"x");
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
}

#[test]
fn every_get_shape_works_with_an_item() {
    let _dog = watchdog();
    let (_name, queue) = bytes("get");
    for n in 0..6_u8 {
        queue.put(&[n]).unwrap();
    }
    assert_eq!(queue.get().unwrap(), [0]);
    assert_eq!(queue.try_get().unwrap(), [1]);
    assert_eq!(queue.get_nowait().unwrap(), [2]);
    assert_eq!(queue.get_timeout(LONG).unwrap(), [3]);
    assert_eq!(queue.get_timeout(Duration::ZERO).unwrap(), [4]);
    assert_eq!(queue.get_timeout(Duration::MAX).unwrap(), [5]);
}

#[test]
fn get_shapes_on_an_empty_queue() {
    let _dog = watchdog();
    let (_name, queue) = bytes("get");
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    assert!(matches!(queue.get_nowait(), Err(GetError::Empty)));
    assert!(matches!(queue.get_timeout(Duration::ZERO), Err(GetError::TimedOut)));
    let start = Instant::now();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_time_out_shorter_than_a_millisecond_is_honoured() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("brief", &small().maxsize(1));
    let brief = Duration::from_nanos(700);
    let start = Instant::now();
    assert!(matches!(queue.get_timeout(brief), Err(GetError::TimedOut)));
    queue.put(b"x").unwrap();
    assert!(matches!(queue.put_timeout(b"y", brief), Err(PutError::TimedOut)));
    assert!(start.elapsed() >= 2 * brief);
}

#[test]
fn a_time_out_longer_than_the_backstop_is_honoured() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("long", &small().maxsize(1));
    let wait = crate::support::PAST_BACKSTOPS;
    let start = Instant::now();
    assert!(matches!(queue.get_timeout(wait), Err(GetError::TimedOut)));
    assert!(start.elapsed() >= wait);
    queue.put(b"x").unwrap();
    let start = Instant::now();
    assert!(matches!(queue.put_timeout(b"y", wait), Err(PutError::TimedOut)));
    assert!(start.elapsed() >= wait);
}

#[test]
fn one_producers_items_keep_their_order() {
    let _dog = watchdog();
    let (_name, queue) = bytes("fifo");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..20_000_u32 {
                queue.put(&n.to_le_bytes()).unwrap();
            }
        });
        for n in 0..20_000_u32 {
            assert_eq!(queue.get().unwrap(), n.to_le_bytes());
        }
    });
}

#[test]
fn qsize_empty_and_full_are_exact_right_after_put_and_get() {
    let _dog = watchdog();
    let (name, queue) = bytes_with("qsize", &small().maxsize(4));
    let other = steadfast::Queue::<[u8]>::open(&name).unwrap();
    let state = |wanted: usize| {
        for handle in [&queue, &other] {
            assert_eq!(handle.qsize().unwrap(), wanted);
            assert_eq!(handle.is_empty().unwrap(), wanted == 0);
            assert_eq!(handle.is_full().unwrap(), wanted == 4);
        }
    };
    for _ in 0..200 {
        for size in 0..4 {
            state(size);
            queue.put(b"item").unwrap();
        }
        for size in (0..4).rev() {
            state(size + 1);
            other.get().unwrap();
        }
        state(0);
    }
}

#[test]
fn is_full_also_means_no_room_for_bytes() {
    let _dog = watchdog();
    let (_name, queue) = bytes("full");
    assert!(!queue.is_full().unwrap());
    while queue.try_put(b"").is_ok() {}
    assert!(queue.is_full().unwrap());
    queue.get().unwrap();
    assert!(!queue.is_full().unwrap());
}

#[test]
fn a_message_longer_than_the_limit_is_an_error_at_once() {
    let _dog = watchdog();
    let (_name, queue) = bytes("large");
    let max = queue.max_len();
    assert!(max >= 1024, "a quarter of the ring at least");
    for len in [max + 1, max + 8, 2 * max, queue.capacity(), 1 << 20] {
        let message = vec![7; len];
        for result in
            [queue.put(&message), queue.try_put(&message), queue.put_timeout(&message, LONG)]
        {
            match result {
                Err(PutError::TooLarge { len: told, max: limit }) => {
                    assert_eq!((told, limit), (len, max));
                }
                other => panic!("{len} bytes: {other:?}"),
            }
        }
    }
    assert!(queue.is_empty().unwrap());
    queue.put(&vec![7; max]).unwrap();
    assert_eq!(queue.get().unwrap(), vec![7; max]);
}

#[test]
fn the_largest_message_fits_at_every_position_of_the_ring() {
    let _dog = watchdog();
    let (_name, queue) = bytes("largest");
    let largest = vec![0xa5; queue.max_len()];
    for step in 0..queue.capacity() / 8 + 2 {
        queue.try_put(b"step").unwrap_or_else(|e| panic!("step {step}: {e}"));
        queue.get().unwrap();
        queue.try_put(&largest).unwrap_or_else(|e| panic!("step {step}: {e}"));
        assert_eq!(queue.get().unwrap(), largest);
    }
}
