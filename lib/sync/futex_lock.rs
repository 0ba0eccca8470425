//! The lock of [`crate::Mutex`]: a [`RobustLock`] that is linked on the thread's robust list while
//! it is held, so that any number of nested ones is recovered, also when only the thread dies.

use crate::os::clock::Deadline;
use crate::os::robust_list::Thread;
use crate::segment::{Kind, Segment};

use super::Caller;
use super::raw_lock::{Cell, NotLocked, RawLock};
use super::robust_lock::{Acquired, Refused, RobustLock};

/// Our own robust lock: fast, and safe against hostile peers and other PID namespaces.
///
/// Its cell: the lock word at +0, 16 bytes unused, the list node (`prev` at +24, `next` at +32; see
/// `os::robust_list`).
#[derive(Debug)]
pub enum Futex {}

#[inline]
fn lock_of(cell: &Cell) -> &RobustLock {
    RobustLock::at(&cell.0[0])
}

impl RawLock for Futex {
    const NAME: &str = "Mutex";
    const KIND: Kind = Kind::Mutex;

    #[inline]
    fn acquire_free(segment: &Segment, cell: &Cell) -> bool {
        let Some(caller) = Caller::enter(segment) else { return false };
        let lock = lock_of(cell);
        let armed = caller.arm(lock.word());
        if !lock.lock_free(&caller) {
            caller.disarm(armed);
            return false;
        }
        caller.hold(lock.word(), armed);
        // As below; the lock stays with us then, in pages that nobody shares.
        !segment.is_truncated()
    }

    #[inline]
    fn release_simply(segment: &Segment, cell: &Cell, last: impl FnOnce()) -> bool {
        let lock = lock_of(cell);
        // The segment is usable in the fork of the program that took the lock, on the same thread.
        segment.is_usable()
            && Thread::release_lone(lock.word(), || {
                last();
                lock.unlock();
            })
    }

    fn acquire(segment: &Segment, cell: &Cell, deadline: Deadline) -> Result<Acquired, NotLocked> {
        let caller = Caller::enter(segment).ok_or(NotLocked::Unusable)?;
        let lock = lock_of(cell);
        let armed = caller.arm(lock.word());
        match lock.lock(&caller, || deadline) {
            Ok(acquired) => {
                caller.hold(lock.word(), armed);
                // A file truncated meanwhile: the lock we took is in pages that nobody shares.
                if segment.is_truncated() { Err(NotLocked::Unusable) } else { Ok(acquired) }
            }
            Err(refused) => {
                caller.disarm(armed);
                Err(refused.into())
            }
        }
    }

    fn release(segment: &Segment, cell: &Cell, last: impl FnOnce()) {
        // An inherited guard in a forked child must not touch its parent's lock.
        let Some(caller) = Caller::enter(segment) else {
            return;
        };
        last();
        let lock = lock_of(cell);
        caller.release(lock.word(), || lock.unlock());
    }
}

impl From<Refused> for NotLocked {
    #[inline]
    fn from(refused: Refused) -> NotLocked {
        match refused {
            Refused::TimedOut => NotLocked::TimedOut,
            Refused::Deadlock => NotLocked::Deadlock,
        }
    }
}
