//! One process's attachment to one segment, and what it gives back at its end.

use super::area::Area;
use super::header::Header;
use super::participants::{Participants, Role};
use super::{Segment, registry, remove};
use crate::os::mapping::Mapping;
use crate::os::process::{self, ForkPage};
use crate::os::shm::{self, Identity};
use crate::os::sigbus::Watch;
use std::io;

/// One process's attachment to one segment. Fields are dropped in this order: the slot is given
/// back, then the mapping goes.
pub(super) struct Inner {
    pub(super) name: String,
    pub(super) identity: Identity,
    pub(super) header: Header,
    /// The object's bytes.
    pub(super) object: Area,
    /// The fork page, and what it said when this was made: anything else means a forked child.
    pub(super) fork: &'static ForkPage,
    pub(super) fork_id: u64,
    /// Whether kernel thread ids mean the same here as for the creator.
    pub(super) native_tid: bool,
    pub(super) participants: Participants,
    pub(super) watch: Watch,
    /// Dropped last.
    pub(super) _mapping: Mapping,
}

impl Inner {
    /// Puts the parts together; cannot be in the registry yet.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn new(
        name: &str,
        header: Header,
        whole: Area,
        participants: Participants,
        watch: Watch,
        mapping: Mapping,
    ) -> io::Result<Inner> {
        let layout = &header.layout;
        let (at, len) = (layout.object_at as usize, layout.object_len as usize);
        let start = whole.at(at, len);
        // SAFETY: the range was just checked to lie in the mapping, which `Inner` keeps; its start is
        // a multiple of the page size.
        let object = unsafe { Area::new(start, len) };
        let pid_namespace = process::pid_namespace();
        Ok(Inner {
            identity: shm::facts(participants.lock().file()?)?.identity,
            name: name.to_owned(),
            object,
            fork: process::fork_page()?,
            fork_id: process::fork_id()?,
            native_tid: pid_namespace != 0 && pid_namespace == header.pid_namespace,
            header,
            participants,
            watch,
            _mapping: mapping,
        })
    }

    /// Whether this process is a forked child of the one that attached.
    #[inline]
    pub(super) fn forked(&self) -> bool {
        self.fork.id() != self.fork_id
    }
}

impl Drop for Inner {
    /// Lets go. In a forked child only the mapping is removed. Killed inside: like being killed
    /// before, or after.
    fn drop(&mut self) {
        if self.forked() {
            return;
        }
        if let Ok(mut segments) = registry::lock() {
            let entry = segments.get(&self.identity);
            if entry.is_some_and(|weak| std::ptr::eq(weak.as_ptr(), self)) {
                segments.remove(&self.identity);
            }
        }
        if self.header.ephemeral {
            remove::last_one_out(self);
        }
    }
}

/// A single role, held. Dropping it gives the role back; in a forked child that does nothing.
#[derive(Debug)]
pub(crate) struct RoleClaim {
    segment: Segment,
    role: Role,
}

impl RoleClaim {
    /// A role that was taken in this segment.
    pub(super) fn new(segment: Segment, role: Role) -> RoleClaim {
        RoleClaim { segment, role }
    }
}

impl Drop for RoleClaim {
    fn drop(&mut self) {
        self.segment.inner.participants.release(self.role);
    }
}
