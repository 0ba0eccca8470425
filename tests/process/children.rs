//! Children: how many there are, and waiting for them.

use std::os::fd::AsRawFd;
use std::time::Duration;

use steadfast::{ExitStatus, Process, ProcessError, active_children};

use crate::support::harness::Directory;
use crate::support::{LIMIT, proc, wait_until};
use crate::work;

fn sleeper() -> Process<()> {
    Process::new(work::sleep_long, ()).start().expect("a process")
}

pub fn active_children_reaps() {
    assert!(active_children().is_empty());
    let processes = [sleeper(), sleeper(), sleeper()];
    let mut pids: Vec<_> = active_children().iter().map(|child| child.pid()).collect();
    pids.sort_unstable();
    let mut wanted: Vec<_> = processes.iter().filter_map(Process::pid).collect();
    wanted.sort_unstable();
    assert_eq!(pids, wanted);
    active_children()[0].kill().expect("killed");
    wait_until("one is gone", || active_children().len() == 2);
    let ended = processes.iter().filter(|process| !process.is_alive());
    let ended: Vec<_> = ended.collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].exit_status(), Some(ExitStatus::Signaled(libc::SIGKILL)));
    for child in active_children() {
        assert!(child.is_alive() && child.exit_status().is_none() && !child.is_daemon());
        assert!(child.name().starts_with("Process-"));
        child.terminate().expect("terminated");
        assert_eq!(child.join().expect("joined"), ExitStatus::Signaled(libc::SIGTERM));
    }
    assert!(active_children().is_empty());
}

/// As the reference's `test_many_processes`.
pub fn a_hundred_processes() {
    let processes: Vec<_> = (0..100).map(|_| sleeper()).collect();
    assert_eq!(active_children().len(), 100);
    processes.iter().for_each(|process| process.terminate().expect("terminated"));
    for process in &processes {
        assert_eq!(process.join().expect("joined").code(), Some(-libc::SIGTERM));
    }
    assert_eq!(proc::children(std::process::id()), [0_u32; 0], "not even a zombie is left");
}

pub fn started_from_many_threads() {
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            scope.spawn(move || {
                for n in 0..8 {
                    let process = Process::new(work::square, (thread * 100 + n,));
                    let result = process.start().expect("a process").result().expect("a result");
                    assert_eq!(result, (thread * 100 + n).pow(2));
                }
            });
        }
    });
}

pub fn waiting_on_many() {
    let processes = [sleeper(), sleeper(), sleeper()];
    let poll = |timeout| {
        let mut fds = processes.each_ref().map(|process| libc::pollfd {
            fd: process.pidfd().expect("it was started").as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: the array is ours, and its length is what is said.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), 3, timeout) };
        (ready, fds.map(|fd| fd.revents != 0))
    };
    assert_eq!(poll(0), (0, [false; 3]));
    processes[1].kill().expect("killed");
    assert_eq!(poll(LIMIT.as_millis() as i32), (1, [false, true, false]));
    processes.iter().for_each(|process| process.kill().expect("killed"));
    for process in &processes {
        process.join().expect("joined");
    }
    assert_eq!(poll(0), (3, [true; 3]), "it stays readable");
}

pub fn joined_by_many_threads() {
    let process = sleeper();
    std::thread::scope(|scope| {
        let joiners: Vec<_> = (0..8).map(|_| scope.spawn(|| process.join())).collect();
        process.kill().expect("killed");
        for joiner in joiners {
            let status = joiner.join().expect("no panic").expect("joined");
            assert_eq!(status, ExitStatus::Signaled(libc::SIGKILL));
        }
    });
    process.join().expect("joined again");
}

pub fn no_zombie_without_a_join() {
    let process = sleeper();
    let pid = process.pid().expect("it was started") as i32;
    process.kill().expect("killed");
    wait_until("nothing is left of it", || proc::state(pid, pid).is_none());
    assert_eq!(process.exit_status(), Some(ExitStatus::Signaled(libc::SIGKILL)));
}

pub fn time_limits() {
    let process = sleeper();
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let error = process.join_timeout(timeout).expect_err("it runs");
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
        let error = process.result_timeout(timeout).expect_err("it runs").to_string();
        assert!(error.contains("still runs"), "{error}");
    }
    assert!(process.is_alive());
    process.kill().expect("killed");
    process.join_timeout(Duration::MAX).expect("joined");
    process.join_timeout(Duration::ZERO).expect("and again");
}

pub fn signals_do_not_cut_short() {
    work::be_alarmed();
    let directory = Directory::new("signals");
    let (running, wanted) = (directory.0.join("running"), directory.0.join("wanted"));
    let process = Process::new(work::wait_for, (running, wanted.clone()));
    let process = process.start().expect("a process, however often interrupted");
    let error =
        process.join_timeout(Duration::from_millis(100)).expect_err("a hundred signals later");
    assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        work::write(&wanted, "text");
    });
    assert_eq!(process.join().expect("joined"), ExitStatus::Exited(0));
    assert_eq!(process.result().expect("a result"), "text");
    writer.join().expect("no panic");
}

pub fn signals_do_not_cut_large_messages() {
    work::be_alarmed();
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 253) as u8).collect();
    let process = Process::new(work::alarmed, (bytes.clone(),)).start().expect("a process");
    assert!(process.result().expect("a result") == bytes, "the bytes came back changed");
}
