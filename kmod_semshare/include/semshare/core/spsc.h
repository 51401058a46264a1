/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The ring of one producer and one consumer: a circular buffer of bytes with a
 * head and a tail, each written by one side.
 *
 * Who writes what:
 *
 *	words->tail	the producer: position behind the newest record
 *	words->head	the consumer: position of the oldest record; and the producer
 *			as well, where the policy is to overwrite: both by cmpxchg
 *	data		the producer, from tail to head + capacity
 *
 * A position is a count of bytes; it never wraps, its place is position &
 * (capacity - 1).  Records start at multiples of SEMSHARE_RING_ALIGN, the size of
 * their header, and lie in one piece: where one does not fit before the end of
 * the buffer, a header with SEMSHARE_SPSC_SKIP for its size fills the rest.
 *
 * Memory order:
 *
 *	producer			consumer
 *
 *	B  LOAD.acquire head		D  LOAD.acquire tail
 *	   STORE record			   LOAD record
 *	C  STORE.release tail		A  STORE.release head
 *
 *	C with D	the record is complete, where the tail says there is one
 *	A with B	it is copied, where the head says there is space
 *
 * A store does not overtake the load of the cursor that allows it, on any
 * processor; B is there for the compiler, which may know less.
 *
 * Nothing that a side has done is there for the other before it moves its
 * cursor: killed before that it has done nothing, and nobody waits for it.
 *
 * Where the oldest records are overwritten, the head says of whom a record is.  The
 * consumer copies it and then takes it; the producer takes it and then writes over
 * it; both take by a cmpxchg of the head:
 *
 *	consumer			producer
 *
 *	   LOAD.acquire tail		   STORE.release tail
 *	   copy the record		F  cmpxchg head, over the oldest record;
 *	E  cmpxchg head, over it	   if that fails, LOAD.acquire head
 *					   write where that record was
 *	where it makes no sense, or E fails:
 *	G  full barrier
 *	H  LOAD.acquire head
 *	   LOAD.acquire tail
 *
 *	E with F	one is first.  If it is E, it has released (the copy comes before
 *			it) what F, or the load after it, acquires (what is written comes
 *			after it): the copy is whole.  If it is F, E fails, and the copy,
 *			whatever is in it, does not count
 *	F with G	what is no record was overwritten: the head has moved.  One that
 *			has not is a lie
 *	F with H	all there was had been published: the tail is not before that
 *			head.  So also for a consumer that begins
 *
 * The head only grows, so a head that is the same is the same record.
 *
 * Each side keeps its own cursor, and what it last saw of the other's, to itself:
 * the other's line is read only when the ring seems full, or empty.  What is
 * read there may be a lie, so it is checked; nothing here leaves the data for it.
 */
#ifndef SEMSHARE_CORE_SPSC_H
#define SEMSHARE_CORE_SPSC_H

#include <semshare/core/ring.h>

#define SEMSHARE_SPSC_SKIP	0xffffffffu

/**
 * struct semshare_spsc - the ring as one side sees it
 * @words: shared
 * @data: shared
 * @capacity: bytes of @data, a power of two
 * @cursor: its own: of the producer the tail, of the consumer the head
 * @seen: of the other's, when last it was looked at
 * @sequence: the producer's: of the next record
 * @head: the consumer's: what @words->head was when last it was known
 * @overwrite: a put that finds no space drops the oldest records
 */
struct semshare_spsc {
	struct semshare_spsc_words *words;
	unsigned char *data;
	__u64 capacity;
	__u64 cursor;
	__u64 seen;
	__u64 sequence;
	__u64 head;
	int overwrite;
};

/**
 * semshare_spsc_begin_put - become the producer
 * @spsc: with @words, @data, @capacity and @overwrite
 *
 * There must be no other.  Return: 0 or -EPROTO.
 */
static inline int semshare_spsc_begin_put(struct semshare_spsc *spsc)
{
	spsc->cursor = semshare_load(&spsc->words->tail);
	spsc->seen = semshare_load_acquire(&spsc->words->head);		/* B, with A */
	spsc->sequence = semshare_load(&spsc->words->sequence);
	if (spsc->cursor - spsc->seen > spsc->capacity ||
	    spsc->cursor & (SEMSHARE_RING_ALIGN - 1))
		return -EPROTO;
	return 0;
}

