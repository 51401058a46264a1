// SPDX-License-Identifier: GPL-2.0
/*
 * A lock that one has alone: a semaphore that is 1 when it is free, with words
 * beside it that say who has it.  For kernel code; the Python side is
 * semshare.Lock, .RLock and the locks of a pool, and sysv_ipc.Semaphore without words.
 *
 * - What does not answer 0 has not taken the lock.  That goes for a lock whose owner
 *   died inside as well: the caller gets it only if it asks to be told so, by
 *   @suspect, and else -EOWNERDEAD without the lock.  This differs from a robust
 *   pthread mutex, which is held when it answers EOWNERDEAD: "if (err) return err;"
 *   is what kernel code has behind each call, and would leave it locked for ever.
 * - A lock is suspect until somebody who has it calls semshare_mutex_consistent().
 *   Every owner until then is told.
 * - Users can raise the semaphore, and write the words.  Kernel code that shares a
 *   handle excludes each other all the same: whoever gets the semaphore while a
 *   task has the lock by the same handle gets -EPROTO.  And who finds, when giving the
 *   lock back, that somebody else has been inside, makes it suspect.
 * - A task that has the lock does not get it again, from a RLock neither.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "mutex.h"
#include "trace.h"

/* ------------------------------------------------------------------ words */

/**
 * semshare_words_enter - write the words of a lock that was taken
 * @state: the words, or NULL
 * @repaired: as in struct semshare_mutex
 * @epoch: out: for semshare_words_leave()
 *
 * Return: enum semshare_lock_found.
 */
int semshare_words_enter(struct semshare_lock_state *state, bool repaired, u32 *epoch)
{
	struct semshare_owner self, dead;

	*epoch = 0;
	if (!state)
		return SEMSHARE_LOCK_SOUND;
	semshare_owner_describe(&self);
	if (repaired) {
		semshare_lock_enter(state, &self, epoch);
		return SEMSHARE_LOCK_SOUND;
	}
	return semshare_lock_enter_wary(state, &self, epoch, &dead);
}

/**
 * semshare_words_leave - write the words of a lock that is about to be given back
 * @state: the words, or NULL
 * @epoch: from semshare_words_enter()
 *
 * Return: 0, or -EPROTO: somebody else was inside, or wrote them.
 */
int semshare_words_leave(struct semshare_lock_state *state, u32 epoch)
{
	return state ? semshare_lock_leave(state, epoch) : 0;
}

/* ----------------------------------------------------------- take and give */

/* The semaphore, waiting for it; and a word about a holder who will never give it back. */
static int mutex_wait(struct semshare_mutex *mutex, ktime_t deadline)
{
	struct sembuf take = { .sem_num = mutex->number, .sem_op = -1 };
	struct semshare_set *set = mutex->set;
	s64 slice_ns = 0;
	int err, pid;

	for (;;) {
		err = semshare_set_sleep(set, &take, 1, deadline, &slice_ns);
		if (err != -EAGAIN)
			return err;
		/* So long without the lock: is its holder dead? */
		pid = semshare_sem_dead_holder(set->ns, set->semid, mutex->number);
		if (pid)
			pr_warn_ratelimited("lock %s: process %d took it without SEM_UNDO and is dead; free it: semshare unlock --semid %d\n",
					    set->name, pid, set->semid);
	}
}

static int mutex_post(struct semshare_mutex *mutex)
{
	struct sembuf give = { .sem_num = mutex->number, .sem_op = 1 };
	int err = semshare_set_do(mutex->set, &give, 1);

	/* Somebody raised it to its maximum. */
	return err == -ERANGE ? -EPROTO : err;
}

/**
 * semshare_mutex_take - semshare_mutex_lock() in semshare itself
 * @mutex: the lock
 * @deadline: until when to wait
 * @suspect: out, or NULL
 *
 * Return: as semshare_mutex_lock().
 */
