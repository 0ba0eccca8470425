//! How the programs end: each exit code, each reason.

mod support;

use std::time::Instant;

use steadfast::{Kind, Mutex, Segment, SegmentOptions};
use support::{Name, Stdin, buyer, consumer, eventually, producer, segments};

fn make(name: &Name, more: &[&str]) {
    let args = [&["-q", name, "--exclusive", "-n", "0"], more].concat();
    producer(&args, Stdin::Empty).finish().code(0);
}

fn put(name: &Name, items: &[&str]) {
    producer(&[&["-q", name][..], items].concat(), Stdin::Empty).finish().code(0);
}

#[test]
fn usage_is_2() {
    for args in [
        &[][..],
        &["-q", "x", "--nowait", "--timeout", "1s"],
        &["-q", "x", "--count", "1", "item"],
        &["-q", "x", "--maxsize", "5"],
        &["-q", "x", "--create", "--exclusive"],
        &["-q", "x", "--delay", "2s..1s"],
        &["-q", "x", "--chunk", "0"],
        &["-q", "x", "--lines", "--frames"],
        &["-q", "bad/name", "item"],
        &["-q", "", "item"],
    ] {
        producer(args, Stdin::Empty).finish().code(2);
    }
    for args in [
        &[][..],
        &["-q", "x", "--raw", "--null"],
        &["-q", "x", "--drain", "--timeout", "1s"],
        &["-q", "x", "--sentinel", "END"],
        &["-q", "x", "--delimiter", ""],
    ] {
        consumer(args).finish().code(2);
    }
    for args in [&[][..], &["--file", "a", "--store", "b"], &["--store", "x", "--lock", "wood"]] {
        buyer(args).finish().code(2);
    }
    for args in [&[][..], &["rm"], &["clean", "--yes", "--dry-run"]] {
        segments(args).finish().code(2);
    }
}

#[test]
fn a_full_queue_is_3() {
    let name = Name::new("full");
    make(&name, &["--maxsize", "2"]);
    let args = ["-q", &name, "--nowait", "a", "b", "c"];
    producer(&args, Stdin::Empty)
        .finish()
        .code(3)
        .says(&format!("producer: full after 2 items: {}", &*name));
    let start = Instant::now();
    producer(&["-q", &name, "--timeout", "0.3s", "c"], Stdin::Empty)
        .finish()
        .code(3)
        .says("timed out");
    assert!(start.elapsed().as_millis() >= 300);
    // A batch goes in whole or not at all.
    consumer(&["-q", &name, "-n", "1"]).finish().code(0);
    producer(&["-q", &name, "--nowait", "--batch", "2", "x", "y"], Stdin::Empty).finish().code(3);
    assert_eq!(name.queue().qsize().unwrap(), 1);
    let never = producer(&["-q", &name, "--batch", "3", "x"], Stdin::Empty);
    never.finish().code(2).says("can never fit");
}

#[test]
fn an_empty_queue_is_3_or_an_end_that_was_asked_for() {
    let name = Name::new("empty");
    make(&name, &[]);
    consumer(&["-q", &name, "--nowait"]).finish().code(3).says("empty");
    consumer(&["-q", &name, "--timeout", "0.3s"]).finish().code(3).says("timed out");
    consumer(&["-q", &name, "--drain"]).finish().code(0);
    consumer(&["-q", &name, "--idle-timeout", "0.3s"]).finish().code(0);
    consumer(&["-q", &name, "-n", "0"]).finish().code(0);

    put(&name, &["a", "b", "c"]);
    assert_eq!(consumer(&["-q", &name, "-n", "1", "--nowait"]).finish().code(0).lines(), ["a"]);
    let rest = consumer(&["-q", &name, "--nowait"]).finish().code(3).says("empty after 2 items");
    assert_eq!(rest.lines(), ["b", "c"]);
}

#[test]
fn a_closed_queue_is_4() {
    let name = Name::new("closed");
    make(&name, &[]);
    let waiting = consumer(&["-q", &name]);
    let hopeful = consumer(&["-q", &name, "--until-closed"]);
    put(&name, &["-n", "0", "--shutdown", "drain"]);
    waiting.finish().code(4).says("shut down");
    hopeful.finish().code(0);
    producer(&["-q", &name, "late"], Stdin::Empty).finish().code(4).says("shut down");
    consumer(&["-q", &name, "--drain"]).finish().code(0);
}

#[test]
fn shutdown_drain_leaves_items_and_shutdown_now_does_not() {
    let name = Name::new("shutdown");
    make(&name, &[]);
    put(&name, &["a", "b", "--shutdown", "drain"]);
    let rest = consumer(&["-q", &name]).finish().code(4).says("shut down after 2 items");
    assert_eq!(rest.lines(), ["a", "b"]);

    let name = Name::new("shutdown");
    make(&name, &[]);
    let args = ["-q", &name, "a", "b", "--shutdown", "now", "--json"];
    assert_eq!(producer(&args, Stdin::Empty).finish().code(0).json()["discarded"], 2);
    assert_eq!(consumer(&["-q", &name]).finish().code(4).lines(), Vec::<String>::new());
}

