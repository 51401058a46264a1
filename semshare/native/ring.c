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
 * A record that Python writes or reads where it lies is opened by a job and ended without one: see there.
 *
 * A job that sleeps comes back to the interpreter every SEMSHARE_RING_RECHECK_MS, and at each signal, and goes on where
 * it was.
 */
#include "ring.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "bell.h"
#include "clock.h"

/*
 * How long to look for a record, or for space, before going to sleep for it: as mutex.c does, and why.  Where that was in
 * vain it is half as long the next time, down to nothing: who waits long for each record would burn a processor, and be
 * put behind others by the scheduler when it is woken.  Where something came, or came soon after, it is all of it again.
 */
#define LOOK_NS		(60 * NS_PER_US)
#define LOOK_LEAST_NS	(4 * NS_PER_US)
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
	const OpenRecord *occupied[2];	/* get, put: the open record that has that side to itself, by its lock */
	unsigned long occupant[2];	/* the thread that opened it */
	OpenRecord *records;		/* all that are open */
	Py_buffer memory;		/* keeps all of that mapped */
	uint64_t resyncs;		/* without the lock: times the ring made no sense */
	struct inside inside;		/* threads, with the GIL released */
	bool locked;
	bool hinted;			/* not in the experiment without the lock */
	bool open;
	volatile bool closing;
	struct bells bells;
	int64_t recheck_ns;		/* who sleeps looks again so often */
	int64_t look_ns[2];		/* how long to look for records, for space, before going to sleep for it */
	uint64_t hints;			/* wake-ups of those who sleep on a semaphore, and */
	uint64_t sleeps;		/* times this object did */
} RingCore;

struct job {
	bool put;
	bool slept;		/* on a hint, which it has to pass on */
	bool behind;		/* an open record: how the other side's cursor moves says nothing of its end */
	pid_t dead_holder;
	int64_t lock_began;	/* when it began to wait for the mutex, 0: it does not */
	__u64 seen;		/* the other side's cursor, when there was nothing to do */
	OpenRecord *record;	/* to be opened, rather than to put or get */

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
	struct semshare_ring_batch batch = { .done = job->done, .used = job->data_used };
	int error = 0;

	while (!error && job->done < job->count) {
		batch.records = job->records;
		batch.count = job->count < job->records_size ? job->count : job->records_size;
		batch.data = job->data;
		batch.size = job->data_size;
		error = variant->take ? -variant->take(&self->port, &batch) :
					-semshare_ring_take(&self->port, &batch, variant->peek, variant->read);
		job->done = batch.done;
		job->data_used = batch.used;
		if (error == EMSGSIZE)
			error = make_room(job, job->records[job->done].size) ? 0 : ENOMEM;
		else if (!error && job->done < job->count)
			error = make_room(job, 0) ? 0 : ENOMEM;
	}
	if (!job->done)
		return error;
	variant->consume(&self->port, job->done);
	return 0;
}

/*
 * Open a record: reserve the place of one, or look at the oldest.  Where only one party can be what this one is, it has
 * one place, or one oldest record, and its side is occupied until that is over: other threads wait for it.
 */
