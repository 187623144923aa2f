/* Limiters by key. */
#include "check.h"

static llmrl_map *map_of(const llmrl_limit *limits, size_t count, llmrl_clock *clock, size_t capacity, size_t shared)
{
    llmrl_options options = no_options();
    llmrl_map *map = NULL;
    char message[128];
    llmrl_status status;

    options.clock = clock;
    status = llmrl_map_new(limits, count, &options, sizeof options, capacity, shared, &map, message, sizeof message);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", llmrl_strerror(status), message);
        exit(1);
    }
    EQUAL(message[0], 0);
    return map;
}

static llmrl_limiter *limiter_by(const llmrl_map *map, const char *key)
{
    llmrl_limiter *l = NULL;
    OK(llmrl_map_limiter(map, key, strlen(key), &l, NULL));
    return l;
}

static llmrl_map_stats map_stats_of(const llmrl_map *map)
{
    llmrl_map_stats stats;
    OK(llmrl_map_get_stats(map, &stats, sizeof stats));
    return stats;
}

static void each_key_has_its_own(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limits[2];
    llmrl_map *map;
    llmrl_limiter *alice, *bob;
    llmrl_cost cost = cost_of(1000, 0);
    llmrl_permit permit;

    limits[0] = bucket(LLMRL_TOKENS, 1000);
    limits[1] = in_flight(1);
    map = map_of(limits, 2, clock, 10, 0);
    alice = limiter_by(map, "alice");
    bob = limiter_by(map, "bob");
    OK(llmrl_try_acquire(alice, &cost, &permit, NULL));
    EQUAL(llmrl_try_acquire(alice, &cost, &permit, NULL), LLMRL_REFUSED);
    OK(llmrl_settle(alice, permit, &cost));
    OK(llmrl_try_acquire(bob, &cost, &permit, NULL));
    OK(llmrl_cancel(bob, permit));
    llmrl_limiter_free(alice);
    llmrl_limiter_free(bob);
    /* What was used is known without a handle. */
    alice = limiter_by(map, "alice");
    EQUAL(state_of(alice, 0).available, 0);
    llmrl_limiter_free(alice);
    EQUAL(map_stats_of(map).keys, 2);
    llmrl_map_free(map);
    llmrl_clock_free(clock);
}

static void a_handle_ends_what_it_took(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limit = in_flight(1);
    llmrl_map *map = map_of(&limit, 1, clock, 10, 0);
    llmrl_limiter *one = limiter_by(map, "key"), *other = limiter_by(map, "key"), *third;
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit permit, ticket, last;
    uint64_t wait;

    OK(llmrl_try_acquire(one, &cost, &permit, NULL));
    EQUAL(llmrl_enqueue(other, &cost, LLMRL_FOREVER, &ticket, &wait), LLMRL_PENDING);
    /* Another handle's numbers mean nothing here. */
    EQUAL(llmrl_release(other, permit), LLMRL_ERR_STALE);
    EQUAL(llmrl_poll(one, ticket, &wait), LLMRL_ERR_STALE);
    third = limiter_by(map, "key");
    EQUAL(llmrl_enqueue(third, &cost, LLMRL_FOREVER, &last, &wait), LLMRL_PENDING);
    EQUAL(stats_of(third).waiting, 2);
    llmrl_limiter_free(other);
    llmrl_limiter_free(one);
    OK(llmrl_poll(third, last, &wait));
    EQUAL(stats_of(third).in_flight, 1);
    llmrl_limiter_free(third);
    third = limiter_by(map, "key");
    EQUAL(stats_of(third).in_flight, 0);
    /* The map may go first. */
    llmrl_map_free(map);
    OK(llmrl_try_acquire(third, &cost, &permit, NULL));
    llmrl_limiter_free(third);
    llmrl_clock_free(clock);
}

