//! Leases, returns, joins: in one process.

use std::thread;
use std::time::{Duration, Instant};

use steadfast::{GetError, JoinError, JoinableQueue, LeaseError, PutError, Reason, Shutdown};

use crate::{LONG, SHORT, bytes, bytes_with, drain, small, support};

#[test]
fn what_is_put_is_leased_in_order_and_done_when_acknowledged() {
    let (_name, queue) = bytes("order");
    for item in [&b"one"[..], b"", b"three"] {
        queue.put(item).unwrap();
    }
    assert_eq!((queue.qsize().unwrap(), queue.unfinished().unwrap()), (3, 3));
    let lease = queue.get().unwrap();
    assert_eq!((lease.value().unwrap(), lease.attempt()), (b"one".to_vec(), 1));
    assert_eq!(lease.last_reason(), Reason::Never);
    assert_eq!((queue.qsize().unwrap(), queue.unfinished().unwrap()), (2, 3));
    lease.ack().unwrap();
    assert_eq!(queue.unfinished().unwrap(), 2);
    assert_eq!(drain(&queue), [b"".to_vec(), b"three".to_vec()]);
    assert_eq!(queue.unfinished().unwrap(), 0);
    queue.join().unwrap();
}

#[test]
fn what_is_nacked_or_dropped_comes_back_first_and_in_order() {
    let (_name, queue) = bytes("nack");
    for item in 0..6_u8 {
        queue.put(&[item]).unwrap();
    }
    let mut leases: Vec<_> = (0..4).map(|_| queue.get().unwrap()).collect();
    // the youngest first: they come back oldest first all the same
    let last = leases.pop().unwrap();
    last.nack().unwrap();
    drop(leases.pop());
    leases.pop().unwrap().release().unwrap();
    let (first, mut seen) = (leases.pop().unwrap(), Vec::new());
    assert_eq!(first.value().unwrap(), [0]);
    while let Ok(lease) = queue.try_get() {
        seen.push((lease.value().unwrap()[0], lease.attempt(), lease.last_reason()));
        lease.ack().unwrap();
    }
    let expected = [
        (1, 1, Reason::Released),
        (2, 2, Reason::Dropped),
        (3, 2, Reason::Nacked),
        (4, 1, Reason::Never),
        (5, 1, Reason::Never),
    ];
    assert_eq!(seen, expected);
    assert_eq!(queue.unfinished().unwrap(), 1);
    first.ack().unwrap();
    queue.join().unwrap();
}

#[test]
fn a_panic_while_a_lease_is_held_is_noted() {
    let (_name, queue) = bytes("panic");
    queue.put(b"it").unwrap();
    let theirs = queue.clone();
    let died = thread::spawn(move || {
        let _lease = theirs.get().unwrap();
        panic!("on purpose");
    });
    died.join().unwrap_err();
    let lease = queue.try_get().unwrap();
    assert_eq!((lease.attempt(), lease.last_reason()), (2, Reason::Panicked));
    lease.ack().unwrap();
}

#[test]
fn a_delayed_message_comes_back_when_it_is_due_and_wakes_a_sleeper() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("delay");
    queue.put(b"later").unwrap();
    let start = Instant::now();
    queue.get().unwrap().nack_after(Duration::from_millis(150)).unwrap();
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    assert_eq!((queue.qsize().unwrap(), queue.unfinished().unwrap()), (1, 1));
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::TimedOut)));
    let lease = queue.get().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
    assert_eq!((lease.attempt(), lease.last_reason()), (2, Reason::Nacked));
    lease.ack().unwrap();
}

#[test]
fn delayed_messages_come_back_in_the_order_of_their_delays() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("delays");
    for item in 0..40_u8 {
        queue.put(&[item]).unwrap();
    }
    let leases: Vec<_> = (0..40).map(|_| queue.get().unwrap()).collect();
    for (nth, lease) in leases.into_iter().enumerate() {
        // 39 is due first, each 20 ms apart in pairs
        lease.nack_after(Duration::from_millis(100 + 20 * (39 - nth as u64) / 2 * 2)).unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..40 {
        let lease = queue.get().unwrap();
        seen.push(lease.value().unwrap()[0]);
        lease.ack().unwrap();
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..40).collect::<Vec<_>>());
    assert!(seen[0] > seen[39], "{seen:?}");
}

