//! How a new queue is to be.

use crate::segment::SegmentOptions;

/// The smallest ring, in bytes.
pub(crate) const MIN_CAPACITY: u64 = 4 << 10;
/// The largest ring, in bytes: positions are 32 bits of 8-byte units, and must be able to tell a full
/// ring from an empty one.
pub(crate) const MAX_CAPACITY: u64 = 8 << 30;
/// The ring of a queue that asks for nothing else, in bytes: larger than a core's second-level cache,
/// which is what makes a ring fast.
pub(crate) const DEFAULT_CAPACITY: u64 = 4 << 20;

/// How many dead letters are kept by a queue that asks for nothing else.
const DEAD_LETTERS: u32 = 1000;

/// How a new queue is to be; ignored when the queue exists already.
///
/// ```
/// use steadfast::QueueOptions;
///
/// let options = QueueOptions::new().maxsize(1000).capacity(64 << 20).single_consumer();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct QueueOptions {
    pub(crate) maxsize: usize,
    pub(crate) capacity: u64,
    pub(crate) single_producer: bool,
    pub(crate) single_consumer: bool,
    pub(crate) large: u64,
    pub(crate) max_deliveries: u32,
    pub(crate) max_dead_letters: u32,
    pub(crate) segment: SegmentOptions,
}

impl Default for QueueOptions {
    fn default() -> Self {
        QueueOptions::new()
    }
}

impl QueueOptions {
    /// No limit of items, 4 MiB of bytes, any number of producers and consumers, mode 0600.
    pub fn new() -> QueueOptions {
        QueueOptions {
            maxsize: 0,
            capacity: DEFAULT_CAPACITY,
            single_producer: false,
            single_consumer: false,
            large: 0,
            max_deliveries: 0,
            max_dead_letters: DEAD_LETTERS,
            segment: SegmentOptions::new(),
        }
    }

    /// At most so many messages at a time, up to 2147483647; 0 = only the bytes limit.
    pub fn maxsize(mut self, messages: usize) -> QueueOptions {
        self.maxsize = messages;
        self
    }

    /// Room for so many bytes of messages, each with 8 bytes of header and rounded up to 8. Rounded up
    /// to a power of two, from 4 KiB; above 8 GiB is an error. The memory is reserved when the queue is made. The
    /// largest message has half of it.
    pub fn capacity(mut self, bytes: u64) -> QueueOptions {
        self.capacity = bytes;
        self
    }

    /// Sets so many bytes aside for large messages, beside the ring: those above 16 KiB, or above an
    /// eighth of the ring if that is less. The largest message can then have this many bytes, less 48; it
    /// needs that much in one piece. None are set aside unless this is asked for, and then the largest
    /// message has half the ring. A [`crate::JoinableQueue`] keeps every message there: for it this is
    /// the same as [`QueueOptions::capacity`], and the larger of the two holds.
    pub fn large_messages(mut self, bytes: u64) -> QueueOptions {
        self.large = bytes;
        self
    }

    /// For a [`crate::JoinableQueue`]: a message is handed out at most so many times. One that comes back
    /// from the last of them becomes a dead letter. 0 = no limit, which is the default.
    pub fn max_deliveries(mut self, attempts: u16) -> QueueOptions {
        self.max_deliveries = attempts.into();
        self
    }

    /// For a [`crate::JoinableQueue`]: so many dead letters are kept, 1000 unless this says otherwise;
    /// beyond that the oldest goes. They keep their room in the queue meanwhile: puts wait if they fill it,
    /// until somebody calls `purge` or `redrive`.
    pub fn max_dead_letters(mut self, messages: u32) -> QueueOptions {
        self.max_dead_letters = messages;
        self
    }

    /// Only one process at a time puts, through [`crate::Producer`]; its puts take no lock.
    pub fn single_producer(mut self) -> QueueOptions {
        self.single_producer = true;
        self
    }

    /// Only one process at a time gets, through [`crate::Consumer`]; its gets take no lock.
    pub fn single_consumer(mut self) -> QueueOptions {
        self.single_consumer = true;
        self
    }

    /// The segment's own options: who may open it, how many participants, whether it is ephemeral.
    pub fn segment(mut self, options: SegmentOptions) -> QueueOptions {
        self.segment = options;
        self
    }
}
