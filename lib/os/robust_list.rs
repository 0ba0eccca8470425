//! The kernel's per-thread robust list: what it does with our lock words when this thread dies.
//!
//! The C library registers one list head per thread, and it must stay the only one: registering our
//! own would disarm every robust mutex of the program. We use the two things the head offers:
//!
//! * the **pending slot** names one word for the length of one operation. When the thread dies, the
//!   kernel looks at it: owner part = our thread id -> the word becomes `OWNER_DIED` (its waiters
//!   bit kept) and one waiter is woken; owner part = 0 -> the word stays, one waiter is woken
//!   (Linux 5.5 and later); another owner -> nothing.
//! * the **list** holds the locks that are held across user code (`Mutex<T>`). Its nodes must lie at
//!   a fixed distance from the lock word, so they are in shared memory, where a peer can write
//!   whatever it likes. Therefore we only ever *write* them; what we read is our own record
//!   ([`Held`]), and only the kernel follows the nodes, with its own checks and bounds, when the
//!   thread dies.
//!
//! A node is a pair of pointers `{ prev, next }`, in the places where the C library's own robust
//! mutexes have them: both kinds can be mixed in one list, and each writes the links of its
//! neighbours the same way. The C library's unlock follows what it finds in shared memory; that
//! is the known hazard of robust pthread mutexes, not of ours.
//!
//! Only a list whose front is empty or a node of our record is added to: then every link that we
//! remember leads to a lock that this thread holds through us, and that is mapped.
//!
//! # Limits
//! A program may hold robust pthread mutexes that are not [`crate::PthreadMutex`], so that we do not
//! know of them:
//! * a lock of ours that is taken while such a mutex is the front of the list is not linked;
//! * one that is released while such a mutex, taken later, is still held hides behind it: its node stays
//!   linked until a later call finds it at the front, and its segment stays attached until the process
//!   ends. Meanwhile another process that takes that lock writes links of its own into the node; if
//!   this thread dies then, the kernel stops there, and what is linked behind is not marked.
//!
//! More than [`MAX_HELD`] locks held by one thread are not linked either. For all of these the death of
//! the *process* is still found by its file lock; that of the thread alone is not.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, compiler_fence};

/// Distance from a lock word to the `next` pointer of its node, in bytes: the C library's layout.
pub(crate) const NODE_OFFSET: usize = 32;

/// How many locks of one thread are linked at the same time.
pub(crate) const MAX_HELD: usize = 64;

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Head {
    next: AtomicPtr<u8>,
    futex_offset: libc::c_long,
    pending: AtomicPtr<u8>,
}

/// One lock that this thread holds: the address of its node's `next` field, and what we wrote there.
#[derive(Clone, Copy)]
struct Held {
    node: *mut u8,
    next: *mut u8,
    /// Released, but still linked because its predecessor is not ours.
    released: bool,
}

const NOBODY: Held = Held { node: ptr::null_mut(), next: ptr::null_mut(), released: false };

struct Local {
    /// Which fork of the program the rest belongs to; 0 = nothing known yet. A forked child's thread
    /// has another id than its parent's, and no locks.
    fork: Cell<u64>,
    /// The kernel's id of this thread.
    tid: Cell<u32>,
    /// The registered head, if it has the layout we know.
    head: Cell<Option<NonNull<Head>>>,
    held: [Cell<Held>; MAX_HELD],
    count: Cell<usize>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            fork: Cell::new(0),
            tid: Cell::new(0),
            head: Cell::new(None),
            held: [const { Cell::new(NOBODY) }; MAX_HELD],
            count: Cell::new(0),
        }
    };
}

/// The calling thread, as the kernel knows it.
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    tid: u32,
    head: Option<NonNull<Head>>,
}

/// What the pending slot held before [`Thread::arm`]; given back by [`Thread::disarm`].
#[must_use]
pub(crate) struct Armed(*mut u8);

impl Armed {
    /// As if nothing had been armed before.
    pub(crate) fn nothing() -> Armed {
        Armed(ptr::null_mut())
    }
}

/// What became of a node that was to be taken off the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unlinked {
    /// It is off.
    Done,
    /// It has to stay (see Limits): its memory must stay mapped.
    Stuck,
    /// It never was on it.
    Never,
}

