/*
 * llmrl.h - rate limiting for clients of LLM APIs
 *
 * Providers limit how many requests and tokens an account may use in a minute, and how many
 * requests it may have under way. A limiter sits in front of them: it lets requests through as
 * fast as all of these limits allow together, and never faster. Requests that must wait do so
 * in the order in which they came, and each sleeps until its own turn.
 *
 * What a request will use is not known before its answer is there. So it asks with an
 * estimate, and settles with what was really used; the difference goes back at once.
 *
 * This file is generated from the sources of libllmrl. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 *
 * EXAMPLE
 *
 *     cc -o example example.c $(pkg-config --cflags --libs llmrl)
 *
 *     #include <inttypes.h>
 *     #include <llmrl.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         llmrl_limit limits[3] = {
 *             {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_REQUESTS, .amount = 500},
 *             {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_TOKENS, .amount = 200000},
 *             {.kind = LLMRL_IN_FLIGHT, .amount = 50},
 *         };
 *         llmrl_limiter *limiter;
 *         char message[128];
 *         if (llmrl_limiter_new(limits, 3, NULL, 0, &limiter, message, sizeof message) < 0) {
 *             fprintf(stderr, "limits: %s\n", message);
 *             return 1;
 *         }
 *
 *         // Asks with an estimate, and blocks until it is this request's turn.
 *         llmrl_cost estimate = {.requests = 1, .input_tokens = 1200, .output_tokens = 400};
 *         llmrl_permit permit;
 *         llmrl_status status = llmrl_acquire(limiter, &estimate, LLMRL_FOREVER, &permit);
 *         if (status < 0) {
 *             fprintf(stderr, "acquire: %s\n", llmrl_strerror(status));
 *             return 1;
 *         }
 *
 *         // ... send the request, read the usage from its answer ...
 *
 *         llmrl_cost used = {.requests = 1, .input_tokens = 1180, .output_tokens = 212};
 *         llmrl_settle(limiter, permit, &used);
 *
 *         llmrl_stats stats;
 *         llmrl_limiter_stats(limiter, &stats, sizeof stats);
 *         printf("%" PRIu64 " admitted\n", stats.granted);
 *         llmrl_limiter_free(limiter);
 *         return 0;
 *     }
 *
 *
 * WORDS
 *
 *     limit       one rule: a token bucket, or a number of requests in flight
 *     meter       what a token bucket counts: requests, tokens, input tokens, output tokens
 *     limiter     up to 8 limits, and the queue of those who wait for them
 *     cost        what a request uses: requests, and tokens of several kinds
 *     permit      a request that was admitted, until it is settled, released or cancelled
 *     ticket      a request that waits; it becomes a permit, under the same number
 *     chain       limiters one above the other: a request needs all of them
 *     router      limiters by name: which one a key belongs to, which one admits first
 *
 *
 * RULES, which hold for every function and are not repeated there
 *
 * Threads. A function that takes a const pointer to an object may be called from any thread at
 * any time, whatever other threads do with the object. That is every function except those
 * that free one: when an object is freed, no other thread may be using it, then or later.
 *
 * Answers. Below zero is an error, and what else there is to know stands at llmrl_status. When
 * a function fails, it has changed nothing. Out-parameters are written only on success; wait_ns
 * and llmrl_routed also with LLMRL_REFUSED and LLMRL_PENDING, llmrl_chained also with an error
 * that is one level's, and message always.
 *
 * Pointers. NULL where an object or a struct is needed is answered with LLMRL_ERR_NULL, and a
 * pointer to something else with LLMRL_ERR_HANDLE, as far as that can be told. Structs are
 * copied during the call, need not be aligned, and are the caller's again afterwards.
 *
 * Structs that grow. A few structs may get more fields at their end in later versions. They are
 * passed with their size, so programs and libraries of different versions fit each other: a
 * field that the caller does not have is taken as zero, and zero always means "as before". A
 * field that the library does not have must be zero, or the answer is LLMRL_ERR_SIZE. Begin
 * with llmrl_options options = {0}, and set what you mean.
 *
 * Time. Durations are in nanoseconds, in 64 bits; LLMRL_FOREVER is the longest of them. All
 * time is the machine's monotonic one: setting the clock changes nothing, and while the machine
 * is suspended no time passes. See also llmrl_clock.
 *
 * Promises. Over any interval, and for each token bucket, what is admitted less what is given
 * back is at most the burst plus what the interval produces; in whole numbers, without drift.
 * A request is admitted by all limits or by none. Nobody passes the queue. A wait is exact:
 * after it the request is admitted, and a nanosecond before it is not, absent others.
 *
 * Cost. Admitting and settling do not allocate, lock, or call the system, except to wake
 * somebody whose turn has come. There is no thread in the background, and no file descriptor.
 *
 * Fork. Parent and child go on with a limiter each, which know nothing of each other.
 */
#ifndef LLMRL_H
#define LLMRL_H

#include <stddef.h>
#include <stdint.h>

/* What this header belongs to; more under "Version", at the end. */
#define LLMRL_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif


/* ----------------------------------------------------------------------------------------
 * Answers
 *
 * Every function that can fail returns an llmrl_status, and nothing else tells of the
 * failure: there is no errno and no "last error". Zero and above are outcomes, below
 * zero are errors:
 *
 *     llmrl_status status = llmrl_acquire(limiter, &cost, timeout, &permit);
 *     if (status < 0) fprintf(stderr, "%s\n", llmrl_strerror(status));
 *
 * A function that answers with an error has changed nothing and has written nothing to
 * its out-parameters. The numbers never change their meaning; new ones may come, so
 * treat an unknown negative one as a failure.
 * ---------------------------------------------------------------------------------------- */

/**
 * As a timeout: wait without end. As a wait: no time is known, because it takes an
 * event, such as the release of a permit.
 */
#define LLMRL_FOREVER UINT64_MAX

/** What came of a call: LLMRL_OK, LLMRL_PENDING, LLMRL_REFUSED, or an error. */
typedef int32_t llmrl_status;

/**
 * Done; or, of a request: it is admitted, and held until it is settled, released or
 * cancelled.
 */
#define LLMRL_OK 0

/**
 * The ticket waits in the queue. Poll it after wait_ns, or when the wake callback is
 * called for it.
 */
#define LLMRL_PENDING 1

/**
 * Not now. The request has taken nothing, and is not in the queue; wait_ns says when
 * to come again.
 */
#define LLMRL_REFUSED 2

/**
 * A pointer that is needed is NULL. That includes a permit to be written, where the
 * limiter counts requests in flight.
 */
#define LLMRL_ERR_NULL -1

/**
 * The size of a struct is 0, above 4096, or larger than this version knows with
 * something else than zeros at the end.
 */
#define LLMRL_ERR_SIZE -2

/** A flag that this version does not know, or a reserved field that is not zero. */
#define LLMRL_ERR_FLAGS -3

/**
 * A field of a limit or an option is outside its range, or a key is too short or too long. The functions that make an
 * object say which in their message.
 */
#define LLMRL_ERR_RANGE -4

/**
 * A cost outside its range: each count is at most 2^40 - 1, input and output tokens
 * together as well, and the requests are at least 1, except of llmrl_limiter_charge().
 * For bare buckets: n is 1 to 2^40 - 1.
 */
#define LLMRL_ERR_COST -5

/**
 * The limiter has no limit of that index, or not one of the kind that the function is
 * for.
 */
#define LLMRL_ERR_INDEX -6

/**
 * The request costs more than one of the limits can ever hold. Waiting does not help;
 * a smaller request does.
 */
#define LLMRL_ERR_NEVER -7

/**
 * As many wait, or hold permits, as the limiter was made for. In a map of buckets: there
 * is no room for another key.
 */
#define LLMRL_ERR_FULL -8

/**
 * The timeout has passed, or would have before the request could be admitted: that is
 * told at once.
 */
#define LLMRL_ERR_DEADLINE -9

/** The limiter is closed. */
#define LLMRL_ERR_CLOSED -10

/**
 * The number names nothing that the call could work on: it has ended, or it belongs to
 * another limiter, or it was never given out, or it is a ticket that still waits where
 * a permit is needed.
 */
#define LLMRL_ERR_STALE -11

/**
 * Another thread is in a call with the same number at this very moment. This call has
 * done nothing; make it again. Of two polls, the other one answers for both.
 */
#define LLMRL_ERR_BUSY -12

/** No memory. Only the functions that make an object need any. */
#define LLMRL_ERR_MEMORY -13

/** A defect in this library was caught before it could do harm. The limiter is closed. */
#define LLMRL_ERR_PANIC -14

/**
 * The pointer is not to a live object of the right kind. This catches most mistakes,
 * not all: a pointer into freed memory may be followed before it is found out.
 */
#define LLMRL_ERR_HANDLE -15

/** What was saved cannot be read, or is of other limits. Make the limiter without it. */
#define LLMRL_ERR_SAVED -16

/**
 * The router has no node of that name; or none that a request could go to: it has no node, or
 * all weights are 0.
 */
#define LLMRL_ERR_NODE -17

/**
 * A sentence in English about a status, without a full stop. Never NULL, whatever the
 * number; static, not to be freed.
 */
const char *llmrl_strerror(llmrl_status status);


/* ----------------------------------------------------------------------------------------
 * Limits and costs
 *
 * The two structs that describe what is allowed and what a request takes. Both are 64
 * bytes and stay so: set them to zero, fill in what you mean, and leave the reserved
 * fields alone. They need not be aligned.
 * ---------------------------------------------------------------------------------------- */

/**
 * llmrl_limit.kind: a token bucket. It produces amount per period, evenly, and holds
 * burst at most.
 */
#define LLMRL_TOKEN_BUCKET 1

/**
 * llmrl_limit.kind: how many permits may be held at the same time. A limiter has at
 * most one limit of this kind.
 */
#define LLMRL_IN_FLIGHT 2

/**
 * llmrl_limit.kind: a leaky bucket. amount per period at even distances: the first
 * request goes at once, the next when the cost of that has been produced: never sooner,
 * and a microsecond later at most (for less than one an hour, 2^-32 of what a unit
 * takes). It can be retuned up to a thousand times the rate it was made with.
 */
#define LLMRL_PACING 3

/**
 * llmrl_limit.kind: amount in each period, all of which comes back at its end. The
 * first one begins when the limiter is made, or ends as resets_in_ns says.
 */
#define LLMRL_FIXED_WINDOW 4

/**
 * llmrl_limit.kind: amount in a period, estimated from two counters: this period's use,
 * and the last one's in proportion to what of it is less than a period ago. In the
 * worst window nearly twice amount is admitted.
 */
#define LLMRL_SLIDING_WINDOW_COUNTER 5

/**
 * llmrl_limit.kind: never more than amount in any period, counted in resolution parts.
 * Steady use reaches k / (k + 1) of amount with k parts.
 */
#define LLMRL_SLIDING_WINDOW 6

/**
 * llmrl_limit.kind: never more than amount in any period, with a time stamp to the
 * nanosecond for each admission. When there are more than resolution, the two oldest
 * count as one.
 */
#define LLMRL_SLIDING_WINDOW_LOG 7

/** llmrl_limit.meter: requests. */
#define LLMRL_REQUESTS 1

/** llmrl_limit.meter: input and output tokens together. */
#define LLMRL_TOKENS 2

/** llmrl_limit.meter: input tokens. */
#define LLMRL_INPUT_TOKENS 3

/** llmrl_limit.meter: output tokens. */
#define LLMRL_OUTPUT_TOKENS 4

/**
 * llmrl_limit.meter: tokens, each class with a weight of its own; a request's sum is
 * rounded up.
 */
#define LLMRL_WEIGHTED_TOKENS 5

/**
 * llmrl_limit.flags: a request that costs more than burst is admitted when the bucket
 * is full, and leaves it in debt, which is paid before the next one is admitted.
 * Without this flag it is refused with LLMRL_ERR_NEVER.
 */
#define LLMRL_OVERSIZE_WHEN_FULL 1

/**
 * llmrl_limit.flags: the bucket starts empty instead of full, the window full instead
 * of empty, for limits of which others may have used something.
 */
#define LLMRL_START_EMPTY 2

/**
 * One rule.
 *
 *     llmrl_limit limits[3] = {
 *         {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_REQUESTS, .amount = 500},          500 requests a minute
 *         {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_TOKENS,   .amount = 200000},       200000 tokens a minute
 *         {.kind = LLMRL_IN_FLIGHT,                             .amount = 50},           50 at the same time
 *     };
 */
