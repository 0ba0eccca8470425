//! The sync family beside what the platform has for it: what an operation costs when nobody else is there, and how
//! long it takes to hand something to another process that sleeps or polls.
//!
//! `cargo bench --bench primitives`, or with `-- --quick`; see docs/performance.md for how to read it.

mod support;

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::time::Duration;

use criterion::Criterion;
use steadfast::{
    Barrier, Condvar, Event, Mutex, Once, Permits, RLock, RwLock, Segment, SegmentOptions,
    Semaphore, Shared, Value,
};

use support::board::Board;
use support::contest::{Contest, Stage, Who};
use support::crew::{Crew, Sample};
use support::peer::{self, Order, Work};
use support::{Result, segment_name, wrong};

/// All of ours in one segment.
#[derive(Shared)]
struct Ours {
    semaphore: Semaphore,
    turns: [Semaphore; 2],
    read: RwLock<u64>,
    nested: RLock,
    permits: Permits,
    event: Event,
    once: Once,
    small: Value<u64>,
    large: Value<[u64; 16]>,
    turn: Mutex<u64>,
    turned: Condvar,
    barrier: Barrier,
}

fn fresh() -> OursInit {
    OursInit {
        semaphore: 1,
        turns: [1, 0],
        read: 0,
        nested: (),
        permits: 4,
        event: true,
        once: (),
        small: 0,
        large: [0; 16],
        turn: 0,
        turned: (),
        barrier: 2,
    }
}

/// The C library's, which no death of a user leaves in order, in the cells of these numbers.
const SEMAPHORE: usize = 0;
const RWLOCK: usize = 1;
const RECURSIVE: usize = 2;
const TURNS: usize = 3; // and 4
const MUTEX: usize = 5;
const CONDVAR: usize = 6;
const BARRIER: usize = 7;

fn main() -> Result<()> {
    if peer::is_peer() {
        return peer::serve(Peer::default());
    }
    let stage = RefCell::new(Stage::new(1)?);
    init_cells(stage.borrow_mut().crew(Who::Pair).board())?;
    let mut criterion = Criterion::default().configure_from_args();
    let alone: [(&str, &[&str]); 5] = [
        ("semaphore", &["semaphore", "libc-semaphore"]),
        ("rwlock-read", &["read", "libc-read", "std-read"]),
        ("rwlock-write", &["write", "libc-write", "std-write"]),
        ("rlock", &["rlock", "libc-recursive"]),
        (
            "others",
            &["permits", "event", "once", "value", "value-128-bytes-get", "value-128-bytes"],
        ),
    ];
    for (title, kinds) in alone {
        contest(title, 1, kinds).register(&mut criterion, &stage);
    }
    let together: [(&str, &[&str]); 3] = [
        ("semaphore-turns", &["semaphore-turns", "libc-semaphore-turns"]),
        ("condvar-turns", &["condvar-turns", "libc-condvar-turns"]),
        ("barrier-2", &["barrier", "libc-barrier"]),
    ];
    for (title, kinds) in together {
        contest(title, 2, kinds).register(&mut criterion, &stage);
    }
    criterion.final_summary();
    Ok(())
}

/// Each kind, used by one process, or by two in turns.
fn contest(title: &'static str, processes: u64, kinds: &[&'static str]) -> Contest {
    let mut contest = Contest::new(title);
    for &kind in kinds {
        let name = segment_name(&format!("{title}-{kind}"));
        let named = name.clone();
        let orders = move |count: u64, _: bool| {
            let order = |side| format!("role={kind} side={side} name={name} count={count}");
            (0..processes).map(order).collect()
        };
        // Each peer's sum is how many operations it has done this time.
        let check = move |_: &mut Crew, count: u64, sample: &Sample| {
            let (done, wanted) = (sample.sum, count * processes);
            if done == wanted { Ok(()) } else { wrong(format!("{done} instead of {wanted}")) }
        };
        contest = contest.entry(kind, (Who::Pair, 1), &[&named], orders, check);
    }
    contest
}

fn check(code: libc::c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code).into()) }
}

