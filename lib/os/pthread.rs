//! A robust, process-shared, error-checking `pthread_mutex_t` at an address in shared memory.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// How many bytes the C library's mutex has on this platform.
pub(crate) const SIZE: usize = size_of::<libc::pthread_mutex_t>();

unsafe extern "C" {
    /// glibc 2.30: lock until an absolute time of the given clock.
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}

/// The result of an attempt to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// We own it.
    Clean,
    /// We own it; its owner died while it held it. The mutex was made consistent at once.
    OwnerDied,
    /// Somebody else owns it.
    Busy,
    /// This thread owns it already.
    Deadlock,
}

fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Makes a fresh mutex in place.
///
/// # Safety
/// `at` must point to at least [`SIZE`] writable bytes, aligned to 8, that nobody else uses yet.
pub(crate) unsafe fn init(at: *mut u8) -> io::Result<()> {
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let attr = attributes.as_mut_ptr();
    // SAFETY: `attr` points to room for the attributes, which this call initialises.
    check(unsafe { libc::pthread_mutexattr_init(attr) })?;
    // SAFETY: the attributes were initialised by the call above.
    check(unsafe { libc::pthread_mutexattr_setpshared(attr, libc::PTHREAD_PROCESS_SHARED) })?;
    // SAFETY: as above.
    check(unsafe { libc::pthread_mutexattr_setrobust(attr, libc::PTHREAD_MUTEX_ROBUST) })?;
    // SAFETY: as above.
    check(unsafe { libc::pthread_mutexattr_settype(attr, libc::PTHREAD_MUTEX_ERRORCHECK) })?;
    // SAFETY: `at` is ours alone, large enough and aligned (this function's contract), and the
    // attributes are initialised.
    check(unsafe { libc::pthread_mutex_init(at.cast(), attr) })?;
    // SAFETY: initialised above and not used again.
    check(unsafe { libc::pthread_mutexattr_destroy(attr) })
}

/// Locks; waits for at most `timeout` (zero does not wait).
///
/// # Safety
/// `at` must point to a mutex made by [`init`] that stays mapped while this thread owns it.
pub(crate) unsafe fn lock(at: *mut u8, timeout: Duration) -> io::Result<Locked> {
    let mutex = at.cast::<libc::pthread_mutex_t>();
    // A free mutex is taken without asking the clock.
    // SAFETY: this function's contract.
    let mut code = unsafe { libc::pthread_mutex_trylock(mutex) };
    if code == libc::EBUSY && !timeout.is_zero() {
        let until = monotonic_after(timeout)?;
        // SAFETY: this function's contract, and `until` is a valid time.
        code = unsafe { pthread_mutex_clocklock(mutex, libc::CLOCK_MONOTONIC, &until) };
    }
    match code {
        0 => Ok(Locked::Clean),
        libc::EOWNERDEAD => {
            // SAFETY: EOWNERDEAD means that this thread now owns the mutex.
            check(unsafe { libc::pthread_mutex_consistent(mutex) })?;
            Ok(Locked::OwnerDied)
        }
        libc::EBUSY | libc::ETIMEDOUT => Ok(Locked::Busy),
        libc::EDEADLK => Ok(Locked::Deadlock),
        other => Err(io::Error::from_raw_os_error(other)),
    }
}

/// Unlocks a mutex that this thread owns.
///
/// # Safety
/// As for [`lock`].
pub(crate) unsafe fn unlock(at: *mut u8) -> io::Result<()> {
    // SAFETY: this function's contract; an error-checking mutex refuses a thread that is not the
    // owner.
    check(unsafe { libc::pthread_mutex_unlock(at.cast()) })
}

/// The time of the monotonic clock `timeout` from now.
fn monotonic_after(timeout: Duration) -> io::Result<libc::timespec> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = now.tv_nsec + i64::from(timeout.subsec_nanos());
    let seconds = i64::try_from(timeout.as_secs())
        .ok()
        .and_then(|seconds| now.tv_sec.checked_add(seconds))
        .and_then(|seconds| seconds.checked_add(nanos / 1_000_000_000))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(libc::timespec { tv_sec: seconds, tv_nsec: nanos % 1_000_000_000 })
}
