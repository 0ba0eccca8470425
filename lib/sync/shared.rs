//! Several primitives in one segment: what can be part of one, and how it is made and opened.
//!
//! # The object
//! | offset | what |
//! |---|---|
//! | 0 | constants, checksummed: version 1, hash of the type's text, bytes of the text, bytes of the object |
//! | 128 | the type's text: names of fields, primitives and values with their sizes |
//! | next multiple of 128 | the parts, in the order of the fields, each at a multiple of 128 |
//!
//! Two programs agree on a type if they write the same text. The hash decides; the text itself is for the
//! error message.

use std::io;
use std::marker::PhantomData;

use crate::segment::{Area, Constants, Kind, Segment, SegmentError, SegmentOptions, fnv1a};

const VERSION: u64 = 1;
const TEXT: usize = 128;
const UNIT: usize = 128;

/// How much of a foreign type's text an error shows.
const SHOWN: usize = 400;

/// A primitive, or a struct of primitives, that lives in a shared segment: [`Segment::of`] makes and opens it.
///
/// Every primitive of this library is one: [`Mutex`](crate::Mutex), [`PthreadMutex`](crate::PthreadMutex),
/// [`RLock`](crate::RLock), [`RwLock`](crate::RwLock), [`Condvar`](crate::Condvar),
/// [`Semaphore`](crate::Semaphore), [`BoundedSemaphore`](crate::BoundedSemaphore), [`Permits`](crate::Permits),
/// [`Event`](crate::Event), [`Barrier`](crate::Barrier), [`Once`](crate::Once), [`Value`](crate::Value),
/// [`Array`](crate::Array); so are [`Queue`](crate::Queue) and [`JoinableQueue`](crate::JoinableQueue), arrays of
/// all these, and structs of them with `#[derive(Shared)]`. The derive also makes a struct with `Init` behind the
/// name, whose fields say what each part is made from.
///
/// ```
/// use steadfast::{Condvar, Mutex, Segment, SegmentOptions, Shared, Value};
///
/// #[derive(Shared)]
/// struct Shop {
///     tickets: Mutex<u32>,
///     restocked: Condvar,
///     visitors: Value<u64>,
/// }
///
/// # let name = format!("doc-shared-{}", std::process::id());
/// let init = ShopInit { tickets: 3, restocked: (), visitors: 0 };
/// let shop = Segment::of::<Shop>().create(&name, init, &SegmentOptions::new())?;
/// shop.visitors.update(|visitors| visitors + 1)?;
///
/// let same = Segment::of::<Shop>().open(&name)?; // here or in any other process
/// assert_eq!(same.visitors.get()?, 1);
/// # steadfast::Segment::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A field that is none of these does not compile:
/// ```compile_fail
/// #[derive(steadfast::Shared)]
/// struct Wrong {
///     name: String,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a part of a shared struct",
    label = "not a primitive or queue of steadfast, nor a struct with #[derive(Shared)]",
    note = "put plain data into a Value<T>, a Mutex<T> or a RwLock<T>; types with pointers (String, Vec, Box, &T) cannot be shared between processes"
)]
pub trait Shared: Sized {
    /// What it is made from: the value of a mutex, the count of a semaphore, and so on.
    type Init;

    /// Writes its type, for programs to compare and people to read.
    #[doc(hidden)]
    fn describe(text: &mut String);

    /// Takes the room that it needs.
    ///
    /// # Errors
    /// What is wrong with `init`.
    #[doc(hidden)]
    fn measure(init: &Self::Init, room: &mut Room) -> Result<(), &'static str>;

    /// Writes it into an object that is not published yet, in the same room.
    ///
    /// # Errors
    /// What the C library says.
    #[doc(hidden)]
    fn init(init: &Self::Init, area: &Area, room: &mut Room) -> io::Result<()>;

    /// A handle of the one that lies there.
    ///
    /// # Errors
    /// `Corrupt`, `ForeignNamespace`.
    #[doc(hidden)]
    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError>;
}

/// Where the next part of an object goes.
#[doc(hidden)]
#[derive(Debug)]
pub struct Room(usize);

impl Room {
    /// Takes so many bytes at a multiple of 128.
    pub(crate) fn take(&mut self, bytes: usize) -> usize {
        let at = self.0;
        // Too much for the address space is too much for a segment, which says so.
        self.0 =
            at.saturating_add(bytes.max(1)).checked_next_multiple_of(UNIT).unwrap_or(usize::MAX);
        at
    }

