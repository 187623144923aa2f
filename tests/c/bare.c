/* Token buckets, one and by key, and the in-flight limit without a limiter around them. */
#include "check.h"

static void a_bucket(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limit = bucket(LLMRL_TOKENS, 6000);
    llmrl_bucket *b = NULL;
    char message[128] = "untouched";
    uint64_t wait = 1;
    int64_t available = 0;

    OK(llmrl_bucket_new(&limit, clock, &b, message, sizeof message));
    CHECK(message[0] == 0);
    OK(llmrl_bucket_try_take(b, 6000, &wait));
    EQUAL(wait, 1);
    EQUAL(llmrl_bucket_try_take(b, 50, &wait), LLMRL_REFUSED);
    EQUAL(wait, SECOND / 2);
    OK(llmrl_clock_advance(clock, SECOND / 2 - 1));
    EQUAL(llmrl_bucket_try_take(b, 50, NULL), LLMRL_REFUSED);
    OK(llmrl_clock_advance(clock, 1));
    OK(llmrl_bucket_try_take(b, 50, NULL));
    OK(llmrl_bucket_refund(b, 20));
    OK(llmrl_bucket_charge(b, 30));
    OK(llmrl_bucket_available(b, &available));
    EQUAL(available, -10);

    OK(llmrl_bucket_pause(b, MINUTE));
    EQUAL(llmrl_bucket_try_take(b, 1, &wait), LLMRL_REFUSED);
    EQUAL(wait, MINUTE);
    OK(llmrl_bucket_pause(b, 0));
    EQUAL(llmrl_bucket_try_take(b, 1, &wait), LLMRL_REFUSED);
    EQUAL(wait, 11 * SECOND / 100);
    OK(llmrl_bucket_retune(b, 100, SECOND, 10));
    EQUAL(llmrl_bucket_try_take(b, 11, &wait), LLMRL_ERR_NEVER);
    OK(llmrl_clock_advance(clock, MINUTE));
    OK(llmrl_bucket_available(b, &available));
    EQUAL(available, 10);
    OK(llmrl_bucket_retune(b, 20, 0, 0));
    OK(llmrl_clock_advance(clock, 10 * MINUTE));
    OK(llmrl_bucket_available(b, &available));
    EQUAL(available, 20);

    llmrl_clock_free(clock);
    OK(llmrl_bucket_try_take(b, 20, NULL));
    llmrl_bucket_free(b);

    OK(llmrl_bucket_new(&limit, NULL, &b, NULL, 0));
    OK(llmrl_bucket_try_take(b, 6000, NULL));
    EQUAL(llmrl_bucket_try_take(b, 6000, NULL), LLMRL_REFUSED);
    llmrl_bucket_free(b);
    llmrl_bucket_free(NULL);
}

/* As many slots as the smallest map has, all of them in reach of every key. */
#define SLOTS 32

static llmrl_bucket_map_stats map_stats_of(const llmrl_bucket_map *m)
{
    llmrl_bucket_map_stats stats;
    OK(llmrl_bucket_map_read_stats(m, &stats, sizeof stats));
    return stats;
}

