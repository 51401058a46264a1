// SPDX-License-Identifier: GPL-2.0
/*
 * Taking and giving the semaphores of a ring's set, for kernel code.
 *
 * The mutex is first tried without sleeping, then for a few microseconds while
 * its owner is seen at work, and only then queued for: each V hands the
 * semaphore straight to the first sleeper, so a queue once formed costs a
 * context switch per turn.
 *
 * Every sleep has a way out.  A signal or kthread_stop() ends it with -EINTR,
 * removal of the set with -EIDRM, and it comes in slices of at most a second
 * after which the set is looked at again.  No SEM_UNDO: kernel threads must not
 * use it, and kernel code that dies with a lock held has taken the machine
 * along.  After kthread_stop() every P that would block fails, and so no V here
 * ever depends on one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/math64.h>
#include <linux/pid.h>
#include <linux/ratelimit.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>

#include "area.h"
#include "lock.h"
#include "trace.h"

#define LOCK_SPIN_NS	(20 * NSEC_PER_USEC)
#define LOCK_SPIN_TRIES	4
#define LOCK_SLICE_NS	NSEC_PER_SEC
#define HINT_SLICE_NS	(SEMSHARE_RING_RECHECK_MS * (u64)NSEC_PER_MSEC)

/**
 * semshare_deadline - until when a call waits
 * @timeout: jiffies from now
 *
 * Context: any, if @timeout is 0.
 * Return: a time, SEMSHARE_DEADLINE_NOW or SEMSHARE_DEADLINE_NEVER.
 */
ktime_t semshare_deadline(long timeout)
{
	if (timeout <= 0)
		return SEMSHARE_DEADLINE_NOW;
	/* Also what is longer than a ktime_t can say: 292 years. */
	if (timeout >= min_t(s64, MAX_SCHEDULE_TIMEOUT, KTIME_SEC_MAX * HZ / 2))
		return SEMSHARE_DEADLINE_NEVER;
	return ktime_add_safe(ktime_get(), ns_to_ktime(jiffies64_to_nsecs(timeout)));
}

/**
 * semshare_told_to_stop - has somebody asked current to give up?
 *
 * Return: true if a signal is pending or kthread_stop() waits for current.
 */
bool semshare_told_to_stop(void)
{
	return signal_pending(current) ||
	       (current->flags & PF_KTHREAD && kthread_should_stop());
}

static int lock_op(struct semshare_lock *lock, unsigned int semaphore, short op, short flags,
		   const struct timespec64 *timeout)
{
	struct sembuf sop = { .sem_num = semaphore, .sem_op = op, .sem_flg = flags };
	int err = semshare_sem_operate(lock->ns, lock->semid, &sop, 1, timeout);

	/* It was there when the handle was opened. */
	return err == -EINVAL || err == -EFBIG ? -EIDRM : err;
}

static int lock_try(struct semshare_lock *lock)
{
	return lock_op(lock, SEMSHARE_SEM_MUTEX, -1, IPC_NOWAIT, NULL);
}

/*
 * Is the set still the one that was bound, or has its id a new owner?  Ids come
 * round, and who may remove the set can prepare for that, so this is asked anew
 * in each tick, before a P and before a V.  Within a tick the id can still
 * change hands: the kernel has no operation that compares first.
 */
static int lock_verify(struct semshare_lock *lock)
{
	if (time_before_eq(jiffies, lock->verified))
		return 0;
	if (!semshare_sem_same(lock->ns, lock->semid, &lock->facts))
		return -EIDRM;
	lock->verified = jiffies;
	return 0;
}

/*
 * Watch the owner at work, on a machine where it can be at work meanwhile.  The
 * epoch is a hint: whatever a user writes there, this ends.
 */
static int lock_spin(struct semshare_lock *lock)
{
	unsigned int tries = 0;
	u64 until;
	int err;

	if (num_online_cpus() == 1)
		return -EAGAIN;
	until = local_clock() + LOCK_SPIN_NS;
	while (!need_resched() && local_clock() < until) {
		cpu_relax();
		if (semshare_load(&lock->state->epoch) & 1)
			continue;
		err = lock_try(lock);
		/* Even and still taken: handed on, or the owner keeps no epoch. */
		if (err != -EAGAIN || ++tries == LOCK_SPIN_TRIES)
			return err;
	}
	return -EAGAIN;
}

