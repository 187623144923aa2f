/* The floors of bench.py: what a method call and an await cost at least, whatever they do. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifndef METH_FASTCALL
#define METH_FASTCALL 0x0080
#endif
#ifndef Py_am_send
#define Py_am_send 81
#endif

static PyObject *nop(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self, (void)args, (void)count;
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *itself(PyObject *self) {
    Py_INCREF(self);
    return self;
}

static PyObject *ready(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)args, (void)count;
    return itself(self);
}

static PyObject *next(PyObject *self) {
    (void)self;
    return NULL; /* the end, and the value is None */
}

static int send(PyObject *self, PyObject *sent, PyObject **result) {
    (void)self, (void)sent;
    Py_INCREF(Py_None);
    *result = Py_None;
    return 0;
}

#define METHOD(f) ((PyCFunction)(void (*)(void))(f))
static PyMethodDef methods[] = {
    {"nop", METHOD(nop), METH_FASTCALL, NULL},
    {"ready", METHOD(ready), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_methods, methods},   {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, next},
    {Py_am_await, itself},
#if PY_VERSION_HEX >= 0x030A0000
    {Py_am_send, send},
#endif
    {0, NULL},
};
static PyType_Spec spec = {"floor.Floor", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, slots};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_size = -1};

PyMODINIT_FUNC PyInit_floor(void);
PyMODINIT_FUNC PyInit_floor(void) {
    (void)send;
    PyObject *module = PyModule_Create(&definition);
    PyObject *type = PyType_FromSpec(&spec);
    if (!module || !type || PyModule_AddObject(module, "Floor", type) < 0) return NULL;
    return module;
}
