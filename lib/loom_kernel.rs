//! A machine for the models: what the locks, the event count, the protocols on top of them and the ring run on
//! instead of shared memory and Linux, when the library's tests are built with `--cfg loom`.
//!
//! # What is modelled
//! * **Memory**: loom's atomics. loom runs a scenario again and again, through every order of the
//!   accesses (up to a number of preemptions) and through every value that the memory model lets a
//!   load return.
//! * **Death**: a thread started by [`victim`] is killed before its n-th access to anything shared, or
//!   asleep, or after its last access; [`Model::with_deaths`] goes through all n. Killed means: a private
//!   panic unwinds the thread, which then does what the kernel does for it.
//! * **The kernel at a death**: it looks at the words on the thread's list, and then at the pending one, as
//!   `robust-futex-ABI` says, see `exit`; after that, and not before, the participant's file lock is free, that
//!   is, [`Caller::is_alive`] false.
//! * **futex**: sleepers queue up by word, first come, first called. A wait reads the word and falls
//!   asleep in one step, as the kernel does under its bucket lock. A call or a time-out orders memory
//!   between the two threads, as the kernel's own locks do.
//! * **Time**: sleeping costs nothing and lasts until a call. Only when nobody can run any more has a
//!   backstop passed: then the longest sleeper times out, and this is *counted*. Without deaths it must
//!   never happen, as then a wake was lost; with deaths the model tells after which ones it did. A timer
//!   that fires while others can still run is somebody's [`futex::expire`].
//!
//! # What is not
//! loom treats sequentially consistent accesses as acquire and release (fences are complete), never
//! lets a load see a store that has not been executed yet, and remembers seven stores to each word. How a lock
//! gets onto the kernel's list, signals, and threads of one process are left to the sweep and the storm.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use loom::sync::atomic as model;

pub(crate) use crate::primitive::Fault;
pub(crate) use memory::{AtomicU32, AtomicU64, fault, fence_after_rmw, spin_loop};
pub(crate) use runner::Model;
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use words::Words;

pub(crate) mod futex;
mod memory;
mod runner;
mod words;

/// More backstops than any survivor needs.
const MANY: usize = 20;

/// One access to something shared: what, and where in the library.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    file: &'static str,
    line: u32,
    /// The name of the operation.
    pub(crate) op: &'static str,
}

impl Place {
    fn new(op: &'static str, at: &'static Location<'static>) -> Place {
        Place { file: at.file(), line: at.line(), op }
    }

    /// The file's name, without folders and ending.
    pub(crate) fn module(&self) -> &'static str {
        Path::new(self.file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.module(), self.line, self.op)
    }
}

/// What the kernel did about the words of a dead thread: about the pending one, if it marked none on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// It was the owner: a word was marked.
    Marked,
    /// Nobody was: a waiter was woken.
    Woke,
    /// Somebody else is.
    Nothing,
    /// No word was pending.
    Unarmed,
}

/// How a victim ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    /// The access that it did not do any more.
    pub(crate) place: Place,
    /// What the kernel did then.
    pub(crate) last: Last,
    /// Whether it was called from a sleep, and did not sleep again.
    pub(crate) called: bool,
}

/// The panic that kills a thread.
struct Killed;

/// One process of the model, with one thread.
struct Person {
    /// Its file lock: 1 while it lives.
    alive: Arc<model::AtomicU32>,
    /// The thread's pending slot.
    pending: Armed,
    /// The thread's list of held locks.
    held: Vec<AtomicU64>,
    /// Accesses to go before it is killed.
    countdown: Option<u32>,
    killed_at: Option<Place>,
    ended: bool,
    /// Whether the scenario waits for it to end.
    awaited: bool,
    thread: Option<loom::thread::Thread>,
    /// Why its sleep ended, once it did.
    awake: Option<futex::Waited>,
    called: bool,
    sleeps: u32,
    /// Whether it polls, and what word it loaded last with what value.
    polls: bool,
    seen: (usize, u64),
}

struct Sleeper {
    word: usize,
    person: usize,
    place: Place,
}

/// Everything but the memory. Belongs to the operating system's thread, which runs one model at a time
/// and is never left while it is borrowed.
#[derive(Default)]
struct World {
    people: Vec<Person>,
    /// How many of them can run: not asleep, not waiting for one to end, not ended.
    running: usize,
    asleep: Vec<Sleeper>,
    /// Where somebody slept for a whole backstop.
    backstops: Vec<Place>,
    death: Option<Death>,
    /// Whether somebody may sleep for a whole backstop though nobody died.
    patient: bool,
    die_at: Option<u32>,
    fault: Option<Plant>,
}

