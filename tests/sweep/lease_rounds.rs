//! A commit that comes while somebody looks for the dead: a single producer needs no lock for it, and dies
//! right after it. The survey has seen neither the record, nor an owner that lives.

use std::time::{Duration, Instant};

use steadfast::{GetError, Queue, QueueOptions};

use crate::engine::{Account, Course, Run, Scenario, State, spread};
use crate::hands::Bytes;
use crate::message;
use crate::peer::BOUND;
use crate::ptrace::marker;
use crate::queue_victim::VICTIM;
use crate::support::Name;
use crate::tracee::{Stop, Tracee};

const NAME: &str = "large_commit_in_survey";
/// The role of a victim that puts; the other one surveys.
const PRODUCER: &str = "producer";
/// Longer than a process looks at most once for the dead.
const REST: Duration = Duration::from_millis(20);

fn large() -> Vec<u8> {
    message::make(VICTIM, 0, 1000)
}

fn play(names: &[String]) {
    let queue = Bytes::open(&names[0]).expect("open the queue");
    if names[1] == PRODUCER {
        let mut producer = queue.producer().expect("claim the producer");
        let mut room = producer.reserve(1000).expect("reserve");
        room.write_at(0, &large());
        marker();
        let result = room.commit();
        marker();
        result.expect("commit");
        return;
    }
    std::thread::sleep(REST);
    marker();
    let result = queue.try_get();
    marker();
    assert!(matches!(result, Ok(_) | Err(GetError::Empty)), "try_get: {result:?}");
}

/// Both victims at their first markers.
fn cast(name: &str) -> Result<(Bytes, Tracee, Tracee), String> {
    let options = QueueOptions::new().capacity(4096).large_messages(8192).single_producer();
    let queue = Queue::create(name, &options).map_err(|error| format!("create: {error}"))?;
    let producer = Tracee::start(&["victim", NAME, name, PRODUCER])?;
    let surveyor = Tracee::start(&["victim", NAME, name, "surveyor"])?;
    Ok((queue, producer, surveyor))
}

fn commits(run: Run) -> Result<(), String> {
    let Run { effort, tally, pat, .. } = run;
    let path = {
        let name = Name::new("sweep");
        let (_queue, _producer, mut surveyor) = cast(&name)?;
        surveyor.record(&mut |_| false)?
    };
    tally.instructions = path.steps.len();
    for k in spread((0..path.steps.len()).collect(), effort.points) {
        pat(&k.to_string());
        let name = Name::new("sweep");
        let (queue, mut producer, mut surveyor) = cast(&name)?;
        if surveyor.seek(&path, k)? != Stop::Here {
            tally.astray += 1;
            continue;
        }
        if producer.run(false)? != Stop::Marker {
            return Err("the producer did not commit".into());
        }
        producer.kill()?;
        if surveyor.run(false)? != Stop::Marker {
            return Err("the survey did not end".into());
        }
        match judge(&queue) {
            Ok(account) => tally.count(&account),
            Err(error) => tally.fail(&k.to_string(), &error),
        }
        surveyor.kill()?;
        if tally.failures.len() >= 5 {
            break;
        }
    }
    Ok(())
}

/// The message is there, or the surveyor has taken it; and the store is whole.
fn judge(queue: &Bytes) -> Result<Account, String> {
    let start = Instant::now();
    let state = match queue.try_get() {
        Ok(message) if message == large() => State::After,
        Err(GetError::Empty) => State::Before,
        other => return Err(format!("a survivor's try_get: {other:?}")),
    };
    let mut producer = queue.producer().map_err(|error| format!("claim the producer: {error}"))?;
    let room = producer.reserve_timeout(queue.max_len(), BOUND);
    room.map(drop).map_err(|error| format!("a part of the store is lost: {error}"))?;
    Ok(Account { state, waited: start.elapsed(), late: false, unmarked: false })
}

pub fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: NAME.to_owned(),
        course: Course::Own(Box::new(commits)),
        hot: false,
        late: 0,
        victim: Box::new(play),
        stage: Box::new(|_| Err("this operation has its own rounds".into())),
    }]
}
