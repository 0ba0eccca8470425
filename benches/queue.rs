//! Queues between processes: one to one, many to many, there and back.
//!
//! `cargo bench --bench queue`, or with `-- --quick`; see docs/performance.md for how to read it.

mod support;

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use criterion::Criterion;
use steadfast::{Batch, Consumer, Producer, Queue, QueueOptions, SegmentOptions};

use support::board::Board;
use support::contest::{Contest, Stage, Who};
use support::crew::{Crew, Sample, bells, bounce};
use support::peer::{self, Order, Work};
use support::{Result, segment_name, wrong};

/// Messages in a batch.
const BATCH: usize = 32;
/// Producers, and as many consumers, in the crowd.
const SIDES: u64 = 4;
/// The pause before each message of a round trip that finds the other asleep.
const GAP: Duration = Duration::from_micros(200);

fn main() -> Result<()> {
    if peer::is_peer() {
        return peer::serve(Peer::default());
    }
    let stage = RefCell::new(Stage::new(2 * SIDES as usize)?);
    let mut criterion = Criterion::default().configure_from_args();
    let contests = [
        one_to_one::<64>("one-to-one-64B"),
        one_to_one::<8>("one-to-one-8B"),
        crowd("4-to-4-64B"),
        there_and_back("round-trip-8B", Duration::ZERO),
        there_and_back("round-trip-8B-sleeping", GAP),
    ];
    for contest in contests {
        contest.register(&mut criterion, &stage);
    }
    criterion.final_summary();
    Ok(())
}

/// One producer, one consumer, for each kind of role and with and without batches.
fn one_to_one<const LEN: usize>(title: &'static str) -> Contest {
    let mut contest = Contest::new(title);
    for (roles, single) in [("many-roles", false), ("single-roles", true)] {
        for (way, batch) in [("one-by-one", 1), ("batches-of-32", BATCH)] {
            let name = segment_name(&format!("{title}-{roles}-{way}"));
            let named = name.clone();
            let orders = move |count: u64, checked: bool| {
                let order = |role: &str| {
                    format!(
                        "role={role} queue={name} single={single} len={LEN} batch={batch} \
                         count={count} checked={checked} mark=0"
                    )
                };
                vec![order("get"), order("put")]
            };
            contest = contest.entry(
                format!("{roles}/{way}"),
                (Who::Pair, BATCH as u64),
                &[&named],
                orders,
                |_, count, sample| all_arrived(count, 1, sample),
            );
        }
    }
    contest
}

/// More processes than processors, on one queue.
fn crowd(title: &'static str) -> Contest {
    let mut contest = Contest::new(title);
    for (way, batch) in [("one-by-one", 1), ("batches-of-32", BATCH)] {
        let name = segment_name(&format!("{title}-{way}"));
        let named = name.clone();
        let orders = move |count: u64, checked: bool| {
            let order = |at: u64| {
                let role = if at.is_multiple_of(2) { "get" } else { "put" };
                let share = count / SIDES;
                let mark = at / 2;
                format!(
                    "role={role} queue={name} single=false len=64 batch={batch} count={share} \
                     checked={checked} mark={mark}"
                )
            };
            (0..2 * SIDES).map(order).collect()
        };
        let steps = (Who::Crowd, SIDES * BATCH as u64);
        contest = contest.entry(way, steps, &[&named], orders, |_, count, sample| {
            all_arrived(count / SIDES, SIDES, sample)
        });
    }
    contest
}

/// Every one of `producers` has put `share` messages, and all of them were got.
fn all_arrived(share: u64, producers: u64, sample: &Sample) -> Result<()> {
    let each = |mark: u64| (0..share).fold(0_u64, |sum, at| sum.wrapping_add(content(mark, at)));
    let wanted = (0..producers).map(each).fold(0, u64::wrapping_add);
    if sample.sum == wanted { Ok(()) } else { wrong("the sum of the messages is wrong") }
}

