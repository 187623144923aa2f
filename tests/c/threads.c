/* Threads that block: in order, woken by the clock, by releases, by close, by free. */
#define _DEFAULT_SOURCE
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define THREADS 8

typedef struct worker {
    pthread_t thread;
    const llmrl_limiter *limiter;
    llmrl_cost cost;
    uint64_t timeout_ns;
    llmrl_status status;
    llmrl_permit permit;
    int place;
} worker;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int served;

static void *work(void *argument)
{
    worker *w = (worker *)argument;
    w->status = llmrl_acquire(w->limiter, &w->cost, w->timeout_ns, &w->permit);
    pthread_mutex_lock(&mutex);
    w->place = served++;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void start(worker *w, const llmrl_limiter *l, llmrl_cost cost, uint64_t timeout_ns)
{
    memset(w, 0, sizeof *w);
    w->limiter = l;
    w->cost = cost;
    w->timeout_ns = timeout_ns;
    EQUAL(pthread_create(&w->thread, NULL, work, w), 0);
}

static void until_waiting(const llmrl_limiter *l, uint64_t count)
{
    while (stats_of(l).waiting != count)
        sched_yield();
}

/* Who comes first is served first, also when a later one asks for less. */
static void in_order(void)
{
    llmrl_clock *clock = clock_at(0);
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_TOKENS, 60);
    llmrl_cost all = cost_of(60, 0);
    worker workers[THREADS];
    llmrl_limiter *l;
    llmrl_permit p;
    int i;

    options.clock = clock;
    l = limiter_of(&limit, 1, &options);
    OK(llmrl_try_acquire(l, &all, &p, NULL));
    for (i = 0; i < THREADS; i++) {
        start(&workers[i], l, cost_of((uint64_t)(i % 2 ? 1 : 30), 0), LLMRL_FOREVER);
        until_waiting(l, (uint64_t)i + 1);
    }
    /* There is one token, and nobody gets it before the head, which needs 30. */
    OK(llmrl_clock_advance(clock, SECOND));
    {
        llmrl_cost one = cost_of(1, 0);
        uint64_t wait = 0;
        EQUAL(llmrl_try_acquire(l, &one, NULL, &wait), LLMRL_REFUSED);
        EQUAL(wait, (THREADS / 2 * 31 + 1 - 1) * SECOND);
    }
    for (i = 0; i < THREADS; i++) {
        OK(llmrl_clock_advance(clock, (i % 2 ? 1 : i ? 30 : 29) * SECOND));
        EQUAL(pthread_join(workers[i].thread, NULL), 0);
        OK(workers[i].status);
        EQUAL(workers[i].place, i);
        OK(llmrl_release(l, workers[i].permit));
    }
    EQUAL(stats_of(l).granted, THREADS + 1);
    EQUAL(stats_of(l).waiting, 0);
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
    served = 0;
}

/* A slot goes from hand to hand. */
static void by_release(void)
{
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_cost cost = cost_of(0, 0);
    worker workers[THREADS];
    llmrl_limiter *l = limiter_of(&limit, 1, &options);
    llmrl_permit p;
    int i;

    OK(llmrl_acquire(l, &cost, 0, &p));
    for (i = 0; i < THREADS; i++) {
        start(&workers[i], l, cost, LLMRL_FOREVER);
        until_waiting(l, (uint64_t)i + 1);
    }
    for (i = 0; i < THREADS; i++) {
        OK(llmrl_settle(l, p, &cost));
        EQUAL(pthread_join(workers[i].thread, NULL), 0);
        OK(workers[i].status);
        EQUAL(workers[i].place, i);
        EQUAL(stats_of(l).in_flight, 1);
        p = workers[i].permit;
    }
    OK(llmrl_cancel(l, p));
    llmrl_limiter_free(l);
    served = 0;
}

