//! shutdown reaches every process: drain lets the queue run dry, now empties it.

use steadfast::{GetError, PutError, Queue, Shutdown};

use crate::support::child::{self, Child};
use crate::support::{proc, watchdog};
use crate::{LONG, bytes, bytes_with, small};

/// Child: waits in a get or a put until somebody shuts the queue down.
pub fn shut_down(arguments: &[String]) {
    let queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
    child::tell(proc::tid());
    let end = match arguments[1].as_str() {
        "get" => loop {
            match queue.get() {
                Ok(message) => child::tell(String::from_utf8_lossy(&message)),
                Err(GetError::Closed) => break "closed".to_owned(),
                Err(other) => break format!("{other:?}"),
            }
        },
        "put" => match queue.put(b"one more") {
            Err(PutError::Closed) => "closed".to_owned(),
            other => format!("{other:?}"),
        },
        how => {
            let how = if how == "now" { Shutdown::Now } else { Shutdown::Drain };
            queue.shutdown(how).unwrap().to_string()
        }
    };
    child::tell(end);
}

fn puts_are_refused(queue: &Queue) {
    assert!(matches!(queue.put(b"x"), Err(PutError::Closed)));
    assert!(matches!(queue.try_put(b"x"), Err(PutError::Closed)));
    assert!(matches!(queue.put_timeout(b"x", LONG), Err(PutError::Closed)));
    assert!(matches!(queue.put_many(&[*b"x"]), Err(PutError::Closed)));
    assert!(matches!(queue.try_put_many(&[*b"x"]), Err(PutError::Closed)));
}

fn gets_are_refused(queue: &Queue) {
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
    assert!(matches!(queue.get_timeout(LONG), Err(GetError::Closed)));
    assert!(matches!(queue.get_many(3), Err(GetError::Closed)));
}

#[test]
fn drain_refuses_puts_and_lets_gets_empty_the_queue() {
    let _dog = watchdog();
    let (name, queue) = bytes("drain");
    let other = Queue::<[u8]>::open(&name).unwrap();
    queue.put_many(&[*b"1", *b"2", *b"3"]).unwrap();
    assert_eq!(queue.shutdown(Shutdown::Drain).unwrap(), 0);
    for handle in [&queue, &other] {
        assert!(handle.is_shutdown().unwrap());
        puts_are_refused(handle);
    }
    assert_eq!(other.get().unwrap(), b"1");
    assert_eq!(queue.qsize().unwrap(), 2);
    assert_eq!(queue.get_many(9).unwrap(), [b"2", b"3"]);
    gets_are_refused(&queue);
    gets_are_refused(&other);
    assert_eq!(queue.qsize().unwrap(), 0);
    assert!(queue.is_empty().unwrap());
}

#[test]
fn now_discards_and_counts_what_was_queued() {
    let _dog = watchdog();
    let (name, queue) = bytes("now");
    let other = Queue::<[u8]>::open(&name).unwrap();
    queue.put_many(&[*b"1", *b"2", *b"3"]).unwrap();
    queue.get().unwrap();
    assert_eq!(other.shutdown(Shutdown::Now).unwrap(), 2);
    for handle in [&queue, &other] {
        assert!(handle.is_shutdown().unwrap());
        puts_are_refused(handle);
        gets_are_refused(handle);
        assert_eq!(handle.qsize().unwrap(), 0);
        assert!(handle.is_empty().unwrap());
    }
    assert_eq!(queue.shutdown(Shutdown::Now).unwrap(), 0);
}

#[test]
fn shutdown_twice_and_now_after_drain() {
    let _dog = watchdog();
    let (_name, queue) = bytes("twice");
    queue.put_many(&[*b"1", *b"2"]).unwrap();
    assert_eq!(queue.shutdown(Shutdown::Drain).unwrap(), 0);
    assert_eq!(queue.shutdown(Shutdown::Drain).unwrap(), 0);
    assert_eq!(queue.get().unwrap(), b"1");
    assert_eq!(queue.shutdown(Shutdown::Now).unwrap(), 1);
    gets_are_refused(&queue);
    assert_eq!(queue.shutdown(Shutdown::Drain).unwrap(), 0);
    gets_are_refused(&queue);
}

#[test]
fn drain_after_now_does_not_open_it_again() {
    let _dog = watchdog();
    let (_name, queue) = bytes("again");
    queue.shutdown(Shutdown::Now).unwrap();
    queue.shutdown(Shutdown::Drain).unwrap();
    puts_are_refused(&queue);
    gets_are_refused(&queue);
}

#[test]
fn a_full_queue_can_be_shut_down() {
    let _dog = watchdog();
    for how in [Shutdown::Drain, Shutdown::Now] {
        for len in [0, 1, 8, 40, 100, 1000] {
            let (_name, queue) = bytes("full");
            let mut put = 0;
            while queue.try_put(&vec![0; len]).is_ok() {
                put += 1;
            }
            let discarded = queue.shutdown(how).unwrap();
            puts_are_refused(&queue);
            if discarded == 0 {
                let mut got = 0;
                while let Ok(more) = queue.get_many(10_000) {
                    got += more.len();
                }
                assert_eq!(got, put);
            } else {
                assert_eq!(discarded, put);
            }
            gets_are_refused(&queue);
        }
    }
}

