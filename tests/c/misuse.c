/* Mistakes with objects and structs: every one that can be told has its answer, and changes nothing. */
#include "check.h"

static void nulls(void)
{
    llmrl_limiter *l = plain(), *none = NULL;
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 100), two[2];
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit permit = BOGUS;
    uint64_t wait = BOGUS;
    llmrl_stats stats;
    llmrl_limit_state state;

    EQUAL(llmrl_limiter_new(NULL, 1, NULL, 0, &none, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_new(&limit, 1, NULL, 0, NULL, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_close(NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_try_acquire(NULL, &cost, &permit, &wait), LLMRL_ERR_NULL);
    EQUAL(llmrl_try_acquire(l, NULL, &permit, &wait), LLMRL_ERR_NULL);
    EQUAL(llmrl_outlook(NULL, &cost, &wait, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_outlook(l, NULL, &wait, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_outlook(l, &cost, NULL, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_acquire(NULL, &cost, 0, &permit), LLMRL_ERR_NULL);
    EQUAL(llmrl_acquire(l, NULL, 0, &permit), LLMRL_ERR_NULL);
    EQUAL(llmrl_enqueue(NULL, &cost, 0, &permit, &wait), LLMRL_ERR_NULL);
    EQUAL(llmrl_enqueue(l, NULL, 0, &permit, &wait), LLMRL_ERR_NULL);
    EQUAL(llmrl_enqueue(l, &cost, 0, NULL, &wait), LLMRL_ERR_NULL);
    EQUAL(llmrl_poll(NULL, 1, &wait), LLMRL_ERR_NULL);
    EQUAL(llmrl_adjust(NULL, 1, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_adjust(l, 1, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_settle(NULL, 1, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_settle(l, 1, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_release(NULL, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_cancel(NULL, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_retune(NULL, 0, 1, 0, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_pause(NULL, 0, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_charge(NULL, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_charge(l, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_stats(NULL, &stats, sizeof stats), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_stats(l, NULL, sizeof stats), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_limit_state(NULL, 0, &state, sizeof state), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_limit_state(l, 0, NULL, sizeof state), LLMRL_ERR_NULL);
    llmrl_limiter_free(NULL);
    CHECK(none == NULL && permit == BOGUS && wait == BOGUS);
    EQUAL(stats_of(l).granted, 0);
    EQUAL(state_of(l, 0).available, 100);
    llmrl_limiter_free(l);

    /* With an in-flight limit, a permit must be kept. */
    two[0] = limit;
    two[1] = in_flight(1);
    {
        llmrl_options options = no_options();
        l = limiter_of(two, 2, &options);
    }
    EQUAL(llmrl_try_acquire(l, &cost, NULL, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_acquire(l, &cost, 0, NULL), LLMRL_ERR_NULL);
    EQUAL(state_of(l, 1).available, 1);
    llmrl_limiter_free(l);
}

static void wrong_objects(void)
{
    llmrl_limiter *l = plain();
    llmrl_clock *clock = clock_at(0);
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 1);
    llmrl_limiter *none = NULL;
    uint64_t zeros[32];
    uint64_t now = BOGUS;

    memset(zeros, 0, sizeof zeros);
    EQUAL(llmrl_limiter_close((const llmrl_limiter *)(const void *)clock), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_clock_now((const llmrl_clock *)(const void *)l, &now), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_clock_now((const llmrl_clock *)(const void *)zeros, &now), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_clock_now((const llmrl_clock *)(const void *)((const char *)zeros + 1), &now), LLMRL_ERR_HANDLE);
    EQUAL(now, BOGUS);
    options.clock = (llmrl_clock *)(void *)l;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &none, NULL, 0), LLMRL_ERR_HANDLE);
    CHECK(none == NULL);

    /* What is not an object is not freed. */
    llmrl_limiter_free((llmrl_limiter *)(void *)clock);
    llmrl_clock_free((llmrl_clock *)(void *)l);
    llmrl_bucket_free((llmrl_bucket *)(void *)l);
    llmrl_in_flight_free((llmrl_in_flight *)(void *)l);
    EQUAL(state_of(l, 0).available, 100);
    OK(llmrl_clock_now(clock, &now));
    llmrl_clock_free(clock);
    llmrl_limiter_free(l);
}

static llmrl_status make(llmrl_limit limit, char *message, size_t size)
{
    llmrl_limiter *l = NULL;
    llmrl_status status = llmrl_limiter_new(&limit, 1, NULL, 0, &l, message, size);
    CHECK((l == NULL) == (status != LLMRL_OK));
    llmrl_limiter_free(l);
    return status;
}

/* The answer, and a message that names the field. */
static void refused(llmrl_limit limit, llmrl_status status, const char *words)
{
    char message[128];
    memset(message, 'x', sizeof message);
    EQUAL(make(limit, message, sizeof message), status);
    if (strstr(message, words) == NULL) {
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", message, words);
        exit(1);
    }
    EQUAL(make(limit, NULL, 0), status);
    EQUAL(make(limit, message, 0), status);
    EQUAL(make(limit, message, 5), status);
    EQUAL(strlen(message), 4);
}

static void wrong_limits(void)
{
    const uint64_t most = (UINT64_C(1) << 40) - 1;
    llmrl_limit good = bucket(LLMRL_REQUESTS, 100), limit, nine[9];
    llmrl_limiter *l = NULL;
    char message[128];
    size_t i;

    OK(make(good, message, sizeof message));
    CHECK(message[0] == 0);

    limit = good, limit.kind = 0, refused(limit, LLMRL_ERR_RANGE, "limits[0].kind = 0");
    limit = good, limit.kind = 8, refused(limit, LLMRL_ERR_RANGE, "limits[0].kind = 8");
    limit = good, limit.kind = UINT32_MAX, refused(limit, LLMRL_ERR_RANGE, "limits[0].kind = 4294967295");
    limit = good, limit.meter = 0, refused(limit, LLMRL_ERR_RANGE, "limits[0].meter = 0");
    limit = good, limit.meter = 6, refused(limit, LLMRL_ERR_RANGE, "limits[0].meter = 6");
    limit = good, limit.meter = LLMRL_WEIGHTED_TOKENS, refused(limit, LLMRL_ERR_RANGE, "limits[0].weights = 0");
    limit.cached_weight = 100001, refused(limit, LLMRL_ERR_RANGE, "limits[0].cached_weight = 100001");
    limit = good, limit.cache_write_weight = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].cache_write_weight = 1");
    limit = good, limit.amount = 0, refused(limit, LLMRL_ERR_RANGE, "limits[0].amount = 0");
    limit = good, limit.amount = most + 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].amount = 1099511627776");
    limit = good, limit.amount = UINT64_C(1) << 63, refused(limit, LLMRL_ERR_RANGE, "limits[0].amount");
    limit = good, limit.period_ns = UINT64_MAX, refused(limit, LLMRL_ERR_RANGE, "limits[0].");
    limit = good, limit.period_ns = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].");
    limit = good, limit.burst = most + 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].burst = 1099511627776");
    limit = good, limit.flags = 4, refused(limit, LLMRL_ERR_FLAGS, "limits[0].flags");
    limit = good, limit.flags = UINT32_C(1) << 31, refused(limit, LLMRL_ERR_FLAGS, "0x80000000");
    limit = good, limit.resolution = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].resolution = 1");
    limit = good, limit.resets_in_ns = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].resets_in (ns) = 1");

    good.kind = LLMRL_PACING, OK(make(good, NULL, 0));
    limit = good, limit.burst = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].burst = 1");
    good.kind = LLMRL_FIXED_WINDOW, OK(make(good, NULL, 0));
    limit = good, limit.burst = 99, refused(limit, LLMRL_ERR_RANGE, "limits[0].burst = 99");
    limit = good, limit.resets_in_ns = UINT64_C(60000000001);
    refused(limit, LLMRL_ERR_RANGE, "limits[0].resets_in (ns) = 60000000001");
    good.kind = LLMRL_SLIDING_WINDOW, OK(make(good, NULL, 0));
    limit = good, limit.resolution = 1001, refused(limit, LLMRL_ERR_RANGE, "limits[0].resolution = 1001");
    limit = good, limit.period_ns = 59, refused(limit, LLMRL_ERR_RANGE, "limits[0].resolution = 60");
    good.kind = LLMRL_SLIDING_WINDOW_LOG, OK(make(good, NULL, 0));
    limit = good, limit.amount = 65537, refused(limit, LLMRL_ERR_RANGE, "limits[0].resolution = 65537 is outside 1..=65536");

    good = in_flight(1);
    OK(make(good, NULL, 0));
    limit = good, limit.amount = 0, refused(limit, LLMRL_ERR_RANGE, "= 0");
    limit = good, limit.amount = 524288, refused(limit, LLMRL_ERR_RANGE, "524288");
    limit = good, limit.meter = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].meter = 1");
    limit = good, limit.period_ns = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].period_ns = 1");
    limit = good, limit.burst = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].burst = 1");
    limit = good, limit.flags = 1, refused(limit, LLMRL_ERR_RANGE, "limits[0].flags = 1");

    for (i = 0; i < 9; i++)
        nine[i] = bucket(LLMRL_REQUESTS, 100);
    EQUAL(llmrl_limiter_new(nine, 0, NULL, 0, &l, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strstr(message, "count = 0") != NULL);
    EQUAL(llmrl_limiter_new(nine, 9, NULL, 0, &l, message, sizeof message), LLMRL_ERR_RANGE);
    EQUAL(llmrl_limiter_new(nine, SIZE_MAX, NULL, 0, &l, message, sizeof message), LLMRL_ERR_RANGE);
    nine[2] = nine[5] = in_flight(3);
    EQUAL(llmrl_limiter_new(nine, 8, NULL, 0, &l, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strstr(message, "limits[5]") != NULL);
    CHECK(l == NULL);
}

static void wrong_options(void)
{
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 100);
    llmrl_limiter *l = NULL;
    char message[128];
    llmrl_options options;
    union {
        llmrl_options options;
        unsigned char bytes[5000];
    } larger;
    size_t size;

    options = no_options();
    options.flags = 2;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, message, sizeof message), LLMRL_ERR_FLAGS);
    options = no_options();
    options.reserved0 = 1;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, message, sizeof message), LLMRL_ERR_FLAGS);
    options = no_options();
    options.max_waiters = 1048577;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strstr(message, "options.max_waiters = 1048577") != NULL);
    options = no_options();
    options.max_permits = UINT32_MAX;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strstr(message, "options.max_permits = 4294967295") != NULL);

    options = no_options();
    EQUAL(llmrl_limiter_new(&limit, 1, &options, 0, &l, NULL, 0), LLMRL_ERR_SIZE);
    CHECK(l == NULL);
    /* An older program's, which ends early: the missing fields are zero, whatever comes behind. */
    memset(&options, 0xff, sizeof options);
    options.flags = options.max_waiters = 0;
    for (size = 4; size <= 8; size += 4) {
        OK(llmrl_limiter_new(&limit, 1, &options, size, &l, NULL, 0));
        llmrl_limiter_free(l);
    }
    /* A newer one's, which asks for nothing that is not known. */
    memset(&larger, 0, sizeof larger);
    for (size = sizeof options; size <= 4096; size = size * 2 + 1) {
        OK(llmrl_limiter_new(&limit, 1, &larger.options, size, &l, NULL, 0));
        llmrl_limiter_free(l);
    }
    l = NULL;
    EQUAL(llmrl_limiter_new(&limit, 1, &larger.options, 4097, &l, NULL, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_limiter_new(&limit, 1, &larger.options, SIZE_MAX, &l, NULL, 0), LLMRL_ERR_SIZE);
    /* One that does. */
    larger.bytes[sizeof options + 20] = 1;
    EQUAL(llmrl_limiter_new(&limit, 1, &larger.options, sizeof options + 21, &l, NULL, 0), LLMRL_ERR_SIZE);
    CHECK(l == NULL);
    OK(llmrl_limiter_new(&limit, 1, &larger.options, sizeof options + 20, &l, NULL, 0));
    llmrl_limiter_free(l);
    /* No options, whatever size they are said to have. */
    OK(llmrl_limiter_new(&limit, 1, NULL, 12345, &l, NULL, 0));
    llmrl_limiter_free(l);
}

