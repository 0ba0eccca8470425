//! `consumer --job-log`: one file for all, and nothing is run again that it shows as done.

mod support;

use std::fs;

use support::{Folder, Name, Stdin, consumer, eventually, producer};

fn make(name: &Name, more: &[&str]) {
    producer(&[&["-q", name, "--create", "--joinable"], more].concat(), Stdin::Empty)
        .finish()
        .code(0);
}

/// The lines of a log, cut into fields, without the header.
fn entries(log: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(log).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    assert_eq!(header, "Sequence\tAttempt\tStart\tRuntime\tExit\tSignal\tItem");
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    lines.map(fields).inspect(|entry| assert_eq!(entry.len(), 7, "{entry:?}")).collect()
}

#[test]
fn every_attempt_has_its_line() {
    let (name, folder) = (Name::new("log"), Folder::new("log"));
    let log = folder.0.join("jobs.tsv").display().to_string();
    make(&name, &["fine", "odd\titem", "--max-deliveries", "2"]);
    let script = r#"[ $STEADFAST_ATTEMPT = 2 ] && exec kill -9 $$; [ "$1" = fine ]"#;
    let exec = ["--drain", "--job-log", &log, "--exec", "sh", "-c", script, "sh", "{}"];
    consumer(&[&["-q", &name][..], &exec].concat()).finish().code(0);
    let found = entries(&log);
    let told: Vec<_> = found.iter().map(|one| [1, 4, 5, 6].map(|at| &one[at][..])).collect();
    let odd = r"odd\titem";
    assert_eq!(told, [["1", "0", "0", "fine"], ["1", "1", "0", odd], ["2", "-1", "9", odd]]);
    assert_eq!(found[1][0], found[2][0]);
    assert!(found.iter().all(|one| one[2].parse::<f64>().unwrap() > 1e9));
}

#[test]
fn what_is_done_is_not_run_again() {
    let folder = Folder::new("resume");
    let log = folder.0.join("jobs.tsv").display().to_string();
    let ran = folder.0.join("ran");
    // "flaky" fails, and is a dead letter, as long as there is no file called so.
    let script =
        format!("cd '{}'; echo $1 >>ran; [ $1 != flaky ] || [ -e flaky ]", folder.0.display());
    let exec = ["--job-log", &log, "--exec", "sh", "-c", &script, "sh", "{}"];
    // The queue is lost, as by a restart of the machine, and filled again in the same order.
    let again = |flags: &[&str]| {
        let name = Name::new("resume");
        make(&name, &["--max-deliveries", "1", "a", "flaky", "b"]);
        let args = [&["-q", &name, "--drain", "--json"], flags, &exec].concat();
        let end = consumer(&args).finish().code(0);
        let text = fs::read_to_string(&ran).unwrap_or_default();
        fs::write(&ran, "").unwrap();
        let json: serde_json::Value =
            serde_json::from_str(end.stderr.lines().last().unwrap()).unwrap();
        let numbers = ["items", "failed", "skipped"].map(|key| json[key].as_u64().unwrap());
        (text.replace('\n', " "), numbers)
    };
    assert_eq!(again(&["--resume"]), ("a flaky b ".to_owned(), [2, 1, 0]));
    folder.file("flaky", b"");
    // A line that a dying consumer did not finish.
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, format!("{text}3\t1\t17")).unwrap();
    assert_eq!(again(&["--resume"]), ("flaky ".to_owned(), [3, 0, 2]));
    assert_eq!(again(&["--resume"]), (String::new(), [3, 0, 3]));
    assert_eq!(again(&[]), ("a flaky b ".to_owned(), [3, 0, 0]));
}

#[test]
fn what_another_consumer_logged_and_could_not_acknowledge_is_done() {
    let (name, folder) = (Name::new("peer"), Folder::new("peer"));
    let log = folder.0.join("jobs.tsv").display().to_string();
    make(&name, &["item"]);
    let resume = ["--job-log", &log, "--resume", "--json", "--drain"];
    // It waits for the item that this process holds, and has read the log by then.
    let queue = name.joinable();
    let lease = queue.get().unwrap();
    let taker = consumer(&[&["-q", &name], &resume[..], &["--exec", "false"]].concat());
    eventually("it waits", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')));
    let line = format!("{}\t1\t1700000000.000\t0.100\t0\t0\titem\n", lease.sequence());
    let old = fs::read_to_string(&log).unwrap();
    fs::write(&log, old + &line).unwrap();
    lease.nack().unwrap();
    let end = taker.finish().code(0);
    let json: serde_json::Value = serde_json::from_str(end.stderr.trim()).unwrap();
    assert_eq!((json["skipped"].as_u64(), json["failed"].as_u64()), (Some(1), Some(0)));
}

#[test]
fn consumers_share_a_log() {
    let (name, folder) = (Name::new("share"), Folder::new("share"));
    let log = folder.0.join("jobs.tsv").display().to_string();
    make(&name, &["-n", "60"]);
    let args = ["-q", &name, "--drain", "--jobs", "2", "--job-log", &log, "--exec", "true"];
    let takers = [consumer(&args), consumer(&args), consumer(&args)];
    for taker in takers {
        taker.finish().code(0);
    }
    let mut items: Vec<u32> = entries(&log).iter().map(|one| one[6].parse().unwrap()).collect();
    items.sort_unstable();
    assert_eq!(items, (0..60).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_no_log_is_left_alone() {
    let (name, folder) = (Name::new("nolog"), Folder::new("nolog"));
    let path = folder.file("precious", b"my thesis\n");
    make(&name, &["a"]);
    let args = ["-q", &name, "--job-log", path.to_str().unwrap(), "--exec", "true"];
    consumer(&args).finish().code(1).says("it is no job log");
    assert_eq!(fs::read(&path).unwrap(), b"my thesis\n");
    assert_eq!(name.joinable().qsize().unwrap(), 1);
}
