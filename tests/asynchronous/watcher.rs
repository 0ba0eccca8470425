//! The one thread that sleeps for all. In processes of their own, as the tests of this one share theirs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use steadfast::{GetError, Queue, SegmentError, Shutdown};
use tokio::task::JoinSet;

use crate::support::child::{self, Child};
use crate::support::{Name, wait_until};
use crate::{
    SHORT, block_on, numbers, one_thread, several_threads, small, support, watchers, work,
};

/// Child: hundreds of tasks on one queue, one watcher.
pub fn one_watcher(_: &[String]) {
    let (_name, queue) = numbers("one", &small());
    assert_eq!(watchers(), 0, "nobody waits yet");
    several_threads().block_on(async {
        let (mut tasks, waiting) = (JoinSet::new(), &*Box::leak(Box::new(AtomicUsize::new(0))));
        for _ in 0..500 {
            let queue = queue.clone();
            tasks.spawn(async move {
                waiting.fetch_add(1, Ordering::Relaxed);
                queue.get_async().await.unwrap()
            });
        }
        while waiting.load(Ordering::Relaxed) < 500 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        wait_until("the watcher is there", || watchers() > 0);
        let blocked = signals_blocked_by_watchers();
        let has = |signal: i32| blocked.iter().any(|set| set >> (signal - 1) & 1 == 1);
        assert!([libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGCHLD].into_iter().all(has));
        assert!(!has(libc::SIGBUS), "a truncated segment would end the process");
        for number in 0..500 {
            queue.put(&number).unwrap();
            assert_eq!(watchers(), 1);
        }
        let mut sum = 0;
        while let Some(got) = tasks.join_next().await {
            sum += got.unwrap();
        }
        assert_eq!(sum, 499 * 500 / 2);
    });
    child::tell("done");
}

/// What /proc says of the watchers, by this line of their status.
fn of_watchers(line: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
    let value = |status: String| {
        let of = |start: &str| status.lines().find_map(|line| line.strip_prefix(start));
        let watcher = of("Name:\t") == Some("steadfast-watch");
        watcher.then(|| of(line).expect("a value").trim().to_owned())
    };
    tasks.flatten().filter_map(status).filter_map(value).collect()
}

fn signals_blocked_by_watchers() -> Vec<u64> {
    let sets = of_watchers("SigBlk:");
    sets.iter().map(|set| u64::from_str_radix(set, 16).expect("a set")).collect()
}

/// How often the watchers of this process gave up the processor.
fn sleeps_of_watchers() -> u64 {
    let counts = of_watchers("voluntary_ctxt_switches:");
    counts.iter().map(|count| count.parse::<u64>().expect("a number")).sum()
}

/// Tasks on 300 queues, each of which gets its message, twice.
fn tasks_on_300_queues() {
    let queues: Vec<(Name, Queue<u64>)> = (0..300).map(|_| numbers("many", &small())).collect();
    one_thread().block_on(async {
        for round in 0..2 {
            let mut tasks = JoinSet::new();
            for (_, queue) in &queues {
                let queue = queue.clone();
                tasks.spawn(async move { queue.get_async().await.unwrap() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            for (at, (_, queue)) in queues.iter().enumerate().rev() {
                queue.put(&(at as u64 + round)).unwrap();
            }
            let mut sum = 0;
            while let Some(got) = tasks.join_next().await {
                sum += got.unwrap();
            }
            assert_eq!(sum, 299 * 300 / 2 + 300 * round);
        }
    });
}

/// Child: more queues than one watcher can sleep on.
pub fn many_queues(_: &[String]) {
    tasks_on_300_queues();
    // One more than needed, if a place became free just too late.
    assert!((1..=4).contains(&watchers()), "{} watchers", watchers());
    child::tell("done");
}

/// Child: a kernel that cannot sleep on several words.
pub fn without_waitv(_: &[String]) {
    forbid_waitv();
    tasks_on_300_queues();
    // One more than needed, if a place became free just too late.
    assert!((1..=4).contains(&watchers()), "{} watchers", watchers());
    let (_name, queue) = numbers("ended", &small());
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(block_on(queue.get_async()).is_err()));
        queue.shutdown(Shutdown::Now).unwrap();
    });
    child::tell("done");
}

