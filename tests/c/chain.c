/* The chain: all levels or none, which level refuses, one queue at a time, and every mistake that can be told. */
#define _DEFAULT_SOURCE
#include "check.h"
#include <pthread.h>
#include <sched.h>

static llmrl_limit tokens(uint64_t a_second)
{
    llmrl_limit limit = bucket(LLMRL_TOKENS, a_second);
    limit.period_ns = SECOND;
    return limit;
}

/* A user's tokens, a team's slots and tokens, a provider's tokens. */
typedef struct story {
    llmrl_clock *clock;
    llmrl_limiter *user, *team, *provider;
    llmrl_chain *chain;
} story;

static llmrl_chain *chain_of(const llmrl_limiter **levels, size_t count, const llmrl_chain_options *options)
{
    llmrl_chain *c = NULL;
    char message[128];
    OK(llmrl_chain_new(levels, count, options, sizeof *options, &c, message, sizeof message));
    CHECK(c != NULL && message[0] == '\0');
    return c;
}

static story begin(llmrl_wake_fn wake, void *context)
{
    llmrl_options options = no_options();
    llmrl_chain_options chain_options;
    const llmrl_limiter *levels[3];
    llmrl_limit limits[2];
    story s;

    s.clock = clock_at(0);
    options.clock = s.clock;
    limits[0] = tokens(100);
    s.user = limiter_of(limits, 1, &options);
    limits[0] = in_flight(2);
    limits[1] = tokens(500);
    s.team = limiter_of(limits, 2, &options);
    limits[0] = tokens(150);
    s.provider = limiter_of(limits, 1, &options);
    levels[0] = s.user;
    levels[1] = s.team;
    levels[2] = s.provider;
    memset(&chain_options, 0, sizeof chain_options);
    chain_options.wake = wake;
    chain_options.wake_ctx = context;
    s.chain = chain_of(levels, 3, &chain_options);
    return s;
}

static void end(story *s)
{
    llmrl_chain_free(s->chain);
    llmrl_limiter_free(s->user);
    llmrl_limiter_free(s->team);
    llmrl_limiter_free(s->provider);
    llmrl_clock_free(s->clock);
}

static llmrl_chained blank(void)
{
    llmrl_chained chained;
    memset(&chained, 0x55, sizeof chained);
    return chained;
}

static llmrl_status try_it(const llmrl_chain *c, uint64_t input, llmrl_chained *chained)
{
    llmrl_cost cost = cost_of(input, 0);
    *chained = blank();
    return llmrl_chain_try_acquire(c, &cost, chained, sizeof *chained);
}

static llmrl_status enqueue(const llmrl_chain *c, uint64_t input, uint64_t timeout_ns, llmrl_chained *chained)
{
    llmrl_cost cost = cost_of(input, 0);
    *chained = blank();
    return llmrl_chain_enqueue(c, &cost, timeout_ns, chained, sizeof *chained);
}

static llmrl_status poll_it(const llmrl_chain *c, llmrl_permit ticket, llmrl_chained *chained)
{
    *chained = blank();
    return llmrl_chain_poll(c, ticket, chained, sizeof *chained);
}

static void says(const llmrl_chained *chained, llmrl_permit permit, uint64_t wait_ns, uint32_t level, uint32_t limit)
{
    EQUAL(chained->permit, permit);
    EQUAL(chained->wait_ns, wait_ns);
    EQUAL(chained->level, level);
    EQUAL(chained->limit, limit);
}

static void left(const story *s, int64_t user, int64_t slots, int64_t team, int64_t provider)
{
    EQUAL(state_of(s->user, 0).available, user);
    EQUAL(state_of(s->team, 0).available, slots);
    EQUAL(state_of(s->team, 1).available, team);
    EQUAL(state_of(s->provider, 0).available, provider);
}

