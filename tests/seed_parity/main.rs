//! The recipes that this library began from, this library, and what is right, on the same schedules: `README.md` says what each admits.
//!
//! What is right is what the exact reference admits, or follows from the definition in a line. `LLMRL_BLESS=1` writes the report.
#![cfg(not(any(loom, shuttle)))]

#[path = "../reference/mod.rs"]
mod reference;
mod seed;

use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Meter, Progress};
use reference::subject::build;
use reference::{
    Answer, BucketSpec, LimitSpec, Model, Op, Setup, Subject, WindowShape, WindowSpec,
};
use seed::*;
use std::time::Duration;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const MINUTE: u64 = 60 * SECOND;
/// A whole minute of the wall clock, as everything begins.
const WALL: f64 = 1_700_000_040.0;

struct Row {
    kind: &'static str,
    schedule: &'static str,
    seed: String,
    ours: String,
    right: String,
    why: &'static str,
}

/// Times in nanoseconds from the beginning, each with how much is asked for.
type Schedule = Vec<(u64, u64)>;

fn wall(ns: u64) -> f64 {
    WALL + ns as f64 / 1e9
}

/// So many times one at the same time.
fn burst(at: u64, times: usize) -> Schedule {
    vec![(at, 1); times]
}

/// What comes through of `schedule` in all.
fn admitted(schedule: &Schedule, mut ask: impl FnMut(u64, u64) -> bool) -> u64 {
    let admitted = schedule.iter().filter(|&&(at, n)| ask(at, n));
    admitted.map(|&(_, n)| n).sum()
}

