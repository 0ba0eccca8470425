//! The kernel calls of a stepper, one per function. No policy here; errors are [`io::Error`].

use std::arch::asm;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// What `waitpid` said about a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Stopped by this signal.
    Stopped(i32),
    /// Left with this exit code; it is reaped.
    Exited(i32),
    /// Ended by this signal; it is reaped.
    Killed(i32),
    /// Nothing to report yet.
    Running,
}

/// The part of a victim's registers that a stepper reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    /// The instruction about to run.
    pub rip: u64,
    /// Number of the system call, if that instruction is `syscall`.
    pub rax: u64,
    /// Second argument of that system call.
    pub rsi: u64,
}

/// `si_code` of the SIGTRAP that `int3` raises: the kernel's own.
const SI_KERNEL: i32 = 0x80;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes the caller the victim of the thread that started it.
pub fn trace_me() -> io::Result<()> {
    let null = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_TRACEME reads none of its three further arguments.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, null, null) })?;
    Ok(())
}

/// Stops the calling victim where its stepper can see it: the marker around the operation.
#[inline(always)]
pub fn marker() {
    // SAFETY: a one-byte trap. The process is traced, so it stops here and goes on behind it; no
    // register or memory changes, and without `nomem` no access is moved across.
    unsafe { asm!("int3", options(nostack)) };
}

/// Where a victim is sent whose thread shall end alone: the system call `exit`, with none of the C
/// library's endings.
pub extern "C" fn leave() -> ! {
    // SAFETY: the thread ends here; nothing it had is touched any more.
    unsafe {
        asm!("syscall", in("eax") libc::SYS_exit as i32, in("edi") 0, options(noreturn, nostack))
    }
}

/// Asks that the victim dies with its stepper.
pub fn die_with_me(pid: i32) -> io::Result<()> {
    let options = ptr::without_provenance_mut::<libc::c_void>(libc::PTRACE_O_EXITKILL as usize);
    let null = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SETOPTIONS takes the option bits by value and reads no memory of ours.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, null, options) })?;
    Ok(())
}

fn resume(request: libc::c_uint, pid: i32) -> io::Result<()> {
    let null = ptr::null_mut::<libc::c_void>();
    // SAFETY: the resuming requests take a signal number by value (0: none) and read no memory.
    check(unsafe { libc::ptrace(request, pid, null, null) })?;
    Ok(())
}

/// Lets a stopped victim run one instruction.
pub fn step(pid: i32) -> io::Result<()> {
    resume(libc::PTRACE_SINGLESTEP, pid)
}

/// Lets a stopped victim run on.
pub fn go_on(pid: i32) -> io::Result<()> {
    resume(libc::PTRACE_CONT, pid)
}

/// The registers of a stopped victim.
pub fn registers(pid: i32) -> io::Result<Registers> {
    // SAFETY: `user_regs_struct` is integers only, so all zero bytes are a value of it.
    let mut all: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let null = ptr::null_mut::<libc::c_void>();
    let out = ptr::from_mut(&mut all).cast::<libc::c_void>();
    // SAFETY: `out` is a `user_regs_struct` of ours, which is what PTRACE_GETREGS fills.
    check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, null, out) })?;
    Ok(Registers { rip: all.rip, rax: all.rax, rsi: all.rsi })
}

/// Whether a victim stopped by SIGTRAP stands behind its `int3` (and not behind a single step).
pub fn at_marker(pid: i32) -> io::Result<bool> {
    // SAFETY: `siginfo_t` is integers only, so all zero bytes are a value of it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let null = ptr::null_mut::<libc::c_void>();
    let out = ptr::from_mut(&mut info).cast::<libc::c_void>();
    // SAFETY: `out` is a `siginfo_t` of ours, which is what PTRACE_GETSIGINFO fills.
    check(unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, pid, null, out) })?;
    Ok(info.si_signo == libc::SIGTRAP && info.si_code == SI_KERNEL)
}

/// The eight bytes at `address` of a stopped victim.
pub fn peek(pid: i32, address: u64) -> io::Result<u64> {
    let mut word = 0_u64;
    let out = ptr::from_mut(&mut word);
    // SAFETY: the system call itself (not the C library's wrapper, which returns the word) stores
    // the victim's eight bytes in `out`, a word of ours.
    check(unsafe {
        libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKTEXT.cast_signed(), pid, address, out)
    })?;
    Ok(word)
}