static void all_or_none(void)
{
    story s = begin(NULL, NULL);
    llmrl_chained first, second, chained;
    llmrl_cost cost = cost_of(40, 0);

    OK(try_it(s.chain, 60, &first));
    CHECK(first.permit != 0);
    says(&first, first.permit, 0, 0, LLMRL_MAX_LIMITS);
    left(&s, 40, 1, 440, 90);
    /* The user's tokens; then the team's slots, for which no time is known. */
    EQUAL(try_it(s.chain, 50, &chained), LLMRL_REFUSED);
    says(&chained, 0, SECOND / 10, 0, 0);
    OK(try_it(s.chain, 40, &second));
    EQUAL(try_it(s.chain, 1, &chained), LLMRL_REFUSED);
    says(&chained, 0, LLMRL_FOREVER, 1, 0);
    left(&s, 0, 0, 400, 50);
    OK(llmrl_chain_adjust(s.chain, first.permit, &cost));
    left(&s, 20, 0, 420, 70);
    OK(llmrl_chain_settle(s.chain, first.permit, &cost));
    left(&s, 20, 1, 420, 70);
    OK(llmrl_chain_cancel(s.chain, second.permit));
    left(&s, 60, 2, 460, 110);
    /* The wait is exact, and that of the whole chain. */
    OK(llmrl_limiter_charge(s.provider, &cost));
    EQUAL(try_it(s.chain, 100, &chained), LLMRL_REFUSED);
    says(&chained, 0, SECOND * 4 / 10, 0, 0);
    OK(llmrl_clock_advance(s.clock, chained.wait_ns - 1));
    EQUAL(try_it(s.chain, 100, &chained), LLMRL_REFUSED);
    OK(llmrl_clock_advance(s.clock, 1));
    OK(try_it(s.chain, 100, &chained));
    OK(llmrl_chain_release(s.chain, chained.permit));
    EQUAL(state_of(s.user, 0).available, 0);
    EQUAL(state_of(s.team, 0).available, 2);
    /* Never, and closed. */
    EQUAL(try_it(s.chain, 101, &chained), LLMRL_ERR_NEVER);
    says(&chained, 0, 0, 0, 0);
    OK(llmrl_limiter_close(s.provider));
    EQUAL(try_it(s.chain, 1, &chained), LLMRL_ERR_CLOSED);
    says(&chained, 0, 0, 2, LLMRL_MAX_LIMITS);
    end(&s);
}

static void the_provider_learns(void)
{
    story s = begin(NULL, NULL);
    llmrl_chained chained;
    llmrl_answer answer;
    llmrl_advice advice;
    const char *body = "{\"error\": {\"type\": \"tokens\"}}";
    llmrl_header header = {"retry-after-ms", 14, "2500", 4};

    OK(try_it(s.chain, 60, &chained));
    memset(&answer, 0, sizeof answer);
    answer.status = 429;
    answer.headers = &header;
    answer.header_count = 1;
    answer.body = body;
    answer.body_size = strlen(body);
    EQUAL(llmrl_chain_feedback(s.chain, chained.permit, NULL, 0, &advice, sizeof advice), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_feedback(s.chain, chained.permit, &answer, sizeof answer, &advice, 0), LLMRL_ERR_SIZE);
    OK(llmrl_chain_feedback(s.chain, chained.permit, &answer, sizeof answer, &advice, sizeof advice));
    EQUAL(advice.answer_class, LLMRL_CLASS_RATE);
    EQUAL(advice.flags, LLMRL_ADVICE_RETRY);
    /* The others have their tokens back, and the slot is held until the release. */
    EQUAL(state_of(s.user, 0).available, 100);
    EQUAL(state_of(s.team, 0).available, 1);
    CHECK(state_of(s.provider, 0).available < 0);
    OK(llmrl_chain_feedback(s.chain, chained.permit, &answer, sizeof answer, NULL, 0));
    OK(llmrl_chain_release(s.chain, chained.permit));
    EQUAL(llmrl_chain_feedback(s.chain, chained.permit, &answer, sizeof answer, NULL, 0), LLMRL_ERR_STALE);
    EQUAL(state_of(s.team, 0).available, 2);
    end(&s);
}

struct calls {
    llmrl_chain *chain;
    llmrl_permit ticket;
    int count, polls;
    llmrl_status status;
    llmrl_chained chained;
};

static void called(void *context, llmrl_permit ticket)
{
    struct calls *calls = (struct calls *)context;
    calls->count++;
    calls->ticket = ticket;
    if (calls->polls)
        calls->status = poll_it(calls->chain, ticket, &calls->chained);
}

