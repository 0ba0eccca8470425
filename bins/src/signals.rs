//! SIGINT and SIGTERM as a flag, and waits that notice it.
//!
//! The library's waits are cut into slices of [`SLICE`], and the flag is looked at between them:
//! five looks a second, far below a thousandth of a core, and an answer within a fifth of a second.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::exit_code::ExitCode;

/// The longest wait without a look at the flag.
pub const SLICE: Duration = Duration::from_millis(200);

/// Whether the user has asked the program to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    insisted: Arc<AtomicBool>,
}

impl Stop {
    /// From now on the first SIGINT or SIGTERM raises the flag; the second ends the program at once.
    pub fn on_signals() -> io::Result<Stop> {
        let stop = Stop::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the action that ends the program looks at the flag before it is raised.
            let code = ExitCode::Interrupted as i32;
            flag::register_conditional_shutdown(signal, code, Arc::clone(&stop.flag))?;
            flag::register(signal, Arc::clone(&stop.flag))?;
        }
        Ok(stop)
    }

    /// As [`Stop::on_signals`], but the second signal is only noted, and the third ends the program.
    pub fn on_repeated_signals() -> io::Result<Stop> {
        let (stop, mut signals) = (Stop::default(), Signals::new([SIGINT, SIGTERM])?);
        let raised = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if raised.insisted() {
                    std::process::exit(ExitCode::Interrupted as i32);
                }
                let again = raised.flag.swap(true, Ordering::Relaxed);
                raised.insisted.store(again, Ordering::Relaxed);
            }
        })?;
        Ok(stop)
    }

    /// Whether a second signal has arrived.
    pub fn insisted(&self) -> bool {
        self.insisted.load(Ordering::Relaxed)
    }

    /// Whether a signal has arrived.
    pub fn requested(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Sleeps, and returns early when a signal arrives.
    pub fn sleep(&self, time: Duration) {
        let deadline = Deadline::after(Some(time));
        while !self.requested() && !deadline.passed() {
            std::thread::sleep(deadline.slice());
        }
    }
}

/// A moment to give up at, or never.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now; `None`, or a time beyond the clock's range, is never.
    pub fn after(time: Option<Duration>) -> Deadline {
        Deadline(time.and_then(|time| Instant::now().checked_add(time)))
    }

    /// Whether the moment has come.
    pub fn passed(&self) -> bool {
        self.0.is_some_and(|moment| Instant::now() >= moment)
    }

    /// How long it is until then.
    pub fn left(&self) -> Duration {
        self.0.map_or(Duration::MAX, |moment| moment.saturating_duration_since(Instant::now()))
    }

    /// How long to wait before looking around again.
    pub fn slice(&self) -> Duration {
        self.left().min(SLICE)
    }
}
