/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * A variant of the ring, as small as one can be: places of one size for one producer
 * and one consumer (L. Lamport's queue).  See docs/how-to/add-a-ring-variant.md.
 *
 *	words[0]	the producer: records put		a pair of cache lines
 *	words[1]	the producer: records refused
 *	words[16]	the consumer: records taken		another
 *
 *	put:	record, then release words[0]	| get: acquire words[0], record
 *	get:	copy, then release words[16]	| put: acquire words[16], record
 */
#ifndef SEMSHARE_CORE_SLOTS_H
#define SEMSHARE_CORE_SLOTS_H

#include <semshare/core/port.h>

#define SLOTS_TAIL	0
#define SLOTS_REFUSED	1
#define SLOTS_HEAD	16

/* What a party keeps, in port->own: its geometry and its own cursor. */
struct semshare_slots {
	__u64 count;		/* a power of two of places */
	__u64 size;		/* bytes of one, with the record's head */
	__u64 cursor[2];	/* of the consumer, of the producer */
};

static inline struct semshare_slots *semshare_slots_of(const struct semshare_ring_port *port)
{
	return (struct semshare_slots *)port->own;
}

static inline struct semshare_record *semshare_slots_at(const struct semshare_ring_port *port,
							__u64 number)
{
	const struct semshare_slots *slots = semshare_slots_of(port);

	return (struct semshare_record *)(port->view.data +
					  (number & (slots->count - 1)) * slots->size);
}

/* Multiples of 32 bytes, so that heads are aligned. */
static inline __u32 semshare_slots_max_payload(const struct semshare_ring_params *params)
{
	__u32 size = params->max_payload ? params->max_payload : 480;

	return size % 32 || size > params->capacity / 4 ? 0 : size;
}

static inline void semshare_slots_open(struct semshare_ring_port *port)
{
	struct semshare_slots *slots = semshare_slots_of(port);

	slots->size = port->view.max_payload + sizeof(struct semshare_record);
	slots->count = 1;
	while (slots->count * 2 * slots->size <= port->view.capacity)
		slots->count *= 2;
}

/* Called by who has become the producer, or the consumer: go on where the last one stood. */
static inline int semshare_slots_begin(struct semshare_ring_port *port, int put)
{
	const __u64 *words = port->view.control->words;
	__u64 tail = semshare_load_acquire(&words[SLOTS_TAIL]);
	__u64 head = semshare_load_acquire(&words[SLOTS_HEAD]);

	semshare_slots_of(port)->cursor[put] = put ? tail : head;
	/* Anybody may have written there. */
	return tail - head > semshare_slots_of(port)->count ? -EPROTO : 0;
}

static inline int semshare_slots_put(struct semshare_ring_port *port,
				     const struct semshare_ring_entry *entries, size_t count,
				     __u64 time_ns, size_t *done)
{
	struct semshare_slots *slots = semshare_slots_of(port);
	__u64 *words = port->view.control->words, *tail = &slots->cursor[1];
	__u64 refused = semshare_load(&words[SLOTS_REFUSED]);
	struct semshare_record *record;
	int err = 0;

	for (*done = 0; *done < count; ++*done) {
		const struct semshare_ring_entry *entry = &entries[*done];
		__u64 used = *tail - semshare_load_acquire(&words[SLOTS_HEAD]);

		err = entry->size > port->view.max_payload ? -EMSGSIZE :
		      used > slots->count ? -EPROTO : used == slots->count ? -EAGAIN : 0;
		if (err)
			break;
		record = semshare_slots_at(port, *tail);
		record->size = entry->size;
		record->type = entry->type;
		record->position = *tail;
		record->sequence = *tail + refused;
		record->time_ns = time_ns;
		memcpy(record + 1, entry->payload, entry->size);
		++*tail;
	}
	semshare_store_release(&words[SLOTS_TAIL], *tail);
	if (err == -EAGAIN && port->view.policy == SEMSHARE_RING_REFUSE) {
		semshare_store(&words[SLOTS_REFUSED], refused + count - *done);
		return -ENOBUFS;
	}
	return err;
}

static inline int semshare_slots_peek(struct semshare_ring_port *port,
				      struct semshare_record *record)
{
	struct semshare_slots *slots = semshare_slots_of(port);
	const __u64 *words = port->view.control->words;
	__u64 at = slots->cursor[0], tail = semshare_load_acquire(&words[SLOTS_TAIL]);

	if (tail == at)
		return -EAGAIN;
	/* Copied once; the copy is checked, and the copy is used. */
	semshare_copy(record, semshare_slots_at(port, at), sizeof(*record));
	return tail - at > slots->count || record->position != at ||
	       record->size > port->view.max_payload ? -EPROTO : 0;
}

static inline int semshare_slots_read(struct semshare_ring_port *port,
				      const struct semshare_record *record, void *payload)
{
	semshare_copy(payload, semshare_slots_at(port, semshare_slots_of(port)->cursor[0]++) + 1,
		      record->size);
	return 0;
}

/* A batch: the two above in one loop, which is faster than calls through pointers. */
static inline int semshare_slots_take(struct semshare_ring_port *port,
				      struct semshare_ring_batch *batch)
{
	return semshare_ring_take(port, batch, semshare_slots_peek, semshare_slots_read);
}

static inline void semshare_slots_consume(struct semshare_ring_port *port, __u64 records)
{
	(void)records;
	semshare_store_release(&port->view.control->words[SLOTS_HEAD],
			       semshare_slots_of(port)->cursor[0]);
}

static inline __u64 semshare_slots_other(const struct semshare_ring_port *port, int put)
{
	const __u64 *words = port->view.control->words;

	return semshare_load_acquire(&words[put ? SLOTS_HEAD : SLOTS_TAIL]) *
	       semshare_slots_of(port)->size;
}

/* For poll() of the area: both cursors may be written by anybody. */
static inline __u32 semshare_slots_ready(const struct semshare_ring_port *port, __u32 lane)
{
	const __u64 *words = port->view.control->words;

	(void)lane;
	return semshare_ring_ready_between(&words[SLOTS_HEAD], &words[SLOTS_TAIL],
					   port->view.capacity / semshare_slots_of(port)->size);
}

/* For `semshare ls`, Ring.state() and semshare_ring_status(). */
static inline void semshare_slots_look(const struct semshare_ring_view *view,
				       struct semshare_ring_counts *counts)
{
	const __u64 *words = view->control->words;
	__u64 size = view->max_payload + sizeof(struct semshare_record);

	counts->puts = semshare_load(&words[SLOTS_TAIL]);
	counts->head = semshare_load(&words[SLOTS_HEAD]) * size;
	counts->tail = counts->puts * size;
	counts->drops[SEMSHARE_DROP_REFUSED] = semshare_load(&words[SLOTS_REFUSED]);
}

static const struct semshare_ring_variant semshare_ring_slots = {
	.name = "slots",
	.number = SEMSHARE_RING_PRIVATE + 1,
	.nsems = SEMSHARE_RING_ROLE_NSEMS,
	.roles = SEMSHARE_ROLE_PRODUCER | SEMSHARE_ROLE_CONSUMER,
	.producers = 1,
	.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE,
	.max_payload = semshare_slots_max_payload,
	.open = semshare_slots_open,
	.begin = semshare_slots_begin,
	.put = semshare_slots_put,
	.peek = semshare_slots_peek,
	.read = semshare_slots_read,
	.take = semshare_slots_take,
	.consume = semshare_slots_consume,
	.other = semshare_slots_other,
	.ready = semshare_slots_ready,
	.look = semshare_slots_look,
};

#endif /* SEMSHARE_CORE_SLOTS_H */
