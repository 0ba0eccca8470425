//! The kernel, one object per file. The only layer that names `libc` or `rustix`: results are
//! [`std::io::Result`], no file here decides anything.

pub(crate) mod clock;
pub(crate) mod environment;
pub(crate) mod eventfd;
pub(crate) mod exit;
pub(crate) mod futex;
pub(crate) mod mapping;
pub(crate) mod ofd_lock;
pub(crate) mod per_process;
pub(crate) mod pidfd;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod pthread;
pub(crate) mod robust_list;
pub(crate) mod shm;
pub(crate) mod sigbus;
pub(crate) mod thread;
