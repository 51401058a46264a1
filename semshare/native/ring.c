// SPDX-License-Identifier: MIT
/*
 * Putting and getting: a pass over the ring by the operations of its variant (semshare/core/variants.h), and sleeping
 * and waking around it. Where the variant has a lock, a pass is made between taking and giving it, and the hints go as
 * semshare/core/sysv.h says at its end; where it has none, as wait_begins() says.
 *
 * A call is a job.  Its first pass is made with the GIL held, if the mutex can be had by one system call: then nothing
 * of Python runs, but nobody waits either.  Only when there is something to wait for is the GIL released, and then all
 * the rest happens without it: no thread of the interpreter ever waits for the GIL while it owns the mutex.
 *
 * A job that sleeps comes back to the interpreter every SEMSHARE_RING_RECHECK_MS, and at each signal, and goes on where
 * it was.
 */
#include "native.h"

#include <pthread.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include <semshare/core/variants.h>

#include "clock.h"

/* How long to look for a record, or for space, before going to sleep for it: as mutex.c does, and why. */
#define LOOK_NS		(60 * NS_PER_US)
#define LOOKS		16
#define FULL_SHARE	16
/* A mutex that is taken is waited for so long even by calls that do not wait for records: owners stay inside shortly. */
#define PATIENCE_NS	NS_PER_S
/* Without a lock there are no hints: look again so often. */
#define UNLOCKED_NS	(100 * NS_PER_US)
#define RECHECK_NS	(SEMSHARE_RING_RECHECK_MS * NS_PER_MS)

#define HINT_DATA	1u
#define HINT_SPACE	2u

#define INLINE_BYTES	4096
#define INLINE_RECORDS	64

typedef struct {
	PyObject_HEAD
	LockCore *lock;			/* counts the waits, and is what ring.lock gives out */
	struct mutex mutex;
	struct semshare_ring_port port;
	pthread_mutex_t sides[2];	/* without the lock: one thread at a time gets, and one puts */
	unsigned int roles;		/* SEMSHARE_ROLE_* that this object has taken */
	unsigned int generation;	/* owner_generation when it did */
	Py_buffer memory;		/* keeps all of that mapped */
	uint64_t resyncs;		/* without the lock: times the ring made no sense */
	int users;			/* threads inside with the GIL released */
	bool locked;
	bool hinted;			/* not in the experiment without the lock */
	bool open;
	volatile bool closing;
} RingCore;

struct job {
	bool put;
	bool slept;		/* on a hint, which it has to pass on */
	pid_t dead_holder;
	int64_t lock_began;	/* when it began to wait for the mutex, 0: it does not */
	__u64 seen;		/* the other side's cursor, when there was nothing to do */

	/* put */
	const struct semshare_ring_entry *entries;
	size_t count;		/* get: most records to take */
	size_t done;

	/* get: the records taken, their payloads one after the other */
	struct semshare_record *records;
	size_t records_size;
	unsigned char *data;
	size_t data_used;
	size_t data_size;
	struct semshare_record inline_records[INLINE_RECORDS];
	unsigned char inline_data[INLINE_BYTES];
};

/* ------------------------------------------------------- a pass over the ring */

/* Put what fits, or what the ring's policy makes fit.  0: all; EAGAIN: some are left; ENOBUFS: they were dropped. */
static int write_records(RingCore *self, struct job *job)
{
	size_t done;
	int error = -self->port.variant->put(&self->port, job->entries + job->done, job->count - job->done,
					     (__u64)clock_now(), &done);

	job->done += done;
	return error;
}

static bool make_room(struct job *job, __u32 payload)
{
	if (job->done == job->records_size) {
		size_t size = job->records_size * 4;
		bool moved = job->records != job->inline_records;
		void *records = realloc(moved ? job->records : NULL, size * sizeof(*job->records));

		if (!records)
			return false;
		if (!moved)
			memcpy(records, job->records, sizeof(job->inline_records));
		job->records = records;
		job->records_size = size;
	}
	if (payload > job->data_size - job->data_used) {
		size_t size = (job->data_used + payload) * 2;
		bool moved = job->data != job->inline_data;
		void *data = realloc(moved ? job->data : NULL, size);

		if (!data)
			return false;
		if (!moved)
			memcpy(data, job->data, job->data_used);
		job->data = data;
		job->data_size = size;
	}
	return true;
}

/* Take what is there.  0: one record at least; EAGAIN: none; EPROTO: something that is no record; ENOMEM. */
static int read_records(RingCore *self, struct job *job)
{
	const struct semshare_ring_variant *variant = self->port.variant;
	struct semshare_record record;
	int error = 0;

	while (job->done < job->count) {
		error = -variant->peek(&self->port, &record);
		if (error)
			break;
		if (!make_room(job, record.size)) {
			error = ENOMEM;
			break;
		}
		variant->read(&self->port, &record, job->data + job->data_used);
		job->data_used += record.size;
		job->records[job->done++] = record;
	}
	if (!job->done)
		return error;
	variant->consume(&self->port, job->done);
	return 0;
}

