// SPDX-License-Identifier: GPL-2.0
/*
 * So many wait for each other, for kernel code; the Python side is semshare.Barrier, and
 * how it works stands in semshare/core/barrier.h.
 *
 * Its lock guards nothing but the places, where a dead owner leaves nothing to put
 * right.
 */
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/slab.h>
#include <semshare/core/barrier.h>

#include "mutex.h"
#include "places.h"

/**
 * struct semshare_barrier - a barrier
 * @waiters: its places
 * @lock: semaphore 0 of its set
 * @parties: how many it takes to open it
 */
struct semshare_barrier {
	struct semshare_waiters waiters;
	struct semshare_mutex lock;
	unsigned int parties;
};

static int barrier_look(struct semshare_places_port *port, const void *arrival)
{
	return semshare_barrier_outcome(port->places, arrival) != -EAGAIN;
}

static int barrier_take(struct semshare_barrier *barrier, ktime_t deadline)
{
	bool suspect;

	return semshare_mutex_take(&barrier->lock, deadline, &suspect);
}

/*
 * Kernel code has the lock of a barrier for an instant, and a process while it calls its
 * action; so long it is waited for even if the time is over.  But an action may take its
 * time, and a process do what it likes with the lock, or be stopped.
 */
static ktime_t barrier_patience(ktime_t deadline)
{
	return max_t(s64, deadline, ktime_add_ms(ktime_get(), SEMSHARE_PLACES_RECHECK_MS));
}

/*
 * The time is over.  Return: 0: it has opened just now; -ETIMEDOUT: it is broken now, or,
 * where its lock was not to be had, the others wait for another.
 */
static int barrier_give_up(struct semshare_barrier *barrier,
			   const struct semshare_barrier_arrival *arrival)
{
	struct semshare_places_port *port = &barrier->waiters.port;
	int err, given;

	err = barrier_take(barrier, barrier_patience(0));
	if (err)
		return err;
	err = semshare_barrier_outcome(port->places, arrival);
	if (err == -EAGAIN)
		err = semshare_barrier_break(port) ?: -ETIMEDOUT;
	given = semshare_mutex_give(&barrier->lock);
	return err ?: given;
}

/**
 * semshare_barrier_wait - wait until so many do
 * @barrier: the barrier
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 *
 * Whose time is over breaks the barrier for all.  Who is interrupted is taken out, and the
 * others wait for another.
 *
 * A process that is the last to come calls its action with the barrier's lock held.  Who
 * is over time meanwhile waits SEMSHARE_PLACES_RECHECK_MS for the lock, then answers
 * -ETIMEDOUT and leaves, and the others go on without it.  So where kernel threads wait
 * with a limit, actions have to be shorter than that.
 *
 * Context: process context, sleeps.
 * Return: a number of current's own among those that go on with it, 0 to parties - 1, or
 *
 * * %-ETIMEDOUT - the time is over, and the barrier is broken for that, unless somebody
 *   does not give its lock back, or has it for an action that takes too long
 * * %-EPIPE - it is broken, or was reset
 * * %-EINTR - a signal, or kthread_stop()
 * * %-ENOSPC - SEMSHARE_PLACES are inside, with those on their way out
 * * %-EPROTO - somebody set its semaphores or wrote its words
 * * %-EIDRM - its set was removed
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
int semshare_barrier_wait(struct semshare_barrier *barrier, long timeout)
{
	struct semshare_places_port *port = &barrier->waiters.port;
	struct semshare_barrier_arrival arrival;
	unsigned int fruitless = 0;
	struct semshare_owner self;
	int last, err, given;
	ktime_t deadline;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	deadline = semshare_deadline(timeout);
	err = barrier_take(barrier, barrier_patience(deadline));
	if (err)
		return err;
	semshare_owner_describe(&self);
	last = semshare_barrier_arrive(port, barrier->parties, &self, &arrival);
	err = last == 1 ? semshare_barrier_let_pass(port) : last;
	given = semshare_mutex_give(&barrier->lock);
	if (last) {
		err = semshare_waiters_error(err) ?: given;
		return err ?: arrival.index;
	}
	err = given ?: semshare_waiters_sleep(&barrier->waiters, arrival.place, deadline,
					      &fruitless, barrier_look, &arrival);
	if (!err)
		err = semshare_barrier_outcome(port->places, &arrival);
	else if (err == -ETIMEDOUT)
		err = barrier_give_up(barrier, &arrival);
	semshare_barrier_leave(port, &arrival);
	/* -EAGAIN: between the looks its words were written. */
	return semshare_waiters_error(err) ?: arrival.index;
}
EXPORT_SYMBOL_GPL(semshare_barrier_wait);

