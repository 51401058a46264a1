/* SPDX-License-Identifier: GPL-2.0 */
/* ring.c: the SysV-locked ring, for kernel code. */
#ifndef SEMSHARE_RING_H
#define SEMSHARE_RING_H

#include <semshare/core/variants.h>
#include <semshare/kapi.h>

#include "area.h"
#include "lock.h"

/**
 * struct semshare_ring - a handle: one thread at a time
 * @area: the area, with a reference
 * @port: the ring, its geometry from @area->ring
 * @lock: how it is locked; unused in an unlocked handle
 * @flags: SEMSHARE_RING_OPEN_*
 * @held: between semshare_ring_lock() and semshare_ring_unlock()
 */
struct semshare_ring {
	struct semshare_area *area;
	struct semshare_ring_port port;
	struct semshare_lock lock;
	u32 flags;
	bool held;
};

#endif /* SEMSHARE_RING_H */
