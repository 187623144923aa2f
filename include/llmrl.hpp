/*
 * llmrl.hpp - rate limiting for clients of LLM APIs, in C++17 and later
 *
 * The objects of llmrl.h as classes: they are freed by their destructors, permits that were forgotten are released, times
 * are those of <chrono>. What a function does, what it costs, and what it answers stands in llmrl.h, at the function that
 * is named here with it; this file says what is different. It is a header and nothing else: link with llmrl.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *
 * EXAMPLE
 *
 *     c++ -std=c++17 -o example example.cpp $(pkg-config --cflags --libs llmrl)
 *
 *     #include <cstdio>
 *     #include <llmrl.hpp>
 *
 *     int main()
 *     {
 *         using namespace std::chrono_literals;
 *         auto made = llmrl::limiter::make({
 *             llmrl::limit::requests(500),
 *             llmrl::limit::tokens(200'000),
 *             llmrl::limit::in_flight(50),
 *         });
 *         if (!made) {
 *             std::fprintf(stderr, "limits: %s\n", made.message());
 *             return 1;
 *         }
 *         llmrl::limiter limiter = std::move(*made);
 *
 *         // Asks with an estimate of input and output tokens, and blocks until it is this request's turn.
 *         auto permit = limiter.acquire({1200, 400}, 30s);
 *         if (!permit) {
 *             std::fprintf(stderr, "acquire: %s\n", permit.message());
 *             return 1;
 *         }
 *
 *         // ... send the request, read the usage from its answer ...
 *
 *         permit->settle({1180, 212});
 *         std::printf("%llu admitted\n", static_cast<unsigned long long>(limiter.stats().granted));
 *     }
 *
 *
 * RULES, which hold for every function and are not repeated there
 *
 * Answers. Nothing throws on its own: what can fail returns a status, or a result with one. result::value() throws
 * llmrl::error, and is there only if the compiler has exceptions; nothing needs RTTI.
 *
 * Threads. A const member function may be called from any thread at any time; the others are one thread's at a time, and
 * so is a destructor. Permits and tickets are one owner's: they are moved, not shared.
 *
 * Life. A permit or a ticket must end before the object that gave it out is destroyed, as a lock before its mutex. The
 * objects themselves may be moved meanwhile. Whatever was moved from is empty: it may be assigned to or destroyed, and
 * everything else is answered with status::null, or status::stale where it was a permit or a ticket.
 *
 * Time. Durations are nanoseconds; any whole number of hours, seconds or milliseconds converts by itself. llmrl::forever
 * is the longest: as a timeout, without end; as a wait, that no time is known. A timeout below zero is zero.
 */
#ifndef LLMRL_HPP
#define LLMRL_HPP

#include <llmrl.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#ifdef __cpp_exceptions
#include <exception>
#endif

namespace llmrl {

using std::chrono::nanoseconds;
using wall_time = std::chrono::system_clock::time_point;

/** LLMRL_FOREVER. */
inline constexpr nanoseconds forever = nanoseconds::max();


/* ----------------------------------------------------------------------------------------
 * Answers
 * ---------------------------------------------------------------------------------------- */

/** llmrl_status. A library that is newer than this header may answer with other numbers; those below zero are errors. */
enum class status : std::int32_t {
    ok = LLMRL_OK,
    pending = LLMRL_PENDING,
    refused = LLMRL_REFUSED,
    null = LLMRL_ERR_NULL,
    size = LLMRL_ERR_SIZE,
    flags = LLMRL_ERR_FLAGS,
    range = LLMRL_ERR_RANGE,
    cost = LLMRL_ERR_COST,
    index = LLMRL_ERR_INDEX,
    never = LLMRL_ERR_NEVER,
    full = LLMRL_ERR_FULL,
    deadline = LLMRL_ERR_DEADLINE,
    closed = LLMRL_ERR_CLOSED,
    stale = LLMRL_ERR_STALE,
    busy = LLMRL_ERR_BUSY,
    memory = LLMRL_ERR_MEMORY,
    panic = LLMRL_ERR_PANIC,
    handle = LLMRL_ERR_HANDLE,
    saved = LLMRL_ERR_SAVED,
    node = LLMRL_ERR_NODE,
};

/** A sentence about a status; see llmrl_strerror(). */
inline const char *message(status code) noexcept
{
    return llmrl_strerror(static_cast<llmrl_status>(code));
}

#ifdef __cpp_exceptions
/** What result::value() throws: a status, and a sentence that names what was wrong. */
class error : public std::exception {
public:
    error(status code, const char *text) noexcept : code_(code)
    {
        std::snprintf(text_, sizeof text_, "%s", text);
    }
    status code() const noexcept { return code_; }
    const char *what() const noexcept override { return text_; }

private:
    status code_;
    char text_[160];
};
#endif

namespace detail {

inline nanoseconds time_of(std::uint64_t ns) noexcept
{
    return ns < static_cast<std::uint64_t>(forever.count()) ? nanoseconds(static_cast<std::int64_t>(ns)) : forever;
}

/** A number that C takes for a time. One below zero becomes one that is out of every range. */
inline std::uint64_t ns_of(nanoseconds time) noexcept
{
    return time == forever ? LLMRL_FOREVER : static_cast<std::uint64_t>(time.count());
}

inline std::uint64_t timeout_of(nanoseconds time) noexcept
{
    return ns_of(time < nanoseconds::zero() ? nanoseconds::zero() : time);
}

/** A number that was given. C takes 0 for one that was not, so a 0 becomes a number that is out of every range. */
template <class Number> constexpr Number given(Number n) noexcept
{
    return n == 0 ? static_cast<Number>(-1) : n;
}

/** The time since 1970; 0, which C takes for "now", for a time that was not given. */
inline std::uint64_t ns_of(wall_time time) noexcept
{
    return static_cast<std::uint64_t>(std::chrono::duration_cast<nanoseconds>(time.time_since_epoch()).count());
}

/** Frees whatever it is. */
struct freed {
    void operator()(llmrl_clock *p) const noexcept { llmrl_clock_free(p); }
    void operator()(llmrl_limiter *p) const noexcept { llmrl_limiter_free(p); }
    void operator()(llmrl_map *p) const noexcept { llmrl_map_free(p); }
    void operator()(llmrl_router *p) const noexcept { llmrl_router_free(p); }
    void operator()(llmrl_chain *p) const noexcept { llmrl_chain_free(p); }
    void operator()(llmrl_fair *p) const noexcept { llmrl_fair_free(p); }
    void operator()(llmrl_lengths *p) const noexcept { llmrl_lengths_free(p); }
    void operator()(llmrl_bucket *p) const noexcept { llmrl_bucket_free(p); }
    void operator()(llmrl_bucket_map *p) const noexcept { llmrl_bucket_map_free(p); }
    void operator()(llmrl_in_flight *p) const noexcept { llmrl_in_flight_free(p); }
};

} // namespace detail

/**
 * What came of a call: a value if the status is ok, and otherwise why not. With status::refused there is a wait, after
 * which the same request succeeds, absent others.
 *
 *     if (auto permit = limiter.try_acquire({1200, 400})) send(), permit->settle({1180, 212});
 *     else if (permit.code() == llmrl::status::refused) come_back_after(permit.wait());
 */
template <class T> class [[nodiscard]] result {
public:
    result() noexcept = default;
    result(status code, T value, std::uint64_t wait_ns = 0) noexcept
        : value_(std::move(value)), wait_ns_(wait_ns), code_(code)
    {
    }
    result(llmrl_status code, T value, std::uint64_t wait_ns = 0) noexcept
        : result(static_cast<status>(code), std::move(value), wait_ns)
    {
    }

    /** Whether there is a value. */
    explicit operator bool() const noexcept { return code_ == status::ok; }
    status code() const noexcept { return code_; }
    const char *message() const noexcept { return llmrl::message(code_); }
    /** With status::refused, and with a ticket that waits: for how long. Else zero. */
    nanoseconds wait() const noexcept { return detail::time_of(wait_ns_); }

    /** The value; an empty one if there is none. */
    T &operator*() noexcept { return value_; }
    const T &operator*() const noexcept { return value_; }
    T *operator->() noexcept { return &value_; }
    const T *operator->() const noexcept { return &value_; }

#ifdef __cpp_exceptions
    /** The value, or llmrl::error. */
    T &value() &
    {
        if (code_ != status::ok) throw error(code_, message());
        return value_;
    }
    T value() && { return std::move(value()); }
#endif

private:
    T value_{};
    std::uint64_t wait_ns_ = 0;
    status code_ = status::null;
};

/** The same of a call that gives nothing but its answer. */
template <> class [[nodiscard]] result<void> {
public:
    explicit result(llmrl_status code, std::uint64_t wait_ns = 0) noexcept
        : wait_ns_(wait_ns), code_(static_cast<status>(code))
    {
    }
    explicit operator bool() const noexcept { return code_ == status::ok; }
    status code() const noexcept { return code_; }
    const char *message() const noexcept { return llmrl::message(code_); }
    nanoseconds wait() const noexcept { return detail::time_of(wait_ns_); }

private:
    std::uint64_t wait_ns_;
    status code_;
};

/**
 * A result of something that was configured. If that was wrong, message() names the field, what it was, and what it may be:
 *
 *     limits[1].amount = 0 is outside 1..=1099511627775
 */
template <class T> class [[nodiscard]] made : public result<T> {
public:
    /** What call() has made: it is given where to write the message. */
    template <class Call> static made by(Call call) noexcept
    {
        made made;
        static_cast<result<T> &>(made) = call(made.text_, sizeof made.text_);
        return made;
    }
    const char *message() const noexcept { return text_[0] == '\0' ? result<T>::message() : text_; }

#ifdef __cpp_exceptions
    T &value() &
    {
        if (!*this) throw error(this->code(), message());
        return **this;
    }
    T value() && { return std::move(value()); }
#endif

private:
    char text_[128] = {};
};


/* ----------------------------------------------------------------------------------------
 * Small types
 * ---------------------------------------------------------------------------------------- */

/** Some Ts in a row, which are somebody else's: a list in braces, an array, a vector, a span. Only for parameters. */
template <class T> class view {
public:
    constexpr view() noexcept = default;
    constexpr view(const T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    // The list lives until the call it is written in has returned, which is all that a parameter needs.
    constexpr view(std::initializer_list<T> list) noexcept : view(std::data(list), list.size()) {}
    template <std::size_t N> constexpr view(const T (&array)[N]) noexcept : view(array, N) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<const C &>().data()), const T *>>>
    constexpr view(const C &container) noexcept : view(container.data(), container.size())
    {
    }

    constexpr const T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr const T *begin() const noexcept { return data_; }
    constexpr const T *end() const noexcept { return data_ + size_; }
    constexpr const T &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    const T *data_ = nullptr;
    std::size_t size_ = 0;
};

/**
 * llmrl_cost, for one request unless something else is said.
 *
 *     llmrl::cost estimate{1200, 400};       one request, 1200 input tokens, 400 output tokens
 *     estimate.cached_tokens = 1000;         of the 1200
 */
struct cost : llmrl_cost {
    constexpr cost() noexcept : cost(0, 0) {}
    constexpr cost(std::uint64_t input, std::uint64_t output) noexcept : llmrl_cost{1, input, output, 0, 0, {}} {}
    constexpr cost(const llmrl_cost &c) noexcept : llmrl_cost(c) {}
};

/** What a limit counts; the last two are in what providers say only. */
enum class meter : std::uint32_t {
    none = 0,
    requests = LLMRL_REQUESTS,
    tokens = LLMRL_TOKENS,
    input_tokens = LLMRL_INPUT_TOKENS,
    output_tokens = LLMRL_OUTPUT_TOKENS,
    weighted_tokens = LLMRL_WEIGHTED_TOKENS,
    concurrency = LLMRL_CONCURRENCY,
    other = LLMRL_OTHER_METER,
};

/** How it counts. */
enum class kind : std::uint32_t {
    token_bucket = LLMRL_TOKEN_BUCKET,
    in_flight = LLMRL_IN_FLIGHT,
    pacing = LLMRL_PACING,
    fixed_window = LLMRL_FIXED_WINDOW,
    sliding_window_counter = LLMRL_SLIDING_WINDOW_COUNTER,
    sliding_window = LLMRL_SLIDING_WINDOW,
    sliding_window_log = LLMRL_SLIDING_WINDOW_LOG,
};

/** What a token of each class counts on meter::weighted_tokens, in thousandths, 0 to 100000; not all may be 0. */
struct weights {
    std::uint32_t input = 0;
    std::uint32_t output = 0;
    std::uint32_t cached = 0;
    std::uint32_t cache_write = 0;
};

/**
 * llmrl_limit. Ranges are checked when something is made of it. What is not said is the default of llmrl.h. A time below
 * zero is out of range, and so is a period, burst or resolution of 0; messages show them as numbers near 2^64 or 2^32.
 *
 *     limit::requests(500)                                       500 a minute, evenly, and 500 after a pause
 *     limit::requests(10).per(1s).burst(5)
 *     limit::fixed_window(meter::tokens, 1'000'000).per(24h).resets_in(3h)
 *     limit::in_flight(50)
 */
class limit {
public:
    /** Token buckets, of so many a minute. */
    static constexpr limit requests(std::uint64_t amount) noexcept { return bucket(meter::requests, amount); }
    static constexpr limit tokens(std::uint64_t amount) noexcept { return bucket(meter::tokens, amount); }
    static constexpr limit input_tokens(std::uint64_t amount) noexcept { return bucket(meter::input_tokens, amount); }
    static constexpr limit output_tokens(std::uint64_t amount) noexcept { return bucket(meter::output_tokens, amount); }
    static constexpr limit bucket(meter what, std::uint64_t amount) noexcept
    {
        return {kind::token_bucket, what, amount};
    }

