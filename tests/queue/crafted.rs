//! States that a killed process leaves, written by hand: what it had not done yet is done, or undone,
//! by whoever comes next.

use std::fs::File;
use std::os::unix::fs::FileExt;

use steadfast::{Batch, GetError, PutError, Queue, Shutdown};

use crate::support::{Name, watchdog};
use crate::{LONG, bytes, bytes_with, small};

/// Offsets in a queue's object.
const TAIL: u64 = 136;
const STATE: u64 = 640;
const DRAIN: u32 = 1;
const NOW: u32 = 2;

/// Where the object is in the file.
fn object(name: &Name) -> (File, u64) {
    let file = File::options().read(true).write(true).open(name.file()).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 96).unwrap();
    (file, u64::from_le_bytes(word))
}

fn read(name: &Name, offset: u64) -> u64 {
    let (file, object) = object(name);
    let mut word = [0; 8];
    file.read_exact_at(&mut word, object + offset).unwrap();
    u64::from_le_bytes(word)
}

fn write(name: &Name, offset: u64, bytes: &[u8]) {
    let (file, object) = object(name);
    file.write_all_at(bytes, object + offset).unwrap();
}

/// A queue whose last producer was killed between its commit and the move of the tail.
fn committed_and_not_counted() -> (Name, Queue) {
    let (name, queue) = bytes("crafted");
    queue.put(b"before").unwrap();
    let tail = read(&name, TAIL);
    queue.put_many(&[*b"1", *b"2"]).unwrap();
    write(&name, TAIL, &tail.to_le_bytes());
    (name, queue)
}

#[test]
fn a_put_that_committed_is_in_although_the_tail_does_not_say_so() {
    let _dog = watchdog();
    let (_name, queue) = committed_and_not_counted();
    for wanted in [&b"before"[..], b"1", b"2"] {
        assert!(!queue.is_empty().unwrap());
        assert_eq!(queue.try_get().unwrap(), wanted);
    }
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
}

#[test]
fn the_next_put_counts_what_a_dead_producer_did_not() {
    let _dog = watchdog();
    let (_name, queue) = committed_and_not_counted();
    queue.put(b"3").unwrap();
    assert_eq!(queue.qsize().unwrap(), 4);
    for wanted in [&b"before"[..], b"1", b"2", b"3"] {
        assert_eq!(queue.try_get().unwrap(), wanted);
    }
    assert_eq!(queue.qsize().unwrap(), 0);
}

#[test]
fn a_queue_whose_head_is_ahead_of_its_tail_is_empty_and_not_full() {
    let _dog = watchdog();
    let (_name, queue) = committed_and_not_counted();
    for _ in 0..3 {
        queue.try_get().unwrap();
    }
    assert_eq!(queue.qsize().unwrap(), 0);
    assert!(queue.is_empty().unwrap());
    assert!(!queue.is_full().unwrap());
    queue.try_put(b"and on").unwrap();
    assert_eq!(queue.try_get().unwrap(), b"and on");
}

/// The process that began to drain was killed before it set the mark that ends the ring.
fn drain_begun(messages: &[&[u8]]) -> (Name, Queue) {
    let (name, queue) = bytes("crafted");
    queue.put_many(messages).unwrap();
    write(&name, STATE, &DRAIN.to_le_bytes());
    (name, queue)
}

#[test]
fn a_drain_that_was_cut_short_is_finished_by_a_get() {
    let _dog = watchdog();
    for messages in [&[][..], &[&b"1"[..], b"2"]] {
        let (_name, queue) = drain_begun(messages);
        assert!(matches!(queue.try_put(b"x"), Err(PutError::Closed)));
        for wanted in messages {
            assert_eq!(queue.get().unwrap(), *wanted);
        }
        assert!(matches!(queue.get_timeout(LONG), Err(GetError::Closed)));
        assert!(matches!(queue.try_get(), Err(GetError::Closed)));
    }
}

#[test]
fn a_drain_that_was_cut_short_is_finished_by_a_batch() {
    let _dog = watchdog();
    let (_name, queue) = drain_begun(&[]);
    assert!(matches!(queue.get_many(32), Err(GetError::Closed)));
    let (_name, queue) = drain_begun(&[b"1"]);
    assert_eq!(queue.get_many(32).unwrap(), [b"1"]);
    assert!(matches!(queue.get_many(32), Err(GetError::Closed)));
    let (_name, queue) = drain_begun(&[]);
    assert!(matches!(queue.try_get_batch(&mut Batch::new(), 3), Err(GetError::Closed)));
}

#[test]
fn a_drain_that_was_cut_short_is_finished_by_another() {
    let _dog = watchdog();
    let (_name, queue) = drain_begun(&[b"1"]);
    assert_eq!(queue.shutdown(Shutdown::Drain).unwrap(), 0);
    assert_eq!(queue.get().unwrap(), b"1");
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    let (_name, queue) = drain_begun(&[b"1"]);
    assert_eq!(queue.shutdown(Shutdown::Now).unwrap(), 1);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

#[test]
fn a_drain_that_was_cut_short_is_finished_by_the_single_consumer() {
    let _dog = watchdog();
    for by in ["get", "get_many", "peek"] {
        let options = small().single_producer().single_consumer();
        let (name, queue) = bytes_with("crafted", &options);
        let mut consumer = queue.consumer().unwrap();
        write(&name, STATE, &DRAIN.to_le_bytes());
        let end = match by {
            "get" => consumer.get().map(drop),
            "get_many" => consumer.get_many(3).map(drop),
            _ => consumer.peek().map(drop),
        };
        assert!(matches!(end, Err(GetError::Closed)), "{by}: {end:?}");
    }
}

#[test]
fn nothing_is_put_after_a_shutdown_now_that_was_cut_short() {
    let _dog = watchdog();
    let (name, queue) = bytes_with("crafted", &small().single_producer());
    let mut producer = queue.producer().unwrap();
    let mut room = producer.reserve(5).unwrap();
    assert!(room.write_at(0, b"hello"));
    write(&name, STATE, &NOW.to_le_bytes());
    assert!(matches!(room.commit(), Err(PutError::Closed)));
    assert!(matches!(producer.put(b"x"), Err(PutError::Closed)));
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert_eq!(queue.qsize().unwrap(), 0);
}

#[test]
fn the_bytes_of_a_put_that_did_not_commit_are_nothing() {
    let _dog = watchdog();
    let (name, queue) = bytes("crafted");
    // Everything behind the tail's header may hold anything.
    write(&name, 1024 + 8, &[0xee; 4088]);
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    for n in 0..1000_u32 {
        queue.try_put(&n.to_le_bytes()).unwrap();
        assert_eq!(queue.try_get().unwrap(), n.to_le_bytes());
        assert!(queue.is_empty().unwrap());
    }
}
