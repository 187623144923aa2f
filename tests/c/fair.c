/* The fair queue: shares by weight, batch, passing, who is called, and every mistake that can be told. */
#define _DEFAULT_SOURCE
#include "check.h"
#include <pthread.h>
#include <sched.h>

/* One limiter of 100 tokens a second, none of which are left. */
typedef struct story {
    llmrl_clock *clock;
    llmrl_limiter *limiter;
    llmrl_fair *fair;
} story;

static llmrl_fair_options no_fair_options(void)
{
    llmrl_fair_options options;
    memset(&options, 0, sizeof options);
    return options;
}

static story begin(const llmrl_fair_options *options)
{
    llmrl_options limiter_options = no_options();
    llmrl_limit limit = bucket(LLMRL_TOKENS, 100);
    llmrl_cost all = cost_of(100, 0);
    char message[128];
    story s;

    limit.period_ns = SECOND;
    s.clock = clock_at(0);
    limiter_options.clock = s.clock;
    s.limiter = limiter_of(&limit, 1, &limiter_options);
    OK(llmrl_limiter_charge(s.limiter, &all));
    s.fair = NULL;
    OK(llmrl_fair_new(s.limiter, options, sizeof *options, &s.fair, message, sizeof message));
    CHECK(s.fair != NULL && message[0] == '\0');
    return s;
}

static story begin_plainly(void)
{
    llmrl_fair_options options = no_fair_options();
    return begin(&options);
}

static void end(story *s)
{
    llmrl_fair_free(s->fair);
    llmrl_limiter_free(s->limiter);
    llmrl_clock_free(s->clock);
}

static llmrl_share share_of(const char *key, uint32_t weight, uint32_t flags)
{
    llmrl_share share;
    memset(&share, 0, sizeof share);
    share.key = key;
    share.key_size = strlen(key);
    share.weight = weight;
    share.flags = flags;
    return share;
}

static llmrl_fair_stats fair_stats(const llmrl_fair *f)
{
    llmrl_fair_stats stats;
    OK(llmrl_fair_get_stats(f, &stats, sizeof stats));
    return stats;
}

/* A request that has to wait. */
static llmrl_permit joins(const llmrl_fair *f, llmrl_share share, uint64_t tokens)
{
    llmrl_cost cost = cost_of(tokens, 0);
    llmrl_permit ticket = BOGUS;
    EQUAL(llmrl_fair_enqueue(f, &cost, &share, LLMRL_FOREVER, &ticket, NULL), LLMRL_PENDING);
    CHECK(ticket != BOGUS && ticket != 0);
    return ticket;
}

/* As many of the tickets are held by now. */
static int held(const llmrl_fair *f, const llmrl_permit *tickets, int count)
{
    int i, sum = 0;
    for (i = 0; i < count; i++)
        sum += llmrl_fair_poll(f, tickets[i], NULL) == LLMRL_OK;
    return sum;
}

static void three_to_one(void)
{
    enum { EACH = 40 };
    story s = begin_plainly();
    llmrl_permit large[EACH], small[EACH];
    int i, second;

    for (i = 0; i < EACH; i++)
        large[i] = joins(s.fair, share_of("large", 3, 0), 10);
    for (i = 0; i < EACH; i++)
        small[i] = joins(s.fair, share_of("small", 0, 0), 10);
    EQUAL(fair_stats(s.fair).waiting, 2 * EACH);
    EQUAL(fair_stats(s.fair).keys, 2);
    for (second = 1; second <= 4; second++) {
        int first, others;
        OK(llmrl_clock_advance(s.clock, SECOND));
        first = held(s.fair, large, EACH);
        others = held(s.fair, small, EACH);
        EQUAL(first + others, 10 * second);
        /* To within one request of each. */
        CHECK(4 * first >= 30 * second - 4 && 4 * first <= 30 * second + 4);
    }
    /* What one does not use goes to the other. */
    OK(llmrl_clock_advance(s.clock, SECOND));
    for (i = 0; i < EACH; i++)
        OK(llmrl_fair_cancel(s.fair, large[i]));
    EQUAL(fair_stats(s.fair).keys, 1);
    for (i = 0; i < 4; i++) {
        OK(llmrl_clock_advance(s.clock, SECOND));
        held(s.fair, small, EACH);
    }
    EQUAL(held(s.fair, small, EACH), EACH);
    EQUAL(fair_stats(s.fair).waiting, 0);
    end(&s);
}

