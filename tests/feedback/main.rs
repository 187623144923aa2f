//! What is read out of providers' answers: the vectors, which the Python suite runs as well, and hostile input.
#![cfg(not(any(loom, shuttle)))]

mod hostile;
mod sane;
mod vectors;
