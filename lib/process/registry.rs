//! The functions that a process can run: registered by [`register!`](crate::register), found by name.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::OnceLock;

use serde::{Serialize, de::DeserializeOwned};

use crate::message;

use super::wire::{Build, PROTOCOL};

/// A function that a [`Process`](crate::Process) can run: up to eight arguments, which come as a tuple.
///
/// It is implemented for all of them. To be run it must be registered too.
pub trait Function<A>: Copy + 'static {
    /// What it returns.
    type Output;

    /// Calls it.
    #[doc(hidden)]
    fn call(self, arguments: A) -> Self::Output;
}

macro_rules! function {
    ($($argument:ident $value:ident),*) => {
        impl<F, R, $($argument),*> Function<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Copy + 'static,
        {
            type Output = R;

            fn call(self, ($($value,)*): ($($argument,)*)) -> R {
                self($($value),*)
            }
        }
    };
}

function!();
function!(A a);
function!(A a, B b);
function!(A a, B b, C c);
function!(A a, B b, C c, D d);
function!(A a, B b, C c, D d, E e);
function!(A a, B b, C c, D d, E e, G g);
function!(A a, B b, C c, D d, E e, G g, H h);
function!(A a, B b, C c, D d, E e, G g, H h, I i);

/// A value that knows what to do in a process of its own, for [`Process::of`](crate::Process::of).
///
/// ```rust,standalone_crate
/// use serde::{Deserialize, Serialize};
/// use steadfast::{Process, Run};
///
/// #[derive(Serialize, Deserialize)]
/// struct Countdown { from: u32 }
///
/// impl Run for Countdown {
///     type Output = Vec<u32>;
///
///     fn run(self) -> Vec<u32> {
///         (0..self.from).rev().collect()
///     }
/// }
///
/// steadfast::register!(Countdown::run);
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     steadfast::init();
///     let process = Process::of(Countdown { from: 3 }).start()?;
///     assert_eq!(process.result()?, [2, 1, 0]);
///     Ok(())
/// }
/// ```
pub trait Run: Serialize + DeserializeOwned + 'static {
    /// What it comes to.
    type Output: Serialize + DeserializeOwned;

    /// What the process does.
    fn run(self) -> Self::Output;
}

/// Why a call came to nothing, panics aside.
pub(super) enum CallError {
    /// The arguments could not be read.
    Arguments(String),
    /// The result could not be written.
    Result(String),
}

/// A registered function. Made by [`register!`](crate::register) alone.
#[doc(hidden)]
pub struct Registered {
    name: &'static str,
    types: fn() -> Types,
    call: fn(&[u8]) -> Called,
}

/// The types of a function.
#[doc(hidden)]
pub struct Types {
    id: TypeId,
    function: &'static str,
    arguments: &'static str,
    output: &'static str,
}

/// The bytes of a result.
#[doc(hidden)]
pub struct Called(Result<Vec<u8>, CallError>);

inventory::collect!(Registered);

impl Registered {
    #[doc(hidden)]
    pub const fn new(
        name: &'static str,
        types: fn() -> Types,
        call: fn(&[u8]) -> Called,
    ) -> Registered {
        Registered { name, types, call }
    }

    /// Runs it; its panics go through.
    pub(super) fn call(&self, arguments: &[u8]) -> Result<Vec<u8>, CallError> {
        (self.call)(arguments).0
    }
}

#[doc(hidden)]
pub fn types_of<F: Function<A>, A>(_: F) -> Types {
    Types {
        id: TypeId::of::<F>(),
        function: std::any::type_name::<F>(),
        arguments: std::any::type_name::<A>(),
        output: std::any::type_name::<F::Output>(),
    }
}

#[doc(hidden)]
pub fn call<F, A>(function: F, arguments: &[u8]) -> Called
where
    F: Function<A, Output: Serialize + DeserializeOwned>,
    A: Serialize + DeserializeOwned,
{
    let called = || {
        let arguments: A = message::decode(arguments).map_err(CallError::Arguments)?;
        let output = function.call(arguments);
        let mut bytes = Vec::new();
        message::encode(&output, &mut bytes).map_err(CallError::Result)?;
        Ok(bytes)
    };
    Called(called())
}

