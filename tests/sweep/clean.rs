//! `Segment::clean`, in a `/dev/shm` of its own: whatever dead processes left is gone in the end, and
//! nothing else.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use steadfast::{CleanOptions, Queue, QueueOptions, Segment, SegmentOptions};

use crate::engine::{Account, Course, Death, Lane, Scenario, Stage, State};
use crate::hands::{Bytes, Hands};
use crate::message;
use crate::model::Model;
use crate::ptrace::marker;
use crate::support::{self, Name};

/// What there is to clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// An ephemeral segment whose last user was killed.
    Unused,
    /// A file whose maker was killed before it had its name.
    Unpublished,
    /// One whose remover was killed on the way.
    HalfRemoved,
    /// One that a remover, since killed, took for another: it must get its name back.
    Mistaken,
    /// A durable segment without users, when idle ones are to go.
    Idle,
}

impl Left {
    fn options(self) -> CleanOptions {
        CleanOptions { idle: self == Left::Idle, ..CleanOptions::default() }
    }
}

fn clean(left: Left) -> Result<(), String> {
    Segment::clean(&left.options()).map(drop).map_err(|error| format!("clean: {error}"))
}

fn play(left: Left) {
    clean(left).expect("a first clean");
    marker();
    let result = clean(left);
    marker();
    result.expect("clean");
}

struct CleanStage {
    left: Left,
    /// Ours, and in use.
    used: Name,
    hands: Hands,
    /// Durable and without users: stays, unless idle ones are to go.
    kept: Name,
    /// Goes, or gets its name back.
    target: Name,
    /// The file of that, at first.
    file: String,
}

fn content() -> Vec<Vec<u8>> {
    (0..3).map(|sequence| message::make(1, sequence, 40)).collect()
}

fn create(name: &str, ephemeral: bool) -> Result<Bytes, String> {
    let segment = SegmentOptions::new().participants(2).ephemeral(ephemeral);
    let queue: Bytes = Queue::create(name, &QueueOptions::new().capacity(4096).segment(segment))
        .map_err(|error| format!("create: {error}"))?;
    for message in content() {
        queue.put(&message).map_err(|error| format!("put: {error}"))?;
    }
    Ok(queue)
}

/// It holds what was put into it, and works.
fn works(hands: &mut Hands) -> Result<(), String> {
    let mut model = Model::new(&content(), &content());
    let message = message::make(1, 100, 400);
    hands.put(&message)?;
    model.put(&message);
    while let Some(message) = hands.try_get()? {
        model.got(&message)?;
    }
    model.holds(0)
}

fn works_when_opened(name: &str) -> Result<(), String> {
    let queue = Queue::open(name).map_err(|error| format!("open {name}: {error}"))?;
    works(&mut Hands::new(queue))
}

fn files() -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let mut files: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    files
}

fn public(name: &str) -> String {
    format!("steadfast.{name}")
}

impl CleanStage {
    fn new(left: Left) -> Result<CleanStage, String> {
        let (used, kept, target) = (Name::new("used"), Name::new("kept"), Name::new("target"));
        let hands = Hands::new(create(&used, true)?);
        Ok(CleanStage { left, used, hands, kept, target, file: String::new() })
    }

    /// Makes what is to be cleaned.
    fn leave(&mut self) -> Result<(), String> {
        let say = |error| format!("{:?}: {error}", self.left);
        let public_path = support::file(&self.target);
        let path = |file: &str| format!("/dev/shm/{file}");
        self.file = match self.left {
            Left::Unused => {
                // A copy, whose users nobody ever was: as if they had been killed.
                let other = Name::new("original");
                let _original = create(&other, true)?;
                fs::copy(support::file(&other), &public_path).map_err(say)?;
                public(&self.target)
            }
            Left::Unpublished => {
                let file = format!("steadfast-new,{:032x}", 77);
                fs::write(path(&file), [0; 4096]).map_err(say)?;
                file
            }
            Left::HalfRemoved | Left::Mistaken => {
                drop(create(&self.target, false)?);
                let inode = fs::metadata(&public_path).map_err(say)?.ino();
                let meant = if self.left == Left::Mistaken { inode + 1 } else { inode };
                let file = format!("steadfast-old,{meant:x},{:08x},{}", 77, &*self.target);
                fs::rename(&public_path, path(&file)).map_err(say)?;
                file
            }
            Left::Idle => {
                drop(create(&self.target, false)?);
                public(&self.target)
            }
        };
        Ok(())
    }

    /// The files that there are when all is cleaned.
    fn wanted(&self) -> Vec<String> {
        let mut wanted = vec![public(&self.used)];
        if self.left != Left::Idle {
            wanted.push(public(&self.kept));
        }
        if self.left == Left::Mistaken {
            wanted.push(public(&self.target));
        }
        wanted.sort();
        wanted
    }
}

impl Stage for CleanStage {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn ready(&mut self, _lane: &mut Lane) -> Result<(), String> {
        if self.left != Left::Idle {
            drop(create(&self.kept, false)?);
        }
        self.leave()
    }

    fn survive(&mut self, _lane: &mut Lane, _death: &Death) -> Result<Account, String> {
        let start = Instant::now();
        let (mut now, wanted) = (files(), self.wanted());
        let state = if now.contains(&self.file) { State::Before } else { State::After };
        // Half removed: its name is free, and what is left is for the next one who cleans.
        let half = format!(",{}", &*self.target);
        now.retain(|file| !(file.starts_with("steadfast-old,") && file.ends_with(&half)));
        if state == State::After && now != wanted {
            return Err(format!("the victim left {now:?}, expected {wanted:?}"));
        }
        works(&mut self.hands)?;
        clean(self.left)?;
        if files() != wanted {
            return Err(format!("cleaning left {:?}, expected {wanted:?}", files()));
        }
        if self.left != Left::Idle {
            works_when_opened(&self.kept)?;
        }
        if self.left == Left::Mistaken {
            works_when_opened(&self.target)?;
        }
        self.hands.put(b"last").and_then(|()| self.hands.get())?;
        let waited = start.elapsed();
        Ok(Account { state, waited, late: waited > Duration::from_millis(60), unmarked: false })
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    [
        ("clean_unused", Left::Unused),
        ("clean_unpublished", Left::Unpublished),
        ("clean_half_removed", Left::HalfRemoved),
        ("clean_mistaken", Left::Mistaken),
        ("clean_idle", Left::Idle),
    ]
    .map(|(name, left)| Scenario {
        name: name.to_owned(),
        course: Course::Changes,
        hot: false,
        late: 0,
        victim: Box::new(move |_| play(left)),
        stage: Box::new(move |_| Ok(Box::new(CleanStage::new(left)?) as Box<dyn Stage>)),
    })
    .into()
}