static void wrong_sizes_out(void)
{
    llmrl_limiter *l = plain();
    unsigned char bytes[300];
    uint64_t granted;
    llmrl_cost cost = cost_of(0, 0);
    size_t i;

    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    memset(bytes, 0xee, sizeof bytes);
    EQUAL(llmrl_limiter_stats(l, (llmrl_stats *)(void *)bytes, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_limiter_stats(l, (llmrl_stats *)(void *)bytes, 5000), LLMRL_ERR_SIZE);
    EQUAL(llmrl_limiter_limit_state(l, 0, (llmrl_limit_state *)(void *)bytes, 0), LLMRL_ERR_SIZE);
    for (i = 0; i < sizeof bytes; i++)
        EQUAL(bytes[i], 0xee);

    /* A shorter one gets what it has room for, not a byte more; and nobody minds an odd address. */
    OK(llmrl_limiter_stats(l, (llmrl_stats *)(void *)(bytes + 1), 8));
    memcpy(&granted, bytes + 1, 8);
    EQUAL(granted, 1);
    EQUAL(bytes[0], 0xee);
    EQUAL(bytes[9], 0xee);
    /* A longer one is zero at its end. */
    memset(bytes, 0xee, sizeof bytes);
    OK(llmrl_limiter_stats(l, (llmrl_stats *)(void *)(bytes + 3), 200));
    EQUAL(bytes[2], 0xee);
    EQUAL(bytes[203], 0xee);
    for (i = sizeof(llmrl_stats); i < 200; i++)
        EQUAL(bytes[3 + i], 0);
    llmrl_limiter_free(l);
}

static void odd_addresses(void)
{
    unsigned char limits[129], costs[65], options[sizeof(llmrl_options) + 1], pointer[sizeof(void *) + 1];
    unsigned char number[9], wait[9];
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 2);
    llmrl_cost cost = cost_of(1, 1);
    llmrl_options plain_options = no_options();
    llmrl_limiter *l;
    llmrl_permit permit;
    uint64_t ns;

    memcpy(limits + 1, &limit, 64);
    memcpy(limits + 65, &limit, 64);
    memcpy(costs + 1, &cost, 64);
    memcpy(options + 1, &plain_options, sizeof plain_options);
    OK(llmrl_limiter_new((const llmrl_limit *)(const void *)(limits + 1), 2,
                         (const llmrl_options *)(const void *)(options + 1), sizeof plain_options,
                         (llmrl_limiter **)(void *)(pointer + 1), NULL, 0));
    memcpy(&l, pointer + 1, sizeof l);
    OK(llmrl_try_acquire(l, (const llmrl_cost *)(const void *)(costs + 1), (llmrl_permit *)(void *)(number + 1),
                         NULL));
    memcpy(&permit, number + 1, 8);
    OK(llmrl_settle(l, permit, (const llmrl_cost *)(const void *)(costs + 1)));
    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    EQUAL(llmrl_try_acquire(l, &cost, NULL, (uint64_t *)(void *)(wait + 1)), LLMRL_REFUSED);
    memcpy(&ns, wait + 1, 8);
    CHECK(ns > 0 && ns <= MINUTE);
    llmrl_limiter_free(l);
}

int main(void)
{
    nulls();
    wrong_objects();
    wrong_limits();
    wrong_options();
    wrong_sizes_out();
    odd_addresses();
    return 0;
}
