//! The house rules that a compiler does not know, as tests. Each rule is a function from a file's
//! path and text to complaints; one test applies all of them to every file of the project, and one
//! test per rule feeds it a bad sample, to show that the rule can fail.

#[path = "tidy/tokens.rs"]
mod tokens;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokens::{first_names, tokens};

const LIMIT: usize = 500;

/// The layers, lowest first; a file may name its own and lower ones.
const LAYERS: [&str; 5] = ["os", "segment", "sync", "queue", "process"];

/// Layers beside each other: the first does not know the second either.
const APART: [(&str, &str); 2] = [("process", "sync"), ("process", "queue")];

/// Crates that speak to the kernel.
const KERNEL: [&str; 4] = ["libc", "rustix", "nix", "linux_raw_sys"];

/// The crate that maps named memory, and the two files that use it: the library's one, and the lock
/// of `ticket-buyer` that is deliberately a plain one.
const MAPPER: [&str; 3] = ["shared_memory", "Shmem", "ShmemConf"];
const MAPPERS: [&str; 2] = ["lib/os/mapping.rs", "bins/src/plain_lock.rs"];

/// Ways to map memory without it; `mmap` itself is looked at more closely.
const RAW_MAPPING: [&str; 3] = ["shm_open", "memfd_create", "mmap64"];

/// Files that hold no `unsafe`; a name with a slash at its end means all files below.
const SAFE: [&str; 4] = ["lib/queue/", "lib/process/", "lib/message.rs", "bins/"];
const SAFE_EXCEPT: [&str; 4] =
    ["plain_lock.rs", "queue/lease.rs", "queue/object.rs", "queue/view.rs"];

/// Places and hosts that mean something on one machine only. In pieces, as this file is checked too.
const FOREIGN: [&str; 8] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp/", "plan"),
    concat!("replace-", "with"),
    concat!("artifact", "ory"),
    concat!("index.", "crates.io"),
    concat!("registry+sparse", "+"),
];

struct Source {
    path: String,
    text: String,
}

/// Every text file of the project.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("a readable project");
        for path in entries.map(|entry| entry.expect("a readable entry").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "node_modules") {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).expect("below the root");
                found.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

type Complaints = Vec<String>;

