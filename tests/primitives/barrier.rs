//! `Barrier`, between five processes. After `_TestBarrier`: `test_barrier`, `test_barrier_10`,
//! `test_wait_return`, `test_action`, `test_abort`, `test_reset`, `test_abort_and_reset`, `test_timeout`,
//! `test_single_thread`, `test_thousand`. (`test_default_timeout`: there is none here.)

use std::time::Duration;

use steadfast::{Array, Barrier, Segment, Shared, Value, WaitError};

use crate::support::child::{self, Child};
use crate::support::{Name, watchdog};
use crate::{LONG, options};

const PARTIES: usize = 5;
const MIDDLE: usize = PARTIES / 2;

/// What the parties meet at, and what they write down.
#[derive(Shared)]
struct Meeting {
    barrier: Barrier,
    other: Barrier,
    /// How often it was arrived at, and passed.
    before: Value<u64>,
    after: Value<u64>,
    /// How often the action was done.
    acted: Value<u64>,
    /// Who passed with which number.
    numbers: Array<u32>,
    /// What it came to: passed, broken, aborted, passed afterwards.
    tally: Array<u32>,
}

impl Meeting {
    fn open(name: &str) -> Meeting {
        Segment::of::<Meeting>().open(name).expect("somebody has made it")
    }

    fn count(&self, what: &Value<u64>) -> u64 {
        what.update(|count| count + 1).unwrap() + 1
    }

    fn tally(&self, what: usize) {
        self.tally.lock().unwrap()[what] += 1;
    }

    /// One phase: nobody leaves before all have come.
    fn phase(&self, phases: u64) {
        for phase in 1..=phases {
            self.count(&self.before);
            let number = self.barrier.wait().unwrap();
            assert!(self.before.get().unwrap() >= phase * PARTIES as u64, "left too early");
            self.numbers.lock().unwrap()[number] += 1;
            self.count(&self.after);
            // Nobody comes to the next before all have left this one.
            self.other.wait().unwrap();
            assert!(self.after.get().unwrap() >= phase * PARTIES as u64);
        }
    }

