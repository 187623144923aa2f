// Requests: what is called for each of them. None of these takes an argument but a key; see addon.h.
#include "addon.h"

#include <string.h>

enum { ASKED = 1u << LIMITER | 1u << CHAIN | 1u << FAIR | 1u << ROUTER };

static inline llmrl_cost cost_of(const double *n) {
    return (llmrl_cost){
        .requests = whole(n[AT_REQUESTS]),
        .input_tokens = whole(n[AT_REQUESTS + 1]),
        .output_tokens = whole(n[AT_REQUESTS + 2]),
        .cached_tokens = whole(n[AT_REQUESTS + 3]),
        .cache_write_tokens = whole(n[AT_REQUESTS + 4]),
    };
}

static inline uint64_t ticket_of(const Env *e) {
    uint64_t ticket;
    memcpy(&ticket, &e->n[AT_TICKET], sizeof ticket);
    return ticket;
}

static inline void set_ticket(Env *e, uint64_t ticket) {
    memcpy(&e->n[AT_TICKET], &ticket, sizeof ticket);
}

static llmrl_status chained(Env *e, llmrl_status status, const llmrl_chained *out) {
    set_ticket(e, out->permit);
    e->n[AT_WAIT] = told(out->wait_ns);
    e->n[AT_LEVEL] = out->level;
    e->n[AT_LIMIT] = out->limit;
    return status;
}

static llmrl_status routed(Env *e, llmrl_status status, const llmrl_routed *out) {
    set_ticket(e, status == LLMRL_PENDING ? out->ticket : out->permit);
    e->n[AT_WAIT] = told(out->wait_ns);
    e->n[AT_LEVEL] = out->node;
    return status;
}

// A level that nothing was said about.
static llmrl_chained no_level(void) {
    return (llmrl_chained){.level = LLMRL_MAX_LEVELS, .limit = LLMRL_MAX_LIMITS};
}

static napi_value try_acquire(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], ASKED);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_cost cost = cost_of(e->n);
    llmrl_status status;
    uint64_t number = 0;
    if (slot->kind == LIMITER) {
        status = llmrl_try_acquire(slot->object, &cost, &number, NULL);
        if (status == LLMRL_OK && slot->numbers) numbers_add(slot, number);
        set_ticket(e, number);
    } else if (slot->kind == FAIR) {
        status = llmrl_fair_try_acquire(slot->object, &cost, &number, NULL);
        set_ticket(e, number);
    } else if (slot->kind == CHAIN) {
        llmrl_chained out = no_level();
        status = chained(e, llmrl_chain_try_acquire(slot->object, &cost, &out, sizeof out), &out);
    } else {
        return answer(e, LLMRL_ERR_HANDLE, NULL);
    }
    e->n[AT_STATUS] = status;
    return NULL;
}

static napi_value enqueue(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER | 1u << CHAIN);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_cost cost = cost_of(e->n);
    uint64_t timeout = span(e->n[AT_TIMEOUT]), number = 0, wait = 0;
    if (slot->kind == LIMITER) {
        llmrl_status status = llmrl_enqueue(slot->object, &cost, timeout, &number, &wait);
        if (status >= 0 && slot->numbers) numbers_add(slot, number);
        set_ticket(e, number);
        e->n[AT_WAIT] = told(wait);
        e->n[AT_STATUS] = status;
    } else {
        llmrl_chained out = no_level();
        e->n[AT_STATUS] = chained(e, llmrl_chain_enqueue(slot->object, &cost, timeout, &out, sizeof out), &out);
    }
    return NULL;
}

// enqueueFor(key): at a fair queue on the account of a key, with its weight and class at AT_RESULT; at a router with a key or undefined.
static napi_value enqueue_for(napi_env env, napi_callback_info info) {
    napi_value key;
    Env *e = begin(env, info, 1, &key);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << FAIR | 1u << ROUTER);
    Bytes bytes = {.data = NULL};
    napi_valuetype type;
    napi_typeof(env, key, &type);
    if (!slot || (type != napi_undefined && !bytes_of(env, key, &bytes))) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_cost cost = cost_of(e->n);
    uint64_t timeout = span(e->n[AT_TIMEOUT]), number = 0, wait = 0;
    if (slot->kind == FAIR) {
        llmrl_share share = {bytes.data, bytes.size, (uint32_t)whole(e->n[AT_RESULT]), (uint32_t)whole(e->n[AT_RESULT + 1])};
        e->n[AT_STATUS] = llmrl_fair_enqueue(slot->object, &cost, &share, timeout, &number, &wait);
        set_ticket(e, number);
        e->n[AT_WAIT] = told(wait);
    } else {
        llmrl_routed out = {0};
        e->n[AT_STATUS] = routed(e, llmrl_router_enqueue(slot->object, &cost, bytes.data, bytes.size, timeout, &out, sizeof out), &out);
    }
    bytes_free(&bytes);
    return NULL;
}

