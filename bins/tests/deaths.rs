//! Signals, broken pipes, killed programs.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::{Folder, Name, Stdin, consumer, eventually, noise, producer};

fn make(name: &Name, more: &[&str]) {
    let args = [&["-q", name, "--exclusive", "-n", "0"], more].concat();
    producer(&args, Stdin::Empty).finish().code(0);
}

#[test]
fn a_consumer_finishes_the_item_in_hand() {
    for signal in ["TERM", "INT"] {
        let name = Name::new("inhand");
        make(&name, &[]);
        producer(&["-q", &name, "first", "second"], Stdin::Empty).finish().code(0);
        let taker = consumer(&["-q", &name, "--delay", "10min", "--print", "--name", "bob"]);
        eventually("the first item is taken", || name.queue().qsize().unwrap() == 1);
        taker.signal(signal);
        let end = taker.finish().code(7).says("interrupted");
        assert_eq!(end.lines(), ["bob got first"]);
        assert_eq!(name.queue().get().unwrap(), b"second");
    }
}

#[test]
fn a_consumer_finishes_the_batch_in_hand() {
    let name = Name::new("batch");
    make(&name, &[]);
    producer(&["-q", &name, "-n", "5"], Stdin::Empty).finish().code(0);
    let taker = consumer(&["-q", &name, "--delay", "10min", "--batch", "3"]);
    eventually("a batch is taken", || name.queue().qsize().unwrap() == 2);
    taker.signal("TERM");
    assert_eq!(taker.finish().code(7).lines(), ["0", "1", "2"]);
}

