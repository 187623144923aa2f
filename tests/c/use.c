/* Every function, used as it is meant to be. */
#include "check.h"

static void versions(void)
{
    CHECK(strcmp(llmrl_version(), LLMRL_VERSION) == 0);
    EQUAL(llmrl_version_number(), LLMRL_VERSION_NUMBER);
    EQUAL(llmrl_abi_version(), LLMRL_ABI_VERSION);
    llmrl_abi_v1();
    llmrl_status status;
    for (status = -17; status <= 2; status++) {
        llmrl_status other;
        const char *text = llmrl_strerror(status);
        CHECK(strlen(text) > 3 && strcmp(text, llmrl_strerror(-1000)) != 0);
        for (other = -17; other < status; other++)
            CHECK(strcmp(text, llmrl_strerror(other)) != 0);
    }
    CHECK(strcmp(llmrl_strerror(INT32_MIN), llmrl_strerror(INT32_MAX)) == 0);
}

static void a_request(void)
{
    llmrl_clock *clock = clock_at(7 * SECOND);
    llmrl_options options = no_options();
    llmrl_limit limits[3];
    llmrl_permit a = 0, b = 0, c = 0;
    llmrl_cost estimate = cost_of(600, 400), used = cost_of(500, 100), more = cost_of(900, 300);
    uint64_t wait = 0;
    uint32_t limit = 7;
    llmrl_limiter *l;
    llmrl_stats stats;

    limits[0] = bucket(LLMRL_REQUESTS, 60);
    limits[1] = bucket(LLMRL_TOKENS, 2000);
    limits[2] = in_flight(2);
    options.clock = clock;
    l = limiter_of(limits, 3, &options);
    llmrl_clock_free(clock);

    /* Held, then settled with less, which comes back. */
    OK(llmrl_try_acquire(l, &estimate, &a, &wait));
    CHECK(a != 0);
    EQUAL(state_of(l, 1).available, 1000);
    EQUAL(state_of(l, 2).available, 1);
    OK(llmrl_poll(l, a, NULL));
    OK(llmrl_adjust(l, a, &more));
    EQUAL(state_of(l, 1).available, 800);
    OK(llmrl_settle(l, a, &used));
    EQUAL(state_of(l, 1).available, 1400);
    EQUAL(state_of(l, 2).available, 2);
    EQUAL(llmrl_settle(l, a, &used), LLMRL_ERR_STALE);

    /* Two in flight are all there may be; a release frees the slot and keeps the charge, a cancel frees both. */
    OK(llmrl_acquire(l, &used, 0, &a));
    OK(llmrl_enqueue(l, &used, 0, &b, &wait));
    EQUAL(llmrl_try_acquire(l, &used, &c, &wait), LLMRL_REFUSED);
    EQUAL(c, 0);
    EQUAL(wait, LLMRL_FOREVER);
    OK(llmrl_outlook(l, &used, &wait, &limit));
    EQUAL(wait, LLMRL_FOREVER);
    EQUAL(limit, 2);
    OK(llmrl_release(l, a));
    EQUAL(state_of(l, 1).available, 200);
    OK(llmrl_cancel(l, b));
    EQUAL(state_of(l, 1).available, 800);

    /* 1000 of 800: the missing 200 of 2000 a minute take 6 s. */
    EQUAL(llmrl_try_acquire(l, &estimate, &c, &wait), LLMRL_REFUSED);
    EQUAL(wait, 6 * SECOND);

    /* The same without asking for it, which counts nowhere. */
    wait = 0;
    OK(llmrl_outlook(l, &estimate, &wait, &limit));
    EQUAL(wait, 6 * SECOND);
    EQUAL(limit, 1);
    OK(llmrl_outlook(l, &used, &wait, &limit));
    EQUAL(wait, 0);
    EQUAL(limit, LLMRL_MAX_LIMITS);
    EQUAL(state_of(l, 1).available, 800);

    stats = stats_of(l);
    EQUAL(stats.granted, 3);
    EQUAL(stats.refused, 2);
    EQUAL(stats.waiting, 0);
    EQUAL(stats.in_flight, 0);
    EQUAL(state_of(l, 0).available, 60 - 2);

    /* Other use, and what the provider says. */
    OK(llmrl_limiter_charge(l, &estimate));
    EQUAL(state_of(l, 1).available, -200);
    OK(llmrl_limiter_pause(l, 0, 90 * SECOND));
    EQUAL(state_of(l, 0).paused_ns, 90 * SECOND);
    EQUAL(llmrl_try_acquire(l, &used, &c, &wait), LLMRL_REFUSED);
    EQUAL(wait, 90 * SECOND);
    OK(llmrl_limiter_pause(l, 0, 0));
    OK(llmrl_limiter_retune(l, 1, 4000, 30 * SECOND, 3000));
    EQUAL(state_of(l, 1).amount, 4000);
    EQUAL(state_of(l, 1).period_ns, 30 * SECOND);
    EQUAL(state_of(l, 1).burst, 3000);
    OK(llmrl_limiter_retune(l, 2, 5, 0, 0));
    EQUAL(state_of(l, 2).amount, 5);
    EQUAL(state_of(l, 2).available, 5);
    EQUAL(state_of(l, 2).kind, LLMRL_IN_FLIGHT);
    EQUAL(state_of(l, 1).kind, LLMRL_TOKEN_BUCKET);
    EQUAL(state_of(l, 1).meter, LLMRL_TOKENS);

    OK(llmrl_limiter_close(l));
    OK(llmrl_limiter_close(l));
    EQUAL(llmrl_acquire(l, &used, LLMRL_FOREVER, &c), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_outlook(l, &used, &wait, NULL), LLMRL_ERR_CLOSED);
    llmrl_limiter_free(l);
}

