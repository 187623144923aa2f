//! Learning against a server that is not here: requests take time to get there and answers to come back, so whatever an answer
//! says is old. Five ways to use what is said, for five things that a client may be wrong about. Virtual time, and always the
//! same.
//!
//! `cargo test --test limiter simulation -- --nocapture` prints the table.

use llmrl::feedback::read_answer;
use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Permit, Refused};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Tokens a minute, and what a full bucket holds.
const LIMIT: u64 = 600_000;
const NS: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const LASTS: u64 = 600 * NS;
/// More than the limit has use for.
const WORKERS: usize = 50;
/// What somebody else has reserved for the first ten seconds.
const RESERVED: u64 = 500_000;

/// Always the same numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn within(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (mixed ^ (mixed >> 31)) % (high - low)
    }
}

fn cost(dice: &mut Dice) -> u64 {
    dice.within(400, 3_600)
}

/// A bucket of tokens in exact arithmetic: a token is a minute's nanoseconds.
struct Bucket {
    amount: u64,
    level: i128,
    at: u64,
}

const TOKEN: i128 = 60 * NS as i128;

impl Bucket {
    fn new(amount: u64) -> Self {
        let level = i128::from(amount) * TOKEN;
        Self {
            amount,
            level,
            at: 0,
        }
    }

    fn left(&mut self, now: u64) -> i128 {
        let produced = i128::from(now - self.at) * i128::from(self.amount);
        self.level = (self.level + produced).min(i128::from(self.amount) * TOKEN);
        self.at = now;
        self.level
    }

    fn refund(&mut self, n: u64, now: u64) {
        self.left(now);
        self.level += i128::from(n) * TOKEN;
    }

    /// How long until `n` are there, if they are not taken now.
    fn take(&mut self, n: u64, now: u64) -> Result<(), u64> {
        let lack = i128::from(n) * TOKEN - self.left(now);
        if lack > 0 {
            let rate = i128::from(self.amount);
            return Err(((lack + rate - 1) / rate) as u64);
        }
        self.level -= i128::from(n) * TOKEN;
        Ok(())
    }
}

/// What the server says.
struct Answer {
    /// How long to wait, if it is a refusal.
    refused: Option<u64>,
    remaining: u64,
}

/// What a client makes of its limit and of the answers.
trait Policy {
    type Held<'a>
    where
        Self: 'a;

    /// Or how long to wait.
    fn take(&self, n: u64, now: u64) -> Result<Self::Held<'_>, u64>;

    /// How long whoever was refused waits before he asks again.
    fn answered(&self, held: Self::Held<'_>, answer: &Answer, now: u64) -> u64;
}

/// What a ledger does with what an answer says is left.
#[derive(Clone, Copy)]
enum Naive {
    Nothing,
    /// Believes it, as if it was not old.
    Believe,
    /// Believes less than it knew: `S = max(S, P - remaining)`.
    Tighten,
}

/// The ways that need no limiter. All wait as they are told, and give back what was refused.
struct Ledger {
    naive: Naive,
    bucket: RefCell<Bucket>,
}

impl Policy for Ledger {
    type Held<'a> = u64;

    fn take(&self, n: u64, now: u64) -> Result<u64, u64> {
        self.bucket.borrow_mut().take(n, now).map(|()| n)
    }

    fn answered(&self, n: u64, answer: &Answer, now: u64) -> u64 {
        let mut bucket = self.bucket.borrow_mut();
        let left = bucket.left(now);
        if let Some(wait) = answer.refused {
            bucket.refund(n, now);
            return wait;
        }
        let remaining = i128::from(answer.remaining) * TOKEN;
        match self.naive {
            Naive::Nothing => {}
            Naive::Believe => bucket.level = remaining,
            Naive::Tighten => bucket.level = left.min(remaining),
        }
        0
    }
}

/// What is tested.
struct Ours {
    limiter: Limiter,
    /// Whether answers have headers, and not just the time to wait.
    headers: bool,
}

impl Policy for Ours {
    type Held<'a> = Permit<'a>;

    fn take(&self, n: u64, _: u64) -> Result<Permit<'_>, u64> {
        match self.limiter.try_acquire(&Cost::tokens(n, 0)) {
            Ok(permit) => Ok(permit),
            Err(Refused::NotNow { wait }) => Err(wait.unwrap().as_nanos() as u64),
            Err(other) => panic!("{other}"),
        }
    }

