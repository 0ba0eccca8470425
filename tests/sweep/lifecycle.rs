//! From nothing to nothing: making, opening, leaving and removing a segment.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use steadfast::{CleanOptions, Mutex, PthreadMutex, Queue, QueueOptions, Segment, SegmentOptions};

use crate::engine::{Account, Course, Death, Lane, Scenario, Stage, State};
use crate::hands::{Bytes, Hands};
use crate::message;
use crate::model::Model;
use crate::peer::{Pair, visitors_message};
use crate::ptrace::marker;
use crate::queue_victim::{Act as QueueAct, EARLIER};
use crate::recovery::{Earlier, Spot};
use crate::support::{self, Name};
use crate::sync_world::{self, Setup};
use crate::words::Words;

/// One operation of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// `Segment::create`.
    CreateBytes,
    /// `Queue::create`.
    CreateQueue,
    /// `Queue::open_or_create`, with none there.
    OpenOrCreate,
    /// `Mutex::create`.
    CreateMutex,
    /// `PthreadMutex::create`.
    CreatePthread,
    /// `Segment::of` a struct, `create`.
    CreateShared,
    /// `Queue::open`.
    Open,
    /// `Queue::open`, in the only slot that is left: that of a victim which died in `put`, when its
    /// message was committed, and still owns the lock.
    OpenAfterDeath,
    /// Dropping the queue.
    Drop,
    /// Dropping an ephemeral queue that nobody else uses.
    DropLast,
    /// `Segment::unlink`.
    Unlink,
    /// `Segment::unlink_unused`.
    UnlinkUnused,
}

impl Act {
    fn creates(self) -> bool {
        use Act::{
            CreateBytes, CreateMutex, CreatePthread, CreateQueue, CreateShared, OpenOrCreate,
        };
        let makers = [CreateBytes, CreateQueue, OpenOrCreate, CreateMutex, CreatePthread];
        self == CreateShared || makers.contains(&self)
    }

    fn removes(self) -> bool {
        matches!(self, Act::DropLast | Act::Unlink | Act::UnlinkUnused)
    }
}

/// Two participants: a dead one's slot must be taken over, or there is none.
fn options(ephemeral: bool) -> SegmentOptions {
    SegmentOptions::new().participants(2).ephemeral(ephemeral)
}

fn queue_options(ephemeral: bool) -> QueueOptions {
    QueueOptions::new().capacity(4096).segment(options(ephemeral))
}

/// So that nothing in the operation happens for the first time.
fn warm(act: Act, name: &str) {
    match act {
        Act::CreateMutex => drop(Mutex::<Pair>::create(name, [1, 1], &options(true))),
        Act::CreatePthread => drop(PthreadMutex::<Pair>::create(name, [1, 1], &options(true))),
        Act::CreateBytes => drop(Segment::create(name, 8192, &options(true))),
        Act::CreateShared => {
            sync_world::create(name, Setup::USUAL).expect("a first create");
            Segment::unlink(name).expect("a first unlink");
        }
        _ => {
            let queue: Bytes = Queue::create(name, &queue_options(true)).expect("a first create");
            queue.put(b"warm").expect("a first put");
            queue.get().expect("a first get");
        }
    }
}

/// Runs `operation` between the markers and keeps what it gave until the end.
fn marked<T, E: std::fmt::Debug>(operation: impl FnOnce() -> Result<T, E>) {
    marker();
    let result = operation();
    marker();
    result.expect("the operation");
}

fn play(act: Act, names: &[String]) {
    let name = &names[0];
    warm(act, &names[1]);
    match act {
        Act::CreateBytes => marked(|| Segment::create(name, 8192, &options(false))),
        Act::CreateQueue => marked(|| Bytes::create(name, &queue_options(false))),
        Act::OpenOrCreate => marked(|| Bytes::open_or_create(name, &queue_options(false))),
        Act::CreateMutex => marked(|| Mutex::<Pair>::create(name, [1, 1], &options(false))),
        Act::CreatePthread => {
            marked(|| PthreadMutex::<Pair>::create(name, [1, 1], &options(false)));
        }
        Act::CreateShared => marked(|| sync_world::create(name, Setup::USUAL)),
        Act::Open | Act::OpenAfterDeath => marked(|| Bytes::open(name)),
        Act::Drop | Act::DropLast => {
            let queue = Bytes::open(name).expect("open the queue");
            marked(|| {
                drop(queue);
                Ok::<(), ()>(())
            });
        }
        Act::Unlink => marked(|| Segment::unlink(name)),
        Act::UnlinkUnused => marked(|| Segment::unlink_unused(name)),
    }
}

