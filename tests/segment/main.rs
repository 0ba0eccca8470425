//! What a segment promises: making, opening, sharing, dying, cleaning up.
//!
//! Everything that cleans, fills or counts `/dev/shm` runs in a sandbox: a child with a mount
//! namespace and a tmpfs of its own, so that it cannot disturb other programs on the machine.

#[path = "../support/mod.rs"]
mod support;

mod cleanup;
mod foreign;
mod forked;
mod killed;
mod lifecycle;
mod sandbox;
mod truncation;
mod users;

use steadfast::{Segment, SegmentOptions};
use support::child;

#[test]
#[ignore = "a child of other tests"]
fn child() {
    child::play(&[
        ("hold", users::hold),
        ("open once", users::open_once),
        ("open or create", lifecycle::open_or_create),
        ("write", lifecycle::write),
        ("without stdin", lifecycle::without_stdin),
        ("descriptors", lifecycle::descriptors),
        ("forked", forked::forked),
        ("forked and killed", forked::forked_and_killed),
        ("forks beside threads", forked::forks_beside_threads),
        ("truncated", truncation::truncated),
        ("truncated unguarded", truncation::unguarded),
        ("truncated elsewhere", truncation::elsewhere),
        ("life", killed::life),
        ("sandbox", sandbox::play),
    ]);
}

fn plain() -> SegmentOptions {
    SegmentOptions::new()
}

fn ephemeral() -> SegmentOptions {
    SegmentOptions::new().ephemeral(true)
}

/// The generation that a slot of the segment's file has.
fn generation(name: &support::Name, slot: u64) -> u32 {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 4];
    let file = std::fs::File::open(name.file()).expect("the segment's file");
    file.read_exact_at(&mut bytes, 4096 + 64 * slot).expect("a slot");
    u32::from_ne_bytes(bytes)
}

/// Waits until so many processes are attached: a killed one counts for an instant.
fn wait_for_users(segment: &Segment, users: usize) {
    support::wait_until("the users are right", || segment.users() == users);
}
