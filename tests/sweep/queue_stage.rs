//! A queue in the state from which a victim's operation starts, and the survivors' work after it.

use std::time::{Duration, Instant};

use steadfast::{Queue, QueueOptions, SegmentOptions};

use crate::engine::{Account, Death, Lane, Stage, State};
use crate::hands::{Bytes, Hands};
use crate::message;
use crate::model::Model;
use crate::peer::BOUND;
use crate::queue_victim::{Act, EARLIER, EXPIRES, VICTIM, WARM, keepers_message};
use crate::recovery::{Earlier, Spot, TAIL, UNITS};
use crate::support::Name;
use crate::words::{HEAD_LOCK, LOCK, Words};

/// The number under which the survivors put.
const SURVIVOR: u32 = 1;
/// The number under which a live sleeping producer puts.
const SLEEPER: u32 = 2;
/// Bytes of the smallest ring.
const RING: u64 = UNITS as u64 * 8;
/// The ring is crossed by so many messages of so many bytes.
const ROUNDS: usize = 12;
const ROUND_LEN: usize = 400;

/// A survivor that waited longer looked for itself: every sleep on a queue ends after 100 ms.
pub const LATE: Duration = Duration::from_millis(60);

/// What a live process waits for meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleeper {
    /// A message.
    Get,
    /// Room.
    Put,
}

/// What the survivors do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Put: they meet what a dead producer left.
    Put,
    /// Get: they meet what a dead consumer left.
    Get,
}

/// An operation, the state it starts from, and who else is there.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The operation.
    pub act: Act,
    /// Messages at most; 0 = as many as there is room for.
    pub maxsize: usize,
    /// Put and get until the tail is this far in the ring.
    pub at: Option<u32>,
    /// Then put so many messages of so many bytes.
    pub fill: (usize, usize),
    /// The operation cannot be done until the survivors help: it starts with nothing to take, or
    /// with no room to put.
    pub waits: bool,
    /// A live process that sleeps before the victim begins.
    pub sleeper: Option<Sleeper>,
    /// A live process that goes to sleep after the victim did, before that is woken.
    pub second: Option<Sleeper>,
    /// What the survivors do first.
    pub first: First,
    /// The victim has a PID namespace of its own.
    pub foreign: bool,
    /// Only the victim's thread dies; another one of its process goes on.
    pub thread: bool,
    /// The operation is refused: there is no room and no message, and nobody helps.
    pub refused: bool,
    /// A victim that dies before this one begins.
    pub earlier: Option<Earlier>,
    /// Bytes set aside for large messages. All of them must be free at the end.
    pub large: u64,
}

impl Plan {
    /// Nothing special.
    pub const fn new(act: Act) -> Plan {
        Plan {
            act,
            maxsize: 0,
            at: None,
            fill: (2, 40),
            waits: false,
            sleeper: None,
            second: None,
            first: First::Get,
            foreign: false,
            thread: false,
            refused: false,
            earlier: None,
            large: 0,
        }
    }
}

/// See the module's documentation.
pub struct QueueStage {
    plan: Plan,
    name: Name,
    /// The survivor's.
    pub hands: Hands,
    words: Words,
    content: Vec<Vec<u8>>,
    sequence: u32,
    /// The victim slept and was given what it waited for.
    woken: bool,
    asleep: Option<Sleeper>,
    owned: (bool, bool),
}

impl QueueStage {
    /// Makes the queue.
    pub fn new(plan: Plan) -> Result<QueueStage, String> {
        let name = Name::new("sweep");
        let mut options = QueueOptions::new()
            .capacity(RING)
            .maxsize(plan.maxsize)
            .large_messages(plan.large)
            .segment(SegmentOptions::new().participants(16));
        if plan.act.produces() {
            options = options.single_producer();
        }
        if plan.act.consumes() {
            options = options.single_consumer();
        }
        let queue: Bytes = Queue::create(&name, &options).map_err(|e| format!("create: {e}"))?;
        let words = Words::of(&name)?;
        let mut stage = QueueStage {
            plan,
            name,
            hands: Hands::new(queue),
            words,
            content: Vec::new(),
            sequence: 0,
            woken: false,
            asleep: None,
            owned: (false, false),
        };
        // A role can be ours only before it is the victim's.
        if plan.act.produces() {
            stage.hands.claim(true, false)?;
            stage.advance()?;
            stage.fill()?;
            stage.hands.producer = None;
            if plan.earlier.is_none() {
                stage.content.push(message::make(WARM.0, WARM.1, WARM.2));
            }
        } else if plan.act.consumes() {
            stage.hands.claim(false, true)?;
            stage.advance()?;
            stage.hands.consumer = None;
            stage.hands.put(&message::make(WARM.0, WARM.1, WARM.2))?;
        }
        Ok(stage)
    }

    /// The segment's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A message that nobody has put yet.
    fn next(&mut self, len: usize) -> Vec<u8> {
        self.sequence += 1;
        message::make(SURVIVOR, self.sequence, len)
    }

