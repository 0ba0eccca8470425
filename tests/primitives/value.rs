//! `Value` and `Array`. After `_TestValue.test_value`, `test_getobj_getlock` and `_TestArray.test_array`,
//! `test_array_from_size`, `test_getobj_getlock_obj`.

use steadfast::{Array, LockError, Segment, SegmentError, Shared, Value};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

use crate::options;
use crate::support::child::Child;
use crate::support::{Name, watchdog};

/// More than a word.
#[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Wide {
    numbers: [u64; 40],
    flag: u8,
    rest: [u8; 7],
}

impl Wide {
    fn of(number: u64) -> Wide {
        Wide { numbers: [number; 40], flag: number as u8, rest: [number as u8; 7] }
    }

    fn is_whole(&self) -> bool {
        *self == Wide::of(self.numbers[0])
    }
}

#[derive(Shared)]
struct Store {
    byte: Value<u8>,
    number: Value<i32>,
    real: Value<f64>,
    letter: Value<char>,
    flag: Value<bool>,
    wide: Value<Wide>,
    nothing: Value<()>,
    row: Array<i32>,
    empty: Array<i32>,
    total: Value<u64>,
}

const ROW: [i32; 10] = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
const ROUNDS: u64 = 2000;

/// Child: writes all of it, and counts.
pub fn fill(arguments: &[String]) {
    let store = Segment::of::<Store>().open(&arguments[0]).unwrap();
    if arguments[1] == "write" {
        assert_eq!(store.number.get().unwrap(), -7);
        store.byte.set(200).unwrap();
        store.number.set(i32::MIN).unwrap();
        store.real.set(-1.5).unwrap();
        store.letter.set('ß').unwrap();
        store.flag.set(true).unwrap();
        store.wide.set(Wide::of(3)).unwrap();
        store.nothing.set(()).unwrap();
        let mut row = store.row.lock().unwrap();
        for at in 1..row.len() {
            row[at] += row[at - 1];
        }
        return;
    }
    for _ in 0..ROUNDS {
        store.total.update(|total| total + 1).unwrap();
        let old = store.wide.update(|wide| Wide::of(wide.numbers[0] + 1)).unwrap();
        assert!(old.is_whole() && store.wide.get().unwrap().is_whole(), "half of a value");
        store.row.lock().unwrap()[0] += 1;
    }
}

fn store() -> (Name, Store) {
    let name = Name::new("store");
    let init = StoreInit {
        byte: 0,
        number: -7,
        real: 0.0,
        letter: 'x',
        flag: false,
        wide: Wide::of(0),
        nothing: (),
        row: ROW.to_vec(),
        empty: Vec::new(),
        total: 0,
    };
    let store = Segment::of::<Store>().create(&name, init, &options()).unwrap();
    (name, store)
}

#[test]
fn what_another_process_writes_is_seen() {
    let _dog = watchdog();
    let (name, store) = store();
    assert_eq!((store.byte.get().unwrap(), store.letter.get().unwrap()), (0, 'x'));
    Child::spawn("filler", &[&name, "write"]).finish();
    assert_eq!(store.byte.get().unwrap(), 200);
    assert_eq!(store.number.get().unwrap(), i32::MIN);
    assert_eq!(store.real.get().unwrap(), -1.5);
    assert_eq!(store.letter.get().unwrap(), 'ß');
    assert!(store.flag.get().unwrap());
    assert_eq!(store.wide.get().unwrap(), Wide::of(3));
    store.nothing.get().unwrap();
    let mut sums = ROW;
    (1..sums.len()).for_each(|at| sums[at] += sums[at - 1]);
    assert_eq!(*store.row.lock().unwrap(), sums);
}

#[test]
fn updates_of_many_processes_are_all_counted() {
    let _dog = watchdog();
    let (name, store) = store();
    let children: Vec<Child> = (0..3).map(|_| Child::spawn("filler", &[&name, "count"])).collect();
    children.into_iter().for_each(Child::finish);
    let all = 3 * ROUNDS;
    assert_eq!((store.total.get().unwrap(), store.wide.get().unwrap()), (all, Wide::of(all)));
    assert_eq!(store.row.lock().unwrap()[0], ROW[0] + all as i32);
}

#[test]
fn a_row_has_the_length_it_was_made_with() {
    let _dog = watchdog();
    let (name, store) = store();
    let mut row = store.row.lock().unwrap();
    assert_eq!((row.len(), row[4..6].to_vec(), row[9]), (10, vec![150, 233], 831));
    row[4..8].copy_from_slice(&[1, 2, 3, 4]);
    drop(row);
    let same = Segment::of::<Store>().open(&name).unwrap();
    assert_eq!(same.row.lock().unwrap()[3..9], [821, 1, 2, 3, 4, 714]);
    assert!(same.empty.lock().unwrap().is_empty());
    // Made of so many zeros, alone.
    let name = Name::new("zeros");
    let zeros = Array::create(&name, vec![0_i32; 100], &options()).unwrap();
    assert!(zeros.lock().unwrap().iter().all(|number| *number == 0));
    assert_eq!(Array::<i32>::open(&name).unwrap().lock().unwrap().len(), 100);
    let other = Array::<u32>::open(&name);
    assert!(matches!(other, Err(SegmentError::WrongType { .. })), "{other:?}");
}

#[test]
fn a_row_is_behind_a_lock() {
    let _dog = watchdog();
    let (name, store) = store();
    let same = Segment::of::<Store>().open(&name).unwrap();
    let guard = store.row.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(same.row.try_lock(), Err(LockError::WouldBlock))));
    });
    drop(guard);
    same.row.try_lock().unwrap();
}

#[test]
fn a_value_is_changed_unless_it_is_not_wanted() {
    let _dog = watchdog();
    let (_name, store) = store();
    let odd = |number: &i32| (number % 2 != 0).then(|| number + 1);
    assert_eq!(store.number.try_update(odd).unwrap(), (-7, true));
    assert_eq!(store.number.try_update(odd).unwrap(), (-6, false));
    let never = |_: &Wide| None;
    assert_eq!(store.wide.try_update(never).unwrap(), (Wide::of(0), false));
    let inner = store.wide.update(|wide| {
        let refused = store.wide.set(Wide::of(9));
        assert!(matches!(refused, Err(steadfast::WaitError::Deadlock)), "{refused:?}");
        *wide
    });
    assert_eq!(inner.unwrap(), Wide::of(0));
}
