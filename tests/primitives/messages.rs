//! What does not compile, and what the compiler says about it: small programs that are given to `rustc` with
//! the library that these tests were built with.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The compiler, and the library for it.
struct Compiler {
    dependencies: PathBuf,
    library: PathBuf,
}

const GOOD: &str = "#[derive(steadfast::Shared)]
    struct Good { lock: steadfast::Mutex<u32>, row: steadfast::Array<u8>, all: [steadfast::Event; 3] }";

impl Compiler {
    /// None, with a message, where it cannot be had.
    fn find() -> Option<Compiler> {
        let program = std::env::current_exe().expect("the path of this program");
        let dependencies = program.parent().expect("a folder").to_owned();
        let is_library = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libsteadfast-") && name.ends_with(".rlib")
        };
        let entries = std::fs::read_dir(&dependencies).expect("the folder").flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(is_library).collect();
        // There may be older ones, and ones with other features: the newest that works.
        let age = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
        found.sort_by_key(|path| std::cmp::Reverse(age(path)));
        let with = |library| Compiler { dependencies: dependencies.clone(), library };
        let compiler = found.into_iter().map(with).find(|it| it.compile(GOOD).is_ok());
        if compiler.is_none() {
            eprintln!("skipped: no rustc, or no library of its version beside these tests");
        }
        compiler
    }

    /// What the compiler complains about.
    fn compile(&self, program: &str) -> Result<(), String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let flag = |flag: &str, path: &Path| {
            let mut flag = std::ffi::OsString::from(flag);
            flag.push(path);
            flag
        };
        let mut child = Command::new(rustc)
            .args(["--edition=2024", "--crate-type=lib", "--crate-name=sample", "--emit=metadata"])
            .args(["-o", "-", "-L"])
            .arg(flag("dependency=", &self.dependencies))
            .arg("--extern")
            .arg(flag("steadfast=", &self.library))
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(program.as_bytes()).map_err(|error| error.to_string())?;
        drop(input);
        let output = child.wait_with_output().expect("the compiler ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }
}

/// Each program is refused, and these words come first.
fn refused(programs: &[(&str, &str)]) {
    let _dog = crate::support::watchdog();
    let Some(compiler) = Compiler::find() else { return };
    for (program, wanted) in programs {
        let said = compiler.compile(program).expect_err(program);
        let first = said.lines().find(|line| line.starts_with("error"));
        assert!(first.is_some_and(|line| line.contains(wanted)), "{program}\n{said}");
    }
}

#[test]
fn pointers_and_padding_cannot_live_in_shared_memory() {
    refused(&[
        (
            "pub fn f() { let _ = steadfast::Mutex::create(\"x\", String::new(), &Default::default()); }",
            "`String` cannot live in shared memory",
        ),
        (
            "pub fn f() { let _ = steadfast::Mutex::<Vec<u8>>::open(\"x\"); }",
            "`Vec<u8>` cannot live in shared memory",
        ),
        (
            "#[repr(C)] pub struct Padded { a: u8, b: u32 }
            pub fn f(padded: Padded) { let _ = steadfast::Value::create(\"x\", padded, &Default::default()); }",
            "`Padded` cannot live in shared memory",
        ),
        (
            "pub fn f() { let _ = steadfast::RwLock::create(\"x\", \"text\", &Default::default()); }",
            "`&str` cannot live in shared memory",
        ),
        (
            "pub fn f() { let _ = steadfast::Array::create(\"x\", vec![(1_u8, 2_u32)], &Default::default()); }",
            "`(u8, u32)` cannot live in shared memory",
        ),
        (
            "#[derive(steadfast::Shared)] pub struct S { rows: steadfast::RwLock<[Box<u8>]> }",
            "`[Box<u8>]` cannot live in shared memory",
        ),
        (
            "#[derive(steadfast::Shared)] pub struct S { names: steadfast::Mutex<[String; 2]> }",
            "`[String; 2]` cannot live in shared memory",
        ),
    ]);
}

#[test]
fn other_things_cannot_be_a_part_of_a_shared_struct() {
    refused(&[
        (
            "#[derive(steadfast::Shared)] pub struct S { name: String }",
            "`String` cannot be a part of a shared struct",
        ),
        (
            "#[derive(steadfast::Shared)] pub struct S { number: u32 }",
            "`u32` cannot be a part of a shared struct",
        ),
        (
            "#[derive(steadfast::Shared)] pub struct S { lock: std::sync::Mutex<u32> }",
            "`std::sync::Mutex<u32>` cannot be a part of a shared struct",
        ),
        (
            "pub fn f() { let _ = steadfast::Segment::of::<Vec<steadfast::Event>>(); }",
            "`Vec<Event>` cannot be a part of a shared struct",
        ),
    ]);
}

#[test]
fn only_a_struct_with_named_fields_and_without_parameters_is_shared() {
    let named = "only a struct with named fields can be shared";
    refused(&[
        ("#[derive(steadfast::Shared)] pub enum E { A, B }", named),
        ("#[derive(steadfast::Shared)] pub union U { a: u8, b: u8 }", named),
        ("#[derive(steadfast::Shared)] pub struct S(steadfast::Event);", named),
        ("#[derive(steadfast::Shared)] pub struct S;", named),
        (
            "#[derive(steadfast::Shared)] pub struct S<T> { lock: steadfast::Mutex<T> }",
            "a shared struct has no parameters",
        ),
        (
            "#[derive(steadfast::Shared)] pub struct S<const N: usize> { all: [steadfast::Event; N] }",
            "a shared struct has no parameters",
        ),
    ]);
}

#[test]
fn what_a_thread_holds_stays_on_it_and_is_released_once() {
    let guards = [
        ("lock: steadfast::RLock", "lock.lock().unwrap()"),
        ("lock: steadfast::Mutex<u8>", "lock.lock().unwrap()"),
        ("lock: steadfast::RwLock<u8>", "lock.read().unwrap()"),
        ("lock: steadfast::RwLock<u8>", "lock.write().unwrap()"),
        ("lock: steadfast::Permits", "lock.acquire().unwrap()"),
        ("lock: steadfast::Barrier", "lock.join().unwrap()"),
    ];
    for (lock, take) in guards {
        let scope = "std::thread::scope(|scope| { scope.spawn(move || drop(guard)); })";
        let away = format!("pub fn f({lock}) {{ let guard = {take}; {scope} }}");
        let twice = format!("pub fn f({lock}) {{ let guard = {take}; drop(guard); drop(guard); }}");
        refused(&[
            (&away, "cannot be sent between threads safely"),
            (&twice, "use of moved value"),
        ]);
    }
}

#[test]
fn a_negative_count_cannot_be_written() {
    let negative = "cannot apply unary operator `-`";
    refused(&[
        (
            "pub fn f() { let _ = steadfast::Semaphore::create(\"x\", -1, &Default::default()); }",
            negative,
        ),
        (
            "pub fn f() { let _ = steadfast::Barrier::create(\"x\", -1, &Default::default()); }",
            negative,
        ),
    ]);
}
