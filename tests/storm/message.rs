//! What travels: every byte of a message follows from who sent it and its number, so the receiver
//! can tell a right message from a torn, mixed or stale one without asking anybody.
//!
//! ```text
//! incarnation u64 | sequence u64 | check u64 | body: words of mix(key + i), the last one cut short
//! ```

use crate::random::mix;

/// Bytes in front of the body.
pub const HEADER: usize = 24;

fn key(incarnation: u64, sequence: u64) -> u64 {
    mix(incarnation.rotate_left(40) ^ sequence)
}

/// Mostly small, sometimes empty, sometimes as large as the round allows.
fn body_length(key: u64, longest: usize) -> usize {
    let usual = longest.min(200) as u64 + 1;
    let length = match key % 16 {
        0 => 0,
        1 => mix(key) % (longest as u64 + 1),
        _ => mix(key) % usual,
    };
    length as usize
}

/// Replaces the content of `buffer` by the message.
pub fn write(buffer: &mut Vec<u8>, incarnation: u64, sequence: u64, longest: usize) {
    let key = key(incarnation, sequence);
    let length = body_length(key, longest);
    buffer.clear();
    buffer.extend_from_slice(&incarnation.to_le_bytes());
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&mix(key ^ length as u64).to_le_bytes());
    let mut number = 0;
    while buffer.len() < HEADER + length {
        let word = mix(key.wrapping_add(number)).to_le_bytes();
        let room = HEADER + length - buffer.len();
        buffer.extend_from_slice(&word[..room.min(8)]);
        number += 1;
    }
}

/// Who sent it and its number, or what is wrong with it. `expected` is a buffer to work in.
pub fn read(bytes: &[u8], longest: usize, expected: &mut Vec<u8>) -> Result<(u64, u64), String> {
    let word = |at: usize| -> Option<u64> {
        let part = bytes.get(at..at + 8)?;
        Some(u64::from_le_bytes(part.try_into().ok()?))
    };
    let (Some(incarnation), Some(sequence)) = (word(0), word(8)) else {
        return Err(format!("a message of only {} bytes", bytes.len()));
    };
    write(expected, incarnation, sequence, longest);
    if bytes == expected.as_slice() {
        return Ok((incarnation, sequence));
    }
    let at = bytes.iter().zip(expected.iter()).position(|(a, b)| a != b);
    Err(format!(
        "message {sequence} of incarnation {incarnation}: {} bytes, expected {}, first wrong byte at {:?}",
        bytes.len(),
        expected.len(),
        at.unwrap_or(bytes.len().min(expected.len())),
    ))
}

/// A damaged message must be noticed, or the storm proves nothing.
pub fn self_check() -> Result<(), String> {
    let (mut good, mut scratch) = (Vec::new(), Vec::new());
    for sequence in 0..64 {
        write(&mut good, 7, sequence, 300);
        if read(&good, 300, &mut scratch) != Ok((7, sequence)) {
            return Err(format!("a sound message {sequence} was refused"));
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            if read(&bad, 300, &mut scratch).is_ok() {
                return Err(format!("a flipped bit in byte {at} went unnoticed"));
            }
        }
        if read(&good[..good.len() - 1], 300, &mut scratch).is_ok() {
            return Err("a cut message went unnoticed".into());
        }
    }
    Ok(())
}
