//! The lock of the crate `raw_sync`: shared between processes, and not robust. It is here to show
//! what happens without robustness: when a buyer dies holding it, nobody ever gets it again.
//!
//! It lives in shared memory of its own, `/dev/shm/steadfast-plain,NAME`. It is initialised under a
//! private name and then linked to its own, so nobody sees it half made; it stays until it is removed.
//!
//! Its timed calls are only right for whole seconds and for zero (it adds the nanoseconds without a
//! carry), so this file uses zero, and waits between attempts itself. Its errors are text, and the
//! only ones to expect are "timed out" (110) and misuse.
//!
//! # Why the unsafe calls are right
//! The crate takes raw pointers, and two things must hold: the memory stays mapped while the lock
//! is used, and an initialised lock is in it. The first is the order of the fields of [`PlainLock`]:
//! the lock is dropped before the mapping. The second is the publication by link, and the length
//! check at `open`. Somebody of the same user who writes other bytes there can do harm (as with any
//! `pthread_mutex_t`); the mode of the file, 0600, keeps others out.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use raw_sync::Timeout;
use raw_sync::locks::{LockGuard, LockImpl, LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};
use std::time::Duration;

use crate::exit_code::{ExitCode, Failure};

/// Where the C library keeps shared memory.
const FOLDER: &str = "/dev/shm";
/// Far more than a `pthread_mutex_t` and its alignment need.
const SIZE: usize = 4096;
/// ETIMEDOUT, as the crate prints it.
const TIMED_OUT: &str = ": 110";

/// A lock that does not survive its owner.
pub struct PlainLock {
    name: String,
    // Before `memory`: the lock points into it.
    lock: Box<dyn LockImpl>,
    memory: Shmem,
}

/// The right to what the lock guards; dropping it releases the lock.
pub struct PlainGuard<'a>(#[allow(dead_code, reason = "held for its drop")] LockGuard<'a>);

impl PlainLock {
    /// Opens the lock, or makes it.
    pub fn open_or_create(name: &str) -> Result<PlainLock, Failure> {
        let public = id(name)?;
        loop {
            if path(&public).exists() {
                return PlainLock::open(name, &public).map_err(|error| broken(name, &*error));
            }
            match publish(&public) {
                // Made now, by us or by somebody who was faster: open it like everybody else.
                Ok(()) => {}
                Err(error) => return Err(broken(name, &*error)),
            }
        }
    }

    /// Opens the lock `public`, which was linked to this name after it was initialised.
    fn open(name: &str, public: &str) -> Result<PlainLock, Box<dyn Error>> {
        let memory = ShmemConf::new().os_id(public).open()?;
        if memory.len() < SIZE {
            return Err("the shared memory is too short for a lock".into());
        }
        let start = memory.as_ptr();
        // SAFETY: `start` points to SIZE mapped bytes, which begin with an initialised lock, and the
        // mapping lives in the same struct, to be dropped after the lock. The second pointer is only
        // kept and handed out by the crate; it is never followed here.
        let (lock, _) = unsafe { Mutex::from_existing(start, start) }?;
        Ok(PlainLock { name: name.to_owned(), lock, memory })
    }

    /// Takes the lock if it is free. If its owner is dead, it is not.
    pub fn try_lock(&self) -> Result<Option<PlainGuard<'_>>, Failure> {
        debug_assert!(self.memory.len() >= SIZE);
        match self.lock.try_lock(Timeout::Val(Duration::ZERO)) {
            Ok(guard) => Ok(Some(PlainGuard(guard))),
            Err(error) if error.to_string().ends_with(TIMED_OUT) => Ok(None),
            Err(error) => Err(broken(&self.name, &*error)),
        }
    }

    /// Removes the lock; who has it open keeps a lock of their own. False if there is none.
    pub fn remove(name: &str) -> Result<bool, Failure> {
        match fs::remove_file(path(&id(name)?)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(broken(name, &error)),
        }
    }
}

/// Makes an initialised lock under a private name and links it to `public`, unless that exists.
fn publish(public: &str) -> Result<(), Box<dyn Error>> {
    let private = format!("/steadfast-plain-new,{:032x}", fastrand::u128(..));
    let mut memory = ShmemConf::new().os_id(&private).size(SIZE).create()?;
    // Else its drop would remove whatever has the name by then.
    memory.set_owner(false);
    let start = memory.as_ptr();
    // SAFETY: `start` points to SIZE mapped bytes that nobody else knows yet, and `memory` outlives
    // the handle, which is dropped at once: dropping it leaves the lock in the memory as it is.
    let made = unsafe { Mutex::new(start, start) }.map(drop);
    let linked = made.and_then(|()| match fs::hard_link(path(&private), path(public)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    });
    let removed = fs::remove_file(path(&private));
    linked.and(removed.map_err(Into::into))
}

/// The name for `shm_open`.
fn id(name: &str) -> Result<String, Failure> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 200 || !name.bytes().all(valid) {
        let way_out = "use 1 to 200 of: letters, digits, dot, underscore, hyphen";
        return Err(Failure::new(ExitCode::Usage, "not a name for a lock", name, way_out));
    }
    Ok(format!("/steadfast-plain,{name}"))
}

/// The file behind it.
fn path(id: &str) -> PathBuf {
    Path::new(FOLDER).join(id.trim_start_matches('/'))
}

fn broken(name: &str, error: &dyn Error) -> Failure {
    let way_out = "remove it: ticket-buyer remove --lock plain";
    Failure::new(ExitCode::Failure, format!("the plain lock fails: {error}"), name, way_out)
}
