// SPDX-License-Identifier: MIT
/*
 * Channels: the passes of semshare/core/channel.h between taking and giving the mutex, and sleeping and waking around
 * them.  Who asks what, and who waits for it, is Python's: semshare/channel.py.
 *
 * A call is a piece of work with one pass over a queue.  All of it happens without the GIL, and no Python runs between
 * taking and giving the mutex.
 *
 * Who sleeps for a message sets the queue's need_data under the mutex and sleeps on the queue's hint; who puts one there
 * and finds it set clears it and gives the hint, after the mutex.  One who slept passes the hint on if it leaves
 * messages.  A hint that was lost with a killed process costs SEMSHARE_RING_RECHECK_MS.
 *
 * Who waits for one in an event loop sets the queue's bell_data and waits for a descriptor: semshare/core/bell.h.
 */
#include "native.h"

#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include <semshare/core/channel.h>

#include "bell.h"
#include "clock.h"

/* As ring.c: how long to look before going to sleep, and to wait for the mutex where nothing else is waited for. */
#define LOOK_NS		(60 * NS_PER_US)
#define PATIENCE_NS	NS_PER_S
#define RECHECK_NS	(SEMSHARE_RING_RECHECK_MS * NS_PER_MS)
#define BATCH_MOST	64

typedef struct {
	PyObject_HEAD
	struct mutex mutex;
	struct semshare_channel_view view;
	Py_buffer memory;		/* keeps all of that mapped */
	struct bells bells;		/* by queue */
	unsigned int generation;	/* of the process whose descriptors they are, as owner_generation */
	struct inside inside;		/* threads, with the GIL released */
	bool open;
	volatile bool closing;
} ChannelCore;

struct taken {
	struct taken *next;
	struct semshare_record record;
	struct semshare_channel_message message;
	__u32 size;
	unsigned char payload[];
};

struct work {
	const char *doing;
	enum semshare_channel_queue queue;
	bool waits;			/* for what pass() has not found */
	bool sleeps;			/* it will sleep if pass() finds nothing */
	bool slept;
	int64_t deadline;
	int64_t patience;		/* until when to wait for the mutex */
	pid_t dead_holder;

	/* put */
	enum semshare_channel_kind kind;
	struct semshare_channel_message message;
	const void *payload;
	__u32 size;
	__u64 position;

	/* get */
	unsigned int count;
	unsigned int most;
	struct taken *first;
	struct taken **last;

	int result;
};

typedef int (*pass_t)(ChannelCore *self, struct work *work, bool *hint);

static const unsigned short hint_of[SEMSHARE_CHANNEL_QUEUES] = {
	[SEMSHARE_CHANNEL_COMMANDS] = SEMSHARE_CHANNEL_SEM_COMMANDS,
	[SEMSHARE_CHANNEL_REPLIES] = SEMSHARE_CHANNEL_SEM_REPLIES,
};

/* ------------------------------------------- passes, by the owner of the mutex */

static int pass_put(ChannelCore *self, struct work *work, bool *hint)
{
	__u32 *need = &self->view.queue[work->queue].control->need_data;
	int error = -semshare_channel_put(&self->view, work->queue, work->kind, &work->message, work->payload,
					  work->size, (__u64)clock_now(), &work->position);

	if (!error && semshare_load(need)) {
		semshare_store(need, 0);
		*hint = true;
	}
	return error;
}

static int pass_get(ChannelCore *self, struct work *work, bool *hint)
{
	struct semshare_ring_control *control = self->view.queue[work->queue].control;
	int error = 0;

	while (work->count < work->most) {
		struct taken *taken = malloc(sizeof(*taken) + self->view.max_payload);

		if (!taken) {
			error = ENOMEM;
			break;
		}
		error = -semshare_channel_get(&self->view, work->queue, &taken->record, &taken->message, taken->payload,
					      &taken->size);
		if (error || taken->record.type == SEMSHARE_CHANNEL_VOID) {
			free(taken);
			if (error && error != EBADMSG)
				break;
			error = 0;
			continue;
		}
		taken->next = NULL;
		*work->last = taken;
		work->last = &taken->next;
		work->count++;
	}
	if (error == EPROTO)
		return error;
	if ((work->sleeps || work->slept) && !semshare_load(&control->need_data))
		semshare_store(&control->need_data, 1);
	if (work->slept && work->count && semshare_load(&control->head) != semshare_load(&control->tail))
		*hint = true;
	return work->count ? 0 : error;
}

