// SPDX-License-Identifier: MIT
#include "guard.h"

#include <sys/ipc.h>

#include <semshare/core/event.h>

#include "clock.h"

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

/* In whose name this thread takes it. */
static uint32_t taker(const GuardCore *self)
{
	return self->flags & LOCK_UNBOUND ? HOLD_UNBOUND : owner_self()->tid;
}

/* NULL: it does not have it by way of this object. */
static struct hold *my_hold(GuardCore *self)
{
	const uint32_t thread = taker(self);
	struct hold *hold;

	for (hold = &self->holds.first; hold; hold = hold->next)
		if (hold_is(hold, thread))
			return hold;
	return NULL;
}

static bool is_held_here(GuardCore *self)
{
	struct hold *hold;

	for (hold = &self->holds.first; hold; hold = hold->next)
		if (hold_is_any(hold))
			return true;
	return false;
}

/* A place for one who has none.  NULL: no memory. */
static struct hold *free_hold(GuardCore *self)
{
	struct hold *hold;

	for (hold = &self->holds.first; hold; hold = hold->next)
		if (!hold_is_any(hold))
			return hold;
	hold = calloc(1, sizeof(*hold));
	if (!hold)
		return NULL;
	/* Who looks through them in holds.c does so without the GIL. */
	hold->next = self->holds.first.next;
	__atomic_store_n(&self->holds.first.next, hold, __ATOMIC_RELEASE);
	return hold;
}

static bool is_suspect(const GuardCore *self)
{
	size_t i;

	for (i = 0; i < self->members_count; i++)
		if (semshare_load(&self->members[i].state->suspect))
			return true;
	return false;
}

/* -------------------------------------------------------------- operations */

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

/* Leave by one who has not seen to what it guards. */
static void leave_as_found(GuardCore *self)
{
	size_t i;

	if (self->kind == GUARD_EXCLUSIVE) {
		for (i = 0; i < self->members_count; i++) {
			struct guard_member *member = &self->members[i];

			if (member->holding.found == SEMSHARE_LOCK_DIED)
				mutex_leave_unrepaired(member->state, &member->holding);
			else
				(void)semshare_lock_leave(member->state, member->holding.epoch);
		}
	}
	(void)operate(self, &self->leave);
}

/* See holds.h: nobody can release it any more, and what it guards may be half done. */
static void abandon(struct holds *holds, uint32_t count)
{
	GuardCore *self = (GuardCore *)holds->object;

	/* The words stay as they are, and say that it is taken: who died is its owner. */
	while (count--)
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
			if (self->flags & LOCK_UNBOUND && member->state)
				semshare_store(&member->state->owner_tid, 0);
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
	struct hold *hold;

	died = PyObject_CallMethod((PyObject *)self, "_owner_died", "IIIKO", dead->kind, dead->pid, dead->tid,
				   (unsigned long long)dead->start, found == SEMSHARE_LOCK_DIED ? Py_True : Py_False);
	hold = my_hold(self);
	if (died) {
		/* Unless the callback has said that all is well, or has given it back. */
		if (hold && is_suspect(self))
			Py_XSETREF(self->owner_died, died);
		else
			Py_DECREF(died);
		return true;
	}
	if (hold) {
		/* The callback may have taken it again, and not given that back. */
		const uint32_t again = hold->count - 1;
		uint32_t i;

		PyErr_Fetch(&type, &value, &traceback);
		hold_end(hold);
		for (i = 0; i < again; i++)
			(void)operate(self, &self->leave);
		leave_as_found(self);
		PyErr_Restore(type, value, traceback);
	}
	return false;
}