/* A permit that is settled with more than its estimate costs its key the next turns. */
static void settling_puts_the_share_right(void)
{
    story s = begin_plainly();
    llmrl_permit hot[3], calm[3];
    llmrl_cost used = cost_of(30, 0), none = cost_of(0, 0);
    int i;

    for (i = 0; i < 3; i++) {
        hot[i] = joins(s.fair, share_of("hot", 1, 0), 10);
        calm[i] = joins(s.fair, share_of("calm", 1, 0), 10);
    }
    OK(llmrl_clock_advance(s.clock, SECOND / 10));
    OK(llmrl_fair_poll(s.fair, hot[0], NULL));
    OK(llmrl_fair_adjust(s.fair, hot[0], &none));
    OK(llmrl_fair_settle(s.fair, hot[0], &used));
    /* 20 tokens are owed, and then it is calm's turn, and calm's again. */
    OK(llmrl_clock_advance(s.clock, SECOND * 4 / 10));
    EQUAL(held(s.fair, calm, 3), 2);
    EQUAL(held(s.fair, hot + 1, 2), 0);
    /* Cancelled, they were free. */
    OK(llmrl_fair_cancel(s.fair, calm[0]));
    OK(llmrl_fair_cancel(s.fair, calm[1]));
    OK(llmrl_clock_advance(s.clock, SECOND));
    EQUAL(held(s.fair, calm + 2, 1), 1);
    EQUAL(held(s.fair, hot + 1, 2), 2);
    end(&s);
}

static void batch_comes_after(void)
{
    llmrl_fair_options options = no_fair_options();
    llmrl_permit night, day, late;
    story s;

    options.aging_ns = 10 * SECOND;
    s = begin(&options);
    night = joins(s.fair, share_of("night", 1000000, LLMRL_BATCH), 50);
    day = joins(s.fair, share_of("day", 1, 0), 50);
    EQUAL(fair_stats(s.fair).batch, 1);
    OK(llmrl_clock_advance(s.clock, SECOND / 2));
    EQUAL(llmrl_fair_poll(s.fair, night, NULL), LLMRL_PENDING);
    OK(llmrl_fair_poll(s.fair, day, NULL));
    OK(llmrl_clock_advance(s.clock, SECOND / 2));
    OK(llmrl_fair_poll(s.fair, night, NULL));
    EQUAL(fair_stats(s.fair).aged, 0);
    /* Long enough there, it has its turn among the others. */
    {
        llmrl_cost debt = cost_of(1000, 0);
        OK(llmrl_limiter_charge(s.limiter, &debt));
    }
    night = joins(s.fair, share_of("night", 1, LLMRL_BATCH), 50);
    OK(llmrl_clock_advance(s.clock, 10 * SECOND));
    EQUAL(llmrl_fair_poll(s.fair, night, NULL), LLMRL_PENDING);
    EQUAL(fair_stats(s.fair).aged, 1);
    EQUAL(fair_stats(s.fair).batch, 0);
    late = joins(s.fair, share_of("day", 1, 0), 50);
    OK(llmrl_clock_advance(s.clock, SECOND / 2));
    OK(llmrl_fair_poll(s.fair, night, NULL));
    EQUAL(llmrl_fair_poll(s.fair, late, NULL), LLMRL_PENDING);
    end(&s);

    /* Never. */
    options.aging_ns = LLMRL_FOREVER;
    s = begin(&options);
    night = joins(s.fair, share_of("night", 1, LLMRL_BATCH), 50);
    OK(llmrl_limiter_pause(s.limiter, 0, 1000 * MINUTE));
    OK(llmrl_clock_advance(s.clock, 999 * MINUTE));
    EQUAL(llmrl_fair_poll(s.fair, night, NULL), LLMRL_PENDING);
    EQUAL(fair_stats(s.fair).batch, 1);
    end(&s);
}

