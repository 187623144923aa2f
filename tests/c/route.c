/* The router: where keys belong, who admits, who waits for whom, and every mistake that can be told. */
#include "check.h"

/* A limiter of one request a second, and `burst` at once. */
static llmrl_limiter *node_of(llmrl_clock *clock, uint64_t burst, llmrl_wake_fn wake)
{
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 1);
    limit.period_ns = SECOND;
    limit.burst = burst;
    options.clock = clock;
    options.wake = wake;
    return limiter_of(&limit, 1, &options);
}

static llmrl_router_options no_router_options(void)
{
    llmrl_router_options options;
    memset(&options, 0, sizeof options);
    return options;
}

static llmrl_router *router_of(const llmrl_router_options *options)
{
    llmrl_router *r = NULL;
    OK(llmrl_router_new(options, sizeof *options, &r, NULL, 0));
    CHECK(r != NULL);
    return r;
}

static void add(const llmrl_router *r, const char *name, uint32_t weight, const llmrl_limiter *l, uint32_t number)
{
    uint32_t node = 77;
    char message[128];
    OK(llmrl_router_add(r, name, strlen(name), weight, l, &node, message, sizeof message));
    CHECK(message[0] == '\0');
    EQUAL(node, number);
}

static llmrl_routed blank(void)
{
    llmrl_routed routed;
    memset(&routed, 0x55, sizeof routed);
    return routed;
}

static llmrl_status try_it(const llmrl_router *r, const char *key, llmrl_routed *routed)
{
    llmrl_cost cost = cost_of(0, 0);
    *routed = blank();
    return llmrl_router_try_acquire(r, &cost, key, key ? strlen(key) : 0, routed, sizeof *routed);
}

static void keys_and_admissions(void)
{
    llmrl_router_options options = no_router_options();
    llmrl_clock *clock = clock_at(0);
    llmrl_limiter *east = node_of(clock, 2, NULL), *west = node_of(clock, 1, NULL);
    llmrl_router *r = router_of(&options);
    const llmrl_limiter *found = NULL;
    llmrl_routed routed;
    llmrl_cost cost = cost_of(0, 0);
    uint32_t node = 77, owner;

    EQUAL(llmrl_router_node_for(r, "key", 3, &node, &found), LLMRL_ERR_NODE);
    CHECK(node == 77 && found == NULL);
    EQUAL(try_it(r, "key", &routed), LLMRL_ERR_NODE);
    EQUAL(routed.permit, BOGUS);
    add(r, "east", 3, east, 0);
    add(r, "west", 1, west, 1);
    OK(llmrl_router_node_for(r, "tenant 17", 9, &node, &found));
    EQUAL(node, 0);
    CHECK(found == east);
    OK(llmrl_router_node_for(r, "", 0, NULL, NULL));
    OK(llmrl_router_node_for(r, NULL, 0, NULL, NULL));

    /* Twice at its own node, then at the other, then not now: and when, and where. */
    OK(try_it(r, "tenant 17", &routed));
    CHECK(routed.limiter == east && routed.node == 0 && routed.permit != 0);
    CHECK(routed.ticket == 0 && routed.wait_ns == 0 && routed.reserved0 == 0);
    EQUAL(llmrl_release(west, routed.permit), LLMRL_ERR_STALE);
    OK(llmrl_cancel(routed.limiter, routed.permit));
    OK(try_it(r, "tenant 17", &routed));
    OK(llmrl_settle(routed.limiter, routed.permit, &cost));
    OK(try_it(r, "tenant 17", &routed));
    OK(llmrl_release(east, routed.permit));
    OK(try_it(r, "tenant 17", &routed));
    CHECK(routed.limiter == west && routed.node == 1);
    OK(llmrl_release(west, routed.permit));
    OK(llmrl_limiter_charge(east, &cost));
    EQUAL(try_it(r, "tenant 17", &routed), LLMRL_REFUSED);
    CHECK(routed.permit == 0 && routed.limiter == west && routed.node == 1);
    EQUAL(routed.wait_ns, SECOND);

    /* A node without weight has no keys and gets nothing; one that is removed is not there. */
    OK(llmrl_router_set_weight(r, "east", 4, 0));
    OK(llmrl_router_node_for(r, "tenant 17", 9, &owner, NULL));
    EQUAL(owner, 1);
    OK(llmrl_router_remove(r, "east", 4));
    EQUAL(llmrl_router_remove(r, "east", 4), LLMRL_ERR_NODE);
    EQUAL(llmrl_router_set_weight(r, "east", 4, 1), LLMRL_ERR_NODE);
    EQUAL(llmrl_router_set_weight(r, "west", 4, 1000001), LLMRL_ERR_RANGE);
    add(r, "east", 1, east, 2);

    llmrl_router_free(r);
    EQUAL(state_of(east, 0).available, -1);
    llmrl_limiter_free(east);
    llmrl_limiter_free(west);
    llmrl_clock_free(clock);
}

