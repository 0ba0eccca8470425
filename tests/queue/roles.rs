//! Single producer and single consumer roles.

use steadfast::{GetError, PutError, Queue, SegmentError};

use crate::support::child::{self, Child};
use crate::support::watchdog;
use crate::{LONG, SHORT, bytes, bytes_with, small};

enum Held {
    Producer { _role: steadfast::Producer<[u8]> },
    Consumer { _role: steadfast::Consumer<[u8]> },
}

fn claim(queue: &Queue, role: &str) -> Result<Held, SegmentError> {
    match role {
        "producer" => queue.producer().map(|role| Held::Producer { _role: role }),
        _ => queue.consumer().map(|role| Held::Consumer { _role: role }),
    }
}

fn taken(result: Result<Held, SegmentError>) -> bool {
    matches!(result, Err(SegmentError::RoleTaken { .. }))
}

/// Child: claims a role and keeps it.
pub fn hold_role(arguments: &[String]) {
    let queue = Queue::open(&arguments[0]).unwrap();
    let _held = claim(&queue, &arguments[1]).unwrap();
    child::tell("held");
    while child::hear() != "end" {}
}

/// Child: tells what becomes of a claim.
pub fn claim_role(arguments: &[String]) {
    let queue = Queue::open(&arguments[0]).unwrap();
    child::tell(match claim(&queue, &arguments[1]) {
        Ok(_) => "claimed".to_owned(),
        Err(SegmentError::RoleTaken { .. }) => "taken".to_owned(),
        Err(other) => format!("{other:?}"),
    });
}

fn single(tag: &str) -> (crate::support::Name, Queue) {
    bytes_with(tag, &small().single_producer().single_consumer())
}

const ROLES: [&str; 2] = ["producer", "consumer"];

#[test]
fn a_second_claim_in_the_same_process_is_refused() {
    let _dog = watchdog();
    let (name, queue) = single("roles");
    let other = Queue::open(&name).unwrap();
    for role in ROLES {
        let held = claim(&queue, role).unwrap();
        assert!(taken(claim(&queue, role)), "{role}");
        assert!(taken(claim(&other, role)), "{role}");
        assert!(taken(claim(&queue.clone(), role)), "{role}");
        drop(held);
        drop(claim(&other, role).unwrap());
        drop(claim(&queue, role).unwrap());
    }
}

#[test]
fn of_many_threads_one_gets_the_role() {
    let _dog = watchdog();
    let (_name, queue) = single("roles");
    for _ in 0..200 {
        for role in ROLES {
            let claims: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| claim(&queue, role))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let got = claims.iter().filter(|claim| claim.is_ok()).count();
            assert_eq!(got, 1, "{role}");
        }
    }
}

#[test]
fn a_claim_in_another_process_is_refused() {
    let _dog = watchdog();
    let (name, queue) = single("roles");
    for role in ROLES {
        let held = claim(&queue, role).unwrap();
        let mut other = Child::spawn("claim_role", &[&name, role]);
        other.expect("taken");
        other.finish();
        drop(held);
        let mut other = Child::spawn("claim_role", &[&name, role]);
        other.expect("claimed");
        other.finish();
        drop(claim(&queue, role).unwrap());
    }
}

#[test]
fn the_two_roles_are_claimed_apart() {
    let _dog = watchdog();
    let (name, queue) = single("roles");
    let _producer = queue.producer().unwrap();
    let mut other = Child::spawn("hold_role", &[&name, "consumer"]);
    other.expect("held");
    assert!(taken(claim(&queue, "consumer")));
    assert!(taken(claim(&queue, "producer")));
}

#[test]
fn a_role_is_free_again_after_its_holder_was_killed() {
    let _dog = watchdog();
    let (name, queue) = single("roles");
    for role in ROLES {
        for _ in 0..3 {
            let mut holder = Child::spawn("hold_role", &[&name, role]);
            holder.expect("held");
            assert!(taken(claim(&queue, role)), "{role}");
            holder.kill();
            drop(claim(&queue, role).unwrap_or_else(|e| panic!("{role}: {e}")));
        }
    }
}

