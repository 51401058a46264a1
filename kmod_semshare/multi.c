// SPDX-License-Identifier: GPL-2.0
/*
 * Several locks of a pool, all of them or none in one operation, for kernel code; the
 * Python side is semshare.MultiLock.  Nobody who takes locks so has to agree with
 * anybody on their order.
 *
 * What mutex.c says of what does not answer 0, of suspect locks and of users who lie
 * holds here, too.
 */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "mutex.h"

/**
 * struct semshare_multi_member - one of the locks
 * @number: its semaphore
 * @epoch: odd epoch of its ownership
 * @state: the words beside it, NULL without a companion
 */
struct semshare_multi_member {
	unsigned int number;
	u32 epoch;
	struct semshare_lock_state *state;
};

/**
 * struct semshare_multi - the locks, as all kernel code that shares the handle sees them
 * @set: their set, with a reference
 * @holder: the task that has them by way of this handle: only ever compared
 * @lowered_by: who got their semaphores beside that one: see semshare_lowered_tell()
 * @doubted: they were given back although somebody else had been inside one as well
 * @operations: to try, to wait, to give: @count of each, never changed, as others
 *	carry them out while a task sleeps
 * @count: how many locks
 * @members: the locks
 */
struct semshare_multi {
	struct semshare_set *set;
	const struct task_struct *holder;
	int lowered_by;
	bool doubted;
	struct sembuf *operations;
	unsigned int count;
	struct semshare_multi_member members[];
};

static struct sembuf *to_try(struct semshare_multi *multi)
{
	return multi->operations;
}

static struct sembuf *to_wait(struct semshare_multi *multi)
{
	return multi->operations + multi->count;
}

static struct sembuf *to_give(struct semshare_multi *multi)
{
	return multi->operations + 2 * multi->count;
}

/* One of them, as in semshare_mutex_give(). */
static int give_one(struct semshare_multi *multi, unsigned int number, bool intact, int lowered_by)
{
	const struct sembuf give = { .sem_num = number, .sem_op = 1 };
	int err;

	if (!intact && !semshare_set_is_ours(multi->set, number, 0, lowered_by))
		return -EPROTO;
	err = semshare_set_do(multi->set, &give, 1);
	/* Somebody raised it to its maximum. */
	return err == -ERANGE ? -EPROTO : err;
}

/*
 * One by one, where not all can be given at once.  With their words intact they are
 * ours, else those that are ours still are given.  Return: 0 if all were.
 */
static int give_each(struct semshare_multi *multi, bool intact, int lowered_by)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < multi->count; i++)
		err = give_one(multi, multi->members[i].number, intact, lowered_by) ?: err;
	return err;
}

static int multi_give(struct semshare_multi *multi)
{
	struct semshare_multi_member *member;
	int err = 0, lowered_by;
	unsigned int i;

	for (i = 0; i < multi->count; i++) {
		member = &multi->members[i];
		err = semshare_words_leave(member->state, member->epoch) ?: err;
	}
	if (err)
		WRITE_ONCE(multi->doubted, true);
	/* Before the V: behind it another task may have them by this handle. */
	smp_store_release(&multi->holder, NULL);
	lowered_by = semshare_lowered_hear(&multi->lowered_by);
	if (err) {
		give_each(multi, false, lowered_by);
		return err;
	}
	err = semshare_set_try(multi->set, to_give(multi), multi->count);
	/* -E2BIG: root has lowered semopm; -ERANGE: somebody raised one to its maximum. */
	if (err == -E2BIG)
		err = give_each(multi, true, lowered_by);
	else if (err == -ERANGE)
		err = give_each(multi, true, lowered_by) ?: -EPROTO;
	if (err == -EPROTO)
		WRITE_ONCE(multi->doubted, true);
	return err;
}

/**
 * semshare_multi_lock - take all the locks
 * @multi: the locks
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 * @suspect: as of semshare_mutex_lock(), if one of them is
 *
 * Context: process context, sleeps.
 * Return: as semshare_mutex_lock(); %-E2BIG: root has lowered semopm below their number.
 */
int semshare_multi_lock(struct semshare_multi *multi, long timeout, bool *suspect)
{
	struct semshare_multi_member *member;
	bool doubted;
	unsigned int i;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (READ_ONCE(multi->holder) == current)
		return -EDEADLK;
	err = semshare_set_try(multi->set, to_try(multi), multi->count);
	if (err == -EAGAIN)
		err = semshare_set_wait(multi->set, to_wait(multi), multi->count,
					semshare_deadline(timeout));
	if (err)
		return err;
	/* As in semshare_mutex_take(). */
	while (cmpxchg(&multi->holder, NULL, current)) {
		WRITE_ONCE(multi->doubted, true);
		semshare_lowered_tell(&multi->lowered_by);
		if (READ_ONCE(multi->holder) || !semshare_lowered_hear(&multi->lowered_by))
			return -EPROTO;
	}
	doubted = READ_ONCE(multi->doubted);
	for (i = 0; i < multi->count; i++) {
		member = &multi->members[i];
		if (semshare_words_enter(member->state, false, &member->epoch) !=
		    SEMSHARE_LOCK_SOUND)
			doubted = true;
	}
	if (suspect)
		*suspect = doubted;
	if (doubted && !suspect)
		return multi_give(multi) ?: -EOWNERDEAD;
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_multi_lock);

