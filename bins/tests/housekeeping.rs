//! `segments`: what it lists, what it removes, what it leaves alone.

mod support;

use steadfast::{Mutex, Queue, QueueOptions, Segment, SegmentOptions};
use support::{Folder, Name, segments, shell};

fn listed(name: &str) -> Option<serde_json::Value> {
    let all = segments(&["ls", "--json"]).finish().code(0).json();
    all.as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned()
}

#[test]
fn ls_tells_what_is_there() {
    let (queue, mutex, bytes) = (Name::new("ls"), Name::new("ls"), Name::new("ls"));
    let ephemeral = QueueOptions::new().segment(SegmentOptions::new().ephemeral(true));
    let opened = Queue::<[u8]>::create(&queue, &ephemeral).unwrap();
    drop(Mutex::create(&mutex, 7_u64, &SegmentOptions::new()).unwrap());
    drop(Segment::create(&bytes, 12_345, &SegmentOptions::new()).unwrap());

    let entry = listed(&queue).unwrap();
    assert_eq!((entry["kind"].as_str(), entry["users"].as_u64()), (Some("queue"), Some(1)));
    assert_eq!((entry["ephemeral"].as_bool(), entry["error"].is_null()), (Some(true), true));
    assert!(entry["age_seconds"].as_u64().unwrap() < 3600);
    let entry = listed(&mutex).unwrap();
    assert_eq!((entry["kind"].as_str(), entry["users"].as_u64()), (Some("mutex"), Some(0)));
    assert_eq!(listed(&bytes).unwrap()["len"], 12_345);

    let table = segments(&["ls"]).finish().code(0).text();
    assert!(table.lines().next().unwrap().contains("NAME"), "{table}");
    let line = table.lines().find(|line| line.contains(&*queue)).unwrap();
    assert!(line.contains("queue") && line.contains("ephemeral"), "{line}");
    drop(opened);
    assert!(listed(&queue).is_none());
}

#[test]
fn rm_refuses_what_is_in_use_unless_forced() {
    let (used, free) = (Name::new("rm"), Name::new("rm"));
    let queue = Queue::<[u8]>::create(&used, &QueueOptions::new()).unwrap();
    drop(Queue::<[u8]>::create(&free, &QueueOptions::new()).unwrap());

    // The others are removed all the same.
    let end = segments(&["rm", "--json", &used, &free, "no-such"]).finish().code(1);
    let end = end.says("in use by 1 process:").says("no such segment: no-such");
    assert_eq!(end.json()[0]["exit"], 1);
    assert_eq!(
        (end.json()[1]["removed"].as_bool(), end.json()[2]["exit"].as_u64()),
        (Some(true), Some(5))
    );
    assert!(listed(&used).is_some() && listed(&free).is_none());

    queue.put(b"still").unwrap();
    segments(&["rm", "--force", &used]).finish().code(0);
    assert!(listed(&used).is_none());
    assert_eq!(queue.get().unwrap(), b"still", "its users go on");
    segments(&["rm", "../etc"]).finish().code(2);
}

/// Runs a script with a `/dev/shm` of its own, where nothing but its own is cleaned up.
fn in_private(script: &str) -> Option<support::Finished> {
    let folder = Folder::new("private");
    let wrapped = "unshare --user --map-root-user --mount \
        sh -c 'mount -t tmpfs none /dev/shm && exec sh script' || exit 99";
    folder.file("script", script.as_bytes());
    let end = shell(wrapped, &folder.0).finish();
    if end.status.code() == Some(99) && !end.text().contains("begin") {
        eprintln!("skipped: no private mounts here: {}", end.stderr);
        return None;
    }
    Some(end)
}

#[test]
fn clean_removes_garbage_and_only_that() {
    let script = r#"
set -e
echo begin
listed() { segments ls --json | grep -q "\"name\":\"$1\""; }
producer -q durable --create one
producer -q killed --create --ephemeral --delay 10min one & killed=$!
producer -q alive --create --ephemeral --delay 10min one & alive=$!
until listed killed && listed alive; do sleep 0.02; done
kill -9 $killed; wait $killed || true
echo dry; segments clean
listed killed
echo wet; segments clean --yes
listed durable; listed alive
! listed killed
echo idle; segments clean --idle --yes --json
! listed durable; listed alive
kill -9 $alive
"#;
    let Some(end) = in_private(script) else { return };
    let end = end.code(0);
    let text = end.text();
    assert!(text.contains("dry\nwould remove killed ("), "{text}");
    assert!(text.contains("wet\nremoved killed ("), "{text}");
    assert!(text.contains("\"name\":\"durable\",\"reason\":\"idle\""), "{text}");
    assert!(!text.contains("alive"), "{text}");
    assert!(end.stderr.contains("this was a dry run"), "{}", end.stderr);
}

#[test]
fn an_empty_machine_is_no_failure() {
    let Some(end) = in_private("echo begin; segments ls; segments ls --json; segments clean --yes")
    else {
        return;
    };
    let end = end.code(0).says("there are none").says("nothing to clean up");
    assert_eq!(end.text(), "begin\n[]\n");
}
