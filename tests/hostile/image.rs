//! The bytes of good segments, where their words are, and what to write there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use steadfast::{Mutex, PthreadMutex, Queue, QueueOptions, Segment, SegmentOptions};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

use crate::support::{Name, file};

/// Where the object is, in the header.
const OBJECT_AT: usize = 96;
/// Where the object's length is, in the header.
const OBJECT_LEN: usize = 104;
/// The header page, whose last word is its checksum.
pub const PAGE: usize = 4096;
/// Participants of every image.
const PARTICIPANTS: u16 = 4;

/// The bytes of a good segment.
pub struct Image {
    pub bytes: Vec<u8>,
    /// Where the object begins.
    pub object: usize,
}

impl Image {
    pub fn of(name: &str) -> Image {
        let bytes = std::fs::read(file(name)).expect("the segment's file");
        let object = read64(&bytes, OBJECT_AT) as usize;
        assert!(object.is_multiple_of(128) && object < bytes.len());
        Image { bytes, object }
    }

    /// Writes it as a segment, with `changes`.
    pub fn write(&self, name: &str, changes: &[Change]) {
        let path = file(name);
        let _ = std::fs::remove_file(&path);
        let mut bytes = self.bytes.clone();
        for change in changes {
            change.apply(&mut bytes);
        }
        std::fs::write(&path, bytes).expect("write a segment's file");
    }

    pub fn word(&self, offset: usize) -> u64 {
        read64(&self.bytes, offset)
    }
}

fn read64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// One corruption.
#[derive(Clone, Debug)]
pub struct Change {
    pub offset: usize,
    pub bytes: Vec<u8>,
}

impl Change {
    pub fn word(offset: usize, value: u64) -> Change {
        Change { offset, bytes: value.to_le_bytes().to_vec() }
    }

    fn apply(&self, bytes: &mut [u8]) {
        bytes[self.offset..self.offset + self.bytes.len()].copy_from_slice(&self.bytes);
    }

    /// Writes it into a live segment's file, as a peer would.
    pub fn poke(&self, name: &str) {
        let file = File::options().write(true).open(file(name)).expect("the segment's file");
        file.write_all_at(&self.bytes, self.offset as u64).expect("write into it");
    }
}

/// One case: what changes, and whether under a live handle or before it is opened.
pub struct Case {
    pub change: Change,
    pub live: bool,
}

impl Case {
    pub fn describe(&self, image: &Image) -> String {
        let Change { offset, bytes } = &self.change;
        let object = offset.checked_sub(image.object);
        let place = object.map_or_else(String::new, |at| format!(" (object +{at})"));
        let was = &image.bytes[*offset..offset + bytes.len()];
        let when = if self.live { "under a live handle" } else { "before open" };
        format!("offset {offset}{place}: {was:02x?} -> {bytes:02x?}, {when}")
    }
}

/// Every byte of a file, but for a range of the object: with many values, before and after open,
/// where participants and the first `hot` bytes of the object are; with fewer elsewhere.
pub fn byte_cases(image: &Image, hot: usize, but: std::ops::Range<usize>) -> Vec<Case> {
    let slots = PAGE..PAGE + 64 * usize::from(PARTICIPANTS);
    let object_len = image.word(OBJECT_LEN) as usize;
    let mut all = Vec::new();
    for (offset, byte) in image.bytes.iter().copied().enumerate() {
        let in_object = offset.wrapping_sub(image.object);
        let others = other_bytes(byte);
        // How many values, and how many of them under a live handle too.
        let (values, live) = if but.contains(&in_object) {
            continue;
        } else if slots.contains(&offset) || in_object < hot {
            (others.len(), others.len())
        } else if offset < PAGE {
            (1, 1) // checked once, with a checksum, and never read again
        } else if in_object < object_len {
            (1, 2)
        } else if offset % 16 == 0 {
            (1, 0) // between the parts, where nothing is
        } else {
            continue;
        };
        let change = |value: &u8| Change { offset, bytes: vec![*value] };
        let case = |live| move |value| Case { change: change(value), live };
        all.extend(others[..values].iter().map(case(false)));
        all.extend(others[..live].iter().map(case(true)));
    }
    all
}

