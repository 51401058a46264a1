// SPDX-License-Identifier: MIT
/*
 * Records that are written, or read, where they lie: Reservation and RecordView, one structure, two context managers.
 *
 * What __enter__ gives out is a memoryview of the payload.  __exit__ releases it, so that using it later is a ValueError,
 * and then commits, or consumes.  Where something else refers to it, a numpy array for instance, it cannot be taken back:
 * then the memory stays mapped for that, whatever is closed, and what is read or written there is no record any more.
 *
 * A side of a ring that one party has to itself, a producer's or a consumer's, is occupied meanwhile: see ring.c.
 *
 * Where there is no GIL all of this is done in the critical section of the ring: both know of each other.
 */
#include "ring.h"

#include "owner.h"

static PyTypeObject Reservation_Type, RecordView_Type;

static OpenRecord *record_new(PyTypeObject *type, PyObject *ring, bool blocking, double timeout)
{
	OpenRecord *self = (OpenRecord *)type->tp_alloc(type, 0);

	if (!self)
		return NULL;
	Py_INCREF(ring);
	self->ring = ring;
	self->put = type == &Reservation_Type;
	self->state = RECORD_NEW;
	self->blocking = blocking;
	self->timeout = timeout;
	return self;
}

PyObject *record_reserve(PyObject *ring, __u64 size, __u32 type, bool blocking, double timeout)
{
	OpenRecord *self = record_new(&Reservation_Type, ring, blocking, timeout);

	if (!self)
		return NULL;
	self->reserved = size;
	self->record.size = (__u32)size;
	self->record.type = type;
	return (PyObject *)self;
}

PyObject *record_look(PyObject *ring, bool blocking, double timeout)
{
	return (PyObject *)record_new(&RecordView_Type, ring, blocking, timeout);
}

static void unmap_if_unused(OpenRecord *self)
{
	if (!self->exports && self->state != RECORD_ENTERING && self->state != RECORD_OPEN && self->memory.obj)
		PyBuffer_Release(&self->memory);
}

static int OpenRecord_getbuffer(OpenRecord *self, Py_buffer *view, int flags)
{
	Py_ssize_t size = self->put ? (Py_ssize_t)self->reserved : (Py_ssize_t)self->record.size;

	view->obj = NULL;
	if (self->state != RECORD_OPEN) {
		PyErr_SetString(PyExc_ValueError, "this record is not open: use it inside its with statement");
		return -1;
	}
	if (PyBuffer_FillInfo(view, (PyObject *)self, self->place.payload, size, !self->put, flags))
		return -1;
	self->exports++;
	return 0;
}

static void OpenRecord_releasebuffer(OpenRecord *self, Py_buffer *Py_UNUSED(view))
{
	self->exports--;
	unmap_if_unused(self);
}

/* Release what __enter__ gave out, unless something refers to that: then it keeps the memory. */
static void take_back(PyObject *view)
{
	PyObject *released;

	if (!view)
		return;
	released = PyObject_CallMethod(view, "release", NULL);
	if (!released)
		PyErr_Clear();
	Py_XDECREF(released);
	Py_DECREF(view);
}

static PyObject *OpenRecord_enter(OpenRecord *self, PyObject *Py_UNUSED(ignored))
{
	PyObject *view, *type, *value, *traceback;

	if (self->state != RECORD_NEW) {
		PyErr_SetString(PyExc_RuntimeError, "a record is entered once; ask the ring for another");
		return NULL;
	}
	self->state = RECORD_ENTERING;
	if (ring_open_record(self)) {
		self->state = RECORD_OVER;
		unmap_if_unused(self);
		return NULL;
	}
	view = PyMemoryView_FromObject((PyObject *)self);
	/* Another thread may have closed the ring meanwhile. */
	if (!view || self->state != RECORD_OPEN) {
		if (view)
			take_back(view);
		else if (self->state != RECORD_OPEN)
			PyErr_Clear();
		PyErr_Fetch(&type, &value, &traceback);
		(void)ring_end_record(self, false);
		if (type) {
			PyErr_Clear();
			PyErr_Restore(type, value, traceback);
		}
		unmap_if_unused(self);
		return NULL;
	}
	Py_INCREF(view);
	self->view = view;
	return view;
}

/* 0, or -1 with an exception set. */
static int end(OpenRecord *self, bool accept)
{
	PyObject *view = self->view;
	int error;

	self->view = NULL;
	take_back(view);
	error = ring_end_record(self, accept);
	unmap_if_unused(self);
	return error;
}

