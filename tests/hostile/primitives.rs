//! A shared struct with every primitive in it (but the C library's mutex, which trusts its bytes): each word of
//! it corrupted in turn, before it is opened, under a live handle, and under everything that is held.

use std::fs::File;
use std::sync::OnceLock;
use std::time::Duration;

use steadfast::{
    Array, Barrier, BoundedSemaphore, Condvar, Event, LockError, Mutex, Once, Permits, RLock,
    RwLock, Segment, SegmentError, Semaphore, Shared, WaitError,
};

use crate::image::{self, Case, Change, Image, Value};
use crate::runner::{self, Cases};
use crate::support::child::{self, Child};
use crate::support::{LIMIT, Name, file, watchdog_after};

const BRIEF: Duration = Duration::from_micros(100);

/// More than a word.
type Wide = [Value; 3];

#[derive(Shared)]
pub struct Everything {
    mutex: Mutex<Value>,
    changed: Condvar,
    rlock: RLock,
    rwlock: RwLock<Value>,
    signals: Semaphore,
    bounded: BoundedSemaphore,
    permits: Permits,
    event: Event,
    barrier: Barrier,
    once: Once,
    small: steadfast::Value<bool>,
    wide: steadfast::Value<Wide>,
    row: Array<bool>,
}

fn create(name: &str) -> Everything {
    let init = EverythingInit {
        mutex: image::VALUE,
        changed: (),
        rlock: (),
        rwlock: image::VALUE,
        signals: 2,
        bounded: 2,
        permits: 2,
        event: true,
        barrier: 1,
        once: (),
        small: true,
        wide: [image::VALUE; 3],
        row: vec![true; 20],
    };
    Segment::of::<Everything>().create(name, init, &image::options()).expect("everything")
}

fn open(name: &str) -> Result<Everything, SegmentError> {
    Segment::of::<Everything>().open(name)
}

/// Any operation at all; only that it returns counts. Nothing waits without a time-out: a living owner would be
/// waited for.
fn operate(all: &Everything) {
    lock(&all.mutex.try_lock());
    lock(&all.mutex.lock_timeout(BRIEF));
    if let Ok(guard) = all.mutex.try_lock() {
        // It may end without the lock, but it ends.
        drop(all.changed.wait_timeout(guard, BRIEF));
    }
    let _ = (all.changed.notify_one(), all.changed.notify(3), all.changed.notify_all());
    let outer = all.rlock.try_lock();
    let inner = all.rlock.lock_timeout(BRIEF);
    lock(&inner);
    drop((outer, inner));
    let (one, two) = (all.rwlock.try_read(), all.rwlock.read_timeout(BRIEF));
    lock(&one);
    drop((one, two));
    lock(&all.rwlock.try_write());
    if let Ok(mut guard) = all.rwlock.write_timeout(BRIEF) {
        guard.flag = !guard.flag;
    }
    let _ = (all.signals.try_acquire(), all.signals.acquire_timeout(BRIEF), all.signals.release());
    let _ = (all.bounded.try_acquire(), all.bounded.release_many(2), all.bounded.release());
    let permits = (all.permits.try_acquire(), all.permits.acquire_timeout(BRIEF));
    let _ = (all.permits.held(), all.permits.total());
    drop(permits);
    let _ = (all.event.wait_timeout(BRIEF), all.event.clear(), all.event.wait_timeout(BRIEF));
    let _ = (all.event.set(), all.event.wait_timeout(BRIEF), all.event.is_set());
    if let Ok(party) = all.barrier.join_timeout(BRIEF) {
        let _ = party.wait_timeout(BRIEF);
    }
    let _ = (all.barrier.wait_timeout(BRIEF), all.barrier.waiting(), all.barrier.parties());
    let _ = (all.barrier.abort(), all.barrier.reset(), all.barrier.wait_timeout(BRIEF));
    let _ = (all.once.try_call_once(|_| ()), all.once.call_once_timeout(BRIEF, |_| ()));
    let _ = (all.small.get(), all.small.update(|flag| !flag), all.small.set(false));
    let _ = all.wide.get();
    lock(&all.row.try_lock());
    if let Ok(mut row) = all.row.lock_timeout(BRIEF) {
        row.fill(false);
    }
    let deaths = [
        all.mutex.last_death(),
        all.rlock.last_death(),
        all.rwlock.last_death(),
        all.once.last_death(),
    ];
    for death in deaths.into_iter().flatten() {
        assert!(!format!("{death:?}").is_empty());
    }
    let _ = (all.mutex.consistency(), all.rlock.consistency(), all.rwlock.consistency());
}