typedef struct llmrl_limit {
    /** LLMRL_TOKEN_BUCKET to LLMRL_SLIDING_WINDOW_LOG. */
    uint32_t kind;
    /** What it counts, LLMRL_REQUESTS to LLMRL_WEIGHTED_TOKENS; 0 for in flight. */
    uint32_t meter;
    /** How much in a period, 1 to 2^40 - 1. In flight: the permits, 1 to 524287. */
    uint64_t amount;
    /**
     * Up to 3660 days; for a bucket or pacing not so short that more than 10^9 a second
     * are produced. 0 is one minute, 60000000000. In flight: 0.
     */
    uint64_t period_ns;
    /**
     * Token bucket: what an idle one holds, 1 to 2^40 - 1; 0 is as much as amount. All
     * others: 0.
     */
    uint64_t burst;
    /** LLMRL_OVERSIZE_WHEN_FULL, LLMRL_START_EMPTY, both or none. In flight: 0. */
    uint32_t flags;
    /**
     * Sliding window: its parts, 1 to 1000; 0 is 60. Log: the time stamps it holds, 16
     * bytes each, 1 to 65536; 0 is as many as amount. All others: 0.
     */
    uint32_t resolution;
    /**
     * Fixed window: the present one ends so long from now, at most a period; 0 is a
     * whole period. All others: 0.
     */
    uint64_t resets_in_ns;
    /**
     * What an input token counts that is neither read from nor written to a cache, in
     * thousandths, 0 to 100000. This and the next three are for LLMRL_WEIGHTED_TOKENS,
     * where not all may be 0; all others: 0.
     */
    uint32_t input_weight;
    /** The same for an output token. */
    uint32_t output_weight;
    /** For an input token that the provider takes from its cache. */
    uint32_t cached_weight;
    /** For an input token that the provider puts into its cache. */
    uint32_t cache_write_weight;
} llmrl_limit;

/**
 * What a request will use, or has used. Each count is at most 2^40 - 1, input_tokens +
 * output_tokens as well; the two of the cache are at most 2^36 - 1.
 */
typedef struct llmrl_cost {
    /** Usually 1, and at least that; in llmrl_limiter_charge() also 0. */
    uint64_t requests;
    /** Tokens of the prompt. */
    uint64_t input_tokens;
    /** Tokens of the answer; beforehand, an estimate. */
    uint64_t output_tokens;
    /**
     * Input tokens that the provider takes from its cache. Part of input_tokens; only
     * LLMRL_WEIGHTED_TOKENS looks at them.
     */
    uint64_t cached_tokens;
    /**
     * Input tokens that the provider puts into its cache. Part of input_tokens; only
     * LLMRL_WEIGHTED_TOKENS looks at them.
     */
    uint64_t cache_write_tokens;
    /** Zero. */
    uint64_t reserved[3];
} llmrl_cost;


/* ----------------------------------------------------------------------------------------
 * Manual clock
 *
 * A limiter keeps the machine's monotonic time, unless it is given a clock that is
 * moved by hand. Then nothing in it happens by itself, and a test can go through an
 * hour of waiting in a microsecond, exactly:
 *
 *     llmrl_clock *clock;
 *     llmrl_clock_new(0, &clock);
 *     llmrl_options options = {0};
 *     options.clock = clock;
 *     llmrl_limiter_new(limits, 2, &options, sizeof options, &limiter, NULL, 0);
 *     ...
 *     llmrl_clock_advance(clock, 60 * UINT64_C(1000000000));     a minute has passed
 *
 * Many limiters and buckets may share one clock. Each keeps it alive for itself, so it
 * may be freed before them.
 * ---------------------------------------------------------------------------------------- */

/** A clock that is moved by hand. */
typedef struct llmrl_clock llmrl_clock;

/**
 * Makes a clock that shows start_ns nanoseconds, of which only differences ever matter.
 * Free it with llmrl_clock_free().
 *
 * Returns LLMRL_OK or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_clock_new(uint64_t start_ns, struct llmrl_clock **out);

/**
 * Moves the clock forward and wakes all whose time has come: threads in llmrl_acquire(),
 * and tickets by their callback, on this thread, before the function returns. The clock
 * stops at 2^62 - 1 nanoseconds, after 146 years.
 *
 * Returns LLMRL_OK.
 */
llmrl_status llmrl_clock_advance(const struct llmrl_clock *clock, uint64_t ns);

/**
 * Reads what the clock shows.
 *
 * Returns LLMRL_OK or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_clock_now(const struct llmrl_clock *clock, uint64_t *ns);

/**
 * Gives the clock up; NULL is allowed. Limiters and buckets that have it go on with
 * it, at the time that it shows.
 */
void llmrl_clock_free(struct llmrl_clock *clock);


/* ----------------------------------------------------------------------------------------
 * Limiter
 *
 * Up to 8 limits that admit a request all together or not at all, and one queue of
 * those who wait, first in, first out. Everything that is needed is allocated when the
 * limiter is made.
 * ---------------------------------------------------------------------------------------- */

/** Most limits of one limiter. */
#define LLMRL_MAX_LIMITS 8

/**
 * llmrl_options.flags: llmrl_feedback() may raise limits above what they are here, to what
 * the provider says. By default it only lowers them. As what is configured is then only a
 * guess, half of what each limit lets pass at once waits for the provider's first answer.
 */
#define LLMRL_RAISE_LIMITS 1

/** A limiter. See llmrl_limiter_new(). */
typedef struct llmrl_limiter llmrl_limiter;

/**
 * A ticket and the permit it becomes. It is a number, not a pointer: nothing needs to
 * be freed, it can be copied and kept, and using it after its end, or with another
 * limiter, is answered with LLMRL_ERR_STALE. Never 0.
 */
typedef uint64_t llmrl_permit;

/**
 * Called when a ticket should be polled before the time that its last poll has named.
 * It means that and nothing else: the ticket may or may not be held now, it may even
 * have ended.
 *
 * It is called at most once for each LLMRL_PENDING, by any thread that is in a call on
 * the limiter or moves its clock, and perhaps before the call that answers
 * LLMRL_PENDING has returned. No lock is held, so it may call functions of this
 * library, also llmrl_poll() for the same ticket. It must return: no longjmp and no
 * exception may leave it. It should be quick, because it runs in the middle of
 * somebody's call; to set a flag or to write to a pipe is its usual work.
 */
typedef void (*llmrl_wake_fn)(void *context, llmrl_permit ticket);

/**
 * What can be chosen of a limiter. May grow at the end in later versions, so its size
 * is passed along with it; all zeros, like NULL in its place, means the defaults.
 */
typedef struct llmrl_options {
    /** LLMRL_RAISE_LIMITS or none. */
    uint32_t flags;
    /**
     * How many may wait at the same time, threads and tickets together, up to 1048576;
     * 0 is 4096. One that has left counts until the queue has moved past it.
     */
    uint32_t max_waiters;
    /**
     * How many permits may be held at the same time, besides, up to 1048576; 0 is
     * 65536. Memory is reserved for all of them, and becomes resident when it is first
     * used.
     */
    uint32_t max_permits;
    /** Zero. */
    uint32_t reserved0;
    /** NULL for the machine's clock. The limiter keeps the clock alive for itself. */
    llmrl_clock *clock;
    /**
     * Called when a ticket should be polled; NULL if tickets are not used, or are
     * polled anyway.
     */
    llmrl_wake_fn wake;
    /**
     * Handed to wake as it is. Must stay valid until llmrl_limiter_free() has
     * returned.
     */
    void *wake_ctx;
    /** What llmrl_limiter_save() wrote, to go on from there; NULL for a fresh start. */
    const void *saved;
    /** How many bytes that are. */
    size_t saved_size;
    /**
     * Wall-clock time, nanoseconds since 1970, by which the time since then is known; 0
     * for the system's.
     */
    uint64_t saved_now_ns;
} llmrl_options;

/**
 * Makes a limiter of count limits, 1 to LLMRL_MAX_LIMITS, which are referred to by
 * their index from then on. limits may be forgotten afterwards. options may be NULL;
 * options_size is sizeof *options.
 *
 * If something is wrong with a limit or an option, message says which field, what it was,
 * and what it may be:
 *
 *     limits[1].amount = 0 is outside 1..=1099511627775
 *
 * Up to message_size bytes are written, the terminating zero always among them; 128 are
 * enough. It may be NULL. When there is nothing to be said, it is made "".
 *
 * The first limiter of a process on the machine's clock takes the time to measure it,
 * normally below a millisecond.
 *
 * - LLMRL_OK: *out is the limiter, to be freed with llmrl_limiter_free().
 * - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS, LLMRL_ERR_SAVED: see message.
 * - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: limits or out. LLMRL_ERR_HANDLE:
 *   options->clock. LLMRL_ERR_MEMORY.
 */
llmrl_status llmrl_limiter_new(const llmrl_limit *limits,
                               size_t count,
                               const struct llmrl_options *options,
                               size_t options_size,
                               struct llmrl_limiter **out,
                               char *message,
                               size_t message_size);

/**
 * Ends the limiter: everyone who waits, in llmrl_acquire() or with a ticket, is told
 * LLMRL_ERR_CLOSED, and so is everyone who comes later. Permits that are held can
 * still be settled. Any thread, any number of times.
 *
 * Returns LLMRL_OK.
 */
llmrl_status llmrl_limiter_close(const struct llmrl_limiter *l);

/**
 * Gives the limiter up; NULL is allowed. No other thread may be in a call on it, or
 * make one later. To get there: close it, let the threads that waited return, then
 * free it.
 *
 * One mistake is forgiven, because it is common: threads that are blocked in
 * llmrl_acquire() are woken and return LLMRL_ERR_CLOSED, and the memory goes with the
 * last of them.
 *
 * Permits and tickets need no farewell. Their numbers mean nothing any more. A limiter of
 * a map goes on without its handle; its permits are released, and its tickets cancelled.
 */
void llmrl_limiter_free(struct llmrl_limiter *l);

/**
 * Changes the limit of that index, from now on. A token bucket gets another rate and
 * burst, with the ranges and defaults of llmrl_limit; what is in it stays, as far as
 * the new burst allows, and so does the part of a token that was under way. What has
 * windows gets another amount and period; what was used stays used, and the part of the
 * window that is over stays that part. An in-flight limit gets another number of permits (period_ns and burst are 0); below
 * what is held, it takes nothing away and admits nothing until enough has been
 * released. Who waits is re-timed.
 *
 * Returns LLMRL_OK, LLMRL_ERR_INDEX or LLMRL_ERR_RANGE.
 */
llmrl_status llmrl_limiter_retune(const struct llmrl_limiter *l,
                                  uint32_t index,
                                  uint64_t amount,
                                  uint64_t period_ns,
                                  uint64_t burst);

/**
 * Admits nothing that needs the limit of that index, for duration_ns from now, whatever
 * an earlier pause said; 0 resumes. A bucket fills meanwhile, and windows go on. This is
 * for a provider's "retry after".
 *
 * Returns LLMRL_OK, or LLMRL_ERR_INDEX: no such limit, or it is in flight.
 */
llmrl_status llmrl_limiter_pause(const struct llmrl_limiter *l,
                                 uint32_t index,
                                 uint64_t duration_ns);

/**
 * The fixed window of that index ends resets_in_ns from now, 1 to a period, whatever
 * was known before; what it has used stays used until then. This is for a provider that
 * says when its window resets.
 *
 * Returns LLMRL_OK; LLMRL_ERR_INDEX: no such limit, or not a fixed window;
 * LLMRL_ERR_RANGE.
 */
llmrl_status llmrl_limiter_align(const struct llmrl_limiter *l,
                                 uint32_t index,
                                 uint64_t resets_in_ns);

/**
 * Counts use that did not pass here: what another program used, or what a report says;
 * also tokens without a request, with cost->requests 0. Token buckets may go below zero;
 * nothing is admitted until that is made good.
 *
 * Returns LLMRL_OK, LLMRL_ERR_COST, LLMRL_ERR_FLAGS (a reserved field) or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_limiter_charge(const struct llmrl_limiter *l, const llmrl_cost *cost);


/* ----------------------------------------------------------------------------------------
 * Requests
 *
 * A request asks with its estimated cost. Admitted, it is a permit; waiting, it is a
 * ticket, which becomes the permit without changing its number. A permit ends once, by
 * one of
 *
 *     llmrl_settle     what was really used replaces the estimate; the answer has told
 *     llmrl_release    the estimate stands; it was sent, and nobody knows what it used
 *     llmrl_cancel     everything is given back; it was never sent
 *
 * and each of them frees its place in flight. What a bucket has refilled since it was
 * charged is not given back a second time. A permit that is never ended costs its
 * estimate, its place in flight for ever, and one of max_permits.
 *
 * Three ways to ask, all in one order: llmrl_try_acquire() now or not at all,
 * llmrl_acquire() with a thread that blocks, llmrl_enqueue() and llmrl_poll() for
 * event loops. Whoever comes first is served first, and nobody passes the queue.
 * ---------------------------------------------------------------------------------------- */

/**
 * Asks now.
 *
 * permit may be NULL if the limiter has no in-flight limit: then nothing is kept, and
 * the estimate stands. This is the cheapest way to ask, and llmrl_limiter_charge() can
 * correct it upwards.
 *
 * - LLMRL_OK: admitted, and *permit is held.
 * - LLMRL_REFUSED: not now. *wait_ns, if wait_ns is not NULL, is the time after which
 *   the same request is admitted, absent others, and a nanosecond before which it is
 *   not; or LLMRL_FOREVER, if it takes somebody's release.
 * - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED, LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS
 *   (a reserved field), and LLMRL_ERR_FULL if max_permits are held.
 *
 * Cost: one reading of the clock, one atomic exchange for each token bucket that the
 * request touches, one for the limiter, and one for the permit. Never a lock, an
 * allocation or a system call, except to wake somebody whose turn has come.
 */