    /// Where the next part will be.
    pub(crate) fn position(&self) -> usize {
        self.0
    }

    /// The same in an object that is there: its bytes decide how much room there is.
    pub(crate) fn take_in(
        &mut self,
        segment: &Segment,
        bytes: usize,
    ) -> Result<usize, SegmentError> {
        let at = self.take(bytes);
        if self.0 <= segment.area().len() {
            Ok(at)
        } else {
            Err(corrupt(segment, "it is too short"))
        }
    }

    /// Takes a primitive's constants.
    pub(super) fn constants<const N: usize>(
        &mut self,
        segment: &Segment,
    ) -> Result<[u64; N], SegmentError> {
        let at = self.take_in(segment, Constants::<N>::BYTES)?;
        let found = Constants::<N>::read(segment.area(), at).map(|constants| constants.words());
        found.ok_or_else(|| corrupt(segment, "a primitive's constants do not have their checksum"))
    }
}

/// The error for bytes that cannot be what they should be.
#[cold]
pub(super) fn corrupt(segment: &Segment, what: &'static str) -> SegmentError {
    SegmentError::Corrupt { name: segment.name().to_owned(), what }
}

/// Writes the name of a value's type without the modules it lives in, and its layout.
pub(super) fn value_text<T>(text: &mut String) {
    use std::fmt::Write;
    type_text::<T>(text);
    let (size, align) = (size_of::<T>(), align_of::<T>());
    // Writing to a string does not fail.
    let _ = write!(text, " ({size} bytes, aligned to {align})");
}

/// Writes the name of a type without the modules it lives in.
pub(crate) fn type_text<T: ?Sized>(text: &mut String) {
    let mut word = String::new();
    for character in std::any::type_name::<T>().chars() {
        if character.is_alphanumeric() || character == '_' {
            word.push(character);
        } else {
            // A path's parts before its last one are followed by a colon.
            if character != ':' {
                text.push_str(&word);
                text.push(character);
            }
            word.clear();
        }
    }
    text.push_str(&word);
}

impl Segment {
    /// Segments that hold a `T`: a primitive, or a struct with `#[derive(Shared)]`. See [`Shared`].
    pub fn of<T: Shared>() -> SegmentOf<T> {
        SegmentOf(PhantomData)
    }
}

/// Makes and opens segments that hold a `T`; what [`Segment::of`] gives.
#[derive(Debug)]
pub struct SegmentOf<T: Shared>(PhantomData<fn() -> T>);

impl<T: Shared> SegmentOf<T> {
    /// Makes a segment that holds a `T` made from `init`.
    ///
    /// Killed inside: the segment is there whole, or not at all.
    ///
    /// # Errors
    /// As [`Segment::create`]; `InvalidArgument` also for an `init` that cannot be, as a barrier of no parties.
    pub fn create(
        self,
        name: &str,
        init: T::Init,
        options: &SegmentOptions,
    ) -> Result<T, SegmentError> {
        let plan = Plan::new::<T>(name, &init)?;
        let kind = Kind::Shared;
        open_placed(Segment::create_object(name, kind, plan.len, options, |area| {
            plan.init::<T>(area, &init)
        })?)
    }

    /// Opens the segment that another program made of a `T`.
    ///
    /// # Errors
    /// As [`Segment::open`]; `WrongKind` if it holds something else, `WrongType` if it holds another struct or
    /// primitive, `Corrupt` if it was damaged.
    pub fn open(self, name: &str) -> Result<T, SegmentError> {
        open_placed(Segment::open_object(name, Kind::Shared)?)
    }

    /// Opens the segment, or makes it from `init` if there is none.
    ///
    /// # Errors
    /// As [`SegmentOf::open`] and [`SegmentOf::create`].
    pub fn open_or_create(
        self,
        name: &str,
        init: T::Init,
        options: &SegmentOptions,
    ) -> Result<T, SegmentError> {
        let plan = Plan::new::<T>(name, &init)?;
        let kind = Kind::Shared;
        open_placed(Segment::open_or_create_object(name, kind, plan.len, options, |area| {
            plan.init::<T>(area, &init)
        })?)
    }
}

fn text_of<T: Shared>() -> String {
    let mut text = String::new();
    T::describe(&mut text);
    text
}

/// Where the parts begin.
fn start(text: usize) -> Room {
    let mut room = Room(TEXT);
    room.take(text);
    room
}

/// An object that is to be made.
struct Plan {
    text: String,
    len: u64,
}

