//! What the queue promises, one test per behaviour.

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod cost;
mod crafted;
mod forked;
mod handles;
mod lease;
mod model;
mod parts;
mod processes;
mod roles;
mod shapes;
mod shutdown;
mod typed;
mod wrap;

use std::time::Duration;
use steadfast::{Queue, QueueOptions, SegmentOptions};

/// Long enough that only a defect lets it pass.
const LONG: Duration = Duration::from_secs(60);
/// Long enough to be told apart from "at once".
const SHORT: Duration = Duration::from_millis(30);

/// Options for a small queue.
fn small() -> QueueOptions {
    QueueOptions::new().capacity(4096).segment(SegmentOptions::new().participants(16))
}

/// A small queue of bytes under a fresh name.
fn bytes(tag: &str) -> (support::Name, Queue) {
    bytes_with(tag, &small())
}

fn bytes_with(tag: &str, options: &QueueOptions) -> (support::Name, Queue) {
    let name = support::Name::new(tag);
    let queue = Queue::create(&name, options).expect("create a queue");
    (name, queue)
}

#[test]
#[ignore = "a child of the other tests"]
fn child() {
    support::child::play(&[
        ("part", parts::take_one),
        ("get_all", batches::get_all),
        ("get", processes::get),
        ("get_one", processes::get_one),
        ("put", processes::put),
        ("put_many", processes::put_many),
        ("put_then_end", processes::put_then_end),
        ("put_one", processes::put_one),
        ("without_stdin", processes::without_stdin),
        ("hold_role", roles::hold_role),
        ("claim_role", roles::claim_role),
        ("shut_down", shutdown::shut_down),
        ("fork_queue", forked::fork_queue),
        ("fork_roles", forked::fork_roles),
        ("fork_get", forked::fork_get),
        ("uncontended", cost::uncontended),
        ("woken", cost::woken),
        ("idle", cost::idle),
    ]);
}
