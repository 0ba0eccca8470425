//! `RwLock<T>`: many readers or one writer, and each of them may die.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | the gate (see [`super::gate`]) |
//! | 128 | 64 seats of 64 bytes, for the readers |
//! | 4224 | a mutex with the value (see [`super::mutex`]): the main lock |

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::primitive::{Fault, fault};
use crate::segment::{Area, Arranged, Arrangement, Segment, SegmentError};

use super::consistency::{ABANDONED, CLEAN};
use super::gate::Gate;
use super::raw_lock::RawLock;
use super::robust_lock::Refused;
use super::seats::Seats;
use super::shared::{Room, Shared, in_a_segment_of_its_own};
use super::{Caller, Consistency, Death, Futex, Guarded, LockError, Mutex, MutexGuard};

/// How many threads can read at the same time; more wait.
const READERS: usize = 64;

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Gate {}

/// A value that many may read at the same time, or one may change.
///
/// Up to 64 threads read at once, further ones wait. A writer that waits keeps new readers out; writers, and
/// readers that wait for a writer, compete for who comes next. A thread that reads may read again. One that reads
/// and wants to write, or the reverse, gets [`LockError::Deadlock`].
///
/// The rules of [`Mutex`](crate::Mutex) hold for the value, its consistency, other PID namespaces and `fork`.
///
/// # When a process dies
/// A reader: the writers that wait for it go on, at once. A writer that had the right to change the value: the next
/// one gets [`LockError::OwnerDied`], as a reader with a guard to look at the value, as a writer with one to
/// mend it; so do all until one has said [`RwLockWriteGuard::mark_consistent`], or gave the value up. A writer that was
/// waiting: nothing happens to anybody.
///
/// ```
/// use steadfast::{RwLock, SegmentOptions};
///
/// # let name = format!("doc-rwlock-{}", std::process::id());
/// let prices = RwLock::create(&name, [100_u32, 250, 80], &SegmentOptions::new())?;
/// prices.write().unwrap()[1] = 240;
/// let (one, another) = (prices.read().unwrap(), prices.read().unwrap());
/// assert_eq!((one[1], another[2]), (240, 80));
/// # drop((one, another));
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RwLock<T: Guarded + ?Sized> {
    gate: Arranged<Gate>,
    seats: Seats,
    main: Mutex<T>,
}

/// The right to read the value of a [`RwLock`]. It stays on its thread.
pub struct RwLockReadGuard<'a, T: Guarded + ?Sized> {
    lock: &'a RwLock<T>,
    seat: usize,
    /// Not Send: the kernel knows the reader by its thread.
    thread: PhantomData<*mut ()>,
}

/// The right to change the value of a [`RwLock`]. It stays on its thread.
pub struct RwLockWriteGuard<'a, T: Guarded + ?Sized> {
    lock: &'a RwLock<T>,
    /// Not Send, as above.
    thread: PhantomData<*mut ()>,
}

type Read<'a, T> = Result<RwLockReadGuard<'a, T>, LockError<RwLockReadGuard<'a, T>>>;
type Write<'a, T> = Result<RwLockWriteGuard<'a, T>, LockError<RwLockWriteGuard<'a, T>>>;