fn row(
    kind: &'static str,
    schedule: (&'static str, Schedule),
    mut recipe: impl Seed,
    limits: Vec<LimitSpec>,
    why: &'static str,
) -> Row {
    let setup = Setup {
        start_ns: 0,
        limits,
        max_waiters: 1,
    };
    let (about, schedule) = schedule;
    let mut right = Model::new(&setup);
    let built = build(&setup);
    let mut ours = Subject::new(&built);
    let mut name = 0;
    let mut op = |n| {
        name += 1;
        let cost = Cost::tokens(n, 0);
        Op::TryAcquire { name, cost }
    };
    Row {
        kind,
        schedule: about,
        seed: admitted(&schedule, |at, n| recipe.acquire(wall(at), n)).to_string(),
        ours: admitted(&schedule, |at, n| {
            ours.advance_to(at);
            ours.apply(&op(n)) == Answer::Ok
        })
        .to_string(),
        right: admitted(&schedule, |at, n| {
            right.advance_to(at);
            right.apply(&op(n)) == Answer::Ok
        })
        .to_string(),
        why,
    }
}

fn bucket(meter: Meter, amount: u64, burst: u64) -> LimitSpec {
    LimitSpec::Bucket(BucketSpec::new(meter, amount, MINUTE, burst))
}

fn window(shape: WindowShape, amount: u64) -> Vec<LimitSpec> {
    let spec = WindowSpec::new(shape, Meter::Tokens, amount, MINUTE);
    vec![LimitSpec::Window(spec)]
}

fn rows() -> Vec<Row> {
    let every = |from: u64, step: u64, times: u64| -> Schedule {
        (0..times).map(|i| (from + i * step, 1)).collect()
    };
    let then = |mut first: Schedule, second: Schedule| {
        first.extend(second);
        first
    };
    let bucket_of_60 = || vec![bucket(Meter::Tokens, 60, 60)];
    let mut rows = vec![
        row(
            "token bucket",
            (
                "100 at once, then 100 after half a minute",
                then(burst(0, 100), burst(30 * SECOND, 100)),
            ),
            TokenBucket::new(1.0, 60.0, WALL),
            bucket_of_60(),
            "",
        ),
        row(
            "token bucket",
            (
                "10 a second, a burst of one, asked for each 100 ms for 10 min",
                every(0, 100 * MS, 6_001),
            ),
            TokenBucket::new(10.0, 1.0, WALL),
            vec![bucket(Meter::Tokens, 600, 1)],
            "sums of 0.1 s in floating point, on a clock of 1.7e9 s, fall short of a whole token",
        ),
        row(
            "dual token bucket",
            (
                "100 requests of 10 tokens at once, at 60 requests and 6 000 tokens a minute",
                vec![(0, 10); 100],
            ),
            DualTokenBucket::new(60.0, 6_000.0, WALL),
            vec![
                bucket(Meter::Requests, 60, 60),
                bucket(Meter::Tokens, 6_000, 6_000),
            ],
            "its buckets hold half as much again as the minute's limit",
        ),
        row(
            "leaky bucket",
            (
                "asked for each ms for 10 s, at one a second",
                every(0, MS, 10_000),
            ),
            LeakyBucket::new(10, true),
            vec![LimitSpec::Bucket(BucketSpec::pacing(
                Meter::Tokens,
                60,
                MINUTE,
            ))],
            "its task waits only while there is nothing to do",
        ),
        row(
            "sliding window log",
            (
                "20 requests of 5 tokens, at 10 tokens a minute",
                vec![(0, 5); 20],
            ),
            SlidingWindowLog::new(10, 60.0),
            window(WindowShape::Log, 10),
            "it counts requests, whatever they ask for",
        ),
        row(
            "sliding window log",
            (
                "10 at once and 10 a minute later",
                then(burst(0, 10), burst(MINUTE, 10)),
            ),
            SlidingWindowLog::new(10, 60.0),
            window(WindowShape::Log, 10),
            "what was a minute ago is not in the minute any more",
        ),
        row(
            "sliding window counter",
            (
                "100 at 59.9 s and 100 at 119.4 s",
                then(burst(59_900 * MS, 100), burst(119_400 * MS, 100)),
            ),
            SlidingWindowCounter::new(100, 60.0, WALL),
            window(WindowShape::Counter, 100),
            "199 in 59.5 s: so the kind is defined",
        ),
        row(
            "– the same, never over",
            (
                "100 at 59.9 s and 100 at 119.4 s",
                then(burst(59_900 * MS, 100), burst(119_400 * MS, 100)),
            ),
            SlidingWindowCounter::new(100, 60.0, WALL),
            window(WindowShape::Sliding(60), 100),
            "there is no such kind among the recipes",
        ),
        row(
            "fixed window",
            (
                "one at 65 s, 9 at 124 s, 10 at 125 s",
                then(
                    burst(65 * SECOND, 1),
                    then(burst(124 * SECOND, 9), burst(125 * SECOND, 10)),
                ),
            ),
            FixedWindowCounter::new(10, 60.0, WALL),
            window(WindowShape::Fixed, 10),
            "its windows begin when somebody comes: 19 in the provider's third minute",
        ),
        row(
            "in flight",
            ("15 at once", vec![(0, 1); 15]),
            ConcurrencyLimiter { free: 10 },
            vec![LimitSpec::InFlight(10)],
            "",
        ),
    ];
    rows.extend([
        clock_is_set(),
        gives_up(),
        cancelled(),
        polls(),
        above_the_capacity(),
    ]);
    rows
}

fn limiter(limits: &[Limit]) -> (Limiter, ManualClock) {
    let clock = ManualClock::new(0);
    let builder = Limiter::builder().clock(Clock::from(&clock));
    let limits = limits.iter();
    let builder = limits.fold(builder, |builder, limit| builder.limit(*limit));
    (builder.build().unwrap(), clock)
}

fn count(limiter: &Limiter, times: u64, cost: &Cost) -> String {
    let admitted = (0..times).filter(|_| limiter.try_acquire(cost).is_ok());
    admitted.count().to_string()
}

fn clock_is_set() -> Row {
    let mut recipe = TokenBucket::new(1.0, 60.0, WALL);
    assert_eq!((0..60).filter(|_| recipe.acquire(WALL, 1)).count(), 60);
    let (ours, _clock) = limiter(&[Limit::tokens(60)]);
    let cost = Cost::tokens(1, 0);
    assert_eq!(count(&ours, 60, &cost), "60");
    let recipe = (0..60).filter(|_| recipe.acquire(WALL + 3_600.0, 1));
    Row {
        kind: "token bucket",
        schedule: "60 at once, the wall clock is set forward by an hour, 60 more",
        seed: recipe.count().to_string(),
        ours: count(&ours, 60, &cost),
        right: "0".into(),
        why: "no time has passed; ours reads a clock that cannot be set",
    }
}

fn gives_up() -> Row {
    let mut recipe = DualTokenBucket::new(60.0, 6_000.0, WALL);
    assert!(recipe.tokens.acquire(WALL, 9_000));
    (0..30).for_each(|_| recipe.wait_and_give_up(WALL, 100));
    recipe.tokens.tokens = 9_000.0;
    let recipe = (0..100).filter(|_| recipe.acquire(WALL, 1));

    let (ours, _clock) = limiter(&[
        Limit::requests(60).burst(90),
        Limit::tokens(6_000).burst(9_000),
    ]);
    let all = Cost::tokens(9_000, 0);
    let mut taken = ours.try_acquire(&all).unwrap();
    for token in 1..=30 {
        let ticket = ours.enqueue(&Cost::tokens(100, 0), None, token).unwrap();
        ours.cancel(ticket);
    }
    taken.adjust(&Cost::request()).unwrap();
    taken.cancel();
    Row {
        kind: "dual token bucket",
        schedule: "30 wait for tokens and give up, the tokens come, 100 requests",
        seed: recipe.count().to_string(),
        ours: count(&ours, 100, &Cost::tokens(1, 0)),
        right: "90".into(),
        why: "who waits for tokens has taken a request already, and keeps it",
    }
}

fn cancelled() -> Row {
    let mut recipe = LeakyBucket::new(10, true);
    recipe.cancel_waiter();
    let recipe = (0..10).filter(|_| recipe.wait());

    let (ours, clock) = limiter(&[Limit::pacing(Meter::Requests, 60)]);
    let join = |token| ours.enqueue(&Cost::request(), None, token).unwrap();
    let first = join(1);
    let mut others: Vec<_> = (2..=11).map(join).collect();
    ours.cancel(first);
    let mut granted = 0;
    for _ in 0..60 {
        for ticket in &mut others {
            granted += u64::from(matches!(ours.poll(ticket), Progress::Held(_)));
        }
        clock.advance(Duration::from_secs(1));
    }
    Row {
        kind: "leaky bucket",
        schedule: "10 wait behind one that is cancelled; granted within a minute",
        seed: recipe.count().to_string(),
        ours: granted.to_string(),
        right: "10".into(),
        why: "its task dies of the cancelled one",
    }
}

fn polls() -> Row {
    let mut recipe = SlidingWindowCounter::new(100, 60.0, WALL);
    assert!(recipe.acquire(WALL, 100));
    let mut now = WALL + 0.05;
    while !recipe.acquire(now, 10) {
        now += 0.1;
    }
    let (ours, clock) = limiter(&[Limit::sliding_window_counter(Meter::Tokens, 100)]);
    ours.try_acquire(&Cost::tokens(100, 0)).unwrap().release();
    clock.advance(Duration::from_millis(50));
    let mut ticket = ours.enqueue(&Cost::tokens(10, 0), None, 1).unwrap();
    let Progress::Pending { wait: Some(wait) } = ours.poll(&mut ticket) else {
        panic!("it has to wait")
    };
    clock.advance(wait);
    assert!(matches!(ours.poll(&mut ticket), Progress::Held(_)));
    Row {
        kind: "sliding window counter",
        schedule: "100 at once, at 50 ms somebody waits for 10: served at (ms)",
        seed: format!("{:.0}", (now - WALL) * 1e3),
        ours: (clock.now_ns() / MS).to_string(),
        right: "66000".into(),
        why: "it looks each 100 ms",
    }
}

fn above_the_capacity() -> Row {
    let mut recipe = TokenBucket::new(1.0, 60.0, WALL);
    let day = (1..=86_400).any(|second| recipe.acquire(WALL + f64::from(second), 61));
    let (ours, _clock) = limiter(&[Limit::tokens(60)]);
    let refused = ours.acquire(&Cost::tokens(61, 0)).unwrap_err();
    let never = matches!(refused, llmrl::Refused::Never { .. });
    Row {
        kind: "token bucket",
        schedule: "somebody waits for 61 of 60 a minute",
        seed: if day { "served" } else { "waits for ever" }.into(),
        ours: if never { "refused" } else { "waits" }.into(),
        right: "refused".into(),
        why: "it can never be",
    }
}

fn report(rows: &[Row]) -> String {
    let heads = ["kind", "schedule", "seed", "ours", "right", "because"];
    let cells = |row: &Row| {
        [
            row.kind.to_owned(),
            row.schedule.to_owned(),
            row.seed.clone(),
            row.ours.clone(),
            row.right.clone(),
            row.why.to_owned(),
        ]
    };
    let table: Vec<_> = std::iter::once(heads.map(str::to_owned))
        .chain(rows.iter().map(cells))
        .collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..heads.len()).filter_map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let rule = format!("| {} |\n", rule.join(" | "));
    let lines: String = table[1..].iter().map(line).collect();
    format!(
        "{}\n{}{rule}{lines}",
        include_str!("about.md"),
        line(&table[0])
    )
}

#[test]
fn side_by_side() {
    let rows = rows();
    let text = report(&rows);
    println!("{text}");
    for row in &rows {
        assert_eq!(row.ours, row.right, "{}: {}", row.kind, row.schedule);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seed_parity/README.md");
    if std::env::var_os("LLMRL_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        kept, text,
        "LLMRL_BLESS=1 cargo test --test seed_parity writes it anew"
    );
}
