// SPDX-License-Identifier: GPL-2.0
/*
 * The rings without a lock, for kernel code: semshare/core/spsc.h and mpsc.h, with
 * what the kernel's side shares, and sleeping and waking around a pass.
 *
 * A call that does not wait may be made from any context.  What it meets there:
 *
 *  - Producers of a ring that can have many (mpsc) meet nobody: each reserves a
 *    slot by cmpxchg, as processes do, and gives up after so many tries.
 *  - Producers of a ring that can have one only (spsc) share its cursor under a
 *    raw spinlock, interrupts off, for one batch of LOCKLESS_BYTES at most; a record
 *    that is longer is refused.  Where the oldest are overwritten that bounds their
 *    number as well.  An NMI cannot wait for whom it interrupted: it tries, and gets
 *    -EAGAIN.
 *  - Consumers: one at a time.  Who comes while another takes records gets
 *    -EAGAIN, or waits for its turn, if it may: nothing is switched off, as a
 *    consumer of mpsc may have many slots to look at.
 *
 * Cursors that only the kernel moves are in the port that all its handles share
 * (struct semshare_ring_common): what a process writes over them in the area
 * is never read again.  Whether a side is the kernel's to move is decided by the
 * role's semaphore, taken by the first handle and given back by the last; who
 * opens that to a second party gets what two producers make of a ring, and
 * the kernel nothing that it does not check.
 *
 * Sleeping and waking is as in notify.c: "need = 1, full barrier, look, sleep"
 * against "move, full barrier, need?".
 */
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>

#include "notify.h"
#include "ring.h"

/* Payload of one batch under the producers' spinlock. */
#define LOCKLESS_BYTES	65536
/* How long to look for a record, or for space, before going to sleep for it. */
#define LOCKLESS_LOOK_NS	(20 * NSEC_PER_USEC)
/* And how many of those in one call: a cursor may move for ever, and leave nothing. */
#define LOCKLESS_LOOKS		64

/* ------------------------------------------------------------------- roles */

/**
 * semshare_ring_lockless_is_dead - whether the owner of a slot is known to be dead
 * @owner: what stands beside the slot; anybody may have written it
 *
 * Only numbers of the pid namespace that the area was made in are asked about.
 * A number that was given to another process since counts as alive: start times
 * are told differently in each time namespace.  The slot is then kept until that
 * one ends, too.
 *
 * Context: any.
 * Return: 1 or 0.
 */
int semshare_ring_lockless_is_dead(const struct semshare_mpsc_owner *owner)
{
	struct pid_namespace *ns = in_task() ? task_active_pid_ns(current) : &init_pid_ns;
	struct task_struct *leader;
	int dead = 0;

	if (!ns || owner->ns != ns->ns.inum || owner->pid > INT_MAX)
		return 0;
	rcu_read_lock();
	leader = pid_task(find_pid_ns(owner->pid, ns), PIDTYPE_TGID);
	/* A first thread that ended is not the process, if there are others. */
	dead = !leader || (READ_ONCE(leader->exit_state) && thread_group_empty(leader));
	rcu_read_unlock();
	return dead;
}

/* Where there are several producers, each with a role, all of the kernel's are one: see lane. */
static unsigned int role_semaphore(u32 role, u32 lane)
{
	if (role == SEMSHARE_ROLE_CONSUMER)
		return SEMSHARE_SEM_CONSUMER;
	return lane ? SEMSHARE_SEM_LANE + lane - 1 : SEMSHARE_SEM_PRODUCER;
}

/**
 * semshare_ring_lockless_is_mine - whether current is the producer of a lane
 * @ns: of its set
 * @semid: its set
 * @lane: its number
 *
 * It is who operated on the role's semaphore last, and took it by that.
 *
 * Context: process context, sleeps.
 * Return: false also where the set is gone.
 */
bool semshare_ring_lockless_is_mine(struct ipc_namespace *ns, int semid, u32 lane)
{
	const unsigned int semaphore = role_semaphore(SEMSHARE_ROLE_PRODUCER, lane);
	const union semshare_semun none = { .val = 0 };

	return semshare_sem_control(ns, semid, semaphore, GETPID, none) == task_tgid_vnr(current) &&
	       semshare_sem_control(ns, semid, semaphore, GETVAL, none) == 0;
}

