// SPDX-License-Identifier: MIT
#include "mutex.h"

#include <sched.h>
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
 */
#define SPIN_NS		(4 * NS_PER_US)
#define LOOK_NS		(80 * NS_PER_US)
#define RETRY_NS	(10 * NS_PER_US)
#define LOOKS		16	/* at the epoch, between two at the clock */

/* Waits end this often to see whether the holder is dead, and whether there is a signal for the interpreter. */
#define SLICE_NS	NS_PER_S
/* Shorter waits than this are not worth the question. */
#define DEATH_NS	(10 * NS_PER_MS)

static void enter(const struct mutex *mutex, const struct semshare_owner *self, struct mutex_holding *holding)
{
	struct semshare_lock_state *state = mutex->state;

	holding->died = false;
	holding->epoch = 0;
	if (!state)
		return;
	if (semshare_load(&state->epoch) & 1) {
		holding->dead.kind = semshare_load(&state->owner_kind);
		holding->dead.pid = semshare_load(&state->owner_pid);
		holding->dead.tid = semshare_load(&state->owner_tid);
		holding->dead.start = semshare_load(&state->owner_start);
	}
	holding->died = semshare_lock_enter(state, self, &holding->epoch);
}

int mutex_try(const struct mutex *mutex, struct mutex_holding *holding)
{
	struct sembuf take = { 0, -1, IPC_NOWAIT | SEM_UNDO };
	const struct semshare_owner *self = owner_self();

	if (semop(mutex->semid, &take, 1))
		return errno;
	enter(mutex, self, holding);
	return 0;
}

/*
 * How long this thread may look at full speed for what another one does: SPIN_NS; 0, if it may run on one processor
 * only, where the other may wait for that very one, so it leaves it to others each time; -1 on a machine that has but
 * one: not at all.  Asked anew now and then: affinities change.
 */
int64_t mutex_spin_ns(void)
{
	static unsigned int generation = -1u;
	static unsigned int asked;
	static int64_t spin;

	if (generation != owner_generation || asked++ % 64 == 0) {
		generation = owner_generation;
		if (sysconf(_SC_NPROCESSORS_ONLN) == 1)
			spin = -1;
		else
			spin = owner_processors() > 1 ? SPIN_NS : 0;
	}
	return spin;
}

static int look(const struct mutex *mutex, int64_t deadline, struct mutex_holding *holding)
{
	int64_t now, begin, retry = 0, spin = mutex_spin_ns();
	__u32 epoch, failed = 1;	/* odd: none has failed yet */
	int i, error;

	if (!mutex->state || spin < 0)
		return EAGAIN;
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
		now = clock_now();
		if (now - begin >= spin)
			sched_yield();
	} while (now - begin < LOOK_NS && now < deadline);
	return EAGAIN;
}

/*
 * Is the semaphore taken by somebody who can never give it back? The kernel remembers the last process that changed a
 * semaphore; if it is 0 and that process is gone, SEM_UNDO would have given it back.  Looked at twice, because between
 * the looks at the value and at the pid the semaphore may have changed hands.
 */
static bool holder_is_dead(int semid, pid_t *holder)
{
	pid_t seen = 0;
	int look;

	for (look = 0; look < 2; look++) {
		pid_t pid;

		if (semctl(semid, 0, GETVAL) != 0)
			return false;
		pid = semctl(semid, 0, GETPID);
		/* 0: a process of another pid namespace, or none. */
		if (pid <= 0 || (look && pid != seen) || !owner_process_is_dead(pid))
			return false;
		seen = pid;
	}
	if (semctl(semid, 0, GETVAL) != 0 || semctl(semid, 0, GETPID) != seen)
		return false;
	*holder = seen;
	return true;
}

/*
 * Wait for the mutex until @deadline.  Returns EAGAIN at least once in SLICE_NS, and EINTR, so that the caller can see
 * to signals and come back; ETIMEDOUT at the deadline; ECANCELED when *@stop became true.
 */
int mutex_wait(const struct mutex *mutex, int64_t deadline, const volatile bool *stop,
	       struct mutex_holding *holding, pid_t *holder)
{
	struct sembuf take = { 0, -1, SEM_UNDO };
	const struct semshare_owner *self = owner_self();
	struct timespec timeout;
	int64_t left;
	int error;

	error = look(mutex, deadline, holding);
	if (error != EAGAIN)
		return error;
	if (*stop)
		return ECANCELED;
	left = deadline == NEVER ? SLICE_NS : deadline - clock_now();
	if (left <= 0) {
		/* A last try: with a deadline in the past this is the only one. */
		error = mutex_try(mutex, holding);
		return error == EAGAIN ? ETIMEDOUT : error;
	}
	timeout = clock_timespec(left < SLICE_NS ? left : SLICE_NS);
	if (!semtimedop(mutex->semid, &take, 1, &timeout)) {
		enter(mutex, self, holding);
		return 0;
	}
	error = errno;
	if (error == EAGAIN && left >= DEATH_NS && holder_is_dead(mutex->semid, holder))
		return EOWNERDEAD;
	if (error == EAGAIN && deadline != NEVER && clock_now() >= deadline)
		return ETIMEDOUT;
	return error;
}

static int give(int semid)
{
	struct sembuf release = { 0, 1, SEM_UNDO };

	return semop(semid, &release, 1) ? errno : 0;
}

/*
 * Give a mutex back whose words are not as its owner left them.  Either somebody scribbled over the words, and then the
 * semaphore is still ours to give.  Or the semaphore was reset and somebody else may be inside: giving it back would
 * let in a third.  The kernel tells: it remembers who changed the semaphore last.
 */
void mutex_give_broken(const struct mutex *mutex)
{
	if (semctl(mutex->semid, 0, GETVAL) == 0 && semctl(mutex->semid, 0, GETPID) == getpid())
		give(mutex->semid);
}

/* Leave and give back.  EPROTO: somebody else was inside at the same time, or wrote the words. */
int mutex_give(const struct mutex *mutex, const struct mutex_holding *holding)
{
	if (mutex->state && semshare_lock_leave(mutex->state, holding->epoch)) {
		mutex_give_broken(mutex);
		return EPROTO;
	}
	return give(mutex->semid);
}

/*
 * Give the mutex back as it was found, with the words of the owner who died inside: the next owner is to see to it.
 * Of a mutex whose last owner left it properly, this makes one that says its owner died: us.
 */
int mutex_give_unrepaired(const struct mutex *mutex, const struct mutex_holding *holding)
{
	struct semshare_lock_state *state = mutex->state;

	if (state && holding->died) {
		semshare_store(&state->deaths, semshare_load(&state->deaths) - 1);
		semshare_store(&state->owner_kind, holding->dead.kind);
		semshare_store(&state->owner_pid, holding->dead.pid);
		semshare_store(&state->owner_tid, holding->dead.tid);
		semshare_store(&state->owner_start, holding->dead.start);
	}
	return give(mutex->semid);
}

void mutex_count(struct mutex_waits *waits, bool contended, int64_t waited)
{
	waits->acquisitions++;
	if (contended) {
		waits->contended++;
		waits->wait_ns[semshare_histogram_bucket(waited > 0 ? (__u64)waited : 0)]++;
	}
}
