//! Joinable queues through `producer` and `consumer`: nothing is lost with a consumer, everything is waited
//! for, items of any size.

mod support;

use support::{Name, Run, Stdin, consumer, eventually, frames, noise, producer, segments};

fn make(name: &Name, more: &[&str]) {
    let args = [&["-q", name, "--exclusive", "--joinable", "-n", "0"], more].concat();
    producer(&args, Stdin::Empty).finish().code(0);
}

fn put(name: &Name, items: &[&str]) {
    producer(&[&["-q", name][..], items].concat(), Stdin::Empty).finish().code(0);
}

fn numbers(to: u32) -> Vec<String> {
    (0..to).map(|i| i.to_string()).collect()
}

/// A consumer that has taken one item and thinks about it.
fn thinker(name: &Name) -> Run {
    let before = name.joinable().qsize().unwrap();
    let run = consumer(&["-q", name, "--delay", "10min"]);
    eventually("an item is taken", || name.joinable().qsize().unwrap() < before);
    run
}

#[test]
fn the_kind_is_found_out() {
    let name = Name::new("kinds");
    make(&name, &["--max-deliveries", "3", "--max-dead-letters", "10"]);
    put(&name, &["a", "b"]);
    put(&name, &["--create", "c"]);
    assert_eq!(name.joinable().unfinished().unwrap(), 3);
    assert_eq!(consumer(&["-q", &name, "-n", "1", "--ack"]).finish().code(0).lines(), ["a"]);
    assert_eq!(consumer(&["-q", &name, "--drain"]).finish().code(0).lines(), ["b", "c"]);
    put(&name, &["--join", "-n", "0"]);
    let listed = segments(&["ls", "--json"]).finish().code(0).json();
    let entry = listed.as_array().unwrap().iter().find(|entry| entry["name"] == *name).unwrap();
    assert_eq!(entry["kind"], "joinable queue");
    let table = segments(&["ls"]).finish().code(0).text();
    let line = table.lines().find(|line| line.contains(&*name)).unwrap();
    assert!(line.contains("joinable queue"), "{line}");

    let name = Name::new("by-consumer");
    let args = ["-q", &name, "--create", "--max-deliveries", "2", "--ack", "--drain"];
    consumer(&args).finish().code(0);
    assert!(name.joinable().is_empty().unwrap());
}

#[test]
fn who_needs_a_joinable_queue_refuses_another() {
    let name = Name::new("plain");
    producer(&["-q", &name, "--create", "a"], Stdin::Empty).finish().code(0);
    let needs = "needs a joinable one";
    consumer(&["-q", &name, "--ack"]).finish().code(6).says(needs).says("--create --joinable");
    consumer(&["-q", &name, "--create", "--ack"]).finish().code(6).says("not a joinable queue");
    producer(&["-q", &name, "--join", "x"], Stdin::Empty).finish().code(6).says(needs);
    let args = ["-q", &name, "--create", "--joinable", "x"];
    producer(&args, Stdin::Empty).finish().code(6).says("not a joinable queue");
    // nothing was put or taken by those
    assert_eq!(consumer(&["-q", &name, "--drain"]).finish().code(0).lines(), ["a"]);
    for args in [
        &["--create", "--max-deliveries", "3"][..],
        &["--create", "--joinable", "--large-messages", "1MiB"],
        &["--create", "--joinable", "--single-consumer"],
        &["--joinable"],
    ] {
        producer(&[&["-q", "x", "-n", "0"], args].concat(), Stdin::Empty).finish().code(2);
    }
}

#[test]
fn what_a_killed_consumer_had_comes_back() {
    let name = Name::new("back");
    make(&name, &[]);
    put(&name, &["-n", "20"]);
    for _ in 0..3 {
        let taker = thinker(&name);
        taker.signal("KILL");
        assert!(taker.finish().lines().is_empty());
    }
    assert_eq!(consumer(&["-q", &name, "--drain"]).finish().code(0).lines(), numbers(20));
}

