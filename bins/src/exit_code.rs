//! The exit codes of all programs, and the one place where an error becomes one.
//!
//! | code | name | when |
//! |---|---|---|
//! | 0 | done | everything asked for was done |
//! | 1 | failure | any other failure: input and output, permissions, no space, a name in use |
//! | 2 | usage | the command line is wrong |
//! | 3 | timed out | a wait ended without success: `--timeout`, or `--nowait` on a full or empty queue |
//! | 4 | closed | the queue was shut down |
//! | 5 | no such segment | nothing has that name |
//! | 6 | corrupt | the segment is damaged, or of another version or kind |
//! | 7 | interrupted | SIGINT or SIGTERM: the item in hand was finished first |
//! | 8 | sold out | no tickets left |
//!
//! The same table is in `docs/exit-codes.md` and at the end of every `--help`; a test compares them.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

use steadfast::{GetError, JoinError, LeaseError, LockError, PutError, SegmentError};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done.
    Done = 0,
    /// Any other failure.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A wait ended without success.
    TimedOut = 3,
    /// The queue was shut down.
    Closed = 4,
    /// Nothing has that name.
    NoSuchSegment = 5,
    /// The segment is damaged, or of another version or kind.
    Corrupt = 6,
    /// SIGINT or SIGTERM.
    Interrupted = 7,
    /// No tickets left.
    SoldOut = 8,
}

impl ExitCode {
    /// Every code, in order.
    pub const ALL: [ExitCode; 9] = [
        ExitCode::Done,
        ExitCode::Failure,
        ExitCode::Usage,
        ExitCode::TimedOut,
        ExitCode::Closed,
        ExitCode::NoSuchSegment,
        ExitCode::Corrupt,
        ExitCode::Interrupted,
        ExitCode::SoldOut,
    ];

    /// The short name: in `--help`, in `--json`, in the documents.
    pub fn name(self) -> &'static str {
        match self {
            ExitCode::Done => "done",
            ExitCode::Failure => "failure",
            ExitCode::Usage => "usage",
            ExitCode::TimedOut => "timed out",
            ExitCode::Closed => "closed",
            ExitCode::NoSuchSegment => "no such segment",
            ExitCode::Corrupt => "corrupt",
            ExitCode::Interrupted => "interrupted",
            ExitCode::SoldOut => "sold out",
        }
    }

    /// When it is given, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            ExitCode::Done => "everything asked for was done",
            ExitCode::Failure => "any other failure",
            ExitCode::Usage => "the command line is wrong",
            ExitCode::TimedOut => {
                "a wait ended without success, or --nowait met a full or empty queue"
            }
            ExitCode::Closed => "the queue was shut down",
            ExitCode::NoSuchSegment => "nothing has that name",
            ExitCode::Corrupt => "the segment is damaged, or of another version or kind",
            ExitCode::Interrupted => "SIGINT or SIGTERM: the item in hand was finished first",
            ExitCode::SoldOut => "no tickets left",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}

/// The code an error ends the program with.
pub fn of(error: &anyhow::Error) -> ExitCode {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
        .map_or(ExitCode::Failure, |failure| failure.code)
}

/// An error as the user reads it: what happened, to which segment, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: ExitCode,
    what: String,
    subject: String,
    way_out: String,
}

