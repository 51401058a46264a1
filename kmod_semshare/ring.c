// SPDX-License-Identifier: GPL-2.0
/*
 * The SysV-locked ring, for kernel code: semshare/core/sysv.h between taking and
 * giving the lock, with sleeping and waking around it.
 *
 * Users can write every word of the control page, every record and, through
 * semctl(), every semaphore of the set.  Nothing of that is believed:
 *
 *  - geometry and the sticky `broken` are the area's, in kernel memory;
 *  - a cursor or a header is loaded once, checked, and the copy is used;
 *  - work under the lock is bounded by RING_BATCH_MAX records;
 *  - a hint that comes without reason (a semaphore set to 32767) costs a look
 *    at the cursors, and after RING_FRUITLESS of them a tick of sleep.
 *
 * Where a lie is found, or two owners at once because somebody reset the mutex,
 * the ring is broken: the kernel never uses its cursors again, everybody is woken,
 * and every call answers -EPROTO.
 *
 * Payloads are kernel memory, so nothing faults or sleeps between take and give.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/instruction_pointer.h>
#include <linux/kcsan-checks.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "resolve.h"
#include "ring.h"
#include "trace.h"

#define RING_BATCH_MAX	1024
#define RING_FRUITLESS	64

/* Read-only in /sys/module/semshare/parameters. */
static atomic_t rings_broken = ATOMIC_INIT(0);
static atomic_t rings_repaired = ATOMIC_INIT(0);

static int counter_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(kp->arg));
}

static const struct kernel_param_ops counter_ops = { .get = counter_get };
module_param_cb(rings_broken, &counter_ops, &rings_broken, 0444);
MODULE_PARM_DESC(rings_broken, "rings found broken so far (read-only)");
module_param_cb(rings_repaired, &counter_ops, &rings_repaired, 0444);
MODULE_PARM_DESC(rings_repaired, "times a ring's last owner was found dead inside (read-only)");

/* ------------------------------------------------------------------ states */

static bool ring_is_locked(const struct semshare_ring *ring)
{
	return !(ring->flags & SEMSHARE_RING_OPEN_UNLOCKED);
}

static bool ring_is_broken(const struct semshare_ring *ring)
{
	return READ_ONCE(ring->area->ring.broken);
}

static void ring_break(struct semshare_ring *ring, const char *why)
{
	struct semshare_ring_control *control = ring->port.view.control;
	u64 head = semshare_load(&control->head);
	u64 tail = semshare_load(&control->tail);

	WRITE_ONCE(control->state, SEMSHARE_RING_BROKEN);
	if (xchg(&ring->area->ring.broken, true))
		return;
	atomic_inc(&rings_broken);
	trace_ring_broken(ring->area->name, head, tail);
	pr_warn_ratelimited("area %s: its ring is broken, %s (head %llu, tail %llu): make a new one\n",
			    ring->area->name, why, head, tail);
}

static ktime_t ring_deadline(long timeout)
{
	if (timeout <= 0)
		return SEMSHARE_DEADLINE_NOW;
	/* Also what is longer than a ktime_t can say: 292 years. */
	if (timeout >= min_t(s64, MAX_SCHEDULE_TIMEOUT, KTIME_SEC_MAX * HZ / 2))
		return SEMSHARE_DEADLINE_NEVER;
	return ktime_add_safe(ktime_get(), ns_to_ktime(jiffies64_to_nsecs(timeout)));
}

/* ---------------------------------------------------------- enter and leave */

static int ring_leave(struct semshare_ring *ring, unsigned int hints)
{
	int err;

	if (!ring_is_locked(ring)) {
		kcsan_enable_current();
		return 0;
	}
	if (semshare_lock_leave(&ring->port.view.control->lock, ring->lock.epoch))
		ring_break(ring, "two owners were inside at once");
	if (ring_is_broken(ring))
		hints = SEMSHARE_HINT_DATA | SEMSHARE_HINT_SPACE;
	err = semshare_lock_post(&ring->lock, hints);
	if (err == -ERANGE)
		ring_break(ring, "somebody set its mutex");
	return ring_is_broken(ring) ? -EPROTO : err;
}

