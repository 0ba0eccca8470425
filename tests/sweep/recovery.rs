//! An earlier victim, dead at a chosen spot, so that the next one has something to recover.

use crate::engine::Lane;
use crate::queue_victim::Act;
use crate::tracee::{Stop, Tracee};
use crate::words::{HEAD_LOCK, LOCK, Words};

/// The word behind each side's lock: `{count, position}`.
pub const TAIL: u64 = LOCK + 8;
const HEAD: u64 = HEAD_LOCK + 8;
/// Where a queue's ring begins, and its length in units of 8 bytes.
const RING: u64 = 1024;
pub const UNITS: u32 = 512;

/// Where the earlier victim dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// It has the write side's lock, and has done nothing.
    TailLocked,
    /// Its messages are committed, and the tail does not count them yet.
    Committed,
    /// The tail counts them, and it still has the lock (or the role).
    Counted,
    /// It has the read side's lock, and has done nothing.
    HeadLocked,
    /// The head has moved, and it still has the lock.
    Taken,
}

/// An earlier victim.
#[derive(Clone, Copy, Debug)]
pub struct Earlier {
    /// The scenario whose victim it is.
    pub scenario: &'static str,
    /// What that does.
    pub act: Act,
    /// Where it dies.
    pub spot: Spot,
}

impl Earlier {
    /// Whether its operation took effect.
    pub fn happened(&self) -> bool {
        matches!(self.spot, Spot::Committed | Spot::Counted | Spot::Taken)
    }

    /// Whether it stands at its spot. `start`: tail and head before its operation.
    fn is_there(&self, words: &Words, pid: i32, start: (u64, u64)) -> Result<bool, String> {
        let (tail, head) = (words.at(TAIL)?, words.at(HEAD)?);
        let role = self.act.produces() || self.act.consumes();
        let owns = |lock| Ok::<bool, String>(role || words.owned_by(lock, pid)?);
        Ok(match self.spot {
            Spot::TailLocked => owns(LOCK)? && (tail, head) == start,
            Spot::Committed => {
                let index = u64::from(tail as u32 % UNITS);
                owns(LOCK)? && tail == start.0 && words.at(RING + index * 8)? != 0
            }
            Spot::Counted => owns(LOCK)? && tail != start.0,
            Spot::HeadLocked => owns(HEAD_LOCK)? && (tail, head) == start,
            Spot::Taken => owns(HEAD_LOCK)? && head != start.1,
        })
    }

    /// Starts it: it stands before its operation.
    pub fn start(&self, name: &str) -> Result<Tracee, String> {
        Tracee::start(&["victim", self.scenario, name, "earlier"])
    }

    /// Leads it to its spot and kills it. The first one of a lane is stepped all the way, to learn
    /// the path.
    pub fn die(&self, lane: &mut Lane, mut victim: Tracee, words: &Words) -> Result<(), String> {
        let start = (words.at(TAIL)?, words.at(HEAD)?);
        let pid = victim.pid();
        let stop = match lane.memory.take() {
            Some((path, k)) => {
                let stop = victim.seek(&path, k)?;
                lane.memory = Some((path, k));
                stop
            }
            None => {
                let mut error = None;
                let path = victim.record_until(&mut || {
                    self.is_there(words, pid, start).unwrap_or_else(|what| {
                        error = Some(what);
                        true
                    })
                })?;
                if let Some(error) = error {
                    return Err(error);
                }
                let k = path.steps.len();
                lane.memory = Some((path, k));
                Stop::Here
            }
        };
        if stop != Stop::Here || !self.is_there(words, pid, start)? {
            return Err(format!("the earlier victim is not {:?}", self.spot));
        }
        victim.kill()
    }
}
