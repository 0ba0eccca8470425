//! `main()` of every program: parse, run, report.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::Write;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::exit_code::{self, ExitCode};

/// Parses the command line, runs the program, and prints its error as `program: what: segment: way out`.
///
/// A wrong command line ends the program inside the parser, with code 2.
pub fn main<A: Parser>(
    program: &str,
    run: impl FnOnce(A) -> anyhow::Result<ExitCode>,
) -> std::process::ExitCode {
    let args = A::parse();
    start_logging();
    // What a peer truncates becomes an error with words. Without the guard it is a death by SIGBUS,
    // which is no reason not to start.
    let _ = steadfast::guard_against_truncation();
    match run(args) {
        Ok(code) => code.into(),
        Err(error) => {
            note(program, format_args!("{error:#}"));
            exit_code::of(&error).into()
        }
    }
}

/// A line on standard error. A closed standard error is nobody's problem.
pub fn note(program: &str, text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{program}: {text}");
}

/// The library's events on standard error, as `STEADFAST_LOG` asks (as `RUST_LOG` elsewhere).
fn start_logging() {
    if let Ok(filter) = EnvFilter::try_from_env("STEADFAST_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
