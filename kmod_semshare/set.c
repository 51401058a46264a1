// SPDX-License-Identifier: GPL-2.0
/*
 * Sets of semaphores, found by name or key, for the locks that are made of them.
 *
 * A set belongs to users.  Who may alter it is asked once, of the process that
 * opens it; from then on it is operated with the kernel's rights, as a right that
 * is lost between a P and its V would leave the lock taken for ever.
 *
 * Every sleep has a way out: a signal or kthread_stop() ends it with -EINTR,
 * removal of the set with -EIDRM, and it comes in slices, after which the set is
 * looked at again: see semshare_set_sleep().  There is no SEM_UNDO here: kernel threads must
 * not use it, and what processes do by way of a module is the module's to take back.
 * After kthread_stop() every operation that would sleep fails, so nothing that gives
 * anything back ever sleeps.
 */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/instruction_pointer.h>
#include <linux/jiffies.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <semshare/core/key.h>

#include "set.h"

#define SLICE_NS		NSEC_PER_SEC
#define LONGEST_SLICE_NS	(16 * SLICE_NS)

/* --------------------------------------------------------------- operating */

/*
 * Is the set still the one that was opened, or has its id a new owner?  See
 * lock_verify() in lock.c: asked anew in each tick.
 */
static int set_verify(struct semshare_set *set)
{
	if (time_before_eq(jiffies, READ_ONCE(set->verified)))
		return 0;
	if (!semshare_sem_same(set->ns, set->semid, &set->facts))
		return -EIDRM;
	WRITE_ONCE(set->verified, jiffies);
	return 0;
}

static int set_operate(struct semshare_set *set, struct sembuf *sops, unsigned int nsops,
		       const struct timespec64 *timeout)
{
	int err = semshare_sem_operate(set->ns, set->semid, sops, nsops, timeout);

	/* It was there when it was opened. */
	return err == -EINVAL || err == -EFBIG ? -EIDRM : err;
}

/**
 * semshare_set_try - operations that do not wait
 * @set: the set
 * @sops: the operations, all with IPC_NOWAIT
 * @nsops: how many
 *
 * Return: 0; -EAGAIN: not now; -EIDRM: no such set any more; -ERANGE: a value would
 * be more than 32767; -E2BIG: root has lowered semopm; -ENOMEM.
 */
int semshare_set_try(struct semshare_set *set, struct sembuf *sops, unsigned int nsops)
{
	int err = set_verify(set);

	return err ?: set_operate(set, sops, nsops, NULL);
}

/**
 * semshare_set_sleep - operations that wait, for one slice
 * @set: the set
 * @sops: the operations, without IPC_NOWAIT
 * @nsops: how many
 * @deadline: until when to wait
 * @slice_ns: how long the slice before was; 0: this is the first
 *
 * A signal, kthread_stop() and removal of the set wake whoever sleeps.  Nothing does when
 * a holder dies who took the semaphore without SEM_UNDO: for that one looks up after
 * the slice.  But whoever begins another stands behind all others in the queue, and where
 * a turn takes longer to come than a slice is long it would never come: so each slice
 * is twice as long as the one before, from a second on, to LONGEST_SLICE_NS.
 *
 * Return: as semshare_set_wait(); -EAGAIN: the slice is over.
 */
int semshare_set_sleep(struct semshare_set *set, struct sembuf *sops, unsigned int nsops,
		       ktime_t deadline, s64 *slice_ns)
{
	struct timespec64 timeout;
	s64 slice;
	int err;

	*slice_ns = *slice_ns ? min_t(s64, 2 * *slice_ns, LONGEST_SLICE_NS) : SLICE_NS;
	slice = *slice_ns;
	if (deadline != SEMSHARE_DEADLINE_NEVER)
		slice = min_t(s64, slice, ktime_sub(deadline, ktime_get()));
	if (slice <= 0)
		return -ETIMEDOUT;
	if (semshare_told_to_stop())
		return -EINTR;
	err = set_verify(set);
	if (err)
		return err;
	timeout = ns_to_timespec64(slice);
	err = set_operate(set, sops, nsops, &timeout);
	/* The kernel says so, too, if a set is removed at the very end of a slice. */
	return err == -EINTR && !semshare_told_to_stop() ? -EAGAIN : err;
}

