#include "bridge.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static go_wake *wakes;
static size_t wakes_room;
static uint32_t wakes_pending;

static void note(void *context, llmrl_permit ticket)
{
    pthread_mutex_lock(&lock);
    if (wakes_pending == wakes_room) {
        wakes_room = wakes_room ? 2 * wakes_room : 64;
        wakes = realloc(wakes, wakes_room * sizeof *wakes);
        if (!wakes)
            abort(); /* as Go does when there is no memory */
    }
    wakes[wakes_pending] = (go_wake){(uint64_t)(uintptr_t)context, ticket};
    __atomic_store_n(&wakes_pending, wakes_pending + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
}

const uint32_t *go_wakes_pending(void)
{
    return &wakes_pending;
}

size_t go_wakes_take(go_wake *out, size_t room)
{
    pthread_mutex_lock(&lock);
    size_t count = wakes_pending < room ? wakes_pending : room;
    size_t rest = wakes_pending - count;
    if (count) {
        memcpy(out, wakes, count * sizeof *wakes);
        memmove(wakes, wakes + count, rest * sizeof *wakes);
        __atomic_store_n(&wakes_pending, (uint32_t)rest, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return count;
}

static void *context_of(uint64_t queue)
{
    return (void *)(uintptr_t)queue;
}

llmrl_status go_limiter_new(const llmrl_limit *limits, size_t count, const llmrl_options *chosen, uint64_t queue,
                            const void *saved, size_t saved_size, llmrl_limiter **out, char *message,
                            size_t message_size)
{
    llmrl_options options = *chosen;
    options.wake = note;
    options.wake_ctx = context_of(queue);
    options.saved = saved;
    options.saved_size = saved_size;
    return llmrl_limiter_new(limits, count, &options, sizeof options, out, message, message_size);
}

llmrl_status go_map_new(const llmrl_limit *limits, size_t count, const llmrl_options *chosen, uint64_t queue,
                        size_t capacity, size_t shared, llmrl_map **out, char *message, size_t message_size)
{
    llmrl_options options = *chosen;
    options.wake = note;
    options.wake_ctx = context_of(queue);
    return llmrl_map_new(limits, count, &options, sizeof options, capacity, shared, out, message, message_size);
}

llmrl_status go_chain_new(const llmrl_limiter *const *limiters, size_t count, uint32_t max_permits, uint64_t queue,
                          llmrl_chain **out, char *message, size_t message_size)
{
    llmrl_chain_options options = {.max_permits = max_permits, .wake = note, .wake_ctx = context_of(queue)};
    return llmrl_chain_new(limiters, count, &options, sizeof options, out, message, message_size);
}

llmrl_status go_router_new(uint32_t replicas, uint64_t queue, llmrl_router **out, char *message, size_t message_size)
{
    llmrl_router_options options = {.replicas = replicas, .wake = note, .wake_ctx = context_of(queue)};
    return llmrl_router_new(&options, sizeof options, out, message, message_size);
}

llmrl_status go_fair_new(const llmrl_limiter *l, const llmrl_fair_options *chosen, uint64_t queue, llmrl_fair **out,
                         char *message, size_t message_size)
{
    llmrl_fair_options options = *chosen;
    options.wake = note;
    options.wake_ctx = context_of(queue);
    return llmrl_fair_new(l, &options, sizeof options, out, message, message_size);
}

llmrl_status go_fair_enqueue(const llmrl_fair *f, const llmrl_cost *cost, const char *key, size_t key_size,
                             uint32_t weight, uint32_t flags, uint64_t timeout_ns, llmrl_permit *ticket,
                             uint64_t *wait_ns)
{
    llmrl_share share = {key, key_size, weight, flags};
    return llmrl_fair_enqueue(f, cost, &share, timeout_ns, ticket, wait_ns);
}

llmrl_status go_answered(int what, const void *of, llmrl_permit permit, uint32_t status, uint64_t wall_now_ns,
                         const char *text, const size_t *sizes, size_t header_count, const char *body,
                         size_t body_size, llmrl_reading *reading, llmrl_advice *advice)
{
    llmrl_header *headers = malloc((header_count + 1) * sizeof *headers);
    if (!headers)
        return LLMRL_ERR_MEMORY;
    for (size_t i = 0; i < header_count; i++) {
        headers[i] = (llmrl_header){text, sizes[2 * i], text + sizes[2 * i], sizes[2 * i + 1]};
        text += sizes[2 * i] + sizes[2 * i + 1];
    }
    llmrl_answer answer = {status, 0, headers, header_count, body, body_size, wall_now_ns};
    llmrl_status result;
    if (what == GO_READ)
        result = llmrl_answer_read(&answer, sizeof answer, reading, sizeof *reading);
    else if (what == GO_LIMITER)
        result = llmrl_feedback(of, permit, &answer, sizeof answer, advice, sizeof *advice);
    else if (what == GO_CHAIN)
        result = llmrl_chain_feedback(of, permit, &answer, sizeof answer, advice, sizeof *advice);
    else
        result = llmrl_fair_feedback(of, permit, &answer, sizeof answer, advice, sizeof *advice);
    free(headers);
    return result;
}
