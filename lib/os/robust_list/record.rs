//! What this thread knows of its robust list: the locks of ours that are on it, and how they get there and off.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, compiler_fence};

use super::{MAX_HELD, NODE_OFFSET, Unlinked};

/// The kernel's `struct robust_list_head`.
#[repr(C)]
pub(super) struct Head {
    pub(super) next: AtomicPtr<u8>,
    pub(super) futex_offset: libc::c_long,
    pub(super) pending: AtomicPtr<u8>,
}

/// One lock that this thread holds: the address of its node's `next` field, and what we wrote there.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) node: *mut u8,
    pub(super) next: *mut u8,
    /// Released, but still linked because its predecessor is not ours.
    pub(super) released: bool,
}

const NOBODY: Held = Held { node: ptr::null_mut(), next: ptr::null_mut(), released: false };

pub(super) struct Local {
    /// Which fork of the program the rest belongs to; 0 = nothing known yet. A forked child's thread
    /// has another id than its parent's, and no locks.
    pub(super) fork: Cell<u64>,
    /// The kernel's id of this thread.
    pub(super) tid: Cell<u32>,
    /// The registered head, if it has the layout we know.
    pub(super) head: Cell<Option<NonNull<Head>>>,
    pub(super) held: [Cell<Held>; MAX_HELD],
    pub(super) count: Cell<usize>,
    /// The node of the held lock that only the pending slot names, or null. Set after the lock was taken and
    /// cleared before it is released, so a signal handler that wants the slot links no lock that is not held.
    pub(super) lone: Cell<*mut u8>,
}

thread_local! {
    pub(super) static LOCAL: Local = const {
        Local {
            fork: Cell::new(0),
            tid: Cell::new(0),
            head: Cell::new(None),
            held: [const { Cell::new(NOBODY) }; MAX_HELD],
            count: Cell::new(0),
            lone: Cell::new(ptr::null_mut()),
        }
    };
}

impl Local {
    /// Puts a held lock at the front of the list, as far as it can be (see Limits). The pending slot names it
    /// meanwhile.
    #[cold]
    #[inline(never)]
    pub(super) fn link(&self, head: &Head, node: *mut u8) -> bool {
        if self.count.get() != 0 {
            return self.link_another(head, node);
        }
        head.is_empty() && {
            self.link_at(0, head, node);
            true
        }
    }

