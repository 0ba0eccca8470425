//! The end of the ring: every size at every position, empty messages included.

use std::collections::VecDeque;

use steadfast::GetError;

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

/// Bytes of a message that takes so many units of 8 bytes with its header.
fn of_units(units: usize) -> usize {
    (units - 1) * 8
}

/// Everything in the queue, in order and at once: whatever is missing was overwritten.
fn comes_out(queue: &steadfast::Queue, wanted: &[Vec<u8>], when: &str) {
    for (at, message) in wanted.iter().enumerate() {
        let got = queue.try_get();
        let got =
            got.unwrap_or_else(|e| panic!("{when}: message {at} of {} is gone: {e}", wanted.len()));
        assert!(got == *message, "{when}: message {at} is another one");
    }
    let more = queue.try_get();
    assert!(matches!(more, Err(GetError::Empty)), "{when}: behind the last message: {more:?}");
}

#[test]
fn what_fills_the_ring_to_the_last_unit_harms_nothing_in_it() {
    let _dog = watchdog();
    let units = {
        let (_name, queue) = bytes("units");
        queue.capacity() / 8
    };
    for left in 6..40 {
        // A batch into all but a few units that are left, at the beginning of the ring and across its end.
        for at in [0, units - left / 2] {
            for batch_units in left - 2..=left + 1 {
                let (_name, queue) = bytes("exact");
                for _ in 0..at / 100 {
                    queue.try_put(&body(0, of_units(100))).unwrap();
                    queue.try_get().unwrap();
                }
                let (rest, half) = (at % 100, (units - left) / 2);
                if rest > 0 {
                    queue.try_put(&body(0, of_units(rest))).unwrap();
                    queue.try_get().unwrap();
                }
                let mut inside = Vec::new();
                for (number, units) in [(1, half), (2, units - left - half)] {
                    let message = body(number, of_units(units));
                    if queue.try_put(&message).is_ok() {
                        inside.push(message);
                    }
                }
                let batch = [3, batch_units - 3].map(|units| body(3, of_units(units)));
                let put = queue.try_put_many(&batch);
                if put.is_ok() {
                    inside.extend(batch);
                }
                let when = format!("{batch_units} units into {left} from {at}: {put:?}");
                comes_out(&queue, &inside, &when);
            }
        }
    }
}

#[test]
fn behind_a_batch_there_is_nothing_whatever_was_there_before() {
    let _dog = watchdog();
    for single in [false, true] {
        let options = if single { small().single_producer() } else { small() };
        let (_name, queue) = bytes_with("stale", &options);
        let mut producer = single.then(|| queue.producer().unwrap());
        let mut rng = Rng::new(13);
        for round in 0..200 {
            let batch: Vec<Vec<u8>> =
                (0..2 + rng.below(5)).map(|_| vec![0xff; rng.below(150) as usize]).collect();
            let put = match &mut producer {
                Some(producer) => producer.try_put_many(&batch),
                None => queue.try_put_many(&batch),
            };
            put.unwrap_or_else(|e| panic!("round {round}, single producer: {single}: {e}"));
            comes_out(&queue, &batch, &format!("round {round}, single producer: {single}"));
        }
    }
}
