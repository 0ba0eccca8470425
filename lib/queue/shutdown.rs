//! Ending a queue for everybody.
//!
//! **Drain** has one committing store: the state becomes *drain*. From then on every put fails. What is
//! left is to put the mark behind the last message, so that no consumer can take "empty" for "ended"
//! while a producer is in the middle of a put: the mark goes where the next header would go, and a put
//! that began before either commits first, or finds the mark. Under the producers' lock that is plain;
//! a single producer commits by compare-and-swap from 0, so one of the two wins. If the process that
//! shuts down dies before the mark is set, the first consumer that finds the queue empty sets it.
//!
//! **Now** has one committing store too: the state becomes *now*. Then the mark is set in the same way,
//! and what lies before it is counted under the consumers' lock: gets look at the state under that lock,
//! so nothing is got any more, and nothing is put behind the mark.

use std::sync::atomic::Ordering;

use crate::os::clock::Deadline;
use crate::segment::SegmentError;

use super::object::{Failed, Shared, state};
use super::ring::Corrupt;
use super::{GetError, Shutdown};

impl Shared {
    /// See [`super::Queue::shutdown`].
    pub(crate) fn shutdown(&self, how: Shutdown) -> Result<usize, SegmentError> {
        self.segment.check()?;
        let wanted = match how {
            Shutdown::Drain => state::DRAIN,
            Shutdown::Now => state::NOW,
        };
        let before = self.state_word().fetch_max(wanted, Ordering::SeqCst);
        // Whoever wakes, or comes later, sees the state; what follows may have to wait for a lock.
        self.not_empty().notify_all();
        self.not_full().notify_all();
        if before >= wanted && before != state::DRAIN {
            return Ok(0);
        }
        let result = match how {
            Shutdown::Drain => self.set_mark(Deadline::Never).map(|()| 0),
            Shutdown::Now => self.count_discarded(),
        };
        // What is discarded counts as done.
        self.all_done().notify_all();
        result.map_err(|failed| self.segment_error(failed))
    }

    /// Sets the mark that ends the ring, unless it is there.
    fn set_mark(&self, deadline: Deadline) -> Result<(), Failed> {
        if self.single_producer {
            return Ok(self.ring().close()?);
        }
        Ok(self.locked(self.tail_lock(), deadline, || self.ring().close(), |_| {})??)
    }

    /// How many messages a shutdown discards; to be called once the state says *now*. The mark comes
    /// first, so that a put that began before either is counted or fails.
    fn count_discarded(&self) -> Result<usize, Failed> {
        self.set_mark(Deadline::Never)?;
        let count = || {
            let back = self.returned().map_or(0, |returned| returned.count());
            Ok(self.ring().count_left()?.saturating_add(back))
        };
        let counted: Result<u32, Corrupt> = if self.single_consumer {
            count()
        } else {
            self.locked(self.head_lock(), Deadline::Never, count, |_| {})?
        };
        Ok(counted? as usize)
    }

    /// What a consumer does that finds the queue empty in state *drain*: the process that began the
    /// shutdown may be dead, or about to set the mark itself. `marked` tells whether this get has been
    /// here before: then the mark is set, and not where the messages lead.
    #[cold]
    pub(crate) fn finish_close(
        &self,
        deadline: Deadline,
        marked: &mut bool,
    ) -> Result<(), GetError> {
        let done = if *marked {
            Err(Failed::Corrupt("the messages do not lead to the mark that ends the queue"))
        } else {
            self.set_mark(deadline)
        };
        *marked = true;
        done.map_err(|failed| self.get_error(failed, deadline))
    }
}