llmrl_status llmrl_try_acquire(const llmrl_limiter *l,
                               const llmrl_cost *cost,
                               llmrl_permit *permit,
                               uint64_t *wait_ns);

/**
 * Says how long a request would wait if it came now, behind everybody in the queue. Takes
 * nothing, counts nothing, and promises nothing.
 *
 * - LLMRL_OK: *wait_ns is that time, absent others; 0 is now, LLMRL_FOREVER that it takes
 *   somebody's release. *limit, if limit is not NULL, is the index of the limit for which
 *   it would wait longest; LLMRL_MAX_LIMITS if it would not wait, or would for others in
 *   the queue.
 * - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED, LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS (a
 *   reserved field).
 */
llmrl_status llmrl_outlook(const llmrl_limiter *l,
                           const llmrl_cost *cost,
                           uint64_t *wait_ns,
                           uint32_t *limit);

/**
 * Asks, and blocks the thread until its turn comes, for timeout_ns at most.
 * LLMRL_FOREVER waits without end; with 0 nothing waits. permit is as in
 * llmrl_try_acquire().
 *
 * - LLMRL_OK: admitted, and *permit is held.
 * - LLMRL_ERR_DEADLINE: the timeout has passed; or the turn is known to come later
 *   than that, which is told at once.
 * - LLMRL_ERR_CLOSED: the limiter is closed, perhaps while the thread waited.
 * - LLMRL_ERR_NEVER: too much for one of the limits, perhaps since a retune while it
 *   waited.
 * - LLMRL_ERR_FULL: max_waiters wait. LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS
 *   as in llmrl_try_acquire().
 *
 * A thread that waits costs no processor time. It sleeps until its own turn is due,
 * and is woken only if that comes earlier.
 */
llmrl_status llmrl_acquire(const llmrl_limiter *l,
                           const llmrl_cost *cost,
                           uint64_t timeout_ns,
                           llmrl_permit *permit);

/**
 * Asks, and joins the queue if it is not yet the request's turn. Never blocks.
 *
 * - LLMRL_OK: admitted at once, and *ticket is a permit that is held.
 * - LLMRL_PENDING: *ticket waits. Poll it when *wait_ns have passed (wait_ns may be
 *   NULL; LLMRL_FOREVER means that time alone brings nothing), or when the wake
 *   callback is called with it, whichever is first. That may be before this function
 *   returns, and then even the ticket's number is news to the caller; the callback has
 *   it.
 * - LLMRL_ERR_DEADLINE: its turn is known to come later than timeout_ns. Other errors
 *   as in llmrl_acquire().
 *
 * A ticket that is not polled is granted in its turn all the same and delays nobody,
 * but what it asked for is then taken. End it with llmrl_cancel() when nobody waits
 * for it any more.
 */
llmrl_status llmrl_enqueue(const llmrl_limiter *l,
                           const llmrl_cost *cost,
                           uint64_t timeout_ns,
                           llmrl_permit *ticket,
                           uint64_t *wait_ns);

/**
 * Looks how a ticket stands, and moves the queue along.
 *
 * - LLMRL_OK: it is a permit and held; also when that is no news.
 * - LLMRL_PENDING: as in llmrl_enqueue(), with another *wait_ns.
 * - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER: it has ended, for the
 *   reason given in llmrl_acquire().
 * - LLMRL_ERR_STALE: it had ended before.
 * - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
 *   been.
 */
llmrl_status llmrl_poll(const llmrl_limiter *l, llmrl_permit ticket, uint64_t *wait_ns);

/**
 * Replaces the estimate of a permit, which stays held: by what was used at least,
 * while an answer streams in, or by a better guess. What it costs less is given back
 * at once; what it costs more is charged, below zero if need be.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
 * LLMRL_ERR_NULL: nothing has changed.
 */
llmrl_status llmrl_adjust(const llmrl_limiter *l,
                          llmrl_permit permit,
                          const llmrl_cost *so_far);

/**
 * Ends a permit: what was really used replaces the estimate, and its place in flight
 * is free.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
 * LLMRL_ERR_NULL: it is still held.
 */
llmrl_status llmrl_settle(const llmrl_limiter *l,
                          llmrl_permit permit,
                          const llmrl_cost *actual);

/**
 * Ends a permit: the estimate stands, and its place in flight is free.
 *
 * Returns LLMRL_OK, LLMRL_ERR_STALE or LLMRL_ERR_BUSY.
 */
llmrl_status llmrl_release(const llmrl_limiter *l, llmrl_permit permit);

/**
 * Ends a permit or a ticket, whatever it is at this moment, and gives everything back.
 * A ticket leaves the queue.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
 * cancel again.
 */
llmrl_status llmrl_cancel(const llmrl_limiter *l, llmrl_permit permit);


/* ----------------------------------------------------------------------------------------
 * Limiters by key
 *
 * One for each user, team or model, made when it is first asked for, in bounded memory. A
 * limiter is evicted only when nobody can tell it from a new one: full, idle, nobody
 * waiting, nothing held, no pause, and no handle out. So a key never gets a fresh budget
 * by having been forgotten.
 *
 *     llmrl_map *users;
 *     llmrl_map_new(limits, 2, NULL, 0, 10000, 16, &users, message, sizeof message);
 *
 *     llmrl_limiter *alice;
 *     llmrl_map_limiter(users, "alice", 5, &alice);      keep it while she is active
 *     llmrl_acquire(alice, &cost, timeout, &permit);
 *     llmrl_limiter_free(alice);
 * ---------------------------------------------------------------------------------------- */

/** Longest key, in bytes. */
#define LLMRL_MAX_KEY 1024

/** llmrl_map_top(): by requests admitted. */
#define LLMRL_BY_USE 0

/** llmrl_map_top(): by who waits now. */
#define LLMRL_BY_WAITING 1

/** Many limiters. See llmrl_map_new(). */
typedef struct llmrl_map llmrl_map;

/**
 * How a map stands. May grow at the end in later versions, so its size is passed along
 * with it.
 */
typedef struct llmrl_map_stats {
    /** Keys with a limiter of their own. */
    uint64_t keys;
    /** Shared limiters that are in use. */
    uint64_t shared;
    /** Limiters that were ever made. */
    uint64_t created;
    /** Limiters that were evicted. */
    uint64_t evictions;
    /** Keys that were refused because the map was full. */
    uint64_t full;
    /** Requests admitted by all limiters, the evicted ones included. */
    uint64_t granted;
    /** Requests refused by all limiters. */
    uint64_t refused;
    /** Who waits now, at all of them. */
    uint64_t waiting;
    /** Permits held now, of limiters with an in-flight limit. */
    uint64_t in_flight;
} llmrl_map_stats;

/**
 * One key of a map. May grow at the end in later versions, so its size is passed along
 * with it.
 */
typedef struct llmrl_map_key {
    /** Requests admitted since its limiter was made. */
    uint64_t granted;
    /** Requests refused. */
    uint64_t refused;
    /** Who waits now. */
    uint64_t waiting;
    /** Permits held now. */
    uint64_t in_flight;
    /** How long the key is, in bytes. */
    uint64_t key_size;
    /** Its first 64 bytes, and zeros after them. */
    uint8_t key[64];
} llmrl_map_key;

/**
 * Makes a map of limiters that are made of count limits each, with the options of
 * llmrl_limiter_new(), which also says how limits, options and message work; but
 * max_waiters and max_permits, of each handle, are 256 unless something else is said, and
 * the wake callback serves all of them: the numbers of their tickets differ.
 *
 * At most capacity limiters are kept, 1 to 16777216. When all of them are in use, shared
 * more, 1 to 65536, serve all keys for which there is no room: a key keeps to its shared
 * one until that is full again and unused. So it may get less than its limits and never
 * more. With shared 0 such keys are refused.
 *
 * - LLMRL_OK: *out is the map, to be freed with llmrl_map_free().
 * - Errors as of llmrl_limiter_new().
 */
llmrl_status llmrl_map_new(const llmrl_limit *limits,
                           size_t count,
                           const llmrl_options *options,
                           size_t options_size,
                           size_t capacity,
                           size_t shared,
                           struct llmrl_map **out,
                           char *message,
                           size_t message_size);

/**
 * Gives the map up; NULL is allowed. No other thread may be in a call on it, or make one
 * later. Limiters that it has given out stay usable until they are freed; close the map
 * first to end those who wait.
 */
void llmrl_map_free(struct llmrl_map *map);

/**
 * The limiter of a key of 1 to LLMRL_MAX_KEY bytes, which is made if there is none. *out is
 * a handle to it, for any function that takes a limiter, to be freed with
 * llmrl_limiter_free(); the limiter goes on without it. As long as there is one, the
 * limiter stays in the map. Permits and tickets belong to the handle that they came
 * from. To keep a handle spares looking the key up, and making the handle. Closing the
 * limiter closes it for all.
 *
 * *is_shared, if is_shared is not NULL, is 1 if there was no room and other keys use the
 * same limiter, else 0.
 *
 * Cost: looking the key up without a lock, and memory for the handle's permits; a new
 * key takes a lock and some microseconds.
 *
 * - LLMRL_OK.
 * - LLMRL_ERR_RANGE: key_size. LLMRL_ERR_FULL: all limiters are in use, and keys do not
 *   share. LLMRL_ERR_CLOSED, LLMRL_ERR_MEMORY, LLMRL_ERR_NULL.
 */
llmrl_status llmrl_map_limiter(const struct llmrl_map *map,
                               const void *key,
                               size_t key_size,
                               llmrl_limiter **out,
                               int32_t *is_shared);

/**
 * Gives a key limits of its own instead of the map's: of the same number, kinds and
 * meters, in the same order. A limiter that is there is retuned. With count 0 the map's
 * come back. They are remembered until then, whether the key has a limiter or not.
 *
 * Returns LLMRL_OK; LLMRL_ERR_RANGE or LLMRL_ERR_FLAGS: see message; LLMRL_ERR_NULL.
 */
llmrl_status llmrl_map_set_limits(const struct llmrl_map *map,
                                  const void *key,
                                  size_t key_size,
                                  const llmrl_limit *limits,
                                  size_t count,
                                  char *message,
                                  size_t message_size);

/**
 * Closes every limiter of the map, as llmrl_limiter_close() does, and refuses new keys.
 *
 * Returns LLMRL_OK.
 */
llmrl_status llmrl_map_close(const struct llmrl_map *map);

/**
 * Sums over all limiters of the map. Looks at each of them; no key can be created
 * meanwhile.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NULL or LLMRL_ERR_SIZE.
 */
llmrl_status llmrl_map_get_stats(const struct llmrl_map *map,
                                 struct llmrl_map_stats *stats,
                                 size_t stats_size);

/**
 * The keys with most requests admitted (LLMRL_BY_USE) or most who wait (LLMRL_BY_WAITING),
 * most first; only those with any. Up to count of them, at most 1000, are written to keys,
 * an array of structs of key_struct_size bytes each, and *written says how many. Looks at
 * each limiter of the map, as llmrl_map_get_stats() does.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NULL, LLMRL_ERR_SIZE, or LLMRL_ERR_RANGE: by or count.
 */
llmrl_status llmrl_map_top(const struct llmrl_map *map,
                           uint32_t by,
                           struct llmrl_map_key *keys,
                           size_t key_struct_size,
                           size_t count,
                           size_t *written);


/* ----------------------------------------------------------------------------------------
 * Router
 *
 * Limiters by name. For one limit in many parts: which part a key belongs to, always
 * the same one in every process and language. And for many deployments of one model:
 * the one that can admit a request soonest, with a key to keep to or without.
 *
 * A key draws a number at each node, and belongs to the node with the smallest:
 * weighted rendezvous. A node that comes takes keys from all others in proportion to
 * its weight, one that goes leaves its keys to them, and nothing else moves.
 *
 *     llmrl_router_new(NULL, 0, &router, NULL, 0);
 *     llmrl_router_add(router, "east", 4, 3, east, NULL, NULL, 0);
 *     llmrl_router_add(router, "west", 4, 1, west, NULL, NULL, 0);
 *     llmrl_router_acquire(router, &cost, "tenant 17", 9, LLMRL_FOREVER,
 *                          &routed, sizeof routed);
 *     ...                                     send it to node routed.node
 *     llmrl_settle(routed.limiter, routed.permit, &used);
 * ---------------------------------------------------------------------------------------- */

/** A router. See llmrl_router_new(). */
typedef struct llmrl_router llmrl_router;

/**
 * What can be chosen of a router. May grow at the end in later versions, so its size is
 * passed along with it; all zeros, like NULL in its place, means the defaults.
 */
