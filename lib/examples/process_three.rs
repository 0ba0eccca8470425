//! Three processes that work at the same time, each with its part of the arguments.
//!
//! ```console
//! $ cargo run --example process_three
//! started Process-1, Process-2, Process-3
//! Process-2: the squares up to 20 sum up to 2870
//! Process-1: the squares up to 10 sum up to 385
//! Process-3: the squares up to 30 sum up to 9455
//! all three together: 12710
//! ```
//!
//! They write in any order; their results are asked for one by one.

use std::error::Error;

use steadfast::{Process, current_process};

fn sum_of_squares(up_to: u64) -> u64 {
    let sum = (1..=up_to).map(|number| number * number).sum();
    println!("{}: the squares up to {up_to} sum up to {sum}", current_process().name());
    sum
}

steadfast::register!(sum_of_squares);

/// The program; in the children, only as far as `init`.
pub fn main() -> Result<(), Box<dyn Error>> {
    steadfast::init();
    let processes = [10, 20, 30].map(|up_to| Process::new(sum_of_squares, (up_to,)));
    let names: Vec<_> = processes.iter().map(|process| process.get_name().to_owned()).collect();
    let processes: Vec<_> = processes.into_iter().map(Process::start).collect::<Result<_, _>>()?;
    println!("started {}", names.join(", "));
    let mut sum = 0;
    for process in &processes {
        sum += process.result()?;
    }
    println!("all three together: {sum}");
    Ok(())
}
