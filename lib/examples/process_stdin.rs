//! The standard input of a child is empty: what is typed is the parent's. Reading gives an end of file, and
//! a function should say so.
//!
//! ```console
//! $ echo 21 | cargo run --example process_stdin
//! the child: no answer, its standard input is at its end
//! the parent: the answer is 21
//! the child, asked with that: 42
//! ```

use std::error::Error;
use std::io::ErrorKind;

use steadfast::Process;

/// Reads a line of standard input.
fn ask() -> Result<String, ErrorKind> {
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer).map_err(|error| error.kind())? {
        0 => Err(ErrorKind::UnexpectedEof),
        _ => Ok(answer.trim().to_owned()),
    }
}

fn ask_in_the_child() -> Result<String, String> {
    ask().map_err(|kind| match kind {
        ErrorKind::UnexpectedEof => "no answer, its standard input is at its end".to_owned(),
        other => format!("no answer: {other}"),
    })
}

fn double(number: u32) -> u32 {
    2 * number
}

steadfast::register!(ask_in_the_child, double);

/// The program; in the children, only as far as `init`.
pub fn main() -> Result<(), Box<dyn Error>> {
    steadfast::init();
    match Process::new(ask_in_the_child, ()).start()?.result()? {
        Ok(answer) => println!("the child: the answer is {answer}"),
        Err(why) => println!("the child: {why}"),
    }
    // So ask here, and pass the answer as an argument.
    let answer = ask().map_err(|kind| format!("no answer: {kind}"))?;
    println!("the parent: the answer is {answer}");
    let doubled = Process::new(double, (answer.parse()?,)).start()?.result()?;
    println!("the child, asked with that: {doubled}");
    Ok(())
}