static void small_ones_pass(void)
{
    llmrl_fair_options options = no_fair_options();
    llmrl_permit large, small[3];
    llmrl_cost one;
    story s;
    int i, passes;

    for (passes = 0; passes <= 2; passes += 2) {
        options.passes = (uint32_t)passes;
        s = begin(&options);
        large = joins(s.fair, share_of("large", 1, 0), 80);
        for (i = 0; i < 3; i++)
            small[i] = joins(s.fair, share_of("small", 1, 0), 10);
        OK(llmrl_clock_advance(s.clock, SECOND / 2));
        EQUAL(llmrl_fair_poll(s.fair, large, NULL), LLMRL_PENDING);
        EQUAL(held(s.fair, small, 3), passes);
        EQUAL(fair_stats(s.fair).passed, passes);
        /* Nobody passes who does not stand there. */
        one = cost_of(1, 0);
        {
            llmrl_permit permit = BOGUS;
            uint64_t wait_ns = BOGUS;
            EQUAL(llmrl_fair_try_acquire(s.fair, &one, &permit, &wait_ns), LLMRL_REFUSED);
            EQUAL(permit, BOGUS);
            CHECK(wait_ns != BOGUS && wait_ns > 0);
        }
        OK(llmrl_clock_advance(s.clock, SECOND / 2));
        OK(llmrl_fair_poll(s.fair, large, NULL));
        end(&s);
    }
}

struct calls {
    llmrl_fair *fair;
    llmrl_permit ticket;
    int count, polls;
    llmrl_status status;
};

static void called(void *context, llmrl_permit ticket)
{
    struct calls *calls = (struct calls *)context;
    calls->count++;
    calls->ticket = ticket;
    if (calls->polls)
        calls->status = llmrl_fair_poll(calls->fair, ticket, NULL);
}

static void calls_name_the_ticket(int polls)
{
    llmrl_fair_options options = no_fair_options();
    struct calls calls;
    llmrl_permit first, second;
    llmrl_share share = share_of("first", 1, 0);
    llmrl_cost cost = cost_of(10, 0);
    uint64_t wait_ns = BOGUS;
    story s;

    memset(&calls, 0, sizeof calls);
    options.wake = called;
    options.wake_ctx = &calls;
    s = begin(&options);
    calls.fair = s.fair;
    calls.polls = polls;
    EQUAL(llmrl_fair_enqueue(s.fair, &cost, &share, LLMRL_FOREVER, &first, &wait_ns), LLMRL_PENDING);
    EQUAL(wait_ns, SECOND / 10);
    EQUAL(calls.count, 0);
    OK(llmrl_clock_advance(s.clock, SECOND / 10));
    EQUAL(calls.count, 1);
    EQUAL(calls.ticket, first);
    if (polls)
        OK(calls.status);
    OK(llmrl_fair_poll(s.fair, first, &wait_ns));
    /* The second is called when it becomes the first. */
    first = joins(s.fair, share, 10);
    second = joins(s.fair, share, 20);
    calls.count = 0;
    OK(llmrl_fair_cancel(s.fair, first));
    EQUAL(calls.count, 1);
    EQUAL(calls.ticket, second);
    EQUAL(llmrl_fair_poll(s.fair, second, &wait_ns), LLMRL_PENDING);
    EQUAL(wait_ns, SECOND / 5);
    OK(llmrl_clock_advance(s.clock, SECOND / 5));
    EQUAL(calls.ticket, second);
    OK(llmrl_fair_poll(s.fair, second, NULL));
    end(&s);
}

