//! Bytes go in at one end and come out at the other, exactly.

mod support;

use support::{Folder, Name, Stdin, consumer, frames, noise, producer};

/// What goes in through `producer` with these flags and out through `consumer` with those, at the
/// same time, through a queue much smaller than the whole.
fn through(input: &[u8], into: &[&str], out_of: &[&str]) -> Vec<u8> {
    let name = Name::new("pipe");
    let common = ["-q", &name];
    producer(&["-q", &name, "--create", "--capacity", "64KiB", "-n", "0"], Stdin::Empty)
        .finish()
        .code(0);
    let end = ["--until-closed"];
    let consumer = consumer(&[&common[..], &end, out_of].concat());
    let put =
        producer(&[&common[..], &["--shutdown", "drain"], into].concat(), Stdin::Bytes(input));
    put.finish().code(0);
    consumer.finish().code(0).stdout
}

#[track_caller]
fn same(input: &[u8], into: &[&str], out_of: &[&str]) {
    let output = through(input, into, out_of);
    let (expected, found) = (input.len(), output.len());
    assert!(output == input, "{into:?} {out_of:?}: {expected} bytes in, {found} out, or others");
}

#[test]
fn lines_come_out_as_they_went_in() {
    for text in ["", "\n", "a\n", "a\n\n\nb c\r\n", "  spaces \n\t\n"] {
        same(text.as_bytes(), &[], &[]);
        same(text.as_bytes(), &["--lines"], &[]);
    }
    same(b"\xff\xfe\n\x00\n\xc3(\n", &[], &[]);
}

#[test]
fn a_missing_last_newline_is_added_unless_newlines_are_kept() {
    assert_eq!(through(b"a\nb", &[], &[]), b"a\nb\n");
    for text in ["", "\n", "a", "a\n", "a\n\nb", "\n\n", "\u{e9}\n\r"] {
        same(text.as_bytes(), &["--keep-newlines"], &["--raw"]);
    }
    same(b"a--b----c", &["--delimiter", "--", "--keep-delimiter"], &["--raw"]);
}

#[test]
fn delimiters_and_nul_bytes() {
    same(b"a\0b\nc\0\0", &["--null"], &["-0"]);
    same(b"a,b,,", &["-d", ","], &["-d", ","]);
    same(b"a\r\nb\nc\r\n", &["-d", r"\r\n"], &["-d", r"\r\n"]);
    assert_eq!(through(b"a,b", &["-d", ","], &[]), b"a\nb\n");
}

#[test]
fn frames_carry_anything() {
    let noise = noise(300_000);
    let items = [&b""[..], b"\n", b"\0", &noise[..1], &noise[..20_000], b"", &noise[7..9]];
    same(&frames(items), &["--frames"], &["--frames"]);
    same(b"", &["--frames"], &["--frames"]);
    // Every length from nothing, with every boundary in the reader's buffer.
    let many = (0..2000).map(|length| &noise[length..length + length]);
    same(&frames(many), &["--frames"], &["--frames"]);
}

#[test]
fn megabytes_of_anything() {
    let noise = noise(3_000_000);
    same(&noise, &["--chunk", "1000"], &["--raw"]);
    same(&noise, &["--chunk", "16KiB"], &["--raw", "--batch", "3"]);
    same(&noise, &["--keep-newlines"], &["--raw"]);
    let mut lines: Vec<u8> = noise.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b'\n');
    lines.push(b'\n');
    same(&lines, &[], &[]);
    same(&lines, &["--batch", "7"], &[]);
}

#[test]
fn a_file_is_one_item_unless_it_is_cut() {
    let name = Name::new("files");
    let folder = Folder::new("files");
    let noise = noise(50_000);
    let one = folder.file("one", &noise);
    let empty = folder.file("empty", b"");
    let lines = folder.file("lines", b"a\nb");
    let [one, empty, lines] = [&one, &empty, &lines].map(|path| path.to_str().unwrap());
    let put = |args: &[&str]| {
        producer(&[&["-q", &name, "--create"], args].concat(), Stdin::Empty).finish().code(0);
        consumer(&["-q", &name, "--drain", "--frames"]).finish().code(0).stdout
    };
    assert_eq!(put(&["-f", one, "-f", empty, "-f", lines]), frames([&noise[..], b"", b"a\nb"]));
    assert_eq!(
        put(&["-f", lines, "-f", empty, "-f", lines, "--lines"]),
        frames([&b"a"[..], b"b", b"a", b"b"])
    );
    assert_eq!(put(&["--file", one, "--chunk", "20kB"]), frames(noise.chunks(20_000)));
    producer(&["-q", &name, "-f", "/nonexistent/file"], Stdin::Empty)
        .finish()
        .code(1)
        .says("cannot read");
}

#[test]
fn arguments_and_numbers() {
    let name = Name::new("items");
    let put = |args: &[&str]| {
        producer(&[&["-q", &name, "--create"], args].concat(), Stdin::Empty).finish().code(0);
        consumer(&["-q", &name, "--drain"]).finish().code(0).lines()
    };
    assert_eq!(put(&["--", "one", "", "-x-"]), ["one", "", "-x-"]);
    assert_eq!(put(&["--", "--count"]), ["--count"]);
    assert_eq!(put(&["-n", "3"]), ["0", "1", "2"]);
    assert_eq!(put(&["-n", "2", "--item", "bun"]), ["bun 0", "bun 1"]);
    assert_eq!(put(&["-n", "2", "--item", "bun-{}.txt"]), ["bun-0.txt", "bun-1.txt"]);
    assert_eq!(put(&["-n", "0"]), Vec::<String>::new());
    assert_eq!(put(&["-n", "5000"]).len(), 5000);
}

