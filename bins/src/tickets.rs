//! Where the tickets are counted: in a JSON file, or in a segment.
//!
//! Both are read and written whole, so that the death of a buyer leaves the old number or the new
//! one: the file is replaced by rename, the segment's number is one aligned word.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use steadfast::{Segment, SegmentError, SegmentOptions};
use xxhash_rust::xxh3::xxh3_64;

use crate::exit_code::{ExitCode, Failure};

/// The upper half of the segment's word; the lower half is the number.
const MARK: u64 = 0x5469_636b << 32; // "Tick"

/// A number of tickets that outlives the program.
pub enum Store {
    /// `{"count": N}`; other members are kept.
    File(PathBuf),
    /// A segment of 8 bytes.
    Segment(Segment),
}

impl Store {
    /// The tickets of a JSON file, which need not be there yet.
    pub fn file(path: &Path) -> Store {
        // Through links: replacing a link would leave its target as it was, and the lock's name must
        // be the same by whatever way one comes, also before the file is there.
        let whole = path.canonicalize().or_else(|error| match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => {
                let here = folder.as_os_str().is_empty().then_some(Path::new("."));
                here.unwrap_or(folder).canonicalize().map(|folder| folder.join(name))
            }
            _ => Err(error),
        });
        Store::File(whole.unwrap_or_else(|_| path.to_owned()))
    }

    /// The tickets of a segment.
    pub fn segment(name: &str) -> Result<Store, Failure> {
        let way_out = "put tickets on sale first: ticket-buyer --create N";
        Segment::open(name).map(Store::Segment).map_err(|error| match error {
            SegmentError::NotFound { .. } => Failure::segment(name, &error).or(way_out),
            _ => Failure::segment(name, &error),
        })
    }

    /// The tickets of a segment, which is made if it is not there.
    pub fn new_segment(name: &str) -> Result<Store, Failure> {
        Segment::open_or_create(name, 8, &SegmentOptions::new())
            .map(Store::Segment)
            .map_err(|error| Failure::segment(name, &error))
    }

    /// A name for the lock of these tickets: the same for everybody who means the same ones.
    pub fn lock_name(&self) -> String {
        match self {
            Store::Segment(segment) => format!("{}.lock", segment.name()),
            Store::File(path) => {
                format!("tickets-{:016x}.lock", xxh3_64(path.as_os_str().as_bytes()))
            }
        }
    }

    /// How many tickets are left.
    pub fn read(&self) -> Result<u64, Failure> {
        match self {
            Store::File(path) => {
                let count = read_object(path)?.get("count").and_then(Value::as_u64);
                count.ok_or_else(|| damaged(path, "it has no \"count\" that is a number"))
            }
            Store::Segment(segment) => {
                let mut word = [0; 8];
                let failed = |error| Failure::segment(segment.name(), &error);
                segment.read_at(0, &mut word).map_err(failed)?;
                let word = u64::from_ne_bytes(word);
                if word & !u64::from(u32::MAX) != MARK {
                    let way_out = "put tickets on sale first: ticket-buyer --create N";
                    let what = "no tickets in this segment";
                    return Err(Failure::new(ExitCode::Corrupt, what, segment.name(), way_out));
                }
                Ok(word & u64::from(u32::MAX))
            }
        }
    }

    /// Now so many are left.
    pub fn write(&self, count: u64) -> Result<(), Failure> {
        match self {
            Store::File(path) => {
                let mut object = match read_object(path) {
                    Err(failure) if failure.code() == ExitCode::NoSuchSegment => Map::new(),
                    other => other?,
                };
                object.insert("count".into(), count.into());
                replace(path, &format!("{}\n", Value::Object(object)))
            }
            Store::Segment(segment) => {
                let count = u32::try_from(count).map_err(|_| {
                    Failure::usage("too many tickets", format!("at most {}", u32::MAX))
                })?;
                segment
                    .write_at(0, &(MARK | u64::from(count)).to_ne_bytes())
                    .map_err(|error| Failure::segment(segment.name(), &error))
            }
        }
    }

    /// Removes the segment. A file belongs to its user and stays.
    pub fn remove(name: &str) -> Result<(), Failure> {
        match Segment::unlink(name) {
            Ok(()) | Err(SegmentError::NotFound { .. }) => Ok(()),
            Err(error) => Err(Failure::segment(name, &error)),
        }
    }
}

fn read_object(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let way_out = "put tickets on sale first: ticket-buyer --create N";
            Failure::new(
                ExitCode::NoSuchSegment,
                "no such file",
                path.display().to_string(),
                way_out,
            )
        }
        _ => unusable(path, "cannot read", &error),
    })?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(damaged(path, "it is not a JSON object")),
        Err(error) => Err(damaged(path, &format!("it is not JSON ({error})"))),
    }
}

/// Replaces the file as a whole: whoever reads it sees the old text or the new one.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or(OsStr::new("tickets")).to_string_lossy();
    let new = path.with_file_name(format!(
        ".{name}.{}.{:08x}.tmp",
        std::process::id(),
        fastrand::u32(..)
    ));
    let written = fs::File::create_new(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        fs::rename(&new, path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        unusable(path, "cannot write", &error)
    })
}

fn unusable(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Failure, what, path.display().to_string(), error.to_string())
}

fn damaged(path: &Path, why: &str) -> Failure {
    let what = format!("the tickets cannot be read: {why}");
    Failure::new(
        ExitCode::Corrupt,
        what,
        path.display().to_string(),
        "write {\"count\": N} into it",
    )
}