impl Thread {
    /// The calling thread, in the fork of the program that has this (non-zero) id: one look at
    /// thread-local memory, after the first time.
    #[inline]
    pub(crate) fn current(fork: u64) -> Thread {
        LOCAL.with(|local| {
            if local.fork.get() != fork {
                return Thread::ask(local, fork);
            }
            Thread { tid: local.tid.get(), head: local.head.get() }
        })
    }

    #[cold]
    #[inline(never)]
    fn ask(local: &Local, fork: u64) -> Thread {
        let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let mut head: *mut Head = ptr::null_mut();
        let mut len: libc::size_t = 0;
        // SAFETY: get_robust_list(0, ..) writes the calling thread's registered head and its length
        // to the two places given, which are ours and of the right size.
        let asked = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &mut head, &mut len) };
        let head = NonNull::new(head).filter(|head| {
            // SAFETY: the kernel gave this address as the head that this thread registered; the C
            // library keeps it in the thread's control block for as long as the thread lives.
            let offset =
                asked == 0 && unsafe { head.as_ref() }.futex_offset == -(NODE_OFFSET as i64);
            offset && len == size_of::<Head>()
        });
        local.fork.set(fork);
        local.tid.set(tid);
        local.head.set(head);
        local.count.set(0);
        Thread { tid, head }
    }

    /// The same thread, with a list that nothing is put on.
    #[inline]
    pub(crate) fn unlisted(self) -> Thread {
        Thread { head: None, ..self }
    }

    /// The kernel's thread id, as seen in this process's PID namespace.
    #[inline]
    pub(crate) fn tid(self) -> u32 {
        self.tid
    }

    #[inline]
    fn head(&self) -> Option<&Head> {
        // SAFETY: `head` came from `ask` on this same thread (Thread is not sent: it is made and
        // used within one operation), and the control block lives as long as the thread.
        self.head.map(|head| unsafe { head.as_ref() })
    }

    /// Names `word` in the pending slot: from here to [`Thread::disarm`] the kernel looks at it if
    /// this thread dies. Two plain stores to memory of this thread.
    #[inline]
    pub(crate) fn arm(self, word: &AtomicU64) -> Armed {
        let Some(head) = self.head() else {
            return Armed(ptr::null_mut());
        };
        let before = head.pending.load(Ordering::Relaxed);
        head.pending.store(node_of(word), Ordering::Relaxed);
        // Only this thread and the kernel at its death read the slot: program order suffices.
        compiler_fence(Ordering::SeqCst);
        Armed(before)
    }

    /// Gives the pending slot back to whoever used it before.
    #[inline]
    pub(crate) fn disarm(self, armed: Armed) {
        compiler_fence(Ordering::SeqCst);
        if let Some(head) = self.head() {
            head.pending.store(armed.0, Ordering::Relaxed);
        }
    }

    /// Puts the lock word `word`, whose node lies [`NODE_OFFSET`] bytes behind it, on the list. To
    /// be called with the word armed and owned. False when it cannot be linked (see Limits).
    #[inline]
    pub(crate) fn link(self, word: &AtomicU64) -> bool {
        let Some(head) = self.head() else { return false };
        LOCAL.with(|local| {
            let node = node_of(word);
            if local.count.get() != 0 {
                return local.link_another(head, node);
            }
            head.is_empty() && {
                local.link_at(0, head, node);
                true
            }
        })
    }

    /// Takes `word` off the list again; to be called with the word armed and still owned.
    #[inline]
    pub(crate) fn unlink(self, word: &AtomicU64) -> Unlinked {
        let Some(head) = self.head() else {
            return Unlinked::Never;
        };
        LOCAL.with(|local| {
            let node = node_of(word);
            let Some(last) = local.count.get().checked_sub(1) else {
                return Unlinked::Never;
            };
            // The usual case: locks are released in the opposite order.
            match local.held.get(last).map(Cell::get) {
                Some(newest) if newest.node == node && head.is_front(node) => {
                    local.count.set(last);
                    take_front(head, newest.next);
                    if last != 0 {
                        local.drop_released(head);
                    }
                    Unlinked::Done
                }
                _ => local.unlink_inner(head, node),
            }
        })
    }

    /// Records that the C library is about to put the robust mutex at `mutex` on the list; call it
    /// before the mutex is locked. Then, if this gave true, [`Thread::withdraw`] when the mutex was not
    /// obtained, or [`Thread::left`] after it was unlocked. False when it cannot be recorded.
    pub(crate) fn joins(self, mutex: *mut u8) -> bool {
        let Some(head) = self.head() else { return false };
        LOCAL.with(|local| {
            local.drop_released(head);
            let next = head.next.load(Ordering::Relaxed);
            let count = local.count.get();
            let Some(slot) = local.held.get(count) else { return false };
            if !local.knows(head, next) {
                return false;
            }
            let node = mutex.wrapping_add(NODE_OFFSET);
            slot.set(Held { node, next, released: false });
            local.count.set(count + 1);
            true
        })
    }

    /// Takes back what the last [`Thread::joins`] recorded: the mutex never was on the list.
    pub(crate) fn withdraw(self) {
        LOCAL.with(|local| local.count.set(local.count.get().saturating_sub(1)));
    }

    /// The C library has taken the robust mutex at `mutex` off the list.
    pub(crate) fn left(self, mutex: *mut u8) {
        let Some(head) = self.head() else { return };
        LOCAL.with(|local| {
            let node = mutex.wrapping_add(NODE_OFFSET);
            if let Some(at) = local.position(|held| held.node == node) {
                let next = local.held[at].get().next;
                // The C library has already rewritten the shared links around its node.
                if let Some(before) = local.find(|held| held.next == node) {
                    before.set(Held { next, ..before.get() });
                }
                local.remove(at);
            }
            local.drop_released(head);
        });
    }
}

