//! What becomes of children when their parent ends by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use steadfast::{OrphanPolicy, Process, ProcessError, StartError};

use crate::support::harness::{self, Directory, Running, role_arguments};
use crate::support::proc::{Fork, in_fork};
use crate::support::wait_until;
use crate::work;

/// A daemon that notes how it is asked to end.
fn note_termination(directory: PathBuf) {
    // SAFETY: all zero bytes are a valid signal set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigemptyset(&mut set) };
    // SAFETY: the set is ours, and was made empty.
    unsafe { libc::sigaddset(&mut set, libc::SIGTERM) };
    // SAFETY: the set is valid; the library's threads let no signal through.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    work::write(&directory.join("daemon"), &std::process::id().to_string());
    let mut signal = 0;
    // SAFETY: the set is valid and blocked, and the number is ours to write.
    assert_eq!(unsafe { libc::sigwait(&set, &mut signal) }, 0);
    work::write(&directory.join("terminated"), &signal.to_string());
}

/// A daemon that does not want to end.
fn ignore_termination(path: PathBuf) {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    work::touch_and_sleep(path);
}

/// Has a child that ends after its function has.
fn leave_a_child(running: PathBuf, go: PathBuf, done: PathBuf) -> u32 {
    let child = Process::new(wait_and_write, (running.clone(), go, done));
    child.start().expect("a child of a child");
    work::pid_in(&running)
}

/// Has a child that goes on without it.
fn start_a_survivor(running: PathBuf) {
    let child = Process::new(work::touch_and_sleep, (running,));
    child.orphan_policy(OrphanPolicy::CarryOn).start().expect("a child of a child");
    work::sleep_long();
}

fn wait_and_write(running: PathBuf, go: PathBuf, done: PathBuf) {
    work::wait_for(running, go);
    work::write(&done, "done");
}

fn linger(path: PathBuf) {
    wait_until("nothing starts any more", || path.exists());
}

steadfast::register!(
    note_termination,
    ignore_termination,
    leave_a_child,
    start_a_survivor,
    wait_and_write,
    linger
);

