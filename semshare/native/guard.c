// SPDX-License-Identifier: MIT
#include "guard.h"

#include <sys/ipc.h>

#include "clock.h"

/* Waits end this often to see to signals and to whether the guard was closed. */
#define SLICE_NS	NS_PER_S

static PyObject *misuse(GuardCore *self, PyObject *exception, const char *message)
{
	return core_misuse((PyObject *)self, exception, message);
}

static PyObject *fail(GuardCore *self, int error, const char *doing)
{
	if (self->closing || !self->open)
		return misuse(self, PyExc_ValueError, "it is closed; open it anew");
	return core_fail((PyObject *)self, error, doing);
}

/* ------------------------------------------------------------------ shares */

/* To whom what this thread takes belongs: 0 is nobody's number. */
static uint32_t share_owner(const GuardCore *self)
{
	return self->kind == GUARD_COUNTED || self->flags & LOCK_UNBOUND ? UINT32_MAX : owner_self()->tid;
}

static struct guard_share *share_of(GuardCore *self, uint32_t thread)
{
	struct guard_share *share;

	for (share = &self->first; share; share = share->next)
		if (share->thread == thread && share->count && share->generation == owner_generation)
			return share;
	return NULL;
}

static struct guard_share *my_share(GuardCore *self)
{
	return share_of(self, share_owner(self));
}

static bool is_held_here(GuardCore *self)
{
	struct guard_share *share;

	for (share = &self->first; share; share = share->next)
		if (share->count && share->generation == owner_generation)
			return true;
	return false;
}

/* A place for the share of one who has none.  NULL: no memory. */
static struct guard_share *free_share(GuardCore *self)
{
	struct guard_share *share;

	for (share = &self->first; share; share = share->next)
		if (!share->count || share->generation != owner_generation)
			break;
	if (!share) {
		share = calloc(1, sizeof(*share));
		if (!share)
			return NULL;
		share->next = self->first.next;
		self->first.next = share;
	}
	share->count = 0;
	share->generation = owner_generation;
	return share;
}

/* -------------------------------------------------------------- operations */

static int operate(const GuardCore *self, const struct guard_ops *ops)
{
	return semop(self->semid, ops->now, ops->count) ? errno : 0;
}

/* Give back those semaphores that nobody has changed since this process did: the words of some are not as it left them. */
static void leave_broken(const GuardCore *self)
{
	unsigned int i;

	for (i = 0; i < self->leave.count; i++)
		if (semctl(self->semid, self->leave.now[i].sem_num, GETPID) == getpid())
			(void)semop(self->semid, &self->leave.now[i], 1);
}

/* Leave, and give back by @ops.  EPROTO: somebody else was inside at the same time, or wrote the words. */
static int leave_by(GuardCore *self, const struct guard_ops *ops)
{
	size_t i;
	int error = 0;

	if (self->kind == GUARD_EXCLUSIVE)
		for (i = 0; i < self->members_count; i++)
			if (semshare_lock_leave(self->members[i].state, self->members[i].holding.epoch))
				error = EPROTO;
	if (!error)
		return operate(self, ops);
	leave_broken(self);
	return error;
}

static int leave(GuardCore *self)
{
	return leave_by(self, &self->leave);
}

/* Leave by one who has not seen to what it guards.  @dead: as if he had died. */
static void leave_as_found(GuardCore *self, bool dead)
{
	size_t i;

	if (self->kind == GUARD_EXCLUSIVE) {
		for (i = 0; i < self->members_count; i++) {
			struct guard_member *member = &self->members[i];

			if (dead || member->holding.found == SEMSHARE_LOCK_DIED)
				mutex_leave_unrepaired(member->state, &member->holding);
			else
				(void)semshare_lock_leave(member->state, member->holding.epoch);
		}
	}
	(void)operate(self, &self->leave);
}