typedef struct llmrl_router_options {
    /** Zero. */
    uint32_t flags;
    /**
     * 0: weighted rendezvous. 1 to 10000: keys are placed on a ring instead, on which
     * each node has so many points for each unit of its weight, at the MD5 of "name:0",
     * "name:1" and so on; for those whose keys are placed like that already. There may be
     * 1048576 points in all, of 32 bytes each.
     */
    uint32_t replicas;
    /**
     * Called when a ticket of the router should be polled, with its number; NULL if
     * tickets are not used, or are polled anyway. As that of a limiter: see
     * llmrl_wake_fn.
     */
    llmrl_wake_fn wake;
    /**
     * Handed to wake as it is. Must stay valid until llmrl_router_free() has returned,
     * and every call on its limiters that was under way by then.
     */
    void *wake_ctx;
} llmrl_router_options;

/**
 * Makes a router without nodes. options may be NULL; options_size is sizeof *options.
 * message is as in llmrl_limiter_new().
 *
 * - LLMRL_OK: *out is the router, to be freed with llmrl_router_free().
 * - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS: see message.
 * - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: out.
 */
llmrl_status llmrl_router_new(const struct llmrl_router_options *options,
                              size_t options_size,
                              struct llmrl_router **out,
                              char *message,
                              size_t message_size);

/**
 * Gives the router up; NULL is allowed. No other thread may be in a call on it, or make
 * one later. Tickets leave their queues. Its limiters, and permits, are not touched.
 */
void llmrl_router_free(struct llmrl_router *r);

/**
 * Adds a node. name is name_size bytes, 1 to 255 and of any kind, and no other node's;
 * weight is its share of the keys and requests, 0 to 1000000, in the sum of all weights:
 * with 0 it gets none. There may be 1024 nodes. message is as in llmrl_limiter_new().
 *
 * *node, if node is not NULL, is the number by which answers name the node: how many
 * had been added before. No other one gets it when this one has gone.
 *
 * The limiter may be used without the router, too, and in several routers. Its memory
 * stays for as long as it is a node. llmrl_limiter_free() closes it: then the router
 * passes it over, until it is removed.
 *
 * Others may use the router meanwhile. Whoever waits has no place at the new node.
 *
 * Returns LLMRL_OK; LLMRL_ERR_RANGE, see message; LLMRL_ERR_NULL; LLMRL_ERR_HANDLE: l.
 */
llmrl_status llmrl_router_add(const struct llmrl_router *r,
                              const void *name,
                              size_t name_size,
                              uint32_t weight,
                              const llmrl_limiter *l,
                              uint32_t *node,
                              char *message,
                              size_t message_size);

/**
 * Another weight for the node of that name. Keys move only to it, or only away from it.
 *
 * Returns LLMRL_OK; LLMRL_ERR_NODE; LLMRL_ERR_RANGE: above 1000000, or too many points on
 * the ring; LLMRL_ERR_NULL.
 */
llmrl_status llmrl_router_set_weight(const struct llmrl_router *r,
                                     const void *name,
                                     size_t name_size,
                                     uint32_t weight);

/**
 * Takes the node of that name away: it gets no keys and no more requests. Permits that
 * are held are not touched. Tickets and threads that wait may still be admitted there;
 * close its limiter, and they wait for the other nodes only.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NODE or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_router_remove(const struct llmrl_router *r,
                                 const void *name,
                                 size_t name_size);

/**
 * The node to which a key belongs, whatever its limiter would say: to spread one limit
 * over parts. A key is key_size bytes of any kind, also none. *node is its number and
 * *l its limiter, as it was added; either may be NULL.
 *
 * Returns LLMRL_OK; LLMRL_ERR_NODE: no node has a weight; LLMRL_ERR_NULL.
 *
 * Cost: some nanoseconds for each node, more if weights differ; on a ring one MD5 and a
 * binary search. A lock is held for some nanoseconds.
 */
llmrl_status llmrl_router_node_for(const struct llmrl_router *r,
                                   const void *key,
                                   size_t key_size,
                                   uint32_t *node,
                                   const llmrl_limiter **l);


/* ----------------------------------------------------------------------------------------
 * Requests at a router
 *
 * As at a limiter, with a key or without: now or not at all, with a thread that blocks,
 * or with a ticket. What comes of it is a permit of the node's limiter.
 * ---------------------------------------------------------------------------------------- */

/**
 * A request that was admitted at a node, or waits at all of them, or was refused. May
 * grow at the end in later versions, so its size is passed along with it.
 */
typedef struct llmrl_routed {
    /**
     * With LLMRL_OK the permit, which is held: to be ended with llmrl_settle() and the
     * like, and with the limiter below. Else 0.
     */
    llmrl_permit permit;
    /** With LLMRL_PENDING the number of the router's ticket. Else 0. */
    uint64_t ticket;
    /**
     * With LLMRL_REFUSED the shortest wait of all nodes, and with LLMRL_PENDING when to
     * poll; LLMRL_FOREVER if no time is known. Else 0.
     */
    uint64_t wait_ns;
    /**
     * The node's limiter, as it was added: of the node that has admitted the request,
     * or that refuses it for the shortest time. With LLMRL_PENDING NULL.
     */
    const llmrl_limiter *limiter;
    /** The number of that node; see llmrl_router_add(). With LLMRL_PENDING 0. */
    uint32_t node;
    /** Zero. */
    uint32_t reserved0;
} llmrl_routed;

/**
 * Asks now. With a key, its node is asked first, and then the others in an order that is
 * the key's own; without (key is NULL), a node chosen by weight comes first. out_size is
 * sizeof *out.
 *
 * - LLMRL_OK: admitted at *out's node. The permit belongs to *out's limiter.
 * - LLMRL_REFUSED: not now. *out says after how long, and where; nothing is held.
 * - LLMRL_ERR_NEVER: too much for every node that is not closed. LLMRL_ERR_CLOSED: all
 *   are. LLMRL_ERR_NODE: there is none, or none that has a weight. LLMRL_ERR_FULL: as
 *   many permits are held at the node as it was made for. LLMRL_ERR_COST, LLMRL_ERR_NULL,
 *   LLMRL_ERR_FLAGS, LLMRL_ERR_SIZE.
 */
llmrl_status llmrl_router_try_acquire(const llmrl_router *r,
                                      const llmrl_cost *cost,
                                      const void *key,
                                      size_t key_size,
                                      struct llmrl_routed *out,
                                      size_t out_size);

/**
 * Asks, and blocks the thread until a node admits it, for timeout_ns at most. It waits
 * in the queues of all nodes, in its turn in each, and is admitted by the first; a node
 * that is paused, closed, full, or too small for it is passed over.
 *
 * Answers as llmrl_acquire(), of the node that came closest, and as
 * llmrl_router_try_acquire(). LLMRL_ERR_DEADLINE at once only if the timeout is too short
 * for every node even without those who wait already. To get threads out, close the
 * limiters.
 */
llmrl_status llmrl_router_acquire(const llmrl_router *r,
                                  const llmrl_cost *cost,
                                  const void *key,
                                  size_t key_size,
                                  uint64_t timeout_ns,
                                  struct llmrl_routed *out,
                                  size_t out_size);

/**
 * Asks, and joins the queues of all nodes if none admits it now. Never blocks.
 *
 * - LLMRL_OK: admitted at once, as in llmrl_router_try_acquire().
 * - LLMRL_PENDING: *out's ticket waits. Poll it when *out's wait_ns have passed, or when
 *   the router's wake callback is called with it, whichever is first: see
 *   llmrl_enqueue().
 * - Errors as in llmrl_router_acquire().
 *
 * A ticket has a place in each queue. One that is not polled may be granted at several
 * nodes, all of which hold its cost until it is polled or cancelled: then all but one
 * get everything back.
 */
llmrl_status llmrl_router_enqueue(const llmrl_router *r,
                                  const llmrl_cost *cost,
                                  const void *key,
                                  size_t key_size,
                                  uint64_t timeout_ns,
                                  struct llmrl_routed *out,
                                  size_t out_size);

/**
 * Looks how a ticket stands, and moves all queues along.
 *
 * - LLMRL_OK: admitted, as in llmrl_router_try_acquire(). The ticket has ended; from here
 *   on there is a permit.
 * - LLMRL_PENDING: as in llmrl_router_enqueue(), with another wait.
 * - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER, LLMRL_ERR_FULL: it has ended, at
 *   every node, and this is what the one says that came closest.
 * - LLMRL_ERR_STALE: it had ended before, or is not this router's.
 * - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
 *   been.
 * - LLMRL_ERR_NULL, LLMRL_ERR_SIZE: out. It waits as before.
 */
llmrl_status llmrl_router_poll(const llmrl_router *r,
                               uint64_t ticket,
                               struct llmrl_routed *out,
                               size_t out_size);

/**
 * Ends a ticket: it leaves all queues, and what was granted gets everything back.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
 * cancel again.
 */
llmrl_status llmrl_router_cancel(const llmrl_router *r, uint64_t ticket);


/* ----------------------------------------------------------------------------------------
 * How a limiter stands
 *
 * What it has counted, what each of its limits would admit, and how to keep that over a
 * restart. To be looked at now and then; nothing here is needed for admitting.
 * ---------------------------------------------------------------------------------------- */

/** llmrl_limit_state.mode: it admits as it is configured, or as the provider says. */
#define LLMRL_NORMAL 0

/** llmrl_limit_state.mode: less or nothing, because the provider has refused. */
#define LLMRL_THROTTLED 1

/** llmrl_limit_state.mode: on its way back from there. */
#define LLMRL_RECOVERING 2

/**
 * Counted since the limiter was made. May grow at the end in later versions, so its
 * size is passed along with it.
 */
typedef struct llmrl_stats {
    /** Requests admitted, at once or after waiting. */
    uint64_t granted;
    /** Requests refused, with LLMRL_REFUSED or an error. */
    uint64_t refused;
    /** Waiting now, or with an outcome that has not been polled. */
    uint64_t waiting;
    /** Permits held now, if there is an in-flight limit. */
    uint64_t in_flight;
    /** Tickets cancelled. */
    uint64_t cancelled;
    /** Waits that ended because their timeout had passed. */
    uint64_t timed_out;
    /** Threads woken and callbacks called. */
    uint64_t wakes;
    /** How long all who waited and were admitted have waited, together. */
    uint64_t wait_total_ns;
    /** The longest of these waits. */
    uint64_t wait_max_ns;
} llmrl_stats;

/**
 * How one limit stands. May grow at the end in later versions, so its size is passed
 * along with it.
 */
typedef struct llmrl_limit_state {
    /** As in llmrl_limit, like the next four, with all changes since. */
    uint32_t kind;
    /** See llmrl_limit. */
    uint32_t meter;
    /** See llmrl_limit. */
    uint64_t amount;
    /** See llmrl_limit; the default is spelled out. */
    uint64_t period_ns;
    /** See llmrl_limit; the default is spelled out. */
    uint64_t burst;
    /**
     * What could be taken now: tokens, or permits. Negative: debt, or more held than a
     * resize allows.
     */
    int64_t available;
    /** For how long it is still paused. */
    uint64_t paused_ns;
    /** LLMRL_NORMAL to LLMRL_RECOVERING: what llmrl_feedback() has made of it. */
    uint32_t mode;
    /** Zero. */
    uint32_t reserved0;
} llmrl_limit_state;

/**
 * Reads the counters; out_size is sizeof *out. Costs a few loads and a lock that is
 * never held for long. Exact when nothing is going on; otherwise the numbers are of
 * slightly different instants.
 *
 * Returns LLMRL_OK, LLMRL_ERR_SIZE or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_limiter_stats(const llmrl_limiter *l,
                                 struct llmrl_stats *out,
                                 size_t out_size);

/**
 * Reads how the limit of that index stands; out_size is sizeof *out.
 *
 * Returns LLMRL_OK, LLMRL_ERR_INDEX, LLMRL_ERR_SIZE or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_limiter_limit_state(const llmrl_limiter *l,
                                       uint32_t index,
                                       struct llmrl_limit_state *out,
                                       size_t out_size);

/**
 * Writes what has been used of each limit, to be kept over a restart and given to
 * llmrl_limiter_new() as options->saved: for limits of a day or a month. now_ns is the
 * wall-clock time, nanoseconds since 1970; 0 for the system's. What is reserved counts
 * as used; permits and waiters are not saved. To be called when nothing goes on; else
 * each limit is saved at an instant of its own.
 *
 * - LLMRL_OK: *size bytes were written to buffer, which has room for buffer_size.
 * - LLMRL_ERR_SIZE: there is too little room. *size says how much is needed, now; it is
 *   the one case in which something is written with an error. buffer may be NULL then.
 * - LLMRL_ERR_NULL: size, or buffer although there would be room.
 */
llmrl_status llmrl_limiter_save(const llmrl_limiter *l,
                                uint64_t now_ns,
                                void *buffer,
                                size_t buffer_size,
                                size_t *size);


