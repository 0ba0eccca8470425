//! Queues between processes: waking, ordering, nothing lost and nothing twice.

use std::collections::HashMap;

use steadfast::{GetError, Queue, QueueOptions};

use crate::support::child::{self, Child};
use crate::support::{Name, proc, watchdog, watchdog_after};
use crate::{LONG, bytes, bytes_with, small};

fn open(name: &str) -> Queue {
    Queue::open(name).expect("the parent has made it")
}

/// Child: gets until an empty message, and tells each `producer number` it got.
pub fn get(arguments: &[String]) {
    let queue = open(&arguments[0]);
    let mut got = String::new();
    let mut batch = steadfast::Batch::new();
    let by_many = arguments[1] == "many";
    loop {
        let messages = if by_many {
            queue.get_batch(&mut batch, 13).unwrap();
            batch.iter().map(<[u8]>::to_vec).collect()
        } else {
            vec![queue.get().unwrap()]
        };
        for (at, message) in messages.iter().enumerate() {
            if message.is_empty() {
                // What came behind the end mark belongs to the other consumers.
                queue.put_many(&messages[at + 1..]).unwrap();
                child::tell(&got);
                return;
            }
            got.push_str(std::str::from_utf8(message).unwrap().trim_end());
            got.push(',');
        }
    }
}

/// Child: gets one message and tells it.
pub fn get_one(arguments: &[String]) {
    let queue = open(&arguments[0]);
    child::tell(proc::tid());
    child::tell(format!("{:?}", queue.get().unwrap()));
}

/// Child: puts one message.
pub fn put_one(arguments: &[String]) {
    let queue = open(&arguments[0]);
    child::tell(proc::tid());
    queue.put(arguments[1].as_bytes()).unwrap();
    child::tell("done");
}

/// The text of a producer's message; the length varies so that all sizes mix.
fn text(producer: &str, number: u32) -> String {
    let padding = (number as usize * 37) % 150;
    format!("{producer} {number}{:padding$}", "")
}

/// Child: puts `count` numbered messages.
pub fn put(arguments: &[String]) {
    let queue = open(&arguments[0]);
    let count: u32 = arguments[2].parse().unwrap();
    for number in 0..count {
        queue.put(text(&arguments[1], number).as_bytes()).unwrap();
    }
}

/// Child: the same in batches.
pub fn put_many(arguments: &[String]) {
    let queue = open(&arguments[0]);
    let count: u32 = arguments[2].parse().unwrap();
    let numbers: Vec<u32> = (0..count).collect();
    for batch in numbers.chunks(6) {
        let batch: Vec<Vec<u8>> =
            batch.iter().map(|&number| text(&arguments[1], number).into_bytes()).collect();
        queue.put_many(&batch).unwrap();
    }
}

/// Child: puts two messages and ends as it was told to.
pub fn put_then_end(arguments: &[String]) {
    let queue = open(&arguments[0]);
    queue.put(b"first").unwrap();
    queue.put_many(&[*b"second", *b"third!"]).unwrap();
    match arguments[1].as_str() {
        "return" => {}
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        _ => {
            child::tell("put");
            child::hear();
        }
    }
}

/// Child: everything works although descriptor 0 is closed.
pub fn without_stdin(arguments: &[String]) {
    // SAFETY: descriptor 0 is this process's stdin, which nothing uses from here on.
    unsafe { libc::close(0) };
    let made = Queue::<[u8]>::create(&arguments[1], &small()).unwrap();
    let opened = open(&arguments[0]);
    made.put(b"made").unwrap();
    opened.put(b"opened").unwrap();
    assert_eq!(made.get().unwrap(), b"made");
    let again = open(&arguments[1]);
    drop(made);
    again.put(b"again").unwrap();
    assert_eq!(again.get().unwrap(), b"again");
}

