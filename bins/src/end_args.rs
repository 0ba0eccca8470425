//! Arguments that say when a consumer ends, and what an empty or closed queue means by them.
#![forbid(unsafe_code)]

use std::time::Duration;

use clap::Args;
use steadfast::{GetError, JoinError};

use crate::args::{Escaped, SENTINEL, WaitArgs, duration};
use crate::exit_code::{ExitCode, Failure};
use crate::intake::Intake;
use crate::signals::Deadline;

/// How long after the last item was done a program notices it that waits for others.
const LAST: Duration = Duration::from_millis(50);

/// When to end.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct EndArgs {
    /// End well (code 0) after N items
    #[arg(short = 'n', long, value_name = "N", help_heading = "End")]
    pub count: Option<u64>,

    /// End well at a sentinel; then items are taken one by one
    #[arg(long, conflicts_with = "batch", help_heading = "End")]
    pub until_sentinel: bool,

    /// The sentinel [default: \n\0steadfast:end\n, as the producer's]
    #[arg(long, value_name = "BYTES", requires = "until_sentinel", help_heading = "End")]
    #[arg(allow_hyphen_values = true)]
    pub sentinel: Option<Escaped>,

    /// End well when the queue is shut down (else that is code 4)
    #[arg(long, help_heading = "End")]
    pub until_closed: bool,

    /// End well when the queue is empty; a joinable one: when everything is done, also what others hold
    #[arg(long, conflicts_with_all = ["timeout", "nowait", "idle_timeout"], help_heading = "End")]
    pub drain: bool,

    /// End well when no item has come for so long
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "nowait")]
    #[arg(help_heading = "End")]
    pub idle_timeout: Option<Duration>,
}

/// How long this wait may take, and what its end means.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    timeout: Deadline,
    idle: Deadline,
}

impl Patience {
    /// How long to wait before looking around again.
    pub fn slice(&self) -> Duration {
        self.timeout.slice().min(self.idle.slice())
    }
}

impl EndArgs {
    /// The item that ends the program, where one does.
    pub fn sentinel(&self) -> Option<&[u8]> {
        let sentinel = self.sentinel.as_ref().map_or(SENTINEL, |sentinel| &sentinel.0);
        self.until_sentinel.then_some(sentinel)
    }

    /// The patience of a wait that begins now.
    pub fn patience(&self, wait: &WaitArgs) -> Patience {
        Patience {
            timeout: Deadline::after(wait.patience()),
            idle: Deadline::after(self.idle_timeout),
        }
    }

    /// How long to wait for an item before looking around again: less where that may show that nothing is
    /// left, as nobody wakes us up then.
    pub fn slice(&self, intake: &Intake, patience: &Patience) -> Duration {
        let most = if self.drain && intake.is_leased() { LAST } else { Duration::MAX };
        patience.slice().min(most)
    }

    /// What it means that the queue called `name` gave no item. A code is the end, `None` is to look again.
    /// `nothing_left` waits so long until nobody holds an item that might come back.
    ///
    /// # Errors
    /// The end is a failure.
    pub fn judge(
        &self,
        name: &str,
        error: &GetError,
        patience: &Patience,
        nothing_left: impl Fn(Duration) -> Result<bool, JoinError>,
    ) -> Result<Option<ExitCode>, Failure> {
        let nothing_left = |time| nothing_left(time).map_err(|error| Failure::join(name, &error));
        match error {
            GetError::Empty | GetError::TimedOut => {}
            GetError::Closed if nothing_left(patience.slice())? => {
                let asked = self.until_closed || self.drain;
                return if asked {
                    Ok(Some(ExitCode::Done))
                } else {
                    Err(Failure::get(name, error))
                };
            }
            GetError::Closed => {}
            _ => return Err(Failure::get(name, error)),
        }
        if patience.idle.passed() || self.drain && nothing_left(Duration::ZERO)? {
            return Ok(Some(ExitCode::Done));
        }
        if patience.timeout.passed() { Err(Failure::get(name, error)) } else { Ok(None) }
    }
}
