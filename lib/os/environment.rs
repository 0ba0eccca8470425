//! What surrounds this process: its environment, where it is changed, and its temporary directory.

use std::ffi::OsString;
use std::path::Path;

use rustix::fs::Access;

/// Whether this is a directory in which this process may make files.
pub(crate) fn is_writable_directory(path: &Path) -> bool {
    path.is_dir() && rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether this program was given more rights than whoever started it has (set-user-ID, capabilities of the
/// file), so that its environment is not to be believed.
pub(crate) fn is_untrusted() -> bool {
    // SAFETY: it takes a number and reads what the kernel gave to this program.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Takes a variable out of the environment.
pub(crate) fn take(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: Rust's own readers and writers of the environment share a lock that this call takes. A
    // foreign thread that is in C's `getenv` at this moment is harmless with glibc, the one C library
    // this crate compiles for: its `unsetenv` shifts pointers within the array, frees nothing and
    // moves nothing else, so that thread reads valid pointers and at worst overlooks a variable.
    unsafe { std::env::remove_var(name) };
    Some(value)
}
