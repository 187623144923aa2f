//! What waiting costs: how late a sleeper is, and how many wakes a grant takes.

use llmrl::{Cost, Limit, Limiter, Refused};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Samples of each kind.
const SAMPLES: usize = 400;
const INTERVAL: Duration = Duration::from_millis(5);

/// A blocked acquire against a bare futex that sleeps as long, in turns.
pub fn overshoot() {
    let per_second = (1_000 / INTERVAL.as_millis()) as u64;
    let limit = Limit::requests(per_second)
        .per(Duration::from_secs(1))
        .burst(1);
    let limiter = Limiter::builder().limit(limit).build().unwrap();
    let request = Cost::request();
    limiter.acquire(&request).unwrap().release();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let start = Instant::now();
        if let Err(Refused::NotNow { wait: Some(wait) }) = limiter.try_acquire(&request) {
            limiter.acquire(&request).unwrap().release();
            ours.push(late(start, wait));
        }
        let start = Instant::now();
        sleep(INTERVAL);
        bare.push(late(start, INTERVAL));
        // The bucket has filled meanwhile.
        let _ = limiter.try_acquire(&request).map(|permit| permit.release());
    }
    println!("\nlateness of a sleeper, {SAMPLES} sleeps of {INTERVAL:?} (microseconds)");
    println!("{:<40} {:>8} {:>8} {:>8}", "", "p50", "p90", "p99");
    let own = row("blocked acquire", &mut ours);
    let floor = row(BARE, &mut bare);
    println!("p50 {:.2} of the bare sleep; target <= 1.10", own / floor);
}

#[cfg(target_os = "linux")]
const BARE: &str = "bare futex wait";
#[cfg(not(target_os = "linux"))]
const BARE: &str = "thread::park_timeout";

#[cfg(target_os = "linux")]
fn sleep(time: Duration) {
    let word = AtomicU32::new(0);
    let until = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: the word and the time are locals; the call returns before they go.
    unsafe {
        let private = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word.as_ptr(), private, 0, &until);
    }
}

#[cfg(not(target_os = "linux"))]
fn sleep(time: Duration) {
    std::thread::park_timeout(time);
}

fn late(start: Instant, wait: Duration) -> f64 {
    start.elapsed().saturating_sub(wait).as_nanos() as f64 / 1e3
}

fn row(name: &str, samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
    println!(
        "{name:<40} {:>8.1} {:>8.1} {:>8.1}",
        at(0.5),
        at(0.9),
        at(0.99)
    );
    at(0.5)
}

/// Eight threads that wait all the time for one bucket.
pub fn wakes_per_grant() {
    const THREADS: usize = 8;
    println!("\n{THREADS} threads waiting in one queue");
    for (name, in_flight) in [("requests", None), ("requests + in flight", Some(2))] {
        let mut builder =
            Limiter::builder().limit(Limit::requests(1_000).per(Duration::from_secs(1)).burst(1));
        if let Some(slots) = in_flight {
            builder = builder.limit(Limit::in_flight(slots));
        }
        let limiter = builder.build().unwrap();
        let left = AtomicU32::new(2_000);
        let take_one = |left: u32| left.checked_sub(1);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
                        .is_ok()
                    {
                        limiter.acquire(&Cost::request()).unwrap().release();
                    }
                });
            }
        });
        let stats = limiter.stats();
        let each = stats.wakes as f64 / stats.granted as f64;
        println!(
            "{name:<40} {} grants, {} wakes: {each:.3} a grant",
            stats.granted, stats.wakes
        );
    }
}
