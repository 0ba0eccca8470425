//! `producer`: puts items into a queue.
#![forbid(unsafe_code)]

use std::io::stdout;

use clap::{Parser, ValueEnum};
use steadfast::{JoinError, Shutdown};
use steadfast_bins::any_queue::AnyQueue;
use steadfast_bins::args::{Escaped, QueueName, SENTINEL, WaitArgs};
use steadfast_bins::create_args::CreateArgs;
use steadfast_bins::delivery::{Batching, Delivery, Halt};
use steadfast_bins::exit_code::{self, ExitCode, Failure};
use steadfast_bins::help::{Example, after_help};
use steadfast_bins::item_args::ItemArgs;
use steadfast_bins::output::{Output, Style, WriteError};
use steadfast_bins::pace::{Delay, Pace, Rate};
use steadfast_bins::progress::Progress;
use steadfast_bins::report::{self, note};
use steadfast_bins::signals::{Deadline, Stop};
use steadfast_bins::source::{Limits, Next, Source, duplicate};
use steadfast_bins::summary::Done;

/// Put items into a queue, from numbers, arguments, standard input or files.
///
/// Items come from one place: the arguments, --count, --file, or else standard input, one item a
/// line. An item is bytes: nothing is decoded, trimmed or changed. A newline ends a line and is not
/// part of the item; an empty line is an empty item; a last line without newline is an item.
///
/// Copies that are equal byte for byte: --frames to consumer --frames; --keep-newlines or --chunk to
/// consumer --raw. Plain lines to a plain consumer are equal if the input ends with a newline.
#[derive(Parser, Debug)]
#[command(name = "producer", version, max_term_width = 100)]
#[command(after_help = "Examples and exit codes: --help")]
#[command(after_long_help = after_help(EXAMPLES, CODES))]
struct Args {
    #[command(flatten)]
    queue: QueueName,

    #[command(flatten)]
    create: CreateArgs,

    #[command(flatten)]
    items: ItemArgs,

    #[command(flatten)]
    wait: WaitArgs,

    /// Think so long before each item: 1s, or at random 1s..2s
    #[arg(long, value_name = "TIME[..TIME]", help_heading = "Pace")]
    delay: Option<Delay>,

    /// At most so many items a second (N or N/s), minute (N/min) or hour (N/h)
    #[arg(long, value_name = "N/s", help_heading = "Pace")]
    rate: Option<Rate>,

    /// Put up to N items at a time, all or none of them [default: as fits]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    #[arg(help_heading = "Pace")]
    batch: Option<u32>,

    /// At the end put N sentinels, one for each consumer --until-sentinel
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    #[arg(help_heading = "End")]
    sentinels: u64,

    /// The sentinel [default: \n\0steadfast:end\n, which no line can be]
    #[arg(long, value_name = "BYTES", help_heading = "End", allow_hyphen_values = true)]
    sentinel: Option<Escaped>,

    /// At the end wait until everything in the joinable queue is done, acknowledged by consumers
    #[arg(long, help_heading = "End")]
    join: bool,

    /// At the end shut the queue down: drain lets consumers finish it, now empties it
    #[arg(long, value_name = "HOW", help_heading = "End")]
    shutdown: Option<How>,

    /// Who this is, for --print and --json [default: producer-PID]
    #[arg(long, value_name = "NAME", help_heading = "Report")]
    name: Option<String>,

    /// Print "NAME produced ITEM" for each item
    #[arg(long, help_heading = "Report")]
    print: bool,

    /// Print a hash of all items put that does not depend on their order
    #[arg(long, help_heading = "Report")]
    hash: bool,

    /// Print what was done as a line of JSON
    #[arg(long, help_heading = "Report")]
    json: bool,