/// Makes the C library's objects, shared between processes.
fn init_cells(board: &Board) -> Result<()> {
    for (cell, count) in [(SEMAPHORE, 1), (TURNS, 1), (TURNS + 1, 0)] {
        // SAFETY: the cell is large and aligned enough, mapped, and nobody uses it yet.
        let made = unsafe { libc::sem_init(board.cell(cell).cast(), 1, count) };
        if made != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    let shared = libc::PTHREAD_PROCESS_SHARED;
    let mut attributes = MaybeUninit::uninit();
    let at = attributes.as_mut_ptr();
    // SAFETY: there is room for the attributes.
    check(unsafe { libc::pthread_rwlockattr_init(at) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_rwlockattr_setpshared(at, shared) })?;
    // SAFETY: as for the semaphores.
    check(unsafe { libc::pthread_rwlock_init(board.cell(RWLOCK).cast(), at) })?;
    for (cell, kind) in
        [(RECURSIVE, libc::PTHREAD_MUTEX_RECURSIVE), (MUTEX, libc::PTHREAD_MUTEX_NORMAL)]
    {
        let mut attributes = MaybeUninit::uninit();
        let at = attributes.as_mut_ptr();
        // SAFETY: there is room for the attributes.
        check(unsafe { libc::pthread_mutexattr_init(at) })?;
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_mutexattr_setpshared(at, shared) })?;
        // SAFETY: as above.
        check(unsafe { libc::pthread_mutexattr_settype(at, kind) })?;
        // SAFETY: as for the semaphores.
        check(unsafe { libc::pthread_mutex_init(board.cell(cell).cast(), at) })?;
    }
    let mut attributes = MaybeUninit::uninit();
    let at = attributes.as_mut_ptr();
    // SAFETY: there is room for the attributes.
    check(unsafe { libc::pthread_condattr_init(at) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_condattr_setpshared(at, shared) })?;
    // SAFETY: as for the semaphores.
    check(unsafe { libc::pthread_cond_init(board.cell(CONDVAR).cast(), at) })?;
    let mut attributes = MaybeUninit::uninit();
    let at = attributes.as_mut_ptr();
    // SAFETY: there is room for the attributes.
    check(unsafe { libc::pthread_barrierattr_init(at) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_barrierattr_setpshared(at, shared) })?;
    // SAFETY: as for the semaphores.
    check(unsafe { libc::pthread_barrier_init(board.cell(BARRIER).cast(), at, 2) })
}

/// Calls one of the C library's functions on the object in a cell, `count` times or once.
macro_rules! libc_call {
    ($board:expr, $function:ident, $cell:expr) => {
        // SAFETY: the parent has initialised the object before it gave the first order, and the board stays
        // mapped until this process ends.
        unsafe { libc::$function($board.cell($cell).cast()) }
    };
}

#[derive(Default)]
struct Peer {
    ours: Option<(String, Ours)>,
    std: std::sync::RwLock<u64>,
    done: u64,
}

impl Work for Peer {
    fn prepare(&mut self, _: &Board, order: &Order) -> Result<()> {
        let name = order.get("name")?;
        if self.ours.as_ref().is_none_or(|(opened, _)| opened != name) {
            let options = SegmentOptions::new().ephemeral(true);
            let ours = Segment::of::<Ours>().open_or_create(name, fresh(), &options)?;
            self.ours = Some((name.to_owned(), ours));
        }
        Ok(())
    }

