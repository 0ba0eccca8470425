//! The watcher: one thread that sleeps for all tasks and descriptors of this process which wait.
//!
//! It is started by the first that has to wait, sleeps in one `futex_waitv` on the event counts of up to 127
//! queues' sides (see [`super::source`]) and a private one, its *control*, by which it hears of new ones. For
//! more than 127 there are more watchers. One that has nothing to watch for a second ends.
//!
//! Where the kernel cannot sleep on several words (before Linux 5.16, or in a sandbox) it looks at all of
//! them every millisecond instead.
//!
//! It is a thread of the process and dies with it; a forked child has none, and begins with its own.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::os::futex::{Held, MOST_WORDS, WaitedAny, wait_any};
use crate::os::per_process::PerProcess;
use crate::os::thread::spawn_quiet;
use crate::sync::event_count::{EventCount, Key};
use crate::sync::robust_lock::BACKSTOP;

use super::source::{Source, Watch};

/// The thread's name: as long as the kernel keeps.
const NAME: &str = "steadfast-watch";

/// How many sources one watcher has at most.
const MOST: usize = MOST_WORDS - 1;

/// Between two looks where the kernel cannot sleep on several words.
const NAP: Duration = Duration::from_millis(1);

/// How long a watcher without a source waits for the next.
const IDLE: Duration = Duration::from_secs(1);

static WATCHERS: PerProcess<Mutex<Vec<Arc<Watcher>>>> = PerProcess::new();

#[derive(Debug)]
struct Watcher {
    control: EventCount,
    books: Mutex<Books>,
    /// How many sources it has, the new ones included.
    sources: AtomicUsize,
    /// Whether the kernel was found not to sleep on several words.
    naps: AtomicBool,
}

#[derive(Debug, Default)]
struct Books {
    /// Whether the thread runs.
    runs: bool,
    /// Sources that it has not seen yet.
    new: Vec<Arc<Source>>,
}

/// Has a source watched from now on, until nobody waits there.
///
/// # Errors
/// A watcher could not be started.
pub(super) fn adopt(source: &Arc<Source>) -> io::Result<()> {
    let mut watchers = WATCHERS.get()?.lock().unwrap_or_else(PoisonError::into_inner);
    for watcher in watchers.iter() {
        if watcher.adopt(source)? {
            return Ok(());
        }
    }
    let watcher = Arc::new(Watcher {
        control: EventCount::new(),
        books: Mutex::default(),
        sources: AtomicUsize::new(0),
        naps: AtomicBool::new(false),
    });
    watcher.adopt(source)?;
    watchers.push(watcher);
    Ok(())
}

/// Calls wakers. One that panics does not keep the others from being called.
pub(super) fn call(wakers: &mut Vec<Waker>) {
    for waker in wakers.drain(..) {
        let woken = std::panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
        if woken.is_err() {
            tracing::warn!("a waker panicked");
        }
    }
}

impl Watcher {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a source, if there is a place for it, and makes sure that the thread runs and sees it.
    fn adopt(self: &Arc<Watcher>, source: &Arc<Source>) -> io::Result<bool> {
        // One adopts at a time.
        let full = self.sources.load(Ordering::Relaxed) >= MOST;
        if full && !self.naps.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut books = self.books();
        if !books.runs {
            let watcher = Arc::clone(self);
            spawn_quiet(NAME, move || watcher.run())?;
            books.runs = true;
        }
        self.sources.fetch_add(1, Ordering::Relaxed);
        books.new.push(Arc::clone(source));
        drop(books);
        self.control.notify(1);
        Ok(true)
    }

    fn run(&self) {
        let (mut sources, mut words, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let mut next_backstop = Instant::now() + BACKSTOP;
        let mut idle_since = None;
        let mut woken = false;
        loop {
            let control = self.control.prepare();
            let mut books = self.books();
            sources.append(&mut books.new);
            let now = Instant::now();
            if !sources.is_empty() {
                idle_since = None;
            } else if now.duration_since(*idle_since.get_or_insert(now)) >= IDLE {
                books.runs = false;
                return;
            }
            drop(books);

            let backstop = now >= next_backstop;
            if backstop {
                next_backstop = now + BACKSTOP;
            }
            let mut nap = match sources.is_empty() {
                true => IDLE,
                false => next_backstop.saturating_duration_since(now),
            };
            words.clear();
            words.push(self.control.held(control));
            sources.retain(|source: &Arc<Source>| match source.look(woken, backstop, &mut calls) {
                Watch::Sleep(held, at_most) => {
                    words.push(held);
                    nap = nap.min(at_most);
                    true
                }
                Watch::Forget => {
                    self.sources.fetch_sub(1, Ordering::Relaxed);
                    false
                }
            });
            call(&mut calls);
            woken = self.sleep(control, &words, nap);
        }
    }

    /// Tells whether somebody called.
    fn sleep(&self, control: Key, words: &[Held], nap: Duration) -> bool {
        if words.len() == 1 || self.naps.load(Ordering::Relaxed) {
            let nap = if words.len() == 1 { nap } else { nap.min(NAP) };
            self.control.wait(control, nap);
            return false;
        }
        match wait_any(words, nap) {
            WaitedAny::Woken => return true,
            WaitedAny::Ended => {}
            // The next look finds out which one it is.
            WaitedAny::Unmapped => drop(self.control.wait(control, NAP)),
            WaitedAny::Unsupported => self.naps.store(true, Ordering::Relaxed),
        }
        false
    }
}