    /// Show no progress bar
    #[arg(long, help_heading = "Report")]
    no_progress: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum How {
    /// Puts fail from now on, gets go on until the queue is empty
    Drain,
    /// Puts and gets fail from now on, what is in the queue is thrown away
    Now,
}

const EXAMPLES: &[Example] = &[
    Example {
        why: "Make a queue and put three items",
        command: "producer -q demo --create one two three",
    },
    Example {
        why: "Lines of another program, as they come",
        command: "seq 1000 | producer -q demo --create",
    },
    Example {
        why: "The classic producer: thinks, puts, tells; then ends two consumers",
        command: r"producer -q demo --create --name alice -n 3 --item bun \
    --delay 0.1s..0.3s --print --sentinels 2",
    },
    Example {
        why: "File names with anything in them",
        command: "find . -maxdepth 1 -print0 | producer -q demo --create --null",
    },
    Example {
        why: "Any bytes, exactly, from one end to the other",
        command: r"head -c 99999 /dev/urandom |
    producer -q copy --create --chunk 4KiB --shutdown drain &&
    consumer -q copy --raw --until-closed | wc -c; segments rm copy",
    },
    Example {
        why: "Work that must be done: put it, and wait until consumers have acknowledged all of it",
        command: r"(consumer -q work --wait-create 10s --until-closed &&
    segments rm work) & producer -q work --create --joinable -n 3 --item job \
    --join --shutdown drain; wait",
    },
    Example {
        why: "Only make a queue, for ten items at a time",
        command: "producer -q ten --create --maxsize 10 -n 0; segments rm ten",
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
    report::main("producer", run)
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let name = args.name.clone().unwrap_or_else(|| format!("producer-{}", std::process::id()));
    let mut done = Done::nothing(args.hash);
    let outcome = produce(&args, &name, &mut done);

    let mut out = Output::new(duplicate(&stdout())?, Style::Ended(Vec::new()));
    let code = outcome.as_ref().map_or_else(exit_code::of, |code| *code);
    if args.json {
        out.line(&done.json(&args.queue.queue, &name, code));
    } else if args.hash {
        out.line(&done.tally.to_string());
    }
    let told = out.flush().map_err(silenced);
    outcome.and_then(|code| told.map(|()| code).map_err(Into::into))
}

/// Does what the command line says, and writes down how far it got.
fn produce(args: &Args, name: &str, done: &mut Done) -> anyhow::Result<ExitCode> {
    if args.items.would_be_typed() && !args.ends_in_some_way() {
        let way_out =
            "give ITEMs, --count or --file, pipe something in, or use --lines to type them";
        return Err(Failure::usage("no items", way_out).into());
    }
    let stop = Stop::on_signals()?;
    match args.create.open("producer", &args.queue, args.join, &stop)? {
        Some(queue) => Work::new(args, &queue, name, done, stop)?.everything(&queue),
        None => Ok(ExitCode::Interrupted),
    }
}

/// A producer at work.
struct Work<'a> {
    args: &'a Args,
    stop: Stop,
    source: Source,
    delivery: Delivery,
    batching: Batching,
    pace: Pace,
    out: Output,
    progress: Progress,
    done: &'a mut Done,
}

