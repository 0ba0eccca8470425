//! A static that begins anew in a forked child.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::process;

struct Of<T> {
    fork_id: u64,
    value: T,
}

/// One value for each process. A child begins with a default one. It does not touch its parent's, whose
/// locks some thread may have held at the moment of the fork; that one is left where it is, with what it
/// holds.
pub(crate) struct PerProcess<T: 'static> {
    /// This process's, or an ancestor's; null before the first. Never freed.
    current: AtomicPtr<Of<T>>,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { current: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value.
    ///
    /// # Errors
    /// What the kernel says about the fork page.
    pub(crate) fn get(&'static self) -> io::Result<&'static T> {
        let fork_id = process::fork_id()?;
        let mut current = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or a value that was leaked on purpose and is never freed.
            if let Some(of) = unsafe { current.as_ref() }
                && of.fork_id == fork_id
            {
                return Ok(&of.value);
            }
            let new = Box::into_raw(Box::new(Of { fork_id, value: T::default() }));
            match self.current.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => current = new,
                Err(other) => {
                    // SAFETY: it was not published, so this thread is the only one that knows it.
                    drop(unsafe { Box::from_raw(new) });
                    current = other;
                }
            }
        }
    }
}
