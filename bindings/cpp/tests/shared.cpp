// What stands on limiters: maps, chains, routers, fair queues.
#include "check.hpp"

using llmrl::chain;
using llmrl::fair_queue;
using llmrl::limiter_map;
using llmrl::router;

TEST(limiters_by_key)
{
    const manual_clock clock;
    llmrl::limiter_options options;
    options.clock = &clock;
    auto users = must<limiter_map>(limiter_map::make({limit::requests(5), limit::tokens(100)}, 2, 1, options));
    auto alice = users.get("alice");
    CHECK(alice && !alice.is_shared());
    auto permit = alice->try_acquire({10, 0});
    CHECK(permit);
    OK(permit->settle({20, 0}));
    // The same limiter under another handle.
    EQUAL(users.get("alice")->limits()[1].available, 80);
    EQUAL(users.get("bob")->limits()[1].available, 100);
    const auto bob = users.get("bob");
    const auto late = users.get(std::string_view("\0late", 5));
    CHECK(late && late.is_shared());

    CHECK(users.set_limits("bob", {limit::requests(7), limit::tokens(70)}));
    EQUAL(bob->limits()[0].amount, 7U);
    CHECK(users.set_limits("bob", {}));
    EQUAL(bob->limits()[0].amount, 5U);
    const auto wrong = users.set_limits("bob", {limit::requests(7), limit::tokens(0)});
    EQUAL(wrong.code(), status::range);
    CHECK(std::string_view(wrong.message()).find("limits[1].amount = 0") != std::string_view::npos);

    EQUAL(users.get("").code(), status::range);
    EQUAL(users.get(std::string(1025, 'k')).code(), status::range);
    EQUAL(users.stats().keys, 2U);
    EQUAL(users.stats().granted, 1U);
    const auto top = users.top(llmrl::by::use, 10);
    CHECK(top && top->size() == 1 && (*top)[0].key == "alice" && (*top)[0].granted == 1);
    EQUAL(users.top(llmrl::by::waiting, 10)->size(), 0U);
    EQUAL(users.top(llmrl::by::use, 1U << 30).code(), status::range);

    OK(users.close());
    EQUAL(users.get("carol").code(), status::closed);
    // Handles outlive their map.
    users = limiter_map();
    EQUAL(alice->try_acquire({}).code(), status::closed);
    EQUAL(users.get("alice").code(), status::null);
    EQUAL(users.close(), status::null);
    CHECK(!limiter_map::make({limit::requests(1)}, 0, 0));
    const auto full = must<limiter_map>(limiter_map::make({limit::requests(1)}, 1, 0));
    const auto only = full.get("a");
    EQUAL(full.get("b").code(), status::full);
}

TEST(a_chain_takes_all_or_nothing)
{
    const manual_clock clock;
    const limiter user = limiter_of({limit::tokens(100)}, clock), team = limiter_of({limit::tokens(150)}, clock);
    auto c = must<chain>(chain::make({&user, &team}));
    auto permit = c.try_acquire({80, 0});
    CHECK(permit);
    EQUAL(permit.level(), 0U);
    const auto refused = c.try_acquire({30, 0});
    EQUAL(refused.code(), status::refused);
    EQUAL(refused.level(), 0U);
    EQUAL(refused.limit(), 0U);
    CHECK(refused.wait() > 0s);
    EQUAL(team.limits()[0].available, 70);
    const auto never = c.try_acquire({120, 0});
    EQUAL(never.code(), status::never);
    EQUAL(never.level(), 0U);
    OK(permit->adjust({70, 0}));
    OK(permit->settle({60, 0}));
    EQUAL(user.limits()[0].available, 40);
    EQUAL(team.limits()[0].available, 90);
    EQUAL(permit->settle({}), status::stale);

    auto ticket = c.enqueue({90, 0});
    EQUAL(ticket.code(), status::pending);
    EQUAL(ticket.take().level(), 0U);
    CHECK(!*ticket.take()); // a ticket is no permit yet
    while (ticket.code() == status::pending) {
        CHECK(ticket.wait() < 1min);
        OK(clock.advance(ticket.wait()));
        (void)ticket.poll();
    }
    OK(ticket.code());
    auto taken = ticket.take();
    CHECK(taken);
    CHECK(taken->feedback(200, {}));
    OK(taken->cancel());
    EQUAL(c.acquire({90, 0}, 0s).code(), status::ok);
    EQUAL(c.acquire({90, 0}, 0s).code(), status::deadline);

    const auto none = chain::make({});
    EQUAL(none.code(), status::range);
    const auto null = chain::make({&user, nullptr});
    EQUAL(null.code(), status::null);
    CHECK(std::string_view(null.message()).find("limiters[1]") != std::string_view::npos);
    const std::vector<const limiter *> nine(9, &user);
    EQUAL(chain::make(nine).code(), status::range);
    OK(team.close());
    const auto closed = c.try_acquire({1, 0});
    EQUAL(closed.code(), status::closed);
    EQUAL(closed.level(), 1U);
    const chain moved = std::move(c);
    EQUAL(c.try_acquire({}).code(), status::null); // NOLINT: what a moved one answers is promised
    EQUAL(c.enqueue({}).code(), status::null);
}

