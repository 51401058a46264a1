// SPDX-License-Identifier: MIT
/*
 * Conditions: semshare/core/condition.h around a lock, which is an object of its own.  A wait is one call, in which no
 * Python runs but handlers of signals, and those only where nothing is lost if they raise.
 */
#include "places.h"

#include <semshare/core/condition.h>

#include "clock.h"

/*
 * The Python class semshare.Condition is derived from it.  The methods that this file calls of it:
 *	_fail(errno, doing)		raise what that errno means; ENOSPC: there are too many waiters
 * and of the lock, a LockCore:
 *	held(), _release_save(), _acquire_restore(state)	which raises what handlers of signals did with the lock
 *								in hand, and anything else without
 */
typedef struct {
	PyObject_HEAD
	struct places places;
	PyObject *lock;
	bool own;		/* the lock goes when this object does */
} ConditionCore;

static PyObject *closed(ConditionCore *self)
{
	return core_misuse((PyObject *)self, PyExc_ValueError, "it is closed; open it anew");
}

static bool lock_is_held(ConditionCore *self)
{
	PyObject *held = PyObject_CallMethod(self->lock, "held", NULL);
	bool answer = held == Py_True;

	if (!held)
		PyErr_Clear();
	Py_XDECREF(held);
	return answer;
}

/* To be called by who owns the lock; and by others, with an exception, so that nothing is changed by two at once. */
static bool begin(ConditionCore *self, const char *unowned)
{
	if (!places_enter(&self->places)) {
		closed(self);
		return false;
	}
	if (lock_is_held(self))
		return true;
	places_leave(&self->places);
	core_misuse((PyObject *)self, PyExc_RuntimeError, unowned);
	return false;
}

/* --------------------------------------------------------------------- waiting */

static int look(struct places *places, const void *sleeper)
{
	return semshare_condition_look(&places->port, *(const unsigned int *)sleeper);
}

/* An exception that was put away. */
struct raised {
	PyObject *type, *value, *traceback;
};

/* The first counts: what is raised behind it is of no use to anybody. */
static void put_away(struct raised *raised)
{
	if (raised->type)
		PyErr_Clear();
	else
		PyErr_Fetch(&raised->type, &raised->value, &raised->traceback);
}

/*
 * One sleep, between giving the lock and having it again.  False: it could not be had again, and the place was given
 * back, or was never this process's.
 */
static bool sleep_unlocked(ConditionCore *self, unsigned int place, int64_t deadline, int *error,
			   struct raised *raised)
{
	PyObject *state = PyObject_CallMethod(self->lock, "_release_save", NULL);
	unsigned int generation = owner_generation;
	PyObject *done = NULL;

	if (state) {
		*error = places_sleep(&self->places, place, deadline, look, &place);
		if (*error == -1)
			put_away(raised);
		if (generation != owner_generation) {
			Py_DECREF(state);
			return false;
		}
		/* Who closes this closes a lock of its own as well, and does not wait for this thread to have it. */
		if (*error != ECANCELED || !self->own)
			done = PyObject_CallMethod(self->lock, "_acquire_restore", "(O)", state);
		Py_DECREF(state);
	}
	if (done) {
		Py_DECREF(done);
		return true;
	}
	if (PyErr_Occurred()) {
		*error = -1;
		put_away(raised);
	}
	if (lock_is_held(self))
		return true;
	if (generation == owner_generation)
		semshare_place_leave(&self->places.port, place);
	return false;
}

/* 1: notified, 0: not, -1: an exception. */
static int wait(ConditionCore *self, int64_t deadline)
{
	struct semshare_places_port *port = &self->places.port;
	struct raised raised = { NULL, NULL, NULL };
	unsigned int generation = owner_generation;
	int place = semshare_condition_enter(port, owner_self());
	int error, woken = 0;
	bool locked;

	if (place < 0) {
		core_fail((PyObject *)self, -place, "wait");
		return -1;
	}
	do {
		locked = sleep_unlocked(self, (unsigned int)place, deadline, &error, &raised);
		if (!locked || generation != owner_generation)
			break;
		semshare_condition_settle(port);
		/* Words that lie can say again and again that there is something to settle. */
		if (!error && PyErr_CheckSignals()) {
			error = -1;
			put_away(&raised);
		} else if (!error && deadline != NEVER && clock_now() >= deadline) {
			error = ETIMEDOUT;
		}
		/* Awake only to settle something that turned out to be nothing of its own? */
	} while (!error && generation == owner_generation &&
		 !semshare_condition_woken(port->places, (unsigned int)place));
	/* A handler of a signal has forked, and this is the child: the place is its parent's. */
	if (generation != owner_generation && !raised.type) {
		core_misuse((PyObject *)self, PyExc_RuntimeError, "wait: this process was forked in it; wait anew");
		return -1;
	}
	if (locked && generation == owner_generation)
		woken = semshare_condition_leave(port, (unsigned int)place, error && error != ETIMEDOUT);
	if (raised.type) {
		PyErr_Restore(raised.type, raised.value, raised.traceback);
		return -1;
	}
	if (error == ECANCELED)
		closed(self);
	else if (error && error != ETIMEDOUT)
		core_fail((PyObject *)self, error, "wait");
	else if (woken < 0)
		core_fail((PyObject *)self, -woken, "wait");
	else
		return woken;
	return -1;
}

