//! Time as ticks: the processor's time-stamp counter, the system's monotonic clock, or one driven by hand.
//!
//! Half of the cost of an admission is reading the clock, so the raw counter is used as it is and the
//! conversion to tokens is folded into each limit's production line; nanoseconds appear only at the edges.
//! The plain, unordered counter read is used: it may come out of order between two threads by some
//! hundred nanoseconds, and every use in this crate subtracts with saturation, so an early reading makes
//! a limit look slightly emptier and never admits more. An ordered read costs more on some processors and
//! nothing on others; `benches/README.md` has both.

use crate::sync::{AcqRel, Acquire, Arc, AtomicU64, Mutex, Weak, lock};
use std::fmt;
use std::time::Duration;

/// Where a limiter takes its time from. Cheap to clone; clones are the same clock.
///
/// ```
/// use llmrl::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let hand = ManualClock::new(0);
/// let clock = Clock::from(&hand);           // give this to a limiter under test
/// hand.advance(Duration::from_secs(60));    // a minute passes, at once
/// # let _ = clock;
/// ```
#[derive(Clone)]
pub struct Clock {
    source: Source,
    /// Ticks are readings shifted left by this much, so that a tick is always shorter than a nanosecond:
    /// then at most one token falls into a tick, and production needs one half of a product (`limit/line.rs`).
    shift: u32,
}

#[derive(Clone)]
enum Source {
    /// The time-stamp counter, which quanta has found to be usable and has calibrated. Read without going
    /// through quanta's choice of sources, which costs as much as the rest of an admission.
    #[cfg(target_arch = "x86_64")]
    Counter(quanta::Clock),
    Machine(quanta::Clock),
    Manual(ManualClock),
}

impl Clock {
    /// The machine's monotonic time. Steps of the wall clock do not touch it; it stands still while the
    /// machine is suspended. The first call in a process calibrates the counter (under a millisecond).
    pub fn machine() -> Self {
        let clock = quanta::Clock::new();
        let ns = clock.delta_as_nanos(0, 1 << Scale::SHIFT).max(1);
        // The smallest shift that makes a tick shorter than a nanosecond; 0 for counters above 1 GHz.
        let shift = (ns >> Scale::SHIFT)
            .checked_ilog2()
            .map_or(0, |log| log + 1);
        #[cfg(target_arch = "x86_64")]
        // Whatever does not count in nanoseconds is the counter.
        if ns != 1 << Scale::SHIFT {
            return Self {
                source: Source::Counter(clock),
                shift,
            };
        }
        Self {
            source: Source::Machine(clock),
            shift,
        }
    }

    /// The current tick.
    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        match &self.source {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: every x86-64 processor has the instruction, and quanta has used it to get here.
            Source::Counter(_) => unsafe { core::arch::x86_64::_rdtsc() << self.shift },
            source => source.read() << self.shift,
        }
    }

    /// How ticks relate to nanoseconds.
    pub(crate) fn scale(&self) -> Scale {
        let unit = 1 << Scale::SHIFT;
        let ns = match &self.source {
            #[cfg(target_arch = "x86_64")]
            Source::Counter(clock) => clock.delta_as_nanos(0, unit),
            Source::Machine(clock) => clock.delta_as_nanos(0, unit),
            Source::Manual(_) => unit,
        };
        Scale {
            ns: (ns >> self.shift).max(1),
        }
    }

    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.source, Source::Manual(_))
    }

    /// Has `alarm` called whenever a hand-driven clock is advanced. The machine's clock needs none:
    /// there the sleepers' own timers go off.
    pub(crate) fn attach(&self, alarm: Weak<dyn Alarm>) {
        if let Source::Manual(clock) = &self.source {
            let mut alarms = lock(&clock.0.alarms);
            alarms.retain(|alarm| alarm.strong_count() > 0);
            alarms.push(alarm);
        }
    }
}

