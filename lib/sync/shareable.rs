//! What may live in shared memory.

use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// A value that may live in shared memory and be changed there by several processes.
///
/// Implemented for every type that zerocopy's derives accept:
/// * [`TryFromBytes`]: its bytes can be checked, so that a `bool` of 7 written by a peer is an error;
/// * [`IntoBytes`]: it has no padding, so nothing of this process's memory leaks into the segment;
/// * [`Immutable`], [`KnownLayout`]: no hidden cells, a layout known at compile time.
///
/// Pointers, references, `String`, `Vec` and types with padding do not qualify, and do not compile:
///
/// ```compile_fail
/// # use steadfast::{Mutex, SegmentOptions};
/// let _ = Mutex::create("names", String::new(), &SegmentOptions::new());
/// ```
///
/// ```
/// use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};
///
/// #[derive(TryFromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
/// #[repr(C)]
/// struct Tickets {
///     left: u32,
///     sold: u32,
/// }
///
/// fn needs_shareable<T: steadfast::Shareable>() {}
/// needs_shareable::<Tickets>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in shared memory",
    label = "needs #[derive(TryFromBytes, IntoBytes, KnownLayout, Immutable)] from zerocopy",
    note = "types with pointers (String, Vec, Box, &T) or padding cannot be shared between processes"
)]
pub trait Shareable:
    TryFromBytes + IntoBytes + KnownLayout + Immutable + Send + Sync + 'static
{
}

// So that the compiler speaks of what is wanted here, and not of each of the four traits.
#[diagnostic::do_not_recommend]
impl<T: TryFromBytes + IntoBytes + KnownLayout + Immutable + Send + Sync + 'static> Shareable
    for T
{
}
