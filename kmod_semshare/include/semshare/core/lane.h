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
 * (capacity - 1).  Records start at multiples of SEMSHARE_LANE_ALIGN, the size of
 * their header, and lie in one piece: where one does not fit before the end of
 * the buffer, a header with SEMSHARE_LANE_SKIP for its size fills the rest.
 *
 * Memory order.  Two pairs:
 *
 *	produce: record, then release tail	| consume: acquire tail, record
 *	consume: record, then release head	| produce: acquire head, record
 *
 * Nothing that a side has done is there for the other before it moves its
 * cursor: killed before that it has done nothing, and nobody waits for it.
 *
 * Each side keeps its own cursor, and what it last saw of the other's, to itself:
 * the other's line is read only when the ring seems full, or empty.  What is
 * read there may be a lie, so it is checked; nothing here leaves the data for it.
 */
#ifndef SEMSHARE_CORE_LANE_H
#define SEMSHARE_CORE_LANE_H

#include <semshare/abi.h>
#include <semshare/core/platform.h>

#define SEMSHARE_LANE_ALIGN	((__u64)sizeof(struct semshare_record))
#define SEMSHARE_LANE_SKIP	0xffffffffu

/**
 * struct semshare_lane_words - the words that both sides share
 * @tail: position behind the newest record
 * @sequence: of the next record, grows with each that is dropped as well
 * @drops: records that the producer did not put, because there was no space
 * @head: position of the oldest record
 */
struct semshare_lane_words {
	__u64 tail;
	__u64 sequence;
	__u64 drops;
	__u64 reserved0[13];
	__u64 head;
	__u64 reserved1[15];
};

/**
 * struct semshare_lane - the ring as one side sees it
 * @words: shared
 * @data: shared
 * @capacity: bytes of @data, a power of two
 * @cursor: its own: of the producer the tail, of the consumer the head
 * @seen: of the other's, when last it was looked at
 * @sequence: the producer's: of the next record
 */
struct semshare_lane {
	struct semshare_lane_words *words;
	unsigned char *data;
	__u64 capacity;
	__u64 cursor;
	__u64 seen;
	__u64 sequence;
};

static inline __u64 semshare_lane_footprint(__u64 size)
{
	return (sizeof(struct semshare_record) + size + SEMSHARE_LANE_ALIGN - 1) &
	       ~(SEMSHARE_LANE_ALIGN - 1);
}

/* With what is skipped before it, the longest record must fit into the ring. */
static inline __u32 semshare_lane_max_payload(__u64 capacity)
{
	return (__u32)(capacity / 2 - sizeof(struct semshare_record));
}

/**
 * semshare_lane_begin_put - become the producer
 * @lane: with @words, @data and @capacity
 *
 * There must be no other.  Return: 0 or -EPROTO.
 */
static inline int semshare_lane_begin_put(struct semshare_lane *lane)
{
	lane->cursor = semshare_load(&lane->words->tail);
	lane->seen = semshare_load_acquire(&lane->words->head);
	lane->sequence = semshare_load(&lane->words->sequence);
	if (lane->cursor - lane->seen > lane->capacity ||
	    lane->cursor & (SEMSHARE_LANE_ALIGN - 1))
		return -EPROTO;
	return 0;
}

/**
 * semshare_lane_reserve - have a place for a record
 * @lane: the producer's
 * @size: bytes of payload
 *
 * Nothing is there for the consumer before semshare_lane_publish(), and nothing
 * has to be given back.
 *
 * Return: the place, size bytes of payload behind a header; NULL and *@error:
 * -EMSGSIZE, -EAGAIN: no space, -EPROTO.
 */
static inline struct semshare_record *semshare_lane_reserve(struct semshare_lane *lane, __u64 size,
							    int *error)
{
	__u64 at = lane->cursor & (lane->capacity - 1);
	__u64 footprint = semshare_lane_footprint(size);
	__u64 rest = lane->capacity - at, skip;

	if (size > semshare_lane_max_payload(lane->capacity)) {
		*error = -EMSGSIZE;
		return NULL;
	}
	skip = footprint > rest ? rest : 0;
	if (lane->cursor + skip + footprint - lane->seen > lane->capacity) {
		lane->seen = semshare_load_acquire(&lane->words->head);
		if (lane->cursor - lane->seen > lane->capacity) {
			*error = -EPROTO;
			return NULL;
		}
		if (lane->cursor + skip + footprint - lane->seen > lane->capacity) {
			*error = -EAGAIN;
			return NULL;
		}
	}
	if (skip) {
		struct semshare_record *filler = (struct semshare_record *)(lane->data + at);

		filler->size = SEMSHARE_LANE_SKIP;
		filler->position = lane->cursor;
		lane->cursor += skip;
		at = 0;
	}
	return (struct semshare_record *)(lane->data + at);
}

