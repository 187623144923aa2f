//! What is measured: the floor, this library, its C interface, its peers.

use crate::abi::{self, Library};
use crate::floor::{self, Floor};
use crate::measure::{Against, Case};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use llmrl::capi::limit::*;
use llmrl::{Clock, Cost, FairOptions, FairQueue, Limit, Limiter, Share, TokenBucket};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use Against::{Admit, Refuse};

/// Never refuses: a token a nanosecond.
const PLENTY: u64 = 1_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
/// Never admits: spent, and a token a day.
const DAY: Duration = Duration::from_secs(86_400);

/// A loop around one expression, compiled for it.
macro_rules! often {
    ($expression:expr) => {
        move |times: u64| {
            for _ in 0..times {
                black_box($expression);
            }
        }
    };
}

/// What people write for themselves.
struct Textbook(Mutex<(f64, Instant)>, f64, f64);

impl Textbook {
    fn new(per_second: f64, burst: f64) -> Self {
        Self(Mutex::new((burst, Instant::now())), per_second, burst)
    }

    fn try_take(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        let now = Instant::now();
        let passed = now.duration_since(state.1).as_secs_f64();
        *state = ((state.0 + passed * self.1).min(self.2), now);
        let enough = state.0 >= 1.0;
        if enough {
            state.0 -= 1.0;
        }
        enough
    }
}

fn governor(refusing: bool) -> DefaultDirectRateLimiter {
    let quota = match refusing {
        false => Quota::per_second(NonZeroU32::new(PLENTY as u32).unwrap()),
        true => Quota::with_period(DAY).unwrap(),
    };
    let limiter = RateLimiter::direct(quota);
    while refusing && limiter.check().is_ok() {}
    limiter
}

fn ratelimit(refusing: bool) -> ratelimit::Ratelimiter {
    match refusing {
        false => ratelimit::Ratelimiter::builder(PLENTY)
            .max_tokens(PLENTY)
            .initial_available(PLENTY),
        true => ratelimit::Ratelimiter::builder(1).period(DAY).max_tokens(1),
    }
    .build()
    .unwrap()
}

fn leaky_bucket(refusing: bool) -> leaky_bucket::RateLimiter {
    let mut builder = leaky_bucket::RateLimiter::builder();
    match refusing {
        false => builder
            .initial(usize::MAX >> 4)
            .max(usize::MAX >> 4)
            .refill(1),
        true => builder.initial(0).max(1).refill(1).interval(DAY),
    };
    builder.build()
}

fn bucket(refusing: bool) -> TokenBucket {
    let limit = match refusing {
        false => Limit::tokens(PLENTY).per(SECOND),
        true => Limit::tokens(1).per(DAY).start_empty(),
    };
    TokenBucket::new(limit, &Clock::machine()).unwrap()
}

fn one_limit(refusing: bool) -> Limiter {
    let limit = match refusing {
        false => Limit::requests(PLENTY).per(SECOND),
        true => Limit::requests(1).per(DAY).start_empty(),
    };
    Limiter::builder().limit(limit).build().unwrap()
}

fn three_limits() -> Limiter {
    Limiter::builder()
        .limit(Limit::requests(PLENTY).per(SECOND))
        .limit(Limit::tokens(PLENTY).per(SECOND))
        .limit(Limit::in_flight(1_000))
        .build()
        .unwrap()
}

fn c_limit(meter: u32, refusing: bool) -> llmrl_limit {
    let (amount, period, flags) = match refusing {
        false => (PLENTY, SECOND, 0),
        true => (1, DAY, LLMRL_START_EMPTY),
    };
    llmrl_limit {
        kind: LLMRL_TOKEN_BUCKET,
        meter,
        amount,
        period_ns: period.as_nanos() as u64,
        flags,
        ..Default::default()
    }
}

fn c_three(library: &Library) -> abi::Limiter<'_> {
    let in_flight = llmrl_limit {
        kind: LLMRL_IN_FLIGHT,
        amount: 1_000,
        ..Default::default()
    };
    library.limiter(&[
        c_limit(LLMRL_REQUESTS, false),
        c_limit(LLMRL_TOKENS, false),
        in_flight,
    ])
}

const TOKENS: Cost = Cost::tokens(5, 5);
const C_REQUEST: llmrl_cost = llmrl_cost {
    requests: 1,
    input_tokens: 0,
    output_tokens: 0,
    cached_tokens: 0,
    cache_write_tokens: 0,
    reserved: [0; 3],
};
const C_TOKENS: llmrl_cost = llmrl_cost {
    input_tokens: 5,
    output_tokens: 5,
    ..C_REQUEST
};

