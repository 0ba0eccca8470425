//! Named shared memory with a checked header, and who is attached to it.
//!
//! | file | one thing |
//! |---|---|
//! | `name` | names of segments and of their files |
//! | `layout` | where everything lies |
//! | `header` | the constants of a segment, and their check |
//! | `constants` | the constants of an object in it, and their check |
//! | `create` | making and publishing, with proof |
//! | `attach` | opening, with proof |
//! | `attachment` | what a process holds of a segment, and gives back |
//! | `participants` | slots, life and death, single roles, with proof |
//! | `registry` | one attachment per process and file; fork |
//! | `remove` | unlinking the right file; the last one out, with proof |
//! | `clean` | listing, and removing what dead processes left |
//! | `area` | bounds-checked access to the bytes |
//! | `constants` | what describes an object, with its checksum |

mod area;
mod attach;
mod attachment;
mod clean;
mod constants;
mod create;
mod error;
mod header;
mod layout;
mod name;
mod options;
mod participants;
mod registry;
mod remove;
#[cfg(test)]
mod tests;

pub use area::Area;
pub(crate) use area::{Arranged, ArrangedSlice, Arrangement, Words};
pub(crate) use attachment::RoleClaim;
pub use clean::{CleanReason, Cleaned, SegmentInfo};
pub(crate) use constants::Constants;
pub use error::SegmentError;
pub(crate) use layout::fnv1a;
pub use options::{CleanOptions, SegmentOptions};
pub use participants::Role;
pub(crate) use participants::{Owner, Who};

use attachment::Inner;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What a segment holds.
///
/// | number in the header | kind |
/// |---|---|
/// | 1 | bytes |
/// | 2 | queue |
/// | 3 | mutex |
/// | 4 | pthread mutex |
/// | 5 | joinable queue |
/// | 6 | shared struct |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// Bytes without a meaning, see [`Segment`].
    Bytes = 1,
    /// A queue.
    Queue = 2,
    /// A mutex and its value.
    Mutex = 3,
    /// A pthread mutex and its value.
    PthreadMutex = 4,
    /// A queue whose messages are leased and acknowledged.
    JoinableQueue = 5,
    /// A primitive of its own, or a struct of several: what [`Segment::of`] makes.
    Shared = 6,
}

impl Kind {
    fn from_number(number: u32) -> Option<Kind> {
        [
            Kind::Bytes,
            Kind::Queue,
            Kind::Mutex,
            Kind::PthreadMutex,
            Kind::JoinableQueue,
            Kind::Shared,
        ]
        .into_iter()
        .find(|&kind| kind as u32 == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Bytes => "byte segment",
            Kind::Queue => "queue",
            Kind::Mutex => "mutex",
            Kind::PthreadMutex => "pthread mutex",
            Kind::JoinableQueue => "joinable queue",
            Kind::Shared => "shared struct",
        })
    }
}

/// Named shared memory: bytes that processes share under a name, until it is unlinked or the machine
/// restarts.
///
/// A segment is the file `steadfast.<name>` in `/dev/shm`. It appears under its name complete or not
/// at all, never changes its size, and is checked whenever it is opened. Bytes are written and read
/// by copying; nothing orders them between processes, so use a [`Queue`](crate::Queue) or a
/// [`Mutex`](crate::Mutex) for more than a fixed table.
///
/// Handles are cheap to clone and may be used by any thread. All handles of a process on the same
/// segment share one mapping and one participant slot; the process leaves when the last is dropped.
/// In a child made by `fork` an inherited handle only gives [`SegmentError::Forked`]; open it again.
///
/// Access: the creator's user, and a group if [`SegmentOptions::group`] names one. Whoever has access
/// can write anything anywhere in it; that gives errors or other bytes, and harms no process. Whoever
/// has access can also truncate it, see
/// [`guard_against_truncation`](crate::guard_against_truncation).
///
/// # Example
/// ```
/// use steadfast::{Segment, SegmentOptions};
/// # let name = format!("doc-segment-{}", std::process::id());
/// let segment = Segment::create(&name, 1024, &SegmentOptions::new())?;
/// segment.write_at(16, b"hello")?;
///
/// let same = Segment::open(&name)?; // here or in any other process
/// let mut bytes = [0; 5];
/// same.read_at(16, &mut bytes)?;
/// assert_eq!(&bytes, b"hello");
/// Segment::unlink(&name)?;
/// # Ok::<(), steadfast::SegmentError>(())
/// ```
#[derive(Clone)]
pub struct Segment {
    inner: Arc<Inner>,
}