    /** So many requests at the same time. */
    static constexpr limit in_flight(std::uint64_t slots) noexcept { return {kind::in_flight, meter::none, slots}; }

    /** The other kinds: see LLMRL_PACING to LLMRL_SLIDING_WINDOW_LOG. */
    static constexpr limit pacing(meter what, std::uint64_t amount) noexcept { return {kind::pacing, what, amount}; }
    static constexpr limit fixed_window(meter what, std::uint64_t amount) noexcept
    {
        return {kind::fixed_window, what, amount};
    }
    static constexpr limit sliding_window_counter(meter what, std::uint64_t amount) noexcept
    {
        return {kind::sliding_window_counter, what, amount};
    }
    static constexpr limit sliding_window(meter what, std::uint64_t amount) noexcept
    {
        return {kind::sliding_window, what, amount};
    }
    static constexpr limit sliding_window_log(meter what, std::uint64_t amount) noexcept
    {
        return {kind::sliding_window_log, what, amount};
    }

    /** Another period than a minute, 1 ns to 3660 days. */
    limit per(nanoseconds period) const noexcept
    {
        return with(&llmrl_limit::period_ns, detail::given(detail::ns_of(period)));
    }
    /** What an idle bucket holds, 1 to 2^40 - 1; without this, amount. */
    constexpr limit burst(std::uint64_t tokens) const noexcept { return with(&llmrl_limit::burst, detail::given(tokens)); }
    /** Parts of a sliding window, 1 to 1000, or time stamps of a log, 1 to 65536. */
    constexpr limit resolution(std::uint32_t parts) const noexcept
    {
        return with(&llmrl_limit::resolution, detail::given(parts));
    }
    /** The present fixed window ends so long after the limiter is made, at most a period; 0 is a whole one. */
    limit resets_in(nanoseconds time) const noexcept { return with(&llmrl_limit::resets_in_ns, detail::ns_of(time)); }
    /** LLMRL_OVERSIZE_WHEN_FULL: what is larger than the burst goes when the bucket is full. */
    constexpr limit oversize_when_full() const noexcept
    {
        return with(&llmrl_limit::flags, c_.flags | LLMRL_OVERSIZE_WHEN_FULL);
    }
    /** LLMRL_START_EMPTY: there is nothing to be had at the beginning. */
    constexpr limit start_empty() const noexcept { return with(&llmrl_limit::flags, c_.flags | LLMRL_START_EMPTY); }
    /** For meter::weighted_tokens. */
    constexpr limit weigh(const weights &each) const noexcept
    {
        return with(&llmrl_limit::input_weight, each.input)
            .with(&llmrl_limit::output_weight, each.output)
            .with(&llmrl_limit::cached_weight, each.cached)
            .with(&llmrl_limit::cache_write_weight, each.cache_write);
    }

    constexpr const llmrl_limit &native() const noexcept { return c_; }

private:
    constexpr limit(kind how, meter what, std::uint64_t amount) noexcept
        : c_{static_cast<std::uint32_t>(how), static_cast<std::uint32_t>(what), amount, 0, 0, 0, 0, 0, 0, 0, 0, 0}
    {
    }
    template <class Field> constexpr limit with(Field llmrl_limit::*field, Field value) const noexcept
    {
        limit changed = *this;
        changed.c_.*field = value;
        return changed;
    }

