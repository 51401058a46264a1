// SPDX-License-Identifier: MIT
/*
 * Barriers: semshare/core/barrier.h around a lock of their own, an object.  A wait is one call, in which no Python runs
 * but the action, by the owner of the lock, and handlers of signals, where nothing is lost if they raise.
 */
#include "places.h"

#include <semshare/core/barrier.h>

#include "clock.h"

/*
 * The Python class semshare.Barrier is derived from it.  The methods that this file calls of it:
 *	_fail(errno, doing)		raise what that errno means; EPIPE: it is broken, ENOSPC: too many are inside
 * and of the lock, a LockCore:
 *	acquire(), release()
 */
typedef struct {
	PyObject_HEAD
	struct places places;
	PyObject *lock;
	__u32 parties;
} BarrierCore;

static PyObject *closed(BarrierCore *self)
{
	return core_misuse((PyObject *)self, PyExc_ValueError, "it is closed; open it anew");
}

static bool begin(BarrierCore *self)
{
	if (places_enter(&self->places))
		return true;
	closed(self);
	return false;
}

static bool call_lock(BarrierCore *self, const char *method)
{
	PyObject *result = PyObject_CallMethod(self->lock, method, NULL);

	Py_XDECREF(result);
	return result != NULL;
}

/* As call_lock(), where an exception may be on its way: that stays the one. */
static bool release_lock(BarrierCore *self)
{
	PyObject *type, *value, *traceback;
	bool released;

	PyErr_Fetch(&type, &value, &traceback);
	released = call_lock(self, "release");
	if (type) {
		PyErr_Clear();
		PyErr_Restore(type, value, traceback);
	}
	return released;
}

static int look(struct places *places, const void *sleeper)
{
	return semshare_barrier_outcome(places->port.places, sleeper) != -EAGAIN;
}

/* By the last, with the lock.  0; -1: an exception, and the barrier is broken. */
static int open_barrier(BarrierCore *self, PyObject *action)
{
	unsigned int generation = owner_generation;
	PyObject *done = action == Py_None ? NULL : PyObject_CallObject(action, NULL);
	int error;

	/* It has forked, and this is the child: the lock is its parent's, and so is opening. */
	if (generation != owner_generation) {
		Py_XDECREF(done);
		if (done)
			core_misuse((PyObject *)self, PyExc_RuntimeError, "wait: this process was forked in it; wait anew");
		return -1;
	}
	if (done || action == Py_None) {
		Py_XDECREF(done);
		error = semshare_barrier_let_pass(&self->places.port);
		if (!error)
			return 0;
		core_fail((PyObject *)self, -error, "wait");
		return -1;
	}
	semshare_barrier_break(&self->places.port);
	return -1;
}

/* In its place, without the lock.  0: it has opened; else an errno, EPIPE if it is broken, or -1: an exception. */
static int sleep_until_open(BarrierCore *self, const struct semshare_barrier_arrival *arrival, int64_t deadline)
{
	struct semshare_places_port *port = &self->places.port;
	unsigned int generation = owner_generation;
	int error = places_sleep(&self->places, arrival->place, deadline, look, arrival);

	if (!error) {
		error = -semshare_barrier_outcome(port->places, arrival);
	} else if (error == ETIMEDOUT) {
		error = -1;
		if (call_lock(self, "acquire")) {
			if (generation == owner_generation)
				error = -semshare_barrier_give_up(port, arrival);
			if (!call_lock(self, "release"))
				error = -1;
		}
	}
	/* A handler of a signal has forked, and this is the child: the place is its parent's. */
	if (generation != owner_generation) {
		if (!PyErr_Occurred())
			core_misuse((PyObject *)self, PyExc_RuntimeError, "wait: this process was forked in it; wait anew");
		return -1;
	}
	semshare_barrier_leave(port, arrival);
	return error;
}

