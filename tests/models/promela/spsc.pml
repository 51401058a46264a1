/* SPDX-License-Identifier: MIT */
/*
 * One producer, one consumer (semshare/core/spsc.h), with sleeping and waking (pass_lockless() in semshare/native/ring.c,
 * and its like in the module): place for one record, and three of them.  Nobody looks again after a while here: who is
 * not woken sleeps for ever, and that is what spin reports as an invalid end state.
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
	bool sleeps, took_over;

	do
	:: cursor == RECORDS -> break
	:: !took_over ->
		/* Was killed here, and this is the next producer, to whom the role's semaphore has passed. */
		took_over = 1;
		full_barrier();
		load_acquire(seen, HEAD); // semshare_spsc_begin_put: load_acquire(&spsc->words->head)
		sleeps = 0
	:: cursor < RECORDS ->
		if
		:: sleeps ->
			store(NEED_SPACE, 1);
			full_barrier(); // semshare_bell_arm: full_barrier()
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
			full_barrier(); // pass_lockless: full_barrier(); end_record: full_barrier(); pass_and_give: full_barrier() x2; ring_for: smp_mb(); semshare_notify: smp_mb(); semshare_notify_now: smp_mb(); semshare_notify_pollers: smp_mb()
			load(need, NEED_DATA);
			if
			:: need -> store(NEED_DATA, 0); give(hint_data)
			:: else
			fi;
			sleeps = 0
		:: else ->
			if
			:: !sleeps -> sleeps = 1
			:: else -> take(hint_space)
			fi
		fi
	od
}

active proctype consumer()
{
	byte me = 1, cursor, seen, need;
	bool sleeps;

	do
	:: cursor == RECORDS -> break
	:: else ->
		if
		:: sleeps ->
			store(NEED_DATA, 1);
			full_barrier(); // semshare_bell_arm: full_barrier(); semshare_notify_arm: smp_mb(); lockless_wait_begin: full_barrier()
		:: else
		fi;
		if
		:: cursor == seen ->
			load_acquire(seen, TAIL); // semshare_spsc_look: load_acquire(&spsc->words->tail); semshare_lanes_look_again: load_acquire(&semshare_lanes_words(&port->view, lane)->tail)
		:: else
		fi;
		if
		:: cursor != seen ->
			read_record();
			cursor++;
			store_release(HEAD, cursor); // semshare_spsc_consume: store_release(&spsc->words->head)
			full_barrier(); // pass_lockless: full_barrier()
			load(need, NEED_SPACE);
			if
			:: need -> store(NEED_SPACE, 0); give(hint_space)
			:: else
			fi;
			sleeps = 0
		:: else ->
			if
			:: !sleeps -> sleeps = 1
			:: else -> take(hint_data)
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
