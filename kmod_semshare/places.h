/* SPDX-License-Identifier: GPL-2.0 */
/* places.c: where those who wait at a condition or a barrier sleep. */
#ifndef SEMSHARE_PLACES_H
#define SEMSHARE_PLACES_H

#include <semshare/core/places.h>

#include "set.h"

/**
 * struct semshare_waiters - the places of a set
 * @port: what the algorithms of semshare/core see of them
 * @set: the set; who has this has a reference
 * @wakes: for the owner of the lock: operations
 */
struct semshare_waiters {
	struct semshare_places_port port;
	struct semshare_set *set;
	struct sembuf wakes[SEMSHARE_PLACES];
};

/* Whether a sleep is to end. */
typedef int (*semshare_waiters_look_t)(struct semshare_places_port *port, const void *sleeper);

/* What an answer of a place's semaphore means that only one who sets it by hand brings about. */
static inline int semshare_waiters_error(int err)
{
	return err == -EAGAIN || err == -ERANGE ? -EPROTO : err;
}

int semshare_waiters_setup(struct semshare_waiters *waiters, struct semshare_set *set, u32 kind);
int semshare_waiters_sleep(struct semshare_waiters *waiters, unsigned int place, ktime_t deadline,
			   unsigned int *fruitless, semshare_waiters_look_t look,
			   const void *sleeper);

#endif /* SEMSHARE_PLACES_H */
