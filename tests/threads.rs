//! Threads of one process over one mapping, all at once: the single-process work that the sanitizers
//! (`scripts/sanitize`) look at. ThreadSanitizer and AddressSanitizer see one process only.

mod support;

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use steadfast::{
    Batch, GetError, LockError, Mutex, PthreadMutex, PutError, Queue, QueueOptions, SegmentOptions,
    Shutdown,
};
use support::{Name, watchdog_after};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Under a sanitizer everything takes ten times as long.
const LIMIT: Duration = Duration::from_secs(900);
const WHILE: Duration = Duration::from_millis(20);
const THREADS: u64 = 3;
const MESSAGES: u64 = 3000;

/// A message: who sent it, its number, and bytes that follow from both. Some are empty behind that, some
/// are longer than the ring's words are copied one by one.
fn message(sender: u64, number: u64) -> Vec<u8> {
    let len = [0, 5, 64, 700][(number % 4) as usize];
    let filler = (0..len).map(|at| (sender * 31 + number * 7 + at) as u8);
    sender.to_ne_bytes().into_iter().chain(number.to_ne_bytes()).chain(filler).collect()
}

/// What a consumer saw: each sender's messages have to come in their order, and whole.
#[derive(Default)]
struct Seen {
    next: HashMap<u64, u64>,
    count: u64,
}

impl Seen {
    fn check(&mut self, bytes: &[u8]) {
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let (sender, number) = (word(0), word(8));
        assert_eq!(bytes, message(sender, number), "torn");
        let next = self.next.entry(sender).or_default();
        assert!(number >= *next, "out of order");
        *next = number + 1;
        self.count += 1;
    }
}

/// Puts a thread's messages in all the ways there are.
fn put_all(queue: &Queue, sender: u64) {
    let mut number = 0;
    while number < MESSAGES {
        let one = message(sender, number);
        let sent = match number % 5 {
            0 => queue.put(&one),
            1 => queue.try_put(&one),
            2 => queue.put_timeout(&one, WHILE),
            3 => queue.put_many(&[&*one, &*message(sender, number + 1)]),
            _ => queue.try_put_many(&[&*one]),
        };
        match sent {
            Ok(()) => number += if number % 5 == 3 { 2 } else { 1 },
            Err(PutError::Full | PutError::TimedOut) => thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Gets messages in all the ways there are, until the queue was shut down and is empty.
fn get_all(queue: &Queue) -> u64 {
    let (mut seen, mut batch, mut bytes) = (Seen::default(), Batch::new(), Vec::new());
    for round in 0.. {
        let got = match round % 5 {
            0 => queue.get().map(|bytes| seen.check(&bytes)),
            1 => queue.get_timeout(WHILE).map(|bytes| seen.check(&bytes)),
            2 => queue.get_batch(&mut batch, 7).map(|()| batch.iter().for_each(|b| seen.check(b))),
            3 => queue.get_many(3).map(|many| many.iter().for_each(|bytes| seen.check(bytes))),
            _ => queue.try_get_into(&mut bytes).map(|()| seen.check(&bytes)),
        };
        match got {
            Ok(()) => {}
            Err(GetError::Empty | GetError::TimedOut) => thread::yield_now(),
            Err(GetError::Closed) => break,
            Err(other) => panic!("{other}"),
        }
    }
    seen.count
}

#[test]
fn many_producers_and_consumers() {
    let _dog = watchdog_after(LIMIT);
    let name = Name::new("threads-many");
    let options = QueueOptions::new().capacity(8192).maxsize(50);
    let queue: Queue = Queue::create(&name, &options).unwrap();
    let got: u64 = thread::scope(|scope| {
        let consumers: Vec<_> = (0..THREADS)
            .map(|_| {
                let queue = queue.clone();
                scope.spawn(move || get_all(&queue))
            })
            .collect();
        thread::scope(|scope| {
            for sender in 0..THREADS {
                // a handle of its own: the process's table of segments is shared, too
                let name = name.to_string();
                scope.spawn(move || put_all(&Queue::open(&name).unwrap(), sender));
            }
        });
        queue.shutdown(Shutdown::Drain).unwrap();
        consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum()
    });
    let sent: u64 = THREADS * (MESSAGES + u64::from(MESSAGES % 5 == 4));
    assert_eq!(got, sent);
}

#[test]
fn one_producer_and_one_consumer() {
    let _dog = watchdog_after(LIMIT);
    let name = Name::new("threads-single");
    let options = QueueOptions::new().capacity(4096).single_producer().single_consumer();
    let queue: Queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut consumer = queue.consumer().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..MESSAGES {
                let bytes = message(9, number);
                if number % 2 == 0 {
                    producer.put(&bytes).unwrap();
                } else {
                    let mut room = producer.reserve(bytes.len()).unwrap();
                    assert!(room.write_at(0, &bytes));
                    room.commit().unwrap();
                }
            }
        });
        let mut seen = Seen::default();
        while seen.count < MESSAGES {
            if seen.count.is_multiple_of(3) {
                seen.check(&consumer.get().unwrap());
                continue;
            }
            let view = consumer.peek().unwrap();
            let mut bytes = vec![0; view.len()];
            view.copy_to(&mut bytes);
            view.release().unwrap();
            seen.check(&bytes);
        }
    });
}

