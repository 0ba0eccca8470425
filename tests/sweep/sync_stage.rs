//! The scene of every operation of the sync family: who else is there, what the victim had when it died, and how
//! long the survivors took.

use std::time::{Duration, Instant};

use crate::engine::{Account, Course, Death, Lane, Scenario, Stage, State};
use crate::peer::BOUND;
use crate::support::Name;
use crate::sync_peer::beside_a_thread;
use crate::sync_world::{Setup, World, create, open};
use crate::tracee::Tracee;
use crate::words::{FOREIGN, OWNER_DIED, TID_MASK, Words};

/// What finds a dead thread at once is not late before this; other sleepers have a backstop of 100 ms.
pub const SOON: Duration = Duration::from_millis(5);
pub const BACKSTOP: Duration = Duration::from_millis(60);

/// Live processes by number: the first ones sleep.
pub const HOLDER: usize = 2;
pub const GUEST: usize = 3;

/// Who dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// A process.
    Process,
    /// A process with a PID namespace of its own.
    Foreigner,
    /// A thread, whose process lives.
    Thread,
}

/// How it is swept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Always at every instruction.
    Hot,
    /// At every instruction, in a full sweep.
    Each,
    /// Up to its sleep, in it, and after it was woken.
    Waits,
}

type Wake = fn(&mut Scene, &mut Lane) -> Result<(), String>;
type Watch = fn(&World) -> Result<bool, String>;
type Judge = fn(&mut Scene, &mut Lane, &Death) -> Result<State, String>;

/// One operation in one state.
#[derive(Clone, Copy)]
pub struct Plan {
    /// What the victim does, with a marker before and after the operation.
    pub play: fn(&World),
    /// The survivors go on.
    pub judge: Judge,
    pub setup: Setup,
    pub who: Who,
    pub how: How,
    /// What live processes sleep in from before the operation.
    pub asleep: &'static [&'static str],
    /// What a live process has until the victim sleeps.
    pub held: Option<&'static str>,
    /// What live processes go to sleep in after the victim.
    pub behind: &'static [&'static str],
    /// Wakes the victim, unless it is the holder who does.
    pub wake: Option<Wake>,
    /// The operation whose victim died earlier, before its first instruction.
    pub earlier: Option<&'static str>,
    /// A look at the world while the victim is in the middle of it: it must be well, and says whether the value is new.
    pub watch: Option<Watch>,
    /// The most points, in per cent, after which a survivor may have to look for itself, and what is late.
    pub late: (usize, Duration),
}

impl Plan {
    pub const fn new(play: fn(&World), judge: Judge) -> Plan {
        Plan {
            play,
            judge,
            setup: Setup::USUAL,
            who: Who::Process,
            how: How::Each,
            asleep: &[],
            held: None,
            behind: &[],
            wake: None,
            earlier: None,
            watch: None,
            late: (0, BACKSTOP),
        }
    }

    pub const fn hot(mut self) -> Plan {
        self.how = How::Hot;
        self
    }

    pub const fn of(mut self, who: Who) -> Plan {
        self.who = who;
        self
    }

    pub const fn asleep(mut self, verbs: &'static [&'static str]) -> Plan {
        self.asleep = verbs;
        self
    }

    pub const fn permits(mut self, permits: u32) -> Plan {
        self.setup.permits = permits;
        self
    }

    pub const fn parties(mut self, parties: u32) -> Plan {
        self.setup.parties = parties;
        self
    }

    pub const fn after(mut self, earlier: &'static str) -> Plan {
        self.earlier = Some(earlier);
        self
    }

    pub const fn late(mut self, late: usize) -> Plan {
        self.late.0 = late;
        self
    }

    pub const fn soon(mut self) -> Plan {
        self.late.1 = SOON;
        self
    }

    /// The victim waits for what a live process has.
    pub const fn held(mut self, verb: &'static str) -> Plan {
        self.how = How::Waits;
        self.held = Some(verb);
        self
    }

    /// The victim waits for somebody to do this.
    pub const fn woken(mut self, wake: Wake) -> Plan {
        self.how = How::Waits;
        self.wake = Some(wake);
        self
    }

    pub const fn behind(mut self, verbs: &'static [&'static str]) -> Plan {
        self.behind = verbs;
        self
    }

    pub const fn watched(mut self, watch: Watch) -> Plan {
        self.watch = Some(watch);
        self
    }

    pub fn scenario(self, name: &str) -> Scenario {
        let course = if self.how == How::Waits { Course::Waits } else { Course::Through };
        Scenario {
            name: name.to_owned(),
            course,
            hot: self.how == How::Hot,
            late: self.late.0,
            victim: Box::new(move |names| {
                let world = open(&names[0]).expect("open the world");
                match self.who {
                    Who::Thread => beside_a_thread(world, self.play),
                    _ => (self.play)(&world),
                }
            }),
            stage: Box::new(move |_| Ok(Box::new(Scene::new(self)?) as Box<dyn Stage>)),
        }
    }
}

