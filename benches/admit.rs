//! The usual statistics, for finding out whether a change has made something slower.
//!
//! `cargo bench --bench admit`. For a comparison with the floor and with peers see `ratios`.
// The macros of criterion make functions without documentation.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use llmrl::{Clock, Cost, InFlight, Limit, Limiter, Progress, TokenBucket};
use std::hint::black_box;
use std::time::Duration;

const PLENTY: u64 = 1_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn primitives(c: &mut Criterion) {
    let mut group = c.benchmark_group("primitive");
    let free = TokenBucket::new(Limit::tokens(PLENTY).per(SECOND), &Clock::machine()).unwrap();
    group.bench_function("bucket, take", |b| {
        b.iter(|| black_box(free.try_take(1).is_ok()))
    });
    group.bench_function("bucket, refund", |b| {
        b.iter(|| black_box(free.refund(1).is_ok()))
    });
    let spent = Limit::tokens(1).per(DAY).start_empty();
    let spent = TokenBucket::new(spent, &Clock::machine()).unwrap();
    group.bench_function("bucket, refuse", |b| {
        b.iter(|| black_box(spent.try_take(1).is_ok()))
    });
    group.bench_function("bucket, refuse and say when", |b| {
        b.iter(|| black_box(spent.try_take(1).unwrap_err().wait()))
    });
    let slots = InFlight::new(100).unwrap();
    group.bench_function("in flight, enter and leave", |b| {
        b.iter(|| black_box(slots.try_enter() && slots.leave()))
    });
    group.finish();
}

fn limiters(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    let all = [
        Limit::requests(PLENTY).per(SECOND),
        Limit::tokens(PLENTY).per(SECOND),
        Limit::in_flight(1_000),
        Limit::input_tokens(PLENTY).per(SECOND),
        Limit::output_tokens(PLENTY).per(SECOND),
        Limit::requests(PLENTY).per(SECOND),
        Limit::tokens(PLENTY).per(SECOND),
        Limit::input_tokens(PLENTY).per(SECOND),
    ];
    let cost = Cost::tokens(2, 2);
    for count in [1, 2, 3, 4, 8] {
        let limits = all[..count].iter();
        let builder = limits.fold(Limiter::builder(), |builder, limit| builder.limit(*limit));
        let limiter = builder.build().unwrap();
        group.bench_function(format!("{count} limits, acquire and release"), |b| {
            b.iter(|| limiter.try_acquire(black_box(&cost)).unwrap().release())
        });
        group.bench_function(format!("{count} limits, enqueue, poll and release"), |b| {
            b.iter(|| {
                let mut ticket = limiter.enqueue(black_box(&cost), None, 1).unwrap();
                match limiter.poll(&mut ticket) {
                    Progress::Held(permit) => permit.release(),
                    other => panic!("{other:?}"),
                }
            })
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(SECOND);
    targets = primitives, limiters
}
criterion_main!(benches);
