/* SPDX-License-Identifier: MIT */
/*
 * Somebody who is no party looks how far two cursors are apart (semshare_ring_ready_between()): he does not take those of a
 * ring in order for ones that make no sense.
 */
#define N		3
#define L		2
#define HEAD		0
#define TAIL		1
#define RECORDS		2
#define CAPACITY	1
#define EARLY_ACQUIRES

#include "memory.h"

active proctype producer()
{
	byte me = 0, head, tail;

	do
	:: tail < RECORDS ->
		do
		:: load_acquire(head, HEAD);
			if
			:: tail - head < CAPACITY -> break
			:: else
			fi
		od;
		tail++;
		store_release(TAIL, tail)
	:: else -> break
	od
}

active proctype consumer()
{
	byte me = 1, head, tail;

	do
	:: head < RECORDS ->
		do
		:: load_acquire(tail, TAIL);
			if
			:: tail != head -> break
			:: else
			fi
		od;
		head++;
		store_release(HEAD, head)
	:: else -> break
	od
}

active proctype looker()
{
	byte me = 2, from, tail, again;

	load_acquire(from, HEAD); // semshare_ring_ready_between: load_acquire(head); semshare_mpsc_is_worth_a_look: load_acquire(&ring->words->head)
	early_load_acquire(tail, TAIL); // semshare_ring_ready_between: load_acquire(tail)
	if
	:: tail >= from && tail - from <= CAPACITY
	:: else -> load(again, HEAD); assert(again != from)
	fi
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1)
	DRAIN(1, 0) DRAIN(1, 1)
	DRAIN(2, 0) DRAIN(2, 1)
	od
}
