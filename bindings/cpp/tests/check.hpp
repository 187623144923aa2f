// What the tests share. They are compiled with and without exceptions, so a failure ends the program.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <llmrl.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;
using llmrl::cost;
using llmrl::limit;
using llmrl::limiter;
using llmrl::manual_clock;
using llmrl::meter;
using llmrl::nanoseconds;
using llmrl::status;

namespace check {

struct test {
    const char *name;
    void (*run)();
};

inline std::vector<test> &tests()
{
    static std::vector<test> all;
    return all;
}

struct registered {
    registered(const char *name, void (*run)()) { tests().push_back({name, run}); }
};

inline std::string shown(status code) { return llmrl::message(code); }
inline std::string shown(nanoseconds time) { return std::to_string(time.count()) + " ns"; }
inline std::string shown(bool yes) { return yes ? "true" : "false"; }
inline std::string shown(std::string_view text) { return std::string(text); }
inline std::string shown(const char *text) { return text; }
template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0> std::string shown(T n) { return std::to_string(n); }
template <class T, std::enable_if_t<std::is_enum_v<T>, int> = 0> std::string shown(T n)
{
    return std::to_string(static_cast<std::uint32_t>(n));
}

[[noreturn]] inline void fail(const char *file, int line, const std::string &what)
{
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
    std::exit(1);
}

template <class Got, class Want>
void equal(const char *file, int line, const char *what, const Got &got, const Want &want)
{
    if constexpr (std::is_integral_v<Got> && std::is_integral_v<Want>) {
        if (got == static_cast<Got>(want)) return;
    } else if (got == want) {
        return;
    }
    fail(file, line, std::string(what) + " is " + shown(got) + ", not " + shown(want));
}

// Limits that are right, or the end.
template <class T, class Made> T must(Made &&made)
{
    if (!made) fail("must", 0, made.message());
    return std::move(*made);
}

inline limiter limiter_of(llmrl::view<limit> limits, const llmrl::limiter_options &options = {})
{
    return must<limiter>(limiter::make(limits, options));
}

inline limiter limiter_of(llmrl::view<limit> limits, const manual_clock &clock)
{
    llmrl::limiter_options options;
    options.clock = &clock;
    return limiter_of(limits, options);
}

// A file below the root of the repository.
inline std::string file(const std::string &path)
{
    std::string whole = std::string(ROOT) + "/" + path;
    std::FILE *in = std::fopen(whole.c_str(), "rb");
    if (in == nullptr) fail("file", 0, whole);
    std::string text;
    char buffer[65536];
    std::size_t n;
    while ((n = std::fread(buffer, 1, sizeof buffer, in)) > 0) text.append(buffer, n);
    std::fclose(in);
    return text;
}

} // namespace check

using check::limiter_of;
using check::must;

#define TEST(name)                                                                                                     \
    static void name();                                                                                                \
    static const check::registered name##_registered(#name, name);                                                     \
    static void name()
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) check::fail(__FILE__, __LINE__, #condition);                                                 \
    } while (0)
#define EQUAL(got, want) check::equal(__FILE__, __LINE__, #got, got, want)
#define OK(call) EQUAL(call, status::ok)

#endif