    /// One of the parties breaks the barrier while the others wait.
    fn abort(&self) {
        if self.barrier.wait().unwrap() == MIDDLE {
            self.barrier.abort().unwrap();
            return self.tally(2);
        }
        match self.barrier.wait() {
            Ok(_) => self.tally(0),
            Err(WaitError::Broken) => self.tally(1),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// One resets the barrier when all others wait.
    fn reset(&self) {
        if self.barrier.wait().unwrap() == MIDDLE {
            crate::support::wait_until("the others wait", || self.barrier.waiting() == PARTIES - 1);
            self.barrier.reset().unwrap();
        } else {
            match self.barrier.wait() {
                Ok(_) => self.tally(0),
                Err(WaitError::Broken) => self.tally(1),
                Err(other) => panic!("{other:?}"),
            }
        }
        self.barrier.wait().unwrap();
        self.tally(3);
    }

    /// Broken by one, made whole again by one.
    fn abort_and_reset(&self) {
        self.abort();
        if self.other.wait().unwrap() == MIDDLE {
            assert!(self.barrier.is_broken());
            self.barrier.reset().unwrap();
            assert!(!self.barrier.is_broken());
        }
        self.other.wait().unwrap();
        self.barrier.wait().unwrap();
        self.tally(3);
    }

    /// One comes too late.
    fn timeout(&self) {
        let waited = if self.barrier.wait().unwrap() == MIDDLE {
            crate::support::wait_until("it is broken", || self.barrier.is_broken());
            self.barrier.wait()
        } else {
            self.barrier.wait_timeout(Duration::from_millis(50))
        };
        match waited {
            Err(WaitError::Broken) => self.tally(1),
            Err(WaitError::TimedOut) => self.tally(2),
            other => panic!("{other:?}"),
        }
    }
}

/// Child: one of the parties.
pub fn party(arguments: &[String]) {
    let meeting = Meeting::open(&arguments[0]);
    match &*arguments[1] {
        "phases" => meeting.phase(arguments[2].parse().unwrap()),
        "act" => {
            let act = || {
                assert_eq!(meeting.before.get().unwrap(), PARTIES as u64);
                assert_eq!(meeting.after.get().unwrap(), 0, "somebody has gone on already");
                meeting.count(&meeting.acted);
            };
            meeting.count(&meeting.before);
            meeting.barrier.wait_with(act).unwrap();
            meeting.count(&meeting.after);
            assert_eq!(meeting.acted.get().unwrap(), 1);
        }
        "fail" => {
            std::panic::set_hook(Box::new(|_| ()));
            let act = || panic!("on purpose");
            let wait = std::panic::AssertUnwindSafe(|| meeting.barrier.wait_with(act));
            match std::panic::catch_unwind(wait) {
                Err(_) => meeting.tally(2),
                Ok(Err(WaitError::Broken)) => meeting.tally(1),
                Ok(other) => panic!("{other:?}"),
            }
        }
        "abort" => meeting.abort(),
        "reset" => meeting.reset(),
        "abort and reset" => meeting.abort_and_reset(),
        "timeout" => meeting.timeout(),
        "wait" => {
            child::tell("waiting");
            child::tell(crate::puppet::told(meeting.barrier.wait()));
        }
        "stay" => {
            let party = meeting.barrier.join().unwrap();
            for line in std::iter::repeat_with(child::hear) {
                match &*line {
                    "wait" => child::tell(crate::puppet::told(party.wait())),
                    _ => break,
                }
            }
        }
        other => panic!("{other}?"),
    }
}

/// What five processes came to: the meeting, how often each number was given, and the tally.
fn meet(story: &[&str]) -> (Meeting, Vec<u32>, Vec<u32>) {
    let name = Name::new("barrier");
    let init = MeetingInit {
        barrier: PARTIES as u32,
        other: PARTIES as u32,
        before: 0,
        after: 0,
        acted: 0,
        numbers: vec![0; PARTIES],
        tally: vec![0; 4],
    };
    let meeting = Segment::of::<Meeting>().create(&name, init, &options()).unwrap();
    let story: Vec<&str> = std::iter::once(&*name).chain(story.iter().copied()).collect();
    let parties: Vec<Child> = (0..PARTIES).map(|_| Child::spawn("party", &story)).collect();
    parties.into_iter().for_each(Child::finish);
    let numbers = meeting.numbers.lock().unwrap().to_vec();
    let tally = meeting.tally.lock().unwrap().to_vec();
    (meeting, numbers, tally)
}

#[test]
fn nobody_goes_on_before_all_have_come() {
    let _dog = watchdog();
    for phases in [1, 10] {
        let (meeting, numbers, _) = meet(&["phases", &phases.to_string()]);
        assert_eq!(numbers, [phases; PARTIES], "each number once in every phase");
        assert_eq!((meeting.barrier.parties(), meeting.barrier.waiting()), (PARTIES, 0));
        assert!(!meeting.barrier.is_broken());
    }
}

#[test]
fn a_thousand_phases() {
    let _dog = watchdog();
    let (_, numbers, _) = meet(&["phases", "1000"]);
    assert_eq!(numbers, [1000; PARTIES]);
}

#[test]
fn an_action_is_done_once_before_anybody_goes_on() {
    let _dog = watchdog();
    let (meeting, ..) = meet(&["act"]);
    assert_eq!(meeting.acted.get().unwrap(), 1);
}

#[test]
fn an_action_that_panics_breaks_it() {
    let _dog = watchdog();
    let (meeting, _, tally) = meet(&["fail"]);
    assert_eq!(tally, [0, PARTIES as u32 - 1, 1, 0]);
    assert!(meeting.barrier.is_broken());
}

#[test]
fn aborted_it_is_broken_for_all() {
    let _dog = watchdog();
    let (meeting, _, tally) = meet(&["abort"]);
    assert_eq!(tally, [0, PARTIES as u32 - 1, 1, 0]);
    assert!(meeting.barrier.is_broken());
    assert!(matches!(meeting.barrier.wait(), Err(WaitError::Broken)));
}

#[test]
fn reset_it_is_broken_for_those_who_waited_and_whole_for_all_who_come() {
    let _dog = watchdog();
    let (meeting, _, tally) = meet(&["reset"]);
    assert_eq!(tally, [0, PARTIES as u32 - 1, 0, PARTIES as u32]);
    assert!(!meeting.barrier.is_broken());
}

#[test]
fn aborted_and_reset_it_is_as_before() {
    let _dog = watchdog();
    let (meeting, _, tally) = meet(&["abort and reset"]);
    assert_eq!(tally, [0, PARTIES as u32 - 1, 1, PARTIES as u32]);
    assert!(!meeting.barrier.is_broken());
}

#[test]
fn one_who_gives_up_breaks_it_for_all() {
    let _dog = watchdog();
    let (meeting, _, tally) = meet(&["timeout"]);
    assert_eq!(tally[0], 0);
    assert!(tally[2] >= 1, "one at least has timed out");
    assert_eq!(tally[1] + tally[2], PARTIES as u32);
    assert!(meeting.barrier.is_broken());
}

#[test]
fn a_barrier_of_one_is_no_obstacle() {
    let _dog = watchdog();
    let name = Name::new("alone");
    let barrier = Barrier::create(&name, 1, &options()).unwrap();
    assert_eq!((barrier.wait().unwrap(), barrier.wait().unwrap()), (0, 0));
    assert_eq!(barrier.wait_timeout(Duration::ZERO).unwrap(), 0);
    for impossible in [0, 4097, u32::MAX] {
        let made = Barrier::create(&Name::new("none"), impossible, &options());
        assert!(matches!(made, Err(steadfast::SegmentError::InvalidArgument { .. })));
    }
}

/// A barrier of two, and a party of it in another process.
fn pair(story: &str) -> (Name, Meeting, Child) {
    let name = Name::new("pair");
    let init = MeetingInit {
        barrier: 2,
        other: 2,
        before: 0,
        after: 0,
        acted: 0,
        numbers: vec![0],
        tally: vec![0],
    };
    let meeting = Segment::of::<Meeting>().create(&name, init, &options()).unwrap();
    let child = Child::spawn("party", &[&name, story]);
    (name, meeting, child)
}

#[test]
fn a_party_that_is_killed_while_it_waits_breaks_it() {
    let _dog = watchdog();
    let (_name, meeting, mut child) = pair("wait");
    child.expect("waiting");
    crate::support::wait_until("it waits", || meeting.barrier.waiting() == 1);
    child.kill();
    assert!(matches!(meeting.barrier.wait_timeout(LONG), Err(WaitError::Broken)));
    assert!(matches!(meeting.barrier.wait(), Err(WaitError::Broken)), "until it is reset");
    meeting.barrier.reset().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| meeting.barrier.wait().unwrap());
        meeting.barrier.wait().unwrap();
    });
}