/* Having entered: the words.  Returns how it was found; *@dead: who died, unless that is SEMSHARE_LOCK_SOUND. */
static enum semshare_lock_found enter(GuardCore *self, struct semshare_owner *dead)
{
	const struct semshare_owner *owner = owner_self();
	enum semshare_lock_found found = SEMSHARE_LOCK_SOUND;
	size_t i;

	for (i = 0; i < self->members_count; i++) {
		struct guard_member *member = &self->members[i];
		enum semshare_lock_found this;
		struct semshare_owner who;

		if (self->kind == GUARD_EXCLUSIVE) {
			mutex_enter(member->state, false, owner, &member->holding);
			this = member->holding.found;
			who = member->holding.dead;
		} else {
			this = semshare_lock_enter_shared(member->state, &who);
		}
		/* One that nobody has found before says more than one that somebody has. */
		if (this != SEMSHARE_LOCK_SOUND && found != SEMSHARE_LOCK_DIED) {
			found = this;
			*dead = who;
		}
	}
	return found;
}

/* ------------------------------------------------------------------ taking */

static bool see_to_death(GuardCore *self, enum semshare_lock_found found, const struct semshare_owner *dead)
{
	PyObject *type, *value, *traceback, *died;
	struct guard_share *share;

	died = PyObject_CallMethod((PyObject *)self, "_owner_died", "IIIKO", dead->kind, dead->pid, dead->tid,
				   (unsigned long long)dead->start, found == SEMSHARE_LOCK_DIED ? Py_True : Py_False);
	share = my_share(self);
	if (died) {
		/* Unless the callback has given it back. */
		if (share)
			Py_XSETREF(self->owner_died, died);
		else
			Py_DECREF(died);
		return true;
	}
	PyErr_Fetch(&type, &value, &traceback);
	if (share) {
		share->count--;
		leave_as_found(self, false);
	}
	PyErr_Restore(type, value, traceback);
	return false;
}

/* The semaphores are ours; note it.  Returns false on an exception, they are given back then. */
static bool taken(GuardCore *self, bool contended, int64_t waited)
{
	enum semshare_lock_found found;
	struct semshare_owner dead;
	struct guard_share *share = my_share(self);
	bool again = share;

	/* Permits that no death gives back are nobody's. */
	if (self->kind == GUARD_COUNTED && !(self->enter.now->sem_flg & SEM_UNDO)) {
		mutex_count(&self->waits, contended, waited);
		return true;
	}
	if (!share) {
		share = free_share(self);
		if (!share) {
			(void)operate(self, &self->leave);
			PyErr_NoMemory();
			return false;
		}
		share->thread = share_owner(self);
	}
	share->count++;
	mutex_count(&self->waits, contended, waited);
	if (again || self->kind == GUARD_COUNTED)
		return true;
	found = enter(self, &dead);
	if (self->owner_died)
		Py_CLEAR(self->owner_died);
	return found == SEMSHARE_LOCK_SOUND || see_to_death(self, found, &dead);
}

static void release_memory(GuardCore *self)
{
	self->members_count = 0;
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
}

/* By which operations this thread enters. */
static const struct guard_ops *way_in(GuardCore *self)
{
	return self->again.count && my_share(self) ? &self->again : &self->enter;
}

/*
 * Try to enter until @deadline.  Returns EAGAIN at least once in SLICE_NS, and EINTR, so that the caller can see to signals
 * and come back; ETIMEDOUT at the deadline; ECANCELED when it was closed.
 */
static int wait_slice(const GuardCore *self, const struct guard_ops *ops, int64_t deadline)
{
	struct timespec timeout;
	int64_t left;
	int error;

	if (self->closing)
		return ECANCELED;
	left = deadline == NEVER ? SLICE_NS : deadline - clock_now();
	if (left <= 0) {
		error = operate(self, ops);
		return error == EAGAIN ? ETIMEDOUT : error;
	}
	timeout = clock_timespec(left < SLICE_NS ? left : SLICE_NS);
	if (!semtimedop(self->semid, ops->wait, ops->count, &timeout))
		return 0;
	error = errno;
	if (error == EAGAIN && deadline != NEVER && clock_now() >= deadline)
		return ETIMEDOUT;
	return error;
}

