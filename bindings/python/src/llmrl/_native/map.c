/* Map: limiters by key. What users see of it is llmrl.LimiterMap, in _map.py, which also checks all arguments. */
#include "native.h"

typedef struct {
    PyObject_HEAD
    llmrl_map *handle;
    PyObject *hub; /* hears of the wakes of all its limiters */
    char in_flight;
} Map;

static PyObject *map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    const char *packed;
    Py_ssize_t size, count, capacity, shared;
    unsigned int max_waiters, max_permits, flags;
    PyObject *clock, *hub;
    llmrl_clock *clock_pointer;
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    if (!PyArg_ParseTuple(args, "y#nIIOInnO", &packed, &size, &count, &max_waiters, &max_permits, &clock, &flags, &capacity,
                          &shared, &hub) ||
        clock_handle(clock, &clock_pointer) || args_limits(packed, size, count, limits))
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Map *self = (Map *)alloc(type, 0);
    if (!self) return NULL;
    Py_INCREF(hub);
    self->hub = hub;
    self->in_flight = (char)args_in_flight(limits, count);
    llmrl_options options = {.flags = flags, .max_waiters = max_waiters, .max_permits = max_permits, .clock = clock_pointer,
                             .wake = wake_callback, .wake_ctx = hub};
    char message[256] = "";
    llmrl_status status = llmrl_map_new(limits, (size_t)count, &options, sizeof options, (size_t)capacity, (size_t)shared,
                                        &self->handle, message, sizeof message);
    if (status < 0) {
        self->handle = NULL;
        raise_message(status, "LimiterMap", message);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int map_traverse(Map *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->hub);
    return 0;
}

static void map_dealloc(Map *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    /* Its limiters hold the hub as well. */
    if (self->handle) llmrl_map_free(self->handle);
    Py_CLEAR(self->hub);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *map_limiter(Map *self, PyObject *args) {
    const char *key;
    Py_ssize_t size;
    PyObject *hub;
    llmrl_limiter *handle;
    int32_t is_shared = 0;
    if (!PyArg_ParseTuple(args, "y#O:limiter", &key, &size, &hub)) return NULL;
    llmrl_status status = llmrl_map_limiter(self->handle, key, (size_t)size, &handle, &is_shared);
    if (status == LLMRL_ERR_FULL) Py_RETURN_NONE;
    if (status < 0) return raise_status(status, "limiter", NULL, NULL);
    return limiter_of_map(handle, hub, self->hub, self->in_flight, is_shared);
}

static PyObject *map_set_limits(Map *self, PyObject *args) {
    const char *key, *packed;
    Py_ssize_t key_size, size, count;
    llmrl_limit limits[LLMRL_MAX_LIMITS];
    if (!PyArg_ParseTuple(args, "y#y#n:set_limits", &key, &key_size, &packed, &size, &count) ||
        args_limits(packed, size, count, limits))
        return NULL;
    char message[256] = "";
    llmrl_status status = llmrl_map_set_limits(self->handle, key, (size_t)key_size, limits, (size_t)count, message, sizeof message);
    if (status < 0) return raise_message(status, "set_limits", message);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *map_close(Map *self, PyObject *none) {
    (void)none;
    llmrl_status status = llmrl_map_close(self->handle);
    if (status < 0) return raise_status(status, "close", NULL, NULL);
    if (wakes_flush() < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *map_stats(Map *self, PyObject *none) {
    (void)none;
    llmrl_map_stats s;
    llmrl_status status = llmrl_map_get_stats(self->handle, &s, sizeof s);
    if (status < 0) return raise_status(status, "stats", NULL, NULL);
    return Py_BuildValue("(KKKKKKKKK)", s.keys, s.shared, s.created, s.evictions, s.full, s.granted, s.refused, s.waiting, s.in_flight);
}

static PyObject *map_top(Map *self, PyObject *args) {
    unsigned int by;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "nI:top", &count, &by)) return NULL;
    llmrl_map_key *keys = PyMem_Malloc((size_t)count * sizeof *keys);
    if (!keys) return PyErr_NoMemory();
    size_t written = 0;
    PyObject *list = NULL;
    llmrl_status status = llmrl_map_top(self->handle, by, keys, sizeof *keys, (size_t)count, &written);
    if (status < 0)
        raise_status(status, "top", NULL, NULL);
    else
        list = PyList_New(0);
    for (size_t i = 0; list && i < written; i++) {
        const llmrl_map_key *k = &keys[i];
        Py_ssize_t known = (Py_ssize_t)(k->key_size < sizeof k->key ? k->key_size : sizeof k->key);
        PyObject *entry = Py_BuildValue("(y#KKKKK)", (const char *)k->key, known, k->key_size, k->granted, k->refused, k->waiting,
                                        k->in_flight);
        if (!entry || PyList_Append(list, entry) < 0) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    PyMem_Free(keys);
    return list;
}

static PyMethodDef map_methods[] = {
    {"limiter", METHOD(map_limiter), METH_VARARGS,
     "limiter(key, hub)\n--\n\nA Limiter over a new handle, whose waiters are those of `hub`; None if there is no room."},
    {"set_limits", METHOD(map_set_limits), METH_VARARGS, "set_limits(key, packed, count)\n--\n\nGive a key limits of its own."},
    {"stats", METHOD(map_stats), METH_NOARGS, "stats()\n--\n\nThe numbers of a MapStats."},
    {"top", METHOD(map_top), METH_VARARGS, "top(n, by)\n--\n\nThe numbers of up to `n` KeyStats."},
    {"close", METHOD(map_close), METH_NOARGS, "close()\n--\n\nEnd all waiting, and refuse new keys."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot map_slots[] = {
    {Py_tp_doc, "Map(packed, count, max_waiters, max_permits, clock, flags, capacity, shared, hub)\n--\n\nSee llmrl.LimiterMap."},
    {Py_tp_new, map_new},
    {Py_tp_dealloc, map_dealloc},
    {Py_tp_traverse, map_traverse},
    {Py_tp_methods, map_methods},
    {0, NULL},
};

PyType_Spec map_spec = {"llmrl._native.Map", sizeof(Map), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, map_slots};