impl Segment {
    /// Makes a segment of `len` bytes, all zero.
    ///
    /// The memory is reserved at once, so using it cannot fail later. A process killed inside leaves
    /// nothing under the name, or the whole segment; what else it left, [`Segment::clean`] removes.
    ///
    /// # Errors
    /// [`AlreadyExists`](SegmentError::AlreadyExists), [`InvalidName`](SegmentError::InvalidName),
    /// [`InvalidArgument`](SegmentError::InvalidArgument) (no bytes, 0 or more than 4096
    /// participants), [`NoSpace`](SegmentError::NoSpace),
    /// [`PermissionDenied`](SegmentError::PermissionDenied) (a group that the caller is not in), or
    /// [`Io`](SegmentError::Io). Then no file is left.
    pub fn create(name: &str, len: u64, options: &SegmentOptions) -> Result<Segment, SegmentError> {
        Segment::create_object(name, Kind::Bytes, len, options, |_| Ok(()))
    }

    /// Attaches to the segment of that name, made by [`Segment::create`].
    ///
    /// A process killed inside leaves nothing.
    ///
    /// # Errors
    /// [`NotFound`](SegmentError::NotFound), [`InvalidName`](SegmentError::InvalidName),
    /// [`PermissionDenied`](SegmentError::PermissionDenied),
    /// [`NotASegment`](SegmentError::NotASegment), [`WrongVersion`](SegmentError::WrongVersion),
    /// [`WrongKind`](SegmentError::WrongKind), [`Corrupt`](SegmentError::Corrupt),
    /// [`Full`](SegmentError::Full), or [`Io`](SegmentError::Io), among others when another process
    /// stopped for a second while removing the segment.
    pub fn open(name: &str) -> Result<Segment, SegmentError> {
        Segment::open_object(name, Kind::Bytes)
    }

    /// Attaches to the segment of that name, or makes it. One that is there keeps its length and
    /// options. Of several processes that call this at once, one makes it.
    ///
    /// # Errors
    /// Those of [`Segment::open`] except `NotFound`, and of [`Segment::create`] except
    /// `AlreadyExists`.
    pub fn open_or_create(
        name: &str,
        len: u64,
        options: &SegmentOptions,
    ) -> Result<Segment, SegmentError> {
        Segment::open_or_create_object(name, Kind::Bytes, len, options, |_| Ok(()))
    }

    /// Removes the name, and the memory as soon as nobody is attached. Processes that are attached
    /// go on with the segment they have. Works on damaged segments too.
    ///
    /// A process killed inside leaves the segment under its name, or one that is gone for all but
    /// [`Segment::clean`].
    ///
    /// # Errors
    /// [`NotFound`](SegmentError::NotFound), [`InvalidName`](SegmentError::InvalidName),
    /// [`PermissionDenied`](SegmentError::PermissionDenied) (only its user may), or
    /// [`Io`](SegmentError::Io).
    pub fn unlink(name: &str) -> Result<(), SegmentError> {
        remove::unlink(name)
    }

    /// As [`Segment::unlink`], but only if no process is attached, this one included.
    ///
    /// # Errors
    /// [`InUse`](SegmentError::InUse) and those of [`Segment::unlink`].
    pub fn unlink_unused(name: &str) -> Result<(), SegmentError> {
        remove::unlink_unused(name)
    }

    /// What there is, in the order of names, without attaching to any. Damaged segments and those of
    /// other users are listed with the reason why they cannot be used.
    ///
    /// # Errors
    /// [`Io`](SegmentError::Io) when `/dev/shm` cannot be read.
    pub fn list() -> Result<Vec<SegmentInfo>, SegmentError> {
        clean::list()
    }