/* Who waits for the user's tokens leaves those of the provider to others, and is charged there last. */
static void waiting_charges_the_provider_last(void)
{
    story s = begin(NULL, NULL);
    llmrl_chained first, ticket, chained;
    llmrl_cost much = cost_of(150, 0);

    OK(try_it(s.chain, 100, &first));
    OK(llmrl_chain_release(s.chain, first.permit));
    left(&s, 0, 2, 400, 50);
    EQUAL(enqueue(s.chain, 50, LLMRL_FOREVER, &ticket), LLMRL_PENDING);
    says(&ticket, ticket.permit, SECOND / 2, 0, LLMRL_MAX_LIMITS);
    left(&s, 0, 2, 400, 50);
    EQUAL(stats_of(s.user).waiting, 1);
    EQUAL(stats_of(s.provider).waiting, 0);
    /* A ticket is no permit, and no other object's. */
    EQUAL(llmrl_chain_release(s.chain, ticket.permit), LLMRL_ERR_STALE);
    EQUAL(llmrl_chain_settle(s.chain, ticket.permit, &much), LLMRL_ERR_STALE);
    EQUAL(llmrl_poll(s.user, ticket.permit, NULL), LLMRL_ERR_STALE);
    EQUAL(llmrl_cancel(s.user, ticket.permit), LLMRL_ERR_STALE);
    /* Somebody uses the provider meanwhile: 75 tokens have come, and 150 are gone. */
    OK(llmrl_limiter_charge(s.provider, &much));
    OK(llmrl_clock_advance(s.clock, SECOND / 2));
    EQUAL(poll_it(s.chain, ticket.permit, &chained), LLMRL_PENDING);
    says(&chained, ticket.permit, SECOND / 2, 2, LLMRL_MAX_LIMITS);
    left(&s, 0, 1, 450, -25);
    EQUAL(stats_of(s.user).waiting, 0);
    EQUAL(stats_of(s.provider).waiting, 1);
    OK(llmrl_clock_advance(s.clock, SECOND / 2));
    OK(poll_it(s.chain, ticket.permit, &chained));
    says(&chained, ticket.permit, 0, 0, LLMRL_MAX_LIMITS);
    OK(poll_it(s.chain, ticket.permit, &chained));
    EQUAL(state_of(s.provider, 0).available, 0);
    OK(llmrl_chain_settle(s.chain, ticket.permit, &much));
    EQUAL(poll_it(s.chain, ticket.permit, &chained), LLMRL_ERR_STALE);
    EQUAL(chained.permit, BOGUS);
    EQUAL(llmrl_chain_cancel(s.chain, ticket.permit), LLMRL_ERR_STALE);
    end(&s);
}

/* Two wait for the team's slots, and each is called with its own number. */
static void calls_name_the_ticket(int polls)
{
    struct calls calls;
    llmrl_chained held[2], waits[2], chained;
    story s;
    int i;

    memset(&calls, 0, sizeof calls);
    s = begin(called, &calls);
    calls.chain = s.chain;
    calls.polls = polls;
    for (i = 0; i < 2; i++)
        OK(enqueue(s.chain, 1, LLMRL_FOREVER, &held[i]));
    for (i = 0; i < 2; i++) {
        EQUAL(enqueue(s.chain, 1, LLMRL_FOREVER, &waits[i]), LLMRL_PENDING);
        says(&waits[i], waits[i].permit, LLMRL_FOREVER, 1, LLMRL_MAX_LIMITS);
    }
    EQUAL(calls.count, 0);
    for (i = 0; i < 2; i++) {
        OK(llmrl_chain_release(s.chain, held[i].permit));
        EQUAL(calls.count, i + 1);
        EQUAL(calls.ticket, waits[i].permit);
        if (polls) {
            OK(calls.status);
            EQUAL(calls.chained.permit, waits[i].permit);
        }
        OK(poll_it(s.chain, waits[i].permit, &chained));
    }
    /* In the order in which they came, also with those who use the limiter by itself. */
    EQUAL(enqueue(s.chain, 1, LLMRL_FOREVER, &chained), LLMRL_PENDING);
    {
        llmrl_cost one = cost_of(1, 0);
        llmrl_permit behind;
        EQUAL(llmrl_enqueue(s.team, &one, LLMRL_FOREVER, &behind, NULL), LLMRL_PENDING);
        OK(llmrl_chain_cancel(s.chain, waits[0].permit));
        EQUAL(calls.ticket, chained.permit);
        EQUAL(llmrl_poll(s.team, behind, NULL), LLMRL_PENDING);
        OK(llmrl_cancel(s.team, behind));
    }
    end(&s);
}