/* Take the role, or the first of the producers' that is free. */
static int role_take(struct semshare_ring *ring, u32 role)
{
	struct semshare_ring_port *port = &ring->area->ring.common->port;
	const bool put = role == SEMSHARE_ROLE_PRODUCER;
	int err = -EAGAIN;
	u32 lane;

	for (lane = 0; err == -EAGAIN && lane < (put ? port->producers : 1); lane++) {
		err = semshare_lock_role(&ring->lock, role_semaphore(role, lane), -1);
		if (!err && put)
			port->lane = lane;
	}
	return err == -EAGAIN ? -EBUSY : err;
}

static void role_give(struct semshare_ring *ring, u32 role)
{
	semshare_lock_role(&ring->lock,
			   role_semaphore(role, ring->area->ring.common->port.lane), 1);
}

static bool has_role(const struct semshare_ring *ring, u32 role)
{
	if (!(ring->port->variant->roles & role))
		return true;
	/* Pairs with semshare_ring_lockless_take_role(): with it come the cursors. */
	return smp_load_acquire(&ring->roles) & role;
}

/**
 * semshare_ring_lockless_take_role - be the one producer, or consumer
 * @ring: a handle of a ring that can have one only
 * @role: SEMSHARE_ROLE_PRODUCER or SEMSHARE_ROLE_CONSUMER
 *
 * The semaphore is taken without undo: a kernel thread has none.
 *
 * Context: process context, sleeps.
 * Return: as semshare_ring_take_role().
 */
int semshare_ring_lockless_take_role(struct semshare_ring *ring, u32 role)
{
	const bool put = role == SEMSHARE_ROLE_PRODUCER;
	struct semshare_ring_common *common = ring->area->ring.common;
	unsigned int *users = &common->users[!put];
	int err = 0;

	mutex_lock(&ring->area->mutex);
	if (ring->roles & role)
		goto out;
	err = semshare_ring_is_broken(ring) ? -EPROTO : 0;
	if (!err && !*users) {
		err = role_take(ring, role);
		/* Nobody else is here: whoever has the role came through this function. */
		if (!err && common->port.variant->begin(&common->port, put)) {
			semshare_ring_break(ring, SEMSHARE_RING_BAD_CURSORS);
			role_give(ring, role);
			err = -EPROTO;
		}
	}
	if (!err) {
		++*users;
		/* Pairs with has_role(). */
		smp_store_release(&ring->roles, ring->roles | role);
	}
out:
	mutex_unlock(&ring->area->mutex);
	return err;
}

/**
 * semshare_ring_lockless_give_roles - give back what a handle has taken
 * @ring: the handle, not in use
 *
 * Context: process context, sleeps.
 */
void semshare_ring_lockless_give_roles(struct semshare_ring *ring)
{
	struct semshare_ring_common *common = ring->area->ring.common;
	u32 role;

	mutex_lock(&ring->area->mutex);
	for (role = SEMSHARE_ROLE_PRODUCER; role <= SEMSHARE_ROLE_CONSUMER; role <<= 1) {
		unsigned int *users = &common->users[role != SEMSHARE_ROLE_PRODUCER];

		/* Where the set is gone, so is the role. */
		if (ring->roles & role && !--*users)
			role_give(ring, role);
	}
	ring->roles = 0;
	mutex_unlock(&ring->area->mutex);
}

/* --------------------------------------------------------------------- pass */

static int lockless_check(struct semshare_ring *ring, u32 role)
{
	if (semshare_ring_is_broken(ring))
		return -EPROTO;
	if (semshare_load(&ring->port->view.control->state) != SEMSHARE_RING_OK) {
		semshare_ring_break(ring, SEMSHARE_RING_BROKEN);
		return -EPROTO;
	}
	return has_role(ring, role) ? 0 : -EPERM;
}

static int lockless_lies(struct semshare_ring *ring, int err)
{
	if (err == -EPROTO)
		semshare_ring_break(ring, SEMSHARE_RING_BAD_CURSORS);
	return err;
}

