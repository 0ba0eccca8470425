//! Cuts a stream of bytes into items, and never waits while it has a whole one.
//!
//! | framing | an item is | an input that ends early |
//! |---|---|---|
//! | delimited | the bytes before a delimiter, or with it where it is kept | the rest is an item unless it is empty |
//! | frames | a little-endian `u32` length, then so many bytes | an error: the rest is no item |
//! | chunks | so many bytes | the rest is an item unless it is empty |
//! | whole | everything, also when that is nothing | cannot be told |
//!
//! So two delimiters in a row are an empty item, the empty input has no lines, and whether the last
//! line had its newline is lost, unless delimiters are kept: then the items put back to back are
//! the input, byte for byte.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use memchr::memmem;

use crate::records::Records;

/// How much is read at once.
const READ: usize = 64 * 1024;

/// Where items end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After each delimiter (one byte or more).
    Delimited {
        /// The bytes between items.
        delimiter: Vec<u8>,
        /// Whether an item keeps its delimiter.
        keep: bool,
    },
    /// Each item follows its length.
    Frames,
    /// Items of one size, the last may be shorter.
    Chunks(usize),
    /// The whole input is one item.
    Whole,
}

impl Framing {
    /// Lines, without their newlines.
    pub fn lines() -> Framing {
        Framing::Delimited { delimiter: b"\n".to_vec(), keep: false }
    }
}

/// Why there is no next item.
#[derive(Debug)]
pub enum SplitError {
    /// The input cannot be read.
    Read(io::Error),
    /// An item has more bytes than allowed, this many at least.
    TooLong(usize),
    /// The input ended after so many bytes of a frame (with its length) that needs more.
    InsideFrame {
        /// What is there.
        have: usize,
        /// What the frame needs.
        need: usize,
    },
}

/// What [`Splitter::cut`] found: an item, and where the next one begins.
struct Cut {
    item: Range<usize>,
    next: usize,
}

/// An input and what has been read of it.
pub struct Splitter<R> {
    input: R,
    framing: Framing,
    /// The longest item.
    limit: usize,
    buffer: Vec<u8>,
    /// Read and not yet cut: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// No delimiter begins before here.
    searched: usize,
    /// The input has ended.
    ended: bool,
    /// The last item has been cut.
    finished: bool,
}

impl<R: Read> Splitter<R> {
    /// Cuts `input` into items of at most `limit` bytes.
    pub fn new(input: R, framing: Framing, limit: usize) -> Splitter<R> {
        let (start, end, searched) = (0, 0, 0);
        let (ended, finished) = (false, false);
        Splitter {
            input,
            framing,
            limit,
            buffer: Vec::new(),
            start,
            end,
            searched,
            ended,
            finished,
        }
    }

    /// Waits for the next item, then adds to `out` every whole one that is here already, until
    /// `out` has `max_items` items or `max_bytes` bytes. False at the end of the input.
    ///
    /// An error is given when nothing comes before it, and again at every later call.
    pub fn next(
        &mut self,
        max_items: usize,
        max_bytes: usize,
        out: &mut Records,
    ) -> Result<bool, SplitError> {
        loop {
            match self.cut() {
                Ok(Some(cut)) => {
                    out.push(&self.buffer[cut.item]);
                    self.start = cut.next;
                    self.searched = self.start;
                    if out.len() >= max_items || out.bytes() >= max_bytes {
                        return Ok(true);
                    }
                }
                _ if !out.is_empty() => return Ok(true),
                Err(error) => return Err(error),
                Ok(None) if self.ended => return Ok(false),
                Ok(None) => self.fill().map_err(SplitError::Read)?,
            }
        }
    }

    /// The next whole item among the bytes that are here.
    fn cut(&mut self) -> Result<Option<Cut>, SplitError> {
        let here = self.end - self.start;
        match &self.framing {
            Framing::Delimited { delimiter, keep } => {
                let tail = &self.buffer[self.searched..self.end];
                if let Some(at) = memmem::find(tail, delimiter) {
                    let stop = self.searched + at;
                    let next = stop + delimiter.len();
                    let item = self.start..if *keep { next } else { stop };
                    return self.whole(Cut { item, next }).map(Some);
                }
                let unsure = (delimiter.len() - 1).min(here);
                self.searched = self.searched.max(self.end - unsure);
                if here > self.limit + delimiter.len() {
                    return Err(SplitError::TooLong(here - delimiter.len()));
                }
                self.rest()
            }
            Framing::Frames => {
                let have = &self.buffer[self.start..self.end];
                let need = match have.first_chunk::<4>() {
                    Some(length) => 4 + u32::from_le_bytes(*length) as usize,
                    None => 4,
                };
                if need - 4 > self.limit {
                    return Err(SplitError::TooLong(need - 4));
                }
                if here >= 4 && here >= need {
                    let next = self.start + need;
                    return Ok(Some(Cut { item: self.start + 4..next, next }));
                }
                if self.ended && here > 0 {
                    return Err(SplitError::InsideFrame { have: here, need });
                }
                Ok(None)
            }
            Framing::Chunks(size) if here >= *size => {
                let next = self.start + size;
                self.whole(Cut { item: self.start..next, next }).map(Some)
            }
            Framing::Chunks(_) => self.rest(),
            Framing::Whole => {
                if here > self.limit {
                    return Err(SplitError::TooLong(here));
                }
                if !self.ended || self.finished {
                    return Ok(None);
                }
                self.finished = true;
                Ok(Some(Cut { item: self.start..self.end, next: self.end }))
            }
        }
    }

    /// At the end of the input, what is left of it.
    fn rest(&self) -> Result<Option<Cut>, SplitError> {
        if !self.ended || self.start == self.end {
            return Ok(None);
        }
        self.whole(Cut { item: self.start..self.end, next: self.end }).map(Some)
    }

    /// The cut, unless its item is too long.
    fn whole(&self, cut: Cut) -> Result<Cut, SplitError> {
        if cut.item.len() > self.limit { Err(SplitError::TooLong(cut.item.len())) } else { Ok(cut) }
    }

    /// Reads once; a signal does not count.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end, self.searched) = (0, 0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < READ / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < READ / 2 {
            // Doubled, so that a long item is copied a bounded number of times.
            self.buffer.resize((self.buffer.len() * 2).max(READ), 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    // Somebody who shares the descriptor made it non-blocking.
                    ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                    _ => return Err(error),
                },
            }
            return Ok(());
        }
    }
}

#[cfg(test)]
#[path = "splitter_tests.rs"]
mod tests;
