/* SPDX-License-Identifier: MIT */
/*
 * The ring of slots (semshare/core/mpsc.h): two producers, a consumer, one slot.  The first producer has one record, and
 * may be killed over it, or end and be dead then; the other has two.  The consumer gives up a position whenever it likes,
 * GIVE_UPS times, and at once where it knows the owner to be dead.
 *
 * A word too many in one slot, a record lost or twice there, a state that the code takes for a lie, the slot of a living
 * producer let go in its place: each is an assertion.
 */
#define N		3
#define L		6
#define TAIL		0
#define HEAD		1
#define STATE		2
#define WRITER		3
#define PID		4
#define START		5
#define CONSUMER	2

#define FREE		0
#define COMMITTED	1
#define ABANDONED	2
#define QUARANTINED	3
#define RELEASED	4
#define POSITION(state)	((state) >> 3)
#define KIND(state)	((state) & 7)
#define IS(position, kind) ((position) << 3 | (kind))

#ifndef GIVE_UPS
#define GIVE_UPS	1
#endif
#ifndef POSITIONS
#define POSITIONS	3
#endif

/* Who has the slot for a position, plus one: from when its state says so. */
byte holder[POSITIONS + 1];
#define SUCCEEDED(x, value)							\
	if									\
	:: (x) == STATE && KIND(value) == FREE -> holder[POSITION(value)] = me + 1 \
	:: else									\
	fi;

#include "memory.h"

bool dead[2];
short dead_knew[2];
byte given_up = 255;	/* what WRITER is to say */
byte ended, committed;

inline release_slot()
{
	load(state, STATE);
	do
	:: KIND(state) == ABANDONED && POSITION(state) == tail ||
	   KIND(state) == QUARANTINED && POSITION(state) > tail ->
		try_cmpxchg(ok, STATE, state, IS(POSITION(state), RELEASED)); // semshare_slot_release: try_cmpxchg(&slot->state)
		if
		:: ok -> break
		:: else
		fi
	:: else -> break
	od
}

proctype producer(byte me, records)
{
	byte tail, head, state, writer;
	bool ok;

reserve: skip;
	d_step { tail = 0; head = 0; state = 0; writer = 0; ok = 0 }
	if
	:: records == 0 -> goto done
	:: else
	fi;
	load_acquire(tail, TAIL);
	load_acquire(head, HEAD); // semshare_mpsc_reserve: load_acquire(&words->head)
	if
	:: tail != head -> goto reserve
	:: tail == head && tail == POSITIONS -> goto end_far
	:: else
	fi;
	try_cmpxchg(ok, TAIL, tail, tail + 1); // atomic semshare_mpsc_reserve: try_cmpxchg(&words->tail)
	if
	:: !ok -> goto reserve
	:: else
	fi;
claim:
	load_acquire(state, STATE); // semshare_mpsc_claim: load_acquire(&slot->state)
	if
	:: state == IS(tail, FREE) -> holder[tail] = me + 1; goto claimed
	:: state == IS(tail, ABANDONED) -> release_slot(); goto reserve
	:: state == IS(tail, QUARANTINED) || state == IS(tail, RELEASED) -> goto reserve
	:: POSITION(state) > tail ->
		if
		:: KIND(state) != QUARANTINED -> goto reserve
		:: else
		fi;
		load(writer, WRITER);
		assert((writer == tail) == (given_up == tail));
		if
		:: writer != tail -> goto reserve
		:: else
		fi;
		relaxed_try_cmpxchg(ok, STATE, state, IS(POSITION(state), RELEASED));
		if
		:: ok -> goto reserve
		:: else -> goto claim
		fi
	:: POSITION(state) < tail && KIND(state) == RELEASED ->
		store(PID, 0);
		try_cmpxchg(ok, STATE, state, IS(tail, FREE)); // semshare_mpsc_claim: try_cmpxchg(&slot->state) x2
		if
		:: ok -> goto claimed
		:: else -> goto claim
		fi
	:: POSITION(state) < tail && (KIND(state) == ABANDONED || KIND(state) == QUARANTINED) ->
		relaxed_try_cmpxchg(ok, STATE, state, IS(tail, QUARANTINED));
		if
		:: ok -> goto reserve
		:: else -> goto claim
		fi
	:: else -> assert(false)
	fi;
claimed:
	store(START, me + 1);
	store_release(PID, me + 1); // semshare_mpsc_reserve: store_release(&slot->owner_pid)
	write_record();
	if
	:: me == 0 -> goto done
	:: true
	fi;
	state = IS(tail, FREE);
	try_cmpxchg(ok, STATE, state, IS(tail, COMMITTED)); // semshare_mpsc_commit: try_cmpxchg(&slot->state)
	if
	:: ok -> committed++; records--
	:: else -> release_slot()
	fi;
	goto reserve;
end_far: false;		/* far enough: a slot that is out of use lets positions go by */
done:	skip;
	d_step { IN_MEMORY(me) -> ended++; dead_knew[me & 1] = knows[me]; dead[me & 1] = (me == 0) }
}

