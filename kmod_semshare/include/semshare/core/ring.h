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
 * struct semshare_ring_entry - a record that is to be put, or was taken
 * @payload: its bytes
 * @size: how many
 * @type: its tag
 */
struct semshare_ring_entry {
	const void *payload;
	__u32 size;
	__u32 type;
};

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

#endif /* SEMSHARE_CORE_RING_H */