/* ----------------------------------------------------------------------------------------
 * What providers say
 *
 * Answers tell how much is left, how long it takes to come back, and why a request was
 * refused: in headers, in bodies, and in sentences, each provider in its own way.
 * llmrl_answer_read() makes one struct of all of them. It needs no limiter, and no
 * provider's name: headers mean what their names say, and a value is recognised by its
 * form.
 *
 *     llmrl_header headers[1] = {{"retry-after-ms", 14, "120", 3}};
 *     llmrl_answer answer = {0};
 *     llmrl_reading reading;
 *     answer.status = 429;
 *     answer.headers = headers;
 *     answer.header_count = 1;
 *     llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading);
 *     if (reading.answer_class == LLMRL_CLASS_RATE) wait_for(reading.wait_ns);
 *
 * Nothing that an answer says makes this fail: what is malformed, unknown or impossible
 * is left out.
 * ---------------------------------------------------------------------------------------- */

/** As a count, a duration or a share in what is read: it was not said, or cannot be. */
#define LLMRL_UNKNOWN UINT64_MAX

/** As an index into llmrl_reading.quotas: none of them. */
#define LLMRL_NO_QUOTA UINT32_MAX

/**
 * How many limits a reading has room for. The most that a provider is known to send is
 * 12; beyond these the rest is left out.
 */
#define LLMRL_MAX_QUOTAS 16

/** llmrl_reading.answer_class: the request was answered, with a status below 400. */
#define LLMRL_CLASS_OK 1

/** llmrl_reading.answer_class: more than the rate. Pause what is counted there, for all. */
#define LLMRL_CLASS_RATE 2

/**
 * llmrl_reading.answer_class: too many at the same time. Lower the number in flight;
 * what is there comes through in a second or so.
 */
#define LLMRL_CLASS_CONCURRENCY 3

/**
 * llmrl_reading.answer_class: the provider is short of capacity, which has nothing to do
 * with the account's limits. Back off.
 */
#define LLMRL_CLASS_OVERLOAD 4

/**
 * llmrl_reading.answer_class: a rate over a day or longer that is not back within an
 * hour, or whatever takes a day. Park the request, or send it elsewhere.
 */
#define LLMRL_CLASS_LONG 5

/** llmrl_reading.answer_class: money or permission is missing. It does not pass with time. */
#define LLMRL_CLASS_BILLING 6

/**
 * llmrl_reading.answer_class: the request is larger than the limit, which is the tripped
 * one, and would be refused for ever.
 */
#define LLMRL_CLASS_OVERSIZE 7

/** llmrl_reading.answer_class: another failure. So is a number that you do not know. */
#define LLMRL_CLASS_OTHER 8

/**
 * llmrl_quota.meter, beside LLMRL_REQUESTS to LLMRL_OUTPUT_TOKENS: requests at the same
 * time.
 */
#define LLMRL_CONCURRENCY 100

/** llmrl_quota.meter: something else, such as bytes, or the share of a subscription. */
#define LLMRL_OTHER_METER 101

/** llmrl_quota.pool: the usual account of what is counted. */
#define LLMRL_POOL_STANDARD 1

/** llmrl_quota.pool: OpenAI's limit of a project. */
#define LLMRL_POOL_PROJECT 2

/** llmrl_quota.pool: OpenAI's "tokens_usage_based". */
#define LLMRL_POOL_USAGE_BASED 3

/** llmrl_quota.pool: Anthropic's Priority Tier. */
#define LLMRL_POOL_PRIORITY 4

/** llmrl_quota.pool: Anthropic's fast mode. */
#define LLMRL_POOL_FAST 5

/** llmrl_quota.pool: a subscription's share, as Anthropic's "unified" headers tell it. */
#define LLMRL_POOL_SUBSCRIPTION 6

/** llmrl_quota.pool: what a subscription allows beyond its share. */
#define LLMRL_POOL_OVERAGE 7

/** llmrl_quota.pool: Fireworks' prompt tokens that no cache had. */
#define LLMRL_POOL_UNCACHED 8

/** llmrl_quota.pool: set by a gateway, not by the provider behind it. */
#define LLMRL_POOL_GATEWAY 9

/** llmrl_reading.flags: the same request may pass later. */
#define LLMRL_RETRYABLE 1

/** llmrl_reading.flags: the answer has "x-should-retry: true". */
#define LLMRL_SHOULD_RETRY 2

/**
 * llmrl_reading.flags: it has "x-should-retry: false". Not to be obeyed blindly:
 * Cerebras sends it with what passes soonest.
 */
#define LLMRL_SHOULD_NOT_RETRY 4

/** llmrl_reading.flags: served, but over or near a limit. */
#define LLMRL_WARNING 8

/** llmrl_quota.flags: the provider states another period than follows from its numbers. */
#define LLMRL_MISLABELLED 1

/**
 * A header of an answer. Neither string needs a zero at its end, and names may be in any
 * case.
 */
typedef struct llmrl_header {
    /** The name, in name_size bytes; NULL if that is 0. */
    const char *name;
    /** See name. */
    size_t name_size;
    /** The value, in value_size bytes; NULL if that is 0. */
    const char *value;
    /** See value. */
    size_t value_size;
} llmrl_header;

/** An answer. May grow at the end in later versions, so its size is passed along with it. */
typedef struct llmrl_answer {
    /** The status, 100 to 999. */
    uint32_t status;
    /** Zero. */
    uint32_t reserved0;
    /** The headers, header_count of them; NULL if that is 0. */
    const struct llmrl_header *headers;
    /** See headers. */
    size_t header_count;
    /**
     * The body, in body_size bytes; NULL if that is 0. It is looked at only if status is
     * 400 or above, and only its first 65536 bytes, so none needs to be given of an
     * answer that streams; or if it is the event "rate_limits.updated" of OpenAI's
     * Realtime API, with status 200.
     */
    const void *body;
    /** See body. */
    size_t body_size;
    /**
     * The wall-clock time, nanoseconds since 1970; 0 for the system's. Dates are compared
     * with the answer's own "Date" instead, when it has one.
     */
    uint64_t wall_now_ns;
} llmrl_answer;

/** What an answer says about one limit. */
typedef struct llmrl_quota {
    /**
     * What it counts: LLMRL_REQUESTS to LLMRL_OUTPUT_TOKENS, LLMRL_CONCURRENCY or
     * LLMRL_OTHER_METER. LLMRL_TOKENS are usually input and output tokens together.
     */
    uint32_t meter;
    /** Which of several accounts, LLMRL_POOL_STANDARD to LLMRL_POOL_GATEWAY. */
    uint32_t pool;
    /** LLMRL_MISLABELLED or none. */
    uint32_t flags;
    /** Zero. */
    uint32_t reserved0;
    /** How much in a period, or LLMRL_UNKNOWN. */
    uint64_t limit;
    /**
     * How much of it is left, at most limit, or LLMRL_UNKNOWN. Providers round it,
     * Anthropic to thousands.
     */
    uint64_t remaining;
    /**
     * How long until all of it is back (a bucket), or the window ends; at most 366 days,
     * or LLMRL_UNKNOWN. Of the next request it says nothing: of a bucket that refills
     * evenly, n are there after (n - remaining) / limit * period_ns.
     */
    uint64_t reset_ns;
    /**
     * How much is used, in millionths, where shares are told instead of counts; or
     * LLMRL_UNKNOWN. May be above a million.
     */
    uint64_t utilization;
    /**
     * The period that the provider states, by the header's name or in its text, or
     * LLMRL_UNKNOWN.
     */
    uint64_t window_ns;
    /**
     * The period that follows from limit, remaining and reset if it is a bucket that
     * refills evenly, else the one that is stated, or LLMRL_UNKNOWN.
     */
    uint64_t period_ns;
    /** The period that follows is at least this, or LLMRL_UNKNOWN if none follows, */
    uint64_t solved_low_ns;
    /** and shorter than this, or LLMRL_UNKNOWN if there is no bound. */
    uint64_t solved_high_ns;
    /** Zero. */
    uint64_t reserved[2];
} llmrl_quota;

/**
 * What one answer says about limits. May grow at the end in later versions, so its size
 * is passed along with it.
 */
typedef struct llmrl_reading {
    /** What became of the request: LLMRL_CLASS_OK to LLMRL_CLASS_OTHER. */
    uint32_t answer_class;
    /**
     * What was exceeded, as in llmrl_quota; 0 if it is not told and not the only
     * thing that can be meant.
     */
    uint32_t meter;
    /** LLMRL_RETRYABLE to LLMRL_WARNING, any of them. */
    uint32_t flags;
    /** How many of quotas there are. */
    uint32_t quota_count;
    /** The one of them that refused the request, or LLMRL_NO_QUOTA. */
    uint32_t tripped;
    /** Zero. */
    uint32_t reserved0;
    /**
     * How long the provider says to wait, from when it answered; at most 366 days. 0,
     * which comes with LLMRL_CLASS_CONCURRENCY only, is "at once, but fewer at a time".
     * LLMRL_UNKNOWN when nothing was said, where waiting does not help, and with
     * LLMRL_CLASS_OK.
     */
    uint64_t wait_ns;
    /** How much the refused request asked for, or LLMRL_UNKNOWN. */
    uint64_t requested;
    /** What was said about each limit, in the order of the answer. The rest is zero. */
    struct llmrl_quota quotas[LLMRL_MAX_QUOTAS];
} llmrl_reading;

/**
 * Reads what an answer says about limits; answer_size is sizeof *answer, and out_size
 * sizeof *out. Any thread. Takes time in proportion to the size of headers and body,
 * some 7 us for twenty headers and 5 more for an error's body, and allocates only for a
 * body.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NULL (also for a string, headers or a body that has a size
 * and is NULL), LLMRL_ERR_SIZE, LLMRL_ERR_FLAGS, or LLMRL_ERR_RANGE for the status.
 */
llmrl_status llmrl_answer_read(const struct llmrl_answer *answer,
                               size_t answer_size,
                               struct llmrl_reading *out,
                               size_t out_size);


/* ----------------------------------------------------------------------------------------
 * Learning from answers
 *
 * Hand each answer to the limiter that let its request through, and it finds out by
 * itself what the limits are, how much is left of them, who else uses them, and when the
 * provider has had enough.
 * ---------------------------------------------------------------------------------------- */

/** llmrl_advice.flags: the same request may be admitted later. */
#define LLMRL_ADVICE_RETRY 1

/**
 * What to do with a request, now that it was answered. May grow at the end in later
 * versions, so its size is passed along with it.
 */
typedef struct llmrl_advice {
    /** What became of it: LLMRL_CLASS_OK to LLMRL_CLASS_OTHER. */
    uint32_t answer_class;
    /** LLMRL_ADVICE_RETRY or none. */
    uint32_t flags;
    /**
     * How long to wait before asking the limiter again. 0 where the limiter itself holds
     * requests back, which it does for 300000000000 at most because of one answer: more
     * means that the provider said so, and that another one may be the better choice.
     */
    uint64_t wait_ns;
} llmrl_advice;

/**
 * The provider has answered the request of this permit, which stays held. Call it for
 * every answer, before llmrl_settle(); answer_size is sizeof *answer, out_size sizeof
 * *out, and out may be NULL.
 *
 * Limits that are told twice in a row replace the configured ones, upwards only with
 * LLMRL_RAISE_LIMITS. What is left of a bucket is compared with how it stood when the
 * request was admitted, so answers may come late and in any order. A refusal pauses the
 * limit that has refused, once for all requests that were on their way; it has used no
 * tokens, and they are given back here: llmrl_release() the permit, wait as advised, and
 * ask for another one. Takes some microseconds, and a lock that admissions do not need.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; or as llmrl_answer_read().
 */
llmrl_status llmrl_feedback(const llmrl_limiter *l,
                            llmrl_permit permit,
                            const llmrl_answer *answer,
                            size_t answer_size,
                            struct llmrl_advice *out,
                            size_t out_size);


/* ----------------------------------------------------------------------------------------
 * Chain
 *
 * Limiters one above the other, such as a user's, a team's, and that of the provider's
 * key: a request needs all of them, and gets all or none.
 *
 *     const llmrl_limiter *levels[3] = {user, team, provider};
 *     llmrl_chain *chain;
 *     llmrl_chain_new(levels, 3, NULL, 0, &chain, NULL, 0);
 *
 *     llmrl_chained chained;
 *     llmrl_chain_acquire(chain, &cost, timeout, &chained, sizeof chained);
 *     llmrl_chain_settle(chain, chained.permit, &used);
 *
 * The first level is the most private one, the last is shared by most. At each level who
 * comes first is served first. Whoever waits stands in one queue at a time, from the first
 * to the last, and keeps what it has got below; so nobody takes from the shared limit
 * before everything else is there. What was taken goes back when a later level refuses.
 * ---------------------------------------------------------------------------------------- */

/** Most levels of a chain. */
#define LLMRL_MAX_LEVELS 8

/** A chain. See llmrl_chain_new(). */
typedef struct llmrl_chain llmrl_chain;

/**
 * What can be chosen of a chain. May grow at the end in later versions, so its size is
 * passed along with it; all zeros, like NULL in its place, means the defaults.
 */