static void whoever_leaves_gives_back(void)
{
    story s = begin(NULL, NULL);
    llmrl_chained ticket, chained;
    llmrl_cost all = cost_of(150, 0), much = cost_of(1000, 0);

    OK(llmrl_limiter_charge(s.provider, &all));
    EQUAL(enqueue(s.chain, 75, LLMRL_FOREVER, &ticket), LLMRL_PENDING);
    says(&ticket, ticket.permit, SECOND / 2, 2, LLMRL_MAX_LIMITS);
    left(&s, 25, 1, 425, 0);
    OK(llmrl_chain_cancel(s.chain, ticket.permit));
    left(&s, 100, 2, 500, 0);
    EQUAL(stats_of(s.provider).waiting, 0);
    EQUAL(llmrl_chain_cancel(s.chain, ticket.permit), LLMRL_ERR_STALE);
    /* Late at the provider, which is known beforehand. */
    EQUAL(enqueue(s.chain, 75, SECOND / 4, &chained), LLMRL_ERR_DEADLINE);
    says(&chained, 0, 0, 2, 0);
    chained = blank();
    {
        llmrl_cost cost = cost_of(75, 0);
        EQUAL(llmrl_chain_acquire(s.chain, &cost, SECOND / 4, &chained, sizeof chained), LLMRL_ERR_DEADLINE);
    }
    says(&chained, 0, 0, 2, 0);
    left(&s, 100, 2, 500, 0);
    /* Late, as it turns out; the time counts for all levels. */
    EQUAL(enqueue(s.chain, 75, SECOND, &ticket), LLMRL_PENDING);
    OK(llmrl_limiter_charge(s.provider, &much));
    OK(llmrl_clock_advance(s.clock, SECOND + 1));
    EQUAL(poll_it(s.chain, ticket.permit, &chained), LLMRL_ERR_DEADLINE);
    says(&chained, 0, 0, 2, LLMRL_MAX_LIMITS);
    EQUAL(state_of(s.user, 0).available, 100);
    EQUAL(state_of(s.team, 0).available, 2);
    /* Closed while it waits. */
    EQUAL(enqueue(s.chain, 75, LLMRL_FOREVER, &ticket), LLMRL_PENDING);
    OK(llmrl_limiter_close(s.provider));
    EQUAL(poll_it(s.chain, ticket.permit, &chained), LLMRL_ERR_CLOSED);
    says(&chained, 0, 0, 2, LLMRL_MAX_LIMITS);
    EQUAL(state_of(s.user, 0).available, 100);
    end(&s);
}

/* Freed with a ticket and a permit: both end, and the limiters go on. */
static void freed_with_a_ticket(void)
{
    struct calls calls;
    llmrl_chained permit, ticket;
    llmrl_cost all = cost_of(150, 0);
    story s;

    memset(&calls, 0, sizeof calls);
    s = begin(called, &calls);
    OK(try_it(s.chain, 10, &permit));
    OK(llmrl_limiter_charge(s.provider, &all));
    EQUAL(enqueue(s.chain, 75, LLMRL_FOREVER, &ticket), LLMRL_PENDING);
    llmrl_chain_free(s.chain);
    s.chain = NULL;
    left(&s, 90, 2, 490, -10);
    EQUAL(stats_of(s.provider).waiting, 0);
    OK(llmrl_clock_advance(s.clock, MINUTE));
    EQUAL(calls.count, 0);
    end(&s);
}

