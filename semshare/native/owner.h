/* SPDX-License-Identifier: MIT */
/* Who the calling thread is, as the words of struct semshare_lock_state say it, and whether another one lives. */
#ifndef SEMSHARE_NATIVE_OWNER_H
#define SEMSHARE_NATIVE_OWNER_H

#include <stdbool.h>
#include <sys/types.h>
#include <semshare/core/lock.h>

/* Counts the forks between the first process and this one: what an object noted in another process does not hold here. */
extern unsigned int owner_generation;

int owner_setup(void);
const struct semshare_owner *owner_self(void);
bool owner_process_is_dead(pid_t pid);
__u64 owner_start_of(pid_t pid);
__u32 owner_pid_ns(void);
int owner_processors(void);

#endif /* SEMSHARE_NATIVE_OWNER_H */