static int pass_retract(ChannelCore *self, struct work *work, bool *Py_UNUSED(hint))
{
	work->result = semshare_channel_retract(&self->view, work->position, work->message.id);
	return work->result < 0 ? -work->result : 0;
}

static int pass_purge(ChannelCore *self, struct work *Py_UNUSED(work), bool *Py_UNUSED(hint))
{
	return -semshare_channel_purge(&self->view);
}

static int pass_begin(ChannelCore *self, struct work *work, bool *Py_UNUSED(hint))
{
	if (work->result == SEMSHARE_CHANNEL_SEM_ANSWERS)
		return -semshare_channel_begin_answers(&self->view, owner_self());
	return -semshare_channel_begin_asks(&self->view, owner_self());
}

static int pass_count(ChannelCore *self, struct work *work, bool *Py_UNUSED(hint))
{
	semshare_channel_count(&self->view.control->unmatched, work->count);
	return 0;
}

/* ---------------------------------------------------------- around the lock */

static void give_hint(ChannelCore *self, enum semshare_channel_queue queue)
{
	struct sembuf hint[] = {
		{ hint_of[queue], 0, IPC_NOWAIT },
		{ hint_of[queue], 1, IPC_NOWAIT },
	};

	/* EAGAIN: it stands already. Anything else the next operation says as well. */
	(void)semop(self->mutex.semid, hint, 2);
}

static int take(ChannelCore *self, struct work *work, struct mutex_holding *holding)
{
	int error = EAGAIN;

	if (!(semshare_load(&self->mutex.state->epoch) & 1))
		error = mutex_try(&self->mutex, holding);
	if (error != EAGAIN)
		return error;
	if (!work->patience)
		work->patience = clock_now() + PATIENCE_NS;
	error = mutex_wait(&self->mutex, PATIENCE_NS, work->patience, &self->closing, holding, &work->dead_holder);
	if (error == EAGAIN)
		return EINTR;
	return error == ETIMEDOUT ? EBUSY : error;
}

static __u32 *bell_of(ChannelCore *self, enum semshare_channel_queue queue)
{
	return semshare_bell(self->view.queue[queue].control, 0);
}

static bool is_empty(ChannelCore *self, enum semshare_channel_queue queue)
{
	const struct semshare_ring_control *control = self->view.queue[queue].control;

	return semshare_load_acquire(&control->tail) == semshare_load(&control->head);
}

static int pass_and_give(ChannelCore *self, struct work *work, pass_t pass, const struct mutex_holding *holding)
{
	struct semshare_channel_control *control = self->view.control;
	bool hint = false;
	int error = 0;
	int given;

	if (holding->found == SEMSHARE_LOCK_DIED && semshare_channel_repair(&self->view))
		semshare_channel_tell_broken(control, SEMSHARE_RING_BAD_REPAIR);
	if (semshare_load(&control->state) == SEMSHARE_RING_OK)
		error = pass(self, work, &hint);
	else
		error = EPROTO;
	if (error == EPROTO)
		semshare_channel_tell_broken(control, SEMSHARE_RING_BAD_CURSORS);
	given = mutex_give(&self->mutex, holding);
	if (given == EPROTO || given == ERANGE) {
		semshare_channel_tell_broken(control, given == ERANGE ? SEMSHARE_RING_BAD_MUTEX :
									SEMSHARE_RING_TWO_OWNERS);
		given = EPROTO;
	}
	if (semshare_load(&control->state) != SEMSHARE_RING_OK) {
		give_hint(self, SEMSHARE_CHANNEL_COMMANDS);
		give_hint(self, SEMSHARE_CHANNEL_REPLIES);
		bells_ring(&self->bells, SEMSHARE_CHANNEL_COMMANDS);
		bells_ring(&self->bells, SEMSHARE_CHANNEL_REPLIES);
	} else if (hint) {
		give_hint(self, work->queue);
	}
	if (pass == pass_put && !error) {
		/* C before D; pairs with that of semshare_bell_arm(), which takes no lock. */
		semshare_full_barrier();
		if (semshare_bell_take(bell_of(self, work->queue)))
			bells_ring(&self->bells, work->queue);
	}
	/* What was done is: the set's removal is for the next call to tell. */
	if (given && !(error == 0 && given != EPROTO))
		return given;
	return error;
}

