//! Thousands of short lives in one slot: each comes after the other's death, and inherits nothing. The
//! generations of the slot wrap on the way.

use std::fs::File;
use std::os::unix::fs::FileExt;

use steadfast::{JoinableQueue, Queue, QueueOptions, Reason, SegmentError, SegmentOptions};

use crate::support::child::{self, Child};
use crate::support::proc::{Fork, in_fork};
use crate::support::{LIMIT, Name, chain, watchdog_after};
use crate::{bytes_with, drain, small};

/// Where the table of participants is, and its entries' size.
const SLOTS: u64 = 4096;
const SLOT: u64 = 64;

/// Says that a slot was used so often.
fn set_generation(name: &Name, slot: u64, generation: u32) {
    let file = File::options().write(true).open(name.file()).unwrap();
    file.write_all_at(&generation.to_le_bytes(), SLOTS + SLOT * slot).unwrap();
}

fn generation(name: &Name, slot: u64) -> u32 {
    let mut bytes = [0; 4];
    let file = File::open(name.file()).unwrap();
    file.read_exact_at(&mut bytes, SLOTS + SLOT * slot).unwrap();
    u32::from_le_bytes(bytes)
}

fn one_slot() -> QueueOptions {
    small().segment(SegmentOptions::new().participants(2))
}

/// Child: lives that each take the message, which the one before died with.
pub fn short_lives(arguments: &[String]) {
    let [name, count] = arguments else { panic!("{arguments:?}") };
    for round in 0..count.parse().unwrap() {
        let code = in_fork(Fork::Libc, || {
            let queue: JoinableQueue = match JoinableQueue::open(name) {
                Ok(queue) => queue,
                Err(SegmentError::Full { .. }) => return 1,
                Err(_) => return 2,
            };
            // Attaching is all that it takes to bring it back.
            let Ok(lease) = queue.try_get() else { return 3 };
            let reason = if round == 0 { Reason::Never } else { Reason::Died };
            let right = lease.attempt() == round + 1 && lease.last_reason() == reason;
            let room = queue.try_reserve(60_000).is_ok_and(|room| {
                std::mem::forget(room);
                true
            });
            std::mem::forget(lease);
            if !right { 4 } else { i32::from(!room) * 5 }
        });
        assert_eq!(code, 0, "life {round}");
    }
}

#[test]
fn thousands_of_short_lives_in_one_slot_inherit_nothing() {
    let _dog = watchdog_after(3 * LIMIT);
    let (name, queue) = bytes_with("lives", &one_slot());
    queue.put(b"it").unwrap();
    set_generation(&name, 1, 65_535 - 1_000);
    Child::spawn("short_lives", &[&name, "2000"]).finish();
    assert_eq!(generation(&name, 1), 1000, "it wrapped, without a 0");
    assert_eq!(queue.unfinished().unwrap(), 1);
    let lease = queue.get().unwrap();
    assert_eq!((lease.attempt(), lease.last_reason()), (2001, Reason::Died));
    lease.ack().unwrap();
    queue.join().unwrap();
    queue.try_put(&vec![1; queue.max_len()]).unwrap();
}

/// Child: takes everything there is, and goes without a word.
pub fn take_and_go(arguments: &[String]) {
    let code = in_fork(Fork::Libc, || {
        let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
        while let Ok(lease) = queue.try_get() {
            std::mem::forget(lease);
        }
        std::mem::forget(queue.try_reserve(100).unwrap());
        0
    });
    assert_eq!(code, 0);
}

/// Child: attaches, and does nothing else.
pub fn attach(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    child::tell("attached");
    child::hear();
    drop(queue);
}

#[test]
fn whoever_attaches_settles_what_its_predecessor_in_the_slot_left() {
    let _dog = watchdog_after(LIMIT);
    for last in [7, 65_534, 65_535] {
        let (name, queue) = bytes_with("settles", &one_slot());
        queue.put(b"one").unwrap();
        queue.put(b"two").unwrap();
        set_generation(&name, 1, last - 1);
        Child::spawn("take_and_go", &[&name]).finish();
        let owner = u64::from(last) << 16 | 2;
        let theirs = |chunk: &&chain::Chunk| chunk.owner == owner;
        let before = chain::chunks(&name);
        assert_eq!(before.values().filter(theirs).count(), 3, "two leases and a reservation");
        let mut next = Child::spawn("attach", &[&name]);
        next.expect("attached");
        assert_eq!(generation(&name, 1), if last == 65_535 { 1 } else { last + 1 });
        let after = chain::chunks(&name);
        let phases = chain::count(&after).0;
        assert_eq!(phases[1..], [0, 0, 0, 2, 0, 0], "both are ready, the reservation is free");
        // Even if the number comes round again, there is nothing left under it.
        next.kill();
        set_generation(&name, 1, last - 1);
        let mut again = Child::spawn("attach", &[&name]);
        again.expect("attached");
        assert_eq!(generation(&name, 1), last);
        assert_eq!(drain(&queue), [b"one", b"two"]);
        again.kill();
    }
}

#[test]
fn a_queue_may_be_opened_and_left_thousands_of_times() {
    let _dog = watchdog_after(LIMIT);
    let name = Name::new("reopened");
    drop(JoinableQueue::<[u8]>::create(&name, &one_slot()).unwrap());
    for round in 0..3000_u32 {
        let queue: JoinableQueue = JoinableQueue::open(&name).unwrap();
        queue.put(&round.to_ne_bytes()).unwrap();
        let lease = queue.get().unwrap();
        drop(queue);
        // The lease keeps its queue.
        assert_eq!(lease.value().unwrap(), round.to_ne_bytes());
        lease.ack().unwrap();
    }
    assert_eq!(generation(&name, 0), 3001);
    let queue: JoinableQueue = JoinableQueue::open(&name).unwrap();
    assert_eq!((queue.unfinished().unwrap(), queue.segment().users()), (0, 1));
}

/// Child: lives that each die with room in the store of a plain queue.
pub fn short_puts(arguments: &[String]) {
    for round in 0..300 {
        let code = in_fork(Fork::Libc, || {
            let queue: Queue = Queue::open(&arguments[0]).unwrap();
            let room = queue.try_reserve(40_000);
            let code = i32::from(room.is_err());
            std::mem::forget(room);
            code
        });
        assert_eq!(code, 0, "life {round}");
    }
}

#[test]
fn a_plain_queues_store_is_not_used_up_by_the_dead() {
    let _dog = watchdog_after(LIMIT);
    let name = Name::new("plain");
    let queue: Queue = Queue::create(&name, &one_slot().large_messages(64 << 10)).unwrap();
    Child::spawn("short_puts", &[&name]).finish();
    queue.put_timeout(&vec![1; queue.max_len()], crate::LONG).unwrap();
}
