//! A peer makes the file shorter while it is mapped.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::ptr;

use steadfast::{Segment, SegmentError};

use crate::support::child::Child;
use crate::support::{Name, watchdog};
use crate::{ephemeral, plain};

const LEN: u64 = 1 << 20;

fn truncate(name: &str) {
    let path = format!("/dev/shm/steadfast.{name}");
    OpenOptions::new().write(true).open(path).unwrap().set_len(8192).unwrap();
}

#[test]
fn with_the_guard_truncation_is_an_error() {
    let _dog = watchdog();
    let name = Name::new("truncated");
    Child::spawn("truncated", &[&name]).finish();
}

pub fn truncated(arguments: &[String]) {
    let name = &arguments[0];
    steadfast::guard_against_truncation().unwrap();
    steadfast::guard_against_truncation().unwrap();
    let other = Segment::create(&format!("{name}-other"), LEN, &ephemeral()).unwrap();
    let segment = Segment::create(name, LEN, &plain()).unwrap();
    segment.write_at(LEN - 5, b"hello").unwrap();
    truncate(name);
    let mut bytes = [7; 5];
    let read = segment.read_at(LEN - 5, &mut bytes);
    assert!(matches!(read, Err(SegmentError::Truncated { .. })), "{read:?}");
    assert_eq!(bytes, [0; 5]);
    // From now on nothing works, and nothing dies; also at an address before the first one.
    assert!(matches!(segment.write_at(0, b"x"), Err(SegmentError::Truncated { .. })));
    assert!(matches!(segment.read_at(9000, &mut bytes), Err(SegmentError::Truncated { .. })));
    assert!(matches!(Segment::open(name), Err(SegmentError::Corrupt { .. })));
    other.write_at(LEN - 5, b"other").unwrap();
    drop(segment);
    // A new one may be mapped where the old one was.
    Segment::unlink(name).unwrap();
    let segment = Segment::create(name, LEN, &plain()).unwrap();
    segment.write_at(LEN - 5, b"again").unwrap();
    segment.read_at(LEN - 5, &mut bytes).unwrap();
    assert_eq!(&bytes, b"again");
}

#[test]
fn without_the_guard_truncation_is_fatal() {
    let _dog = watchdog();
    let name = Name::new("unguarded");
    let status = Child::spawn("truncated unguarded", &[&name]).wait();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}

pub fn unguarded(arguments: &[String]) {
    let segment = Segment::create(&arguments[0], LEN, &plain()).unwrap();
    truncate(&arguments[0]);
    let _ = segment.read_at(LEN - 5, &mut [0; 5]);
}

#[test]
fn a_fault_elsewhere_is_fatal_as_ever() {
    let _dog = watchdog();
    let name = Name::new("elsewhere");
    let status = Child::spawn("truncated elsewhere", &[&name]).wait();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}

pub fn elsewhere(arguments: &[String]) {
    steadfast::guard_against_truncation().unwrap();
    let _segment = Segment::create(&arguments[0], LEN, &ephemeral()).unwrap();
    let path = std::env::temp_dir().join(format!("{}.mapped", arguments[0]));
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
    let file = file.unwrap();
    std::fs::remove_file(path).unwrap();
    // SAFETY: a new mapping at an address of the kernel's choice.
    let mapped = unsafe {
        libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(mapped, libc::MAP_FAILED);
    // SAFETY: the page is mapped, but the file is empty: this faults, which is what is tested.
    unsafe { ptr::read_volatile(mapped.cast::<u8>()) };
}
