//! Messages that say who put them and whether they are whole.

/// Producer, sequence number, length, checksum: four words before the filling.
const HEAD: usize = 16;

fn filling(producer: u32, sequence: u32, at: usize) -> u8 {
    let mixed = producer.wrapping_mul(31).wrapping_add(sequence.wrapping_mul(7));
    (mixed as usize).wrapping_add(at.wrapping_mul(13)) as u8 | 1
}

fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, &byte: &u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

/// Message number `sequence` of `producer`, `len` bytes long (at least 16).
pub fn make(producer: u32, sequence: u32, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.max(HEAD)).map(|at| filling(producer, sequence, at)).collect();
    bytes[0..4].copy_from_slice(&producer.to_ne_bytes());
    bytes[4..8].copy_from_slice(&sequence.to_ne_bytes());
    let len = bytes.len() as u32;
    bytes[8..12].copy_from_slice(&len.to_ne_bytes());
    let sum = checksum(&bytes[HEAD..]) ^ checksum(&bytes[..12]);
    bytes[12..16].copy_from_slice(&sum.to_ne_bytes());
    bytes
}

/// A few words about a message, for people; an error if it is damaged.
pub fn read(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() < HEAD {
        return Err(format!("a message of {} bytes", bytes.len()));
    }
    let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
    let (producer, sequence) = (word(0), word(4));
    let sum = checksum(&bytes[HEAD..]) ^ checksum(&bytes[..12]);
    if word(8) as usize != bytes.len() || word(12) != sum {
        return Err(format!("a damaged message: {}", hex(&bytes[..bytes.len().min(32)])));
    }
    Ok(format!("{producer}.{sequence}"))
}

/// Two digits per byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote.
pub fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{hex}: {error}"))
}
