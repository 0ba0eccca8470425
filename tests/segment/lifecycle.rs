//! Making, opening, removing, and what is refused.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use steadfast::{Segment, SegmentError, SegmentOptions};

use crate::support::child::{self, Child};
use crate::support::{Name, proc, watchdog};
use crate::{plain, sandbox};

#[test]
fn bytes_are_shared_between_processes() {
    let _dog = watchdog();
    let name = Name::new("share");
    let segment = Segment::create(&name, 5000, &plain()).unwrap();
    assert_eq!((segment.name(), segment.len(), segment.users()), (&*name, 5000, 1));
    let mut bytes = [1; 5000];
    segment.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 5000], "new segments are zero");

    Child::spawn("write", &[&name]).finish();
    let mut bytes = [0; 5];
    segment.read_at(4995, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    Segment::unlink(&name).unwrap();
}

pub fn write(arguments: &[String]) {
    let segment = Segment::open(&arguments[0]).unwrap();
    segment.write_at(4995, b"hello").unwrap();
}

#[test]
fn a_name_is_taken_once() {
    let _dog = watchdog();
    let name = Name::new("once");
    assert!(matches!(Segment::open(&name), Err(SegmentError::NotFound { .. })));
    assert!(matches!(Segment::unlink(&name), Err(SegmentError::NotFound { .. })));
    let first = Segment::create(&name, 1, &plain()).unwrap();
    let again = Segment::create(&name, 1, &plain());
    assert!(matches!(again, Err(SegmentError::AlreadyExists { .. })), "{again:?}");

    Segment::unlink(&name).unwrap();
    assert!(matches!(Segment::open(&name), Err(SegmentError::NotFound { .. })));
    let second = Segment::create(&name, 1, &plain()).unwrap();
    assert_ne!(first.uuid(), second.uuid());
    first.write_at(0, b"x").unwrap(); // who is attached goes on
    assert_eq!(Segment::open(&name).unwrap().uuid(), second.uuid());
}

#[test]
fn a_durable_segment_outlives_its_processes() {
    let _dog = watchdog();
    let name = Name::new("durable");
    let uuid = Segment::create(&name, 8, &plain()).unwrap().uuid();
    assert_eq!(Segment::open(&name).unwrap().uuid(), uuid);
}

#[test]
fn one_of_many_creators_wins() {
    let _dog = watchdog();
    for round in 0..5 {
        let name = Name::new("race");
        let mut children: Vec<Child> =
            (0..4).map(|_| Child::spawn("open or create", &[&name])).collect();
        children.iter_mut().for_each(|child| child.expect("ready"));
        children.iter_mut().for_each(|child| child.say("go"));
        let uuids: Vec<String> = children.iter_mut().map(Child::hear).collect();
        assert!(uuids.iter().all(|uuid| *uuid == uuids[0]), "round {round}: {uuids:?}");
        let here = Segment::open(&name).unwrap();
        assert_eq!(here.users(), 5, "round {round}");
        children.iter_mut().for_each(|child| child.say("leave"));
        children.into_iter().for_each(Child::finish);
    }
}

pub fn open_or_create(arguments: &[String]) {
    child::tell("ready");
    child::hear();
    let segment = Segment::open_or_create(&arguments[0], 64, &plain()).unwrap();
    child::tell(u128::from_ne_bytes(segment.uuid()));
    child::hear();
}

#[test]
fn bad_names_are_refused_everywhere() {
    let _dog = watchdog();
    for bad in ["", "a/b", "../x", "a b", "a,b", "ü", "nul\0", &"x".repeat(201)] {
        let results = [
            Segment::create(bad, 1, &plain()).err(),
            Segment::open(bad).err(),
            Segment::open_or_create(bad, 1, &plain()).err(),
            Segment::unlink(bad).err(),
            Segment::unlink_unused(bad).err(),
        ];
        for error in results {
            assert!(matches!(error, Some(SegmentError::InvalidName { .. })), "{bad:?}: {error:?}");
        }
    }
    let prefix = Name::new("long");
    let long = format!("{}{}", &*prefix, "x".repeat(200 - prefix.len()));
    drop(Segment::create(&long, 1, &SegmentOptions::new().ephemeral(true)).unwrap());
}

