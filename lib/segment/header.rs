//! The first page of a segment: constants, written once before the segment is published.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u64 | magic: the bytes `STEADFST` |
//! | 8 | u32 | layout version |
//! | 12 | u32 | kind of the object |
//! | 16 | \[u8; 24\] | version of the crate that made it, ASCII, padded with zeros |
//! | 40 | u64 | ABI hash: sizes, offsets, byte order |
//! | 48 | u64 | bytes of the file |
//! | 56 | \[u8; 16\] | uuid: random |
//! | 72 | u64 | inode number of the creator's PID namespace, 0 = unknown |
//! | 80 | u32 | flags: bit 0 = ephemeral |
//! | 84 | u32 | participants |
//! | 88 | u64 | where the participants are |
//! | 96 | u64 | where the object is |
//! | 104 | u64 | bytes of the object |
//! | 112 | u64 | when it was made: nanoseconds since 1970 |
//! | 120 | u32 | process id of the creator, in its own PID namespace |
//! | 124 | | zeros |
//! | 4088 | u64 | checksum: FNV-1a of the 4088 bytes before |
//!
//! Everything is checked when a segment is opened, on a private copy, and never read again. FNV-1a
//! maps the state one-to-one at every byte, so a single changed byte always changes the checksum.

use super::layout::{self, HEADER, Layout, fnv1a};
use super::{Kind, error::SegmentError};

/// Layouts of shared memory are numbered; the same number means that the programs can share it.
pub(crate) const LAYOUT_VERSION: u32 = 1;

const MAGIC: u64 = u64::from_ne_bytes(*b"STEADFST");
const CRATE_VERSION: &str = env!("CARGO_PKG_VERSION");
pub(super) const CHECKSUM_AT: usize = HEADER - 8;
const EPHEMERAL: u32 = 1;

/// A header, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// What the object is.
    pub(crate) kind: Kind,
    /// Whether the last one out removes the segment.
    pub(crate) ephemeral: bool,
    /// Random; names this segment among all that ever had its name.
    pub(crate) uuid: [u8; 16],
    /// The inode number of the creator's PID namespace; 0 when it did not know.
    pub(crate) pid_namespace: u64,
    /// When it was made: nanoseconds since 1970.
    pub(crate) created: u64,
    /// The creator's process id.
    pub(crate) creator: u32,
    /// Where everything lies.
    pub(crate) layout: Layout,
}

/// The bytes of a header page.
pub(crate) type Page = [u8; HEADER];

/// What two builds must agree on beyond the layout version: both machines' sizes and byte order.
const ABI: u64 = {
    let facts = [
        size_of::<usize>() as u64,
        align_of::<u64>() as u64,
        align_of::<u128>() as u64,
        HEADER as u64,
        layout::SLOT as u64,
        layout::SLOT_BYTE,
        layout::ROLE_BYTE,
        layout::ATTACH_BYTE,
        layout::CREATOR_BYTE,
        128, // the unit of lines that are written by different processes
        u32::from_ne_bytes([1, 2, 3, 4]) as u64,
    ];
    let mut bytes = [0; 88];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = facts[at / 8].to_le_bytes()[at % 8];
        at += 1;
    }
    fnv1a(&bytes)
};

impl Header {
    /// The page to write.
    pub(crate) fn encode(&self) -> Page {
        let mut page = [0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_ne_bytes());
        put(8, &LAYOUT_VERSION.to_ne_bytes());
        put(12, &(self.kind as u32).to_ne_bytes());
        put(16, &CRATE_VERSION.as_bytes()[..CRATE_VERSION.len().min(24)]);
        put(40, &ABI.to_ne_bytes());
        put(48, &self.layout.total.to_ne_bytes());
        put(56, &self.uuid);
        put(72, &self.pid_namespace.to_ne_bytes());
        put(80, &(if self.ephemeral { EPHEMERAL } else { 0 }).to_ne_bytes());
        put(84, &u32::from(self.layout.participants).to_ne_bytes());
        put(88, &self.layout.participants_at.to_ne_bytes());
        put(96, &self.layout.object_at.to_ne_bytes());
        put(104, &self.layout.object_len.to_ne_bytes());
        put(112, &self.created.to_ne_bytes());
        put(120, &self.creator.to_ne_bytes());
        let checksum = fnv1a(&page[..CHECKSUM_AT]);
        page[CHECKSUM_AT..].copy_from_slice(&checksum.to_ne_bytes());
        page
    }

    /// Checks every field of a page that came from a file of `file_len` bytes.
    ///
    /// # Errors
    /// `NotASegment`, `WrongVersion` or `Corrupt`, for segment `name`.
    pub(crate) fn decode(page: &Page, file_len: u64, name: &str) -> Result<Header, SegmentError> {
        let corrupt = |what| SegmentError::Corrupt { name: name.to_owned(), what };
        if word64(page, 0) != MAGIC {
            let what = "the magic number is missing";
            return Err(SegmentError::NotASegment { name: name.to_owned(), what });
        }
        let version = word32(page, 8);
        if version != LAYOUT_VERSION {
            return Err(wrong_version(page, version, name));
        }
        if word64(page, CHECKSUM_AT) != fnv1a(&page[..CHECKSUM_AT]) {
            return Err(corrupt("the header's checksum is wrong"));
        }
        if word64(page, 40) != ABI {
            return Err(wrong_version(page, version, name));
        }
        let kind = Kind::from_number(word32(page, 12)).ok_or_else(|| corrupt("unknown kind"))?;
        let flags = word32(page, 80);
        if flags & !EPHEMERAL != 0 {
            return Err(corrupt("unknown flags"));
        }
        let layout = u16::try_from(word32(page, 84))
            .ok()
            .and_then(|participants| Layout::new(participants, word64(page, 104)))
            .ok_or_else(|| corrupt("impossible sizes"))?;
        if word64(page, 88) != layout.participants_at || word64(page, 96) != layout.object_at {
            return Err(corrupt("impossible offsets"));
        }
        if word64(page, 48) != layout.total {
            return Err(corrupt("impossible length"));
        }
        if file_len != layout.total {
            return Err(corrupt("the file's length is not the segment's"));
        }
        Ok(Header {
            kind,
            ephemeral: flags & EPHEMERAL != 0,
            uuid: bytes(page, 56),
            pid_namespace: word64(page, 72),
            created: word64(page, 112),
            creator: word32(page, 120),
            layout,
        })
    }
}

/// Where the uuid is in the page.
pub(crate) const UUID_AT: usize = 56;

#[cold]
fn wrong_version(page: &Page, version: u32, name: &str) -> SegmentError {
    let text: [u8; 24] = bytes(page, 16);
    let text: String = text
        .iter()
        .take_while(|byte| byte.is_ascii_graphic())
        .map(|&byte| char::from(byte))
        .collect();
    let abi = word64(page, 40);
    SegmentError::WrongVersion {
        name: name.to_owned(),
        found: format!("layout {version} (steadfast {text}, ABI {abi:016x})"),
        ours: format!("layout {LAYOUT_VERSION} (steadfast {CRATE_VERSION}, ABI {ABI:016x})"),
    }
}

fn bytes<const N: usize>(page: &Page, at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&page[at..at + N]);
    bytes
}

fn word64(page: &Page, at: usize) -> u64 {
    u64::from_ne_bytes(bytes(page, at))
}

fn word32(page: &Page, at: usize) -> u32 {
    u32::from_ne_bytes(bytes(page, at))
}
