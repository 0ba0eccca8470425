//! The twin of [`crate::segment::Words`]: the ring's memory, every word of it an atomic of the model.

use super::{AtomicU64, Ordering};

/// A ring of words.
pub(crate) struct Words {
    words: Vec<AtomicU64>,
}

impl Words {
    /// A ring of `units` words that was in use for a while: every word holds something old, but the
    /// one at `position`, where the next record comes, is 0.
    pub(crate) fn used(units: u32, position: u32) -> Words {
        assert!(units.is_power_of_two(), "not a ring");
        let old = |index: u32| {
            let next = position & (units - 1);
            if index == next { 0 } else { 0x0123_4567_89ab_cdef + u64::from(index) }
        };
        Words { words: (0..units).map(|index| AtomicU64::new(old(index))).collect() }
    }

    pub(crate) fn units(&self) -> u32 {
        self.words.len() as u32
    }

    pub(crate) fn index(&self, position: u32) -> u32 {
        position & (self.units() - 1)
    }

    pub(crate) fn at(&self, position: u32) -> &AtomicU64 {
        &self.words[self.index(position) as usize]
    }

    fn holds(&self, position: u32, len: usize) -> bool {
        len <= (self.units() - self.index(position)) as usize * 8
    }

    #[track_caller]
    pub(crate) fn copy_in(&self, position: u32, bytes: &[u8]) {
        assert!(self.holds(position, bytes.len()), "record across the ring's end");
        for (at, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_ne_bytes(word);
            self.at(position.wrapping_add(at as u32)).store(word, Ordering::Relaxed);
        }
    }

    #[track_caller]
    pub(crate) fn append_to(&self, position: u32, len: usize, bytes: &mut Vec<u8>) -> bool {
        assert!(self.holds(position, len), "record across the ring's end");
        if bytes.capacity() - bytes.len() < len {
            return false;
        }
        let end = bytes.len() + len;
        for at in 0..len.div_ceil(8) {
            let word = self.at(position.wrapping_add(at as u32)).load(Ordering::Relaxed);
            let rest = (end - bytes.len()).min(8);
            bytes.extend_from_slice(&word.to_ne_bytes()[..rest]);
        }
        true
    }
}
