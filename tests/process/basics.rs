//! What a process is, before it starts, while it runs and afterwards.

use serde::{Deserialize, Serialize, Serializer};
use steadfast::{ExitStatus, Process, ProcessError, ResultError, StartError};

use crate::support::harness::Directory;
use crate::work::{self, Countdown, Tally, Who};

pub fn before_the_start() {
    let process = Process::new(work::square, (7,));
    assert!(!process.is_alive());
    assert_eq!(process.pid(), None);
    assert_eq!(process.exit_status(), None);
    assert!(matches!(process.join(), Err(ProcessError::NotStarted { .. })));
    assert!(matches!(
        process.join_timeout(std::time::Duration::ZERO),
        Err(ProcessError::NotStarted { .. })
    ));
    assert!(matches!(process.pidfd(), Err(ProcessError::NotStarted { .. })));
    assert!(matches!(process.terminate(), Err(ProcessError::NotStarted { .. })));
    assert!(matches!(process.kill(), Err(ProcessError::NotStarted { .. })));
    assert!(matches!(process.result(), Err(ResultError::Process(ProcessError::NotStarted { .. }))));
    let text = process.join().expect_err("not started").to_string();
    assert!(text.contains("Process-1") && text.contains("call start() first"), "{text}");
}

pub fn a_result_comes_back() {
    let process = Process::new(work::square, (7,)).start().expect("a process");
    assert!(process.pid().is_some_and(|pid| pid != std::process::id()));
    assert_eq!(process.result().expect("a result"), 49);
    assert_eq!(process.result().expect("the same again"), 49);
    assert!(!process.is_alive());
    assert_eq!(process.exit_status(), Some(ExitStatus::Exited(0)));
    assert!(process.exit_status().is_some_and(ExitStatus::success));
    let numbers = Process::new(work::sum::<u64>, (vec![1, 2, 3],)).start().expect("a process");
    let others = Process::new(work::sum::<f64>, (vec![0.5, 0.25],)).start().expect("a process");
    assert_eq!(numbers.result().expect("a number"), 6);
    assert_eq!(others.result().expect("another number"), 0.75);
    assert_eq!(Process::new(work::nothing, ()).start().expect("a process").result().ok(), Some(()));
}

pub fn many_arguments() {
    let words = vec!["so".to_owned(), "be it".to_owned()];
    let process = Process::new(work::shout, (words, 2)).start().expect("a process");
    assert_eq!(process.result().expect("a result"), "SO BE ITSO BE IT");
    let arguments = (1, -2, 'ß', "four".to_owned(), Some(true), (5, 6), [7, 8, 9], 0.5);
    let process = Process::new(work::eight, arguments).start().expect("a process");
    assert_eq!(process.result().expect("a result"), "1 -2 ß four Some(true) (5, 6) [7, 8, 9] 0.5");
}

pub fn a_value_that_runs() {
    let process = Process::of(Countdown { from: 3 }).start().expect("a process");
    assert_eq!(process.result().expect("a result"), [2, 1, 0]);
    let tally = Tally(vec!["a".into(), "b".into(), "a".into()]);
    let process = Process::new(Tally::tally, (tally, "a".to_owned())).start().expect("a process");
    assert_eq!(process.result().expect("a result"), 2);
}

pub fn started_twice() {
    let process = Process::new(work::nothing, ()).start().expect("a process");
    process.join().expect("joined");
    let error = process.start().expect_err("once only");
    assert!(matches!(error, StartError::AlreadyStarted { .. }), "{error}");
}

pub fn closed() {
    let mut process = Process::new(work::sleep_long, ()).start().expect("a process");
    assert!(matches!(process.close(), Err(ProcessError::StillRunning { .. })));
    assert!(process.is_alive(), "closing it did not end it");
    process.kill().expect("killed");
    process.join().expect("joined");
    process.close().expect("closed");
    process.close().expect("twice is fine");
    assert!(matches!(process.join(), Err(ProcessError::Closed { .. })));
    assert!(matches!(process.terminate(), Err(ProcessError::Closed { .. })));
    assert!(matches!(process.kill(), Err(ProcessError::Closed { .. })));
    assert!(matches!(process.pidfd(), Err(ProcessError::Closed { .. })));
    assert!(matches!(process.set_daemon(true), Err(ProcessError::Closed { .. })));
    assert!(matches!(process.result(), Err(ResultError::Process(ProcessError::Closed { .. }))));
    assert_eq!((process.pid(), process.exit_status(), process.is_alive()), (None, None, false));
    assert!(matches!(process.start(), Err(StartError::Closed { .. })));
}

pub fn names_of_nested_processes() {
    let first = Process::new(work::nothing, ());
    assert_eq!(first.get_name(), "Process-1");
    let named = Process::new(work::nested_names, (2,)).name("a name");
    let named = named.start().expect("a process");
    assert_eq!(named.result().expect("names"), ["a name", "Process-2:2", "Process-2:2:2"]);
    assert_eq!(Process::new(work::nothing, ()).get_name(), "Process-3");
}

pub fn current_and_parent() {
    assert_eq!(steadfast::current_process().name(), "MainProcess");
    assert_eq!(steadfast::current_process().pid(), std::process::id());
    assert!(!steadfast::current_process().is_daemon());
    assert!(steadfast::parent_process().is_none(), "nobody started this as a Process");
    for daemon in [false, true] {
        let process = Process::new(work::who_is_who, ()).name("x").daemon(daemon);
        let process = process.start().expect("a process");
        let who = Who {
            name: "x".into(),
            pid: process.pid().expect("it was started"),
            daemon,
            parent_name: "MainProcess".into(),
            parent_pid: std::process::id(),
            parent_lives: true,
        };
        assert_eq!(process.result().expect("a result"), who);
    }
}

