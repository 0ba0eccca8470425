//! What kills a command with everything it started: on demand, and when this program dies.
//!
//! Each command runs in the process group of a warden of its own, a shell that waits at the other end of a
//! pipe. The end of the pipe comes when this program closes it, and also when this program dies, of
//! whatever; then the warden kills its group.
//!
//! No command escapes by this program's death just after the start: until a new process has become the
//! command it has the pipe open too, and it joins the group before that. A command that leaves its process
//! group (`setsid`) is left alone.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the warden does. Signals that are sent to its group, also by a terminal that the command wants to read,
/// neither end nor stop it, but for SIGKILL and SIGSTOP.
const WATCH: &str = "trap '' HUP INT QUIT TERM TSTP TTIN TTOU; read -r line; kill -KILL 0";

/// The warden of one command.
pub struct Warden {
    process: Child,
    leash: Leash,
}

/// Kills the command when it is cut, or gone.
#[derive(Clone)]
pub struct Leash(Arc<Mutex<Option<ChildStdin>>>);

impl Leash {
    /// Kills the command and all that it started.
    pub fn cut(&self) {
        self.holds().take();
    }

    fn holds(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Warden {
    /// Starts a warden.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub fn start() -> io::Result<Warden> {
        let mut process = Command::new("/bin/sh")
            .args(["-c", WATCH])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let leash = Leash(Arc::new(Mutex::new(process.stdin.take())));
        Ok(Warden { process, leash })
    }

    /// Starts the command in the warden's group. `None`: it was to be killed before it began.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, mut command: Command) -> io::Result<Option<Child>> {
        // Held meanwhile: who is to kill the command finds it in the group.
        let leash = self.leash.holds();
        if leash.is_none() {
            return Ok(None);
        }
        command.process_group(self.process.id().cast_signed()).spawn().map(Some)
    }

    /// The way to kill the command.
    pub fn leash(&self) -> Leash {
        self.leash.clone()
    }
}

impl Drop for Warden {
    /// The command has ended: what it left in the background goes on, unless it was to be killed.
    fn drop(&mut self) {
        if self.leash.holds().is_some() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