static void room_is_made_of_what_is_as_new(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 60);
    llmrl_map *map = map_of(&limit, 1, clock, 1, 0), *sharing = map_of(&limit, 1, clock, 1, 1);
    llmrl_limiter *l = limiter_by(map, "used"), *second = NULL;
    llmrl_cost cost = cost_of(0, 0);
    int32_t is_shared = 7;

    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    llmrl_limiter_free(l);
    EQUAL(llmrl_map_limiter(map, "new", 3, &second, &is_shared), LLMRL_ERR_FULL);
    CHECK(second == NULL && is_shared == 7);
    OK(llmrl_clock_advance(clock, SECOND));
    l = limiter_by(map, "new");
    EQUAL(map_stats_of(map).evictions, 1);
    EQUAL(map_stats_of(map).full, 1);
    EQUAL(map_stats_of(map).granted, 1);
    llmrl_limiter_free(l);

    l = limiter_by(sharing, "first");
    OK(llmrl_map_limiter(sharing, "second", 6, &second, &is_shared));
    EQUAL(is_shared, 1);
    EQUAL(map_stats_of(sharing).shared, 1);
    OK(llmrl_map_close(sharing));
    EQUAL(llmrl_try_acquire(second, &cost, NULL, NULL), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_try_acquire(l, &cost, NULL, NULL), LLMRL_ERR_CLOSED);
    llmrl_limiter_free(second);
    EQUAL(llmrl_map_limiter(sharing, "third", 5, &second, NULL), LLMRL_ERR_CLOSED);
    llmrl_limiter_free(l);
    llmrl_map_free(sharing);
    llmrl_map_free(map);
    llmrl_clock_free(clock);
}

static void limits_of_a_key(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limit = bucket(LLMRL_TOKENS, 1000), larger = bucket(LLMRL_TOKENS, 2000);
    llmrl_limit other = bucket(LLMRL_REQUESTS, 5), none = bucket(LLMRL_TOKENS, 0);
    llmrl_map *map = map_of(&limit, 1, clock, 10, 0);
    llmrl_limiter *l;
    char message[128];

    OK(llmrl_map_set_limits(map, "alice", 5, &larger, 1, message, sizeof message));
    l = limiter_by(map, "alice");
    EQUAL(state_of(l, 0).available, 2000);
    OK(llmrl_map_set_limits(map, "alice", 5, NULL, 0, NULL, 0));
    EQUAL(state_of(l, 0).amount, 1000);
    llmrl_limiter_free(l);
    EQUAL(llmrl_map_set_limits(map, "alice", 5, &other, 1, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strstr(message, "limits[0].") == message && strstr(message, "another kind"));
    EQUAL(llmrl_map_set_limits(map, "alice", 5, &none, 1, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strcmp(message, "limits[0].amount = 0 is outside 1..=1099511627775") == 0);
    EQUAL(llmrl_map_set_limits(map, "alice", 0, &larger, 1, message, sizeof message), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_set_limits(map, "alice", 5, &larger, 9, message, sizeof message), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_set_limits(map, NULL, 5, &larger, 1, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_set_limits(map, "alice", 5, NULL, 1, NULL, 0), LLMRL_ERR_NULL);
    llmrl_map_free(map);
    llmrl_clock_free(clock);
}

static void the_most_used(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 3);
    llmrl_map *map = map_of(&limit, 1, clock, 10, 0);
    llmrl_map_key top[3];
    llmrl_cost cost = cost_of(0, 0);
    llmrl_limiter *l;
    llmrl_permit ticket;
    size_t written = 0, n;
    const char *keys[3] = {"once", "thrice", "never"};
    const int times[3] = {1, 3, 0};
    int i;

    for (n = 0; n < 3; n++) {
        l = limiter_by(map, keys[n]);
        for (i = 0; i < times[n]; i++) OK(llmrl_try_acquire(l, &cost, NULL, NULL));
        llmrl_limiter_free(l);
    }
    OK(llmrl_map_top(map, LLMRL_BY_USE, top, sizeof top[0], 3, &written));
    EQUAL(written, 2);
    EQUAL(top[0].granted, 3);
    EQUAL(top[0].key_size, 6);
    CHECK(memcmp(top[0].key, "thrice\0", 7) == 0);
    OK(llmrl_map_top(map, LLMRL_BY_WAITING, top, sizeof top[0], 3, &written));
    EQUAL(written, 0);
    l = limiter_by(map, "thrice");
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &ticket, NULL), LLMRL_PENDING);
    OK(llmrl_map_top(map, LLMRL_BY_WAITING, top, sizeof top[0], 3, &written));
    EQUAL(written, 1);
    EQUAL(top[0].waiting, 1);
    EQUAL(llmrl_map_top(map, 2, top, sizeof top[0], 3, &written), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_top(map, LLMRL_BY_USE, top, sizeof top[0], 1001, &written), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_top(map, LLMRL_BY_USE, top, 0, 3, &written), LLMRL_ERR_SIZE);
    EQUAL(llmrl_map_top(map, LLMRL_BY_USE, NULL, sizeof top[0], 3, &written), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_top(map, LLMRL_BY_USE, top, sizeof top[0], 3, NULL), LLMRL_ERR_NULL);
    llmrl_limiter_free(l);
    llmrl_map_free(map);
    llmrl_clock_free(clock);
}

