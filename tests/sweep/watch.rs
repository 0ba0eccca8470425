//! Notices when a victim has changed the bytes of a segment, its own file descriptors being the way
//! to the file: a segment in the making has no name yet.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// As much of a segment as is watched: header, participants and the object's control words.
const WATCHED: usize = 32 * 1024;

/// The segment of one victim.
pub struct Watch {
    pid: i32,
    file: Option<File>,
    looked: bool,
    seen: Vec<u8>,
    now: Vec<u8>,
}

impl Watch {
    /// Watches process `pid`.
    pub fn new(pid: i32) -> Watch {
        Watch { pid, file: None, looked: false, seen: Vec::new(), now: vec![0; WATCHED] }
    }

    /// Whether the bytes have changed since the last question. After a system call (`call`) the
    /// victim may have got its file only now.
    pub fn changed(&mut self, call: bool) -> bool {
        if self.file.is_none() && (call || !self.looked) {
            self.looked = true;
            self.file = segment_of(self.pid);
        }
        let Some(file) = &self.file else { return false };
        self.now.resize(WATCHED, 0);
        let len = file.read_at(&mut self.now, 0).unwrap_or(0);
        self.now.truncate(len);
        if self.now == self.seen {
            return false;
        }
        std::mem::swap(&mut self.now, &mut self.seen);
        true
    }
}

/// The first descriptor of a process that leads to one of our files.
fn segment_of(pid: i32) -> Option<File> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().find_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let ours = target.to_string_lossy().contains("/steadfast");
        if ours { File::open(entry.path()).ok() } else { None }
    })
}