impl Source {
    #[cold]
    fn read(&self) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Counter(clock) => clock.raw(),
            Self::Machine(clock) => clock.raw(),
            Self::Manual(clock) => clock.reading_ns(),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::machine()
    }
}

impl From<&ManualClock> for Clock {
    fn from(clock: &ManualClock) -> Self {
        Self {
            source: Source::Manual(clock.clone()),
            shift: 1,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_manual() {
            "Clock::manual"
        } else {
            "Clock::machine"
        })
    }
}

/// Nanoseconds of a duration, or the most there are.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How long until the present `period` of the calendar is over, by the wall clock now: periods follow each other from
/// midnight of 1 January 1970 on, at `utc_offset` seconds east of Greenwich. For limits that a provider resets by its own
/// clock, at midnight in California say (`-8 * 3600` in winter). The wall clock is read here and nowhere else.
///
/// ```
/// use llmrl::{Limit, Meter, until_reset};
/// use std::time::Duration;
///
/// let day = Duration::from_secs(86_400);
/// let resets_in = until_reset(day, -8 * 3600);
/// Limit::fixed_window(Meter::Requests, 1_500).per(day).resets_in(resets_in);
/// assert!(resets_in <= day);
/// ```
pub fn until_reset(period: Duration, utc_offset: i32) -> Duration {
    let since_1970 = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let (period_ns, offset_ns) = (
        period.as_nanos().max(1),
        i128::from(utc_offset) * 1_000_000_000,
    );
    let local = since_1970.as_nanos() as i128 + offset_ns;
    let over = local.rem_euclid(period_ns as i128);
    period.saturating_sub(Duration::from_nanos(
        u64::try_from(over).unwrap_or(u64::MAX),
    ))
}

/// Somebody whose sleepers must look at the time again.
pub(crate) trait Alarm: Send + Sync {
    fn ring(&self);
}

/// A clock that moves only when told to, in nanoseconds. Clones are the same clock.
///
/// Thread-safe. Advancing wakes every waiter whose time has come, so a test needs no sleeping:
///
/// ```
/// use llmrl::{Clock, Cost, Limit, Limiter, ManualClock, Refused};
/// use std::time::Duration;
///
/// let clock = ManualClock::new(0);
/// let limiter = Limiter::builder().limit(Limit::requests(60)).clock(Clock::from(&clock)).build()?;
/// for _ in 0..60 {
///     limiter.try_acquire(&Cost::request()).unwrap().release();
/// }
/// let refused = limiter.try_acquire(&Cost::request()).unwrap_err();
/// assert_eq!(refused, Refused::NotNow { wait: Some(Duration::from_secs(1)) });
/// clock.advance(Duration::from_secs(1));
/// assert!(limiter.try_acquire(&Cost::request()).is_ok());
/// # Ok::<(), llmrl::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

struct Manual {
    ns: AtomicU64,
    #[cfg(not(any(loom, shuttle)))]
    dissent: Dissent,
    alarms: Mutex<Vec<Weak<dyn Alarm>>>,
}

impl ManualClock {
    /// The last nanosecond that such a clock shows: 146 years. In ticks it leaves the top bit free, so that production
    /// from any origin, with the fraction it carries, fits its 128 bits.
    pub const MAX_NS: u64 = u64::MAX >> 2;

    /// A clock that shows `start_ns` nanoseconds, or [`MAX_NS`](Self::MAX_NS) if that is less.
    pub fn new(start_ns: u64) -> Self {
        Self(Arc::new(Manual {
            ns: AtomicU64::new(start_ns.min(Self::MAX_NS)),
            #[cfg(not(any(loom, shuttle)))]
            dissent: Dissent::default(),
            alarms: Mutex::new(Vec::new()),
        }))
    }