static void without_permits(void)
{
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_OUTPUT_TOKENS, 10);
    llmrl_cost cost = cost_of(0, 7);
    uint64_t wait = 5;
    llmrl_limiter *l;

    limit.period_ns = 10 * MINUTE;
    limit.flags = LLMRL_OVERSIZE_WHEN_FULL;
    l = limiter_of(&limit, 1, &options);
    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    EQUAL(llmrl_try_acquire(l, &cost, NULL, NULL), LLMRL_REFUSED);
    EQUAL(llmrl_acquire(l, &cost, 1000, NULL), LLMRL_ERR_DEADLINE);
    CHECK(state_of(l, 0).available >= 3);
    llmrl_limiter_free(l);

    /* More than the burst, admitted because the bucket is full. */
    l = limiter_of(&limit, 1, &options);
    cost.output_tokens = 25;
    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    CHECK(state_of(l, 0).available < 0);
    llmrl_limiter_free(l);

    limit.flags = LLMRL_START_EMPTY;
    l = limiter_of(&limit, 1, &options);
    cost.output_tokens = 10;
    EQUAL(llmrl_try_acquire(l, &cost, NULL, NULL), LLMRL_REFUSED);
    cost.output_tokens = 11;
    EQUAL(llmrl_try_acquire(l, &cost, NULL, NULL), LLMRL_ERR_NEVER);
    EQUAL(llmrl_outlook(l, &cost, &wait, NULL), LLMRL_ERR_NEVER);
    EQUAL(wait, 5);
    llmrl_limiter_free(l);
}

/* A day's limit goes on after a restart, and what is no saved state is refused with a reason. */
static void a_saved_state(void)
{
    const uint64_t hour = 60 * MINUTE, then = UINT64_C(1800000000000000000);
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 100);
    llmrl_cost cost = cost_of(0, 0);
    llmrl_limiter *l;
    char message[128];
    unsigned char bytes[256];
    size_t size = 0;

    limit.kind = LLMRL_FIXED_WINDOW;
    limit.period_ns = 24 * hour;
    limit.resets_in_ns = 10 * hour;
    options.clock = clock_at(0);
    l = limiter_of(&limit, 1, &options);
    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    EQUAL(llmrl_limiter_save(l, then, NULL, 0, &size), LLMRL_ERR_SIZE);
    CHECK(size > 0 && size <= sizeof bytes);
    EQUAL(llmrl_limiter_save(l, then, bytes, size - 1, &size), LLMRL_ERR_SIZE);
    EQUAL(llmrl_limiter_save(l, then, NULL, size, &size), LLMRL_ERR_NULL);
    EQUAL(llmrl_limiter_save(l, then, bytes, size, NULL), LLMRL_ERR_NULL);
    OK(llmrl_limiter_save(l, then, bytes, sizeof bytes, &size));
    llmrl_limiter_free(l);

    limit.resets_in_ns = 0;
    options.saved = bytes;
    options.saved_size = size;
    options.saved_now_ns = then + 9 * hour;
    l = limiter_of(&limit, 1, &options);
    EQUAL(state_of(l, 0).available, 99);
    OK(llmrl_clock_advance(options.clock, hour));
    EQUAL(state_of(l, 0).available, 100);
    llmrl_limiter_free(l);

    limit.period_ns = hour;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, message, sizeof message), LLMRL_ERR_SAVED);
    CHECK(strstr(message, "limits[0].saved period (ns) = 86400000000000") != NULL);
    options.saved_size = size - 8;
    EQUAL(llmrl_limiter_new(&limit, 1, &options, sizeof options, &l, message, sizeof message), LLMRL_ERR_SAVED);
    CHECK(strstr(message, "damaged or cut short; start without it") != NULL);
    llmrl_clock_free(options.clock);
}

static void a_clock(void)
{
    llmrl_clock *clock = clock_at(5);
    uint64_t now = 0;
    OK(llmrl_clock_advance(clock, 10));
    OK(llmrl_clock_now(clock, &now));
    EQUAL(now, 15);
    OK(llmrl_clock_advance(clock, UINT64_MAX));
    OK(llmrl_clock_now(clock, &now));
    EQUAL(now, INT64_MAX / 2);
    llmrl_clock_free(clock);
    clock = clock_at(UINT64_MAX);
    OK(llmrl_clock_now(clock, &now));
    EQUAL(now, INT64_MAX / 2);
    llmrl_clock_free(clock);
}

