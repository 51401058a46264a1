/* SPDX-License-Identifier: MIT */
/* The rival of `with semshare.Lock`: the two system calls, and nothing else. */
#define _GNU_SOURCE
#include <sys/ipc.h>
#include <sys/sem.h>

int semop_pairs(int semid, long count)
{
	struct sembuf take = { 0, -1, SEM_UNDO };
	struct sembuf give = { 0, +1, SEM_UNDO };

	while (count-- > 0)
		if (semop(semid, &take, 1) || semop(semid, &give, 1))
			return -1;
	return 0;
}
