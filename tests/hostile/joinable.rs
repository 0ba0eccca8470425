//! Every word that a joinable queue and a store rest on, corrupted in turn: the chunks' headers, the
//! records that name them, the index of what came back, the books.

use std::sync::OnceLock;
use std::time::Duration;

use steadfast::{JoinableQueue, Lease, Queue, QueueOptions, Shutdown};

use crate::image::{self, Case, Change, Image, other_words};
use crate::queue::{self, RING};
use crate::runner::{self, Cases};
use crate::support::{LIMIT, Name, Rng, chain, watchdog_after};

/// Cursors, event counts, state, books, index, units given back.
pub const WORDS: [usize; 14] =
    [136, 144, 264, 384, 512, 640, 768, 176, 184, 192, 200, 304, 312, 896];
/// When the first delayed message is due.
pub const DUE: usize = 320;
pub const BRIEF: Duration = Duration::from_millis(1);

/// Where the parts of an object with a store are, from the object's start.
pub struct Parts {
    /// Where the ring ends, and the index begins.
    pub index: usize,
    pub store: usize,
    /// The chunks, from the store's start.
    pub chunks: Vec<usize>,
}

impl Parts {
    pub fn of(image: &Image) -> Parts {
        let constant = |nth: usize| image.word(image.object + 8 * nth) as usize;
        let (store_bytes, total) = (constant(4), constant(6));
        let chunks = chain::chunks_of(&image.bytes);
        Parts {
            index: RING + constant(1),
            store: total - store_bytes,
            chunks: chunks.keys().map(|at| (at * chain::UNIT) as usize).collect(),
        }
    }
}

fn options() -> QueueOptions {
    QueueOptions::new().capacity(4096).segment(image::options())
}

/// A joinable queue with messages that are queued, leased, ready, delayed and dead.
pub fn joinable() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let name = Name::new("image");
        let queue: JoinableQueue =
            JoinableQueue::create(&name, &options().max_deliveries(2)).expect("create a queue");
        for (at, len) in [100, 0, 300, 20, 150, 64, 90, 250, 40, 500, 8].into_iter().enumerate() {
            queue.try_put(&vec![at as u8; len]).expect("room");
        }
        for _ in 0..2 {
            queue.try_get().expect("a message").nack().expect("it comes back");
        }
        let mut leases: Vec<Lease> = (0..6).map(|_| queue.try_get().expect("a message")).collect();
        leases.pop().expect("six").ack().expect("it is done");
        leases.pop().expect("five").nack_after(Duration::from_secs(9999)).expect("delayed");
        leases.pop().expect("four").nack().expect("ready");
        let room = queue.try_reserve(77).expect("room");
        let image = Image::of(&name);
        let phases = chain::count(&chain::chunks(&name)).0;
        assert!(phases.iter().all(|count| *count > 0), "{phases:?}");
        drop((room, leases));
        image
    })
}

/// A plain queue with messages in its ring and in its store.
pub fn large() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let name = Name::new("image");
        let queue: Queue =
            Queue::create(&name, &options().large_messages(8192)).expect("create a queue");
        for (at, len) in [600, 10, 1500, 0, 700, 900].into_iter().enumerate() {
            queue.try_put(&vec![at as u8; len]).expect("room");
        }
        queue.try_get().expect("a message");
        let image = Image::of(&name);
        drop(queue);
        image
    })
}

/// The words of the store, the ring and the books with telling values.
fn cases(image: &Image) -> Vec<Case> {
    let (mut all, parts) = (Vec::new(), Parts::of(image));
    let mut add = |offset: usize, value: u64| {
        let change = Change::word(image.object + offset, value);
        all.extend([false, true].map(|live| Case { change: change.clone(), live }));
    };
    let word = |offset: usize| image.word(image.object + offset);
    for offset in WORDS.into_iter().chain([DUE]) {
        other_words(word(offset)).into_iter().for_each(|other| add(offset, other));
    }
    for (ready, delayed) in [(0, 1), (1, 0), (64, 0), (65, 0), (0, 64), (32, 33), (1 << 31, 0)] {
        add(304, ready << 32);
        add(312, delayed);
        add(304, u64::from(u32::MAX) << 32);
    }
    for offset in (RING..RING + 256).step_by(8) {
        other_words(word(offset)).into_iter().step_by(3).for_each(|other| add(offset, other));
    }
    for offset in (parts.index..parts.store.min(parts.index + 256)).step_by(8) {
        other_words(word(offset)).into_iter().step_by(7).for_each(|other| add(offset, other));
    }
    // Whoever opens it is generation 2 of slot 1, the next one of slot 2.
    let owners = [0, 2 << 16 | 1, 1 << 16 | 1, 1 << 16 | 2, 0xffff_ffff];
    for (nth, chunk) in parts.chunks.iter().enumerate() {
        let at = parts.store + chunk;
        for header in 0..6 {
            let others = other_words(word(at + 8 * header));
            let step = if nth % 3 == header % 3 { 1 } else { 9 };
            others.into_iter().step_by(step).for_each(|other| add(at + 8 * header, other));
        }
        for owner in owners {
            for phase in 0..8 {
                add(at + 8, owner << 32 | 1 << 16 | phase);
            }
        }
        // Lengths with the right mark, as only a participant knows it.
        let mark = (*chunk as u32 / 64).wrapping_mul(0x9e37_79b1) ^ 0x5ead_fa57;
        for units in [0, 1, 2, 3, 63, 64, 65, 127, 128, u32::MAX] {
            add(at, u64::from(mark) << 32 | u64::from(units));
        }
        // In the middle of a chunk, where none begins.
        add(at + 64, word(at));
    }
    all
}

