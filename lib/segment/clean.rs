//! Looking at all segments, and removing what dead processes left.

use super::attach::read_header;
use super::error::SegmentError;
use super::layout::{ATTACH_BYTE, CREATOR_BYTE};
use super::name::FileName;
use super::remove::{found, names, remove_exactly};
use super::{CleanOptions, Kind, name, participants};
use crate::os::ofd_lock::{LockFile, Mode};
use crate::os::shm;
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is known about a segment without attaching to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its name.
    pub name: String,
    /// What it holds; `None` when the header cannot be read.
    pub kind: Option<Kind>,
    /// Bytes of the object; 0 when the header cannot be read.
    pub len: u64,
    /// Bytes of memory that the file occupies.
    pub bytes: u64,
    /// How many processes are attached and alive, this one among them if it is.
    pub users_alive: usize,
    /// Whether the last one out removes it.
    pub ephemeral: bool,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// The process that made it, as its own PID namespace numbers it; 0 when unknown.
    pub creator: u32,
    /// Why it cannot be used, for people; `None` when it can.
    pub error: Option<String>,
}

/// Why [`Segment::clean`](super::Segment::clean) removed a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CleanReason {
    /// Its creator died before it was published. Nobody ever saw it.
    Unpublished,
    /// Whoever was removing it died on the way.
    InterruptedRemoval,
    /// It is ephemeral, and nobody uses it: its last user was killed.
    Unused,
    /// It is durable, nobody uses it, and `idle` was asked for.
    Idle,
}

impl fmt::Display for CleanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CleanReason::Unpublished => "its creator died before it was published",
            CleanReason::InterruptedRemoval => "its remover died",
            CleanReason::Unused => "ephemeral, and its users are gone",
            CleanReason::Idle => "idle",
        })
    }
}

/// A file that [`Segment::clean`](super::Segment::clean) removed, or would remove.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cleaned {
    /// The segment's name; the file's when it was never published.
    pub name: String,
    /// Why.
    pub reason: CleanReason,
    /// Bytes of memory that the file occupied.
    pub bytes: u64,
}

/// See [`Segment::list`](super::Segment::list).
pub(super) fn list() -> Result<Vec<SegmentInfo>, SegmentError> {
    let mut list = Vec::new();
    for file in sorted_names()? {
        if let Some(FileName::Published(name)) = name::parse(&file) {
            match inspect(&file, &name) {
                Err(SegmentError::NotFound { .. }) => {} // removed meanwhile
                Ok(info) => list.push(info),
                Err(error) => list.push(unreadable(&file, name, &error)),
            }
        }
    }
    Ok(list)
}

fn sorted_names() -> Result<Vec<String>, SegmentError> {
    let mut names =
        shm::names().map_err(|error| SegmentError::from_io("*", "read /dev/shm", error))?;
    names.sort_unstable();
    Ok(names)
}

fn inspect(file: &str, name: &str) -> Result<SegmentInfo, SegmentError> {
    let failed = |error| SegmentError::from_io(name, "look at it", error);
    let lock = LockFile::open(|| shm::open_to_read(file)).map_err(failed)?;
    let header = read_header(&lock, name)?;
    Ok(SegmentInfo {
        name: name.to_owned(),
        kind: Some(header.kind),
        len: header.layout.object_len,
        bytes: lock.file().and_then(shm::facts).map_err(failed)?.occupied,
        users_alive: participants::users(&lock, header.layout.participants).map_err(failed)?,
        ephemeral: header.ephemeral,
        created: UNIX_EPOCH.checked_add(Duration::from_nanos(header.created)),
        creator: header.creator,
        error: None,
    })
}

fn unreadable(file: &str, name: String, error: &SegmentError) -> SegmentInfo {
    SegmentInfo {
        name,
        kind: None,
        len: 0,
        bytes: shm::facts_by_name(file).map_or(0, |facts| facts.occupied),
        users_alive: 0,
        ephemeral: false,
        created: None,
        creator: 0,
        error: Some(error.to_string()),
    }
}

