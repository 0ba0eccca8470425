//! The directory `/dev/shm`: facts about its files, their space, access, and names.
//!
//! Nothing here maps, and nothing follows a symbolic link.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat};
use std::io;
use std::os::fd::OwnedFd;

/// Where named shared memory lives on Linux; the C library has it built in as well.
const DIRECTORY: &str = "/dev/shm";

/// Space is reserved in pieces of this size: a signal interrupts a reservation and undoes the piece
/// under way, so a large one under an interval timer would never end.
const RESERVE_STEP: u64 = 2 << 20;

/// Names one file for as long as it exists or is open: the numbers of its file system and inode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Identity {
    device: u64,
    /// The inode number.
    pub(crate) inode: u64,
}

/// What the kernel says about a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Which file it is.
    pub(crate) identity: Identity,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Whether it has a name (any name) at this moment.
    pub(crate) named: bool,
    /// Whether it is a regular file.
    pub(crate) regular: bool,
    /// The bytes of memory that it occupies.
    pub(crate) occupied: u64,
    /// The user it belongs to.
    pub(crate) user: u32,
    /// The group it belongs to.
    pub(crate) group: u32,
    /// Its permission bits.
    pub(crate) mode: u32,
}

impl Facts {
    fn new(stat: &Stat) -> Facts {
        Facts {
            identity: Identity { device: stat.st_dev, inode: stat.st_ino },
            len: u64::try_from(stat.st_size).unwrap_or(0),
            named: stat.st_nlink > 0,
            regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
            occupied: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            user: stat.st_uid,
            group: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        }
    }
}

fn path(name: &str) -> String {
    format!("{DIRECTORY}/{name}")
}

/// Opens a file as a mere reference: it can be asked for its facts, whatever its mode, and its
/// inode number is not given to another file while it is open.
///
/// # Errors
/// `NotFound`, or what the kernel says.
pub(crate) fn refer(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path(name), flags, Mode::empty())?)
}

/// Opens a file for reading; never waits, whatever kind of file it is.
///
/// # Errors
/// `NotFound`, `PermissionDenied`, or what the kernel says.
pub(crate) fn open_to_read(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path(name), flags, Mode::empty())?)
}

/// Opens a file for reading and writing; never waits, whatever kind of file it is.
///
/// # Errors
/// `NotFound`, `PermissionDenied`, or what the kernel says.
pub(crate) fn open_to_write(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path(name), flags, Mode::empty())?)
}

/// The facts about an open file.
///
/// # Errors
/// What `fstat` says.
pub(crate) fn facts(file: impl AsFd) -> io::Result<Facts> {
    Ok(Facts::new(&rustix::fs::fstat(file)?))
}

/// The facts about the file of that name at this moment; a symbolic link is not followed.
///
/// # Errors
/// `NotFound`, or what the kernel says.
pub(crate) fn facts_by_name(name: &str) -> io::Result<Facts> {
    Ok(Facts::new(&rustix::fs::statat(CWD, path(name), AtFlags::SYMLINK_NOFOLLOW)?))
}

/// Fills `bytes` from `offset` of an open file; gives how many there were.
///
/// # Errors
/// What `pread` says.
pub(crate) fn read_at(file: impl AsFd, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset.saturating_add(done as u64);
        let count =
            rustix::io::retry_on_intr(|| rustix::io::pread(file.as_fd(), &mut bytes[done..], at))?;
        if count == 0 {
            break;
        }
        done += count;
    }
    Ok(done)
}

/// The bytes that are free; `None` when the file system has no limit.
///
/// # Errors
/// What `statvfs` says.
pub(crate) fn free_bytes() -> io::Result<Option<u64>> {
    let facts = rustix::fs::statvfs(DIRECTORY)?;
    // A tmpfs that was mounted without a limit reports no blocks at all.
    Ok((facts.f_blocks != 0).then(|| facts.f_bavail.saturating_mul(facts.f_frsize)))
}

/// Reserves memory for the first `len` bytes of an open file: touching them cannot fail later.
///
/// # Errors
/// `StorageFull` when there is not enough; some may have been reserved. Or what the kernel says.
pub(crate) fn reserve(file: impl AsFd, len: u64) -> io::Result<()> {
    let mut offset = 0;
    while offset < len {
        let step = RESERVE_STEP.min(len - offset);
        rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(file.as_fd(), FallocateFlags::empty(), offset, step)
        })?;
        offset += step;
    }
    Ok(())
}

/// Lets the owner read and write an open file, and `group` too if one is given, and nobody else.
///
/// # Errors
/// `PermissionDenied` when the group is not one of the caller's, or what the kernel says.
pub(crate) fn set_access(file: impl AsFd, group: Option<u32>) -> io::Result<()> {
    let mode = match group {
        None => Mode::RUSR | Mode::WUSR,
        Some(id) => {
            rustix::fs::fchown(file.as_fd(), None, Some(Gid::from_raw(id)))?;
            Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP
        }
    };
    Ok(rustix::fs::fchmod(file, mode)?)
}

/// Renames a file, in one step; never replaces another.
///
/// # Errors
/// `AlreadyExists` when `to` is taken, `NotFound` when there is no `from`, or what the kernel says.
pub(crate) fn rename(from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (path(from), path(to));
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Removes a name.
///
/// # Errors
/// `NotFound`, or what the kernel says.
pub(crate) fn remove(name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlink(path(name))?)
}

/// All names in the directory that are valid UTF-8, in no particular order.
///
/// # Errors
/// What reading the directory says.
pub(crate) fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(DIRECTORY)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
