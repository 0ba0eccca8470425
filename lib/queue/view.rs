//! A message in place: written by the single producer, read by the single consumer, without a copy in
//! between.

use crate::os::clock::Deadline;

use super::object::{Failed, state};
use super::record;
use super::ring::{Cursor, Front, Push};
use super::{Consumer, GetError, Producer, PutError};

/// Room for one message inside the queue. Nothing is in the queue before [`WriteGuard::commit`].
///
/// ```
/// # use steadfast::{Queue, QueueOptions};
/// # let name = format!("doc-reserve-{}", std::process::id());
/// let queue: Queue = Queue::create(&name, &QueueOptions::new().single_producer())?;
/// let mut producer = queue.producer()?;
/// let mut room = producer.reserve(5)?;
/// room.write_at(0, b"hello");
/// room.commit()?;
/// assert_eq!(queue.get()?, b"hello");
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is in the queue before commit()"]
pub struct WriteGuard<'a> {
    producer: &'a mut Producer<[u8]>,
    tail: Cursor,
    /// Where the record's header will be: at the tail, or behind the ring's end.
    position: u32,
    len: usize,
}

impl<'a> WriteGuard<'a> {
    pub(super) fn reserve(
        producer: &'a mut Producer<[u8]>,
        len: usize,
        deadline: Deadline,
    ) -> Result<WriteGuard<'a>, PutError> {
        let max = producer.shared.max_len;
        if len > max {
            return Err(PutError::TooLarge { len, max });
        }
        let mut place = (Cursor { pos: 0, count: 0 }, 0);
        let attempt = |place: &mut (Cursor, u32)| -> Result<Push, Failed> {
            let shared = &producer.shared;
            if !shared.segment.is_usable() {
                return Err(Failed::Unusable);
            }
            match shared.state() {
                state::OPEN => {}
                state::POISONED => {
                    return Err(Failed::Corrupt("another participant found it corrupt"));
                }
                _ => return Ok(Push::Closed),
            }
            let ring = shared.ring();
            let found = ring.roll_tail().and_then(|tail| {
                let Some(tail) = tail else { return Ok(Push::Closed) };
                let units = record::units(len);
                let position = ring.place(tail.pos, units);
                let need = position.wrapping_add(units).wrapping_sub(tail.pos) + 1;
                *place = (tail, position);
                Ok(if ring.has_room(tail, need, 1)? { Push::Done } else { Push::Full })
            });
            Ok(found?)
        };
        match attempt(&mut place) {
            Ok(Push::Done) => {}
            Ok(Push::Closed) => return Err(PutError::Closed),
            Ok(Push::Full) => producer.shared.wait_for_room(deadline, || attempt(&mut place))?,
            Err(failed) => return Err(producer.shared.put_error(failed)),
        }
        let (tail, position) = place;
        Ok(WriteGuard { producer, tail, position, len })
    }

    /// How many bytes the message has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes `bytes` at `offset` of the message. False, and nothing is written, if they do not fit.
    /// Bytes that are never written hold whatever the ring held there before.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset <= self.len && bytes.len() <= self.len - offset;
        fits && self.producer.shared.words().write_at(self.position.wrapping_add(1), offset, bytes)
    }

    /// Puts the message into the queue: one store.
    ///
    /// # Errors
    /// [`PutError::Closed`] if the queue was shut down meanwhile, [`PutError::Segment`] in a forked
    /// child.
    pub fn commit(self) -> Result<(), PutError> {
        let shared = &self.producer.shared;
        shared.segment.check()?;
        if shared.state() != state::OPEN {
            return Err(PutError::Closed);
        }
        let ring = shared.ring();
        let units = record::units(self.len);
        let mut first = record::message(self.position, self.len);
        if self.position != self.tail.pos {
            ring.words.at(self.position).store(first, std::sync::atomic::Ordering::Relaxed);
            first = record::pad(self.tail.pos, self.position.wrapping_sub(self.tail.pos));
        }
        let end = Cursor {
            pos: self.position.wrapping_add(units),
            count: self.tail.count.wrapping_add(1),
        };
        ring.words.at(end.pos).store(0, std::sync::atomic::Ordering::Relaxed);
        match ring.commit::<true>(self.tail, first, end) {
            Push::Done => {
                shared.not_empty().notify(1);
                Ok(shared.segment.check()?)
            }
            _ => Err(PutError::Closed),
        }
    }
}

/// The oldest message, where it lies. It stays in the queue until [`View::release`].
///
/// The bytes are in memory that the producers' processes can write, so they are copied out, not lent.
#[derive(Debug)]
pub struct View<'a> {
    consumer: &'a mut Consumer<[u8]>,
    position: u32,
    len: usize,
    next: u32,
}

impl<'a> View<'a> {
    pub(super) fn peek(
        consumer: &'a mut Consumer<[u8]>,
        deadline: Deadline,
    ) -> Result<View<'a>, GetError> {
        let mut marked = false;
        loop {
            let shared = &consumer.shared;
            shared.segment.check()?;
            match shared.state() {
                state::OPEN | state::DRAIN => {}
                state::NOW => return Err(GetError::Closed),
                _ => {
                    let failed = Failed::Corrupt("another participant found it corrupt");
                    return Err(shared.get_error(failed, deadline));
                }
            }
            match shared.ring().front() {
                Ok(Front::Message { position, len, next }) => {
                    return Ok(View { consumer, position, len, next });
                }
                Ok(Front::Closed) => return Err(GetError::Closed),
                Ok(Front::Empty) if shared.state() == state::DRAIN => {
                    shared.finish_close(deadline, &mut marked)?
                }
                Ok(Front::Empty) => shared.wait_for_message(deadline)?,
                Err(corrupt) => return Err(shared.get_error(corrupt.into(), deadline)),
            }
        }
    }

    /// How many bytes the message has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the whole message to the start of `bytes`. False if `bytes` is shorter than the message.
    pub fn copy_to(&self, bytes: &mut [u8]) -> bool {
        bytes.get_mut(..self.len).is_some_and(|bytes| self.copy_at(0, bytes))
    }

    /// Fills `bytes` from `offset` of the message. False if the message ends before.
    pub fn copy_at(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let fits = offset <= self.len && bytes.len() <= self.len - offset;
        fits && self.consumer.shared.words().read_at(self.position.wrapping_add(1), offset, bytes)
    }

    /// The eight bytes at `offset` as a number in this machine's byte order.
    pub fn read_u64(&self, offset: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        self.copy_at(offset, &mut bytes).then(|| u64::from_ne_bytes(bytes))
    }

    /// The message's bytes where they lie.
    ///
    /// # Safety
    /// No other process may write them while the slice lives. No participant that keeps to this
    /// library does, so this is for segments whose every user is trusted to.
    pub unsafe fn as_slice(&self) -> &[u8] {
        let bytes = self.consumer.shared.words().pointer(self.position.wrapping_add(1));
        // SAFETY: the record was checked to lie inside the ring, which stays mapped while the consumer
        // lives; that nobody writes it is this function's contract.
        unsafe { std::slice::from_raw_parts(bytes, self.len) }
    }

    /// Takes the message out of the queue: one store.
    ///
    /// # Errors
    /// [`GetError::Segment`] in a forked child.
    pub fn release(self) -> Result<(), GetError> {
        let shared = &self.consumer.shared;
        shared.segment.check()?;
        shared.release_one(self.next);
        Ok(())
    }
}
