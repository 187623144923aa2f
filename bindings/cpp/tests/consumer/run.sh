#!/usr/bin/env bash
# `make install` to a DESTDIR, and programs outside of the tree that find the package there by CMake and by pkg-config.
# run.sh LIBRARIES SCRATCH: where libllmrl.so and libllmrl.a are, and a directory that is emptied.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../../..
libraries=$1 scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/program"
# What the make that runs this was told is not for those in here.
unset MAKEFLAGS MFLAGS MAKELEVEL

stage=$scratch/stage
# The usual place, and one where the headers are elsewhere.
install() {
    make -s -C "$root" -f install.mk "$1" LLMRL_BUILD="$libraries" DESTDIR="$stage" PREFIX=/opt/llmrl
    make -s -C "$root" -f install.mk "$1" LLMRL_BUILD="$libraries" DESTDIR="$stage" PREFIX=/usr LIBDIR=/deep/lib/any
}
install install-files
lib=$stage/opt/llmrl/lib

# The example at the top of the header.
sed -n '/^ \* *#include <cstdio>/,/^ \*     }/s/^ \* \{0,5\}//p' "$stage/opt/llmrl/include/llmrl.hpp" > "$scratch/program/example.cpp"
[[ $(wc -l < "$scratch/program/example.cpp") -gt 20 ]]
cp "$here/CMakeLists.txt" "$scratch/program/"

said() {
    [[ $("$@") == "1 admitted" ]] || { echo "$*: wrong" >&2; exit 1; }
}
for place in -DCMAKE_PREFIX_PATH="$stage/opt/llmrl" -Dllmrl_DIR="$stage/deep/lib/any/cmake/llmrl"; do
    rm -rf "$scratch/build"
    cmake -S "$scratch/program" -B "$scratch/build" "$place" > "$scratch/cmake.log"
    cmake --build "$scratch/build" >> "$scratch/cmake.log"
    said "$scratch/build/consumer"
done

# A version that is not there is not found.
sed 's/find_package(llmrl 0.1 /find_package(llmrl 0.2 /' "$here/CMakeLists.txt" > "$scratch/program/CMakeLists.txt"
if cmake -S "$scratch/program" -B "$scratch/newer" -DCMAKE_PREFIX_PATH="$stage/opt/llmrl" > "$scratch/newer.log" 2>&1; then
    echo "find_package(llmrl 0.2) found 0.1" >&2
    exit 1
fi
grep -q 'version: 0.1' "$scratch/newer.log"

# --define-prefix of some pkg-configs would do, but not of all: DESTDIR goes before the paths by hand.
flags=$(PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$stage pkg-config --cflags --libs llmrl)
# shellcheck disable=SC2086 # they are several
${CXX:-c++} -std=c++17 -o "$scratch/pkg" "$scratch/program/example.cpp" $flags -Wl,-rpath,"$lib"
said "$scratch/pkg"

install uninstall
left=$(find "$stage" -type f -o -type l)
[[ -z $left ]] || { echo "left: $left" >&2; exit 1; }
echo "installed, found by CMake and pkg-config, uninstalled"