/// A program that ends in some way, with children that run.
pub fn ending() {
    let arguments = role_arguments();
    let (how, directory) = (arguments[0].as_str(), Path::new(&arguments[1]));
    let file = |name: &str| directory.join(name);
    match how {
        "stubborn" => {
            let daemon = Process::new(ignore_termination, (file("daemon"),)).daemon(true);
            daemon.start().expect("a daemon");
            work::pid_in(&file("daemon"));
        }
        "busy" => {
            Process::new(linger, (file("refused"),)).start().expect("a process");
            let (refused, started) = (file("refused"), file("started"));
            std::thread::spawn(move || {
                loop {
                    match Process::new(work::nothing, ()).start() {
                        Ok(_) => work::write(&started, ""),
                        Err(StartError::Exiting { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                work::write(&refused, "");
            });
            wait_until("the thread starts processes", || file("started").exists());
        }
        _ => {
            let daemon = Process::new(note_termination, (directory.to_owned(),)).daemon(true);
            daemon.start().expect("a daemon");
            let other = (file("other"), file("go"), file("done"));
            Process::new(wait_and_write, other).start().expect("a process");
            work::pid_in(&file("daemon"));
            work::pid_in(&file("other"));
        }
    }
    match how {
        "exit" => std::process::exit(3),
        "panic" => panic!("as it was told"),
        _ => {}
    }
}

fn end(how: &str, code: i32) {
    let directory = Directory::new(how);
    let path = directory.0.to_str().expect("a plain path");
    let program = Running::start(harness::in_role("ending", &[how, path]));
    let daemon = work::pid_in(&directory.0.join("daemon"));
    // The daemon is told to end while the other child runs, which the program waits for.
    let signal = directory.0.join("terminated");
    wait_until("the daemon is told to end", || signal.exists());
    assert_eq!(std::fs::read_to_string(signal).expect("a signal"), libc::SIGTERM.to_string());
    let other = work::pid_in(&directory.0.join("other"));
    assert!(work::lives(other) && work::lives(program.pid() as u32));
    work::write(&directory.0.join("go"), "");
    assert_eq!(program.wait().code(), Some(code), "{how}");
    assert!(directory.0.join("done").exists(), "it was waited for");
    assert!(!work::lives(other) && !work::lives(daemon));
}

pub fn daemons_are_terminated_and_others_joined() {
    end("return", 0);
}

pub fn by_exit_and_by_panic() {
    end("exit", 3);
    end("panic", 101);
}

pub fn a_stubborn_daemon() {
    let directory = Directory::new("stubborn");
    let path = directory.0.to_str().expect("a plain path");
    let program = Running::start(harness::in_role("ending", &["stubborn", path]));
    let daemon = work::pid_in(&directory.0.join("daemon"));
    assert_eq!(program.wait().code(), Some(0), "it ends all the same");
    assert!(!work::lives(daemon));
}

pub fn daemon_rules() {
    let mut process = Process::new(work::start_in_a_daemon, ()).daemon(true);
    assert!(process.is_daemon());
    process.set_daemon(false).expect("before the start");
    process.set_daemon(true).expect("before the start");
    let mut process = process.start().expect("a daemon");
    assert!(matches!(process.set_daemon(false), Err(ProcessError::AlreadyStarted { .. })));
    let process = process.daemon(false);
    assert!(process.is_daemon(), "it is too late");
    let (inherited, error) = process.result().expect("a result");
    assert!(inherited, "a daemon's processes are daemons, unless told otherwise");
    assert!(error.contains("a daemon process may not have children"), "{error}");
    assert!(!Process::new(work::nothing, ()).is_daemon());
}

pub fn nothing_starts_at_the_end() {
    let directory = Directory::new("busy");
    let path = directory.0.to_str().expect("a plain path");
    let program = Running::start(harness::in_role("ending", &["busy", path]));
    assert_eq!(program.wait().code(), Some(0));
    assert!(directory.0.join("refused").exists());
}

pub fn a_forked_copy_leaves_them_alone() {
    let daemon = Process::new(work::sleep_long, ()).daemon(true).start().expect("a daemon");
    let other = Process::new(work::sleep_long, ()).start().expect("a process");
    // SAFETY: exit runs the handlers, in a copy with this thread alone.
    let code = in_fork(Fork::Libc, || unsafe { libc::exit(7) });
    assert_eq!(code, 7, "it waited for nobody");
    assert!(daemon.is_alive() && other.is_alive());
    let error = daemon.join_timeout(Duration::from_millis(50)).expect_err("nobody asked it to end");
    assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
    other.kill().expect("killed");
    other.join().expect("joined");
    daemon.terminate().expect("terminated");
    daemon.join().expect("joined");
}

pub fn a_child_waits_for_its_children() {
    let directory = Directory::new("waits");
    let [running, go, done] = ["running", "go", "done"].map(|name| directory.0.join(name));
    let process = Process::new(leave_a_child, (running.clone(), go.clone(), done.clone()));
    let process = process.start().expect("a process");
    let grandchild = work::pid_in(&running);
    assert!(process.is_alive());
    work::write(&go, "");
    assert_eq!(process.result().expect("a result"), grandchild);
    assert!(done.exists(), "its child had ended before");
    assert!(!work::lives(grandchild));
}

pub fn grandchildren_are_not_touched() {
    let directory = Directory::new("grand");
    for way in [Process::terminate, Process::kill] {
        let running = directory.0.join("running");
        let process =
            Process::new(start_a_survivor, (running.clone(),)).start().expect("a process");
        let grandchild = work::pid_in(&running);
        way(&process).expect("sent");
        process.join().expect("joined");
        assert!(work::lives(grandchild));
        // SAFETY: it is ours now, as this process is the next that orphans get.
        unsafe { libc::kill(grandchild as i32, libc::SIGKILL) };
        std::fs::remove_file(running).expect("removed");
    }
}
