//! Queues: bounded, in one segment each, for any number of producers and consumers in any processes.
//!
//! The way of a message: value -> bytes ([`crate::message`]) -> record ([`record`]) -> position
//! ([`ring`]) -> segment, and back on the other side. `put` and `take` add the locks and the waiting,
//! `object` says where everything lies, `plan` and `options` how large.
//!
//! Messages that do not lie in the ring lie in the *store*: large ones, and all of a joinable queue. The
//! ring then only names their *chunk*. `deliver` puts them there, `claim` takes them and gives them back,
//! `survey` finds out what the dead left.
//!
//! Tasks and descriptors wait without a thread: `attempts` is the future, `source` their books, `watcher` the
//! one thread that sleeps for all of them.

#[cfg(feature = "tokio")]
mod asynchronous;
#[cfg(feature = "tokio")]
mod attempts;
mod batch;
mod bytes;
mod chunk;
mod claim;
mod dead_letters;
mod deliver;
mod error;
mod handle;
mod joinable;
mod lease;
mod object;
mod options;
mod part;
mod plan;
mod push;
mod put;
mod ready;
mod record;
mod recovery;
mod returned;
mod ring;
mod roles;
mod shutdown;
#[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "only descriptors wait then"))]
mod source;
mod spin;
mod store;
mod survey;
mod take;
mod values;
mod view;
mod watcher;
mod work;

pub use batch::Batch;
pub use chunk::Reason;
pub use dead_letters::DeadLetter;
pub use error::{GetError, JoinError, LeaseError, NotClosed, PutError};
pub use handle::{Queue, Shutdown};
pub use joinable::JoinableQueue;
pub use lease::Lease;
pub use options::QueueOptions;
pub use ready::ReadyFd;
pub use roles::{Consumer, Producer};
pub use values::{from_bytes, to_bytes};
pub use view::{View, WriteGuard};
