//! `Semaphore` and `BoundedSemaphore`: a count of permits that anybody may take and anybody may give.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::segment::{Area, Arranged, Arrangement, Constants, Segment, SegmentError};

use super::count::{Count, MOST};
use super::shared::{Room, Shared, in_a_segment_of_its_own};
use super::{Caller, WaitError};

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Count {}

/// A handle of the words.
#[derive(Debug)]
struct Counted {
    segment: Segment,
    count: Arranged<Count>,
}

impl Counted {
    fn init(permits: u32, area: &Area, room: &mut Room) {
        let count = area.arranged::<Count>(room.take(size_of::<Count>()));
        count.permits.store(permits, Ordering::Relaxed);
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Counted, SegmentError> {
        let at = room.take_in(segment, size_of::<Count>())?;
        Ok(Counted { count: segment.area().arranged(at), segment: segment.clone() })
    }

    fn caller(&self) -> Result<Caller<'_>, WaitError> {
        Caller::enter(&self.segment).ok_or_else(|| WaitError::Segment(self.segment.unusable()))
    }

    #[inline]
    fn take(&self, deadline: impl FnOnce() -> Deadline) -> Result<(), WaitError> {
        if self.segment.is_usable() && self.count.take_free() {
            return Ok(());
        }
        self.take_slow(deadline())
    }

    #[cold]
    fn take_slow(&self, deadline: Deadline) -> Result<(), WaitError> {
        if self.count.take(&self.caller()?, deadline) {
            return Ok(());
        }
        self.segment.check()?;
        Err(WaitError::TimedOut)
    }

    fn give(&self, more: u32, most: u32) -> Result<(), WaitError> {
        self.segment.check()?;
        if self.count.give(more, most) { Ok(()) } else { Err(WaitError::TooMany) }
    }
}

fn check(permits: u32, most: u32) -> Result<(), &'static str> {
    if permits <= most { Ok(()) } else { Err("a semaphore has at most 2147483647 permits") }
}

macro_rules! semaphore {
    ($name:ident, $most:expr, $text:literal) => {
        impl $name {
            /// Takes a permit, and waits for one for as long as it takes.
            ///
            /// Killed inside: the permit was taken, or it was not.
            ///
            /// # Errors
            /// [`WaitError::Segment`].
            pub fn acquire(&self) -> Result<(), WaitError> {
                self.permits.take(|| Deadline::Never)
            }

            /// Takes a permit if there is one.
            ///
            /// # Errors
            /// [`WaitError::WouldBlock`] if there is none, [`WaitError::Segment`].
            pub fn try_acquire(&self) -> Result<(), WaitError> {
                self.permits.take(|| Deadline::Now).map_err(WaitError::at_once)
            }

            /// Takes a permit, and waits for one for at most `timeout`; zero does not wait.
            ///
            /// # Errors
            /// [`WaitError::TimedOut`] if there was none, [`WaitError::Segment`].
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
                self.permits.take(|| Deadline::after(timeout))
            }

            /// Gives a permit, whoever took it.
            ///
            /// Killed inside: the permit was given, or it was not; one that was may be found late by those who
            /// wait, by a backstop of 100 ms.
            ///
            /// # Errors
            /// As [`Self::release_many`].
            pub fn release(&self) -> Result<(), WaitError> {
                self.release_many(1)
            }

            /// Gives `more` permits in one step, or none.
            ///
            /// # Errors
            #[doc = $text]
            pub fn release_many(&self, more: u32) -> Result<(), WaitError> {
                let most: fn(&$name) -> u32 = $most;
                self.permits.give(more, most(self))
            }

            /// How many permits there are at this moment.
            pub fn available(&self) -> u32 {
                self.permits.count.permits.load(Ordering::Relaxed)
            }

            /// The segment it lives in.
            pub fn segment(&self) -> &Segment {
                &self.permits.segment
            }
        }
    };
}

/// A count of permits, for signals: one side releases, the other acquires, and nobody owns a permit. (For permits
/// that come back when their holder dies see [`Permits`](crate::Permits).)
///
/// # When a process dies
/// What it has acquired and not released is gone, by definition: it may have been a signal that it has dealt with.
/// Nobody hangs otherwise; see [`Semaphore::release`].
///
/// ```
/// use steadfast::{Semaphore, SegmentOptions};
///
/// # let name = format!("doc-semaphore-{}", std::process::id());
/// let ready = Semaphore::create(&name, 0, &SegmentOptions::new())?;
/// ready.release()?; // in one process
/// ready.acquire()?; // in another
/// assert!(ready.try_acquire().is_err());
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Semaphore {
    permits: Counted,
}

semaphore!(
    Semaphore,
    |_| MOST,
    "[`WaitError::TooMany`] if there would be more than 2147483647 then, [`WaitError::Segment`]."
);

impl Shared for Semaphore {
    /// How many permits there are at first.
    type Init = u32;

    fn describe(text: &mut String) {
        text.push_str("Semaphore");
    }

    fn measure(init: &u32, room: &mut Room) -> Result<(), &'static str> {
        room.take(size_of::<Count>());
        check(*init, MOST)
    }

    fn init(init: &u32, area: &Area, room: &mut Room) -> io::Result<()> {
        Counted::init(*init, area, room);
        Ok(())
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Semaphore, SegmentError> {
        Ok(Semaphore { permits: Counted::place(segment, room)? })
    }
}

/// A [`Semaphore`] that cannot be released more often than it was acquired: more permits than it began with are
/// an error. With one permit it is a lock that whoever likes may release, as Python's `Lock` is.
///
/// ```
/// use steadfast::{BoundedSemaphore, SegmentOptions, WaitError};
///
/// # let name = format!("doc-bounded-{}", std::process::id());
/// let slots = BoundedSemaphore::create(&name, 2, &SegmentOptions::new())?;
/// slots.acquire()?;
/// slots.release()?;
/// assert!(matches!(slots.release(), Err(WaitError::TooMany)));
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BoundedSemaphore {
    permits: Counted,
    most: u32,
}

semaphore!(
    BoundedSemaphore,
    |semaphore| semaphore.most,
    "[`WaitError::TooMany`] if there would be more than it began with then, [`WaitError::Segment`]."
);

impl Shared for BoundedSemaphore {
    /// How many permits there are at first, and at most.
    type Init = u32;

    fn describe(text: &mut String) {
        text.push_str("BoundedSemaphore");
    }

    fn measure(init: &u32, room: &mut Room) -> Result<(), &'static str> {
        room.take(Constants::<1>::BYTES);
        room.take(size_of::<Count>());
        check(*init, MOST)
    }

    fn init(init: &u32, area: &Area, room: &mut Room) -> io::Result<()> {
        Constants::new([u64::from(*init)]).write(area, room.take(Constants::<1>::BYTES));
        Counted::init(*init, area, room);
        Ok(())
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<BoundedSemaphore, SegmentError> {
        let [most] = room.constants(segment)?;
        let most = u32::try_from(most).unwrap_or(MOST).min(MOST);
        Ok(BoundedSemaphore { permits: Counted::place(segment, room)?, most })
    }
}

in_a_segment_of_its_own!(
    /// Makes one with so many permits.
    ///
    Semaphore, permits: u32
);
in_a_segment_of_its_own!(
    /// Makes one with so many permits, which is also the most that there can be.
    ///
    BoundedSemaphore, permits: u32
);