/// A world, and everybody in it.
pub struct Scene {
    pub plan: Plan,
    name: Name,
    pub world: World,
    words: Words,
    first: u64,
    /// All words from the first part on, when the victim was about to die.
    seen: Vec<u64>,
    /// Where those were that it owned.
    pub owned: Vec<u64>,
    /// What [`Plan::watch`] said then.
    pub saw_new: bool,
    /// The holder still has it.
    held: bool,
    /// The victim was woken.
    pub woken: bool,
    /// What live processes sleep in, by their number.
    pub asleep: Vec<&'static str>,
    /// Which of them has answered already.
    early: Option<(usize, String)>,
    /// The longest that anybody had to wait.
    pub waited: Duration,
}

impl Scene {
    pub fn new(plan: Plan) -> Result<Scene, String> {
        let name = Name::new("sweep");
        let world = create(&name, plan.setup)?;
        let words = Words::of(&name)?;
        let first = words.first_part()?;
        Ok(Scene {
            plan,
            name,
            world,
            words,
            first,
            seen: Vec::new(),
            owned: Vec::new(),
            saw_new: false,
            held: false,
            woken: false,
            asleep: Vec::new(),
            early: None,
            waited: Duration::ZERO,
        })
    }

    /// The word at `offset` when the victim was about to die.
    pub fn saw(&self, offset: u64) -> u64 {
        self.seen.get((offset / 8) as usize).copied().unwrap_or(0)
    }

    /// The word at `offset` now.
    pub fn word(&self, offset: u64) -> Result<u64, String> {
        self.words.at(self.first + offset)
    }

    /// Whether the victim owned the word at `offset`.
    pub fn owns(&self, offset: u64) -> bool {
        self.owned.contains(&offset)
    }

    /// Where the seat is that it owned, if there is one in this row.
    pub fn seat(&self, mut row: impl FnMut(u64) -> bool) -> Option<u64> {
        self.owned.iter().copied().find(|&at| row(at))
    }

    /// Tells live process `n` something, and takes its line.
    pub fn ask(&self, lane: &mut Lane, n: usize, verb: &str) -> Result<String, String> {
        lane.peer(n)?.ask(&format!("{verb} {}", &*self.name))
    }

    /// Another live process goes to sleep.
    pub fn send_to_sleep(&mut self, lane: &mut Lane, verb: &'static str) -> Result<(), String> {
        lane.peer(self.asleep.len())?.begin(&format!("sync {verb} {}", &*self.name))?;
        self.asleep.push(verb);
        Ok(())
    }

    /// Live process `n` does something that should not take long: its answer is to be asked for.
    pub fn send(&self, lane: &mut Lane, n: usize, verb: &str) -> Result<(), String> {
        lane.peer(n)?.send(&format!("sync {verb} {}", &*self.name))
    }

    /// Live process `n` gets something, and keeps it until [`Scene::give_back`].
    pub fn hold(&self, lane: &mut Lane, n: usize, verb: &str) -> Result<(), String> {
        match self.ask(lane, n, &format!("hold {verb}"))?.as_str() {
            "held" => Ok(()),
            other => Err(format!("the holder failed: {other}")),
        }
    }

    pub fn give_back(lane: &mut Lane, n: usize) -> Result<(), String> {
        match lane.peer(n)?.ask("")?.as_str() {
            "released" => Ok(()),
            other => Err(format!("the holder failed: {other}")),
        }
    }

    /// What live process `n` says, at the latest after the bound; it could have known `since`.
    pub fn answer(&mut self, lane: &mut Lane, n: usize, since: Instant) -> Result<String, String> {
        let line = lane.peer(n)?.answer(BOUND)?;
        self.heard(&line, since)?;
        Ok(line)
    }

    fn heard(&mut self, line: &str, since: Instant) -> Result<(), String> {
        self.waited = self.waited.max(since.elapsed());
        match line.strip_prefix("error ") {
            Some(error) => Err(format!("a live process failed: {error}")),
            None => Ok(()),
        }
    }

