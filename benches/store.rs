//! Messages by way of the store, between two processes: leased and acknowledged beside plain; large ones
//! copied, and read in place, beside what copying alone takes.
//!
//! `cargo bench --bench store`, or with `-- --quick`; see docs/performance.md for how to read it.

mod support;

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use criterion::Criterion;
use steadfast::{JoinableQueue, Queue, QueueOptions, Segment, SegmentOptions};

use support::board::Board;
use support::contest::{Contest, Stage, Who};
use support::crew::Sample;
use support::peer::{self, Order, Work};
use support::{Result, segment_name, wrong};

/// Messages of which there is room at a time, where it is little.
const SLOTS: u64 = 4;

fn main() -> Result<()> {
    if peer::is_peer() {
        return peer::serve(Peer::default());
    }
    let stage = RefCell::new(Stage::new(2)?);
    let mut criterion = Criterion::default().configure_from_args();
    contest("lease-64B", 64, &["plain", "leased"]).register(&mut criterion, &stage);
    for (title, len) in
        [("4KiB", 4 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20), ("16MiB", 16 << 20)]
    {
        contest(title, len, &["bare-slots", "copied", "leased", "in-place"])
            .register(&mut criterion, &stage);
    }
    criterion.final_summary();
    Ok(())
}

/// The same messages in several ways.
fn contest(title: &'static str, len: u64, ways: &[&'static str]) -> Contest {
    let mut contest = Contest::new(title);
    for &way in ways {
        let name = segment_name(&format!("{title}-{way}"));
        let names = ["", "-there", "-back"].map(|end| format!("{name}{end}"));
        let orders = move |count: u64, checked: bool| {
            let order = |role: &str| {
                format!(
                    "role={role} way={way} name={name} len={len} count={count} checked={checked}"
                )
            };
            vec![order("get"), order("put")]
        };
        let names = if way == "bare-slots" { &names[..] } else { &names[..1] };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        contest =
            contest.entry(way, (Who::Pair, 1), &names, orders, |_, count, sample: &Sample| {
                let wanted = (0..count).fold(0, u64::wrapping_add);
                if sample.sum == wanted {
                    Ok(())
                } else {
                    wrong("the sum of the messages is wrong")
                }
            });
    }
    contest
}

/// A peer's end.
enum End {
    Plain(Queue),
    Joinable(JoinableQueue),
    /// Slots in a segment, whose numbers go there and back.
    Slots {
        slots: Segment,
        there: Queue,
        back: Queue,
    },
}

impl End {
    /// Opens it, or makes it; it goes away with the last process that has it open.
    fn open(name: &str, way: &str, len: u64) -> Result<End> {
        let gone = SegmentOptions::new().ephemeral(true);
        let options = QueueOptions::new().segment(gone.clone());
        // As small as the bare slots, which fit the caches as far as they do.
        let room = SLOTS * (len + 64) + (len + 64) / 2;
        Ok(match way {
            "plain" => End::Plain(Queue::open_or_create(name, &options)?),
            "copied" => End::Plain(Queue::open_or_create(
                name,
                &options.capacity(4096).large_messages(room),
            )?),
            "bare-slots" => {
                let slots = Segment::open_or_create(name, SLOTS * len, &gone)?;
                let there = Queue::open_or_create(&format!("{name}-there"), &options)?;
                let back = Queue::open_or_create(&format!("{name}-back"), &options)?;
                End::Slots { slots, there, back }
            }
            _ if len < 4096 => End::Joinable(JoinableQueue::open_or_create(name, &options)?),
            _ => End::Joinable(JoinableQueue::open_or_create(name, &options.capacity(room))?),
        })
    }
}

#[derive(Default)]
struct Peer {
    open: HashMap<String, End>,
    sum: u64,
}

impl Work for Peer {
    fn prepare(&mut self, _board: &Board, order: &Order) -> Result<()> {
        let name = order.get("name")?;
        if !self.open.contains_key(name) {
            let end = End::open(name, order.get("way")?, order.number("len")?)?;
            self.open.insert(name.to_owned(), end);
        }
        Ok(())
    }

