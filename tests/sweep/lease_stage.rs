//! The world of a victim that uses a joinable queue: how it begins, and what the survivors do after the
//! death. Every acknowledged message must be gone, every other one come out again, once and in order, and
//! no piece of the store may be lost: at the end the largest message fits.

use std::time::{Duration, Instant};

use steadfast::{JoinableQueue, Lease, QueueOptions, Reason, SegmentOptions, Shutdown};

use crate::engine::{Account, Death, Lane, Stage, State};
use crate::lease_hands::{self, WorkHands};
use crate::lease_model::{Item, LeaseModel, Letter};
use crate::lease_victim::{Act, HOLDER, LEASES, RESERVED};
use crate::message;
use crate::peer::BOUND;
use crate::support::Name;
use crate::tracee::Tracee;
use crate::words::{HEAD_LOCK, LOCK, Words};

/// The smallest store: 64 units of 64 bytes.
const CAPACITY: u64 = 4096;
/// Behind the constants and the control words, a ring of 4096 bytes and an index of 64 entries: where the
/// store begins, and its unit.
const STORE: u64 = 8192;
const UNIT: u64 = 64;
/// A word that is not 0 while the index is being changed.
const TORN: u64 = HEAD_LOCK + 48;
/// Phases of a chunk.
const OWNED: u64 = 1;
const QUEUED: u64 = 2;

/// The number under which the survivors put.
const SURVIVOR: u32 = 1;
/// A sleeper that took longer looked for itself.
const LATE: Duration = Duration::from_millis(60);

/// What a live process waits for meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleeper {
    /// A message.
    Lease,
    /// That everything is done.
    Join,
}

/// An operation, the state it starts from, and who else is there.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub act: Act,
    /// So many messages of so many bytes are in the ring.
    pub fill: (usize, usize),
    /// So many messages of so many bytes were put and done before, and lie about as free chunks.
    pub crumbs: (usize, usize),
    /// A process has died with leases of the first two messages, with a chunk that it was filling, and with
    /// one of which it was about to write the record.
    pub holder: bool,
    /// Somebody died while changing the index of what came back.
    pub torn: bool,
    /// A message is handed out so often; 0 = as the operation says.
    pub deliveries: u16,
    /// The survivor holds the first message all the time.
    pub mine: bool,
    /// The operation waits until the survivors help.
    pub waits: bool,
    pub sleeper: Option<Sleeper>,
    /// Only the victim's thread dies; its process lives, with another one.
    pub thread: bool,
}

impl Plan {
    /// Nothing special.
    pub const fn new(act: Act) -> Plan {
        Plan {
            act,
            fill: (2, 40),
            crumbs: (0, 0),
            holder: false,
            torn: false,
            deliveries: 0,
            mine: false,
            waits: false,
            sleeper: None,
            thread: false,
        }
    }

    fn limit(&self) -> u16 {
        self.deliveries.max(self.act.deliveries())
    }
}

pub struct LeaseStage {
    plan: Plan,
    name: Name,
    /// Another queue, where a victim gets warm that must not have opened this one.
    warm: Option<(Name, WorkHands)>,
    hands: WorkHands,
    words: Words,
    /// What is there beside the victim's, in the order in which it will come out.
    others: Vec<Item>,
    dead: Vec<Letter>,
    mine: Option<Lease>,
    sequence: u32,
    woken: bool,
    owned: (bool, bool),
}

fn create(plan: &Plan, participants: u16) -> Result<(Name, WorkHands), String> {
    let name = Name::new("sweep");
    let options = QueueOptions::new()
        .capacity(CAPACITY)
        .max_deliveries(plan.limit())
        .segment(SegmentOptions::new().participants(participants));
    let queue = JoinableQueue::create(&name, &options).map_err(|e| format!("create: {e}"))?;
    Ok((name, WorkHands::new(queue)))
}

