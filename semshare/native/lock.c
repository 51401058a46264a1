// SPDX-License-Identifier: MIT
#include "native.h"

#include <sys/ipc.h>
#include <sys/sem.h>

#include <semshare/core/variants.h>

#include "clock.h"

/* In whose name this thread takes it. */
static inline uint32_t taker(const LockCore *self)
{
	return self->flags & LOCK_UNBOUND ? HOLD_UNBOUND : owner_self()->tid;
}

static inline bool held_by_me(const LockCore *self)
{
	return hold_is(&self->holds.first, taker(self));
}

static bool held_here(const LockCore *self)
{
	return hold_is_any(&self->holds.first);
}

static PyObject *misuse(LockCore *self, PyObject *exception, const char *message)
{
	return core_misuse((PyObject *)self, exception, message);
}

static PyObject *fail(LockCore *self, int error, const char *doing)
{
	if (self->closing || !self->open)
		return misuse(self, PyExc_ValueError, "it is closed; open it anew");
	return core_fail((PyObject *)self, error, doing);
}

/* ------------------------------------------------------------------ taking */

/* Give back what nobody has seen to, so that the next owner finds it as this one did. */
static void give_as_found(LockCore *self, const struct mutex_holding *holding)
{
	if (holding->found == SEMSHARE_LOCK_DIED)
		mutex_give_unrepaired(&self->mutex, holding);
	else
		mutex_give(&self->mutex, holding);
}

/*
 * An owner before died inside, and nobody has said yet that what the lock guards is consistent.  On an exception the
 * lock goes back as it was found, unless it is to be @kept.  Returns false on an exception.
 */
static bool see_to_death(LockCore *self, bool kept)
{
	const struct semshare_owner *dead = &self->holding.dead;
	struct semshare_ring_port port;
	PyObject *type, *value, *traceback, *died;

	if (self->ring && !semshare_ring_check(&port, self->ring, self->ring_size) && port.variant->locked &&
	    semshare_sysv_repair(&port.view))
		semshare_ring_tell_broken(self->ring, SEMSHARE_RING_BAD_REPAIR);
	died = PyObject_CallMethod((PyObject *)self, "_owner_died", "IIIKO", dead->kind, dead->pid, dead->tid,
				   (unsigned long long)dead->start,
				   self->holding.found == SEMSHARE_LOCK_DIED ? Py_True : Py_False);
	if (died) {
		/* Unless the callback has said that all is well, or has given the lock back itself. */
		if (held_by_me(self) && self->holding.found != SEMSHARE_LOCK_SOUND)
			Py_XSETREF(self->owner_died, died);
		else
			Py_DECREF(died);
		return true;
	}
	if (!kept && held_by_me(self)) {
		PyErr_Fetch(&type, &value, &traceback);
		hold_end(&self->holds.first);
		/* The callback may have taken it again, and not given that back. */
		if (self->flags & LOCK_REENTRANT)
			semshare_store(&self->mutex.state->depth, 0);
		give_as_found(self, &self->holding);
		PyErr_Restore(type, value, traceback);
	}
	return false;
}

/* The semaphore is ours; note it.  Returns false on an exception. */
static inline bool taken(LockCore *self, const struct mutex_holding *holding, bool contended, int64_t waited, bool kept)
{
	self->holding = *holding;
	hold_begin(&self->holds.first, taker(self));
	if (self->flags & LOCK_UNBOUND && self->mutex.state)
		semshare_store(&self->mutex.state->owner_tid, 0);
	mutex_count(&self->waits, contended, waited);
	if (self->owner_died)
		Py_CLEAR(self->owner_died);
	return holding->found == SEMSHARE_LOCK_SOUND || see_to_death(self, kept);
}

static void release_memory(LockCore *self)
{
	self->mutex.state = NULL;
	self->ring = NULL;
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
}

/* May this thread wait?  Returns false on an exception. */
static bool may_wait(LockCore *self, struct holds_wait *wait, int64_t deadline)
{
	if (self->flags & LOCK_UNBOUND) {
		wait->link = NULL;
		return true;
	}
	switch (holds_wait(wait, &self->holds, deadline == NEVER, false)) {
	case HOLDS_WAIT:
		return true;
	case HOLDS_CYCLE:
		return false;
	default:
		misuse(self, PyExc_RuntimeError,
		       "acquire: this thread holds it already and would wait for itself for ever; release it first");
		return false;
	}
}