#[test]
fn a_blocked_get_is_woken_by_a_put_of_another_process() {
    let _dog = watchdog();
    let (name, queue) = bytes("wake");
    for _ in 0..5 {
        let mut getter = Child::spawn("get_one", &[&name]);
        let tid = getter.hear().parse().unwrap();
        proc::wait_until_asleep(getter.pid(), tid);
        assert!(getter.is_silent());
        queue.put(b"\x07").unwrap();
        getter.expect("[7]");
        getter.finish();
    }
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_blocked_put_is_woken_by_a_get_of_another_process() {
    let _dog = watchdog();
    let (name, queue) = bytes_with("wake", &small().maxsize(1));
    for _ in 0..5 {
        queue.put(b"first").unwrap();
        let mut putter = Child::spawn("put_one", &[&name, "second"]);
        let tid = putter.hear().parse().unwrap();
        proc::wait_until_asleep(putter.pid(), tid);
        assert!(putter.is_silent());
        assert_eq!(queue.get().unwrap(), b"first");
        putter.expect("done");
        assert_eq!(queue.get().unwrap(), b"second");
        putter.finish();
    }
}

#[test]
fn a_put_blocked_by_bytes_is_woken_too() {
    let _dog = watchdog();
    let (name, queue) = bytes("wake");
    let filler = vec![1; queue.capacity() / 8];
    let mut put = 0;
    while queue.try_put(&filler).is_ok() {
        put += 1;
    }
    let message = "x".repeat(filler.len());
    let mut putter = Child::spawn("put_one", &[&name, &message]);
    let tid = putter.hear().parse().unwrap();
    proc::wait_until_asleep(putter.pid(), tid);
    for _ in 0..put {
        assert_eq!(queue.get().unwrap(), filler);
    }
    putter.expect("done");
    assert_eq!(queue.get_timeout(LONG).unwrap(), message.as_bytes());
}

#[test]
fn one_batch_wakes_as_many_sleepers_as_it_has_messages() {
    let _dog = watchdog();
    let (name, queue) = bytes("wake");
    let mut getters: Vec<Child> = (0..3).map(|_| Child::spawn("get_one", &[&name])).collect();
    for getter in &mut getters {
        let tid = getter.hear().parse().unwrap();
        proc::wait_until_asleep(getter.pid(), tid);
    }
    queue.put_many(&[[1], [2], [3]]).unwrap();
    let mut got: Vec<String> = getters.iter_mut().map(Child::hear).collect();
    got.sort();
    assert_eq!(got, ["[1]", "[2]", "[3]"]);
}

#[test]
fn a_sleeper_that_is_killed_takes_nothing_and_holds_nobody_up() {
    let _dog = watchdog();
    let (name, queue) = bytes("killed");
    for n in 0..10_u8 {
        let mut sleepers: Vec<Child> = (0..2).map(|_| Child::spawn("get_one", &[&name])).collect();
        for sleeper in &mut sleepers {
            let tid = sleeper.hear().parse().unwrap();
            proc::wait_until_asleep(sleeper.pid(), tid);
        }
        let mut survivor = sleepers.pop().unwrap();
        sleepers.pop().unwrap().kill();
        queue.put(&[n]).unwrap();
        survivor.expect(&format!("[{n}]"));
        survivor.finish();
        assert!(queue.is_empty().unwrap());
    }
}

#[test]
fn what_was_put_stays_however_its_process_ends() {
    let _dog = watchdog();
    for end in ["return", "exit", "abort", "killed"] {
        let (name, queue) = bytes(end);
        let mut child = Child::spawn("put_then_end", &[&name, end]);
        if end == "killed" {
            child.expect("put");
            child.kill();
        } else {
            // With unread items in the queue: nothing waits for a reader at exit.
            child.wait();
        }
        assert_eq!(queue.qsize().unwrap(), 3, "{end}");
        for wanted in [&b"first"[..], b"second", b"third!"] {
            assert_eq!(queue.try_get().unwrap(), wanted, "{end}");
        }
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        queue.put(b"and on").unwrap();
        assert_eq!(queue.try_get().unwrap(), b"and on");
    }
}

#[test]
fn a_process_without_stdin_uses_queues_like_any_other() {
    let _dog = watchdog();
    let (name, queue) = bytes("stdin");
    let own = Name::new("stdin");
    Child::spawn("without_stdin", &[&name, &own]).finish();
    assert_eq!(queue.get().unwrap(), b"opened");
    assert!(Queue::<[u8]>::open(&own).unwrap().is_empty().unwrap());
}

/// Many producers and consumers; every message exactly once, and each
/// consumer sees each producer's messages in order.
fn multiset(tag: &str, options: &QueueOptions) {
    const COUNT: u32 = 2500;
    let _dog = watchdog_after(3 * crate::support::LIMIT);
    let (name, queue) = bytes_with(tag, options);
    let mut consumers: Vec<Child> =
        ["one", "many", "one"].map(|how| Child::spawn("get", &[&name, how])).into();
    let count = COUNT.to_string();
    let roles = ["put", "put_many", "put", "put_many"];
    let producers: Vec<Child> = roles
        .iter()
        .enumerate()
        .map(|(n, role)| Child::spawn(role, &[&name, &n.to_string(), &count]))
        .collect();
    for producer in producers {
        producer.finish();
    }
    for _ in &consumers {
        queue.put(b"").unwrap();
    }
    let mut seen: HashMap<(u32, u32), u32> = HashMap::new();
    for consumer in &mut consumers {
        let told = consumer.hear();
        let mut last: HashMap<u32, u32> = HashMap::new();
        for item in told.split_terminator(',') {
            let (producer, number) = item.split_once(' ').expect("two numbers");
            let (producer, number) = (producer.parse().unwrap(), number.parse().unwrap());
            *seen.entry((producer, number)).or_default() += 1;
            let before = last.insert(producer, number);
            assert!(before < Some(number), "{producer}: {number} after {before:?}");
        }
    }
    for producer in 0..roles.len() as u32 {
        for number in 0..COUNT {
            assert_eq!(seen.remove(&(producer, number)), Some(1), "{producer} {number}");
        }
    }
    assert!(seen.is_empty(), "never put: {seen:?}");
    assert!(queue.is_empty().unwrap());
}

#[test]
fn many_processes_many_messages_each_exactly_once() {
    multiset("multiset", &small().capacity(1 << 16));
}

#[test]
fn many_processes_in_a_small_ring_each_exactly_once() {
    multiset("multiset", &small());
}

#[test]
fn many_processes_with_a_small_maxsize_each_exactly_once() {
    multiset("multiset", &small().maxsize(6));
}
