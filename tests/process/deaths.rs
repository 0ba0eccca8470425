//! Children that die, at every stage: nobody waits for them, and nothing is left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use steadfast::{ExitStatus, Process, ProcessError, ResultError, StartError};

use crate::handshake::in_role;
use crate::support::harness::Directory;
use crate::support::{Rng, proc, random_seed, wait_until};
use crate::work;

/// The ways to die, and how that looks from outside.
const WAYS: [(&str, ExitStatus); 5] = [
    ("9", ExitStatus::Signaled(libc::SIGKILL)),
    ("11", ExitStatus::Signaled(libc::SIGSEGV)),
    ("6", ExitStatus::Signaled(libc::SIGABRT)),
    ("exit", ExitStatus::Exited(3)),
    ("panic", ExitStatus::Exited(1)),
];

fn die(way: &str) {
    match way {
        "exit" => std::process::exit(3),
        "panic" => panic!("as it was told"),
        signal => work::die_of(signal.parse().expect("a signal")),
    }
}

/// What is to be seen of a child that died after it had begun.
fn check_result<R: Serialize + serde::de::DeserializeOwned>(
    process: &Process<R>,
    way: &str,
    status: ExitStatus,
) {
    match process.result() {
        Err(ResultError::Panicked { message, .. }) if way == "panic" => {
            assert_eq!(message, "as it was told");
        }
        Err(ResultError::Ended { status: of, .. }) if way != "panic" => assert_eq!(of, status),
        other => panic!("{way}: {:?}", other.err()),
    }
    assert_eq!(process.exit_status(), Some(status), "{way}");
    nothing_is_left();
}

fn nothing_is_left() {
    assert_eq!(proc::children(std::process::id()), [0_u32; 0], "no process, and no zombie");
    assert!(steadfast::active_children().is_empty());
    let left: Vec<_> = std::fs::read_dir(std::env::temp_dir()).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

pub fn before_the_handshake() {
    for (way, status) in WAYS {
        // Outside of a child's function a panic is Rust's own affair.
        let status = if way == "panic" { ExitStatus::Exited(101) } else { status };
        let error = in_role("before_init", &[way]).start().expect_err("it dies first");
        assert!(
            matches!(error, StartError::Died { status: of, .. } if of == status),
            "{way}: {error}"
        );
        nothing_is_left();
    }
}

pub fn at_the_handshake() {
    for (way, status) in [("leave", ExitStatus::Exited(0)), ("die", WAYS[0].1)] {
        let error = in_role("greets", &[way]).start().expect_err("it dies first");
        assert!(
            matches!(error, StartError::Died { status: of, .. } if of == status),
            "{way}: {error}"
        );
        nothing_is_left();
    }
}

/// Dies when it is read.
pub struct Fatal(String);

impl Serialize for Fatal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Fatal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fatal, D::Error> {
        let way = String::deserialize(deserializer)?;
        die(&way);
        Ok(Fatal(way))
    }
}

/// Dies when it is written.
#[derive(Deserialize)]
pub struct FatalToo(String);

impl Serialize for FatalToo {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        die(&self.0);
        Err(serde::ser::Error::custom("it did not die"))
    }
}

fn take(_: Fatal) {}

fn run(way: String) {
    die(&way);
}

fn give(way: String) -> FatalToo {
    FatalToo(way)
}

steadfast::register!(take, run, give, fork_and_sleep);

pub fn while_decoding() {
    for (way, status) in WAYS {
        let process =
            Process::new(take, (Fatal(way.to_owned()),)).start().expect("it lives so far");
        check_result(&process, way, status);
    }
}

pub fn while_running() {
    for (way, status) in WAYS {
        let process = Process::new(run, (way.to_owned(),)).start().expect("it lives so far");
        check_result(&process, way, status);
    }
}

pub fn while_encoding() {
    for (way, status) in WAYS {
        let process = Process::new(give, (way.to_owned(),)).start().expect("it lives so far");
        check_result(&process, way, status);
    }
}

