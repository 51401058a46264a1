/* SPDX-License-Identifier: MIT */
/*
 * What takes several operations in one call: the sides of a read-write lock, several locks of a pool, permits.
 *
 * The Python classes derived from GuardCore say which operations those are.  Its methods that are called here are those
 * that native.h has for a LockCore.  Members change under the GIL only: see compat.h.
 */
#ifndef SEMSHARE_NATIVE_GUARD_H
#define SEMSHARE_NATIVE_GUARD_H

#include "native.h"
#include "permits.h"

#include <sys/sem.h>

enum guard_kind {
	GUARD_EXCLUSIVE	= 0,	/* one thread has it; it enters and leaves the words of each lock in it */
	GUARD_SHARED	= 1,	/* threads have it, each as often as it likes */
	/*
	 * Permits: of no thread; who gives one need not have one.  With words it is an event's wait: they count how often
	 * that has happened.
	 */
	GUARD_COUNTED	= 2,
};

/* One call. */
struct guard_ops {
	unsigned int count;
	struct sembuf *wait;	/* waiting, ... */
	struct sembuf *now;	/* ... and the same with IPC_NOWAIT: one array with these */
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
	bool standing;			/* what a _wait_slice() announced: until it is taken back, or the last one enters */
	unsigned int standing_by;	/* owner_generation then */
	struct guard_member *members;
	size_t members_count;
	struct holds holds;		/* GUARD_COUNTED: none */
	struct permits *permits;	/* GUARD_COUNTED */
	PyObject *owner_died;
	struct mutex_waits waits;
	Py_buffer memory;
	struct inside waiting;
	bool open;
	volatile bool closing;
} GuardCore;

#endif /* SEMSHARE_NATIVE_GUARD_H */
