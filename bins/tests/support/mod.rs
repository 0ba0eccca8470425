//! What the end-to-end tests share: names that clean up after themselves, programs that cannot hang.
#![allow(dead_code)] // each test file uses its part

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use steadfast::{JoinableQueue, Queue, Segment};

/// How long anything may take before the test fails.
pub const BOUND: Duration = Duration::from_secs(60);

/// A name that no other test has; what is called so is gone when the test is over.
pub struct Name(String);

impl Name {
    pub fn new(tag: &str) -> Name {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Name(format!("bins-{tag}-{}-{count}", std::process::id()))
    }

    /// How many living processes use the segment of this name, without becoming one of them.
    pub fn users(&self) -> usize {
        users(&self.0)
    }

    /// A queue of this name, as this process sees it.
    pub fn queue(&self) -> Queue {
        Queue::open(self).expect("the queue is there")
    }

    /// A joinable queue of this name.
    pub fn joinable(&self) -> JoinableQueue {
        JoinableQueue::open(self).expect("the joinable queue is there")
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        for name in [self.0.clone(), format!("{}.lock", self.0)] {
            let _ = Segment::unlink(&name);
            let _ = std::fs::remove_file(format!("/dev/shm/steadfast-plain,{name}"));
        }
    }
}

/// How many living processes use a segment.
pub fn users(name: &str) -> usize {
    let all = Segment::list().unwrap();
    all.iter().find(|info| info.name == name).map_or(0, |info| info.users_alive)
}

/// A directory that is gone when the test is over.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(tag: &str) -> Folder {
        let path = std::env::temp_dir().join(&*Name::new(tag));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program reads.
pub enum Stdin<'a> {
    /// Nothing.
    Empty,
    /// These bytes, then the end.
    Bytes(&'a [u8]),
    /// What the test writes into [`Run::stdin`].
    Open,
}

/// A program that runs. Dropping it kills it.
pub struct Run {
    what: String,
    child: Child,
    pub stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// What a program left.
#[derive(Debug)]
pub struct Finished {
    pub what: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    /// Its exit code, which must be this one.
    #[track_caller]
    pub fn code(self, code: i32) -> Finished {
        let (what, stderr) = (&self.what, &self.stderr);
        assert_eq!(self.status.code(), Some(code), "{what}: {:?}: {stderr}", self.status);
        self
    }

    /// What it printed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The lines it printed.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// Its last line, as JSON.
    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        let line = text.lines().last().expect("a line of JSON");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Its error message has this in it.
    #[track_caller]
    pub fn says(self, text: &str) -> Finished {
        assert!(self.stderr.contains(text), "{}: no {text:?} in {:?}", self.what, self.stderr);
        self
    }
}

pub fn producer(args: &[&str], stdin: Stdin) -> Run {
    start(env!("CARGO_BIN_EXE_producer"), args, stdin)
}

pub fn consumer(args: &[&str]) -> Run {
    start(env!("CARGO_BIN_EXE_consumer"), args, Stdin::Empty)
}

pub fn buyer(args: &[&str]) -> Run {
    start(env!("CARGO_BIN_EXE_ticket-buyer"), args, Stdin::Empty)
}

pub fn segments(args: &[&str]) -> Run {
    start(env!("CARGO_BIN_EXE_segments"), args, Stdin::Empty)
}

/// A shell in which the programs are on the path.
pub fn shell(script: &str, folder: &std::path::Path) -> Run {
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_producer"));
    let path = format!(
        "{}:{}",
        programs.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).env("PATH", path);
    start_command(command, script.to_owned(), Stdin::Empty)
}

pub fn start(program: &str, args: &[&str], stdin: Stdin) -> Run {
    let mut command = Command::new(program);
    command.args(args);
    let name = program.rsplit('/').next().unwrap_or(program);
    start_command(command, format!("{name} {}", args.join(" ")), stdin)
}

fn start_command(mut command: Command, what: String, stdin: Stdin) -> Run {
    command.env_remove("STEADFAST_QUEUE").env_remove("STEADFAST_LOG");
    command.stdin(if matches!(stdin, Stdin::Empty) { Stdio::null() } else { Stdio::piped() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take();
    if let Stdin::Bytes(bytes) = stdin {
        let (bytes, mut pipe) = (bytes.to_vec(), pipe.take().unwrap());
        // The program may end before it has read everything.
        thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    Run { what, child, stdin: pipe, stdout, stderr }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

impl Run {
    /// Waits for its end, which must come.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        drop(self.stdin.take());
        let end = Instant::now() + BOUND;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "{} does not end", self.what),
            }
            thread::sleep(Duration::from_millis(2));
        };
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{}: {stderr}", self.what);
        Finished { what: std::mem::take(&mut self.what), status, stdout, stderr }
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill -{signal} {}", self.what);
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so, which must come.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes of all values, the same in each run.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Frames as `--frames` reads and writes them.
pub fn frames<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend_from_slice(&(item.len() as u32).to_le_bytes());
        bytes.extend_from_slice(item);
    }
    bytes
}
