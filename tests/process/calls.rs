//! Children and parents are killed at their system calls, each in turn: by strace, which sends SIGKILL when a
//! certain call is made for the n-th time.

use std::process::Command;

use steadfast::{ExitStatus, Process, ResultError, StartError};

use crate::support::harness::{self, Directory, role_line};
use crate::support::{proc, wait_until};
use crate::work;

/// No kind of call is made more often on the way; what is beyond is not looked at.
const MOST: u32 = 40;

fn can_trace() -> bool {
    let able = proc::runs("strace", &["-D", "-f", "true"]);
    if !able {
        eprintln!("skipped: strace cannot trace here");
    }
    able
}

fn inject(call: &str, when: u32) -> String {
    // With a question mark one that this processor does not have is no error.
    format!("inject=?{call}:signal=SIGKILL:when={when}")
}

/// Collects what is left of the tracers, which are ours when their tracees have ended.
fn wait_until_alone() {
    wait_until("nobody is left", || {
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) == -1 }
    });
}

pub fn of_a_child() {
    if !can_trace() {
        return;
    }
    let calls = [
        "execve",
        "openat",
        "mmap",
        "prctl",
        "pidfd_open",
        "clone3",
        "socket",
        "connect",
        "socketpair",
        "sendmsg",
        "poll",
        "recvmsg",
        "eventfd2",
        "close",
        "futex",
        "write",
        "rt_sigprocmask",
        "unlink",
        "exit_group",
    ];
    for call in calls {
        let (mut died, mut ended, mut late) = (0, 0, 0);
        for when in 1..=MOST {
            // Without -D the tracer would be the child.
            let program = harness::program().to_str().expect("a plain path").to_owned();
            let line = ["-D", "-f", "-qq", "-o", "/dev/null", "-e", &inject(call, when), &program];
            let process = Process::new(work::square, (7,)).program("strace", line);
            let killed = ExitStatus::Signaled(libc::SIGKILL);
            match process.start() {
                Ok(process) => match process.result() {
                    // It had reported, or this call is not made so often.
                    Ok(49) if process.exit_status() == Some(killed) => late += 1,
                    Ok(49) => break,
                    Err(ResultError::Ended { status, .. }) if status == killed => ended += 1,
                    other => panic!("{call} {when}: {other:?}"),
                },
                Err(StartError::Died { status, .. }) if status == killed => died += 1,
                Err(error) => panic!("{call} {when}: {error}"),
            }
            assert!(steadfast::active_children().is_empty());
        }
        println!("{call}: {died} before they met, {ended} later, {late} after the report");
    }
    let left: Vec<_> = std::fs::read_dir(std::env::temp_dir()).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
    wait_until_alone();
}

pub fn of_a_parent() {
    if !can_trace() {
        return;
    }
    // With a place to meet and no child yet, and afterwards.
    let before =
        ["mkdir", "chmod", "socket", "bind", "listen", "openat", "clone3", "vfork", "clone"];
    let after = ["pidfd_open", "poll", "futex", "waitid", "exit_group"];
    for call in before.into_iter().chain(after) {
        let directory = Directory::new(call);
        let (mut killed, mut left) = (0, 0);
        for when in 1..=MOST {
            let mut command = Command::new("strace");
            command.args(["-qq", "-o", "/dev/null", "-e", &inject(call, when)]);
            command.arg(harness::program()).args(role_line("starts_one", &[]));
            command.env_remove("STEADFAST_TEST").env("TMPDIR", &directory.0);
            let output = command.output().expect("run strace");
            // What the parent leaves must end by itself.
            wait_until_alone();
            if output.status.success() {
                assert_eq!(String::from_utf8_lossy(&output.stdout), "49\n", "{call} {when}");
                break;
            }
            killed += 1;
            left += directory.contents().len();
            for place in directory.contents() {
                std::fs::remove_dir_all(place).expect("removed");
            }
        }
        println!("{call}: {killed} killed, {left} places to meet left");
        assert!(before.contains(&call) || left == 0, "{call}: the child was there to clear away");
    }
}
