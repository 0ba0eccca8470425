//! The calling thread, as the lock words of one segment name it.

use crate::os::robust_list::{Armed, Thread};
use crate::primitive::{AtomicU64, Fault, fault};
use crate::segment::{Owner, Segment};

/// Participants of another PID namespace than the segment's are named by their slot, in a range
/// that no thread id reaches (the kernel's limit is 2^22).
const FOREIGN: u32 = 0x2000_0000;

/// The calling thread during one operation on one segment. Made at the start of every operation,
/// which is where a forked child or a truncated segment is refused.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    segment: &'a Segment,
    thread: Thread,
    /// The word it writes into a lock: owner in the high half, thread id in the low half.
    id: u64,
    /// Whether the kernel can find its thread id in lock words: only in the PID namespace of the
    /// segment. Others are covered by their file lock alone.
    native: bool,
}

impl<'a> Caller<'a> {
    /// The calling thread, if it may use the segment; otherwise [`Segment::unusable`] tells why.
    #[inline]
    pub(crate) fn enter(segment: &'a Segment) -> Option<Caller<'a>> {
        if !segment.is_usable() {
            return None;
        }
        let thread = Thread::current(segment.fork_id());
        let owner = segment.me();
        let native = segment.native_tid();
        let low = if native { thread.tid() } else { FOREIGN | owner.bits() & 0xffff };
        Some(Caller { segment, thread, id: u64::from(owner.bits()) << 32 | u64::from(low), native })
    }

    /// What this thread writes into a lock word it owns.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the participant whose name stands in the high half of a lock word is alive.
    pub(crate) fn is_alive(&self, owner: u32) -> bool {
        self.segment.is_alive(Owner::from_bits(owner))
    }

    /// Whether the low half of [`Caller::id`] names this thread, not only its process.
    pub(crate) fn names_thread(&self) -> bool {
        self.native
    }

    /// Tells the kernel which word to look at if this thread dies before [`Caller::disarm`].
    #[inline]
    pub(crate) fn arm(&self, word: &AtomicU64) -> Option<Armed> {
        (self.native && !fault(Fault::UnarmedLock)).then(|| self.thread.arm(word))
    }

    /// Ends what [`Caller::arm`] began.
    #[inline]
    pub(crate) fn disarm(&self, armed: Option<Armed>) {
        if let Some(armed) = armed {
            self.thread.disarm(armed);
        }
    }

    /// Puts a lock that is held across user code on the thread's robust list (see
    /// [`crate::os::robust_list`]), and keeps its memory mapped meanwhile.
    pub(crate) fn link(&self, word: &AtomicU64) {
        if self.native && self.thread.link(word) {
            self.segment.pin();
        }
    }

    /// Takes it off again.
    pub(crate) fn unlink(&self, word: &AtomicU64) {
        if self.native && self.thread.unlink(word) {
            self.segment.unpin();
        }
    }

    /// [`Caller::link`] for a mutex that the C library links itself.
    pub(crate) fn joins(&self, mutex: *mut u8) {
        if self.thread.joins(mutex) {
            self.segment.pin();
        }
    }

    /// [`Caller::unlink`] for a mutex that the C library has unlinked.
    pub(crate) fn left(&self, mutex: *mut u8) {
        if self.thread.left(mutex) {
            self.segment.unpin();
        }
    }
}