/* Whom this pass wakes, and what it asks of those who come after it.  By the owner of the lock. */
static unsigned int hints_of(RingCore *self, const struct job *job, bool moved, bool sleeps)
{
	struct semshare_ring_control *control = self->port.view.control;
	const struct semshare_sysv_cursors *at = &self->port.sysv;
	__u32 *theirs = job->put ? &control->need_data : &control->need_space;
	__u32 *ours = job->put ? &control->need_space : &control->need_data;
	unsigned int hints = 0;
	bool more;

	if (moved && semshare_load(theirs)) {
		semshare_store(theirs, 0);
		hints |= job->put ? HINT_DATA : HINT_SPACE;
	}
	/* Having slept on a hint it may have been meant for one behind us as well. */
	if ((sleeps || job->slept) && !semshare_load(ours))
		semshare_store(ours, 1);
	more = job->put ? at->tail - at->head < self->port.view.capacity : at->head != at->tail;
	if (job->slept && moved && more)
		hints |= job->put ? HINT_SPACE : HINT_DATA;
	return hints;
}

static int lies(RingCore *self, const struct job *job)
{
	struct semshare_ring_control *control = self->port.view.control;

	if (self->hinted) {
		semshare_store(&control->state, SEMSHARE_RING_BROKEN);
		return EPROTO;
	}
	/* Without the lock parties do this to each other in good faith: give up what is there, and count it. */
	self->resyncs++;
	if (job->put)
		semshare_store(&control->tail, semshare_load(&control->head) & ~(__u64)(SEMSHARE_RING_ALIGN - 1));
	else
		semshare_store(&control->head, semshare_load(&control->tail) & ~(__u64)(SEMSHARE_RING_ALIGN - 1));
	return EAGAIN;
}

static int move_records(RingCore *self, struct job *job)
{
	int error;

	job->seen = semshare_load(self->port.variant->other(&self->port.view, job->put));
	error = job->put ? write_records(self, job) : read_records(self, job);
	return error == EPROTO ? lies(self, job) : error;
}

/*
 * One pass over the ring, by the owner of its lock, or by one who does without.  @sleeps: if there is nothing to do, the
 * caller will sleep for it.
 */
static int pass_locked(RingCore *self, struct job *job, bool died, bool sleeps, unsigned int *hints)
{
	size_t before = job->done;
	int error;

	*hints = 0;
	if (self->locked) {
		if (died && semshare_sysv_repair(&self->port.view))
			return lies(self, job);
		if (semshare_load(&self->port.view.control->state) != SEMSHARE_RING_OK)
			return EPROTO;
	}
	if (self->port.variant->begin(&self->port, job->put))
		return lies(self, job);
	error = move_records(self, job);
	if (error != EPROTO)
		*hints = hints_of(self, job, job->done != before, sleeps && error == EAGAIN);
	return error;
}

/*
 * Be the one producer, or consumer, if there can be one only: it is who has taken a semaphore, with SEM_UNDO, so that
 * the role of a process that dies is free.
 */
static int take_role(RingCore *self, const struct job *job)
{
	const unsigned int role = job->put ? SEMSHARE_ROLE_PRODUCER : SEMSHARE_ROLE_CONSUMER;
	struct sembuf take = { job->put ? SEMSHARE_SEM_PRODUCER : SEMSHARE_SEM_CONSUMER, -1, SEM_UNDO | IPC_NOWAIT };

	if (self->roles & role || !(self->port.variant->roles & role))
		return 0;
	if (semop(self->mutex.semid, &take, 1))
		return errno == EAGAIN ? EALREADY : errno;
	self->roles |= role;
	return self->port.variant->begin(&self->port, job->put) ? lies(self, job) : 0;
}

/* Whether a process that began a record is gone; of those of another pid namespace nobody here knows. */
static int is_known_dead(const struct semshare_mpsc_owner *owner)
{
	__u64 start;

	if (!owner->ns || owner->ns != owner_pid_ns())
		return 0;
	if (owner_process_is_dead((pid_t)owner->pid))
		return 1;
	start = owner_start_of((pid_t)owner->pid);
	return start && (__u32)start != owner->start;
}

/*
 * The child of a fork has no role, and its parent's threads are not there to give up a side.  With the GIL: a call's
 * first pass is.
 */