/* As many as may be put with interrupts off; 0: the first may not. */
static unsigned int lockless_batch(const struct semshare_ring_entry *entries, unsigned int count)
{
	u64 bytes = 0;
	unsigned int n;

	for (n = 0; n < count; n++) {
		bytes += entries[n].size;
		if (bytes > LOCKLESS_BYTES)
			break;
	}
	return n;
}

static int lockless_put_pass(struct semshare_ring *ring, const struct semshare_ring_entry *entries,
			     unsigned int count, size_t *done)
{
	struct semshare_ring_port *port = ring->port;
	raw_spinlock_t *lock = &ring->area->ring.common->put;
	unsigned long flags;
	int err;

	*done = 0;
	err = lockless_check(ring, SEMSHARE_ROLE_PRODUCER);
	if (err)
		return err;
	if (!(port->variant->roles & SEMSHARE_ROLE_PRODUCER)) {
		err = port->variant->put(port, entries, count, semshare_now(), done);
	} else {
		count = lockless_batch(entries, count);
		if (!count)
			return -EMSGSIZE;
		if (!in_nmi())
			raw_spin_lock_irqsave(lock, flags);
		else if (!raw_spin_trylock_irqsave(lock, flags))
			return -EAGAIN;
		err = port->variant->put(port, entries, count, semshare_now(), done);
		raw_spin_unlock_irqrestore(lock, flags);
	}
	if (*done)
		semshare_ring_trace_put(ring, entries, *done);
	return lockless_lies(ring, err);
}

/* -EINPROGRESS: somebody else is taking records. */
static int lockless_get_pass(struct semshare_ring *ring, struct semshare_ring_record *records,
			     unsigned int count, void *buffer, size_t size)
{
	struct semshare_ring_port *port = ring->port;
	unsigned long *taking = &ring->area->ring.common->taking;
	u64 bytes;
	int read;

	read = lockless_check(ring, SEMSHARE_ROLE_CONSUMER);
	if (read)
		return read;
	if (test_and_set_bit_lock(0, taking))
		return -EINPROGRESS;
	read = semshare_ring_read(port, records, count, buffer, size, &bytes);
	if (read > 0)
		port->variant->consume(port, read);
	clear_bit_unlock(0, taking);
	if (read > 0)
		semshare_ring_trace_get(ring, read, bytes);
	return lockless_lies(ring, read);
}

/**
 * semshare_ring_lockless_has_data - would a call that takes records find one?
 * @ring: the handle
 *
 * By the consumer's own cursor, whatever the words say.  A ring that is found broken
 * has something as well: the next call tells.
 *
 * Context: any.
 * Return: 1; 0: it is not the consumer; -EAGAIN: not now.
 */
int semshare_ring_lockless_has_data(struct semshare_ring *ring)
{
	struct semshare_ring_port *port = ring->port;
	unsigned long *taking = &ring->area->ring.common->taking;
	struct semshare_record record;
	int err;

	err = lockless_check(ring, SEMSHARE_ROLE_CONSUMER);
	if (err)
		return err == -EPROTO;
	if (test_and_set_bit_lock(0, taking))
		return -EAGAIN;
	err = port->variant->peek(port, &record);
	/* Nothing was read: but who looked looks anew next time. */
	if (!err)
		port->variant->consume(port, 0);
	clear_bit_unlock(0, taking);
	return lockless_lies(ring, err) == -EAGAIN ? -EAGAIN : 1;
}

/* ------------------------------------------------------- sleeping and waking */

/* Look whether the cursor that is in the way moves, on a machine where it can meanwhile. */
static bool lockless_look(const struct semshare_ring_port *port, bool put)
{
	u64 seen = port->variant->other(port, put);
	u64 until;

	if (num_online_cpus() == 1)
		return false;
	until = local_clock() + LOCKLESS_LOOK_NS;
	while (!need_resched() && local_clock() < until) {
		if (port->variant->other(port, put) != seen)
			return true;
		cpu_relax();
	}
	return false;
}