static int open_record(RingCore *self, struct job *job)
{
	const struct semshare_ring_variant *variant = self->port.variant;
	OpenRecord *record = job->record;
	int error;

	if (job->put)
		error = -variant->reserve(&self->port, record->reserved, &record->place);
	else
		error = -variant->peek(&self->port, &record->record);
	if (error)
		return error;
	if (!job->put)
		record->place.payload = (void *)variant->payload(&self->port);
	if (variant->roles & (job->put ? SEMSHARE_ROLE_PRODUCER : SEMSHARE_ROLE_CONSUMER)) {
		self->occupied[job->put] = record;
		self->occupant[job->put] = PyThread_get_thread_ident();
	}
	job->done = 1;
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

static int lies(RingCore *self, const struct job *job, __u32 why)
{
	struct semshare_ring_control *control = self->port.view.control;

	if (self->hinted) {
		semshare_ring_tell_broken(control, why);
		bells_ring(&self->bells, false);
		bells_ring(&self->bells, true);
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

	job->seen = self->port.variant->other(&self->port, job->put);
	if (job->record)
		error = open_record(self, job);
	else
		error = job->put ? write_records(self, job) : read_records(self, job);
	return error == EPROTO ? lies(self, job, SEMSHARE_RING_BAD_CURSORS) : error;
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
			return lies(self, job, SEMSHARE_RING_BAD_REPAIR);
		if (semshare_load(&self->port.view.control->state) != SEMSHARE_RING_OK)
			return EPROTO;
	}
	if (self->port.variant->begin(&self->port, job->put))
		return lies(self, job, SEMSHARE_RING_BAD_CURSORS);
	error = move_records(self, job);
	if (error != EPROTO)
		*hints = hints_of(self, job, job->done != before, sleeps && error == EAGAIN);
	return error;
}

/* Which semaphore is that role: of the producers', where there can be several, one each. */
static unsigned short role_semaphore(unsigned int role, __u32 lane)
{
	if (role == SEMSHARE_ROLE_CONSUMER)
		return SEMSHARE_SEM_CONSUMER;
	return lane ? (unsigned short)(SEMSHARE_SEM_LANE + lane - 1) : SEMSHARE_SEM_PRODUCER;
}

/*
 * Be the one producer, or consumer, if there can be one only, or a few: it is who has taken a semaphore, with SEM_UNDO,
 * so that the role of a process that dies is free.
 */
static int take_role(RingCore *self, const struct job *job)
{
	const unsigned int role = job->put ? SEMSHARE_ROLE_PRODUCER : SEMSHARE_ROLE_CONSUMER;
	const __u32 places = job->put ? self->port.producers : 1;
	__u32 lane;

	if (self->roles & role || !(self->port.variant->roles & role))
		return 0;
	for (lane = 0; lane < places; lane++) {
		struct sembuf take = { role_semaphore(role, lane), -1, SEM_UNDO | IPC_NOWAIT };

		if (!semop(self->mutex.semid, &take, 1))
			break;
		if (errno != EAGAIN)
			return errno;
	}
	if (lane == places)
		return EALREADY;
	if (job->put)
		self->port.lane = lane;
	self->roles |= role;
	return self->port.variant->begin(&self->port, job->put) ? lies(self, job, SEMSHARE_RING_BAD_CURSORS) : 0;
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
	bells_forget(&self->bells);
	self->occupied[0] = self->occupied[1] = NULL;
	self->records = NULL;
	self->roles = 0;
	self->generation = owner_generation;
}

static void give_roles(RingCore *self)
{
	unsigned int role;

	for (role = SEMSHARE_ROLE_PRODUCER; role <= SEMSHARE_ROLE_CONSUMER; role <<= 1) {
		struct sembuf give = { role_semaphore(role, self->port.lane), 1, SEM_UNDO | IPC_NOWAIT };

		/* Where the set is gone, so is the role. */
		if (self->roles & role && self->generation == owner_generation)
			(void)semop(self->mutex.semid, &give, 1);
	}
	self->roles = 0;
}

/* Is there anything to do for one who waits as this side does, behind us? A look from outside. */
static bool is_more(RingCore *self, bool put)
{
	const struct semshare_ring_view *view = &self->port.view;
	__u64 used = semshare_ring_used(&self->port);

	return put ? used < view->capacity : used != 0;
}

/* Whether this side can be one party only, so that nobody waits beside it. */
static bool is_alone(const RingCore *self, bool put)
{
	return self->port.variant->roles & (put ? SEMSHARE_ROLE_PRODUCER : SEMSHARE_ROLE_CONSUMER);
}

/* Whether each of this side waits for something of its own, so that one hint is one for each of them. */
static bool wakes_all(const RingCore *self, bool put)
{
	return put && self->port.producers > 1;
}

/* Another record of this side is open: EAGAIN, or EDEADLK if it is this very thread's. */
static int wait_for_occupant(const RingCore *self, struct job *job)
{
	job->behind = true;
	return self->occupant[job->put] == PyThread_get_thread_ident() ? EDEADLK : EAGAIN;
}

static int move_or_wait(RingCore *self, struct job *job)
{
	return self->occupied[job->put] ? wait_for_occupant(self, job) : move_records(self, job);
}

/*
 * Sleeping and waking without a lock.  Each side writes one word and then reads the other's, with a full barrier between
 * the two; so one of them at least sees what the other wrote:
 *
 *	who will sleep:  need = 1, full barrier, look for something to do, sleep on the hint
 *	who has moved:   move the cursor, full barrier, is there a need?  cmpxchg(need, 1, 0): give the hint
 *
 * So a hint is given once for each time that somebody says he will sleep.  Who does so says it only where a look has
 * brought nothing: one that is awake, or has just been woken and finds records, asks for no hint.
 *
 * Who was given the hint sees that the need is 0, and its own 1 comes after that: semaphores are changed under a lock of
 * the kernel's.
 *
 * A hint that was given to one who was killed costs SEMSHARE_RING_RECHECK_MS.
 */
static int pass_lockless(RingCore *self, struct job *job, bool sleeps, unsigned int *hints)
{
	struct semshare_ring_control *control = self->port.view.control;
	__u32 *theirs = job->put ? &control->need_data : &control->need_space;
	__u32 *ours = job->put ? &control->need_space : &control->need_data;
	size_t before = job->done;
	int error;

	*hints = 0;
	error = take_role(self, job);
	if (error)
		return error;
	error = move_or_wait(self, job);
	if (error == EAGAIN && sleeps) {
		semshare_bell_arm(ours);
		error = move_or_wait(self, job);
	}
	/* A record that is open is nothing that the other side could see. */
	if (job->done != before && !job->record) {
		/* Pairs with the barrier of who will sleep. */
		semshare_full_barrier();
		if (semshare_bell_take(theirs))
			*hints |= job->put ? HINT_DATA : HINT_SPACE;
		/* What woke this one may have been meant for one behind it as well, who still sleeps, or is to be woken now. */
		if (job->slept && !is_alone(self, job->put) && !wakes_all(self, job->put)) {
			semshare_bell_arm(ours);
			if (is_more(self, job->put))
				*hints |= job->put ? HINT_SPACE : HINT_DATA;
		}
	}
	return error;
}

/*
 * The same by one of this object's threads at a time, and in the lock that the variant brings, if it does, waiting for
 * both no longer than @wait_ns.  EBUSY: they were not to be had.
 */
static int pass_alone(RingCore *self, struct job *job, bool sleeps, int64_t wait_ns, unsigned int *hints)
{
	const struct semshare_ring_variant *variant = self->port.variant;
	pthread_mutex_t *side = &self->sides[job->put];
	int error = 0;

	*hints = 0;
	if (semshare_load(&self->port.view.control->state) != SEMSHARE_RING_OK)
		return EPROTO;
	if (wait_ns ? pthread_mutex_lock(side) : pthread_mutex_trylock(side))
		return EBUSY;
	if (variant->enter) {
		error = -variant->enter(&self->port, (__u64)wait_ns);
		if (error == EPROTO)
			error = lies(self, job, SEMSHARE_RING_BAD_CURSORS);
	}
	if (!error) {
		if (variant->enter && variant->begin(&self->port, job->put))
			error = lies(self, job, SEMSHARE_RING_BAD_CURSORS);
		else
			error = pass_lockless(self, job, sleeps, hints);
		if (variant->leave)
			variant->leave(&self->port);
	}
	pthread_mutex_unlock(side);
	return error;
}

/* ---------------------------------------------------------- around the lock */

/* Ring for those who wait at a descriptor for what this pass has moved. After a full barrier: see semshare/core/bell.h. */
static void ring_bell(RingCore *self, bool put)
{
	if (semshare_bell_take(semshare_bell(self->port.view.control, !put)))
		bells_ring(&self->bells, !put);
}

/* How many a hint is for. */
static short hint_size(const RingCore *self, unsigned short semaphore)
{
	return wakes_all(self, semaphore == SEMSHARE_SEM_SPACE) ? (short)self->port.producers : 1;
}

/* For one who has said that he sleeps: what was taken back to 0 for it caps the number of hints. */
static void give_hint_asked_for(RingCore *self, unsigned short semaphore)
{
	struct sembuf hint = { semaphore, hint_size(self, semaphore), IPC_NOWAIT };

	__atomic_fetch_add(&self->hints, 1, __ATOMIC_RELAXED);
	if (self->port.variant->wake) {
		self->port.variant->wake(&self->port, semaphore == SEMSHARE_SEM_SPACE);
		return;
	}
	/* One operation is done under the lock of its semaphore, two under that of the set. */
	(void)semop(self->mutex.semid, &hint, 1);
}

/* For whom it may concern. */
static void give_hint(RingCore *self, unsigned short semaphore)
{
	struct sembuf hint[] = {
		{ semaphore, 0, IPC_NOWAIT },
		{ semaphore, hint_size(self, semaphore), IPC_NOWAIT },
	};

	__atomic_fetch_add(&self->hints, 1, __ATOMIC_RELAXED);
	if (self->port.variant->wake) {
		self->port.variant->wake(&self->port, semaphore == SEMSHARE_SEM_SPACE);
		return;
	}
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
		semshare_ring_tell_broken(control, SEMSHARE_RING_TWO_OWNERS);
		mutex_give_broken(&self->mutex);
		error = EPROTO;
	} else if (!hints || (__atomic_fetch_add(&self->hints, 1, __ATOMIC_RELAXED), semop(self->mutex.semid, ops, 3))) {
		/* The hint stands already (EAGAIN), or a system allows no three operations at once: the mutex alone. */
		if (semop(self->mutex.semid, ops, 1))
			error = errno;
	}
	if (error == ERANGE) {
		/* Somebody set the mutex to its maximum: it excludes nobody any more. */
		semshare_ring_tell_broken(control, SEMSHARE_RING_BAD_MUTEX);
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
	size_t before = job->done;
	unsigned int hints;
	int error = pass_locked(self, job, holding->found == SEMSHARE_LOCK_DIED, sleeps, &hints);
	int given = give_back(self, holding, hints);

	if (job->done != before) {
		/* C before D; pairs with that of semshare_bell_arm(), which takes no lock. */
		semshare_full_barrier();
		ring_bell(self, job->put);
	}
	/* What was put or taken is: the set's removal is for the next call to tell. */
	if (given && !(error == 0 && given != EPROTO))
		return given;
	return error;
}

/* A pass that needs no mutex. */
static int pass_and_hint(RingCore *self, struct job *job, bool sleeps, int64_t wait_ns)
{
	size_t before = job->done;
	unsigned int hints;
	int error;

	if (!self->hinted)
		return pass_locked(self, job, false, false, &hints);
	error = pass_alone(self, job, sleeps, wait_ns, &hints);
	/* Behind the full barrier there. */
	if (job->done != before && !job->record)
		ring_bell(self, job->put);
	if (hints & HINT_DATA)
		give_hint_asked_for(self, SEMSHARE_SEM_DATA);
	if (hints & HINT_SPACE)
		give_hint_asked_for(self, SEMSHARE_SEM_SPACE);
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
	const struct semshare_ring_variant *variant = self->port.variant;
	int64_t *long_enough = &self->look_ns[job->put];
	__u64 enough = job->put ? self->port.view.capacity / FULL_SHARE : 1;
	int64_t now, begin = clock_now(), spin = mutex_spin_ns();
	int i;

	for (now = begin; now - begin < *long_enough; now = clock_now()) {
		if (now - begin >= spin)
			sched_yield();
		for (i = 0; i < (spin ? LOOKS : 1); i++) {
			if (variant->other(&self->port, job->put) - job->seen >= enough) {
				*long_enough = LOOK_NS;
				return true;
			}
			clock_relax();
		}
	}
	*long_enough = *long_enough >= 2 * LOOK_LEAST_NS ? *long_enough / 2 : 0;
	return variant->other(&self->port, job->put) != job->seen;
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
	const struct semshare_ring_variant *variant = self->port.variant;
	int64_t began = clock_now();
	struct sembuf take = { job->put ? SEMSHARE_SEM_SPACE : SEMSHARE_SEM_DATA, -1, 0 };
	struct timespec timeout;
	int64_t most;

	if (!self->hinted) {
		timeout = clock_timespec(left < UNLOCKED_NS ? left : UNLOCKED_NS);
		nanosleep(&timeout, NULL);
		return EINTR;
	}
	__atomic_fetch_add(&self->sleeps, 1, __ATOMIC_RELAXED);
	most = !job->put && variant->recheck_us ? variant->recheck_us * NS_PER_US : self->recheck_ns;
	if (left < most)
		most = left;
	if (variant->sleep)
		return -variant->sleep(&self->port, job->put, (__u64)most);
	timeout = clock_timespec(most);
	if (semtimedop(self->mutex.semid, &take, 1, &timeout))
		return errno == EAGAIN ? EINTR : errno;
	if (clock_now() - began < LOOK_NS)
		self->look_ns[job->put] = LOOK_NS;
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
	error = mutex_wait(&self->mutex, PATIENCE_NS, patience, &self->closing, holding, &job->dead_holder);
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

/* A pass that waits for a lock which the variant brings, if it does, as take() waits for the mutex. */
static int pass_patiently(RingCore *self, struct job *job, int64_t deadline, bool sleeps)
{
	int64_t patience, began = clock_now();
	int error = pass_and_hint(self, job, sleeps, RECHECK_NS);

	if (error != EBUSY) {
		job->lock_began = 0;
		return error;
	}
	if (!job->lock_began)
		job->lock_began = began;
	patience = job->lock_began + PATIENCE_NS;
	return clock_now() < (patience < deadline ? deadline : patience) ? EINTR : EBUSY;
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
			error = pass_patiently(self, job, deadline, blocking && sleeps);
		}
		if (error != EAGAIN)
			return error;
		if (!blocking)
			return EAGAIN;
		left = deadline == NEVER ? self->recheck_ns : deadline - clock_now();
		if (left <= 0)
			return ETIMEDOUT;
		if (!sleeps) {
			/* The flag that asks for a hint is not set yet: a second look sets it. */
			sleeps = job->behind || !look(self, job);
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
		return misuse(self, PyExc_RuntimeError, doing, self->locked ?
			      "this thread holds the ring's lock, and would wait for itself for ever; release it first" :
			      "this thread has a record of the ring open, and would wait for itself for ever; end that first");
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
	/* In the child of a fork the module knows them as the parent's, by the same open file. */
	if (self->generation != owner_generation)
		bells_forget(&self->bells);
	bells_close(&self->bells);
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
}

static void begin(struct job *job, bool put, size_t count)
{
	job->put = put;
	job->slept = false;
	job->behind = false;
	job->dead_holder = 0;
	job->lock_began = 0;
	job->count = count;
	job->done = 0;
	job->record = NULL;
}

/* Do a job.  Returns 0, an errno, or -1 with an exception set. */
static int attempt(RingCore *self, struct job *job, bool blocking, double timeout)
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
		error = pass_and_hint(self, job, false, 0);
		if (error != EBUSY && (error != EAGAIN || !blocking))
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
	if (self->locked && holds_has(self->mutex.semid, SEMSHARE_SEM_MUTEX))
		return EDEADLK;
	inside_enter(&self->inside);
	do {
		Py_BEGIN_ALLOW_THREADS
		error = go_on(self, job, deadline, blocking);
		Py_END_ALLOW_THREADS
		if (error == EINTR && PyErr_CheckSignals())
			error = -1;
	} while (error == EINTR);
	inside_leave(&self->inside);
	if (self->closing) {
		if (!inside_count(&self->inside))
			release_memory(self);
		/* Whatever else went wrong did so because the ring was closed; the set may have gone with it. */
		if (error > 0)
			error = ECANCELED;
	}
	return error;
}

/* See bell.c: what was heard may have been meant for one who waits at the same descriptor. */
static void pass_on(RingCore *self, bool put)
{
	__u32 *bell = semshare_bell(self->port.view.control, put);

	if (!self->bells.heard[put])
		return;
	self->bells.heard[put] = false;
	/* Of one who alone can be at this side there is no other. */
	if (is_alone(self, put))
		return;
	semshare_bell_arm(bell);
	if (is_more(self, put) && semshare_bell_take(bell))
		bells_ring(&self->bells, put);
}

/*
 * Do a job, for one who may wait at a descriptor: if it finds nothing to do, the descriptor is not readable any more, and
 * will be when there is something.
 */
static int drive(RingCore *self, struct job *job, bool blocking, double timeout)
{
	int error = attempt(self, job, blocking, timeout);

	if (!bells_listens(&self->bells, job->put) || !self->port.view.control)
		return error;
	if (error == EAGAIN && !blocking) {
		(void)bells_hear(&self->bells, job->put);
		semshare_bell_arm(semshare_bell(self->port.view.control, job->put));
		error = attempt(self, job, false, timeout);
	}
	if (error != EAGAIN)
		pass_on(self, job->put);
	else
		/* Armed for all, and there was nothing. */
		self->bells.heard[job->put] = false;
	return error;
}

/* --------------------------------------------------------------------- put */

/* 0, or -1 with an exception set: it is too long. */
static int check_size(RingCore *self, const char *doing, size_t size)
{
	char message[128];

	if (!self->open || size <= self->port.view.max_payload)
		return 0;
	snprintf(message, sizeof(message), "a record of %zu bytes; it takes %u at most: split it, or make a larger ring",
		 size, (unsigned int)self->port.view.max_payload);
	misuse(self, PyExc_ValueError, doing, message);
	return -1;
}

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
	return check_size(self, "put", (size_t)size);
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
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_put)

