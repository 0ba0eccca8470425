//! `segments`: what shared memory there is, and how to get rid of it.
#![forbid(unsafe_code)]

use std::io::stdout;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::{Parser, Subcommand};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use steadfast::{CleanOptions, Segment, SegmentError, SegmentInfo};
use steadfast_bins::exit_code::{ExitCode, Failure};
use steadfast_bins::help::{Example, after_help};
use steadfast_bins::output::{Output, Style};
use steadfast_bins::report::{self, note};
use steadfast_bins::source::duplicate;
use steadfast_bins::summary::json;

/// List the segments of shared memory on this machine, remove them, or clean up after the dead.
///
/// A segment holds one queue, lock or block of bytes. It outlives its users until it is removed or
/// the machine restarts; an ephemeral one goes with its last user.
#[derive(Parser, Debug)]
#[command(name = "segments", version, max_term_width = 100)]
#[command(after_help = "Examples and exit codes: --help")]
#[command(after_long_help = after_help(EXAMPLES, CODES))]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List all segments: name, kind, size, living users, age, and what is wrong with them
    Ls {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Remove segments; one that is in use is refused
    Rm {
        /// The segments
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,

        /// Also one that is in use: its users go on with what they have, nobody new can join them
        #[arg(short, long)]
        force: bool,

        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Remove what dead processes left: half-made segments, and ephemeral ones without users
    Clean {
        /// Only say what would be removed; this is the default
        #[arg(short = 'n', long, conflicts_with = "yes")]
        dry_run: bool,

        /// Remove it
        #[arg(short, long)]
        yes: bool,

        /// Also every other segment that nobody uses now; messages in it are lost
        #[arg(long)]
        idle: bool,

        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}

const EXAMPLES: &[Example] = &[
    Example { why: "What is there", command: "segments ls" },
    Example {
        why: "Remove a queue, with what is in it",
        command: "producer -q demo --create one two && segments rm demo",
    },
    Example {
        why: "What could be removed because nobody uses it now, and what really is garbage",
        command: "segments clean --idle --dry-run; segments clean",
    },
    Example { why: "For programs", command: "segments ls --json" },
];

const CODES: &[ExitCode] =
    &[ExitCode::Done, ExitCode::Failure, ExitCode::Usage, ExitCode::NoSuchSegment];

fn main() -> std::process::ExitCode {
    report::main("segments", run)
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Ls { json } => list(json),
        Command::Rm { names, force, json } => remove(&names, force, json),
        Command::Clean { yes, idle, json, .. } => clean(yes, idle, json),
    }
}

/// A segment as `ls --json` prints it.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    kind: Option<String>,
    users: usize,
    len: u64,
    bytes: u64,
    ephemeral: bool,
    age_seconds: Option<u64>,
    creator: u32,
    error: Option<&'a str>,
}

impl Listed<'_> {
    fn new(info: &SegmentInfo) -> Listed<'_> {
        // A clock that was set back makes no ages below zero.
        let age = info.created.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        Listed {
            name: &info.name,
            kind: info.kind.map(|kind| kind.to_string()),
            users: info.users_alive,
            len: info.len,
            bytes: info.bytes,
            ephemeral: info.ephemeral,
            age_seconds: age.map(|age| age.as_secs()),
            creator: info.creator,
            error: info.error.as_deref(),
        }
    }

    fn row(&self) -> [String; 6] {
        let unknown = || "?".to_string();
        let status = match (self.error, self.ephemeral) {
            (Some(error), _) => error,
            (None, true) => "ok, ephemeral",
            (None, false) => "ok",
        };
        [
            self.name.to_string(),
            self.kind.clone().unwrap_or_else(unknown),
            ByteSize(self.bytes).to_string(),
            self.users.to_string(),
            self.age_seconds.map_or_else(unknown, age),
            status.to_string(),
        ]
    }
}

/// An age in its two largest units: `3h 12m`, not `3h 12m 40s`.
fn age(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split_inclusive(' ').take(2).collect::<String>().trim_end().to_string()
}

fn list(as_json: bool) -> anyhow::Result<ExitCode> {
    let infos = Segment::list().map_err(|error| Failure::segment("/dev/shm", &error))?;
    let listed: Vec<_> = infos.iter().map(Listed::new).collect();
    if as_json {
        return print(&json(&listed));
    }
    if listed.is_empty() {
        note("segments", "there are none");
        return Ok(ExitCode::Done);
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["NAME", "KIND", "SIZE", "USERS", "AGE", "STATUS"]);
    table.add_rows(listed.iter().map(Listed::row));
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if (2..=4).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    print(&table.trim_fmt())
}

/// What became of a name given to `rm`.
#[derive(Serialize)]
struct Removed<'a> {
    name: &'a str,
    removed: bool,
    error: Option<String>,
    exit: u8,
}

/// Removes what can be removed; the first failure gives the code.
fn remove(names: &[String], force: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    let mut code = ExitCode::Done;
    for name in names {
        let result = if force { Segment::unlink(name) } else { Segment::unlink_unused(name) };
        let failure = result.err().map(|error| explain(name, &error));
        let own = failure.as_ref().map_or(ExitCode::Done, Failure::code);
        if let Some(failure) = &failure {
            note("segments", failure);
            if code == ExitCode::Done {
                code = own;
            }
        }
        let error = failure.map(|failure| failure.to_string());
        all.push(Removed { name, removed: error.is_none(), error, exit: own as u8 });
    }
    if as_json {
        print(&json(&all))?;
    }
    Ok(code)
}

fn explain(name: &str, error: &SegmentError) -> Failure {
    let failure = Failure::segment(name, error);
    match error {
        SegmentError::NotFound { .. } => failure.or("segments ls shows what there is"),
        SegmentError::PermissionDenied { .. } => failure.or("only its owner may remove it"),
        _ => failure,
    }
}

/// A segment that was cleaned up, or would be.
#[derive(Serialize)]
struct Garbage<'a> {
    name: &'a str,
    reason: String,
    bytes: u64,
    removed: bool,
}

fn clean(yes: bool, idle: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    let options = CleanOptions { dry_run: !yes, idle };
    let cleaned = Segment::clean(&options).map_err(|error| Failure::segment("/dev/shm", &error))?;
    let garbage = cleaned.iter().map(|cleaned| Garbage {
        name: &cleaned.name,
        reason: cleaned.reason.to_string(),
        bytes: cleaned.bytes,
        removed: yes,
    });
    if as_json {
        return print(&json(&garbage.collect::<Vec<_>>()));
    }
    let verb = if yes { "removed" } else { "would remove" };
    let lines: Vec<_> = garbage
        .map(|one| format!("{verb} {} ({}): {}", one.name, ByteSize(one.bytes), one.reason))
        .collect();
    if lines.is_empty() {
        note("segments", "nothing to clean up");
        return Ok(ExitCode::Done);
    }
    print(&lines.join("\n"))?;
    if !yes {
        note("segments", "this was a dry run: --yes removes them");
    }
    Ok(ExitCode::Done)
}

/// Prints to standard output. That its reader has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = Output::new(duplicate(&stdout())?, Style::Ended(Vec::new()));
    out.line(text);
    match out.flush() {
        Err(error) if !error.is_broken_pipe() => {
            let what = format!("cannot write: {}", error.error);
            Err(Failure::new(ExitCode::Failure, what, "standard output", "").into())
        }
        _ => Ok(ExitCode::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(age(0), "0s");
        assert_eq!(age(59), "59s");
        assert_eq!(age(3 * 3600 + 12 * 60 + 40), "3h 12m");
    }
}
