//! A peer process that flips random bits while operations are under way.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use steadfast::{JoinableQueue, Queue, QueueOptions};

use crate::image::{self, Image};
use crate::joinable::{self, Parts};
use crate::queue::{RING, operate, operate_roles};
use crate::support::child::{self, Child};
use crate::support::{LIMIT, Name, Rng, file, random_seed, watchdog_after};

const ROUNDS: usize = 150;
/// How long one segment is used before the next, at least.
const ROUND: Duration = Duration::from_millis(40);

fn image_of(role: &str) -> &'static Image {
    match role {
        "single" => image::single_queue(),
        "joinable" => joinable::joinable(),
        _ => image::shared_queue(),
    }
}

/// Child: uses one queue after another while somebody flips its bits.
pub fn victim(arguments: &[String]) {
    let [prefix, role] = arguments else { panic!("{arguments:?}") };
    let image = image_of(role);
    for round in 0..ROUNDS {
        let name = format!("{prefix}-{round}");
        image.write(&name, &[]);
        child::tell(&name);
        let start = Instant::now();
        while start.elapsed() < ROUND {
            // The header may be flipped before it is read: then it is refused.
            if role == "joinable" {
                let Ok(queue) = JoinableQueue::open(&name) else { break };
                (0..20).for_each(|_| joinable::operate(&queue, joinable::hold(&queue)));
                continue;
            }
            let Ok(queue) = Queue::open(&name) else { break };
            for _ in 0..20 {
                if role == "single" { operate_roles(&queue) } else { operate(&queue, false) }
            }
        }
        let _ = std::fs::remove_file(file(&name));
    }
    // And a healthy one afterwards: nothing of this process was harmed.
    let name = format!("{prefix}-healthy");
    let queue = Queue::<[u8]>::create(&name, &QueueOptions::new().capacity(4096)).unwrap();
    let _ = std::fs::remove_file(file(&name));
    for n in 0..1000_u32 {
        queue.put(&n.to_le_bytes()).unwrap();
        assert_eq!(queue.get().unwrap(), n.to_le_bytes());
    }
    child::tell("healthy");
}

/// Child: flips bits of each file it is told of, until the file is unlinked.
pub fn flipper(arguments: &[String]) {
    let mut rng = Rng::new(arguments[0].parse().unwrap());
    let image = image_of(&arguments[1]);
    let object = image.object as u64;
    let parts = (arguments[1] == "joinable").then(|| Parts::of(image));
    loop {
        let path = file(&child::hear());
        let Ok(file) = File::options().read(true).write(true).open(path) else { continue };
        let len = file.metadata().unwrap().len();
        while file.metadata().unwrap().nlink() > 0 {
            for _ in 0..50 {
                let at = match rng.below(8) {
                    4..=6 if parts.is_some() => {
                        let parts = parts.as_ref().expect("just asked");
                        match rng.below(3) {
                            0 => {
                                let word = rng.below(joinable::WORDS.len() as u64) as usize;
                                object + joinable::WORDS[word] as u64 + rng.below(8)
                            }
                            1 => object + parts.index as u64 + rng.below(64),
                            _ => {
                                let chunk = rng.below(parts.chunks.len() as u64) as usize;
                                object + (parts.store + parts.chunks[chunk]) as u64 + rng.below(48)
                            }
                        }
                    }
                    0 => rng.below(len),
                    // Both cursors, the event counts, the state and the ring; not
                    // the locks, whose living owners may keep a caller waiting.
                    1 => object + 136 + rng.below(24),
                    2 => object + 264 + rng.below(8),
                    3 => object + [384, 512, 640][rng.below(3) as usize] + rng.below(4),
                    _ => object + RING as u64 + rng.below(4096),
                };
                let mut byte = [0];
                if file.read_exact_at(&mut byte, at).is_ok() {
                    byte[0] ^= 1 << rng.below(8);
                    let _ = file.write_all_at(&byte, at);
                }
            }
            std::thread::yield_now();
        }
    }
}

fn flip_under(role: &str) {
    let _dog = watchdog_after(4 * LIMIT);
    let seed = random_seed();
    println!("seed {seed}");
    let prefix = Name::new("live");
    let mut flipper = Child::spawn("flipper", &[&seed.to_string(), role]);
    let mut victim = Child::spawn("victim", &[&prefix, role]);
    loop {
        match victim.hear().as_str() {
            "healthy" => break,
            name => flipper.say(name),
        }
    }
    victim.finish();
}

#[test]
fn a_peer_that_flips_bits_harms_nobody() {
    flip_under("shared");
}

#[test]
fn a_peer_that_flips_bits_under_leases_harms_nobody() {
    flip_under("joinable");
}

#[test]
fn a_peer_that_flips_bits_under_the_roles_harms_nobody() {
    flip_under("single");
}
