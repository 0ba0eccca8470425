//! The header of a record: one word that says whether the record is there, and what it is.
//!
//! ```text
//! bits  0..32   position of the record (in 8-byte units, growing), so that old bytes are not taken
//!               for a new record
//! bit  32       VALID: a message of `len` bytes follows
//! bit  33       PAD: nothing follows up to the ring's end; `len` bytes are to be skipped
//! bit  34       INDIRECT: the 8 bytes that follow name the chunk that holds the message (see
//!               [`super::chunk`])
//! bits 35..64   len, in bytes
//! ```
//! | word | meaning |
//! |---|---|
//! | `0` | not written yet |
//! | `VALID, pos, len` | a committed message |
//! | `VALID + INDIRECT, pos, len = 8` | a committed message in a chunk |
//! | `VALID + PAD, pos, len` | skip to the ring's end; the next record is committed with it |
//! | `pos, len = all ones`, no flag | the queue was shut down: no record will ever follow |
//! | anything else | corrupt |

/// Bytes in a unit of the ring.
pub(crate) const UNIT: usize = 8;

const VALID: u64 = 1 << 32;
const PAD: u64 = 1 << 33;
const INDIRECT: u64 = 1 << 34;
const LEN_SHIFT: u32 = 35;

/// Neither VALID nor PAD nor INDIRECT, with a length no record has.
const CLOSED_MARK: u64 = 0x1fff_ffff << LEN_SHIFT;

/// What a header word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing was committed here yet.
    Empty,
    /// A message of so many bytes, which takes so many units with its header.
    Message {
        /// The message's length in bytes.
        len: usize,
        /// The record's length in units.
        units: u32,
    },
    /// A message in a chunk, which the next unit names.
    Indirect,
    /// Nothing up to the ring's end, so many units away.
    Pad {
        /// The length in units, header included.
        units: u32,
    },
    /// The end of a queue that was shut down.
    Closed,
    /// Not a header of this place.
    Corrupt,
}

/// How many units a message of `len` bytes takes, with its header.
#[inline]
pub(crate) fn units(len: usize) -> u32 {
    // Lengths are checked against the ring's largest message first, which is below 2^29.
    1 + len.div_ceil(UNIT) as u32
}

/// The header of a message.
#[inline]
pub(crate) fn message(position: u32, len: usize) -> u64 {
    (len as u64) << LEN_SHIFT | VALID | u64::from(position)
}

/// Units of a record that names a chunk.
pub(crate) const INDIRECT_UNITS: u32 = 2;

/// The header of a message in a chunk.
#[inline]
pub(crate) fn indirect(position: u32) -> u64 {
    (UNIT as u64) << LEN_SHIFT | INDIRECT | VALID | u64::from(position)
}

/// The header of the space up to the ring's end.
#[inline]
pub(crate) fn pad(position: u32, units: u32) -> u64 {
    (u64::from(units) * UNIT as u64) << LEN_SHIFT | PAD | VALID | u64::from(position)
}

/// The word that ends a queue.
#[inline]
pub(crate) fn closed(position: u32) -> u64 {
    CLOSED_MARK | u64::from(position)
}

/// Reads the header word found at `position`, `index` units into a ring of `ring` units. Whatever it
/// says fits the ring.
#[inline]
pub(crate) fn read(word: u64, position: u32, index: u32, ring: u32) -> Header {
    let len = (word >> LEN_SHIFT) as usize;
    // Position and flags in one look: a message is what is found nearly always.
    let low = word & ((1 << LEN_SHIFT) - 1);
    if low == VALID | u64::from(position) {
        let units = units(len);
        if units <= ring / 2 && units <= ring - index {
            return Header::Message { len, units };
        }
    } else if word == 0 {
        return Header::Empty;
    } else if low == VALID | PAD | u64::from(position) {
        if len == (ring - index) as usize * UNIT && index != 0 {
            return Header::Pad { units: ring - index };
        }
    } else if word == indirect(position) {
        if ring - index >= INDIRECT_UNITS {
            return Header::Indirect;
        }
    } else if word == closed(position) {
        return Header::Closed;
    }
    Header::Corrupt
}

/// What a header word seems to say, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing was committed here yet.
    Nothing,
    /// A message of so many bytes.
    Message(usize),
    /// Something else.
    Other,
}

/// What a header word seems to say: enough to know whether to wait, and how large a buffer to bring.
#[inline]
pub(crate) fn hint(word: u64) -> Hint {
    if word == 0 {
        Hint::Nothing
    } else if word & (VALID | PAD) == VALID {
        Hint::Message((word >> LEN_SHIFT) as usize)
    } else {
        Hint::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(0, 7, 7, 64), Header::Empty);
        assert_eq!(read(message(7, 0), 7, 7, 64), Header::Message { len: 0, units: 1 });
        assert_eq!(read(message(7, 9), 7, 7, 64), Header::Message { len: 9, units: 3 });
        assert_eq!(read(pad(60, 4), 60, 60, 64), Header::Pad { units: 4 });
        assert_eq!(read(closed(u32::MAX), u32::MAX, 63, 64), Header::Closed);
    }

    #[test]
    fn what_does_not_fit_the_place_is_corrupt() {
        assert_eq!(read(message(8, 9), 7, 7, 64), Header::Corrupt, "another position");
        assert_eq!(read(message(62, 16), 62, 62, 64), Header::Corrupt, "across the end");
        assert_eq!(read(message(0, 257), 0, 0, 64), Header::Corrupt, "above half the ring");
        assert_eq!(read(pad(60, 3), 60, 60, 64), Header::Corrupt, "not up to the end");
        assert_eq!(read(pad(0, 64), 0, 0, 64), Header::Corrupt, "the whole ring");
        assert_eq!(read(message(7, 9) | 1 << 34, 7, 7, 64), Header::Corrupt, "indirect");
        assert_eq!(read(u64::MAX, u32::MAX, 63, 64), Header::Corrupt);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen_or_changes_the_length_only() {
        let word = message(40, 24);
        for bit in 0..64 {
            match read(word ^ 1 << bit, 40, 40, 64) {
                Header::Corrupt => {}
                Header::Message { .. } => assert!(bit >= LEN_SHIFT),
                other => panic!("bit {bit}: {other:?}"),
            }
        }
    }
}
