/* What a provider charges for a request: numbers in, numbers out; _charging.py has the names. */
#include "native.h"

PyObject *charging_of(PyObject *module, PyObject *name) {
    (void)module;
    llmrl_charging rule;
    PyObject *bytes = PyUnicode_AsUTF8String(name);
    if (!bytes) return NULL;
    /* What is behind a zero byte would not be looked at. */
    const char *text = PyBytes_AsString(bytes);
    int whole = (Py_ssize_t)strlen(text) == PyBytes_Size(bytes);
    llmrl_status status = whole ? llmrl_charging_of(text, &rule, sizeof rule) : LLMRL_ERR_RANGE;
    Py_DECREF(bytes);
    if (status < 0) Py_RETURN_NONE;
    return Py_BuildValue("(IIII)", rule.flags, rule.output, rule.settlement, rule.burndown);
}

PyObject *charging_cost(PyObject *module, PyObject *args) {
    (void)module;
    llmrl_charging rule;
    llmrl_request request;
    llmrl_cost used = {.requests = 1}, cost;
    unsigned long long prompt, cached, max_tokens, expected, input, output, read;
    PyObject *answer;
    if (!PyArg_ParseTuple(args, "(IIII)(KKKK)O", &rule.flags, &rule.output, &rule.settlement, &rule.burndown, &prompt, &cached,
                          &max_tokens, &expected, &answer))
        return NULL;
    request = (llmrl_request){.prompt = prompt, .cached = cached, .max_tokens = max_tokens, .expected = expected};
    llmrl_status status;
    if (answer == Py_None) {
        status = llmrl_charging_reserve(&rule, sizeof rule, &request, sizeof request, &cost);
    } else {
        if (!PyArg_ParseTuple(answer, "KKK", &input, &output, &read)) return NULL;
        used.input_tokens = input, used.output_tokens = output, used.cached_tokens = read;
        status = llmrl_charging_settle(&rule, sizeof rule, &request, sizeof request, &used, &cost);
    }
    if (status < 0) return raise_status(status, "Charging", NULL, NULL);
    return Py_BuildValue("(KK)", (unsigned long long)cost.input_tokens, (unsigned long long)cost.output_tokens);
}
