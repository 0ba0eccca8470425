//! `--help` tells the truth: its examples work when pasted, its codes are those of the documents.

mod support;

use steadfast_bins::exit_code::ExitCode;
use support::{Folder, Name, Stdin, shell, start};

const PROGRAMS: [(&str, &str); 4] = [
    ("producer", env!("CARGO_BIN_EXE_producer")),
    ("consumer", env!("CARGO_BIN_EXE_consumer")),
    ("ticket-buyer", env!("CARGO_BIN_EXE_ticket-buyer")),
    ("segments", env!("CARGO_BIN_EXE_segments")),
];

fn help(program: &str) -> String {
    start(program, &["--help"], Stdin::Empty).finish().code(0).text()
}

/// The examples of a help text: the lines after `Examples:`, cut at their comments.
fn examples(help: &str) -> Vec<String> {
    let (_, rest) = help.split_once("Examples:\n").expect("examples");
    let (examples, _) = rest.split_once("Exit codes:\n").expect("exit codes");
    examples
        .split("  # ")
        .filter_map(|one| one.split_once('\n'))
        .map(|(_, command)| command.to_owned())
        .collect()
}

#[test]
fn every_example_works_when_pasted() {
    for (name, program) in PROGRAMS {
        let folder = Folder::new("help");
        let names = ["demo", "copy", "ten", "work"].map(|word| (word, Name::new(word)));
        let examples = examples(&help(program));
        assert!(examples.len() >= 4, "{name}");
        for example in examples {
            // The same commands, on names of this test.
            let script = names.iter().fold(example, |script, (word, name)| {
                let script = script.replace(&format!("-q {word}"), &format!("-q {}", &**name));
                let script = script.replace(&format!("rm {word}"), &format!("rm {}", &**name));
                script.replace(&format!("--store {word}"), &format!("--store {}", &**name))
            });
            let end = shell(&script, &folder.0).finish().code(0);
            for complaint in ["not found", "error:", "Usage"] {
                assert!(!end.stderr.contains(complaint), "{name}: {script}: {}", end.stderr);
            }
            if script.contains("wc -c") {
                assert_eq!(end.text().trim(), "99999", "{script}");
            }
        }
    }
}

#[test]
fn help_opens_with_one_sentence_and_ends_with_the_codes() {
    for (name, program) in PROGRAMS {
        let help = help(program);
        let first = help.lines().next().unwrap();
        assert!(first.ends_with('.') && first.matches(". ").count() == 0, "{name}: {first}");
        let short = start(program, &["-h"], Stdin::Empty).finish().code(0).text();
        assert!(short.lines().count() < help.lines().count(), "{name}");
        let (_, codes) = help.split_once("Exit codes:\n").unwrap();
        let mut seen = 0;
        for code in ExitCode::ALL {
            let line = format!("  {}  {}\n", code as u8, code.meaning());
            seen += usize::from(codes.contains(&line));
        }
        assert_eq!(seen, codes.lines().filter(|line| line.starts_with("  ")).count(), "{name}");
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
        assert!(
            start(program, &["--version"], Stdin::Empty).finish().code(0).text().contains(name)
        );
    }
}

#[test]
fn the_documents_have_the_same_codes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for file in ["docs/exit-codes.md", "bins/src/exit_code.rs"] {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        for code in ExitCode::ALL {
            let row = format!("| {} | {} | ", code as u8, code.name());
            assert!(text.contains(&row), "{file}: no {row:?}");
        }
    }
}
