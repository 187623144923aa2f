/* Limiter: several limits and one FIFO queue. */
#include "native.h"

static llmrl_clock *no_clock;

static int adopt(Limiter *self) {
    PyObject *adopted = PyObject_CallFunctionObjArgs(native.adopt, self, NULL);
    Py_XDECREF(adopted);
    return adopted ? 0 : -1;
}

static PyObject *limiter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    /* Python checks the arguments once for both backends: (packed limits, count, max_waiters, max_permits, clock,
     * saved, flags). */
    PyObject *checked = PyObject_Call(native.options, args, kwargs);
    if (!checked) return NULL;
    Limiter *self = NULL;
    const char *packed, *saved;
    Py_ssize_t size, count, saved_size;
    unsigned int max_waiters, max_permits, flags;
    PyObject *clock;
    llmrl_clock *clock_pointer = no_clock;
    if (!PyArg_ParseTuple(checked, "y#nIIOz#I", &packed, &size, &count, &max_waiters, &max_permits, &clock, &saved, &saved_size,
                          &flags))
        goto done;
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    if (clock_handle(clock, &clock_pointer) || args_limits(packed, size, count, limits)) goto done;

    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    self = (Limiter *)alloc(type, 0);
    if (!self) goto done;
    self->in_flight = (char)args_in_flight(limits, count);
    self->hub = PyObject_CallFunctionObjArgs(native.hub, clock, NULL);
    if (!self->hub) goto fail;
    Py_INCREF(self->hub);
    self->woken = self->hub;

    llmrl_options options = {.flags = flags, .max_waiters = max_waiters, .max_permits = max_permits, .clock = clock_pointer,
                             .wake = wake_callback, .wake_ctx = self->woken,
                             .saved = saved, .saved_size = (size_t)saved_size};
    char message[256] = "";
    llmrl_status status = llmrl_limiter_new(limits, (size_t)count, &options, sizeof options, &self->handle, message, sizeof message);
    if (status < 0) {
        self->handle = NULL;
        raise_message(status, "Limiter", message);
        goto fail;
    }
    if (adopt(self)) goto fail;
    goto done;
fail:
    Py_CLEAR(self);
done:
    Py_DECREF(checked);
    return (PyObject *)self;
}

PyObject *limiter_of_map(llmrl_limiter *handle, PyObject *hub, PyObject *woken, int in_flight, int is_shared) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(native.limiter, Py_tp_alloc);
    Limiter *self = (Limiter *)alloc(native.limiter, 0);
    if (!self) {
        llmrl_limiter_free(handle);
        return NULL;
    }
    self->handle = handle;
    Py_INCREF(hub);
    self->hub = hub;
    Py_INCREF(woken);
    self->woken = woken;
    self->in_flight = (char)in_flight;
    self->is_shared = (char)is_shared;
    if (adopt(self)) Py_CLEAR(self);
    return (PyObject *)self;
}

static int limiter_traverse(Limiter *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->hub);
    Py_VISIT(self->woken);
    return 0;
}

static void limiter_dealloc(Limiter *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs) PyObject_ClearWeakRefs((PyObject *)self);
    /* Every permit and acquisition holds a reference to its limiter: nobody is inside. */
    if (self->handle) llmrl_limiter_free(self->handle);
    Py_CLEAR(self->hub);
    Py_CLEAR(self->woken);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *limiter_try_acquire(Limiter *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const llmrl_cost one = {.requests = 1};
    llmrl_cost parsed;
    const llmrl_cost *cost = &one;
    if (nargs || names) {
        if (args_cost("try_acquire", args, nargs, names, 0, &parsed, NULL)) return NULL;
        cost = &parsed;
    }
    llmrl_permit id;
    llmrl_status status = llmrl_try_acquire(self->handle, cost, &id, NULL);
    PyObject *permit = NULL;
    if (status == LLMRL_OK) {
        permit = permit_new(self, id);
    } else if (status > 0) {
        Py_INCREF(Py_None);
        permit = Py_None;
    } else {
        raise_status(status, "try_acquire", self, cost);
    }
    if (permit && wakes_flush() < 0) Py_CLEAR(permit);
    return permit;
}

