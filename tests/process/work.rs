//! What the processes of the tests do.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast::{OrphanPolicy, Process, Run};

use crate::support::{self, LIMIT};

steadfast::register!(
    nothing,
    square,
    shout,
    eight,
    sum::<u64>,
    sum::<f64>,
    sleep_long,
    exit_with,
    die_of,
    panic_with,
    reverse,
    read_standard_input,
    marks,
    program_arguments,
    descriptors,
    threads,
    nested,
    nested_names,
    who_is_who,
    write_file,
    touch_and_sleep,
    wait_for,
    alarmed,
    start_in_a_daemon,
    Countdown::run,
    Tally::tally,
);

/// The number of a signal, as the system's header has it.
pub type Signal = i32;

pub fn nothing() {}

pub fn square(x: u64) -> u64 {
    x * x
}

pub fn shout(words: Vec<String>, times: usize) -> String {
    words.join(" ").to_uppercase().repeat(times)
}

#[allow(clippy::too_many_arguments)] // as many as there can be
pub fn eight(
    a: u8,
    b: i8,
    c: char,
    d: String,
    e: Option<bool>,
    f: (u8, u8),
    g: [u8; 3],
    h: f64,
) -> String {
    format!("{a} {b} {c} {d} {e:?} {f:?} {g:?} {h}")
}

/// Each instance of a generic function is a function of its own.
pub fn sum<T>(values: Vec<T>) -> T
where
    T: Default + std::ops::AddAssign<T>,
{
    values.into_iter().fold(T::default(), |mut sum, value| {
        sum += value;
        sum
    })
}

/// Until somebody ends it; or, if nobody does, long after the test has failed.
pub fn sleep_long() {
    std::thread::sleep(LIMIT * 3);
}

pub fn exit_with(code: i32) {
    std::process::exit(code);
}

/// Kills this process.
pub fn die_of(signal: Signal) {
    if signal == libc::SIGABRT {
        std::process::abort();
    }
    // SAFETY: the default action runs no code. Rust's runtime has a handler of its own for SIGSEGV.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: raise takes a number; the default actions of the tests' signals end this process.
    unsafe { libc::raise(signal) };
    sleep_long();
}

pub fn panic_with(message: String) {
    panic!("{message}");
}

pub fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

/// What standard input gives, and reading a line from it.
pub fn read_standard_input() -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).expect("an end of file is no error");
    let line = std::io::stdin().read_line(&mut String::new()).expect("nor here");
    (bytes, line)
}

/// The marks in this process's environment, and in that of a program that it starts.
pub fn marks() -> (usize, usize) {
    let own = std::env::vars_os().filter(|(name, _)| name == "STEADFAST_CHILD").count();
    let output = std::process::Command::new("env").output().expect("run env");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (own, text.lines().filter(|line| line.starts_with("STEADFAST_CHILD=")).count())
}

pub fn program_arguments() -> Vec<String> {
    std::env::args().collect()
}

/// How many descriptors this process has at each depth.
pub fn descriptors(depth: u32) -> Vec<usize> {
    let mut counts = vec![std::fs::read_dir("/proc/self/fd").expect("the descriptors").count()];
    if depth > 0 {
        let child = Process::new(descriptors, (depth - 1,)).start().expect("a child of a child");
        counts.extend(child.result().expect("its count"));
    }
    counts
}

/// Threads that are joined do their work; one that is not ends with the process.
pub fn threads(directory: PathBuf) -> usize {
    let late = directory.join("late");
    std::thread::spawn(move || {
        std::thread::sleep(LIMIT);
        std::fs::write(late, "").expect("written");
    });
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4_usize).map(|n| scope.spawn(move || n)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    })
}

/// A tree of processes, two for each, as the reference's test has it.
pub fn nested(path: Vec<u32>) -> Vec<Vec<u32>> {
    let mut found = vec![path.clone()];
    if path.len() < 2 {
        for branch in 0..2 {
            let mut longer = path.clone();
            longer.push(branch);
            let child = Process::new(nested, (longer,)).start().expect("a child of a child");
            found.extend(child.result().expect("its paths"));
        }
    }
    found
}