static void the_ring_of_the_recipe(void)
{
    llmrl_router_options options = no_router_options();
    llmrl_clock *clock = clock_at(0);
    llmrl_limiter *l = node_of(clock, 1, NULL);
    llmrl_router *r;
    uint32_t node;

    options.replicas = 100;
    r = router_of(&options);
    add(r, "primary", 1, l, 0);
    add(r, "secondary", 1, l, 1);
    /* Where a point is, the key of the same name is. */
    OK(llmrl_router_node_for(r, "secondary:99", 12, &node, NULL));
    EQUAL(node, 1);
    OK(llmrl_router_node_for(r, "primary:0", 9, &node, NULL));
    EQUAL(node, 0);
    llmrl_router_free(r);
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

struct calls {
    llmrl_router *router;
    uint64_t ticket;
    int count;
    llmrl_status status;
    llmrl_routed routed;
    int polls;
};

static void called(void *context, llmrl_permit ticket)
{
    struct calls *calls = (struct calls *)context;
    calls->count++;
    calls->ticket = ticket;
    if (calls->polls)
        calls->status = llmrl_router_poll(calls->router, ticket, &calls->routed, sizeof calls->routed);
}

/* Somebody waits at two nodes; both grant; one permit. */
static void waiting(int polls)
{
    llmrl_router_options options = no_router_options();
    llmrl_clock *clock = clock_at(0);
    llmrl_limiter *nodes[2];
    struct calls calls;
    llmrl_cost one = cost_of(0, 0);
    llmrl_permit taken[2];
    llmrl_routed routed = blank();
    llmrl_limit limits[1];
    llmrl_options limiter_options = no_options();
    int i;

    memset(&calls, 0, sizeof calls);
    calls.polls = polls;
    limits[0] = in_flight(1);
    limiter_options.clock = clock;
    options.wake = called;
    options.wake_ctx = &calls;
    calls.router = router_of(&options);
    for (i = 0; i < 2; i++) {
        nodes[i] = limiter_of(limits, 1, &limiter_options);
        add(calls.router, i ? "b" : "a", 1, nodes[i], (uint32_t)i);
        OK(llmrl_try_acquire(nodes[i], &one, &taken[i], NULL));
    }
    EQUAL(llmrl_router_enqueue(calls.router, &one, NULL, 0, LLMRL_FOREVER, &routed, sizeof routed), LLMRL_PENDING);
    CHECK(routed.permit == 0 && routed.limiter == NULL && routed.ticket != 0);
    EQUAL(routed.wait_ns, LLMRL_FOREVER);
    EQUAL(llmrl_poll(nodes[0], routed.ticket, NULL), LLMRL_ERR_STALE);
    EQUAL(llmrl_router_poll(calls.router, routed.ticket, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_poll(calls.router, routed.ticket, &calls.routed, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_router_poll(calls.router, routed.ticket, &calls.routed, sizeof routed), LLMRL_PENDING);
    OK(llmrl_release(nodes[1], taken[1]));
    OK(llmrl_release(nodes[0], taken[0]));
    EQUAL(calls.count, 1);
    EQUAL(calls.ticket, routed.ticket);
    if (!polls) {
        EQUAL(state_of(nodes[0], 0).available, 0);
        EQUAL(state_of(nodes[1], 0).available, 0);
        calls.status = llmrl_router_poll(calls.router, routed.ticket, &calls.routed, sizeof routed);
    }
    OK(calls.status);
    EQUAL(state_of(nodes[0], 0).available + state_of(nodes[1], 0).available, 1);
    CHECK(calls.routed.limiter == nodes[calls.routed.node]);
    EQUAL(llmrl_router_poll(calls.router, routed.ticket, &routed, sizeof routed), LLMRL_ERR_STALE);
    EQUAL(llmrl_router_cancel(calls.router, routed.ticket), LLMRL_ERR_STALE);
    OK(llmrl_release(calls.routed.limiter, calls.routed.permit));

    /* Cancelled, timed out, and left behind with the router. */
    for (i = 0; i < 2; i++)
        OK(llmrl_try_acquire(nodes[i], &one, &taken[i], NULL));
    EQUAL(llmrl_router_enqueue(calls.router, &one, "k", 1, LLMRL_FOREVER, &routed, sizeof routed), LLMRL_PENDING);
    OK(llmrl_router_cancel(calls.router, routed.ticket));
    EQUAL(stats_of(nodes[0]).waiting, 0);
    calls.polls = 0;
    EQUAL(llmrl_router_enqueue(calls.router, &one, "k", 1, SECOND, &routed, sizeof routed), LLMRL_PENDING);
    OK(llmrl_clock_advance(clock, SECOND + 1));
    EQUAL(llmrl_router_poll(calls.router, routed.ticket, &routed, sizeof routed), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_router_enqueue(calls.router, &one, "k", 1, SECOND, &routed, sizeof routed), LLMRL_PENDING);
    EQUAL(stats_of(nodes[1]).waiting, 1);
    llmrl_router_free(calls.router);
    EQUAL(stats_of(nodes[1]).waiting, 0);
    for (i = 0; i < 2; i++) {
        OK(llmrl_release(nodes[i], taken[i]));
        llmrl_limiter_free(nodes[i]);
    }
    llmrl_clock_free(clock);
}

/* A limiter that is freed while it is a node is passed over, and so is everything about it. */
static void a_node_is_freed(void)
{
    llmrl_router_options options = no_router_options();
    llmrl_clock *clock = clock_at(0);
    llmrl_limiter *gone = node_of(clock, 9, NULL), *stays = node_of(clock, 9, NULL);
    llmrl_router *r = router_of(&options);
    llmrl_routed routed;
    llmrl_cost much = cost_of(0, 0);
    int i;

    add(r, "gone", 1000000, gone, 0);
    add(r, "stays", 1, stays, 1);
    llmrl_limiter_free(gone);
    for (i = 0; i < 9; i++) {
        OK(try_it(r, "key", &routed));
        CHECK(routed.limiter == stays);
        OK(llmrl_release(stays, routed.permit));
    }
    much.requests = 10;
    EQUAL(llmrl_router_acquire(r, &much, NULL, 0, LLMRL_FOREVER, &routed, sizeof routed), LLMRL_ERR_NEVER);
    OK(llmrl_limiter_close(stays));
    EQUAL(try_it(r, "key", &routed), LLMRL_ERR_CLOSED);
    llmrl_router_free(r);
    llmrl_limiter_free(stays);
    llmrl_clock_free(clock);
}

/* The node that admits has no room for the permit: nothing is taken. */
static void no_room_for_a_permit(void)
{
    llmrl_router_options options = no_router_options();
    llmrl_options small = no_options();
    llmrl_limit limit = bucket(LLMRL_REQUESTS, 100);
    llmrl_limiter *l;
    llmrl_router *r = router_of(&options);
    llmrl_routed first, second, third;

    small.max_waiters = 1;
    small.max_permits = 1;
    l = limiter_of(&limit, 1, &small);
    add(r, "only", 1, l, 0);
    OK(try_it(r, NULL, &first));
    OK(try_it(r, NULL, &second));
    EQUAL(try_it(r, NULL, &third), LLMRL_ERR_FULL);
    EQUAL(third.permit, BOGUS);
    EQUAL(state_of(l, 0).available, 98);
    OK(llmrl_release(l, first.permit));
    OK(try_it(r, NULL, &third));
    llmrl_router_free(r);
    llmrl_limiter_free(l);
}

static void says(llmrl_status status, llmrl_status want, const char *message, const char *words)
{
    EQUAL(status, want);
    if (strstr(message, words) == NULL) {
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", message, words);
        exit(1);
    }
}

static void mistakes(void)
{
    llmrl_router_options options = no_router_options();
    llmrl_clock *clock = clock_at(0);
    llmrl_limiter *l = node_of(clock, 5, NULL);
    llmrl_router *r = NULL, *none = NULL;
    const llmrl_router *wrong;
    llmrl_cost cost = cost_of(0, 0), bad = cost_of(0, 0);
    llmrl_routed routed = blank();
    char message[128], name[256];
    uint64_t grown[16];
    uint32_t node = 77;

    memset(name, 'n', sizeof name);
    EQUAL(llmrl_router_new(NULL, 0, NULL, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_new(&options, 0, &none, NULL, 0), LLMRL_ERR_SIZE);
    options.flags = 1;
    says(llmrl_router_new(&options, sizeof options, &none, message, sizeof message), LLMRL_ERR_FLAGS, message,
         "options.flags");
    options.flags = 0;
    options.replicas = 10001;
    says(llmrl_router_new(&options, sizeof options, &none, message, sizeof message), LLMRL_ERR_RANGE, message,
         "options.replicas = 10001 is outside 1..=10000");
    CHECK(none == NULL);
    OK(llmrl_router_new(NULL, 0, &r, message, sizeof message));
    CHECK(message[0] == '\0');

    EQUAL(llmrl_router_add(NULL, name, 1, 1, l, &node, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_add(r, NULL, 1, 1, l, &node, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_add(r, name, 1, 1, NULL, &node, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_add(r, name, 1, 1, (const llmrl_limiter *)(const void *)clock, &node, NULL, 0), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_router_add(r, name, SIZE_MAX, 1, l, &node, NULL, 0), LLMRL_ERR_SIZE);
    says(llmrl_router_add(r, name, 0, 1, l, &node, message, sizeof message), LLMRL_ERR_RANGE, message,
         "name (bytes) = 0 is outside 1..=255");
    says(llmrl_router_add(r, name, 256, 1, l, &node, message, sizeof message), LLMRL_ERR_RANGE, message,
         "name (bytes) = 256 is outside 1..=255");
    says(llmrl_router_add(r, name, 1, 1000001, l, &node, message, sizeof message), LLMRL_ERR_RANGE, message,
         "weight = 1000001 is outside 0..=1000000");
    EQUAL(node, 77);
    OK(llmrl_router_add(r, name, 255, 1, l, NULL, NULL, 0));
    says(llmrl_router_add(r, name, 255, 1, l, &node, message, sizeof message), LLMRL_ERR_RANGE, message,
         "nodes of that name = 2 is outside 1..=1");
    OK(llmrl_router_add(r, name, 1, 0, l, &node, NULL, 0));
    EQUAL(node, 1);

    EQUAL(llmrl_router_remove(r, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_remove(NULL, name, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_remove(r, name, 0), LLMRL_ERR_NODE);
    EQUAL(llmrl_router_set_weight(NULL, name, 1, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_set_weight(r, NULL, 1, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_node_for(NULL, name, 1, &node, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_node_for(r, NULL, 1, &node, NULL), LLMRL_ERR_NULL);

    bad.reserved[0] = 1;
    EQUAL(llmrl_router_try_acquire(NULL, &cost, NULL, 0, &routed, sizeof routed), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_try_acquire(r, NULL, NULL, 0, &routed, sizeof routed), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_try_acquire(r, &cost, NULL, 1, &routed, sizeof routed), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_try_acquire(r, &cost, NULL, 0, NULL, sizeof routed), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_try_acquire(r, &cost, NULL, 0, &routed, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_router_try_acquire(r, &cost, NULL, 0, &routed, 4097), LLMRL_ERR_SIZE);
    EQUAL(llmrl_router_try_acquire(r, &bad, NULL, 0, &routed, sizeof routed), LLMRL_ERR_FLAGS);
    bad = cost_of(0, 0);
    bad.requests = 0;
    EQUAL(llmrl_router_try_acquire(r, &bad, NULL, 0, &routed, sizeof routed), LLMRL_ERR_COST);
    EQUAL(llmrl_router_acquire(NULL, &cost, NULL, 0, 0, &routed, sizeof routed), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_acquire(r, &bad, NULL, 0, 0, &routed, sizeof routed), LLMRL_ERR_COST);
    EQUAL(llmrl_router_acquire(r, &cost, NULL, 0, 0, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_enqueue(NULL, &cost, NULL, 0, 0, &routed, sizeof routed), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_enqueue(r, &bad, NULL, 0, 0, &routed, sizeof routed), LLMRL_ERR_COST);
    EQUAL(llmrl_router_enqueue(r, &cost, NULL, 0, 0, &routed, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_router_poll(NULL, 1, &routed, sizeof routed), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_poll(r, BOGUS, &routed, sizeof routed), LLMRL_ERR_STALE);
    EQUAL(llmrl_router_poll(r, 0, &routed, sizeof routed), LLMRL_ERR_STALE);
    EQUAL(llmrl_router_cancel(NULL, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_router_cancel(r, BOGUS), LLMRL_ERR_STALE);
    EQUAL(routed.permit, BOGUS);
    EQUAL(state_of(l, 0).available, 5);

    /* A caller of an older version has less room, one of a newer version more. */
    memset(grown, 0x55, sizeof grown);
    OK(llmrl_router_try_acquire(r, &cost, NULL, 0, (llmrl_routed *)(void *)grown, 8));
    CHECK(grown[0] != BOGUS && grown[1] == BOGUS);
    OK(llmrl_router_try_acquire(r, &cost, NULL, 0, (llmrl_routed *)(void *)grown, sizeof grown));
    CHECK(grown[1] == 0 && grown[15] == 0);

    /* Not an object of this kind, and not freed as one. */
    wrong = (const llmrl_router *)(const void *)l;
    EQUAL(llmrl_router_node_for(wrong, name, 1, &node, NULL), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_limiter_close((const llmrl_limiter *)(const void *)r), LLMRL_ERR_HANDLE);
    llmrl_router_free((llmrl_router *)(void *)l);
    llmrl_limiter_free((llmrl_limiter *)(void *)r);
    llmrl_router_free(NULL);
    EQUAL(state_of(l, 0).available, 3);
    llmrl_router_free(r);
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

int main(void)
{
    keys_and_admissions();
    the_ring_of_the_recipe();
    waiting(0);
    waiting(1);
    a_node_is_freed();
    no_room_for_a_permit();
    mistakes();
    return 0;
}
