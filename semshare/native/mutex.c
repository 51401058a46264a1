// SPDX-License-Identifier: MIT
#include "mutex.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include <semshare/core/histogram.h>

#include "clock.h"

/*
 * A V hands the semaphore to the first sleeper, not to whoever runs: once somebody sleeps, each turn costs a context
 * switch, and as each then finds the semaphore taken and goes to sleep too, it stays so (a convoy).  So a waiter first
 * looks a while whether the lock comes free, which for the short sections that locks are for it does: a few microseconds
 * at full speed, in case its owner runs on another processor, and then leaving the processor to others each time, in
 * case the owner, or a sleeper that was handed the semaphore, waits for this one.
 *
 * A waiter that looks reads the epoch in shared memory.  It makes no system calls on the set, which would take the
 * kernel's lock on it away from the owner who wants to give it back.  An even epoch says that it may be free; if it is
 * not, it was handed to a sleeper, or its owner is a plain program that writes no epoch, or is on its way out.  Then a
 * new try waits for the epoch to move, or for RETRY_NS.
 *
 * That is unfair: who sleeps is served in turn, who looks, or has left the processor in between, when it happens so.  So of
 * a fair mutex, as people's locks are, nobody looks unless there is a processor for each, owner and waiters: its words
 * count who waits.  (Who is killed while he waits stays counted; now and then one who waits puts that right.)  He leaves
 * the processor to nobody, and does not look for longer than it takes to wake somebody up; and where it was in vain, for
 * half as long the next time, down to not at all.  Nor does anybody look for CROWD_NS after there were too many: for an
 * instant some of those do not ask, as others have their processor, and if two then looked, and never slept, these would
 * wait for it until its slice is over.
 */
#define SPIN_NS		(4 * NS_PER_US)
#define LOOK_NS		(80 * NS_PER_US)
#define RETRY_NS	(10 * NS_PER_US)
#define LOOKS		16	/* at the epoch, between two at the clock */
#define RECOUNT		64	/* waits of a thread, between two that make sure */
#define CROWD_NS	(50 * NS_PER_MS)

/*
 * Waits end now and then to see whether the holder is dead, whether the lock was closed, and whether there is a signal for
 * the interpreter: after SLICE_NS.  Each time a waiter loses his place among those who sleep, so where it takes longer than
 * that until it is one's turn some would be overtaken time and again, and starve.  So who has waited long sleeps as long
 * again; and who waited long the last time sleeps twice as long from the first: he is served in his turn.
 */
#define SLICE_NS	NS_PER_S
#define LONGEST_SLICE_NS	(16 * NS_PER_S)
/* Shorter waits than this are not worth the question. */
#define DEATH_NS	(10 * NS_PER_MS)

/* Note who has taken it, and whether the owner before died; @state may be NULL. */
void mutex_enter(struct semshare_lock_state *state, bool repaired, const struct semshare_owner *self,
		 struct mutex_holding *holding)
{
	holding->found = SEMSHARE_LOCK_SOUND;
	holding->epoch = 0;
	if (!state)
		return;
	if (!repaired) {
		holding->found = semshare_lock_enter_wary(state, self, &holding->epoch, &holding->dead);
		return;
	}
	if (semshare_load(&state->epoch) & 1) {
		holding->dead.kind = semshare_load(&state->owner_kind);
		holding->dead.pid = semshare_load(&state->owner_pid);
		holding->dead.tid = semshare_load(&state->owner_tid);
		holding->dead.start = semshare_load(&state->owner_start);
	}
	if (semshare_lock_enter(state, self, &holding->epoch))
		holding->found = SEMSHARE_LOCK_DIED;
}

int mutex_try(const struct mutex *mutex, struct mutex_holding *holding)
{
	struct sembuf take = { mutex->number, -1, IPC_NOWAIT | SEM_UNDO };
	const struct semshare_owner *self = owner_self();

	if (semop(mutex->semid, &take, 1))
		return errno;
	mutex_enter(mutex->state, mutex->repaired, self, holding);
	return 0;
}

/* Processors that this thread may run on.  Asked anew now and then: affinities change. */
static int processors(void)
{
	static __thread unsigned int generation = -1u;
	static __thread unsigned int asked;
	static __thread int count;

	if (generation != owner_generation || asked++ % 64 == 0) {
		generation = owner_generation;
		count = owner_processors();
	}
	return count;
}

/*
 * How long this thread may look at full speed for what another one does: SPIN_NS; 0, if it may run on one processor
 * only, where the other may wait for that very one, so it leaves it to others each time; -1 on a machine that has but
 * one: not at all.
 */
int64_t mutex_spin_ns(void)
{
	static int online;	/* every thread finds the same */

	if (!semshare_load(&online))
		semshare_store(&online, (int)sysconf(_SC_NPROCESSORS_ONLN));
	if (semshare_load(&online) == 1)
		return -1;
	return processors() > 1 ? SPIN_NS : 0;
}

/*
 * Would a try be a system call for nothing?  Somebody has it.  Or two sleep for it at least: then it was handed to one of
 * them, who is about to wake up and to say so.
 */
