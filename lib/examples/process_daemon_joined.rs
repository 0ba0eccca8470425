//! A daemon that is joined does its work to the end. A join with a time limit does not wait for ever.
//!
//! ```console
//! $ cargo run --example process_daemon_joined
//! starting: short
//! exiting: short
//! short: exit code 0
//! starting: long
//! long after a while: alive true
//! long: killed by signal 15
//! ```

use std::error::Error;
use std::time::Duration;

use steadfast::{Process, ProcessError, current_process};

fn sleep(for_so_long: Duration) {
    println!("starting: {}", current_process().name());
    std::thread::sleep(for_so_long);
    println!("exiting: {}", current_process().name());
}

steadfast::register!(sleep);

/// The program; in the children, only as far as `init`.
pub fn main() -> Result<(), Box<dyn Error>> {
    steadfast::init();

    let short = Process::new(sleep, (Duration::from_millis(200),)).name("short").daemon(true);
    println!("short: {}", short.start()?.join()?);

    let long =
        Process::new(sleep, (Duration::from_secs(600),)).name("long").daemon(true).start()?;
    match long.join_timeout(Duration::from_millis(500)) {
        Err(ProcessError::TimedOut { .. }) => {
            println!("long after a while: alive {}", long.is_alive());
        }
        other => println!("long ended after all: {other:?}"),
    }
    long.terminate()?;
    println!("long: {}", long.join()?);
    Ok(())
}