/* Look whether a message comes; not long.  Returns whether one did. */
static bool look(ChannelCore *self, const struct work *work)
{
	int64_t begin = clock_now();

	if (mutex_spin_ns() < 0)
		return false;
	do {
		if (!is_empty(self, work->queue))
			return true;
		sched_yield();
	} while (clock_now() - begin < LOOK_NS);
	return false;
}

/* Until it is done, or the interpreter has to be asked (EINTR).  Without the GIL. */
static int go_on(ChannelCore *self, struct work *work, pass_t pass)
{
	for (;;) {
		struct mutex_holding holding;
		struct sembuf wait = { hint_of[work->queue], -1, 0 };
		struct timespec timeout;
		int64_t left;
		int error;

		if (self->closing)
			return ECANCELED;
		error = take(self, work, &holding);
		if (error)
			return error;
		work->patience = 0;
		error = pass_and_give(self, work, pass, &holding);
		if (error != EAGAIN || !work->waits)
			return error;
		left = work->deadline - clock_now();
		if (left <= 0)
			return ETIMEDOUT;
		if (!work->sleeps) {
			/* The flag that asks for a hint is not set yet: a second pass sets it. */
			work->sleeps = !look(self, work);
			continue;
		}
		timeout = clock_timespec(left < RECHECK_NS ? left : RECHECK_NS);
		work->slept = true;
		if (semtimedop(self->mutex.semid, &wait, 1, &timeout))
			return errno == EAGAIN ? EINTR : errno;
	}
}

/*
 * The child of a fork has its parent's descriptors, at which it does not listen.  With the GIL.
 */
static void forget_parent(ChannelCore *self)
{
	if (self->generation == owner_generation)
		return;
	bells_forget(&self->bells);
	self->generation = owner_generation;
}

static void release_memory(ChannelCore *self)
{
	/* Else the end of the child's descriptor would be that of its parent's: the module knows them by their file. */
	forget_parent(self);
	self->mutex.state = NULL;
	bells_close(&self->bells);
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
}

/* Raise ValueError: this object is closed. */
static PyObject *closed(ChannelCore *self)
{
	PyObject *what = PyObject_GetAttrString((PyObject *)self, "_what");

	if (what) {
		PyErr_Format(PyExc_ValueError, "%S is closed; attach it anew", what);
		Py_DECREF(what);
	}
	return NULL;
}

static PyObject *fail(ChannelCore *self, const struct work *work, int error)
{
	PyObject *result;

	switch (error) {
	case -1:
		return NULL;
	case ECANCELED:
		return closed(self);
	case ENOMEM:
		return PyErr_NoMemory();
	}
	result = PyObject_CallMethod((PyObject *)self, "_fail", "isi", error, work->doing, (int)work->dead_holder);
	if (result) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "_fail() returned");
	}
	return NULL;
}

/* Do it.  Returns 0, an errno, or -1 with an exception set. */
static int drive(ChannelCore *self, struct work *work, pass_t pass)
{
	int error;

	if (!self->open)
		return ECANCELED;
	forget_parent(self);
	inside_enter(&self->inside);
	do {
		Py_BEGIN_ALLOW_THREADS
		error = go_on(self, work, pass);
		Py_END_ALLOW_THREADS
		if (error == EINTR && PyErr_CheckSignals())
			error = -1;
	} while (error == EINTR);
	inside_leave(&self->inside);
	if (self->closing) {
		if (!inside_count(&self->inside))
			release_memory(self);
		if (error > 0)
			error = ECANCELED;
	}
	return error;
}

static int64_t after(double seconds)
{
	/* 285 years: the end of int64_t in nanoseconds. */
	return seconds < 9e9 ? clock_now() + (int64_t)(seconds * NS_PER_S) : NEVER;
}

/* ----------------------------------------------------------------- methods */

