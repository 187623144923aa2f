/* What the C tests share. They are compiled as C99, C11, C17 and C++17, so they keep to what all of these understand. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <llmrl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define MINUTE (60 * SECOND)

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                    \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

static inline void check_equal(const char *file, int line, const char *what, uint64_t got, uint64_t want)
{
    if (got != want) {
        fprintf(stderr, "%s:%d: %s is %" PRId64 ", not %" PRId64 "\n", file, line, what, (int64_t)got,
                (int64_t)want);
        exit(1);
    }
}

/* Numbers and statuses; negative ones keep their value on the way through. */
#define EQUAL(got, want) check_equal(__FILE__, __LINE__, #got, (uint64_t)(int64_t)(got), (uint64_t)(int64_t)(want))
#define OK(call) EQUAL(call, LLMRL_OK)

/* What no call writes, and no permit is numbered. */
#define BOGUS UINT64_C(0x5555555555555555)

static inline llmrl_limit bucket(uint32_t meter, uint64_t amount)
{
    llmrl_limit limit;
    memset(&limit, 0, sizeof limit);
    limit.kind = LLMRL_TOKEN_BUCKET;
    limit.meter = meter;
    limit.amount = amount;
    return limit;
}

static inline llmrl_limit in_flight(uint64_t slots)
{
    llmrl_limit limit = bucket(0, slots);
    limit.kind = LLMRL_IN_FLIGHT;
    return limit;
}

static inline llmrl_cost cost_of(uint64_t input_tokens, uint64_t output_tokens)
{
    llmrl_cost cost;
    memset(&cost, 0, sizeof cost);
    cost.requests = 1;
    cost.input_tokens = input_tokens;
    cost.output_tokens = output_tokens;
    return cost;
}

static inline llmrl_options no_options(void)
{
    llmrl_options options;
    memset(&options, 0, sizeof options);
    return options;
}

static inline llmrl_limiter *limiter_of(const llmrl_limit *limits, size_t count, const llmrl_options *options)
{
    llmrl_limiter *l = NULL;
    char message[128];
    llmrl_status status =
        llmrl_limiter_new(limits, count, options, sizeof *options, &l, message, sizeof message);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", llmrl_strerror(status), message);
        exit(1);
    }
    CHECK(l != NULL);
    return l;
}

static inline llmrl_clock *clock_at(uint64_t ns)
{
    llmrl_clock *clock = NULL;
    OK(llmrl_clock_new(ns, &clock));
    return clock;
}

static inline llmrl_stats stats_of(const llmrl_limiter *l)
{
    llmrl_stats stats;
    OK(llmrl_limiter_stats(l, &stats, sizeof stats));
    return stats;
}

static inline llmrl_limit_state state_of(const llmrl_limiter *l, uint32_t index)
{
    llmrl_limit_state state;
    OK(llmrl_limiter_limit_state(l, index, &state, sizeof state));
    return state;
}

static inline llmrl_limiter *plain(void)
{
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 100);
    return limiter_of(&limit, 1, &options);
}

#endif
