//! The end of the ring: every size at every position, empty messages included.

use std::collections::VecDeque;

use crate::support::{Rng, watchdog};
use crate::{bytes, bytes_with, small};

/// `len` bytes that tell their message apart from every other.
fn body(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number as usize * 31 + at * 7 + len) as u8).collect()
}

#[test]
fn every_size_survives_the_wrap() {
    let _dog = watchdog();
    let (_name, queue) = bytes("sizes");
    for len in 0..=queue.max_len() {
        for number in 0..3 {
            let message = body(number, len);
            queue.try_put(&message).unwrap_or_else(|e| panic!("{len} bytes: {e}"));
            assert_eq!(queue.try_get().unwrap(), message, "{len} bytes");
        }
    }
}

#[test]
fn a_queue_kept_full_wraps_with_mixed_sizes() {
    let _dog = watchdog();
    let (_name, queue) = bytes("mixed");
    let mut inside = VecDeque::new();
    let mut rng = Rng::new(7);
    let mut wraps = 0;
    for number in 0..30_000 {
        let len = match rng.below(4) {
            0 => 0,
            1 => rng.below(16) as usize,
            2 => rng.below(200) as usize,
            _ => rng.below(queue.max_len() as u64 + 1) as usize,
        };
        let message = body(number, len);
        while queue.try_put(&message).is_err() {
            let wanted: Vec<u8> = inside.pop_front().expect("an empty queue has room");
            assert_eq!(queue.try_get().unwrap(), wanted);
            wraps += 1;
        }
        inside.push_back(message);
        assert_eq!(queue.qsize().unwrap(), inside.len());
    }
    assert!(wraps > 1000, "the ring was full only {wraps} times");
    for wanted in inside {
        assert_eq!(queue.try_get().unwrap(), wanted);
    }
    assert!(queue.is_empty().unwrap());
}

#[test]
fn empty_messages_are_messages() {
    let _dog = watchdog();
    let (_name, queue) = bytes("empty");
    for round in 0..2000 {
        let n = 1 + round % 20;
        for _ in 0..n {
            queue.try_put(b"").unwrap();
        }
        assert_eq!(queue.qsize().unwrap(), n);
        for _ in 0..n {
            assert_eq!(queue.try_get().unwrap(), b"");
        }
        assert!(queue.is_empty().unwrap());
    }
}

#[test]
fn batches_survive_the_wrap() {
    let _dog = watchdog();
    let (_name, queue) = bytes("batches");
    let mut rng = Rng::new(11);
    for number in 0..4000 {
        let n = rng.below(9);
        let len = |rng: &mut Rng| rng.below(120) as usize;
        let batch: Vec<Vec<u8>> = (0..n).map(|at| body(number + at, len(&mut rng))).collect();
        queue.try_put_many(&batch).unwrap_or_else(|e| panic!("batch {number}: {e}"));
        assert_eq!(queue.qsize().unwrap(), batch.len());
        let mut got = Vec::new();
        while got.len() < batch.len() {
            got.extend(queue.try_get_many(10_000).unwrap());
        }
        assert_eq!(got, batch);
    }
}

#[test]
fn a_larger_ring_carries_large_messages_across_its_end() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("large", &small().capacity(1 << 20));
    let max = queue.max_len();
    for number in 0..60 {
        let message = body(number, max - number as usize * 1009 % (max / 2));
        queue.put(&message).unwrap();
        assert_eq!(queue.get().unwrap(), message);
    }
}
