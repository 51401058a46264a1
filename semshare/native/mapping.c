// SPDX-License-Identifier: MIT
/*
 * A piece of shared memory, as an object with the buffer protocol.
 *
 * mmap.mmap would do but for two things: it keeps a duplicate of the descriptor, and with it the flock by which an area
 * in POSIX shared memory knows that somebody uses it; and it refuses to be closed while views exist.  Here the memory
 * stays mapped as long as this object is referred to, and close() only refuses new views.  To count the views is not
 * enough: numpy.ndarray(buffer=…) gives its view back at once and keeps a reference.
 */
#include "native.h"

#include <sys/mman.h>
#include <sys/shm.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

typedef struct {
	PyObject_HEAD
	void *start;
	size_t size;
	bool segment;		/* of shmat(), not of mmap() */
	bool readonly;
	bool closed;		/* the one that changes: by atomic operations */
} Mapping;

/*
 * An error is in errno.  A kernel before 4.17 does not know MAP_FIXED_NOREPLACE and takes the address for a hint, but
 * never puts anything on top of what is there.
 */
static void *map_file(void *address, size_t size, bool readonly, int fd, off_t offset)
{
	int protection = readonly ? PROT_READ : PROT_READ | PROT_WRITE;
	int flags = MAP_SHARED | (address ? MAP_FIXED_NOREPLACE : 0);
	void *start = mmap(address, size, protection, flags, fd, offset);

	if (address && start != MAP_FAILED && start != address) {
		munmap(start, size);
		errno = EEXIST;
		return MAP_FAILED;
	}
	return start;
}

static PyObject *Mapping_of_file(PyTypeObject *type, PyObject *args)
{
	unsigned long long size, address = 0, offset = 0;
	Mapping *self;
	void *start;
	int fd, readonly;

	if (!PyArg_ParseTuple(args, "iKp|KK:of_file", &fd, &size, &readonly, &address, &offset))
		return NULL;
	if (!size || size > PY_SSIZE_T_MAX || offset > PY_SSIZE_T_MAX) {
		PyErr_SetString(PyExc_ValueError, "nothing to map, or more than fits into an address space");
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	start = map_file((void *)(uintptr_t)address, size, readonly, fd, (off_t)offset);
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
	unsigned long long address = 0;
	struct shmid_ds state;
	int shmid, readonly = false;
	Mapping *self;
	void *start;

	if (!PyArg_ParseTuple(args, "i|pK:of_segment", &shmid, &readonly, &address))
		return NULL;
	/* At a given address: EINVAL if there is anything, because SHM_REMAP is not given. */
	start = shmat(shmid, (void *)(uintptr_t)address, readonly ? SHM_RDONLY : 0);
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
	self->readonly = readonly;
	return (PyObject *)self;
}

/* One byte of each page, for a mapping that the kernel does not fill by itself: one of the module's page frames. */
static void touch(const volatile char *start, size_t size)
{
	size_t at, step = (size_t)sysconf(_SC_PAGESIZE);

	for (at = 0; at < size; at += step)
		(void)start[at];
}

static PyObject *Mapping_prefault(Mapping *self, PyObject *args)
{
	int result, huge = false;

	if (!PyArg_ParseTuple(args, "|p:prefault", &huge))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	/* Advice: a kernel without huge pages refuses it, and all is well. */
	if (huge)
		madvise(self->start, self->size, MADV_HUGEPAGE);
	do {
		result = madvise(self->start, self->size,
				 self->readonly ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
	} while (result && (errno == EINTR || errno == EAGAIN));
	if (result && errno == EINVAL) {
		touch(self->start, self->size);
		result = 0;
	}
	Py_END_ALLOW_THREADS
	if (result)
		return PyErr_SetFromErrno(PyExc_OSError);
	Py_RETURN_NONE;
}

static PyObject *Mapping_address(Mapping *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLongLong((uintptr_t)self->start);
}

static int Mapping_getbuffer(Mapping *self, Py_buffer *view, int flags)
{
	if (__atomic_load_n(&self->closed, __ATOMIC_RELAXED)) {
		PyErr_SetString(PyExc_ValueError, "this memory is closed");
		view->obj = NULL;
		return -1;
	}
	return PyBuffer_FillInfo(view, (PyObject *)self, self->start, (Py_ssize_t)self->size, self->readonly, flags);
}

static PyObject *Mapping_close(Mapping *self, PyObject *Py_UNUSED(ignored))
{
	__atomic_store_n(&self->closed, true, __ATOMIC_RELAXED);
	Py_RETURN_NONE;
}

static void Mapping_dealloc(Mapping *self)
{
	if (self->segment)
		shmdt(self->start);
	else
		munmap(self->start, self->size);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static Py_ssize_t Mapping_length(Mapping *self)
{
	return (Py_ssize_t)self->size;
}

static PyMethodDef methods[] = {
	{ "of_file", (PyCFunction)Mapping_of_file, METH_VARARGS | METH_CLASS,
	  PyDoc_STR("Map a descriptor: (fd, size, readonly, address=0, offset=0). "
		    "At a given address EEXIST if anything is there.") },
	{ "of_segment", (PyCFunction)Mapping_of_segment, METH_VARARGS | METH_CLASS,
	  PyDoc_STR("Attach a SysV shared memory segment: (shmid, readonly=False, address=0). "
		    "At a given address EINVAL if anything is there.") },
	{ "prefault", (PyCFunction)Mapping_prefault, METH_VARARGS,
	  PyDoc_STR("Have all pages mapped now: (huge=False), in huge ones if they can be had.") },
	{ "close", (PyCFunction)Mapping_close, METH_NOARGS,
	  PyDoc_STR("No more views. It is unmapped when nothing refers to it any more.") },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef attributes[] = {
	{ "address", (getter)Mapping_address, NULL, PyDoc_STR("Where it is mapped."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyBufferProcs buffer = {
	.bf_getbuffer = (getbufferproc)Mapping_getbuffer,
};

static PyMappingMethods mapping = {
	.mp_length = (lenfunc)Mapping_length,
};

PyTypeObject Mapping_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.Mapping",
	.tp_basicsize = sizeof(Mapping),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_doc = PyDoc_STR("A piece of shared memory. Views of it stay valid after close(), and keep it."),
	.tp_dealloc = (destructor)Mapping_dealloc,
	.tp_methods = methods,
	.tp_getset = attributes,
	.tp_as_buffer = &buffer,
	.tp_as_mapping = &mapping,
};