    fn run(&mut self, board: &Board, order: &Order) -> Result<Option<Duration>> {
        let (count, side): (u64, u64) = (order.number("count")?, order.number("side")?);
        let Some((_, ours)) = &self.ours else { return wrong("nothing is open") };
        let repeat = |work: &mut dyn FnMut() -> Result<()>| (0..count).try_for_each(|_| work());
        let turns = |at: u64| TURNS + at as usize;
        match order.get("role")? {
            "semaphore" => {
                for _ in 0..count {
                    ours.semaphore.acquire()?;
                    ours.semaphore.release()?;
                }
            }
            "libc-semaphore" => {
                for _ in 0..count {
                    libc_call!(board, sem_wait, SEMAPHORE);
                    libc_call!(board, sem_post, SEMAPHORE);
                }
            }
            "read" => {
                for _ in 0..count {
                    std::hint::black_box(*ours.read.read().map_err(|error| error.to_string())?);
                }
            }
            "write" => {
                for _ in 0..count {
                    *ours.read.write().map_err(|error| error.to_string())? += 1;
                }
            }
            "libc-read" | "libc-write" => {
                let write = order.get("role")? == "libc-write";
                for _ in 0..count {
                    check(if write {
                        libc_call!(board, pthread_rwlock_wrlock, RWLOCK)
                    } else {
                        libc_call!(board, pthread_rwlock_rdlock, RWLOCK)
                    })?;
                    check(libc_call!(board, pthread_rwlock_unlock, RWLOCK))?;
                }
            }
            "std-read" => {
                for _ in 0..count {
                    std::hint::black_box(*self.std.read().map_err(|error| error.to_string())?);
                }
            }
            "std-write" => {
                for _ in 0..count {
                    *self.std.write().map_err(|error| error.to_string())? += 1;
                }
            }
            "rlock" => repeat(&mut || {
                drop(ours.nested.lock().map_err(|error| error.to_string())?);
                Ok(())
            })?,
            "libc-recursive" => repeat(&mut || {
                check(libc_call!(board, pthread_mutex_lock, RECURSIVE))?;
                check(libc_call!(board, pthread_mutex_unlock, RECURSIVE))
            })?,
            "permits" => repeat(&mut || {
                ours.permits.acquire()?;
                Ok(())
            })?,
            "event" => repeat(&mut || Ok(ours.event.wait()?))?,
            "once" => repeat(&mut || {
                ours.once.call_once(|_| ())?;
                Ok(())
            })?,
            "value" => repeat(&mut || {
                ours.small.update(|value| value + 1)?;
                Ok(())
            })?,
            "value-128-bytes-get" => repeat(&mut || {
                std::hint::black_box(ours.large.get()?);
                Ok(())
            })?,
            "value-128-bytes" => repeat(&mut || {
                ours.large.update(|value| value.map(|entry| entry + 1))?;
                Ok(())
            })?,
            "semaphore-turns" => repeat(&mut || {
                ours.turns[side as usize].acquire()?;
                Ok(ours.turns[1 - side as usize].release()?)
            })?,
            "libc-semaphore-turns" => repeat(&mut || {
                while libc_call!(board, sem_wait, turns(side)) != 0 {}
                libc_call!(board, sem_post, turns(1 - side));
                Ok(())
            })?,
            "condvar-turns" => repeat(&mut || {
                let turn = ours.turn.lock().map_err(|error| error.to_string())?;
                let wrong_side = |turn: &mut u64| *turn % 2 != side;
                let mut turn =
                    ours.turned.wait_while(turn, wrong_side).map_err(|error| error.to_string())?;
                *turn += 1;
                drop(turn);
                Ok(ours.turned.notify_one()?)
            })?,
            "libc-condvar-turns" => repeat(&mut || {
                let turn = board.counter(MUTEX);
                check(libc_call!(board, pthread_mutex_lock, MUTEX))?;
                while turn.load(Ordering::Relaxed) % 2 != side {
                    let mutex = board.cell(MUTEX).cast();
                    // SAFETY: as for the other calls, and this thread has the mutex.
                    check(unsafe { libc::pthread_cond_wait(board.cell(CONDVAR).cast(), mutex) })?;
                }
                turn.store(turn.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                check(libc_call!(board, pthread_mutex_unlock, MUTEX))?;
                check(libc_call!(board, pthread_cond_signal, CONDVAR))
            })?,
            "barrier" => repeat(&mut || {
                ours.barrier.wait()?;
                Ok(())
            })?,
            "libc-barrier" => repeat(&mut || {
                libc_call!(board, pthread_barrier_wait, BARRIER);
                Ok(())
            })?,
            other => return wrong(format!("no work {other}")),
        }
        self.done = count;
        Ok(None)
    }

    fn sum(&self) -> u64 {
        self.done
    }
}
