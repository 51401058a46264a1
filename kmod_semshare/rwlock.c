// SPDX-License-Identifier: GPL-2.0
/*
 * A lock that many have to read or one to write, for kernel code; the Python side is
 * semshare.RWLock.  Its semaphores: enum semshare_rwlock_semaphore.
 *
 * New readers wait for writers that wait.  So a task that has it to read does not ask
 * for it again: with a writer in between it would wait for itself, until its time is
 * over.  Who has it to read cannot have it to write as well, and gets no answer but
 * the end of its time; who has it to write gets -EDEADLK.
 *
 * What mutex.c says of what does not answer 0, of suspect locks and of users who lie
 * holds here, too.  Only a writer can say that what the lock guards is consistent.
 */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "mutex.h"

/**
 * struct semshare_rwlock - a lock, as all kernel code that shares the handle sees it
 * @set: its set, with a reference
 * @state: the words of its writer, NULL without a companion
 * @inside: how many have it by way of this handle to read, or -1: one to write
 * @writer: that one: only ever compared
 * @lowered_by: who got the semaphore to write beside it: see semshare_lowered_tell()
 * @epoch: odd epoch of its ownership
 * @doubted: two were inside at once that must not be
 */
struct semshare_rwlock {
	struct semshare_set *set;
	struct semshare_lock_state *state;
	atomic_t inside;
	const struct task_struct *writer;
	int lowered_by;
	u32 epoch;
	bool doubted;
};

#define INSIDE_WRITER	-1

static const struct sembuf enter_read[] = {
	{ .sem_num = SEMSHARE_RWLOCK_WRITER, .sem_op = 0 },
	{ .sem_num = SEMSHARE_RWLOCK_WAITING, .sem_op = 0 },
	{ .sem_num = SEMSHARE_RWLOCK_READERS, .sem_op = 1 },
};

static const struct sembuf leave_read[] = {
	{ .sem_num = SEMSHARE_RWLOCK_READERS, .sem_op = -1 },
};

/* The last one for a writer that has announced itself. */
static const struct sembuf enter_write[] = {
	{ .sem_num = SEMSHARE_RWLOCK_WRITER, .sem_op = 0 },
	{ .sem_num = SEMSHARE_RWLOCK_READERS, .sem_op = 0 },
	{ .sem_num = SEMSHARE_RWLOCK_WRITER, .sem_op = 1 },
	{ .sem_num = SEMSHARE_RWLOCK_WAITING, .sem_op = -1 },
};

static const struct sembuf announce_write[] = {
	{ .sem_num = SEMSHARE_RWLOCK_WAITING, .sem_op = 1 },
};

static const struct sembuf withdraw_write[] = {
	{ .sem_num = SEMSHARE_RWLOCK_WAITING, .sem_op = -1 },
};

static const struct sembuf leave_write[] = {
	{ .sem_num = SEMSHARE_RWLOCK_WRITER, .sem_op = -1 },
};

static const struct sembuf write_to_read[] = {
	{ .sem_num = SEMSHARE_RWLOCK_WRITER, .sem_op = -1 },
	{ .sem_num = SEMSHARE_RWLOCK_READERS, .sem_op = 1 },
};

static int rwlock_doubt(struct semshare_rwlock *rwlock)
{
	WRITE_ONCE(rwlock->doubted, true);
	return -EPROTO;
}

/* Operations that would only wait, or go too far, if somebody set a semaphore. */
static int rwlock_do(struct semshare_rwlock *rwlock, const struct sembuf *operations,
		     unsigned int count)
{
	int err = semshare_set_do(rwlock->set, operations, count);

	return err == -EAGAIN || err == -ERANGE ? rwlock_doubt(rwlock) : err;
}

/* -------------------------------------------------------------------- read */

static int read_give(struct semshare_rwlock *rwlock)
{
	atomic_dec(&rwlock->inside);
	return rwlock_do(rwlock, leave_read, ARRAY_SIZE(leave_read));
}

/**
 * semshare_rwlock_read_lock - take a lock to read
 * @rwlock: the lock
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 * @suspect: as of semshare_mutex_lock(): a writer died inside
 *
 * Context: process context, sleeps.
 * Return: as semshare_mutex_lock(); -EDEADLK: current has it to write.
 */
int semshare_rwlock_read_lock(struct semshare_rwlock *rwlock, long timeout, bool *suspect)
{
	struct semshare_owner dead;
	bool doubted;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (READ_ONCE(rwlock->writer) == current)
		return -EDEADLK;
	err = semshare_set_take(rwlock->set, enter_read, ARRAY_SIZE(enter_read),
				semshare_deadline(timeout));
	if (err)
		return err == -ERANGE ? rwlock_doubt(rwlock) : err;
	if (!atomic_inc_unless_negative(&rwlock->inside)) {
		/* One of us writes: somebody lowered its semaphore. */
		rwlock_do(rwlock, leave_read, ARRAY_SIZE(leave_read));
		return rwlock_doubt(rwlock);
	}
	doubted = READ_ONCE(rwlock->doubted);
	if (rwlock->state &&
	    semshare_lock_enter_shared(rwlock->state, &dead) != SEMSHARE_LOCK_SOUND)
		doubted = true;
	if (suspect)
		*suspect = doubted;
	if (doubted && !suspect)
		return read_give(rwlock) ?: -EOWNERDEAD;
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_rwlock_read_lock);

