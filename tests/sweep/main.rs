//! The sweep: a victim is killed with SIGKILL after every instruction of an operation, and whoever is
//! left must go on.
//!
//! A stepper (a process that traces) starts a victim (this program again), leads it to one point of
//! one library operation and kills it there. Then the survivors (the stepper itself, attached since
//! before, and live processes that sleep in operations of their own) do real work. What they find must
//! be the state before the operation or the state after it, and nothing may take for ever. Then the
//! next victim dies one instruction later.
//!
//! Run it with `cargo test --release --test sweep`, or everything with `scripts/sweep --full`.

mod clean;
mod conductor;
mod endings;
mod engine;
mod hands;
mod lease_hands;
mod lease_model;
mod lease_operations;
mod lease_rounds;
mod lease_stage;
mod lease_victim;
mod lifecycle;
mod locks;
mod message;
mod model;
mod mutex;
mod nested;
mod options;
mod peer;
mod ptrace;
mod queue_stage;
mod queue_victim;
mod queues;
mod recovery;
mod rounds;
mod sync_barrier;
mod sync_condvar;
mod sync_counts;
mod sync_nested;
mod sync_peer;
mod sync_rlock;
mod sync_rwlock;
mod sync_stage;
mod sync_values;
mod sync_world;
mod tally;
mod tracee;
mod watch;
mod words;

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use engine::Scenario;
use options::{Options, Parsed};

fn scenarios() -> Vec<Scenario> {
    let mut all = locks::all();
    all.extend(nested::all());
    all.extend(queues::all());
    all.extend(lease_operations::all());
    all.extend(lease_rounds::all());
    all.extend(endings::all());
    all.extend(lifecycle::all());
    all.extend(clean::all());
    all.extend(rounds::all());
    all.extend(sync_rlock::all());
    all.extend(sync_rwlock::all());
    all.extend(sync_condvar::all());
    all.extend(sync_counts::all());
    all.extend(sync_barrier::all());
    all.extend(sync_values::all());
    all.extend(sync_nested::all());
    all
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let scenarios = scenarios();
    match arguments.first().map(String::as_str) {
        Some("victim") => victim(&scenarios, &arguments[1..]),
        Some("peer") => {
            peer::play();
            ExitCode::SUCCESS
        }
        Some("stepper") => conductor::stepper(&scenarios, &arguments[1..]),
        _ => match Options::parse(&arguments) {
            Ok(Parsed::Run(options)) => conductor::run(&scenarios, &options),
            Ok(Parsed::Done) => ExitCode::SUCCESS,
            Err(what) => {
                eprintln!("sweep: {what}\n{}", options::USAGE);
                ExitCode::from(2)
            }
        },
    }
}

/// Plays the victim of one scenario; its stepper kills it.
fn victim(scenarios: &[Scenario], arguments: &[String]) -> ExitCode {
    let found = arguments.first().and_then(|name| scenarios.iter().find(|s| s.name == *name));
    let Some(scenario) = found else {
        eprintln!("sweep: no such operation: {arguments:?}");
        return ExitCode::from(2);
    };
    if let Err(error) = ptrace::trace_me() {
        eprintln!("sweep: PTRACE_TRACEME: {error}");
        return ExitCode::FAILURE;
    }
    (scenario.victim)(&arguments[1..]);
    ExitCode::SUCCESS
}
