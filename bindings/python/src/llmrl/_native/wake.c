/* From the library's wake callback to the hub of the waiter.
 *
 * The callback runs inside a library call, in the thread that made the call and therefore holds the GIL. It only notes the
 * ticket. Python code runs after the call has returned: it may be interrupted by a signal handler that raises, and then the
 * method that made the call can raise in turn, without a wake being lost on the way.
 */
#include "native.h"

typedef struct {
    PyObject *hub; /* owned: the limiter may be gone before the flush comes here */
    llmrl_permit ticket;
} Note;

Py_ssize_t wakes_noted; /* notes[next .. next + wakes_noted] */
static Note *notes;
static Py_ssize_t next_note, capacity;

void wake_callback(void *hub, llmrl_permit ticket) {
    if (next_note + wakes_noted == capacity) {
        Py_ssize_t larger = capacity ? capacity * 2 : 64;
        Note *grown = PyMem_Realloc(notes, (size_t)larger * sizeof(Note));
        if (!grown) Py_FatalError("llmrl: no memory to pass on a wake");
        notes = grown;
        capacity = larger;
    }
    Py_INCREF((PyObject *)hub);
    notes[next_note + wakes_noted++] = (Note){hub, ticket};
}

int wakes_flush_slow(void) {
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    while (wakes_noted) {
        Note note = notes[next_note];
        if (--wakes_noted)
            next_note++;
        else
            next_note = 0;
        /* A wake may be repeated, so when a signal handler raises in the middle of one, it is sent again. */
        for (int attempt = 0; attempt < 2; attempt++) {
            PyObject *done = PyObject_CallMethod(note.hub, "wake", "K", (unsigned long long)note.ticket);
            if (done) {
                Py_DECREF(done);
                break;
            }
            if (type)
                PyErr_Clear(); /* the first of them is reported */
            else
                PyErr_Fetch(&type, &value, &traceback);
        }
        Py_DECREF(note.hub);
    }
    if (!type) return 0;
    PyErr_Restore(type, value, traceback);
    return -1;
}
