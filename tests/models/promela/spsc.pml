/* SPDX-License-Identifier: MIT */
/*
 * One producer, one consumer (semshare/core/spsc.h), with sleeping and waking (pass_lockless() in semshare/native/ring.c):
 * place for one record, and three of them.  Nobody looks again after a while here: who is not woken sleeps for ever, and
 * that is what spin reports as an invalid end state.
 */
#define N		2
#define L		4
#define TAIL		0
#define HEAD		1
#define NEED_DATA	2
#define NEED_SPACE	3
#define CAPACITY	1
#define RECORDS		3

#include "memory.h"

bool hint_data, hint_space;	/* semaphores of the kernel's */

active proctype producer()
{
	byte me = 0, cursor, seen, need;
	bool sleeps, slept, took_over;

	do
	:: cursor == RECORDS -> break
	:: !took_over ->
		/* Was killed here, and this is the next producer, to whom the role's semaphore has passed. */
		took_over = 1;
		full_barrier();
		load_acquire(seen, HEAD); // semshare_spsc_begin_put: load_acquire(&spsc->words->head)
		sleeps = 0;
		slept = 0
	:: cursor < RECORDS ->
		if
		:: sleeps ->
			store(NEED_SPACE, 1);
			full_barrier(); // pass_lockless: full_barrier() x2
		:: else
		fi;
		if
		:: cursor - seen == CAPACITY ->
			load_acquire(seen, HEAD); // semshare_spsc_reserve: load_acquire(&spsc->words->head)
		:: else
		fi;
		if
		:: cursor - seen < CAPACITY ->
			write_record();
			cursor++;
			store_release(TAIL, cursor); // semshare_spsc_publish: store_release(&spsc->words->tail)
			full_barrier(); // pass_lockless: full_barrier() x2
			load(need, NEED_DATA);
			if
			:: need -> store(NEED_DATA, 0); give(hint_data)
			:: else
			fi;
			if
			:: slept -> give(hint_space)
			:: else
			fi;
			sleeps = 0;
			slept = 0
		:: else ->
			if
			:: !sleeps -> sleeps = 1
			:: else -> take(hint_space); slept = 1
			fi
		fi
	od
}

active proctype consumer()
{
	byte me = 1, cursor, seen, need;
	bool sleeps, slept;

	do
	:: cursor == RECORDS -> break
	:: else ->
		if
		:: sleeps ->
			store(NEED_DATA, 1);
			full_barrier(); // pass_lockless: full_barrier() x2
		:: else
		fi;
		if
		:: cursor == seen ->
			load_acquire(seen, TAIL); // semshare_spsc_peek: load_acquire(&spsc->words->tail)
		:: else
		fi;
		if
		:: cursor != seen ->
			read_record();
			cursor++;
			store_release(HEAD, cursor); // semshare_spsc_consume: store_release(&spsc->words->head)
			full_barrier(); // pass_lockless: full_barrier() x2
			load(need, NEED_SPACE);
			if
			:: need -> store(NEED_SPACE, 0); give(hint_space)
			:: else
			fi;
			if
			:: slept -> give(hint_data)
			:: else
			fi;
			sleeps = 0;
			slept = 0
		:: else ->
			if
			:: !sleeps -> sleeps = 1
			:: else -> take(hint_data); slept = 1
			fi
		fi
	od
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1) DRAIN(0, 2) DRAIN(0, 3)
	DRAIN(1, 0) DRAIN(1, 1) DRAIN(1, 2) DRAIN(1, 3)
	od
}
