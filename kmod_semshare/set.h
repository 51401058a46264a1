/* SPDX-License-Identifier: GPL-2.0 */
/* set.c: the set of semaphores that a lock is made of, found by name or key. */
#ifndef SEMSHARE_SET_H
#define SEMSHARE_SET_H

#include <linux/kref.h>
#include <linux/ktime.h>
#include <semshare/core/lock.h>
#include <semshare/locks.h>

#include "companion.h"
#include "lock.h"
#include "sem.h"

/* Operations that semshare_set_take() and semshare_set_do() take at most. */
#define SEMSHARE_SET_OPERATIONS	4

/**
 * struct semshare_set - a set, as one who opened it sees it
 * @refs: that one's, and those of the locks made of it
 * @ns: its namespace, with a reference
 * @semid: its id
 * @facts: by which it is known again
 * @verified: jiffies when it last was
 * @companion: what lies beside it; its kind and its limit
 * @name: its name, zero-padded, or its key: for people
 */
struct semshare_set {
	struct kref refs;
	struct ipc_namespace *ns;
	int semid;
	struct semshare_sem_facts facts;
	unsigned long verified;
	struct semshare_companion companion;
	char name[SEMSHARE_NAME_SIZE];
};

struct semshare_set *semshare_set_get(struct semshare_set *set);
bool semshare_set_is(const struct semshare_set *set, u32 kind);
struct semshare_lock_state *semshare_set_state(struct semshare_set *set, unsigned int number);

int semshare_set_try(struct semshare_set *set, struct sembuf *sops, unsigned int nsops);
int semshare_set_sleep(struct semshare_set *set, struct sembuf *sops, unsigned int nsops,
		       ktime_t deadline, s64 *slice_ns);
int semshare_set_wait(struct semshare_set *set, struct sembuf *sops, unsigned int nsops,
		      ktime_t deadline);
int semshare_set_do(struct semshare_set *set, const struct sembuf *operations, unsigned int count);
int semshare_set_take(struct semshare_set *set, const struct sembuf *operations,
		      unsigned int count, ktime_t deadline);
int semshare_set_ask(struct semshare_set *set, unsigned int number, int cmd);
void semshare_lowered_tell(int *lowered_by);
int semshare_lowered_hear(int *lowered_by);
bool semshare_set_is_ours(struct semshare_set *set, unsigned int number, int taken,
			  int lowered_by);

#endif /* SEMSHARE_SET_H */
