//! The constants of an object: written once before the segment is published, checked and copied to
//! private memory when it is opened, and never read from the segment again.

use std::sync::atomic::Ordering;

use super::Area;
use super::layout::fnv1a;

/// `N` words that describe an object, followed by their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Constants<const N: usize>([u64; N]);

impl<const N: usize> Constants<N> {
    /// These words.
    pub(crate) const fn new(words: [u64; N]) -> Constants<N> {
        Constants(words)
    }

    /// The words.
    pub(crate) fn words(&self) -> [u64; N] {
        self.0
    }

    /// How many bytes they take.
    pub(crate) const BYTES: usize = (N + 1) * 8;

    fn checksum(&self) -> u64 {
        let mut bytes = Vec::with_capacity(8 * N);
        for word in self.0 {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        fnv1a(&bytes)
    }

    /// Writes them to `offset` of an object that is not published yet.
    pub(crate) fn write(&self, area: &Area, offset: usize) {
        for (at, word) in self.0.iter().enumerate() {
            area.word64(offset + at * 8).store(*word, Ordering::Relaxed);
        }
        area.word64(offset + N * 8).store(self.checksum(), Ordering::Relaxed);
    }

    /// Reads them from `offset`, a multiple of 8; `None` if they are cut off or do not have their
    /// checksum.
    pub(crate) fn read(area: &Area, offset: usize) -> Option<Constants<N>> {
        if area.len() < Self::BYTES || offset > area.len() - Self::BYTES {
            return None;
        }
        let words = std::array::from_fn(|at| area.word64(offset + at * 8).load(Ordering::Relaxed));
        let constants = Constants(words);
        let found = area.word64(offset + N * 8).load(Ordering::Relaxed);
        (found == constants.checksum()).then_some(constants)
    }
}
