//! Locks whose owner lives and does not go on: a process that was stopped in the
//! middle of a put or a get looks like that. It may not be robbed, and whoever
//! gave a time-out must come back all the same.

use std::sync::mpsc;
use std::time::Duration;

use steadfast::{GetError, PutError, Queue, QueueOptions, Shutdown};

use crate::image::Change;
use crate::support::child::{self, Child};
use crate::support::{LIMIT, Name, proc, watchdog_after};

const TAIL_LOCK: usize = 128;
const HEAD_LOCK: usize = 256;
const BRIEF: Duration = Duration::from_millis(30);
/// Far more than any of the calls may wait.
const ENDLESS: Duration = Duration::from_secs(15);

/// Child: attaches to the queue and stays.
pub fn holder(arguments: &[String]) {
    let _queue = Queue::<[u8]>::open(&arguments[0]).unwrap();
    child::tell(proc::tid());
    child::hear();
}

/// A queue, and a process in whose name its locks can be held.
struct Scene {
    name: Name,
    queue: Queue,
    holder: Child,
    owner: u64,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(&QueueOptions::new())
    }

    fn with(options: &QueueOptions) -> Scene {
        let name = Name::new("stopped");
        let queue = Queue::create(&name, &options.clone().capacity(4096)).unwrap();
        let mut holder = Child::spawn("stopped", &[&name]);
        let tid: u64 = holder.hear().parse().unwrap();
        let bytes = std::fs::read(name.file()).unwrap();
        let word32 = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let its = |slot: &usize| word32(4096 + 64 * slot + 4) == holder.pid().unsigned_abs();
        let slot = (0..128).find(its).expect("the child's slot");
        let generation = word32(4096 + 64 * slot);
        let owner = u64::from(generation) << 48 | (slot as u64 + 1) << 32 | tid;
        Scene { name, queue, holder, owner }
    }

    /// Writes a lock's word as the holder would have.
    fn hold(&self, lock: usize) {
        let object = {
            let bytes = std::fs::read(self.name.file()).unwrap();
            u64::from_le_bytes(bytes[96..104].try_into().unwrap()) as usize
        };
        Change::word(object + lock, self.owner).poke(&self.name);
    }

    /// What a call gives that must not last.
    fn soon<R: Send + 'static>(
        &self,
        what: &str,
        call: impl FnOnce(&Queue) -> R + Send + 'static,
    ) -> R {
        let queue = self.queue.clone();
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = send.send(call(&queue));
        });
        receive.recv_timeout(ENDLESS).unwrap_or_else(|_| panic!("{what} does not come back"))
    }
}

#[test]
fn a_put_with_a_time_out_comes_back_from_a_stopped_producer() {
    let _dog = watchdog_after(LIMIT);
    let scene = Scene::new();
    scene.hold(TAIL_LOCK);
    let result = scene.soon("put_timeout", |queue| queue.put_timeout(b"x", BRIEF));
    assert!(matches!(result, Err(PutError::TimedOut)), "{result:?}");
    let result = scene.soon("try_put", |queue| queue.try_put(b"x"));
    assert!(matches!(result, Err(PutError::Full)), "{result:?}");
    let result = scene.soon("put_many_timeout", |queue| queue.put_many_timeout(&[*b"x"], BRIEF));
    assert!(matches!(result, Err(PutError::TimedOut)), "{result:?}");
    // The other side goes on.
    let result = scene.soon("try_get", |queue| queue.try_get());
    assert!(matches!(result, Err(GetError::Empty)), "{result:?}");
}

#[test]
fn a_get_with_a_time_out_comes_back_from_a_stopped_consumer() {
    let _dog = watchdog_after(LIMIT);
    let scene = Scene::new();
    scene.queue.put(b"first").unwrap();
    scene.hold(HEAD_LOCK);
    let result = scene.soon("get_timeout", |queue| queue.get_timeout(BRIEF));
    assert!(matches!(result, Err(GetError::TimedOut)), "{result:?}");
    let result = scene.soon("try_get", |queue| queue.try_get());
    assert!(matches!(result, Err(GetError::Empty)), "{result:?}");
    let result = scene.soon("get_many_timeout", |queue| queue.get_many_timeout(3, BRIEF));
    assert!(matches!(result, Err(GetError::TimedOut)), "{result:?}");
    // The other side goes on.
    scene.soon("put", |queue| queue.put(b"second")).unwrap();
    assert_eq!(scene.queue.qsize().unwrap(), 2);
}

#[test]
fn a_get_with_a_time_out_comes_back_from_a_producer_stopped_before_a_drain() {
    let _dog = watchdog_after(LIMIT);
    let scene = Scene::new();
    scene.hold(TAIL_LOCK);
    let closer = scene.queue.clone();
    // It may have to wait for the producer; the state is told before.
    let closing = std::thread::spawn(move || closer.shutdown(Shutdown::Drain));
    crate::support::wait_until("the drain has begun", || scene.queue.is_shutdown().unwrap());
    let result = scene.soon("get_timeout", |queue| queue.get_timeout(BRIEF));
    assert!(matches!(result, Err(GetError::TimedOut | GetError::Closed)), "{result:?}");
    let result = scene.soon("try_get", |queue| queue.try_get());
    assert!(matches!(result, Err(GetError::Empty | GetError::Closed)), "{result:?}");
    scene.holder.kill();
    closing.join().unwrap().unwrap();
    assert!(matches!(scene.queue.get(), Err(GetError::Closed)));
}

#[test]
fn a_killed_holder_is_succeeded_by_those_who_wait() {
    let _dog = watchdog_after(LIMIT);
    for lock in [TAIL_LOCK, HEAD_LOCK] {
        let scene = Scene::new();
        scene.queue.put(b"first").unwrap();
        scene.hold(lock);
        let queue = scene.queue.clone();
        let (send, receive) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            send.send(proc::tid()).unwrap();
            queue.put(b"second").unwrap();
            queue.get().unwrap()
        });
        let tid = receive.recv().unwrap();
        proc::wait_until_asleep(std::process::id() as i32, tid);
        assert!(!waiting.is_finished());
        scene.holder.kill();
        assert_eq!(waiting.join().unwrap(), b"first");
        assert_eq!(scene.queue.get().unwrap(), b"second");
    }
}

/// Who sleeps for a message looks for the dead under the write side's lock. It may not hang there.
#[test]
fn a_get_beside_a_stopped_surveyor_gets_what_comes_and_hears_of_the_end() {
    let _dog = watchdog_after(LIMIT);
    let options = QueueOptions::new().large_messages(64 << 10).single_producer();
    let scene = Scene::with(&options);
    let mut producer = scene.queue.producer().unwrap();
    scene.hold(TAIL_LOCK);
    let put = std::thread::spawn(move || {
        std::thread::sleep(10 * BRIEF);
        producer.put(b"short ones need no lock").unwrap();
    });
    let result = scene.soon("get", |queue| queue.get());
    assert_eq!(result.unwrap(), b"short ones need no lock");
    put.join().unwrap();
    let closer = scene.queue.clone();
    let close = std::thread::spawn(move || {
        std::thread::sleep(10 * BRIEF);
        closer.shutdown(Shutdown::Now)
    });
    let result = scene.soon("get", |queue| queue.get());
    assert!(matches!(result, Err(GetError::Closed)), "{result:?}");
    close.join().unwrap().unwrap();
}
