/* Every mistake that can be told has its answer, and changes nothing. */
#include "check.h"

static const uint64_t BOGUS = UINT64_C(0x5555555555555555);

static llmrl_limiter *plain(void)
{
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 100);
    return limiter_of(&limit, 1, &options);
}

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

static void wrong_costs(void)
{
    const uint64_t most = (UINT64_C(1) << 40) - 1;
    llmrl_options options = no_options();
    llmrl_limit limits[2];
    llmrl_limiter *l;
    llmrl_cost good = cost_of(1, 1), cost;
    llmrl_permit held = 0, permit = BOGUS;
    uint64_t wait = BOGUS;
    int field;

    limits[0] = bucket(LLMRL_TOKENS, 1000);
    limits[1] = in_flight(5);
    l = limiter_of(limits, 2, &options);
    OK(llmrl_try_acquire(l, &good, &held, NULL));
    for (field = 0; field < 9; field++) {
        const uint64_t bad[] = {most + 1, UINT64_C(1) << 63, UINT64_MAX};
        llmrl_status want = LLMRL_ERR_COST;
        cost = good;
        switch (field) {
        case 0: cost.requests = 0; break;
        case 1: cost.requests = bad[0]; break;
        case 2: cost.input_tokens = bad[1]; break;
        case 3: cost.output_tokens = bad[2]; break;
        case 4: cost.cached_tokens = bad[0]; break;
        case 5: cost.cache_write_tokens = bad[1]; break;
        case 6: cost.input_tokens = cost.output_tokens = most; break;
        case 7: cost.reserved[0] = 1, want = LLMRL_ERR_FLAGS; break;
        case 8: cost.reserved[2] = bad[2], want = LLMRL_ERR_FLAGS; break;
        }
        EQUAL(llmrl_try_acquire(l, &cost, &permit, &wait), want);
        EQUAL(llmrl_acquire(l, &cost, LLMRL_FOREVER, &permit), want);
        EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &permit, &wait), want);
        /* Tokens can be used without a request. */
        EQUAL(llmrl_limiter_charge(l, &cost), field == 0 ? LLMRL_OK : want);
        EQUAL(llmrl_adjust(l, held, &cost), want);
        EQUAL(llmrl_settle(l, held, &cost), want);
        EQUAL(llmrl_poll(l, held, &wait), LLMRL_OK);
    }
    cost = cost_of(999, 2);
    EQUAL(llmrl_try_acquire(l, &cost, &permit, &wait), LLMRL_ERR_NEVER);
    EQUAL(llmrl_acquire(l, &cost, LLMRL_FOREVER, &permit), LLMRL_ERR_NEVER);
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &permit, &wait), LLMRL_ERR_NEVER);
    CHECK(permit == BOGUS && wait == BOGUS);
    OK(llmrl_settle(l, held, &good));
    EQUAL(stats_of(l).waiting, 0);
    EQUAL(state_of(l, 1).available, 5);
    llmrl_limiter_free(l);
}

