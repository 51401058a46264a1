/* SPDX-License-Identifier: MIT */
/*
 * How many threads are inside an object with the GIL released: the last of them lets go of what a close() in between had
 * to leave.  The child of a fork has none of its parent's threads.  Under the GIL: see compat.h.
 */
#ifndef SEMSHARE_NATIVE_INSIDE_H
#define SEMSHARE_NATIVE_INSIDE_H

#include "owner.h"

struct inside {
	int threads;
	unsigned int generation;	/* owner_generation when they came */
};

static inline int inside_count(const struct inside *inside)
{
	return inside->generation == owner_generation ? inside->threads : 0;
}

static inline void inside_enter(struct inside *inside)
{
	inside->threads = inside_count(inside) + 1;
	inside->generation = owner_generation;
}

/* Of who forked on the way, in a signal's handler, the child was not counted. */
static inline void inside_leave(struct inside *inside)
{
	if (inside_count(inside))
		inside->threads--;
}

#endif /* SEMSHARE_NATIVE_INSIDE_H */