/// One thread. A case of the C interface stands behind the same case in Rust.
pub fn all(library: Option<&Library>) -> Vec<Case<'_>> {
    let mut cases = floors();
    let (free, spent) = (bucket(false), bucket(true));
    cases.push(
        Case::new(
            "TokenBucket, admit",
            Admit,
            often!(free.try_take(1).is_ok()),
        )
        .target(1.10),
    );
    if let Some(library) = library {
        let free = library.bucket(c_limit(LLMRL_TOKENS, false));
        let case = Case::new("  through the C interface", Admit, often!(free.try_take(1)));
        cases.push(case.above_last(0.5));
    }
    cases.push(
        Case::new(
            "TokenBucket, refuse",
            Refuse,
            often!(spent.try_take(1).is_ok()),
        )
        .target(1.20),
    );
    if let Some(library) = library {
        let spent = library.bucket(c_limit(LLMRL_TOKENS, true));
        let case = Case::new(
            "  through the C interface",
            Refuse,
            often!(spent.try_take(1)),
        );
        cases.push(case.above_last(0.5));
    }
    let spent = bucket(true);
    cases.push(Case::new(
        "TokenBucket, refuse and say how long",
        Refuse,
        often!(spent.try_take(1).err().and_then(|short| short.wait())),
    ));
    if let Some(library) = library {
        let spent = library.bucket(c_limit(LLMRL_TOKENS, true));
        let run = often!(spent.wait_for(1));
        cases.push(Case::new("  through the C interface", Refuse, run).above_last(0.5));
    }
    let (free, spent) = (one_limit(false), one_limit(true));
    let request = Cost::request();
    cases.push(
        Case::new(
            "Limiter, requests; admit",
            Admit,
            often!(free.try_acquire(&request).is_ok()),
        )
        .target(1.40),
    );
    if let Some(library) = library {
        let free = library.limiter(&[c_limit(LLMRL_REQUESTS, false)]);
        let case = Case::new(
            "  through the C interface",
            Admit,
            often!(free.try_acquire(&C_REQUEST)),
        );
        cases.push(case.above_last(0.5));
    }
    cases.push(Case::new(
        "Limiter, requests; refuse",
        Refuse,
        often!(spent.try_acquire(&request).is_ok()),
    ));
    let three = three_limits();
    let name = "Limiter, requests + tokens + in flight; acquire, release";
    cases.push(
        Case::new(
            name,
            Admit,
            often!(three.try_acquire(&TOKENS).unwrap().release()),
        )
        .target(2.50),
    );
    if let Some(library) = library {
        let three = c_three(library);
        let run = often!(three.acquire_and_release(&C_TOKENS));
        cases.push(Case::new("  through the C interface", Admit, run).above_last(0.5));
    }
    let three = three_limits();
    let less = Cost::tokens(5, 3);
    let name = "Limiter, requests + tokens + in flight; acquire, settle";
    cases.push(Case::new(
        name,
        Admit,
        often!(three.try_acquire(&TOKENS).unwrap().settle(&less).is_ok()),
    ));
    let queued = three_limits();
    let name = "Limiter, requests + tokens + in flight; enqueue, poll, release";
    cases.push(Case::new(name, Admit, often!(through_the_queue(&queued))));
    let fair = FairQueue::new(&three_limits(), FairOptions::new()).unwrap();
    let share = Share::new(b"user").unwrap();
    let run = often!(fair.acquire(&TOKENS, &share, None).unwrap().release());
    cases.push(Case::new("FairQueue before it, nobody waits", Admit, run));
    cases.extend(peers());
    cases
}

fn through_the_queue(limiter: &Limiter) {
    let mut ticket = limiter.enqueue(&TOKENS, None, 1).unwrap();
    match limiter.poll(&mut ticket) {
        llmrl::Progress::Held(permit) => permit.release(),
        other => panic!("{other:?}"),
    }
}