#[test]
fn task_done_acknowledges_this_threads_oldest_and_one_too_many_is_an_error() {
    let (_name, queue) = bytes("task-done");
    for item in 0..3_u8 {
        queue.put(&[item]).unwrap();
    }
    assert!(matches!(queue.task_done(), Err(LeaseError::TooMany)));
    assert_eq!(queue.get_value().unwrap(), [0]);
    assert_eq!(queue.get_value().unwrap(), [1]);
    let theirs = queue.clone();
    thread::spawn(move || {
        assert!(matches!(theirs.task_done(), Err(LeaseError::TooMany)));
        assert_eq!(theirs.get_value().unwrap(), [2]);
    })
    .join()
    .unwrap();
    // the thread ended without task_done: its message came back
    queue.task_done().unwrap();
    assert_eq!(queue.unfinished().unwrap(), 2);
    queue.task_done().unwrap();
    assert!(matches!(queue.task_done(), Err(LeaseError::TooMany)));
    assert_eq!(queue.get_value().unwrap(), [2]);
    queue.task_done().unwrap();
    queue.join().unwrap();
}

#[test]
fn a_lease_may_be_acknowledged_by_another_thread() {
    let (_name, queue) = bytes("moved");
    queue.put(b"it").unwrap();
    let lease = queue.get().unwrap();
    thread::spawn(move || lease.ack().unwrap()).join().unwrap();
    queue.join().unwrap();
}

#[test]
fn join_waits_for_the_last_acknowledgement_and_all_joiners_wake() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("join");
    for item in 0..3_u8 {
        queue.put(&[item]).unwrap();
    }
    assert!(matches!(queue.join_timeout(Duration::ZERO), Err(JoinError::TimedOut)));
    assert!(matches!(queue.join_timeout(SHORT), Err(JoinError::TimedOut)));
    let joiners: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.join_timeout(LONG).unwrap())
        })
        .collect();
    let leases: Vec<_> = (0..3).map(|_| queue.get().unwrap()).collect();
    for lease in leases {
        assert!(joiners.iter().all(|joiner| !joiner.is_finished()));
        lease.ack().unwrap();
    }
    for joiner in joiners {
        joiner.join().unwrap();
    }
    // it may become unfinished again
    queue.put(b"more").unwrap();
    assert!(matches!(queue.join_timeout(SHORT), Err(JoinError::TimedOut)));
}

#[test]
fn the_space_of_a_held_message_is_all_that_it_takes() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("held");
    queue.put(&[7; 1000]).unwrap();
    let held = queue.get().unwrap();
    let mut put = 0_u64;
    // ten times the capacity flows by
    while put < 640 << 10 {
        let item = vec![put as u8; 700 + put as usize % 300];
        queue.try_put(&item).unwrap();
        queue.try_put(&item).unwrap();
        put += 2 * item.len() as u64;
        assert_eq!(drain(&queue), [item.clone(), item]);
    }
    assert_eq!(held.value().unwrap(), [7; 1000]);
    held.ack().unwrap();
    queue.join().unwrap();
}

#[test]
fn a_full_queue_refuses_until_something_is_acknowledged() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("full");
    let item = [1; 1000];
    let mut count = 0;
    loop {
        match queue.try_put(&item) {
            Ok(()) => count += 1,
            Err(PutError::Full) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(count, (64 << 10) / 1088, "messages of 17 units of 64 bytes");
    assert!(!queue.is_full().unwrap(), "a smaller one fits");
    let mut small = 0;
    while queue.try_put(b"").is_ok() {
        small += 1;
    }
    assert!(queue.is_full().unwrap());
    assert!(matches!(queue.put_timeout(&item, SHORT), Err(PutError::TimedOut)));
    let lease = queue.get().unwrap();
    assert!(queue.is_full().unwrap());
    assert!(matches!(queue.try_put(&item), Err(PutError::Full)), "a lease keeps its space");
    let waiting = queue.clone();
    let putter = thread::spawn(move || waiting.put(&item).unwrap());
    lease.ack().unwrap();
    putter.join().unwrap();
    assert_eq!(drain(&queue).len(), count + small);
    queue.join().unwrap();
}

#[test]
fn maxsize_counts_what_is_queued() {
    let (_name, queue) = bytes_with("maxsize", &small().maxsize(2));
    queue.put(b"1").unwrap();
    queue.put(b"2").unwrap();
    assert!(matches!(queue.try_put(b"3"), Err(PutError::Full)));
    let lease = queue.get().unwrap();
    queue.try_put(b"3").unwrap();
    assert!(matches!(queue.try_put(b"4"), Err(PutError::Full)));
    lease.ack().unwrap();
    assert_eq!(drain(&queue), [b"2".to_vec(), b"3".to_vec()]);
}

#[test]
fn drain_hands_out_what_is_left_and_what_comes_back() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("drain");
    for item in 0..3_u8 {
        queue.put(&[item]).unwrap();
    }
    let lease = queue.get().unwrap();
    assert_eq!(queue.shutdown(Shutdown::Drain).unwrap(), 0);
    assert!(matches!(queue.put(b"more"), Err(PutError::Closed)));
    assert_eq!(drain(&queue), [[1], [2]]);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    lease.nack_after(Duration::from_millis(50)).unwrap();
    let lease = queue.get().unwrap();
    assert_eq!((lease.value().unwrap(), lease.attempt()), (vec![0], 2));
    assert!(matches!(queue.join_timeout(SHORT), Err(JoinError::TimedOut)));
    lease.ack().unwrap();
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    queue.join().unwrap();
}