impl Failure {
    /// A failure in three parts; an empty part is left out.
    pub fn new(
        code: ExitCode,
        what: impl Into<String>,
        subject: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Failure {
        Failure { code, what: what.into(), subject: subject.into(), way_out: way_out.into() }
    }

    /// A mistake on the command line that the parser cannot see.
    pub fn usage(what: impl Into<String>, way_out: impl Into<String>) -> Failure {
        Failure::new(ExitCode::Usage, what, "", way_out)
    }

    /// The code it ends the program with.
    pub fn code(&self) -> ExitCode {
        self.code
    }

    /// The same failure with another way out.
    pub fn or(mut self, way_out: impl Into<String>) -> Failure {
        self.way_out = way_out.into();
        self
    }

    /// The same failure, and how far the work had come.
    pub fn after(mut self, items: u64) -> Failure {
        if items > 0 {
            self.what = format!("{} after {items} items", self.what);
        }
        self
    }

    /// An error of the segment called `name`.
    pub fn segment(name: &str, error: &SegmentError) -> Failure {
        use ExitCode as Code;
        use SegmentError as E;
        let (code, what, way_out) = match error {
            E::AlreadyExists { .. } => (
                Code::Failure,
                "already there".into(),
                "use another name, or remove it: segments rm NAME",
            ),
            E::NotFound { .. } => (
                Code::NoSuchSegment,
                "no such segment".into(),
                "make it with producer --create, or wait for it with --wait-create",
            ),
            E::InvalidName { .. } => (
                Code::Usage,
                "not a name for a segment".into(),
                "use 1 to 200 of: letters, digits, dot, underscore, hyphen",
            ),
            E::InvalidArgument { what, .. } => {
                (Code::Usage, (*what).into(), "correct the command line")
            }
            E::NotASegment { what, .. } => (
                Code::Corrupt,
                format!("not a segment ({what})"),
                "remove it with segments rm --force NAME",
            ),
            E::WrongVersion { found, ours, .. } => (
                Code::Corrupt,
                format!("of another version: it has {found}, this program has {ours}"),
                "use programs of one version, or remove it and make it again",
            ),
            E::WrongKind { found, wanted, .. } => (
                Code::Corrupt,
                format!("of another kind: it is a {found}, not a {wanted}"),
                "use another name, or remove it: segments rm NAME",
            ),
            E::Corrupt { what, .. } => return Failure::damaged(name, what),
            E::Truncated { .. } => return Failure::damaged(name, "another process truncated it"),
            E::NoSpace { needed, free, .. } => (
                Code::Failure,
                format!("no space: it needs {needed} bytes, /dev/shm has {free} free"),
                "make it smaller, or remove what nobody needs: segments ls",
            ),
            E::Full { participants, .. } => (
                Code::Failure,
                format!("too many users: {participants} processes are the most"),
                "wait until one of them has ended",
            ),
            E::InUse { users, .. } => {
                let processes = if *users == 1 { "process" } else { "processes" };
                (
                    Code::Failure,
                    format!("in use by {users} {processes}"),
                    "end them first, or use --force: they keep what they have, nobody can join them",
                )
            }
            E::PermissionDenied { .. } => (
                Code::Failure,
                "permission denied".into(),
                "ask its owner, who can make it with --group GID",
            ),
            E::RoleTaken { role, .. } => (
                Code::Failure,
                format!("its {role} is there already"),
                "end that one first, or make the queue without single roles",
            ),
            E::ForeignNamespace { .. } => (
                Code::Failure,
                "the pthread lock belongs to another PID namespace".into(),
                "use --lock futex",
            ),
            _ => return Failure::at(Code::Failure, name, error),
        };
        Failure::new(code, what, name, way_out)
    }

    /// An error of `put` on the queue called `name`.
    pub fn put(name: &str, error: &PutError) -> Failure {
        use ExitCode as Code;
        match error {
            PutError::Full => Failure::new(
                Code::TimedOut,
                "full",
                name,
                "start a consumer, or wait with --timeout",
            ),
            PutError::TimedOut => Failure::new(
                Code::TimedOut,
                "timed out waiting for room",
                name,
                "start a consumer, or raise --timeout",
            ),
            PutError::Closed | PutError::HandleClosed => Failure::new(
                Code::Closed,
                "shut down",
                name,
                "remove it and make a new one: segments rm NAME, then producer --create",
            ),
            PutError::TooLarge { len, max } => Failure::new(
                Code::Failure,
                format!("too long: {len} bytes, the queue takes up to {max} at a time"),
                name,
                "make the queue with a larger --capacity or --large-messages, or use --chunk, or a smaller --batch",
            ),
            PutError::Corrupt { what, .. } => Failure::damaged(name, what),
            PutError::Segment(error) => Failure::segment(name, error),
            _ => Failure::at(Code::Failure, name, error),
        }
    }

    /// An error of `get` on the queue called `name`.
    pub fn get(name: &str, error: &GetError) -> Failure {
        use ExitCode as Code;
        match error {
            GetError::Empty => Failure::new(
                Code::TimedOut,
                "empty",
                name,
                "start a producer, or wait with --timeout, or end well with --drain",
            ),
            GetError::TimedOut => Failure::new(
                Code::TimedOut,
                "timed out waiting for an item",
                name,
                "start a producer, or raise --timeout, or end well with --idle-timeout",
            ),
            GetError::Closed | GetError::HandleClosed => Failure::new(
                Code::Closed,
                "shut down",
                name,
                "use --until-closed where this is the expected end",
            ),
            GetError::Corrupt { what, .. } => Failure::damaged(name, what),
            GetError::Segment(error) => Failure::segment(name, error),
            _ => Failure::at(Code::Failure, name, error),
        }
    }

    /// An error of an acknowledgement, or of giving an item back.
    pub fn lease(name: &str, error: &LeaseError) -> Failure {
        match error {
            LeaseError::Corrupt { what, .. } => Failure::damaged(name, what),
            LeaseError::Segment(error) => Failure::segment(name, error),
            _ => Failure::at(ExitCode::Failure, name, error),
        }
    }

    /// An error of the wait until everything is done.
    pub fn join(name: &str, error: &JoinError) -> Failure {
        match error {
            JoinError::TimedOut => Failure::new(
                ExitCode::TimedOut,
                "timed out: not everything is done",
                name,
                "start a consumer, or raise --timeout",
            ),
            JoinError::Corrupt { what, .. } => Failure::damaged(name, what),
            JoinError::Segment(error) => Failure::segment(name, error),
            _ => Failure::at(ExitCode::Failure, name, error),
        }
    }

    /// An error of the lock called `name`; the guard of a dead owner's lock is not an error.
    pub fn lock<G>(name: &str, error: &LockError<G>) -> Failure {
        use ExitCode as Code;
        match error {
            LockError::TimedOut | LockError::WouldBlock => Failure::new(
                Code::TimedOut,
                "timed out waiting for the lock",
                name,
                "try again, or raise --timeout",
            ),
            LockError::Abandoned => Failure::new(
                Code::Corrupt,
                "the lock was given up: an owner died and its data could not be repaired",
                name,
                "put new tickets on sale: ticket-buyer --create N",
            ),
            LockError::Deadlock => {
                Failure::new(Code::Failure, "this thread holds the lock already", name, "")
            }
            LockError::Corrupt => Failure::new(
                Code::Corrupt,
                "the lock is damaged",
                name,
                "remove it: ticket-buyer remove",
            ),
            LockError::Segment(error) => Failure::segment(name, error)
                .or("check --lock and --lock-name, or remove the lock: ticket-buyer remove"),
            _ => Failure::new(Code::Failure, "the lock cannot be taken", name, ""),
        }
    }

    /// The queue holds something that nobody puts there.
    fn damaged(name: &str, what: &str) -> Failure {
        let way_out = "remove it with segments rm --force NAME, and make it again";
        Failure::new(ExitCode::Corrupt, format!("damaged ({what})"), name, way_out)
    }

    /// The library's own words, with the name.
    fn at(code: ExitCode, name: &str, error: &dyn Error) -> Failure {
        Failure::new(code, words(error), name, "")
    }
}

/// What an error says, and what its causes say.
fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for part in [&self.subject, &self.way_out] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

impl Error for Failure {}
