//! The bodies for `PthreadMutex`, over the C library's.

pub type Lock<T> = steadfast::PthreadMutex<T>;
pub type Guard<'a, T> = steadfast::PthreadMutexGuard<'a, T>;
/// The role under which children of this kind are started.
pub const NAME: &str = "theirs";

#[path = "basics.rs"]
mod basics;
#[path = "cost.rs"]
mod cost;
#[path = "death.rs"]
mod death;
#[path = "forked.rs"]
mod forked;
#[path = "hand.rs"]
pub mod hand;
#[path = "nested.rs"]
mod nested;
#[path = "patience.rs"]
mod patience;
#[path = "value.rs"]
mod value;
