/* ManualClock: time that moves only when told to. */
#include "native.h"

static PyObject *clock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"start", NULL};
    PyObject *start = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:ManualClock", names, &start)) return NULL;
    unsigned long long start_ns = 0;
    if (start) {
        PyObject *ns = PyObject_CallFunction(native.duration_ns, "sO", "start", start);
        if (!ns) return NULL;
        start_ns = PyLong_AsUnsignedLongLong(ns);
        Py_DECREF(ns);
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Clock *self = (Clock *)alloc(type, 0);
    if (!self) return NULL;
    llmrl_status status = llmrl_clock_new(start_ns, &self->handle);
    if (status < 0) {
        Py_DECREF(self);
        return raise_status(status, "ManualClock", NULL, NULL);
    }
    return (PyObject *)self;
}

static void clock_dealloc(Clock *self) {
    PyTypeObject *type = Py_TYPE(self);
    /* Limiters that use the clock hold shares of it in the library. */
    if (self->handle) llmrl_clock_free(self->handle);
    PyObject_Free(self);
    Py_DECREF(type);
}

int clock_handle(PyObject *clock, llmrl_clock **out) {
    *out = NULL;
    if (clock == Py_None) return 0;
    if (Py_TYPE(clock) != native.clock) {
        PyErr_Format(PyExc_TypeError, "clock must be a llmrl.ManualClock or None, got %R", clock);
        return -1;
    }
    *out = ((Clock *)clock)->handle;
    return 0;
}

static PyObject *advanced(Clock *self, uint64_t ns) {
    llmrl_status status = llmrl_clock_advance(self->handle, ns);
    if (status < 0) return raise_status(status, "advance", NULL, NULL);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *clock_advance(Clock *self, PyObject *seconds) {
    PyObject *ns = PyObject_CallFunction(native.duration_ns, "sO", "seconds", seconds);
    if (!ns) return NULL;
    unsigned long long number = PyLong_AsUnsignedLongLong(ns);
    Py_DECREF(ns);
    return advanced(self, number);
}

static PyObject *clock_advance_ns(Clock *self, PyObject *ns) {
    PyObject *checked = PyObject_CallFunction(native.whole, "sOKK", "ns", ns, 0ULL, (unsigned long long)INT64_MAX);
    if (!checked) return NULL;
    unsigned long long number = PyLong_AsUnsignedLongLong(checked);
    Py_DECREF(checked);
    return advanced(self, number);
}

static PyObject *clock_now_ns(Clock *self, PyObject *none) {
    (void)none;
    uint64_t ns = 0;
    llmrl_status status = llmrl_clock_now(self->handle, &ns);
    if (status < 0) return raise_status(status, "now_ns", NULL, NULL);
    return PyLong_FromUnsignedLongLong(ns);
}

static PyMethodDef clock_methods[] = {
    {"advance", METHOD(clock_advance), METH_O,
     "advance(seconds)\n--\n\nMove time forward by `seconds` >= 0 and wake whoever becomes due, in every limiter with this clock."},
    {"advance_ns", METHOD(clock_advance_ns), METH_O, "advance_ns(ns)\n--\n\nThe same in whole nanoseconds, 0 to 2**63-1."},
    {"now_ns", METHOD(clock_now_ns), METH_NOARGS, "now_ns()\n--\n\nThe time in nanoseconds."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot clock_slots[] = {
    {Py_tp_doc, "ManualClock(start=0)\n--\n\nA clock for tests: it starts at `start` seconds and moves only by advance()."},
    {Py_tp_new, clock_new},
    {Py_tp_dealloc, clock_dealloc},
    {Py_tp_methods, clock_methods},
    {0, NULL},
};

PyType_Spec clock_spec = {"llmrl._native.ManualClock", sizeof(Clock), 0, Py_TPFLAGS_DEFAULT, clock_slots};
