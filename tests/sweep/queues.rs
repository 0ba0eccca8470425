//! The operations of queues.

use crate::engine::{Course, Scenario, Stage};
use crate::queue_stage::{First, Plan, QueueStage, Sleeper};
use crate::queue_victim::{self, AMPLE, Act, EXPIRES};
use crate::recovery::{Earlier, Spot};

/// A message of this length does not fit before the ring's end when the tail is at [`NEAR_END`].
const LONG: usize = 200;
const NEAR_END: Option<u32> = Some(500);
/// A death between the commit and the call leaves a sleeper to its backstop: after so many of a
/// hundred points.
const SOME_LATE: usize = 25;
/// So does the death of a consumer that was called for a message and has not taken it.
const MANY_LATE: usize = 65;

fn scenario(name: &str, hot: bool, late: usize, plan: Plan) -> Scenario {
    let course = if plan.waits { Course::Waits } else { Course::Through };
    Scenario {
        name: name.to_owned(),
        course,
        hot,
        late,
        victim: Box::new(move |names| {
            if plan.thread {
                queue_victim::play_beside_a_thread(plan.act, names);
            } else {
                queue_victim::play(plan.act, names);
            }
        }),
        stage: Box::new(move |_| Ok(Box::new(QueueStage::new(plan)?) as Box<dyn Stage>)),
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let mut all = puts();
    all.extend(gets());
    all.extend(roles());
    all.extend(recoveries());
    all.extend(foreigners());
    all.extend(limited());
    all.extend(threads());
    all.extend(large());
    all
}

/// Messages that lie outside the ring.
fn large() -> Vec<Scenario> {
    let plan = |act| Plan { large: 8192, fill: (2, 1000), ..Plan::new(act) };
    vec![
        scenario("large_put", false, 0, plan(Act::Put(1000))),
        scenario(
            "large_put_then_put",
            false,
            0,
            Plan { first: First::Put, ..plan(Act::Put(2500)) },
        ),
        scenario("large_put_many", false, 0, plan(Act::PutMany(3, 700))),
        scenario("large_get", false, 0, plan(Act::Get)),
        scenario("large_producer_put", false, 0, plan(Act::ProducerPut(1000))),
        scenario("large_reserve", false, 0, plan(Act::Reserve(1000))),
        scenario("large_consumer_get", false, 0, plan(Act::ConsumerGet)),
        scenario("large_peek", false, 0, plan(Act::Peek)),
    ]
}

fn puts() -> Vec<Scenario> {
    let put = Plan::new(Act::Put(40));
    let many = Plan::new(Act::PutMany(16, 24));
    let wrap = Plan { at: NEAR_END, fill: (0, 40), ..Plan::new(Act::Put(LONG)) };
    let full = Plan { maxsize: 3, fill: (3, 40), waits: true, ..put };
    let full_ring = Plan { fill: (8, 488), waits: true, ..Plan::new(Act::Put(LONG)) };
    let first = First::Put;
    vec![
        scenario("put", true, 0, put),
        scenario("put_then_put", true, 0, Plan { first, ..put }),
        scenario("put_empty", true, 0, Plan { fill: (0, 40), ..put }),
        scenario("put_wrap", true, 0, wrap),
        scenario("put_wrap_then_put", false, 0, Plan { first, ..wrap }),
        scenario(
            "put_sleeping_consumer",
            true,
            SOME_LATE,
            Plan { sleeper: Some(Sleeper::Get), ..put },
        ),
        scenario("put_full", false, 0, full),
        scenario("put_full_ring", false, 0, full_ring),
        scenario("put_woken_of_two", false, SOME_LATE, Plan { second: Some(Sleeper::Put), ..full }),
        scenario("put_many", true, 0, many),
        scenario("put_many_then_put", true, 0, Plan { first, ..many }),
        scenario("put_many_wrap", true, 0, Plan { at: NEAR_END, fill: (0, 40), ..many }),
        scenario(
            "put_many_full",
            false,
            0,
            Plan { maxsize: 16, fill: (1, 40), waits: true, ..many },
        ),
    ]
}

fn gets() -> Vec<Scenario> {
    let get = Plan { fill: (3, 40), ..Plan::new(Act::Get) };
    let many = Plan { fill: (18, 24), ..Plan::new(Act::GetMany(16)) };
    let waits = Plan { fill: (0, 40), waits: true, ..get };
    let first = First::Put;
    vec![
        scenario("get", true, 0, get),
        scenario("get_then_put", true, 0, Plan { first, ..get }),
        scenario("get_last", false, 0, Plan { fill: (1, 40), ..get }),
        scenario("get_wrap", true, 0, Plan { at: NEAR_END, fill: (2, LONG), ..get }),
        scenario(
            "get_sleeping_producer",
            true,
            SOME_LATE,
            Plan { maxsize: 3, sleeper: Some(Sleeper::Put), ..get },
        ),
        scenario("get_empty", false, 0, waits),
        scenario("get_woken_of_two", true, MANY_LATE, Plan { second: Some(Sleeper::Get), ..waits }),
        scenario("get_many", true, 0, many),
        scenario("get_many_then_put", false, 0, Plan { first, ..many }),
        scenario("get_many_wrap", false, 0, Plan { at: NEAR_END, fill: (4, LONG), ..many }),
    ]
}

fn roles() -> Vec<Scenario> {
    let put = Plan { fill: (1, 40), ..Plan::new(Act::ProducerPut(40)) };
    let get = Plan { fill: (3, 40), ..Plan::new(Act::ConsumerGet) };
    let reserve = Plan { fill: (1, 40), ..Plan::new(Act::Reserve(40)) };
    let wrap = Plan { at: Some(494), fill: (0, 40), ..Plan::new(Act::ProducerPut(LONG)) };
    vec![
        scenario("producer_put", false, 0, put),
        scenario("producer_put_then_put", false, 0, Plan { first: First::Put, ..put }),
        scenario("producer_put_wrap", false, 0, wrap),
        scenario(
            "producer_put_sleeping_consumer",
            false,
            SOME_LATE,
            Plan { sleeper: Some(Sleeper::Get), ..put },
        ),
        scenario("producer_put_many", false, 0, Plan { act: Act::ProducerPutMany(16, 24), ..put }),
        scenario("reserve_commit", false, 0, reserve),
        scenario("reserve_wrap", false, 0, Plan { act: Act::Reserve(LONG), ..wrap }),
        scenario("consumer_get", false, 0, get),
        scenario(
            "consumer_get_sleeping_producer",
            false,
            SOME_LATE,
            Plan { maxsize: 3, sleeper: Some(Sleeper::Put), ..get },
        ),
        scenario("consumer_get_empty", false, 0, Plan { fill: (0, 40), waits: true, ..get }),
        scenario(
            "consumer_get_many",
            false,
            0,
            Plan { act: Act::ConsumerGetMany(16), fill: (18, 24), ..get },
        ),
        scenario("peek_release", false, 0, Plan { act: Act::Peek, ..get }),
    ]
}

fn recoveries() -> Vec<Scenario> {
    let put = Plan { fill: (1, 40), ..Plan::new(Act::Put(40)) };
    let get = Plan { fill: (3, 40), ..Plan::new(Act::Get) };
    let claim = Plan { fill: (1, 40), ..Plan::new(Act::ClaimAndPut(40)) };
    let after = |plan: Plan, scenario, act, spot| {
        let earlier = Some(Earlier { scenario, act, spot });
        Plan { earlier, ..plan }
    };
    let (one, batch) = (Act::Put(40), Act::PutMany(16, 24));
    let first = First::Put;
    let batch_left = after(put, "put_many", batch, Spot::Committed);
    vec![
        scenario("recover_put", true, 0, after(put, "put", one, Spot::Committed)),
        scenario("recover_put_batch", true, 0, batch_left),
        scenario("recover_put_batch_then_put", false, 0, Plan { first, ..batch_left }),
        scenario("recover_put_locked", false, 0, after(put, "put", one, Spot::TailLocked)),
        scenario("recover_put_counted", false, 0, after(put, "put", one, Spot::Counted)),
        scenario(
            "recover_put_many",
            false,
            0,
            after(Plan { act: batch, ..put }, "put", one, Spot::Committed),
        ),
        scenario("recover_get", true, 0, after(get, "get", Act::Get, Spot::Taken)),
        scenario("recover_get_locked", false, 0, after(get, "get", Act::Get, Spot::HeadLocked)),
        scenario(
            "recover_get_uncounted",
            true,
            0,
            after(Plan { fill: (0, 40), ..get }, "put", one, Spot::Committed),
        ),
        scenario(
            "recover_get_uncounted_then_put",
            false,
            0,
            after(Plan { fill: (0, 40), first, ..get }, "put", one, Spot::Committed),
        ),
        scenario(
            "recover_get_many_uncounted",
            false,
            0,
            after(
                Plan { act: Act::GetMany(16), fill: (0, 40), ..get },
                "put_many",
                batch,
                Spot::Committed,
            ),
        ),
        scenario(
            "recover_producer",
            false,
            0,
            after(claim, "producer_put", Act::ProducerPut(40), Spot::Committed),
        ),
        scenario(
            "recover_producer_then_put",
            false,
            0,
            Plan { first, ..after(claim, "producer_put", Act::ProducerPut(40), Spot::Committed) },
        ),
    ]
}

/// Victims in other PID namespaces: the kernel does not mark their locks, so a survivor asks their
/// file lock.
fn foreigners() -> Vec<Scenario> {
    let foreign = true;
    let put = Plan { foreign, ..Plan::new(Act::Put(40)) };
    let get = Plan { foreign, fill: (3, 40), ..Plan::new(Act::Get) };
    vec![
        scenario("foreign_put", false, 0, Plan { first: First::Put, ..put }),
        scenario("foreign_get", false, 0, get),
        scenario(
            "foreign_put_sleeping_consumer",
            false,
            SOME_LATE,
            Plan { sleeper: Some(Sleeper::Get), ..put },
        ),
        scenario("foreign_get_empty", false, 0, Plan { fill: (0, 40), waits: true, ..get }),
    ]
}

/// The forms that do not wait, and those that wait only so long: done at once, done after a sleep, and
/// refused.
fn limited() -> Vec<Scenario> {
    let (nothing, refused, waits) = ((0, 40), true, true);
    let try_put = Plan::new(Act::TryPut(40));
    let try_get = Plan { fill: (3, 40), ..Plan::new(Act::TryGet) };
    let put = Plan::new(Act::PutTimeout(40, AMPLE));
    let get = Plan { fill: (3, 40), ..Plan::new(Act::GetTimeout(AMPLE)) };
    let (put_expires, get_expires) = (Act::PutTimeout(40, EXPIRES), Act::GetTimeout(EXPIRES));
    let full = |plan| Plan { maxsize: 3, fill: (3, 40), ..plan };
    let first = First::Put;
    vec![
        scenario("try_put", true, 0, try_put),
        scenario("try_put_full", true, 0, Plan { refused, ..full(try_put) }),
        scenario("try_get", true, 0, try_get),
        scenario("try_get_empty", true, 0, Plan { fill: nothing, refused, first, ..try_get }),
        scenario("put_timeout", false, 0, put),
        scenario("put_timeout_full", false, 0, Plan { waits, ..full(put) }),
        scenario(
            "put_timeout_expires",
            false,
            0,
            Plan { act: put_expires, waits, refused, ..full(put) },
        ),
        scenario("get_timeout", false, 0, get),
        scenario("get_timeout_empty", false, 0, Plan { fill: nothing, waits, ..get }),
        scenario(
            "get_timeout_expires",
            false,
            0,
            Plan { act: get_expires, fill: nothing, waits, refused, first, ..get },
        ),
    ]
}

/// A thread ends alone, by a bare system call, in the middle of an operation. Its process lives, so its
/// file lock says nothing: only the kernel's mark can tell the others, the threads beside it among them.
fn threads() -> Vec<Scenario> {
    let thread = true;
    let put = Plan { thread, ..Plan::new(Act::Put(40)) };
    let get = Plan { thread, fill: (3, 40), ..Plan::new(Act::Get) };
    let first = First::Put;
    vec![
        scenario("thread_put", true, 0, put),
        scenario("thread_put_then_put", false, 0, Plan { first, ..put }),
        scenario("thread_put_many", false, 0, Plan { act: Act::PutMany(16, 24), ..put }),
        scenario("thread_get", true, 0, get),
        scenario("thread_get_then_put", false, 0, Plan { first, ..get }),
    ]
}
