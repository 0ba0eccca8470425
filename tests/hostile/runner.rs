//! Runs numbered cases in a child process. The child notes the number before
//! each case; when it crashes or stops, the parent knows which case that was,
//! reports it, and lets another child go on behind it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::support::Name;
use crate::support::child::{self, Child};

/// A case that takes longer hangs. Every wait inside a case is a few milliseconds.
const HANG: Duration = Duration::from_secs(20);
/// More failures than this are the same defect.
const ENOUGH: usize = 12;
/// What a victim may use: a corrupt length must not become a huge allocation.
const MEMORY: u64 = 2 << 30;

/// Bytes of a note about the case at hand: its number and its description.
const NOTE: usize = 400;

/// Numbered cases, the same ones in every child with the same seed.
pub trait Cases {
    /// How many.
    fn count(&self, seed: u64) -> usize;
    /// What case `number` does, for people.
    fn describe(&self, seed: u64, number: usize) -> String;
    /// Does it, with segments named `name`. An error is a failure.
    fn run(&self, seed: u64, number: usize, name: &str) -> Result<(), String>;
}

/// Child: runs the cases from the given one on.
pub fn play(arguments: &[String], cases: &dyn Cases) {
    let [seed, first, stop_after, progress, name] = arguments else { panic!("{arguments:?}") };
    let seed = seed.parse().unwrap();
    let stop_after = Duration::from_secs(stop_after.parse().unwrap());
    limit_memory();
    let last_panic = quiet_panics();
    let progress = File::options().write(true).open(progress).unwrap();
    let start = Instant::now();
    let count = cases.count(seed);
    let mut done = 0;
    for number in first.parse().unwrap()..count {
        if start.elapsed() >= stop_after {
            break;
        }
        let mut note = (number as u64).to_le_bytes().to_vec();
        note.extend_from_slice(cases.describe(seed, number).as_bytes());
        note.resize(NOTE, b' ');
        progress.write_all_at(&note, 0).unwrap();
        let told = catch_unwind(AssertUnwindSafe(|| cases.run(seed, number, name)));
        let failure = match told {
            Ok(Ok(())) => None,
            Ok(Err(what)) => Some(what),
            Err(_) => Some(format!("panic: {}", last_panic.lock().unwrap())),
        };
        if let Some(what) = failure {
            let case = cases.describe(seed, number);
            child::tell(format!("failed case {number} ({case}): {what}").replace('\n', " "));
        }
        let _ = std::fs::remove_file(crate::support::file(name));
        done += 1;
    }
    child::tell(format!("done {done} {count}"));
}

fn limit_memory() {
    let limit = libc::rlimit { rlim_cur: MEMORY, rlim_max: MEMORY };
    // SAFETY: `limit` is a valid rlimit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
    assert_eq!(result, 0, "setrlimit");
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a valid rlimit; crashes need no core files.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}

/// Keeps the last panic's text and place instead of printing it.
fn quiet_panics() -> &'static Mutex<String> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    std::panic::set_hook(Box::new(|info| {
        *LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = info.to_string();
    }));
    &LAST
}

/// A file that is removed on drop.
struct Progress(PathBuf);

impl Progress {
    fn new(name: &str) -> Progress {
        let path = std::env::temp_dir().join(format!("{name}.progress"));
        std::fs::write(&path, [b' '; NOTE]).expect("a file for the progress");
        Progress(path)
    }

    /// The case at hand: its number and its description.
    fn read(&self) -> (u64, String) {
        let note = std::fs::read(&self.0).expect("the progress");
        let (number, text) = note.split_first_chunk().expect("a whole note");
        (u64::from_le_bytes(*number), String::from_utf8_lossy(text).trim_end().to_owned())
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Ran {
    /// Cases that ran.
    pub done: usize,
    /// Cases there are.
    pub count: usize,
}

impl Ran {
    /// Every case must have run.
    pub fn all(self) {
        assert_eq!(self.done, self.count, "the time was too short");
        println!("{} corruptions survived", self.done);
    }
}

/// Runs all cases of a role, for at most `seconds` per child; panics with the
/// failures.
pub fn run(role: &str, seed: u64, seconds: u64) -> Ran {
    let name = Name::new(role);
    let progress = Progress::new(&name);
    let (mut failures, mut first, mut ran) = (Vec::new(), 0, Ran::default());
    while failures.len() < ENOUGH {
        let path = progress.path().to_str().expect("a plain path");
        let numbers = [seed, first, seconds].map(|number| number.to_string());
        let arguments = [&*numbers[0], &*numbers[1], &*numbers[2], path, &*name];
        let mut victim = Child::spawn(role, &arguments);
        match follow(&mut victim, &progress, &mut failures) {
            Some(end) => {
                ran = Ran { done: first as usize + end.done, count: end.count };
                break;
            }
            None => first = progress.read().0 + 1,
        }
    }
    let all = failures.len();
    assert!(failures.is_empty(), "seed {seed}, {all} failures:\n{}", failures.join("\n"));
    ran
}

/// Listens to one victim. None when it crashed or hung at the case at hand.
fn follow(victim: &mut Child, progress: &Progress, failures: &mut Vec<String>) -> Option<Ran> {
    let at_hand = |what: String| {
        let (number, text) = progress.read();
        format!("case {number} ({text}): {what}")
    };
    loop {
        let before = progress.read();
        match victim.hear_within(HANG) {
            Ok(line) => match line.split_once(' ') {
                Some(("done", numbers)) => {
                    let (done, count) = numbers.split_once(' ').expect("two numbers");
                    let number = |text: &str| text.parse().expect("a number");
                    return Some(Ran { done: number(done), count: number(count) });
                }
                Some(("failed", what)) => {
                    failures.push(what.to_owned());
                    if failures.len() >= ENOUGH {
                        return Some(Ran::default());
                    }
                }
                _ => panic!("not a report: {line}"),
            },
            Err(RecvTimeoutError::Timeout) if progress.read() != before => {}
            Err(RecvTimeoutError::Timeout) => {
                failures.push(at_hand(format!("hangs for {HANG:?}")));
                return None;
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = victim.wait();
                failures.push(at_hand(format!("crash: {status}")));
                return None;
            }
        }
    }
}
