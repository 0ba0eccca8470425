//! The peer's side: takes orders on its standard input, one a line, and answers each with a line.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::str::FromStr;
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

use super::board::Board;
use super::{PEER, Result, wrong};

/// What a peer can do, besides the probes that every peer can.
pub trait Work {
    /// Gets ready for an order: all that is not to be timed. Called before the gate.
    fn prepare(&mut self, board: &Board, order: &Order) -> Result<()>;

    /// Carries out the order. Gives the time it took, if not the one from the gate to its end.
    fn run(&mut self, board: &Board, order: &Order) -> Result<Option<Duration>>;

    /// What the parent is to check, added up over all peers. Called after the time was taken.
    fn sum(&self) -> u64;
}

/// A line of `key=value` words.
pub struct Order(HashMap<String, String>);

impl Order {
    fn parse(line: &str) -> Order {
        let words = line.split_whitespace().filter_map(|word| word.split_once('='));
        Order(words.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).ok_or_else(|| format!("no {key} in the order").into())
    }

    /// The value of a key, as a number.
    pub fn number<N: FromStr>(&self, key: &str) -> Result<N> {
        self.get(key)?.parse().map_err(|_| format!("{key} is not a number").into())
    }
}

/// What a peer reports of an order.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// From the gate to the end, on the monotonic clock, in nanoseconds.
    pub start: u64,
    /// See `start`.
    pub end: u64,
    /// The time to count instead, in nanoseconds; 0 = that one.
    pub own: u64,
    /// How long the kernel kept it waiting for a processor meanwhile, in nanoseconds.
    pub kept_waiting: u64,
    /// See [`Work::sum`].
    pub sum: u64,
}

impl Report {
    fn line(&self) -> String {
        let Report { start, end, own, kept_waiting, sum } = self;
        format!("{start} {end} {own} {kept_waiting} {sum}")
    }

    /// Reads [`Report::line`].
    pub fn parse(line: &str) -> Result<Report> {
        let numbers: Vec<u64> =
            line.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [start, end, own, kept_waiting, sum] = numbers[..] else {
            return wrong(format!("a report of {} numbers", numbers.len()));
        };
        Ok(Report { start, end, own, kept_waiting, sum })
    }
}

/// Whether this process was started as a peer.
pub fn is_peer() -> bool {
    std::env::var_os(PEER).is_some()
}

/// Serves until the parent closes its end, or is gone.
pub fn serve(mut work: impl Work) -> Result<()> {
    let settings = Order::parse(&std::env::var(PEER)?);
    die_with(settings.number("parent")?)?;
    become_important();
    if let Ok(processor) = settings.number("processor") {
        let mut only = CpuSet::new();
        only.set(processor);
        rustix::thread::sched_setaffinity(None, &only)?;
    }
    let board = Board::open(settings.get("board")?)?;
    let mut answers = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match obey(&mut work, &board, &Order::parse(&line?)) {
            Ok(report) => report.line(),
            Err(error) => format!("error: {error}"),
        };
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    Ok(())
}

fn obey(work: &mut impl Work, board: &Board, order: &Order) -> Result<Report> {
    let role = order.get("role")?;
    let first = role.ends_with("first");
    let probe = role.starts_with("bounce") || role.starts_with("bells");
    if !probe {
        work.prepare(board, order)?;
    }
    board.pass_gate(order.number("gate")?);
    let (waited, start) = (kept_waiting(), now());
    let own = if role.starts_with("bounce") {
        Some(board.bounce(first, order.number("count")?))
    } else if role.starts_with("bells") {
        let gap = Duration::from_micros(order.number("gap")?);
        Some(board.ring_bells(first, order.number("count")?, gap))
    } else {
        work.run(board, order)?
    };
    let end = now();
    Ok(Report {
        start,
        end,
        own: own.map_or(0, |own| own.as_nanos() as u64),
        kept_waiting: kept_waiting().saturating_sub(waited),
        sum: if probe { 0 } else { work.sum() },
    })
}

/// Ends this process when its parent does.
fn die_with(parent: i32) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    // It may have died before the line above.
    if now == Some(parent) { Ok(()) } else { wrong("the parent is gone") }
}

/// Asks for what others on the machine get less of. All of it may be refused: then the samples say how
/// long they were kept waiting.
fn become_important() {
    // The kernel shares a processor between sessions first, so a peer gets one of its own.
    let _ = rustix::process::setsid();
    let _ = fs::write("/proc/self/autogroup", "-20");
    let _ = rustix::process::setpriority_process(None, -10);
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The second number of `schedstat`; 0 where the kernel does not count.
fn kept_waiting() -> u64 {
    let Ok(stat) = fs::read_to_string("/proc/self/schedstat") else { return 0 };
    stat.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