/**
 * struct lockless_wait - a call that waits
 * @deadline: until when
 * @semaphore: of the hint
 * @fruitless: hints so far that came without reason
 * @looks: how often it has looked
 * @sleeps: a look brought nothing: from now on it asks for hints
 * @hinted: took a hint, so somebody else did not get it
 * @slept: has done so once at least
 */
struct lockless_wait {
	ktime_t deadline;
	unsigned int semaphore;
	unsigned int fruitless;
	unsigned int looks;
	bool sleeps;
	bool hinted;
	bool slept;
};

/* Before a pass: who will sleep says so first. */
static void lockless_wait_begin(struct semshare_ring *ring, const struct lockless_wait *wait)
{
	struct semshare_ring_control *control = ring->port->view.control;

	if (!wait->sleeps)
		return;
	semshare_store(wait->semaphore == SEMSHARE_SEM_DATA ? &control->need_data :
							      &control->need_space, 1);
	/* (A) of notify.c; in user space that of pass_lockless() is its like. */
	semshare_full_barrier();
}

/* After a pass that found nothing to do.  0: make another. */
static int lockless_wait(struct semshare_ring *ring, struct lockless_wait *wait, int err)
{
	if (err == -EINPROGRESS) {
		/* It will have taken them in an instant, or sleeps: it may be preempted. */
		if (wait->deadline == SEMSHARE_DEADLINE_NOW)
			return -EAGAIN;
		if (ktime_compare(ktime_get(), wait->deadline) >= 0)
			return -ETIMEDOUT;
		schedule_timeout_interruptible(1);
		return semshare_told_to_stop() ? -EINTR : 0;
	}
	if (err != -EAGAIN || wait->deadline == SEMSHARE_DEADLINE_NOW)
		return err;
	if (!wait->sleeps) {
		if (ktime_compare(ktime_get(), wait->deadline) >= 0)
			return -ETIMEDOUT;
		wait->sleeps = ++wait->looks > LOCKLESS_LOOKS ||
			       !lockless_look(ring->port, wait->semaphore == SEMSHARE_SEM_SPACE);
		if (!wait->sleeps)
			cond_resched();
		return semshare_told_to_stop() ? -EINTR : 0;
	}
	wait->slept = true;
	return semshare_ring_sleep(ring, wait->semaphore, wait->deadline, &wait->fruitless,
				   &wait->hinted);
}

/* After a pass that moved @event's cursor, or that failed: whom to tell. */
static void lockless_wait_end(struct semshare_ring *ring, const struct lockless_wait *wait,
			      bool moved, unsigned int event)
{
	if (moved && wait->deadline == SEMSHARE_DEADLINE_NOW)
		semshare_notify(ring->area, event);
	else if (moved)
		semshare_notify_now(ring->area, event);
	/* What woke this one may have been meant for one behind it as well. */
	if (wait->slept && (moved || wait->hinted))
		semshare_lock_hint(&ring->lock, wait->semaphore);
}

/**
 * semshare_ring_lockless_put - semshare_ring_put_batch() without a lock
 * @ring: the handle
 * @entries: the records
 * @count: how many, 1 to SEMSHARE_RING_BATCH_MAX
 * @timeout: jiffies
 *
 * Context: any, if @timeout is 0; else process context.
 * Return: as semshare_ring_put_batch().
 */
int semshare_ring_lockless_put(struct semshare_ring *ring,
			       const struct semshare_ring_entry *entries, unsigned int count,
			       long timeout)
{
	struct lockless_wait wait = {
		.deadline = semshare_deadline(timeout),
		.semaphore = SEMSHARE_SEM_SPACE,
	};
	size_t done;
	int err;

	if (wait.deadline != SEMSHARE_DEADLINE_NOW && !has_role(ring, SEMSHARE_ROLE_PRODUCER)) {
		err = semshare_ring_lockless_take_role(ring, SEMSHARE_ROLE_PRODUCER);
		if (err)
			return err;
	}
	do {
		lockless_wait_begin(ring, &wait);
		err = lockless_put_pass(ring, entries, count, &done);
		if (done)
			break;
		err = lockless_wait(ring, &wait, err);
	} while (!err);
	lockless_wait_end(ring, &wait, done, SEMSHARE_NOTIFY_DATA);
	return done ? (int)done : err;
}

