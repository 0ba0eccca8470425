//! Memory that the parent and its peers share. It has no name and is gone with the last of them, also
//! when all are killed.

use std::fs::File;
use std::hint::spin_loop;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

use super::{Result, wrong};

/// How many lock cells there are, and the bytes of each.
pub const CELLS: usize = 12;
const CELL: usize = 512;

/// A word with a pair of cache lines of its own: processors fetch lines in pairs.
#[repr(C, align(128))]
struct Line<T>(T);

#[repr(C)]
struct Shared {
    gate: Line<AtomicU64>,
    forth: Line<AtomicU64>,
    back: Line<AtomicU64>,
    bells: [Line<AtomicU32>; 2],
    counters: [Line<AtomicU64>; CELLS],
    cells: [Line<[AtomicU64; CELL / 8]>; CELLS],
}

/// See the module's documentation.
pub struct Board {
    file: File,
    shared: NonNull<Shared>,
}

impl Board {
    /// A new board, all zero.
    pub fn new() -> Result<Board> {
        let file = File::from(rustix::fs::memfd_create(c"steadfast-bench", MemfdFlags::CLOEXEC)?);
        file.set_len(size_of::<Shared>() as u64)?;
        Board::map(file)
    }

    /// The board that another process has at [`Board::path`].
    pub fn open(path: &str) -> Result<Board> {
        Board::map(File::options().read(true).write(true).open(path)?)
    }

    /// Where other processes find this board for as long as this one lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    fn map(file: File) -> Result<Board> {
        if file.metadata()?.len() != size_of::<Shared>() as u64 {
            return wrong("the board has another size");
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let len = size_of::<Shared>();
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, prot, MapFlags::SHARED, file.as_fd(), 0)
        }?;
        let Some(shared) = NonNull::new(start.cast()) else { return wrong("mapped at 0") };
        Ok(Board { file, shared })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: as many bytes as Shared has are mapped there, aligned to a page, until this board is
        // dropped; every bit pattern is valid, and all of it is atomic.
        unsafe { self.shared.as_ref() }
    }

    /// Waits until `arrivals` processes in all have come to the gate.
    pub fn pass_gate(&self, arrivals: u64) {
        let gate = &self.shared().gate.0;
        gate.fetch_add(1, Ordering::AcqRel);
        let mut tries = 0_u64;
        while gate.load(Ordering::Acquire) < arrivals {
            tries += 1;
            // There may be more processes than processors.
            if tries.is_multiple_of(1000) { std::thread::yield_now() } else { spin_loop() }
        }
    }

    /// One side of `rounds` round trips of a cache line between two processes, both of which wait by
    /// polling alone: what no protocol between them can be faster than.
    pub fn bounce(&self, first: bool, rounds: u64) -> Duration {
        let (forth, back) = (&self.shared().forth.0, &self.shared().back.0);
        let base = forth.load(Ordering::Acquire).min(back.load(Ordering::Acquire));
        let start = Instant::now();
        for round in base + 1..=base + rounds {
            if first {
                forth.store(round, Ordering::Release);
                while back.load(Ordering::Acquire) != round {
                    spin_loop_tightly();
                }
            } else {
                while forth.load(Ordering::Acquire) != round {
                    spin_loop_tightly();
                }
                back.store(round, Ordering::Release);
            }
        }
        start.elapsed()
    }

    /// One side of `rounds` round trips between two processes that always sleep in the kernel until
    /// the other wakes them: what no blocking protocol can be faster than. The first pauses for `gap`
    /// before each, so that the other really sleeps. Gives the time without the pauses.
    pub fn ring_bells(&self, first: bool, rounds: u64, gap: Duration) -> Duration {
        let [forth, back] = &self.shared().bells;
        let mut time = Duration::ZERO;
        for _ in 0..rounds {
            if first {
                std::thread::sleep(gap);
                let start = Instant::now();
                ring(&forth.0);
                wait_for_ring(&back.0);
                time += start.elapsed();
            } else {
                wait_for_ring(&forth.0);
                ring(&back.0);
            }
        }
        time
    }

    /// The counter that belongs to a lock cell; changed under its lock by a load and a store.
    pub fn counter(&self, at: usize) -> &AtomicU64 {
        &self.shared().counters[at].0
    }

    /// The bytes of a lock cell, aligned to 128.
    pub fn cell(&self, at: usize) -> *mut u8 {
        self.shared().cells[at].0[0].as_ptr().cast()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; what was lent of it was borrowed from this board.
        let _ = unsafe { rustix::mm::munmap(self.shared.as_ptr().cast(), size_of::<Shared>()) };
    }
}

/// No `pause` instruction: it takes longer than a line between near processors.
#[inline(always)]
fn spin_loop_tightly() {}

fn ring(bell: &AtomicU32) {
    bell.store(1, Ordering::Release);
    let _ = rustix::thread::futex::wake(bell, rustix::thread::futex::Flags::empty(), 1);
}

fn wait_for_ring(bell: &AtomicU32) {
    while bell.swap(0, Ordering::Acquire) == 0 {
        let _ = rustix::thread::futex::wait(bell, rustix::thread::futex::Flags::empty(), 0, None);
    }
}