static void wrong_indices(void)
{
    llmrl_options options = no_options();
    llmrl_limit limits[2];
    llmrl_limit_state state;
    llmrl_limiter *l;

    limits[0] = bucket(LLMRL_TOKENS, 1000);
    limits[1] = in_flight(5);
    l = limiter_of(limits, 2, &options);
    EQUAL(llmrl_limiter_limit_state(l, 2, &state, sizeof state), LLMRL_ERR_INDEX);
    EQUAL(llmrl_limiter_limit_state(l, UINT32_MAX, &state, sizeof state), LLMRL_ERR_INDEX);
    EQUAL(llmrl_limiter_pause(l, 2, 1), LLMRL_ERR_INDEX);
    EQUAL(llmrl_limiter_pause(l, 1, 1), LLMRL_ERR_INDEX);
    EQUAL(llmrl_limiter_retune(l, 2, 1, 0, 0), LLMRL_ERR_INDEX);
    EQUAL(llmrl_limiter_retune(l, 0, 0, 0, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_limiter_retune(l, 0, 1, UINT64_MAX, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_limiter_retune(l, 0, 1, 0, UINT64_C(1) << 40), LLMRL_ERR_RANGE);
    EQUAL(llmrl_limiter_retune(l, 1, 0, 0, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_limiter_retune(l, 1, 524288, 0, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_limiter_retune(l, 1, 1, 1, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_limiter_retune(l, 1, 1, 0, 1), LLMRL_ERR_RANGE);
    EQUAL(state_of(l, 0).amount, 1000);
    EQUAL(state_of(l, 1).amount, 5);
    /* The end of time is a time. */
    OK(llmrl_limiter_pause(l, 0, UINT64_MAX));
    CHECK(state_of(l, 0).paused_ns > UINT64_MAX / 4);
    OK(llmrl_limiter_pause(l, 0, 0));
    EQUAL(state_of(l, 0).paused_ns, 0);
    llmrl_limiter_free(l);
}

static void stale_numbers(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_options options = no_options();
    llmrl_limit limits[2];
    llmrl_limiter *l, *m;
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit p, q, numbers[6];
    uint64_t wait = BOGUS;
    int i, round;

    limits[0] = bucket(LLMRL_REQUESTS, 100);
    limits[1] = in_flight(50);
    options.clock = clock;
    l = limiter_of(limits, 2, &options);
    m = limiter_of(limits, 2, &options);
    OK(llmrl_try_acquire(l, &cost, &p, NULL));
    OK(llmrl_try_acquire(m, &cost, &q, NULL));
    CHECK(p != q);

    /* Of another limiter, never given out, almost right, and over; many times, with the entry used again in between. */
    for (round = 0; round < 3; round++) {
        llmrl_permit over;
        OK(llmrl_try_acquire(l, &cost, &over, NULL));
        if (round == 0)
            OK(llmrl_settle(l, over, &cost));
        if (round == 1)
            OK(llmrl_release(l, over));
        if (round == 2)
            OK(llmrl_cancel(l, over));
        numbers[0] = q;
        numbers[1] = 0;
        numbers[2] = UINT64_MAX;
        numbers[3] = p + 1;
        numbers[4] = p ^ UINT64_C(0x8000000000000000);
        numbers[5] = over;
        for (i = 0; i < 6; i++) {
            EQUAL(llmrl_poll(l, numbers[i], &wait), LLMRL_ERR_STALE);
            EQUAL(llmrl_adjust(l, numbers[i], &cost), LLMRL_ERR_STALE);
            EQUAL(llmrl_settle(l, numbers[i], &cost), LLMRL_ERR_STALE);
            EQUAL(llmrl_release(l, numbers[i]), LLMRL_ERR_STALE);
            EQUAL(llmrl_cancel(l, numbers[i]), LLMRL_ERR_STALE);
        }
    }
    EQUAL(wait, BOGUS);
    EQUAL(state_of(l, 1).available, 49);
    EQUAL(state_of(m, 1).available, 49);

    /* A ticket is no permit yet. */
    OK(llmrl_limiter_pause(l, 0, MINUTE));
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &q, &wait), LLMRL_PENDING);
    EQUAL(wait, MINUTE);
    EQUAL(llmrl_settle(l, q, &cost), LLMRL_ERR_STALE);
    EQUAL(llmrl_adjust(l, q, &cost), LLMRL_ERR_STALE);
    EQUAL(llmrl_release(l, q), LLMRL_ERR_STALE);
    EQUAL(llmrl_poll(l, q, &wait), LLMRL_PENDING);
    OK(llmrl_cancel(l, q));
    EQUAL(llmrl_poll(l, q, &wait), LLMRL_ERR_STALE);
    EQUAL(llmrl_cancel(l, q), LLMRL_ERR_STALE);
    EQUAL(stats_of(l).waiting, 0);
    EQUAL(stats_of(l).cancelled, 1);

    /* One that timed out. */
    EQUAL(llmrl_enqueue(l, &cost, 30 * SECOND, &q, &wait), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_enqueue(l, &cost, 90 * SECOND, &q, &wait), LLMRL_PENDING);
    OK(llmrl_limiter_pause(l, 0, 10 * MINUTE));
    OK(llmrl_clock_advance(clock, 91 * SECOND));
    EQUAL(llmrl_poll(l, q, &wait), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_poll(l, q, &wait), LLMRL_ERR_STALE);
    OK(llmrl_release(l, p));

    llmrl_limiter_free(m);
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

static void timeouts(void)
{
    llmrl_clock *clock = clock_at(UINT64_C(1) << 61);
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 1);
    llmrl_limiter *l;
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit p;
    uint64_t wait = BOGUS;

    options.clock = clock;
    l = limiter_of(&limit, 1, &options);
    OK(llmrl_acquire(l, &cost, 0, NULL));
    EQUAL(llmrl_acquire(l, &cost, 0, NULL), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_acquire(l, &cost, MINUTE - 1, NULL), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_enqueue(l, &cost, 0, &p, &wait), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_enqueue(l, &cost, MINUTE - 1, &p, &wait), LLMRL_ERR_DEADLINE);
    EQUAL(wait, BOGUS);
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER - 1, &p, &wait), LLMRL_PENDING);
    OK(llmrl_cancel(l, p));
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &p, &wait), LLMRL_PENDING);
    EQUAL(wait, MINUTE);
    OK(llmrl_clock_advance(clock, MINUTE - 1));
    EQUAL(llmrl_poll(l, p, &wait), LLMRL_PENDING);
    EQUAL(wait, 1);
    OK(llmrl_clock_advance(clock, 1));
    OK(llmrl_poll(l, p, &wait));
    EQUAL(wait, 1);
    OK(llmrl_release(l, p));
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

