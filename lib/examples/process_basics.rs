//! A function in a process of its own, and who is who.
//!
//! ```console
//! $ cargo run --example process_basics
//! main line
//!   name: MainProcess
//!   parent: no process of this library
//!   process id: 4711
//! function greet
//!   name: greeter
//!   parent: MainProcess, 4711
//!   process id: 4712
//! hello bob
//! the child returned 9 and ended with exit code 0
//! ```

use std::error::Error;

use steadfast::{Process, current_process, parent_process};

fn info(title: &str) {
    println!("{title}");
    println!("  name: {}", current_process().name());
    match parent_process() {
        Some(parent) => println!("  parent: {}, {}", parent.name(), parent.pid()),
        None => println!("  parent: no process of this library"),
    }
    println!("  process id: {}", current_process().pid());
}

fn greet(name: String) -> usize {
    info("function greet");
    let words = format!("hello {name}");
    println!("{words}");
    words.len()
}

// Without this line the child would not find the function.
steadfast::register!(greet);

/// The program; in the child, only as far as `init`.
pub fn main() -> Result<(), Box<dyn Error>> {
    steadfast::init();
    info("main line");
    let process = Process::new(greet, ("bob".to_owned(),)).name("greeter").start()?;
    let status = process.join()?;
    println!("the child returned {} and ended with {status}", process.result()?);
    Ok(())
}
