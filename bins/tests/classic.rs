//! The classic examples: producers and consumers that end by sentinels, typed lines that travel at
//! once, items that keep their order.

mod support;

use std::io::Write;

use support::{Name, Stdin, consumer, eventually, producer};

#[test]
fn three_producers_and_two_consumers_end_by_sentinels() {
    let name = Name::new("classic");
    producer(&["-q", &name, "--create", "-n", "0"], Stdin::Empty).finish().code(0);
    let takers = ["erin", "frank"].map(|who| {
        let pace = ["--delay", "0.01s..0.03s", "--print", "--until-sentinel"];
        (who, consumer(&[&["-q", &name, "--name", who], &pace[..]].concat()))
    });
    let makers = [("ann", "bun"), ("bob", "bone"), ("cat", "soup")].map(|(who, food)| {
        let what = ["-n", "4", "--item", food, "--delay", "0.01s..0.03s", "--print"];
        (who, food, producer(&[&["-q", &name, "--name", who], &what[..]].concat(), Stdin::Empty))
    });
    let mut made = Vec::new();
    for (who, food, run) in makers {
        let lines = run.finish().code(0).lines();
        let expected: Vec<_> = (0..4).map(|i| format!("{who} produced {food} {i}")).collect();
        assert_eq!(lines, expected);
        made.extend((0..4).map(|i| format!("{food} {i}")));
    }
    producer(&["-q", &name, "-n", "0", "--sentinels", "2"], Stdin::Empty).finish().code(0);
    let mut got = Vec::new();
    for (who, run) in takers {
        let prefix = format!("{who} got ");
        let lines = run.finish().code(0).lines();
        got.extend(lines.iter().map(|line| line.strip_prefix(&prefix).unwrap().to_owned()));
    }
    got.sort_unstable();
    made.sort_unstable();
    assert_eq!(got, made);
    assert!(name.queue().is_empty().unwrap());
}

#[test]
fn the_items_of_one_producer_keep_their_order() {
    let name = Name::new("order");
    let taker = consumer(&["-q", &name, "--wait-create", "30s", "--until-sentinel"]);
    let args = ["-q", &name, "--create", "--maxsize", "3", "-n", "500", "--sentinels", "1"];
    producer(&args, Stdin::Empty).finish().code(0);
    let expected: Vec<_> = (0..500).map(|i| i.to_string()).collect();
    assert_eq!(taker.finish().code(0).lines(), expected);
}

#[test]
fn a_sentinel_is_what_both_sides_agree_on() {
    let name = Name::new("sentinel");
    let put = |args: &[&str], input: &[u8]| {
        producer(&[&["-q", &name, "--create"], args].concat(), Stdin::Bytes(input)).finish()
    };
    let take = |args: &[&str]| consumer(&[&["-q", &name], args].concat()).finish().code(0).lines();

    put(&["--sentinels", "1", "--sentinel", "END"], b"a\nb\n").code(0);
    put(&[], b"later\n").code(0);
    assert_eq!(take(&["--until-sentinel", "--sentinel", "END"]), ["a", "b"]);
    assert_eq!(take(&["-n", "1"]), ["later"]);

    // Whoever sends sentinels cannot send one by mistake.
    let confused = put(&["--sentinels", "1", "--sentinel", "END"], b"a\nEND\nb\n").code(1);
    confused.says("equal to the sentinel");
    assert!(take(&["--drain"]).len() <= 1);
    let frame = support::frames([&b"a"[..], b"\n\0steadfast:end\n"]);
    put(&["--frames", "--sentinels", "1"], &frame).code(1).says("equal to the sentinel");
    take(&["--drain"]);

    // Unless they mean to, as a relay does.
    put(&["--frames"], &frame).code(0);
    assert_eq!(take(&["--until-sentinel"]), ["a"]);
}

#[test]
fn typed_lines_travel_at_once() {
    let name = Name::new("typed");
    let mut maker = producer(&["-q", &name, "--create", "--lines"], Stdin::Open);
    for count in 1..=3 {
        maker.stdin.as_mut().unwrap().write_all(b"line\n").unwrap();
        eventually("the line is in the queue", || {
            steadfast::Queue::<[u8]>::open(&name).is_ok_and(|queue| queue.qsize().unwrap() == count)
        });
    }
    assert!(maker.runs());
    maker.finish().code(0);
}

#[test]
fn taken_items_are_printed_at_once_when_no_more_are_there() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let name = Name::new("prompt");
    producer(&["-q", &name, "--create", "-n", "0"], Stdin::Empty).finish().code(0);
    let mut taker = Command::new(env!("CARGO_BIN_EXE_consumer"))
        .args(["-q", &name])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let stdout = BufReader::new(taker.stdout.take().unwrap());
    std::thread::spawn(move || stdout.lines().for_each(|line| drop(sender.send(line.unwrap()))));
    for item in ["one", "two"] {
        producer(&["-q", &name, item], Stdin::Empty).finish().code(0);
        let printed = receiver.recv_timeout(support::BOUND);
        if printed.as_deref() != Ok(item) {
            taker.kill().unwrap();
        }
        assert_eq!(printed.as_deref(), Ok(item));
    }
    taker.kill().unwrap();
    taker.wait().unwrap();
}

#[test]
fn a_rate_is_kept() {
    let name = Name::new("rate");
    let args = ["-q", &name, "--create", "-n", "5", "--rate", "20/s", "--json"];
    let end = producer(&args, Stdin::Empty).finish().code(0).json();
    // The first at once, four more a twentieth of a second apart; slower is no failure.
    assert!(end["seconds"].as_f64().unwrap() >= 0.2, "{end}");
    assert_eq!(end["items"], 5);
}
