//! What the C library's own tests of these things look at, between processes. The behaviour, not the code: who
//! gets which result, in which order.
//!
//! | its test | what it looks at | here |
//! |---|---|---|
//! | tst-robust1, 2, 3 | two locks of a dead owner, by lock, trylock, timedlock, waiting before or coming after: EOWNERDEAD, good once made consistent | `two_locks_of_a_dead_owner` |
//! | tst-robust4, 5, 6 | the same, not made consistent: ENOTRECOVERABLE | `two_locks_of_a_dead_owner` |
//! | tst-robust7 | waiters on a condition are called, and die one after the other holding the lock | `waiters_that_die_one_after_the_other` |
//! | tst-robust8 | a hundred locks, a process of nine threads that is killed, five times | `a_hundred_locks_of_nine_threads` |
//! | tst-robust9, 10 | timedlock of a lock that is held: ETIMEDOUT | `a_time_out_is_one_whenever_it_is` |
//! | tst-cond1, 2, 3, 10 | signal and broadcast, one waiter and many | `condition::notify_*` |
//! | tst-cond4, 6, 12 | between processes, each with addresses of its own | `condition`, all of it |
//! | tst-cond5, 11, 19 | time-outs, also in the past | `condition::a_wait_has_the_lock_again_*` |
//! | tst-cond7, 8, 22 | a waiter that goes away, called or not, and those after it | `a_broadcast_while_waiters_die` |
//! | tst-cond16, 17, 18 | many rounds of broadcast among workers | `turns_by_broadcast` |
//! | tst-cond9 | waiting without the lock: EPERM | does not compile: a wait takes the guard |
//! | tst-cond20, 21 | destroyed after a broadcast | nothing is destroyed here |
//! | tst-barrier1 | a count of 0 is refused | `barrier::a_barrier_of_one_is_no_obstacle` |
//! | tst-barrier2, 3 | many rounds, in each exactly one is told that it is the one | `barrier::nobody_goes_on_*`, `a_thousand_phases` |
//! | tst-barrier4 | destroyed by those who have passed, while others leave | `a_barrier_is_let_go_as_soon_as_it_is_passed` |
//! | tst-barrier5 | its counter comes round | `a_barriers_counter_comes_round` |
//! | tst-sem1, 3 | between processes | `semaphore`, all of it |
//! | tst-sem2, 6, 10 | a signal during the wait | waits go on by themselves (`a_signal_does_not_end_a_wait`) |
//! | tst-sem5, 13 | time-outs, also in the past, leave the count right | `a_time_out_is_one_whenever_it_is` |
//! | tst-sem8, 9, 11, 12 | a waiter that goes away takes nothing with it | `lock::a_killed_waiter_takes_nothing_with_it` |
//! | tst-sem14 | many take and give | `lock::one_process_at_a_time` |
//! | tst-sem15 | not above the greatest value | `semaphore::there_is_a_most_of_permits` |
//! | tst-robustpi*, tst-*pi*, tst-cond24 | priority inheritance | there is none here |

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use steadfast::{
    Barrier, Condvar, LockError, Mutex, PthreadMutex, Segment, Semaphore, Shared, Value, WaitError,
};

use crate::puppet::{Puppet, World, tokens};
use crate::support::child::{self, Child};
use crate::support::{Name, Rng, proc, wait_until, watchdog};
use crate::{LONG, SHORT, options};

const MANY: usize = 100;

#[derive(Shared)]
struct Yard {
    two: [Mutex<u64>; 2],
    theirs: [PthreadMutex<u64>; 2],
    many: [Mutex<u64>; MANY],
    operations: Value<u64>,
    called: Mutex<u64>,
    call: Condvar,
    signal: Semaphore,
}

fn yard() -> (Name, Yard) {
    let name = Name::new("yard");
    let init = YardInit {
        two: [0; 2],
        theirs: [0; 2],
        many: [0; MANY],
        operations: 0,
        called: 0,
        call: (),
        signal: 0,
    };
    let yard = Segment::of::<Yard>().create(&name, init, &options()).unwrap();
    (name, yard)
}

fn die() -> ! {
    // SAFETY: raise takes a number; this process ends in it.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("killed")
}

