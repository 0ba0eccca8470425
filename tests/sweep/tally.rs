//! What the sweep of one operation came to, and how it is printed.

use std::fmt::Write;
use std::time::Duration;

use crate::engine::{Account, State};

/// A machine that is busy with other things makes this many survivors late, and one in a hundred.
const NOISE: usize = 4;

/// The result of one operation.
#[derive(Default)]
pub struct Tally {
    /// The operation.
    pub name: String,
    /// How many instructions it took, undisturbed.
    pub instructions: usize,
    before: usize,
    after: usize,
    late: usize,
    unmarked: usize,
    /// Victims that were not quite where the recorded path led.
    pub astray: usize,
    slowest: Duration,
    /// Whether more survivors were late than may be.
    too_late: bool,
    /// Points and what went wrong there.
    pub failures: Vec<(String, String)>,
}

/// The first line of every table.
pub const HEADINGS: [&str; 9] = [
    "operation",
    "instructions",
    "points",
    "before",
    "after",
    "backstop",
    "unmarked",
    "astray",
    "slowest",
];

impl Tally {
    /// An empty one.
    pub fn new(name: &str) -> Tally {
        Tally { name: name.to_owned(), ..Tally::default() }
    }

    /// Adds one point.
    pub fn count(&mut self, account: &Account) {
        match account.state {
            State::Before => self.before += 1,
            State::After => self.after += 1,
        }
        self.late += usize::from(account.late);
        self.unmarked += usize::from(account.unmarked);
        self.slowest = self.slowest.max(account.waited);
    }

    /// Adds a failure.
    pub fn fail(&mut self, point: &str, what: &str) {
        self.failures.push((point.to_owned(), what.replace(['\n', '\t'], " ")));
    }

    fn points(&self) -> usize {
        self.before + self.after
    }

    /// Fails when survivors were late after more than `allowed` per cent of the points, or when a
    /// whole sweep has seen only one side of the operation.
    pub fn judge(&mut self, allowed: usize, whole: bool) {
        let most = self.points() * (allowed + 1) / 100 + NOISE;
        if self.late > most {
            self.too_late = true;
            let what = format!("{} survivors needed the backstop, at most {most} may", self.late);
            self.fail("all", &what);
        }
        if self.unmarked > 0 {
            let what = format!("{} dead owners were not marked by the kernel", self.unmarked);
            self.fail("all", &what);
        }
        if whole && self.failures.is_empty() && (self.before == 0 || self.after == 0) {
            self.fail("all", "the operation has no before, or no after");
        }
    }

    /// Whether nothing is wrong but that survivors were late: a busy machine does that, too.
    pub fn is_only_late(&self) -> bool {
        self.too_late && self.failures.len() == 1
    }

    /// The cells of its line in a table.
    pub fn cells(&self) -> [String; 9] {
        [
            self.name.clone(),
            self.instructions.to_string(),
            self.points().to_string(),
            self.before.to_string(),
            self.after.to_string(),
            self.late.to_string(),
            self.unmarked.to_string(),
            self.astray.to_string(),
            format!("{:.1} ms", self.slowest.as_secs_f64() * 1e3),
        ]
    }

    /// As lines from a stepper to the process that started it.
    pub fn lines(&self) -> String {
        let mut text = format!("row\t{}\n", self.cells().join("\t"));
        for (point, what) in &self.failures {
            writeln!(text, "fail\t{point}\t{what}").expect("a String takes everything");
        }
        text
    }
}

/// A table in Markdown.
pub fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n", HEADINGS.join(" | "));
    text.push_str("|---|");
    text.push_str(&"---:|".repeat(HEADINGS.len() - 1));
    text.push('\n');
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("a String takes everything");
    }
    text
}

/// A table for people.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = HEADINGS.map(str::to_owned).to_vec();
    let lines: Vec<&Vec<String>> = std::iter::once(&headings).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            if column == 0 {
                write!(text, "{cell:<width$}").expect("a String takes everything");
            } else {
                write!(text, "  {cell:>width$}").expect("a String takes everything");
            }
        }
        text.push('\n');
    }
    text
}
