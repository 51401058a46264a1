/* SPDX-License-Identifier: MIT */
/*
 * Taking and giving semaphore 0 of a set, with SEM_UNDO always, and keeping the words beside it.
 *
 * Nothing here touches the interpreter: the functions are called with the GIL held (mutex_try(), mutex_give()) or
 * without (all of them).  They return 0 or a positive errno.  EOWNERDEAD is no errno of semop: here it says that the
 * semaphore is taken for good, by a process that is dead and used no SEM_UNDO.
 */
#ifndef SEMSHARE_NATIVE_MUTEX_H
#define SEMSHARE_NATIVE_MUTEX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "owner.h"

struct mutex {
	int semid;
	struct semshare_lock_state *state;	/* NULL: nothing is remembered beside the semaphore */
};

/* What its owner knows while it holds it. */
struct mutex_holding {
	__u32 epoch;
	bool died;			/* the owner before was found dead inside */
	struct semshare_owner dead;	/* who that was */
};

#define MUTEX_BUCKETS	256	/* semshare/core/histogram.h has 252 */

/* How a handle fared.  Written by the owner of the mutex, or under the GIL. */
struct mutex_waits {
	uint64_t acquisitions;
	uint64_t contended;
	uint64_t wait_ns[MUTEX_BUCKETS];
};

int mutex_try(const struct mutex *mutex, struct mutex_holding *holding);
int mutex_wait(const struct mutex *mutex, int64_t deadline, const volatile bool *stop,
	       struct mutex_holding *holding, pid_t *holder);
int mutex_give(const struct mutex *mutex, const struct mutex_holding *holding);
void mutex_give_broken(const struct mutex *mutex);
int mutex_give_unrepaired(const struct mutex *mutex, const struct mutex_holding *holding);
int64_t mutex_spin_ns(void);
void mutex_count(struct mutex_waits *waits, bool contended, int64_t waited);

#endif /* SEMSHARE_NATIVE_MUTEX_H */