#[test]
fn shutdown_is_there_for_those_who_open_later() {
    let _dog = watchdog();
    let (name, queue) = bytes("later");
    queue.put(b"x").unwrap();
    queue.shutdown(Shutdown::Drain).unwrap();
    drop(queue);
    let later = Queue::<[u8]>::open(&name).unwrap();
    assert!(later.is_shutdown().unwrap());
    puts_are_refused(&later);
    assert_eq!(later.get().unwrap(), b"x");
    gets_are_refused(&later);
}

#[test]
fn shutdown_wakes_every_sleeping_get_and_put_in_other_processes() {
    let _dog = watchdog();
    for how in ["drain", "now"] {
        for side in ["get", "put"] {
            let (name, queue) = bytes_with("wake", &small().maxsize(1));
            if side == "put" {
                queue.put(b"first").unwrap();
            }
            let mut sleepers: Vec<Child> =
                (0..3).map(|_| Child::spawn("shut_down", &[&name, side])).collect();
            for sleeper in &mut sleepers {
                let tid = sleeper.hear().parse().unwrap();
                proc::wait_until_asleep(sleeper.pid(), tid);
                assert!(sleeper.is_silent());
            }
            let mut closer = Child::spawn("shut_down", &[&name, how]);
            closer.hear();
            let discarded = if (side, how) == ("put", "now") { "1" } else { "0" };
            closer.expect(discarded);
            for mut sleeper in sleepers {
                sleeper.expect("closed");
                sleeper.finish();
            }
            puts_are_refused(&queue);
        }
    }
}

#[test]
fn a_drain_between_processes_delivers_everything_and_then_ends() {
    let _dog = watchdog();
    let (name, queue) = bytes("drain");
    let mut getters: Vec<Child> =
        (0..2).map(|_| Child::spawn("shut_down", &[&name, "get"])).collect();
    for getter in &mut getters {
        getter.hear();
    }
    for n in 0..500 {
        queue.put(n.to_string().as_bytes()).unwrap();
    }
    queue.shutdown(Shutdown::Drain).unwrap();
    let mut got = Vec::new();
    for getter in &mut getters {
        loop {
            match getter.hear().as_str() {
                "closed" => break,
                number => got.push(number.parse::<u32>().unwrap()),
            }
        }
    }
    got.sort_unstable();
    assert!(got.into_iter().eq(0..500));
}

#[test]
fn puts_that_race_with_a_drain_are_in_or_refused() {
    let _dog = watchdog();
    for round in 0..200 {
        let (_name, queue) = bytes("race");
        let accepted: usize = std::thread::scope(|scope| {
            let putters: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| (0..60).filter(|_| queue.try_put(b"x").is_ok()).count()))
                .collect();
            for _ in 0..round {
                std::hint::spin_loop();
            }
            queue.shutdown(Shutdown::Drain).unwrap();
            putters.into_iter().map(|putter| putter.join().unwrap()).sum()
        });
        let mut got = 0;
        while queue.get().is_ok() {
            got += 1;
        }
        assert_eq!(got, accepted);
        gets_are_refused(&queue);
    }
}

#[test]
fn puts_that_race_with_a_shutdown_now_are_counted_or_refused() {
    let _dog = watchdog();
    for round in 0..400 {
        let (_name, queue) = bytes("race");
        let put_until_closed = || {
            let mut accepted = 0;
            loop {
                match queue.try_put(b"x") {
                    Ok(()) => accepted += 1,
                    Err(PutError::Full) => {}
                    Err(PutError::Closed) => return accepted,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let (accepted, discarded) = std::thread::scope(|scope| {
            let putters: Vec<_> = (0..2).map(|_| scope.spawn(put_until_closed)).collect();
            let mut spins = round * 7;
            while queue.is_empty().unwrap() || spins > 0 {
                spins = i32::max(spins - 1, 0);
                std::hint::spin_loop();
            }
            let discarded = queue.shutdown(Shutdown::Now).unwrap();
            let accepted: usize = putters.into_iter().map(|putter| putter.join().unwrap()).sum();
            (accepted, discarded)
        });
        assert_eq!(discarded, accepted, "round {round}");
        gets_are_refused(&queue);
    }
}

#[test]
fn the_roles_meet_a_shutdown_too() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("roles", &small().single_producer().single_consumer());
    let mut producer = queue.producer().unwrap();
    let mut consumer = queue.consumer().unwrap();
    producer.put(b"x").unwrap();
    assert_eq!(queue.shutdown(Shutdown::Drain).unwrap(), 0);
    assert!(matches!(producer.put(b"y"), Err(PutError::Closed)));
    assert_eq!(consumer.get().unwrap(), b"x");
    assert!(matches!(consumer.get(), Err(GetError::Closed)));
}
