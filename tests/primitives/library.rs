//! What Python has not: `RwLock`, `Permits` and `Once`, between processes.

use std::time::{Duration, Instant};

use steadfast::{
    Array, Condvar, LockError, Once, Permits, PthreadMutex, RwLock, Segment, Shared, WaitError,
};

use crate::support::child::{self, Child};
use crate::support::{Name, PAST_BACKSTOPS, proc, wait_until, watchdog};
use crate::{LONG, SHORT, options};

#[derive(Shared)]
struct Library {
    book: RwLock<[u64; 4]>,
    desks: Permits,
    opened: Once,
    theirs: PthreadMutex<u64>,
    row: Array<u64>,
    changed: Condvar,
}

fn library() -> (Name, Library) {
    let name = Name::new("library");
    let init =
        LibraryInit { book: [0; 4], desks: 2, opened: (), theirs: 0, row: vec![0; 3], changed: () };
    let library = Segment::of::<Library>().create(&name, init, &options()).unwrap();
    (name, library)
}

fn told<G>(attempt: Result<G, LockError<G>>, keep: &mut Option<G>) -> String {
    match attempt {
        Ok(guard) => {
            *keep = Some(guard);
            "ok".to_owned()
        }
        Err(error) => format!("{error:?}"),
    }
}

/// Child: one command a line, one answer each.
pub fn visit(arguments: &[String]) {
    let library = Segment::of::<Library>().open(&arguments[0]).unwrap();
    let (mut read, mut again, mut write, mut desk) = (None, None, None, None);
    child::tell(proc::tid());
    loop {
        let command = child::hear();
        let answer = match &*command {
            "read" => told(library.book.read_timeout(LONG), &mut read),
            "read again" => told(library.book.read_timeout(LONG), &mut again),
            "try to read" => told(library.book.try_read(), &mut None),
            "write" => told(library.book.write_timeout(LONG), &mut write),
            "write briefly" => told(library.book.write_timeout(SHORT), &mut None),
            "try to write" => told(library.book.try_write(), &mut None),
            "leave" => {
                (read, again, write, desk) = (None, None, None, None);
                "left".to_owned()
            }
            "leave the first" => {
                read = None;
                "left".to_owned()
            }
            "change" => {
                let guard = write.as_mut().expect("it writes");
                guard.iter_mut().for_each(|part| *part += 1);
                guard[0].to_string()
            }
            "sit" => match library.desks.acquire_timeout(LONG) {
                Ok(permit) => {
                    desk = Some(permit);
                    "ok".to_owned()
                }
                Err(error) => format!("{error:?}"),
            },
            "open" => {
                let work = |attempt: steadfast::OnceAttempt| {
                    child::tell(format!("working, retry: {}", attempt.is_retry));
                    assert_eq!(child::hear(), "end", "on purpose");
                };
                let here = std::panic::AssertUnwindSafe(|| library.opened.call_once(work));
                std::panic::set_hook(Box::new(|_| ()));
                match std::panic::catch_unwind(here) {
                    Ok(result) => format!("{result:?}"),
                    Err(_) => "panicked".to_owned(),
                }
            }
            // Many times: nobody sees half of what somebody writes.
            "mix" => {
                for round in 0..1500_u64 {
                    if round % 5 == 0 {
                        let mut book = library.book.write().unwrap();
                        for part in 0..4 {
                            book[part] += 1;
                            if round % 97 == 0 {
                                std::thread::yield_now();
                            }
                        }
                    } else {
                        let book = library.book.read().unwrap();
                        assert_eq!(*book, [book[0]; 4], "half written");
                    }
                }
                "mixed".to_owned()
            }
            other => panic!("{other}?"),
        };
        child::tell(answer);
        let _ = &desk;
    }
}

/// A process that does what it is told.
struct Visitor(Child, i32);

impl Visitor {
    fn new(name: &str) -> Visitor {
        let mut child = Child::spawn("visitor", &[name]);
        let tid = child.hear().parse().unwrap();
        Visitor(child, tid)
    }

    fn ask(&mut self, command: &str, wanted: &str) {
        self.0.say(command);
        self.0.expect(wanted);
    }

    fn begin_to_wait(&mut self, command: &str) {
        self.0.say(command);
        proc::wait_until_asleep(self.0.pid(), self.1);
        assert!(self.0.is_silent(), "{command} did not wait");
    }
}

