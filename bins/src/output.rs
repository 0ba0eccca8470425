//! Bytes out: items to standard output or a file, and which of them a broken pipe lost.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// Written when so many bytes have come together, or earlier when the queue is empty.
const FULL: usize = 64 * 1024;

/// How items are told apart in the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// Some bytes after each item; none with `--raw`.
    Ended(Vec<u8>),
    /// A little-endian `u32` length before each item.
    Frames,
    /// A line for people: the name, what it did, the item.
    Told(String),
}

/// Why an item was not written, and how many items are lost with it.
#[derive(Debug)]
pub struct WriteError {
    /// What the system said.
    pub error: io::Error,
    /// Items given to [`Output::item`] whose last byte was never written.
    pub lost: usize,
}

impl WriteError {
    /// The reader of our pipe is gone.
    pub fn is_broken_pipe(&self) -> bool {
        self.error.kind() == ErrorKind::BrokenPipe
    }
}

/// A buffered output that knows where each item in the buffer ends.
pub struct Output<W: Write = File> {
    sink: W,
    style: Style,
    buffer: Vec<u8>,
    ends: Vec<usize>,
}

impl<W: Write> Output<W> {
    /// Writes to `sink`.
    pub fn new(sink: W, style: Style) -> Output<W> {
        Output { sink, style, buffer: Vec::with_capacity(FULL), ends: Vec::new() }
    }

    /// Adds an item, and writes when a good deal has come together.
    pub fn item(&mut self, item: &[u8]) -> Result<(), WriteError> {
        match &self.style {
            Style::Ended(terminator) => {
                self.buffer.extend_from_slice(item);
                self.buffer.extend_from_slice(terminator);
            }
            Style::Frames => {
                let Ok(length) = u32::try_from(item.len()) else {
                    let what = "an item of 4 GiB or more is too long for a frame";
                    let error = io::Error::new(ErrorKind::InvalidInput, what);
                    return Err(WriteError { error, lost: 1 });
                };
                self.buffer.extend_from_slice(&length.to_le_bytes());
                self.buffer.extend_from_slice(item);
            }
            Style::Told(prefix) => {
                self.buffer.extend_from_slice(prefix.as_bytes());
                self.buffer.extend_from_slice(item);
                self.buffer.push(b'\n');
            }
        }
        self.ends.push(self.buffer.len());
        if self.buffer.len() >= FULL { self.flush() } else { Ok(()) }
    }

    /// Adds a line that is no item.
    pub fn line(&mut self, line: &str) {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
    }

    /// Writes everything that is waiting.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let mut written = 0;
        while written < self.buffer.len() {
            let error = match self.sink.write(&self.buffer[written..]) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    // Somebody who shares the descriptor made it non-blocking.
                    ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(1));
                        continue;
                    }
                    _ => error,
                },
            };
            let lost = self.ends.iter().filter(|end| **end > written).count();
            self.buffer.clear();
            self.ends.clear();
            return Err(WriteError { error, lost });
        }
        self.buffer.clear();
        self.ends.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, and so many in all.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(3).min(self.room);
            if count == 0 {
                return Err(ErrorKind::BrokenPipe.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(style: Style, items: &[&str]) -> Vec<u8> {
        let mut output = Output::new(Narrow { taken: Vec::new(), room: 1 << 20 }, style);
        for item in items {
            output.item(item.as_bytes()).unwrap();
        }
        output.flush().unwrap();
        output.sink.taken
    }

    #[test]
    fn styles() {
        assert_eq!(written(Style::Ended(b"\n".to_vec()), &["a", "", "b"]), b"a\n\nb\n");
        assert_eq!(written(Style::Ended(Vec::new()), &["a", "", "b"]), b"ab");
        assert_eq!(written(Style::Frames, &["a", ""]), b"\x01\0\0\0a\0\0\0\0");
        assert_eq!(written(Style::Told("bob got ".into()), &["a"]), b"bob got a\n");
    }

    #[test]
    fn a_broken_pipe_counts_the_items_it_lost() {
        for (room, lost) in [(0, 3), (1, 3), (2, 2), (5, 1)] {
            let sink = Narrow { taken: Vec::new(), room };
            let mut output = Output::new(sink, Style::Ended(b"\n".to_vec()));
            for item in ["a", "b", "c"] {
                output.item(item.as_bytes()).unwrap();
            }
            let error = output.flush().unwrap_err();
            assert!(error.is_broken_pipe());
            assert_eq!(error.lost, lost, "room for {room} bytes");
            assert!(output.flush().is_ok());
        }
    }
}
