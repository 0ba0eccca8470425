//! Files that are not what their name says.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use steadfast::{Mutex, Queue, Segment, SegmentError};

use crate::support::{Name, watchdog};
use crate::{ephemeral, plain};

#[test]
fn other_files_are_not_segments() {
    let _dog = watchdog();
    let contents: [&[u8]; 4] = [b"", b"short", &[0; 4096], &[0xff; 10_000]];
    for content in contents {
        let name = Name::new("foreign");
        fs::write(name.file(), content).unwrap();
        let open = Segment::open(&name);
        assert!(matches!(open, Err(SegmentError::NotASegment { .. })), "{open:?}");
        let made = Segment::create(&name, 1, &plain());
        assert!(matches!(made, Err(SegmentError::AlreadyExists { .. })), "{made:?}");
        let either = Segment::open_or_create(&name, 1, &plain());
        assert!(matches!(either, Err(SegmentError::NotASegment { .. })), "{either:?}");
        Segment::unlink(&name).unwrap();
        assert!(!name.file().exists());
    }
}

#[test]
fn links_directories_and_pipes_are_not_followed() {
    let _dog = watchdog();
    let target = Name::new("target");
    let _segment = Segment::create(&target, 1, &plain()).unwrap();
    let link = Name::new("link");
    symlink(target.file(), link.file()).unwrap();
    let directory = Name::new("directory");
    fs::create_dir(directory.file()).unwrap();
    let pipe = Name::new("pipe");
    let path = CString::new(pipe.file().as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is NUL-terminated and lives until the call returns.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    for name in [&link, &directory, &pipe] {
        let open = Segment::open(name);
        assert!(matches!(open, Err(SegmentError::NotASegment { .. })), "{name}: {open:?}");
    }
    Segment::list().unwrap();
    Segment::unlink(&link).unwrap();
    assert!(target.file().exists() && !link.file().exists(), "the link went, not its target");
}

#[test]
fn another_layout_version_is_named() {
    let _dog = watchdog();
    let name = Name::new("version");
    drop(Segment::create(&name, 1, &plain()).unwrap());
    let mut bytes = fs::read(name.file()).unwrap();
    bytes[8..12].copy_from_slice(&9_u32.to_ne_bytes());
    fs::write(name.file(), bytes).unwrap();
    let error = Segment::open(&name).unwrap_err();
    assert!(matches!(error, SegmentError::WrongVersion { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("layout 9") && text.contains("layout 1"), "{text}");
}

#[test]
fn a_flipped_byte_of_the_header_is_noticed() {
    let _dog = watchdog();
    let name = Name::new("flip");
    drop(Segment::create(&name, 1, &plain()).unwrap());
    let good = fs::read(name.file()).unwrap();
    for at in (0..128).chain(4088..4096).chain([1000, 4000]) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(name.file(), bytes).unwrap();
        assert!(Segment::open(&name).is_err(), "byte {at}");
    }
    fs::write(name.file(), good).unwrap();
    Segment::open(&name).unwrap();
}

#[test]
fn a_file_of_another_length_is_corrupt() {
    let _dog = watchdog();
    let name = Name::new("length");
    drop(Segment::create(&name, 100_000, &plain()).unwrap());
    let file = fs::OpenOptions::new().write(true).open(name.file()).unwrap();
    let right = file.metadata().unwrap().len();
    for wrong in [4096, right - 4096, right - 1, right + 1, right * 2] {
        file.set_len(wrong).unwrap();
        let open = Segment::open(&name);
        assert!(matches!(open, Err(SegmentError::Corrupt { .. })), "{wrong}: {open:?}");
    }
    file.set_len(4095).unwrap();
    assert!(matches!(Segment::open(&name), Err(SegmentError::NotASegment { .. })));
}

#[test]
fn slots_may_hold_anything() {
    let _dog = watchdog();
    let name = Name::new("slots");
    drop(Segment::create(&name, 1, &plain()).unwrap());
    let mut bytes = fs::read(name.file()).unwrap();
    bytes[4096..4096 + 128 * 64].fill(0xff);
    fs::write(name.file(), bytes).unwrap();
    let segment = Segment::open(&name).unwrap();
    assert_eq!(segment.users(), 1);
    assert_eq!(crate::generation(&name, 0), 1, "after 0xffff comes 1");
}

#[test]
fn another_kind_of_object_is_refused() {
    let _dog = watchdog();
    let name = Name::new("kind");
    let _segment = Segment::create(&name, 4096, &ephemeral()).unwrap();
    let queue = Queue::<[u8]>::open(&name).err();
    assert!(matches!(queue, Some(SegmentError::WrongKind { .. })), "{queue:?}");
    let mutex = Mutex::<u64>::open(&name).err();
    assert!(matches!(mutex, Some(SegmentError::WrongKind { .. })), "{mutex:?}");
    let other = Name::new("queue");
    let _queue = Queue::<[u8]>::create(&other, &Default::default()).unwrap();
    let open = Segment::open(&other);
    assert!(matches!(open, Err(SegmentError::WrongKind { .. })), "{open:?}");
}