#[test]
fn impossible_sizes_are_refused() {
    let _dog = watchdog();
    let name = Name::new("sizes");
    for (len, participants) in [(0, 1), (1, 0), (1, 4097)] {
        let made = Segment::create(&name, len, &plain().participants(participants));
        assert!(matches!(made, Err(SegmentError::InvalidArgument { .. })), "{made:?}");
    }
    for participants in [1, 4096] {
        let options = plain().participants(participants).ephemeral(true);
        Segment::create(&name, 1, &options).unwrap();
    }
    for huge in [1 << 45, 1 << 62, u64::MAX] {
        match Segment::create(&name, huge, &plain()) {
            Err(SegmentError::NoSpace { needed, free, .. }) => {
                assert!(needed >= huge && free < huge);
            }
            // A tmpfs without a limit has room for anything that fits into an address space.
            Err(SegmentError::InvalidArgument { .. } | SegmentError::Io { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!name.file().exists());
}

#[test]
fn reading_beyond_the_end_is_an_error() {
    let _dog = watchdog();
    let name = Name::new("end");
    let segment = Segment::create(&name, 10, &plain()).unwrap();
    segment.write_at(8, &[1, 2]).unwrap();
    segment.read_at(10, &mut []).unwrap();
    for (offset, count) in [(9, 2), (10, 1), (11, 0), (u64::MAX, 1), (0, 11)] {
        let mut bytes = vec![0; count];
        let read = segment.read_at(offset, &mut bytes);
        assert!(matches!(read, Err(SegmentError::InvalidArgument { .. })), "{offset} {count}");
        let wrote = segment.write_at(offset, &bytes);
        assert!(matches!(wrote, Err(SegmentError::InvalidArgument { .. })), "{offset} {count}");
    }
}

#[test]
fn a_full_tmpfs_is_an_error_at_once() {
    sandbox::scene("full");
}

pub fn full() {
    let half = Segment::create("half", 40 << 20, &plain()).unwrap();
    match Segment::create("other", 40 << 20, &plain()) {
        Err(SegmentError::NoSpace { needed, free, .. }) => {
            assert!(needed >= 40 << 20 && (20 << 20..24 << 20).contains(&free), "{needed} {free}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(sandbox::files(), ["steadfast.half"]);
    half.write_at((40 << 20) - 1, b"x").unwrap();
    Segment::unlink("half").unwrap();
}

#[test]
fn access_is_for_the_user_and_the_group_that_was_named() {
    let _dog = watchdog();
    let name = Name::new("mode");
    let segment = Segment::create(&name, 1, &plain()).unwrap();
    assert_eq!(fs::metadata(name.file()).unwrap().mode() & 0o7777, 0o600);
    let gid = fs::metadata(name.file()).unwrap().gid();
    let shared = Name::new("group");
    let _shared = Segment::create(&shared, 1, &plain().group(gid)).unwrap();
    let facts = fs::metadata(shared.file()).unwrap();
    assert_eq!((facts.mode() & 0o7777, facts.gid()), (0o660, gid));

    // Somebody else, where that can be had.
    let stranger = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let program = std::env::current_exe().unwrap();
    let trial = [&stranger[1..], &["test", "-x", program.to_str().unwrap()]].concat();
    if !proc::runs(stranger[0], &trial) {
        eprintln!("skipped: cannot be another user");
        return;
    }
    let mut child = Child::spawn_under(&stranger, "open once", &[segment.name()]);
    child.expect("no permission");
    let member = ["setpriv", "--reuid", "65534", "--regid", &gid.to_string(), "--clear-groups"];
    let mut child = Child::spawn_under(&member, "open once", &[&shared]);
    child.expect("open");
}

#[test]
fn the_list_tells_what_there_is() {
    let _dog = watchdog();
    let name = Name::new("list");
    let segment = Segment::create(&name, 77, &plain().ephemeral(true)).unwrap();
    let damaged = Name::new("damaged");
    fs::write(damaged.file(), "not a segment").unwrap();

    let list = Segment::list().unwrap();
    let info = list.iter().find(|info| info.name == *name).unwrap();
    assert_eq!(info.kind, Some(steadfast::Kind::Bytes));
    assert_eq!((info.len, info.users_alive, info.ephemeral), (77, 1, true));
    assert!(info.bytes >= 77 && info.error.is_none() && info.created.is_some());
    assert_eq!(info.creator, std::process::id());
    let info = list.iter().find(|info| info.name == *damaged).unwrap();
    assert!(info.kind.is_none() && info.error.is_some(), "{info:?}");
    drop(segment);
    assert!(Segment::list().unwrap().iter().all(|info| info.name != *name));
}

#[test]
fn a_closed_stdin_is_no_trap() {
    let _dog = watchdog();
    let name = Name::new("stdin");
    Child::spawn("without stdin", &[&name]).finish();
}

pub fn without_stdin(arguments: &[String]) {
    // SAFETY: nothing reads from the standard input of this process any more.
    assert_eq!(unsafe { libc::close(0) }, 0);
    let segment = Segment::create(&arguments[0], 1, &plain()).unwrap();
    assert_eq!(fs::read_link("/proc/self/fd/0").unwrap().to_str(), Some("/dev/null"));
    segment.write_at(0, b"x").unwrap();
    drop(segment);
    assert_eq!(descriptors_in_shm(), 0);
}

#[test]
fn no_descriptor_is_leaked() {
    let _dog = watchdog();
    let name = Name::new("fds");
    Child::spawn("descriptors", &[&name]).finish();
}

pub fn descriptors(arguments: &[String]) {
    for _ in 0..20 {
        let segment = Segment::create(&arguments[0], 1, &plain().participants(1)).unwrap();
        assert!(Segment::create(&arguments[0], 1, &plain()).is_err());
        let second = Segment::open(&arguments[0]).unwrap();
        assert_eq!(descriptors_in_shm(), 2, "one that is mapped and one for locks");
        for entry in fs::read_dir("/proc/self/fdinfo").unwrap() {
            let path = entry.unwrap().path();
            let number = path.file_name().unwrap().to_owned();
            if is_in_shm(&std::path::Path::new("/proc/self/fd").join(number)) {
                let info = fs::read_to_string(path).unwrap();
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
                let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
                assert_ne!(flags & libc::O_CLOEXEC, 0, "closed by exec");
            }
        }
        drop((segment, second));
        fs::OpenOptions::new()
            .write(true)
            .open(format!("/dev/shm/steadfast.{}", arguments[0]))
            .unwrap()
            .write_all_at(b"damaged", 0)
            .unwrap();
        assert!(Segment::open(&arguments[0]).is_err());
        Segment::unlink(&arguments[0]).unwrap();
        assert_eq!(descriptors_in_shm(), 0);
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains("/dev/shm/"), "unmapped");
    }
}

fn is_in_shm(link: &std::path::Path) -> bool {
    fs::read_link(link).is_ok_and(|target| target.starts_with("/dev/shm"))
}

fn descriptors_in_shm() -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    entries.filter(|entry| is_in_shm(&entry.as_ref().unwrap().path())).count()
}
