//! A `/dev/shm` of one's own.

use crate::support::child::Child;
use crate::support::proc;

/// 64 MiB, so that filling it is quick.
const MOUNT: &str = "mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm && exec \"$@\"";

/// What can be played in a sandbox.
const SCENES: &[(&str, fn())] = &[
    ("full", crate::lifecycle::full),
    ("durable stays", crate::cleanup::durable_stays),
    ("unused goes", crate::cleanup::unused_goes),
    ("unpublished goes", crate::cleanup::unpublished_goes),
    ("interrupted removal", crate::cleanup::interrupted_removal),
    ("dry run", crate::cleanup::dry_run),
    ("clean beside creators", crate::cleanup::clean_beside_creators),
    ("killed", crate::killed::at_every_call),
];

/// The role of a child in the sandbox.
pub fn play(arguments: &[String]) {
    let scene = SCENES.iter().find(|(name, _)| *name == arguments[0]);
    scene.expect("a known scene").1();
    let left = files();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Plays a scene in a sandbox; passes, with a message, where there are no mount namespaces.
pub fn scene(name: &str) {
    let _dog = crate::support::watchdog_after(crate::support::LIMIT * 3);
    // SAFETY: geteuid takes nothing and cannot fail.
    let flags = if unsafe { libc::geteuid() } == 0 { "-m" } else { "-rm" };
    let wrapper = ["unshare", flags, "sh", "-c", MOUNT, "sh"];
    if !proc::runs("unshare", &[flags, "sh", "-c", MOUNT, "sh", "true"]) {
        eprintln!("skipped: no mount namespace for a /dev/shm of our own");
        return;
    }
    let mut child = Child::spawn_under(&wrapper, "sandbox", &[name]);
    let status = loop {
        // The scenes have watchdogs of their own.
        if let Some(status) = child.ended() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    assert!(status.success(), "scene {name}: {status}");
}

/// The names in `/dev/shm`.
pub fn files() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a plain name")
    };
    entries.map(name).collect()
}
