//! Handles: create and open, close, clones, join_thread, lifetime of messages.

use steadfast::{GetError, PutError, Queue, QueueOptions, Segment, SegmentError};

use crate::support::{Name, watchdog};
use crate::{LONG, bytes, small};

#[test]
fn create_fails_where_one_exists_and_open_where_none_does() {
    let _dog = watchdog();
    let name = Name::new("handles");
    let missing = Queue::<[u8]>::open(&name);
    assert!(matches!(missing, Err(SegmentError::NotFound { .. })), "{missing:?}");
    let queue = Queue::<[u8]>::create(&name, &small()).unwrap();
    queue.put(b"first").unwrap();
    let second = Queue::<[u8]>::create(&name, &small());
    assert!(matches!(second, Err(SegmentError::AlreadyExists { .. })), "{second:?}");
    assert_eq!(queue.qsize().unwrap(), 1);
}

#[test]
fn open_or_create_does_either() {
    let _dog = watchdog();
    let name = Name::new("handles");
    let first = Queue::<[u8]>::open_or_create(&name, &small().maxsize(2)).unwrap();
    first.put(b"x").unwrap();
    let second = Queue::<[u8]>::open_or_create(&name, &small().maxsize(9)).unwrap();
    assert_eq!(second.maxsize(), 2);
    assert_eq!(second.get().unwrap(), b"x");
}

#[test]
fn one_of_many_creators_wins() {
    let _dog = watchdog();
    for _ in 0..50 {
        let name = Name::new("creators");
        let name: &str = &name;
        let made: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| Queue::<[u8]>::create(name, &small()))).collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.filter(|result| result.is_ok()).count()
        });
        assert_eq!(made, 1);
    }
}

#[test]
fn unlink_takes_the_name_and_leaves_the_handles() {
    let _dog = watchdog();
    let (name, queue) = bytes("unlink");
    let other = Queue::<[u8]>::open(&name).unwrap();
    Segment::unlink(&name).unwrap();
    assert!(matches!(Queue::<[u8]>::open(&name), Err(SegmentError::NotFound { .. })));
    assert!(matches!(Segment::unlink(&name), Err(SegmentError::NotFound { .. })));
    queue.put(b"still here").unwrap();
    assert_eq!(other.get().unwrap(), b"still here");
    let anew = Queue::<[u8]>::create(&name, &small()).unwrap();
    queue.put(b"old").unwrap();
    assert!(anew.is_empty().unwrap());
}

#[test]
fn names_outside_the_grammar_are_refused() {
    let long = "x".repeat(201);
    for name in ["", "a/b", "..", ".", "a b", "nul\0", "ü", "new,0", long.as_str()] {
        let made = Queue::<[u8]>::create(name, &small());
        if matches!(name, "." | "..") && made.is_ok() {
            let _ = Segment::unlink(name); // inside the grammar, and harmless as a file name
            continue;
        }
        assert!(matches!(made, Err(SegmentError::InvalidName { .. })), "{name:?}: {made:?}");
        let opened = Queue::<[u8]>::open(name);
        assert!(matches!(opened, Err(SegmentError::InvalidName { .. })), "{name:?}: {opened:?}");
    }
}

#[test]
fn odd_options_are_rounded() {
    let _dog = watchdog();
    for capacity in [0, 1, 7, 4095, 4097] {
        let name = Name::new("absurd");
        let queue = Queue::<[u8]>::create(&name, &QueueOptions::new().capacity(capacity)).unwrap();
        assert!(queue.capacity() as u64 >= capacity.max(4096));
        queue.try_put(b"x").unwrap();
        assert_eq!(queue.try_get().unwrap(), b"x");
    }
    let name = Name::new("absurd");
    let queue = Queue::<[u8]>::create(&name, &small().maxsize(2_147_483_647)).unwrap();
    queue.try_put(b"x").unwrap();
    assert!(!queue.is_full().unwrap());
}

#[test]
fn close_is_for_this_handle_only() {
    let _dog = watchdog();
    let (name, queue) = bytes("close");
    let mut other = Queue::<[u8]>::open(&name).unwrap();
    other.put(b"before").unwrap();
    other.close();
    assert!(matches!(other.put(b"x"), Err(PutError::HandleClosed)));
    assert!(matches!(other.try_put(b"x"), Err(PutError::HandleClosed)));
    assert!(matches!(other.put_timeout(b"x", LONG), Err(PutError::HandleClosed)));
    assert!(matches!(other.put_many(&[*b"x"]), Err(PutError::HandleClosed)));
    assert!(matches!(other.get(), Err(GetError::HandleClosed)));
    assert!(matches!(other.try_get(), Err(GetError::HandleClosed)));
    assert!(matches!(other.get_timeout(LONG), Err(GetError::HandleClosed)));
    assert!(matches!(other.get_many(3), Err(GetError::HandleClosed)));
    assert!(!queue.is_shutdown().unwrap());
    queue.put(b"after").unwrap();
    assert_eq!(queue.get().unwrap(), b"before");
    assert_eq!(queue.get().unwrap(), b"after");
}

