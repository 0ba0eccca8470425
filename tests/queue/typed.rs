//! Queues of values: round trips, and values that cannot be turned into bytes or back.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use steadfast::{GetError, PutError, Queue};

use crate::support::{Name, watchdog};
use crate::{LONG, small};

fn typed<T: Serialize + DeserializeOwned + 'static>(tag: &str) -> (Name, Queue<T>) {
    let name = Name::new(tag);
    let queue = Queue::<T>::create(&name, &small()).expect("create a queue");
    (name, queue)
}

fn round_trip<T>(values: &[T])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
{
    let (name, queue) = typed::<T>("typed");
    let other = Queue::<T>::open(&name).unwrap();
    for value in values {
        queue.put(value).unwrap();
        queue.try_put(value).unwrap();
        assert_eq!(&other.get().unwrap(), value);
        assert_eq!(&other.get_timeout(LONG).unwrap(), value);
    }
    queue.put_many(values).unwrap();
    assert_eq!(queue.qsize().unwrap(), values.len());
    let mut got = Vec::new();
    while got.len() < values.len() {
        got.extend(other.get_many(values.len()).unwrap());
    }
    assert_eq!(got, values);
    assert!(matches!(other.try_get(), Err(GetError::Empty)));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    id: u64,
    name: String,
    arguments: Vec<Argument>,
    parent: Option<Box<Task>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Argument {
    None,
    Number(f64),
    Pair(i8, char),
    Named { key: String, value: Option<bool> },
}

#[test]
fn numbers_round_trip() {
    let _dog = watchdog();
    round_trip(&[0_u8, 1, u8::MAX]);
    round_trip(&[i64::MIN, -1, 0, i64::MAX]);
    round_trip(&[u128::MAX, 0, 1 << 100]);
    round_trip(&[0.0_f64, -0.0, 1e300, f64::INFINITY, f64::MIN_POSITIVE]);
    round_trip(&[true, false]);
    round_trip(&['a', 'ß', '\u{10ffff}']);
}

#[test]
fn strings_and_bytes_round_trip() {
    let _dog = watchdog();
    let long = "0123456789".repeat(50);
    round_trip(&[String::new(), "x".into(), "\0 ü \u{1f600}".into(), long]);
    round_trip(&[Vec::<u8>::new(), vec![0; 300], (0..=255).collect()]);
}

#[test]
fn values_without_bytes_round_trip() {
    let _dog = watchdog();
    round_trip(&[(), (), ()]);
    round_trip(&[Unit, Unit]);
    round_trip::<[u8; 0]>(&[[], []]);
}

#[test]
fn containers_round_trip() {
    let _dog = watchdog();
    round_trip(&[(1_u8, "two".to_owned(), [3_i16; 4], Some(4_u64))]);
    round_trip(&[None, Some(Ok::<u8, String>(1)), Some(Err("no".into()))]);
    round_trip(&[BTreeMap::from([(1, vec!["a".to_owned()]), (2, vec![])]), BTreeMap::new()]);
    round_trip(&[HashMap::from([("key".to_owned(), 1_i32)])]);
    round_trip(&[vec![vec![vec![1_u16]; 3]; 3], vec![]]);
    round_trip(&[Duration::new(1, 2), Duration::MAX]);
}

#[test]
fn structs_and_enums_round_trip() {
    let _dog = watchdog();
    let arguments = || {
        let named = Argument::Named { key: "k".into(), value: Some(true) };
        vec![Argument::None, Argument::Number(-1.5), Argument::Pair(-7, 'ü'), named]
    };
    let parent = Task { id: 0, name: String::new(), arguments: vec![], parent: None };
    let task = Task { id: u64::MAX, name: "t".into(), arguments: arguments(), parent: None };
    let nested =
        Task { id: 2, name: "n".into(), arguments: arguments(), parent: Some(parent.into()) };
    round_trip(&[task, nested]);
}

/// Fails, panics or meddles while it is turned into bytes.
#[derive(Deserialize)]
enum Awkward {
    Good(u32),
    Refuses,
    Panics,
}

impl Serialize for Awkward {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Awkward::Good(n) => serializer.serialize_newtype_variant("Awkward", 0, "Good", n),
            Awkward::Refuses => Err(serde::ser::Error::custom("it refuses")),
            Awkward::Panics => panic!("it panics"),
        }
    }
}