impl<'a> Work<'a> {
    fn new(
        args: &'a Args,
        queue: &AnyQueue,
        name: &str,
        done: &'a mut Done,
        stop: Stop,
    ) -> anyhow::Result<Work<'a>> {
        let batching = match args.batch {
            Some(size) => Batching::Fixed(size as usize),
            None => Batching::automatic(queue),
        };
        if queue.maxsize() > 0 && batching.size() > queue.maxsize() {
            let (size, most) = (batching.size(), queue.maxsize());
            let what = format!("--batch {size} can never fit: --maxsize is {most}");
            return Err(Failure::usage(what, "use a smaller --batch").into());
        }
        let limits = Limits {
            item: queue.max_len(),
            items: batching.size(),
            bytes: match batching {
                Batching::Automatic(_) => (queue.capacity() / 8).clamp(1, 64 * 1024),
                Batching::Fixed(_) => usize::MAX,
            },
        };
        let patience = args.wait.patience();
        let delivery = Delivery::new(queue, patience, batching, stop.clone())
            .map_err(|error| Failure::segment(&args.queue.queue, &error))?;
        let shown = !args.no_progress && !args.print && !args.items.is_typed();
        Ok(Work {
            args,
            source: args.items.source(limits)?,
            delivery,
            batching,
            pace: Pace::new(args.delay, args.rate),
            out: Output::new(duplicate(&stdout())?, Style::Told(format!("{name} produced "))),
            progress: Progress::new(shown, args.items.count),
            done,
            stop,
        })
    }

    /// Items, then sentinels, then the wait for all of it, then the shutdown.
    fn everything(&mut self, queue: &AnyQueue) -> anyhow::Result<ExitCode> {
        if self.args.join {
            queue.joinable(&self.args.queue.queue, "--join")?;
        }
        let max = if self.pace.is_free() { self.batching.size() } else { self.step() };
        loop {
            match self.source.next(max, &self.stop)? {
                Next::Items(records) => {
                    let items: Vec<&[u8]> = records.iter().collect();
                    if let Some(code) = self.put_items(&items)? {
                        return Ok(code);
                    }
                }
                Next::End => break,
                Next::Interrupted => return Ok(self.interrupted(0)),
            }
        }
        let sentinel = self.args.sentinel();
        for _ in 0..self.args.sentinels {
            match self.delivery.put(&[sentinel]).1 {
                Ok(()) => self.done.sentinels += 1,
                Err(Halt::Interrupted) => return Ok(self.interrupted(0)),
                Err(Halt::Refused(error)) => {
                    return Err(Failure::put(&self.args.queue.queue, &error).into());
                }
            }
        }
        if self.args.join
            && let Some(code) = self.join(queue)?
        {
            return Ok(code);
        }
        if let Some(how) = self.args.shutdown {
            let how = match how {
                How::Drain => Shutdown::Drain,
                How::Now => Shutdown::Now,
            };
            let discarded = queue.shutdown(how);
            self.done.discarded =
                Some(discarded.map_err(|error| Failure::segment(&self.args.queue.queue, &error))?);
        }
        Ok(ExitCode::Done)
    }

    /// Waits until everything is done. A code ends the program.
    fn join(&self, queue: &AnyQueue) -> anyhow::Result<Option<ExitCode>> {
        let name = &self.args.queue.queue;
        let queue = queue.joinable(name, "--join")?;
        let deadline = Deadline::after(self.args.wait.patience());
        loop {
            match queue.join_timeout(deadline.slice()) {
                Ok(()) => return Ok(None),
                Err(JoinError::TimedOut) if !deadline.passed() => {}
                Err(error) => return Err(Failure::join(name, &error).into()),
            }
            if self.stop.requested() {
                return Ok(Some(self.interrupted(0)));
            }
        }
    }

    /// Puts items that have come together, at the pace asked for. A code ends the program.
    fn put_items(&mut self, items: &[&[u8]]) -> anyhow::Result<Option<ExitCode>> {
        let step = if self.pace.is_free() { items.len() } else { self.step() };
        for (index, batch) in items.chunks(step).enumerate() {
            self.pace.wait(batch.len(), &self.stop);
            if self.stop.requested() && !self.pace.is_free() {
                return Ok(Some(self.interrupted(items.len() - index * step)));
            }
            self.refuse_sentinels(batch)?;
            let (put, result) = self.delivery.put(batch);
            for item in &batch[..put] {
                self.done.tally.add(item);
                if self.args.print {
                    self.out.item(item).map_err(silenced)?;
                }
            }
            self.out.flush().map_err(silenced)?;
            self.progress.show(self.done.tally.items, self.done.tally.bytes);
            match result {
                Ok(()) => {}
                Err(Halt::Interrupted) => {
                    return Ok(Some(self.interrupted(items.len() - index * step - put)));
                }
                Err(Halt::Refused(error)) => {
                    let failure = Failure::put(&self.args.queue.queue, &error);
                    return Err(failure.after(self.done.tally.items).into());
                }
            }
        }
        Ok(None)
    }

    /// How many items belong to one step of the pace.
    fn step(&self) -> usize {
        match self.batching {
            Batching::Fixed(size) => size,
            Batching::Automatic(_) => 1,
        }
    }

    /// Who sends sentinels must not send anything that looks like one.
    fn refuse_sentinels(&self, batch: &[&[u8]]) -> Result<(), Failure> {
        let sentinel = self.args.sentinel();
        if self.args.sends_sentinels() && batch.contains(&sentinel) {
            let done = self.done.tally.items;
            let what = format!("an item is equal to the sentinel, after {done} items");
            let way_out = "choose another --sentinel, here and at the consumers";
            return Err(Failure::new(ExitCode::Failure, what, &self.args.queue.queue, way_out));
        }
        Ok(())
    }

    /// Says what was done and what was not.
    fn interrupted(&self, unput: usize) -> ExitCode {
        let (queue, done) = (&self.args.queue.queue, self.done.tally.items);
        let rest = if unput > 0 { format!(", {unput} read and not put") } else { String::new() };
        note("producer", format_args!("interrupted: {queue}: {done} items put{rest}"));
        ExitCode::Interrupted
    }
}

impl Args {
    fn sentinel(&self) -> &[u8] {
        self.sentinel.as_ref().map_or(SENTINEL, |sentinel| &sentinel.0)
    }

    /// Whether there is something to do also without items.
    fn ends_in_some_way(&self) -> bool {
        self.sentinels > 0 || self.join || self.shutdown.is_some()
    }

    fn sends_sentinels(&self) -> bool {
        self.sentinels > 0 || self.sentinel.is_some()
    }
}

/// Nobody reads what `--print`, `--hash` or `--json` say.
fn silenced(error: WriteError) -> Failure {
    let way_out = "items that were put are in the queue";
    Failure::new(
        ExitCode::Failure,
        format!("cannot write: {}", error.error),
        "standard output",
        way_out,
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
