//! The library against an exact reference, over random histories on a clock driven by hand.
#![cfg(not(any(loom, shuttle)))]

mod bounds;
mod bucket;
mod buckets;
mod disagreement;
mod limiter;
#[path = "../reference/mod.rs"]
mod reference;
mod refunds;

use proptest::test_runner::Config;

/// `PROPTEST_CASES` sets another number of histories than `cases`.
fn config(cases: u32) -> Config {
    let from_environment = std::env::var_os("PROPTEST_CASES").map(|_| Config::default().cases);
    Config {
        cases: from_environment.unwrap_or(cases),
        failure_persistence: None,
        ..Config::default()
    }
}
