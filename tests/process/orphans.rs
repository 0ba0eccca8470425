//! Parents that are killed, and what their children do then.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use steadfast::{OrphanPolicy, Process, parent_process};

use crate::support::harness::{self, Directory, Running, role_arguments};
use crate::support::{Rng, proc, random_seed, wait_until};
use crate::work;

/// Waits for the end of its parent, and then for permission to end itself.
fn outlive(directory: PathBuf) {
    work::write(&directory.join("child"), &std::process::id().to_string());
    let parent = parent_process().expect("a child has a parent");
    assert!(parent.is_alive());
    parent.join();
    assert!(!parent.is_alive() && parent.join_timeout(Duration::ZERO));
    work::write(&directory.join("noticed"), "");
    wait_until("it may end", || directory.join("go").exists());
    work::write(&directory.join("done"), "");
}

/// The same with a child of its own, which goes on.
fn outlive_with_a_child(directory: PathBuf) {
    let grandchild = Process::new(work::touch_and_sleep, (directory.join("grandchild"),));
    let grandchild = grandchild.orphan_policy(OrphanPolicy::CarryOn).start();
    let _grandchild = grandchild.expect("a child of a child");
    work::pid_in(&directory.join("grandchild"));
    outlive(directory);
}

/// The same, and returns more than a channel holds.
fn outlive_for_much(directory: PathBuf) -> Vec<u8> {
    outlive(directory);
    vec![7; 5_000_000]
}

steadfast::register!(outlive, outlive_with_a_child, outlive_for_much);

/// A program with one child: arguments are directory, what the child does, policy, daemon or not, and what
/// the program does then.
pub fn parent() {
    let arguments = role_arguments();
    let directory = PathBuf::from(&arguments[0]);
    match arguments[1].as_str() {
        "outlive" => start_child(Process::new(outlive, (directory.clone(),)), &arguments),
        "for much" => start_child(Process::new(outlive_for_much, (directory.clone(),)), &arguments),
        _ => start_child(Process::new(outlive_with_a_child, (directory.clone(),)), &arguments),
    }
    work::pid_in(&directory.join("child"));
    let ready = directory.join("ready");
    match arguments.get(4).map_or("", String::as_str) {
        "abort" => std::process::abort(),
        "exec" => {
            let error = std::process::Command::new("sleep").arg("1000").exec();
            panic!("{error}");
        }
        "fork" => {
            // SAFETY: the copy sleeps, and calls nothing else.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                loop {
                    // SAFETY: it takes nothing.
                    unsafe { libc::pause() };
                }
            }
            work::write(&directory.join("copy"), &copy.to_string());
        }
        _ => {}
    }
    work::write(&ready, "");
    work::sleep_long();
}

fn start_child<R: Serialize + DeserializeOwned>(process: Process<R>, arguments: &[String]) {
    let process = match arguments[2].as_str() {
        "unset" => process,
        policy => process.orphan_policy(work::policy(policy)),
    };
    process.daemon(arguments[3] == "daemon").start().expect("a process");
}

fn start_parent(directory: &Path, arguments: &[&str]) -> Running {
    let path = directory.to_str().expect("a plain path");
    Running::start(harness::in_role("parent", &[&[path], arguments].concat()))
}

pub fn each_policy() {
    let cases = [
        ("unset", "other", false),
        ("unset", "daemon", true),
        ("die", "other", true),
        ("die", "daemon", true),
        ("finish", "other", false),
        ("finish", "daemon", false),
        ("carry_on", "other", false),
        ("carry_on", "daemon", false),
    ];
    for (policy, daemon, dies) in cases {
        let directory = Directory::new(&format!("{policy}-{daemon}"));
        let file = |name: &str| directory.0.join(name);
        let parent = start_parent(&directory.0, &["outlive", policy, daemon]);
        wait_until("the parent is ready", || file("ready").exists());
        let child = work::pid_in(&file("child"));
        assert!(work::lives(child) && !file("noticed").exists());
        parent.kill();
        if !dies {
            wait_until("the child has noticed", || file("noticed").exists());
            assert!(work::lives(child), "{policy} {daemon}");
            work::write(&file("go"), "");
        }
        wait_until("the child has ended", || !work::lives(child));
        assert_eq!(file("done").exists(), !dies, "{policy} {daemon}");
    }
}

pub fn waits_for_its_own_children() {
    for policy in ["finish", "carry_on"] {
        let directory = Directory::new(policy);
        let file = |name: &str| directory.0.join(name);
        let parent = start_parent(&directory.0, &["with a child", policy, "other"]);
        wait_until("the parent is ready", || file("ready").exists());
        let child = work::pid_in(&file("child"));
        let grandchild = work::pid_in(&file("grandchild"));
        work::write(&file("go"), "");
        parent.kill();
        wait_until("its function has ended", || file("done").exists());
        if policy == "carry_on" {
            wait_until("it waits for its child", || {
                proc::sleeps_polling(child as i32, child as i32)
            });
        } else {
            wait_until("it has ended", || !work::lives(child));
        }
        assert!(work::lives(grandchild));
        // SAFETY: it is ours sooner or later, as this process is the next that orphans get.
        unsafe { libc::kill(grandchild as i32, libc::SIGKILL) };
        wait_until("nothing is left", || !work::lives(child) && !work::lives(grandchild));
    }
}

