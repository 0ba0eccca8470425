//! This process as the kernel sees it: which fork of the program it is, its PID namespace, its
//! start time and its name.
//!
//! # The fork page
//! One private page is mapped with `MADV_WIPEONFORK`: the kernel hands every child a page of zeros
//! in its place, whichever way the child was made (`fork`, a bare `clone` system call), while
//! threads and `vfork` children see the parent's page. It holds two words:
//!
//! | word | 0 | other values |
//! |---|---|---|
//! | `id` | nothing attached since the fork | random number of this process's attachments |
//! | `descriptors` | nobody works on lock descriptors | 1: somebody does, and `fork` waits for it |
//!
//! A handle remembers the id it was made under. In a child the word is 0, or the child's own random
//! number, so a handle that was inherited is recognised with one load and one comparison.

use rustix::fs::{AtFlags, CWD};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The words of the fork page: see the table in the module's documentation.
#[repr(C)]
pub(crate) struct ForkPage {
    id: AtomicU64,
    descriptors: AtomicU32,
}

/// The fork page, once it is mapped; never unmapped and never moved. Null before.
static PAGE: AtomicPtr<ForkPage> = AtomicPtr::new(ptr::null_mut());

/// Bytes mapped for the fork page: one page on x86-64; rounded up by the kernel elsewhere.
const PAGE_BYTES: usize = 4096;

impl ForkPage {
    /// The current id: 0 when nothing has been attached since the last fork.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    /// Keeps `fork` away, and every other thread that opens or closes lock descriptors, until the
    /// guard is dropped.
    ///
    /// A spin lock, because it has to be free in a child: the word is wiped there.
    pub(crate) fn hold_descriptors(&'static self) -> DescriptorsHeld {
        let mut tries = 0_u32;
        while self
            .descriptors
            .compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            tries = tries.saturating_add(1);
            if tries < 64 {
                std::thread::yield_now();
            } else {
                // The holder needs the processor: do not keep it from a thread of lower priority.
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        DescriptorsHeld { page: self }
    }
}

/// Nobody else opens or closes lock descriptors, and no `fork` starts, while this lives.
pub(crate) struct DescriptorsHeld {
    page: &'static ForkPage,
}

impl DescriptorsHeld {
    /// Forgets the guard without giving the lock back: the `fork` handlers do that by hand.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    /// Gives back what [`keep`](Self::keep) kept.
    pub(crate) fn release_kept(page: &ForkPage) {
        page.descriptors.store(0, Ordering::Release);
    }
}

impl Drop for DescriptorsHeld {
    fn drop(&mut self) {
        self.page.descriptors.store(0, Ordering::Release);
    }
}

/// The fork page, mapped at the first call.
///
/// # Errors
/// What `mmap` or `madvise` say: no memory, or a kernel before 4.14.
pub(crate) fn fork_page() -> io::Result<&'static ForkPage> {
    if let Some(page) = mapped_fork_page() {
        return Ok(page);
    }
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let new = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), PAGE_BYTES, prot, MapFlags::PRIVATE)
    }?;
    // SAFETY: the page was just mapped and holds nothing yet, so wiping it in children is harmless.
    let advised = unsafe { rustix::mm::madvise(new, PAGE_BYTES, Advice::LinuxWipeOnFork) };
    let won = advised.is_ok()
        && PAGE
            .compare_exchange(ptr::null_mut(), new.cast(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
    if !won {
        // SAFETY: the page is ours alone: it was not published, and nothing points into it.
        let _ = unsafe { rustix::mm::munmap(new, PAGE_BYTES) };
    }
    advised?;
    mapped_fork_page().ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// The fork page if somebody mapped it already. Safe to call from a signal or `fork` handler.
pub(crate) fn mapped_fork_page() -> Option<&'static ForkPage> {
    // SAFETY: null, or a page that `fork_page` mapped readable and writable, zeroed (which is valid
    // for atomics), large and aligned enough, and that nobody ever unmaps.
    unsafe { PAGE.load(Ordering::Acquire).as_ref() }
}

/// The id of this process's attachments, chosen at random at the first call after a fork; never 0.
///
/// # Errors
/// As [`fork_page`], and what `getrandom` says.
pub(crate) fn fork_id() -> io::Result<u64> {
    let page = fork_page()?;
    let id = page.id();
    if id != 0 {
        return Ok(id);
    }
    let new = u64::from_ne_bytes(random()?) | 1;
    match page.id.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(new),
        Err(other) => Ok(other),
    }
}

/// `N` random bytes.
///
/// # Errors
/// What `getrandom` says; only a kernel that is still booting has reason to.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        done += rustix::io::retry_on_intr(|| {
            rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())
        })?;
    }
    Ok(bytes)
}

/// Makes sure that descriptors 0, 1 and 2 are open, on `/dev/null` if need be.
///
/// A segment must not get number 0: the crate that maps it takes 0 for "no descriptor". And a
/// stray `print!` must not write into a segment.
///
/// # Errors
/// What opening `/dev/null` says.
pub(crate) fn keep_standard_descriptors_open() -> io::Result<()> {
    for number in 0..=2 {
        // SAFETY: the number is only asked about: F_GETFD on a closed one answers EBADF.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags == -1 {
            // SAFETY: the path is a NUL-terminated constant.
            let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
            if opened == -1 {
                return Err(io::Error::last_os_error());
            }
            if opened > 2 {
                // Somebody else filled the gap meanwhile.
                // SAFETY: the descriptor was just opened here and nobody else knows of it.
                unsafe { libc::close(opened) };
            }
        }
    }
    Ok(())
}

/// The process id, as this process's own PID namespace numbers it.
pub(crate) fn id() -> u32 {
    std::process::id()
}

/// The process id of the parent; 0 when it is in another PID namespace.
pub(crate) fn parent_id() -> u32 {
    std::os::unix::process::parent_id()
}

/// The inode number of this process's PID namespace, which names it on this machine; 0 when `/proc`
/// does not say.
pub(crate) fn pid_namespace() -> u64 {
    rustix::fs::statat(CWD, c"/proc/self/ns/pid", AtFlags::empty()).map_or(0, |facts| facts.st_ino)
}

/// Whether this process acts for the user `user`.
pub(crate) fn is_user(user: u32) -> bool {
    rustix::process::geteuid().as_raw() == user
}

/// Whether this process is in the group `group`.
pub(crate) fn is_in_group(group: u32) -> bool {
    rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups()
            .is_ok_and(|groups| groups.iter().any(|one| one.as_raw() == group))
}

/// When this process was started, in clock ticks since the machine booted; 0 when `/proc` does not
/// say. For diagnostics: with the process id it names a process.
pub(crate) fn start_time() -> u64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0 };
    // The second field is the name in brackets and may hold spaces: count from the last bracket.
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    fields.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The name of this process's main thread, padded with zeros; empty when `/proc` does not say. For
/// diagnostics.
pub(crate) fn name() -> [u8; 16] {
    let mut name = [0; 16];
    if let Ok(comm) = std::fs::read("/proc/self/comm") {
        for (to, from) in name.iter_mut().zip(comm.iter().take_while(|&&byte| byte != b'\n')) {
            *to = *from;
        }
    }
    name
}
