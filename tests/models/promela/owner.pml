/* SPDX-License-Identifier: MIT */
/*
 * The owner of before (semshare_mpsc_claim(), semshare_mpsc_abandon()): a slot whose late producer has let it go, and is
 * dead since, is taken by the next, which is given up in its turn.  The consumer must not take it for the dead one.  That
 * it acquires the pid is of no help: an acquire, too, may be loaded before what it follows.
 */
#define N		2
#define L		2
#define STATE		0
#define PID		1

#include "memory.h"

#define RELEASED	1
#define FREE		2
#define ABANDONED	3
#define OLD		4

bool begun;

active proctype producer()
{
	byte me = 0, state = RELEASED;
	bool ok;

	d_step { mem[STATE] = RELEASED; mem[PID] = OLD; was[STATE] = RELEASED; was[PID] = OLD; begun = 1 }
	store(PID, 0);
	try_cmpxchg(ok, STATE, state, FREE); // semshare_mpsc_claim: try_cmpxchg(&slot->state) x2
}

active proctype consumer()
{
	byte me = 1, state, pid_seen;
	bool ok;

	begun;
	do
	:: state == FREE ->
		try_cmpxchg(ok, STATE, state, ABANDONED); // semshare_mpsc_abandon: try_cmpxchg(&slot->state)
		break
	:: else -> load(state, STATE)
	od;
	load(pid_seen, PID);
	assert(pid_seen != OLD)
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1)
	DRAIN(1, 0) DRAIN(1, 1)
	od
}