static void timed_out(void)
{
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_cost cost = cost_of(0, 0);
    llmrl_limiter *l = limiter_of(&limit, 1, &options);
    llmrl_permit p, none = 7;

    OK(llmrl_acquire(l, &cost, LLMRL_FOREVER, &p));
    EQUAL(llmrl_acquire(l, &cost, SECOND / 1000, &none), LLMRL_ERR_DEADLINE);
    EQUAL(none, 7);
    EQUAL(stats_of(l).timed_out, 1);
    OK(llmrl_release(l, p));
    llmrl_limiter_free(l);
}

/* Closed, or freed by mistake: nobody is left behind. */
static void ended(int freed)
{
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_cost cost = cost_of(0, 0);
    worker workers[THREADS];
    llmrl_limiter *l = limiter_of(&limit, 1, &options);
    llmrl_permit p;
    int i;

    OK(llmrl_acquire(l, &cost, 0, &p));
    for (i = 0; i < THREADS; i++)
        start(&workers[i], l, cost, i % 2 ? LLMRL_FOREVER : 3600 * SECOND);
    until_waiting(l, THREADS);
    if (freed)
        llmrl_limiter_free(l);
    else
        OK(llmrl_limiter_close(l));
    for (i = 0; i < THREADS; i++) {
        EQUAL(pthread_join(workers[i].thread, NULL), 0);
        EQUAL(workers[i].status, LLMRL_ERR_CLOSED);
        EQUAL(workers[i].permit, 0);
    }
    if (!freed)
        llmrl_limiter_free(l);
    served = 0;
}

/* All at once, with everything; afterwards nothing is missing and nothing is left. */
static void *busy(void *argument)
{
    const llmrl_limiter *l = (const llmrl_limiter *)argument;
    int i;
    for (i = 0; i < 2000; i++) {
        llmrl_cost cost = cost_of((uint64_t)(i % 7), (uint64_t)(i % 3)), used = cost_of((uint64_t)(i % 5), 0);
        llmrl_permit p = 0;
        uint64_t wait;
        llmrl_status status;
        switch (i % 3) {
        case 0: status = llmrl_try_acquire(l, &cost, &p, &wait); break;
        case 1: status = llmrl_acquire(l, &cost, LLMRL_FOREVER, &p); break;
        default:
            status = llmrl_enqueue(l, &cost, LLMRL_FOREVER, &p, &wait);
            if (i % 2)
                while (status == LLMRL_PENDING) {
                    sched_yield();
                    status = llmrl_poll(l, p, &wait);
                }
        }
        if (status == LLMRL_REFUSED)
            continue;
        CHECK(status == LLMRL_OK || status == LLMRL_PENDING);
        if (status == LLMRL_PENDING || i % 4 == 0) {
            OK(llmrl_cancel(l, p));
        } else if (i % 4 == 1) {
            OK(llmrl_adjust(l, p, &used));
            OK(llmrl_release(l, p));
        } else {
            OK(llmrl_settle(l, p, &used));
        }
        EQUAL(llmrl_release(l, p), LLMRL_ERR_STALE);
    }
    return NULL;
}

static void all_at_once(void)
{
    llmrl_options options = no_options();
    llmrl_limit limits[3];
    pthread_t threads[4];
    llmrl_limiter *l;
    int i;

    limits[0] = bucket(LLMRL_REQUESTS, 1000000000);
    limits[0].period_ns = SECOND;
    limits[1] = bucket(LLMRL_TOKENS, 1000000000);
    limits[1].period_ns = SECOND;
    limits[2] = in_flight(2);
    l = limiter_of(limits, 3, &options);
    for (i = 0; i < 4; i++)
        EQUAL(pthread_create(&threads[i], NULL, busy, l), 0);
    for (i = 0; i < 4; i++)
        EQUAL(pthread_join(threads[i], NULL), 0);
    EQUAL(stats_of(l).in_flight, 0);
    EQUAL(stats_of(l).waiting, 0);
    EQUAL(state_of(l, 2).available, 2);
    llmrl_limiter_free(l);
}

/* Two threads, one number: one of them ends it. */
typedef struct race {
    const llmrl_limiter *limiter;
    llmrl_permit permit;
    llmrl_status status;
} race;

static void *finish(void *argument)
{
    race *r = (race *)argument;
    do
        r->status = llmrl_cancel(r->limiter, r->permit);
    while (r->status == LLMRL_ERR_BUSY);
    return NULL;
}

