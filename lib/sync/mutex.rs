//! `Mutex<T>` and `PthreadMutex<T>`: a value in a segment of its own, behind a robust lock.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | constants, checksummed: size and alignment of the value |
//! | 128 | the lock's cell (see [`Futex`] and [`Pthread`]) |
//! | 192 | state, u32 |
//! | 196 | the participant that died last while it held the lock, u32 (for people) |
//! | 256 | the value |
//!
//! # The state, changed only by the lock's owner
//! | value | meaning |
//! |---|---|
//! | 0 clean | the value is as its last owner left it |
//! | 1 inconsistent | an owner died (or panicked) while it held the lock; nobody has judged the value yet |
//! | 2 abandoned | the owner that was to judge it gave it up; only [`RobustMutex::repair`] and [`RobustMutex::replace`] go on |
//!
//! A thief writes *inconsistent* first of all. If it is killed before or after, the lock is marked again and
//! the next thief does it. So whoever sees *clean* has a value that no dead owner was changing.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::segment::{
    Area, Arranged, Arrangement, Constants, Kind, Segment, SegmentError, SegmentOptions,
};

use super::mutex_guard::MutexGuard;
use super::robust_lock::Acquired;
use super::{Futex, LockError, Pthread, Shareable};

/// Where the lock's cell is in a segment of its own.
const CONTROL: usize = 128;

/// The memory of a [`RawLock`].
#[derive(Debug)]
#[repr(C)]
pub struct Cell(pub(crate) [AtomicU64; 8]);

/// What lies before the value, from the cell on: the table above as a type.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Control {
    pub(super) cell: Cell,
    state: AtomicU32,
    last_dead: AtomicU32,
}

const _: () = {
    assert!(std::mem::offset_of!(Control, state) == 64);
    assert!(size_of::<Control>() == 128);
};

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Control {}

pub(super) const CLEAN: u32 = 0;
pub(super) const INCONSISTENT: u32 = 1;
pub(super) const ABANDONED: u32 = 2;

/// Bits of [`RobustMutex::owner`]: it has yet to judge the value; it panicked before it locked.
pub(super) const UNJUDGED: u8 = 1;
pub(super) const PANICKING: u8 = 2;
/// It has the lock.
const HELD: u8 = 4;

/// Why a [`RawLock`] was not obtained.
#[derive(Debug)]
pub enum NotLocked {
    /// The deadline passed.
    TimedOut,
    /// The calling thread holds it already.
    Deadlock,
    /// The segment cannot be used: see [`Segment::check`].
    Unusable,
    /// The C library refused.
    Failed(Box<SegmentError>),
}

/// What came of an attempt to lock a [`RobustMutex`].
enum Verdict {
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

/// The two kinds of lock behind one interface: name it to write code for both, as in
/// `fn sell<L: RawLock>(tickets: &RobustMutex<u32, L>)`. It cannot be implemented outside.
pub trait RawLock: 'static {
    /// The kind of segment it makes.
    #[doc(hidden)]
    const KIND: Kind;

    /// Initialises the zeroed cell.
    #[doc(hidden)]
    fn init(_cell: &Cell) -> io::Result<()> {
        Ok(())
    }

    /// Takes the lock, and registers it with the kernel for as long as it is held.
    #[doc(hidden)]
    fn acquire(segment: &Segment, cell: &Cell, deadline: Deadline) -> Result<Acquired, NotLocked>;

    /// Releases it, after `last`; the calling thread must own it. In a forked child, or when the
    /// segment was truncated, it does neither: the lock is not ours then.
    #[doc(hidden)]
    fn release(segment: &Segment, cell: &Cell, last: impl FnOnce());
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
pub struct RobustMutex<T: Shareable, L: RawLock> {
    pub(super) segment: Segment,
    pub(super) control: Arranged<Control>,
    /// What the one guard of this handle remembers; only the lock's owner uses it.
    pub(super) owner: AtomicU8,
    kind: PhantomData<fn(T) -> L>,
}

/// A mutex over our own robust lock. See [`RobustMutex`].
pub type Mutex<T> = RobustMutex<T, Futex>;

/// A mutex over the C library's robust mutex, with the same interface and results; for sharing a
/// lock with C programs. See [`RobustMutex`], and [`Pthread`] for its hazards.
pub type PthreadMutex<T> = RobustMutex<T, Pthread>;

impl<T: Shareable, L: RawLock> RobustMutex<T, L> {
    const CONSTANTS: Constants<2> = Constants::new([size_of::<T>() as u64, align_of::<T>() as u64]);

