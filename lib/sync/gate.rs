//! The gate between the readers and the writer of a lock.
//!
//! # The words
//! | value of the first, u32 | meaning | who may write it |
//! |---|---|---|
//! | 0 open | nobody writes, and readers may come in | the owner of the main lock |
//! | 1 closed | the owner of the main lock waits until the readers have left, or is a writer that died doing so | as above |
//! | 2 writing | the owner of the main lock has the right to change the value, or died with it | as above |
//!
//! The second, u64, has a bit for each seat: 1 = somebody may have sat there. Bits are never cleared, so a writer looks
//! only at seats that have been used.
//!
//! # Protocol
//! The writer holds the main lock, a robust one. Each reader has a seat (see [`super::seat`]).
//! ```text
//! reader                               writer, which owns the main lock
//! 1 if the gate is not open: go round  a gate := closed, by a locked exchange
//! 2 set the bit of a free seat, claim  b full fence
//!   it
//! 3 full fence                         c wait for each seat to be free, until a whole round finds all so
//! 4 if the gate is not open:           d gate := writing
//!   leave the seat, and go round       e change the value
//! 5 read                               f gate := open
//! 6 leave the seat                     g release the main lock
//! ```
//! *A reader that reads and a writer that writes exclude each other.* Of the fences 3 and b one comes first. If b
//! does, 4 sees the gate closed. If 3 does, c sees the bit set and the seat taken. A seat found free by c that is claimed later is
//! left again at 4, as the gate stays closed until f. The rounds of c end: no reader that comes new passes 1.
//!
//! *Going round*: the reader takes the main lock, so no writer has it; opens the gate if a writer died and left it
//! closed; claims a seat, and releases the main lock. What it claims while it holds the main lock needs no look
//! at the gate.
//!
//! *A reader that reads already* may read once more, whatever the gate says: it counts that in the seat it has, and
//! leaves when it has left as often as it came. It must not go round: the writer may hold the main lock and wait for
//! it. Nor may it take a second seat without a look at the gate: left in the other order, the two would never be seen
//! taken by a writer that passes them in between, one before the second was taken and one after the first was left.
//!
//! *A reader that wants to write* is refused before it waits for the main lock: its owner may wait for this reader.
//!
//! # Death
//! A reader that dies leaves a seat that says so; whoever waits for that seat takes it over (that is what waiting
//! for a robust lock does), and the value is as it was. A writer that dies leaves the main lock marked: the next
//! one, reader or writer, gets it as stolen, and the word tells whether the value may be half changed: only if it
//! is *writing*. The word is opened anew by whoever steals the lock, after that was written down.
//!
//! # Preference
//! A writer that waits for readers keeps new ones out. Writers and readers that wait for a writer compete for the
//! main lock, and whoever comes first gets it.

use crate::os::clock::Deadline;
use crate::primitive::{AtomicU32, AtomicU64, Fault, Ordering, fault, fence_after_rmw};

use super::Caller;
use super::robust_lock::{BACKSTOP, Refused};
use super::seat::{Seat, first_choice};

const OPEN: u32 = 0;
const CLOSED: u32 = 1;
const WRITING: u32 = 2;

/// See the module's documentation.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Gate {
    word: AtomicU32,
    used: AtomicU64,
}

impl Gate {
    /// One for a model.
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Gate {
        Gate { word: AtomicU32::new(OPEN), used: AtomicU64::new(0) }
    }

    /// Lines 1 to 4 of a reader: the seat it has. `None` if the gate is not open, or all seats are taken: go round.
    #[inline]
    pub(crate) fn enter(&self, caller: &Caller, seats: &[Seat], handle: u64) -> Option<usize> {
        if self.word.load(Ordering::Relaxed) != OPEN {
            return None;
        }
        let first = first_choice(caller, seats.len());
        let seat = match self.claim(caller, seats, handle, first) {
            true => first,
            false => self.claim_another(caller, seats, handle, first)?,
        };
        fence_after_rmw();
        if fault(Fault::BlindReader) || self.word.load(Ordering::Acquire) == OPEN {
            return Some(seat);
        }
        seats[seat].leave(caller);
        None
    }

