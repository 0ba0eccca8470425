//! Headers and constants with a right checksum and wrong content: what a peer
//! writes who knows the format.

use std::sync::OnceLock;

use steadfast::{JoinableQueue, Queue};

use crate::image::{self, Change, Image, PAGE, fnv1a, sealed};
use crate::joinable;
use crate::queue::operate;
use crate::runner::{self, Cases};
use crate::support::{file, watchdog_after};

/// Words of the header worth lying about: kind, sizes, flags, counts, offsets.
const FIELDS: [usize; 11] = [12, 16, 48, 56, 72, 80, 84, 88, 96, 104, 112];
/// Constants of a queue, before their checksum.
const CONSTANTS: usize = 7;

enum Forgery {
    Header(usize, u64),
    Constant(usize, u64),
}

fn lies(word: u64) -> Vec<u64> {
    let mut all = image::other_words(word);
    all.extend([8 << 30, 1 << 40, 1 << 46, (1 << 46) + 1, u64::MAX - 4095, u64::MAX / 8]);
    all
}

/// What is lied about: a plain queue, one with a store, a joinable one.
fn images() -> [&'static Image; 3] {
    [image::shared_queue(), joinable::large(), joinable::joinable()]
}

fn cases() -> &'static [(usize, Forgery)] {
    static CASES: OnceLock<Vec<(usize, Forgery)>> = OnceLock::new();
    CASES.get_or_init(|| {
        let mut all = Vec::new();
        for (which, image) in images().into_iter().enumerate() {
            for at in FIELDS {
                let lies = lies(image.word(at)).into_iter();
                all.extend(lies.map(|lie| (which, Forgery::Header(at, lie))));
            }
            for at in 0..CONSTANTS {
                let lies = lies(image.word(image.object + 8 * at)).into_iter();
                all.extend(lies.map(|lie| (which, Forgery::Constant(at, lie))));
            }
        }
        all
    })
}

/// Every lie about every field.
pub struct Forged;

impl Cases for Forged {
    fn count(&self, _seed: u64) -> usize {
        cases().len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        let (which, forgery) = &cases()[number];
        let lie = match forgery {
            Forgery::Header(at, lie) => format!("header +{at}: {lie:#x}, with a right checksum"),
            Forgery::Constant(at, lie) => format!("constant {at}: {lie:#x}, with a right checksum"),
        };
        format!("image {which}, {lie}")
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        let (which, ref forgery) = cases()[number];
        let image = images()[which];
        let bytes = match *forgery {
            Forgery::Header(at, lie) => {
                let mut bytes = image.bytes.clone();
                bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
                assert!(at + 8 <= PAGE);
                sealed(bytes)
            }
            Forgery::Constant(at, lie) => {
                let mut bytes = image.bytes.clone();
                let object = &mut bytes[image.object..];
                object[8 * at..8 * at + 8].copy_from_slice(&lie.to_le_bytes());
                let checksum = fnv1a(&object[..8 * CONSTANTS]);
                object[8 * CONSTANTS..8 * CONSTANTS + 8].copy_from_slice(&checksum.to_le_bytes());
                bytes
            }
        };
        std::fs::write(file(name), bytes).expect("write a segment's file");
        match Queue::open(name) {
            Ok(queue) => operate(&queue, true),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        if let Ok(queue) = JoinableQueue::open(name) {
            let leases = joinable::hold(&queue);
            joinable::operate(&queue, leases);
        }
        Ok(())
    }
}

#[test]
fn forged_headers_and_constants_with_right_checksums_are_survived() {
    let _dog = watchdog_after(8 * crate::support::LIMIT);
    runner::run("forged", 0, 600).all();
}

#[test]
fn the_forger_knows_the_checksums() {
    let image = image::shared_queue();
    assert_eq!(sealed(image.bytes.clone()), image.bytes);
    let constants = &image.bytes[image.object..][..8 * CONSTANTS];
    assert_eq!(image.word(image.object + 8 * CONSTANTS), fnv1a(constants));
    let _ = Change::word(0, 0);
}
