//! How parent and child meet, and do not.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};
use steadfast::{ExitStatus, Process, StartError};

use crate::support::harness::{self, Directory, role_arguments, role_line};
use crate::support::{proc, wait_until};
use crate::work;

/// A process whose program is this one in a role.
pub fn in_role(role: &str, arguments: &[&str]) -> Process<u64> {
    Process::new(work::square, (7,)).program(harness::program(), role_line(role, arguments))
}

/// A program that does something before it calls `init`.
pub fn before_init() {
    match role_arguments()[0].as_str() {
        "exit" => std::process::exit(3),
        "panic" => panic!("before init"),
        "sleep" => work::sleep_long(),
        "stop" => {
            // SAFETY: raise takes a number.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        signal => work::die_of(signal.parse().expect("a signal")),
    }
    steadfast::init();
}

/// A program that does not call `init` at all, and starts itself: it must not go on for ever.
pub fn forgetful() {
    let error = Process::new(work::nothing, ()).start().expect_err("init was not called");
    assert!(matches!(error, StartError::NotInitialised), "{error}");
    println!("{error}");
}

pub fn init_is_forgotten() {
    let output = harness::in_role("forgetful", &[]).output().expect("run this program");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("steadfast::init() was not called"), "{text}");
    assert_eq!(text.lines().count(), 1, "one program ran: {text}");
    // As the program of a process that does call it:
    let error = in_role("forgetful", &[]).start().expect_err("it does not call init");
    assert!(matches!(error, StartError::Died { status: ExitStatus::Exited(0), .. }), "{error}");
    assert!(error.to_string().contains("first thing in its main"), "{error}");
}

pub fn another_program() {
    for (program, code) in [("true", 0), ("false", 1)] {
        let process = Process::new(work::nothing, ()).program(program, [""; 0]);
        let error = process.start().expect_err("it knows nothing of this");
        let status = ExitStatus::Exited(code);
        assert!(matches!(error, StartError::Died { status: of, .. } if of == status), "{error}");
        assert!(error.to_string().contains(program), "{error}");
    }
    assert_eq!(proc::children(std::process::id()), [0_u32; 0]);
}

pub fn a_program_that_never_calls_init() {
    let process = Process::new(work::nothing, ()).program("sleep", ["1000"]);
    let error =
        process.handshake_timeout(Duration::from_millis(200)).start().expect_err("it sleeps");
    assert!(matches!(error, StartError::NoHandshake { .. }), "{error}");
    assert_eq!(proc::children(std::process::id()), [0_u32; 0], "it was killed, and waited for");
    assert!(steadfast::active_children().is_empty());
}