#[test]
fn a_party_that_stays_breaks_it_also_when_it_is_killed_between_two_phases() {
    let _dog = watchdog();
    let (_name, meeting, mut child) = pair("stay");
    for _ in 0..3 {
        child.say("wait");
        meeting.barrier.wait().unwrap();
        child.expect("ok");
    }
    std::thread::scope(|scope| {
        // Also for one who waits already.
        let waiting = scope.spawn(|| meeting.barrier.wait_timeout(LONG));
        crate::support::wait_until("it waits", || meeting.barrier.waiting() == 1);
        child.kill();
        assert!(matches!(waiting.join().unwrap(), Err(WaitError::Broken)));
    });
}

#[test]
fn a_stopped_party_is_waited_for() {
    let _dog = watchdog();
    let (_name, meeting, mut child) = pair("stay");
    child.say("wait");
    meeting.barrier.wait().unwrap();
    child.expect("ok");
    // Between two phases, and after it has arrived.
    for arrives_first in [false, true] {
        if arrives_first {
            child.say("wait");
            crate::support::wait_until("it waits", || meeting.barrier.waiting() == 1);
        }
        child.stop();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| meeting.barrier.wait());
            std::thread::sleep(crate::support::PAST_BACKSTOPS);
            assert_eq!(waiting.is_finished(), arrives_first, "all have come, or not");
            assert!(!meeting.barrier.is_broken());
            child.resume();
            if !arrives_first {
                child.say("wait");
            }
            waiting.join().unwrap().unwrap();
            child.expect("ok");
        });
    }
}

#[test]
fn a_party_that_leaves_makes_room() {
    let _dog = watchdog();
    let (_name, meeting, mut child) = pair("stay");
    child.say("wait");
    let mine = meeting.barrier.join().unwrap();
    mine.wait().unwrap();
    child.expect("ok");
    assert!(matches!(meeting.barrier.try_join(), Err(WaitError::WouldBlock)));
    child.say("end");
    child.finish();
    let second = meeting.barrier.join_timeout(LONG).unwrap();
    assert!(!meeting.barrier.is_broken());
    drop((mine, second));
    meeting.barrier.try_join().unwrap();
}
