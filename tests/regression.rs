//! One test for each defect that was found and mended, as it was found.

mod support;

use std::borrow::Borrow;
use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::thread;
use std::time::Duration;

use steadfast::{
    GetError, LockError, Mutex, PthreadMutex, Queue, QueueOptions, RLock, RwLock, Segment,
    SegmentError, SegmentOptions,
};
use support::{Name, watchdog};

#[test]
fn the_bytes_of_an_object_cannot_be_written_past_its_guard() {
    let name = Name::new("past-guard");
    let mutex = Mutex::create(&name, true, &SegmentOptions::new()).unwrap();
    let guard = mutex.lock().unwrap();
    for offset in 0..mutex.segment().len() {
        let written = mutex.segment().write_at(offset, &[7]);
        assert!(matches!(written, Err(SegmentError::WrongKind { .. })));
        let read = mutex.segment().read_at(offset, &mut [0]);
        assert!(matches!(read, Err(SegmentError::WrongKind { .. })));
    }
    assert!(*guard);
}

#[test]
fn a_refused_pthread_lock_leaves_the_locks_around_it_alone() {
    let _watchdog = watchdog();
    let (outer, inner) = (Name::new("outer"), Name::new("inner"));
    let outer = PthreadMutex::create(&outer, 1_u32, &SegmentOptions::new()).unwrap();
    let inner = Mutex::create(&inner, 1_u32, &SegmentOptions::new()).unwrap();
    let outer_guard = outer.lock().unwrap();
    let inner_guard = inner.lock().unwrap();
    assert!(matches!(outer.lock(), Err(LockError::Deadlock)));
    drop(inner_guard);
    drop(inner); // unmapped: nothing may point there any more
    drop(outer_guard);
    drop(outer.lock().unwrap());
}

#[test]
fn a_foreign_robust_mutex_may_be_released_before_ours_and_its_memory_freed() {
    let _watchdog = watchdog();
    let name = Name::new("foreign");
    let mutex = Mutex::create(&name, 1_u32, &SegmentOptions::new()).unwrap();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new private page at an address of the kernel's choice.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    let foreign = page.cast::<libc::pthread_mutex_t>();
    // SAFETY: all zero bytes are storage for the attributes.
    let mut robust: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
    // SAFETY: storage of our own.
    unsafe { libc::pthread_mutexattr_init(&mut robust) };
    // SAFETY: initialised above.
    unsafe { libc::pthread_mutexattr_setrobust(&mut robust, libc::PTHREAD_MUTEX_ROBUST) };
    // SAFETY: the page has room for the mutex and is ours.
    unsafe { libc::pthread_mutex_init(foreign, &robust) };

    // SAFETY: initialised above.
    assert_eq!(unsafe { libc::pthread_mutex_lock(foreign) }, 0);
    let guard = mutex.lock().unwrap();
    // SAFETY: this thread locked it.
    assert_eq!(unsafe { libc::pthread_mutex_unlock(foreign) }, 0);
    // SAFETY: the mutex is unlocked, and nobody uses the page any more.
    assert_eq!(unsafe { libc::munmap(page, 4096) }, 0);
    drop(guard); // must not write there
    drop(mutex.lock().unwrap());
}

/// Gives one byte when asked for the first time, a thousand later; panics when told to.
struct Fickle {
    asked: Cell<u32>,
    panics: bool,
}

static LONG: [u8; 1000] = [b'L'; 1000];

impl Borrow<[u8]> for Fickle {
    fn borrow(&self) -> &[u8] {
        let asked = self.asked.replace(self.asked.get() + 1);
        assert!(!self.panics, "as told");
        if asked == 0 { &LONG[..1] } else { &LONG }
    }
}

fn fickle(panics: bool) -> [Fickle; 2] {
    [(); 2].map(|()| Fickle { asked: Cell::new(0), panics })
}

