// SPDX-License-Identifier: MIT
/*
 * A piece of shared memory, as an object with the buffer protocol.
 *
 * mmap.mmap would do but for two things: it keeps a duplicate of the descriptor, and with it the flock by which an area
 * in POSIX shared memory knows that somebody uses it; and it refuses to be closed while views exist.  Here close()
 * always works: the memory stays mapped until the last view goes.
 */
#include "native.h"

#include <sys/mman.h>
#include <sys/shm.h>

typedef struct {
	PyObject_HEAD
	void *start;		/* NULL: not mapped any more */
	size_t size;
	bool segment;		/* of shmat(), not of mmap() */
	bool readonly;
	bool closed;
	Py_ssize_t views;
} Mapping;

static void unmap(Mapping *self)
{
	if (!self->start)
		return;
	if (self->segment)
		shmdt(self->start);
	else
		munmap(self->start, self->size);
	self->start = NULL;
}

static PyObject *Mapping_of_file(PyTypeObject *type, PyObject *args)
{
	unsigned long long size;
	Mapping *self;
	void *start;
	int fd, readonly;

	if (!PyArg_ParseTuple(args, "iKp:of_file", &fd, &size, &readonly))
		return NULL;
	if (!size || size > PY_SSIZE_T_MAX) {
		PyErr_SetString(PyExc_ValueError, "nothing to map, or more than fits into an address space");
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	start = mmap(NULL, size, readonly ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	Py_END_ALLOW_THREADS
	if (start == MAP_FAILED)
		return PyErr_SetFromErrno(PyExc_OSError);
	self = (Mapping *)type->tp_alloc(type, 0);
	if (!self) {
		munmap(start, size);
		return NULL;
	}
	self->start = start;
	self->size = size;
	self->readonly = readonly;
	return (PyObject *)self;
}

static PyObject *Mapping_of_segment(PyTypeObject *type, PyObject *args)
{
	struct shmid_ds state;
	Mapping *self;
	void *start;
	int shmid;

	if (!PyArg_ParseTuple(args, "i:of_segment", &shmid))
		return NULL;
	start = shmat(shmid, NULL, 0);
	if (start == (void *)-1)
		return PyErr_SetFromErrno(PyExc_OSError);
	/* Behind shmat(): the id cannot come to mean another segment while this one is attached. */
	if (shmctl(shmid, IPC_STAT, &state)) {
		PyErr_SetFromErrno(PyExc_OSError);
		shmdt(start);
		return NULL;
	}
	self = (Mapping *)type->tp_alloc(type, 0);
	if (!self) {
		shmdt(start);
		return NULL;
	}
	self->start = start;
	self->size = state.shm_segsz;
	self->segment = true;
	return (PyObject *)self;
}

static int Mapping_getbuffer(Mapping *self, Py_buffer *view, int flags)
{
	if (self->closed) {
		PyErr_SetString(PyExc_ValueError, "this memory is closed");
		view->obj = NULL;
		return -1;
	}
	if (PyBuffer_FillInfo(view, (PyObject *)self, self->start, (Py_ssize_t)self->size, self->readonly, flags))
		return -1;
	self->views++;
	return 0;
}

static void Mapping_releasebuffer(Mapping *self, Py_buffer *Py_UNUSED(view))
{
	if (!--self->views && self->closed)
		unmap(self);
}

static PyObject *Mapping_close(Mapping *self, PyObject *Py_UNUSED(ignored))
{
	self->closed = true;
	if (!self->views)
		unmap(self);
	Py_RETURN_NONE;
}

static void Mapping_dealloc(Mapping *self)
{
	unmap(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static Py_ssize_t Mapping_length(Mapping *self)
{
	return (Py_ssize_t)self->size;
}

static PyMethodDef methods[] = {
	{ "of_file", (PyCFunction)Mapping_of_file, METH_VARARGS | METH_CLASS,
	  PyDoc_STR("Map a descriptor from its start: (fd, size, readonly).") },
	{ "of_segment", (PyCFunction)Mapping_of_segment, METH_VARARGS | METH_CLASS,
	  PyDoc_STR("Attach a SysV shared memory segment: (shmid).") },
	{ "close", (PyCFunction)Mapping_close, METH_NOARGS,
	  PyDoc_STR("Unmap, now or when the last view of it goes.") },
	{ NULL, NULL, 0, NULL },
};

static PyBufferProcs buffer = {
	.bf_getbuffer = (getbufferproc)Mapping_getbuffer,
	.bf_releasebuffer = (releasebufferproc)Mapping_releasebuffer,
};

static PyMappingMethods mapping = {
	.mp_length = (lenfunc)Mapping_length,
};

PyTypeObject Mapping_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.Mapping",
	.tp_basicsize = sizeof(Mapping),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_doc = PyDoc_STR("A piece of shared memory. Views of it stay valid after close()."),
	.tp_dealloc = (destructor)Mapping_dealloc,
	.tp_methods = methods,
	.tp_as_buffer = &buffer,
	.tp_as_mapping = &mapping,
};