static void full(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 4);
    llmrl_limiter *l;
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit held[5], waiting[3];
    int i;

    options.clock = clock;
    options.max_waiters = 2;
    options.max_permits = 3;
    l = limiter_of(&limit, 1, &options);
    /* Permits may use the waiters' places as long as nobody waits. */
    for (i = 0; i < 4; i++)
        OK(llmrl_try_acquire(l, &cost, &held[i], NULL));
    OK(llmrl_clock_advance(clock, MINUTE));
    OK(llmrl_try_acquire(l, &cost, &held[4], NULL));
    EQUAL(llmrl_try_acquire(l, &cost, &waiting[0], NULL), LLMRL_ERR_FULL);
    EQUAL(llmrl_acquire(l, &cost, 0, &waiting[0]), LLMRL_ERR_FULL);
    EQUAL(llmrl_enqueue(l, &cost, 0, &waiting[0], NULL), LLMRL_ERR_FULL);
    /* It has taken nothing, and without a permit there is room. */
    EQUAL(state_of(l, 0).available, 3);
    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    for (i = 0; i < 5; i++)
        OK(llmrl_cancel(l, held[i]));

    OK(llmrl_limiter_pause(l, 0, MINUTE));
    for (i = 0; i < 2; i++)
        EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &waiting[i], NULL), LLMRL_PENDING);
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &waiting[2], NULL), LLMRL_ERR_FULL);
    EQUAL(llmrl_acquire(l, &cost, LLMRL_FOREVER, NULL), LLMRL_ERR_FULL);
    OK(llmrl_cancel(l, waiting[0]));
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &waiting[2], NULL), LLMRL_PENDING);
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

