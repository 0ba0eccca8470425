//! The layout of shared memory, as documented: every word where it is said to be. Programs of the
//! same layout version share segments, so a change here needs a new layout version, and then a new
//! golden header below.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use steadfast::{
    Array, Barrier, BoundedSemaphore, Condvar, Event, JoinableQueue, Mutex, Once, Permits,
    PthreadMutex, Queue, QueueOptions, RLock, RwLock, Segment, SegmentOptions, Semaphore, Shared,
    Shutdown, Value,
};
use support::{Name, proc};

/// The first 128 bytes of the header of a queue of 4096 bytes for 3 participants, layout version 1.
/// `.` = differs from segment to segment: the crate's version, uuid, PID namespace, time, creator.
const GOLDEN_HEADER: &str = "
    5354454144465354 01000000 02000000 ................................................
    074f62da7d765b30 0040000000000000 ................................ ................
    00000000 03000000 0010000000000000 0020000000000000 0014000000000000
    ................ ........ 00000000";

/// The constants of a queue of 4096 bytes with a maxsize of 7 and two single roles: object version,
/// ring bytes, maxsize, roles, bytes of the store, attempts and dead letters kept, bytes of the object,
/// checksum.
const GOLDEN_CONSTANTS: &str = "
    0200000000000000 0010000000000000 0700000000000000 0300000000000000 0000000000000000
    00000000e8030000 0014000000000000 427ecd6e0da61b94";

/// The constants of a mutex with a value of 16 bytes that is aligned to 8: size, alignment, checksum.
const GOLDEN_MUTEX: &str = "1000000000000000 0800000000000000 7d39cbe982b4d76f";

/// The constants of the shared struct below: version 1, hash of the text, bytes of the text, bytes of the
/// object, checksum.
const GOLDEN_SHARED: &str = "
    0100000000000000 3ff6036bd16212ca 4300000000000000 0003000000000000 76fb817933788060";

const HEADER: usize = 4096;
const SLOT: usize = 64;

/// A segment's bytes.
struct Bytes(Vec<u8>);

impl Bytes {
    fn of(name: &Name) -> Bytes {
        Bytes(std::fs::read(name.file()).expect("the segment's file"))
    }

    fn at(&self, offset: usize, len: usize) -> &[u8] {
        &self.0[offset..offset + len]
    }

