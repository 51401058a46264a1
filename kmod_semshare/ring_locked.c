// SPDX-License-Identifier: GPL-2.0
/*
 * The SysV-locked ring, for kernel code: semshare/core/sysv.h between taking and
 * giving the lock, with sleeping and waking around it.
 *
 * Users can write every word of the control page, every record and, through
 * semctl(), every semaphore of the set.  Nothing of that is believed:
 *
 *  - a cursor or a header is loaded once, checked, and the copy is used;
 *  - work under the lock is bounded by SEMSHARE_RING_BATCH_MAX records, and where the
 *    policy is to overwrite by those that are dropped for them, which are as many as
 *    fit into their space, or into the ring.
 *
 * Where a lie is found, or two owners at once because somebody reset the mutex,
 * the ring is broken.
 *
 * Payloads are kernel memory, so nothing faults or sleeps between take and give.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/instruction_pointer.h>
#include <linux/kcsan-checks.h>

#include "ring.h"

/* ---------------------------------------------------------- enter and leave */

static int ring_leave(struct semshare_ring *ring, unsigned int hints)
{
	int err;

	if (!semshare_ring_is_guarded(ring)) {
		kcsan_enable_current();
		return 0;
	}
	if (semshare_lock_leave(&ring->port->view.control->lock, ring->lock.epoch))
		semshare_ring_break(ring, SEMSHARE_RING_TWO_OWNERS);
	if (semshare_ring_is_broken(ring))
		hints = SEMSHARE_HINT_DATA | SEMSHARE_HINT_SPACE;
	err = semshare_lock_post(&ring->lock, hints);
	if (err == -ERANGE)
		semshare_ring_break(ring, SEMSHARE_RING_BAD_MUTEX);
	return semshare_ring_is_broken(ring) ? -EPROTO : err;
}

static int ring_enter(struct semshare_ring *ring, ktime_t deadline)
{
	struct semshare_ring_control *control = ring->port->view.control;
	bool died;
	int err;

	if (ring->held)
		return -EDEADLK;
	if (!semshare_ring_is_guarded(ring)) {
		/* Its data races are what it is for. */
		kcsan_disable_current();
		return 0;
	}
	if (semshare_ring_is_broken(ring))
		return -EPROTO;
	err = semshare_lock_take(&ring->lock, deadline, &died);
	if (err)
		return err;
	if (died) {
		/* Without a lock nothing can be half done inside. */
		if (ring->port->variant->locked)
			err = semshare_sysv_repair(&ring->port->view);
		semshare_ring_count_repair(ring, err);
		if (err)
			semshare_ring_break(ring, SEMSHARE_RING_BAD_REPAIR);
	}
	if (semshare_load(&control->state) != SEMSHARE_RING_OK)
		semshare_ring_break(ring, SEMSHARE_RING_BROKEN);
	return semshare_ring_is_broken(ring) ? ring_leave(ring, 0) : 0;
}

/*
 * Cursors that lie.  Unlocked parties do that to each other in good faith: then
 * it is the end of this call only, and with @resync of what is in the ring.
 */
static int ring_lies(struct semshare_ring *ring, bool resync)
{
	struct semshare_ring_control *control = ring->port->view.control;

	if (semshare_ring_is_guarded(ring)) {
		semshare_ring_break(ring, SEMSHARE_RING_BAD_CURSORS);
		return ring_leave(ring, 0);
	}
	if (resync)
		semshare_store(&control->head, semshare_load(&control->tail));
	ring_leave(ring, 0);
	return -EPROTO;
}

/* ---------------------------------------------------------------------- put */

/* Whom a producer wakes, and what it asks of those who come after it. */
static unsigned int ring_hints_of_put(struct semshare_ring *ring,
				      const struct semshare_sysv_cursors *at,
				      size_t written, bool slept, bool waits)
{
	struct semshare_ring_control *control = ring->port->view.control;
	unsigned int hints = 0;

	if (written && semshare_load(&control->need_data)) {
		semshare_store(&control->need_data, 0);
		hints |= SEMSHARE_HINT_DATA;
	}
	/* Going to sleep; or having slept, because others may be asleep behind it. */
	if (slept || (written == 0 && waits))
		semshare_store(&control->need_space, 1);
	if (slept && written &&
	    ring->port->view.capacity - (at->tail - at->head) >= semshare_ring_footprint(0))
		hints |= SEMSHARE_HINT_SPACE;
	return hints;
}

