//! The end of every `--help`: examples that work when pasted, and the exit codes.
//!
//! The examples are data, so that a test can run them.
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::exit_code::ExitCode;

/// A command line and what it is for.
pub struct Example {
    /// One short sentence.
    pub why: &'static str,
    /// What to type.
    pub command: &'static str,
}

/// `Examples:` and `Exit codes:`, to be put after the options.
pub fn after_help(examples: &[Example], codes: &[ExitCode]) -> String {
    let mut text = String::from("Examples:\n");
    for example in examples {
        let _ = writeln!(text, "  # {}\n  {}\n", example.why, example.command);
    }
    text.push_str("Exit codes:\n");
    for code in codes {
        let _ = writeln!(text, "  {}  {}", *code as u8, code.meaning());
    }
    text.push_str("\nSet STEADFAST_LOG=debug (or trace) to see what the library does.");
    text
}
