//! `Permits`: a semaphore whose permits come back when their holder dies.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | constants, checksummed: how many permits |
//! | 128 | the event count of those who wait for one |
//! | 256 | a seat for each permit (see [`super::seat`]) |
//!
//! A permit is a seat: taking one is taking a free seat, or a dead holder's. Giving it back is leaving the seat,
//! and then calling one of those who wait. Nothing counts the permits, so nothing can be counted wrong.
//! Killed between leaving and calling, or called and killed: those who sleep look for themselves after a
//! backstop. So they do for the dead, whom nobody announces.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::segment::{Area, Arranged, Arrangement, Constants, Segment, SegmentError};

use super::event_count::EventCount;
use super::seats::Seats;
use super::shared::{Room, Shared, corrupt, in_a_segment_of_its_own};
use super::waiting::{self, Look, SPINS};
use super::{Caller, WaitError};

/// The most permits there can be: looking for a free one is a walk along all.
const MOST: u32 = 65_536;

#[derive(Debug)]
#[repr(C, align(128))]
struct Words {
    bell: EventCount,
}

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Words {}

/// A fixed number of permits, each of which one thread holds at a time: so many may do something at once. (For a
/// count that nobody owns see [`Semaphore`](crate::Semaphore).)
///
/// # When a process dies
/// The permits of a thread that ends, and of a process that is killed, come back: at once for whoever comes then,
/// and within a backstop of 100 ms for one that was waiting already. In another PID namespace than the segment's
/// the end of a *thread* is not noticed, as for [`Mutex`](crate::Mutex). A stopped process keeps its permits.
///
/// ```
/// use steadfast::{Permits, SegmentOptions};
///
/// # let name = format!("doc-permits-{}", std::process::id());
/// let downloads = Permits::create(&name, 2, &SegmentOptions::new())?;
/// let first = downloads.acquire()?;
/// let second = downloads.acquire()?;
/// assert!(downloads.try_acquire().is_err());
/// drop(first); // so does the end of the process, however it comes
/// assert!(downloads.try_acquire().is_ok());
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Permits {
    segment: Segment,
    words: Arranged<Words>,
    seats: Seats,
}

/// The right to one of [`Permits`]; dropping it gives it back. It stays on its thread: the kernel knows its holder
/// by its thread.
#[derive(Debug)]
pub struct Permit<'a> {
    permits: &'a Permits,
    seat: usize,
    /// Not Send: see above.
    thread: PhantomData<*mut ()>,
}

impl Permits {
    /// Takes a permit, and waits for one for as long as it takes.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn acquire(&self) -> Result<Permit<'_>, WaitError> {
        self.acquire_until(Deadline::Never)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    /// [`WaitError::WouldBlock`] if all are held by the living, [`WaitError::Segment`].
    pub fn try_acquire(&self) -> Result<Permit<'_>, WaitError> {
        self.acquire_until(Deadline::Now).map_err(WaitError::at_once)
    }

    /// Takes a permit, and waits for one for at most `timeout`; zero does not wait.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] if all were held by the living, [`WaitError::Segment`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, WaitError> {
        self.acquire_until(Deadline::after(timeout))
    }

    fn acquire_until(&self, deadline: Deadline) -> Result<Permit<'_>, WaitError> {
        let caller = self.seats.caller()?;
        let find = |look| self.seats.claim(&caller).or_else(|| self.claim_from_dead(&caller, look));
        match waiting::until(&self.words.bell, &caller, deadline, SPINS, find) {
            Some(seat) => Ok(Permit { permits: self, seat, thread: PhantomData }),
            None => {
                self.segment.check()?;
                Err(WaitError::TimedOut)
            }
        }
    }

    #[cold]
    fn claim_from_dead(&self, caller: &Caller, look: Look) -> Option<usize> {
        self.seats.row().iter().position(|seat| {
            seat.is_dead(caller, look == Look::Thorough)
                // It fails only if somebody else was faster.
                && seat.claim_by(caller, self.seats.handle(), Deadline::Now).is_ok()
        })
    }

    /// How many permits there are, held or not.
    pub fn total(&self) -> usize {
        self.seats.row().len()
    }

    /// How many permits are held at this moment, by the living or by the dead of whom nobody knows yet.
    pub fn held(&self) -> usize {
        self.seats.row().iter().filter(|seat| seat.is_taken()).count()
    }

    /// The segment they live in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.seats.leave(self.seat, || self.permits.words.bell.notify_each(1));
    }
}

impl Shared for Permits {
    /// How many there are: 1 to 65536.
    type Init = u32;

    fn describe(text: &mut String) {
        text.push_str("Permits");
    }

    fn measure(init: &u32, room: &mut Room) -> Result<(), &'static str> {
        room.take(Constants::<1>::BYTES);
        room.take(size_of::<Words>());
        room.take(Seats::size(*init as usize));
        if (1..=MOST).contains(init) { Ok(()) } else { Err("there are 1 to 65536 permits") }
    }

    fn init(init: &u32, area: &Area, room: &mut Room) -> io::Result<()> {
        Constants::new([u64::from(*init)]).write(area, room.take(Constants::<1>::BYTES));
        room.take(size_of::<Words>());
        room.take(Seats::size(*init as usize));
        Ok(())
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Permits, SegmentError> {
        let [count] = room.constants(segment)?;
        if !(1..=u64::from(MOST)).contains(&count) {
            return Err(corrupt(segment, "the number of permits is impossible"));
        }
        let words = room.take_in(segment, size_of::<Words>())?;
        let seats = Seats::place(segment, room, count as usize)?;
        let words = segment.area().arranged(words);
        Ok(Permits { segment: segment.clone(), words, seats })
    }
}

in_a_segment_of_its_own!(
    /// Makes so many permits.
    ///
    Permits, count: u32
);
