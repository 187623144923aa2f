//! The reference: what a limiter must answer, computed in exact rational arithmetic by the plainest means.
//!
//! It shares nothing with the library but the words of its interface. No packed words, no threads, no
//! rounding: production is a fraction, the queue is a `VecDeque`, and what happens at an instant happens in
//! the order in which it was asked for.

// Each test binary takes in the whole reference and uses the part that it needs.
#![allow(dead_code, unused_imports)]

pub mod bucket;
pub mod limiter;
pub mod lows;
pub mod rules;
pub mod script;
pub mod subject;
pub mod window;

pub use bucket::{Bucket, Check};
pub use limiter::Model;
pub use script::{Answer, BucketSpec, LimitSpec, Name, Op, Setup, Wait, WindowShape, WindowSpec};
pub use subject::Subject;
pub use window::Window;