    /// Puts and gets until the tail is where the plan wants it, in an empty ring.
    fn advance(&mut self) -> Result<(), String> {
        let Some(target) = self.plan.at else { return Ok(()) };
        loop {
            let index = self.words.at(TAIL)? as u32 % UNITS;
            let units = (target + UNITS - index) % UNITS;
            if units == 0 {
                return Ok(());
            }
            // A header and at least 16 bytes are 3 units; half a ring is the longest.
            let units = match units {
                1..=5 => 40,
                6..=200 => units,
                _ => 100,
            };
            let message = self.next((units as usize - 1) * 8);
            self.hands.put(&message)?;
            self.hands.get()?;
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        for _ in 0..self.plan.fill.0 {
            let message = self.next(self.plan.fill.1);
            self.hands.put(&message)?;
            self.content.push(message);
        }
        Ok(())
    }

    fn send_to_sleep(&mut self, lane: &mut Lane, sleeper: Sleeper) -> Result<(), String> {
        let command = match sleeper {
            Sleeper::Get => format!("get {}", &*self.name),
            Sleeper::Put => format!("put {} {}", &*self.name, message::hex(&sleepers_message())),
        };
        lane.peer(0)?.begin(&command)?;
        self.asleep = Some(sleeper);
        Ok(())
    }

    /// The queue's possible contents now.
    fn model(&self) -> Model {
        let mut after = self.content.clone();
        let taken = self.plan.act.takes().min(after.len());
        after.drain(..taken);
        let batch = self.plan.act.batch(VICTIM);
        let possible = taken > 0 || !batch.is_empty();
        after.extend(batch);
        if !possible || self.plan.refused || (self.plan.waits && !self.woken) {
            return Model::only_before(&self.content);
        }
        Model::new(&self.content, &after)
    }

    /// The live sleeper must get what it waits for: from the victim, if that had done its part, or
    /// else from us.
    fn wake_sleeper(&mut self, lane: &mut Lane, model: &mut Model) -> Result<Duration, String> {
        let Some(sleeper) = self.asleep else { return Ok(Duration::ZERO) };
        let start = Instant::now();
        let peer = lane.peer(0)?;
        let full = self.plan.maxsize;
        loop {
            if let Some(line) = peer.answer_now()? {
                believe(&line, model)?;
                return Ok(start.elapsed());
            }
            let nothing_for_it = match sleeper {
                Sleeper::Get => self.hands.is_empty()?,
                Sleeper::Put => self.hands.len()? == full,
            };
            if nothing_for_it && peer.sleeps() {
                break;
            }
            if start.elapsed() > BOUND {
                return Err("a live sleeper was never woken for what the victim left".into());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        match sleeper {
            Sleeper::Get => {
                let message = self.next(40);
                self.hands.put(&message)?;
                model.put(&message);
            }
            Sleeper::Put => model.got(&self.hands.get()?)?,
        }
        let start = Instant::now();
        believe(&lane.peer(0)?.answer(BOUND)?, model)?;
        Ok(start.elapsed())
    }

    /// The other thread of the process whose thread died puts or gets, as its handle did before.
    fn ask_keeper(
        &mut self,
        lane: &mut Lane,
        model: &mut Model,
        number: usize,
    ) -> Result<(), String> {
        let Some(keeper) = &mut lane.keeper else { return Ok(()) };
        let word = if number.is_multiple_of(2) { "put" } else { "get" };
        let line = keeper.ask(word)?;
        match line.split_once(' ') {
            Some(("got", hex)) => model.got(&message::bytes(hex)?),
            None if line == "put" => {
                model.put(&keepers_message());
                Ok(())
            }
            _ => Err(format!("the other thread failed: {line}")),
        }
    }

    /// Gets until few messages are left.
    fn drain(&mut self, model: &mut Model, left: usize) -> Result<(), String> {
        while model.most() > left {
            match self.hands.try_get()? {
                Some(message) => model.got(&message)?,
                None => model.holds(0)?,
            }
        }
        Ok(())
    }

    /// Real work, across the ring's end, and everything out again.
    fn work(&mut self, model: &mut Model) -> Result<(), String> {
        for round in 0..ROUNDS {
            if round > 0 {
                self.drain(model, 2)?;
            } else if self.plan.first == First::Get {
                self.drain(model, model.most().saturating_sub(1).min(2))?;
            }
            let message = self.next(ROUND_LEN);
            self.hands.put(&message)?;
            model.put(&message);
            model.got(&self.hands.get()?)?;
            if round == 0 {
                model.holds(self.hands.len()?)?;
            }
        }
        while model.most() > 0 {
            let messages = self.hands.get_many(5)?;
            for message in &messages {
                model.got(message)?;
            }
            if self.hands.is_empty()? {
                model.holds(0)?;
            }
        }
        if let Some(message) = self.hands.try_get()? {
            return Err(format!("one more message: {:?}", message::read(&message)));
        }
        if self.hands.len()? != 0 || !self.hands.is_empty()? {
            return Err("the empty queue does not say so".into());
        }
        Ok(())
    }
}

impl Stage for QueueStage {
    fn names(&self) -> Vec<String> {
        vec![self.name.to_string()]
    }

    fn foreign(&self) -> bool {
        self.plan.foreign
    }

    fn thread(&self) -> bool {
        self.plan.thread
    }

    fn ready(&mut self, lane: &mut Lane) -> Result<(), String> {
        // Before the content, as it puts and gets once to get warm.
        let earlier = self.plan.earlier.map(|earlier| earlier.start(&self.name)).transpose()?;
        if !self.plan.act.produces() {
            if !self.plan.act.consumes() {
                self.advance()?;
            }
            self.fill()?;
        }
        if let (Some(earlier), Some(victim)) = (self.plan.earlier, earlier) {
            earlier.die(lane, victim, &self.words)?;
            if earlier.act.produces() {
                self.content.push(message::make(WARM.0, WARM.1, WARM.2));
            }
            if earlier.happened() {
                self.content.drain(..earlier.act.takes());
                self.content.extend(earlier.act.batch(EARLIER));
            }
        }
        match self.plan.sleeper {
            Some(Sleeper::Get) => {
                // It must find nothing, not even what the victim has put to get warm.
                while let Some(message) = self.hands.try_get()? {
                    if message != self.content.remove(0) {
                        return Err("got another message than the first".into());
                    }
                }
                self.send_to_sleep(lane, Sleeper::Get)
            }
            Some(sleeper) => self.send_to_sleep(lane, sleeper),
            None => Ok(()),
        }
    }

    fn wake(&mut self, lane: &mut Lane) -> Result<(), String> {
        if !self.plan.waits {
            return Err("the victim sleeps where nobody expected it".into());
        }
        if self.plan.refused {
            // Its first sleep ends before that, and it stands behind it.
            std::thread::sleep(EXPIRES);
            return Ok(());
        }
        if let Some(second) = self.plan.second {
            self.send_to_sleep(lane, second)?;
        }
        if self.plan.act.takes() > 0 {
            let message = self.next(40);
            self.hands.put(&message)?;
            self.content.push(message);
        } else {
            let first = self.content.remove(0);
            if self.hands.get()? != first {
                return Err("got another message than the first".into());
            }
        }
        self.woken = true;
        Ok(())
    }

    fn dying(&mut self, pid: i32) -> Result<(), String> {
        self.owned = (self.words.owned_by(LOCK, pid)?, self.words.owned_by(HEAD_LOCK, pid)?);
        Ok(())
    }

    fn survive(&mut self, lane: &mut Lane, death: &Death) -> Result<Account, String> {
        let marked = |owned: bool, lock| Ok::<bool, String>(!owned || self.words.owner_died(lock)?);
        let alone = self.plan.sleeper.is_none() && self.plan.second.is_none();
        let marked = !alone || (marked(self.owned.0, LOCK)? && marked(self.owned.1, HEAD_LOCK)?);
        let mut model = self.model();
        self.hands.slowest = Duration::ZERO;
        self.hands.patient = death.number.is_multiple_of(2);
        self.hands.claim(self.plan.act.produces(), self.plan.act.consumes())?;
        let len = self.hands.len()?;
        // What a dead producer committed is in, but `qsize` may count it only after the next put.
        let uncounted = match self.plan.earlier {
            Some(earlier) if earlier.spot == Spot::Committed => earlier.act.batch(0).len(),
            _ => 0,
        };
        let possible = model.may_hold(len) || model.may_hold(len + uncounted);
        if self.asleep.is_none() && !possible {
            return Err(format!("qsize says {len}, expected {}", model.describe()));
        }
        let late = self.wake_sleeper(lane, &mut model)?;
        // Either the process whose thread died meets what that left, or the others do.
        let keeper_first = death.number % 4 < 2;
        if keeper_first {
            self.ask_keeper(lane, &mut model, death.number)?;
        }
        self.work(&mut model)?;
        if !keeper_first {
            self.ask_keeper(lane, &mut model, 0)?;
            self.drain(&mut model, 0)?;
        }
        if self.plan.large > 0 {
            let message = self.next(self.hands.queue.max_len());
            self.hands.put(&message)?;
            if self.hands.get()? != message {
                return Err("the largest message is not what was put".into());
            }
        }
        let waited = late.max(self.hands.slowest);
        let mut state = model.state()?;
        if self.plan.refused && death.finished {
            // It has no effect, early or late.
            state = State::After;
        }
        Ok(Account { state, waited, late: waited > LATE, unmarked: !marked })
    }
}

/// What a live sleeping producer puts.
fn sleepers_message() -> Vec<u8> {
    message::make(SLEEPER, 0, 40)
}

/// Takes a live sleeper's word for what it did.
fn believe(line: &str, model: &mut Model) -> Result<(), String> {
    match line.split_once(' ') {
        Some(("got", hex)) => model.got(&message::bytes(hex)?),
        None if line == "put" => {
            model.put(&sleepers_message());
            Ok(())
        }
        _ => Err(format!("a live sleeper failed: {line}")),
    }
}
