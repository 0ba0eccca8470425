//! The operations of mutexes.

use std::time::Duration;

use steadfast::LockError;

use crate::either;
use crate::engine::{Account, Course, Death, Lane, Scenario, Stage, State};
use crate::mutex::{Found, Kind, Lock, START};
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::support::Name;
use crate::tracee::Tracee;
use crate::words::{LOCK, Words};

/// One operation of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `lock`; the guard is kept.
    Lock,
    /// Dropping the guard, after the value was changed.
    Unlock,
    /// Dropping the guard that came with the news of a death, after the value was mended.
    UnlockMended,
    /// `lock`, a change, and dropping the guard.
    Change,
}

/// Who else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nobody.
    Nobody,
    /// An owner that died holding the lock.
    DeadOwner,
    /// A live process that sleeps in `lock` from before the operation.
    Sleeper,
    /// A live owner, who releases when the victim sleeps.
    Owner,
    /// The same, and a live process that went to sleep after the victim.
    OwnerAndSleeper,
    /// Nobody, and the victim has a PID namespace of its own.
    OtherNamespace,
}

/// A lock that was woken later than this looked for itself: its first sleep has 2 ms, and each one
/// after it twice as much.
const LATE: Duration = Duration::from_millis(5);
/// The victim's side.
fn play(kind: Kind, act: Act, names: &[String]) {
    let lock = Lock::open(kind, &names[0]);
    if act == Act::UnlockMended {
        // Its first locker finds the death.
    } else if names.len() == 1 {
        // So that nothing in the operation happens for the first time.
        either!(&lock, mutex => drop(mutex.lock().expect("a first lock")));
    }
    either!(&lock, mutex => match act {
        Act::Lock => {
            marker();
            let result = mutex.lock();
            marker();
            std::hint::black_box(&result);
        }
        Act::Unlock => {
            let mut guard = mutex.lock().expect("lock");
            guard[0] += 1;
            guard[1] += 1;
            marker();
            drop(guard);
            marker();
        }
        Act::UnlockMended => {
            let Err(LockError::OwnerDied(mut guard)) = mutex.lock() else {
                panic!("the owner's death is not known");
            };
            marker();
            guard[0] += 1;
            guard[1] = guard[0];
            guard.mark_consistent();
            drop(guard);
            marker();
        }
        Act::Change => {
            marker();
            let mut guard = mutex.lock().expect("lock");
            guard[0] += 1;
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
            guard[1] += 1;
            drop(guard);
            marker();
        }
    });
}

struct LockStage {
    kind: Kind,
    act: Act,
    others: Others,
    name: Name,
    lock: Lock,
    words: Words,
    /// The victim owned the lock when it died.
    owned: bool,
    /// Somebody holds the lock, and somebody sleeps in `lock`.
    held: bool,
    sleeping: bool,
}

impl LockStage {
    fn new(kind: Kind, act: Act, others: Others) -> Result<LockStage, String> {
        let name = Name::new("sweep");
        let lock = Lock::create(kind, &name)?;
        let words = Words::of(&name)?;
        if others == Others::DeadOwner {
            let scenario = name_of(kind, "unlock");
            Tracee::start(&["victim", &scenario, &name])?.kill()?;
        }
        Ok(LockStage {
            kind,
            act,
            others,
            name,
            lock,
            words,
            owned: false,
            held: false,
            sleeping: false,
        })
    }

    fn command(&self, verb: &str) -> String {
        let kind = if self.kind == Kind::Pthread { "p" } else { "" };
        format!("{kind}{verb} {}", &*self.name)
    }

    fn send_to_sleep(&mut self, lane: &mut Lane) -> Result<(), String> {
        self.sleeping = true;
        lane.peer(0)?.begin(&self.command("lock"))
    }

    fn release(&mut self, lane: &mut Lane) -> Result<(), String> {
        self.held = false;
        match lane.peer(1)?.ask("release")?.as_str() {
            "released" => Ok(()),
            other => Err(format!("the owner failed: {other}")),
        }
    }

    /// Who locks next must hear of a death exactly if there was one that nobody has mended.
    fn must_hear(&self) -> bool {
        let mended = matches!(self.act, Act::UnlockMended);
        self.owned || (self.others == Others::DeadOwner && !mended)
    }

    /// What the value may be, and what that says.
    fn judge(&self, found: &Found) -> Result<State, String> {
        let hear = self.must_hear();
        if found.died != hear {
            return Err(format!("OwnerDied was {}, expected {hear}", found.died));
        }
        let changed = found.pair[1] != START[1];
        let torn = found.pair[0] != found.pair[1];
        match self.act {
            Act::Lock if self.others == Others::DeadOwner => {
                Ok(if self.owned { State::After } else { State::Before })
            }
            Act::Lock if changed || torn => Err(format!("the value is {:?}", found.pair)),
            Act::Lock => Ok(if self.owned { State::After } else { State::Before }),
            Act::Unlock if torn || !changed => Err(format!("the value is {:?}", found.pair)),
            Act::Unlock => Ok(if self.owned { State::Before } else { State::After }),
            Act::UnlockMended | Act::Change if torn && !self.owned => {
                Err(format!("half a change: {:?}", found.pair))
            }
            Act::UnlockMended => Ok(if self.owned { State::Before } else { State::After }),
            Act::Change => Ok(if changed && !self.owned { State::After } else { State::Before }),
        }
    }
}