    fn word(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.at(offset, 8).try_into().expect("eight bytes"))
    }

    fn word32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.at(offset, 4).try_into().expect("four bytes"))
    }

    /// A word of the object.
    fn object(&self, offset: usize) -> u64 {
        self.word(self.word(96) as usize + offset)
    }

    fn object32(&self, offset: usize) -> u32 {
        self.word32(self.word(96) as usize + offset)
    }

    fn hex(&self, offset: usize, len: usize) -> String {
        self.at(offset, len).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn options() -> SegmentOptions {
    SegmentOptions::new().participants(3)
}

fn queue(options: QueueOptions) -> (Name, Queue) {
    let name = Name::new("layout");
    let queue = Queue::create(&name, &options).expect("create a queue");
    (name, queue)
}

fn small() -> QueueOptions {
    QueueOptions::new().capacity(4096).segment(options())
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `{count:32, pos:32}`.
fn cursor(count: u64, pos: u64) -> u64 {
    count << 32 | pos
}

/// Whether bytes in hex are as golden ones, whose dots may be anything.
fn assert_golden(found: &str, golden: &str) {
    let golden: String = golden.split_whitespace().collect();
    let same = found.len() == golden.len()
        && found
            .chars()
            .zip(golden.chars())
            .all(|(found, golden)| golden == '.' || found == golden);
    assert!(same, "the layout has changed: raise its version\nfound  {found}\ngolden {golden}");
}

#[test]
fn the_header_is_the_golden_one() {
    let (name, _queue) = queue(small());
    assert_golden(&Bytes::of(&name).hex(0, 128), GOLDEN_HEADER);
}

#[test]
fn the_constants_are_the_golden_ones() {
    let (name, _queue) = queue(small().maxsize(7).single_producer().single_consumer());
    assert_golden(&Bytes::of(&name).hex(2 * HEADER, 64), GOLDEN_CONSTANTS);
    let name = Name::new("layout");
    let _mutex = Mutex::create(&name, [1_u64, 2], &options()).unwrap();
    assert_golden(&Bytes::of(&name).hex(2 * HEADER, 24), GOLDEN_MUTEX);
}

#[test]
fn the_header_says_what_was_made() {
    let before = SystemTime::now();
    let (name, queue) = queue(small().capacity(8192));
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.at(0, 8), b"STEADFST");
    assert_eq!(bytes.word32(12), 2, "kind: queue");
    let version = bytes.at(16, 24).split(|byte| *byte == 0).next().unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION").as_bytes());
    assert_eq!(bytes.word(48), bytes.0.len() as u64);
    assert_eq!(bytes.at(56, 16), queue.segment().uuid());
    let namespace = std::fs::metadata("/proc/self/ns/pid").unwrap();
    assert_eq!(bytes.word(72), std::os::unix::fs::MetadataExt::ino(&namespace));
    assert_eq!(bytes.word32(80), 0, "flags: durable");
    assert_eq!(bytes.word32(84), 3);
    assert_eq!(bytes.word(88), HEADER as u64);
    assert_eq!(bytes.word(96), 2 * HEADER as u64);
    assert_eq!(bytes.word(104), 1024 + 8192);
    assert_eq!(bytes.word(104), queue.segment().len());
    let created = UNIX_EPOCH + Duration::from_nanos(bytes.word(112));
    assert!(before - Duration::from_secs(1) <= created && created <= SystemTime::now());
    assert_eq!(bytes.word32(120), std::process::id());
    assert!(bytes.at(124, 4088 - 124).iter().all(|byte| *byte == 0));
    assert_eq!(bytes.word(4088), fnv1a(bytes.at(0, 4088)));
}

#[test]
fn the_kinds_and_the_flags_have_their_numbers() {
    let kind = |name: &Name| (Bytes::of(name).word32(12), Bytes::of(name).word32(80));
    let name = Name::new("kinds");
    let bytes = Segment::create(&name, 10, &options().ephemeral(true)).unwrap();
    assert_eq!(kind(&name), (1, 1));
    drop(bytes);
    let name = Name::new("kinds");
    let _mutex = Mutex::create(&name, 1_u8, &options()).unwrap();
    assert_eq!(kind(&name), (3, 0));
    let name = Name::new("kinds");
    let _mutex = PthreadMutex::create(&name, 1_u8, &options().ephemeral(true)).unwrap();
    assert_eq!(kind(&name), (4, 1));
}

#[test]
fn a_participant_has_the_first_free_slot() {
    let (name, queue) = queue(small());
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.word32(HEADER), 1, "generation");
    assert_eq!(bytes.word32(HEADER + 4), std::process::id());
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    assert_eq!(bytes.word(HEADER + 8).to_string(), fields.split(' ').nth(19).unwrap());
    assert_eq!(bytes.word(HEADER + 16), bytes.word(72), "PID namespace");
    let process = std::fs::read("/proc/self/comm").unwrap();
    assert!(bytes.at(HEADER + 24, 16).starts_with(process.trim_ascii_end()));
    assert!(bytes.at(HEADER + 40, SLOT - 40).iter().all(|byte| *byte == 0));
    assert_eq!(bytes.word32(HEADER + SLOT), 0, "the next slot was never used");
    drop(queue);
    let _again = Queue::<[u8]>::open(&name).unwrap();
    assert_eq!(Bytes::of(&name).word32(HEADER), 2, "the next generation");
}

#[test]
fn the_constants_of_a_queue_say_what_was_asked_for() {
    for (roles, options) in [
        (0, small()),
        (1, small().single_producer()),
        (2, small().single_consumer()),
        (3, small().single_producer().single_consumer()),
    ] {
        let (name, _queue) = queue(options.maxsize(9).capacity(5000));
        let bytes = Bytes::of(&name);
        let constants = [0, 8, 16, 24, 32, 40, 48].map(|at| bytes.object(at));
        assert_eq!(constants, [2, 8192, 9, roles, 0, 1000 << 32, 1024 + 8192]);
        assert_eq!(bytes.object(56), fnv1a(bytes.at(2 * HEADER, 56)));
    }
}

#[test]
fn the_words_of_a_queue_are_where_they_are_said_to_be() {
    let (name, queue) = queue(small());
    let words = |name: &Name| {
        let bytes = Bytes::of(name);
        assert_eq!((bytes.object(128), bytes.object(256)), (0, 0), "both locks are free");
        assert_eq!((bytes.object32(384) & 1, bytes.object32(512) & 1), (0, 0), "nobody sleeps");
        (bytes.object(136), bytes.object(264), bytes.object32(640))
    };
    assert_eq!(words(&name), (0, 0, 0));
    queue.put(b"twelve bytes").unwrap(); // a header and two units
    assert_eq!(words(&name), (cursor(1, 3), 0, 0));
    queue.put(b"").unwrap();
    queue.put_many(&[[0_u8; 8], [1; 8]]).unwrap();
    assert_eq!(words(&name), (cursor(4, 8), 0, 0));
    queue.get().unwrap();
    assert_eq!(words(&name), (cursor(4, 8), cursor(1, 3), 0));
    queue.get_many(2).unwrap();
    assert_eq!(words(&name), (cursor(4, 8), cursor(3, 6), 0));
    queue.shutdown(Shutdown::Drain).unwrap();
    assert_eq!(words(&name).2, 1, "drain");
    queue.shutdown(Shutdown::Now).unwrap();
    assert_eq!(words(&name).2, 2, "now");
}

