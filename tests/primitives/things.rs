//! One of everything that a thread can hold, and what somebody else finds who wants it.

use std::time::Duration;

use steadfast::{
    Barrier, LockError, Mutex, MutexGuard, Party, Permit, Permits, PthreadMutex, PthreadMutexGuard,
    RLock, RLockGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Segment, SegmentError, Shared,
    WaitError,
};

use crate::options;
use crate::support::Name;

/// What can be held in any PID namespace.
#[derive(Shared)]
pub struct Ours {
    mutex: Mutex<u64>,
    rlock: RLock,
    read: RwLock<u64>,
    written: RwLock<u64>,
    permits: Permits,
    barrier: Barrier,
}

/// The same and the C library's mutex.
#[derive(Shared)]
struct All {
    ours: Ours,
    theirs: PthreadMutex<u64>,
}

/// A handle of either.
pub struct Place {
    pub ours: Ours,
    theirs: Option<PthreadMutex<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Thing {
    Mutex,
    RLock,
    /// A RwLock that is read; who wants it, wants to write.
    Reader,
    /// A RwLock that is written; who wants it, wants to read and to write.
    Writer,
    /// The only one of Permits.
    Permit,
    /// The only party of a Barrier that stays; who wants it, wants to be that.
    Party,
    Pthread,
}

pub const OURS: [Thing; 6] =
    [Thing::Mutex, Thing::RLock, Thing::Reader, Thing::Writer, Thing::Permit, Thing::Party];
pub const ALL: [Thing; 7] = [
    Thing::Mutex,
    Thing::RLock,
    Thing::Reader,
    Thing::Writer,
    Thing::Permit,
    Thing::Party,
    Thing::Pthread,
];

/// What is held; dropping it gives it back.
pub enum Guard<'a> {
    Mutex { _guard: MutexGuard<'a, u64> },
    RLock { _outer: RLockGuard<'a>, _inner: RLockGuard<'a> },
    Reader { _guard: RwLockReadGuard<'a, u64>, _again: RwLockReadGuard<'a, u64> },
    Writer { _guard: RwLockWriteGuard<'a, u64> },
    Permit { _guard: Permit<'a> },
    Party { _guard: Party<'a> },
    Pthread { _guard: PthreadMutexGuard<'a, u64> },
}

/// What somebody finds who wants it. What is found is had, mended and given back.
#[derive(Debug, PartialEq)]
pub enum Found {
    Free,
    Held,
    /// Somebody died who had it.
    Orphaned,
    /// This is a forked child.
    Forked,
    Other(String),
}

impl Thing {
    /// What is found when the one that had it is dead.
    pub fn left(self) -> Found {
        match self {
            // A dead reader has changed nothing, and a permit is as good as any.
            Thing::Reader | Thing::Permit => Found::Free,
            _ => Found::Orphaned,
        }
    }

    pub fn named(name: &str) -> Thing {
        ALL.into_iter().find(|thing| format!("{thing:?}") == name).expect("a thing")
    }
}

fn init() -> OursInit {
    OursInit { mutex: 0, rlock: (), read: 0, written: 0, permits: 1, barrier: 1 }
}

impl Place {
    pub fn new(tag: &str) -> (Name, Place) {
        let name = Name::new(tag);
        let init = AllInit { ours: init(), theirs: 0 };
        drop(Segment::of::<All>().create(&name, init, &options()).expect("a new place"));
        let place = Place::open(&name);
        (name, place)
    }

    pub fn open(name: &str) -> Place {
        Place::try_open(name).expect("somebody has made it")
    }

    pub fn try_open(name: &str) -> Result<Place, SegmentError> {
        let All { ours, theirs } = Segment::of::<All>().open(name)?;
        Ok(Place { ours, theirs: Some(theirs) })
    }

    /// Without the C library's mutex.
    pub fn new_ours(name: &str) -> Place {
        let ours = Segment::of::<Ours>().create(name, init(), &options()).expect("a new place");
        Place { ours, theirs: None }
    }

    pub fn open_ours(name: &str) -> Place {
        let ours = Segment::of::<Ours>().open(name).expect("somebody has made it");
        Place { ours, theirs: None }
    }

    fn theirs(&self) -> &PthreadMutex<u64> {
        self.theirs.as_ref().expect("this namespace has it")
    }

    /// Takes what must be free, RLock and Reader twice.
    pub fn hold(&self, thing: Thing) -> Guard<'_> {
        let ours = &self.ours;
        match thing {
            Thing::Mutex => Guard::Mutex { _guard: ours.mutex.lock().unwrap() },
            Thing::RLock => {
                let (outer, inner) = (ours.rlock.lock().unwrap(), ours.rlock.lock().unwrap());
                Guard::RLock { _outer: outer, _inner: inner }
            }
            Thing::Reader => {
                let (guard, again) = (ours.read.read().unwrap(), ours.read.read().unwrap());
                Guard::Reader { _guard: guard, _again: again }
            }
            Thing::Writer => Guard::Writer { _guard: ours.written.write().unwrap() },
            Thing::Permit => Guard::Permit { _guard: ours.permits.acquire().unwrap() },
            Thing::Party => Guard::Party { _guard: ours.barrier.join().unwrap() },
            Thing::Pthread => Guard::Pthread { _guard: self.theirs().lock().unwrap() },
        }
    }

    pub fn hold_all(&self) -> Vec<Guard<'_>> {
        self.things().iter().map(|thing| self.hold(*thing)).collect()
    }

    pub fn things(&self) -> &'static [Thing] {
        if self.theirs.is_some() { &ALL } else { &OURS }
    }

    /// Without a time-out: does not wait.
    pub fn find(&self, thing: Thing, timeout: Option<Duration>) -> Found {
        let ours = &self.ours;
        match thing {
            Thing::Mutex => {
                let mutex = &ours.mutex;
                let attempt =
                    timeout.map_or_else(|| mutex.try_lock(), |time| mutex.lock_timeout(time));
                found(attempt, MutexGuard::mark_consistent)
            }
            Thing::Pthread => {
                let mutex = self.theirs();
                let attempt =
                    timeout.map_or_else(|| mutex.try_lock(), |time| mutex.lock_timeout(time));
                found(attempt, PthreadMutexGuard::mark_consistent)
            }
            Thing::RLock => {
                let lock = &ours.rlock;
                let attempt =
                    timeout.map_or_else(|| lock.try_lock(), |time| lock.lock_timeout(time));
                found(attempt, RLockGuard::mark_consistent)
            }
            Thing::Reader => write(&ours.read, timeout),
            Thing::Writer => {
                let lock = &ours.written;
                let attempt =
                    timeout.map_or_else(|| lock.try_read(), |time| lock.read_timeout(time));
                match found(attempt, |_| ()) {
                    read @ (Found::Free | Found::Orphaned) => {
                        assert_eq!(write(lock, timeout), read, "to write as to read");
                        read
                    }
                    refused => refused,
                }
            }
            Thing::Permit => {
                let permits = &ours.permits;
                let acquire = |time| permits.acquire_timeout(time);
                waited(timeout.map_or_else(|| permits.try_acquire(), acquire))
            }
            Thing::Party => {
                let barrier = &ours.barrier;
                let join = |time| barrier.join_timeout(time);
                match waited(timeout.map_or_else(|| barrier.try_join(), join)) {
                    Found::Orphaned => {
                        barrier.reset().unwrap();
                        barrier.try_join().expect("the dead one's place");
                        Found::Orphaned
                    }
                    other => other,
                }
            }
        }
    }

    /// What is found of everything, wanted by a thread each at the same time.
    pub fn find_all(&self, timeout: Option<Duration>) -> Vec<(Thing, Found)> {
        std::thread::scope(|scope| {
            let find =
                |thing: &'static Thing| (*thing, scope.spawn(move || self.find(*thing, timeout)));
            let all: Vec<_> = self.things().iter().map(find).collect();
            all.into_iter().map(|(thing, found)| (thing, found.join().unwrap())).collect()
        })
    }

    /// The same one after the other by this thread, without a wait.
    pub fn find_all_here(&self) -> impl Iterator<Item = Found> {
        self.things().iter().map(|thing| self.find(*thing, None))
    }

    /// All of it must be so.
    pub fn expect_all(&self, timeout: Option<Duration>, wanted: impl Fn(Thing) -> Found) {
        for (thing, found) in self.find_all(timeout) {
            assert_eq!(found, wanted(thing), "{thing:?}");
        }
    }
}

fn write(lock: &RwLock<u64>, timeout: Option<Duration>) -> Found {
    let attempt = timeout.map_or_else(|| lock.try_write(), |time| lock.write_timeout(time));
    found(attempt, RwLockWriteGuard::mark_consistent)
}

fn found<G>(attempt: Result<G, LockError<G>>, mend: impl FnOnce(&mut G)) -> Found {
    match attempt {
        Ok(_) => Found::Free,
        Err(LockError::OwnerDied(mut guard)) => {
            mend(&mut guard);
            Found::Orphaned
        }
        Err(LockError::WouldBlock | LockError::TimedOut) => Found::Held,
        Err(LockError::Segment(SegmentError::Forked { .. })) => Found::Forked,
        Err(other) => Found::Other(format!("{other:?}")),
    }
}

fn waited<G>(attempt: Result<G, WaitError>) -> Found {
    match attempt {
        Ok(_) => Found::Free,
        Err(WaitError::Broken) => Found::Orphaned,
        Err(WaitError::WouldBlock | WaitError::TimedOut) => Found::Held,
        Err(WaitError::Segment(SegmentError::Forked { .. })) => Found::Forked,
        Err(other) => Found::Other(format!("{other:?}")),
    }
}