struct LifeStage {
    act: Act,
    name: Name,
    warm: Name,
    hands: Option<Hands>,
    content: Vec<Vec<u8>>,
    /// Files that the victim had open and that have no public name.
    private: Vec<PathBuf>,
    /// Held from a death until all is judged: nobody else cleans meanwhile.
    alone: Option<File>,
}

impl LifeStage {
    fn new(act: Act) -> Result<LifeStage, String> {
        let (name, warm) = (Name::new("sweep"), Name::new("sweep"));
        let mut content = Vec::new();
        let mut hands = None;
        if !act.creates() {
            let queue = Queue::create(&name, &queue_options(act == Act::DropLast));
            let mut new = Hands::new(queue.map_err(|error| format!("create: {error}"))?);
            for sequence in 0..2 {
                let message = message::make(1, sequence, 40);
                // The earlier victim gets a message to get warm: the content comes after that.
                if act != Act::OpenAfterDeath {
                    new.put(&message)?;
                    content.push(message);
                }
            }
            hands = Some(new);
        }
        if act == Act::UnlinkUnused {
            hands = None;
        }
        Ok(LifeStage { act, name, warm, hands, content, private: Vec::new(), alone: None })
    }

    fn exists(&self) -> bool {
        support::file(&self.name).exists()
    }

    /// Puts and gets with a handle of ours, and from another process.
    fn work(&self, lane: &mut Lane, mut hands: Hands) -> Result<Duration, String> {
        let mut model = Model::new(&self.content, &self.content);
        let users = hands.queue.segment().users();
        if users != 1 {
            return Err(format!("{users} users are alive, expected 1"));
        }
        for sequence in 100..103 {
            let message = message::make(1, sequence, 400);
            hands.put(&message)?;
            model.put(&message);
            model.got(&hands.get()?)?;
        }
        if self.exists() {
            let answer = lane.peer(0)?.ask(&format!("visit {}", &*self.name))?;
            let hex = answer.strip_prefix("got ").ok_or_else(|| format!("a visitor: {answer}"))?;
            model.put(&visitors_message());
            model.got(&message::bytes(hex)?)?;
        }
        while let Some(message) = hands.try_get()? {
            model.got(&message)?;
        }
        model.holds(0)?;
        Ok(hands.slowest)
    }

    fn open(&self) -> Result<Hands, String> {
        let queue = Queue::open(&self.name).map_err(|error| format!("open: {error}"))?;
        Ok(Hands::new(queue))
    }

    fn create(&self) -> Result<Hands, String> {
        let queue = Queue::create(&self.name, &queue_options(false));
        Ok(Hands::new(queue.map_err(|error| format!("create after all: {error}"))?))
    }

    /// What a maker left is whole or not there.
    fn made(&mut self, lane: &mut Lane) -> Result<Duration, String> {
        let exists = self.exists();
        match self.act {
            Act::CreateQueue | Act::OpenOrCreate if exists => {
                let hands = self.open()?;
                self.work(lane, hands)
            }
            Act::CreateBytes if exists => {
                let segment = Segment::open(&self.name).map_err(|e| format!("open: {e}"))?;
                let mut bytes = vec![1; 8192];
                segment.read_at(0, &mut bytes).map_err(|e| format!("read: {e}"))?;
                if segment.len() != 8192 || bytes.iter().any(|byte| *byte != 0) {
                    return Err("a new segment is not zero".into());
                }
                Ok(Duration::ZERO)
            }
            Act::CreateMutex if exists => {
                let mutex = Mutex::<Pair>::open(&self.name).map_err(|e| format!("open: {e}"))?;
                let fine = mutex.lock().is_ok_and(|pair| *pair == [1, 1]);
                if fine { Ok(Duration::ZERO) } else { Err("a new mutex is not whole".into()) }
            }
            Act::CreatePthread if exists => {
                let mutex = PthreadMutex::<Pair>::open(&self.name);
                let mutex = mutex.map_err(|error| format!("open: {error}"))?;
                let fine = mutex.lock().is_ok_and(|pair| *pair == [1, 1]);
                if fine { Ok(Duration::ZERO) } else { Err("a new mutex is not whole".into()) }
            }
            Act::CreateShared if exists => {
                sync_world::open(&self.name)?.is_new().map(|()| Duration::ZERO)
            }
            _ => {
                let hands = self.create()?;
                self.work(lane, hands)
            }
        }
    }

