//! Locks: ours beside the C library's, `raw_sync`'s, which are not robust, and the standard library's, which is for
//! the threads of one process only.
//!
//! One operation is: lock, add one to a counter that the lock guards, unlock. `cargo bench --bench
//! sync`, or with `-- --quick`; see docs/performance.md for how to read it.

mod support;

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::Criterion;
use raw_sync::locks::{LockImpl, LockInit};
use steadfast::{Mutex, PthreadMutex, SegmentOptions};

use support::board::{Board, CELLS};
use support::contest::{Contest, Stage, Who};
use support::crew::{Crew, Sample};
use support::peer::{self, Order, Work};
use support::{Result, segment_name, wrong};

/// Processes in the crowd.
const CROWD: usize = 8;

/// Operations in a row that are not worth a share of the count.
const STEP: u64 = CROWD as u64;

/// The kinds of lock. Those that are not ours lie in the cell of their number, or so many further on for
/// the second contest of the same crew.
const KINDS: [&str; 6] =
    ["mutex", "pthread-mutex", "libc", "libc-robust", "raw-sync", "std-threads"];

fn main() -> Result<()> {
    if peer::is_peer() {
        return peer::serve(Peer::default());
    }
    let stage = RefCell::new(Stage::new(CROWD)?);
    for who in [Who::Pair, Who::Crowd] {
        init_cells(stage.borrow_mut().crew(who).board())?;
    }
    let mut criterion = Criterion::default().configure_from_args();
    contest("lock-uncontended", Who::Pair, 1, 0).register(&mut criterion, &stage);
    contest("lock-2-processes", Who::Pair, 2, KINDS.len()).register(&mut criterion, &stage);
    contest("lock-8-processes", Who::Crowd, CROWD as u64, 0).register(&mut criterion, &stage);
    criterion.final_summary();
    Ok(())
}

/// Each kind of lock, used by so many processes at the same time.
fn contest(title: &'static str, who: Who, processes: u64, first_cell: usize) -> Contest {
    let mut contest = Contest::new(title);
    for (cell, kind) in (first_cell..).zip(KINDS) {
        let name = segment_name(&format!("{title}-{kind}"));
        let named = name.clone();
        let names: &[&str] = if kind.ends_with("mutex") { &[&named] } else { &[] };
        let mut counters = Counters::default();
        let of_counters = name.clone();
        // Threads of one process, which are not bound to processors.
        let threads = if kind == "std-threads" { processes } else { 1 };
        let who = if threads > 1 { Who::Crowd } else { who };
        let orders = move |count: u64, _: bool| {
            let order = |_| {
                let (share, common) = (count / processes, format!("cell={cell} name={name}"));
                format!("role=lock kind={kind} {common} threads={threads} count={share}")
            };
            (0..processes / threads).map(order).collect()
        };
        let mut before = 0;
        let check = move |crew: &mut Crew, count: u64, _: &Sample| {
            let now = match kind {
                "mutex" => counters.value(&of_counters)?,
                "pthread-mutex" => counters.pthread_value(&of_counters)?,
                _ => crew.board().counter(cell).load(Ordering::Acquire),
            };
            let added = now.wrapping_sub(std::mem::replace(&mut before, now));
            let wanted = count / processes * processes;
            if added == wanted { Ok(()) } else { wrong(format!("{added} instead of {wanted}")) }
        };
        contest = contest.entry(kind, (who, STEP), names, orders, check);
    }
    contest
}

/// The parent's look at a counter that one of our locks guards; the peers make it.
#[derive(Default)]
struct Counters {
    mutex: Option<Mutex<u64>>,
    pthread: Option<PthreadMutex<u64>>,
}

impl Counters {
    fn value(&mut self, name: &str) -> Result<u64> {
        let mutex = match self.mutex.take() {
            Some(mutex) => mutex,
            None => Mutex::open(name)?,
        };
        let value = *mutex.lock().map_err(|error| error.to_string())?;
        self.mutex = Some(mutex);
        Ok(value)
    }

    fn pthread_value(&mut self, name: &str) -> Result<u64> {
        let mutex = match self.pthread.take() {
            Some(mutex) => mutex,
            None => PthreadMutex::open(name)?,
        };
        let value = *mutex.lock().map_err(|error| error.to_string())?;
        self.pthread = Some(mutex);
        Ok(value)
    }
}

