//! fork: a handle, a lease and a reservation are of the process that made them. In a forked child they
//! answer `Forked`, and dropping them there changes nothing.

use std::time::Duration;

use steadfast::{
    GetError, JoinError, JoinableQueue, Lease, LeaseError, PutError, SegmentError, Shutdown,
};

use crate::support::child::{self, Child};
use crate::support::proc::{Fork, in_fork};
use crate::support::{chain, watchdog};
use crate::{LONG, bytes_with, drain, small};

const BOTH: [Fork; 2] = [Fork::Libc, Fork::Raw];

fn put<T>(result: Result<T, PutError>) -> bool {
    matches!(result, Err(PutError::Segment(SegmentError::Forked { .. })))
}

fn get<T>(result: Result<T, GetError>) -> bool {
    matches!(result, Err(GetError::Segment(SegmentError::Forked { .. })))
}

fn end(result: Result<(), LeaseError>) -> bool {
    matches!(result, Err(LeaseError::Segment(SegmentError::Forked { .. })))
}

fn join<T>(result: Result<T, JoinError>) -> bool {
    matches!(result, Err(JoinError::Segment(SegmentError::Forked { .. })))
}

fn other<T>(result: Result<T, SegmentError>) -> bool {
    matches!(result, Err(SegmentError::Forked { .. }))
}

/// 0 when every operation of an inherited handle and its leases says `Forked`, or the number of the
/// first one that does not.
fn first_that_works(queue: &JoinableQueue, leases: &mut Vec<Lease>) -> i32 {
    let mut lease = || leases.pop().unwrap();
    let forked = [
        put(queue.put(b"child")),
        put(queue.put(&[1; 5000])),
        put(queue.try_put(b"child")),
        put(queue.put_timeout(b"child", LONG)),
        put(queue.put_many(&[*b"child"])),
        put(queue.put_many(&[] as &[&[u8]])),
        put(queue.reserve(5)),
        put(queue.try_reserve(5000)),
        get(queue.get()),
        get(queue.try_get()),
        get(queue.get_timeout(LONG)),
        get(queue.get_value()),
        get(queue.try_get_value()),
        join(queue.join()),
        join(queue.join_timeout(LONG)),
        join(queue.unfinished()),
        join(queue.dead_letters()),
        join(queue.redrive()),
        join(queue.purge()),
        other(queue.qsize()),
        other(queue.is_empty()),
        other(queue.is_shutdown()),
        other(queue.shutdown(Shutdown::Now)),
        get(lease().value()),
        end(lease().ack()),
        end(lease().nack()),
        end(lease().nack_after(Duration::ZERO)),
        end(lease().release()),
        end(queue.task_done()),
    ];
    forked.iter().position(|forked| !forked).map_or(0, |at| at as i32 + 1)
}

/// Child: forks with a queue, leases, values and reservations in hand.
pub fn fork_leases(arguments: &[String]) {
    for how in BOTH {
        let queue: JoinableQueue = JoinableQueue::open(&arguments[0]).unwrap();
        let mut leases: Vec<Lease> = (0..6).map(|_| queue.get().unwrap()).collect();
        let value = queue.get_value().unwrap();
        let mut rooms = Some([queue.reserve(9).unwrap(), queue.reserve(3000).unwrap()]);
        let worked = in_fork(how, || first_that_works(&queue, &mut leases));
        assert_eq!(worked, 0, "{how:?}: operation {worked} worked in the forked child");
        let committed = in_fork(how, || {
            let [one, two] = rooms.take().unwrap();
            i32::from(!put(one.commit()) || !put(two.commit()))
        });
        assert_eq!(committed, 0, "{how:?}: a commit in the forked child");
        let dropped = in_fork(how, || {
            drop((rooms.take(), std::mem::take(&mut leases)));
            0
        });
        assert_eq!(dropped, 0, "{how:?}: a drop in the forked child");
        child::tell("look");
        child::hear();
        let [mut one, mut two] = rooms.take().unwrap();
        assert!(one.write_at(0, b"committed") && two.write_at(0, &[5; 3000]));
        one.commit().unwrap();
        two.commit().unwrap();
        for (at, lease) in leases.drain(..).enumerate() {
            assert_eq!((lease.value().unwrap(), lease.attempt()), (vec![at as u8], 1));
            lease.ack().unwrap();
        }
        assert_eq!(value, [6]);
        queue.task_done().unwrap();
        child::tell("done");
        child::hear();
    }
}

#[test]
fn inherited_leases_and_reservations_answer_forked_and_stay_the_parents() {
    let _dog = watchdog();
    let (name, queue) = bytes_with("forked", &small().max_deliveries(9));
    let mut child = Child::spawn("fork_leases", &[&name]);
    for _ in BOTH {
        for item in 0..8_u8 {
            queue.put(&[item]).unwrap();
        }
        child.expect("look");
        let phases = chain::count(&chain::chunks(&name)).0;
        assert_eq!(phases[1..5], [2, 1, 7, 0], "owned, queued, leased, ready");
        assert_eq!((queue.qsize().unwrap(), queue.unfinished().unwrap()), (1, 8));
        child.say("go on");
        child.expect("done");
        assert_eq!(drain(&queue), [vec![7], b"committed".to_vec(), vec![5; 3000]]);
        queue.join().unwrap();
        child.say("once more");
    }
    child.finish();
}