/* _send(queue, kind, id, cookie, deadline_ns, opcode, status, payload): its position; -1: there is no space. */
static PyObject *ChannelCore_send(ChannelCore *self, PyObject *args)
{
	struct work work = { .doing = "send" };
	unsigned long long id, cookie, deadline;
	unsigned int opcode;
	int queue, kind, status, error;
	Py_buffer payload;

	if (!PyArg_ParseTuple(args, "iiKKKIiy*:_send", &queue, &kind, &id, &cookie, &deadline, &opcode, &status,
			      &payload))
		return NULL;
	work.queue = queue == SEMSHARE_CHANNEL_REPLIES ? SEMSHARE_CHANNEL_REPLIES : SEMSHARE_CHANNEL_COMMANDS;
	work.kind = (enum semshare_channel_kind)kind;
	work.message.id = id;
	work.message.cookie = cookie;
	work.message.deadline_ns = deadline;
	work.message.opcode = opcode;
	work.message.status = status;
	work.payload = payload.buf;
	work.size = payload.len > SEMSHARE_CHANNEL_MAX_PAYLOAD ? (__u32)-1 : (__u32)payload.len;
	error = drive(self, &work, pass_put);
	PyBuffer_Release(&payload);
	if (error == EAGAIN)
		return PyLong_FromLong(-1);
	if (error)
		return fail(self, &work, error);
	return PyLong_FromUnsignedLongLong(work.position);
}
SECTION_VARARGS(ChannelCore, ChannelCore_send)

/*
 * _receive(queue, most, timeout): a list of (kind, id, cookie, deadline_ns, opcode, status, payload); [] when the time
 * is over.
 */
static PyObject *ChannelCore_receive(ChannelCore *self, PyObject *args)
{
	struct work work = { .doing = "receive" };
	PyObject *result = NULL;
	double timeout;
	int queue, error;
	Py_ssize_t i = 0;

	if (!PyArg_ParseTuple(args, "iId:_receive", &queue, &work.most, &timeout))
		return NULL;
	work.queue = queue == SEMSHARE_CHANNEL_REPLIES ? SEMSHARE_CHANNEL_REPLIES : SEMSHARE_CHANNEL_COMMANDS;
	if (!work.most || work.most > BATCH_MOST)
		work.most = BATCH_MOST;
	work.waits = timeout > 0;
	work.deadline = after(timeout);
	work.last = &work.first;
	error = drive(self, &work, pass_get);
	/* What was taken is; a signal's handler that raised takes it along, as a kill would. */
	if (error && !(work.count && error > 0) && error != EAGAIN && error != ETIMEDOUT)
		fail(self, &work, error);
	else
		result = PyList_New((Py_ssize_t)work.count);
	while (work.first) {
		struct taken *taken = work.first;

		if (result) {
			PyObject *item = Py_BuildValue("IKKKIiy#", (unsigned int)taken->record.type,
						       (unsigned long long)taken->message.id,
						       (unsigned long long)taken->message.cookie,
						       (unsigned long long)taken->message.deadline_ns,
						       (unsigned int)taken->message.opcode, (int)taken->message.status,
						       (const char *)taken->payload, (Py_ssize_t)taken->size);

			if (item)
				PyList_SET_ITEM(result, i++, item);
			else
				Py_CLEAR(result);
		}
		work.first = taken->next;
		free(taken);
	}
	return result;
}
SECTION_VARARGS(ChannelCore, ChannelCore_receive)

/* _retract(position, id): whether nobody had taken it, and nobody will; None if the lock was not to be had at once. */
static PyObject *ChannelCore_retract(ChannelCore *self, PyObject *args)
{
	struct work work = { .doing = "withdraw" };
	unsigned long long position, id;
	int error;

	if (!PyArg_ParseTuple(args, "KK:_retract", &position, &id))
		return NULL;
	work.position = position;
	work.message.id = id;
	work.patience = 1;
	error = drive(self, &work, pass_retract);
	if (error == EBUSY)
		Py_RETURN_NONE;
	if (error)
		return fail(self, &work, error);
	return PyBool_FromLong(work.result);
}
SECTION_VARARGS(ChannelCore, ChannelCore_retract)

/* _purge(): pass over withdrawn commands at the head of the queue. */
static PyObject *ChannelCore_purge(ChannelCore *self, PyObject *Py_UNUSED(ignored))
{
	struct work work = { .doing = "purge" };
	int error = drive(self, &work, pass_purge);

	if (error)
		return fail(self, &work, error);
	Py_RETURN_NONE;
}
SECTION_NOARGS(ChannelCore, ChannelCore_purge)

