//! What the bodies share, for the kind of lock at hand.

use steadfast::LockError;

use super::{Guard, Lock, NAME};
use crate::support::Name;
use crate::support::child::Child;
use crate::{LONG, Pair, options};

pub type Attempt<'a, T> = Result<Guard<'a, T>, LockError<Guard<'a, T>>>;

/// A mutex under a fresh name.
pub fn pair(tag: &str) -> (Name, Lock<Pair>) {
    let name = Name::new(tag);
    let mutex = Lock::create(&name, Pair::default(), &options()).expect("create a mutex");
    (name, mutex)
}

pub fn open(name: &str) -> Lock<Pair> {
    Lock::open(name).expect("somebody has made it")
}

/// The value of a lock that must be had without a hitch.
pub fn clean(mutex: &Lock<Pair>) -> Pair {
    match mutex.lock_timeout(LONG) {
        Ok(guard) => *guard,
        Err(error) => panic!("{error:?}"),
    }
}

/// The guard of a lock whose owner died.
pub fn inherited(attempt: Attempt<'_, Pair>) -> Guard<'_, Pair> {
    match attempt {
        Err(LockError::OwnerDied(guard)) => guard,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("nobody died"),
    }
}

/// A child in a role of this kind of lock.
pub fn spawn(role: &str, arguments: &[&str]) -> Child {
    let mut all = vec![role];
    all.extend(arguments);
    Child::spawn(NAME, &all)
}

/// Child: the role that the first argument names.
pub fn play(arguments: &[String]) {
    let role: fn(&[String]) = match arguments[0].as_str() {
        "count" => super::basics::count,
        "hold" => super::patience::hold,
        "try" => super::patience::try_once,
        "half" => super::death::half_written,
        "wait" => super::death::wait,
        "storm" => super::death::storm,
        "nest" => super::nested::nest,
        "fork" => super::forked::fork_holding,
        "woken" => super::cost::woken,
        "uncontended" => super::cost::uncontended,
        role => panic!("no role {role}"),
    };
    role(&arguments[1..]);
}