impl Plan {
    fn new<T: Shared>(name: &str, init: &T::Init) -> Result<Plan, SegmentError> {
        let text = text_of::<T>();
        let mut room = start(text.len());
        T::measure(init, &mut room)
            .map_err(|what| SegmentError::InvalidArgument { name: name.to_owned(), what })?;
        Ok(Plan { text, len: room.0 as u64 })
    }

    fn init<T: Shared>(&self, area: &Area, init: &T::Init) -> io::Result<()> {
        let text = self.text.as_bytes();
        Constants::new([VERSION, fnv1a(text), text.len() as u64, self.len]).write(area, 0);
        area.copy_in(TEXT, text);
        T::init(init, area, &mut start(text.len()))
    }
}

fn open_placed<T: Shared>(segment: Segment) -> Result<T, SegmentError> {
    let area = segment.area();
    let Some(constants) = Constants::<4>::read(area, 0) else {
        return Err(corrupt(
            &segment,
            "the constants of the shared struct do not have their checksum",
        ));
    };
    let [version, hash, text, len] = constants.words();
    if version != VERSION || len != area.len() as u64 || text > len.saturating_sub(TEXT as u64) {
        return Err(corrupt(&segment, "the constants of the shared struct are impossible"));
    }
    let wanted = text_of::<T>();
    if hash != fnv1a(wanted.as_bytes()) {
        let mut found = vec![0; (text as usize).min(SHOWN)];
        area.copy_out(TEXT, &mut found);
        return Err(wrong_type(&segment, &found, &wanted));
    }
    T::place(&segment, &mut start(wanted.len()))
}

#[cold]
fn wrong_type(segment: &Segment, found: &[u8], wanted: &str) -> SegmentError {
    let shown = |text: &str| -> String {
        let printable = text.chars().map(|c| if c.is_control() { '?' } else { c });
        printable.take(SHOWN).collect()
    };
    SegmentError::WrongType {
        name: segment.name().to_owned(),
        found: shown(&String::from_utf8_lossy(found)),
        wanted: shown(wanted),
    }
}

impl<T: Shared, const N: usize> Shared for [T; N] {
    type Init = [T::Init; N];

    fn describe(text: &mut String) {
        text.push('[');
        T::describe(text);
        text.push_str("; ");
        text.push_str(&N.to_string());
        text.push(']');
    }

    fn measure(init: &Self::Init, room: &mut Room) -> Result<(), &'static str> {
        init.iter().try_for_each(|init| T::measure(init, room))
    }

    fn init(init: &Self::Init, area: &Area, room: &mut Room) -> io::Result<()> {
        init.iter().try_for_each(|init| T::init(init, area, room))
    }

    fn place(segment: &Segment, room: &mut Room) -> Result<Self, SegmentError> {
        let mut parts = Vec::with_capacity(N);
        for _ in 0..N {
            parts.push(T::place(segment, room)?);
        }
        match parts.try_into() {
            Ok(parts) => Ok(parts),
            Err(_) => unreachable!("as many as the array has were pushed"),
        }
    }
}

/// The three ways to have a primitive in a segment of its own, as methods of its own type.
macro_rules! in_a_segment_of_its_own {
    ($(#[$note:meta])* $name:ident $([$parameter:ident: $($bound:tt)+])?, $init:ident: $kind:ty) => {
        impl $(<$parameter: $($bound)+>)? $name $(<$parameter>)? {
            $(#[$note])*
            /// Killed inside: the segment is there whole, or not at all.
            ///
            /// # Errors
            /// As [`SegmentOf::create`](crate::SegmentOf::create).
            pub fn create(
                name: &str,
                $init: $kind,
                options: &crate::SegmentOptions,
            ) -> Result<Self, crate::SegmentError> {
                crate::Segment::of::<Self>().create(name, $init, options)
            }

            /// Opens the one that another program made in a segment of its own.
            ///
            /// # Errors
            /// As [`SegmentOf::open`](crate::SegmentOf::open).
            pub fn open(name: &str) -> Result<Self, crate::SegmentError> {
                crate::Segment::of::<Self>().open(name)
            }

            /// Opens it, or makes it if there is none.
            ///
            /// # Errors
            /// As [`SegmentOf::open_or_create`](crate::SegmentOf::open_or_create).
            pub fn open_or_create(
                name: &str,
                $init: $kind,
                options: &crate::SegmentOptions,
            ) -> Result<Self, crate::SegmentError> {
                crate::Segment::of::<Self>().open_or_create(name, $init, options)
            }
        }
    };
}
pub(super) use in_a_segment_of_its_own;
