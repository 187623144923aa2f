// Making objects and looking after them: limits, clocks, limiters, maps, chains, fair queues, routers, buckets.
#include "addon.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGE = 160 };

// Packed structs llmrl_limit, as lib/limit.js writes them.
static size_t limits_of(napi_env env, napi_value value, llmrl_limit *limits) {
    Bytes bytes;
    if (!bytes_of(env, value, &bytes) || bytes.size > LLMRL_MAX_LIMITS * sizeof *limits) return 0;
    memcpy(limits, bytes.data, bytes.size);
    size_t count = bytes.size / sizeof *limits;
    bytes_free(&bytes);
    return count;
}

// The clock that the buffer names at AT_RESULT; -1 is the machine's.
static llmrl_clock *clock_of(Env *e) {
    Slot *slot = slot_of(e, e->n[AT_RESULT], 1u << CLOCK);
    return slot ? slot->object : NULL;
}

static napi_value new_clock(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    llmrl_clock *clock;
    llmrl_status status = llmrl_clock_new(whole(e->n[AT_WAIT]), &clock);
    return status ? answer(e, status, NULL) : adopt(e, CLOCK, clock, shared_new_id(), true, false);
}

static napi_value advance(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << CLOCK);
    e->n[AT_STATUS] = slot ? llmrl_clock_advance(slot->object, whole(e->n[AT_WAIT])) : LLMRL_ERR_HANDLE;
    return NULL;
}

static napi_value clock_now(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << CLOCK);
    uint64_t ns = 0;
    e->n[AT_STATUS] = slot ? llmrl_clock_now(slot->object, &ns) : LLMRL_ERR_HANDLE;
    e->n[AT_WAIT] = (double)ns;
    return NULL;
}

// At AT_RESULT: clock, flags, max_waiters, max_permits; of a map also capacity and shared.
static llmrl_options options_of(Env *e, uint64_t id) {
    return (llmrl_options){
        .flags = (uint32_t)whole(e->n[AT_RESULT + 1]),
        .max_waiters = (uint32_t)whole(e->n[AT_RESULT + 2]),
        .max_permits = (uint32_t)whole(e->n[AT_RESULT + 3]),
        .clock = clock_of(e),
        .wake = on_wake,
        .wake_ctx = (void *)(uintptr_t)id,
    };
}

// newLimiter(limits, saved): `saved` is bytes, none for a fresh start.
static napi_value new_limiter(napi_env env, napi_callback_info info) {
    napi_value args[2];
    Env *e = begin(env, info, 2, args);
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    size_t count = limits_of(env, args[0], limits);
    Bytes saved;
    if (!bytes_of(env, args[1], &saved)) return answer(e, LLMRL_ERR_NULL, NULL);
    uint64_t id = shared_new_id();
    llmrl_options options = options_of(e, id);
    options.saved = saved.size ? saved.data : NULL;
    options.saved_size = saved.size;
    llmrl_limiter *limiter;
    char message[MESSAGE];
    llmrl_status status = llmrl_limiter_new(limits, count, &options, sizeof options, &limiter, message, sizeof message);
    bytes_free(&saved);
    if (status) return answer(e, status, message);
    napi_value external = adopt(e, LIMITER, limiter, id, options.clock != NULL, true);
    // About what there is for each who may wait.
    weigh(e, external, (int64_t)options.max_waiters * 80);
    return external;
}

static napi_value new_map(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    size_t count = limits_of(env, args[0], limits);
    uint64_t id = shared_new_id();
    llmrl_options options = options_of(e, id);
    llmrl_map *map;
    char message[MESSAGE];
    llmrl_status status = llmrl_map_new(limits, count, &options, sizeof options, (size_t)whole(e->n[AT_RESULT + 4]),
                                        (size_t)whole(e->n[AT_RESULT + 5]), &map, message, sizeof message);
    return status ? answer(e, status, message) : adopt(e, MAP, map, id, options.clock != NULL, false);
}