    llmrl_limit c_;
};

/**
 * What is called when a ticket should be polled, with its number; see llmrl_wake_fn for what it may do, and when. Anything
 * that can be called with a llmrl_permit will do, and must outlive the object it is given to; an exception that leaves it
 * ends the program.
 *
 *     auto ring = [&](llmrl_permit) { bell.notify_one(); };
 *     options.wake = llmrl::wake::to(ring);
 */
struct wake {
    llmrl_wake_fn function = nullptr;
    void *context = nullptr;

    template <class F> static wake to(F &callable) noexcept
    {
        return {[](void *it, llmrl_permit ticket) noexcept { (*static_cast<F *>(it))(ticket); }, &callable};
    }
};

namespace detail {

/** A C object and who frees it. */
template <class C> class object {
public:
    /** For the functions of llmrl.h; NULL after a move. */
    C *native() const noexcept { return c_.get(); }

protected:
    object() noexcept = default;
    explicit object(C *c) noexcept : c_(c) {}

private:
    std::unique_ptr<C, freed> c_;
};

// limit and header hold nothing but the struct of C, so an array of them is one of those.
template <class C, class T> const C *array_of(view<T> some) noexcept
{
    static_assert(std::is_standard_layout_v<T> && sizeof(T) == sizeof(C));
    return reinterpret_cast<const C *>(some.data());
}

} // namespace detail

/** llmrl_clock: time for tests, moved by hand. Whatever was made with it keeps it alive for itself. */
class manual_clock : public detail::object<llmrl_clock> {
public:
    explicit manual_clock(nanoseconds start = nanoseconds::zero()) noexcept : object(make(detail::ns_of(start))) {}

    /** llmrl_clock_advance(); status::range if it would go back. */
    status advance(nanoseconds time) const noexcept
    {
        if (time < nanoseconds::zero()) return status::range;
        return static_cast<status>(llmrl_clock_advance(native(), detail::ns_of(time)));
    }
    nanoseconds now() const noexcept
    {
        std::uint64_t ns = 0;
        llmrl_clock_now(native(), &ns);
        return detail::time_of(ns);
    }

private:
    static llmrl_clock *make(std::uint64_t start_ns) noexcept
    {
        llmrl_clock *c = nullptr;
        llmrl_clock_new(start_ns, &c);
        return c;
    }
};


/* ----------------------------------------------------------------------------------------
 * What providers say
 * ---------------------------------------------------------------------------------------- */

/** llmrl_header. Neither string is copied. */
class header {
public:
    constexpr header(std::string_view name, std::string_view value) noexcept
        : c_{name.data(), name.size(), value.data(), value.size()}
    {
    }

private:
    llmrl_header c_;
};

enum class answer_class : std::uint32_t {
    ok = LLMRL_CLASS_OK,
    rate = LLMRL_CLASS_RATE,
    concurrency = LLMRL_CLASS_CONCURRENCY,
    overload = LLMRL_CLASS_OVERLOAD,
    long_rate = LLMRL_CLASS_LONG,
    billing = LLMRL_CLASS_BILLING,
    oversize = LLMRL_CLASS_OVERSIZE,
    other = LLMRL_CLASS_OTHER,
};

enum class pool : std::uint32_t {
    standard = LLMRL_POOL_STANDARD,
    project = LLMRL_POOL_PROJECT,
    usage_based = LLMRL_POOL_USAGE_BASED,
    priority = LLMRL_POOL_PRIORITY,
    fast = LLMRL_POOL_FAST,
    subscription = LLMRL_POOL_SUBSCRIPTION,
    overage = LLMRL_POOL_OVERAGE,
    uncached = LLMRL_POOL_UNCACHED,
    gateway = LLMRL_POOL_GATEWAY,
};

namespace detail {

inline std::optional<std::uint64_t> known(std::uint64_t n) noexcept
{
    return n == LLMRL_UNKNOWN ? std::nullopt : std::optional(n);
}

inline std::optional<nanoseconds> known_time(std::uint64_t ns) noexcept
{
    return ns == LLMRL_UNKNOWN ? std::nullopt : std::optional(time_of(ns));
}

inline llmrl_answer answer_of(unsigned http_status, view<header> headers, std::string_view body, wall_time now) noexcept
{
    return {http_status, 0, array_of<llmrl_header>(headers), headers.size(), body.data(), body.size(), ns_of(now)};
}

} // namespace detail

/** llmrl_quota: what an answer says about one limit. What was not said is empty. */
struct quota {
    explicit quota(const llmrl_quota &c) noexcept
        : what(static_cast<meter>(c.meter)), account(static_cast<pool>(c.pool)),
          mislabelled((c.flags & LLMRL_MISLABELLED) != 0), limit(detail::known(c.limit)),
          remaining(detail::known(c.remaining)), reset(detail::known_time(c.reset_ns)),
          utilization(detail::known(c.utilization)), window(detail::known_time(c.window_ns)),
          period(detail::known_time(c.period_ns)), solved_low(detail::known_time(c.solved_low_ns)),
          solved_high(detail::known_time(c.solved_high_ns))
    {
    }

    meter what;
    pool account;
    bool mislabelled;
    std::optional<std::uint64_t> limit;
    std::optional<std::uint64_t> remaining;
    std::optional<nanoseconds> reset;
    std::optional<std::uint64_t> utilization;
    std::optional<nanoseconds> window;
    std::optional<nanoseconds> period;
    std::optional<nanoseconds> solved_low;
    std::optional<nanoseconds> solved_high;
};

/** llmrl_reading: what one answer says about limits. */
class reading {
public:
    reading() noexcept = default;
    explicit reading(const llmrl_reading &c) noexcept : c_(c) {}

