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

/* What an answer points to, while it is used. */
typedef struct {
    PyObject *checked;
    llmrl_header *headers;
} Held;

static void let_go(Held *held) {
    PyMem_Free(held->headers);
    Py_XDECREF(held->checked);
}

/* Makes an answer of the arguments of read_answer(). 0, or -1 with an exception; let_go() in both cases. */
static int answer_of(PyObject *args, PyObject *kwargs, llmrl_answer *answer, Held *held) {
    PyObject *pairs;
    const char *body;
    Py_ssize_t body_size;
    unsigned int status;
    unsigned long long now_ns;
    memset(answer, 0, sizeof *answer);
    held->headers = NULL;
    held->checked = PyObject_Call(native.answer_arguments, args, kwargs);
    if (!held->checked || !PyArg_ParseTuple(held->checked, "IOy#K", &status, &pairs, &body, &body_size, &now_ns)) return -1;
    held->headers = headers_of(pairs, &answer->header_count);
    if (!held->headers) return -1;
    answer->status = status;
    answer->headers = held->headers;
    answer->body = body;
    answer->body_size = (size_t)body_size;
    answer->wall_now_ns = now_ns;
    return 0;
}

PyObject *feedback_read_answer(PyObject *module, PyObject *args, PyObject *kwargs) {
    (void)module;
    PyObject *result = NULL;
    llmrl_answer answer;
    llmrl_reading reading;
    Held held;
    if (answer_of(args, kwargs, &answer, &held) == 0) {
        llmrl_status failed = llmrl_answer_read(&answer, sizeof answer, &reading, sizeof reading);
        result = failed < 0 ? raise_status(failed, "read_answer", NULL, NULL) : make_reading(&reading);
    }
    let_go(&held);
    return result;
}

PyObject *feedback_tell(PyObject *args, PyObject *kwargs, learn_fn learn, void *permit, Limiter *limiter) {
    PyObject *result = NULL;
    llmrl_answer answer;
    llmrl_advice advice;
    Held held;
    if (answer_of(args, kwargs, &answer, &held) == 0) {
        llmrl_status failed = learn(permit, &answer, &advice);
        if (failed < 0)
            raise_status(failed, "feedback", limiter, NULL);
        else if (wakes_flush() == 0)
            result = PyObject_CallFunction(native.make_advice, "IIK", advice.answer_class, advice.flags, advice.wait_ns);
    }
    let_go(&held);
    return result;
}

static llmrl_status learn(void *permit, const llmrl_answer *answer, llmrl_advice *advice) {
    Permit *self = permit;
    if (!self->id) return LLMRL_ERR_STALE;
    return llmrl_feedback(self->limiter->handle, self->id, answer, sizeof *answer, advice, sizeof *advice);
}

PyObject *feedback_learn(PyObject *permit, PyObject *args, PyObject *kwargs) {
    return feedback_tell(args, kwargs, learn, permit, ((Permit *)permit)->limiter);
}
