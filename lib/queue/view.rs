//! A message in place: written where it will be read, and read where it was written, without a copy in
//! between.

use crate::os::clock::Deadline;

use super::deliver::Reserved;
use super::object::{Failed, Shared, state};
use super::record;
use super::ring::{Corrupt, Cursor, Front, Place, Push};
use super::store::Chunk;
use super::{Consumer, GetError, PutError};

/// Room for one message inside the queue. Nothing is in the queue before [`WriteGuard::commit`]; a guard
/// that is dropped instead gives the room back, and one that is forgotten keeps it until the process ends,
/// but blocks nobody.
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
    shared: &'a Shared,
    room: Room<'a>,
    len: usize,
    single: bool,
}

/// Where the message is written.
#[derive(Debug)]
enum Room<'a> {
    /// In the ring, behind the tail: only for the single producer.
    Ring {
        tail: Cursor,
        /// Where the record's header will be: at the tail, or behind the ring's end.
        position: u32,
    },
    /// In the store.
    Store(Reserved<'a>),
    /// In private memory: a short message of a queue with many producers, none of whom may keep the
    /// others out of the ring while it writes.
    Private(Vec<u8>),
}

impl<'a> WriteGuard<'a> {
    /// Room for a message of one of many producers.
    pub(super) fn reserve(
        shared: &'a Shared,
        len: usize,
        deadline: Deadline,
    ) -> Result<WriteGuard<'a>, PutError> {
        if shared.single_producer {
            return Err(PutError::SingleRole);
        }
        let room = if len <= shared.inline_max && shared.returned().is_none() {
            Room::Private(vec![0; len])
        } else {
            Room::Store(shared.reserve_chunk(len, deadline)?)
        };
        Ok(WriteGuard { shared, room, len, single: false })
    }

    /// Room for a message of the single producer, who waits with its next put until this is done.
    pub(super) fn reserve_alone(
        shared: &'a Shared,
        len: usize,
        deadline: Deadline,
    ) -> Result<WriteGuard<'a>, PutError> {
        if len > shared.inline_max {
            let room = Room::Store(shared.reserve_chunk(len, deadline)?);
            return Ok(WriteGuard { shared, room, len, single: true });
        }
        let mut place = (Cursor { pos: 0, count: 0 }, 0);
        let attempt = |place: &mut (Cursor, u32)| -> Result<Push, Failed> {
            if !shared.segment.is_usable() {
                return Err(Failed::Unusable);
            }
            shared.push_if_open(|| {
                let ring = shared.ring();
                let Some(tail) = ring.roll_tail()? else { return Ok(Push::Closed) };
                let units = record::units(len);
                let position = ring.place(tail.pos, units);
                let need = position.wrapping_add(units).wrapping_sub(tail.pos) + 1;
                *place = (tail, position);
                Ok(if ring.has_room(tail, need, 1)? { Push::Done } else { Push::Full })
            })
        };
        match attempt(&mut place) {
            Ok(Push::Done) => {}
            Ok(Push::Closed) => return Err(PutError::Closed),
            Ok(Push::Full) => shared.wait_for_room(deadline, || attempt(&mut place))?,
            Err(failed) => return Err(shared.put_error(failed)),
        }
        let (tail, position) = place;
        Ok(WriteGuard { shared, room: Room::Ring { tail, position }, len, single: true })
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
    /// Bytes that are never written hold whatever the memory held there before.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset <= self.len && bytes.len() <= self.len - offset;
        fits && match &mut self.room {
            Room::Ring { position, .. } => {
                self.shared.words().write_at(position.wrapping_add(1), offset, bytes)
            }
            Room::Store(reserved) => reserved.write_at(offset, bytes),
            Room::Private(room) => {
                room[offset..offset + bytes.len()].copy_from_slice(bytes);
                true
            }
        }
    }

    /// Puts the message into the queue; waits for a place in line for as long as it takes.
    ///
    /// Killed inside: the message is in the queue, or nothing of it.
    ///
    /// # Errors
    /// [`PutError::Closed`] if the queue was shut down meanwhile, [`PutError::Segment`] in a forked
    /// child. The room is given back.
    pub fn commit(self) -> Result<(), PutError> {
        let (shared, len) = (self.shared, self.len);
        match self.room {
            Room::Ring { tail, position } => commit_in_ring(shared, tail, position, len),
            Room::Store(reserved) if self.single => {
                shared.put_reserved::<true>(reserved, Deadline::Never)
            }
            Room::Store(reserved) => shared.put_reserved::<false>(reserved, Deadline::Never),
            Room::Private(bytes) => shared.put_one(&bytes, Deadline::Never),
        }
    }
}