bool mutex_is_in_vain(const struct mutex *mutex)
{
	if (!(semshare_load(&mutex->state->epoch) & 1) && !(mutex->fair && semshare_load(&mutex->state->waiters) > 1))
		return false;
	return mutex_spin_ns() >= 0;
}

/* One more waits: this thread. */
static void begin_wait(const struct mutex *mutex)
{
	static __thread unsigned int waits;
	__u32 *waiters = &mutex->state->waiters;
	__u32 count = __atomic_add_fetch(waiters, 1, __ATOMIC_RELAXED);
	int asleep;

	if (count > 1 && ++waits % RECOUNT == 0) {
		asleep = semctl(mutex->semid, mutex->number, GETNCNT);
		if (asleep >= 0)
			semshare_store(waiters, (__u32)asleep + 1);
	}
}

static void end_wait(const struct mutex *mutex)
{
	__u32 *waiters = &mutex->state->waiters;
	__u32 count = semshare_load(waiters);

	/* Not below 0, if somebody has counted anew meanwhile. */
	while (count && !__atomic_compare_exchange_n(waiters, &count, count - 1, true, __ATOMIC_RELAXED,
						     __ATOMIC_RELAXED))
		;
}

/*
 * Is there no processor for each of them?  Who was handed it, and is about to wake up, still counts as one who waits.  Two
 * that may run on one only may each have their own.
 */
static bool is_crowded(const struct mutex *mutex)
{
	int64_t parties = (int64_t)semshare_load(&mutex->state->waiters) + (semshare_load(&mutex->state->epoch) & 1);

	return parties > 2 && parties > processors();
}

/* Look for at most @most.  EAGAIN: in vain. */
static int look(const struct mutex *mutex, int64_t deadline, int64_t most, struct mutex_holding *holding)
{
	int64_t now, begin, retry = 0, spin = mutex->fair ? most : mutex_spin_ns();
	__u32 epoch, failed = 1;	/* odd: none has failed yet */
	int i, error;

	now = begin = clock_now();
	if (!spin)
		sched_yield();
	do {
		for (i = 0; i < (spin ? LOOKS : 1); i++) {
			epoch = semshare_load_acquire(&mutex->state->epoch);
			if (!(epoch & 1) && (epoch != failed || now >= retry)) {
				error = mutex_try(mutex, holding);
				if (error != EAGAIN)
					return error;
				failed = epoch;
				retry = clock_now() + RETRY_NS;
				break;
			}
			clock_relax();
		}
		if (mutex->fair && is_crowded(mutex))
			return EAGAIN;
		now = clock_now();
		if (now - begin >= spin)
			sched_yield();
	} while (now - begin < most && now < deadline);
	return EAGAIN;
}

/* Now and then, and after a success, in full. */
static int look_fairly(struct mutex *mutex, int64_t deadline, struct mutex_holding *holding)
{
	static __thread unsigned int looks;
	int64_t most = ++looks % RECOUNT ? semshare_load(&mutex->look_ns) : MUTEX_LOOK_NS;
	int64_t now = clock_now();
	int error;

	if (is_crowded(mutex)) {
		semshare_store(&mutex->crowded_at, now);
		return EAGAIN;
	}
	if (!most || now - semshare_load(&mutex->crowded_at) < CROWD_NS)
		return EAGAIN;
	error = look(mutex, deadline, most, holding);
	if (!error)
		most = MUTEX_LOOK_NS;
	else
		most = most / 2 < SPIN_NS ? 0 : most / 2;
	semshare_store(&mutex->look_ns, most);
	return error;
}

/*
 * Is the semaphore taken by somebody who can never give it back? The kernel remembers the last process that changed a
 * semaphore; if it is 0 and that process is gone, SEM_UNDO would have given it back.  Looked at twice, because between
 * the looks at the value and at the pid the semaphore may have changed hands.
 */
static bool holder_is_dead(const struct mutex *mutex, pid_t *holder)
{
	pid_t seen = 0;
	int look;

	for (look = 0; look < 2; look++) {
		pid_t pid;

		if (semctl(mutex->semid, mutex->number, GETVAL) != 0)
			return false;
		pid = semctl(mutex->semid, mutex->number, GETPID);
		/* 0: a process of another pid namespace, or none. */
		if (pid <= 0 || (look && pid != seen) || !owner_process_is_dead(pid))
			return false;
		seen = pid;
	}
	if (semctl(mutex->semid, mutex->number, GETVAL) != 0 || semctl(mutex->semid, mutex->number, GETPID) != seen)
		return false;
	*holder = seen;
	return true;
}

/* How long to sleep in a wait that began at @began; @waits: how those before it were. */
int64_t mutex_slice_ns(int64_t began, const struct mutex_waits *waits)
{
	int64_t slice = clock_now() - began + 2 * semshare_load(&waits->last_ns);

	if (slice < SLICE_NS)
		return SLICE_NS;
	return slice < LONGEST_SLICE_NS ? slice : LONGEST_SLICE_NS;
}

