//! `producer`: puts items into a queue.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{IsTerminal, stdin, stdout};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use steadfast::{Queue, Shutdown};
use steadfast_bins::args::{self, CreateArgs, Escaped, QueueName, SENTINEL, WaitArgs};
use steadfast_bins::delivery::{Batching, Delivery, Halt};
use steadfast_bins::exit_code::{self, ExitCode, Failure};
use steadfast_bins::fingerprint::Fingerprint;
use steadfast_bins::help::{Example, after_help};
use steadfast_bins::output::{Output, Style, WriteError};
use steadfast_bins::pace::{Delay, Pace, Rate};
use steadfast_bins::progress::Progress;
use steadfast_bins::report::{self, note};
use steadfast_bins::signals::Stop;
use steadfast_bins::source::{Input, Limits, Next, Source, duplicate};
use steadfast_bins::splitter::Framing;
use steadfast_bins::summary::{Summary, json};

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

    /// The items themselves
    #[arg(value_name = "ITEM", help_heading = "Items")]
    items: Vec<OsString>,

    /// Put the numbers 0 to N-1 (0: put nothing)
    #[arg(short = 'n', long, value_name = "N", help_heading = "Items")]
    #[arg(conflicts_with_all = ["items", "file", "framing"])]
    count: Option<u64>,

    /// With --count: this text, with {} for the number, or followed by it
    #[arg(long, value_name = "TEXT", requires = "count", help_heading = "Items")]
    #[arg(allow_hyphen_values = true)]
    item: Option<String>,

    /// Put a file as one item, or cut it as the flags below say; may be repeated
    #[arg(short, long, value_name = "FILE", conflicts_with = "items", help_heading = "Items")]
    file: Vec<PathBuf>,

    /// Cut at newlines (standard input: the default)
    #[arg(long, group = "framing", conflicts_with = "items", help_heading = "Items")]
    lines: bool,

    /// Cut after these bytes; \n \t \r \0 \\ \xHH are understood
    #[arg(short, long, value_name = "BYTES", group = "framing", conflicts_with = "items")]
    #[arg(help_heading = "Items", allow_hyphen_values = true)]
    delimiter: Option<Escaped>,

    /// Cut after NUL bytes, as find -print0 writes them
    #[arg(short = '0', long, group = "framing", conflicts_with = "items", help_heading = "Items")]
    null: bool,

    /// Read frames: a little-endian 32-bit length, then so many bytes
    #[arg(long, group = "framing", conflicts_with = "items", help_heading = "Items")]
    frames: bool,

    /// Cut into items of this size; the last may be shorter
    #[arg(long, value_name = "BYTES", group = "framing", value_parser = args::some_bytes)]
    #[arg(conflicts_with = "items", help_heading = "Items")]
    chunk: Option<usize>,

    /// Leave the newline (or delimiter) at the end of its item
    #[arg(long, alias = "keep-delimiter", help_heading = "Items")]
    #[arg(conflicts_with_all = ["items", "count", "frames", "chunk"])]
    keep_newlines: bool,

    #[command(flatten)]
    wait: WaitArgs,

    /// Think so long before each item: 1s, or at random 1s..2s
    #[arg(long, value_name = "TIME[..TIME]", help_heading = "Pace")]
    delay: Option<Delay>,

    /// At most so many items a second (N or N/s), minute (N/min) or hour (N/h)
    #[arg(long, value_name = "N/s", help_heading = "Pace")]
    rate: Option<Rate>,

    /// Put up to N items at a time, all or none of them [default: as fits]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Pace")]
    batch: Option<u32>,

    /// At the end put N sentinels, one for each consumer --until-sentinel
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    #[arg(help_heading = "End")]
    sentinels: u64,

    /// The sentinel [default: \n\0steadfast:end\n, which no line can be]
    #[arg(long, value_name = "BYTES", help_heading = "End", allow_hyphen_values = true)]
    sentinel: Option<Escaped>,

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
    let started = Instant::now();
    args.check_items()?;
    let stop = Stop::on_signals()?;
    let Some(queue) = args.create.open(&args.queue, &stop)? else {
        return Ok(ExitCode::Interrupted);
    };
    let name = args.name.clone().unwrap_or_else(|| format!("producer-{}", std::process::id()));
    let mut work = Work::new(&args, &queue, &name, stop)?;
    let outcome = work.everything(&queue);
    drop(work.progress);

    let mut out = work.out;
    let code = outcome.as_ref().map_or_else(exit_code::of, |code| *code);
    if args.json {
        let (sentinels, discarded) = (work.sentinels, work.discarded);
        let summary = Summary::new(&args.queue.queue, &name, &work.done, started, code);
        out.line(&json(&Summary { sentinels, discarded, ..summary }));
    } else if args.hash {
        out.line(&work.done.to_string());
    }
    let told = out.flush().map_err(silenced);
    outcome.and_then(|code| told.map(|()| code).map_err(Into::into))
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
    done: Fingerprint,
    sentinels: u64,
    discarded: Option<usize>,
}