#[test]
fn everybody_sleeps_and_is_called() {
    let _dog = watchdog_after(LIMIT);
    let (there, back) = (Name::new("threads-there"), Name::new("threads-back"));
    let options = QueueOptions::new().maxsize(1);
    let there: Queue = Queue::create(&there, &options).unwrap();
    let back: Queue = Queue::create(&back, &options).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Ok(bytes) = there.get() {
                    back.put(&bytes).unwrap();
                }
            });
        }
        for number in 0..MESSAGES {
            there.put(&number.to_ne_bytes()).unwrap();
            assert_eq!(back.get().unwrap(), number.to_ne_bytes());
        }
        there.shutdown(Shutdown::Drain).unwrap();
    });
}

/// Two numbers that are always the same, between two owners.
#[derive(Clone, Copy, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Pair {
    first: u64,
    second: u64,
}

macro_rules! a_lock_guards_plain_memory {
    ($test:ident, $mutex:ident) => {
        #[test]
        fn $test() {
            let _dog = watchdog_after(LIMIT);
            let name = Name::new(stringify!($test));
            let zero = Pair { first: 0, second: 0 };
            let mutex = $mutex::create(&name, zero, &SegmentOptions::new()).unwrap();
            let add = |round: u64| {
                let locked = match round % 3 {
                    0 => mutex.lock(),
                    1 => mutex.try_lock(),
                    _ => mutex.lock_timeout(WHILE),
                };
                let mut pair = match locked {
                    Ok(pair) => pair,
                    Err(LockError::WouldBlock | LockError::TimedOut) => return false,
                    Err(other) => panic!("{other}"),
                };
                assert_eq!(pair.first, pair.second);
                pair.first += 1;
                pair.second += 1;
                true
            };
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for round in 0..MESSAGES {
                            while !add(round) {
                                thread::yield_now();
                            }
                        }
                    });
                }
            });
            assert_eq!(mutex.lock().unwrap().second, THREADS * MESSAGES);
        }
    };
}

a_lock_guards_plain_memory!(the_futex_lock_guards_plain_memory, Mutex);
a_lock_guards_plain_memory!(the_pthread_lock_guards_plain_memory, PthreadMutex);

// --- for `scripts/sanitize`: mistakes that the sanitizers must find ---------------------------

/// A value that two threads change without a lock.
struct Unguarded(std::cell::UnsafeCell<u64>);

// SAFETY: it is not safe, on purpose.
unsafe impl Sync for Unguarded {}

impl Unguarded {
    fn add(&self) {
        // SAFETY: none: another thread does the same. It is the mistake to be found.
        unsafe { *self.0.get() += 1 };
    }
}

#[test]
#[ignore = "a mistake on purpose, for ThreadSanitizer"]
fn planted_for_thread() {
    let value = Unguarded(0.into());
    thread::scope(|scope| {
        scope.spawn(|| value.add());
        value.add();
    });
}

#[test]
#[ignore = "a mistake on purpose, for AddressSanitizer"]
fn planted_for_address() {
    let bytes = Box::new([1_u8; 64]);
    let behind = bytes.as_ptr().wrapping_add(std::hint::black_box(bytes.len()));
    // SAFETY: none: the byte lies behind the box. It is the mistake to be found.
    std::hint::black_box(unsafe { behind.read() });
}