const VALID: u64 = 1 << 32;
const PAD: u64 = 1 << 33;

#[test]
fn records_are_a_header_and_a_body() {
    let (name, queue) = queue(small());
    queue.put(b"twelve bytes").unwrap();
    queue.put(b"").unwrap();
    let bytes = Bytes::of(&name);
    let ring = |unit: usize| bytes.object(1024 + 8 * unit);
    assert_eq!(ring(0), 12 << 35 | VALID);
    assert_eq!(bytes.at(2 * HEADER + 1024 + 8, 16), b"twelve bytes\0\0\0\0");
    assert_eq!(ring(3), VALID | 3);
    assert_eq!(ring(4), 0, "not written yet");
    queue.shutdown(Shutdown::Drain).unwrap();
    assert_eq!(Bytes::of(&name).object(1024 + 32), 0x1fff_ffff << 35 | 4, "the end mark");
}

const INDIRECT: u64 = 1 << 34;

/// Where the store of a joinable queue of 4096 bytes is: behind the ring and the index, on a page.
const STORE: usize = 8192;

#[test]
fn a_joinable_queues_messages_are_chunks_that_the_ring_names() {
    let name = Name::new("layout");
    let options = small().max_deliveries(3);
    let queue: JoinableQueue = JoinableQueue::create(&name, &options).unwrap();
    queue.put(b"twelve bytes").unwrap();
    queue.put(&[7; 100]).unwrap();
    let bytes = Bytes::of(&name);
    let constants = [0, 8, 16, 24, 32, 40, 48].map(|at| bytes.object(at));
    let limits = 1000 << 32 | 3;
    assert_eq!(constants, [2, 4096, 0, 4, 4096, limits, (STORE + 4096) as u64]);
    let ring = |unit: usize| bytes.object(1024 + 8 * unit);
    assert_eq!([ring(0), ring(1)], [8 << 35 | VALID | INDIRECT, 1 << 32]);
    assert_eq!([ring(2), ring(3)], [8 << 35 | VALID | INDIRECT | 2, 2 << 32 | 1]);
    let owner = 1_u64 << 48 | 1 << 32;
    let chunk = |unit: usize| [8, 16, 24, 32].map(|at| bytes.object(STORE + 64 * unit + at));
    assert_eq!(chunk(0), [owner | 2, 1, 0, 12], "queued; its number, position and length");
    assert_eq!(chunk(1), [owner | 2, 2, 2, 100]);
    assert_eq!(bytes.object32(STORE), 1, "a unit");
    assert_eq!(bytes.object32(STORE + 64), 3);
    assert_eq!(bytes.at(2 * HEADER + STORE + 48, 12), b"twelve bytes");
    let (one, two) = (queue.get().unwrap(), queue.get().unwrap());
    let state = |name: &Name, unit: usize| Bytes::of(name).object(STORE + 64 * unit + 8);
    assert_eq!(state(&name, 0), owner | 1 << 16 | 3, "leased for the first time");
    two.nack().unwrap();
    assert_eq!(state(&name, 1), owner | 1 << 16 | 1 << 8 | 4, "ready, as it was refused");
    let bytes = Bytes::of(&name);
    assert_eq!([bytes.object32(304), bytes.object32(308), bytes.object32(312)], [0, 1, 0]);
    assert_eq!(bytes.object32(1024 + 4096), 1, "the index names it");
    queue.get().unwrap().nack_after(std::time::Duration::from_secs(9)).unwrap();
    assert_eq!(state(&name, 1), owner | 2 << 16 | 1 << 8 | 5, "delayed");
    let bytes = Bytes::of(&name);
    assert_eq!([bytes.object32(304), bytes.object32(308), bytes.object32(312)], [0, 0, 1]);
    assert_eq!(bytes.object32(1024 + 4096 + 4 * 63), 1, "from the other end");
    one.ack().unwrap();
    assert_eq!((state(&name, 0), Bytes::of(&name).object(896)), (0, 1), "free, and counted");
}

