//! What the joinable queue promises, one test per behaviour.

#[path = "../support/mod.rs"]
mod support;

mod basics;
mod dead_letters;
mod deaths;
mod forked;
mod large;
mod lists;
mod model;
mod semantics;
mod slots;
mod surveys;
mod throughput;
mod waiting;

use std::time::Duration;
use steadfast::{JoinableQueue, QueueOptions, SegmentOptions};

/// Long enough that only a defect lets it pass.
const LONG: Duration = Duration::from_secs(60);
/// Long enough to be told apart from "at once".
const SHORT: Duration = Duration::from_millis(30);

/// Options for a small queue.
fn small() -> QueueOptions {
    QueueOptions::new().capacity(64 << 10).segment(SegmentOptions::new().participants(16))
}

/// A small joinable queue of bytes under a fresh name.
fn bytes(tag: &str) -> (support::Name, JoinableQueue) {
    bytes_with(tag, &small())
}

fn bytes_with(tag: &str, options: &QueueOptions) -> (support::Name, JoinableQueue) {
    let name = support::Name::new(tag);
    let queue = JoinableQueue::create(&name, options).expect("create a queue");
    (name, queue)
}

/// Takes everything there is, acknowledges it, and gives it in order.
fn drain(queue: &JoinableQueue) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Ok(lease) = queue.try_get() {
        all.push(lease.value().expect("bytes"));
        lease.ack().expect("acknowledge");
    }
    all
}

#[test]
#[ignore = "a child of the other tests"]
fn child() {
    support::child::play(&[
        ("hold", deaths::hold),
        ("work", deaths::work),
        ("put", deaths::put),
        ("reserve", deaths::reserve),
        ("join", semantics::join),
        ("work_by_value", semantics::work_by_value),
        ("fork_leases", forked::fork_leases),
        ("short_lives", slots::short_lives),
        ("take_and_go", slots::take_and_go),
        ("attach", slots::attach),
        ("short_puts", slots::short_puts),
        ("fill", throughput::fill),
        ("empty", throughput::empty),
    ]);
}