pub fn a_program_that_is_not_there() {
    let process = Process::new(work::nothing, ()).program("/nowhere/at/all", [""; 0]);
    let error = process.start().expect_err("there is none");
    let StartError::Spawn { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

/// A program that starts one process, and says what came of it.
pub fn starts_one() {
    if let Some(file) = role_arguments().first() {
        std::fs::remove_file(file).expect("remove this program");
    }
    match Process::new(work::square, (7,)).start() {
        Ok(process) => println!("{}", process.result().expect("a result")),
        Err(error) => println!("error: {error}"),
    }
}

pub fn long_temporary_directory() {
    let directory = Directory::new("long");
    // The longest that can do, and one more.
    let name = |length: usize| "x".repeat(length - directory.0.as_os_str().len() - 1);
    for (length, wanted) in [(89, "49\n"), (90, "too long for the address of a socket")] {
        let long = directory.0.join(name(length));
        std::fs::create_dir(&long).expect("a directory");
        let output = harness::in_role("starts_one", &[]).env("TMPDIR", &long).output();
        let output = output.expect("run this program");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(wanted), "{length}: {text}");
        std::fs::remove_dir(&long).expect("nothing was left in it");
    }
}

pub fn missing_temporary_directory() {
    let output = harness::in_role("starts_one", &[]).env("TMPDIR", "/nowhere/at/all").output();
    let text = String::from_utf8_lossy(&output.expect("run this program").stdout).into_owned();
    assert!(text.contains("not a directory that this process may write to"), "{text}");
}

/// A child's first message, as the library has it.
#[derive(Serialize, Deserialize)]
enum Greeting {
    Hello { token: u64, build: Build, start: IpcSender<u8>, report: IpcReceiver<u8> },
    Abort,
}

#[derive(Serialize, Deserialize)]
struct Build {
    version: String,
    table: u64,
    functions: u32,
}

/// A program that connects by itself, and misbehaves.
pub fn greets() {
    let mark = std::env::var("STEADFAST_CHILD").expect("this is a child");
    let mut fields = mark.splitn(4, ':').skip(2);
    let token = fields.next().and_then(|token| token.parse().ok()).expect("a token");
    let server = fields.next().expect("a server").to_owned();
    let greet = |greeting| {
        let greeter = IpcSender::<Greeting>::connect(server.clone()).expect("connected");
        greeter.send(greeting).expect("sent");
    };
    match role_arguments()[0].as_str() {
        how @ ("other" | "stranger") => {
            let (start, _starts) = ipc::channel().expect("a channel");
            let (_reporter, report) = ipc::channel().expect("a channel");
            let build = Build { version: "0.0.7".into(), table: 7, functions: 3 };
            let token = if how == "other" { token } else { token ^ 1 };
            greet(Greeting::Hello { token, build, start, report });
            work::sleep_long();
        }
        "abort" => {
            greet(Greeting::Abort);
            work::sleep_long();
        }
        "garbage" => {
            let greeter = IpcSender::<Vec<u64>>::connect(server).expect("connected");
            greeter.send(vec![7; 100]).expect("sent");
            work::sleep_long();
        }
        how => {
            let greeter = IpcSender::<Greeting>::connect(server).expect("connected");
            if how == "die" {
                work::die_of(libc::SIGKILL);
            }
            drop(greeter);
        }
    }
}

pub fn another_build() {
    let error = in_role("greets", &["other"]).start().expect_err("other functions");
    let StartError::Mismatch { theirs, ours, .. } = &error else { panic!("{error}") };
    assert!(theirs.contains("3 functions") && theirs.contains("0.0.7"), "{theirs}");
    assert!(ours.contains(env!("CARGO_PKG_VERSION")), "{ours}");
    assert_eq!(proc::children(std::process::id()), [0_u32; 0]);
}

pub fn another_language() {
    let error = in_role("greets", &["garbage"]).start().expect_err("no greeting");
    assert!(matches!(error, StartError::Mismatch { .. }), "{error}");
    let error = in_role("greets", &["stranger"]).start().expect_err("it does not know the token");
    assert!(matches!(error, StartError::Mismatch { .. }), "{error}");
    let process = in_role("greets", &["abort"]).handshake_timeout(Duration::from_millis(200));
    let error = process.start().expect_err("not a child's greeting");
    assert!(matches!(error, StartError::NoHandshake { .. }), "{error}");
    assert_eq!(proc::children(std::process::id()), [0_u32; 0]);
}

pub fn a_program_that_was_removed() {
    let directory = Directory::new("removed");
    let copy = directory.0.join("copy");
    std::fs::copy(harness::program(), &copy).expect("a copy of this program");
    let mut command = std::process::Command::new(&copy);
    command.args(role_line("starts_one", &[copy.to_str().expect("a plain path")]));
    let output = command.env_remove("STEADFAST_TEST").output().expect("run the copy");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "49\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!copy.exists());
}

pub fn a_foreign_mark() {
    for (mark, wanted) in
        [("7:1:2:/nowhere", "another version of steadfast"), ("x", "another version")]
    {
        let output = harness::in_role("starts_one", &[]).env("STEADFAST_CHILD", mark).output();
        let output = output.expect("run this program");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(wanted), "{mark}: {text}");
    }
    // The parent lives and there is nothing under that name; or the parent is gone.
    let pid = std::process::id();
    for (mark, wanted) in [
        (format!("1:{pid}:2:/nowhere"), "cannot reach the process"),
        ("1:1:2:/nowhere".to_owned(), ""),
    ] {
        let output = harness::in_role("starts_one", &[]).env("STEADFAST_CHILD", &mark).output();
        let output = output.expect("run this program");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(wanted) && text.is_empty() == wanted.is_empty(), "{mark}: {text}");
    }
}

/// A program that was started without standard descriptors: the file it is given takes its result.
pub fn without_descriptors() {
    steadfast::init();
    let process = Process::new(work::square, (7,)).start().expect("a process");
    let text = process.result().expect("a result").to_string();
    work::write(std::path::Path::new(&role_arguments()[0]), &text);
}