/// See [`Segment::clean`](super::Segment::clean).
pub(super) fn clean(options: &CleanOptions) -> Result<Vec<Cleaned>, SegmentError> {
    let mut cleaned = Vec::new();
    for file in sorted_names()? {
        let result = match name::parse(&file) {
            Some(FileName::New) => unpublished(&file, options),
            Some(FileName::Old { inode, name }) => half_removed(&file, inode, &name, options),
            Some(FileName::Published(name)) => unused(&file, &name, options),
            None => Ok(None),
        };
        match result {
            Ok(removed) => cleaned.extend(removed),
            // Another user's, damaged, or gone meanwhile: not ours to judge, and no reason to stop.
            Err(error) => tracing::debug!(file, %error, "not cleaned"),
        }
    }
    Ok(cleaned)
}

/// A lock on byte `byte` of `file`, exclusively; in a dry run only the certainty that it was free.
/// `None` when somebody has it, or the file has lost this name meanwhile.
fn claim(file: &str, byte: u64, dry_run: bool) -> io::Result<Option<LockFile>> {
    let lock = LockFile::open(|| shm::open_to_write(file))?;
    let free = if dry_run {
        lock.held_by_others(byte, 1)?.is_none()
    } else {
        lock.try_lock(byte, 1, Mode::Exclusive)?
    };
    let facts = shm::facts(lock.file()?)?;
    let ours = free && facts.regular && names(file, facts.identity)?;
    Ok(ours.then_some(lock))
}

/// A file whose creator is gone is garbage. While the lock is ours its creator, if it lives after
/// all and was about to lock, finds the lock taken or the name gone, and starts anew.
fn unpublished(file: &str, options: &CleanOptions) -> io::Result<Option<Cleaned>> {
    let Some(lock) = claim(file, CREATOR_BYTE, options.dry_run)? else { return Ok(None) };
    let bytes = shm::facts(lock.file()?)?.occupied;
    let removed = options.dry_run || found(shm::remove(file))?;
    let reason = CleanReason::Unpublished;
    Ok(removed.then(|| Cleaned { name: file.to_owned(), reason, bytes }))
}

/// A removal that did not end: the file that was meant is removed, whoever finishes first; one that
/// was renamed by mistake gets its name back, or is treated like any other if the name is taken.
fn half_removed(
    file: &str,
    inode: u64,
    name: &str,
    options: &CleanOptions,
) -> io::Result<Option<Cleaned>> {
    let open = shm::refer(file)?;
    let facts = shm::facts(&open)?;
    let cleaned = Cleaned {
        name: name.to_owned(),
        reason: CleanReason::InterruptedRemoval,
        bytes: facts.occupied,
    };
    if facts.identity.inode == inode {
        let removed = options.dry_run || found(shm::remove(file))?;
        return Ok(removed.then_some(cleaned));
    }
    if options.dry_run {
        return Ok(None);
    }
    let public = name::published(name).map_err(io::Error::other)?;
    match shm::rename(file, &public) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return found(other).map(|_| None),
    }
    let Some(lock) = claim(file, ATTACH_BYTE, false)? else { return Ok(None) };
    let garbage = options.idle || read_header(&lock, name).is_ok_and(|header| header.ephemeral);
    let removed = garbage && found(shm::remove(file))?;
    Ok(removed.then_some(cleaned))
}

/// A segment without users, if it is ephemeral or idle ones are to go. Nobody can attach between
/// the claim and the removal, and nobody who has attached is overlooked: see `remove`.
fn unused(file: &str, name: &str, options: &CleanOptions) -> io::Result<Option<Cleaned>> {
    let header = {
        let lock = LockFile::open(|| shm::open_to_read(file))?;
        read_header(&lock, name).map_err(io::Error::other)?
    };
    if !header.ephemeral && !options.idle {
        return Ok(None);
    }
    let Some(lock) = claim(file, ATTACH_BYTE, options.dry_run)? else { return Ok(None) };
    // Again: between the two openings the name may have been given to another file.
    let header = read_header(&lock, name).map_err(io::Error::other)?;
    if !header.ephemeral && !options.idle {
        return Ok(None);
    }
    let facts = shm::facts(lock.file()?)?;
    let removed = options.dry_run || remove_exactly(name, facts.identity)?;
    let reason = if header.ephemeral { CleanReason::Unused } else { CleanReason::Idle };
    Ok(removed.then(|| Cleaned { name: name.to_owned(), reason, bytes: facts.occupied }))
}
