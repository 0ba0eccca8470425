//! A peer that makes the file shorter while it is mapped: an error where the
//! guard is on, and SIGBUS, as documented, where it is not.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;

use steadfast::{
    GetError, JoinError, JoinableQueue, Lease, LeaseError, LockError, Mutex, PutError, Queue,
    SegmentError, Shutdown,
};

use crate::image::{self, PAGE, Value};
use crate::joinable;
use crate::support::child::{self, Child};
use crate::support::{LIMIT, Name, file, watchdog_after};

/// Child: opens everything, lets the parent truncate, and operates.
pub fn victim(arguments: &[String]) {
    let [guarded, queue, single, mutex] = arguments else { panic!("{arguments:?}") };
    if guarded == "guarded" {
        steadfast::guard_against_truncation().unwrap();
    }
    let queue = Queue::<[u8]>::open(queue).unwrap();
    let single = Queue::<[u8]>::open(single).unwrap();
    let mutex = Mutex::<Value>::open(mutex).unwrap();
    let mut producer = single.producer().unwrap();
    let mut consumer = single.consumer().unwrap();
    queue.put(b"before").unwrap();
    drop(mutex.lock().unwrap());
    child::tell("open");
    child::hear();
    // The first touch behind the end is caught in the middle of an operation: whatever it answers,
    // it may not say that a message is in the queue. From the next one on it must be this error.
    let put = |result| matches!(result, Err(PutError::Segment(SegmentError::Truncated { .. })));
    let get = |result| matches!(result, Err(GetError::Segment(SegmentError::Truncated { .. })));
    assert!(queue.try_put(b"first").is_err(), "a message went nowhere");
    let _ = queue.try_get();
    assert!(producer.try_put(b"first").is_err(), "a message went nowhere");
    let _ = consumer.try_get();
    let _ = mutex.try_lock().map(drop);
    let _ = mutex.try_lock().map(drop);
    let told = [
        put(queue.try_put(b"x")),
        put(queue.put(b"x")),
        put(queue.put_many(&[*b"x"])),
        get(queue.try_get().map(drop)),
        get(queue.get().map(drop)),
        matches!(queue.qsize(), Err(SegmentError::Truncated { .. })),
        put(producer.put(b"x")),
        get(consumer.get().map(drop)),
        put(producer.reserve(8).map(drop)),
        get(consumer.peek().map(drop)),
        matches!(mutex.lock(), Err(LockError::Segment(SegmentError::Truncated { .. }))),
        matches!(mutex.try_lock(), Err(LockError::Segment(SegmentError::Truncated { .. }))),
    ];
    let wrong = told.iter().position(|told| !told);
    child::tell(wrong.map_or("all".to_owned(), |at| format!("operation {at}")));
    drop((queue, producer, consumer, single, mutex));
    child::tell("dropped");
}

/// Child: the same with a joinable queue; the operation given is the first to find out.
pub fn holder(arguments: &[String]) {
    steadfast::guard_against_truncation().unwrap();
    let queue = JoinableQueue::<[u8]>::open(&arguments[0]).unwrap();
    let mut leases: Vec<Lease> = (0..6).map(|_| queue.try_get().unwrap()).collect();
    let mut lease = || leases.pop().unwrap();
    let mut room = Some(queue.try_reserve(30).unwrap());
    child::tell("open");
    child::hear();
    let first = match &*arguments[1] {
        "value" => lease().value().is_err(),
        "ack" => lease().ack().is_err(),
        "nack" => lease().nack().is_err(),
        "put" => queue.try_put(b"x").is_err(),
        "put many" => queue.try_put_many(&[*b"x"]).is_err(),
        "get" => queue.try_get().is_err(),
        "commit" => room.take().is_some_and(|room| room.commit().is_err()),
        "letters" => queue.dead_letters().is_err(),
        "redrive" => queue.redrive().is_err(),
        "join" => queue.join().is_err(),
        "unfinished" => queue.unfinished().is_err(),
        other => panic!("{other}"),
    };
    // From the next one on it must be this error.
    use SegmentError::Truncated;
    let put = |result| matches!(result, Err(PutError::Segment(Truncated { .. })));
    let join = |result| matches!(result, Err(JoinError::Segment(Truncated { .. })));
    let end = |result| matches!(result, Err(LeaseError::Segment(Truncated { .. })));
    let told = [
        first,
        put(queue.put(b"x")),
        put(queue.put_many(&[*b"x"])),
        put(queue.reserve(9).map(drop)),
        put(room.take().map_or(queue.put(b"x"), |room| room.commit())),
        matches!(queue.get().map(drop), Err(GetError::Segment(Truncated { .. }))),
        matches!(lease().value(), Err(GetError::Segment(Truncated { .. }))),
        end(lease().ack()),
        end(lease().nack()),
        join(queue.join()),
        join(queue.unfinished().map(drop)),
        join(queue.dead_letters().map(drop)),
        join(queue.purge().map(drop)),
        matches!(queue.qsize(), Err(Truncated { .. })),
        matches!(queue.shutdown(Shutdown::Now), Err(Truncated { .. })),
    ];
    let wrong = told.iter().position(|told| !told);
    child::tell(wrong.map_or("all".to_owned(), |at| format!("operation {at}")));
    drop((room, leases));
    drop(queue);
    child::tell("dropped");
}

