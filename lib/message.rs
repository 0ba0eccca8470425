//! A value to bytes and back.

use std::cell::Cell;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a queue carries: bytes (`[u8]`), or any type that serde can write and read.
///
/// Typed messages travel in the postcard format, which does not describe itself: both ends must agree
/// on the type.
pub trait Message: sealed::Sealed {
    /// What a `get` gives: `Vec<u8>` for bytes, the value itself otherwise.
    type Owned;

    /// Whether a value is its own bytes.
    #[doc(hidden)]
    const IS_BYTES: bool = false;

    /// The value's bytes, if [`Message::IS_BYTES`]; nothing otherwise.
    #[doc(hidden)]
    fn bytes(&self) -> &[u8] {
        &[]
    }

    /// Hands the value's bytes to `with`.
    #[doc(hidden)]
    fn encoded<R>(&self, with: impl FnOnce(&[u8]) -> R) -> Result<R, String>;

    /// Appends the value's bytes to `bytes`; after an error, `bytes` may have grown.
    #[doc(hidden)]
    fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), String>;

    /// Lets `fill` put a message's bytes into an empty buffer, and makes the value of them.
    #[doc(hidden)]
    fn decoded<E>(
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<Self::Owned, String>, E>;

    /// Makes the value of a message's bytes.
    #[doc(hidden)]
    fn from_bytes(bytes: &[u8]) -> Result<Self::Owned, String>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for [u8] {}
    impl<T: super::Serialize + super::DeserializeOwned> Sealed for T {}
}

impl Message for [u8] {
    type Owned = Vec<u8>;

    const IS_BYTES: bool = true;

    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }

    fn encoded<R>(&self, with: impl FnOnce(&[u8]) -> R) -> Result<R, String> {
        Ok(with(self))
    }

    fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), String> {
        bytes.extend_from_slice(self);
        Ok(())
    }

    fn decoded<E>(
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<Vec<u8>, String>, E> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        Ok(Ok(bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Vec<u8>, String> {
        Ok(bytes.to_vec())
    }
}

thread_local! {
    /// A buffer for the bytes of one typed message. Taken out while it is used, so that a value whose
    /// own serialisation uses a queue finds an empty one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 1 << 20;

fn with_scratch<R>(use_it: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    scratch.clear();
    let result = use_it(&mut scratch);
    if scratch.capacity() <= KEPT {
        // The thread may be ending: then there is nowhere to keep it.
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    }
    result
}

/// Where postcard writes: the end of a buffer.
struct Appended<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends a value's bytes.
pub(crate) fn encode<V: Serialize + ?Sized>(value: &V, bytes: &mut Vec<u8>) -> Result<(), String> {
    postcard::serialize_with_flavor(value, Appended(bytes)).map_err(|error| error.to_string())
}

/// Makes the value that the bytes are, all of them.
pub(crate) fn decode<'b, V: Deserialize<'b>>(bytes: &'b [u8]) -> Result<V, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

impl<T: Serialize + DeserializeOwned> Message for T {
    type Owned = T;

    fn encoded<R>(&self, with: impl FnOnce(&[u8]) -> R) -> Result<R, String> {
        with_scratch(|scratch| {
            self.append_to(scratch)?;
            Ok(with(scratch))
        })
    }

    fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), String> {
        encode(self, bytes)
    }

    fn decoded<E>(
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<T, String>, E> {
        with_scratch(|scratch| {
            fill(scratch)?;
            Ok(T::from_bytes(scratch))
        })
    }

    fn from_bytes(bytes: &[u8]) -> Result<T, String> {
        decode(bytes)
    }
}
