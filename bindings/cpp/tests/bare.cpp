// What has no queue, and what is estimated.
#include "check.hpp"

using llmrl::bucket_map;
using llmrl::token_bucket;

TEST(a_bucket)
{
    const manual_clock clock;
    auto bucket = must<token_bucket>(token_bucket::make(limit::tokens(60).burst(10), &clock));
    CHECK(bucket.try_take(10));
    const auto refused = bucket.try_take(2);
    EQUAL(refused.code(), status::refused);
    EQUAL(refused.wait(), 2s);
    OK(bucket.refund(3));
    EQUAL(bucket.available(), 3);
    OK(bucket.charge(5));
    EQUAL(bucket.available(), -2);
    EQUAL(bucket.try_take(11).code(), status::never);
    EQUAL(bucket.try_take(0).code(), status::cost);
    EQUAL(bucket.refund(0), status::cost);
    EQUAL(bucket.retune(60, 0s), status::range);
    EQUAL(bucket.retune(60, 1min, 0), status::range);
    OK(bucket.retune(120, 1min));
    OK(clock.advance(2s));
    EQUAL(bucket.available(), 2);
    EQUAL(bucket.pause(-1s), status::range);
    OK(bucket.pause(5s));
    EQUAL(bucket.try_take(1).wait(), 5s);
    const auto wrong = token_bucket::make(limit::in_flight(3));
    CHECK(!wrong && std::strlen(wrong.message()) > 0);
    const token_bucket moved = std::move(bucket);
    EQUAL(bucket.try_take(1).code(), status::null); // NOLINT: what a moved one answers is promised
    EQUAL(bucket.available(), 0);
}

TEST(buckets_by_key)
{
    const manual_clock clock;
    auto users = must<bucket_map>(bucket_map::make(limit::requests(60).burst(2), 1000, llmrl::without_room::share, &clock));
    CHECK(users.try_take("alice", 2));
    EQUAL(users.try_take("alice", 1).wait(), 1s);
    CHECK(users.try_take("bob", 1));
    OK(users.refund("alice", 1));
    OK(users.charge("bob", 4));
    EQUAL(*users.available("alice"), 1);
    EQUAL(*users.available("bob"), -3);
    EQUAL(*users.available("carol"), 2);
    EQUAL(users.stats().keys, 2U);
    EQUAL(users.try_take("", 1).code(), status::range);
    EQUAL(users.try_take("x", 3).code(), status::never);
    EQUAL(users.refund("x", 0), status::cost);
    EQUAL(users.available(std::string(65537, 'x')).code(), status::range);
    EQUAL(bucket_map::make(limit::requests(1), 0).code(), status::range);
    const bucket_map moved = std::move(users);
    EQUAL(users.try_take("x", 1).code(), status::null); // NOLINT: what a moved one answers is promised

    const auto small = must<bucket_map>(bucket_map::make(limit::requests(1), 1, llmrl::without_room::refuse));
    std::uint64_t full = 0;
    for (int i = 0; i < 100; i++) full += small.try_take("k" + std::to_string(i), 1).code() == status::full ? 1U : 0U;
    CHECK(full > 50);
    EQUAL(small.stats().overflows, full);
}

TEST(a_gate)
{
    const auto gate = must<llmrl::in_flight>(llmrl::in_flight::make(2));
    OK(gate.try_enter());
    OK(gate.try_enter());
    EQUAL(gate.try_enter(), status::refused);
    EQUAL(gate.count(), 2U);
    OK(gate.resize(3));
    OK(gate.try_enter());
    EQUAL(gate.resize(0), status::range);
    for (int i = 0; i < 3; i++) OK(gate.leave());
    EQUAL(gate.leave(), status::stale);
    EQUAL(llmrl::in_flight::make(0).code(), status::range);
    EQUAL(llmrl::in_flight().try_enter(), status::null);
}

TEST(rules_of_charging)
{
    const auto rule = llmrl::charging::of("bedrock");
    CHECK(rule);
    const llmrl::request request{1200, 0, 1024, 300};
    const auto reserved = rule->reserve(request);
    CHECK(reserved);
    EQUAL(reserved->requests, 1U);
    EQUAL(reserved->input_tokens + reserved->output_tokens, 1200U + 1024U);
    const auto settled = rule->settle(request, {1200, 100});
    CHECK(settled && settled->input_tokens == 1200);
    EQUAL(settled->output_tokens, 100 * rule->burndown);
    EQUAL(llmrl::charging::of("nobody").code(), status::range);
    EQUAL(llmrl::charging::of(nullptr).code(), status::null);
    llmrl::charging wrong = *rule;
    wrong.burndown = 0;
    EQUAL(wrong.reserve(request).code(), status::range);
    // Without max_tokens what is expected counts.
    EQUAL(rule->reserve({1200, 0, std::nullopt, 300})->output_tokens, 300U);
}

TEST(lengths_are_remembered)
{
    auto seen = must<llmrl::lengths>(llmrl::lengths::make(10));
    EQUAL(*seen.estimate("key", "model", 900, 500), 500U);
    EQUAL(*seen.estimate("key", "model", 900), LLMRL_UNKNOWN);
    for (int i = 0; i < 30; i++) OK(seen.record("key", "model", 100));
    const auto estimate = seen.estimate("key", "model", 900);
    CHECK(estimate && *estimate >= 100 && *estimate <= 107);
    EQUAL(*seen.estimate("key", "model", 900, 50), 50U);
    EQUAL(seen.estimate("key", "model", 0).code(), status::range);
    EQUAL(seen.estimate("key", "model", 1001).code(), status::range);
    EQUAL(llmrl::lengths::make(0).code(), status::range);
    const llmrl::lengths moved = std::move(seen);
    EQUAL(seen.record("key", "model", 1), status::null); // NOLINT: what a moved one answers is promised
}