/// Initialises the locks that lie in the board's cells.
fn init_cells(board: &Board) -> Result<()> {
    for (cell, kind) in KINDS.into_iter().cycle().take(CELLS).enumerate() {
        match kind {
            "libc" | "libc-robust" => init_pthread(board.cell(cell), kind == "libc-robust")?,
            "raw-sync" => {
                let at = board.cell(cell);
                // SAFETY: the cell has 512 bytes, more than the crate's lock needs, mapped for as long
                // as the board, which outlives this call; nobody uses it yet.
                unsafe { raw_sync::locks::Mutex::new(at, at) }?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a mutex shared between processes, as the C library makes it by default, or robust.
fn init_pthread(at: *mut u8, robust: bool) -> Result<()> {
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: there is room for the attributes, which this call initialises.
    check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
    if robust {
        // SAFETY: as above.
        check(unsafe {
            libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)
        })?;
    }
    // SAFETY: the cell is large and aligned enough for the mutex, and nobody uses it yet.
    check(unsafe { libc::pthread_mutex_init(at.cast(), attributes) })
}

fn check(code: libc::c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code).into()) }
}

/// The C library's mutex in a cell.
struct Pthread(*mut libc::pthread_mutex_t);

impl Pthread {
    fn lock(&self) -> Result<()> {
        // SAFETY: the parent initialised the mutex before it gave the first order, and the board stays
        // mapped until this process ends.
        check(unsafe { libc::pthread_mutex_lock(self.0) })
    }

    fn unlock(&self) -> Result<()> {
        // SAFETY: as for lock; this thread owns it.
        check(unsafe { libc::pthread_mutex_unlock(self.0) })
    }
}

#[derive(Default)]
struct Peer {
    ours: HashMap<String, Mutex<u64>>,
    pthread: HashMap<String, PthreadMutex<u64>>,
    raw: HashMap<usize, Box<dyn LockImpl>>,
}

impl Work for Peer {
    fn prepare(&mut self, board: &Board, order: &Order) -> Result<()> {
        let name = order.get("name")?.to_owned();
        match order.get("kind")? {
            "mutex" if !self.ours.contains_key(&name) => {
                let options = SegmentOptions::new().ephemeral(true);
                let mutex = Mutex::open_or_create(&name, 0, &options)?;
                self.ours.insert(name, mutex);
            }
            "pthread-mutex" if !self.pthread.contains_key(&name) => {
                let options = SegmentOptions::new().ephemeral(true);
                let mutex = PthreadMutex::open_or_create(&name, 0, &options)?;
                self.pthread.insert(name, mutex);
            }
            "raw-sync" if !self.raw.contains_key(&order.number("cell")?) => {
                let cell = order.number("cell")?;
                let at = board.cell(cell);
                // SAFETY: the parent initialised this lock before it gave the first order, and the
                // board stays mapped until this process ends.
                let (lock, _) = unsafe { raw_sync::locks::Mutex::from_existing(at, at) }?;
                self.raw.insert(cell, lock);
            }
            _ => {}
        }
        Ok(())
    }

    fn run(&mut self, board: &Board, order: &Order) -> Result<Option<Duration>> {
        let (name, count): (&str, u64) = (order.get("name")?, order.number("count")?);
        let cell: usize = order.number("cell")?;
        let counter = board.counter(cell);
        let kind = order.get("kind")?;
        match (kind, self.ours.get(name), self.pthread.get(name), self.raw.get(&cell)) {
            (_, Some(mutex), ..) => {
                for _ in 0..count {
                    *mutex.lock().map_err(|error| error.to_string())? += 1;
                }
            }
            (_, _, Some(mutex), _) => {
                for _ in 0..count {
                    *mutex.lock().map_err(|error| error.to_string())? += 1;
                }
            }
            ("libc" | "libc-robust", ..) => {
                let mutex = Pthread(board.cell(cell).cast());
                for _ in 0..count {
                    mutex.lock()?;
                    add_one(counter);
                    mutex.unlock()?;
                }
            }
            ("std-threads", ..) => {
                let (mutex, threads) = (std::sync::Mutex::new(counter), order.number("threads")?);
                let work = || {
                    for _ in 0..count {
                        add_one(&mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
                    }
                };
                std::thread::scope(|scope| {
                    (1..threads).for_each(|_: u64| drop(scope.spawn(work)));
                    work();
                });
            }
            ("raw-sync", .., Some(mutex)) => {
                for _ in 0..count {
                    let _guard = mutex.lock()?;
                    add_one(counter);
                }
            }
            _ => return wrong(format!("no lock of kind {kind}")),
        }
        Ok(None)
    }

    fn sum(&self) -> u64 {
        0
    }
}

/// Adds one as whoever holds the lock does: no locked instruction.
#[inline(always)]
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
