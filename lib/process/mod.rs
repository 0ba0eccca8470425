//! Processes that run a function of this program: Python's `Process`.
//!
//! A child is this program, executed anew, never a bare copy: threads, locks and handles of the parent are
//! not in it. [`init`](crate::init) turns it into its function.
//!
//! | file | |
//! |---|---|
//! | [`registry`] | which functions there are |
//! | [`wire`] | what parent and child tell each other |
//! | [`spawn`] | the parent's side |
//! | [`entry`] | the child's side |
//! | [`children`], [`exit`] | what is known of children, and what is done with them at the end |
//! | [`current`] | who this process is |

mod children;
mod current;
mod entry;
mod error;
mod exit;
pub(crate) mod registry;
mod spawn;
mod wire;

use std::any::TypeId;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::message;
use crate::os::{environment, process};

pub use children::{ChildProcess, active_children};
pub use current::{CurrentProcess, OrphanPolicy, ParentProcess, current_process, parent_process};
pub use entry::init;
pub use error::{ProcessError, ResultError, StartError};
pub use exit::ExitStatus;
pub use registry::{Function, Run};

use registry::{Missing, Table};
use spawn::Program;
use wire::{Bytes, Report, Start};

/// How long a child has to call [`init`](crate::init), unless told otherwise.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// A function that runs in a process of its own.
///
/// Made by [`Process::new`], described by the methods that follow, started once by [`Process::start`]. A
/// handle that is dropped leaves its process running; it stays one of the [`active_children`], and is
/// waited for when this process ends.
///
/// ```rust,standalone_crate
/// use steadfast::{Process, ResultError};
///
/// fn divide(a: i32, b: i32) -> i32 {
///     a / b
/// }
///
/// steadfast::register!(divide);
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     steadfast::init(); // a child does not come further than this
///
///     let process = Process::new(divide, (42, 6)).name("division").start()?;
///     assert_eq!(process.result()?, 7);
///     assert_eq!(process.exit_status().and_then(|status| status.code()), Some(0));
///
///     let process = Process::new(divide, (1, 0)).start()?;
///     assert!(matches!(
///         process.result(),
///         Err(ResultError::Panicked { message, .. }) if message == "attempt to divide by zero"
///     ));
///     Ok(())
/// }
/// ```
///
/// # Threads, descriptors, standard input
/// A child has the main thread, and one of the library. When its function returns, the process ends, with all
/// threads it has left running: join them, or use [`std::thread::scope`]. Descriptors that are not
/// close-on-exec are inherited, as by any program that is executed. Its standard input is `/dev/null`;
/// output and errors go where the parent's go.
///
/// # In tests
/// The usual test harness has a `main` of its own. Give the test `harness = false`; or let children run a test
/// that calls `init`, and nothing else:
///
/// ```no_run
/// # use steadfast::Process;
/// # fn square(x: u64) -> u64 { x * x }
/// // #[test]
/// fn child() {
///     steadfast::init();
/// }
///
/// // #[test]
/// fn a_process() -> Result<(), Box<dyn std::error::Error>> {
///     steadfast::init();
///     let harness = ["--exact", "child", "--nocapture"];
///     let process = Process::new(square, (7,)).program(std::env::current_exe()?, harness).start()?;
///     assert_eq!(process.result()?, 49);
///     Ok(())
/// }
/// ```
///
/// # Death
/// Any process may be killed at any moment. A child's death ends every wait for it. The death of a parent is
/// noticed by its children, which do what their [`OrphanPolicy`] says.
pub struct Process<R> {
    name: String,
    identity: String,
    daemon: bool,
    orphan_policy: Option<OrphanPolicy>,
    program: Program,
    handshake: Duration,
    function: (TypeId, &'static str),
    arguments: Result<Vec<u8>, String>,
    /// The process that made it.
    fork_id: u64,
    state: State,
    result: PhantomData<fn() -> R>,
}

enum State {
    New,
    Started(ChildProcess),
    Closed,
}

impl<R: Serialize + DeserializeOwned> Process<R> {
    /// A process that will call `function` with `arguments`, a tuple: `(7,)`, `("a".to_owned(), 7)`, `()`.
    ///
    /// The arguments are written down here, and read in the child. They may be as large as memory allows. The
    /// function must be [registered](crate::register). It is called "Process-1" or so, and is a daemon if
    /// this process is one.
    pub fn new<F, A>(function: F, arguments: A) -> Process<R>
    where
        F: Function<A, Output = R>,
        A: Serialize + DeserializeOwned,
    {
        let _ = function;
        let mut bytes = Vec::new();
        let identity = current::next_identity();
        Process {
            name: format!("Process-{identity}"),
            identity,
            daemon: current::is_daemon(),
            orphan_policy: None,
            program: Program::Own,
            handshake: HANDSHAKE,
            function: (TypeId::of::<F>(), std::any::type_name::<F>()),
            arguments: message::encode(&arguments, &mut bytes).map(|()| bytes),
            fork_id: process::fork_id().unwrap_or(0),
            state: State::New,
            result: PhantomData,
        }
    }

