//! The C tests: compiled in every standard that is promised, run, and run again under ASan and valgrind.
#![cfg(all(unix, not(any(loom, shuttle))))]

#[path = "c/answers.rs"]
mod answers;
#[path = "c/driver.rs"]
mod driver;
#[path = "c/vectors.rs"]
mod vectors;

use driver::*;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 12] = [
    "use",
    "bare",
    "layout",
    "misuse",
    "misuse_requests",
    "misuse_answers",
    "threads",
    "events",
    "keys",
    "route",
    "chain",
    "fair",
];
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// A directory with the shared library in it, under the names that linker and loader look for.
fn linked(name: &str) -> PathBuf {
    let directory = scratch(name);
    let library = shared_library();
    let soname = if cfg!(target_os = "macos") {
        "libllmrl.0.dylib"
    } else {
        "libllmrl.so.0"
    };
    symlink(&library, directory.join(library.file_name().unwrap())).unwrap();
    symlink(&library, directory.join(soname)).unwrap();
    directory
}

/// Compiles one source file of tests/c against the shared library.
fn compile(compiler: &str, flags: &[&str], source: &Path, directory: &Path, name: &str) -> PathBuf {
    let program = directory.join(name);
    run(Command::new(compiler)
        .args(flags)
        .args(WARNINGS)
        .arg(format!("-I{}", root().join("include").display()))
        .arg(format!("-I{}", root().join("tests/c").display()))
        .arg("-o")
        .arg(&program)
        .arg(source)
        .args(["-x", "none"])
        .arg(format!("-L{}", directory.display()))
        .arg(format!("-Wl,-rpath,{}", directory.display()))
        .args(["-lllmrl", "-lpthread"]));
    program
}

fn source(name: &str) -> PathBuf {
    root().join(format!("tests/c/{name}.c"))
}

fn compile_and_run(standard: &str) {
    let (variable, default, language) = if standard.starts_with("c++") {
        ("CXX", "c++", "c++")
    } else {
        ("CC", "cc", "c")
    };
    let compiler = compiler(variable, default);
    if !have(&format!("tests/c in {standard}"), &[&compiler]) {
        return;
    }
    let directory = linked(&format!("c-{standard}"));
    let standard = format!("-std={standard}");
    for name in PROGRAMS {
        let flags = [standard.as_str(), "-O1", "-g", "-x", language];
        run(&mut Command::new(compile(
            &compiler,
            &flags,
            &source(name),
            &directory,
            name,
        )));
    }
}

#[test]
fn c99() {
    compile_and_run("c99");
}

#[test]
fn c11() {
    compile_and_run("c11");
}

#[test]
fn c17() {
    compile_and_run("c17");
}

#[test]
fn cpp17() {
    compile_and_run("c++17");
}

/// The example at the top of the header.
#[test]
fn example() {
    let cc = compiler("CC", "cc");
    if have("tests/c/example.c", &[&cc]) {
        let directory = linked("c-example");
        let program = compile(
            &cc,
            &["-std=c99"],
            &source("example"),
            &directory,
            "example",
        );
        assert_eq!(run(&mut Command::new(program)), "1 admitted\n");
    }
}

/// By itself, because neither ASan nor valgrind lives within a limit on address space.
#[test]
#[cfg(target_os = "linux")]
fn memory() {
    let cc = compiler("CC", "cc");
    if have("tests/c/memory.c", &[&cc]) {
        let directory = linked("c-memory");
        let program = compile(&cc, &["-std=c11"], &source("memory"), &directory, "memory");
        run(&mut Command::new(program));
    }
}

/// Whether a compiler can link with a sanitizer; some are shipped without its library.
fn can_sanitize(cc: &str, flag: &str, directory: &Path) -> bool {
    let source = directory.join("probe.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let probe = Command::new(cc)
        .arg(flag)
        .arg(&source)
        .arg("-o")
        .arg(directory.join("probe"))
        .output();
    probe.is_ok_and(|output| output.status.success())
}

#[test]
fn asan() {
    let cc = compiler("CC", "cc");
    let flag = "-fsanitize=address,undefined";
    let directory = linked("c-asan");
    if !have("tests/c under ASan", &[&cc]) {
        return;
    }
    if !can_sanitize(&cc, flag, &directory) {
        return not_run(
            "tests/c under ASan",
            &format!("{cc} cannot link with {flag}"),
        );
    }
    for name in PROGRAMS {
        let flags = ["-std=c11", "-g", flag, "-fno-sanitize-recover=all"];
        let program = compile(&cc, &flags, &source(name), &directory, name);
        // The library allocates with malloc, so leaks, overruns and use after free of its memory are seen as well.
        let options = "detect_leaks=1:detect_stack_use_after_return=1";
        run(Command::new(&program).env("ASAN_OPTIONS", options));
    }
    // A sanitizer that is not really in would find nothing.
    if have("that ASan is in", &["nm"]) {
        let symbols = run(Command::new("nm").arg("-D").arg(directory.join("misuse")));
        assert!(
            symbols.contains("__asan_report_load"),
            "the tests were built without ASan"
        );
    }
}

#[test]
fn valgrind() {
    let cc = compiler("CC", "cc");
    if !have("tests/c under valgrind", &[&cc, "valgrind"]) {
        return;
    }
    let directory = linked("c-valgrind");
    for name in PROGRAMS {
        let program = compile(&cc, &["-std=c11", "-g"], &source(name), &directory, name);
        // Under valgrind one thread runs at a time; fair scheduling lets the ones that wait for another get on.
        let arguments = [
            "--error-exitcode=99",
            "--leak-check=full",
            "--show-leak-kinds=definite,indirect,possible",
            "--errors-for-leak-kinds=definite,indirect",
            "--fair-sched=try",
            "--quiet",
        ];
        run(Command::new("valgrind").args(arguments).arg(program));
    }
}

/// Runs `name`.c with a table that is made of what every language runs.
fn run_table(name: &str, table: &str) -> Option<String> {
    let cc = compiler("CC", "cc");
    if !have(&format!("tests/{name} in C"), &[&cc]) {
        return None;
    }
    let directory = linked(&format!("c-{name}"));
    std::fs::write(directory.join(format!("{name}.inc")), table).unwrap();
    let include = format!("-I{}", directory.display());
    let flags = ["-std=c99", "-g", include.as_str()];
    let program = compile(&cc, &flags, &source(name), &directory, name);
    Some(run(&mut Command::new(program)))
}

#[test]
fn the_vectors() {
    if let Some(output) = run_table("vectors", &vectors::table()) {
        assert!(output.contains(" vectors, "), "{output}");
    }
}

#[test]
fn the_answers() {
    let table = answers::table();
    let Some(output) = run_table("answers", &table) else {
        return;
    };
    let count = output
        .split(' ')
        .next()
        .and_then(|count| count.parse().ok());
    assert!(count >= Some(116 + 54), "{output}");
    // A table that is wrong must be noticed.
    let wrong = table.replace(
        "{CLASS, 0, LLMRL_CLASS_BILLING}",
        "{CLASS, 0, LLMRL_CLASS_RATE}",
    );
    let failed = std::panic::catch_unwind(|| run_table("answers", &wrong));
    assert!(failed.is_err(), "an answer that is expected wrongly passes");
}
