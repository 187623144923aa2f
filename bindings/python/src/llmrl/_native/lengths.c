/* Output lengths that were seen: numbers in, numbers out; _lengths.py has the words. */
#include "native.h"

static const char CAPSULE[] = "llmrl._native.lengths";

static void lengths_free(PyObject *capsule) {
    llmrl_lengths_free((llmrl_lengths *)PyCapsule_GetPointer(capsule, CAPSULE));
}

PyObject *lengths_new(PyObject *module, PyObject *names) {
    (void)module;
    llmrl_lengths *lengths = NULL;
    unsigned long long number = PyLong_AsUnsignedLongLong(names);
    if (PyErr_Occurred()) return NULL;
    llmrl_status status = llmrl_lengths_new(number, &lengths);
    if (status < 0) return raise_status(status, "Lengths", NULL, NULL);
    PyObject *capsule = PyCapsule_New(lengths, CAPSULE, lengths_free);
    if (!capsule) llmrl_lengths_free(lengths);
    return capsule;
}

PyObject *lengths_record(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *capsule;
    const char *key, *model;
    Py_ssize_t key_size, model_size;
    unsigned long long output_tokens;
    if (!PyArg_ParseTuple(args, "Oy#y#K", &capsule, &key, &key_size, &model, &model_size, &output_tokens)) return NULL;
    llmrl_lengths *lengths = (llmrl_lengths *)PyCapsule_GetPointer(capsule, CAPSULE);
    if (!lengths) return NULL;
    llmrl_status status = llmrl_lengths_record(lengths, key, (size_t)key_size, model, (size_t)model_size, output_tokens);
    if (status < 0) return raise_status(status, "record", NULL, NULL);
    Py_RETURN_NONE;
}

PyObject *lengths_estimate(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *capsule;
    const char *key, *model;
    Py_ssize_t key_size, model_size;
    unsigned int permille;
    unsigned long long max_tokens;
    uint64_t estimate;
    if (!PyArg_ParseTuple(args, "Oy#y#IK", &capsule, &key, &key_size, &model, &model_size, &permille, &max_tokens)) return NULL;
    llmrl_lengths *lengths = (llmrl_lengths *)PyCapsule_GetPointer(capsule, CAPSULE);
    if (!lengths) return NULL;
    llmrl_status status = llmrl_lengths_estimate(lengths, key, (size_t)key_size, model, (size_t)model_size, permille, max_tokens,
                                                 &estimate);
    if (status < 0) return raise_status(status, "estimate", NULL, NULL);
    return PyLong_FromUnsignedLongLong(estimate);
}
