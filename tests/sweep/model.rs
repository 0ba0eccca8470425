//! What a queue may hold after a death: as before the victim's operation, or as after it. Everything
//! the survivors see narrows that down, until one is left; if none is, something is wrong.

use std::collections::VecDeque;

use crate::engine::State;
use crate::message;

/// The possible contents of a queue.
pub struct Model {
    candidates: Vec<(State, VecDeque<Vec<u8>>)>,
}

impl Model {
    /// Either of two contents.
    pub fn new(before: &[Vec<u8>], after: &[Vec<u8>]) -> Model {
        let of = |state, list: &[Vec<u8>]| (state, list.iter().cloned().collect());
        Model { candidates: vec![of(State::Before, before), of(State::After, after)] }
    }

    /// The operation cannot have been done.
    pub fn only_before(before: &[Vec<u8>]) -> Model {
        let mut model = Model::new(before, &[]);
        model.candidates.truncate(1);
        model
    }

    /// A survivor has put `message`.
    pub fn put(&mut self, message: &[u8]) {
        for (_, content) in &mut self.candidates {
            content.push_back(message.to_vec());
        }
    }

    /// A survivor has got `message`.
    pub fn got(&mut self, message: &[u8]) -> Result<(), String> {
        let name = message::read(message)?;
        let expected = self.describe();
        self.candidates
            .retain_mut(|(_, content)| content.pop_front().is_some_and(|first| first == message));
        if self.candidates.is_empty() {
            return Err(format!("got {name}, expected the first of {expected}"));
        }
        Ok(())
    }

    /// A survivor has seen so many messages.
    pub fn holds(&mut self, len: usize) -> Result<(), String> {
        let expected = self.describe();
        self.candidates.retain(|(_, content)| content.len() == len);
        if self.candidates.is_empty() {
            return Err(format!("{len} messages are left, expected {expected}"));
        }
        Ok(())
    }

    /// Whether so many messages are possible.
    pub fn may_hold(&self, len: usize) -> bool {
        self.candidates.iter().any(|(_, content)| content.len() == len)
    }

    /// The most messages that are possible.
    pub fn most(&self) -> usize {
        self.candidates.iter().map(|(_, content)| content.len()).max().unwrap_or(0)
    }

    /// The one that is left.
    pub fn state(&self) -> Result<State, String> {
        match self.candidates[..] {
            [(state, _)] => Ok(state),
            _ => Err("nothing the survivors saw tells before from after".into()),
        }
    }

    /// For people: the possible contents.
    pub fn describe(&self) -> String {
        let lists = self.candidates.iter().map(|(_, content)| {
            let mut names: Vec<String> =
                content.iter().map(|m| message::read(m).unwrap_or_default()).collect();
            if names.len() > 6 {
                names.splice(3..names.len() - 2, ["..".to_owned()]);
            }
            format!("[{}]", names.join(" "))
        });
        lists.collect::<Vec<_>>().join(" or ")
    }
}