static int wait_counted(struct mutex *mutex, int64_t slice, int64_t deadline, const volatile bool *stop,
			struct mutex_holding *holding, pid_t *holder)
{
	struct sembuf take = { mutex->number, -1, SEM_UNDO };
	const struct semshare_owner *self = owner_self();
	struct timespec timeout;
	int64_t left;
	int error;

	if (mutex->state && mutex_spin_ns() >= 0) {
		error = mutex->fair ? look_fairly(mutex, deadline, holding) : look(mutex, deadline, LOOK_NS, holding);
		if (error != EAGAIN)
			return error;
	}
	if (*stop)
		return ECANCELED;
	left = deadline == NEVER ? slice : deadline - clock_now();
	if (left <= 0) {
		/* A last try: with a deadline in the past this is the only one. */
		error = mutex_try(mutex, holding);
		return error == EAGAIN ? ETIMEDOUT : error;
	}
	timeout = clock_timespec(left < slice ? left : slice);
	if (!semtimedop(mutex->semid, &take, 1, &timeout)) {
		mutex_enter(mutex->state, mutex->repaired, self, holding);
		return 0;
	}
	error = errno;
	if (error == EAGAIN && left >= DEATH_NS && holder_is_dead(mutex, holder))
		return EOWNERDEAD;
	if (error == EAGAIN && deadline != NEVER && clock_now() >= deadline)
		return ETIMEDOUT;
	return error;
}

/*
 * Wait for the mutex until @deadline.  Returns EAGAIN after @slice nanoseconds, see mutex_slice_ns(), and EINTR, so that the
 * caller can see to signals and come back; ETIMEDOUT at the deadline; ECANCELED when *@stop became true.
 */
int mutex_wait(struct mutex *mutex, int64_t slice, int64_t deadline, const volatile bool *stop,
	       struct mutex_holding *holding, pid_t *holder)
{
	bool counted = mutex->fair && mutex->state;
	int error;

	if (counted)
		begin_wait(mutex);
	error = wait_counted(mutex, slice, deadline, stop, holding, holder);
	if (counted)
		end_wait(mutex);
	return error;
}

static int give(const struct mutex *mutex)
{
	struct sembuf release = { mutex->number, 1, SEM_UNDO };

	return semop(mutex->semid, &release, 1) ? errno : 0;
}

/*
 * Give a mutex back whose words are not as its owner left them.  Either somebody scribbled over the words, and then the
 * semaphore is still ours to give.  Or the semaphore was reset and somebody else may be inside: giving it back would
 * let in a third.  The kernel tells: it remembers who changed the semaphore last.
 */
void mutex_give_broken(const struct mutex *mutex)
{
	if (semctl(mutex->semid, mutex->number, GETVAL) == 0 &&
	    semctl(mutex->semid, mutex->number, GETPID) == getpid())
		give(mutex);
}

/* Leave and give back.  EPROTO: somebody else was inside at the same time, or wrote the words. */
int mutex_give(const struct mutex *mutex, const struct mutex_holding *holding)
{
	if (mutex->state && semshare_lock_leave(mutex->state, holding->epoch)) {
		mutex_give_broken(mutex);
		return EPROTO;
	}
	return give(mutex);
}

/*
 * Leave the epoch odd: the next owner is to see to what the lock guards.  The owner before, who was found dead, is who
 * died, as if nobody had found him.
 */
void mutex_leave_unrepaired(struct semshare_lock_state *state, const struct mutex_holding *holding)
{
	if (!state || holding->found != SEMSHARE_LOCK_DIED)
		return;
	semshare_store(&state->deaths, semshare_load(&state->deaths) - 1);
	semshare_store(&state->owner_kind, holding->dead.kind);
	semshare_store(&state->owner_pid, holding->dead.pid);
	semshare_store(&state->owner_tid, holding->dead.tid);
	semshare_store(&state->owner_start, holding->dead.start);
}

int mutex_give_unrepaired(const struct mutex *mutex, const struct mutex_holding *holding)
{
	mutex_leave_unrepaired(mutex->state, holding);
	return give(mutex);
}

/* Give it back with the words as they are, which say that it is taken: who died is its owner, and that is this one. */
int mutex_give_dead(const struct mutex *mutex)
{
	return give(mutex);
}

/* Without memory for a histogram there is none. */
void mutex_count(struct mutex_waits *waits, bool contended, int64_t waited)
{
	uint64_t *bucket;

	semshare_store(&waits->acquisitions, semshare_load(&waits->acquisitions) + 1);
	if (!contended)
		return;
	semshare_store(&waits->last_ns, waited);
	semshare_store(&waits->contended, semshare_load(&waits->contended) + 1);
	if (!waits->wait_ns)
		__atomic_store_n(&waits->wait_ns, calloc(MUTEX_BUCKETS, sizeof(*bucket)), __ATOMIC_RELEASE);
	if (!waits->wait_ns)
		return;
	bucket = &waits->wait_ns[semshare_histogram_bucket(waited > 0 ? (__u64)waited : 0)];
	semshare_store(bucket, semshare_load(bucket) + 1);
}
