//! What the benches share: several processes that do the same work side by side, and an honest way to
//! take the time of it.
//!
//! | file | one thing |
//! |---|---|
//! | `board` | memory that the parent and its peers share: the start gate, lines to bounce, lock cells |
//! | `peer` | the peer's side: takes orders, waits at the gate, works, reports |
//! | `crew` | the parent's side: starts peers, gives orders, collects reports |
//! | `contest` | contestants that take turns, sample by sample, and what came of it |
//!
//! Two clouds hang over every figure of two processes that share memory, and both are measured:
//! * **Where the two processors are.** One cache line goes from one to the other and back in some 55 ns
//!   when they are threads of one core, in 130 ns when they share a cache, and in 500 ns when they do
//!   not; on a virtual machine that changes from one moment to the next. A round trip of a line is
//!   timed before and after every sample. Only samples with the same class on both sides count, and
//!   only those of one class are put together.
//! * **Who else is running.** The kernel says how long a process waited for a processor. A sample in
//!   which one of a pair waited for more than 3 % of the time does not count.

#![allow(dead_code, reason = "each bench uses its own part of this module")]

pub mod board;
pub mod contest;
pub mod crew;
pub mod peer;

use std::fmt::Display;

/// What a peer or a crew may fail with: this ends the bench.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The environment variable that makes a bench program a peer.
pub const PEER: &str = "STEADFAST_BENCH_PEER";

/// A name for a segment of this process.
pub fn segment_name(what: &str) -> String {
    format!("bench-{}-{what}", std::process::id())
}

/// An error made of words.
pub fn wrong<T>(what: impl Display) -> Result<T> {
    Err(what.to_string().into())
}

/// The processors that this process may use.
pub fn processors() -> Result<Vec<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|&at| allowed.is_set(at)).collect())
}