int semshare_mutex_take(struct semshare_mutex *mutex, ktime_t deadline, bool *suspect)
{
	const struct sembuf take = { .sem_num = mutex->number, .sem_op = -1 };
	const char *name = mutex->set->name;
	bool contended, doubted;
	u64 asked_ns = 0;
	int err, found;

	if (READ_ONCE(mutex->holder) == current)
		return -EDEADLK;
	err = semshare_set_do(mutex->set, &take, 1);
	contended = err == -EAGAIN && deadline != SEMSHARE_DEADLINE_NOW;
	if (contended) {
		trace_lock_wait(name);
		asked_ns = ktime_get_ns();
		err = mutex_wait(mutex, deadline);
	}
	if (err)
		return err;
	/*
	 * One of us has it, so somebody raised the semaphore.  It stays lowered, as
	 * that one will raise it again; unless it has left without hearing of us.
	 */
	while (cmpxchg(&mutex->holder, NULL, current)) {
		WRITE_ONCE(mutex->doubted, true);
		semshare_lowered_tell(&mutex->lowered_by);
		if (READ_ONCE(mutex->holder) || !semshare_lowered_hear(&mutex->lowered_by))
			return -EPROTO;
	}
	found = semshare_words_enter(mutex->state, mutex->repaired, &mutex->epoch);
	doubted = found != SEMSHARE_LOCK_SOUND || READ_ONCE(mutex->doubted);
	mutex->taken_ns = trace_lock_released_enabled() ? ktime_get_ns() : 0;
	trace_lock_taken(name, contended ? ktime_get_ns() - asked_ns : 0, contended,
			 found == SEMSHARE_LOCK_DIED);
	if (suspect)
		*suspect = doubted;
	if (doubted && !suspect)
		return semshare_mutex_give(mutex) ?: -EOWNERDEAD;
	return 0;
}

/**
 * semshare_mutex_give - semshare_mutex_unlock() in semshare itself
 * @mutex: the lock, which current has
 *
 * Return: as semshare_mutex_unlock().
 */
int semshare_mutex_give(struct semshare_mutex *mutex)
{
	int err = semshare_words_leave(mutex->state, mutex->epoch);
	int lowered_by;

	if (trace_lock_released_enabled())
		trace_lock_released(mutex->set->name,
				    mutex->taken_ns ? ktime_get_ns() - mutex->taken_ns : 0);
	if (err)
		WRITE_ONCE(mutex->doubted, true);
	/* Before the V: behind it another task may have the lock by this handle. */
	smp_store_release(&mutex->holder, NULL);
	lowered_by = semshare_lowered_hear(&mutex->lowered_by);
	if (!err || semshare_set_is_ours(mutex->set, mutex->number, 0, lowered_by))
		err = mutex_post(mutex) ?: err;
	if (err == -EPROTO)
		WRITE_ONCE(mutex->doubted, true);
	return err;
}

/**
 * semshare_mutex_lock - take a lock
 * @mutex: the lock
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 * @suspect: out: an owner died inside, or two were inside at once, and nobody has said
 *	since that what the lock guards is consistent; the lock is held all the same.
 *	NULL: such a lock is not taken
 *
 * The lock is current's, who has to give it back.  Kernel threads that share a
 * handle are tasks of their own.
 *
 * Context: process context, sleeps.
 * Return: 0 with the lock held; without it:
 *
 * * %-EAGAIN - somebody has it, and @timeout is 0
 * * %-ETIMEDOUT
 * * %-EINTR - a signal, or kthread_stop()
 * * %-EOWNERDEAD - it is suspect, and @suspect is NULL
 * * %-EDEADLK - current has it
 * * %-EPROTO - another task has it by this handle: somebody raised the semaphore
 * * %-EIDRM - its set was removed
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
int semshare_mutex_lock(struct semshare_mutex *mutex, long timeout, bool *suspect)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	return semshare_mutex_take(mutex, semshare_deadline(timeout), suspect);
}
EXPORT_SYMBOL_GPL(semshare_mutex_lock);

/**
 * semshare_mutex_unlock - give a lock back
 * @mutex: the lock
 *
 * Context: process context; waits for nobody.
 * Return: 0, or
 *
 * * %-EPERM - current has it not
 * * %-EPROTO - somebody else was inside as well, or wrote the words or the semaphore
 *   of the lock: what it guards may be half written.  Current has it no longer, and
 *   whoever takes it next by this handle finds it suspect
 * * %-EIDRM - its set was removed meanwhile
 * * %-EOPNOTSUPP - called where sleeping is not allowed: current still has it
 */
