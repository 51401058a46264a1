// SPDX-License-Identifier: MIT
#include "native.h"

#include <sys/ipc.h>
#include <sys/sem.h>

#include <semshare/core/variants.h>

#include "clock.h"

/* The locks of this process: who waits looks through them whether it waits for itself.  Under the GIL. */
static LockCore *locks;

static bool held_by_me(const LockCore *self)
{
	return self->holder && self->generation == owner_generation && self->holder == owner_self()->tid;
}

static bool held_here(const LockCore *self)
{
	return self->holder && self->generation == owner_generation;
}

/* Does this thread hold the lock of @semid, by way of whichever object? */
bool lock_held_by_this_thread(int semid)
{
	LockCore *lock;

	for (lock = locks; lock; lock = lock->next)
		if (lock->mutex.semid == semid && held_by_me(lock))
			return true;
	return false;
}

/* --------------------------------------------------------------- arguments */

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

		if (truth < 0)
			return -1;
		*blocking = truth;
	}
	if (values[1] && values[1] != Py_None) {
		*timeout = PyFloat_AsDouble(values[1]);
		if (*timeout == -1.0 && PyErr_Occurred())
			return -1;
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
		if (timeout > 9e9) {	/* 285 years: the end of int64_t in nanoseconds */
			PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
			return -1;
		}
	}
	if (!blocking)
		*deadline = 0;
	else if (timeout == -1.0)
		*deadline = NEVER;
	else
		*deadline = clock_now() + (int64_t)(timeout * NS_PER_S);
	return 0;
}

/* ------------------------------------------------------------------ taking */

/* Raise: "WHAT LOCK: message". */
static PyObject *misuse(LockCore *self, PyObject *exception, const char *message)
{
	PyObject *what = PyObject_GetAttrString((PyObject *)self, "_what");

	if (what) {
		PyErr_Format(exception, "%S: %s", what, message);
		Py_DECREF(what);
	}
	return NULL;
}

static PyObject *fail(LockCore *self, int error, const char *doing)
{
	PyObject *result;

	if (self->closing || !self->open) {
		return misuse(self, PyExc_ValueError, "it is closed; open it anew");
	}
	result = PyObject_CallMethod((PyObject *)self, "_fail", "is", error, doing);
	if (result) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "_fail() returned");
	}
	return NULL;
}

/* The owner before died inside.  On an exception the lock goes back as it was found.  Returns false on an exception. */
static bool see_to_death(LockCore *self)
{
	const struct semshare_owner *dead = &self->holding.dead;
	struct semshare_ring_port port;
	PyObject *type, *value, *traceback;

	if (self->ring && !semshare_ring_check(&port, self->ring, self->ring_size) && port.variant->locked &&
	    semshare_sysv_repair(&port.view))
		semshare_ring_tell_broken(self->ring, SEMSHARE_RING_BAD_REPAIR);
	self->owner_died = PyObject_CallMethod((PyObject *)self, "_owner_died", "IIIK", dead->kind, dead->pid,
					       dead->tid, (unsigned long long)dead->start);
	if (self->owner_died)
		return true;
	PyErr_Fetch(&type, &value, &traceback);
	/* Unless the callback has given the lock back itself. */
	if (held_by_me(self)) {
		self->holder = 0;
		mutex_give_unrepaired(&self->mutex, &self->holding);
	}
	PyErr_Restore(type, value, traceback);
	return false;
}

/* The semaphore is ours; note it.  Returns false on an exception, the lock given back. */
static inline bool taken(LockCore *self, const struct mutex_holding *holding, bool contended, int64_t waited)
{
	self->holding = *holding;
	self->holder = owner_self()->tid;
	self->generation = owner_generation;
	mutex_count(&self->waits, contended, waited);
	if (self->owner_died)
		Py_CLEAR(self->owner_died);
	return !holding->died || see_to_death(self);
}

static void release_memory(LockCore *self)
{
	self->mutex.state = NULL;
	self->ring = NULL;
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
}

