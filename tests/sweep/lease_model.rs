//! What a joinable queue may hold after a death: which messages, in which order they are handed out, for
//! which time and why again, and which are dead letters.

use std::collections::VecDeque;

use steadfast::Reason;

use crate::engine::State;
use crate::message;

/// A message as it will be handed out next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub bytes: Vec<u8>,
    pub attempt: u32,
    pub reason: Reason,
}

impl Item {
    pub fn new(bytes: &[u8], attempt: u32, reason: Reason) -> Item {
        Item { bytes: bytes.to_vec(), attempt, reason }
    }

    /// For people.
    pub fn name(&self) -> String {
        let name = message::read(&self.bytes).unwrap_or_else(|error| error);
        format!("{name}#{}{:?}", self.attempt, self.reason)
    }
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub bytes: Vec<u8>,
    pub attempts: u32,
    pub reason: Reason,
}

/// One possible content.
#[derive(Clone, Debug)]
pub struct Candidate {
    state: State,
    items: VecDeque<Item>,
    dead: Vec<Letter>,
    halfway: bool,
}

impl Candidate {
    pub fn new(state: State, items: Vec<Item>) -> Candidate {
        Candidate { state, items: items.into(), dead: Vec::new(), halfway: false }
    }

    /// And these dead letters.
    pub fn and_dead(mut self, dead: Vec<Letter>) -> Candidate {
        self.dead = dead;
        self
    }

    /// Not possible once the operation has returned.
    pub fn halfway(mut self) -> Candidate {
        self.halfway = true;
        self
    }
}

/// All that is possible.
pub struct LeaseModel {
    candidates: Vec<Candidate>,
}

impl LeaseModel {
    /// `finished`: the operation had returned.
    pub fn new(mut candidates: Vec<Candidate>, finished: bool) -> LeaseModel {
        candidates.retain(|candidate| !(finished && candidate.halfway));
        LeaseModel { candidates }
    }

    /// Only what was possible in that state.
    pub fn only(&mut self, state: State) {
        self.candidates.retain(|candidate| candidate.state == state);
    }

    /// A survivor has put a message.
    pub fn put(&mut self, bytes: &[u8]) {
        for candidate in &mut self.candidates {
            candidate.items.push_back(Item::new(bytes, 1, Reason::Never));
        }
    }

    fn narrow(
        &mut self,
        what: impl FnOnce() -> String,
        keep: impl FnMut(&mut Candidate) -> bool,
    ) -> Result<(), String> {
        let expected = self.describe();
        self.candidates.retain_mut(keep);
        if self.candidates.is_empty() {
            return Err(format!("{}, expected {expected}", what()));
        }
        Ok(())
    }

    /// A survivor was handed out the first message.
    pub fn got(&mut self, item: &Item) -> Result<(), String> {
        message::read(&item.bytes)?;
        self.narrow(
            || format!("got {} first", item.name()),
            |candidate| candidate.items.pop_front().is_some_and(|first| first == *item),
        )
    }

    /// A survivor was handed out a message, before anybody looked for the dead.
    pub fn got_early(&mut self, item: &Item) -> Result<(), String> {
        message::read(&item.bytes)?;
        self.narrow(
            || format!("got {}", item.name()),
            |candidate| {
                let at = candidate.items.iter().position(|it| it == item);
                at.and_then(|at| candidate.items.remove(at)).is_some()
            },
        )
    }

    /// A survivor has refused it.
    pub fn nacked(&mut self, item: &Item) {
        let again = Item::new(&item.bytes, item.attempt + 1, Reason::Nacked);
        for candidate in &mut self.candidates {
            candidate.items.push_front(again.clone());
        }
    }

    /// A survivor has counted so many.
    pub fn holds(&mut self, count: usize) -> Result<(), String> {
        self.narrow(|| format!("{count} are unfinished"), |it| it.items.len() == count)
    }

    /// A survivor has seen these dead letters.
    pub fn dead(&mut self, letters: &[Letter]) -> Result<(), String> {
        self.narrow(|| format!("the dead letters {letters:?}"), |it| it.dead == letters)
    }

    /// The most messages that are possible.
    pub fn most(&self) -> usize {
        self.candidates.iter().map(|candidate| candidate.items.len()).max().unwrap_or(0)
    }

    /// The state of those that are left.
    pub fn state(&self) -> Result<State, String> {
        match self.candidates[..] {
            [Candidate { state, .. }] => Ok(state),
            _ => Err("nothing the survivors saw tells before from after".into()),
        }
    }

    fn describe(&self) -> String {
        let lists = self.candidates.iter().map(|candidate| {
            let names: Vec<String> = candidate.items.iter().map(Item::name).collect();
            format!("[{}] and {} dead", names.join(" "), candidate.dead.len())
        });
        lists.collect::<Vec<_>>().join(" or ")
    }
}
