//! The end of this process.

use std::io;

/// Has `run` called when the process ends by itself: when `main` returns, or by `exit`. Not when it is
/// killed or aborts.
///
/// # Errors
/// There is no memory for it.
pub(crate) fn at_exit(run: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the function takes nothing, lives as long as the program, and does not unwind.
    match unsafe { libc::atexit(run) } {
        0 => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::OutOfMemory)),
    }
}

/// Ends the process at once: nothing is flushed and nobody is asked.
pub(crate) fn now(code: i32) -> ! {
    // SAFETY: it takes a number, and does not return.
    unsafe { libc::_exit(code) }
}
