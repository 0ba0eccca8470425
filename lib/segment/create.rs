//! Making a segment: everything under a private name, then one rename.
//!
//! # Why nobody sees a half-made segment, and nothing is left for good
//! | the creator was killed after | what is there | who removes it |
//! |---|---|---|
//! | making the file | a private file of length 0, nobody holds its creator lock | `clean` |
//! | mapping, locking, reserving, writing, attaching | a private file; the kernel freed the lock | `clean` |
//! | the rename | a complete segment with one dead participant | like any other |
//!
//! The rename is the publication, and the only step that others can see: it fails when the name is
//! taken, so of several creators exactly one wins. Every write to the segment comes before it in
//! program order, and whoever maps the file does so after it.
//!
//! *`clean` against a creator that has not locked yet*: `clean` removes a private file only while it
//! holds the creator lock itself. The creator takes that lock and then looks whether the file still
//! has a name; if either fails, `clean` was faster, and it starts anew with another name. Once it
//! has the lock and a name, `clean` keeps off.

use super::area::Area;
use super::error::SegmentError;
use super::header::{Header, LAYOUT_VERSION, Page};
use super::layout::{ATTACH_BYTE, CREATOR_BYTE, HEADER, Layout, MOST_PARTICIPANTS};
use super::participants::Participants;
use super::{Inner, Kind, SegmentOptions, name, registry};
use crate::os::mapping::Mapping;
use crate::os::ofd_lock::{LockFile, Mode};
use crate::os::process;
use crate::os::shm;
use crate::os::sigbus::Watch;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often `clean` may be faster before this gives up.
const ATTEMPTS: u32 = 100;

/// A file under a private name, removed when dropped unless it was published.
struct PrivateFile {
    file: String,
    published: bool,
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.published {
            // Private names are random and never used twice, so this removes no other file. If it
            // fails, `clean` removes it.
            let _ = shm::remove(&self.file);
        }
    }
}

/// Makes, fills and publishes a segment; see [`Segment::create`](super::Segment::create).
pub(super) fn create(
    name: &str,
    kind: Kind,
    len: u64,
    options: &SegmentOptions,
    init: &dyn Fn(&Area) -> io::Result<()>,
) -> Result<Arc<Inner>, SegmentError> {
    let public = name::published(name)?;
    let layout = plan(name, len, options)?;
    let failed = |operation| move |error| SegmentError::from_io(name, operation, error);
    process::keep_standard_descriptors_open().map_err(failed("open /dev/null"))?;
    // Cheap and usually right; the rename decides.
    if shm::facts_by_name(&public).is_ok() {
        return Err(SegmentError::AlreadyExists { name: name.to_owned() });
    }
    check_space(name, layout.total)?;
    let (mut private, mapping, lock) = make(name, layout)?;
    lock.file()
        .and_then(|file| shm::reserve(file, layout.total))
        .map_err(|error| no_space(name, layout.total, error))?;

    let watch = Watch::new(mapping.start(), mapping.len());
    mapping.populate();
    // SAFETY: exactly the bytes of the mapping, which is aligned to a page. It is used only by
    // `Inner`, which keeps the mapping, or dropped before it. Nothing makes references into it.
    let whole = unsafe { Area::new(mapping.start(), mapping.len()) };
    let header = new_header(kind, layout, options).map_err(failed("read random bytes"))?;
    let page = header.encode();
    whole.copy_in(0, &page);
    if read_back(&lock).map_err(failed("read the new segment"))? != page {
        let error = io::Error::other("its file was replaced while it was being made");
        return Err(failed("create it")(error));
    }
    let attached = lock.try_lock(ATTACH_BYTE, 1, Mode::Shared).and_then(|shared| match shared {
        true => Participants::attach(lock, whole, layout),
        false => Err(io::ErrorKind::WouldBlock.into()),
    });
    let Some(participants) = attached.map_err(failed("attach to it"))? else {
        return Err(SegmentError::Full {
            name: name.to_owned(),
            participants: layout.participants,
        });
    };
    let inner = Inner::new(name, header, whole, participants, watch, mapping)
        .map_err(failed("attach to it"))?;
    init(&inner.object).map_err(failed("initialise its object"))?;
    let lock = inner.participants.lock();
    lock.file()
        .and_then(|file| shm::set_access(file, options.group))
        .map_err(failed("set its mode and group"))?;

    // Under the registry's lock, so that no other thread of this process opens the name in between.
    // If the rename fails, the guard goes first: the `Inner` locks the registry when it is dropped.
    let mut segments = registry::lock().map_err(failed("register it"))?;
    match shm::rename(&private.file, &public) {
        Ok(()) => private.published = true,
        Err(error) => {
            drop(segments);
            return Err(failed("publish it")(error));
        }
    }
    let inner = Arc::new(inner);
    segments.insert(inner.identity, Arc::downgrade(&inner));
    drop(segments);
    // Says nothing any more, as the file has no private name: an error is harmless.
    let _ = inner.participants.lock().unlock(CREATOR_BYTE, 1);
    tracing::debug!(segment = name, bytes = layout.total, layout = LAYOUT_VERSION, "created");
    Ok(inner)
}