static void too_late(void)
{
    llmrl_share share = share_of("alice", 1, 0);
    llmrl_cost cost = cost_of(50, 0);
    llmrl_permit first, second, ticket = BOGUS;
    story s = begin_plainly();

    /* Known at once. */
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &share, SECOND / 4, &ticket), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_fair_enqueue(s.fair, &cost, &share, SECOND / 4, &ticket, NULL), LLMRL_ERR_DEADLINE);
    EQUAL(ticket, BOGUS);
    /* As it turns out. */
    first = joins(s.fair, share, 100);
    EQUAL(llmrl_fair_enqueue(s.fair, &cost, &share, SECOND / 2, &second, NULL), LLMRL_PENDING);
    OK(llmrl_clock_advance(s.clock, SECOND / 2 + 1));
    EQUAL(llmrl_fair_poll(s.fair, second, NULL), LLMRL_ERR_DEADLINE);
    EQUAL(llmrl_fair_poll(s.fair, second, NULL), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_cancel(s.fair, second), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_poll(s.fair, first, NULL), LLMRL_PENDING);
    /* Closed. */
    OK(llmrl_limiter_close(s.limiter));
    EQUAL(llmrl_fair_poll(s.fair, first, NULL), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_fair_enqueue(s.fair, &cost, &share, LLMRL_FOREVER, &ticket, NULL), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &share, LLMRL_FOREVER, &ticket), LLMRL_ERR_CLOSED);
    EQUAL(llmrl_fair_try_acquire(s.fair, &cost, &ticket, NULL), LLMRL_ERR_CLOSED);
    EQUAL(ticket, BOGUS);
    end(&s);
}

static void the_limiter_learns(void)
{
    llmrl_share share = share_of("alice", 1, 0);
    llmrl_cost cost = cost_of(50, 0);
    llmrl_answer answer;
    llmrl_advice advice;
    llmrl_header header = {"retry-after-ms", 14, "2500", 4};
    llmrl_permit permit;
    story s = begin_plainly();

    OK(llmrl_clock_advance(s.clock, SECOND));
    OK(llmrl_fair_acquire(s.fair, &cost, &share, 0, &permit));
    memset(&answer, 0, sizeof answer);
    answer.status = 429;
    answer.headers = &header;
    answer.header_count = 1;
    EQUAL(llmrl_fair_feedback(s.fair, permit, NULL, 0, &advice, sizeof advice), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_feedback(s.fair, permit, &answer, sizeof answer, &advice, 0), LLMRL_ERR_SIZE);
    OK(llmrl_fair_feedback(s.fair, permit, &answer, sizeof answer, &advice, sizeof advice));
    EQUAL(advice.answer_class, LLMRL_CLASS_RATE);
    EQUAL(advice.flags, LLMRL_ADVICE_RETRY);
    CHECK(state_of(s.limiter, 0).available < 0);
    OK(llmrl_fair_release(s.fair, permit));
    EQUAL(llmrl_fair_feedback(s.fair, permit, &answer, sizeof answer, NULL, 0), LLMRL_ERR_STALE);
    end(&s);
}

/* Freed with a ticket and a permit: both end, and the limiter goes on. */
static void freed_with_a_ticket(void)
{
    llmrl_options limiter_options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_limiter *l = limiter_of(&limit, 1, &limiter_options);
    llmrl_fair_options options = no_fair_options();
    llmrl_share share = share_of("alice", 1, 0);
    llmrl_cost cost = cost_of(1, 0);
    struct calls calls;
    llmrl_permit permit;
    llmrl_fair *f = NULL;

    memset(&calls, 0, sizeof calls);
    options.wake = called;
    options.wake_ctx = &calls;
    OK(llmrl_fair_new(l, &options, sizeof options, &f, NULL, 0));
    OK(llmrl_fair_enqueue(f, &cost, &share, LLMRL_FOREVER, &permit, NULL));
    joins(f, share, 1);
    EQUAL(stats_of(l).in_flight, 1);
    EQUAL(stats_of(l).waiting, 1);
    llmrl_fair_free(f);
    EQUAL(stats_of(l).in_flight, 0);
    EQUAL(stats_of(l).waiting, 0);
    calls.count = 0;
    OK(llmrl_try_acquire(l, &cost, &permit, NULL));
    OK(llmrl_release(l, permit));
    EQUAL(calls.count, 0);
    llmrl_limiter_free(l);
}

