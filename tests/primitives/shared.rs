//! Structs of primitives: nested, with arrays, opened by another process, and by one that has another struct.

use steadfast::{
    Array, Condvar, Event, Mutex, Permits, PthreadMutex, RLock, RwLock, Segment, SegmentError,
    Semaphore, Shared, Value,
};

use crate::options;
use crate::support::child::Child;
use crate::support::{Name, watchdog};

#[derive(Shared)]
struct Till {
    money: Mutex<u64>,
    changed: Condvar,
}

/// A part of a part.
#[derive(Shared)]
struct Counter {
    tills: [Till; 3],
    open: Event,
}

#[derive(Shared)]
struct Shop {
    left: Counter,
    visitors: Value<u64>,
    right: Counter,
    shelves: [[RwLock<[u16]>; 2]; 2],
    stock: Array<u8>,
    seats: Permits,
    theirs: PthreadMutex<u32>,
    _none: [Semaphore; 0],
    key: RLock,
}

fn counter(first: u64) -> CounterInit {
    let till = |money| TillInit { money, changed: () };
    CounterInit { tills: [till(first), till(first + 1), till(first + 2)], open: false }
}

fn shop() -> (Name, Shop) {
    let name = Name::new("shop");
    let shelf = |at: u16| vec![at; usize::from(at)];
    let init = ShopInit {
        left: counter(10),
        visitors: 0,
        right: counter(20),
        shelves: [[shelf(0), shelf(1)], [shelf(2), shelf(70)]],
        stock: vec![1, 2, 3],
        seats: 2,
        theirs: 5,
        _none: [],
        key: (),
    };
    let shop = Segment::of::<Shop>().create(&name, init, &options()).unwrap();
    (name, shop)
}

/// Child: changes every part.
pub fn keep(arguments: &[String]) {
    let shop = Segment::of::<Shop>().open(&arguments[0]).unwrap();
    for (counter, first) in [(&shop.left, 10), (&shop.right, 20)] {
        for (at, till) in (first..).zip(&counter.tills) {
            let mut money = till.money.lock().unwrap();
            assert_eq!(*money, at);
            *money *= 100;
            till.changed.notify_all().unwrap();
        }
    }
    shop.right.open.set().unwrap();
    shop.visitors.set(1).unwrap();
    for (at, shelf) in [0, 1, 2, 70].into_iter().zip(shop.shelves.iter().flatten()) {
        let mut shelf = shelf.write().unwrap();
        assert_eq!(*shelf, vec![at; usize::from(at)]);
        shelf.fill(at + 1);
    }
    shop.stock.lock().unwrap().reverse();
    assert_eq!(shop.seats.total(), 2);
    *shop.theirs.lock().unwrap() += 1;
    std::mem::forget((shop.seats.acquire().unwrap(), shop.key.lock().unwrap()));
}

#[test]
fn every_part_of_nested_structs_and_arrays_is_where_another_process_expects_it() {
    let _dog = watchdog();
    let (name, shop) = shop();
    Child::spawn("shopkeeper", &[&name]).finish();
    for (counter, first) in [(&shop.left, 10), (&shop.right, 20)] {
        for (at, till) in (first..).zip(&counter.tills) {
            assert_eq!(*till.money.lock().unwrap(), 100 * at);
        }
    }
    assert!(shop.right.open.is_set() && !shop.left.open.is_set());
    assert_eq!(shop.visitors.get().unwrap(), 1);
    for (at, shelf) in [0_u16, 1, 2, 70].into_iter().zip(shop.shelves.iter().flatten()) {
        assert_eq!(*shelf.read().unwrap(), vec![at + 1; usize::from(at)]);
    }
    assert_eq!(*shop.stock.lock().unwrap(), [3, 2, 1]);
    assert_eq!(*shop.theirs.lock().unwrap(), 6);
    assert!(shop.key.lock().is_err(), "its holder has ended");
    let both = (shop.seats.try_acquire(), shop.seats.try_acquire());
    assert!(both.0.is_ok() && both.1.is_ok(), "its holder has ended");
}

/// What programs may have instead of a `Ticket { left: Mutex<u32>, open: Event }`.
mod other {
    use steadfast::*;

    pub mod renamed_field {
        #[derive(super::Shared)]
        pub struct Ticket {
            _remaining: super::Mutex<u32>,
            _open: super::Event,
        }
    }
    pub mod other_value {
        #[derive(super::Shared)]
        pub struct Ticket {
            _left: super::Mutex<i32>,
            _open: super::Event,
        }
    }
    pub mod other_order {
        #[derive(super::Shared)]
        pub struct Ticket {
            _open: super::Event,
            _left: super::Mutex<u32>,
        }
    }
    pub mod other_primitive {
        #[derive(super::Shared)]
        pub struct Ticket {
            _left: super::Value<u32>,
            _open: super::Event,
        }
    }
    pub mod other_lock {
        #[derive(super::Shared)]
        pub struct Ticket {
            _left: super::PthreadMutex<u32>,
            _open: super::Event,
        }
    }
    pub mod one_more {
        #[derive(super::Shared)]
        pub struct Ticket {
            _left: super::Mutex<u32>,
            _open: super::Event,
            _sold: super::Value<u32>,
        }
    }
    pub mod one_less {
        #[derive(super::Shared)]
        pub struct Ticket {
            _left: super::Mutex<u32>,
        }
    }
    pub mod other_count {
        #[derive(super::Shared)]
        pub struct Ticket {
            _left: [super::Mutex<u32>; 1],
            _open: super::Event,
        }
    }
    pub mod other_name {
        #[derive(super::Shared)]
        pub struct Tickets {
            _left: super::Mutex<u32>,
            _open: super::Event,
        }
    }
}