    answer_class what() const noexcept { return static_cast<answer_class>(c_.answer_class); }
    /** What was exceeded; meter::none if that is not told. */
    meter exceeded() const noexcept { return static_cast<meter>(c_.meter); }
    bool retryable() const noexcept { return (c_.flags & LLMRL_RETRYABLE) != 0; }
    bool warning() const noexcept { return (c_.flags & LLMRL_WARNING) != 0; }
    /** "x-should-retry", if the answer has it; not to be obeyed blindly. */
    std::optional<bool> should_retry() const noexcept
    {
        if ((c_.flags & LLMRL_SHOULD_RETRY) != 0) return true;
        if ((c_.flags & LLMRL_SHOULD_NOT_RETRY) != 0) return false;
        return std::nullopt;
    }
    std::optional<nanoseconds> wait() const noexcept { return detail::known_time(c_.wait_ns); }
    std::optional<std::uint64_t> requested() const noexcept { return detail::known(c_.requested); }
    /** Index of the quota that refused the request. */
    std::optional<std::size_t> tripped() const noexcept
    {
        return c_.tripped == LLMRL_NO_QUOTA ? std::nullopt : std::optional<std::size_t>(c_.tripped);
    }
    /** How many quotas there are, at most LLMRL_MAX_QUOTAS; index is below that. */
    std::size_t quotas() const noexcept { return c_.quota_count; }
    llmrl::quota quota(std::size_t index) const noexcept { return llmrl::quota(c_.quotas[index]); }

private:
    llmrl_reading c_{};
};

/**
 * llmrl_answer_read(). The body is looked at only if http_status is 400 or above; now is the system's time if it is not
 * given.
 *
 *     auto reading = llmrl::read_answer(429, {{"retry-after-ms", "120"}});
 *     if (reading && reading->what() == llmrl::answer_class::rate) sleep_for(*reading->wait());
 */
inline result<reading> read_answer(unsigned http_status, view<header> headers, std::string_view body = {},
                                   wall_time now = {}) noexcept
{
    const llmrl_answer answer = detail::answer_of(http_status, headers, body, now);
    llmrl_reading c{};
    const llmrl_status code = llmrl_answer_read(&answer, sizeof answer, &c, sizeof c);
    return {code, reading(c)};
}

/** llmrl_advice: what to do with a request, now that it was answered. */
struct advice {
    answer_class what = answer_class::other;
    bool retry = false;
    nanoseconds wait{};
};


/* ----------------------------------------------------------------------------------------
 * Permits and tickets
 * ---------------------------------------------------------------------------------------- */

/**
 * A request that was admitted. It ends once, by settle(), release() or cancel(); the destructor releases one that has not
 * ended. One that is empty, or has ended, answers status::stale.
 *
 * Named by what it is of: permit, chain_permit and fair_permit.
 */
template <class Of> class [[nodiscard]] basic_permit {
public:
    basic_permit() noexcept = default;
    basic_permit(const typename Of::object *of, llmrl_permit number) noexcept : of_(of), number_(number) {}
    basic_permit(basic_permit &&other) noexcept : of_(other.of_), number_(std::exchange(other.number_, 0)) {}
    basic_permit &operator=(basic_permit &&other) noexcept
    {
        basic_permit taken(std::move(other));
        std::swap(of_, taken.of_);
        std::swap(number_, taken.number_);
        return *this;
    }
    ~basic_permit()
    {
        if (number_ != 0) Of::release(of_, number_);
    }

    /** Whether it is held. */
    explicit operator bool() const noexcept { return number_ != 0; }
    /** For the functions of llmrl.h. 0 if it is not held. */
    llmrl_permit number() const noexcept { return number_; }

    /** llmrl_settle(): what was really used replaces the estimate. With status::cost it is still held. */
    status settle(const cost &used) noexcept { return end(number_ != 0 ? Of::settle(of_, number_, &used) : LLMRL_ERR_STALE); }
    /** llmrl_release(): the estimate stands. */
    status release() noexcept { return end(number_ != 0 ? Of::release(of_, number_) : LLMRL_ERR_STALE); }
    /** llmrl_cancel(): it was never sent, and everything is given back. */
    status cancel() noexcept { return end(number_ != 0 ? Of::cancel(of_, number_) : LLMRL_ERR_STALE); }
    /** llmrl_adjust(): another estimate; it stays held. */
    status adjust(const cost &so_far) noexcept
    {
        return static_cast<status>(number_ != 0 ? Of::adjust(of_, number_, &so_far) : LLMRL_ERR_STALE);
    }
    /**
     * llmrl_feedback(): the provider has answered. For every answer, before settle(); parameters are as in
     * read_answer().
     */
    result<advice> feedback(unsigned http_status, view<header> headers, std::string_view body = {},
                            wall_time now = {}) noexcept
    {
        const llmrl_answer answer = detail::answer_of(http_status, headers, body, now);
        llmrl_advice c{};
        const llmrl_status code =
            number_ != 0 ? Of::feedback(of_, number_, &answer, sizeof answer, &c, sizeof c) : LLMRL_ERR_STALE;
        return {code, advice{static_cast<answer_class>(c.answer_class), (c.flags & LLMRL_ADVICE_RETRY) != 0,
                             detail::time_of(c.wait_ns)}};
    }

private:
    status end(llmrl_status code) noexcept
    {
        if (code == LLMRL_OK || code == LLMRL_ERR_STALE) number_ = 0;
        return static_cast<status>(code);
    }

    const typename Of::object *of_ = nullptr;
    llmrl_permit number_ = 0;
};

/**
 * A request that waits, in an event loop's way: nothing blocks. Poll it when wait() has passed, or when the wake callback
 * is called with its number, whichever is first, until code() is something else than status::pending. The destructor
 * leaves the queue, and gives back what was granted and not taken.
 *
 *     auto ticket = limiter.enqueue({1200, 400});
 *     while (ticket.code() == llmrl::status::pending) {
 *         sleep_until_called_or_for(ticket.wait());
 *         ticket.poll();
 *     }
 *     auto permit = ticket.take();
 *
 * Named by where it waits: ticket, route_ticket, chain_ticket and fair_ticket.
 */
template <class At> class [[nodiscard]] basic_ticket {
public:
    basic_ticket() noexcept = default;
    basic_ticket(const typename At::object *at, llmrl_status code, const typename At::answer &answer) noexcept
        : at_(at), answer_(answer), code_(static_cast<status>(code))
    {
    }
    basic_ticket(basic_ticket &&other) noexcept
        : at_(other.at_), answer_(other.answer_), code_(std::exchange(other.code_, status::stale))
    {
    }
    basic_ticket &operator=(basic_ticket &&other) noexcept
    {
        basic_ticket taken(std::move(other));
        std::swap(at_, taken.at_);
        std::swap(answer_, taken.answer_);
        std::swap(code_, taken.code_);
        return *this;
    }
    ~basic_ticket() { cancel(); }

    /**
     * How it stood when it was last looked at: status::pending; status::ok, and the permit can be taken; an error, and it
     * has ended; status::stale when it was taken or cancelled.
     */
    status code() const noexcept { return code_; }
    /** While it waits: after how long to poll; forever if time alone brings nothing. */
    nanoseconds wait() const noexcept
    {
        return code_ == status::pending ? detail::time_of(answer_.wait_ns) : nanoseconds::zero();
    }
    /** By which the wake callback names it; 0 once it waits no more. */
    llmrl_permit number() const noexcept { return code_ == status::pending ? At::number(answer_) : 0; }

    /** llmrl_poll(): looks how it stands, and moves the queue along. Of one that does not wait, what is known. */
    status poll() noexcept
    {
        if (code_ != status::pending) return code_;
        const auto code = static_cast<status>(At::poll(at_, answer_));
        if (code != status::busy) code_ = code;
        return code;
    }

    /** What has come of it, and the permit if it was admitted; from then on the ticket is stale. */
    typename At::result take() noexcept
    {
        const status code = code_;
        if (code == status::ok) code_ = status::stale;
        return At::outcome(at_, code, answer_);
    }

    /** llmrl_cancel(): leaves the queue; what was granted is given back. status::stale if there was nothing to end. */
    status cancel() noexcept
    {
        const status code = std::exchange(code_, status::stale);
        if (code == status::ok) return At::outcome(at_, code, answer_)->cancel();
        if (code != status::pending) return status::stale;
        // Busy only while somebody polls the bare number, from a wake callback.
        llmrl_status left;
        do left = At::cancel(at_, answer_);
        while (left == LLMRL_ERR_BUSY);
        return static_cast<status>(left);
    }

private:
    const typename At::object *at_ = nullptr;
    typename At::answer answer_{};
    status code_ = status::stale;
};

namespace detail {

struct of_limiter {
    using object = llmrl_limiter;
    static constexpr auto settle = llmrl_settle;
    static constexpr auto release = llmrl_release;
    static constexpr auto cancel = llmrl_cancel;
    static constexpr auto adjust = llmrl_adjust;
    static constexpr auto feedback = llmrl_feedback;
};
struct of_chain {
    using object = llmrl_chain;
    static constexpr auto settle = llmrl_chain_settle;
    static constexpr auto release = llmrl_chain_release;
    static constexpr auto cancel = llmrl_chain_cancel;
    static constexpr auto adjust = llmrl_chain_adjust;
    static constexpr auto feedback = llmrl_chain_feedback;
};
struct of_fair {
    using object = llmrl_fair;
    static constexpr auto settle = llmrl_fair_settle;
    static constexpr auto release = llmrl_fair_release;
    static constexpr auto cancel = llmrl_fair_cancel;
    static constexpr auto adjust = llmrl_fair_adjust;
    static constexpr auto feedback = llmrl_fair_feedback;
};

} // namespace detail

using permit = basic_permit<detail::of_limiter>;
using chain_permit = basic_permit<detail::of_chain>;
using fair_permit = basic_permit<detail::of_fair>;

/** A result that says at which level of a chain, and for which limit there: see llmrl_chained. */
class [[nodiscard]] chain_result : public result<chain_permit> {
public:
    chain_result(llmrl_status code, const llmrl_chain *of, const llmrl_chained &c) noexcept
        : result(code, chain_permit(of, code == LLMRL_OK ? c.permit : 0), c.wait_ns), level_(c.level), limit_(c.limit)
    {
    }
    std::uint32_t level() const noexcept { return level_; }
    std::uint32_t limit() const noexcept { return limit_; }

private:
    std::uint32_t level_;
    std::uint32_t limit_;
};

/** A result that says at which node of a router: see llmrl_routed. */
class [[nodiscard]] route_result : public result<permit> {
public:
    route_result(llmrl_status code, const llmrl_routed &c) noexcept
        : result(code, permit(c.limiter, c.permit), c.wait_ns), node_(c.node)
    {
    }
    /** The number that router::add() gave it. */
    std::uint32_t node() const noexcept { return node_; }

private:
    std::uint32_t node_;
};

namespace detail {

struct place {
    llmrl_permit permit;
    std::uint64_t wait_ns;
};

template <class Of, llmrl_status (*Poll)(const typename Of::object *, llmrl_permit, std::uint64_t *)> struct at_queue {
    using object = typename Of::object;
    using answer = place;
    using result = llmrl::result<basic_permit<Of>>;
    static llmrl_permit number(const answer &a) noexcept { return a.permit; }
    static llmrl_status poll(const object *at, answer &a) noexcept { return Poll(at, a.permit, &a.wait_ns); }
    static llmrl_status cancel(const object *at, const answer &a) noexcept { return Of::cancel(at, a.permit); }
    static result outcome(const object *at, status code, const answer &a) noexcept
    {
        const bool waits = code == status::pending;
        return {code, basic_permit<Of>(at, code == status::ok ? a.permit : 0), waits ? a.wait_ns : 0};
    }
};

struct at_chain {
    using object = llmrl_chain;
    using answer = llmrl_chained;
    using result = chain_result;
    static llmrl_permit number(const answer &a) noexcept { return a.permit; }
    static llmrl_status poll(const object *at, answer &a) noexcept
    {
        const llmrl_permit ticket = a.permit;
        return llmrl_chain_poll(at, ticket, &a, sizeof a);
    }
    static llmrl_status cancel(const object *at, const answer &a) noexcept { return llmrl_chain_cancel(at, a.permit); }
    static result outcome(const object *at, status code, const answer &a) noexcept
    {
        return {static_cast<llmrl_status>(code), at, a};
    }
};

struct at_router {
    using object = llmrl_router;
    using answer = llmrl_routed;
    using result = route_result;
    static llmrl_permit number(const answer &a) noexcept { return a.ticket; }
    static llmrl_status poll(const object *at, answer &a) noexcept
    {
        const std::uint64_t ticket = a.ticket;
        return llmrl_router_poll(at, ticket, &a, sizeof a);
    }
    static llmrl_status cancel(const object *at, const answer &a) noexcept { return llmrl_router_cancel(at, a.ticket); }
    static result outcome(const object *, status code, const answer &a) noexcept
    {
        llmrl_routed c = a;
        if (code != status::ok) c.permit = 0;
        return {static_cast<llmrl_status>(code), c};
    }
};

} // namespace detail

using ticket = basic_ticket<detail::at_queue<detail::of_limiter, llmrl_poll>>;
using fair_ticket = basic_ticket<detail::at_queue<detail::of_fair, llmrl_fair_poll>>;
using chain_ticket = basic_ticket<detail::at_chain>;
using route_ticket = basic_ticket<detail::at_router>;


/* ----------------------------------------------------------------------------------------
 * Limiter
 * ---------------------------------------------------------------------------------------- */

/** llmrl_options. What is left alone is the default. */
struct limiter_options {
    /** LLMRL_RAISE_LIMITS. */
    bool raise_limits = false;
    std::uint32_t max_waiters = 0;
    std::uint32_t max_permits = 0;
    /** NULL for the machine's clock. */
    const manual_clock *clock = nullptr;
    llmrl::wake wake{};
    /** What limiter::save() gave; it is not needed any more when the limiter is made. */
    std::string_view saved{};
    /** The time by which it is known how long ago that was; the system's if it is not given. */
    wall_time saved_now{};