static napi_value map_limiter(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << MAP);
    Bytes key;
    if (!slot || !bytes_of(env, args[0], &key)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_limiter *limiter;
    int32_t is_shared = 0;
    llmrl_status status = llmrl_map_limiter(slot->object, key.data, key.size, &limiter, &is_shared);
    bytes_free(&key);
    if (status) return answer(e, status, NULL);
    // Its tickets are told to the map's listeners.
    napi_value external = adopt(e, LIMITER, limiter, shared_new_id(), slot->shared->manual, false);
    e->n[AT_RESULT] = is_shared;
    return external;
}

static napi_value map_set_limits(napi_env env, napi_callback_info info) {
    napi_value args[2];
    Env *e = begin(env, info, 2, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << MAP);
    Bytes key;
    if (!slot || !bytes_of(env, args[0], &key)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    char message[MESSAGE];
    llmrl_status status =
        llmrl_map_set_limits(slot->object, key.data, key.size, limits, limits_of(env, args[1], limits), message, sizeof message);
    bytes_free(&key);
    return answer(e, status, status ? message : NULL);
}

// Of limiters and maps.
static napi_value close_object(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER | 1u << MAP);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    return answer(e, slot->kind == MAP ? llmrl_map_close(slot->object) : llmrl_limiter_close(slot->object), NULL);
}

// mapTop(): how many and by what at AT_RESULT; an array of key, key_size, granted, refused, waiting, in_flight for each.
static napi_value map_top(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << MAP);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    size_t count = (size_t)whole(e->n[AT_RESULT]), written = 0;
    llmrl_map_key *keys = calloc(count ? count : 1, sizeof *keys);
    if (!keys) return answer(e, LLMRL_ERR_MEMORY, NULL);
    napi_value list, value;
    napi_create_array(env, &list);
    e->n[AT_STATUS] = llmrl_map_top(slot->object, (uint32_t)whole(e->n[AT_RESULT + 1]), keys, sizeof *keys, count, &written);
    for (size_t i = 0; i < written; i++) {
        size_t size = keys[i].key_size < sizeof keys[i].key ? keys[i].key_size : sizeof keys[i].key;
        napi_create_buffer_copy(env, size, keys[i].key, NULL, &value);
        napi_set_element(env, list, (uint32_t)(6 * i), value);
        const uint64_t numbers[] = {keys[i].key_size, keys[i].granted, keys[i].refused, keys[i].waiting, keys[i].in_flight};
        for (uint32_t j = 0; j < 5; j++) {
            napi_create_double(env, (double)numbers[j], &value);
            napi_set_element(env, list, (uint32_t)(6 * i) + 1 + j, value);
        }
    }
    free(keys);
    return list;
}

// Limit, amount, nanoseconds and burst at AT_RESULT; AT_WAIT is the time of pause and align. All of a limiter, retune and pause also
// of a bucket.
static napi_value retune(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER | 1u << BUCKET);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    uint32_t limit = (uint32_t)whole(e->n[AT_RESULT]);
    uint64_t amount = whole(e->n[AT_RESULT + 1]), period = whole(e->n[AT_RESULT + 2]), burst = whole(e->n[AT_RESULT + 3]);
    e->n[AT_STATUS] = slot->kind == BUCKET ? llmrl_bucket_retune(slot->object, amount, period, burst)
                                           : llmrl_limiter_retune(slot->object, limit, amount, period, burst);
    return NULL;
}

static napi_value pause_limit(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER | 1u << BUCKET);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    uint64_t ns = whole(e->n[AT_WAIT]);
    e->n[AT_STATUS] = slot->kind == BUCKET ? llmrl_bucket_pause(slot->object, ns)
                                           : llmrl_limiter_pause(slot->object, (uint32_t)whole(e->n[AT_RESULT]), ns);
    return NULL;
}

static napi_value align(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    e->n[AT_STATUS] =
        slot ? llmrl_limiter_align(slot->object, (uint32_t)whole(e->n[AT_RESULT]), whole(e->n[AT_WAIT])) : LLMRL_ERR_HANDLE;
    return NULL;
}

static napi_value charge(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    const double *n = e->n + AT_REQUESTS;
    llmrl_cost cost = {whole(n[0]), whole(n[1]), whole(n[2]), whole(n[3]), whole(n[4]), {0}};
    return answer(e, llmrl_limiter_charge(slot->object, &cost), NULL);
}

