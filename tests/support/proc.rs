//! What /proc and the kernel say about processes and threads, and bare forks.

use std::fs;

/// This thread's number.
pub fn tid() -> i32 {
    // SAFETY: gettid takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// The state letter of a thread, if it exists.
pub fn state(pid: i32, tid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}

/// Whether a thread sleeps in a futex call (or, where that cannot be read, sleeps).
pub fn sleeps_on_a_futex(pid: i32, tid: i32) -> bool {
    sleeps_in(pid, tid, &[libc::SYS_futex, libc::SYS_futex_waitv])
}

/// Whether a thread sleeps in `read` (or, where that cannot be read, sleeps).
pub fn sleeps_reading(pid: i32, tid: i32) -> bool {
    sleeps_in(pid, tid, &[libc::SYS_read])
}

/// Whether a thread sleeps in `poll` (or, where that cannot be read, sleeps).
pub fn sleeps_polling(pid: i32, tid: i32) -> bool {
    #[cfg(target_arch = "x86_64")]
    let calls = [libc::SYS_poll, libc::SYS_ppoll];
    #[cfg(not(target_arch = "x86_64"))]
    let calls = [libc::SYS_ppoll];
    sleeps_in(pid, tid, &calls)
}

fn sleeps_in(pid: i32, tid: i32, calls: &[i64]) -> bool {
    // On its way into the call it is not asleep yet, and a tracer may hold it there.
    if state(pid, tid) != Some('S') {
        return false;
    }
    match fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")) {
        Ok(call) => {
            let number = call.split(' ').next().and_then(|n| n.parse::<i64>().ok());
            number.is_some_and(|number| calls.contains(&number))
        }
        Err(_) => true,
    }
}

/// The number that this PID namespace has for a process's thread, which has the given one in the process's own.
pub fn tid_from_inside(pid: i32, inside: i32) -> Option<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let number = |task: fs::DirEntry| task.file_name().to_str()?.parse::<i32>().ok();
    tasks.flatten().filter_map(number).find(|tid| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status"));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let last = line.and_then(|numbers| numbers.split_whitespace().next_back());
        last.and_then(|number| number.parse().ok()) == Some(inside)
    })
}

/// Waits until a thread sleeps in a futex call.
pub fn wait_until_asleep(pid: i32, tid: i32) {
    super::wait_until("the thread sleeps", || sleeps_on_a_futex(pid, tid));
}

/// How a forked child is made.
#[derive(Clone, Copy, Debug)]
pub enum Fork {
    /// `fork`, which runs the pthread_atfork handlers.
    Libc,
    /// The bare system call, which runs none.
    Raw,
}

/// Runs `body` in a forked child and returns its exit code (minus the signal's
/// number when it was killed). Only for child processes of the tests: the
/// forked child has this thread alone.
pub fn in_fork(how: Fork, body: impl FnOnce() -> i32) -> i32 {
    let pid = match how {
        // SAFETY: the child calls `body`, which the callers keep small, and _exit.
        Fork::Libc => unsafe { libc::fork() },
        // SAFETY: a plain fork without flags; the child runs on a copy of this stack.
        Fork::Raw => (unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }) as i32,
    };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: _exit does not return and runs nothing of ours.
        unsafe { libc::_exit(result.unwrap_or(101)) };
    }
    let mut status = 0;
    // SAFETY: `pid` is our child and `status` is ours to write.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(waited, pid, "waitpid");
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

/// CPU time this process has used.
pub fn cpu_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "clock_gettime");
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Whether a program can be run and ends well.
pub fn runs(program: &str, arguments: &[&str]) -> bool {
    let quiet = std::process::Stdio::null;
    std::process::Command::new(program)
        .args(arguments)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .status()
        .is_ok_and(|status| status.success())
}

/// The children of a process, zombies included.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}
