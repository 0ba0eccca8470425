//! Queues as parts of a shared struct: the same object, somewhere in the segment.

use std::io;

use crate::message::Message;
use crate::segment::{Area, Constants, Segment, SegmentError};
use crate::sync::{Room, Shared as Part, type_text};

use super::object::Shared;
use super::plan::Plan;
use super::{JoinableQueue, Queue, QueueOptions};

fn plan(options: &QueueOptions, joinable: bool) -> Result<Plan, &'static str> {
    if options.single_producer || options.single_consumer {
        return Err("a queue in a shared struct has no single roles: give it a segment of its own");
    }
    Plan::new(options, joinable)
}

fn measure(options: &QueueOptions, joinable: bool, room: &mut Room) -> Result<(), &'static str> {
    room.take(usize::try_from(plan(options, joinable)?.total).unwrap_or(usize::MAX));
    Ok(())
}

fn init(options: &QueueOptions, joinable: bool, area: &Area, room: &mut Room) -> io::Result<()> {
    let plan = plan(options, joinable).map_err(io::Error::other)?;
    let at = room.take(plan.total as usize);
    plan.write(&area.part(at, plan.total as usize));
    Ok(())
}

fn place(segment: &Segment, joinable: bool, room: &mut Room) -> Result<Shared, SegmentError> {
    let corrupt =
        |what: &'static str| SegmentError::Corrupt { name: segment.name().to_owned(), what };
    let constants = Constants::<7>::read(segment.area(), room.position())
        .ok_or_else(|| corrupt("the queue's constants do not have their checksum"))?;
    let len = usize::try_from(constants.words()[6]).unwrap_or(usize::MAX);
    let at = room.take_in(segment, len)?;
    let area = segment.area().part(at, len);
    let plan = Plan::read(&area).map_err(corrupt)?;
    if plan.joinable != joinable || plan.single_producer || plan.single_consumer {
        return Err(corrupt("the queue's constants say that it is of another kind"));
    }
    Shared::attach(segment.clone(), area)
}

/// As a part of a shared struct. The segment's own options (name, participants, access) are those given with the
/// struct; single roles are for queues that have a segment of their own.
impl<T: Message + ?Sized> Part for Queue<T> {
    type Init = QueueOptions;

    fn describe(text: &mut String) {
        text.push_str("Queue<");
        type_text::<T>(text);
        text.push('>');
    }

    fn measure(options: &QueueOptions, room: &mut Room) -> Result<(), &'static str> {
        measure(options, false, room)
    }

    fn init(options: &QueueOptions, area: &Area, room: &mut Room) -> io::Result<()> {
        init(options, false, area, room)
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError> {
        Ok(Queue::over(place(segment, false, room)?))
    }
}

/// As a part of a shared struct: see [`Queue`].
impl<T: Message + ?Sized> Part for JoinableQueue<T> {
    type Init = QueueOptions;

    fn describe(text: &mut String) {
        text.push_str("JoinableQueue<");
        type_text::<T>(text);
        text.push('>');
    }

    fn measure(options: &QueueOptions, room: &mut Room) -> Result<(), &'static str> {
        measure(options, true, room)
    }

    fn init(options: &QueueOptions, area: &Area, room: &mut Room) -> io::Result<()> {
        init(options, true, area, room)
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError> {
        Ok(JoinableQueue::over(place(segment, true, room)?))
    }
}
