//! The child's side: from `init` to the end of its function.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use ipc_channel::IpcError;
use ipc_channel::ipc::{self, IpcSender};

use crate::os::eventfd::EventFd;
use crate::os::pidfd::PidFd;
use crate::os::{environment, exit as end, process, thread};

use super::OrphanPolicy;
use super::current::{self, Me};
use super::exit;
use super::registry::{CallError, Table};
use super::wire::{
    self, BACKSTOP, Bytes, Greeting, Inbox, MARKER, Marker, Piece, Received, Report, Start,
};

/// The exit code of a child whose function panicked, or that could not begin.
const FAILED: i32 = 1;

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Must be called first thing in `main`, by every program that starts a [`Process`](crate::Process).
///
/// In a program that somebody started it returns at once; and when that program ends by itself (`main`
/// returns, or `exit`), daemon children are sent SIGTERM and all children are waited for. A daemon that has
/// not ended 5 s later is killed.
///
/// In a child it does not return: it takes the child's mark out of the environment (so that programs which
/// the child starts are none), meets the parent, runs the function, reports what became of it, and ends the
/// process. What `main` does before that call is done in each child too, so do nothing there, and start no
/// threads.
///
/// A child whose parent is gone before it has begun ends silently.
///
/// A program that has more rights than whoever started it (set-user-ID) takes no orders from the environment:
/// it is nobody's child, and cannot start any.
///
/// For an example see [`Process`](crate::Process).
pub fn init() {
    let marker = environment::take(MARKER);
    if environment::is_untrusted() {
        return; // and `start` says why it does not
    }
    if let Some(marker) = marker {
        be_a_child(&marker);
    }
    if exit::prepare().is_ok() {
        INITIALISED.store(true, Ordering::Release);
    }
}

/// Whether [`init`] was called.
pub(super) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Acquire)
}

/// What the main thread gets to do.
struct Job {
    function: String,
    arguments: Vec<u8>,
    reporter: IpcSender<Piece>,
}

fn be_a_child(marker: &OsStr) -> ! {
    let Some(marker) = Marker::parse(marker) else {
        eprintln!("steadfast: this program was started by one with another version of steadfast");
        end::now(FAILED);
    };
    let _ = process::keep_standard_descriptors_open();
    // It was executed by a path that says nothing.
    if let Ok(program) = std::env::current_exe() {
        thread::set_own_name(program.file_name().unwrap_or_default());
    }
    let (parent, token, server) = (marker.parent, marker.token, marker.server.to_owned());
    let (sender, jobs) = mpsc::channel();
    // Signals are for the main thread.
    let started = thread::spawn_quiet("steadfast-parent", move || {
        let lifeline = Lifeline::to(parent);
        match lifeline.greet(&server, token) {
            Ok((inbox, reporter)) => lifeline.hold(inbox, reporter, &sender),
            Err(error) if !lifeline.parent_is_gone() => {
                eprintln!("steadfast: cannot reach the process that started this one: {error}");
            }
            Err(_) => {}
        }
        remove_leftovers(&server);
    });
    if let Err(error) = started {
        eprintln!("steadfast: cannot start a thread: {error}");
    }
    match jobs.recv() {
        Ok(job) => run(job),
        Err(_) => end::now(FAILED),
    }
}

/// What a parent that was killed leaves of the place where it wanted to meet. Otherwise it is gone already.
fn remove_leftovers(server: &str) {
    let server = Path::new(server);
    if std::fs::remove_file(server).is_ok()
        && let Some(directory) = server.parent()
    {
        let _ = std::fs::remove_dir(directory);
    }
}

/// The bond to the parent: the channel that closes with it; and its pidfd, for a parent of which a bare
/// `fork` made a copy, which keeps the channel open.
struct Lifeline {
    parent_pid: u32,
    /// Nothing, when the parent is in another PID namespace, or another program stands in between.
    parent: Option<PidFd>,
}

impl Lifeline {
    fn to(parent_pid: u32) -> Lifeline {
        let parent = PidFd::open(parent_pid).ok();
        // Asked afterwards: if it is still the parent, the number was not anybody else's.
        let parent = parent.filter(|_| process::parent_id() == parent_pid);
        Lifeline { parent_pid, parent }
    }

    fn parent_is_gone(&self) -> bool {
        match &self.parent {
            Some(parent) => parent.has_ended(),
            None => process::parent_id() != self.parent_pid,
        }
    }

