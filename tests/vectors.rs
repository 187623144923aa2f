//! The language-neutral vectors, against the library and against the reference; see `vectors/README.md`.
//!
//! `LLMRL_VECTORS=fill` writes the reference's answers into steps that have none.
#![cfg(not(any(loom, shuttle)))]

#[path = "vectors/format.rs"]
mod format;
#[path = "reference/mod.rs"]
mod reference;

use format::{Action, Subject as Kind, Vector};
use llmrl::{Clock, InFlight, Limiter, ManualClock, TokenBucket};
use reference::subject::{build, from};
use reference::{Answer, Bucket, Check, LimitSpec, Model, Op, Subject, Wait};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whatever can play a vector.
trait Player {
    fn advance_to(&mut self, at: u64);
    fn apply(&mut self, action: &Action) -> Answer;
    /// What each limit has left.
    fn available(&self) -> Vec<i64>;
}

struct BareBucket(TokenBucket, ManualClock);

impl Player for BareBucket {
    fn advance_to(&mut self, at: u64) {
        self.1.advance(Duration::from_nanos(at - self.1.now_ns()));
    }

    fn apply(&mut self, action: &Action) -> Answer {
        let done =
            |result: Result<(), llmrl::OutOfRange>| result.map_or(Answer::Range, |()| Answer::Ok);
        match *action {
            Action::Take(n) => match self.0.try_take(n) {
                Ok(()) => Answer::Ok,
                Err(short) => match from(short.wait()) {
                    Wait::Forever => Answer::Never,
                    wait => Answer::Refused(wait),
                },
            },
            Action::Refund(n) => done(self.0.refund(n)),
            Action::Charge(n) => done(self.0.charge(n)),
            Action::Retune(amount, period_ns, burst) => done(self.0.retune(
                amount,
                Duration::from_nanos(period_ns),
                burst,
            )),
            Action::Pause(ns) => {
                self.0.pause(Duration::from_nanos(ns));
                Answer::Ok
            }
            _ => panic!("not an operation of a bucket: {action:?}"),
        }
    }

    fn available(&self) -> Vec<i64> {
        vec![self.0.available()]
    }
}

struct ModelBucket(Bucket, u64);

impl Player for ModelBucket {
    fn advance_to(&mut self, at: u64) {
        self.1 = at;
    }

    fn apply(&mut self, action: &Action) -> Answer {
        let Self(bucket, now) = self;
        match *action {
            Action::Take(n) => match bucket.check(n, *now) {
                Check::Yes => bucket.take(n, *now),
                Check::Never => return Answer::Never,
                Check::At(None) => panic!("due after the end of the clock: no vector"),
                Check::At(Some(at)) => return Answer::Refused(Wait::Ns(at - *now)),
            },
            Action::Refund(n) => bucket.refund(n, *now),
            Action::Charge(n) => bucket.charge(n, *now),
            Action::Retune(amount, period_ns, burst) => {
                if !bucket.retune(amount, period_ns, burst, *now) {
                    return Answer::Range;
                }
            }
            Action::Pause(ns) => bucket.pause(ns, *now),
            _ => panic!("not an operation of a bucket: {action:?}"),
        }
        Answer::Ok
    }

    fn available(&self) -> Vec<i64> {
        vec![self.0.available(self.1)]
    }
}

impl Player for InFlight {
    fn advance_to(&mut self, _at: u64) {}

    fn apply(&mut self, action: &Action) -> Answer {
        match *action {
            Action::Enter if self.try_enter() => Answer::Ok,
            Action::Enter => Answer::Refused(Wait::Forever),
            Action::Leave if self.leave() => Answer::Ok,
            Action::Leave => Answer::Stale,
            Action::Resize(n) => self.resize(n).map_or(Answer::Range, |()| Answer::Ok),
            _ => panic!("not an operation of an in-flight limit: {action:?}"),
        }
    }

    fn available(&self) -> Vec<i64> {
        vec![self.limit() as i64 - self.count() as i64]
    }
}

struct ModelInFlight {
    limit: u64,
    count: u64,
}

impl Player for ModelInFlight {
    fn advance_to(&mut self, _at: u64) {}

    fn apply(&mut self, action: &Action) -> Answer {
        match *action {
            Action::Enter if self.count >= self.limit => return Answer::Refused(Wait::Forever),
            Action::Enter => self.count += 1,
            Action::Leave if self.count == 0 => return Answer::Stale,
            Action::Leave => self.count -= 1,
            Action::Resize(n) if n == 0 || n > llmrl::Limit::MAX_IN_FLIGHT => return Answer::Range,
            Action::Resize(n) => self.limit = n,
            _ => panic!("not an operation of an in-flight limit: {action:?}"),
        }
        Answer::Ok
    }

