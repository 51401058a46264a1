/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The ring of lanes: a few producers, each with a ring of its own (semshare/core/spsc.h),
 * and one consumer, which merges them by time.
 *
 *	control page	| words of lane 0 | words of lane 1 | …  256 bytes each
 *	data		| lane 0          | lane 1          | …
 *
 * A lane is a power of two of bytes, and there are as many as fit, 14 at most; who
 * has taken the semaphore of a lane is its producer.  Memory order is that of spsc.h,
 * lane by lane: no word is shared by two producers.
 *
 * What order is promised:
 *
 *  - The records of a lane come in the order in which they were put, always.
 *
 *  - The consumer looks at all lanes, and takes what it then knows to be there by
 *    time_ns, the smallest first, those of the same time in any order.  It looks
 *    again for each batch.
 *
 *  - So a record that was published before the look comes before each one with a
 *    greater time_ns.  One whose time was taken before the look, and that was
 *    published after it, comes later than its time would have it: clocks are read
 *    before records are published.  A batch has one time, read when it was put.
 *
 * position of a record that was taken: its lane in the top byte, below it the position
 * there; sequence counts in each lane by itself.
 *
 * A consumer that is killed while it gives back the lanes one by one has given back
 * some: of the others the records are delivered again.
 */
#ifndef SEMSHARE_CORE_LANES_H
#define SEMSHARE_CORE_LANES_H

#include <semshare/core/port.h>

#define SEMSHARE_LANE_SHIFT	56
#define SEMSHARE_LANE_MIN	256
#define SEMSHARE_LANE_IDLE	(~(__u64)0)	/* no time: nothing is known to be there */

/**
 * struct semshare_lanes - what a party keeps
 * @put: the lane that it puts into
 * @lane: the consumer's, of each lane: where it reads, what it has seen of the tail,
 *	and the time of the record there
 * @size: bytes of a lane
 * @count: how many lanes
 * @chosen: the lane with the smallest time
 * @limit: the smallest time of the others
 * @looked: the lanes have been looked at since the last batch
 */
struct semshare_lanes {
	struct semshare_spsc put;
	struct {
		__u64 cursor;
		__u64 seen;
		__u64 time_ns;
	} lane[SEMSHARE_RING_MAX_LANES];
	__u64 size;
	__u64 limit;
	__u32 count;
	__u32 chosen;
	int looked;
};

static inline struct semshare_lanes *semshare_lanes_of(struct semshare_ring_port *port)
{
	return (struct semshare_lanes *)port->own;
}

static inline struct semshare_spsc_words *
semshare_lanes_words(const struct semshare_ring_view *view, __u32 lane)
{
	return (struct semshare_spsc_words *)view->control->words + lane;
}

/*
 * Bytes of the lanes in a ring whose longest record is @max_payload: larger than that
 * asks for, where there would be a lane for everybody and most of the ring left over.
 */
static inline __u64 semshare_lanes_size(__u64 capacity, __u32 max_payload)
{
	__u64 size = SEMSHARE_LANE_MIN;

	while (semshare_ring_max_payload(size) < max_payload ||
	       size * 2 * SEMSHARE_RING_MAX_LANES <= capacity)
		size *= 2;
	return size;
}

static inline __u32 semshare_lanes_count(__u64 capacity, __u64 size)
{
	return capacity / size < SEMSHARE_RING_MAX_LANES ? (__u32)(capacity / size) :
							   SEMSHARE_RING_MAX_LANES;
}

static inline __u32 semshare_lanes_max_payload(const struct semshare_ring_params *params)
{
	__u64 size = params->capacity / 8;

	if (params->max_payload > semshare_ring_max_payload(params->capacity))
		return 0;
	if (params->max_payload)
		size = semshare_lanes_size(params->capacity, params->max_payload);
	return semshare_ring_max_payload(size);
}

static inline void semshare_lanes_open(struct semshare_ring_port *port)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);

	lanes->size = semshare_lanes_size(port->view.capacity, port->view.max_payload);
	lanes->count = semshare_lanes_count(port->view.capacity, lanes->size);
	port->producers = lanes->count;
}

/* A lane as its producer, or as its consumer, sees it. */
static inline void semshare_lanes_side(struct semshare_ring_port *port, __u32 lane,
				       struct semshare_spsc *side)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);

	side->words = semshare_lanes_words(&port->view, lane);
	side->data = port->view.data + lane * lanes->size;
	side->capacity = lanes->size;
	side->cursor = lanes->lane[lane].cursor;
	side->seen = lanes->lane[lane].seen;
	side->overwrite = 0;
}