impl LeaseStage {
    pub fn new(plan: Plan) -> Result<LeaseStage, String> {
        let opens = plan.act == Act::Open;
        // Then the dead holder's slot is the only one left.
        let (name, hands) = create(&plan, if opens { 2 } else { 16 })?;
        let words = Words::of(&name)?;
        let warm = if opens { Some(create(&plan, 2)?) } else { None };
        Ok(LeaseStage {
            plan,
            name,
            warm,
            hands,
            words,
            others: Vec::new(),
            dead: Vec::new(),
            mine: None,
            sequence: 0,
            woken: false,
            owned: (false, false),
        })
    }

    /// A message that nobody has put yet.
    fn next(&mut self, len: usize) -> Vec<u8> {
        self.sequence += 1;
        message::make(SURVIVOR, self.sequence, len)
    }

    fn put_other(&mut self, len: usize) -> Result<(), String> {
        let message = self.next(len);
        self.hands.put(&message)?;
        self.others.push(Item::new(&message, 1, Reason::Never));
        Ok(())
    }

    /// The chunks: where each one's state is, and its phase.
    fn chunks(&self) -> Result<Vec<(u64, u64)>, String> {
        let (mut found, mut index) = (Vec::new(), 0);
        while index * UNIT < CAPACITY {
            let at = STORE + index * UNIT;
            let units = self.words.at(at)? & 0xffff_ffff;
            if units == 0 || (index + units) * UNIT > CAPACITY {
                return Err(format!("a chunk of {units} units at {index}"));
            }
            found.push((at + 8, self.words.at(at + 8)? & 0xff));
            index += units;
        }
        Ok(found)
    }

    /// A process leases, reserves and dies; what it wrote last is changed to what it writes next.
    fn bury_a_holder(&mut self) -> Result<(), String> {
        Tracee::start(&["victim", "lease_get", &self.name, HOLDER])?.kill()?;
        let chunks = self.chunks()?;
        let owned: Vec<u64> =
            chunks.iter().filter(|(_, phase)| *phase == OWNED).map(|(at, _)| *at).collect();
        if owned.len() != RESERVED.len() {
            return Err(format!("a holder has died, and these are the chunks: {chunks:?}"));
        }
        let state = self.words.at(owned[1])?;
        self.words.set(owned[1], state - OWNED + QUEUED)?;
        for item in &mut self.others[..LEASES] {
            (item.attempt, item.reason) = (item.attempt + 1, Reason::Died);
        }
        if self.plan.limit() == 1 {
            for Item { bytes, .. } in self.others.drain(..LEASES) {
                self.dead.push(Letter { bytes, attempts: 1, reason: Reason::Died });
            }
        }
        Ok(())
    }

    fn model(&self, death: &Death) -> LeaseModel {
        let mut candidates = self.plan.act.outcomes(&self.others);
        if !self.dead.is_empty() {
            let dead =
                |candidate: crate::lease_model::Candidate| candidate.and_dead(self.dead.clone());
            candidates = candidates.into_iter().map(dead).collect();
        }
        let mut model = LeaseModel::new(candidates, death.finished);
        if self.plan.waits && !self.woken {
            model.only(State::Before);
        }
        model
    }

    /// What the survivors do first decides who settles what the dead left.
    fn begin(&mut self, model: &mut LeaseModel, way: usize) -> Result<(), String> {
        match way {
            1 => {
                if let Some(lease) = self.hands.try_get()? {
                    model.got_early(&lease_hands::item(&lease)?)?;
                    self.hands.ack(lease)?;
                }
            }
            2 => {
                let message = self.next(100);
                self.hands.put(&message)?;
                model.put(&message);
            }
            3 if self.hands.is_done()? => model.holds(0)?,
            _ => {}
        }
        let mine = usize::from(self.mine.is_some());
        model.holds(self.hands.unfinished()?.wrapping_sub(mine))
    }

    /// Gets everything, in order, and acknowledges it.
    fn drain(&mut self, model: &mut LeaseModel) -> Result<(), String> {
        while model.most() > 0 {
            let lease = self.hands.get()?;
            model.got(&lease_hands::item(&lease)?)?;
            self.hands.ack(lease)?;
        }
        Ok(())
    }