static int ring_enter(struct semshare_ring *ring, ktime_t deadline)
{
	struct semshare_ring_control *control = ring->port.view.control;
	bool died;
	int err;

	if (ring->held)
		return -EDEADLK;
	if (!ring_is_locked(ring)) {
		/* Its data races are what it is for. */
		kcsan_disable_current();
		return 0;
	}
	if (ring_is_broken(ring))
		return -EPROTO;
	err = semshare_lock_take(&ring->lock, deadline, &died);
	if (err)
		return err;
	if (died) {
		err = semshare_sysv_repair(&ring->port.view);
		atomic_inc(&rings_repaired);
		trace_ring_repair(ring->area->name, err);
		if (err)
			ring_break(ring, "its cursors cannot be repaired");
	}
	if (semshare_load(&control->state) != SEMSHARE_RING_OK)
		ring_break(ring, "a user says so");
	return ring_is_broken(ring) ? ring_leave(ring, 0) : 0;
}

/*
 * Cursors that lie.  Unlocked parties do that to each other in good faith: then
 * it is the end of this call only, and with @resync of what is in the ring.
 */
static int ring_lies(struct semshare_ring *ring, bool resync)
{
	struct semshare_ring_control *control = ring->port.view.control;

	if (ring_is_locked(ring)) {
		ring_break(ring, "its cursors or records make no sense");
		return ring_leave(ring, 0);
	}
	if (resync)
		semshare_store(&control->head, semshare_load(&control->tail));
	ring_leave(ring, 0);
	return -EPROTO;
}

/*
 * Wait for a hint, or until it is time to look again.  A handle without a lock
 * has no hints: it looks again every tick.
 */
static int ring_sleep(struct semshare_ring *ring, unsigned int semaphore, ktime_t deadline,
		      unsigned int *fruitless, bool *hinted)
{
	int err;

	*hinted = false;
	if (deadline == SEMSHARE_DEADLINE_NOW)
		return -EAGAIN;
	if (ktime_compare(ktime_get(), deadline) >= 0)
		return -ETIMEDOUT;
	cond_resched();
	if (ring_is_locked(ring) && *fruitless < RING_FRUITLESS) {
		err = semshare_lock_sleep(&ring->lock, semaphore, deadline);
		*hinted = err > 0;
		if (*hinted)
			++*fruitless;
		return min(err, 0);
	}
	*fruitless = 0;
	if (semshare_told_to_stop())
		return -EINTR;
	schedule_timeout_interruptible(1);
	return semshare_told_to_stop() ? -EINTR : 0;
}

/* ---------------------------------------------------------------------- put */

static u64 ring_bytes(const struct semshare_ring_entry *entries, size_t count)
{
	u64 bytes = 0;

	if (trace_ring_put_enabled())
		while (count)
			bytes += entries[--count].size;
	return bytes;
}

/* Whom a producer wakes, and what it asks of those who come after it. */
static unsigned int ring_hints_of_put(struct semshare_ring *ring,
				      const struct semshare_sysv_cursors *at,
				      size_t written, bool slept, bool waits)
{
	struct semshare_ring_control *control = ring->port.view.control;
	unsigned int hints = 0;

	if (written && semshare_load(&control->need_data)) {
		semshare_store(&control->need_data, 0);
		hints |= SEMSHARE_HINT_DATA;
	}
	/* Going to sleep; or having slept, because others may be asleep behind it. */
	if (slept || (written == 0 && waits))
		semshare_store(&control->need_space, 1);
	if (slept && written &&
	    ring->port.view.capacity - (at->tail - at->head) >= semshare_ring_footprint(0))
		hints |= SEMSHARE_HINT_SPACE;
	return hints;
}