int semshare_mutex_unlock(struct semshare_mutex *mutex)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (READ_ONCE(mutex->holder) != current)
		return -EPERM;
	return semshare_mutex_give(mutex);
}
EXPORT_SYMBOL_GPL(semshare_mutex_unlock);

/**
 * semshare_mutex_consistent - what a lock guards is consistent again
 * @mutex: the lock
 *
 * Context: any.
 * Return: 0, or -EPERM: current does not have the lock.
 */
int semshare_mutex_consistent(struct semshare_mutex *mutex)
{
	if (READ_ONCE(mutex->holder) != current)
		return -EPERM;
	if (mutex->state)
		semshare_lock_trust(mutex->state);
	WRITE_ONCE(mutex->doubted, false);
	return 0;
}
EXPORT_SYMBOL_GPL(semshare_mutex_consistent);

/* ----------------------------------------------------------- open and close */

/**
 * semshare_mutex_setup - a lock of a set
 * @mutex: zeroed
 * @set: the set
 * @number: its semaphore
 */
void semshare_mutex_setup(struct semshare_mutex *mutex, struct semshare_set *set,
			  unsigned int number)
{
	mutex->set = semshare_set_get(set);
	mutex->number = number;
	mutex->state = semshare_set_state(set, number);
}

/**
 * semshare_mutex_teardown - it is not used any more
 * @mutex: the lock
 *
 * If a task still has it, it is given back as that of an owner who died.
 */
void semshare_mutex_teardown(struct semshare_mutex *mutex)
{
	if (mutex->holder) {
		pr_warn_ratelimited("lock %s: closed by who holds it; the next owner is told\n",
				    mutex->set->name);
		mutex_post(mutex);
	}
	semshare_set_close(mutex->set);
}

/**
 * semshare_mutex_of - a lock of a set
 * @set: the set, which the lock keeps
 * @number: which of a pool, else 0
 *
 * Context: process context, may sleep.
 * Return: the lock, to be given back with semshare_mutex_close(), or
 *
 * * %-EPROTOTYPE - the set is no lock, but something else
 * * %-EINVAL - it has no such number
 * * %-ENOMEM
 * * %-EOPNOTSUPP - called where sleeping is not allowed
 */
struct semshare_mutex *semshare_mutex_of(struct semshare_set *set, unsigned int number)
{
	struct semshare_mutex *mutex;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!semshare_set_is(set, SEMSHARE_SET_LOCK) && !semshare_set_is(set, SEMSHARE_SET_RLOCK) &&
	    !semshare_set_is(set, SEMSHARE_SET_POOL))
		return ERR_PTR(-EPROTOTYPE);
	if (number >= semshare_set_size(set) ||
	    (number && !semshare_set_is(set, SEMSHARE_SET_POOL)))
		return ERR_PTR(-EINVAL);
	mutex = kzalloc(sizeof(*mutex), GFP_KERNEL_ACCOUNT);
	if (!mutex)
		return ERR_PTR(-ENOMEM);
	semshare_mutex_setup(mutex, set, number);
	return mutex;
}
EXPORT_SYMBOL_GPL(semshare_mutex_of);

/**
 * semshare_mutex_open - the lock of a name
 * @ns: the caller's own IPC namespace
 * @name: its name
 *
 * Context: process context of a process, sleeps.
 * Return: as semshare_mutex_of() of what semshare_set_open() returns.
 */
struct semshare_mutex *semshare_mutex_open(struct ipc_namespace *ns, const char *name)
{
	struct semshare_set *set = semshare_set_open(ns, name);
	struct semshare_mutex *mutex;

	if (IS_ERR(set))
		return ERR_CAST(set);
	mutex = semshare_mutex_of(set, 0);
	semshare_set_close(set);
	return mutex;
}
EXPORT_SYMBOL_GPL(semshare_mutex_open);

/**
 * semshare_mutex_close - let go of a lock
 * @mutex: the lock, which nobody uses any more, or NULL
 *
 * If it is held by way of this handle it is given back as that of an owner who died:
 * whoever takes it next is told.
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_mutex_close(struct semshare_mutex *mutex)
{
	if (!mutex)
		return;
	semshare_mutex_teardown(mutex);
	kfree(mutex);
}
EXPORT_SYMBOL_GPL(semshare_mutex_close);