/* Returns 1 if taken, 0 if the time is over, -1 on an exception. */
static int wait(LockCore *self, int64_t deadline)
{
	struct mutex_holding holding;
	pid_t dead_holder = 0;
	int64_t began;
	int error;

	if (lock_held_by_this_thread(self->mutex.semid)) {
		misuse(self, PyExc_RuntimeError,
		       "acquire: this thread holds it already and would wait for itself for ever; release it first");
		return -1;
	}
	began = clock_now();
	inside_enter(&self->waiting);
	do {
		Py_BEGIN_ALLOW_THREADS
		error = mutex_wait(&self->mutex, deadline, &self->closing, &holding, &dead_holder);
		Py_END_ALLOW_THREADS
		if (!error && self->closing) {
			/* Whose death we found nobody has seen to: the next owner is to find it as well. */
			if (holding.died)
				mutex_give_unrepaired(&self->mutex, &holding);
			else
				mutex_give(&self->mutex, &holding);
			error = ECANCELED;
		}
		/* With the lock in hand no handler runs here: the interpreter does that later, when we have returned. */
		if ((error == EINTR || error == EAGAIN) && PyErr_CheckSignals())
			error = -1;
	} while (error == EINTR || error == EAGAIN);
	inside_leave(&self->waiting);
	if (self->closing && !inside_count(&self->waiting))
		release_memory(self);
	switch (error) {
	case 0:
		return taken(self, &holding, true, clock_now() - began) ? 1 : -1;
	case ETIMEDOUT:
		return 0;
	case -1:
		return -1;
	case EOWNERDEAD: {
		PyObject *result = PyObject_CallMethod((PyObject *)self, "_holder_dead", "i", (int)dead_holder);

		Py_XDECREF(result);
		if (result)
			PyErr_SetString(PyExc_SystemError, "_holder_dead() returned");
		return -1;
	}
	default:
		fail(self, error, "acquire");
		return -1;
	}
}

/*
 * Try, with the GIL held: one system call.  Where the epoch says that an owner is at work the try is left to
 * mutex_wait(), which looks for a moment when it can succeed.  Returns as wait(); 0 means that it has to be waited for.
 */
static inline int try_now(LockCore *self, bool only)
{
	struct mutex_holding holding;
	int error;

	if (!self->open) {
		fail(self, 0, "acquire");
		return -1;
	}
	if (!only && self->mutex.state && semshare_load(&self->mutex.state->epoch) & 1 && mutex_spin_ns() >= 0)
		return 0;
	error = mutex_try(&self->mutex, &holding);
	if (!error)
		return taken(self, &holding, false, 0) ? 1 : -1;
	if (error == EAGAIN)
		return 0;
	fail(self, error, "acquire");
	return -1;
}

