//! A child in a PID namespace of its own: the kernel cannot tell the others which thread it is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Runs `start` so that the process it starts is the first one of a new PID namespace. Needs the right to
/// make one.
pub fn in_new_one<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let home = File::open("/proc/self/ns/pid")?;
    // SAFETY: a flag taken by value; only the processes that this thread starts are concerned.
    check(unsafe { libc::unshare(libc::CLONE_NEWPID) })?;
    let started = start();
    // SAFETY: a descriptor of ours, of this process's own namespace: later ones start there again.
    check(unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWPID) })?;
    started
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this process may make one.
pub fn permitted() -> bool {
    in_new_one(|| Ok(())).is_ok()
}
