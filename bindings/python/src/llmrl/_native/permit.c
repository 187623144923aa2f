/* Permit: an admitted request. */
#include "native.h"

/* Permits come and go with every request. The few that are kept spare the allocator, and they keep their reference to the type:
   one that leaves the pool needs nothing but a count of one. Guarded by the GIL. */
enum { POOL = 64 };
static Permit *pool[POOL];
static int pooled;

PyObject *permit_new(Limiter *limiter, llmrl_permit id) {
    Permit *self;
    if (pooled) {
        self = pool[--pooled];
        Py_SET_REFCNT((PyObject *)self, 1);
    } else {
        self = PyObject_New(Permit, native.permit);
        if (!self) {
            llmrl_cancel(limiter->handle, id);
            return NULL;
        }
    }
    Py_INCREF(limiter);
    self->limiter = limiter;
    self->id = id;
    return (PyObject *)self;
}

static void permit_dealloc(Permit *self) {
    Limiter *limiter = self->limiter;
    if (self->id) {
        /* Dropped without a word: the estimate stands, the slot is given back. */
        llmrl_release(limiter->handle, self->id);
        if (limiter->in_flight || wakes_noted) {
            PyObject *type, *value, *traceback;
            PyErr_Fetch(&type, &value, &traceback);
            if (limiter->in_flight &&
                PyErr_WarnEx(PyExc_ResourceWarning,
                             "llmrl: a permit of a limiter with an in-flight limit was dropped while held, which frees its slot; "
                             "use 'with' / 'async with', or settle(), release() or cancel() it", 1) < 0)
                PyErr_WriteUnraisable((PyObject *)native.permit);
            if (wakes_flush() < 0) PyErr_WriteUnraisable((PyObject *)native.permit);
            PyErr_Restore(type, value, traceback);
        }
    }
    Py_DECREF(limiter);
    if (pooled < POOL) {
        pool[pooled++] = self;
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *finish(Permit *self, llmrl_status status, const char *what, int ends) {
    if (status == LLMRL_ERR_STALE || (ends && status >= 0)) self->id = 0;
    if (status < 0) return raise_status(status, what, self->limiter, NULL);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *permit_settle(Permit *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    llmrl_cost cost;
    if (args_cost("settle", args, nargs, names, FIELD_INPUT | FIELD_OUTPUT, &cost, NULL)) return NULL;
    return finish(self, self->id ? llmrl_settle(self->limiter->handle, self->id, &cost) : LLMRL_ERR_STALE, "settle", 1);
}

static PyObject *permit_adjust(Permit *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    llmrl_cost cost;
    if (args_cost("adjust", args, nargs, names, FIELD_INPUT | FIELD_OUTPUT, &cost, NULL)) return NULL;
    return finish(self, self->id ? llmrl_adjust(self->limiter->handle, self->id, &cost) : LLMRL_ERR_STALE, "adjust", 0);
}

static PyObject *permit_release(Permit *self, PyObject *none) {
    (void)none;
    return finish(self, self->id ? llmrl_release(self->limiter->handle, self->id) : LLMRL_ERR_STALE, "release", 1);
}

static PyObject *permit_cancel(Permit *self, PyObject *none) {
    (void)none;
    return finish(self, self->id ? llmrl_cancel(self->limiter->handle, self->id) : LLMRL_ERR_STALE, "cancel", 1);
}

int permit_leave(PyObject *permit) {
    Permit *self = (Permit *)permit;
    if (!self->id) return 0;
    llmrl_release(self->limiter->handle, self->id);
    self->id = 0;
    return wakes_flush();
}

static PyObject *permit_enter(PyObject *self, PyObject *none) {
    (void)none;
    if (!((Permit *)self)->id) return raise_status(LLMRL_ERR_STALE, "with", ((Permit *)self)->limiter, NULL);
    Py_INCREF(self);
    return self;
}

static PyObject *permit_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    (void)args, (void)nargs, (void)names;
    if (permit_leave(self) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *permit_held(Permit *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(self->id != 0);
}

static PyObject *permit_repr(Permit *self) {
    return PyUnicode_FromFormat("<llmrl.Permit %s>", self->id ? "held" : "ended");
}

static PyMethodDef permit_methods[] = {
    {"settle", METHOD(permit_settle), FAST_KEYWORDS,
     "settle(input, output, *, requests=1, cached=0, cache_write=0)\n--\n\n"
     "End the permit: what was really used replaces the estimate, and the in-flight slot is given back.\n\n"
     "Raises StalePermit when it has ended already."},
    {"adjust", METHOD(permit_adjust), FAST_KEYWORDS,
     "adjust(input, output, *, requests=1, cached=0, cache_write=0)\n--\n\n"
     "Replace the estimate and go on holding the permit, as while a stream runs.\n\nRaises StalePermit when it has ended."},
    {"release", METHOD(permit_release), METH_NOARGS,
     "release()\n--\n\nEnd the permit: the estimate stands, the in-flight slot is given back.\n\nRaises StalePermit when it has ended."},
    {"cancel", METHOD(permit_cancel), METH_NOARGS,
     "cancel()\n--\n\nEnd the permit and give everything back: the request was never sent.\n\nRaises StalePermit when it has ended."},
    {"feedback", METHOD(feedback_learn), METH_VARARGS | METH_KEYWORDS,
     "feedback(status, headers, body=b'', *, now=None)\n--\n\n"
     "The provider has answered this request: learn from it, for all who use the limiter. The permit stays held.\n\n"
     "To be called for every answer, before settle(). Arguments as of read_answer(). Limits that are told twice in a row\n"
     "replace the configured ones, upwards only with Limiter(raise_limits=True). What is left is compared with how the limiter\n"
     "stood when the request was admitted, so answers may come late and in any order. A refusal holds the limit back that\n"
     "has refused, once for all; its tokens are given back here: release() the permit, wait as the Advice says, and acquire\n"
     "another one.\n\nRaises StalePermit when it has ended."},
    {"__enter__", permit_enter, METH_NOARGS, NULL},
    {"__exit__", METHOD(permit_exit), FAST_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef permit_getset[] = {
    {"held", (getter)permit_held, NULL, "True until the permit is settled, released or cancelled.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot permit_slots[] = {
    {Py_tp_doc, "An admitted request: settle it with what was really used, release it, or cancel it."},
    {Py_tp_new, no_new},
    {Py_tp_dealloc, permit_dealloc},
    {Py_tp_repr, permit_repr},
    {Py_tp_methods, permit_methods},
    {Py_tp_getset, permit_getset},
    {0, NULL},
};

PyType_Spec permit_spec = {"llmrl._native.Permit", sizeof(Permit), 0, Py_TPFLAGS_DEFAULT, permit_slots};