/**
 * semshare_lane_write - the record that was reserved is complete
 * @lane: the producer's
 * @record: of semshare_lane_reserve()
 * @size: its bytes, no more than were reserved
 * @type: its tag
 * @time_ns: CLOCK_MONOTONIC
 */
static inline void semshare_lane_write(struct semshare_lane *lane, struct semshare_record *record,
				       __u32 size, __u32 type, __u64 time_ns)
{
	record->size = size;
	record->type = type;
	record->position = lane->cursor;
	record->sequence = lane->sequence++;
	record->time_ns = time_ns;
	lane->cursor += semshare_lane_footprint(size);
}

/* Publish what was written. */
static inline void semshare_lane_publish(struct semshare_lane *lane)
{
	semshare_store(&lane->words->sequence, lane->sequence);
	semshare_store_release(&lane->words->tail, lane->cursor);
}

/* Count a record that is not put, because there is no space: it leaves a gap in the sequence. */
static inline void semshare_lane_drop(struct semshare_lane *lane)
{
	semshare_store(&lane->words->sequence, ++lane->sequence);
	semshare_store(&lane->words->drops, semshare_load(&lane->words->drops) + 1);
}

/**
 * semshare_lane_begin_get - become the consumer
 * @lane: with @words, @data and @capacity
 *
 * There must be no other.  Return: 0 or -EPROTO.
 */
static inline int semshare_lane_begin_get(struct semshare_lane *lane)
{
	lane->cursor = semshare_load(&lane->words->head);
	lane->seen = lane->cursor;
	return lane->cursor & (SEMSHARE_LANE_ALIGN - 1) ? -EPROTO : 0;
}

/**
 * semshare_lane_peek - look at the oldest record that was not yet read
 * @lane: the consumer's
 * @record: out: a copy of its head, checked
 *
 * Return: its payload; NULL and *@error: -EAGAIN: there is none, -EPROTO.
 */
static inline const void *semshare_lane_peek(struct semshare_lane *lane, struct semshare_record *record,
					     int *error)
{
	__u64 at = lane->cursor & (lane->capacity - 1);
	__u64 footprint;

	if (lane->cursor == lane->seen) {
		lane->seen = semshare_load_acquire(&lane->words->tail);
		if (lane->seen == lane->cursor) {
			*error = -EAGAIN;
			return NULL;
		}
		if (lane->seen - lane->cursor > lane->capacity ||
		    lane->seen & (SEMSHARE_LANE_ALIGN - 1))
			goto lies;
	}
	semshare_copy(record, lane->data + at, sizeof(*record));
	if (record->size == SEMSHARE_LANE_SKIP) {
		if (record->position != lane->cursor || lane->capacity - at > lane->seen - lane->cursor)
			goto lies;
		lane->cursor += lane->capacity - at;
		if (lane->cursor == lane->seen) {
			*error = -EAGAIN;
			return NULL;
		}
		at = 0;
		semshare_copy(record, lane->data, sizeof(*record));
	}
	if (record->position != lane->cursor ||
	    record->size > semshare_lane_max_payload(lane->capacity))
		goto lies;
	footprint = semshare_lane_footprint(record->size);
	if (footprint > lane->seen - lane->cursor || footprint > lane->capacity - at)
		goto lies;
	return lane->data + at + sizeof(*record);
lies:
	/* Where it stood is what it will stand at: a lie stays one. */
	lane->seen = lane->cursor;
	*error = -EPROTO;
	return NULL;
}

/* Go on to the next record. The space of this one is the consumer's still. */
static inline void semshare_lane_read(struct semshare_lane *lane, const struct semshare_record *record)
{
	lane->cursor += semshare_lane_footprint(record->size);
}

/* Give the space of what was read to the producer. */
static inline void semshare_lane_consume(struct semshare_lane *lane)
{
	semshare_store_release(&lane->words->head, lane->cursor);
}

#endif /* SEMSHARE_CORE_LANE_H */