static int ring_put(struct semshare_ring *ring, const struct semshare_ring_entry *entries,
		    unsigned int count, long timeout)
{
	ktime_t deadline = ring_deadline(timeout);
	bool waits = deadline != SEMSHARE_DEADLINE_NOW;
	struct semshare_sysv_cursors at;
	const unsigned int semaphore = SEMSHARE_SEM_SPACE;
	unsigned int fruitless = 0;
	bool hinted = false;	/* took a hint, so somebody else did not get it */
	bool slept = false;
	size_t written;
	int err, left;

	if (!count)
		return -EINVAL;
	if (entries[0].size > ring->port.view.max_payload)
		return -EMSGSIZE;
	count = min_t(unsigned int, count, RING_BATCH_MAX);
	for (;;) {
		err = ring_enter(ring, deadline);
		if (err) {
			if (hinted)
				semshare_lock_hint(&ring->lock, semaphore);
			return err;
		}
		if (semshare_sysv_look(&ring->port.view, &at))
			return ring_lies(ring, false);
		err = semshare_sysv_put_all(&ring->port.view, &at, entries, count,
					    ktime_get_mono_fast_ns(), &written);
		if (err == -EPROTO)
			return ring_lies(ring, false);
		if (written)
			trace_ring_put(ring->area->name, written, ring_bytes(entries, written),
				       at.head, at.tail);
		left = ring_leave(ring, ring_hints_of_put(ring, &at, written, slept,
							  waits && err == -EAGAIN));
		/* What is committed is: what happened since is for the next call to tell. */
		if (written)
			return written;
		if (left)
			return left;
		if (err != -EAGAIN)
			return err;
		err = ring_sleep(ring, semaphore, deadline, &fruitless, &hinted);
		if (err)
			return err;
		slept = true;
	}
}

/**
 * semshare_ring_put_batch - put records, under one lock
 * @ring: the handle
 * @entries: the records, in kernel memory
 * @count: how many
 * @timeout: jiffies to wait for space for the first; 0: do not wait;
 *	MAX_SCHEDULE_TIMEOUT: wait
 *
 * All that fit are put and published together; the call waits only while not
 * even the first fits.
 *
 * Context: process context, sleeps, even with a timeout of 0 for an instant.
 * Return: how many were put, 1 to @count, or
 * -EAGAIN (@timeout is 0: locked, or no space), -ETIMEDOUT, -EINTR (signal or
 * kthread_stop()), -ENOBUFS (no space for the first, and the ring's policy is to
 * refuse: all are dropped, and counted), -EMSGSIZE (the first can never fit),
 * -EINVAL (@count is 0), -EPROTO (the ring is broken), -EIDRM (its set is gone),
 * -EDEADLK (called between semshare_ring_lock() and semshare_ring_unlock()),
 * -EOPNOTSUPP (called where sleeping is not allowed).
 */
int semshare_ring_put_batch(struct semshare_ring *ring,
			    const struct semshare_ring_entry *entries,
			    unsigned int count, long timeout)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	return ring_put(ring, entries, count, timeout);
}
EXPORT_SYMBOL_GPL(semshare_ring_put_batch);

/**
 * semshare_ring_put - put one record
 * @ring: the handle
 * @type: the record's tag
 * @payload: its bytes, in kernel memory
 * @size: how many
 * @timeout: as in semshare_ring_put_batch()
 *
 * Context: process context, sleeps.
 * Return: 0, or an error as of semshare_ring_put_batch().
 */
int semshare_ring_put(struct semshare_ring *ring, u32 type, const void *payload,
		      size_t size, long timeout)
{
	struct semshare_ring_entry entry = {
		.payload = payload,
		.type = type,
	};
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (size > ring->port.view.max_payload)
		return -EMSGSIZE;
	entry.size = size;
	err = ring_put(ring, &entry, 1, timeout);
	return min(err, 0);
}
EXPORT_SYMBOL_GPL(semshare_ring_put);

/* ---------------------------------------------------------------------- get */

/*
 * Copy what is there and fits. Returns how many, -EMSGSIZE if the first does not
 * fit into @buffer, -EPROTO if there is something that is no record.
 */
