// Limiters, permits, and what is said to those who ask for the impossible.
#include "check.hpp"

#include <type_traits>

static_assert(!std::is_copy_constructible_v<limiter> && std::is_nothrow_move_constructible_v<limiter>);
static_assert(!std::is_copy_constructible_v<llmrl::permit> && std::is_nothrow_move_assignable_v<llmrl::permit>);
static_assert(!std::is_copy_constructible_v<llmrl::ticket> && std::is_nothrow_move_assignable_v<llmrl::ticket>);
static_assert(sizeof(cost) == sizeof(llmrl_cost) && sizeof(limit) == sizeof(llmrl_limit));

TEST(asks_and_settles)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::requests(10), limit::tokens(1000).burst(500), limit::in_flight(2)}, clock);
    auto permit = l.try_acquire({100, 50});
    OK(permit.code());
    EQUAL(permit.wait(), 0ns);
    CHECK(*permit && permit->number() != 0);
    EQUAL(l.limits()[1].available, 350);
    EQUAL(l.limits()[2].available, 1);
    OK(permit->adjust({100, 60}));
    EQUAL(l.limits()[1].available, 340);
    OK(permit->settle({90, 10}));
    CHECK(!*permit);
    EQUAL(permit->number(), 0U);
    EQUAL(l.limits()[1].available, 400);
    EQUAL(l.limits()[2].available, 2);
    EQUAL(permit->settle({90, 10}), status::stale);
    EQUAL(permit->adjust({90, 10}), status::stale);
    EQUAL(permit->cancel(), status::stale);
    EQUAL(permit->release(), status::stale);
    EQUAL(l.limits()[1].available, 400);
    EQUAL(l.stats().granted, 1U);
}

TEST(refusals_say_how_long)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::requests(60).burst(1)}, clock);
    CHECK(l.try_spend({}));
    const auto refused = l.try_acquire({});
    EQUAL(refused.code(), status::refused);
    EQUAL(refused.wait(), 1s);
    CHECK(!refused && !*refused);
    EQUAL(l.try_spend({}).wait(), 1s);
    const auto seen = l.outlook({});
    CHECK(seen && seen->wait == 1s && seen->limit == 0U);
    OK(clock.advance(999'999'999ns));
    EQUAL(l.try_spend({}).wait(), 1ns);
    OK(clock.advance(1ns));
    CHECK(!l.outlook({})->limit);
    CHECK(l.try_spend({}));
    EQUAL(clock.now(), 1s);

    // What takes somebody's release has no time.
    const limiter one = limiter_of({limit::in_flight(1)}, clock);
    const auto held = one.try_acquire({});
    CHECK(held);
    EQUAL(one.try_acquire({}).wait(), llmrl::forever);
}

TEST(destructors_release)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::tokens(1000), limit::in_flight(3)}, clock);
    const auto state = [&](std::size_t i) { return l.limits()[i].available; };
    {
        const auto permit = l.try_acquire({100, 0});
        EQUAL(state(1), 2);
    }
    // The estimate stands.
    EQUAL(state(0), 900);
    EQUAL(state(1), 3);

    llmrl::permit first = *l.try_acquire({1, 0}) ? std::move(*l.try_acquire({1, 0})) : llmrl::permit();
    EQUAL(state(1), 2);
    llmrl::permit second = std::move(*l.try_acquire({1, 0}));
    EQUAL(state(1), 1);
    // Who is assigned to ends what it had, once.
    first = std::move(second);
    EQUAL(state(1), 2);
    CHECK(first && !second); // NOLINT: what a moved one answers is promised
    EQUAL(second.settle({}), status::stale);
    EQUAL(second.feedback(200, {}).code(), status::stale);
    llmrl::permit &same = first;
    first = std::move(same);
    CHECK(first);
    EQUAL(state(1), 2);
    OK(first.cancel());
    EQUAL(state(1), 3);
    EQUAL(llmrl::permit().release(), status::stale);
}

TEST(limiters_move)
{
    limiter first = limiter_of({limit::requests(5), limit::in_flight(2)});
    auto permit = first.acquire({}, 0s);
    limiter second = std::move(first);
    OK(permit->settle({}));
    EQUAL(second.stats().granted, 1U);
    // NOLINTNEXTLINE: what a moved one answers is promised
    EQUAL(first.try_acquire({}).code(), status::null);
    EQUAL(first.try_spend({}).code(), status::null);
    EQUAL(first.acquire({}, 0s).code(), status::null);
    EQUAL(first.enqueue({}).code(), status::null);
    EQUAL(first.outlook({}).code(), status::null);
    EQUAL(first.charge({}), status::null);
    EQUAL(first.retune(0, 1, 1s), status::null);
    EQUAL(first.resize(1, 1), status::null);
    EQUAL(first.pause(0, 1s), status::null);
    EQUAL(first.align(0, 1s), status::null);
    EQUAL(first.close(), status::null);
    EQUAL(first.save().code(), status::null);
    EQUAL(first.stats().granted, 0U);
    EQUAL(first.limits().size(), 0U);
    first = std::move(second);
    EQUAL(first.stats().granted, 1U);
    EQUAL(limiter().try_acquire({}).code(), status::null);

    manual_clock clock(5s);
    const manual_clock moved = std::move(clock);
    EQUAL(clock.advance(1s), status::null);
    EQUAL(clock.now(), 0s);
    EQUAL(moved.now(), 5s);
}

