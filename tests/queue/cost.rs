//! What a queue costs: no system call while nobody has to wait, a real wake-up
//! instead of a late one, and next to no CPU time while it sleeps.

use std::time::{Duration, Instant};

use steadfast::{GetError, Queue};

use crate::support::child::{self, Child};
use crate::support::{proc, trace, watchdog};
use crate::{bytes, bytes_with, small};

/// Child: uncontended operations between two marks.
pub fn uncontended(arguments: &[String]) {
    let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
    let single = Queue::<[u8]>::open(&arguments[1]).unwrap();
    let mut producer = single.producer().unwrap();
    let mut consumer = single.consumer().unwrap();
    let mut buffer = Vec::with_capacity(256);
    let mut once = |n: u8| {
        let message = [n; 100];
        queue.put(&message).unwrap();
        queue.try_put(&message).unwrap();
        queue.put_timeout(&message, Duration::from_secs(1)).unwrap();
        queue.put_many(&[message, message]).unwrap();
        for _ in 0..3 {
            queue.get_into(&mut buffer).unwrap();
        }
        queue.get_timeout(Duration::from_secs(1)).unwrap();
        assert_eq!(queue.qsize().unwrap(), 1);
        assert_eq!(queue.try_get().unwrap(), message);
        producer.put(&message).unwrap();
        consumer.peek().unwrap().release().unwrap();
        producer.put_many(&[message, message]).unwrap();
        assert_eq!(consumer.get_many(2).unwrap(), [message, message]);
    };
    once(0); // the first use may set things up
    trace::mark();
    for n in 0..200 {
        once(n);
    }
    trace::mark();
    child::tell(proc::tid());
}

/// Child: one get after another, each told.
pub fn woken(arguments: &[String]) {
    let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
    child::tell(std::process::id());
    child::tell(proc::tid());
    trace::mark();
    for _ in 0..ROUNDS {
        queue.get().unwrap();
        child::tell("got");
    }
    trace::mark();
}

/// Child: sleeps in get for a while and tells the CPU time it used.
pub fn idle(arguments: &[String]) {
    let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
    let seconds: u64 = arguments[1].parse().unwrap();
    let wait = Duration::from_secs(seconds);
    assert!(matches!(queue.get_timeout(Duration::from_millis(50)), Err(GetError::TimedOut)));
    let (before, start) = (proc::cpu_time(), Instant::now());
    assert!(matches!(queue.get_timeout(wait), Err(GetError::TimedOut)));
    let (used, passed) = (proc::cpu_time() - before, start.elapsed());
    child::tell(used.as_nanos());
    child::tell(passed.as_nanos());
}

const ROUNDS: usize = 20;

#[test]
fn no_system_call_without_contention() {
    let _dog = watchdog();
    let (shared, _queue) = bytes("calls");
    let (single, _other) = bytes_with("calls", &small().single_producer().single_consumer());
    let calls = trace::run("uncontended", &[&shared, &single], |child| {
        child.hear();
    });
    // The allocator may ask for memory; everything else would be ours.
    let ours = |line: &String| !line.contains(" brk(") && !line.contains(" mmap(");
    let calls: Vec<String> = calls.into_iter().flatten().filter(ours).collect();
    assert!(calls.is_empty(), "{} calls, the first: {}", calls.len(), calls[0]);
}

#[test]
fn a_sleeping_get_is_woken_and_not_merely_late() {
    let _dog = watchdog();
    let (name, queue) = bytes("woken");
    let calls = trace::run("woken", &[&name], |child| {
        let pid: i32 = child.hear().parse().unwrap();
        let tid: i32 = child.hear().parse().unwrap();
        for _ in 0..ROUNDS {
            proc::wait_until_asleep(pid, tid);
            queue.put(b"x").unwrap();
            child.expect("got");
        }
    });
    let Some(calls) = calls else { return };
    let woken = calls.iter().filter(|line| line.contains("futex") && line.ends_with("= 0")).count();
    assert!(woken >= ROUNDS / 4, "{woken} wake-ups in {ROUNDS} rounds: {calls:#?}");
}

#[test]
fn a_sleeping_consumer_costs_next_to_no_cpu_time() {
    let _dog = watchdog();
    let (name, _queue) = bytes("idle");
    let mut child = Child::spawn("idle", &[&name, "4"]);
    let used: f64 = child.hear().parse().unwrap();
    let passed: f64 = child.hear().parse().unwrap();
    let percent = 100.0 * used / passed;
    println!("a sleeping consumer uses {percent:.4} % of a core");
    assert!(percent < 0.5, "{percent:.4} % of a core; promised is 0.05 %");
}