typedef struct llmrl_chain_options {
    /** Zero. */
    uint32_t flags;
    /**
     * How many tickets and permits there may be at the same time, up to 1048576; 0 is
     * 4096. Memory is reserved for all of them, some 600 bytes each, and becomes resident
     * when it is first used.
     */
    uint32_t max_permits;
    /**
     * Called when a ticket of the chain should be polled, with its number; NULL if
     * tickets are not used, or are polled anyway. As that of a limiter: see
     * llmrl_wake_fn. The limiters' own ones are not called for a chain's tickets.
     */
    llmrl_wake_fn wake;
    /**
     * Handed to wake as it is. Must stay valid until llmrl_chain_free() has returned,
     * and every call on its limiters that was under way by then.
     */
    void *wake_ctx;
} llmrl_chain_options;

/**
 * Makes a chain of count limiters, 1 to LLMRL_MAX_LEVELS, the most private first. options
 * may be NULL; options_size is sizeof *options. message is as in llmrl_limiter_new().
 *
 * The limiters may be used without the chain, too, and in several chains. It keeps
 * references of its own: a handle of a map's limiter may be freed, and the limiter stays in
 * its map as long as the chain is there. Another limiter is closed by
 * llmrl_limiter_free(), and then the chain answers LLMRL_ERR_CLOSED; that limiter's
 * wake_ctx must outlive every call on the chain that was under way by then. A chain costs
 * a reservation of memory: make it for as long as a user is active, not for each request.
 *
 * - LLMRL_OK: *out is the chain, to be freed with llmrl_chain_free().
 * - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS, and LLMRL_ERR_NULL or LLMRL_ERR_HANDLE for one of
 *   the limiters: see message.
 * - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: limiters or out. LLMRL_ERR_MEMORY.
 */
llmrl_status llmrl_chain_new(const llmrl_limiter *const *limiters,
                             size_t count,
                             const struct llmrl_chain_options *options,
                             size_t options_size,
                             struct llmrl_chain **out,
                             char *message,
                             size_t message_size);

/**
 * Gives the chain up; NULL is allowed. No other thread may be in a call on it, or make one
 * later. Its tickets leave their queues and its permits are released. The limiters go on.
 *
 * One mistake is forgiven: a thread that is blocked in llmrl_chain_acquire() waits on, for
 * its turn, its timeout, or the end of the limiter; then it returns LLMRL_ERR_CLOSED and
 * holds nothing. To get it out at once, close the limiter at which it waits.
 */
void llmrl_chain_free(struct llmrl_chain *c);


/* ----------------------------------------------------------------------------------------
 * Requests at a chain
 *
 * As at a limiter: now or not at all, with a thread that blocks, or with a ticket. A
 * ticket becomes the permit under the same number, which means nothing to other chains,
 * nor to the limiters. A permit ends once, by one of three functions, at every level.
 * ---------------------------------------------------------------------------------------- */

/**
 * A request that all levels have admitted, or waits at one, or was refused at one. May
 * grow at the end in later versions, so its size is passed along with it.
 */
typedef struct llmrl_chained {
    /** With LLMRL_OK the permit, which is held; with LLMRL_PENDING the ticket. Else 0. */
    llmrl_permit permit;
    /**
     * With LLMRL_REFUSED the wait of the whole chain, and with LLMRL_PENDING when to
     * poll; LLMRL_FOREVER if no time is known. Else 0.
     */
    uint64_t wait_ns;
    /**
     * The level that refuses, or at which the ticket waits, counted from the first, 0.
     * LLMRL_MAX_LEVELS if it is the chain itself that is full, or was freed. With LLMRL_OK
     * 0.
     */
    uint32_t level;
    /**
     * Index of the limit there that refuses; LLMRL_MAX_LIMITS if it is not one limit's
     * doing, or nothing was refused.
     */
    uint32_t limit;
} llmrl_chained;

/**
 * Asks now, at every level or nowhere. out_size is sizeof *out.
 *
 * - LLMRL_OK: admitted; *out has the permit.
 * - LLMRL_REFUSED: not now. *out says at which level, for which limit, and after how long:
 *   of all levels, the one at which it would wait longest. Nothing is held.
 * - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED: *out says at which level. LLMRL_ERR_FULL: as many
 *   tickets and permits of the chain as it was made for. LLMRL_ERR_COST, LLMRL_ERR_NULL,
 *   LLMRL_ERR_FLAGS (a reserved field), LLMRL_ERR_SIZE: *out is not touched.
 *
 * Cost: that of llmrl_outlook() and llmrl_try_acquire() at each level. All are looked at
 * before one is touched; somebody else may still be faster, and then a level below has
 * lacked the request's cost for a moment.
 */
llmrl_status llmrl_chain_try_acquire(const llmrl_chain *c,
                                     const llmrl_cost *cost,
                                     struct llmrl_chained *out,
                                     size_t out_size);

/**
 * Asks, and blocks the thread until its turn has come at one level after the other, for
 * timeout_ns in all; LLMRL_FOREVER waits without end.
 *
 * Answers as llmrl_acquire(), with the level in *out, and as llmrl_chain_try_acquire().
 * LLMRL_ERR_DEADLINE comes at once if the request is known to be late at some level, and
 * then nothing was taken at any. LLMRL_ERR_FULL may be a level's queue. To get threads out,
 * close a limiter.
 */
llmrl_status llmrl_chain_acquire(const llmrl_chain *c,
                                 const llmrl_cost *cost,
                                 uint64_t timeout_ns,
                                 struct llmrl_chained *out,
                                 size_t out_size);

/**
 * Asks, and joins a queue if it is not yet the request's turn. Never blocks.
 *
 * - LLMRL_OK: admitted at once, and *out's permit is held.
 * - LLMRL_PENDING: *out's permit is the number of a ticket that waits at *out's level.
 *   Poll it when *out's wait_ns have passed, or when the chain's wake callback is called
 *   with it, whichever is first: see llmrl_enqueue().
 * - Errors as in llmrl_chain_acquire().
 *
 * A ticket goes on to the next level when it is polled. One that is not polled is granted
 * in its turn where it stands, and keeps that until it is polled or cancelled.
 */
llmrl_status llmrl_chain_enqueue(const llmrl_chain *c,
                                 const llmrl_cost *cost,
                                 uint64_t timeout_ns,
                                 struct llmrl_chained *out,
                                 size_t out_size);

/**
 * Looks how a ticket stands, moves the queue along, and lets it go as far as it can.
 *
 * - LLMRL_OK: it is a permit and held; also when that is no news.
 * - LLMRL_PENDING: as in llmrl_chain_enqueue(), perhaps at a later level.
 * - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER, LLMRL_ERR_FULL: it has ended at
 *   *out's level, and everything went back.
 * - LLMRL_ERR_STALE: it had ended before, or is not this chain's.
 * - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
 *   been.
 * - LLMRL_ERR_NULL, LLMRL_ERR_SIZE: out. It waits as before.
 */
llmrl_status llmrl_chain_poll(const llmrl_chain *c,
                              llmrl_permit ticket,
                              struct llmrl_chained *out,
                              size_t out_size);

/**
 * Replaces the estimate of a permit at every level, as llmrl_adjust(). It stays held.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
 * LLMRL_ERR_NULL: nothing has changed.
 */
llmrl_status llmrl_chain_adjust(const llmrl_chain *c,
                                llmrl_permit permit,
                                const llmrl_cost *so_far);

/**
 * Ends a permit: what was really used replaces the estimate at every level, and its places
 * in flight are free.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
 * LLMRL_ERR_NULL: it is still held.
 */
llmrl_status llmrl_chain_settle(const llmrl_chain *c,
                                llmrl_permit permit,
                                const llmrl_cost *actual);

/**
 * Ends a permit: the estimate stands at every level, and its places in flight are free.
 *
 * Returns LLMRL_OK, LLMRL_ERR_STALE or LLMRL_ERR_BUSY.
 */
llmrl_status llmrl_chain_release(const llmrl_chain *c, llmrl_permit permit);

/**
 * Ends a permit or a ticket, whatever it is at this moment, and gives everything back at
 * every level, the last one first. A ticket leaves its queue.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
 * cancel again.
 */
llmrl_status llmrl_chain_cancel(const llmrl_chain *c, llmrl_permit permit);

/**
 * The provider has answered the request of this permit, which stays held: the last level,
 * which is the provider's, learns from it, as with llmrl_feedback(). A request that was
 * refused has used no tokens, and gets them back at every level.
 *
 * Returns as llmrl_feedback().
 */
llmrl_status llmrl_chain_feedback(const llmrl_chain *c,
                                  llmrl_permit permit,
                                  const llmrl_answer *answer,
                                  size_t answer_size,
                                  llmrl_advice *out,
                                  size_t out_size);


/* ----------------------------------------------------------------------------------------
 * Fair queue
 *
 * A limiter that many share, each by weight. In a limiter's own queue whoever sends a
 * thousand requests has a thousand places. Here each key (a user, a tenant, a job) gets
 * its share, however much it asks for: while keys wait, what they get in tokens is as
 * their weights. What one does not use goes to the others. Within a key who comes first
 * is served first.
 *
 *     llmrl_fair *fair;
 *     llmrl_fair_new(limiter, NULL, 0, &fair, NULL, 0);
 *
 *     llmrl_share share = {.key = "alice", .key_size = 5, .weight = 3};
 *     llmrl_permit permit;
 *     llmrl_fair_acquire(fair, &cost, &share, timeout, &permit);
 *     llmrl_fair_settle(fair, permit, &used);
 *
 * Requests of the batch class come after all others, and by shares of their own; one that
 * has waited for aging_ns counts as one of the others. With passes a small request need
 * not wait for a large one.
 *
 * Shares are counted by the estimates, and put right when permits are settled, adjusted or
 * cancelled. Nothing is counted while nobody has to wait. The one whose turn it is stands
 * in the limiter's own queue: who uses the limiter directly is one more who stands there.
 * ---------------------------------------------------------------------------------------- */

/** A fair queue. See llmrl_fair_new(). */
typedef struct llmrl_fair llmrl_fair;

/**
 * What can be chosen of a fair queue. May grow at the end in later versions, so its size
 * is passed along with it; all zeros, like NULL in its place, means the defaults.
 */
typedef struct llmrl_fair_options {
    /** Zero. */
    uint32_t flags;
    /**
     * So many requests may pass one that waits for its tokens, if they could go now and
     * each is an eighth of it or less; only those among the next eight keys. It waits for
     * longer by what they take: passes eighths of its cost at most. 0 is none.
     */
    uint32_t passes;
    /** How many may wait at once, up to 1048576; 0 is 65536. */
    uint32_t max_waiters;
    /**
     * How many permits there may be at the same time, up to 1048576; 0 is 65536. Memory
     * is reserved for all of them and for all who may wait, 128 bytes each, and becomes
     * resident when it is first used.
     */
    uint32_t max_permits;
    /**
     * After so long a batch request counts as one of the others; 0 is a minute,
     * 60000000000. LLMRL_FOREVER: never.
     */
    uint64_t aging_ns;
    /**
     * Called when a ticket of the queue should be polled, with its number; NULL if
     * tickets are not used, or are polled anyway. As that of a limiter: see
     * llmrl_wake_fn. The limiter's own one is not called for the queue's tickets.
     */
    llmrl_wake_fn wake;
    /**
     * Handed to wake as it is. Must stay valid until llmrl_fair_free() has returned,
     * and every call on its limiter that was under way by then.
     */
    void *wake_ctx;
} llmrl_fair_options;

/**
 * How a fair queue stands. May grow at the end in later versions, so its size is passed
 * along with it.
 */
typedef struct llmrl_fair_stats {
    /** Who waits now. */
    uint64_t waiting;
    /** Of those, in the batch class. */
    uint64_t batch;
    /** Keys of which somebody waits; one that has both classes counts twice. */
    uint64_t keys;
    /** Batch requests that have become as the others, since the beginning. */
    uint64_t aged;
    /** Requests that have passed a larger one, since the beginning. */
    uint64_t passed;
} llmrl_fair_stats;

/**
 * Makes a fair queue in front of a limiter. options may be NULL; options_size is sizeof
 * *options. message is as in llmrl_limiter_new().
 *
 * It keeps a reference of its own: a handle of a map's limiter may be freed, and the
 * limiter stays in its map as long as the queue is there. Another limiter is closed by
 * llmrl_limiter_free(), and then the queue answers LLMRL_ERR_CLOSED. Make one queue for a
 * limiter: two know nothing of each other's keys, and share it as equals.
 *
 * - LLMRL_OK: *out is the queue, to be freed with llmrl_fair_free().
 * - LLMRL_ERR_RANGE, LLMRL_ERR_FLAGS: see message.
 * - LLMRL_ERR_SIZE: options_size. LLMRL_ERR_NULL: l or out. LLMRL_ERR_HANDLE: l.
 *   LLMRL_ERR_MEMORY.
 */
llmrl_status llmrl_fair_new(const llmrl_limiter *l,
                            const struct llmrl_fair_options *options,
                            size_t options_size,
                            struct llmrl_fair **out,
                            char *message,
                            size_t message_size);

