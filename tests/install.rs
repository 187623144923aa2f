//! `make install`, and a program outside of the tree that finds the library by pkg-config.
#![cfg(all(unix, not(any(loom, shuttle))))]

#[path = "c/driver.rs"]
mod driver;

use driver::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn make(target: &str, variables: &[String]) {
    run(Command::new("make")
        .args(["-f", "install.mk", target])
        .args(variables)
        .arg(format!("LLMRL_BUILD={}", libraries().display()))
        // Not what the make that has started the tests was told.
        .env_remove("MAKEFLAGS")
        .env_remove("DESTDIR")
        .env_remove("PREFIX")
        .current_dir(root()));
}

fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = vec![directory.to_path_buf()];
    while let Some(path) = rest.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                rest.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    found
}

const TOOLS: [&str; 3] = ["make", "pkg-config", "cc"];

fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<String> {
    let output = run(Command::new("pkg-config")
        .args(arguments)
        .arg("llmrl")
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")));
    output.split_whitespace().map(String::from).collect()
}

#[test]
fn a_program_outside_the_tree() {
    if !have("make install", &TOOLS) {
        return;
    }
    let prefix = scratch("prefix with a space").join("usr");
    let no_space = scratch("prefix").join("usr");
    // pkg-config's answer is split at spaces by the shell, so a prefix with one is only installed to.
    make("install-files", &[format!("PREFIX={}", prefix.display())]);
    make("install-files", &[format!("PREFIX={}", no_space.display())]);
    assert_eq!(files(&prefix), files(&no_space));
    let prefix = no_space;

    let version = pkg_config(&prefix, &["--modversion"]);
    assert_eq!(version, [env!("CARGO_PKG_VERSION")]);

    let outside = scratch("outside");
    fs::copy(root().join("tests/c/example.c"), outside.join("example.c")).unwrap();
    let cc = |name: &str, before: &[&str], flags: &[String]| {
        run(Command::new(compiler("CC", "cc"))
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o", name])
            .args(before)
            .arg("example.c")
            .args(flags)
            .current_dir(&outside));
        let mut program = Command::new(outside.join(name));
        program.current_dir(&outside);
        program
    };

    let mut shared = cc("shared", &[], &pkg_config(&prefix, &["--cflags", "--libs"]));
    let library_path = if cfg!(target_os = "macos") {
        "DYLD_LIBRARY_PATH"
    } else {
        "LD_LIBRARY_PATH"
    };
    assert_eq!(
        run(shared.env(library_path, prefix.join("lib"))),
        "1 admitted\n"
    );

    // Without the shared library beside it, the same flags and those for static linking find the other one.
    for name in fs::read_dir(prefix.join("lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if name.is_symlink() {
            fs::remove_file(name).unwrap();
        }
    }
    let flags = pkg_config(&prefix, &["--static", "--cflags", "--libs"]);
    assert_eq!(run(&mut cc("static", &[], &flags)), "1 admitted\n");
    if cfg!(target_os = "linux") {
        assert_eq!(
            run(&mut cc("all-static", &["-static"], &flags)),
            "1 admitted\n"
        );
    }
}

#[test]
fn staged_and_removed() {
    if !have("make install DESTDIR=...", &TOOLS) {
        return;
    }
    let stage = scratch("stage");
    let variables = [
        format!("DESTDIR={}", stage.display()),
        "PREFIX=/opt/llmrl".into(),
        "LIBDIR=/opt/llmrl/lib64".into(),
    ];
    make("install-files", &variables);
    let version = env!("CARGO_PKG_VERSION");
    if cfg!(target_os = "linux") {
        let expected = [
            "include/llmrl.h".into(),
            "include/llmrl.hpp".into(),
            "lib64/cmake/llmrl/llmrl-config-version.cmake".into(),
            "lib64/cmake/llmrl/llmrl-config.cmake".into(),
            "lib64/libllmrl.a".into(),
            "lib64/libllmrl.so".into(),
            "lib64/libllmrl.so.0".into(),
            format!("lib64/libllmrl.so.{version}"),
            "lib64/pkgconfig/llmrl.pc".into(),
        ];
        assert_eq!(files(&stage.join("opt/llmrl")), expected.into());
        let lib = stage.join("opt/llmrl/lib64");
        assert_eq!(
            fs::read_link(lib.join("libllmrl.so")).unwrap(),
            Path::new("libllmrl.so.0")
        );
        let real = fs::canonicalize(lib.join("libllmrl.so")).unwrap();
        assert!(real.ends_with(format!("libllmrl.so.{version}")));
    }
    let pc = fs::read_to_string(stage.join("opt/llmrl/lib64/pkgconfig/llmrl.pc")).unwrap();
    assert!(pc.contains("libdir=/opt/llmrl/lib64\n"), "{pc}");
    assert!(
        !pc.contains('@') && !pc.contains(&stage.display().to_string()),
        "{pc}"
    );
    make("uninstall", &variables);
    assert_eq!(files(&stage), BTreeSet::new());
}
