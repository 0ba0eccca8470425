//! Processes in tests of the usual harness, as the documentation of `Process` recommends.

use std::error::Error;

use steadfast::{Process, ResultError};

fn square(x: u64) -> u64 {
    assert!(x < 1000, "too large");
    x * x
}

steadfast::register!(square);

#[test]
fn child() {
    steadfast::init();
}

fn process(x: u64) -> Result<Process<u64>, Box<dyn Error>> {
    let harness = ["--exact", "child", "--nocapture"];
    Ok(Process::new(square, (x,)).program(std::env::current_exe()?, harness).start()?)
}

#[test]
fn a_process() -> Result<(), Box<dyn Error>> {
    steadfast::init();
    assert_eq!(process(7)?.result()?, 49);
    Ok(())
}

#[test]
fn a_panic() -> Result<(), Box<dyn Error>> {
    steadfast::init();
    let error = process(1000)?.result().expect_err("it is too large");
    assert!(
        matches!(&error, ResultError::Panicked { message, .. } if message == "too large"),
        "{error}"
    );
    Ok(())
}