static int ring_read(struct semshare_ring *ring, struct semshare_sysv_cursors *at,
		     struct semshare_ring_entry *entries, unsigned int count,
		     void *buffer, size_t size, u64 *bytes)
{
	struct semshare_record record;
	size_t used = 0;
	unsigned int n;
	int err = 0;

	*bytes = 0;
	for (n = 0; n < count; n++) {
		err = semshare_sysv_peek(&ring->port.view, at, &record);
		if (err)
			break;
		if (record.size > size - used) {
			err = -EMSGSIZE;
			break;
		}
		semshare_sysv_read(&ring->port.view, at, &record, buffer + used);
		entries[n].payload = buffer + used;
		entries[n].size = record.size;
		entries[n].type = record.type;
		*bytes += record.size;
		/* Payloads start aligned, so that they can be cast to structures. */
		used = min_t(size_t, ALIGN(used + record.size, 8), size);
	}
	if (err == -EPROTO)
		return err;
	return n || err == -EAGAIN ? n : err;
}

/* Whom a consumer wakes: as a producer, with the sides exchanged. */
static unsigned int ring_hints_of_get(struct semshare_ring *ring,
				      const struct semshare_sysv_cursors *at, int read,
				      bool slept, bool waits)
{
	struct semshare_ring_control *control = ring->port.view.control;
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

static int ring_get(struct semshare_ring *ring, struct semshare_ring_entry *entries,
		    unsigned int count, void *buffer, size_t size, long timeout)
{
	ktime_t deadline = ring_deadline(timeout);
	bool waits = deadline != SEMSHARE_DEADLINE_NOW;
	struct semshare_sysv_cursors at;
	const unsigned int semaphore = SEMSHARE_SEM_DATA;
	unsigned int fruitless = 0;
	bool hinted = false;
	bool slept = false;
	u64 bytes;
	int read;
	int err;

	if (!count)
		return -EINVAL;
	count = min_t(unsigned int, count, RING_BATCH_MAX);
	for (;;) {
		err = ring_enter(ring, deadline);
		if (err) {
			if (hinted)
				semshare_lock_hint(&ring->lock, semaphore);
			return err;
		}
		if (semshare_sysv_look(&ring->port.view, &at))
			return ring_lies(ring, true);
		read = ring_read(ring, &at, entries, count, buffer, size, &bytes);
		if (read == -EPROTO)
			return ring_lies(ring, true);
		if (read > 0) {
			semshare_sysv_consume(&ring->port.view, &at, read);
			trace_ring_get(ring->area->name, read, bytes, at.head, at.tail);
		}
		err = ring_leave(ring, ring_hints_of_get(ring, &at, read, slept, waits));
		/* What is taken is: what happened since is for the next call to tell. */
		if (read)
			return read;
		if (err)
			return err;
		err = ring_sleep(ring, semaphore, deadline, &fruitless, &hinted);
		if (err)
			return err;
		slept = true;
	}
}

/**
 * semshare_ring_get_batch - take records, under one lock
 * @ring: the handle
 * @entries: out: the records, pointing into @buffer
 * @count: how many at most
 * @buffer: kernel memory for their payloads
 * @size: its bytes
 * @timeout: jiffies to wait for the first; 0: do not wait;
 *	MAX_SCHEDULE_TIMEOUT: wait
 *
 * Takes what is there and fits.  Payloads are aligned to 8 bytes in a @buffer
 * that is.  In a handle without a lock cursors that make no sense are -EPROTO
 * for this call, and what was in the ring is skipped.
 *
 * Context: process context, sleeps, even with a timeout of 0 for an instant.
 * Return: how many were taken, 1 to @count, or
 * -EAGAIN (@timeout is 0: locked, or empty), -ETIMEDOUT, -EINTR (signal or
 * kthread_stop()), -EMSGSIZE (the first does not fit; it stays in the ring),
 * -EINVAL (@count is 0), -EPROTO (the ring is broken), -EIDRM (its set is gone),
 * -EDEADLK (called between semshare_ring_lock() and semshare_ring_unlock()),
 * -EOPNOTSUPP (called where sleeping is not allowed).
 */
int semshare_ring_get_batch(struct semshare_ring *ring,
			    struct semshare_ring_entry *entries,
			    unsigned int count, void *buffer, size_t size, long timeout)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	return ring_get(ring, entries, count, buffer, size, timeout);
}
EXPORT_SYMBOL_GPL(semshare_ring_get_batch);

