//! Every byte and every word of a queue, corrupted in turn: in the file before
//! it is opened, and under a live handle.

use std::sync::OnceLock;
use std::time::Duration;

use steadfast::{Batch, Queue, Shutdown};

use crate::image::{self, Case, Change, Image, other_words};
use crate::runner::{self, Cases};
use crate::support::{proc, watchdog_after};

/// The offsets of the queue's words in its object.
pub const LOCKS: [usize; 2] = [128, 256];
const CURSORS: [usize; 3] = [136, 144, 264];
const COUNTS: [usize; 3] = [384, 512, 640];
pub const RING: usize = 1024;

const BRIEF: Duration = Duration::from_millis(1);

/// Every byte of the file, and the words of the object with telling values.
fn cases(image: &Image) -> Vec<Case> {
    let mut all = image::byte_cases(image, RING, 0..0);
    let mut add = |change: Change, live: &[bool]| {
        all.extend(live.iter().map(|&live| Case { change: change.clone(), live }));
    };
    for offset in LOCKS.into_iter().chain(CURSORS).chain(COUNTS) {
        let offset = image.object + offset;
        for other in other_words(image.word(offset)) {
            add(Change::word(offset, other), &[false, true]);
        }
    }
    let tail = image.word(image.object + CURSORS[0]) as usize % 512;
    for index in 0..512 {
        let offset = image.object + RING + 8 * index;
        let word = image.word(offset);
        let others = other_words(word);
        // A header names its own place; the words between them are messages.
        let header = word != 0 && word % 512 == index as u64 || index == tail;
        let step = if header { 1 } else { 15 };
        for other in others.into_iter().step_by(step) {
            add(Change::word(offset, other), &[true]);
        }
    }
    // Locks that belong to this very process, to nobody, to the dead, and to a thread that lives.
    // The image was made by generation 1 of slot 1, so whoever opens it is generation 2.
    let own = 2 << 16 | 1_u64;
    let thread = u64::from(proc::tid().unsigned_abs());
    for offset in LOCKS.map(|lock| image.object + lock) {
        for owner in [0, own, own + 1, own - (1 << 16), 0xffff_ffff] {
            for low in [1, 0x4000_0000, 0x8000_0000, 0xc000_0000, 0x8000_0001, thread] {
                add(Change::word(offset, owner << 32 | low), &[false, true]);
            }
        }
    }
    all
}

/// Any operation at all; only its return counts. `locks` are as they were.
pub fn operate(queue: &Queue, locks_untouched: bool) {
    let _ = queue.try_put(b"small");
    let _ = queue.put_timeout(&[1; 100], BRIEF);
    let _ = queue.try_put_many(&[vec![2; 3], vec![], vec![3; 70]]);
    let _ = queue.qsize();
    let _ = queue.is_empty();
    let _ = queue.is_full();
    for _ in 0..3 {
        let _ = queue.try_get();
    }
    let _ = queue.get_timeout(BRIEF);
    let _ = queue.try_put(&vec![4; queue.max_len()]);
    let mut buffer = Vec::new();
    let _ = queue.try_get_into(&mut buffer);
    let _ = queue.put_many_timeout(&[vec![5; 40], vec![6; 1]], BRIEF);
    let mut batch = Batch::new();
    let _ = queue.try_get_batch(&mut batch, 2);
    let _ = queue.try_put(b"again");
    let _ = queue.try_get_many(10_000);
    let _ = queue.segment().users();
    let _ = queue.is_shutdown();
    // A lock that names a living owner may not be taken from it, so without a
    // time-out there is nothing to expect of it.
    if locks_untouched {
        let _ = queue.shutdown(Shutdown::Drain);
        let _ = queue.try_put(b"late");
        let _ = queue.try_get();
        let _ = queue.shutdown(Shutdown::Now);
        let _ = queue.try_get();
    }
}

/// The same with both roles, in place too.
pub fn operate_roles(queue: &Queue) {
    let (Ok(mut producer), Ok(mut consumer)) = (queue.producer(), queue.consumer()) else { return };
    let _ = producer.try_put(b"small");
    let _ = producer.put_timeout(&[1; 100], BRIEF);
    let _ = producer.try_put_many(&[vec![2; 3], vec![], vec![3; 70]]);
    if let Ok(mut guard) = producer.try_reserve(50) {
        let _ = guard.write_at(3, b"in place");
        let _ = guard.commit();
    }
    let _ = queue.qsize();
    if let Ok(view) = consumer.try_peek() {
        let mut copy = vec![0; view.len()];
        view.copy_to(&mut copy);
        let _ = view.copy_at(1, &mut copy);
        let _ = view.read_u64(0);
        let _ = view.release();
    }
    let _ = consumer.try_get();
    let _ = consumer.get_timeout(BRIEF);
    let _ = producer.try_put(&vec![4; queue.max_len()]);
    if let Ok(guard) = producer.reserve_timeout(8, BRIEF) {
        drop(guard);
    }
    let _ = consumer.try_get_many(10_000);
    let _ = consumer.peek_timeout(BRIEF).map(drop);
    let _ = queue.shutdown(Shutdown::Drain);
    let _ = producer.try_reserve(1).map(drop);
    let _ = consumer.try_get();
    let _ = queue.shutdown(Shutdown::Now);
    let _ = consumer.try_peek().map(drop);
}

/// Opens, changes and operates as the case says.
pub fn run_case(
    image: &Image,
    case: &Case,
    name: &str,
    operate: impl Fn(&Queue),
) -> Result<(), String> {
    if case.live {
        image.write(name, &[]);
        let queue = Queue::open(name).map_err(|error| format!("a good file: {error}"))?;
        case.change.poke(name);
        operate(&queue);
    } else {
        image.write(name, std::slice::from_ref(&case.change));
        match Queue::open(name) {
            Ok(queue) => operate(&queue),
            // An error must be one that can be told.
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    Ok(())
}

/// A queue that anybody may use.
pub struct Shared;

fn shared() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| cases(image::shared_queue()))
}

impl Cases for Shared {
    fn count(&self, _seed: u64) -> usize {
        shared().len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        shared()[number].describe(image::shared_queue())
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        let image = image::shared_queue();
        let case = &shared()[number];
        let at = case.change.offset.wrapping_sub(image.object) & !7;
        run_case(image, case, name, |queue| operate(queue, !LOCKS.contains(&at)))
    }
}

/// A queue with two single roles.
pub struct Single;

fn single() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| cases(image::single_queue()))
}

impl Cases for Single {
    fn count(&self, _seed: u64) -> usize {
        single().len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        single()[number].describe(image::single_queue())
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        run_case(image::single_queue(), &single()[number], name, operate_roles)
    }
}

#[test]
fn every_corrupt_byte_and_word_of_a_queue_is_survived() {
    let _dog = watchdog_after(8 * crate::support::LIMIT);
    runner::run("queue", 0, 600).all();
}

#[test]
fn every_corrupt_byte_and_word_of_a_queue_with_roles_is_survived() {
    let _dog = watchdog_after(8 * crate::support::LIMIT);
    runner::run("single", 0, 600).all();
}
