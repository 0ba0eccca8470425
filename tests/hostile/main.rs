//! Segments that nobody in their right mind wrote. Whatever the bytes say, an
//! operation answers `Ok` or `Err` in bounded time: no panic, no crash, no hang.
//!
//! The operations run in child processes (see `runner`), so that a crash or a
//! hang is a failure with the corrupting offset and value, and not the end of
//! the tests.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod forged;
mod fuzz;
mod image;
mod joinable;
mod live;
mod mutex;
mod nodes;
mod primitives;
mod queue;
mod runner;
mod stopped;
mod truncated;

#[test]
#[ignore = "a child of the other tests"]
fn child() {
    support::child::play(&[
        ("queue", |arguments| runner::play(arguments, &queue::Shared)),
        ("single", |arguments| runner::play(arguments, &queue::Single)),
        ("mutex", |arguments| runner::play(arguments, &mutex::Ours)),
        ("pthread", |arguments| runner::play(arguments, &mutex::Theirs)),
        ("bytes", |arguments| runner::play(arguments, &mutex::Bytes)),
        ("forged", |arguments| runner::play(arguments, &forged::Forged)),
        ("files", |arguments| runner::play(arguments, &files::Files)),
        ("fuzz", |arguments| runner::play(arguments, &fuzz::Fuzz)),
        ("joinable", |arguments| runner::play(arguments, &joinable::Joinable)),
        ("large", |arguments| runner::play(arguments, &joinable::Large)),
        ("joinable fuzz", |arguments| runner::play(arguments, &joinable::Fuzz)),
        ("primitives", |arguments| runner::play(arguments, &primitives::Primitives)),
        ("truncated primitives", primitives::victim),
        ("victim", live::victim),
        ("flipper", live::flipper),
        ("truncated", truncated::victim),
        ("truncated joinable", truncated::holder),
        ("nodes", nodes::holder),
        ("stopped", stopped::holder),
    ]);
}
