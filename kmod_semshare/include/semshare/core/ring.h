/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * What all variants of the ring have in common: the geometry, the records, and
 * how a party comes to know a ring that somebody else made.  The variants, each
 * an algorithm, are in files of their own; semshare/core/variants.h has them all.
 */
#ifndef SEMSHARE_CORE_RING_H
#define SEMSHARE_CORE_RING_H

#include <semshare/abi.h>
#include <semshare/core/platform.h>

/**
 * struct semshare_ring_view - a ring as one party sees it
 * @control: the shared control page
 * @data: the shared bytes of the records
 * @capacity: private copy, a power of two
 * @max_payload: private copy
 * @policy: private copy
 */
struct semshare_ring_view {
	struct semshare_ring_control *control;
	unsigned char *data;
	__u64 capacity;
	__u32 max_payload;
	__u32 policy;
};

/**
 * struct semshare_ring_entry - a record that is to be put
 * @payload: its bytes
 * @size: how many
 * @type: its tag
 */
struct semshare_ring_entry {
	const void *payload;
	__u32 size;
	__u32 type;
};

/**
 * struct semshare_ring_counts - what can be told of a ring from outside
 * @head: position of the oldest record
 * @tail: position behind the newest
 * @puts: records put
 * @gets: records taken; ~0: nobody counts them
 * @put_bytes: bytes of payload put; ~0: nobody counts them
 * @drops: records dropped, for each enum semshare_ring_drop
 *
 * Anything, if a word lies.
 */
struct semshare_ring_counts {
	__u64 head;
	__u64 tail;
	__u64 puts;
	__u64 gets;
	__u64 put_bytes;
	__u64 drops[SEMSHARE_DROP_CAUSES];
};

/* Of which sides there can be only one, who has taken SEMSHARE_SEM_PRODUCER or _CONSUMER. */
#define SEMSHARE_ROLE_PRODUCER	0x1u
#define SEMSHARE_ROLE_CONSUMER	0x2u

/* Bytes that a payload of @size takes in the ring. */
static inline __u64 semshare_ring_footprint(__u64 size)
{
	return (sizeof(struct semshare_record) + size + SEMSHARE_RING_ALIGN - 1) &
	       ~(__u64)(SEMSHARE_RING_ALIGN - 1);
}

/* The longest payload of a ring of @capacity: it fits into a quarter of it. */
static inline __u32 semshare_ring_max_payload(__u64 capacity)
{
	return (__u32)(capacity / 4 - sizeof(struct semshare_record));
}

static inline int semshare_ring_capacity_valid(__u64 capacity)
{
	return capacity >= SEMSHARE_RING_MIN_CAPACITY &&
	       capacity <= SEMSHARE_RING_MAX_CAPACITY &&
	       (capacity & (capacity - 1)) == 0;
}

/* How often the head may move on while one looks from outside; who moves it looks himself. */
#define SEMSHARE_RING_LOOKS	4

/**
 * semshare_ring_ready_between - what a ring is ready for, by two cursors, from outside
 * @head: a word that anybody may write
 * @tail: another
 * @size: how far the one may be before the other
 *
 * Neither belongs to the caller, so the head may have moved on before the tail is
 * read: then they seem further apart than they ever were.  If they do, and the head
 * has not moved, they make no sense.
 *
 * Return: SEMSHARE_EVENT_DATA; SEMSHARE_EVENT_SPACE: half of it is free;
 * SEMSHARE_EVENT_BROKEN: they make no sense.
 */
static inline __u32 semshare_ring_ready_between(const __u64 *head, const __u64 *tail, __u64 size)
{
	int looks;

	for (looks = 0; looks < SEMSHARE_RING_LOOKS; looks++) {
		__u64 from = semshare_load_acquire(head);
		__u64 used = semshare_load_acquire(tail) - from;

		if (used <= size)
			return (used ? SEMSHARE_EVENT_DATA : 0) |
			       (used <= size / 2 ? SEMSHARE_EVENT_SPACE : 0);
		if (semshare_load(head) == from)
			return SEMSHARE_EVENT_BROKEN;
	}
	/* It moves all the time: whoever is told so in vain may look again. */
	return SEMSHARE_EVENT_DATA | SEMSHARE_EVENT_SPACE;
}

/* What a semshare_ring_state says, for people. */
static inline const char *semshare_ring_state_text(__u32 state)
{
	switch (state) {
	case SEMSHARE_RING_OK:
		return "ok";
	case SEMSHARE_RING_TWO_OWNERS:
		return "two owners were inside its lock at once";
	case SEMSHARE_RING_BAD_MUTEX:
		return "somebody set its mutex";
	case SEMSHARE_RING_BAD_CURSORS:
		return "its cursors or records make no sense";
	case SEMSHARE_RING_BAD_REPAIR:
		return "its last owner died inside, and its cursors make no sense";
	case SEMSHARE_RING_DESTROYED:
		return "it was destroyed by whoever made it";
	default:
		return "one of its users says so";
	}
}

/* Tell everybody that the ring is broken, unless they have been told already. */
static inline void semshare_ring_tell_broken(struct semshare_ring_control *control, __u32 why)
{
	__u32 state = SEMSHARE_RING_OK;

	(void)semshare_try_cmpxchg(&control->state, &state, why);
}

#endif /* SEMSHARE_CORE_RING_H */