static PyObject *RingCore_put_nowait(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;
	uint32_t type;

	if (parse_wait("put_nowait", args, nargs, kwnames, 1, &blocking, &timeout, &type))
		return NULL;
	return put(self, args[0], type, false, -1);
}
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_put_nowait)

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
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_put_many)

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

static inline PyObject *payload_of(const struct job *job, size_t index, size_t *place)
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
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_get)

static PyObject *RingCore_get_nowait(RingCore *self, PyObject *Py_UNUSED(ignored))
{
	return get_one(self, false, -1, payload_of);
}
SECTION_NOARGS(RingCore, RingCore_get_nowait)

static PyObject *RingCore_get_record(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;

	if (parse_wait("_get_record", args, nargs, kwnames, 0, &blocking, &timeout, NULL))
		return NULL;
	return get_one(self, blocking, timeout, record_of);
}
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_get_record)

/* In line in those that name @make, so that making a record is, too. */
static inline __attribute__((always_inline))
PyObject *get_many(RingCore *self, const char *function, PyObject *const *args, Py_ssize_t nargs,
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
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_get_many)

static PyObject *RingCore_get_records(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	return get_many(self, "_get_records", args, nargs, kwnames, record_of);
}
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_get_records)

/* ------------------------------------------------------------ open records */