/**
 * semshare_set_wait - operations that do
 * @set: the set
 * @sops: the operations, without IPC_NOWAIT
 * @nsops: how many
 * @deadline: until when to wait
 *
 * Return: 0; -EAGAIN: not now, and @deadline is SEMSHARE_DEADLINE_NOW; -ETIMEDOUT;
 * -EINTR: a signal or kthread_stop(); else as semshare_set_try().
 */
int semshare_set_wait(struct semshare_set *set, struct sembuf *sops, unsigned int nsops,
		      ktime_t deadline)
{
	s64 slice_ns = 0;
	int err;

	if (deadline == SEMSHARE_DEADLINE_NOW)
		return -EAGAIN;
	do {
		err = semshare_set_sleep(set, sops, nsops, deadline, &slice_ns);
	} while (err == -EAGAIN);
	return err;
}

/**
 * semshare_set_do - a few operations that do not wait
 * @set: the set
 * @operations: the operations
 * @count: how many, at most SEMSHARE_SET_OPERATIONS
 *
 * Return: as semshare_set_try().
 */
int semshare_set_do(struct semshare_set *set, const struct sembuf *operations, unsigned int count)
{
	return semshare_set_take(set, operations, count, SEMSHARE_DEADLINE_NOW);
}

/**
 * semshare_set_take - a few operations: try, and then wait
 * @set: the set
 * @operations: the operations
 * @count: how many, at most SEMSHARE_SET_OPERATIONS
 * @deadline: until when to wait
 *
 * Return: as semshare_set_wait().
 */
int semshare_set_take(struct semshare_set *set, const struct sembuf *operations,
		      unsigned int count, ktime_t deadline)
{
	struct sembuf sops[SEMSHARE_SET_OPERATIONS];
	unsigned int i;
	int err;

	for (i = 0; i < count; i++) {
		sops[i] = operations[i];
		sops[i].sem_flg = IPC_NOWAIT;
	}
	err = semshare_set_try(set, sops, count);
	if (err != -EAGAIN || deadline == SEMSHARE_DEADLINE_NOW)
		return err;
	for (i = 0; i < count; i++)
		sops[i].sem_flg = 0;
	return semshare_set_wait(set, sops, count, deadline);
}

/**
 * semshare_set_ask - GETVAL or GETPID
 * @set: the set
 * @number: of the semaphore
 * @cmd: the command
 *
 * Return: the answer, or -EIDRM, -EOPNOTSUPP.
 */
int semshare_set_ask(struct semshare_set *set, unsigned int number, int cmd)
{
	union semshare_semun none = {};
	int answer = set_verify(set);

	if (!answer)
		answer = semshare_sem_control(set->ns, set->semid, number, cmd, none);
	return answer == -EINVAL ? -EIDRM : answer;
}

/*
 * Users can free a lock that a task has by a handle.  Another task that then gets the
 * semaphore, by the same handle, finds the handle taken, and leaves the semaphore as it
 * is for the first to give back.  That one has to know it: if its words are not as it
 * left them it asks the kernel who has the semaphore, is told of the other, and to
 * nobody's advantage would leave it as well.  So the other writes who it is into
 * @lowered_by of the handle, and looks whether the first is there to read it:
 *
 *	the first gives		the other has come
 *	---------------		------------------
 *	leave the handle	tell: write @lowered_by
 *	(full barrier)		(full barrier)
 *	hear: take @lowered_by	is the handle taken?
 *
 * One of them at least sees what the other did.  If the other sees that the handle is
 * free it takes back what it wrote.  If that is gone, the first has it, and gives the
 * semaphore back for both.  Else the first never will: to it the semaphore is that of
 * who operated on it last, so the other tries to get the handle as if it had come now.
 * (If its words are as it left them the first gives back in any case.  Then somebody
 * raised the semaphore while it was inside, and it may stay raised by one: as to whoever gets
 * it by another handle, and found out in the same way.)
 */

/**
 * semshare_lowered_tell - current has the semaphore of a lock that another task has
 * @lowered_by: of the handle by which both
 *
 * A full barrier: what is read behind it is read after it is written.
 */
void semshare_lowered_tell(int *lowered_by)
{
	(void)xchg(lowered_by, task_tgid_vnr(current));
}

/**
 * semshare_lowered_hear - who has told, and that no more
 * @lowered_by: of the handle
 *
 * A full barrier: it is read after what was written before it.
 *
 * Return: a process, in the pid namespace of its own, or 0.
 */
int semshare_lowered_hear(int *lowered_by)
{
	return xchg(lowered_by, 0);
}