    /// Whether one of those who slept has answered. The answer is the next one of [`Scene::first_answer`].
    pub fn has_answer(&mut self, lane: &mut Lane, since: Instant) -> Result<bool, String> {
        for n in 0..self.asleep.len() {
            if self.early.is_some() {
                break;
            }
            if let Some(line) = lane.peer(n)?.answer_now()? {
                self.heard(&line, since)?;
                self.early = Some((n, line));
            }
        }
        Ok(self.early.is_some())
    }

    /// The first answer of all who slept, and who gave it; the others may sleep on.
    pub fn first_answer(
        &mut self,
        lane: &mut Lane,
        since: Instant,
    ) -> Result<(usize, String), String> {
        let start = Instant::now();
        while start.elapsed() < BOUND {
            self.has_answer(lane, since)?;
            if let Some(answer) = self.early.take() {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        Err("no live sleeper woke up".into())
    }

    /// What all who slept say.
    pub fn answers(&mut self, lane: &mut Lane, since: Instant) -> Result<Vec<String>, String> {
        (0..self.asleep.len()).map(|n| self.answer(lane, n, since)).collect()
    }

    /// Runs an operation of a survivor, which does not take long.
    pub fn timed<T>(&mut self, operation: impl FnOnce(&World) -> T) -> T {
        let start = Instant::now();
        let result = operation(&self.world);
        self.waited = self.waited.max(start.elapsed());
        result
    }

    /// If it is a thread that died: what another one of its process says to `verb`.
    pub fn keeper(&mut self, lane: &mut Lane, verb: &str) -> Result<Option<String>, String> {
        let Some(keeper) = &mut lane.keeper else { return Ok(None) };
        let start = Instant::now();
        let line = keeper.ask(verb)?;
        self.heard(&line, start)?;
        Ok(Some(line))
    }

    /// Whether the kernel has marked all that the victim owned, unless somebody may have it already.
    fn marked(&self) -> Result<bool, String> {
        if self.plan.who == Who::Foreigner || !self.asleep.is_empty() {
            return Ok(true);
        }
        for &at in &self.owned {
            if self.word(at)? as u32 & OWNER_DIED == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Stage for Scene {
    fn names(&self) -> Vec<String> {
        vec![self.name.to_string()]
    }

    fn foreign(&self) -> bool {
        self.plan.who == Who::Foreigner
    }

    fn thread(&self) -> bool {
        self.plan.who == Who::Thread
    }

    fn ready(&mut self, lane: &mut Lane) -> Result<(), String> {
        if let Some(verb) = self.plan.held {
            self.hold(lane, HOLDER, verb)?;
            self.held = true;
        }
        let earlier = self.plan.earlier;
        let earlier = earlier.map(|earlier| Tracee::start(&["victim", earlier, &self.name]));
        for verb in self.plan.asleep {
            self.send_to_sleep(lane, verb)?;
        }
        // Last, as those who sleep look for the dead after a backstop.
        earlier.map_or(Ok(()), |earlier| earlier?.kill())
    }

    fn wake(&mut self, lane: &mut Lane) -> Result<(), String> {
        for verb in self.plan.behind {
            self.send_to_sleep(lane, verb)?;
        }
        self.woken = true;
        if self.held {
            self.held = false;
            return Scene::give_back(lane, HOLDER);
        }
        match self.plan.wake {
            Some(wake) => wake(self, lane),
            None => Err("the victim sleeps where nobody expected it".into()),
        }
    }

    fn dying(&mut self, pid: i32) -> Result<(), String> {
        let seen = self.words.all(self.first)?;
        let foreign = self.foreign();
        let mine = |word: u64| {
            let low = word as u32;
            if foreign { low & FOREIGN != 0 } else { low & TID_MASK == pid.cast_unsigned() }
        };
        // Every lock word is at the beginning of a line.
        let lines = seen.iter().step_by(8).enumerate();
        self.owned =
            lines.filter(|(_, word)| mine(**word)).map(|(line, _)| line as u64 * 64).collect();
        self.seen = seen;
        if let Some(watch) = self.plan.watch {
            self.saw_new = watch(&self.world)?;
        }
        Ok(())
    }

    fn survive(&mut self, lane: &mut Lane, death: &Death) -> Result<Account, String> {
        let marked = self.marked()?;
        if self.held {
            self.held = false;
            Scene::give_back(lane, HOLDER)?;
        }
        let state = (self.plan.judge)(self, lane, death)?;
        let late = self.waited > self.plan.late.1;
        Ok(Account { state, waited: self.waited, late, unmarked: !marked })
    }
}

/// `After` if it is so.
pub fn after(it: bool) -> State {
    if it { State::After } else { State::Before }
}