static PyObject *LockCore_acquire(LockCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	int64_t deadline;
	bool blocking;
	double timeout;
	int result;

	if (parse_wait("acquire", args, nargs, kwnames, 0, &blocking, &timeout, NULL) ||
	    deadline_from(blocking, timeout, &deadline))
		return NULL;
	result = try_now(self, !blocking);
	if (!result && blocking)
		result = wait(self, deadline);
	return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *LockCore_enter(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	int result = try_now(self, false);

	if (!result)
		result = wait(self, NEVER);
	if (result < 0)
		return NULL;
	Py_INCREF(self);
	return (PyObject *)self;
}

/* ------------------------------------------------------------------ giving */

static bool give(LockCore *self)
{
	int error;

	if (!held_by_me(self)) {
		if (held_here(self))
			misuse(self, PyExc_RuntimeError,
			       "release: another thread holds it; release it in the thread that acquired it");
		else
			misuse(self, PyExc_RuntimeError, self->holder ?
			       "release: it was acquired before the fork, by the parent; let the parent release it" :
			       "release: it was not acquired by this object; acquire it first");
		return false;
	}
	/* Before the V: behind it a thread of ours that waited may have it. */
	self->holder = 0;
	error = mutex_give(&self->mutex, &self->holding);
	if (error) {
		fail(self, error, "release");
		return false;
	}
	return true;
}

static PyObject *LockCore_release(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!give(self))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *LockCore_exit(LockCore *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
	if (!give(self))
		return NULL;
	Py_RETURN_NONE;
}

/* ----------------------------------------------------------------- looking */

static PyObject *LockCore_locked(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	int value;

	if (!self->open)
		return fail(self, 0, "locked");
	value = semctl(self->mutex.semid, 0, GETVAL);
	if (value < 0)
		return fail(self, errno, "locked");
	return PyBool_FromLong(value == 0);
}

static PyObject *LockCore_held(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	return PyBool_FromLong(held_by_me(self));
}

/* (epoch, kind, pid, tid, start, deaths) as the words say now, None without them. */
static PyObject *LockCore_words(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	const struct semshare_lock_state *state = self->mutex.state;

	if (!state)
		Py_RETURN_NONE;
	return Py_BuildValue("IIIIKK", semshare_load_acquire(&state->epoch), semshare_load(&state->owner_kind),
			     semshare_load(&state->owner_pid), semshare_load(&state->owner_tid),
			     (unsigned long long)semshare_load(&state->owner_start),
			     (unsigned long long)semshare_load(&state->deaths));
}

static PyObject *LockCore_counts(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	PyObject *waits = PyList_New(MUTEX_BUCKETS);
	int i;

	if (!waits)
		return NULL;
	for (i = 0; i < MUTEX_BUCKETS; i++) {
		PyObject *count = PyLong_FromUnsignedLongLong(self->waits.wait_ns[i]);

		if (!count) {
			Py_DECREF(waits);
			return NULL;
		}
		PyList_SET_ITEM(waits, i, count);
	}
	return Py_BuildValue("KKN", (unsigned long long)self->waits.acquisitions,
			     (unsigned long long)self->waits.contended, waits);
}

static PyObject *LockCore_get_semid(LockCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->mutex.semid);
}

static PyObject *LockCore_get_closed(LockCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}

static PyObject *LockCore_get_owner_died(LockCore *self, void *Py_UNUSED(closure))
{
	PyObject *died = self->owner_died ? self->owner_died : Py_None;

	Py_INCREF(died);
	return died;
}

/* ------------------------------------------------------ beginning and end */

static void unlist(LockCore *self)
{
	if (self->previous)
		self->previous->next = self->next;
	else if (locks == self)
		locks = self->next;
	if (self->next)
		self->next->previous = self->previous;
	self->next = self->previous = NULL;
}

/* _open(semid, memory, offset, ring): the words are at memory[offset:], or nowhere if memory is None. */
static PyObject *LockCore_open(LockCore *self, PyObject *args)
{
	Py_ssize_t offset;
	PyObject *memory;
	int semid, ring;

	if (!PyArg_ParseTuple(args, "iOnp:_open", &semid, &memory, &offset, &ring))
		return NULL;
	if (self->open || inside_count(&self->waiting)) {
		PyErr_SetString(PyExc_RuntimeError, "this lock is open already");
		return NULL;
	}
	if (memory != Py_None) {
		Py_ssize_t need = ring ? SEMSHARE_RING_CONTROL_SIZE : offset + (Py_ssize_t)sizeof(*self->mutex.state);

		if (PyObject_GetBuffer(memory, &self->memory, PyBUF_WRITABLE))
			return NULL;
		if (offset < 0 || offset % 64 || self->memory.len < need) {
			PyBuffer_Release(&self->memory);
			PyErr_SetString(PyExc_ValueError, "no place for the words of a lock there");
			return NULL;
		}
		self->mutex.state = (struct semshare_lock_state *)((char *)self->memory.buf + offset);
		if (ring) {
			self->ring = self->memory.buf;
			self->ring_size = (uint64_t)self->memory.len;
		}
	}
	self->mutex.semid = semid;
	self->holder = 0;
	self->closing = false;
	self->open = true;
	self->next = locks;
	if (locks)
		locks->previous = self;
	locks = self;
	Py_RETURN_NONE;
}

