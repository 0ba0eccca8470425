//! Tasks of several processes.

use std::collections::HashSet;

use steadfast::{GetError, Queue, Shutdown};
use tokio::task::JoinSet;

use crate::support::child::{self, Child};
use crate::{numbers, on_runtimes, one_thread, several_threads, small, support, watchers};

/// Child: as many tasks as it is told to get until the queue has ended; tells all they got.
pub fn get_many(arguments: &[String]) {
    let queue = Queue::<u64>::open(&arguments[0]).unwrap();
    let tasks: usize = arguments[1].parse().unwrap();
    let got = several_threads().block_on(async {
        let mut getters = JoinSet::new();
        for _ in 0..tasks {
            let queue = queue.clone();
            getters.spawn(async move {
                let mut got = Vec::new();
                loop {
                    match queue.get_async().await {
                        Ok(number) => got.push(number.to_string()),
                        Err(GetError::Closed) => return got,
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        child::tell("ready");
        let mut all = Vec::new();
        while let Some(got) = getters.join_next().await {
            all.extend(got.unwrap());
        }
        all
    });
    child::tell(got.join(" "));
}

/// Child: the same with a thread that blocks.
pub fn get_blocking(arguments: &[String]) {
    let queue = Queue::<u64>::open(&arguments[0]).unwrap();
    child::tell("ready");
    let mut got = Vec::new();
    while let Ok(number) = queue.get() {
        got.push(number.to_string());
    }
    child::tell(got.join(" "));
}

/// Child: answers each number with the next one.
pub fn echo(arguments: &[String]) {
    let there = Queue::<u64>::open(&arguments[0]).unwrap();
    let back = Queue::<u64>::open(&arguments[1]).unwrap();
    one_thread().block_on(async {
        while let Ok(number) = there.get_async().await {
            back.put_async(&(number + 1)).await.unwrap();
        }
    });
}

#[test]
fn hundreds_of_getters_in_two_processes_and_a_blocking_one_share_the_messages() {
    const NUMBERS: u64 = 3000;
    let _dog = support::watchdog();
    let (name, queue) = numbers("crowd", &small().maxsize(20));
    let mut children = [
        Child::spawn("get_many", &[&name, "300"]),
        Child::spawn("get_many", &[&name, "300"]),
        Child::spawn("get_blocking", &[&name]),
    ];
    children.iter_mut().for_each(|child| child.expect("ready"));
    several_threads().block_on(async {
        let mut putters = JoinSet::new();
        for part in 0..10 {
            let queue = queue.clone();
            putters.spawn(async move {
                for number in (part..NUMBERS).step_by(10) {
                    queue.put_async(&number).await.unwrap();
                }
            });
        }
        while let Some(done) = putters.join_next().await {
            done.unwrap();
        }
    });
    queue.shutdown(Shutdown::Drain).unwrap();
    let mut seen = HashSet::new();
    for mut child in children {
        for number in child.hear().split_whitespace() {
            assert!(seen.insert(number.parse::<u64>().unwrap()), "{number} came twice");
        }
        child.finish();
    }
    assert_eq!(seen.len() as u64, NUMBERS);
}

#[test]
fn a_task_of_another_process_answers() {
    let _dog = support::watchdog();
    on_runtimes(|| async {
        let (there, out) = numbers("there", &small());
        let (back, answers) = numbers("back", &small());
        let child = Child::spawn("echo", &[&there, &back]);
        for number in 0..300 {
            out.put_async(&number).await.unwrap();
            assert_eq!(answers.get_async().await.unwrap(), number + 1);
        }
        assert!(watchers() <= 1);
        out.shutdown(Shutdown::Now).unwrap();
        child.finish();
    });
}
