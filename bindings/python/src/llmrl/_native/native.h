/* llmrl._native: the C ABI of libllmrl as Python types.
 *
 * Rules that hold in every file here:
 *  - Py_LIMITED_API for 3.9: one binary for all CPython versions from there on.
 *  - The GIL is held during every call into libllmrl. None of the functions used here blocks, and dropping the GIL would cost
 *    far more than the call (and microseconds when other threads want it). It also serialises the statics below.
 *  - The hot paths (try_acquire, acquire, settle, release) parse arguments by hand for plain ints; anything else, and every
 *    rare function, goes through llmrl._args, where the error messages live for both backends.
 */
#ifndef LLMRL_NATIVE_H
#define LLMRL_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <llmrl.h>

/* In the stable ABI since 3.10 and working in 3.9, whose headers hide it. */
#ifndef METH_FASTCALL
#define METH_FASTCALL 0x0080
#endif
/* Likewise. */
#if Py_LIMITED_API < 0x030a0000
PyAPI_FUNC(const char *) PyUnicode_AsUTF8AndSize(PyObject *unicode, Py_ssize_t *size);
#endif
/* Through void(*)(void), which compilers accept as "I know that the flags decide the signature". */
#define METHOD(f) ((PyCFunction)(void (*)(void))(f))
#define FAST_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

typedef struct {
    PyObject_HEAD
    llmrl_limiter *handle;
    PyObject *hub;        /* llmrl._hub.Hub: the waiters by ticket */
    PyObject *woken;      /* the hub that wake_callback() is given: the same one, or that of the map */
    PyObject *weakrefs;
    char in_flight;       /* has an in-flight limit */
    char is_shared;
} Limiter;

typedef struct {
    PyObject_HEAD
    Limiter *limiter;
    llmrl_permit id;      /* 0: ended */
} Permit;

typedef struct {
    PyObject_HEAD
    Limiter *limiter;
    PyObject *permit;     /* granted: on its way to the awaiting code, or kept for the end of the with block */
    llmrl_permit ticket;  /* not yet a Permit; 0: none */
    uint64_t timeout_ns;
    llmrl_cost cost;
    char used;            /* each acquisition is good for one wait */
    char tracked;         /* by the garbage collector */
    char keep;            /* entered as a context: hold on to the permit */
} Acquire;

typedef struct {
    PyObject_HEAD
    llmrl_clock *handle;
} Clock;

/* What the C code needs from the Python side of the package, and its own types; set once by module init. */
extern struct native {
    PyTypeObject *limiter, *map, *permit, *acquire, *clock, *bucket, *bucket_map, *router, *slip, *fair, *fair_slip;
    PyObject *ready;                 /* awaitable that is None at once */
    PyObject *from_status;           /* llmrl._errors */
    PyObject *bucket_refusal;
    PyObject *whole, *timeout_ns, *duration_ns, *retune, *align, *key; /* llmrl._args */
    PyObject *options, *bucket_options, *bucket_map_options; /* llmrl._limit */
    PyObject *hub, *adopt;           /* llmrl._hub */
    PyObject *make_stats, *make_limit_state, *bucket_map_stats; /* llmrl._types */
    PyObject *answer_arguments, *make_reading, *make_advice; /* llmrl._feedback */
} native;

/* args.c */
enum { FIELD_INPUT = 1, FIELD_OUTPUT = 2, NO_REQUEST = 4 };
int args_init(void);
/* Fills cost (and *timeout_ns unless NULL) from a vectorcall; `rules` are the FIELD_ bits of what must
   be given, and NO_REQUEST if it may be use without a request. -1 with an exception. */
int args_cost(const char *what, PyObject *const *args, Py_ssize_t nargs, PyObject *names, int rules,
              llmrl_cost *cost, uint64_t *timeout_ns);
/* An int from `low` to `high`, or -1 with an exception that names the field. */
int args_whole(const char *field, PyObject *value, uint64_t low, uint64_t high, uint64_t *out);
/* The limits that llmrl._limit has packed; -1 with an exception. */
int args_limits(const char *packed, Py_ssize_t size, Py_ssize_t count, llmrl_limit limits[LLMRL_MAX_LIMITS]);
int args_in_flight(const llmrl_limit *limits, Py_ssize_t count);
#define COST_MAX ((UINT64_C(1) << 40) - 1)
#define CACHED_MAX ((UINT64_C(1) << 36) - 1)

/* wake.c: the tickets that the library woke during a call, passed on to their hubs after it. */
void wake_callback(void *hub, llmrl_permit ticket);
extern Py_ssize_t wakes_noted;
int wakes_flush_slow(void);
/* To be called after every library call that may move the queue. -1: a signal handler raised meanwhile. */
static inline int wakes_flush(void) { return wakes_noted ? wakes_flush_slow() : 0; }

/* limiter.c, map.c, permit.c, acquire.c, clock.c, bucket.c, bucket_map.c, router.c, fair.c */
extern PyType_Spec limiter_spec, map_spec, permit_spec, clock_spec, bucket_spec, bucket_map_spec, router_spec, slip_spec, fair_spec,
    fair_slip_spec;
/* Takes over a handle of a map, also on failure. */
PyObject *limiter_of_map(llmrl_limiter *handle, PyObject *hub, PyObject *woken, int in_flight, int is_shared);
int acquire_init(unsigned long hexversion);
/* feedback.c */
PyObject *feedback_read_answer(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *feedback_learn(PyObject *permit, PyObject *args, PyObject *kwargs);
/* What the provider has answered, to a permit of any kind. */
typedef llmrl_status (*learn_fn)(void *permit, const llmrl_answer *answer, llmrl_advice *advice);
PyObject *feedback_tell(PyObject *args, PyObject *kwargs, learn_fn learn, void *permit, Limiter *limiter);
/* charging.c */
PyObject *charging_of(PyObject *module, PyObject *name);
PyObject *charging_cost(PyObject *module, PyObject *args);
/* lengths.c */
PyObject *lengths_new(PyObject *module, PyObject *names);
PyObject *lengths_record(PyObject *module, PyObject *args);
PyObject *lengths_estimate(PyObject *module, PyObject *args);
/* tp_new of types that only this module makes. */
PyObject *no_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
PyObject *acquire_new(Limiter *limiter, const llmrl_cost *cost, uint64_t timeout_ns);
/* Takes over a held permit number; on failure (no memory) cancels it. */
PyObject *permit_new(Limiter *limiter, llmrl_permit id);
/* Ends a held permit quietly, as the end of a with block does; -1 with an exception. */
int permit_leave(PyObject *permit);
/* Sets the exception for a negative status; cost may be NULL. Returns NULL. */
PyObject *raise_status(llmrl_status status, const char *what, Limiter *limiter, const llmrl_cost *cost);
/* The same where limits were given, of which the library may have said what is wrong. */
PyObject *raise_message(llmrl_status status, const char *what, const char *message);
/* Borrowed handle of a ManualClock, NULL for None; -1 with TypeError. */
int clock_handle(PyObject *clock, llmrl_clock **out);

#endif
