/* SPDX-License-Identifier: MIT */
/*
 * One who waits at a descriptor, and two who move a cursor each, and ring (semshare/core/bell.h): so do the producers of
 * lanes.  Who is not rung for waits for ever, and that is what spin reports as an invalid end state.  More rings than
 * waits are an assertion; not so with a need, which the module takes by a load and a store (notify_take_needs()), and
 * of which only the first is asked.
 */
#define N		3
#define L		3
#define BELL		0
#define CURSOR(p)	(p)
#define MOVES		2

#include "memory.h"

bool descriptor;	/* is readable: what is said of hints goes for a FIFO as well */
byte waits, rings;
bool is_need;

proctype mover(byte me)
{
	byte cursor, armed;
	bool ok;

	do
	:: cursor == MOVES -> break
	:: else ->
		cursor++;
		store_release(CURSOR(me), cursor);
		full_barrier(); // pass_lockless: full_barrier(); end_record: full_barrier(); pass_and_give: full_barrier() x2; ring_for: smp_mb(); semshare_notify: smp_mb(); semshare_notify_now: smp_mb(); semshare_notify_pollers: smp_mb(); places_close: full_barrier()
		load(armed, BELL);
		if
		:: armed && is_need -> store(BELL, 0); give(descriptor)
		:: armed && !is_need ->
			try_cmpxchg(ok, BELL, armed, 0); // atomic semshare_bell_take: try_cmpxchg(bell)
			if
			:: ok -> d_step { rings++; assert(rings <= waits) } give(descriptor)
			:: else
			fi
		:: !armed
		fi
	od
}

active proctype waiter()
{
	byte me = 0, one, two;

	if
	:: is_need = 1
	:: true
	fi;
	atomic { run mover(1); run mover(2) }
	do
	:: one == MOVES && two == MOVES -> break
	:: else ->
		/* What is left of a ring that came late. */
		if
		:: take(descriptor)
		:: !descriptor
		fi;
		waits++;
		store(BELL, 1);
		full_barrier(); // semshare_bell_arm: full_barrier(); semshare_notify_arm: smp_mb(); lockless_wait_begin: full_barrier()
		load_acquire(one, CURSOR(1));
		load_acquire(two, CURSOR(2));
		if
		:: one == MOVES && two == MOVES -> break
		:: else -> take(descriptor)
		fi
	od
}

active proctype storage()
{
end:	do
	DRAIN(0, 0)
	DRAIN(1, 0) DRAIN(1, 1)
	DRAIN(2, 0) DRAIN(2, 2)
	od
}