/// Children are killed at any moment of their lives: before they have met their parent, while they
/// read large arguments, while they send back a large result, while they end.
pub fn killed_at_random() {
    let seed = random_seed();
    println!("seed {seed}");
    let over = AtomicBool::new(false);
    // The time between two kills, at most, in microseconds. It follows how long children take, so that about half
    // of them come through, on a machine of any speed.
    let between = AtomicU64::new(12_000);
    let (mut died, mut ended, mut returned) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = Rng::new(seed);
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(
                    rng.below(between.load(Ordering::Relaxed)),
                ));
                for pid in proc::children(std::process::id()) {
                    // SAFETY: at worst it was waited for just now; its number is not given again so soon.
                    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                }
            }
        });
        let mut rng = Rng::new(seed ^ 1);
        for _ in 0..200 {
            let length = if rng.below(2) == 0 { 10 } else { 300_000 };
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let before = returned;
            match Process::new(work::reverse, (bytes.clone(),)).start() {
                Ok(process) => match process.result() {
                    Ok(mut result) => {
                        returned += 1;
                        result.reverse();
                        assert!(result == bytes, "the bytes came back changed");
                    }
                    Err(ResultError::Ended { status, .. }) => {
                        ended += 1;
                        assert_eq!(status, ExitStatus::Signaled(libc::SIGKILL));
                    }
                    Err(error) => panic!("{error}"),
                },
                Err(StartError::Died { status: ExitStatus::Signaled(libc::SIGKILL), .. }) => {
                    died += 1
                }
                Err(error) => panic!("{error}"),
            }
            let last = between.load(Ordering::Relaxed);
            let next = if returned > before { last - last / 10 } else { last + last / 10 };
            between.store(next.max(2000), Ordering::Relaxed);
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{died} died before they were met, {ended} later, {returned} returned");
    nothing_is_left();
    // A descriptor that was not closed would be seen after so many.
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("the descriptors").count();
    assert!(descriptors < 40, "{descriptors} descriptors");
}

pub fn a_stopped_child_is_not_dead() {
    // Before it has called init:
    let stopper = std::thread::spawn(|| in_role("before_init", &["stop"]).start());
    let stopped = || {
        let mut children = proc::children(std::process::id()).into_iter().map(|pid| pid as i32);
        children.find(|pid| proc::state(*pid, *pid) == Some('T'))
    };
    wait_until("the child has stopped", || stopped().is_some());
    assert!(!stopper.is_finished(), "it is waited for");
    // SAFETY: it is our child, and was not waited for.
    unsafe { libc::kill(stopped().expect("just seen"), libc::SIGCONT) };
    let process = stopper.join().expect("no panic").expect("it went on");
    assert_eq!(process.result().expect("a result"), 49);

    // While it runs:
    let directory = Directory::new("stopped");
    let (running, wanted) = (directory.0.join("running"), directory.0.join("wanted"));
    let process = Process::new(work::wait_for, (running.clone(), wanted.clone()));
    let process = process.start().expect("a process");
    let pid = work::pid_in(&running) as i32;
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    wait_until("the child has stopped", || proc::state(pid, pid) == Some('T'));
    work::write(&wanted, "text");
    assert!(process.is_alive());
    assert!(matches!(
        process.join_timeout(Duration::from_millis(50)),
        Err(ProcessError::TimedOut { .. })
    ));
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    assert_eq!(process.result().expect("a result"), "text");
}

/// Leaves a copy of itself behind, which keeps its descriptors open.
fn fork_and_sleep(path: std::path::PathBuf) {
    // SAFETY: the child sleeps, and calls nothing else.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        loop {
            // SAFETY: it takes nothing.
            unsafe { libc::pause() };
        }
    }
    work::write(&path, &pid.to_string());
    work::sleep_long();
}

pub fn a_child_that_forked() {
    let directory = Directory::new("forked");
    let path = directory.0.join("copy");
    let process = Process::new(fork_and_sleep, (path.clone(),)).start().expect("a process");
    let copy = work::pid_in(&path);
    process.kill().expect("killed");
    assert_eq!(process.join().expect("joined"), ExitStatus::Signaled(libc::SIGKILL));
    let error = process.result().expect_err("the copy cannot make us wait");
    assert!(matches!(error, ResultError::Ended { .. }), "{error}");
    assert!(work::lives(copy), "it lives on, and holds the channel");
    // SAFETY: it is ours now, as this process is the next that orphans get.
    unsafe { libc::kill(copy as i32, libc::SIGKILL) };
}
