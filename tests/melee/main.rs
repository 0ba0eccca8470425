//! The melee: eight processes use every primitive of one shared struct at the same time, and are killed and
//! stopped at random moments and replaced. What the primitives guard must stay right, and nobody may wait for
//! ever.
//!
//! For longer: `STEADFAST_MELEE_SECONDS=600 cargo test --release --test melee`.

mod worker;
mod world;

#[path = "../storm/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use steadfast::{CleanOptions, Segment, SegmentOptions};

use random::Random;
use support::child::{self, Child};
use support::{LIMIT, Name, watchdog_after};
use world::{PLACES, World, fresh};

/// Processes at a time.
const WORKERS: usize = 8;

/// A live worker that does nothing for so long hangs: the longest waits in it have a tenth of a second, and
/// they may all be behind one that is stopped.
const HANGS: Duration = Duration::from_secs(20);

#[test]
#[ignore = "a child of the other test"]
fn child() {
    child::play(&[("worker", worker::work)]);
}

/// A place among the workers.
struct Place {
    child: Child,
    stopped: Option<Instant>,
    /// The count of its operations when it was last seen to grow, and when that was.
    beats: u64,
    grew: Instant,
}

struct Melee {
    name: Name,
    world: World,
    random: Random,
    places: Vec<Place>,
    kills: u64,
    stops: u64,
}

impl Melee {
    fn new(seed: u64) -> Melee {
        let name = Name::new("melee");
        let options = SegmentOptions::new().participants(32);
        let world = Segment::of::<World>().create(&name, fresh(), &options).expect("a world");
        let mut melee = Melee {
            name,
            world,
            random: Random::new(seed),
            places: Vec::new(),
            kills: 0,
            stops: 0,
        };
        for place in 0..WORKERS {
            let new = melee.spawn(place);
            melee.places.push(new);
        }
        melee
    }

    fn spawn(&mut self, place: usize) -> Place {
        let seed = self.random.next().to_string();
        let child = Child::spawn("worker", &[&self.name, &place.to_string(), &seed]);
        Place { child, stopped: None, beats: 0, grew: Instant::now() }
    }

    /// Kills, stops or continues somebody.
    fn strike(&mut self) {
        let at = self.random.below(WORKERS as u64) as usize;
        if self.places[at].stopped.is_some() {
            self.places[at].child.resume();
            self.places[at].stopped = None;
            self.places[at].grew = Instant::now();
        } else if self.random.percent(15) {
            self.places[at].child.stop();
            self.places[at].stopped = Some(Instant::now());
            self.stops += 1;
        } else {
            let new = self.spawn(at);
            std::mem::replace(&mut self.places[at], new).child.kill();
            self.kills += 1;
        }
    }

    /// Nobody stays stopped for long, nobody fails, and nobody stands still.
    fn look(&mut self) {
        for at in 0..WORKERS {
            let beats = self.world.beats[at].get().expect("a count");
            let place = &mut self.places[at];
            if let Some(status) = place.child.ended() {
                panic!("worker {at} failed: {status}");
            }
            if place.stopped.is_some_and(|since| since.elapsed() > Duration::from_millis(150)) {
                place.child.resume();
                place.stopped = None;
                place.grew = Instant::now();
            }
            if beats != place.beats {
                (place.beats, place.grew) = (beats, Instant::now());
            }
            let doing = self.world.doing[at].get().unwrap_or(u64::MAX);
            assert!(place.grew.elapsed() < HANGS, "worker {at} hangs in operation {doing}");
        }
    }

    /// Lets everybody finish, and looks at what is left.
    fn finish(mut self) {
        for place in &mut self.places {
            if place.stopped.take().is_some() {
                place.child.resume();
            }
        }
        self.world.over.set().expect("the end");
        let start = Instant::now();
        while self.places.iter_mut().any(|place| place.child.ended().is_none()) {
            assert!(start.elapsed() < LIMIT, "somebody does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        for place in self.places.drain(..) {
            place.child.finish();
        }
        self.world.judge(self.kills);
        assert_eq!(self.world.over.segment().users(), 1, "somebody is still attached");
        let options = CleanOptions::default();
        let mine = |cleaned: &steadfast::Cleaned| format!("{cleaned:?}").contains(&*self.name);
        assert!(!Segment::clean(&options).expect("clean").iter().any(mine), "it was in use");
    }
}

#[test]
fn eight_processes_are_killed_in_all_primitives_and_the_others_go_on() {
    let seconds = std::env::var("STEADFAST_MELEE_SECONDS");
    let seconds = seconds.ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let seed = std::env::var("STEADFAST_MELEE_SEED").ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let seed = seed.unwrap_or(now % 1_000_000_000);
    println!("melee: {seconds} s, STEADFAST_MELEE_SEED={seed}");
    let _dog = watchdog_after(Duration::from_secs(seconds * 2) + LIMIT);
    let mut melee = Melee::new(seed);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_micros(melee.random.between(200, 12_000)));
        melee.strike();
        melee.look();
    }
    let (kills, stops) = (melee.kills, melee.stops);
    let mut done = BTreeMap::new();
    for place in 0..PLACES {
        for (at, operation) in worker::OPERATIONS.iter().enumerate() {
            let count = melee.world.done[place].lock().expect("a ledger")[at];
            *done.entry(operation.0).or_insert(0) += count;
        }
    }
    melee.finish();
    println!("melee: {kills} kills, {stops} stops, operations completed: {done:?}");
    assert!(done.values().all(|&count| count > 0), "an operation was never completed");
}
