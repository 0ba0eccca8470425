//! A named file of `/dev/shm`, mapped into this process.
//!
//! Made and mapped by the `shared_memory` crate, and by nothing else. Its drop would remove the file
//! *by name*, also when the name means another file by then; so it never owns the file here.

use rustix::mm::Advice;
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::io;

/// Pages of mappings up to this size are touched when they are mapped, 0.34 us each, so that the
/// first operations do not fault; larger ones fault as they are used.
const POPULATE_UP_TO: usize = 64 << 20;

/// A readable and writable shared mapping of a whole file, unmapped when dropped.
///
/// It keeps the (unnamed) descriptor it was mapped from open. No lock is ever taken through that
/// one: a mapping keeps its description alive, and so its locks.
pub(crate) struct Mapping {
    memory: Shmem,
}

// SAFETY: a Shmem is a raw pointer to a shared mapping, its length, a descriptor and strings; it is
// used for its pointer and length, which any thread may know, and dropped once, by any thread.
unsafe impl Send for Mapping {}
// SAFETY: all methods that take `&self` only read the pointer and the length.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes the file `file` with mode 0600 and maps its `len` bytes of zeros. The bytes are not
    /// reserved yet: do that before touching them.
    ///
    /// A process killed inside leaves the file, of length 0 or `len`.
    ///
    /// # Errors
    /// `AlreadyExists` when there is such a file, otherwise what the kernel says. No file is left.
    pub(crate) fn create(file: &str, len: usize) -> io::Result<Mapping> {
        let mut memory =
            ShmemConf::new().os_id(format!("/{file}")).size(len).create().map_err(plain_error)?;
        memory.set_owner(false);
        Ok(Mapping { memory })
    }

    /// Maps the file `file`, as long as it is at that moment. Never makes one.
    ///
    /// # Errors
    /// `NotFound` when there is none, `InvalidInput` when it is empty, otherwise what the kernel says.
    pub(crate) fn open(file: &str) -> io::Result<Mapping> {
        let mut memory = ShmemConf::new().os_id(format!("/{file}")).open().map_err(plain_error)?;
        memory.set_owner(false);
        Ok(Mapping { memory })
    }

    /// The first byte; aligned to a page.
    pub(crate) fn start(&self) -> *mut u8 {
        self.memory.as_ptr()
    }

    /// How many bytes were mapped. The file may have been truncated since.
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Brings the pages in, so that first touches do not fault. Quietly does nothing for large
    /// mappings, and where the kernel (before 5.14) cannot.
    pub(crate) fn populate(&self) {
        if self.len() > POPULATE_UP_TO {
            return;
        }
        let start = self.start().cast();
        // SAFETY: the range is exactly this mapping, and populating changes no byte of it.
        let _ = unsafe { rustix::mm::madvise(start, self.len(), Advice::LinuxPopulateWrite) };
    }
}

/// The crate's error as the kernel's.
fn plain_error(error: ShmemError) -> io::Error {
    match error {
        ShmemError::MapCreateFailed(code)
        | ShmemError::MapOpenFailed(code)
        | ShmemError::UnknownOsError(code) => {
            io::Error::from_raw_os_error(i32::try_from(code).unwrap_or(libc::EIO))
        }
        ShmemError::MappingIdExists => io::Error::from(io::ErrorKind::AlreadyExists),
        ShmemError::MapSizeZero => io::Error::from(io::ErrorKind::InvalidInput),
        other => io::Error::other(other),
    }
}
