//! `Barrier`: a number of parties wait for each other, and a dead one breaks it.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | constants, checksummed: how many parties |
//! | 128 | the words of [`super::phases`], where the protocol is |
//! | 256 | a seat for each party (see [`super::seat`]) |

use std::io;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::segment::{Area, Arranged, Arrangement, Constants, Segment, SegmentError};

use super::phases::{FIRST, Passage, Phases};
use super::seats::Seats;
use super::shared::{Room, Shared, corrupt, in_a_segment_of_its_own};
use super::waiting::{self, Look};
use super::{Caller, WaitError};

/// The most parties: each one looks at all of them.
const MOST: u32 = 4096;

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Phases {}

/// A number of parties, threads of any processes, wait until all of them have arrived; then all go on, and the next
/// phase begins.
///
/// A thread that only calls [`Barrier::wait`] is a party for that phase. One that has [joined](Barrier::join) is
/// expected in every phase.
///
/// # Broken
/// The barrier breaks when a party dies (below), gives up waiting, or [aborts](Barrier::abort) it, and when an
/// action panics: all who wait, and all who come, get [`WaitError::Broken`], until somebody
/// [resets](Barrier::reset) it.
///
/// # When a process dies
/// A party that has arrived, or joined, and then ends or is killed breaks the barrier for all; the others know
/// within a backstop of 100 ms. (One that was killed when all had arrived may have passed.) A process that was going
/// to come but has not yet, without having joined, is not known: the others wait for it. In another PID namespace
/// than the segment's the end of a *thread* is not noticed, and that of a process by those who have waited for a
/// backstop: if the others come before, they pass with one that had arrived. A stopped party is waited for.
///
/// ```
/// use steadfast::{Barrier, SegmentOptions};
///
/// # let name = format!("doc-barrier-{}", std::process::id());
/// let barrier = Barrier::create(&name, 2, &SegmentOptions::new())?;
/// # std::thread::scope(|scope| {
/// # scope.spawn(|| {
/// let party = barrier.join()?; // in one process: expected from here on
/// party.wait()?;
/// party.wait()?;
/// # Ok::<(), steadfast::WaitError>(())
/// # });
///
/// barrier.wait()?; // in another
/// barrier.wait()
/// # })?;
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Barrier {
    segment: Segment,
    phases: Arranged<Phases>,
    seats: Seats,
}

/// A place among the parties of a [`Barrier`], for as long as it lives; dropping it leaves the barrier whole, and
/// dropping it in a panic breaks it. It stays on its thread: the kernel knows a party by its thread.
#[derive(Debug)]
pub struct Party<'a> {
    barrier: &'a Barrier,
    seat: usize,
    /// Not Send: see above.
    thread: PhantomData<*mut ()>,
}

impl Barrier {
    /// Waits until all parties have arrived. Gives a number from 0 to one less than the parties, another one to each
    /// of them: who gets 0 may do what only one should.
    ///
    /// # Errors
    /// [`WaitError::Broken`], [`WaitError::Segment`].
    pub fn wait(&self) -> Result<usize, WaitError> {
        self.pass_by(Deadline::Never, None)
    }

