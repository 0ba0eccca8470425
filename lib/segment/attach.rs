//! Opening a segment by name.
//!
//! # Why an opener gets the segment that has the name, whole
//! 1. Open a description of its own and check length and header through it, by reading: nothing
//!    is mapped yet, so a short file cannot hurt. A published header never changes.
//! 2. Share the attach lock. If that fails, its last user is removing the segment: start again.
//! 3. Look whether the name still means this file. If not, it was removed before (2): start again.
//!    From here on nobody removes it as unused.
//! 4. Map it through `shared_memory`, by name, and compare length and uuid with the header of (1):
//!    different means that the name was given away between (3) and (4) by somebody who unlinks
//!    segments in use. Start again.
//! 5. Take a slot (see `participants`), and enter the registry.
//!
//! Killed anywhere: the kernel gives back the locks; at most a slot's generation was spent.

use super::area::Area;
use super::error::SegmentError;
use super::header::{Header, UUID_AT};
use super::layout::{ATTACH_BYTE, HEADER};
use super::participants::Participants;
use super::remove::{self, names};
use super::{Inner, Kind, name, registry};
use crate::os::mapping::Mapping;
use crate::os::ofd_lock::{LockFile, Mode};
use crate::os::process;
use crate::os::shm::{self, Identity};
use crate::os::sigbus::Watch;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often an opener starts again, with [`PAUSE`] in between: for about a second.
const ATTEMPTS: u32 = 1000;

/// How long it waits for somebody who is removing the segment.
const PAUSE: Duration = Duration::from_millis(1);

/// Attaches to a segment; see [`Segment::open`](super::Segment::open).
pub(super) fn open(name: &str, wanted: Kind) -> Result<Arc<Inner>, SegmentError> {
    let public = name::published(name)?;
    process::keep_standard_descriptors_open()
        .map_err(|error| SegmentError::from_io(name, "open /dev/null", error))?;
    for _ in 0..ATTEMPTS {
        let mut opened = None;
        match try_open(name, &public, wanted, &mut opened) {
            Ok(Some(inner)) => return Ok(inner),
            Ok(None) => {}
            Err(error) => {
                // While it was being opened, its last user may have left and taken us for another one.
                if let Some(identity) = opened {
                    remove::remove_if_unused(name, identity);
                }
                return Err(error);
            }
        }
        std::thread::sleep(PAUSE);
    }
    let error = io::Error::other("another process is removing it, and does not finish");
    Err(SegmentError::from_io(name, "attach to it", error))
}

/// One attempt; `None` when the segment was being removed or replaced.
/// `opened` tells which ephemeral file it was, once others could see that somebody attaches.
fn try_open(
    name: &str,
    public: &str,
    wanted: Kind,
    opened: &mut Option<Identity>,
) -> Result<Option<Arc<Inner>>, SegmentError> {
    let failed = |error| SegmentError::from_io(name, "attach to it", error);
    if !shm::facts_by_name(public).map_err(failed)?.regular {
        let what = "it is not a regular file";
        return Err(SegmentError::NotASegment { name: name.to_owned(), what });
    }
    let lock = LockFile::open(|| shm::open_to_write(public)).map_err(failed)?;
    let facts = lock.file().and_then(shm::facts).map_err(failed)?;
    if !facts.named {
        return Ok(None);
    }
    if let Some(what) = distrust(&facts) {
        return Err(SegmentError::Untrusted { name: name.to_owned(), what });
    }
    let header = read_header(&lock, name)?;
    if header.kind != wanted {
        let name = name.to_owned();
        return Err(SegmentError::WrongKind { name, found: header.kind, wanted });
    }

    // Until the end, so that two threads cannot attach twice. No `Inner` is dropped meanwhile.
    let mut segments = registry::lock().map_err(failed)?;
    if let Some(inner) = segments.get(&facts.identity).and_then(std::sync::Weak::upgrade) {
        // Inode numbers may be given twice where they are short.
        if inner.header.uuid == header.uuid {
            return Ok(Some(inner));
        }
    }
    let shared = lock.try_lock(ATTACH_BYTE, 1, Mode::Shared).map_err(failed)?;
    *opened = header.ephemeral.then_some(facts.identity);
    if !shared || !names(public, facts.identity).map_err(failed)? {
        return Ok(None);
    }
    let mapping = match Mapping::open(public) {
        Ok(mapping) => mapping,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if mapping.len() != header.layout.mapped() {
        return Ok(None);
    }
    let watch = Watch::new(mapping.start(), mapping.len());
    mapping.populate();
    // SAFETY: exactly the bytes of the mapping, which is aligned to a page. It is used only by
    // `Inner`, which keeps the mapping, or dropped before it. Nothing makes references into it.
    let whole = unsafe { Area::new(mapping.start(), mapping.len()) };
    let mut uuid = [0; 16];
    whole.copy_out(UUID_AT, &mut uuid);
    if uuid != header.uuid {
        return Ok(None);
    }
    let layout = header.layout;
    let attached = Participants::attach(lock, whole, layout).map_err(failed)?;
    let Some(participants) = attached else {
        return Err(SegmentError::Full {
            name: name.to_owned(),
            participants: layout.participants,
        });
    };
    let inner = Inner::new(name, header, whole, participants, watch, mapping);
    let inner = match inner {
        Ok(inner) => Arc::new(inner),
        Err(error) => return Err(failed(error)),
    };
    segments.insert(inner.identity, Arc::downgrade(&inner));
    drop(segments);
    tracing::debug!(segment = name, bytes = layout.total, "attached");
    Ok(Some(inner))
}

/// What speaks against a file whose writers this process would be at the mercy of: in a directory
/// where everybody may make files, a name alone says nothing.
fn distrust(facts: &shm::Facts) -> Option<&'static str> {
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;
    const ROOT: u32 = 0;
    if facts.mode & OTHERS_WRITE != 0 {
        return Some("everybody may write it");
    }
    let shared = facts.mode & GROUP_WRITES != 0 && process::is_in_group(facts.group);
    if process::is_user(facts.user) || facts.user == ROOT || shared {
        None
    } else {
        Some("it belongs to another user, and not to a group of this process")
    }
}

/// Reads and checks the header of an open file.
///
/// # Errors
/// `NotASegment`, `WrongVersion`, `Corrupt`, `Io`.
pub(super) fn read_header(lock: &LockFile, name: &str) -> Result<Header, SegmentError> {
    let failed = |error| SegmentError::from_io(name, "read its header", error);
    let file = lock.file().map_err(failed)?;
    let facts = shm::facts(file).map_err(failed)?;
    let not_a_segment = |what| Err(SegmentError::NotASegment { name: name.to_owned(), what });
    if !facts.regular {
        return not_a_segment("it is not a regular file");
    }
    if facts.len < HEADER as u64 {
        return not_a_segment("it is too short");
    }
    let mut page = [0; HEADER];
    if shm::read_at(file, &mut page, 0).map_err(failed)? < HEADER {
        return not_a_segment("it is too short");
    }
    Header::decode(&page, facts.len, name)
}