/// What a consumer holds of the image, before it is corrupted.
pub fn hold(queue: &JoinableQueue) -> Vec<Lease> {
    (0..3).filter_map(|_| queue.try_get().ok()).collect()
}

/// Any operation at all; only its return counts.
pub fn operate(queue: &JoinableQueue, leases: Vec<Lease>) {
    let _ = queue.try_put(b"small");
    for (nth, lease) in leases.into_iter().enumerate() {
        let _ = (lease.value(), lease.attempt(), lease.last_reason(), lease.read_u64(0));
        let mut bytes = vec![0; lease.len()];
        let _ = lease.copy_to(&mut bytes);
        let _ = match nth % 4 {
            0 => lease.ack(),
            1 => lease.nack(),
            2 => lease.nack_after(BRIEF),
            _ => lease.release(),
        };
    }
    let _ = queue.put_timeout(&[1; 100], BRIEF);
    let _ = queue.try_put_many(&[vec![2; 3], vec![], vec![3; 70]]);
    let _ = (queue.qsize(), queue.is_empty(), queue.is_shutdown());
    let held = queue.try_get();
    let _ = queue.get_timeout(BRIEF);
    let _ = queue.try_get_value();
    let _ = queue.task_done();
    let _ = queue.unfinished();
    let _ = queue.join_timeout(Duration::ZERO);
    if let Ok(mut room) = queue.try_reserve(60) {
        let _ = room.write_at(3, b"in place");
        // It waits for a place in line, however long.
        if queue.maxsize() == 0 && queue.try_put(b"").is_ok() {
            let _ = room.commit();
        }
    }
    let _ = queue.try_put(&vec![4; queue.max_len()]);
    drop(held);
    let _ = queue.try_get().map(|lease| lease.nack());
    let _ = queue.dead_letters();
    let _ = queue.redrive();
    let _ = queue.try_get().map(|lease| lease.release());
    let _ = queue.purge();
    let _ = queue.put_many_timeout(&[vec![5; 40], vec![6; 1000]], BRIEF);
    while queue.task_done().is_ok() {}
    let _ = queue.segment().users();
}

/// The same, and the end of the queue.
fn operate_to_the_end(queue: &JoinableQueue, leases: Vec<Lease>) {
    operate(queue, leases);
    let _ = queue.shutdown(Shutdown::Drain);
    let _ = queue.try_get().map(|lease| lease.ack());
    let _ = queue.try_put(b"late");
    let _ = queue.shutdown(Shutdown::Now);
    let _ = queue.try_get();
    let _ = queue.unfinished();
}

/// A joinable queue.
pub struct Joinable;

fn joinable_cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| cases(joinable()))
}

impl Cases for Joinable {
    fn count(&self, _seed: u64) -> usize {
        joinable_cases().len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        joinable_cases()[number].describe(joinable())
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        let Case { change, live } = &joinable_cases()[number];
        let changes = if *live { &[][..] } else { std::slice::from_ref(change) };
        joinable().write(name, changes);
        match JoinableQueue::open(name) {
            Ok(queue) if *live => {
                let leases = hold(&queue);
                change.poke(name);
                operate_to_the_end(&queue, leases);
            }
            Ok(queue) => {
                let leases = hold(&queue);
                operate_to_the_end(&queue, leases);
            }
            Err(error) if *live => return Err(format!("a good file: {error}")),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        Ok(())
    }
}

/// A plain queue with large messages.
pub struct Large;

fn large_cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| cases(large()))
}

impl Cases for Large {
    fn count(&self, _seed: u64) -> usize {
        large_cases().len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        large_cases()[number].describe(large())
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        queue::run_case(large(), &large_cases()[number], name, |queue| queue::operate(queue, true))
    }
}

/// A random place, most of them where it hurts.
fn place(rng: &mut Rng, image: &Image, parts: &Parts) -> usize {
    let chunks = parts.chunks.len() as u64;
    let chunk = parts.store + parts.chunks[rng.below(chunks) as usize];
    let at = match rng.below(8) {
        0 => rng.below(64) as usize & !7,
        1 | 2 => WORDS[rng.below(WORDS.len() as u64) as usize],
        3 => RING + 8 * rng.below(40) as usize,
        4 => parts.index + 8 * rng.below(8) as usize,
        _ => chunk + 8 * rng.below(7) as usize,
    };
    image.object + at
}

