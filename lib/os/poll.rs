//! Waiting until a descriptor is readable.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::clock::Deadline;

/// Waits until one of the descriptors is readable (or at its end), and says which; `None` when the
/// deadline comes first. Signals do not end it.
///
/// # Errors
/// What `poll` says: there is no memory.
pub(crate) fn readable(fds: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<Option<usize>> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        let left = match deadline {
            Deadline::Now => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            // One too far away for the kernel is no deadline.
            Deadline::At(at) => at.saturating_duration_since(Instant::now()).try_into().ok(),
            Deadline::Never => None,
        };
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(polled.iter().position(|one| !one.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