TEST(a_router_takes_who_admits_first)
{
    const manual_clock clock;
    const limiter east = limiter_of({limit::requests(60).burst(1)}, clock);
    const limiter west = limiter_of({limit::requests(30).burst(1)}, clock);
    std::vector<llmrl_permit> called;
    auto note = [&](llmrl_permit ticket) { called.push_back(ticket); };
    llmrl::router_options options;
    options.wake = llmrl::wake::to(note);
    auto r = must<router>(router::make(options));
    EQUAL(r.node_for("x").code(), status::node);
    EQUAL(r.try_acquire({}).code(), status::node);
    EQUAL(*r.add("east", 1, east), 0U);
    EQUAL(*r.add("west", 1, west), 1U);
    const auto twice = r.add("west", 1, west);
    EQUAL(twice.code(), status::range);
    CHECK(std::strlen(twice.message()) > 0);
    EQUAL(r.add("", 1, west).code(), status::range);

    const std::uint32_t home = *r.node_for("tenant 17");
    auto first = r.try_acquire({}, "tenant 17");
    CHECK(first);
    EQUAL(first.node(), home);
    auto second = r.try_acquire({}, "tenant 17");
    CHECK(second);
    EQUAL(second.node(), 1 - home);
    const auto refused = r.try_acquire({});
    EQUAL(refused.code(), status::refused);
    EQUAL(refused.wait(), 1s);
    EQUAL(refused.node(), 0U);
    OK(first->settle({}));

    auto ticket = r.enqueue({}, "");
    EQUAL(ticket.code(), status::pending);
    EQUAL(ticket.wait(), 1s);
    const llmrl_permit number = ticket.number();
    OK(clock.advance(1s));
    CHECK(called.size() == 1 && called[0] == number);
    OK(ticket.poll());
    auto got = ticket.take();
    CHECK(got && got.node() == 0);
    OK(got->cancel());
    EQUAL(east.limits()[0].available, 1);
    {
        const auto granted = r.enqueue({});
        OK(granted.code());
        EQUAL(east.limits()[0].available, 0);
    }
    EQUAL(east.limits()[0].available, 1);
    CHECK(r.acquire({}, std::nullopt, 0s));
    {
        const auto leaves = r.enqueue({});
        EQUAL(leaves.code(), status::pending);
        EQUAL(east.stats().waiting, 1U);
    }
    EQUAL(east.stats().waiting, 0U);
    EQUAL(r.acquire({}, {}, 1ns).code(), status::deadline);

    OK(r.set_weight("east", 0));
    EQUAL(r.set_weight("north", 1), status::node);
    EQUAL(r.set_weight("east", 1'000'001), status::range);
    EQUAL(*r.node_for("any"), 1U);
    OK(r.remove("west"));
    EQUAL(r.remove("west"), status::node);
    EQUAL(r.try_acquire({}).code(), status::node);
    options.replicas = 10'001;
    CHECK(std::string_view(router::make(options).message()).find("replicas") != std::string_view::npos);
    const router moved = std::move(r);
    EQUAL(r.try_acquire({}).code(), status::null); // NOLINT: what a moved one answers is promised
    EQUAL(r.add("x", 1, east).code(), status::null);
}

TEST(a_fair_queue_shares)
{
    const manual_clock clock;
    const limiter l = limiter_of({limit::requests(60).burst(1), limit::in_flight(9)}, clock);
    llmrl::fair_options options;
    options.aging = 10s;
    auto fair = must<fair_queue>(fair_queue::make(l, options));
    auto now = fair.try_acquire({});
    CHECK(now);
    OK(now->settle({}));
    EQUAL(fair.try_acquire({}).code(), status::refused);

    // One with many, one with one, and one who may wait.
    std::vector<llmrl::fair_ticket> many;
    auto batch = fair.enqueue({}, {"job", 1, true});
    for (int i = 0; i < 3; i++) many.push_back(fair.enqueue({}, {"alice"}));
    auto bob = fair.enqueue({}, {"bob", 3});
    EQUAL(fair.stats().waiting, 5U);
    EQUAL(fair.stats().batch, 1U);
    std::string order;
    const auto look = [&](llmrl::fair_ticket &ticket, char name) {
        if (ticket.code() == status::pending && ticket.poll() == status::ok) {
            order.push_back(name);
            OK(ticket.take()->settle({}));
        }
    };
    for (int i = 0; i < 5; i++) {
        OK(clock.advance(1s));
        look(batch, 'j');
        for (auto &ticket : many) look(ticket, 'a');
        look(bob, 'b');
    }
    EQUAL(order.size(), 5U);
    CHECK(order.find('b') < 3 && order.back() == 'j');

    const auto wrong = [&](const llmrl::share &whose) { return fair.acquire({}, whose, 0s).code(); };
    EQUAL(wrong({""}), status::range);
    EQUAL(wrong({"x", LLMRL_MAX_SHARE_WEIGHT + 1}), status::range);
    EQUAL(wrong({"x"}), status::deadline);
    OK(clock.advance(1s));
    auto permit = fair.acquire({}, {"x"});
    CHECK(permit);
    CHECK(permit->feedback(200, {}));
    OK(permit->cancel());
    OK(l.close());
    EQUAL(wrong({"x"}), status::closed);
    options.max_waiters = 1U << 21;
    CHECK(std::string_view(fair_queue::make(l, options).message()).find("max_waiters") != std::string_view::npos);
    EQUAL(fair_queue::make(limiter()).code(), status::null);
    const fair_queue moved = std::move(fair);
    EQUAL(fair.try_acquire({}).code(), status::null); // NOLINT: what a moved one answers is promised
    EQUAL(fair.stats().waiting, 0U);
}