#[test]
fn the_project_is_tidy() {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "lib/lib.rs"), "no library found");
    let library = sources.iter().find(|source| source.path == "lib/lib.rs");
    let exports = exports(&library.expect("checked above").text);
    let mut complaints = Vec::new();
    for Source { path, text } in &sources {
        if path.ends_with(".rs") {
            complaints.extend(upward_imports(path, text, &exports));
            complaints.extend(kernel_outside_os(path, text));
            complaints.extend(foreign_mappings(path, text));
            complaints.extend(unsafe_in_safe_files(path, text));
        }
        complaints.extend(too_long(path, text));
        if path.ends_with(".md") {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            complaints.extend(dead_links(path, text, &|target| {
                fs::read_to_string(root.join(target)).ok().or_else(|| {
                    root.join(target).exists().then(String::new) // a folder, or a picture
                })
            }));
        }
        complaints.extend(foreign_words(path, text));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

// --- the rules ------------------------------------------------------------------------------

fn layer_of(path: &str) -> Option<usize> {
    let top = path.strip_prefix("lib/")?.split(['/', '.']).next()?;
    LAYERS.iter().position(|layer| *layer == top)
}

/// What the library's root re-exports, and from which layer: `crate::Queue` is `queue` too.
fn exports(library: &str) -> HashMap<String, usize> {
    let tokens = tokens(library);
    let mut found = HashMap::new();
    for (index, (_, text)) in tokens.iter().enumerate() {
        let Some(layer) = LAYERS.iter().position(|layer| layer == text) else { continue };
        if !matches!(tokens.get(index + 1), Some((_, next)) if next == "::") {
            continue;
        }
        for (_, name) in &tokens[index + 1..] {
            if name == ";" {
                break;
            }
            if name.starts_with(char::is_uppercase) {
                found.insert(name.clone(), layer);
            }
        }
    }
    found
}

/// os -> segment -> sync -> queue and os -> segment -> process, never to the left.
fn upward_imports(path: &str, text: &str, exports: &HashMap<String, usize>) -> Complaints {
    let tokens = tokens(text);
    // the files below all layers may name the lowest only
    let own = match layer_of(path) {
        Some(layer) => layer,
        None if path == "lib/primitive.rs" || path == "lib/message.rs" => 0,
        None => return Vec::new(),
    };
    // how many `super` lead from this file to the root of the crate
    let inside = path.strip_prefix("lib/").unwrap_or(path).trim_end_matches(".rs");
    let depth = inside.trim_end_matches("/mod").split('/').count();
    let mut complaints = Vec::new();
    for (index, (_, text)) in tokens.iter().enumerate() {
        let names = match text.as_str() {
            "crate" => first_names(&tokens, index + 1),
            "super" if index < 2 || tokens[index - 2].1 != "super" => {
                let is_super =
                    |n: &usize| tokens.get(index + n * 2).is_some_and(|(_, text)| text == "super");
                let supers = (0..).take_while(is_super).count();
                if supers < depth {
                    continue;
                }
                first_names(&tokens, index + supers * 2 - 1)
            }
            _ => continue,
        };
        for (line, name) in names {
            let layer = LAYERS.iter().position(|layer| *layer == name);
            if let Some(layer) = layer.or_else(|| exports.get(&name).copied())
                && (layer > own || APART.contains(&(LAYERS[own], LAYERS[layer])))
            {
                let (from, to) = (LAYERS[own], LAYERS[layer]);
                let way = if layer > own { "upwards" } else { "sideways" };
                complaints.push(format!("{path}:{line}: {from} imports {way} from {to}"));
            }
        }
    }
    complaints
}

fn is_product(path: &str) -> bool {
    path.starts_with("lib/") || path.starts_with("bins/src/")
}

/// Only `lib/os` speaks to the kernel.
fn kernel_outside_os(path: &str, text: &str) -> Complaints {
    if !is_product(path) || path.starts_with("lib/os/") {
        return Vec::new();
    }
    let tokens = tokens(text).into_iter();
    let bad = tokens.filter(|(_, text)| KERNEL.contains(&text.as_str()));
    bad.map(|(line, name)| format!("{path}:{line}: `{name}` outside lib/os")).collect()
}

/// Named memory is mapped by one crate, in one place; by hand at most private, anonymous pages.
fn foreign_mappings(path: &str, text: &str) -> Complaints {
    if !is_product(path) {
        return Vec::new();
    }
    let tokens = tokens(text);
    let mut complaints = Vec::new();
    for (index, (line, name)) in tokens.iter().enumerate() {
        let mut called = tokens[index..].iter().take_while(|(_, text)| text != ";");
        let misplaced = MAPPER.contains(&name.as_str()) && !MAPPERS.contains(&path);
        let raw = RAW_MAPPING.contains(&name.as_str())
            || name == "mmap" && !called.any(|(_, text)| text == "MAP_ANONYMOUS");
        if misplaced || raw {
            complaints.push(format!("{path}:{line}: `{name}` outside {}", MAPPERS[0]));
        }
    }
    complaints
}

fn unsafe_in_safe_files(path: &str, text: &str) -> Complaints {
    let meant = |safe: &str| path == safe || safe.ends_with('/') && path.starts_with(safe);
    if !SAFE.iter().any(|safe| meant(safe))
        || SAFE_EXCEPT.iter().any(|except| path.ends_with(except))
    {
        return Vec::new();
    }
    let bad = tokens(text).into_iter().filter(|(_, text)| text == "unsafe");
    bad.map(|(line, _)| format!("{path}:{line}: `unsafe` in a file meant to have none")).collect()
}

fn too_long(path: &str, text: &str) -> Complaints {
    let lines = text.lines().count();
    let checked =
        [".rs", ".md", ".sh"].iter().any(|end| path.ends_with(end)) || path.starts_with("scripts/");
    if checked && lines > LIMIT {
        return vec![format!("{path}: {lines} lines, {LIMIT} are the limit")];
    }
    Vec::new()
}

fn foreign_words(path: &str, text: &str) -> Complaints {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in FOREIGN.iter().filter(|word| line.contains(**word)) {
            complaints.push(format!("{path}:{}: `{word}` does not belong here", number + 1));
        }
    }
    complaints
}

/// Links to files and headings that are not there. `read` gives the text of a file that is.
fn dead_links(path: &str, text: &str, read: &dyn Fn(&Path) -> Option<String>) -> Complaints {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let (mut complaints, mut code) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        code ^= line.trim_start().starts_with("```");
        for part in line.split("](").skip(1).filter(|_| !code) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            if ["https://", "http://", "mailto:"].iter().any(|start| target.starts_with(start)) {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { PathBuf::from(path) } else { plain(folder, file) };
            let alive = match read(&file) {
                Some(text) => heading.is_empty() || headings(&text).iter().any(|h| h == heading),
                None => false,
            };
            if !alive {
                complaints
                    .push(format!("{path}:{}: the link to {target} leads nowhere", number + 1));
            }
        }
    }
    complaints
}

/// `folder/link` without the `..` in it.
fn plain(folder: &Path, link: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for part in link.split('/') {
        match part {
            ".." => drop(path.pop()),
            "." | "" => {}
            part => path.push(part),
        }
    }
    path
}

/// The anchors that a Markdown file offers, as the usual viewers make them.
fn headings(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let anchor = |line: &str| -> String {
        line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect()
    };
    lines.map(|line| anchor(line).replace(' ', "-")).collect()
}

// --- every rule can fail --------------------------------------------------------------------

fn complains(complaints: Complaints, wanted: &[&str]) {
    assert_eq!(complaints.len(), wanted.len(), "{complaints:?}");
    for (complaint, wanted) in complaints.iter().zip(wanted) {
        assert!(complaint.contains(wanted), "{complaint} is not about {wanted}");
    }
}