/* The number of this party, or -1: an exception. */
static long wait(BarrierCore *self, int64_t deadline, PyObject *action)
{
	struct semshare_barrier_arrival arrival;
	int last, error = 0;

	if (!call_lock(self, "acquire"))
		return -1;
	last = semshare_barrier_arrive(&self->places.port, self->parties, owner_self(), &arrival);
	if (last == 1)
		error = open_barrier(self, action);
	else if (last < 0)
		error = -last;
	if (!release_lock(self)) {
		if (!last)
			semshare_barrier_leave(&self->places.port, &arrival);
		return -1;
	}
	if (!last)
		error = sleep_until_open(self, &arrival, deadline);
	if (error == ECANCELED)
		closed(self);
	else if (error > 0)
		core_fail((PyObject *)self, error, "wait");
	return error ? -1 : (long)arrival.index;
}

/* _wait(timeout, action) */
static PyObject *BarrierCore_wait(BarrierCore *self, PyObject *args)
{
	PyObject *timeout, *action;
	int64_t deadline;
	long index;

	if (!PyArg_ParseTuple(args, "OO:_wait", &timeout, &action) || places_deadline(timeout, &deadline) || !begin(self))
		return NULL;
	index = wait(self, deadline, action);
	places_leave(&self->places);
	return index < 0 ? NULL : PyLong_FromLong(index);
}