#[derive(Shared)]
struct Ticket {
    _left: Mutex<u32>,
    _open: Event,
}

/// What a program with another type is told.
fn told<T: Shared>(name: &str) -> String {
    match Segment::of::<T>().open(name) {
        Err(error @ SegmentError::WrongType { .. }) => {
            let SegmentError::WrongType { found, wanted, .. } = &error else { unreachable!() };
            let text = error.to_string();
            assert!(text.contains(&**found) && text.contains(&**wanted), "{text}");
            assert_eq!(
                found,
                "Ticket { _left: Mutex<u32 (4 bytes, aligned to 4)>, _open: Event, }"
            );
            wanted.clone()
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn another_struct_is_refused_and_both_are_named() {
    let _dog = watchdog();
    let name = Name::new("mismatch");
    let init = || TicketInit { _left: 3, _open: false };
    let ticket = Segment::of::<Ticket>().create(&name, init(), &options()).unwrap();
    let u32 = "u32 (4 bytes, aligned to 4)";
    let left = format!("Ticket {{ _left: Mutex<{u32}>");
    assert_eq!(
        told::<other::renamed_field::Ticket>(&name),
        format!("Ticket {{ _remaining: Mutex<{u32}>, _open: Event, }}")
    );
    assert_eq!(
        told::<other::other_value::Ticket>(&name),
        "Ticket { _left: Mutex<i32 (4 bytes, aligned to 4)>, _open: Event, }"
    );
    assert_eq!(
        told::<other::other_order::Ticket>(&name),
        format!("Ticket {{ _open: Event, _left: Mutex<{u32}>, }}")
    );
    assert_eq!(
        told::<other::other_primitive::Ticket>(&name),
        format!("Ticket {{ _left: Value<{u32}>, _open: Event, }}")
    );
    assert_eq!(
        told::<other::other_lock::Ticket>(&name),
        format!("Ticket {{ _left: PthreadMutex<{u32}>, _open: Event, }}")
    );
    assert_eq!(
        told::<other::one_more::Ticket>(&name),
        format!("{left}, _open: Event, _sold: Value<{u32}>, }}")
    );
    assert_eq!(told::<other::one_less::Ticket>(&name), format!("{left}, }}"));
    assert_eq!(
        told::<other::other_count::Ticket>(&name),
        format!("Ticket {{ _left: [Mutex<{u32}>; 1], _open: Event, }}")
    );
    assert_eq!(
        told::<other::other_name::Tickets>(&name),
        format!("Tickets {{ _left: Mutex<{u32}>, _open: Event, }}")
    );
    assert_eq!(told::<Mutex<u32>>(&name), format!("Mutex<{u32}>"));
    assert_eq!(told::<Event>(&name), "Event");
    let made = Segment::of::<Event>().open_or_create(&name, false, &options());
    assert!(matches!(made, Err(SegmentError::WrongType { .. })), "{made:?}");
    // The same one, and nothing has happened to it.
    assert_eq!(*ticket._left.lock().unwrap(), 3);
    let same = Segment::of::<Ticket>().open_or_create(&name, init(), &options()).unwrap();
    assert!(!same._open.is_set());
}

#[test]
fn a_struct_and_a_mutex_of_its_own_are_different_kinds() {
    let _dog = watchdog();
    let (plain, shared) = (Name::new("plain"), Name::new("shared"));
    let _plain = Mutex::create(&plain, 1_u32, &options()).unwrap();
    let init = TicketInit { _left: 3, _open: false };
    let _shared = Segment::of::<Ticket>().create(&shared, init, &options()).unwrap();
    let wrong = [
        Segment::of::<Ticket>().open(&plain).err(),
        Segment::of::<Mutex<u32>>().open(&plain).err(),
        Mutex::<u32>::open(&shared).err(),
        PthreadMutex::<u32>::open(&shared).err(),
        steadfast::Queue::<[u8]>::open(&shared).err(),
        Segment::open(&shared).err(),
    ];
    for error in wrong {
        let Some(SegmentError::WrongKind { found, wanted, .. }) = &error else {
            panic!("{error:?}");
        };
        let text = error.as_ref().unwrap().to_string();
        assert!(text.contains(&found.to_string()) && text.contains(&wanted.to_string()), "{text}");
        assert_ne!(found, wanted);
    }
}