static inline int semshare_lanes_begin(struct semshare_ring_port *port, int put)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);
	struct semshare_spsc side;
	__u32 i;

	if (put) {
		semshare_lanes_side(port, port->lane, &lanes->put);
		return semshare_spsc_begin_put(&lanes->put);
	}
	lanes->looked = 0;
	lanes->chosen = 0;
	lanes->limit = 0;
	for (i = 0; i < lanes->count; i++) {
		semshare_lanes_side(port, i, &side);
		if (semshare_spsc_begin_get(&side))
			return -EPROTO;
		lanes->lane[i].cursor = side.cursor;
		lanes->lane[i].seen = side.seen;
		lanes->lane[i].time_ns = SEMSHARE_LANE_IDLE;
	}
	return 0;
}

static inline int semshare_lanes_put(struct semshare_ring_port *port,
				     const struct semshare_ring_entry *entries, size_t count,
				     __u64 time_ns, size_t *done)
{
	return semshare_spsc_put_all(&semshare_lanes_of(port)->put, port->view.policy, entries,
				     count, time_ns, done);
}

/* Find out the time of the next record of a lane.  0 or -EPROTO */
static inline int semshare_lanes_look_at(struct semshare_ring_port *port, __u32 lane,
					 struct semshare_record *record)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);
	struct semshare_spsc side;
	__u64 time_ns;
	int err;

	semshare_lanes_side(port, lane, &side);
	err = semshare_spsc_look(&side, record);
	if (err == -EPROTO)
		return err;
	lanes->lane[lane].cursor = side.cursor;
	lanes->lane[lane].seen = side.seen;
	time_ns = err ? SEMSHARE_LANE_IDLE : record->time_ns;
	/* A time that is none is the producer's lie: last of all then. */
	lanes->lane[lane].time_ns = !err && time_ns == SEMSHARE_LANE_IDLE ? time_ns - 1 : time_ns;
	return 0;
}

/* See what has come to a lane since it was looked at last.  0 or -EPROTO */
static inline int semshare_lanes_look_again(struct semshare_ring_port *port, __u32 lane,
					    struct semshare_record *record)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);
	__u64 seen;

	if (lanes->lane[lane].time_ns == SEMSHARE_LANE_IDLE)
		return semshare_lanes_look_at(port, lane, record);
	/* D, with C.  Also of one that has some left: what is there by now is not to come late. */
	seen = semshare_load_acquire(&semshare_lanes_words(&port->view, lane)->tail);
	if (seen - lanes->lane[lane].cursor > lanes->size || seen & (SEMSHARE_RING_ALIGN - 1))
		return -EPROTO;
	lanes->lane[lane].seen = seen;
	return 0;
}

/* Which is next, and how long it is. */
static inline void semshare_lanes_choose(struct semshare_lanes *lanes)
{
	__u64 time_ns, least = SEMSHARE_LANE_IDLE;
	__u32 i;

	lanes->limit = SEMSHARE_LANE_IDLE;
	for (i = 0; i < lanes->count; i++) {
		time_ns = lanes->lane[i].time_ns;
		if (time_ns < least) {
			lanes->limit = least;
			least = time_ns;
			lanes->chosen = i;
		} else if (time_ns < lanes->limit) {
			lanes->limit = time_ns;
		}
	}
}

static inline int semshare_lanes_peek(struct semshare_ring_port *port,
				      struct semshare_record *record)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);
	__u32 i;

	if (!lanes->looked) {
		for (i = 0; i < lanes->count; i++)
			if (semshare_lanes_look_again(port, i, record))
				return -EPROTO;
		lanes->looked = 1;
		lanes->limit = 0;
	}
	if (lanes->lane[lanes->chosen].time_ns > lanes->limit)
		semshare_lanes_choose(lanes);
	if (lanes->lane[lanes->chosen].time_ns == SEMSHARE_LANE_IDLE) {
		lanes->looked = 0;
		return -EAGAIN;
	}
	/* Once more, now for its head: what is used is what was checked last. */
	if (semshare_lanes_look_at(port, lanes->chosen, record))
		return -EPROTO;
	if (lanes->lane[lanes->chosen].time_ns == SEMSHARE_LANE_IDLE)
		return -EPROTO;
	record->position |= (__u64)lanes->chosen << SEMSHARE_LANE_SHIFT;
	return 0;
}

/* In place: of a producer in its lane, of the consumer in the one that was chosen. */
static inline int semshare_lanes_reserve(struct semshare_ring_port *port, __u64 size,
					 struct semshare_ring_place *place)
{
	return semshare_spsc_reserve_payload(&semshare_lanes_of(port)->put, port->view.policy, size,
					     &place->payload);
}

static inline int semshare_lanes_commit(struct semshare_ring_port *port,
					const struct semshare_ring_place *place, __u32 size,
					__u32 type, __u64 time_ns)
{
	semshare_spsc_commit(&semshare_lanes_of(port)->put, place->payload, size, type, time_ns);
	return 0;
}