/// A mistake planted in the code under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plant {
    /// One that a build of the library can have, too.
    Fault(Fault),
    /// The full fences of the event count are missing.
    NoFence,
}

std::thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

loom::thread_local! {
    /// Which of the people the model's thread is; the scenario itself is the first.
    static ME: Cell<usize> = Cell::new(0);
}

fn me() -> usize {
    ME.with(Cell::get)
}

impl World {
    fn admit(&mut self, countdown: Option<u32>) -> usize {
        self.people.push(Person {
            alive: Arc::new(model::AtomicU32::new(1)),
            pending: None,
            held: Vec::new(),
            countdown,
            killed_at: None,
            ended: false,
            awaited: false,
            thread: None,
            awake: None,
            called: false,
            sleeps: 0,
            polls: false,
            seen: (0, 0),
        });
        self.running += 1;
        self.people.len() - 1
    }

    /// Ends the sleep of somebody.
    fn rouse(&mut self, sleeper: usize, why: futex::Waited) -> Option<loom::thread::Thread> {
        let Sleeper { person, .. } = self.asleep.remove(sleeper);
        let person = &mut self.people[person];
        person.awake = Some(why);
        person.called = why == futex::Waited::Woken;
        self.running += usize::from(person.thread.is_some());
        person.thread.take()
    }

    /// When nobody can run: lets the longest sleeper time out.
    fn pass_time(&mut self) -> Option<loom::thread::Thread> {
        if self.running > 0 || self.asleep.is_empty() {
            return None;
        }
        self.backstops.push(self.asleep[0].place);
        let backstops = &self.backstops;
        let expected = self.death.is_some() || self.patient;
        assert!(expected, "a wake was lost: slept at {backstops:?}, and nobody died");
        assert!(backstops.len() < MANY, "somebody sleeps again and again: {backstops:?}");
        self.rouse(0, futex::Waited::TimedOut)
    }

    /// Somebody is at the end of its work.
    fn end(&mut self, person: usize) -> Option<loom::thread::Thread> {
        self.people[person].ended = true;
        self.running += usize::from(self.people[person].awaited);
        self.retire()
    }

    /// One who could run no longer can.
    fn retire(&mut self) -> Option<loom::thread::Thread> {
        self.running -= 1;
        self.pass_time()
    }
}

fn world<R>(work: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(work)
}

/// Before every access to something shared: the place to die.
#[track_caller]
fn step(op: &'static str) {
    let place = Place::new(op, Location::caller());
    let me = me();
    let dies = world(|world| {
        let me = &mut world.people[me];
        me.polls = false;
        let dies = me.countdown == Some(0);
        me.countdown = if dies { None } else { me.countdown.map(|left| left - 1) };
        dies
    });
    if dies {
        die(place);
    }
}

fn die(place: Place) -> ! {
    let me = me();
    world(|world| world.people[me].killed_at = Some(place));
    resume_unwind(Box::new(Killed));
}

fn unpark(thread: Option<loom::thread::Thread>) {
    if let Some(thread) = thread {
        thread.unpark();
    }
}

/// The twin of [`crate::os::clock`]: a deadline is a number of sleeps.
pub(crate) mod clock {
    use std::time::Duration;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Deadline {
        Now,
        /// It has passed when the thread has slept so often.
        At(u32),
        Never,
    }

    impl Deadline {
        pub(crate) fn nap(&self, at_most: Duration) -> Option<Duration> {
            let slept = || super::world(|world| world.people[super::me()].sleeps);
            match self {
                Deadline::Now => None,
                Deadline::Never => Some(at_most),
                Deadline::At(sleeps) => (slept() < *sleeps).then_some(at_most),
            }
        }

        /// One sleep from now, however long.
        pub(crate) fn after(_timeout: Duration) -> Deadline {
            Deadline::At(super::world(|world| world.people[super::me()].sleeps) + 1)
        }
    }
}

// --- participants ---------------------------------------------------------------------------

fn tid(person: usize) -> u32 {
    100 + person as u32
}

/// The name of a participant: generation 1 of the slot behind its number.
fn owner(person: usize) -> u32 {
    1 << 16 | (person as u32 + 1)
}

/// What a pending slot holds.
pub(crate) type Armed = Option<AtomicU64>;

/// The twin of [`crate::sync::Caller`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    person: usize,
    native: bool,
}

