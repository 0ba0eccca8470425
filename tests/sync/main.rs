//! What `Mutex` and `PthreadMutex` promise. Each body is there once and is
//! compiled for both, as a module of `ours` and as one of `theirs`.

#![allow(clippy::duplicate_mod)] // that is the point, see above

#[path = "../support/mod.rs"]
mod support;

mod mixed;
mod ours;
mod theirs;

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast::SegmentOptions;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Long enough that only a defect lets it pass.
const LONG: Duration = Duration::from_secs(60);
/// Long enough to be told apart from "at once".
const SHORT: Duration = Duration::from_millis(30);

/// Two numbers that are equal whenever the lock is free and nobody died.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, TryFromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
struct Pair {
    first: u64,
    second: u64,
}

fn options() -> SegmentOptions {
    SegmentOptions::new().participants(16)
}

/// Every order of four things.
fn orders() -> Vec<[usize; 4]> {
    let all = 0..4_usize.pow(4);
    let order = |code: usize| [code % 4, code / 4 % 4, code / 16 % 4, code / 64];
    let each_once = |order: &[usize; 4]| order.iter().collect::<BTreeSet<_>>().len() == 4;
    all.map(order).filter(each_once).collect()
}

#[test]
#[ignore = "a child of the other tests"]
fn child() {
    support::child::play(&[
        ("ours", ours::hand::play),
        ("theirs", theirs::hand::play),
        ("mixed", mixed::mixed),
        ("relock", mixed::relock),
    ]);
}
