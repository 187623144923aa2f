// Objects, environments, wakes, and what happens when one of them ends.
#include "addon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One lock for all that environments share. It is taken to make and end objects and for wakes, never to admit.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Shared *table[1024];
static uint64_t last_id;

// ---- Permits of an object that outlives the environment which holds them ----

typedef struct Numbers {
    uint64_t *at;
    size_t room, used; // room is a power of two; 0 is a free place
} Numbers;

static size_t home(const Numbers *set, uint64_t number) {
    return (size_t)((number * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (set->room - 1);
}

static void numbers_put(Numbers *set, uint64_t number) {
    size_t at = home(set, number);
    while (set->at[at] && set->at[at] != number) at = (at + 1) & (set->room - 1);
    set->used += !set->at[at];
    set->at[at] = number;
}

void numbers_add(Slot *slot, uint64_t number) {
    Numbers *set = slot->numbers;
    if (2 * (set->used + 1) > set->room) {
        Numbers larger = {NULL, set->room ? set->room * 2 : 64, 0};
        larger.at = calloc(larger.room, sizeof *larger.at);
        if (!larger.at) return;
        for (size_t i = 0; i < set->room; i++)
            if (set->at[i]) numbers_put(&larger, set->at[i]);
        free(set->at);
        *set = larger;
    }
    numbers_put(set, number);
}

void numbers_remove(Slot *slot, uint64_t number) {
    Numbers *set = slot->numbers;
    if (!set->room) return;
    size_t at = home(set, number);
    while (set->at[at] != number) {
        if (!set->at[at]) return;
        at = (at + 1) & (set->room - 1);
    }
    // Those behind it move up, so that no search ends too early.
    for (size_t next = (at + 1) & (set->room - 1); set->at[next]; next = (next + 1) & (set->room - 1)) {
        size_t from = home(set, set->at[next]);
        if (((next - from) & (set->room - 1)) >= ((next - at) & (set->room - 1))) {
            set->at[at] = set->at[next];
            at = next;
        }
    }
    set->at[at] = 0;
    set->used--;
}

// The environment ends: what it holds was perhaps sent, what it waits for was not.
static void numbers_end(Slot *slot) {
    Numbers *set = slot->numbers;
    if (!set) return;
    for (size_t i = 0; i < set->room; i++)
        if (set->at[i] && llmrl_release(slot->object, set->at[i]) != LLMRL_OK) llmrl_cancel(slot->object, set->at[i]);
    free(set->at);
    free(set);
    slot->numbers = NULL;
}

// ---- Wakes ----

uint64_t shared_new_id(void) {
    pthread_mutex_lock(&lock);
    uint64_t id = ++last_id;
    pthread_mutex_unlock(&lock);
    return id;
}

static Shared *find(uint64_t id) {
    Shared *shared = table[id % 1024];
    while (shared && shared->id != id) shared = shared->next;
    return shared;
}

static void signal_env(Env *e) {
    if (e->signalled || e->closing) return;
    e->signalled = true;
    napi_call_threadsafe_function(e->wake, NULL, napi_tsfn_nonblocking);
}

static void push(Env *e, uint32_t slot, uint64_t ticket) {
    if (e->closing) return;
    if (e->wake_count == e->wake_room) {
        uint32_t room = e->wake_room ? e->wake_room * 2 : 64;
        struct Wake *wakes = realloc(e->wakes, room * sizeof *wakes);
        if (!wakes) return;
        e->wakes = wakes;
        e->wake_room = room;
    }
    e->wakes[e->wake_count++] = (struct Wake){slot, ticket};
    // The thread itself looks at the count when its call returns; others are told.
    if (pthread_equal(e->thread, pthread_self())) e->n[AT_WOKEN] += 1;
    else signal_env(e);
}

// By number and not by address: a wake may be under way in another thread when its object ends.
void on_wake(void *id, llmrl_permit ticket) {
    pthread_mutex_lock(&lock);
    Shared *shared = find((uint64_t)(uintptr_t)id);
    for (uint32_t i = 0; shared && i < shared->listener_count; i++)
        push(shared->listeners[i].env, shared->listeners[i].slot, ticket);
    pthread_mutex_unlock(&lock);
}

static napi_value take_wakes(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    uint32_t count = 0;
    pthread_mutex_lock(&lock);
    e->signalled = false;
    e->n[AT_WOKEN] = 0;
    while (e->wake_next < e->wake_count && count < WAKES_AT_ONCE) {
        struct Wake wake = e->wakes[e->wake_next++];
        e->n[AT_WAKES + 2 * count] = wake.slot;
        memcpy(&e->n[AT_WAKES + 2 * count + 1], &wake.ticket, sizeof wake.ticket);
        count++;
    }
    if (e->wake_next == e->wake_count) e->wake_next = e->wake_count = 0;
    pthread_mutex_unlock(&lock);
    e->n[AT_COUNT] = count;
    return NULL;
}

static napi_value hold(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    if (e->n[AT_COUNT] != 0) napi_ref_threadsafe_function(env, e->wake);
    else napi_unref_threadsafe_function(env, e->wake);
    return NULL;
}

// ---- Objects ----

static void object_free(Kind kind, void *object) {
    switch (kind) {
    case CLOCK: llmrl_clock_free(object); break;
    case LIMITER: llmrl_limiter_free(object); break;
    case MAP: llmrl_map_free(object); break;
    case CHAIN: llmrl_chain_free(object); break;
    case FAIR: llmrl_fair_free(object); break;
    case ROUTER: llmrl_router_free(object); break;
    case BUCKET: llmrl_bucket_free(object); break;
    case BUCKET_MAP: llmrl_bucket_map_free(object); break;
    case LENGTHS: llmrl_lengths_free(object); break;
    case FREE: break;
    }
}

// One reference less; the last one ends the object. Not under the lock: ending wakes those who wait.
static void shared_drop(Shared *shared) {
    pthread_mutex_lock(&lock);
    bool last = --shared->refs == 0;
    if (last) {
        Shared **link = &table[shared->id % 1024];
        while (*link != shared) link = &(*link)->next;
        *link = shared->next;
    }
    pthread_mutex_unlock(&lock);
    if (!last) return;
    object_free(shared->kind, shared->object);
    free(shared->listeners);
    free(shared);
}

static void slot_free(Env *e, uint32_t number) {
    Slot *slot = &e->slots[number];
    if (slot->kind == FREE) return;
    numbers_end(slot);
    Shared *shared = slot->shared;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < shared->listener_count; i++)
        if (shared->listeners[i].env == e && shared->listeners[i].slot == number)
            shared->listeners[i--] = shared->listeners[--shared->listener_count];
    pthread_mutex_unlock(&lock);
    *slot = (Slot){.next_free = e->free_slot};
    e->free_slot = number;
    shared_drop(shared);
}

static void env_drop(Env *e) {
    if (--e->refs) return;
    free(e->slots);
    free(e->wakes);
    free(e);
}

typedef struct Holder {
    Env *e;
    uint32_t slot;
    int64_t bytes;
} Holder;

void weigh(Env *e, napi_value external, int64_t bytes) {
    void *holder;
    int64_t all;
    if (napi_get_value_external(e->env, external, &holder) != napi_ok) return;
    ((Holder *)holder)->bytes = bytes;
    napi_adjust_external_memory(e->env, bytes, &all);
}

static void holder_finalize(napi_env env, void *data, void *hint) {
    (void)hint;
    Holder *holder = data;
    Env *e = holder->e;
    if (!e->closing) {
        int64_t all;
        if (holder->bytes) napi_adjust_external_memory(env, -holder->bytes, &all);
        slot_free(e, holder->slot);
        // No JavaScript is about to look at the count: this is the garbage collector.
        pthread_mutex_lock(&lock);
        if (e->wake_count) signal_env(e);
        pthread_mutex_unlock(&lock);
    }
    env_drop(e);
    free(holder);
}

// An external that keeps the object alive, with the object's number in this environment in the buffer.
static napi_value slot_new(Env *e, Shared *shared, bool listens) {
    uint32_t number = e->free_slot;
    if (number == e->slot_count) {
        uint32_t room = e->slot_count * 2;
        Slot *slots = realloc(e->slots, room * sizeof *slots);
        if (!slots) abort();
        for (uint32_t i = e->slot_count; i < room; i++) slots[i] = (Slot){.next_free = i + 1};
        e->slots = slots;
        e->slot_count = room;
    }
    Slot *slot = &e->slots[number];
    e->free_slot = slot->next_free;
    *slot = (Slot){.kind = shared->kind, .object = shared->object, .shared = shared};
    if (listens) {
        pthread_mutex_lock(&lock);
        if (shared->listener_count == shared->listener_room) {
            shared->listener_room = shared->listener_room ? shared->listener_room * 2 : 1;
            shared->listeners = realloc(shared->listeners, shared->listener_room * sizeof *shared->listeners);
            if (!shared->listeners) abort();
        }
        shared->listeners[shared->listener_count++] = (Listener){e, number};
        pthread_mutex_unlock(&lock);
    }
    Holder *holder = malloc(sizeof *holder);
    napi_value external;
    if (!holder) abort();
    *holder = (Holder){e, number, 0};
    e->refs++;
    napi_create_external(e->env, holder, holder_finalize, NULL, &external);
    e->n[AT_OBJECT] = number;
    e->n[AT_COUNT] = shared->manual;
    return external;
}

napi_value adopt(Env *e, Kind kind, void *object, uint64_t id, bool manual, bool shareable) {
    Shared *shared = calloc(1, sizeof *shared);
    if (!shared) abort();
    shared->id = id;
    shared->kind = kind;
    shared->object = object;
    shared->manual = manual;
    shared->shareable = shareable;
    shared->refs = 1;
    pthread_mutex_lock(&lock);
    shared->next = table[id % 1024];
    table[id % 1024] = shared;
    pthread_mutex_unlock(&lock);
    e->n[AT_STATUS] = LLMRL_OK;
    return slot_new(e, shared, kind == LIMITER || kind == MAP || kind == CHAIN || kind == FAIR || kind == ROUTER);
}

napi_value answer(Env *e, llmrl_status status, const char *message) {
    napi_value text = NULL;
    e->n[AT_STATUS] = status;
    if (message) napi_create_string_utf8(e->env, message, NAPI_AUTO_LENGTH, &text);
    return text;
}

Slot *slot_of(Env *e, double number, unsigned kinds) {
    if (!(number >= 0 && number < e->slot_count)) return NULL;
    Slot *slot = &e->slots[(uint32_t)number];
    return kinds & 1u << slot->kind ? slot : NULL;
}

// ---- Sharing with other threads ----

static void remember(Slot *slot) {
    if (!slot->numbers) slot->numbers = calloc(1, sizeof *slot->numbers);
}

static napi_value share(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    if (!slot || !slot->shared->shareable) return answer(e, LLMRL_ERR_HANDLE, NULL);
    remember(slot);
    Shared *shared = slot->shared;
    pthread_mutex_lock(&lock);
    if (!shared->pinned) {
        shared->pinned = true;
        shared->refs++;
        // Not guessed by chance, as the number alone would be: the same number means something else in another process.
        FILE *random = fopen("/dev/urandom", "rb");
        if (!random || fread(&shared->secret, sizeof shared->secret, 1, random) != 1) shared->secret = (uintptr_t)shared;
        if (random) fclose(random);
    }
    char token[64];
    snprintf(token, sizeof token, "llmrl:%llx:%016llx", (unsigned long long)shared->id, (unsigned long long)shared->secret);
    pthread_mutex_unlock(&lock);
    return answer(e, LLMRL_OK, token);
}

// Nobody needs to come to what is closed.
static napi_value unpin(napi_env env, napi_callback_info info) {
    Env *e = begin(env, info, 0, NULL);
    Slot *slot = slot_of(e, e->n[AT_OBJECT], 1u << LIMITER);
    if (!slot) return NULL;
    pthread_mutex_lock(&lock);
    bool pinned = slot->shared->pinned;
    slot->shared->pinned = false;
    pthread_mutex_unlock(&lock);
    if (pinned) shared_drop(slot->shared);
    return NULL;
}

static napi_value from(napi_env env, napi_callback_info info) {
    napi_value text;
    Env *e = begin(env, info, 1, &text);
    Bytes token;
    unsigned long long id = 0, secret = 0;
    if (!bytes_of(env, text, &token)) return answer(e, LLMRL_ERR_HANDLE, NULL);
    char copy[64] = {0};
    memcpy(copy, token.data, token.size < sizeof copy ? token.size : sizeof copy - 1);
    bytes_free(&token);
    int used = 0;
    bool read = sscanf(copy, "llmrl:%llx:%16llx%n", &id, &secret, &used) == 2 && copy[used] == 0;
    pthread_mutex_lock(&lock);
    Shared *shared = read ? find(id) : NULL;
    if (shared && (!shared->pinned || shared->secret != secret)) shared = NULL;
    if (shared) shared->refs++;
    pthread_mutex_unlock(&lock);
    if (!shared) return answer(e, LLMRL_ERR_HANDLE, NULL);
    napi_value external = slot_new(e, shared, true);
    remember(&e->slots[(uint32_t)e->n[AT_OBJECT]]);
    e->n[AT_STATUS] = LLMRL_OK;
    return external;
}

// ---- Beginning and end of an environment ----

Env *begin(napi_env env, napi_callback_info info, size_t count, napi_value *args) {
    void *data = NULL;
    napi_get_cb_info(env, info, &count, args, NULL, &data);
    return data;
}

bool bytes_of(napi_env env, napi_value value, Bytes *out) {
    napi_typedarray_type type;
    void *data;
    out->heap = NULL;
    if (napi_get_value_string_utf8(env, value, out->stack, sizeof out->stack, &out->size) == napi_ok) {
        out->data = out->stack;
        // Perhaps cut off: a character of four bytes may not have fitted.
        if (out->size < sizeof out->stack - 4) return true;
        if (napi_get_value_string_utf8(env, value, NULL, 0, &out->size) != napi_ok) return false;
        out->data = out->heap = malloc(out->size + 1);
        return out->heap && napi_get_value_string_utf8(env, value, out->heap, out->size + 1, &out->size) == napi_ok;
    }
    if (napi_get_typedarray_info(env, value, &type, &out->size, &data, NULL, NULL) != napi_ok || type != napi_uint8_array)
        return false;
    out->data = out->size ? data : "";
    return true;
}

void bytes_free(Bytes *bytes) {
    free(bytes->heap);
}

static void on_signal(napi_env env, napi_value drain, void *context, void *data) {
    (void)context, (void)data;
    napi_value nothing;
    if (env && napi_get_undefined(env, &nothing) == napi_ok) napi_call_function(env, nothing, drain, 0, NULL, NULL);
}

static void on_exit_of(void *data) {
    Env *e = data;
    pthread_mutex_lock(&lock);
    e->closing = true;
    pthread_mutex_unlock(&lock);
    for (uint32_t i = 0; i < e->slot_count; i++) slot_free(e, i);
    env_drop(e);
}

// start(drain): `drain` is called when another thread has woken somebody. Returns the buffer.
static napi_value start(napi_env env, napi_callback_info info) {
    napi_value args[1], name, buffer;
    Env *e = begin(env, info, 1, args);
    void *memory;
    if (e->n || napi_create_arraybuffer(env, BUFFER_SIZE * sizeof(double), &memory, &buffer) != napi_ok) return NULL;
    // Wakes that come before are none of this environment's: it has made no object yet.
    napi_create_reference(env, buffer, 1, &e->buffer);
    napi_create_string_utf8(env, "llmrl", NAPI_AUTO_LENGTH, &name);
    if (napi_create_threadsafe_function(env, args[0], NULL, name, 0, 1, NULL, NULL, NULL, on_signal, &e->wake) != napi_ok) return NULL;
    napi_unref_threadsafe_function(env, e->wake);
    e->n = memory;
    // After the function above, whose own hook therefore runs later: until then nobody calls it any more.
    napi_add_env_cleanup_hook(env, on_exit_of, e);
    return buffer;
}

static const Function env_functions[] = {
    {"start", start}, {"takeWakes", take_wakes}, {"hold", hold}, {"share", share}, {"unpin", unpin}, {"from", from}, {NULL, NULL},
};

NAPI_MODULE_INIT() {
    Env *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->env = env;
    e->refs = 1;
    e->thread = pthread_self();
    e->slot_count = 16;
    e->slots = calloc(e->slot_count, sizeof *e->slots);
    if (!e->slots) abort();
    for (uint32_t i = 0; i < e->slot_count; i++) e->slots[i].next_free = i + 1;
    const Function *tables[] = {env_functions, request_functions, object_functions, answer_functions};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const Function *f = tables[i]; f->name; f++) {
            napi_value function;
            if (napi_create_function(env, f->name, NAPI_AUTO_LENGTH, f->call, e, &function) != napi_ok) return NULL;
            napi_set_named_property(env, exports, f->name, function);
        }
    napi_value version;
    napi_create_string_utf8(env, llmrl_version(), NAPI_AUTO_LENGTH, &version);
    napi_set_named_property(env, exports, "version", version);
    // A program that refers to it does not link with a library of another binary interface.
    llmrl_abi_v1();
    return exports;
}
