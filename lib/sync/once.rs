//! `Once`: work that exactly one process completes.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | u32: 0 = not completed, 1 = completed; changed once, by the owner of the mutex, when the work is done |
//! | 128 | a mutex without a value (see [`super::mutex`]): its owner does the work |
//!
//! Whoever dies at work leaves 0 and a dead owner, so the next one does the work from the beginning.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::os::clock::Deadline;
use crate::segment::{Area, Arranged, Arrangement, Segment, SegmentError};

use super::shared::{Room, Shared, in_a_segment_of_its_own};
use super::{Death, LockError, Mutex, WaitError};

#[derive(Debug)]
#[repr(C, align(128))]
struct Words {
    completed: AtomicU32,
}

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Words {}

/// Work that is to be completed once, by whichever process comes first; the others wait for it.
///
/// # When a process dies
/// One that dies at work, or panics, has not completed it: the next one begins anew, and is told so. The work
/// must bear that.
///
/// ```
/// use steadfast::{Once, SegmentOptions};
///
/// # let name = format!("doc-once-{}", std::process::id());
/// let prepared = Once::create(&name, (), &SegmentOptions::new())?;
/// assert!(prepared.call_once(|_| println!("prepares everything"))?);
/// assert!(!prepared.call_once(|_| unreachable!())?, "somebody has done it");
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Once {
    words: Arranged<Words>,
    main: Mutex<()>,
}

/// What is known to one who does the work of a [`Once`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct OnceAttempt {
    /// Somebody began before, and died or panicked.
    pub is_retry: bool,
}

impl Once {
    /// Does the work, unless somebody has completed it; waits for one who is at it. Tells whether it was done here.
    ///
    /// Everything that was written before the work was completed can be seen afterwards.
    ///
    /// # Errors
    /// [`WaitError::Deadlock`] if the work itself calls this, [`WaitError::Segment`].
    pub fn call_once(&self, work: impl FnOnce(OnceAttempt)) -> Result<bool, WaitError> {
        self.call_until(work, Deadline::Never)
    }

    /// The same, but does not wait for one who is at it.
    ///
    /// # Errors
    /// [`WaitError::WouldBlock`]; otherwise as [`Once::call_once`].
    pub fn try_call_once(&self, work: impl FnOnce(OnceAttempt)) -> Result<bool, WaitError> {
        self.call_until(work, Deadline::Now).map_err(WaitError::at_once)
    }

    /// The same, but waits for one who is at it for at most `timeout`; zero does not wait.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`]; otherwise as [`Once::call_once`].
    pub fn call_once_timeout(
        &self,
        timeout: Duration,
        work: impl FnOnce(OnceAttempt),
    ) -> Result<bool, WaitError> {
        self.call_until(work, Deadline::after(timeout))
    }

    fn call_until(
        &self,
        work: impl FnOnce(OnceAttempt),
        deadline: Deadline,
    ) -> Result<bool, WaitError> {
        self.main.segment.check()?;
        if self.is_completed() {
            return Ok(false);
        }
        let (mut guard, is_retry) = match self.main.lock_if(deadline, || true) {
            Ok(guard) => (guard, false),
            Err(LockError::OwnerDied(guard)) => (guard, true),
            Err(other) => return Err(WaitError::from_lock(other)),
        };
        // Nothing is judged here: a panic below must not make the mutex an abandoned one.
        guard.mark_consistent();
        if self.is_completed() {
            return Ok(false);
        }
        work(OnceAttempt { is_retry });
        self.words.completed.store(1, Ordering::Release);
        Ok(true)
    }

    /// Whether the work is completed.
    pub fn is_completed(&self) -> bool {
        self.words.completed.load(Ordering::Acquire) == 1
    }

    /// Who died last at work, if anybody did.
    pub fn last_death(&self) -> Option<Death> {
        self.main.last_death()
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.main.segment
    }
}

impl Shared for Once {
    /// It is made from nothing.
    type Init = ();

    fn describe(text: &mut String) {
        text.push_str("Once");
    }

    fn measure(_init: &(), room: &mut Room) -> Result<(), &'static str> {
        room.take(size_of::<Words>());
        Mutex::<()>::measure(&(), room)
    }

    fn init(_init: &(), area: &Area, room: &mut Room) -> io::Result<()> {
        room.take(size_of::<Words>());
        Mutex::<()>::init(&(), area, room)
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Once, SegmentError> {
        let at = room.take_in(segment, size_of::<Words>())?;
        let words = segment.area().arranged(at);
        Ok(Once { words, main: Mutex::place(segment, room)? })
    }
}

in_a_segment_of_its_own!(
    /// Makes one whose work is to be done. (`nothing` is `()`: there is nothing to say.)
    ///
    Once, nothing: ()
);
