//! What the primitives promise, between processes. `lock` to `value` follow Python's own tests of its
//! `Lock` family, by behaviour.

#[path = "../support/mod.rs"]
mod support;

#[path = "../storm/namespace.rs"]
mod namespace;

mod barrier;
mod c_program;
mod condition;
mod consistency;
mod cost;
mod ends;
mod event;
mod glibc;
mod library;
mod lock;
mod messages;
mod namespaces;
mod puppet;
mod rlock;
mod semaphore;
mod shared;
mod things;
mod timeouts;
mod value;

use std::time::Duration;

use steadfast::SegmentOptions;

/// Long enough that only a defect lets it pass.
const LONG: Duration = Duration::from_secs(60);
/// Long enough to be told apart from "at once".
const SHORT: Duration = Duration::from_millis(30);

fn options() -> SegmentOptions {
    SegmentOptions::new().participants(16)
}

#[test]
#[ignore = "a child of the other tests"]
fn child() {
    support::child::play(&[
        ("puppet", puppet::play),
        ("party", barrier::party),
        ("gate crasher", lock::count),
        ("stepper", condition::step),
        ("filler", value::fill),
        ("shopkeeper", shared::keep),
        ("actor", consistency::actor),
        ("glibc", glibc::play),
        ("holder", ends::holder),
        ("visitor", library::visit),
        ("idle", cost::uncontended),
        ("forker", ends::forker),
        ("foreign holder", namespaces::holder),
        ("foreign waiter", namespaces::waiter),
        ("foreign siblings", namespaces::siblings),
        ("refused foreigner", namespaces::refused),
    ]);
}