/**
 * semshare_ring_get - take one record
 * @ring: the handle
 * @type: out: its tag; may be NULL
 * @payload: kernel memory for its bytes
 * @size: how many there is room for
 * @timeout: as in semshare_ring_get_batch()
 *
 * Context: process context, sleeps.
 * Return: the bytes of its payload, or an error as of semshare_ring_get_batch().
 */
ssize_t semshare_ring_get(struct semshare_ring *ring, u32 *type, void *payload,
			  size_t size, long timeout)
{
	struct semshare_ring_entry entry;
	int read;

	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	read = ring_get(ring, &entry, 1, payload, size, timeout);
	if (read < 0)
		return read;
	if (type)
		*type = entry.type;
	return entry.size;
}
EXPORT_SYMBOL_GPL(semshare_ring_get);

/* --------------------------------------------------------------------- lock */

/**
 * semshare_ring_lock - take the ring's lock, to guard what else the area holds
 * @ring: the handle
 * @timeout: jiffies to wait; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 *
 * The handle's ring itself cannot be used until semshare_ring_unlock().
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
	err = ring_enter(ring, ring_deadline(timeout));
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

/**
 * semshare_ring_statistics - how a handle fared with the lock
 * @ring: the handle, which its thread may be using
 * @statistics: out
 *
 * Context: any.
 */
void semshare_ring_statistics(struct semshare_ring *ring,
			      struct semshare_lock_statistics *statistics)
{
	const struct semshare_lock_statistics *from = &ring->lock.statistics;
	unsigned int i;

	statistics->acquisitions = READ_ONCE(from->acquisitions);
	statistics->contended = READ_ONCE(from->contended);
	for (i = 0; i < ARRAY_SIZE(from->wait_ns); i++)
		statistics->wait_ns[i] = READ_ONCE(from->wait_ns[i]);
}
EXPORT_SYMBOL_GPL(semshare_ring_statistics);

/**
 * semshare_ring_capacity - bytes of records
 * @ring: the handle
 *
 * What else the area holds starts SEMSHARE_RING_CONTROL_SIZE + capacity bytes
 * behind its start; the longest payload is semshare_ring_max_payload(capacity).
 *
 * Return: the kernel's own copy, that of the ring when it was first opened.
 */
u64 semshare_ring_capacity(struct semshare_ring *ring)
{
	return ring->port.view.capacity;
}
EXPORT_SYMBOL_GPL(semshare_ring_capacity);

/* ----------------------------------------------------------- open and close */

/* The area's geometry, which the first handle finds out and all others take. */
static int ring_share(struct semshare_ring *ring)
{
	struct semshare_ring_shared *shared = &ring->area->ring;
	struct semshare_ring_view *view = &ring->port.view;
	int err;

	lockdep_assert_held(&ring->area->mutex);
	if (shared->broken)
		return -EPROTO;
	if (!shared->ready) {
		err = semshare_ring_check(&ring->port, ring->area->data, ring->area->size);
		if (err)
			return err;
		if (!ring->port.variant->locked)
			return -EOPNOTSUPP;
		shared->capacity = view->capacity;
		shared->max_payload = view->max_payload;
		shared->policy = view->policy;
		shared->ready = true;
	}
	view->control = ring->area->data;
	view->data = ring->area->data + SEMSHARE_RING_CONTROL_SIZE;
	view->capacity = shared->capacity;
	view->max_payload = shared->max_payload;
	view->policy = shared->policy;
	ring->lock.state = &view->control->lock;
	return 0;
}