/*
 * Returns 1 if taken, 0 if the time is over, -1 on an exception.  With @kept it is taken in any case but an error of the
 * lock's: what a signal's handler raises, and what is raised because an owner died, is raised with the lock in hand.
 */
static int wait(LockCore *self, int64_t deadline, bool kept)
{
	PyObject *type = NULL, *value = NULL, *traceback = NULL;
	struct mutex_holding holding;
	struct holds_wait waiting;
	pid_t dead_holder = 0;
	int64_t began;
	int error;

	began = clock_now();
	inside_enter(&self->waiting);
	do {
		/* Anew each time: what handlers of signals do is not done by one who waits. */
		if (!may_wait(self, &waiting, deadline)) {
			error = -1;
			break;
		}
		Py_BEGIN_ALLOW_THREADS
		error = mutex_wait(&self->mutex, mutex_slice_ns(began, &self->waits), deadline, &self->closing, &holding,
				   &dead_holder);
		/* Here: a thread that comes back to an interpreter that ends may be ended there, with its stack. */
		holds_waited(&waiting);
		Py_END_ALLOW_THREADS
		if (!error && self->closing) {
			give_as_found(self, &holding);
			error = ECANCELED;
		}
		/* With the lock in hand no handler runs here: the interpreter does that later, when we have returned. */
		if ((error == EINTR || error == EAGAIN) && PyErr_CheckSignals()) {
			if (!kept)
				error = -1;
			else if (!type)
				PyErr_Fetch(&type, &value, &traceback);
			else
				PyErr_Clear();
		}
	} while (error == EINTR || error == EAGAIN);
	inside_leave(&self->waiting);
	if (self->closing && !inside_count(&self->waiting))
		release_memory(self);
	switch (error) {
	case 0:
		if (!taken(self, &holding, true, clock_now() - began, kept))
			error = -1;
		break;
	case ETIMEDOUT:
		return 0;
	case -1:
		break;
	case EOWNERDEAD: {
		PyObject *result = PyObject_CallMethod((PyObject *)self, "_holder_dead", "i", (int)dead_holder);

		Py_XDECREF(result);
		if (result)
			PyErr_SetString(PyExc_SystemError, "_holder_dead() returned");
		break;
	}
	default:
		fail(self, error, "acquire");
	}
	if (type && !error) {
		PyErr_Restore(type, value, traceback);
		return -1;
	}
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(traceback);
	return error ? -1 : 1;
}

struct entered {
	LockCore *by;
	PyObject *died;
	bool found;
};

/* Under the mutex of holds.c: by way of that object this thread has it already; so it does by way of this one. */
static void enter_as(struct holds *holds, void *context)
{
	struct entered *entered = context;
	LockCore *other = (LockCore *)holds->object;

	if (entered->found || holds->abandon != entered->by->holds.abandon || !hold_is(&holds->first, owner_self()->tid))
		return;
	entered->found = true;
	entered->by->holding = other->holding;
	Py_XINCREF(other->owner_died);
	entered->died = other->owner_died;
}

/* Take once more what this thread has. */
static bool reenter(LockCore *self)
{
	struct semshare_lock_state *state = self->mutex.state;

	if (held_by_me(self)) {
		self->holds.first.count++;
	} else {
		const struct semshare_owner *owner = owner_self();
		struct entered entered = { .by = self };

		/* Its words know it, and spare most the mutex. */
		if (!(semshare_load(&state->epoch) & 1) || semshare_load(&state->owner_tid) != owner->tid ||
		    semshare_load(&state->owner_pid) != owner->pid)
			return false;
		holds_each_here(&self->holds, enter_as, &entered);
		if (!entered.found)
			return false;
		hold_begin(&self->holds.first, owner->tid);
		Py_XSETREF(self->owner_died, entered.died);
	}
	semshare_store(&state->depth, semshare_load(&state->depth) + 1);
	return true;
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
	if (self->flags & LOCK_REENTRANT && reenter(self))
		return 1;
	if (!only && self->mutex.state && mutex_is_in_vain(&self->mutex))
		return 0;
	error = mutex_try(&self->mutex, &holding);
	if (!error)
		return taken(self, &holding, false, 0, false) ? 1 : -1;
	if (error == EAGAIN)
		return 0;
	fail(self, error, "acquire");
	return -1;
}

