//! Who is attached: one slot per process, held by a byte lock.
//!
//! | offset in the slot | type | field |
//! |---|---|---|
//! | 0 | u32 | generation: 0 = never used, else 1 ..= 65535, +1 at every attach |
//! | 4 | u32 | process id, in its own PID namespace |
//! | 8 | u64 | start time of the process, in clock ticks since boot |
//! | 16 | u64 | inode number of its PID namespace |
//! | 24 | \[u8; 16\] | name of the process |
//! | 40 | u32 | process id of the one that had the slot before; 0 = nobody had |
//! | 44 | u32 | its generation |
//! | 48 | \[u8; 16\] | its name |
//!
//! # Why a slot tells the truth about life and death
//! Slot *i* belongs to whoever holds lock byte *i* through its own open file description. *Attach*:
//! (1) take a free byte; (2) store the next generation; (3) fill in the rest, which is for people
//! only; (4) only now may `{slot, generation}` be written anywhere as an owner. The kernel gives the
//! byte back when the process is gone.
//! * An owner whose generation is not the table's is dead: the byte was taken again after it, so it
//!   had been given back.
//! * An owner with the table's generation whose byte is free is dead, and stays so: nobody takes
//!   that byte without passing (2).
//! * Otherwise it lives, or a successor is between (1) and (2), which ends; or a child that no
//!   handler told of the fork keeps the description open. The answer errs towards "alive".
//!
//! Killed before (1): nothing happened. Between (1) and (2): the slot is free again, as it was.
//! After (2): the slot is free, and its generation is spent.

use super::area::Area;
use super::layout::{ATTACH_BYTE, Layout, ROLE_BYTE, SLOT_BYTE, fnv1a};
use crate::os::ofd_lock::{LockFile, Mode};
use crate::os::process;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// One attachment of one process to one segment, as written into shared words.
///
/// | bits | meaning |
/// |---|---|
/// | 0..16 | slot, from 1; 0 = nobody (then all bits are 0) |
/// | 16..32 | generation, never 0 |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    fn new(slot: u16, generation: u16) -> Owner {
        Owner(u32::from(slot + 1) | u32::from(generation) << 16)
    }

    /// The bits, as written into a word.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// What bits from a word say; they may be anything.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Owner {
        Owner(bits)
    }

    /// The slot, from 0; `None` for nobody.
    pub(crate) fn slot(self) -> Option<u16> {
        (self.0 as u16).checked_sub(1)
    }

    fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// What a process wrote about itself into its slot, for people. A peer may have written anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// Its process id, in its own PID namespace.
    pub(crate) pid: u32,
    /// Its name: up to 16 bytes, padded with zeros.
    pub(crate) name: [u64; 2],
}

/// A side of a segment's object that is declared single: one handle at a time may have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Role {
    /// The one that puts.
    Producer = 0,
    /// The one that takes.
    Consumer = 1,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Producer => "single producer",
            Role::Consumer => "single consumer",
        })
    }
}

impl Role {
    fn bit(self) -> u32 {
        1 << self as u32
    }

    fn byte(self) -> u64 {
        ROLE_BYTE + self as u64
    }
}

/// The table of slots, and this process's place in it. Dropping it gives the place back.
pub(crate) struct Participants {
    lock: LockFile,
    table: Area,
    layout: Layout,
    me: Owner,
    /// The roles that this process has: a bit each. Probing does not show them, as the description
    /// that holds a lock sees itself as free.
    roles: AtomicU32,
}

impl Participants {
    /// Takes a free slot; `None` when there is none. `table` is the whole mapping.
    ///
    /// # Errors
    /// What the kernel says about the locks.
    pub(crate) fn attach(
        lock: LockFile,
        table: Area,
        layout: Layout,
    ) -> io::Result<Option<Participants>> {
        for slot in 0..layout.participants {
            if lock.try_lock(SLOT_BYTE + u64::from(slot), 1, Mode::Exclusive)? {
                let me = enter(&table, layout.slot_at(slot), slot);
                let roles = AtomicU32::new(0);
                return Ok(Some(Participants { lock, table, layout, me, roles }));
            }
        }
        Ok(None)
    }

    /// This process's owner mark.
    #[inline]
    pub(crate) fn me(&self) -> Owner {
        self.me
    }

    /// The description that carries the locks.
    pub(crate) fn lock(&self) -> &LockFile {
        &self.lock
    }

    /// Whether an owner lives; see the module's documentation. Our own is never probed. When the
    /// kernel cannot be asked: yes.
    pub(crate) fn is_alive(&self, owner: Owner) -> bool {
        if owner == self.me {
            return true;
        }
        let Some(slot) = owner.slot() else { return false };
        if slot >= self.layout.participants || owner.generation() == 0 {
            return false;
        }
        if self.me.slot() == Some(slot) {
            return false; // we have its slot, so it is gone
        }
        let generation = self.table.word32(self.layout.slot_at(slot)).load(Ordering::Acquire);
        if generation != u32::from(owner.generation()) {
            return false;
        }
        let held = self.lock.held_by_others(SLOT_BYTE + u64::from(slot), 1);
        !matches!(held, Ok(None))
    }

