//! One rule for all time-outs: zero does not wait, anything else waits for that long and not less, below a
//! millisecond too; and one pair of names for what comes of it, `TimedOut` and, from `try_...`, `WouldBlock`.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use steadfast::{
    Barrier, BoundedSemaphore, Condvar, Event, LockError, Mutex, Once, Permits, PthreadMutex,
    RLock, RwLock, Segment, Semaphore, Shared, WaitError, Wakeup,
};

use crate::options;
use crate::support::{Name, watchdog};

#[derive(Shared)]
struct All {
    mutex: Mutex<u64>,
    theirs: PthreadMutex<u64>,
    rlock: RLock,
    read: RwLock<u64>,
    written: RwLock<u64>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    permits: Permits,
    event: Event,
    parties: Barrier,
    full: Barrier,
    once: Once,
    changed: Condvar,
    own: Mutex<u64>,
}

fn init() -> AllInit {
    AllInit {
        mutex: 0,
        theirs: 0,
        rlock: (),
        read: 0,
        written: 0,
        semaphore: 0,
        bounded: 0,
        permits: 1,
        event: false,
        parties: 2,
        full: 1,
        once: (),
        changed: (),
        own: 0,
    }
}

/// What came of an attempt.
#[derive(Debug, PartialEq)]
enum Outcome {
    TimedOut,
    WouldBlock,
    Other(String),
}

fn lock<G>(attempt: Result<G, LockError<G>>) -> Outcome {
    match attempt {
        Err(LockError::TimedOut) => Outcome::TimedOut,
        Err(LockError::WouldBlock) => Outcome::WouldBlock,
        other => Outcome::Other(format!("{:?}", other.err())),
    }
}

fn wait<T>(attempt: Result<T, WaitError>) -> Outcome {
    match attempt {
        Err(WaitError::TimedOut) => Outcome::TimedOut,
        Err(WaitError::WouldBlock) => Outcome::WouldBlock,
        other => Outcome::Other(format!("{:?}", other.err())),
    }
}

type Timed = fn(&All, Duration) -> Outcome;
type Tried = fn(&All) -> Outcome;

const TIMED: [(&str, Timed); 14] = [
    ("mutex", |all, time| lock(all.mutex.lock_timeout(time))),
    ("pthread mutex", |all, time| lock(all.theirs.lock_timeout(time))),
    ("rlock", |all, time| lock(all.rlock.lock_timeout(time))),
    ("write beside a reader", |all, time| lock(all.read.write_timeout(time))),
    ("read beside a writer", |all, time| lock(all.written.read_timeout(time))),
    ("write beside a writer", |all, time| lock(all.written.write_timeout(time))),
    ("semaphore", |all, time| wait(all.semaphore.acquire_timeout(time))),
    ("bounded semaphore", |all, time| wait(all.bounded.acquire_timeout(time))),
    ("permits", |all, time| wait(all.permits.acquire_timeout(time))),
    ("event", |all, time| wait(all.event.wait_timeout(time))),
    ("barrier", |all, time| {
        let outcome = wait(all.parties.wait_timeout(time));
        all.parties.reset().unwrap();
        outcome
    }),
    ("barrier's place", |all, time| wait(all.full.join_timeout(time))),
    ("once", |all, time| wait(all.once.call_once_timeout(time, |_| ()))),
    ("condvar", |all, time| match all.changed.wait_timeout(all.own.lock().unwrap(), time) {
        Ok((_, Wakeup::TimedOut)) => Outcome::TimedOut,
        other => Outcome::Other(format!("{:?}", other.map(|(_, why)| why).ok())),
    }),
];

const TRIED: [(&str, Tried); 11] = [
    ("mutex", |all| lock(all.mutex.try_lock())),
    ("pthread mutex", |all| lock(all.theirs.try_lock())),
    ("rlock", |all| lock(all.rlock.try_lock())),
    ("write beside a reader", |all| lock(all.read.try_write())),
    ("read beside a writer", |all| lock(all.written.try_read())),
    ("write beside a writer", |all| lock(all.written.try_write())),
    ("semaphore", |all| wait(all.semaphore.try_acquire())),
    ("bounded semaphore", |all| wait(all.bounded.try_acquire())),
    ("permits", |all| wait(all.permits.try_acquire())),
    ("barrier's place", |all| wait(all.full.try_join())),
    ("once", |all| wait(all.once.try_call_once(|_| ()))),
];

#[test]
fn every_time_out_is_kept_and_every_try_comes_back() {
    let _dog = watchdog();
    let name = Name::new("timeouts");
    let all = &Segment::of::<All>().create(&name, init(), &options()).expect("all of them");
    let (ready, go) = (mpsc::channel(), mpsc::channel::<()>());
    std::thread::scope(|scope| {
        let (tell, hear) = (ready.0, go.1);
        scope.spawn(move || {
            let held = (
                all.mutex.lock().unwrap(),
                all.theirs.lock().unwrap(),
                all.rlock.lock().unwrap(),
                all.read.read().unwrap(),
                all.written.write().unwrap(),
                all.permits.acquire().unwrap(),
                all.full.join().unwrap(),
            );
            let worked = all.once.call_once(|_| {
                tell.send(()).unwrap();
                // Until the other one lets go.
                let _ = hear.recv();
            });
            assert!(worked.unwrap());
            drop(held);
        });
        ready.1.recv().unwrap();
        for (what, attempt) in TRIED {
            assert_eq!(attempt(all), Outcome::WouldBlock, "{what}");
        }
        let times = [0, 1, 80_000, 700_000, 1_500_000].map(Duration::from_nanos);
        for (what, attempt) in TIMED {
            for time in times {
                let start = Instant::now();
                let outcome = attempt(all, time);
                let waited = start.elapsed();
                assert_eq!(outcome, Outcome::TimedOut, "{what}, {time:?}");
                assert!(waited >= time, "{what} waited for {waited:?} instead of {time:?}");
            }
        }
        drop(go.0);
    });
}
