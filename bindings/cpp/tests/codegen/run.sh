#!/usr/bin/env bash
# What the classes add to the functions of C at -O2: no call, and with gcc no instruction. run.sh SCRATCH
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
object=$1/pairs.o
${CXX:-c++} -std=c++17 -O2 -fno-exceptions -I "$here/../../../../include" -c "$here/pairs.cpp" -o "$object"

# Others than gcc have a few more moves between registers.
other=0
${CXX:-c++} --version | grep -q 'Free Software Foundation' || other=1
# Padding is not counted.
code() {
    objdump -d --no-show-raw-insn --disassemble="$1" "$object" | grep -P '^ +[0-9a-f]+:\t' | grep -vP '\t(nop|xchg +%ax,%ax|data16|cs nop)' || true
}
for pair in take spend acquire hold; do
    class=$(code "class_$pair" | wc -l) c=$(code "c_$pair" | wc -l)
    class_calls=$(code "class_$pair" | grep -cP '\t(call|bl) ') c_calls=$(code "c_$pair" | grep -cP '\t(call|bl) ')
    echo "$pair: $class instructions, $class_calls calls; in C $c, $c_calls"
    ((c > 4 && c_calls > 0 && class_calls == c_calls && (class <= c || other))) || { echo "the class does more" >&2; exit 1; }
done
