/* What Go cannot say to llmrl.h by itself: pointers inside of structs, and a callback that need not be Go's. */
#ifndef LLMRL_GO_BRIDGE_H
#define LLMRL_GO_BRIDGE_H

#if !__has_include("llmrl.h")
#error "the C library is not there yet: run bindings/go/prepare.sh"
#endif
#include "llmrl.h"

/*
 * Every wake comes up inside one of the package's own calls. It is noted here, and delivered by the goroutine that
 * has made the call: it looks after each whether there are any. So C never calls Go.
 */
typedef struct {
    uint64_t queue;
    llmrl_permit ticket;
} go_wake;

const uint32_t *go_wakes_pending(void);
size_t go_wakes_take(go_wake *out, size_t room);

llmrl_status go_limiter_new(const llmrl_limit *limits, size_t count, const llmrl_options *chosen, uint64_t queue,
                            const void *saved, size_t saved_size, llmrl_limiter **out, char *message,
                            size_t message_size);
llmrl_status go_map_new(const llmrl_limit *limits, size_t count, const llmrl_options *chosen, uint64_t queue,
                        size_t capacity, size_t shared, llmrl_map **out, char *message, size_t message_size);
llmrl_status go_chain_new(const llmrl_limiter *const *limiters, size_t count, uint32_t max_permits, uint64_t queue,
                          llmrl_chain **out, char *message, size_t message_size);
llmrl_status go_router_new(uint32_t replicas, uint64_t queue, llmrl_router **out, char *message, size_t message_size);
llmrl_status go_fair_new(const llmrl_limiter *l, const llmrl_fair_options *chosen, uint64_t queue, llmrl_fair **out,
                         char *message, size_t message_size);
llmrl_status go_fair_enqueue(const llmrl_fair *f, const llmrl_cost *cost, const char *key, size_t key_size,
                             uint32_t weight, uint32_t flags, uint64_t timeout_ns, llmrl_permit *ticket,
                             uint64_t *wait_ns);

/*
 * What is to be done with an answer: read it, or hand it to the limiter, chain or fair queue that let its request through.
 * Names and values of its headers are in text, one after the other; sizes are theirs, in turn.
 */
#define GO_READ 0
#define GO_LIMITER 1
#define GO_CHAIN 2
#define GO_FAIR 3

llmrl_status go_answered(int what, const void *of, llmrl_permit permit, uint32_t status, uint64_t wall_now_ns,
                         const char *text, const size_t *sizes, size_t header_count, const char *body,
                         size_t body_size, llmrl_reading *reading, llmrl_advice *advice);

#endif
