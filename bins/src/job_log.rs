//! The job log: which command was run for which item, and how it went. One line per attempt, written with one
//! write, so that many consumers can share a file; and read again, so that nothing is run twice that is done.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_128;

use crate::exit_code::{ExitCode, Failure};

const HEADER: &str = "Sequence\tAttempt\tStart\tRuntime\tExit\tSignal\tItem\n";
const FIELDS: usize = 7;

/// Items longer than this are told by their beginning and their hash.
const LONG: usize = 1000;
const BEGINNING: usize = 60;

/// A job log.
pub struct JobLog {
    path: PathBuf,
    file: File,
    /// With `--resume`: what is known to be done.
    done: Option<Mutex<Known>>,
}

/// What the log says is done, as far as it was read.
#[derive(Default)]
struct Known {
    offset: u64,
    done: HashSet<(u64, String)>,
}

/// One run of a command.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The item's number in the queue.
    pub sequence: u64,
    /// Which attempt this was.
    pub attempt: u32,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub runtime: Duration,
    /// How it ended; `None` if it could not be started.
    pub status: Option<ExitStatus>,
    /// The item.
    pub item: &'a [u8],
}

impl JobLog {
    /// Opens the log, or begins it.
    ///
    /// # Errors
    /// It cannot be opened, or it is something else.
    pub fn open(path: &Path, resume: bool) -> Result<JobLog, Failure> {
        let begin = || -> io::Result<Option<File>> {
            let mut file = File::options().read(true).append(true).create(true).open(path)?;
            // Another consumer may be about to begin the same file.
            file.lock()?;
            let len = file.metadata()?.len();
            let mut start = vec![0; HEADER.len().min(len as usize)];
            file.read_exact_at(&mut start, 0)?;
            let mut last = [b'\n'];
            if len > 0 {
                file.read_exact_at(&mut last, len - 1)?;
            }
            let ours = HEADER.as_bytes().starts_with(&start);
            match (ours, start.len() < HEADER.len(), last) {
                (false, ..) => return Ok(None),
                (_, true, _) => file.write_all(&HEADER.as_bytes()[start.len()..])?,
                // A line that a dying consumer did not finish.
                (_, _, last) if last != *b"\n" => file.write_all(b"\n")?,
                _ => {}
            }
            file.unlock()?;
            Ok(Some(file))
        };
        let Some(file) = begin().map_err(|error| unusable(path, &error.to_string()))? else {
            return Err(unusable(path, "it is no job log"));
        };
        let done = resume.then(Mutex::default);
        let log = JobLog { path: path.to_owned(), file, done };
        log.read_on()?;
        Ok(log)
    }

    /// Writes a line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&self, entry: &Entry) -> Result<(), Failure> {
        let line = entry.line();
        let written = (&self.file).write_all(line.as_bytes());
        written.map_err(|error| unusable(&self.path, &error.to_string()))
    }

    /// Whether the log says that this item is done, and that is to be heeded. `anew` looks at what others
    /// have written meanwhile.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_done(&self, sequence: u64, item: &[u8], anew: bool) -> Result<bool, Failure> {
        let Some(known) = &self.done else { return Ok(false) };
        if anew {
            self.read_on()?;
        }
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.done.contains(&(sequence, readable(item))))
    }

    /// Reads what was written since it was read last.
    fn read_on(&self) -> Result<(), Failure> {
        let Some(known) = &self.done else { return Ok(()) };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |offset: u64| -> io::Result<Vec<u8>> {
            let len = self.file.metadata()?.len();
            let mut bytes = vec![0; len.saturating_sub(offset) as usize];
            self.file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        };
        let bytes = read(known.offset).map_err(|error| unusable(&self.path, &error.to_string()))?;
        // The last line may be there in part.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            known.done.extend(success(line));
        }
        known.offset += whole as u64;
        Ok(())
    }
}

/// The item of a line that tells of a success.
fn success(line: &[u8]) -> Option<(u64, String)> {
    let fields: Vec<&str> = std::str::from_utf8(line).ok()?.split('\t').collect();
    let ["0", "0", item] = fields.get(4..FIELDS)? else { return None };
    (fields.len() == FIELDS).then_some((fields[0].parse().ok()?, (*item).to_owned()))
}

impl Entry<'_> {
    fn line(&self) -> String {
        let start = self.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let exit = self.status.and_then(|status| status.code()).unwrap_or(-1);
        let signal = self.status.and_then(|status| status.signal()).unwrap_or(0);
        format!(
            "{}\t{}\t{:.3}\t{:.3}\t{exit}\t{signal}\t{}\n",
            self.sequence,
            self.attempt,
            start.as_secs_f64(),
            self.runtime.as_secs_f64(),
            readable(self.item)
        )
    }
}

/// An item on one line and without tabs; different items are different.
fn readable(item: &[u8]) -> String {
    if item.len() > LONG {
        let (beginning, hash) = (readable(&item[..BEGINNING]), xxh3_128(item));
        return format!("{beginning}... {} bytes, xxh3 {hash:032x}", item.len());
    }
    let Ok(text) = std::str::from_utf8(item) else { return item.escape_ascii().to_string() };
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        let _ = match character == '\\' || character.is_control() {
            true => write!(line, "{}", character.escape_default()),
            false => write!(line, "{character}"),
        };
    }
    line
}

fn unusable(path: &Path, why: &str) -> Failure {
    let what = format!("cannot use the job log: {why}");
    Failure::new(ExitCode::Failure, what, path.display().to_string(), "use another --job-log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_one_word_of_a_line() {
        assert_eq!(readable(b"a b"), "a b");
        assert_eq!(readable("\u{e9}\t\\\n".as_bytes()), r"é\t\\\n");
        assert_eq!(readable(b"\xff\t"), r"\xff\t");
        assert_ne!(readable(b"\xff"), readable(br"\xff"));
        let long = readable(&[b'x'; 2000]);
        assert!(long.contains("... 2000 bytes, xxh3 ") && long.len() < 200, "{long}");
        assert_ne!(long, readable(&[b'x'; 2001]));
    }

    #[test]
    fn only_whole_lines_of_success_count() {
        let line = |exit: i32| Entry {
            sequence: 7,
            attempt: 2,
            start: UNIX_EPOCH,
            runtime: Duration::from_millis(1500),
            status: Some(ExitStatus::from_raw(exit)),
            item: b"it",
        };
        assert_eq!(line(0).line(), "7\t2\t0.000\t1.500\t0\t0\tit\n");
        assert_eq!(line(1 << 8).line(), "7\t2\t0.000\t1.500\t1\t0\tit\n");
        assert_eq!(line(9).line(), "7\t2\t0.000\t1.500\t-1\t9\tit\n");
        assert_eq!(success(b"7\t2\t0.000\t1.500\t0\t0\tit"), Some((7, "it".to_owned())));
        for other in
            [&b"7\t2\t0\t1\t1\t0\tit"[..], b"7\t2\t0\t1\t0\t9\tit", b"7\t2\t0\t1\t0\t0", b""]
        {
            assert_eq!(success(other), None);
        }
        assert_eq!(success(b"7\t2\t0\t1\t0\t0\tit7\t3\t0\t1\t0\t0\tit"), None);
        assert_eq!(success(HEADER.trim_end().as_bytes()), None);
    }
}
