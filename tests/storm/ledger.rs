//! What the children leave behind for the account, in a way that SIGKILL cannot tear: every entry
//! is one aligned 64-bit store into memory that the controller reads after the child is gone. It is
//! an anonymous file mapped here, not a segment: the witness owes nothing to what it judges.
//!
//! One seat per child; the next incarnation of the same seat starts only after the controller has
//! reaped the one before and read its entries.
//!
//! | word | a producer's seat | a consumer's seat |
//! |---|---|---|
//! | `FIRST` | messages it will have put when the put under way returns | messages the get under way may take, 0 outside a get |
//! | `SECOND` | messages whose put has returned | receipts written to the log |
//! | `DRAINED` | | receipts the controller has read |
//! | `LOG` | | a ring of receipts, each the message's incarnation and number |

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

const MOOD: usize = 0;
const STOPPING: usize = 8;
const SEATS: usize = 16;

const FIRST: usize = 0;
const SECOND: usize = 8;
const DRAINED: usize = 16;
const LOG: usize = 24;
const LOG_ENTRIES: u64 = 16 * 1024;
const SEAT: usize = LOG + LOG_ENTRIES as usize;

/// Sequence numbers use this many bits of a receipt, the incarnation the rest.
const SEQUENCE_BITS: u32 = 40;

/// Who waits for whom at the moment; children look at it before every operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Everybody works as fast as possible.
    Rush = 0,
    /// Producers pause between puts, so consumers sleep.
    SlowProducers = 1,
    /// Consumers pause between gets, so the queue fills and producers sleep.
    SlowConsumers = 2,
}

impl Mood {
    pub const ALL: [Mood; 3] = [Mood::Rush, Mood::SlowProducers, Mood::SlowConsumers];
}

/// The memory with the seats. It is never unmapped: its owner lives as long as the process.
pub struct Ledger {
    words: NonNull<u64>,
    count: usize,
    /// The controller's descriptor, through which the children open the memory.
    path: String,
    _file: Option<OwnedFd>,
}

impl Ledger {
    /// The controller makes it.
    pub fn create(seats: usize) -> io::Result<Ledger> {
        let count = SEATS + seats * SEAT;
        let file = memfd_create("storm-ledger", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, count as u64 * 8)?;
        let words = map(&file, count)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(Ledger { words, count, path, _file: Some(file) })
    }

    /// A child opens it while the controller lives.
    pub fn open(path: &str) -> io::Result<Ledger> {
        let file = File::options().read(true).write(true).open(path)?;
        let count = file.metadata()?.len() as usize / 8;
        let words = map(&OwnedFd::from(file), count)?;
        Ok(Ledger { words, count, path: path.to_owned(), _file: None })
    }

    /// What [`Ledger::open`] takes.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "outside the ledger");
        // SAFETY: the index is inside the mapping, which is never unmapped.
        let word = unsafe { self.words.add(index) };
        // SAFETY: the word is mapped, aligned, and all processes use it as an atomic only.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }

    fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    pub fn set_mood(&self, mood: Mood) {
        self.store(MOOD, mood as u64);
    }

    pub fn mood(&self) -> Mood {
        Mood::ALL[self.load(MOOD) as usize % Mood::ALL.len()]
    }

    pub fn set_stopping(&self, stop: bool) {
        self.store(STOPPING, u64::from(stop));
    }

    pub fn stopping(&self) -> bool {
        self.load(STOPPING) != 0
    }

    pub fn seat(&self, number: usize) -> Seat<'_> {
        Seat { ledger: self, base: SEATS + number * SEAT }
    }
}

fn map(file: &OwnedFd, words: usize) -> io::Result<NonNull<u64>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the address, so nothing that exists is replaced.
    let start = unsafe { mmap(null_mut(), words * 8, access, MapFlags::SHARED, file, 0) }?;
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
}

/// One child's part of the ledger.
pub struct Seat<'a> {
    ledger: &'a Ledger,
    base: usize,
}

impl Seat<'_> {
    fn load(&self, word: usize) -> u64 {
        self.ledger.load(self.base + word)
    }

    fn store(&self, word: usize, value: u64) {
        self.ledger.store(self.base + word, value);
    }

    /// The controller, before the next incarnation sits down.
    pub fn clear(&self) {
        self.store(FIRST, 0);
        self.store(SECOND, 0);
        self.store(DRAINED, 0);
    }

    /// A producer, before the put: so many messages it will have put in all.
    pub fn intend(&self, messages: u64) {
        self.store(FIRST, messages);
    }

    /// A producer, after the put.
    pub fn commit(&self, messages: u64) {
        self.store(SECOND, messages);
    }

    pub fn intended(&self) -> u64 {
        self.load(FIRST)
    }

    pub fn committed(&self) -> u64 {
        self.load(SECOND)
    }

    /// A consumer, before a get that takes at most `messages`.
    pub fn enter_get(&self, messages: u64) {
        self.store(FIRST, messages);
    }

    /// A consumer, when the receipts of its get are written.
    pub fn leave_get(&self) {
        self.store(FIRST, 0);
    }

    /// The most messages that the consumer may have taken and not yet written down.
    pub fn in_get(&self) -> u64 {
        self.load(FIRST)
    }

    /// A consumer: is there room for `more` receipts after the `written` ones?
    pub fn has_room(&self, written: u64, more: u64) -> bool {
        written + more - self.load(DRAINED) <= LOG_ENTRIES
    }

    /// A consumer: the receipts of one get become true all at once, with the last store.
    pub fn write_receipts(&self, written: u64, receipts: &[(u64, u64)]) {
        let mut total = written;
        for (incarnation, sequence) in receipts {
            let at = LOG + (total % LOG_ENTRIES) as usize;
            self.store(at, incarnation << SEQUENCE_BITS | sequence);
            total += 1;
        }
        self.store(SECOND, total);
    }

    /// The controller: every receipt since the last call. Returns how many there were.
    pub fn drain(&self, mut each: impl FnMut(u64, u64)) -> u64 {
        let (from, to) = (self.load(DRAINED), self.load(SECOND));
        for number in from..to {
            let receipt = self.load(LOG + (number % LOG_ENTRIES) as usize);
            each(receipt >> SEQUENCE_BITS, receipt & ((1 << SEQUENCE_BITS) - 1));
        }
        if to != from {
            self.store(DRAINED, to);
        }
        to - from
    }
}
