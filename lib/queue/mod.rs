//! Queues: bounded, in one segment each, for any number of producers and consumers in any processes.
//!
//! The way of a message: value -> bytes ([`crate::message`]) -> record ([`record`]) -> position
//! ([`ring`]) -> segment, and back on the other side. `put` and `take` add the locks and the waiting,
//! `object` says where everything lies.

mod batch;
mod error;
mod handle;
mod object;
mod options;
mod put;
mod record;
mod recovery;
mod ring;
mod roles;
mod shutdown;
mod spin;
mod take;
mod view;

pub use batch::Batch;
pub use error::{GetError, NotClosed, PutError};
pub use handle::{Queue, Shutdown};
pub use options::QueueOptions;
pub use roles::{Consumer, Producer};
pub use view::{View, WriteGuard};