/* Returns 1 if taken, 0 if the time is over, -1 on an exception. */
static int wait(GuardCore *self, int64_t deadline)
{
	const struct guard_ops *ops = way_in(self);
	unsigned int announced_by = owner_generation;
	bool announced = false;
	int64_t began = clock_now();
	int error = 0;

	if (self->kind == GUARD_EXCLUSIVE && !(self->flags & LOCK_UNBOUND) && my_share(self)) {
		misuse(self, PyExc_RuntimeError,
		       "acquire: this thread holds it already and would wait for itself for ever; release it first");
		return -1;
	}
	if (self->announce.count && ops == &self->enter && deadline > began) {
		error = operate(self, &self->announce);
		if (error) {
			fail(self, error, "acquire");
			return -1;
		}
		announced = true;
		ops = &self->announced;
	}
	inside_enter(&self->waiting);
	do {
		Py_BEGIN_ALLOW_THREADS
		error = wait_slice(self, ops, deadline);
		Py_END_ALLOW_THREADS
		if (!error) {
			announced = false;
			if (self->closing) {
				(void)operate(self, &self->leave);
				error = ECANCELED;
			}
		}
		/* With it in hand no handler runs here: the interpreter does that later, when we have returned. */
		if ((error == EINTR || error == EAGAIN) && PyErr_CheckSignals())
			error = -1;
	} while (error == EINTR || error == EAGAIN);
	/* The child of a fork has announced nothing. */
	if (announced && announced_by == owner_generation)
		(void)operate(self, &self->withdraw);
	inside_leave(&self->waiting);
	if (self->closing && !inside_count(&self->waiting))
		release_memory(self);
	switch (error) {
	case 0:
		return taken(self, true, clock_now() - began) ? 1 : -1;
	case ETIMEDOUT:
		return 0;
	case -1:
		return -1;
	default:
		fail(self, error, "acquire");
		return -1;
	}
}

/* Returns as wait(); 0 means that it has to be waited for. */
static int try_now(GuardCore *self)
{
	int error;

	if (!self->open) {
		fail(self, 0, "acquire");
		return -1;
	}
	error = operate(self, way_in(self));
	if (!error)
		return taken(self, false, 0) ? 1 : -1;
	if (error == EAGAIN)
		return 0;
	fail(self, error, "acquire");
	return -1;
}