/**
 * semshare_multi_unlock - give all the locks back
 * @multi: the locks
 *
 * Context: process context; waits for nobody.
 * Return: as semshare_mutex_unlock().
 */
int semshare_multi_unlock(struct semshare_multi *multi)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (READ_ONCE(multi->holder) != current)
		return -EPERM;
	return multi_give(multi);
}
EXPORT_SYMBOL_GPL(semshare_multi_unlock);

/**
 * semshare_multi_consistent - what the locks guard is consistent again
 * @multi: the locks
 *
 * Context: any.
 * Return: 0, or -EPERM: current does not have them.
 */
int semshare_multi_consistent(struct semshare_multi *multi)
{
	unsigned int i;

	if (READ_ONCE(multi->holder) != current)
		return -EPERM;
	for (i = 0; i < multi->count; i++)
		if (multi->members[i].state)
			semshare_lock_trust(multi->members[i].state);
	WRITE_ONCE(multi->doubted, false);
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_multi_consistent);

/* Return: 0 if they are numbers of the set, each once. */
static int multi_fill(struct semshare_multi *multi, const unsigned int *numbers)
{
	unsigned int i, j;

	for (i = 0; i < multi->count; i++) {
		if (numbers[i] >= semshare_set_size(multi->set))
			return -EINVAL;
		for (j = 0; j < i; j++)
			if (numbers[j] == numbers[i])
				return -EINVAL;
		multi->members[i].number = numbers[i];
		multi->members[i].state = semshare_set_state(multi->set, numbers[i]);
		to_try(multi)[i] = (struct sembuf){ numbers[i], -1, IPC_NOWAIT };
		to_wait(multi)[i] = (struct sembuf){ numbers[i], -1, 0 };
		to_give(multi)[i] = (struct sembuf){ numbers[i], 1, IPC_NOWAIT };
	}
	return 0;
}

/**
 * semshare_multi_of - several locks of a pool
 * @set: the pool, which they keep
 * @numbers: which: each once
 * @count: how many
 *
 * Context: process context, may sleep.
 * Return: the locks, to be given back with semshare_multi_close(), or
 *
 * * %-EPROTOTYPE - the set is no pool, but something else
 * * %-EINVAL - none at all, no such number, or one twice
 * * %-E2BIG - more than semopm, 500 unless root has changed it
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
struct semshare_multi *semshare_multi_of(struct semshare_set *set, const unsigned int *numbers,
					 unsigned int count)
{
	struct semshare_multi *multi;
	int err = -ENOMEM;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!semshare_set_is(set, SEMSHARE_SET_POOL))
		return ERR_PTR(-EPROTOTYPE);
	if (!count)
		return ERR_PTR(-EINVAL);
	if (count > semshare_sem_max_nsops(set->ns))
		return ERR_PTR(-E2BIG);
	multi = kvzalloc(struct_size(multi, members, count), GFP_KERNEL_ACCOUNT);
	if (!multi)
		return ERR_PTR(-ENOMEM);
	multi->set = semshare_set_get(set);
	multi->count = count;
	multi->operations = kvcalloc(count, 3 * sizeof(*multi->operations), GFP_KERNEL_ACCOUNT);
	if (multi->operations)
		err = multi_fill(multi, numbers);
	if (err) {
		semshare_multi_close(multi);
		return ERR_PTR(err);
	}
	return multi;
}
EXPORT_SYMBOL_GPL(semshare_multi_of);

/**
 * semshare_multi_close - let go of several locks
 * @multi: the locks, which nobody uses any more, or NULL
 *
 * If they are held by way of this handle they are given back as those of an owner who
 * died: whoever takes one next is told.
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_multi_close(struct semshare_multi *multi)
{
	int err;

	if (!multi)
		return;
	if (multi->holder) {
		err = semshare_set_try(multi->set, to_give(multi), multi->count);
		/* As in multi_give(); nobody is here to be told what cannot be given. */
		if (err == -E2BIG || err == -ERANGE)
			give_each(multi, true, 0);
	}
	semshare_set_close(multi->set);
	kvfree(multi->operations);
	kvfree(multi);
}
EXPORT_SYMBOL_GPL(semshare_multi_close);