#[test]
fn now_discards_what_is_queued_but_leases_go_on() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes("now");
    for item in 0..5_u8 {
        queue.put(&[item]).unwrap();
    }
    let (one, two) = (queue.get().unwrap(), queue.get().unwrap());
    queue.get().unwrap().nack().unwrap();
    let joiner = queue.clone();
    let joiner = thread::spawn(move || joiner.join_timeout(LONG).unwrap());
    assert_eq!(queue.shutdown(Shutdown::Now).unwrap(), 3);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert_eq!((queue.qsize().unwrap(), queue.unfinished().unwrap()), (0, 2));
    one.ack().unwrap();
    assert!(!joiner.is_finished());
    two.nack().unwrap();
    joiner.join().unwrap();
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

#[test]
fn a_batch_is_put_as_one_and_too_much_is_refused_at_once() {
    let (_name, queue) = bytes("batch");
    let items: Vec<Vec<u8>> = (0..20_usize).map(|len| vec![len as u8; len * 100]).collect();
    queue.put_many(&items).unwrap();
    queue.put_many(&[] as &[&[u8]]).unwrap();
    assert_eq!(drain(&queue), items);
    assert_eq!(queue.max_len(), (64 << 10) - 48);
    let error = queue.put(&vec![0; queue.max_len() + 1]).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { len: 65489, max: 65488 }), "{error}");
    let half = vec![1; 40 << 10];
    let error = queue.put_many(&[&half[..], &half]).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { len: 81920, .. }), "{error}");
    // what does not fit now leaves the queue as it was
    queue.put(&half).unwrap();
    assert!(matches!(queue.try_put_many(&[&half[..100], &half]), Err(PutError::Full)));
    assert_eq!(drain(&queue), std::slice::from_ref(&half));
    queue.put(&vec![3; queue.max_len()]).unwrap();
    assert_eq!(drain(&queue), [vec![3; queue.max_len()]]);
}

#[test]
fn typed_values_travel_and_a_bad_one_comes_back() {
    let name = support::Name::new("typed");
    let queue = JoinableQueue::<(u32, String)>::create(&name, &small()).unwrap();
    queue.put(&(7, "seven".to_owned())).unwrap();
    let lease = queue.get().unwrap();
    assert_eq!(lease.value().unwrap(), (7, "seven".to_owned()));
    lease.nack().unwrap();
    let other = JoinableQueue::<u8>::open(&name).unwrap();
    assert!(matches!(other.get_value(), Err(GetError::Deserialize(_))));
    assert_eq!(queue.get_value().unwrap(), (7, "seven".to_owned()));
    queue.task_done().unwrap();
    queue.join().unwrap();
}

#[test]
fn a_closed_handle_refuses_and_its_leases_go_on() {
    let (_name, mut queue) = bytes("closed");
    queue.put(b"it").unwrap();
    let lease = queue.get().unwrap();
    assert!(queue.join_thread().is_err());
    queue.close();
    queue.join_thread().unwrap();
    assert!(matches!(queue.put(b"x"), Err(PutError::HandleClosed)));
    assert!(matches!(queue.try_get(), Err(GetError::HandleClosed)));
    lease.ack().unwrap();
}

#[test]
fn a_queue_of_one_kind_is_not_opened_as_the_other() {
    let (name, _queue) = bytes("kinds");
    let error = steadfast::Queue::<[u8]>::open(&name).unwrap_err();
    assert!(matches!(error, steadfast::SegmentError::WrongKind { .. }), "{error}");
    let single = small().single_consumer();
    let error = JoinableQueue::<[u8]>::create(&support::Name::new("single"), &single).unwrap_err();
    assert!(matches!(error, steadfast::SegmentError::InvalidArgument { .. }), "{error}");
}
