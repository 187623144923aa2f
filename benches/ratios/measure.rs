//! Interleaved rounds, medians, ratios.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Time that the calling thread has run. The wall's clock would also count what others do in between.
#[cfg(unix)]
fn run_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(unix))]
fn run_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Nanoseconds that one time takes when `run` does it so `often`.
fn time_each(run: &(dyn Fn(u64) + Sync), often: u64) -> f64 {
    let start = run_time();
    run(often);
    (run_time() - start).as_nanos() as f64 / often as f64
}

/// Processors that the process may use, whatever a thread of it is pinned to.
pub fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Pins the calling thread, where that can be done.
pub fn pin_to(processor: usize) {
    let processor = processor % processors();
    #[cfg(target_os = "linux")]
    // SAFETY: the set is a local of the size that is passed, and zero is the empty set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = processor;
}

/// Nanoseconds that one time takes with two threads at it, and whether they were at it together.
fn both(case: &Case, often: u64) -> (f64, bool) {
    let ready = AtomicU32::new(0);
    let work = |processor: usize| {
        pin_to(processor);
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < 2 {
            std::hint::spin_loop();
        }
        let (start, ran) = (Instant::now(), run_time());
        (case.run)(often);
        (run_time() - ran, start, Instant::now())
    };
    let (own, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| work(0));
        let own = scope.spawn(|| work(1));
        (own.join().unwrap(), other.join().unwrap())
    });
    let shared = own
        .2
        .min(other.2)
        .saturating_duration_since(own.1.max(other.1));
    let together = [own, other].iter().all(|(ran, start, end)| {
        let wall = (*end - *start).as_secs_f64();
        let ran = if case.sleeps { wall } else { ran.as_secs_f64() };
        ran > wall * 0.97 && shared.as_secs_f64() > wall * 0.8
    });
    let wall = (own.2 - own.1) + (other.2 - other.1);
    (wall.as_nanos() as f64 / 2.0 / often as f64, together)
}

/// What a case is to be compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Against {
    Admit,
    Refuse,
}

/// Something to be done often.
pub struct Case<'a> {
    pub name: &'static str,
    pub against: Against,
    /// The most that it should cost, in multiples of the floor, or nothing.
    pub target: Option<f64>,
    /// The most that it should cost more than the case before it, in nanoseconds.
    pub above_last: Option<f64>,
    /// Whether it may put a thread to sleep, so that the time it takes is more than the time it runs.
    pub sleeps: bool,
    /// Does it so many times. The loop is inside, so that the call costs nothing.
    pub run: Box<dyn Fn(u64) + Sync + 'a>,
}

impl<'a> Case<'a> {
    pub fn new(name: &'static str, against: Against, run: impl Fn(u64) + Sync + 'a) -> Self {
        Self {
            name,
            against,
            target: None,
            above_last: None,
            sleeps: false,
            run: Box::new(run),
        }
    }

    pub fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    pub fn above_last(mut self, ns: f64) -> Self {
        self.above_last = Some(ns);
        self
    }

    pub fn sleeps(mut self) -> Self {
        self.sleeps = true;
        self
    }

    /// How often it can be done in `time`.
    fn calibrate(&self, time: Duration) -> u64 {
        let mut times = 1_000;
        loop {
            let each = time_each(&self.run, times);
            if each * times as f64 * 8.0 > time.as_nanos() as f64 {
                return (time.as_nanos() as f64 / each).max(1.0) as u64;
            }
            times *= 4;
        }
    }
}

/// Cases and their times; the first one against each floor is that floor.
pub struct Table<'a> {
    title: &'static str,
    cases: Vec<Case<'a>>,
    times: Vec<Vec<f64>>,
}

impl<'a> Table<'a> {
    pub fn new(title: &'static str, cases: Vec<Case<'a>>) -> Self {
        let times = cases.iter().map(|_| Vec::new()).collect();
        Self {
            title,
            cases,
            times,
        }
    }

    /// Each case in turn, round by round, so that what disturbs the machine disturbs all alike.
    pub fn run_one(&mut self, rounds: usize, milliseconds: u64) {
        let time = Duration::from_millis(milliseconds);
        let often: Vec<_> = self.cases.iter().map(|case| case.calibrate(time)).collect();
        for _ in 0..rounds {
            for ((case, times), &often) in self.cases.iter().zip(&mut self.times).zip(&often) {
                times.push(time_each(&case.run, often));
            }
        }
    }

    /// The same with two pinned threads at a time. A run counts only if both had a processor all the time:
    /// two that take turns do not contend. Says whether there were enough of those.
    pub fn run_two(&mut self, rounds: usize, milliseconds: u64) -> bool {
        let time = Duration::from_millis(milliseconds).as_nanos() as f64;
        let calibrate = |case: &Case| (time / both(case, 20_000).0) as u64;
        let often: Vec<_> = self.cases.iter().map(calibrate).collect();
        for _ in 0..rounds * 20 {
            for ((case, times), &often) in self.cases.iter().zip(&mut self.times).zip(&often) {
                if times.len() < rounds {
                    let (each, together) = both(case, often);
                    times.extend(together.then_some(each));
                }
            }
        }
        self.times.iter().all(|times| times.len() == rounds)
    }

    pub fn print(&mut self, unit: &str) {
        for times in &mut self.times {
            times.sort_by(f64::total_cmp);
        }
        let at =
            |index: usize, place: usize| self.times[index].get(place).copied().unwrap_or(f64::NAN);
        let median = |index: usize| at(index, self.times[index].len() / 2);
        let floor = |against| {
            let first = self.cases.iter().position(|case| case.against == against);
            first.map_or(1.0, median)
        };
        println!(
            "\n{} ({unit}; median and smallest of {} rounds)",
            self.title,
            self.times[0].len()
        );
        println!(
            "{:<58} {:>8} {:>8} {:>7}  target",
            "", "median", "min", "ratio"
        );
        for (index, case) in self.cases.iter().enumerate() {
            if self.times[index].is_empty() {
                println!("{:<58} {:>8}", case.name, "-");
                continue;
            }
            let ratio = median(index) / floor(case.against);
            let target = match (case.target, case.above_last) {
                (Some(target), _) => format!("<= {target:.2}{}", missed(ratio > target)),
                (None, Some(ns)) => {
                    let more = median(index) - median(index - 1);
                    format!("{more:+.2} ns, <= {ns} ns{}", missed(more > ns))
                }
                (None, None) => String::new(),
            };
            let letter = if case.against == Against::Admit {
                "F"
            } else {
                "R"
            };
            println!(
                "{:<58} {:>8.2} {:>8.2} {ratio:>6.2}{letter}  {target}",
                case.name,
                median(index),
                at(index, 0),
            );
        }
    }
}

fn missed(missed: bool) -> &'static str {
    if missed { "  missed" } else { "" }
}