TEST(wrong_limits_are_named)
{
    const auto said = [](llmrl::view<limit> limits) {
        const auto made = limiter::make(limits);
        CHECK(!made && made->native() == nullptr);
        return std::string(llmrl::message(made.code())) + ": " + made.message();
    };
    const std::string range = std::string(llmrl::message(status::range)) + ": ";
    EQUAL(said({limit::requests(500), limit::tokens(0)}), range + "limits[1].amount = 0 is outside 1..=1099511627775");
    const std::string amount = said({limit::requests(1ULL << 40)});
    EQUAL(amount, range + "limits[0].amount = 1099511627776 is outside 1..=1099511627775");
    const auto names = [](const std::string &text, const char *what) { return text.find(what) != std::string::npos; };
    CHECK(names(said({limit::requests(1).burst(0)}), "limits[0].burst"));
    CHECK(names(said({limit::requests(1).per(0s)}), "limits[0].period"));
    CHECK(names(said({limit::requests(1).per(-1s)}), "limits[0].period"));
    CHECK(names(said({limit::requests(1).per(llmrl::forever)}), "limits[0].period"));
    CHECK(names(said({limit::sliding_window(meter::requests, 5).resolution(0)}), "limits[0].resolution"));
    CHECK(names(said({limit::fixed_window(meter::requests, 5).resets_in(2min)}), "limits[0].resets_in"));
    CHECK(names(said({limit::fixed_window(meter::requests, 5).resets_in(-1s)}), "limits[0].resets_in"));
    CHECK(names(said({limit::in_flight(1 << 19)}), "limits[0].in flight"));
    CHECK(names(said({limit::bucket(meter::concurrency, 1)}), "limits[0].meter"));
    CHECK(names(said({limit::bucket(meter::weighted_tokens, 1)}), "weight"));
    said({});
    const std::vector<limit> nine(9, limit::requests(1));
    said(nine);

    llmrl::limiter_options options;
    options.max_waiters = 1U << 21;
    const auto made = limiter::make({limit::requests(1)}, options);
    CHECK(names(made.message(), "max_waiters"));
    options = {};
    options.saved = "nothing that was saved";
    EQUAL(limiter::make({limit::requests(1)}, options).code(), status::saved);
    manual_clock gone;
    const manual_clock kept = std::move(gone);
    options = {};
    options.clock = &gone; // empty, so the machine's
    CHECK(limiter::make({limit::requests(1)}, options));
}

TEST(wrong_arguments)
{
    const limiter l = limiter_of({limit::requests(10), limit::tokens(100), limit::in_flight(2)});
    cost none;
    none.requests = 0;
    EQUAL(l.try_acquire(none).code(), status::cost);
    EQUAL(l.try_acquire({1ULL << 40, 0}).code(), status::cost);
    EQUAL(l.try_acquire({60, 60}).code(), status::never);
    EQUAL(l.try_spend({}).code(), status::null); // where permits are needed
    EQUAL(l.retune(3, 1, 1s), status::index);
    EQUAL(l.retune(0, 0, 1s), status::range);
    EQUAL(l.retune(0, 1, 0s), status::range);
    EQUAL(l.retune(0, 1, -1s), status::range);
    EQUAL(l.retune(0, 1, 1s, 0), status::range);
    EQUAL(l.resize(2, 0), status::range);
    EQUAL(l.pause(0, -1ns), status::range);
    EQUAL(l.pause(2, 1s), status::index);
    EQUAL(l.align(0, 1s), status::index);
    EQUAL(manual_clock().advance(-1ns), status::range);
    auto permit = l.acquire({1, 1}, -5s);
    CHECK(permit);
    EQUAL(permit->settle({1ULL << 40, 0}), status::cost);
    CHECK(*permit); // still held
    EQUAL(permit->adjust({1ULL << 40, 0}), status::cost);
    cost reserved{1, 1};
    reserved.reserved[2] = 1;
    EQUAL(permit->settle(reserved), status::flags);
    OK(permit->settle({1, 1}));
    EQUAL(std::string(llmrl::message(static_cast<status>(12345))), llmrl_strerror(12345));
}

