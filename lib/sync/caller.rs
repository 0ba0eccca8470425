//! The calling thread, as the lock words of one segment name it.

pub(crate) use crate::os::robust_list::Armed;
use crate::os::robust_list::{Thread, Unlinked};
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
    /// Where the kernel can find its thread id in lock words: only in the PID namespace of the
    /// segment. Others are covered by their file lock alone.
    thread: Thread,
    /// The word it writes into a lock: owner in the high half, thread id in the low half.
    id: u64,
}

impl<'a> Caller<'a> {
    /// The calling thread, if it may use the segment; otherwise [`Segment::unusable`] tells why.
    #[inline]
    pub(crate) fn enter(segment: &'a Segment) -> Option<Caller<'a>> {
        if !segment.is_usable() {
            return None;
        }
        let mut thread = Thread::current(segment.fork_id());
        let owner = segment.me();
        let mut low = thread.tid();
        if !segment.native_tid() {
            thread = thread.unlisted();
            low = FOREIGN | owner.bits() & 0xffff;
        }
        Some(Caller { segment, thread, id: u64::from(owner.bits()) << 32 | u64::from(low) })
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
        self.segment.native_tid()
    }

    /// A name of this thread that no other one has, alive or dead, of whatever PID namespace: its process in the
    /// high half, and in the low half the number that the kernel knows it by in its own namespace.
    pub(crate) fn thread(&self) -> u64 {
        self.id >> 32 << 32 | u64::from(self.thread.tid())
    }

    /// Whether the segment can still be used.
    pub(crate) fn is_usable(&self) -> bool {
        self.segment.is_usable()
    }

    /// Tells the kernel which word to look at if this thread dies before [`Caller::disarm`].
    #[inline]
    pub(crate) fn arm(&self, word: &AtomicU64) -> Armed {
        if fault(Fault::UnarmedLock) { Armed::nothing() } else { self.thread.arm(word) }
    }

    /// Ends what [`Caller::arm`] began.
    #[inline]
    pub(crate) fn disarm(&self, armed: Armed) {
        self.thread.disarm(armed);
    }

    /// Ends what [`Caller::arm`] began with a lock that is now held across user code: the kernel goes on looking
    /// at it (see [`crate::os::robust_list`]). Its memory must stay mapped meanwhile.
    #[inline]
    pub(crate) fn hold(&self, word: &AtomicU64, armed: Armed) {
        self.thread.hold(word, armed);
    }

    /// Lets `unlock` release such a lock.
    #[inline]
    pub(crate) fn release(&self, word: &AtomicU64, unlock: impl FnOnce()) {
        if self.thread.release(word, unlock) == Unlinked::Stuck {
            self.segment.keep_for_ever();
        }
    }

    /// Puts an armed lock that is owned on the thread's robust list, while the slot is needed for another one.
    pub(crate) fn link(&self, word: &AtomicU64) {
        self.thread.link(word);
    }

    /// Takes it off again.
    pub(crate) fn unlink(&self, word: &AtomicU64) {
        if self.thread.unlink(word) == Unlinked::Stuck {
            self.segment.keep_for_ever();
        }
    }

    /// For a mutex that the C library links itself: to be called before it is locked. Gives what
    /// [`Caller::joined`] or [`Caller::withdraw`] want afterwards.
    pub(crate) fn joins(&self, mutex: *mut u8) -> bool {
        self.thread.joins(mutex)
    }

    /// The mutex was locked: its memory must stay mapped.
    pub(crate) fn joined(&self, recorded: bool) {
        if !recorded {
            self.segment.keep_for_ever();
        }
    }

    /// The mutex was not locked.
    pub(crate) fn withdraw(&self, recorded: bool) {
        if recorded {
            self.thread.withdraw();
        }
    }

    /// To be called around the unlocking of such a mutex.
    pub(crate) fn leaving(&self, mutex: *mut u8, unlock: impl FnOnce()) {
        self.thread.leaves();
        unlock();
        self.thread.left(mutex);
    }
}
