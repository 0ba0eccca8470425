//! Bounds-checked access to bytes that other processes write at the same time.
//!
//! No `&[u8]` is ever made over them: words are atomics, and bytes are copied by relaxed atomic
//! words or by one `rep movsb`, which the compiler cannot look into. Whatever a peer does to the
//! bytes meanwhile, the copy holds *some* bytes, and nothing else happens.

use std::arch::asm;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Copies of at least this many bytes use `rep movsb`, which takes its time to begin.
const STRING_COPY: usize = 512;

/// Smaller ones of at least this many bytes go by 16 at a time, where the processor can; the smallest
/// go by words.
const WIDE_COPY: usize = if cfg!(target_arch = "x86_64") { 16 } else { STRING_COPY };

/// A run of shared bytes, aligned to 8.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    start: *mut u8,
    len: usize,
}

// SAFETY: every access through an Area is atomic or a copy that tolerates concurrent writers.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

impl Area {
    /// The `len` bytes at `start`.
    ///
    /// # Safety
    /// They must be mapped readable and writable for as long as the area (and what is borrowed from
    /// it) is used, `start` must be aligned to 8, and no Rust reference to plain data may cover them.
    pub(crate) unsafe fn new(start: *mut u8, len: usize) -> Area {
        debug_assert!(start.addr().is_multiple_of(8));
        Area { start, len }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of the byte at `offset`, which has `room` bytes behind it.
    ///
    /// # Panics
    /// When they are not inside the area. Offsets are computed from constants that were checked when
    /// the segment was opened, never read from it, so this is a bug of ours if it happens.
    #[inline]
    pub(crate) fn at(&self, offset: usize, room: usize) -> *mut u8 {
        assert!(offset <= self.len && room <= self.len - offset, "offset outside the area");
        self.start.wrapping_add(offset)
    }

    /// The `len` bytes at `offset` (a multiple of 128), as an area of their own.
    pub(crate) fn part(&self, offset: usize, len: usize) -> Area {
        assert!(offset.is_multiple_of(128), "misaligned part");
        Area { start: self.at(offset, len), len }
    }

    /// The 64-bit word at `offset` (a multiple of 8).
    #[inline]
    pub(crate) fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "misaligned word");
        let word = self.at(offset, 8).cast::<u64>();
        // SAFETY: in bounds and aligned (just checked), mapped while the area lives, and only ever
        // accessed as an atomic or by the copies below.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// The 32-bit word at `offset` (a multiple of 4).
    #[inline]
    pub(crate) fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "misaligned word");
        let word = self.at(offset, 4).cast::<u32>();
        // SAFETY: as for word64.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Copies `bytes` to `offset`.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: `to` has room for `bytes` inside the area, and the source is a live slice.
        unsafe { copy_string(to, bytes.as_ptr(), bytes.len()) };
    }

    /// Fills `bytes` from `offset`.
    pub(crate) fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len());
        // SAFETY: as many bytes as the slice has lie at `from` inside the area; the slice is ours.
        unsafe { copy_string(bytes.as_mut_ptr(), from, bytes.len()) };
    }

    /// Appends the `len` bytes at `offset` to `bytes`.
    pub(crate) fn append_to(&self, offset: usize, len: usize, bytes: &mut Vec<u8>) {
        let from = self.at(offset, len);
        bytes.reserve(len);
        let to = bytes.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: `len` bytes lie at `from` inside the area, and the spare capacity has room for them.
        unsafe { copy_string(to, from, len) };
        let len = bytes.len() + len;
        // SAFETY: the `len` bytes behind the old length have just been written, within the capacity.
        unsafe { bytes.set_len(len) };
    }

    /// The arrangement of atomics at `offset`, checked once so that its words can be used without a
    /// check each.
    pub(crate) fn arranged<T: Arrangement>(&self, offset: usize) -> Arranged<T> {
        let start = self.at(offset, size_of::<T>()).cast::<T>();
        assert!(start.is_aligned(), "misaligned arrangement");
        Arranged(start)
    }

    /// `count` arrangements one after the other, checked once.
    pub(crate) fn arranged_slice<T: Arrangement>(
        &self,
        offset: usize,
        count: usize,
    ) -> ArrangedSlice<T> {
        let bytes = size_of::<T>().checked_mul(count).expect("a slice inside of the area");
        let start = self.at(offset, bytes).cast::<T>();
        assert!(start.is_aligned(), "misaligned arrangements");
        ArrangedSlice(start, count)
    }

    /// The `units` 8-byte words from `offset` on, as a ring. `units` must be a power of two.
    pub(crate) fn ring(&self, offset: usize, units: u32) -> Words {
        assert!(offset.is_multiple_of(8) && units.is_power_of_two(), "not a ring");
        let first = self.at(offset, units as usize * 8).cast::<u64>();
        Words { first, mask: units - 1 }
    }
}