/**
 * semshare_rwlock_read_unlock - give back a lock that was taken to read
 * @rwlock: the lock
 *
 * Context: process context; waits for nobody.
 * Return: 0, or
 *
 * * %-EPERM - nobody has it to read by this handle
 * * %-EPROTO - somebody set its semaphores: what was read may have been written meanwhile
 * * %-EIDRM - its set was removed meanwhile
 * * %-EOPNOTSUPP - called where sleeping is not allowed: it is still held
 */
int semshare_rwlock_read_unlock(struct semshare_rwlock *rwlock)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (atomic_read(&rwlock->inside) <= 0)
		return -EPERM;
	return read_give(rwlock);
}
EXPORT_SYMBOL_GPL(semshare_rwlock_read_unlock);

/* ------------------------------------------------------------------- write */

static int write_wait(struct semshare_rwlock *rwlock, ktime_t deadline)
{
	int err;

	err = rwlock_do(rwlock, announce_write, ARRAY_SIZE(announce_write));
	if (err)
		return err;
	err = semshare_set_take(rwlock->set, enter_write, ARRAY_SIZE(enter_write), deadline);
	/* If it fails, somebody has taken back what we announced: so be it. */
	if (err)
		semshare_set_do(rwlock->set, withdraw_write, ARRAY_SIZE(withdraw_write));
	return err;
}

/*
 * The words' end of writing, and the handle's, in which it leaves so many as @inside.
 * Before the semaphore: behind it another task may have the lock by this handle.
 */
static int write_leave(struct semshare_rwlock *rwlock, int inside, int *lowered_by)
{
	int err = semshare_words_leave(rwlock->state, rwlock->epoch);

	if (err)
		rwlock_doubt(rwlock);
	WRITE_ONCE(rwlock->writer, NULL);
	atomic_set_release(&rwlock->inside, err ? 0 : inside);
	*lowered_by = semshare_lowered_hear(&rwlock->lowered_by);
	return err;
}

static bool write_is_ours(struct semshare_rwlock *rwlock, int lowered_by)
{
	return semshare_set_is_ours(rwlock->set, SEMSHARE_RWLOCK_WRITER, 1, lowered_by);
}

static int write_give(struct semshare_rwlock *rwlock)
{
	int lowered_by;
	int err = write_leave(rwlock, 0, &lowered_by);

	if (!err || write_is_ours(rwlock, lowered_by))
		err = rwlock_do(rwlock, leave_write, ARRAY_SIZE(leave_write)) ?: err;
	return err;
}

/**
 * semshare_rwlock_write_lock - take a lock to write
 * @rwlock: the lock
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 * @suspect: as of semshare_mutex_lock()
 *
 * Context: process context, sleeps.
 * Return: as semshare_mutex_lock(); -EDEADLK: current has it to write.
 */
int semshare_rwlock_write_lock(struct semshare_rwlock *rwlock, long timeout, bool *suspect)
{
	ktime_t deadline;
	bool doubted;
	int err, inside;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	deadline = semshare_deadline(timeout);
	if (READ_ONCE(rwlock->writer) == current)
		return -EDEADLK;
	err = semshare_set_do(rwlock->set, enter_write, ARRAY_SIZE(enter_write) - 1);
	if (err == -EAGAIN && deadline != SEMSHARE_DEADLINE_NOW)
		err = write_wait(rwlock, deadline);
	if (err)
		return err;
	/*
	 * Of us, too, one is inside.  If that one writes it will lower the semaphore; unless
	 * it has left without hearing of us.
	 */
	while ((inside = atomic_cmpxchg(&rwlock->inside, 0, INSIDE_WRITER))) {
		rwlock_doubt(rwlock);
		if (inside > 0) {
			rwlock_do(rwlock, leave_write, ARRAY_SIZE(leave_write));
			return -EPROTO;
		}
		semshare_lowered_tell(&rwlock->lowered_by);
		if (atomic_read(&rwlock->inside) == INSIDE_WRITER ||
		    !semshare_lowered_hear(&rwlock->lowered_by))
			return -EPROTO;
	}
	WRITE_ONCE(rwlock->writer, current);
	doubted = READ_ONCE(rwlock->doubted);
	if (semshare_words_enter(rwlock->state, false, &rwlock->epoch) != SEMSHARE_LOCK_SOUND)
		doubted = true;
	if (suspect)
		*suspect = doubted;
	if (doubted && !suspect)
		return write_give(rwlock) ?: -EOWNERDEAD;
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_rwlock_write_lock);