/* Handles are freed before the chain: limiters of a map go on, others are closed. */
static void handles_are_freed(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_options options = no_options();
    llmrl_chain_options none;
    llmrl_limit limit = tokens(100);
    const llmrl_limiter *levels[2];
    llmrl_limiter *alice = NULL, *bob = NULL, *provider;
    llmrl_map *map = NULL;
    llmrl_map_stats stats;
    llmrl_chain *c;
    llmrl_chained chained, ticket;

    memset(&none, 0, sizeof none);
    options.clock = clock;
    provider = limiter_of(&limit, 1, &options);
    OK(llmrl_map_new(&limit, 1, &options, sizeof options, 1, 0, &map, NULL, 0));
    OK(llmrl_map_limiter(map, "alice", 5, &alice, NULL));
    levels[0] = alice;
    levels[1] = provider;
    c = chain_of(levels, 2, &none);
    llmrl_limiter_free(alice);
    /* She is as new, and stays: the chain has her. */
    EQUAL(llmrl_map_limiter(map, "bob", 3, &bob, NULL), LLMRL_ERR_FULL);
    OK(try_it(c, 100, &chained));
    OK(llmrl_chain_release(c, chained.permit));
    OK(llmrl_map_limiter(map, "alice", 5, &alice, NULL));
    EQUAL(state_of(alice, 0).available, 0);
    llmrl_limiter_free(alice);
    EQUAL(enqueue(c, 10, LLMRL_FOREVER, &ticket), LLMRL_PENDING);
    EQUAL(enqueue(c, 10, LLMRL_FOREVER, &chained), LLMRL_PENDING);
    OK(llmrl_clock_advance(clock, SECOND / 10));
    OK(poll_it(c, ticket.permit, &ticket));
    llmrl_limiter_free(provider);
    OK(llmrl_clock_advance(clock, SECOND / 10));
    EQUAL(poll_it(c, chained.permit, &chained), LLMRL_ERR_CLOSED);
    EQUAL(chained.level, 1);
    OK(llmrl_chain_release(c, ticket.permit));
    EQUAL(try_it(c, 1, &chained), LLMRL_ERR_CLOSED);
    EQUAL(chained.level, 1);
    llmrl_chain_free(c);
    /* Now she can go. */
    OK(llmrl_clock_advance(clock, MINUTE));
    OK(llmrl_map_limiter(map, "bob", 3, &bob, NULL));
    OK(llmrl_map_get_stats(map, &stats, sizeof stats));
    EQUAL(stats.evictions, 1);
    llmrl_limiter_free(bob);
    llmrl_map_free(map);
    llmrl_clock_free(clock);
}

typedef struct worker {
    pthread_t thread;
    const llmrl_chain *chain;
    llmrl_status status;
    llmrl_chained chained;
} worker;

static void *work(void *argument)
{
    worker *w = (worker *)argument;
    llmrl_cost cost = cost_of(75, 0);
    w->chained = blank();
    w->status = llmrl_chain_acquire(w->chain, &cost, LLMRL_FOREVER, &w->chained, sizeof w->chained);
    return NULL;
}

/* A thread that waits at the provider: for its turn, until the limiter is closed, and while the chain is freed. */
static void threads(void)
{
    enum { TURN, CLOSED, FREED };
    int how;

    for (how = TURN; how <= FREED; how++) {
        story s = begin(NULL, NULL);
        llmrl_cost all = cost_of(150, 0);
        worker w;

        memset(&w, 0, sizeof w);
        w.chain = s.chain;
        OK(llmrl_limiter_charge(s.provider, &all));
        EQUAL(pthread_create(&w.thread, NULL, work, &w), 0);
        while (stats_of(s.provider).waiting != 1)
            sched_yield();
        left(&s, 25, 1, 425, 0);
        if (how == FREED) {
            llmrl_chain_free(s.chain);
            s.chain = NULL;
            left(&s, 25, 1, 425, 0);
        }
        if (how == CLOSED)
            OK(llmrl_limiter_close(s.provider));
        else
            OK(llmrl_clock_advance(s.clock, SECOND / 2));
        EQUAL(pthread_join(w.thread, NULL), 0);
        if (how == TURN) {
            OK(w.status);
            OK(llmrl_chain_cancel(s.chain, w.chained.permit));
        } else {
            EQUAL(w.status, LLMRL_ERR_CLOSED);
            says(&w.chained, 0, 0, how == CLOSED ? 2 : LLMRL_MAX_LEVELS, LLMRL_MAX_LIMITS);
        }
        EQUAL(state_of(s.user, 0).available, 100);
        EQUAL(state_of(s.team, 0).available, 2);
        EQUAL(stats_of(s.provider).waiting, 0);
        end(&s);
    }
}