static int barrier_by_owner(struct semshare_barrier *barrier,
			    int (*change)(struct semshare_places_port *port))
{
	int err, given;

	err = barrier_take(barrier, SEMSHARE_DEADLINE_NEVER);
	if (err)
		return err;
	err = change(&barrier->waiters.port);
	given = semshare_mutex_give(&barrier->lock);
	return err ?: given;
}

/**
 * semshare_barrier_abort - break a barrier
 * @barrier: the barrier
 *
 * Who waits, or comes before semshare_barrier_reset(), gets -EPIPE.
 *
 * Context: process context, sleeps: until it has the lock, in which nobody stays.
 * Return: 0; -EINTR, -EPROTO, -EIDRM, -ENOMEM, -EOPNOTSUPP as semshare_barrier_wait().
 */
int semshare_barrier_abort(struct semshare_barrier *barrier)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	return barrier_by_owner(barrier, semshare_barrier_break);
}
EXPORT_SYMBOL_GPL(semshare_barrier_abort);

/**
 * semshare_barrier_reset - make a barrier as new
 * @barrier: the barrier
 *
 * Who waits gets -EPIPE.
 *
 * Context: as semshare_barrier_abort().
 * Return: as semshare_barrier_abort().
 */
int semshare_barrier_reset(struct semshare_barrier *barrier)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	return barrier_by_owner(barrier, semshare_barrier_renew);
}
EXPORT_SYMBOL_GPL(semshare_barrier_reset);

/**
 * semshare_barrier_parties - how many it takes to open a barrier
 * @barrier: the barrier
 *
 * Context: any.
 */
unsigned int semshare_barrier_parties(const struct semshare_barrier *barrier)
{
	return barrier->parties;
}
EXPORT_SYMBOL_GPL(semshare_barrier_parties);

static void barrier_free(struct semshare_barrier *barrier)
{
	semshare_mutex_teardown(&barrier->lock);
	kfree(barrier);
}

/**
 * semshare_barrier_of - the barrier that a set is
 * @set: the set, which the barrier keeps
 *
 * Context: process context, may sleep.
 * Return: the barrier, to be given back with semshare_barrier_close(), or
 *
 * * %-EPROTOTYPE - the set is no barrier, but something else
 * * %-ENXIO - it has no companion that the caller may write
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
struct semshare_barrier *semshare_barrier_of(struct semshare_set *set)
{
	struct semshare_barrier *barrier;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	barrier = kzalloc(sizeof(*barrier), GFP_KERNEL_ACCOUNT);
	if (!barrier)
		return ERR_PTR(-ENOMEM);
	semshare_mutex_setup(&barrier->lock, set, 0);
	barrier->lock.repaired = true;
	barrier->parties = set->companion.limit;
	err = semshare_waiters_setup(&barrier->waiters, set, SEMSHARE_SET_BARRIER);
	if (err) {
		barrier_free(barrier);
		return ERR_PTR(err);
	}
	return barrier;
}
EXPORT_SYMBOL_GPL(semshare_barrier_of);

/**
 * semshare_barrier_open - the barrier of a name
 * @ns: the caller's own IPC namespace
 * @name: its name
 *
 * Context: process context of a process, sleeps.
 * Return: as semshare_barrier_of() of what semshare_set_open() returns.
 */
struct semshare_barrier *semshare_barrier_open(struct ipc_namespace *ns, const char *name)
{
	struct semshare_set *set = semshare_set_open(ns, name);
	struct semshare_barrier *barrier;

	if (IS_ERR(set))
		return ERR_CAST(set);
	barrier = semshare_barrier_of(set);
	semshare_set_close(set);
	return barrier;
}
EXPORT_SYMBOL_GPL(semshare_barrier_open);

/**
 * semshare_barrier_close - let go of a barrier
 * @barrier: the barrier, where nobody waits any more, or NULL
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_barrier_close(struct semshare_barrier *barrier)
{
	if (barrier)
		barrier_free(barrier);
}
EXPORT_SYMBOL_GPL(semshare_barrier_close);
