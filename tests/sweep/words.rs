//! The words of a segment, read through its file: what a test may know of the memory's layout.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::support;

/// Where the header says that the object begins.
const OBJECT_AT: u64 = 96;
/// The lock word of a mutex, and the producers' one of a queue.
pub const LOCK: u64 = 128;
/// The consumers' lock word of a queue.
pub const HEAD_LOCK: u64 = 256;

pub const TID_MASK: u32 = (1 << 30) - 1;
/// In place of a thread id that means nothing here.
pub const FOREIGN: u32 = 1 << 29;
pub const OWNER_DIED: u32 = 1 << 30;

/// The words of one segment.
pub struct Words {
    file: File,
    object: u64,
}

impl Words {
    /// Of the segment `name`.
    pub fn of(name: &str) -> Result<Words, String> {
        let file = OpenOptions::new().read(true).write(true).open(support::file(name));
        let file = file.map_err(|error| format!("{name}: {error}"))?;
        let mut words = Words { file, object: 0 };
        words.object = words.at(OBJECT_AT)?;
        Ok(words)
    }

    /// The word `offset` bytes into the object.
    pub fn at(&self, offset: u64) -> Result<u64, String> {
        let mut bytes = [0; 8];
        let read = self.file.read_exact_at(&mut bytes, self.object + offset);
        read.map_err(|error| format!("read a word: {error}"))?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Where the first part of a shared struct is, within the object.
    pub fn first_part(&self) -> Result<u64, String> {
        // The third of the constants is the length of the type's text, which begins at 128.
        Ok(128 + self.at(16)?.next_multiple_of(128))
    }

    /// All words from `offset` bytes into the object on.
    pub fn all(&self, offset: u64) -> Result<Vec<u64>, String> {
        let say = |error| format!("read all words: {error}");
        let from = self.object + offset;
        let len = self.file.metadata().map_err(say)?.len().saturating_sub(from);
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, from).map_err(say)?;
        let word = |chunk: &[u8]| chunk.try_into().map(u64::from_ne_bytes).unwrap_or(0);
        Ok(bytes.chunks_exact(8).map(word).collect())
    }

    /// Writes the word `offset` bytes into the object, as a participant may have left it.
    pub fn set(&self, offset: u64, word: u64) -> Result<(), String> {
        let written = self.file.write_all_at(&word.to_ne_bytes(), self.object + offset);
        written.map_err(|error| format!("write a word: {error}"))
    }

    /// Whether the lock word at `offset` names the thread `tid`.
    pub fn owned_by(&self, offset: u64, tid: i32) -> Result<bool, String> {
        let low = self.at(offset)? as u32;
        Ok(low & TID_MASK == tid.cast_unsigned())
    }

    /// Whether the lock word at `offset` names a participant of another PID namespace.
    pub fn foreign_owner(&self, offset: u64) -> Result<bool, String> {
        Ok(self.at(offset)? as u32 & FOREIGN != 0)
    }

    /// Whether the lock word at `offset` says that its owner died.
    pub fn owner_died(&self, offset: u64) -> Result<bool, String> {
        Ok(self.at(offset)? as u32 & OWNER_DIED != 0)
    }
}
