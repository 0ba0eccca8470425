//! `Condvar`: waiting for a change of what a mutex guards.
//!
//! The object is one event count, in a line of its own.
//!
//! One who waits takes its key while it holds the mutex, and releases the mutex then. Whoever changes the value
//! holds the mutex too, so the change came before the look at the value that made the other one wait, or it
//! comes after the key; then the call after it changes the word that the sleep looks at, or wakes the sleeper
//! (the proof is [`super::event_count`]'s). The mutex orders the mark before the change, as its words do.
//!
//! Nobody can know of a call that a dead process had yet to make. So no wait is longer than a backstop: one that
//! was not called returns all the same, and its caller looks at the value again, as it must anyway.

use std::io;
use std::time::{Duration, Instant};

use crate::os::clock::Deadline;
use crate::primitive::futex::Waited;
use crate::segment::{Area, Arranged, Arrangement, Segment, SegmentError};

use super::event_count::EventCount;
use super::raw_lock::RawLock;
use super::robust_lock::BACKSTOP;
use super::shared::{Room, Shared, in_a_segment_of_its_own};
use super::{Guarded, LockError, MutexGuard, WaitError};

#[derive(Debug)]
#[repr(C, align(128))]
struct Words {
    bell: EventCount,
}

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Words {}

/// Why a wait on a [`Condvar`] ended. In any case the value must be looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Wakeup {
    /// Somebody notified (or a signal was handled).
    Notified,
    /// The time-out passed.
    TimedOut,
    /// Nobody notified for a backstop of 100 ms: perhaps somebody died who was about to.
    Backstop,
}

/// What a wait gives: the lock again.
pub type Waiting<'a, T, L, R> = Result<(MutexGuard<'a, T, L>, R), LockError<MutexGuard<'a, T, L>>>;

/// Waiting for a change of what a [`Mutex`](crate::Mutex) (or a [`PthreadMutex`](crate::PthreadMutex)) guards, and
/// calling those who wait. It need not be in the mutex's segment; all who use it should use it with the same mutex.
///
/// # When a process dies
/// A waiter that is killed is gone, and nobody notices. If one is killed that was about to notify, or was woken in
/// place of another, those who wait find out for themselves: no wait is longer than 100 ms. So a wait may end
/// without a reason, and must stand in a loop that looks at the value: [`Condvar::wait_while`] is that loop.
///
/// ```
/// use steadfast::{Condvar, Mutex, Segment, SegmentOptions, Shared};
///
/// #[derive(Shared)]
/// struct Shop {
///     tickets: Mutex<u32>,
///     restocked: Condvar,
/// }
///
/// # let name = format!("doc-condvar-{}", std::process::id());
/// let init = ShopInit { tickets: 0, restocked: () };
/// let shop = Segment::of::<Shop>().create(&name, init, &SegmentOptions::new())?;
/// # std::thread::scope(|scope| {
/// # scope.spawn(|| {
///
/// // in one process
/// *shop.tickets.lock().unwrap() = 5;
/// shop.restocked.notify_one();
/// # });
///
/// // in another
/// let tickets = shop.tickets.lock().unwrap();
/// let mut tickets = shop.restocked.wait_while(tickets, |tickets| *tickets == 0).unwrap();
/// *tickets -= 1;
/// # });
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Condvar {
    segment: Segment,
    words: Arranged<Words>,
}