static void forget_parent(RingCore *self)
{
	const struct semshare_owner *owner;

	if (self->generation == owner_generation)
		return;
	owner = owner_self();
	self->port.self.pid = owner->pid;
	self->port.self.start = (__u32)owner->start;
	self->port.self.ns = owner_pid_ns();
	self->port.is_dead = is_known_dead;
	pthread_mutex_init(&self->sides[0], NULL);
	pthread_mutex_init(&self->sides[1], NULL);
	self->roles = 0;
	self->generation = owner_generation;
}

static void give_roles(RingCore *self)
{
	unsigned int role;

	for (role = SEMSHARE_ROLE_PRODUCER; role <= SEMSHARE_ROLE_CONSUMER; role <<= 1) {
		struct sembuf give = { role == SEMSHARE_ROLE_PRODUCER ? SEMSHARE_SEM_PRODUCER : SEMSHARE_SEM_CONSUMER, 1,
				       SEM_UNDO | IPC_NOWAIT };

		/* Where the set is gone, so is the role. */
		if (self->roles & role && self->generation == owner_generation)
			(void)semop(self->mutex.semid, &give, 1);
	}
	self->roles = 0;
}

/*
 * Sleeping and waking without a lock.  Each side writes one word and then reads the other's, with a full barrier between
 * the two; so one of them at least sees what the other wrote:
 *
 *	who will sleep:  need = 1, full barrier, look for something to do, sleep on the hint
 *	who has moved:   move the cursor, full barrier, is there a need?  need = 0, give the hint
 *
 * Who was given the hint sees that the need is 0, and its own 1 comes after that: semaphores are changed under a lock of
 * the kernel's.
 *
 * A hint that was given to one who was killed, or a need that two cleared at once, costs SEMSHARE_RING_RECHECK_MS.
 */
static int pass_lockless(RingCore *self, struct job *job, bool sleeps, unsigned int *hints)
{
	struct semshare_ring_control *control = self->port.view.control;
	__u32 *theirs = job->put ? &control->need_data : &control->need_space;
	__u32 *ours = job->put ? &control->need_space : &control->need_data;
	size_t before = job->done;
	int error;

	*hints = 0;
	if (semshare_load(&control->state) != SEMSHARE_RING_OK)
		return EPROTO;
	pthread_mutex_lock(&self->sides[job->put]);
	error = take_role(self, job);
	if (!error) {
		if (sleeps) {
			semshare_store(ours, 1);
			/* Pairs with the barrier of who has moved. */
			semshare_full_barrier();
		}
		error = move_records(self, job);
	}
	pthread_mutex_unlock(&self->sides[job->put]);
	if (job->done != before) {
		/* Pairs with the barrier of who will sleep. */
		semshare_full_barrier();
		if (semshare_load(theirs)) {
			semshare_store(theirs, 0);
			*hints |= job->put ? HINT_DATA : HINT_SPACE;
		}
		/* It may have been meant for one behind us as well. */
		if (job->slept)
			*hints |= job->put ? HINT_SPACE : HINT_DATA;
	}
	return error;
}

/* ---------------------------------------------------------- around the lock */

static void give_hint(RingCore *self, unsigned short semaphore)
{
	struct sembuf hint[] = {
		{ semaphore, 0, IPC_NOWAIT },
		{ semaphore, 1, IPC_NOWAIT },
	};

	/* EAGAIN: it stands already. Anything else the next operation says as well. */
	(void)semop(self->mutex.semid, hint, 2);
}

/* Give the mutex back, with hints.  0, EPROTO (the ring is broken), EIDRM or EINVAL (no such set any more). */
static int give_back(RingCore *self, const struct mutex_holding *holding, unsigned int hints)
{
	struct semshare_ring_control *control = self->port.view.control;
	unsigned short first = hints & HINT_DATA ? SEMSHARE_SEM_DATA : SEMSHARE_SEM_SPACE;
	struct sembuf ops[] = {
		{ SEMSHARE_SEM_MUTEX, 1, SEM_UNDO },
		{ first, 0, IPC_NOWAIT },
		{ first, 1, IPC_NOWAIT },
	};
	int error = 0;

	if (semshare_lock_leave(&control->lock, holding->epoch)) {
		semshare_store(&control->state, SEMSHARE_RING_BROKEN);
		mutex_give_broken(&self->mutex);
		error = EPROTO;
	} else if (!hints || semop(self->mutex.semid, ops, 3)) {
		/* The hint stands already (EAGAIN), or a system allows no three operations at once: the mutex alone. */
		if (semop(self->mutex.semid, ops, 1))
			error = errno;
	}
	if (error == ERANGE) {
		/* Somebody set the mutex to its maximum: it excludes nobody any more. */
		semshare_store(&control->state, SEMSHARE_RING_BROKEN);
		error = EPROTO;
	}
	if (semshare_load(&control->state) != SEMSHARE_RING_OK) {
		give_hint(self, SEMSHARE_SEM_DATA);
		give_hint(self, SEMSHARE_SEM_SPACE);
	} else if ((hints & (HINT_DATA | HINT_SPACE)) == (HINT_DATA | HINT_SPACE)) {
		give_hint(self, SEMSHARE_SEM_SPACE);
	}
	return error;
}