/// A message there, an answer back: beside what the machine takes for a bare cache line (or, when the
/// other side sleeps, for a bare wake-up in the kernel).
fn there_and_back(title: &'static str, gap: Duration) -> Contest {
    let fine = |_: &mut Crew, _: u64, _: &Sample| Ok(());
    let (contest, steps) = (Contest::new(title), (Who::Pair, 1));
    let mut contest = if gap.is_zero() {
        contest.entry("bare-line", steps, &[], |count, _| bounce(count), fine)
    } else {
        contest.entry("bare-futex", steps, &[], move |count, _| bells(count, gap), fine)
    };
    for (roles, single) in [("many-roles", false), ("single-roles", true)] {
        let [there, back] =
            ["there", "back"].map(|way| segment_name(&format!("{title}-{roles}-{way}")));
        let names = [there.clone(), back.clone()];
        let orders = move |count: u64, _: bool| {
            let order = |role: &str| {
                let gap = gap.as_micros();
                format!(
                    "role={role} there={there} back={back} single={single} count={count} gap={gap}"
                )
            };
            vec![order("ask"), order("answer")]
        };
        let names = [&*names[0], &*names[1]];
        contest = contest.entry(roles, steps, &names, orders, |_, count, sample| {
            // Each answer is the question and one.
            let wanted = (1..=count).fold(0, u64::wrapping_add);
            if sample.sum == wanted { Ok(()) } else { wrong("an answer was wrong") }
        });
    }
    contest
}

/// The first word of message number `at` of a producer.
fn content(mark: u64, at: u64) -> u64 {
    mark << 48 | at
}

/// A peer's ends of a queue.
enum Ends {
    Many(Queue),
    Single { queue: Queue, put: Option<Producer>, get: Option<Consumer> },
}

impl Ends {
    /// Opens the queue, which goes away with the last process that has it open; the first peer that
    /// comes makes it.
    fn open(name: &str, single: bool) -> Result<Ends> {
        let mut options = QueueOptions::new().segment(SegmentOptions::new().ephemeral(true));
        if single {
            options = options.single_producer().single_consumer();
        }
        let queue = Queue::open_or_create(name, &options)?;
        Ok(if single { Ends::Single { queue, put: None, get: None } } else { Ends::Many(queue) })
    }
}

/// Does one of `$many` and `$single` on a queue's end, which is `$end` there.
macro_rules! with_end {
    ($ends:expr, $role:ident, $claim:ident, |$end:ident| $work:expr) => {
        match $ends {
            Ends::Many($end) => $work,
            Ends::Single { queue, $role, .. } => {
                if $role.is_none() {
                    *$role = Some(queue.$claim()?);
                }
                let Some($end) = $role else { return wrong("no role") };
                $work
            }
        }
    };
}

#[derive(Default)]
struct Peer {
    open: HashMap<String, Ends>,
    sum: u64,
}

impl Work for Peer {
    fn prepare(&mut self, _board: &Board, order: &Order) -> Result<()> {
        let single: bool = order.number("single")?;
        for key in ["queue", "there", "back"] {
            let Ok(name) = order.get(key) else { continue };
            if !self.open.contains_key(name) {
                self.open.insert(name.to_owned(), Ends::open(name, single)?);
            }
        }
        // Roles are claimed outside of the time, too.
        match order.get("role")? {
            "put" => with_end!(self.ends(order, "queue")?, put, producer, |_end| ()),
            "get" => with_end!(self.ends(order, "queue")?, get, consumer, |_end| ()),
            "ask" => {
                with_end!(self.ends(order, "there")?, put, producer, |_end| ());
                with_end!(self.ends(order, "back")?, get, consumer, |_end| ());
            }
            _ => {
                with_end!(self.ends(order, "there")?, get, consumer, |_end| ());
                with_end!(self.ends(order, "back")?, put, producer, |_end| ());
            }
        }
        Ok(())
    }

    fn run(&mut self, _board: &Board, order: &Order) -> Result<Option<Duration>> {
        self.sum = 0;
        match (order.get("role")?, order.number("len")) {
            ("put", Ok(8)) => self.put_all::<8>(order)?,
            ("put", Ok(64)) => self.put_all::<64>(order)?,
            ("get", Ok(len)) => self.get_all(order, len)?,
            ("ask", _) => return self.ask(order).map(Some),
            ("answer", _) => self.answer(order)?,
            (other, _) => return wrong(format!("cannot {other}")),
        }
        Ok(None)
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}

impl Peer {
    fn ends(&mut self, order: &Order, key: &str) -> Result<&mut Ends> {
        let name = order.get(key)?;
        self.open.get_mut(name).ok_or_else(|| format!("{name} is not open").into())
    }

    /// The ends themselves, for work too short for a look into the map each time.
    fn take_ends(&mut self, order: &Order, key: &str) -> Result<Ends> {
        let name = order.get(key)?;
        self.open.remove(name).ok_or_else(|| format!("{name} is not open").into())
    }

    fn give_back(&mut self, order: &Order, ends: [(&str, Ends); 2]) -> Result<()> {
        for (key, ends) in ends {
            self.open.insert(order.get(key)?.to_owned(), ends);
        }
        Ok(())
    }

