//! `consumer`: takes items out of a queue.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use steadfast::{GetError, JoinableQueue};
use steadfast_bins::args::{Escaped, QueueName, WaitArgs};
use steadfast_bins::create_args::CreateArgs;
use steadfast_bins::end_args::{EndArgs, Patience};
use steadfast_bins::exec_args::ExecArgs;
use steadfast_bins::exit_code::{self, ExitCode, Failure};
use steadfast_bins::help::{Example, after_help};
use steadfast_bins::intake::{Intake, Taken};
use steadfast_bins::jobs::{Asked, Jobs};
use steadfast_bins::output::{Output, Style, WriteError};
use steadfast_bins::pace::{Delay, Pace};
use steadfast_bins::progress::Progress;
use steadfast_bins::report::{self, note};
use steadfast_bins::signals::Stop;
use steadfast_bins::source::duplicate;
use steadfast_bins::summary::Done;

/// Take items out of a queue and print them, one a line.
///
/// An item that was taken is gone from a plain queue. A consumer that is killed, or whose output is closed,
/// loses what it had in hand: with --batch 1 that is one item. From a joinable queue (made with --joinable)
/// nothing is lost: an item leaves it when it was written out, and what a consumer had that was killed is
/// handed out again, so that some items may be written twice.
///
/// With --exec a command is run for each item of a joinable queue. It is killed, with all that it started,
/// when its consumer dies, and then its item is handed out again; a command may so be run again after it has
/// done a part of its work. One that has made itself a session or a process group of its own goes on.
///
/// SIGINT and SIGTERM let the items in hand be finished and printed first (a second
/// signal does not), and the commands that run (a second signal kills them, their items come back).
///
/// Output is written when the queue is empty, or when 64 KiB have come together, or after each batch
/// where --batch is given or the queue is joinable.
#[derive(Parser, Debug)]
#[command(name = "consumer", version, max_term_width = 100)]
#[command(after_help = "Examples and exit codes: --help")]
#[command(after_long_help = after_help(EXAMPLES, CODES))]
struct Args {
    #[command(flatten)]
    queue: QueueName,

    #[command(flatten)]
    create: CreateArgs,

    /// Be sure to acknowledge: refuse a queue that is not joinable
    #[arg(long, help_heading = "Queue")]
    ack: bool,

    /// End every item with these bytes instead of a newline; \n \t \r \0 \\ \xHH are understood
    #[arg(short, long, value_name = "BYTES", group = "style", help_heading = "Output")]
    #[arg(allow_hyphen_values = true)]
    delimiter: Option<Escaped>,

    /// End every item with a NUL byte, for xargs -0
    #[arg(short = '0', long, group = "style", help_heading = "Output")]
    null: bool,

    /// Write frames: a little-endian 32-bit length, then so many bytes
    #[arg(long, group = "style", help_heading = "Output")]
    frames: bool,

    /// Write the bytes of the items and nothing between them
    #[arg(long, group = "style", help_heading = "Output")]
    raw: bool,

    /// Write "NAME got ITEM" for each item
    #[arg(long, group = "style", help_heading = "Output")]
    print: bool,

    /// Write no items, but at the end a hash of them all that does not depend on their order
    #[arg(long, group = "style", conflicts_with = "output", help_heading = "Output")]
    hash: bool,

    /// Write to this file (emptied first) instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,

    #[command(flatten)]
    exec: ExecArgs,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    end: EndArgs,

    /// Think so long about each item: 1s, or at random 1s..2s
    #[arg(long, value_name = "TIME[..TIME]", help_heading = "Pace")]
    delay: Option<Delay>,

    /// Take up to N items at a time, and write them before taking more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    #[arg(help_heading = "Pace")]
    batch: Option<u32>,

    /// Who this is, for --print and --json [default: consumer-PID]
    #[arg(long, value_name = "NAME", help_heading = "Report")]
    name: Option<String>,

    /// Print what was done as a line of JSON: on standard error if items go to standard output
    #[arg(long, help_heading = "Report")]
    json: bool,

    /// Show no progress bar
    #[arg(long, help_heading = "Report")]
    no_progress: bool,
}