    fn answered(&self, mut permit: Permit<'_>, answer: &Answer, _: u64) -> u64 {
        let mut headers = Vec::new();
        if self.headers {
            headers.push(("x-ratelimit-limit-tokens", LIMIT.to_string()));
            headers.push(("x-ratelimit-remaining-tokens", answer.remaining.to_string()));
        }
        if let Some(wait) = answer.refused {
            headers.push(("retry-after-ms", wait.div_ceil(MS).to_string()));
        }
        let (status, body) = match answer.refused {
            Some(_) => (429, &br#"{"error": {"type": "tokens"}}"#[..]),
            None => (200, &b""[..]),
        };
        let advice = permit.feedback(&read_answer(status, headers, body, SystemTime::now()));
        permit.release();
        advice.wait.as_nanos() as u64
    }
}

enum Event<H> {
    /// A request is there.
    Sent(H, u64),
    Answered(H, Answer),
    /// A worker has waited.
    Rested,
    /// Somebody else's request is there.
    Foreign,
    /// Somebody else gives back what he has reserved.
    Returned,
    /// The first in line may go.
    Due,
}

/// The share of requests that were refused, and what was used of what there is.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    refused: f64,
    used: f64,
}

fn simulate<P: Policy>(policy: &P, clock: &ManualClock, column: Column) -> Outcome {
    let (mut dice, mut server) = (Dice(1), Bucket::new(LIMIT));
    // By time, then in the order in which they were put there.
    let (mut events, mut number) = (BTreeMap::new(), 0);
    let mut put = |events: &mut BTreeMap<_, _>, at, event| {
        number += 1;
        events.insert((at, number), event);
        (at, number)
    };
    let (mut idle, mut sent, mut refused, mut used) = (WORKERS, 0, 0, 0);
    let mut next = cost(&mut dice);
    let mut due = put(&mut events, 0, Event::Due);
    match column {
        Column::Foreign => {
            put(&mut events, 0, Event::Foreign);
        }
        Column::Returned => {
            server.take(RESERVED, 0).unwrap();
            put(&mut events, 10 * NS, Event::Returned);
        }
        _ => {}
    }
    while let Some(((now, _), event)) = events.pop_first() {
        if now >= LASTS {
            break;
        }
        clock.advance(Duration::from_nanos(now - clock.now_ns()));
        match event {
            Event::Sent(held, n) => {
                sent += 1;
                let taken = server.take(n, now);
                match taken {
                    Ok(()) => used += n,
                    Err(_) => refused += 1,
                }
                let remaining = (server.left(now) / TOKEN) as u64;
                let answer = Answer {
                    refused: taken.err(),
                    remaining,
                };
                // To refuse takes no time but the way back.
                let takes = match answer.refused {
                    Some(_) => dice.within(20 * MS, 120 * MS),
                    None => dice.within(300 * MS, 8_000 * MS),
                };
                put(&mut events, now + takes, Event::Answered(held, answer));
            }
            Event::Answered(held, answer) => {
                let wait = policy.answered(held, &answer, now);
                put(&mut events, now + wait, Event::Rested);
            }
            Event::Rested => idle += 1,
            Event::Foreign => {
                let _ = server.take(cost(&mut dice), now);
                let next = now + dice.within(0, 4 * NS / 3);
                put(&mut events, next, Event::Foreign);
            }
            Event::Returned => server.refund(RESERVED, now),
            Event::Due => {}
        }
        while idle > 0 {
            match policy.take(next, now) {
                Ok(held) => {
                    let there = now + dice.within(20 * MS, 120 * MS);
                    put(&mut events, there, Event::Sent(held, next));
                    next = cost(&mut dice);
                    idle -= 1;
                }
                Err(wait) => {
                    events.remove(&due);
                    due = put(&mut events, now + wait.max(1), Event::Due);
                    break;
                }
            }
        }
    }
    let there_is = LIMIT + LASTS / NS * LIMIT / 60;
    Outcome {
        refused: f64::from(refused) / f64::from(sent),
        used: used as f64 / there_is as f64,
    }
}

#[derive(Clone, Copy, Debug)]
enum Row {
    None,
    Believe,
    Tighten,
    Ours,
    /// Nothing is said but how long to wait.
    OursUntold,
}