/* The semaphores are ours; note it.  Returns false on an exception, they are given back then. */
static bool taken(GuardCore *self, bool contended, int64_t waited)
{
	enum semshare_lock_found found;
	struct semshare_owner dead;
	struct hold *hold;

	mutex_count(&self->waits, contended, waited);
	if (self->kind == GUARD_COUNTED) {
		/* Permits that no death gives back are nobody's. */
		if (self->enter.now->sem_flg & SEM_UNDO)
			permits_add(self->permits, 1);
		return true;
	}
	hold = my_hold(self);
	if (hold) {
		hold->count++;
		return true;
	}
	hold = free_hold(self);
	if (!hold) {
		(void)operate(self, &self->leave);
		PyErr_NoMemory();
		return false;
	}
	hold_begin(hold, taker(self));
	found = enter(self, &dead);
	/* Others who share it have been told, too, and may look any time. */
	if (self->owner_died && (self->kind == GUARD_EXCLUSIVE || found == SEMSHARE_LOCK_SOUND))
		Py_CLEAR(self->owner_died);
	return found == SEMSHARE_LOCK_SOUND || see_to_death(self, found, &dead);
}

static void release_memory(GuardCore *self)
{
	self->members_count = 0;
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
}

/*
 * Try to enter until @deadline; waited for since @began.  Returns EAGAIN now and then, see mutex_slice_ns(), and EINTR, so
 * that the caller can see to signals and come back; ETIMEDOUT at the deadline; ECANCELED when it was closed.
 */
static int wait_once(const GuardCore *self, const struct guard_ops *ops, int64_t began, int64_t deadline)
{
	int64_t left, slice = mutex_slice_ns(began, &self->waits);
	struct timespec timeout;
	int error;

	if (self->closing)
		return ECANCELED;
	left = deadline == NEVER ? slice : deadline - clock_now();
	if (left <= 0) {
		error = operate(self, ops);
		return error == EAGAIN ? ETIMEDOUT : error;
	}
	timeout = clock_timespec(left < slice ? left : slice);
	if (!semtimedop(self->semid, ops->wait, ops->count, &timeout))
		return 0;
	error = errno;
	if (error == EAGAIN && deadline != NEVER && clock_now() >= deadline)
		return ETIMEDOUT;
	return error;
}

/* May this thread wait, and by which operations?  Returns NULL on an exception. */
static const struct guard_ops *way_in(GuardCore *self, struct holds_wait *wait, int64_t deadline, bool announced)
{
	const struct guard_ops *ops = announced ? &self->announced : &self->enter;
	bool shares;

	wait->link = NULL;
	if (self->kind == GUARD_COUNTED || self->flags & LOCK_UNBOUND)
		return ops;
	switch (holds_wait(wait, &self->holds, deadline == NEVER, announced)) {
	case HOLDS_WAIT:
		return ops;
	case HOLDS_AGAIN:
		return self->again.count ? &self->again : ops;
	case HOLDS_CYCLE:
		return NULL;
	case HOLDS_SELF:
		break;
	}
	shares = self->kind == GUARD_EXCLUSIVE && !my_hold(self);
	misuse(self, PyExc_RuntimeError, shares ?
	       "acquire: this thread holds some of it, or shares it, already, and would wait for itself for ever; release "
	       "that first" :
	       "acquire: this thread holds it already and would wait for itself for ever; release it first");
	return NULL;
}

/* What _wait_slice() has announced, and not taken back. */
static bool is_standing(const GuardCore *self)
{
	return self->standing && self->standing_by == owner_generation;
}

static void withdraw(GuardCore *self)
{
	if (is_standing(self))
		(void)operate(self, &self->withdraw);
	self->standing = false;
}

/* How often what is waited for has happened, where that is counted. */
static __u32 turn_of(const GuardCore *self)
{
	return self->kind == GUARD_COUNTED && self->members_count ? semshare_event_turn(self->members[0].state) : 0;
}

/*
 * Returns 1 if taken, 0 if the time is over, -1 on an exception.  With @standing that it waits stays announced when the
 * time is over, and is from before.  @turn: turn_of() when it began.
 */