impl Local {
    /// Puts `node` at the front of the list, and into the record as number `count`, its end.
    #[inline]
    fn link_at(&self, count: usize, head: &Head, node: *mut u8) {
        let next = head.next.load(Ordering::Relaxed);
        self.held[count].set(Held { node, next, released: false });
        self.count.set(count + 1);
        write_next(node, next);
        write_prev(head, next, node);
        compiler_fence(Ordering::SeqCst);
        head.next.store(node, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Whether `front`, the front of the list, is one that we may add before: the head itself, or a
    /// node of our record.
    fn knows(&self, head: &Head, front: *mut u8) -> bool {
        front == head.address() || self.find(|held| held.node == front).is_some()
    }

    /// [`Thread::link`] when something of ours is linked already.
    #[cold]
    #[inline(never)]
    fn link_another(&self, head: &Head, node: *mut u8) -> bool {
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
    fn unlink_inner(&self, head: &Head, node: *mut u8) -> Unlinked {
        let Some(slot) = self.find(|held| held.node == node) else {
            return Unlinked::Never;
        };
        slot.set(Held { released: true, ..slot.get() });
        self.drop_released(head);
        if self.find(|held| held.node == node).is_none() { Unlinked::Done } else { Unlinked::Stuck }
    }

    fn position(&self, matches: impl Fn(&Held) -> bool) -> Option<usize> {
        (0..self.count.get()).rev().find(|&at| matches(&self.held[at].get()))
    }

    fn find(&self, matches: impl Fn(&Held) -> bool) -> Option<&Cell<Held>> {
        self.position(matches).map(|at| &self.held[at])
    }

    fn remove(&self, at: usize) {
        let count = self.count.get() - 1;
        for later in at..count {
            self.held[later].set(self.held[later + 1].get());
        }
        self.count.set(count);
    }

    /// Takes every released node off the list whose predecessor we know: the head, or the node of
    /// another lock of ours.
    fn drop_released(&self, head: &Head) {
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
    fn address(&self) -> *mut u8 {
        (&raw const self.next).cast_mut().cast()
    }

    /// Whether nothing is on the list.
    #[inline]
    fn is_empty(&self) -> bool {
        self.is_front(self.address())
    }

    /// Whether `node` is the first of the list.
    #[inline]
    fn is_front(&self, node: *mut u8) -> bool {
        self.next.load(Ordering::Relaxed) == node
    }
}

/// Makes `next` the front of the list.
#[inline]
fn take_front(head: &Head, next: *mut u8) {
    head.next.store(next, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    write_prev(head, next, head.address());
}

/// The address of the node's `next` field for a lock word.
#[inline]
fn node_of(word: &AtomicU64) -> *mut u8 {
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
