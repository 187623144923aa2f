/* What llmrl._fair needs of the C ABI: a fair queue of the library, and a slip, which owns what one request has of it. */
#include "native.h"

typedef struct {
    PyObject_HEAD
    llmrl_fair *handle;
    PyObject *hub;
    Limiter *limiter;
} RawFair;

typedef struct {
    PyObject_HEAD
    RawFair *fair;
    PyObject *key;        /* bytes, or NULL */
    llmrl_cost cost;
    llmrl_share share;    /* its key is that of the bytes */
    uint64_t timeout_ns;
    uint64_t wait_ns;
    llmrl_permit number;  /* of its ticket, then of its permit; 0: ended */
} FairSlip;

static void fair_wake(void *ctx, llmrl_permit ticket) { wake_callback(((RawFair *)ctx)->hub, ticket); }

static PyObject *fair_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    unsigned int passes, max_waiters, max_permits;
    unsigned long long aging_ns;
    PyObject *limiter, *hub;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OKIIIO", &limiter, &aging_ns, &passes, &max_waiters, &max_permits, &hub)) return NULL;
    if (Py_TYPE(limiter) != native.limiter) {
        PyErr_Format(PyExc_TypeError, "limiter must be a Limiter, got %R", limiter);
        return NULL;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    RawFair *self = (RawFair *)alloc(type, 0);
    if (!self) return NULL;
    Py_INCREF(hub);
    Py_INCREF(limiter);
    self->hub = hub;
    self->limiter = (Limiter *)limiter;
    llmrl_fair_options options = {.passes = passes, .max_waiters = max_waiters, .max_permits = max_permits, .aging_ns = aging_ns,
                                  .wake = fair_wake, .wake_ctx = self};
    char message[256] = "";
    llmrl_status status = llmrl_fair_new(self->limiter->handle, &options, sizeof options, &self->handle, message, sizeof message);
    if (status >= 0) return (PyObject *)self;
    self->handle = NULL;
    Py_DECREF(self);
    return raise_message(status, "FairQueue", message);
}

static int fair_traverse(RawFair *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->hub);
    Py_VISIT(self->limiter);
    return 0;
}

