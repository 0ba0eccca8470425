//! System calls of a child, seen through strace.

use super::child::Child;
use super::{Name, proc};

/// In a child: marks a place in the trace, by a call that nothing else makes.
pub fn mark() {
    // SAFETY: getppid takes nothing and cannot fail.
    unsafe { libc::getppid() };
}

/// Runs a role under strace; gives the trace's lines of the thread that made
/// the two marks, between them. None, with a message, without strace.
pub fn run(
    role: &str,
    arguments: &[&str],
    meanwhile: impl FnOnce(&mut Child),
) -> Option<Vec<String>> {
    if !proc::runs("strace", &["-f", "true"]) {
        eprintln!("skipped: strace cannot trace here");
        return None;
    }
    let log = std::env::temp_dir().join(format!("{}.strace", Name::new("trace")));
    let path = log.to_str().expect("a plain path");
    let mut child = Child::spawn_under(&["strace", "-f", "-o", path], role, arguments);
    meanwhile(&mut child);
    let status = child.wait();
    let text = std::fs::read_to_string(&log).expect("the trace");
    let _ = std::fs::remove_file(&log);
    assert!(status.success(), "{role} under strace: {status}");
    // A call whose line another thread's line interrupts has two; the one with the result counts.
    let ended = text.lines().filter(|line| !line.ends_with("<unfinished ...>"));
    let is_mark = |line: &&str| line.contains(" getppid");
    let thread = ended.clone().find(is_mark).and_then(|line| line.split_whitespace().next());
    let own: Vec<&str> = ended.filter(|line| line.split_whitespace().next() == thread).collect();
    let first = own.iter().position(&is_mark).expect("a mark");
    let last = own.iter().rposition(is_mark).expect("a mark");
    assert!(first < last, "two marks");
    Some(own[first + 1..last].iter().map(|line| line.to_string()).collect())
}
