/* SPDX-License-Identifier: MIT */
/*
 * Places are closed (places_enter(), places_leave(), places_close()): who enters then is refused, and who was inside
 * before is waited for.  The last of all lets go of the memory, when nobody looks at it any more and nobody will.
 */
#define N		2
#define L		2
#define INSIDE		0
#define CLOSING		1

#include "memory.h"

bool begun, gone;

active proctype closer()
{
	byte me = 0, inside = 1;
	bool ok;

	/* It has entered. */
	d_step { mem[INSIDE] = 1; was[INSIDE] = 1; begun = 1 }
	store(CLOSING, 1);
	do
	:: try_cmpxchg(ok, INSIDE, inside, inside - 1); // places_leave: try_cmpxchg(&places->inside)
		if
		:: ok -> break
		:: else
		fi
	od;
	if
	:: d_step { inside == 1 && !gone -> gone = 1 }; write_record()
	:: else
	fi
}

active proctype user()
{
	byte me = 1, inside = 1, closing;
	bool ok;

	begun;
	do
	:: try_cmpxchg(ok, INSIDE, inside, inside + 1); // places_enter: try_cmpxchg(&places->inside)
		if
		:: ok -> break
		:: else
		fi
	od;
	load(closing, CLOSING);
	if
	:: closing
	:: else -> read_record()
	fi;
	inside++;
	do
	:: try_cmpxchg(ok, INSIDE, inside, inside - 1); // places_leave: try_cmpxchg(&places->inside)
		if
		:: ok -> break
		:: else
		fi
	od;
	load(closing, CLOSING);
	if
	:: d_step { inside == 1 && closing && !gone -> gone = 1 }; write_record()
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
