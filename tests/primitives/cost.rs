//! Where nobody is in the way, nothing makes a system call.

use steadfast::{
    Array, Barrier, BoundedSemaphore, Condvar, Event, Mutex, Once, Permits, RLock, RwLock, Segment,
    Semaphore, Shared, Value,
};

use crate::support::child::{self, Child};
use crate::support::{Name, proc, trace, watchdog};
use crate::{LONG, options};

#[derive(Shared)]
struct Idle {
    mutex: Mutex<u64>,
    changed: Condvar,
    rlock: RLock,
    rwlock: RwLock<u64>,
    signals: Semaphore,
    bounded: BoundedSemaphore,
    permits: Permits,
    event: Event,
    barrier: Barrier,
    once: Once,
    small: Value<u64>,
    wide: Value<[u64; 9]>,
    row: Array<u8>,
}

type Work = (&'static str, fn(&Idle));

/// What is done with each of them, after its name.
const WORK: [Work; 15] = [
    ("mutex", |idle| *idle.mutex.lock().unwrap() += 1),
    ("notify", |idle| {
        idle.changed.notify_one().unwrap();
        idle.changed.notify_all().unwrap();
    }),
    ("rlock", |idle| {
        let _outer = idle.rlock.lock().unwrap();
        let _inner = idle.rlock.lock_timeout(LONG).unwrap();
    }),
    ("read", |idle| {
        let _one = idle.rwlock.read().unwrap();
        let _two = idle.rwlock.try_read().unwrap();
    }),
    ("write", |idle| *idle.rwlock.write().unwrap() += 1),
    ("semaphore", |idle| {
        idle.signals.release().unwrap();
        idle.signals.acquire().unwrap();
    }),
    ("bounded semaphore", |idle| {
        idle.bounded.acquire_timeout(LONG).unwrap();
        idle.bounded.release().unwrap();
    }),
    ("permits", |idle| {
        let _one = idle.permits.acquire().unwrap();
        let _two = idle.permits.try_acquire().unwrap();
    }),
    ("event", |idle| {
        idle.event.set().unwrap();
        idle.event.wait().unwrap();
        idle.event.wait_timeout(LONG).unwrap();
        idle.event.clear().unwrap();
    }),
    ("barrier", |idle| {
        idle.barrier.wait().unwrap();
        let party = idle.barrier.join().unwrap();
        party.wait().unwrap();
    }),
    ("once", |idle| {
        idle.once.call_once(|_| ()).unwrap();
    }),
    ("small value", |idle| {
        idle.small.update(|value| value + 1).unwrap();
        idle.small.set(idle.small.get().unwrap()).unwrap();
    }),
    ("wide value", |idle| {
        idle.wide.update(|value| value.map(|part| part + 1)).unwrap();
        idle.wide.set(idle.wide.get().unwrap()).unwrap();
    }),
    ("array", |idle| idle.row.lock().unwrap()[1] = 1),
    ("nothing left", |idle| {
        assert!(idle.signals.try_acquire().is_err());
        assert!(idle.event.wait_timeout(std::time::Duration::ZERO).is_err());
    }),
];

/// Child: each of them many times, between two marks.
pub fn uncontended(arguments: &[String]) {
    let idle = Segment::of::<Idle>().open(&arguments[0]).unwrap();
    let (_, work) = WORK.iter().find(|(name, _)| *name == arguments[1]).expect("some work");
    work(&idle); // the first use may set things up
    trace::mark();
    (0..100).for_each(|_| work(&idle));
    trace::mark();
    child::tell(proc::tid());
}

#[test]
fn nothing_makes_a_system_call_where_nobody_is_in_the_way() {
    let _dog = watchdog();
    let name = Name::new("idle");
    let init = IdleInit {
        mutex: 0,
        changed: (),
        rlock: (),
        rwlock: 0,
        signals: 0,
        bounded: 1,
        permits: 2,
        event: false,
        barrier: 1,
        once: (),
        small: 0,
        wide: [0; 9],
        row: vec![0; 8],
    };
    let _idle = Segment::of::<Idle>().create(&name, init, &options()).unwrap();
    for (work, _) in WORK {
        let calls = trace::run("idle", &[&name, work], |child: &mut Child| {
            child.hear();
        });
        let Some(calls) = calls else { return };
        assert!(calls.is_empty(), "{work}: {} calls, the first: {}", calls.len(), calls[0]);
    }
}
