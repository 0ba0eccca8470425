//! Lists of what is where in a joinable queue: what a real one must agree with.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use steadfast::{PutError, Reason, Shutdown};

use crate::model::{End, Plan};
use crate::support::{Name, chain};

/// The delay of a message that comes back in a moment.
pub const MOMENT: Duration = Duration::from_micros(300);

/// A message, and what became of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub number: usize,
    pub bytes: Vec<u8>,
    pub attempts: u32,
    pub reason: Reason,
}

/// The lists. Messages leave them with their numbers, which grow in the order of puts.
pub struct Model {
    pub plan: Plan,
    pub max_len: usize,
    pub next: usize,
    pub queued: VecDeque<Item>,
    pub leased: usize,
    pub by_value: VecDeque<Item>,
    pub ready: BTreeMap<usize, Item>,
    /// With the earliest and the latest time at which it is due.
    pub delayed: Vec<(Instant, Instant, Item)>,
    pub dead: BTreeMap<usize, Item>,
    pub state: Option<Shutdown>,
    /// What a shutdown discarded stays in the store.
    pub discarded: usize,
}

impl Model {
    pub fn new(plan: &Plan, max_len: usize) -> Model {
        Model {
            plan: plan.clone(),
            max_len,
            next: 0,
            queued: VecDeque::new(),
            leased: 0,
            by_value: VecDeque::new(),
            ready: BTreeMap::new(),
            delayed: Vec::new(),
            dead: BTreeMap::new(),
            state: None,
            discarded: 0,
        }
    }

    pub fn now(&self) -> bool {
        self.state == Some(Shutdown::Now)
    }

    pub fn item(&mut self, len: usize) -> Item {
        self.next += 1;
        let number = self.next;
        let mut bytes: Vec<u8> = (0..len).map(|at| (number * 131 + at) as u8).collect();
        bytes[..4].copy_from_slice(&(number as u32).to_ne_bytes());
        Item { number, bytes, attempts: 0, reason: Reason::Never }
    }

    /// Judges what a put of these messages answered; `name` tells what room there is.
    pub fn put(
        &mut self,
        items: Vec<Item>,
        result: &Result<(), PutError>,
        name: &Name,
    ) -> TestCaseResult {
        let need: u64 = items.iter().map(|item| chain::units(item.bytes.len())).sum();
        let longest = items.iter().map(|item| item.bytes.len()).max().unwrap_or(0);
        let too_many = self.plan.maxsize > 0 && items.len() > self.plan.maxsize;
        let all = chain::units(self.max_len);
        match result {
            Ok(()) => {
                let queued = self.queued.len() + items.len();
                prop_assert!(self.plan.maxsize == 0 || queued <= self.plan.maxsize);
                prop_assert!(self.state.is_none(), "put after the shutdown");
                self.queued.extend(items);
            }
            Err(PutError::Full) => {
                let chunks = chain::chunks(name);
                let line =
                    self.plan.maxsize > 0 && self.queued.len() + items.len() > self.plan.maxsize;
                let room = chain::longest_free(&chunks);
                prop_assert!(need <= all && !too_many, "full, and it can never fit");
                prop_assert!(line || room < need, "full, and {} of {} units fit", need, room);
            }
            Err(PutError::TooLarge { .. }) => {
                prop_assert!(longest > self.max_len || need > all || too_many, "not too large");
            }
            Err(PutError::Closed) => prop_assert!(self.state.is_some(), "closed"),
            Err(other) => prop_assert!(false, "put: {}", other),
        }
        Ok(())
    }

    /// Takes what a get gave off its list. `times`: before and after the get.
    pub fn get(&mut self, got: Option<&Item>, times: (Instant, Instant)) -> TestCaseResult {
        if self.now() {
            prop_assert!(got.is_none(), "got after the end");
            return Ok(());
        }
        let surely = |delayed: &(Instant, Instant, Item)| delayed.1 <= times.0;
        let perhaps = |delayed: &(Instant, Instant, Item)| delayed.0 <= times.1;
        let due = self.delayed.iter().filter(|delayed| surely(delayed));
        let due = due.map(|(.., item)| item.number);
        let first = due.chain(self.ready.keys().copied()).min();
        let Some(got) = got else {
            prop_assert!(first.is_none() && self.queued.is_empty(), "nothing, with {:?}", first);
            return Ok(());
        };
        if let Some(first) = first {
            prop_assert!(got.number <= first, "{} before {}", got.number, first);
        }
        let late = self.delayed.iter().position(|delayed| perhaps(delayed) && delayed.2 == *got);
        let found = match (self.ready.remove(&got.number), late) {
            (Some(item), _) => Some(item),
            (None, Some(at)) => Some(self.delayed.swap_remove(at).2),
            (None, None) if first.is_none() => self.queued.pop_front(),
            (None, None) => None,
        };
        prop_assert_eq!(found.as_ref(), Some(got));
        Ok(())
    }

    /// A message comes back.
    pub fn back(&mut self, mut item: Item, end: End, times: (Instant, Instant)) {
        let untouched = matches!(end, End::Release);
        let limit = u32::from(self.plan.max_deliveries);
        item.reason = match end {
            End::Release => Reason::Released,
            End::Drop => Reason::Dropped,
            _ => Reason::Nacked,
        };
        item.attempts -= u32::from(untouched);
        let number = item.number;
        if self.now() {
        } else if !untouched && limit > 0 && item.attempts >= limit {
            self.dead.insert(number, item);
            while self.dead.len() > self.plan.max_dead_letters as usize {
                self.dead.pop_first();
            }
        } else if let End::After(later) = end {
            let delay = if later { MOMENT } else { Duration::ZERO };
            self.delayed.push((times.0 + delay, times.1 + delay, item));
        } else {
            self.ready.insert(number, item);
        }
    }

    pub fn inside(&self) -> usize {
        self.queued.len() + self.ready.len() + self.delayed.len()
    }

    pub fn unfinished(&self) -> usize {
        self.inside() + self.leased + self.by_value.len()
    }

    pub fn shutdown(&mut self, how: Shutdown) -> usize {
        let inside = self.inside();
        match (how, self.now()) {
            (Shutdown::Now, false) => {
                self.discarded = self.queued.len();
                self.queued.clear();
                self.ready.clear();
                self.delayed.clear();
                self.state = Some(how);
                inside
            }
            (Shutdown::Drain, false) => {
                self.state = Some(how);
                0
            }
            _ => 0,
        }
    }
}
