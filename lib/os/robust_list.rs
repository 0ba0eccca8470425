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
//! A lock that is held while no other one is armed or taken needs no node: it is left in the pending slot (the
//! **lone** lock), and is put on the list when something else wants the slot. Most locks never are.
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
//!   this thread dies then, the kernel stops there, and what is linked behind is not marked;
//! * one that is locked or unlocked while a lone lock of ours is held empties the slot, and nothing names that
//!   lock until this thread takes another one or releases it.
//!
//! More than [`MAX_HELD`] locks held by one thread are not linked either. For all of these the death of
//! the *process* is still found by its file lock; that of the thread alone is not.

mod record;

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use record::{Head, Held, LOCAL, Local, node_of, take_front};

/// Distance from a lock word to the `next` pointer of its node, in bytes: the C library's layout.
pub(crate) const NODE_OFFSET: usize = 32;

/// How many locks of one thread are linked at the same time.
pub(crate) const MAX_HELD: usize = 64;

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
        let lone = local.lone.get();
        if let Some(head) = head
            && !lone.is_null()
        {
            // SAFETY: as above.
            let head = unsafe { head.as_ref() };
            // In a forked child the slot was copied, and names its parent's lock.
            if head.pending.load(Ordering::Relaxed) == lone {
                head.pending.store(ptr::null_mut(), Ordering::Relaxed);
            }
        }
        local.fork.set(fork);
        local.tid.set(tid);
        local.head.set(head);
        local.count.set(0);
        local.lone.set(ptr::null_mut());
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
        let mut before = head.pending.load(Ordering::Relaxed);
        if !before.is_null() {
            before = LOCAL.with(|local| local.make_room(head, before));
        }
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

    /// Ends what [`Thread::arm`] began with the word owned, and the kernel goes on looking at it until
    /// [`Thread::release`]: it stays in the pending slot, or is put on the list, as far as it can be (see
    /// Limits). Its memory must stay mapped meanwhile.
    #[inline]
    pub(crate) fn hold(self, word: &AtomicU64, armed: Armed) {
        let Some(head) = self.head() else { return };
        LOCAL.with(|local| {
            let node = node_of(word);
            if armed.0.is_null() && local.lone.get().is_null() {
                local.lone.set(node);
            } else {
                local.hold_among_others(head, node, armed.0);
            }
        });
    }

    /// Lets `unlock` release the word that [`Thread::hold`] was told of; the kernel looks at it until that is
    /// done.
    #[inline]
    pub(crate) fn release(self, word: &AtomicU64, unlock: impl FnOnce()) -> Unlinked {
        if self.is_lone(word) {
            Thread::release_lone(word, unlock);
            return Unlinked::Done;
        }
        let armed = self.arm(word);
        let unlinked = self.unlink(word);
        unlock();
        self.disarm(armed);
        unlinked
    }

    fn is_lone(self, word: &AtomicU64) -> bool {
        LOCAL.with(|local| local.lone.get() == node_of(word))
    }

    /// [`Thread::release`] of the lone lock, without knowing the thread: in the fork of the program in which
    /// the lock was taken. False, and nothing is done, if this is not the lone one.
    #[inline]
    pub(crate) fn release_lone(word: &AtomicU64, unlock: impl FnOnce()) -> bool {
        let node = node_of(word);
        let head = LOCAL.with(|local| {
            if local.lone.get() != node {
                return None;
            }
            local.lone.set(ptr::null_mut());
            local.head.get()
        });
        let Some(head) = head else { return false };
        // SAFETY: what the kernel gave as this thread's head, in this fork of the program: see `Thread::head`.
        let head = unsafe { head.as_ref() };
        // It is there already, unless the C library has used the slot.
        head.pending.store(node, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        unlock();
        compiler_fence(Ordering::SeqCst);
        head.pending.store(ptr::null_mut(), Ordering::Relaxed);
        true
    }

    /// Puts the lock word `word`, which is armed and owned, on the list too, while the slot is needed for another.
    pub(crate) fn link(self, word: &AtomicU64) -> bool {
        let Some(head) = self.head() else { return false };
        LOCAL.with(|local| local.link(head, node_of(word)))
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
    #[inline]
    pub(crate) fn joins(self, mutex: *mut u8) -> bool {
        let Some(head) = self.head() else { return false };
        let node = mutex.wrapping_add(NODE_OFFSET);
        LOCAL.with(|local| {
            // The usual case: nothing else is held.
            if local.count.get() == 0 && local.lone.get().is_null() && head.is_empty() {
                local.held[0].set(Held { node, next: head.address(), released: false });
                local.count.set(1);
                return true;
            }
            local.joins_others(head, node)
        })
    }

    /// Takes back what the last [`Thread::joins`] recorded: the mutex never was on the list.
    pub(crate) fn withdraw(self) {
        LOCAL.with(|local| local.count.set(local.count.get().saturating_sub(1)));
    }

    /// The C library is about to release a robust mutex, and will use the pending slot.
    #[inline]
    pub(crate) fn leaves(self) {
        let Some(head) = self.head() else { return };
        LOCAL.with(|local| local.link_lone(head));
    }

    /// The C library has taken the robust mutex at `mutex` off the list.
    #[inline]
    pub(crate) fn left(self, mutex: *mut u8) {
        let Some(head) = self.head() else { return };
        let node = mutex.wrapping_add(NODE_OFFSET);
        LOCAL.with(|local| {
            if local.count.get() == 1 && local.held[0].get().node == node {
                local.count.set(0);
            } else {
                local.left_others(head, node);
            }
        });
    }
}
