//! What is remembered beside a lock about its value, and about who died holding it.
//!
//! # The control block
//! | offset | what |
//! |---|---|
//! | 0 | the lock's cell (see [`Futex`](super::Futex) and [`Pthread`](super::Pthread)) |
//! | 64 | state, u32 |
//! | 68 | the participant that died last while it held the lock, u32; 0 = nobody, or not known |
//! | 72 | its process id, u32; 0 = not known |
//! | 76 | how many died holding it, u32 |
//! | 80 | when that was noticed, u64: nanoseconds since 1970 |
//! | 88 | its name, 16 bytes |
//! | 128 | the value |
//!
//! From offset 68 on it is for people: nothing is decided by it.
//!
//! # The state, changed only by the lock's owner
//! | value | meaning |
//! |---|---|
//! | 0 clean | the value is as its last owner left it |
//! | 1 inconsistent | an owner died (or panicked) while it held the lock; nobody has judged the value yet |
//! | 2 abandoned | the owner that was to judge it gave it up; only `repair` and `replace` go on |
//! | 3 being repaired | the lock's owner knows of the death and mends the value |
//!
//! A thief writes *inconsistent* first of all. If it is killed before or after, the lock is marked again and
//! the next thief does it. So whoever sees *clean* has a value that no dead owner was changing. A repairer
//! that dies leaves *being repaired*, which the next thief makes *inconsistent*: whatever it was before.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::segment::{Arrangement, Owner, Segment};

use super::raw_lock::Cell;

/// What lies before the value: the table above as a type.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Control {
    pub(super) cell: Cell,
    state: AtomicU32,
    dead_owner: AtomicU32,
    dead_pid: AtomicU32,
    deaths: AtomicU32,
    noticed: AtomicU64,
    dead_name: [AtomicU64; 2],
}

const _: () = {
    assert!(std::mem::offset_of!(Control, state) == 64);
    assert!(std::mem::offset_of!(Control, noticed) == 80);
    assert!(size_of::<Control>() == 128);
};

// SAFETY: repr(C), and nothing but atomics.
unsafe impl Arrangement for Control {}

pub(super) const CLEAN: u32 = 0;
pub(super) const INCONSISTENT: u32 = 1;
pub(super) const ABANDONED: u32 = 2;
pub(super) const REPAIRED: u32 = 3;

/// How the value behind a lock stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Consistency {
    /// It is as its last owner left it.
    Clean,
    /// An owner died or panicked while it held the lock, and nobody has looked at the value since. Also
    /// while nobody has tried to lock since that death, it still reads as [`Consistency::Clean`]: a death
    /// is noticed by the next locker.
    OwnerDied,
    /// Somebody who knows of the death holds the lock, and mends the value.
    BeingRepaired,
    /// Somebody who was to mend the value gave it up.
    Abandoned,
}

/// A process, or a thread of it, that died holding a lock.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Death {
    /// Its process id, in its own PID namespace; `None` if that is not known any more, or never was (the
    /// C library's mutex does not tell).
    pub pid: Option<u32>,
    /// The name of its process, as far as it is known.
    pub name: String,
    /// When the next owner noticed.
    pub noticed: SystemTime,
    /// How many died holding this lock so far, with this one.
    pub count: u32,
}

impl Control {
    #[inline]
    pub(super) fn state(&self) -> u32 {
        self.state.load(Ordering::Relaxed)
    }

    /// To be called by the lock's owner only. It is released to others with the lock.
    #[inline]
    pub(super) fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::Relaxed);
    }

    pub(super) fn consistency(&self) -> Consistency {
        match self.state() {
            CLEAN => Consistency::Clean,
            ABANDONED => Consistency::Abandoned,
            REPAIRED => Consistency::BeingRepaired,
            _ => Consistency::OwnerDied,
        }
    }

    /// What a thief does first: it declares the value inconsistent if the dead owner had a right to it,
    /// and writes down who that was.
    #[cold]
    pub(super) fn note_death(&self, segment: &Segment, dead: u32, touched: bool) {
        if touched && self.state() != ABANDONED {
            self.set_state(INCONSISTENT);
        }
        let who = segment.who(Owner::from_bits(dead));
        self.dead_owner.store(dead, Ordering::Relaxed);
        self.dead_pid.store(who.map_or(0, |who| who.pid), Ordering::Relaxed);
        let names = who.map_or([0; 2], |who| who.name);
        for (word, name) in self.dead_name.iter().zip(names) {
            word.store(name, Ordering::Relaxed);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.noticed.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let deaths = self.deaths.load(Ordering::Relaxed);
        self.deaths.store(deaths.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn last_death(&self) -> Option<Death> {
        let count = self.deaths.load(Ordering::Relaxed);
        if count == 0 {
            return None;
        }
        let mut name = Vec::with_capacity(16);
        for word in &self.dead_name {
            name.extend(word.load(Ordering::Relaxed).to_ne_bytes());
        }
        name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(16));
        let pid = self.dead_pid.load(Ordering::Relaxed);
        Some(Death {
            pid: (pid != 0).then_some(pid),
            name: String::from_utf8_lossy(&name).into_owned(),
            noticed: UNIX_EPOCH + Duration::from_nanos(self.noticed.load(Ordering::Relaxed)),
            count,
        })
    }
}