#[test]
fn many_read_or_one_writes() {
    let _dog = watchdog();
    let (name, library) = library();
    let (mut one, mut two) = (Visitor::new(&name), Visitor::new(&name));
    one.ask("read", "ok");
    two.ask("read", "ok");
    drop(library.book.try_read().unwrap());
    assert!(matches!(library.book.try_write(), Err(LockError::WouldBlock)));
    let start = Instant::now();
    assert!(matches!(library.book.write_timeout(SHORT), Err(LockError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    drop(library.book.read_timeout(Duration::ZERO).expect("who gave up is in nobody's way"));
    one.ask("leave", "left");
    assert!(matches!(library.book.try_write(), Err(LockError::WouldBlock)));
    two.ask("leave", "left");
    one.ask("write", "ok");
    one.ask("change", "1");
    two.ask("try to read", "WouldBlock");
    two.ask("try to write", "WouldBlock");
    two.ask("write briefly", "TimedOut");
    assert!(matches!(library.book.read_timeout(SHORT), Err(LockError::TimedOut)));
    two.begin_to_wait("read");
    one.ask("leave", "left");
    two.0.expect("ok");
    assert_eq!(*library.book.read().unwrap(), [1; 4]);
}

#[test]
fn a_writer_that_waits_keeps_new_readers_out_and_old_ones_may_read_again() {
    let _dog = watchdog();
    let (name, library) = library();
    let (mut reader, mut writer) = (Visitor::new(&name), Visitor::new(&name));
    reader.ask("read", "ok");
    writer.begin_to_wait("write");
    assert!(matches!(library.book.try_read(), Err(LockError::WouldBlock)));
    reader.ask("read again", "ok");
    reader.ask("leave the first", "left");
    assert!(matches!(library.book.try_write(), Err(LockError::WouldBlock)));
    std::thread::sleep(PAST_BACKSTOPS);
    assert!(writer.0.is_silent(), "beside a reader");
    reader.ask("leave", "left");
    writer.0.expect("ok");
    // Killed while it waits, it is in nobody's way.
    writer.ask("leave", "left");
    reader.ask("read", "ok");
    writer.begin_to_wait("write");
    writer.0.kill();
    drop(library.book.read_timeout(LONG).unwrap());
    reader.ask("try to write", "Deadlock");
    reader.ask("leave", "left");
    reader.ask("write", "ok");
    reader.ask("try to read", "Deadlock");
}

#[test]
fn nobody_sees_half_of_what_is_written() {
    let _dog = watchdog();
    let (name, library) = library();
    let mut visitors: Vec<Visitor> = (0..4).map(|_| Visitor::new(&name)).collect();
    visitors.iter_mut().for_each(|visitor| visitor.0.say("mix"));
    visitors.iter_mut().for_each(|visitor| visitor.0.expect("mixed"));
    assert_eq!(*library.book.read().unwrap(), [1200; 4]);
}

#[test]
fn more_readers_than_places_wait_for_one() {
    let _dog = watchdog();
    let (name, library) = library();
    let mut late = Visitor::new(&name);
    let start = std::sync::Barrier::new(65);
    let end = std::sync::Barrier::new(65);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let _guard = library.book.read().unwrap();
                start.wait();
                end.wait();
            });
        }
        start.wait();
        late.ask("try to read", "WouldBlock");
        late.begin_to_wait("read");
        end.wait();
    });
    late.0.expect("ok");
}

#[test]
fn permits_are_as_many_as_they_are_and_come_back() {
    let _dog = watchdog();
    let (name, library) = library();
    let mut one = Visitor::new(&name);
    one.ask("sit", "ok");
    let mine = library.desks.acquire().unwrap();
    assert_eq!((library.desks.total(), library.desks.held()), (2, 2));
    assert!(matches!(library.desks.try_acquire(), Err(WaitError::WouldBlock)));
    let start = Instant::now();
    assert!(matches!(library.desks.acquire_timeout(SHORT), Err(WaitError::TimedOut)));
    assert!(start.elapsed() >= SHORT);
    let mut two = Visitor::new(&name);
    two.begin_to_wait("sit");
    one.ask("leave", "left");
    two.0.expect("ok");
    // One who waits gets a killed holder's.
    one.begin_to_wait("sit");
    two.0.kill();
    one.0.expect("ok");
    drop(mine);
    assert_eq!(library.desks.held(), 1);
}

#[test]
fn work_is_completed_once_whoever_dies_at_it() {
    let _dog = watchdog();
    let (name, library) = library();
    let (mut one, mut two) = (Visitor::new(&name), Visitor::new(&name));
    one.ask("open", "working, retry: false");
    two.begin_to_wait("open");
    let brief = library.opened.call_once_timeout(SHORT, |_| unreachable!("somebody is at it"));
    assert!(matches!(brief, Err(WaitError::TimedOut)), "{brief:?}");
    let tried = library.opened.try_call_once(|_| unreachable!("somebody is at it"));
    assert!(matches!(tried, Err(WaitError::WouldBlock)), "{tried:?}");
    one.0.kill();
    two.0.expect("working, retry: true");
    two.ask("fail", "panicked");
    let mut three = Visitor::new(&name);
    three.ask("open", "working, retry: true");
    assert!(!library.opened.is_completed());
    three.ask("end", "Ok(true)");
    two.ask("open", "Ok(false)");
    assert!(!library.opened.call_once(|_| unreachable!("it is done")).unwrap());
    assert_eq!(library.opened.last_death().map(|death| death.count), Some(1));
}

#[test]
fn a_condition_goes_with_any_mutex() {
    let _dog = watchdog();
    let (name, library) = library();
    let same = Segment::of::<Library>().open(&name).unwrap();
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            let guard = same.theirs.lock().unwrap();
            *same.changed.wait_while(guard, |value| *value == 0).unwrap()
        });
        let row = scope.spawn(|| {
            let guard = same.row.lock().unwrap();
            same.changed.wait_while(guard, |row| row[2] == 0).unwrap()[2]
        });
        *library.theirs.lock().unwrap() = 4;
        library.row.lock().unwrap()[2] = 5;
        library.changed.notify_all().unwrap();
        assert_eq!((theirs.join().unwrap(), row.join().unwrap()), (4, 5));
    });
    wait_until("both locks are free", || library.theirs.try_lock().is_ok());
}
