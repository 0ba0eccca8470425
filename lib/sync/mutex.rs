//! `Mutex<T>` and `PthreadMutex<T>`: a value behind a robust lock, in a segment of its own or in a shared
//! struct.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | constants, checksummed: size and alignment of the value |
//! | 128 | the control block: lock, state, who died (see [`super::consistency`]) |
//! | 256 | the value |

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::segment::{Area, Arranged, Constants, Kind, Segment, SegmentError, SegmentOptions};

use super::consistency::{ABANDONED, CLEAN, Control, REPAIRED};
use super::mutex_guard::MutexGuard;
use super::raw_lock::{NotLocked, RawLock};
use super::robust_lock::Acquired;
use super::shared::{Room, Shared, corrupt};
use super::{Consistency, Death, Futex, Guarded, LockError, Pthread, Shareable};

/// Where the control block is.
const CONTROL: usize = 128;

/// Where the value is.
const VALUE: usize = CONTROL + size_of::<Control>();

/// Bits of [`RobustMutex::owner`]: it has yet to judge the value; it panicked before it locked.
pub(super) const UNJUDGED: u8 = 1;
pub(super) const PANICKING: u8 = 2;
/// It has the lock.
pub(super) const HELD: u8 = 4;

/// What came of an attempt to lock a [`RobustMutex`].
pub(super) enum Verdict {
    /// The lock is held, and the value is good.
    Clean,
    /// The lock is held, and the value wants to be judged.
    Inconsistent,
    /// As the errors of these names; the lock is not held.
    Abandoned,
    TimedOut,
    Deadlock,
    Corrupt,
    Segment(Box<SegmentError>),
}

impl<G> From<Verdict> for LockError<G> {
    /// What a verdict without the lock means.
    fn from(refused: Verdict) -> LockError<G> {
        match refused {
            Verdict::Clean | Verdict::Inconsistent => unreachable!("the lock is held"),
            Verdict::Abandoned => LockError::Abandoned,
            Verdict::TimedOut => LockError::TimedOut,
            Verdict::Deadlock => LockError::Deadlock,
            Verdict::Corrupt => LockError::Corrupt,
            Verdict::Segment(error) => LockError::Segment(*error),
        }
    }
}

/// A value of type `T` in a named segment, guarded by a robust lock of kind `L`: use it through its
/// two names, [`Mutex`] and [`PthreadMutex`].
///
/// All programs that open it must agree on `T`; its size and alignment are checked. The guard gives
/// `&mut T` over shared memory, so the peers that the file mode lets in are trusted not to write the
/// value without holding the lock. Bit patterns are checked each time the lock is taken.
///
/// # When a process dies
/// Killed while it holds the lock, or a thread that ends while it does: the next locker gets the lock
/// at once, as [`LockError::OwnerDied`]. Killed while it waits: nothing happens to anybody. A process
/// that is stopped is not dead, and keeps its lock.
///
/// Two things need the PID namespace of the segment's creator, as the kernel knows threads by numbers of
/// their namespace. In another one the death of a *thread* whose process lives is not noticed, the death
/// of a process is noticed by its file lock only (some 0.1 ms later, and 0.12 s for each GiB that it had
/// mapped), and a thread that locks twice waits for itself instead of getting [`LockError::Deadlock`].
///
/// ```
/// use steadfast::{LockError, Mutex, SegmentOptions};
///
/// # let name = format!("doc-mutex-{}", std::process::id());
/// let tickets = Mutex::create(&name, 3_u32, &SegmentOptions::new())?;
/// match tickets.lock() {
///     Ok(mut left) => *left -= 1,
///     Err(LockError::OwnerDied(mut left)) => {
///         *left = (*left).min(3); // whatever makes the value right again
///         left.mark_consistent();
///     }
///     Err(error) => return Err(error.to_string().into()),
/// }
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A row of values, whose number is decided when it is made, is an [`Array`](super::Array), which holds a
/// `Mutex<[T]>`; in a shared struct that can be named as it is.
pub struct RobustMutex<T: Guarded + ?Sized, L: RawLock> {
    pub(super) segment: Segment,
    pub(super) control: Arranged<Control>,
    /// Elements of the value.
    count: usize,
    /// What the one guard of this handle remembers; only the lock's owner uses it.
    pub(super) owner: AtomicU8,
    value: PhantomData<fn(&T)>,
    kind: PhantomData<L>,
}

