//! Random corruption: several places at once, before open and between random
//! operations, from a fixed seed and from a new one.

use std::time::Duration;

use steadfast::{Batch, Queue, QueueOptions, Shutdown};

use crate::image::{self, Change, Image, PAGE};
use crate::queue::{LOCKS, RING};
use crate::runner::{self, Cases};
use crate::support::{Rng, random_seed, watchdog_after};

const COUNT: usize = 1_000_000; // the time ends it before
const SECONDS: u64 = 12;
const BRIEF: Duration = Duration::from_micros(300);

/// A random place, most of them where it hurts.
fn place(rng: &mut Rng, image: &Image) -> usize {
    let object = image.object;
    match rng.below(10) {
        0 => PAGE + rng.below((object - PAGE) as u64) as usize,
        1 => object + rng.below(128) as usize,
        2..=5 => object + [136, 144, 264, 384, 512, 640][rng.below(6) as usize],
        _ => object + RING + 8 * rng.below(512) as usize,
    }
}

fn value(rng: &mut Rng, old: u64) -> u64 {
    match rng.below(6) {
        0 => old ^ 1 << rng.below(64),
        1 => old.wrapping_add(rng.below(64)).wrapping_sub(32),
        2 => rng.below(600) | rng.below(20) << 32,
        // A message or a padding of a plausible length at a plausible position.
        3 => rng.below(1200) | (1 + 2 * rng.below(2)) << 32 | rng.below(4200) << 35,
        4 => rng.next(),
        _ => [0, u64::MAX, 1 << 63, 0x4000_0000][rng.below(4) as usize],
    }
}

fn change(rng: &mut Rng, image: &Image) -> Change {
    let offset = place(rng, image);
    let offset = offset.min(image.bytes.len() - 8);
    let old = image.word(offset & !7);
    match rng.below(3) {
        0 => Change { offset, bytes: vec![rng.next() as u8] },
        _ => Change::word(offset & !7, value(rng, old)),
    }
}

/// A lock that a living owner might have; only operations with a time-out follow.
fn lock_change(rng: &mut Rng, image: &Image) -> Change {
    let lock = LOCKS[rng.below(2) as usize];
    let owner = rng.below(6) << 16 | rng.below(6);
    Change::word(image.object + lock, owner << 32 | rng.next() & 0xc000_03ff)
}

fn random_operation(rng: &mut Rng, queue: &Queue) {
    let len = rng.below(2200) as usize;
    match rng.below(12) {
        0 | 1 => drop(queue.try_put(&vec![7; len])),
        2 => drop(queue.put_timeout(&vec![8; len / 4], BRIEF)),
        3 => drop(queue.try_put_many(&vec![vec![9; len / 8]; rng.below(5) as usize])),
        4 | 5 => drop(queue.try_get()),
        6 => drop(queue.get_timeout(BRIEF)),
        7 => drop(queue.try_get_many(rng.below(10_000) as usize)),
        8 => drop(queue.try_get_batch(&mut Batch::new(), 3)),
        9 => drop((queue.qsize(), queue.is_empty(), queue.is_full())),
        10 => drop(queue.segment().users()),
        _ if rng.below(20) == 0 => drop(queue.shutdown(Shutdown::Drain)),
        _ => {}
    }
}

fn random_role_operation(rng: &mut Rng, queue: &Queue) {
    let (Ok(mut producer), Ok(mut consumer)) = (queue.producer(), queue.consumer()) else { return };
    let len = rng.below(2200) as usize;
    for _ in 0..3 {
        match rng.below(8) {
            0 => drop(producer.try_put(&vec![7; len])),
            1 => drop(producer.try_put_many(&vec![vec![9; len / 8]; 4])),
            2 => {
                if let Ok(mut guard) = producer.try_reserve(len) {
                    guard.write_at(rng.below(9) as usize, b"written");
                    drop(guard.commit());
                }
            }
            3 => drop(consumer.try_get()),
            4 => drop(consumer.try_get_many(rng.below(10_000) as usize)),
            5 => {
                if let Ok(view) = consumer.try_peek() {
                    let mut bytes = vec![0; view.len()];
                    view.copy_to(&mut bytes);
                    view.read_u64(len);
                    if rng.below(2) == 0 {
                        drop(view.release());
                    }
                }
            }
            6 => drop(consumer.get_timeout(BRIEF)),
            _ => drop(producer.put_timeout(&[1], BRIEF)),
        }
    }
}

/// Endless random cases.
pub struct Fuzz;

impl Cases for Fuzz {
    fn count(&self, _seed: u64) -> usize {
        COUNT
    }

    fn describe(&self, seed: u64, number: usize) -> String {
        format!("random corruption {number} of seed {seed}")
    }

    fn run(&self, seed: u64, number: usize, name: &str) -> Result<(), String> {
        let mut rng = Rng::new(seed ^ (number as u64).wrapping_mul(0x9e37_79b9));
        let single = rng.below(3) == 0;
        let image = if single { image::single_queue() } else { image::shared_queue() };
        let before = rng.below(3);
        let changes: Vec<Change> = (0..before).map(|_| change(&mut rng, image)).collect();
        image.write(name, &changes);
        let Ok(queue) = Queue::open(name) else { return Ok(()) };
        let mut locks_changed = false;
        for _ in 0..rng.below(12) {
            if rng.below(3) == 0 {
                change(&mut rng, image).poke(name);
            }
            if !single && rng.below(40) == 0 {
                lock_change(&mut rng, image).poke(name);
                locks_changed = true;
            }
            if single {
                random_role_operation(&mut rng, &queue);
            } else if !locks_changed {
                random_operation(&mut rng, &queue);
            } else {
                drop(queue.put_timeout(b"bounded", BRIEF));
                drop(queue.get_timeout(BRIEF));
            }
        }
        Ok(())
    }
}

fn fuzz(seed: u64) {
    let _dog = watchdog_after(8 * crate::support::LIMIT);
    let ran = runner::run("fuzz", seed, SECONDS);
    println!("{} random corruptions of seed {seed} survived", ran.done);
    assert!(ran.done > 0, "no case ran");
}

#[test]
fn random_corruption_of_a_fixed_seed_is_survived() {
    fuzz(20_261_122);
}

#[test]
fn random_corruption_of_a_new_seed_is_survived() {
    fuzz(random_seed());
}

#[test]
fn a_good_queue_passes_through_the_same_hands() {
    let _dog = watchdog_after(crate::support::LIMIT);
    // The fuzzer's own operations, without corruption, leave a queue that works.
    let name = crate::support::Name::new("hands");
    let queue = Queue::<[u8]>::create(&name, &QueueOptions::new().capacity(4096)).unwrap();
    let mut rng = Rng::new(5);
    for _ in 0..2000 {
        random_operation(&mut rng, &queue);
        if queue.is_shutdown().unwrap() {
            return;
        }
    }
    while queue.try_get().is_ok() {}
    queue.put(b"works").unwrap();
    assert_eq!(queue.get().unwrap(), b"works");
}
