// What providers say, and what a limiter makes of it.
#include "json.hpp"

using json::value;
using llmrl::answer_class;

namespace {

std::string name(answer_class what)
{
    switch (what) {
    case answer_class::ok: return "ok";
    case answer_class::rate: return "rate";
    case answer_class::concurrency: return "concurrency";
    case answer_class::overload: return "overload";
    case answer_class::long_rate: return "long";
    case answer_class::billing: return "billing";
    case answer_class::oversize: return "oversize";
    case answer_class::other: break;
    }
    return "other";
}

std::string name(meter what)
{
    switch (what) {
    case meter::requests: return "requests";
    case meter::tokens: return "tokens";
    case meter::input_tokens: return "input_tokens";
    case meter::output_tokens: return "output_tokens";
    case meter::concurrency: return "concurrency";
    case meter::none: return "none";
    case meter::weighted_tokens:
    case meter::other: break;
    }
    return "other";
}

std::string name(llmrl::pool which)
{
    static const char *const names[] = {"standard",     "project", "usage_based", "priority", "fast",
                                        "subscription", "overage", "uncached",    "gateway"};
    return names[static_cast<std::size_t>(which) - 1];
}

std::string number(std::optional<std::uint64_t> n) { return n ? std::to_string(*n) : "null"; }
std::string time(std::optional<nanoseconds> t) { return t ? std::to_string(t->count()) : "null"; }
std::string seconds(std::optional<nanoseconds> t)
{
    return t ? std::to_string(std::chrono::duration_cast<std::chrono::seconds>(*t).count()) : "null";
}
std::string truth(bool yes) { return yes ? "true" : "false"; }

// What is expected, as it would be shown.
std::string wanted(const value &v)
{
    if (v.type == value::null) return "null";
    // The largest number is what C has for "unknown"; it says one less.
    if (v.string == "18446744073709551615") return "18446744073709551614";
    return v.type == value::boolean ? truth(v.yes) : v.string;
}

std::string shown(const llmrl::quota &q, const std::string &key)
{
    if (key == "axis") return name(q.what);
    if (key == "pool") return name(q.account);
    if (key == "limit") return number(q.limit);
    if (key == "remaining") return number(q.remaining);
    if (key == "reset_ns") return time(q.reset);
    if (key == "window_ns") return time(q.window);
    if (key == "utilization") return number(q.utilization);
    if (key == "period_ns") return time(q.period);
    if (key == "solved_low_s") return seconds(q.solved_low);
    if (key == "solved_high_s") return seconds(q.solved_high);
    if (key == "mislabelled") return truth(q.mislabelled);
    check::fail("feedback", 0, key);
}

std::string shown(const llmrl::reading &r, const std::string &key)
{
    if (key == "class") return name(r.what());
    if (key == "axis") return r.exceeded() == meter::none ? "null" : name(r.exceeded());
    if (key == "wait_ns") return time(r.wait());
    if (key == "should_retry") return r.should_retry() ? truth(*r.should_retry()) : "null";
    if (key == "retryable") return truth(r.retryable());
    if (key == "warning") return truth(r.warning());
    if (key == "requested") return number(r.requested());
    if (key == "tripped") return number(r.tripped());
    check::fail("feedback", 0, key);
}

std::size_t run(const char *path)
{
    std::size_t compared = 0;
    for (const value &vector : json::read(path).items) {
        std::vector<llmrl::header> headers;
        for (const value &h : vector["headers"].items) headers.emplace_back(h.items.at(0).string, h.items.at(1).string);
        llmrl::wall_time now{};
        if (vector.has("now")) now += std::chrono::seconds(vector["now"].i64());
        const auto reading = llmrl::read_answer(vector["status"].u32(), headers,
                                                vector.has("body") ? vector["body"].string : std::string(), now);
        const std::string &id = vector["id"].string;
        CHECK(reading);
        for (const std::string &key : vector["expect"].names) {
            const value &want = vector["expect"][key];
            if (key != "quotas") {
                check::equal(id.c_str(), 0, key.c_str(), shown(*reading, key), wanted(want));
                compared++;
                continue;
            }
            check::equal(id.c_str(), 0, "quotas", reading->quotas(), want.items.size());
            for (std::size_t i = 0; i < want.items.size(); i++)
                for (const std::string &field : want.items[i].names) {
                    // Derived from the others, and not in C.
                    if (field == "exhausted") continue;
                    check::equal(id.c_str(), 0, field.c_str(), shown(reading->quota(i), field), wanted(want.items[i][field]));
                    compared++;
                }
        }
    }
    return compared;
}

} // namespace

TEST(vectors_of_feedback)
{
    CHECK(run("tests/feedback/vectors.json") > 300);
    CHECK(run("tests/feedback/examples.json") > 300);
}

TEST(a_refusal_pauses)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::tokens(1000)}, clock);
    auto permit = l.try_acquire({300, 100});
    CHECK(permit);
    const auto advice = permit->feedback(429, {{"retry-after", "7"}}, R"({"error":{"type":"tokens"}})");
    CHECK(advice && advice->retry && advice->what == answer_class::rate);
    EQUAL(l.limits()[0].mode, llmrl::mode::throttled);
    // The request itself waits, and everybody else with it.
    CHECK(l.outlook({300, 100})->wait >= 7s);
    OK(permit->release());
    EQUAL(permit->feedback(200, {}).code(), status::stale);
}

TEST(answers_that_are_none)
{
    EQUAL(llmrl::read_answer(99, {}).code(), status::range);
    EQUAL(llmrl::read_answer(1000, {}).code(), status::range);
    // Names and values are anybody's bytes.
    const std::string noise("\xff\0\x80 1e999", 9);
    const llmrl::header odd[] = {{noise, noise}, {"", ""}, {"retry-after", std::string_view()}};
    const auto reading = llmrl::read_answer(429, odd, noise);
    CHECK(reading && reading->quotas() == 0 && !reading->wait());
    CHECK(!reading->should_retry() && !reading->requested() && !reading->tripped());
}