    /// What the table says about an owner, for people. `None` if the slot has had two new owners since.
    pub(crate) fn who(&self, owner: Owner) -> Option<Who> {
        let slot = owner.slot().filter(|&slot| slot < self.layout.participants)?;
        let at = self.layout.slot_at(slot);
        let word = |field: usize| self.table.word32(at + field).load(Ordering::Acquire);
        let name = |field: usize| {
            [field, field + 8].map(|field| self.table.word64(at + field).load(Ordering::Relaxed))
        };
        let generation = u32::from(owner.generation());
        if word(0) == generation {
            let who = Who { pid: word(4), name: name(24) };
            if word(0) == generation {
                return Some(who);
            }
        }
        (word(44) == generation).then(|| Who { pid: word(40), name: name(48) })
    }

    /// How many processes are attached, with this one.
    ///
    /// # Errors
    /// What the kernel says about the locks.
    pub(crate) fn users(&self) -> io::Result<usize> {
        Ok(users(&self.lock, self.layout.participants)? + 1)
    }

    /// A number that changes when somebody attaches or is gone, in all likelihood: made of the slots that are
    /// held and their generations. Some 0.5 us for each participant.
    ///
    /// # Errors
    /// What the kernel says about the locks.
    pub(crate) fn census(&self) -> io::Result<u64> {
        let mut census = 0_u64;
        each_held(&self.lock, self.layout.participants, |slot| {
            let word = self.table.word32(self.layout.slot_at(slot));
            let who = u64::from(slot) << 32 | u64::from(word.load(Ordering::Acquire));
            census = census.wrapping_add(fnv1a(&who.to_ne_bytes()));
        })?;
        Ok(census)
    }

    /// Takes a role; false when somebody has it, here or elsewhere.
    ///
    /// # Errors
    /// What the kernel says about the locks.
    pub(crate) fn claim(&self, role: Role) -> io::Result<bool> {
        if self.roles.fetch_or(role.bit(), Ordering::Acquire) & role.bit() != 0 {
            return Ok(false);
        }
        let taken = self.lock.try_lock(role.byte(), 1, Mode::Exclusive);
        if !matches!(taken, Ok(true)) {
            self.roles.fetch_and(!role.bit(), Ordering::Release);
        }
        taken
    }

    /// Gives a role back that `claim` took.
    pub(crate) fn release(&self, role: Role) {
        // In a forked child this is an error and changes nothing, as it should.
        let _ = self.lock.unlock(role.byte(), 1);
        self.roles.fetch_and(!role.bit(), Ordering::Release);
    }

    /// Gives the shared attach lock back and tries for the exclusive one. True: nobody else is
    /// attached, and nobody can attach until this process lets go.
    ///
    /// Of several processes that leave at once the last to ask gets it: every one gives back before
    /// it asks, so the last one finds nobody else's lock, unless another has the exclusive one.
    ///
    /// # Errors
    /// What the kernel says about the locks.
    pub(crate) fn am_last(&self) -> io::Result<bool> {
        self.lock.unlock(ATTACH_BYTE, 1)?;
        self.lock.try_lock(ATTACH_BYTE, 1, Mode::Exclusive)
    }
}

/// Steps (2) and (3) of attaching. Killed inside: see the module's documentation.
fn enter(table: &Area, at: usize, slot: u16) -> Owner {
    let generation = table.word32(at);
    // What is there may be anything; its low 16 bits are as good as any number.
    let before = generation.load(Ordering::Relaxed);
    let next = (before as u16).wrapping_add(1).max(1);
    // Who had it before stays known, for those who find out later that it died.
    table.word32(at + 40).store(table.word32(at + 4).load(Ordering::Relaxed), Ordering::Relaxed);
    table.word32(at + 44).store(before, Ordering::Relaxed);
    for field in [24, 32] {
        let name = table.word64(at + field).load(Ordering::Relaxed);
        table.word64(at + field + 24).store(name, Ordering::Relaxed);
    }
    generation.store(u32::from(next), Ordering::Release);
    table.word32(at + 4).store(process::id(), Ordering::Relaxed);
    table.word64(at + 8).store(process::start_time(), Ordering::Relaxed);
    table.word64(at + 16).store(process::pid_namespace(), Ordering::Relaxed);
    for (word, bytes) in process::name().as_chunks::<8>().0.iter().enumerate() {
        table.word64(at + 24 + word * 8).store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    Owner::new(slot, next)
}

/// How many of the first `slots` slots are held through other descriptions than `lock`.
///
/// # Errors
/// What the kernel says about the locks.
pub(crate) fn users(lock: &LockFile, slots: u16) -> io::Result<usize> {
    let mut users = 0;
    each_held(lock, slots, |_| users += 1)?;
    Ok(users)
}

/// Visits those of the first `slots` slots that are held through other descriptions than `lock`.
///
/// Each question either settles a range or finds at least one held byte, so there are at most
/// `2 * slots + 1` of them, whatever others lock meanwhile.
fn each_held(lock: &LockFile, slots: u16, mut visit: impl FnMut(u16)) -> io::Result<()> {
    let mut ranges = vec![(SLOT_BYTE, u64::from(slots))];
    while let Some((first, count)) = ranges.pop() {
        if count == 0 {
            continue;
        }
        if let Some((found, len)) = lock.held_by_others(first, count)? {
            (found..found + len).for_each(|byte| visit((byte - SLOT_BYTE) as u16));
            // The kernel names any lock in the range, not the first.
            ranges.push((first, found - first));
            ranges.push((found + len, first + count - (found + len)));
        }
    }
    Ok(())
}
