// SPDX-License-Identifier: MIT
#include "native.h"

#include "owner.h"
#include "permits.h"

static PyObject *owner(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
	const struct semshare_owner *self = owner_self();

	return Py_BuildValue("IIIK", self->kind, self->pid, self->tid, (unsigned long long)self->start);
}

static PyObject *is_dead(PyObject *Py_UNUSED(module), PyObject *pid)
{
	long number = PyLong_AsLong(pid);

	if (number == -1 && PyErr_Occurred())
		return NULL;
	return PyBool_FromLong(number > 0 && owner_process_is_dead((pid_t)number));
}

static PyMethodDef methods[] = {
	{ "owner", owner, METH_NOARGS, PyDoc_STR("The calling thread as an owner: (kind, pid, tid, start).") },
	{ "is_dead", is_dead, METH_O, PyDoc_STR("Whether the process of that pid has ended.") },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT,
	.m_name = "semshare._native",
	.m_doc = PyDoc_STR("The hot path of semshare: locks, rings and the memory they lie in."),
	.m_size = -1,
	.m_methods = methods,
};

/* What there is once in a process, whatever interpreters it has. */
static int setup(void)
{
	int error = owner_setup(holds_of_ended_thread);

	if (!error)
		error = holds_setup();
	return error ? error : permits_setup();
}

PyMODINIT_FUNC PyInit__native(void)
{
	static bool ready;
	PyObject *self;

	if (PyType_Ready(&LockCore_Type) || PyType_Ready(&GuardCore_Type) ||
	    PyType_Ready(&RingCore_Type) || PyType_Ready(&Mapping_Type) ||
	    PyType_Ready(&ParametersCore_Type) || PyType_Ready(&ChannelCore_Type) ||
	    PyType_Ready(&ConditionCore_Type) || PyType_Ready(&BarrierCore_Type))
		return NULL;
	if (!ready) {
		int error = setup();

		if (error) {
			errno = error;
			return PyErr_SetFromErrno(PyExc_OSError);
		}
		ready = true;
	}
	self = parameters_setup() ? NULL : PyModule_Create(&module);
	if (!self)
		return NULL;
#ifdef Py_GIL_DISABLED
	PyUnstable_Module_SetGIL(self, Py_MOD_GIL_NOT_USED);
#endif
	Py_INCREF(&LockCore_Type);
	Py_INCREF(&GuardCore_Type);
	Py_INCREF(&RingCore_Type);
	Py_INCREF(&ChannelCore_Type);
	Py_INCREF(&Mapping_Type);
	Py_INCREF(&ParametersCore_Type);
	Py_INCREF(&ConditionCore_Type);
	Py_INCREF(&BarrierCore_Type);
	if (PyModule_AddObject(self, "LockCore", (PyObject *)&LockCore_Type) ||
	    PyModule_AddObject(self, "GuardCore", (PyObject *)&GuardCore_Type) ||
	    PyModule_AddObject(self, "RingCore", (PyObject *)&RingCore_Type) ||
	    PyModule_AddObject(self, "ChannelCore", (PyObject *)&ChannelCore_Type) ||
	    PyModule_AddObject(self, "ConditionCore", (PyObject *)&ConditionCore_Type) ||
	    PyModule_AddObject(self, "BarrierCore", (PyObject *)&BarrierCore_Type) ||
	    PyModule_AddObject(self, "Mapping", (PyObject *)&Mapping_Type) ||
	    PyModule_AddObject(self, "ParametersCore", (PyObject *)&ParametersCore_Type) ||
	    PyModule_AddObject(self, "RING_VARIANTS", ring_variants()) || record_types(self)) {
		Py_DECREF(self);
		return NULL;
	}
	return self;
}
