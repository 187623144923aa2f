//! Rate limiting for LLM API clients: several limits at once, FIFO waiting, exact times.
//!
//! A [`Limiter`] holds up to [`MAX_LIMITS`] limits (requests, tokens, input tokens, output tokens, in flight) that
//! admit a request all together or not at all, and one queue of those who wait. [`TokenBucket`], a [`BucketMap`] of them by
//! key, and [`InFlight`] are the bare primitives; a [`LimiterMap`] has a limiter for each key, a [`Chain`] needs several at once, a [`Router`]
//! chooses between many, and [`feedback`] reads what providers say about their limits. The same is available from C and
//! everything that can call C: `include/llmrl.h`.
//!
//! ```
//! use llmrl::{Cost, Limit, Limiter};
//!
//! let limiter = Limiter::builder()
//!     .limit(Limit::requests(500))
//!     .limit(Limit::tokens(200_000))
//!     .limit(Limit::in_flight(50))
//!     .build()?;
//! let permit = limiter.acquire(&Cost::tokens(1_200, 400))?;
//! permit.settle(&Cost::tokens(1_180, 212))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! * **Bound.** For each token bucket and over any interval: admitted minus refunded stays within the burst plus what the
//!   interval produces; for the other kinds see [`Limit`]. Integer arithmetic from an absolute origin; no drift.
//! * **All or nothing.** A refused request has taken nothing, from any limit.
//! * **Exact time.** A refusal names the earliest instant at which the request would be admitted.
//! * **FIFO.** Whoever waits first is served first, threads and event loops alike; nobody passes the queue.
//! * **Nobody is needed.** Whoever touches a limiter can complete everybody else's grant.
//! * **No lock, no allocation, no system call** on the way to an admission.
//!
//! How it works is told in ARCHITECTURE.md.

mod buckets;
pub mod capi;
mod chain;
mod clock;
mod entries;
mod error;
mod fair;
pub mod feedback;
mod limit;
mod limiter;
mod map;
mod park;
mod ring;
mod route;
mod sync;

pub use buckets::{BucketMap, Denied, Key, Overflow};
pub use chain::{Chain, ChainPermit, ChainProgress, ChainRefused, ChainTicket, MAX_LEVELS};
pub use clock::{Clock, ManualClock, until_reset};
pub use error::{ConfigError, OutOfRange, Refused};
pub use fair::{
    Class, FairOptions, FairPermit, FairProgress, FairQueue, FairStats, FairTicket, Share,
};
pub use limit::{Cost, InFlight, Limit, Meter, Oversize, Short, TokenBucket, Weights};
pub use limiter::{
    Advice, Builder, Corrupt, LONGEST_PAUSE, LimitState, Limiter, MAX_LIMITS, Mode, Outlook,
    Permit, Progress, Saved, Stats, Ticket, Wake,
};
pub use map::{Keyed, LimiterMap, MAX_KEY, MapError, MapStats};
pub use route::{Node, Routed, RoutedProgress, RoutedTicket, Router, Unrouted};