#[test]
fn a_truncated_joinable_queue_never_says_that_something_was_done() {
    let _dog = watchdog_after(LIMIT);
    let operations = [
        "value",
        "ack",
        "nack",
        "put",
        "put many",
        "get",
        "commit",
        "letters",
        "redrive",
        "join",
        "unfinished",
    ];
    for first in operations {
        let name = Name::new("cut");
        joinable::joinable().write(&name, &[]);
        let mut child = Child::spawn("truncated joinable", &[&name, first]);
        child.expect("open");
        File::options().write(true).open(file(&name)).unwrap().set_len(0).unwrap();
        child.say("go on");
        assert_eq!(child.hear(), "all", "{first}");
        child.expect("dropped");
        child.finish();
    }
}

/// Starts a victim and cuts its three segments to `len` bytes.
fn cut(guarded: &str, len: impl Fn(&image::Image) -> u64) -> (Vec<Name>, Child) {
    let names: Vec<Name> = (0..3).map(|_| Name::new("cut")).collect();
    let mutex = image::mutex();
    let images = [image::shared_queue(), image::single_queue(), &mutex];
    for (name, image) in names.iter().zip(images) {
        image.write(name, &[]);
    }
    let mut child = Child::spawn("truncated", &[guarded, &names[0], &names[1], &names[2]]);
    child.expect("open");
    for (name, image) in names.iter().zip(images) {
        let file = File::options().write(true).open(file(name)).unwrap();
        file.set_len(len(image)).unwrap();
    }
    child.say("go on");
    (names, child)
}

#[test]
fn truncated_to_nothing_is_an_error_with_the_guard() {
    let _dog = watchdog_after(LIMIT);
    let (_names, mut child) = cut("guarded", |_| 0);
    child.expect("all");
    child.expect("dropped");
    child.finish();
}

#[test]
fn truncated_to_the_header_is_an_error_with_the_guard() {
    let _dog = watchdog_after(LIMIT);
    let (_names, mut child) = cut("guarded", |_| PAGE as u64);
    child.expect("all");
    child.expect("dropped");
    child.finish();
}

#[test]
fn truncated_before_the_object_is_an_error_with_the_guard() {
    let _dog = watchdog_after(LIMIT);
    let (_names, mut child) = cut("guarded", |image| image.object as u64);
    child.expect("all");
    child.expect("dropped");
    child.finish();
}

#[test]
fn truncated_without_the_guard_is_an_error_or_sigbus() {
    let _dog = watchdog_after(LIMIT);
    let (_names, mut child) = cut("unguarded", |_| 0);
    let status = child.wait();
    let documented = status.signal() == Some(libc::SIGBUS) || status.success();
    assert!(documented, "{status}");
}

#[test]
fn a_truncated_file_is_refused_at_open() {
    let _dog = watchdog_after(LIMIT);
    let image = image::shared_queue();
    for len in [0, 1, 4095, 4096, 8191, image.object, image.bytes.len() - 1] {
        let name = Name::new("cut");
        std::fs::write(file(&name), &image.bytes[..len]).unwrap();
        let opened = Queue::<[u8]>::open(&name);
        let refused =
            matches!(opened, Err(SegmentError::NotASegment { .. } | SegmentError::Corrupt { .. }));
        assert!(refused, "{len} bytes: {opened:?}");
    }
}
