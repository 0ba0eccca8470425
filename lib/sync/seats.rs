//! A row of seats in a segment, and the handle through which this process takes them.

use crate::os::robust_list::Thread;
use crate::segment::{ArrangedSlice, Arrangement, Segment, SegmentError};

use super::seat::{Seat, first_choice, new_handle};
use super::shared::Room;
use super::{Caller, WaitError};

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Seat {}

/// A row of seats, as one handle sees it. Dropping the handle while a seat that was taken through it is still
/// held (its guard was forgotten) keeps the segment for ever: the kernel looks at the seat when the thread ends.
#[derive(Debug)]
pub(super) struct Seats {
    segment: Segment,
    row: ArrangedSlice<Seat>,
    handle: u64,
}

impl Seats {
    /// How many bytes so many seats have.
    pub(super) fn size(count: usize) -> usize {
        count.saturating_mul(size_of::<Seat>())
    }

    /// The `count` seats that lie there.
    ///
    /// # Errors
    /// `Corrupt` if there is no room for them.
    pub(super) fn place(
        segment: &Segment,
        room: &mut Room,
        count: usize,
    ) -> Result<Seats, SegmentError> {
        let at = room.take_in(segment, Seats::size(count))?;
        let row = segment.area().arranged_slice(at, count);
        Ok(Seats { segment: segment.clone(), row, handle: new_handle() })
    }

    /// The calling thread, if it may use the segment.
    ///
    /// # Errors
    /// `Segment`.
    #[inline]
    pub(super) fn caller(&self) -> Result<Caller<'_>, WaitError> {
        match Caller::enter(&self.segment) {
            Some(caller) => Ok(caller),
            None => Err(self.unusable()),
        }
    }

    #[cold]
    #[inline(never)]
    fn unusable(&self) -> WaitError {
        WaitError::Segment(self.segment.unusable())
    }

    /// All of them.
    pub(super) fn row(&self) -> &[Seat] {
        &self.row
    }

    /// This handle's number.
    pub(super) fn handle(&self) -> u64 {
        self.handle
    }

    /// Takes one that is free.
    #[inline]
    pub(super) fn claim(&self, caller: &Caller) -> Option<usize> {
        let first = first_choice(caller, self.row.len());
        let (before, after) = self.row.split_at(first);
        let claim = |seat: &Seat| seat.claim(caller, self.handle);
        let found = after.iter().position(claim).map(|at| first + at);
        found.or_else(|| before.iter().position(claim))
    }

    /// Leaves one, and does `then`, unless this is a forked child, or the segment was truncated: it is not ours
    /// then.
    #[inline]
    pub(super) fn leave(&self, seat: usize, then: impl FnOnce()) {
        // The segment is usable in the fork of the program that took the seat, on the same thread.
        if self.segment.is_usable() {
            self.leave_ours(&self.row[seat]);
            then();
        }
    }

    /// The same for a reader, who leaves as often as it came.
    #[inline]
    pub(super) fn leave_once(&self, seat: usize) {
        let seat = &self.row[seat];
        if self.segment.is_usable() && !seat.stays_once_less() {
            self.leave_ours(seat);
        }
    }

    #[inline]
    fn leave_ours(&self, seat: &Seat) {
        seat.take_name_away();
        if !Thread::release_lone(seat.lock().word(), || seat.lock().unlock()) {
            self.leave_among_others(seat);
        }
    }

    #[cold]
    fn leave_among_others(&self, seat: &Seat) {
        if let Some(caller) = Caller::enter(&self.segment) {
            seat.leave(&caller);
        }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        let me = self.segment.me().bits();
        if self.row.iter().any(|seat| seat.is_held_through(me, self.handle)) {
            self.segment.keep_for_ever();
        }
    }
}