/// Makes functions known by name, so that they can be run in another process: outside of any function,
/// once for each.
///
/// A function that [`Process::new`](crate::Process::new) gets must be registered in the program. It may
/// have up to eight arguments; they and its result must be types that serde can write and read and that
/// own what they hold (`String`, not `&str`). Methods and instances of generic functions are functions
/// too: `register!(Greeter::run, sum::<u64>)`. Closures cannot be registered.
///
/// The name is the path of the module and what is written here. Parent and child are the same program, or
/// two that register the same functions: their tables are compared when a child starts.
///
/// ```
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// fn shout(words: Vec<String>, times: usize) -> String {
///     words.join(" ").to_uppercase().repeat(times)
/// }
///
/// steadfast::register!(square, shout);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! register {
    ($($function:path),+ $(,)?) => {$(
        $crate::parts::inventory::submit! {
            $crate::parts::Registered::new(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!($function)),
                || $crate::parts::types_of($function),
                |arguments| $crate::parts::call($function, arguments),
            )
        }
    )+};
}

/// All registered functions of this program.
pub(super) struct Table {
    by_name: HashMap<&'static str, &'static Registered>,
    by_type: HashMap<TypeId, &'static Registered>,
    /// Names that several functions have.
    ambiguous: Vec<&'static str>,
    build: Build,
}

/// Why a function cannot be started.
pub(super) enum Missing {
    NotRegistered,
    Ambiguous(&'static str),
}

impl Table {
    pub(super) fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Table::of(inventory::iter::<Registered>.into_iter()))
    }

    fn of(all: impl Iterator<Item = &'static Registered>) -> Table {
        let (mut by_name, mut by_type) = (HashMap::new(), HashMap::new());
        let (mut ambiguous, mut lines) = (Vec::new(), Vec::new());
        for one in all {
            let types = (one.types)();
            by_type.insert(types.id, one);
            if let Some(other) = by_name.insert(one.name, one)
                && (other.types)().id != types.id
            {
                ambiguous.push(one.name);
            }
            lines.push(format!(
                "{}\0{}\0{}\0{}\n",
                one.name, types.function, types.arguments, types.output
            ));
        }
        lines.sort_unstable();
        lines.dedup();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let text = format!("{PROTOCOL}\0{version}\n{}", lines.concat());
        let build = Build { version, table: hash(text.as_bytes()), functions: lines.len() as u32 };
        Table { by_name, by_type, ambiguous, build }
    }

    /// What parent and child compare.
    pub(super) fn build(&self) -> &Build {
        &self.build
    }

    /// The name under which the function of this type was registered.
    pub(super) fn name_of(&self, function: TypeId) -> Result<&'static str, Missing> {
        let found = self.by_type.get(&function).ok_or(Missing::NotRegistered)?;
        match self.ambiguous.contains(&found.name) {
            true => Err(Missing::Ambiguous(found.name)),
            false => Ok(found.name),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&'static Registered> {
        self.by_name.get(name).copied()
    }
}

/// FNV-1a: the same in every build, which std's hashers do not promise.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(x: u32) -> u32 {
        x * 2
    }

    fn join(a: String, b: Vec<u8>) -> (String, Vec<u8>) {
        (a, b)
    }

    fn nothing() {}

    static DOUBLE: Registered = Registered::new("double", || types_of(double), |a| call(double, a));
    static JOIN: Registered = Registered::new("join", || types_of(join), |a| call(join, a));
    static AGAIN: Registered =
        Registered::new("double", || types_of(nothing), |a| call(nothing, a));

    #[test]
    fn a_function_is_found_and_called() {
        let table = Table::of([&DOUBLE, &JOIN].into_iter());
        assert!(matches!(table.name_of(types_of(double).id), Ok("double")));
        assert!(matches!(table.name_of(types_of(nothing).id), Err(Missing::NotRegistered)));
        let mut bytes = Vec::new();
        message::encode(&(21_u32,), &mut bytes).expect("written");
        let called = table.find("double").expect("registered").call(&bytes).ok().expect("called");
        assert_eq!(message::decode::<u32>(&called), Ok(42));
        let called = table.find("join").expect("registered").call(&bytes);
        assert!(matches!(called, Err(CallError::Arguments(_))), "other arguments are an error");
        assert!(table.find("nothing").is_none());
    }

    #[test]
    fn the_hash_knows_names_and_types_but_no_order() {
        let hash_of = |all: &[&'static Registered]| Table::of(all.iter().copied()).build.table;
        assert_eq!(hash_of(&[&DOUBLE, &JOIN]), hash_of(&[&JOIN, &DOUBLE, &DOUBLE]));
        assert_ne!(hash_of(&[&DOUBLE]), hash_of(&[&DOUBLE, &JOIN]));
        assert_ne!(hash_of(&[&DOUBLE]), hash_of(&[&AGAIN]));
    }

    #[test]
    fn one_name_for_two_functions_is_noticed() {
        let table = Table::of([&DOUBLE, &AGAIN].into_iter());
        assert!(matches!(table.name_of(types_of(nothing).id), Err(Missing::Ambiguous("double"))));
    }
}