/// What waits for as long as it takes: only where no lock was touched.
fn operate_to_the_end(all: &Everything) {
    let _ = all.mutex.repair(|value| value.flag = false);
    let _ = all.mutex.replace(image::VALUE);
    let _ = all.rlock.repair(|| ());
    let _ = all.rwlock.repair(|value| value.flag = true);
    let _ = all.wide.set([image::VALUE; 3]);
    let _ = all.wide.update(|wide| *wide);
    let _ = all.row.repair(|row| row.fill(true));
}

fn lock<G>(attempt: &Result<G, LockError<G>>) {
    if let Err(error) = attempt {
        assert!(!error.to_string().is_empty() && !format!("{error:?}").is_empty());
    }
}

/// Holds everything while `then` happens, and operates with it.
fn hold(all: &Everything, then: impl FnOnce()) {
    let guards = (all.mutex.try_lock(), all.rlock.try_lock(), all.rwlock.try_read());
    let seats = (all.permits.try_acquire(), all.barrier.try_join(), all.row.try_lock());
    then();
    if let Ok(party) = &seats.1 {
        let _ = party.wait_timeout(BRIEF);
    }
    if let Ok(value) = &guards.2 {
        let _ = value.numbers.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    }
    drop((guards, seats));
    let _ = all.rwlock.try_write();
}

struct Plan {
    image: Image,
    cases: Vec<Case>,
}

/// The owner mark of the participant that opens the image: slot 1, for the second time.
const ALIVE: u64 = 2 << 16 | 1;

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let name = Name::new("image");
        let all = create(&name);
        let before = Image::of(&name);
        let mut used = Vec::new();
        for writes in [true, false] {
            operate(&all);
            operate_to_the_end(&all);
            let locks = (all.mutex.lock(), all.rlock.lock(), all.row.lock());
            let (read, write) = match writes {
                true => (None, Some(all.rwlock.write())),
                false => (Some(all.rwlock.read()), None),
            };
            let seats = (all.permits.acquire(), all.barrier.join());
            let during = Image::of(&name);
            let places = (before.object..before.bytes.len()).step_by(8);
            used.extend(places.filter(|at| during.word(*at) != before.word(*at)));
            drop((locks, read, write, seats));
        }
        drop(all);
        let image = before;
        let mut cases = Vec::new();
        for at in (image.object..image.bytes.len()).step_by(8) {
            let word = image.word(at);
            let values = if used.contains(&at) || word != 0 {
                words(word)
            } else {
                vec![u64::MAX, ALIVE << 32 | 1]
            };
            for value in values {
                let live = used.contains(&at) || word != 0 || at % 64 == 0;
                for live in &[false, true][..if live { 2 } else { 1 }] {
                    cases.push(Case { change: Change::word(at, value), live: *live });
                }
            }
        }
        Plan { image, cases }
    })
}

/// What a word could be instead: edges, neighbours, single bits, owners alive and dead, states of a lock.
fn words(word: u64) -> Vec<u64> {
    let mut all = vec![0, 1, 2, 3, u64::MAX, i64::MAX as u64, 1 << 63, word ^ 1, word ^ 1 << 32];
    all.extend([
        word.wrapping_add(1),
        word.wrapping_sub(1),
        word ^ 1 << 31,
        word.wrapping_add(1 << 32),
    ]);
    for owner in [ALIVE, 1 << 16 | 1, 9 << 16 | 2, 0xffff_ffff] {
        all.extend([1, 0x4000_0000, 0x8000_0001, 0xc000_0000].map(|low| owner << 32 | low));
    }
    all
}

/// The runner's cases.
pub struct Primitives;