    /// Removes what dead processes left: segments that were never published, removals that were
    /// interrupted, ephemeral segments without users; with
    /// [`idle`](CleanOptions::idle) also durable ones without users. Gives what was removed, or in a
    /// [`dry_run`](CleanOptions::dry_run) would be. Safe at any time, beside starting processes too.
    ///
    /// Files that it may not touch are passed over. A process killed inside leaves work for the next
    /// call.
    ///
    /// # Errors
    /// [`Io`](SegmentError::Io) when `/dev/shm` cannot be read.
    pub fn clean(options: &CleanOptions) -> Result<Vec<Cleaned>, SegmentError> {
        clean::clean(options)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A random number that names this segment among all that ever had its name.
    pub fn uuid(&self) -> [u8; 16] {
        self.inner.header.uuid
    }

    /// How many bytes it has.
    #[allow(clippy::len_without_is_empty)] // there are no empty segments
    pub fn len(&self) -> u64 {
        self.inner.header.layout.object_len
    }

    /// How many processes are attached and alive, with this one; 0 in a forked child. A process that
    /// was killed counts until the kernel has freed its memory (0.1 ms, or 0.12 s per GiB).
    pub fn users(&self) -> usize {
        self.inner.participants.users().unwrap_or(0)
    }

    /// Fills `bytes` from `offset`. What other processes write meanwhile may appear in part.
    ///
    /// # Errors
    /// [`InvalidArgument`](SegmentError::InvalidArgument) when that is beyond the end,
    /// [`WrongKind`](SegmentError::WrongKind) when the segment holds an object, which has its own way in,
    /// [`Forked`](SegmentError::Forked), [`Truncated`](SegmentError::Truncated).
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), SegmentError> {
        let at = self.checked(offset, bytes.len())?;
        self.area().copy_out(at, bytes);
        self.check()
    }

    /// Writes `bytes` at `offset`. A process killed inside has written some of them.
    ///
    /// # Errors
    /// [`InvalidArgument`](SegmentError::InvalidArgument) when that is beyond the end,
    /// [`WrongKind`](SegmentError::WrongKind) when the segment holds an object, which has its own way in,
    /// [`Forked`](SegmentError::Forked), [`Truncated`](SegmentError::Truncated).
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), SegmentError> {
        let at = self.checked(offset, bytes.len())?;
        self.area().copy_in(at, bytes);
        self.check()
    }

    fn checked(&self, offset: u64, count: usize) -> Result<usize, SegmentError> {
        self.check()?;
        let found = self.inner.header.kind;
        if found != Kind::Bytes {
            let name = self.name().to_owned();
            return Err(SegmentError::WrongKind { name, found, wanted: Kind::Bytes });
        }
        let len = self.area().len();
        match usize::try_from(offset) {
            Ok(at) if at <= len && count <= len - at => Ok(at),
            _ => {
                let what = "the bytes asked for lie beyond its end";
                Err(SegmentError::InvalidArgument { name: self.name().to_owned(), what })
            }
        }
    }
}

/// For the layers above.
impl Segment {
    /// Makes a segment for an object of `len` zeroed bytes; `init` fills them in before anybody can
    /// see them. If it panics, no file is left.
    ///
    /// # Errors
    /// As [`Segment::create`].
    pub(crate) fn create_object(
        name: &str,
        kind: Kind,
        len: u64,
        options: &SegmentOptions,
        init: impl Fn(&Area) -> io::Result<()>,
    ) -> Result<Segment, SegmentError> {
        Ok(Segment { inner: create::create(name, kind, len, options, &init)? })
    }

    /// Attaches to a segment that holds an object of that kind.
    ///
    /// # Errors
    /// As [`Segment::open`].
    pub(crate) fn open_object(name: &str, kind: Kind) -> Result<Segment, SegmentError> {
        Ok(Segment { inner: attach::open(name, kind)? })
    }

