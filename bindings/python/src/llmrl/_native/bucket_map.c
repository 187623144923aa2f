/* BucketMap: a bare token bucket for each key. */
#include "native.h"

typedef struct {
    PyObject_HEAD
    llmrl_bucket_map *handle;
    PyObject *shown; /* what repr() says */
    uint64_t burst;  /* for the message of Never */
} BucketMap;

enum { KEY_MAX = 65536 };

static PyObject *bucket_map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *checked = PyObject_Call(native.bucket_map_options, args, kwargs);
    if (!checked) return NULL;
    BucketMap *self = NULL;
    const char *packed;
    Py_ssize_t size, capacity;
    unsigned int flags;
    PyObject *clock, *shown;
    llmrl_clock *clock_pointer;
    llmrl_limit limit;
    if (!PyArg_ParseTuple(checked, "y#nIOU", &packed, &size, &capacity, &flags, &clock, &shown) ||
        clock_handle(clock, &clock_pointer) || args_limits(packed, size, 1, &limit))
        goto done;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    self = (BucketMap *)alloc(type, 0);
    if (!self) goto done;
    Py_INCREF(shown);
    self->shown = shown;
    self->burst = limit.burst;
    char message[256] = "";
    llmrl_status status = llmrl_bucket_map_new(&limit, (size_t)capacity, flags, clock_pointer, &self->handle, message, sizeof message);
    if (status < 0) {
        self->handle = NULL;
        raise_message(status, "BucketMap", message);
        Py_CLEAR(self);
    }
done:
    Py_DECREF(checked);
    return (PyObject *)self;
}