static void buckets_by_key(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 60);
    llmrl_bucket_map *m = NULL;
    char message[128] = "untouched";
    uint64_t wait = 1, number;
    int64_t available = 0;

    limit.burst = 2;
    OK(llmrl_bucket_map_new(&limit, 1, 0, clock, &m, message, sizeof message));
    CHECK(message[0] == 0);
    OK(llmrl_bucket_map_try_take(m, "alice", 5, 2, &wait));
    EQUAL(wait, 1);
    EQUAL(llmrl_bucket_map_try_take(m, "alice", 5, 1, &wait), LLMRL_REFUSED);
    EQUAL(wait, SECOND);
    EQUAL(llmrl_bucket_map_try_take(m, "alice", 5, 1, NULL), LLMRL_REFUSED);
    EQUAL(llmrl_bucket_map_try_take(m, "alice", 5, 3, NULL), LLMRL_ERR_NEVER);
    OK(llmrl_bucket_map_try_take(m, "bob", 3, 1, NULL));
    OK(llmrl_bucket_map_refund(m, "alice", 5, 1));
    OK(llmrl_bucket_map_charge(m, "alice", 5, 4));
    OK(llmrl_bucket_map_available(m, "alice", 5, &available));
    EQUAL(available, -3);

    OK(llmrl_clock_advance(clock, 5 * SECOND));
    for (number = 0; number < SLOTS; number++)
        OK(llmrl_bucket_map_try_take(m, &number, sizeof number, 2, NULL));
    EQUAL(map_stats_of(m).keys, SLOTS);
    EQUAL(map_stats_of(m).evictions, 2);
    OK(llmrl_bucket_map_try_take(m, "carol", 5, 1, NULL));
    OK(llmrl_bucket_map_try_take(m, "dave", 4, 1, NULL));
    EQUAL(llmrl_bucket_map_try_take(m, "erin", 4, 1, &wait), LLMRL_REFUSED);
    EQUAL(wait, SECOND);
    EQUAL(map_stats_of(m).overflows, 3);
    llmrl_bucket_map_free(m);

    OK(llmrl_bucket_map_new(&limit, 1, LLMRL_REFUSE_WITHOUT_ROOM, clock, &m, NULL, 0));
    llmrl_clock_free(clock);
    for (number = 0; number < SLOTS; number++)
        OK(llmrl_bucket_map_try_take(m, &number, sizeof number, 2, NULL));
    EQUAL(llmrl_bucket_map_try_take(m, "carol", 5, 1, NULL), LLMRL_ERR_FULL);
    EQUAL(llmrl_bucket_map_charge(m, "carol", 5, 1), LLMRL_ERR_FULL);
    OK(llmrl_bucket_map_refund(m, "carol", 5, 1));
    llmrl_bucket_map_free(m);

    OK(llmrl_bucket_map_new(&limit, 1000000, 0, NULL, &m, NULL, 0));
    OK(llmrl_bucket_map_try_take(m, "alice", 5, 2, NULL));
    EQUAL(llmrl_bucket_map_try_take(m, "alice", 5, 2, NULL), LLMRL_REFUSED);
    llmrl_bucket_map_free(m);
    llmrl_bucket_map_free(NULL);
}