    /// Makes a segment that holds `value`, unlocked.
    ///
    /// Killed inside: the segment is there whole, or not at all.
    ///
    /// # Errors
    /// As [`Segment::create`].
    pub fn create(name: &str, value: T, options: &SegmentOptions) -> Result<Self, SegmentError> {
        if L::KIND == Kind::PthreadMutex && crate::os::process::pid_namespace() == 0 {
            // Nobody, not even its creator, could open it.
            return Err(SegmentError::ForeignNamespace { name: name.to_owned() });
        }
        let len = Self::len(name)?;
        let segment =
            Segment::create_object(name, L::KIND, len, options, |area| Self::init(area, &value))?;
        Self::attached(segment)
    }

    /// Opens the mutex that another program made.
    ///
    /// # Errors
    /// As [`Segment::open`]; `WrongKind` if the segment holds something else, `Corrupt` if it holds
    /// a value of another size or alignment.
    pub fn open(name: &str) -> Result<Self, SegmentError> {
        Self::attached(Segment::open_object(name, L::KIND)?)
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
        let len = Self::len(name)?;
        let segment = Segment::open_or_create_object(name, L::KIND, len, options, |area| {
            Self::init(area, &value)
        })?;
        Self::attached(segment)
    }

    fn len(name: &str) -> Result<u64, SegmentError> {
        if align_of::<T>() > 128 {
            let what = "the value's alignment is above 128 bytes";
            return Err(SegmentError::InvalidArgument { name: name.to_owned(), what });
        }
        Ok((CONTROL + size_of::<Control>() + size_of::<T>().max(1)) as u64)
    }

    fn init(area: &Area, value: &T) -> io::Result<()> {
        Self::CONSTANTS.write(area);
        let control = area.arranged::<Control>(CONTROL);
        area.copy_in(CONTROL + size_of::<Control>(), value.as_bytes());
        L::init(&control.cell)
    }