/// Child: one of the stories below.
pub fn play(arguments: &[String]) {
    let yard = || Segment::of::<Yard>().open(&arguments[0]).unwrap();
    match &*arguments[1] {
        "hold two" => {
            let yard = yard();
            let _ours = yard.two.each_ref().map(|mutex| mutex.lock().unwrap());
            let _theirs = yard.theirs.each_ref().map(|mutex| mutex.lock().unwrap());
            child::tell("held");
            child::hear();
        }
        "wait and die" => {
            let yard = yard();
            let guard = yard.called.lock().unwrap();
            child::tell("waiting");
            let (told, _guard) = match yard.call.wait_while(guard, |called| *called == 0) {
                Ok(guard) => ("called", guard),
                Err(LockError::OwnerDied(guard)) => ("owner died", guard),
                Err(other) => panic!("{other:?}"),
            };
            child::tell(told);
            die();
        }
        "nine threads" => nine_threads(&yard()),
        "turns" => {
            let (yard, me) = (yard(), arguments[2].parse::<u64>().unwrap());
            for _ in 0..TURNS {
                let guard = yard.called.lock().unwrap();
                let mut guard = yard.call.wait_while(guard, |turn| *turn % PLAYERS != me).unwrap();
                *guard += 1;
                yard.call.notify_all().unwrap();
            }
        }
        "pass" => {
            for _ in 0..PASSES {
                let barrier = Barrier::open(&arguments[0]).unwrap();
                barrier.wait().unwrap();
            }
        }
        "interrupted" => {
            extern "C" fn nothing(_: libc::c_int) {}
            // SAFETY: all zero bytes are a valid sigaction: no flags, so calls are not restarted.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            // SAFETY: the action is whole, and its handler does nothing.
            unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
            let yard = yard();
            child::tell(proc::tid());
            yard.signal.acquire().unwrap();
            child::tell("acquired");
            let _guard = yard.two[0].lock().unwrap();
            child::tell("locked");
        }
        other => panic!("{other}?"),
    }
}

fn spawn(name: &str, story: &str) -> Child {
    Child::spawn("glibc", &[name, story])
}

#[test]
fn two_locks_of_a_dead_owner() {
    let _dog = watchdog();
    let (name, yard) = yard();
    for how in ["lock", "try", "timed"] {
        for consistent in [true, false] {
            for waits_already in [false, true] {
                if how == "try" && waits_already {
                    continue; // it does not wait
                }
                let mut owner = spawn(&name, "hold two");
                owner.expect("held");
                let both = || {
                    succeed(&yard.two, how, consistent);
                    succeed(&yard.theirs, how, consistent);
                };
                std::thread::scope(|scope| {
                    if waits_already {
                        let (send, receive) = std::sync::mpsc::channel();
                        scope.spawn(move || {
                            send.send(proc::tid()).unwrap();
                            both();
                        });
                        let tid = receive.recv().unwrap();
                        proc::wait_until_asleep(std::process::id() as i32, tid);
                        owner.kill();
                    } else {
                        owner.kill();
                        both();
                    }
                });
            }
        }
    }
}

/// Takes both locks over, and leaves them clean in the end.
fn succeed<L: steadfast::RawLock>(
    two: &[steadfast::RobustMutex<u64, L>; 2],
    how: &str,
    consistent: bool,
) {
    let attempt = |mutex: &'_ steadfast::RobustMutex<u64, L>| match how {
        "lock" => told(mutex.lock(), consistent),
        "try" => told(mutex.try_lock(), consistent),
        _ => told(mutex.lock_timeout(LONG), consistent),
    };
    assert_eq!(two.each_ref().map(attempt), ["OwnerDied"; 2], "{how}");
    let then = if consistent { "locked" } else { "Abandoned" };
    assert_eq!(two.each_ref().map(attempt), [then; 2], "{how}");
    two.iter().for_each(|mutex| mutex.repair(|_| ()).unwrap());
    assert_eq!(two.each_ref().map(attempt), ["locked"; 2], "{how}");
}