/**
 * semshare_rwlock_write_unlock - give back a lock that was taken to write
 * @rwlock: the lock
 *
 * Context: process context; waits for nobody.
 * Return: as semshare_mutex_unlock().
 */
int semshare_rwlock_write_unlock(struct semshare_rwlock *rwlock)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (READ_ONCE(rwlock->writer) != current)
		return -EPERM;
	return write_give(rwlock);
}
EXPORT_SYMBOL_GPL(semshare_rwlock_write_unlock);

/**
 * semshare_rwlock_downgrade - go on reading what was written
 * @rwlock: the lock, which current has to write
 *
 * No other writer comes in between.  Not for blocks of semshare_scoped_write(): at their end
 * they give back what was taken to write, which current then does not have, and what it
 * has to read stays behind.  Use the plain calls.
 *
 * Context: process context; waits for nobody.
 * Return: 0 with the lock held to read; without it as semshare_mutex_unlock().
 */
int semshare_rwlock_downgrade(struct semshare_rwlock *rwlock)
{
	int err, lowered_by;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (READ_ONCE(rwlock->writer) != current)
		return -EPERM;
	err = write_leave(rwlock, 1, &lowered_by);
	if (!err) {
		err = rwlock_do(rwlock, write_to_read, ARRAY_SIZE(write_to_read));
		if (!err)
			return 0;
		/* Somebody raised the readers to the maximum, or root has lowered semopm. */
		atomic_dec(&rwlock->inside);
	}
	if (write_is_ours(rwlock, lowered_by))
		err = rwlock_do(rwlock, leave_write, ARRAY_SIZE(leave_write)) ?: err;
	return err;
}
EXPORT_SYMBOL_GPL(semshare_rwlock_downgrade);

/**
 * semshare_rwlock_consistent - what a lock guards is consistent again
 * @rwlock: the lock
 *
 * Context: any.
 * Return: 0, or -EPERM: current does not have the lock to write.
 */
int semshare_rwlock_consistent(struct semshare_rwlock *rwlock)
{
	if (READ_ONCE(rwlock->writer) != current)
		return -EPERM;
	if (rwlock->state)
		semshare_lock_trust(rwlock->state);
	WRITE_ONCE(rwlock->doubted, false);
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_rwlock_consistent);

/* ----------------------------------------------------------- open and close */

/**
 * semshare_rwlock_of - the lock that a set is
 * @set: the set, which the lock keeps
 *
 * Context: process context, may sleep.
 * Return: the lock, to be given back with semshare_rwlock_close(), or
 *
 * * %-EPROTOTYPE - the set is no such lock, but something else
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
struct semshare_rwlock *semshare_rwlock_of(struct semshare_set *set)
{
	struct semshare_rwlock *rwlock;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!semshare_set_is(set, SEMSHARE_SET_RWLOCK) ||
	    semshare_set_size(set) != SEMSHARE_RWLOCK_NSEMS)
		return ERR_PTR(-EPROTOTYPE);
	rwlock = kzalloc(sizeof(*rwlock), GFP_KERNEL_ACCOUNT);
	if (!rwlock)
		return ERR_PTR(-ENOMEM);
	rwlock->set = semshare_set_get(set);
	rwlock->state = semshare_set_state(set, 0);
	return rwlock;
}
EXPORT_SYMBOL_GPL(semshare_rwlock_of);

/**
 * semshare_rwlock_open - the lock of a name
 * @ns: the caller's own IPC namespace
 * @name: its name
 *
 * Context: process context of a process, sleeps.
 * Return: as semshare_rwlock_of() of what semshare_set_open() returns.
 */
struct semshare_rwlock *semshare_rwlock_open(struct ipc_namespace *ns, const char *name)
{
	struct semshare_set *set = semshare_set_open(ns, name);
	struct semshare_rwlock *rwlock;

	if (IS_ERR(set))
		return ERR_CAST(set);
	rwlock = semshare_rwlock_of(set);
	semshare_set_close(set);
	return rwlock;
}
EXPORT_SYMBOL_GPL(semshare_rwlock_open);

/**
 * semshare_rwlock_close - let go of a lock
 * @rwlock: the lock, which nobody uses any more, or NULL
 *
 * What is held by way of this handle is given back; to write, as that of an owner who
 * died: whoever takes it next is told.
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_rwlock_close(struct semshare_rwlock *rwlock)
{
	if (!rwlock)
		return;
	if (atomic_read(&rwlock->inside) == INSIDE_WRITER)
		rwlock_do(rwlock, leave_write, ARRAY_SIZE(leave_write));
	while (atomic_dec_if_positive(&rwlock->inside) >= 0)
		rwlock_do(rwlock, leave_read, ARRAY_SIZE(leave_read));
	semshare_set_close(rwlock->set);
	kfree(rwlock);
}
EXPORT_SYMBOL_GPL(semshare_rwlock_close);