/* Whether the owner is dead; if it is, the kernel has said so after the last thing that it did. */
inline look_at_owner()
{
	known = 0;
	load_acquire(owner, PID); // semshare_mpsc_busy: load_acquire(&slot->owner_pid); semshare_mpsc_bury: load_acquire(&slot->owner_pid)
	load(start, START);
	if
	:: owner != 0 && start != owner -> known = 1
	:: owner != 0 && start == owner && dead[owner - 1] ->
		d_step { knows[me] = knows[me] | dead_knew[owner - 1]; early[me] = 0; known = 1 }
	:: else
	fi
}

inline bury()
{
	load(state, STATE);
	look_at_owner();
	do
	:: known && (KIND(state) == ABANDONED || KIND(state) == QUARANTINED) ->
		relaxed_try_cmpxchg(ok, STATE, state, IS(POSITION(state), RELEASED));
		if
		:: ok ->
			assert(!holder[given_up] || dead[holder[given_up] - 1]);
			break
		:: else
		fi
	:: else -> break
	od
}

active proctype consumer()
{
	byte me = CONSUMER, cursor, state, next, owner, start, tail, gave_up, taken;
	bool ok, known;

	run producer(0, 1);
	run producer(1, 2);
look:	skip;
	d_step { state = 0; next = 0; owner = 0; start = 0; tail = 0; ok = 0; known = 0 }
	load_acquire(state, STATE); // semshare_mpsc_peek: load_acquire(&slot->state)
	if
	:: KIND(state) == COMMITTED ->
		assert(POSITION(state) == cursor);
		read_record();
		taken++;
		cursor++;
		store(PID, 0);
		store(STATE, IS(cursor, FREE));
		goto consume
	:: KIND(state) != COMMITTED && KIND(state) != FREE && POSITION(state) == cursor ->
		bury();
		cursor++;
		goto consume
	:: else
	fi;
	assert(POSITION(state) == cursor || KIND(state) != FREE && POSITION(state) < cursor);
	load(tail, TAIL);
	if
	:: tail == cursor ->
		if
		:: ended == 2 && mem[TAIL] == cursor -> goto done
		:: else -> goto look
		fi
	:: else
	fi;
	look_at_owner();
	if
	:: known
	:: !known && gave_up < GIVE_UPS -> gave_up++
	:: !known -> goto look
	fi;
	load(state, STATE);
abandon:
	if
	:: POSITION(state) >= cursor && state != IS(cursor, FREE) -> goto look
	:: else
	fi;
	if
	:: KIND(state) == ABANDONED || KIND(state) == QUARANTINED -> next = QUARANTINED
	:: else ->
		next = ABANDONED;
		store(WRITER, cursor);
		given_up = cursor
	fi;
	try_cmpxchg(ok, STATE, state, IS(cursor, next)); // atomic semshare_mpsc_abandon: try_cmpxchg(&slot->state)
	if
	:: !ok -> goto abandon
	:: else
	fi;
	bury();
	cursor++;
consume:
	store_release(HEAD, cursor); // semshare_mpsc_consume: store_release(&ring->words->head)
	goto look;
done:	skip;
	assert(taken == committed)
}

active proctype storage()
{
end:	do
	DRAIN(0, 0) DRAIN(0, 1) DRAIN(0, 2) DRAIN(0, 3) DRAIN(0, 4) DRAIN(0, 5)
	DRAIN(1, 0) DRAIN(1, 1) DRAIN(1, 2) DRAIN(1, 3) DRAIN(1, 4) DRAIN(1, 5)
	DRAIN(2, 0) DRAIN(2, 1) DRAIN(2, 2) DRAIN(2, 3) DRAIN(2, 4) DRAIN(2, 5)
	od
}