/* The handle is freed before the queue: the limiter of a map goes on, another one is closed. */
static void handles_are_freed(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_TOKENS, 100);
    llmrl_limiter *alice = NULL, *bob = NULL, *alone;
    llmrl_map *map = NULL;
    llmrl_fair *f = NULL;
    llmrl_share share = share_of("job", 1, 0);
    llmrl_cost cost = cost_of(100, 0);
    llmrl_permit permit, ticket;

    options.clock = clock;
    OK(llmrl_map_new(&limit, 1, &options, sizeof options, 1, 0, &map, NULL, 0));
    OK(llmrl_map_limiter(map, "alice", 5, &alice, NULL));
    OK(llmrl_fair_new(alice, NULL, 0, &f, NULL, 0));
    llmrl_limiter_free(alice);
    EQUAL(llmrl_map_limiter(map, "bob", 3, &bob, NULL), LLMRL_ERR_FULL);
    OK(llmrl_fair_acquire(f, &cost, &share, LLMRL_FOREVER, &permit));
    OK(llmrl_fair_release(f, permit));
    llmrl_fair_free(f);
    OK(llmrl_clock_advance(clock, MINUTE));
    OK(llmrl_map_limiter(map, "bob", 3, &bob, NULL));
    llmrl_limiter_free(bob);
    llmrl_map_free(map);

    alone = limiter_of(&limit, 1, &options);
    OK(llmrl_fair_new(alone, NULL, 0, &f, NULL, 0));
    OK(llmrl_fair_acquire(f, &cost, &share, LLMRL_FOREVER, &permit));
    ticket = joins(f, share, 1);
    llmrl_limiter_free(alone);
    EQUAL(llmrl_fair_poll(f, ticket, NULL), LLMRL_ERR_CLOSED);
    OK(llmrl_fair_settle(f, permit, &cost));
    EQUAL(llmrl_fair_try_acquire(f, &cost, &permit, NULL), LLMRL_ERR_CLOSED);
    llmrl_fair_free(f);
    llmrl_clock_free(clock);
}

typedef struct worker {
    pthread_t thread;
    const llmrl_fair *fair;
    llmrl_status status;
    llmrl_permit permit;
} worker;

static void *work(void *argument)
{
    worker *w = (worker *)argument;
    llmrl_cost cost = cost_of(50, 0);
    llmrl_share share = share_of("worker", 1, 0);
    w->permit = BOGUS;
    w->status = llmrl_fair_acquire(w->fair, &cost, &share, LLMRL_FOREVER, &w->permit);
    return NULL;
}

/* A thread that waits: for its turn, until the limiter is closed, and while the queue is freed. */
static void threads(void)
{
    enum { TURN, CLOSED, FREED };
    int how;

    for (how = TURN; how <= FREED; how++) {
        story s = begin_plainly();
        worker w;

        memset(&w, 0, sizeof w);
        w.fair = s.fair;
        EQUAL(pthread_create(&w.thread, NULL, work, &w), 0);
        while (stats_of(s.limiter).waiting != 1)
            sched_yield();
        if (how == FREED) {
            llmrl_fair_free(s.fair);
            s.fair = NULL;
        }
        if (how == CLOSED)
            OK(llmrl_limiter_close(s.limiter));
        else
            OK(llmrl_clock_advance(s.clock, SECOND / 2));
        EQUAL(pthread_join(w.thread, NULL), 0);
        if (how == TURN) {
            OK(w.status);
            OK(llmrl_fair_cancel(s.fair, w.permit));
        } else {
            EQUAL(w.status, LLMRL_ERR_CLOSED);
            EQUAL(w.permit, BOGUS);
        }
        EQUAL(state_of(s.limiter, 0).available, how == CLOSED ? 0 : 50);
        EQUAL(stats_of(s.limiter).waiting, 0);
        end(&s);
    }
}

typedef struct one_of_many {
    pthread_t thread;
    const llmrl_fair *fair;
    unsigned seed;
} one_of_many;

