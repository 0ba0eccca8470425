//! What becomes of a value whose owner dies, as another process sees it at each stage, for everything that says so.

use std::time::SystemTime;

use steadfast::{Consistency, Death, LockError, Mutex, PthreadMutex, RLock, RwLock, SegmentError};

use crate::support::child::{self, Child};
use crate::support::{Name, watchdog};
use crate::{LONG, options};

/// Anything that knows of its owners' deaths.
enum Lock {
    Mutex(Mutex<u64>),
    Pthread(PthreadMutex<u64>),
    RLock(RLock),
    RwLock(RwLock<u64>),
}

const KINDS: [&str; 4] = ["mutex", "pthread", "rlock", "rwlock"];

/// Child: does one thing with the lock, as it is told.
pub fn actor(arguments: &[String]) {
    let [name, kind, story] = arguments else { panic!("{arguments:?}") };
    match Lock::open(name, kind).unwrap() {
        Lock::Mutex(mutex) => act(story, || mutex.lock(), |mend| mutex.repair(|_| mend())),
        Lock::Pthread(mutex) => act(story, || mutex.lock(), |mend| mutex.repair(|_| mend())),
        Lock::RLock(lock) => act(story, || lock.lock(), |mend| lock.repair(mend)),
        Lock::RwLock(lock) => act(story, || lock.write(), |mend| lock.repair(|_| mend())),
    }
}

/// What guards can do.
trait Judge {
    fn mark(&mut self);
    fn give_up(self);
}

macro_rules! judges {
    ($($guard:ty),*) => {$(
        impl Judge for $guard {
            fn mark(&mut self) {
                self.mark_consistent();
            }
            fn give_up(self) {
                self.abandon();
            }
        }
    )*};
}
judges!(
    steadfast::MutexGuard<'_, u64>,
    steadfast::PthreadMutexGuard<'_, u64>,
    steadfast::RLockGuard<'_>,
    steadfast::RwLockWriteGuard<'_, u64>
);

fn act<G: Judge>(
    story: &str,
    lock: impl FnOnce() -> Result<G, LockError<G>>,
    repair: impl FnOnce(&mut dyn FnMut()) -> Result<(), LockError<G>>,
) {
    if story == "repair" {
        std::panic::set_hook(Box::new(|_| ()));
        let mut mend = || {
            child::tell("repairing");
            assert_eq!(child::hear(), "end", "on purpose");
        };
        let repaired = std::panic::AssertUnwindSafe(|| repair(&mut mend));
        child::tell(match std::panic::catch_unwind(repaired) {
            Ok(result) => format!("{result:?}"),
            Err(_) => "panicked".to_owned(),
        });
        return;
    }
    let (told, guard) = match lock() {
        Ok(guard) => ("locked".to_owned(), Some(guard)),
        Err(LockError::OwnerDied(guard)) => ("inherited".to_owned(), Some(guard)),
        Err(other) => (format!("{other:?}"), None),
    };
    child::tell(told);
    let (Some(mut guard), what) = (guard, child::hear()) else { return };
    match &*what {
        "mark" => guard.mark(),
        "abandon" => guard.give_up(),
        "drop" => {}
        _ => {
            std::panic::set_hook(Box::new(|_| ()));
            let panics = std::panic::AssertUnwindSafe(move || {
                let _guard = guard;
                panic!("on purpose");
            });
            assert!(std::panic::catch_unwind(panics).is_err());
        }
    }
}

impl Lock {
    fn create(name: &str, kind: &str) -> Lock {
        match kind {
            "mutex" => Lock::Mutex(Mutex::create(name, 0, &options()).unwrap()),
            "pthread" => Lock::Pthread(PthreadMutex::create(name, 0, &options()).unwrap()),
            "rlock" => Lock::RLock(RLock::create(name, (), &options()).unwrap()),
            _ => Lock::RwLock(RwLock::create(name, 0, &options()).unwrap()),
        }
    }

    fn open(name: &str, kind: &str) -> Result<Lock, SegmentError> {
        Ok(match kind {
            "mutex" => Lock::Mutex(Mutex::open(name)?),
            "pthread" => Lock::Pthread(PthreadMutex::open(name)?),
            "rlock" => Lock::RLock(RLock::open(name)?),
            _ => Lock::RwLock(RwLock::open(name)?),
        })
    }