    llmrl_options native() const noexcept
    {
        llmrl_options c{};
        c.flags = raise_limits ? LLMRL_RAISE_LIMITS : 0U;
        c.max_waiters = max_waiters;
        c.max_permits = max_permits;
        c.clock = clock != nullptr ? clock->native() : nullptr;
        c.wake = wake.function;
        c.wake_ctx = wake.context;
        c.saved = saved.empty() ? nullptr : saved.data();
        c.saved_size = saved.size();
        c.saved_now_ns = detail::ns_of(saved_now);
        return c;
    }
};

/** llmrl_stats. */
struct limiter_stats {
    std::uint64_t granted;
    std::uint64_t refused;
    std::uint64_t waiting;
    std::uint64_t in_flight;
    std::uint64_t cancelled;
    std::uint64_t timed_out;
    std::uint64_t wakes;
    nanoseconds wait_total;
    nanoseconds wait_max;
};

/** llmrl_limit_state.mode. */
enum class mode : std::uint32_t {
    normal = LLMRL_NORMAL,
    throttled = LLMRL_THROTTLED,
    recovering = LLMRL_RECOVERING,
};

/** llmrl_limit_state. */
struct limit_state {
    llmrl::kind kind{};
    llmrl::meter meter{};
    std::uint64_t amount = 0;
    nanoseconds period{};
    std::uint64_t burst = 0;
    std::int64_t available = 0;
    nanoseconds paused{};
    llmrl::mode mode{};
};

/** How each limit of a limiter stands, in their order. */
class limit_states {
public:
    std::size_t size() const noexcept { return size_; }
    const limit_state *begin() const noexcept { return states_.data(); }
    const limit_state *end() const noexcept { return states_.data() + size_; }
    const limit_state &operator[](std::size_t index) const noexcept { return states_[index]; }

private:
    friend class limiter;
    std::array<limit_state, LLMRL_MAX_LIMITS> states_{};
    std::size_t size_ = 0;
};

/** What limiter::outlook() sees: how long a request would wait, and the limit for which longest, if it is one's doing. */
struct outlook {
    nanoseconds wait{};
    std::optional<std::uint32_t> limit{};
};

/**
 * llmrl_limiter: up to 8 limits that admit a request all together or not at all, and one queue of those who wait. There is
 * one owner; std::shared_ptr makes more of them.
 */
class limiter : public detail::object<llmrl_limiter> {
public:
    /** An empty one. */
    limiter() noexcept = default;

    /** llmrl_limiter_new(). */
    static made<limiter> make(view<limit> limits, const limiter_options &options = {}) noexcept
    {
        return made<limiter>::by([&](char *text, std::size_t size) -> result<limiter> {
            const llmrl_options c = options.native();
            llmrl_limiter *l = nullptr;
            const llmrl_status code = llmrl_limiter_new(detail::array_of<llmrl_limit>(limits), limits.size(), &c,
                                                        sizeof c, &l, text, size);
            return {code, limiter(l)};
        });
    }

    /** llmrl_try_acquire(): now or not at all. */
    result<permit> try_acquire(const cost &estimate) const noexcept
    {
        llmrl_permit number = 0;
        std::uint64_t wait_ns = 0;
        const llmrl_limiter *const l = native();
        const llmrl_status code = llmrl_try_acquire(l, &estimate, &number, &wait_ns);
        return {code, permit(l, number), wait_ns};
    }

    /** llmrl_try_acquire() without a permit, for limiters without an in-flight limit: the estimate stands. The cheapest. */
    result<void> try_spend(const cost &estimate) const noexcept
    {
        std::uint64_t wait_ns = 0;
        const llmrl_status code = llmrl_try_acquire(native(), &estimate, nullptr, &wait_ns);
        return result<void>(code, wait_ns);
    }

    /** llmrl_acquire(): blocks the thread until it is its turn, for timeout at most. */
    result<permit> acquire(const cost &estimate, nanoseconds timeout = forever) const noexcept
    {
        llmrl_permit number = 0;
        const llmrl_status code = llmrl_acquire(native(), &estimate, detail::timeout_of(timeout), &number);
        return {code, permit(native(), number)};
    }

    /** llmrl_enqueue(): joins the queue if it is not its turn yet. Never blocks. */
    llmrl::ticket enqueue(const cost &estimate, nanoseconds timeout = forever) const noexcept
    {
        detail::place place{};
        const llmrl_status code =
            llmrl_enqueue(native(), &estimate, detail::timeout_of(timeout), &place.permit, &place.wait_ns);
        return {native(), code, place};
    }

    /** llmrl_outlook(): how long a request would wait if it came now. */
    result<llmrl::outlook> outlook(const cost &estimate) const noexcept
    {
        std::uint64_t wait_ns = 0;
        std::uint32_t limit = LLMRL_MAX_LIMITS;
        const llmrl_status code = llmrl_outlook(native(), &estimate, &wait_ns, &limit);
        llmrl::outlook seen{detail::time_of(wait_ns), {}};
        if (limit != LLMRL_MAX_LIMITS) seen.limit = limit;
        return {code, seen};
    }

    /** llmrl_limiter_charge(): counts use that did not pass here. */
    status charge(const cost &used) const noexcept
    {
        return static_cast<status>(llmrl_limiter_charge(native(), &used));
    }
    /** llmrl_limiter_retune(): another amount, period and burst for the limit of that index. */
    status retune(std::uint32_t index, std::uint64_t amount, nanoseconds period,
                  std::optional<std::uint64_t> burst = {}) const noexcept
    {
        return static_cast<status>(llmrl_limiter_retune(native(), index, amount, detail::given(detail::ns_of(period)),
                                                        burst ? detail::given(*burst) : 0));
    }
    /** llmrl_limiter_retune() of the in-flight limit. */
    status resize(std::uint32_t index, std::uint64_t slots) const noexcept
    {
        return static_cast<status>(llmrl_limiter_retune(native(), index, slots, 0, 0));
    }
    /** llmrl_limiter_pause(): nothing that needs this limit for so long; zero resumes. status::range below zero. */
    status pause(std::uint32_t index, nanoseconds time) const noexcept
    {
        if (time < nanoseconds::zero()) return status::range;
        return static_cast<status>(llmrl_limiter_pause(native(), index, detail::ns_of(time)));
    }
    /** llmrl_limiter_align(): the present fixed window ends so long from now. */
    status align(std::uint32_t index, nanoseconds resets_in) const noexcept
    {
        return static_cast<status>(llmrl_limiter_align(native(), index, detail::ns_of(resets_in)));
    }
    /** llmrl_limiter_close(): whoever waits, and whoever comes later, is told status::closed. */
    status close() const noexcept { return static_cast<status>(llmrl_limiter_close(native())); }

