//! `consumer --exec`: a command for each item, until it is done, whoever dies meanwhile.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use steadfast::Reason;
use support::{BOUND, Folder, Name, Run, Stdin, consumer, eventually, frames, noise, producer};

fn make(name: &Name, more: &[&str]) {
    producer(&[&["-q", name, "--create", "--joinable"], more].concat(), Stdin::Empty)
        .finish()
        .code(0);
}

/// A consumer that runs this script in the folder, with the item as `$1`.
fn worker(name: &Name, folder: &Folder, more: &[&str], script: &str) -> Run {
    let script = format!("cd '{}' && {script}", folder.0.display());
    let exec = ["--exec", "sh", "-c", &script, "sh", "{}"];
    consumer(&[&["-q", name], more, &exec].concat())
}

/// The lines of a file, or none if it is not there.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state is behind the name, which may have anything in it.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

#[test]
fn a_killed_consumers_command_dies_and_is_run_again() {
    let (name, folder) = (Name::new("killed"), Folder::new("killed"));
    make(&name, &["one"]);
    // The first attempt leaves a grandchild, and never ends.
    let script = "echo $STEADFAST_ATTEMPT $STEADFAST_SEQUENCE $1 >>attempts; \
        [ $STEADFAST_ATTEMPT = 2 ] || { sleep 600 & echo $$ $! >part; mv part pids; wait; }";
    let first = worker(&name, &folder, &[], script);
    let pids = folder.0.join("pids");
    eventually("the command runs", || pids.exists());
    let pids = lines(&pids).concat();
    let (shell, sleep) = pids.split_once(' ').unwrap();
    assert!(lives(shell) && lives(sleep));
    // another consumer waits for its turn, and takes over
    let second = worker(&name, &folder, &["--drain"], script);
    first.signal("KILL");
    second.finish().code(0);
    eventually("nothing of it lives", || !lives(shell) && !lives(sleep));
    let attempts = lines(&folder.0.join("attempts"));
    let [first, second] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!(first.replacen('1', "2", 1), *second);
    assert!(first.starts_with("1 ") && first.ends_with(" one"), "{first}");
    assert_eq!(name.joinable().unfinished().unwrap(), 0);
}