static PyObject *acquire(LockCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	int64_t deadline;
	bool blocking;
	double timeout;
	int result;

	if (parse_wait("acquire", args, nargs, kwnames, 0, &blocking, &timeout, NULL) ||
	    deadline_from(blocking, timeout, &deadline))
		return NULL;
	blocking = blocking && timeout != 0;
	result = try_now(self, !blocking);
	if (!result && blocking)
		result = wait(self, deadline, false);
	return result < 0 ? NULL : PyBool_FromLong(result);
}
SECTION_FASTCALL_KEYWORDS(LockCore, acquire)

static PyObject *acquire_nowait(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	int result = try_now(self, true);

	return result < 0 ? NULL : PyBool_FromLong(result);
}
SECTION_NOARGS(LockCore, acquire_nowait)

/* _wait_slice(seconds): acquire(timeout=seconds), of one that is unbound: for a thread that waits in a task's place. */
static PyObject *wait_slice(LockCore *self, PyObject *seconds)
{
	double timeout = PyFloat_AsDouble(seconds);
	int64_t deadline;
	int result;

	if ((timeout == -1.0 && PyErr_Occurred()) || deadline_from(true, timeout, &deadline))
		return NULL;
	if (!(self->flags & LOCK_UNBOUND))
		return misuse(self, PyExc_RuntimeError, "_wait_slice: it belongs to threads");
	result = try_now(self, false);
	if (!result)
		result = wait(self, deadline, false);
	return result < 0 ? NULL : PyBool_FromLong(result);
}
SECTION_O(LockCore, wait_slice)

static PyObject *enter(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	int result = try_now(self, false);

	if (!result)
		result = wait(self, NEVER, false);
	if (result < 0)
		return NULL;
	Py_INCREF(self);
	return (PyObject *)self;
}
SECTION_NOARGS(LockCore, enter)

/* ------------------------------------------------------------------ giving */

/* Returns false, and an exception, unless this thread has it by way of this object. */
static bool is_mine(LockCore *self, const char *doing)
{
	char message[160];

	if (held_by_me(self))
		return true;
	snprintf(message, sizeof(message), "%s: %s", doing, held_here(self) ?
		 "another thread holds it; release it in the thread that acquired it" :
		 self->holds.first.thread ?
		 "it was acquired before the fork, by the parent; let the parent release it" :
		 "it was not acquired by this object; acquire it first");
	misuse(self, PyExc_RuntimeError, message);
	return false;
}

static inline bool give(LockCore *self)
{
	struct semshare_lock_state *state = self->mutex.state;
	int error;

	if (!is_mine(self, "release"))
		return false;
	/* Before the V: behind it a thread of ours that waited may have it. */
	if (!--self->holds.first.count)
		hold_end(&self->holds.first);
	if (self->flags & LOCK_REENTRANT && semshare_load(&state->depth)) {
		semshare_store(&state->depth, semshare_load(&state->depth) - 1);
		return true;
	}
	error = mutex_give(&self->mutex, &self->holding);
	if (error) {
		fail(self, error, "release");
		return false;
	}
	return true;
}

static PyObject *release(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!give(self))
		return NULL;
	Py_RETURN_NONE;
}
SECTION_NOARGS(LockCore, release)

static PyObject *leave(LockCore *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
	if (!give(self))
		return NULL;
	Py_RETURN_NONE;
}
SECTION_FASTCALL(LockCore, leave)

/* What it guards is consistent again. */
static PyObject *mark_consistent(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!is_mine(self, "mark_consistent"))
		return NULL;
	self->holding.found = SEMSHARE_LOCK_SOUND;
	if (self->mutex.state)
		semshare_lock_trust(self->mutex.state);
	Py_CLEAR(self->owner_died);
	Py_RETURN_NONE;
}
SECTION_NOARGS(LockCore, mark_consistent)

/* ------------------------------------------------------- of a condition's wait */

/* What this thread has set aside of that object, or a place for it; NULL: there is none. */
static struct hold *aside_of(LockCore *self)
{
	struct hold *hold, *free = NULL;

