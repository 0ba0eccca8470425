//! How long to poll before sleeping: as long as polling has been worth it.
//!
//! A wake-up costs both sides some 30 microseconds, so polling for that long never more than doubles
//! the price. But where processes outnumber the processors, whoever polls keeps the other side from
//! running. So each success doubles the time and each failure halves it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::primitive::spin_loop;

/// Polls in a row at most: with a pause each, some 30 microseconds.
const MOST: u32 = 1024;
/// Fewer than so many polls are not worth beginning.
const FEWEST: u32 = 16;
/// A sleep shorter than this would have been worth polling instead.
const SHORT: Duration = Duration::from_micros(60);

/// The polling budget of one side of a queue, in one process.
#[derive(Debug)]
pub(crate) struct Spin {
    /// How many polls the next wait may try, 0 to `MOST`. Threads race on it harmlessly.
    budget: AtomicU32,
}

impl Spin {
    pub(crate) fn new() -> Spin {
        Spin { budget: AtomicU32::new(MOST) }
    }

    /// Polls `ready` until it is true or the budget is used up.
    pub(crate) fn until(&self, mut ready: impl FnMut() -> bool) -> bool {
        let budget = self.budget.load(Ordering::Relaxed).min(MOST);
        if budget < FEWEST {
            return false;
        }
        for _ in 0..budget {
            if ready() {
                self.budget.store((budget * 2).min(MOST), Ordering::Relaxed);
                return true;
            }
            spin_loop();
        }
        self.budget.store(budget / 2, Ordering::Relaxed);
        false
    }

    /// Sleeps by `sleep`; when it turns out to be short, polling becomes worth trying again.
    pub(crate) fn sleeping<R>(&self, sleep: impl FnOnce() -> R) -> R {
        if self.budget.load(Ordering::Relaxed) >= FEWEST {
            return sleep();
        }
        let start = Instant::now();
        let result = sleep();
        if start.elapsed() < SHORT {
            self.budget.store(FEWEST * 4, Ordering::Relaxed);
        }
        result
    }
}
