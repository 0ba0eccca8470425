//! Values of many types, and bytes that are no value of the type.

use std::os::unix::fs::FileExt;

use steadfast::{LockError, Shareable};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

use super::Lock;
use crate::support::{Name, watchdog};
use crate::{LONG, options};

#[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Marked {
    marker: [u8; 7],
    flag: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(u8)]
enum Colour {
    Red = 3,
    Green = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Coloured {
    marker: [u8; 7],
    colour: Colour,
}

const MARKER: [u8; 7] = *b"<mark> ";

/// Writes the byte behind the marker, as a peer would: into the file.
fn poke(name: &Name, byte: u8) {
    let file = std::fs::File::options().read(true).write(true).open(name.file()).unwrap();
    let content = std::fs::read(name.file()).unwrap();
    let at = content.windows(MARKER.len()).position(|bytes| bytes == MARKER).expect("the marker");
    file.write_all_at(&[byte], (at + MARKER.len()) as u64).unwrap();
}

fn keeps<T: Shareable + Copy + PartialEq + std::fmt::Debug>(first: T, second: T) {
    let name = Name::new("types");
    let mutex = Lock::<T>::create(&name, first, &options()).unwrap();
    let other = Lock::<T>::open(&name).unwrap();
    let mut guard = other.lock().unwrap();
    assert_eq!(*guard, first);
    *guard = second;
    drop(guard);
    assert_eq!(*mutex.lock().unwrap(), second);
}

#[test]
fn values_of_many_types() {
    let _dog = watchdog();
    keeps::<u8>(1, 2);
    keeps::<u128>(1, u128::MAX);
    keeps::<f64>(0.5, -0.5);
    keeps::<bool>(true, false);
    keeps::<char>('a', '\u{10ffff}');
    keeps::<[u16; 1000]>([1; 1000], [2; 1000]);
    keeps::<[[u8; 3]; 5]>([[1; 3]; 5], [[9; 3]; 5]);
    keeps::<Colour>(Colour::Red, Colour::Green);
    let marked = |flag| Marked { marker: MARKER, flag };
    keeps::<Marked>(marked(true), marked(false));
}

#[test]
fn invalid_bytes_are_corrupt_and_valid_ones_good_again() {
    let _dog = watchdog();
    let name = Name::new("bool");
    let value = Marked { marker: MARKER, flag: true };
    let mutex = Lock::<Marked>::create(&name, value, &options()).unwrap();
    for byte in [7, 2, 0xff] {
        poke(&name, byte);
        for _ in 0..2 {
            // Not held either: each of these would otherwise be a deadlock.
            assert!(matches!(mutex.lock(), Err(LockError::Corrupt)));
            assert!(matches!(mutex.try_lock(), Err(LockError::Corrupt)));
            assert!(matches!(mutex.lock_timeout(LONG), Err(LockError::Corrupt)));
            assert!(matches!(mutex.repair(|_| panic!("no value")), Err(LockError::Corrupt)));
        }
        poke(&name, 0);
        assert_eq!(*mutex.lock().unwrap(), Marked { marker: MARKER, flag: false });
    }
    let opened = Lock::<Marked>::open(&name).unwrap();
    poke(&name, 7);
    assert!(matches!(opened.lock(), Err(LockError::Corrupt)));
}

#[test]
fn invalid_bytes_of_an_enum_are_corrupt() {
    let _dog = watchdog();
    let name = Name::new("enum");
    let value = Coloured { marker: MARKER, colour: Colour::Red };
    let mutex = Lock::<Coloured>::create(&name, value, &options()).unwrap();
    for byte in 0..=255 {
        poke(&name, byte);
        match (byte, mutex.lock()) {
            (3, Ok(guard)) => assert_eq!(guard.colour, Colour::Red),
            (5, Ok(guard)) => assert_eq!(guard.colour, Colour::Green),
            (3 | 5, Err(error)) => panic!("{byte}: {error:?}"),
            (_, result) => assert!(matches!(result, Err(LockError::Corrupt)), "{byte}"),
        }
    }
}

#[test]
fn invalid_bytes_can_be_replaced() {
    let _dog = watchdog();
    let name = Name::new("replace");
    let value = Marked { marker: MARKER, flag: true };
    let mutex = Lock::<Marked>::create(&name, value, &options()).unwrap();
    poke(&name, 7);
    assert!(matches!(mutex.lock(), Err(LockError::Corrupt)));
    mutex.replace(value).unwrap();
    assert_eq!(*mutex.lock().unwrap(), value);
}

#[test]
fn a_value_without_bytes_is_a_plain_lock() {
    let _dog = watchdog();
    let name = Name::new("unit");
    let mutex = Lock::<()>::create(&name, (), &options()).unwrap();
    let other = Lock::<()>::open(&name).unwrap();
    let guard = mutex.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(other.try_lock(), Err(LockError::WouldBlock))));
    });
    drop(guard);
    drop(other.try_lock().unwrap());
}
