// Those who wait: tickets, the wake callback, and threads.
#include "check.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

namespace {

// Every ticket that was called, from whatever thread.
struct calls {
    std::mutex lock;
    std::vector<llmrl_permit> tickets;

    void operator()(llmrl_permit ticket)
    {
        const std::lock_guard<std::mutex> held(lock);
        tickets.push_back(ticket);
    }
    bool has(llmrl_permit ticket)
    {
        const std::lock_guard<std::mutex> held(lock);
        return std::find(tickets.begin(), tickets.end(), ticket) != tickets.end();
    }
};

void until(const limiter &l, std::uint64_t waiting)
{
    while (l.stats().waiting != waiting) std::this_thread::yield();
}

} // namespace

TEST(a_ticket_in_its_turn)
{
    const manual_clock clock;
    calls called;
    llmrl::limiter_options options;
    options.clock = &clock;
    options.wake = llmrl::wake::to(called);
    const limiter l = limiter_of({limit::requests(60).burst(1)}, options);
    auto now = l.enqueue({});
    OK(now.code());
    EQUAL(now.wait(), 0ns);
    EQUAL(now.number(), 0U);
    auto held = now.take();
    CHECK(held && *held);
    EQUAL(now.code(), status::stale);
    EQUAL(now.take().code(), status::stale);

    auto first = l.enqueue({}), second = l.enqueue({});
    EQUAL(first.code(), status::pending);
    EQUAL(first.wait(), 1s);
    CHECK(first.number() != 0);
    EQUAL(first.take().code(), status::pending);
    EQUAL(first.take().wait(), 1s);
    CHECK(!*first.take()); // no permit yet
    EQUAL(second.poll(), status::pending);
    OK(clock.advance(1s));
    CHECK(called.has(first.number()) && !called.has(second.number()));
    OK(first.poll());
    OK(first.poll());
    CHECK(first.take());
    EQUAL(first.poll(), status::stale);
    OK(clock.advance(1s));
    OK(second.poll());
}

TEST(tickets_leave)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::requests(60).burst(1), limit::in_flight(5)}, clock);
    CHECK(l.try_acquire({}));
    {
        const auto forgotten = l.enqueue({});
        EQUAL(forgotten.code(), status::pending);
        EQUAL(l.stats().waiting, 1U);
    }
    EQUAL(l.stats().waiting, 0U);
    EQUAL(l.stats().cancelled, 1U);
    auto ticket = l.enqueue({});
    OK(ticket.cancel());
    EQUAL(ticket.cancel(), status::stale);
    EQUAL(ticket.code(), status::stale);

    // What was granted and not taken goes back.
    OK(clock.advance(1s));
    {
        const auto granted = l.enqueue({});
        OK(granted.code());
        EQUAL(l.limits()[0].available, 0);
        EQUAL(l.limits()[1].available, 4);
    }
    EQUAL(l.limits()[0].available, 1);
    EQUAL(l.limits()[1].available, 5);

    const auto held = l.try_acquire({});
    auto waits = l.enqueue({});
    llmrl::ticket moved = std::move(waits);
    EQUAL(waits.code(), status::stale); // NOLINT: what a moved one answers is promised
    EQUAL(waits.poll(), status::stale);
    EQUAL(waits.number(), 0U);
    EQUAL(waits.wait(), 0ns);
    EQUAL(moved.code(), status::pending);
    moved = l.enqueue({});
    EQUAL(l.stats().waiting, 1U);
    EQUAL(llmrl::ticket().poll(), status::stale);
}

TEST(deadlines_of_tickets)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::requests(60).burst(1)}, clock);
    CHECK(l.try_spend({}));
    EQUAL(l.enqueue({}, 999ms).code(), status::deadline);
    EQUAL(l.enqueue({}, -1s).code(), status::deadline);
    EQUAL(l.acquire({}, 999ms).code(), status::deadline);
    auto ticket = l.enqueue({}, 1s);
    EQUAL(ticket.code(), status::pending);
    OK(l.pause(0, 1h));
    OK(clock.advance(1s));
    EQUAL(ticket.poll(), status::pending);
    OK(clock.advance(1ns));
    EQUAL(ticket.poll(), status::deadline);
    EQUAL(ticket.poll(), status::deadline);
    EQUAL(ticket.take().code(), status::deadline);
    EQUAL(ticket.cancel(), status::stale);
}

TEST(a_wake_callback_may_poll)
{
    const manual_clock clock;
    // It works on the bare number, and the ticket finds that out.
    struct {
        const llmrl_limiter *l = nullptr;
        int granted = 0;
        void operator()(llmrl_permit ticket)
        {
            std::uint64_t wait_ns;
            if (llmrl_poll(l, ticket, &wait_ns) == LLMRL_OK) granted++;
        }
    } poller;
    llmrl::limiter_options options;
    options.clock = &clock;
    options.wake = llmrl::wake::to(poller);
    const limiter l = limiter_of({limit::requests(60).burst(1)}, options);
    poller.l = l.native();
    CHECK(l.try_spend({}));
    auto ticket = l.enqueue({});
    OK(clock.advance(1s));
    EQUAL(poller.granted, 1);
    OK(ticket.poll());
    CHECK(ticket.take());
}

TEST(threads_wait_for_the_clock)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::requests(60).burst(1)}, clock);
    CHECK(l.try_spend({}));
    std::atomic<int> admitted{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([&] {
            if (l.acquire({})) admitted++;
        });
    until(l, 4);
    for (int i = 1; i <= 4; i++) {
        OK(clock.advance(1s));
        while (admitted < i) std::this_thread::yield();
    }
    for (std::thread &thread : threads) thread.join();
    EQUAL(l.stats().granted, 5U);
}

TEST(closing_frees_threads)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::in_flight(1)}, clock);
    const auto held = l.try_acquire({});
    std::atomic<int> closed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++)
        threads.emplace_back([&] {
            if (l.acquire({}).code() == status::closed) closed++;
        });
    until(l, 3);
    OK(l.close());
    for (std::thread &thread : threads) thread.join();
    EQUAL(closed.load(), 3);
}

TEST(a_crowd_of_threads)
{
    const limiter l = limiter_of({limit::requests(1'000'000'000).per(1s), limit::in_flight(3)});
    std::atomic<int> inside{0}, most{0}, done{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; i++)
        threads.emplace_back([&] {
            for (int n = 0; n < 500; n++) {
                auto permit = l.acquire({});
                CHECK(permit);
                const int now = ++inside;
                for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
                }
                inside--;
                // One way or another, also by its destructor.
                if (n % 3 == 0) OK(permit->settle({}));
                if (n % 3 == 1) OK(permit->cancel());
                done++;
            }
        });
    for (std::thread &thread : threads) thread.join();
    EQUAL(done.load(), 3000);
    CHECK(most <= 3);
    EQUAL(l.limits()[1].available, 3);
    EQUAL(l.stats().in_flight, 0U);
}
