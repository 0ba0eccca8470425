//! Names, numbers, headers, liveness and roles, tested below the public interface.

use super::area::Area;
use super::error::SegmentError;
use super::layout::ATTACH_BYTE;
use super::participants::{Owner, Participants, Role};
use super::{Kind, Segment, SegmentOptions, name};
use crate::os::ofd_lock::{LockFile, Mode};
use crate::os::shm;

fn unique(tag: &str) -> String {
    format!("test-{}-unit-{tag}", std::process::id())
}

fn ephemeral(name: &str) -> Segment {
    let options = SegmentOptions::new().participants(3).ephemeral(true);
    Segment::create_object(name, Kind::Bytes, 64, &options, |_| Ok(())).unwrap()
}

/// A second attachment of this process, which looks like another process to the first.
fn stranger(segment: &Segment) -> Participants {
    let file = name::published(segment.name()).unwrap();
    let lock = LockFile::open(|| shm::open_to_write(&file)).unwrap();
    let mapping = &segment.inner._mapping;
    // SAFETY: exactly the bytes of the mapping; the tests drop the stranger before the segment.
    let table = unsafe { Area::new(mapping.start(), mapping.len()) };
    Participants::attach(lock, table, segment.inner.header.layout).unwrap().unwrap()
}

#[test]
fn owners_live_as_long_as_their_locks() {
    let segment = ephemeral(&unique("owners"));
    let first = stranger(&segment);
    let old = first.me();
    assert!(segment.is_alive(segment.me()) && first.is_alive(segment.me()));
    assert!(segment.is_alive(old));
    drop(first);
    assert!(!segment.is_alive(old), "its lock is free");
    let second = stranger(&segment);
    assert_ne!(second.me(), old);
    assert!(segment.is_alive(second.me()));
    assert!(!segment.is_alive(old), "its slot is held, but by the next generation");
    assert_eq!(segment.users(), 2);
}

#[test]
fn forged_owners_are_dead_or_alive_and_nothing_else() {
    let segment = ephemeral(&unique("forged"));
    let me = segment.me().bits();
    for bits in [0, 1, 0xffff, 0x1_0000, 0xffff_ffff, 0xffff_0000, me ^ 0x1_0000, me + 1, 4, 4096] {
        assert!(!segment.is_alive(Owner::from_bits(bits)), "{bits:x}");
    }
}

#[test]
fn a_role_has_one_holder_in_any_process() {
    let segment = ephemeral(&unique("roles"));
    let other = stranger(&segment);
    let taken = |role| matches!(segment.claim_role(role), Err(SegmentError::RoleTaken { .. }));
    let claim = segment.claim_role(Role::Producer).unwrap();
    assert!(taken(Role::Producer), "in the same process");
    assert!(!other.claim(Role::Producer).unwrap(), "in another");
    assert!(other.claim(Role::Consumer).unwrap());
    assert!(taken(Role::Consumer));
    drop(claim);
    assert!(other.claim(Role::Producer).unwrap());
    other.release(Role::Consumer);
    drop(segment.claim_role(Role::Consumer).unwrap());
    drop(other); // gives back what it holds
    drop(segment.claim_role(Role::Producer).unwrap());
}

#[test]
fn of_two_that_leave_at_once_the_second_to_ask_is_the_last() {
    let segment = ephemeral(&unique("last"));
    let (first, second) = (stranger(&segment), stranger(&segment));
    segment.inner.participants.am_last().unwrap(); // no longer counts
    segment.inner.participants.lock().unlock(ATTACH_BYTE, 1).unwrap();
    for participants in [&first, &second] {
        assert!(participants.lock().try_lock(ATTACH_BYTE, 1, Mode::Shared).unwrap());
    }
    assert!(!first.am_last().unwrap(), "the second has not asked yet");
    assert!(second.am_last().unwrap(), "although the first is still there");
    assert!(!first.am_last().unwrap(), "only one is");
}

#[test]
fn a_segment_that_is_kept_for_ever_stays_attached() {
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    let segment = ephemeral(&unique("kept"));
    segment.keep_for_ever();
    drop(segment);
    assert!(maps().contains(&unique("kept")));
    Segment::unlink(&unique("kept")).unwrap();
    drop(ephemeral(&unique("released")));
    assert!(!maps().contains(&unique("released")));
}

#[test]
fn what_init_writes_is_there_and_its_failure_leaves_no_file() {
    let name = unique("init");
    let options = SegmentOptions::new().ephemeral(true);
    let make = |fail: bool| {
        Segment::create_object(&name, Kind::Queue, 64, &options, |area| {
            area.copy_in(0, b"object");
            if fail { Err(std::io::Error::other("no")) } else { Ok(()) }
        })
    };
    assert!(matches!(make(true), Err(SegmentError::Io { .. })));
    let open = Segment::open_object(&name, Kind::Queue);
    assert!(matches!(open, Err(SegmentError::NotFound { .. })));
    let segment = make(false).unwrap();
    let mut bytes = [0; 6];
    segment.area().copy_out(0, &mut bytes);
    assert_eq!(&bytes, b"object");
}

