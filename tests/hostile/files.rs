//! Files under a segment's name that are no segment, or are another one.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use steadfast::{Mutex, PthreadMutex, Queue, QueueOptions, Segment, SegmentError, SegmentOptions};

use crate::image::{self, Image, PAGE, Value, sealed};
use crate::runner::{self, Cases};
use crate::support::{Rng, file, watchdog_after};

/// What an attempt to open must answer.
enum Wanted {
    NotASegment,
    WrongVersion,
    Corrupt,
    /// Any error.
    Refused,
}

type Make = fn(&Path);

/// One kind of file.
struct Oddity {
    what: &'static str,
    make: Make,
    wanted: Wanted,
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("write a file");
}

fn good() -> &'static Image {
    image::shared_queue()
}

/// A good file with other bytes in its header, and the checksum to fit.
fn forged(path: &Path, at: usize, bytes: &[u8]) {
    let mut all = good().bytes.clone();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    write(path, &sealed(all));
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a plain path")
}

fn make_fifo(path: &Path) {
    // SAFETY: the path is NUL-terminated.
    let result = unsafe { libc::mkfifo(c_path(path).as_ptr(), 0o600) };
    assert_eq!(result, 0, "mkfifo");
}

fn make_link(path: &Path) {
    let target = path.with_extension("target");
    write(&target, &good().bytes);
    std::os::unix::fs::symlink(&target, path).expect("make a link");
}

fn random(len: usize, path: &Path) {
    write(path, &Rng::new(len as u64).bytes(len));
}

const ODDITIES: &[Oddity] = &[
    Oddity { what: "empty", make: |path| write(path, &[]), wanted: Wanted::NotASegment },
    Oddity { what: "one byte", make: |path| write(path, b"S"), wanted: Wanted::NotASegment },
    Oddity {
        what: "the magic alone",
        make: |path| write(path, b"STEADFST"),
        wanted: Wanted::Refused,
    },
    Oddity {
        what: "a page less one byte",
        make: |path| write(path, &good().bytes[..PAGE - 1]),
        wanted: Wanted::Refused,
    },
    Oddity {
        what: "the header alone",
        make: |path| write(path, &good().bytes[..PAGE]),
        wanted: Wanted::Corrupt,
    },
    Oddity {
        what: "one byte short",
        make: |path| write(path, &good().bytes[..good().bytes.len() - 1]),
        wanted: Wanted::Corrupt,
    },
    Oddity {
        what: "one byte more",
        make: |path| write(path, &[&good().bytes[..], &[0]].concat()),
        wanted: Wanted::Corrupt,
    },
    Oddity { what: "zeros", make: |path| write(path, &[0; 1 << 16]), wanted: Wanted::NotASegment },
    Oddity {
        what: "text",
        make: |path| write(path, &b"hello ".repeat(2000)),
        wanted: Wanted::NotASegment,
    },
    Oddity {
        what: "random bytes",
        make: |path| random(1 << 16, path),
        wanted: Wanted::NotASegment,
    },
    Oddity {
        what: "few random bytes",
        make: |path| random(100, path),
        wanted: Wanted::NotASegment,
    },
    Oddity {
        what: "a hole of a tebibyte",
        make: |path| {
            let file = fs::File::create(path).expect("make a file");
            file.set_len(1 << 40).expect("a sparse file");
        },
        wanted: Wanted::NotASegment,
    },
    Oddity {
        what: "a good header before a hole of a tebibyte",
        make: |path| {
            write(path, &good().bytes[..PAGE]);
            let file = fs::File::options().write(true).open(path).expect("open a file");
            file.set_len(1 << 40).expect("a sparse file");
        },
        wanted: Wanted::Corrupt,
    },
    Oddity {
        what: "a directory",
        make: |path| fs::create_dir(path).expect("make a directory"),
        wanted: Wanted::Refused,
    },
    Oddity { what: "a pipe", make: make_fifo, wanted: Wanted::Refused },
    Oddity { what: "a link to a good one", make: make_link, wanted: Wanted::Refused },
    Oddity {
        what: "a link to nothing",
        make: |path| {
            std::os::unix::fs::symlink("/dev/shm/steadfast.none", path).expect("make a link")
        },
        wanted: Wanted::Refused,
    },
    Oddity {
        what: "a link to a device",
        make: |path| std::os::unix::fs::symlink("/dev/zero", path).expect("make a link"),
        wanted: Wanted::Refused,
    },
    Oddity {
        what: "layout version 0",
        make: |path| forged(path, 8, &0_u32.to_le_bytes()),
        wanted: Wanted::WrongVersion,
    },
    Oddity {
        what: "the next layout version",
        make: |path| forged(path, 8, &(good().bytes[8] as u32 + 1).to_le_bytes()),
        wanted: Wanted::WrongVersion,
    },
    Oddity {
        what: "another layout version with a broken checksum",
        make: |path| {
            let mut bytes = good().bytes.clone();
            bytes[8..12].fill(0xff);
            write(path, &bytes);
        },
        wanted: Wanted::WrongVersion,
    },
    Oddity {
        what: "another ABI",
        make: |path| forged(path, 40, &[7; 8]),
        wanted: Wanted::WrongVersion,
    },
    Oddity { what: "kind 0", make: |path| forged(path, 12, &[0; 4]), wanted: Wanted::Corrupt },
    Oddity {
        what: "kind 99",
        make: |path| forged(path, 12, &[99, 0, 0, 0]),
        wanted: Wanted::Corrupt,
    },
    Oddity {
        what: "another uuid's checksum",
        make: |path| {
            let mut bytes = good().bytes.clone();
            bytes[56..72].fill(9);
            write(path, &bytes);
        },
        wanted: Wanted::Corrupt,
    },
];

