/* Sizes and offsets are part of the binary interface. Literals, so that nothing can change them unnoticed. */
#include "check.h"
#include <stddef.h>

#define AT(type, field, offset) EQUAL(offsetof(type, field), offset)

int main(void)
{
    EQUAL(sizeof(llmrl_status), 4);
    EQUAL(sizeof(llmrl_permit), 8);
    CHECK((llmrl_status)-1 < 0 && (llmrl_permit)-1 > 0);

    EQUAL(sizeof(llmrl_limit), 64);
    AT(llmrl_limit, kind, 0);
    AT(llmrl_limit, meter, 4);
    AT(llmrl_limit, amount, 8);
    AT(llmrl_limit, period_ns, 16);
    AT(llmrl_limit, burst, 24);
    AT(llmrl_limit, flags, 32);
    AT(llmrl_limit, resolution, 36);
    AT(llmrl_limit, resets_in_ns, 40);
    AT(llmrl_limit, input_weight, 48);
    AT(llmrl_limit, output_weight, 52);
    AT(llmrl_limit, cached_weight, 56);
    AT(llmrl_limit, cache_write_weight, 60);

    EQUAL(sizeof(llmrl_cost), 64);
    AT(llmrl_cost, requests, 0);
    AT(llmrl_cost, input_tokens, 8);
    AT(llmrl_cost, output_tokens, 16);
    AT(llmrl_cost, cached_tokens, 24);
    AT(llmrl_cost, cache_write_tokens, 32);
    AT(llmrl_cost, reserved, 40);

    EQUAL(sizeof(llmrl_options), 24 + 5 * sizeof(void *));
    AT(llmrl_options, flags, 0);
    AT(llmrl_options, max_waiters, 4);
    AT(llmrl_options, max_permits, 8);
    AT(llmrl_options, reserved0, 12);
    AT(llmrl_options, clock, 16);
    AT(llmrl_options, wake, 16 + sizeof(void *));
    AT(llmrl_options, wake_ctx, 16 + 2 * sizeof(void *));
    AT(llmrl_options, saved, 16 + 3 * sizeof(void *));
    AT(llmrl_options, saved_size, 16 + 4 * sizeof(void *));
    AT(llmrl_options, saved_now_ns, 16 + 5 * sizeof(void *));

    EQUAL(sizeof(llmrl_stats), 72);
    AT(llmrl_stats, granted, 0);
    AT(llmrl_stats, refused, 8);
    AT(llmrl_stats, waiting, 16);
    AT(llmrl_stats, in_flight, 24);
    AT(llmrl_stats, cancelled, 32);
    AT(llmrl_stats, timed_out, 40);
    AT(llmrl_stats, wakes, 48);
    AT(llmrl_stats, wait_total_ns, 56);
    AT(llmrl_stats, wait_max_ns, 64);

    EQUAL(sizeof(llmrl_bucket_map_stats), 24);
    AT(llmrl_bucket_map_stats, keys, 0);
    AT(llmrl_bucket_map_stats, evictions, 8);
    AT(llmrl_bucket_map_stats, overflows, 16);

    EQUAL(sizeof(llmrl_limit_state), 56);
    AT(llmrl_limit_state, kind, 0);
    AT(llmrl_limit_state, meter, 4);
    AT(llmrl_limit_state, amount, 8);
    AT(llmrl_limit_state, period_ns, 16);
    AT(llmrl_limit_state, burst, 24);
    AT(llmrl_limit_state, available, 32);
    AT(llmrl_limit_state, paused_ns, 40);
    AT(llmrl_limit_state, mode, 48);
    AT(llmrl_limit_state, reserved0, 52);

    EQUAL(sizeof(llmrl_advice), 16);
    AT(llmrl_advice, answer_class, 0);
    AT(llmrl_advice, flags, 4);
    AT(llmrl_advice, wait_ns, 8);

    EQUAL(sizeof(llmrl_router_options), 8 + 2 * sizeof(void *));
    AT(llmrl_router_options, flags, 0);
    AT(llmrl_router_options, replicas, 4);
    AT(llmrl_router_options, wake, 8);
    AT(llmrl_router_options, wake_ctx, 8 + sizeof(void *));

    EQUAL(sizeof(llmrl_routed), 32 + sizeof(void *));
    AT(llmrl_routed, permit, 0);
    AT(llmrl_routed, ticket, 8);
    AT(llmrl_routed, wait_ns, 16);
    AT(llmrl_routed, limiter, 24);
    AT(llmrl_routed, node, 24 + sizeof(void *));
    AT(llmrl_routed, reserved0, 28 + sizeof(void *));

    EQUAL(sizeof(llmrl_chain_options), 8 + 2 * sizeof(void *));
    AT(llmrl_chain_options, flags, 0);
    AT(llmrl_chain_options, max_permits, 4);
    AT(llmrl_chain_options, wake, 8);
    AT(llmrl_chain_options, wake_ctx, 8 + sizeof(void *));

    EQUAL(sizeof(llmrl_chained), 24);
    AT(llmrl_chained, permit, 0);
    AT(llmrl_chained, wait_ns, 8);
    AT(llmrl_chained, level, 16);
    AT(llmrl_chained, limit, 20);

    EQUAL(sizeof(llmrl_fair_options), 24 + 2 * sizeof(void *));
    AT(llmrl_fair_options, flags, 0);
    AT(llmrl_fair_options, passes, 4);
    AT(llmrl_fair_options, max_waiters, 8);
    AT(llmrl_fair_options, max_permits, 12);
    AT(llmrl_fair_options, aging_ns, 16);
    AT(llmrl_fair_options, wake, 24);
    AT(llmrl_fair_options, wake_ctx, 24 + sizeof(void *));

    EQUAL(sizeof(llmrl_share), 2 * sizeof(void *) + 8);
    AT(llmrl_share, key, 0);
    AT(llmrl_share, key_size, sizeof(void *));
    AT(llmrl_share, weight, 2 * sizeof(void *));
    AT(llmrl_share, flags, 2 * sizeof(void *) + 4);

    EQUAL(sizeof(llmrl_fair_stats), 40);
    AT(llmrl_fair_stats, waiting, 0);
    AT(llmrl_fair_stats, batch, 8);
    AT(llmrl_fair_stats, keys, 16);
    AT(llmrl_fair_stats, aged, 24);
    AT(llmrl_fair_stats, passed, 32);

    EQUAL(sizeof(llmrl_charging), 16);
    AT(llmrl_charging, flags, 0);
    AT(llmrl_charging, output, 4);
    AT(llmrl_charging, settlement, 8);
    AT(llmrl_charging, burndown, 12);

    EQUAL(sizeof(llmrl_request), 32);
    AT(llmrl_request, prompt, 0);
    AT(llmrl_request, cached, 8);
    AT(llmrl_request, max_tokens, 16);
    AT(llmrl_request, expected, 24);

    EQUAL(sizeof(llmrl_header), 4 * sizeof(void *));
    AT(llmrl_header, name, 0);
    AT(llmrl_header, name_size, sizeof(void *));
    AT(llmrl_header, value, 2 * sizeof(void *));
    AT(llmrl_header, value_size, 3 * sizeof(void *));

    EQUAL(sizeof(llmrl_answer), 16 + 4 * sizeof(void *));
    AT(llmrl_answer, status, 0);
    AT(llmrl_answer, reserved0, 4);
    AT(llmrl_answer, headers, 8);
    AT(llmrl_answer, header_count, 8 + sizeof(void *));
    AT(llmrl_answer, body, 8 + 2 * sizeof(void *));
    AT(llmrl_answer, body_size, 8 + 3 * sizeof(void *));
    AT(llmrl_answer, wall_now_ns, 8 + 4 * sizeof(void *));

    EQUAL(sizeof(llmrl_quota), 96);
    AT(llmrl_quota, meter, 0);
    AT(llmrl_quota, pool, 4);
    AT(llmrl_quota, flags, 8);
    AT(llmrl_quota, reserved0, 12);
    AT(llmrl_quota, limit, 16);
    AT(llmrl_quota, remaining, 24);
    AT(llmrl_quota, reset_ns, 32);
    AT(llmrl_quota, utilization, 40);
    AT(llmrl_quota, window_ns, 48);
    AT(llmrl_quota, period_ns, 56);
    AT(llmrl_quota, solved_low_ns, 64);
    AT(llmrl_quota, solved_high_ns, 72);
    AT(llmrl_quota, reserved, 80);

    EQUAL(sizeof(llmrl_reading), 40 + 16 * 96);
    AT(llmrl_reading, answer_class, 0);
    AT(llmrl_reading, meter, 4);
    AT(llmrl_reading, flags, 8);
    AT(llmrl_reading, quota_count, 12);
    AT(llmrl_reading, tripped, 16);
    AT(llmrl_reading, reserved0, 20);
    AT(llmrl_reading, wait_ns, 24);
    AT(llmrl_reading, requested, 32);
    AT(llmrl_reading, quotas, 40);

    EQUAL(LLMRL_OK, 0);
    EQUAL(LLMRL_PENDING, 1);
    EQUAL(LLMRL_REFUSED, 2);
    EQUAL(LLMRL_ERR_NULL, -1);
    EQUAL(LLMRL_ERR_SIZE, -2);
    EQUAL(LLMRL_ERR_FLAGS, -3);
    EQUAL(LLMRL_ERR_RANGE, -4);
    EQUAL(LLMRL_ERR_COST, -5);
    EQUAL(LLMRL_ERR_INDEX, -6);
    EQUAL(LLMRL_ERR_NEVER, -7);
    EQUAL(LLMRL_ERR_FULL, -8);
    EQUAL(LLMRL_ERR_DEADLINE, -9);
    EQUAL(LLMRL_ERR_CLOSED, -10);
    EQUAL(LLMRL_ERR_STALE, -11);
    EQUAL(LLMRL_ERR_BUSY, -12);
    EQUAL(LLMRL_ERR_MEMORY, -13);
    EQUAL(LLMRL_ERR_PANIC, -14);
    EQUAL(LLMRL_ERR_HANDLE, -15);
    EQUAL(LLMRL_ERR_SAVED, -16);
    EQUAL(LLMRL_ERR_NODE, -17);
    CHECK(LLMRL_FOREVER == UINT64_MAX);
    EQUAL(LLMRL_TOKEN_BUCKET, 1);
    EQUAL(LLMRL_IN_FLIGHT, 2);
    EQUAL(LLMRL_REQUESTS, 1);
    EQUAL(LLMRL_TOKENS, 2);
    EQUAL(LLMRL_INPUT_TOKENS, 3);
    EQUAL(LLMRL_OUTPUT_TOKENS, 4);
    EQUAL(LLMRL_OVERSIZE_WHEN_FULL, 1);
    EQUAL(LLMRL_START_EMPTY, 2);
    EQUAL(LLMRL_MAX_LIMITS, 8);
    CHECK(LLMRL_UNKNOWN == UINT64_MAX && LLMRL_NO_QUOTA == UINT32_MAX);
    EQUAL(LLMRL_MAX_QUOTAS, 16);
    EQUAL(LLMRL_CLASS_OK, 1);
    EQUAL(LLMRL_CLASS_RATE, 2);
    EQUAL(LLMRL_CLASS_CONCURRENCY, 3);
    EQUAL(LLMRL_CLASS_OVERLOAD, 4);
    EQUAL(LLMRL_CLASS_LONG, 5);
    EQUAL(LLMRL_CLASS_BILLING, 6);
    EQUAL(LLMRL_CLASS_OVERSIZE, 7);
    EQUAL(LLMRL_CLASS_OTHER, 8);
    EQUAL(LLMRL_CONCURRENCY, 100);
    EQUAL(LLMRL_OTHER_METER, 101);
    EQUAL(LLMRL_POOL_STANDARD, 1);
    EQUAL(LLMRL_POOL_PROJECT, 2);
    EQUAL(LLMRL_POOL_USAGE_BASED, 3);
    EQUAL(LLMRL_POOL_PRIORITY, 4);
    EQUAL(LLMRL_POOL_FAST, 5);
    EQUAL(LLMRL_POOL_SUBSCRIPTION, 6);
    EQUAL(LLMRL_POOL_OVERAGE, 7);
    EQUAL(LLMRL_POOL_UNCACHED, 8);
    EQUAL(LLMRL_POOL_GATEWAY, 9);
    EQUAL(LLMRL_RETRYABLE, 1);
    EQUAL(LLMRL_SHOULD_RETRY, 2);
    EQUAL(LLMRL_SHOULD_NOT_RETRY, 4);
    EQUAL(LLMRL_WARNING, 8);
    EQUAL(LLMRL_MISLABELLED, 1);
    EQUAL(sizeof(llmrl_map_stats), 72);
    AT(llmrl_map_stats, keys, 0);
    AT(llmrl_map_stats, in_flight, 64);
    EQUAL(sizeof(llmrl_map_key), 104);
    AT(llmrl_map_key, granted, 0);
    AT(llmrl_map_key, key_size, 32);
    AT(llmrl_map_key, key, 40);

    return 0;
}