static int wait(GuardCore *self, int64_t deadline, bool standing, __u32 turn)
{
	unsigned int generation = owner_generation;
	bool announced = standing && is_standing(self);
	int64_t began = clock_now();
	const struct guard_ops *ops;
	struct holds_wait waiting;
	int error = 0;

	if (self->announce.count && deadline > began && !announced) {
		error = operate(self, &self->announce);
		if (error) {
			fail(self, error, "acquire");
			return -1;
		}
		announced = true;
	}
	inside_enter(&self->waiting);
	do {
		/* Anew each time: what handlers of signals do is not done by one who waits. */
		ops = way_in(self, &waiting, deadline, announced);
		if (!ops) {
			error = -1;
			break;
		}
		Py_BEGIN_ALLOW_THREADS
		error = wait_once(self, ops, began, deadline);
		/* Here: a thread that comes back to an interpreter that ends may be ended there, with its stack. */
		holds_waited(&waiting);
		Py_END_ALLOW_THREADS
		/* With it in hand no handler runs here: the interpreter does that later, when we have returned. */
		if ((error == EINTR || error == EAGAIN) && PyErr_CheckSignals())
			error = -1;
		/* The child of a fork, in a handler, has announced nothing. */
		if (generation != owner_generation)
			announced = false;
		/* While it was awake it may have happened, and been over again. */
		if ((error == EINTR || error == EAGAIN || error == ETIMEDOUT) && turn_of(self) != turn)
			error = 0;
	} while (error == EINTR || error == EAGAIN);
	inside_leave(&self->waiting);
	if (standing) {
		self->standing = error == ETIMEDOUT && announced;
		self->standing_by = generation;
	}
	if (error && announced && !(standing && self->standing))
		(void)operate(self, &self->withdraw);
	if (!error && self->closing) {
		(void)operate(self, &self->leave);
		error = ECANCELED;
	}
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
	const struct guard_ops *ops = &self->enter;
	struct holds_wait waiting;
	int error;

	if (!self->open) {
		fail(self, 0, "acquire");
		return -1;
	}
	if (self->again.count && my_hold(self))
		ops = &self->again;
	error = operate(self, ops);
	/* By way of another object, perhaps. */
	if (error == EAGAIN && self->again.count && !(self->flags & LOCK_UNBOUND) &&
	    holds_wait(&waiting, &self->holds, false, false) == HOLDS_AGAIN)
		error = operate(self, &self->again);
	if (!error)
		return taken(self, false, 0) ? 1 : -1;
	if (error == EAGAIN)
		return 0;
	fail(self, error, "acquire");
	return -1;
}

static PyObject *acquire(GuardCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	int64_t deadline;
	bool blocking;
	double timeout;
	__u32 turn;
	int result;

	if (parse_wait("acquire", args, nargs, kwnames, 0, &blocking, &timeout, NULL) ||
	    deadline_from(blocking, timeout, &deadline))
		return NULL;
	turn = turn_of(self);
	result = try_now(self);
	if (!result && blocking && timeout != 0)
		result = wait(self, deadline, false, turn);
	return result < 0 ? NULL : PyBool_FromLong(result);
}
SECTION_FASTCALL_KEYWORDS(GuardCore, acquire)

static PyObject *acquire_nowait(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	int result = try_now(self);

	return result < 0 ? NULL : PyBool_FromLong(result);
}
SECTION_NOARGS(GuardCore, acquire_nowait)

/*
 * _wait_slice(seconds): acquire(timeout=seconds), of one that is unbound: for a thread that waits in a task's place, slice
 * by slice, and then calls _withdraw(), which says that nobody waits any more.
 */
static PyObject *wait_slice(GuardCore *self, PyObject *seconds)
{
	double timeout = PyFloat_AsDouble(seconds);
	int64_t deadline;
	__u32 turn;
	int result;

	if ((timeout == -1.0 && PyErr_Occurred()) || deadline_from(true, timeout, &deadline))
		return NULL;
	if (self->kind != GUARD_COUNTED && !(self->flags & LOCK_UNBOUND))
		return misuse(self, PyExc_RuntimeError, "_wait_slice: it belongs to threads");
	turn = turn_of(self);
	result = is_standing(self) ? 0 : try_now(self);
	if (!result)
		result = wait(self, deadline, true, turn);
	return result < 0 ? NULL : PyBool_FromLong(result);
}
SECTION_O(GuardCore, wait_slice)

