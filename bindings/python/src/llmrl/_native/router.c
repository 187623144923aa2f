/* What llmrl._router needs of the C ABI: a router of the library, and a slip, which owns what one request has of it. */
#include "native.h"

typedef struct {
    PyObject_HEAD
    llmrl_router *handle;
    PyObject *hub;
} RawRouter;

typedef struct {
    PyObject_HEAD
    RawRouter *router;
    PyObject *nodes;      /* keeps the limiters of all nodes alive that may admit it */
    PyObject *key;        /* bytes, or NULL */
    llmrl_cost cost;
    uint64_t timeout_ns;
    llmrl_routed routed;  /* its permit and its ticket are this object's, until they are taken or end */
} Slip;

static void router_wake(void *ctx, llmrl_permit ticket) { wake_callback(((RawRouter *)ctx)->hub, ticket); }

static PyObject *router_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    unsigned int replicas;
    PyObject *hub;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "IO", &replicas, &hub)) return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    RawRouter *self = (RawRouter *)alloc(type, 0);
    if (!self) return NULL;
    Py_INCREF(hub);
    self->hub = hub;
    llmrl_router_options options = {.replicas = replicas, .wake = router_wake, .wake_ctx = self};
    char message[256] = "";
    llmrl_status status = llmrl_router_new(&options, sizeof options, &self->handle, message, sizeof message);
    if (status < 0) {
        self->handle = NULL;
        Py_DECREF(self);
        if (!message[0]) return raise_status(status, "Router", NULL, NULL);
        PyErr_Format(PyExc_ValueError, "Router: %s", message);
        return NULL;
    }
    return (PyObject *)self;
}

static int router_traverse(RawRouter *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->hub);
    return 0;
}