static inline const void *semshare_lanes_payload(const struct semshare_ring_port *port)
{
	const struct semshare_lanes *lanes = (const struct semshare_lanes *)port->own;
	__u64 at = lanes->lane[lanes->chosen].cursor & (lanes->size - 1);

	return port->view.data + lanes->chosen * lanes->size + at + sizeof(struct semshare_record);
}

static inline int semshare_lanes_read(struct semshare_ring_port *port,
				      const struct semshare_record *record, void *payload)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);
	const __u32 lane = lanes->chosen;
	struct semshare_record next;
	struct semshare_spsc side;

	semshare_lanes_side(port, lane, &side);
	if (payload)
		semshare_copy(payload, semshare_lanes_payload(port), record->size);
	semshare_spsc_read(&side, record);
	lanes->lane[lane].cursor = side.cursor;
	/* What came since waits for the next look.  A lie the next peek finds as well. */
	if (side.cursor == side.seen || semshare_lanes_look_at(port, lane, &next))
		lanes->lane[lane].time_ns = SEMSHARE_LANE_IDLE;
	return 0;
}

static inline void semshare_lanes_consume(struct semshare_ring_port *port, __u64 records)
{
	struct semshare_lanes *lanes = semshare_lanes_of(port);
	struct semshare_spsc side;
	__u32 i;

	(void)records;
	lanes->looked = 0;
	for (i = 0; i < lanes->count; i++) {
		semshare_lanes_side(port, i, &side);
		if (semshare_load(&side.words->head) != side.cursor)
			semshare_spsc_consume(&side);
	}
}

static inline __u64 semshare_lanes_other(const struct semshare_ring_port *port, int put)
{
	const struct semshare_lanes *lanes = (const struct semshare_lanes *)port->own;
	__u64 sum = 0;
	__u32 i;

	if (put)
		return semshare_load_acquire(&semshare_lanes_words(&port->view, port->lane)->head);
	for (i = 0; i < lanes->count; i++)
		sum += semshare_load_acquire(&semshare_lanes_words(&port->view, i)->tail);
	return sum;
}

static inline __u64 semshare_lanes_used(const struct semshare_ring_view *view)
{
	__u64 used = 0;
	__u32 i;

	for (i = 0; i < SEMSHARE_RING_MAX_LANES; i++) {
		const struct semshare_spsc_words *words = semshare_lanes_words(view, i);

		used += semshare_load(&words->tail) - semshare_load(&words->head);
	}
	return used;
}

/* A lane that is full is its producer's alone: space elsewhere is none for it. */
static inline __u32 semshare_lanes_ready(const struct semshare_ring_port *port, __u32 lane)
{
	const struct semshare_lanes *lanes = (const struct semshare_lanes *)port->own;
	__u32 i, ready = SEMSHARE_EVENT_SPACE;

	for (i = 0; i < lanes->count; i++) {
		const struct semshare_spsc_words *words = semshare_lanes_words(&port->view, i);
		__u32 one = semshare_ring_ready_between(&words->head, &words->tail, lanes->size);

		ready |= one & ~SEMSHARE_EVENT_SPACE;
		if (!(one & SEMSHARE_EVENT_SPACE) && (lane == i || lane == SEMSHARE_RING_ANY_LANE))
			ready &= ~SEMSHARE_EVENT_SPACE;
	}
	return ready;
}

static inline void semshare_lanes_look(const struct semshare_ring_view *view,
				       struct semshare_ring_counts *counts)
{
	__u32 i;

	for (i = 0; i < SEMSHARE_RING_MAX_LANES; i++) {
		const struct semshare_spsc_words *words = semshare_lanes_words(view, i);
		__u64 refused = semshare_load(&words->refused);

		counts->head += semshare_load(&words->head);
		counts->tail += semshare_load(&words->tail);
		counts->puts += semshare_load(&words->sequence) - refused;
		counts->drops[SEMSHARE_DROP_REFUSED] += refused;
	}
}

static const struct semshare_ring_variant semshare_ring_lanes = {
	.name = "lanes",
	.number = SEMSHARE_RING_LANES,
	.nsems = SEMSHARE_RING_LANES_NSEMS,
	.roles = SEMSHARE_ROLE_PRODUCER | SEMSHARE_ROLE_CONSUMER,
	.producers = SEMSHARE_RING_MAX_LANES,
	.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE,
	.max_payload = semshare_lanes_max_payload,
	.open = semshare_lanes_open,
	.begin = semshare_lanes_begin,
	.put = semshare_lanes_put,
	.peek = semshare_lanes_peek,
	.read = semshare_lanes_read,
	.consume = semshare_lanes_consume,
	.reserve = semshare_lanes_reserve,
	.commit = semshare_lanes_commit,
	.payload = semshare_lanes_payload,
	.other = semshare_lanes_other,
	.used = semshare_lanes_used,
	.ready = semshare_lanes_ready,
	.look = semshare_lanes_look,
};

#endif /* SEMSHARE_CORE_LANES_H */