impl<T: Guarded + ?Sized> RwLock<T> {
    /// Waits until it may read, for as long as it takes.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] gives the right too; the others do not.
    #[inline]
    pub fn read(&self) -> Read<'_, T> {
        self.read_until(|| Deadline::Never)
    }

    /// Reads if nobody writes, or waits to write.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`]; otherwise as [`RwLock::read`].
    pub fn try_read(&self) -> Read<'_, T> {
        self.read_until(|| Deadline::Now).map_err(LockError::at_once)
    }

    /// Waits until it may read, for at most `timeout`; zero does not wait.
    ///
    /// # Errors
    /// [`LockError::TimedOut`]; otherwise as [`RwLock::read`].
    pub fn read_timeout(&self, timeout: Duration) -> Read<'_, T> {
        self.read_until(|| Deadline::after(timeout))
    }

    /// Waits until it may write, for as long as it takes.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] gives the right too; the others do not.
    pub fn write(&self) -> Write<'_, T> {
        self.write_until(Deadline::Never)
    }

    /// Writes if nobody reads or writes.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`]; otherwise as [`RwLock::write`].
    pub fn try_write(&self) -> Write<'_, T> {
        self.write_until(Deadline::Now).map_err(LockError::at_once)
    }

    /// Waits until it may write, for at most `timeout`; zero does not wait.
    ///
    /// # Errors
    /// [`LockError::TimedOut`]; otherwise as [`RwLock::write`].
    pub fn write_timeout(&self, timeout: Duration) -> Write<'_, T> {
        self.write_until(Deadline::after(timeout))
    }

    /// Waits until nobody reads or writes, lets `mend` put the value right in whatever state it is, and marks it
    /// clean. If `mend` panics, a value that was clean counts as inconsistent, any other one as abandoned.
    ///
    /// # Errors
    /// [`LockError::Corrupt`] if the bytes are not a value at all, [`LockError::Deadlock`],
    /// [`LockError::Segment`].
    pub fn repair(
        &self,
        mend: impl FnOnce(&mut T),
    ) -> Result<(), LockError<RwLockWriteGuard<'_, T>>> {
        self.may_wait_to_write()?;
        let guard = self
            .main
            .lock_anyhow(true, || self.gate.is_writing())
            .map_err(LockError::without_guard)?;
        let mut guard = self.shut(guard, Deadline::Never)?;
        self.main.begin_repair();
        mend(&mut guard);
        guard.mark_consistent();
        Ok(())
    }

    #[inline]
    fn read_until(&self, deadline: impl FnOnce() -> Deadline) -> Read<'_, T> {
        let caller = self.caller()?;
        let (seats, handle) = (self.seats.row(), self.seats.handle());
        let seat = match self.gate.enter(&caller, seats, handle) {
            Some(seat) => seat,
            None => self.go_round(&caller, deadline())?,
        };
        let guard = RwLockReadGuard { lock: self, seat, thread: PhantomData };
        if self.main.segment.is_truncated() {
            return Err(self.unusable());
        }
        match self.main.control.state() {
            ABANDONED => Err(LockError::Abandoned),
            _ if !self.main.value_is_valid() => Err(LockError::Corrupt),
            CLEAN => Ok(guard),
            _ => Err(LockError::OwnerDied(guard)),
        }
    }

    /// A reader's way when the gate is closed, or all seats are taken.
    #[cold]
    fn go_round<G>(&self, caller: &Caller, deadline: Deadline) -> Result<usize, LockError<G>> {
        let seats = self.seats.row();
        if let Some(seat) = self.gate.enter_again(caller, seats) {
            return Ok(seat);
        }
        let main = &self.main;
        let attempt = Futex::acquire(&main.segment, &main.control.cell, deadline);
        let writing = self.gate.is_writing();
        if fault(Fault::GateBeforeState) && attempt.is_ok() {
            self.gate.open();
        }
        main.own(attempt, || writing)?;
        // If it is not open, its writer is dead, as we have the lock.
        self.gate.open();
        let handle = self.seats.handle();
        let seat = self.gate.take_seat(caller, seats, handle, deadline).map_err(refused);
        Futex::release(&main.segment, &main.control.cell, || {});
        seat
    }

    /// Refuses one who reads.
    fn may_wait_to_write<G>(&self) -> Result<(), LockError<G>> {
        let caller = self.caller()?;
        let reads = self.gate.seat_of(&caller, self.seats.row()).is_some();
        if reads { Err(LockError::Deadlock) } else { Ok(()) }
    }

    fn write_until(&self, deadline: Deadline) -> Write<'_, T> {
        self.may_wait_to_write()?;
        match self.main.lock_if(deadline, || self.gate.is_writing()) {
            Ok(guard) => self.shut(guard, deadline),
            Err(LockError::OwnerDied(guard)) => {
                Err(LockError::OwnerDied(self.shut(guard, deadline)?))
            }
            Err(other) => Err(other.without_guard()),
        }
    }

    /// With the main lock held: keeps the readers out.
    fn shut<'a>(
        &'a self,
        main: MutexGuard<'a, T>,
        deadline: Deadline,
    ) -> Result<RwLockWriteGuard<'a, T>, LockError<RwLockWriteGuard<'a, T>>> {
        let shut = match self.caller() {
            Ok(caller) => self.gate.shut(&caller, self.seats.row(), deadline).map_err(refused),
            Err(error) => Err(error),
        };
        match shut {
            Ok(()) => {
                // The guard's part is the other one's from here.
                std::mem::forget(main);
                Ok(RwLockWriteGuard { lock: self, thread: PhantomData })
            }
            Err(error) => {
                // The value was not touched: it stays to be judged, if it was.
                self.main.leave_unjudged(main);
                Err(error)
            }
        }
    }

    #[inline]
    fn caller<G>(&self) -> Result<Caller<'_>, LockError<G>> {
        match Caller::enter(&self.main.segment) {
            Some(caller) => Ok(caller),
            None => Err(self.unusable()),
        }
    }

    #[cold]
    #[inline(never)]
    fn unusable<G>(&self) -> LockError<G> {
        LockError::Segment(self.main.segment.unusable())
    }

    /// How the value stands, as far as it has been noticed. For people and tools.
    pub fn consistency(&self) -> Consistency {
        self.main.consistency()
    }

    /// Which writer died last while it had the lock, if any did.
    pub fn last_death(&self) -> Option<Death> {
        self.main.last_death()
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.main.segment
    }
}

