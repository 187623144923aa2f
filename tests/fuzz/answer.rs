//! Any bytes as an answer: what is read out of them is sane.
#![no_main]

mod input;
#[path = "../feedback/sane.rs"]
mod sane;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| sane::sane(&input::reading(answer)));
