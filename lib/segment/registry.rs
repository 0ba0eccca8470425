//! The segments that this process is attached to, by file: a second `open` shares the mapping and
//! the slot. It has to, as the description that holds a lock sees it as free: a second slot of the
//! same process would be judged by rules made for strangers.
//!
//! A child begins with a registry of its own. It does not touch its parent's, whose lock some thread
//! may have held at the moment of the fork; that one is left where it is, with what it holds.

use super::Inner;
use crate::os::process;
use crate::os::shm::Identity;
use std::collections::BTreeMap;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

/// What the registry holds.
pub(super) type Segments = BTreeMap<Identity, Weak<Inner>>;

struct Registry {
    fork_id: u64,
    segments: Mutex<Segments>,
}

/// The registry of this process, or of an ancestor; null before the first. Never freed.
static CURRENT: AtomicPtr<Registry> = AtomicPtr::new(ptr::null_mut());

/// This process's registry, locked. While the guard lives no `Inner` may be dropped, as that locks
/// it too.
///
/// # Errors
/// What the kernel says about the fork page.
pub(super) fn lock() -> io::Result<MutexGuard<'static, Segments>> {
    let fork_id = process::fork_id()?;
    let mut current = CURRENT.load(Ordering::Acquire);
    loop {
        // SAFETY: null, or a registry that was leaked on purpose and is never freed.
        if let Some(registry) = unsafe { current.as_ref() }
            && registry.fork_id == fork_id
        {
            return Ok(registry.segments.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let new = Box::into_raw(Box::new(Registry { fork_id, segments: Mutex::default() }));
        match CURRENT.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => current = new,
            Err(other) => {
                // SAFETY: it was not published, so this thread is the only one that knows it.
                drop(unsafe { Box::from_raw(new) });
                current = other;
            }
        }
    }
}
