//! Helper threads, which no signal of the program is handled on.

use std::io;
use std::mem::MaybeUninit;

/// Signals that a thread raises by what it does itself: blocked, they would end the process at once.
const OWN_FAULTS: [libc::c_int; 5] =
    [libc::SIGBUS, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Starts a thread that is never joined, with all signals blocked but those for its own faults.
///
/// # Errors
/// What `pthread_create` says: there may be too many threads.
pub(crate) fn spawn_quiet(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut blocked = MaybeUninit::uninit();
    // SAFETY: the set is ours to write.
    unsafe { libc::sigfillset(blocked.as_mut_ptr()) };
    for signal in OWN_FAULTS {
        // SAFETY: the set was filled above, and the number is a signal's.
        unsafe { libc::sigdelset(blocked.as_mut_ptr(), signal) };
    }
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first set is filled, the second is ours to write. A new thread inherits the mask.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, blocked.as_ptr(), before.as_mut_ptr()) };
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    if failed == 0 {
        // SAFETY: the set is what the call above stored; nobody wants to know today's mask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    }
    started.map(drop)
}

/// Names the calling thread, cut to 15 bytes; the main thread's name is what `ps` and `top` call the
/// process.
pub(crate) fn set_own_name(name: &std::ffi::OsStr) {
    let bytes: Vec<u8> = name.as_encoded_bytes().iter().copied().take(15).collect();
    if let Ok(name) = std::ffi::CString::new(bytes) {
        // It is for people: without it everything works.
        let _ = rustix::thread::set_name(&name);
    }
}
