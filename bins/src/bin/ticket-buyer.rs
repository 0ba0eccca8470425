//! `ticket-buyer`: looks at the tickets that are left, and buys one.
#![forbid(unsafe_code)]

use std::io::stdout;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;
use signal_hook::consts::SIGKILL;
use steadfast::LockError;
use steadfast_bins::args::duration;
use steadfast_bins::exit_code::{self, ExitCode, Failure};
use steadfast_bins::help::{Example, after_help};
use steadfast_bins::output::{Output, Style};
use steadfast_bins::pace::Delay;
use steadfast_bins::report;
use steadfast_bins::signals::Stop;
use steadfast_bins::source::duplicate;
use steadfast_bins::summary::json;
use steadfast_bins::ticket_lock::{Attempt, LockKind, TicketLock, Turn};
use steadfast_bins::tickets::Store;

/// Look at the tickets that are left and buy one, as one of many buyers at once.
///
/// To search is to look without the lock. To buy is to take the lock, look again, think, and write
/// one ticket less. Without a lock (--lock none) two buyers may both see the last ticket and both
/// buy it; with a lock that is not robust (--lock plain) a buyer that dies holding it stops all
/// others for ever; with the others the next buyer is told, looks at the tickets and goes on.
///
/// Without search or buy it does both; with --create alone it only puts tickets on sale.
#[derive(Parser, Debug)]
#[command(name = "ticket-buyer", version, max_term_width = 100)]
#[command(after_help = "Examples and exit codes: --help")]
#[command(after_long_help = after_help(EXAMPLES, CODES))]
struct Args {
    /// What to do [default: search, then buy]
    action: Option<Action>,

    /// The tickets are in this JSON file: {"count": N}
    #[arg(short, long, value_name = "FILE", help_heading = "Tickets")]
    #[arg(required_unless_present = "store", conflicts_with = "store")]
    file: Option<PathBuf>,

    /// The tickets are in this segment
    #[arg(short, long, value_name = "NAME", help_heading = "Tickets")]
    store: Option<String>,

    /// Put N tickets on sale, whatever was there before
    #[arg(long, value_name = "N", help_heading = "Tickets")]
    create: Option<u64>,

    /// Which lock guards them; all buyers must use the same
    #[arg(short, long, value_name = "KIND", default_value_t = LockKind::Futex, help_heading = "Lock")]
    lock: LockKind,

    /// The lock's name [default: made from the store's name or the file's path]
    #[arg(long, value_name = "NAME", help_heading = "Lock")]
    lock_name: Option<String>,

    /// Wait so long for the lock, then give up (code 3) [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Lock")]
    timeout: Option<Duration>,

    /// Die by SIGKILL after thinking, holding the lock, before the ticket is bought
    #[arg(long, help_heading = "Lock")]
    die_holding_lock: bool,

    /// Who buys [default: buyer-PID]
    #[arg(long, value_name = "NAME", help_heading = "Buyer")]
    name: Option<String>,

    /// Think so long before buying
    #[arg(long, value_name = "TIME[..TIME]", default_value = "0.1s..0.3s", help_heading = "Buyer")]
    think: Delay,

    /// Print what was done as a line of JSON
    #[arg(long, help_heading = "Buyer")]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Say how many are left
    Search,
    /// Buy one
    Buy,
    /// Remove the lock, and the store's segment (a file stays)
    Remove,
}

const EXAMPLES: &[Example] = &[
    Example { why: "Put one ticket on sale", command: "ticket-buyer --file demo.json --create 1" },
    Example {
        why: "Five buyers: one gets it, four are told (code 8)",
        command: r"for name in ann bob cat dan eve; do
    ticket-buyer --file demo.json --name $name & done; wait",
    },
    Example {
        why: "The same without a lock: more are sold than there are",
        command: r"ticket-buyer --store demo --create 1; for name in ann bob cat; do
    ticket-buyer --store demo --lock none --name $name & done; wait",
    },
    Example {
        why: "A buyer dies holding the lock; the next one is told, and goes on",
        command: r"ticket-buyer --store demo --create 2
  ticket-buyer --store demo buy --die-holding-lock --name ann
  ticket-buyer --store demo buy --name bob",
    },
    Example {
        why: "Tidy up",
        command: r"ticket-buyer --store demo remove; ticket-buyer --file demo.json remove",
    },
];

const CODES: &[ExitCode] = &[
    ExitCode::Done,
    ExitCode::Failure,
    ExitCode::Usage,
    ExitCode::TimedOut,
    ExitCode::NoSuchSegment,
    ExitCode::Corrupt,
    ExitCode::Interrupted,
    ExitCode::SoldOut,
];

fn main() -> std::process::ExitCode {
    report::main("ticket-buyer", run)
}

/// One line of JSON, printed once, also on failure.
#[derive(Serialize)]
struct Summary<'a> {
    name: &'a str,
    lock: String,
    remaining: Option<u64>,
    bought: bool,
    recovered: bool,
    end: &'static str,
    exit: u8,
}