    fn available(&self) -> Vec<i64> {
        vec![self.limit as i64 - self.count as i64]
    }
}

struct WithLimits<T>(T, usize);

impl Player for WithLimits<Subject<'_>> {
    fn advance_to(&mut self, at: u64) {
        self.0.advance_to(at);
    }

    fn apply(&mut self, action: &Action) -> Answer {
        self.0.apply(limiter_op(action))
    }

    fn available(&self) -> Vec<i64> {
        (0..self.1).map(|limit| self.0.available(limit)).collect()
    }
}

impl Player for WithLimits<Model> {
    fn advance_to(&mut self, at: u64) {
        self.0.advance_to(at);
    }

    fn apply(&mut self, action: &Action) -> Answer {
        self.0.apply(limiter_op(action))
    }

    fn available(&self) -> Vec<i64> {
        (0..self.1).map(|limit| self.0.available(limit)).collect()
    }
}

fn limiter_op(action: &Action) -> &Op {
    match action {
        Action::Limiter(op) => op,
        _ => panic!("not an operation of a limiter: {action:?}"),
    }
}

/// Plays `vector` and compares each answer.
fn play(vector: &Vector, who: &str, player: &mut dyn Player) {
    for (number, step) in vector.steps.iter().enumerate() {
        player.advance_to(step.at);
        let answer = player.apply(&step.action);
        let place = format!("{}, step {} ({who})", vector.name, number + 1);
        let expected = step
            .expected
            .as_ref()
            .unwrap_or_else(|| panic!("{place}: no answer"));
        assert_eq!(answer.word(), expected.word, "{place}");
        if let Some(wait) = expected.wait {
            assert_eq!(answer.wait(), Some(wait), "{place}");
        }
        if let Some(available) = &expected.available {
            assert_eq!(&player.available(), available, "{place}: available");
        }
    }
}

fn model(vector: &Vector) -> Box<dyn Player> {
    match (vector.subject, &vector.setup.limits[..]) {
        (Kind::Limiter, limits) => Box::new(WithLimits(Model::new(&vector.setup), limits.len())),
        (Kind::Bucket, [LimitSpec::Bucket(spec)]) => {
            let start = vector.setup.start_ns;
            Box::new(ModelBucket(Bucket::new(spec, start), start))
        }
        (Kind::InFlight, [LimitSpec::InFlight(limit)]) => Box::new(ModelInFlight {
            limit: *limit,
            count: 0,
        }),
        _ => panic!("{}: one limit of the subject's kind", vector.name),
    }
}

fn play_library(vector: &Vector) {
    let limits = &vector.setup.limits;
    match vector.subject {
        Kind::Limiter => {
            let built: (Limiter, ManualClock) = build(&vector.setup);
            play(
                vector,
                "library",
                &mut WithLimits(Subject::new(&built), limits.len()),
            );
        }
        Kind::Bucket => {
            let clock = ManualClock::new(vector.setup.start_ns);
            let bucket = TokenBucket::new(limits[0].limit(), &Clock::from(&clock)).unwrap();
            play(vector, "library", &mut BareBucket(bucket, clock));
        }
        Kind::InFlight => {
            let LimitSpec::InFlight(limit) = limits[0] else {
                panic!("{}: one in-flight limit", vector.name)
            };
            play(vector, "library", &mut InFlight::new(limit).unwrap());
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
}

/// Writes the reference's answers into the steps of the file that have none.
fn fill(path: &Path) {
    let mut vector = format::read(path);
    let mut player = model(&vector);
    for step in &mut vector.steps {
        player.advance_to(step.at);
        let answer = player.apply(&step.action);
        if step.expected.is_none() {
            step.fill(&answer, player.available());
        }
    }
    format::write(path, &vector);
}

#[test]
fn every_vector() {
    let files = files();
    assert!(files.len() >= 15, "only {} vectors", files.len());
    if std::env::var("LLMRL_VECTORS").is_ok_and(|mode| mode == "fill") {
        files.iter().for_each(|path| fill(path));
    }
    for path in files {
        let vector = format::read(&path);
        play(&vector, "reference", &mut *model(&vector));
        play_library(&vector);
    }
}