static llmrl_header header(const char *name, const char *value)
{
    llmrl_header header;
    header.name = name;
    header.name_size = strlen(name);
    header.value = value;
    header.value_size = strlen(value);
    return header;
}

static void an_answer(void)
{
    static const char body[] = "{\"error\": {\"message\": \"Rate limit reached on tokens per min (TPM): Limit 100000, "
                               "Used 99918, Requested 2094. Please try again in 14h29m11.04s\"}}";
    llmrl_header headers[4];
    llmrl_answer answer;
    llmrl_reading reading;

    memset(&answer, 0, sizeof answer);
    headers[0] = header("X-RateLimit-Limit-Requests", "500");
    headers[1] = header("X-RateLimit-Remaining-Requests", "499");
    headers[2] = header("X-RateLimit-Reset-Requests", "120ms");
    headers[3] = header("retry-after", "Sun, 09 Aug 2026 12:05:00 GMT");
    answer.status = 200;
    answer.headers = headers;
    answer.header_count = 3;
    OK(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading));
    EQUAL(reading.answer_class, LLMRL_CLASS_OK);
    EQUAL(reading.meter, 0);
    EQUAL(reading.flags, 0);
    EQUAL(reading.quota_count, 1);
    EQUAL(reading.tripped, LLMRL_NO_QUOTA);
    EQUAL(reading.wait_ns, LLMRL_UNKNOWN);
    EQUAL(reading.requested, LLMRL_UNKNOWN);
    EQUAL(reading.quotas[0].meter, LLMRL_REQUESTS);
    EQUAL(reading.quotas[0].pool, LLMRL_POOL_STANDARD);
    EQUAL(reading.quotas[0].limit, 500);
    EQUAL(reading.quotas[0].remaining, 499);
    EQUAL(reading.quotas[0].reset_ns, 120 * 1000000);
    EQUAL(reading.quotas[0].utilization, LLMRL_UNKNOWN);
    EQUAL(reading.quotas[0].window_ns, LLMRL_UNKNOWN);
    EQUAL(reading.quotas[0].period_ns, MINUTE);
    EQUAL(reading.quotas[0].solved_low_ns, MINUTE);
    EQUAL(reading.quotas[0].solved_high_ns, LLMRL_UNKNOWN);
    EQUAL(reading.quotas[1].meter, 0);

    /* A limit that is called one of a minute, and is one of thirty days. */
    answer.status = 429;
    answer.body = body;
    answer.body_size = strlen(body);
    OK(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading));
    EQUAL(reading.answer_class, LLMRL_CLASS_LONG);
    EQUAL(reading.meter, LLMRL_TOKENS);
    EQUAL(reading.flags, LLMRL_RETRYABLE);
    EQUAL(reading.requested, 2094);
    EQUAL(reading.quota_count, 2);
    EQUAL(reading.tripped, 1);
    EQUAL(reading.quotas[1].flags, LLMRL_MISLABELLED);
    EQUAL(reading.quotas[1].window_ns, MINUTE);
    EQUAL(reading.quotas[1].period_ns, 43200 * MINUTE);

    /* Against the clock that is given. */
    answer.header_count = 4;
    answer.body = NULL;
    answer.body_size = 0;
    answer.wall_now_ns = 1786277100 * SECOND - 7;
    OK(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading));
    EQUAL(reading.answer_class, LLMRL_CLASS_RATE);
    EQUAL(reading.wait_ns, 7);
}

static void lengths_of_answers(void)
{
    static const char model[] = "a\0b", other[] = "a\0c";
    llmrl_lengths *lengths = NULL;
    uint64_t estimate = 0, length;

    OK(llmrl_lengths_new(2, &lengths));
    OK(llmrl_lengths_estimate(lengths, "key", 3, model, 3, 900, LLMRL_UNKNOWN, &estimate));
    EQUAL(estimate, LLMRL_UNKNOWN);
    OK(llmrl_lengths_estimate(lengths, "key", 3, model, 3, 900, 4096, &estimate));
    EQUAL(estimate, 4096);
    for (length = 1; length <= 100; length++)
        OK(llmrl_lengths_record(lengths, "key", 3, model, 3, length));
    for (length = 0; length < 20; length++)
        OK(llmrl_lengths_record(lengths, NULL, 0, other, 3, UINT64_MAX));
    /* 90 is counted with 88 to 91. */
    OK(llmrl_lengths_estimate(lengths, "key", 3, model, 3, 900, LLMRL_UNKNOWN, &estimate));
    EQUAL(estimate, 91);
    OK(llmrl_lengths_estimate(lengths, "key", 3, model, 3, 900, 50, &estimate));
    EQUAL(estimate, 50);
    OK(llmrl_lengths_estimate(lengths, "nobody", 6, other, 3, 1, LLMRL_UNKNOWN, &estimate));
    EQUAL(estimate, (UINT64_C(1) << 24) - 1);
    llmrl_lengths_free(lengths);
    llmrl_lengths_free(NULL);
}

int main(void)
{
    versions();
    a_request();
    without_permits();
    a_clock();
    a_saved_state();
    an_answer();
    lengths_of_answers();
    return 0;
}
