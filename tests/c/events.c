/* An event loop in miniature: tickets, timers, wakes, on the manual clock; and what a wake callback may do. */
#include "check.h"

#define TICKETS 64

/* What a wake callback puts there, the loop takes out. */
typedef struct loop {
    llmrl_permit woken[4 * TICKETS];
    int count;
} loop;

static void push(void *context, llmrl_permit ticket)
{
    loop *l = (loop *)context;
    CHECK(l->count < 4 * TICKETS);
    l->woken[l->count++] = ticket;
}

/* A loop that sleeps until the next timer, polls when woken, and nothing else. */
static void a_loop(void)
{
    static loop events;
    llmrl_clock *clock = clock_at(123456789);
    llmrl_options options = no_options();
    llmrl_limit limits[2];
    llmrl_limiter *l;
    llmrl_permit tickets[TICKETS];
    llmrl_status state[TICKETS];
    uint64_t due[TICKETS], now, began, wait = 0;
    int i, polls = 0, granted = 0, steps = 0;

    limits[0] = bucket(LLMRL_REQUESTS, 60);
    limits[0].burst = 1;
    limits[1] = in_flight(3);
    options.clock = clock;
    options.wake = push;
    options.wake_ctx = &events;
    l = limiter_of(limits, 2, &options);
    OK(llmrl_clock_now(clock, &began));

    for (i = 0; i < TICKETS; i++) {
        llmrl_cost cost = cost_of(0, 0);
        state[i] = llmrl_enqueue(l, &cost, LLMRL_FOREVER, &tickets[i], &wait);
        CHECK(state[i] == (i == 0 ? LLMRL_OK : LLMRL_PENDING));
        due[i] = wait == LLMRL_FOREVER ? UINT64_MAX : began + wait;
        granted += state[i] == LLMRL_OK;
    }
    while (granted < TICKETS) {
        uint64_t next = UINT64_MAX;
        int at;
        CHECK(++steps < 10 * TICKETS);
        OK(llmrl_clock_now(clock, &now));
        for (at = 0; at < events.count; at++)
            for (i = 0; i < TICKETS; i++)
                if (tickets[i] == events.woken[at] && state[i] == LLMRL_PENDING)
                    due[i] = now;
        events.count = 0;
        for (i = 0; i < TICKETS; i++) {
            if (state[i] != LLMRL_PENDING || due[i] > now)
                continue;
            polls++;
            state[i] = llmrl_poll(l, tickets[i], &wait);
            CHECK(state[i] == LLMRL_OK || state[i] == LLMRL_PENDING);
            if (state[i] == LLMRL_OK) {
                EQUAL(i, granted);
                granted++;
            } else {
                due[i] = wait == LLMRL_FOREVER ? UINT64_MAX : now + wait;
            }
        }
        /* Whoever is held finishes when two more are; so that slots are what binds, sometimes. */
        if (granted >= 3 && state[granted - 3] == LLMRL_OK && granted % 3 == 0)
            for (i = granted - 3; i < granted; i++)
                if (state[i] == LLMRL_OK) {
                    OK(llmrl_release(l, tickets[i]));
                    state[i] = LLMRL_ERR_STALE;
                }
        if (events.count)
            continue;
        for (i = 0; i < TICKETS; i++)
            if (state[i] == LLMRL_PENDING && due[i] < next)
                next = due[i];
        if (granted == TICKETS)
            break;
        CHECK(next != UINT64_MAX);
        if (next > now)
            OK(llmrl_clock_advance(clock, next - now));
    }
    /* One a second and one at once: neither earlier nor later. */
    OK(llmrl_clock_now(clock, &now));
    EQUAL(now - began, (TICKETS - 1) * SECOND);
    CHECK(polls < 3 * TICKETS);
    EQUAL(stats_of(l).waiting, 0);
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

/* At most one wake for one answer PENDING, and one poll for it is enough. */
static void one_wake(void)
{
    static loop events;
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_limiter *l;
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit held, ticket;
    uint64_t wait = 0;

    options.wake = push;
    options.wake_ctx = &events;
    l = limiter_of(&limit, 1, &options);
    OK(llmrl_try_acquire(l, &cost, &held, NULL));
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &ticket, &wait), LLMRL_PENDING);
    EQUAL(wait, LLMRL_FOREVER);
    EQUAL(events.count, 0);
    OK(llmrl_release(l, held));
    EQUAL(events.count, 1);
    EQUAL(events.woken[0], ticket);
    OK(llmrl_limiter_retune(l, 0, 2, 0, 0));
    OK(llmrl_limiter_retune(l, 0, 1, 0, 0));
    EQUAL(events.count, 1);
    OK(llmrl_poll(l, ticket, &wait));
    OK(llmrl_poll(l, ticket, &wait));
    OK(llmrl_cancel(l, ticket));
    EQUAL(stats_of(l).in_flight, 0);

    /* Close wakes who waits. */
    OK(llmrl_try_acquire(l, &cost, &held, NULL));
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &ticket, &wait), LLMRL_PENDING);
    events.count = 0;
    OK(llmrl_limiter_close(l));
    EQUAL(events.count, 1);
    EQUAL(events.woken[0], ticket);
    EQUAL(llmrl_poll(l, ticket, NULL), LLMRL_ERR_CLOSED);
    llmrl_limiter_free(l);
}