static void after_close(void)
{
    llmrl_options options = no_options();
    llmrl_limit limits[2];
    llmrl_limiter *l;
    llmrl_cost cost = cost_of(10, 0), used = cost_of(4, 0);
    llmrl_permit a, b, c, waiting, p = BOGUS;
    uint64_t wait = BOGUS;

    limits[0] = bucket(LLMRL_TOKENS, 100);
    limits[1] = in_flight(3);
    l = limiter_of(limits, 2, &options);
    OK(llmrl_try_acquire(l, &cost, &a, NULL));
    OK(llmrl_try_acquire(l, &cost, &b, NULL));
    OK(llmrl_try_acquire(l, &cost, &c, NULL));
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &waiting, &wait), LLMRL_PENDING);
    EQUAL(wait, LLMRL_FOREVER);
    OK(llmrl_limiter_close(l));
    OK(llmrl_limiter_close(l));
    wait = BOGUS;
    EQUAL(llmrl_try_acquire(l, &cost, &p, &wait), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_acquire(l, &cost, LLMRL_FOREVER, &p), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &p, &wait), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_poll(l, waiting, &wait), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_poll(l, waiting, &wait), LLMRL_ERR_STALE);
    CHECK(p == BOGUS && wait == BOGUS);
    /* What is held can be brought to its end. */
    OK(llmrl_poll(l, a, NULL));
    OK(llmrl_adjust(l, a, &used));
    OK(llmrl_settle(l, a, &used));
    OK(llmrl_cancel(l, b));
    OK(llmrl_release(l, c));
    OK(llmrl_limiter_charge(l, &used));
    OK(llmrl_limiter_retune(l, 0, 200, 0, 0));
    OK(llmrl_limiter_pause(l, 0, 0));
    EQUAL(stats_of(l).in_flight, 0);
    CHECK(state_of(l, 0).available >= 82);
    llmrl_limiter_free(l);
}

static void answers(void)
{
    llmrl_header headers[2];
    llmrl_answer answer;
    llmrl_reading reading, before;
    unsigned char longer[sizeof(llmrl_answer) + 8], odd[sizeof(llmrl_reading) + 2], odd_headers[sizeof headers + 1];
    uint32_t answer_class;

    memset(headers, 0, sizeof headers);
    memset(&answer, 0, sizeof answer);
    memset(&reading, 0x55, sizeof reading);
    memcpy(&before, &reading, sizeof before);
    headers[0].name = "Retry-After", headers[0].name_size = 11;
    headers[0].value = "5 and more", headers[0].value_size = 1;
    answer.status = 429;
    answer.headers = headers;
    answer.header_count = 2;

    EQUAL(llmrl_answer_read(NULL, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    EQUAL(llmrl_answer_read(&answer, sizeof answer, NULL, sizeof reading), LLMRL_ERR_NULL);
    EQUAL(llmrl_answer_read(&answer, 0, &reading, sizeof reading), LLMRL_ERR_SIZE);
    EQUAL(llmrl_answer_read(&answer, 5000, &reading, sizeof reading), LLMRL_ERR_SIZE);
    EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, 5000), LLMRL_ERR_SIZE);
    answer.status = 99, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_RANGE);
    answer.status = 1000, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_RANGE);
    answer.status = 65536 + 429, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_RANGE);
    answer.status = 429;
    answer.reserved0 = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_FLAGS);
    answer.reserved0 = 0;
    answer.headers = NULL, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    answer.headers = headers;
    answer.body_size = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    answer.body_size = 0;
    headers[1].name_size = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    headers[1].name_size = 0;
    headers[1].value_size = 1, EQUAL(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading), LLMRL_ERR_NULL);
    headers[1].value_size = 0;
    EQUAL(memcmp(&reading, &before, sizeof reading), 0);

    /* Sizes of other versions. */
    memset(longer, 0, sizeof longer);
    memcpy(longer, &answer, sizeof answer);
    OK(llmrl_answer_read((const llmrl_answer *)(const void *)longer, sizeof longer, &reading, sizeof reading));
    EQUAL(reading.wait_ns, 5 * SECOND);
    longer[sizeof longer - 1] = 1;
    EQUAL(llmrl_answer_read((const llmrl_answer *)(const void *)longer, sizeof longer, &reading, sizeof reading),
          LLMRL_ERR_SIZE);
    memset(odd, 0xee, sizeof odd);
    OK(llmrl_answer_read(&answer, sizeof answer, (llmrl_reading *)(void *)(odd + 1), 4));
    memcpy(&answer_class, odd + 1, 4);
    EQUAL(answer_class, LLMRL_CLASS_RATE);
    EQUAL(odd[0], 0xee);
    EQUAL(odd[5], 0xee);
    /* A status alone is an answer, and nobody minds odd addresses. */
    OK(llmrl_answer_read(&answer, 4, &reading, sizeof reading));
    EQUAL(reading.wait_ns, LLMRL_UNKNOWN);
    memcpy(odd_headers + 1, headers, sizeof headers);
    answer.headers = (const llmrl_header *)(const void *)(odd_headers + 1);
    OK(llmrl_answer_read(&answer, sizeof answer, (llmrl_reading *)(void *)(odd + 1), sizeof reading));
    memcpy(&reading, odd + 1, sizeof reading);
    EQUAL(reading.wait_ns, 5 * SECOND);
    EQUAL(odd[sizeof odd - 1], 0xee);
}

