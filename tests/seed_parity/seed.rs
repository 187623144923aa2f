//! The asyncio recipes that this library began from, again, from what their Python does: with its floating point, its wall
//! clock and its mistakes. Each is asked at a time in seconds.

use std::collections::VecDeque;

/// Something that can be asked for `n` at `now`.
pub trait Seed {
    fn acquire(&mut self, now: f64, n: u64) -> bool;
}

#[derive(Clone)]
pub struct TokenBucket {
    rate: f64,
    capacity: f64,
    pub tokens: f64,
    last_update: f64,
}

impl TokenBucket {
    pub fn new(rate: f64, capacity: f64, now: f64) -> Self {
        Self {
            rate,
            capacity,
            tokens: capacity,
            last_update: now,
        }
    }
}

impl Seed for TokenBucket {
    fn acquire(&mut self, now: f64, n: u64) -> bool {
        let elapsed = now - self.last_update;
        self.tokens = self.capacity.min(self.tokens + elapsed * self.rate);
        self.last_update = now;
        let enough = self.tokens >= n as f64;
        if enough {
            self.tokens -= n as f64;
        }
        enough
    }
}

/// A bucket of requests and one of tokens, each half as large again as its minute.
pub struct DualTokenBucket {
    pub requests: TokenBucket,
    pub tokens: TokenBucket,
}

impl DualTokenBucket {
    pub fn new(requests: f64, tokens: f64, now: f64) -> Self {
        let bucket =
            |per_minute: f64| TokenBucket::new(per_minute / 60.0, (per_minute * 1.5).floor(), now);
        Self {
            requests: bucket(requests),
            tokens: bucket(tokens),
        }
    }

    /// `wait_and_acquire`, cancelled while it waits: for tokens, with the request in its hand.
    pub fn wait_and_give_up(&mut self, now: f64, tokens: u64) {
        let _ = self.requests.acquire(now, 1) && self.tokens.acquire(now, tokens);
    }
}

impl Seed for DualTokenBucket {
    fn acquire(&mut self, now: f64, n: u64) -> bool {
        if !self.requests.acquire(now, 1) {
            return false;
        }
        let enough = self.tokens.acquire(now, n);
        if !enough {
            self.requests.tokens += 1.0;
        }
        enough
    }
}

/// A queue of `capacity`, and a task that takes from it whatever is there: it waits for the interval only while there is
/// nothing. The task has its turn after each request, as an event loop gives it.
pub struct LeakyBucket {
    capacity: usize,
    queue: usize,
    pub is_started: bool,
}

impl LeakyBucket {
    pub fn new(capacity: usize, is_started: bool) -> Self {
        Self {
            capacity,
            queue: 0,
            is_started,
        }
    }
}

impl Seed for LeakyBucket {
    fn acquire(&mut self, _now: f64, _n: u64) -> bool {
        let has_room = self.queue < self.capacity;
        if has_room {
            self.queue += 1;
        }
        if self.is_started {
            self.queue = 0;
        }
        has_room
    }
}

/// Time stamps of requests; it does not look at how much they ask for.
pub struct SlidingWindowLog {
    limit: usize,
    window: f64,
    requests: VecDeque<f64>,
}

impl SlidingWindowLog {
    pub fn new(limit: usize, window: f64) -> Self {
        Self {
            limit,
            window,
            requests: VecDeque::new(),
        }
    }
}

impl Seed for SlidingWindowLog {
    fn acquire(&mut self, now: f64, _n: u64) -> bool {
        let cutoff = now - self.window;
        while self.requests.front().is_some_and(|&at| at < cutoff) {
            self.requests.pop_front();
        }
        let has_room = self.requests.len() < self.limit;
        if has_room {
            self.requests.push_back(now);
        }
        has_room
    }
}

/// Windows begin at multiples of their length of the wall clock, but for the first.
pub struct SlidingWindowCounter {
    limit: f64,
    window: f64,
    current: f64,
    previous: f64,
    start: f64,
}

impl SlidingWindowCounter {
    pub fn new(limit: u64, window: f64, now: f64) -> Self {
        Self {
            limit: limit as f64,
            window,
            current: 0.0,
            previous: 0.0,
            start: now,
        }
    }
}

impl Seed for SlidingWindowCounter {
    fn acquire(&mut self, now: f64, n: u64) -> bool {
        let start = now - now % self.window;
        if start > self.start {
            self.previous = match start > self.start + self.window {
                true => 0.0,
                false => self.current,
            };
            self.current = 0.0;
            self.start = start;
        }
        let weight = (now - self.start) / self.window;
        let count = self.previous * (1.0 - weight) + self.current;
        let has_room = count + n as f64 <= self.limit;
        if has_room {
            self.current += n as f64;
        }
        has_room
    }
}

/// The next window begins when somebody comes after the end of the last one.
pub struct FixedWindowCounter {
    limit: u64,
    window: f64,
    count: u64,
    start: f64,
}

impl FixedWindowCounter {
    pub fn new(limit: u64, window: f64, now: f64) -> Self {
        Self {
            limit,
            window,
            count: 0,
            start: now,
        }
    }
}

impl Seed for FixedWindowCounter {
    fn acquire(&mut self, now: f64, n: u64) -> bool {
        if now - self.start >= self.window {
            self.count = 0;
            self.start = now;
        }
        let has_room = self.count + n <= self.limit;
        if has_room {
            self.count += n;
        }
        has_room
    }
}

/// A semaphore.
pub struct ConcurrencyLimiter {
    pub free: u64,
}

impl Seed for ConcurrencyLimiter {
    fn acquire(&mut self, _now: f64, _n: u64) -> bool {
        let has_room = self.free > 0;
        self.free -= u64::from(has_room);
        has_room
    }
}

impl LeakyBucket {
    /// A waiter is cancelled in the queue: the task sets the result of a cancelled future, which raises, and ends.
    pub fn cancel_waiter(&mut self) {
        self.is_started = false;
    }

    /// `wait_and_acquire`: whether it ever comes back.
    pub fn wait(&mut self) -> bool {
        self.is_started
    }
}
