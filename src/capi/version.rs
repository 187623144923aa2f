//! Version
//!
//! The macros are what a program was compiled with, the functions what it runs with.
//! Within one LLMRL_ABI_VERSION nothing is taken away that this header promises. A new one
//! also gets a new library name; number 1 is libllmrl.so.0.

use std::ffi::c_char;

/// First part of the version.
pub const LLMRL_VERSION_MAJOR: u32 = 0;
/// Second part of the version.
pub const LLMRL_VERSION_MINOR: u32 = 1;
/// Third part of the version.
pub const LLMRL_VERSION_PATCH: u32 = 0;

/// MAJOR * 10000 + MINOR * 100 + PATCH, for comparing.
pub const LLMRL_VERSION_NUMBER: u32 = 100;

/// Number of the binary interface that this header describes.
pub const LLMRL_ABI_VERSION: u32 = 1;

/// The version of the library that is running, as "1.2.3". Static, not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn llmrl_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the library that is running, as LLMRL_VERSION_NUMBER. A cautious
/// program begins with
///
/// ```c
/// assert(llmrl_version_number() >= LLMRL_VERSION_NUMBER);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn llmrl_version_number() -> u32 {
    LLMRL_VERSION_NUMBER
}

/// The binary interface of the library that is running. It must be equal to
/// LLMRL_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn llmrl_abi_version() -> u32 {
    LLMRL_ABI_VERSION
}

/// Does nothing. Its name is the point: a program or binding that refers to it does not
/// link with a library of another binary interface, so the mistake is found before
/// anything runs.
#[unsafe(no_mangle)]
pub extern "C" fn llmrl_abi_v1() {}