pub fn what_is_not_registered() {
    fn stray() {}
    let error = Process::new(stray, ()).start().expect_err("nobody knows it");
    assert!(matches!(error, StartError::NotRegistered { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("stray") && text.contains("register!"), "{text}");
    let error = Process::new(work::sum::<u64>, (vec![1],));
    assert_eq!(error.start().expect("this instance is").result().expect("a sum"), 1);
}

/// Something that serde cannot write.
#[derive(Debug)]
pub struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unwritable, D::Error> {
        Err(serde::de::Error::custom("no"))
    }
}

fn take(_: Unwritable) {}

fn give() -> Unwritable {
    Unwritable
}

/// Something that can be written, and not be read.
#[derive(Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unreadable, D::Error> {
        Err(serde::de::Error::custom("no"))
    }
}

fn take_unreadable(_: Unreadable) {}

fn give_unreadable() -> Unreadable {
    Unreadable
}

steadfast::register!(take, give, take_unreadable, give_unreadable);

pub fn arguments_that_cannot_be_written() {
    let error = Process::new(take, (Unwritable,)).start().expect_err("no bytes, no process");
    assert!(matches!(error, StartError::Arguments { .. }), "{error}");
    let process = Process::new(take_unreadable, (Unreadable,)).start().expect("a process");
    let error = process.result().expect_err("it cannot read them");
    assert!(matches!(error, ResultError::Unserialisable { .. }), "{error}");
    assert!(error.to_string().contains("read its arguments"), "{error}");
    assert_eq!(process.exit_status(), Some(ExitStatus::Exited(1)));
}

pub fn a_result_that_cannot_be_written() {
    let process = Process::new(give, ()).start().expect("a process");
    let error = process.result().expect_err("it cannot write it").to_string();
    assert!(error.contains("write its result"), "{error}");
    assert_eq!(process.exit_status(), Some(ExitStatus::Exited(1)));
    let process = Process::new(give_unreadable, ()).start().expect("a process");
    let error = process.result().err().expect("it cannot be read here");
    assert!(matches!(error, ResultError::Deserialise { .. }), "{error}");
    assert_eq!(process.exit_status(), Some(ExitStatus::Exited(0)));
}

pub fn large_values() {
    for length in [0, 1, 200_000, 212_000, 213_000, 3_000_000] {
        let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let process = Process::new(work::reverse, (bytes.clone(),)).start().expect("a process");
        let mut result = process.result().expect("a result");
        result.reverse();
        assert!(result == bytes, "{length} bytes came back changed");
    }
}

pub fn standard_input_is_at_its_end() {
    let process = Process::new(work::read_standard_input, ()).start().expect("a process");
    assert_eq!(process.result().expect("no error"), (Vec::new(), 0));
}

pub fn the_mark_is_gone() {
    let process = Process::new(work::marks, ()).start().expect("a process");
    assert_eq!(process.result().expect("counts"), (0, 0));
    assert!(std::env::var_os("STEADFAST_CHILD").is_none(), "it was never here");
}

pub fn arguments_of_the_program() {
    let process = Process::new(work::program_arguments, ()).start().expect("a process");
    assert_eq!(process.result().expect("arguments"), std::env::args().collect::<Vec<_>>());
}

pub fn descriptors_do_not_pile_up() {
    let bystanders: Vec<_> =
        (0..3).map(|_| Process::new(work::sleep_long, ()).start().expect("a process")).collect();
    let process = Process::new(work::descriptors, (3,)).start().expect("a process");
    let counts = process.result().expect("counts");
    assert_eq!(counts.len(), 4);
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    for bystander in bystanders {
        bystander.kill().expect("killed");
        bystander.join().expect("joined");
    }
}

pub fn threads_of_a_child() {
    let directory = Directory::new("threads");
    let process = Process::new(work::threads, (directory.0.clone(),)).start().expect("a process");
    assert_eq!(process.result().expect("what its threads did"), 10);
    assert!(directory.contents().is_empty(), "a thread that nobody joined ends with its process");
}

pub fn recursion() {
    let process = Process::new(work::nested, (Vec::new(),)).start().expect("a process");
    let wanted: [&[u32]; 7] = [&[], &[0], &[0, 0], &[0, 1], &[1], &[1, 0], &[1, 1]];
    assert_eq!(process.result().expect("paths"), wanted);
}

pub fn a_name_for_people() {
    let process = Process::new(work::sleep_long, ()).name("a name").start().expect("a process");
    let pid = process.pid().expect("it was started");
    let text = format!("{process:?}");
    assert!(text.contains("a name") && text.contains("running"), "{text}");
    crate::support::wait_until("it has the program's name", || {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("process-")
    });
    process.kill().expect("killed");
    process.join().expect("joined");
    assert!(format!("{process:?}").contains("signal 9"), "{process:?}");
}

pub fn dropped_handles() {
    let directory = Directory::new("dropped");
    let path = directory.0.join("written");
    drop(
        Process::new(work::write_file, (path.clone(), "all".to_owned()))
            .start()
            .expect("a process"),
    );
    crate::support::wait_until("the dropped process has done its work", || path.exists());
    crate::support::wait_until("it is gone", || steadfast::active_children().is_empty());
}