/**
 * Gives the queue up; NULL is allowed. No other thread may be in a call on it, or make one
 * later. Its tickets leave it and its permits are released. The limiter goes on.
 *
 * One mistake is forgiven: a thread that is blocked in llmrl_fair_acquire() waits on, for
 * its turn, its timeout, or the end of the limiter; then it returns LLMRL_ERR_CLOSED and
 * holds nothing. To get it out at once, close the limiter.
 */
void llmrl_fair_free(struct llmrl_fair *f);

/**
 * Reads the queue's counts. out_size is sizeof *out. Takes a lock, for some nanoseconds.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NULL or LLMRL_ERR_SIZE.
 */
llmrl_status llmrl_fair_get_stats(const struct llmrl_fair *f,
                                  struct llmrl_fair_stats *out,
                                  size_t out_size);


/* ----------------------------------------------------------------------------------------
 * Requests at a fair queue
 *
 * As at a limiter: now or not at all, with a thread that blocks, or with a ticket. A
 * ticket becomes the permit under the same number, which means nothing to other queues,
 * nor to the limiter. A permit ends once, by one of three functions, which also put right
 * what its key is charged.
 * ---------------------------------------------------------------------------------------- */

/** llmrl_share.flags: the request is of the batch class. */
#define LLMRL_BATCH 1

/** Largest llmrl_share.weight. */
#define LLMRL_MAX_SHARE_WEIGHT 1000000

/** On whose account a request goes. Set it to zero and fill in what you mean. */
typedef struct llmrl_share {
    /** key_size bytes of any kind, which are copied. */
    const void *key;
    /** 1 to 1024. */
    size_t key_size;
    /**
     * How much it gets beside others, 1 to LLMRL_MAX_SHARE_WEIGHT; 0 is 1. It counts for
     * this request; others of the same key may have another one.
     */
    uint32_t weight;
    /** LLMRL_BATCH or 0. */
    uint32_t flags;
} llmrl_share;

/**
 * Asks now. Others who wait have their turns first: while somebody does, it is refused.
 *
 * - LLMRL_OK: admitted, and *permit is held.
 * - LLMRL_REFUSED: not now. *wait_ns, if wait_ns is not NULL, is the time after which it
 *   might be worth to come again; LLMRL_FOREVER if it takes somebody's release.
 * - LLMRL_ERR_NEVER, LLMRL_ERR_CLOSED; LLMRL_ERR_FULL if as many permits are held as the
 *   queue was made for; LLMRL_ERR_COST, LLMRL_ERR_NULL, LLMRL_ERR_FLAGS (a reserved field).
 *
 * Cost: that of llmrl_try_acquire(), and a lock.
 */
llmrl_status llmrl_fair_try_acquire(const llmrl_fair *f,
                                    const llmrl_cost *cost,
                                    llmrl_permit *permit,
                                    uint64_t *wait_ns);

/**
 * Asks, and blocks the thread until its turn comes, for timeout_ns at most; LLMRL_FOREVER
 * waits without end.
 *
 * Answers as llmrl_acquire(). LLMRL_ERR_FULL: max_waiters of the queue wait, or as many
 * permits are held as it was made for. LLMRL_ERR_RANGE: the weight or the length of the
 * key. LLMRL_ERR_FLAGS: of the share, too. To get threads out, close the limiter.
 */
llmrl_status llmrl_fair_acquire(const llmrl_fair *f,
                                const llmrl_cost *cost,
                                const struct llmrl_share *share,
                                uint64_t timeout_ns,
                                llmrl_permit *permit);

/**
 * Asks, and joins the queue if it is not yet the request's turn. Never blocks.
 *
 * - LLMRL_OK: admitted at once, and *ticket is a permit that is held.
 * - LLMRL_PENDING: *ticket waits. Poll it when *wait_ns have passed (wait_ns may be NULL;
 *   LLMRL_FOREVER means that time alone brings nothing), or when the queue's wake callback
 *   is called with it, whichever is first: see llmrl_enqueue().
 * - Errors as in llmrl_fair_acquire().
 *
 * Whoever is polled, joins or leaves brings all forward whose turn has come. What was
 * granted to a ticket is taken until it is polled or cancelled.
 */
llmrl_status llmrl_fair_enqueue(const llmrl_fair *f,
                                const llmrl_cost *cost,
                                const struct llmrl_share *share,
                                uint64_t timeout_ns,
                                llmrl_permit *ticket,
                                uint64_t *wait_ns);

/**
 * Looks how a ticket stands, and moves the queue along.
 *
 * - LLMRL_OK: it is a permit and held; also when that is no news.
 * - LLMRL_PENDING: as in llmrl_fair_enqueue(), with another *wait_ns.
 * - LLMRL_ERR_DEADLINE, LLMRL_ERR_CLOSED, LLMRL_ERR_NEVER, LLMRL_ERR_FULL: it has ended.
 *   The last one is said of the limiter's own queue.
 * - LLMRL_ERR_STALE: it had ended before, or is not this queue's.
 * - LLMRL_ERR_BUSY: another thread polls it, and will be told what this call would have
 *   been.
 */
llmrl_status llmrl_fair_poll(const llmrl_fair *f, llmrl_permit ticket, uint64_t *wait_ns);

/**
 * Replaces the estimate of a permit, as llmrl_adjust(), and what its key is charged. It
 * stays held.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
 * LLMRL_ERR_NULL: nothing has changed.
 */
llmrl_status llmrl_fair_adjust(const llmrl_fair *f,
                               llmrl_permit permit,
                               const llmrl_cost *so_far);

/**
 * Ends a permit: what was really used replaces the estimate, also in what its key is
 * charged, and its place in flight is free.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE or LLMRL_ERR_BUSY; LLMRL_ERR_COST, LLMRL_ERR_FLAGS or
 * LLMRL_ERR_NULL: it is still held.
 */
llmrl_status llmrl_fair_settle(const llmrl_fair *f,
                               llmrl_permit permit,
                               const llmrl_cost *actual);

/**
 * Ends a permit: the estimate stands, and its place in flight is free.
 *
 * Returns LLMRL_OK, LLMRL_ERR_STALE or LLMRL_ERR_BUSY.
 */
llmrl_status llmrl_fair_release(const llmrl_fair *f, llmrl_permit permit);

/**
 * Ends a permit or a ticket, whatever it is at this moment, and gives everything back: its
 * key is charged nothing. A ticket leaves the queue.
 *
 * Returns LLMRL_OK; LLMRL_ERR_STALE; or LLMRL_ERR_BUSY, when a thread polls it right now:
 * cancel again.
 */
llmrl_status llmrl_fair_cancel(const llmrl_fair *f, llmrl_permit permit);

/**
 * The provider has answered the request of this permit, which stays held: the limiter
 * learns from it, as with llmrl_feedback().
 *
 * Returns as llmrl_feedback().
 */
llmrl_status llmrl_fair_feedback(const llmrl_fair *f,
                                 llmrl_permit permit,
                                 const llmrl_answer *answer,
                                 size_t answer_size,
                                 llmrl_advice *out,
                                 size_t out_size);


/* ----------------------------------------------------------------------------------------
 * What a request is charged
 *
 * Providers count the same request differently: some take max_tokens at once and keep it,
 * some take what was really put out, some give cached input away. A rule says how; what
 * comes out of it is what to acquire, and later what to settle with.
 *
 *     llmrl_charging rule;
 *     llmrl_request request = {1200, 0, 1024, 300};
 *     llmrl_charging_of("bedrock", &rule, sizeof rule);
 *     llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &cost);
 * ---------------------------------------------------------------------------------------- */

/**
 * llmrl_charging.flags: the larger of input and output is charged, as input, instead of
 * both.
 */
#define LLMRL_CHARGE_JOINTLY 1

/** llmrl_charging.flags: input that the provider reads from its cache counts. */
#define LLMRL_CHARGE_CACHED 2

/** llmrl_charging.output: nothing counts as output before there is any. */
#define LLMRL_OUTPUT_NOTHING 0

/** llmrl_charging.output: what is expected counts. */
#define LLMRL_OUTPUT_EXPECTED 1

/** llmrl_charging.output: max_tokens count; what is expected if they are not given. */
#define LLMRL_OUTPUT_ALLOWED 2

/** llmrl_charging.settlement: what was reserved stands. */
#define LLMRL_SETTLE_ESTIMATE 0

/** llmrl_charging.settlement: what was used stands. */
#define LLMRL_SETTLE_ACTUAL 1

/** llmrl_charging.settlement: the larger of both stands. */
#define LLMRL_SETTLE_MAXIMUM 2

/**
 * How a provider charges a request. May grow at the end in later versions, so its size
 * is passed along with it.
 */
typedef struct llmrl_charging {
    /** LLMRL_CHARGE_JOINTLY, LLMRL_CHARGE_CACHED, both or none. */
    uint32_t flags;
    /** LLMRL_OUTPUT_NOTHING to LLMRL_OUTPUT_ALLOWED. */
    uint32_t output;
    /** LLMRL_SETTLE_ESTIMATE to LLMRL_SETTLE_MAXIMUM. */
    uint32_t settlement;
    /** How many times output counts in the end, 1 to 1000. */
    uint32_t burndown;
} llmrl_charging;

/**
 * What is known of a request before it is sent, in tokens. May grow at the end in later
 * versions, so its size is passed along with it.
 */
typedef struct llmrl_request {
    /** The prompt, all of it. */
    uint64_t prompt;
    /** What of it the provider will probably read from its cache. */
    uint64_t cached;
    /** The most that it may put out, or LLMRL_UNKNOWN. */
    uint64_t max_tokens;
    /** How much it will probably put out. */
    uint64_t expected;
} llmrl_request;

/**
 * The rule of a provider: "openai", "azure", "anthropic", "anthropic-reserving" (as it was
 * until 2025), "gemini" or "bedrock". out_size is sizeof *out.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NULL, LLMRL_ERR_SIZE, or LLMRL_ERR_RANGE for another name.
 */
llmrl_status llmrl_charging_of(const char *provider,
                               struct llmrl_charging *out,
                               size_t out_size);

/**
 * What to acquire for a request: one request and its tokens, never out of range.
 * charging_size is sizeof *charging, request_size sizeof *request.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NULL, LLMRL_ERR_SIZE, LLMRL_ERR_FLAGS or LLMRL_ERR_RANGE.
 */
llmrl_status llmrl_charging_reserve(const struct llmrl_charging *charging,
                                    size_t charging_size,
                                    const struct llmrl_request *request,
                                    size_t request_size,
                                    llmrl_cost *out);

/**
 * What to settle with, when the answer says what was used.
 *
 * Returns as llmrl_charging_reserve().
 */
llmrl_status llmrl_charging_settle(const struct llmrl_charging *charging,
                                   size_t charging_size,
                                   const struct llmrl_request *request,
                                   size_t request_size,
                                   const llmrl_cost *used,
                                   llmrl_cost *out);


/* ----------------------------------------------------------------------------------------
 * How much will be put out
 *
 * What providers charge for output is what was really put out, with some of them; whoever
 * reserves max_tokens with those, and uses a tenth of it, has most of the limit lie idle
 * until the answers are there. Here the output lengths that were seen are remembered, by
 * key (a user, an API key, a route, or nothing) and model, and tell what to expect: a
 * quantile of them. Where the provider itself reserves max_tokens, reserve that: a smaller
 * estimate would be refused.
 *
 *     llmrl_lengths *lengths;
 *     llmrl_lengths_new(1000, &lengths);
 *     llmrl_lengths_estimate(lengths, key, strlen(key), model, strlen(model), 900, max_tokens,
 *                            &request.expected);
 *     ...
 *     llmrl_lengths_record(lengths, key, strlen(key), model, strlen(model), used);
 *
 * What was seen is forgotten by halves: lengths count half as much for every 128 that come
 * after them, first when there are 255. Names are any bytes of any number; nothing is kept
 * of them but a fingerprint of 128 bits. Recording and estimating take a lock that is held
 * for about a microsecond, which no admission needs, and time in proportion to the size of
 * the names.
 * ---------------------------------------------------------------------------------------- */

/** Output lengths that were seen. */
typedef struct llmrl_lengths llmrl_lengths;

/**
 * Makes one that remembers up to names pairs of key and model, 1 to 2^20, and as many
 * models; each takes some 450 bytes. When there are more, the one makes room of which
 * nothing was recorded for longest. Free it with llmrl_lengths_free().
 *
 * Returns LLMRL_OK, LLMRL_ERR_RANGE or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_lengths_new(uint64_t names, struct llmrl_lengths **out);

/**
 * An answer of model to key had so many output tokens; more than 2^24 - 1 count as that.
 * To be called when the permit is settled. Allocates for new names.
 *
 * Returns LLMRL_OK, or LLMRL_ERR_NULL also for a name that has a size and is NULL.
 */
llmrl_status llmrl_lengths_record(const struct llmrl_lengths *l,
                                  const char *key,
                                  size_t key_size,
                                  const char *model,
                                  size_t model_size,
                                  uint64_t output_tokens);

/**
 * The length that permille of 1000 answers of model to key did not exceed, at most a 16th
 * more than it was; never more than max_tokens, which may be LLMRL_UNKNOWN. If less than
 * 20 answers were seen, those of the model to all keys tell; if of that less than 20, all
 * answers; if there are none, it is max_tokens.
 *
 * Returns LLMRL_OK, LLMRL_ERR_RANGE for permille outside 1 to 1000, or LLMRL_ERR_NULL also
 * for a name that has a size and is NULL.
 */
