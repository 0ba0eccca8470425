//! The parent's side: starts peers, gives orders, collects reports.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::board::Board;
use super::peer::Report;
use super::{PEER, Result, processors, wrong};

/// How many round trips of a line a probe takes.
const PROBES: u64 = 2000;

/// Several processes that work at the same time. They end when this is dropped, or with their parent.
pub struct Crew {
    peers: Vec<Peer>,
    board: Board,
    arrivals: u64,
}

struct Peer {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The result of one order to a whole crew.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How long it took.
    pub time: Duration,
    /// The largest part of that time for which one of them waited for a processor.
    pub kept_waiting: f64,
    /// The sum over all peers, to be checked.
    pub sum: u64,
}

impl Crew {
    /// Two processes, each on a processor of its own (or both on the only one).
    pub fn pair() -> Result<Crew> {
        let processors = processors()?;
        let [first, .., last] = processors[..] else {
            return Crew::hire(&[Some(processors[0]), Some(processors[0])]);
        };
        let second = processors.get(1).copied().unwrap_or(last);
        Crew::hire(&[Some(first), Some(second)])
    }

    /// So many processes, wherever the kernel puts them.
    pub fn crowd(size: usize) -> Result<Crew> {
        Crew::hire(&vec![None; size])
    }

    fn hire(places: &[Option<usize>]) -> Result<Crew> {
        let board = Board::new()?;
        let peers = places.iter().map(|&place| Peer::start(&board, place));
        Ok(Crew { peers: peers.collect::<Result<_>>()?, board, arrivals: 0 })
    }

    /// The memory they share.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How many they are.
    pub fn size(&self) -> usize {
        self.peers.len()
    }

    /// Gives each of the first peers its order and waits until all are done. They begin together.
    pub fn run(&mut self, orders: &[String]) -> Result<Sample> {
        self.arrivals += orders.len() as u64;
        for (peer, order) in self.peers.iter_mut().zip(orders) {
            let Some(input) = &mut peer.orders else { return wrong("the peer was dismissed") };
            writeln!(input, "{order} gate={}", self.arrivals)?;
        }
        let mut reports = Vec::with_capacity(orders.len());
        for peer in &mut self.peers[..orders.len()] {
            let mut line = String::new();
            if peer.answers.read_line(&mut line)? == 0 {
                return wrong(format!("a peer is gone: {:?}", peer.process.wait()?));
            }
            if let Some(error) = line.strip_prefix("error: ") {
                return wrong(error.trim());
            }
            reports.push(Report::parse(&line)?);
        }
        Ok(add_up(&reports))
    }

    /// The round trip of a cache line between the first two, in nanoseconds, at this moment.
    pub fn line_round_trip(&mut self) -> Result<f64> {
        let sample = self.run(&bounce(PROBES))?;
        Ok(sample.time.as_nanos() as f64 / PROBES as f64)
    }
}

/// The orders for `count` round trips of a line.
pub fn bounce(count: u64) -> Vec<String> {
    ["first", "second"].map(|who| format!("role=bounce-{who} count={count}")).to_vec()
}

/// The orders for `count` round trips by sleeping and waking in the kernel.
pub fn bells(count: u64, gap: Duration) -> Vec<String> {
    let gap = gap.as_micros();
    ["first", "second"].map(|who| format!("role=bells-{who} count={count} gap={gap}")).to_vec()
}

fn add_up(reports: &[Report]) -> Sample {
    let start = reports.iter().map(|report| report.start).min().unwrap_or(0);
    let end = reports.iter().map(|report| report.end).max().unwrap_or(0);
    // Only one of them takes a time of its own: the one that begins each round.
    let own = reports.iter().map(|report| report.own).find(|&own| own > 0);
    let all = (end - start).max(1);
    let waited = reports.iter().map(|report| report.kept_waiting).max().unwrap_or(0);
    Sample {
        time: Duration::from_nanos(own.unwrap_or(all)),
        kept_waiting: waited as f64 / all as f64,
        sum: reports.iter().fold(0, |sum, report| sum.wrapping_add(report.sum)),
    }
}

impl Peer {
    fn start(board: &Board, processor: Option<usize>) -> Result<Peer> {
        let mut settings = format!("parent={} board={}", std::process::id(), board.path());
        if let Some(processor) = processor {
            settings += &format!(" processor={processor}");
        }
        let mut process = Command::new(std::env::current_exe()?)
            .env(PEER, settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(orders), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return wrong("no pipes to a peer");
        };
        Ok(Peer { process, orders: Some(orders), answers: BufReader::new(answers) })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input is its end; should it be in the middle of something, this is.
        drop(self.orders.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