/* Publish what was written. */
static inline void semshare_spsc_publish(struct semshare_spsc *spsc)
{
	semshare_store(&spsc->words->sequence, spsc->sequence);
	semshare_store_release(&spsc->words->tail, spsc->cursor);	/* C, with D */
}

/*
 * Drop the oldest records until there are @space bytes behind the cursor.  All that
 * was written is published first, so that the oldest is not one of those.  Each
 * turn the head moves on by a record's footprint at least, by us or by the consumer,
 * and no further than @space bytes: that is the bound.  0 or -EPROTO.
 */
static inline int semshare_spsc_overwrite(struct semshare_spsc *spsc, __u64 space)
{
	struct semshare_spsc_words *words = spsc->words;
	__u64 head = spsc->seen, turns, length;
	struct semshare_record record;

	semshare_spsc_publish(spsc);
	for (turns = space / SEMSHARE_RING_ALIGN + 1; turns; turns--) {
		__u64 at = head & (spsc->capacity - 1);

		if (spsc->cursor - head > spsc->capacity || head & (SEMSHARE_RING_ALIGN - 1))
			return -EPROTO;
		if (spsc->cursor + space - head <= spsc->capacity) {
			spsc->seen = head;
			return 0;
		}
		semshare_copy(&record, spsc->data + at, sizeof(record));
		length = record.size == SEMSHARE_SPSC_SKIP ? spsc->capacity - at :
							     semshare_ring_footprint(record.size);
		if (record.position != head || length > spsc->cursor - head)
			return -EPROTO;
		if (!semshare_try_cmpxchg(&words->head, &head, head + length)) {	/* F */
			/* E was first: what we write comes after its copy. */
			head = semshare_load_acquire(&words->head);
			continue;
		}
		head += length;
		if (record.size != SEMSHARE_SPSC_SKIP)
			semshare_store(&words->overwritten, semshare_load(&words->overwritten) + 1);
	}
	return -EPROTO;
}

/**
 * semshare_spsc_reserve - have a place for a record
 * @spsc: the producer's
 * @size: bytes of payload
 *
 * Nothing is there for the consumer before semshare_spsc_publish(), and nothing
 * has to be given back.
 *
 * Return: the place, size bytes of payload behind a header; NULL and *@error:
 * -EMSGSIZE, -EAGAIN: no space, -EPROTO.
 */
static __always_inline struct semshare_record *
semshare_spsc_reserve(struct semshare_spsc *spsc, __u64 size, int *error)
{
	__u64 at = spsc->cursor & (spsc->capacity - 1);
	__u64 footprint = semshare_ring_footprint(size);
	__u64 rest = spsc->capacity - at, skip;

	if (size > semshare_ring_max_payload(spsc->capacity)) {
		*error = -EMSGSIZE;
		return NULL;
	}
	skip = footprint > rest ? rest : 0;
	if (spsc->cursor + skip + footprint - spsc->seen > spsc->capacity) {
		spsc->seen = semshare_load_acquire(&spsc->words->head);	/* B, with A */
		if (spsc->cursor - spsc->seen > spsc->capacity) {
			*error = -EPROTO;
			return NULL;
		}
		if (spsc->cursor + skip + footprint - spsc->seen > spsc->capacity) {
			*error = spsc->overwrite ? semshare_spsc_overwrite(spsc, skip + footprint) :
						   -EAGAIN;
			if (*error)
				return NULL;
		}
	}
	if (skip) {
		struct semshare_record *filler = (struct semshare_record *)(spsc->data + at);

		semshare_plain_store(&filler->size, SEMSHARE_SPSC_SKIP);
		semshare_plain_store(&filler->position, spsc->cursor);
		spsc->cursor += skip;
		at = 0;
	}
	return (struct semshare_record *)(spsc->data + at);
}

/**
 * semshare_spsc_write - the record that was reserved is complete
 * @spsc: the producer's
 * @record: of semshare_spsc_reserve()
 * @size: its bytes, no more than were reserved
 * @type: its tag
 * @time_ns: CLOCK_MONOTONIC
 */