static void tell(Env *e, const uint64_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) e->n[AT_RESULT + i] = (double)numbers[i];
}

// Of limiters, maps, fair queues and maps of buckets: all of their structs are uint64_t from beginning to end.
static napi_value stats(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER | 1u << MAP | 1u << FAIR | 1u << BUCKET_MAP);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    union {
        llmrl_stats limiter;
        llmrl_map_stats map;
        llmrl_fair_stats fair;
        llmrl_bucket_map_stats buckets;
        uint64_t numbers[9];
    } out = {.numbers = {0}};
    switch (slot->kind) {
    case LIMITER: e->n[AT_STATUS] = llmrl_limiter_stats(slot->object, &out.limiter, sizeof out.limiter); break;
    case MAP: e->n[AT_STATUS] = llmrl_map_get_stats(slot->object, &out.map, sizeof out.map); break;
    case FAIR: e->n[AT_STATUS] = llmrl_fair_get_stats(slot->object, &out.fair, sizeof out.fair); break;
    default: e->n[AT_STATUS] = llmrl_bucket_map_read_stats(slot->object, &out.buckets, sizeof out.buckets);
    }
    tell(e, out.numbers, 9);
    return NULL;
}

static napi_value limit_state(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_limit_state out = {0};
    e->n[AT_STATUS] = llmrl_limiter_limit_state(slot->object, (uint32_t)whole(e->n[AT_RESULT]), &out, sizeof out);
    tell(e, (const uint64_t[]){out.kind, out.meter, out.amount, out.period_ns, out.burst, 0, out.paused_ns, out.mode}, 8);
    e->n[AT_RESULT + 5] = (double)out.available;
    return NULL;
}

static napi_value save(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    size_t room = 0;
    void *memory = NULL;
    llmrl_status status;
    // It may need more from one look to the next.
    while ((status = llmrl_limiter_save(slot->object, 0, memory, room, &room)) == LLMRL_ERR_SIZE) {
        free(memory);
        memory = malloc(room);
        if (!memory) return answer(e, LLMRL_ERR_MEMORY, NULL);
    }
    napi_value buffer = NULL;
    if (!status) napi_create_buffer_copy(env, room, memory, NULL, &buffer);
    free(memory);
    e->n[AT_STATUS] = status;
    return buffer;
}

// newChain(): how many at AT_COUNT, their numbers at AT_RESULT, max_permits at AT_TIMEOUT.
static napi_value new_chain(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    const llmrl_limiter *levels[LLMRL_MAX_LEVELS];
    size_t count = (size_t)whole(e->n[AT_COUNT]);
    bool manual = false;
    if (count > LLMRL_MAX_LEVELS) return answer(e, LLMRL_ERR_RANGE, "limiters");
    for (size_t i = 0; i < count; i++) {
        Slot *slot = slot_of(e, e->n[AT_RESULT + i], 1u << LIMITER);
        if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
        levels[i] = slot->object;
        manual |= slot->shared->manual;
    }
    uint64_t id = shared_new_id();
    llmrl_chain_options options = {
        .max_permits = (uint32_t)whole(e->n[AT_TIMEOUT]), .wake = on_wake, .wake_ctx = (void *)(uintptr_t)id};
    llmrl_chain *chain;
    char message[MESSAGE];
    llmrl_status status = llmrl_chain_new(levels, count, &options, sizeof options, &chain, message, sizeof message);
    return status ? answer(e, status, message) : adopt(e, CHAIN, chain, id, manual, false);
}

// newFair(): limiter at AT_OBJECT; passes, max_waiters, max_permits at AT_RESULT, aging at AT_TIMEOUT.
static napi_value new_fair(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    uint64_t id = shared_new_id();
    llmrl_fair_options options = {
        .passes = (uint32_t)whole(e->n[AT_RESULT]),
        .max_waiters = (uint32_t)whole(e->n[AT_RESULT + 1]),
        .max_permits = (uint32_t)whole(e->n[AT_RESULT + 2]),
        .aging_ns = span(e->n[AT_TIMEOUT]),
        .wake = on_wake,
        .wake_ctx = (void *)(uintptr_t)id,
    };
    llmrl_fair *fair;
    char message[MESSAGE];
    llmrl_status status = llmrl_fair_new(slot->object, &options, sizeof options, &fair, message, sizeof message);
    return status ? answer(e, status, message) : adopt(e, FAIR, fair, id, slot->shared->manual, false);
}

