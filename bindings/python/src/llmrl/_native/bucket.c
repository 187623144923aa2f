/* TokenBucket: one bare bucket, without a queue and without permits. */
#include "native.h"

typedef struct {
    PyObject_HEAD
    llmrl_bucket *handle;
    uint64_t burst; /* for the message of Never */
} Bucket;

static PyObject *bucket_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *checked = PyObject_Call(native.bucket_options, args, kwargs);
    if (!checked) return NULL;
    Bucket *self = NULL;
    const char *packed;
    Py_ssize_t size;
    PyObject *clock;
    llmrl_clock *clock_pointer;
    llmrl_limit limit;
    if (!PyArg_ParseTuple(checked, "y#O", &packed, &size, &clock) || clock_handle(clock, &clock_pointer)) goto done;
    if (size != sizeof limit) {
        PyErr_SetString(PyExc_SystemError, "llmrl: the packed limit has the wrong size");
        goto done;
    }
    memcpy(&limit, packed, sizeof limit);
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    self = (Bucket *)alloc(type, 0);
    if (!self) goto done;
    self->burst = limit.burst;
    char message[256] = "";
    llmrl_status status = llmrl_bucket_new(&limit, clock_pointer, &self->handle, message, sizeof message);
    if (status < 0) {
        self->handle = NULL;
        if (message[0])
            PyErr_Format(PyExc_ValueError, "TokenBucket: %s", message);
        else
            raise_status(status, "TokenBucket", NULL, NULL);
        Py_CLEAR(self);
    }
done:
    Py_DECREF(checked);
    return (PyObject *)self;
}

static void bucket_dealloc(Bucket *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (self->handle) llmrl_bucket_free(self->handle);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int one_number(const char *what, PyObject *const *args, Py_ssize_t nargs, uint64_t low, uint64_t *n) {
    if (nargs == 0) return 0; /* the caller has set the default */
    if (nargs == 1) return args_whole("n", args[0], low, COST_MAX, n);
    PyErr_Format(PyExc_TypeError, "%s() takes one number, n; got %zd arguments", what, nargs);
    return -1;
}

static PyObject *bucket_raise(Bucket *self, llmrl_status status, const char *what, uint64_t n) {
    if (status != LLMRL_ERR_NEVER) return raise_status(status, what, NULL, NULL);
    PyObject *error = PyObject_CallFunction(native.from_status, "is", (int)status, what);
    if (!error) return NULL;
    PyErr_Format((PyObject *)Py_TYPE(error), "%s: n of %llu can never fit a burst of %llu; take less at once or retune with a larger burst",
                 what, (unsigned long long)n, (unsigned long long)self->burst);
    Py_DECREF(error);
    return NULL;
}

static PyObject *bucket_try_take(Bucket *self, PyObject *const *args, Py_ssize_t nargs) {
    uint64_t n = 1;
    if (one_number("try_take", args, nargs, 1, &n)) return NULL;
    llmrl_status status = llmrl_bucket_try_take(self->handle, n, NULL);
    if (status < 0) return bucket_raise(self, status, "try_take", n);
    PyObject *admitted = status == LLMRL_OK ? Py_True : Py_False;
    Py_INCREF(admitted);
    return admitted;
}

static PyObject *bucket_wait_time(Bucket *self, PyObject *const *args, Py_ssize_t nargs) {
    uint64_t n = 1, wait_ns = 0;
    if (one_number("wait_time", args, nargs, 1, &n)) return NULL;
    llmrl_status status = llmrl_bucket_try_take(self->handle, n, &wait_ns);
    if (status < 0) return bucket_raise(self, status, "wait_time", n);
    if (status == LLMRL_OK) llmrl_bucket_refund(self->handle, n);
    return PyFloat_FromDouble(status == LLMRL_OK ? 0.0 : (double)wait_ns / 1e9);
}

static PyObject *plain(llmrl_status status, const char *what) {
    if (status < 0) return raise_status(status, what, NULL, NULL);
    Py_RETURN_NONE;
}

static PyObject *bucket_refund(Bucket *self, PyObject *value) {
    uint64_t n;
    if (args_whole("n", value, 0, COST_MAX, &n)) return NULL;
    return plain(llmrl_bucket_refund(self->handle, n), "refund");
}

static PyObject *bucket_charge(Bucket *self, PyObject *value) {
    uint64_t n;
    if (args_whole("n", value, 0, COST_MAX, &n)) return NULL;
    return plain(llmrl_bucket_charge(self->handle, n), "charge");
}

static PyObject *bucket_retune(Bucket *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"amount", "per", "burst", NULL};
    PyObject *amount, *per = NULL, *burst = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:retune", names, &amount, &per, &burst)) return NULL;
    PyObject *checked = per ? PyObject_CallFunction(native.retune, "OOOI", amount, burst, per, LLMRL_TOKEN_BUCKET)
                            : PyObject_CallFunction(native.retune, "OOdI", amount, burst, 60.0, LLMRL_TOKEN_BUCKET);
    if (!checked) return NULL;
    unsigned long long number, period_ns, size;
    int parsed = PyArg_ParseTuple(checked, "KKK", &number, &period_ns, &size);
    Py_DECREF(checked);
    if (!parsed) return NULL;
    llmrl_status status = llmrl_bucket_retune(self->handle, number, period_ns, size);
    if (status >= 0) self->burst = size;
    return plain(status, "retune");
}