static inline void semshare_spsc_write(struct semshare_spsc *spsc, struct semshare_record *record,
				       __u32 size, __u32 type, __u64 time_ns)
{
	semshare_plain_store(&record->size, size);
	semshare_plain_store(&record->type, type);
	semshare_plain_store(&record->position, spsc->cursor);
	semshare_plain_store(&record->sequence, spsc->sequence++);
	semshare_plain_store(&record->time_ns, time_ns);
	spsc->cursor += semshare_ring_footprint(size);
}

/* A record that is not put for want of space: it is counted, and leaves a gap in the sequence. */
static inline void semshare_spsc_drop(struct semshare_spsc *spsc)
{
	semshare_store(&spsc->words->refused, semshare_load(&spsc->words->refused) + 1);
	semshare_store(&spsc->words->sequence, ++spsc->sequence);
}

/**
 * semshare_spsc_put_all - put records, as many as there is space for, or is made
 * @spsc: the producer's
 * @policy: enum semshare_ring_policy
 * @entries: the records
 * @count: how many
 * @time_ns: CLOCK_MONOTONIC
 * @done: out: how many were put, and published
 *
 * Return: as semshare_sysv_put_all().
 */
static inline int semshare_spsc_put_all(struct semshare_spsc *spsc, __u32 policy,
					const struct semshare_ring_entry *entries, size_t count,
					__u64 time_ns, size_t *done)
{
	struct semshare_record *record;
	int err = 0;
	size_t n;

	for (n = 0; n < count; n++) {
		record = semshare_spsc_reserve(spsc, entries[n].size, &err);
		if (!record)
			break;
		semshare_copy_payload(record + 1, entries[n].payload, entries[n].size);
		semshare_spsc_write(spsc, record, entries[n].size, entries[n].type, time_ns);
	}
	if (n)
		semshare_spsc_publish(spsc);
	*done = n;
	if (err == -EAGAIN && policy == SEMSHARE_RING_REFUSE) {
		for (; n < count; n++)
			semshare_spsc_drop(spsc);
		err = -ENOBUFS;
	}
	return err;
}

/**
 * semshare_spsc_reserve_payload - semshare_spsc_reserve(), by the policy
 * @spsc: the producer's
 * @policy: enum semshare_ring_policy
 * @size: bytes of payload
 * @payload: out: its place
 *
 * Return: 0; -ENOBUFS: it was dropped; and as semshare_spsc_reserve().
 */
static inline int semshare_spsc_reserve_payload(struct semshare_spsc *spsc, __u32 policy,
						__u64 size, void **payload)
{
	int err = 0;
	struct semshare_record *record = semshare_spsc_reserve(spsc, size, &err);

	if (record) {
		*payload = record + 1;
	} else if (err == -EAGAIN && policy == SEMSHARE_RING_REFUSE) {
		semshare_spsc_drop(spsc);
		err = -ENOBUFS;
	}
	return err;
}

/* Publish the one record of semshare_spsc_reserve_payload(). */
static inline void semshare_spsc_commit(struct semshare_spsc *spsc, void *payload, __u32 size,
					__u32 type, __u64 time_ns)
{
	semshare_spsc_write(spsc, (struct semshare_record *)payload - 1, size, type, time_ns);
	semshare_spsc_publish(spsc);
}

/**
 * semshare_spsc_begin_get - become the consumer
 * @spsc: with @words, @data, @capacity and @overwrite
 *
 * There must be no other.  Return: 0 or -EPROTO.
 */
static inline int semshare_spsc_begin_get(struct semshare_spsc *spsc)
{
	/* H, with F.  The consumer before is ordered by the semaphore of the role. */
	spsc->cursor = semshare_load_acquire(&spsc->words->head);
	spsc->head = spsc->cursor;
	spsc->seen = spsc->cursor;
	return spsc->cursor & (SEMSHARE_RING_ALIGN - 1) ? -EPROTO : 0;
}

/*
 * What stands at the cursor is no record.  1: it was overwritten while we looked,
 * and the cursor is where the oldest is now; 0: it is a lie.
 */
static inline int semshare_spsc_was_overtaken(struct semshare_spsc *spsc)
{
	__u64 head;

	if (!spsc->overwrite)
		return 0;
	/* What was read there comes before the head that is read now, and that before the tail. */
	semshare_full_barrier();				/* G, with F */
	head = semshare_load_acquire(&spsc->words->head);	/* H, with F */
	if (head == spsc->head || head & (SEMSHARE_RING_ALIGN - 1))
		return 0;
	spsc->head = head;
	spsc->cursor = head;
	spsc->seen = head;
	return 1;
}