#[test]
fn a_record_is_padded_to_the_next_lap_when_it_does_not_fit() {
    let (name, queue) = queue(small());
    for _ in 0..5 {
        queue.put(&[7; 792]).unwrap(); // 100 units each, of 512
        queue.get().unwrap();
    }
    queue.put(&[8; 792]).unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.object(1024 + 8 * 500), (12 * 8) << 35 | PAD | VALID | 500);
    assert_eq!(bytes.object(1024), 792 << 35 | VALID | 512);
    assert_eq!(bytes.object(136), cursor(6, 612));
}

#[test]
fn a_held_mutex_names_its_owner_and_its_thread() {
    let name = Name::new("layout");
    let mutex = Mutex::create(&name, [3_u64, 4], &options()).unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object(0), bytes.object(8)), (16, 8), "size and alignment");
    assert_eq!(bytes.object(16), fnv1a(bytes.at(2 * HEADER, 16)));
    assert_eq!((bytes.object(128), bytes.object32(192)), (0, 0));
    assert_eq!((bytes.object(256), bytes.object(264)), (3, 4));
    let mut guard = mutex.lock().unwrap();
    guard[1] = 5;
    let bytes = Bytes::of(&name);
    let (generation, slot) = (1_u64, 1_u64);
    let owner = generation << 48 | slot << 32;
    assert_eq!(bytes.object(128), owner | u64::from(proc::tid().unsigned_abs()));
    assert_eq!(bytes.object(264), 5);
    guard.abandon();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object(128), bytes.object32(192)), (0, 2), "abandoned");
    mutex.repair(|_| ()).unwrap();
    assert_eq!(Bytes::of(&name).object32(192), 0);
}

#[test]
fn a_pthread_mutex_has_its_cell_at_the_same_place() {
    let name = Name::new("layout");
    let mutex = PthreadMutex::create(&name, 9_u64, &options()).unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object(0), bytes.object(8), bytes.object(256)), (8, 8, 9));
    assert_eq!(bytes.object32(128), 0, "the C library's lock word");
    let guard = mutex.lock().unwrap();
    assert_eq!(Bytes::of(&name).object32(128), proc::tid().unsigned_abs());
    drop(guard);
    assert_eq!(Bytes::of(&name).object32(128), 0);
}

#[derive(Shared)]
struct Shop {
    _tickets: Mutex<u32>,
    open: Event,
}

/// Where a primitive that is a shared segment's whole object begins: behind the constants and the text.
const PART: usize = 256;

/// A segment with a primitive of its own.
fn alone<T: Shared>(init: T::Init) -> (Name, T) {
    let name = Name::new("layout");
    let made = Segment::of::<T>().create(&name, init, &options()).expect("a primitive");
    (name, made)
}

/// What the first participant's main thread writes where it owns something.
fn owner() -> u64 {
    1 << 48 | 1 << 32 | u64::from(proc::tid().unsigned_abs())
}

#[test]
fn a_shared_struct_is_constants_a_text_and_its_parts() {
    let (name, shop) = alone::<Shop>(ShopInit { _tickets: 7, open: true });
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.word32(12), 6, "kind: shared struct");
    let text = "Shop { _tickets: Mutex<u32 (4 bytes, aligned to 4)>, open: Event, }";
    assert_golden(&bytes.hex(2 * HEADER, 40), GOLDEN_SHARED);
    assert_eq!(bytes.at(2 * HEADER + 128, text.len()), text.as_bytes());
    assert_eq!(bytes.object(8), fnv1a(text.as_bytes()));
    assert_eq!((bytes.object(16), bytes.object(24)), (text.len() as u64, bytes.word(104)));
    assert_eq!(bytes.object(32), fnv1a(bytes.at(2 * HEADER, 32)));
    // A mutex as in a segment of its own, and then the event, each at a multiple of 128.
    assert_eq!((bytes.object(PART), bytes.object(PART + 8)), (4, 4));
    assert_eq!(bytes.object32(PART + 256), 7);
    assert_eq!(bytes.object32(PART + 384), 1);
    assert_eq!(bytes.word(104), (PART + 384 + 128) as u64);
    shop.open.clear().unwrap();
    assert_eq!(Bytes::of(&name).object32(PART + 384), 0);
}