// tryRoute(key): at a router now or not at all.
static napi_value try_route(napi_env env, napi_callback_info info) {
    napi_value key;
    Env *e = begin(env, info, 1, &key);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << ROUTER);
    Bytes bytes = {.data = NULL};
    napi_valuetype type;
    napi_typeof(env, key, &type);
    if (!slot || (type != napi_undefined && !bytes_of(env, key, &bytes))) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_cost cost = cost_of(e->n);
    llmrl_routed out = {0};
    e->n[AT_STATUS] = routed(e, llmrl_router_try_acquire(slot->object, &cost, bytes.data, bytes.size, &out, sizeof out), &out);
    bytes_free(&bytes);
    return NULL;
}

static napi_value poll(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], ASKED);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    uint64_t ticket = ticket_of(e), wait = 0;
    llmrl_status status;
    if (slot->kind == CHAIN) {
        llmrl_chained out = no_level();
        status = llmrl_chain_poll(slot->object, ticket, &out, sizeof out);
        chained(e, status, &out);
        set_ticket(e, ticket);
    } else if (slot->kind == ROUTER) {
        llmrl_routed out = {0};
        status = routed(e, llmrl_router_poll(slot->object, ticket, &out, sizeof out), &out);
        if (status != LLMRL_OK) set_ticket(e, ticket);
    } else {
        status = slot->kind == LIMITER ? llmrl_poll(slot->object, ticket, &wait) : llmrl_fair_poll(slot->object, ticket, &wait);
        if (status < 0 && slot->numbers) numbers_remove(slot, ticket);
        e->n[AT_WAIT] = told(wait);
    }
    e->n[AT_STATUS] = status;
    return NULL;
}

static napi_value outlook(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_cost cost = cost_of(e->n);
    uint64_t wait = 0;
    e->n[AT_STATUS] = llmrl_outlook(slot->object, &cost, &wait, NULL);
    e->n[AT_WAIT] = told(wait);
    return NULL;
}

// The four that work on a permit, at whatever has given it out.
#define ON_PERMIT(NAME, LIMITERS, CHAINS, FAIRS, ENDS)                                                                                     \
    static napi_value NAME(napi_env env, napi_callback_info info) {                                                                        \
        Env *e = begin(env, info, 0, NULL);                                                                                                \
        Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER | 1u << CHAIN | 1u << FAIR);                                                \
        if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);                                                                               \
        uint64_t permit = ticket_of(e);                                                                                                    \
        llmrl_cost cost = cost_of(e->n);                                                                                                   \
        (void)cost;                                                                                                                        \
        llmrl_status status = slot->kind == LIMITER ? LIMITERS : slot->kind == CHAIN ? CHAINS : FAIRS;                                     \
        if (ENDS && status == LLMRL_OK && slot->numbers) numbers_remove(slot, permit);                                                     \
        e->n[AT_STATUS] = status;                                                                                                          \
        return NULL;                                                                                                                       \
    }

ON_PERMIT(settle, llmrl_settle(slot->object, permit, &cost), llmrl_chain_settle(slot->object, permit, &cost),
          llmrl_fair_settle(slot->object, permit, &cost), true)
ON_PERMIT(adjust, llmrl_adjust(slot->object, permit, &cost), llmrl_chain_adjust(slot->object, permit, &cost),
          llmrl_fair_adjust(slot->object, permit, &cost), false)
ON_PERMIT(release, llmrl_release(slot->object, permit), llmrl_chain_release(slot->object, permit), llmrl_fair_release(slot->object, permit),
          true)
ON_PERMIT(cancel_permit, llmrl_cancel(slot->object, permit), llmrl_chain_cancel(slot->object, permit),
          llmrl_fair_cancel(slot->object, permit), true)

static napi_value cancel(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << ROUTER);
    if (!slot) return cancel_permit(env, info);
    e->n[AT_STATUS] = llmrl_router_cancel(slot->object, ticket_of(e));
    return NULL;
}

static napi_value bucket_take(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << BUCKET);
    e->n[AT_STATUS] = slot ? llmrl_bucket_try_take(slot->object, whole(e->n[AT_REQUESTS]), NULL) : LLMRL_ERR_HANDLE;
    return NULL;
}

const Function request_functions[] = {
    {"tryAcquire", try_acquire}, {"enqueue", enqueue}, {"enqueueFor", enqueue_for}, {"tryRoute", try_route},
    {"poll", poll}, {"outlook", outlook}, {"settle", settle}, {"adjust", adjust},
    {"release", release}, {"cancel", cancel}, {"bucketTake", bucket_take}, {NULL, NULL},
};