/* A pass by the owner of the mutex, who gives it back. */
static int pass_and_give(RingCore *self, struct job *job, const struct mutex_holding *holding, bool sleeps)
{
	unsigned int hints;
	int error = pass_locked(self, job, holding->died, sleeps, &hints);
	int given = give_back(self, holding, hints);

	/* What was put or taken is: the set's removal is for the next call to tell. */
	if (given && !(error == 0 && given != EPROTO))
		return given;
	return error;
}

/* A pass that needs no mutex. */
static int pass_and_hint(RingCore *self, struct job *job, bool sleeps)
{
	unsigned int hints;
	int error;

	if (!self->hinted)
		return pass_locked(self, job, false, false, &hints);
	error = pass_lockless(self, job, sleeps, &hints);
	if (hints & HINT_DATA)
		give_hint(self, SEMSHARE_SEM_DATA);
	if (hints & HINT_SPACE)
		give_hint(self, SEMSHARE_SEM_SPACE);
	return error;
}

/*
 * Look whether the cursor that was in the way moves; not long.  Returns whether it did.
 *
 * A consumer goes for the first record that comes.  A producer has nothing to gain from being quick, its record only
 * queues up behind others; where the ring is full it looks on while space grows to a FULL_SHARE of the ring, so that
 * consumer and producers do not fight over the lock for each record.
 */
static bool look(RingCore *self, const struct job *job)
{
	const __u64 *cursor = self->port.variant->other(&self->port.view, job->put);
	__u64 enough = job->put ? self->port.view.capacity / FULL_SHARE : 1;
	int64_t now, begin = clock_now(), spin = mutex_spin_ns();
	int i;

	do {
		for (i = 0; i < (spin ? LOOKS : 1); i++) {
			if (semshare_load_acquire(cursor) - job->seen >= enough)
				return true;
			clock_relax();
		}
		now = clock_now();
		if (now - begin >= spin)
			sched_yield();
	} while (now - begin < LOOK_NS);
	return semshare_load_acquire(cursor) != job->seen;
}

/*
 * Is there nothing to do yet, as far as can be seen without the lock?  Who waits then looks on a while before it takes
 * the lock away from the one who would change that.
 */
static bool seems_idle(RingCore *self, struct job *job)
{
	struct semshare_sysv_cursors at;
	__u64 space;

	if (semshare_sysv_look(&self->port.view, &at))
		return false;
	if (!job->put) {
		job->seen = at.tail;
		return at.head == at.tail;
	}
	job->seen = at.head;
	space = self->port.view.capacity - (at.tail - at.head);
	return job->count && self->port.view.policy == SEMSHARE_RING_WAIT &&
	       space < semshare_ring_footprint((__u64)job->entries[job->done].size);
}

/*
 * Sleep until a hint comes or it is time to look again.  0, EINTR (also when it is only time to look again: the
 * interpreter then sees to signals), EIDRM, EINVAL.
 */
static int sleep_on(RingCore *self, const struct job *job, int64_t left)
{
	struct sembuf take = { job->put ? SEMSHARE_SEM_SPACE : SEMSHARE_SEM_DATA, -1, 0 };
	struct timespec timeout;

	if (!self->hinted) {
		timeout = clock_timespec(left < UNLOCKED_NS ? left : UNLOCKED_NS);
		nanosleep(&timeout, NULL);
		return EINTR;
	}
	timeout = clock_timespec(left < RECHECK_NS ? left : RECHECK_NS);
	if (semtimedop(self->mutex.semid, &take, 1, &timeout))
		return errno == EAGAIN ? EINTR : errno;
	return 0;
}

/* Take the mutex, waiting for it.  0; EINTR; EBUSY if it was not to be had in time; and what else mutex_wait() says. */
static int take(RingCore *self, struct job *job, int64_t deadline, struct mutex_holding *holding)
{
	int64_t patience;
	int error;

	if (!job->lock_began) {
		if (!(semshare_load(&self->mutex.state->epoch) & 1)) {
			error = mutex_try(&self->mutex, holding);
			if (!error)
				mutex_count(&self->lock->waits, false, 0);
			if (error != EAGAIN)
				return error;
		}
		job->lock_began = clock_now();
	}
	patience = job->lock_began + PATIENCE_NS;
	if (patience < deadline)
		patience = deadline;
	error = mutex_wait(&self->mutex, patience, &self->closing, holding, &job->dead_holder);
	if (error == EAGAIN)
		return EINTR;
	if (error == ETIMEDOUT)
		return EBUSY;
	if (!error) {
		mutex_count(&self->lock->waits, true, clock_now() - job->lock_began);
		job->lock_began = 0;
	}
	return error;
}

