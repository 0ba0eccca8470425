//! The end of a queue: `shutdown`.

use std::time::{Duration, Instant};

use steadfast::{GetError, PutError, Queue, QueueOptions, SegmentOptions, Shutdown};

use crate::engine::{Account, Course, Death, Lane, Scenario, Stage, State};
use crate::hands::{Bytes, Hands};
use crate::message;
use crate::model::Model;
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::queue_victim::{Act, EARLIER};
use crate::recovery::{Earlier, Spot};
use crate::support::Name;

/// The number under which the survivors put.
const SURVIVOR: u32 = 1;
/// A sleeper that took longer looked for itself.
const LATE: Duration = Duration::from_millis(60);

/// A queue and its end.
#[derive(Clone, Copy, Debug)]
struct Plan {
    how: Shutdown,
    /// Messages in the queue.
    fill: usize,
    maxsize: usize,
    /// What a live process waits for: `get`, or `put`, or nothing.
    sleeper: Option<&'static str>,
    earlier: Option<Earlier>,
}

fn play(how: Shutdown, names: &[String]) {
    let queue: Bytes = Queue::open(&names[0]).expect("open the queue");
    queue.put(b"warm").expect("a first put");
    queue.get().expect("a first get");
    marker();
    let result = queue.shutdown(how);
    marker();
    result.expect("shutdown");
}

struct EndStage {
    plan: Plan,
    name: Name,
    hands: Hands,
    words: crate::words::Words,
    content: Vec<Vec<u8>>,
}

impl EndStage {
    fn new(plan: Plan) -> Result<EndStage, String> {
        let name = Name::new("sweep");
        let options = QueueOptions::new()
            .capacity(4096)
            .maxsize(plan.maxsize)
            .segment(SegmentOptions::new().participants(16));
        let queue: Bytes = Queue::create(&name, &options).map_err(|e| format!("create: {e}"))?;
        let words = crate::words::Words::of(&name)?;
        Ok(EndStage { plan, name, hands: Hands::new(queue), words, content: Vec::new() })
    }

    /// The sleeper must say that the queue was shut down, and nothing else.
    fn sent_home(&self, lane: &mut Lane, since: Instant) -> Result<Duration, String> {
        if self.plan.sleeper.is_none() {
            return Ok(Duration::ZERO);
        }
        match lane.peer(0)?.answer(BOUND)?.as_str() {
            "error Closed" => Ok(since.elapsed()),
            other => Err(format!("a sleeper was told {other:?}, not that the queue was shut down")),
        }
    }

    /// Everybody agrees that it was shut down; what is left comes out if it was to be drained.
    fn closed(&mut self) -> Result<(), String> {
        let queue = &self.hands.queue;
        let again: Bytes = Queue::open(&self.name).map_err(|e| format!("open: {e}"))?;
        for (handle, queue) in [("the old", queue), ("a new", &again)] {
            if !matches!(queue.is_shutdown(), Ok(true)) {
                return Err(format!("{handle} handle does not know of the shutdown"));
            }
            match queue.put_timeout(b"late", BOUND) {
                Err(PutError::Closed) => {}
                other => return Err(format!("a put after the shutdown: {other:?}")),
            }
        }
        let mut model = Model::new(&self.content, &self.content);
        loop {
            match queue.get_timeout(BOUND) {
                Ok(message) if self.plan.how == Shutdown::Drain => model.got(&message)?,
                Err(GetError::Closed) => break,
                other => return Err(format!("a get after the shutdown: {other:?}")),
            }
        }
        if self.plan.how == Shutdown::Drain {
            model.holds(0)?;
        }
        let end = queue.shutdown(Shutdown::Now).map_err(|e| format!("shut down again: {e}"))?;
        if self.plan.how == Shutdown::Drain && end != 0 {
            return Err(format!("{end} messages discarded from a drained queue"));
        }
        match queue.try_get() {
            Err(GetError::Closed) => Ok(()),
            other => Err(format!("a get after the last shutdown: {other:?}")),
        }
    }
}

