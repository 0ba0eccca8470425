//! `Value<T>`: a value that is read and replaced whole.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | up to 8 bytes: the value, its bytes in a u64, the rest zero. More: how often it was replaced, u64 |
//! | 8 | unused |
//! | 64 | the lock's cell, if it has more than 8 bytes (see [`Futex`]) |
//! | 128 | two places for such a value, each rounded up to 128 bytes: the one at the parity of the word counts |
//!
//! # A value of more than 8 bytes
//! ```text
//! writer, which owns the lock                     reader
//! 1 n = word                                      a n = word (acquire)
//! 2 release fence                                 b copy place n % 2
//! 3 write the new value to place (n + 1) % 2      c acquire fence
//! 4 word := n + 1 (release)                       d if the word is still n: that is the value
//! ```
//! A writer that is killed before 4 has changed nothing that counts; the next one writes over it. So a lock that
//! was taken over from the dead is as good as any.
//!
//! *What d lets through was not being written*: place n % 2 is written again only by a writer that found n + 1 in
//! the word, at 3. If b saw any byte of it, then by the fences 2 and c the load at d sees at least n + 1.
//! A reader that is overtaken again and again takes the lock.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::os::clock::Deadline;
use crate::primitive::{Fault, fault};
use crate::segment::{Area, Arranged, Arrangement, Segment, SegmentError};

use super::raw_lock::{Cell, NotLocked, RawLock};
use super::shared::{Room, Shared, in_a_segment_of_its_own, value_text};
use super::{Futex, Shareable, WaitError};

/// How often a reader tries without the lock.
const TRIES: u32 = 16;

#[derive(Debug)]
#[repr(C, align(128))]
struct Words {
    word: AtomicU64,
    unused: [AtomicU64; 7],
    cell: Cell,
}

const _: () = assert!(std::mem::offset_of!(Words, cell) == 64);

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Words {}

/// A value that processes read and replace whole: nobody ever sees half of one, whoever dies when. Up to 8 bytes
/// are one atomic word; more are kept twice, behind a robust lock that only writers take. (To change a part of
/// something large in place use [`Mutex`](crate::Mutex).)
///
/// # When a process dies
/// Killed inside an operation: the value is the old one or the new one. Nobody is told, as nothing is wrong.
///
/// ```
/// use steadfast::{SegmentOptions, Value};
///
/// # let name = format!("doc-value-{}", std::process::id());
/// let total = Value::create(&name, 40_u64, &SegmentOptions::new())?;
/// total.update(|total| total + 2)?;
/// assert_eq!(total.get()?, 42);
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Value<T: Shareable> {
    segment: Segment,
    words: Arranged<Words>,
    /// Where the words are.
    at: usize,
    kind: PhantomData<fn() -> T>,
}

/// Releases the lock, also when an update panics.
struct Writing<'a>(&'a Segment, &'a Cell);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        Futex::release(self.0, self.1, || {});
    }
}

impl<T: Shareable> Value<T> {
    const SMALL: bool = size_of::<T>() <= 8;
    /// The distance between the two places of a large value.
    const STRIDE: usize = size_of::<T>().next_multiple_of(128);
    /// All bytes.
    const SIZE: usize = size_of::<Words>() + if Self::SMALL { 0 } else { 2 * Self::STRIDE };