static void feedback(void)
{
    llmrl_limiter *l = plain();
    llmrl_cost cost = cost_of(0, 0);
    llmrl_header header = {"retry-after", 11, "30", 2};
    llmrl_answer answer;
    llmrl_advice advice, before;
    llmrl_permit permit, ended;
    unsigned char odd[sizeof(llmrl_advice) + 2];

    memset(&answer, 0, sizeof answer);
    answer.status = 429;
    answer.headers = &header;
    answer.header_count = 1;
    memset(&advice, 0xee, sizeof advice);
    before = advice;
    OK(llmrl_try_acquire(l, &cost, &ended, NULL));
    OK(llmrl_release(l, ended));
    OK(llmrl_try_acquire(l, &cost, &permit, NULL));
    EQUAL(llmrl_feedback(NULL, permit, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_NULL);
    EQUAL(llmrl_feedback(l, permit, NULL, sizeof answer, &advice, sizeof advice), LLMRL_ERR_NULL);
    EQUAL(llmrl_feedback(l, permit, &answer, 0, &advice, sizeof advice), LLMRL_ERR_SIZE);
    EQUAL(llmrl_feedback(l, permit, &answer, sizeof answer, &advice, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_feedback(l, ended, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_STALE);
    EQUAL(llmrl_feedback(l, BOGUS, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_STALE);
    answer.status = 99;
    EQUAL(llmrl_feedback(l, permit, &answer, sizeof answer, &advice, sizeof advice), LLMRL_ERR_RANGE);
    answer.status = 429;
    EQUAL(memcmp(&advice, &before, sizeof advice), 0);
    /* What was not taken was not learned from. */
    EQUAL(state_of(l, 0).mode, LLMRL_NORMAL);
    OK(llmrl_try_acquire(l, &cost, &ended, NULL));
    OK(llmrl_release(l, ended));

    /* Nobody needs the advice, and nobody minds odd addresses. */
    OK(llmrl_feedback(l, permit, &answer, sizeof answer, NULL, 0));
    OK(llmrl_feedback(l, permit, &answer, sizeof answer, (llmrl_advice *)(void *)(odd + 1), sizeof advice));
    memcpy(&advice, odd + 1, sizeof advice);
    EQUAL(advice.answer_class, LLMRL_CLASS_RATE);
    EQUAL(advice.flags, LLMRL_ADVICE_RETRY);
    EQUAL(advice.wait_ns, 0);
    OK(llmrl_release(l, permit));
    EQUAL(llmrl_try_acquire(l, &cost, &permit, NULL), LLMRL_REFUSED);
    llmrl_limiter_free(l);
}

static void charging(void)
{
    llmrl_charging rule, wrong;
    llmrl_request request = {1000, 400, 2000, 300};
    llmrl_cost used = cost_of(1100, 250), cost;

    EQUAL(llmrl_charging_of(NULL, &rule, sizeof rule), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_of("openai", NULL, sizeof rule), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_of("openai", &rule, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_charging_of("\xff", &rule, sizeof rule), LLMRL_ERR_RANGE);
    OK(llmrl_charging_of("bedrock", &rule, sizeof rule));
    EQUAL(llmrl_charging_reserve(NULL, sizeof rule, &request, sizeof request, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_reserve(&rule, sizeof rule, NULL, sizeof request, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_charging_reserve(&rule, 5000, &request, sizeof request, &cost), LLMRL_ERR_SIZE);
    EQUAL(llmrl_charging_reserve(&rule, sizeof rule, &request, 0, &cost), LLMRL_ERR_SIZE);
    wrong = rule, wrong.flags = 4;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_FLAGS);
    wrong = rule, wrong.output = 3;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_RANGE);
    wrong = rule, wrong.settlement = 3;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_RANGE);
    wrong = rule, wrong.burndown = 0;
    EQUAL(llmrl_charging_reserve(&wrong, sizeof wrong, &request, sizeof request, &cost), LLMRL_ERR_RANGE);
    EQUAL(llmrl_charging_settle(&rule, sizeof rule, &request, sizeof request, NULL, &cost), LLMRL_ERR_NULL);

    OK(llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &cost));
    EQUAL(cost.input_tokens, 600);
    EQUAL(cost.output_tokens, 2000);
    used.cached_tokens = 500;
    OK(llmrl_charging_settle(&rule, sizeof rule, &request, sizeof request, &used, &cost));
    EQUAL(cost.requests, 1);
    EQUAL(cost.input_tokens, 600);
    EQUAL(cost.output_tokens, 1250);
    request.prompt = request.max_tokens = LLMRL_UNKNOWN;
    OK(llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &cost));
    EQUAL(cost.input_tokens + cost.output_tokens, (UINT64_C(1) << 40) - 1);
}

static void lengths(void)
{
    llmrl_lengths *l = NULL;
    llmrl_limiter *limiter = plain();
    uint64_t out = BOGUS;

    EQUAL(llmrl_lengths_new(0, &l), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_new((1 << 20) + 1, &l), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_new(UINT64_MAX, &l), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_new(1, NULL), LLMRL_ERR_NULL);
    CHECK(l == NULL);
    OK(llmrl_lengths_new(1, &l));
    EQUAL(llmrl_lengths_record(NULL, "k", 1, "m", 1, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_record(l, NULL, 1, "m", 1, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_record(l, "k", 1, NULL, SIZE_MAX, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_record((const llmrl_lengths *)(const void *)limiter, "k", 1, "m", 1, 1), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_lengths_estimate(NULL, "k", 1, "m", 1, 900, 10, &out), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, NULL, 1, "m", 1, 900, 10, &out), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, NULL, 1, 900, 10, &out), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, 900, 10, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, 0, 10, &out), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, 1001, 10, &out), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_estimate(l, "k", 1, "m", 1, UINT32_MAX, 10, &out), LLMRL_ERR_RANGE);
    EQUAL(llmrl_lengths_estimate((const llmrl_lengths *)(const void *)limiter, "k", 1, "m", 1, 900, 10, &out), LLMRL_ERR_HANDLE);
    EQUAL(out, BOGUS);
    llmrl_lengths_free((llmrl_lengths *)(void *)limiter);
    EQUAL(state_of(limiter, 0).available, 100);

    /* No names are names. */
    OK(llmrl_lengths_record(l, NULL, 0, NULL, 0, 1));
    OK(llmrl_lengths_estimate(l, NULL, 0, NULL, 0, 1000, 10, &out));
    EQUAL(out, 10);
    llmrl_lengths_free(l);
    llmrl_limiter_free(limiter);
}

int main(void)
{
    nulls();
    wrong_objects();
    wrong_limits();
    wrong_options();
    wrong_sizes_out();
    odd_addresses();
    wrong_costs();
    wrong_indices();
    stale_numbers();
    timeouts();
    full();
    after_close();
    answers();
    feedback();
    charging();
    lengths();
    return 0;
}
