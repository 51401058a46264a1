/* SPDX-License-Identifier: MIT */
/*
 * A memory that reorders, for the models beside this file: N processes, numbered by `me`, and L words.
 *
 * Stores.  Each process has a store buffer, from which the words reach memory in any order (a FIFO, as x86 has, is one of
 * them).  A release waits until what was stored before it is there.  A process reads its own buffer first.
 *
 * Loads.  A load may have been made early: where somebody changed a word, each other process may still read what it was
 * before, until it has read the new value.  An acquire reads the newest, and after it, or a full barrier, nothing is read
 * that was loaded before it.
 *
 * An acquire that is early (early_load_acquire; a model that has one defines EARLY_ACQUIRES) may itself have been made
 * before the load in front of it.  It then reads what the word was before, and after it nothing is read that is older than
 * that.  What it knows of accesses is left out: it is for words that nobody needs that of.
 *
 * A load that is late (load_late) is made when its value is used, or by the next barrier: that is how a load is passed by
 * a store behind it.
 *
 * Records.  What a record's plain bytes are does not matter, only who has accessed them, and whether whoever does next
 * knows of it: knows[me] are the accesses that come before, along releases and the acquires that read from them.  It is
 * the compiler's liberty that is modelled by this, and what ThreadSanitizer asks.
 */
#define AT(p, x)	((p) * L + (x))
#define BIT(x)		(1 << (x))

/* What a model notes with a cmpxchg, in the same step. */
#ifndef SUCCEEDED
#define SUCCEEDED(x, value)
#endif

byte mem[L], was[L];
short mem_knows[L];
byte early[N];		/* for each process: words of which it may read what they were */

byte stored[N];		/* words that are in its buffer */
byte buffer[N * L];
short buffer_knows[N * L];

short knows[N];
short accesses;		/* all so far; each is a bit */
short writes;		/* those that were writes */
byte count;		/* how many */

byte loop;		/* for loops inside d_step */

#define HAS_STORED(p, x)	((stored[p] & BIT(x)) != 0)
#define IN_MEMORY(p)		(stored[p] == 0)

#ifdef EARLY_ACQUIRES
byte since[L];		/* words that were changed since this one was */
byte since_was[L];	/* and since it became what it was before */
#define AGE(x)									\
	loop = 0;								\
	do									\
	:: loop < L ->								\
		since[loop] = since[loop] | BIT(x);				\
		since_was[loop] = since_was[loop] | BIT(x);			\
		loop++								\
	:: else -> break							\
	od;									\
	since_was[x] = since[x];						\
	since[x] = 0;
#else
#define AGE(x)
#endif

#define CHANGE(p, x, value, known)						\
	AGE(x)									\
	was[x] = mem[x];							\
	mem[x] = value; mem_knows[x] = known;					\
	loop = 0;								\
	do									\
	:: loop < N ->								\
		if								\
		:: loop == (p) -> early[loop] = early[loop] & ~BIT(x)		\
		:: else -> early[loop] = early[loop] | BIT(x)			\
		fi;								\
		loop++								\
	:: else -> break							\
	od;									\
	loop = 0

inline store(x, value)
{
	d_step { !HAS_STORED(me, x) -> buffer[AT(me, x)] = value; buffer_knows[AT(me, x)] = 0;
		 stored[me] = stored[me] | BIT(x) }
}

inline store_release(x, value)
{
	d_step { IN_MEMORY(me) -> buffer[AT(me, x)] = value; buffer_knows[AT(me, x)] = knows[me];
		 stored[me] = stored[me] | BIT(x) }
}

inline load(to, x)
{
	if
	:: d_step { HAS_STORED(me, x) -> to = buffer[AT(me, x)] }
	:: d_step { !HAS_STORED(me, x) -> to = mem[x]; early[me] = early[me] & ~BIT(x) }
	:: d_step { !HAS_STORED(me, x) && (early[me] & BIT(x)) -> to = was[x] }
	fi
}