#[test]
fn single_roles_work_alike() {
    let name = Name::new("single");
    let noise = noise(500_000);
    let make = ["-q", &name, "--exclusive", "--single-producer", "--single-consumer", "-n", "0"];
    producer(&make, Stdin::Empty).finish().code(0);
    let taker = consumer(&["-q", &name, "--raw", "--until-closed", "--wait-create", "10s"]);
    let args = ["-q", &name, "--chunk", "777", "--shutdown", "drain"];
    producer(&args, Stdin::Bytes(&noise)).finish().code(0);
    assert!(taker.finish().code(0).stdout == noise);
    producer(&make, Stdin::Empty).finish().code(1).says("already there");
}

#[test]
fn a_role_can_be_taken_once() {
    let name = Name::new("role");
    let args = ["-q", &name, "--create", "--single-producer"];
    let mut first = producer(&[&args[..], &["--lines"]].concat(), Stdin::Open);
    support::eventually("the first producer is at work", || {
        let mut stdin = first.stdin.as_ref().unwrap();
        std::io::Write::write_all(&mut stdin, b"x\n").unwrap();
        steadfast::Queue::<[u8]>::open(&name).is_ok_and(|queue| !queue.is_empty().unwrap())
    });
    producer(&["-q", &name, "second"], Stdin::Empty).finish().code(1).says("already");
    drop(first.stdin.take());
    first.finish().code(0);
    producer(&["-q", &name, "third"], Stdin::Empty).finish().code(0);
}

#[test]
fn what_cannot_be_an_item_stops_the_producer_after_what_can() {
    let name = Name::new("long");
    let make = ["-q", &name, "--create", "--capacity", "8KiB", "-n", "0"];
    producer(&make, Stdin::Empty).finish().code(0);
    let put = |args: &[&str], input: &[u8]| {
        let put = producer(&[&["-q", &name], args].concat(), Stdin::Bytes(input)).finish();
        (put, consumer(&["-q", &name, "--drain"]).finish().code(0).lines())
    };
    let long = ["a\nb\n", &"x".repeat(5000), "\nc\n"].concat();
    let (end, lines) = put(&[], long.as_bytes());
    end.code(1).says("item 2 is too long");
    assert_eq!(lines, ["a", "b"]);

    let mut cut = frames([&b"a"[..], b"b"]);
    cut.extend_from_slice(b"\x09\0\0\0only so");
    let (end, lines) = put(&["--frames"], &cut);
    end.code(1).says("cut off");
    assert_eq!(lines, ["a", "b"]);

    let (end, lines) = put(&["--chunk", "1MiB"], b"a");
    end.code(2).says("too large");
    assert!(lines.is_empty());
}

#[test]
fn hashes_agree_whatever_the_order() {
    let name = Name::new("hash");
    producer(&["-q", &name, "--create", "-n", "0"], Stdin::Empty).finish().code(0);
    let takers: Vec<_> =
        (0..2).map(|_| consumer(&["-q", &name, "--hash", "--json", "--until-sentinel"])).collect();
    let noise = noise(200_000);
    let makers: Vec<_> = (0..3)
        .map(|_| {
            producer(&["-q", &name, "--chunk", "100", "--hash", "--json"], Stdin::Bytes(&noise))
        })
        .collect();
    let sum = |ends: Vec<support::Run>| {
        let ends: Vec<_> = ends.into_iter().map(|run| run.finish().code(0).json()).collect();
        let half = |range: std::ops::Range<usize>| {
            let parse = |end: &serde_json::Value| {
                u64::from_str_radix(&end["hash"].as_str().unwrap()[range.clone()], 16).unwrap()
            };
            ends.iter().map(parse).fold(0, u64::wrapping_add)
        };
        let count = |key: &str| ends.iter().map(|end| end[key].as_u64().unwrap()).sum::<u64>();
        (half(0..16), half(16..32), count("items"), count("bytes"))
    };
    let put = sum(makers);
    producer(&["-q", &name, "-n", "0", "--sentinels", "2"], Stdin::Empty).finish().code(0);
    assert_eq!(put, sum(takers));
    assert_eq!((put.2, put.3), (6000, 600_000));
}

#[test]
fn output_goes_to_a_file() {
    let name = Name::new("output");
    let folder = Folder::new("output");
    let path = folder.file("items", b"old content that goes away");
    producer(&["-q", &name, "--create", "a", "b"], Stdin::Empty).finish().code(0);
    let args = ["-q", &name, "--drain", "--json", "-o", path.to_str().unwrap()];
    let end = consumer(&args).finish().code(0).json();
    assert_eq!((end["items"].as_u64(), end["end"].as_str()), (Some(2), Some("done")));
    assert_eq!(std::fs::read(&path).unwrap(), b"a\nb\n");
    // Items are not taken when there is no place to put them.
    producer(&["-q", &name, "c"], Stdin::Empty).finish().code(0);
    consumer(&["-q", &name, "--drain", "-o", "/nonexistent/file"]).finish().code(1);
    assert_eq!(name.queue().qsize().unwrap(), 1);
}
