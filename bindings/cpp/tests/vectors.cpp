// Every history of tests/vectors, against the classes.
#include "json.hpp"

#include <filesystem>
#include <map>

using json::value;

namespace {

const std::map<std::string, llmrl::kind> kinds = {
    {"token_bucket", llmrl::kind::token_bucket},
    {"pacing", llmrl::kind::pacing},
    {"fixed_window", llmrl::kind::fixed_window},
    {"sliding_window_counter", llmrl::kind::sliding_window_counter},
    {"sliding_window", llmrl::kind::sliding_window},
    {"sliding_window_log", llmrl::kind::sliding_window_log},
};
const std::map<std::string, meter> meters = {
    {"requests", meter::requests},
    {"tokens", meter::tokens},
    {"input_tokens", meter::input_tokens},
    {"output_tokens", meter::output_tokens},
    {"weighted_tokens", meter::weighted_tokens},
};
const std::map<std::string, status> words = {
    {"OK", status::ok},       {"PENDING", status::pending}, {"REFUSED", status::refused}, {"NEVER", status::never},
    {"FULL", status::full},   {"DEADLINE", status::deadline}, {"CLOSED", status::closed}, {"STALE", status::stale},
    {"COST", status::cost},   {"INDEX", status::index},     {"RANGE", status::range},
};

limit of_kind(llmrl::kind kind, meter what, std::uint64_t amount)
{
    switch (kind) {
    case llmrl::kind::token_bucket: return limit::bucket(what, amount);
    case llmrl::kind::pacing: return limit::pacing(what, amount);
    case llmrl::kind::fixed_window: return limit::fixed_window(what, amount);
    case llmrl::kind::sliding_window_counter: return limit::sliding_window_counter(what, amount);
    case llmrl::kind::sliding_window: return limit::sliding_window(what, amount);
    case llmrl::kind::sliding_window_log: return limit::sliding_window_log(what, amount);
    case llmrl::kind::in_flight: break;
    }
    return limit::in_flight(amount);
}

limit limit_of(const value &v)
{
    const std::uint64_t amount = v["amount"].u64();
    if (v["kind"].string == "in_flight") return limit::in_flight(amount);
    limit l = of_kind(kinds.at(v["kind"].string), meters.at(v["meter"].string), amount).per(v["period_ns"].ns());
    if (v.has("burst")) l = l.burst(v["burst"].u64());
    if (v.has("resolution")) l = l.resolution(v["resolution"].u32());
    if (v.has("resets_in_ns")) l = l.resets_in(v["resets_in_ns"].ns());
    if (v.has("oversize_when_full")) l = l.oversize_when_full();
    if (v.has("start_empty")) l = l.start_empty();
    if (v.has("weights")) {
        const value &w = v["weights"];
        l = l.weigh({w["input"].u32(), w["output"].u32(), w["cached"].u32(), w["cache_write"].u32()});
    }
    return l;
}

cost cost_of(const value &v)
{
    cost c{v.u64_or("input", 0), v.u64_or("output", 0)};
    c.requests = v.u64_or("requests", 1);
    c.cached_tokens = v.u64_or("cached", 0);
    c.cache_write_tokens = v.u64_or("cache_write", 0);
    return c;
}

// A name in a history: a ticket until it is admitted, a permit from then on.
struct held {
    llmrl::ticket ticket;
    llmrl::permit permit;
};

struct answer {
    status code;
    nanoseconds wait{};
};

class runner {
public:
    explicit runner(const value &file) : clock_(file["start_ns"].ns()), at_(file["start_ns"].ns())
    {
        std::vector<limit> limits;
        for (const value &l : file["limits"].items) limits.push_back(limit_of(l));
        const std::string &subject = file["subject"].string;
        if (subject == "limiter") {
            llmrl::limiter_options options;
            options.clock = &clock_;
            options.max_waiters = static_cast<std::uint32_t>(file.u64_or("max_waiters", 64));
            options.max_permits = 64;
            limiter_ = limiter_of(limits, options);
        } else if (subject == "bucket") {
            bucket_ = must<llmrl::token_bucket>(llmrl::token_bucket::make(limits.at(0), &clock_));
        } else {
            slots_ = file["limits"].items.at(0)["amount"].u64();
            gate_ = must<llmrl::in_flight>(llmrl::in_flight::make(slots_));
        }
    }
    ~runner() { held_.clear(); }

    answer step(const value &step)
    {
        const nanoseconds at = step["at"].ns();
        OK(clock_.advance(at - at_));
        at_ = at;
        const std::string &op = step["op"].string;
        if (limiter_.native() != nullptr) return step.has("of") ? of_held(op, step) : of_limiter(op, step);
        if (bucket_.native() != nullptr) return of_bucket(op, step);
        return of_gate(op, step);
    }

