//! One victim: started, walked to a point, killed.
//!
//! A step costs tens of microseconds on a virtual machine, a breakpoint half of that. So the path
//! of an operation is recorded once, step by step, and later victims run freely to a breakpoint
//! shortly before their point and are stepped from there only.

use crate::ptrace::{self, Wait};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where a victim came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Behind the instruction it was let run.
    Here,
    /// At a marker: the operation is over.
    Marker,
    /// In a system call that waits.
    Asleep,
}

/// The instructions of one operation, in the order in which they ran.
#[derive(Default)]
pub struct Path {
    /// Address of each instruction.
    pub steps: Vec<u64>,
    /// Which of them were system calls.
    pub calls: Vec<usize>,
    /// After which of them the watched bytes had changed.
    pub changes: Vec<usize>,
    /// How many of them were system calls that may wait for somebody else.
    pub waits: usize,
    /// The last one is such a call, and waits.
    pub sleeps: bool,
}

/// What passing a breakpoint once costs, in steps: stop, restore, step, set again.
const PASS: usize = 3;

impl Path {
    /// The cheapest way to stand before instruction `k`: run until the instruction `steps[a]` is
    /// about to run for the `n`-th time (`n` from 0), then step. Gives `(a, n)`.
    fn approach(&self, k: usize) -> (usize, usize) {
        let mut best = (0, 0);
        let mut cost = k;
        for back in 0..=k {
            if back >= cost {
                break;
            }
            let a = k - back;
            let earlier = self.steps[..a].iter();
            let n = earlier.filter(|&&step| step == self.steps[a]).count();
            if back + PASS * (n + 1) < cost {
                cost = back + PASS * (n + 1);
                best = (a, n);
            }
        }
        best
    }
}

/// Steps made so far: a sign of life for watchdogs.
pub static STEPS: AtomicU64 = AtomicU64::new(0);

/// No operation has so many instructions.
const ENDLESS: usize = 2_000_000;

