//! A test harness for programs whose `main` is their own: each test runs in a process of its own, with a
//! temporary directory of its own. A test fails if it panics, takes too long, or leaves a process or a file
//! behind.
//!
//! A test can run this program again in a *role*, to have a process that it can kill, or that is no test.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::LIMIT;

const TEST: &str = "STEADFAST_TEST";
const ROLE: &str = "--role";

pub type Test = (&'static str, fn());

/// The role that this process is to play.
pub fn role() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? == ROLE { arguments.next() } else { None }
}

/// The arguments of the role.
pub fn role_arguments() -> Vec<String> {
    std::env::args().skip(3).collect()
}

/// The path of this program.
pub fn program() -> PathBuf {
    std::env::current_exe().expect("the path of this program")
}

/// The command line of a role.
pub fn role_line(role: &str, arguments: &[&str]) -> Vec<String> {
    [ROLE, role].iter().chain(arguments).map(|&argument| argument.to_owned()).collect()
}

/// This program in a role.
pub fn in_role(role: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(role_line(role, arguments)).env_remove(TEST).stdin(Stdio::null());
    command
}

/// A running program, killed on drop.
pub struct Running(pub std::process::Child);

impl Running {
    pub fn start(mut command: Command) -> Running {
        Running(command.spawn().expect("start this program again"))
    }

    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the process was not waited for, so its number is still its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0, "signal {signal}");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("waited for");
    }

    /// Waits for the end.
    pub fn wait(mut self) -> std::process::ExitStatus {
        self.0.wait().expect("waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plays the role that this process is to play, or runs one test, or all those that the command line asks for.
pub fn main(tests: &[Test], roles: &[Test]) -> ExitCode {
    if let Some(wanted) = role() {
        let found = roles.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("no role {wanted}")).1();
        return ExitCode::SUCCESS;
    }
    if let Ok(wanted) = std::env::var(TEST) {
        let mut all = tests.iter().chain(roles);
        let (_, test) = all.find(|(name, _)| *name == wanted).expect("a test");
        let _watchdog = super::watchdog();
        // A shell that runs this in the background has it ignored, also in all children.
        // SAFETY: the default runs no code.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        // SAFETY: prctl(PR_SET_CHILD_SUBREAPER) takes one number and touches no memory.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        test();
        super::wait_until("no process is left", || reap_all() == 0);
        return ExitCode::SUCCESS;
    }
    let Some(chosen) = choose(tests) else { return ExitCode::SUCCESS };
    println!("\nrunning {} tests", chosen.len());
    let (next, failures) = (Mutex::new(chosen.iter()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let test = next.lock().expect("no thread panics").next();
                    let Some((name, _)) = test else { return };
                    let outcome = run(name);
                    println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
                    if let Err(what) = outcome {
                        failures.lock().expect("no thread panics").push((*name, what));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics");
    for (name, what) in &failures {
        println!("\n---- {name} ----\n{what}");
    }
    let passed = chosen.len() - failures.len();
    let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {} failed\n", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The tests that the command line asks for: what the usual harness takes, as far as others use it.
fn choose(tests: &[Test]) -> Option<Vec<Test>> {
    let (mut filters, mut skipped) = (Vec::new(), Vec::new());
    let (mut list, mut exact, mut none) = (false, false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => list = true,
            "--exact" => exact = true,
            "--ignored" => none = true,
            "--skip" => skipped.extend(arguments.next()),
            "--format" | "--color" | "--test-threads" | "--logfile" => drop(arguments.next()),
            option if option.starts_with('-') => {}
            filter => filters.push(filter.to_owned()),
        }
    }
    let fits =
        |name: &str, filter: &String| if exact { name == filter } else { name.contains(filter) };
    let mut chosen = tests.to_vec();
    chosen.retain(|(name, _)| {
        !none
            && (filters.is_empty() || filters.iter().any(|filter| fits(name, filter)))
            && !skipped.iter().any(|filter| fits(name, filter))
    });
    if list {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return None;
    }
    Some(chosen)
}

/// A directory that is removed with all that is in it.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(tag: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("t{}-{tag}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        Directory(path)
    }

    /// What is in it.
    pub fn contents(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).expect("a readable directory");
        entries.map(|entry| entry.expect("a readable entry").path()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs one test, or a role as if it were one, in a process of its own.
pub fn run(name: &str) -> Result<(), String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Short, as the tests have sockets in it.
    let directory = Directory::new(&NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    let log = directory.0.with_extension("log");
    let mut output = File::options().create(true).truncate(true).read(true).write(true).open(&log);
    let output = output.as_mut().map_err(|error| error.to_string())?;
    let _ = std::fs::remove_file(&log);
    let copy = || output.try_clone().expect("a second descriptor");
    let mut process = Command::new(program())
        .env(TEST, name)
        .env("TMPDIR", &directory.0)
        .stdin(Stdio::null())
        .stdout(copy())
        .stderr(copy())
        .process_group(0)
        .spawn()
        .expect("start this program again");
    let start = Instant::now();
    let status = loop {
        match process.try_wait().expect("wait for a test") {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT + LIMIT / 4 => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    // SAFETY: the group is that of our child; what is left of it must not stay.
    unsafe { libc::kill(-(process.id() as i32), libc::SIGKILL) };
    let _ = process.wait();
    let mut text = String::new();
    let _ = output.rewind();
    let _ = output.read_to_string(&mut text);
    match status {
        None => Err(format!("{text}\nit did not end")),
        Some(status) if !status.success() => Err(format!("{text}\n{status}")),
        Some(_) if !directory.contents().is_empty() => {
            Err(format!("{text}\nleft behind: {:?}", directory.contents()))
        }
        Some(_) => Ok(()),
    }
}

/// Collects children that have ended; how many have not.
fn reap_all() -> usize {
    loop {
        // SAFETY: no status is asked for.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return super::proc::children(std::process::id()).len().max(1),
            -1 => return 0,
            _ => {}
        }
    }
}
