/* read_answer(): what a provider's answer says about limits. */
#include "native.h"

/* Fills an array of headers from a list of pairs of bytes, which keep what they point to alive. NULL with an exception. */
static llmrl_header *headers_of(PyObject *pairs, size_t *count) {
    Py_ssize_t size = PyList_Size(pairs);
    if (size < 0) return NULL;
    llmrl_header *headers = PyMem_Malloc((size_t)(size ? size : 1) * sizeof *headers);
    if (!headers) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        const char *name, *value;
        Py_ssize_t name_size, value_size;
        if (!PyArg_ParseTuple(PyList_GetItem(pairs, i), "y#y#", &name, &name_size, &value, &value_size)) {
            PyMem_Free(headers);
            return NULL;
        }
        headers[i] = (llmrl_header){name, (size_t)name_size, value, (size_t)value_size};
    }
    *count = (size_t)size;
    return headers;
}

static PyObject *make_reading(const llmrl_reading *r) {
    PyObject *quotas = PyList_New(0);
    for (uint32_t i = 0; quotas && i < r->quota_count; i++) {
        const llmrl_quota *q = &r->quotas[i];
        PyObject *quota = Py_BuildValue("(IIIKKKKKKKK)", q->meter, q->pool, q->flags, q->limit, q->remaining, q->reset_ns,
                                        q->utilization, q->window_ns, q->period_ns, q->solved_low_ns, q->solved_high_ns);
        if (!quota || PyList_Append(quotas, quota) < 0) Py_CLEAR(quotas);
        Py_XDECREF(quota);
    }
    if (!quotas) return NULL;
    PyObject *reading = PyObject_CallFunction(native.make_reading, "(IIIIKK)O", r->answer_class, r->meter, r->flags, r->tripped,
                                              r->wait_ns, r->requested, quotas);
    Py_DECREF(quotas);
    return reading;
}

PyObject *feedback_read_answer(PyObject *module, PyObject *args, PyObject *kwargs) {
    (void)module;
    PyObject *checked = PyObject_Call(native.answer_arguments, args, kwargs);
    if (!checked) return NULL;
    PyObject *result = NULL, *pairs;
    llmrl_answer answer = {0};
    llmrl_header *headers = NULL;
    llmrl_reading reading;
    const char *body;
    Py_ssize_t body_size;
    unsigned int status;
    unsigned long long now_ns;
    if (!PyArg_ParseTuple(checked, "IOy#K", &status, &pairs, &body, &body_size, &now_ns)) goto done;
    headers = headers_of(pairs, &answer.header_count);
    if (!headers) goto done;
    answer.status = status;
    answer.headers = headers;
    answer.body = body;
    answer.body_size = (size_t)body_size;
    answer.wall_now_ns = now_ns;
    llmrl_status failed = llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading);
    result = failed < 0 ? raise_status(failed, "read_answer", NULL, NULL) : make_reading(&reading);
done:
    PyMem_Free(headers);
    Py_DECREF(checked);
    return result;
}
