//! What the two kinds of mutex have in common: a lock in a cell of 64 bytes.

use std::io;
use std::sync::atomic::AtomicU64;

use crate::os::clock::Deadline;
use crate::segment::{Kind, Segment, SegmentError};

use super::robust_lock::Acquired;

/// The memory of a [`RawLock`].
#[derive(Debug)]
#[repr(C)]
pub struct Cell(pub(crate) [AtomicU64; 8]);

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

/// The two kinds of lock behind one interface: name it to write code for both, as in
/// `fn sell<L: RawLock>(tickets: &RobustMutex<u32, L>)`. It cannot be implemented outside.
pub trait RawLock: 'static {
    /// Its mutex's name.
    #[doc(hidden)]
    const NAME: &str;

    /// The kind of segment it makes.
    #[doc(hidden)]
    const KIND: Kind;

    /// Initialises the zeroed cell.
    #[doc(hidden)]
    fn init(_cell: &Cell) -> io::Result<()> {
        Ok(())
    }

    /// Takes the lock if that is simple: true if it was free, and the segment is as it should be. What false
    /// means, [`RawLock::acquire`] finds out.
    #[doc(hidden)]
    #[inline]
    fn acquire_free(_segment: &Segment, _cell: &Cell) -> bool {
        false
    }

    /// Takes the lock, and registers it with the kernel for as long as it is held.
    #[doc(hidden)]
    fn acquire(segment: &Segment, cell: &Cell, deadline: Deadline) -> Result<Acquired, NotLocked>;

    /// Releases it, after `last`, if that is simple; otherwise it does neither, and gives false.
    #[doc(hidden)]
    #[inline]
    fn release_simply(_segment: &Segment, _cell: &Cell, _last: impl FnOnce()) -> bool {
        false
    }

    /// Releases it, after `last`; the calling thread must own it. In a forked child, or when the
    /// segment was truncated, it does neither: the lock is not ours then.
    #[doc(hidden)]
    fn release(segment: &Segment, cell: &Cell, last: impl FnOnce());
}