/* Open a record, waiting for space, or for one.  0, or -1 with an exception set. */
int ring_open_record(OpenRecord *record)
{
	RingCore *self = (RingCore *)record->ring;
	struct semshare_ring_entry entry = { .size = (__u32)record->reserved };
	struct job job;
	int error;

	begin(&job, record->put, 1);
	job.record = record;
	job.entries = &entry;
	/* Its own hold on the memory: what refers to the payload may outlive the ring. */
	if (self->open && PyObject_GetBuffer(self->memory.obj, &record->memory, PyBUF_WRITABLE))
		return -1;
	error = drive(self, &job, record->blocking, record->timeout);
	if (!error && !self->open) {
		if (record->put && self->port.variant->cancel)
			self->port.variant->cancel(&self->port, &record->place);
		error = ECANCELED;
	}
	if (error) {
		fail(self, &job, error);
		return -1;
	}
	record->state = RECORD_OPEN;
	record->generation = owner_generation;
	record->previous = NULL;
	record->next = self->records;
	if (self->records)
		self->records->previous = record;
	self->records = record;
	return 0;
}

static void wake(RingCore *self, __u32 *need, unsigned short semaphore)
{
	if (semshare_bell_take(need))
		give_hint_asked_for(self, semaphore);
}

/* End an open record: commit or consume it if @accept, else give it up, or leave it there.  Nothing waits.  0 or an errno. */
static int end_record(RingCore *self, OpenRecord *record, bool accept)
{
	const struct semshare_ring_variant *variant = self->port.variant;
	struct semshare_ring_control *control = self->port.view.control;
	bool occupied;
	int error = 0;

	if (record->next)
		record->next->previous = record->previous;
	if (record->previous)
		record->previous->next = record->next;
	else
		self->records = record->next;

	pthread_mutex_lock(&self->sides[record->put]);
	if (accept && semshare_load(&control->state) != SEMSHARE_RING_OK) {
		error = EPROTO;
	} else if (!record->put) {
		if (accept) {
			/* Where it may be overwritten it is not looked at: can_open(). */
			(void)variant->read(&self->port, &record->record, NULL);
			variant->consume(&self->port, 1);
		}
	} else if (accept) {
		error = -variant->commit(&self->port, &record->place, record->record.size, record->record.type,
					 (__u64)clock_now());
	} else if (variant->cancel) {
		variant->cancel(&self->port, &record->place);
	}
	occupied = self->occupied[record->put] == record;
	if (occupied)
		self->occupied[record->put] = NULL;
	pthread_mutex_unlock(&self->sides[record->put]);
	/*
	 * As pass_lockless() does, with whose barrier this one pairs: the other side sees what was done.  So do threads of
	 * this one that have waited for this record to end.
	 */
	semshare_full_barrier();
	if (record->put || occupied)
		wake(self, &control->need_data, SEMSHARE_SEM_DATA);
	if (!record->put || occupied)
		wake(self, &control->need_space, SEMSHARE_SEM_SPACE);
	ring_bell(self, record->put);
	return error;
}

