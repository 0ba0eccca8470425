//! Where a producer's items come from: numbers, arguments, standard input, files.
//!
//! Streams are read by a thread of their own, which a signal cannot reach: so the program can be
//! stopped while it waits for input that never comes. The thread hands over what it has as soon as
//! it would have to wait, so that typed lines travel at once and files travel in large batches.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use crate::exit_code::{ExitCode, Failure};
use crate::records::Records;
use crate::signals::{SLICE, Stop};
use crate::splitter::{Framing, SplitError, Splitter};

/// How large an item and a batch of items may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one item.
    pub item: usize,
    /// Items of one batch.
    pub items: usize,
    /// Bytes after which a batch ends.
    pub bytes: usize,
}

/// A stream of bytes.
#[derive(Clone, Debug)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, or anything else with a path.
    File(PathBuf),
}

/// Items still to come.
pub enum Source {
    /// Numbered items: the text, the next number, the end.
    Numbered(String, u64, u64),
    /// The items of the command line.
    Given(std::vec::IntoIter<Vec<u8>>),
    /// What the reading thread finds.
    Stream(Receiver<Result<Records, Failure>>),
}

/// What [`Source::next`] found.
pub enum Next {
    /// Some items, one at least.
    Items(Records),
    /// There are no more.
    End,
    /// A signal came first.
    Interrupted,
}

impl Source {
    /// `count` numbered items: `{}` in the text is the number, else the number follows it.
    pub fn numbered(text: Option<&str>, count: u64) -> Source {
        let text = match text {
            None => "{}".to_string(),
            Some(text) if text.contains("{}") => text.to_string(),
            Some(text) => format!("{text} {{}}"),
        };
        Source::Numbered(text, 0, count)
    }

    /// Reads the inputs one after the other and cuts each into items.
    pub fn stream(inputs: Vec<Input>, framing: Framing, limits: Limits) -> io::Result<Source> {
        // Two batches wait at most: enough to keep both sides busy, little to lose on a signal.
        let (sender, receiver) = sync_channel(2);
        thread::Builder::new().name("input".into()).spawn(move || {
            // The last word is no records, or why there are no more: a thread that just vanishes
            // must not look like the end of the input.
            let end = read_all(inputs, framing, limits, &sender);
            let _ = sender.send(end.map(|()| Records::default()));
        })?;
        Ok(Source::Stream(receiver))
    }

    /// The next items, at most `max` of them where they are made here.
    pub fn next(&mut self, max: usize, stop: &Stop) -> Result<Next, Failure> {
        let records: Records = match self {
            _ if stop.requested() => return Ok(Next::Interrupted),
            Source::Numbered(text, next, end) => {
                let first = *next;
                *next = first.saturating_add(max as u64).min(*end);
                let mut records = Records::default();
                for number in first..*next {
                    records.push(text.replace("{}", &number.to_string()).as_bytes());
                }
                records
            }
            Source::Given(items) => {
                let mut records = Records::default();
                items.take(max).for_each(|item| records.push(&item));
                records
            }
            Source::Stream(receiver) => loop {
                match receiver.recv_timeout(SLICE) {
                    Ok(records) => break records?,
                    Err(RecvTimeoutError::Disconnected) => {
                        let what = "the thread that reads the input is gone";
                        return Err(Failure::new(ExitCode::Failure, what, "", ""));
                    }
                    Err(RecvTimeoutError::Timeout) if stop.requested() => {
                        return Ok(Next::Interrupted);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            },
        };
        Ok(if records.is_empty() { Next::End } else { Next::Items(records) })
    }
}

/// Sends the items of all inputs. A receiver that is gone ends it quietly.
fn read_all(
    inputs: Vec<Input>,
    framing: Framing,
    limits: Limits,
    sender: &SyncSender<Result<Records, Failure>>,
) -> Result<(), Failure> {
    let mut number = 0;
    for input in inputs {
        let (name, file) = match &input {
            Input::Stdin => ("standard input".into(), duplicate(&io::stdin())),
            Input::File(path) => (path.display().to_string(), File::open(path)),
        };
        let file =
            file.map_err(|error| explain(&SplitError::Read(error), &name, number, limits))?;
        let mut splitter = Splitter::new(file, framing.clone(), limits.item);
        loop {
            let mut records = Records::default();
            let more = splitter
                .next(limits.items, limits.bytes, &mut records)
                .map_err(|error| explain(&error, &name, number, limits))?;
            if !more {
                break;
            }
            number += records.len();
            if sender.send(Ok(records)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The same file behind a descriptor of our own, without the buffer of the standard library.
pub fn duplicate(stream: &impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// The failure to report when item `number` of `name` cannot be had.
fn explain(error: &SplitError, name: &str, number: usize, limits: Limits) -> Failure {
    match error {
        SplitError::Read(error) => {
            Failure::new(ExitCode::Failure, "cannot read", name, error.to_string())
        }
        SplitError::TooLong(length) => Failure::new(
            ExitCode::Failure,
            format!(
                "item {number} is too long: it has {length} bytes or more, the queue takes up to {}",
                limits.item
            ),
            name,
            "make the queue with a larger --capacity or --large-messages, or cut the input with --chunk",
        ),
        SplitError::InsideFrame { have, need } => Failure::new(
            ExitCode::Failure,
            format!("item {number} is cut off: the frame has {have} of {need} bytes"),
            name,
            "everything before it was put; check what wrote the input",
        ),
    }
}
