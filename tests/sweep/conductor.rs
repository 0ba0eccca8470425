//! Starts one stepper process per operation, as many at a time as there are CPUs, and gathers what
//! they found.

use std::collections::VecDeque;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{self, Course, Effort, Point, Scenario};
use crate::options::{Options, Size};
use crate::ptrace;
use crate::tally;
use crate::tracee::STEPS;

/// A point that takes longer than this hangs.
const STUCK: Duration = Duration::from_secs(20);

/// Operations on all segments there are: their names begin so, and they have a `/dev/shm` of their own.
const ALONE: &str = "clean";

/// What one stepper said.
struct Said {
    name: String,
    row: Option<Vec<String>>,
    failures: Vec<String>,
}

/// Sweeps what was asked for.
pub fn run(scenarios: &[Scenario], options: &Options) -> ExitCode {
    let mut wanted: Vec<&Scenario> = scenarios.iter().filter(|s| options.wants(&s.name)).collect();
    if let Some(unknown) = options.only.iter().find(|o| !scenarios.iter().any(|s| s.name == **o)) {
        eprintln!("sweep: no such operation: {unknown} (see --list)");
        return ExitCode::from(2);
    }
    if options.list {
        for scenario in &wanted {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    if options.size == Size::Glance {
        wanted.retain(|scenario| scenario.hot && matches!(scenario.course, Course::Through));
        println!("sweep: a glance only, as this build is not optimised; all of it with --release");
    }
    let named = wanted.len();
    let foreign = |scenario: &&Scenario| scenario.name.contains("foreign");
    if wanted.iter().any(foreign) && ptrace::in_new_namespace(|| Ok(())).is_err() {
        wanted.retain(|scenario| !foreign(scenario));
        println!("sweep: some operations need the right to make a PID namespace, and are left out");
    }
    let alone = |scenario: &&Scenario| scenario.name.starts_with(ALONE);
    if wanted.iter().any(alone) && !can_be_alone() {
        wanted.retain(|scenario| !alone(scenario));
        println!("sweep: some operations need the right to mount, and are left out");
    }
    let ignored = named - wanted.len();
    println!("\nrunning {} operations", wanted.len());
    let start = Instant::now();
    let all = gather(&wanted, options);
    finish(&all, ignored, options, start)
}

/// Whether a process of ours may have a `/dev/shm` of its own. Asked in a thread, which takes it along.
fn can_be_alone() -> bool {
    std::thread::spawn(ptrace::own_shared_memory).join().is_ok_and(|made| made.is_ok())
}

fn gather(wanted: &[&Scenario], options: &Options) -> Vec<Said> {
    let waiting: Mutex<VecDeque<&Scenario>> = Mutex::new(wanted.iter().copied().collect());
    let done = Mutex::new(Vec::new());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
    std::thread::scope(|scope| {
        for cpu in 0..cpus {
            let (waiting, done) = (&waiting, &done);
            scope.spawn(move || {
                loop {
                    let next = waiting.lock().expect("no panic under this lock").pop_front();
                    let Some(scenario) = next else { break };
                    let said = send(scenario, cpu, options);
                    let verdict = if said.failures.is_empty() { "ok" } else { "FAILED" };
                    println!("test {} ... {verdict}", said.name);
                    done.lock().expect("no panic under this lock").push(said);
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic under this lock");
    done.sort_by_key(|said| wanted.iter().position(|scenario| scenario.name == said.name));
    done
}

/// Starts the stepper of one operation and waits for its lines.
fn send(scenario: &Scenario, cpu: usize, options: &Options) -> Said {
    let mut said = Said { name: scenario.name.clone(), row: None, failures: Vec::new() };
    let points = options.points(scenario.hot).to_string();
    let point = options.point.map_or("-".to_owned(), |point| point.to_string());
    let cpu = cpu.to_string();
    let output = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .args(["stepper", &scenario.name, &cpu, &points, &point])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
    });
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            said.failures.push(format!("start a stepper: {error}"));
            return said;
        }
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split('\t').map(str::to_owned);
        match words.next().as_deref() {
            Some("row") => said.row = Some(words.collect()),
            Some("fail") => said.failures.push(words.collect::<Vec<_>>().join(": ")),
            _ => said.failures.push(format!("its stepper said {line:?}")),
        }
    }
    if !output.status.success() && said.failures.is_empty() {
        said.failures.push(format!("its stepper ended: {}", output.status));
    }
    said
}

fn finish(all: &[Said], ignored: usize, options: &Options, start: Instant) -> ExitCode {
    let rows: Vec<Vec<String>> = all.iter().filter_map(|said| said.row.clone()).collect();
    println!("\n{}", tally::aligned(&rows));
    if let Some(path) = &options.markdown
        && let Err(error) = std::fs::write(path, tally::markdown(&rows))
    {
        eprintln!("sweep: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    let failed = all.iter().filter(|said| !said.failures.is_empty()).count();
    if failed > 0 {
        println!("failures:");
        for said in all {
            for failure in &said.failures {
                println!("    {}, point {failure}", said.name);
            }
        }
        println!();
    }
    let passed = all.len() - failed;
    let seconds = start.elapsed().as_secs_f64();
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; \
         0 filtered out; finished in {seconds:.2}s\n"
    );
    let good = if options.expect_failure { failed > 0 } else { failed == 0 };
    if options.expect_failure {
        let verdict = if good { "was found, as it should be" } else { "was NOT found" };
        println!("sweep: the planted fault {verdict}");
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A stepper: sweeps one operation and prints what it found, as [`tally::Tally::lines`].
pub fn stepper(scenarios: &[Scenario], arguments: &[String]) -> ExitCode {
    let [name, cpu, points, point] = arguments else { return ExitCode::from(2) };
    let Some(scenario) = scenarios.iter().find(|scenario| scenario.name == *name) else {
        return ExitCode::from(2);
    };
    // Without either the sweep is only slower.
    let _ = cpu.parse().map(ptrace::pin);
    ptrace::fix_addresses();
    if name.starts_with(ALONE)
        && let Err(error) = ptrace::own_shared_memory()
    {
        println!("fail\tall\ta /dev/shm of its own: {error}");
        return ExitCode::FAILURE;
    }
    // Of an earlier process with our number, which was killed.
    remove_segments();
    let effort = Effort { points: points.parse().unwrap_or(0), only: Point::parse(point) };

    static PATTED: AtomicU64 = AtomicU64::new(0);
    let current = std::sync::Arc::new(Mutex::new(String::new()));
    let (seen, title) = (current.clone(), name.clone());
    std::thread::spawn(move || {
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < STUCK {
            std::thread::sleep(STUCK / 20);
            let now = PATTED.load(Ordering::Relaxed) + STEPS.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        let point = seen.lock().map(|point| point.clone()).unwrap_or_default();
        println!("fail\t{point}\tthe survivors of {title} hang here");
        remove_segments();
        std::process::exit(1);
    });
    let tally = engine::sweep(scenario, effort, &|point| {
        PATTED.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut current) = current.lock() {
            point.clone_into(&mut current);
        }
    });
    print!("{}", tally.lines());
    ExitCode::SUCCESS
}

/// Removes whatever is named after this process.
fn remove_segments() {
    let ours = format!("test-{}-", std::process::id());
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let file = entry.file_name();
        let name = file.to_str().and_then(|file| file.strip_prefix("steadfast."));
        if name.is_some_and(|name| name.starts_with(&ours)) {
            // Best effort: it may be gone already.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