static PyObject *ConditionCore_wait(ConditionCore *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "timeout", NULL };
	PyObject *timeout = Py_None;
	int64_t deadline;
	int woken;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:wait", names, &timeout) ||
	    places_deadline(timeout, &deadline) ||
	    !begin(self, "wait: this thread does not hold its lock; acquire it first"))
		return NULL;
	woken = wait(self, deadline);
	places_leave(&self->places);
	return woken < 0 ? NULL : PyBool_FromLong(woken);
}

/* ------------------------------------------------------------------- notifying */

static PyObject *notify(ConditionCore *self, __u32 count)
{
	int woken;

	if (!begin(self, "notify: this thread does not hold its lock; acquire it first"))
		return NULL;
	woken = semshare_condition_tell(&self->places.port, count);
	places_leave(&self->places);
	if (woken < 0)
		return core_fail((PyObject *)self, -woken, "notify");
	Py_RETURN_NONE;
}

static PyObject *ConditionCore_notify(ConditionCore *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "n", NULL };
	Py_ssize_t count = 1;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:notify", names, &count))
		return NULL;
	if (count < 0) {
		PyErr_Format(PyExc_ValueError, "notify: n is %zd: it is how many to wake, 0 or more", count);
		return NULL;
	}
	return notify(self, count < SEMSHARE_PLACES ? (__u32)count : SEMSHARE_CONDITION_ALL);
}

static PyObject *ConditionCore_notify_all(ConditionCore *self, PyObject *Py_UNUSED(ignored))
{
	return notify(self, SEMSHARE_CONDITION_ALL);
}

/* How many wait: a look without the lock. */
static PyObject *ConditionCore_waiting(ConditionCore *self, PyObject *Py_UNUSED(ignored))
{
	const struct semshare_places *places;
	unsigned int place;
	long count = 0;

	if (!places_enter(&self->places))
		return closed(self);
	places = self->places.port.places;
	for (place = 0; place < SEMSHARE_PLACES; place++)
		if (semshare_load(&places->waiters[place].state) == SEMSHARE_WAITER_WAITS)
			count += semshare_place_lives(&self->places.port, place);
	places_leave(&self->places);
	return PyLong_FromLong(count);
}

/* -------------------------------------------------------------------- the lock */

/* acquire() and acquire_nowait() and release() are the lock's own. */
static PyObject *ConditionCore_of_lock(ConditionCore *self, void *name)
{
	if (!self->lock)
		return closed(self);
	return PyObject_GetAttrString(self->lock, name);
}

static PyObject *ConditionCore_enter(ConditionCore *self, PyObject *Py_UNUSED(ignored))
{
	PyObject *entered = self->lock ? PyObject_CallMethod(self->lock, "__enter__", NULL) : closed(self);

	if (!entered)
		return NULL;
	Py_DECREF(entered);
	Py_INCREF(self);
	return (PyObject *)self;
}

/*
 * An exception that is on its way out of a wait() that could not have the lock again says why; that the lock cannot be
 * released then says nothing.
 */
static PyObject *ConditionCore_exit(ConditionCore *self, PyObject *const *args, Py_ssize_t nargs)
{
	if (!self->lock)
		return closed(self);
	if (nargs && args[0] != Py_None && !lock_is_held(self))
		Py_RETURN_NONE;
	return PyObject_CallMethod(self->lock, "release", NULL);
}

/* -------------------------------------------------- a wait piece by piece, for asyncio */

