//! Arguments that say how to make a queue that is not there yet.
#![forbid(unsafe_code)]

use clap::Args;
use steadfast::{QueueOptions, SegmentOptions};

use crate::any_queue::AnyQueue;
use crate::args::{QueueName, bytes};
use crate::exit_code::Failure;
use crate::report::note;
use crate::signals::Stop;

/// How to make the queue that is not there yet.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct CreateArgs {
    /// Make the queue if it is not there
    #[arg(long, group = "make", help_heading = "Queue")]
    pub create: bool,

    /// Make the queue, and fail if it is there
    #[arg(long, group = "make", help_heading = "Queue")]
    pub exclusive: bool,

    /// New queue: at most so many items (0: no limit but the bytes)
    #[arg(long, value_name = "N", requires = "make", help_heading = "Queue")]
    pub maxsize: Option<usize>,

    /// New queue: room for so many bytes, e.g. 64MiB [default: 4MiB]
    #[arg(long, value_name = "BYTES", requires = "make", value_parser = bytes, help_heading = "Queue")]
    pub capacity: Option<usize>,

    /// New queue: room for so many bytes of items that are too large for the rest [default: none]
    #[arg(long, value_name = "BYTES", requires = "make", value_parser = bytes)]
    #[arg(conflicts_with = "joinable", help_heading = "Queue")]
    pub large_messages: Option<usize>,

    /// New queue: for work; an item stays in it until a consumer acknowledges it, and comes back if that
    /// consumer dies before
    #[arg(long, requires = "make", help_heading = "Queue")]
    #[arg(conflicts_with_all = ["single_producer", "single_consumer"])]
    pub joinable: bool,

    /// New joinable queue: an item that came back N times is a dead letter [default: never]
    #[arg(long, value_name = "N", requires = "make", help_heading = "Queue")]
    pub max_deliveries: Option<u16>,

    /// New joinable queue: keep the last N dead letters [default: 1000]
    #[arg(long, value_name = "N", requires = "make", help_heading = "Queue")]
    pub max_dead_letters: Option<u32>,

    /// New queue: one producer only, which then needs no lock
    #[arg(long, requires = "make", help_heading = "Queue")]
    pub single_producer: bool,

    /// New queue: one consumer only, which then needs no lock
    #[arg(long, requires = "make", help_heading = "Queue")]
    pub single_consumer: bool,

    /// New queue: members of this group may use it too (a number)
    #[arg(long, value_name = "GID", requires = "make", help_heading = "Queue")]
    pub group: Option<u32>,

    /// New queue: gone when its last user is
    #[arg(long, requires = "make", help_heading = "Queue")]
    pub ephemeral: bool,
}

impl CreateArgs {
    /// Makes or opens the queue as the command line of `program` says. A new one is joinable also where
    /// `acknowledges` says that it has to be. `None`: a signal came first.
    pub fn open(
        &self,
        program: &str,
        name: &QueueName,
        acknowledges: bool,
        stop: &Stop,
    ) -> Result<Option<AnyQueue>, Failure> {
        let (options, joinable) = (self.options(), self.joinable || acknowledges);
        if !joinable && (self.max_deliveries.is_some() || self.max_dead_letters.is_some()) {
            let what = "--max-deliveries and --max-dead-letters are for joinable queues";
            return Err(Failure::usage(what, "add --joinable"));
        }
        let made = if self.exclusive {
            AnyQueue::create(&name.queue, joinable, &options)
        } else if self.create {
            AnyQueue::open_or_create(&name.queue, joinable, &options)
        } else {
            return name.open(stop);
        };
        let queue = made.map_err(|error| Failure::segment(&name.queue, &error))?;
        let found = queue.capacity();
        if let Some(wanted) = self.capacity.filter(|wanted| *wanted > found) {
            let name = &name.queue;
            note(program, format_args!("note: {name} has --capacity {found}, not {wanted}"));
        }
        if let Some(wanted) = self.maxsize.filter(|wanted| *wanted != queue.maxsize()) {
            let (name, found) = (&name.queue, queue.maxsize());
            note(
                program,
                format_args!("note: {name} was there, with --maxsize {found}, not {wanted}"),
            );
        }
        Ok(Some(queue))
    }

    fn options(&self) -> QueueOptions {
        let mut segment = SegmentOptions::new();
        if let Some(group) = self.group {
            segment = segment.group(group);
        }
        if self.ephemeral {
            segment = segment.ephemeral(true);
        }
        let mut options = QueueOptions::new().segment(segment);
        if let Some(maxsize) = self.maxsize {
            options = options.maxsize(maxsize);
        }
        if let Some(capacity) = self.capacity {
            options = options.capacity(capacity as u64);
        }
        if let Some(bytes) = self.large_messages {
            options = options.large_messages(bytes as u64);
        }
        if let Some(attempts) = self.max_deliveries {
            options = options.max_deliveries(attempts);
        }
        if let Some(letters) = self.max_dead_letters {
            options = options.max_dead_letters(letters);
        }
        if self.single_producer {
            options = options.single_producer();
        }
        if self.single_consumer {
            options = options.single_consumer();
        }
        options
    }
}