pub fn closed_standard_descriptors() {
    let directory = Directory::new("closed");
    let file = directory.0.join("result");
    let mut command =
        harness::in_role("without_descriptors", &[file.to_str().expect("a plain path")]);
    let close_all = || {
        for descriptor in 0..3 {
            // SAFETY: it takes a number, and is async-signal-safe.
            unsafe { libc::close(descriptor) };
        }
        Ok(())
    };
    // SAFETY: the closure makes three async-signal-safe calls.
    unsafe { command.pre_exec(close_all) };
    assert!(command.status().expect("run this program").success());
    assert_eq!(std::fs::read_to_string(file).expect("a result"), "49");
}

pub fn init_twice() {
    steadfast::init();
    steadfast::init();
    assert_eq!(Process::new(work::square, (2,)).start().expect("a process").result().ok(), Some(4));
}

/// A set-user-ID program: whoever starts it must not make it a child of theirs, nor may it go on for ever.
pub fn more_rights_than_whoever_started_it() {
    let directory = Directory::new("rights");
    let copy = directory.0.join("copy");
    std::fs::copy(harness::program(), &copy).expect("a copy of this program");
    let given = std::os::unix::fs::chown(&copy, Some(1), None).is_ok();
    let set = std::fs::Permissions::from_mode(0o4755);
    if !given || std::fs::set_permissions(&copy, set).is_err() {
        eprintln!("skipped: only root can give a program away");
        return;
    }
    let mut command = std::process::Command::new(&copy);
    command.args(role_line("starts_one", &[])).env_remove("STEADFAST_TEST");
    let output = command.env("STEADFAST_CHILD", "1:1:2:/nowhere").output().expect("run the copy");
    let text = String::from_utf8_lossy(&output.stdout);
    if text == "49\n" {
        eprintln!("skipped: this file system does not honour set-user-ID");
        return;
    }
    assert!(text.contains("more rights than whoever started it"), "{text}");
}

/// A program with few descriptors: too few is an error each time, and then it works again.
pub fn with_few_descriptors() {
    let limit = |descriptors: u64| {
        let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: 1024 };
        // SAFETY: the limit is ours, and only read.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    };
    let (mut refused, mut started) = (0, 0);
    for descriptors in 3..40 {
        limit(descriptors);
        match Process::new(work::square, (7,)).start() {
            Ok(process) => {
                started += 1;
                assert_eq!(process.result().expect("a result"), 49);
            }
            Err(StartError::Io { source, .. } | StartError::Spawn { source, .. }) => {
                refused += 1;
                assert_eq!(source.raw_os_error(), Some(libc::EMFILE), "{descriptors}: {source}");
            }
            Err(error) => panic!("{descriptors}: {error}"),
        }
    }
    assert!(refused > 3 && started > 3, "{refused} refused, {started} started");
}

pub fn too_few_descriptors() {
    let output = harness::in_role("with_few_descriptors", &[]).output().expect("run this program");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.is_empty(), "{text}");
}

/// Where others are let in by the umask, they do not get to the socket.
pub fn a_private_place_to_meet() {
    // SAFETY: it takes a number.
    unsafe { libc::umask(0) };
    let starter = std::thread::spawn(|| in_role("before_init", &["stop"]).start());
    let places = || {
        let entries = std::fs::read_dir(std::env::temp_dir()).expect("readable");
        entries.map(|entry| entry.expect("readable").path()).collect::<Vec<_>>()
    };
    let stopped = || {
        let mut children = proc::children(std::process::id()).into_iter().map(|pid| pid as i32);
        children.find(|pid| proc::state(*pid, *pid) == Some('T'))
    };
    wait_until("the child has stopped", || stopped().is_some());
    let [place] = &places()[..] else { panic!("{:?}", places()) };
    let mode = std::fs::metadata(place).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{place:?}");
    // SAFETY: it is our child, and was not waited for.
    unsafe { libc::kill(stopped().expect("just seen"), libc::SIGCONT) };
    let process = starter.join().expect("no panic").expect("it went on");
    assert_eq!(process.result().expect("a result"), 49);
    assert!(places().is_empty());
}