static PyObject *LockCore_close(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!self->open)
		Py_RETURN_NONE;
	if (held_here(self)) {
		return misuse(self, PyExc_RuntimeError, "close: it is held by way of this object; release it first");
	}
	self->open = false;
	unlist(self);
	/* Who waits still looks at the words: the last of them lets go of the memory. */
	self->closing = true;
	if (!inside_count(&self->waiting))
		release_memory(self);
	Py_RETURN_NONE;
}

static void LockCore_dealloc(LockCore *self)
{
	PyObject_GC_UnTrack(self);
	/*
	 * Nobody can release it any more.  What it guarded may be half done, so it is given back as that of an owner
	 * who died.
	 */
	if (self->open && held_here(self))
		mutex_give_unrepaired(&self->mutex, &self->holding);
	unlist(self);
	release_memory(self);
	Py_CLEAR(self->owner_died);
	/* The class, if it is one derived in Python, is let go of by its own dealloc, which calls this one. */
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static int LockCore_traverse(LockCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->owner_died);
	Py_VISIT(self->memory.obj);
	return 0;
}

static int LockCore_clear(LockCore *self)
{
	Py_CLEAR(self->owner_died);
	return 0;
}

static PyMethodDef methods[] = {
	{ "acquire", (PyCFunction)(void (*)(void))LockCore_acquire, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take the lock, as threading.Lock.acquire() does.\n\n"
		    "Waits at most `timeout` seconds, -1: without limit. A signal's handler runs meanwhile and the wait\n"
		    "goes on with the time that is left; if it raises, as Ctrl-C does, the lock is not held.\n\n"
		    "Returns:\n    True if it was taken, False if the time was over, or if it was taken already and not\n"
		    "    `blocking`.\n\n"
		    "Raises:\n    RuntimeError: this thread holds the lock already.\n"
		    "    Removed: the set was removed.\n"
		    "    HolderDead: its holder is dead and used no SEM_UNDO.\n") },
	{ "release", (PyCFunction)LockCore_release, METH_NOARGS,
	  PyDoc_STR("release($self, /)\n--\n\n"
		    "Give the lock back.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold it by way of this object.\n"
		    "    Removed: the set was removed meanwhile.\n"
		    "    LockBroken: somebody else was inside at the same time.\n") },
	{ "__enter__", (PyCFunction)LockCore_enter, METH_NOARGS, PyDoc_STR("acquire(), and return the lock.") },
	{ "__exit__", (PyCFunction)(void (*)(void))LockCore_exit, METH_FASTCALL, PyDoc_STR("release()") },
	{ "locked", (PyCFunction)LockCore_locked, METH_NOARGS,
	  PyDoc_STR("locked($self, /)\n--\n\nWhether anybody holds the lock now.") },
	{ "held", (PyCFunction)LockCore_held, METH_NOARGS,
	  PyDoc_STR("held($self, /)\n--\n\nWhether this thread holds the lock by way of this object.") },
	{ "_open", (PyCFunction)LockCore_open, METH_VARARGS, NULL },
	{ "_close", (PyCFunction)LockCore_close, METH_NOARGS, NULL },
	{ "_words", (PyCFunction)LockCore_words, METH_NOARGS, NULL },
	{ "_counts", (PyCFunction)LockCore_counts, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "semid", (getter)LockCore_get_semid, NULL, PyDoc_STR("The set's id."), NULL },
	{ "closed", (getter)LockCore_get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ "owner_died", (getter)LockCore_get_owner_died, NULL,
	  PyDoc_STR("An OwnerDied if the last acquire() found the owner before dead inside, else None."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject LockCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.LockCore",
	.tp_basicsize = sizeof(LockCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("What is hot of a lock: semshare.Lock is derived from it."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = (destructor)LockCore_dealloc,
	.tp_traverse = (traverseproc)LockCore_traverse,
	.tp_clear = (inquiry)LockCore_clear,
	.tp_methods = methods,
	.tp_getset = getset,
};