static void router_dealloc(RawRouter *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    /* Every slip holds a reference to its router: nobody waits. */
    llmrl_router_free(self->handle);
    Py_CLEAR(self->hub);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *router_add(RawRouter *self, PyObject *args) {
    const char *name;
    Py_ssize_t size;
    unsigned int weight;
    PyObject *limiter;
    if (!PyArg_ParseTuple(args, "y#IO", &name, &size, &weight, &limiter)) return NULL;
    if (Py_TYPE(limiter) != native.limiter) {
        PyErr_Format(PyExc_TypeError, "limiter must be a Limiter, got %R", limiter);
        return NULL;
    }
    char message[256] = "";
    uint32_t node;
    llmrl_status status = llmrl_router_add(self->handle, name, (size_t)size, weight, ((Limiter *)limiter)->handle, &node, message,
                                           sizeof message);
    if (status >= 0) return PyLong_FromUnsignedLong(node);
    if (!message[0]) return raise_status(status, "add", NULL, NULL);
    PyErr_Format(PyExc_ValueError, "add: %s", message);
    return NULL;
}

static PyObject *router_set_weight(RawRouter *self, PyObject *args) {
    const char *name;
    Py_ssize_t size;
    unsigned int weight;
    if (!PyArg_ParseTuple(args, "y#I", &name, &size, &weight)) return NULL;
    return PyLong_FromLong(llmrl_router_set_weight(self->handle, name, (size_t)size, weight));
}

static PyObject *router_remove(RawRouter *self, PyObject *args) {
    const char *name;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#", &name, &size)) return NULL;
    return PyLong_FromLong(llmrl_router_remove(self->handle, name, (size_t)size));
}

static PyObject *router_node_for(RawRouter *self, PyObject *args) {
    const char *key;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#", &key, &size)) return NULL;
    uint32_t node;
    llmrl_status status = llmrl_router_node_for(self->handle, key, (size_t)size, &node, NULL);
    if (status < 0) return raise_status(status, "route", NULL, NULL);
    return PyLong_FromUnsignedLong(node);
}

static PyMethodDef router_methods[] = {
    {"add", (PyCFunction)router_add, METH_VARARGS, NULL},
    {"set_weight", (PyCFunction)router_set_weight, METH_VARARGS, NULL},
    {"remove", (PyCFunction)router_remove, METH_VARARGS, NULL},
    {"node_for", (PyCFunction)router_node_for, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot router_slots[] = {
    {Py_tp_doc, "A router of the library; see llmrl._router."},
    {Py_tp_new, router_new},
    {Py_tp_dealloc, router_dealloc},
    {Py_tp_traverse, router_traverse},
    {Py_tp_methods, router_methods},
    {0, NULL},
};

PyType_Spec router_spec = {"llmrl._native.RawRouter", sizeof(RawRouter), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, router_slots};

static PyObject *slip_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *router, *nodes, *key;
    unsigned long long requests, input, output, cached, cache_write, timeout_ns;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OO(KKKKK)OK", &router, &nodes, &requests, &input, &output, &cached, &cache_write, &key, &timeout_ns))
        return NULL;
    if (Py_TYPE(router) != native.router || (key != Py_None && !PyBytes_Check(key))) {
        PyErr_SetString(PyExc_TypeError, "a slip is made by llmrl._router");
        return NULL;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Slip *self = (Slip *)alloc(type, 0);
    if (!self) return NULL;
    Py_INCREF(router);
    Py_INCREF(nodes);
    self->router = (RawRouter *)router;
    self->nodes = nodes;
    if (key != Py_None) {
        Py_INCREF(key);
        self->key = key;
    }
    self->cost = (llmrl_cost){.requests = requests, .input_tokens = input, .output_tokens = output, .cached_tokens = cached,
                              .cache_write_tokens = cache_write};
    self->timeout_ns = timeout_ns;
    return (PyObject *)self;
}

static int slip_traverse(Slip *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->router);
    Py_VISIT(self->nodes);
    return 0;
}

/* Ends what is still this object's, and gives everything back. */
static void end(Slip *self) {
    llmrl_routed routed = self->routed;
    memset(&self->routed, 0, sizeof self->routed);
    if (routed.ticket) llmrl_router_cancel(self->router->handle, routed.ticket);
    if (routed.permit) llmrl_cancel(routed.limiter, routed.permit);
}

static void slip_dealloc(Slip *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->routed.ticket || self->routed.permit) {
        PyObject *error, *value, *traceback;
        PyErr_Fetch(&error, &value, &traceback);
        end(self);
        if (wakes_flush() < 0) PyErr_WriteUnraisable((PyObject *)type);
        PyErr_Restore(error, value, traceback);
    }
    Py_CLEAR(self->router);
    Py_CLEAR(self->nodes);
    Py_CLEAR(self->key);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

typedef enum { ASK, BEGIN, POLL } Step;

/* LLMRL_OK, LLMRL_PENDING or LLMRL_REFUSED; errors are raised. */
static PyObject *step(Slip *self, Step step) {
    const char *key = self->key ? PyBytes_AsString(self->key) : NULL;
    size_t size = self->key ? (size_t)PyBytes_Size(self->key) : 0;
    const llmrl_router *router = self->router->handle;
    llmrl_routed routed = {.wait_ns = 0};
    llmrl_status status;
    if (step == ASK)
        status = llmrl_router_try_acquire(router, &self->cost, key, size, &routed, sizeof routed);
    else if (step == BEGIN)
        status = llmrl_router_enqueue(router, &self->cost, key, size, self->timeout_ns, &routed, sizeof routed);
    else if (self->routed.ticket)
        status = llmrl_router_poll(router, self->routed.ticket, &routed, sizeof routed);
    else
        status = LLMRL_ERR_STALE;
    self->routed = routed;
    if (status < 0) return raise_status(status, step == ASK ? "try_acquire" : "acquire", NULL, NULL);
    if (wakes_flush() < 0) return NULL;
    return PyLong_FromLong(status);
}

static PyObject *slip_ask(Slip *self, PyObject *none) {
    (void)none;
    return step(self, ASK);
}

static PyObject *slip_begin(Slip *self, PyObject *none) {
    (void)none;
    return step(self, BEGIN);
}

static PyObject *slip_poll(Slip *self, PyObject *none) {
    (void)none;
    return step(self, POLL);
}

static PyObject *slip_drop(Slip *self, PyObject *none) {
    (void)none;
    end(self);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *slip_take(Slip *self, PyObject *limiter) {
    if (!self->routed.permit || Py_TYPE(limiter) != native.limiter || ((Limiter *)limiter)->handle != self->routed.limiter)
        return raise_status(LLMRL_ERR_STALE, "acquire", NULL, NULL);
    llmrl_permit permit = self->routed.permit;
    self->routed.permit = 0;
    return permit_new((Limiter *)limiter, permit);
}

static PyObject *slip_ticket(Slip *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->routed.ticket);
}

static PyObject *slip_node(Slip *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLong(self->routed.node);
}

static PyObject *slip_wait_ns(Slip *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->routed.wait_ns);
}

static PyMethodDef slip_methods[] = {
    {"ask", (PyCFunction)slip_ask, METH_NOARGS, NULL},
    {"begin", (PyCFunction)slip_begin, METH_NOARGS, NULL},
    {"poll", (PyCFunction)slip_poll, METH_NOARGS, NULL},
    {"drop", (PyCFunction)slip_drop, METH_NOARGS, NULL},
    {"take", (PyCFunction)slip_take, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef slip_getset[] = {
    {"ticket", (getter)slip_ticket, NULL, NULL, NULL},
    {"node", (getter)slip_node, NULL, NULL, NULL},
    {"wait_ns", (getter)slip_wait_ns, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slip_slots[] = {
    {Py_tp_doc, "What one request has of a router; see llmrl._router."},
    {Py_tp_new, slip_new},
    {Py_tp_dealloc, slip_dealloc},
    {Py_tp_traverse, slip_traverse},
    {Py_tp_methods, slip_methods},
    {Py_tp_getset, slip_getset},
    {0, NULL},
};

PyType_Spec slip_spec = {"llmrl._native.Slip", sizeof(Slip), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slip_slots};
