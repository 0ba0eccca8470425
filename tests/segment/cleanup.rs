//! `Segment::clean`: garbage goes, everything else stays. All in sandboxes.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use steadfast::{CleanOptions, CleanReason, Segment};

use crate::support::child::Child;
use crate::support::wait_until;
use crate::{ephemeral, plain, sandbox};

const GARBAGE: CleanOptions = CleanOptions { dry_run: false, idle: false };
const IDLE: CleanOptions = CleanOptions { dry_run: false, idle: true };

/// The names and reasons of what `clean` removed.
fn clean(options: CleanOptions) -> Vec<(String, CleanReason)> {
    let cleaned = Segment::clean(&options).unwrap();
    assert!(cleaned.iter().all(|cleaned| cleaned.bytes % 4096 == 0));
    cleaned.into_iter().map(|cleaned| (cleaned.name, cleaned.reason)).collect()
}

fn one(name: &str, reason: CleanReason) -> Vec<(String, CleanReason)> {
    vec![(name.to_owned(), reason)]
}

#[test]
fn durable_segments_stay_unless_idle_ones_are_to_go() {
    sandbox::scene("durable stays");
}

pub fn durable_stays() {
    let used = Segment::create("used", 1, &plain()).unwrap();
    drop(Segment::create("idle", 1, &plain()).unwrap());
    fs::write("/dev/shm/steadfast.foreign", "not a segment").unwrap();
    fs::write("/dev/shm/another-program", "").unwrap();
    assert_eq!(clean(GARBAGE), []);
    assert_eq!(clean(IDLE), one("idle", CleanReason::Idle));
    assert_eq!(Segment::open("used").unwrap().uuid(), used.uuid());
    drop(used);
    assert_eq!(clean(IDLE), one("used", CleanReason::Idle));
    fs::remove_file("/dev/shm/steadfast.foreign").expect("not ours to remove");
    fs::remove_file("/dev/shm/another-program").expect("not ours to remove");
}

#[test]
fn ephemeral_segments_go_when_their_users_are_dead() {
    sandbox::scene("unused goes");
}

pub fn unused_goes() {
    let segment = Segment::create("e", 1, &ephemeral()).unwrap();
    let mut child = Child::spawn("hold", &["e"]);
    child.expect("attached");
    assert_eq!(clean(GARBAGE), []);
    drop(segment);
    assert_eq!(clean(GARBAGE), [], "the child uses it");
    child.kill();
    // The kernel may need a moment to free the locks.
    let mut removed = Vec::new();
    wait_until("clean finds it", || {
        removed = clean(GARBAGE);
        !removed.is_empty()
    });
    assert_eq!(removed, one("e", CleanReason::Unused));
}

#[test]
fn unpublished_files_go_when_their_creator_is_dead() {
    sandbox::scene("unpublished goes");
}

pub fn unpublished_goes() {
    let file = format!("steadfast-new,{:032x}", 5);
    let path = format!("/dev/shm/{file}");
    fs::write(&path, "").unwrap();
    // A live creator, as far as locks tell.
    let creator = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: (1 << 40) - 32,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the command takes one flock.
    let result = unsafe { libc::fcntl(creator.as_raw_fd(), libc::F_OFD_SETLK, &mut lock) };
    assert_eq!(result, 0);
    assert_eq!(clean(IDLE), []);
    drop(creator);
    assert_eq!(clean(GARBAGE), one(&file, CleanReason::Unpublished));
}

#[test]
fn an_interrupted_removal_is_finished_or_taken_back() {
    sandbox::scene("interrupted removal");
}

pub fn interrupted_removal() {
    let inode = |name: &str| fs::metadata(format!("/dev/shm/steadfast.{name}")).unwrap().ino();
    let doom = |name: &str, inode: u64| {
        let private = format!("/dev/shm/steadfast-old,{inode:x},00000000,{name}");
        fs::rename(format!("/dev/shm/steadfast.{name}"), private).unwrap();
    };
    // The file that was meant: removed, also while somebody uses it.
    let segment = Segment::create("meant", 1, &plain()).unwrap();
    doom("meant", inode("meant"));
    assert_eq!(clean(GARBAGE), one("meant", CleanReason::InterruptedRemoval));
    segment.write_at(0, b"x").unwrap();
    drop(segment);

    // Another one, renamed by mistake: gets its name back.
    let uuid = Segment::create("stranger", 1, &plain()).unwrap().uuid();
    doom("stranger", inode("stranger") + 1);
    assert_eq!(clean(GARBAGE), []);
    assert_eq!(Segment::open("stranger").unwrap().uuid(), uuid);

    // The same, but the name is taken: kept while it is used or may be wanted.
    let first = Segment::open("stranger").unwrap();
    doom("stranger", inode("stranger") + 1);
    let second = Segment::create("stranger", 1, &ephemeral()).unwrap();
    assert_eq!(clean(IDLE), []);
    drop(first);
    assert_eq!(clean(GARBAGE), []);
    assert_eq!(clean(IDLE), one("stranger", CleanReason::InterruptedRemoval));
    assert_eq!(Segment::open("stranger").unwrap().uuid(), second.uuid());
}

#[test]
fn a_dry_run_only_tells() {
    sandbox::scene("dry run");
}

pub fn dry_run() {
    let dry = CleanOptions { dry_run: true, idle: true };
    drop(Segment::create("idle", 1, &plain()).unwrap());
    let _used = Segment::create("used", 1, &ephemeral()).unwrap();
    fs::write(format!("/dev/shm/steadfast-new,{:032x}", 5), "").unwrap();
    let before = sandbox::files().len();
    assert_eq!(clean(dry).len(), 2);
    assert_eq!(sandbox::files().len(), before);
    assert_eq!(clean(IDLE).len(), 2);
    assert_eq!(sandbox::files(), ["steadfast.used"]);
}

#[test]
fn cleaning_beside_creators_harms_nobody() {
    sandbox::scene("clean beside creators");
}

pub fn clean_beside_creators() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let creators: Vec<_> = (0..3)
            .map(|number| {
                scope.spawn(move || {
                    for round in 0..150 {
                        let name = format!("c{number}-{round}");
                        let segment = Segment::create(&name, 1, &ephemeral()).unwrap();
                        assert_eq!(Segment::open(&name).unwrap().uuid(), segment.uuid());
                        segment.write_at(0, b"x").unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Segment::clean(&IDLE).unwrap();
                Segment::list().unwrap();
            }
        });
        let results: Vec<_> = creators.into_iter().map(|creator| creator.join()).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
}