/// A mutex over our own robust lock. See [`RobustMutex`].
pub type Mutex<T> = RobustMutex<T, Futex>;

/// A mutex over the C library's robust mutex, with the same interface and results; for sharing a
/// lock with C programs. See [`RobustMutex`], and [`Pthread`] for its hazards.
pub type PthreadMutex<T> = RobustMutex<T, Pthread>;

impl<T: Guarded + ?Sized, L: RawLock> RobustMutex<T, L> {
    /// Opens the mutex that another program made.
    ///
    /// # Errors
    /// As [`Segment::open`]; `WrongKind` if the segment holds something else, `Corrupt` if it holds
    /// a value of another size or alignment.
    pub fn open(name: &str) -> Result<Self, SegmentError> {
        Self::attached(Segment::open_object(name, L::KIND)?)
    }

    /// How many bytes it takes with this value.
    pub(super) fn len(value: &T::Init) -> Result<usize, &'static str> {
        if T::ALIGN > 128 {
            return Err("the value's alignment is above 128 bytes");
        }
        Ok(VALUE.saturating_add(T::size(value).max(1)))
    }

    /// Writes it to `at`.
    pub(super) fn write(value: &T::Init, area: &Area, at: usize) -> io::Result<()> {
        Constants::new([T::size(value) as u64, T::ALIGN as u64]).write(area, at);
        T::copy_in(value, area, at + VALUE);
        L::init(&area.arranged::<Control>(at + CONTROL).cell)
    }

    /// The one that starts at `at`, and how many bytes it takes.
    pub(super) fn at(segment: &Segment, at: usize) -> Result<(Self, usize), SegmentError> {
        let corrupt = |what| corrupt(segment, what);
        let area = segment.area();
        let Some(constants) = Constants::<2>::read(area, at) else {
            return Err(corrupt("the mutex's constants do not have their checksum"));
        };
        let [size, align] = constants.words();
        let count = T::count(size)
            .filter(|_| align == T::ALIGN as u64)
            .ok_or_else(|| corrupt("it holds a value of another size or alignment"))?;
        let room = area.len().saturating_sub(at).saturating_sub(VALUE) as u64;
        if size.max(1) > room {
            return Err(corrupt("the object is too short for the value"));
        }
        if L::KIND == Kind::PthreadMutex && !segment.native_tid() {
            return Err(SegmentError::ForeignNamespace { name: segment.name().to_owned() });
        }
        let control = area.arranged(at + CONTROL);
        let (owner, segment) = (AtomicU8::new(0), segment.clone());
        let mutex =
            RobustMutex { segment, control, count, owner, value: PhantomData, kind: PhantomData };
        Ok((mutex, VALUE + size.max(1) as usize))
    }

    fn attached(segment: Segment) -> Result<Self, SegmentError> {
        Ok(Self::at(&segment, 0)?.0)
    }

    /// Waits for the lock for as long as it takes.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] gives the lock too; the others do not.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if it is free, or if its owner is dead.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if somebody alive has it; otherwise as [`RobustMutex::lock`].
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        self.lock_until(Deadline::Now).map_err(LockError::at_once)
    }

    /// Waits for the lock for at most `timeout`, by the monotonic clock; zero does not wait.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] if somebody alive held it all the time; otherwise as [`RobustMutex::lock`].
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        self.lock_until(Deadline::after(timeout))
    }

    /// The one place where the result of an attempt becomes the caller's.
    #[inline]
    pub(super) fn lock_until(
        &self,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        if !L::acquire_free(&self.segment, &self.control.cell) {
            return self.lock_slow(deadline);
        }
        if self.control.state() != CLEAN || !self.value_is_valid() {
            return self.lock_unclean();
        }
        let panicking = u8::from(std::thread::panicking()) * PANICKING;
        self.owner.store(HELD | panicking, Ordering::Relaxed);
        Ok(MutexGuard::new(self))
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(
        &self,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        self.lock_if(deadline, || true)
    }

    /// With the lock held, and a value that wants to be looked at.
    #[cold]
    #[inline(never)]
    fn lock_unclean(&self) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        self.pronounce(self.judge(Ok(Acquired::Clean), || true), std::thread::panicking())
    }

    /// The same for [`RwLock`](super::RwLock), where an owner may have died before it had a right to the
    /// value: `touched` tells, once the lock is held.
    pub(super) fn lock_if(
        &self,
        deadline: Deadline,
        touched: impl FnOnce() -> bool,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        let panicking = std::thread::panicking();
        let attempt = L::acquire(&self.segment, &self.control.cell, deadline);
        self.pronounce(self.judge(attempt, touched), panicking)
    }

    /// Takes the lock in whatever state the value is; `valid`: unless the bytes are no value at all; `touched`
    /// as for [`RobustMutex::lock_if`].
    pub(super) fn lock_anyhow(
        &self,
        valid: bool,
        touched: impl FnOnce() -> bool,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        let panicking = std::thread::panicking();
        let attempt = L::acquire(&self.segment, &self.control.cell, Deadline::Never);
        let verdict = match self.own(attempt, touched) {
            Err(verdict) => verdict,
            Ok(()) if valid && !self.value_is_valid() => self.refuse(Verdict::Corrupt),
            Ok(()) => Verdict::Clean,
        };
        self.pronounce(verdict, panicking)
    }

    /// What an attempt gives that did not simply get a clean value. Its result is small on purpose: it
    /// stays in registers, and so does the guard of the attempts that did.
    #[cold]
    #[inline(never)]
    fn judge(
        &self,
        attempt: Result<Acquired, NotLocked>,
        touched: impl FnOnce() -> bool,
    ) -> Verdict {
        if let Err(verdict) = self.own(attempt, touched) {
            return verdict;
        }
        let state = self.control.state();
        if state == ABANDONED {
            self.refuse(Verdict::Abandoned)
        } else if !self.value_is_valid() {
            self.refuse(Verdict::Corrupt)
        } else if state == CLEAN {
            Verdict::Clean
        } else {
            Verdict::Inconsistent
        }
    }

    /// Notes a dead owner from which the lock was taken over.
    pub(super) fn own(
        &self,
        attempt: Result<Acquired, NotLocked>,
        touched: impl FnOnce() -> bool,
    ) -> Result<(), Verdict> {
        match attempt {
            Ok(Acquired::Clean) => Ok(()),
            Ok(Acquired::Stolen(dead)) => {
                self.control.note_death(&self.segment, dead, touched());
                Ok(())
            }
            Err(NotLocked::TimedOut) => Err(Verdict::TimedOut),
            Err(NotLocked::Deadlock) => Err(Verdict::Deadlock),
            Err(NotLocked::Unusable) => Err(Verdict::Segment(Box::new(self.segment.unusable()))),
            Err(NotLocked::Failed(error)) => Err(Verdict::Segment(error)),
        }
    }

    /// Releases a lock that turned out not to be usable, leaving the state as it is.
    fn refuse(&self, verdict: Verdict) -> Verdict {
        L::release(&self.segment, &self.control.cell, || {});
        verdict
    }

    /// Makes the caller's result of a verdict.
    #[inline]
    fn pronounce(
        &self,
        verdict: Verdict,
        panicking: bool,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        let guard = |inconsistent: u8| {
            let panicking = u8::from(panicking) * PANICKING;
            self.owner.store(HELD | inconsistent | panicking, Ordering::Relaxed);
            MutexGuard::new(self)
        };
        Err(match verdict {
            Verdict::Clean => return Ok(guard(0)),
            Verdict::Inconsistent => {
                self.control.set_state(REPAIRED);
                LockError::OwnerDied(guard(UNJUDGED))
            }
            refused => refused.into(),
        })
    }

    /// Takes the lock in whatever state the value is, lets `mend` put it right, and marks it clean.
    /// If `mend` panics, a value that was clean counts as inconsistent, any other one as abandoned. If the
    /// process dies in it, the next locker gets [`LockError::OwnerDied`].
    ///
    /// # Errors
    /// [`LockError::Corrupt`] if the bytes are not a value at all (see [`RobustMutex::replace`]),
    /// [`LockError::Deadlock`], [`LockError::Segment`].
    pub fn repair(&self, mend: impl FnOnce(&mut T)) -> Result<(), LockError<MutexGuard<'_, T, L>>> {
        let mut guard = self.lock_anyhow(true, || true)?;
        self.begin_repair();
        mend(&mut guard);
        guard.mark_consistent();
        Ok(())
    }

    /// For the lock's owner, before it mends a value that may want it.
    pub(super) fn begin_repair(&self) {
        if self.control.state() != CLEAN {
            self.control.set_state(REPAIRED);
            self.owner.fetch_or(UNJUDGED, Ordering::Relaxed);
        }
    }

    /// How the value stands, as far as it has been noticed. For people and tools: it may change at once.
    pub fn consistency(&self) -> Consistency {
        self.control.consistency()
    }

    /// Who died last while holding the lock, if anybody did.
    pub fn last_death(&self) -> Option<Death> {
        self.control.last_death()
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where the value lies; [`RobustMutex::at`] has checked that there is room for it.
    #[inline]
    pub(super) fn value(&self) -> *mut T {
        T::pointer(self.control.end(), self.count)
    }

    /// Whether the bytes are a value of the type; to be called with the lock held.
    #[inline]
    pub(super) fn value_is_valid(&self) -> bool {
        // SAFETY: the bytes are mapped, and nobody writes them while we hold the lock, except a peer
        // that breaks the rules (documented: the peers are trusted with the value).
        let bytes = unsafe { &*T::bytes(self.control.end(), self.count) };
        T::is_valid(bytes)
    }
}

