//! What a consumer held that is killed comes back; what a producer had not put takes no space.

use std::time::Duration;

use steadfast::{GetError, JoinError, JoinableQueue, PutError, Reason, SegmentOptions};

use crate::support::child::{self, Child};
use crate::{LONG, SHORT, bytes, bytes_with, drain, small, support};

/// Holds as many messages as it is told to, until it is killed.
pub fn hold(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    let count: usize = arguments[1].parse().unwrap();
    let leases: Vec<_> = (0..count).map(|_| queue.get().unwrap()).collect();
    child::tell("held");
    child::hear();
    drop(leases);
}

/// Works until the queue is shut down.
pub fn work(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    child::tell("ready");
    loop {
        match queue.get() {
            Ok(lease) => lease.ack().unwrap(),
            Err(GetError::Closed) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Puts one message of a length, and ends.
pub fn put(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    queue.put(&vec![1; arguments[1].parse().unwrap()]).unwrap();
    child::tell("put");
}

/// Reserves room, and waits to be killed.
pub fn reserve(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    let room = queue.reserve(arguments[1].parse().unwrap()).unwrap();
    child::tell("reserved");
    child::hear();
    drop(room);
}

fn holder(name: &str, count: usize) -> Child {
    let mut child = Child::spawn("hold", &[name, &count.to_string()]);
    child.expect("held");
    child
}

#[test]
fn what_a_killed_consumer_held_comes_back_first_and_in_order() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes("killed");
    for item in 0..5_u8 {
        queue.put(&[item]).unwrap();
    }
    let holder = holder(&name, 3);
    assert_eq!(queue.qsize().unwrap(), 2);
    holder.kill();
    let lease = queue.get_timeout(LONG).unwrap();
    assert_eq!(lease.value().unwrap(), [3], "what is ready is not looked for among the dead");
    assert_eq!(queue.unfinished().unwrap(), 5); // this looks
    let mut seen = Vec::new();
    while let Ok(lease) = queue.try_get() {
        seen.push((lease.value().unwrap()[0], lease.attempt(), lease.last_reason()));
        lease.ack().unwrap();
    }
    let died = Reason::Died;
    assert_eq!(seen, [(0, 2, died), (1, 2, died), (2, 2, died), (4, 1, Reason::Never)]);
    lease.ack().unwrap();
    queue.join().unwrap();
}

#[test]
fn a_consumer_that_never_waits_gets_what_a_killed_one_held() {
    let _watchdog = support::watchdog();
    let options = small().capacity(1 << 20);
    let (name, queue) = bytes_with("busy", &options);
    for _ in 0..4000 {
        queue.put(b"work").unwrap();
    }
    let holder = holder(&name, 1);
    holder.kill();
    let mut again = false;
    for _ in 0..3000 {
        let lease = queue.try_get().unwrap();
        again |= lease.attempt() == 2;
        lease.ack().unwrap();
    }
    assert!(again, "and a thousand messages are still there");
}

#[test]
fn a_waiting_consumer_gets_what_a_killed_one_held() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes("waiting");
    queue.put(b"it").unwrap();
    let holder = holder(&name, 1);
    let waiting = queue.clone();
    let waiting = std::thread::spawn(move || {
        let lease = waiting.get().unwrap();
        assert_eq!((lease.value().unwrap(), lease.attempt()), (b"it".to_vec(), 2));
        lease.ack().unwrap();
    });
    std::thread::sleep(SHORT);
    assert!(!waiting.is_finished());
    holder.kill();
    waiting.join().unwrap();
}

#[test]
fn join_is_not_held_up_by_the_dead_and_others_do_the_work() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes("join-dead");
    for item in 0..8_u8 {
        queue.put(&[item]).unwrap();
    }
    let holder = holder(&name, 4);
    let mut worker = Child::spawn("work", &[&*name]);
    worker.expect("ready");
    assert!(matches!(queue.join_timeout(SHORT), Err(JoinError::TimedOut)));
    holder.kill();
    queue.join().unwrap();
    queue.shutdown(steadfast::Shutdown::Drain).unwrap();
    worker.finish();
}

#[test]
fn a_stopped_consumer_keeps_its_lease() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes("stopped");
    queue.put(b"it").unwrap();
    let holder = holder(&name, 1);
    holder.stop();
    assert!(matches!(queue.get_timeout(support::PAST_BACKSTOPS), Err(GetError::TimedOut)));
    assert_eq!(queue.unfinished().unwrap(), 1);
    holder.resume();
    holder.kill();
    assert_eq!(queue.get().unwrap().attempt(), 2);
}

#[test]
fn the_last_death_makes_a_dead_letter() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes_with("poison", &small().max_deliveries(2));
    queue.put(b"poison").unwrap();
    for _ in 0..2 {
        holder(&name, 1).kill();
        queue.unfinished().unwrap();
    }
    queue.join().unwrap();
    let letters = queue.dead_letters().unwrap();
    assert_eq!((letters[0].attempts, letters[0].reason), (2, Reason::Died));
    assert_eq!(letters[0].bytes, b"poison");
}

#[test]
fn room_that_a_killed_producer_reserved_is_free_for_one_that_waits() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes("reserved");
    let mut producer = Child::spawn("reserve", &[&name, &queue.max_len().to_string()]);
    producer.expect("reserved");
    assert!(matches!(queue.put_timeout(b"x", SHORT), Err(PutError::TimedOut)));
    assert_eq!((queue.unfinished().unwrap(), queue.qsize().unwrap()), (0, 0));
    producer.kill();
    queue.put(b"x").unwrap();
    assert_eq!(drain(&queue), [b"x"]);
    queue.put(&vec![1; queue.max_len()]).unwrap();
}

#[test]
fn messages_outlive_their_producers() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes("outlive");
    for len in [0, 1, 5000, 20_000] {
        let mut producer = Child::spawn("put", &[&*name, &len.to_string()]);
        producer.expect("put");
        producer.finish();
    }
    assert_eq!(queue.unfinished().unwrap(), 4);
    let lens: Vec<_> = drain(&queue).iter().map(Vec::len).collect();
    assert_eq!(lens, [0, 1, 5000, 20_000]);
}

#[test]
fn slots_are_used_again_and_nobody_inherits_a_lease() {
    let _watchdog = support::watchdog();
    let options = small().segment(SegmentOptions::new().participants(2));
    let (name, queue) = bytes_with("slots", &options);
    queue.put(b"it").unwrap();
    for round in 1..=30 {
        let child = holder(&name, 1);
        child.kill();
        // the next one comes into the same slot, as there is no other
        let lease = queue.get_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(lease.attempt(), round + 1);
        lease.release().unwrap();
    }
}

#[test]
fn a_lease_dropped_in_a_forked_child_stays_the_parents() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("forked");
    queue.put(b"it").unwrap();
    let lease = queue.get().unwrap();
    // SAFETY: the child only drops the lease and ends, without a destructor or a lock of the harness.
    match unsafe { libc::fork() } {
        0 => {
            drop(lease);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) };
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child just made.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    lease.ack().unwrap();
    queue.join().unwrap();
}