    /// Something else wants the pending slot, in which `before` stands: what is to be put back there afterwards.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room(&self, head: &Head, before: *mut u8) -> *mut u8 {
        if self.lone.get() != before {
            return before;
        }
        self.link_lone(head);
        ptr::null_mut()
    }

    /// Puts the lone lock on the list, if there is one.
    #[inline]
    pub(super) fn link_lone(&self, head: &Head) {
        let lone = self.lone.get();
        if !lone.is_null() {
            // On the list before it is out of the record: a signal handler in between finds it in the slot.
            self.link(head, lone);
            self.lone.set(ptr::null_mut());
        }
    }

    /// [`Thread::hold`] beside an armed word, or a lone lock that the C library has put out of the slot.
    #[cold]
    #[inline(never)]
    pub(super) fn hold_among_others(&self, head: &Head, node: *mut u8, armed: *mut u8) {
        self.link_lone(head);
        if armed.is_null() {
            self.lone.set(node);
            return;
        }
        self.link(head, node);
        compiler_fence(Ordering::SeqCst);
        head.pending.store(armed, Ordering::Relaxed);
    }

    /// Puts `node` at the front of the list, and into the record as number `count`, its end.
    #[inline]
    pub(super) fn link_at(&self, count: usize, head: &Head, node: *mut u8) {
        let next = head.next.load(Ordering::Relaxed);
        self.held[count].set(Held { node, next, released: false });
        self.count.set(count + 1);
        write_next(node, next);
        write_prev(head, next, node);
        compiler_fence(Ordering::SeqCst);
        head.next.store(node, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// [`Thread::joins`](super::Thread::joins) beside others.
    #[cold]
    #[inline(never)]
    pub(super) fn joins_others(&self, head: &Head, node: *mut u8) -> bool {
        self.link_lone(head);
        self.drop_released(head);
        let next = head.next.load(Ordering::Relaxed);
        let count = self.count.get();
        let Some(slot) = self.held.get(count) else { return false };
        if !self.knows(head, next) {
            return false;
        }
        slot.set(Held { node, next, released: false });
        self.count.set(count + 1);
        true
    }

    /// [`Thread::left`](super::Thread::left) of one among others.
    #[cold]
    #[inline(never)]
    pub(super) fn left_others(&self, head: &Head, node: *mut u8) {
        if let Some(at) = self.position(|held| held.node == node) {
            let next = self.held[at].get().next;
            // The C library has already rewritten the shared links around its node.
            if let Some(before) = self.find(|held| held.next == node) {
                before.set(Held { next, ..before.get() });
            }
            self.remove(at);
        }
        self.drop_released(head);
    }

    /// Whether `front`, the front of the list, is one that we may add before: the head itself, or a
    /// node of our record.
    pub(super) fn knows(&self, head: &Head, front: *mut u8) -> bool {
        front == head.address() || self.find(|held| held.node == front).is_some()
    }

    /// [`Local::link`] when something of ours is linked already.
    #[cold]
    #[inline(never)]
    pub(super) fn link_another(&self, head: &Head, node: *mut u8) -> bool {
        self.drop_released(head);
        if let Some(slot) = self.find(|held| held.node == node) {
            // Still linked from an earlier time (see Limits): it only has to count again. Another owner
            // may have written its own links into the node meanwhile.
            slot.set(Held { released: false, ..slot.get() });
            write_next(node, slot.get().next);
            return true;
        }
        let count = self.count.get();
        if count >= MAX_HELD || !self.knows(head, head.next.load(Ordering::Relaxed)) {
            return false;
        }
        self.link_at(count, head, node);
        true
    }

    /// [`Thread::unlink`] of one lock among several, or of one that is not at the front.
    #[cold]
    #[inline(never)]
    pub(super) fn unlink_inner(&self, head: &Head, node: *mut u8) -> Unlinked {
        let Some(slot) = self.find(|held| held.node == node) else {
            return Unlinked::Never;
        };
        slot.set(Held { released: true, ..slot.get() });
        self.drop_released(head);
        if self.find(|held| held.node == node).is_none() { Unlinked::Done } else { Unlinked::Stuck }
    }

    pub(super) fn position(&self, matches: impl Fn(&Held) -> bool) -> Option<usize> {
        (0..self.count.get()).rev().find(|&at| matches(&self.held[at].get()))
    }

    pub(super) fn find(&self, matches: impl Fn(&Held) -> bool) -> Option<&Cell<Held>> {
        self.position(matches).map(|at| &self.held[at])
    }

    pub(super) fn remove(&self, at: usize) {
        let count = self.count.get() - 1;
        for later in at..count {
            self.held[later].set(self.held[later + 1].get());
        }
        self.count.set(count);
    }

    /// Takes every released node off the list whose predecessor we know: the head, or the node of
    /// another lock of ours.
    pub(super) fn drop_released(&self, head: &Head) {
        let mut at = self.count.get();
        while at > 0 {
            at -= 1;
            let held = self.held[at].get();
            if !held.released {
                continue;
            }
            if head.is_front(held.node) {
                take_front(head, held.next);
            } else if let Some(before) = self.find(|other| other.next == held.node) {
                let previous = before.get();
                before.set(Held { next: held.next, ..previous });
                write_next(previous.node, held.next);
                compiler_fence(Ordering::SeqCst);
                write_prev(head, held.next, previous.node);
            } else {
                continue;
            }
            self.remove(at);
            at = self.count.get();
        }
    }
}

impl Head {
    /// The address that the last node points to, and the head itself when there is none.
    #[inline]
    pub(super) fn address(&self) -> *mut u8 {
        (&raw const self.next).cast_mut().cast()
    }

    /// Whether nothing is on the list.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.is_front(self.address())
    }

    /// Whether `node` is the first of the list.
    #[inline]
    pub(super) fn is_front(&self, node: *mut u8) -> bool {
        self.next.load(Ordering::Relaxed) == node
    }
}

/// Makes `next` the front of the list.
#[inline]
pub(super) fn take_front(head: &Head, next: *mut u8) {
    head.next.store(next, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    write_prev(head, next, head.address());
}

/// The address of the node's `next` field for a lock word.
#[inline]
pub(super) fn node_of(word: &AtomicU64) -> *mut u8 {
    word.as_ptr().cast::<u8>().wrapping_add(NODE_OFFSET)
}

/// Writes a node's `next` pointer (for the kernel to follow).
#[inline]
fn write_next(node: *mut u8, next: *mut u8) {
    // SAFETY: `node` is the address of the `next` field of a lock that this thread holds, inside a
    // mapping that stays mapped while it is linked (Segment::pin); the place is a reserved, aligned
    // 8 bytes of the lock's layout.
    let place = unsafe { AtomicPtr::from_ptr(node.cast::<*mut u8>()) };
    place.store(next, Ordering::Relaxed);
}

/// Writes the `prev` pointer of the node `at`, as the C library does for its neighbours. The list
/// head has none of ours to write.
#[inline]
fn write_prev(head: &Head, at: *mut u8, previous: *mut u8) {
    // The lowest bit marks a priority-inheritance mutex of the C library.
    let at = at.map_addr(|address| address & !1);
    if ptr::eq(at, head.address()) {
        return;
    }
    let prev = at.wrapping_sub(size_of::<*mut u8>());
    // SAFETY: `at` comes from our own record, never from shared memory, and nothing is recorded whose
    // neighbour is not in the record too (`Local::knows`): so it is the node of a lock that this thread
    // holds, or that is kept mapped; each node's `prev` lies directly before its `next`.
    let place = unsafe { AtomicPtr::from_ptr(prev.cast::<*mut u8>()) };
    place.store(previous, Ordering::Relaxed);
}