/* P with the time that is left to the deadline, at most @slice nanoseconds. */
static int lock_queue(struct semshare_lock *lock, unsigned int semaphore, ktime_t deadline,
		      u64 slice)
{
	struct timespec64 timeout;
	int err;

	if (deadline != SEMSHARE_DEADLINE_NEVER)
		slice = clamp_t(s64, ktime_sub(deadline, ktime_get()), 0, slice);
	timeout = ns_to_timespec64(slice);
	err = lock_op(lock, semaphore, -1, 0, &timeout);
	/* The kernel says so, too, if a set is removed at the very end of a slice. */
	return err == -EINTR && !semshare_told_to_stop() ? -EAGAIN : err;
}

static bool is_dead(int pid)
{
	bool dead;

	rcu_read_lock();
	dead = !pid_task(find_vpid(pid), PIDTYPE_TGID);
	rcu_read_unlock();
	return dead;
}

/**
 * semshare_sem_dead_holder - the process that has taken a semaphore for good
 * @ns: namespace of the set
 * @semid: the set
 * @semaphore: one that is 1 when it is free
 *
 * A holder who died without SEM_UNDO never gives it back.  The kernel remembers who
 * operated on it last.  As that may have been an operation between two of the
 * questions, the first is asked again.
 *
 * Context: process context, may sleep.
 * Return: its id as current sees it, or 0 if there is none, or none that can be told.
 */
int semshare_sem_dead_holder(struct ipc_namespace *ns, int semid, unsigned int semaphore)
{
	union semshare_semun none = {};
	int pid;

	if (semshare_sem_control(ns, semid, semaphore, GETVAL, none))
		return 0;
	pid = semshare_sem_control(ns, semid, semaphore, GETPID, none);
	/* 0: in a pid namespace that current does not see. */
	if (pid <= 0 || !is_dead(pid) || semshare_sem_control(ns, semid, semaphore, GETVAL, none) ||
	    semshare_sem_control(ns, semid, semaphore, GETPID, none) != pid)
		return 0;
	return pid;
}

static void lock_name_dead_holder(struct semshare_lock *lock)
{
	int pid = semshare_sem_dead_holder(lock->ns, lock->semid, SEMSHARE_SEM_MUTEX);

	if (pid)
		pr_warn_ratelimited("area %s: process %d took its lock without SEM_UNDO and is dead; free it: semshare unlock --semid %d\n",
				    lock->name, pid, lock->semid);
}

static int lock_wait(struct semshare_lock *lock, ktime_t deadline)
{
	int err = lock_spin(lock);

	while (err == -EAGAIN) {
		if (deadline == SEMSHARE_DEADLINE_NOW)
			return -EAGAIN;
		if (ktime_compare(ktime_get(), deadline) >= 0)
			return -ETIMEDOUT;
		if (semshare_told_to_stop())
			return -EINTR;
		if (READ_ONCE(*lock->broken))
			return -EPROTO;
		err = lock_queue(lock, SEMSHARE_SEM_MUTEX, deadline, LOCK_SLICE_NS);
		if (err == -EAGAIN && lock_verify(lock))
			return -EIDRM;
		if (err == -EAGAIN)
			lock_name_dead_holder(lock);
	}
	return err;
}

/**
 * semshare_owner_describe - what current writes of itself where it has a lock
 * @owner: out
 *
 * Context: task context.
 * Return: when its process was started, in nanoseconds since boot.
 */
u64 semshare_owner_describe(struct semshare_owner *owner)
{
	u64 start = current->group_leader->start_boottime;

	owner->kind = SEMSHARE_OWNER_KERNEL;
	owner->pid = task_tgid_vnr(current);
	owner->tid = task_pid_vnr(current);
	/* In clock ticks, as field 22 of /proc/PID/stat has it. */
	owner->start = div_u64(start, NSEC_PER_SEC / USER_HZ);
	return start;
}

/*
 * What the owner writes of itself.  Kept for the next time, as a handle belongs
 * to one thread at a time: a task is known again by its address, its number and
 * when it started (the last two change where a thread becomes another program).
 */
