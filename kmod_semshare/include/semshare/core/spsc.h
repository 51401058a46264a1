/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The ring of one producer and one consumer: a circular buffer of bytes with a
 * head and a tail, each written by one side.
 *
 * Who writes what:
 *
 *	words->tail	the producer: position behind the newest record
 *	words->head	the consumer: position of the oldest record
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
 */
struct semshare_spsc {
	struct semshare_spsc_words *words;
	unsigned char *data;
	__u64 capacity;
	__u64 cursor;
	__u64 seen;
	__u64 sequence;
};

/**
 * semshare_spsc_begin_put - become the producer
 * @spsc: with @words, @data and @capacity
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
static inline struct semshare_record *semshare_spsc_reserve(struct semshare_spsc *spsc, __u64 size,
							    int *error)
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
			*error = -EAGAIN;
			return NULL;
		}
	}
	if (skip) {
		struct semshare_record *filler = (struct semshare_record *)(spsc->data + at);

		filler->size = SEMSHARE_SPSC_SKIP;
		filler->position = spsc->cursor;
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
	record->size = size;
	record->type = type;
	record->position = spsc->cursor;
	record->sequence = spsc->sequence++;
	record->time_ns = time_ns;
	spsc->cursor += semshare_ring_footprint(size);
}

/* Publish what was written. */
static inline void semshare_spsc_publish(struct semshare_spsc *spsc)
{
	semshare_store(&spsc->words->sequence, spsc->sequence);
	semshare_store_release(&spsc->words->tail, spsc->cursor);	/* C, with D */
}

/* A record that is not put, because there is no space: it leaves a gap in the sequence. */
static inline void semshare_spsc_drop(struct semshare_spsc *spsc)
{
	semshare_store(&spsc->words->sequence, ++spsc->sequence);
}

/**
 * semshare_spsc_begin_get - become the consumer
 * @spsc: with @words, @data and @capacity
 *
 * There must be no other.  Return: 0 or -EPROTO.
 */
static inline int semshare_spsc_begin_get(struct semshare_spsc *spsc)
{
	spsc->cursor = semshare_load(&spsc->words->head);
	spsc->seen = spsc->cursor;
	return spsc->cursor & (SEMSHARE_RING_ALIGN - 1) ? -EPROTO : 0;
}

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
	__u64 at = spsc->cursor & (spsc->capacity - 1);
	__u64 footprint;

	if (spsc->cursor == spsc->seen) {
		spsc->seen = semshare_load_acquire(&spsc->words->tail);	/* D, with C */
		if (spsc->seen == spsc->cursor) {
			*error = -EAGAIN;
			return NULL;
		}
		if (spsc->seen - spsc->cursor > spsc->capacity ||
		    spsc->seen & (SEMSHARE_RING_ALIGN - 1))
			goto lies;
	}
	semshare_copy(record, spsc->data + at, sizeof(*record));
	if (record->size == SEMSHARE_SPSC_SKIP) {
		if (record->position != spsc->cursor ||
		    spsc->capacity - at > spsc->seen - spsc->cursor)
			goto lies;
		spsc->cursor += spsc->capacity - at;
		if (spsc->cursor == spsc->seen) {
			*error = -EAGAIN;
			return NULL;
		}
		at = 0;
		semshare_copy(record, spsc->data, sizeof(*record));
	}
	if (record->position != spsc->cursor ||
	    record->size > semshare_ring_max_payload(spsc->capacity))
		goto lies;
	footprint = semshare_ring_footprint(record->size);
	if (footprint > spsc->seen - spsc->cursor || footprint > spsc->capacity - at)
		goto lies;
	return spsc->data + at + sizeof(*record);
lies:
	/* Where it stood is what it will stand at: a lie stays one. */
	spsc->seen = spsc->cursor;
	*error = -EPROTO;
	return NULL;
}

/* Go on to the next record. The space of this one is the consumer's still. */
static inline void semshare_spsc_read(struct semshare_spsc *spsc,
				      const struct semshare_record *record)
{
	spsc->cursor += semshare_ring_footprint(record->size);
}

/* Give the space of what was read to the producer. */
static inline void semshare_spsc_consume(struct semshare_spsc *spsc)
{
	semshare_store_release(&spsc->words->head, spsc->cursor);	/* A, with B */
}

#endif /* SEMSHARE_CORE_SPSC_H */
