/* SPDX-License-Identifier: MIT */
/*
 * Uncontended lock pairs, in a machine whose clock counts instructions: by
 * system call here, and in a kernel thread by module semshare_bench.
 *
 *	pairs count BATCHES PAIRS	prints, for each kind and batch, the
 *					instructions of PAIRS pairs
 *	pairs until FILE		goes on, a few pairs of each kind at a
 *					time, until FILE is there: for a debugger
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>
#include <x86intrin.h>

#include <semshare/bench_test.h>

#define WARM_UP 32

static int semid = -1;
static int device = -1;

__attribute__((noinline, noclone)) int semop_pair(void)
{
	struct sembuf take = { 0, -1, 0 };
	struct sembuf give = { 0, +1, 0 };

	return semop(semid, &take, 1) || semop(semid, &give, 1);
}

__attribute__((noinline, noclone)) int semop_undo_pair(void)
{
	struct sembuf take = { 0, -1, SEM_UNDO };
	struct sembuf give = { 0, +1, SEM_UNDO };

	return semop(semid, &take, 1) || semop(semid, &give, 1);
}

static void fail(const char *what)
{
	perror(what);
	if (semid >= 0)
		semctl(semid, 0, IPC_RMID);
	exit(1);
}

static unsigned long long call_pairs(int (*pair)(void), unsigned int pairs)
{
	unsigned long long began;
	unsigned int i;

	for (i = 0; i < WARM_UP; i++)
		if (pair())
			fail("semop");
	began = __rdtsc();
	for (i = 0; i < pairs; i++)
		if (pair())
			fail("semop");
	return __rdtsc() - began;
}

static unsigned long long thread_pairs(unsigned int kind, unsigned int pairs)
{
	struct semshare_bench_run run = { .kind = kind, .semid = semid, .pairs = pairs };

	if (ioctl(device, SEMSHARE_BENCH_IOC_RUN, &run))
		fail("SEMSHARE_BENCH_IOC_RUN");
	return run.cycles;
}

static void each(unsigned int pairs, int print)
{
	unsigned long long semop_plain = call_pairs(semop_pair, pairs);
	unsigned long long semop_undo = call_pairs(semop_undo_pair, pairs);
	unsigned long long thread_semop = thread_pairs(SEMSHARE_BENCH_SEMOP, pairs);
	unsigned long long thread_ring = thread_pairs(SEMSHARE_BENCH_RING, pairs);

	if (print)
		printf("%llu %llu %llu %llu\n", semop_plain, semop_undo, thread_semop, thread_ring);
}

int main(int argc, char **argv)
{
	device = open(SEMSHARE_BENCH_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail(SEMSHARE_BENCH_DEVICE);
	semid = semget(IPC_PRIVATE, 1, 0600);
	if (semid < 0 || semctl(semid, 0, SETVAL, 1))
		fail("semget");
	if (argc == 4 && !strcmp(argv[1], "count")) {
		int batches = atoi(argv[2]);

		while (batches-- > 0)
			each((unsigned int)atoi(argv[3]), 1);
	} else if (argc == 3 && !strcmp(argv[1], "until")) {
		while (access(argv[2], F_OK))
			each(4, 0);
	} else {
		fprintf(stderr, "usage: pairs count BATCHES PAIRS | until FILE\n");
	}
	semctl(semid, 0, IPC_RMID);
	return 0;
}
