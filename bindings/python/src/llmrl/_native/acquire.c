/* Acquire: what limiter.acquire() returns. Nothing happens until it is awaited, entered or waited for.
 *
 * Awaiting takes a place in the queue at once, in __await__. Admitted: the object is its own iterator and ends with the permit
 * at the first step, so the event loop is never involved. Otherwise the generator that waits (_hub.py) is handed
 * to the interpreter, and this object is out of the way but for the ticket, which it owns until it becomes a permit.
 */
#include "native.h"

/* Slot and results of am_send, in the stable ABI since 3.10. Through it a value is returned without a StopIteration. */
#ifndef Py_am_send
#define Py_am_send 81
#endif
enum { SEND_RETURN = 0, SEND_ERROR = -1 };

/* As in permit.c. */
enum { POOL = 64 };
static Acquire *pool[POOL];
static int pooled;

PyObject *acquire_new(Limiter *limiter, const llmrl_cost *cost, uint64_t timeout_ns) {
    Acquire *self;
    if (pooled) {
        self = pool[--pooled];
        Py_SET_REFCNT((PyObject *)self, 1);
    } else {
        self = PyObject_GC_New(Acquire, native.acquire);
        if (!self) return NULL;
    }
    Py_INCREF(limiter);
    self->limiter = limiter;
    self->permit = NULL;
    self->ticket = 0;
    self->timeout_ns = timeout_ns;
    self->cost = *cost;
    self->used = self->keep = self->tracked = 0;
    /* Only one that waits can be part of a cycle (task, frame, future, waiter), so the collector learns of it only then. */
    return (PyObject *)self;
}

static int acquire_traverse(Acquire *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->limiter);
    Py_VISIT(self->permit);
    return 0;
}

static void forget_stop(Acquire *self);

