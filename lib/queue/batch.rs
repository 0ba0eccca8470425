//! Messages got together, in buffers that are used again.

use std::borrow::Borrow;

use crate::message::Message;

use super::{GetError, PutError};

/// At most so many messages are taken at a time, however many are asked for.
const MOST: usize = 4096;

/// At least so many bytes are set aside, as a small message may be followed by a larger one.
const SMALL: usize = 4 << 10;

/// Up to so many bytes are set aside for a batch whose messages look small.
const GENEROUS: usize = 256 << 10;

/// Messages that were got together; its buffers are used again for the next batch.
///
/// ```
/// # use steadfast::{Batch, Queue, QueueOptions};
/// # let name = format!("doc-batch-{}", std::process::id());
/// let queue: Queue = Queue::create(&name, &QueueOptions::new())?;
/// queue.put_many(&["one", "two"].map(str::as_bytes))?;
/// let mut batch = Batch::new();
/// queue.get_batch(&mut batch, 32)?;
/// assert_eq!(batch.iter().collect::<Vec<_>>(), [b"one", b"two"]);
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets the messages, keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The bytes of message number `at`, counted from 0.
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        self.iter().nth(at)
    }

    /// The messages' bytes, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        (0..self.ends.len()).map(|at| {
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.bytes[start..self.ends[at]]
        })
    }

    /// Sets aside room for up to `max` messages, the first of which has `first` bytes: as much as if
    /// all were of that length, within reason.
    pub(crate) fn make_room(&mut self, max: usize, first: usize) {
        let max = max.min(MOST);
        let likely = first.max(64).saturating_mul(max).clamp(SMALL, GENEROUS);
        self.bytes.reserve(likely.max(first));
        self.ends.reserve(max);
    }
}

/// A batch that up to `max` messages are to be appended to.
pub(crate) struct Few<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) max: usize,
}

impl Batch {
    pub(crate) fn up_to(&mut self, max: usize) -> Few<'_> {
        Few { batch: self, max }
    }
}

/// All messages' bytes in one buffer.
pub(super) fn encode_all<T: Message + ?Sized, B: Borrow<T>>(
    items: &[B],
) -> Result<Batch, PutError> {
    let mut batch = Batch::new();
    batch.ends.reserve(items.len());
    for item in items {
        item.borrow().append_to(&mut batch.bytes).map_err(PutError::Serialize)?;
        batch.ends.push(batch.bytes.len());
    }
    Ok(batch)
}

/// The bytes of all messages, asked for once: `Borrow` is the caller's code, which has no business under
/// a lock and may give something else each time.
pub(super) fn borrow_all<'i, T, B>(items: &'i [B]) -> Vec<&'i [u8]>
where
    T: Message + ?Sized + 'i,
    B: Borrow<T>,
{
    items.iter().map(|item| item.borrow().bytes()).collect()
}

/// The values of a batch.
pub(super) fn decode_all<T: Message + ?Sized>(batch: &Batch) -> Result<Vec<T::Owned>, GetError> {
    batch.iter().map(|bytes| T::from_bytes(bytes).map_err(GetError::Deserialize)).collect()
}