impl Cases for Primitives {
    fn count(&self, _seed: u64) -> usize {
        plan().cases.len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        plan().cases[number].describe(&plan().image)
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        let Plan { image, cases } = plan();
        let case = &cases[number];
        // Without a time-out a living owner is waited for.
        let free = case.change.bytes[4..] != ALIVE.to_le_bytes()[..4];
        if !case.live {
            image.write(name, std::slice::from_ref(&case.change));
            match open(name) {
                Ok(all) => {
                    operate(&all);
                    if free {
                        operate_to_the_end(&all);
                    }
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            return Ok(());
        }
        image.write(name, &[]);
        let all = open(name).map_err(|error| format!("a good file: {error}"))?;
        case.change.poke(name);
        operate(&all);
        hold(&all, || case.change.poke(name));
        Ok(())
    }
}

#[test]
fn every_corrupt_word_of_every_primitive_is_survived() {
    let _dog = watchdog_after(8 * LIMIT);
    runner::run("primitives", 0, 600).all();
}

/// Child: has everything open, and some of it held, while its file is cut.
pub fn victim(arguments: &[String]) {
    steadfast::guard_against_truncation().unwrap();
    let all = open(&arguments[0]).unwrap();
    let guards = (all.mutex.lock().unwrap(), all.rwlock.read().unwrap(), all.rlock.lock().unwrap());
    let seats = (all.permits.acquire().unwrap(), all.barrier.join().unwrap());
    child::tell("open");
    child::hear();
    // The first touch finds out, in the middle of whatever it is.
    let _ = all.signals.release();
    let _ = all.small.get();
    use SegmentError::Truncated;
    fn lock<G>(attempt: Result<G, LockError<G>>) -> bool {
        matches!(attempt, Err(LockError::Segment(Truncated { .. })))
    }
    fn wait<G>(attempt: Result<G, WaitError>) -> bool {
        matches!(attempt, Err(WaitError::Segment(Truncated { .. })))
    }
    let told = [
        wait(seats.1.wait()),
        lock(all.mutex.lock()),
        lock(all.mutex.try_lock()),
        lock(all.rlock.lock()),
        lock(all.rwlock.read()),
        lock(all.rwlock.write()),
        lock(all.row.lock()),
        wait(all.changed.notify_all()),
        wait(all.signals.acquire()),
        wait(all.bounded.release()),
        wait(all.permits.acquire()),
        wait(all.event.wait()),
        wait(all.event.set()),
        wait(all.barrier.wait()),
        wait(all.barrier.join()),
        wait(all.barrier.reset()),
        wait(all.once.call_once(|_| ())),
        wait(all.small.get()),
        wait(all.small.set(true)),
        wait(all.wide.get()),
        wait(all.wide.set([image::VALUE; 3])),
        matches!(all.mutex.repair(|_| ()), Err(LockError::Segment(Truncated { .. }))),
        matches!(all.rwlock.repair(|_| ()), Err(LockError::Segment(Truncated { .. }))),
    ];
    let wrong = told.iter().position(|told| !told);
    child::tell(wrong.map_or("all".to_owned(), |at| format!("operation {at}")));
    drop((guards, seats));
    drop(all);
    child::tell("dropped");
}

#[test]
fn everything_in_a_truncated_segment_is_an_error_with_the_guard() {
    let _dog = watchdog_after(LIMIT);
    for part in [0, 1, 2] {
        let name = Name::new("cut");
        plan().image.write(&name, &[]);
        let mut child = Child::spawn("truncated primitives", &[&name]);
        child.expect("open");
        let len = [0, image::PAGE, plan().image.object][part];
        File::options().write(true).open(file(&name)).unwrap().set_len(len as u64).unwrap();
        child.say("go on");
        child.expect("all");
        child.expect("dropped");
        child.finish();
    }
}

#[test]
fn a_truncated_file_of_every_primitive_is_refused_at_open() {
    let _dog = watchdog_after(LIMIT);
    let image = &plan().image;
    for len in [0, 1, 4096, image.object, image.object + 128, image.bytes.len() - 1] {
        let name = Name::new("cut");
        std::fs::write(file(&name), &image.bytes[..len]).unwrap();
        let opened = open(&name).err();
        let refused =
            matches!(opened, Some(SegmentError::NotASegment { .. } | SegmentError::Corrupt { .. }));
        assert!(refused, "{len} bytes: {opened:?}");
    }
}