/// The names of this process and of its second descendants.
pub fn nested_names(depth: u32) -> Vec<String> {
    let mut names = vec![steadfast::current_process().name().to_owned()];
    if depth > 0 {
        let _first = Process::new(nothing, ()); // takes a number, started or not
        let second = Process::new(nested_names, (depth - 1,)).start().expect("a child");
        names.extend(second.result().expect("its names"));
    }
    names
}

/// Who a process thinks that it and its parent are.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Who {
    pub name: String,
    pub pid: u32,
    pub daemon: bool,
    pub parent_name: String,
    pub parent_pid: u32,
    pub parent_lives: bool,
}

pub fn who_is_who() -> Who {
    let (me, parent) = (steadfast::current_process(), steadfast::parent_process());
    let parent = parent.expect("a child has a parent");
    assert!(!parent.join_timeout(Duration::ZERO), "it lives");
    Who {
        name: me.name().to_owned(),
        pid: me.pid(),
        daemon: me.is_daemon(),
        parent_name: parent.name().to_owned(),
        parent_pid: parent.pid(),
        parent_lives: parent.is_alive(),
    }
}

pub fn write_file(path: PathBuf, text: String) {
    write(&path, &text);
}

/// Writes a file so that it is there complete or not at all.
pub fn write(path: &Path, text: &str) {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, text).expect("write a file");
    std::fs::rename(&unfinished, path).expect("rename a file");
}

/// Says that it runs, with its process id, and goes on for long.
pub fn touch_and_sleep(path: PathBuf) {
    write(&path, &std::process::id().to_string());
    sleep_long();
}

/// Says that it runs, and goes on until there is a file, whose text it gives.
pub fn wait_for(running: PathBuf, wanted: PathBuf) -> String {
    write(&running, &std::process::id().to_string());
    support::wait_until("the file is there", || wanted.exists());
    std::fs::read_to_string(wanted).expect("its text")
}

/// Has a signal interrupt this process's main thread a thousand times a second.
pub fn be_alarmed() {
    extern "C" fn ignore(_: Signal) {}
    // SAFETY: all zero bytes are a valid sigaction: no flags, so that calls are interrupted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ignore as *const () as usize;
    // SAFETY: the action is valid, and its handler does nothing.
    assert_eq!(unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) }, 0);
    let each = libc::timeval { tv_sec: 0, tv_usec: 1000 };
    let timer = libc::itimerval { it_interval: each, it_value: each };
    // SAFETY: the timer is valid, and nobody wants to know the one before.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) }, 0);
}

/// The bytes again, sent back while signals come in.
pub fn alarmed(bytes: Vec<u8>) -> Vec<u8> {
    be_alarmed();
    bytes
}

/// What a daemon gets that wants to have a child.
pub fn start_in_a_daemon() -> (bool, String) {
    let child = Process::new(nothing, ());
    (child.is_daemon(), child.start().expect_err("a daemon may not").to_string())
}

#[derive(Serialize, Deserialize)]
pub struct Countdown {
    pub from: u32,
}

impl Run for Countdown {
    type Output = Vec<u32>;

    fn run(self) -> Vec<u32> {
        (0..self.from).rev().collect()
    }
}

#[derive(Serialize, Deserialize)]
pub struct Tally(pub Vec<String>);

impl Tally {
    /// A method that is no `Run::run`.
    pub fn tally(self, word: String) -> usize {
        self.0.iter().filter(|one| **one == word).count()
    }
}

/// The process ids in the files of a directory, by the files' names.
pub fn pid_in(path: &Path) -> u32 {
    support::wait_until("the process has said that it runs", || path.exists());
    std::fs::read_to_string(path).expect("its file").parse().expect("a process id")
}

/// Whether a process exists, and is no zombie.
pub fn lives(pid: u32) -> bool {
    !matches!(support::proc::state(pid as i32, pid as i32), None | Some('Z' | 'X'))
}

pub fn policy(name: &str) -> OrphanPolicy {
    match name {
        "die" => OrphanPolicy::Die,
        "finish" => OrphanPolicy::Finish,
        "carry_on" => OrphanPolicy::CarryOn,
        _ => panic!("no policy {name}"),
    }
}
