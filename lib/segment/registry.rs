//! The segments that this process is attached to, by file: a second `open` shares the mapping and
//! the slot. It has to, as the description that holds a lock sees it as free: a second slot of the
//! same process would be judged by rules made for strangers.
//!
//! A child begins with a registry of its own.

use super::Inner;
use crate::os::per_process::PerProcess;
use crate::os::shm::Identity;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

/// What the registry holds.
pub(super) type Segments = BTreeMap<Identity, Weak<Inner>>;

static CURRENT: PerProcess<Mutex<Segments>> = PerProcess::new();

/// This process's registry, locked. While the guard lives no `Inner` may be dropped, as that locks
/// it too.
///
/// # Errors
/// What the kernel says about the fork page.
pub(super) fn lock() -> io::Result<MutexGuard<'static, Segments>> {
    Ok(CURRENT.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}
