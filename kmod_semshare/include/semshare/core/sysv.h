/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The SysV-locked ring: what is done inside the lock, for the module and for
 * user space alike.  Taking the lock, sleeping and waking are each side's own.
 *
 * Every function here runs while the caller owns semaphore 0 of the ring's
 * set and has called semshare_lock_enter().  So plain loads and stores would
 * do between honest parties.  Two things are added:
 *
 *  - A party may be killed between any two instructions.  A put writes the
 *    record first and stores tail last, with release; a get copies the record
 *    first and stores head last.  The one 8-byte store is the commit.
 *
 *  - A party may lie, or another owner may be inside because somebody reset
 *    the semaphore.  Each cursor is loaded once (semshare_sysv_look()),
 *    checked against the caller's private geometry, and only the checked copy
 *    is used; a record header is copied, checked and then used.  No access
 *    leaves data[0, capacity) whatever the shared words say.
 *
 * Memory order.  One owner's stores are the next one's because the semaphore is
 * the kernel's, and changed under a spinlock:
 *
 *	an owner			the next
 *
 *	   STORE records, cursors	B  semop(-1): the lock is taken
 *	A  semop(+1): its lock is given	   LOAD cursors, records
 *
 *	A with B	both with the kernel's lock of the semaphore; a sleeper that is
 *			handed the semaphore acquires what its waker released; where
 *			SEM_UNDO gives it back, the exit of the killed one is A
 *
 * So the releases below have no acquire that they pair with.  They keep record
 * and cursor in order in the program, hence in what a killed owner has done; and
 * for parties without the lock (the demo's --unlocked, a fill level) in memory.
 */
#ifndef SEMSHARE_CORE_SYSV_H
#define SEMSHARE_CORE_SYSV_H

#include <semshare/core/ring.h>

/* The cursors of one pass: loaded once, checked, then used. */
struct semshare_sysv_cursors {
	__u64 head;
	__u64 tail;
	__u64 sequence;
};

/**
 * semshare_sysv_look - load the cursors, once, and check them
 * @view: the ring
 * @at: out
 *
 * Return: 0, or -EPROTO if they cannot be those of a ring.
 */
static inline int semshare_sysv_look(const struct semshare_ring_view *view,
				     struct semshare_sysv_cursors *at)
{
	at->head = semshare_load(&view->control->head);
	at->tail = semshare_load(&view->control->tail);
	at->sequence = semshare_load(&view->control->sequence);
	if (at->tail - at->head > view->capacity ||
	    (at->head | at->tail) & (SEMSHARE_RING_ALIGN - 1))
		return -EPROTO;
	return 0;
}

static inline void semshare_sysv_copy_in(const struct semshare_ring_view *view,
					 __u64 position, const void *from, __u64 size)
{
	__u64 at = position & (view->capacity - 1);
	__u64 first = view->capacity - at;

	if (first > size)
		first = size;
	memcpy(view->data + at, from, first);
	memcpy(view->data, (const unsigned char *)from + first, size - first);
}

static inline void semshare_sysv_copy_out(const struct semshare_ring_view *view,
					  __u64 position, void *to, __u64 size)
{
	__u64 at = position & (view->capacity - 1);
	__u64 first = view->capacity - at;

	if (first > size)
		first = size;
	semshare_copy(to, view->data + at, first);
	semshare_copy((unsigned char *)to + first, view->data, size - first);
}

/*
 * Write one record behind at->tail, which moves on.  It is not published yet.
 * 0; -EAGAIN: there is no space now.
 */
static inline int semshare_sysv_write(const struct semshare_ring_view *view,
				      struct semshare_sysv_cursors *at,
				      const struct semshare_ring_entry *entry, __u64 time_ns)
{
	__u64 footprint = semshare_ring_footprint(entry->size);
	struct semshare_record record;

	if (footprint > view->capacity - (at->tail - at->head))
		return -EAGAIN;
	record.size = entry->size;
	record.type = entry->type;
	record.position = at->tail;
	record.sequence = at->sequence++;
	record.time_ns = time_ns;
	/* Headers are aligned to their size: never split. */
	memcpy(view->data + (at->tail & (view->capacity - 1)), &record, sizeof(record));
	semshare_sysv_copy_in(view, at->tail + sizeof(record), entry->payload, entry->size);
	at->tail += footprint;
	return 0;
}

/*
 * Commit what was written.  The sequence goes first: a producer killed between
 * the two leaves a gap, and no number twice.  The release makes the records
 * visible before the tail to whoever looks without the lock (a fill level);
 * owners are ordered by the semaphore.
 */
static inline void semshare_sysv_publish(const struct semshare_ring_view *view,
					 const struct semshare_sysv_cursors *at,
					 __u64 records, __u64 bytes)
{
	struct semshare_ring_control *control = view->control;

	semshare_store(&control->sequence, at->sequence);
	semshare_store_release(&control->tail, at->tail);
	semshare_store(&control->puts, semshare_load(&control->puts) + records);
	semshare_store(&control->put_bytes, semshare_load(&control->put_bytes) + bytes);
}

static inline void semshare_sysv_count_drops(const struct semshare_ring_view *view,
					     enum semshare_ring_drop cause, __u64 records)
{
	__u64 *drops = &view->control->drops[cause];

	semshare_store(drops, semshare_load(drops) + records);
}

/**
 * semshare_sysv_peek - copy and check the header of the record at at->head
 * @view: the ring
 * @at: from semshare_sysv_look()
 * @record: out
 *
 * Return: 0; -EAGAIN if the ring is empty; -EPROTO if there is no record.
 */
static inline int semshare_sysv_peek(const struct semshare_ring_view *view,
				     const struct semshare_sysv_cursors *at,
				     struct semshare_record *record)
{
	if (at->head == at->tail)
		return -EAGAIN;
	semshare_copy(record, view->data + (at->head & (view->capacity - 1)),
		      sizeof(*record));
	if (record->position != at->head || record->size > view->max_payload ||
	    semshare_ring_footprint(record->size) > at->tail - at->head)
		return -EPROTO;
	return 0;
}

/**
 * semshare_sysv_read - copy the payload of the record at at->head
 * @view: the ring
 * @at: its head moves on
 * @record: from semshare_sysv_peek()
 * @payload: record->size bytes
 *
 * The record is not taken before semshare_sysv_consume().
 */
static inline void semshare_sysv_read(const struct semshare_ring_view *view,
				      struct semshare_sysv_cursors *at,
				      const struct semshare_record *record,
				      void *payload)
{
	semshare_sysv_copy_out(view, at->head + sizeof(*record), payload, record->size);
	at->head += semshare_ring_footprint(record->size);
}

/**
 * semshare_sysv_consume - commit what was read
 * @view: the ring
 * @at: the cursors after the reads
 * @records: how many records were read
 *
 * The release orders the copies before the head: once it has moved, a producer
 * may write there.
 */
static inline void semshare_sysv_consume(const struct semshare_ring_view *view,
					 const struct semshare_sysv_cursors *at,
					 __u64 records)
{
	struct semshare_ring_control *control = view->control;

	semshare_store_release(&control->head, at->head);
	semshare_store(&control->gets, semshare_load(&control->gets) + records);
}

/*
 * Drop the oldest records until there are @space bytes.  Everything written has
 * been published.  0 or -EPROTO.
 *
 * The head goes before anything is written where they were, so that a producer
 * killed over that leaves no torn record at the head.
 */
static inline int semshare_sysv_overwrite(const struct semshare_ring_view *view,
					  struct semshare_sysv_cursors *at, __u64 space)
{
	struct semshare_record record;
	__u64 records = 0;

	while (view->capacity - (at->tail - at->head) < space) {
		if (semshare_sysv_peek(view, at, &record))
			return -EPROTO;
		at->head += semshare_ring_footprint(record.size);
		records++;
	}
	semshare_sysv_count_drops(view, SEMSHARE_DROP_OVERWRITTEN, records);
	semshare_store_release(&view->control->head, at->head);
	semshare_before_kill();
	return 0;
}

/**
 * semshare_sysv_put_all - put records, as many as there is space for
 * @view: the ring
 * @at: from semshare_sysv_look(); moves on
 * @entries: the records
 * @count: how many; where the policy is to drop, all are put or dropped
 * @time_ns: CLOCK_MONOTONIC
 * @done: out: how many were put
 *
 * What was put is published.
 *
 * Return: 0: all; -EAGAIN: there is no space for the next, which the policy is to
 * wait for; -ENOBUFS: there was no space for the others, which are dropped;
 * -EMSGSIZE: the next can never fit; -EPROTO: the ring makes no sense.
 */
static inline int semshare_sysv_put_all(const struct semshare_ring_view *view,
					struct semshare_sysv_cursors *at,
					const struct semshare_ring_entry *entries,
					size_t count, __u64 time_ns, size_t *done)
{
	size_t published = 0, n = 0;
	__u64 bytes = 0;
	int err = 0;

	while (n < count && !err) {
		if (entries[n].size > view->max_payload) {
			err = -EMSGSIZE;
			break;
		}
		err = semshare_sysv_write(view, at, &entries[n], time_ns);
		if (!err) {
			bytes += entries[n++].size;
		} else if (view->policy == SEMSHARE_RING_OVERWRITE) {
			if (n > published)
				semshare_sysv_publish(view, at, n - published, bytes);
			published = n;
			bytes = 0;
			err = semshare_sysv_overwrite(view, at,
						      semshare_ring_footprint(entries[n].size));
		}
	}
	if (n > published)
		semshare_sysv_publish(view, at, n - published, bytes);
	if (err == -EAGAIN && view->policy == SEMSHARE_RING_REFUSE) {
		at->sequence += count - n;
		semshare_store(&view->control->sequence, at->sequence);
		semshare_sysv_count_drops(view, SEMSHARE_DROP_REFUSED, count - n);
		err = -ENOBUFS;
	}
	*done = n;
	return err;
}

/**
 * semshare_sysv_repair - put a ring right whose last owner died inside
 * @view: the ring
 *
 * The commits are single stores, so head and tail are right as they are; a
 * wake-up may be missing, so everybody who may sleep is taken to sleep.
 *
 * Return: 0, or -EPROTO if the cursors cannot be those of a ring.
 */
static inline int semshare_sysv_repair(const struct semshare_ring_view *view)
{
	struct semshare_ring_control *control = view->control;
	struct semshare_sysv_cursors at;

	semshare_store(&control->repairs, semshare_load(&control->repairs) + 1);
	semshare_store(&control->need_data, 1);
	semshare_store(&control->need_space, 1);
	return semshare_sysv_look(view, &at);
}

/*
 * Sleeping and waking.
 *
 * A consumer that finds nothing sets need_data under the lock, gives the lock
 * back and sleeps on semaphore DATA, at most SEMSHARE_RING_RECHECK_MS at a
 * time.  A producer that has published and finds need_data set clears it and
 * gives the mutex back together with the hint, in one semop:
 *
 *	{MUTEX, +1, SEM_UNDO}, {DATA, 0, IPC_NOWAIT}, {DATA, +1}
 *
 * The middle operation caps the hint at one; where it fails (EAGAIN) a wake-up
 * is under way already and the mutex is given back alone.  The hint wakes one
 * sleeper.  That one passes it on: having slept, it sets need_data again (there
 * may be others behind it) and, if it leaves records, gives the hint itself.
 * So a wake-up is lost only with a killed process, and then the next look at
 * the cursors comes after SEMSHARE_RING_RECHECK_MS.  SPACE is the same with
 * the sides exchanged.
 */

#endif /* SEMSHARE_CORE_SYSV_H */
