//! Joining each process right after its start makes them run one after the other. Starting all, and joining
//! them then, has them run at the same time.
//!
//! ```console
//! $ cargo run --example process_join
//! one after the other:
//!   start a, end a
//!   start b, end b
//!   start c, end c
//!   took 615 ms
//! at the same time:
//!   start a, start b, start c, end a, end b, end c
//!   took 213 ms
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use steadfast::Process;

const NAP: Duration = Duration::from_millis(200);

fn nap() {
    std::thread::sleep(NAP);
}

steadfast::register!(nap);

fn process(name: &str) -> Process<()> {
    Process::new(nap, ()).name(name)
}

/// The program; in the children, only as far as `init`.
pub fn main() -> Result<(), Box<dyn Error>> {
    steadfast::init();

    println!("one after the other:");
    let begin = Instant::now();
    for name in ["a", "b", "c"] {
        let process = process(name).start()?;
        process.join()?;
        println!("  start {name}, end {name}");
    }
    println!("  took {} ms", begin.elapsed().as_millis());

    println!("at the same time:");
    let begin = Instant::now();
    let (mut processes, mut events) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        processes.push(process(name).start()?);
        events.push(format!("start {name}"));
    }
    for process in &processes {
        process.join()?;
        events.push(format!("end {}", process.get_name()));
    }
    println!("  {}", events.join(", "));
    println!("  took {} ms", begin.elapsed().as_millis());
    Ok(())
}