/* Go on with a job, without the GIL, until it is done, or the interpreter has to be asked (EINTR). */
static int go_on(RingCore *self, struct job *job, int64_t deadline, bool blocking)
{
	bool sleeps = job->slept || mutex_spin_ns() < 0;

	if (self->locked && blocking && !sleeps && seems_idle(self, job))
		sleeps = !look(self, job);
	for (;;) {
		struct mutex_holding holding;
		int64_t left;
		int error;

		if (self->closing)
			return ECANCELED;
		if (self->locked) {
			error = take(self, job, deadline, &holding);
			if (!error)
				error = pass_and_give(self, job, &holding, blocking && sleeps);
		} else {
			error = pass_and_hint(self, job, blocking && sleeps);
		}
		if (error != EAGAIN)
			return error;
		if (!blocking)
			return EAGAIN;
		left = deadline == NEVER ? RECHECK_NS : deadline - clock_now();
		if (left <= 0)
			return ETIMEDOUT;
		if (!sleeps) {
			/* The flag that asks for a hint is not set yet: a second look sets it. */
			sleeps = !look(self, job);
			continue;
		}
		error = sleep_on(self, job, left);
		job->slept = true;
		if (error)
			return error;
	}
}

/* Raise: "WHAT RING: doing: message". */
static PyObject *misuse(RingCore *self, PyObject *exception, const char *doing, const char *message)
{
	PyObject *what = PyObject_GetAttrString((PyObject *)self, "_what");

	if (what) {
		PyErr_Format(exception, "%S: %s: %s", what, doing, message);
		Py_DECREF(what);
	}
	return NULL;
}

static PyObject *fail(RingCore *self, const struct job *job, int error)
{
	const char *doing = job->put ? "put" : "get";
	PyObject *result;

	switch (error) {
	case -1:
		return NULL;
	case ECANCELED:
		return misuse(self, PyExc_ValueError, doing, "it is closed; attach it anew");
	case ENOMEM:
		return PyErr_NoMemory();
	case EDEADLK:
		return misuse(self, PyExc_RuntimeError, doing,
			      "this thread holds the ring's lock, and would wait for itself for ever; release it first");
	case EOWNERDEAD:
		result = PyObject_CallMethod((PyObject *)self, "_holder_dead", "i", (int)job->dead_holder);
		break;
	default:
		result = PyObject_CallMethod((PyObject *)self, "_fail", "is", error, doing);
	}
	Py_XDECREF(result);
	if (result)
		PyErr_SetString(PyExc_SystemError, "_fail() returned");
	return NULL;
}

static void release_memory(RingCore *self)
{
	if (self->port.view.control)
		give_roles(self);
	self->port.view.control = NULL;
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
}

static void begin(struct job *job, bool put, size_t count)
{
	job->put = put;
	job->slept = false;
	job->dead_holder = 0;
	job->lock_began = 0;
	job->count = count;
	job->done = 0;
}

/* Do a job.  Returns 0, an errno, or -1 with an exception set. */
static int drive(RingCore *self, struct job *job, bool blocking, double timeout)
{
	struct mutex_holding holding;
	int64_t deadline = 0;
	int error = EAGAIN;

	if (timeout != -1.0 || !blocking)
		if (deadline_from(blocking, timeout, &deadline))
			return -1;
	if (timeout == -1.0 && blocking)
		deadline = NEVER;
	if (!self->open)
		return ECANCELED;
	forget_parent(self);
	if (!self->locked) {
		error = pass_and_hint(self, job, false);
		if (error != EAGAIN || !blocking)
			return error;
	} else if (!(semshare_load(&self->mutex.state->epoch) & 1) && !(blocking && seems_idle(self, job))) {
		error = mutex_try(&self->mutex, &holding);
		if (!error) {
			mutex_count(&self->lock->waits, false, 0);
			error = pass_and_give(self, job, &holding, false);
			if (error != EAGAIN || !blocking)
				return error;
		} else if (error != EAGAIN) {
			return error;
		}
	}
	if (self->locked && lock_held_by_this_thread(self->mutex.semid))
		return EDEADLK;
	self->users++;
	do {
		Py_BEGIN_ALLOW_THREADS
		error = go_on(self, job, deadline, blocking);
		Py_END_ALLOW_THREADS
		if (error == EINTR && PyErr_CheckSignals())
			error = -1;
	} while (error == EINTR);
	self->users--;
	if (self->closing) {
		if (!self->users)
			release_memory(self);
		/* Whatever else went wrong did so because the ring was closed; the set may have gone with it. */
		if (error > 0)
			error = ECANCELED;
	}
	return error;
}