static PyObject *GuardCore_acquire(GuardCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	int64_t deadline;
	bool blocking;
	double timeout;
	int result;

	if (parse_wait("acquire", args, nargs, kwnames, 0, &blocking, &timeout, NULL) ||
	    deadline_from(blocking, timeout, &deadline))
		return NULL;
	result = try_now(self);
	if (!result && blocking)
		result = wait(self, deadline);
	return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *GuardCore_acquire_nowait(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	int result = try_now(self);

	return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *GuardCore_enter(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	int result = try_now(self);

	if (!result)
		result = wait(self, NEVER);
	if (result < 0)
		return NULL;
	Py_INCREF(self);
	return (PyObject *)self;
}

/* ------------------------------------------------------------------ giving */

/*
 * Give @n permits back: with SEM_UNDO those that this process took, without it those that another did.
 */
static int give_permits(GuardCore *self, unsigned short n)
{
	struct guard_share *share = my_share(self);
	const struct sembuf *one = self->leave.now;
	uint32_t own = share ? (share->count < n ? share->count : n) : 0;
	struct sembuf ops[2];
	unsigned int count = 0;

	if (own)
		ops[count++] = (struct sembuf){ one->sem_num, (short)own, one->sem_flg };
	if (own < n)
		ops[count++] = (struct sembuf){ one->sem_num, (short)(n - own), IPC_NOWAIT };
	if (semop(self->semid, ops, count))
		return errno;
	if (own)
		share->count -= own;
	return 0;
}

/* This thread's share; NULL with an exception set. */
static struct guard_share *share_to_give(GuardCore *self)
{
	struct guard_share *share = my_share(self);

	if (!share)
		misuse(self, PyExc_RuntimeError, is_held_here(self) ?
		       "release: another thread holds it; release it in the thread that acquired it" :
		       self->first.count ?
		       "release: it was acquired before the fork, by the parent; let the parent release it" :
		       "release: it was not acquired by this object; acquire it first");
	return share;
}

static bool give(GuardCore *self)
{
	struct guard_share *share = share_to_give(self);
	int error;

	if (!share)
		return false;
	/* Before the semaphores: behind that a thread of ours that waited may have them. */
	share->count--;
	if (share->count && self->again.count) {
		error = operate(self, &self->leave);
	} else {
		error = leave(self);
	}
	if (error) {
		fail(self, error, "release");
		return false;
	}
	return true;
}

static PyObject *GuardCore_release(GuardCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
	long n = 1;
	int error;

	if (self->kind != GUARD_COUNTED) {
		if (nargs + named) {
			PyErr_SetString(PyExc_TypeError, "release() takes no arguments");
			return NULL;
		}
		if (!give(self))
			return NULL;
		Py_RETURN_NONE;
	}
	if (nargs + named > 1 || (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "n"))) {
		PyErr_SetString(PyExc_TypeError, "release() takes at most one argument, n");
		return NULL;
	}
	if (nargs + named) {
		n = PyLong_AsLong(args[0]);
		if (n == -1 && PyErr_Occurred())
			return NULL;
	}
	if (n < 1)
		return misuse(self, PyExc_ValueError, "release: n is how many permits to give back: 1 or more");
	if (!self->open)
		return fail(self, 0, "release");
	error = n > SHRT_MAX ? ERANGE : give_permits(self, (unsigned short)n);
	if (error)
		return fail(self, error, "release");
	Py_RETURN_NONE;
}

static PyObject *GuardCore_exit(GuardCore *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
	return GuardCore_release(self, NULL, 0, NULL);
}

/* What it guards is consistent again. */
static PyObject *GuardCore_mark_consistent(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	size_t i;

	if (self->kind == GUARD_COUNTED || !my_share(self))
		return misuse(self, PyExc_RuntimeError, "mark_consistent: only who holds it can say so; acquire it first");
	for (i = 0; i < self->members_count; i++) {
		self->members[i].holding.found = SEMSHARE_LOCK_SOUND;
		semshare_lock_trust(self->members[i].state);
	}
	Py_CLEAR(self->owner_died);
	Py_RETURN_NONE;
}

/* ----------------------------------------------------------------- looking */

static PyObject *GuardCore_held(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	return PyBool_FromLong(my_share(self) != NULL);
}

/* _words(index): as LockCore's, of one of the locks in it. */
static PyObject *GuardCore_words(GuardCore *self, PyObject *index)
{
	size_t i = PyLong_AsSize_t(index);

	if (i == (size_t)-1 && PyErr_Occurred())
		return NULL;
	return mutex_words(i < self->members_count ? self->members[i].state : NULL);
}

static PyObject *GuardCore_counts(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	return mutex_counts(&self->waits);
}

static PyObject *GuardCore_get_semid(GuardCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->semid);
}

static PyObject *GuardCore_get_closed(GuardCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}

static PyObject *GuardCore_get_suspect(GuardCore *self, void *Py_UNUSED(closure))
{
	size_t i;

	for (i = 0; i < self->members_count; i++)
		if (semshare_load(&self->members[i].state->suspect))
			Py_RETURN_TRUE;
	Py_RETURN_FALSE;
}

