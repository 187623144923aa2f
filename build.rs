//! Gives the shared library the name by which programs ask for it at run time. Cargo does not set one.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    // The number is part of the binary interface; see CHANGELOG.md and `version_suffix_components` in Cargo.toml.
    let name = match os.as_str() {
        "macos" | "ios" => "-Wl,-install_name,@rpath/libllmrl.0.dylib",
        "windows" => return,
        _ => "-Wl,-soname,libllmrl.so.0",
    };
    println!("cargo:rustc-cdylib-link-arg={name}");
}
