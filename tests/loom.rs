//! Exhaustive model checking of the protocol with loom: `make test-loom`.
//!
//! There are two kinds of models. In some, two threads try with *no bound* on preemptions what a step of the queue and
//! another step or operation can do to each other. These are in `src/limiter/step_models`, because steps are no part of
//! the interface, and below where it says `ALL`. The others are whole stories, several operations long, with a *bound*.
//!
//! | with no bound: a step, or an operation | against each of |
//! | --- | --- |
//! | a helper's: telling the head its time, Waiting to Granting, the gate's decision, finishing a grant (pay, tell, vacate the place, move the head), passing who has left, finding the queue empty | a helper's same step, polling, leaving, the fast path, joining, a slot or tokens that come back, a charge, pausing, retuning (also to less than the head costs), fewer slots, closing, the clock |
//! | a helper's: expiring the head, finding that it fits no more, skipping it, telling it | a helper's same step, polling¹, leaving, the fast path, joining; a slot that comes back and closing, or another retune |
//! | a helper's: paying at two buckets | a helper's, tokens that come back, a charge |
//! | a helper's: passing the first of two | a helper's, the second one's leaving |
//! | a helper's: freeing the only slot and the only place | a helper's, claiming them |
//! | falling asleep; arming for an event loop | telling a grant, an end, an earlier time; closing |
//! | the fast path (charge, commit, rollback), with one bucket and with two | itself, joining, release, refund, charge, pausing, retuning, fewer slots, closing, the clock |
//! | joining (claim, place, announcement) | itself, release, refund, charge, pausing, retuning, fewer slots, closing, the clock |
//! | polling, and leaving, while the head is short | joining, a slot or tokens that come back, a charge, pausing, retuning, fewer slots, closing, the clock |
//! | a charge, a refund, a slot that comes back | each other, joining, the fast path, pausing, retuning, fewer slots, closing, the clock |
//! | publishing a line; charging and refunding an account | reading it (`limit::published`, `limit::account`) |
//!
//! ¹ Not where the head was about to be granted: there the owner's leaving has no bound, and its polling has one.
//!
//! Only with a bound: two operations, both of which grant or pass tickets, as wholes (with no bound each step of the
//! one is tried against the other, but not several steps of both in turn); more than two threads; windows. Tickets that
//! wrap around (`Lost`) are left to shuttle.
//!
//! Each model below explores every schedule, or every one with as many preemptions as its bound says, for 30 seconds at
//! most, and says on standard error how far it came. `LLMRL_LOOM_PREEMPTIONS=3` replaces the bounds (`all` is none) and
//! `LLMRL_LOOM_SECONDS` the time.
//!
//! "All" are those that loom tells apart. It leaves some out: where a thread loads a word and then changes it, it may
//! not try the change before another thread's load (<https://github.com/tokio-rs/loom/issues/166>). shuttle does not
//! reason about schedules, and so leaves none out; the mutants show that what matters is found by one of the two.
#![cfg(loom)]

mod protocol;
use llmrl::Limit;
use protocol::scenarios::*;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// No bound on preemptions.
const ALL: usize = usize::MAX;

fn check(name: &str, preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    let bound = match std::env::var("LLMRL_LOOM_PREEMPTIONS").as_deref() {
        Ok("all") => ALL,
        Ok(text) => text
            .parse()
            .expect("LLMRL_LOOM_PREEMPTIONS is a number or `all`"),
        Err(_) => preemptions,
    };
    let seconds = std::env::var("LLMRL_LOOM_SECONDS").map_or(30, |text| {
        text.parse().expect("LLMRL_LOOM_SECONDS is a number")
    });
    let time = Duration::from_secs(seconds);
    model.preemption_bound = (bound < ALL).then_some(bound);
    model.max_duration = Some(time);
    model.max_branches = 100_000;
    model.log = false;
    let start = Instant::now();
    let schedules: &'static _ = Box::leak(Box::new(AtomicUsize::new(0)));
    model.check(move || {
        schedules.fetch_add(1, Relaxed);
        scenario();
    });
    let bound = match bound {
        ALL => String::new(),
        bound => format!(" with up to {bound} preemptions"),
    };
    let schedules = schedules.load(Relaxed);
    let all = match start.elapsed() < time {
        true => format!("all schedules{bound}: {schedules}"),
        false => format!("not all schedules{bound}: {schedules} in {seconds} s"),
    };
    // Not eprintln, which shows nothing of a test that passes.
    let _ = writeln!(std::io::stderr(), "{name}: {all}");
}