/// The header's checksum, FNV-1a of all bytes before it.
pub fn sealed(mut page: Vec<u8>) -> Vec<u8> {
    let hash = fnv1a(&page[..PAGE - 8]);
    page[PAGE - 8..PAGE].copy_from_slice(&hash.to_le_bytes());
    page
}

pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A few values that a byte could have instead; as many for every byte.
pub fn other_bytes(byte: u8) -> [u8; 5] {
    let none = if byte == 0 { 0x55 } else { 0 };
    [!byte, byte ^ 1, none, byte ^ 0x80, byte.wrapping_add(1)]
}

/// Values that a word could have instead: edges, neighbours, every single bit flipped;
/// as many for every word.
pub fn other_words(word: u64) -> Vec<u64> {
    let mut all = vec![0, 1, 2, u64::MAX, i64::MAX as u64, 1 << 63];
    all.extend([u64::from(u32::MAX), 0xffff_ffff_0000_0000, 0x8000_0000_8000_0000]);
    for step in [1, 2, 8, 256, 511, 512, 513, 4096, 1 << 31] {
        all.extend([word.wrapping_add(step), word.wrapping_sub(step)]);
        all.extend([word.wrapping_add(step << 32), word.wrapping_sub(step << 32)]);
    }
    all.extend((0..64).map(|bit| word ^ 1 << bit));
    all
}

pub fn options() -> SegmentOptions {
    SegmentOptions::new().participants(PARTICIPANTS)
}

/// A queue whose ring has wrapped, with messages on both sides of its end.
fn queue_image(single: bool) -> Image {
    let name = Name::new("image");
    let queue = QueueOptions::new().capacity(4096).segment(options());
    let queue = if single { queue.single_producer().single_consumer() } else { queue };
    let queue = Queue::<[u8]>::create(&name, &queue).expect("create a queue");
    let lens = [600, 900, 40, 0, 1000, 500, 8, 600, 0, 300, 77];
    if single {
        let mut producer = queue.producer().expect("nobody else has it");
        let mut consumer = queue.consumer().expect("nobody else has it");
        for (at, len) in lens.into_iter().enumerate() {
            producer.try_put(&vec![at as u8; len]).expect("room");
            if at < 6 {
                consumer.try_get().expect("a message");
            }
        }
    } else {
        for (at, len) in lens.into_iter().enumerate() {
            queue.try_put(&vec![at as u8; len]).expect("room");
            if at < 6 {
                queue.try_get().expect("a message");
            }
        }
    }
    assert_eq!(queue.qsize().expect("a size"), 5);
    drop(queue);
    Image::of(&name)
}

/// A queue with messages inside that anybody may use.
pub fn shared_queue() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| queue_image(false))
}

/// The same with both roles single.
pub fn single_queue() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| queue_image(true))
}

/// A value with invalid bit patterns.
#[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Value {
    pub numbers: [u8; 7],
    pub flag: bool,
}

pub const VALUE: Value = Value { numbers: *b"numbers", flag: true };

/// A free mutex.
pub fn mutex() -> Image {
    let name = Name::new("image");
    drop(Mutex::create(&name, VALUE, &options()).expect("create a mutex"));
    Image::of(&name)
}

/// A free mutex of the C library.
pub fn pthread_mutex() -> Image {
    let name = Name::new("image");
    drop(PthreadMutex::create(&name, VALUE, &options()).expect("create a mutex"));
    Image::of(&name)
}

/// A segment of plain bytes.
pub fn plain() -> Image {
    let name = Name::new("image");
    let segment = Segment::create(&name, 100, &options()).expect("create a segment");
    segment.write_at(0, b"plain").expect("five bytes fit");
    drop(segment);
    Image::of(&name)
}