inline load_acquire(to, x)
{
	if
	:: d_step { HAS_STORED(me, x) -> to = buffer[AT(me, x)] }
	:: d_step { !HAS_STORED(me, x) -> to = mem[x]; knows[me] = knows[me] | mem_knows[x]; early[me] = 0 }
	fi
}

inline early_load_acquire(to, x)
{
	if
	:: load_acquire(to, x)
	:: d_step { !HAS_STORED(me, x) && (early[me] & BIT(x)) -> to = was[x]; early[me] = early[me] & since_was[x] }
	fi
}

inline full_barrier()
{
	d_step { IN_MEMORY(me) -> early[me] = 0 }
}

/* Fully ordered if it succeeds; if it fails it is a load, and `expected` is what was found. */
inline try_cmpxchg(ok, x, expected, value)
{
	if
	:: d_step { mem[x] == expected && IN_MEMORY(me) ->
		    knows[me] = knows[me] | mem_knows[x];
		    CHANGE(me, x, value, knows[me]);
		    early[me] = 0;
		    SUCCEEDED(x, value)
		    ok = 1 }
	:: d_step { mem[x] != expected && !HAS_STORED(me, x) -> expected = mem[x]; early[me] = early[me] & ~BIT(x); ok = 0 }
	fi
}

/*
 * The same where `to` was to be loaded from `from` before it, and its value is needed only after it: if that was put off
 * (late) it is made now, or, without order, by who needs it.
 */
inline late_try_cmpxchg(ok, x, expected, value, to, from)
{
	if
	:: late -> load(to, from); late = 0
	:: else
	fi;
	try_cmpxchg(ok, x, expected, value)
}

inline relaxed_late_try_cmpxchg(ok, x, expected, value, to, from)
{
	relaxed_try_cmpxchg(ok, x, expected, value)
}

/* The same without any order; what was released before it stays released. */
inline relaxed_try_cmpxchg(ok, x, expected, value)
{
	if
	:: d_step { mem[x] == expected && !HAS_STORED(me, x) ->
		    CHANGE(me, x, value, mem_knows[x]);
		    SUCCEEDED(x, value)
		    ok = 1 }
	:: d_step { mem[x] != expected && !HAS_STORED(me, x) -> expected = mem[x]; early[me] = early[me] & ~BIT(x); ok = 0 }
	fi
}

/* The same as a load and a store, each ordered as well as can be. */
inline split_try_cmpxchg(ok, x, expected, value)
{
	IN_MEMORY(me);
	if
	:: d_step { mem[x] == expected -> knows[me] = knows[me] | mem_knows[x]; early[me] = 0; ok = 1 }
	   d_step { CHANGE(me, x, value, knows[me]); SUCCEEDED(x, value) skip }
	:: d_step { mem[x] != expected -> expected = mem[x]; ok = 0 }
	fi
}

/*
 * A hint: a semaphore of the kernel's, which is changed under a spinlock.  What was stored before is seen by whoever has
 * taken the hint since.
 */
inline give(hint)
{
	d_step { IN_MEMORY(me) -> hint = 1 }
}

inline take(hint)
{
	d_step { hint -> hint = 0; early[me] = 0 }
}

/* Plain accesses of the one record there is place for. */
inline write_record()
{
	d_step {
		assert((accesses & ~knows[me]) == 0);	/* else a race, with who wrote or reads it */
		accesses = accesses | (1 << count);
		writes = writes | (1 << count);
		knows[me] = knows[me] | (1 << count);
		count++;
	}
}

inline read_record()
{
	d_step {
		assert((writes & ~knows[me]) == 0);	/* else a race, with who wrote it */
		accesses = accesses | (1 << count);
		knows[me] = knows[me] | (1 << count);
		count++;
	}
}

#define DRAIN(p, x)								\
	:: d_step { HAS_STORED(p, x) -> stored[p] = stored[p] & ~BIT(x);	\
		    CHANGE(p, x, buffer[AT(p, x)], buffer_knows[AT(p, x)]);	\
		    buffer[AT(p, x)] = 0; buffer_knows[AT(p, x)] = 0 }