static PyObject *wait_no_more(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	withdraw(self);
	Py_RETURN_NONE;
}
SECTION_NOARGS(GuardCore, wait_no_more)

static PyObject *enter_it(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	const __u32 turn = turn_of(self);
	int result = try_now(self);

	if (!result)
		result = wait(self, NEVER, false, turn);
	if (result < 0)
		return NULL;
	Py_INCREF(self);
	return (PyObject *)self;
}
SECTION_NOARGS(GuardCore, enter_it)

/* ------------------------------------------------------------------ giving */

/* Give @n permits back: with SEM_UNDO those that this process took, without it those that another did. */
static int give_permits(GuardCore *self, unsigned short n)
{
	const struct sembuf *one = self->leave.now;
	uint32_t own = permits_take(self->permits, n);
	struct sembuf ops[2];
	unsigned int count = 0;
	int error;

	if (own)
		ops[count++] = (struct sembuf){ one->sem_num, (short)own, SEM_UNDO | IPC_NOWAIT };
	if (own < n)
		ops[count++] = (struct sembuf){ one->sem_num, (short)(n - own), IPC_NOWAIT };
	if (!semop(self->semid, ops, count))
		return 0;
	error = errno;
	if (error == EIDRM || error == EINVAL)
		permits_forget(self->permits);
	else
		permits_add(self->permits, own);
	return error;
}

/* Returns NULL, and an exception, unless this thread has it by way of this object. */
static struct hold *must_hold(GuardCore *self, const char *doing)
{
	struct hold *hold = self->kind == GUARD_COUNTED ? NULL : my_hold(self);
	char message[160];

	if (hold)
		return hold;
	snprintf(message, sizeof(message), "%s: %s", doing, is_held_here(self) ?
		 "another thread holds it; release it in the thread that acquired it" :
		 self->holds.first.thread ?
		 "it was acquired before the fork, by the parent; let the parent release it" :
		 "it was not acquired by this object; acquire it first");
	misuse(self, PyExc_RuntimeError, message);
	return NULL;
}

static bool give(GuardCore *self)
{
	struct hold *hold = must_hold(self, "release");
	int error;

	if (!hold)
		return false;
	if (hold->count > 1) {
		/* Even if that fails, as of a set that was removed: nothing else is to be done about it. */
		hold->count--;
		error = operate(self, &self->leave);
	} else {
		/* Before the semaphores: behind that a thread of ours that waited may have them. */
		hold_end(hold);
		error = leave_by(self, &self->leave);
	}
	if (error) {
		fail(self, error, "release");
		return false;
	}
	return true;
}

static PyObject *release(GuardCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	Py_ssize_t given = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
	long n = 1;
	int error;

	if (self->kind != GUARD_COUNTED) {
		if (given) {
			PyErr_SetString(PyExc_TypeError, "release() takes no arguments");
			return NULL;
		}
		if (!give(self))
			return NULL;
		Py_RETURN_NONE;
	}
	if (given > 1 || (given > nargs && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "n"))) {
		PyErr_SetString(PyExc_TypeError, "release() takes one argument at most, n");
		return NULL;
	}
	if (given) {
		int overflow;

		n = PyLong_AsLongAndOverflow(args[0], &overflow);
		if (n == -1 && PyErr_Occurred()) {
			if (PyErr_ExceptionMatches(PyExc_TypeError))
				PyErr_Format(PyExc_TypeError, "release(): n is an int, not %.100s: %R", Py_TYPE(args[0])->tp_name,
					     args[0]);
			return NULL;
		}
		if (overflow)
			n = overflow * LONG_MAX;
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
SECTION_FASTCALL_KEYWORDS(GuardCore, release)

static PyObject *leave_it(GuardCore *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs))
{
	return release(self, NULL, 0, NULL);
}
SECTION_FASTCALL(GuardCore, leave_it)

