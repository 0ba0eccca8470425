//! What the tests share: names that clean up after themselves, watchdogs, a
//! small random generator and child processes.

#![allow(dead_code)] // each test crate uses its own part of this module

pub mod chain;
pub mod child;
pub mod harness;
pub mod proc;
pub mod trace;

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test may take before its watchdog ends the whole test process.
/// Generous: the machine may be busy, and nothing here measures speed.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Longer than five backstop periods: a sleeper that robs live owners has done
/// so by then.
pub const PAST_BACKSTOPS: Duration = Duration::from_millis(650);

/// The file behind a segment name.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("/dev/shm/steadfast.{name}"))
}

/// A segment name of this test process; its file is removed on drop.
pub struct Name(String);

impl Name {
    pub fn new(tag: &str) -> Name {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Name(format!("test-{}-{number}-{tag}", std::process::id()))
    }

    pub fn file(&self) -> PathBuf {
        file(&self.0)
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let path = self.file();
        if std::fs::remove_file(&path).is_err() {
            let _ = std::fs::remove_dir(&path); // hostile tests put a directory there
        }
    }
}

/// Removes every segment file this process has named.
fn remove_all_names() {
    let prefix = format!("steadfast.test-{}-", std::process::id());
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Ends the process with a message unless it is dropped in time.
pub struct Watchdog {
    _alive: Sender<()>,
}

/// Starts a watchdog with the usual limit.
pub fn watchdog() -> Watchdog {
    watchdog_after(LIMIT)
}

/// Starts a watchdog with a limit of its own.
pub fn watchdog_after(limit: Duration) -> Watchdog {
    let (alive, expired) = mpsc::channel::<()>();
    let test = thread::current().name().unwrap_or("?").to_owned();
    thread::spawn(move || {
        if expired.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("watchdog: {test} still runs after {limit:?}");
            remove_all_names();
            std::process::abort();
        }
    });
    Watchdog { _alive: alive }
}

/// Polls until `ready` is true; panics with `what` after the usual limit.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that are free on the shared-memory file system.
pub fn shared_memory_free() -> u64 {
    // SAFETY: all zero bytes are a valid statvfs.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is NUL-terminated and `status` is ours to write.
    let result = unsafe { libc::statvfs(c"/dev/shm".as_ptr(), &mut status) };
    assert_eq!(result, 0, "statvfs /dev/shm");
    status.f_bavail * status.f_frsize
}

/// False, with a message, when less than `bytes` of shared memory are free.
pub fn enough_shared_memory(bytes: u64) -> bool {
    let free = shared_memory_free();
    if free < bytes {
        eprintln!("skipped: needs {bytes} bytes of shared memory, {free} are free");
    }
    free >= bytes
}

/// A small random generator (splitmix64), so that a seed says everything.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A seed that differs from run to run; print it where it matters.
pub fn random_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.expect("the clock is past 1970").as_nanos() as u64;
    Rng::new(nanos ^ u64::from(std::process::id())).next()
}
