//! `Array<T>`: a row of values behind a robust lock.
//!
//! The object is that of a mutex (see [`super::mutex`]), whose value is the row.

use std::io;
use std::ops::Deref;

use crate::segment::{Area, Segment, SegmentError};

use super::shared::{Room, Shared, in_a_segment_of_its_own};
use super::{Mutex, Shareable};

/// A row of values behind one lock; how many is decided when it is made. It is a [`Mutex`] of a slice, and is used
/// like one: death, repair and the rest are as there.
///
/// ```
/// use steadfast::{Array, SegmentOptions};
///
/// # let name = format!("doc-array-{}", std::process::id());
/// let seats = Array::create(&name, vec![0_u16; 1000], &SegmentOptions::new())?;
/// let mut row = seats.lock().unwrap();
/// row[7] = 1;
/// assert_eq!(row.iter().sum::<u16>(), 1);
/// # drop(row);
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Array<T: Shareable> {
    mutex: Mutex<[T]>,
}

impl<T: Shareable> Deref for Array<T> {
    type Target = Mutex<[T]>;

    fn deref(&self) -> &Mutex<[T]> {
        &self.mutex
    }
}

impl<T: Shareable> Shared for Array<T> {
    /// The values.
    type Init = Vec<T>;

    fn describe(text: &mut String) {
        text.push_str("Array of ");
        Mutex::<[T]>::describe(text);
    }

    fn measure(init: &Vec<T>, room: &mut Room) -> Result<(), &'static str> {
        Mutex::<[T]>::measure(init, room)
    }

    fn init(init: &Vec<T>, area: &Area, room: &mut Room) -> io::Result<()> {
        Mutex::<[T]>::init(init, area, room)
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError> {
        Ok(Array { mutex: Mutex::place(segment, room)? })
    }
}

in_a_segment_of_its_own!(
    /// Makes a segment that holds these values, unlocked.
    ///
    Array[T: Shareable], values: Vec<T>
);
