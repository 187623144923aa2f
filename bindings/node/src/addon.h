// What the files of the addon share: objects that several JavaScript environments (the main thread, its workers) may use at
// once, and the environment, which knows them by number.
//
// A call from JavaScript costs more than most of what it asks for, and reading its arguments is half of that. So the functions that
// are called for each request take none: numbers go through one buffer that both sides see, `n`, and the object's own number
// stands in it. Its places are named below; lib/native.js has the same list.
#ifndef LLMRL_NODE_ADDON_H
#define LLMRL_NODE_ADDON_H

#define NAPI_VERSION 8
#include <llmrl.h>
#include <node_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    AT_OBJECT = 0,
    AT_REQUESTS = 1, // and input, output, cached, cache_write behind it
    AT_TIMEOUT = 6,
    AT_TICKET = 7, // the bits of a uint64_t
    AT_STATUS = 9,
    AT_WAIT = 10,
    AT_WOKEN = 11, // how many wakes wait in the environment's list
    AT_LEVEL = 12,
    AT_LIMIT = 13,
    AT_COUNT = 14,
    AT_WAKES = 16, // pairs of object and ticket
    WAKES_AT_ONCE = 12,
    AT_RESULT = 40,
    BUFFER_SIZE = 256,
};

typedef enum { FREE, CLOCK, LIMITER, MAP, CHAIN, FAIR, ROUTER, BUCKET, BUCKET_MAP, LENGTHS } Kind;

typedef struct Env Env;

// One environment that wants to hear of an object's tickets, by the number that the object has there.
typedef struct Listener {
    Env *env;
    uint32_t slot;
} Listener;

// An object of the library, for as long as an environment knows it.
typedef struct Shared {
    uint64_t id; // never used again; what the library hands to the wake callback
    uint64_t secret;
    struct Shared *next; // in the table of all
    void *object;
    Listener *listeners;
    uint32_t listener_count, listener_room;
    uint32_t refs;
    Kind kind;
    bool manual; // on a clock moved by hand
    bool shareable;
    bool pinned; // a token of it is about
} Shared;

// What an environment knows of one object.
typedef struct Slot {
    Kind kind;
    void *object;
    Shared *shared;
    // Permits and tickets of objects that live on without this environment; NULL where that cannot be.
    struct Numbers *numbers;
    uint32_t next_free;
} Slot;

struct Env {
    napi_env env;
    double *n;
    Slot *slots;
    uint32_t slot_count, free_slot;
    pthread_t thread;
    napi_threadsafe_function wake;
    napi_ref buffer;
    // From here on under the lock of all.
    struct Wake {
        uint32_t slot;
        uint64_t ticket;
    } *wakes;
    uint32_t wake_count, wake_room, wake_next;
    bool signalled, closing;
    uint32_t refs; // the environment itself and its externals: who dies last frees this
};

// env.c
uint64_t shared_new_id(void);
void on_wake(void *id, llmrl_permit ticket);
napi_value adopt(Env *e, Kind kind, void *object, uint64_t id, bool manual, bool shareable);
// The object that was adopted last is as large as this for the garbage collector, which sees an empty shell of it.
void weigh(Env *e, napi_value external, int64_t bytes);
napi_value answer(Env *e, llmrl_status status, const char *message);
Slot *slot_of(Env *e, double number, unsigned kinds);
void numbers_add(Slot *slot, uint64_t number);
void numbers_remove(Slot *slot, uint64_t number);

// A number from the buffer; what is none, is negative or has a fraction becomes one that every range excludes.
static inline uint64_t whole(double value) {
    if (!(value >= 0.0 && value < 0x1p63)) return UINT64_MAX;
    uint64_t number = (uint64_t)value;
    return (double)number == value ? number : UINT64_MAX;
}

// Nanoseconds; infinity is without end.
static inline uint64_t span(double ns) {
    return ns >= 0.0 && ns < 0x1p63 ? (uint64_t)ns : LLMRL_FOREVER;
}

static inline double told(uint64_t ns) {
    return ns == LLMRL_FOREVER ? __builtin_inf() : (double)ns;
}

// Bytes of an argument: a string as UTF-8, or a Uint8Array.
typedef struct Bytes {
    const char *data;
    size_t size;
    char *heap;
    char stack[256];
} Bytes;

bool bytes_of(napi_env env, napi_value value, Bytes *out);
void bytes_free(Bytes *bytes);

Env *begin(napi_env env, napi_callback_info info, size_t count, napi_value *args);

typedef struct Function {
    const char *name;
    napi_callback call;
} Function;

extern const Function request_functions[], object_functions[], answer_functions[];

#endif
