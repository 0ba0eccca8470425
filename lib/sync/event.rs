//! `Event`: a flag that can be waited for.
//!
//! | offset | what |
//! |---|---|
//! | 0 | the flag, u32: bit 0 = set; bits 1..32 = how often it was set |
//! | 4 | the event count of those who wait |
//!
//! Setting and clearing are one instruction each. One who waits remembers how often the flag had been set, so it
//! sees that it was set even if it has been cleared since. Killed between setting and calling: those who sleep
//! find it within a backstop.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::segment::{Area, Arranged, Arrangement, Segment, SegmentError};

use super::event_count::EventCount;
use super::shared::{Room, Shared, in_a_segment_of_its_own};
use super::{Caller, WaitError, waiting};

const SET: u32 = 1;
const ONCE: u32 = 2;

#[derive(Debug)]
#[repr(C, align(128))]
struct Words {
    flag: AtomicU32,
    bell: EventCount,
}

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Words {}

/// A flag that processes set, clear and wait for.
///
/// # When a process dies
/// The flag stays as it is. Whoever waits for it goes on when somebody sets it; late by a backstop of 100 ms if
/// that process was killed inside [`Event::set`].
///
/// ```
/// use steadfast::{Event, SegmentOptions};
///
/// # let name = format!("doc-event-{}", std::process::id());
/// let ready = Event::create(&name, false, &SegmentOptions::new())?;
/// ready.set()?;  // in one process
/// ready.wait()?; // in any number of others
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Event {
    segment: Segment,
    words: Arranged<Words>,
}

impl Event {
    /// Sets the flag and calls everybody who waits. Nothing happens if it is set.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn set(&self) -> Result<(), WaitError> {
        self.segment.check()?;
        let flag = &self.words.flag;
        let set = |seen: u32| (seen & SET == 0).then(|| seen.wrapping_add(ONCE) | SET);
        // What was written before is seen by whoever sees the flag; a set flag is set all the same. A locked
        // instruction either way: the event count wants one before.
        if flag.fetch_update(Ordering::SeqCst, Ordering::SeqCst, set).is_err() {
            flag.fetch_or(SET, Ordering::SeqCst);
        }
        self.words.bell.notify_each(u32::MAX);
        Ok(())
    }

    /// Clears the flag.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn clear(&self) -> Result<(), WaitError> {
        self.segment.check()?;
        self.words.flag.fetch_and(!SET, Ordering::AcqRel);
        Ok(())
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.words.flag.load(Ordering::Acquire) & SET != 0
    }

    /// Waits until the flag is set, for as long as it takes. Also returns when it was set in the meantime and
    /// cleared again.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn wait(&self) -> Result<(), WaitError> {
        self.wait_until(Deadline::Never)
    }

    /// Waits until the flag is set, for at most `timeout`; zero does not wait.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] if it was not set, [`WaitError::Segment`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_until(Deadline::after(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<(), WaitError> {
        let caller = Caller::enter(&self.segment).ok_or_else(|| self.segment.unusable())?;
        let before = self.words.flag.load(Ordering::Acquire);
        let set = |_| {
            let now = self.words.flag.load(Ordering::Acquire);
            (now & SET != 0 || (now ^ before) & !SET != 0).then_some(())
        };
        match waiting::until(&self.words.bell, &caller, deadline, 0, set) {
            Some(()) => Ok(()),
            None => {
                self.segment.check()?;
                Err(WaitError::TimedOut)
            }
        }
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

impl Shared for Event {
    /// Whether it is set at first.
    type Init = bool;

    fn describe(text: &mut String) {
        text.push_str("Event");
    }

    fn measure(_init: &bool, room: &mut Room) -> Result<(), &'static str> {
        room.take(size_of::<Words>());
        Ok(())
    }

    fn init(init: &bool, area: &Area, room: &mut Room) -> io::Result<()> {
        let words = area.arranged::<Words>(room.take(size_of::<Words>()));
        words.flag.store(u32::from(*init), Ordering::Relaxed);
        Ok(())
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Event, SegmentError> {
        let at = room.take_in(segment, size_of::<Words>())?;
        Ok(Event { words: segment.area().arranged(at), segment: segment.clone() })
    }
}

in_a_segment_of_its_own!(
    /// Makes one whose flag is set, or not.
    ///
    Event, set: bool
);