/*
 * Its ring is being closed, and has ended it.  What __enter__ gave out may be all that refers to it, and another thread
 * may be about to let go of it, which waits for the ring's critical section: so it is not touched behind that.
 */
void record_close(OpenRecord *self)
{
	PyObject *view = self->view;

	self->view = NULL;
	self->state = RECORD_CLOSED;
	unmap_if_unused(self);
	take_back(view);
}

static PyObject *OpenRecord_exit(OpenRecord *self, PyObject *const *args, Py_ssize_t nargs)
{
	bool accept = nargs < 1 || args[0] == Py_None;

	/* After cancel(). */
	if (self->state == RECORD_OVER)
		Py_RETURN_NONE;
	if (end(self, accept)) {
		/* An exception that is under way says more. */
		if (accept)
			return NULL;
		PyErr_Clear();
	}
	Py_RETURN_NONE;
}

static PyObject *OpenRecord_cancel(OpenRecord *self, PyObject *Py_UNUSED(ignored))
{
	if (self->state != RECORD_OPEN) {
		PyErr_SetString(PyExc_RuntimeError, "cancel() is for inside the with statement");
		return NULL;
	}
	if (end(self, false))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *get_size(OpenRecord *self)
{
	return PyLong_FromUnsignedLong(self->record.size);
}

static int number_of(PyObject *value, unsigned long long most, const char *what, unsigned long long *number)
{
	if (!value) {
		PyErr_Format(PyExc_AttributeError, "%s cannot be deleted", what);
		return -1;
	}
	*number = PyLong_AsUnsignedLongLong(value);
	if (*number == (unsigned long long)-1 && PyErr_Occurred())
		return -1;
	if (*number > most) {
		PyErr_Format(PyExc_ValueError, "%s is %llu at most, not %llu", what, most, *number);
		return -1;
	}
	return 0;
}

static int set_size(OpenRecord *self, PyObject *value)
{
	unsigned long long number;

	if (number_of(value, self->reserved, "the size of this record", &number))
		return -1;
	self->record.size = (__u32)number;
	return 0;
}

static PyObject *get_type(OpenRecord *self)
{
	return PyLong_FromUnsignedLong(self->record.type);
}

static int set_type(OpenRecord *self, PyObject *value)
{
	unsigned long long number;

	if (number_of(value, UINT32_MAX, "a record's type", &number))
		return -1;
	self->record.type = (__u32)number;
	return 0;
}

static PyObject *get_position(OpenRecord *self)
{
	return PyLong_FromUnsignedLongLong(self->record.position);
}

static PyObject *get_sequence(OpenRecord *self)
{
	return PyLong_FromUnsignedLongLong(self->record.sequence);
}

static PyObject *get_time_ns(OpenRecord *self)
{
	return PyLong_FromUnsignedLongLong(self->record.time_ns);
}

static int OpenRecord_traverse(OpenRecord *self, visitproc visit, void *arg)
{
	Py_VISIT(self->ring);
	Py_VISIT(self->view);
	Py_VISIT(self->memory.obj);
	return 0;
}

static int OpenRecord_clear(OpenRecord *self)
{
	Py_CLEAR(self->view);
	return 0;
}

static void OpenRecord_dealloc(OpenRecord *self)
{
	PyObject *type, *value, *traceback, *view;

	PyObject_GC_UnTrack(self);
	PyErr_Fetch(&type, &value, &traceback);
	Py_BEGIN_CRITICAL_SECTION(self->ring);
	view = self->view;
	self->view = NULL;
	/* Left without __exit__: what was reserved is given up, what was looked at is there still. */
	if (self->state == RECORD_OPEN && ring_end_record(self, false))
		PyErr_Clear();
	unmap_if_unused(self);
	Py_END_CRITICAL_SECTION();
	PyErr_Restore(type, value, traceback);
	Py_XDECREF(view);
	Py_CLEAR(self->ring);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

#define IN_RING(type, object, call)	IN_SECTION(type, ((OpenRecord *)(object))->ring, call)

static PyObject *method_enter(PyObject *self, PyObject *ignored)
{
	return IN_RING(PyObject *, self, OpenRecord_enter((OpenRecord *)self, ignored));
}

static PyObject *method_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
	return IN_RING(PyObject *, self, OpenRecord_exit((OpenRecord *)self, args, nargs));
}

static PyObject *method_cancel(PyObject *self, PyObject *ignored)
{
	return IN_RING(PyObject *, self, OpenRecord_cancel((OpenRecord *)self, ignored));
}

static int method_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
	return IN_RING(int, self, OpenRecord_getbuffer((OpenRecord *)self, view, flags));
}