	for (hold = &self->aside; hold; hold = hold->next) {
		if (hold_is(hold, owner_self()->tid))
			return hold;
		if (!hold_is_any(hold))
			free = hold;
	}
	return free;
}

struct set_aside {
	LockCore *by;
	bool failed;		/* no memory */
};

/*
 * Under the mutex of holds.c: what this thread has by way of that object is set aside.  Each thread that waits has a place
 * of its own: when it gave the lock, another that has it by way of the same object may wait as well.
 */
static void set_aside(struct holds *holds, void *context)
{
	struct set_aside *all = context;
	LockCore *other = (LockCore *)holds->object, *self = all->by;
	struct hold *aside;

	if (holds->abandon != self->holds.abandon || !hold_is(&holds->first, owner_self()->tid))
		return;
	aside = aside_of(other);
	if (!aside) {
		aside = calloc(1, sizeof(*aside));
		if (!aside) {
			all->failed = true;
			return;
		}
		aside->next = other->aside.next;
		other->aside.next = aside;
	}
	aside->count = holds->first.count;
	aside->generation = holds->first.generation;
	aside->thread = holds->first.thread;
	hold_end(&holds->first);
}

struct put_back {
	LockCore *by;
	unsigned int count;	/* how often this thread has it by way of these */
};

/* ... and it has that again. */
static void put_back(struct holds *holds, void *context)
{
	struct put_back *all = context;
	LockCore *other = (LockCore *)holds->object, *self = all->by;
	struct hold *aside;

	if (holds->abandon != self->holds.abandon)
		return;
	aside = aside_of(other);
	if (!aside || !hold_is_any(aside))
		return;
	/* Not if the lock was not to be had again. */
	if (held_by_me(self)) {
		other->holding = self->holding;
		hold_begin(&holds->first, owner_self()->tid);
		holds->first.count = aside->count;
		all->count += aside->count;
	}
	aside->thread = 0;
}

/* _release_save(): give it back however often this thread has it; returns what _acquire_restore() wants. */
static PyObject *release_save(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	struct semshare_lock_state *state = self->mutex.state;
	struct set_aside others = { .by = self };
	struct put_back all = { .by = self };
	unsigned int count, depth = 0;

	if (!is_mine(self, "wait"))
		return NULL;
	count = self->holds.first.count;
	if (self->flags & LOCK_REENTRANT) {
		depth = semshare_load(&state->depth);
		if (depth >= count)
			holds_each_here(&self->holds, set_aside, &others);
		if (others.failed) {
			holds_each_here(&self->holds, put_back, &all);
			return PyErr_NoMemory();
		}
		semshare_store(&state->depth, 0);
	}
	self->holds.first.count = 1;
	if (!give(self)) {
		holds_each_here(&self->holds, put_back, &all);
		return NULL;
	}
	return Py_BuildValue("II", count, depth);
}
SECTION_NOARGS(LockCore, release_save)

/* _acquire_restore(saved): take it as often again, waiting for it; see wait() for what is raised, and when. */
static PyObject *acquire_restore(LockCore *self, PyObject *saved)
{
	struct put_back all = { .by = self };
	unsigned int count, depth;
	int result;

	if (!PyArg_ParseTuple(saved, "II:_acquire_restore", &count, &depth))
		return NULL;
	result = self->open ? wait(self, NEVER, true) : -1;
	if (held_by_me(self))
		self->holds.first.count = count;
	if (depth >= count)
		holds_each_here(&self->holds, put_back, &all);
	/* Not as it was: what was taken by way of an object that was closed meanwhile nobody would release. */
	if (held_by_me(self) && depth)
		semshare_store(&self->mutex.state->depth, count - 1 + all.count);
	if (result < 0)
		return PyErr_Occurred() ? NULL : fail(self, 0, "acquire");
	Py_RETURN_NONE;
}
SECTION_O(LockCore, acquire_restore)

/* ----------------------------------------------------------------- looking */

static PyObject *locked(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	int value;

	if (!self->open)
		return fail(self, 0, "locked");
	value = semctl(self->mutex.semid, self->mutex.number, GETVAL);
	if (value < 0)
		return fail(self, errno, "locked");
	return PyBool_FromLong(value == 0);
}
SECTION_NOARGS(LockCore, locked)

static PyObject *held(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	return PyBool_FromLong(held_by_me(self));
}
SECTION_NOARGS(LockCore, held)