macro_rules! models {
    ($($name:ident: $preemptions:expr => $scenario:expr;)*) => {
        $(#[test] fn $name() { check(stringify!($name), $preemptions, || $scenario); })*
    };
}

// Two threads.
models! {
    release_of_a_slot: 4 => release_is_the_only_source(0);
    release_of_a_slot_1: 4 => release_is_the_only_source(1);
    release_of_a_slot_2: 3 => release_is_the_only_source(2);
    event_loop_0: 3 => event_loop_is_called(0);
    event_loop_1: 3 => event_loop_is_called(1);
    refund_1: 4 => refund_is_the_only_source(1);
    refund_2: 3 => refund_is_the_only_source(2);
    two_takers_1: ALL => two_takers(1, 0);
    two_takers_1_and_a_slot: ALL => two_takers(1, 1);
    two_takers_2_and_a_slot: ALL => two_takers(2, 1);
    taker_against_ticket_1: 3 => taker_against_ticket(1, 0);
    taker_against_ticket_2: 2 => taker_against_ticket(2, 1);
    nobody_passes_1: 3 => nobody_passes(1);
    nobody_passes_empty_1: 3 => nobody_passes_while_the_queue_empties(1);
    cancel_against_grant_1: 3 => cancel_against_grant(1);
    head_leaves_1: 3 => head_leaves(1);
    only_slot_comes_free_0: 3 => the_only_slot_comes_free();
    counted_has_its_turn_0: 2 => who_is_counted_has_its_turn();
    taker_stalls_1: 3 => taker_stalls_across_a_grant(1);
    taker_stalls_2: 2 => taker_stalls_across_a_grant(2);
    pause_against_taker_1: ALL => pause_against_taker(1);
    pause_against_taker_2: ALL => pause_against_taker(2);
    pause_against_queue_1: 3 => pause_against_queue(1);
    charge_against_queue_1: 3 => charge_against_queue(1);
    resize_1: 3 => resize_under_a_waiter(1);
    close_1: ALL => close_under_a_waiter(1);
    laps_1: 2 => laps(1);
    head_expires_0: 3 => head_expires(0);
    head_expires_1: 2 => head_expires(1);
    half_a_charge_2: 3 => half_a_charge();
    bucket_pauses_1: ALL => bucket_pauses();
    rollback: ALL => rollback_mints_nothing();
    two_helpers_1: 3 => two_helpers(1);
    one_waiter_and_the_clock: ALL => waiters_and_the_clock(1, 1);
}

// Windows; two threads.
models! {
    a_fixed_window_turns: 1 => a_window_turns(second(Limit::fixed_window, 1));
    a_log_turns: 1 => a_window_turns(second(Limit::sliding_window_log, 1));
    a_rollback_meets_a_turn_fixed: 2 => a_rollback_meets_a_turn(second(Limit::fixed_window, 2));
    a_refund_meets_a_grant_fixed: 2 => a_refund_meets_a_grant(second(Limit::fixed_window, 1));
    a_refund_meets_a_grant_log: 1 => a_refund_meets_a_grant(second(Limit::sliding_window_log, 1));
    a_refund_within_a_log: 2 => a_refund_within_the_window(second(Limit::sliding_window_log, 1));
    a_refund_from_before_the_line_0: ALL => a_refund_from_before_the_line();
}

// Two nodes of a router; two threads, and three.
models! {
    a_routed_event_loop_0: 3 => a_routed_event_loop_is_called(0);
    a_routed_event_loop_1: 3 => a_routed_event_loop_is_called(1);
    two_nodes_grant_0: 2 => two_nodes_grant(0);
    two_nodes_grant_1: 2 => two_nodes_grant(1);
    a_ticket_leaves_as_two_nodes_grant_0: 2 => a_ticket_leaves_as_two_nodes_grant(0);
    a_ticket_leaves_as_two_nodes_grant_1: 1 => a_ticket_leaves_as_two_nodes_grant(1);
}

// Fair shares: under one lock, but sleepers are called.
models! {
    keys_share_a_slot_2: 2 => keys_share_a_slot(2);
    a_slot_comes_from_outside_0: 1 => a_slot_comes_from_outside();
}

// Buckets by key; two threads.
models! {
    two_first_takers: ALL => first_takers(2);
    a_bucket_gives_way_0: ALL => a_bucket_gives_way();
    gives_way_and_comes_back_0: ALL => a_key_comes_back();
    gives_way_after_a_refund_0: ALL => a_refund_makes_way();
    out_of_a_shared_bucket_0: ALL => out_of_a_shared_bucket();
    buckets_are_renewed_0: ALL => buckets_are_renewed();
}

// Three threads.
models! {
    two_takers_and_a_waiter_1: 2 => two_takers_and_a_waiter(1);
    head_leaves_as_it_is_granted_1: 2 => head_leaves_as_it_is_granted(1);
    refunds_without_their_charges_1: 2 => refunds_without_their_charges();
    a_thread_inherits_the_slot_0: 2 => a_thread_inherits_the_slot();
    head_expires_on_the_only_slot_0: 2 => head_expires_on_the_only_slot();
    three_first_takers_of_two: 3 => first_takers_of_two();
    three_first_takers: 3 => first_takers(3);
    two_waiters_and_the_clock: 2 => waiters_and_the_clock(1, 2);
}
