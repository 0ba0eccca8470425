//! There and back between two processes: a task that awaits beside a thread that blocks.
//!
//! `cargo bench --bench asynchronous --features tokio`; see docs/performance.md for how to read it.

mod support;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use criterion::Criterion;
use steadfast::{Queue, QueueOptions, SegmentOptions};
use tokio::runtime::{Builder, Runtime};

use support::board::Board;
use support::contest::{Contest, Stage, Who};
use support::crew::{Crew, Sample, bells};
use support::peer::{self, Order, Work};
use support::{Result, segment_name, wrong};

/// The pause before each message, so that the other side sleeps.
const GAP: Duration = Duration::from_micros(200);

fn main() -> Result<()> {
    if peer::is_peer() {
        return peer::serve(Peer::default());
    }
    let stage = RefCell::new(Stage::new(2)?);
    let mut criterion = Criterion::default().configure_from_args();
    there_and_back("async-round-trip-8B", Duration::ZERO).register(&mut criterion, &stage);
    there_and_back("async-round-trip-8B-sleeping", GAP).register(&mut criterion, &stage);
    criterion.final_summary();
    Ok(())
}

/// A question and its answer: a bare wake-up in the kernel, two threads that block, two tasks that await.
fn there_and_back(title: &'static str, gap: Duration) -> Contest {
    let fine = |_: &mut Crew, _: u64, _: &Sample| Ok(());
    let mut contest = Contest::new(title).entry(
        "bare-futex",
        (Who::Pair, 1),
        &[],
        move |count, _| bells(count, gap),
        fine,
    );
    for way in ["blocking", "async"] {
        let [there, back] =
            ["there", "back"].map(|end| segment_name(&format!("{title}-{way}-{end}")));
        let names = [there.clone(), back.clone()];
        let orders = move |count: u64, _: bool| {
            let gap = gap.as_micros();
            let order = |role: &str| {
                format!("role={role} way={way} there={there} back={back} count={count} gap={gap}")
            };
            vec![order("ask"), order("answer")]
        };
        let names = [&*names[0], &*names[1]];
        contest = contest.entry(way, (Who::Pair, 1), &names, orders, |_, count, sample| {
            // Each answer is the question and one.
            let wanted = (1..=count).fold(0, u64::wrapping_add);
            if sample.sum == wanted { Ok(()) } else { wrong("an answer was wrong") }
        });
    }
    contest
}

/// The queues of one way, and the runtime.
struct Ends {
    name: String,
    there: Queue<u64>,
    back: Queue<u64>,
}

#[derive(Default)]
struct Peer {
    open: Vec<Ends>,
    runtime: Option<Runtime>,
    sum: u64,
}

impl Work for Peer {
    fn prepare(&mut self, _board: &Board, order: &Order) -> Result<()> {
        if self.runtime.is_none() {
            self.runtime = Some(Builder::new_current_thread().build()?);
        }
        let (there, back) = (order.get("there")?, order.get("back")?);
        if !self.open.iter().any(|ends| ends.name == there) {
            // They go away with the last process that has them open.
            let options = QueueOptions::new().segment(SegmentOptions::new().ephemeral(true));
            let name = there.to_owned();
            let there = Queue::open_or_create(there, &options)?;
            let back = Queue::open_or_create(back, &options)?;
            self.open.push(Ends { name, there, back });
        }
        Ok(())
    }

    fn run(&mut self, _board: &Board, order: &Order) -> Result<Option<Duration>> {
        let name = order.get("there")?;
        let count: u64 = order.number("count")?;
        let gap = Duration::from_micros(order.number("gap")?);
        let Some(Ends { there, back, .. }) = self.open.iter().find(|ends| ends.name == name) else {
            return wrong("not open");
        };
        let Some(runtime) = &self.runtime else { return wrong("no runtime") };
        self.sum = 0;
        match (order.get("role")?, order.get("way")?) {
            ("ask", "blocking") => {
                let mut time = Duration::ZERO;
                for at in 0..count {
                    pause(gap);
                    let start = Instant::now();
                    there.put(&at)?;
                    self.sum = self.sum.wrapping_add(back.get()?);
                    time += start.elapsed();
                }
                return Ok(Some(time));
            }
            ("ask", _) => {
                let (time, sum) = runtime.block_on(ask(there, back, count, gap))?;
                self.sum = sum;
                return Ok(Some(time));
            }
            (_, "blocking") => {
                for _ in 0..count {
                    back.put(&(there.get()? + 1))?;
                }
            }
            _ => runtime.block_on(answer(there, back, count))?,
        }
        Ok(None)
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}

fn pause(gap: Duration) {
    if !gap.is_zero() {
        std::thread::sleep(gap);
    }
}

async fn ask(
    there: &Queue<u64>,
    back: &Queue<u64>,
    count: u64,
    gap: Duration,
) -> Result<(Duration, u64)> {
    let (mut time, mut sum) = (Duration::ZERO, 0_u64);
    for at in 0..count {
        pause(gap);
        let start = Instant::now();
        there.put_async(&at).await?;
        sum = sum.wrapping_add(back.get_async().await?);
        time += start.elapsed();
    }
    Ok((time, sum))
}

async fn answer(there: &Queue<u64>, back: &Queue<u64>, count: u64) -> Result<()> {
    for _ in 0..count {
        back.put_async(&(there.get_async().await? + 1)).await?;
    }
    Ok(())
}