static int ring_use_set(struct semshare_ring *ring)
{
	struct semshare_lock *lock = &ring->lock;
	struct semshare_sem_facts facts;
	int err;

	lockdep_assert_held(&ring->area->mutex);
	if (ring->area->semid < 0)
		return -ENXIO;
	if (ring->area->facts.nsems < SEMSHARE_RING_NSEMS)
		return -EPROTO;
	lock->ns = ring->area->ns;
	lock->semid = ring->area->semid;
	lock->facts = ring->area->facts;
	lock->broken = &ring->area->ring.broken;
	lock->name = ring->area->name;
	err = semshare_sem_facts(lock->ns, lock->semid, &facts);
	if (!err && !semshare_sem_same(lock->ns, lock->semid, &lock->facts))
		err = -EIDRM;
	/* The handle operates with the kernel's rights, so its user's are asked here. */
	if (!err)
		err = semshare_sem_may_alter(lock->ns, lock->semid);
	lock->verified = jiffies;
	return err == -EINVAL ? -EIDRM : err;
}

/**
 * semshare_ring_open - a handle of the ring that an area holds
 * @area: the area; the handle takes a reference of its own
 * @flags: SEMSHARE_RING_OPEN_UNLOCKED: use it without its lock, which loses and
 *	tears records, to show what the lock is for
 *
 * A handle belongs to one thread at a time; an area has as many as it likes.
 * Current must be allowed to alter the set; who uses the handle later need not.
 *
 * Context: process context, sleeps.
 * Return: the handle, or -EINVAL (flags), -ENOMEM, -ENXIO (no set is bound to
 * the area), -EAGAIN (no ring in the area, yet), -EPROTO (no ring of this ABI,
 * one that does not fit, or a broken one), -EIDRM (its set is gone), -EACCES
 * (current may not alter its set), -EOPNOTSUPP (called where sleeping is not
 * allowed, or this kernel lacks a function).
 */
struct semshare_ring *semshare_ring_open(struct semshare_area *area, u32 flags)
{
	struct semshare_ring *ring;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (flags & ~SEMSHARE_RING_OPEN_UNLOCKED)
		return ERR_PTR(-EINVAL);
	ring = kzalloc(sizeof(*ring), GFP_KERNEL_ACCOUNT);
	if (!ring)
		return ERR_PTR(-ENOMEM);
	ring->area = area;
	ring->flags = flags;
	mutex_lock(&area->mutex);
	err = ring_is_locked(ring) ? ring_use_set(ring) : 0;
	if (!err)
		err = ring_share(ring);
	mutex_unlock(&area->mutex);
	if (err) {
		kfree(ring);
		return ERR_PTR(err);
	}
	semshare_area_hold(area, SEMSHARE_AREA_KERNEL);
	return ring;
}
EXPORT_SYMBOL_GPL(semshare_ring_open);

/* A set of this ring's own, bound to its area, the mutex free. */
static int ring_make_set(struct semshare_area *area, umode_t mode)
{
	struct sembuf publish = { .sem_num = SEMSHARE_SEM_MUTEX, .sem_op = 1 };
	struct semshare_sem_facts facts;
	int semid;
	int err;

	/* Without these the set could be neither bound nor removed again. */
	if (!semshare_has(SEMSHARE_FN_SEMCTL_STAT) || !semshare_has(SEMSHARE_FN_SEMCTL_DOWN))
		return -EOPNOTSUPP;
	semid = semshare_semget(area->ns, area->key, SEMSHARE_RING_NSEMS,
				IPC_CREAT | IPC_EXCL | mode);
	if (semid < 0)
		return semid;
	err = semshare_sem_facts(area->ns, semid, &facts);
	if (err)
		return err;
	/* An operation rather than SETVAL: it sets sem_otime, for which openers wait. */
	err = semshare_semop(area->ns, semid, &publish, 1);
	if (!err)
		err = semshare_area_bind(area, semid, SEMSHARE_BIND_OWN);
	if (err) {
		semshare_sem_remove(area->ns, semid, &facts);
		return err;
	}
	return semid;
}

