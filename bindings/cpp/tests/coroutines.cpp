// The loop of the example, with the clock moved by hand.
#include "check.hpp"

#ifdef __cpp_impl_coroutine
#include "../examples/loop.hpp"

#include <thread>

namespace {

struct told {
    std::vector<int> order;
    std::vector<nanoseconds> times;
    std::vector<status> codes;
};

example::task ask(example::loop &loop, const limiter &l, const manual_clock &clock, int who, nanoseconds timeout, told &all)
{
    auto permit = co_await loop.acquire(l, {}, timeout);
    all.order.push_back(who);
    all.times.push_back(clock.now());
    all.codes.push_back(permit.code());
}

limiter in_loop(example::loop &loop, const manual_clock &clock, llmrl::view<limit> limits)
{
    llmrl::limiter_options options;
    options.clock = &clock;
    options.wake = loop.wake();
    return limiter_of(limits, options);
}

} // namespace

TEST(coroutines_in_their_turn)
{
    const manual_clock clock;
    example::loop loop(&clock);
    const limiter slow = in_loop(loop, clock, {limit::requests(60).burst(1)});
    const limiter fast = in_loop(loop, clock, {limit::requests(600).burst(1)});
    told one, other;
    for (int i = 0; i < 5; i++) {
        ask(loop, slow, clock, i, llmrl::forever, one);
        ask(loop, fast, clock, i, llmrl::forever, other);
    }
    EQUAL(one.order.size(), 1U);
    loop.run();
    EQUAL(one.order.size(), 5U);
    EQUAL(other.order.size(), 5U);
    for (int i = 0; i < 5; i++) {
        const auto at = static_cast<std::size_t>(i);
        CHECK(one.order[at] == i && one.times[at] == i * 1s && one.codes[at] == status::ok);
        CHECK(other.order[at] == i && other.times[at] == i * 100ms && other.codes[at] == status::ok);
    }
    EQUAL(slow.stats().waiting, 0U);
}

TEST(coroutines_that_are_refused)
{
    const manual_clock clock;
    example::loop loop(&clock);
    const limiter l = in_loop(loop, clock, {limit::requests(60).burst(1)});
    told all;
    ask(loop, l, clock, 0, 0s, all);
    ask(loop, l, clock, 1, 500ms, all);
    EQUAL(all.codes.back(), status::deadline);
    ask(loop, l, clock, 2, 1s, all);
    ask(loop, l, clock, 3, llmrl::forever, all);
    OK(l.pause(0, 1h));
    loop.run();
    CHECK(all.order == (std::vector<int>{0, 1, 2, 3}));
    EQUAL(all.codes[2], status::deadline);
    EQUAL(all.codes[3], status::ok);
    EQUAL(all.times[3], 1h);
}

TEST(coroutines_that_are_called)
{
    const manual_clock clock;
    example::loop loop(&clock);
    const limiter l = in_loop(loop, clock, {limit::in_flight(1)});
    auto held = l.try_acquire({});
    told all;
    ask(loop, l, clock, 0, llmrl::forever, all);
    ask(loop, l, clock, 1, llmrl::forever, all);
    EQUAL(all.order.size(), 0U);
    // The first one's permit ends with its coroutine, and calls the second.
    std::thread other([&] { OK(held->release()); });
    loop.run();
    other.join();
    CHECK(all.order == (std::vector<int>{0, 1}));

    auto again = l.try_acquire({});
    ask(loop, l, clock, 2, llmrl::forever, all);
    std::thread closer([&] { OK(l.close()); });
    loop.run();
    closer.join();
    EQUAL(all.codes.back(), status::closed);
}
#endif