    /** llmrl_limiter_stats(). All zero after a move. */
    limiter_stats stats() const noexcept
    {
        llmrl_stats c{};
        llmrl_limiter_stats(native(), &c, sizeof c);
        return {c.granted,   c.refused, c.waiting, c.in_flight, c.cancelled,
                c.timed_out, c.wakes,   detail::time_of(c.wait_total_ns), detail::time_of(c.wait_max_ns)};
    }

    /** llmrl_limiter_limit_state() of each limit. */
    limit_states limits() const noexcept
    {
        limit_states all;
        llmrl_limit_state c{};
        while (all.size_ < all.states_.size() &&
               llmrl_limiter_limit_state(native(), static_cast<std::uint32_t>(all.size_), &c, sizeof c) == LLMRL_OK)
            all.states_[all.size_++] = {static_cast<kind>(c.kind),   static_cast<meter>(c.meter), c.amount,
                                        detail::time_of(c.period_ns), c.burst,                     c.available,
                                        detail::time_of(c.paused_ns), static_cast<mode>(c.mode)};
        return all;
    }

    /** llmrl_limiter_save(): what was used, as bytes for limiter_options::saved. Allocates. */
    result<std::string> save(wall_time now = {}) const
    {
        std::string bytes;
        std::size_t size = 0;
        llmrl_status code;
        // The second time there is room, unless the limits have changed in between.
        while ((code = llmrl_limiter_save(native(), detail::ns_of(now), bytes.data(), bytes.size(), &size)) ==
               LLMRL_ERR_SIZE)
            bytes.resize(size);
        bytes.resize(code == LLMRL_OK ? size : 0);
        return {code, std::move(bytes)};
    }

private:
    friend class limiter_map;
    explicit limiter(llmrl_limiter *l) noexcept : object(l) {}
};


/* ----------------------------------------------------------------------------------------
 * Limiters by key
 * ---------------------------------------------------------------------------------------- */

/** llmrl_map_stats. */
using map_stats = llmrl_map_stats;

/** llmrl_map_key: one key of a map. */
struct map_key {
    /** Its first 64 bytes, */
    std::string key;
    /** of so many. */
    std::uint64_t key_size = 0;
    std::uint64_t granted = 0;
    std::uint64_t refused = 0;
    std::uint64_t waiting = 0;
    std::uint64_t in_flight = 0;
};

/** By what limiter_map::top() looks. */
enum class by : std::uint32_t { use = LLMRL_BY_USE, waiting = LLMRL_BY_WAITING };

/** A limiter of a map, and whether other keys share it because there was no room. */
class [[nodiscard]] keyed_result : public result<limiter> {
public:
    keyed_result(llmrl_status code, limiter l, bool is_shared) noexcept
        : result(code, std::move(l)), is_shared_(is_shared)
    {
    }
    bool is_shared() const noexcept { return is_shared_; }

private:
    bool is_shared_;
};

/**
 * llmrl_map: a limiter for each key, in bounded memory. What get() gives is a handle: keep it while the key is active.
 * Permits belong to their handle. Handles may outlive the map.
 */
class limiter_map : public detail::object<llmrl_map> {
public:
    limiter_map() noexcept = default;

    /** llmrl_map_new(). */
    static made<limiter_map> make(view<limit> limits, std::size_t capacity, std::size_t shared,
                                  const limiter_options &options = {}) noexcept
    {
        return made<limiter_map>::by([&](char *text, std::size_t size) -> result<limiter_map> {
            const llmrl_options c = options.native();
            llmrl_map *m = nullptr;
            const llmrl_status code = llmrl_map_new(detail::array_of<llmrl_limit>(limits), limits.size(), &c, sizeof c,
                                                    capacity, shared, &m, text, size);
            return {code, limiter_map(m)};
        });
    }

    /** llmrl_map_limiter(): the limiter of a key of 1 to LLMRL_MAX_KEY bytes, made if there is none. */
    keyed_result get(std::string_view key) const noexcept
    {
        llmrl_limiter *l = nullptr;
        std::int32_t is_shared = 0;
        const llmrl_status code = llmrl_map_limiter(native(), key.data(), key.size(), &l, &is_shared);
        return {code, limiter(l), is_shared != 0};
    }

    /** llmrl_map_set_limits(): limits of its own for a key; with none, the map's come back. The value is of no interest. */
    made<bool> set_limits(std::string_view key, view<limit> limits) const noexcept
    {
        return made<bool>::by([&](char *text, std::size_t size) -> result<bool> {
            const llmrl_status code = llmrl_map_set_limits(native(), key.data(), key.size(),
                                                           detail::array_of<llmrl_limit>(limits), limits.size(), text, size);
            return {code, code == LLMRL_OK};
        });
    }

    /** llmrl_map_close(): closes every limiter, and refuses new keys. */
    status close() const noexcept { return static_cast<status>(llmrl_map_close(native())); }

    /** llmrl_map_get_stats(). */
    map_stats stats() const noexcept
    {
        map_stats c{};
        llmrl_map_get_stats(native(), &c, sizeof c);
        return c;
    }

    /** llmrl_map_top(): the keys with most, up to count of them, at most 1000. Allocates. */
    result<std::vector<map_key>> top(by what, std::size_t count) const
    {
        // One more than may be asked for is refused by the library as well as any number.
        std::vector<llmrl_map_key> c(count < 1001 ? count : 1001);
        std::size_t written = 0;
        const llmrl_status code = llmrl_map_top(native(), static_cast<std::uint32_t>(what), c.data(), sizeof(llmrl_map_key),
                                                c.size(), &written);
        std::vector<map_key> keys;
        keys.reserve(written);
        for (std::size_t i = 0; i < written; i++) {
            const llmrl_map_key &k = c[i];
            const std::size_t shown = k.key_size < sizeof k.key ? static_cast<std::size_t>(k.key_size) : sizeof k.key;
            keys.push_back({std::string(reinterpret_cast<const char *>(k.key), shown), k.key_size, k.granted, k.refused,
                            k.waiting, k.in_flight});
        }
        return {code, std::move(keys)};
    }

private:
    explicit limiter_map(llmrl_map *m) noexcept : object(m) {}
};


/* ----------------------------------------------------------------------------------------
 * Chain
 * ---------------------------------------------------------------------------------------- */

/** llmrl_chain_options. */
struct chain_options {
    std::uint32_t max_permits = 0;
    llmrl::wake wake{};
};

/**
 * llmrl_chain: limiters one above the other, the most private first: a request needs all of them.
 *
 *     auto chain = llmrl::chain::make({&user, &team, &provider});
 *
 * The limiters may be moved, and those of a map destroyed, while it is there.
 */
class chain : public detail::object<llmrl_chain> {
public:
    chain() noexcept = default;

    /** llmrl_chain_new(). */
    static made<chain> make(view<const limiter *> levels, const chain_options &options = {}) noexcept
    {
        return made<chain>::by([&](char *text, std::size_t size) -> result<chain> {
            // One more than there may be, so that too many are refused.
            std::array<const llmrl_limiter *, LLMRL_MAX_LEVELS + 1> all{};
            std::size_t count = 0;
            for (const limiter *level : levels)
                if (count < all.size()) all[count++] = level != nullptr ? level->native() : nullptr;
            const llmrl_chain_options c{0, options.max_permits, options.wake.function, options.wake.context};
            llmrl_chain *made = nullptr;
            const llmrl_status code = llmrl_chain_new(all.data(), count, &c, sizeof c, &made, text, size);
            return {code, chain(made)};
        });
    }

