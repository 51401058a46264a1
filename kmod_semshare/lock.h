/* SPDX-License-Identifier: GPL-2.0 */
/* lock.c: taking and giving the semaphores of a ring's set, for kernel code. */
#ifndef SEMSHARE_LOCK_H
#define SEMSHARE_LOCK_H

#include <linux/bits.h>
#include <linux/ktime.h>
#include <semshare/core/lock.h>
#include <semshare/kapi.h>

#include "sem.h"

/* Deadlines: an absolute CLOCK_MONOTONIC time, see semshare_deadline(), or */
#define SEMSHARE_DEADLINE_NOW	((ktime_t)0)	/* do not wait */
#define SEMSHARE_DEADLINE_NEVER	KTIME_MAX	/* wait */

/* The hints that semshare_lock_post() gives together with the mutex. */
#define SEMSHARE_HINT_DATA	BIT(SEMSHARE_SEM_DATA)
#define SEMSHARE_HINT_SPACE	BIT(SEMSHARE_SEM_SPACE)

/**
 * struct semshare_lock - the lock as one handle sees it
 * @ns: the namespace of the set, held by whom the handle holds
 * @semid: the set
 * @facts: by which it is known again
 * @verified: jiffies when it last was
 * @state: the shared words beside the semaphore
 * @broken: what it guards is: who waits gives up
 * @name: for messages and tracepoints
 * @epoch: odd epoch of this ownership
 * @taken_ns: since when, if tracing asks
 * @task: who took it last, with @pid and @start: only ever compared
 * @pid: see @task
 * @start: see @task
 * @owner: what it writes of itself
 * @statistics: what semshare_ring_statistics() gives out
 */
struct semshare_lock {
	struct ipc_namespace *ns;
	int semid;
	struct semshare_sem_facts facts;
	unsigned long verified;
	struct semshare_lock_state *state;
	const u32 *broken;
	const char *name;
	u32 epoch;
	u64 taken_ns;
	const void *task;
	pid_t pid;
	u64 start;
	struct semshare_owner owner;
	struct semshare_lock_statistics statistics;
};

ktime_t semshare_deadline(long timeout);
u64 semshare_owner_describe(struct semshare_owner *owner);
int semshare_sem_dead_holder(struct ipc_namespace *ns, int semid, unsigned int semaphore);
int semshare_lock_take(struct semshare_lock *lock, ktime_t deadline, bool *died);
int semshare_lock_post(struct semshare_lock *lock, unsigned int hints);
void semshare_sem_hint(struct ipc_namespace *ns, int semid, unsigned int semaphore, u32 count);
void semshare_lock_hint(struct semshare_lock *lock, unsigned int semaphore);
int semshare_lock_role(struct semshare_lock *lock, unsigned int semaphore, short op);
int semshare_lock_sleep(struct semshare_lock *lock, unsigned int semaphore, ktime_t deadline);
bool semshare_told_to_stop(void);
int semshare_lock_open(struct semshare_lock *lock, struct semshare_area *area,
		       unsigned int nsems, const u32 *broken);

#endif /* SEMSHARE_LOCK_H */