fn told<L: steadfast::RawLock>(
    attempt: Result<
        steadfast::MutexGuard<'_, u64, L>,
        LockError<steadfast::MutexGuard<'_, u64, L>>,
    >,
    consistent: bool,
) -> &'static str {
    match attempt {
        Ok(_) => "locked",
        Err(LockError::OwnerDied(mut guard)) => {
            if consistent {
                guard.mark_consistent();
            }
            "OwnerDied"
        }
        Err(LockError::Abandoned) => "Abandoned",
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn waiters_that_die_one_after_the_other() {
    let _dog = watchdog();
    let (name, yard) = yard();
    let mut waiters: Vec<Child> = (0..5).map(|_| spawn(&name, "wait and die")).collect();
    waiters.iter_mut().for_each(|waiter| waiter.expect("waiting"));
    // Not yet killed, so nobody has died holding it: it is had by waiting.
    *yard.called.lock().unwrap() = 1;
    yard.call.notify_all().unwrap();
    let mut told: Vec<String> = waiters.iter_mut().map(Child::hear).collect();
    told.sort();
    assert_eq!(told, ["called", "owner died", "owner died", "owner died", "owner died"]);
    for mut waiter in waiters {
        waiter.wait();
    }
    let last = yard.called.lock();
    assert!(matches!(last, Err(LockError::OwnerDied(_))), "{last:?}");
}

/// Takes and releases at random, in nine threads, until it is killed.
fn nine_threads(yard: &Yard) {
    std::thread::scope(|scope| {
        for number in 0..9 {
            scope.spawn(move || {
                let mut rng = Rng::new(number);
                let mut held: Vec<Option<_>> = (0..MANY).map(|_| None).collect();
                loop {
                    let at = rng.below(MANY as u64) as usize;
                    yard.operations.update(|count| count + 1).unwrap();
                    if held[at].take().is_some() || held.iter().flatten().count() >= 40 {
                        continue;
                    }
                    held[at] = match (number % 3, &yard.many[at]) {
                        (0, mutex) => Some(mutex.lock().unwrap()),
                        (1, mutex) => match mutex.lock_timeout(Duration::ZERO) {
                            Err(LockError::TimedOut) => None,
                            other => Some(other.unwrap()),
                        },
                        (_, mutex) => match mutex.try_lock() {
                            Err(LockError::WouldBlock) => None,
                            other => Some(other.unwrap()),
                        },
                    };
                }
            });
        }
    });
}

#[test]
fn a_hundred_locks_of_nine_threads() {
    let _dog = watchdog();
    let (name, yard) = yard();
    for _ in 0..5 {
        let before = yard.operations.get().unwrap();
        let process = spawn(&name, "nine threads");
        wait_until("many were taken", || yard.operations.get().unwrap() > before + 3000);
        process.kill();
        let mut died = 0;
        // All of them at a time.
        let mut all = Vec::new();
        for mutex in &yard.many {
            all.push(match mutex.lock_timeout(LONG) {
                Ok(guard) => guard,
                Err(LockError::OwnerDied(mut guard)) => {
                    guard.mark_consistent();
                    died += 1;
                    guard
                }
                Err(other) => panic!("{other:?}"),
            });
        }
        drop(all);
        assert!(died > 0, "nobody held anything");
    }
}

const PLAYERS: u64 = 3;
const TURNS: u64 = 300;

#[test]
fn turns_by_broadcast() {
    let _dog = watchdog();
    let (name, yard) = yard();
    let player = |number: u64| Child::spawn("glibc", &[&name, "turns", &number.to_string()]);
    let players: Vec<Child> = (0..PLAYERS).map(player).collect();
    players.into_iter().for_each(Child::finish);
    assert_eq!(*yard.called.lock().unwrap(), PLAYERS * TURNS);
}

#[test]
fn a_broadcast_while_waiters_die() {
    let _dog = watchdog();
    let (name, world) = World::new("broadcast");
    for _ in 0..3 {
        let mut waiters: Vec<Puppet> = (0..6).map(|_| Puppet::new(&name)).collect();
        waiters.iter_mut().for_each(|waiter| waiter.begin_to_wait("take a token"));
        let dying = waiters.split_off(3);
        *tokens(world.tokens.lock()) = 6; // enough for all
        std::thread::scope(|scope| {
            scope.spawn(|| dying.into_iter().for_each(Puppet::kill));
            world.changed.notify_all().unwrap();
        });
        waiters.iter_mut().for_each(|waiter| assert_eq!(waiter.answer(), "ok"));
        *tokens(world.tokens.lock()) = 0;
        // Who comes after them is called like anybody.
        let mut next = Puppet::new(&name);
        next.begin_to_wait("take a token");
        *tokens(world.tokens.lock()) = 1;
        world.changed.notify_one().unwrap();
        assert_eq!(next.answer(), "ok");
    }
}

#[test]
fn a_time_out_is_one_whenever_it_is() {
    let _dog = watchdog();
    let (name, yard) = yard();
    let mut owner = spawn(&name, "hold two");
    owner.expect("held");
    for time in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        let start = Instant::now();
        let ours = yard.two[0].lock_timeout(time);
        assert!(matches!(ours, Err(LockError::TimedOut)), "{ours:?}");
        assert!(start.elapsed() >= time);
        let start = Instant::now();
        let theirs = yard.theirs[0].lock_timeout(time);
        assert!(matches!(theirs, Err(LockError::TimedOut)), "{theirs:?}");
        assert!(start.elapsed() >= time);
        let start = Instant::now();
        let none = yard.signal.acquire_timeout(time);
        assert!(matches!(none, Err(WaitError::TimedOut)), "{none:?}");
        assert!(start.elapsed() >= time);
        // It has left no trace: what is given can be had, and no more.
        yard.signal.release().unwrap();
        yard.signal.acquire_timeout(time).unwrap();
        assert_eq!(yard.signal.available(), 0);
    }
}