    /// Real work, and everything out again.
    fn work(&mut self, model: &mut LeaseModel, way: usize) -> Result<(), String> {
        self.begin(model, way)?;
        let message = self.next(if way.is_multiple_of(2) { 40 } else { 700 });
        self.hands.put(&message)?;
        model.put(&message);
        if self.plan.limit() == 0 {
            let lease = self.hands.get()?;
            let item = lease_hands::item(&lease)?;
            model.got(&item)?;
            self.hands.nack(lease)?;
            model.nacked(&item);
        }
        self.drain(model)?;
        self.finish(model)?;
        if let Some(lease) = self.hands.try_get()? {
            return Err(format!("one more message: {}", lease_hands::item(&lease)?.name()));
        }
        Ok(())
    }

    /// Nothing is left but our own lease and the dead letters.
    fn finish(&mut self, model: &mut LeaseModel) -> Result<(), String> {
        model.dead(&self.hands.letters()?)?;
        if let Some(lease) = self.mine.take() {
            if self.hands.is_done()? {
                return Err("join returned, and a message is still in a survivor's hands".into());
            }
            self.hands.ack(lease)?;
        }
        self.hands.join()
    }

    /// The whole store is free again.
    fn nothing_is_lost(&mut self) -> Result<(), String> {
        let purged = self.hands.queue.purge();
        purged.map_err(|error| format!("a survivor's purge: {error:?}"))?;
        let message = self.next(self.hands.queue.max_len());
        let lost = |error| format!("a part of the store is lost: {error}");
        self.hands.try_put(&message).map_err(lost)?;
        let lease = self.hands.get()?;
        if lease_hands::item(&lease)? != Item::new(&message, 1, Reason::Never) {
            return Err("the largest message is not what was put".into());
        }
        self.hands.ack(lease)?;
        self.hands.join()
    }

    /// After a shutdown that took effect.
    fn end(&mut self, how: Shutdown, model: &mut LeaseModel) -> Result<(), String> {
        if how == Shutdown::Now {
            // Nothing but what a living process holds is unfinished.
            let mine = usize::from(self.mine.is_some());
            if self.hands.unfinished()? != mine {
                return Err("what was discarded is not done".into());
            }
            if let Some(lease) = self.mine.take() {
                self.hands.ack(lease)?;
            }
            self.hands.join()?;
            return self.hands.is_over();
        }
        self.begin(model, 0)?;
        self.drain(model)?;
        self.finish(model)?;
        self.hands.is_over()?;
        match self.chunks()?.iter().find(|(_, phase)| *phase != 0) {
            Some((at, phase)) => Err(format!("the chunk at {at} is left in phase {phase}")),
            None => Ok(()),
        }
    }

    /// The sleeper gets what it waits for: from the victim if that had put it, or else from us.
    fn wake_consumer(
        &mut self,
        lane: &mut Lane,
        model: &mut LeaseModel,
    ) -> Result<Duration, String> {
        let (start, peer) = (Instant::now(), lane.peer(0)?);
        let puts = !self.plan.act.batch().is_empty();
        let line = loop {
            if let Some(line) = peer.answer_now()? {
                break line;
            }
            let empty = self.hands.queue.is_empty();
            if puts && empty.map_err(|error| format!("is_empty: {error}"))? && peer.sleeps() {
                self.sequence += 1;
                let message = message::make(SURVIVOR, self.sequence, 40);
                self.hands.put(&message)?;
                model.put(&message);
                break peer.answer(BOUND)?;
            }
            if start.elapsed() > BOUND {
                return Err("a live sleeper was never woken for what the victim left".into());
            }
            std::thread::sleep(Duration::from_micros(50));
        };
        let words: Vec<&str> = line.split(' ').collect();
        let ["leased", hex, attempt, reason] = words[..] else {
            return Err(format!("a live sleeper failed: {line}"));
        };
        let reasons = [Reason::Never, Reason::Nacked, Reason::Died];
        let reason = reasons.into_iter().find(|it| format!("{it:?}") == reason);
        let attempt = attempt.parse().map_err(|_| format!("it said {line}"))?;
        let item = Item::new(&message::bytes(hex)?, attempt, reason.ok_or("an odd reason")?);
        model.got(&item)?;
        Ok(start.elapsed())
    }
}

