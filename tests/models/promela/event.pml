/* SPDX-License-Identifier: MIT */
/*
 * An event is counted (semshare_event_count()) by one who wrote something before, and somebody finds the count changed
 * (semshare_event_turn()), and looks at that.
 */
#define N		2
#define L		2
#define TURN		0
#define WRITTEN		1

#include "memory.h"

active proctype setter()
{
	byte me = 0, turn = 0;
	bool ok;

	store(WRITTEN, 1);
	try_cmpxchg(ok, TURN, turn, 1); // semshare_event_count: try_cmpxchg(&state->epoch)
}

active proctype waiter()
{
	byte me = 1, turn, written;

	load_acquire(turn, TURN); // semshare_event_turn: load_acquire(&state->epoch)
	if
	:: turn -> load(written, WRITTEN); assert(written)
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