/*
 * _hand_over(shared, operations): this thread, which has this one alone, gives it up and has @shared in its place.  All by
 * one call, so nobody else can have it alone in between.
 */
static PyObject *hand_over(GuardCore *self, PyObject *args)
{
	struct guard_ops ops = { 0 };
	struct hold *hold, *mine;
	GuardCore *shared;
	PyObject *given;
	int error;

	if (!PyArg_ParseTuple(args, "O!O:_hand_over", &GuardCore_Type, &shared, &given))
		return NULL;
	if (self->kind != GUARD_EXCLUSIVE || shared->kind != GUARD_SHARED || !shared->open || self->semid != shared->semid) {
		PyErr_SetString(PyExc_ValueError, "these two are not sides of one lock");
		return NULL;
	}
	hold = must_hold(self, "downgrade");
	if (!hold)
		return NULL;
	if (parse_ops(given, &ops)) {
		drop_ops(&ops);
		return NULL;
	}
	/* Before anything is given up: for this there may be no memory. */
	mine = free_hold(shared);
	if (!mine) {
		drop_ops(&ops);
		return PyErr_NoMemory();
	}
	hold_end(hold);
	error = leave_by(self, &ops);
	drop_ops(&ops);
	/* Somebody raised the readers to the maximum, or root has lowered SEMOPM: nothing was done. */
	if (error == ERANGE || error == E2BIG)
		operate(self, &self->leave);
	if (error)
		return fail(self, error, "downgrade");
	hold_begin(mine, taker(shared));
	mutex_count(&shared->waits, false, 0);
	Py_XINCREF(self->owner_died);
	Py_XSETREF(shared->owner_died, self->owner_died);
	Py_RETURN_NONE;
}

static PyObject *hand_over_varargs(PyObject *self, PyObject *args)
{
	PyObject *result, *shared = PyTuple_GET_SIZE(args) ? PyTuple_GET_ITEM(args, 0) : self;

	(void)shared;
	Py_BEGIN_CRITICAL_SECTION2(self, shared);
	result = hand_over((GuardCore *)self, args);
	Py_END_CRITICAL_SECTION2();
	return result;
}

/* What it guards is consistent again. */
static PyObject *mark_consistent(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	size_t i;

	if (!must_hold(self, "mark_consistent"))
		return NULL;
	for (i = 0; i < self->members_count; i++) {
		self->members[i].holding.found = SEMSHARE_LOCK_SOUND;
		semshare_lock_trust(self->members[i].state);
	}
	Py_CLEAR(self->owner_died);
	Py_RETURN_NONE;
}
SECTION_NOARGS(GuardCore, mark_consistent)

/* ----------------------------------------------------------------- looking */

static PyObject *held(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	if (self->kind == GUARD_COUNTED)
		return PyBool_FromLong(self->permits && permits_count(self->permits));
	return PyBool_FromLong(my_hold(self) != NULL);
}
SECTION_NOARGS(GuardCore, held)

/* _words(index): as LockCore's, of one of the locks in it. */
static PyObject *words(GuardCore *self, PyObject *index)
{
	size_t i = PyLong_AsSize_t(index);

	if (i == (size_t)-1 && PyErr_Occurred())
		return NULL;
	return mutex_words(i < self->members_count ? self->members[i].state : NULL);
}
SECTION_O(GuardCore, words)

static PyObject *counts(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	return mutex_counts(&self->waits);
}
SECTION_NOARGS(GuardCore, counts)

static PyObject *semid(GuardCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromLong(self->semid);
}
SECTION_GET(GuardCore, semid)

static PyObject *closed(GuardCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}
SECTION_GET(GuardCore, closed)

static PyObject *suspect(GuardCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(is_suspect(self));
}
SECTION_GET(GuardCore, suspect)

