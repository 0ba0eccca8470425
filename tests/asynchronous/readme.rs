//! The example of the README.

use std::time::Duration;

use steadfast::{Queue, QueueOptions};

use crate::{on_runtimes, support};

#[rustfmt::skip]
async fn example(name: &str) -> Result<(), Box<dyn std::error::Error>> {
let jobs: Queue = Queue::open_or_create(name, &QueueOptions::new())?;
jobs.put_async(b"paint the fence").await?;
tokio::select! {
    job = jobs.get_async() => println!("{}", String::from_utf8_lossy(&job?)),
    () = tokio::time::sleep(Duration::from_secs(1)) => println!("nothing to do"),
}
Ok(())
}

#[test]
fn the_example_works_and_is_the_one_above() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let name = support::Name::new("readme");
        example(&name).await.unwrap();
    });
    let source = include_str!("readme.rs");
    let start = source.find("let jobs").unwrap();
    let end = source.find("Ok(())").unwrap();
    let example = source[start..end].replace("create(name,", "create(\"jobs\",");
    assert!(include_str!("../../README.md").contains(&example), "not in the README:\n{example}");
}
