//! Producers that wait for room sleep, and a batch that fits is put.

use std::thread;

use steadfast::{JoinableQueue, PutError};

use crate::{LONG, SHORT, bytes, bytes_with, drain, small, support};

/// Offset of the event count that producers sleep on, in the object.
const NOT_FULL: usize = 512;

/// How often those who wait for room were called: the count above the lowest bit.
fn calls(name: &support::Name) -> u32 {
    let bytes = std::fs::read(name.file()).unwrap();
    let object = u64::from_le_bytes(bytes[96..104].try_into().unwrap()) as usize;
    let word = bytes[object + NOT_FULL..][..4].try_into().unwrap();
    u32::from_le_bytes(word) >> 1
}

/// Somebody waits in `put`; nobody calls it, not even itself, before `make_room`.
fn sleeps(
    name: &support::Name,
    queue: &JoinableQueue,
    put: impl FnOnce(&JoinableQueue) + Send + 'static,
    make_room: impl FnOnce(),
) {
    let (send, receive) = std::sync::mpsc::channel();
    let theirs = queue.clone();
    let waiting = thread::spawn(move || {
        send.send(support::proc::tid()).unwrap();
        put(&theirs);
    });
    let tid = receive.recv().unwrap();
    support::proc::wait_until_asleep(std::process::id() as i32, tid);
    let before = calls(name);
    thread::sleep(support::PAST_BACKSTOPS);
    assert_eq!(calls(name), before, "it was called without need");
    make_room();
    waiting.join().unwrap();
}

#[test]
fn a_producer_that_waits_for_a_place_in_line_sleeps() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes_with("sleeps", &small().maxsize(1));
    queue.put(b"first").unwrap();
    let get = || queue.get_timeout(LONG).unwrap().ack().unwrap();
    sleeps(&name, &queue, |queue| queue.put(b"second").unwrap(), get);
    assert_eq!(drain(&queue), [b"second"]);
}

#[test]
fn a_producer_that_waits_for_room_for_a_batch_sleeps() {
    let _watchdog = support::watchdog();
    let (name, queue) = bytes("sleeps");
    queue.put(&[1; 40_000]).unwrap();
    let batch = || [vec![2; 15_000], vec![3; 15_000]];
    let get = || queue.get_timeout(LONG).unwrap().ack().unwrap();
    sleeps(&name, &queue, move |queue| queue.put_many(&batch()).unwrap(), get);
    assert_eq!(drain(&queue), batch());
}

#[test]
fn an_empty_queue_takes_every_batch_that_fits() {
    let (_name, queue) = bytes("batch");
    for first in (1_000..64_000).step_by(3_000) {
        // what comes next is looked for behind this one
        queue.put(&vec![1; first]).unwrap();
        assert_eq!(drain(&queue), [vec![1; first]]);
        let batch = [vec![2; 20_000], vec![3; 44_000]];
        queue.try_put_many(&batch).unwrap();
        assert!(matches!(queue.try_put(&[0; 2_000]), Err(PutError::Full)));
        assert_eq!(drain(&queue), batch);
    }
    assert!(matches!(queue.put_many_timeout(&[[0; 65_000]; 1], SHORT), Ok(())));
}

#[test]
fn a_batch_beyond_the_maxsize_is_refused_without_waiting_for_room() {
    let _watchdog = support::watchdog();
    let (_name, queue) = bytes_with("batch", &small().maxsize(2));
    queue.put(&vec![1; queue.max_len()]).unwrap();
    let error = queue.put_many(&[[0; 100]; 3]).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { len: 300, .. }), "{error}");
}
