//! Messages written and read in place: reserve and commit, peek and release.

use steadfast::{Consumer, GetError, Producer, PutError, Queue, Shutdown};

use crate::support::{Name, watchdog};
use crate::{LONG, SHORT, bytes_with, small};

fn in_place(tag: &str) -> (Name, Queue, Producer<[u8]>, Consumer<[u8]>) {
    let (name, queue) = bytes_with(tag, &small().single_producer().single_consumer());
    let producer = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    (name, queue, producer, consumer)
}

#[test]
fn a_reserved_message_is_there_after_commit_and_not_before() {
    let _dog = watchdog();
    let (_name, queue, mut producer, mut consumer) = in_place("reserve");
    let mut guard = producer.reserve(10).unwrap();
    assert!(guard.write_at(0, b"01234"));
    assert!(guard.write_at(5, b"56789"));
    assert!(queue.is_empty().unwrap());
    assert!(matches!(consumer.try_get(), Err(GetError::Empty)));
    guard.commit().unwrap();
    assert_eq!(queue.qsize().unwrap(), 1);
    assert_eq!(consumer.get().unwrap(), b"0123456789");
}

#[test]
fn a_reservation_without_a_commit_never_was() {
    let _dog = watchdog();
    let (_name, queue, mut producer, mut consumer) = in_place("abort");
    for len in [0, 1, 8, 100, queue.max_len()] {
        for _ in 0..50 {
            let mut room = producer.try_reserve(len).unwrap();
            assert!(room.write_at(0, &vec![0xff; len]));
        }
        assert!(queue.is_empty().unwrap());
        producer.try_put(b"next").unwrap();
        assert_eq!(consumer.try_get().unwrap(), b"next");
    }
}

#[test]
fn reserve_survives_the_wrap_with_every_size() {
    let _dog = watchdog();
    let (_name, queue, mut producer, mut consumer) = in_place("sizes");
    for len in 0..=queue.max_len() {
        let message: Vec<u8> = (0..len).map(|at| (at * 3 + len) as u8).collect();
        let mut guard = producer.try_reserve(len).unwrap_or_else(|e| panic!("{len}: {e}"));
        assert!(guard.write_at(0, &message));
        guard.commit().unwrap();
        let view = consumer.try_peek().unwrap();
        assert_eq!(view.len(), len);
        let mut copy = vec![0; len];
        assert!(view.copy_to(&mut copy));
        assert_eq!(copy, message);
        view.release().unwrap();
    }
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_write_outside_a_reservation_is_refused() {
    let _dog = watchdog();
    let (_name, _queue, mut producer, mut consumer) = in_place("outside");
    producer.put(b"before").unwrap();
    let mut guard = producer.reserve(8).unwrap();
    for (at, len) in [(0, 9), (8, 1), (1, 8), (usize::MAX, 1), (usize::MAX - 3, 8), (9, 0)] {
        assert!(!guard.write_at(at, &vec![0xee; len]), "{len} bytes at {at}");
    }
    assert!(guard.write_at(0, b"in range"));
    assert!(guard.write_at(8, b""));
    guard.commit().unwrap();
    assert_eq!(consumer.get().unwrap(), b"before");
    assert_eq!(consumer.get().unwrap(), b"in range");
}

#[test]
fn reserve_shapes_on_a_full_queue() {
    let _dog = watchdog();
    let (_name, queue, mut producer, mut consumer) = in_place("full");
    let large = queue.max_len() + 1;
    assert!(matches!(producer.reserve(large), Err(PutError::TooLarge { .. })));
    assert!(matches!(producer.reserve(usize::MAX), Err(PutError::TooLarge { .. })));
    while producer.try_put(&[0; 100]).is_ok() {}
    assert!(matches!(producer.try_reserve(100), Err(PutError::Full)));
    assert!(matches!(producer.reserve_timeout(100, SHORT), Err(PutError::TimedOut)));
    consumer.get().unwrap();
    consumer.get().unwrap();
    producer.reserve_timeout(100, LONG).unwrap().commit().unwrap();
}

#[test]
fn a_view_shows_the_message_and_release_takes_it() {
    let _dog = watchdog();
    let (_name, queue, mut producer, mut consumer) = in_place("peek");
    let number = 0x0102_0304_0506_0708_u64;
    let mut message = number.to_le_bytes().to_vec();
    message.extend_from_slice(b"tail");
    producer.put(&message).unwrap();
    producer.put(b"second").unwrap();

    let view = consumer.peek().unwrap();
    assert_eq!(view.len(), 12);
    assert_eq!(view.read_u64(0), Some(number));
    let mut tail = [0; 4];
    assert!(view.copy_at(8, &mut tail));
    assert_eq!(&tail, b"tail");
    let mut whole = [0; 12];
    assert!(view.copy_to(&mut whole));
    assert_eq!(whole[..], message);
    // SAFETY: nobody else writes to this queue.
    assert_eq!(unsafe { view.as_slice() }, message);
    assert_eq!(queue.qsize().unwrap(), 2);
    view.release().unwrap();
    assert_eq!(queue.qsize().unwrap(), 1);
    assert_eq!(consumer.get().unwrap(), b"second");
}

#[test]
fn a_read_outside_a_view_is_refused() {
    let _dog = watchdog();
    let (_name, _queue, mut producer, mut consumer) = in_place("outside");
    producer.put(b"0123456789").unwrap();
    let view = consumer.peek().unwrap();
    let mut buffer = [0; 4];
    for at in [7, 10, 11, usize::MAX, usize::MAX - 2] {
        assert!(!view.copy_at(at, &mut buffer), "4 bytes at {at}");
        assert_eq!(view.read_u64(at), None, "a number at {at}");
    }
    assert_eq!(view.read_u64(2), Some(u64::from_le_bytes(*b"23456789")));
    assert_eq!(view.read_u64(3), None);
}

#[test]
fn a_view_without_a_release_takes_nothing() {
    let _dog = watchdog();
    let (_name, queue, mut producer, mut consumer) = in_place("kept");
    producer.put(b"again").unwrap();
    for _ in 0..100 {
        assert_eq!(consumer.peek().unwrap().len(), 5);
        assert_eq!(queue.qsize().unwrap(), 1);
    }
    assert_eq!(consumer.get().unwrap(), b"again");
    assert!(matches!(consumer.try_peek(), Err(GetError::Empty)));
    assert!(matches!(consumer.peek_timeout(SHORT), Err(GetError::TimedOut)));
}

#[test]
fn a_message_being_read_is_not_overwritten() {
    let _dog = watchdog();
    let (_name, _queue, mut producer, mut consumer) = in_place("held");
    for round in 0..200_u8 {
        producer.put(&[round; 700]).unwrap();
        let view = consumer.peek().unwrap();
        while producer.try_put(&[!round; 300]).is_ok() {}
        let mut copy = [0; 700];
        assert!(view.copy_to(&mut copy));
        assert_eq!(copy, [round; 700]);
        view.release().unwrap();
        while consumer.try_get().is_ok() {}
    }
}

#[test]
fn a_reservation_meets_a_shutdown() {
    let _dog = watchdog();
    let (_name, queue, mut producer, mut consumer) = in_place("shutdown");
    producer.put(b"before").unwrap();
    queue.shutdown(Shutdown::Drain).unwrap();
    assert!(matches!(producer.reserve(8), Err(PutError::Closed)));
    assert_eq!(consumer.get().unwrap(), b"before");
    assert!(matches!(consumer.peek(), Err(GetError::Closed)));
}
