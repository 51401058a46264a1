// SPDX-License-Identifier: GPL-2.0
/*
 * The ring, for kernel code: what the variants have in common, and what other
 * modules call.  Passes over it are in ring_locked.c and ring_lockless.c.
 *
 * Users can write every word of the control page, every record and, through
 * semctl(), every semaphore of the set.  Nothing of that is believed:
 *
 *  - geometry, the sticky `broken` and, without a lock, the cursors that only the
 *    kernel moves are in kernel memory;
 *  - a word or a header is loaded once, checked, and the copy is used;
 *  - a hint that comes without reason (a semaphore set to 32767) costs a look
 *    at the cursors, and after RING_FRUITLESS of them a tick of sleep.
 *
 * Where a lie is found the ring is broken: the kernel never uses its cursors
 * again, everybody is woken, and every call answers -EPROTO.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/instruction_pointer.h>
#include <linux/moduleparam.h>
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "notify.h"
#include "ring.h"
#include "trace.h"

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

/**
 * semshare_ring_break - this ring makes no sense, and never will again
 * @ring: a handle
 * @why: enum semshare_ring_state
 *
 * Context: any.
 */
void semshare_ring_break(struct semshare_ring *ring, u32 why)
{
	const struct semshare_ring_port *port = ring->port;
	u64 head = port->variant->other(port, 1);
	u64 tail = port->variant->other(port, 0);

	semshare_ring_tell_broken(port->view.control, why);
	if (cmpxchg(&ring->area->ring.broken, SEMSHARE_RING_OK, why) != SEMSHARE_RING_OK)
		return;
	semshare_notify(ring->area, SEMSHARE_NOTIFY_BROKEN);
	atomic_inc(&rings_broken);
	trace_ring_broken(ring->area->name, why, head, tail);
	pr_warn_ratelimited("area %s: its ring is broken, %s (head %llu, tail %llu): make a new one\n",
			    ring->area->name, semshare_ring_state_text(why), head, tail);
}

/**
 * semshare_ring_count_repair - the last owner of a ring's lock died inside
 * @ring: a handle
 * @err: what putting it right answered
 */
void semshare_ring_count_repair(struct semshare_ring *ring, int err)
{
	atomic_inc(&rings_repaired);
	trace_ring_repair(ring->area->name, err);
}

/**
 * semshare_ring_sleep - wait for a hint, or until it is time to look again
 * @ring: a handle
 * @semaphore: SEMSHARE_SEM_DATA or SEMSHARE_SEM_SPACE
 * @deadline: until when to wait
 * @fruitless: hints so far that came without reason
 * @hinted: out: took a hint, so somebody else did not get it
 *
 * A handle of the experiment without a lock has no hints: it looks again every
 * tick.
 *
 * Return: 0, -EAGAIN (not to wait), -ETIMEDOUT, -EINTR, -EIDRM.
 */
