/* Arguments of the hot calls: input, output, requests, cached, cache_write, timeout. */
#include "native.h"

enum { FIELDS = 6, TIMEOUT = 5, POSITIONAL = 2 };

static const char *const field_text[FIELDS] = {"input", "output", "requests", "cached", "cache_write", "timeout"};
static PyObject *field_name[FIELDS];

int args_init(void) {
    for (int i = 0; i < FIELDS; i++) {
        /* Interned, like the keywords of nearly every call site: then a pointer tells which field it is. */
        field_name[i] = PyUnicode_InternFromString(field_text[i]);
        if (!field_name[i]) return -1;
    }
    return 0;
}

int args_whole(const char *field, PyObject *value, uint64_t low, uint64_t high, uint64_t *out) {
    if (Py_TYPE(value) == &PyLong_Type) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (!overflow && number >= (long long)low && number <= (long long)high) {
            *out = (uint64_t)number;
            return 0;
        }
    }
    PyObject *number = PyObject_CallFunction(native.whole, "sOKK", field, value, (unsigned long long)low, (unsigned long long)high);
    if (!number) return -1;
    *out = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

int args_limits(const char *packed, Py_ssize_t size, Py_ssize_t count, llmrl_limit limits[LLMRL_MAX_LIMITS]) {
    if (count < 0 || count > LLMRL_MAX_LIMITS || (size_t)size != (size_t)count * sizeof *limits) {
        PyErr_SetString(PyExc_SystemError, "llmrl: packed limits have the wrong size");
        return -1;
    }
    memcpy(limits, packed, (size_t)size);
    return 0;
}

int args_in_flight(const llmrl_limit *limits, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++)
        if (limits[i].kind == LLMRL_IN_FLIGHT) return 1;
    return 0;
}

static int read_timeout(PyObject *value, uint64_t *out) {
    if (value == Py_None) {
        *out = LLMRL_FOREVER;
        return 0;
    }
    PyObject *ns = PyObject_CallFunctionObjArgs(native.timeout_ns, value, NULL);
    if (!ns) return -1;
    *out = PyLong_AsUnsignedLongLong(ns);
    Py_DECREF(ns);
    return PyErr_Occurred() ? -1 : 0;
}

static int which(PyObject *name) {
    for (int i = 0; i < FIELDS; i++)
        if (name == field_name[i]) return i;
    for (int i = 0; i < FIELDS; i++)
        if (PyUnicode_Compare(name, field_name[i]) == 0) return i;
    return -1;
}

int args_cost(const char *what, PyObject *const *args, Py_ssize_t nargs, PyObject *names, int rules,
              llmrl_cost *cost, uint64_t *timeout_ns) {
    PyObject *value[FIELDS] = {NULL};
    *cost = (llmrl_cost){.requests = 1};
    if (timeout_ns) *timeout_ns = LLMRL_FOREVER;
    if (nargs > POSITIONAL) {
        PyErr_Format(PyExc_TypeError, "%s() takes input and output by position, the rest by keyword; got %zd positional arguments",
                     what, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) value[i] = args[i];
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        int field = which(name);
        if (field < 0 || (field == TIMEOUT && !timeout_ns)) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'; it takes input, output, requests, cached, "
                         "cache_write%s", what, name, timeout_ns ? ", timeout" : "");
            return -1;
        }
        if (value[field]) {
            PyErr_Format(PyExc_TypeError, "%s() got two values for '%U'", what, name);
            return -1;
        }
        value[field] = args[nargs + i];
    }
    if (((rules & FIELD_INPUT) && !value[0]) || ((rules & FIELD_OUTPUT) && !value[1])) {
        PyErr_Format(PyExc_TypeError, "%s() needs both input and output: what was really used, 0 where nothing was", what);
        return -1;
    }
    if (value[0] && args_whole("input", value[0], 0, COST_MAX, &cost->input_tokens)) return -1;
    if (value[1] && args_whole("output", value[1], 0, COST_MAX, &cost->output_tokens)) return -1;
    if (value[2] && args_whole("requests", value[2], rules & NO_REQUEST ? 0 : 1, COST_MAX, &cost->requests)) return -1;
    if (value[3] && args_whole("cached", value[3], 0, CACHED_MAX, &cost->cached_tokens)) return -1;
    if (value[4] && args_whole("cache_write", value[4], 0, CACHED_MAX, &cost->cache_write_tokens)) return -1;
    if (value[TIMEOUT] && read_timeout(value[TIMEOUT], timeout_ns)) return -1;
    return 0;
}