impl<'a> Work<'a> {
    fn new(args: &'a Args, queue: &Queue, name: &str, stop: Stop) -> anyhow::Result<Work<'a>> {
        let batching = match args.batch {
            Some(size) => Batching::Fixed(size as usize),
            None => Batching::automatic(queue),
        };
        if queue.maxsize() > 0 && batching.size() > queue.maxsize() {
            let what = format!(
                "--batch {} can never fit: --maxsize is {}",
                batching.size(),
                queue.maxsize()
            );
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
        let typed = args.file.is_empty() && stdin().is_terminal();
        Ok(Work {
            args,
            source: args.source(limits)?,
            delivery,
            batching,
            pace: Pace::new(args.delay, args.rate),
            out: Output::new(duplicate(&stdout())?, Style::Told(format!("{name} produced "))),
            progress: Progress::new(!args.no_progress && !args.print && !typed, args.count),
            done: Fingerprint::new(args.hash),
            sentinels: 0,
            discarded: None,
            stop,
        })
    }

    /// Items, then sentinels, then the shutdown.
    fn everything(&mut self, queue: &Queue) -> anyhow::Result<ExitCode> {
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
                Ok(()) => self.sentinels += 1,
                Err(Halt::Interrupted) => return Ok(self.interrupted(0)),
                Err(Halt::Refused(error)) => {
                    return Err(Failure::put(&self.args.queue.queue, &error).into());
                }
            }
        }
        if let Some(how) = self.args.shutdown {
            let how = match how {
                How::Drain => Shutdown::Drain,
                How::Now => Shutdown::Now,
            };
            let discarded = queue.shutdown(how);
            self.discarded =
                Some(discarded.map_err(|error| Failure::segment(&self.args.queue.queue, &error))?);
        }
        Ok(ExitCode::Done)
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
                self.done.add(item);
                if self.args.print {
                    self.out.item(item).map_err(silenced)?;
                }
            }
            self.out.flush().map_err(silenced)?;
            self.progress.show(self.done.items, self.done.bytes);
            match result {
                Ok(()) => {}
                Err(Halt::Interrupted) => {
                    return Ok(Some(self.interrupted(items.len() - index * step - put)));
                }
                Err(Halt::Refused(error)) => {
                    let failure = Failure::put(&self.args.queue.queue, &error);
                    return Err(failure.after(self.done.items).into());
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
            let what = format!("an item is equal to the sentinel, after {} items", self.done.items);
            let way_out = "choose another --sentinel, here and at the consumers";
            return Err(Failure::new(ExitCode::Failure, what, &self.args.queue.queue, way_out));
        }
        Ok(())
    }

    /// Says what was done and what was not.
    fn interrupted(&self, unput: usize) -> ExitCode {
        let (queue, done) = (&self.args.queue.queue, self.done.items);
        let rest = if unput > 0 { format!(", {unput} read and not put") } else { String::new() };
        note("producer", format_args!("interrupted: {queue}: {done} items put{rest}"));
        ExitCode::Interrupted
    }
}

impl Args {
    /// Whether nothing says where the items come from, and standard input is a keyboard.
    fn would_be_typed(&self) -> bool {
        let said = self.count.is_some() || !self.items.is_empty() || !self.file.is_empty();
        !said && self.framing().is_none() && !self.keep_newlines && stdin().is_terminal()
    }

    /// Nobody is made to type by mistake. Who ends or makes a queue may do so without items.
    fn check_items(&self) -> Result<(), Failure> {
        if self.would_be_typed() && self.sentinels == 0 && self.shutdown.is_none() {
            let way_out =
                "give ITEMs, --count or --file, pipe something in, or use --lines to type them";
            return Err(Failure::usage("no items", way_out));
        }
        Ok(())
    }

    /// Where the items come from.
    fn source(&self, limits: Limits) -> anyhow::Result<Source> {
        if let Some(count) = self.count {
            return Ok(Source::numbered(self.item.as_deref(), count));
        }
        if !self.items.is_empty() {
            let items: Vec<_> = self.items.iter().cloned().map(OsString::into_vec).collect();
            return Ok(Source::Given(items.into_iter()));
        }
        let framing = self.framing();
        if let Some(Framing::Chunks(size)) =
            framing.as_ref().filter(|_| self.chunk > Some(limits.item))
        {
            let what =
                format!("--chunk {size} is too large: the queue takes items up to {}", limits.item);
            return Err(
                Failure::usage(what, "use a smaller --chunk, or a larger --capacity").into()
            );
        }
        if !self.file.is_empty() {
            let files = self.file.iter().cloned().map(Input::File).collect();
            let framing = framing.unwrap_or(if self.keep_newlines {
                self.delimited(b"\n")
            } else {
                Framing::Whole
            });
            return Ok(Source::stream(files, framing, limits)?);
        }
        if self.would_be_typed() {
            return Ok(Source::numbered(None, 0));
        }
        let framing = framing.unwrap_or_else(|| self.delimited(b"\n"));
        Ok(Source::stream(vec![Input::Stdin], framing, limits)?)
    }

    /// How to cut, if the command line says it.
    fn framing(&self) -> Option<Framing> {
        match (&self.delimiter, self.chunk) {
            (Some(delimiter), _) => Some(self.delimited(&delimiter.0)),
            (_, Some(size)) => Some(Framing::Chunks(size)),
            _ if self.lines => Some(self.delimited(b"\n")),
            _ if self.null => Some(self.delimited(b"\0")),
            _ if self.frames => Some(Framing::Frames),
            _ => None,
        }
    }

    fn delimited(&self, delimiter: &[u8]) -> Framing {
        Framing::Delimited { delimiter: delimiter.to_vec(), keep: self.keep_newlines }
    }

    fn sentinel(&self) -> &[u8] {
        self.sentinel.as_ref().map_or(SENTINEL, |sentinel| &sentinel.0)
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