/* --------------------------------------------------------------------- put */

/* The record to put of an object.  0, or -1 with an exception set; @view is to be released if it has an object. */
static int entry_of(RingCore *self, PyObject *object, uint32_t type, struct semshare_ring_entry *entry, Py_buffer *view)
{
	Py_ssize_t size;

	if (PyBytes_CheckExact(object)) {
		entry->payload = PyBytes_AS_STRING(object);
		size = PyBytes_GET_SIZE(object);
	} else {
		if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE))
			return -1;
		entry->payload = view->buf;
		size = view->len;
	}
	entry->size = (__u32)size;
	entry->type = type;
	if (self->open && (size_t)size > self->port.view.max_payload) {
		char message[128];

		snprintf(message, sizeof(message), "a record of %zd bytes; it takes %u at most: split it, or make a larger ring",
			 size, (unsigned int)self->port.view.max_payload);
		misuse(self, PyExc_ValueError, "put", message);
		return -1;
	}
	return 0;
}

static PyObject *put(RingCore *self, PyObject *record, __u32 type, bool blocking, double timeout)
{
	Py_buffer view = { .obj = NULL };
	struct semshare_ring_entry entry;
	struct job job;
	int error = -1;

	if (!entry_of(self, record, type, &entry, &view)) {
		begin(&job, true, 1);
		job.entries = &entry;
		error = drive(self, &job, blocking, timeout);
	}
	if (view.obj)
		PyBuffer_Release(&view);
	if (error)
		return fail(self, &job, error);
	Py_RETURN_NONE;
}

static PyObject *RingCore_put(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;
	uint32_t type;

	if (parse_wait("put", args, nargs, kwnames, 1, &blocking, &timeout, &type))
		return NULL;
	return put(self, args[0], type, blocking, timeout);
}

static PyObject *RingCore_put_nowait(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;
	uint32_t type;

	if (parse_wait("put_nowait", args, nargs, kwnames, 1, &blocking, &timeout, &type))
		return NULL;
	return put(self, args[0], type, false, -1);
}

static PyObject *RingCore_put_many(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	struct semshare_ring_entry *entries = NULL;
	PyObject *records, *result = NULL;
	Py_buffer *views = NULL;
	Py_ssize_t count, viewed = 0;
	struct job job;
	bool blocking;
	double timeout;
	uint32_t type;
	int error;

	if (parse_wait("put_many", args, nargs, kwnames, 1, &blocking, &timeout, &type))
		return NULL;
	/* A tuple of our own: other threads may change a list while this one waits without the GIL. */
	records = PySequence_Tuple(args[0]);
	if (!records)
		return NULL;
	count = PyTuple_GET_SIZE(records);
	entries = PyMem_New(struct semshare_ring_entry, count ? count : 1);
	views = PyMem_New(Py_buffer, count ? count : 1);
	if (!entries || !views) {
		PyErr_NoMemory();
		goto out;
	}
	for (; viewed < count; viewed++) {
		views[viewed].obj = NULL;
		if (entry_of(self, PyTuple_GET_ITEM(records, viewed), type, &entries[viewed], &views[viewed])) {
			viewed++;
			goto out;
		}
	}
	begin(&job, true, (size_t)count);
	job.entries = entries;
	error = count ? drive(self, &job, blocking, timeout) : 0;
	if (error && error != EAGAIN && error != ETIMEDOUT && error != ENOBUFS)
		fail(self, &job, error);
	else
		result = PyLong_FromSize_t(job.done);
out:
	while (viewed)
		if (views[--viewed].obj)
			PyBuffer_Release(&views[viewed]);
	PyMem_Free(views);
	PyMem_Free(entries);
	Py_DECREF(records);
	return result;
}

/* --------------------------------------------------------------------- get */

static void get_begin(struct job *job, size_t count)
{
	begin(job, false, count);
	job->records = job->inline_records;
	job->records_size = INLINE_RECORDS;
	job->data = job->inline_data;
	job->data_used = 0;
	job->data_size = INLINE_BYTES;
}

static void get_end(struct job *job)
{
	if (job->records != job->inline_records)
		free(job->records);
	if (job->data != job->inline_data)
		free(job->data);
}

static PyObject *payload_of(const struct job *job, size_t index, size_t *place)
{
	size_t from = *place;

	*place += job->records[index].size;
	return PyBytes_FromStringAndSize((const char *)job->data + from, (Py_ssize_t)job->records[index].size);
}

static PyObject *record_of(const struct job *job, size_t index, size_t *place)
{
	const struct semshare_record *record = &job->records[index];
	PyObject *payload = payload_of(job, index, place);

	if (!payload)
		return NULL;
	return Py_BuildValue("NIKKK", payload, (unsigned int)record->type, (unsigned long long)record->position,
			     (unsigned long long)record->sequence, (unsigned long long)record->time_ns);
}