#[test]
fn a_full_queue_that_is_shut_down_is_4() {
    let name = Name::new("fullclosed");
    make(&name, &["--maxsize", "1"]);
    let mut blocked = producer(&["-q", &name, "a", "b"], Stdin::Empty);
    eventually("the queue is full", || name.queue().is_full().unwrap());
    assert!(blocked.runs());
    put(&name, &["-n", "0", "--shutdown", "now"]);
    blocked.finish().code(4);
}

#[test]
fn no_such_segment_is_5() {
    let name = Name::new("nothing");
    producer(&["-q", &name, "a"], Stdin::Empty).finish().code(5).says("--create");
    consumer(&["-q", &name]).finish().code(5).says("--wait-create");
    consumer(&["-q", &name, "--wait-create", "0.2s"]).finish().code(5);
    buyer(&["--store", &name, "search"]).finish().code(5).says("--create N");
    buyer(&["--file", "/nonexistent/db.json"]).finish().code(5);
    segments(&["rm", &name]).finish().code(5).says("segments ls");
}

#[test]
fn a_queue_may_come_later() {
    let name = Name::new("later");
    let waiting = consumer(&["-q", &name, "--wait-create", "1min", "-n", "1"]);
    put(&name, &["--create", "hello"]);
    assert_eq!(waiting.finish().code(0).lines(), ["hello"]);
}

#[test]
fn another_kind_or_no_segment_at_all_is_6() {
    let name = Name::new("kind");
    let mutex = Mutex::create(&name, 0_u64, &SegmentOptions::new()).unwrap();
    consumer(&["-q", &name]).finish().code(6).says(&Kind::Mutex.to_string());
    producer(&["-q", &name, "--create", "a"], Stdin::Empty).finish().code(6);
    drop(mutex);

    let name = Name::new("foreign");
    std::fs::write(format!("/dev/shm/steadfast.{}", &*name), b"nothing of ours").unwrap();
    consumer(&["-q", &name]).finish().code(6).says(&name);
    producer(&["-q", &name, "--create", "a"], Stdin::Empty).finish().code(6);
    let listed = segments(&["ls", "--json"]).finish().code(0).json();
    let entry = listed.as_array().unwrap().iter().find(|entry| entry["name"] == *name).unwrap();
    assert!(entry["error"].is_string(), "{entry}");
    segments(&["rm", "--force", &name]).finish().code(0);

    let name = Name::new("bytes");
    let bytes = Segment::create(&name, 64, &SegmentOptions::new()).unwrap();
    buyer(&["--store", &name, "search"]).finish().code(6).says("no tickets");
    drop(bytes);
}

#[test]
fn a_damaged_queue_is_6() {
    use std::os::unix::fs::FileExt;
    let name = Name::new("damaged");
    make(&name, &[]);
    put(&name, &["a", "b", "c"]);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/dev/shm/steadfast.{}", &*name))
        .unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xff; length as usize], 0).unwrap();
    consumer(&["-q", &name, "--drain"]).finish().code(6).says(&name);
    producer(&["-q", &name, "d"], Stdin::Empty).finish().code(6).says(&name);
}

#[test]
fn summaries_tell_how_it_ended() {
    let name = Name::new("json");
    make(&name, &["--maxsize", "1"]);
    let args = ["-q", &name, "--nowait", "--json", "--name", "ann", "four", "x"];
    let end = producer(&args, Stdin::Empty).finish().code(3).json();
    assert_eq!((end["items"].as_u64(), end["bytes"].as_u64()), (Some(1), Some(4)));
    assert_eq!((end["exit"].as_u64(), end["end"].as_str()), (Some(3), Some("timed out")));
    assert_eq!((end["queue"].as_str(), end["name"].as_str()), (Some(&*name), Some("ann")));
    assert!(end["seconds"].as_f64().is_some());

    let end = producer(&["-q", "no-such", "--json", "x"], Stdin::Empty).finish().code(5).json();
    assert_eq!((end["items"].as_u64(), end["end"].as_str()), (Some(0), Some("no such segment")));

    // Items on standard output, so the summary is on standard error.
    let taken = consumer(&["-q", &name, "--drain", "--json"]).finish().code(0);
    assert_eq!(taken.text(), "four\n");
    let end: serde_json::Value = serde_json::from_str(&taken.stderr).unwrap();
    assert_eq!((end["items"].as_u64(), end["exit"].as_u64()), (Some(1), Some(0)));
}

#[test]
fn other_failures_are_1() {
    let name = Name::new("full-device");
    make(&name, &[]);
    put(&name, &["a", "b"]);
    let lost = consumer(&["-q", &name, "--drain", "-o", "/dev/full"]).finish().code(1);
    lost.says("2 items taken from the queue are lost");
    producer(&["-q", &name, "--exclusive", "a"], Stdin::Empty)
        .finish()
        .code(1)
        .says("already there");
}

#[test]
fn a_queue_that_somebody_truncates_is_6() {
    let name = Name::new("truncated");
    make(&name, &["--capacity", "1MiB"]);
    let waiting = consumer(&["-q", &name]);
    eventually("it waits", || name.users() == 1);
    let path = format!("/dev/shm/steadfast.{}", &*name);
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    waiting.finish().code(6).says(&name);
    consumer(&["-q", &name]).finish().code(6).says(&name);
}
