//! The operations that wait without a thread: for tasks of any executor.
//!
//! They have the names of the blocking ones with `_async`, as one handle serves both kinds of callers at the
//! same time (other crates whose channels do that use the same suffix).

use std::sync::Arc;

use crate::message::Message;
use crate::os::clock::Deadline;

use super::attempts::Attempts;
use super::object::Shared;
use super::source::{PATIENCE, Side};
use super::{Consumer, GetError, JoinError, JoinableQueue, Lease, Producer, PutError, Queue};

/// Repeats a put that does not wait.
async fn putting(
    shared: &Arc<Shared>,
    put: impl Fn() -> Result<(), PutError> + Unpin,
) -> Result<(), PutError> {
    let attempt = || match put() {
        Err(PutError::Full) => None,
        result => Some(result),
    };
    Attempts::new(shared, Side::Put, attempt).await
}

/// Repeats a get that does not wait.
async fn getting<R>(
    shared: &Arc<Shared>,
    get: impl Fn() -> Result<R, GetError> + Unpin,
) -> Result<R, GetError> {
    let attempt = || match get() {
        Err(GetError::Empty) => None,
        result => Some(result),
    };
    Attempts::new(shared, Side::Get, attempt).await
}

/// # Asynchronous operations
/// With the feature `tokio`. The futures are plain ones: they need no runtime of a certain kind, any number of
/// threads, and no tokio in the dependencies; the feature has the name of the runtime that they are tested
/// with.
///
/// * **They can be cancelled.** A future that is dropped before it was ready has put nothing and taken
///   nothing; `select!` and time-outs lose no message. A message is taken only by the poll that gives it.
/// * **No wake-up is lost with a task.** If a task was woken and is dropped before it took the message,
///   another waiter is woken in its place, here or in another process. If it is neither polled nor dropped, or
///   its whole process is killed, the others go on after 100 ms at the latest.
/// * **They wait without a thread of their own.** All waiting tasks of a process share one thread,
///   `steadfast-watch`, which is started when the first has to wait and ends when none has for a while (one
///   for each 127 sides of queues that are waited for). It looks for the dead as sleepers do.
/// * **A poll is short**: some nanoseconds under a lock. But if a process was stopped while it held the
///   queue's lock, a poll that finds a message or room may take 0.1 s (with large messages 0.2 s) before it
///   gives up until later.
/// * In a forked child a future fails with `Forked`.
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Queue, QueueOptions};
///
/// # let name = format!("doc-async-{}", std::process::id());
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let jobs: Queue = Queue::open_or_create(&name, &QueueOptions::new())?;
/// jobs.put_async(b"paint the fence").await?;
/// tokio::select! {
///     job = jobs.get_async() => assert_eq!(job?, b"paint the fence"),
///     () = tokio::time::sleep(Duration::from_secs(1)) => println!("nothing to do"),
/// }
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<T: Message + ?Sized> Queue<T> {
    /// [`Queue::put`], without keeping the thread while it waits for room.
    ///
    /// Dropped before it is ready: nothing was put.
    ///
    /// # Errors
    /// As [`Queue::put`]; [`PutError::Segment`] also if the thread that waits could not be started.
    pub async fn put_async(&self, item: &T) -> Result<(), PutError> {
        putting(&self.shared, || self.try_put(item)).await
    }

    /// [`Queue::get`], without keeping the thread while it waits for a message.
    ///
    /// Dropped before it is ready: no message was taken.
    ///
    /// # Errors
    /// As [`Queue::get`]; [`GetError::Segment`] also if the thread that waits could not be started.
    pub async fn get_async(&self) -> Result<T::Owned, GetError> {
        getting(&self.shared, || self.try_get()).await
    }
}

/// # Asynchronous operations
/// With the feature `tokio`; see the same section of [`Queue`].
impl<T: Message + ?Sized> JoinableQueue<T> {
    /// [`JoinableQueue::put`], without keeping the thread while it waits for room.
    ///
    /// Dropped before it is ready: nothing was put.
    ///
    /// # Errors
    /// As [`JoinableQueue::put`]; [`PutError::Segment`] also if the thread that waits could not be started.
    pub async fn put_async(&self, item: &T) -> Result<(), PutError> {
        putting(&self.shared, || self.try_put(item)).await
    }

    /// [`JoinableQueue::get`], without keeping the thread while it waits for a message.
    ///
    /// Dropped before it is ready: no message was taken. A message whose delay is over wakes a task.
    ///
    /// # Errors
    /// As [`JoinableQueue::get`]; [`GetError::Segment`] also if the thread that waits could not be started.
    pub async fn get_async(&self) -> Result<Lease<T>, GetError> {
        getting(&self.shared, || self.try_get()).await
    }

    /// [`JoinableQueue::join`], without keeping the thread.
    ///
    /// # Errors
    /// As [`JoinableQueue::join`]; [`JoinError::Segment`] also if the thread that waits could not be started.
    pub async fn join_async(&self) -> Result<(), JoinError> {
        let attempt = || match self.shared.is_done(Deadline::after(PATIENCE)) {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        Attempts::new(&self.shared, Side::Join, attempt).await
    }
}

impl<T: Message + ?Sized> Producer<T> {
    /// As [`Queue::put_async`].
    ///
    /// # Errors
    /// As [`Queue::put_async`].
    pub async fn put_async(&mut self, item: &T) -> Result<(), PutError> {
        let put = || self.put_as_owner(item, Deadline::Now);
        putting(&self.shared, put).await
    }
}

impl<T: Message + ?Sized> Consumer<T> {
    /// As [`Queue::get_async`].
    ///
    /// # Errors
    /// As [`Queue::get_async`].
    pub async fn get_async(&mut self) -> Result<T::Owned, GetError> {
        let get = || self.get_as_owner(Deadline::Now);
        getting(&self.shared, get).await
    }
}