    fn run(&mut self, _board: &Board, order: &Order) -> Result<Option<Duration>> {
        self.sum = 0;
        match order.get("role")? {
            "put" => self.put(order)?,
            _ => self.get(order)?,
        }
        Ok(None)
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}

impl Peer {
    fn put(&mut self, order: &Order) -> Result<()> {
        let (len, count): (usize, u64) = (order.number("len")?, order.number("count")?);
        let checked: bool = order.number("checked")?;
        let in_place = order.get("way")? == "in-place";
        let Some(end) = self.open.get(order.get("name")?) else { return wrong("not open") };
        let mut item = vec![0; len];
        if let End::Slots { back, .. } = end {
            for slot in 0..SLOTS {
                back.put(&slot.to_le_bytes())?;
            }
        }
        for at in 0..count {
            let words = item.as_chunks_mut::<8>().0;
            words[0] = at.to_le_bytes();
            if checked {
                words.fill(at.to_le_bytes());
            }
            match end {
                End::Plain(queue) => queue.put(&item)?,
                End::Joinable(queue) if in_place => {
                    let mut room = queue.reserve(len)?;
                    room.write_at(0, &item);
                    room.commit()?;
                }
                End::Joinable(queue) => queue.put(&item)?,
                End::Slots { slots, there, back } => {
                    let slot = first_word(&back.get()?)?;
                    slots.write_at(slot * len as u64, &item)?;
                    there.put(&slot.to_le_bytes())?;
                }
            }
        }
        if let End::Slots { back, .. } = end {
            for _ in 0..SLOTS {
                back.get()?;
            }
        }
        Ok(())
    }

    fn get(&mut self, order: &Order) -> Result<()> {
        let (len, count): (usize, u64) = (order.number("len")?, order.number("count")?);
        let checked: bool = order.number("checked")?;
        let in_place = order.get("way")? == "in-place";
        let Some(end) = self.open.get(order.get("name")?) else { return wrong("not open") };
        let (mut bytes, mut sum) = (vec![0; len], 0_u64);
        for at in 0..count {
            match end {
                End::Plain(queue) => {
                    queue.get_into(&mut bytes)?;
                    sum = sum.wrapping_add(look(&bytes, at, checked)?);
                }
                End::Joinable(queue) => {
                    let lease = queue.get()?;
                    if in_place {
                        // SAFETY: both peers are this program, and the producer does not write what it
                        // has put.
                        let bytes = unsafe { lease.as_slice() };
                        sum = sum.wrapping_add(look(bytes, at, checked)?);
                    } else {
                        lease.copy_to(&mut bytes);
                        sum = sum.wrapping_add(look(&bytes, at, checked)?);
                    }
                    lease.ack()?;
                }
                End::Slots { slots, there, back } => {
                    let slot = first_word(&there.get()?)?;
                    slots.read_at(slot * len as u64, &mut bytes)?;
                    sum = sum.wrapping_add(look(&bytes, at, checked)?);
                    back.put(&slot.to_le_bytes())?;
                }
            }
        }
        self.sum = sum;
        Ok(())
    }
}

/// The message's number; reads a word of every cache line.
fn look(message: &[u8], at: u64, checked: bool) -> Result<u64> {
    let words = message.as_chunks::<8>().0;
    let first = first_word(message)?;
    let lines = words.iter().step_by(8).fold(0_u8, |seen, word| seen | word[0]);
    std::hint::black_box(lines);
    if checked && (first != at || words.iter().any(|word| *word != at.to_le_bytes())) {
        return wrong(format!("message {at} is torn or out of order"));
    }
    Ok(first)
}

fn first_word(message: &[u8]) -> Result<u64> {
    match message.first_chunk::<8>() {
        Some(word) => Ok(u64::from_le_bytes(*word)),
        None => wrong("a message below 8 bytes"),
    }
}