static void mistakes_with_keys(void)
{
    static const char long_key[1 << 20] = {0};
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 60), bad = in_flight(5);
    llmrl_bucket_map *m = NULL;
    llmrl_bucket_map_stats stats;
    char message[128];
    int64_t available;

    EQUAL(llmrl_bucket_map_new(NULL, 1, 0, NULL, &m, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_map_new(&limit, 1, 0, NULL, NULL, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_map_new(&limit, 1, 2, NULL, &m, message, sizeof message), LLMRL_ERR_FLAGS);
    CHECK(strstr(message, "flags = 2") != NULL);
    EQUAL(llmrl_bucket_map_new(&limit, 0, 0, NULL, &m, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strcmp(message, "capacity = 0 is outside 1..=1073741824") == 0);
    EQUAL(llmrl_bucket_map_new(&limit, SIZE_MAX, 0, NULL, &m, NULL, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_map_new(&bad, 1, 0, NULL, &m, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strstr(message, "limit.in-flight limits") != NULL);
    bad = limit;
    bad.flags = LLMRL_START_EMPTY;
    EQUAL(llmrl_bucket_map_new(&bad, 1, 0, NULL, &m, NULL, 0), LLMRL_ERR_RANGE);
    CHECK(m == NULL);

    OK(llmrl_bucket_map_new(&limit, 1, 0, NULL, &m, NULL, 0));
    EQUAL(llmrl_bucket_map_try_take(NULL, "key", 3, 1, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_map_try_take(m, NULL, 3, 1, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_map_try_take(m, "", 0, 1, NULL), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_map_try_take(m, NULL, 0, 1, NULL), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_map_try_take(m, long_key, sizeof long_key, 1, NULL), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_map_try_take(m, long_key, SIZE_MAX, 1, NULL), LLMRL_ERR_RANGE);
    OK(llmrl_bucket_map_try_take(m, long_key, 65536, 1, NULL));
    EQUAL(llmrl_bucket_map_try_take(m, "key", 3, 0, NULL), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_map_try_take(m, "key", 3, UINT64_MAX, NULL), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_map_refund(m, "key", 3, 0), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_map_refund(m, "key", 0, 1), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_map_charge(m, "key", 3, UINT64_C(1) << 40), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_map_available(m, "key", 3, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_map_available(m, NULL, 3, &available), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_map_read_stats(m, NULL, sizeof stats), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_map_read_stats(m, &stats, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_bucket_try_take((const llmrl_bucket *)(const void *)m, 1, NULL), LLMRL_ERR_HANDLE);
    llmrl_bucket_map_free(m);
}

static void some_in_flight(void)
{
    llmrl_in_flight *g = NULL;
    uint64_t count = 99;
    OK(llmrl_in_flight_new(2, &g));
    OK(llmrl_in_flight_try_enter(g));
    OK(llmrl_in_flight_try_enter(g));
    EQUAL(llmrl_in_flight_try_enter(g), LLMRL_REFUSED);
    OK(llmrl_in_flight_resize(g, 1));
    OK(llmrl_in_flight_leave(g));
    EQUAL(llmrl_in_flight_try_enter(g), LLMRL_REFUSED);
    OK(llmrl_in_flight_count(g, &count));
    EQUAL(count, 1);
    OK(llmrl_in_flight_leave(g));
    EQUAL(llmrl_in_flight_leave(g), LLMRL_ERR_STALE);
    OK(llmrl_in_flight_count(g, &count));
    EQUAL(count, 0);
    llmrl_in_flight_free(g);
    llmrl_in_flight_free(NULL);
}

static void mistakes(void)
{
    llmrl_limit limit = bucket(LLMRL_TOKENS, 100), bad;
    llmrl_bucket *b = NULL;
    llmrl_in_flight *g = NULL;
    llmrl_clock *clock = clock_at(0);
    char message[64];
    uint64_t count;

    EQUAL(llmrl_bucket_new(NULL, NULL, &b, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_new(&limit, NULL, NULL, NULL, 0), LLMRL_ERR_NULL);
    bad = in_flight(5);
    EQUAL(llmrl_bucket_new(&bad, NULL, &b, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strlen(message) > 0);
    bad = bucket(LLMRL_TOKENS, 0);
    EQUAL(llmrl_bucket_new(&bad, NULL, &b, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strstr(message, "amount = 0") != NULL);
    bad = limit;
    bad.flags = 4;
    EQUAL(llmrl_bucket_new(&bad, NULL, &b, message, sizeof message), LLMRL_ERR_FLAGS);
    CHECK(strstr(message, "flags") != NULL);
    CHECK(b == NULL);

    OK(llmrl_bucket_new(&limit, clock, &b, NULL, 0));
    EQUAL(llmrl_bucket_try_take(NULL, 1, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_try_take(b, 0, NULL), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_try_take(b, 101, NULL), LLMRL_ERR_NEVER);
    EQUAL(llmrl_bucket_try_take(b, UINT64_C(1) << 40, NULL), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_try_take(b, UINT64_C(1) << 63, NULL), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_refund(b, UINT64_MAX), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_refund(b, 0), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_charge(b, UINT64_MAX), LLMRL_ERR_COST);
    EQUAL(llmrl_bucket_charge(NULL, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_bucket_retune(b, 0, 0, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_retune(b, 1, UINT64_MAX, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_retune(b, 1000, 1, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_retune(b, 1, 0, UINT64_MAX), LLMRL_ERR_RANGE);
    EQUAL(llmrl_bucket_available(b, NULL), LLMRL_ERR_NULL);
    OK(llmrl_bucket_try_take(b, 100, NULL));
    EQUAL(llmrl_in_flight_try_enter((const llmrl_in_flight *)(const void *)b), LLMRL_ERR_HANDLE);
    llmrl_bucket_free(b);

    EQUAL(llmrl_in_flight_new(0, &g), LLMRL_ERR_RANGE);
    EQUAL(llmrl_in_flight_new(524288, &g), LLMRL_ERR_RANGE);
    EQUAL(llmrl_in_flight_new(1, NULL), LLMRL_ERR_NULL);
    CHECK(g == NULL);
    OK(llmrl_in_flight_new(524287, &g));
    EQUAL(llmrl_in_flight_resize(g, 0), LLMRL_ERR_RANGE);
    EQUAL(llmrl_in_flight_count(g, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_in_flight_count(NULL, &count), LLMRL_ERR_NULL);
    llmrl_in_flight_free(g);

    EQUAL(llmrl_clock_new(0, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_clock_now(clock, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_clock_now(NULL, &count), LLMRL_ERR_NULL);
    EQUAL(llmrl_clock_advance(NULL, 1), LLMRL_ERR_NULL);
    llmrl_clock_free(clock);
    llmrl_clock_free(NULL);
}

int main(void)
{
    a_bucket();
    buckets_by_key();
    mistakes_with_keys();
    some_in_flight();
    mistakes();
    return 0;
}