static PyObject *owner_died(GuardCore *self, void *Py_UNUSED(closure))
{
	PyObject *died = self->owner_died ? self->owner_died : Py_None;

	Py_INCREF(died);
	return died;
}
SECTION_GET(GuardCore, owner_died)

/* ------------------------------------------------------- beginning and end */

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

/* Which semaphores it is about.  0, or -1 with an exception set. */
static int open_holds(GuardCore *self)
{
	struct holds_place *places;
	unsigned int i;

	places = PyMem_Calloc(self->enter.count, sizeof(*places));
	if (!places) {
		PyErr_NoMemory();
		return -1;
	}
	for (i = 0; i < self->enter.count; i++)
		places[i] = (struct holds_place){ .semid = self->semid, .number = self->enter.now[i].sem_num };
	self->holds.first.thread = 0;
	self->holds.shared = self->kind == GUARD_SHARED;
	self->holds.object = (PyObject *)self;
	self->holds.places = places;
	self->holds.count = self->enter.count;
	self->holds.abandon = abandon;
	holds_open(&self->holds);
	return 0;
}

/* 0, or -1 with an exception set. */
static int open_permits(GuardCore *self)
{
	self->permits = permits_open(self->semid, self->enter.now->sem_num);
	if (self->permits)
		return 0;
	PyErr_NoMemory();
	return -1;
}

/* What _open() has made, and no close() lets go of while somebody may look at it. */
static void drop(GuardCore *self)
{
	release_memory(self);
	permits_close(self->permits);
	self->permits = NULL;
	PyMem_Free(self->members);
	self->members = NULL;
	PyMem_Free(self->holds.places);
	self->holds.places = NULL;
	drop_ops(&self->enter);
	drop_ops(&self->leave);
	drop_ops(&self->again);
	drop_ops(&self->announce);
	drop_ops(&self->announced);
	drop_ops(&self->withdraw);
}

/* 0, or -1 with an exception set. */
static int check_ops(const GuardCore *self)
{
	if (self->enter.count && self->leave.count && (self->kind != GUARD_COUNTED || self->leave.count == 1) &&
	    !self->announce.count == !self->announced.count && !self->announce.count == !self->withdraw.count)
		return 0;
	PyErr_SetString(PyExc_ValueError, "these operations do not belong together");
	return -1;
}

static PyObject *open_it(GuardCore *self, PyObject *args, PyObject *kwargs)
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
	drop(self);
	self->kind = (enum guard_kind)kind;
	self->flags = flags;
	self->semid = semid;
	if (parse_ops(enter, &self->enter) || parse_ops(leave, &self->leave) || parse_ops(again, &self->again) ||
	    parse_ops(announce, &self->announce) || parse_ops(announced, &self->announced) ||
	    parse_ops(withdraw, &self->withdraw) || check_ops(self) || open_members(self, memory, offsets) ||
	    (kind == GUARD_COUNTED ? open_permits(self) : open_holds(self))) {
		drop(self);
		return NULL;
	}
	self->closing = false;
	self->open = true;
	Py_RETURN_NONE;
}
SECTION_KEYWORDS(GuardCore, open_it)

/* Returns false, and an exception, if it is held by any thread of this process by way of this object. */
static bool may_close(GuardCore *self)
{
	if (!self->open || !is_held_here(self))
		return true;
	misuse(self, PyExc_RuntimeError, "close: it is held by way of this object; release it first");
	return false;
}

/* _may_close(): raise what _close() would. */
static PyObject *ask_to_close(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!may_close(self))
		return NULL;
	Py_RETURN_NONE;
}
SECTION_NOARGS(GuardCore, ask_to_close)

static PyObject *close_it(GuardCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!self->open)
		Py_RETURN_NONE;
	if (!may_close(self))
		return NULL;
	self->open = false;
	if (self->kind != GUARD_COUNTED)
		holds_close(&self->holds);
	withdraw(self);
	/* Who waits still looks at the words: the last of them lets go of the memory. */
	self->closing = true;
	if (!inside_count(&self->waiting))
		release_memory(self);
	Py_RETURN_NONE;
}
SECTION_NOARGS(GuardCore, close_it)

