//! Primitives that live inside a segment: each one safe against the death of any of its users.
//!
//! `README.md` in this folder tells the two protocols everything here rests on, with their proof
//! sketches: how a dead owner is found, and how a sleeper is called.

mod caller;
pub(crate) mod event_count;
mod futex_lock;
mod lock_error;
mod mutex;
mod mutex_guard;
mod pthread_lock;
pub(crate) mod robust_lock;
mod shareable;

pub(crate) use caller::Caller;
pub use futex_lock::Futex;
pub use lock_error::LockError;
pub use mutex::{Mutex, PthreadMutex, RawLock, RobustMutex};
pub use mutex_guard::{MutexGuard, PthreadMutexGuard};
pub use pthread_lock::Pthread;
pub use shareable::Shareable;
