//! The account of one round: what was put, what was received, and whether the difference is one
//! that the contract allows. It knows nothing of processes or of the queue.

use std::collections::HashMap;

/// More complaints than this are only counted.
const COMPLAINTS: usize = 10;

/// Everything known about the messages of one round.
#[derive(Default)]
pub struct Account {
    senders: HashMap<u64, Sender>,
    received: u64,
    killed_in_get: u64,
    allowed: u64,
    duplicates: u64,
    disordered: u64,
    complaints: Vec<String>,
}

/// One producer incarnation.
#[derive(Default)]
struct Sender {
    /// One bit per message that somebody received.
    seen: Vec<u64>,
    /// When it is over: messages whose put returned, and those of the put that was under way.
    end: Option<(u64, u64)>,
}

impl Sender {
    fn is_seen(&self, sequence: u64) -> bool {
        let word = self.seen.get(sequence as usize / 64).copied().unwrap_or(0);
        word >> (sequence % 64) & 1 == 1
    }

    /// Marks a message; true when it was marked before.
    fn mark(&mut self, sequence: u64) -> bool {
        let before = self.is_seen(sequence);
        let index = sequence as usize / 64;
        if self.seen.len() <= index {
            self.seen.resize(index + 1, 0);
        }
        self.seen[index] |= 1 << (sequence % 64);
        before
    }

    /// The first message number that nobody can have received.
    fn bound(&self) -> u64 {
        match self.seen.iter().rposition(|word| *word != 0) {
            Some(index) => (index as u64 + 1) * 64 - u64::from(self.seen[index].leading_zeros()),
            None => 0,
        }
    }

    fn missing(&self, from: u64, to: u64) -> u64 {
        (from..to).filter(|sequence| !self.is_seen(*sequence)).count() as u64
    }
}

/// What one consumer incarnation has received so far.
#[derive(Default)]
pub struct Reader {
    last: HashMap<u64, u64>,
}

/// The outcome of a round.
#[derive(Default, Debug)]
pub struct Outcome {
    pub put: u64,
    pub received: u64,
    pub lost: u64,
    /// Puts under way when their producer was killed: they turned out to be in, or absent.
    pub in_flight_in: u64,
    pub in_flight_absent: u64,
    pub killed_in_get: u64,
    pub allowed: u64,
    pub duplicates: u64,
    pub disordered: u64,
    pub complaints: Vec<String>,
}

impl Account {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(what);
        }
    }

    /// A consumer wrote down that it received this message, or has acknowledged it.
    pub fn done(&mut self, incarnation: u64, sequence: u64) {
        self.received += 1;
        if self.senders.entry(incarnation).or_default().mark(sequence) {
            self.duplicates += 1;
            self.complain(format!("message {sequence} of {incarnation} was received twice"));
        }
    }

    /// The same where a consumer gets each producer's messages in order.
    pub fn receipt(&mut self, reader: &mut Reader, incarnation: u64, sequence: u64) {
        self.done(incarnation, sequence);
        if let Some(last) = reader.last.insert(incarnation, sequence)
            && last >= sequence
        {
            self.disordered += 1;
            self.complain(format!("message {sequence} of {incarnation} came after {last}"));
        }
    }

    /// A producer is gone, killed or finished.
    pub fn producer_ended(&mut self, incarnation: u64, committed: u64, intended: u64) {
        self.senders.entry(incarnation).or_default().end = Some((committed, intended));
    }

    /// A consumer was killed during a get of up to `in_get` messages (0: outside of a get).
    pub fn consumer_killed(&mut self, in_get: u64) {
        self.allowed += in_get;
        self.killed_in_get += u64::from(in_get > 0);
    }

    /// The end of the round: everybody has left and the queue is drained.
    pub fn close(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for (incarnation, sender) in std::mem::take(&mut self.senders) {
            let Some((committed, intended)) = sender.end else {
                self.complain(format!("incarnation {incarnation} never existed"));
                continue;
            };
            if sender.bound() > intended {
                let last = sender.bound() - 1;
                self.complain(format!("message {last} of {incarnation} was never put"));
            }
            outcome.put += committed;
            outcome.lost += sender.missing(0, committed);
            let flying = intended.saturating_sub(committed);
            let absent = sender.missing(committed, intended);
            if flying > 0 && absent == flying {
                outcome.in_flight_absent += 1;
            } else if flying > 0 {
                // the put took effect, so all of its messages count
                outcome.in_flight_in += 1;
                outcome.put += flying;
                outcome.lost += absent;
            }
        }
        if outcome.lost > self.allowed {
            let (lost, allowed) = (outcome.lost, self.allowed);
            self.complain(format!(
                "{lost} messages are lost, and killed consumers can have taken only {allowed}"
            ));
        }
        outcome.received = self.received;
        outcome.killed_in_get = self.killed_in_get;
        outcome.allowed = self.allowed;
        outcome.duplicates = self.duplicates;
        outcome.disordered = self.disordered;
        outcome.complaints = self.complaints;
        outcome
    }
}

/// The account must notice what it is there for, or the storm proves nothing.
pub fn self_check() -> Result<(), String> {
    type Story = fn(&mut Account, &mut Reader);
    let stories: [(&str, bool, Story); 9] = [
        ("a clean round", true, |account, reader| {
            (0..100).for_each(|n| account.receipt(reader, 1, n));
            account.producer_ended(1, 100, 100);
        }),
        ("a put that never took effect", true, |account, reader| {
            (0..100).for_each(|n| account.receipt(reader, 1, n));
            account.producer_ended(1, 100, 116);
        }),
        ("a put that took effect and did not return", true, |account, reader| {
            (0..116).for_each(|n| account.receipt(reader, 1, n));
            account.producer_ended(1, 100, 116);
        }),
        ("a get that died with its consumer", true, |account, reader| {
            (0..96).for_each(|n| account.receipt(reader, 1, n));
            account.consumer_killed(4);
            account.producer_ended(1, 100, 100);
        }),
        ("a duplicate", false, |account, reader| {
            (0..100).for_each(|n| account.receipt(reader, 1, n));
            account.receipt(&mut Reader::default(), 1, 50);
            account.producer_ended(1, 100, 100);
        }),
        ("a wrong order", false, |account, reader| {
            [0, 2, 1].into_iter().for_each(|n| account.receipt(reader, 1, n));
            account.producer_ended(1, 3, 3);
        }),
        ("a loss without a kill", false, |account, reader| {
            (0..99).for_each(|n| account.receipt(reader, 1, n));
            account.producer_ended(1, 100, 100);
        }),
        ("half a batch", false, |account, reader| {
            (0..108).for_each(|n| account.receipt(reader, 1, n));
            account.producer_ended(1, 100, 116);
        }),
        ("a message from nowhere", false, |account, reader| {
            (0..101).for_each(|n| account.receipt(reader, 1, n));
            account.producer_ended(1, 100, 100);
        }),
    ];
    for (name, sound, story) in stories {
        let (mut account, mut reader) = (Account::default(), Reader::default());
        story(&mut account, &mut reader);
        let outcome = account.close();
        if outcome.complaints.is_empty() != sound {
            return Err(format!("{name}: the account said {:?}", outcome.complaints));
        }
    }
    Ok(())
}
