//! Bare forks of a process that has children.

use steadfast::{Process, ProcessError, StartError, active_children};

use crate::support::proc::{Fork, in_fork};
use crate::work;

pub fn forked_handles() {
    let process = Process::new(work::sleep_long, ()).start().expect("a process");
    for how in [Fork::Libc, Fork::Raw] {
        let unstarted = Process::new(work::nothing, ());
        let code = in_fork(how, || {
            assert!(matches!(process.join(), Err(ProcessError::Forked { .. })));
            assert!(matches!(process.kill(), Err(ProcessError::Forked { .. })));
            assert!(matches!(process.terminate(), Err(ProcessError::Forked { .. })));
            assert!(!process.is_alive());
            assert_eq!(process.exit_status(), None);
            assert!(active_children().is_empty());
            assert!(matches!(unstarted.start(), Err(StartError::Forked { .. })));
            0
        });
        assert_eq!(code, 0, "{how:?}");
        assert!(process.is_alive());
    }
    process.kill().expect("killed");
    process.join().expect("joined");
}

pub fn a_forked_process_starts_its_own() {
    let process = Process::new(work::sleep_long, ()).start().expect("a process");
    let code = in_fork(Fork::Libc, || {
        let own = Process::new(work::square, (4,)).start().expect("a process");
        assert_eq!(active_children().len(), 1);
        own.result().expect("a result") as i32
    });
    assert_eq!(code, 16);
    assert_eq!(active_children().len(), 1);
    process.kill().expect("killed");
    process.join().expect("joined");
}
