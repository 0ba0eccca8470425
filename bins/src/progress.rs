//! A progress bar, on a terminal only, and only for work that takes its time.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_millis(800);

/// Counts items and bytes; shows them when it has become worth it.
pub struct Progress {
    wanted: bool,
    total: Option<u64>,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows nothing unless `wanted` and standard error is a terminal.
    pub fn new(wanted: bool, total: Option<u64>) -> Progress {
        let wanted = wanted && stderr().is_terminal();
        Progress { wanted, total, started: Instant::now(), bar: None }
    }

    /// So far so many items with so many bytes.
    pub fn show(&mut self, items: u64, bytes: u64) {
        if !self.wanted || (self.bar.is_none() && self.started.elapsed() < PATIENCE) {
            return;
        }
        let elapsed = self.started.elapsed();
        let bar = self.bar.get_or_insert_with(|| start(self.total, elapsed));
        let rate = items as f64 / elapsed.as_secs_f64();
        bar.set_position(items);
        bar.set_message(format!("{}, {rate:.0}/s", ByteSize(bytes)));
    }
}

fn start(total: Option<u64>, elapsed: Duration) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(total, target).with_elapsed(elapsed);
    let template = match total {
        Some(_) => "{wide_bar} {human_pos}/{human_len} items, {msg}, {eta} left",
        None => "{spinner} {human_pos} items, {msg}, {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