typedef struct one_of_many {
    pthread_t thread;
    const llmrl_chain *chain;
    unsigned seed;
} one_of_many;

/* Asks in every way, and ends in every way. */
static void *ask(void *argument)
{
    one_of_many *me = (one_of_many *)argument;
    llmrl_cost cost = cost_of(1, 0);
    llmrl_chained chained;
    llmrl_status status;
    int i;

    for (i = 0; i < 400; i++) {
        unsigned way = me->seed = me->seed * 1103515245u + 12345u;
        way >>= 16;
        chained = blank();
        if (way % 3 == 0)
            status = llmrl_chain_try_acquire(me->chain, &cost, &chained, sizeof chained);
        else if (way % 3 == 1)
            status = llmrl_chain_acquire(me->chain, &cost, LLMRL_FOREVER, &chained, sizeof chained);
        else
            status = llmrl_chain_enqueue(me->chain, &cost, LLMRL_FOREVER, &chained, sizeof chained);
        if (status == LLMRL_PENDING && way % 2) {
            OK(llmrl_chain_cancel(me->chain, chained.permit));
            continue;
        }
        while (status == LLMRL_PENDING) {
            sched_yield();
            status = poll_it(me->chain, chained.permit, &chained);
        }
        if (status == LLMRL_REFUSED)
            continue;
        OK(status);
        if (way % 5 == 0)
            OK(llmrl_chain_cancel(me->chain, chained.permit));
        else if (way % 5 == 1)
            OK(llmrl_chain_settle(me->chain, chained.permit, &cost));
        else
            OK(llmrl_chain_release(me->chain, chained.permit));
        EQUAL(llmrl_chain_release(me->chain, chained.permit), LLMRL_ERR_STALE);
    }
    return NULL;
}