/// Child: the watcher ends when nobody waits, and another one is started for the next.
pub fn comes_and_goes(_: &[String]) {
    let (_name, queue) = numbers("goes", &small());
    for round in 0..2 {
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(block_on(queue.get_async()).unwrap(), round));
            wait_until("the watcher is there", || watchers() == 1);
            queue.put(&round).unwrap();
        });
        wait_until("the watcher is gone", || watchers() == 0);
    }
    // What the watcher knew of does not keep a segment attached.
    let users = Queue::<u64>::open(queue.segment().name()).unwrap();
    drop(users);
    child::tell("done");
}

/// Child: a hundred tasks that wait for messages, and for room in a store.
pub fn rests(_: &[String]) {
    let (_name, queue) = numbers("idle", &small().maxsize(1));
    let (_stored, stored) = work("idle");
    while stored.try_put(&0).is_ok() {}
    let leases: Vec<_> = std::iter::from_fn(|| stored.try_get().ok()).collect();
    several_threads().block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let (queue, stored) = (queue.clone(), stored.clone());
            tasks.spawn(async move { drop(queue.get_async().await) });
            tasks.spawn(async move { drop(stored.put_async(&1).await) });
        }
        tokio::time::sleep(SHORT).await;
        let before = sleeps_of_watchers();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sleeps = sleeps_of_watchers() - before;
        // Ten backstops a second, and a few calls; a busy loop has tens of thousands.
        assert!(sleeps < 3000, "the watcher slept {sleeps} times");
    });
    drop(leases);
    child::tell("done");
}

/// Child: a segment that is truncated ends the wait; those on another queue go on.
pub fn truncated(_: &[String]) {
    steadfast::guard_against_truncation().unwrap();
    let (name, queue) = numbers("truncated", &small());
    let (_other, other) = numbers("whole", &small());
    std::thread::scope(|scope| {
        let cut = scope.spawn(|| block_on(queue.get_async()));
        let whole = scope.spawn(|| block_on(other.get_async()));
        wait_until("the watcher is there", || watchers() > 0);
        let file = std::fs::File::options().write(true).open(name.file()).unwrap();
        file.set_len(0).unwrap();
        let error = cut.join().unwrap().unwrap_err();
        assert!(matches!(error, GetError::Segment(SegmentError::Truncated { .. })), "{error}");
        other.put(&1).unwrap();
        assert_eq!(whole.join().unwrap().unwrap(), 1);
    });
    child::tell("done");
}

/// From now on the system call `futex_waitv` fails in this thread, and in those that it starts, as it
/// does in a kernel that has none.
fn forbid_waitv() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let failing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_futex_waitv as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, failing),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: this option takes four numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0, "no new privileges");
    // SAFETY: the program and its steps live until the kernel has copied them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!(result, 0, "a filter");
}

fn plays(role: &str) {
    let _dog = support::watchdog();
    let mut child = Child::spawn(role, &[]);
    child.expect("done");
    child.finish();
}

#[test]
fn hundreds_of_tasks_have_one_watcher() {
    plays("one_watcher");
}

#[test]
fn more_queues_than_one_watcher_can_have() {
    plays("many_queues");
}

#[test]
fn a_kernel_without_waitv_will_do() {
    plays("without_waitv");
}

#[test]
fn a_watcher_without_work_ends() {
    plays("comes_and_goes");
}

#[test]
fn a_hundred_waiting_tasks_let_the_watcher_sleep() {
    plays("rests");
}

#[test]
fn a_truncated_segment_ends_the_wait() {
    plays("truncated");
}