fn fits(wanted: &Wanted, error: &SegmentError) -> bool {
    match wanted {
        Wanted::NotASegment => matches!(error, SegmentError::NotASegment { .. }),
        Wanted::WrongVersion => matches!(error, SegmentError::WrongVersion { .. }),
        Wanted::Corrupt => matches!(error, SegmentError::Corrupt { .. }),
        Wanted::Refused => true,
    }
}

/// Every oddity, opened as everything.
pub struct Files;

impl Cases for Files {
    fn count(&self, _seed: u64) -> usize {
        ODDITIES.len()
    }

    fn describe(&self, _seed: u64, number: usize) -> String {
        ODDITIES[number].what.to_owned()
    }

    fn run(&self, _seed: u64, number: usize, name: &str) -> Result<(), String> {
        let oddity = &ODDITIES[number];
        let path = file(name);
        (oddity.make)(&path);
        let result = check(oddity, name);
        let _ = fs::remove_file(path.with_extension("target"));
        if fs::remove_file(&path).is_err() {
            let _ = fs::remove_dir(&path);
        }
        result
    }
}

fn check(oddity: &Oddity, name: &str) -> Result<(), String> {
    let before = fs::symlink_metadata(file(name)).expect("just made");
    let options = QueueOptions::new().capacity(4096);
    let value = image::VALUE;
    let segment = SegmentOptions::new();
    let attempts = [
        ("a queue", Queue::<[u8]>::open(name).err()),
        ("a mutex", Mutex::<Value>::open(name).err()),
        ("a pthread mutex", PthreadMutex::<Value>::open(name).err()),
        ("bytes", Segment::open(name).err()),
        ("a queue or a new one", Queue::<[u8]>::open_or_create(name, &options).err()),
        ("a mutex or a new one", Mutex::<Value>::open_or_create(name, value, &segment).err()),
    ];
    for (what, error) in attempts {
        let Some(error) = error else { return Err(format!("opened as {what}")) };
        if !fits(&oddity.wanted, &error) {
            return Err(format!("opened as {what}: {error:?}"));
        }
        if !error.to_string().contains(name) {
            return Err(format!("does not name the segment: {error}"));
        }
    }
    match Queue::<[u8]>::create(name, &options) {
        Err(SegmentError::AlreadyExists { .. }) => {}
        other => return Err(format!("created over it: {other:?}")),
    }
    let listed = Segment::list().map_err(|error| format!("list: {error}"))?;
    if let Some(info) = listed.iter().find(|info| info.name == name)
        && info.error.is_none()
    {
        return Err("listed as a good segment".to_owned());
    }
    let after = fs::symlink_metadata(file(name)).map_err(|error| format!("it is gone: {error}"))?;
    if before.len() != after.len() && after.is_file() {
        return Err(format!("its length changed from {} to {}", before.len(), after.len()));
    }
    Ok(())
}

#[test]
fn files_that_are_no_segments_are_refused_by_name_and_left_alone() {
    let _dog = watchdog_after(3 * crate::support::LIMIT);
    runner::run("files", 0, 100).all();
}

#[test]
fn a_good_segment_of_another_kind_is_refused() {
    let _dog = watchdog_after(crate::support::LIMIT);
    let name = crate::support::Name::new("kinds");
    let wrong = |error: Option<SegmentError>| matches!(error, Some(SegmentError::WrongKind { .. }));
    good().write(&name, &[]);
    assert!(wrong(Mutex::<Value>::open(&name).err()));
    assert!(wrong(PthreadMutex::<Value>::open(&name).err()));
    assert!(wrong(Segment::open(&name).err()));
    image::mutex().write(&name, &[]);
    assert!(wrong(Queue::<[u8]>::open(&name).err()));
    assert!(wrong(PthreadMutex::<Value>::open(&name).err()));
    image::plain().write(&name, &[]);
    assert!(wrong(Queue::<[u8]>::open(&name).err()));
    assert!(Segment::open(&name).is_ok());
}