    /** llmrl_chain_try_acquire(). */
    chain_result try_acquire(const cost &estimate) const noexcept
    {
        llmrl_chained c = nowhere();
        const llmrl_status code = llmrl_chain_try_acquire(native(), &estimate, &c, sizeof c);
        return {code, native(), c};
    }
    /** llmrl_chain_acquire(). */
    chain_result acquire(const cost &estimate, nanoseconds timeout = forever) const noexcept
    {
        llmrl_chained c = nowhere();
        const llmrl_status code = llmrl_chain_acquire(native(), &estimate, detail::timeout_of(timeout), &c, sizeof c);
        return {code, native(), c};
    }
    /** llmrl_chain_enqueue(). */
    chain_ticket enqueue(const cost &estimate, nanoseconds timeout = forever) const noexcept
    {
        llmrl_chained c = nowhere();
        const llmrl_status code = llmrl_chain_enqueue(native(), &estimate, detail::timeout_of(timeout), &c, sizeof c);
        return {native(), code, c};
    }

private:
    explicit chain(llmrl_chain *c) noexcept : object(c) {}
    static llmrl_chained nowhere() noexcept { return {0, 0, LLMRL_MAX_LEVELS, LLMRL_MAX_LIMITS}; }
};


/* ----------------------------------------------------------------------------------------
 * Router
 * ---------------------------------------------------------------------------------------- */

/** llmrl_router_options. */
struct router_options {
    std::uint32_t replicas = 0;
    llmrl::wake wake{};
};

/**
 * llmrl_router: limiters by name. Which one a key belongs to, and which one admits a request first. Permits are those of
 * the nodes' limiters, which must outlive them. A key is bytes; without one, nodes are chosen by weight.
 */
class router : public detail::object<llmrl_router> {
public:
    router() noexcept = default;

    /** llmrl_router_new(). */
    static made<router> make(const router_options &options = {}) noexcept
    {
        return made<router>::by([&](char *text, std::size_t size) -> result<router> {
            const llmrl_router_options c{0, options.replicas, options.wake.function, options.wake.context};
            llmrl_router *r = nullptr;
            const llmrl_status code = llmrl_router_new(&c, sizeof c, &r, text, size);
            return {code, router(r)};
        });
    }

    /** llmrl_router_add(): gives the number of the node. */
    made<std::uint32_t> add(std::string_view name, std::uint32_t weight, const limiter &l) const noexcept
    {
        return made<std::uint32_t>::by([&](char *text, std::size_t size) -> result<std::uint32_t> {
            std::uint32_t node = 0;
            const llmrl_status code =
                llmrl_router_add(native(), name.data(), name.size(), weight, l.native(), &node, text, size);
            return {code, node};
        });
    }
    /** llmrl_router_set_weight(). */
    status set_weight(std::string_view name, std::uint32_t weight) const noexcept
    {
        return static_cast<status>(llmrl_router_set_weight(native(), name.data(), name.size(), weight));
    }
    /** llmrl_router_remove(). */
    status remove(std::string_view name) const noexcept
    {
        return static_cast<status>(llmrl_router_remove(native(), name.data(), name.size()));
    }
    /** llmrl_router_node_for(): the number of the node to which a key belongs. */
    result<std::uint32_t> node_for(std::string_view key) const noexcept
    {
        std::uint32_t node = 0;
        const llmrl_status code = llmrl_router_node_for(native(), bytes(key), key.size(), &node, nullptr);
        return {code, node};
    }

    /** llmrl_router_try_acquire(). */
    route_result try_acquire(const cost &estimate, std::optional<std::string_view> key = {}) const noexcept
    {
        llmrl_routed c{};
        const llmrl_status code = llmrl_router_try_acquire(native(), &estimate, bytes(key), size(key), &c, sizeof c);
        return {code, c};
    }
    /** llmrl_router_acquire(). */
    route_result acquire(const cost &estimate, std::optional<std::string_view> key = {},
                         nanoseconds timeout = forever) const noexcept
    {
        llmrl_routed c{};
        const llmrl_status code = llmrl_router_acquire(native(), &estimate, bytes(key), size(key),
                                                       detail::timeout_of(timeout), &c, sizeof c);
        return {code, c};
    }
    /** llmrl_router_enqueue(). */
    route_ticket enqueue(const cost &estimate, std::optional<std::string_view> key = {},
                         nanoseconds timeout = forever) const noexcept
    {
        llmrl_routed c{};
        const llmrl_status code = llmrl_router_enqueue(native(), &estimate, bytes(key), size(key),
                                                       detail::timeout_of(timeout), &c, sizeof c);
        return {native(), code, c};
    }

private:
    explicit router(llmrl_router *r) noexcept : object(r) {}

    // A key of no bytes is one, too; C takes NULL for none.
    static const char *bytes(std::optional<std::string_view> key) noexcept
    {
        if (!key) return nullptr;
        return key->data() != nullptr ? key->data() : "";
    }
    static std::size_t size(std::optional<std::string_view> key) noexcept { return key ? key->size() : 0; }
};


/* ----------------------------------------------------------------------------------------
 * Fair queue
 * ---------------------------------------------------------------------------------------- */

/** llmrl_fair_options. */
struct fair_options {
    std::uint32_t passes = 0;
    std::uint32_t max_waiters = 0;
    std::uint32_t max_permits = 0;
    /** Zero is a minute; forever is never. */
    nanoseconds aging{};
    llmrl::wake wake{};
};

/** llmrl_share: on whose account a request goes. The key is copied during the call. */
struct share {
    std::string_view key;
    std::uint32_t weight = 1;
    bool batch = false;
};

/** llmrl_fair_stats. */
using fair_stats = llmrl_fair_stats;

/** llmrl_fair: a limiter that many share, each by weight. */
class fair_queue : public detail::object<llmrl_fair> {
public:
    fair_queue() noexcept = default;

    /** llmrl_fair_new(). The limiter may be moved, and one of a map destroyed, while the queue is there. */
    static made<fair_queue> make(const limiter &l, const fair_options &options = {}) noexcept
    {
        return made<fair_queue>::by([&](char *text, std::size_t size) -> result<fair_queue> {
            const llmrl_fair_options c{0,
                                       options.passes,
                                       options.max_waiters,
                                       options.max_permits,
                                       detail::ns_of(options.aging),
                                       options.wake.function,
                                       options.wake.context};
            llmrl_fair *f = nullptr;
            const llmrl_status code = llmrl_fair_new(l.native(), &c, sizeof c, &f, text, size);
            return {code, fair_queue(f)};
        });
    }

    /** llmrl_fair_try_acquire(). */
    result<fair_permit> try_acquire(const cost &estimate) const noexcept
    {
        llmrl_permit number = 0;
        std::uint64_t wait_ns = 0;
        const llmrl_status code = llmrl_fair_try_acquire(native(), &estimate, &number, &wait_ns);
        return {code, fair_permit(native(), number), wait_ns};
    }
    /** llmrl_fair_acquire(). */
    result<fair_permit> acquire(const cost &estimate, const share &whose, nanoseconds timeout = forever) const noexcept
    {
        const llmrl_share c = native_share(whose);
        llmrl_permit number = 0;
        const llmrl_status code = llmrl_fair_acquire(native(), &estimate, &c, detail::timeout_of(timeout), &number);
        return {code, fair_permit(native(), number)};
    }
    /** llmrl_fair_enqueue(). */
    fair_ticket enqueue(const cost &estimate, const share &whose, nanoseconds timeout = forever) const noexcept
    {
        const llmrl_share c = native_share(whose);
        detail::place place{};
        const llmrl_status code =
            llmrl_fair_enqueue(native(), &estimate, &c, detail::timeout_of(timeout), &place.permit, &place.wait_ns);
        return {native(), code, place};
    }

    /** llmrl_fair_get_stats(). */
    fair_stats stats() const noexcept
    {
        fair_stats c{};
        llmrl_fair_get_stats(native(), &c, sizeof c);
        return c;
    }

private:
    explicit fair_queue(llmrl_fair *f) noexcept : object(f) {}
    static llmrl_share native_share(const share &whose) noexcept
    {
        return {whose.key.data(), whose.key.size(), whose.weight, whose.batch ? LLMRL_BATCH : 0U};
    }
};


/* ----------------------------------------------------------------------------------------
 * What a request is charged, and how much will be put out
 * ---------------------------------------------------------------------------------------- */

/** llmrl_request: what is known of a request before it is sent, in tokens. */
struct request {
    std::uint64_t prompt = 0;
    std::uint64_t cached = 0;
    /** Empty if it is not given. */
    std::optional<std::uint64_t> max_tokens{};
    std::uint64_t expected = 0;
};

/**
 * llmrl_charging: how a provider charges a request. The fields are those of C.
 *
 *     auto rule = llmrl::charging::of("bedrock");
 *     auto reserved = rule->reserve({1200, 0, 1024, 300});
 *     auto permit = limiter.acquire(*reserved);
 */
struct charging : llmrl_charging {
    charging() noexcept : llmrl_charging{} {}