    /// What the clock shows, in nanoseconds.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.0.ns.load(Acquire)
    }

    /// From now on about half of the readings that a limiter or a bucket takes are `by` behind, as if there were threads
    /// whose clocks disagree. For this library's own tests: what is admitted stays right.
    #[cfg(not(any(loom, shuttle)))]
    #[doc(hidden)]
    pub fn disagree(&self, by: Duration) {
        self.0.dissent.by.store(nanos(by), crate::sync::Relaxed);
    }

    fn reading_ns(&self) -> u64 {
        #[cfg(not(any(loom, shuttle)))]
        return self.now_ns().saturating_sub(self.0.dissent.next());
        #[cfg(any(loom, shuttle))]
        self.now_ns()
    }

    /// Moves the clock forward (it stops at [`MAX_NS`](Self::MAX_NS)) and wakes the waiters
    /// whose time has come.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        let mut now = self.0.ns.load(Acquire);
        while let Err(seen) = self.0.ns.compare_exchange(
            now,
            now.saturating_add(by).min(Self::MAX_NS),
            AcqRel,
            Acquire,
        ) {
            now = seen;
        }
        // Collected first: a woken waiter may build or drop a limiter on this very clock.
        let alarms: Vec<_> = lock(&self.0.alarms)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        alarms.iter().for_each(|alarm| alarm.ring());
    }
}

/// By how much readings disagree, and how many there were.
#[cfg(not(any(loom, shuttle)))]
#[derive(Default)]
struct Dissent {
    by: AtomicU64,
    readings: AtomicU64,
}

#[cfg(not(any(loom, shuttle)))]
impl Dissent {
    fn next(&self) -> u64 {
        match self.by.load(crate::sync::Relaxed) {
            0 => 0,
            by => {
                let reading = self.readings.fetch_add(1, crate::sync::Relaxed);
                by * (reading.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63)
            }
        }
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({} ns)", self.now_ns())
    }
}

/// The length of a tick: `ns / 2^44` nanoseconds, less than one. Exact for the manual clock, whose tick is half
/// a nanosecond, and to 1 in 10^13 for the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) ns: u64,
}

impl Scale {
    pub(crate) const SHIFT: u32 = 44;

    /// Nanoseconds that `ticks` last, rounded up: whoever sleeps that long is not early.
    pub(crate) fn to_ns(self, ticks: u64) -> u64 {
        let ns = (u128::from(ticks) * u128::from(self.ns)).div_ceil(1 << Self::SHIFT);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// Ticks in `ns` nanoseconds, rounded down.
    pub(crate) fn to_ticks(self, ns: u64) -> u64 {
        let ticks = (u128::from(ns) << Self::SHIFT) / u128::from(self.ns);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    pub(crate) fn duration_to_ticks(self, duration: Duration) -> u64 {
        self.to_ticks(nanos(duration))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_short() {
        for ns in [
            1u64,
            3 << 42,
            1 << 44,
            (1 << 44) + 12_345,
            700_000_000_000_000,
        ] {
            let scale = Scale { ns };
            for ticks in [0, 1, 2, 1_000_003, u64::MAX >> 20] {
                assert!(scale.to_ticks(scale.to_ns(ticks)) >= ticks, "{ns} {ticks}");
            }
        }
        assert_eq!(Scale { ns: u64::MAX }.to_ns(u64::MAX), u64::MAX);
        assert_eq!(Scale { ns: 1 }.to_ticks(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_machine_clock_runs_forward() {
        let clock = Clock::machine();
        let (a, b) = (clock.now(), clock.now());
        assert!(b.saturating_sub(a) < clock.scale().to_ticks(10_000_000_000));
        // Between 1 MHz and 100 GHz.
        let tick = clock.scale().to_ns(1 << 20);
        assert!((10_000..=1_048_576_000).contains(&tick), "{tick}");
    }

    #[test]
    fn advancing_saturates() {
        let clock = ManualClock::new(ManualClock::MAX_NS - 5);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now_ns(), ManualClock::MAX_NS);
    }
}