impl Stage for EndStage {
    fn names(&self) -> Vec<String> {
        vec![self.name.to_string()]
    }

    fn ready(&mut self, lane: &mut Lane) -> Result<(), String> {
        let earlier = self.plan.earlier.map(|earlier| earlier.start(&self.name)).transpose()?;
        for sequence in 0..self.plan.fill {
            let message = message::make(SURVIVOR, sequence as u32, 40);
            self.hands.put(&message)?;
            self.content.push(message);
        }
        if let (Some(earlier), Some(victim)) = (self.plan.earlier, earlier) {
            earlier.die(lane, victim, &self.words)?;
            self.content.extend(earlier.act.batch(EARLIER));
        }
        match self.plan.sleeper {
            Some("get") => lane.peer(0)?.begin(&format!("get {}", &*self.name)),
            Some(_) => {
                let message = message::hex(&message::make(2, 0, 40));
                lane.peer(0)?.begin(&format!("put {} {message}", &*self.name))
            }
            None => Ok(()),
        }
    }

    fn survive(&mut self, lane: &mut Lane, death: &Death) -> Result<Account, String> {
        let start = Instant::now();
        let ended = self.hands.queue.is_shutdown().map_err(|e| format!("is_shutdown: {e}"))?;
        let mut waited = Duration::ZERO;
        if ended {
            waited = self.sent_home(lane, death.when)?;
        } else {
            // Nothing has happened: the queue works, and can be shut down by somebody else.
            if self.plan.sleeper.is_none() {
                let message = message::make(SURVIVOR, 99, 40);
                self.hands.put(&message)?;
                self.content.push(message);
                if self.hands.get()? != self.content.remove(0) {
                    return Err("got another message than the first".into());
                }
            }
            let now = Instant::now();
            let count = self.hands.queue.shutdown(self.plan.how);
            let count = count.map_err(|e| format!("a survivor's shutdown: {e}"))?;
            let expected = if self.plan.how == Shutdown::Now { self.content.len() } else { 0 };
            if count != expected {
                return Err(format!("{count} messages were discarded, expected {expected}"));
            }
            waited = waited.max(self.sent_home(lane, now)?);
        }
        self.closed()?;
        let took = start.elapsed().saturating_sub(waited);
        let state = if ended { State::After } else { State::Before };
        let longest = waited.max(took);
        Ok(Account { state, waited: longest, late: longest > LATE, unmarked: false })
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let plan = |how, fill, maxsize, sleeper| Plan { how, fill, maxsize, sleeper, earlier: None };
    let left = Earlier { scenario: "put", act: Act::Put(40), spot: Spot::Committed };
    let some = 25;
    [
        ("shutdown_drain", 0, plan(Shutdown::Drain, 3, 0, None)),
        ("shutdown_now", 0, plan(Shutdown::Now, 3, 0, None)),
        ("shutdown_drain_sleeping_consumer", some, plan(Shutdown::Drain, 0, 0, Some("get"))),
        ("shutdown_now_sleeping_consumer", some, plan(Shutdown::Now, 0, 0, Some("get"))),
        ("shutdown_drain_sleeping_producer", some, plan(Shutdown::Drain, 3, 3, Some("put"))),
        ("shutdown_now_sleeping_producer", some, plan(Shutdown::Now, 3, 3, Some("put"))),
        (
            "shutdown_drain_uncounted",
            0,
            Plan { earlier: Some(left), ..plan(Shutdown::Drain, 1, 0, None) },
        ),
    ]
    .map(|(name, late, plan)| Scenario {
        name: name.to_owned(),
        course: Course::Through,
        hot: false,
        late,
        victim: Box::new(move |names| play(plan.how, names)),
        stage: Box::new(move |_| Ok(Box::new(EndStage::new(plan)?) as Box<dyn Stage>)),
    })
    .into()
}
