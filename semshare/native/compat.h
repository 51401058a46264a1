/* SPDX-License-Identifier: MIT */
/*
 * CPython 3.9 to 3.14, with and without the GIL.
 *
 * Where there is no GIL, each method runs in the critical section of its object.  That is what the GIL is where there is
 * one: it is left wherever the GIL is released, and wherever Python code is called, and entered again behind that.  So
 * "under the GIL", said of the members of an object, means: or in its critical section.  What several objects have in
 * common has a mutex of its own (holds.c), or is changed by atomic operations.
 */
#ifndef SEMSHARE_NATIVE_COMPAT_H
#define SEMSHARE_NATIVE_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifndef Py_BEGIN_CRITICAL_SECTION
#define Py_BEGIN_CRITICAL_SECTION(object)	{
#define Py_END_CRITICAL_SECTION()		}
#define Py_BEGIN_CRITICAL_SECTION2(one, other)	{
#define Py_END_CRITICAL_SECTION2()		}
#endif

/* What @call, an expression of that type, gives in the critical section of @object. */
#define IN_SECTION(type, object, call) __extension__({	\
	type result_;					\
	Py_BEGIN_CRITICAL_SECTION(object);		\
	result_ = (call);				\
	Py_END_CRITICAL_SECTION();			\
	result_;					\
})

/* Methods that do what function @name does in the critical section of self, named as CPython names their kinds. */
#define SECTION_NOARGS(core, name)									\
	static PyObject *name##_noargs(PyObject *self, PyObject *ignored)				\
	{												\
		return IN_SECTION(PyObject *, self, name((core *)self, ignored));			\
	}

#define SECTION_O(core, name)										\
	static PyObject *name##_o(PyObject *self, PyObject *arg)					\
	{												\
		return IN_SECTION(PyObject *, self, name((core *)self, arg));				\
	}

#define SECTION_VARARGS(core, name)									\
	static PyObject *name##_varargs(PyObject *self, PyObject *args)					\
	{												\
		return IN_SECTION(PyObject *, self, name((core *)self, args));				\
	}

#define SECTION_KEYWORDS(core, name)									\
	static PyObject *name##_keywords(PyObject *self, PyObject *args, PyObject *kwargs)		\
	{												\
		return IN_SECTION(PyObject *, self, name((core *)self, args, kwargs));			\
	}

#define SECTION_FASTCALL(core, name)									\
	static PyObject *name##_fastcall(PyObject *self, PyObject *const *args, Py_ssize_t nargs)	\
	{												\
		return IN_SECTION(PyObject *, self, name((core *)self, args, nargs));			\
	}

#define SECTION_FASTCALL_KEYWORDS(core, name)								\
	static PyObject *name##_fastcall(PyObject *self, PyObject *const *args, Py_ssize_t nargs,	\
					 PyObject *kwnames)						\
	{												\
		return IN_SECTION(PyObject *, self, name((core *)self, args, nargs, kwnames));		\
	}

#define SECTION_GET(core, name)										\
	static PyObject *name##_get(PyObject *self, void *closure)					\
	{												\
		return IN_SECTION(PyObject *, self, name((core *)self, closure));			\
	}

/* A function of another type, as the tables of methods want it. */
#define METHOD(function)	((PyCFunction)(void (*)(void))(function))

#endif /* SEMSHARE_NATIVE_COMPAT_H */
