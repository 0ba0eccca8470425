//! Processes: behaviour by behaviour as the reference has it, and deaths at every stage.
//!
//! The tests run under a harness of their own (`tests/support/harness.rs`), as `main` must begin with
//! `steadfast::init()`.

#[path = "../support/mod.rs"]
mod support;

mod basics;
mod calls;
mod children;
mod deaths;
mod ends;
mod handshake;
mod orphans;
mod parents;
mod status;
mod work;

use std::process::ExitCode;

use support::harness::{self, Test};

/// The harness notices what it is there for.
mod noticed {
    use super::harness::run;

    pub fn panics_and_files() {
        assert!(run("planted_panic").expect_err("it panics").contains("planted"));
        assert!(run("planted_file").expect_err("it leaves a file").contains("left behind"));
        assert_eq!(run("planted_nothing"), Ok(()));
    }
}

/// `tests!(module: name, name)` lists the tests of a module by their names.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),+),+]
    };
}

const TESTS: &[Test] = tests! {
    basics: before_the_start, a_result_comes_back, many_arguments, a_value_that_runs, started_twice,
        closed, names_of_nested_processes, current_and_parent, what_is_not_registered,
        arguments_that_cannot_be_written, a_result_that_cannot_be_written, large_values,
        standard_input_is_at_its_end, the_mark_is_gone, arguments_of_the_program, descriptors_do_not_pile_up,
        threads_of_a_child, recursion, a_name_for_people, dropped_handles;
    status: exit_codes, signals, panics, a_panic_hook_of_ones_own, output_is_flushed, status_taken_by_others,
        ignored_child_signals;
    children: active_children_reaps, a_hundred_processes, started_from_many_threads, waiting_on_many,
        joined_by_many_threads, no_zombie_without_a_join, time_limits, signals_do_not_cut_short,
        signals_do_not_cut_large_messages;
    handshake: init_is_forgotten, another_program, a_program_that_never_calls_init, a_program_that_is_not_there,
        long_temporary_directory, missing_temporary_directory, another_build, another_language,
        a_program_that_was_removed, a_foreign_mark, closed_standard_descriptors, init_twice,
        more_rights_than_whoever_started_it, too_few_descriptors, a_private_place_to_meet;
    deaths: before_the_handshake, at_the_handshake, while_decoding, while_running, while_encoding,
        killed_at_random, a_stopped_child_is_not_dead, a_child_that_forked;
    ends: daemons_are_terminated_and_others_joined, by_exit_and_by_panic, a_stubborn_daemon, daemon_rules,
        nothing_starts_at_the_end, a_forked_copy_leaves_them_alone, a_child_waits_for_its_children,
        grandchildren_are_not_touched;
    orphans: each_policy, waits_for_its_own_children, a_stopped_parent_is_not_dead, a_copy_of_the_parent,
        a_large_result_for_a_copy_of_the_parent, before_they_met,
        killed_parents_at_random, an_aborted_parent, a_parent_that_executes;
    calls: of_a_child, of_a_parent;
    noticed: panics_and_files;
    parents: forked_handles, a_forked_process_starts_its_own;
};

const ROLES: &[Test] = &[
    ("before_init", handshake::before_init),
    ("forgetful", handshake::forgetful),
    ("greets", handshake::greets),
    ("starts_one", handshake::starts_one),
    ("with_few_descriptors", handshake::with_few_descriptors),
    ("without_descriptors", handshake::without_descriptors),
    ("parent", orphans::parent),
    ("waiting_parent", orphans::waiting_parent),
    ("busy_parent", orphans::busy_parent),
    ("ending", ends::ending),
    ("panicking", status::panicking),
    ("planted_panic", || panic!("planted")),
    ("planted_file", || std::fs::write(std::env::temp_dir().join("planted"), "").expect("written")),
    ("planted_nothing", || {}),
    ("flushing", status::flushing),
];

fn main() -> ExitCode {
    // These are what a program does that uses the library wrongly, or is no program that uses it.
    match harness::role().as_deref() {
        Some("before_init" | "forgetful" | "greets" | "without_descriptors") => {}
        _ => steadfast::init(),
    }
    harness::main(TESTS, ROLES)
}