#[test]
fn the_callers_borrow_runs_before_the_lock_and_once() {
    let _watchdog = watchdog();
    let name = Name::new("borrow");
    let queue: Queue = Queue::create(&name, &QueueOptions::new().capacity(4096)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| queue.put_many(&fickle(true)))).is_err());
    let other = queue.clone();
    std::thread::spawn(move || other.put(&[9; 1000]).unwrap()).join().unwrap();
    queue.put_many(&fickle(false)).unwrap();
    assert_eq!(queue.get().unwrap(), [9; 1000]);
    assert_eq!(queue.get().unwrap(), b"L");
    assert_eq!(queue.get().unwrap(), b"L");
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_batch_from_a_queue_whose_shutdown_died_half_way_is_never_empty() {
    let _watchdog = watchdog();
    let name = Name::new("half-shut");
    let queue: Queue = Queue::create(&name, &QueueOptions::new()).unwrap();
    // What a process leaves that is killed right after the first store of shutdown(Drain): the
    // state word, 640 bytes into the object, says "drain", and there is no mark yet.
    let file = std::fs::OpenOptions::new().read(true).write(true).open(name.file()).unwrap();
    let len = file.metadata().unwrap().len();
    let object = (len - queue.segment().len()) / 4096 * 4096;
    file.write_at(&1_u32.to_ne_bytes(), object + 640).unwrap();
    assert!(queue.is_shutdown().unwrap(), "the state word was not where it should be");
    assert!(matches!(queue.get_many(8), Err(GetError::Closed)));
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

#[test]
fn a_segment_that_everybody_may_write_is_not_attached_to() {
    let name = Name::new("squatted");
    drop(Mutex::create(&name, 1_u32, &SegmentOptions::new()).unwrap());
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(name.file(), open_to_all).unwrap();
    assert!(matches!(Mutex::<u32>::open(&name), Err(SegmentError::Untrusted { .. })));
    Segment::unlink(&name).unwrap();
}

#[test]
fn a_reader_that_wants_to_write_is_refused_even_if_a_writer_waits_for_it() {
    let _watchdog = watchdog();
    let name = Name::new("upgrade");
    let lock = RwLock::create(&name, 1_u32, &SegmentOptions::new()).unwrap();
    let reading = lock.read().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| *lock.write().unwrap() = 2);
        // Until the writer keeps new readers out: it has the main lock then.
        let refused = || scope.spawn(|| lock.try_read().is_err()).join().unwrap();
        while !refused() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(lock.write(), Err(LockError::Deadlock)));
        assert!(matches!(lock.try_write(), Err(LockError::Deadlock)));
        assert!(matches!(lock.repair(|_| ()), Err(LockError::Deadlock)));
        let again = lock.read().unwrap();
        drop(reading); // not in the order they were taken
        assert_eq!(*again, 1);
        drop(again);
        writer.join().unwrap();
    });
    assert_eq!(*lock.read().unwrap(), 2);
}

#[test]
fn a_reader_too_many_takes_whichever_place_is_left_first() {
    let _watchdog = watchdog();
    let name = Name::new("full");
    let lock = RwLock::create(&name, 1_u32, &SegmentOptions::new()).unwrap();
    let mut places: Vec<_> = (0..64).map(|_| lock.read().unwrap()).collect();
    let once_more = lock.read().unwrap(); // for one who has a place already there is room
    thread::scope(|scope| {
        let refused = scope.spawn(|| matches!(lock.try_read(), Err(LockError::WouldBlock)));
        assert!(refused.join().unwrap());
        for _ in 0..4 {
            let place = places.swap_remove(places.len() / 2);
            let late = scope.spawn(|| drop(lock.read().unwrap()));
            drop(place);
            late.join().unwrap();
        }
    });
    drop((places, once_more));
    assert!(lock.try_write().is_ok(), "as many left as came");
}

#[test]
fn a_lock_that_is_taken_again_in_its_repair_is_still_held_afterwards() {
    let _watchdog = watchdog();
    let name = Name::new("repair-again");
    let lock = RLock::create(&name, (), &SegmentOptions::new()).unwrap();
    let free = || thread::scope(|scope| scope.spawn(|| lock.try_lock().is_ok()).join().unwrap());
    lock.repair(|| {
        assert_eq!(lock.lock().unwrap().depth(), 2);
        assert!(lock.is_mine() && !free());
    })
    .unwrap();
    assert!(!lock.is_mine() && free());
}

#[test]
fn which_handle_of_a_lock_judged_does_not_matter() {
    let _watchdog = watchdog();
    let name = Name::new("two-handles");
    let first = RLock::create(&name, (), &SegmentOptions::new()).unwrap();
    let second = RLock::open(&name).unwrap();
    let die = || {
        thread::scope(|scope| scope.spawn(|| std::mem::forget(first.lock().unwrap())).join())
            .unwrap();
    };
    die();
    let Err(LockError::OwnerDied(outer)) = first.lock() else { panic!("its owner has ended") };
    second.lock().unwrap().mark_consistent();
    drop(outer);
    drop(first.lock().unwrap());

    die();
    let Err(LockError::OwnerDied(outer)) = first.lock() else { panic!("its owner has ended") };
    let inner = second.lock().unwrap();
    drop(outer);
    drop(inner); // the last one, and nobody has judged
    assert!(matches!(first.lock(), Err(LockError::Abandoned)));
    first.repair(|| ()).unwrap();

    let outer = first.lock().unwrap();
    second.lock().unwrap().abandon();
    drop(outer);
    assert!(matches!(second.lock(), Err(LockError::Abandoned)));
}
