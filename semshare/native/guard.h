/* SPDX-License-Identifier: MIT */
/*
 * What takes several operations in one call: the sides of a read-write lock, several locks of a pool, permits.
 *
 * The Python classes derived from GuardCore say which operations those are.  Its methods that are called here are those
 * that native.h has for a LockCore.
 */
#ifndef SEMSHARE_NATIVE_GUARD_H
#define SEMSHARE_NATIVE_GUARD_H

#include "native.h"

#include <sys/sem.h>

enum guard_kind {
	GUARD_EXCLUSIVE	= 0,	/* one thread has it; it enters and leaves the words of each lock in it */
	GUARD_SHARED	= 1,	/* threads have it, each as often as it likes */
	GUARD_COUNTED	= 2,	/* permits: of no thread; who gives one need not have one */
};

/* One call. */
struct guard_ops {
	unsigned int count;
	struct sembuf *wait;	/* waiting, ... */
	struct sembuf *now;	/* ... and the same with IPC_NOWAIT: one array with these */
};

/* How often a thread has it.  Never let go of before the guard is: one that has it no more leaves its place to others. */
struct guard_share {
	uint32_t thread;
	uint32_t count;
	unsigned int generation;	/* owner_generation when that thread came */
	struct guard_share *next;
};

/* A lock in it that has words. */
struct guard_member {
	struct semshare_lock_state *state;
	struct mutex_holding holding;	/* GUARD_EXCLUSIVE: the owner's */
};

typedef struct {
	PyObject_HEAD
	enum guard_kind kind;
	unsigned int flags;		/* LOCK_UNBOUND */
	int semid;
	struct guard_ops enter, leave;
	struct guard_ops again;		/* to enter by who is inside; none: enter */
	/*
	 * Who cannot enter at once says that he waits, by one call; enters and takes that back, by another; or gives up, by
	 * a third.  None: he just waits.
	 */
	struct guard_ops announce, announced, withdraw;
	struct guard_member *members;
	size_t members_count;
	struct guard_share first;	/* of all who have it, GUARD_COUNTED: of this process */
	PyObject *owner_died;
	struct mutex_waits waits;
	Py_buffer memory;
	struct inside waiting;
	bool open;
	volatile bool closing;
} GuardCore;

#endif /* SEMSHARE_NATIVE_GUARD_H */
