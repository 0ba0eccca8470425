//! put_many, get_many and the reusable buffers: all of a batch or nothing.

use std::borrow::Borrow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use steadfast::{Batch, GetError, PutError, Queue};

use crate::support::child::Child;
use crate::support::{proc, wait_until, watchdog};
use crate::{LONG, SHORT, bytes, bytes_with, small};

/// A batch of `n` one-byte messages that count up from `first`.
fn count_from(first: u8, n: u8) -> Vec<[u8; 1]> {
    (first..first + n).map(|byte| [byte]).collect()
}

/// Everything that is in the queue; one take may leave large messages to the next.
fn all(queue: &Queue) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    while let Ok(more) = queue.try_get_many(10_000) {
        assert!(!more.is_empty());
        got.extend(more);
    }
    got
}

#[test]
fn a_batch_arrives_whole_and_in_order() {
    let _dog = watchdog();
    let (_name, queue) = bytes("batch");
    queue.put_many(&count_from(0, 10)).unwrap();
    assert_eq!(queue.qsize().unwrap(), 10);
    for n in 0..10 {
        assert_eq!(queue.get().unwrap(), [n]);
    }
}

#[test]
fn batches_of_vectors_and_of_slices_are_alike() {
    let _dog = watchdog();
    let (_name, queue) = bytes("batch");
    queue.put_many(&[vec![1], vec![], vec![2, 3]]).unwrap();
    queue.put_many::<&[u8]>(&[b"abc", b""]).unwrap();
    let wanted: [&[u8]; 5] = [&[1], &[], &[2, 3], b"abc", b""];
    assert_eq!(all(&queue), wanted);
}

#[test]
fn an_empty_batch_changes_nothing_and_never_waits() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("batch", &small().maxsize(1));
    let none: [&[u8]; 0] = [];
    queue.put_many(&none).unwrap();
    assert!(queue.is_empty().unwrap());
    queue.put(b"x").unwrap();
    queue.put_many(&none).unwrap();
    queue.try_put_many(&none).unwrap();
    assert_eq!(queue.qsize().unwrap(), 1);
}

#[test]
fn a_batch_that_does_not_fit_now_leaves_nothing_behind() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("batch", &small().maxsize(5));
    queue.put_many(&count_from(0, 3)).unwrap();
    let three = count_from(10, 3);
    assert!(matches!(queue.try_put_many(&three), Err(PutError::Full)));
    let start = Instant::now();
    let timed = queue.put_many_timeout(&three, SHORT);
    assert!(matches!(timed, Err(PutError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    let polled = queue.put_many_timeout(&three, Duration::ZERO);
    assert!(matches!(polled, Err(PutError::TimedOut)));
    assert_eq!(all(&queue), [[0], [1], [2]]);
    queue.try_put_many(&three).unwrap();
    assert_eq!(all(&queue), three);
}

#[test]
fn a_batch_that_does_not_fit_in_bytes_leaves_nothing_behind() {
    let _dog = watchdog();
    let (_name, queue) = bytes("batch");
    let third = vec![3; queue.capacity() / 3 - 32];
    queue.put(&third).unwrap();
    queue.put(&third).unwrap();
    let batch = [&b"small"[..], &third, &third];
    assert!(matches!(queue.try_put_many(&batch), Err(PutError::Full | PutError::TooLarge { .. })));
    assert_eq!(queue.qsize().unwrap(), 2);
    assert_eq!(all(&queue), [&third[..], &third]);
    queue.try_put_many(&batch[..2]).unwrap();
    assert_eq!(all(&queue), batch[..2]);
}

#[test]
fn a_waiting_batch_goes_in_whole_when_there_is_room_for_all_of_it() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("batch", &small().maxsize(4));
    queue.put_many(&count_from(0, 3)).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| {
            send.send(proc::tid()).unwrap();
            queue.put_many(&count_from(10, 3))
        });
        let tid = receive.recv().unwrap();
        proc::wait_until_asleep(std::process::id() as i32, tid);
        assert_eq!(queue.get().unwrap(), [0]);
        // Two places are free, and the batch needs three.
        proc::wait_until_asleep(std::process::id() as i32, tid);
        assert_eq!(queue.qsize().unwrap(), 2);
        assert_eq!(queue.get().unwrap(), [1]);
        wait_until("the batch is in", || queue.qsize().unwrap() == 4);
        putter.join().unwrap().unwrap();
    });
    assert_eq!(all(&queue), [[2], [10], [11], [12]]);
}