    fn consistency(&self) -> Consistency {
        match self {
            Lock::Mutex(lock) => lock.consistency(),
            Lock::Pthread(lock) => lock.consistency(),
            Lock::RLock(lock) => lock.consistency(),
            Lock::RwLock(lock) => lock.consistency(),
        }
    }

    fn last_death(&self) -> Option<Death> {
        match self {
            Lock::Mutex(lock) => lock.last_death(),
            Lock::Pthread(lock) => lock.last_death(),
            Lock::RLock(lock) => lock.last_death(),
            Lock::RwLock(lock) => lock.last_death(),
        }
    }
}

impl Lock {
    /// Here, what somebody else left.
    fn take_over(&self) {
        fn mark<G: Judge>(attempt: Result<G, LockError<G>>) {
            match attempt {
                Err(LockError::OwnerDied(mut guard)) => guard.mark(),
                other => panic!("{:?}", other.err()),
            }
        }
        match self {
            Lock::Mutex(lock) => mark(lock.try_lock()),
            Lock::Pthread(lock) => mark(lock.try_lock()),
            Lock::RLock(lock) => mark(lock.try_lock()),
            Lock::RwLock(lock) => mark(lock.try_write()),
        }
    }
}

/// A lock, and processes that do something with it one after the other.
struct Stage {
    name: Name,
    kind: &'static str,
    lock: Lock,
}

impl Stage {
    fn new(kind: &'static str) -> Stage {
        let name = Name::new(kind);
        let lock = Lock::create(&name, kind);
        Stage { name, kind, lock }
    }

    /// Somebody who must get this answer to an attempt to lock, or to repair.
    fn actor(&self, story: &str, answer: &str) -> Child {
        let mut actor = Child::spawn("actor", &[&self.name, self.kind, story]);
        actor.expect(answer);
        actor
    }

    /// The same, who then does something and ends.
    fn turn(&self, answer: &str, what: &str) {
        let mut actor = self.actor("lock", answer);
        actor.say(what);
        actor.finish();
    }

    fn is(&self, wanted: Consistency) {
        assert_eq!(self.lock.consistency(), wanted, "{}", self.kind);
    }

    /// Somebody is killed holding it.
    fn kill_one(&self) {
        self.actor("lock", "locked").kill();
    }
}

#[test]
fn a_value_goes_from_clean_over_every_stage_back_to_clean() {
    let _dog = watchdog();
    for kind in KINDS {
        let stage = Stage::new(kind);
        stage.is(Consistency::Clean);
        stage.turn("locked", "drop");
        stage.kill_one();
        stage.is(Consistency::Clean); // nobody has noticed yet
        let mut heir = stage.actor("lock", "inherited");
        stage.is(Consistency::BeingRepaired);
        heir.say("mark");
        heir.finish();
        stage.is(Consistency::Clean);
        stage.turn("locked", "drop");
        // Who was to mend it is killed: the next one is told again, and gives it up.
        stage.kill_one();
        stage.actor("lock", "inherited").kill();
        stage.is(Consistency::BeingRepaired); // as above
        stage.turn("inherited", "drop");
        stage.is(Consistency::Abandoned);
        stage.turn("Abandoned", "");
        stage.is(Consistency::Abandoned);
        let mut repairer = stage.actor("repair", "repairing");
        stage.is(Consistency::BeingRepaired);
        repairer.say("end");
        repairer.expect("Ok(())");
        repairer.finish();
        stage.is(Consistency::Clean);
        stage.turn("locked", "abandon");
        stage.is(Consistency::Abandoned);
    }
}

#[test]
fn a_panic_is_as_a_death_that_is_noticed_at_once() {
    let _dog = watchdog();
    for kind in KINDS {
        let stage = Stage::new(kind);
        stage.turn("locked", "panic");
        stage.is(Consistency::OwnerDied);
        let mut heir = stage.actor("lock", "inherited");
        stage.is(Consistency::BeingRepaired);
        heir.say("panic"); // it has not judged the value either
        heir.finish();
        stage.is(Consistency::Abandoned);
        assert_eq!(stage.lock.last_death(), None, "{kind}: nobody has died");
    }
}