fn refused<G>(refused: Refused) -> LockError<G> {
    match refused {
        Refused::TimedOut => LockError::TimedOut,
        Refused::Deadlock => LockError::Deadlock,
    }
}

impl<T: Guarded + ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.seats.leave_once(self.seat);
    }
}

impl<T: Guarded + ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the bytes were checked to be a value of T, and while this seat is taken nobody has the right
        // to change them.
        unsafe { &*self.lock.main.value() }
    }
}

impl<T: Guarded + ?Sized> RwLockWriteGuard<'_, T> {
    /// Says that the value is right again, after [`LockError::OwnerDied`].
    pub fn mark_consistent(&mut self) {
        self.lock.main.judged();
    }

    /// Gives the value up and releases the lock: every later attempt is [`LockError::Abandoned`] until
    /// somebody repairs the value.
    pub fn abandon(self) {
        self.lock.main.give_up();
    }
}

impl<T: Guarded + ?Sized> super::lock_error::Judge for RwLockWriteGuard<'_, T> {
    fn judge_consistent(&mut self) {
        self.mark_consistent();
    }
}

impl<T: Guarded + ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.main.end_guard(|| self.lock.gate.open());
    }
}

impl<T: Guarded + ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the bytes were checked to be a value of T, and this guard has the sole right to them.
        unsafe { &*self.lock.main.value() }
    }
}

impl<T: Guarded + ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for deref; the guard is borrowed exclusively.
        unsafe { &mut *self.lock.main.value() }
    }
}

impl<T: Guarded + ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("segment", &self.segment().name()).finish_non_exhaustive()
    }
}

impl<T: Guarded + ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Guarded + ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Guarded + ?Sized> Shared for RwLock<T> {
    /// The value.
    type Init = T::Init;

    fn describe(text: &mut String) {
        text.push_str("RwLock<");
        T::describe(text);
        text.push('>');
    }

    fn measure(init: &T::Init, room: &mut Room) -> Result<(), &'static str> {
        room.take(size_of::<Gate>());
        room.take(Seats::size(READERS));
        Mutex::<T>::measure(init, room)
    }

    fn init(init: &T::Init, area: &Area, room: &mut Room) -> io::Result<()> {
        room.take(size_of::<Gate>());
        room.take(Seats::size(READERS));
        Mutex::<T>::init(init, area, room)
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError> {
        let gate = room.take_in(segment, size_of::<Gate>())?;
        let gate = segment.area().arranged(gate);
        let seats = Seats::place(segment, room, READERS)?;
        Ok(RwLock { gate, seats, main: Mutex::place(segment, room)? })
    }
}

in_a_segment_of_its_own!(
    /// Makes a segment that holds `value`, unlocked. (For a row of values, `RwLock<[T]>`, use
    /// [`Segment::of`].)
    ///
    RwLock[T: super::Shareable], value: T
);