fn cell(row: Row, column: Column) -> Outcome {
    let amount = column.configured();
    let clock = ManualClock::new(0);
    let naive = |naive| {
        let bucket = RefCell::new(Bucket::new(amount));
        simulate(&Ledger { naive, bucket }, &clock, column)
    };
    let ours = |headers| {
        let builder = Limiter::builder().limit(Limit::tokens(amount));
        let builder = builder
            .clock(Clock::from(&clock))
            .max_waiters(1)
            .raise_limits(true);
        let limiter = builder.build().unwrap();
        simulate(&Ours { limiter, headers }, &clock, column)
    };
    match row {
        Row::None => naive(Naive::Nothing),
        Row::Believe => naive(Naive::Believe),
        Row::Tighten => naive(Naive::Tighten),
        Row::Ours => ours(true),
        Row::OursUntold => ours(false),
    }
}

/// What a client does not know.
#[derive(Clone, Copy, Debug)]
enum Column {
    /// The limit: half as much again is configured.
    TooFast,
    /// The limit: 0.7 of it is configured.
    TooSlow,
    /// That somebody else uses 30 % of it.
    Foreign,
    /// That somebody else has reserved most of it at the beginning, and gives it back.
    Returned,
    /// Nothing.
    Right,
}

impl Column {
    fn configured(self) -> u64 {
        match self {
            Self::TooFast => LIMIT * 3 / 2,
            Self::TooSlow => LIMIT * 7 / 10,
            _ => LIMIT,
        }
    }
}

const COLUMNS: [Column; 5] = [
    Column::TooFast,
    Column::TooSlow,
    Column::Foreign,
    Column::Returned,
    Column::Right,
];

fn row(row: Row) -> [Outcome; 5] {
    let outcomes = COLUMNS.map(|column| cell(row, column));
    for (column, Outcome { refused, used }) in COLUMNS.iter().zip(&outcomes) {
        println!(
            "{row:?}, {column:?}: {:.2} % refused, {used:.3} used",
            refused * 100.0
        );
    }
    outcomes
}

/// In each column at most so much is refused, in per cent, and at least so much used.
fn assert_row(outcomes: &[Outcome; 5], bounds: [(f64, f64); 5]) {
    for ((column, outcome), (refused, used)) in COLUMNS.iter().zip(outcomes).zip(bounds) {
        assert!(
            outcome.refused * 100.0 <= refused,
            "{column:?}: {outcome:?}"
        );
        assert!(outcome.used >= used, "{column:?}: {outcome:?}");
    }
}

#[test]
fn simulation() {
    let none = row(Row::None);
    let believe = row(Row::Believe);
    let tighten = row(Row::Tighten);
    let ours = row(Row::Ours);
    let untold = row(Row::OursUntold);
    // Without comparing old answers with the ledger of then, `TooFast` and `Foreign` are refused more; without giving back
    // what was charged too much, `Returned` uses 0.91.
    assert_row(
        &ours,
        [
            (0.3, 0.99),
            (0.0, 0.97),
            (0.7, 0.7),
            (0.5, 0.98),
            (0.1, 0.99),
        ],
    );
    // What is configured too low cannot be known then.
    assert_row(
        &untold,
        [
            (2.0, 0.97),
            (0.0, 0.69),
            (2.0, 0.7),
            (0.5, 0.9),
            (0.1, 0.99),
        ],
    );
    // The table is of a server that punishes mistakes.
    let percent = |outcome: &Outcome| outcome.refused * 100.0;
    assert!(
        believe.iter().all(|outcome| percent(outcome) > 5.0),
        "{believe:?}"
    );
    for (row, outcomes) in [("none", none), ("tighten", tighten)] {
        for (column, outcome) in COLUMNS.iter().zip(&outcomes) {
            let refuses = matches!(column, Column::TooFast | Column::Foreign);
            assert!(
                !refuses || percent(outcome) > 5.0,
                "{row}, {column:?}: {outcome:?}"
            );
            let is_slow = matches!(column, Column::TooSlow);
            assert!(
                !is_slow || outcome.used < 0.75,
                "{row}, {column:?}: {outcome:?}"
            );
        }
    }
    assert!(percent(&none[3]) > 2.0 && tighten[3].used < 0.95);
}