static void fair_dealloc(RawFair *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    /* Every slip holds a reference to its queue: nobody waits. */
    llmrl_fair_free(self->handle);
    Py_CLEAR(self->hub);
    Py_CLEAR(self->limiter);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *fair_stats(RawFair *self, PyObject *none) {
    (void)none;
    llmrl_fair_stats s;
    llmrl_status status = llmrl_fair_get_stats(self->handle, &s, sizeof s);
    if (status < 0) return raise_status(status, "stats", self->limiter, NULL);
    return Py_BuildValue("(KKKKK)", s.waiting, s.batch, s.keys, s.aged, s.passed);
}

static PyMethodDef fair_methods[] = {
    {"stats", (PyCFunction)fair_stats, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot fair_slots[] = {
    {Py_tp_doc, "A fair queue of the library; see llmrl._fair."},
    {Py_tp_new, fair_new},
    {Py_tp_dealloc, fair_dealloc},
    {Py_tp_traverse, fair_traverse},
    {Py_tp_methods, fair_methods},
    {0, NULL},
};

PyType_Spec fair_spec = {"llmrl._native.RawFair", sizeof(RawFair), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, fair_slots};

/* What _args.cost() has checked. */
static int cost_of(PyObject *args, llmrl_cost *cost) {
    unsigned long long requests, input, output, cached, cache_write;
    if (!PyArg_ParseTuple(args, "KKKKK", &requests, &input, &output, &cached, &cache_write)) return -1;
    *cost = (llmrl_cost){.requests = requests, .input_tokens = input, .output_tokens = output, .cached_tokens = cached,
                         .cache_write_tokens = cache_write};
    return 0;
}

static PyObject *slip_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *fair, *cost, *key;
    unsigned int weight, flags;
    unsigned long long timeout_ns;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OOOIIK", &fair, &cost, &key, &weight, &flags, &timeout_ns)) return NULL;
    if (Py_TYPE(fair) != native.fair || !PyTuple_Check(cost) || (key != Py_None && !PyBytes_Check(key))) {
        PyErr_SetString(PyExc_TypeError, "a slip is made by llmrl._fair");
        return NULL;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    FairSlip *self = (FairSlip *)alloc(type, 0);
    if (!self) return NULL;
    Py_INCREF(fair);
    self->fair = (RawFair *)fair;
    if (cost_of(cost, &self->cost) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (key != Py_None) {
        Py_INCREF(key);
        self->key = key;
        self->share = (llmrl_share){.key = PyBytes_AsString(key), .key_size = (size_t)PyBytes_Size(key)};
    }
    self->share.weight = weight;
    self->share.flags = flags;
    self->timeout_ns = timeout_ns;
    return (PyObject *)self;
}

static int slip_traverse(FairSlip *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->fair);
    return 0;
}

/* Ends what is still this object's, and gives everything back. */
static void end(FairSlip *self) {
    llmrl_permit number = self->number;
    self->number = 0;
    if (number) llmrl_fair_cancel(self->fair->handle, number);
}

static void slip_dealloc(FairSlip *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->number) {
        PyObject *error, *value, *traceback;
        PyErr_Fetch(&error, &value, &traceback);
        end(self);
        if (wakes_flush() < 0) PyErr_WriteUnraisable((PyObject *)type);
        PyErr_Restore(error, value, traceback);
    }
    Py_CLEAR(self->fair);
    Py_CLEAR(self->key);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* LLMRL_OK, LLMRL_PENDING or LLMRL_REFUSED; errors are raised. */
static PyObject *asked(FairSlip *self, llmrl_status status, const char *what) {
    if (status < 0) {
        self->number = 0;
        return raise_status(status, what, self->fair->limiter, &self->cost);
    }
    if (wakes_flush() < 0) return NULL;
    return PyLong_FromLong(status);
}

static PyObject *slip_ask(FairSlip *self, PyObject *none) {
    (void)none;
    return asked(self, llmrl_fair_try_acquire(self->fair->handle, &self->cost, &self->number, NULL), "try_acquire");
}

static PyObject *slip_begin(FairSlip *self, PyObject *none) {
    (void)none;
    llmrl_status status = llmrl_fair_enqueue(self->fair->handle, &self->cost, &self->share, self->timeout_ns, &self->number,
                                             &self->wait_ns);
    return asked(self, status, "acquire");
}

static PyObject *slip_poll(FairSlip *self, PyObject *none) {
    (void)none;
    llmrl_status status = self->number ? llmrl_fair_poll(self->fair->handle, self->number, &self->wait_ns) : LLMRL_ERR_STALE;
    return asked(self, status, "acquire");
}

static PyObject *slip_drop(FairSlip *self, PyObject *none) {
    (void)none;
    end(self);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *finish(FairSlip *self, llmrl_status status, const char *what, int ends) {
    if (status == LLMRL_ERR_STALE || (ends && status >= 0)) self->number = 0;
    if (status < 0) return raise_status(status, what, self->fair->limiter, NULL);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *slip_settle(FairSlip *self, PyObject *args) {
    llmrl_cost cost;
    if (cost_of(args, &cost) < 0) return NULL;
    return finish(self, self->number ? llmrl_fair_settle(self->fair->handle, self->number, &cost) : LLMRL_ERR_STALE, "settle", 1);
}

static PyObject *slip_adjust(FairSlip *self, PyObject *args) {
    llmrl_cost cost;
    if (cost_of(args, &cost) < 0) return NULL;
    return finish(self, self->number ? llmrl_fair_adjust(self->fair->handle, self->number, &cost) : LLMRL_ERR_STALE, "adjust", 0);
}

static PyObject *slip_release(FairSlip *self, PyObject *none) {
    (void)none;
    return finish(self, self->number ? llmrl_fair_release(self->fair->handle, self->number) : LLMRL_ERR_STALE, "release", 1);
}

static PyObject *slip_cancel(FairSlip *self, PyObject *none) {
    (void)none;
    return finish(self, self->number ? llmrl_fair_cancel(self->fair->handle, self->number) : LLMRL_ERR_STALE, "cancel", 1);
}

static llmrl_status learn(void *slip, const llmrl_answer *answer, llmrl_advice *advice) {
    FairSlip *self = slip;
    if (!self->number) return LLMRL_ERR_STALE;
    return llmrl_fair_feedback(self->fair->handle, self->number, answer, sizeof *answer, advice, sizeof *advice);
}

static PyObject *slip_feedback(FairSlip *self, PyObject *args, PyObject *kwargs) {
    return feedback_tell(args, kwargs, learn, self, self->fair->limiter);
}

static PyObject *slip_number(FairSlip *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->number);
}

static PyObject *slip_wait_ns(FairSlip *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->wait_ns);
}

static PyMethodDef slip_methods[] = {
    {"ask", (PyCFunction)slip_ask, METH_NOARGS, NULL},
    {"begin", (PyCFunction)slip_begin, METH_NOARGS, NULL},
    {"poll", (PyCFunction)slip_poll, METH_NOARGS, NULL},
    {"drop", (PyCFunction)slip_drop, METH_NOARGS, NULL},
    {"settle", (PyCFunction)slip_settle, METH_VARARGS, NULL},
    {"adjust", (PyCFunction)slip_adjust, METH_VARARGS, NULL},
    {"release", (PyCFunction)slip_release, METH_NOARGS, NULL},
    {"cancel", (PyCFunction)slip_cancel, METH_NOARGS, NULL},
    {"feedback", METHOD(slip_feedback), METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef slip_getset[] = {
    {"number", (getter)slip_number, NULL, NULL, NULL},
    {"wait_ns", (getter)slip_wait_ns, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slip_slots[] = {
    {Py_tp_doc, "What one request has of a fair queue; see llmrl._fair."},
    {Py_tp_new, slip_new},
    {Py_tp_dealloc, slip_dealloc},
    {Py_tp_traverse, slip_traverse},
    {Py_tp_methods, slip_methods},
    {Py_tp_getset, slip_getset},
    {0, NULL},
};

PyType_Spec fair_slip_spec = {"llmrl._native.FairSlip", sizeof(FairSlip), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slip_slots};
