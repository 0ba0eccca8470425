//! What can go wrong with a process.

use std::io;
use std::time::Duration;

use super::ExitStatus;

/// Why a process could not be started. Nothing runs and nothing is left over then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// [`init`](crate::init) was not called in this program.
    #[error(
        "steadfast::init() was not called: call it first thing in main, or the program that is \
         started for the process would be one more of this one"
    )]
    NotInitialised,
    /// This program has more rights than whoever started it (set-user-ID), and does not believe its
    /// environment, by which children are told what they are.
    #[error(
        "this program has more rights than whoever started it: it starts no processes, as those would \
         have to believe their environment"
    )]
    Privileged,
    /// It was started before.
    #[error("process {name:?} was started already: a process runs once, make a new one")]
    AlreadyStarted {
        /// Its name.
        name: String,
    },
    /// It was closed.
    #[error("process {name:?} was closed: make a new one")]
    Closed {
        /// Its name.
        name: String,
    },
    /// It was made by the process that this one was forked from.
    #[error("process {name:?} belongs to the parent of this forked process: make one here")]
    Forked {
        /// Its name.
        name: String,
    },
    /// This process is a daemon.
    #[error("a daemon process may not have children: start {name:?} from a process that is none")]
    DaemonParent {
        /// The name of the process that was to start.
        name: String,
    },
    /// This process is ending, and has done with its children.
    #[error("this process is ending: process {name:?} was not started")]
    Exiting {
        /// The name of the process that was to start.
        name: String,
    },
    /// The function is not registered.
    #[error(
        "{function} is not registered: write steadfast::register!({function}) outside of any function"
    )]
    NotRegistered {
        /// The function, as the compiler calls it.
        function: &'static str,
    },
    /// Several functions are registered under one name.
    #[error("several functions are registered as {name}: rename all but one")]
    Ambiguous {
        /// The name.
        name: &'static str,
    },
    /// The arguments cannot be written.
    #[error("the arguments of process {name:?} cannot be serialised: {what}")]
    Arguments {
        /// The name of the process.
        name: String,
        /// What serde says.
        what: String,
    },
    /// The temporary directory cannot hold the socket by which parent and child meet.
    #[error(
        "the temporary directory {directory:?} {what}: set TMPDIR to a short path of plain text"
    )]
    TemporaryDirectory {
        /// The directory.
        directory: std::path::PathBuf,
        /// What speaks against it.
        what: &'static str,
    },
    /// The program cannot be run.
    #[error("cannot run the program {program:?}")]
    Spawn {
        /// The program.
        program: std::path::PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The child ended before it was told what to do.
    #[error(
        "the program {program:?} ended ({status}) before it called steadfast::init(): call that first \
         thing in its main"
    )]
    Died {
        /// The program.
        program: std::path::PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The child did not call [`init`](crate::init) within the time that it is given, and was killed.
    #[error(
        "the program {program:?} did not call steadfast::init() within {timeout:?} and was killed: call \
         that first thing in its main"
    )]
    NoHandshake {
        /// The program.
        program: std::path::PathBuf,
        /// How long it had.
        timeout: Duration,
    },
    /// The child is another program, or another build, which does not have the same functions.
    #[error(
        "the program {program:?} is another build than this one: {theirs}; here: {ours}. Build both from \
         the same source"
    )]
    Mismatch {
        /// The program.
        program: std::path::PathBuf,
        /// What the child has.
        theirs: String,
        /// What this program has.
        ours: String,
    },
    /// The kernel refused something.
    #[error("cannot {operation} for process {name:?}")]
    Io {
        /// The name of the process.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why an operation on a process failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It was not started yet.
    #[error("process {name:?} was not started: call start() first")]
    NotStarted {
        /// Its name.
        name: String,
    },
    /// It was started already, and this can be set only before.
    #[error("process {name:?} was started already: set this before")]
    AlreadyStarted {
        /// Its name.
        name: String,
    },
    /// It was closed.
    #[error("process {name:?} was closed: close it when it is not needed any more")]
    Closed {
        /// Its name.
        name: String,
    },
    /// It still runs.
    #[error("process {name:?} still runs: join or terminate it before it is closed")]
    StillRunning {
        /// Its name.
        name: String,
    },
    /// The time is over; the process goes on.
    #[error("process {name:?} still runs after the time it was given")]
    TimedOut {
        /// Its name.
        name: String,
    },
    /// It was started by the process that this one was forked from.
    #[error(
        "process {name:?} is a child of the parent of this forked process: only that can join it"
    )]
    Forked {
        /// Its name.
        name: String,
    },
    /// The kernel refused.
    #[error("cannot {operation} process {name:?}")]
    Io {
        /// Its name.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why there is no result of a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The function panicked.
    #[error("process {name:?} panicked{}: {message}", at(location))]
    Panicked {
        /// The name of the process.
        name: String,
        /// What the panic said.
        message: String,
        /// Where, as `file:line:column`; unknown if the function set a panic hook of its own.
        location: Option<String>,
    },
    /// The process ended before its function had returned: it was killed, or it called `exit`.
    #[error("process {name:?} ended without a result: {status}")]
    Ended {
        /// The name of the process.
        name: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The function's arguments could not be read in the child, or its result not be written there.
    #[error("process {name:?} could not {what}")]
    Unserialisable {
        /// The name of the process.
        name: String,
        /// Which of both, and what serde says.
        what: String,
    },
    /// The result could not be read here.
    #[error("the result of process {name:?} cannot be read: {what}")]
    Deserialise {
        /// The name of the process.
        name: String,
        /// What serde says.
        what: String,
    },
    /// The process could not be waited for.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

fn at(location: &Option<String>) -> String {
    location.as_ref().map_or_else(String::new, |location| format!(" at {location}"))
}