/* Calls into the limiter from inside of the callback. */
typedef struct nest {
    const llmrl_limiter *limiter;
    llmrl_permit tickets[TICKETS];
    int count, held, deep;
} nest;

static void take_and_pass(void *context, llmrl_permit ticket)
{
    nest *n = (nest *)context;
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit other;
    llmrl_status status = llmrl_poll(n->limiter, ticket, NULL);
    uint64_t wait;
    /* The one that is being polled by the very call that wakes it will be told by that call; and one that has ended
     * in the meantime may be woken all the same. */
    if (status == LLMRL_ERR_BUSY || status == LLMRL_PENDING || status == LLMRL_ERR_STALE)
        return;
    OK(status);
    CHECK(++n->deep < 10);
    n->held++;
    EQUAL(stats_of(n->limiter).in_flight, 1);
    EQUAL(llmrl_try_acquire(n->limiter, &cost, &other, &wait), LLMRL_REFUSED);
    EQUAL(llmrl_enqueue(n->limiter, &cost, LLMRL_FOREVER, &other, &wait), LLMRL_PENDING);
    OK(llmrl_cancel(n->limiter, other));
    /* Which wakes the next one. */
    OK(llmrl_settle(n->limiter, ticket, &cost));
    n->deep--;
}

static void reentrant(void)
{
    static nest n;
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_limiter *l;
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit held;
    int i;

    options.wake = take_and_pass;
    options.wake_ctx = &n;
    l = limiter_of(&limit, 1, &options);
    n.limiter = l;
    OK(llmrl_try_acquire(l, &cost, &held, NULL));
    for (i = 0; i < TICKETS; i++)
        EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &n.tickets[i], NULL), LLMRL_PENDING);
    OK(llmrl_release(l, held));
    EQUAL(n.held, TICKETS);
    EQUAL(stats_of(l).in_flight, 0);
    EQUAL(stats_of(l).waiting, 0);
    for (i = 0; i < TICKETS; i++)
        EQUAL(llmrl_cancel(l, n.tickets[i]), LLMRL_ERR_STALE);
    llmrl_limiter_free(l);
}

/* The callback closes; free with tickets in the queue calls it for each of them. */
typedef struct closing {
    llmrl_limiter *limiter;
    int called;
} closing;

static void close_and_poll(void *context, llmrl_permit ticket)
{
    closing *c = (closing *)context;
    c->called++;
    OK(llmrl_limiter_close(c->limiter));
    EQUAL(llmrl_poll(c->limiter, ticket, NULL), LLMRL_ERR_CLOSED);
}

static void freed_with_tickets(void)
{
    closing c;
    llmrl_options options = no_options();
    llmrl_limit limit = in_flight(1);
    llmrl_cost cost = cost_of(0, 0);
    llmrl_permit p;
    int i;

    c.called = 0;
    options.wake = close_and_poll;
    options.wake_ctx = &c;
    c.limiter = limiter_of(&limit, 1, &options);
    OK(llmrl_try_acquire(c.limiter, &cost, &p, NULL));
    for (i = 0; i < 5; i++)
        EQUAL(llmrl_enqueue(c.limiter, &cost, LLMRL_FOREVER, &p, NULL), LLMRL_PENDING);
    llmrl_limiter_free(c.limiter);
    EQUAL(c.called, 5);
}

/* A retune makes a ticket impossible. */
static void never_after_all(void)
{
    static loop events;
    llmrl_clock *clock = clock_at(0);
    llmrl_options options = no_options();
    llmrl_limit limit = bucket(LLMRL_TOKENS, 100);
    llmrl_limiter *l;
    llmrl_cost cost = cost_of(100, 0);
    llmrl_permit a, b;
    uint64_t wait = 0;

    options.clock = clock;
    options.wake = push;
    options.wake_ctx = &events;
    l = limiter_of(&limit, 1, &options);
    OK(llmrl_try_acquire(l, &cost, NULL, NULL));
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &a, &wait), LLMRL_PENDING);
    cost.input_tokens = 10;
    EQUAL(llmrl_enqueue(l, &cost, LLMRL_FOREVER, &b, &wait), LLMRL_PENDING);
    EQUAL(wait, 66 * SECOND);
    OK(llmrl_limiter_retune(l, 0, 60, 0, 50));
    EQUAL(llmrl_poll(l, a, &wait), LLMRL_ERR_NEVER);
    EQUAL(llmrl_poll(l, b, &wait), LLMRL_PENDING);
    EQUAL(wait, 10 * SECOND);
    OK(llmrl_clock_advance(clock, 10 * SECOND));
    OK(llmrl_poll(l, b, &wait));
    llmrl_limiter_free(l);
    llmrl_clock_free(clock);
}

int main(void)
{
    a_loop();
    one_wake();
    reentrant();
    freed_with_tickets();
    never_after_all();
    return 0;
}
