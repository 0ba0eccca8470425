//! A count of permits that nobody owns: the words of both semaphores.
//!
//! | offset | what |
//! |---|---|
//! | 0 | how many there are, u32: 0 ..= 2147483647 |
//! | 4 | the event count of those who wait for one |
//!
//! Taking and giving are one instruction each: whoever is killed has done it or not. Killed between giving and
//! calling, or called and killed before taking: a permit is there, and those who sleep find it within a
//! backstop.

use crate::os::clock::Deadline;
use crate::primitive::{AtomicU32, Ordering};

use super::Caller;
use super::event_count::EventCount;
use super::waiting::{self, SPINS};

/// The most permits there can be: the limit of the platform's own semaphores, and of the reference.
pub(crate) const MOST: u32 = i32::MAX as u32;

/// See the module's documentation.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Count {
    pub(crate) permits: AtomicU32,
    pub(crate) bell: EventCount,
}

impl Count {
    #[inline]
    fn try_take(&self) -> Option<()> {
        let mut seen = self.permits.load(Ordering::Relaxed);
        while seen != 0 {
            match self.permits.compare_exchange(seen, seen - 1, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Some(()),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Takes one if there is one.
    #[inline]
    pub(crate) fn take_free(&self) -> bool {
        self.try_take().is_some()
    }

    /// Takes one; false if there was none until the deadline.
    pub(crate) fn take(&self, caller: &Caller, deadline: Deadline) -> bool {
        waiting::until(&self.bell, caller, deadline, SPINS, |_| self.try_take()).is_some()
    }

    /// Gives `more`, unless there would be more than `most` then.
    #[inline]
    pub(crate) fn give(&self, more: u32, most: u32) -> bool {
        let mut seen = self.permits.load(Ordering::Relaxed);
        loop {
            let Some(after) = seen.checked_add(more).filter(|&after| after <= most) else {
                return false;
            };
            match self.permits.compare_exchange(seen, after, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        self.bell.notify_each(more);
        true
    }
}