/**
 * semshare_ring_lockless_reserve - semshare_ring_reserve(), where each has its own
 * @ring: the handle, of a ring that has no role for producers
 * @size: bytes of payload
 * @place: out
 * @timeout: jiffies
 *
 * Context: any, if @timeout is 0; else process context.
 * Return: as semshare_ring_reserve().
 */
int semshare_ring_lockless_reserve(struct semshare_ring *ring, size_t size,
				   struct semshare_ring_place *place, long timeout)
{
	struct lockless_wait wait = {
		.deadline = semshare_deadline(timeout),
		.semaphore = SEMSHARE_SEM_SPACE,
	};
	int err;

	do {
		lockless_wait_begin(ring, &wait);
		err = lockless_check(ring, SEMSHARE_ROLE_PRODUCER);
		if (!err)
			err = lockless_lies(ring,
					    ring->port->variant->reserve(ring->port, size, place));
		if (!err)
			break;
		err = lockless_wait(ring, &wait, err);
	} while (!err);
	/* There is nothing to tell a consumer yet. */
	lockless_wait_end(ring, &wait, false, SEMSHARE_NOTIFY_DATA);
	return err;
}

/**
 * semshare_ring_lockless_commit - semshare_ring_commit(), where each has its own
 * @ring: the handle
 * @place: the record
 * @type: its tag
 * @size: bytes of payload
 *
 * Context: any.
 * Return: as semshare_ring_commit().
 */
int semshare_ring_lockless_commit(struct semshare_ring *ring,
				  const struct semshare_ring_place *place, u32 type, u32 size)
{
	const struct semshare_ring_entry entry = { .size = size, .type = type };
	int err = lockless_check(ring, SEMSHARE_ROLE_PRODUCER);

	if (err)
		return err;
	err = ring->port->variant->commit(ring->port, place, size, type, semshare_now());
	if (!err)
		semshare_ring_trace_put(ring, &entry, 1);
	semshare_notify(ring->area, SEMSHARE_NOTIFY_DATA);
	return err;
}

/**
 * semshare_ring_lockless_cancel - semshare_ring_cancel(), where each has its own
 * @ring: the handle
 * @place: the record
 *
 * Context: any.
 */
void semshare_ring_lockless_cancel(struct semshare_ring *ring,
				   const struct semshare_ring_place *place)
{
	ring->port->variant->cancel(ring->port, place);
	/* A consumer may wait for this one, and there be others behind it. */
	semshare_notify(ring->area, SEMSHARE_NOTIFY_DATA);
}

/**
 * semshare_ring_lockless_get - semshare_ring_get_batch() without a lock
 * @ring: the handle
 * @records: out
 * @count: how many at most, 1 to SEMSHARE_RING_BATCH_MAX
 * @buffer: for their payloads
 * @size: its bytes
 * @timeout: jiffies
 *
 * Context: any, if @timeout is 0; else process context.
 * Return: as semshare_ring_get_batch().
 */
int semshare_ring_lockless_get(struct semshare_ring *ring, struct semshare_ring_record *records,
			       unsigned int count, void *buffer, size_t size, long timeout)
{
	struct lockless_wait wait = {
		.deadline = semshare_deadline(timeout),
		.semaphore = SEMSHARE_SEM_DATA,
	};
	int read;
	int err;

	if (wait.deadline != SEMSHARE_DEADLINE_NOW && !has_role(ring, SEMSHARE_ROLE_CONSUMER)) {
		err = semshare_ring_lockless_take_role(ring, SEMSHARE_ROLE_CONSUMER);
		if (err)
			return err;
	}
	do {
		lockless_wait_begin(ring, &wait);
		read = lockless_get_pass(ring, records, count, buffer, size);
		if (read > 0)
			break;
		/* Nothing read is an empty ring. */
		err = lockless_wait(ring, &wait, read ? read : -EAGAIN);
	} while (!err);
	lockless_wait_end(ring, &wait, read > 0, SEMSHARE_NOTIFY_SPACE);
	return read > 0 ? read : err;
}