#[test]
fn a_batch_that_can_never_fit_is_an_error_at_once() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("batch", &small().maxsize(4));
    let five = count_from(0, 5);
    let whole = queue.put_many_timeout(&five, LONG);
    assert!(matches!(whole, Err(PutError::TooLarge { .. })), "{whole:?}");
    let large = vec![0; queue.max_len()];
    let heavy = [&large[..]; 4];
    let heavy = queue.put_many_timeout(&heavy, LONG);
    assert!(matches!(heavy, Err(PutError::TooLarge { .. })), "{heavy:?}");
    let too_long = vec![0; queue.max_len() + 1];
    let mixed = queue.put_many_timeout(&[&b"ok"[..], &too_long], LONG);
    assert!(matches!(mixed, Err(PutError::TooLarge { .. })), "{mixed:?}");
    assert!(queue.is_empty().unwrap());
}

#[test]
fn get_many_takes_what_is_there_up_to_the_limit() {
    let _dog = watchdog();
    let (_name, queue) = bytes("many");
    queue.put_many(&count_from(0, 5)).unwrap();
    assert_eq!(queue.get_many(2).unwrap(), [[0], [1]]);
    assert_eq!(queue.try_get_many(2).unwrap(), [[2], [3]]);
    assert_eq!(queue.get_many_timeout(10_000, LONG).unwrap(), [[4]]);
    assert!(queue.is_empty().unwrap());
}

/// Child: asks for as many as can be asked for.
pub fn get_all(arguments: &[String]) {
    let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
    assert_eq!(queue.get_many(usize::MAX).unwrap(), [b"1", b"2"]);
    assert!(matches!(queue.try_get_many(usize::MAX), Err(GetError::Empty)));
    queue.put(b"3").unwrap();
    let mut batch = Batch::new();
    queue.get_batch(&mut batch, usize::MAX).unwrap();
    assert!(batch.iter().eq([b"3"]));
}

#[test]
fn get_many_of_any_number_costs_no_more_than_what_is_there() {
    let _dog = watchdog();
    let (name, queue) = bytes("many");
    queue.put_many(&[*b"1", *b"2"]).unwrap();
    Child::spawn("get_all", &[&name]).finish();
}

#[test]
fn get_many_of_none_is_nothing_and_never_waits() {
    let _dog = watchdog();
    let (_name, queue) = bytes("many");
    assert!(queue.get_many_timeout(0, LONG).unwrap().is_empty());
    queue.put(b"x").unwrap();
    assert!(queue.get_many_timeout(0, LONG).unwrap().is_empty());
    assert_eq!(queue.qsize().unwrap(), 1);
}