/// Replaces the eight bytes at `address` of a stopped victim, code included.
pub fn poke(pid: i32, address: u64, word: u64) -> io::Result<()> {
    let at = ptr::without_provenance_mut::<libc::c_void>(address as usize);
    let word = ptr::without_provenance_mut::<libc::c_void>(word as usize);
    // SAFETY: PTRACE_POKETEXT takes the word by value and writes to the victim's memory only.
    check(unsafe { libc::ptrace(libc::PTRACE_POKETEXT, pid, at, word) })?;
    Ok(())
}

/// Makes a stopped victim go on at `address`.
pub fn jump(pid: i32, address: u64) -> io::Result<()> {
    let offset = std::mem::offset_of!(libc::user_regs_struct, rip);
    let at = ptr::without_provenance_mut::<libc::c_void>(offset);
    let to = ptr::without_provenance_mut::<libc::c_void>(address as usize);
    // SAFETY: PTRACE_POKEUSER sets one register of the victim by value; nothing of ours is touched.
    check(unsafe { libc::ptrace(libc::PTRACE_POKEUSER, pid, at, to) })?;
    Ok(())
}

fn wait_with(pid: i32, flags: i32) -> io::Result<Wait> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is an int of ours for the kernel to fill.
        let got = unsafe { libc::waitpid(pid, &mut status, flags) };
        if got == 0 {
            return Ok(Wait::Running);
        }
        if got == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(if libc::WIFSTOPPED(status) {
        Wait::Stopped(libc::WSTOPSIG(status) & 0x7f)
    } else if libc::WIFSIGNALED(status) {
        Wait::Killed(libc::WTERMSIG(status))
    } else {
        Wait::Exited(libc::WEXITSTATUS(status))
    })
}

/// Waits until a victim stops or ends.
pub fn wait(pid: i32) -> io::Result<Wait> {
    wait_with(pid, libc::__WALL)
}

/// Asks, without waiting, whether a victim stopped or ended.
pub fn try_wait(pid: i32) -> io::Result<Wait> {
    wait_with(pid, libc::__WALL | libc::WNOHANG)
}

/// SIGKILL.
pub fn kill(pid: i32) -> io::Result<()> {
    // SAFETY: a signal to a child that is not yet reaped, so the number is still that child's.
    check(unsafe { libc::kill(pid, libc::SIGKILL) }.into())?;
    Ok(())
}

/// Keeps the caller and whatever it starts on one CPU: a step is then two context switches on
/// the spot, not a wake-up across CPUs.
pub fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: `cpu_set_t` is an array of integers, so all zero bytes are the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a bit in a set of ours; the macro checks the index against the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads `set`, whose size is given, for the calling thread (0).
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) }.into())?;
    Ok(())
}

/// Switches address randomisation off for whatever the caller starts, so that every victim runs
/// the same instructions at the same addresses. Where that is not allowed nothing changes.
pub fn fix_addresses() {
    // SAFETY: a flag word of the calling process, taken by value.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
}

/// Gives the calling thread, and whatever it starts, a `/dev/shm` of its own. Needs the right to mount.
pub fn own_shared_memory() -> io::Result<()> {
    let nothing = ptr::null::<libc::c_char>();
    // SAFETY: a flag taken by value; only this thread and what it starts are concerned.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the path ends with a NUL, and the other pointers may be null for a change of flags.
    check(unsafe { libc::mount(nothing, c"/".as_ptr(), nothing, private, ptr::null()) }.into())?;
    let (tmpfs, place) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
    // SAFETY: all four strings end with a NUL; the kernel only reads them.
    check(unsafe { libc::mount(tmpfs, place, tmpfs, 0, c"size=64m".as_ptr().cast()) }.into())?;
    Ok(())
}

/// Runs `start` so that the process it starts is the first one of a new PID namespace. Needs the
/// right to make one.
pub fn in_new_namespace<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let home = std::fs::File::open("/proc/self/ns/pid")?;
    // SAFETY: a flag taken by value; only the processes that this thread starts are concerned.
    check(unsafe { libc::unshare(libc::CLONE_NEWPID) }.into())?;
    let started = start();
    // SAFETY: a descriptor of ours, of this process's own namespace: later ones start there again.
    check(unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWPID) }.into())?;
    started
}