static PyObject *ConditionCore_place_enter(ConditionCore *self, PyObject *Py_UNUSED(ignored))
{
	int place;

	if (!begin(self, "wait: its lock is not held; acquire it first"))
		return NULL;
	place = semshare_condition_enter(&self->places.port, owner_self());
	places_leave(&self->places);
	return place < 0 ? core_fail((PyObject *)self, -place, "wait") : PyLong_FromLong(place);
}

static bool parse_place(unsigned int place)
{
	if (place < SEMSHARE_PLACES)
		return true;
	PyErr_SetString(PyExc_ValueError, "there is no such place");
	return false;
}

static PyObject *ConditionCore_place_sleep(ConditionCore *self, PyObject *args)
{
	unsigned int place;
	PyObject *timeout;
	int64_t deadline;
	int error;

	if (!PyArg_ParseTuple(args, "IO:_sleep", &place, &timeout) || !parse_place(place) ||
	    places_deadline(timeout, &deadline))
		return NULL;
	if (!places_enter(&self->places))
		return closed(self);
	error = places_sleep(&self->places, place, deadline, look, &place);
	places_leave(&self->places);
	if (error == ECANCELED)
		return closed(self);
	if (error && error != ETIMEDOUT)
		return error == -1 ? NULL : core_fail((PyObject *)self, error, "wait");
	return PyBool_FromLong(!error);
}

/* Whoever sleeps in that place is to end that now. */
static PyObject *ConditionCore_place_rouse(ConditionCore *self, PyObject *args)
{
	unsigned int place;

	if (!PyArg_ParseTuple(args, "I:_rouse", &place) || !parse_place(place))
		return NULL;
	if (places_enter(&self->places)) {
		places_rouse(&self->places, place);
		places_leave(&self->places);
	}
	Py_RETURN_NONE;
}

static PyObject *ConditionCore_place_woken(ConditionCore *self, PyObject *args)
{
	unsigned int place;
	int woken;

	if (!PyArg_ParseTuple(args, "I:_woken", &place) || !parse_place(place) ||
	    !begin(self, "wait: its lock is not held; acquire it first"))
		return NULL;
	semshare_condition_settle(&self->places.port);
	woken = semshare_condition_woken(self->places.port.places, place);
	places_leave(&self->places);
	return PyBool_FromLong(woken);
}

static PyObject *ConditionCore_place_leave(ConditionCore *self, PyObject *args)
{
	int interrupted, woken;
	unsigned int place;

	if (!PyArg_ParseTuple(args, "Ip:_leave", &place, &interrupted) || !parse_place(place) ||
	    !begin(self, "wait: its lock is not held; acquire it first"))
		return NULL;
	woken = semshare_condition_leave(&self->places.port, place, interrupted);
	places_leave(&self->places);
	return woken < 0 ? core_fail((PyObject *)self, -woken, "wait") : PyBool_FromLong(woken);
}

/* Not with places_enter(): that it is closed is when it is needed. */
static PyObject *ConditionCore_place_abandon(ConditionCore *self, PyObject *args)
{
	unsigned int place;

	if (!PyArg_ParseTuple(args, "I:_abandon", &place) || !parse_place(place))
		return NULL;
	if (self->places.port.change)
		self->places.port.change(&self->places.port, place, -SEMSHARE_PLACE_LIVES);
	Py_RETURN_NONE;
}

/* --------------------------------------------------------------- beginning and end */

/* _open(semid, memory, lock, own, key, number): the lock is semaphore @number of the set of that key. */
static PyObject *ConditionCore_open(ConditionCore *self, PyObject *args)
{
	unsigned int key, number;
	PyObject *memory, *lock;
	int semid, own, error;

	if (!PyArg_ParseTuple(args, "iOO!pII:_open", &semid, &memory, &LockCore_Type, &lock, &own, &key, &number))
		return NULL;
	if (places_open(&self->places, semid, memory))
		return NULL;
	error = semshare_condition_guard(self->places.port.places, key, number);
	if (error) {
		places_free(&self->places);
		return core_fail((PyObject *)self, -error, "open");
	}
	Py_INCREF(lock);
	Py_XSETREF(self->lock, lock);
	self->own = own;
	Py_RETURN_NONE;
}

static PyObject *ConditionCore_close(ConditionCore *self, PyObject *Py_UNUSED(ignored))
{
	places_close(&self->places);
	Py_RETURN_NONE;
}

static PyObject *ConditionCore_get_semid(ConditionCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->places.semid);
}