pub fn a_stopped_parent_is_not_dead() {
    let directory = Directory::new("stopped");
    let parent = start_parent(&directory.0, &["outlive", "die", "daemon"]);
    wait_until("the parent is ready", || directory.0.join("ready").exists());
    let child = work::pid_in(&directory.0.join("child"));
    parent.signal(libc::SIGSTOP);
    wait_until("it has stopped", || proc::state(parent.pid(), parent.pid()) == Some('T'));
    // Longer than two of the backstops at which the child asks for itself.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(work::lives(child) && !directory.0.join("noticed").exists());
    parent.kill();
    wait_until("the child has ended", || !work::lives(child));
}

/// The lifeline's other end lives on in the copy.
pub fn a_copy_of_the_parent() {
    let directory = Directory::new("copy");
    let parent = start_parent(&directory.0, &["outlive", "die", "daemon", "fork"]);
    wait_until("the parent is ready", || directory.0.join("ready").exists());
    let child = work::pid_in(&directory.0.join("child"));
    let copy = work::pid_in(&directory.0.join("copy"));
    parent.kill();
    wait_until("the child has ended", || !work::lives(child));
    assert!(work::lives(copy));
    // SAFETY: it is ours now, as this process is the next that orphans get.
    unsafe { libc::kill(copy as i32, libc::SIGKILL) };
}

/// Nobody reads its result any more, but the copy of its parent keeps the channel open for it.
pub fn a_large_result_for_a_copy_of_the_parent() {
    let directory = Directory::new("much");
    let parent = start_parent(&directory.0, &["for much", "finish", "other", "fork"]);
    wait_until("the parent is ready", || directory.0.join("ready").exists());
    let child = work::pid_in(&directory.0.join("child"));
    let copy = work::pid_in(&directory.0.join("copy"));
    work::write(&directory.0.join("go"), "");
    // The parent reads as long as it lives; stopped, it does not even that.
    parent.signal(libc::SIGSTOP);
    parent.kill();
    wait_until("the child has ended", || !work::lives(child));
    assert!(directory.0.join("done").exists() && work::lives(copy));
    // SAFETY: it is ours now, as this process is the next that orphans get.
    unsafe { libc::kill(copy as i32, libc::SIGKILL) };
}

pub fn an_aborted_parent() {
    let directory = Directory::new("abort");
    let parent = start_parent(&directory.0, &["outlive", "unset", "daemon", "abort"]);
    let child = work::pid_in(&directory.0.join("child"));
    drop(parent);
    wait_until("the child has ended", || !work::lives(child));
}

/// The process lives on as another program, which knows nothing of its children.
pub fn a_parent_that_executes() {
    let directory = Directory::new("exec");
    let parent = start_parent(&directory.0, &["outlive", "unset", "daemon", "exec"]);
    let child = work::pid_in(&directory.0.join("child"));
    wait_until("the child has ended", || !work::lives(child));
    assert!(work::lives(parent.pid() as u32));
    parent.kill();
}

/// A program that waits for a child which does not come to `init`.
pub fn waiting_parent() {
    let process = crate::handshake::in_role("before_init", &["stop"]);
    drop(process.orphan_policy(OrphanPolicy::CarryOn).start());
}

/// A child that finds its parent gone has nothing to do, and clears away the place to meet.
pub fn before_they_met() {
    let directory = Directory::new("met");
    let mut command = harness::in_role("waiting_parent", &[]);
    let parent = Running::start({
        command.env("TMPDIR", &directory.0);
        command
    });
    let stopped = || {
        let mut children = proc::children(parent.pid() as u32).into_iter().map(|pid| pid as i32);
        children.find(|pid| proc::state(*pid, *pid) == Some('T'))
    };
    wait_until("the child has stopped", || stopped().is_some());
    let child = stopped().expect("just seen");
    parent.kill();
    assert_eq!(directory.contents().len(), 1, "the place to meet");
    // SAFETY: it is ours now, as this process is the next that orphans get.
    unsafe { libc::kill(child, libc::SIGCONT) };
    wait_until("the child has ended", || !work::lives(child as u32));
    assert!(directory.contents().is_empty(), "{:?}", directory.contents());
}

/// A program that starts processes and does not come to an end with it.
pub fn busy_parent() {
    let mut handles = std::collections::VecDeque::new();
    loop {
        let daemon = Process::new(work::sleep_long, ()).daemon(true);
        handles.push_back(daemon.start().expect("a daemon"));
        let bytes = vec![7; 1_000_000];
        let other = Process::new(work::reverse, (bytes,)).orphan_policy(OrphanPolicy::Finish);
        drop(other.start().expect("a process"));
        if handles.len() > 3 {
            let oldest = handles.pop_front().expect("there are three");
            oldest.kill().expect("killed");
            oldest.join().expect("joined");
        }
    }
}

/// Whatever a parent is doing with its children when it is killed: they are gone soon.
pub fn killed_parents_at_random() {
    let seed = random_seed();
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    // A parent that is killed after it has made a place to meet, and before it has executed the child, leaves
    // the place: nobody else knows of it.
    let directory = Directory::new("random");
    let rounds = 40;
    for _ in 0..rounds {
        let mut command = harness::in_role("busy_parent", &[]);
        let parent = Running::start({
            command.env("TMPDIR", &directory.0);
            command
        });
        std::thread::sleep(Duration::from_micros(rng.below(60_000)));
        parent.kill();
        wait_until("its children are gone", || {
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) == -1 }
        });
    }
    let left = directory.contents();
    println!("{} places to meet are left of {rounds} killed parents", left.len());
    assert!(left.len() < rounds, "{left:?}");
}