fn still_works(queue: &Queue<Awkward>, wanted: usize) {
    assert_eq!(queue.qsize().unwrap(), wanted);
    queue.put_timeout(&Awkward::Good(77), LONG).unwrap();
    for _ in 0..wanted {
        assert!(matches!(queue.get_timeout(LONG), Ok(Awkward::Good(n)) if n < 77));
    }
    assert!(matches!(queue.get_timeout(LONG), Ok(Awkward::Good(77))));
    assert!(queue.is_empty().unwrap());
}

#[test]
fn an_unserialisable_item_leaves_the_queue_as_it_was() {
    let _dog = watchdog();
    let (_name, queue) = typed::<Awkward>("refuses");
    queue.put(&Awkward::Good(1)).unwrap();
    assert!(matches!(queue.put(&Awkward::Refuses), Err(PutError::Serialize(_))));
    assert!(matches!(queue.try_put(&Awkward::Refuses), Err(PutError::Serialize(_))));
    let timed = queue.put_timeout(&Awkward::Refuses, LONG);
    assert!(matches!(timed, Err(PutError::Serialize(_))));
    still_works(&queue, 1);
}

#[test]
fn an_unserialisable_item_keeps_its_whole_batch_out() {
    let _dog = watchdog();
    let (_name, queue) = typed::<Awkward>("refuses");
    let batch = [Awkward::Good(1), Awkward::Good(2), Awkward::Refuses];
    assert!(matches!(queue.put_many(&batch), Err(PutError::Serialize(_))));
    assert!(matches!(queue.try_put_many(&batch), Err(PutError::Serialize(_))));
    still_works(&queue, 0);
    queue.put_many(&batch[..2]).unwrap();
    still_works(&queue, 2);
}

#[test]
fn a_panic_in_serialisation_leaves_the_queue_as_it_was() {
    let _dog = watchdog();
    let (_name, queue) = typed::<Awkward>("panics");
    queue.put(&Awkward::Good(1)).unwrap();
    let single = catch_unwind(AssertUnwindSafe(|| queue.put(&Awkward::Panics)));
    assert!(single.is_err());
    let batch = [Awkward::Good(2), Awkward::Panics];
    let many = catch_unwind(AssertUnwindSafe(|| queue.put_many(&batch)));
    assert!(many.is_err());
    still_works(&queue, 1);
}

#[test]
fn serialisation_may_use_the_queue_itself() {
    thread_local! {
        static QUEUE: std::cell::RefCell<Option<Queue<Meddler>>> = const { std::cell::RefCell::new(None) };
    }
    #[derive(Deserialize)]
    struct Meddler(u32);
    impl Serialize for Meddler {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let queue = QUEUE.take();
            if let Some(queue) = &queue {
                queue.put_timeout(&Meddler(self.0 + 1), LONG).unwrap();
            }
            serializer.serialize_newtype_struct("Meddler", &self.0)
        }
    }
    let _dog = watchdog();
    let (_name, queue) = typed::<Meddler>("meddler");
    QUEUE.set(Some(queue.clone()));
    queue.put_timeout(&Meddler(1), LONG).unwrap();
    assert_eq!(queue.get().unwrap().0, 2);
    assert_eq!(queue.get().unwrap().0, 1);
}

#[test]
fn bytes_that_are_no_value_are_an_error_and_are_gone() {
    let _dog = watchdog();
    let name = Name::new("novalue");
    let bytes = Queue::<[u8]>::create(&name, &small()).unwrap();
    let strings = Queue::<String>::open(&name).unwrap();
    bytes.put(&[200, 1, 2]).unwrap(); // a length with nothing behind it
    bytes.put(&[2, 0xff, 0xfe]).unwrap(); // not UTF-8
    bytes.put(&[]).unwrap();
    strings.put(&"good".to_owned()).unwrap();
    for _ in 0..3 {
        assert!(matches!(strings.get(), Err(GetError::Deserialize(_))));
    }
    assert_eq!(strings.get().unwrap(), "good");
    assert!(strings.is_empty().unwrap());
}

#[test]
fn a_length_that_lies_does_not_cost_its_memory() {
    let _dog = watchdog();
    let name = Name::new("lies");
    let bytes = Queue::<[u8]>::create(&name, &small()).unwrap();
    let numbers = Queue::<Vec<u64>>::open(&name).unwrap();
    bytes.put(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).unwrap();
    assert!(matches!(numbers.get(), Err(GetError::Deserialize(_))));
}

#[test]
fn a_value_too_large_for_the_ring_is_an_error_at_once() {
    let _dog = watchdog();
    let (_name, queue) = typed::<String>("large");
    let value = "x".repeat(queue.max_len() + 1);
    assert!(matches!(queue.put(&value), Err(PutError::TooLarge { .. })));
    assert!(queue.is_empty().unwrap());
}