static void method_releasebuffer(PyObject *self, Py_buffer *view)
{
	Py_BEGIN_CRITICAL_SECTION(((OpenRecord *)self)->ring);
	OpenRecord_releasebuffer((OpenRecord *)self, view);
	Py_END_CRITICAL_SECTION();
}

/* Attributes: @closure is which. */
static PyObject *method_get(PyObject *self, void *closure)
{
	return IN_RING(PyObject *, self, ((PyObject *(*)(OpenRecord *))closure)((OpenRecord *)self));
}

static int set_size_in_ring(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
	return IN_RING(int, self, set_size((OpenRecord *)self, value));
}

static int set_type_in_ring(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
	return IN_RING(int, self, set_type((OpenRecord *)self, value));
}

static PyMethodDef reservation_methods[] = {
	{ "__enter__", METHOD(method_enter), METH_NOARGS,
	  PyDoc_STR("Wait for space and reserve it. Returns a memoryview of the bytes to fill, which are not zeroed.") },
	{ "__exit__", METHOD(method_exit), METH_FASTCALL,
	  PyDoc_STR("Put the record, or, on an exception, give it up.") },
	{ "cancel", METHOD(method_cancel), METH_NOARGS,
	  PyDoc_STR("cancel($self, /)\n--\n\nGive the record up: nothing is put.") },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef reservation_getset[] = {
	{ "size", method_get, set_size_in_ring,
	  PyDoc_STR("Bytes that will be put: as many as were reserved, or fewer if it is set so."), (void *)get_size },
	{ "type", method_get, set_type_in_ring, PyDoc_STR("A number of 32 bits that goes with the record."), (void *)get_type },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef view_methods[] = {
	{ "__enter__", METHOD(method_enter), METH_NOARGS,
	  PyDoc_STR("Wait for a record. Returns a memoryview of its bytes, which cannot be written.") },
	{ "__exit__", METHOD(method_exit), METH_FASTCALL,
	  PyDoc_STR("Take the record from the ring, or, on an exception, leave it there.") },
	{ "cancel", METHOD(method_cancel), METH_NOARGS,
	  PyDoc_STR("cancel($self, /)\n--\n\nLeave the record in the ring: it is the next again.") },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef view_getset[] = {
	{ "size", method_get, NULL, PyDoc_STR("Bytes of payload."), (void *)get_size },
	{ "type", method_get, NULL, PyDoc_STR("The number that its producer gave it."), (void *)get_type },
	{ "position", method_get, NULL, PyDoc_STR("As of Record."), (void *)get_position },
	{ "sequence", method_get, NULL, PyDoc_STR("As of Record."), (void *)get_sequence },
	{ "time_ns", method_get, NULL, PyDoc_STR("As of Record."), (void *)get_time_ns },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyBufferProcs buffer = {
	.bf_getbuffer = method_getbuffer,
	.bf_releasebuffer = method_releasebuffer,
};

#define OPEN_RECORD								\
	.tp_basicsize = sizeof(OpenRecord),					\
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,			\
	.tp_dealloc = (destructor)OpenRecord_dealloc,				\
	.tp_traverse = (traverseproc)OpenRecord_traverse,			\
	.tp_clear = (inquiry)OpenRecord_clear,					\
	.tp_as_buffer = &buffer

static PyTypeObject Reservation_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.Reservation",
	.tp_doc = PyDoc_STR("A record that is being written into a ring, of Ring.reserve()."),
	OPEN_RECORD,
	.tp_methods = reservation_methods,
	.tp_getset = reservation_getset,
};

static PyTypeObject RecordView_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.RecordView",
	.tp_doc = PyDoc_STR("A record that is being read in a ring, of Ring.view()."),
	OPEN_RECORD,
	.tp_methods = view_methods,
	.tp_getset = view_getset,
};

int record_types(PyObject *module)
{
	if (PyType_Ready(&Reservation_Type) || PyType_Ready(&RecordView_Type))
		return -1;
	Py_INCREF(&Reservation_Type);
	Py_INCREF(&RecordView_Type);
	return PyModule_AddObject(module, "Reservation", (PyObject *)&Reservation_Type) ||
	       PyModule_AddObject(module, "RecordView", (PyObject *)&RecordView_Type);
}