static PyObject *by_owner(BarrierCore *self, int (*change)(struct semshare_places_port *port), const char *doing)
{
	int error;

	if (!begin(self))
		return NULL;
	if (!call_lock(self, "acquire")) {
		places_leave(&self->places);
		return NULL;
	}
	error = change(&self->places.port);
	if (!call_lock(self, "release"))
		error = 1;
	places_leave(&self->places);
	if (error < 0)
		core_fail((PyObject *)self, -error, doing);
	if (error)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *BarrierCore_abort(BarrierCore *self, PyObject *Py_UNUSED(ignored))
{
	return by_owner(self, semshare_barrier_break, "abort");
}

static PyObject *BarrierCore_reset(BarrierCore *self, PyObject *Py_UNUSED(ignored))
{
	return by_owner(self, semshare_barrier_renew, "reset");
}

static PyObject *BarrierCore_get_n_waiting(BarrierCore *self, void *Py_UNUSED(closure))
{
	long count;

	if (!begin(self))
		return NULL;
	count = (long)semshare_barrier_waiting(&self->places.port);
	places_leave(&self->places);
	return PyLong_FromLong(count);
}

static PyObject *BarrierCore_get_broken(BarrierCore *self, void *Py_UNUSED(closure))
{
	bool broken;

	if (!begin(self))
		return NULL;
	broken = semshare_load(&self->places.port.places->broken);
	places_leave(&self->places);
	return PyBool_FromLong(broken);
}

/* -------------------------------------------------- a wait piece by piece, for asyncio */

/* (last, place, index, generation) of one who has come; the lock is held. */
static PyObject *BarrierCore_arrive(BarrierCore *self, PyObject *Py_UNUSED(ignored))
{
	struct semshare_barrier_arrival arrival;
	int last;

	if (!begin(self))
		return NULL;
	last = semshare_barrier_arrive(&self->places.port, self->parties, owner_self(), &arrival);
	places_leave(&self->places);
	if (last < 0)
		return core_fail((PyObject *)self, -last, "wait");
	return Py_BuildValue("NIIK", PyBool_FromLong(last), arrival.place, arrival.index,
			     (unsigned long long)arrival.generation);
}

static bool parse_arrival(PyObject *args, struct semshare_barrier_arrival *arrival, PyObject **timeout)
{
	unsigned long long generation;

	if (!PyArg_ParseTuple(args, timeout ? "IIKO" : "IIK", &arrival->place, &arrival->index, &generation, timeout))
		return false;
	arrival->generation = generation;
	if (arrival->place < SEMSHARE_PLACES)
		return true;
	PyErr_SetString(PyExc_ValueError, "there is no such place");
	return false;
}

/* Whether it has opened, within so many seconds; the lock is not held. */
static PyObject *BarrierCore_sleep(BarrierCore *self, PyObject *args)
{
	struct semshare_barrier_arrival arrival;
	PyObject *timeout;
	int64_t deadline;
	int error;

	if (!parse_arrival(args, &arrival, &timeout) || places_deadline(timeout, &deadline) || !begin(self))
		return NULL;
	error = places_sleep(&self->places, arrival.place, deadline, look, &arrival);
	if (!error)
		error = -semshare_barrier_outcome(self->places.port.places, &arrival);
	places_leave(&self->places);
	if (error == ECANCELED)
		return closed(self);
	if (error && error != ETIMEDOUT)
		return error == -1 ? NULL : core_fail((PyObject *)self, error, "wait");
	return PyBool_FromLong(!error);
}

/* Whoever sleeps in that place is to end that now. */
static PyObject *BarrierCore_rouse(BarrierCore *self, PyObject *args)
{
	struct semshare_barrier_arrival arrival;

	if (!parse_arrival(args, &arrival, NULL))
		return NULL;
	if (places_enter(&self->places)) {
		places_rouse(&self->places, arrival.place);
		places_leave(&self->places);
	}
	Py_RETURN_NONE;
}

/* The lock is held. */
static PyObject *end(BarrierCore *self, int (*change)(struct semshare_places_port *port), const char *doing)
{
	int error;

	if (!begin(self))
		return NULL;
	error = change(&self->places.port);
	places_leave(&self->places);
	if (error)
		return core_fail((PyObject *)self, -error, doing);
	Py_RETURN_NONE;
}

/* Let all through. */
static PyObject *BarrierCore_let_through(BarrierCore *self, PyObject *Py_UNUSED(ignored))
{
	return end(self, semshare_barrier_let_pass, "wait");
}

/* abort() and reset(), by who has the lock. */
static PyObject *BarrierCore_break(BarrierCore *self, PyObject *Py_UNUSED(ignored))
{
	return end(self, semshare_barrier_break, "abort");
}

static PyObject *BarrierCore_renew(BarrierCore *self, PyObject *Py_UNUSED(ignored))
{
	return end(self, semshare_barrier_renew, "reset");
}

/* The time is over: it is broken, unless it has opened just now; the lock is held. */
static PyObject *BarrierCore_give_up(BarrierCore *self, PyObject *args)
{
	struct semshare_barrier_arrival arrival;
	int error;

	if (!parse_arrival(args, &arrival, NULL) || !begin(self))
		return NULL;
	error = semshare_barrier_give_up(&self->places.port, &arrival);
	places_leave(&self->places);
	if (error)
		return core_fail((PyObject *)self, -error, "wait");
	Py_RETURN_NONE;
}

/* To be called in any case, once, by who had a place; the lock may be held. */
static PyObject *BarrierCore_leave(BarrierCore *self, PyObject *args)
{
	struct semshare_barrier_arrival arrival;

	if (!parse_arrival(args, &arrival, NULL))
		return NULL;
	if (self->places.port.change)
		semshare_barrier_leave(&self->places.port, &arrival);
	Py_RETURN_NONE;
}

/* --------------------------------------------------------------- beginning and end */

/* _open(semid, memory, lock, parties) */
static PyObject *BarrierCore_open(BarrierCore *self, PyObject *args)
{
	PyObject *memory, *lock;
	unsigned int parties;
	int semid;

	if (!PyArg_ParseTuple(args, "iOO!I:_open", &semid, &memory, &LockCore_Type, &lock, &parties))
		return NULL;
	if (!parties || parties > SEMSHARE_PLACES) {
		PyErr_Format(PyExc_ValueError, "a barrier is of 1 to %d parties", SEMSHARE_PLACES);
		return NULL;
	}
	if (places_open(&self->places, semid, memory))
		return NULL;
	Py_INCREF(lock);
	Py_XSETREF(self->lock, lock);
	self->parties = parties;
	Py_RETURN_NONE;
}

static PyObject *BarrierCore_close(BarrierCore *self, PyObject *Py_UNUSED(ignored))
{
	places_close(&self->places);
	Py_RETURN_NONE;
}

static PyObject *BarrierCore_get_semid(BarrierCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->places.semid);
}