    /// The same for at most `timeout`; when that has passed, the barrier breaks for all. Zero does not wait.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`]; otherwise as [`Barrier::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, WaitError> {
        self.pass_by(Deadline::after(timeout), None)
    }

    /// [`Barrier::wait`], and one of the parties does `action` when all have arrived, before any goes on. All of them
    /// should name the same. If it panics, the barrier breaks.
    ///
    /// # Errors
    /// As [`Barrier::wait`].
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<usize, WaitError> {
        let mut action = Some(action);
        self.pass_by(Deadline::Never, Some(&mut || action.take().into_iter().for_each(|act| act())))
    }

    /// Becomes a party that is expected in every phase, until what this gives is dropped. Waits while there are as
    /// many parties already.
    ///
    /// # Errors
    /// [`WaitError::Broken`], [`WaitError::Segment`].
    pub fn join(&self) -> Result<Party<'_>, WaitError> {
        self.join_by(Deadline::Never)
    }

    /// The same, if there is a place free.
    ///
    /// # Errors
    /// [`WaitError::WouldBlock`]; otherwise as [`Barrier::join`].
    pub fn try_join(&self) -> Result<Party<'_>, WaitError> {
        self.join_by(Deadline::Now).map_err(WaitError::at_once)
    }

    /// The same, waiting for at most `timeout`; zero does not wait.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`]; otherwise as [`Barrier::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<Party<'_>, WaitError> {
        self.join_by(Deadline::after(timeout))
    }

    fn join_by(&self, deadline: Deadline) -> Result<Party<'_>, WaitError> {
        let seat = self.sit(&self.seats.caller()?, deadline)?;
        let party = Party { barrier: self, seat, thread: PhantomData };
        self.seats.row()[seat].stays.store(1, Ordering::Release);
        Ok(party)
    }

    /// A seat, as soon as there is one.
    fn sit(&self, caller: &Caller, deadline: Deadline) -> Result<usize, WaitError> {
        let found = waiting::until(&self.phases.room, caller, deadline, 0, |look| {
            // The dead first: it may be one of them that breaks it.
            self.phases.bury(caller, self.seats.row(), look == Look::Thorough);
            if self.phases.is_broken() {
                return Some(Err(WaitError::Broken));
            }
            self.seats.claim(caller).map(Ok)
        });
        found.unwrap_or_else(|| {
            self.segment.check()?;
            Err(WaitError::TimedOut)
        })
    }

    fn pass_by(
        &self,
        deadline: Deadline,
        action: Option<&mut dyn FnMut()>,
    ) -> Result<usize, WaitError> {
        let seat = self.sit(&self.seats.caller()?, deadline)?;
        let party = Party { barrier: self, seat, thread: PhantomData };
        party.pass_by(deadline, action)
    }

    /// Breaks it: all who wait, and all who come, get [`WaitError::Broken`]. For a party that cannot go on.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn abort(&self) -> Result<(), WaitError> {
        self.segment.check()?;
        self.phases.abort();
        Ok(())
    }

    /// Makes a broken barrier whole again; of one that is not broken, those who wait get [`WaitError::Broken`]. The
    /// places of dead parties are free then.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn reset(&self) -> Result<(), WaitError> {
        self.phases.reset(&self.seats.caller()?, self.seats.row());
        Ok(())
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.phases.is_broken()
    }

    /// How many parties it has.
    pub fn parties(&self) -> usize {
        self.seats.row().len()
    }

    /// How many wait at this moment.
    pub fn waiting(&self) -> usize {
        self.phases.waiting(self.seats.row())
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

impl Party<'_> {
    /// As [`Barrier::wait`].
    ///
    /// # Errors
    /// As [`Barrier::wait`].
    pub fn wait(&self) -> Result<usize, WaitError> {
        self.pass_by(Deadline::Never, None)
    }

    /// As [`Barrier::wait_timeout`].
    ///
    /// # Errors
    /// As [`Barrier::wait_timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, WaitError> {
        self.pass_by(Deadline::after(timeout), None)
    }

    /// As [`Barrier::wait_with`].
    ///
    /// # Errors
    /// As [`Barrier::wait_with`].
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<usize, WaitError> {
        let mut action = Some(action);
        self.pass_by(Deadline::Never, Some(&mut || action.take().into_iter().for_each(|act| act())))
    }

    fn pass_by(
        &self,
        deadline: Deadline,
        action: Option<&mut dyn FnMut()>,
    ) -> Result<usize, WaitError> {
        let barrier = self.barrier;
        let (caller, seats) = (barrier.seats.caller()?, barrier.seats.row());
        let passage = barrier.phases.pass(&caller, seats, self.seat, deadline, action);
        barrier.segment.check()?;
        match passage {
            Passage::Passed => Ok(self.seat),
            Passage::Broken => Err(WaitError::Broken),
            Passage::TimedOut => Err(WaitError::TimedOut),
        }
    }
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        let barrier = self.barrier;
        if !barrier.segment.is_usable() {
            return; // a forked child: the place is its parent's
        }
        let seat = &barrier.seats.row()[self.seat];
        if std::thread::panicking() && seat.stays.load(Ordering::Relaxed) != 0 {
            barrier.phases.abort();
        }
        Phases::clear(seat);
        barrier.seats.leave(self.seat, || barrier.phases.room.notify_each(1));
    }
}

impl Shared for Barrier {
    /// How many parties: 1 to 4096.
    type Init = u32;

    fn describe(text: &mut String) {
        text.push_str("Barrier");
    }

    fn measure(init: &u32, room: &mut Room) -> Result<(), &'static str> {
        room.take(Constants::<1>::BYTES);
        room.take(size_of::<Phases>());
        room.take(Seats::size(*init as usize));
        if (1..=MOST).contains(init) { Ok(()) } else { Err("a barrier has 1 to 4096 parties") }
    }

    fn init(init: &u32, area: &Area, room: &mut Room) -> io::Result<()> {
        Constants::new([u64::from(*init)]).write(area, room.take(Constants::<1>::BYTES));
        let phases = area.arranged::<Phases>(room.take(size_of::<Phases>()));
        phases.state.store(FIRST, Ordering::Relaxed);
        room.take(Seats::size(*init as usize));
        Ok(())
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Barrier, SegmentError> {
        let [count] = room.constants(segment)?;
        if !(1..=u64::from(MOST)).contains(&count) {
            return Err(corrupt(segment, "the number of parties is impossible"));
        }
        let phases = room.take_in(segment, size_of::<Phases>())?;
        let seats = Seats::place(segment, room, count as usize)?;
        let phases = segment.area().arranged(phases);
        Ok(Barrier { segment: segment.clone(), phases, seats })
    }
}

in_a_segment_of_its_own!(
    /// Makes one for so many parties.
    ///
    Barrier, parties: u32
);