static void acquire_dealloc(Acquire *self) {
    if (self->tracked) PyObject_GC_UnTrack(self);
    forget_stop(self);
    if (self->ticket) {
        llmrl_cancel(self->limiter->handle, self->ticket);
        if (wakes_noted) {
            PyObject *type, *value, *traceback;
            PyErr_Fetch(&type, &value, &traceback);
            if (wakes_flush() < 0) PyErr_WriteUnraisable((PyObject *)native.acquire);
            PyErr_Restore(type, value, traceback);
        }
    }
    Py_CLEAR(self->permit);
    Py_DECREF(self->limiter);
    if (pooled < POOL) {
        pool[pooled++] = self;
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Takes a place in the queue: 1 admitted (self->permit), 0 waiting (self->ticket), -1 with an exception. */
static int begin(Acquire *self, const char *what) {
    if (self->used) {
        PyErr_Format(PyExc_RuntimeError, "%s: this acquisition was used before; call limiter.acquire() once for each request", what);
        return -1;
    }
    self->used = 1;
    llmrl_permit ticket;
    uint64_t wait_ns;
    llmrl_status status = llmrl_enqueue(self->limiter->handle, &self->cost, self->timeout_ns, &ticket, &wait_ns);
    if (status == LLMRL_OK) {
        self->permit = permit_new(self->limiter, ticket);
        return self->permit && wakes_flush() == 0 ? 1 : -1;
    }
    if (status < 0) {
        raise_status(status, "acquire", self->limiter, &self->cost);
        return -1;
    }
    self->ticket = ticket;
    self->tracked = 1;
    PyObject_GC_Track(self);
    return wakes_flush();
}

static PyObject *handed_over(Acquire *self) {
    PyObject *permit = self->permit;
    if (self->keep)
        Py_INCREF(permit);
    else
        self->permit = NULL;
    return permit;
}

static PyObject *acquire_await(PyObject *object) {
    Acquire *self = (Acquire *)object;
    int begun = begin(self, "await");
    if (begun < 0) return NULL;
    if (begun) {
        Py_INCREF(object);
        return object;
    }
    return PyObject_CallMethod(self->limiter->hub, "wait", "O", object); /* if that fails, the ticket ends with this object */
}

static int acquire_send(PyObject *object, PyObject *sent, PyObject **result) {
    (void)sent;
    if (((Acquire *)object)->permit) {
        *result = handed_over((Acquire *)object);
        return SEND_RETURN;
    }
    PyErr_SetString(PyExc_RuntimeError, "this acquisition is to be awaited, not iterated");
    *result = NULL;
    return SEND_ERROR;
}

/* Since 3.12 the interpreter takes the value of an await from a StopIteration that is really there, and to create one costs more
   than the rest of the await. One is kept and reused whenever nobody else has got hold of it; its value goes when the
   acquisition does, which is at the end of the await. Before 3.12 a value could be raised without the exception around it. */
static struct {
    PyObject *exception, *value_name;
    Acquire *owner; /* whose permit is the value now; borrowed, reset in its dealloc */
} stop;

static void raise_stop(Acquire *self, PyObject *permit) {
    if (!stop.exception || Py_REFCNT(stop.exception) != 1 || PyObject_SetAttr(stop.exception, stop.value_name, permit) < 0) {
        PyErr_SetObject(PyExc_StopIteration, permit);
        return;
    }
    stop.owner = self;
    PyException_SetTraceback(stop.exception, Py_None);
    Py_INCREF(PyExc_StopIteration);
    Py_INCREF(stop.exception);
    PyErr_Restore(PyExc_StopIteration, stop.exception, NULL);
}

static void forget_stop(Acquire *self) {
    if (stop.owner != self) return;
    PyObject *type, *value, *traceback;
    stop.owner = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyObject_SetAttr(stop.exception, stop.value_name, Py_None) < 0) PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

static PyObject *acquire_next(PyObject *object) {
    PyObject *permit;
    if (acquire_send(object, Py_None, &permit) == SEND_RETURN) {
        raise_stop((Acquire *)object, permit);
        Py_DECREF(permit);
    }
    return NULL;
}

static PyObject *acquire_aenter(PyObject *self, PyObject *none) {
    (void)none;
    ((Acquire *)self)->keep = 1;
    Py_INCREF(self);
    return self;
}

/* A blocking wait in a thread that runs an event loop would stop every task of the loop, perhaps the one that is to release. */
static int refuse_in_loop(void) {
    static PyObject *running; /* asyncio._get_running_loop, once somebody has imported asyncio */
    if (!running) {
        PyObject *modules = PySys_GetObject("modules");
        PyObject *asyncio = modules ? PyDict_GetItemString(modules, "asyncio") : NULL;
        if (!asyncio) return 0;
        running = PyObject_GetAttrString(asyncio, "_get_running_loop");
        if (!running) {
            PyErr_Clear(); /* asyncio is being imported at this moment: no loop runs yet */
            return 0;
        }
    }
    PyObject *loop = PyObject_CallObject(running, NULL);
    if (!loop) return -1;
    Py_DECREF(loop);
    if (loop == Py_None) return 0;
    PyErr_SetString(PyExc_RuntimeError, "this would block the running event loop; use 'async with limiter.acquire(...)' or "
                    "'await limiter.acquire(...)' here");
    return -1;
}

static PyObject *acquire_wait(PyObject *object, PyObject *none) {
    (void)none;
    Acquire *self = (Acquire *)object;
    if (refuse_in_loop() < 0) return NULL;
    int begun = begin(self, "wait");
    if (begun < 0) return NULL;
    if (!begun) {
        PyObject *done = PyObject_CallMethod(self->limiter->hub, "block", "O", object);
        if (!done) return NULL;
        Py_DECREF(done);
        self->permit = permit_new(self->limiter, self->ticket);
        self->ticket = 0;
        if (!self->permit) return NULL;
    }
    return handed_over(self);
}

static PyObject *acquire_enter(PyObject *self, PyObject *none) {
    ((Acquire *)self)->keep = 1;
    return acquire_wait(self, none);
}

static int leave(Acquire *self) {
    PyObject *permit = self->permit;
    if (!permit) return 0;
    self->permit = NULL;
    int left = permit_leave(permit);
    Py_DECREF(permit);
    return left;
}

static PyObject *acquire_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    (void)args, (void)nargs, (void)names;
    if (leave((Acquire *)self) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *acquire_aexit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    (void)args, (void)nargs, (void)names;
    if (leave((Acquire *)self) < 0) return NULL;
    Py_INCREF(native.ready);
    return native.ready;
}

/* What follows is the Turn protocol of _hub.py. */

static PyObject *turn_poll(Acquire *self, PyObject *none) {
    (void)none;
    uint64_t wait_ns = 0;
    llmrl_status status = self->ticket ? llmrl_poll(self->limiter->handle, self->ticket, &wait_ns) : LLMRL_ERR_STALE;
    if (status < 0) {
        self->ticket = 0; /* ended, and the library has forgotten it */
        return raise_status(status, "acquire", self->limiter, &self->cost);
    }
    if (wakes_flush() < 0) return NULL;
    if (status == LLMRL_PENDING) return PyLong_FromUnsignedLongLong(wait_ns);
    Py_RETURN_NONE;
}

static PyObject *turn_drop(Acquire *self, PyObject *none) {
    (void)none;
    llmrl_permit ticket = self->ticket;
    self->ticket = 0;
    if (ticket) llmrl_cancel(self->limiter->handle, ticket);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *turn_take(Acquire *self, PyObject *none) {
    (void)none;
    if (!self->ticket) return raise_status(LLMRL_ERR_STALE, "acquire", self->limiter, NULL);
    self->permit = permit_new(self->limiter, self->ticket);
    self->ticket = 0;
    return self->permit ? handed_over(self) : NULL;
}

static PyObject *turn_ticket(Acquire *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->ticket);
}

static PyObject *turn_line(Acquire *self, void *closure) {
    (void)closure;
    Py_INCREF(self->limiter);
    return (PyObject *)self->limiter;
}

static PyObject *turn_timeout_ns(Acquire *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->timeout_ns);
}

static PyMethodDef acquire_methods[] = {
    {"wait", acquire_wait, METH_NOARGS,
     "wait()\n--\n\nBlock this thread until admitted and return the Permit.\n\n"
     "Raises DeadlineExceeded, QueueFull, Never or Closed; RuntimeError in a thread whose event loop runs."},
    {"__enter__", acquire_enter, METH_NOARGS, NULL},
    {"__exit__", METHOD(acquire_exit), FAST_KEYWORDS, NULL},
    {"__aenter__", acquire_aenter, METH_NOARGS, NULL},
    {"__aexit__", METHOD(acquire_aexit), FAST_KEYWORDS, NULL},
    {"_poll", METHOD(turn_poll), METH_NOARGS, NULL},
    {"_drop", METHOD(turn_drop), METH_NOARGS, NULL},
    {"_take", METHOD(turn_take), METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef acquire_getset[] = {
    {"_ticket", (getter)turn_ticket, NULL, NULL, NULL},
    {"_line", (getter)turn_line, NULL, NULL, NULL},
    {"_timeout_ns", (getter)turn_timeout_ns, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* am_send comes last in both tables: 3.9 knows no such slot, and there the table ends before it. */
static PyType_Slot acquire_slots[] = {
    {Py_tp_doc, "An acquisition that begins when it is awaited, entered with 'with' or 'async with', or waited for."},
    {Py_tp_new, no_new},
    {Py_tp_dealloc, acquire_dealloc},
    {Py_tp_traverse, acquire_traverse},
    {Py_tp_methods, acquire_methods},
    {Py_tp_getset, acquire_getset},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, acquire_next},
    {Py_am_await, acquire_await},
    {Py_am_send, acquire_send},
    {0, NULL},
};
static PyType_Spec acquire_spec = {"llmrl._native.Acquire", sizeof(Acquire), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, acquire_slots};

/* The awaitable that __aexit__ returns: done at once, None. */

static PyObject *ready_self(PyObject *self) {
    Py_INCREF(self);
    return self;
}

static PyObject *ready_next(PyObject *self) {
    (void)self;
    return NULL; /* without an exception: the end, and the value is None */
}

static int ready_send(PyObject *self, PyObject *sent, PyObject **result) {
    (void)self, (void)sent;
    Py_INCREF(Py_None);
    *result = Py_None;
    return SEND_RETURN;
}

static PyType_Slot ready_slots[] = {
    {Py_tp_new, no_new},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, ready_next},
    {Py_am_await, ready_self},
    {Py_am_send, ready_send},
    {0, NULL},
};
static PyType_Spec ready_spec = {"llmrl._native.Ready", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, ready_slots};

static PyTypeObject *awaitable_type(PyType_Spec *spec, unsigned long hexversion) {
    if (hexversion < 0x030A0000) {
        PyType_Slot *slot = spec->slots;
        while (slot->slot && slot->slot != Py_am_send) slot++;
        slot->slot = 0;
    }
    return (PyTypeObject *)PyType_FromSpec(spec);
}

int acquire_init(unsigned long hexversion) {
    if (hexversion >= 0x030C0000) {
        stop.value_name = PyUnicode_InternFromString("value");
        stop.exception = PyObject_CallObject(PyExc_StopIteration, NULL);
        if (!stop.value_name || !stop.exception) return -1;
    }
    native.acquire = awaitable_type(&acquire_spec, hexversion);
    PyTypeObject *ready = awaitable_type(&ready_spec, hexversion);
    if (!native.acquire || !ready) return -1;
    native.ready = PyObject_New(PyObject, ready);
    Py_DECREF(ready);
    return native.ready ? 0 : -1;
}
