//! The ticket office: five buyers, one ticket, and what each kind of lock makes of it.

mod support;

use std::fs;

use steadfast_bins::ticket_lock::LockKind;
use steadfast_bins::tickets::Store;
use support::{Finished, Folder, Name, buyer};

const NAMES: [&str; 5] = ["ann", "bob", "cat", "dan", "eve"];

/// Where the tickets are, as arguments, and how to look at them.
struct Office {
    args: Vec<String>,
    // Each removes what it names, in the end.
    name: Name,
    folder: Folder,
}

impl Office {
    /// `--file` or `--store`, with this lock.
    fn new(place: &str, lock: &str) -> Office {
        let (name, folder) = (Name::new("tickets"), Folder::new("tickets"));
        let path = folder.0.join("db.json").display().to_string();
        let place = match place {
            "--file" => ["--file".to_string(), path],
            _ => ["--store".to_string(), name.to_string()],
        };
        let lock_name = format!("{}.lock", &*name);
        let rest = ["--lock", lock, "--lock-name", &lock_name].map(String::from);
        Office { args: place.into_iter().chain(rest).collect(), name, folder }
    }

    fn start(&self, more: &[&str]) -> support::Run {
        let args = self.args.iter().map(String::as_str).chain(more.iter().copied());
        buyer(&args.collect::<Vec<_>>())
    }

    fn run(&self, more: &[&str]) -> Finished {
        self.start(more).finish()
    }

    fn left(&self) -> u64 {
        self.run(&["search", "--json"]).code(0).json()["remaining"].as_u64().unwrap()
    }

    /// All five at once; what each of them said.
    fn five(&self, think: &str) -> Vec<Finished> {
        let all: Vec<_> =
            NAMES.iter().map(|name| self.start(&["--name", name, "--think", think])).collect();
        all.into_iter().map(support::Run::finish).collect()
    }
}

fn bought(ends: &[Finished]) -> usize {
    ends.iter().filter(|end| end.text().contains("ticket successfully purchased")).count()
}

#[test]
fn five_buyers_and_one_ticket_with_a_lock() {
    for lock in ["futex", "pthread", "plain"] {
        for place in ["--file", "--store"] {
            let office = Office::new(place, lock);
            office.run(&["--create", "1"]).code(0);
            let ends = office.five("0.01s..0.05s");
            assert_eq!(bought(&ends), 1, "{lock} {place}: {ends:?}");
            for (end, name) in ends.into_iter().zip(NAMES) {
                let lines = end.lines();
                assert!(lines[0].starts_with(&format!("{name} check, remaining tickets ")));
                match lines[1] == format!("{name} ticket successfully purchased") {
                    true => drop(end.code(0)),
                    false => {
                        assert_eq!(lines[1], format!("{name} sorry, no tickets left"));
                        drop(end.code(8));
                    }
                }
            }
            assert_eq!(office.left(), 0);
        }
    }
}

#[test]
fn without_a_lock_more_are_sold_than_there_are() {
    for place in ["--file", "--store"] {
        // All look before the first has thought, unless the machine is very slow: then think longer.
        let oversold = ["0.5s", "2s", "8s"].iter().any(|think| {
            let office = Office::new(place, "none");
            office.run(&["--create", "1"]).code(0);
            bought(&office.five(think)) >= 2
        });
        assert!(oversold, "{place}");
    }
}

#[test]
fn whoever_comes_after_a_dead_buyer_is_told_and_goes_on() {
    for lock in ["futex", "pthread"] {
        for place in ["--file", "--store"] {
            let office = Office::new(place, lock);
            office.run(&["--create", "2"]).code(0);
            let dead = office.run(&["buy", "--name", "ann", "--die-holding-lock", "--think", "0"]);
            assert_eq!(dead.status.code(), None, "{dead:?}");
            assert_eq!(dead.lines(), ["ann dies holding the lock"]);
            assert_eq!(office.left(), 2);
            let next = office.run(&["buy", "--name", "bob", "--think", "0"]).code(0);
            let expected = [
                "bob recovered the lock from a buyer that died (data checked)",
                "bob ticket successfully purchased",
            ];
            assert_eq!(next.lines(), expected, "{lock} {place}");
            let last = office.run(&["buy", "--name", "cat", "--think", "0"]).code(0);
            assert_eq!(last.lines(), ["cat ticket successfully purchased"]);
            assert_eq!(office.left(), 0);
        }
    }
}

#[test]
fn a_buyer_that_waits_is_told_too() {
    let office = Office::new("--store", "futex");
    office.run(&["--create", "9"]).code(0);
    let dying = office.start(&["buy", "--die-holding-lock", "--think", "1s"]);
    let waiting: Vec<_> = (0..3).map(|_| office.start(&["buy", "--think", "0"])).collect();
    assert_eq!(dying.finish().status.code(), None);
    let ends: Vec<_> = waiting.into_iter().map(support::Run::finish).collect();
    assert_eq!(bought(&ends), 3);
    let told = ends.iter().filter(|end| end.text().contains("recovered")).count();
    // The dying one may have come last; then nobody waited for it.
    let after = office.run(&["buy", "--think", "0"]).code(0).text().contains("recovered");
    assert_eq!(told + usize::from(after), 1);
}