    /** llmrl_charging_of(). */
    static result<charging> of(const char *provider) noexcept
    {
        charging rule;
        const llmrl_status code = llmrl_charging_of(provider, &rule, sizeof(llmrl_charging));
        return {code, rule};
    }
    /** llmrl_charging_reserve(): what to acquire. */
    result<cost> reserve(const request &what) const noexcept
    {
        const llmrl_request c = native_request(what);
        cost out;
        const llmrl_status code = llmrl_charging_reserve(this, sizeof(llmrl_charging), &c, sizeof c, &out);
        return {code, out};
    }
    /** llmrl_charging_settle(): what to settle with. */
    result<cost> settle(const request &what, const cost &used) const noexcept
    {
        const llmrl_request c = native_request(what);
        cost out;
        const llmrl_status code = llmrl_charging_settle(this, sizeof(llmrl_charging), &c, sizeof c, &used, &out);
        return {code, out};
    }

private:
    static llmrl_request native_request(const request &what) noexcept
    {
        return {what.prompt, what.cached, what.max_tokens.value_or(LLMRL_UNKNOWN), what.expected};
    }
};

/** llmrl_lengths: output lengths that were seen, by key and model. */
class lengths : public detail::object<llmrl_lengths> {
public:
    lengths() noexcept = default;

    /** llmrl_lengths_new(): names is 1 to 2^20. */
    static result<lengths> make(std::uint64_t names) noexcept
    {
        llmrl_lengths *l = nullptr;
        const llmrl_status code = llmrl_lengths_new(names, &l);
        return {code, lengths(l)};
    }
    /** llmrl_lengths_record(). */
    status record(std::string_view key, std::string_view model, std::uint64_t output_tokens) const noexcept
    {
        return static_cast<status>(
            llmrl_lengths_record(native(), key.data(), key.size(), model.data(), model.size(), output_tokens));
    }
    /** llmrl_lengths_estimate(): permille is 1 to 1000; LLMRL_UNKNOWN comes out if nothing is known. */
    result<std::uint64_t> estimate(std::string_view key, std::string_view model, std::uint32_t permille,
                                   std::optional<std::uint64_t> max_tokens = {}) const noexcept
    {
        std::uint64_t out = 0;
        const llmrl_status code = llmrl_lengths_estimate(native(), key.data(), key.size(), model.data(), model.size(),
                                                         permille, max_tokens.value_or(LLMRL_UNKNOWN), &out);
        return {code, out};
    }

private:
    explicit lengths(llmrl_lengths *l) noexcept : object(l) {}
};


/* ----------------------------------------------------------------------------------------
 * Without a queue
 * ---------------------------------------------------------------------------------------- */

/** llmrl_bucket: a token bucket by itself. */
class token_bucket : public detail::object<llmrl_bucket> {
public:
    token_bucket() noexcept = default;

    /** llmrl_bucket_new(). The limit is a token bucket; clock is NULL for the machine's. */
    static made<token_bucket> make(const limit &what, const manual_clock *clock = nullptr) noexcept
    {
        return made<token_bucket>::by([&](char *text, std::size_t size) -> result<token_bucket> {
            llmrl_bucket *b = nullptr;
            const llmrl_status code =
                llmrl_bucket_new(&what.native(), clock != nullptr ? clock->native() : nullptr, &b, text, size);
            return {code, token_bucket(b)};
        });
    }

    /** llmrl_bucket_try_take(). */
    result<void> try_take(std::uint64_t n) const noexcept
    {
        std::uint64_t wait_ns = 0;
        const llmrl_status code = llmrl_bucket_try_take(native(), n, &wait_ns);
        return result<void>(code, wait_ns);
    }
    /** llmrl_bucket_refund(). */
    status refund(std::uint64_t n) const noexcept { return static_cast<status>(llmrl_bucket_refund(native(), n)); }
    /** llmrl_bucket_charge(). */
    status charge(std::uint64_t n) const noexcept { return static_cast<status>(llmrl_bucket_charge(native(), n)); }
    /** llmrl_bucket_retune(). */
    status retune(std::uint64_t amount, nanoseconds period, std::optional<std::uint64_t> burst = {}) const noexcept
    {
        return static_cast<status>(llmrl_bucket_retune(native(), amount, detail::given(detail::ns_of(period)),
                                                       burst ? detail::given(*burst) : 0));
    }
    /** llmrl_bucket_pause(). status::range below zero. */
    status pause(nanoseconds time) const noexcept
    {
        if (time < nanoseconds::zero()) return status::range;
        return static_cast<status>(llmrl_bucket_pause(native(), detail::ns_of(time)));
    }
    /** llmrl_bucket_available(): negative is debt. */
    std::int64_t available() const noexcept
    {
        std::int64_t n = 0;
        llmrl_bucket_available(native(), &n);
        return n;
    }

private:
    explicit token_bucket(llmrl_bucket *b) noexcept : object(b) {}
};

/** What bucket_map does with a new key when there is no room: LLMRL_REFUSE_WITHOUT_ROOM or not. */
enum class without_room : std::uint32_t { share = 0, refuse = LLMRL_REFUSE_WITHOUT_ROOM };

/** llmrl_bucket_map_stats. */
using bucket_map_stats = llmrl_bucket_map_stats;

/** llmrl_bucket_map: a token bucket for each key of 1 to 65536 bytes, in memory that is taken when it is made. */
class bucket_map : public detail::object<llmrl_bucket_map> {
public:
    bucket_map() noexcept = default;

    /** llmrl_bucket_map_new(). */
    static made<bucket_map> make(const limit &what, std::size_t capacity, without_room then = without_room::share,
                                 const manual_clock *clock = nullptr) noexcept
    {
        return made<bucket_map>::by([&](char *text, std::size_t size) -> result<bucket_map> {
            llmrl_bucket_map *m = nullptr;
            const llmrl_status code =
                llmrl_bucket_map_new(&what.native(), capacity, static_cast<std::uint32_t>(then),
                                     clock != nullptr ? clock->native() : nullptr, &m, text, size);
            return {code, bucket_map(m)};
        });
    }

    /** llmrl_bucket_map_try_take(). */
    result<void> try_take(std::string_view key, std::uint64_t n) const noexcept
    {
        std::uint64_t wait_ns = 0;
        const llmrl_status code = llmrl_bucket_map_try_take(native(), key.data(), key.size(), n, &wait_ns);
        return result<void>(code, wait_ns);
    }
    /** llmrl_bucket_map_refund(). */
    status refund(std::string_view key, std::uint64_t n) const noexcept
    {
        return static_cast<status>(llmrl_bucket_map_refund(native(), key.data(), key.size(), n));
    }
    /** llmrl_bucket_map_charge(). */
    status charge(std::string_view key, std::uint64_t n) const noexcept
    {
        return static_cast<status>(llmrl_bucket_map_charge(native(), key.data(), key.size(), n));
    }
    /** llmrl_bucket_map_available(). */
    result<std::int64_t> available(std::string_view key) const noexcept
    {
        std::int64_t n = 0;
        const llmrl_status code = llmrl_bucket_map_available(native(), key.data(), key.size(), &n);
        return {code, n};
    }
    /** llmrl_bucket_map_read_stats(). */
    bucket_map_stats stats() const noexcept
    {
        bucket_map_stats c{};
        llmrl_bucket_map_read_stats(native(), &c, sizeof c);
        return c;
    }

private:
    explicit bucket_map(llmrl_bucket_map *m) noexcept : object(m) {}
};

/** llmrl_in_flight: how many are inside at the same time. */
class in_flight : public detail::object<llmrl_in_flight> {
public:
    in_flight() noexcept = default;

    /** llmrl_in_flight_new(): 1 to 524287. */
    static result<in_flight> make(std::uint64_t limit) noexcept
    {
        llmrl_in_flight *g = nullptr;
        const llmrl_status code = llmrl_in_flight_new(limit, &g);
        return {code, in_flight(g)};
    }
    /** llmrl_in_flight_try_enter(): status::ok or status::refused. */
    status try_enter() const noexcept { return static_cast<status>(llmrl_in_flight_try_enter(native())); }
    /** llmrl_in_flight_leave(). */
    status leave() const noexcept { return static_cast<status>(llmrl_in_flight_leave(native())); }
    /** llmrl_in_flight_resize(). */
    status resize(std::uint64_t limit) const noexcept
    {
        return static_cast<status>(llmrl_in_flight_resize(native(), limit));
    }
    /** llmrl_in_flight_count(). */
    std::uint64_t count() const noexcept
    {
        std::uint64_t n = 0;
        llmrl_in_flight_count(native(), &n);
        return n;
    }

private:
    explicit in_flight(llmrl_in_flight *g) noexcept : object(g) {}
};

} // namespace llmrl

#endif // LLMRL_HPP