static void dealloc(GuardCore *self)
{
	struct hold *hold;

	PyObject_GC_UnTrack(self);
	/* Permits stay with the process. */
	if (self->open && self->kind != GUARD_COUNTED)
		holds_abandon(&self->holds);
	withdraw(self);
	while ((hold = self->holds.first.next)) {
		self->holds.first.next = hold->next;
		free(hold);
	}
	drop(self);
	free(self->waits.wait_ns);
	Py_CLEAR(self->owner_died);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static int traverse(GuardCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->owner_died);
	Py_VISIT(self->memory.obj);
	return 0;
}

static int clear(GuardCore *self)
{
	Py_CLEAR(self->owner_died);
	return 0;
}

static PyMethodDef methods[] = {
	{ "acquire", METHOD(acquire_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take it, as threading.Lock.acquire() does.\n\n"
		    "Waits at most `timeout` seconds, -1: without limit. A signal's handler runs meanwhile and the wait\n"
		    "goes on with the time that is left; if it raises, as Ctrl-C does, nothing is held.\n\n"
		    "Returns:\n    True if it was taken, False if the time was over, or if it could not be taken at once and\n"
		    "    not `blocking`.\n\n"
		    "Raises:\n    RuntimeError: this thread would wait for itself, or for threads that wait for it.\n"
		    "    Removed: the set was removed.\n") },
	{ "acquire_nowait", METHOD(acquire_nowait_noargs), METH_NOARGS,
	  PyDoc_STR("acquire_nowait($self, /)\n--\n\nacquire(blocking=False)") },
	{ "release", METHOD(release_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("Give it back.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold it by way of this object.\n"
		    "    Removed: the set was removed meanwhile.\n"
		    "    LockBroken: somebody else was inside at the same time.\n") },
	{ "__enter__", METHOD(enter_it_noargs), METH_NOARGS, PyDoc_STR("acquire(), and return it.") },
	{ "__exit__", METHOD(leave_it_fastcall), METH_FASTCALL, PyDoc_STR("release()") },
	{ "held", METHOD(held_noargs), METH_NOARGS,
	  PyDoc_STR("held($self, /)\n--\n\nWhether this thread holds it by way of this object.") },
	{ "mark_consistent", METHOD(mark_consistent_noargs), METH_NOARGS,
	  PyDoc_STR("mark_consistent($self, /)\n--\n\n"
		    "Say that what it guards is consistent again, though an owner died inside.\n\n"
		    "Raises:\n    RuntimeError: this thread does not hold it by way of this object.\n") },
	{ "_wait_slice", METHOD(wait_slice_o), METH_O, NULL },
	{ "_withdraw", METHOD(wait_no_more_noargs), METH_NOARGS, NULL },
	{ "_hand_over", METHOD(hand_over_varargs), METH_VARARGS, NULL },
	{ "_open", METHOD(open_it_keywords), METH_VARARGS | METH_KEYWORDS, NULL },
	{ "_may_close", METHOD(ask_to_close_noargs), METH_NOARGS, NULL },
	{ "_close", METHOD(close_it_noargs), METH_NOARGS, NULL },
	{ "_words", METHOD(words_o), METH_O, NULL },
	{ "_counts", METHOD(counts_noargs), METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "semid", semid_get, NULL, PyDoc_STR("The set's id."), NULL },
	{ "closed", closed_get, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ "suspect", suspect_get, NULL,
	  PyDoc_STR("Whether an owner died inside and nobody has said since that what it guards is consistent."), NULL },
	{ "owner_died", owner_died_get, NULL,
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
	.tp_dealloc = (destructor)dealloc,
	.tp_traverse = (traverseproc)traverse,
	.tp_clear = (inquiry)clear,
	.tp_methods = methods,
	.tp_getset = getset,
};