static napi_value new_router(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    uint64_t id = shared_new_id();
    llmrl_router_options options = {
        .replicas = (uint32_t)whole(e->n[AT_RESULT]), .wake = on_wake, .wake_ctx = (void *)(uintptr_t)id};
    llmrl_router *router;
    char message[MESSAGE];
    llmrl_status status = llmrl_router_new(&options, sizeof options, &router, message, sizeof message);
    return status ? answer(e, status, message) : adopt(e, ROUTER, router, id, false, false);
}

// routerAdd(name): the limiter and the weight at AT_RESULT. The node's number is told at AT_LEVEL.
static napi_value router_add(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << ROUTER), *limiter = slot_of(e, e->n[AT_RESULT], 1u << LIMITER);
    Bytes name;
    if (!slot || !limiter || !bytes_of(env, args[0], &name)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    uint32_t node = 0;
    char message[MESSAGE];
    llmrl_status status = llmrl_router_add(slot->object, name.data, name.size, (uint32_t)whole(e->n[AT_RESULT + 1]), limiter->object,
                                           &node, message, sizeof message);
    bytes_free(&name);
    e->n[AT_LEVEL] = node;
    return answer(e, status, status ? message : NULL);
}

// routerSetWeight(name), routerRemove(name), routerNodeFor(key)
static napi_value router_set_weight(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << ROUTER);
    Bytes name;
    if (!slot || !bytes_of(env, args[0], &name)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    e->n[AT_STATUS] = llmrl_router_set_weight(slot->object, name.data, name.size, (uint32_t)whole(e->n[AT_RESULT + 1]));
    bytes_free(&name);
    return NULL;
}

static napi_value router_remove(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << ROUTER);
    Bytes name;
    if (!slot || !bytes_of(env, args[0], &name)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    e->n[AT_STATUS] = llmrl_router_remove(slot->object, name.data, name.size);
    bytes_free(&name);
    return NULL;
}

static napi_value router_node_for(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << ROUTER);
    Bytes key;
    if (!slot || !bytes_of(env, args[0], &key)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    uint32_t node = 0;
    e->n[AT_STATUS] = llmrl_router_node_for(slot->object, key.data, key.size, &node, NULL);
    bytes_free(&key);
    e->n[AT_LEVEL] = node;
    return NULL;
}

static napi_value new_bucket(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    llmrl_bucket *bucket;
    char message[MESSAGE];
    if (limits_of(env, args[0], limits) != 1) return answer(e, LLMRL_ERR_NULL, NULL);
    llmrl_status status = llmrl_bucket_new(limits, clock_of(e), &bucket, message, sizeof message);
    return status ? answer(e, status, message) : adopt(e, BUCKET, bucket, shared_new_id(), false, false);
}

// n at AT_REQUESTS.
static napi_value bucket_refund(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << BUCKET);
    e->n[AT_STATUS] = slot ? llmrl_bucket_refund(slot->object, whole(e->n[AT_REQUESTS])) : LLMRL_ERR_HANDLE;
    return NULL;
}

static napi_value bucket_charge(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << BUCKET);
    e->n[AT_STATUS] = slot ? llmrl_bucket_charge(slot->object, whole(e->n[AT_REQUESTS])) : LLMRL_ERR_HANDLE;
    return NULL;
}

static napi_value bucket_available(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << BUCKET);
    int64_t available = 0;
    e->n[AT_STATUS] = slot ? llmrl_bucket_available(slot->object, &available) : LLMRL_ERR_HANDLE;
    e->n[AT_RESULT] = (double)available;
    return NULL;
}

// What a refusal would say: what is there now is taken and given back at once.
static napi_value bucket_wait(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << BUCKET);
    if (!slot) return answer(e, LLMRL_ERR_HANDLE, NULL);
    uint64_t n = whole(e->n[AT_REQUESTS]), wait = 0;
    llmrl_status status = llmrl_bucket_try_take(slot->object, n, &wait);
    if (status == LLMRL_OK) llmrl_bucket_refund(slot->object, n);
    e->n[AT_WAIT] = status == LLMRL_REFUSED ? told(wait) : 0;
    e->n[AT_STATUS] = status;
    return NULL;
}