static PyObject *words(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	return mutex_words(self->mutex.state);
}
SECTION_NOARGS(LockCore, words)

static PyObject *counts(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	return mutex_counts(&self->waits);
}
SECTION_NOARGS(LockCore, counts)

static PyObject *suspect(LockCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(self->mutex.state && semshare_load(&self->mutex.state->suspect));
}
SECTION_GET(LockCore, suspect)

static PyObject *number(LockCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->mutex.number);
}
SECTION_GET(LockCore, number)

static PyObject *semid(LockCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->mutex.semid);
}
SECTION_GET(LockCore, semid)

static PyObject *closed(LockCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}
SECTION_GET(LockCore, closed)

static PyObject *owner_died(LockCore *self, void *Py_UNUSED(closure))
{
	PyObject *died = self->owner_died ? self->owner_died : Py_None;

	Py_INCREF(died);
	return died;
}
SECTION_GET(LockCore, owner_died)

/* ------------------------------------------------------ beginning and end */

/*
 * Nobody can release it any more.  What it guarded may be half done, so it is given back as that of an owner who died;
 * but if the same thread has it by way of another object as well it stays that one's.
 */
static void abandon(struct holds *holds, uint32_t count)
{
	LockCore *self = (LockCore *)holds->object;
	struct semshare_lock_state *state = self->mutex.state;

	if (self->flags & LOCK_REENTRANT && semshare_load(&state->depth) >= count)
		semshare_store(&state->depth, semshare_load(&state->depth) - count);
	else
		mutex_give_dead(&self->mutex);
}

/*
 * _open(semid, memory, offset, flags=0, number=0): the words are at memory[offset:], or nowhere if memory is None. Flags:
 * LOCK_*.
 */
static PyObject *open_it(LockCore *self, PyObject *args)
{
	unsigned int flags = 0;
	unsigned short number = 0;
	Py_ssize_t offset;
	PyObject *memory;
	int semid;

	if (!PyArg_ParseTuple(args, "iOn|IH:_open", &semid, &memory, &offset, &flags, &number))
		return NULL;
	if (self->open || inside_count(&self->waiting)) {
		PyErr_SetString(PyExc_RuntimeError, "this lock is open already");
		return NULL;
	}
	if (flags & LOCK_REENTRANT && (memory == Py_None || flags & LOCK_UNBOUND)) {
		PyErr_SetString(PyExc_ValueError, "a lock that its owner may take again has words, and its owner is a thread");
		return NULL;
	}
	if (memory != Py_None) {
		bool ring = flags & LOCK_RING;
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
	self->flags = flags;
	self->mutex.number = number;
	self->mutex.repaired = flags & (LOCK_RING | LOCK_REPAIRED);
	self->mutex.fair = !(flags & LOCK_RING);
	self->mutex.look_ns = MUTEX_LOOK_NS;
	self->mutex.semid = semid;
	self->place = (struct holds_place){ .semid = semid, .number = number };
	self->holds.first.thread = 0;
	self->holds.object = (PyObject *)self;
	self->holds.places = &self->place;
	self->holds.count = 1;
	self->holds.abandon = abandon;
	holds_open(&self->holds);
	self->closing = false;
	self->open = true;
	Py_RETURN_NONE;
}
SECTION_VARARGS(LockCore, open_it)

/* _may_close(): raise what _close() would. */
static PyObject *may_close(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	if (self->open && held_here(self))
		return misuse(self, PyExc_RuntimeError, "close: it is held by way of this object; release it first");
	Py_RETURN_NONE;
}
SECTION_NOARGS(LockCore, may_close)

static PyObject *close_it(LockCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!self->open)
		Py_RETURN_NONE;
	if (held_here(self))
		return may_close(self, NULL);
	self->open = false;
	holds_close(&self->holds);
	/* Who waits still looks at the words: the last of them lets go of the memory. */
	self->closing = true;
	if (!inside_count(&self->waiting))
		release_memory(self);
	Py_RETURN_NONE;
}
SECTION_NOARGS(LockCore, close_it)

