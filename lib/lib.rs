//! Shared-memory inter-process communication for Linux that nothing can wedge.
//!
//! Separately started programs meet in named segments of shared memory and exchange messages and
//! locked values. Kill any of them with SIGKILL at any instruction: nothing is lost, nothing is
//! doubled, and nobody hangs.
//!
//! ```
//! use steadfast::{Queue, QueueOptions};
//!
//! # let name = format!("doc-lib-{}", std::process::id());
//! let queue: Queue = Queue::create(&name, &QueueOptions::new())?;
//! queue.put(b"hello")?;
//!
//! // in any other process: Queue::open(&name)?
//! assert_eq!(queue.get()?, b"hello");
//! # steadfast::Segment::unlink(&name)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | | |
//! |---|---|
//! | [`Queue`] | bounded, first in first out, any number of producers and consumers |
//! | [`JoinableQueue`], [`Lease`] | the same for work: acknowledged, handed out again when a consumer dies |
//! | [`Producer`], [`Consumer`] | a side that one process has alone: no lock, messages in place |
//! | [`ReadyFd`] | tells `epoll` and other event loops that there is something to get |
//! | [`Mutex`] | a value behind a robust lock: says when its owner died |
//! | [`PthreadMutex`] | the same over a robust pthread mutex, to share with C programs |
//! | [`RLock`], [`RwLock`], [`Array`] | further locks: taken again, read by many, a row of values |
//! | [`Condvar`], [`Event`], [`Barrier`], [`Once`] | waiting for a change, a flag, each other, something done |
//! | [`Semaphore`], [`BoundedSemaphore`], [`Permits`] | counts of signals; permits that come back from the dead |
//! | [`Value`] | a value that is read and replaced whole |
//! | [`Shared`] | several of these in one segment, as a struct |
//! | [`Process`] | a function in a process of its own: started, joined, its result or how it died |
//! | [`Segment`] | the shared memory itself: create, open, list, clean up |
//!
//! With the feature `tokio` queues have asynchronous operations too: `put_async`, `get_async`, `join_async`.
//!
//! # Layers
//! `os` (the kernel, one object per file) -> `segment` (named memory with a checked header) -> `sync`
//! (locks, sleeping) -> `queue`; and `os` -> `segment` -> `process`. Nothing calls upwards; a wake-up is a
//! number that changed.
//!
//! # Platform
//! Linux 5.5 or later with glibc, 64 bits, little endian. x86-64 is tested; aarch64 is meant to work.

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!(
    "steadfast needs Linux with glibc: it relies on Linux's robust futexes, open-file-description \
     locks and tmpfs, and on how glibc registers each thread's robust list"
);
#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!(
    "steadfast needs a 64-bit little-endian processor: the lock word is one 64-bit atomic whose low \
     half the kernel reads as a futex"
);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("steadfast's memory ordering is argued for x86-64 and aarch64 only");

#[cfg(not(all(test, loom)))]
mod message;
#[cfg(not(all(test, loom)))]
mod os;
mod primitive;
#[cfg(not(all(test, loom)))]
mod process;
#[cfg(not(all(test, loom)))]
mod queue;
#[cfg(not(all(test, loom)))]
mod segment;
#[cfg(not(all(test, loom)))]
mod sync;

#[cfg(not(all(test, loom)))]
pub use message::Message;
#[cfg(not(all(test, loom)))]
pub use os::sigbus::guard_against_truncation;
#[cfg(not(all(test, loom)))]
pub use process::{
    ChildProcess, CurrentProcess, ExitStatus, Function, OrphanPolicy, ParentProcess, Process,
    ProcessError, ResultError, Run, StartError, active_children, current_process, init,
    parent_process,
};
#[cfg(not(all(test, loom)))]
pub use queue::{
    Batch, Consumer, DeadLetter, GetError, JoinError, JoinableQueue, Lease, LeaseError, NotClosed,
    Producer, PutError, Queue, QueueOptions, ReadyFd, Reason, Shutdown, View, WriteGuard,
    from_bytes, to_bytes,
};
#[cfg(not(all(test, loom)))]
pub use segment::{
    CleanOptions, CleanReason, Cleaned, Kind, Role, Segment, SegmentError, SegmentInfo,
    SegmentOptions,
};
#[cfg(not(all(test, loom)))]
pub use sync::{
    Array, Barrier, BoundedSemaphore, Condvar, Consistency, Death, Event, Futex, Guarded, Judge,
    LockError, Mutex, MutexGuard, Once, OnceAttempt, Party, Permit, Permits, Pthread, PthreadMutex,
    PthreadMutexGuard, RLock, RLockGuard, RawLock, RobustMutex, RwLock, RwLockReadGuard,
    RwLockWriteGuard, SegmentOf, Semaphore, Shareable, Shared, Value, WaitError, Waiting, Wakeup,
};

/// What `#[derive(Shared)]` and `register!` write code for. Not part of the interface.
#[cfg(not(all(test, loom)))]
#[doc(hidden)]
pub mod parts {
    pub use crate::process::registry::{Registered, call, types_of};
    pub use crate::segment::Area;
    pub use crate::sync::Room;
    pub use inventory;
}
#[cfg(not(all(test, loom)))]
pub use steadfast_macros::Shared;

// The models, in tests with `--cfg loom`: the locks, the event count, what is built on them, and the ring, on a
// machine of their own. In the library itself that cfg (it may be there for somebody else's models) changes nothing.
#[cfg(all(test, loom))]
#[allow(dead_code)] // a model does not use all of what it runs
mod loom_kernel;
#[cfg(all(test, loom))]
use loom_kernel as os;
#[cfg(all(not(test), loom))]
use segment as loom_kernel;
#[cfg(all(test, loom))]
#[allow(dead_code)]
mod sync {
    pub(crate) use crate::loom_kernel::Caller;

    mod caller {
        pub(crate) use crate::loom_kernel::Armed;
    }
    mod count;
    pub(crate) mod event_count;
    mod gate;
    mod loom_tests;
    mod phases;
    pub(crate) mod robust_lock;
    mod seat;
    mod waiting;
}
#[cfg(all(test, loom))]
#[allow(dead_code)]
mod queue {
    mod loom_tests;
    mod push;
    mod record;
    mod recovery;
    mod ring;
}