impl Stage for LeaseStage {
    fn names(&self) -> Vec<String> {
        let warm = self.warm.iter().map(|(name, _)| name.to_string());
        [self.name.to_string()].into_iter().chain(warm).collect()
    }

    fn thread(&self) -> bool {
        self.plan.thread
    }

    fn ready(&mut self, lane: &mut Lane) -> Result<(), String> {
        for _ in 0..self.plan.crumbs.0 {
            let message = self.next(self.plan.crumbs.1);
            self.hands.put(&message)?;
        }
        for _ in 0..self.plan.crumbs.0 {
            let lease = self.hands.get()?;
            self.hands.ack(lease)?;
        }
        for _ in 0..self.plan.fill.0 {
            self.put_other(self.plan.fill.1)?;
        }
        if self.plan.mine {
            self.mine = Some(self.hands.get()?);
            self.others.remove(0);
        }
        if self.plan.holder {
            self.bury_a_holder()?;
        }
        if self.plan.torn {
            self.words.set(TORN, self.words.at(TORN)? | 1)?;
        }
        match self.plan.sleeper {
            Some(Sleeper::Lease) => lane.peer(0)?.begin(&format!("lease {}", &*self.name)),
            Some(Sleeper::Join) => lane.peer(0)?.begin(&format!("join {}", &*self.name)),
            None => Ok(()),
        }
    }

    fn wake(&mut self, _lane: &mut Lane) -> Result<(), String> {
        if !self.plan.waits {
            return Err("the victim sleeps where nobody expected it".into());
        }
        self.woken = true;
        match self.plan.act {
            Act::Get => self.put_other(40),
            Act::Join => {
                let lease = self.mine.take().ok_or("nothing to acknowledge")?;
                self.hands.ack(lease)
            }
            _ => {
                // For room.
                let lease = self.hands.get()?;
                if lease_hands::item(&lease)? != self.others.remove(0) {
                    return Err("got another message than the first".into());
                }
                self.hands.ack(lease)
            }
        }
    }

    fn dying(&mut self, pid: i32) -> Result<(), String> {
        self.owned = (self.words.owned_by(LOCK, pid)?, self.words.owned_by(HEAD_LOCK, pid)?);
        Ok(())
    }

    fn survive(&mut self, lane: &mut Lane, death: &Death) -> Result<Account, String> {
        let marked = |owned: bool, lock| Ok::<bool, String>(!owned || self.words.owner_died(lock)?);
        let alone = self.plan.sleeper.is_none();
        let marked = !alone || (marked(self.owned.0, LOCK)? && marked(self.owned.1, HEAD_LOCK)?);
        let mut model = self.model(death);
        self.hands.slowest = Duration::ZERO;
        let mut waited = Duration::ZERO;
        let mut joined = false;
        match self.plan.sleeper {
            Some(Sleeper::Lease) => waited = self.wake_consumer(lane, &mut model)?,
            Some(Sleeper::Join) => {
                joined = joins(lane.peer(0)?.answer_now()?)?;
                if joined {
                    model.holds(0)?;
                }
            }
            None => {}
        }
        if let Act::Shutdown(how) = self.plan.act
            && self.hands.is_shutdown()?
        {
            self.end(how, &mut model)?;
            model.only(State::After);
        } else {
            if let Act::Shutdown(_) = self.plan.act {
                model.only(State::Before);
            }
            self.work(&mut model, death.number % 4)?;
            let start = Instant::now();
            if self.plan.sleeper == Some(Sleeper::Join) && !joined {
                joins(Some(lane.peer(0)?.answer(BOUND)?))?;
                waited = start.elapsed();
            }
            self.nothing_is_lost()?;
        }
        let mut state = model.state()?;
        if self.plan.act.is_neutral() && death.finished {
            // It has no effect, early or late.
            state = State::After;
        }
        let waited = waited.max(self.hands.slowest);
        Ok(Account { state, waited, late: waited > LATE, unmarked: !marked })
    }
}

/// Whether a live joiner has returned.
fn joins(line: Option<String>) -> Result<bool, String> {
    match line.as_deref() {
        None => Ok(false),
        Some("joined") => Ok(true),
        Some(other) => Err(format!("a live joiner failed: {other}")),
    }
}