static void mistakes(void)
{
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 3), none = bucket(LLMRL_REQUESTS, 0);
    llmrl_map *map = NULL;
    llmrl_limiter *l = NULL;
    llmrl_map_stats stats;
    char message[128];

    EQUAL(llmrl_map_new(NULL, 1, NULL, 0, 10, 0, &map, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_new(&limit, 1, NULL, 0, 10, 0, NULL, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_new(&limit, 1, NULL, 0, 0, 0, &map, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strcmp(message, "capacity = 0 is outside 1..=16777216") == 0);
    EQUAL(llmrl_map_new(&limit, 1, NULL, 0, 10, 65537, &map, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strcmp(message, "shared limiters = 65537 is outside 0..=65536") == 0);
    EQUAL(llmrl_map_new(&none, 1, NULL, 0, 10, 0, &map, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(strcmp(message, "limits[0].amount = 0 is outside 1..=1099511627775") == 0);
    EQUAL(llmrl_map_new(&limit, 9, NULL, 0, 10, 0, &map, message, sizeof message), LLMRL_ERR_RANGE);
    CHECK(map == NULL);
    map = map_of(&limit, 1, NULL, 10, 0);
    EQUAL(llmrl_map_limiter(map, "", 0, &l, NULL), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_limiter(map, NULL, 0, &l, NULL), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_limiter(map, "k", LLMRL_MAX_KEY + 1, &l, NULL), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_limiter(map, "k", SIZE_MAX, &l, NULL), LLMRL_ERR_RANGE);
    EQUAL(llmrl_map_limiter(map, NULL, 1, &l, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_limiter(map, "k", 1, NULL, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_limiter(NULL, "k", 1, &l, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_get_stats(NULL, &stats, sizeof stats), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_get_stats(map, NULL, sizeof stats), LLMRL_ERR_NULL);
    EQUAL(llmrl_map_get_stats(map, &stats, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_map_close(NULL), LLMRL_ERR_NULL);
    {
        /* The other kind of map. */
        llmrl_bucket_map *buckets = NULL;
        const void *mistaken;
        OK(llmrl_bucket_map_new(&limit, 10, 0, NULL, &buckets, NULL, 0));
        mistaken = buckets;
        EQUAL(llmrl_map_close((const llmrl_map *)mistaken), LLMRL_ERR_HANDLE);
        mistaken = map;
        EQUAL(llmrl_bucket_map_try_take((const llmrl_bucket_map *)mistaken, "k", 1, 1, NULL), LLMRL_ERR_HANDLE);
        llmrl_bucket_map_free(buckets);
    }
    CHECK(l == NULL);
    llmrl_map_free(NULL);
    llmrl_map_free(map);
}

int main(void)
{
    each_key_has_its_own();
    a_handle_ends_what_it_took();
    room_is_made_of_what_is_as_new();
    limits_of_a_key();
    the_most_used();
    mistakes();
    return 0;
}