    fn greet(&self, server: &str, token: u64) -> Result<(Inbox<Start>, IpcSender<Piece>), String> {
        let broken = |error: IpcError| error.to_string();
        let failed = |error: std::io::Error| error.to_string();
        let greeter = IpcSender::connect(server.to_owned()).map_err(failed)?;
        let (start, starts) = ipc::channel::<Piece>().map_err(failed)?;
        let (reporter, report) = ipc::channel::<Piece>().map_err(failed)?;
        let build = Table::get().build().clone();
        greeter.send(Greeting::Hello { token, build, start, report }).map_err(broken)?;
        Ok((Inbox::new(starts), reporter))
    }

    /// Passes on what is to be done, and then sees to it that the end of the parent is noticed.
    fn hold(&self, mut inbox: Inbox<Start>, reporter: IpcSender<Piece>, jobs: &mpsc::Sender<Job>) {
        let Some(start) = self.next(&mut inbox) else { return };
        let gone = match EventFd::new() {
            Ok(gone) => gone,
            Err(error) => {
                eprintln!("steadfast: cannot make a descriptor: {error}");
                return;
            }
        };
        let me = current::set(Me {
            name: start.name,
            identity: start.identity,
            daemon: start.daemon,
            orphan_policy: start.orphan_policy,
            parent_name: start.parent_name,
            parent_pid: self.parent_pid,
            gone,
            is_gone: AtomicBool::new(false),
        });
        let Start { function, arguments: Bytes(arguments), .. } = start;
        let _ = jobs.send(Job { function, arguments, reporter });
        while self.next(&mut inbox).is_some() {}
        me.parent_is_gone();
        if me.orphan_policy == OrphanPolicy::Die {
            end::now(FAILED);
        }
    }

    /// The next message; `None` when the parent is gone.
    fn next(&self, inbox: &mut Inbox<Start>) -> Option<Start> {
        loop {
            match inbox.receive(BACKSTOP) {
                Received::Message(start) => return Some(start),
                Received::Nothing if self.parent.as_ref().is_some_and(PidFd::has_ended) => {
                    return None;
                }
                Received::Part | Received::Nothing => {}
                Received::End => return None,
            }
        }
    }
}

/// Where the report goes; one is made, whatever happens.
static REPORTER: Mutex<Option<IpcSender<Piece>>> = Mutex::new(None);

fn report(report: Report) {
    let reporter = REPORTER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(reporter) = reporter else { return };
    let (sender, done) = mpsc::channel::<()>();
    let message = Arc::new((reporter, report));
    let shared = Arc::clone(&message);
    // A parent that does not read is waited for, but not one that is gone, of which a copy may keep the
    // channel open: so this thread keeps an eye on that.
    let started = thread::spawn_quiet("steadfast-report", move || {
        let _ = wire::send(&shared.0, &shared.1);
        drop(sender);
    });
    if started.is_err() {
        // There are too many threads.
        let _ = wire::send(&message.0, &message.1);
    }
    while done.recv_timeout(BACKSTOP) == Err(mpsc::RecvTimeoutError::Timeout) {
        if current::parent_process().is_none_or(|parent| !parent.is_alive()) {
            break;
        }
    }
}

thread_local! {
    /// What the hook saw last on this thread: message and location.
    static LAST_PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a value that is no text".to_owned())
}

fn note_panic(info: &PanicHookInfo<'_>) {
    let message = message_of(info.payload());
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    if cfg!(panic = "abort") {
        // There will be no other occasion.
        report(Report::Panicked { message, location: Some(location) });
    } else {
        let _ = LAST_PANIC.try_with(|last| last.replace(Some((message, location))));
    }
}

fn run(job: Job) -> ! {
    INITIALISED.store(exit::prepare().is_ok(), Ordering::Release);
    *REPORTER.lock().unwrap_or_else(PoisonError::into_inner) = Some(job.reporter);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info); // which prints it
        note_panic(info);
    }));

    let Some(function) = Table::get().find(&job.function) else {
        // The tables are the same; so it is there.
        report(Report::Arguments(format!("find the function {}", job.function)));
        std::process::exit(FAILED);
    };
    let called = catch_unwind(AssertUnwindSafe(|| function.call(&job.arguments)));
    let (outcome, code) = match called {
        Ok(Ok(bytes)) => (Report::Value(Bytes(bytes)), 0),
        Ok(Err(CallError::Arguments(what))) => (Report::Arguments(what), FAILED),
        Ok(Err(CallError::Result(what))) => (Report::Unwritable(what), FAILED),
        Err(payload) => {
            let message = message_of(&*payload);
            // Its drop could panic as well.
            std::mem::forget(payload);
            let last = LAST_PANIC.take();
            // Of this panic, unless the hook was replaced or the panic resumed.
            let location = last.filter(|(said, _)| *said == message).map(|(_, location)| location);
            (Report::Panicked { message, location }, FAILED)
        }
    };
    report(outcome);
    std::process::exit(code);
}
