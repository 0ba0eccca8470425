//! Queues as parts of a shared struct.

use std::time::Duration;

use steadfast::{
    GetError, JoinableQueue, Mutex, PutError, Queue, QueueOptions, Segment, SegmentError,
    SegmentOptions, Shared, Shutdown,
};

use crate::support::Name;
use crate::support::child::{self, Child};

#[derive(Shared)]
struct Workshop {
    done: Mutex<u64>,
    orders: JoinableQueue<(u32, String)>,
    news: Queue,
    letters: [Queue<String>; 2],
}

fn small() -> QueueOptions {
    QueueOptions::new().capacity(4096)
}

fn fresh() -> WorkshopInit {
    let letters = [small(), small().maxsize(1)];
    WorkshopInit { done: 0, orders: small(), news: small().large_messages(100_000), letters }
}

fn workshop(tag: &str) -> (Name, Workshop) {
    let name = Name::new(tag);
    let options = SegmentOptions::new().participants(8);
    let workshop = Segment::of::<Workshop>().create(&name, fresh(), &options);
    (name, workshop.expect("a workshop"))
}

/// Child: takes an order, and waits until it is killed.
pub fn take_one(arguments: &[String]) {
    let workshop = Segment::of::<Workshop>().open(&arguments[0]).expect("it is there");
    let order = workshop.orders.get().expect("an order");
    *workshop.done.lock().expect("a lock") += 1;
    child::tell(format!("{} {}", order.value().unwrap().0, order.value().unwrap().1));
    child::hear();
}

#[test]
fn queues_work_side_by_side_in_one_segment() {
    let (name, workshop) = workshop("parts");
    let other = Segment::of::<Workshop>().open(&name).expect("a second handle");
    let large = vec![7; 90_000];
    workshop.news.put(&large).unwrap();
    workshop.orders.put(&(1, "table".into())).unwrap();
    workshop.letters[1].put(&"second".into()).unwrap();
    workshop.letters[0].put(&"first".into()).unwrap();
    assert!(matches!(workshop.letters[1].try_put(&"full".into()), Err(PutError::Full)));

    assert_eq!(other.letters[0].get().unwrap(), "first");
    assert_eq!(other.letters[1].get().unwrap(), "second");
    assert_eq!(other.news.get().unwrap(), large);
    assert!(matches!(other.news.try_get(), Err(GetError::Empty)));
    other.letters[0].shutdown(Shutdown::Drain).unwrap();
    assert!(workshop.letters[0].put(&"late".into()).is_err(), "its own shutdown reaches everybody");
    workshop.letters[1].put(&"not late".into()).unwrap();
    let order = other.orders.get().unwrap();
    assert_eq!(order.value().unwrap().1, "table");
    order.ack().unwrap();
    workshop.orders.join().unwrap();
}

#[test]
fn what_a_killed_process_held_in_such_a_queue_comes_back() {
    let (name, workshop) = workshop("parts");
    workshop.orders.put(&(3, "chair".into())).unwrap();
    let mut child = Child::spawn("part", &[&name]);
    child.expect("3 chair");
    child.kill();
    let order = workshop.orders.get_timeout(Duration::from_secs(60)).expect("it comes back");
    assert_eq!((order.attempt(), order.value().unwrap().0), (2, 3));
    order.ack().unwrap();
    assert_eq!(*workshop.done.lock().unwrap(), 1);
}

#[test]
fn a_queue_with_single_roles_has_a_segment_of_its_own() {
    let name = Name::new("parts");
    let mut init = fresh();
    init.news = small().single_producer();
    let refused = Segment::of::<Workshop>().create(&name, init, &SegmentOptions::new());
    assert!(matches!(refused, Err(SegmentError::InvalidArgument { .. })), "{:?}", refused.err());
    assert!(matches!(Segment::of::<Workshop>().open(&name), Err(SegmentError::NotFound { .. })));
}

#[test]
fn damaged_constants_of_a_part_are_an_error() {
    let (name, workshop) = workshop("parts");
    let bytes = std::fs::read(name.file()).unwrap();
    // Each queue's constants begin with the object's version and the bytes of its ring.
    let ring = 4096_u64.to_le_bytes();
    let parts: Vec<usize> = (0..bytes.len() - 16)
        .step_by(128)
        .filter(|&at| bytes[at..at + 8] == 2_u64.to_le_bytes() && bytes[at + 8..at + 16] == ring)
        .collect();
    assert!(parts.len() >= 3, "the queues: {parts:?}");
    drop(workshop);
    for at in parts.iter().flat_map(|&part| (part..part + 64).step_by(8)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        std::fs::write(name.file(), &damaged).unwrap();
        let opened = Segment::of::<Workshop>().open(&name);
        let error = opened.err().unwrap_or_else(|| panic!("byte {at} is not checked"));
        assert!(matches!(error, SegmentError::Corrupt { .. }), "byte {at}: {error}");
    }
}

#[test]
fn another_type_of_message_is_another_type() {
    #[derive(Shared)]
    struct Letters {
        #[allow(dead_code)]
        letters: Queue<String>,
    }
    mod other {
        use super::*;
        #[derive(Shared)]
        pub struct Letters {
            #[allow(dead_code)]
            pub letters: Queue<u64>,
        }
    }
    let name = Name::new("parts");
    let init = LettersInit { letters: small() };
    let _letters =
        Segment::of::<Letters>().create(&name, init, &SegmentOptions::new()).expect("letters");
    match Segment::of::<other::Letters>().open(&name) {
        Err(SegmentError::WrongType { found, wanted, .. }) => {
            assert!(found.contains("Queue<String>") && wanted.contains("Queue<u64>"));
        }
        other => panic!("{:?}", other.err()),
    }
}
