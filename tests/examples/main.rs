//! The examples for users of the library do what their texts show. Each is compiled into this program as well,
//! which runs it in a process of its own.

#[path = "../support/mod.rs"]
mod support;

use std::io::Write;
use std::process::{ExitCode, Stdio};

use support::harness::{self, Test};

/// `examples!(name, ..)`: the modules, and their mains by name.
macro_rules! examples {
    ($($name:ident in $path:literal),+ $(,)?) => {
        $(#[path = $path] mod $name;)+

        fn run_example(name: &str) {
            let result = match name {
                $(stringify!($name) => $name::main(),)+
                _ => panic!("no example {name}"),
            };
            result.expect("the example comes to its end");
        }
    };
}

examples!(
    process_basics in "../../lib/examples/process_basics.rs",
    process_daemon in "../../lib/examples/process_daemon.rs",
    process_daemon_joined in "../../lib/examples/process_daemon_joined.rs",
    process_join in "../../lib/examples/process_join.rs",
    process_result in "../../lib/examples/process_result.rs",
    process_run in "../../lib/examples/process_run.rs",
    process_stdin in "../../lib/examples/process_stdin.rs",
    process_three in "../../lib/examples/process_three.rs",
);

const TESTS: &[Test] = &[
    ("basics", basics),
    ("daemon", daemon),
    ("daemon_joined", daemon_joined),
    ("join", join),
    ("result", result),
    ("run", run),
    ("stdin", stdin),
    ("three", three),
    ("every_process_example_is_run", every_process_example_is_run),
];

fn main() -> ExitCode {
    // Its main must be the first, as it is in the example.
    if let Some(name) = harness::role() {
        run_example(&name);
        return ExitCode::SUCCESS;
    }
    steadfast::init();
    harness::main(TESTS, &[])
}

/// What an example writes, line by line.
fn output(name: &str, input: &str) -> Vec<String> {
    let (lines, errors) = outputs(name, input);
    assert!(errors.is_empty(), "{name}: {errors}");
    lines
}

/// The same, and what it writes to standard error.
fn outputs(name: &str, input: &str) -> (Vec<String>, String) {
    let mut command = harness::in_role(name, &[]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("run this program");
    let mut stdin = process.stdin.take().expect("a pipe");
    // An example that does not read has ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = process.wait_with_output().expect("its output");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {}: {errors}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    (text.lines().map(str::to_owned).collect(), errors)
}

/// A line with all its numbers replaced.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line.chars() {
        match c.is_ascii_digit() {
            true if shape.ends_with('N') => {}
            true => shape.push('N'),
            false => shape.push(c),
        }
    }
    shape
}

fn number(line: &str) -> u64 {
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

fn basics() {
    let lines = output("process_basics", "");
    let shapes: Vec<_> = lines.iter().map(|line| shape(line)).collect();
    assert_eq!(
        shapes,
        [
            "main line",
            "  name: MainProcess",
            "  parent: no process of this library",
            "  process id: N",
            "function greet",
            "  name: greeter",
            "  parent: MainProcess, N",
            "  process id: N",
            "hello bob",
            "the child returned N and ended with exit code N",
        ]
    );
    assert_eq!(number(&lines[3]), number(&lines[6]), "its parent is the main process");
    assert_ne!(number(&lines[3]), number(&lines[7]), "the child is another one");
    assert_eq!(lines[9], "the child returned 9 and ended with exit code 0");
}

fn three() {
    let lines = output("process_three", "");
    let mut written = lines[..lines.len() - 1].to_vec();
    written.sort_unstable(); // the order is theirs
    assert_eq!(
        written,
        [
            "Process-1: the squares up to 10 sum up to 385",
            "Process-2: the squares up to 20 sum up to 2870",
            "Process-3: the squares up to 30 sum up to 9455",
            "started Process-1, Process-2, Process-3",
        ]
    );
    assert_eq!(lines[4], "all three together: 12710");
}

fn join() {
    let lines = output("process_join", "");
    let shapes: Vec<_> = lines.iter().map(|line| shape(line)).collect();
    assert_eq!(
        shapes,
        [
            "one after the other:",
            "  start a, end a",
            "  start b, end b",
            "  start c, end c",
            "  took N ms",
            "at the same time:",
            "  start a, start b, start c, end a, end b, end c",
            "  took N ms",
        ]
    );
    // Three naps of 200 ms, one after the other: that is the least. What the machine adds is its affair.
    assert!(number(&lines[4]) >= 600, "{}", lines[4]);
    assert!(number(&lines[7]) >= 200, "{}", lines[7]);
}

fn daemon() {
    let mut lines = output("process_daemon", "");
    // Where the machine is slow, it may not have begun.
    lines.retain(|line| line != "starting: the daemon");
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["exiting: the other", "starting: the other", "the program has nothing more to do"]
    );
}

fn daemon_joined() {
    let mut lines = output("process_daemon_joined", "");
    lines.retain(|line| line != "starting: long"); // as above
    assert_eq!(
        lines,
        [
            "starting: short",
            "exiting: short",
            "short: exit code 0",
            "long after a while: alive true",
            "long: killed by signal 15",
        ]
    );
}

fn result() {
    let (lines, errors) = outputs("process_result", "");
    assert_eq!(
        lines,
        [
            "6 / 2: 3",
            "6 / 0: panicked: attempt to divide by zero",
            "6 / -1: died: killed by signal 6",
        ]
    );
    assert!(errors.contains("process_result.rs:") && errors.contains("divide by zero"), "{errors}");
    // The README has it word by word.
    let source = include_str!("../../lib/examples/process_result.rs");
    let (_, source) = source.split_once("\n\n").expect("a text above it");
    let in_readme = source
        .replace("/// The program; in the children, only as far as `init`.\n", "")
        .replace("pub fn main", "fn main");
    assert!(
        include_str!("../../README.md").contains(&in_readme),
        "not in the README:\n{in_readme}"
    );
}

fn run() {
    let lines = output("process_run", "");
    assert_eq!(lines, ["Process-1 greets ann", "Process-2 greets bob", "greetings sent: 2"]);
}

fn stdin() {
    let lines = output("process_stdin", "21\n");
    assert_eq!(
        lines,
        [
            "the child: no answer, its standard input is at its end",
            "the parent: the answer is 21",
            "the child, asked with that: 42",
        ]
    );
}

fn every_process_example_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/lib/examples");
    let tests = include_str!("main.rs");
    for entry in std::fs::read_dir(folder).expect("the examples") {
        let name = entry.expect("a readable entry").file_name().into_string().expect("plain");
        let name = name.trim_end_matches(".rs");
        let run = !name.starts_with("process_") || tests.contains(&format!("(\"{name}\", \""));
        assert!(run, "no test runs {name}");
    }
}