    /// The value.
    ///
    /// # Errors
    /// [`WaitError::Corrupt`] if a peer wrote bytes that are no `T`, [`WaitError::Segment`].
    pub fn get(&self) -> Result<T, WaitError> {
        self.segment.check()?;
        if Self::SMALL {
            return Self::decode(self.words.word.load(Ordering::Acquire));
        }
        let mut bytes = vec![0; size_of::<T>()];
        for _ in 0..TRIES {
            let word = self.words.word.load(Ordering::Acquire);
            self.segment.area().copy_out(self.place_of(word), &mut bytes);
            fence(Ordering::Acquire);
            if self.words.word.load(Ordering::Relaxed) == word {
                return Self::read(&bytes);
            }
        }
        let _writing = self.lock()?;
        self.current(&mut bytes)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// As [`Value::update`].
    pub fn set(&self, value: T) -> Result<(), WaitError> {
        if Self::SMALL {
            self.segment.check()?;
            self.words.word.store(Self::encode(&value), Ordering::Release);
            return Ok(());
        }
        let _writing = self.lock()?;
        self.replace(&value);
        Ok(())
    }

    /// Replaces the value by what `change` makes of it, and gives the old one. Nobody else changes it meanwhile; a
    /// small value's `change` may be called several times.
    ///
    /// # Errors
    /// [`WaitError::Corrupt`] if a peer wrote bytes that are no `T`; [`WaitError::Deadlock`] if `change` itself
    /// writes this value, of more than 8 bytes; [`WaitError::Segment`].
    pub fn update(&self, mut change: impl FnMut(&T) -> T) -> Result<T, WaitError> {
        self.try_update(|value| Some(change(value))).map(|(old, _)| old)
    }

    /// [`Value::update`], unless `change` gives `None`. Also tells whether it was replaced.
    ///
    /// # Errors
    /// As [`Value::update`].
    pub fn try_update(
        &self,
        mut change: impl FnMut(&T) -> Option<T>,
    ) -> Result<(T, bool), WaitError> {
        if !Self::SMALL {
            let _writing = self.lock()?;
            let old = self.current(&mut vec![0; size_of::<T>()])?;
            let new = change(&old);
            if let Some(new) = &new {
                self.replace(new);
            }
            return Ok((old, new.is_some()));
        }
        self.segment.check()?;
        let mut seen = self.words.word.load(Ordering::Acquire);
        loop {
            let old = Self::decode(seen)?;
            let Some(new) = change(&old) else { return Ok((old, false)) };
            let (new, word) = (Self::encode(&new), &self.words.word);
            match word.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok((old, true)),
                Err(now) => seen = now,
            }
        }
    }

    fn encode(value: &T) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size_of::<T>()].copy_from_slice(value.as_bytes());
        u64::from_ne_bytes(bytes)
    }

    fn decode(word: u64) -> Result<T, WaitError> {
        Self::read(&word.to_ne_bytes()[..size_of::<T>()])
    }

    fn read(bytes: &[u8]) -> Result<T, WaitError> {
        T::try_read_from_bytes(bytes).map_err(|_| WaitError::Corrupt)
    }

    fn place_of(&self, word: u64) -> usize {
        self.at + size_of::<Words>() + (word % 2) as usize * Self::STRIDE
    }

    fn lock(&self) -> Result<Writing<'_>, WaitError> {
        match Futex::acquire(&self.segment, &self.words.cell, Deadline::Never) {
            // Stolen or not: see above.
            Ok(_) => Ok(Writing(&self.segment, &self.words.cell)),
            Err(NotLocked::Deadlock) => Err(WaitError::Deadlock),
            Err(_) => Err(WaitError::Segment(self.segment.unusable())),
        }
    }

    /// The large value, with the lock held.
    fn current(&self, bytes: &mut [u8]) -> Result<T, WaitError> {
        let word = self.words.word.load(Ordering::Relaxed);
        self.segment.area().copy_out(self.place_of(word), bytes);
        Self::read(bytes)
    }

    /// Lines 1 to 4.
    fn replace(&self, value: &T) {
        let word = self.words.word.load(Ordering::Relaxed);
        fence(Ordering::Release);
        let next = word.wrapping_add(1);
        if fault(Fault::WordBeforeBytes) {
            self.words.word.store(next, Ordering::Release);
        }
        self.segment.area().copy_in(self.place_of(next), value.as_bytes());
        self.words.word.store(next, Ordering::Release);
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

impl<T: Shareable> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("segment", &self.segment.name()).finish_non_exhaustive()
    }
}

impl<T: Shareable> Shared for Value<T> {
    /// The value.
    type Init = T;

    fn describe(text: &mut String) {
        text.push_str("Value<");
        value_text::<T>(text);
        text.push('>');
    }

    fn measure(_init: &T, room: &mut Room) -> Result<(), &'static str> {
        room.take(Self::SIZE);
        Ok(())
    }

    fn init(init: &T, area: &Area, room: &mut Room) -> io::Result<()> {
        let at = room.take(Self::SIZE);
        if Self::SMALL {
            area.arranged::<Words>(at).word.store(Self::encode(init), Ordering::Relaxed);
        } else {
            area.copy_in(at + size_of::<Words>(), init.as_bytes());
        }
        Ok(())
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError> {
        let at = room.take_in(segment, Self::SIZE)?;
        let (words, segment) = (segment.area().arranged(at), segment.clone());
        Ok(Value { segment, words, at, kind: PhantomData })
    }
}

in_a_segment_of_its_own!(
    /// Makes a segment that holds `value`.
    ///
    Value[T: Shareable], value: T
);
