//! A descriptor for other event loops: readable when there is something to get.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use crate::message::Message;
use crate::os::eventfd::EventFd;
use crate::segment::SegmentError;

use super::object::Shared;
use super::source::{Id, Side};
use super::{Consumer, JoinableQueue, Queue};

/// A descriptor for `poll`, `epoll` and event loops, that is readable when a get would probably not have to
/// wait: there is a message, or the queue has ended.
///
/// It stays readable until [`ReadyFd::clear`], also when the message was taken meanwhile, here or elsewhere; so
/// get with the `try_` forms. In a loop:
///
/// 1. get until [`GetError::Empty`](crate::GetError::Empty) (or as long as one likes: what is left makes it
///    readable again in the next step);
/// 2. [`ReadyFd::clear`];
/// 3. wait until it is readable.
///
/// A message that comes at any point of that makes it readable before the wait of step 3, or ends the wait.
/// Do not read the descriptor: that would clear it, and leave it so.
///
/// Any number of descriptors, tasks and threads may wait for one queue: all descriptors become readable. It
/// keeps the segment attached, like a handle. In a forked child it is of no use: open the queue again there.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use steadfast::{Queue, QueueOptions};
///
/// # let name = format!("doc-ready-{}", std::process::id());
/// let queue: Queue = Queue::create(&name, &QueueOptions::new())?;
/// let ready = queue.ready_fd()?;
/// queue.put(b"hello")?;
///
/// // an event loop would wait here until ready.as_raw_fd() is readable
/// # assert!(ready.as_raw_fd() > 2);
/// while let Ok(message) = queue.try_get() {
///     assert_eq!(message, b"hello");
/// }
/// ready.clear()?;
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadyFd {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    waker: Waker,
    id: Mutex<Option<Id>>,
}

#[derive(Debug)]
struct Bell(EventFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }
}

impl ReadyFd {
    fn new(shared: &Arc<Shared>) -> Result<ReadyFd, SegmentError> {
        shared.segment.check()?;
        let failed =
            |error| SegmentError::from_io(shared.segment.name(), "make a descriptor", error);
        let bell = Arc::new(Bell(EventFd::new().map_err(failed)?));
        let waker = Waker::from(Arc::clone(&bell));
        let ready = ReadyFd { shared: Arc::clone(shared), bell, waker, id: Mutex::default() };
        ready.clear()?;
        Ok(ready)
    }

    /// Makes it not readable, unless a get would probably not have to wait; then, or as soon as that is so, it
    /// is readable (again).
    ///
    /// # Errors
    /// [`SegmentError`] if the segment cannot be used, or the thread that waits could not be started.
    pub fn clear(&self) -> Result<(), SegmentError> {
        self.shared.segment.check()?;
        let mut id = self.id.lock().unwrap_or_else(PoisonError::into_inner);
        let source = self.shared.source(Side::Get);
        self.bell.0.silence();
        source.arm(&mut id, &self.waker);
        let _ = self.shared.event(Side::Get).prepare();
        if self.shared.seems_worth_a_try(Side::Get) {
            id.iter().for_each(|id| source.disarm(*id));
            self.bell.0.ring();
            return Ok(());
        }
        source.watch(&self.shared).map_err(|error: io::Error| {
            SegmentError::from_io(self.shared.segment.name(), "start a thread", error)
        })
    }
}

impl Drop for ReadyFd {
    fn drop(&mut self) {
        // In a forked child the entry is the parent's.
        if !matches!(self.shared.segment.check(), Err(SegmentError::Forked { .. }))
            && let Some(id) = *self.id.get_mut().unwrap_or_else(PoisonError::into_inner)
        {
            self.shared.source(Side::Get).disarm(id);
        }
    }
}

impl AsFd for ReadyFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.0.as_fd()
    }
}

impl AsRawFd for ReadyFd {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<T: Message + ?Sized> Queue<T> {
    /// A descriptor that is readable when there is something to get.
    ///
    /// # Errors
    /// As [`ReadyFd::clear`]; there may be too many descriptors.
    pub fn ready_fd(&self) -> Result<ReadyFd, SegmentError> {
        ReadyFd::new(&self.shared)
    }
}

impl<T: Message + ?Sized> JoinableQueue<T> {
    /// A descriptor that is readable when there is something to get; also when a delay is over.
    ///
    /// # Errors
    /// As [`ReadyFd::clear`]; there may be too many descriptors.
    pub fn ready_fd(&self) -> Result<ReadyFd, SegmentError> {
        ReadyFd::new(&self.shared)
    }
}

impl<T: Message + ?Sized> Consumer<T> {
    /// As [`Queue::ready_fd`].
    ///
    /// # Errors
    /// As [`Queue::ready_fd`].
    pub fn ready_fd(&self) -> Result<ReadyFd, SegmentError> {
        ReadyFd::new(&self.shared)
    }
}