static PyObject *limiter_acquire(Limiter *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const llmrl_cost one = {.requests = 1};
    if (!nargs && !names) return acquire_new(self, &one, LLMRL_FOREVER);
    llmrl_cost cost;
    uint64_t timeout_ns;
    if (args_cost("acquire", args, nargs, names, 0, &cost, &timeout_ns)) return NULL;
    return acquire_new(self, &cost, timeout_ns);
}

static PyObject *limiter_wait_time(Limiter *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    llmrl_cost cost;
    if (args_cost("wait_time", args, nargs, names, 0, &cost, NULL)) return NULL;
    uint64_t wait_ns = 0;
    llmrl_status status = llmrl_outlook(self->handle, &cost, &wait_ns, NULL);
    if (status < 0) return raise_status(status, "wait_time", self, &cost);
    if (wakes_flush() < 0) return NULL;
    return PyFloat_FromDouble(wait_ns == LLMRL_FOREVER ? (double)INFINITY : (double)wait_ns / 1e9);
}

static PyObject *plain(Limiter *self, llmrl_status status, const char *what) {
    if (status < 0) return raise_status(status, what, self, NULL);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *limiter_charge(Limiter *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    llmrl_cost cost;
    if (args_cost("charge", args, nargs, names, NO_REQUEST, &cost, NULL)) return NULL;
    return plain(self, llmrl_limiter_charge(self->handle, &cost), "charge");
}

static int limit_state(Limiter *self, uint32_t index, llmrl_limit_state *out) {
    return llmrl_limiter_limit_state(self->handle, index, out, sizeof *out);
}

/* The index of a limit and how it stands; -1 with an exception. */
static int read_index(const char *what, Limiter *self, PyObject *value, uint32_t *index, llmrl_limit_state *state) {
    uint64_t number;
    if (args_whole("index", value, 0, COST_MAX, &number)) return -1;
    *index = number < LLMRL_MAX_LIMITS ? (uint32_t)number : LLMRL_MAX_LIMITS;
    if (limit_state(self, *index, state) >= 0) return 0;
    raise_status(LLMRL_ERR_INDEX, what, self, NULL);
    return -1;
}

static PyObject *limiter_retune(Limiter *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"index", "amount", "per", "burst", NULL};
    PyObject *index, *amount, *per = NULL, *burst = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO:retune", names, &index, &amount, &per, &burst)) return NULL;
    uint32_t where;
    llmrl_limit_state state;
    if (read_index("retune", self, index, &where, &state)) return NULL;
    PyObject *checked = per ? PyObject_CallFunction(native.retune, "OOOI", amount, burst, per, state.kind)
                            : PyObject_CallFunction(native.retune, "OOdI", amount, burst, 60.0, state.kind);
    if (!checked) return NULL;
    unsigned long long number, period_ns, size;
    int parsed = PyArg_ParseTuple(checked, "KKK", &number, &period_ns, &size);
    Py_DECREF(checked);
    if (!parsed) return NULL;
    return plain(self, llmrl_limiter_retune(self->handle, where, number, period_ns, size), "retune");
}

static PyObject *limiter_pause(Limiter *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"index", "seconds", NULL};
    PyObject *index, *seconds;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:pause", names, &index, &seconds)) return NULL;
    uint32_t where;
    llmrl_limit_state state;
    if (read_index("pause", self, index, &where, &state)) return NULL;
    PyObject *ns = PyObject_CallFunction(native.duration_ns, "sO", "seconds", seconds);
    if (!ns) return NULL;
    unsigned long long duration = PyLong_AsUnsignedLongLong(ns);
    Py_DECREF(ns);
    return plain(self, llmrl_limiter_pause(self->handle, where, duration), "pause");
}