#[test]
fn nobody_gets_a_plain_lock_after_its_owner_died() {
    let office = Office::new("--store", "plain");
    office.run(&["--create", "2"]).code(0);
    let dead = office.run(&["buy", "--die-holding-lock", "--think", "0"]);
    assert_eq!(dead.status.code(), None);
    office.run(&["buy", "--timeout", "0.5s"]).code(3).says("--lock futex");
    office.run(&["buy", "--timeout", "0"]).code(3);
    // A new one helps.
    let name = format!("{}.lock", &*office.name);
    buyer(&["--store", "none-such", "--lock", "plain", "--lock-name", &name, "remove"])
        .finish()
        .code(0);
    office.run(&["buy", "--think", "0"]).code(0);
}

#[test]
fn a_living_owner_is_waited_for_but_not_for_ever() {
    for lock in ["futex", "pthread", "plain"] {
        let office = Office::new("--store", lock);
        office.run(&["--create", "2"]).code(0);
        let slow = office.start(&["buy", "--think", "10min"]);
        support::eventually("the slow buyer has the lock", || {
            office.run(&["buy", "--think", "0", "--timeout", "0"]).status.code() == Some(3)
        });
        let left = office.left();
        office.run(&["buy", "--timeout", "0.3s"]).code(3).says("timed out");
        if lock != "plain" {
            let waiting = office.start(&["buy"]);
            let name = format!("{}.lock", &*office.name);
            support::eventually("it waits", || support::users(&name) == 2);
            waiting.signal("TERM");
            waiting.finish().code(7);
        }
        // A signal ends the thinking; what was begun is finished.
        slow.signal("TERM");
        let slow = slow.finish();
        assert!(matches!(slow.status.code(), Some(0 | 8)), "{slow:?}");
        assert_eq!(office.left(), left.saturating_sub(1));
    }
}

#[test]
fn damaged_tickets_are_not_sold() {
    let office = Office::new("--file", "futex");
    let file = office.folder.0.join("db.json");
    office.run(&["--create", "5"]).code(0);
    office.run(&["buy", "--die-holding-lock", "--think", "0"]);
    fs::write(&file, "{\"count\": tr").unwrap();
    office.run(&["buy"]).code(6).says("damaged");
    office.run(&["buy"]).code(6).says("given up");
    // Even when the tickets are back: somebody must say that they are right.
    fs::write(&file, "{\"count\": 3}").unwrap();
    office.run(&["buy"]).code(6).says("--create N");
    office.run(&["--create", "3"]).code(0);
    office.run(&["buy", "--think", "0"]).code(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"count\":2}\n");
}

#[test]
fn a_file_keeps_what_else_is_in_it() {
    let office = Office::new("--file", "futex");
    let file = office.folder.file("db.json", b"{\"count\": 7, \"price\": [1, 2]}");
    let link = office.folder.0.join("link.json");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let bought = buyer(&["-f", link.to_str().unwrap(), "--lock", "none", "buy", "--think", "0"]);
    bought.finish().code(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"count\":6,\"price\":[1,2]}\n");
    assert!(link.is_symlink());
    // No temporary file is left.
    assert_eq!(fs::read_dir(&office.folder.0).unwrap().count(), 2);
    for wrong in ["", "[]", "{}", "{\"count\": -1}", "{\"count\": \"7\"}"] {
        fs::write(&file, wrong).unwrap();
        office.run(&["search"]).code(6);
    }
}

#[test]
fn buyers_must_agree_on_the_lock() {
    let office = Office::new("--store", "futex");
    office.run(&["--create", "2"]).code(0);
    let name = format!("{}.lock", &*office.name);
    let other = buyer(&["--store", &office.name, "--lock", "pthread", "--lock-name", &name, "buy"]);
    other.finish().code(6).says(&name);
}

#[test]
fn the_lock_has_one_name_by_whatever_way_one_comes() {
    let folder = Folder::new("ways");
    let link = folder.0.join("way");
    std::os::unix::fs::symlink(&folder.0, &link).unwrap();
    let before = Store::file(&link.join("db.json")).lock_name();
    let path = folder.file("db.json", b"{\"count\": 1}");
    for way in [path, link.join("db.json"), folder.0.join("./db.json")] {
        assert_eq!(Store::file(&way).lock_name(), before);
    }
    // And what was made is removed again.
    let file = folder.0.join("db.json").display().to_string();
    for lock in [LockKind::Futex, LockKind::Pthread, LockKind::Plain] {
        let lock = lock.to_string();
        buyer(&["-f", &file, "--lock", &lock, "buy", "--think", "0"]).finish();
        buyer(&["-f", &file, "--lock", &lock, "remove"]).finish().code(0);
    }
    for left in fs::read_dir("/dev/shm").unwrap() {
        let left = left.unwrap().file_name();
        assert!(!left.to_string_lossy().contains(&before), "{left:?}");
    }
}

#[test]
fn json_tells_it_in_one_line() {
    let office = Office::new("--store", "futex");
    office.run(&["--create", "1"]).code(0);
    let end = office.run(&["--name", "ann", "--think", "0", "--json"]).code(0);
    assert_eq!(end.lines().len(), 1);
    let json = end.json();
    assert_eq!(json["name"], "ann");
    assert_eq!((json["bought"].as_bool(), json["remaining"].as_u64()), (Some(true), Some(0)));
    let json = office.run(&["buy", "--think", "0", "--json"]).code(8).json();
    assert_eq!((json["bought"].as_bool(), json["exit"].as_u64()), (Some(false), Some(8)));
    assert_eq!(json["end"], "sold out");
}
