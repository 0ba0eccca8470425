//! `ReadyFd` under poll(2), and in tokio's own loop.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use steadfast::{GetError, ReadyFd, Shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{SHORT, numbers, on_runtimes, small, support, work};

/// Whether it is readable within that many milliseconds.
fn readable(ready: &ReadyFd, milliseconds: i32) -> bool {
    let mut asked = libc::pollfd { fd: ready.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which is ours to write.
    let found = unsafe { libc::poll(&mut asked, 1, milliseconds) };
    assert!(found >= 0, "poll");
    found == 1
}

const LONG: i32 = 60_000;

#[test]
fn a_descriptor_is_readable_when_there_is_a_message_until_it_is_cleared() {
    let _dog = support::watchdog();
    let (_name, queue) = numbers("fd", &small());
    let ready = queue.ready_fd().unwrap();
    assert!(!readable(&ready, 0));
    for round in 0..50 {
        let other = queue.clone();
        let putter = std::thread::spawn(move || other.put(&round).unwrap());
        assert!(readable(&ready, LONG));
        putter.join().unwrap();
        assert!(readable(&ready, 0), "it stays readable");
        ready.clear().unwrap();
        assert!(readable(&ready, 0), "the message is still there");
        assert_eq!(queue.try_get().unwrap(), round);
        ready.clear().unwrap();
        assert!(!readable(&ready, 0));
    }
    queue.put(&7).unwrap();
    assert!(readable(&queue.ready_fd().unwrap(), 0), "it was there before the descriptor");
}

#[test]
fn all_descriptors_of_a_queue_become_readable_and_tasks_get_on() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = numbers("fds", &small());
        let all: Vec<_> = (0..3).map(|_| queue.ready_fd().unwrap()).collect();
        let getter = queue.clone();
        let get = tokio::spawn(async move { getter.get_async().await.unwrap() });
        tokio::time::sleep(SHORT).await;
        queue.put(&1).unwrap();
        assert_eq!(get.await.unwrap(), 1);
        assert!(all.iter().all(|ready| readable(ready, LONG)));
    });
}

#[test]
fn the_end_and_a_delay_make_it_readable() {
    let _dog = support::watchdog();
    let (_name, queue) = work("fd-end");
    queue.put(&1).unwrap();
    let ready = queue.ready_fd().unwrap();
    queue.try_get().unwrap().nack_after(Duration::from_millis(50)).unwrap();
    ready.clear().unwrap();
    while !matches!(queue.try_get().map(|lease| lease.ack()), Ok(Ok(()))) {
        assert!(readable(&ready, LONG));
        ready.clear().unwrap();
    }
    ready.clear().unwrap();
    assert!(!readable(&ready, 0));
    queue.shutdown(Shutdown::Drain).unwrap();
    assert!(readable(&ready, LONG));
    ready.clear().unwrap();
    assert!(readable(&ready, 0), "the end stays");
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
}

#[test]
fn it_works_in_the_loop_of_tokio_and_outlives_the_handle() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (_name, queue) = numbers("loop", &small().maxsize(4));
        let ready = queue.ready_fd().unwrap();
        assert_eq!(ready.as_fd().as_raw_fd(), ready.as_raw_fd());
        // SAFETY: the descriptor is open, and the same, for as long as the ReadyFd lives, which is given away.
        let descriptor = unsafe { AsyncFd::register_with_interest(ready, Interest::READABLE) };
        let descriptor = descriptor.unwrap();
        let other = queue.clone();
        let putter = std::thread::spawn(move || (0..500).for_each(|n| other.put(&n).unwrap()));
        let mut next = 0;
        while next < 500 {
            let mut guard = descriptor.readable().await.unwrap();
            while let Ok(number) = queue.try_get() {
                assert_eq!(number, next);
                next += 1;
            }
            guard.clear_ready();
            descriptor.get_ref().clear().unwrap();
        }
        putter.join().unwrap();
        drop(queue);
        descriptor.get_ref().clear().unwrap();
    });
}
