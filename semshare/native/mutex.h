/* SPDX-License-Identifier: MIT */
/*
 * Taking and giving a semaphore of a set, with SEM_UNDO always, and keeping the words beside it.
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

#define MUTEX_LOOK_NS	30000

struct mutex {
	int semid;
	unsigned short number;		/* of the semaphore in its set */
	bool repaired;			/* who finds its owner dead puts right what it guards: it is never suspect */
	bool fair;			/* where more wait than there are processors for, each queues up */
	int64_t look_ns;		/* if it is fair: how long to look before going to sleep, at first MUTEX_LOOK_NS */
	int64_t crowded_at;		/* when there were last too many, as far as this one saw */
	struct semshare_lock_state *state;	/* NULL: nothing is remembered beside the semaphore */
};

/* What its owner knows while it holds it. */
struct mutex_holding {
	__u32 epoch;
	enum semshare_lock_found found;	/* how it was found */
	struct semshare_owner dead;	/* unless it was sound: who died inside */
};

#define MUTEX_BUCKETS	256	/* semshare/core/histogram.h has 252 */

/* How a handle fared.  Written by the owner of the mutex, or under the GIL; looked at by others meanwhile. */
struct mutex_waits {
	uint64_t acquisitions;
	uint64_t contended;
	uint64_t *wait_ns;		/* MUTEX_BUCKETS of them, NULL before the first is needed */
	int64_t last_ns;		/* how long the last one was that had to wait */
};

void mutex_enter(struct semshare_lock_state *state, bool repaired, const struct semshare_owner *self,
		 struct mutex_holding *holding);
void mutex_leave_unrepaired(struct semshare_lock_state *state, const struct mutex_holding *holding);
bool mutex_is_in_vain(const struct mutex *mutex);
int mutex_try(const struct mutex *mutex, struct mutex_holding *holding);
int64_t mutex_slice_ns(int64_t began, const struct mutex_waits *waits);
int mutex_wait(struct mutex *mutex, int64_t slice, int64_t deadline, const volatile bool *stop,
	       struct mutex_holding *holding, pid_t *holder);
int mutex_give(const struct mutex *mutex, const struct mutex_holding *holding);
void mutex_give_broken(const struct mutex *mutex);
int mutex_give_unrepaired(const struct mutex *mutex, const struct mutex_holding *holding);
int mutex_give_dead(const struct mutex *mutex);
int64_t mutex_spin_ns(void);
void mutex_count(struct mutex_waits *waits, bool contended, int64_t waited);

#endif /* SEMSHARE_NATIVE_MUTEX_H */
