//! Randomised model checking of the protocol with shuttle: `make test-shuttle`.
//!
//! More threads and longer schedules than loom can exhaust, by random choice and by PCT (which finds a bug of depth
//! d with a known probability). `LLMRL_SHUTTLE_SCHEDULES` is the number of schedules per test, 2000 by default.
#![cfg(shuttle)]

mod protocol;
use llmrl::Limit;
use protocol::scenarios::*;
use protocol::storm::storm;
use shuttle::scheduler::{PctScheduler, RandomScheduler};

fn schedules() -> usize {
    std::env::var("LLMRL_SHUTTLE_SCHEDULES").map_or(2_000, |text| {
        text.parse().expect("LLMRL_SHUTTLE_SCHEDULES is a number")
    })
}

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    let random = RandomScheduler::new(schedules());
    shuttle::Runner::new(random, config.clone()).run(scenario);
    // One long stall, and a few.
    for depth in [2, 4] {
        let pct = PctScheduler::new(depth, schedules());
        shuttle::Runner::new(pct, config.clone()).run(scenario);
    }
}

macro_rules! models {
    ($($name:ident => $scenario:expr;)*) => {
        $(#[test] fn $name() { check(|| $scenario); })*
    };
}

models! {
    release_of_a_slot => release_is_the_only_source(2);
    keys_come_and_go_2 => keys_come_and_go(2, 0);
    keys_share_and_part_2 => keys_come_and_go(2, 1);
    refund => refund_is_the_only_source(3);
    two_takers_3 => two_takers(3, 1);
    taker_against_ticket_2 => taker_against_ticket(2, 1);
    nobody_passes_2 => nobody_passes(2);
    nobody_passes_empty_2 => nobody_passes_while_the_queue_empties(2);
    event_loop => event_loop_is_called(2);
    gate_of_another_lap_16 => tickets_go_round(16);
    gate_of_another_lap_64 => tickets_go_round(64);
    tag_of_another_lap_16 => tickets_go_round(17);
    tag_of_another_lap_64 => tickets_go_round(65);
    empty_of_another_round_16 => empty_of_another_round(16);
    empty_of_another_round_128 => empty_of_another_round(128);
    cancel_against_grant_2 => cancel_against_grant(2);
    head_leaves_2 => head_leaves(2);
    only_slot_comes_free_0 => the_only_slot_comes_free();
    counted_has_its_turn_0 => who_is_counted_has_its_turn();
    head_leaves_as_it_is_granted_2 => head_leaves_as_it_is_granted(2);
    taker_stalls_3 => taker_stalls_across_a_grant(3);
    two_takers_and_a_waiter_2 => two_takers_and_a_waiter(2);
    three_waiters_and_the_clock => waiters_and_the_clock(2, 3);
    pause_against_taker_2 => pause_against_taker(2);
    pause_against_queue_2 => pause_against_queue(2);
    charge_against_queue_2 => charge_against_queue(2);
    resize_2 => resize_under_a_waiter(2);
    close_2 => close_under_a_waiter(2);
    laps_many => laps(40);
    head_expires_1 => head_expires(1);
    half_a_charge_2 => half_a_charge();
    head_expires_on_the_only_slot_0 => head_expires_on_the_only_slot();
    bucket_pauses_1 => bucket_pauses();
    refunds_without_their_charges_1 => refunds_without_their_charges();
    a_thread_inherits_the_slot_0 => a_thread_inherits_the_slot();
    rollback => rollback_mints_nothing();
    a_routed_event_loop_1 => a_routed_event_loop_is_called(1);
    two_nodes_grant_0 => two_nodes_grant(0);
    two_nodes_grant_1 => two_nodes_grant(1);
    a_ticket_leaves_as_two_nodes_grant_1 => a_ticket_leaves_as_two_nodes_grant(1);
    keys_share_a_slot_3 => keys_share_a_slot(3);
    a_fair_ticket_leaves_0 => a_fair_ticket_leaves();
    a_slot_comes_from_outside_0 => a_slot_comes_from_outside();
    a_fair_deadline_passes_0 => a_fair_deadline_passes();
    two_helpers_3 => two_helpers(3);
    a_fixed_window_turns => a_window_turns(second(Limit::fixed_window, 1));
    a_log_turns => a_window_turns(second(Limit::sliding_window_log, 1));
    a_rollback_meets_a_turn_fixed => a_rollback_meets_a_turn(second(Limit::fixed_window, 2));
    a_rollback_meets_a_turn_log => a_rollback_meets_a_turn(second(Limit::sliding_window_log, 2));
    a_refund_meets_a_grant_fixed => a_refund_meets_a_grant(second(Limit::fixed_window, 1));
    a_refund_meets_a_grant_log => a_refund_meets_a_grant(second(Limit::sliding_window_log, 1));
    three_first_takers_of_two => first_takers_of_two();
    first_takers_4 => first_takers(4);
    a_bucket_gives_way_0 => a_bucket_gives_way();
    gives_way_and_comes_back_0 => a_key_comes_back();
    gives_way_after_a_refund_0 => a_refund_makes_way();
    out_of_a_shared_bucket_0 => out_of_a_shared_bucket();
    buckets_are_renewed_0 => buckets_are_renewed();
    many_keys_3 => many_keys(3, 4);
    storm_over_fixed_windows => a_storm_over_windows(second(Limit::fixed_window, 3), 3);
    storm_over_a_log => a_storm_over_windows(second(Limit::sliding_window_log, 3).resolution(1), 3);
    storm_of_three => storm(3, 1, 2, 0, 3);
    storm_of_four => storm(4, 2, 3, 2, 4);
    storm_on_one_slot => storm(4, 1, 2, 1, 4);
    storm_in_a_short_queue => storm(4, 1, 2, 1, 5);
}