impl<T: Shareable, L: RawLock> RobustMutex<T, L> {
    /// Makes a segment that holds `value`, unlocked.
    ///
    /// Killed inside: the segment is there whole, or not at all.
    ///
    /// # Errors
    /// As [`Segment::create`].
    pub fn create(name: &str, value: T, options: &SegmentOptions) -> Result<Self, SegmentError> {
        let refused = |what| SegmentError::InvalidArgument { name: name.to_owned(), what };
        if L::KIND == Kind::PthreadMutex && crate::os::process::pid_namespace() == 0 {
            // Nobody, not even its creator, could open it.
            return Err(SegmentError::ForeignNamespace { name: name.to_owned() });
        }
        let len = Self::len(&value).map_err(refused)? as u64;
        Self::attached(Segment::create_object(name, L::KIND, len, options, |area| {
            Self::write(&value, area, 0)
        })?)
    }

    /// Opens the mutex, or makes it with `value` if there is none.
    ///
    /// # Errors
    /// As [`RobustMutex::open`] and [`RobustMutex::create`].
    pub fn open_or_create(
        name: &str,
        value: T,
        options: &SegmentOptions,
    ) -> Result<Self, SegmentError> {
        let refused = |what| SegmentError::InvalidArgument { name: name.to_owned(), what };
        let len = Self::len(&value).map_err(refused)? as u64;
        Self::attached(Segment::open_or_create_object(name, L::KIND, len, options, |area| {
            Self::write(&value, area, 0)
        })?)
    }