const EXAMPLES: &[Example] = &[
    Example {
        why: "What is in the queue now",
        command: "producer -q demo --create one two && consumer -q demo --drain",
    },
    Example {
        why: "The classic consumer: thinks, tells, ends at its sentinel",
        command: r"producer -q demo --create -n 2 --item bun --sentinels 1 &&
    consumer -q demo --name bob --delay 0.1s..0.3s --print --until-sentinel",
    },
    Example {
        why: "A copy, byte for byte, whatever the bytes are",
        command: r"head -c 99999 /dev/urandom |
    producer -q copy --create --chunk 1KiB --shutdown drain &&
    consumer -q copy --raw --until-closed | wc -c; segments rm copy",
    },
    Example {
        why: "Start before the queue is there; end when nothing comes any more",
        command: r"(sleep 0.3; producer -q demo --create hello) &
  consumer -q demo --wait-create 10s --idle-timeout 0.5s",
    },
    Example {
        why: "A command for each item, two at a time; what fails, or dies with its consumer, comes back",
        command: r"producer -q work --create --joinable a b c &&
    consumer -q work --drain --jobs 2 --job-log jobs.tsv --exec cp -v /dev/null {}.done &&
    cat jobs.tsv; segments rm work",
    },
    Example {
        why: "The item as standard input, three attempts of a second each",
        command: r"printf '%s\n' cat dog |
    producer -q work --create --joinable --max-deliveries 3 &&
    consumer -q work --drain --exec-timeout 1s --exec tr a-z A-Z; segments rm work",
    },
    Example {
        why: "One item, or code 3 if there is none",
        command: "producer -q demo --create one && consumer -q demo -n 1 --nowait",
    },
];

const CODES: &[ExitCode] = &[
    ExitCode::Done,
    ExitCode::Failure,
    ExitCode::Usage,
    ExitCode::TimedOut,
    ExitCode::Closed,
    ExitCode::NoSuchSegment,
    ExitCode::Corrupt,
    ExitCode::Interrupted,
];

fn main() -> std::process::ExitCode {
    report::main("consumer", run)
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let name = args.name.clone().unwrap_or_else(|| format!("consumer-{}", std::process::id()));
    let mut done = Done::nothing(args.hash);
    let outcome = consume(&args, &name, &mut done);

    let code = outcome.as_ref().map_or_else(exit_code::of, |code| *code);
    let line =
        if args.json { done.json(&args.queue.queue, &name, code) } else { done.tally.to_string() };
    if args.json && !args.hash && args.output.is_none() {
        let _ = writeln!(stderr(), "{line}");
    } else if args.json || args.hash {
        let mut out = Output::new(duplicate(&stdout())?, Style::Ended(Vec::new()));
        out.line(&line);
        out.flush().map_err(|error| args.unwritten(&error, 0, false))?;
    }
    outcome
}

/// Does what the command line says, and writes down how far it got.
fn consume(args: &Args, name: &str, done: &mut Done) -> anyhow::Result<ExitCode> {
    // The second signal ends the program at once, but for the commands that it has to kill first.
    let runs = args.exec.name().is_some();
    let stop = if runs { Stop::on_repeated_signals()? } else { Stop::on_signals()? };
    let acknowledges = args.ack || runs;
    let Some(queue) = args.create.open("consumer", &args.queue, acknowledges, &stop)? else {
        return Ok(ExitCode::Interrupted);
    };
    if acknowledges {
        let flag = if runs { "--exec" } else { "--ack" };
        let queue = queue.joinable(&args.queue.queue, flag)?;
        if runs {
            return execute(args, queue, stop, name, done);
        }
    }
    let intake =
        Intake::new(&queue).map_err(|error| Failure::segment(&args.queue.queue, &error))?;
    // Before the first item is taken there must be a place to put it.
    let sink = match &args.output {
        Some(path) => {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?
        }
        None => duplicate(&stdout())?,
    };
    let shown = !args.no_progress
        && (args.output.is_some() || args.hash || !stdout().is_terminal())
        && !args.print;
    let mut work = Work {
        stop,
        intake,
        pace: Pace::new(args.delay, None),
        out: Output::new(sink, args.style(name)),
        progress: Progress::new(shown, args.end.count),
        done,
        args,
    };
    let outcome = work.everything();
    // Also after an error of the queue: what was taken before it is to be written.
    work.flush().and(outcome)
}

/// Runs a command for each item.
fn execute(
    args: &Args,
    queue: &JoinableQueue,
    stop: Stop,
    name: &str,
    done: &mut Done,
) -> anyhow::Result<ExitCode> {
    let (queue_name, exec) = (&args.queue.queue, &args.exec);
    let asked = Asked { queue: queue_name, exec, end: &args.end, wait: &args.wait };
    let told = match args.print {
        true => Some(Output::new(duplicate(&stdout())?, args.style(name))),
        false => None,
    };
    Ok(Jobs::new(asked, queue, stop, told, done)?.everything()?)
}

/// A consumer at work.
struct Work<'a> {
    args: &'a Args,
    stop: Stop,
    intake: Intake,
    pace: Pace,
    out: Output,
    progress: Progress,
    done: &'a mut Done,
}