#[test]
fn a_role_of_a_stopped_process_stays_taken() {
    let _dog = watchdog();
    let (name, queue) = single("roles");
    for role in ROLES {
        let mut holder = Child::spawn("hold_role", &[&name, role]);
        holder.expect("held");
        holder.stop();
        assert!(taken(claim(&queue, role)), "{role}");
        holder.resume();
        holder.say("end");
        holder.finish();
        drop(claim(&queue, role).unwrap());
    }
}

#[test]
fn a_single_side_needs_its_role() {
    let _dog = watchdog();
    let (_name, queue) = single("needs");
    assert!(matches!(queue.put(b"x"), Err(PutError::SingleRole)));
    assert!(matches!(queue.try_put(b"x"), Err(PutError::SingleRole)));
    assert!(matches!(queue.put_timeout(b"x", LONG), Err(PutError::SingleRole)));
    assert!(matches!(queue.put_many(&[*b"x"]), Err(PutError::SingleRole)));
    assert!(matches!(queue.get(), Err(GetError::SingleRole)));
    assert!(matches!(queue.try_get(), Err(GetError::SingleRole)));
    assert!(matches!(queue.get_many(3), Err(GetError::SingleRole)));
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_shared_side_has_no_role_to_claim() {
    let (_name, queue) = bytes("shared");
    assert!(queue.producer().is_err());
    assert!(queue.consumer().is_err());
}

#[test]
fn one_single_side_leaves_the_other_shared() {
    let _dog = watchdog();
    let (_name, queue) = bytes_with("half", &small().single_producer());
    let mut producer = queue.producer().unwrap();
    producer.put(b"x").unwrap();
    assert_eq!(queue.get().unwrap(), b"x");
    assert!(queue.consumer().is_err());

    let (_name, queue) = bytes_with("half", &small().single_consumer());
    let mut consumer = queue.consumer().unwrap();
    queue.put(b"x").unwrap();
    assert_eq!(consumer.get().unwrap(), b"x");
    assert!(queue.producer().is_err());
}

#[test]
fn the_roles_have_the_shapes_of_the_queue() {
    let _dog = watchdog();
    let (_name, queue) =
        bytes_with("shapes", &small().single_producer().single_consumer().maxsize(3));
    let mut producer = queue.producer().unwrap();
    let mut consumer = queue.consumer().unwrap();
    assert!(matches!(consumer.try_get(), Err(GetError::Empty)));
    assert!(matches!(consumer.get_timeout(SHORT), Err(GetError::TimedOut)));
    producer.put(b"1").unwrap();
    producer.try_put(b"2").unwrap();
    producer.put_timeout(b"3", LONG).unwrap();
    assert!(matches!(producer.try_put(b"4"), Err(PutError::Full)));
    assert!(matches!(producer.put_timeout(b"4", SHORT), Err(PutError::TimedOut)));
    assert!(matches!(producer.try_put_many(&[*b"4"]), Err(PutError::Full)));
    assert_eq!(queue.qsize().unwrap(), 3);
    assert_eq!(consumer.get().unwrap(), b"1");
    assert_eq!(consumer.try_get().unwrap(), b"2");
    assert_eq!(consumer.get_timeout(LONG).unwrap(), b"3");
    producer.put_many(&[*b"5", *b"6"]).unwrap();
    assert_eq!(consumer.get_many(9).unwrap(), [b"5", b"6"]);
    let large = vec![0; queue.max_len() + 1];
    assert!(matches!(producer.put(&large), Err(PutError::TooLarge { .. })));
}

#[test]
fn roles_between_threads_keep_order_and_lose_nothing() {
    let _dog = watchdog();
    for both in [false, true] {
        let options = small().single_producer();
        let options = if both { options.single_consumer() } else { options };
        let (_name, queue) = bytes_with("stream", &options);
        let mut producer = queue.producer().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..30_000_u32 {
                    let len = 4 + n as usize % 61;
                    let mut message = n.to_le_bytes().to_vec();
                    message.resize(len, n as u8);
                    producer.put(&message).unwrap();
                }
            });
            let mut consumer = both.then(|| queue.consumer().unwrap());
            for n in 0..30_000_u32 {
                let message = match &mut consumer {
                    Some(consumer) => consumer.get().unwrap(),
                    None => queue.get().unwrap(),
                };
                assert_eq!(message.len(), 4 + n as usize % 61);
                assert_eq!(message[..4], n.to_le_bytes());
            }
        });
        assert!(queue.is_empty().unwrap());
    }
}