/* Threads of two users at one provider, with fewer slots than threads: nobody hangs, and every slot comes back. */
static void a_crowd(void)
{
    enum { CROWD = 4 };
    llmrl_options options = no_options();
    llmrl_chain_options none;
    llmrl_limit limit = in_flight(2);
    llmrl_limiter *users[2], *provider = limiter_of(&limit, 1, &options);
    llmrl_chain *chains[2];
    one_of_many crowd[CROWD];
    int i;

    memset(&none, 0, sizeof none);
    for (i = 0; i < 2; i++) {
        const llmrl_limiter *levels[2];
        limit = in_flight(1);
        users[i] = limiter_of(&limit, 1, &options);
        levels[0] = users[i];
        levels[1] = provider;
        chains[i] = chain_of(levels, 2, &none);
    }
    for (i = 0; i < CROWD; i++) {
        crowd[i].chain = chains[i % 2];
        crowd[i].seed = (unsigned)i + 1;
        EQUAL(pthread_create(&crowd[i].thread, NULL, ask, &crowd[i]), 0);
    }
    for (i = 0; i < CROWD; i++)
        EQUAL(pthread_join(crowd[i].thread, NULL), 0);
    EQUAL(stats_of(provider).in_flight + stats_of(provider).waiting, 0);
    for (i = 0; i < 2; i++) {
        EQUAL(stats_of(users[i]).in_flight + stats_of(users[i]).waiting, 0);
        llmrl_chain_free(chains[i]);
        llmrl_limiter_free(users[i]);
    }
    llmrl_limiter_free(provider);
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
    llmrl_clock *clock = clock_at(0);
    llmrl_limit limit = tokens(100);
    llmrl_options limiter_options = no_options();
    llmrl_limiter *l = limiter_of(&limit, 1, &limiter_options);
    const llmrl_limiter *levels[9];
    llmrl_chain_options options;
    llmrl_chain *c = NULL;
    char message[128];
    int i;

    memset(&options, 0, sizeof options);
    for (i = 0; i < 9; i++)
        levels[i] = l;
    EQUAL(llmrl_chain_new(NULL, 1, NULL, 0, &c, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_new(levels, 1, NULL, 0, NULL, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_new(levels, 1, &options, 0, &c, NULL, 0), LLMRL_ERR_SIZE);
    message_says(llmrl_chain_new(levels, 0, NULL, 0, &c, message, sizeof message), LLMRL_ERR_RANGE, message,
                 "count = 0 is outside 1..=8");
    message_says(llmrl_chain_new(levels, 9, NULL, 0, &c, message, sizeof message), LLMRL_ERR_RANGE, message,
                 "count = 9 is outside 1..=8");
    options.flags = 1;
    message_says(llmrl_chain_new(levels, 1, &options, sizeof options, &c, message, sizeof message), LLMRL_ERR_FLAGS,
                 message, "options.flags has unknown bits");
    options.flags = 0;
    options.max_permits = 1048577;
    message_says(llmrl_chain_new(levels, 1, &options, sizeof options, &c, message, sizeof message), LLMRL_ERR_RANGE,
                 message, "options.max_permits = 1048577 is outside 0..=1048576");
    levels[1] = NULL;
    message_says(llmrl_chain_new(levels, 2, NULL, 0, &c, message, sizeof message), LLMRL_ERR_NULL, message,
                 "limiters[1] is not a live limiter");
    levels[1] = (const llmrl_limiter *)(const void *)clock;
    message_says(llmrl_chain_new(levels, 2, NULL, 0, &c, message, sizeof message), LLMRL_ERR_HANDLE, message,
                 "limiters[1] is not a live limiter");
    CHECK(c == NULL);
    levels[1] = l;
    OK(llmrl_chain_new(levels, 8, NULL, 0, &c, message, sizeof message));
    CHECK(message[0] == '\0');

    /* Not an object of this kind, and not freed as one. */
    EQUAL(llmrl_chain_cancel((const llmrl_chain *)(const void *)l, 1), LLMRL_ERR_HANDLE);
    EQUAL(llmrl_limiter_close((const llmrl_limiter *)(const void *)c), LLMRL_ERR_HANDLE);
    levels[0] = (const llmrl_limiter *)(const void *)c;
    {
        llmrl_chain *other = NULL;
        EQUAL(llmrl_chain_new(levels, 1, NULL, 0, &other, NULL, 0), LLMRL_ERR_HANDLE);
        CHECK(other == NULL);
    }
    llmrl_chain_free((llmrl_chain *)(void *)l);
    llmrl_limiter_free((llmrl_limiter *)(void *)c);
    llmrl_chain_free(NULL);
    EQUAL(state_of(l, 0).available, 100);
    llmrl_chain_free(c);
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

static void mistakes(void)
{
    story s = begin(NULL, NULL), other = begin(NULL, NULL);
    llmrl_cost cost = cost_of(1, 0), bad = cost_of(1, 0), none = cost_of(1, 0);
    llmrl_chain_options options;
    const llmrl_limiter *levels[1];
    llmrl_chained chained = blank(), held;
    llmrl_chain *small;
    uint64_t grown[8];
    int i;

    bad.reserved[0] = 1;
    none.requests = 0;
    EQUAL(llmrl_chain_try_acquire(NULL, &cost, &chained, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_try_acquire(s.chain, NULL, &chained, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_try_acquire(s.chain, &cost, NULL, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_try_acquire(s.chain, &cost, &chained, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_chain_try_acquire(s.chain, &cost, &chained, 4097), LLMRL_ERR_SIZE);
    EQUAL(llmrl_chain_try_acquire(s.chain, &bad, &chained, sizeof chained), LLMRL_ERR_FLAGS);
    EQUAL(llmrl_chain_try_acquire(s.chain, &none, &chained, sizeof chained), LLMRL_ERR_COST);
    EQUAL(llmrl_chain_acquire(NULL, &cost, 0, &chained, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_acquire(s.chain, &none, 0, &chained, sizeof chained), LLMRL_ERR_COST);
    EQUAL(llmrl_chain_acquire(s.chain, &cost, 0, NULL, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_enqueue(NULL, &cost, 0, &chained, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_enqueue(s.chain, &none, 0, &chained, sizeof chained), LLMRL_ERR_COST);
    EQUAL(llmrl_chain_enqueue(s.chain, &cost, 0, &chained, 0), LLMRL_ERR_SIZE);
    EQUAL(llmrl_chain_poll(NULL, 1, &chained, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_poll(s.chain, 1, NULL, sizeof chained), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_poll(s.chain, BOGUS, &chained, sizeof chained), LLMRL_ERR_STALE);
    EQUAL(llmrl_chain_poll(s.chain, 0, &chained, sizeof chained), LLMRL_ERR_STALE);
    EQUAL(llmrl_chain_cancel(NULL, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_cancel(s.chain, 0), LLMRL_ERR_STALE);
    EQUAL(llmrl_chain_release(NULL, 1), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_release(s.chain, BOGUS), LLMRL_ERR_STALE);
    EQUAL(llmrl_chain_settle(NULL, 1, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_adjust(NULL, 1, &cost), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_feedback(NULL, 1, NULL, 0, NULL, 0), LLMRL_ERR_NULL);
    EQUAL(chained.permit, BOGUS);
    left(&s, 100, 2, 500, 150);

    /* With a cost that cannot be a permit stays held. It means nothing to another chain, nor to a limiter. */
    OK(try_it(s.chain, 1, &held));
    EQUAL(llmrl_chain_settle(s.chain, held.permit, NULL), LLMRL_ERR_NULL);
    EQUAL(llmrl_chain_settle(s.chain, held.permit, &none), LLMRL_ERR_COST);
    EQUAL(llmrl_chain_adjust(s.chain, held.permit, &none), LLMRL_ERR_COST);
    EQUAL(llmrl_chain_adjust(s.chain, held.permit, &bad), LLMRL_ERR_FLAGS);
    EQUAL(llmrl_chain_release(other.chain, held.permit), LLMRL_ERR_STALE);
    EQUAL(llmrl_release(s.team, held.permit), LLMRL_ERR_STALE);
    OK(llmrl_chain_settle(s.chain, held.permit, &cost));
    EQUAL(llmrl_chain_settle(s.chain, held.permit, &cost), LLMRL_ERR_STALE);
    EQUAL(llmrl_chain_adjust(s.chain, held.permit, &cost), LLMRL_ERR_STALE);
    EQUAL(llmrl_chain_release(s.chain, held.permit), LLMRL_ERR_STALE);

    /* A full chain, which is not a full level. */
    memset(&options, 0, sizeof options);
    options.max_permits = 2;
    levels[0] = s.user;
    small = chain_of(levels, 1, &options);
    for (i = 0; i < 2; i++)
        OK(try_it(small, 1, &held));
    EQUAL(try_it(small, 1, &chained), LLMRL_ERR_FULL);
    says(&chained, 0, 0, LLMRL_MAX_LEVELS, LLMRL_MAX_LIMITS);
    EQUAL(enqueue(small, 1, 0, &chained), LLMRL_ERR_FULL);
    OK(llmrl_chain_release(small, held.permit));
    OK(try_it(small, 1, &held));
    llmrl_chain_free(small);
    EQUAL(state_of(s.user, 0).available, 96);

    /* A caller of an older version has less room, one of a newer version more. */
    memset(grown, 0x55, sizeof grown);
    OK(llmrl_chain_try_acquire(s.chain, &cost, (llmrl_chained *)(void *)grown, 8));
    CHECK(grown[0] != BOGUS && grown[1] == BOGUS);
    OK(llmrl_chain_try_acquire(s.chain, &cost, (llmrl_chained *)(void *)grown, sizeof grown));
    CHECK(grown[1] == 0 && grown[7] == 0);
    end(&s);
    end(&other);
}

int main(void)
{
    all_or_none();
    the_provider_learns();
    waiting_charges_the_provider_last();
    calls_name_the_ticket(0);
    calls_name_the_ticket(1);
    whoever_leaves_gives_back();
    freed_with_a_ticket();
    handles_are_freed();
    threads();
    a_crowd();
    mistakes_in_the_making();
    mistakes();
    return 0;
}
