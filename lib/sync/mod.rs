//! Primitives that live inside a segment: each one safe against the death of any of its users.
//!
//! `README.md` in this folder tells the two protocols everything here rests on, with their proof
//! sketches: how a dead owner is found, and how a sleeper is called.

mod array;
mod barrier;
mod caller;
mod condvar;
mod consistency;
mod count;
mod event;
pub(crate) mod event_count;
mod futex_lock;
mod gate;
mod guarded;
mod lock_error;
mod mutex;
mod mutex_guard;
mod once;
mod permits;
mod phases;
mod pthread_lock;
mod raw_lock;
mod rlock;
pub(crate) mod robust_lock;
mod rwlock;
mod seat;
mod seats;
mod semaphore;
mod shareable;
mod shared;
mod value;
mod wait_error;
mod waiting;

pub use array::Array;
pub use barrier::{Barrier, Party};
pub(crate) use caller::Caller;
pub use condvar::{Condvar, Waiting, Wakeup};
pub use consistency::{Consistency, Death};
pub use event::Event;
pub use futex_lock::Futex;
pub use guarded::Guarded;
pub use lock_error::{Judge, LockError};
pub use mutex::{Mutex, PthreadMutex, RobustMutex};
pub use mutex_guard::{MutexGuard, PthreadMutexGuard};
pub use once::{Once, OnceAttempt};
pub use permits::{Permit, Permits};
pub use pthread_lock::Pthread;
pub use raw_lock::RawLock;
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, Semaphore};
pub use shareable::Shareable;
pub(crate) use shared::type_text;
pub use shared::{Room, SegmentOf, Shared};
pub use value::Value;
pub use wait_error::WaitError;
