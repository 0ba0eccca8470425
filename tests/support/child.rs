//! Child processes: the test binary runs itself again with only its `child`
//! test, which plays the role that the environment names.
//!
//! Each test crate that needs children defines
//! `#[test] #[ignore = "a child of other tests"] fn child() { child::play(&[("role", function), ..]) }`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::LIMIT;

const ROLE: &str = "STEADFAST_TEST_ROLE";
const ARGUMENTS: &str = "STEADFAST_TEST_ARGUMENTS";
/// Between two arguments.
const SEPARATOR: &str = "\u{1f}";
/// Starts what a child tells; libtest's own words have none.
const MARK: char = '\u{1}';

/// What a role is called with.
pub type Role = fn(&[String]);

/// Plays the role the environment asks for; returns at once without one.
pub fn play(roles: &[(&str, Role)]) {
    let Ok(wanted) = std::env::var(ROLE) else {
        return;
    };
    let _watchdog = super::watchdog_after(LIMIT * 3);
    let arguments = std::env::var(ARGUMENTS).unwrap_or_default();
    let arguments: Vec<String> = arguments.split(SEPARATOR).map(str::to_owned).collect();
    let role = roles.iter().find(|(name, _)| *name == wanted);
    let (_, function) = role.unwrap_or_else(|| panic!("no role {wanted}"));
    function(&arguments);
}

/// In a child: tells the parent one line.
pub fn tell(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// In a child: the parent's next line; ends the process when the parent is gone.
pub fn hear() -> String {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(n) if n > 0 => line.trim_end().to_owned(),
        _ => std::process::exit(0),
    }
}

/// A running child, killed on drop.
pub struct Child {
    role: String,
    process: std::process::Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Child {
    /// Starts this test binary in `role`.
    pub fn spawn(role: &str, arguments: &[&str]) -> Child {
        Child::spawn_under(&[], role, arguments)
    }

    /// The same with other words in front of the command (strace and its options).
    pub fn spawn_under(wrapper: &[&str], role: &str, arguments: &[&str]) -> Child {
        Child::spawn_by(Command::spawn, wrapper, role, arguments)
    }

    /// The same, started by `start` (in a namespace of its own).
    pub fn spawn_by(
        start: impl FnOnce(&mut Command) -> std::io::Result<std::process::Child>,
        wrapper: &[&str],
        role: &str,
        arguments: &[&str],
    ) -> Child {
        let program = std::env::current_exe().expect("the path of this program");
        let mut command = match wrapper {
            [] => Command::new(&program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
        };
        command
            .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENTS, arguments.join(SEPARATOR))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let die_with_us = || {
            // SAFETY: prctl(PR_SET_PDEATHSIG) takes one number and touches no memory.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes one async-signal-safe system call.
        unsafe { command.pre_exec(die_with_us) };
        let mut process = start(&mut command).expect("start this program again");
        let input = process.stdin.take().expect("a pipe");
        let output = process.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if let Some((_, told)) = line.split_once(MARK) {
                    let _ = sender.send(told.to_owned());
                }
            }
        });
        Child { role: role.to_owned(), process, input, lines }
    }

    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Sends the child one line.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the child listens");
    }

    /// The child's next line; panics when it ends or stays silent.
    pub fn hear(&mut self) -> String {
        match self.hear_within(LIMIT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("child {} is silent", self.role),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("child {} ended: {:?}", self.role, self.process.wait())
            }
        }
    }

    /// The child's next line, if it comes in time.
    pub fn hear_within(&mut self, limit: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(limit)
    }

    /// The child's next line must be `wanted`.
    pub fn expect(&mut self, wanted: &str) {
        let line = self.hear();
        assert_eq!(line, wanted, "child {}", self.role);
    }

    /// Whether the child has told something (or ended) that was not heard yet.
    pub fn is_silent(&mut self) -> bool {
        matches!(self.lines.try_recv(), Err(mpsc::TryRecvError::Empty))
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child is not yet reaped, so the number is still its own.
        let result = unsafe { libc::kill(self.pid(), signal) };
        assert_eq!(result, 0, "signal {signal} to child {}", self.role);
    }

    /// SIGSTOP, and waits until it has stopped.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        super::wait_until("the child has stopped", || {
            super::proc::state(self.pid(), self.pid()) == Some('T')
        });
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// SIGKILL without a wait: the child dies when it gets to it.
    pub fn kill_soon(&self) {
        self.signal(libc::SIGKILL);
    }

    /// SIGKILL, and waits until the child is gone.
    pub fn kill(mut self) {
        self.kill_soon();
        let status = self.wait();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "child {}", self.role);
    }

    /// Waits for the end, within the usual limit.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("wait for a child") {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "child {} does not end", self.role);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the child has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("wait for a child")
    }

    /// Waits for the end, which must be a success.
    pub fn finish(mut self) {
        let status = self.wait();
        assert!(status.success(), "child {}: {status}", self.role);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