static PyObject *bucket_pause(Bucket *self, PyObject *seconds) {
    PyObject *ns = PyObject_CallFunction(native.duration_ns, "sO", "seconds", seconds);
    if (!ns) return NULL;
    unsigned long long duration = PyLong_AsUnsignedLongLong(ns);
    Py_DECREF(ns);
    return plain(llmrl_bucket_pause(self->handle, duration), "pause");
}

static PyObject *bucket_available(Bucket *self, void *closure) {
    (void)closure;
    int64_t available = 0;
    llmrl_status status = llmrl_bucket_available(self->handle, &available);
    if (status < 0) return raise_status(status, "available", NULL, NULL);
    return PyLong_FromLongLong(available);
}

static PyMethodDef bucket_methods[] = {
    {"try_take", METHOD(bucket_try_take), METH_FASTCALL,
     "try_take(n=1, /)\n--\n\nTake `n` (1 to 2**40-1) if they are there: True or False. Raises Never when n is above the burst."},
    {"wait_time", METHOD(bucket_wait_time), METH_FASTCALL,
     "wait_time(n=1, /)\n--\n\nSeconds until try_take(n) would succeed if nobody else came; 0.0 is now.\n\n"
     "When the answer is now, n are taken and given back at once."},
    {"refund", METHOD(bucket_refund), METH_O, "refund(n, /)\n--\n\nGive `n` back that were taken and not used."},
    {"charge", METHOD(bucket_charge), METH_O, "charge(n, /)\n--\n\nTake `n` without asking; the bucket may go below zero."},
    {"retune", METHOD(bucket_retune), METH_VARARGS | METH_KEYWORDS,
     "retune(amount, per=60.0, burst=None)\n--\n\nChange the rate to `amount` per `per` seconds, and the burst."},
    {"pause", METHOD(bucket_pause), METH_O, "pause(seconds, /)\n--\n\nAdmit nothing for `seconds` from now; 0 resumes."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef bucket_getset[] = {
    {"available", (getter)bucket_available, NULL, "What could be taken now; negative while in debt.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot bucket_slots[] = {
    {Py_tp_doc, "TokenBucket(amount, per=60.0, burst=None, clock=None, *, oversize='reject', start_empty=False)\n--\n\n"
                "A bare token bucket: `amount` per `per` seconds, at most `burst` (default `amount`) at once. No queue."},
    {Py_tp_new, bucket_new},
    {Py_tp_dealloc, bucket_dealloc},
    {Py_tp_methods, bucket_methods},
    {Py_tp_getset, bucket_getset},
    {0, NULL},
};

PyType_Spec bucket_spec = {"llmrl._native.TokenBucket", sizeof(Bucket), 0, Py_TPFLAGS_DEFAULT, bucket_slots};