/* Asks in every way, and ends in every way. */
static void *ask(void *argument)
{
    one_of_many *me = (one_of_many *)argument;
    llmrl_cost cost = cost_of(1, 0);
    llmrl_status status;
    int i;

    for (i = 0; i < 400; i++) {
        llmrl_permit permit = BOGUS;
        llmrl_share share;
        unsigned way = me->seed = me->seed * 1103515245u + 12345u;
        way >>= 16;
        share = share_of(way % 7 ? "hot" : "calm", 1 + way % 3, way % 11 ? 0 : LLMRL_BATCH);
        if (way % 3 == 0)
            status = llmrl_fair_try_acquire(me->fair, &cost, &permit, NULL);
        else if (way % 3 == 1)
            status = llmrl_fair_acquire(me->fair, &cost, &share, LLMRL_FOREVER, &permit);
        else
            status = llmrl_fair_enqueue(me->fair, &cost, &share, LLMRL_FOREVER, &permit, NULL);
        if (status == LLMRL_PENDING && way % 2) {
            OK(llmrl_fair_cancel(me->fair, permit));
            continue;
        }
        while (status == LLMRL_PENDING) {
            sched_yield();
            status = llmrl_fair_poll(me->fair, permit, NULL);
        }
        if (status == LLMRL_REFUSED)
            continue;
        OK(status);
        if (way % 5 == 0)
            OK(llmrl_fair_cancel(me->fair, permit));
        else if (way % 5 == 1)
            OK(llmrl_fair_settle(me->fair, permit, &cost));
        else
            OK(llmrl_fair_release(me->fair, permit));
        EQUAL(llmrl_fair_release(me->fair, permit), LLMRL_ERR_STALE);
    }
    return NULL;
}

/* Fewer slots than threads: nobody hangs, and every slot comes back. */
static void a_crowd(void)
{
    enum { CROWD = 4 };
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(2);
    llmrl_limiter *l = limiter_of(&limit, 1, &options);
    llmrl_fair *f = NULL;
    one_of_many crowd[CROWD];
    int i;

    OK(llmrl_fair_new(l, NULL, 0, &f, NULL, 0));
    for (i = 0; i < CROWD; i++) {
        crowd[i].fair = f;
        crowd[i].seed = (unsigned)i + 1;
        EQUAL(pthread_create(&crowd[i].thread, NULL, ask, &crowd[i]), 0);
    }
    for (i = 0; i < CROWD; i++)
        EQUAL(pthread_join(crowd[i].thread, NULL), 0);
    EQUAL(stats_of(l).in_flight + stats_of(l).waiting, 0);
    EQUAL(fair_stats(f).waiting, 0);
    llmrl_fair_free(f);
    llmrl_limiter_free(l);
}

static void message_says(llmrl_status status, llmrl_status want, const char *message, const char *words)
{
    EQUAL(status, want);
    if (strcmp(message, words) != 0) {
        fprintf(stderr, "\"%s\" is not \"%s\"\n", message, words);
        exit(1);
    }
}