/// A struct that can lie anywhere in shared memory, whatever the bytes there are.
///
/// # Safety
/// It must be `repr(C)` and consist of atomics only.
pub(crate) unsafe trait Arrangement {}

/// An [`Arrangement`] in a segment. Whoever keeps it keeps the segment too.
#[derive(Debug)]
pub(crate) struct Arranged<T: Arrangement>(*const T);

// SAFETY: atomics may be used by any thread.
unsafe impl<T: Arrangement> Send for Arranged<T> {}
// SAFETY: as above.
unsafe impl<T: Arrangement> Sync for Arranged<T> {}

impl<T: Arrangement> Arranged<T> {
    /// The address of what lies behind it.
    #[inline]
    pub(crate) fn end(&self) -> *mut u8 {
        self.0.wrapping_add(1).cast_mut().cast()
    }
}

impl<T: Arrangement> std::ops::Deref for Arranged<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: in bounds and aligned (checked when it was made), mapped while its keeper keeps the
        // segment, and valid for every bit pattern (the trait's contract).
        unsafe { &*self.0 }
    }
}

/// Several [`Arrangement`]s in a row. Whoever keeps them keeps the segment too.
#[derive(Debug)]
pub(crate) struct ArrangedSlice<T: Arrangement>(*const T, usize);

// SAFETY: atomics may be used by any thread.
unsafe impl<T: Arrangement> Send for ArrangedSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Arrangement> Sync for ArrangedSlice<T> {}

impl<T: Arrangement> std::ops::Deref for ArrangedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: as for Arranged; `arranged_slice` has checked that all of them are in bounds.
        unsafe { std::slice::from_raw_parts(self.0, self.1) }
    }
}

/// A ring of 64-bit words in shared memory, addressed by positions that grow for ever: a position is
/// masked to an index, so that no value read from the segment can lead outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    first: *mut u64,
    mask: u32,
}

// SAFETY: as for Area.
unsafe impl Send for Words {}
// SAFETY: as for Area.
unsafe impl Sync for Words {}

impl Words {
    /// How many words there are.
    #[inline]
    pub(crate) fn units(&self) -> u32 {
        self.mask + 1
    }

    /// The index of a position.
    #[inline]
    pub(crate) fn index(&self, position: u32) -> u32 {
        position & self.mask
    }

    #[inline]
    fn address(&self, position: u32) -> *mut u64 {
        self.first.wrapping_add(self.index(position) as usize)
    }

    /// The word at a position.
    #[inline]
    pub(crate) fn at(&self, position: u32) -> &AtomicU64 {
        // SAFETY: the index is masked, so the word lies inside the ring, which was checked to lie
        // inside its area when it was made; the area outlives what is borrowed through `self`
        // because the queue holds the segment.
        unsafe { AtomicU64::from_ptr(self.address(position)) }
    }

    /// Whether `len` bytes at `offset` bytes behind `position` lie before the ring's end.
    #[inline]
    fn holds(&self, position: u32, offset: usize, len: usize) -> bool {
        let end = (self.units() - self.index(position)) as usize * 8;
        offset <= end && len <= end - offset
    }

