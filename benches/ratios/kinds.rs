//! Every kind of limit in a limiter, and the same kind where a peer has it.

use crate::measure::{Against, Case};
use llmrl::{Cost, Limit, Limiter, Meter, Weights};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use Against::{Admit, Refuse};

/// More than any window of a measurement takes.
const PLENTY: u64 = 1 << 39;
const DAY: Duration = Duration::from_secs(86_400);

/// The log that people write: a queue of instants under a lock.
struct Textbook {
    stamps: Mutex<VecDeque<Instant>>,
    amount: usize,
    period: Duration,
}

impl Textbook {
    fn try_acquire(&self) -> bool {
        let mut stamps = self.stamps.lock().unwrap();
        let now = Instant::now();
        while stamps
            .front()
            .is_some_and(|stamp| now - *stamp >= self.period)
        {
            stamps.pop_front();
        }
        let enough = stamps.len() < self.amount;
        if enough {
            stamps.push_back(now);
        }
        enough
    }
}

fn limiter(limit: Limit) -> Limiter {
    Limiter::builder().limit(limit).build().unwrap()
}

fn case(name: &'static str, against: Against, limit: Limit) -> Case<'static> {
    let (limiter, request) = (limiter(limit), Cost::request());
    Case::new(name, against, move |times| {
        for _ in 0..times {
            black_box(limiter.try_acquire(&request).is_ok());
        }
    })
}

pub fn all() -> Vec<Case<'static>> {
    let requests = Meter::Requests;
    let weighted = Meter::Weighted(Weights {
        output: 5_000,
        ..Weights::PLAIN
    });
    // A log of some hundred stamps in steady state: each admission opens one and forgets one.
    let steady = Duration::from_micros(10);
    let textbook = Textbook {
        stamps: Mutex::default(),
        amount: usize::MAX,
        period: steady,
    };
    vec![
        case(
            "token bucket, admit",
            Admit,
            Limit::bucket(requests, PLENTY).per(DAY),
        ),
        case(
            "weighted token bucket, admit",
            Admit,
            Limit::bucket(weighted, PLENTY).per(DAY),
        ),
        case(
            "pacing, admit",
            Admit,
            Limit::pacing(requests, 1_000_000_000).per(Duration::from_secs(1)),
        ),
        case(
            "fixed window, admit",
            Admit,
            Limit::fixed_window(requests, PLENTY),
        ),
        case(
            "sliding window counter, admit",
            Admit,
            Limit::sliding_window_counter(requests, PLENTY),
        ),
        case(
            "sliding window of 60 parts, admit",
            Admit,
            Limit::sliding_window(requests, PLENTY),
        ),
        case(
            "sliding window log, admit",
            Admit,
            Limit::sliding_window_log(requests, PLENTY)
                .per(steady)
                .resolution(4_096),
        ),
        Case::new("  Mutex<VecDeque<Instant>>, admit", Admit, move |times| {
            for _ in 0..times {
                black_box(textbook.try_acquire());
            }
        }),
        case(
            "fixed window, refuse",
            Refuse,
            Limit::fixed_window(requests, 1).per(DAY).start_empty(),
        ),
        case(
            "sliding window counter, refuse",
            Refuse,
            Limit::sliding_window_counter(requests, 1)
                .per(DAY)
                .start_empty(),
        ),
        case(
            "sliding window of 60 parts, refuse",
            Refuse,
            Limit::sliding_window(requests, 1).per(DAY).start_empty(),
        ),
        case(
            "sliding window log, refuse",
            Refuse,
            Limit::sliding_window_log(requests, 1)
                .per(DAY)
                .start_empty(),
        ),
    ]
}
