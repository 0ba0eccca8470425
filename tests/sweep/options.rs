//! The command line: the sweep's own options, and as much of the test harness's as makes this a good
//! test target.

use std::path::PathBuf;

use crate::engine::Point;

/// What `--help` prints.
pub const USAGE: &str = "\
Usage: sweep [--full | --quick] [--only OP] [--point P] [--markdown FILE] [--list] [FILTER]
  --full            every operation at every point
  --quick           a sample of each operation
                    (neither: the hot operations at every point, the others in a sample)
  --only OP         only this operation; may be given several times
  --point P         only this point of it, as a failure names it
  --markdown FILE   write the table there, too
  --expect-failure  succeed only if an operation fails (for builds with a planted fault)
  --list            print the operations
  FILTER            only operations whose name contains it; `sweep` means all
Exit codes: 0 all passed, 1 something failed, 2 usage";

/// How much is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A few points of the short hot operations: all that is worth while in a build that is not
    /// optimised. It has ten times the instructions, and they are not the ones that run elsewhere.
    Glance,
    /// A few points of everything.
    Quick,
    /// The hot operations whole, a sample of the rest.
    Usual,
    /// Everything.
    Full,
}

/// The wishes of whoever started this.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much.
    pub size: Size,
    /// Only these operations; empty = all.
    pub only: Vec<String>,
    /// Only operations with one of these in their names; empty = all.
    pub filters: Vec<String>,
    /// A filter is the whole name.
    pub exact: bool,
    /// Only this point.
    pub point: Option<Point>,
    /// Where to write the table.
    pub markdown: Option<PathBuf>,
    /// The build has a planted fault: it must be found.
    pub expect_failure: bool,
    /// Print names instead of sweeping.
    pub list: bool,
}

/// What the arguments ask for.
pub enum Parsed {
    /// A run.
    Run(Options),
    /// Nothing (any more).
    Done,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(arguments: &[String]) -> Result<Parsed, String> {
        let size = if cfg!(debug_assertions) { Size::Glance } else { Size::Usual };
        let mut options = Options {
            size,
            only: Vec::new(),
            filters: Vec::new(),
            exact: false,
            point: None,
            markdown: None,
            expect_failure: false,
            list: false,
        };
        let mut ignored = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--full" => options.size = Size::Full,
                "--quick" => options.size = Size::Quick,
                "--only" => {
                    options.only.push(value()?);
                    if options.size == Size::Glance {
                        options.size = Size::Quick;
                    }
                }
                "--point" => {
                    let point = value()?;
                    let parsed = Point::parse(&point);
                    options.point = Some(parsed.ok_or_else(|| format!("not a point: {point}"))?);
                }
                "--markdown" => options.markdown = Some(value()?.into()),
                "--expect-failure" => options.expect_failure = true,
                "--list" => options.list = true,
                "--ignored" => ignored = true,
                "--help" | "-h" => {
                    println!("{USAGE}");
                    return Ok(Parsed::Done);
                }
                "--format" | "--color" | "--test-threads" | "--skip" | "--logfile" => {
                    value()?;
                }
                "--exact" => options.exact = true,
                "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--include-ignored"
                | "--show-output" => {}
                option if option.starts_with("--format=") || option.starts_with("--color=") => {}
                option if option.starts_with("--test-threads=") => {}
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}"));
                }
                "sweep" => {}
                filter => options.filters.push(filter.to_owned()),
            }
        }
        // None of the operations is an ignored test.
        Ok(if ignored { Parsed::Done } else { Parsed::Run(options) })
    }

    /// Whether this operation was asked for.
    pub fn wants(&self, name: &str) -> bool {
        let only = self.only.is_empty() || self.only.iter().any(|only| only == name);
        let filter = self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| if self.exact { name == filter } else { name.contains(filter) });
        only && filter
    }

    /// At most so many points of an operation; 0 = all.
    pub fn points(&self, hot: bool) -> usize {
        match self.size {
            Size::Full => 0,
            Size::Usual if hot => 0,
            Size::Usual => 60,
            Size::Quick => 40,
            Size::Glance => 20,
        }
    }
}
