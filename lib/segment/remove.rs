//! Removing segments, never the wrong one.
//!
//! # Removing exactly one file by name
//! A name can be given to another file between looking and removing. So: (1) rename to a private
//! name that says which inode is meant; (2) look at what was renamed; (3) remove it if it is the one
//! meant, or rename it back. The caller keeps the file open, so that its inode number stays its own.
//! * Nothing but the file meant is ever removed: after (1) nobody else uses the private name, except
//!   `clean`, which decides by the same comparison.
//! * Killed after (1) or (2): `clean` finds the private name and finishes, or renames back.
//! * If the wrong file was renamed and the name was given away meanwhile, it cannot go back: `clean`
//!   treats it as a segment of its kind without a name. That needs three processes in one instant.
//!
//! # The last one out
//! Everybody who is attached shares the attach lock. Whoever leaves an ephemeral segment gives it
//! back and then tries to get it exclusively. *Somebody removes it*: the last one to ask finds it
//! free, see `Participants::am_last`. *Nobody is cut off*: an opener first shares the attach lock
//! and then checks that the name still means the file it opened (and if it then gives up, it asks
//! too, see [`remove_if_unused`]); so it either comes before the
//! exclusive lock, which then fails, or it finds the name gone and starts again. Killed at any
//! point: the locks are free again, and `clean` or the next one out removes the segment.

use super::error::SegmentError;
use super::layout::{ATTACH_BYTE, MOST_PARTICIPANTS};
use super::{Inner, name, participants};
use crate::os::ofd_lock::{LockFile, Mode};
use crate::os::process;
use crate::os::shm::{self, Identity};
use std::io;
use std::time::Duration;

/// How often a name that keeps being given to other files is tried.
const ATTEMPTS: u32 = 100;

/// How long somebody who is in between is waited for, each time.
const PAUSE: Duration = Duration::from_millis(1);

/// Removes the file `identity` if it still has the public name `name`; false when not. The caller
/// has it open.
///
/// # Errors
/// What the kernel says; then `clean` may have to finish.
pub(super) fn remove_exactly(name: &str, identity: Identity) -> io::Result<bool> {
    let Ok(public) = name::published(name) else { return Ok(false) };
    if !names(&public, identity)? {
        return Ok(false);
    }
    let private = name::old(identity.inode, process::random()?, name);
    if !found(shm::rename(&public, &private))? {
        return Ok(false);
    }
    if names(&private, identity)? {
        found(shm::remove(&private))?;
        return Ok(true);
    }
    match shm::rename(&private, &public) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => found(other).map(|_| false),
    }
}

/// Whether `file` names the file `identity` now.
pub(super) fn names(file: &str, identity: Identity) -> io::Result<bool> {
    match shm::facts_by_name(file) {
        Ok(facts) => Ok(facts.identity == identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// False for "not found", which in this module means that somebody else was faster.
pub(super) fn found(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// See [`Segment::unlink`](super::Segment::unlink).
pub(super) fn unlink(name: &str) -> Result<(), SegmentError> {
    let public = name::published(name)?;
    let failed = |error| SegmentError::from_io(name, "remove it", error);
    for _ in 0..ATTEMPTS {
        let file = shm::refer(&public).map_err(failed)?;
        let facts = shm::facts(&file).map_err(failed)?;
        if remove_exactly(name, facts.identity).map_err(failed)? {
            return Ok(());
        }
        if !shm::facts(&file).map_err(failed)?.named {
            return Ok(()); // somebody else, `clean` perhaps, did the last step
        }
    }
    Err(failed(io::Error::other("the name keeps being given to other files")))
}

/// See [`Segment::unlink_unused`](super::Segment::unlink_unused).
pub(super) fn unlink_unused(name: &str) -> Result<(), SegmentError> {
    let public = name::published(name)?;
    let failed = |error| SegmentError::from_io(name, "remove it", error);
    for _ in 0..ATTEMPTS {
        let lock = LockFile::open(|| shm::open_to_write(&public)).map_err(failed)?;
        let facts = lock.file().and_then(shm::facts).map_err(failed)?;
        if !lock.try_lock(ATTACH_BYTE, 1, Mode::Exclusive).map_err(failed)? {
            let users = participants::users(&lock, MOST_PARTICIPANTS).map_err(failed)?;
            if users == 0 {
                std::thread::sleep(PAUSE); // somebody attaches, or removes it, right now
                continue;
            }
            return Err(SegmentError::InUse { name: name.to_owned(), users });
        }
        if remove_exactly(name, facts.identity).map_err(failed)? {
            return Ok(());
        }
        if !lock.file().and_then(shm::facts).map_err(failed)?.named {
            return Ok(()); // as above
        }
    }
    Err(failed(io::Error::other("the name keeps being given to other files")))
}

/// Removes the file `identity`, an ephemeral segment, if nobody is attached to it; called by an opener
/// that gives up.
pub(super) fn remove_if_unused(name: &str, identity: Identity) {
    let Ok(public) = name::published(name) else { return };
    let Ok(lock) = LockFile::open(|| shm::open_to_write(&public)) else { return };
    let same = lock.file().and_then(shm::facts).is_ok_and(|facts| facts.identity == identity);
    if same && lock.try_lock(ATTACH_BYTE, 1, Mode::Exclusive).unwrap_or(false) {
        // Nobody can be told of an error: `clean` finds it.
        let _ = remove_exactly(name, identity);
    }
}

/// Removes an ephemeral segment if this process is its last user; called when it lets go.
pub(super) fn last_one_out(inner: &Inner) {
    let removed = match inner.participants.am_last() {
        Ok(true) => remove_exactly(&inner.name, inner.identity),
        other => other,
    };
    if let Err(error) = removed {
        // Nobody can be told: `clean` finds it.
        tracing::debug!(segment = inner.name, %error, "cannot remove an ephemeral segment");
    }
}
