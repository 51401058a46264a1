/* SPDX-License-Identifier: MIT */
/* Who the calling thread is, as the words of struct semshare_lock_state say it, and whether another one lives. */
#ifndef SEMSHARE_NATIVE_OWNER_H
#define SEMSHARE_NATIVE_OWNER_H

#include <stdbool.h>
#include <sys/types.h>
#include <semshare/core/lock.h>

/* Counts the forks between the first process and this one: what an object noted in another process does not hold here. */
extern unsigned int owner_generation;

struct owner_thread {
	struct semshare_owner self;	/* kind 0: not asked yet */
	unsigned int holds;		/* how often it has something, as holds.c counts */
};

extern __thread struct owner_thread owner_thread;

int owner_setup(void (*thread_ends)(void));
void owner_ask(void);
bool owner_process_is_dead(pid_t pid);
__u64 owner_start_of(pid_t pid);
__u32 owner_pid_ns(void);
int owner_processors(void);

/* Who the calling thread is.  Asked before a lock is taken, so that nothing of this is done inside. */
static inline const struct semshare_owner *owner_self(void)
{
	struct owner_thread *thread = &owner_thread;

	if (__builtin_expect(thread->self.kind == SEMSHARE_OWNER_NONE, false))
		owner_ask();
	return &thread->self;
}

#endif /* SEMSHARE_NATIVE_OWNER_H */