#[test]
fn a_signal_does_not_end_a_wait() {
    let _dog = watchdog();
    let (name, yard) = yard();
    let guard = yard.two[0].lock().unwrap();
    let mut waiter = spawn(&name, "interrupted");
    let tid = waiter.hear().parse().unwrap();
    let interrupt = |waiter: &mut Child| {
        for _ in 0..5 {
            proc::wait_until_asleep(waiter.pid(), tid);
            let (call, pid, signal) = (libc::SYS_tgkill, waiter.pid(), libc::SIGUSR1);
            // SAFETY: a signal for a thread of our child, which handles it.
            let sent = unsafe { libc::syscall(call, pid, tid, signal) };
            assert_eq!(sent, 0);
        }
        proc::wait_until_asleep(waiter.pid(), tid);
        assert!(waiter.is_silent());
    };
    interrupt(&mut waiter);
    yard.signal.release().unwrap();
    waiter.expect("acquired");
    interrupt(&mut waiter);
    drop(guard);
    waiter.expect("locked");
}

const PASSES: usize = 100;

#[test]
fn a_barrier_is_let_go_as_soon_as_it_is_passed() {
    let _dog = watchdog();
    let name = Name::new("let-go");
    let barrier = Barrier::create(&name, 4, &options()).unwrap();
    let parties: Vec<Child> = (0..4).map(|_| spawn(&name, "pass")).collect();
    parties.into_iter().for_each(Child::finish);
    assert!(!barrier.is_broken() && barrier.waiting() == 0);
}

#[test]
fn a_barriers_counter_comes_round() {
    let _dog = watchdog();
    let name = Name::new("round");
    let barrier = Barrier::create(&name, 2, &options()).unwrap();
    // The trips, as `lib/sync/phases.rs` says: in the object behind the type's text and the constants.
    let file = File::options().read(true).write(true).open(name.file()).unwrap();
    let mut object = [0; 8];
    file.read_exact_at(&mut object, 96).unwrap();
    let trips = u64::from_le_bytes(object) + 3 * 128;
    let mut first = [0; 8];
    file.read_exact_at(&mut first, trips).unwrap();
    assert_eq!(u64::from_le_bytes(first), 1, "the first phase");
    file.write_all_at(&(u64::from(u32::MAX) - 2).to_le_bytes(), trips).unwrap();
    std::thread::scope(|scope| {
        let pass = || (0..6).map(|_| barrier.wait().unwrap()).sum::<usize>();
        let other = scope.spawn(pass);
        assert_eq!(pass() + other.join().unwrap(), 6, "each number once a phase");
    });
    file.read_exact_at(&mut first, trips).unwrap();
    assert_eq!(u64::from_le_bytes(first), 4, "0 is left out");
}