/// Commits what the single producer wrote behind its tail.
fn commit_in_ring(
    shared: &Shared,
    tail: Cursor,
    position: u32,
    len: usize,
) -> Result<(), PutError> {
    shared.segment.check()?;
    if shared.state() != state::OPEN {
        return Err(PutError::Closed);
    }
    let ring = shared.ring();
    let mut first = record::message(position, len);
    if position != tail.pos {
        ring.words.at(position).store(first, std::sync::atomic::Ordering::Relaxed);
        first = record::pad(tail.pos, position.wrapping_sub(tail.pos));
    }
    let pos = position.wrapping_add(record::units(len));
    let end = Cursor { pos, count: tail.count.wrapping_add(1) };
    ring.words.at(end.pos).store(0, std::sync::atomic::Ordering::Relaxed);
    match ring.commit::<true>(tail, first, end) {
        Push::Done => {
            shared.not_empty().notify(1);
            Ok(shared.segment.check()?)
        }
        _ => Err(PutError::Closed),
    }
}

/// The oldest message, where it lies. It stays in the queue until [`View::release`].
///
/// The bytes are in memory that the producers' processes can write, so they are copied out, not lent.
#[derive(Debug)]
pub struct View<'a> {
    consumer: &'a mut Consumer<[u8]>,
    lies: Lies,
    len: usize,
}

/// Where the message lies.
#[derive(Clone, Copy, Debug)]
enum Lies {
    /// In the ring, behind its header at `position`.
    Ring { position: u32, next: u32 },
    /// In the store, named by the record.
    Store(Chunk, Place),
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
                    return Ok(View { consumer, lies: Lies::Ring { position, next }, len });
                }
                Ok(Front::Indirect { position }) => {
                    let ring = shared.ring();
                    let head = Cursor::from_word(ring.head_word());
                    let place = ring.indirect(position, head.count);
                    let found = match shared.store() {
                        Some(store) => shared.named(store, place),
                        None => Err(Corrupt("a record names a chunk, and there is no store")),
                    };
                    let (chunk, len) =
                        found.map_err(|corrupt| shared.get_error(corrupt.into(), deadline))?;
                    return Ok(View { consumer, lies: Lies::Store(chunk, place), len });
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

    /// Copies the whole message to the start of `bytes`. False if `bytes` is shorter than the message, or the
    /// segment cannot be used: in a forked child, or when it was truncated.
    pub fn copy_to(&self, bytes: &mut [u8]) -> bool {
        bytes.get_mut(..self.len).is_some_and(|bytes| self.copy_at(0, bytes))
    }

    /// Fills `bytes` from `offset` of the message. False if the message ends before, or the segment cannot be
    /// used.
    pub fn copy_at(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let fits = offset <= self.len && bytes.len() <= self.len - offset;
        let shared = &self.consumer.shared;
        let copied = fits
            && match self.lies {
                Lies::Ring { position, .. } => {
                    shared.words().read_at(position.wrapping_add(1), offset, bytes)
                }
                Lies::Store(chunk, _) => shared.store().is_some_and(|store| {
                    store.read(chunk, offset, bytes);
                    true
                }),
            };
        // Afterwards, so that a truncation that this met is noticed.
        copied && shared.segment.is_usable()
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
        let shared = &self.consumer.shared;
        let bytes = match (self.lies, shared.store()) {
            (Lies::Store(chunk, _), Some(store)) => store.pointer(chunk, self.len),
            (Lies::Ring { position, .. }, _) => shared.words().pointer(position.wrapping_add(1)),
            (Lies::Store(..), None) => return &[],
        };
        // SAFETY: the message was checked to lie inside the ring or its chunk, which stays mapped while the consumer
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
        match (self.lies, shared.store()) {
            (Lies::Store(_, place), Some(store)) => {
                let released = shared.release_named(store, place);
                released.map_err(|failed| shared.get_error(failed, Deadline::Never))
            }
            (Lies::Ring { next, .. }, _) => {
                shared.release_one(next);
                Ok(())
            }
            (Lies::Store(..), None) => Ok(()),
        }
    }
}
