//! A live process next to the victims: it sleeps in an operation while they die, and must go on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use steadfast::{JoinableQueue, LockError, Mutex, PthreadMutex, Queue};

use crate::message;
use crate::support::proc::sleeps_on_a_futex;
use crate::sync_peer;

/// How long a survivor may take before it counts as stuck.
pub const BOUND: Duration = Duration::from_secs(5);

/// One live process.
pub struct Peer {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Peer {
    /// Starts one.
    pub fn start() -> Result<Peer, String> {
        let say = |error| format!("start a peer: {error}");
        let program = std::env::current_exe().map_err(say)?;
        let mut command = Command::new(program);
        command.arg("peer").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(say)?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a peer without pipes".into());
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Peer { process, input, lines })
    }

    /// Gives it something to do (see [`play`]), and returns when it is about to.
    pub fn send(&mut self, command: &str) -> Result<(), String> {
        match self.ask(command)?.as_str() {
            "open" => Ok(()),
            line => Err(format!("the peer said {line:?} to {command:?}")),
        }
    }

    /// Gives it something to wait for (see [`play`]), and returns when it sleeps in it.
    pub fn begin(&mut self, command: &str) -> Result<(), String> {
        self.send(command)?;
        let start = Instant::now();
        while !self.sleeps() {
            if let Some(line) = self.answer_now()? {
                return Err(format!("the peer did not wait in {command:?}: {line}"));
            }
            if start.elapsed() > BOUND {
                return Err(format!("the peer does not sleep in {command:?}"));
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// Tells it something, and takes its next line.
    pub fn ask(&mut self, command: &str) -> Result<String, String> {
        writeln!(self.input, "{command}").map_err(|error| format!("a peer is gone: {error}"))?;
        self.answer(BOUND)
    }

    /// Whether it sleeps on a futex.
    pub fn sleeps(&self) -> bool {
        let pid = self.process.id().cast_signed();
        sleeps_on_a_futex(pid, pid)
    }

    /// Its next line.
    pub fn answer(&mut self, bound: Duration) -> Result<String, String> {
        self.lines.recv_timeout(bound).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("a live sleeper did not wake up in {bound:?}"),
            RecvTimeoutError::Disconnected => "a peer is gone".to_owned(),
        })
    }

    /// Its next line, if it has come.
    pub fn answer_now(&mut self) -> Result<Option<String>, String> {
        match self.lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(std::sync::mpsc::TryRecvError::Empty) => Ok(None),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => Err("a peer is gone".into()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has no state worth keeping.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two counters that are equal whenever nobody is in the middle of changing them.
pub type Pair = [u64; 2];

/// The peer's side: one command per line, answered by `open` and, after the wait, by what came.
/// `get Q`: `got HEX` or `error ..`; `put Q HEX`: `put`; `lock M`, `plock M`: `clean` or `died`, and
/// the lock is released again. `lease Q`: `leased HEX ATTEMPT`, and it is acknowledged; `join Q`: `joined`.
/// `visit Q`: puts a message and gets one, `got HEX` (no `open`). `hold M`, `phold M`: `held`, then `released` after one more line.
/// `sync VERB W`, `hold VERB W`: see [`sync_peer`].
pub fn play() {
    let mut line = String::new();
    // Not `lines()`, which would read ahead of the commands that take a second line.
    while std::io::stdin().read_line(&mut line).is_ok_and(|len| len > 0) {
        let command = std::mem::take(&mut line);
        let command = command.trim_end();
        let words: Vec<&str> = command.split(' ').collect();
        let answer = match words[..] {
            ["get", name] => get(name),
            ["put", name, hex] => put(name, hex),
            ["visit", name] => visit(name),
            ["lease", name] => lease(name),
            ["join", name] => join(name),
            ["lock", name] => lock(name),
            ["plock", name] => pthread_lock(name),
            ["hold", name] => hold(name),
            ["phold", name] => pthread_hold(name),
            ["sync", verb, name] => sync_peer::wait(verb, name),
            ["hold", verb, name] => sync_peer::hold(verb, name),
            _ => Err(format!("no such command: {command}")),
        };
        say(&answer.unwrap_or_else(|error| format!("error {error}")));
    }
}

/// Says a line to whoever commands.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn get(name: &str) -> Result<String, String> {
    let queue = Queue::<[u8]>::open(name).map_err(|error| error.to_string())?;
    say("open");
    let bytes = queue.get_timeout(BOUND * 2).map_err(|error| format!("{error:?}"))?;
    Ok(format!("got {}", message::hex(&bytes)))
}

fn visit(name: &str) -> Result<String, String> {
    let queue = Queue::<[u8]>::open(name).map_err(|error| error.to_string())?;
    queue.put_timeout(&visitors_message(), BOUND).map_err(|error| format!("{error:?}"))?;
    let bytes = queue.get_timeout(BOUND).map_err(|error| format!("{error:?}"))?;
    Ok(format!("got {}", message::hex(&bytes)))
}

/// What `visit` puts.
pub fn visitors_message() -> Vec<u8> {
    message::make(3, 0, 40)
}

fn put(name: &str, hex: &str) -> Result<String, String> {
    let queue = Queue::<[u8]>::open(name).map_err(|error| error.to_string())?;
    let bytes = message::bytes(hex)?;
    say("open");
    queue.put_timeout(&bytes, BOUND * 2).map_err(|error| format!("{error:?}"))?;
    Ok("put".into())
}

fn lease(name: &str) -> Result<String, String> {
    let queue = JoinableQueue::<[u8]>::open(name).map_err(|error| error.to_string())?;
    say("open");
    let lease = queue.get_timeout(BOUND * 2).map_err(|error| format!("{error:?}"))?;
    let bytes = lease.value().map_err(|error| format!("{error:?}"))?;
    let (attempt, reason) = (lease.attempt(), lease.last_reason());
    lease.ack().map_err(|error| format!("{error:?}"))?;
    Ok(format!("leased {} {attempt} {reason:?}", message::hex(&bytes)))
}

fn join(name: &str) -> Result<String, String> {
    let queue = JoinableQueue::<[u8]>::open(name).map_err(|error| error.to_string())?;
    say("open");
    queue.join_timeout(BOUND * 2).map_err(|error| format!("{error:?}"))?;
    Ok("joined".into())
}

macro_rules! locker {
    ($lock:ident, $hold:ident, $mutex:ident) => {
        fn $lock(name: &str) -> Result<String, String> {
            let mutex = $mutex::<Pair>::open(name).map_err(|error| error.to_string())?;
            say("open");
            match mutex.lock_timeout(BOUND * 2) {
                Ok(_) => Ok("clean".into()),
                Err(LockError::OwnerDied(mut guard)) => {
                    guard[1] = guard[0];
                    guard.mark_consistent();
                    Ok("died".into())
                }
                Err(error) => Err(format!("{error:?}")),
            }
        }

        fn $hold(name: &str) -> Result<String, String> {
            let mutex = $mutex::<Pair>::open(name).map_err(|error| error.to_string())?;
            let guard = mutex.lock().map_err(|error| format!("{error:?}"))?;
            say("held");
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            drop(guard);
            read.map(|_| "released".to_owned()).map_err(|error| error.to_string())
        }
    };
}

locker!(lock, hold, Mutex);
locker!(pthread_lock, pthread_hold, PthreadMutex);
