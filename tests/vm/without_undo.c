// SPDX-License-Identifier: MIT
/* Preloaded before others: semop() and semtimedop() without SEM_UNDO, handed on to whose turn is next. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/sem.h>

#define MOST	500	/* semopm; of more there is nothing to take away, for the call is refused */

/* The operations as they shall be: in @changed, or as they were. */
static struct sembuf *without_undo(struct sembuf *changed, struct sembuf *sops, size_t nsops)
{
	if (!sops || nsops > MOST)
		return sops;
	for (size_t i = 0; i < nsops; i++) {
		changed[i] = sops[i];
		changed[i].sem_flg &= ~SEM_UNDO;
	}
	return changed;
}

int semop(int semid, struct sembuf *sops, size_t nsops)
{
	int (*next)(int, struct sembuf *, size_t) = dlsym(RTLD_NEXT, "semop");
	struct sembuf changed[MOST];

	return next(semid, without_undo(changed, sops, nsops), nsops);
}

int semtimedop(int semid, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	int (*next)(int, struct sembuf *, size_t, const struct timespec *) = dlsym(RTLD_NEXT, "semtimedop");
	struct sembuf changed[MOST];

	return next(semid, without_undo(changed, sops, nsops), nsops, timeout);
}