impl Work<'_> {
    /// Takes and writes items until one of the ends that were asked for.
    fn everything(&mut self) -> anyhow::Result<ExitCode> {
        let (end, wait) = (&self.args.end, &self.args.wait);
        let mut taken = Taken::default();
        let mut patience = end.patience(wait);
        loop {
            let max = match end.count {
                Some(count) => self.args.batch().min(count - self.done.tally.items),
                None => self.args.batch(),
            };
            if max == 0 {
                return Ok(ExitCode::Done);
            }
            if self.stop.requested() {
                self.flush()?;
                let (queue, done) = (&self.args.queue.queue, self.done.tally.items);
                note(
                    "consumer",
                    format_args!("interrupted: {queue}: {done} items taken and written"),
                );
                return Ok(ExitCode::Interrupted);
            }
            if let Some(code) = self.take(&mut taken, max as usize, &patience)? {
                return Ok(code);
            }
            if taken.is_empty() {
                continue;
            }
            if self.finish(&mut taken)? {
                return Ok(ExitCode::Done);
            }
            self.progress.show(self.done.tally.items, self.done.tally.bytes);
            patience = end.patience(wait);
        }
    }

    /// Takes items, or waits a slice for them. A code is the end.
    fn take(
        &mut self,
        taken: &mut Taken,
        max: usize,
        patience: &Patience,
    ) -> anyhow::Result<Option<ExitCode>> {
        let (queue, end) = (&self.args.queue.queue, &self.args.end);
        let mut result = self.intake.try_take(taken, max);
        for wait in [true, false] {
            let Err(error) = result else { return Ok(None) };
            self.out.flush().map_err(|error| self.args.unwritten(&error, 0, false))?;
            let left = |time| self.intake.nothing_left(time);
            let verdict = end.judge(queue, &error, patience, left);
            let verdict = verdict.map_err(|failure| failure.after(self.done.tally.items))?;
            if verdict.is_some() || !wait || matches!(error, GetError::Closed) {
                return Ok(verdict);
            }
            result = self.intake.take(taken, max, end.slice(&self.intake, patience));
        }
        Ok(None)
    }

    /// Thinks about each item, writes it, and then acknowledges it. True at the sentinel.
    fn finish(&mut self, taken: &mut Taken) -> anyhow::Result<bool> {
        let (sentinel, leased) = (self.args.end.sentinel(), self.intake.is_leased());
        let mut at_sentinel = false;
        for (index, item) in taken.iter().enumerate() {
            if sentinel == Some(item) {
                self.done.sentinels += 1;
                at_sentinel = true;
                break;
            }
            self.pace.wait(1, &self.stop);
            self.done.tally.add(item);
            if !self.args.hash {
                let rest = if leased { taken.len() } else { taken.len() - index - 1 };
                self.out.item(item).map_err(|error| self.args.unwritten(&error, rest, leased))?;
            }
        }
        if leased || self.args.batch.is_some() || !self.pace.is_free() {
            let lost = if leased { taken.len() } else { 0 };
            self.out.flush().map_err(|error| self.args.unwritten(&error, lost, leased))?;
        }
        let acknowledged = taken.acknowledge();
        acknowledged.map_err(|error| Failure::lease(&self.args.queue.queue, &error))?;
        Ok(at_sentinel)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().map_err(|error| self.args.unwritten(&error, 0, false).into())
    }
}

impl Args {
    fn style(&self, name: &str) -> Style {
        match &self.delimiter {
            Some(delimiter) => Style::Ended(delimiter.0.clone()),
            None if self.null => Style::Ended(vec![0]),
            None if self.raw => Style::Ended(Vec::new()),
            None if self.frames => Style::Frames,
            None if self.print => Style::Told(format!("{name} got ")),
            None => Style::Ended(b"\n".to_vec()),
        }
    }

    /// How many items to take at a time.
    fn batch(&self) -> u64 {
        match self.batch {
            Some(batch) => batch.into(),
            // The items after a sentinel belong to others; slow consumers leave work to others.
            None if self.end.until_sentinel || self.delay.is_some() => 1,
            None => 64,
        }
    }

    /// Items that were taken and cannot be written are lost, or come back, and that must be said.
    fn unwritten(&self, error: &WriteError, more: usize, leased: bool) -> Failure {
        let place = match &self.output {
            Some(path) => path.display().to_string(),
            None => "standard output".to_string(),
        };
        let why = match error.is_broken_pipe() {
            true => "closed by its reader".to_string(),
            false => error.error.to_string(),
        };
        let fate = match leased {
            true => format!("{more} items go back into the queue"),
            false => format!("{} items taken from the queue are lost", error.lost + more),
        };
        let what = format!("cannot write to {place}: {why}: {fate}");
        let way_out = "take fewer at a time with --batch, or only as many as are read with --count";
        Failure::new(ExitCode::Failure, what, &self.queue.queue, way_out)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
