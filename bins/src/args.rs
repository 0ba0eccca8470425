//! Arguments that more than one program takes, and the parsers of their values.
#![forbid(unsafe_code)]

use std::str::FromStr;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;
use steadfast::SegmentError;

use crate::any_queue::AnyQueue;
use crate::exit_code::Failure;
use crate::signals::Stop;

/// Which queue.
#[derive(Args, Clone, Debug)]
pub struct QueueName {
    /// The queue's name: 1 to 200 of A-Z a-z 0-9 . _ -
    #[arg(short, long, value_name = "NAME", env = "STEADFAST_QUEUE", help_heading = "Queue")]
    pub queue: String,

    /// Wait so long for the queue to appear, e.g. 10s
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Queue")]
    pub wait_create: Option<Duration>,
}

impl QueueName {
    /// Opens the queue, waiting for it where that was asked for. `None`: a signal came first.
    pub fn open(&self, stop: &Stop) -> Result<Option<AnyQueue>, Failure> {
        let give_up = self.wait_create.and_then(|time| Instant::now().checked_add(time));
        loop {
            match AnyQueue::open(&self.queue) {
                Ok(queue) => return Ok(Some(queue)),
                Err(SegmentError::NotFound { .. })
                    if self.wait_create.is_some()
                        && give_up.is_none_or(|moment| Instant::now() < moment) =>
                {
                    if stop.requested() {
                        return Ok(None);
                    }
                    stop.sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(Failure::segment(&self.queue, &error)),
            }
        }
    }
}

/// How long to wait for the queue.
#[derive(Args, Clone, Copy, Debug)]
pub struct WaitArgs {
    /// Give up (code 3) when one wait for the queue takes longer [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Waiting")]
    pub timeout: Option<Duration>,

    /// Never wait for the queue: give up (code 3) when it is full, or empty
    #[arg(long, conflicts_with = "timeout", help_heading = "Waiting")]
    pub nowait: bool,
}

impl WaitArgs {
    /// How long one wait may take; `None` is for ever.
    pub fn patience(&self) -> Option<Duration> {
        if self.nowait { Some(Duration::ZERO) } else { self.timeout }
    }
}

/// The marker that says "no more items": one per consumer, as `None` in the Python idiom.
///
/// A sentinel is a message like any other, told by its content. Its first byte is a newline and
/// its second a NUL, so neither lines nor NUL-terminated items can be equal to it, with or without
/// their terminators; for frames, chunks and files the producer that sends sentinels checks.
pub const SENTINEL: &[u8] = b"\n\0steadfast:end\n";

/// Bytes written with escapes: `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escaped(pub Vec<u8>);

impl FromStr for Escaped {
    type Err = String;

    fn from_str(text: &str) -> Result<Escaped, String> {
        if text.is_empty() {
            return Err("it must not be empty".into());
        }
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            bytes.push(match rest.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'0') => 0,
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    match (digit(), digit()) {
                        (Some(high), Some(low)) => (high * 16 + low) as u8,
                        _ => return Err(r"\x needs two hexadecimal digits".into()),
                    }
                }
                _ => return Err(r"unknown escape: use \n \t \r \0 \\ \xHH".into()),
            });
        }
        Ok(Escaped(bytes))
    }
}

/// A time as people write it: `1s`, `0.5s`, `250ms`, `1min 30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// A size as people write it: `4096`, `64KiB` (1024), `64kB` (1000).
pub fn bytes(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse()?;
    usize::try_from(size.as_u64()).map_err(|error| error.to_string())
}

/// A size above zero.
pub fn some_bytes(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        0 => Err("it must be more than zero".into()),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        let read = |text: &str| text.parse::<Escaped>().map(|escaped| escaped.0);
        assert_eq!(read(","), Ok(b",".to_vec()));
        assert_eq!(read(r"\r\n"), Ok(b"\r\n".to_vec()));
        assert_eq!(read(r"\x00\xfF\\"), Ok(vec![0, 255, b'\\']));
        assert_eq!(read("é"), Ok("é".as_bytes().to_vec()));
        for wrong in ["", r"\", r"\q", r"\x1", r"\xzz"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_and_sizes_are_read() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("0.1s"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("1min 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("1").is_err());
        assert_eq!(bytes("64KiB"), Ok(65536));
        assert_eq!(bytes("1kB"), Ok(1000));
        assert!(some_bytes("0").is_err());
    }
}
