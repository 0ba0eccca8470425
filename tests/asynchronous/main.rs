//! What the asynchronous operations and the descriptors promise, one test per behaviour.

#[path = "../support/mod.rs"]
mod support;

mod basics;
mod cancelled;
mod deaths;
mod descriptors;
mod forked;
mod processes;
mod readme;
mod watcher;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use steadfast::{JoinableQueue, Queue, QueueOptions, SegmentOptions};

/// Long enough to be told apart from "at once".
const SHORT: Duration = Duration::from_millis(30);

/// Options for a small queue.
fn small() -> QueueOptions {
    QueueOptions::new().capacity(64 << 10).segment(SegmentOptions::new().participants(16))
}

/// A small queue of numbers under a fresh name.
fn numbers(tag: &str, options: &QueueOptions) -> (support::Name, Queue<u64>) {
    let name = support::Name::new(tag);
    let queue = Queue::create(&name, options).expect("create a queue");
    (name, queue)
}

/// A small joinable queue of numbers under a fresh name.
fn work(tag: &str) -> (support::Name, JoinableQueue<u64>) {
    let name = support::Name::new(tag);
    let queue = JoinableQueue::create(&name, &small()).expect("create a queue");
    (name, queue)
}

/// Runs a future on a runtime with one thread, and on one with several.
fn on_runtimes<F: Future<Output = ()>>(make: impl Fn() -> F) {
    one_thread().block_on(make());
    several_threads().block_on(make());
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn several_threads() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(3).enable_all().build().expect("a runtime")
}

/// Counts how often it is woken; an executor of our own.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counting {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Polls once.
fn poll<F: Future>(future: &mut Pin<&mut F>, counting: &Arc<Counting>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(counting));
    future.as_mut().poll(&mut Context::from_waker(&waker))
}

/// Runs a future on this thread, with an executor that is not tokio's.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let counting = Arc::new(Counting::default());
    let mut seen = usize::MAX;
    loop {
        let woken = counting.count();
        if woken != seen {
            seen = woken;
            if let Poll::Ready(result) = poll(&mut future, &counting) {
                return result;
            }
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How many watchers this process has.
fn watchers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.trim_end() == "steadfast-watch")
        .count()
}

#[test]
#[ignore = "a child of the other tests"]
fn child() {
    support::child::play(&[
        ("get_many", processes::get_many),
        ("get_blocking", processes::get_blocking),
        ("echo", processes::echo),
        ("put_for_ever", deaths::put_for_ever),
        ("hold", deaths::hold),
        ("be_called", deaths::be_called),
        ("fork", forked::fork),
        ("one_watcher", watcher::one_watcher),
        ("many_queues", watcher::many_queues),
        ("without_waitv", watcher::without_waitv),
        ("truncated", watcher::truncated),
        ("rests", watcher::rests),
        ("comes_and_goes", watcher::comes_and_goes),
    ]);
}