// newBucketMap(limit): clock, capacity and flags at AT_RESULT.
static napi_value new_bucket_map(napi_env env, napi_callback_info info) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    llmrl_bucket_map *map;
    char message[MESSAGE];
    if (limits_of(env, args[0], limits) != 1) return answer(e, LLMRL_ERR_NULL, NULL);
    llmrl_status status = llmrl_bucket_map_new(limits, (size_t)whole(e->n[AT_RESULT + 1]), (uint32_t)whole(e->n[AT_RESULT + 2]),
                                               clock_of(e), &map, message, sizeof message);
    return status ? answer(e, status, message) : adopt(e, BUCKET_MAP, map, shared_new_id(), false, false);
}

enum { TAKE, REFUND, CHARGE, AVAILABLE, WAIT };

static napi_value keyed(napi_env env, napi_callback_info info, int what) {
    napi_value args[1];
    Env *e = begin(env, info, 1, args);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << BUCKET_MAP);
    Bytes key;
    if (!slot || !bytes_of(env, args[0], &key)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    llmrl_bucket_map *map = slot->object;
    uint64_t n = whole(e->n[AT_REQUESTS]), wait = 0;
    int64_t available = 0;
    llmrl_status status;
    switch (what) {
    case TAKE: status = llmrl_bucket_map_try_take(map, key.data, key.size, n, NULL); break;
    case REFUND: status = llmrl_bucket_map_refund(map, key.data, key.size, n); break;
    case CHARGE: status = llmrl_bucket_map_charge(map, key.data, key.size, n); break;
    case AVAILABLE: status = llmrl_bucket_map_available(map, key.data, key.size, &available); break;
    default:
        status = llmrl_bucket_map_available(map, key.data, key.size, &available);
        if (status == LLMRL_OK && available < (int64_t)n) {
            status = llmrl_bucket_map_try_take(map, key.data, key.size, n, &wait);
            if (status == LLMRL_OK) llmrl_bucket_map_refund(map, key.data, key.size, n);
        }
    }
    bytes_free(&key);
    e->n[AT_RESULT] = (double)available;
    e->n[AT_WAIT] = status == LLMRL_REFUSED ? told(wait) : 0;
    e->n[AT_STATUS] = status;
    return NULL;
}

static napi_value map_take(napi_env env, napi_callback_info info) { return keyed(env, info, TAKE); }
static napi_value map_refund(napi_env env, napi_callback_info info) { return keyed(env, info, REFUND); }
static napi_value map_charge(napi_env env, napi_callback_info info) { return keyed(env, info, CHARGE); }
static napi_value map_available(napi_env env, napi_callback_info info) { return keyed(env, info, AVAILABLE); }
static napi_value map_wait(napi_env env, napi_callback_info info) { return keyed(env, info, WAIT); }

const Function object_functions[] = {
    {"newClock", new_clock}, {"advance", advance}, {"clockNow", clock_now},
    {"newLimiter", new_limiter}, {"close", close_object}, {"retune", retune}, {"pause", pause_limit}, {"align", align},
    {"charge", charge}, {"stats", stats}, {"limitState", limit_state}, {"save", save},
    {"newMap", new_map}, {"mapLimiter", map_limiter}, {"mapSetLimits", map_set_limits}, {"mapTop", map_top},
    {"newChain", new_chain}, {"newFair", new_fair},
    {"newRouter", new_router}, {"routerAdd", router_add}, {"routerSetWeight", router_set_weight},
    {"routerRemove", router_remove}, {"routerNodeFor", router_node_for},
    {"newBucket", new_bucket}, {"bucketRefund", bucket_refund}, {"bucketCharge", bucket_charge},
    {"bucketAvailable", bucket_available}, {"bucketWait", bucket_wait},
    {"newBucketMap", new_bucket_map}, {"mapTake", map_take}, {"mapRefund", map_refund}, {"mapCharge", map_charge},
    {"mapAvailable", map_available}, {"mapWait", map_wait},
    {NULL, NULL},
};