fn plan(name: &str, len: u64, options: &SegmentOptions) -> Result<Layout, SegmentError> {
    if let Some(layout) = Layout::new(options.participants, len) {
        return Ok(layout);
    }
    let what = if !(1..=MOST_PARTICIPANTS).contains(&options.participants) {
        "a segment has 1 to 4096 participants"
    } else if len == 0 {
        "a segment has at least 1 byte"
    } else {
        // No machine has so much, so say what is wrong in the terms of this one.
        check_space(name, len)?;
        "a segment has at most 2^46 bytes"
    };
    Err(SegmentError::InvalidArgument { name: name.to_owned(), what })
}

/// Says early, and without making a file, that there is no room. The reservation decides.
fn check_space(name: &str, needed: u64) -> Result<(), SegmentError> {
    match shm::free_bytes() {
        Ok(Some(free)) if free < needed => {
            Err(SegmentError::NoSpace { name: name.to_owned(), needed, free })
        }
        Ok(_) => Ok(()),
        Err(error) => Err(SegmentError::from_io(name, "ask for free space in /dev/shm", error)),
    }
}

#[cold]
fn no_space(name: &str, needed: u64, error: io::Error) -> SegmentError {
    if error.kind() == io::ErrorKind::StorageFull {
        let free = shm::free_bytes().ok().flatten().unwrap_or(0);
        SegmentError::NoSpace { name: name.to_owned(), needed, free }
    } else {
        SegmentError::from_io(name, "reserve its memory", error)
    }
}

/// A new private file, mapped, and locked by us through a description of its own.
fn make(name: &str, layout: Layout) -> Result<(PrivateFile, Mapping, LockFile), SegmentError> {
    let failed = |error| SegmentError::from_io(name, "create it", error);
    for _ in 0..ATTEMPTS {
        let file = name::new(process::random().map_err(failed)?);
        let mapping = Mapping::create(&file, layout.mapped()).map_err(failed)?;
        let private = PrivateFile { file, published: false };
        let lock = match LockFile::open(|| shm::open_to_write(&private.file)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        if !lock.try_lock(CREATOR_BYTE, 1, Mode::Exclusive).map_err(failed)? {
            continue;
        }
        let facts = lock.file().and_then(shm::facts).map_err(failed)?;
        if facts.named && facts.regular && facts.len == layout.total {
            return Ok((private, mapping, lock));
        }
    }
    Err(failed(io::Error::other("something keeps removing new segments")))
}

fn new_header(kind: Kind, layout: Layout, options: &SegmentOptions) -> io::Result<Header> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Header {
        kind,
        ephemeral: options.ephemeral,
        uuid: process::random()?,
        pid_namespace: process::pid_namespace(),
        created: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
        creator: process::id(),
        layout,
    })
}

/// The header page as the lock's description sees it: it holds our uuid only if that is the file
/// that is mapped.
fn read_back(lock: &LockFile) -> io::Result<Page> {
    let mut page = [0; HEADER];
    shm::read_at(lock.file()?, &mut page, 0)?;
    Ok(page)
}