static PyObject *ConditionCore_get_closed(ConditionCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->places.open);
}

static PyObject *ConditionCore_get_lock(ConditionCore *self, void *Py_UNUSED(closure))
{
	PyObject *lock = self->lock ? self->lock : Py_None;

	Py_INCREF(lock);
	return lock;
}

static int ConditionCore_traverse(ConditionCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->lock);
	return 0;
}

static int ConditionCore_clear(ConditionCore *self)
{
	Py_CLEAR(self->lock);
	return 0;
}

static void ConditionCore_dealloc(ConditionCore *self)
{
	PyObject_GC_UnTrack(self);
	places_free(&self->places);
	Py_CLEAR(self->lock);
	/* As of LockCore: a class derived in Python is let go of by its own dealloc. */
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
	{ "wait", (PyCFunction)(void (*)(void))ConditionCore_wait, METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("wait($self, /, timeout=None)\n--\n\n"
		    "Give the lock, wait to be notified, and take the lock again.\n\n"
		    "Waits at most `timeout` seconds for that, None: without limit, and then for the lock. A lock that was\n"
		    "taken several times is given, and taken again, as often. A signal's handler runs meanwhile; if it\n"
		    "raises, as Ctrl-C does, the exception leaves with the lock held, and a notification that was for this\n"
		    "one goes on to another.\n\n"
		    "Returns:\n    True if it was notified, False if the time was over.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold the lock.\n"
		    "    LimitReached: 248 wait already.\n"
		    "    Removed: the set was removed, or that of the lock: then it is not held.\n"
		    "    OwnerDied: of a lock that was opened with on_owner_died=\"raise\": it is held.\n") },
	{ "notify", (PyCFunction)(void (*)(void))ConditionCore_notify, METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("notify($self, /, n=1)\n--\n\n"
		    "Wake those n who wait longest, or all if there are not so many.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold the lock.\n"
		    "    Removed: the set was removed.\n") },
	{ "notify_all", (PyCFunction)ConditionCore_notify_all, METH_NOARGS,
	  PyDoc_STR("notify_all($self, /)\n--\n\nWake all who wait.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold the lock.\n"
		    "    Removed: the set was removed.\n") },
	{ "__enter__", (PyCFunction)ConditionCore_enter, METH_NOARGS, PyDoc_STR("acquire(), and return the condition.") },
	{ "__exit__", (PyCFunction)(void (*)(void))ConditionCore_exit, METH_FASTCALL, PyDoc_STR("release()") },
	{ "_waiting", (PyCFunction)ConditionCore_waiting, METH_NOARGS, NULL },
	{ "_enter", (PyCFunction)ConditionCore_place_enter, METH_NOARGS, NULL },
	{ "_sleep", (PyCFunction)ConditionCore_place_sleep, METH_VARARGS, NULL },
	{ "_rouse", (PyCFunction)ConditionCore_place_rouse, METH_VARARGS, NULL },
	{ "_woken", (PyCFunction)ConditionCore_place_woken, METH_VARARGS, NULL },
	{ "_leave", (PyCFunction)ConditionCore_place_leave, METH_VARARGS, NULL },
	{ "_abandon", (PyCFunction)ConditionCore_place_abandon, METH_VARARGS, NULL },
	{ "_open", (PyCFunction)ConditionCore_open, METH_VARARGS, NULL },
	{ "_close", (PyCFunction)ConditionCore_close, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef attributes[] = {
	{ "acquire", (getter)ConditionCore_of_lock, NULL, PyDoc_STR("That of the lock."), "acquire" },
	{ "acquire_nowait", (getter)ConditionCore_of_lock, NULL, PyDoc_STR("That of the lock."), "acquire_nowait" },
	{ "release", (getter)ConditionCore_of_lock, NULL, PyDoc_STR("That of the lock."), "release" },
	{ "semid", (getter)ConditionCore_get_semid, NULL, PyDoc_STR("The set's id."), NULL },
	{ "closed", (getter)ConditionCore_get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ "_lock", (getter)ConditionCore_get_lock, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject ConditionCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.ConditionCore",
	.tp_basicsize = sizeof(ConditionCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("The native part of semshare.Condition."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = (destructor)ConditionCore_dealloc,
	.tp_traverse = (traverseproc)ConditionCore_traverse,
	.tp_clear = (inquiry)ConditionCore_clear,
	.tp_methods = methods,
	.tp_getset = attributes,
};