    fn put_all<const LEN: usize>(&mut self, order: &Order) -> Result<()> {
        let (count, batch): (u64, usize) = (order.number("count")?, order.number("batch")?);
        let (mark, checked): (u64, bool) = (order.number("mark")?, order.number("checked")?);
        let mut messages = [[0_u8; LEN]; BATCH];
        let write = move |message: &mut [u8; LEN], at: u64| {
            let words = message.as_chunks_mut::<8>().0;
            words[0] = content(mark, at).to_le_bytes();
            if checked {
                words.fill(content(mark, at).to_le_bytes());
            }
        };
        with_end!(self.ends(order, "queue")?, put, producer, |end| {
            if batch == 1 {
                for at in 0..count {
                    write(&mut messages[0], at);
                    end.put(&messages[0])?;
                }
            } else {
                for start in (0..count).step_by(BATCH) {
                    for (message, at) in messages.iter_mut().zip(start..) {
                        write(message, at);
                    }
                    end.put_many(&messages[..])?;
                }
            }
        });
        Ok(())
    }

    fn get_all(&mut self, order: &Order, len: usize) -> Result<()> {
        let (count, batch): (u64, usize) = (order.number("count")?, order.number("batch")?);
        let mut seen = Seen { len, checked: order.number("checked")?, sum: 0, next: [0; 64] };
        let (mut bytes, mut messages) = (Vec::new(), Batch::new());
        with_end!(self.ends(order, "queue")?, get, consumer, |end| {
            if batch == 1 {
                for _ in 0..count {
                    end.get_into(&mut bytes)?;
                    seen.look(&bytes)?;
                }
            } else {
                let mut left = count;
                while left > 0 {
                    end.get_batch(&mut messages, batch.min(left as usize))?;
                    for message in messages.iter() {
                        seen.look(message)?;
                    }
                    left -= messages.len() as u64;
                }
            }
        });
        self.sum = seen.sum;
        Ok(())
    }

    fn ask(&mut self, order: &Order) -> Result<Duration> {
        let count: u64 = order.number("count")?;
        let gap = Duration::from_micros(order.number("gap")?);
        let (mut there, mut back) =
            (self.take_ends(order, "there")?, self.take_ends(order, "back")?);
        let (mut sum, mut bytes, mut time) = (0_u64, Vec::new(), Duration::ZERO);
        let all = Instant::now();
        for at in 0..count {
            if !gap.is_zero() {
                std::thread::sleep(gap);
            }
            let start = (!gap.is_zero()).then(Instant::now);
            let question = at.to_le_bytes();
            with_end!(&mut there, put, producer, |end| end.put(&question)?);
            with_end!(&mut back, get, consumer, |end| end.get_into(&mut bytes)?);
            time += start.map_or(Duration::ZERO, |start| start.elapsed());
            sum = sum.wrapping_add(first_word(&bytes)?);
        }
        let time = if gap.is_zero() { all.elapsed() } else { time };
        self.sum = sum;
        self.give_back(order, [("there", there), ("back", back)])?;
        Ok(time)
    }

    fn answer(&mut self, order: &Order) -> Result<()> {
        let count: u64 = order.number("count")?;
        let (mut there, mut back) =
            (self.take_ends(order, "there")?, self.take_ends(order, "back")?);
        let mut bytes = Vec::new();
        for _ in 0..count {
            with_end!(&mut there, get, consumer, |end| end.get_into(&mut bytes)?);
            let answer = (first_word(&bytes)? + 1).to_le_bytes();
            with_end!(&mut back, put, producer, |end| end.put(&answer)?);
        }
        self.give_back(order, [("there", there), ("back", back)])
    }
}

/// What a consumer has seen.
struct Seen {
    len: usize,
    checked: bool,
    sum: u64,
    /// The next message of each producer, or one after it.
    next: [u64; 64],
}

impl Seen {
    fn look(&mut self, message: &[u8]) -> Result<()> {
        let word = first_word(message)?;
        self.sum = self.sum.wrapping_add(word);
        if message.len() != self.len {
            return wrong(format!("a message of {} bytes", message.len()));
        }
        if self.checked {
            let (mark, at) = ((word >> 48) as usize, word & ((1 << 48) - 1));
            let whole = message.as_chunks::<8>().0.iter().all(|&part| part == word.to_le_bytes());
            if !whole || at < self.next[mark] {
                return wrong(format!("message {at} of producer {mark} is torn or out of order"));
            }
            self.next[mark] = at + 1;
        }
        Ok(())
    }
}

fn first_word(message: &[u8]) -> Result<u64> {
    match message.first_chunk::<8>() {
        Some(word) => Ok(u64::from_le_bytes(*word)),
        None => wrong("a message below 8 bytes"),
    }
}