#[test]
fn everything_taken_is_written_when_a_fast_consumer_is_stopped() {
    let (name, folder) = (Name::new("stop"), Folder::new("stop"));
    make(&name, &["--capacity", "64KiB"]);
    let path = folder.file("items", b"");
    let maker = producer(&["-q", &name, "-n", "1000000000"], Stdin::Empty);
    let taker = consumer(&["-q", &name, "-o", path.to_str().unwrap()]);
    eventually("much has gone through", || path.metadata().unwrap().len() > 1_000_000);
    taker.signal("TERM");
    taker.finish().code(7);
    maker.signal("TERM");
    maker.finish().code(7);
    let text = std::fs::read_to_string(&path).unwrap();
    let next = String::from_utf8(name.queue().try_get().unwrap()).unwrap();
    assert!(text.ends_with('\n'));
    for (number, line) in text.lines().chain([&*next]).enumerate() {
        assert_eq!(line, number.to_string(), "what was written ends where the queue begins");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let name = Name::new("twice");
    make(&name, &[]);
    producer(&["-q", &name, "--chunk", "1MB"], Stdin::Bytes(&noise(1_000_000))).finish().code(0);
    // Nobody reads its output, so it cannot finish the item in hand.
    let mut stuck = Command::new(env!("CARGO_BIN_EXE_consumer"))
        .args(["-q", &name])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the item is taken", || name.queue().is_empty().unwrap());
    let pid = stuck.id().to_string();
    // Signals that come close together may count as one.
    eventually("it ends", || {
        let ended = stuck.try_wait().unwrap();
        if ended.is_none() {
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
        }
        ended.is_some_and(|status| status.code() == Some(7))
    });
}

#[test]
fn a_waiting_program_can_be_stopped() {
    let name = Name::new("waiting");
    make(&name, &["--maxsize", "1"]);
    // Waits for input that never comes.
    let mut typing = producer(&["-q", &name, "--lines"], Stdin::Open);
    typing.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
    eventually("it is at work", || name.queue().qsize().unwrap() == 1);
    typing.signal("INT");
    // Its standard input stays open: it must not wait for it.
    let pipe = typing.stdin.take();
    typing.finish().code(7).says("1 items put");
    drop(pipe);

    // Waits for room that never comes.
    name.queue().get().unwrap();
    let mut blocked = producer(&["-q", &name, "--timeout", "10min"], Stdin::Open);
    blocked.stdin.as_mut().unwrap().write_all(b"y\nz\n").unwrap();
    eventually("it is at work", || name.queue().qsize().unwrap() == 1);
    blocked.signal("TERM");
    let pipe = blocked.stdin.take();
    blocked.finish().code(7).says("1 items put, 1 read and not put");
    drop(pipe);

    // Waits for items that never come.
    name.queue().get().unwrap();
    let waiting = consumer(&["-q", &name]);
    producer(&["-q", &name, "z"], Stdin::Empty).finish().code(0);
    eventually("it is at work", || name.queue().is_empty().unwrap());
    waiting.signal("TERM");
    assert_eq!(waiting.finish().code(7).lines(), ["z"]);
}

#[test]
fn a_broken_pipe_is_told_once_and_without_panic() {
    let name = Name::new("broken");
    make(&name, &[]);
    producer(&["-q", &name, "a", "b", "c"], Stdin::Empty).finish().code(0);
    let mut child = Command::new(env!("CARGO_BIN_EXE_consumer"))
        .args(["-q", &name, "--batch", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let end = child.wait_with_output().unwrap();
    let said = String::from_utf8(end.stderr).unwrap();
    assert_eq!(end.status.code(), Some(1), "{said}");
    assert!(said.contains("2 items taken from the queue are lost"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(name.queue().qsize().unwrap(), 1);
}

#[test]
fn a_reader_that_has_enough_breaks_nothing() {
    for args in [&["ls"][..], &["ls", "--json"], &["--help"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_segments"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let end = child.wait_with_output().unwrap();
        assert_eq!(end.status.code(), Some(0), "{args:?}");
        assert!(!String::from_utf8(end.stderr).unwrap().contains("panicked"));
    }
}

#[test]
fn a_killed_producer_leaves_whole_items_in_order() {
    for args in [&[][..], &["--batch", "10"], &["--batch", "1"]] {
        let name = Name::new("killed");
        make(&name, &["--capacity", "1MiB"]);
        let mut maker = producer(&[&["-q", &name], args].concat(), Stdin::Open);
        let mut pipe = maker.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            for number in 0_u64.. {
                // Cut by the death of its reader, in the middle of a line or not.
                if writeln!(pipe, "{number:08}-{}", "x".repeat((number % 50) as usize)).is_err() {
                    return;
                }
            }
        });
        eventually("it is in full flow", || name.queue().qsize().unwrap() >= 2000);
        maker.signal("KILL");
        assert_eq!(maker.finish().status.code(), None);
        writer.join().unwrap();
        let lines = consumer(&["-q", &name, "--drain"]).finish().code(0).lines();
        assert!(lines.len() >= 2000);
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("{number:08}-{}", "x".repeat(number % 50)));
        }
        // And the queue is as good as new.
        producer(&["-q", &name, "after"], Stdin::Empty).finish().code(0);
        assert_eq!(consumer(&["-q", &name, "-n", "1"]).finish().code(0).lines(), ["after"]);
    }
}

#[test]
fn killed_consumers_lose_no_more_than_they_had_in_hand() {
    let name = Name::new("eaten");
    make(&name, &[]);
    producer(&["-q", &name, "-n", "50"], Stdin::Empty).finish().code(0);
    let mut printed = Vec::new();
    for left in [49, 48, 47] {
        let taker = consumer(&["-q", &name, "--batch", "1", "--delay", "10min"]);
        eventually("an item is taken", || name.queue().qsize().unwrap() == left);
        taker.signal("KILL");
        printed.extend(taker.finish().lines());
    }
    assert!(printed.is_empty());
    let rest = consumer(&["-q", &name, "--drain"]).finish().code(0).lines();
    let expected: Vec<_> = (3..50).map(|i| i.to_string()).collect();
    assert_eq!(rest, expected);
}
