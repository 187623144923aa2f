/* The module llmrl._native: types, and what they need from the Python side. */
#include "native.h"

struct native native;

PyObject *no_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args, (void)kwargs;
    PyErr_Format(PyExc_TypeError, "%R objects are made by a Limiter", type);
    return NULL;
}

PyObject *raise_status(llmrl_status status, const char *what, Limiter *limiter, const llmrl_cost *cost) {
    PyObject *numbers = cost ? Py_BuildValue("(KKK)", cost->requests, cost->input_tokens, cost->output_tokens)
                             : Py_BuildValue("");
    if (!numbers) return NULL;
    PyObject *error = PyObject_CallFunction(native.from_status, "isOO", (int)status, what,
                                            limiter ? (PyObject *)limiter : Py_None, numbers);
    Py_DECREF(numbers);
    /* A call that fails may have moved the queue all the same: whoever it woke is told before the caller learns of the failure. */
    if (error && wakes_flush() == 0) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    return NULL;
}

PyObject *raise_message(llmrl_status status, const char *what, const char *message) {
    if (!message[0] || status == LLMRL_ERR_MEMORY) return raise_status(status, what, NULL, NULL);
    return PyErr_Format(PyExc_ValueError, "%s: %s", what, message);
}

/* Takes `name` from the module `from` into *out; 0 on success. */
static int take(const char *from, const char *name, PyObject **out) {
    PyObject *module = PyImport_ImportModule(from);
    if (!module) return -1;
    *out = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return *out ? 0 : -1;
}

static int add_type(PyObject *module, const char *name, PyTypeObject *type) {
    if (!type) return -1;
    Py_INCREF(type);
    return PyModule_AddObject(module, name, (PyObject *)type);
}

static int fill(PyObject *module) {
    if (llmrl_abi_version() != LLMRL_ABI_VERSION) {
        PyErr_Format(PyExc_ImportError, "libllmrl speaks ABI %u and this module %u; reinstall the llmrl package",
                     llmrl_abi_version(), (unsigned)LLMRL_ABI_VERSION);
        return -1;
    }
    if (take("llmrl._errors", "from_status", &native.from_status) || take("llmrl._args", "whole", &native.whole) ||
        take("llmrl._args", "timeout_ns", &native.timeout_ns) || take("llmrl._args", "duration_ns", &native.duration_ns) ||
        take("llmrl._args", "retune", &native.retune) || take("llmrl._args", "align", &native.align) ||
        take("llmrl._args", "key", &native.key) || take("llmrl._errors", "bucket_refusal", &native.bucket_refusal) ||
        take("llmrl._limit", "bucket_map", &native.bucket_map_options) ||
        take("llmrl._types", "BucketMapStats", &native.bucket_map_stats) ||
        take("llmrl._limit", "options", &native.options) ||
        take("llmrl._limit", "bucket", &native.bucket_options) || take("llmrl._hub", "Hub", &native.hub) ||
        take("llmrl._hub", "adopt", &native.adopt) || take("llmrl._types", "make_stats", &native.make_stats) ||
        take("llmrl._types", "make_limit_state", &native.make_limit_state) ||
        take("llmrl._feedback", "arguments", &native.answer_arguments) ||
        take("llmrl._feedback", "make_reading", &native.make_reading) ||
        take("llmrl._feedback", "make_advice", &native.make_advice) || args_init())
        return -1;
    PyObject *version = PySys_GetObject("hexversion");
    if (!version || acquire_init(PyLong_AsUnsignedLong(version))) return -1;
    native.limiter = (PyTypeObject *)PyType_FromSpec(&limiter_spec);
    native.permit = (PyTypeObject *)PyType_FromSpec(&permit_spec);
    native.map = (PyTypeObject *)PyType_FromSpec(&map_spec);
    native.clock = (PyTypeObject *)PyType_FromSpec(&clock_spec);
    native.bucket = (PyTypeObject *)PyType_FromSpec(&bucket_spec);
    native.bucket_map = (PyTypeObject *)PyType_FromSpec(&bucket_map_spec);
    native.router = (PyTypeObject *)PyType_FromSpec(&router_spec);
    native.slip = (PyTypeObject *)PyType_FromSpec(&slip_spec);
    native.fair = (PyTypeObject *)PyType_FromSpec(&fair_spec);
    native.fair_slip = (PyTypeObject *)PyType_FromSpec(&fair_slip_spec);
    return add_type(module, "Limiter", native.limiter) || add_type(module, "Permit", native.permit) ||
                   add_type(module, "Acquire", native.acquire) || add_type(module, "ManualClock", native.clock) ||
                   add_type(module, "TokenBucket", native.bucket) || add_type(module, "RawRouter", native.router) ||
                   add_type(module, "Slip", native.slip) || add_type(module, "Map", native.map) ||
                   add_type(module, "BucketMap", native.bucket_map) || add_type(module, "RawFair", native.fair) ||
                   add_type(module, "FairSlip", native.fair_slip) ||
                   PyModule_AddStringConstant(module, "library_version", llmrl_version())
               ? -1
               : 0;
}

static PyMethodDef functions[] = {
    {"read_answer", METHOD(feedback_read_answer), METH_VARARGS | METH_KEYWORDS,
     "read_answer(status, headers, body=b'', *, now=None)\n--\n\n"
     "Read what a provider's answer says about limits: a Reading.\n\n"
     "headers: a mapping or pairs of name and value, str or bytes, in any case and order; those of httpx, requests and aiohttp will do.\n"
     "No provider needs to be named. body: looked at only when status is 400 or above, and only its first 64 KiB;\n"
     "or when it is the event rate_limits.updated of OpenAI's Realtime API, with status 200.\n"
     "now: the wall-clock time in seconds since 1970, None for the system's; the answer's own Date comes first.\n"
     "What is malformed, unknown or impossible is left out. Raises TypeError or ValueError for arguments only."},
    {"charging_of", charging_of, METH_O, "charging_of(name)\n--\n\nThe numbers of a rule, or None; see llmrl.Charging."},
    {"charging_cost", charging_cost, METH_VARARGS,
     "charging_cost(rule, request, used)\n--\n\nInput and output tokens; see llmrl.Charging."},
    {"lengths_new", lengths_new, METH_O, "lengths_new(names)\n--\n\nA handle; see llmrl.Lengths."},
    {"lengths_record", lengths_record, METH_VARARGS,
     "lengths_record(handle, key, model, output_tokens)\n--\n\nSee llmrl.Lengths."},
    {"lengths_estimate", lengths_estimate, METH_VARARGS,
     "lengths_estimate(handle, key, model, permille, max_tokens)\n--\n\nThe length, or 2**64 - 1; see llmrl.Lengths."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "llmrl._native",
    .m_doc = "libllmrl for CPython, through its C ABI.",
    /* Single-phase and without per-module state: the statics here serve one interpreter, and others refuse to import it. */
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void);
PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module && fill(module)) Py_CLEAR(module);
    return module;
}
