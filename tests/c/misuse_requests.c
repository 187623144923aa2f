/* Mistakes with requests, and limiters that are full or closed: every one has its answer, and changes nothing. */
#include "check.h"

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

int main(void)
{
    wrong_costs();
    wrong_indices();
    stale_numbers();
    timeouts();
    full();
    after_close();
    return 0;
}
