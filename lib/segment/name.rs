//! Names of segments, and of the files that hold them.
//!
//! | file in `/dev/shm` | what it is |
//! |---|---|
//! | `steadfast.<name>` | a published segment |
//! | `steadfast-new,<random>` | one that is being made; its creator holds the creator's lock |
//! | `steadfast-old,<inode>,<random>,<name>` | one that is being removed |
//!
//! A comma is outside the grammar of public names, so the private names cannot be asked for.

use super::error::SegmentError;

/// The longest public name: with the longest private prefix it still fits into a file name.
const LONGEST: usize = 200;

const PUBLISHED: &str = "steadfast.";
const NEW: &str = "steadfast-new,";
const OLD: &str = "steadfast-old,";

/// What a file name says about the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum FileName {
    /// A segment with this public name.
    Published(String),
    /// A segment that is being made.
    New,
    /// The file with this inode number was being removed from this public name.
    Old {
        /// The inode that was meant.
        inode: u64,
        /// The public name that it had.
        name: String,
    },
}

fn is_valid(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The file of the segment `name`.
///
/// # Errors
/// `InvalidName`.
pub(crate) fn published(name: &str) -> Result<String, SegmentError> {
    if is_valid(name) {
        Ok(format!("{PUBLISHED}{name}"))
    } else {
        Err(SegmentError::InvalidName { name: name.to_owned() })
    }
}

/// A private name for a segment that is being made.
pub(crate) fn new(random: [u8; 16]) -> String {
    format!("{NEW}{:032x}", u128::from_ne_bytes(random))
}

/// A private name for the file `inode` that is being removed from the public `name`.
pub(crate) fn old(inode: u64, random: [u8; 4], name: &str) -> String {
    format!("{OLD}{inode:x},{:08x},{name}", u32::from_ne_bytes(random))
}

/// What `file` is; `None` for files that are not ours.
pub(crate) fn parse(file: &str) -> Option<FileName> {
    if let Some(name) = file.strip_prefix(PUBLISHED) {
        return is_valid(name).then(|| FileName::Published(name.to_owned()));
    }
    if let Some(random) = file.strip_prefix(NEW) {
        let ours = random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
        return ours.then_some(FileName::New);
    }
    let mut parts = file.strip_prefix(OLD)?.splitn(3, ',');
    let inode = u64::from_str_radix(parts.next()?, 16).ok()?;
    let _random = parts.next()?;
    let name = parts.next()?;
    is_valid(name).then(|| FileName::Old { inode, name: name.to_owned() })
}