    /// Tells the processor that the word at `position` will be written, so that it fetches its cache
    /// line for that.
    #[inline(always)]
    pub(crate) fn expect_write(&self, position: u32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which changes nothing and cannot fault.
        unsafe {
            asm!(
                "prefetchw [{}]",
                in(reg) self.address(position),
                options(nostack, preserves_flags, readonly)
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = position;
    }

    /// Copies `bytes` to `position`; they must fit before the ring's end. The rest of the last word
    /// is set to zero.
    #[inline]
    pub(crate) fn copy_in(&self, position: u32, bytes: &[u8]) {
        assert!(self.holds(position, 0, bytes.len()), "record across the ring's end");
        let to = self.address(position);
        if bytes.len() >= STRING_COPY {
            // SAFETY: `to` has room for `bytes` (just checked), and the source is a live slice.
            unsafe { copy_string(to.cast(), bytes.as_ptr(), bytes.len()) };
            return;
        }
        if bytes.len() >= WIDE_COPY {
            if !bytes.len().is_multiple_of(8) {
                // SAFETY: the last word of a record is its own to its end, before the ring's end.
                let last = unsafe { AtomicU64::from_ptr(to.wrapping_add(bytes.len() / 8)) };
                last.store(0, Ordering::Relaxed);
            }
            // SAFETY: `to` has room for `bytes` (just checked), and the source is a live slice; they
            // are enough.
            unsafe { copy_wide(to.cast(), bytes.as_ptr(), bytes.len()) };
            return;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for (at, word) in words.iter().enumerate() {
            // SAFETY: the record's words lie before the ring's end (just checked).
            let place = unsafe { AtomicU64::from_ptr(to.wrapping_add(at)) };
            place.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            // SAFETY: as above; the last word of a record is its own to its end.
            let place = unsafe { AtomicU64::from_ptr(to.wrapping_add(words.len())) };
            place.store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
    }

    /// Appends the `len` bytes at `position` to `bytes`, without allocating; they must lie before
    /// the ring's end. False (and nothing is appended) when the spare capacity is too small.
    #[inline]
    pub(crate) fn append_to(&self, position: u32, len: usize, bytes: &mut Vec<u8>) -> bool {
        assert!(self.holds(position, 0, len), "record across the ring's end");
        let spare = bytes.spare_capacity_mut();
        if spare.len() < len {
            return false;
        }
        let spare = &mut spare[..len];
        let from = self.address(position);
        if len >= STRING_COPY {
            // SAFETY: `len` bytes lie at `from` inside the ring (just checked), and the spare
            // capacity has room for them.
            unsafe { copy_string(spare.as_mut_ptr().cast(), from.cast(), len) };
        } else if len >= WIDE_COPY {
            // SAFETY: as above, and they are enough.
            unsafe { copy_wide(spare.as_mut_ptr().cast(), from.cast(), len) };
        } else {
            let (words, rest) = spare.as_chunks_mut::<8>();
            let whole = words.len();
            for (at, word) in words.iter_mut().enumerate() {
                // SAFETY: the record's words lie before the ring's end (just checked).
                let place = unsafe { AtomicU64::from_ptr(from.wrapping_add(at)) };
                word.write_copy_of_slice(&place.load(Ordering::Relaxed).to_ne_bytes());
            }
            if !rest.is_empty() {
                // SAFETY: as above; the ring has whole words only.
                let place = unsafe { AtomicU64::from_ptr(from.wrapping_add(whole)) };
                let last = place.load(Ordering::Relaxed).to_ne_bytes();
                let len = rest.len();
                rest.write_copy_of_slice(&last[..len]);
            }
        }
        let len = bytes.len() + len;
        // SAFETY: the `len` bytes behind the old length have just been written, within the capacity.
        unsafe { bytes.set_len(len) };
        true
    }

    /// Copies `bytes` to `offset` bytes behind `position`; false when they do not fit before the
    /// ring's end.
    pub(crate) fn write_at(&self, position: u32, offset: usize, bytes: &[u8]) -> bool {
        if !self.holds(position, offset, bytes.len()) {
            return false;
        }
        let to = self.address(position).cast::<u8>().wrapping_add(offset);
        // SAFETY: `to` has room for `bytes` inside the ring (just checked).
        unsafe { copy_string(to, bytes.as_ptr(), bytes.len()) };
        true
    }

    /// Fills `bytes` from `offset` bytes behind `position`; false when that is beyond the end.
    pub(crate) fn read_at(&self, position: u32, offset: usize, bytes: &mut [u8]) -> bool {
        if !self.holds(position, offset, bytes.len()) {
            return false;
        }
        let from = self.address(position).cast::<u8>().wrapping_add(offset);
        // SAFETY: as many bytes as the slice has lie at `from` inside the ring (just checked).
        unsafe { copy_string(bytes.as_mut_ptr(), from, bytes.len()) };
        true
    }

    /// The address of a position's word, for the one caller that makes a slice on its own risk.
    pub(crate) fn pointer(&self, position: u32) -> *const u8 {
        self.address(position).cast_const().cast()
    }
}

/// [`copy_string`] by 16 bytes at a time; the last 16 may overlap the ones before.
///
/// # Safety
/// As for [`copy_string`], and `len` must be at least [`WIDE_COPY`].
#[inline]
unsafe fn copy_wide(to: *mut u8, from: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as for `copy_string`; every access lies in the first `len` bytes of either range, as
    // there are 16 at least (this function's contract).
    unsafe {
        asm!(
            "2:",
            "movups {bytes}, [{from} + {at}]",
            "movups [{to} + {at}], {bytes}",
            "add {at}, 16",
            "cmp {at}, {last}",
            "jb 2b",
            "movups {bytes}, [{from} + {last}]",
            "movups [{to} + {last}], {bytes}",
            at = inout(reg) 0_usize => _,
            last = in(reg) len - 16,
            from = in(reg) from,
            to = in(reg) to,
            bytes = out(xmm_reg) _,
            options(nostack)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: this function's contract.
    unsafe {
        copy_string(to, from, len)
    };
}

/// Copies `len` bytes, either side of which may be written by other processes meanwhile.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, and they must not overlap.
#[inline]
unsafe fn copy_string(to: *mut u8, from: *const u8, len: usize) {
    // The instruction runs outside of what the compiler reasons about, so a concurrent writer is
    // not a data race of the Rust program: the bytes are what the processor saw.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the ranges are valid (this function's contract), the direction flag is clear by the
    // calling convention, and the clobbered registers are declared.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..len {
        // SAFETY: inside the readable range (this function's contract); volatile, so that a
        // concurrent writer can change the value but nothing else.
        let byte = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: inside the writable range (this function's contract).
        unsafe { to.wrapping_add(at).write_volatile(byte) };
    }
}
