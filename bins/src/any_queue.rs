//! A queue of either kind: the programs find out by themselves which one has the name.
#![forbid(unsafe_code)]

use steadfast::{JoinableQueue, Kind, Queue, QueueOptions, SegmentError, Shutdown};

use crate::exit_code::{ExitCode, Failure};

/// A queue as a program has it.
#[derive(Clone, Debug)]
pub enum AnyQueue {
    /// An item that was taken is gone from it.
    Plain(Queue),
    /// An item stays in it until it is acknowledged.
    Joinable(JoinableQueue),
}

impl AnyQueue {
    /// Opens the queue of that name, whatever its kind.
    ///
    /// # Errors
    /// As [`Queue::open`]; another kind of segment is said to be no queue.
    pub fn open(name: &str) -> Result<AnyQueue, SegmentError> {
        AnyQueue::or_joinable(name, Queue::open(name))
    }

    /// Makes a queue, and fails if there is one.
    ///
    /// # Errors
    /// As [`Queue::create`].
    pub fn create(
        name: &str,
        joinable: bool,
        options: &QueueOptions,
    ) -> Result<AnyQueue, SegmentError> {
        if joinable {
            return JoinableQueue::create(name, options).map(AnyQueue::Joinable);
        }
        Queue::create(name, options).map(AnyQueue::Plain)
    }

    /// Opens the queue, or makes one of the kind asked for. A joinable queue will do where none was asked
    /// for; not the other way round.
    ///
    /// # Errors
    /// As [`Queue::open_or_create`].
    pub fn open_or_create(
        name: &str,
        joinable: bool,
        options: &QueueOptions,
    ) -> Result<AnyQueue, SegmentError> {
        if joinable {
            return JoinableQueue::open_or_create(name, options).map(AnyQueue::Joinable);
        }
        AnyQueue::or_joinable(name, Queue::open_or_create(name, options))
    }

    fn or_joinable(
        name: &str,
        found: Result<Queue, SegmentError>,
    ) -> Result<AnyQueue, SegmentError> {
        match found {
            Ok(queue) => Ok(AnyQueue::Plain(queue)),
            Err(SegmentError::WrongKind { found: Kind::JoinableQueue, .. }) => {
                JoinableQueue::open(name).map(AnyQueue::Joinable)
            }
            Err(error) => Err(error),
        }
    }

    /// The joinable queue that `flag` needs, or the error of who has another one.
    ///
    /// # Errors
    /// It is a plain queue.
    pub fn joinable(&self, name: &str, flag: &str) -> Result<&JoinableQueue, Failure> {
        match self {
            AnyQueue::Joinable(queue) => Ok(queue),
            AnyQueue::Plain(_) => Err(Failure::new(
                ExitCode::Corrupt,
                format!(
                    "of another kind: it is a {}, and {flag} needs a joinable one",
                    Kind::Queue
                ),
                name,
                "remove it with segments rm NAME, and make it with --create --joinable",
            )),
        }
    }

    /// The limit of items, 0 = none.
    pub fn maxsize(&self) -> usize {
        match self {
            AnyQueue::Plain(queue) => queue.maxsize(),
            AnyQueue::Joinable(queue) => queue.maxsize(),
        }
    }

    /// What all items together may take, in bytes.
    pub fn capacity(&self) -> usize {
        match self {
            AnyQueue::Plain(queue) => queue.capacity(),
            AnyQueue::Joinable(queue) => queue.capacity(),
        }
    }

    /// The largest item, in bytes.
    pub fn max_len(&self) -> usize {
        match self {
            AnyQueue::Plain(queue) => queue.max_len(),
            AnyQueue::Joinable(queue) => queue.max_len(),
        }
    }

    /// Ends the queue for everybody; tells how many items that threw away.
    ///
    /// # Errors
    /// As [`Queue::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> Result<usize, SegmentError> {
        match self {
            AnyQueue::Plain(queue) => queue.shutdown(how),
            AnyQueue::Joinable(queue) => queue.shutdown(how),
        }
    }
}