static PyObject *GuardCore_get_owner_died(GuardCore *self, void *Py_UNUSED(closure))
{
	PyObject *died = self->owner_died ? self->owner_died : Py_None;

	Py_INCREF(died);
	return died;
}

/* ------------------------------------------------------- beginning and end */

static void drop_ops(struct guard_ops *ops)
{
	PyMem_Free(ops->wait);
	memset(ops, 0, sizeof(*ops));
}

/* Of a tuple of (number, delta, undo).  0, or -1 with an exception set. */
static int parse_ops(PyObject *given, struct guard_ops *ops)
{
	Py_ssize_t count, i;

	if (!PyTuple_Check(given)) {
		PyErr_SetString(PyExc_TypeError, "operations are a tuple of (number, delta, undo)");
		return -1;
	}
	count = PyTuple_GET_SIZE(given);
	ops->wait = PyMem_Calloc(2 * (size_t)count + 1, sizeof(*ops->wait));
	if (!ops->wait) {
		PyErr_NoMemory();
		return -1;
	}
	ops->now = ops->wait + count;
	ops->count = (unsigned int)count;
	for (i = 0; i < count; i++) {
		struct sembuf *op = &ops->wait[i];
		int undo;

		if (!PyTuple_Check(PyTuple_GET_ITEM(given, i))) {
			PyErr_SetString(PyExc_TypeError, "an operation is a tuple of (number, delta, undo)");
			return -1;
		}
		if (!PyArg_ParseTuple(PyTuple_GET_ITEM(given, i), "Hhp", &op->sem_num, &op->sem_op, &undo))
			return -1;
		op->sem_flg = undo ? SEM_UNDO : 0;
		ops->now[i] = *op;
		ops->now[i].sem_flg |= IPC_NOWAIT;
	}
	return 0;
}

static void drop_all_ops(GuardCore *self)
{
	drop_ops(&self->enter);
	drop_ops(&self->leave);
	drop_ops(&self->again);
	drop_ops(&self->announce);
	drop_ops(&self->announced);
	drop_ops(&self->withdraw);
}

/* The words at memory[offset:], for each offset.  0, or -1 with an exception set. */
static int open_members(GuardCore *self, PyObject *memory, PyObject *offsets)
{
	Py_ssize_t count = PyTuple_GET_SIZE(offsets), i;

	if (memory == Py_None || !count)
		return 0;
	self->members = PyMem_Calloc((size_t)count, sizeof(*self->members));
	if (!self->members) {
		PyErr_NoMemory();
		return -1;
	}
	if (PyObject_GetBuffer(memory, &self->memory, PyBUF_WRITABLE))
		return -1;
	for (i = 0; i < count; i++) {
		struct guard_member *member = &self->members[i];
		Py_ssize_t offset = PyLong_AsSsize_t(PyTuple_GET_ITEM(offsets, i));

		if (offset == -1 && PyErr_Occurred())
			return -1;
		if (offset < 0 || offset % 64 || self->memory.len < offset + (Py_ssize_t)sizeof(*member->state)) {
			PyErr_SetString(PyExc_ValueError, "no place for the words of a lock there");
			return -1;
		}
		member->state = (struct semshare_lock_state *)((char *)self->memory.buf + offset);
	}
	self->members_count = (size_t)count;
	return 0;
}