#[test]
fn a_closed_handle_can_still_be_looked_at() {
    let (_name, mut queue) = bytes("close");
    queue.put(b"x").unwrap();
    queue.close();
    assert_eq!(queue.qsize().unwrap(), 1);
    assert!(!queue.is_empty().unwrap());
    assert!(!queue.is_full().unwrap());
}

#[test]
fn close_twice_is_fine() {
    let (_name, mut queue) = bytes("close");
    queue.close();
    queue.close();
    assert!(matches!(queue.try_get(), Err(GetError::HandleClosed)));
}

#[test]
fn a_clone_is_a_handle_of_its_own() {
    let _dog = watchdog();
    let (_name, mut queue) = bytes("clone");
    let clone = queue.clone();
    queue.close();
    clone.put(b"x").unwrap();
    assert_eq!(clone.get().unwrap(), b"x");
    drop(queue);
    clone.put(b"y").unwrap();
    assert_eq!(clone.get().unwrap(), b"y");
}

#[test]
fn join_thread_before_close_is_an_error() {
    let (_name, mut queue) = bytes("join");
    queue.put(b"x").unwrap();
    assert!(queue.join_thread().is_err());
    queue.close();
    queue.join_thread().unwrap();
    queue.join_thread().unwrap();
}

#[test]
fn cancel_join_thread_may_come_before_the_first_put_and_loses_nothing() {
    let _dog = watchdog();
    let (name, mut queue) = bytes("cancel");
    queue.cancel_join_thread();
    queue.put(b"x").unwrap();
    queue.cancel_join_thread();
    queue.close();
    queue.join_thread().unwrap();
    drop(queue);
    assert_eq!(Queue::<[u8]>::open(&name).unwrap().get().unwrap(), b"x");
}

#[test]
fn messages_outlive_every_handle() {
    let _dog = watchdog();
    let (name, queue) = bytes("outlive");
    queue.put(b"first").unwrap();
    queue.put(b"second").unwrap();
    drop(queue);
    for wanted in [&b"first"[..], b"second"] {
        let queue = Queue::<[u8]>::open(&name).unwrap();
        assert_eq!(queue.get().unwrap(), wanted);
    }
}

#[test]
fn a_handle_works_from_many_threads() {
    let _dog = watchdog();
    let (_name, queue) = bytes("threads");
    const EACH: u32 = 4000;
    let mut got: Vec<u32> = std::thread::scope(|scope| {
        for producer in 0..3 {
            let queue = &queue;
            scope.spawn(move || {
                for n in 0..EACH {
                    queue.put(&(producer * EACH + n).to_le_bytes()).unwrap();
                }
            });
        }
        let consumers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Vec<u32> {
                    let take = || queue.get().unwrap();
                    (0..EACH).map(|_| u32::from_le_bytes(take().try_into().unwrap())).collect()
                })
            })
            .collect();
        consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect()
    });
    got.sort_unstable();
    assert!(got.iter().copied().eq(0..3 * EACH));
    assert!(queue.is_empty().unwrap());
}

#[test]
fn the_handles_may_be_sent_and_shared() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Queue>();
    shared::<Queue<String>>();
    sent::<steadfast::Producer<[u8]>>();
    sent::<steadfast::Consumer<[u8]>>();
}

#[test]
fn what_a_queue_cannot_have_is_an_error_and_not_something_else() {
    let name = Name::new("too-much");
    let gib = 1_u64 << 30;
    for options in [
        small().maxsize(1 << 31),
        small().maxsize(usize::MAX),
        small().capacity(8 * gib + 1),
        small().capacity(u64::MAX),
        small().large_messages(64 * gib + 1),
    ] {
        let error = Queue::<[u8]>::create(&name, &options).unwrap_err();
        assert!(matches!(error, steadfast::SegmentError::InvalidArgument { .. }), "{error}");
    }
    let options = small().capacity(64 * gib + 1);
    let error = steadfast::JoinableQueue::<[u8]>::create(&name, &options).unwrap_err();
    assert!(matches!(error, steadfast::SegmentError::InvalidArgument { .. }), "{error}");
    assert!(!name.file().exists());
}
