// SPDX-License-Identifier: MIT
/* What is given to a call that may wait. */
#include "native.h"

#include "clock.h"

/*
 * What stands behind the first @first arguments: blocking=True and timeout=-1, by position or by name, with the errors
 * of threading.Lock.acquire(); and if @type is given type=0, and then all by name only.  A sixth of the work of
 * PyArg_Parse..., and most calls have none of them.
 */
int parse_wait(const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, int first,
	       bool *blocking, double *timeout, uint32_t *type)
{
	static const char *const names[] = { "blocking", "timeout", "type" };
	Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
	PyObject *values[3] = { NULL, NULL, NULL };
	int most = first + (type ? 0 : 2);
	Py_ssize_t i;

	*blocking = true;
	*timeout = -1;
	if (type)
		*type = 0;
	if (nargs < first || nargs > most) {
		PyErr_Format(PyExc_TypeError, "%s() takes %d to %d positional arguments (%zd given)", function, first,
			     most, nargs);
		return -1;
	}
	for (i = first; i < nargs; i++)
		values[i - first] = args[i];
	for (i = 0; i < named; i++) {
		PyObject *name = PyTuple_GET_ITEM(kwnames, i);
		int which;

		for (which = type ? 2 : 1; which >= 0; which--)
			if (PyUnicode_CompareWithASCIIString(name, names[which]) == 0)
				break;
		if (which < 0 || values[which]) {
			PyErr_Format(PyExc_TypeError, which < 0 ? "%s() got an unexpected keyword argument '%U'" :
				     "%s() got multiple values for argument '%U'", function, name);
			return -1;
		}
		values[which] = args[nargs + i];
	}
	if (values[0]) {
		int truth = PyObject_IsTrue(values[0]);

		/* Other locks' acquire() begins with it. */
		if (PyFloat_Check(values[0])) {
			PyErr_Format(PyExc_TypeError, "%s(): blocking is True or False, not %R: is that the timeout? %s(timeout=%R)",
				     function, values[0], function, values[0]);
			return -1;
		}
		if (truth < 0)
			return -1;
		*blocking = truth;
	}
	if (values[1] && values[1] != Py_None) {
		*timeout = PyFloat_AsDouble(values[1]);
		if (*timeout == -1.0 && PyErr_Occurred()) {
			if (PyErr_ExceptionMatches(PyExc_TypeError))
				PyErr_Format(PyExc_TypeError, "%s(): timeout is a number of seconds, not %.100s: %R", function,
					     Py_TYPE(values[1])->tp_name, values[1]);
			return -1;
		}
	}
	if (values[2]) {
		unsigned long long tag = PyLong_AsUnsignedLongLong(values[2]);

		if (tag == (unsigned long long)-1 && PyErr_Occurred())
			return -1;
		if (tag > UINT32_MAX) {
			PyErr_SetString(PyExc_OverflowError, "a record's type is a number of 32 bits");
			return -1;
		}
		*type = (uint32_t)tag;
	}
	return 0;
}

/* The moment until which to wait: NEVER without a limit, 0 (long ago) if not blocking. */
int deadline_from(bool blocking, double timeout, int64_t *deadline)
{
	if (timeout != -1.0) {
		if (!blocking) {
			PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
			return -1;
		}
		if (!(timeout >= 0)) {
			PyErr_SetString(PyExc_ValueError,
					"timeout value must be a non-negative number, or -1 to wait without limit");
			return -1;
		}
		if (timeout > CLOCK_MOST_S) {
			PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
			return -1;
		}
	}
	if (!blocking)
		*deadline = 0;
	else if (timeout == -1.0)
		*deadline = NEVER;
	else
		*deadline = clock_after(timeout);
	return 0;
}
