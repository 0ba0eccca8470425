//! The operations of joinable queues.

use steadfast::Shutdown;

use crate::engine::{Course, Scenario, Stage};
use crate::lease_stage::{LeaseStage, Plan, Sleeper};
use crate::lease_victim::{self, Act};

/// A message that is too long to be copied under the lock.
const LONG: usize = 2100;
/// A death between the commit and the call leaves a sleeper to its backstop: after so many of a hundred
/// points. A sleeper that must find a dead one's lease is late every time.
const SOME_LATE: usize = 30;
const ALL_LATE: usize = 100;

/// How it is swept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Always at every instruction.
    Hot,
    /// At every instruction, in a full sweep.
    Each,
    /// Where it changed bytes, and around system calls.
    Changes,
}

fn late(name: &str, how: How, late: usize, plan: Plan) -> Scenario {
    let course = match how {
        _ if plan.waits => Course::Waits,
        How::Changes => Course::Changes,
        _ => Course::Through,
    };
    Scenario {
        name: format!("lease_{name}"),
        course,
        hot: how == How::Hot,
        late,
        victim: Box::new(move |names| match plan.thread {
            true => lease_victim::play_beside_a_thread(plan.act, names),
            false => lease_victim::play(plan.act, names),
        }),
        stage: Box::new(move |_| Ok(Box::new(LeaseStage::new(plan)?) as Box<dyn Stage>)),
    }
}

fn sweep(name: &str, how: How, plan: Plan) -> Scenario {
    late(name, how, 0, plan)
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let mut all = gets();
    all.extend(ends());
    all.extend(puts());
    all.extend(surveys());
    all.extend(letters());
    all.extend(shutdowns());
    all
}

fn gets() -> Vec<Scenario> {
    let get = Plan::new(Act::Get);
    vec![
        sweep("get", How::Hot, get),
        sweep("get_last", How::Each, Plan { fill: (1, 40), ..get }),
        sweep("get_returned", How::Hot, Plan::new(Act::GetReturned)),
        sweep("get_due", How::Each, Plan::new(Act::GetDue)),
        sweep("get_torn", How::Changes, Plan { holder: true, torn: true, fill: (4, 40), ..get }),
        sweep("get_empty", How::Each, Plan { fill: (0, 40), waits: true, ..get }),
        late(
            "get_joiner",
            How::Each,
            ALL_LATE,
            Plan { fill: (1, 40), sleeper: Some(Sleeper::Join), ..get },
        ),
    ]
}

fn ends() -> Vec<Scenario> {
    let mine = |act| Plan { mine: true, fill: (3, 40), ..Plan::new(act) };
    let nobody = |act| Plan { fill: (0, 40), ..Plan::new(act) };
    vec![
        sweep("ack", How::Hot, Plan::new(Act::Ack)),
        sweep("ack_of_two", How::Each, Plan { fill: (1, 40), ..mine(Act::Ack) }),
        late(
            "ack_joiner",
            How::Hot,
            ALL_LATE,
            Plan { sleeper: Some(Sleeper::Join), ..nobody(Act::Ack) },
        ),
        sweep("task_done", How::Each, Plan::new(Act::TaskDone)),
        sweep("nack", How::Hot, mine(Act::Nack)),
        late(
            "nack_consumer",
            How::Each,
            ALL_LATE,
            Plan { sleeper: Some(Sleeper::Lease), ..nobody(Act::Nack) },
        ),
        sweep("nack_after", How::Each, Plan::new(Act::NackAfter)),
        sweep("release", How::Each, Plan::new(Act::Release)),
        sweep("drop", How::Each, Plan::new(Act::Drop)),
        sweep("nack_torn", How::Each, Plan { torn: true, ..Plan::new(Act::Nack) }),
    ]
}

fn puts() -> Vec<Scenario> {
    let put = Plan::new(Act::Put(40));
    let crumbs = |count, len, act| Plan { crumbs: (count, len), ..Plan::new(act) };
    let full = Plan { fill: (1, 3000), waits: true, ..Plan::new(Act::Put(2000)) };
    vec![
        sweep("put", How::Hot, put),
        late(
            "put_consumer",
            How::Each,
            SOME_LATE,
            Plan { fill: (0, 40), sleeper: Some(Sleeper::Lease), ..put },
        ),
        sweep("put_long", How::Changes, Plan::new(Act::Put(LONG))),
        sweep("put_many", How::Changes, Plan::new(Act::PutMany(4, 100))),
        sweep("put_merging", How::Each, crumbs(30, 40, Act::Put(500))),
        sweep("put_around", How::Each, crumbs(28, 40, Act::Put(1200))),
        sweep("put_full", How::Each, full),
        sweep("reserve", How::Changes, Plan::new(Act::Reserve(LONG))),
        sweep("reserve_drop", How::Each, Plan::new(Act::ReserveDrop(LONG))),
        // The dead one's chunks are in the way.
        sweep("put_settling", How::Changes, {
            Plan { holder: true, fill: (4, 100), ..Plan::new(Act::Put(800)) }
        }),
    ]
}

fn surveys() -> Vec<Scenario> {
    let survey = Plan { holder: true, fill: (4, 40), ..Plan::new(Act::Survey) };
    let join = Plan { mine: true, fill: (1, 40), waits: true, ..Plan::new(Act::Join) };
    vec![
        sweep("survey", How::Hot, survey),
        sweep("survey_torn", How::Each, Plan { torn: true, holder: false, ..survey }),
        sweep("survey_mine", How::Changes, Plan { mine: true, ..survey }),
        sweep("survey_thread", How::Each, Plan { thread: true, ..survey }),
        sweep("join", How::Each, join),
        sweep("open", How::Changes, Plan { act: Act::Open, ..survey }),
    ]
}

fn letters() -> Vec<Scenario> {
    let survey = Plan { holder: true, fill: (3, 40), ..Plan::new(Act::Survey) };
    vec![
        sweep("last_nack", How::Changes, Plan::new(Act::LastNack)),
        sweep("last_death", How::Changes, Plan { deliveries: 1, ..survey }),
        sweep("redrive", How::Changes, Plan::new(Act::Redrive)),
        sweep("purge", How::Changes, Plan::new(Act::Purge)),
    ]
}

fn shutdowns() -> Vec<Scenario> {
    let end = |how| Plan { mine: true, fill: (3, 40), ..Plan::new(Act::Shutdown(how)) };
    vec![
        sweep("shutdown_drain", How::Each, end(Shutdown::Drain)),
        sweep("shutdown_now", How::Each, end(Shutdown::Now)),
    ]
}
