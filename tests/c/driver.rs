//! What the Rust sides of the C tests share: finding tools and libraries, compiling, running.

// Each test program uses its part of this.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A directory for one test, empty.
pub fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The shared library, under the name that Cargo gives it.
pub fn shared_library() -> PathBuf {
    let name = if cfg!(target_os = "macos") {
        "libllmrl.dylib"
    } else {
        "libllmrl.so"
    };
    let path = libraries().join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path
}

/// Where Cargo has put the libraries that belong to this test run.
pub fn libraries() -> PathBuf {
    let path = std::env::current_exe().unwrap();
    path.parent().unwrap().to_path_buf()
}

/// Says, where nothing swallows it, that a check was left out. In CI that is a failure.
pub fn not_run(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {what}: {why}");
    assert!(std::env::var_os("CI").is_none(), "{what}: {why}");
}

/// Whether these programs are there; says so if not.
pub fn have(what: &str, programs: &[&str]) -> bool {
    let found = |program: &&&str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let missing: Vec<_> = programs.iter().filter(|program| !found(program)).collect();
    if !missing.is_empty() {
        not_run(what, &format!("{missing:?} not found"));
    }
    missing.is_empty()
}

/// The compiler that the environment names, or the usual one.
pub fn compiler(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| default.into())
}

/// Runs a command to its end and gives what it printed; a failure is one of the test.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
