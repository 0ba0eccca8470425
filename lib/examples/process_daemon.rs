//! A daemon does not keep its parent from ending: it is ended then. Other processes are waited for.
//!
//! ```console
//! $ cargo run --example process_daemon
//! starting: the daemon
//! starting: the other
//! the program has nothing more to do
//! exiting: the other
//! ```
//!
//! The daemon would have slept for longer, and never says that it exits. See `process_daemon_joined`.

use std::error::Error;
use std::time::Duration;

use steadfast::{Process, current_process};

fn sleep(for_so_long: Duration) {
    println!("starting: {}", current_process().name());
    std::thread::sleep(for_so_long);
    println!("exiting: {}", current_process().name());
}

/// Gives the daemon the time to begin.
fn sleep_a_little(for_so_long: Duration) {
    std::thread::sleep(for_so_long);
    sleep(for_so_long);
}

steadfast::register!(sleep, sleep_a_little);

/// The program; in the children, only as far as `init`.
pub fn main() -> Result<(), Box<dyn Error>> {
    steadfast::init();
    let other = Process::new(sleep_a_little, (Duration::from_millis(300),)).name("the other");
    let daemon = Process::new(sleep, (Duration::from_secs(600),)).name("the daemon").daemon(true);
    let daemon = daemon.start()?;
    other.start()?;
    assert!(daemon.is_daemon());
    std::thread::sleep(Duration::from_millis(500));
    println!("the program has nothing more to do");
    Ok(())
    // The handles are dropped; now the daemon gets SIGTERM, and the other one is waited for.
}
