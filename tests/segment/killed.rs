//! A process that is killed before each of its system calls in turn leaves nothing half-made, and
//! nothing that `clean` does not remove.

use std::os::unix::process::ExitStatusExt;

use steadfast::{CleanOptions, Segment, SegmentError};

use crate::support::child::Child;
use crate::support::{proc, wait_until};
use crate::{ephemeral, plain, sandbox};

/// The calls that the life of a segment is made of.
const CALLS: [&str; 15] = [
    "openat",
    "ftruncate",
    "mmap",
    "fcntl",
    "fallocate",
    "pread64",
    "madvise",
    "fchmod",
    "renameat2",
    "unlinkat",
    "munmap",
    "close",
    "getrandom",
    "fstat",
    "newfstatat",
];

/// Makes, opens and removes segments of both sorts.
pub fn life(_: &[String]) {
    let segment = Segment::create("durable", 5000, &plain()).unwrap();
    Segment::open("durable").unwrap().write_at(0, b"x").unwrap();
    drop(segment);
    Segment::open("durable").unwrap().write_at(0, b"y").unwrap();
    Segment::unlink("durable").unwrap();
    drop(Segment::create("ephemeral", 5000, &ephemeral()).unwrap());
}

#[test]
fn killed_before_every_system_call() {
    sandbox::scene("killed");
}

pub fn at_every_call() {
    if !proc::runs("strace", &["-f", "true"]) {
        eprintln!("skipped: strace cannot trace here");
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    for call in CALLS {
        let mut killed = 0;
        for number in 1.. {
            let inject = format!("inject={call}:signal=SIGKILL:when={number}");
            let trace = format!("trace={call}");
            let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let status = Child::spawn_under(&wrapper, "life", &[]).wait();
            if status.success() {
                break;
            }
            assert!(status.signal() == Some(libc::SIGKILL), "{call} {number}: {status}");
            killed += 1;
            let files = sandbox::files();
            seen.extend(files.iter().map(|file| file[..11].to_owned()));
            for name in ["durable", "ephemeral"] {
                match Segment::open(name) {
                    Ok(segment) => segment.write_at(4999, b"z").unwrap(),
                    Err(SegmentError::NotFound { .. }) => {}
                    Err(error) => panic!("{call} {number}: {error} ({files:?})"),
                }
            }
            wait_until("clean removes it all", || {
                Segment::clean(&CleanOptions { dry_run: false, idle: true }).unwrap();
                sandbox::files().is_empty()
            });
        }
        eprintln!("{call}: killed {killed} times");
    }
    // It did meet files that were being made, used and removed.
    assert!(seen.len() >= 2, "{seen:?}");
}