int semshare_ring_sleep(struct semshare_ring *ring, unsigned int semaphore, ktime_t deadline,
			unsigned int *fruitless, bool *hinted)
{
	int err;

	*hinted = false;
	if (deadline == SEMSHARE_DEADLINE_NOW)
		return -EAGAIN;
	if (ktime_compare(ktime_get(), deadline) >= 0)
		return -ETIMEDOUT;
	cond_resched();
	if (semshare_ring_is_guarded(ring) && *fruitless < RING_FRUITLESS) {
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

/* ----------------------------------------------------------------- records */

/**
 * semshare_ring_read - copy what is there and fits
 * @port: the ring, whose records are the caller's to read
 * @records: out
 * @count: how many at most
 * @buffer: for their payloads
 * @size: its bytes
 * @bytes: out: of payload
 *
 * The space of what was read is the consumer's still.
 *
 * Return: how many; -EMSGSIZE if the first does not fit into @buffer; -EPROTO if
 * there is something that is no record.
 */
int semshare_ring_read(struct semshare_ring_port *port, struct semshare_ring_record *records,
		       unsigned int count, void *buffer, size_t size, u64 *bytes)
{
	size_t used = 0;
	unsigned int n;
	int err = 0;

	*bytes = 0;
	for (n = 0; n < count; n++) {
		struct semshare_record *head = &records[n].head;

		err = port->variant->peek(port, head);
		if (err)
			break;
		if (head->size > size - used) {
			err = -EMSGSIZE;
			break;
		}
		/* It was overwritten meanwhile, as often as one who writes all the time likes. */
		if (port->variant->read(port, head, buffer + used))
			break;
		records[n].payload = buffer + used;
		*bytes += head->size;
		/* Payloads start aligned, so that they can be cast to structures. */
		used = min_t(size_t, ALIGN(used + head->size, 8), size);
	}
	if (err == -EPROTO)
		return err;
	return n || err == -EAGAIN ? n : err;
}

/* One event for a pass, with the cursors as they can be seen after it. */
void semshare_ring_trace_put(struct semshare_ring *ring, const struct semshare_ring_entry *entries,
			     size_t count)
{
	const struct semshare_ring_port *port = ring->port;
	u64 bytes = 0;
	size_t n;

	if (!trace_ring_put_enabled())
		return;
	for (n = 0; n < count; n++)
		bytes += entries[n].size;
	trace_ring_put(ring->area->name, count, bytes,
		       port->variant->other(port, 1), port->variant->other(port, 0));
}

void semshare_ring_trace_get(struct semshare_ring *ring, size_t count, u64 bytes)
{
	const struct semshare_ring_port *port = ring->port;

	if (!trace_ring_get_enabled())
		return;
	trace_ring_get(ring->area->name, count, bytes,
		       port->variant->other(port, 1), port->variant->other(port, 0));
}

/*
 * May this call be made here?  Without a lock a call that does not wait may be
 * made anywhere.
 */
static bool ring_may_call(const struct semshare_ring *ring, long timeout, unsigned long caller)
{
	if (timeout <= 0 && !ring->port->variant->locked)
		return true;
	return semshare_may_sleep(caller);
}

static int ring_put(struct semshare_ring *ring, const struct semshare_ring_entry *entries,
		    unsigned int count, long timeout)
{
	if (!count)
		return -EINVAL;
	if (entries[0].size > ring->port->view.max_payload)
		return -EMSGSIZE;
	count = min_t(unsigned int, count, SEMSHARE_RING_BATCH_MAX);
	if (ring->port->variant->locked)
		return semshare_ring_locked_put(ring, entries, count, timeout);
	return semshare_ring_lockless_put(ring, entries, count, timeout);
}

static int ring_get(struct semshare_ring *ring, struct semshare_ring_record *records,
		    unsigned int count, void *buffer, size_t size, long timeout)
{
	if (!count)
		return -EINVAL;
	count = min_t(unsigned int, count, SEMSHARE_RING_BATCH_MAX);
	if (ring->port->variant->locked)
		return semshare_ring_locked_get(ring, records, count, buffer, size, timeout);
	return semshare_ring_lockless_get(ring, records, count, buffer, size, timeout);
}

/**
 * semshare_ring_put_batch - put records, in one pass
 * @ring: the handle
 * @entries: the records, in kernel memory
 * @count: how many
 * @timeout: jiffies to wait for space for the first; 0: do not wait;
 *	MAX_SCHEDULE_TIMEOUT: wait
 *
 * All that fit are put and published together; the call waits only while not
 * even the first fits.  A call puts 1024 records at the most.  Where several kernel
 * producers share a spinlock (spsc, lanes, paged) it puts 64 KiB at the most, and no
 * record that is longer, whatever the ring's own limit: interrupts are off meanwhile.
 *
 * Context: process context, sleeps, with a lock even with a timeout of 0 for an
 * instant.  Without a lock, and with a timeout of 0: any context, NMI included,
 * by a handle that has the role (semshare_ring_take_role()), if there can be one
 * producer only; in such a ring an NMI that interrupts another producer gets
 * -EAGAIN.
 * Return: how many were put, 1 to @count, or
 * -EAGAIN (@timeout is 0: locked, or no space), -ETIMEDOUT, -EINTR (signal or
 * kthread_stop()), -ENOBUFS (no space for the first, and the ring's policy is to
 * refuse: all are dropped, and counted), -EMSGSIZE (the first is too long: see above),
 * -EINVAL (@count is 0), -EPROTO (the ring is broken), -EIDRM (its set is gone),
 * -EDEADLK (called between semshare_ring_lock() and semshare_ring_unlock()),
 * -EOPNOTSUPP (called where sleeping is not allowed).  Where there can be one
 * producer only: -EBUSY (there is another), -EPERM (@timeout is 0, and this handle
 * has not taken the role).
 */
int semshare_ring_put_batch(struct semshare_ring *ring,
			    const struct semshare_ring_entry *entries,
			    unsigned int count, long timeout)
{
	if (!ring_may_call(ring, timeout, _RET_IP_))
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
 * Context: as of semshare_ring_put_batch().
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

	if (!ring_may_call(ring, timeout, _RET_IP_))
		return -EOPNOTSUPP;
	if (size > ring->port->view.max_payload)
		return -EMSGSIZE;
	entry.size = size;
	err = ring_put(ring, &entry, 1, timeout);
	return min(err, 0);
}
EXPORT_SYMBOL_GPL(semshare_ring_put);

/* Whether a record is its producer's own from when it is reserved: others need not wait for it. */
static bool ring_can_reserve(const struct semshare_ring *ring)
{
	const struct semshare_ring_variant *variant = ring->port->variant;

	return variant->reserve && variant->cancel && !(variant->roles & SEMSHARE_ROLE_PRODUCER);
}

/**
 * semshare_ring_reserve - have a place for a record, to be written where it will be read
 * @ring: the handle, of a ring without a lock that can have many producers (mpsc)
 * @size: bytes of payload
 * @place: out: @place->payload has room for so many, and is not zeroed
 * @timeout: jiffies to wait for space; 0: do not wait; MAX_SCHEDULE_TIMEOUT: wait
 *
 * To be ended by semshare_ring_commit() or semshare_ring_cancel(), in whatever
 * context, before the handle is closed; any number can be open at once.  Records are
 * taken in the order in which they were reserved: the consumer waits for this one,
 * for SEMSHARE_RING_ABANDON_MS, and then goes on without it.
 *
 * The payload is memory of user space as well: what was written there may read
 * differently a moment later.
 *
 * Context: as of semshare_ring_put_batch().
 * Return: 0, -EAGAIN (@timeout is 0: no space), -ETIMEDOUT, -EINTR, -ENOBUFS (no
 * space, and the ring's policy is to refuse: it counts as dropped), -EMSGSIZE (it can
 * never fit), -EPROTO (the ring is broken), -EIDRM (its set is gone), -EOPNOTSUPP
 * (a ring of another variant; called where sleeping is not allowed).
 */
int semshare_ring_reserve(struct semshare_ring *ring, size_t size,
			  struct semshare_ring_place *place, long timeout)
{
	if (!ring_can_reserve(ring) || !ring_may_call(ring, timeout, _RET_IP_))
		return -EOPNOTSUPP;
	return semshare_ring_lockless_reserve(ring, size, place, timeout);
}
EXPORT_SYMBOL_GPL(semshare_ring_reserve);

/**
 * semshare_ring_commit - publish a record that was reserved
 * @ring: the handle
 * @place: of semshare_ring_reserve()
 * @type: the record's tag
 * @size: bytes that were written, no more than were reserved
 *
 * Whatever is answered but -EMSGSIZE, the place is not the caller's any more.
 *
 * Context: any.
 * Return: 0; -ESTALE: the consumer did not wait so long, the record is lost, and
 * counted as abandoned; -EMSGSIZE (@size is more than any record can have);
 * -EPROTO (the ring is broken).
 */
int semshare_ring_commit(struct semshare_ring *ring, const struct semshare_ring_place *place,
			 u32 type, size_t size)
{
	if (size > ring->port->view.max_payload)
		return -EMSGSIZE;
	return semshare_ring_lockless_commit(ring, place, type, size);
}
EXPORT_SYMBOL_GPL(semshare_ring_commit);

/**
 * semshare_ring_cancel - give up a record that was reserved
 * @ring: the handle
 * @place: of semshare_ring_reserve(), not the caller's any more
 *
 * There never was a record.  Its number is missing in the sequence, and counted
 * as abandoned.
 *
 * Context: any.
 */
void semshare_ring_cancel(struct semshare_ring *ring, const struct semshare_ring_place *place)
{
	semshare_ring_lockless_cancel(ring, place);
}
EXPORT_SYMBOL_GPL(semshare_ring_cancel);

/**
 * semshare_ring_get_batch - take records, in one pass
 * @ring: the handle
 * @records: out: pointing into @buffer
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
 * Context: process context, sleeps, with a lock even with a timeout of 0 for an
 * instant.  Without a lock, and with a timeout of 0: any context, by a handle that
 * has the role; while another call is taking records it gets -EAGAIN.
 * Return: how many were taken, 1 to @count, or
 * -EAGAIN (@timeout is 0: locked, or empty), -ETIMEDOUT, -EINTR (signal or
 * kthread_stop()), -EMSGSIZE (the first does not fit; it stays in the ring),
 * -EINVAL (@count is 0), -EPROTO (the ring is broken), -EIDRM (its set is gone),
 * -EDEADLK (called between semshare_ring_lock() and semshare_ring_unlock()),
 * -EOPNOTSUPP (called where sleeping is not allowed).  Without a lock: -EBUSY
 * (there is another consumer), -EPERM (@timeout is 0, and this handle has not
 * taken the role).
 */
int semshare_ring_get_batch(struct semshare_ring *ring,
			    struct semshare_ring_record *records,
			    unsigned int count, void *buffer, size_t size, long timeout)
{
	if (!ring_may_call(ring, timeout, _RET_IP_))
		return -EOPNOTSUPP;
	return ring_get(ring, records, count, buffer, size, timeout);
}
EXPORT_SYMBOL_GPL(semshare_ring_get_batch);

/**
 * semshare_ring_get - take one record
 * @ring: the handle
 * @head: out: what stands beside its payload: size, type, position, sequence and
 *	time_ns; may be NULL
 * @payload: kernel memory for its bytes
 * @size: how many there is room for
 * @timeout: as in semshare_ring_get_batch()
 *
 * Context: as of semshare_ring_get_batch().
 * Return: the bytes of its payload, or an error as of semshare_ring_get_batch().
 */
ssize_t semshare_ring_get(struct semshare_ring *ring, struct semshare_record *head, void *payload,
			  size_t size, long timeout)
{
	struct semshare_ring_record record;
	int read;

	if (!ring_may_call(ring, timeout, _RET_IP_))
		return -EOPNOTSUPP;
	read = ring_get(ring, &record, 1, payload, size, timeout);
	if (read < 0)
		return read;
	if (head)
		*head = record.head;
	return record.head.size;
}
EXPORT_SYMBOL_GPL(semshare_ring_get);

/* -------------------------------------------------------------------- handle */

/**
 * semshare_ring_take_role - be the producer, or the consumer
 * @ring: the handle
 * @role: SEMSHARE_ROLE_PRODUCER or SEMSHARE_ROLE_CONSUMER
 *
 * Where there can be one only it is who has taken a semaphore of the set.  The
 * kernel is one party: its handles share the role, which goes with the last of
 * them that has it.  A process that dies gives it back by SEM_UNDO.
 *
 * A call that may wait takes the role by itself; one that does not, and may be
 * made from anywhere, finds it taken, or not.  Where there can be many there is
 * nothing to take.
 *
 * Context: process context, sleeps.
 * Return: 0, -EBUSY (a process has the role), -EINVAL (@role), -EPROTO (the ring is
 * broken), -EIDRM (its set is gone), -EOPNOTSUPP (called where sleeping is not
 * allowed).
 */
int semshare_ring_take_role(struct semshare_ring *ring, u32 role)
{
	if (!semshare_may_sleep(_RET_IP_))
		return -EOPNOTSUPP;
	if (role != SEMSHARE_ROLE_PRODUCER && role != SEMSHARE_ROLE_CONSUMER)
		return -EINVAL;
	if (!(ring->port->variant->roles & role))
		return 0;
	return semshare_ring_lockless_take_role(ring, role);
}
EXPORT_SYMBOL_GPL(semshare_ring_take_role);

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
 * behind its start; the longest payload is semshare_ring_max_payload(capacity), or
 * what the ring was made with (mpsc).
 *
 * Return: the kernel's own copy, that of the ring when it was first opened.
 */
u64 semshare_ring_capacity(struct semshare_ring *ring)
{
	return ring->port->view.capacity;
}
EXPORT_SYMBOL_GPL(semshare_ring_capacity);

/* Could this handle have a record?  1, 0, or -EAGAIN: somebody else is in the way. */
static int ring_has_data(struct semshare_ring *ring, bool seems_so)
{
	if (!ring->port->variant->locked)
		return semshare_ring_lockless_has_data(ring);
	return ring->shut_out ? -EAGAIN : seems_so;
}

/**
 * semshare_ring_status - how full a ring is, what became of its records, whether it is broken
 * @ring: the handle
 * @status: out
 *
 * Looks at the control page, and in a ring of pages at each of them, which takes some
 * milliseconds where they are small and many: their number is the user's choice.
 *
 * Context: any; of a ring of pages, process context.
 */
void semshare_ring_status(struct semshare_ring *ring, struct semshare_ring_status *status)
{
	const struct semshare_ring_port *port = ring->port;
	struct semshare_ring_counts counts;

	semshare_ring_count(port, &counts);
	status->capacity = port->view.capacity;
	status->used = min(counts.tail - counts.head, status->capacity);
	status->puts = counts.puts;
	status->gets = counts.gets;
	memcpy(status->drops, counts.drops, sizeof(status->drops));
	status->broken = READ_ONCE(ring->area->ring.broken);
	/* What a user says who found out first, as the next call would. */
	if (status->broken == SEMSHARE_RING_OK &&
	    semshare_load(&port->view.control->state) != SEMSHARE_RING_OK)
		status->broken = SEMSHARE_RING_BROKEN;
}
EXPORT_SYMBOL_GPL(semshare_ring_status);

/**
 * semshare_ring_arm - be told when there may be a record, or space
 * @ring: the handle
 * @events: SEMSHARE_EVENT_DATA, SEMSHARE_EVENT_SPACE
 *
 * For a client that does not sleep in this ring, but has a listener
 * (semshare_area_listen()).  Whoever moves the ring on calls it then, once; so
 * after each call, and at first, take what there is, arm, and if there is
 * something already, take that too:
 *
 *	for (turns = 0; turns < 64; turns++) {
 *		size = semshare_ring_get(ring, …, 0);
 *		if (size >= 0)
 *			…;
 *		else if (size != -EAGAIN || !semshare_ring_arm(ring, SEMSHARE_EVENT_DATA))
 *			return;
 *	}
 *	semshare_area_notify(area, SEMSHARE_EVENT_DATA);
 *
 * Not for as long as there is something: who puts records as fast as they are
 * taken, or makes words of the ring say so, would keep the listener, and those
 * behind it, for ever.  The last line has it called again, after the others.
 *
 * SEMSHARE_EVENT_DATA is there if this handle could have it now.  A ring that only
 * looks as if it had some (its lock, or its next slot, is somebody else's, or a
 * word lies) has the listener called again after a tick.
 *
 * Context: any.
 * Return: those of @events that are there already.
 */
u32 semshare_ring_arm(struct semshare_ring *ring, u32 events)
{
	const struct semshare_ring_port *port = ring->port;
	const bool puts = READ_ONCE(ring->roles) & SEMSHARE_ROLE_PRODUCER;
	u32 ready, later = 0;
	int data;

	events &= SEMSHARE_EVENT_DATA | SEMSHARE_EVENT_SPACE;
	semshare_notify_arm(ring->area, events);
	ready = semshare_ring_ready(port, puts ? port->lane : SEMSHARE_RING_ANY_LANE);
	if (events & SEMSHARE_EVENT_DATA) {
		data = ring_has_data(ring, ready & SEMSHARE_EVENT_DATA);
		if (data == -EAGAIN)
			later = ready & SEMSHARE_EVENT_DATA;
		ready = data > 0 ? ready | SEMSHARE_EVENT_DATA : ready & ~SEMSHARE_EVENT_DATA;
	}
	/* The next call may find that out; but if it does not, not all the time. */
	if (ready & SEMSHARE_EVENT_BROKEN)
		later |= events & ~ready;
	if (later)
		semshare_notify_later(ring->area, later);
	return ready & events;
}
EXPORT_SYMBOL_GPL(semshare_ring_arm);

/* ----------------------------------------------------------- open and close */

static struct semshare_ring_common *ring_common_alloc(const struct semshare_area *area)
{
	struct semshare_ring_common *common = kzalloc(sizeof(*common), GFP_KERNEL_ACCOUNT);

	if (!common)
		return NULL;
	raw_spin_lock_init(&common->put);
	common->port.is_dead = semshare_ring_lockless_is_dead;
	/* Who writes into slots is not told which pids of other namespaces there are. */
	common->port.ns = ns_of_pid(area->creator)->ns.inum;
	return common;
}

static void ring_common_publish(struct semshare_area *area, struct semshare_ring_common *common)
{
	lockdep_assert_held(&area->mutex);
	/* Pairs with semshare_notify(), which looks for a ring. */
	smp_store_release(&area->ring.common, common);
}

/* The area's geometry, which the first who asks finds out and all others take. */
static struct semshare_ring_common *ring_common(struct semshare_area *area)
{
	struct semshare_ring_common *common = area->ring.common;
	int err;

	lockdep_assert_held(&area->mutex);
	if (common)
		return common;
	common = ring_common_alloc(area);
	if (!common)
		return ERR_PTR(-ENOMEM);
	err = semshare_ring_check(&common->port, area->data, area->size);
	if (err) {
		kfree(common);
		return ERR_PTR(err);
	}
	if (common->port.variant->user_only) {
		kfree(common);
		return ERR_PTR(-EOPNOTSUPP);
	}
	ring_common_publish(area, common);
	return common;
}

/**
 * semshare_ring_of - the ring that an area holds, to look at from outside
 * @area: the area
 *
 * Context: process context, sleeps.
 * Return: its view, or NULL if there is none (yet).
 */
const struct semshare_ring_port *semshare_ring_of(struct semshare_area *area)
{
	/* Pairs with ring_common_publish(). */
	struct semshare_ring_common *common = smp_load_acquire(&area->ring.common);

	if (!common && area->size >= SEMSHARE_RING_CONTROL_SIZE) {
		mutex_lock(&area->mutex);
		common = ring_common(area);
		mutex_unlock(&area->mutex);
	}
	return IS_ERR_OR_NULL(common) ? NULL : &common->port;
}

static int ring_share(struct semshare_ring *ring)
{
	struct semshare_ring_common *common;

	if (ring->area->ring.broken)
		return -EPROTO;
	common = ring_common(ring->area);
	if (IS_ERR(common))
		return PTR_ERR(common);
	ring->port = &common->port;
	if (common->port.variant->locked) {
		ring->own = common->port;
		ring->port = &ring->own;
	}
	ring->lock.state = &ring->port->view.control->lock;
	if (!semshare_ring_is_guarded(ring))
		return ring->port->variant->locked ? 0 : -EINVAL;
	return ring->area->facts.nsems < ring->port->variant->nsems ? -EPROTO : 0;
}

/**
 * semshare_ring_open - a handle of the ring that an area holds
 * @area: the area; the handle takes a reference of its own
 * @flags: SEMSHARE_RING_OPEN_UNLOCKED: use it without its lock, which loses and
 *	tears records, to show what the lock is for
 *
 * A handle belongs to one thread at a time; an area has as many as it likes.  But
 * one of a ring without a lock may be used by any number at once for calls that
 * do not wait.  Current must be allowed to alter the set; who uses the handle later need not.
 *
 * Context: process context, sleeps.
 * Return: the handle, or -EINVAL (flags, or a ring that has no lock to do without),
 * -ENOMEM, -ENXIO (no set is bound to the area), -EAGAIN (no ring in the area, yet),
 * -EPROTO (no ring of this ABI, one that does not fit, or a broken one), -EIDRM (its
 * set is gone), -EACCES
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
	err = 0;
	mutex_lock(&area->mutex);
	if (semshare_ring_is_guarded(ring))
		err = semshare_lock_open(&ring->lock, area, SEMSHARE_RING_NSEMS,
					 &area->ring.broken);
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
	struct semshare_ring_common *common;
	int semid;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (!semshare_ring_params_payload(params) || mode & ~0666 ||
	    area->size < SEMSHARE_RING_CONTROL_SIZE ||
	    params->capacity > area->size - SEMSHARE_RING_CONTROL_SIZE)
		return ERR_PTR(-EINVAL);
	if (semshare_ring_variant(params->variant)->user_only)
		return ERR_PTR(-EOPNOTSUPP);
	if (semshare_load(&control->magic))
		return ERR_PTR(-EEXIST);
	common = ring_common_alloc(area);
	if (!common)
		return ERR_PTR(-ENOMEM);
	semid = semshare_area_make_set(area, semshare_ring_variant(params->variant)->nsems, mode);
	if (semid < 0) {
		kfree(common);
		return ERR_PTR(semid);
	}

	mutex_lock(&area->mutex);
	err = area->ring.common ? -EEXIST : 0;
	if (!err) {
		memset(control, 0, sizeof(*control));
		err = semshare_ring_format(control, params, semid, area->key, area->name);
	}
	if (!err) {
		/* Of what was asked for, whatever stands in the control page by now. */
		semshare_ring_open_port(&common->port, control, params);
		ring_common_publish(area, common);
	}
	mutex_unlock(&area->mutex);
	if (err)
		kfree(common);
	/* The set is the area's by now and goes with it. */
	return err ? ERR_PTR(err) : semshare_ring_open(area, 0);
}
EXPORT_SYMBOL_GPL(semshare_ring_create);

/**
 * semshare_ring_close - give a handle back
 * @ring: the handle, not in use; its lock and its roles, if it has them, are given
 *	back
 *
 * Context: process context, sleeps.
 */
void semshare_ring_close(struct semshare_ring *ring)
{
	if (ring->held)
		semshare_ring_unlock(ring);
	if (ring->roles)
		semshare_ring_lockless_give_roles(ring);
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

	cmpxchg(&area->ring.broken, SEMSHARE_RING_OK, SEMSHARE_RING_DESTROYED);
	semshare_ring_tell_broken(ring->port->view.control, SEMSHARE_RING_DESTROYED);
	semshare_notify_pollers(area, SEMSHARE_NOTIFY_BROKEN);
	if (!semshare_area_remove_set(area) && semshare_ring_is_guarded(ring)) {
		semshare_lock_hint(&ring->lock, SEMSHARE_SEM_DATA);
		semshare_lock_hint(&ring->lock, SEMSHARE_SEM_SPACE);
	}
	semshare_area_hide(area);
	semshare_ring_close(ring);
}
EXPORT_SYMBOL_GPL(semshare_ring_destroy);