/**
 * semshare_set_is_ours - whether a lock is still current's to give back
 * @set: the set
 * @number: of the semaphore
 * @taken: its value while somebody has the lock
 * @lowered_by: from semshare_lowered_hear(), when current had left the handle
 *
 * For when its words are not as current left them.  Either somebody scribbled over
 * them, and the semaphore is still ours to give; or the semaphore was changed and
 * somebody else is inside: to give it back would let in a third.  The kernel
 * tells, as it remembers who operated on it last.  @lowered_by is not inside: current
 * gives back in its stead.
 *
 * To be asked after current has left the handle: whoever gets the semaphore by it before
 * is in @lowered_by, and whoever gets it later is the one that the kernel names.
 */
bool semshare_set_is_ours(struct semshare_set *set, unsigned int number, int taken,
			  int lowered_by)
{
	int last;

	if (semshare_set_ask(set, number, GETVAL) != taken)
		return false;
	last = semshare_set_ask(set, number, GETPID);
	return last == task_tgid_vnr(current) || (lowered_by && last == lowered_by);
}

/* ------------------------------------------------------------------ words */

/**
 * semshare_set_is - whether a set is of a kind
 * @set: the set
 * @kind: enum semshare_set_kinds
 *
 * Return: true if it is, or if nobody knows what it is.
 */
bool semshare_set_is(const struct semshare_set *set, u32 kind)
{
	return set->companion.kind == kind || set->companion.kind == SEMSHARE_SET_KINDS;
}

/**
 * semshare_set_state - the words beside a semaphore
 * @set: the set
 * @number: of the semaphore
 *
 * Return: the words, which users write, or NULL if there are none.
 */
struct semshare_lock_state *semshare_set_state(struct semshare_set *set, unsigned int number)
{
	struct semshare_lock_segment *segment = set->companion.data;
	size_t offset = offsetof(struct semshare_lock_segment, state) +
			number * sizeof(struct semshare_lock_state);

	if (!segment || (number && set->companion.kind != SEMSHARE_SET_POOL) ||
	    offset + sizeof(struct semshare_lock_state) > set->companion.size)
		return NULL;
	return &segment->state + number;
}

/* ----------------------------------------------------------- open and close */

/*
 * A set that was just made is not for use before its maker has operated on it once,
 * which is the last thing that it does.  One that a plain program made by SETVAL
 * has a value, or a last process.  So has a pool before its maker has operated on it, by the
 * SETALL that gives it values: for who knows then that it is one, @operated.
 */
static int set_check_finished(struct semshare_set *set, bool *operated)
{
	struct semid64_ds ds;
	union semshare_semun arg = { .buf = &ds };
	int answer;

	answer = semshare_sem_control(set->ns, set->semid, 0, IPC_STAT, arg);
	if (answer < 0)
		return answer;
	*operated = ds.sem_otime;
	if (*operated)
		return 0;
	answer = semshare_set_ask(set, 0, GETVAL);
	if (!answer)
		answer = semshare_set_ask(set, 0, GETPID);
	return answer ? min(answer, 0) : -EAGAIN;
}

static int set_find(struct semshare_set *set, u32 key, const char *name)
{
	bool operated;
	int semid, err;

	/* Asking to alter it: who may not is told now. */
	semid = semshare_semget(set->ns, key, 0, 0200);
	if (semid < 0)
		return semid;
	set->semid = semid;
	err = semshare_sem_facts(set->ns, semid, &set->facts);
	if (err)
		return err;
	if ((u32)set->facts.key != key)
		return -EIDRM;
	set->verified = jiffies;
	err = semshare_sem_may_alter(set->ns, semid);
	if (!err)
		err = set_check_finished(set, &operated);
	if (!err)
		err = semshare_companion_open(&set->companion, key, semid, set->facts.nsems, name);
	if (!err && !operated && set->companion.kind == SEMSHARE_SET_POOL)
		err = -EAGAIN;
	return err;
}

static void set_release(struct kref *refs)
{
	struct semshare_set *set = container_of(refs, struct semshare_set, refs);

	semshare_companion_close(&set->companion);
	semshare_ipc_ns_put(set->ns);
	kfree(set);
}

static struct semshare_set *set_open(struct ipc_namespace *ns, u32 key, const char *name)
{
	struct semshare_set *set;
	int err;