pub fn floors<'a>() -> Vec<Case<'a>> {
    let (free, spent) = (Floor::admitting(), Floor::refusing());
    let mut cases = vec![
        Case::new(
            "floor F: clock, load, compare-exchange",
            Admit,
            often!(free.try_take()),
        ),
        Case::new(
            "floor R: clock, load, refuse",
            Refuse,
            often!(spent.try_take()),
        ),
        Case::new("the floor's clock", Admit, often!(floor::now())),
    ];
    #[cfg(target_arch = "x86_64")]
    {
        use floor::ordered::{fenced, rdtscp};
        let (a, b) = (Floor::admitting(), Floor::admitting());
        cases.push(Case::new("lfence; rdtsc", Admit, often!(fenced())));
        cases.push(Case::new("rdtscp", Admit, often!(rdtscp())));
        cases.push(Case::new(
            "floor F with lfence; rdtsc",
            Admit,
            often!(a.try_take_at(fenced())),
        ));
        cases.push(Case::new(
            "floor F with rdtscp",
            Admit,
            often!(b.try_take_at(rdtscp())),
        ));
    }
    let clock = quanta::Clock::new();
    cases.push(Case::new("quanta raw", Admit, often!(clock.raw())));
    cases
}

fn peers<'a>() -> Vec<Case<'a>> {
    let (free, spent) = (governor(false), governor(true));
    let three = [governor(false), governor(false), governor(false)];
    let (rate_free, rate_spent) = (ratelimit(false), ratelimit(true));
    let (leaky_free, leaky_spent) = (leaky_bucket(false), leaky_bucket(true));
    let (text_free, text_spent) = (Textbook::new(1e9, 1e9), Textbook::new(1e-5, 0.0));
    vec![
        Case::new("governor check, admit", Admit, often!(free.check().is_ok())),
        Case::new(
            "governor check, refuse",
            Refuse,
            often!(spent.check().is_ok()),
        ),
        Case::new(
            "governor, three checks (not all-or-nothing, no release)",
            Admit,
            often!(three.iter().all(|limiter| limiter.check().is_ok())),
        ),
        Case::new(
            "ratelimit try_wait, admit",
            Admit,
            often!(rate_free.try_wait().is_ok()),
        ),
        Case::new(
            "ratelimit try_wait, refuse",
            Refuse,
            often!(rate_spent.try_wait().is_ok()),
        ),
        Case::new(
            "leaky-bucket try_acquire, admit",
            Admit,
            often!(leaky_free.try_acquire(1)),
        ),
        Case::new(
            "leaky-bucket try_acquire, refuse",
            Refuse,
            often!(leaky_spent.try_acquire(1)),
        ),
        Case::new(
            "Mutex<f64> and Instant, admit",
            Admit,
            often!(text_free.try_take()),
        ),
        Case::new(
            "Mutex<f64> and Instant, refuse",
            Refuse,
            often!(text_spent.try_take()),
        ),
    ]
}

/// Two threads on one object.
pub fn contended(library: Option<&Library>) -> Vec<Case<'_>> {
    let floor = Floor::admitting();
    let free = bucket(false);
    let (one, three) = (one_limit(false), three_limits());
    let (checked, waited, leaky) = (governor(false), ratelimit(false), leaky_bucket(false));
    let text = Textbook::new(1e9, 1e9);
    let request = Cost::request();
    let mut cases = vec![
        Case::new("floor F", Admit, often!(floor.try_take())),
        // Nine tenths of the floor's throughput.
        Case::new(
            "TokenBucket, admit",
            Admit,
            often!(free.try_take(1).is_ok()),
        )
        .target(1.0 / 0.9),
    ];
    if let Some(library) = library {
        let free = library.bucket(c_limit(LLMRL_TOKENS, false));
        cases.push(Case::new(
            "  through the C interface",
            Admit,
            often!(free.try_take(1)),
        ));
    }
    cases.extend([
        Case::new(
            "Limiter, requests; admit",
            Admit,
            often!(one.try_acquire(&request).is_ok()),
        ),
        Case::new(
            "Limiter, requests + tokens + in flight; acquire, release",
            Admit,
            often!(
                three
                    .try_acquire(&TOKENS)
                    .map(|permit| permit.release())
                    .is_ok()
            ),
        ),
        Case::new(
            "governor check, admit",
            Admit,
            often!(checked.check().is_ok()),
        ),
        Case::new(
            "ratelimit try_wait, admit",
            Admit,
            often!(waited.try_wait().is_ok()),
        ),
        Case::new(
            "leaky-bucket try_acquire, admit",
            Admit,
            often!(leaky.try_acquire(1)),
        )
        .sleeps(),
        Case::new(
            "Mutex<f64> and Instant, admit",
            Admit,
            often!(text.try_take()),
        )
        .sleeps(),
    ]);
    cases
}