typedef PyObject *(*make_t)(const struct job *job, size_t index, size_t *place);

static PyObject *get_one(RingCore *self, bool blocking, double timeout, make_t make)
{
	PyObject *result = NULL;
	struct job job;
	size_t place = 0;
	int error;

	get_begin(&job, 1);
	error = drive(self, &job, blocking, timeout);
	if (error)
		fail(self, &job, error);
	else
		result = make(&job, 0, &place);
	get_end(&job);
	return result;
}

static PyObject *RingCore_get(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;

	if (parse_wait("get", args, nargs, kwnames, 0, &blocking, &timeout, NULL))
		return NULL;
	return get_one(self, blocking, timeout, payload_of);
}

static PyObject *RingCore_get_nowait(RingCore *self, PyObject *Py_UNUSED(ignored))
{
	return get_one(self, false, -1, payload_of);
}

static PyObject *RingCore_get_record(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;

	if (parse_wait("_get_record", args, nargs, kwnames, 0, &blocking, &timeout, NULL))
		return NULL;
	return get_one(self, blocking, timeout, record_of);
}

static PyObject *get_many(RingCore *self, const char *function, PyObject *const *args, Py_ssize_t nargs,
			  PyObject *kwnames, make_t make)
{
	PyObject *result = NULL;
	struct job job;
	bool blocking;
	double timeout;
	size_t place = 0, i;
	Py_ssize_t most;
	int error;

	if (parse_wait(function, args, nargs, kwnames, 1, &blocking, &timeout, NULL))
		return NULL;
	most = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
	if (most == -1 && PyErr_Occurred())
		return NULL;
	if (most < 1) {
		PyErr_Format(PyExc_ValueError, "%s() takes the most records to get, 1 or more, not %zd", function, most);
		return NULL;
	}
	get_begin(&job, (size_t)most);
	error = drive(self, &job, blocking, timeout);
	if (error && error != EAGAIN && error != ETIMEDOUT) {
		fail(self, &job, error);
		goto out;
	}
	result = PyList_New((Py_ssize_t)job.done);
	for (i = 0; result && i < job.done; i++) {
		PyObject *item = make(&job, i, &place);

		if (!item)
			Py_CLEAR(result);
		else
			PyList_SET_ITEM(result, (Py_ssize_t)i, item);
	}
out:
	get_end(&job);
	return result;
}

static PyObject *RingCore_get_many(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	return get_many(self, "get_many", args, nargs, kwnames, payload_of);
}

static PyObject *RingCore_get_records(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	return get_many(self, "_get_records", args, nargs, kwnames, record_of);
}

/* -------------------------------------------------- looking, beginning, end */

/* What semshare/core/variants.h has: a list of (name, number, semaphores, whether it has a lock, roles, policies). */
PyObject *ring_variants(void)
{
	const struct semshare_ring_variant *each;
	PyObject *result = PyList_New(0);

	for (each = semshare_ring_variants; result && each->name; each++) {
		PyObject *item = Py_BuildValue("sIIOII", each->name, each->number, each->nsems,
					       each->locked ? Py_True : Py_False, each->roles, each->policies);

		if (!item || PyList_Append(result, item))
			Py_CLEAR(result);
		Py_XDECREF(item);
	}
	return result;
}

static PyObject *RingCore_get_capacity(RingCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLongLong(self->port.view.capacity);
}

static PyObject *RingCore_get_max_payload(RingCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLong(self->port.view.max_payload);
}

static PyObject *RingCore_get_resyncs(RingCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLongLong(self->resyncs);
}

static PyObject *RingCore_get_closed(RingCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}

/* _open(lock, memory, locked): 0, or the errno of semshare_ring_check(): EAGAIN if there is no ring (yet), or EPROTO. */
static PyObject *RingCore_open(RingCore *self, PyObject *args)
{
	PyObject *memory;
	LockCore *lock;
	int error, locked;

	if (!PyArg_ParseTuple(args, "O!Op:_open", &LockCore_Type, &lock, &memory, &locked))
		return NULL;
	if (self->open || self->users || !lock->open) {
		PyErr_SetString(PyExc_RuntimeError, "this ring is open already, or its lock is not");
		return NULL;
	}
	if (PyObject_GetBuffer(memory, &self->memory, PyBUF_WRITABLE))
		return NULL;
	error = -semshare_ring_check(&self->port, self->memory.buf, (__u64)self->memory.len);
	if (error) {
		self->port.view.control = NULL;
		release_memory(self);
		return PyLong_FromLong(error);
	}
	Py_INCREF(lock);
	Py_XSETREF(self->lock, lock);
	self->mutex.semid = lock->mutex.semid;
	self->mutex.state = &self->port.view.control->lock;
	self->locked = locked && self->port.variant->locked;
	self->hinted = locked;
	self->generation = owner_generation - 1;
	self->closing = false;
	self->open = true;
	return PyLong_FromLong(0);
}