/* Copy the head of the record at the cursor, and check it.  0, -EAGAIN, -EPROTO */
static inline int semshare_spsc_look(struct semshare_spsc *spsc, struct semshare_record *record)
{
	__u64 at = spsc->cursor & (spsc->capacity - 1);
	__u64 footprint;

	if (spsc->cursor == spsc->seen) {
		spsc->seen = semshare_load_acquire(&spsc->words->tail);	/* D, with C */
		if (spsc->seen == spsc->cursor)
			return -EAGAIN;
		if (spsc->seen - spsc->cursor > spsc->capacity ||
		    spsc->seen & (SEMSHARE_RING_ALIGN - 1))
			return -EPROTO;
	}
	semshare_copy(record, spsc->data + at, sizeof(*record));
	if (record->size == SEMSHARE_SPSC_SKIP) {
		if (record->position != spsc->cursor ||
		    spsc->capacity - at > spsc->seen - spsc->cursor)
			return -EPROTO;
		spsc->cursor += spsc->capacity - at;
		if (spsc->cursor == spsc->seen)
			return -EAGAIN;
		at = 0;
		semshare_copy(record, spsc->data, sizeof(*record));
	}
	if (record->position != spsc->cursor ||
	    record->size > semshare_ring_max_payload(spsc->capacity))
		return -EPROTO;
	footprint = semshare_ring_footprint(record->size);
	if (footprint > spsc->seen - spsc->cursor || footprint > spsc->capacity - at)
		return -EPROTO;
	return 0;
}

/* A producer that overtakes the consumer so often in one look leaves it nothing for now. */
#define SEMSHARE_SPSC_LOOKS	16

/**
 * semshare_spsc_peek - look at the oldest record that was not yet read
 * @spsc: the consumer's
 * @record: out: a copy of its head, checked
 *
 * Return: its payload; NULL and *@error: -EAGAIN: there is none, -EPROTO.
 */
static inline const void *
semshare_spsc_peek(struct semshare_spsc *spsc, struct semshare_record *record, int *error)
{
	int looks;

	for (looks = 0; looks < SEMSHARE_SPSC_LOOKS; looks++) {
		*error = semshare_spsc_look(spsc, record);
		if (!*error)
			return spsc->data + (spsc->cursor & (spsc->capacity - 1)) + sizeof(*record);
		if (*error == -EAGAIN)
			return NULL;
		if (!semshare_spsc_was_overtaken(spsc)) {
			/* Where it stood is what it will stand at: a lie stays one. */
			spsc->seen = spsc->cursor;
			return NULL;
		}
	}
	*error = -EAGAIN;
	return NULL;
}

/**
 * semshare_spsc_take - have a record that may be overwritten
 * @spsc: the consumer's, which has copied the payload
 * @record: of semshare_spsc_peek()
 *
 * In place of semshare_spsc_read() and semshare_spsc_consume().
 *
 * Return: 0; -EAGAIN: it was overwritten, what was copied does not count.
 */
static inline int semshare_spsc_take(struct semshare_spsc *spsc,
				     const struct semshare_record *record)
{
	__u64 next = spsc->cursor + semshare_ring_footprint(record->size);
	__u64 head = spsc->head;

	if (!semshare_try_cmpxchg(&spsc->words->head, &head, next)) {	/* E, with F */
		(void)semshare_spsc_was_overtaken(spsc);
		return -EAGAIN;
	}
	spsc->head = next;
	spsc->cursor = next;
	return 0;
}

/* Go on to the next record. The space of this one is the consumer's still. */
static inline void semshare_spsc_read(struct semshare_spsc *spsc,
				      const struct semshare_record *record)
{
	spsc->cursor += semshare_ring_footprint(record->size);
}

/* Give the space of what was read to the producer.  What was taken is the producer's already. */
static inline void semshare_spsc_consume(struct semshare_spsc *spsc)
{
	if (spsc->overwrite)
		return;
	spsc->head = spsc->cursor;
	semshare_store_release(&spsc->words->head, spsc->cursor);	/* A, with B */
}

#endif /* SEMSHARE_CORE_SPSC_H */
