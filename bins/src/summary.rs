//! What a program did, in numbers: the `--json` line at its end.
#![forbid(unsafe_code)]

use std::time::Instant;

use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::fingerprint::Fingerprint;

/// One line of JSON, printed once, also when the program fails on the way.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<'a> {
    /// The queue.
    pub queue: &'a str,
    /// Who did it.
    pub name: &'a str,
    /// Items put or taken; sentinels are not counted.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sentinels put or met.
    pub sentinels: u64,
    /// From the start to the end.
    pub seconds: f64,
    /// With `--hash`: the hash of all items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// With `--shutdown`: how many items were thrown away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discarded: Option<usize>,
    /// How it ended, in words.
    pub end: &'static str,
    /// How it ended: the exit code.
    pub exit: u8,
}

impl<'a> Summary<'a> {
    /// The numbers of a program that began at `started` and ends now with `code`.
    pub fn new(
        queue: &'a str,
        name: &'a str,
        done: &Fingerprint,
        started: Instant,
        code: ExitCode,
    ) -> Summary<'a> {
        Summary {
            queue,
            name,
            items: done.items,
            bytes: done.bytes,
            sentinels: 0,
            seconds: started.elapsed().as_secs_f64(),
            hash: done.hash(),
            discarded: None,
            end: code.name(),
            exit: code as u8,
        }
    }
}

/// A value as one line of JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}