static PyObject *limiter_align(Limiter *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"index", "resets_in", NULL};
    PyObject *index, *resets_in;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:align", names, &index, &resets_in)) return NULL;
    uint32_t where;
    llmrl_limit_state state;
    if (read_index("align", self, index, &where, &state)) return NULL;
    PyObject *ns = PyObject_CallFunction(native.align, "OIK", resets_in, state.kind, (unsigned long long)state.period_ns);
    if (!ns) return NULL;
    unsigned long long time = PyLong_AsUnsignedLongLong(ns);
    Py_DECREF(ns);
    return plain(self, llmrl_limiter_align(self->handle, where, time), "align");
}

static PyObject *limiter_save(Limiter *self, PyObject *none) {
    (void)none;
    size_t size = 0;
    PyObject *bytes = NULL;
    /* What is to be saved may grow between the two calls. */
    for (;;) {
        char *buffer = bytes ? PyBytes_AsString(bytes) : NULL;
        size_t room = size;
        llmrl_status status = llmrl_limiter_save(self->handle, 0, buffer, room, &size);
        if (status == LLMRL_ERR_SIZE) {
            Py_XDECREF(bytes);
            bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
            if (!bytes) return NULL;
            continue;
        }
        if (status < 0) {
            Py_XDECREF(bytes);
            return raise_status(status, "save", NULL, NULL);
        }
        PyObject *exact = PyBytes_FromStringAndSize(buffer, (Py_ssize_t)size);
        Py_DECREF(bytes);
        return exact;
    }
}

/* Ends the queue without giving a reason; _hub.py has set it before. */
static PyObject *limiter_end(Limiter *self, PyObject *none) {
    (void)none;
    return plain(self, llmrl_limiter_close(self->handle), "close");
}

static PyObject *limiter_close(Limiter *self, PyObject *none) {
    PyObject *reason = PyUnicode_FromString("close");
    int set = reason ? PyObject_SetAttrString(self->hub, "closed_by", reason) : -1;
    Py_XDECREF(reason);
    return set < 0 ? NULL : limiter_end(self, none);
}

static PyObject *limiter_stats(Limiter *self, PyObject *none) {
    (void)none;
    llmrl_stats s;
    llmrl_status status = llmrl_limiter_stats(self->handle, &s, sizeof s);
    if (status < 0) return raise_status(status, "stats", self, NULL);
    return PyObject_CallFunction(native.make_stats, "((KKKKKKKKK))", s.granted, s.refused, s.waiting, s.in_flight, s.cancelled,
                                 s.timed_out, s.wakes, s.wait_total_ns, s.wait_max_ns);
}

static PyObject *limiter_limits(Limiter *self, PyObject *none) {
    (void)none;
    PyObject *list = PyList_New(0);
    llmrl_limit_state s;
    for (uint32_t i = 0; list && limit_state(self, i, &s) >= 0; i++) {
        PyObject *state = PyObject_CallFunction(native.make_limit_state, "((IIKKKLKI))", s.kind, s.meter, s.amount, s.period_ns,
                                                s.burst, s.available, s.paused_ns, s.mode);
        if (!state || PyList_Append(list, state) < 0) Py_CLEAR(list);
        Py_XDECREF(state);
    }
    return list;
}

static PyObject *limiter_hub(Limiter *self, void *closure) {
    (void)closure;
    Py_INCREF(self->hub);
    return self->hub;
}

static PyObject *limiter_is_shared(Limiter *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(self->is_shared);
}

#define COST_ARGUMENTS "input=0, output=0, *, requests=1, cached=0, cache_write=0"

