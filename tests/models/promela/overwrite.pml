/* SPDX-License-Identifier: MIT */
/*
 * One producer, one consumer, where the oldest record is overwritten (semshare_spsc_overwrite(), semshare_spsc_take()):
 * place for one record of one word, which is its position plus one.  A second consumer takes over from the first.
 *
 * A record that counts and was written over while it was copied, one lost without being counted, what was overwritten
 * taken for a lie: each is an assertion.
 */
#define N		2
#define L		3
#define TAIL		0
#define HEAD		1
#define RECORD		2
#define CAPACITY	1
#ifndef RECORDS
#define RECORDS		4
#endif

#define PRODUCER	0
#define CONSUMER	1

/* The consumer's copy of a record, as an access: it is one only where the record was taken. */
#define COPY(position)	(1 << (8 + (position)))

byte taken, dropped;
#define SUCCEEDED(x, value)							\
	if									\
	:: me == CONSUMER -> accesses = accesses | COPY(value - 1); taken++	\
	:: else -> dropped++							\
	fi;

#define EARLY_ACQUIRES
#include "memory.h"

bool ended;

active proctype producer()
{
	byte me = PRODUCER, cursor, seen;
	bool ok;

	do
	:: cursor == RECORDS -> break
	:: else ->
		if
		:: cursor - seen == CAPACITY ->
			load_acquire(seen, HEAD); // semshare_spsc_reserve: load_acquire(&spsc->words->head)
		:: else
		fi;
		do
		:: cursor - seen < CAPACITY -> break
		:: else ->
			try_cmpxchg(ok, HEAD, seen, seen + 1); // semshare_spsc_overwrite: try_cmpxchg(&words->head)
			if
			:: ok -> seen++
			:: else ->
				load_acquire(seen, HEAD); // semshare_spsc_overwrite: load_acquire(&words->head)
			fi
		od;
		skip;
		write_record();
		store(RECORD, cursor + 1);
		cursor++;
		store_release(TAIL, cursor); // semshare_spsc_publish: store_release(&spsc->words->tail)
	od;
	skip;
	d_step { IN_MEMORY(me) -> ended = 1 }
}

active proctype consumer()
{
	byte me = CONSUMER, cursor, seen, record, head;
	bool ok, fine, took_over;

begin:	skip;
	d_step { cursor = 0; seen = 0; record = 0; head = 0; ok = 0; fine = 0 }
	load_acquire(cursor, HEAD); // semshare_spsc_begin_get: load_acquire(&spsc->words->head)
	seen = cursor;
look:	skip;
	if
	:: !took_over -> took_over = 1; full_barrier(); goto begin
	:: true
	fi;
	early_load_acquire(seen, TAIL); // semshare_spsc_look: load_acquire(&spsc->words->tail)
	if
	:: seen == cursor ->
		if
		:: ended && mem[TAIL] == cursor -> goto done
		:: else -> goto look
		fi
	:: else -> fine = (seen > cursor && seen - cursor <= CAPACITY)
	fi;
	if
	:: fine ->
		load(record, RECORD);
		knows[me] = knows[me] | COPY(cursor);
		if
		:: record == cursor + 1 ->
			head = cursor;
			try_cmpxchg(ok, HEAD, head, cursor + 1); // semshare_spsc_take: try_cmpxchg(&spsc->words->head)
			if
			:: ok -> cursor++; goto look
			:: else
			fi
		:: else
		fi
	:: else
	fi;
	full_barrier(); // semshare_spsc_was_overtaken: full_barrier()
	early_load_acquire(head, HEAD); // semshare_spsc_was_overtaken: load_acquire(&spsc->words->head)
	assert(head != cursor);
	cursor = head;
	seen = head;
	goto look;
done:	skip;
	assert(taken + dropped == RECORDS)
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1) DRAIN(0, 2)
	od
}