static PyObject *GuardCore_open(GuardCore *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "semid", "memory", "offsets", "kind", "flags", "enter", "leave",
				 "again", "announce", "announced", "withdraw", NULL };
	PyObject *memory, *offsets, *enter, *leave, *none = PyTuple_New(0);
	PyObject *again = none, *announce = none, *announced = none, *withdraw = none;
	unsigned int flags;
	int semid, kind;

	Py_XDECREF(none);	/* there is one for ever */
	if (!none || !PyArg_ParseTupleAndKeywords(args, kwargs, "iOO!iIOO|$OOOO:_open", names, &semid, &memory,
						  &PyTuple_Type, &offsets, &kind, &flags, &enter, &leave, &again,
						  &announce, &announced, &withdraw))
		return NULL;
	if (self->open || inside_count(&self->waiting)) {
		PyErr_SetString(PyExc_RuntimeError, "this guard is open already");
		return NULL;
	}
	if (kind < GUARD_EXCLUSIVE || kind > GUARD_COUNTED) {
		PyErr_SetString(PyExc_ValueError, "there is no such kind of guard");
		return NULL;
	}
	drop_all_ops(self);
	PyMem_Free(self->members);
	self->members = NULL;
	if (parse_ops(enter, &self->enter) || parse_ops(leave, &self->leave) || parse_ops(again, &self->again) ||
	    parse_ops(announce, &self->announce) || parse_ops(announced, &self->announced) ||
	    parse_ops(withdraw, &self->withdraw) || open_members(self, memory, offsets)) {
		release_memory(self);
		return NULL;
	}
	if (!self->enter.count || !self->leave.count || (kind == GUARD_COUNTED && self->leave.count != 1) ||
	    !self->announce.count != !self->announced.count || !self->announce.count != !self->withdraw.count) {
		release_memory(self);
		PyErr_SetString(PyExc_ValueError, "these operations do not belong together");
		return NULL;
	}
	self->kind = (enum guard_kind)kind;
	self->flags = flags;
	self->semid = semid;
	self->closing = false;
	self->open = true;
	Py_RETURN_NONE;
}

/*
 * _hand_over(shared, operations): this thread, which has this one alone, gives it up and has @shared in its place.  All by
 * one call, so nobody else can have it alone in between.
 */
static PyObject *GuardCore_hand_over(GuardCore *self, PyObject *args)
{
	struct guard_share *share, *mine;
	struct guard_ops ops = { 0 };
	GuardCore *shared;
	PyObject *given;
	int error;

	if (!PyArg_ParseTuple(args, "O!O:_hand_over", &GuardCore_Type, &shared, &given))
		return NULL;
	if (self->kind != GUARD_EXCLUSIVE || shared->kind != GUARD_SHARED || !shared->open || self->semid != shared->semid) {
		PyErr_SetString(PyExc_ValueError, "these two are not sides of one lock");
		return NULL;
	}
	share = share_to_give(self);
	if (!share)
		return NULL;
	if (parse_ops(given, &ops)) {
		drop_ops(&ops);
		return NULL;
	}
	/* Before anything is given up: for this there may be no memory. */
	mine = free_share(shared);
	if (!mine) {
		drop_ops(&ops);
		return PyErr_NoMemory();
	}
	share->count--;
	error = leave_by(self, &ops);
	drop_ops(&ops);
	if (error)
		return fail(self, error, "downgrade");
	mine->thread = share_owner(shared);
	mine->count = 1;
	mutex_count(&shared->waits, false, 0);
	Py_XINCREF(self->owner_died);
	Py_XSETREF(shared->owner_died, self->owner_died);
	Py_RETURN_NONE;
}

static PyObject *GuardCore_close(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!self->open)
		Py_RETURN_NONE;
	if (self->kind != GUARD_COUNTED && is_held_here(self))
		return misuse(self, PyExc_RuntimeError, "close: it is held by way of this object; release it first");
	self->open = false;
	/* Who waits still looks at the words: the last of them lets go of the memory. */
	self->closing = true;
	if (!inside_count(&self->waiting))
		release_memory(self);
	Py_RETURN_NONE;
}