/* _count(unmatched): add to that counter of the control page. */
static PyObject *ChannelCore_count(ChannelCore *self, PyObject *args)
{
	struct work work = { .doing = "count" };
	int error;

	if (!PyArg_ParseTuple(args, "I:_count", &work.count))
		return NULL;
	error = drive(self, &work, pass_count);
	if (error)
		return fail(self, &work, error);
	Py_RETURN_NONE;
}
SECTION_VARARGS(ChannelCore, ChannelCore_count)

/*
 * _tell(outstanding, timeouts, cancels, deaths): who asks has so many outstanding now, and so many more that ended so.
 * Without the mutex, which is not worth a command's while: nobody else writes these. A closed channel is told nothing.
 */
static PyObject *ChannelCore_tell(ChannelCore *self, PyObject *args)
{
	struct semshare_channel_control *control = self->view.control;
	unsigned int outstanding, timeouts, cancels, deaths;

	if (!PyArg_ParseTuple(args, "IIII:_tell", &outstanding, &timeouts, &cancels, &deaths))
		return NULL;
	if (!self->open)
		Py_RETURN_NONE;
	semshare_store(&control->outstanding, outstanding);
	if (timeouts)
		semshare_channel_count(&control->timeouts, timeouts);
	if (cancels)
		semshare_channel_count(&control->cancels, cancels);
	if (deaths)
		semshare_channel_count(&control->deaths, deaths);
	Py_RETURN_NONE;
}
SECTION_VARARGS(ChannelCore, ChannelCore_tell)

/* _take(role, timeout): whether the role, a number of enum semshare_channel_semaphore, is ours now. */
static PyObject *ChannelCore_take(ChannelCore *self, PyObject *args)
{
	struct work work = { .doing = "take a role" };
	struct sembuf op = { .sem_flg = SEM_UNDO };
	double seconds;
	int64_t deadline;
	int role, error;

	if (!PyArg_ParseTuple(args, "id:_take", &role, &seconds))
		return NULL;
	if (!self->open)
		return closed(self);
	op.sem_num = (unsigned short)role;
	op.sem_op = -1;
	deadline = after(seconds);
	for (;;) {
		int64_t left = deadline - clock_now();
		struct timespec timeout = clock_timespec(left < 0 ? 0 : left < RECHECK_NS ? left : RECHECK_NS);
		int semid = self->mutex.semid;

		Py_BEGIN_ALLOW_THREADS
		error = semtimedop(semid, &op, 1, &timeout) ? errno : 0;
		Py_END_ALLOW_THREADS
		if (!error)
			break;
		if (error != EAGAIN && error != EINTR)
			return fail(self, &work, error);
		if (PyErr_CheckSignals())
			return NULL;
		if (!self->open)
			return closed(self);
		if (clock_now() >= deadline)
			Py_RETURN_FALSE;
	}
	work.result = role;
	error = drive(self, &work, pass_begin);
	if (error) {
		op.sem_op = 1;
		(void)semop(self->mutex.semid, &op, 1);
		return fail(self, &work, error);
	}
	Py_RETURN_TRUE;
}
SECTION_VARARGS(ChannelCore, ChannelCore_take)

/* _give(role): leave it to others. */
static PyObject *ChannelCore_give(ChannelCore *self, PyObject *args)
{
	struct sembuf op = { .sem_op = 1, .sem_flg = SEM_UNDO | IPC_NOWAIT };
	int role;

	if (!PyArg_ParseTuple(args, "i:_give", &role))
		return NULL;
	op.sem_num = (unsigned short)role;
	/* Where the set is gone, so is the role. */
	(void)semop(self->mutex.semid, &op, 1);
	Py_RETURN_NONE;
}
SECTION_VARARGS(ChannelCore, ChannelCore_give)

/*
 * _look(): (whether somebody answers, session, session_start, head of the commands), none of them younger than the first.
 * See "Death of who answers" in semshare/core/channel.h.
 */
