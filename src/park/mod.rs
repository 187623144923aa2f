//! Sleeping and waking on one word.
//!
//! [`Sleeper`] is a 32-bit word that a thread can sleep on, until somebody wakes it or a time comes. On Linux it
//! is a futex; elsewhere, under the model checkers and with `--cfg llmrl_portable` a mutex and a condition
//! variable, with the same contract: `wait` looks at the word once, on entry, and may return for no reason.

#[cfg_attr(
    not(all(target_os = "linux", not(any(loom, shuttle, llmrl_portable)))),
    path = "portable.rs"
)]
#[cfg_attr(
    all(target_os = "linux", not(any(loom, shuttle, llmrl_portable))),
    path = "linux.rs"
)]
mod platform;

pub(crate) use platform::Sleeper;