static void mistakes_in_the_making(void)
{
    llmrl_fair_options options = no_fair_options();
    llmrl_limiter *l = plain();
    llmrl_fair *f = NULL;
    uint64_t grown[8];
    char message[128];

    EQUAL(llmrl_fair_new(NULL, NULL, 0, &f, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_new(l, NULL, 0, NULL, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_new(l, &options, 0, &f, NULL, 0), LLMRL_ERR_SIZE);
    options.flags = 1;
    message_says(llmrl_fair_new(l, &options, sizeof options, &f, message, sizeof message), LLMRL_ERR_FLAGS, message,
                 "options.flags has unknown bits");
    options.flags = 0;
    options.max_waiters = 1048577;
    message_says(llmrl_fair_new(l, &options, sizeof options, &f, message, sizeof message), LLMRL_ERR_RANGE, message,
                 "options.max_waiters = 1048577 is outside 0..=1048576");
    options.max_waiters = 0;
    options.max_permits = 1048577;
    message_says(llmrl_fair_new(l, &options, sizeof options, &f, message, sizeof message), LLMRL_ERR_RANGE, message,
                 "options.max_permits = 1048577 is outside 0..=1048576");
    CHECK(f == NULL);
    /* Of a later version, which asks for nothing that this one does not know. */
    memset(grown, 0, sizeof grown);
    OK(llmrl_fair_new(l, (const llmrl_fair_options *)(const void *)grown, sizeof grown, &f, message, sizeof message));
    llmrl_fair_free(f);
    grown[7] = 1;
    EQUAL(llmrl_fair_new(l, (const llmrl_fair_options *)(const void *)grown, sizeof grown, &f, NULL, 0), LLMRL_ERR_SIZE);
    OK(llmrl_fair_new(l, NULL, 0, &f, message, sizeof message));
    CHECK(message[0] == '\0');

    /* Not an object of this kind, and not freed as one. */
    EQUAL(llmrl_fair_cancel((const llmrl_fair *)(const void *)l, 1), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_limiter_close((const llmrl_limiter *)(const void *)f), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_chain_cancel((const llmrl_chain *)(const void *)f, 1), LLMRL_ERR_HANDLE);
    {
        llmrl_fair *other = NULL;
        EQUAL(llmrl_fair_new((const llmrl_limiter *)(const void *)f, NULL, 0, &other, NULL, 0), LLMRL_ERR_HANDLE);
        CHECK(other == NULL);
    }
    llmrl_fair_free((llmrl_fair *)(void *)l);
    llmrl_limiter_free((llmrl_limiter *)(void *)f);
    llmrl_fair_free(NULL);
    EQUAL(state_of(l, 0).available, 100);
    llmrl_fair_free(f);
    llmrl_limiter_free(l);
}

static void mistakes(void)
{
    story s = begin_plainly(), other = begin_plainly();
    llmrl_cost cost = cost_of(10, 0), bad = cost_of(10, 0), none = cost_of(10, 0), much = cost_of(101, 0);
    llmrl_share share = share_of("alice", 1, 0), wrong = share;
    llmrl_fair_options options = no_fair_options();
    llmrl_permit permit = BOGUS, ticket, stale;
    llmrl_fair_stats stats;
    char key[1025];

    bad.reserved[1] = 1;
    none.requests = 0;
    EQUAL(llmrl_fair_acquire(NULL, &cost, &share, 0, &permit), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_acquire(s.fair, NULL, &share, 0, &permit), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_acquire(s.fair, &cost, NULL, 0, &permit), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &share, 0, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_acquire(s.fair, &bad, &share, 0, &permit), LLMRL_ERR_FLAGS);
    EQUAL(llmrl_fair_acquire(s.fair, &none, &share, 0, &permit), LLMRL_ERR_COST);
    EQUAL(llmrl_fair_acquire(s.fair, &much, &share, LLMRL_FOREVER, &permit), LLMRL_ERR_NEVER);
    EQUAL(llmrl_fair_enqueue(s.fair, &cost, &share, 0, NULL, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_enqueue(s.fair, &cost, NULL, 0, &permit, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_enqueue(s.fair, &none, &share, 0, &permit, NULL), LLMRL_ERR_COST);
    EQUAL(llmrl_fair_try_acquire(s.fair, &cost, NULL, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_try_acquire(s.fair, &none, &permit, NULL), LLMRL_ERR_COST);
    EQUAL(llmrl_fair_try_acquire(s.fair, &much, &permit, NULL), LLMRL_ERR_NEVER);
    wrong.flags = LLMRL_BATCH | 2;
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &wrong, 0, &permit), LLMRL_ERR_FLAGS);
    wrong = share;
    wrong.weight = LLMRL_MAX_SHARE_WEIGHT + 1;
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &wrong, 0, &permit), LLMRL_ERR_RANGE);
    wrong = share;
    wrong.key = NULL;
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &wrong, 0, &permit), LLMRL_ERR_NULL);
    wrong = share;
    wrong.key_size = 0;
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &wrong, 0, &permit), LLMRL_ERR_RANGE);
    memset(key, 'k', sizeof key);
    wrong.key = key;
    wrong.key_size = sizeof key;
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &wrong, 0, &permit), LLMRL_ERR_RANGE);
    wrong.key_size = SIZE_MAX;
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &wrong, 0, &permit), LLMRL_ERR_RANGE);
    EQUAL(permit, BOGUS);
    wrong.key_size = sizeof key - 1;
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &wrong, 0, &permit), LLMRL_ERR_DEADLINE);

    /* A ticket is no permit, and no other object's. */
    ticket = joins(s.fair, share, 10);
    EQUAL(llmrl_fair_settle(s.fair, ticket, &cost), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_adjust(s.fair, ticket, &cost), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_release(s.fair, ticket), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_poll(other.fair, ticket, NULL), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_cancel(other.fair, ticket), LLMRL_ERR_STALE);
    EQUAL(llmrl_poll(s.limiter, ticket, NULL), LLMRL_ERR_STALE);
    EQUAL(llmrl_cancel(s.limiter, ticket), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_poll(s.fair, 0, NULL), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_poll(s.fair, BOGUS, NULL), LLMRL_ERR_STALE);
    OK(llmrl_clock_advance(s.clock, SECOND));
    OK(llmrl_fair_poll(s.fair, ticket, NULL));
    OK(llmrl_fair_poll(s.fair, ticket, NULL));
    EQUAL(llmrl_fair_adjust(s.fair, ticket, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_adjust(s.fair, ticket, &none), LLMRL_ERR_COST);
    EQUAL(llmrl_fair_settle(s.fair, ticket, &none), LLMRL_ERR_COST);
    EQUAL(llmrl_fair_settle(s.fair, ticket, &bad), LLMRL_ERR_FLAGS);
    /* It is still held, until it has ended once. */
    OK(llmrl_fair_settle(s.fair, ticket, &cost));
    stale = ticket;
    EQUAL(llmrl_fair_settle(s.fair, stale, &cost), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_release(s.fair, stale), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_cancel(s.fair, stale), LLMRL_ERR_STALE);
    EQUAL(llmrl_fair_poll(s.fair, stale, NULL), LLMRL_ERR_STALE);
    /* The same entry again is another number. */
    OK(llmrl_fair_try_acquire(s.fair, &cost, &permit, NULL));
    CHECK(permit != stale);
    EQUAL(llmrl_fair_release(s.fair, stale), LLMRL_ERR_STALE);
    OK(llmrl_fair_release(s.fair, permit));

    EQUAL(llmrl_fair_get_stats(s.fair, NULL, sizeof stats), LLMRL_ERR_NULL);
    EQUAL(llmrl_fair_get_stats(s.fair, &stats, 0), LLMRL_ERR_SIZE);
    end(&s);

    /* As many as it was made for. */
    options.max_waiters = 1;
    options.max_permits = 1;
    s = begin(&options);
    ticket = joins(s.fair, share, 10);
    permit = BOGUS;
    EQUAL(llmrl_fair_enqueue(s.fair, &cost, &share, LLMRL_FOREVER, &permit, NULL), LLMRL_ERR_FULL);
    EQUAL(permit, BOGUS);
    OK(llmrl_clock_advance(s.clock, SECOND));
    OK(llmrl_fair_poll(s.fair, ticket, NULL));
    OK(llmrl_fair_try_acquire(s.fair, &cost, &permit, NULL));
    EQUAL(llmrl_fair_try_acquire(s.fair, &cost, &stale, NULL), LLMRL_ERR_FULL);
    EQUAL(llmrl_fair_acquire(s.fair, &cost, &share, 0, &stale), LLMRL_ERR_FULL);
    end(&s);
    end(&other);
}

int main(void)
{
    three_to_one();
    settling_puts_the_share_right();
    batch_comes_after();
    small_ones_pass();
    calls_name_the_ticket(0);
    calls_name_the_ticket(1);
    too_late();
    the_limiter_learns();
    freed_with_a_ticket();
    handles_are_freed();
    threads();
    a_crowd();
    mistakes_in_the_making();
    mistakes();
    return 0;
}
