//! What comes of a process: a value, a panic, a death.
//!
//! ```console
//! $ cargo run --example process_result 2> /dev/null
//! 6 / 2: 3
//! 6 / 0: panicked: attempt to divide by zero
//! 6 / -1: died: killed by signal 6
//! ```
//!
//! The panic is on standard error too, as always.

use steadfast::{Process, ResultError};

fn divide(a: i32, b: i32) -> i32 {
    match b {
        ..0 => std::process::abort(), // any death would do
        _ => a / b,
    }
}

steadfast::register!(divide); // so that a child finds it

/// The program; in the children, only as far as `init`.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    steadfast::init(); // a child does not come further than this
    for b in [2, 0, -1] {
        let process = Process::new(divide, (6, b)).name("division").start()?;
        match process.result() {
            Ok(value) => println!("6 / {b}: {value}"),
            Err(ResultError::Panicked { message, .. }) => println!("6 / {b}: panicked: {message}"),
            Err(ResultError::Ended { status, .. }) => println!("6 / {b}: died: {status}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