int semshare_ring_locked_put(struct semshare_ring *ring,
			     const struct semshare_ring_entry *entries, unsigned int count,
			     long timeout)
{
	ktime_t deadline = semshare_deadline(timeout);
	bool waits = deadline != SEMSHARE_DEADLINE_NOW;
	struct semshare_sysv_cursors *at = &ring->port->sysv;
	const unsigned int semaphore = SEMSHARE_SEM_SPACE;
	unsigned int fruitless = 0;
	bool hinted = false;	/* took a hint, so somebody else did not get it */
	bool slept = false;
	size_t written;
	int err, left;

	for (;;) {
		err = ring_enter(ring, deadline);
		if (err) {
			if (hinted)
				semshare_lock_hint(&ring->lock, semaphore);
			return err;
		}
		if (semshare_sysv_look(&ring->port->view, at))
			return ring_lies(ring, false);
		err = semshare_sysv_put_all(&ring->port->view, at, entries, count,
					    ktime_get_mono_fast_ns(), &written);
		if (err == -EPROTO)
			return ring_lies(ring, false);
		if (written)
			semshare_ring_trace_put(ring, entries, written);
		left = ring_leave(ring, ring_hints_of_put(ring, at, written, slept,
							  waits && err == -EAGAIN));
		/* What is committed is: what happened since is for the next call to tell. */
		if (written) {
			semshare_notify_pollers(ring->area, SEMSHARE_NOTIFY_DATA);
			return written;
		}
		if (left)
			return left;
		if (err != -EAGAIN)
			return err;
		err = semshare_ring_sleep(ring, semaphore, deadline, &fruitless, &hinted);
		if (err)
			return err;
		slept = true;
	}
}

/* ---------------------------------------------------------------------- get */

/* Whom a consumer wakes: as a producer, with the sides exchanged. */
static unsigned int ring_hints_of_get(struct semshare_ring *ring,
				      const struct semshare_sysv_cursors *at, int read,
				      bool slept, bool waits)
{
	struct semshare_ring_control *control = ring->port->view.control;
	unsigned int hints = 0;

	if (read > 0 && semshare_load(&control->need_space)) {
		semshare_store(&control->need_space, 0);
		hints |= SEMSHARE_HINT_SPACE;
	}
	if (slept || (read == 0 && waits))
		semshare_store(&control->need_data, 1);
	if (slept && at->head != at->tail)
		hints |= SEMSHARE_HINT_DATA;
	return hints;
}

int semshare_ring_locked_get(struct semshare_ring *ring, struct semshare_ring_record *records,
			     unsigned int count, void *buffer, size_t size, long timeout)
{
	ktime_t deadline = semshare_deadline(timeout);
	bool waits = deadline != SEMSHARE_DEADLINE_NOW;
	struct semshare_sysv_cursors *at = &ring->port->sysv;
	const unsigned int semaphore = SEMSHARE_SEM_DATA;
	unsigned int fruitless = 0;
	bool hinted = false;
	bool slept = false;
	u64 bytes;
	int read;
	int err;

	for (;;) {
		err = ring_enter(ring, deadline);
		ring->shut_out = err == -EAGAIN;
		if (err) {
			if (hinted)
				semshare_lock_hint(&ring->lock, semaphore);
			return err;
		}
		if (semshare_sysv_look(&ring->port->view, at))
			return ring_lies(ring, true);
		read = semshare_ring_read(ring->port, records, count, buffer, size, &bytes);
		if (read == -EPROTO)
			return ring_lies(ring, true);
		if (read > 0) {
			semshare_sysv_consume(&ring->port->view, at, read);
			semshare_ring_trace_get(ring, read, bytes);
		}
		err = ring_leave(ring, ring_hints_of_get(ring, at, read, slept, waits));
		/* What is taken is: what happened since is for the next call to tell. */
		if (read) {
			if (read > 0)
				semshare_notify_pollers(ring->area, SEMSHARE_NOTIFY_SPACE);
			return read;
		}
		if (err)
			return err;
		err = semshare_ring_sleep(ring, semaphore, deadline, &fruitless, &hinted);
		if (err)
			return err;
		slept = true;
	}
}

/* --------------------------------------------------------------------- lock */

/**
 * semshare_ring_lock - take the ring's lock, to guard what else the area holds
 * @ring: the handle
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 *
 * A handle of a ring with a lock cannot be used until semshare_ring_unlock().
 *
 * Context: process context, sleeps.
 * Return: 0, -EAGAIN (@timeout is 0), -ETIMEDOUT, -EINTR, -EPROTO, -EIDRM,
 * -EDEADLK (this handle has it), -EOPNOTSUPP (called where sleeping is not allowed).
 */
int semshare_ring_lock(struct semshare_ring *ring, long timeout)
{
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	err = ring_enter(ring, semshare_deadline(timeout));
	if (!err)
		ring->held = true;
	return err;
}
EXPORT_SYMBOL_GPL(semshare_ring_lock);

/**
 * semshare_ring_unlock - give the ring's lock back
 * @ring: the handle
 *
 * Context: process context.
 * Return: 0, -EPERM (this handle has it not), -EPROTO (somebody else was inside
 * as well: the ring is broken), -EIDRM, -EOPNOTSUPP (called where sleeping is not
 * allowed).
 */
int semshare_ring_unlock(struct semshare_ring *ring)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (!ring->held)
		return -EPERM;
	ring->held = false;
	return ring_leave(ring, 0);
}
EXPORT_SYMBOL_GPL(semshare_ring_unlock);
