//! What can go wrong with a segment.

use super::Kind;
use super::participants::Role;
use std::io;

/// Why an operation on a segment failed. Every variant names the segment, and its text says what
/// happened and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// `create` found the name taken.
    #[error("segment {name:?} exists already: open it, or unlink it first")]
    AlreadyExists {
        /// The segment.
        name: String,
    },
    /// There is no segment of that name.
    #[error("there is no segment {name:?}: create it first, or list the names there are")]
    NotFound {
        /// The segment.
        name: String,
    },
    /// The name breaks the rules.
    #[error(
        "{name:?} cannot name a segment: use 1 to 200 of the characters A-Z, a-z, 0-9, '.', '_', '-'"
    )]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// A length, a count or an offset is outside of what is possible.
    #[error("segment {name:?}: {what}")]
    InvalidArgument {
        /// The segment.
        name: String,
        /// Which argument, and its limits.
        what: &'static str,
    },
    /// The file of that name is not a segment.
    #[error("the file of {name:?} is not a segment ({what}): unlink it if nobody needs it")]
    NotASegment {
        /// The segment.
        name: String,
        /// How that was seen.
        what: &'static str,
    },
    /// The segment was made by a build whose layout of shared memory differs.
    #[error(
        "segment {name:?} has {found}, this program has {ours}: use programs built with the same \
         major version of steadfast, or unlink the segment and create it anew"
    )]
    WrongVersion {
        /// The segment.
        name: String,
        /// The layout of the segment.
        found: String,
        /// The layout of this program.
        ours: String,
    },
    /// The segment holds another kind of object.
    #[error("segment {name:?} holds a {found}, not a {wanted}: open it as what it is")]
    WrongKind {
        /// The segment.
        name: String,
        /// The kind of the object in it.
        found: Kind,
        /// The kind that was asked for.
        wanted: Kind,
    },
    /// The segment holds a shared struct of another type.
    #[error(
        "segment {name:?} holds {found}, not {wanted}: use programs that agree on the type, or unlink \
         the segment and create it anew"
    )]
    WrongType {
        /// The segment.
        name: String,
        /// The type of what is in it, as its creator described it.
        found: String,
        /// The type that was asked for.
        wanted: String,
    },
    /// The segment was damaged: a constant in it is not what its creator wrote.
    #[error("segment {name:?} is corrupt ({what}): unlink it and create it anew")]
    Corrupt {
        /// The segment.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The shared memory of the machine is too full for the segment.
    #[error(
        "segment {name:?} needs {needed} bytes, and /dev/shm has {free} free: make it smaller, \
         remove what is not needed, or enlarge the tmpfs"
    )]
    NoSpace {
        /// The segment.
        name: String,
        /// The bytes needed, all told.
        needed: u64,
        /// The bytes free.
        free: u64,
    },
    /// Every participant slot belongs to a process that lives.
    #[error(
        "all {participants} participant slots of segment {name:?} are in use: wait for a process \
         to leave, or create it with more participants"
    )]
    Full {
        /// The segment.
        name: String,
        /// How many slots there are.
        participants: u16,
    },
    /// The segment has users, and the call wanted one without.
    #[error("segment {name:?} is in use by {users} processes: wait for them, or force the removal")]
    InUse {
        /// The segment.
        name: String,
        /// How many processes are attached.
        users: usize,
    },
    /// The file's mode, or its group, does not let this process in.
    #[error(
        "no permission for segment {name:?}: it belongs to another user; its creator can share it \
         with a group that this process is in"
    )]
    PermissionDenied {
        /// The segment.
        name: String,
    },
    /// The segment belongs to somebody whom this process has no reason to trust.
    #[error(
        "segment {name:?} is not to be trusted ({what}): whoever may write it could make this process \
         misbehave; have it made by this user, by root, or for a group that this process is in"
    )]
    Untrusted {
        /// The segment.
        name: String,
        /// What speaks against it.
        what: &'static str,
    },
    /// Another handle, in this process or another, has the single role.
    #[error("segment {name:?} has its {role} already: only one may live at a time")]
    RoleTaken {
        /// The segment.
        name: String,
        /// Which role.
        role: Role,
    },
    /// The handle was inherited through `fork`.
    #[error(
        "this handle of segment {name:?} belongs to the parent process: open the segment again in \
         the child"
    )]
    Forked {
        /// The segment.
        name: String,
    },
    /// A pthread mutex knows its owners by thread ids, which mean something else in this process's PID
    /// namespace than in its creator's.
    #[error(
        "the pthread mutex of segment {name:?} was made in another PID namespace: use a Mutex, which \
         works across them"
    )]
    ForeignNamespace {
        /// The segment.
        name: String,
    },
    /// A peer made the file shorter, and the guard against truncation caught it.
    #[error("segment {name:?} was truncated by another process: unlink it and create it anew")]
    Truncated {
        /// The segment.
        name: String,
    },
    /// The kernel refused.
    #[error("segment {name:?}: cannot {operation}")]
    Io {
        /// The segment.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SegmentError {
    /// The error for what the kernel said to `operation`; those with a meaning of their own get
    /// their own variant.
    pub(crate) fn from_io(name: &str, operation: &'static str, source: io::Error) -> SegmentError {
        let name = name.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => SegmentError::NotFound { name },
            io::ErrorKind::AlreadyExists => SegmentError::AlreadyExists { name },
            io::ErrorKind::PermissionDenied => SegmentError::PermissionDenied { name },
            _ => SegmentError::Io { name, operation, source },
        }
    }

    /// The name of the segment.
    pub fn name(&self) -> &str {
        match self {
            SegmentError::AlreadyExists { name }
            | SegmentError::NotFound { name }
            | SegmentError::InvalidName { name }
            | SegmentError::InvalidArgument { name, .. }
            | SegmentError::NotASegment { name, .. }
            | SegmentError::WrongVersion { name, .. }
            | SegmentError::WrongKind { name, .. }
            | SegmentError::WrongType { name, .. }
            | SegmentError::Corrupt { name, .. }
            | SegmentError::NoSpace { name, .. }
            | SegmentError::Full { name, .. }
            | SegmentError::InUse { name, .. }
            | SegmentError::PermissionDenied { name }
            | SegmentError::Untrusted { name, .. }
            | SegmentError::RoleTaken { name, .. }
            | SegmentError::Forked { name }
            | SegmentError::ForeignNamespace { name }
            | SegmentError::Truncated { name }
            | SegmentError::Io { name, .. } => name,
        }
    }
}
