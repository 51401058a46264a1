/* SPDX-License-Identifier: GPL-2.0 */
/* mutex.c: a lock that one has alone. */
#ifndef SEMSHARE_MUTEX_H
#define SEMSHARE_MUTEX_H

#include "set.h"

/**
 * struct semshare_mutex - a lock, as all kernel code that shares the handle sees it
 * @set: its set, with a reference
 * @number: its semaphore
 * @state: the words beside it, NULL without a companion
 * @repaired: what it guards needs no repair when an owner died: it is never suspect
 * @holder: the task that has it by way of this handle: only ever compared
 * @lowered_by: who got the semaphore beside that one: see semshare_lowered_tell()
 * @epoch: odd epoch of its ownership
 * @doubted: it was given back although somebody else had been inside as well
 * @taken_ns: since when, if tracing asks
 */
struct semshare_mutex {
	struct semshare_set *set;
	unsigned int number;
	struct semshare_lock_state *state;
	bool repaired;
	const struct task_struct *holder;
	int lowered_by;
	u32 epoch;
	bool doubted;
	u64 taken_ns;
};

int semshare_words_enter(struct semshare_lock_state *state, bool repaired, u32 *epoch);
int semshare_words_leave(struct semshare_lock_state *state, u32 epoch);

void semshare_mutex_setup(struct semshare_mutex *mutex, struct semshare_set *set,
			  unsigned int number);
void semshare_mutex_teardown(struct semshare_mutex *mutex);
int semshare_mutex_take(struct semshare_mutex *mutex, ktime_t deadline, bool *suspect);
int semshare_mutex_give(struct semshare_mutex *mutex);

#endif /* SEMSHARE_MUTEX_H */