impl Condvar {
    /// Releases the lock, waits for a call, and takes the lock again. It may return without a call, and does
    /// after 100 ms: see above.
    ///
    /// # Errors
    /// Those of [`Mutex::lock`](crate::RobustMutex::lock), which happens at its end: with
    /// [`LockError::OwnerDied`] the lock is held, otherwise it is not.
    pub fn wait<'a, T: Guarded + ?Sized, L: RawLock>(
        &self,
        guard: MutexGuard<'a, T, L>,
    ) -> Result<MutexGuard<'a, T, L>, LockError<MutexGuard<'a, T, L>>> {
        Ok(self.wait_until(guard, Deadline::Never)?.0)
    }

    /// [`Condvar::wait`] for at most `timeout` (by the monotonic clock, and not counting the time it takes to get
    /// the lock again); zero only releases the lock and takes it again. Also tells why it ended.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_timeout<'a, T: Guarded + ?Sized, L: RawLock>(
        &self,
        guard: MutexGuard<'a, T, L>,
        timeout: Duration,
    ) -> Waiting<'a, T, L, Wakeup> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// Waits while `condition` holds, however often it is woken.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_while<'a, T: Guarded + ?Sized, L: RawLock>(
        &self,
        mut guard: MutexGuard<'a, T, L>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T, L>, LockError<MutexGuard<'a, T, L>>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits while `condition` holds, for at most `timeout`. Tells whether it has ceased to hold, at the last look.
    ///
    /// # Errors
    /// As [`Condvar::wait`].
    pub fn wait_timeout_while<'a, T: Guarded + ?Sized, L: RawLock>(
        &self,
        mut guard: MutexGuard<'a, T, L>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Waiting<'a, T, L, bool> {
        let start = Instant::now();
        loop {
            if !condition(&mut guard) {
                return Ok((guard, true));
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok((guard, false));
            }
            guard = self.wait_timeout(guard, left)?.0;
        }
    }

    fn wait_until<'a, T: Guarded + ?Sized, L: RawLock>(
        &self,
        guard: MutexGuard<'a, T, L>,
        deadline: Deadline,
    ) -> Waiting<'a, T, L, Wakeup> {
        let mutex = guard.mutex();
        self.segment.check()?;
        let key = self.words.bell.prepare();
        drop(guard);
        let wakeup = match deadline.nap(BACKSTOP) {
            None => Wakeup::TimedOut,
            Some(nap) => match self.words.bell.sleep(key, nap) {
                Waited::TimedOut if self.words.bell.called_since(key) => Wakeup::Notified,
                Waited::TimedOut if deadline.nap(BACKSTOP).is_none() => Wakeup::TimedOut,
                Waited::TimedOut => Wakeup::Backstop,
                Waited::Woken | Waited::Changed => Wakeup::Notified,
            },
        };
        Ok((mutex.lock()?, wakeup))
    }

    /// Calls one of those who wait, if anybody does. Better done after the value was changed and the lock released;
    /// it need not be held.
    ///
    /// Killed inside: as if it had been called, or not; nobody waits longer than a backstop.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn notify_one(&self) -> Result<(), WaitError> {
        self.notify(1)
    }

    /// Calls up to `count` of those who wait.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn notify(&self, count: u32) -> Result<(), WaitError> {
        self.segment.check()?;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if count != 0 {
            self.words.bell.notify_each(count);
        }
        Ok(())
    }

    /// Calls all who wait.
    ///
    /// # Errors
    /// [`WaitError::Segment`].
    pub fn notify_all(&self) -> Result<(), WaitError> {
        self.notify(u32::MAX)
    }

    /// The segment it lives in.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

impl Shared for Condvar {
    /// It is made from nothing.
    type Init = ();

    fn describe(text: &mut String) {
        text.push_str("Condvar");
    }

    fn measure(_init: &(), room: &mut Room) -> Result<(), &'static str> {
        room.take(size_of::<Words>());
        Ok(())
    }

    fn init(_init: &(), _area: &Area, room: &mut Room) -> io::Result<()> {
        room.take(size_of::<Words>());
        Ok(())
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Condvar, SegmentError> {
        let at = room.take_in(segment, size_of::<Words>())?;
        Ok(Condvar { words: segment.area().arranged(at), segment: segment.clone() })
    }
}

in_a_segment_of_its_own!(
    /// Makes one. (`nothing` is `()`: there is nothing to say.)
    ///
    Condvar, nothing: ()
);
