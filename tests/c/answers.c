/* Reads the answers that every language reads. answers.inc is made of tests/feedback by tests/c/answers.rs. */
#include "check.h"

/* As in tests/feedback/vectors.rs. */
enum field {
    CLASS,
    AXIS,
    WAIT_NS,
    SHOULD_RETRY,
    RETRYABLE,
    WARNING,
    REQUESTED,
    TRIPPED,
    QUOTA_COUNT,
    POOL,
    LIMIT,
    REMAINING,
    RESET_NS,
    WINDOW_NS,
    UTILIZATION,
    PERIOD_NS,
    SOLVED_LOW_S,
    SOLVED_HIGH_S,
    MISLABELLED,
    EXHAUSTED
};

typedef struct expected {
    enum field field;
    /* Of the reading if 0, else of its limit before that number. */
    uint32_t quota;
    uint64_t value;
} expected;

typedef struct vector {
    const char *name;
    uint32_t status;
    const llmrl_header *headers;
    size_t header_count;
    const char *body;
    size_t body_size;
    uint64_t now_ns;
    const expected *expect;
    size_t length;
} vector;

#include "answers.inc"

static uint64_t seconds(uint64_t ns)
{
    return ns == LLMRL_UNKNOWN ? ns : ns / SECOND;
}

static uint64_t said_of_quota(const llmrl_quota *q, enum field field)
{
    switch (field) {
    case AXIS: return q->meter;
    case POOL: return q->pool;
    case LIMIT: return q->limit;
    case REMAINING: return q->remaining;
    case RESET_NS: return q->reset_ns;
    case WINDOW_NS: return q->window_ns;
    case UTILIZATION: return q->utilization;
    case PERIOD_NS: return q->period_ns;
    case SOLVED_LOW_S: return seconds(q->solved_low_ns);
    case SOLVED_HIGH_S: return seconds(q->solved_high_ns);
    case MISLABELLED: return (q->flags & LLMRL_MISLABELLED) != 0;
    case EXHAUSTED:
        return q->remaining == 0 || (q->utilization != LLMRL_UNKNOWN && q->utilization >= 1000000);
    default: break;
    }
    fprintf(stderr, "field %d is not one of a limit\n", (int)field);
    exit(1);
}

static uint64_t said(const llmrl_reading *r, enum field field)
{
    switch (field) {
    case CLASS: return r->answer_class;
    case AXIS: return r->meter;
    case WAIT_NS: return r->wait_ns;
    case SHOULD_RETRY:
        if (r->flags & LLMRL_SHOULD_RETRY)
            return 1;
        return r->flags & LLMRL_SHOULD_NOT_RETRY ? 0 : LLMRL_UNKNOWN;
    case RETRYABLE: return (r->flags & LLMRL_RETRYABLE) != 0;
    case WARNING: return (r->flags & LLMRL_WARNING) != 0;
    case REQUESTED: return r->requested;
    case TRIPPED: return r->tripped;
    case QUOTA_COUNT: return r->quota_count;
    default: break;
    }
    fprintf(stderr, "field %d is not one of a reading\n", (int)field);
    exit(1);
}

static void run(const vector *v)
{
    llmrl_answer answer;
    llmrl_reading reading;
    size_t i;

    memset(&answer, 0, sizeof answer);
    answer.status = v->status;
    answer.headers = v->headers;
    answer.header_count = v->header_count;
    answer.body = v->body;
    answer.body_size = v->body_size;
    answer.wall_now_ns = v->now_ns;
    OK(llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading));
    CHECK(v->length > 0);
    for (i = 0; i < v->length; i++) {
        const expected *it = &v->expect[i];
        uint64_t got = it->quota == 0 ? said(&reading, it->field)
                                      : said_of_quota(&reading.quotas[it->quota - 1], it->field);
        if (got != it->value) {
            fprintf(stderr, "%s, line %zu of what is expected: %" PRIu64 ", not %" PRIu64 "\n", v->name, i + 1,
                    got, it->value);
            exit(1);
        }
    }
}

int main(void)
{
    const size_t count = sizeof vectors / sizeof *vectors;
    size_t i, lines = 0;
    for (i = 0; i < count; i++) {
        run(&vectors[i]);
        lines += vectors[i].length;
    }
    printf("%zu answers, %zu expectations\n", count, lines);
    return 0;
}