	if (!ns || !key)
		return ERR_PTR(-EINVAL);
	/* A kernel thread has nobody's rights and nobody's memory. */
	if (!current->mm || current->flags & PF_KTHREAD)
		return ERR_PTR(-EOPNOTSUPP);
	if (!current->nsproxy || current->nsproxy->ipc_ns != ns)
		return ERR_PTR(-EXDEV);
	set = kzalloc(sizeof(*set), GFP_KERNEL_ACCOUNT);
	if (!set)
		return ERR_PTR(-ENOMEM);
	kref_init(&set->refs);
	set->ns = get_ipc_ns(ns);
	if (name)
		strscpy_pad(set->name, name, sizeof(set->name));
	else
		snprintf(set->name, sizeof(set->name), "key %#x", key);
	err = set_find(set, key, name);
	if (err) {
		kref_put(&set->refs, set_release);
		return ERR_PTR(err == -EINVAL ? -EIDRM : err);
	}
	return set;
}

/**
 * semshare_set_open - the set of a name
 * @ns: the caller's own IPC namespace
 * @name: the name of a lock that a process has made
 *
 * Its locks operate it with the kernel's rights, so whether the caller may alter it is
 * asked here; and it is here that the companion is mapped, if the caller may write
 * it.  Without a companion everything works but for conditions and barriers, and
 * semaphores that look like bounded ones; nobody then knows who has a lock, or that its
 * owner died.
 *
 * A segment that another program has under the same key is left alone.  But while its
 * first word is 0 it looks like a companion that is being made, and the answer is
 * -EAGAIN.  If it stays so, choose another name, or another key.
 *
 * Context: process context of a process, sleeps.
 * Return: the set, to be given back with semshare_set_close(), or
 *
 * * %-EINVAL - not a name, or @ns is NULL
 * * %-ENOENT - there is none of that name
 * * %-EAGAIN - its maker has not finished it yet: try again in a moment; or see above
 * * %-EACCES - the caller may not alter it
 * * %-EEXIST - the key is that of another name as well
 * * %-EPROTO - it was made by another version of semshare, or makes no sense
 * * %-EXDEV - @ns is not the caller's own namespace
 * * %-EIDRM - it was removed meanwhile
 * * %-EFAULT - another thread of the process interfered with its memory
 * * %-EINTR, %-ENOMEM
 * * %-EOPNOTSUPP - called by a kernel thread or where sleeping is not allowed, or this
 *   kernel lacks a function
 */
struct semshare_set *semshare_set_open(struct ipc_namespace *ns, const char *name)
{
	char padded[SEMSHARE_NAME_SIZE];
	int length;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!name || strscpy_pad(padded, name, sizeof(padded)) < 0)
		return ERR_PTR(-EINVAL);
	length = semshare_name_length(padded);
	if (length < 0)
		return ERR_PTR(-EINVAL);
	return set_open(ns, semshare_key(padded, length), padded);
}
EXPORT_SYMBOL_GPL(semshare_set_open);

/**
 * semshare_set_open_key - the set of a key
 * @ns: the caller's own IPC namespace
 * @key: the key, not IPC_PRIVATE
 *
 * To share a lock with a program that was given a key, sysv_ipc for example.
 *
 * Context: as semshare_set_open().
 * Return: as semshare_set_open().
 */
struct semshare_set *semshare_set_open_key(struct ipc_namespace *ns, key_t key)
{
	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	return set_open(ns, key, NULL);
}
EXPORT_SYMBOL_GPL(semshare_set_open_key);

/**
 * semshare_set_close - let go of a set
 * @set: from semshare_set_open() or semshare_set_open_key(), or NULL
 *
 * The locks that were made of it keep it.
 *
 * Context: process context, may sleep, also in a task that is exiting.
 */
void semshare_set_close(struct semshare_set *set)
{
	if (set)
		kref_put(&set->refs, set_release);
}
EXPORT_SYMBOL_GPL(semshare_set_close);

/**
 * semshare_set_size - how many semaphores a set has
 * @set: the set
 *
 * Of a pool it is the number of its locks.
 *
 * Context: any.
 */
unsigned int semshare_set_size(const struct semshare_set *set)
{
	return set->facts.nsems;
}
EXPORT_SYMBOL_GPL(semshare_set_size);

/**
 * semshare_set_get - another reference
 * @set: the set
 *
 * Return: @set.
 */
struct semshare_set *semshare_set_get(struct semshare_set *set)
{
	kref_get(&set->refs);
	return set;
}