impl Stage for LockStage {
    fn names(&self) -> Vec<String> {
        // A second argument: the lock is not free for a first try.
        let mut names = vec![self.name.to_string()];
        if self.others == Others::DeadOwner {
            names.push("taken".into());
        }
        names
    }

    fn foreign(&self) -> bool {
        self.others == Others::OtherNamespace
    }

    fn ready(&mut self, lane: &mut Lane) -> Result<(), String> {
        match self.others {
            Others::Nobody | Others::DeadOwner | Others::OtherNamespace => Ok(()),
            Others::Sleeper => self.send_to_sleep(lane),
            Others::Owner | Others::OwnerAndSleeper => {
                self.held = true;
                match lane.peer(1)?.ask(&self.command("hold"))?.as_str() {
                    "held" => Ok(()),
                    other => Err(format!("the owner failed: {other}")),
                }
            }
        }
    }

    fn wake(&mut self, lane: &mut Lane) -> Result<(), String> {
        if !self.held {
            return Err("the victim sleeps where nobody expected it".into());
        }
        if self.others == Others::OwnerAndSleeper {
            self.send_to_sleep(lane)?;
        }
        self.release(lane)
    }

    fn dying(&mut self, pid: i32) -> Result<(), String> {
        self.owned = if self.foreign() {
            self.words.foreign_owner(LOCK)?
        } else {
            self.words.owned_by(LOCK, pid)?
        };
        if self.owned && self.held {
            return Err("the victim owns a lock that somebody else holds".into());
        }
        Ok(())
    }

    fn survive(&mut self, lane: &mut Lane, death: &Death) -> Result<Account, String> {
        let marked =
            !self.owned || self.sleeping || self.foreign() || self.words.owner_died(LOCK)?;
        if self.held {
            self.release(lane)?;
        }
        let mut late = Duration::ZERO;
        let mut heard = false;
        if self.sleeping {
            let line = lane.peer(0)?.answer(BOUND)?;
            late = death.when.elapsed();
            heard = match line.as_str() {
                "clean" => false,
                "died" => true,
                other => return Err(format!("a live sleeper failed: {other}")),
            };
        }
        let mut found = self.lock.take(death.number.is_multiple_of(2))?;
        late = late.max(found.took);
        // The sleeper may have had its turn before the victim: then the death is ours to hear of.
        if heard && found.died {
            return Err("a death was reported again after it was mended".into());
        }
        found.died |= heard;
        let state = self.judge(&found)?;
        for _ in 0..5 {
            let again = self.lock.take(false)?;
            late = late.max(again.took);
            if again.died {
                return Err("a death was reported again after it was mended".into());
            }
        }
        Ok(Account { state, waited: late, late: late > LATE, unmarked: !marked })
    }
}

fn name_of(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Futex => format!("mutex_{name}"),
        Kind::Pthread => format!("pthread_{name}"),
    }
}

fn scenario(kind: Kind, name: &str, act: Act, others: Others, late: usize) -> Scenario {
    let waits = matches!(others, Others::Owner | Others::OwnerAndSleeper);
    Scenario {
        name: name_of(kind, name),
        course: if waits { Course::Waits } else { Course::Through },
        hot: kind == Kind::Futex,
        late,
        victim: Box::new(move |names| play(kind, act, names)),
        stage: Box::new(
            move |_| Ok(Box::new(LockStage::new(kind, act, others)?) as Box<dyn Stage>),
        ),
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let some = 10;
    let mut all = Vec::new();
    for kind in [Kind::Futex, Kind::Pthread] {
        all.extend([
            scenario(kind, "lock", Act::Lock, Others::Nobody, 0),
            scenario(kind, "unlock", Act::Unlock, Others::Nobody, 0),
            scenario(kind, "change", Act::Change, Others::Nobody, 0),
            scenario(kind, "lock_dead_owner", Act::Lock, Others::DeadOwner, 0),
            scenario(kind, "unlock_mended", Act::UnlockMended, Others::DeadOwner, 0),
            scenario(kind, "unlock_sleeper", Act::Unlock, Others::Sleeper, some),
            scenario(kind, "lock_waits", Act::Lock, Others::Owner, some),
            scenario(kind, "lock_woken_of_two", Act::Lock, Others::OwnerAndSleeper, some),
        ]);
    }
    for (name, act) in [("lock", Act::Lock), ("unlock", Act::Unlock), ("change", Act::Change)] {
        let name = format!("foreign_{name}");
        all.push(scenario(Kind::Futex, &name, act, Others::OtherNamespace, some));
    }
    all
}
