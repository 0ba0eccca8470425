//! What lies in a queue's store, read from the segment's file as it is documented: chunks one behind
//! the other, each with a length, a state, a number and a message. An observer of its own.

use std::collections::BTreeMap;

use super::Name;

/// Bytes in front of a message.
const HEADER: u64 = 48;
pub const UNIT: u64 = 64;

pub const FREE: u64 = 0;
pub const LEASED: u64 = 3;
pub const READY: u64 = 4;

/// A chunk as its words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub units: u64,
    pub phase: u64,
    pub attempts: u64,
    /// `{generation:16, slot:16}` of who wrote its state.
    pub owner: u64,
    pub bytes: u64,
}

/// The units that a message takes.
pub fn units(len: usize) -> u64 {
    (len as u64 + HEADER).div_ceil(UNIT)
}

/// The chunks by their places; panics if they do not lead from the store's start to its end.
pub fn chunks(name: &Name) -> BTreeMap<u64, Chunk> {
    chunks_of(&std::fs::read(name.file()).expect("the segment's file"))
}

/// The same of a file's bytes.
pub fn chunks_of(file: &[u8]) -> BTreeMap<u64, Chunk> {
    let word = |at: u64| {
        let at = at as usize;
        u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"))
    };
    let (object, len) = (word(96), word(104));
    let bytes = word(object + 32);
    let store = object + len - bytes;
    assert!(store.is_multiple_of(4096), "a store begins on a page");
    let (mut at, mut all) = (0, BTreeMap::new());
    while at < bytes / UNIT {
        let chunk = store + UNIT * at;
        let state = word(chunk + 8);
        let units = word(chunk) & 0xffff_ffff;
        assert!(units > 0, "the chain is broken at {at}");
        let (phase, attempts) = (state & 0xff, state >> 16 & 0xffff);
        let owner = state >> 32;
        all.insert(at, Chunk { units, phase, attempts, owner, bytes: word(chunk + 32) });
        at += units;
    }
    assert_eq!(at, bytes / UNIT, "the chain leads beyond the store");
    all
}

/// The longest run of free units.
pub fn longest_free(chunks: &BTreeMap<u64, Chunk>) -> u64 {
    let (mut run, mut longest) = (0, 0);
    for chunk in chunks.values() {
        run = if chunk.phase == FREE { run + chunk.units } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// How many chunks are in each phase, and the units of all that are not free.
pub fn count(chunks: &BTreeMap<u64, Chunk>) -> ([usize; 7], u64) {
    let (mut phases, mut used) = ([0; 7], 0);
    for chunk in chunks.values() {
        phases[chunk.phase as usize] += 1;
        used += if chunk.phase == FREE { 0 } else { chunk.units };
    }
    (phases, used)
}
