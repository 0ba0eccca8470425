//! A message that is held for long is in nobody's way.

use std::time::Instant;

use steadfast::{GetError, JoinableQueue, Shutdown};

use crate::support::child::{self, Child};
use crate::support::{LIMIT, Rng, watchdog_after};
use crate::{bytes, support};

/// Child: puts messages of all sizes, so many bytes in all.
pub fn fill(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    let (mut left, mut rng) = (arguments[1].parse::<i64>().unwrap(), Rng::new(3));
    let mut number = 0_u32;
    while left > 0 {
        let mut item = vec![number as u8; 4 + rng.below(6000) as usize];
        item[..4].copy_from_slice(&number.to_ne_bytes());
        queue.put(&item).unwrap();
        left -= item.len() as i64;
        number += 1;
    }
    child::tell(number);
}

/// Child: takes messages, in order and whole, until the queue is shut down.
pub fn empty(arguments: &[String]) {
    let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
    let mut number = 0_u32;
    loop {
        let lease = match queue.get() {
            Ok(lease) => lease,
            Err(GetError::Closed) => break,
            Err(other) => panic!("{other}"),
        };
        let item = lease.value().unwrap();
        assert_eq!(item[..4], number.to_ne_bytes());
        assert!(item[4..].iter().all(|byte| *byte == number as u8));
        assert_eq!(lease.attempt(), 1);
        lease.ack().unwrap();
        number += 1;
    }
    child::tell(number);
}

/// Ten times the capacity from one process to another; tells how long it took, for those who read it.
fn flow(name: &support::Name, queue: &JoinableQueue, what: &str) {
    let bytes = (10 * queue.capacity()).to_string();
    let mut consumer = Child::spawn("empty", &[&**name]);
    let start = Instant::now();
    let mut producer = Child::spawn("fill", &[&**name, &bytes]);
    let put = producer.hear();
    producer.finish();
    queue.shutdown(Shutdown::Drain).unwrap();
    assert_eq!(consumer.hear(), put);
    consumer.finish();
    println!("{what}: {put} messages, {bytes} bytes in {:?}", start.elapsed());
}

#[test]
fn ten_capacities_flow_past_a_lease_that_is_held_all_the_time() {
    let _dog = watchdog_after(LIMIT);
    let (name, queue) = bytes("free");
    flow(&name, &queue, "without a lease");
    let (name, queue) = bytes("held");
    queue.put(&[9; 5000]).unwrap();
    let mut holder = Child::spawn("hold", &[&*name, "1"]);
    holder.expect("held");
    flow(&name, &queue, "past a lease");
    assert_eq!(queue.unfinished().unwrap(), 1);
    holder.kill();
    queue.unfinished().unwrap();
    let lease = queue.get().unwrap();
    assert_eq!((lease.value().unwrap(), lease.attempt()), (vec![9; 5000], 2));
    lease.ack().unwrap();
    queue.join().unwrap();
}
