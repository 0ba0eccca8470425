//! fork: a handle is of the process that made it; in a forked child it answers
//! `Forked`, and dropping it harms nobody.

use steadfast::{GetError, PutError, Queue, SegmentError, Shutdown};

use crate::support::child::{self, Child};
use crate::support::proc::{Fork, in_fork};
use crate::support::{proc, watchdog};
use crate::{LONG, bytes, bytes_with, small};

const BOTH: [Fork; 2] = [Fork::Libc, Fork::Raw];

/// 0 when every operation of an inherited handle says `Forked`, or the number
/// of the first one that does not.
fn first_that_works(queue: &Queue) -> i32 {
    let put = |result| matches!(result, Err(PutError::Segment(SegmentError::Forked { .. })));
    let get = |result| matches!(result, Err(GetError::Segment(SegmentError::Forked { .. })));
    fn other<T>(result: Result<T, SegmentError>) -> bool {
        matches!(result, Err(SegmentError::Forked { .. }))
    }
    let forked = [
        put(queue.put(b"child")),
        put(queue.try_put(b"child")),
        put(queue.put_timeout(b"child", LONG)),
        put(queue.put_many(&[*b"child"])),
        get(queue.get().map(drop)),
        get(queue.try_get().map(drop)),
        get(queue.get_timeout(LONG).map(drop)),
        get(queue.get_many(2).map(drop)),
        other(queue.qsize()),
        other(queue.is_empty()),
        other(queue.is_full()),
        other(queue.shutdown(Shutdown::Now)),
    ];
    forked.iter().position(|forked| !forked).map_or(0, |at| at as i32 + 1)
}

/// Child: forks with a queue in hand.
pub fn fork_queue(arguments: &[String]) {
    for how in BOTH {
        let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
        let clone = queue.clone();
        let worked = in_fork(how, || first_that_works(&queue));
        assert_eq!(worked, 0, "{how:?}: operation {worked} worked in the forked child");
        // The child's copies, dropped there, leave ours attached.
        let users = queue.segment().users();
        let mut taken = Some((queue, clone));
        let code = in_fork(how, || {
            drop(taken.take());
            0
        });
        assert_eq!(code, 0, "{how:?}: a drop in the forked child");
        let (queue, clone) = taken.unwrap();
        assert_eq!(queue.segment().users(), users, "{how:?}");
        queue.put(b"parent").unwrap();
        assert_eq!(clone.get().unwrap(), b"parent");
    }
    child::tell("done");
}

/// Child: the same with both roles claimed; asks the parent to try them.
pub fn fork_roles(arguments: &[String]) {
    for how in BOTH {
        let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
        let mut producer = queue.producer().unwrap();
        let mut consumer = queue.consumer().unwrap();
        producer.put(b"x").unwrap();
        let code = in_fork(how, || {
            let put = producer.put(b"child");
            let put = matches!(put, Err(PutError::Segment(SegmentError::Forked { .. })));
            let get = matches!(consumer.get(), Err(GetError::Segment(SegmentError::Forked { .. })));
            let reserve = producer.try_reserve(8).is_err();
            let peek = consumer.try_peek().is_err();
            let claim = queue.producer().is_err();
            i32::from(!(put && get && reserve && peek && claim))
        });
        assert_eq!(code, 0, "{how:?}");
        let mut taken = Some((producer, consumer));
        let code = in_fork(how, || {
            drop(taken.take());
            0
        });
        assert_eq!(code, 0, "{how:?}");
        child::tell("try");
        child::hear();
        let (mut producer, mut consumer) = taken.take().unwrap();
        producer.put(b"y").unwrap();
        assert_eq!(consumer.get_many(9).unwrap(), [b"x", b"y"]);
        // Guards over the ring that are alive at the fork.
        let mut write = producer.reserve(5).unwrap();
        assert!(write.write_at(0, b"whole"));
        let mut write = Some(write);
        let code = in_fork(how, || i32::from(write.take().unwrap().commit().is_ok()));
        assert_eq!(code, 0, "{how:?}: a commit in the forked child");
        assert!(queue.is_empty().unwrap(), "{how:?}: a forked child has committed");
        write.take().unwrap().commit().unwrap();
        let mut view = Some(consumer.peek().unwrap());
        let code = in_fork(how, || i32::from(view.take().unwrap().release().is_ok()));
        assert_eq!(code, 0, "{how:?}: a release in the forked child");
        assert_eq!(queue.qsize().unwrap(), 1, "{how:?}: a forked child has released");
        view.take().unwrap().release().unwrap();
        assert!(queue.is_empty().unwrap());
    }
    child::tell("done");
}

/// Child: a forked child opens the queue by name and uses it.
pub fn fork_get(arguments: &[String]) {
    let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
    let code = in_fork(Fork::Libc, || {
        let again = Queue::<[u8]>::open(&arguments[0]);
        match again {
            Ok(again) => {
                again.put(b"from the forked child").unwrap();
                0
            }
            Err(_) => 1,
        }
    });
    assert_eq!(code, 0);
    assert_eq!(queue.get().unwrap(), b"from the forked child");
    // The parent of a forked child is told apart from it: ours dies first here.
    let tid = proc::tid();
    child::tell(tid);
}

#[test]
fn an_inherited_queue_answers_forked_and_its_drop_is_harmless() {
    let _dog = watchdog();
    let (name, queue) = bytes("forked");
    let mut child = Child::spawn("fork_queue", &[&name]);
    child.expect("done");
    child.finish();
    assert!(queue.is_empty().unwrap());
    assert_eq!(queue.segment().users(), 1);
}

#[test]
fn inherited_roles_answer_forked_and_their_drops_free_nothing() {
    let _dog = watchdog();
    let (name, queue) = bytes_with("forked", &small().single_producer().single_consumer());
    let mut child = Child::spawn("fork_roles", &[&name]);
    for _ in BOTH {
        child.expect("try");
        assert!(matches!(queue.producer(), Err(SegmentError::RoleTaken { .. })));
        assert!(matches!(queue.consumer(), Err(SegmentError::RoleTaken { .. })));
        child.say("go on");
    }
    child.expect("done");
    child.finish();
    drop(queue.producer().unwrap());
    drop(queue.consumer().unwrap());
}

#[test]
fn a_forked_child_may_open_the_queue_anew() {
    let _dog = watchdog();
    let (name, queue) = bytes("forked");
    let mut child = Child::spawn("fork_get", &[&name]);
    child.hear();
    child.finish();
    assert!(queue.is_empty().unwrap());
    assert_eq!(queue.segment().users(), 1);
}