TEST(changes_while_it_runs)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::requests(10).per(10s), limit::fixed_window(meter::tokens, 100).per(1h),
                                  limit::in_flight(5)},
                                 clock);
    OK(l.retune(0, 20, 10s, 5));
    OK(l.resize(2, 7));
    OK(l.align(1, 10min));
    OK(l.charge({30, 10}));
    const llmrl::limit_states all = l.limits();
    EQUAL(all.size(), 3U);
    EQUAL(all[0].kind, llmrl::kind::token_bucket);
    EQUAL(all[0].meter, meter::requests);
    EQUAL(all[0].amount, 20U);
    EQUAL(all[0].period, 10s);
    EQUAL(all[0].burst, 5U);
    EQUAL(all[0].available, 4);
    EQUAL(all[1].kind, llmrl::kind::fixed_window);
    EQUAL(all[1].available, 60);
    EQUAL(all[2].available, 7);
    OK(l.pause(0, 3s));
    EQUAL(l.limits()[0].paused, 3s);
    EQUAL(l.try_acquire({}).wait(), 3s);
    OK(l.pause(0, 0s));
    CHECK(l.try_acquire({}));
    OK(clock.advance(10min));
    EQUAL(l.limits()[1].available, 100);
    std::size_t seen = 0;
    for (const llmrl::limit_state &state : l.limits()) seen += state.mode == llmrl::mode::normal ? 1U : 0U;
    EQUAL(seen, 3U);
    OK(l.pause(0, llmrl::forever));
    EQUAL(l.try_acquire({}).code(), status::refused);
}

TEST(closing)
{
    const limiter l = limiter_of({limit::requests(1), limit::in_flight(1)});
    auto permit = l.try_acquire({});
    auto ticket = l.enqueue({});
    EQUAL(ticket.code(), status::pending);
    OK(l.close());
    OK(l.close());
    EQUAL(ticket.poll(), status::closed);
    EQUAL(ticket.take().code(), status::closed);
    EQUAL(l.try_acquire({}).code(), status::closed);
    EQUAL(l.acquire({}).code(), status::closed);
    EQUAL(l.enqueue({}).code(), status::closed);
    EQUAL(l.outlook({}).code(), status::closed);
    OK(permit->settle({}));
}

TEST(kept_over_a_restart)
{
    const manual_clock clock;
    const llmrl::wall_time now{std::chrono::hours(24 * 365 * 50)};
    std::string bytes;
    {
        const limiter l = limiter_of({limit::fixed_window(meter::tokens, 1000).per(24h).resets_in(10h)}, clock);
        CHECK(l.try_acquire({700, 0}));
        auto saved = l.save(now);
        CHECK(saved && !saved->empty());
        bytes = std::move(*saved);
    }
    llmrl::limiter_options options;
    options.clock = &clock;
    options.saved = bytes;
    options.saved_now = now + 1h;
    const limiter l = limiter_of({limit::fixed_window(meter::tokens, 1000).per(24h)}, options);
    EQUAL(l.limits()[0].available, 300);
    OK(clock.advance(9h - 1ns));
    EQUAL(l.limits()[0].available, 300);
    OK(clock.advance(1ns));
    EQUAL(l.limits()[0].available, 1000);
    options.saved = std::string_view(bytes).substr(0, 20);
    EQUAL(limiter::make({limit::fixed_window(meter::tokens, 1000).per(24h)}, options).code(), status::saved);
}

TEST(costs)
{
    const manual_clock clock;
    const limiter l =
        limiter_of({limit::bucket(meter::weighted_tokens, 1000).weigh({1000, 4000, 100, 1250}), limit::requests(10)}, clock);
    cost mixed{100, 10};
    mixed.cached_tokens = 50;
    mixed.requests = 2;
    CHECK(l.try_acquire(mixed));
    EQUAL(l.limits()[0].available, 1000 - (50 + 5 + 40));
    EQUAL(l.limits()[1].available, 8);
    EQUAL(cost{}.requests, 1U);
    EQUAL(cost(3, 4).output_tokens, 4U);
}

#ifdef __cpp_exceptions
TEST(values_throw)
{
    limiter l = limiter::make({limit::requests(1)}).value();
    llmrl::permit permit = l.try_acquire({}).value();
    CHECK(permit);
    const auto thrown = [](auto call) {
        try {
            call();
        } catch (const llmrl::error &e) {
            return std::string(e.what());
        }
        check::fail(__FILE__, __LINE__, "nothing was thrown");
    };
    EQUAL(thrown([] { (void)limiter::make({limit::requests(0)}).value(); }),
          "limits[0].amount = 0 is outside 1..=1099511627775");
    EQUAL(thrown([&] { (void)l.try_acquire({}).value(); }), llmrl_strerror(LLMRL_REFUSED));
    auto closed = l.acquire({}, 0s);
    EQUAL(thrown([&] { (void)closed.value(); }), llmrl_strerror(LLMRL_ERR_DEADLINE));
}
#endif