pub fn change(rng: &mut Rng, image: &Image, parts: &Parts) -> Change {
    let offset = place(rng, image, parts);
    let old = image.word(offset);
    let others = [
        old ^ 1 << rng.below(64),
        old.wrapping_add(rng.below(8)).wrapping_sub(4),
        rng.below(9) | rng.below(3) << 16 | rng.below(3) << 32 | rng.below(3) << 48,
        image.word(place(rng, image, parts)),
        rng.next(),
    ];
    Change::word(offset, others[rng.below(others.len() as u64) as usize])
}

fn random_operation(rng: &mut Rng, queue: &JoinableQueue, leases: &mut Vec<Lease>) {
    let len = rng.below(1500) as usize;
    match rng.below(16) {
        0 | 1 => drop(queue.try_put(&vec![7; len])),
        2 => drop(queue.put_timeout(&vec![8; len / 4], BRIEF)),
        3 => drop(queue.try_put_many(&vec![vec![9; len / 8]; rng.below(5) as usize])),
        4..=6 => leases.extend(queue.try_get()),
        7 => drop(queue.get_timeout(BRIEF)),
        8 => drop(queue.try_reserve(len)),
        9 => drop((queue.qsize(), queue.is_empty(), queue.unfinished())),
        10 => drop(queue.join_timeout(Duration::ZERO)),
        11 => drop((queue.dead_letters(), queue.redrive())),
        12 if rng.below(30) == 0 => drop(queue.shutdown(Shutdown::Drain)),
        13 if rng.below(30) == 0 => drop(queue.shutdown(Shutdown::Now)),
        _ => {
            let Some(lease) = leases.pop() else { return };
            let _ = lease.value();
            let _ = match rng.below(4) {
                0 => lease.ack(),
                1 => lease.nack(),
                2 => lease.nack_after(BRIEF * rng.below(2) as u32),
                _ => lease.release(),
            };
        }
    }
}

/// Endless random cases.
pub struct Fuzz;

impl Cases for Fuzz {
    fn count(&self, _seed: u64) -> usize {
        1_000_000 // the time ends it before
    }

    fn describe(&self, seed: u64, number: usize) -> String {
        format!("random corruption {number} of a joinable queue, seed {seed}")
    }

    fn run(&self, seed: u64, number: usize, name: &str) -> Result<(), String> {
        static PARTS: OnceLock<Parts> = OnceLock::new();
        let parts = PARTS.get_or_init(|| Parts::of(joinable()));
        let mut rng = Rng::new(seed ^ (number as u64).wrapping_mul(0x9e37_79b9));
        let before = rng.below(3);
        let changes: Vec<_> = (0..before).map(|_| change(&mut rng, joinable(), parts)).collect();
        joinable().write(name, &changes);
        let Ok(queue) = JoinableQueue::open(name) else { return Ok(()) };
        let mut leases = hold(&queue);
        for _ in 0..rng.below(20) {
            if rng.below(3) == 0 {
                change(&mut rng, joinable(), parts).poke(name);
            }
            random_operation(&mut rng, &queue, &mut leases);
        }
        Ok(())
    }
}

#[test]
fn every_corrupt_word_of_a_joinable_queue_is_survived() {
    let _dog = watchdog_after(8 * LIMIT);
    runner::run("joinable", 0, 600).all();
}

#[test]
fn every_corrupt_word_of_a_queue_with_large_messages_is_survived() {
    let _dog = watchdog_after(8 * LIMIT);
    runner::run("large", 0, 600).all();
}

#[test]
fn random_corruption_of_a_joinable_queue_is_survived() {
    let _dog = watchdog_after(8 * LIMIT);
    for seed in [20_261_123, crate::support::random_seed()] {
        let ran = runner::run("joinable fuzz", seed, 8);
        println!("{} random corruptions of seed {seed} survived", ran.done);
        assert!(ran.done > 0, "no case ran");
    }
}

#[test]
fn a_wrong_due_time_is_put_right_by_the_next_look() {
    let name = Name::new("due");
    let queue: JoinableQueue = JoinableQueue::create(&name, &options()).unwrap();
    let object = joinable().object;
    Change::word(object + DUE, 1).poke(&name);
    assert!(!queue.is_empty().unwrap(), "it seems that something is due");
    assert!(queue.try_get().is_err());
    assert!(queue.is_empty().unwrap());
    queue.put(b"it").unwrap();
    queue.get().unwrap().nack_after(Duration::from_secs(9999)).unwrap();
    Change::word(object + DUE, 1).poke(&name);
    assert!(queue.try_get().is_err());
    assert!(queue.is_empty().unwrap());
}