    std::vector<std::int64_t> available() const
    {
        if (bucket_.native() != nullptr) return {bucket_.available()};
        if (gate_.native() != nullptr)
            return {static_cast<std::int64_t>(slots_) - static_cast<std::int64_t>(gate_.count())};
        std::vector<std::int64_t> all;
        for (const llmrl::limit_state &state : limiter_.limits()) all.push_back(state.available);
        return all;
    }

private:
    answer of_limiter(const std::string &op, const value &step)
    {
        if (op == "try_acquire") {
            auto got = limiter_.try_acquire(cost_of(step["cost"]));
            const answer told{got.code(), got.wait()};
            if (got) held_[step["as"].string] = {{}, std::move(*got)};
            return told;
        }
        if (op == "enqueue") {
            const nanoseconds timeout = step.has("timeout_ns") ? step["timeout_ns"].ns() : llmrl::forever;
            llmrl::ticket ticket = limiter_.enqueue(cost_of(step["cost"]), timeout);
            const answer told{ticket.code(), ticket.wait()};
            if (told.code == status::ok || told.code == status::pending) {
                held &mine = held_[step["as"].string] = {std::move(ticket), {}};
                if (told.code == status::ok) mine.permit = std::move(*mine.ticket.take());
            }
            return told;
        }
        if (op == "charge") return {limiter_.charge(cost_of(step["cost"]))};
        if (op == "close") return {limiter_.close()};
        const std::uint32_t index = step["limit"].u32();
        if (op == "retune") {
            std::optional<std::uint64_t> burst;
            if (step.has("burst")) burst = step["burst"].u64();
            return {limiter_.retune(index, step["amount"].u64(), step["period_ns"].ns(), burst)};
        }
        if (op == "align") return {limiter_.align(index, step["resets_in_ns"].ns())};
        if (op == "resize") return {limiter_.resize(index, step["slots"].u64())};
        if (op == "pause") return {limiter_.pause(index, step["ns"].ns())};
        check::fail("vectors", 0, op);
    }

    answer of_held(const std::string &op, const value &step)
    {
        held &mine = held_[step["of"].string];
        if (op == "poll") {
            // A permit has no poll: that it is held is no news.
            if (mine.permit) return {status::ok};
            const status code = mine.ticket.poll();
            const nanoseconds wait = mine.ticket.wait();
            if (code == status::ok) mine.permit = std::move(*mine.ticket.take());
            // An error is told once.
            else if (code != status::pending) mine.ticket = {};
            return {code, wait};
        }
        if (op == "cancel") return {mine.permit ? mine.permit.cancel() : mine.ticket.cancel()};
        // What else there is needs a permit; the types say so of a ticket that still waits.
        if (!mine.permit && mine.ticket.poll() == status::ok) mine.permit = std::move(*mine.ticket.take());
        if (op == "adjust") return {mine.permit.adjust(cost_of(step["cost"]))};
        if (op == "settle") return {mine.permit.settle(cost_of(step["cost"]))};
        if (op == "release") return {mine.permit.release()};
        check::fail("vectors", 0, op);
    }

    answer of_bucket(const std::string &op, const value &step)
    {
        if (op == "take") {
            const auto got = bucket_.try_take(step["n"].u64());
            return {got.code(), got.wait()};
        }
        if (op == "refund") return {bucket_.refund(step["n"].u64())};
        if (op == "charge") return {bucket_.charge(step["n"].u64())};
        if (op == "pause") return {bucket_.pause(step["ns"].ns())};
        if (op == "retune") return {bucket_.retune(step["amount"].u64(), step["period_ns"].ns(), step["burst"].u64())};
        check::fail("vectors", 0, op);
    }

    answer of_gate(const std::string &op, const value &step)
    {
        if (op == "enter") return {gate_.try_enter(), llmrl::forever};
        if (op == "leave") return {gate_.leave()};
        if (op != "resize") check::fail("vectors", 0, op);
        const status code = gate_.resize(step["slots"].u64());
        if (code == status::ok) slots_ = step["slots"].u64();
        return {code};
    }

    manual_clock clock_;
    nanoseconds at_;
    limiter limiter_;
    llmrl::token_bucket bucket_;
    llmrl::in_flight gate_;
    std::uint64_t slots_ = 0;
    std::map<std::string, held> held_;
};

} // namespace

TEST(vectors)
{
    std::size_t files = 0, steps = 0;
    for (const auto &entry : std::filesystem::directory_iterator(ROOT "/tests/vectors")) {
        if (entry.path().extension() != ".json") continue;
        files++;
        const std::string name = entry.path().filename().string();
        const value file = json::read("tests/vectors/" + name);
        runner run(file);
        std::size_t number = 0;
        for (const value &step : file["steps"].items) {
            const std::string where = name + ", step " + std::to_string(number++) + ", " + step["op"].string;
            std::fprintf(stderr, "%s\n", where.c_str());
            const answer got = run.step(step);
            check::equal(where.c_str(), 0, "the answer", got.code, words.at(step["is"].string));
            if (step.has("wait_ns")) {
                const value &want = step["wait_ns"];
                check::equal(where.c_str(), 0, "the wait", got.wait, want.string == "forever" ? llmrl::forever : want.ns());
            }
            const std::vector<std::int64_t> available = run.available();
            const std::vector<value> &want = step["available"].items;
            check::equal(where.c_str(), 0, "the limits", available.size(), want.size());
            for (std::size_t i = 0; i < want.size(); i++)
                check::equal(where.c_str(), 0, "available", available[i], want[i].i64());
            steps++;
        }
    }
    std::printf("%zu vectors, %zu steps\n", files, steps);
    CHECK(files >= 47 && steps > 200);
}

TEST(vectors_of_routing)
{
    const limiter node = limiter_of({limit::requests(1)});
    std::size_t keys = 0;
    for (const value &file : json::read("tests/routing/vectors.json").items) {
        llmrl::router_options options;
        options.replicas = static_cast<std::uint32_t>(file.u64_or("replicas", 0));
        const auto router = must<llmrl::router>(llmrl::router::make(options));
        std::uint32_t number = 0;
        for (const value &n : file["nodes"].items) {
            const auto added = router.add(n["name"].bytes(), n["weight"].u32(), node);
            CHECK(added && *added == number++);
        }
        for (const value &key : file["keys"].items) {
            const auto belongs = router.node_for(key.items.at(0).bytes());
            CHECK(belongs);
            EQUAL(*belongs, key.items.at(1).u64());
            keys++;
        }
    }
    CHECK(keys > 300);
}