static PyObject *RingCore_close(RingCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!self->open)
		Py_RETURN_NONE;
	self->open = false;
	/* Threads that sleep inside see it when they look again; the last of them lets go of the memory. */
	self->closing = true;
	if (!self->users)
		release_memory(self);
	Py_RETURN_NONE;
}

static int RingCore_traverse(RingCore *self, visitproc visit, void *arg)
{
	Py_VISIT(self->lock);
	Py_VISIT(self->memory.obj);
	return 0;
}

static int RingCore_clear(RingCore *self)
{
	Py_CLEAR(self->lock);
	return 0;
}

static void RingCore_dealloc(RingCore *self)
{
	PyObject_GC_UnTrack(self);
	release_memory(self);
	Py_CLEAR(self->lock);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
	{ "put", (PyCFunction)(void (*)(void))RingCore_put, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("put($self, record, /, *, type=0, blocking=True, timeout=-1)\n--\n\n"
		    "Put one record, waiting for space.\n\n"
		    "Args:\n    record: its bytes, at most max_payload of them.\n"
		    "    type: a number of 32 bits that goes with it.\n"
		    "    blocking: False: if there is no space now, raise Full.\n"
		    "    timeout: seconds to wait for space, -1: without limit.\n\n"
		    "Raises:\n    Full: no space. After a timeout it is a Timeout as well.\n"
		    "    ValueError: the record is too long.\n"
		    "    RuntimeError: this thread holds the ring's lock.\n"
		    "    RingBroken, Removed, HolderDead: the ring, its set, or who holds its lock, is lost.\n"
		    "    Timeout: the lock was not to be had for a second, though nobody was to be waited for.\n") },
	{ "put_nowait", (PyCFunction)(void (*)(void))RingCore_put_nowait, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("put_nowait($self, record, /, *, type=0)\n--\n\nput() with blocking=False.") },
	{ "put_many", (PyCFunction)(void (*)(void))RingCore_put_many, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("put_many($self, records, /, *, type=0, blocking=True, timeout=-1)\n--\n\n"
		    "Put records in their order, as many under one lock as fit, waiting for space for the others.\n\n"
		    "Returns:\n    How many were put: all, unless the time was over, or not `blocking`.\n\n"
		    "Raises:\n    as put(), but Full. A ValueError is raised before any is put.\n") },
	{ "get", (PyCFunction)(void (*)(void))RingCore_get, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("get($self, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take the oldest record, waiting for one.\n\n"
		    "Returns:\n    Its payload.\n\n"
		    "Raises:\n    Empty: there is none. After a timeout it is a Timeout as well.\n"
		    "    and as put().\n") },
	{ "get_nowait", (PyCFunction)RingCore_get_nowait, METH_NOARGS,
	  PyDoc_STR("get_nowait($self, /)\n--\n\nget() with blocking=False.") },
	{ "get_many", (PyCFunction)(void (*)(void))RingCore_get_many, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("get_many($self, most, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take the oldest records, at most `most`, under one lock, waiting for the first.\n\n"
		    "Returns:\n    Their payloads; [] if the time was over, or if there were none and not `blocking`.\n\n"
		    "Raises:\n    as get(), but Empty.\n") },
	{ "_get_record", (PyCFunction)(void (*)(void))RingCore_get_record, METH_FASTCALL | METH_KEYWORDS, NULL },
	{ "_get_records", (PyCFunction)(void (*)(void))RingCore_get_records, METH_FASTCALL | METH_KEYWORDS, NULL },
	{ "_open", (PyCFunction)RingCore_open, METH_VARARGS, NULL },
	{ "_close", (PyCFunction)RingCore_close, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "capacity", (getter)RingCore_get_capacity, NULL, PyDoc_STR("Bytes for records and their headers."), NULL },
	{ "max_payload", (getter)RingCore_get_max_payload, NULL, PyDoc_STR("Bytes of the longest record."), NULL },
	{ "resyncs", (getter)RingCore_get_resyncs, NULL,
	  PyDoc_STR("Without the lock: times this object found the ring to make no sense, and gave up what was in it."),
	  NULL },
	{ "closed", (getter)RingCore_get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject RingCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.RingCore",
	.tp_basicsize = sizeof(RingCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("What is hot of a ring: semshare.Ring is derived from it."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = (destructor)RingCore_dealloc,
	.tp_traverse = (traverseproc)RingCore_traverse,
	.tp_clear = (inquiry)RingCore_clear,
	.tp_methods = methods,
	.tp_getset = getset,
};
