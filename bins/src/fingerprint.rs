//! A hash of many items that does not depend on their order.
//!
//! Each item is hashed with XXH3 to 128 bits, taken as two numbers of 64 bits, and each of the two
//! is summed modulo 2^64. The hashes of several programs are added in the same way, half by half,
//! and a shell can do that: `printf %016x%016x $((0x$a1 + 0x$b1)) $((0x$a2 + 0x$b2))`. So three
//! producers and two consumers agree exactly if nothing was lost, doubled or changed, except by an
//! adversary: the hash finds accidents, it is no signature.
#![forbid(unsafe_code)]

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// How many items were added so far, how many bytes they have, and their hash where it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    hashing: bool,
    high: u64,
    low: u64,
    /// Items added.
    pub items: u64,
    /// Bytes of all items.
    pub bytes: u64,
}

impl Fingerprint {
    /// Of no items. Without `hashing` it only counts.
    pub fn new(hashing: bool) -> Fingerprint {
        Fingerprint { hashing, high: 0, low: 0, items: 0, bytes: 0 }
    }

    /// Adds an item.
    pub fn add(&mut self, item: &[u8]) {
        if self.hashing {
            let hash = xxh3_128(item);
            self.high = self.high.wrapping_add((hash >> 64) as u64);
            self.low = self.low.wrapping_add(hash as u64);
        }
        self.items += 1;
        self.bytes += item.len() as u64;
    }

    /// The hash alone, where it is wanted: 32 hexadecimal digits.
    pub fn hash(&self) -> Option<String> {
        self.hashing.then(|| format!("{:016x}{:016x}", self.high, self.low))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(hash) = self.hash() {
            write!(f, "hash={hash} ")?;
        }
        write!(f, "items={} bytes={}", self.items, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(items: &[&str]) -> Fingerprint {
        let mut all = Fingerprint::new(true);
        items.iter().for_each(|item| all.add(item.as_bytes()));
        all
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        assert_eq!(of(&["a", "", "b"]), of(&["b", "a", ""]));
        for other in [&["a", "b"][..], &["a", "", "b", ""], &["ab", "", ""], &["a", "", "c"]] {
            assert_ne!(of(&["a", "", "b"]).hash(), of(other).hash());
        }
        assert_ne!(of(&["a", "a"]).hash(), of(&["b", "b"]).hash());
    }

    #[test]
    fn the_text_is_fixed() {
        assert_eq!(of(&[]).to_string(), "hash=00000000000000000000000000000000 items=0 bytes=0");
        // XXH3-128 of the empty input, as its specification gives it.
        assert_eq!(of(&[""]).hash().unwrap(), "99aa06d3014798d86001c324468d497f");
    }
}
