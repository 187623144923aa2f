#!/usr/bin/env bash
# Puts the C library where the package looks for it: llmrl.h and lib/<os>_<arch>/libllmrl.a. Builds it with cargo, or takes
# libllmrl.a from LLMRL_LIB_DIR if that is set. Its own symbols and Rust's are made local, so that a program can have
# another Rust library linked in beside it.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)

if [[ $(uname -s) != Linux ]]; then
    echo "prepare.sh: only Linux is provided for, this is $(uname -s)" >&2
    exit 1
fi
if [[ -n ${LLMRL_LIB_DIR-} ]]; then
    archive=$LLMRL_LIB_DIR/libllmrl.a
else
    cargo build --release --manifest-path "$root/Cargo.toml"
    archive=${CARGO_TARGET_DIR:-$root/target}/release/libllmrl.a
fi

to=lib/$(go env GOOS)_$(go env GOARCH)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
symbols=$root/include/llmrl.symbols
# shellcheck disable=SC2046
ld -r --gc-sections -e llmrl_abi_v1 $(sed 's/^/-u /' "$symbols") "$archive" -o "$work/llmrl.o"
# The personality's reference is a COMDAT group that the linker wants to see; the bitcode nobody needs.
objcopy --strip-unneeded --remove-section .llvmbc --remove-section .llvmcmd \
    --keep-global-symbol DW.ref.rust_eh_personality --keep-global-symbols "$symbols" "$work/llmrl.o"
ar rcs "$work/libllmrl.a" "$work/llmrl.o"
mkdir -p "$to"
# Go looks at headers, not at archives, when it decides whether to build anew.
{ cat "$root/include/llmrl.h"; sha256sum "$work/llmrl.o" | sed 's,\([0-9a-f]*\).*,/* \1 */,'; } >"$work/llmrl.h"
mv "$work/llmrl.h" .
mv "$work/libllmrl.a" "$to/"