static PyMethodDef limiter_methods[] = {
    {"try_acquire", METHOD(limiter_try_acquire), FAST_KEYWORDS,
     "try_acquire(" COST_ARGUMENTS ")\n--\n\n"
     "Return a Permit if the request is admitted now, None if not.\n\n"
     "Token counts: 0 to 2**40-1; requests: 1 to 2**40-1. Never overtakes those who wait.\n"
     "Raises Never when the cost cannot fit at all, QueueFull when max_permits are held, Closed."},
    {"acquire", METHOD(limiter_acquire), FAST_KEYWORDS,
     "acquire(" COST_ARGUMENTS ", timeout=None)\n--\n\n"
     "Return an acquisition: await it, use it with 'with' or 'async with', or call wait() on it.\n\n"
     "timeout: seconds >= 0, None or infinity to wait without end. Waiting raises DeadlineExceeded (at once when the\n"
     "deadline cannot be met), QueueFull, Never or Closed. Leaving a context releases a permit that is still held."},
    {"wait_time", METHOD(limiter_wait_time), FAST_KEYWORDS,
     "wait_time(" COST_ARGUMENTS ")\n--\n\n"
     "Seconds until the request would be admitted if nobody else came: 0.0 is now, infinity means that it depends on a release.\n\n"
     "Takes nothing and promises nothing."},
    {"charge", METHOD(limiter_charge), FAST_KEYWORDS,
     "charge(" COST_ARGUMENTS ")\n--\n\nCount use that did not pass through here; a limit may go below zero. requests may be 0."},
    {"retune", METHOD(limiter_retune), METH_VARARGS | METH_KEYWORDS,
     "retune(index, amount, per=60.0, burst=None)\n--\n\n"
     "Change limit `index` (0 is the first) to `amount` per `per` seconds; for an in-flight limit `amount` is the slots."},
    {"pause", METHOD(limiter_pause), METH_VARARGS | METH_KEYWORDS,
     "pause(index, seconds)\n--\n\nLet limit `index` admit nothing for `seconds` from now; 0 resumes. Any limit but one in flight."},
    {"save", METHOD(limiter_save), METH_NOARGS,
     "save()\n--\n\n"
     "What has been used of each limit, as bytes to be kept over a restart: `Limiter(..., saved=bytes)` goes on from there.\n\n"
     "What is reserved counts as used; permits and waiters are not saved. The time between is known by the wall clock. To be\n"
     "called when nothing goes on."},
    {"align", METHOD(limiter_align), METH_VARARGS | METH_KEYWORDS,
     "align(index, resets_in)\n--\n\n"
     "The fixed window `index` ends `resets_in` seconds from now, > 0 and at most its period; its use stays until then."},
    {"close", METHOD(limiter_close), METH_NOARGS,
     "close()\n--\n\nEnd all waiting with Closed and refuse whatever comes; permits may still be settled."},
    {"stats", METHOD(limiter_stats), METH_NOARGS, "stats()\n--\n\nReturn Stats: counters since the limiter was created."},
    {"limits", METHOD(limiter_limits), METH_NOARGS, "limits()\n--\n\nReturn a list of LimitState, in the order of creation."},
    {"_end", METHOD(limiter_end), METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef limiter_getset[] = {
    {"_hub", (getter)limiter_hub, NULL, NULL, NULL},
    {"is_shared", (getter)limiter_is_shared, NULL,
     "Whether other keys of its LimiterMap use it too, because there was no room for one more. False outside of maps.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef limiter_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Limiter, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot limiter_slots[] = {
    {Py_tp_doc, "Limiter(*limits, max_waiters=65536, max_permits=65536, clock=None)\n--\n\n"
                "One to eight limits that admit all or nothing, and one FIFO queue for threads and asyncio tasks."},
    {Py_tp_new, limiter_new},
    {Py_tp_dealloc, limiter_dealloc},
    {Py_tp_traverse, limiter_traverse},
    {Py_tp_methods, limiter_methods},
    {Py_tp_getset, limiter_getset},
    {Py_tp_members, limiter_members},
    {0, NULL},
};

PyType_Spec limiter_spec = {"llmrl._native.Limiter", sizeof(Limiter), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, limiter_slots};