static PyObject *ChannelCore_look(ChannelCore *self, PyObject *Py_UNUSED(ignored))
{
	struct semshare_channel_sight sight, again;
	int value, tries = 0;

	if (!self->open)
		return closed(self);
	semshare_channel_look(&self->view, &sight);
	for (;;) {
		value = semctl(self->mutex.semid, SEMSHARE_CHANNEL_SEM_ANSWERS, GETVAL);
		if (value < 0) {
			struct work work = { .doing = "look" };

			return fail(self, &work, errno);
		}
		semshare_channel_look(&self->view, &again);
		if (again.session == sight.session)
			break;
		sight = again;
		/* Somebody plays with it: say that there is one, which nothing follows from. */
		if (++tries == 8) {
			value = 0;
			break;
		}
	}
	return Py_BuildValue("NKKK", PyBool_FromLong(value == 0), (unsigned long long)sight.session,
			     (unsigned long long)sight.session_start, (unsigned long long)sight.head);
}
SECTION_NOARGS(ChannelCore, ChannelCore_look)

/* ------------------------------------------------------ waiting at a descriptor */

/* _bells(area, commands, replies): how to ring: the descriptor of the module's area, or -1 and the paths of two FIFOs. */
static PyObject *ChannelCore_bells(ChannelCore *self, PyObject *args)
{
	const char *paths[2];
	int area, error;

	if (!PyArg_ParseTuple(args, "izz:_bells", &area, &paths[0], &paths[1]))
		return NULL;
	error = bells_by(&self->bells, area, paths);
	if (error) {
		errno = error;
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	Py_RETURN_NONE;
}
SECTION_VARARGS(ChannelCore, ChannelCore_bells)

/* A queue's number.  0, or -1 with an exception set. */
static int queue_from(PyObject *object, enum semshare_channel_queue *queue)
{
	int number = PyObject_IsTrue(object);

	*queue = number > 0 ? SEMSHARE_CHANNEL_REPLIES : SEMSHARE_CHANNEL_COMMANDS;
	return number < 0 ? -1 : 0;
}

/* _listen(queue): the descriptor that becomes readable when there may be a message. The channel closes it. */
static PyObject *ChannelCore_listen(ChannelCore *self, PyObject *object)
{
	struct work work = { .doing = "listen" };
	int error;

	if (queue_from(object, &work.queue))
		return NULL;
	if (!self->open)
		return closed(self);
	forget_parent(self);
	if (!bells_listens(&self->bells, work.queue)) {
		error = bells_listen(&self->bells, work.queue);
		if (error)
			return fail(self, &work, error);
	}
	return PyLong_FromLong(self->bells.ears[work.queue]);
}
SECTION_O(ChannelCore, ChannelCore_listen)

/* _hear(queue): make it unreadable; False if it was. */
static PyObject *ChannelCore_hear(ChannelCore *self, PyObject *object)
{
	enum semshare_channel_queue queue;

	if (queue_from(object, &queue))
		return NULL;
	forget_parent(self);
	return PyBool_FromLong(self->open && bells_listens(&self->bells, queue) && bells_hear(&self->bells, queue));
}
SECTION_O(ChannelCore, ChannelCore_hear)

/* _arm(queue): have it made readable for the next message. To be followed by a look whether there is one. */
static PyObject *ChannelCore_arm(ChannelCore *self, PyObject *object)
{
	enum semshare_channel_queue queue;

	if (queue_from(object, &queue))
		return NULL;
	if (!self->open)
		return closed(self);
	self->bells.heard[queue] = false;
	semshare_bell_arm(bell_of(self, queue));
	Py_RETURN_NONE;
}
SECTION_O(ChannelCore, ChannelCore_arm)

/* _pass_on(queue): what was heard is for who has the role now, and listens to the same FIFO. */
static PyObject *ChannelCore_pass_on(ChannelCore *self, PyObject *object)
{
	enum semshare_channel_queue queue;

	if (queue_from(object, &queue))
		return NULL;
	forget_parent(self);
	if (self->open && self->bells.heard[queue]) {
		self->bells.heard[queue] = false;
		semshare_bell_arm(bell_of(self, queue));
		if (!is_empty(self, queue) && semshare_bell_take(bell_of(self, queue)))
			bells_ring(&self->bells, queue);
	}
	Py_RETURN_NONE;
}
SECTION_O(ChannelCore, ChannelCore_pass_on)

static PyObject *ChannelCore_get_depth(ChannelCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLong(self->view.depth);
}
SECTION_GET(ChannelCore, ChannelCore_get_depth)

static PyObject *ChannelCore_get_max_payload(ChannelCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLong(self->view.max_payload);
}
SECTION_GET(ChannelCore, ChannelCore_get_max_payload)

static PyObject *ChannelCore_get_closed(ChannelCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}
SECTION_GET(ChannelCore, ChannelCore_get_closed)

/* _open(semid, memory): 0, or the errno of semshare_channel_check(): EAGAIN if there is no channel (yet), or EPROTO. */
static PyObject *ChannelCore_open(ChannelCore *self, PyObject *args)
{
	PyObject *memory;
	int semid, error;

	if (!PyArg_ParseTuple(args, "iO:_open", &semid, &memory))
		return NULL;
	if (self->open || inside_count(&self->inside)) {
		PyErr_SetString(PyExc_RuntimeError, "this channel is open already");
		return NULL;
	}
	if (PyObject_GetBuffer(memory, &self->memory, PyBUF_WRITABLE))
		return NULL;
	error = -semshare_channel_check(&self->view, self->memory.buf, (__u64)self->memory.len);
	if (error) {
		release_memory(self);
		return PyLong_FromLong(error);
	}
	self->mutex.semid = semid;
	self->mutex.repaired = true;
	self->mutex.state = &self->view.control->lock;
	self->generation = owner_generation;
	self->closing = false;
	self->open = true;
	return PyLong_FromLong(0);
}
SECTION_VARARGS(ChannelCore, ChannelCore_open)

static PyObject *ChannelCore_close(ChannelCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!self->open)
		Py_RETURN_NONE;
	self->open = false;
	forget_parent(self);
	/* Threads that sleep inside see it when they look again; the last of them lets go of the memory. */
	self->closing = true;
	if (!inside_count(&self->inside))
		release_memory(self);
	Py_RETURN_NONE;
}
SECTION_NOARGS(ChannelCore, ChannelCore_close)

