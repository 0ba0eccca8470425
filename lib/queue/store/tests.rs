//! The store alone, against a list of intervals.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;
use crate::segment::{Kind, Segment, SegmentOptions};

const SHIFT: u32 = 6;

#[derive(Clone, Debug)]
enum Op {
    Take(u32),
    /// Gives one back; killed before it is counted or not.
    Free(usize, bool),
    Survey,
    /// The rover as a death in the middle of a search leaves it.
    Rewind,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..9_u32).prop_map(Op::Take),
        2 => (1..200_u32).prop_map(Op::Take),
        7 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(nth, dies)| Op::Free(nth, dies)),
        1 => Just(Op::Survey),
        1 => Just(Op::Rewind),
    ]
}

/// A store, and what is taken of it.
struct Scene<'a> {
    store: &'a Store,
    books: Books,
    back: AtomicU64,
    taken: Vec<Chunk>,
    /// Nobody died since the last survey.
    counted: bool,
}

fn books() -> Books {
    let zero = || AtomicU64::new(0);
    Books { sequence: zero(), rover: zero(), taken: zero(), seen_back: zero() }
}

impl Scene<'_> {
    /// The longest run of units that are not taken.
    fn longest_free(&self) -> u32 {
        let mut all = self.taken.clone();
        all.sort_unstable_by_key(|chunk| chunk.index);
        all.push(Chunk { index: self.store.units, units: 0 });
        let (mut end, mut longest) = (0, 0);
        for chunk in all {
            longest = longest.max(chunk.index - end);
            end = chunk.index + chunk.units;
        }
        longest
    }

    fn take(&mut self, need: u32) -> TestCaseResult {
        let taken = self.store.take(&self.books, &self.back, need, 7).unwrap();
        match taken {
            Some(chunk) => {
                prop_assert_eq!(chunk.units, need);
                prop_assert!(chunk.index + need <= self.store.units);
                for other in &self.taken {
                    let apart = chunk.index + chunk.units <= other.index
                        || other.index + other.units <= chunk.index;
                    prop_assert!(apart, "{:?} and {:?} overlap", chunk, other);
                }
                self.taken.push(chunk);
            }
            None => {
                let fits = need <= self.longest_free();
                prop_assert!(!fits || !self.counted, "{} of {} fit", need, self.longest_free());
            }
        }
        Ok(())
    }

    fn survey(&mut self) -> TestCaseResult {
        let mut seen = Vec::new();
        let visit = |chunk, _| {
            seen.push(chunk);
            Ok(())
        };
        self.store.visit(&self.books, &self.back, visit).unwrap();
        let mut taken = self.taken.clone();
        taken.sort_unstable_by_key(|chunk| chunk.index);
        prop_assert_eq!(seen, taken);
        self.counted = true;
        Ok(())
    }

    /// The chain leads from end to end; the rover and all that is taken are chunks of it.
    fn check(&self) -> TestCaseResult {
        let (mut at, mut starts, mut used) = (0, Vec::new(), Vec::new());
        while at < self.store.units {
            let chunk = self.store.chunk(at).unwrap();
            starts.push(u64::from(at));
            if !self.store.is_free(chunk) {
                used.push(chunk);
            }
            at += chunk.units;
        }
        prop_assert_eq!(at, self.store.units);
        prop_assert!(starts.contains(&self.books.rover.load(Ordering::Relaxed)));
        let mut taken = self.taken.clone();
        taken.sort_unstable_by_key(|chunk| chunk.index);
        prop_assert_eq!(used, taken);
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> TestCaseResult {
        match *op {
            Op::Take(need) => self.take(need)?,
            Op::Free(nth, dies) => {
                if !self.taken.is_empty() {
                    let chunk = self.taken.swap_remove(nth % self.taken.len());
                    self.store.set_state(chunk, State::FREE);
                    if dies {
                        self.counted = false;
                    } else {
                        self.back.fetch_add(u64::from(chunk.units), Ordering::Relaxed);
                    }
                }
            }
            Op::Survey => self.survey()?,
            Op::Rewind => self.books.rover.store(0, Ordering::Relaxed),
        }
        self.check()
    }
}

fn run(area: &Area, units: u32, ops: &[Op]) -> TestCaseResult {
    let store = Store::new(area, 0, SHIFT, units);
    store.format();
    let (back, taken) = (AtomicU64::new(0), Vec::new());
    let mut scene = Scene { store: &store, books: books(), back, taken, counted: true };
    for op in ops {
        scene.apply(op)?;
    }
    while !scene.taken.is_empty() {
        scene.apply(&Op::Free(0, false))?;
    }
    if !scene.counted {
        scene.survey()?;
    }
    prop_assert!(store.take(&scene.books, &scene.back, units, 7).unwrap().is_some(), "all of it");
    Ok(())
}

/// Shared memory for a store of up to 300 units.
fn memory(tag: &str) -> Segment {
    let name = format!("test-{}-store-{tag}", std::process::id());
    let options = SegmentOptions::new().participants(1).ephemeral(true);
    Segment::create_object(&name, Kind::Bytes, 300 << SHIFT, &options, |_| Ok(())).unwrap()
}

#[test]
fn chunks_never_overlap_and_everything_is_free_at_the_end() {
    let segment = memory("model");
    let ops = prop::collection::vec(op(), 1..300);
    let config =
        ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(units in 1..300_u32, ops in ops)| {
        run(segment.area(), units, &ops)?;
    });
}

#[test]
fn what_a_death_did_not_count_is_found_by_the_next_survey() {
    let segment = memory("uncounted");
    let store = Store::new(segment.area(), 0, SHIFT, 10);
    store.format();
    let (books, back) = (books(), AtomicU64::new(0));
    let take = |need| store.take(&books, &back, need, 7).unwrap();
    let all = take(10).unwrap();
    assert_eq!(take(1), None);
    store.set_state(all, State::FREE);
    assert_eq!(take(1), None, "the counters say that it is full");
    store.visit(&books, &back, |_, _| Ok(())).unwrap();
    assert_eq!(take(10), Some(all));
}