/// A buyer at the counter.
struct Buyer<'a> {
    args: &'a Args,
    name: String,
    stop: Stop,
    out: Output,
    remaining: Option<u64>,
    bought: bool,
    recovered: bool,
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut buyer = Buyer {
        name: args.name.clone().unwrap_or_else(|| format!("buyer-{}", std::process::id())),
        stop: Stop::on_signals()?,
        out: Output::new(duplicate(&stdout())?, Style::Ended(b"\n".to_vec())),
        remaining: None,
        bought: false,
        recovered: false,
        args: &args,
    };
    let outcome = buyer.everything();
    if args.json {
        let code = outcome.as_ref().map_or_else(exit_code::of, |code| *code);
        let summary = Summary {
            name: &buyer.name,
            lock: args.lock.to_string(),
            remaining: buyer.remaining,
            bought: buyer.bought,
            recovered: buyer.recovered,
            end: code.name(),
            exit: code as u8,
        };
        buyer.out.line(&json(&summary));
        let told = buyer.flush();
        return outcome.and_then(|code| told.map(|()| code));
    }
    outcome
}

impl Buyer<'_> {
    fn everything(&mut self) -> anyhow::Result<ExitCode> {
        let args = self.args;
        let lock_name = |store: &Store| args.lock_name.clone().unwrap_or_else(|| store.lock_name());
        if args.action == Some(Action::Remove) {
            let lock = match (&args.lock_name, &args.store, &args.file) {
                (Some(name), ..) => name.clone(),
                (_, Some(name), _) => format!("{name}.lock"),
                (_, _, Some(path)) => Store::file(path).lock_name(),
                _ => unreachable!("the parser wants one of them"),
            };
            TicketLock::remove(args.lock, &lock)?;
            if let Some(name) = &args.store {
                Store::remove(name)?;
            }
            return Ok(ExitCode::Done);
        }
        let store = match (&args.file, &args.store) {
            (Some(path), _) => Store::file(path),
            (_, Some(name)) if args.create.is_some() => Store::new_segment(name)?,
            (_, Some(name)) => Store::segment(name)?,
            _ => unreachable!("the parser wants one of them"),
        };
        if let Some(count) = args.create {
            let code = self.put_on_sale(&store, &lock_name(&store), count)?;
            if code != ExitCode::Done || args.action.is_none() {
                return Ok(code);
            }
        }
        if args.action != Some(Action::Buy) {
            self.search(&store)?;
        }
        if args.action != Some(Action::Search) {
            return self.buy(&store, &lock_name(&store));
        }
        Ok(ExitCode::Done)
    }

    /// Writes the number of tickets, whatever it was.
    fn put_on_sale(&mut self, store: &Store, name: &str, count: u64) -> anyhow::Result<ExitCode> {
        let lock = TicketLock::open_or_create(self.args.lock, name)?;
        let mut turn = loop {
            match lock.wait(name, self.args.timeout, &self.stop)? {
                Attempt::Ours(turn) | Attempt::OwnerDied(turn) => break turn,
                Attempt::Abandoned => lock.repair(name)?,
                Attempt::Interrupted => return Ok(ExitCode::Interrupted),
            }
        };
        store.write(count)?;
        // New tickets are right, whatever a dead owner did to the old ones.
        turn.mark_consistent();
        self.remaining = Some(count);
        Ok(ExitCode::Done)
    }

    /// Looks, without the lock, as everybody may.
    fn search(&mut self, store: &Store) -> anyhow::Result<()> {
        let count = store.read()?;
        self.remaining = Some(count);
        self.say(&format!("check, remaining tickets {count}"))
    }

    /// Takes the lock, looks again, thinks, and takes a ticket.
    fn buy(&mut self, store: &Store, name: &str) -> anyhow::Result<ExitCode> {
        let lock = TicketLock::open_or_create(self.args.lock, name)?;
        let _turn = match lock.wait(name, self.args.timeout, &self.stop)? {
            Attempt::Ours(turn) => turn,
            Attempt::OwnerDied(turn) => self.recover(turn, store, name)?,
            Attempt::Abandoned => {
                return Err(Failure::lock(name, &LockError::<()>::Abandoned).into());
            }
            Attempt::Interrupted => return Ok(ExitCode::Interrupted),
        };
        let count = store.read()?;
        self.remaining = Some(count);
        // A signal ends the thinking, not the buying: what was begun is finished.
        self.stop.sleep(self.args.think.pick());
        if self.args.die_holding_lock {
            self.say("dies holding the lock")?;
            signal_hook::low_level::raise(SIGKILL)?;
        }
        let Some(rest) = count.checked_sub(1) else {
            self.say("sorry, no tickets left")?;
            return Ok(ExitCode::SoldOut);
        };
        store.write(rest)?;
        (self.remaining, self.bought) = (Some(rest), true);
        self.say("ticket successfully purchased")?;
        Ok(ExitCode::Done)
    }

    /// The owner before us died: are the tickets right?
    fn recover<'t>(
        &mut self,
        mut turn: Turn<'t>,
        store: &Store,
        name: &str,
    ) -> anyhow::Result<Turn<'t>> {
        if let Err(failure) = store.read() {
            turn.abandon();
            let what =
                format!("a buyer died holding the lock, and the tickets are damaged: {failure}");
            let way_out = "put new ones on sale: ticket-buyer --create N";
            return Err(Failure::new(ExitCode::Corrupt, what, name, way_out).into());
        }
        turn.mark_consistent();
        self.recovered = true;
        self.say("recovered the lock from a buyer that died (data checked)")?;
        Ok(turn)
    }

    /// A line with the buyer's name, at once. With `--json` there is one line, at the end.
    fn say(&mut self, what: &str) -> anyhow::Result<()> {
        if !self.args.json {
            self.out.line(&format!("{} {what}", self.name));
        }
        self.flush()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().map_err(|error| {
            let what = format!("cannot write: {}", error.error);
            Failure::new(ExitCode::Failure, what, "standard output", "").into()
        })
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