#[test]
fn get_many_shapes_on_an_empty_queue() {
    let _dog = watchdog();
    let (_name, queue) = bytes("many");
    assert!(matches!(queue.try_get_many(3), Err(GetError::Empty)));
    assert!(matches!(queue.get_many_timeout(3, Duration::ZERO), Err(GetError::TimedOut)));
    let start = Instant::now();
    assert!(matches!(queue.get_many_timeout(3, SHORT), Err(GetError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn get_many_waits_for_one_not_for_all() {
    let _dog = watchdog();
    let (_name, queue) = bytes("many");
    std::thread::scope(|scope| {
        let getter = scope.spawn(|| queue.get_many_timeout(10, LONG));
        queue.put(b"x").unwrap();
        assert_eq!(getter.join().unwrap().unwrap(), [b"x"]);
    });
}

/// An item of a batch that panics, or gives other bytes each time it is asked.
struct Unsteady {
    asked: Cell<usize>,
    panics_at: usize,
}

impl Unsteady {
    fn new(panics_at: usize) -> Unsteady {
        Unsteady { asked: Cell::new(0), panics_at }
    }
}

impl Borrow<[u8]> for Unsteady {
    fn borrow(&self) -> &[u8] {
        static BYTES: [u8; 2000] = [9; 2000];
        let asked = self.asked.get();
        self.asked.set(asked + 1);
        assert_ne!(asked, self.panics_at, "on purpose");
        &BYTES[..asked * 400]
    }
}

#[test]
fn an_item_that_panics_when_it_is_borrowed_leaves_the_queue_as_it_was() {
    let _dog = watchdog();
    for panics_at in 0..6 {
        let (_name, queue) = bytes("unsteady");
        queue.put(b"before").unwrap();
        let batch = [Unsteady::new(usize::MAX), Unsteady::new(panics_at)];
        let put = catch_unwind(AssertUnwindSafe(|| queue.try_put_many(&batch)));
        let inside = queue.qsize().unwrap();
        assert_eq!(inside, if put.is_ok() { 3 } else { 1 }, "{panics_at}");
        // Any thread and any process goes on.
        std::thread::scope(|scope| {
            scope.spawn(|| queue.put_timeout(b"after", LONG).unwrap());
        });
        queue.put_timeout(b"after", LONG).unwrap();
        assert_eq!(queue.try_get().unwrap(), b"before");
        assert_eq!(all(&queue).len(), inside - 1 + 2);
    }
}

#[test]
fn an_item_that_changes_while_it_is_put_harms_no_other() {
    let _dog = watchdog();
    let (_name, queue) = bytes("unsteady");
    for _ in 0..50 {
        queue.put(&[1; 1000]).unwrap();
        queue.put(&[2; 1000]).unwrap();
        let batch = [Unsteady::new(usize::MAX), Unsteady::new(usize::MAX)];
        let put = queue.try_put_many(&batch);
        assert_eq!(queue.try_get().unwrap(), [1; 1000]);
        assert_eq!(queue.try_get().unwrap(), [2; 1000]);
        assert_eq!(all(&queue).len(), if put.is_ok() { 2 } else { 0 });
    }
}

#[test]
fn batches_of_several_producers_are_never_mixed() {
    let _dog = watchdog();
    const ROUNDS: usize = 400;
    const LEN: u8 = 7;
    let (_name, queue) = bytes("mixed");
    std::thread::scope(|scope| {
        for producer in 0..3_u8 {
            let queue = &queue;
            scope.spawn(move || {
                let batch: Vec<[u8; 2]> = (0..LEN).map(|n| [producer, n]).collect();
                for _ in 0..ROUNDS {
                    queue.put_many(&batch).unwrap();
                }
            });
        }
        for _ in 0..3 * ROUNDS {
            let first = queue.get().unwrap();
            assert_eq!(first[1], 0);
            for n in 1..LEN {
                assert_eq!(queue.get().unwrap(), [first[0], n]);
            }
        }
    });
}

#[test]
fn get_into_reuses_the_buffer() {
    let _dog = watchdog();
    let (_name, queue) = bytes("into");
    let mut buffer = Vec::with_capacity(256);
    for len in [0, 200, 3, 0, 256] {
        queue.put(&vec![len as u8; len]).unwrap();
        queue.get_into(&mut buffer).unwrap();
        assert_eq!(buffer, vec![len as u8; len]);
    }
    assert_eq!(buffer.capacity(), 256);
    assert!(matches!(queue.try_get_into(&mut buffer), Err(GetError::Empty)));
    let timed = queue.get_into_timeout(&mut buffer, SHORT);
    assert!(matches!(timed, Err(GetError::TimedOut)));
}

#[test]
fn get_batch_fills_a_reusable_batch() {
    let _dog = watchdog();
    let (_name, queue): (_, Queue) = bytes("reuse");
    let mut batch = Batch::new();
    for round in 0..20_u8 {
        queue.put_many(&[vec![round; 3], vec![], vec![round]]).unwrap();
        queue.get_batch(&mut batch, 2).unwrap();
        assert_eq!(batch.len(), 2);
        assert!(batch.iter().eq([&[round; 3][..], &[]]));
        queue.get_batch_timeout(&mut batch, 9, LONG).unwrap();
        assert!(batch.iter().eq([&[round][..]]));
        assert!(matches!(queue.try_get_batch(&mut batch, 9), Err(GetError::Empty)));
    }
    batch.clear();
    assert_eq!(batch.len(), 0);
    assert_eq!(batch.iter().count(), 0);
}