static PyObject *BarrierCore_get_closed(BarrierCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->places.open);
}

static PyObject *BarrierCore_get_parties(BarrierCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLong(self->parties);
}

static PyObject *BarrierCore_get_lock(BarrierCore *self, void *Py_UNUSED(closure))
{
	PyObject *lock = self->lock ? self->lock : Py_None;

	Py_INCREF(lock);
	return lock;
}

static int BarrierCore_traverse(BarrierCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->lock);
	return 0;
}

static int BarrierCore_clear(BarrierCore *self)
{
	Py_CLEAR(self->lock);
	return 0;
}

static void BarrierCore_dealloc(BarrierCore *self)
{
	PyObject_GC_UnTrack(self);
	places_free(&self->places);
	Py_CLEAR(self->lock);
	/* As of LockCore: a class derived in Python is let go of by its own dealloc. */
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
	{ "abort", (PyCFunction)BarrierCore_abort, METH_NOARGS,
	  PyDoc_STR("abort($self, /)\n--\n\nBreak it: who waits, or comes before reset(), gets BrokenBarrier.") },
	{ "reset", (PyCFunction)BarrierCore_reset, METH_NOARGS,
	  PyDoc_STR("reset($self, /)\n--\n\nBegin anew: who waits gets BrokenBarrier, who comes later waits again.") },
	{ "_wait", (PyCFunction)BarrierCore_wait, METH_VARARGS, NULL },
	{ "_arrive", (PyCFunction)BarrierCore_arrive, METH_NOARGS, NULL },
	{ "_sleep", (PyCFunction)BarrierCore_sleep, METH_VARARGS, NULL },
	{ "_rouse", (PyCFunction)BarrierCore_rouse, METH_VARARGS, NULL },
	{ "_let_through", (PyCFunction)BarrierCore_let_through, METH_NOARGS, NULL },
	{ "_break", (PyCFunction)BarrierCore_break, METH_NOARGS, NULL },
	{ "_reset", (PyCFunction)BarrierCore_renew, METH_NOARGS, NULL },
	{ "_give_up", (PyCFunction)BarrierCore_give_up, METH_VARARGS, NULL },
	{ "_leave", (PyCFunction)BarrierCore_leave, METH_VARARGS, NULL },
	{ "_open", (PyCFunction)BarrierCore_open, METH_VARARGS, NULL },
	{ "_close", (PyCFunction)BarrierCore_close, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef attributes[] = {
	{ "n_waiting", (getter)BarrierCore_get_n_waiting, NULL, PyDoc_STR("How many wait now, in all processes."), NULL },
	{ "broken", (getter)BarrierCore_get_broken, NULL, PyDoc_STR("Whether it is broken."), NULL },
	{ "parties", (getter)BarrierCore_get_parties, NULL, PyDoc_STR("How many it takes to open it."), NULL },
	{ "semid", (getter)BarrierCore_get_semid, NULL, PyDoc_STR("The set's id."), NULL },
	{ "closed", (getter)BarrierCore_get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ "_lock", (getter)BarrierCore_get_lock, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject BarrierCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.BarrierCore",
	.tp_basicsize = sizeof(BarrierCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("The native part of semshare.Barrier."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = (destructor)BarrierCore_dealloc,
	.tp_traverse = (traverseproc)BarrierCore_traverse,
	.tp_clear = (inquiry)BarrierCore_clear,
	.tp_methods = methods,
	.tp_getset = attributes,
};