#[test]
fn an_upward_import_is_noticed() {
    let exports = exports("mod queue; pub use queue::{Queue, QueueOptions}; pub use sync::Mutex;");
    let check = |path: &str, text: &str| upward_imports(path, text, &exports);
    complains(
        check("lib/os/futex.rs", "use crate::sync::Mutex;"),
        &["os imports upwards from sync"],
    );
    let group = "use crate::{\n os::{clock, queue},\n queue::Ring,\n};";
    complains(
        check("lib/segment/name.rs", group),
        &["name.rs:3: segment imports upwards from queue"],
    );
    complains(check("lib/sync/mutex.rs", "let q = crate::queue::ring();"), &["from queue"]);
    complains(check("lib/sync/mutex.rs", "fn f(_: &crate::Queue) {}"), &["from queue"]);
    complains(check("lib/sync/mutex.rs", "use super::super::queue::Ring;"), &["from queue"]);
    complains(check("lib/sync/mod.rs", "use super::queue::Ring;"), &["from queue"]);
    complains(check("lib/primitive.rs", "use crate::segment::Area;"), &["from segment"]);
    complains(check("lib/queue/ring.rs", "use crate::{os::clock, sync::Mutex, primitive};"), &[]);
    complains(check("lib/sync/mutex.rs", "// crate::queue\n/* crate::queue */"), &[]);
    complains(check("lib/queue/put.rs", "use crate::process::Process;"), &["upwards from process"]);
    complains(
        check("lib/process/exit.rs", "use crate::{Mutex, queue};"),
        &["from sync", "from queue"],
    );
    complains(check("lib/process/spawn.rs", "use crate::{os::clock, segment};"), &[]);
    complains(check("lib/sync/mutex.rs", "use super::queue;"), &[]); // sync::queue, if it existed
}

#[test]
fn the_kernel_outside_os_is_noticed() {
    complains(
        kernel_outside_os("lib/sync/mutex.rs", "\nuse libc::c_int;"),
        &["mutex.rs:2: `libc`"],
    );
    complains(kernel_outside_os("bins/src/args.rs", "rustix::process::getpid()"), &["`rustix`"]);
    complains(kernel_outside_os("lib/os/futex.rs", "use rustix::thread;"), &[]);
    complains(kernel_outside_os("lib/sync/mutex.rs", "// libc\nlet s = \"rustix\";"), &[]);
}

#[test]
fn a_second_way_to_map_is_noticed() {
    complains(foreign_mappings("lib/segment/mod.rs", "use shared_memory::Shmem;"), &["", ""]);
    complains(foreign_mappings("lib/os/shm.rs", "rustix::shm::shm_open(name)"), &["`shm_open`"]);
    complains(
        foreign_mappings("lib/os/shm.rs", "mmap(p, n, prot, MAP_SHARED, fd, 0);"),
        &["`mmap`"],
    );
    complains(foreign_mappings("lib/os/sigbus.rs", "mmap(p, n, prot, MAP_ANONYMOUS, -1, 0);"), &[]);
    complains(
        foreign_mappings(MAPPERS[0], "use shared_memory::Shmem; shm_open()"),
        &["`shm_open`"],
    );
}

#[test]
fn unsafe_where_none_is_meant_is_noticed() {
    complains(unsafe_in_safe_files("lib/queue/ring.rs", "unsafe { x() }"), &["ring.rs:1"]);
    complains(
        unsafe_in_safe_files("bins/src/args.rs", "#![deny(x)]\nunsafe fn f() {}"),
        &["args.rs:2"],
    );
    complains(unsafe_in_safe_files("bins/src/plain_lock.rs", "unsafe { x() }"), &[]);
    let harmless =
        "// unsafe\nlet a = r#\"unsafe \" { \"#; let b = b\"unsafe\"; let c: &'static str;";
    complains(unsafe_in_safe_files("lib/message.rs", harmless), &[]);
    let after = "let c = '\"'; let d = '\\''; unsafe {}";
    complains(unsafe_in_safe_files("lib/message.rs", after), &["message.rs:1"]);
}

#[test]
fn a_long_file_is_noticed() {
    complains(too_long("lib/queue/queue.rs", &"x\n".repeat(LIMIT + 1)), &["501 lines"]);
    complains(too_long("lib/queue/queue.rs", &"x\n".repeat(LIMIT)), &[]);
}

#[test]
fn a_dead_link_is_noticed() {
    let read = |path: &Path| {
        (path == Path::new("docs/there.md")).then(|| "# One `thing`, two\n".to_owned())
    };
    let check = |text: &str| dead_links("docs/README.md", text, &read);
    complains(check("\n[a](gone.md) and [b](there.md)"), &["README.md:2: the link to gone.md"]);
    complains(check("[a](there.md#three)"), &["there.md#three"]);
    complains(check("[a](../docs/there.md#one-thing-two), [b](https://example.org/)"), &[]);
    complains(check("```\n[a](gone.md)\n```"), &[]);
}

#[test]
fn a_foreign_place_is_noticed() {
    for word in FOREIGN {
        complains(foreign_words("README.md", &format!("\nsee {word}x")), &["README.md:2"]);
    }
    complains(foreign_words("README.md", "https://crates.io/crates/shared_memory"), &[]);
}