    /// What a remover left is whole, or its name is free.
    fn removed(&mut self, lane: &mut Lane, number: usize) -> Result<Duration, String> {
        if self.exists() {
            let hands = match self.hands.take() {
                Some(hands) => hands,
                // Nobody is attached: half of the time `clean` is asked first, which must take it
                // if it is ephemeral and leave it otherwise.
                None => {
                    if number.is_multiple_of(2) {
                        clean()?;
                    }
                    let left = self.exists();
                    if left != (self.act == Act::UnlinkUnused || number % 2 == 1) {
                        return Err(format!("after cleaning the segment is there: {left}"));
                    }
                    if !left {
                        return Ok(Duration::ZERO);
                    }
                    self.open()?
                }
            };
            let took = self.work(lane, hands)?;
            if self.act == Act::DropLast && self.exists() {
                return Err("the last one out did not remove the segment".into());
            }
            return Ok(took);
        }
        if Queue::<[u8]>::open(&self.name).is_ok() {
            return Err("a removed segment can be opened".into());
        }
        let mut took = Duration::ZERO;
        if let Some(hands) = self.hands.take() {
            took = self.work(lane, hands)?;
        }
        self.content.clear();
        let again = self.create()?;
        Ok(took.max(self.work(lane, again)?))
    }
}

fn clean() -> Result<(), String> {
    Segment::clean(&CleanOptions::default()).map(drop).map_err(|error| format!("clean: {error}"))
}

impl Stage for LifeStage {
    fn names(&self) -> Vec<String> {
        vec![self.name.to_string(), self.warm.to_string()]
    }

    fn ready(&mut self, lane: &mut Lane) -> Result<(), String> {
        if self.act == Act::OpenAfterDeath {
            let earlier =
                Earlier { scenario: "put", act: QueueAct::Put(40), spot: Spot::Committed };
            let words = Words::of(&self.name)?;
            let victim = earlier.start(&self.name)?;
            earlier.die(lane, victim, &words)?;
            self.content.extend(earlier.act.batch(EARLIER));
        }
        if self.act == Act::DropLast {
            self.hands = None;
        }
        Ok(())
    }

    fn dying(&mut self, pid: i32) -> Result<(), String> {
        let alone = std::env::current_exe().and_then(File::open);
        let alone = alone.and_then(|file| file.lock().map(|()| file));
        self.alone = Some(alone.map_err(|error| format!("lock this program: {error}"))?);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        let targets = descriptors.into_iter().flatten().flatten();
        self.private = targets
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter(|path| {
                let path = path.to_string_lossy();
                path.starts_with("/dev/shm/steadfast-") && !path.ends_with("(deleted)")
            })
            .collect();
        Ok(())
    }

    fn survive(&mut self, lane: &mut Lane, death: &Death) -> Result<Account, String> {
        let start = Instant::now();
        let (exists, finished) = (self.exists(), death.finished);
        let done = if self.act.creates() {
            exists
        } else if self.act.removes() {
            !exists
        } else {
            finished
        };
        let took = if self.act.creates() {
            self.made(lane)?
        } else if self.act.removes() {
            self.removed(lane, death.number)?
        } else {
            let hands = self.hands.take().ok_or("the survivor is not attached")?;
            self.work(lane, hands)?
        };
        clean()?;
        if let Some(left) = self.private.iter().find(|path| path.exists()) {
            return Err(format!("nobody removes {}", left.display()));
        }
        self.alone = None;
        let state = if done { State::After } else { State::Before };
        let late = start.elapsed() > Duration::from_millis(60);
        Ok(Account { state, waited: took, late, unmarked: false })
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    [
        ("create", Act::CreateBytes),
        ("create_queue", Act::CreateQueue),
        ("create_mutex", Act::CreateMutex),
        ("create_pthread", Act::CreatePthread),
        ("create_shared", Act::CreateShared),
        ("open_or_create", Act::OpenOrCreate),
        ("open", Act::Open),
        ("open_after_death", Act::OpenAfterDeath),
        ("detach", Act::Drop),
        ("detach_last", Act::DropLast),
        ("unlink", Act::Unlink),
        ("unlink_unused", Act::UnlinkUnused),
    ]
    .map(|(name, act)| Scenario {
        name: name.to_owned(),
        course: Course::Changes,
        hot: false,
        late: 0,
        victim: Box::new(move |names| play(act, names)),
        stage: Box::new(move |_| Ok(Box::new(LifeStage::new(act)?) as Box<dyn Stage>)),
    })
    .into()
}