/// A process that is traced by this thread. Killed and reaped when dropped.
pub struct Tracee {
    pid: i32,
    gone: bool,
    /// Where its other thread listens and answers, if it has one.
    lines: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

/// System calls in which a victim may wait for another process: futex, `futex_waitv`, `futex_wait`.
const WAITING_CALLS: [u64; 3] = [202, 449, 455];
/// The commands of `futex` that wait, without flags: WAIT, `WAIT_BITSET`.
const WAITING_COMMANDS: [u64; 2] = [0, 9];

fn say(what: &str) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl Tracee {
    /// Starts this executable again with `arguments` and waits until it stands at its first marker.
    pub fn start(arguments: &[&str]) -> Result<Self, String> {
        Self::start_by(arguments, |command| command.spawn())
    }

    /// The same in a PID namespace of its own: the kernel cannot find its locks.
    pub fn start_foreign(arguments: &[&str]) -> Result<Self, String> {
        Self::start_by(arguments, |command| ptrace::in_new_namespace(|| command.spawn()))
    }

    /// The same with another thread that can be asked.
    pub fn start_to_ask(arguments: &[&str]) -> Result<Self, String> {
        let piped =
            |command: &mut Command| command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Self::start_by(arguments, piped)
    }

    fn start_by(
        arguments: &[&str],
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(say("current_exe"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let mut child = spawn(&mut command).map_err(say("start a victim"))?;
        let pid = child.id().cast_signed();
        let lines = child.stdin.take().zip(child.stdout.take().map(BufReader::new));
        let mut victim = Self { pid, gone: false, lines };
        match victim.settle(false)? {
            Stop::Marker => {}
            other => return Err(format!("the victim did not reach its marker: {other:?}")),
        }
        ptrace::die_with_me(pid).map_err(say("PTRACE_SETOPTIONS"))?;
        Ok(victim)
    }

    /// The process id, which is also the thread id in lock words.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Where this program begins in its memory: what an address means to `addr2line` is relative to
    /// that.
    pub fn base(&self) -> u64 {
        base_of(&self.pid.to_string())
    }

    /// Address of the instruction about to run.
    pub fn address(&self) -> Result<u64, String> {
        let registers = ptrace::registers(self.pid).map_err(say("PTRACE_GETREGS"))?;
        Ok(registers.rip)
    }

    /// Is the instruction about to run a system call, and one that may wait?
    fn call(&self) -> Result<(u64, bool, bool), String> {
        let registers = ptrace::registers(self.pid).map_err(say("PTRACE_GETREGS"))?;
        let bytes = ptrace::peek(self.pid, registers.rip).map_err(say("PTRACE_PEEKTEXT"))?;
        let call = bytes & 0xffff == 0x050f;
        let waits = call
            && WAITING_CALLS.contains(&registers.rax)
            && (registers.rax != WAITING_CALLS[0]
                || WAITING_COMMANDS.contains(&(registers.rsi & 0x7f)));
        Ok((registers.rip, call, waits))
    }

    /// Waits until the victim stops, or, with `watch`, until it sleeps.
    fn settle(&mut self, watch: bool) -> Result<Stop, String> {
        loop {
            let state = if watch { ptrace::try_wait(self.pid) } else { ptrace::wait(self.pid) };
            match state.map_err(say("waitpid"))? {
                Wait::Running if self.sleeps() => return Ok(Stop::Asleep),
                Wait::Running => std::thread::sleep(Duration::from_micros(20)),
                Wait::Stopped(libc::SIGTRAP) => {
                    let marker = ptrace::at_marker(self.pid).map_err(say("PTRACE_GETSIGINFO"))?;
                    return Ok(if marker { Stop::Marker } else { Stop::Here });
                }
                Wait::Stopped(signal) => {
                    let at = self.address()?;
                    return Err(format!("the victim got signal {signal} at {at:#x}"));
                }
                Wait::Exited(code) => {
                    self.gone = true;
                    return Err(format!("the victim left with code {code}"));
                }
                Wait::Killed(signal) => {
                    self.gone = true;
                    return Err(format!("the victim was ended by signal {signal}"));
                }
            }
        }
    }

    fn sleeps(&self) -> bool {
        thread_sleeps(self.pid)
    }

    /// Runs one instruction.
    pub fn step(&mut self) -> Result<Stop, String> {
        let (_, _, waits) = self.call()?;
        STEPS.fetch_add(1, Ordering::Relaxed);
        ptrace::step(self.pid).map_err(say("PTRACE_SINGLESTEP"))?;
        self.settle(waits)
    }

    /// Waits until a victim that slept stops behind its system call.
    pub fn awake(&mut self) -> Result<(), String> {
        match self.settle(false)? {
            Stop::Marker => Err("a sleeping victim stands at a marker".into()),
            _ => Ok(()),
        }
    }

    /// Steps to the next marker, or until the victim sleeps, and keeps the way. `changed` is asked
    /// after each step whether the watched bytes have changed.
    pub fn record(&mut self, changed: &mut dyn FnMut(bool) -> bool) -> Result<Path, String> {
        let mut path = Path::default();
        while path.steps.len() < ENDLESS {
            let (address, call, waits) = self.call()?;
            STEPS.fetch_add(1, Ordering::Relaxed);
            if call {
                path.calls.push(path.steps.len());
                path.waits += usize::from(waits);
            }
            ptrace::step(self.pid).map_err(say("PTRACE_SINGLESTEP"))?;
            let stop = self.settle(waits)?;
            if stop == Stop::Marker {
                return Ok(path);
            }
            if changed(call) {
                path.changes.push(path.steps.len());
            }
            path.steps.push(address);
            if stop == Stop::Asleep {
                path.sleeps = true;
                return Ok(path);
            }
        }
        Err(format!("the operation is not over after {ENDLESS} instructions"))
    }

    /// Steps until `there` is true, and keeps the way.
    pub fn record_until(&mut self, there: &mut dyn FnMut() -> bool) -> Result<Path, String> {
        let mut path = Path::default();
        while !there() {
            path.steps.push(self.address()?);
            if self.step()? != Stop::Here {
                return Err("the victim did not come by the spot".into());
            }
        }
        Ok(path)
    }

    /// Walks to the point before instruction `k` of `path`; `k == steps.len()` is behind its last.
    pub fn seek(&mut self, path: &Path, k: usize) -> Result<Stop, String> {
        let (anchor, passes) = path.approach(k.min(path.steps.len() - 1));
        if anchor > 0 {
            let stop = self.run_to(path.steps[anchor], passes)?;
            if stop != Stop::Here {
                return Ok(stop);
            }
        }
        for _ in anchor..k {
            let stop = self.step()?;
            if stop != Stop::Here {
                return Ok(stop);
            }
        }
        Ok(Stop::Here)
    }

    /// Lets the victim run on to its next marker, or until it sleeps.
    pub fn run(&mut self, watch: bool) -> Result<Stop, String> {
        ptrace::go_on(self.pid).map_err(say("PTRACE_CONT"))?;
        self.settle(watch)
    }

    /// Waits for the next marker of a victim that was let run on and sleeps.
    pub fn run_on(&mut self) -> Result<Stop, String> {
        self.settle(false)
    }

    /// Runs until the instruction at `address` is about to run, after letting it pass `passes`
    /// times.
    fn run_to(&mut self, address: u64, passes: usize) -> Result<Stop, String> {
        let code = ptrace::peek(self.pid, address).map_err(say("PTRACE_PEEKTEXT"))?;
        let trap = (code & !0xff) | 0xcc;
        for pass in 0..=passes {
            ptrace::poke(self.pid, address, trap).map_err(say("PTRACE_POKETEXT"))?;
            let stop = self.run(true)?;
            if stop != Stop::Marker || self.address()? != address + 1 {
                return Ok(stop);
            }
            ptrace::poke(self.pid, address, code).map_err(say("PTRACE_POKETEXT"))?;
            ptrace::jump(self.pid, address).map_err(say("PTRACE_POKEUSER"))?;
            if pass < passes {
                let stop = self.step()?;
                if stop != Stop::Here {
                    return Ok(stop);
                }
            }
        }
        Ok(Stop::Here)
    }

    /// Ends the thread that is traced, and nothing else of its process: sends it to [`ptrace::leave`], and
    /// waits until the kernel is through with its locks.
    pub fn end_thread(&mut self) -> Result<(), String> {
        let leave = ptrace::leave as *const () as u64 - base_of("self") + self.base();
        ptrace::jump(self.pid, leave).map_err(say("PTRACE_POKEUSER"))?;
        ptrace::go_on(self.pid).map_err(say("PTRACE_CONT"))?;
        let start = Instant::now();
        while thread_state(self.pid) != Some('Z') {
            if start.elapsed() > Duration::from_secs(5) {
                return Err("the thread did not end".into());
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        Ok(())
    }

    /// Tells its other thread something, and takes the answer. A watchdog bounds this.
    pub fn ask(&mut self, what: &str) -> Result<String, String> {
        let Some((input, output)) = &mut self.lines else {
            return Err("this victim has nobody to ask".into());
        };
        writeln!(input, "{what}").map_err(say("ask the other thread"))?;
        let mut line = String::new();
        output.read_line(&mut line).map_err(say("ask the other thread"))?;
        Ok(line.trim_end().to_owned())
    }

    /// SIGKILL, and waits until nothing of the process is left but its marks in shared memory.
    pub fn kill(mut self) -> Result<(), String> {
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        if self.gone {
            return Ok(());
        }
        self.gone = true;
        ptrace::kill(self.pid).map_err(say("kill"))?;
        loop {
            match ptrace::wait(self.pid).map_err(say("waitpid"))? {
                Wait::Killed(libc::SIGKILL) => return Ok(()),
                Wait::Stopped(_) | Wait::Running => {}
                other => return Err(format!("killed, the victim said {other:?}")),
            }
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // Only on the way out of an error, which is what gets reported.
        let _ = self.end();
    }
}

/// Does this thread sleep in a system call, interruptibly? (A futex wait does; a trace stop is
/// `t`, a page being read is `D`.)
pub fn thread_sleeps(pid: i32) -> bool {
    thread_state(pid) == Some('S')
}

fn thread_state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Where this program begins in the memory of a process that runs it.
fn base_of(process: &str) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let first = maps.split('-').next().unwrap_or_default();
    u64::from_str_radix(first, 16).unwrap_or(0)
}