#[test]
fn drain_and_join_wait_for_what_others_hold() {
    let name = Name::new("others");
    make(&name, &[]);
    put(&name, &["-n", "2"]);
    let (first, second) = (thinker(&name), thinker(&name));
    let mut drain = consumer(&["-q", &name, "--drain"]);
    let mut join = producer(&["-q", &name, "--join", "--shutdown", "drain"], Stdin::Empty);
    producer(&["-q", &name, "-n", "0", "--join", "--timeout", "0.2s"], Stdin::Empty)
        .finish()
        .code(3)
        .says("not everything is done");
    // one finishes its item as it is told to end, the other one dies with its item in hand
    first.signal("TERM");
    assert_eq!(first.finish().code(7).lines(), ["0"]);
    assert!(drain.runs() && join.runs());
    second.signal("KILL");
    assert_eq!(drain.finish().code(0).lines(), ["1"]);
    join.finish().code(0);
    consumer(&["-q", &name]).finish().code(4);
}

#[test]
fn a_queue_that_was_shut_down_is_not_left_while_others_hold_items() {
    let name = Name::new("shut");
    make(&name, &[]);
    put(&name, &["only"]);
    let dying = thinker(&name);
    let mut waiting = consumer(&["-q", &name, "--until-closed"]);
    put(&name, &["-n", "0", "--shutdown", "drain"]);
    eventually("it waits", || name.users() == 2);
    assert!(waiting.runs());
    dying.signal("KILL");
    assert_eq!(waiting.finish().code(0).lines(), ["only"]);
}

#[test]
fn a_join_can_be_interrupted() {
    let name = Name::new("stopped");
    make(&name, &[]);
    let join = producer(&["-q", &name, "a", "--join"], Stdin::Empty);
    eventually("the item is there", || name.joinable().qsize().unwrap() == 1);
    join.signal("INT");
    join.finish().code(7).says("1 items put");
}

#[test]
fn what_cannot_be_written_goes_back() {
    let name = Name::new("unwritten");
    make(&name, &[]);
    put(&name, &["-n", "5"]);
    let end = consumer(&["-q", &name, "--drain", "-o", "/dev/full"]).finish().code(1);
    end.says("5 items go back into the queue");
    assert_eq!(consumer(&["-q", &name, "--drain"]).finish().code(0).lines(), numbers(5));
}

#[test]
fn sentinels_batches_and_hashes_work_alike() {
    let name = Name::new("alike");
    make(&name, &["--maxsize", "10"]);
    let taker = consumer(&["-q", &name, "--until-sentinel", "--hash"]);
    let end = producer(&["-q", &name, "-n", "500", "--hash", "--sentinels", "1"], Stdin::Empty);
    assert_eq!(end.finish().code(0).text(), taker.finish().code(0).text());
    let taker = consumer(&["-q", &name, "--batch", "7", "--until-closed"]);
    put(&name, &["-n", "500", "--batch", "3", "--join", "--shutdown", "drain"]);
    assert_eq!(taker.finish().code(0).lines(), numbers(500));
}

#[test]
fn items_of_megabytes_go_through_unchanged() {
    let noise = noise(5 << 20);
    let items = [&noise[..], b"", &noise[..70_000], b"small", &noise[1..]];
    let input = frames(items);
    for how in [&["--joinable", "--capacity", "12MiB"][..], &["--large-messages", "12MiB"]] {
        let name = Name::new("mega");
        let args = [&["-q", &name, "--exclusive", "-n", "0"], how].concat();
        producer(&args, Stdin::Empty).finish().code(0);
        let taker = consumer(&["-q", &name, "--frames", "--until-closed"]);
        let args = ["-q", &name, "--frames", "--shutdown", "drain"];
        producer(&args, Stdin::Bytes(&input)).finish().code(0);
        assert!(taker.finish().code(0).stdout == input, "{how:?}");
    }
    let name = Name::new("mega");
    producer(&["-q", &name, "--create", "-n", "0"], Stdin::Empty).finish().code(0);
    let end = producer(&["-q", &name, "--frames"], Stdin::Bytes(&input)).finish().code(1);
    end.says("--large-messages");
}
