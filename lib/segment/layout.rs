//! Where everything lies: all byte arithmetic of a segment, with nothing but numbers.
//!
//! ```text
//! 0                     header, one page
//! 4096                  participant slots, 64 bytes each
//! next multiple of 4096 the object
//! next multiple of 4096 end of the file
//!
//! 2^40 - 32             lock byte of the creator, until the segment is published
//! 2^40 - 31             lock byte of all that are attached, shared; exclusive: being removed
//! 2^40 - 16 + role      lock byte of a single role
//! 2^40 + slot           lock byte of the process in a slot
//! ```
//! The lock bytes are beyond the end of any reasonable file; locks need no bytes under them.

/// Bytes of the header.
pub(crate) const HEADER: usize = 4096;

/// The unit of the file's parts: the page of x86-64.
const PAGE: u64 = 4096;

/// Bytes of one participant slot.
pub(crate) const SLOT: usize = 64;

/// The most participants a segment can have.
pub(crate) const MOST_PARTICIPANTS: u16 = 4096;

/// The largest object: half of what a process can address on x86-64, and far from any overflow. (The
/// lock bytes may lie inside such a file; they are numbers, and lock no data.)
pub(crate) const LARGEST_OBJECT: u64 = 1 << 46;

/// The lock byte of a creator.
pub(crate) const CREATOR_BYTE: u64 = (1 << 40) - 32;

/// The lock byte that everybody attached shares.
pub(crate) const ATTACH_BYTE: u64 = (1 << 40) - 31;

/// The lock byte of the first role; the others follow.
pub(crate) const ROLE_BYTE: u64 = (1 << 40) - 16;

/// The lock byte of the first slot; the others follow.
pub(crate) const SLOT_BYTE: u64 = 1 << 40;

/// Where the parts of one segment are. All fields follow from the first two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// How many participant slots.
    pub(crate) participants: u16,
    /// Bytes of the object.
    pub(crate) object_len: u64,
    /// Where the slots begin.
    pub(crate) participants_at: u64,
    /// Where the object begins.
    pub(crate) object_at: u64,
    /// Bytes of the file.
    pub(crate) total: u64,
}

impl Layout {
    /// The layout for so many participants and an object of so many bytes; `None` when either is 0
    /// or too large.
    pub(crate) fn new(participants: u16, object_len: u64) -> Option<Layout> {
        let possible = (1..=MOST_PARTICIPANTS).contains(&participants)
            && (1..=LARGEST_OBJECT).contains(&object_len);
        if !possible {
            return None;
        }
        // None of the sums can overflow: the limits above are far below 2^63.
        let participants_at = HEADER as u64;
        let object_at =
            (participants_at + u64::from(participants) * SLOT as u64).next_multiple_of(PAGE);
        let total = (object_at + object_len).next_multiple_of(PAGE);
        usize::try_from(total).ok()?;
        Some(Layout { participants, object_len, participants_at, object_at, total })
    }
}

/// The layout's numbers as offsets into a mapping; [`Layout::new`] checked that they fit.
impl Layout {
    /// Where slot `slot` (from 0) begins.
    pub(crate) fn slot_at(&self, slot: u16) -> usize {
        self.participants_at as usize + usize::from(slot) * SLOT
    }

    /// Bytes of the file.
    pub(crate) fn mapped(&self) -> usize {
        self.total as usize
    }
}

/// The checksum of constants: FNV-1a, 64 bits. Every step maps the state one-to-one, so a single
/// changed byte always changes the result.
pub(crate) const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