static void one_of_two(void)
{
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_cost cost = cost_of(0, 0);
    llmrl_limiter *l = limiter_of(&limit, 1, &options);
    int round;

    for (round = 0; round < 200; round++) {
        race mine, other;
        pthread_t thread;
        OK(llmrl_try_acquire(l, &cost, &mine.permit, NULL));
        mine.limiter = l;
        other = mine;
        EQUAL(pthread_create(&thread, NULL, finish, &other), 0);
        finish(&mine);
        EQUAL(pthread_join(thread, NULL), 0);
        CHECK((mine.status == LLMRL_OK) != (other.status == LLMRL_OK));
        EQUAL(mine.status + other.status, LLMRL_OK + LLMRL_ERR_STALE);
        EQUAL(stats_of(l).in_flight, 0);
    }
    llmrl_limiter_free(l);
}

/* Tickets that are polled by nobody but the wake callback, on whatever thread that is, perhaps before the call that joined
 * the queue has returned. A wake that got lost would leave its thread waiting. */
#define ROUNDS 500

static pthread_cond_t granted = PTHREAD_COND_INITIALIZER;
/* The last ones. One that is waited for holds the only slot, so it cannot be overwritten; what else is in there came late,
 * when its owner had been told already. */
static llmrl_permit arrived[16];
static unsigned arrivals;

static void poll_at_once(void *context, llmrl_permit ticket)
{
    const llmrl_limiter *l = *(llmrl_limiter *const *)context;
    llmrl_status status = llmrl_poll(l, ticket, NULL);
    /* Busy: whoever is at it sees what this call would have seen. Stale: the wake has come late. */
    CHECK(status == LLMRL_OK || status == LLMRL_PENDING || status == LLMRL_ERR_BUSY || status == LLMRL_ERR_STALE);
    if (status != LLMRL_OK)
        return;
    pthread_mutex_lock(&mutex);
    arrived[arrivals++ % 16] = ticket;
    pthread_cond_broadcast(&granted);
    pthread_mutex_unlock(&mutex);
}

/* Takes a ticket out of the arrivals; 0 if it is not there. */
static int take(llmrl_permit ticket)
{
    int i;
    for (i = 0; i < 16; i++)
        if (arrived[i] == ticket) {
            arrived[i] = 0;
            return 1;
        }
    return 0;
}

static void *join_and_wait(void *argument)
{
    const llmrl_limiter *l = (const llmrl_limiter *)argument;
    llmrl_cost cost = cost_of(0, 0);
    int i;
    for (i = 0; i < ROUNDS; i++) {
        llmrl_permit ticket;
        llmrl_status status = llmrl_enqueue(l, &cost, LLMRL_FOREVER, &ticket, NULL);
        CHECK(status == LLMRL_OK || status == LLMRL_PENDING);
        pthread_mutex_lock(&mutex);
        while (status == LLMRL_PENDING && !take(ticket))
            pthread_cond_wait(&granted, &mutex);
        pthread_mutex_unlock(&mutex);
        OK(llmrl_release(l, ticket));
    }
    return NULL;
}

static void no_wake_is_lost(void)
{
    static llmrl_limiter *l;
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    pthread_t threads[4];
    int i;

    options.wake = poll_at_once;
    options.wake_ctx = &l;
    l = limiter_of(&limit, 1, &options);
    for (i = 0; i < 4; i++)
        EQUAL(pthread_create(&threads[i], NULL, join_and_wait, l), 0);
    for (i = 0; i < 4; i++)
        EQUAL(pthread_join(threads[i], NULL), 0);
    EQUAL(stats_of(l).granted, 4 * ROUNDS);
    EQUAL(stats_of(l).in_flight, 0);
    llmrl_limiter_free(l);
}

int main(void)
{
    /* Whoever is never woken would wait for ever. */
    alarm(300);
    in_order();
    by_release();
    timed_out();
    ended(0);
    ended(1);
    all_at_once();
    one_of_two();
    no_wake_is_lost();
    return 0;
}
