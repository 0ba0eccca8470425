//! What the command-line tools share: arguments, exit codes, signals, input, output.
//!
//! Each program in `src/bin` is `main()`, which reports, and `run()`, which works. Nothing here
//! reaches below the public interface of the library. Unsafe code is forbidden in every file but
//! [`plain_lock`], which wraps a lock of another crate and argues each call.
//!
//! | file | what it does |
//! |---|---|
//! | [`args`], [`create_args`], [`end_args`], [`item_args`] | arguments, and the parsers of their values |
//! | [`exit_code`] | the exit codes, and how each error of the library becomes one |
//! | [`help`] | the end of every `--help`: examples and the exit codes |
//! | [`report`] | `main()`: parse, run, say what went wrong |
//! | [`signals`] | SIGINT and SIGTERM as a flag, waits that notice it |
//! | [`pace`] | think times and rates |
//! | [`records`], [`splitter`], [`source`] | bytes in: items cut out of streams, files, arguments |
//! | [`output`] | bytes out, and which items a broken pipe lost |
//! | [`any_queue`] | a queue of either kind |
//! | [`delivery`], [`intake`] | items into a queue, items out of a queue |
//! | [`exec_args`], [`jobs`], [`job`] | a command for each item |
//! | [`warden`] | what kills a command with everything it started |
//! | [`job_log`] | what was run and how it went |
//! | [`fingerprint`] | a hash of many items that does not depend on their order |
//! | [`progress`], [`summary`] | the bar on a terminal, the numbers at the end |
//! | [`tickets`], [`ticket_lock`], [`plain_lock`] | the ticket office |
#![deny(unsafe_code)]

pub mod any_queue;
pub mod args;
pub mod create_args;
pub mod delivery;
pub mod end_args;
pub mod exec_args;
pub mod exit_code;
pub mod fingerprint;
pub mod help;
pub mod intake;
pub mod item_args;
pub mod job;
pub mod job_log;
pub mod jobs;
pub mod output;
pub mod pace;
#[allow(unsafe_code)]
pub mod plain_lock;
pub mod progress;
pub mod records;
pub mod report;
pub mod signals;
pub mod source;
pub mod splitter;
pub mod summary;
pub mod ticket_lock;
pub mod tickets;
pub mod warden;