#[test]
fn a_repairer_that_is_killed_leaves_it_to_the_next() {
    let _dog = watchdog();
    for kind in KINDS {
        let stage = Stage::new(kind);
        for before in ["died", "abandoned"] {
            match before {
                "died" => stage.kill_one(),
                _ => stage.turn("locked", "abandon"),
            }
            let repairer = stage.actor("repair", "repairing");
            stage.is(Consistency::BeingRepaired);
            repairer.kill();
            let mut heir = stage.actor("lock", "inherited");
            stage.is(Consistency::BeingRepaired);
            heir.say("mark");
            heir.finish();
            stage.is(Consistency::Clean);
        }
    }
}

#[test]
fn a_repairer_that_panics_gives_up_what_was_not_clean() {
    let _dog = watchdog();
    for kind in KINDS {
        let stage = Stage::new(kind);
        let panic = || {
            let mut repairer = stage.actor("repair", "repairing");
            repairer.say("panic");
            repairer.expect("panicked");
            repairer.finish();
        };
        panic();
        stage.is(Consistency::OwnerDied);
        stage.turn("inherited", "mark");
        stage.kill_one();
        panic();
        stage.is(Consistency::Abandoned);
        panic();
        stage.is(Consistency::Abandoned);
        stage.turn("Abandoned", "");
        let mut repairer = stage.actor("repair", "repairing");
        repairer.say("end");
        repairer.expect("Ok(())");
        stage.turn("locked", "drop");
    }
}

#[test]
fn it_is_known_who_died_holding_it() {
    let _dog = watchdog();
    for kind in KINDS {
        let stage = Stage::new(kind);
        assert_eq!(stage.lock.last_death(), None);
        for count in 1..=3 {
            let before = SystemTime::now();
            let victim = stage.actor("lock", "locked");
            let pid = victim.pid();
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
            victim.kill();
            let noticed = |stage: &Stage| stage.lock.last_death().map_or(0, |death| death.count);
            assert_eq!(noticed(&stage), count - 1, "{kind}: the next locker notices");
            stage.lock.take_over();
            let death = stage.lock.last_death().expect("it was noticed");
            assert_eq!(death.count, count, "{kind}");
            assert!(before <= death.noticed && death.noticed <= SystemTime::now(), "{kind}");
            let known = (death.pid, &*death.name);
            match kind {
                // The C library does not tell whose mutex it was.
                "pthread" => assert_eq!(known, (None, "")),
                _ => assert_eq!(known, (Some(pid as u32), name.trim_end()), "{kind}"),
            }
        }
        let again = Lock::open(&stage.name, kind).unwrap();
        assert_eq!(again.last_death(), stage.lock.last_death());
        // The next one takes the dead one's place before anybody notices, and it is known all the same.
        let mut victim = stage.actor("lock", "locked");
        let pid = victim.pid();
        victim.kill_soon();
        victim.wait();
        stage.turn("inherited", "mark");
        let death = stage.lock.last_death().expect("it was noticed");
        let known = if kind == "pthread" { None } else { Some(pid as u32) };
        assert_eq!((death.count, death.pid), (4, known), "{kind}");
    }
}

#[test]
fn readers_see_how_the_value_stands_and_do_not_change_it() {
    let _dog = watchdog();
    let stage = Stage::new("rwlock");
    let Lock::RwLock(lock) = &stage.lock else { unreachable!() };
    stage.kill_one();
    for _ in 0..2 {
        let read = lock.read_timeout(LONG);
        assert!(matches!(read, Err(LockError::OwnerDied(_))), "{read:?}");
        stage.is(Consistency::OwnerDied);
    }
    stage.turn("inherited", "drop");
    let read = lock.try_read();
    assert!(matches!(read, Err(LockError::Abandoned)), "{read:?}");
    lock.repair(|value| *value = 8).unwrap();
    assert_eq!(*lock.try_read().unwrap(), 8);
}
