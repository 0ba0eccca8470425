//! The bodies for `Mutex`, over our own robust lock.

pub type Lock<T> = steadfast::Mutex<T>;
pub type Guard<'a, T> = steadfast::MutexGuard<'a, T>;
/// The role under which children of this kind are started.
pub const NAME: &str = "ours";

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
