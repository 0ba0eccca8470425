//! What can go wrong with a put, a get, or a queue.

use crate::segment::SegmentError;

/// Why a message was not put. The queue is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// There is no room, and `try_put` does not wait.
    #[error("the queue is full")]
    Full,
    /// There was no room until the time-out.
    #[error("timed out: the queue stayed full")]
    TimedOut,
    /// The queue was shut down; nothing can be put into it any more.
    #[error("the queue was shut down")]
    Closed,
    /// This handle was closed with `close`; other handles still work.
    #[error("this handle of the queue is closed")]
    HandleClosed,
    /// The message (or the batch) can never fit.
    #[error("{len} bytes can never fit: the largest message of this queue has {max} bytes")]
    TooLarge {
        /// Bytes of the message, or of all messages of the batch.
        len: usize,
        /// Bytes of the largest message that fits.
        max: usize,
    },
    /// The queue was made for a single producer: claim that role with `producer()`.
    #[error("this queue has a single producer; claim the role with producer()")]
    SingleRole,
    /// The value could not be turned into bytes.
    #[error("the value cannot be serialised: {0}")]
    Serialize(String),
    /// The segment holds something that no participant writes.
    #[error("the queue in segment {name:?} is corrupt: {what}; remove it with `segments rm`")]
    Corrupt {
        /// The segment's name.
        name: String,
        /// What was found.
        what: &'static str,
    },
    /// The segment cannot be used: this process was forked, or the segment was truncated.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Why no message was got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// There is no message, and `try_get` does not wait.
    #[error("the queue is empty")]
    Empty,
    /// There was no message until the time-out.
    #[error("timed out: the queue stayed empty")]
    TimedOut,
    /// The queue was shut down, and there is no message left (or they were discarded).
    #[error("the queue was shut down")]
    Closed,
    /// This handle was closed with `close`; other handles still work.
    #[error("this handle of the queue is closed")]
    HandleClosed,
    /// The queue was made for a single consumer: claim that role with `consumer()`.
    #[error("this queue has a single consumer; claim the role with consumer()")]
    SingleRole,
    /// The message was taken, but its bytes are not a value of the queue's type.
    #[error("the message is not a value of this type: {0}")]
    Deserialize(String),
    /// The segment holds something that no participant writes.
    #[error("the queue in segment {name:?} is corrupt: {what}; remove it with `segments rm`")]
    Corrupt {
        /// The segment's name.
        name: String,
        /// What was found.
        what: &'static str,
    },
    /// The segment cannot be used: this process was forked, or the segment was truncated.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// `join_thread` was called on a handle that is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("join_thread needs a handle that was closed first")]
pub struct NotClosed;

/// Why a lease could not be ended. The message is then still leased, and comes back when this process ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// `task_done` was called more often than `get_value` on this thread.
    #[error("task_done() was called too many times")]
    TooMany,
    /// The segment holds something that no participant writes.
    #[error("the queue in segment {name:?} is corrupt: {what}; remove it with `segments rm`")]
    Corrupt {
        /// The segment's name.
        name: String,
        /// What was found.
        what: &'static str,
    },
    /// The segment cannot be used: this process was forked, or the segment was truncated.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Why a join ended before everything was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// There were unfinished messages until the time-out.
    #[error("timed out: messages are still unfinished")]
    TimedOut,
    /// The segment holds something that no participant writes.
    #[error("the queue in segment {name:?} is corrupt: {what}; remove it with `segments rm`")]
    Corrupt {
        /// The segment's name.
        name: String,
        /// What was found.
        what: &'static str,
    },
    /// The segment cannot be used: this process was forked, or the segment was truncated.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}
