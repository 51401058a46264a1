// SPDX-License-Identifier: GPL-2.0
/*
 * A count of permits, for kernel code; the Python side is semshare.Semaphore and
 * .BoundedSemaphore.
 *
 * Nobody owns a permit: it may be given back by anybody, and nothing gives back what a
 * kernel thread has taken.  How a bound is kept: SEMSHARE_SET_BOUNDED.  Only the companion
 * tells what it is; without it the value does where it is large, see semaphore_guess().
 */
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/slab.h>

#include "set.h"

/**
 * struct semshare_semaphore - a semaphore
 * @set: its set, with a reference
 * @spare: what its value is more than there are permits
 */
struct semshare_semaphore {
	struct semshare_set *set;
	unsigned int spare;
};

/**
 * semshare_semaphore_down - take a permit
 * @semaphore: the semaphore
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 *
 * Context: process context, sleeps.
 * Return: 0; -EAGAIN: there is none, and @timeout is 0; -ETIMEDOUT; -EINTR: a signal, or
 * kthread_stop(); -EIDRM: the set was removed; -ENOMEM; -EOPNOTSUPP: called where
 * sleeping is not allowed.
 */
int semshare_semaphore_down(struct semshare_semaphore *semaphore, long timeout)
{
	const struct sembuf down[] = {
		{ .sem_op = -(int)semaphore->spare - 1 },
		{ .sem_op = semaphore->spare },
	};

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	return semshare_set_take(semaphore->set, down, semaphore->spare ? 2 : 1,
				 semshare_deadline(timeout));
}
EXPORT_SYMBOL_GPL(semshare_semaphore_down);

/**
 * semshare_semaphore_up - give permits
 * @semaphore: the semaphore
 * @count: how many, at least one
 *
 * Context: process context; waits for nobody.
 * Return: 0; -EINVAL: @count is 0 or more than 32767; -ERANGE: that would be more than
 * its bound, or than 32767; -EIDRM: the set was removed; -ENOMEM; -EOPNOTSUPP: called
 * where sleeping is not allowed.
 */
int semshare_semaphore_up(struct semshare_semaphore *semaphore, unsigned int count)
{
	const struct sembuf up = { .sem_op = count };

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (!count || count > SEMVMX)
		return -EINVAL;
	return semshare_set_do(semaphore->set, &up, 1);
}
EXPORT_SYMBOL_GPL(semshare_semaphore_up);

/**
 * semshare_semaphore_value - how many permits there are
 * @semaphore: the semaphore
 *
 * Context: process context, may sleep.
 * Return: how many there were a moment ago, or -EIDRM: the set was removed; -EOPNOTSUPP:
 * called where sleeping is not allowed, or this kernel lacks a function.
 */
int semshare_semaphore_value(struct semshare_semaphore *semaphore)
{
	int value;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	value = semshare_set_ask(semaphore->set, 0, GETVAL);
	/* Less than what is spare it is only if somebody has set it. */
	return value < 0 ? value : max(value - (int)semaphore->spare, 0);
}
EXPORT_SYMBOL_GPL(semshare_semaphore_value);

/*
 * Is it one without a bound, if nobody knows what it is?  The value of a bounded one is
 * 32767 - limit more than there are permits: to take one for a permit would have no end.
 * So large a value is believed to be that, as few have so many permits; a small one
 * may be that of a bounded one with a high limit all the same.
 */
static int semaphore_guess(struct semshare_set *set)
{
	int value;

	if (set->companion.kind != SEMSHARE_SET_KINDS)
		return 0;
	value = semshare_set_ask(set, 0, GETVAL);
	if (value < 0)
		return value == -EOPNOTSUPP ? -ENXIO : value;
	return value > SEMVMX / 2 ? -ENXIO : 0;
}

/**
 * semshare_semaphore_of - the semaphore that a set is
 * @set: the set, which the semaphore keeps
 *
 * A set without a companion that the caller may write is taken for a semaphore without a
 * bound if its value is 16383 at most.  That is a guess: a bounded one of more
 * than 16383 permits, most of which are taken, has so small a value as well.
 *
 * Context: process context, may sleep.
 * Return: the semaphore, to be given back with semshare_semaphore_close(), or
 *
 * * %-EPROTOTYPE - the set is no semaphore, but something else
 * * %-ENXIO - its companion is missing, and it looks like a bounded one, which cannot be
 *   told without; or this kernel lacks the function that tells its value
 * * %-EIDRM - it was removed meanwhile
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
struct semshare_semaphore *semshare_semaphore_of(struct semshare_set *set)
{
	struct semshare_semaphore *semaphore;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!semshare_set_is(set, SEMSHARE_SET_SEMAPHORE) &&
	    !semshare_set_is(set, SEMSHARE_SET_BOUNDED))
		return ERR_PTR(-EPROTOTYPE);
	err = semaphore_guess(set);
	if (err)
		return ERR_PTR(err);
	semaphore = kzalloc(sizeof(*semaphore), GFP_KERNEL_ACCOUNT);
	if (!semaphore)
		return ERR_PTR(-ENOMEM);
	semaphore->set = semshare_set_get(set);
	if (set->companion.kind == SEMSHARE_SET_BOUNDED)
		semaphore->spare = SEMVMX - set->companion.limit;
	return semaphore;
}
EXPORT_SYMBOL_GPL(semshare_semaphore_of);

/**
 * semshare_semaphore_open - the semaphore of a name
 * @ns: the caller's own IPC namespace
 * @name: its name
 *
 * Context: process context of a process, sleeps.
 * Return: as semshare_semaphore_of() of what semshare_set_open() returns.
 */
struct semshare_semaphore *semshare_semaphore_open(struct ipc_namespace *ns, const char *name)
{
	struct semshare_set *set = semshare_set_open(ns, name);
	struct semshare_semaphore *semaphore;

	if (IS_ERR(set))
		return ERR_CAST(set);
	semaphore = semshare_semaphore_of(set);
	semshare_set_close(set);
	return semaphore;
}
EXPORT_SYMBOL_GPL(semshare_semaphore_open);

/**
 * semshare_semaphore_close - let go of a semaphore
 * @semaphore: the semaphore, which nobody uses any more, or NULL
 *
 * What was taken of it stays taken.
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_semaphore_close(struct semshare_semaphore *semaphore)
{
	if (!semaphore)
		return;
	semshare_set_close(semaphore->set);
	kfree(semaphore);
}
EXPORT_SYMBOL_GPL(semshare_semaphore_close);
