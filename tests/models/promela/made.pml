/* SPDX-License-Identifier: MIT */
/*
 * A ring is made (semshare_ring_format()) while somebody looks for it (semshare_ring_check()).
 */
#define N		2
#define L		2
#define MAGIC		0
#define CAPACITY	1

#include "memory.h"

active proctype maker()
{
	byte me = 0;

	store(CAPACITY, 1);
	store_release(MAGIC, 1); // semshare_ring_format: store_release(&control->magic)
}

active proctype other()
{
	byte me = 1, magic, capacity;

	load_acquire(magic, MAGIC); // semshare_ring_check: load_acquire(&control->magic)
	if
	:: magic -> load(capacity, CAPACITY); assert(capacity)
	:: else
	fi
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1)
	DRAIN(1, 0) DRAIN(1, 1)
	od
}
