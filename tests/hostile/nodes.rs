//! The list nodes of held mutexes lie in shared memory, where a peer can write
//! them. Only the kernel follows them, and only when their owner dies: pointing
//! one at a private array must not make the owner write there.

use steadfast::{LockError, Mutex};

use crate::image::{self, Change, Image, Value};
use crate::support::child::{self, Child};
use crate::support::{LIMIT, Name, watchdog_after};

/// The list node's words in the object.
const NODE: [usize; 4] = [136, 144, 152, 160];
const SENTRY: u64 = 0x5e57_5e57_5e57_5e57;

/// Child: holds two locks while their nodes are overwritten with the address of
/// a private array, then releases both and looks at the array.
pub fn holder(arguments: &[String]) {
    let first = Mutex::<Value>::open(&arguments[0]).unwrap();
    let second = Mutex::<Value>::open(&arguments[1]).unwrap();
    let private = Box::new([SENTRY; 64]);
    for turn in 0..4 {
        let one = first.lock().unwrap();
        let two = second.lock().unwrap();
        child::tell(format!("{}", (&raw const private[32]).addr()));
        child::hear();
        if turn % 2 == 0 {
            drop(one);
            drop(two);
        } else {
            drop(two);
            drop(one);
        }
        for value in private.iter() {
            // SAFETY: a live reference; volatile, as somebody else may have written it.
            assert_eq!(unsafe { std::ptr::read_volatile(value) }, SENTRY, "a private word changed");
        }
    }
    // The locks still work, and the thread's list is still whole.
    for _ in 0..100 {
        let one = first.lock_timeout(LIMIT);
        let two = second.lock_timeout(LIMIT);
        assert!(matches!(one, Ok(_) | Err(LockError::OwnerDied(_))));
        assert!(matches!(two, Ok(_) | Err(LockError::OwnerDied(_))));
    }
    child::tell("whole");
}

fn poke_all(image: &Image, names: &[Name], value: u64) {
    for name in names {
        for node in NODE {
            Change::word(image.object + node, value).poke(name);
        }
    }
}

#[test]
fn hostile_list_nodes_make_nobody_write_to_private_memory() {
    let _dog = watchdog_after(LIMIT);
    let image = image::mutex();
    let names = [Name::new("nodes"), Name::new("nodes")];
    for name in &names {
        image.write(name, &[]);
    }
    let mut holder = Child::spawn("nodes", &[&names[0], &names[1]]);
    loop {
        match holder.hear().as_str() {
            "whole" => break,
            address => poke_all(&image, &names, address.parse().unwrap()),
        }
        holder.say("go on");
    }
    holder.finish();
}

#[test]
fn hostile_list_nodes_do_not_keep_a_killed_owner_from_dying() {
    let _dog = watchdog_after(LIMIT);
    let image = image::mutex();
    for value in [0, 1, 8, u64::MAX, 1 << 63, 0x7fff_ffff_f000] {
        let names = [Name::new("nodes"), Name::new("nodes")];
        for name in &names {
            image.write(name, &[]);
        }
        let mut holder = Child::spawn("nodes", &[&names[0], &names[1]]);
        holder.hear();
        poke_all(&image, &names, value);
        holder.kill();
        for name in &names {
            // The kernel could not mark every one; the file locks tell the rest.
            let mutex = Mutex::<Value>::open(name).unwrap();
            let attempt = mutex.lock_timeout(LIMIT);
            assert!(
                matches!(attempt, Err(LockError::OwnerDied(_))),
                "{value:#x}: {:?}",
                attempt.err()
            );
        }
    }
}
