//! The one switch between the machine's atomics and loom's, and the few primitives that have no
//! name in the standard library.
//!
//! The robust lock, the event count, the cores of the primitives on top of them and the ring are written against
//! this module only, so that the same lines run on shared memory and inside a loom model
//! (`RUSTFLAGS="--cfg loom"`).

#[cfg(not(all(test, loom)))]
mod real {
    pub(crate) use crate::os::futex;
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    /// A full fence for a thread whose previous shared access was a read-modify-write.
    ///
    /// In the memory model this is `fence(SeqCst)`. On x86-64 every locked instruction is already a
    /// full barrier, so only the compiler has to be told; an `mfence` would cost some 17 ns.
    #[inline(always)]
    pub(crate) fn fence_after_rmw() {
        if cfg!(target_arch = "x86_64") {
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            std::sync::atomic::fence(Ordering::SeqCst);
        }
    }
}

#[cfg(all(test, loom))]
mod real {
    pub(crate) use crate::loom_kernel::{
        AtomicU32, AtomicU64, Ordering, fault, fence_after_rmw, futex, spin_loop,
    };
}

pub(crate) use real::*;

/// A deliberate fault, for the tests that show that the sweep and the storm would see it. Exists
/// only in builds with `--cfg steadfast_faults`; everywhere else [`fault`] is the constant `false`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(all(test, loom), allow(dead_code))] // the models run only a part of the library
pub(crate) enum Fault {
    /// The record's header is stored before its body.
    CommitBeforeBody,
    /// The event count loses its sequence number: one bit, set and cleared.
    OneBitDoorbell,
    /// The tail moves before the header is stored.
    TailBeforeHeader,
    /// An unlock does not wake the waiter it found announced.
    UnlockWithoutWake,
    /// A lock is taken without the kernel being told of it.
    UnarmedLock,
    /// A message in the store becomes leased only after the head has moved.
    LateLease,
    /// The index of what came back does not say that it is being changed.
    UntornIndex,
    /// A free chunk is shortened before the rest of it has a header.
    CutBeforeRest,
    /// A reader that finds a dead writer opens the gate before it has written down what that one left.
    GateBeforeState,
    /// A dead party's place is cleared before the barrier is broken for it.
    PlaceBeforeBreak,
    /// The barrier trips without a look for the dead.
    TripOverDead,
    /// A large value counts before its bytes are there.
    WordBeforeBytes,
    /// A caller that finds nobody asleep clears the mark, and does not look for those who fell asleep meanwhile.
    HastyBell,
    /// A reader that has a seat does not look at the gate once more.
    BlindReader,
    /// A reader that reads again takes a second seat.
    SecondSeat,
}

/// Whether the fault `which` is planted: always false, except in a `--cfg steadfast_faults` build
/// whose environment names it in `STEADFAST_FAULT`.
#[cfg(not(any(steadfast_faults, all(test, loom))))]
#[inline(always)]
pub(crate) const fn fault(_which: Fault) -> bool {
    false
}

/// See above: the build with planted faults reads the choice once.
#[cfg(all(steadfast_faults, not(all(test, loom))))]
pub(crate) fn fault(which: Fault) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| match std::env::var("STEADFAST_FAULT").as_deref() {
        Ok("commit-before-body") => Some(Fault::CommitBeforeBody),
        Ok("one-bit-doorbell") => Some(Fault::OneBitDoorbell),
        Ok("tail-before-header") => Some(Fault::TailBeforeHeader),
        Ok("unlock-without-wake") => Some(Fault::UnlockWithoutWake),
        Ok("unarmed-lock") => Some(Fault::UnarmedLock),
        Ok("late-lease") => Some(Fault::LateLease),
        Ok("untorn-index") => Some(Fault::UntornIndex),
        Ok("cut-before-rest") => Some(Fault::CutBeforeRest),
        Ok("gate-before-state") => Some(Fault::GateBeforeState),
        Ok("place-before-break") => Some(Fault::PlaceBeforeBreak),
        Ok("trip-over-dead") => Some(Fault::TripOverDead),
        Ok("word-before-bytes") => Some(Fault::WordBeforeBytes),
        Ok("hasty-bell") => Some(Fault::HastyBell),
        Ok("blind-reader") => Some(Fault::BlindReader),
        Ok("second-seat") => Some(Fault::SecondSeat),
        _ => None,
    });
    *chosen == Some(which)
}
