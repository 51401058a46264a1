// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting until somebody says that what a lock guards has changed, for kernel code; the
 * Python side is semshare.Condition, and what a notification is and becomes stands in
 * semshare/core/condition.h.
 */
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/slab.h>
#include <semshare/core/condition.h>

#include "mutex.h"
#include "places.h"

/**
 * struct semshare_condition - a condition
 * @waiters: its places
 * @lock: what guards it: @own, or a lock of its user's
 * @own: semaphore 0 of its set
 */
struct semshare_condition {
	struct semshare_waiters waiters;
	struct semshare_mutex *lock;
	struct semshare_mutex own;
};

static int condition_look(struct semshare_places_port *port, const void *place)
{
	return semshare_condition_look(port, *(const unsigned int *)place);
}

/* Sleep without the lock.  Return: 0 or -ETIMEDOUT with the lock held again; else without. */
static int condition_sleep(struct semshare_condition *condition, unsigned int place,
			   ktime_t deadline, unsigned int *fruitless, bool *suspect)
{
	int err, end;

	err = semshare_mutex_give(condition->lock);
	if (err)
		return err;
	end = semshare_waiters_sleep(&condition->waiters, place, deadline, fruitless,
				     condition_look, &place);
	if (end && end != -ETIMEDOUT)
		return end;
	err = semshare_mutex_take(condition->lock, SEMSHARE_DEADLINE_NEVER, suspect);
	return err ?: end;
}

/**
 * semshare_condition_wait - give the lock, wait to be notified, have the lock again
 * @condition: the condition, whose lock current has
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 * @suspect: as of semshare_mutex_lock(), for having the lock again, which it waits for as
 *	long as it takes
 *
 * What is waited for may have become untrue again, or was somebody else's: look, and wait
 * again.
 *
 * Context: process context, sleeps.
 * Return: with the lock held, 1: notified, or 0: the time is over; without the lock:
 *
 * * %-EPERM - current did not have it
 * * %-EINTR - a signal, or kthread_stop()
 * * %-ENOSPC - SEMSHARE_PLACES wait already
 * * %-EOWNERDEAD - the lock is suspect, and @suspect is NULL
 * * %-EPROTO - somebody else was inside the lock as well, or set a place's semaphore
 * * %-EIDRM - a set was removed
 * * %-ENOMEM
 *
 * and %-EOPNOTSUPP as it was: called where sleeping is not allowed.
 */
int semshare_condition_wait(struct semshare_condition *condition, long timeout, bool *suspect)
{
	struct semshare_places_port *port = &condition->waiters.port;
	unsigned int fruitless = 0;
	struct semshare_owner self;
	bool doubted = false;
	int place, woken, err;
	ktime_t deadline;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	deadline = semshare_deadline(timeout);
	if (READ_ONCE(condition->lock->holder) != current)
		return -EPERM;
	semshare_owner_describe(&self);
	place = semshare_condition_enter(port, &self);
	if (place < 0)
		return semshare_mutex_give(condition->lock) ?: semshare_waiters_error(place);
	do {
		err = condition_sleep(condition, place, deadline, &fruitless, &doubted);
		if (err && err != -ETIMEDOUT) {
			semshare_place_leave(port, place);
			return semshare_waiters_error(err);
		}
		semshare_condition_settle(port);
		/* Users can say again and again that there is something to settle. */
		if (ktime_compare(ktime_get(), deadline) >= 0)
			err = -ETIMEDOUT;
	} while (!err && !semshare_condition_woken(port->places, place));
	/* Who does not get the lock lets the notification go on. */
	woken = semshare_condition_leave(port, place, doubted && !suspect);
	if (suspect)
		*suspect = doubted;
	else if (doubted && woken >= 0)
		woken = -EOWNERDEAD;
	if (woken < 0)
		return semshare_mutex_give(condition->lock) ?: semshare_waiters_error(woken);
	return woken;
}
EXPORT_SYMBOL_GPL(semshare_condition_wait);

/**
 * semshare_condition_notify - wake those who wait longest
 * @condition: the condition, whose lock current has
 * @count: how many at most; UINT_MAX: all
 *
 * Context: process context; waits for nobody.
 * Return: how many there were; -EPERM: current does not have the lock; -EIDRM: its set
 * was removed; -ENOMEM; -EOPNOTSUPP: called where sleeping is not allowed.
 */
int semshare_condition_notify(struct semshare_condition *condition, unsigned int count)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (READ_ONCE(condition->lock->holder) != current)
		return -EPERM;
	return semshare_condition_tell(&condition->waiters.port, count);
}
EXPORT_SYMBOL_GPL(semshare_condition_notify);

/**
 * semshare_condition_mutex - the lock that guards a condition
 * @condition: the condition
 *
 * Context: any.
 * Return: the lock, which goes with the condition if it is its own.
 */
struct semshare_mutex *semshare_condition_mutex(struct semshare_condition *condition)
{
	return condition->lock;
}
EXPORT_SYMBOL_GPL(semshare_condition_mutex);

static void condition_free(struct semshare_condition *condition)
{
	semshare_mutex_teardown(&condition->own);
	kfree(condition);
}

/**
 * semshare_condition_of - the condition that a set is
 * @set: the set, which the condition keeps
 * @lock: the lock that guards it, which stays open as long as the condition does; NULL:
 *	its own.  The same as wherever else it is opened
 *
 * Context: process context, may sleep.
 * Return: the condition, to be given back with semshare_condition_close(), or
 *
 * * %-EPROTOTYPE - the set is no condition, but something else
 * * %-ENXIO - it has no companion that the caller may write
 * * %-EXDEV - others have it guarded by another lock
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
struct semshare_condition *semshare_condition_of(struct semshare_set *set,
						 struct semshare_mutex *lock)
{
	struct semshare_condition *condition;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	condition = kzalloc(sizeof(*condition), GFP_KERNEL_ACCOUNT);
	if (!condition)
		return ERR_PTR(-ENOMEM);
	semshare_mutex_setup(&condition->own, set, 0);
	condition->lock = lock ?: &condition->own;
	err = semshare_waiters_setup(&condition->waiters, set, SEMSHARE_SET_CONDITION);
	if (!err)
		err = semshare_condition_guard(condition->waiters.port.places,
					       condition->lock->set->facts.key,
					       condition->lock->number);
	if (err) {
		condition_free(condition);
		return ERR_PTR(err);
	}
	return condition;
}
EXPORT_SYMBOL_GPL(semshare_condition_of);

/**
 * semshare_condition_open - the condition of a name, with a lock of its own
 * @ns: the caller's own IPC namespace
 * @name: its name
 *
 * Context: process context of a process, sleeps.
 * Return: as semshare_condition_of() of what semshare_set_open() returns.
 */
struct semshare_condition *semshare_condition_open(struct ipc_namespace *ns, const char *name)
{
	struct semshare_set *set = semshare_set_open(ns, name);
	struct semshare_condition *condition;

	if (IS_ERR(set))
		return ERR_CAST(set);
	condition = semshare_condition_of(set, NULL);
	semshare_set_close(set);
	return condition;
}
EXPORT_SYMBOL_GPL(semshare_condition_open);

/**
 * semshare_condition_close - let go of a condition
 * @condition: the condition, where nobody waits any more, or NULL
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_condition_close(struct semshare_condition *condition)
{
	if (condition)
		condition_free(condition);
}
EXPORT_SYMBOL_GPL(semshare_condition_close);
