//! include/llmrl.h and include/llmrl.symbols say what the library does: generated anew and compared.
//! `LLMRL_BLESS=1 cargo test --test header` writes them.
#![cfg(not(any(loom, shuttle)))]

#[path = "c/driver.rs"]
mod driver;

use driver::*;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::process::Command;

/// Files of src/capi in the order of the header.
const SECTIONS: [&str; 21] = [
    "status",
    "limit",
    "clock",
    "limiter",
    "permits",
    "map",
    "route",
    "routed",
    "stats",
    "feedback",
    "advice",
    "chain",
    "chained",
    "fair",
    "faired",
    "charging",
    "lengths",
    "bucket",
    "bucket_map",
    "in_flight",
    "version",
];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn blessing() -> bool {
    std::env::var_os("LLMRL_BLESS").is_some()
}

/// The comment at the top of a file in src/capi: the first line is the title of its section.
fn module_comment(source: &str) -> Vec<&str> {
    source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect()
}

fn config() -> cbindgen::Config {
    cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml")
}

fn section(name: &str) -> String {
    let path = format!("src/capi/{name}.rs");
    let mut config = config();
    (config.header, config.trailer) = (None, None);
    let mut code = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(root().join(&path))
        .generate()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .write(&mut code);

    let rule = "-".repeat(88);
    let mut text = format!("\n\n/* {rule}\n");
    for line in module_comment(&read(&path)) {
        writeln!(text, " * {line}").unwrap();
    }
    text + &format!(" * {rule} */\n\n") + String::from_utf8(code).unwrap().trim() + "\n"
}

fn header() -> String {
    let example = read("tests/c/example.c");
    let example: Vec<String> = example
        .lines()
        .map(|line| format!(" *     {line}"))
        .collect();
    let config = config();
    let mut text = config
        .header
        .expect("a header")
        .replace("@EXAMPLE@", &example.join("\n"));
    text.extend(SECTIONS.into_iter().map(section));
    text += "\n\n";
    text += config.trailer.expect("a trailer").trim();
    tidy(&text)
}

/// Comments as a C programmer writes them: code is indented instead of fenced, and one line is enough for one line.
fn tidy(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut fenced = false;
    for line in text.trim().lines().map(str::trim_end) {
        if line.trim_start().starts_with("* ```") {
            fenced = !fenced;
            continue;
        }
        let line = match line.split_once("* ") {
            Some((before, code)) if fenced => format!("{before}*     {code}"),
            _ => line.to_string(),
        };
        let opened = lines
            .len()
            .checked_sub(2)
            .map(|at| (at, lines[at].trim() == "/**"));
        if line.trim() == "*/"
            && let Some((at, true)) = opened
        {
            let only = lines.pop().unwrap();
            let only = only.trim().trim_start_matches("* ").to_string();
            lines[at] = lines[at].replace("/**", &format!("/** {only} */"));
            continue;
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

fn compare(path: &str, fresh: &str) {
    if blessing() {
        fs::write(root().join(path), fresh).unwrap();
    }
    let committed = fs::read_to_string(root().join(path)).unwrap_or_default();
    let different = committed
        .lines()
        .zip(fresh.lines())
        .position(|(a, b)| a != b);
    assert!(
        committed == fresh,
        "{path} is not up to date (line {}); run `LLMRL_BLESS=1 cargo test --test header`",
        different.map_or("count".into(), |line| (line + 1).to_string())
    );
}

#[test]
fn the_header_is_fresh() {
    let files: BTreeSet<String> = fs::read_dir(root().join("src/capi"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let known: BTreeSet<String> = SECTIONS
        .into_iter()
        .chain(["mod", "describe", "table", "tests", "table_tests"])
        .map(String::from)
        .collect();
    assert_eq!(
        files, known,
        "a new file in src/capi is a section of the header, or internal"
    );
    compare("include/llmrl.h", &header());
}

/// Without comments and strings. Of the header as it should be: another test may be writing the file at this moment.
fn code() -> String {
    let header = header();
    let mut code = String::new();
    let mut rest = header.as_str();
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").expect("an open comment").1;
    }
    code + rest
}

#[test]
fn every_ffi_generator_can_read_it() {
    let code = code();
    let words: BTreeSet<&str> = code
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    // What cffi, cgo, jextract and the rest read differently from each other, or not at all.
    for word in [
        "enum", "bool", "inline", "static", "union", "long", "_Bool", "varargs",
    ] {
        assert!(!words.contains(word), "`{word}` in include/llmrl.h");
    }
    assert!(!code.contains("//"), "line comments are not C89");
    assert!(!code.contains("..."), "no variable arguments");
}

fn define(name: &str) -> String {
    let code = code();
    let values: Vec<&str> = code
        .lines()
        .filter_map(|line| {
            line.strip_prefix("#define ")?
                .strip_prefix(name)?
                .strip_prefix(' ')
        })
        .collect();
    assert_eq!(values.len(), 1, "#define {name}");
    values[0].trim().to_string()
}

#[test]
fn the_version_is_the_crates() {
    let part = |name: &str| define(name).parse::<u32>().unwrap();
    let parts = ["MAJOR", "MINOR", "PATCH"].map(|p| part(&format!("LLMRL_VERSION_{p}")));
    let crates = [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ];
    assert_eq!(parts.map(|p| p.to_string()), crates);
    assert_eq!(
        define("LLMRL_VERSION"),
        format!("\"{}\"", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        part("LLMRL_VERSION_NUMBER"),
        parts[0] * 10000 + parts[1] * 100 + parts[2]
    );
    // The library that runs says the same; see tests/c/use.c.
}

/// Functions that the header declares.
fn declared() -> BTreeSet<String> {
    let code = code();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices('(') {
        let before = &code[..at];
        let start = before
            .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map_or(0, |at| at + 1);
        if before[start..].starts_with("llmrl_") {
            names.insert(before[start..].to_string());
        }
    }
    names
}

#[test]
fn the_symbol_list_is_the_headers() {
    let list: String = declared().iter().map(|name| format!("{name}\n")).collect();
    compare("include/llmrl.symbols", &list);
}

#[test]
#[cfg(target_os = "linux")]
fn the_library_exports_the_list_and_nothing_else() {
    if have("exported symbols", &["nm"]) {
        let library = shared_library();
        let output = run(Command::new("nm")
            .args(["-D", "--defined-only"])
            .arg(library));
        let exported: BTreeSet<&str> = output
            .lines()
            .filter_map(|line| line.split(' ').nth(2))
            .collect();
        let declared = declared();
        assert_eq!(exported, declared.iter().map(String::as_str).collect());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_library_has_a_soname() {
    if have("soname", &["readelf"]) {
        let dynamic = run(Command::new("readelf").arg("-d").arg(shared_library()));
        assert!(
            dynamic.contains("Library soname: [libllmrl.so.0]"),
            "{dynamic}"
        );
    }
}
