//! fork: the watcher is the parent's, and so are its futures.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use steadfast::{GetError, JoinError, PutError, Queue, SegmentError};

use crate::support::child::{self, Child};
use crate::support::proc::{Fork, in_fork};
use crate::{Counting, block_on, numbers, poll, small, support, work};

/// Child: forks with futures in hand that wait.
pub fn fork(arguments: &[String]) {
    let queue = Queue::<u64>::open(&arguments[0]).unwrap();
    let (_name, jobs) = work("forked");
    jobs.put(&1).unwrap();
    let counting = Arc::new(Counting::default());
    for how in [Fork::Libc, Fork::Raw] {
        let mut get = Box::pin(queue.get_async());
        assert!(poll(&mut get.as_mut(), &counting).is_pending());
        let ready = queue.ready_fd().unwrap();
        let mut held = Some((get, ready));
        let code = in_fork(how, || {
            let forked = |error: &SegmentError| matches!(error, SegmentError::Forked { .. });
            let (mut get, ready) = held.take().unwrap();
            match poll(&mut get.as_mut(), &counting) {
                Poll::Ready(Err(GetError::Segment(error))) if forked(&error) => {}
                _ => return 1,
            }
            match block_on(queue.get_async()) {
                Err(GetError::Segment(error)) if forked(&error) => {}
                _ => return 2,
            }
            match block_on(queue.put_async(&1)) {
                Err(PutError::Segment(error)) if forked(&error) => {}
                _ => return 3,
            }
            match block_on(jobs.join_async()) {
                Err(JoinError::Segment(error)) if forked(&error) => {}
                _ => return 4,
            }
            match ready.clear() {
                Err(error) if forked(&error) => {}
                _ => return 5,
            }
            drop((get, ready));
            // With a handle of its own it gets a watcher of its own.
            let Ok(queue) = Queue::<u64>::open(&arguments[0]) else { return 6 };
            let mut get = pin!(queue.get_async());
            let counting = Arc::new(Counting::default());
            if poll(&mut get, &counting).is_ready() {
                return 7;
            }
            queue.put(&9).unwrap();
            while counting.count() == 0 {
                std::thread::yield_now();
            }
            match poll(&mut get, &counting) {
                Poll::Ready(Ok(9)) => 0,
                _ => 8,
            }
        });
        assert_eq!(code, 0, "{how:?}");
        // The parent's still works.
        let (mut get, ready) = held.take().unwrap();
        queue.put(&3).unwrap();
        while poll(&mut get.as_mut(), &counting).is_pending() {
            std::thread::yield_now();
        }
        drop(ready);
    }
    child::tell("done");
}

#[test]
fn an_inherited_future_answers_forked_and_a_new_one_works() {
    let _dog = support::watchdog();
    let (name, _queue) = numbers("forked", &small());
    let mut child = Child::spawn("fork", &[&name]);
    child.expect("done");
    child.finish();
}