static void GuardCore_dealloc(GuardCore *self)
{
	struct guard_share *share, *next;

	PyObject_GC_UnTrack(self);
	/*
	 * Nobody can release it any more.  What it guarded may be half done, so it is given back as that of an owner
	 * who died.  Permits stay with the process.
	 */
	if (self->open && self->kind != GUARD_COUNTED)
		for (share = &self->first; share; share = share->next)
			for (; share->generation == owner_generation && share->count; share->count--)
				leave_as_found(self, true);
	for (share = self->first.next; share; share = next) {
		next = share->next;
		free(share);
	}
	release_memory(self);
	PyMem_Free(self->members);
	drop_all_ops(self);
	free(self->waits.wait_ns);
	Py_CLEAR(self->owner_died);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static int GuardCore_traverse(GuardCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->owner_died);
	Py_VISIT(self->memory.obj);
	return 0;
}

static int GuardCore_clear(GuardCore *self)
{
	Py_CLEAR(self->owner_died);
	return 0;
}

static PyMethodDef methods[] = {
	{ "acquire", (PyCFunction)(void (*)(void))GuardCore_acquire, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take it, as threading.Lock.acquire() does.\n\n"
		    "Waits at most `timeout` seconds, -1: without limit. A signal's handler runs meanwhile and the wait\n"
		    "goes on with the time that is left; if it raises, as Ctrl-C does, nothing is held.\n\n"
		    "Returns:\n    True if it was taken, False if the time was over, or if it could not be taken at once and\n"
		    "    not `blocking`.\n\n"
		    "Raises:\n    RuntimeError: this thread would wait for itself.\n"
		    "    Removed: the set was removed.\n") },
	{ "acquire_nowait", (PyCFunction)GuardCore_acquire_nowait, METH_NOARGS,
	  PyDoc_STR("acquire_nowait($self, /)\n--\n\nacquire(blocking=False)") },
	{ "release", (PyCFunction)(void (*)(void))GuardCore_release, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("Give it back.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold it by way of this object.\n"
		    "    Removed: the set was removed meanwhile.\n"
		    "    LockBroken: somebody else was inside at the same time.\n") },
	{ "__enter__", (PyCFunction)GuardCore_enter, METH_NOARGS, PyDoc_STR("acquire(), and return it.") },
	{ "__exit__", (PyCFunction)(void (*)(void))GuardCore_exit, METH_FASTCALL, PyDoc_STR("release()") },
	{ "held", (PyCFunction)GuardCore_held, METH_NOARGS,
	  PyDoc_STR("held($self, /)\n--\n\nWhether this thread holds it by way of this object.") },
	{ "mark_consistent", (PyCFunction)GuardCore_mark_consistent, METH_NOARGS,
	  PyDoc_STR("mark_consistent($self, /)\n--\n\n"
		    "Say that what it guards is consistent again, though an owner died inside.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold it by way of this object.\n") },
	{ "_open", (PyCFunction)(void (*)(void))GuardCore_open, METH_VARARGS | METH_KEYWORDS, NULL },
	{ "_hand_over", (PyCFunction)GuardCore_hand_over, METH_VARARGS, NULL },
	{ "_close", (PyCFunction)GuardCore_close, METH_NOARGS, NULL },
	{ "_words", (PyCFunction)GuardCore_words, METH_O, NULL },
	{ "_counts", (PyCFunction)GuardCore_counts, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "semid", (getter)GuardCore_get_semid, NULL, PyDoc_STR("The set's id."), NULL },
	{ "closed", (getter)GuardCore_get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ "suspect", (getter)GuardCore_get_suspect, NULL,
	  PyDoc_STR("Whether an owner died inside and nobody has said since that what it guards is consistent."), NULL },
	{ "owner_died", (getter)GuardCore_get_owner_died, NULL,
	  PyDoc_STR("An OwnerDied if an owner died inside, until mark_consistent(), as of the last acquire(); else None."),
	  NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject GuardCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.GuardCore",
	.tp_basicsize = sizeof(GuardCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("What is hot of a lock that takes several operations in one call."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = (destructor)GuardCore_dealloc,
	.tp_traverse = (traverseproc)GuardCore_traverse,
	.tp_clear = (inquiry)GuardCore_clear,
	.tp_methods = methods,
	.tp_getset = getset,
};
