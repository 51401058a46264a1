/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ring, for kernel code: ring.c has what all variants have in common,
 * ring_locked.c the variant with a lock, ring_lockless.c those without.
 */
#ifndef SEMSHARE_RING_H
#define SEMSHARE_RING_H

#include <linux/spinlock.h>
#include <semshare/core/variants.h>
#include <semshare/kapi.h>

#include "area.h"
#include "lock.h"

/* Records of one call at most. */
#define SEMSHARE_RING_BATCH_MAX	1024

/**
 * struct semshare_ring_common - what all kernel handles of an area's ring share
 * @port: the ring.  With a lock only its geometry counts, of which each handle
 *	has a copy; without one these are the cursors of the kernel's side
 * @put: where there can be one producer only: guards its cursor
 * @taking: bit 0: somebody is taking records, without a lock
 * @users: handles that are the producer [0], the consumer [1], if there can be
 *	one only; guarded by the area's mutex
 *
 * In kernel memory, because the control page says whatever its users want it to
 * say.  Freed with the area.
 */
struct semshare_ring_common {
	struct semshare_ring_port port;
	raw_spinlock_t put;
	unsigned long taking;
	unsigned int users[2];
};

/**
 * struct semshare_ring - a handle
 * @area: the area, with a reference
 * @port: the ring: @own, or the port of all kernel handles
 * @own: with a lock: the ring, and the cursors of one pass
 * @lock: how it is locked; unused in an unlocked handle
 * @flags: SEMSHARE_RING_OPEN_*
 * @roles: SEMSHARE_ROLE_* that it has taken
 * @held: between semshare_ring_lock() and semshare_ring_unlock()
 * @shut_out: the lock was somebody else's when it last came to get records
 */
struct semshare_ring {
	struct semshare_area *area;
	struct semshare_ring_port *port;
	struct semshare_ring_port own;
	struct semshare_lock lock;
	u32 flags;
	u32 roles;
	bool held;
	bool shut_out;
};

/* The handle uses the lock, or its hints: not the experiment without. */
static inline bool semshare_ring_is_guarded(const struct semshare_ring *ring)
{
	return !(ring->flags & SEMSHARE_RING_OPEN_UNLOCKED);
}

static inline bool semshare_ring_is_broken(const struct semshare_ring *ring)
{
	return READ_ONCE(ring->area->ring.broken) != SEMSHARE_RING_OK;
}

/* ring.c */
const struct semshare_ring_port *semshare_ring_of(struct semshare_area *area);
void semshare_ring_break(struct semshare_ring *ring, u32 why);
void semshare_ring_count_repair(struct semshare_ring *ring, int err);
int semshare_ring_sleep(struct semshare_ring *ring, unsigned int semaphore, ktime_t deadline,
			unsigned int *fruitless, bool *hinted);
int semshare_ring_read(struct semshare_ring_port *port, struct semshare_ring_record *records,
		       unsigned int count, void *buffer, size_t size, u64 *bytes);
void semshare_ring_trace_put(struct semshare_ring *ring, const struct semshare_ring_entry *entries,
			     size_t count);
void semshare_ring_trace_get(struct semshare_ring *ring, size_t count, u64 bytes);

/* ring_locked.c */
int semshare_ring_locked_put(struct semshare_ring *ring,
			     const struct semshare_ring_entry *entries, unsigned int count,
			     long timeout);
int semshare_ring_locked_get(struct semshare_ring *ring, struct semshare_ring_record *records,
			     unsigned int count, void *buffer, size_t size, long timeout);

/* ring_lockless.c */
int semshare_ring_lockless_put(struct semshare_ring *ring,
			       const struct semshare_ring_entry *entries, unsigned int count,
			       long timeout);
int semshare_ring_lockless_get(struct semshare_ring *ring, struct semshare_ring_record *records,
			       unsigned int count, void *buffer, size_t size, long timeout);
int semshare_ring_lockless_has_data(struct semshare_ring *ring);
int semshare_ring_lockless_reserve(struct semshare_ring *ring, size_t size,
				   struct semshare_ring_place *place, long timeout);
int semshare_ring_lockless_commit(struct semshare_ring *ring,
				  const struct semshare_ring_place *place, u32 type, u32 size);
void semshare_ring_lockless_cancel(struct semshare_ring *ring,
				   const struct semshare_ring_place *place);
int semshare_ring_lockless_take_role(struct semshare_ring *ring, u32 role);
void semshare_ring_lockless_give_roles(struct semshare_ring *ring);
bool semshare_ring_lockless_is_mine(struct ipc_namespace *ns, int semid, u32 lane);
int semshare_ring_lockless_is_dead(const struct semshare_mpsc_owner *owner);

#endif /* SEMSHARE_RING_H */
