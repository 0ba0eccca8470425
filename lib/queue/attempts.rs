//! The future of a put, a get or a join: attempts that do not wait, with the watcher's sleep in between.
//!
//! It is a plain [`std::future::Future`] and needs no executor of a certain kind. What it does, it does inside
//! of one poll: a future that is dropped before it was ready has put nothing and taken nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::segment::SegmentError;

use super::object::Shared;
use super::source::{Id, Side};

/// Repeats `attempt`, which gives nothing when it would have to wait.
#[must_use]
pub(super) struct Attempts<'a, F> {
    shared: &'a Arc<Shared>,
    side: Side,
    attempt: F,
    /// Our entry, once we had to wait.
    id: Option<Id>,
}

impl<'a, F> Attempts<'a, F> {
    pub(super) fn new(shared: &'a Arc<Shared>, side: Side, attempt: F) -> Attempts<'a, F> {
        Attempts { shared, side, attempt, id: None }
    }

    /// Ends the wait. `more`: others are to be called, if there is something for them.
    fn leave(&mut self, more: bool) {
        let Some(id) = self.id.take() else { return };
        let source = self.shared.source(self.side);
        if source.leave(id) || more {
            source.pass_on(self.shared);
        }
    }
}

impl<R, E, F> Future for Attempts<'_, F>
where
    E: From<SegmentError>,
    F: FnMut() -> Option<Result<R, E>> + Unpin,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R, E>> {
        let this = self.get_mut();
        // In a forked child the entry, and the thread that looks after it, are the parent's.
        this.shared.segment.check()?;
        if this.id.is_none()
            && let Some(result) = (this.attempt)()
        {
            return Poll::Ready(result);
        }
        let source = this.shared.source(this.side);
        let was_called = source.enter(&mut this.id, context.waker());
        let _ = this.shared.event(this.side).prepare();
        let result = match this.shared.seems_worth_a_try(this.side) {
            true => (this.attempt)(),
            false => None,
        };
        if let Some(result) = result {
            // A get calls the next one itself, a put or a join leaves that to us.
            this.leave(this.side != Side::Get || (was_called && result.is_err()));
            return Poll::Ready(result);
        }
        if let Err(error) = source.watch(this.shared) {
            this.leave(was_called);
            let name = this.shared.segment.name();
            return Poll::Ready(Err(SegmentError::from_io(name, "start a thread", error).into()));
        }
        Poll::Pending
    }
}

impl<F> Drop for Attempts<'_, F> {
    fn drop(&mut self) {
        if !matches!(self.shared.segment.check(), Err(SegmentError::Forked { .. })) {
            self.leave(false);
        }
    }
}