#[test]
fn the_words_of_counts_and_flags_are_where_they_are_said_to_be() {
    let (name, semaphore) = alone::<Semaphore>(3);
    semaphore.acquire().unwrap();
    assert_eq!(Bytes::of(&name).object(PART), 2, "and nobody sleeps");
    let (name, bounded) = alone::<BoundedSemaphore>(3);
    bounded.acquire().unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object(PART), bytes.object(PART + 128)), (3, 2));
    assert_eq!(bytes.object(PART + 8), fnv1a(bytes.at(2 * HEADER + PART, 8)));
    let (name, event) = alone::<Event>(false);
    let flag = || Bytes::of(&name).object(PART);
    assert_eq!(flag(), 0);
    event.set().unwrap();
    event.set().unwrap();
    assert_eq!(flag(), 1 << 1 | 1, "set once");
    event.clear().unwrap();
    assert_eq!(flag(), 1 << 1);
    let (name, changed) = alone::<Condvar>(());
    changed.notify_all().unwrap();
    assert_eq!(Bytes::of(&name).object(PART), 0, "nobody sleeps");
    let (name, once) = alone::<Once>(());
    assert_eq!((Bytes::of(&name).object(PART), Bytes::of(&name).object(PART + 128)), (0, 0));
    once.call_once(|_| assert_eq!(Bytes::of(&name).object(PART + 256), owner())).unwrap();
    assert_eq!((Bytes::of(&name).object(PART), Bytes::of(&name).object(PART + 256)), (1, 0));
}

#[test]
fn the_words_of_values_are_where_they_are_said_to_be() {
    let (name, small) = alone::<Value<u16>>(7);
    small.set(9).unwrap();
    assert_eq!(Bytes::of(&name).object(PART), 9);
    let (name, wide) = alone::<Value<[u64; 17]>>([7; 17]);
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object(PART), bytes.object(PART + 64), bytes.object(PART + 128)), (0, 0, 7));
    wide.update(|old| old.map(|part| part + Bytes::of(&name).object(PART + 64))).unwrap();
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object(PART), bytes.object(PART + 64)), (1, 0));
    let (first, second) = (bytes.object(PART + 128), bytes.object(PART + 128 + 256));
    assert_eq!((first, second), (7, 7 + owner()), "the lock was held meanwhile");
    let (name, row) = alone::<Array<u16>>(vec![1, 2, 3]);
    row.lock().unwrap()[2] = 5;
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object(PART), bytes.object(PART + 8)), (6, 2));
    assert_eq!(bytes.object(PART + 256), 5 << 32 | 2 << 16 | 1);
}

#[test]
fn the_words_of_seats_and_of_those_who_sit_are_where_they_are_said_to_be() {
    let seats = |name: &Name, at: usize, count: usize| -> Vec<[u64; 4]> {
        let bytes = Bytes::of(name);
        let seat = |seat| [0, 40, 48, 56].map(|word| bytes.object(PART + at + 64 * seat + word));
        (0..count).map(seat).filter(|seat| seat[0] != 0).collect()
    };
    let (name, permits) = alone::<Permits>(3);
    assert_eq!((Bytes::of(&name).object(PART), seats(&name, 256, 3)), (3, vec![]));
    let permit = permits.acquire().unwrap();
    assert_eq!(seats(&name, 256, 3), [[owner(), 0, 0, 0]]);
    drop(permit);
    let (name, barrier) = alone::<Barrier>(2);
    let state = || Bytes::of(&name).object(PART + 128);
    assert_eq!((Bytes::of(&name).object(PART), state()), (2, 1));
    let party = barrier.join().unwrap();
    assert_eq!(seats(&name, 256, 2), [[owner(), 0, 1, 0]], "it stays");
    std::thread::scope(|scope| {
        scope.spawn(|| barrier.wait().unwrap());
        party.wait().unwrap();
    });
    assert_eq!(state(), 2, "one trip more");
    barrier.abort().unwrap();
    assert_eq!(state(), 1 << 32 | 2);
    barrier.reset().unwrap();
    assert_eq!(state(), 2 << 32 | 2);
    drop(party);
    let (name, lock) = alone::<RwLock<u64>>(9);
    let (gate, main) = (|| Bytes::of(&name).object(PART), PART + 4224);
    assert_eq!((gate(), Bytes::of(&name).object(main + 256)), (0, 9));
    let read = lock.read().unwrap();
    assert_eq!(seats(&name, 128, 64), [[owner(), 0, 0, 0]]);
    assert_eq!(Bytes::of(&name).object(PART + 8).count_ones(), 1, "a seat was used");
    drop(read);
    let write = lock.write().unwrap();
    assert_eq!((gate(), Bytes::of(&name).object(main + 128)), (2, owner()));
    drop(write);
    assert_eq!((gate(), Bytes::of(&name).object(main + 128)), (0, 0));
    let (name, lock) = alone::<RLock>(());
    let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.object32(PART), bytes.object(PART + 256)), (2, owner()));
    drop((outer, inner));
    assert_eq!(Bytes::of(&name).object(PART + 256), 0);
}
