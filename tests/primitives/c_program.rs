//! A C program and a Rust program with one `PthreadMutex` between them: `docs/c-layout.md`, in use.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use steadfast::{Consistency, LockError, Mutex, PthreadMutex, SegmentError};

use crate::support::{Name, watchdog};
use crate::{LONG, SHORT, namespace, options};

/// The program, compiled once; None, with a message, without a C compiler.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/share.c");
        let name = format!("share-{}", std::process::id());
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let compiled = Command::new(&compiler)
            .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
            .args([&program, &source])
            .arg("-lrt") // where shm_open was before glibc 2.34
            .output();
        match compiled {
            Err(error) => {
                eprintln!("skipped: no C compiler: {compiler:?}: {error}");
                None
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{source:?}: {said}");
                Some(program)
            }
        }
    };
    PROGRAM.get_or_init(compile).as_deref()
}

/// The C program at work; killed on drop.
struct C {
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl C {
    fn run(what: &str, name: &str) -> C {
        C::by(Command::spawn, what, name)
    }

    fn by(
        start: impl FnOnce(&mut Command) -> std::io::Result<std::process::Child>,
        what: &str,
        name: &str,
    ) -> C {
        let mut command = Command::new(program().expect("a C compiler"));
        command.args([what, name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = start(&mut command).expect("the C program");
        let lines = BufReader::new(process.stdout.take().expect("a pipe"));
        C { process, lines }
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        assert_eq!(line.trim_end(), wanted);
    }

    /// All that it says, until it ends.
    fn says(what: &str, name: &str, wanted: &[&str]) {
        let mut c = C::run(what, name);
        wanted.iter().for_each(|line| c.expect(line));
        c.expect("");
    }
}

impl Drop for C {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn new(tag: &str) -> (Name, PthreadMutex<u64>) {
    let name = Name::new(tag);
    let mutex = PthreadMutex::create(&name, 0_u64, &options()).expect("a mutex");
    (name, mutex)
}

/// The last user of the compiled program takes it away.
struct Compiled;

impl Drop for Compiled {
    fn drop(&mut self) {
        if let Some(program) = program() {
            let _ = std::fs::remove_file(program);
        }
    }
}

/// One test, so that the program is compiled once and taken away at the end.
#[test]
fn a_c_program_and_a_rust_program_share_a_lock() {
    let _dog = watchdog();
    if program().is_none() {
        return;
    }
    let _compiled = Compiled;
    both_count();
    each_waits_for_the_other();
    each_is_told_that_the_other_died();
    what_c_does_not_judge_is_told_to_rust();
    c_refuses_what_is_not_meant_for_it();
    a_segment_without_a_rust_user_is_kept_by_c();
}

fn both_count() {
    let (name, mutex) = new("c-count");
    for round in 0..10 {
        *mutex.lock().unwrap() += 1;
        C::says("add", &name, &["locked", "unlocked"]);
        assert_eq!(*mutex.lock().unwrap(), 2 * round + 2);
    }
}

fn each_waits_for_the_other() {
    let (name, mutex) = new("c-wait");
    let guard = mutex.lock().unwrap();
    C::says("time", &name, &["ETIMEDOUT"]);
    let mut waiting = C::run("add", &name);
    drop(guard);
    waiting.expect("locked");
    waiting.expect("unlocked");
    let mut holder = C::run("die", &name);
    holder.expect("locked");
    holder.expect("holding");
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    assert!(matches!(mutex.lock_timeout(SHORT), Err(LockError::TimedOut)));
}

fn each_is_told_that_the_other_died() {
    let (name, mutex) = new("c-death");
    for round in 1..=3 {
        // C dies, for one who waits already and for one who comes.
        let mut holder = C::run("die", &name);
        holder.expect("locked");
        holder.expect("holding");
        std::thread::scope(|scope| {
            let attempt = || match mutex.lock_timeout(LONG) {
                Err(LockError::OwnerDied(mut guard)) => {
                    *guard -= 1000;
                    guard.mark_consistent();
                }
                other => panic!("{other:?}"),
            };
            if round == 1 {
                scope.spawn(attempt);
                drop(holder);
            } else {
                drop(holder);
                attempt();
            }
        });
        assert_eq!(*mutex.lock().unwrap(), round - 1);
        assert_eq!(mutex.consistency(), Consistency::Clean);
        // Rust dies: a thread of this process, which is the same to the kernel.
        std::thread::scope(|scope| {
            scope.spawn(|| std::mem::forget(mutex.lock().unwrap())).join().unwrap();
        });
        C::says("add", &name, &["EOWNERDEAD", "unlocked"]);
        assert_eq!(*mutex.lock().unwrap(), round);
    }
    // And a process of its own.
    let mut actor = crate::support::child::Child::spawn("actor", &[&name, "pthread", "lock"]);
    actor.expect("locked");
    let mut waiting = C::run("add", &name);
    actor.kill();
    waiting.expect("EOWNERDEAD");
    waiting.expect("unlocked");
    assert_eq!(*mutex.lock().unwrap(), 4);
}

fn what_c_does_not_judge_is_told_to_rust() {
    let (name, mutex) = new("c-leave");
    let mut holder = C::run("die", &name);
    holder.expect("locked");
    holder.expect("holding");
    drop(holder);
    C::says("leave", &name, &["EOWNERDEAD", "unlocked"]);
    assert_eq!(mutex.consistency(), Consistency::OwnerDied);
    C::says("leave", &name, &["locked, to be judged", "unlocked"]);
    let Err(LockError::OwnerDied(guard)) = mutex.lock() else { panic!("nobody has judged it") };
    assert_eq!(*guard, 1000);
    drop(guard);
    C::says("add", &name, &["abandoned", "unlocked"]);
    assert!(matches!(mutex.lock(), Err(LockError::Abandoned)));
    mutex.replace(5).unwrap();
    C::says("add", &name, &["locked", "unlocked"]);
    assert_eq!(*mutex.lock().unwrap(), 6);
}

fn c_refuses_what_is_not_meant_for_it() {
    let name = Name::new("c-kind");
    let _ours = Mutex::create(&name, 0_u64, &options()).unwrap();
    C::says("add", &name, &["refused: not a PthreadMutex"]);
    let name = Name::new("c-value");
    let _small = PthreadMutex::create(&name, [0_u32; 2], &options()).unwrap();
    C::says("add", &name, &["refused: another value"]);
    C::says("add", &Name::new("c-none"), &["refused: not a segment"]);
    let name = Name::new("c-file");
    std::fs::write(name.file(), vec![b'x'; 9000]).unwrap();
    C::says("add", &name, &["refused: not a segment"]);
    let (name, _mutex) = new("c-namespace");
    if namespace::permitted() {
        let start = |command: &mut Command| namespace::in_new_one(|| command.spawn());
        C::by(start, "add", &name).expect("refused: another PID namespace");
    } else {
        eprintln!("left out: no right to make a PID namespace");
    }
}

fn a_segment_without_a_rust_user_is_kept_by_c() {
    let name = Name::new("c-attach");
    let create = || PthreadMutex::create(&name, 0_u64, &options().ephemeral(true)).unwrap();
    // One who only maps it is nobody: the last one out takes the name away.
    let mutex = create();
    assert_eq!(mutex.segment().users(), 1);
    let mut holder = C::run("die", &name);
    holder.expect("locked");
    drop(mutex);
    let gone = PthreadMutex::<u64>::open(&name);
    assert!(matches!(gone, Err(SegmentError::NotFound { .. })), "{gone:?}");
    drop(holder);
    // One who holds the byte keeps it.
    let mutex = create();
    let mut attached = C::run("attach", &name);
    attached.expect("attached");
    drop(mutex);
    *PthreadMutex::<u64>::open(&name).unwrap().lock().unwrap() += 1;
    assert!(name.file().exists());
}
