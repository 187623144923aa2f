// One thread, nobody waiting: what an admission costs by the classes, by the functions of C, and by a bucket under a mutex.
// `make -C bindings/cpp bench`. Each line is the median of 31 rounds, which are taken in turns.
#include <llmrl.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;
constexpr int calls = 20000;
constexpr int rounds = 31;
constexpr std::uint64_t plenty = 1'000'000'000;

// The bucket of a textbook.
class mutex_bucket {
public:
    mutex_bucket(double per_second, double burst) : rate_(per_second), burst_(burst), level_(burst) {}
    bool try_take(double n)
    {
        const std::lock_guard<std::mutex> held(lock_);
        const auto now = clock_type::now();
        level_ = std::min(burst_, level_ + rate_ * std::chrono::duration<double>(now - last_).count());
        last_ = now;
        if (level_ < n) return false;
        level_ -= n;
        return true;
    }

private:
    std::mutex lock_;
    double rate_, burst_, level_;
    clock_type::time_point last_ = clock_type::now();
};

void check(bool ok)
{
    if (!ok) std::abort();
}

struct line {
    std::string name;
    std::function<void()> round;
    std::vector<double> ns{};
};

template <class F> line measured(const char *name, F call)
{
    return {name, [call] {
                for (int i = 0; i < calls; i++) call();
            }};
}

} // namespace

int main()
{
    using namespace std::chrono_literals;
    using llmrl::limit;
    const auto made = [](auto result) {
        check(bool(result));
        return std::move(*result);
    };
    mutex_bucket mutexed(plenty, plenty);
    const auto bucket = made(llmrl::token_bucket::make(limit::requests(plenty).per(1s)));
    const auto one = made(llmrl::limiter::make({limit::requests(plenty).per(1s)}));
    const auto three = made(llmrl::limiter::make(
        {limit::requests(plenty).per(1s), limit::tokens(1'000'000'000).per(1s), limit::in_flight(50)}));
    llmrl_bucket *const c_bucket = bucket.native();
    llmrl_limiter *const c_one = one.native(), *const c_three = three.native();
    const llmrl::cost cost{1, 1};

    std::vector<line> lines;
    lines.push_back(measured("a bucket under a mutex", [&] { check(mutexed.try_take(1)); }));
    lines.push_back(measured("llmrl_bucket_try_take", [=] {
        std::uint64_t wait_ns;
        check(llmrl_bucket_try_take(c_bucket, 1, &wait_ns) == LLMRL_OK);
    }));
    lines.push_back(measured("token_bucket::try_take", [&] { check(bool(bucket.try_take(1))); }));
    lines.push_back(measured("llmrl_try_acquire, no permit", [=] {
        std::uint64_t wait_ns;
        check(llmrl_try_acquire(c_one, &cost, nullptr, &wait_ns) == LLMRL_OK);
    }));
    lines.push_back(measured("limiter::try_spend", [&] { check(bool(one.try_spend(cost))); }));
    lines.push_back(measured("three limits, llmrl_try_acquire and llmrl_settle", [=] {
        llmrl_permit permit;
        std::uint64_t wait_ns;
        check(llmrl_try_acquire(c_three, &cost, &permit, &wait_ns) == LLMRL_OK);
        check(llmrl_settle(c_three, permit, &cost) == LLMRL_OK);
    }));
    lines.push_back(measured("three limits, limiter::try_acquire and permit::settle", [&] {
        auto permit = three.try_acquire(cost);
        check(permit && permit->settle(cost) == llmrl::status::ok);
    }));

    for (int round = 0; round < rounds; round++)
        for (line &l : lines) {
            const auto start = clock_type::now();
            l.round();
            l.ns.push_back(std::chrono::duration<double, std::nano>(clock_type::now() - start).count() / calls);
        }
    for (line &l : lines) {
        std::nth_element(l.ns.begin(), l.ns.begin() + rounds / 2, l.ns.end());
        std::printf("%-56s %6.1f ns\n", l.name.c_str(), l.ns[rounds / 2]);
    }
}