static PyObject *ChannelCore_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
	ChannelCore *self = (ChannelCore *)type->tp_alloc(type, 0);

	if (self)
		bells_init(&self->bells);
	return (PyObject *)self;
}

static int ChannelCore_traverse(ChannelCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->memory.obj);
	return 0;
}

static void ChannelCore_dealloc(ChannelCore *self)
{
	PyObject_GC_UnTrack(self);
	release_memory(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
	{ "_open", METHOD(ChannelCore_open_varargs), METH_VARARGS, NULL },
	{ "_close", METHOD(ChannelCore_close_noargs), METH_NOARGS, NULL },
	{ "_send", METHOD(ChannelCore_send_varargs), METH_VARARGS, NULL },
	{ "_receive", METHOD(ChannelCore_receive_varargs), METH_VARARGS, NULL },
	{ "_retract", METHOD(ChannelCore_retract_varargs), METH_VARARGS, NULL },
	{ "_purge", METHOD(ChannelCore_purge_noargs), METH_NOARGS, NULL },
	{ "_count", METHOD(ChannelCore_count_varargs), METH_VARARGS, NULL },
	{ "_tell", METHOD(ChannelCore_tell_varargs), METH_VARARGS, NULL },
	{ "_take", METHOD(ChannelCore_take_varargs), METH_VARARGS, NULL },
	{ "_give", METHOD(ChannelCore_give_varargs), METH_VARARGS, NULL },
	{ "_look", METHOD(ChannelCore_look_noargs), METH_NOARGS, NULL },
	{ "_bells", METHOD(ChannelCore_bells_varargs), METH_VARARGS, NULL },
	{ "_listen", METHOD(ChannelCore_listen_o), METH_O, NULL },
	{ "_hear", METHOD(ChannelCore_hear_o), METH_O, NULL },
	{ "_arm", METHOD(ChannelCore_arm_o), METH_O, NULL },
	{ "_pass_on", METHOD(ChannelCore_pass_on_o), METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "depth", ChannelCore_get_depth_get, NULL, PyDoc_STR("Commands that can be outstanding at a time."), NULL },
	{ "max_payload", ChannelCore_get_max_payload_get, NULL,
	  PyDoc_STR("Bytes of payload of the longest command, or reply."), NULL },
	{ "closed", ChannelCore_get_closed_get, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject ChannelCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.ChannelCore",
	.tp_basicsize = sizeof(ChannelCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("What is done inside the lock of a channel: semshare.Channel is derived from it."),
	.tp_new = ChannelCore_new,
	.tp_dealloc = (destructor)ChannelCore_dealloc,
	.tp_traverse = (traverseproc)ChannelCore_traverse,
	.tp_methods = methods,
	.tp_getset = getset,
};