static const struct semshare_owner *lock_owner(struct semshare_lock *lock)
{
	u64 start = current->group_leader->start_boottime;

	if (lock->task == current && lock->pid == current->pid && lock->start == start)
		return &lock->owner;
	lock->task = current;
	lock->pid = current->pid;
	lock->start = semshare_owner_describe(&lock->owner);
	return &lock->owner;
}

/* The clock is read, and the histogram written, only when somebody had it. */
static int lock_take_contended(struct semshare_lock *lock, ktime_t deadline, u64 *wait_ns)
{
	struct semshare_lock_statistics *statistics = &lock->statistics;
	u64 asked_ns = ktime_get_ns();
	u64 *bucket;
	int err;

	trace_lock_wait(lock->name);
	err = lock_wait(lock, deadline);
	if (err)
		return err;
	*wait_ns = ktime_get_ns() - asked_ns;
	bucket = &statistics->wait_ns[semshare_histogram_bucket(*wait_ns)];
	/* Written by the handle's one thread; somebody else may be reading. */
	WRITE_ONCE(statistics->contended, statistics->contended + 1);
	WRITE_ONCE(*bucket, *bucket + 1);
	return 0;
}

/**
 * semshare_lock_take - take the mutex and enter
 * @lock: the lock
 * @deadline: until when to wait
 * @died: out: the last owner died inside
 *
 * Return: 0; -EAGAIN (taken, and @deadline is SEMSHARE_DEADLINE_NOW),
 * -ETIMEDOUT, -EINTR (signal or kthread_stop()), -EIDRM (no such set any more).
 */
int semshare_lock_take(struct semshare_lock *lock, ktime_t deadline, bool *died)
{
	struct semshare_lock_statistics *statistics = &lock->statistics;
	bool contended;
	u64 wait_ns = 0;
	int err;

	err = lock_verify(lock);
	if (!err)
		err = lock_try(lock);
	contended = err == -EAGAIN;
	if (contended)
		err = lock_take_contended(lock, deadline, &wait_ns);
	if (err)
		return err;

	*died = semshare_lock_enter(lock->state, lock_owner(lock), &lock->epoch);
	lock->taken_ns = trace_lock_released_enabled() ? ktime_get_ns() : 0;
	WRITE_ONCE(statistics->acquisitions, statistics->acquisitions + 1);
	trace_lock_taken(lock->name, wait_ns, contended, *died);
	return 0;
}

/**
 * semshare_sem_hint - a hint, unless one stands
 * @ns: namespace of the set
 * @semid: the set, which the caller knows to be the right one
 * @semaphore: SEMSHARE_SEM_DATA or SEMSHARE_SEM_SPACE
 * @count: how many to wake.  As long as it is not 0 nobody sleeps
 *
 * Context: process context; never waits for anybody.
 */
void semshare_sem_hint(struct ipc_namespace *ns, int semid, unsigned int semaphore, u32 count)
{
	struct sembuf sops[] = {
		{ .sem_num = semaphore, .sem_op = 0, .sem_flg = IPC_NOWAIT },
		{ .sem_num = semaphore, .sem_op = count, .sem_flg = IPC_NOWAIT },
	};

	/* Whatever fails here costs a waiter SEMSHARE_RING_RECHECK_MS. */
	semshare_sem_operate(ns, semid, sops, ARRAY_SIZE(sops), NULL);
}

/**
 * semshare_lock_hint - a hint on its own, capped at one
 * @lock: the lock
 * @semaphore: SEMSHARE_SEM_DATA or SEMSHARE_SEM_SPACE
 */
void semshare_lock_hint(struct semshare_lock *lock, unsigned int semaphore)
{
	semshare_sem_hint(lock->ns, lock->semid, semaphore, 1);
}

/**
 * semshare_lock_post - give the mutex back, with hints
 * @lock: the lock, after semshare_lock_leave()
 * @hints: SEMSHARE_HINT_*: whom to wake
 *
 * The mutex and the first hint go in one semop, as semshare/core/ring.h has it.
 * That fails where the hint stands already (-EAGAIN), or where semopm is less
 * than 3 (-E2BIG): then the mutex goes alone.  Nothing here blocks.
 *
 * Return: 0, -EIDRM, or -ERANGE if somebody raised the mutex to its maximum.
 */
