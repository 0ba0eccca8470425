//! What a lock can guard: one value, or a row of them whose length is decided when it is made.

use crate::segment::Area;
use zerocopy::{IntoBytes, TryFromBytes};

use super::Shareable;
use super::shared::value_text;

/// What [`Mutex`](crate::Mutex) and [`RwLock`](crate::RwLock) can guard: every [`Shareable`] type `T`, made from
/// a `T`; and the slice `[T]`, made from a `Vec<T>`, whose length is fixed then.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in shared memory",
    label = "needs #[derive(TryFromBytes, IntoBytes, KnownLayout, Immutable)] from zerocopy",
    note = "types with pointers (String, Vec, Box, &T) or padding cannot be shared between processes"
)]
pub trait Guarded: Send + 'static {
    /// What it is made from.
    type Init;

    /// Its alignment.
    #[doc(hidden)]
    const ALIGN: usize;

    /// Writes its type, for programs to compare and people to read.
    #[doc(hidden)]
    fn describe(text: &mut String);

    /// How many bytes it has.
    #[doc(hidden)]
    fn size(init: &Self::Init) -> usize;

    /// Writes it to `at`.
    #[doc(hidden)]
    fn copy_in(init: &Self::Init, area: &Area, at: usize);

    /// How many elements so many bytes are; `None` if they cannot be one of these.
    #[doc(hidden)]
    fn count(size: u64) -> Option<usize>;

    /// The value of `count` elements at `start`.
    #[doc(hidden)]
    fn pointer(start: *mut u8, count: usize) -> *mut Self;

    /// The bytes at `start` that a value of `count` elements has.
    #[doc(hidden)]
    fn bytes(start: *mut u8, count: usize) -> *const [u8];

    /// Whether they are such a value.
    #[doc(hidden)]
    fn is_valid(bytes: &[u8]) -> bool;
}

#[diagnostic::do_not_recommend]
impl<T: Shareable> Guarded for T {
    type Init = T;
    const ALIGN: usize = align_of::<T>();

    fn describe(text: &mut String) {
        value_text::<T>(text);
    }

    fn size(_init: &T) -> usize {
        size_of::<T>()
    }

    fn copy_in(init: &T, area: &Area, at: usize) {
        area.copy_in(at, init.as_bytes());
    }

    fn count(size: u64) -> Option<usize> {
        (size == size_of::<T>() as u64).then_some(1)
    }

    #[inline]
    fn pointer(start: *mut u8, _count: usize) -> *mut T {
        start.cast()
    }

    #[inline]
    fn bytes(start: *mut u8, _count: usize) -> *const [u8] {
        std::ptr::slice_from_raw_parts(start, size_of::<T>())
    }

    #[inline]
    fn is_valid(bytes: &[u8]) -> bool {
        T::try_ref_from_bytes(bytes).is_ok()
    }
}

#[diagnostic::do_not_recommend]
impl<T: Shareable> Guarded for [T] {
    type Init = Vec<T>;
    const ALIGN: usize = align_of::<T>();

    fn describe(text: &mut String) {
        text.push('[');
        value_text::<T>(text);
        text.push(']');
    }

    fn size(init: &Vec<T>) -> usize {
        size_of_val(init.as_slice())
    }

    fn copy_in(init: &Vec<T>, area: &Area, at: usize) {
        area.copy_in(at, init.as_slice().as_bytes());
    }

    fn count(size: u64) -> Option<usize> {
        let size = usize::try_from(size).ok()?;
        let whole = size_of::<T>() != 0 && size.is_multiple_of(size_of::<T>());
        whole.then(|| size / size_of::<T>())
    }

    #[inline]
    fn pointer(start: *mut u8, count: usize) -> *mut [T] {
        std::ptr::slice_from_raw_parts_mut(start.cast(), count)
    }

    #[inline]
    fn bytes(start: *mut u8, count: usize) -> *const [u8] {
        std::ptr::slice_from_raw_parts(start, count * size_of::<T>())
    }

    fn is_valid(bytes: &[u8]) -> bool {
        <[T]>::try_ref_from_bytes(bytes).is_ok()
    }
}
