//! Values that borrow from the bytes of a message.

use serde::{Deserialize, Serialize};

use crate::message;

use super::{GetError, PutError};

/// Makes a value of a message's bytes; it may borrow from them (`&str`, `&[u8]`, structs of such), so
/// that nothing is copied or allocated but what the type asks for.
///
/// The bytes are those of a typed queue's message: a queue can be opened as `Queue<T>` by one program and
/// as `Queue<[u8]>` by another, or by the same.
///
/// ```
/// use steadfast::{Queue, QueueOptions};
///
/// # let name = format!("doc-from-bytes-{}", std::process::id());
/// let queue: Queue = Queue::create(&name, &QueueOptions::new())?;
/// queue.put(&steadfast::to_bytes(&(7_u32, "seven", &[1_u8, 2, 3][..]))?)?;
///
/// let mut bytes = Vec::new(); // used again for each message
/// queue.get_into(&mut bytes)?;
/// let (number, word, rest): (u32, &str, &[u8]) = steadfast::from_bytes(&bytes)?;
/// assert_eq!((number, word, rest), (7, "seven", &[1, 2, 3][..]));
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`GetError::Deserialize`] if the bytes are no such value, or more than one.
pub fn from_bytes<'b, V: Deserialize<'b>>(bytes: &'b [u8]) -> Result<V, GetError> {
    message::decode(bytes).map_err(GetError::Deserialize)
}

/// The bytes by which a typed queue carries a value; see [`from_bytes`].
///
/// # Errors
/// [`PutError::Serialize`] if the value cannot be written.
pub fn to_bytes<V: Serialize + ?Sized>(value: &V) -> Result<Vec<u8>, PutError> {
    let mut bytes = Vec::new();
    message::encode(value, &mut bytes).map_err(PutError::Serialize)?;
    Ok(bytes)
}