    /// Both of the above.
    ///
    /// # Errors
    /// As [`Segment::open_or_create`].
    pub(crate) fn open_or_create_object(
        name: &str,
        kind: Kind,
        len: u64,
        options: &SegmentOptions,
        init: impl Fn(&Area) -> io::Result<()>,
    ) -> Result<Segment, SegmentError> {
        // Each further round means that another process made or removed the segment in between.
        const ROUNDS: u32 = 1000;
        for _ in 1..ROUNDS {
            match Segment::open_object(name, kind) {
                Err(SegmentError::NotFound { .. }) => {}
                other => return other,
            }
            match Segment::create_object(name, kind, len, options, &init) {
                Err(SegmentError::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
        Segment::open_object(name, kind)
    }

    /// The object's bytes, aligned to a page.
    #[inline]
    pub(crate) fn area(&self) -> &Area {
        &self.inner.object
    }

    /// Whether this handle may be used: not inherited by a forked child, and no truncation caught.
    /// Called by every operation and by the drop of everything that would write; about 1 ns.
    ///
    /// # Errors
    /// `Forked`, `Truncated`.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), SegmentError> {
        if self.is_usable() { Ok(()) } else { Err(self.unusable()) }
    }

    /// [`Segment::check`] for the fast paths, which ask for the reason later.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        !(self.inner.forked() || self.inner.watch.truncated())
    }

    /// Whether a truncation was caught: the other half of [`Segment::is_usable`].
    #[inline]
    pub(crate) fn is_truncated(&self) -> bool {
        self.inner.watch.truncated()
    }

    /// Why [`Segment::is_usable`] said no.
    #[cold]
    #[inline(never)]
    pub(crate) fn unusable(&self) -> SegmentError {
        let name = self.inner.name.clone();
        if self.inner.forked() {
            SegmentError::Forked { name }
        } else {
            SegmentError::Truncated { name }
        }
    }

    /// This process's owner mark.
    #[inline]
    pub(crate) fn me(&self) -> Owner {
        self.inner.participants.me()
    }

    /// Which fork of the program this handle was made in: not 0, and after [`Segment::check`] the one
    /// that runs.
    #[inline]
    pub(crate) fn fork_id(&self) -> u64 {
        self.inner.fork_id
    }

    /// Whether this process and the segment's creator share a PID namespace: only then may kernel
    /// thread ids be written into lock words.
    #[inline]
    pub(crate) fn native_tid(&self) -> bool {
        self.inner.native_tid
    }

    /// Whether the process behind an owner mark lives. Our own does, unasked; when the kernel cannot
    /// be asked, the answer is yes. About 0.5 us.
    pub(crate) fn is_alive(&self, owner: Owner) -> bool {
        self.inner.participants.is_alive(owner)
    }

    /// What the table of participants says about an owner mark, if nobody has taken its slot since.
    pub(crate) fn who(&self, owner: Owner) -> Option<Who> {
        self.inner.participants.who(owner)
    }

    /// A number that changes when a participant comes or is gone; see `Participants::census`. `None` when
    /// the kernel cannot be asked.
    pub(crate) fn census(&self) -> Option<u64> {
        self.inner.participants.census().ok()
    }

    /// Takes a single role, until the claim is dropped or this process is gone.
    ///
    /// # Errors
    /// `RoleTaken` when another handle has it, in this process or another; `Forked`, `Truncated`, `Io`.
    pub(crate) fn claim_role(&self, role: Role) -> Result<RoleClaim, SegmentError> {
        self.check()?;
        match self.inner.participants.claim(role) {
            Ok(true) => Ok(RoleClaim::new(self.clone(), role)),
            Ok(false) => Err(SegmentError::RoleTaken { name: self.name().to_owned(), role }),
            Err(error) => Err(SegmentError::from_io(self.name(), "claim a role in it", error)),
        }
    }

    /// Whether both are handles of the same segment.
    pub(crate) fn is(&self, other: &Segment) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Something points into the mapping that its owner cannot take back: this process stays attached
    /// until it ends.
    #[cold]
    pub(crate) fn keep_for_ever(&self) {
        std::mem::forget(self.clone());
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("name", &self.inner.name)
            .field("kind", &self.inner.header.kind)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
