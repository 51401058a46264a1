// SPDX-License-Identifier: MIT
/* Exceptions of a core, by way of the Python class that is derived from it. */
#include "native.h"

/* Raise: "WHAT IT IS: message". */
PyObject *core_misuse(PyObject *self, PyObject *exception, const char *message)
{
	PyObject *what = PyObject_GetAttrString(self, "_what");

	if (what) {
		PyErr_Format(exception, "%S: %s", what, message);
		Py_DECREF(what);
	}
	return NULL;
}

/* Let _fail() raise what @error means. */
PyObject *core_fail(PyObject *self, int error, const char *doing)
{
	PyObject *result = PyObject_CallMethod(self, "_fail", "is", error, doing);

	if (result) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "_fail() returned");
	}
	return NULL;
}