impl Caller {
    /// The scenario's own thread, as a participant.
    pub(crate) fn main() -> Caller {
        Caller { person: 0, native: true }
    }

    pub(crate) fn id(&self) -> u64 {
        let low =
            if self.native { tid(self.person) } else { 0x2000_0000 | (self.person as u32 + 1) };
        u64::from(self.owner()) << 32 | u64::from(low)
    }

    /// The high half of [`Caller::id`].
    pub(crate) fn owner(&self) -> u32 {
        owner(self.person)
    }

    #[track_caller]
    pub(crate) fn is_alive(&self, owner: u32) -> bool {
        step("probe");
        let person = (owner & 0xffff) as usize - 1;
        let alive = world(|world| world.people[person].alive.clone());
        person == self.person || alive.fetch_or(0, Ordering::SeqCst) != 0
    }

    pub(crate) fn names_thread(&self) -> bool {
        self.native
    }

    pub(crate) fn thread(&self) -> u64 {
        u64::from(self.owner()) << 32 | u64::from(tid(self.person))
    }

    pub(crate) fn is_usable(&self) -> bool {
        true
    }

    pub(crate) fn arm(&self, word: &AtomicU64) -> Armed {
        if !self.native || fault(Fault::UnarmedLock) {
            return None;
        }
        world(|world| world.people[self.person].pending.replace(word.clone()))
    }

    #[track_caller]
    pub(crate) fn disarm(&self, armed: Armed) {
        step("disarm");
        world(|world| world.people[self.person].pending = armed);
    }

    /// Puts a lock on the list. In the library there is no instruction at which the kernel would not look at it.
    pub(crate) fn hold(&self, word: &AtomicU64, armed: Armed) {
        world(|world| {
            let me = &mut world.people[self.person];
            if self.native {
                me.held.push(word.clone());
            }
            me.pending = armed;
        });
    }

    #[track_caller]
    pub(crate) fn release(&self, word: &AtomicU64, unlock: impl FnOnce()) {
        let armed = self.arm(word);
        world(|world| {
            world.people[self.person].held.retain(|held| held.key() != word.key());
        });
        unlock();
        self.disarm(armed);
    }
}

/// How often somebody has slept for a whole backstop.
pub(crate) fn backstops() -> usize {
    world(|world| world.backstops.len())
}

/// A participant at work.
pub(crate) struct Process<T> {
    thread: loom::thread::JoinHandle<Option<T>>,
    person: usize,
}

impl<T> Process<T> {
    /// The high half of the word of a lock that it owns.
    pub(crate) fn owner(&self) -> u32 {
        owner(self.person)
    }

    /// Waits until it has ended, or is dead.
    pub(crate) fn join(self) -> Result<T, Death> {
        let roused = world(|world| {
            if world.people[self.person].ended {
                return None;
            }
            world.people[self.person].awaited = true;
            world.retire()
        });
        unpark(roused);
        let result = self.thread.join().expect("a model's thread catches its death");
        result.ok_or_else(|| world(|world| world.death.expect("a dead participant has a death")))
    }
}

/// Starts a participant that is killed when its time has come.
pub(crate) fn victim<T: 'static>(body: impl FnOnce(&Caller) -> T + 'static) -> Process<T> {
    start(world(|world| world.die_at), true, body)
}

/// A [`victim`] from another PID namespace: the kernel does not know its lock words.
pub(crate) fn foreign_victim<T: 'static>(body: impl FnOnce(&Caller) -> T + 'static) -> Process<T> {
    start(world(|world| world.die_at), false, body)
}

/// Starts a participant that lives.
pub(crate) fn survivor<T: 'static>(body: impl FnOnce(&Caller) -> T + 'static) -> Process<T> {
    start(None, true, body)
}

fn start<T: 'static>(
    countdown: Option<u32>,
    native: bool,
    body: impl FnOnce(&Caller) -> T + 'static,
) -> Process<T> {
    let person = world(|world| world.admit(countdown));
    let thread = loom::thread::spawn(move || {
        ME.with(|me| me.set(person));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let result = body(&Caller { person, native });
            step("end");
            result
        }));
        let result = match outcome {
            Ok(result) => Some(result),
            Err(payload) if payload.is::<Killed>() => {
                let place = world(|world| world.people[person].killed_at);
                futex::exit(place.expect("a killed thread died somewhere"));
                None
            }
            Err(bug) => resume_unwind(bug),
        };
        futex::barrier();
        unpark(world(|world| world.end(person)));
        result
    });
    Process { thread, person }
}
