//! What a program did, in numbers: the `--json` line at its end.
#![forbid(unsafe_code)]

use std::time::Instant;

use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::fingerprint::Fingerprint;

/// What a program has done so far.
#[derive(Clone, Debug)]
pub struct Done {
    /// Items put or taken, sentinels not among them.
    pub tally: Fingerprint,
    /// Sentinels put or met.
    pub sentinels: u64,
    /// With `--shutdown`: how many items were thrown away.
    pub discarded: Option<usize>,
    /// With `--exec`: what became of the commands.
    pub commands: Option<Commands>,
    started: Instant,
}

impl Done {
    /// Nothing yet.
    pub fn nothing(hashing: bool) -> Done {
        let tally = Fingerprint::new(hashing);
        Done { tally, sentinels: 0, discarded: None, commands: None, started: Instant::now() }
    }

    /// The line of JSON that says it, now that the program ends with `code`.
    pub fn json(&self, queue: &str, name: &str, code: ExitCode) -> String {
        json(&Summary {
            queue,
            name,
            items: self.tally.items,
            bytes: self.tally.bytes,
            sentinels: self.sentinels,
            seconds: self.started.elapsed().as_secs_f64(),
            hash: self.tally.hash(),
            discarded: self.discarded,
            commands: self.commands,
            end: code.name(),
            exit: code as u8,
        })
    }
}

/// What became of commands, beside those that succeeded.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Commands {
    /// Commands that failed; their items went back into the queue.
    pub failed: u64,
    /// Items that the job log showed as done.
    pub skipped: u64,
}

/// Printed once, also when the program fails.
#[derive(Serialize)]
struct Summary<'a> {
    queue: &'a str,
    name: &'a str,
    items: u64,
    bytes: u64,
    sentinels: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<usize>,
    #[serde(flatten)]
    commands: Option<Commands>,
    /// How it ended, in words.
    end: &'static str,
    exit: u8,
}

/// A value as one line of JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}