/* End a record.  0, or -1 with an exception set; it is over in any case. */
int ring_end_record(OpenRecord *record, bool accept)
{
	RingCore *self = (RingCore *)record->ring;
	const char *doing = record->put ? "commit" : "view";
	int error;

	if (record->state != RECORD_OPEN) {
		misuse(self, PyExc_ValueError, doing, record->state == RECORD_CLOSED ?
		       "the ring was closed meanwhile: nothing was put or taken; end records before" :
		       "the record is not open; use it in a with statement");
		record->state = RECORD_OVER;
		return -1;
	}
	record->state = RECORD_OVER;
	if (record->generation != owner_generation) {
		misuse(self, PyExc_RuntimeError, doing, "it was opened before the fork, by the parent; let the parent end it");
		return -1;
	}
	error = end_record(self, record, accept);
	if (error) {
		PyObject *result = PyObject_CallMethod((PyObject *)self, "_fail", "is", error, doing);

		Py_XDECREF(result);
		return -1;
	}
	return 0;
}

/* 0, or -1 with an exception set. */
static int can_open(RingCore *self, bool put)
{
	const char *doing = put ? "reserve" : "view";
	const struct semshare_ring_variant *variant = self->port.variant;
	PyObject *result;

	if (!self->open) {
		misuse(self, PyExc_ValueError, doing, "it is closed; attach it anew");
		return -1;
	}
	/* What the producer may overwrite cannot be read where it lies. */
	if (variant->reserve && (put || self->port.view.policy != SEMSHARE_RING_OVERWRITE))
		return 0;
	result = PyObject_CallMethod((PyObject *)self, "_fail", "is", EOPNOTSUPP, doing);
	Py_XDECREF(result);
	return -1;
}

