/* Runs the vectors that every language runs. vectors.inc is made of tests/vectors by tests/c/vectors.rs. */
#include "check.h"

#define MOST_NAMES 256

enum subject { SUBJECT_LIMITER, SUBJECT_BUCKET, SUBJECT_IN_FLIGHT };

enum op {
    LIMITER_TRY_ACQUIRE,
    LIMITER_ENQUEUE,
    LIMITER_POLL,
    LIMITER_RELEASE,
    LIMITER_CANCEL,
    LIMITER_ADJUST,
    LIMITER_SETTLE,
    LIMITER_CHARGE,
    LIMITER_CLOSE,
    LIMITER_RESIZE,
    LIMITER_PAUSE,
    LIMITER_ALIGN,
    LIMITER_RETUNE,
    BUCKET_TAKE,
    BUCKET_REFUND,
    BUCKET_CHARGE,
    BUCKET_PAUSE,
    BUCKET_RETUNE,
    IN_FLIGHT_ENTER,
    IN_FLIGHT_LEAVE,
    IN_FLIGHT_RESIZE
};

typedef struct step {
    uint64_t at;
    enum op op;
    uint32_t limit;
    uint64_t n, amount, period_ns, burst;
    llmrl_cost cost;
    uint64_t timeout_ns;
    int name;
    llmrl_status is;
    int has_wait;
    uint64_t wait_ns;
    int balances;
    int64_t available[LLMRL_MAX_LIMITS];
} step;

typedef struct vector {
    const char *name;
    enum subject subject;
    uint64_t start_ns;
    uint32_t max_waiters;
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    size_t count;
    const step *steps;
    size_t length;
    int names;
} vector;

#include "vectors.inc"

typedef struct subject_of {
    llmrl_limiter *limiter;
    llmrl_bucket *bucket;
    llmrl_in_flight *in_flight;
    uint64_t slots;
    llmrl_permit permits[MOST_NAMES];
} subject_of;

static llmrl_status apply(subject_of *s, const step *it, uint64_t *wait)
{
    llmrl_limiter *l = s->limiter;
    llmrl_permit *p = &s->permits[it->name];
    llmrl_status status;
    switch (it->op) {
    case LIMITER_TRY_ACQUIRE: return llmrl_try_acquire(l, &it->cost, p, wait);
    case LIMITER_ENQUEUE: return llmrl_enqueue(l, &it->cost, it->timeout_ns, p, wait);
    case LIMITER_POLL: return llmrl_poll(l, *p, wait);
    case LIMITER_RELEASE: return llmrl_release(l, *p);
    case LIMITER_CANCEL: return llmrl_cancel(l, *p);
    case LIMITER_ADJUST: return llmrl_adjust(l, *p, &it->cost);
    case LIMITER_SETTLE: return llmrl_settle(l, *p, &it->cost);
    case LIMITER_CHARGE: return llmrl_limiter_charge(l, &it->cost);
    case LIMITER_CLOSE: return llmrl_limiter_close(l);
    case LIMITER_RESIZE: return llmrl_limiter_retune(l, it->limit, it->n, 0, 0);
    case LIMITER_PAUSE: return llmrl_limiter_pause(l, it->limit, it->n);
    case LIMITER_ALIGN: return llmrl_limiter_align(l, it->limit, it->n);
    case LIMITER_RETUNE: return llmrl_limiter_retune(l, it->limit, it->amount, it->period_ns, it->burst);
    case BUCKET_TAKE: return llmrl_bucket_try_take(s->bucket, it->n, wait);
    case BUCKET_REFUND: return llmrl_bucket_refund(s->bucket, it->n);
    case BUCKET_CHARGE: return llmrl_bucket_charge(s->bucket, it->n);
    case BUCKET_PAUSE: return llmrl_bucket_pause(s->bucket, it->n);
    case BUCKET_RETUNE: return llmrl_bucket_retune(s->bucket, it->amount, it->period_ns, it->burst);
    case IN_FLIGHT_ENTER:
        /* It always takes somebody's leaving, so the function does not say so. */
        *wait = LLMRL_FOREVER;
        return llmrl_in_flight_try_enter(s->in_flight);
    case IN_FLIGHT_LEAVE: return llmrl_in_flight_leave(s->in_flight);
    case IN_FLIGHT_RESIZE:
        status = llmrl_in_flight_resize(s->in_flight, it->n);
        if (status == LLMRL_OK)
            s->slots = it->n;
        return status;
    }
    return LLMRL_ERR_PANIC;
}

static int64_t available(const subject_of *s, const vector *v, int limit)
{
    int64_t left = 0;
    uint64_t count = 0;
    switch (v->subject) {
    case SUBJECT_LIMITER: return state_of(s->limiter, (uint32_t)limit).available;
    case SUBJECT_BUCKET: OK(llmrl_bucket_available(s->bucket, &left)); return left;
    case SUBJECT_IN_FLIGHT: OK(llmrl_in_flight_count(s->in_flight, &count)); return (int64_t)(s->slots - count);
    }
    return left;
}

static void differs(const vector *v, size_t number, const char *what, int64_t got, int64_t want)
{
    fprintf(stderr, "%s, step %zu: %s is %" PRId64 ", not %" PRId64 "\n", v->name, number + 1, what, got, want);
    exit(1);
}

static void run(const vector *v)
{
    llmrl_options options = no_options();
    llmrl_clock *clock = clock_at(v->start_ns);
    subject_of s;
    size_t i;
    int limit;

    memset(&s, 0, sizeof s);
    CHECK(v->names <= MOST_NAMES);
    options.clock = clock;
    options.max_waiters = v->max_waiters;
    if (v->subject == SUBJECT_LIMITER) {
        s.limiter = limiter_of(v->limits, v->count, &options);
    } else if (v->subject == SUBJECT_BUCKET) {
        OK(llmrl_bucket_new(v->limits, clock, &s.bucket, NULL, 0));
    } else {
        s.slots = v->limits[0].amount;
        OK(llmrl_in_flight_new(s.slots, &s.in_flight));
    }
    for (i = 0; i < v->length; i++) {
        const step *it = &v->steps[i];
        uint64_t now = 0, wait = 0;
        llmrl_status status;
        OK(llmrl_clock_now(clock, &now));
        CHECK(it->at >= now);
        OK(llmrl_clock_advance(clock, it->at - now));
        status = apply(&s, it, &wait);
        if (status != it->is)
            differs(v, i, "the answer", status, it->is);
        if (it->has_wait && wait != it->wait_ns)
            differs(v, i, "the wait", (int64_t)wait, (int64_t)it->wait_ns);
        for (limit = 0; limit < it->balances; limit++)
            if (available(&s, v, limit) != it->available[limit])
                differs(v, i, "what is available", available(&s, v, limit), it->available[limit]);
    }
    llmrl_limiter_free(s.limiter);
    llmrl_bucket_free(s.bucket);
    llmrl_in_flight_free(s.in_flight);
    llmrl_clock_free(clock);
}

int main(void)
{
    const size_t count = sizeof vectors / sizeof *vectors;
    size_t i, steps = 0;
    for (i = 0; i < count; i++) {
        run(&vectors[i]);
        steps += vectors[i].length;
    }
    printf("%zu vectors, %zu steps\n", count, steps);
    return 0;
}
