/* SPDX-License-Identifier: MIT */
/*
 * The ring of pages (semshare/core/paged.h): a producer that waits for nobody goes round two pages, and may leave any
 * page unfinished; a consumer looks for one after the other.  A fence is the page's number, plus one.
 *
 * A page that counts and is not whole, one that was finished and is called torn: each is an assertion.
 */
#define N		2
#define L		8
#define WORDS		4
#define FIRST(n)	(((n) & 1) * WORDS)
#define RECORD(n)	(((n) & 1) * WORDS + 1)
#define PAYLOAD(n)	(((n) & 1) * WORDS + 2)
#define LAST(n)		(((n) & 1) * WORDS + 3)
#define FENCE(n)	((n) + 1)
/* semshare_paged_rounds(): a fence is at its place, so what is no older is this page, or one rounds later. */
#define IS_THERE(n, fence) ((fence) >= FENCE(n))

#ifndef PAGES
#define PAGES		5
#endif

#include "memory.h"

bool finished[PAGES + 1], left_one;

active proctype producer()
{
	byte me = 0, next;

	do
	:: next == PAGES -> break
	:: else ->
		store(FIRST(next), FENCE(next));
		full_barrier(); // semshare_paged_open_page: full_barrier()
		store(RECORD(next), FENCE(next));
		store(PAYLOAD(next), FENCE(next));
		if
		:: finished[next] = 1;
			store_release(LAST(next), FENCE(next)); // semshare_paged_close_page: store_release(semshare_paged_last(paged, paged->next))
		:: !left_one -> left_one = 1
		fi;
		next++
	od
}

active proctype consumer()
{
	byte me = 1, cursor, fence, later, record, payload, first;

	do
	:: cursor == PAGES -> break
	:: else ->
		d_step { fence = 0; later = 0; record = 0; payload = 0; first = 0 }
		load_acquire(fence, LAST(cursor)); // semshare_paged_peek: load_acquire(last); semshare_paged_tail: load_acquire(semshare_paged_last(paged, i))
		if
		:: IS_THERE(cursor, fence) && fence != FENCE(cursor) ->
			cursor = fence - 2
		:: !IS_THERE(cursor, fence) ->
			load_acquire(later, LAST(cursor + 1)); // semshare_paged_is_past: load_acquire(last)
			if
			:: IS_THERE(cursor + 1, later) ->
				load(fence, LAST(cursor));
				if
				:: !IS_THERE(cursor, fence) -> assert(!finished[cursor]); cursor++
				:: else
				fi
			:: else
			fi
		:: fence == FENCE(cursor) ->
			load(record, RECORD(cursor));
			if
			:: record != FENCE(cursor) ->
				full_barrier(); // semshare_paged_peek: full_barrier()
				load(first, FIRST(cursor));
				assert(first != FENCE(cursor))
			:: else ->
				load(payload, PAYLOAD(cursor));
				full_barrier(); // semshare_paged_read: full_barrier()
				load(first, FIRST(cursor));
				assert(first != FENCE(cursor) || payload == FENCE(cursor))
			fi;
			cursor++
		fi
	od
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1) DRAIN(0, 2) DRAIN(0, 3) DRAIN(0, 4) DRAIN(0, 5) DRAIN(0, 6) DRAIN(0, 7)
	od
}
