//! Arguments that say what command to run for each item, and how.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use memchr::memmem;

use crate::args::duration;

/// What stands for the item in an argument.
const PLACE: &[u8] = b"{}";

/// A command for each item.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct ExecArgs {
    /// Run this command for each item of a joinable queue; the rest of the line is its arguments. {} in them
    /// is the item; without any {} the item is its standard input. If it ends with code 0, the item is
    /// acknowledged, else it comes back. It finds its attempt (from 1) in STEADFAST_ATTEMPT, the item's
    /// number in STEADFAST_SEQUENCE
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["delimiter", "null", "frames", "raw", "hash", "output", "batch"])]
    #[arg(conflicts_with = "delay")]
    #[arg(help_heading = "Commands")]
    pub exec: Vec<OsString>,

    /// Run so many commands at a time [default: 1]
    #[arg(short, long, value_name = "N", requires = "exec", help_heading = "Commands")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// Kill a command, with everything it started, that takes longer; that is a failure
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "exec")]
    #[arg(help_heading = "Commands")]
    pub exec_timeout: Option<Duration>,

    /// What failed comes back after so long, and others before it [default: at once, before all others]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "exec")]
    #[arg(help_heading = "Commands")]
    pub retry_delay: Option<Duration>,

    /// Add a line to this file for each command that ended; several consumers may share it
    #[arg(long, value_name = "FILE", requires = "exec", help_heading = "Commands")]
    pub job_log: Option<PathBuf>,

    /// Acknowledge without a command what the job log shows as done: the same item with the same number
    #[arg(long, requires = "job_log", help_heading = "Commands")]
    pub resume: bool,
}

impl ExecArgs {
    /// The name of the command, where there is one.
    pub fn name(&self) -> Option<&OsStr> {
        self.exec.first().map(OsString::as_os_str)
    }

    /// The command for an item; whether the item is to be written to its standard input.
    pub fn command(&self, item: &[u8]) -> (Command, bool) {
        let mut words = self.exec.iter();
        let mut command = Command::new(words.next().map_or(OsStr::new(""), OsString::as_os_str));
        let mut placed = false;
        for word in words {
            let parts = split(word.as_bytes());
            placed |= parts.len() > 1;
            command.arg(OsString::from_vec(parts.join(item)));
        }
        command.stdin(if placed { Stdio::null() } else { Stdio::piped() });
        (command, !placed)
    }
}

/// What is between the places for the item.
fn split(word: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut from = 0;
    for at in memmem::find_iter(word, PLACE) {
        parts.push(&word[from..at]);
        from = at + PLACE.len();
    }
    parts.push(&word[from..]);
    parts
}

/// Whether a command cannot be started because of its item: another one may be.
pub fn is_of_item(error: &io::Error) -> bool {
    use io::ErrorKind::{ArgumentListTooLong, InvalidInput};
    matches!(error.kind(), InvalidInput | ArgumentListTooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_item_goes_where_its_place_is() {
        let words = |exec: &[&str], item: &[u8]| {
            let exec = exec.iter().map(OsString::from).collect();
            let (jobs, exec_timeout, retry_delay, job_log) = (None, None, None, None);
            let args = ExecArgs { exec, jobs, exec_timeout, retry_delay, job_log, resume: false };
            let (command, stdin) = args.command(item);
            let words = command.get_args().map(|word| word.as_bytes().to_vec());
            (words.collect::<Vec<_>>(), stdin)
        };
        assert_eq!(words(&["cat"], b"x"), (vec![], true));
        assert_eq!(words(&["{}", "-n"], b"x"), (vec![b"-n".to_vec()], true));
        let placed = words(&["cp", "{}", "a/{}-{}.b", "{"], b"\xff {}");
        let expected = [&b"\xff {}"[..], b"a/\xff {}-\xff {}.b", b"{"].map(<[u8]>::to_vec);
        assert_eq!(placed, (expected.to_vec(), false));
    }
}
