#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "dot.h"

static PyObject* DotOf(PyObject*, PyObject* arguments) {
  Py_buffer a, b;
  if (!PyArg_ParseTuple(arguments, "y*y*", &a, &b)) return nullptr;
  const auto size = static_cast<int>(a.len < b.len ? a.len : b.len);
  const auto sum = Dot(static_cast<const int8_t*>(a.buf), static_cast<const int8_t*>(b.buf), size);
  PyBuffer_Release(&a);
  PyBuffer_Release(&b);
  return PyLong_FromLong(sum);
}

static PyObject* AboutIt(PyObject*, PyObject*) { return PyUnicode_FromString(About().c_str()); }

static PyMethodDef kMethods[] = {
    {"dot", DotOf, METH_VARARGS, nullptr}, {"about", AboutIt, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

static PyModuleDef kModule = {PyModuleDef_HEAD_INIT, "_dot", nullptr, -1, kMethods};

PyMODINIT_FUNC PyInit__dot() { return PyModule_Create(&kModule); }