    /// Takes the lock in whatever state the value is, and puts `value` in its place.
    ///
    /// # Errors
    /// [`LockError::Deadlock`], [`LockError::Segment`].
    pub fn replace(&self, value: T) -> Result<(), LockError<MutexGuard<'_, T, L>>> {
        let mut guard = self.lock_anyhow(false, || true)?;
        // SAFETY: this guard has the sole right to the bytes, which have room for the value; the old one,
        // if it is one, has no destructor.
        unsafe { self.value().write(value) };
        guard.mark_consistent();
        Ok(())
    }
}

impl<T: Guarded + ?Sized, L: RawLock> Shared for RobustMutex<T, L> {
    type Init = T::Init;

    fn describe(text: &mut String) {
        text.push_str(L::NAME);
        text.push('<');
        T::describe(text);
        text.push('>');
    }

    fn measure(init: &T::Init, room: &mut Room) -> Result<(), &'static str> {
        room.take(Self::len(init)?);
        Ok(())
    }

    fn init(init: &T::Init, area: &Area, room: &mut Room) -> io::Result<()> {
        let at = room.take(VALUE.saturating_add(T::size(init).max(1)));
        Self::write(init, area, at)
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError> {
        let (mutex, len) = Self::at(segment, room.position())?;
        room.take_in(segment, len)?;
        Ok(mutex)
    }
}

impl<T: Guarded + ?Sized, L: RawLock> fmt::Debug for RobustMutex<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RobustMutex").field("segment", &self.segment.name()).finish_non_exhaustive()
    }
}

impl<T: Guarded + ?Sized, L: RawLock> Drop for RobustMutex<T, L> {
    /// A handle whose guard was forgotten still has the lock: its memory stays mapped, as the kernel looks
    /// at it when the thread ends.
    fn drop(&mut self) {
        if self.owner.load(Ordering::Relaxed) & HELD != 0 {
            self.segment.keep_for_ever();
        }
    }
}