static PyObject *RingCore_reserve(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;
	uint32_t type;
	Py_ssize_t size;

	if (parse_wait("reserve", args, nargs, kwnames, 1, &blocking, &timeout, &type) || can_open(self, true))
		return NULL;
	size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
	if (size == -1 && PyErr_Occurred())
		return NULL;
	if (size < 0) {
		PyErr_Format(PyExc_ValueError, "reserve() takes a number of bytes, 0 or more, not %zd", size);
		return NULL;
	}
	if (check_size(self, "reserve", (size_t)size))
		return NULL;
	return record_reserve((PyObject *)self, (__u64)size, type, blocking, timeout);
}
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_reserve)

static PyObject *RingCore_view(RingCore *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	bool blocking;
	double timeout;

	if (parse_wait("view", args, nargs, kwnames, 0, &blocking, &timeout, NULL) || can_open(self, false))
		return NULL;
	return record_look((PyObject *)self, blocking, timeout);
}
SECTION_FASTCALL_KEYWORDS(RingCore, RingCore_view)

/* -------------------------------------------------- looking, beginning, end */

/*
 * What semshare/core/variants.h has: a list of (name, number, semaphores, whether it has a lock, roles, policies,
 * producers, whether records can be open in it).
 */
PyObject *ring_variants(void)
{
	const struct semshare_ring_variant *const *each;
	PyObject *result = PyList_New(0);

	for (each = semshare_ring_variants; result && *each; each++) {
		const struct semshare_ring_variant *it = *each;
		PyObject *item = Py_BuildValue("sIIOIIIOO", it->name, it->number, it->nsems,
					       it->locked ? Py_True : Py_False, it->roles, it->policies, it->producers,
					       it->reserve ? Py_True : Py_False,
					       it->looks_at_data ? Py_True : Py_False);

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
SECTION_GET(RingCore, RingCore_get_capacity)

static PyObject *RingCore_get_max_payload(RingCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLong(self->port.view.max_payload);
}
SECTION_GET(RingCore, RingCore_get_max_payload)

static PyObject *RingCore_get_resyncs(RingCore *self, void *Py_UNUSED(closure))
{
	return PyLong_FromUnsignedLongLong(self->resyncs);
}
SECTION_GET(RingCore, RingCore_get_resyncs)

static PyObject *RingCore_get_wakeups(RingCore *self, void *Py_UNUSED(closure))
{
	return Py_BuildValue("KKK", (unsigned long long)self->hints, (unsigned long long)self->bells.rung,
			     (unsigned long long)self->sleeps);
}
SECTION_GET(RingCore, RingCore_get_wakeups)

static PyObject *RingCore_get_closed(RingCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}
SECTION_GET(RingCore, RingCore_get_closed)

/* _open(lock or None, memory, locked): 0, or the errno of semshare_ring_check(): EAGAIN if there is no ring (yet), or EPROTO. */
static PyObject *RingCore_open(RingCore *self, PyObject *args)
{
	PyObject *memory, *given;
	LockCore *lock;
	int error, locked;

	if (!PyArg_ParseTuple(args, "OOp:_open", &given, &memory, &locked))
		return NULL;
	if (given != Py_None && !PyObject_TypeCheck(given, &LockCore_Type)) {
		PyErr_SetString(PyExc_TypeError, "the lock of a ring is a LockCore, or None where it has no set");
		return NULL;
	}
	lock = given == Py_None ? NULL : (LockCore *)given;
	if (self->open || inside_count(&self->inside) || (lock && !lock->open)) {
		PyErr_SetString(PyExc_RuntimeError, "this ring is open already, or its lock is not");
		return NULL;
	}
	if (PyObject_GetBuffer(memory, &self->memory, PyBUF_WRITABLE))
		return NULL;
	error = -semshare_ring_check(&self->port, self->memory.buf, (__u64)self->memory.len);
	if (!error && !lock && self->port.variant->nsems)
		error = EPROTO;
	if (error) {
		self->port.view.control = NULL;
		release_memory(self);
		return PyLong_FromLong(error);
	}
	Py_XINCREF(lock);
	Py_XSETREF(self->lock, lock);
	self->mutex.semid = lock ? lock->mutex.semid : -1;
	self->mutex.repaired = true;
	self->mutex.state = &self->port.view.control->lock;
	self->recheck_ns = RECHECK_NS;
	self->look_ns[0] = self->look_ns[1] = LOOK_NS;
	self->locked = locked && self->port.variant->locked;
	self->hinted = locked;
	self->generation = owner_generation - 1;
	self->closing = false;
	self->open = true;
	return PyLong_FromLong(0);
}
SECTION_VARARGS(RingCore, RingCore_open)

/* ------------------------------------------------------ waiting at a descriptor */

/* _bells(area, data, space): how to ring: the descriptor of the module's area, or -1 and the paths of two FIFOs. */
static PyObject *RingCore_bells(RingCore *self, PyObject *args)
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
SECTION_VARARGS(RingCore, RingCore_bells)

/* _listen(space): the descriptor that becomes readable when there may be space, or a record. The ring closes it. */
static PyObject *RingCore_listen(RingCore *self, PyObject *space)
{
	int side = PyObject_IsTrue(space), error = 0;
	__u32 *bell;

	if (side < 0)
		return NULL;
	if (!self->open)
		return fail(self, &(struct job){ .put = side }, ECANCELED);
	forget_parent(self);
	if (bells_listens(&self->bells, side))
		return PyLong_FromLong(self->bells.ears[side]);
	error = self->hinted ? bells_listen(&self->bells, side) : EOPNOTSUPP;
	if (error)
		return fail(self, &(struct job){ .put = side }, error);
	/* For who looks at the descriptor before it looks at the ring. */
	bell = semshare_bell(self->port.view.control, side);
	semshare_bell_arm(bell);
	if (is_more(self, side) && semshare_bell_take(bell))
		bells_ring(&self->bells, side);
	return PyLong_FromLong(self->bells.ears[side]);
}
SECTION_O(RingCore, RingCore_listen)

/* _hear(space): make it unreadable; False if it was. To be followed by a call that puts or gets, or by _pass_on(). */
static PyObject *RingCore_hear(RingCore *self, PyObject *space)
{
	int side = PyObject_IsTrue(space);

	if (side < 0)
		return NULL;
	return PyBool_FromLong(self->open && bells_listens(&self->bells, side) && bells_hear(&self->bells, side));
}
SECTION_O(RingCore, RingCore_hear)

/* _pass_on(space): what was heard is not for this object, whose waiters are gone. */
static PyObject *RingCore_pass_on(RingCore *self, PyObject *space)
{
	int side = PyObject_IsTrue(space);

	if (side < 0)
		return NULL;
	if (self->open)
		pass_on(self, side);
	Py_RETURN_NONE;
}
SECTION_O(RingCore, RingCore_pass_on)

/* _recheck(seconds): how often one who sleeps looks again; for tests that want to see a wake-up get lost. */
static PyObject *RingCore_recheck(RingCore *self, PyObject *seconds)
{
	double value = PyFloat_AsDouble(seconds);

	if (PyErr_Occurred())
		return NULL;
	self->recheck_ns = (int64_t)(value * (double)NS_PER_S);
	Py_RETURN_NONE;
}
SECTION_O(RingCore, RingCore_recheck)

static PyObject *RingCore_close(RingCore *self, PyObject *Py_UNUSED(ignored))
{
	if (!self->open)
		Py_RETURN_NONE;
	/* Those of the parent of a fork are the parent's. */
	while (self->records && self->generation == owner_generation) {
		OpenRecord *record = self->records;

		(void)end_record(self, record, false);
		record_close(record);
	}
	self->open = false;
	/* Threads that sleep inside see it when they look again; the last of them lets go of the memory. */
	self->closing = true;
	if (!inside_count(&self->inside))
		release_memory(self);
	Py_RETURN_NONE;
}
SECTION_NOARGS(RingCore, RingCore_close)

static PyObject *RingCore_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	RingCore *self = (RingCore *)PyType_GenericNew(type, args, kwargs);

	if (self)
		bells_init(&self->bells);
	return (PyObject *)self;
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
	{ "put", METHOD(RingCore_put_fastcall), METH_FASTCALL | METH_KEYWORDS,
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
	{ "put_nowait", METHOD(RingCore_put_nowait_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("put_nowait($self, record, /, *, type=0)\n--\n\nput() with blocking=False.") },
	{ "put_many", METHOD(RingCore_put_many_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("put_many($self, records, /, *, type=0, blocking=True, timeout=-1)\n--\n\n"
		    "Put records in their order, as many under one lock as fit, waiting for space for the others.\n\n"
		    "Returns:\n    How many were put: all, unless the time was over, or not `blocking`.\n\n"
		    "Raises:\n    as put(), but Full. A ValueError is raised before any is put.\n") },
	{ "get", METHOD(RingCore_get_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("get($self, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take the oldest record, waiting for one.\n\n"
		    "Returns:\n    Its payload.\n\n"
		    "Raises:\n    Empty: there is none. After a timeout it is a Timeout as well.\n"
		    "    and as put().\n") },
	{ "get_nowait", METHOD(RingCore_get_nowait_noargs), METH_NOARGS,
	  PyDoc_STR("get_nowait($self, /)\n--\n\nget() with blocking=False.") },
	{ "get_many", METHOD(RingCore_get_many_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("get_many($self, most, /, blocking=True, timeout=-1)\n--\n\n"
		    "Take the oldest records, at most `most`, under one lock, waiting for the first.\n\n"
		    "Returns:\n    Their payloads; [] if the time was over, or if there were none and not `blocking`.\n\n"
		    "Raises:\n    as get(), but Empty.\n") },
	{ "reserve", METHOD(RingCore_reserve_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("reserve($self, size, /, *, type=0, blocking=True, timeout=-1)\n--\n\n"
		    "Write a record where it lies in the ring, without a copy.\n\n"
		    "    with ring.reserve(1 << 20) as view:\n        socket.recv_into(view)\n\n"
		    "The record is put at the end of the with statement, or given up, if that is left by an exception: then\n"
		    "there never was one. The view is a memoryview of bytes that are not zeroed; it is released then.\n"
		    "Where a consumer waits for it, it has to be put within a second (SEMSHARE_RING_ABANDON_MS).\n\n"
		    "Args:\n    size: bytes, at most max_payload.\n"
		    "    type, blocking, timeout: as of put(); the with statement waits for space.\n\n"
		    "Returns:\n    A Reservation, to be entered once. Before its end, `size` can be made less, `type` set, and\n"
		    "    cancel() gives it up.\n\n"
		    "Raises:\n    as put(), here and when entered.\n"
		    "    Abandoned: at the end: a consumer waited for it too long. It was not put.\n"
		    "    ValueError: at the end: the ring was closed meanwhile.\n"
		    "    RuntimeError: this thread has one open already, in a ring of one producer.\n"
		    "    Error: EOPNOTSUPP, the ring's variant has no such thing.\n") },
	{ "view", METHOD(RingCore_view_fastcall), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("view($self, /, blocking=True, timeout=-1)\n--\n\n"
		    "Read the oldest record where it lies in the ring, without a copy.\n\n"
		    "    with ring.view() as view:\n        total = numpy.frombuffer(view).sum()\n\n"
		    "The record is taken at the end of the with statement; if that is left by an exception it stays the next.\n"
		    "The view is a memoryview that cannot be written; it is released then.\n\n"
		    "Returns:\n    A RecordView, to be entered once. Inside it has `size`, `type`, `position`, `sequence`,\n"
		    "    `time_ns`, and cancel() leaves the record in the ring.\n\n"
		    "Raises:\n    as get(), here and when entered.\n"
		    "    ValueError: at the end: the ring was closed meanwhile.\n"
		    "    RuntimeError: this thread has one open already.\n"
		    "    Error: EOPNOTSUPP, the ring's variant has no such thing.\n") },
	{ "_get_record", METHOD(RingCore_get_record_fastcall), METH_FASTCALL | METH_KEYWORDS, NULL },
	{ "_get_records", METHOD(RingCore_get_records_fastcall), METH_FASTCALL | METH_KEYWORDS, NULL },
	{ "_open", METHOD(RingCore_open_varargs), METH_VARARGS, NULL },
	{ "_bells", METHOD(RingCore_bells_varargs), METH_VARARGS, NULL },
	{ "_listen", METHOD(RingCore_listen_o), METH_O, NULL },
	{ "_hear", METHOD(RingCore_hear_o), METH_O, NULL },
	{ "_pass_on", METHOD(RingCore_pass_on_o), METH_O, NULL },
	{ "_recheck", METHOD(RingCore_recheck_o), METH_O, NULL },
	{ "_close", METHOD(RingCore_close_noargs), METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "capacity", RingCore_get_capacity_get, NULL, PyDoc_STR("Bytes for records and their headers."), NULL },
	{ "max_payload", RingCore_get_max_payload_get, NULL, PyDoc_STR("Bytes of the longest record."), NULL },
	{ "resyncs", RingCore_get_resyncs_get, NULL,
	  PyDoc_STR("Without the lock: times this object found the ring to make no sense, and gave up what was in it."),
	  NULL },
	{ "_wakeups", RingCore_get_wakeups_get, NULL, NULL, NULL },
	{ "closed", RingCore_get_closed_get, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject RingCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.RingCore",
	.tp_basicsize = sizeof(RingCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = PyDoc_STR("What is hot of a ring: semshare.Ring is derived from it."),
	.tp_new = RingCore_new,
	.tp_dealloc = (destructor)RingCore_dealloc,
	.tp_traverse = (traverseproc)RingCore_traverse,
	.tp_clear = (inquiry)RingCore_clear,
	.tp_methods = methods,
	.tp_getset = getset,
};
