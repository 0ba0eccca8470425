//! The lock of [`crate::PthreadMutex`]: the C library's robust mutex.

use std::io;
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::os::pthread::{self, Locked};
use crate::segment::{Kind, Segment, SegmentError};

use super::Caller;
use super::raw_lock::{Cell, NotLocked, RawLock};
use super::robust_lock::{Acquired, BACKSTOP};

/// A robust, process-shared, error-checking `pthread_mutex_t`, for sharing a lock with C programs.
///
/// Its hazards, which [`Futex`](crate::Futex) does not have: the C library follows pointers that lie
/// in shared memory, so every peer that may write the segment must be trusted; and it knows owners by
/// thread id alone, so all users must be in the PID namespace of the segment (others are refused when
/// they open it). It is also slower. An owner that becomes another program
/// (`exec` from a thread that is not its first) keeps it for ever. And a C program that takes the mutex over from a dead owner must call
/// `pthread_mutex_consistent` before it unlocks; otherwise the mutex is lost for good, and every later
/// attempt, `repair` and `replace` too, is an error.
///
/// Its cell: the `pthread_mutex_t` at +0. What a C program needs to know is in `docs/c-layout.md`.
#[derive(Debug)]
pub enum Pthread {}

const _: () = assert!(pthread::SIZE <= size_of::<Cell>());

fn mutex_of(cell: &Cell) -> *mut u8 {
    std::ptr::from_ref(cell).cast_mut().cast()
}

fn failed(segment: &Segment, source: io::Error) -> NotLocked {
    let operation = "lock the pthread mutex of";
    let name = segment.name().to_owned();
    NotLocked::Failed(Box::new(SegmentError::Io { name, operation, source }))
}

impl RawLock for Pthread {
    const NAME: &str = "PthreadMutex";
    const KIND: Kind = Kind::PthreadMutex;

    fn init(cell: &Cell) -> io::Result<()> {
        // SAFETY: the cell has room for the mutex (checked above), is aligned to 128, and the segment is
        // not published yet.
        unsafe { pthread::init(mutex_of(cell)) }
    }

    fn acquire(segment: &Segment, cell: &Cell, deadline: Deadline) -> Result<Acquired, NotLocked> {
        let caller = Caller::enter(segment).ok_or(NotLocked::Unusable)?;
        let mutex = mutex_of(cell);
        let recorded = caller.joins(mutex);
        let refused = loop {
            let nap = deadline.nap(BACKSTOP);
            // SAFETY: the creator initialised the mutex before the segment was published, and the
            // segment is kept while this thread owns it.
            let locked = unsafe { pthread::lock(mutex, nap.unwrap_or(Duration::ZERO)) };
            let acquired = match locked {
                Ok(Locked::Clean) => Acquired::Clean,
                Ok(Locked::OwnerDied) => Acquired::Stolen(0),
                Ok(Locked::Busy) if nap.is_some() => continue,
                Ok(Locked::Busy) => break NotLocked::TimedOut,
                Ok(Locked::Deadlock) => break NotLocked::Deadlock,
                Err(source) => break failed(segment, source),
            };
            caller.joined(recorded);
            return Ok(acquired);
        };
        caller.withdraw(recorded);
        Err(refused)
    }

    fn release(segment: &Segment, cell: &Cell, last: impl FnOnce()) {
        // An inherited guard in a forked child must not touch its parent's lock.
        let Some(caller) = Caller::enter(segment) else { return };
        last();
        let mutex = mutex_of(cell);
        caller.leaving(mutex, || {
            // SAFETY: as above. An error means that a peer overwrote the mutex: there is nothing left
            // to release, and the next locker gets an error of its own.
            let _ = unsafe { pthread::unlock(mutex) };
        });
    }
}
