//! How processes end, and what is said about it.

use std::os::unix::process::ExitStatusExt;

use steadfast::{ExitStatus, Process, ResultError};

use crate::support::harness;
use crate::work;

fn run_to_the_end<R: serde::Serialize + serde::de::DeserializeOwned>(
    process: Process<R>,
) -> ExitStatus {
    process.start().expect("a process").join().expect("joined")
}

pub fn exit_codes() {
    assert_eq!(run_to_the_end(Process::new(work::nothing, ())), ExitStatus::Exited(0));
    for (given, code) in [(0, 0), (1, 1), (7, 7), (255, 255), (256, 0), (300, 44), (-1, 255)] {
        let process = Process::new(work::exit_with, (given,)).start().expect("a process");
        let status = process.join().expect("joined");
        assert_eq!(
            (status, status.code()),
            (ExitStatus::Exited(code), Some(code)),
            "exit({given})"
        );
        assert_eq!(status.success(), code == 0);
        let error = process.result().expect_err("it did not return");
        assert!(matches!(error, ResultError::Ended { status: of, .. } if of == status), "{error}");
    }
}

pub fn signals() {
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGABRT, libc::SIGTERM, libc::SIGUSR1] {
        let status = run_to_the_end(Process::new(work::die_of, (signal,)));
        assert_eq!(status, ExitStatus::Signaled(signal));
        assert_eq!((status.code(), status.signal()), (Some(-signal), Some(signal)));
        assert!(!status.success());
    }
    type Way = fn(&Process<()>) -> Result<(), steadfast::ProcessError>;
    let ways: [(i32, Way); 3] = [
        (libc::SIGTERM, Process::terminate),
        (libc::SIGKILL, Process::kill),
        (libc::SIGINT, Process::interrupt),
    ];
    for (signal, way) in ways {
        let process = Process::new(work::sleep_long, ()).start().expect("a process");
        way(&process).expect("sent");
        assert_eq!(process.join().expect("joined"), ExitStatus::Signaled(signal));
        way(&process).expect("to one that has ended: nothing happens");
        let error = process.result().expect_err("there is none").to_string();
        assert!(error.contains(&format!("killed by signal {signal}")), "{error}");
    }
}

pub fn panics() {
    let process =
        Process::new(work::panic_with, ("oh: no".to_owned(),)).start().expect("a process");
    let error = process.result().expect_err("it panicked");
    let ResultError::Panicked { message, location, .. } = &error else { panic!("{error}") };
    assert_eq!(message, "oh: no");
    let location = location.as_ref().expect("the place is known");
    assert!(location.contains("work.rs:"), "{location}");
    let text = error.to_string();
    assert!(text.contains("oh: no") && text.contains(location.as_str()), "{text}");
    assert_eq!(process.exit_status(), Some(ExitStatus::Exited(1)));

    for (process, wanted, placed) in [
        (Process::new(divide, (0,)), "attempt to divide by zero", true),
        (Process::new(caught_before, (0,)), "the second", true),
        (Process::new(resumed, (0,)), "resumed", false),
        (Process::new(odd_payload, (0,)), "a value that is no text", true),
    ] {
        match process.start().expect("a process").result() {
            Err(ResultError::Panicked { message, location, .. }) => {
                assert_eq!(message, wanted);
                assert_eq!(location.is_some(), placed, "{wanted}: {location:?}");
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }

    let output = harness::in_role("panicking", &[]).output().expect("run this program");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("panicked at") && text.contains("for people"), "{text}");
    assert!(output.status.success(), "{text}");
}

pub fn panicking() {
    let process = Process::new(work::panic_with, ("for people".to_owned(),)).start();
    assert!(process.expect("a process").result().is_err());
}

fn divide(by: i32) -> i32 {
    1 / by
}

/// A panic that the function caught is not its end.
fn caught_before(_: i32) -> i32 {
    let first = std::panic::catch_unwind(|| panic!("the first"));
    assert!(first.is_err());
    panic!("the second");
}

fn resumed(_: i32) -> i32 {
    std::panic::resume_unwind(Box::new("resumed"));
}

fn odd_payload(_: i32) -> i32 {
    std::panic::panic_any(7_u64);
}

fn with_a_hook() {
    std::panic::set_hook(Box::new(|_| {}));
    panic!("unseen");
}

steadfast::register!(divide, caught_before, resumed, odd_payload, with_a_hook);

pub fn a_panic_hook_of_ones_own() {
    let process = Process::new(with_a_hook, ()).start().expect("a process");
    match process.result() {
        Err(ResultError::Panicked { message, location: None, .. }) => assert_eq!(message, "unseen"),
        other => panic!("{other:?}"),
    }
}

fn write_and_exit(how: String) {
    print!("half a line of {how}");
    eprint!("half an error of {how}");
    match how.as_str() {
        "exit" => std::process::exit(3),
        "panic" => panic!("with output"),
        _ => {}
    }
}

steadfast::register!(write_and_exit);

pub fn flushing() {
    for how in ["return", "exit", "panic"] {
        Process::new(write_and_exit, (how.to_owned(),))
            .start()
            .expect("a process")
            .join()
            .expect("joined");
    }
}

pub fn output_is_flushed() {
    let output = harness::in_role("flushing", &[]).output().expect("run this program");
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for how in ["return", "exit", "panic"] {
        assert!(text.contains(&format!("half a line of {how}")), "{how}: {text}");
        assert!(errors.contains(&format!("half an error of {how}")), "{how}: {errors}");
    }
}

pub fn status_taken_by_others() {
    let process = Process::new(work::sleep_long, ()).start().expect("a process");
    let pid = process.pid().expect("it was started") as i32;
    // Other code of this process waits for it, and the library may not be in time.
    let taker = std::thread::spawn(move || {
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }
    });
    process.kill().expect("killed");
    let status = process.join().expect("joined all the same");
    assert!(matches!(status, ExitStatus::Lost | ExitStatus::Signaled(libc::SIGKILL)), "{status}");
    taker.join().expect("no panic");
    assert!(!process.is_alive());
    process.kill().expect("nothing happens");
    assert!(matches!(process.result(), Err(ResultError::Ended { .. })));
}

pub fn ignored_child_signals() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let process = Process::new(work::square, (3,)).start().expect("a process");
    assert_eq!(process.result().expect("the result is not lost"), 9);
    assert_eq!(process.exit_status(), Some(ExitStatus::Lost));
    assert_eq!(ExitStatus::Lost.code(), None);
    // SAFETY: the default, as before.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let status = std::process::Command::new("true").status().expect("run true");
    assert_eq!(status.into_raw(), 0);
}
