"""Writes a program that runs each block of C++ of the README: readme.py README.md OUT.cpp"""

import re
import sys

HEAD = """
#include "loop.hpp"
#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <utility>

using namespace std::chrono_literals;

static void fail(const char *text) { std::puts(text); }
static std::pair<std::uint64_t, std::uint64_t> send() { return {1180, 212}; }
static void come_back_after(llmrl::nanoseconds) {}
static void show(std::optional<std::uint64_t> left) { assert(left == 99U); }
static void go_to(std::uint32_t node) { assert(node == 0); }
static void too_many() { assert(false); }
static const llmrl::limiter limiter =
    llmrl::limiter::make({llmrl::limit::requests(500), llmrl::limit::tokens(200'000), llmrl::limit::in_flight(50)}).value();
"""


def main(readme: str, out: str) -> None:
    with open(readme, encoding="utf-8") as file:
        blocks = re.findall(r"^```cpp\n(.*?)^```", file.read(), re.M | re.S)
    assert len(blocks) == 6, len(blocks)
    program, calls = HEAD, ""
    for number, block in enumerate(blocks):
        if "co_await" in block:
            program += block
            calls += "    { example::loop loop; request(loop, limiter); loop.run(); }\n"
        else:
            program += f"static void block_{number}()\n{{\n{block}}}\n"
            calls += f"    block_{number}();\n"
    program += f"int main()\n{{\n{calls}    std::puts(\"{len(blocks)} blocks\");\n}}\n"
    with open(out, "w", encoding="utf-8") as file:
        file.write(program)


main(*sys.argv[1:])