/**
 * semshare_ring_create - make a ring in an area, with a set of its own
 * @area: an area made by the caller, in its own IPC namespace
 * @params: what it is to be; it has to fit, with the control page, into @area
 * @mode: permission bits of the set
 *
 * The set has the key of the area's name and goes with the area.  The ring is
 * formatted last: who sees it can use it.
 *
 * Context: process context, sleeps.
 * Return: a handle, or -EINVAL (@params, @mode), -EEXIST (a ring in the area,
 * or a set with its key, exists already), -EXDEV (not the caller's namespace),
 * and what semget(), semshare_area_bind() and semshare_ring_open() answer.
 */
struct semshare_ring *semshare_ring_create(struct semshare_area *area,
					   const struct semshare_ring_params *params, umode_t mode)
{
	struct semshare_ring_control *control = area->data;
	struct semshare_ring_shared *shared = &area->ring;
	int semid;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!semshare_ring_params_payload(params) || mode & ~0666 ||
	    area->size < SEMSHARE_RING_CONTROL_SIZE ||
	    params->capacity > area->size - SEMSHARE_RING_CONTROL_SIZE)
		return ERR_PTR(-EINVAL);
	if (semshare_load_acquire(&control->magic))
		return ERR_PTR(-EEXIST);
	semid = ring_make_set(area, mode);
	if (semid < 0)
		return ERR_PTR(semid);

	mutex_lock(&area->mutex);
	err = shared->ready ? -EEXIST : 0;
	if (!err) {
		memset(control, 0, sizeof(*control));
		err = semshare_ring_format(control, params, semid, area->key, area->name);
	}
	if (!err) {
		shared->capacity = params->capacity;
		shared->max_payload = semshare_ring_max_payload(params->capacity);
		shared->policy = params->policy;
		shared->ready = true;
	}
	mutex_unlock(&area->mutex);
	/* The set is the area's by now and goes with it. */
	return err ? ERR_PTR(err) : semshare_ring_open(area, 0);
}
EXPORT_SYMBOL_GPL(semshare_ring_create);

/**
 * semshare_ring_close - give a handle back
 * @ring: the handle, not in use; its lock, if it has it, is given back
 *
 * Context: process context, sleeps.
 */
void semshare_ring_close(struct semshare_ring *ring)
{
	if (ring->held)
		semshare_ring_unlock(ring);
	semshare_area_put(ring->area);
	kfree(ring);
}
EXPORT_SYMBOL_GPL(semshare_ring_close);

/**
 * semshare_ring_destroy - the end of a ring, for all who use it
 * @ring: a handle, which is given back
 *
 * The ring counts as broken from now on.  The set, if it goes with the area, and
 * the area's name go at once, whoever still holds the memory: sleepers get EIDRM
 * rather than silence, and another ring can be made under the name.
 *
 * Context: process context, sleeps.
 */
void semshare_ring_destroy(struct semshare_ring *ring)
{
	struct semshare_area *area = ring->area;

	WRITE_ONCE(area->ring.broken, true);
	WRITE_ONCE(ring->port.view.control->state, SEMSHARE_RING_BROKEN);
	mutex_lock(&area->mutex);
	if (area->bind_flags & SEMSHARE_BIND_OWN) {
		semshare_sem_remove(area->ns, area->semid, &area->facts);
		/* A successor of the same name must not be taken for it. */
		area->bind_flags &= ~SEMSHARE_BIND_OWN;
	} else if (ring_is_locked(ring)) {
		semshare_lock_hint(&ring->lock, SEMSHARE_SEM_DATA);
		semshare_lock_hint(&ring->lock, SEMSHARE_SEM_SPACE);
	}
	mutex_unlock(&area->mutex);
	semshare_area_hide(area);
	semshare_ring_close(ring);
}
EXPORT_SYMBOL_GPL(semshare_ring_destroy);