int semshare_lock_post(struct semshare_lock *lock, unsigned int hints)
{
	unsigned int hint = hints & SEMSHARE_HINT_DATA ? SEMSHARE_SEM_DATA : SEMSHARE_SEM_SPACE;
	int err = lock_verify(lock);

	/* 0 where somebody began to look while it was held. */
	if (trace_lock_released_enabled())
		trace_lock_released(lock->name,
				    lock->taken_ns ? ktime_get_ns() - lock->taken_ns : 0);
	if (err)
		return err;
	err = -EAGAIN;
	if (hints) {
		struct sembuf sops[] = {
			{ .sem_num = SEMSHARE_SEM_MUTEX, .sem_op = 1, .sem_flg = IPC_NOWAIT },
			{ .sem_num = hint, .sem_op = 0, .sem_flg = IPC_NOWAIT },
			{ .sem_num = hint, .sem_op = 1, .sem_flg = IPC_NOWAIT },
		};

		err = semshare_sem_operate(lock->ns, lock->semid, sops, ARRAY_SIZE(sops), NULL);
	}
	if (err == -EAGAIN || err == -E2BIG || err == -ERANGE)
		err = lock_op(lock, SEMSHARE_SEM_MUTEX, 1, IPC_NOWAIT, NULL);
	if (hints & ~BIT(hint))
		semshare_lock_hint(lock, SEMSHARE_SEM_SPACE);
	return err == -EINVAL || err == -EFBIG ? -EIDRM : err;
}

/**
 * semshare_lock_role - take a role, or give it back
 * @lock: the lock
 * @semaphore: SEMSHARE_SEM_PRODUCER or SEMSHARE_SEM_CONSUMER
 * @op: -1 or 1
 *
 * Context: process context; does not wait for anybody.
 * Return: 0, -EAGAIN (somebody has it), -EIDRM, or -ERANGE if somebody raised it to
 * its maximum.
 */
int semshare_lock_role(struct semshare_lock *lock, unsigned int semaphore, short op)
{
	int err = lock_verify(lock);

	return err ? err : lock_op(lock, semaphore, op, IPC_NOWAIT, NULL);
}

/**
 * semshare_lock_sleep - sleep until a hint comes, or it is time to look again
 * @lock: the lock, not taken
 * @semaphore: SEMSHARE_SEM_DATA or SEMSHARE_SEM_SPACE
 * @deadline: until when to wait, not SEMSHARE_DEADLINE_NOW
 *
 * Return: 1 (a hint came), 0 (look again), -EINTR, -EIDRM.
 */
int semshare_lock_sleep(struct semshare_lock *lock, unsigned int semaphore, ktime_t deadline)
{
	int err;

	if (semshare_told_to_stop())
		return -EINTR;
	err = lock_verify(lock);
	if (err)
		return err;
	err = lock_queue(lock, semaphore, deadline, HINT_SLICE_NS);
	if (!err)
		return 1;
	return err == -EAGAIN ? 0 : err;
}

/**
 * semshare_lock_open - the lock of an area, for a handle of what it holds
 * @lock: zeroed; its @state is the caller's to set
 * @area: the area, its mutex held
 * @nsems: semaphores that its set must have at least
 * @broken: see struct semshare_lock
 *
 * Return: 0, -ENXIO (no set is bound to the area), -EPROTO (too small a one), -EIDRM
 * (it is gone), -EACCES (current may not alter it), -EOPNOTSUPP.
 */
int semshare_lock_open(struct semshare_lock *lock, struct semshare_area *area,
		       unsigned int nsems, const u32 *broken)
{
	struct semshare_sem_facts facts;
	int err;

	lockdep_assert_held(&area->mutex);
	if (area->semid < 0)
		return -ENXIO;
	if (area->facts.nsems < nsems)
		return -EPROTO;
	lock->ns = area->ns;
	lock->semid = area->semid;
	lock->facts = area->facts;
	lock->broken = broken;
	lock->name = area->name;
	err = semshare_sem_facts(lock->ns, lock->semid, &facts);
	if (!err && !semshare_sem_same(lock->ns, lock->semid, &lock->facts))
		err = -EIDRM;
	/* The handle operates with the kernel's rights, so its user's are asked here. */
	if (!err)
		err = semshare_sem_may_alter(lock->ns, lock->semid);
	lock->verified = jiffies;
	return err == -EINVAL ? -EIDRM : err;
}