mod names {
    use crate::segment::error::SegmentError;
    use crate::segment::name::{FileName, new, old, parse, published};

    #[test]
    fn the_grammar_is_kept() {
        for good in ["a", "A-Z_0.9", &"x".repeat(200), "..", "."] {
            assert_eq!(parse(&published(good).unwrap()), Some(FileName::Published(good.into())));
        }
        for bad in ["", "a/b", "a b", "a,b", "ä", "a\0", &"x".repeat(201)] {
            assert!(matches!(published(bad), Err(SegmentError::InvalidName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn private_names_are_recognised_and_fit() {
        assert_eq!(parse(&new([7; 16])), Some(FileName::New));
        let name = "x".repeat(200);
        let file = old(u64::MAX, [255; 4], &name);
        assert!(file.len() <= 255);
        assert_eq!(parse(&file), Some(FileName::Old { inode: u64::MAX, name }));
        for foreign in ["steadfast-new,", "steadfast-old,1", "steadfast-old,x,y,z", "other"] {
            assert_eq!(parse(foreign), None, "{foreign:?}");
        }
    }
}

mod layouts {
    use crate::segment::layout::{HEADER, LARGEST_OBJECT, Layout, MOST_PARTICIPANTS, SLOT};

    #[test]
    fn the_limits_hold_and_nothing_overlaps() {
        for bad in
            [(0, 1), (MOST_PARTICIPANTS + 1, 1), (1, 0), (1, LARGEST_OBJECT + 1), (1, u64::MAX)]
        {
            assert_eq!(Layout::new(bad.0, bad.1), None, "{bad:?}");
        }
        for participants in [1, 2, 64, 65, 128, MOST_PARTICIPANTS] {
            for len in [1, 127, 4096, 4097, LARGEST_OBJECT] {
                let layout = Layout::new(participants, len).unwrap();
                let last = layout.slot_at(participants - 1) + SLOT;
                assert!(layout.slot_at(0) >= HEADER);
                assert!(last as u64 <= layout.object_at);
                assert!(layout.object_at.is_multiple_of(128));
                assert!(layout.object_at + len <= layout.total);
            }
        }
    }
}

mod headers {
    use crate::segment::Kind;
    use crate::segment::error::SegmentError;
    use crate::segment::header::{CHECKSUM_AT, Header, Page};
    use crate::segment::layout::{HEADER, Layout, fnv1a};

    fn header() -> Header {
        Header {
            kind: Kind::Queue,
            ephemeral: true,
            uuid: [9; 16],
            pid_namespace: 4_026_531_836,
            created: 1,
            creator: 2,
            layout: Layout::new(128, 1 << 20).unwrap(),
        }
    }

    fn decode(page: &Page) -> Result<Header, SegmentError> {
        Header::decode(page, header().layout.total, "t")
    }

    fn sealed(mut page: Page) -> Page {
        let checksum = fnv1a(&page[..CHECKSUM_AT]);
        page[CHECKSUM_AT..].copy_from_slice(&checksum.to_ne_bytes());
        page
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(&header().encode()).unwrap(), header());
    }

    #[test]
    fn every_flipped_byte_is_an_error() {
        for at in 0..HEADER {
            for flip in [1, 0x80, 0xff] {
                let mut page = header().encode();
                page[at] ^= flip;
                assert!(decode(&page).is_err(), "byte {at} ^ {flip}");
            }
        }
    }

    #[test]
    fn forged_fields_with_a_right_checksum_are_errors() {
        for at in [12, 40, 48, 80, 84, 88, 96, 104] {
            for value in [0, 0xff, 0x7fff_ffff, u32::MAX] {
                let mut page = header().encode();
                page[at..at + 4].copy_from_slice(&u32::to_ne_bytes(value));
                // Kind 0 < n <= 4 and the small flags are legal; these values are not.
                if decode(&sealed(page)).is_ok() {
                    assert_eq!((at, value), (80, 0), "only a cleared flag is legal");
                }
            }
        }
        let short = Header::decode(&header().encode(), header().layout.total - 1, "t");
        assert!(matches!(short, Err(SegmentError::Corrupt { .. })));
    }

    #[test]
    fn another_layout_is_named() {
        let mut page = header().encode();
        page[8..12].copy_from_slice(&7_u32.to_ne_bytes());
        match decode(&page) {
            Err(SegmentError::WrongVersion { found, ours, .. }) => {
                assert!(found.contains("layout 7"), "{found}");
                assert!(ours.contains("layout 1"), "{ours}");
            }
            other => panic!("{other:?}"),
        }
    }
}