static void bucket_map_dealloc(BucketMap *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (self->handle) llmrl_bucket_map_free(self->handle);
    Py_XDECREF(self->shown);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *bucket_map_repr(BucketMap *self) {
    Py_INCREF(self->shown);
    return self->shown;
}

/* What a key is in the library, which lives as long as the key does. */
typedef struct {
    const char *bytes;
    Py_ssize_t size;
} Key;

static int key_of(PyObject *value, Key *key) {
    char *bytes = NULL;
    key->size = 0;
    if (PyUnicode_Check(value))
        key->bytes = PyUnicode_AsUTF8AndSize(value, &key->size);
    else if (PyBytes_Check(value) && PyBytes_AsStringAndSize(value, &bytes, &key->size) == 0)
        key->bytes = bytes;
    else
        key->bytes = NULL;
    if (key->bytes && key->size >= 1 && key->size <= KEY_MAX) return 0;
    /* It is refused there, in the words of both backends. */
    PyErr_Clear();
    PyObject *none = PyObject_CallFunction(native.key, "Oi", value, (int)KEY_MAX);
    if (none) {
        Py_DECREF(none);
        PyErr_NoMemory();
    }
    return -1;
}

/* A key, and n unless there is only a key; the caller has set its default, if it has one. */
static int key_and_n(const char *what, PyObject *const *args, Py_ssize_t nargs, int has_default, Key *key, uint64_t *n) {
    if (nargs != 2 && !(nargs == 1 && has_default)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a key and a number, n; got %zd arguments", what, nargs);
        return -1;
    }
    if (nargs == 2 && args_whole("n", args[1], 1, COST_MAX, n)) return -1;
    return key_of(args[0], key);
}

static PyObject *bucket_map_raise(BucketMap *self, llmrl_status status, const char *what, uint64_t n) {
    if (status != LLMRL_ERR_NEVER && status != LLMRL_ERR_FULL) return raise_status(status, what, NULL, NULL);
    PyObject *error = PyObject_CallFunction(native.bucket_refusal, "isKK", (int)status, what, (unsigned long long)n,
                                            (unsigned long long)self->burst);
    if (!error) return NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

static PyObject *bucket_map_try_take(BucketMap *self, PyObject *const *args, Py_ssize_t nargs) {
    uint64_t n = 1;
    Key key;
    if (key_and_n("try_take", args, nargs, 1, &key, &n)) return NULL;
    llmrl_status status = llmrl_bucket_map_try_take(self->handle, key.bytes, (size_t)key.size, n, NULL);
    if (status < 0) return bucket_map_raise(self, status, "try_take", n);
    PyObject *admitted = status == LLMRL_OK ? Py_True : Py_False;
    Py_INCREF(admitted);
    return admitted;
}

static PyObject *bucket_map_wait_time(BucketMap *self, PyObject *const *args, Py_ssize_t nargs) {
    uint64_t n = 1, wait_ns = 0;
    int64_t available = 0;
    Key key;
    if (key_and_n("wait_time", args, nargs, 1, &key, &n)) return NULL;
    llmrl_status status = llmrl_bucket_map_available(self->handle, key.bytes, (size_t)key.size, &available);
    if (status == LLMRL_OK && available < (int64_t)n) {
        status = llmrl_bucket_map_try_take(self->handle, key.bytes, (size_t)key.size, n, &wait_ns);
        if (status == LLMRL_OK) llmrl_bucket_map_refund(self->handle, key.bytes, (size_t)key.size, n);
    }
    if (status < 0) return bucket_map_raise(self, status, "wait_time", n);
    return PyFloat_FromDouble(status == LLMRL_REFUSED ? (double)wait_ns / 1e9 : 0.0);
}

static PyObject *bucket_map_refund(BucketMap *self, PyObject *const *args, Py_ssize_t nargs) {
    uint64_t n;
    Key key;
    if (key_and_n("refund", args, nargs, 0, &key, &n)) return NULL;
    llmrl_status status = llmrl_bucket_map_refund(self->handle, key.bytes, (size_t)key.size, n);
    if (status < 0) return bucket_map_raise(self, status, "refund", n);
    Py_RETURN_NONE;
}

static PyObject *bucket_map_charge(BucketMap *self, PyObject *const *args, Py_ssize_t nargs) {
    uint64_t n;
    Key key;
    if (key_and_n("charge", args, nargs, 0, &key, &n)) return NULL;
    llmrl_status status = llmrl_bucket_map_charge(self->handle, key.bytes, (size_t)key.size, n);
    if (status < 0) return bucket_map_raise(self, status, "charge", n);
    Py_RETURN_NONE;
}

static PyObject *bucket_map_available(BucketMap *self, PyObject *value) {
    int64_t available = 0;
    Key key;
    if (key_of(value, &key)) return NULL;
    llmrl_status status = llmrl_bucket_map_available(self->handle, key.bytes, (size_t)key.size, &available);
    if (status < 0) return raise_status(status, "available", NULL, NULL);
    return PyLong_FromLongLong(available);
}

static PyObject *bucket_map_stats(BucketMap *self, PyObject *none) {
    (void)none;
    llmrl_bucket_map_stats stats;
    llmrl_status status = llmrl_bucket_map_read_stats(self->handle, &stats, sizeof stats);
    if (status < 0) return raise_status(status, "stats", NULL, NULL);
    return PyObject_CallFunction(native.bucket_map_stats, "KKK", (unsigned long long)stats.keys,
                                 (unsigned long long)stats.evictions, (unsigned long long)stats.overflows);
}

static PyMethodDef bucket_map_methods[] = {
    {"try_take", METHOD(bucket_map_try_take), METH_FASTCALL,
     "try_take(key, n=1, /)\n--\n\nTake `n` (1 to 2**40-1) from the bucket of `key` if they are there: True or False.\n\n"
     "Raises Never when n is above the burst; MapFull when there is no room for the key, with overflow='refuse'."},
    {"wait_time", METHOD(bucket_map_wait_time), METH_FASTCALL,
     "wait_time(key, n=1, /)\n--\n\nSeconds until try_take(key, n) would succeed if nobody else came; 0.0 is now. Takes nothing."},
    {"refund", METHOD(bucket_map_refund), METH_FASTCALL,
     "refund(key, n, /)\n--\n\nGive `n` back that were taken for `key` and not used."},
    {"charge", METHOD(bucket_map_charge), METH_FASTCALL,
     "charge(key, n, /)\n--\n\nTake `n` for `key` without asking; its bucket may go below zero."},
    {"available", METHOD(bucket_map_available), METH_O,
     "available(key, /)\n--\n\nWhat could be taken for `key` now; negative while in debt."},
    {"stats", METHOD(bucket_map_stats), METH_NOARGS, "stats()\n--\n\nReturn BucketMapStats: keys, evictions, overflows."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot bucket_map_slots[] = {
    {Py_tp_doc, "BucketMap(amount, per=60.0, burst=None, clock=None, *, capacity=65536, overflow='share', oversize='reject')\n--\n\n"
                "A bare token bucket for each key: `amount` per `per` seconds, at most `burst` (default `amount`) at once. No queue.\n\n"
                "A key is str or bytes, 1 to 65536 of them in UTF-8; one that was not seen before has a full bucket. Only a bucket\n"
                "that is full gives way to another key's, so a key that has used up what it has gets nothing new before it is due.\n\n"
                "capacity: keys that are remembered at a time, 1 to 2**30; their memory, 32.25 bytes each, is taken at once.\n"
                "overflow: a key for which there is no room shares a bucket with others ('share'), and gets no more than its own,\n"
                "or is refused with MapFull ('refuse'). clock: a ManualClock, or None for the machine's. Any thread may use it."},
    {Py_tp_new, bucket_map_new},
    {Py_tp_dealloc, bucket_map_dealloc},
    {Py_tp_repr, bucket_map_repr},
    {Py_tp_methods, bucket_map_methods},
    {0, NULL},
};

PyType_Spec bucket_map_spec = {"llmrl._native.BucketMap", sizeof(BucketMap), 0, Py_TPFLAGS_DEFAULT, bucket_map_slots};