static void dealloc(LockCore *self)
{
	struct hold *aside;

	PyObject_GC_UnTrack(self);
	if (self->open)
		holds_abandon(&self->holds);
	release_memory(self);
	while ((aside = self->aside.next)) {
		self->aside.next = aside->next;
		free(aside);
	}
	free(self->waits.wait_ns);
	Py_CLEAR(self->owner_died);
	/* The class, if it is one derived in Python, is let go of by its own dealloc, which calls this one. */
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static int traverse(LockCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->owner_died);
	Py_VISIT(self->memory.obj);
	return 0;
}

static int clear(LockCore *self)
{
	Py_CLEAR(self->owner_died);
	return 0;
}

static PyMethodDef methods[] = {
	{ "acquire", METHOD(acquire_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take the lock, as threading.Lock.acquire() does.\n\n"
		    "Waits at most `timeout` seconds, -1: without limit. A signal's handler runs meanwhile and the wait\n"
		    "goes on with the time that is left; if it raises, as Ctrl-C does, the lock is not held.\n\n"
		    "Returns:\n    True if it was taken, False if the time was over, or if it was taken already and not\n"
		    "    `blocking`.\n\n"
		    "Raises:\n    RuntimeError: this thread would wait for itself, or for threads that wait for it.\n"
		    "    Removed: the set was removed.\n"
		    "    HolderDead: its holder is dead and used no SEM_UNDO.\n") },
	{ "acquire_nowait", METHOD(acquire_nowait_noargs), METH_NOARGS,
	  PyDoc_STR("acquire_nowait($self, /)\n--\n\nacquire(blocking=False)") },
	{ "release", METHOD(release_noargs), METH_NOARGS,
	  PyDoc_STR("release($self, /)\n--\n\n"
		    "Give the lock back.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold it by way of this object.\n"
		    "    Removed: the set was removed meanwhile.\n"
		    "    LockBroken: somebody else was inside at the same time.\n") },
	{ "mark_consistent", METHOD(mark_consistent_noargs), METH_NOARGS,
	  PyDoc_STR("mark_consistent($self, /)\n--\n\n"
		    "Say that what the lock guards is consistent again, though an owner died inside.\n\n"
		    "Until somebody who holds the lock does, each of its owners finds in `owner_died` who that was.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold it by way of this object.\n") },
	{ "__enter__", METHOD(enter_noargs), METH_NOARGS, PyDoc_STR("acquire(), and return the lock.") },
	{ "__exit__", METHOD(leave_fastcall), METH_FASTCALL, PyDoc_STR("release()") },
	{ "locked", METHOD(locked_noargs), METH_NOARGS,
	  PyDoc_STR("locked($self, /)\n--\n\nWhether anybody holds the lock now.") },
	{ "held", METHOD(held_noargs), METH_NOARGS,
	  PyDoc_STR("held($self, /)\n--\n\nWhether this thread holds the lock by way of this object.") },
	{ "_wait_slice", METHOD(wait_slice_o), METH_O, NULL },
	{ "_release_save", METHOD(release_save_noargs), METH_NOARGS, NULL },
	{ "_acquire_restore", METHOD(acquire_restore_o), METH_O, NULL },
	{ "_open", METHOD(open_it_varargs), METH_VARARGS, NULL },
	{ "_may_close", METHOD(may_close_noargs), METH_NOARGS, NULL },
	{ "_close", METHOD(close_it_noargs), METH_NOARGS, NULL },
	{ "_words", METHOD(words_noargs), METH_NOARGS, NULL },
	{ "_counts", METHOD(counts_noargs), METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "semid", semid_get, NULL, PyDoc_STR("The set's id."), NULL },
	{ "number", number_get, NULL, PyDoc_STR("Which of the set's semaphores it is."), NULL },
	{ "suspect", suspect_get, NULL,
	  PyDoc_STR("Whether an owner died inside and nobody has said since that what the lock guards is consistent."),
	  NULL },
	{ "closed", closed_get, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ "owner_died", owner_died_get, NULL,
	  PyDoc_STR("An OwnerDied if an owner died inside, until mark_consistent(), as of the last acquire(); else None."),
	  NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject LockCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.LockCore",
	.tp_basicsize = sizeof(LockCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("What is hot of a lock: semshare.Lock is derived from it."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = (destructor)dealloc,
	.tp_traverse = (traverseproc)traverse,
	.tp_clear = (inquiry)clear,
	.tp_methods = methods,
	.tp_getset = getset,
};
