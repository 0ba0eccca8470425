//! Arguments that say where a producer's items come from.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{IsTerminal, stdin};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::Args;

use crate::args::{Escaped, some_bytes};
use crate::exit_code::Failure;
use crate::source::{Input, Limits, Source};
use crate::splitter::Framing;

/// The items, or where they are and how to cut them.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct ItemArgs {
    /// The items themselves
    #[arg(value_name = "ITEM", help_heading = "Items")]
    pub items: Vec<OsString>,

    /// Put the numbers 0 to N-1 (0: put nothing)
    #[arg(short = 'n', long, value_name = "N", help_heading = "Items")]
    #[arg(conflicts_with_all = ["items", "file", "framing"])]
    pub count: Option<u64>,

    /// With --count: this text, with {} for the number, or followed by it
    #[arg(long, value_name = "TEXT", requires = "count", help_heading = "Items")]
    #[arg(allow_hyphen_values = true)]
    pub item: Option<String>,

    /// Put a file as one item, or cut it as the flags below say; may be repeated
    #[arg(short, long, value_name = "FILE", conflicts_with = "items", help_heading = "Items")]
    pub file: Vec<PathBuf>,

    /// Cut at newlines (standard input: the default)
    #[arg(long, group = "framing", conflicts_with = "items", help_heading = "Items")]
    pub lines: bool,

    /// Cut after these bytes; \n \t \r \0 \\ \xHH are understood
    #[arg(short, long, value_name = "BYTES", group = "framing", conflicts_with = "items")]
    #[arg(help_heading = "Items", allow_hyphen_values = true)]
    pub delimiter: Option<Escaped>,

    /// Cut after NUL bytes, as find -print0 writes them
    #[arg(short = '0', long, group = "framing", conflicts_with = "items", help_heading = "Items")]
    pub null: bool,

    /// Read frames: a little-endian 32-bit length, then so many bytes
    #[arg(long, group = "framing", conflicts_with = "items", help_heading = "Items")]
    pub frames: bool,

    /// Cut into items of this size; the last may be shorter
    #[arg(long, value_name = "BYTES", group = "framing", value_parser = some_bytes)]
    #[arg(conflicts_with = "items", help_heading = "Items")]
    pub chunk: Option<usize>,

    /// Leave the newline (or delimiter) at the end of its item
    #[arg(long, alias = "keep-delimiter", help_heading = "Items")]
    #[arg(conflicts_with_all = ["items", "count", "frames", "chunk"])]
    pub keep_newlines: bool,
}

impl ItemArgs {
    /// Whether nothing asks for items, and standard input is a keyboard: then there are none.
    pub fn would_be_typed(&self) -> bool {
        self.is_typed() && self.framing().is_none() && !self.keep_newlines
    }

    /// Whether the command line says where they are, other than on standard input.
    fn is_said(&self) -> bool {
        self.count.is_some() || !self.items.is_empty() || !self.file.is_empty()
    }

    /// Whether somebody types the items, and sees what becomes of them.
    pub fn is_typed(&self) -> bool {
        !self.is_said() && stdin().is_terminal()
    }

    /// The items, of which each has at most `limits.item` bytes.
    pub fn source(&self, limits: Limits) -> anyhow::Result<Source> {
        if let Some(count) = self.count {
            return Ok(Source::numbered(self.item.as_deref(), count));
        }
        if !self.items.is_empty() {
            let items: Vec<_> = self.items.iter().cloned().map(OsString::into_vec).collect();
            return Ok(Source::Given(items.into_iter()));
        }
        if let Some(size) = self.chunk.filter(|size| *size > limits.item) {
            let most = limits.item;
            let what = format!("--chunk {size} is too large: the queue takes items up to {most}");
            let way_out = "use a smaller --chunk, or a larger --capacity";
            return Err(Failure::usage(what, way_out).into());
        }
        if self.would_be_typed() {
            return Ok(Source::numbered(None, 0));
        }
        let framing = match self.framing() {
            Some(framing) => framing,
            None if self.file.is_empty() || self.keep_newlines => self.delimited(b"\n"),
            None => Framing::Whole,
        };
        let files: Vec<_> = self.file.iter().cloned().map(Input::File).collect();
        let inputs = if files.is_empty() { vec![Input::Stdin] } else { files };
        Ok(Source::stream(inputs, framing, limits)?)
    }

    /// How to cut, if the command line says it.
    fn framing(&self) -> Option<Framing> {
        match (&self.delimiter, self.chunk) {
            (Some(delimiter), _) => Some(self.delimited(&delimiter.0)),
            (_, Some(size)) => Some(Framing::Chunks(size)),
            _ if self.lines => Some(self.delimited(b"\n")),
            _ if self.null => Some(self.delimited(b"\0")),
            _ if self.frames => Some(Framing::Frames),
            _ => None,
        }
    }

    fn delimited(&self, delimiter: &[u8]) -> Framing {
        Framing::Delimited { delimiter: delimiter.to_vec(), keep: self.keep_newlines }
    }
}