    /// Line 2 for one seat.
    #[inline]
    fn claim(&self, caller: &Caller, seats: &[Seat], handle: u64, seat: usize) -> bool {
        let bit = 1 << seat;
        if self.used.load(Ordering::Relaxed) & bit == 0 {
            self.used.fetch_or(bit, Ordering::SeqCst);
        }
        seats[seat].claim(caller, handle)
    }

    #[cold]
    fn claim_another(
        &self,
        caller: &Caller,
        seats: &[Seat],
        handle: u64,
        first: usize,
    ) -> Option<usize> {
        let mut others = (first + 1..seats.len()).chain(0..first);
        others.find(|&seat| !seats[seat].is_taken() && self.claim(caller, seats, handle, seat))
    }

    /// The seats that somebody may have.
    fn used<'a>(&self, seats: &'a [Seat]) -> impl Iterator<Item = (usize, &'a Seat)> {
        let mut used = self.used.load(Ordering::Relaxed);
        let numbers = std::iter::from_fn(move || {
            let seat = used.trailing_zeros();
            used &= used.checked_sub(1)?;
            Some(seat as usize)
        });
        numbers.filter_map(|seat| Some((seat, seats.get(seat)?)))
    }

    /// The seat that the calling thread has, if it reads.
    pub(crate) fn seat_of(&self, caller: &Caller, seats: &[Seat]) -> Option<usize> {
        Some(self.used(seats).find(|(_, seat)| seat.is_held_by(caller))?.0)
    }

    /// One who reads comes once more: its seat. `None` if it does not read.
    pub(crate) fn enter_again(&self, caller: &Caller, seats: &[Seat]) -> Option<usize> {
        let seat = self.seat_of(caller, seats)?;
        if fault(Fault::SecondSeat) {
            return self.take_seat(caller, seats, 0, Deadline::Never).ok();
        }
        seats[seat].come_again();
        Some(seat)
    }

    /// A seat for one who owns the main lock, and does not read: waits for one if all are taken by the living.
    ///
    /// # Errors
    /// `TimedOut`.
    #[cold]
    pub(crate) fn take_seat(
        &self,
        caller: &Caller,
        seats: &[Seat],
        handle: u64,
        deadline: Deadline,
    ) -> Result<usize, Refused> {
        let first = first_choice(caller, seats.len());
        if self.claim(caller, seats, handle, first) {
            return Ok(first);
        }
        if let Some(seat) = self.claim_another(caller, seats, handle, first) {
            return Ok(seat);
        }
        // Whoever sits there leaves in the end, but nobody knows who does first: each is waited for in turn.
        let round = (first..seats.len()).chain(0..first);
        for wait_for in round.clone().cycle() {
            let sits =
                |seat: usize, deadline| seats[seat].claim_by(caller, handle, deadline).is_ok();
            if let Some(seat) = round.clone().find(|&seat| sits(seat, Deadline::Now)) {
                return Ok(seat);
            }
            let Some(nap) = deadline.nap(BACKSTOP) else { break };
            if sits(wait_for, Deadline::after(nap)) {
                return Ok(wait_for);
            }
        }
        Err(Refused::TimedOut)
    }

    /// Lines a to d of a writer, which owns the main lock. If it fails, the gate is open again.
    ///
    /// # Errors
    /// `Deadlock` if the caller itself reads, `TimedOut` if others read until the deadline.
    pub(crate) fn shut(
        &self,
        caller: &Caller,
        seats: &[Seat],
        deadline: Deadline,
    ) -> Result<(), Refused> {
        self.word.swap(CLOSED, Ordering::SeqCst);
        fence_after_rmw();
        loop {
            let mut quiet = true;
            for (_, seat) in self.used(seats).filter(|(_, seat)| seat.is_taken()) {
                quiet = false;
                if let Err(refused) = seat.wait_free(caller, deadline) {
                    self.open();
                    return Err(refused);
                }
            }
            if quiet {
                self.word.store(WRITING, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    /// Line f; also for one who has the main lock and finds the gate as a dead writer left it.
    #[inline]
    pub(crate) fn open(&self) {
        self.word.store(OPEN, Ordering::Release);
    }

    /// Whether a writer has, or died with, the right to change the value. For the owner of the main lock.
    #[inline]
    pub(crate) fn is_writing(&self) -> bool {
        self.word.load(Ordering::Relaxed) == WRITING
    }
}
