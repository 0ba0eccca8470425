//! The storm: producers and consumers of one queue are killed (SIGKILL) and stopped (SIGSTOP,
//! SIGCONT) at random moments and replaced at once, and every message is accounted for.
//!
//! What must hold: no message twice, none damaged, each consumer sees each producer's messages in
//! order, a put that returned is received unless a consumer was killed in the get that took it (one
//! get per killed consumer), a put under way when its producer was killed is in as a whole or not at
//! all, and nothing stands still. A second cast does the same to a joinable queue (see [`work`]). Run it for longer with `scripts/storm --seconds 600`.

mod account;
mod child;
mod controller;
mod ends;
mod herd;
mod ledger;
mod message;
mod namespace;
mod pulse;
mod random;
mod work;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use controller::{Current, Report, Settings};

const USAGE: &str = "\
Usage: storm [--seconds N] [--producers P] [--consumers C] [--seed S]
  --seconds N    how long (10); half as long again with a joinable queue
  --producers P  at a time (3)
  --consumers C  at a time (3)
  --seed S       the same decisions as the run that printed it (random)
Exit codes: 0 the account balances, 1 it does not, 2 usage";

fn main() -> ExitCode {
    if let Ok(job) = std::env::var(child::JOB) {
        return child::main(&job);
    }
    match parse(std::env::args().skip(1)) {
        Ok(Some(settings)) => storm(&settings),
        Ok(None) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("storm: {what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The options of ours, and as much of the test harness's as makes this a good test target: `None`
/// when this test was not asked for.
fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Settings>, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut settings = Settings {
        seconds: 10,
        producers: 3,
        consumers: 3,
        seed: now.as_nanos() as u64 % 1_000_000_000,
    };
    let (mut list, mut ignored_only, mut asked) = (false, false, true);
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64, String> {
            let value = arguments.next().ok_or(format!("{argument} needs a number"))?;
            value.parse().map_err(|_| format!("not a number: {argument} {value}"))
        };
        match argument.as_str() {
            "--seconds" => settings.seconds = number()?.max(1),
            "--producers" => settings.producers = number()?.clamp(1, 50) as usize,
            "--consumers" => settings.consumers = number()?.clamp(1, 50) as usize,
            "--seed" => settings.seed = number()?,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            "--list" => list = true,
            "--ignored" => ignored_only = true,
            "--format" | "--color" | "--test-threads" | "--skip" | "--logfile" => {
                arguments.next();
            }
            option if option.starts_with('-') => {
                let harmless = ["--exact", "--nocapture", "--quiet", "-q", "--include-ignored"];
                let prefixes = ["--format=", "--color=", "--test-threads=", "--show-output"];
                let known = harmless.contains(&option)
                    || prefixes.iter().any(|prefix| option.starts_with(prefix));
                if !known {
                    return Err(format!("unknown option {option}"));
                }
            }
            filter => asked = asked && "storm".contains(filter),
        }
    }
    if list && !ignored_only {
        println!("storm: test");
    }
    Ok((asked && !list && !ignored_only).then_some(settings))
}

fn storm(settings: &Settings) -> ExitCode {
    for (what, check) in [("messages", message::self_check()), ("account", account::self_check())] {
        if let Err(error) = check {
            eprintln!("storm: the check of the {what} is broken: {error}");
            return ExitCode::FAILURE;
        }
    }
    let Settings { seconds, producers, consumers, seed } = settings;
    println!("storm: {seconds} s, {producers} producers, {consumers} consumers, --seed {seed}");
    let current: Current = Arc::new(Mutex::new(None));
    watchdog(Duration::from_secs(seconds * 2 + 60 + seconds / 2), current.clone());
    let (report, result) = controller::run(settings, &current);
    print_total(&report);
    match result {
        Ok(()) => {
            println!("storm: the account balances");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("storm: FAILED: {error} (--seed {seed})");
            for complaint in &report.outcome.complaints {
                eprintln!("storm:   {complaint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn print_total(report: &Report) {
    let outcome = &report.outcome;
    println!(
        "  killed      {} producers ({} puts under way took effect, {} did not), {} consumers ({} during a get)",
        report.producer_kills,
        outcome.in_flight_in,
        outcome.in_flight_absent,
        report.consumer_kills,
        outcome.killed_in_get,
    );
    println!("  stopped     {} times", report.stops);
    println!("  messages    {} put, {} received", outcome.put, outcome.received);
    println!(
        "  lost        {} with killed consumers (their gets could have taken {})",
        outcome.lost, outcome.allowed
    );
    println!(
        "  wrong       {} twice, {} out of order, {} lost wake-ups",
        outcome.duplicates, outcome.disordered, report.lost_wake_ups
    );
    println!(
        "  stall       {:.1} ms at most ({} wake-ups died with their sender; the \
         controller itself was away for up to {:.1} ms)",
        report.longest_stall.as_secs_f64() * 1e3,
        report.late_wake_ups,
        report.longest_blindness.as_secs_f64() * 1e3,
    );
}

/// Ends this process, and with it the children, when the storm itself hangs.
fn watchdog(limit: Duration, current: Current) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("storm: FAILED: not finished after {limit:?}, giving up");
        if let Some(name) = current.lock().expect("no panic under this lock").take() {
            let _ = steadfast::Segment::unlink(&name);
        }
        std::process::exit(1);
    });
}