#[test]
fn what_fails_comes_back_until_it_is_a_dead_letter() {
    let (name, folder) = (Name::new("fails"), Folder::new("fails"));
    make(&name, &["--max-deliveries", "3", "good", "bad", "killed"]);
    let script = "echo $1 >>ran; [ $1 != killed ] || kill -9 $$; [ $1 != bad ] || exit 7";
    let more = ["--drain", "--retry-delay", "0.05s", "--json"];
    let end = worker(&name, &folder, &more, script).finish().code(0);
    let end = end.says("attempt 3: exit status: 7").says("attempt 3: signal: 9");
    let json: serde_json::Value = serde_json::from_str(end.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((json["items"].as_u64(), json["failed"].as_u64()), (Some(1), Some(6)), "{json}");
    let mut ran = lines(&folder.0.join("ran"));
    ran.sort_unstable();
    assert_eq!(ran, ["bad", "bad", "bad", "good", "killed", "killed", "killed"]);
    let letters = name.joinable().dead_letters().unwrap();
    let letters: Vec<_> = letters.iter().map(|one| (&one.bytes[..], one.attempts)).collect();
    assert_eq!(letters, [(&b"bad"[..], 3), (b"killed", 3)]);
}

#[test]
fn a_retry_lets_others_go_first_if_it_is_delayed() {
    for (more, expected) in [(&[][..], "a a b"), (&["--retry-delay", "1.5s"], "a b a")] {
        let (name, folder) = (Name::new("delay"), Folder::new("delay"));
        make(&name, &["a", "b"]);
        let script = "echo $1 >>ran; [ $1$STEADFAST_ATTEMPT != a1 ]";
        worker(&name, &folder, &[more, &["--drain"]].concat(), script).finish().code(0);
        assert_eq!(lines(&folder.0.join("ran")).join(" "), expected);
    }
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_its_children() {
    let (name, folder) = (Name::new("slow"), Folder::new("slow"));
    make(&name, &["slow"]);
    // On a busy machine an attempt may end before it has written anything down.
    let script = "touch pids; [ $(wc -l <pids) -lt 2 ] || exit 0; \
        trap '' TERM; sleep 600 & echo $$ $! >>pids; wait; sleep 600";
    let more = ["--drain", "--exec-timeout", "0.3s"];
    worker(&name, &folder, &more, script).finish().code(0).says("attempt 1: killed after 300ms");
    let pids = lines(&folder.0.join("pids"));
    assert_eq!(pids.len(), 2);
    for pid in pids.iter().flat_map(|line| line.split(' ')) {
        eventually("it is dead", || !lives(pid));
    }
}

#[test]
fn what_a_command_leaves_in_the_background_goes_on() {
    let (name, folder) = (Name::new("behind"), Folder::new("behind"));
    make(&name, &["a"]);
    let script = "{ sleep 600 & echo $! >pid; } >/dev/null 2>&1";
    worker(&name, &folder, &["--drain"], script).finish().code(0);
    let pid = lines(&folder.0.join("pid")).concat();
    assert!(lives(&pid));
    Command::new("kill").arg(&pid).status().unwrap();
}

#[test]
fn items_go_into_arguments_or_standard_input() {
    let name = Name::new("input");
    make(&name, &["a b", "c'd"]);
    let run = |exec: &[&str]| {
        let args = [&["-q", &name, "--drain", "--exec"], exec].concat();
        consumer(&args).finish().code(0)
    };
    assert_eq!(run(&["printf", "<%s|%s>", "{}", "x{}{}"]).text(), "<a b|xa ba b><c'd|xc'dc'd>");
    // Of any size and with any bytes; and whoever does not read it does no harm.
    let noise = noise(5 << 20);
    let input = frames([&noise[..], b"", b"a\0b"]);
    for (exec, output) in [(&["cat"][..], [&noise[..], b"a\0b"].concat()), (&["true"], vec![])] {
        let put = ["-q", &name, "--frames"];
        let big = Name::new("big");
        make(&big, &["--capacity", "16MiB", "-n", "0"]);
        producer(&[&["-q", &big], &put[2..]].concat(), Stdin::Bytes(&input)).finish().code(0);
        let args = [&["-q", &big, "--drain", "--exec"], exec].concat();
        assert!(consumer(&args).finish().code(0).stdout == output, "{exec:?}");
    }
    // An argument cannot be everything: that is the item's failure, not the queue's.
    let odd = Name::new("odd");
    make(&odd, &["--max-deliveries", "1", "--capacity", "16MiB", "-n", "0"]);
    let input = frames([&noise[..], b"a\0b", b"fine"]);
    producer(&["-q", &odd, "--frames"], Stdin::Bytes(&input)).finish().code(0);
    let end = consumer(&["-q", &odd, "--drain", "--exec", "echo", "{}"]).finish().code(0);
    assert_eq!(end.text(), "fine\n");
    assert_eq!(odd.joinable().dead_letters().unwrap().len(), 2);
}

#[test]
fn so_many_commands_run_at_a_time() {
    let (name, folder) = (Name::new("jobs"), Folder::new("jobs"));
    make(&name, &["a", "b", "c"]);
    // Each waits until all three have begun.
    let script = "touch $1; until [ -e a ] && [ -e b ] && [ -e c ]; do sleep 0.01; done";
    let more = ["--jobs", "3", "--drain", "--print", "--name", "bob", "--exec-timeout", "1min"];
    let mut done = worker(&name, &folder, &more, script).finish().code(0).lines();
    done.sort_unstable();
    assert_eq!(done, ["bob got a", "bob got b", "bob got c"]);

    // And no more than asked for: two at a time would see each other's mark.
    make(&name, &["-n", "20"]);
    let script = "mkdir mark && sleep 0.01 && rmdir mark";
    worker(&name, &folder, &["-n", "20"], script).finish().code(0);
}

#[test]
fn a_signal_lets_commands_end_and_a_second_one_kills_them() {
    let (name, folder) = (Name::new("signal"), Folder::new("signal"));
    make(&name, &["first"]);
    let script = "touch $1; until [ -e go ]; do sleep 0.01; done; echo $1 >>done";
    let mut taker = worker(&name, &folder, &[], script);
    eventually("the command runs", || folder.0.join("first").exists());
    taker.signal("TERM");
    assert!(taker.runs());
    folder.file("go", b"");
    taker.finish().code(7).says("1 items done");
    assert_eq!(lines(&folder.0.join("done")), ["first"]);
    assert_eq!(name.joinable().unfinished().unwrap(), 0);

    make(&name, &["second"]);
    let script = "echo $$ >part; mv part pid; sleep 600";
    let taker = worker(&name, &folder, &[], script);
    eventually("the command runs", || folder.0.join("pid").exists());
    let pid = lines(&folder.0.join("pid")).concat();
    taker.signal("TERM");
    taker.signal("INT");
    taker.finish().code(7).says("killed by a signal");
    assert!(!lives(&pid));
    let lease = name.joinable().get_timeout(BOUND).unwrap();
    assert_eq!((lease.attempt(), lease.last_reason()), (2, Reason::Nacked));
}

#[test]
fn a_command_that_cannot_be_run_is_an_error_and_costs_no_attempt() {
    let name = Name::new("nothing");
    make(&name, &["--max-deliveries", "1", "item"]);
    let args = ["-q", &name, "--drain", "--exec", "/nonexistent/command", "{}"];
    consumer(&args).finish().code(1).says("cannot run /nonexistent/command");
    assert_eq!(name.joinable().get().unwrap().attempt(), 1);
}

#[test]
fn it_ends_as_it_was_asked_to() {
    let name = Name::new("ends");
    make(&name, &["-n", "3", "--sentinels", "1"]);
    let run = |more: &[&str]| consumer(&[&["-q", &name], more, &["--exec", "echo", "{}"]].concat());
    assert_eq!(run(&["-n", "1"]).finish().code(0).lines(), ["0"]);
    assert_eq!(run(&["--until-sentinel"]).finish().code(0).lines(), ["1", "2"]);
    assert!(run(&["--idle-timeout", "0.1s"]).finish().code(0).lines().is_empty());
    run(&["--nowait"]).finish().code(3).says("empty");
    run(&["--timeout", "0.1s"]).finish().code(3);
    let waiting = run(&["--until-closed"]);
    make(&name, &["last", "--join", "--shutdown", "drain"]);
    assert_eq!(waiting.finish().code(0).lines(), ["last"]);
    run(&[]).finish().code(4);

    let plain = Name::new("plain");
    producer(&["-q", &plain, "--create", "a"], Stdin::Empty).finish().code(0);
    let end = consumer(&["-q", &plain, "--exec", "true"]).finish().code(6);
    end.says("--exec needs a joinable one").says("--create --joinable");
    let made = Name::new("made");
    let args = ["-q", &made, "--create", "--max-deliveries", "2", "--drain", "--exec", "true"];
    consumer(&args).finish().code(0);
    assert!(made.joinable().is_empty().unwrap());
    for wrong in
        [&["--frames"][..], &["--hash"], &["--delay", "1s"], &["--batch", "2"], &["--resume"]]
    {
        consumer(&[&["-q", "x"], wrong, &["--exec", "true"]].concat()).finish().code(2);
    }
    consumer(&["-q", "x", "--jobs", "2"]).finish().code(2);
}

#[test]
fn an_xargs_whose_consumers_are_killed_all_along_does_every_job() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/crash-proof-xargs");
    let programs = Path::new(env!("CARGO_BIN_EXE_consumer")).parent().unwrap();
    let (folder, programs) = (Folder::new("xargs"), programs.display());
    let command = format!("TMPDIR=$PWD exec '{script}' 40 '{programs}'");
    let end = support::shell(&command, &folder.0).finish().code(0);
    assert!(end.text().contains("jobs done              40 of 40"), "{}", end.text());
    // It removes what it made.
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}
