//! Exhaustive model checking of the protocol with loom: `make test-loom`.
//!
//! Each model explores every schedule with as many preemptions as its bound says, for 30 seconds at most, and says
//! whether that was all. `LLMRL_LOOM_PREEMPTIONS=3` replaces the bounds and `LLMRL_LOOM_SECONDS` the time.
#![cfg(loom)]

mod protocol;
use protocol::scenarios::*;

fn check(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    let bound = std::env::var("LLMRL_LOOM_PREEMPTIONS").map_or(preemptions, |text| {
        text.parse().expect("LLMRL_LOOM_PREEMPTIONS is a number")
    });
    let seconds = std::env::var("LLMRL_LOOM_SECONDS").map_or(30, |text| {
        text.parse().expect("LLMRL_LOOM_SECONDS is a number")
    });
    model.preemption_bound = Some(bound);
    model.max_duration = Some(std::time::Duration::from_secs(seconds));
    model.max_branches = 100_000;
    model.log = false;
    let start = std::time::Instant::now();
    let schedules = std::sync::atomic::AtomicUsize::new(0);
    let schedules: &'static _ = Box::leak(Box::new(schedules));
    model.check(move || {
        schedules.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        scenario();
    });
    let ended = match start.elapsed().as_secs() < seconds {
        true => "all",
        false => "as many as the time allows",
    };
    eprintln!("{schedules:?} schedules with up to {bound} preemptions: {ended}");
}

macro_rules! models {
    ($($name:ident: $preemptions:expr => $scenario:expr;)*) => {
        $(#[test] fn $name() { check($preemptions, || $scenario); })*
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
    taker_against_ticket_1: 3 => taker_against_ticket(1, 0);
    taker_against_ticket_2: 2 => taker_against_ticket(2, 1);
    nobody_passes_1: 3 => nobody_passes(1);
    nobody_passes_empty_1: 3 => nobody_passes_while_the_queue_empties(1);
    cancel_against_grant_1: 3 => cancel_against_grant(1);
    head_leaves_1: 3 => head_leaves(1);
    only_slot_comes_free_0: 3 => the_only_slot_comes_free();
    taker_stalls_1: 3 => taker_stalls_across_a_grant(1);
    taker_stalls_2: 2 => taker_stalls_across_a_grant(2);
    pause_against_taker_1: 8 => pause_against_taker(1);
    pause_against_taker_2: 4 => pause_against_taker(2);
    pause_against_queue_1: 3 => pause_against_queue(1);
    charge_against_queue_1: 3 => charge_against_queue(1);
    resize_1: 3 => resize_under_a_waiter(1);
    close_1: 4 => close_under_a_waiter(1);
    laps_1: 2 => laps(1);
    head_expires_0: 3 => head_expires(0);
    head_expires_1: 2 => head_expires(1);
    half_a_charge_2: 3 => half_a_charge();
    bucket_pauses_1: 8 => bucket_pauses();
    rollback: 3 => rollback_mints_nothing();
    two_helpers_1: 3 => two_helpers(1);
    one_waiter_and_the_clock: 3 => waiters_and_the_clock(1, 1);
}

// Three threads.
models! {
    two_takers_and_a_waiter_1: 2 => two_takers_and_a_waiter(1);
    head_leaves_as_it_is_granted_1: 2 => head_leaves_as_it_is_granted(1);
    refunds_without_their_charges_1: 2 => refunds_without_their_charges();
    a_thread_inherits_the_slot_0: 2 => a_thread_inherits_the_slot();
    head_expires_on_the_only_slot_0: 2 => head_expires_on_the_only_slot();
    two_waiters_and_the_clock: 2 => waiters_and_the_clock(1, 2);
}