    /// A process that will do what a value's [`Run::run`] does.
    pub fn of<T: Run<Output = R>>(value: T) -> Process<R> {
        Process::new(<T as Run>::run, (value,))
    }

    /// What the function returned, when the process has ended.
    ///
    /// Waits as [`Process::join`] does; it may be asked again. Wherever the process dies, in the middle of
    /// sending its result too, this returns: with the whole result, or with an error.
    ///
    /// # Errors
    /// [`ResultError::Panicked`] with the panic's message and place; [`ResultError::Ended`] if the process was
    /// killed, or called `exit`, before its function had returned; and as [`Process::join`].
    pub fn result(&self) -> Result<R, ResultError> {
        let status = self.join()?;
        self.read_result(status)
    }

    /// As [`Process::result`], and waits for so long at most.
    ///
    /// # Errors
    /// [`ProcessError::TimedOut`] if it still runs then, and as [`Process::result`].
    pub fn result_timeout(&self, timeout: Duration) -> Result<R, ResultError> {
        let status = self.join_timeout(timeout)?;
        self.read_result(status)
    }

    fn read_result(&self, status: ExitStatus) -> Result<R, ResultError> {
        let name = self.name.clone();
        match self.child()?.0.report() {
            Some(Report::Value(Bytes(bytes))) => {
                message::decode(bytes).map_err(|what| ResultError::Deserialise { name, what })
            }
            Some(Report::Panicked { message, location }) => {
                let (message, location) = (message.clone(), location.clone());
                Err(ResultError::Panicked { name, message, location })
            }
            Some(Report::Arguments(what)) => {
                let what = format!("read its arguments: {what}");
                Err(ResultError::Unserialisable { name, what })
            }
            Some(Report::Unwritable(what)) => {
                let what = format!("write its result: {what}");
                Err(ResultError::Unserialisable { name, what })
            }
            None => Err(ResultError::Ended { name, status }),
        }
    }
}

impl<R> Process<R> {
    /// Sets its name, which is for people: it need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> Process<R> {
        self.name = name.into();
        self
    }

    /// Makes it a daemon, or none.
    ///
    /// A daemon is sent SIGTERM when its parent ends, dies with its parent (unless told otherwise by
    /// [`Process::orphan_policy`]), and may not have children itself. Without effect once it was started; see
    /// [`Process::set_daemon`].
    pub fn daemon(mut self, daemon: bool) -> Process<R> {
        let _ = self.set_daemon(daemon);
        self
    }

    /// As [`Process::daemon`], and tells if it is too late.
    ///
    /// # Errors
    /// [`ProcessError::AlreadyStarted`], [`ProcessError::Closed`].
    pub fn set_daemon(&mut self, daemon: bool) -> Result<(), ProcessError> {
        let name = self.name.clone();
        match self.state {
            State::New => self.daemon = daemon,
            State::Started(_) => return Err(ProcessError::AlreadyStarted { name }),
            State::Closed => return Err(ProcessError::Closed { name }),
        }
        Ok(())
    }

    /// Sets what it does when this process is gone. Not set: daemons die, others finish.
    pub fn orphan_policy(mut self, policy: OrphanPolicy) -> Process<R> {
        self.orphan_policy = Some(policy);
        self
    }

    /// Sets the program that is executed, and its arguments. Not set: the program of this process, with the
    /// arguments of this process.
    ///
    /// It must call [`init`](crate::init) and register the same functions. This is for hosts whose `main`
    /// is not Rust's, and for tests.
    pub fn program<S: Into<OsString>>(
        mut self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Process<R> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.program = Program::Other(program.into(), arguments);
        self
    }

