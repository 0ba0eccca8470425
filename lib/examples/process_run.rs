//! A value that knows what to do: where Python makes a subclass of `Process` and overrides `run`.
//!
//! ```console
//! $ cargo run --example process_run
//! Process-1 greets ann
//! Process-2 greets bob
//! greetings sent: 2
//! ```

use std::error::Error;

use serde::{Deserialize, Serialize};
use steadfast::{Process, Run, current_process};

#[derive(Serialize, Deserialize)]
struct Greeter {
    whom: String,
}

impl Run for Greeter {
    type Output = u32;

    fn run(self) -> u32 {
        println!("{} greets {}", current_process().name(), self.whom);
        1
    }
}

steadfast::register!(Greeter::run);

/// The program; in the children, only as far as `init`.
pub fn main() -> Result<(), Box<dyn Error>> {
    steadfast::init();
    let mut sent = 0;
    for whom in ["ann", "bob"] {
        let process = Process::of(Greeter { whom: whom.to_owned() }).start()?;
        sent += process.result()?;
    }
    println!("greetings sent: {sent}");
    Ok(())
}