    fn attached(segment: Segment) -> Result<Self, SegmentError> {
        let corrupt =
            |what: &'static str| SegmentError::Corrupt { name: segment.name().to_owned(), what };
        let area = segment.area();
        if area.len() < CONTROL + size_of::<Control>() + size_of::<T>().max(1) {
            return Err(corrupt("the object is too short for the value"));
        }
        match Constants::<2>::read(area) {
            None => return Err(corrupt("the mutex's constants do not have their checksum")),
            Some(found) if found != Self::CONSTANTS => {
                return Err(corrupt("it holds a value of another size or alignment"));
            }
            Some(_) => {}
        }
        if L::KIND == Kind::PthreadMutex && !segment.native_tid() {
            return Err(SegmentError::ForeignNamespace { name: segment.name().to_owned() });
        }
        let owner = AtomicU8::new(0);
        Ok(RobustMutex { control: area.arranged(CONTROL), owner, segment, kind: PhantomData })
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
        self.lock_until(Deadline::Now).map_err(|error| match error {
            LockError::TimedOut => LockError::WouldBlock,
            other => other,
        })
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
    fn lock_until(
        &self,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        let panicking = std::thread::panicking();
        let verdict = match L::acquire(&self.segment, &self.control.cell, deadline) {
            Ok(Acquired::Clean)
                if self.state().load(Ordering::Relaxed) == CLEAN && self.value_is_valid() =>
            {
                Verdict::Clean
            }
            attempt => self.judge(attempt),
        };
        self.pronounce(verdict, panicking)
    }

    /// Takes the lock in whatever state the value is; `valid`: unless the bytes are no value at all.
    fn lock_anyhow(
        &self,
        valid: bool,
    ) -> Result<MutexGuard<'_, T, L>, LockError<MutexGuard<'_, T, L>>> {
        let panicking = std::thread::panicking();
        let verdict = match self.own(L::acquire(&self.segment, &self.control.cell, Deadline::Never))
        {
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
    fn judge(&self, attempt: Result<Acquired, NotLocked>) -> Verdict {
        if let Err(verdict) = self.own(attempt) {
            return verdict;
        }
        let state = self.state().load(Ordering::Relaxed);
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
    fn own(&self, attempt: Result<Acquired, NotLocked>) -> Result<(), Verdict> {
        match attempt {
            Ok(Acquired::Clean) => Ok(()),
            Ok(Acquired::Stolen(dead)) => {
                if self.state().load(Ordering::Relaxed) == CLEAN {
                    self.state().store(INCONSISTENT, Ordering::Relaxed);
                }
                self.control.last_dead.store(dead, Ordering::Relaxed);
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
            Verdict::Inconsistent => LockError::OwnerDied(guard(UNJUDGED)),
            Verdict::Abandoned => LockError::Abandoned,
            Verdict::TimedOut => LockError::TimedOut,
            Verdict::Deadlock => LockError::Deadlock,
            Verdict::Corrupt => LockError::Corrupt,
            Verdict::Segment(error) => LockError::Segment(*error),
        })
    }

    /// Takes the lock in whatever state the value is, lets `mend` put it right, and marks it clean.
    /// If `mend` panics, the value counts as inconsistent.
    ///
    /// # Errors
    /// [`LockError::Corrupt`] if the bytes are not a value at all (see [`RobustMutex::replace`]),
    /// [`LockError::Deadlock`], [`LockError::Segment`].
    pub fn repair(&self, mend: impl FnOnce(&mut T)) -> Result<(), LockError<MutexGuard<'_, T, L>>> {
        let mut guard = self.lock_anyhow(true)?;
        if self.state().load(Ordering::Relaxed) != CLEAN {
            self.owner.fetch_or(UNJUDGED, Ordering::Relaxed);
        }
        mend(&mut guard);
        guard.mark_consistent();
        Ok(())
    }

    /// Takes the lock in whatever state the value is, and puts `value` in its place.
    ///
    /// # Errors
    /// [`LockError::Deadlock`], [`LockError::Segment`].
    pub fn replace(&self, value: T) -> Result<(), LockError<MutexGuard<'_, T, L>>> {
        let mut guard = self.lock_anyhow(false)?;
        // SAFETY: this guard has the sole right to the bytes, which have room for the value; the old one,
        // if it is one, has no destructor.
        unsafe { self.value().write(value) };
        guard.mark_consistent();
        Ok(())
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    #[inline]
    pub(super) fn state(&self) -> &AtomicU32 {
        &self.control.state
    }

    /// Where the value lies; [`RobustMutex::attached`] has checked that there is room for it.
    #[inline]
    pub(super) fn value(&self) -> *mut T {
        self.control.end().cast()
    }

    /// Whether the bytes are a value of the type; to be called with the lock held.
    #[inline]
    fn value_is_valid(&self) -> bool {
        // SAFETY: the bytes are mapped, and nobody writes them while we hold the lock, except a peer
        // that breaks the rules (documented: the peers are trusted with the value).
        let bytes = unsafe {
            std::slice::from_raw_parts(self.value().cast_const().cast::<u8>(), size_of::<T>())
        };
        T::try_ref_from_bytes(bytes).is_ok()
    }
}

impl<T: Shareable, L: RawLock> fmt::Debug for RobustMutex<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RobustMutex").field("segment", &self.segment.name()).finish_non_exhaustive()
    }
}

impl<T: Shareable, L: RawLock> Drop for RobustMutex<T, L> {
    /// A handle whose guard was forgotten still has the lock: its memory stays mapped, as the kernel looks
    /// at it when the thread ends.
    fn drop(&mut self) {
        if self.owner.load(Ordering::Relaxed) & HELD != 0 {
            self.segment.keep_for_ever();
        }
    }
}