    /// Sets how long the child has until it calls [`init`](crate::init); a child that takes longer is killed,
    /// and [`Process::start`] fails. Not set: 60 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Process<R> {
        self.handshake = timeout;
        self
    }

    /// Starts it, and returns when the child has called [`init`](crate::init); it reads its arguments later.
    ///
    /// If the child dies in the meantime, that is an error at once. If this process is killed in here, a child that
    /// was made already finds nobody to meet, and ends; if it was met already, it does what its
    /// [`OrphanPolicy`] says.
    ///
    /// # Errors
    /// [`StartError`]. Nothing runs then, and nothing is left over.
    pub fn start(mut self) -> Result<Process<R>, StartError> {
        let name = self.name.clone();
        match self.state {
            State::New => {}
            State::Started(_) => return Err(StartError::AlreadyStarted { name }),
            State::Closed => return Err(StartError::Closed { name }),
        }
        if environment::is_untrusted() {
            return Err(StartError::Privileged);
        }
        if !entry::is_initialised() {
            return Err(StartError::NotInitialised);
        }
        let forked =
            |source| StartError::Io { name: name.clone(), operation: "ask who we are", source };
        if process::fork_id().map_err(forked)? != self.fork_id {
            return Err(StartError::Forked { name });
        }
        if current::is_daemon() {
            return Err(StartError::DaemonParent { name });
        }
        if children::is_closed() {
            return Err(StartError::Exiting { name });
        }
        let (function, function_name) = self.function;
        let function = Table::get().name_of(function).map_err(|missing| match missing {
            Missing::NotRegistered => StartError::NotRegistered { function: function_name },
            Missing::Ambiguous(name) => StartError::Ambiguous { name },
        })?;
        let arguments = std::mem::replace(&mut self.arguments, Ok(Vec::new()))
            .map_err(|what| StartError::Arguments { name: name.clone(), what })?;
        let policy = if self.daemon { OrphanPolicy::Die } else { OrphanPolicy::Finish };
        let start = Start {
            function: function.to_owned(),
            name,
            identity: self.identity.clone(),
            daemon: self.daemon,
            orphan_policy: self.orphan_policy.unwrap_or(policy),
            parent_name: current::name().to_owned(),
            arguments: Bytes(arguments),
        };
        let child = spawn::start(&self.program, start, self.fork_id, self.handshake)?;
        self.state = State::Started(child);
        Ok(self)
    }

    fn child(&self) -> Result<&ChildProcess, ProcessError> {
        let name = || self.name.clone();
        match &self.state {
            State::New => Err(ProcessError::NotStarted { name: name() }),
            State::Started(child) => Ok(child),
            State::Closed => Err(ProcessError::Closed { name: name() }),
        }
    }

    /// Its name, as it was set or given.
    pub fn get_name(&self) -> &str {
        &self.name
    }

    /// Whether it is a daemon.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Its process id, also after its end; `None` before the start and after [`Process::close`].
    pub fn pid(&self) -> Option<u32> {
        self.child().ok().map(ChildProcess::pid)
    }

    /// Whether it runs: was started, has not ended.
    pub fn is_alive(&self) -> bool {
        self.child().is_ok_and(ChildProcess::is_alive)
    }

    /// How it ended; `None` before the start, while it runs, and after [`Process::close`].
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child().ok().and_then(ChildProcess::exit_status)
    }

    /// Waits until it has ended, and says how. It cannot wait longer than the process lives, however that
    /// dies; signals do not cut it short.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`], [`ProcessError::Closed`]; [`ProcessError::Forked`] in a forked copy of
    /// this process: only the process that started a child can wait for it.
    pub fn join(&self) -> Result<ExitStatus, ProcessError> {
        self.child()?.join()
    }

    /// Waits until it has ended, for so long at most; zero asks and does not wait.
    ///
    /// # Errors
    /// [`ProcessError::TimedOut`] if it still runs then, and as [`Process::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        self.child()?.join_timeout(timeout)
    }

    /// Sends it SIGTERM; nothing happens when it has ended. Its own children are not touched.
    ///
    /// # Errors
    /// As [`Process::join`]; the child runs as another user.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.child()?.terminate()
    }

    /// Sends it SIGKILL; nothing happens when it has ended. Its own children are not touched, but notice it: see
    /// [`OrphanPolicy`].
    ///
    /// # Errors
    /// As [`Process::terminate`].
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.child()?.kill()
    }

    /// Sends it SIGINT; nothing happens when it has ended.
    ///
    /// # Errors
    /// As [`Process::terminate`].
    pub fn interrupt(&self) -> Result<(), ProcessError> {
        self.child()?.interrupt()
    }

    /// A descriptor that is readable when it has ended, for `poll`, `epoll` and event loops: a pidfd, Python's
    /// `sentinel`. Leave collecting the status to the library.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`], [`ProcessError::Closed`].
    pub fn pidfd(&self) -> Result<BorrowedFd<'_>, ProcessError> {
        Ok(self.child()?.pidfd())
    }

    /// The same process without its result, as [`active_children`] has it.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`], [`ProcessError::Closed`].
    pub fn to_child(&self) -> Result<ChildProcess, ProcessError> {
        self.child().cloned()
    }

    /// Gives up what is known of a process that has ended, or was not started. Dropping the handle does the
    /// same, for one that runs too. Closing twice is fine.
    ///
    /// # Errors
    /// [`ProcessError::StillRunning`].
    pub fn close(&mut self) -> Result<(), ProcessError> {
        if self.is_alive() {
            return Err(ProcessError::StillRunning { name: self.name.clone() });
        }
        self.state = State::Closed;
        Ok(())
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::New => "new".to_owned(),
            State::Started(child) => match child.exit_status() {
                None => "running".to_owned(),
                Some(status) => status.to_string(),
            },
            State::Closed => "closed".to_owned(),
        };
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .field("daemon", &self.daemon)
            .field("state", &state)
            .finish()
    }
}