llmrl_status llmrl_lengths_estimate(const struct llmrl_lengths *l,
                                    const char *key,
                                    size_t key_size,
                                    const char *model,
                                    size_t model_size,
                                    uint32_t permille,
                                    uint64_t max_tokens,
                                    uint64_t *out);

/** Gives it up; NULL is allowed. */
void llmrl_lengths_free(struct llmrl_lengths *l);


/* ----------------------------------------------------------------------------------------
 * Token bucket, by itself
 *
 * One limit without a queue, for those who want no more. Taking is one reading of the
 * clock and one atomic exchange; a refusal writes nothing. What n counts is the
 * caller's business.
 *
 * Over any interval, what is taken less what is refunded is at most the burst plus
 * what the interval produces.
 * ---------------------------------------------------------------------------------------- */

/** A token bucket without a queue. */
typedef struct llmrl_bucket llmrl_bucket;

/**
 * Makes a bucket for a limit of the kind LLMRL_TOKEN_BUCKET. clock is NULL for the
 * machine's. message is as in llmrl_limiter_new(). Free it with llmrl_bucket_free().
 *
 * Returns LLMRL_OK; LLMRL_ERR_RANGE or LLMRL_ERR_FLAGS, with a message; LLMRL_ERR_NULL if
 * limit or out is; LLMRL_ERR_HANDLE if clock is none.
 */
llmrl_status llmrl_bucket_new(const llmrl_limit *limit,
                              const llmrl_clock *clock,
                              struct llmrl_bucket **out,
                              char *message,
                              size_t message_size);

/**
 * Takes n now, or nothing.
 *
 * - LLMRL_OK: they are the caller's.
 * - LLMRL_REFUSED: there are not enough. *wait_ns, if wait_ns is not NULL, is the time
 *   after which the same take succeeds, absent others, and a nanosecond before which it
 *   does not; or LLMRL_FOREVER, if no clock runs for so long. To find that out is most of
 *   what a refusal costs.
 * - LLMRL_ERR_NEVER: more than the bucket ever holds.
 * - LLMRL_ERR_COST: n is 0 or above 2^40 - 1.
 */
llmrl_status llmrl_bucket_try_take(const struct llmrl_bucket *b,
                                   uint64_t n,
                                   uint64_t *wait_ns);

/**
 * Gives back n of what was taken. The bucket never holds more than its burst.
 *
 * Returns LLMRL_OK or LLMRL_ERR_COST.
 */
llmrl_status llmrl_bucket_refund(const struct llmrl_bucket *b, uint64_t n);

/**
 * Counts n that were used without asking. The bucket may go below zero; nothing is
 * admitted until that is made good.
 *
 * Returns LLMRL_OK or LLMRL_ERR_COST.
 */
llmrl_status llmrl_bucket_charge(const struct llmrl_bucket *b, uint64_t n);

/**
 * Another rate and burst from now on, with the ranges and defaults of llmrl_limit.
 * What is in the bucket stays, as far as the new burst allows, and so does the part of
 * a token that was under way.
 *
 * Returns LLMRL_OK or LLMRL_ERR_RANGE.
 */
llmrl_status llmrl_bucket_retune(const struct llmrl_bucket *b,
                                 uint64_t amount,
                                 uint64_t period_ns,
                                 uint64_t burst);

/**
 * Admits nothing for duration_ns from now, whatever an earlier pause said; 0 resumes.
 * The bucket fills meanwhile.
 *
 * Returns LLMRL_OK.
 */
llmrl_status llmrl_bucket_pause(const struct llmrl_bucket *b, uint64_t duration_ns);

/**
 * What could be taken now; negative is debt.
 *
 * Returns LLMRL_OK or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_bucket_available(const struct llmrl_bucket *b, int64_t *out);

/** Gives the bucket up; NULL is allowed. */
void llmrl_bucket_free(struct llmrl_bucket *b);


/* ----------------------------------------------------------------------------------------
 * Token buckets by key
 *
 * One bucket for each user, address or tenant, all with the same limit, for services
 * that refuse rather than let wait. A key that was not seen before has a full bucket.
 *
 *     llmrl_limit limit = {.kind = LLMRL_TOKEN_BUCKET, .meter = LLMRL_REQUESTS, .amount = 60};
 *     llmrl_bucket_map *users;
 *     llmrl_bucket_map_new(&limit, 100000, 0, NULL, &users, NULL, 0);
 *
 *     uint64_t wait_ns;
 *     if (llmrl_bucket_map_try_take(users, name, strlen(name), 1, &wait_ns) == LLMRL_REFUSED)
 *         ...                                                Retry-After: wait_ns
 *
 * The memory is taken when the map is made: 32.25 bytes for each key of the capacity, and
 * 5 KiB. Twice as many buckets fit. One that has become full again, whose key is nothing
 * to remember by, may give way to another key's. No other bucket does: a key that has used
 * up what it has gets nothing new before it is due, however many keys come by.
 *
 * Keys are 1 to 65536 bytes; a number is passed as its bytes. They are told apart by a
 * hash of 64 bits under a random secret, so nobody can choose keys that meet. Two that
 * meet by chance share a bucket.
 * ---------------------------------------------------------------------------------------- */

/**
 * As a flag of llmrl_bucket_map_new(): a new key for which there is no room is answered
 * with LLMRL_ERR_FULL. Without this it shares a bucket with others in its place, until
 * that is full again: it may be refused because of them, and never gets more; what is
 * refunded to it is lost.
 */
#define LLMRL_REFUSE_WITHOUT_ROOM 1

/** Token buckets by key. */
typedef struct llmrl_bucket_map llmrl_bucket_map;

/**
 * Counted since the map was made. May grow at the end in later versions, so its size is
 * passed along with it.
 */
typedef struct llmrl_bucket_map_stats {
    /**
     * Keys that have a bucket of their own, those included whose bucket is full and
     * waits for somebody else to need it: up to twice the capacity.
     */
    uint64_t keys;
    /** How often a full bucket gave way to another key's. */
    uint64_t evictions;
    /**
     * Calls that found no room for their key. If these are not rare, the capacity is
     * too small.
     */
    uint64_t overflows;
} llmrl_bucket_map_stats;

/**
 * Makes a map of buckets for a limit of the kind LLMRL_TOKEN_BUCKET without
 * LLMRL_START_EMPTY, with room for capacity keys at a time, 1 to 2^30. flags is
 * LLMRL_REFUSE_WITHOUT_ROOM or 0. clock is NULL for the machine's. message is as in
 * llmrl_limiter_new(). Free it with llmrl_bucket_map_free().
 *
 * Returns LLMRL_OK; LLMRL_ERR_RANGE or LLMRL_ERR_FLAGS, with a message; LLMRL_ERR_NULL if
 * limit or out is; LLMRL_ERR_HANDLE if clock is none; LLMRL_ERR_MEMORY.
 */
llmrl_status llmrl_bucket_map_new(const llmrl_limit *limit,
                                  size_t capacity,
                                  uint32_t flags,
                                  const llmrl_clock *clock,
                                  struct llmrl_bucket_map **out,
                                  char *message,
                                  size_t message_size);

/**
 * Takes n from the bucket of the key of key_size bytes now, or nothing.
 *
 * - LLMRL_OK: they are the caller's.
 * - LLMRL_REFUSED: there are not enough; wait_ns is as in llmrl_bucket_try_take().
 * - LLMRL_ERR_NEVER: more than a bucket ever holds.
 * - LLMRL_ERR_FULL: no room; only with LLMRL_REFUSE_WITHOUT_ROOM.
 * - LLMRL_ERR_COST: n is 0 or above 2^40 - 1.
 * - LLMRL_ERR_RANGE: key_size is 0 or above 65536.
 */
llmrl_status llmrl_bucket_map_try_take(const struct llmrl_bucket_map *m,
                                       const void *key,
                                       size_t key_size,
                                       uint64_t n,
                                       uint64_t *wait_ns);

/**
 * Gives back n of what was taken for this key. No bucket ever holds more than its burst.
 *
 * Returns LLMRL_OK, LLMRL_ERR_COST or LLMRL_ERR_RANGE, as llmrl_bucket_map_try_take().
 */
llmrl_status llmrl_bucket_map_refund(const struct llmrl_bucket_map *m,
                                     const void *key,
                                     size_t key_size,
                                     uint64_t n);

/**
 * Counts n that were used for this key without asking. The bucket may go below zero;
 * nothing is admitted for the key until that is made good.
 *
 * Returns LLMRL_OK, LLMRL_ERR_COST, LLMRL_ERR_RANGE or LLMRL_ERR_FULL, as
 * llmrl_bucket_map_try_take().
 */
llmrl_status llmrl_bucket_map_charge(const struct llmrl_bucket_map *m,
                                     const void *key,
                                     size_t key_size,
                                     uint64_t n);

/**
 * What could be taken for this key now; negative is debt.
 *
 * Returns LLMRL_OK, LLMRL_ERR_RANGE or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_bucket_map_available(const struct llmrl_bucket_map *m,
                                        const void *key,
                                        size_t key_size,
                                        int64_t *out);

/**
 * Reads the counters; out_size is sizeof *out.
 *
 * Returns LLMRL_OK, LLMRL_ERR_NULL or LLMRL_ERR_SIZE.
 */
llmrl_status llmrl_bucket_map_read_stats(const struct llmrl_bucket_map *m,
                                         struct llmrl_bucket_map_stats *out,
                                         size_t out_size);

/** Gives the map up; NULL is allowed. */
void llmrl_bucket_map_free(struct llmrl_bucket_map *m);


/* ----------------------------------------------------------------------------------------
 * In-flight limit, by itself
 *
 * How many are inside at the same time, without a queue. Entering and leaving are one
 * atomic exchange each.
 * ---------------------------------------------------------------------------------------- */

/** An in-flight limit without a queue. */
typedef struct llmrl_in_flight llmrl_in_flight;

/**
 * Makes one that lets limit inside, 1 to 524287. Free it with llmrl_in_flight_free().
 *
 * Returns LLMRL_OK, LLMRL_ERR_RANGE or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_in_flight_new(uint64_t limit, struct llmrl_in_flight **out);

/**
 * Goes in, if there is room.
 *
 * - LLMRL_OK: the caller is inside, and leaves with llmrl_in_flight_leave().
 * - LLMRL_REFUSED: there is no room.
 */
llmrl_status llmrl_in_flight_try_enter(const struct llmrl_in_flight *g);

/**
 * Goes out.
 *
 * Returns LLMRL_OK, or LLMRL_ERR_STALE if nobody is inside: somebody has left twice.
 */
llmrl_status llmrl_in_flight_leave(const struct llmrl_in_flight *g);

/**
 * Another limit from now on. Nobody is thrown out: below the present count, it lets
 * nobody in until enough have left.
 *
 * Returns LLMRL_OK or LLMRL_ERR_RANGE.
 */
llmrl_status llmrl_in_flight_resize(const struct llmrl_in_flight *g, uint64_t limit);

/**
 * How many are inside.
 *
 * Returns LLMRL_OK or LLMRL_ERR_NULL.
 */
llmrl_status llmrl_in_flight_count(const struct llmrl_in_flight *g, uint64_t *count);

/** Gives it up; NULL is allowed. */
void llmrl_in_flight_free(struct llmrl_in_flight *g);


/* ----------------------------------------------------------------------------------------
 * Version
 *
 * The macros are what a program was compiled with, the functions what it runs with.
 * Within one LLMRL_ABI_VERSION nothing is taken away that this header promises. A new one
 * also gets a new library name; number 1 is libllmrl.so.0.
 * ---------------------------------------------------------------------------------------- */

/** First part of the version. */
#define LLMRL_VERSION_MAJOR 0

/** Second part of the version. */
#define LLMRL_VERSION_MINOR 1

/** Third part of the version. */
#define LLMRL_VERSION_PATCH 0

/** MAJOR * 10000 + MINOR * 100 + PATCH, for comparing. */
#define LLMRL_VERSION_NUMBER 100

/** Number of the binary interface that this header describes. */
#define LLMRL_ABI_VERSION 1

/** The version of the library that is running, as "1.2.3". Static, not to be freed. */
const char *llmrl_version(void);

/**
 * The version of the library that is running, as LLMRL_VERSION_NUMBER. A cautious
 * program begins with
 *
 *     assert(llmrl_version_number() >= LLMRL_VERSION_NUMBER);
 */
uint32_t llmrl_version_number(void);

/**
 * The binary interface of the library that is running. It must be equal to
 * LLMRL_ABI_VERSION.
 */
uint32_t llmrl_abi_version(void);

/**
 * Does nothing. Its name is the point: a program or binding that refers to it does not
 * link with a library of another binary interface, so the mistake is found before
 * anything runs.
 */
void llmrl_abi_v1(void);


#ifdef __cplusplus
}
#endif

#endif /* LLMRL_H */
